//! The fold: facts, policy and time in, the contact's state out (SPEC 6).
//!
//! In: a contact's facts in order of time, as [`Contact::insert`] keeps them. Out: whether it may be mailed,
//! every suppression in force, the streak of soft bounces, and which responses were retracted. It runs for every
//! screened recipient that is on record, so a contact without a bounce that needs others costs one pass, and no
//! list of campaigns.

use super::contact::FactKind;
use super::later::{Fate, Key, Later};
use super::row;
use super::suppression::{Nature, Suppression};
use super::{Contact, EventId, Policy, Scope};
use crate::mail::ListId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a contact stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// May be mailed, but for single lists.
    Active,
    /// Its address bounced: no campaign mail.
    Bounced,
    /// A person suppressed it, or a complaint named no list: no campaign mail.
    Suppressed,
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
    /// The bounces that proof of life retracted, in order.
    pub retracted: Vec<EventId>,
}

impl ContactState {
    /// The suppression that keeps a message of this list from the contact, if any.
    pub fn suppressed_for(&self, list: Option<&ListId>) -> Option<&Suppression> {
        self.suppressed_by(list).next()
    }

    /// Every suppression that does.
    pub(super) fn suppressed_by(&self, list: Option<&ListId>) -> impl Iterator<Item = &Suppression> {
        self.suppressions.iter().filter(move |suppression| match &suppression.scope {
            Scope::System => true,
            Scope::List(scope) => Some(scope) == list,
        })
    }
}

/// The state of a contact with these facts at `now`. Facts later than `now` do not count.
pub fn fold(contact: &Contact, policy: &Policy, now: Timestamp) -> ContactState {
    let facts = contact.believed_at(now);
    let facts = &*facts;
    let mut later = Later::new(facts, policy);
    let mut imposing: Vec<(Key<'_>, usize)> = Vec::new();
    let mut retracted = Vec::new();
    let mut any_in_row = false;
    // From the end: what is met was not released or retracted by what came later, and of several the last met is
    // the first, which says since when.
    for (place, fact) in facts.iter().enumerate().rev() {
        match later.fate(place) {
            Fate::Suppresses(key, _) => match imposing.iter_mut().find(|(known, _)| *known == key) {
                Some((_, first)) => *first = place,
                None => imposing.push((key, place)),
            },
            Fate::InRow(_) => any_in_row = true,
            Fate::Retracted(_) if matches!(fact.what, FactKind::Response(_)) => retracted.push(fact.event),
            Fate::Retracted(_)
            | Fate::Released(_)
            | Fate::Alive
            | Fate::Undelivered
            | Fate::Unverified
            | Fate::Nothing => {}
        }
        later.note(place);
    }
    retracted.sort_unstable();
    let mut soft_streak = 0;
    if any_in_row {
        let runs = row::runs(facts, policy, now);
        soft_streak = runs.last().filter(|run| run.ended_by.is_none()).map_or(0, |run| run.bounces.len() as u32);
        for tip in runs.iter().flat_map(|run| run.tips(facts, policy)) {
            let Some(key) = Key::of_bounce(&facts[tip]) else { continue };
            match imposing.iter_mut().find(|(known, _)| *known == key) {
                Some((_, first)) => *first = tip.min(*first),
                None => imposing.push((key, tip)),
            }
        }
    }
    let mut suppressions: Vec<Suppression> =
        imposing.iter().filter_map(|(_, place)| Suppression::of(facts, *place, policy)).collect();
    suppressions
        .sort_unstable_by_key(|suppression| (suppression.scope != Scope::System, suppression.since, suppression.event));
    ContactState { state: state(&suppressions), suppressions, soft_streak, retracted }
}

fn state(suppressions: &[Suppression]) -> State {
    let mut state = State::Active;
    for suppression in suppressions.iter().filter(|suppression| suppression.scope == Scope::System) {
        match suppression.nature() {
            Nature::Bounce if state == State::Active => state = State::Bounced,
            Nature::Bounce => {}
            Nature::Complaint | Nature::Person => state = State::Suppressed,
        }
    }
    state
}

/// Whether the daemon's timer is to release the contact: something ends by time, and all that does is due. The
/// release is a [`FactKind::Reactivate`] of the whole system, `by_timer`; it ends nothing that does not end by time.
pub fn due(state: &ContactState, now: Timestamp) -> bool {
    let mut ends = state.suppressions.iter().filter_map(|suppression| suppression.until).peekable();
    ends.peek().is_some() && ends.all(|until| until <= now)
}
