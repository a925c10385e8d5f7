//! Why a contact may or may not be mailed (SPEC 9): the suppression that decides, the fewest events it rests on,
//! what did not count and why, and what would release it.
//!
//! In: what the fold reads, and the list that is asked about. It knows nothing of the operator's lists; who asks
//! those adds [`Release::Delisting`] itself. Called by the admin socket for one contact at a time.

use super::contact::{Fact, FactKind};
use super::fold::ContactState;
use super::later::{Fate, Key, Later};
use super::proof::shown;
use super::row::{self, Run};
use super::says::bounced;
use super::send_out::SendOut;
use super::{Contact, EventId, Level, OperatorList, Policy, Scope, Suppression, fold};
use crate::classify::Category;
use crate::mail::ListId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The whole chain from the facts to the verdict for one list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether campaign mail of that list is kept from the contact.
    pub suppressed: bool,
    /// By which suppression: the first of those that do.
    pub by: Option<Suppression>,
    /// The events that suffice for it, in order of time; without any of them it would not stand.
    pub rests_on: Vec<EventId>,
    /// What did not count, or not as it came, in order of time.
    pub not_counted: Vec<Uncounted>,
    /// Each of these would let the contact be mailed.
    pub releases: Vec<Release>,
}

/// An event that did not count, or not as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncounted {
    /// The event.
    pub event: EventId,
    /// Why.
    #[serde(flatten)]
    pub why: NotCounted,
}

/// Why an event did not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum NotCounted {
    /// Nothing vouches for it.
    Unverified,
    /// It tells nothing of the mailbox.
    SaysNothing,
    /// Proof of life came later.
    Retracted {
        /// The proof.
        by: EventId,
    },
    /// It does not count any more.
    Released {
        /// The release.
        by: EventId,
    },
    /// Another bounce of that campaign counts.
    SameCampaign {
        /// The one that counts.
        by: EventId,
    },
    /// The message was delivered after all.
    Delayed {
        /// What shows it.
        by: EventId,
    },
    /// A campaign sent later was delivered, and that ended the row.
    Broken {
        /// The first event of that campaign.
        by: EventId,
    },
    /// It stands in a row that is not long enough.
    RowTooShort {
        /// How long the row is.
        responses: u32,
        /// How long it must be for this one to suppress.
        needed: u32,
        /// Over how many days, at least.
        span_days: u32,
    },
    /// Another one suppresses already.
    EarlierStands {
        /// The one that does.
        by: EventId,
    },
    /// It holds for another list.
    OtherList,
    /// A send that has not been answered, and not been silent for long enough to be taken as delivered.
    NotSettled,
    /// It is hard, but the words show that the fault is not the recipient's: it counts like a soft one.
    FaultElsewhere,
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotCounted::Unverified => "nothing vouches for it",
            NotCounted::SaysNothing => "it tells nothing of the mailbox",
            NotCounted::Retracted { .. } => "a sign of life came after it",
            NotCounted::Released { .. } => "the contact was released after it",
            NotCounted::SameCampaign { .. } => "another bounce of that campaign counts",
            NotCounted::Delayed { .. } => "the message was delivered after all",
            NotCounted::Broken { .. } => "a campaign sent after it was delivered, and that ended the row",
            NotCounted::RowTooShort { responses, needed, span_days: 0 } => {
                return write!(f, "it stands in a row of {responses}; {needed} suppress");
            }
            NotCounted::RowTooShort { responses, needed, span_days } => {
                return write!(f, "it stands in a row of {responses}; {needed} over {span_days} days suppress");
            }
            NotCounted::EarlierStands { .. } => "another one suppresses already",
            NotCounted::OtherList => "it holds for another list",
            NotCounted::NotSettled => "not answered yet, and not taken as delivered yet",
            NotCounted::FaultElsewhere => "the fault is not the recipient's: it counts like a soft one",
        })
    }
}

