//! What is on record of one contact: the facts that the fold reads.

use super::{EventId, Limit};
use crate::classify::{BounceCode, BounceType, Category, Class, Fault};
use crate::mail::ListId;
use crate::report::{Campaign, Kind};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// How far a piece of evidence is to be believed (SPEC 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// Nothing vouches for it: recorded and shown, decides nothing.
    Unverified,
    /// A complaint whose signature verifies for a known feedback-loop domain.
    Authenticated,
    /// The returned message is in our send ledger, and this recipient was one of its recipients.
    Matched,
    /// Written by our own Postfix.
    Local,
    /// Carries a valid token of ours.
    Signed,
    /// A person said so.
    Operator,
}

impl Authority {
    /// The word for it in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Authority::Unverified => "unverified",
            Authority::Authenticated => "authenticated",
            Authority::Matched => "matched",
            Authority::Local => "local",
            Authority::Signed => "signed",
            Authority::Operator => "operator",
        }
    }
}

/// Where a suppression holds. Written as `system` or the id of the list; a list that is named just `system`,
/// without a domain, is not told apart (RFC 2919 §3 asks for one).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
pub enum Scope {
    /// For all mail.
    System,
    /// For one list.
    List(ListId),
}

impl Scope {
    /// How it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Scope::System => "system",
            Scope::List(list) => &list.0,
        }
    }
}

impl From<String> for Scope {
    fn from(text: String) -> Scope {
        if text == "system" { Scope::System } else { Scope::List(ListId(text)) }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> String {
        scope.as_str().to_owned()
    }
}

/// Why a recipient was taken off an outgoing message (SPEC 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// The contact is suppressed for this list or system-wide.
    Suppressed,
    /// On the operator's blocklist.
    Blocklist,
    /// On the Robinson list.
    Robinson,
    /// A message limit is reached.
    Limit,
    /// A required attribute is not known.
    MissingInfo,
    /// No address that can be mailed.
    InvalidAddress,
    /// The domain does not exist or takes no mail.
    InvalidDomain,
}

impl SkipReason {
    /// The word for it in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            SkipReason::Suppressed => "suppressed",
            SkipReason::Blocklist => "blocklist",
            SkipReason::Robinson => "robinson",
            SkipReason::Limit => "limit",
            SkipReason::MissingInfo => "missing-info",
            SkipReason::InvalidAddress => "invalid-address",
            SkipReason::InvalidDomain => "invalid-domain",
        }
    }
}

/// What came back for one (contact, campaign), as far as the fold needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Response {
    /// Where on its way it arose.
    pub class: Class,
    /// What the report says.
    pub kind: Kind,
    /// Category, for bounces, complaints and failed sends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub category: Option<Category>,
    /// Hard or soft, for bounces.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<BounceCode>,
    /// Finer reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Whose problem.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fault: Option<Fault>,
    /// Whether words decided, not the bare code.
    #[serde(default)]
    pub by_words: bool,
    /// How far it is to be believed.
    pub authority: Authority,
    /// The campaign it answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub campaign: Option<Campaign>,
    /// The list of that campaign.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub list: Option<ListId>,
    /// When the message it answers was sent, where known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sent_at: Option<Timestamp>,
}

/// One thing on record of a contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    /// The event it comes from.
    pub event: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub what: FactKind,
}

/// The kinds of fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FactKind {
    /// Something came back.
    Response(Box<Response>),
    /// A campaign's message was let out to the contact while a streak was open.
    Sent {
        /// The campaign.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        campaign: Option<Campaign>,
        /// Its list.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        list: Option<ListId>,
    },
    /// A person suppressed the contact.
    Suppress {
        /// Where it holds.
        scope: Scope,
        /// Why.
        reason: String,
    },
    /// The contact was released: what came before does not count any more in that scope.
    Reactivate {
        /// Where it holds; `System` releases everywhere.
        scope: Scope,
        /// Why.
        reason: String,
        /// By the daemon's timer, after the days its profile says; else by a person.
        #[serde(skip_serializing_if = "std::ops::Not::not", default)]
        by_timer: bool,
    },
    /// Suppressed elsewhere before, and brought along in an import.
    Imported(Box<Imported>),
    /// A sign of life, told by the operator's programs.
    Activity {
        /// How strong a sign.
        level: Level,
        /// The campaign it answers.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        campaign: Option<Campaign>,
    },
    /// What is known of the contact (SPEC 7.3), whole: it replaces what was known before.
    Attributes(BTreeMap<String, String>),
    /// The contact's own message limit; none takes it away.
    Limit(Option<Limit>),
    /// A person vouches for a response that nothing vouched for.
    Confirm {
        /// The event of the response.
        target: EventId,
    },
}

/// A suppression that was imported: why, as far as the list said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// The batch, named by the event that began it.
    pub batch: EventId,
    /// Where it holds.
    pub scope: Scope,
    /// Category; none for a person's wish.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub category: Option<Category>,
    /// Hard or soft, for bounces.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<BounceCode>,
    /// Finer reason.
    pub reason: String,
    /// Since when it is suppressed, as the list says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
}

