//! Shapes of what operators and their programs tell: attributes, limits, signs of life, lists.

use super::super::given::{MOST, REASON_CHARS};
use crate::mail::Address;
use crate::policy::{EventId, Level, Limit, OperatorList};
use crate::report::Campaign;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What `PUT /v1/contacts/{address}/attributes` did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttributesAnswer {
    /// The contact.
    pub address: Address,
    /// Nothing was recorded.
    pub dry_run: bool,
    /// The event that records it; `null` in a dry run.
    pub event: Option<EventId>,
    /// What is known of the contact now.
    pub attributes: BTreeMap<String, String>,
}

/// What an attribute may be; it is kept as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AttributeValue {
    /// Text, at most 256 octets.
    Text(String),
    /// A number, kept as JSON writes it.
    Number(serde_json::Number),
    /// `true` or `false`.
    Flag(bool),
}

/// A contact's own message limit: the body of `PUT /v1/contacts/{address}/limit`, where `null` takes it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactLimit {
    /// At most so many campaign messages
    #[schemars(range(min = 1))]
    pub messages: u32,
    /// in so long: `12h`, `1d`, `1w`.
    pub window: String,
}

/// Shortest and longest window, in seconds.
const WINDOW: std::ops::RangeInclusive<i64> = 60..=31 * 86_400;

impl TryFrom<&ContactLimit> for Limit {
    type Error = String;
    fn try_from(limit: &ContactLimit) -> Result<Limit, String> {
        if limit.messages == 0 {
            return Err("`messages` is at least 1; to send none, suppress the contact".to_owned());
        }
        let wanted = || format!("`window`: \"{}\": from 1m to 31d is wanted, as 12h, 1d or 1w", limit.window);
        let span: Span = limit.window.trim().parse().map_err(|_| wanted())?;
        let relative = SpanRelativeTo::days_are_24_hours();
        let length: SignedDuration = span.to_duration(relative).map_err(|_| wanted())?;
        match u32::try_from(length.as_secs()) {
            Ok(window_secs) if WINDOW.contains(&length.as_secs()) => {
                Ok(Limit { messages: limit.messages, window_secs })
            }
            Ok(_) | Err(_) => Err(wanted()),
        }
    }
}

impl From<Limit> for ContactLimit {
    fn from(limit: Limit) -> ContactLimit {
        let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
        let fits = |(secs, _): &&(u32, &str)| limit.window_secs.is_multiple_of(*secs);
        let (secs, unit) = units.iter().find(fits).copied().unwrap_or((1, "s"));
        ContactLimit { messages: limit.messages, window: format!("{}{unit}", limit.window_secs / secs) }
    }
}

/// What `PUT /v1/contacts/{address}/limit` did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitAnswer {
    /// The contact.
    pub address: Address,
    /// Nothing was recorded.
    pub dry_run: bool,
    /// The event that records it; `null` in a dry run.
    pub event: Option<EventId>,
    /// The contact's own limit now.
    pub limit: Option<ContactLimit>,
}

/// One sign of life: `POST /v1/activity` takes one or an array of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivityRequest {
    /// Whose.
    pub address: String,
    /// The campaign it answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub campaign: Option<Campaign>,
    /// How strong: 0 to 5, or the word for it.
    pub level: LevelWord,
    /// When; now if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
}

/// One, or an array of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Many.
    Many(Vec<T>),
}

/// A level of activity by number or by word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "NumberOrWord", into = "u8")]
pub struct LevelWord(pub Level);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrWord {
    Number(u64),
    Word(String),
    Other(serde::de::IgnoredAny),
}

const LEVELS: [(&str, Level); 6] = [
    ("machine-open", Level::MACHINE_OPEN),
    ("open", Level::OPEN),
    ("click", Level::CLICK),
    ("human-click", Level::HUMAN_CLICK),
    ("reply", Level::REPLY),
    ("purchase", Level::PURCHASE),
];

impl std::str::FromStr for LevelWord {
    type Err = String;
    fn from_str(text: &str) -> Result<LevelWord, String> {
        let by_word = LEVELS.iter().find(|(word, _)| *word == text).map(|(_, level)| *level);
        let by_number = || text.parse::<u8>().ok().and_then(|number| Level::try_from(number).ok());
        by_word.or_else(by_number).map(LevelWord).ok_or_else(|| {
            let words: Vec<&str> = LEVELS.iter().map(|(word, _)| *word).collect();
            format!("`level`: \"{text}\" is no level of activity; it is 0 to 5, or {}", words.join(", "))
        })
    }
}