/// What would let the contact be mailed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Release {
    /// A person reactivates it. Where nothing else stands beside this, nothing but a person does.
    Person {
        /// At least for this scope.
        scope: Scope,
    },
    /// A sign of life.
    ProofOfLife {
        /// So strong, or stronger.
        level: Level,
    },
    /// The daemon's timer.
    Timer {
        /// When.
        at: Timestamp,
    },
    /// It is taken off an operator's list.
    Delisting {
        /// Which one.
        list: OperatorList,
    },
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Release::Person { scope: Scope::System } => f.write_str("a person reactivates it"),
            Release::Person { scope: Scope::List(list) } => write!(f, "a person reactivates it for {}", list.0),
            Release::ProofOfLife { level } => write!(f, "a sign of life of level {} or more", u8::from(*level)),
            Release::Timer { at } => write!(f, "the timer at {at}"),
            Release::Delisting { list } => write!(f, "it is taken off the {}", list.title()),
        }
    }
}

/// Why mail of this list is, or is not, kept from the contact at `now`.
pub fn explain(contact: &Contact, policy: &Policy, now: Timestamp, list: Option<&ListId>) -> Explanation {
    let facts = contact.believed_at(now);
    let facts = &*facts;
    let state = fold(contact, policy, now);
    let by = state.suppressed_for(list).cloned();
    let runs = row::runs(facts, policy, now);
    let rests_on = by.as_ref().map_or(Vec::new(), |by| rests_on(by, facts, &runs, policy));
    let campaigns = Campaigns::of(facts, &runs, policy);
    let mut later = Later::new(facts, policy);
    let mut not_counted = Vec::new();
    for (place, fact) in facts.iter().enumerate().rev() {
        let fate = later.fate(place);
        let unsettled = later.by_person().is_none() && !row::is_settled(fact.at, policy, now);
        let rested_on = rests_on.contains(&place);
        let why = match (&fact.what, fate) {
            (FactKind::Sent { .. }, _) if unsettled && !campaigns.answered(fact) => Some(NotCounted::NotSettled),
            (_, Fate::Retracted(by)) => Some(NotCounted::Retracted { by }),
            (_, Fate::Released(by)) => Some(NotCounted::Released { by }),
            (_, Fate::Unverified) => Some(NotCounted::Unverified),
            (FactKind::Response(_), Fate::Undelivered | Fate::Nothing) => Some(NotCounted::SaysNothing),
            (_, Fate::Suppresses(key, _)) if !rested_on => beside(fact, key, &state, list),
            (_, Fate::InRow(_)) if !rested_on => campaigns.in_row(place, facts, &runs, policy),
            _ => None,
        };
        not_counted.extend(why.map(|why| Uncounted { event: fact.event, why }));
        if let Fate::Suppresses(_, Some(bounced)) | Fate::InRow(bounced) = fate
            && bounced.softened
        {
            not_counted.push(Uncounted { event: fact.event, why: NotCounted::FaultElsewhere });
        }
        later.note(place);
    }
    not_counted.reverse();
    Explanation {
        suppressed: by.is_some(),
        by,
        rests_on: rests_on.iter().map(|place| facts[*place].event).collect(),
        not_counted,
        releases: releases(contact, &state, policy, now, list),
    }
}

/// Places of the facts that suffice for a suppression.
fn rests_on(by: &Suppression, facts: &[Fact], runs: &[Run], policy: &Policy) -> Vec<usize> {
    let Some(place) = facts.iter().position(|fact| fact.event == by.event) else { return Vec::new() };
    match runs.iter().find(|run| run.bounces.binary_search(&place).is_ok()) {
        Some(run) => run.least(place, facts, policy),
        None => vec![place],
    }
}

/// What suppresses, but is not what the verdict rests on.
fn beside(fact: &Fact, key: Key<'_>, state: &ContactState, list: Option<&ListId>) -> Option<NotCounted> {
    let standing = state.suppressions.iter().find(|suppression| key.is_of(suppression))?;
    let holds = state.suppressed_by(list).any(|suppression| key.is_of(suppression));
    match (holds, state.suppressed_for(list)) {
        (true, Some(first)) if standing.event == fact.event => Some(NotCounted::EarlierStands { by: first.event }),
        (true, _) => Some(NotCounted::EarlierStands { by: standing.event }),
        (false, _) => Some(NotCounted::OtherList),
    }
}