/// How strong a sign of life is (SPEC 6): 0 opened by a program, 1 opened, 2 clicked, 3 clicked by a person,
/// 4 replied or replied automatically, 5 bought, logged in or confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u8", into = "u8")]
#[schemars(extend("maximum" = 5))]
pub struct Level(u8);

impl Level {
    /// Opened by a program: says nothing.
    pub const MACHINE_OPEN: Level = Level(0);
    /// Opened.
    pub const OPEN: Level = Level(1);
    /// Clicked.
    pub const CLICK: Level = Level(2);
    /// Clicked by a person.
    pub const HUMAN_CLICK: Level = Level(3);
    /// Replied, by hand or automatically; delivered, as a report shows.
    pub const REPLY: Level = Level(4);
    /// Bought, logged in or confirmed.
    pub const PURCHASE: Level = Level(5);
}

impl TryFrom<u8> for Level {
    type Error = String;
    fn try_from(number: u8) -> Result<Level, String> {
        match number {
            0..=5 => Ok(Level(number)),
            _ => Err(format!("{number} is no level of activity; it takes 0 (machine open) to 5 (purchase, login)")),
        }
    }
}

impl From<Level> for u8 {
    fn from(level: Level) -> u8 {
        level.0
    }
}

/// All that is on record of one contact, in order of time, then of event id; no event twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contact {
    /// The facts.
    pub facts: Vec<Fact>,
}

impl FromIterator<Fact> for Contact {
    /// As if each had been put in by [`Contact::insert`], in less time; facts of one event have one time.
    fn from_iter<I: IntoIterator<Item = Fact>>(facts: I) -> Contact {
        let mut facts: Vec<Fact> = facts.into_iter().collect();
        facts.sort_by_key(|fact| (fact.at, fact.event));
        facts.dedup_by_key(|fact| fact.event);
        Contact { facts }
    }
}

impl Contact {
    /// Puts a fact in its place; a fact of an event already there changes nothing.
    pub fn insert(&mut self, fact: Fact) {
        let key = |fact: &Fact| (fact.at, fact.event);
        match self.facts.binary_search_by_key(&key(&fact), key) {
            Ok(_) => {}
            Err(_) if self.facts.iter().any(|known| known.event == fact.event) => {}
            Err(place) => self.facts.insert(place, fact),
        }
    }

    /// Takes the fact of an event away; whether there was one.
    pub fn remove(&mut self, event: EventId) -> bool {
        let before = self.facts.len();
        self.facts.retain(|fact| fact.event != event);
        self.facts.len() < before
    }

    /// The time at which the contact is to be judged when the clock says `now`: a clock that is behind what is on record
    /// is wrong, and must not make anybody forget a suppression.
    pub fn present(&self, now: Timestamp) -> Timestamp {
        self.facts.last().map_or(now, |newest| newest.at.max(now))
    }

    /// The facts that are not later than `now`.
    pub fn known_at(&self, now: Timestamp) -> &[Fact] {
        &self.facts[..self.facts.partition_point(|fact| fact.at <= now)]
    }

    /// The facts that are not later than `now`, as far as they are to be believed: a response that a person has
    /// confirmed by then has that person's authority.
    pub fn believed_at(&self, now: Timestamp) -> Cow<'_, [Fact]> {
        let facts = self.known_at(now);
        let confirmed = confirmed(facts);
        if confirmed.is_empty() {
            return Cow::Borrowed(facts);
        }
        let mut facts = facts.to_vec();
        for fact in facts.iter_mut().filter(|fact| confirmed.contains(&fact.event)) {
            if let FactKind::Response(response) = &mut fact.what
                && response.authority == Authority::Unverified
            {
                response.authority = Authority::Operator;
            }
        }
        Cow::Owned(facts)
    }

    /// The responses that a person has confirmed at `now`, whether or not they are on record.
    pub fn confirmed_at(&self, now: Timestamp) -> BTreeSet<EventId> {
        confirmed(self.known_at(now))
    }

    /// The contact's own message limit at `now`.
    pub fn limit(&self, now: Timestamp) -> Option<Limit> {
        let told = |fact: &Fact| match &fact.what {
            FactKind::Limit(limit) => Some(*limit),
            _ => None,
        };
        self.known_at(now).iter().rev().find_map(told).flatten()
    }

    /// What is known of the contact at `now`, by name (SPEC 7.3); none where nothing was ever said.
    pub fn attributes(&self, now: Timestamp) -> Option<&BTreeMap<String, String>> {
        self.known_at(now).iter().rev().find_map(|fact| match &fact.what {
            FactKind::Attributes(attributes) => Some(attributes),
            _ => None,
        })
    }
}

fn confirmed(facts: &[Fact]) -> BTreeSet<EventId> {
    let target = |fact: &Fact| match &fact.what {
        FactKind::Confirm { target } => Some(*target),
        _ => None,
    };
    facts.iter().filter_map(target).collect()
}