impl TryFrom<NumberOrWord> for LevelWord {
    type Error = String;
    fn try_from(given: NumberOrWord) -> Result<LevelWord, String> {
        match given {
            NumberOrWord::Number(number) => number.to_string().parse(),
            NumberOrWord::Word(word) => word.parse(),
            NumberOrWord::Other(_) => "?".parse(),
        }
    }
}

impl From<LevelWord> for u8 {
    fn from(level: LevelWord) -> u8 {
        level.0.into()
    }
}

impl JsonSchema for LevelWord {
    fn schema_name() -> Cow<'static, str> {
        "LevelWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = LEVELS.iter().map(|(word, _)| (*word).to_owned());
        let words: Vec<String> = words.chain((0..LEVELS.len()).map(|number| number.to_string())).collect();
        json_schema!({
            "description": "How strong a sign of life is, by number or by word.",
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": LEVELS.len() - 1 },
                { "type": "string", "enum": words },
            ],
        })
    }
}

/// What became of signs of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ActivityAnswer {
    /// Recorded.
    pub recorded: u64,
    /// On record already: the same was told before.
    pub known: u64,
    /// Not recorded: nothing is on record of the contact that a sign of life could change.
    pub ignored: u64,
    /// Nothing was recorded, `recorded` is what might be.
    pub dry_run: bool,
}

/// One entry of `GET /v1/blocklist` or `/v1/robinson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListEntry {
    /// An address, a domain (`.example.com` for what is below it), a hash.
    pub entry: String,
    /// Since when.
    pub since: Timestamp,
    /// The event that put it there.
    pub event: EventId,
    /// The batch it came with.
    pub batch: Option<EventId>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListAnswer {
    /// The entries, in order.
    pub entries: Vec<ListEntry>,
    /// What to pass as `cursor` for the next page; `null` at the end.
    pub next: Option<String>,
}

/// The body of `PUT` and `DELETE /v1/blocklist` and `/v1/robinson`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListChangeRequest {
    /// Which entries.
    #[schemars(length(min = 1, max = MOST))]
    pub entries: Vec<String>,
    /// Why, in one line.
    #[schemars(length(min = 1, max = REASON_CHARS))]
    pub reason: String,
}

/// What a change of a list did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListChangeAnswer {
    /// Which list.
    pub list: OperatorList,
    /// `add` or `remove`.
    pub action: String,
    /// Nothing was recorded.
    pub dry_run: bool,
    /// Entries added or removed.
    pub changed: u64,
    /// Entries that were on it before, or were not on it.
    pub unchanged: u64,
    /// Entries that cannot be used; the others went in.
    pub bad: Vec<BadEntry>,
}

/// An entry that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BadEntry {
    /// The entry as it was given.
    pub entry: String,
    /// What is wrong, and what would do.
    pub problem: String,
}

/// By which entry a contact is on one of the operator's lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listing {
    /// Which list.
    pub list: OperatorList,
    /// The entry: the address, its domain, its hash.
    #[serde(flatten)]
    pub entry: ListEntry,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_number_or_a_word() {
        for (json, want) in [
            ("0", Some(Level::MACHINE_OPEN)),
            ("5", Some(Level::PURCHASE)),
            ("\"human-click\"", Some(Level::HUMAN_CLICK)),
            ("\"2\"", Some(Level::CLICK)),
            ("6", None),
            ("-1", None),
            ("1.5", None),
            ("\"glance\"", None),
            ("null", None),
            ("[]", None),
        ] {
            let read = serde_json::from_str::<LevelWord>(json);
            assert_eq!(read.as_ref().ok().map(|level| level.0), want, "{json}");
            assert!(read.is_ok() || read.is_err_and(|error| error.to_string().contains("machine-open")), "{json}");
        }
    }

    #[test]
    fn a_window_reads_back_as_it_is_written() {
        for (messages, window, want) in [
            (3, "1d", Some(86_400)),
            (3, "24h", Some(86_400)),
            (1, "1w", Some(7 * 86_400)),
            (1, "90m", Some(5400)),
            (1, "31d", Some(31 * 86_400)),
            (1, "32d", None),
            (1, "1s", None),
            (1, "-1d", None),
            (1, "1 month", None),
            (1, "soon", None),
            (1, "", None),
            (0, "1d", None),
        ] {
            let limit = Limit::try_from(&ContactLimit { messages, window: window.to_owned() });
            assert_eq!(limit.as_ref().ok().map(|limit| limit.window_secs), want, "{messages} in {window:?}: {limit:?}");
            if let Ok(limit) = limit {
                assert_eq!(Limit::try_from(&ContactLimit::from(limit)), Ok(limit), "{window}");
            }
        }
    }
}
