//! Why a contact may or may not be mailed: shapes of `GET /v1/contacts/{address}/explain`.

use super::{ListEntry, Listing, SuppressionAnswer};
use crate::classify::{BounceCode, BounceType, Category, Fault};
use crate::mail::{Address, ListId};
use crate::policy::explain::{NotCounted, Release};
use crate::policy::{Authority, EventId, Limit, Scope, SkipReason, State};
use crate::report::Campaign;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The full chain from what is on record to the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainAnswer {
    /// The contact.
    pub address: Address,
    /// The list it is asked about; `null` for mail of no list.
    pub list: Option<ListId>,
    /// Whether that mail is sent to it, as far as is known without a message in hand.
    pub mailed: bool,
    /// How the contact stands.
    pub state: State,
    /// What keeps that mail from it; it is mailed again when none of these stands.
    pub obstacles: Vec<Obstacle>,
    /// Suppressions in force that do not matter for that mail: of other lists.
    pub elsewhere: Vec<SuppressionAnswer>,
    /// What is on record, but did not count, or not as it came.
    pub not_counted: Vec<NotCountedAnswer>,
}

/// One thing that keeps mail from a contact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    /// The reason a skip would have: `suppressed`, `blocklist`, `robinson`, `limit`.
    pub reason: SkipReason,
    /// The message limit that is reached, where that is it; it ends when its window has passed.
    pub limit: Option<Limit>,
    /// The first suppression in force, where that is it.
    pub suppression: Option<SuppressionAnswer>,
    /// The entry, where it is on an operator's list.
    pub listing: Option<Listing>,
    /// Its data was erased, and a hash kept.
    pub erased: bool,
    /// The events that suffice for it, in order of time.
    pub rests_on: Vec<Ground>,
    /// Each of these would end it.
    pub releases: Vec<Release>,
}

/// An event, as far as it bears on the verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ground {
    /// Its id.
    pub event: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// What: `bounce`, `complaint`, `suppress`, `imported`, ...
    pub kind: String,
    /// Where it holds, for a person's word and an import.
    pub scope: Option<Scope>,
    /// Category.
    pub category: Option<Category>,
    /// Hard or soft.
    #[serde(rename = "type")]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    pub code: Option<BounceCode>,
    /// Finer reason, or the person's words.
    pub reason: Option<String>,
    /// Whose problem it is.
    pub fault: Option<Fault>,
    /// The campaign.
    pub campaign: Option<Campaign>,
    /// Its list.
    pub list: Option<ListId>,
    /// How far it is believed.
    pub authority: Option<Authority>,
    /// Why it is believed so far.
    pub authority_because: Option<String>,
    /// The words it rests on, where they are still on record.
    pub diagnostic: Option<String>,
    /// The rule that judged them.
    pub rule: Option<String>,
    /// The words the rule matched.
    pub matched: Option<String>,
    /// Who reported it.
    pub reporting_mta: Option<String>,
    /// The user id of the person who said so.
    pub uid: Option<u32>,
    /// The batch it was imported with.
    pub batch: Option<EventId>,
    /// Where that came from.
    pub source: Option<String>,
}

/// An event that did not count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NotCountedAnswer {
    /// The event.
    #[serde(flatten)]
    pub ground: Ground,
    /// Why, in `why`, and by which other event, in `by`.
    #[serde(flatten)]
    pub not_counted: NotCounted,
}

impl Obstacle {
    /// An entry on an operator's list.
    pub fn listed(listing: Listing) -> Obstacle {
        let list = listing.list;
        let reason = match list {
            crate::policy::OperatorList::Blocklist => SkipReason::Blocklist,
            crate::policy::OperatorList::Robinson => SkipReason::Robinson,
        };
        Obstacle { listing: Some(listing), releases: vec![Release::Delisting { list }], ..Obstacle::of(reason) }
    }

    /// An erasure that kept a hash.
    pub fn erased() -> Obstacle {
        let releases = vec![Release::Person { scope: Scope::System }];
        Obstacle { erased: true, releases, ..Obstacle::of(SkipReason::Suppressed) }
    }

    /// A message limit that is reached.
    pub fn limited(limit: Limit) -> Obstacle {
        Obstacle { limit: Some(limit), ..Obstacle::of(SkipReason::Limit) }
    }

    /// Nothing but its reason.
    pub fn of(reason: SkipReason) -> Obstacle {
        let (suppression, listing, rests_on, releases) = (None, None, Vec::new(), Vec::new());
        Obstacle { reason, limit: None, suppression, listing, erased: false, rests_on, releases }
    }

    /// The entry of a list that it is.
    pub fn entry(&self) -> Option<&ListEntry> {
        self.listing.as_ref().map(|listing| &listing.entry)
    }
}
