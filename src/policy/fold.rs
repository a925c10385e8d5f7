//! The fold: facts, policy and time in, the contact's state out (SPEC 6).

use super::{Contact, EventId, Policy, Scope};
use crate::classify::{BounceCode, BounceType, Category};
use crate::mail::ListId;
use crate::report::Campaign;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a contact stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// May be mailed, but for single lists.
    Active,
    /// Its address bounced: no campaign mail.
    Bounced,
    /// A person suppressed it, or a complaint named no list: no campaign mail.
    Suppressed,
}

/// One suppression in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// Where it holds.
    pub scope: Scope,
    /// Category; none where a person said so.
    pub category: Option<Category>,
    /// Hard or soft, for bounces.
    #[serde(rename = "type")]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    pub code: Option<BounceCode>,
    /// Finer reason, or the person's.
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

/// A contact's state at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactState {
    /// How it stands.
    pub state: State,
    /// Every suppression in force, system-wide ones first.
    pub suppressions: Vec<Suppression>,
    /// Soft bounces in a row so far.
    pub soft_streak: u32,
}

impl ContactState {
    /// The suppression that keeps a message of this list from the contact, if any.
    pub fn suppressed_for(&self, list: Option<&ListId>) -> Option<&Suppression> {
        self.suppressions.iter().find(|suppression| match &suppression.scope {
            Scope::System => true,
            Scope::List(scope) => Some(scope) == list,
        })
    }
}

/// The state of a contact with these facts at `now`. Facts later than `now` do not count.
pub fn fold(contact: &Contact, policy: &Policy, now: Timestamp) -> ContactState {
    let _ = (contact, policy, now);
    todo!()
}
