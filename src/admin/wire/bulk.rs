//! Shapes of what is done to many at once, undone, or erased.

use super::super::given::REASON_CHARS;
use super::{Problem, SuppressionAnswer};
use crate::bulk::{BadLine, Format};
use crate::classify::{BounceCode, BounceType, Category};
use crate::mail::Address;
use crate::policy::{Authority, EventId, OperatorList, State};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A body that says only why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonRequest {
    /// Why, in one line.
    #[schemars(length(min = 1, max = REASON_CHARS))]
    pub reason: String,
}

/// A line of `POST /v1/import`: how far it is (`read`, then `stored`), a bad line, or the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ImportLine {
    /// The end: what came of it.
    Done(ImportAnswer),
    /// A line that could not be read.
    Bad(BadLine),
    /// Lines read so far.
    Read {
        /// How many.
        read: u64,
    },
    /// Entries stored so far.
    Stored {
        /// How many.
        stored: u64,
    },
    /// The end: nothing was imported.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// What an import did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportAnswer {
    /// The batch, for `POST /v1/batches/{id}/revert`; `null` in a dry run and where there was nothing to import.
    pub batch: Option<EventId>,
    /// Nothing was recorded.
    pub dry_run: bool,
    /// Which of the operator's lists; `null` for suppressions.
    pub list: Option<OperatorList>,
    /// The format it was read as; `null` if the list was empty.
    pub format: Option<Format>,
    /// Entries imported.
    pub imported: u64,
    /// Of these, entries about somebody who was on record, or on the list, before; not looked for in a dry run.
    pub known: u64,
    /// Lines that could not be read; the first thousand of them were told.
    pub bad: u64,
    /// Entries that said what an earlier one said.
    pub duplicates: u64,
    /// Lines about somebody who may be mailed.
    pub not_suppressed: u64,
}

/// One batch of `GET /v1/batches`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchAnswer {
    /// Its id.
    pub batch: EventId,
    /// When.
    pub at: Timestamp,
    /// Which of the operator's lists; `null` for suppressions.
    pub list: Option<OperatorList>,
    /// Where it came from.
    pub source: String,
    /// Why.
    pub reason: String,
    /// The user id that asked.
    pub uid: u32,
    /// Entries it brought.
    pub entries: u64,
    /// Of these, entries about somebody who was on record, or on the list, before.
    pub known: u64,
    /// When it was taken back, if it was.
    pub reverted: Option<Timestamp>,
}

/// `GET /v1/batches`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchesAnswer {
    /// Oldest first.
    pub batches: Vec<BatchAnswer>,
    /// What to pass as `cursor` for the next page; `null` at the end.
    pub next: Option<String>,
}

/// A line of `POST /v1/batches/{id}/revert`: how far it is, or the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RevertLine {
    /// The end.
    Done {
        /// The batch.
        batch: EventId,
        /// Entries that went, or would go.
        removed: u64,
        /// Nothing was changed.
        dry_run: bool,
    },
    /// Entries taken back so far.
    Progress {
        /// How many.
        reverted: u64,
    },
    /// The end: it failed.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// What `POST /v1/events/{id}/void` did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VoidAnswer {
    /// The event that was undone.
    pub target: EventId,
    /// What it was: `bounce`, `suppress`, ...
    pub kind: String,
    /// Nothing was recorded.
    pub dry_run: bool,
    /// The event that records it; `null` in a dry run.
    pub event: Option<EventId>,
    /// The contact it was about.
    pub address: Option<Address>,
    /// How that contact stood.
    pub before: Option<State>,
    /// How it stands.
    pub after: Option<State>,
    /// Every suppression in force afterwards.
    pub suppressions: Vec<SuppressionAnswer>,
}

/// The body of `POST /v1/confirm`: which responses, and why. At least one of the others goes with the reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmRequest {
    /// Why, in one line.
    #[schemars(length(min = 1, max = REASON_CHARS))]
    pub reason: String,
    /// From this time on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<String>,
    /// Before this time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<String>,
    /// Of contacts of this domain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub domain: Option<String>,
    /// `unverified`: no other needs it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authority: Option<Authority>,
}

/// What `POST /v1/events/{id}/confirm` did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfirmAnswer {
    /// The response that was confirmed.
    pub target: EventId,
    /// What it was: `bounce`, `complaint`, ...
    pub kind: String,
    /// Nothing was recorded.
    pub dry_run: bool,
    /// The event that records it, for `POST /v1/events/{id}/void`; `null` in a dry run.
    pub event: Option<EventId>,
    /// The contact it is about.
    pub address: Address,
    /// How that contact stood.
    pub before: State,
    /// How it stands.
    pub after: State,
    /// Every suppression in force afterwards.
    pub suppressions: Vec<SuppressionAnswer>,
}

/// A line of `POST /v1/confirm`: how far it is, or the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConfirmLine {
    /// The end.
    Done {
        /// Responses that were confirmed, or would be.
        responses: u64,
        /// Contacts they are about.
        contacts: u64,
        /// Of these, contacts that could be mailed before and cannot any more.
        suppressed: u64,
        /// There are more than one request confirms; ask again.
        more: bool,
        /// Nothing was recorded.
        dry_run: bool,
    },
    /// Responses confirmed so far.
    Progress {
        /// How many.
        confirmed: u64,
    },
    /// The end: it failed; what was confirmed so far stays.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// What `DELETE /v1/contacts/{address}` did, or with `?dry_run=true` would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EraseAnswer {
    /// The contact.
    pub address: Address,
    /// Nothing was erased.
    pub dry_run: bool,
    /// A keyed hash stays, by which the address is blocked.
    pub hash_kept: bool,
    /// Events that went, or were relieved of the address.
    pub events: u64,
    /// Sends that went; `null` in a dry run, which does not look for them.
    pub sends: Option<u64>,
}

/// A line of `POST /v1/compact`: how far it is, or the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CompactLine {
    /// The end.
    Done {
        /// Octets on disk before,
        bytes_before: u64,
        /// and after.
        bytes_after: u64,
    },
    /// The end of a dry run.
    Nothing {
        /// Octets on disk.
        bytes_before: u64,
        /// Nothing was changed.
        dry_run: bool,
    },
    /// Records written so far.
    Progress {
        /// How many.
        written: u64,
    },
    /// The end: it failed, and the store is as it was.
    Failed {
        /// Why.
        error: Problem,
    },
}

/// A line of `GET /v1/export?hashed=`: what was said of whom, without saying of whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HashedRow {
    /// `sha256:HEX`, `sha256:SALT:HEX`, ... of the address; of a blocklist also a domain.
    pub subject: String,
    /// Where it holds.
    pub scope: String,
    /// Category.
    pub category: Option<Category>,
    /// Hard or soft, for bounces.
    #[serde(rename = "type")]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    pub code: Option<BounceCode>,
    /// Since when.
    pub since: Timestamp,
}

/// A line of `GET /v1/export` of one of the operator's lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ListRow {
    /// An address, a domain, a hash.
    pub subject: String,
    /// Since when.
    pub since: Timestamp,
}
