//! The JSON shapes of the admin API (SPEC 12), shared with `backstopctl` and the fixtures.
//!
//! A field that does not apply is `null`, so that every answer of a kind has the same fields; only `matched`
//! and `error` of [`Classified`] are left out. Times are RFC 3339 in UTC.

mod bulk;
mod explain;
mod lists;

pub use bulk::*;
pub use explain::*;
pub use lists::*;

use super::given::REASON_CHARS;
use super::server::{ConfigState, LastRelease};
use crate::classify::{BounceCode, BounceType, Category, Class, Fault};
use crate::mail::{Address, ListId, MessageId};
use crate::outbound::Mode;
use crate::policy::{Authority, Event, EventId, Scope, SkipReason, State, Suppression};
use crate::report::{Campaign, Kind};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /v1/contacts/{address}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactAnswer {
    /// The contact in normal form.
    pub address: Address,
    /// How it stands.
    pub state: State,
    /// Every suppression in force.
    pub suppressions: Vec<SuppressionAnswer>,
    /// Soft bounces in a row.
    pub soft_streak: u32,
    /// By which entries it is on the operator's lists.
    pub lists: Vec<Listing>,
    /// Its data was erased, and it stays blocked.
    pub erased: bool,
    /// What is known of it, for `X-Backstop-Require`.
    pub attributes: BTreeMap<String, String>,
    /// Its own message limit.
    pub limit: Option<ContactLimit>,
    /// What came back, or was prevented, oldest first.
    pub responses: Vec<ResponseAnswer>,
}

/// One suppression in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuppressionAnswer {
    /// `system`, or the id of the one list it holds for.
    pub scope: String,
    /// Category; `null` where a person said so.
    pub category: Option<Category>,
    /// Hard or soft, for bounces.
    #[serde(rename = "type")]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    pub code: Option<BounceCode>,
    /// Finer reason, or the person's words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, where it ends by itself.
    pub until: Option<Timestamp>,
    /// The campaign it arose in.
    pub campaign: Option<Campaign>,
    /// The event that tipped it.
    pub event: EventId,
}

impl From<&Suppression> for SuppressionAnswer {
    fn from(suppression: &Suppression) -> SuppressionAnswer {
        SuppressionAnswer {
            scope: suppression.scope.as_str().to_owned(),
            category: suppression.category,
            bounce_type: suppression.bounce_type,
            code: suppression.code,
            reason: suppression.reason.clone(),
            since: suppression.since,
            until: suppression.until,
            campaign: suppression.campaign.clone(),
            event: suppression.event,
        }
    }
}

/// One response of a contact. A recipient that Backstop itself took off a message is one too: class `skip`,
/// kind `other`, the reason for the skip as its reason, and nobody's authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResponseAnswer {
    /// The event that recorded it, for `POST /v1/events/{id}/void`.
    pub event: EventId,
    /// When.
    pub at: Timestamp,
    /// Where on its way it arose.
    pub class: Class,
    /// What the report says.
    pub kind: Kind,
    /// Category.
    pub category: Option<Category>,
    /// Hard or soft.
    #[serde(rename = "type")]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    pub code: Option<BounceCode>,
    /// Finer reason.
    pub reason: Option<String>,
    /// Whose problem it is.
    pub fault: Option<Fault>,
    /// How far it is believed.
    pub authority: Option<Authority>,
    /// The campaign it answers.
    pub campaign: Option<Campaign>,
    /// The list of that campaign.
    pub list: Option<ListId>,
    /// One line: what the code or the rule means.
    pub description: Option<String>,
    /// The words it rests on.
    pub diagnostic: Option<String>,
    /// Whether proof of life took it back.
    pub retracted: bool,
}

/// One entry of `GET /v1/suppressions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListedSuppression {
    /// Whose it is.
    pub address: Address,
    /// The suppression.
    #[serde(flatten)]
    pub suppression: SuppressionAnswer,
}

/// A page of `GET /v1/suppressions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SuppressionsAnswer {
    /// The entries, in order of address.
    pub suppressions: Vec<ListedSuppression>,
    /// What to pass as `cursor` for the next page; `null` at the end.
    pub next: Option<String>,
}

/// A page of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventsAnswer {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// What to pass as `cursor` for the next page; `null` at the end.
    pub next: Option<String>,
}

/// One verdict of `POST /v1/check`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckAnswer {
    /// The address as it was asked about.
    pub address: String,
    /// Whether campaign mail is kept from it: of the list asked about, or all campaign mail.
    pub suppressed: bool,
    /// Why it would be skipped: `suppressed`, `blocklist`, `robinson`, `invalid-address`; `null` if it may be mailed.
    pub reason: Option<SkipReason>,
    /// How the contact stands; `active` if never heard of, `null` if it is no address.
    pub state: Option<State>,
    /// Every suppression in force, of other lists too.
    pub suppressions: Vec<SuppressionAnswer>,
}

/// The body of `POST /v1/contacts/{address}/suppress` and `/reactivate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRequest {
    /// `system` (taken if absent) or the id of one list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<String>,
    /// Why, in one line.
    #[schemars(length(min = 1, max = REASON_CHARS))]
    pub reason: String,
}

/// What a change did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChangeAnswer {
    /// The contact.
    pub address: Address,
    /// `suppress` or `reactivate`.
    pub action: String,
    /// Where it holds.
    pub scope: String,
    /// Nothing was recorded.
    pub dry_run: bool,
    /// The event that records it; `null` in a dry run.
    pub event: Option<EventId>,
    /// How the contact stood.
    pub before: State,
    /// How it stands.
    pub after: State,
    /// Every suppression in force afterwards.
    pub suppressions: Vec<SuppressionAnswer>,
}

