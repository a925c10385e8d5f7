//! Dates as mail writes them (RFC 5322 §3.3), with the liberties that mailers take.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Octets looked at; a date has some thirty.
const INPUT_BYTES: usize = 200;

/// Reads a date: weekday wrong or missing, a comment behind it, the zone given twice or not at all. A zone that
/// RFC 5322 does not know by its name, or none, is UTC (§4.3).
pub fn read(text: &str) -> Option<Timestamp> {
    static PARSER: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    if text.len() > INPUT_BYTES {
        return None;
    }
    let date = text.split_once('(').map_or(text, |(date, _)| date).trim();
    let parse = |date: &str| PARSER.parse_timestamp(date).ok();
    // "... 23:50:08 +0100 CET" and "... 23:50:08".
    let zone_once = || date.rsplit_once(' ').filter(|(_, last)| !last.contains(':')).and_then(|(date, _)| parse(date));
    parse(date).or_else(zone_once).or_else(|| parse(&format!("{date} +0000")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_with_the_liberties_that_mailers_take() {
        for (text, want) in [
            ("Sat, 21 Nov 2026 23:50:08 +0000 (UTC)", Some("2026-11-21T23:50:08Z")),
            ("Sat, 21 Nov 2026 23:50:08 +0100", Some("2026-11-21T22:50:08Z")),
            ("Mon, 21 Nov 2026 23:50:08 +0100", Some("2026-11-21T22:50:08Z")), // it was a Saturday
            ("21 Nov 2026 23:50:08 -0500", Some("2026-11-22T04:50:08Z")),
            ("21 Nov 26 23:50:08 GMT", Some("2026-11-21T23:50:08Z")),
            ("Sat, 21 Nov 2026 23:50 EST", Some("2026-11-22T04:50:00Z")),
            ("Sat, 21 Nov 2026 23:50:08 +0100 CET", Some("2026-11-21T22:50:08Z")),
            ("Sat, 21 Nov 2026 23:50:08 UTC", Some("2026-11-21T23:50:08Z")),
            ("Sat, 21 Nov 2026 23:50:08", Some("2026-11-21T23:50:08Z")),
            ("Sat, 21 Nov 2026 23:50:08 -0000 (a (nested) comment)", Some("2026-11-21T23:50:08Z")),
            ("Sat, 21 Nov 2026 23:50:08 MESZ", Some("2026-11-21T23:50:08Z")),
            ("Sat, 21 Nov 2026", None),
            ("Sat, 31 Nov 2026 23:50:08 +0000", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(read(text).map(|at| at.to_string()).as_deref(), want, "{text}");
        }
    }
}
