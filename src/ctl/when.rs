//! Times on the command line and in tables.

use super::client::encoded;
use super::exit::{Exit, Failure};
use jiff::{Span, Timestamp, Zoned, civil::Date, tz::TimeZone};

/// A time as a person writes it, as the API takes it: `2026-08-21T03:00:00Z`, `2026-08-21` (midnight UTC),
/// or how long ago: `90m`, `2d`; an event id is that id.
pub fn read_as(option: &str, text: &str, now: &Zoned) -> Result<String, Failure> {
    if text.parse::<Timestamp>().is_ok() || text.parse::<crate::policy::EventId>().is_ok() {
        return Ok(text.to_owned());
    }
    if let Ok(date) = text.parse::<Date>()
        && let Ok(midnight) = date.to_zoned(TimeZone::UTC)
    {
        return Ok(midnight.timestamp().to_string());
    }
    let ago = text.parse::<Span>().ok().and_then(|span| now.checked_sub(span.abs()).ok());
    ago.map(|time| time.timestamp().to_string()).ok_or_else(|| {
        let wanted = "a time is wanted, as 2026-08-21T03:00:00Z, 2026-08-21, or how long ago: 90m, 2d";
        Failure::new(Exit::Usage, format!("{option} {text}: {wanted}"))
    })
}

/// `since` and `until` as further parameters of a request.
pub fn query(since: &Option<String>, until: &Option<String>) -> Result<String, Failure> {
    let now = Zoned::now();
    let mut query = String::new();
    for (name, text) in [("since", since), ("until", until)] {
        if let Some(text) = text {
            query.push_str(&format!("&{name}={}", encoded(&read_as(&format!("--{name}"), text, &now)?)));
        }
    }
    Ok(query)
}

/// A time in a table: to the minute, UTC.
pub fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_takes_times_dates_and_spans() {
        let now: Zoned = "2026-08-21T12:00:00[UTC]".parse().expect("a literal");
        for (text, want) in [
            ("2026-08-20T01:02:03Z", Some("2026-08-20T01:02:03Z")),
            ("2026-08-20", Some("2026-08-20T00:00:00Z")),
            ("90m", Some("2026-08-21T10:30:00Z")),
            ("2d", Some("2026-08-19T12:00:00Z")),
            ("00000000000000000000000000000001", Some("00000000000000000000000000000001")),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(read_as("--since", text, &now).ok().as_deref(), want, "--since {text}");
        }
    }
}