/// `POST /v1/ingest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IngestAnswer {
    /// What the mail was.
    pub kind: Kind,
    /// Events it made.
    pub recorded: Vec<EventId>,
    /// Events that were on record already: the same report came before.
    pub known: Vec<EventId>,
}

/// `POST /v1/classify`, a line of `backstopctl classify`, and the expected answer of a fixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Classified {
    /// What the mail says.
    pub kind: Kind,
    /// The campaign of the message it is about.
    #[serde(default)]
    pub campaign: Option<Campaign>,
    /// The list of that message.
    #[serde(default)]
    pub list: Option<ListId>,
    /// `Message-ID` of that message.
    #[serde(default)]
    pub message_id: Option<MessageId>,
    /// One entry for each recipient it speaks of, in its order.
    #[serde(default)]
    pub recipients: Vec<ClassifiedRecipient>,
    /// Why it could not be read, where it is a report but broken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// What a report says of one recipient.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClassifiedRecipient {
    /// The recipient; `null` where none can be told.
    pub address: Option<Address>,
    /// Bounce code; of a delivery the success code.
    pub code: Option<BounceCode>,
    /// Hard or soft; `null` for a delivery.
    #[serde(rename = "type")]
    pub bounce_type: Option<BounceType>,
    /// Category; `null` for a delivery.
    pub category: Option<Category>,
    /// Finer reason.
    pub reason: Option<String>,
    /// Whose problem it is.
    pub fault: Option<Fault>,
    /// The words as the report gives them.
    pub diagnostic: Option<String>,
    /// Which reader read it.
    pub dialect: Option<String>,
    /// The rule that decided, `code-table` for the bare code.
    pub rule: Option<String>,
    /// The words the rule matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matched: Option<String>,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Whether decisions are carried out.
    pub mode: Mode,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// How often each kind of event was logged since it started.
    pub counters: BTreeMap<String, u64>,
    /// The last event of each kind on record, of the last thirty days.
    pub last_events: BTreeMap<String, LastEvent>,
    /// What somebody should look at now.
    pub alerts: Vec<Alert>,
    /// Where the configuration comes from.
    pub config: ConfigState,
    /// The last run of the timer that releases contacts; `null` before the first, and where nothing ends by itself.
    pub release: Option<LastRelease>,
    /// Figures of the store.
    pub store: StoreFigures,
    /// Figures of the milter.
    pub milter: MilterFigures,
}

/// The last event of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LastEvent {
    /// When.
    pub at: Timestamp,
    /// Its id.
    pub event: EventId,
    /// The contact it was about.
    pub address: Option<Address>,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Which: `config-not-reloaded`, ...
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Figures of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreFigures {
    /// Events on record.
    pub events: u64,
    /// Contacts with a record.
    pub contacts: u64,
    /// Writes waiting.
    pub waiting: u64,
    /// Octets on disk.
    pub disk_bytes: u64,
}

/// Figures of the milter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MilterFigures {
    /// Connections open.
    pub connections: usize,
}

/// A line of `POST /v1/rebuild`: many with `events_read`, the last one with `contacts`, or with `error`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RebuildProgress {
    /// Events read so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_read: Option<u64>,
    /// Done: contact records made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<u64>,
    /// Nothing was changed; these are the records there are.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub dry_run: bool,
    /// Failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// Every answer that is no success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorAnswer {
    /// What is wrong.
    pub error: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A word for programs: `not-found`, `invalid-value`, ...
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// Reads a scope: `system`, or the id of a list, with or without angle brackets (RFC 2919 §3).
///
/// # Errors
/// A sentence saying what would do.
pub fn read_scope(text: &str) -> Result<Scope, String> {
    let text = text.trim();
    if text == "system" {
        return Ok(Scope::System);
    }
    let id = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
    // RFC 5322 §2.1.1: no line of a header is longer than 998 octets.
    if id.is_empty() || id.len() > 998 || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("`scope` is \"system\" or the id of one list, as in its List-ID".to_owned());
    }
    Ok(Scope::List(ListId(id.to_lowercase())))
}

/// The word that stands for a unit variant in JSON, for tables and CSV.
pub fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_the_system_or_one_list() {
        for (text, want) in [
            ("system", Some(Scope::System)),
            ("News.Example.ORG", Some(Scope::List(ListId("news.example.org".into())))),
            ("<news.example.org>", Some(Scope::List(ListId("news.example.org".into())))),
            ("", None),
            ("<>", None),
            ("two words", None),
            ("line\nbreak", None),
        ] {
            assert_eq!(read_scope(text).ok(), want, "scope {text:?}");
        }
    }

    #[test]
    fn a_scope_reads_back_as_written() {
        for scope in [Scope::System, Scope::List(ListId("news.example.org".into()))] {
            assert_eq!(read_scope(scope.as_str()), Ok(scope));
        }
    }

    #[test]
    fn a_recipient_has_every_field_of_the_specification_and_no_other() {
        let json = serde_json::to_value(ClassifiedRecipient::default()).expect("plain data");
        let names: Vec<&str> = json.as_object().expect("a struct").keys().map(String::as_str).collect();
        let mut want = ["address", "code", "type", "category", "reason", "fault", "diagnostic", "dialect", "rule"];
        want.sort_unstable();
        assert_eq!(names, want);
    }

    #[test]
    fn words_are_those_of_the_json() {
        assert_eq!(word(&Kind::NotSpam), "not-spam");
        assert_eq!(word(&SkipReason::InvalidAddress), "invalid-address");
    }
}
