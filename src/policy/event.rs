//! Events: the truth. Everything else, contact records included, is derived from them.

use super::Limit;
use super::contact::{Fact, FactKind, Imported, Level, Response, Scope, SkipReason};
use crate::classify::{BounceCode, BounceType, Category};
use crate::mail::{Address, ListId, MessageId};
use crate::report::Campaign;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A globally unique id, ordered by time: 48 bits milliseconds since 1970, 32 bits host, 48 bits counter.
/// Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[0-9a-fA-F]{32}$"))]
pub struct EventId(pub u128);

impl EventId {
    /// Puts an id together; each piece is cut to its width.
    pub fn new(at: Timestamp, host: u32, counter: u64) -> EventId {
        let milliseconds = at.as_millisecond().max(0) as u128 & 0xffff_ffff_ffff;
        EventId(milliseconds << 80 | u128::from(host) << 48 | u128::from(counter & 0xffff_ffff_ffff))
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> String {
        id.to_string()
    }
}

impl std::str::FromStr for EventId {
    type Err = String;
    fn from_str(text: &str) -> Result<EventId, String> {
        match u128::from_str_radix(text, 16) {
            Ok(id) if text.len() == 32 && !text.starts_with('+') => Ok(EventId(id)),
            _ => Err(format!("\"{text}\" is no event id; it has 32 hexadecimal digits")),
        }
    }
}

impl TryFrom<String> for EventId {
    type Error = String;
    fn try_from(text: String) -> Result<EventId, String> {
        text.parse()
    }
}

/// Recognises the same report again: equal for the same thing said by the same reporter of the same
/// recipient and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(pub [u8; 16]);

impl ContentKey {
    /// Hashes the pieces in order; the piece boundaries count.
    pub fn of(pieces: &[&[u8]]) -> ContentKey {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(&(piece.len() as u64).to_le_bytes());
            hasher.update(piece);
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        ContentKey(key)
    }
}

/// One event, as stored and as `GET /v1/events` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// The contact it is about; none where it could not be told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<Address>,
    /// Postfix's queue id of the message it came with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue_id: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// Something came back.
    Response {
        /// What the fold needs.
        #[serde(flatten)]
        response: Box<Response>,
        /// The words it rests on.
        evidence: Box<Evidence>,
    },
    /// A campaign's message was let out to a contact with an open streak.
    Sent {
        /// The campaign.
        campaign: Option<Campaign>,
        /// Its list.
        list: Option<ListId>,
        /// Its Message-ID.
        message_id: Option<MessageId>,
    },
    /// A recipient was taken off an outgoing message, or with `shadow` would have been.
    Skip {
        /// Why.
        reason: SkipReason,
        /// Category of the suppression, where that is why; `invalid` where address or domain are.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        category: Option<Category>,
        /// Scope of the suppression, where that is why.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        scope: Option<Scope>,
        /// The message limit, where that is why.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit: Option<Limit>,
        /// The campaign.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        campaign: Option<Campaign>,
        /// Its list.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        list: Option<ListId>,
        /// The forward path as the client wrote it, where that is no address that could be mailed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        forward_path: Option<String>,
        /// Decided and recorded, but not done (`mode = "shadow"`).
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        shadow: bool,
    },
    /// A person suppressed the contact.
    Suppress {
        /// Where it holds.
        scope: Scope,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// The contact was released.
    Reactivate {
        /// Where it holds.
        scope: Scope,
        /// Why.
        reason: String,
        /// The user id that asked; the daemon's own for its timer.
        uid: u32,
        /// By the daemon's timer.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        by_timer: bool,
    },
    /// An import begins: its id names the batch. What it brought follows as [`What::Imported`].
    Import {
        /// The operator's list it goes to; none for suppressions.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        list: Option<OperatorList>,
        /// Where it comes from: a file's name.
        source: String,
        /// How that was written: `plain`, `sendgrid`, ...
        format: String,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// A piece of an import, in order of subject.
    Imported {
        /// The batch.
        batch: EventId,
        /// The operator's list it goes to; none for suppressions.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        list: Option<OperatorList>,
        /// What was brought.
        entries: Vec<ImportedEntry>,
    },
    /// A batch was taken back: it counts as if it had never been.
    Revert {
        /// The batch.
        batch: EventId,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// An event was undone: it counts as if it had never been.
    Void {
        /// The event.
        target: EventId,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// A person vouches for a response that nothing vouched for: it counts from its own time on.
    Confirm {
        /// The response.
        target: EventId,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// An entry was put on an operator's list.
    ListAdd {
        /// Which list.
        list: OperatorList,
        /// The entry: an address, a domain, a hash.
        entry: String,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// An entry was taken off an operator's list, whoever put it there.
    ListRemove {
        /// Which list.
        list: OperatorList,
        /// The entry.
        entry: String,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// A sign of life.
    Activity {
        /// How strong, 0 to 5, as `backstopctl activity` is told.
        level: Level,
        /// The campaign it answers.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        campaign: Option<Campaign>,
        /// The user id that told it; not of events before it was kept.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        uid: Option<u32>,
        /// Why it was told by hand; mostly empty.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        reason: String,
    },
    /// What is known of the contact was set, whole.
    Attributes {
        /// By name.
        attributes: BTreeMap<String, String>,
        /// The user id that asked.
        uid: u32,
        /// Why; empty where nothing was said, and before it was asked for.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        reason: String,
    },
    /// The contact's own message limit was set; none takes it away.
    Limit {
        /// The limit.
        limit: Option<Limit>,
        /// The user id that asked.
        uid: u32,
        /// Why; empty where nothing was said, and before it was asked for.
        #[serde(skip_serializing_if = "String::is_empty", default)]
        reason: String,
    },
    /// A contact was erased. It says not whose it was.
    Erase {
        /// Whether a keyed hash stays that blocks the address.
        kept: bool,
        /// Why.
        reason: String,
        /// The user id that asked.
        uid: u32,
    },
    /// A report that is ours to read, but broken or about nobody we can name.
    Unreadable {
        /// What is wrong with it.
        problem: String,
        /// Its first octets, for the person who looks into it.
        excerpt: String,
    },
}

/// The lists that operators keep (SPEC 6), system-wide both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorList {
    /// Addresses and domains that get no campaign mail.
    Blocklist,
    /// People who want no advertising from anybody: addresses, also as hashes.
    Robinson,
}

impl OperatorList {
    /// The word for it in JSON and paths.
    pub fn as_str(self) -> &'static str {
        match self {
            OperatorList::Blocklist => "blocklist",
            OperatorList::Robinson => "robinson",
        }
    }

    /// As one speaks of it.
    pub fn title(self) -> &'static str {
        match self {
            OperatorList::Blocklist => "blocklist",
            OperatorList::Robinson => "Robinson list",
        }
    }
}

/// One entry of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedEntry {
    /// The address; on the operator's lists also a domain or a hash.
    pub subject: String,
    /// Where a suppression holds; system-wide where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scope: Option<Scope>,
    /// Category; none for a person's wish.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub category: Option<Category>,
    /// Hard or soft, for bounces.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<BounceCode>,
    /// Finer reason; `imported` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Since when, as the list says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// The words of whoever wrote the list.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// The words a response rests on, and who said them. Dropped after `[store] evidence_days`; the response stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// One line: what the bounce code or the rule means.
    pub description: String,
    /// The text the judgement rests on (`Diagnostic-Code`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub diagnostic: Option<String>,
    /// `Status` as written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub status: Option<String>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    /// The words it matched.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub matched: Option<String>,
    /// Which reader read it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dialect: Option<String>,
    /// Who reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reporting_mta: Option<String>,
    /// The server that answered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote_mta: Option<String>,
    /// The returned message.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message_id: Option<MessageId>,
    /// Why it has the authority it has.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authority_because: Option<String>,
}

impl What {
    /// The word for it in status, logs and listings: for a response what the report says.
    pub fn name(&self) -> &'static str {
        match self {
            What::Response { response, .. } => response.kind.as_str(),
            What::Sent { .. } => "sent",
            What::Skip { .. } => "skip",
            What::Suppress { .. } => "suppress",
            What::Reactivate { .. } => "reactivate",
            What::Import { .. } => "import",
            What::Imported { .. } => "imported",
            What::Revert { .. } => "revert",
            What::Void { .. } => "void",
            What::Confirm { .. } => "confirm",
            What::ListAdd { .. } => "list-add",
            What::ListRemove { .. } => "list-remove",
            What::Activity { .. } => "activity",
            What::Attributes { .. } => "attributes",
            What::Limit { .. } => "limit",
            What::Erase { .. } => "erase",
            What::Unreadable { .. } => "unreadable",
        }
    }
}

impl Event {
    /// The facts that this event adds, each with the contact whose record it goes to.
    pub fn facts(&self) -> Vec<(Address, Fact)> {
        let fact = |what| Fact { event: self.id, at: self.at, what };
        match (&self.what, &self.address) {
            (What::Imported { batch, list: None, entries }, _) => {
                let imported = |entry: &ImportedEntry| {
                    let address = Address::parse(&entry.subject).ok()?;
                    let reason = entry.reason.as_deref().unwrap_or("imported").to_owned();
                    let what = FactKind::Imported(Box::new(Imported {
                        batch: *batch,
                        scope: entry.scope.clone().unwrap_or(Scope::System),
                        category: entry.category,
                        bounce_type: entry.bounce_type,
                        code: entry.code,
                        reason,
                        since: entry.since,
                    }));
                    Some((address, fact(what)))
                };
                entries.iter().filter_map(imported).collect()
            }
            (_, Some(address)) => self.fact_kind().map(|what| (address.clone(), fact(what))).into_iter().collect(),
            (_, None) => Vec::new(),
        }
    }

    /// The fact about the one contact the event names, if it adds one.
    pub fn fact(&self) -> Option<Fact> {
        self.fact_kind().map(|what| Fact { event: self.id, at: self.at, what })
    }

    fn fact_kind(&self) -> Option<FactKind> {
        Some(match &self.what {
            What::Response { response, .. } => FactKind::Response(response.clone()),
            What::Sent { campaign, list, .. } => FactKind::Sent { campaign: campaign.clone(), list: list.clone() },
            What::Suppress { scope, reason, .. } => FactKind::Suppress { scope: scope.clone(), reason: reason.clone() },
            What::Reactivate { scope, reason, by_timer, .. } => {
                FactKind::Reactivate { scope: scope.clone(), reason: reason.clone(), by_timer: *by_timer }
            }
            What::Activity { level, campaign, .. } => FactKind::Activity { level: *level, campaign: campaign.clone() },
            What::Attributes { attributes, .. } => FactKind::Attributes(attributes.clone()),
            What::Limit { limit, .. } => FactKind::Limit(*limit),
            What::Confirm { target, .. } => FactKind::Confirm { target: *target },
            What::Skip { .. }
            | What::Import { .. }
            | What::Imported { .. }
            | What::Revert { .. }
            | What::Void { .. }
            | What::ListAdd { .. }
            | What::ListRemove { .. }
            | What::Erase { .. }
            | What::Unreadable { .. } => return None,
        })
    }
}
