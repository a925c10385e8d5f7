//! How many campaign messages a contact may be sent in how long a time (SPEC 7.3): `[limits]`, and the limits
//! of single contacts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// So many messages in a rolling window. Written `9 per 1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Unchecked")]
pub struct Limit {
    /// Messages that may be sent within the window.
    pub messages: u32,
    /// Length of the window, in seconds.
    pub window_secs: u32,
}

/// Why there is no such limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Too few or too many messages.
    #[error("{0} messages cannot be a limit; it takes a whole number from 1 to 100000")]
    Messages(u64),
    /// Too short or too long a window.
    #[error("a window of {0} seconds cannot be used; it takes 1m to 366d")]
    Window(u64),
    /// No length of time.
    #[error("\"{0}\" is no window; write it as 30m, 12h, 1d or 4w")]
    Unit(String),
    /// Not a limit's text.
    #[error("\"{0}\" is no limit; write it as 9 per 1d")]
    Text(String),
}

/// A limit as it is read, before its numbers are looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    messages: u32,
    window_secs: u32,
}

const UNITS: [(char, u64); 4] = [('w', 7 * 86_400), ('d', 86_400), ('h', 3600), ('m', 60)];

impl Limit {
    /// How many messages a limit may allow.
    pub const MESSAGES: RangeInclusive<u32> = 1..=100_000;
    /// How long a window may be, in seconds: a minute to a leap year.
    pub const WINDOW_SECS: RangeInclusive<u32> = 60..=366 * 86_400;

    /// A limit of these numbers.
    ///
    /// # Errors
    /// [`LimitError`] for a number out of its range.
    pub fn new(messages: u32, window_secs: u32) -> Result<Limit, LimitError> {
        if !Limit::MESSAGES.contains(&messages) {
            return Err(LimitError::Messages(messages.into()));
        }
        if !Limit::WINDOW_SECS.contains(&window_secs) {
            return Err(LimitError::Window(window_secs.into()));
        }
        Ok(Limit { messages, window_secs })
    }

    /// The seconds of a window's text: `30m`, `12h`, `1d`, `4w`.
    ///
    /// # Errors
    /// [`LimitError`] for another text, and for a window that is too short or too long.
    pub fn window(text: &str) -> Result<u32, LimitError> {
        let unit = || LimitError::Unit(text.to_owned());
        let (name, seconds) = UNITS.into_iter().find(|(name, _)| text.ends_with(*name)).ok_or_else(unit)?;
        let digits = text.strip_suffix(name).unwrap_or(text);
        if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(unit());
        }
        let seconds = digits.parse::<u64>().map_err(|_| unit())? * seconds;
        let window = u32::try_from(seconds).ok().filter(|window| Limit::WINDOW_SECS.contains(window));
        window.ok_or(LimitError::Window(seconds))
    }
}

impl TryFrom<Unchecked> for Limit {
    type Error = LimitError;

    fn try_from(read: Unchecked) -> Result<Limit, LimitError> {
        Limit::new(read.messages, read.window_secs)
    }
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Limit, LimitError> {
        let other = || LimitError::Text(text.to_owned());
        let (messages, window) = text.split_once(" per ").ok_or_else(other)?;
        Limit::new(messages.trim().parse().map_err(|_| other())?, Limit::window(window.trim())?)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = u64::from(self.window_secs);
        // Days ahead of weeks: `7d` is how people say it.
        let days = UNITS.into_iter().filter(|(name, _)| *name != 'w').find(|(_, unit)| window.is_multiple_of(*unit));
        match days {
            Some((name, unit)) => write!(f, "{} per {}{name}", self.messages, window / unit),
            None => write!(f, "{} per {window} seconds", self.messages),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_number_and_a_unit() {
        for (text, want) in [
            ("1m", Ok(60)),
            ("30m", Ok(1800)),
            ("12h", Ok(43_200)),
            ("1d", Ok(86_400)),
            ("4w", Ok(2_419_200)),
            ("366d", Ok(31_622_400)),
            ("367d", Err(LimitError::Window(31_708_800))),
            ("0d", Err(LimitError::Window(0))),
            ("999999999w", Err(LimitError::Window(604_799_999_395_200))),
            ("9999999999w", Err(LimitError::Unit("9999999999w".to_owned()))),
            ("60", Err(LimitError::Unit("60".to_owned()))),
            ("d", Err(LimitError::Unit("d".to_owned()))),
            ("", Err(LimitError::Unit(String::new()))),
            ("+1d", Err(LimitError::Unit("+1d".to_owned()))),
            ("1 d", Err(LimitError::Unit("1 d".to_owned()))),
            ("1dé", Err(LimitError::Unit("1dé".to_owned()))),
            ("1y", Err(LimitError::Unit("1y".to_owned()))),
        ] {
            assert_eq!(Limit::window(text), want, "{text}");
        }
    }

    #[test]
    fn a_limit_is_written_as_it_is_read() {
        for (text, messages, window_secs) in
            [("9 per 1d", 9, 86_400), ("1 per 30m", 1, 1800), ("100000 per 28d", 100_000, 2_419_200)]
        {
            let limit = Limit { messages, window_secs };
            assert_eq!(text.parse(), Ok(limit));
            assert_eq!(limit.to_string(), text);
            let json = format!("{{\"messages\":{messages},\"window_secs\":{window_secs}}}");
            assert_eq!(serde_json::to_string(&limit).unwrap(), json);
            assert_eq!(serde_json::from_str::<Limit>(&json).unwrap(), limit);
        }
        assert_eq!(Limit { messages: 2, window_secs: 61 }.to_string(), "2 per 61 seconds");
    }

    #[test]
    fn a_limit_out_of_range_is_refused() {
        for text in ["0 per 1d", "100001 per 1d", "9 per 59m1", "9 per 400d", "9", "per 1d", "-1 per 1d"] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
        for json in [
            r#"{"messages":0,"window_secs":60}"#,
            r#"{"messages":1,"window_secs":59}"#,
            r#"{"messages":1,"window_secs":60,"more":1}"#,
        ] {
            assert!(serde_json::from_str::<Limit>(json).is_err(), "{json}");
        }
    }
}