/// What is known of each campaign, to tell why a bounce does not count.
struct Campaigns<'a> {
    /// The bounce that counts, with its run.
    counted: BTreeMap<SendOut<'a>, (usize, usize)>,
    /// The last that shows a delivery.
    delivered: BTreeMap<SendOut<'a>, usize>,
    answered: BTreeSet<SendOut<'a>>,
    /// Each row of each run: how long it is, and what tipped it.
    rows: BTreeMap<(usize, Category), (u32, Option<usize>)>,
}

impl<'a> Campaigns<'a> {
    fn of(facts: &'a [Fact], runs: &[Run], policy: &Policy) -> Campaigns<'a> {
        let mut campaigns = Campaigns {
            counted: BTreeMap::new(),
            delivered: BTreeMap::new(),
            answered: BTreeSet::new(),
            rows: BTreeMap::new(),
        };
        for (number, run) in runs.iter().enumerate() {
            let of = |place: &usize| Some((SendOut::of(&facts[*place])?, (*place, number)));
            campaigns.counted.extend(run.bounces.iter().filter_map(of));
            let row = |place: usize| Some((number, bounced(&facts[place], policy)?.cell.counts_as));
            for row in run.bounces.iter().filter_map(|place| row(*place)) {
                campaigns.rows.entry(row).or_default().0 += 1;
            }
            for (row, tip) in run.tips(facts, policy).into_iter().filter_map(|tip| Some((row(tip)?, tip))) {
                campaigns.rows.entry(row).or_default().1 = Some(tip);
            }
        }
        for (place, fact) in facts.iter().enumerate() {
            let Some(send_out) = SendOut::of(fact) else { continue };
            if shown(fact, policy).is_some() {
                campaigns.delivered.insert(send_out, place);
            } else if bounced(fact, policy).is_some() {
                campaigns.answered.insert(send_out);
            }
        }
        campaigns
    }

    fn answered(&self, fact: &Fact) -> bool {
        SendOut::of(fact).is_some_and(|of| self.answered.contains(&of) || self.delivered.contains_key(&of))
    }

    /// Why a bounce that belongs in a row is not what the verdict rests on.
    fn in_row(&self, place: usize, facts: &[Fact], runs: &[Run], policy: &Policy) -> Option<NotCounted> {
        let send_out = SendOut::of(&facts[place])?;
        let Some(&(counted, run)) = self.counted.get(&send_out) else {
            let by = facts[*self.delivered.get(&send_out)?].event;
            return Some(NotCounted::Delayed { by });
        };
        if counted != place {
            return Some(NotCounted::SameCampaign { by: facts[counted].event });
        }
        let own = bounced(&facts[place], policy)?;
        match (self.rows.get(&(run, own.cell.counts_as))?, runs[run].ended_by) {
            ((_, Some(tip)), _) => Some(NotCounted::EarlierStands { by: facts[*tip].event }),
            ((_, None), Some(by)) => Some(NotCounted::Broken { by: facts[by].event }),
            ((responses, None), None) => {
                let (needed, span_days) = (own.responses, own.cell.span_days);
                Some(NotCounted::RowTooShort { responses: *responses, needed, span_days })
            }
        }
    }
}

/// Tried out rather than reasoned: a sign of life may end one suppression and leave another.
fn releases(
    contact: &Contact,
    state: &ContactState,
    policy: &Policy,
    now: Timestamp,
    list: Option<&ListId>,
) -> Vec<Release> {
    let Some(first) = state.suppressed_for(list) else { return Vec::new() };
    // System-wide ones come first.
    let mut releases = vec![Release::Person { scope: first.scope.clone() }];
    let retracts = |level: &Level| {
        let mut alive = Contact { facts: contact.known_at(now).to_vec() };
        let what = FactKind::Activity { level: *level, campaign: None };
        alive.insert(Fact { event: EventId(u128::MAX), at: now, what });
        fold(&alive, policy, now).suppressed_for(list).is_none()
    };
    let levels = (1..=5).filter_map(|level| Level::try_from(level).ok());
    releases.extend({ levels }.find(retracts).map(|level| Release::ProofOfLife { level }));
    if state.suppressed_by(list).all(|suppression| suppression.until.is_some()) {
        let last = state.suppressions.iter().filter_map(|suppression| suppression.until).max();
        releases.extend(last.map(|at| Release::Timer { at }));
    }
    releases
}
