//! Times as other senders write them into their lists.

use crate::mail::date;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Octets looked at.
const INPUT_BYTES: usize = 100;
/// What would do, for messages.
pub const WANTED: &str = "write 2026-08-21T03:00:00Z, 2026-08-21, or seconds since 1970";

/// Reads a time: RFC 3339, date and time with a blank, with or without an offset (none is UTC), a date alone,
/// seconds or milliseconds since 1970, RFC 5322, and what Go prints (`2026-08-21 03:00:00.1 +0000 UTC`).
pub fn read(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > INPUT_BYTES {
        return None;
    }
    let number = || text.split_once('.').map_or(text, |(seconds, _)| seconds).parse::<i64>().ok();
    match number() {
        Some(seconds) if (0..100_000_000_000).contains(&seconds) => return Timestamp::from_second(seconds).ok(),
        Some(milliseconds) => return Timestamp::from_millisecond(milliseconds).ok(),
        None => {}
    }
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let utc = |at: DateTime| at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp());
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some(day), None, None) => match day.parse::<Date>() {
            Ok(date) if !day.contains('T') => utc(date.at(0, 0, 0, 0)),
            Ok(_) | Err(_) => day.parse().ok().and_then(utc),
        },
        (Some(day), Some(time), None | Some("UTC" | "GMT" | "Z")) if day.contains('-') => {
            format!("{day}T{time}").parse().ok().or_else(|| format!("{day}T{time}").parse().ok().and_then(utc))
        }
        (Some(day), Some(time), Some(offset)) if day.contains('-') => format!("{day}T{time}{offset}").parse().ok(),
        _ => date::read(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_providers_write_them() {
        for (text, want) in [
            ("2026-08-21T03:00:00Z", Some("2026-08-21T03:00:00Z")),
            ("2019-12-17T08:58:33-05:00", Some("2019-12-17T13:58:33Z")),
            ("2020-04-10T21:03:05.250000+00:00", Some("2020-04-10T21:03:05.25Z")),
            ("2013-06-25 17:38:27", Some("2013-06-25T17:38:27Z")),
            ("2013-06-25T17:38:27", Some("2013-06-25T17:38:27Z")),
            ("2015-11-03 10:22:19.9567", Some("2015-11-03T10:22:19.9567Z")),
            ("2015-11-03 10:22:19+02:00", Some("2015-11-03T08:22:19Z")),
            ("2015-11-03 10:22:19 UTC", Some("2015-11-03T10:22:19Z")),
            ("2021-05-06 12:30:01.123456 +0200 CEST", Some("2021-05-06T10:30:01.123456Z")),
            ("2021-05-06", Some("2021-05-06T00:00:00Z")),
            ("1443651125", Some("2015-09-30T22:12:05Z")),
            ("1443651125.7", Some("2015-09-30T22:12:05Z")),
            ("1443651125000", Some("2015-09-30T22:12:05Z")),
            ("Wed, 30 Sep 2015 22:12:05 GMT", Some("2015-09-30T22:12:05Z")),
            ("Wed, 30 Sep 2015 22:12:05 UTC", Some("2015-09-30T22:12:05Z")),
            ("09/30/2015", None),
            ("2015-13-30", None),
            ("99999999999999999999", None),
            ("9999999999999999", None),
            ("-5", Some("1969-12-31T23:59:59.995Z")),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(read(text).map(|at| at.to_string()).as_deref(), want, "{text}");
        }
    }
}
