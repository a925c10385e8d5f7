//! Which facts prove that the mailbox lives, and how strongly (SPEC 6, false bounces).

use super::contact::{Fact, FactKind};
use super::says::{Says, bounced, says};
use super::send_out::SendOut;
use super::{Level, Policy};
use crate::report::Kind;
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// The signs of life of one record.
pub(super) struct Proofs<'a> {
    pub facts: &'a [Fact],
    pub policy: &'a Policy,
    /// The last bounce of each campaign; made when the first report of a delivery is met, which few records have.
    bounces: OnceCell<BTreeMap<SendOut<'a>, usize>>,
}

impl<'a> Proofs<'a> {
    pub fn of(facts: &'a [Fact], policy: &'a Policy) -> Proofs<'a> {
        Proofs { facts, policy, bounces: OnceCell::new() }
    }

    /// How strong a sign of life the fact at this place is, if any.
    ///
    /// A report of delivery is none when the same campaign bounced later: Postfix calls it `relayed` when the
    /// next hop has taken the message, and that hop may still fail.
    pub fn level(&self, place: usize) -> Option<Level> {
        let fact = &self.facts[place];
        let level = shown(fact, self.policy)?;
        let is_report = matches!(&fact.what, FactKind::Response(response) if response.kind == Kind::Delivered);
        if is_report && self.bounced_after(place) { None } else { Some(level) }
    }

    fn bounced_after(&self, place: usize) -> bool {
        let bounces = self.bounces.get_or_init(|| {
            let of_bounce = |(place, fact): (usize, &'a Fact)| {
                bounced(fact, self.policy).and_then(|_| Some((SendOut::of(fact)?, place)))
            };
            self.facts.iter().enumerate().filter_map(of_bounce).collect()
        });
        SendOut::of(&self.facts[place]).and_then(|of| bounces.get(&of)).is_some_and(|last| *last > place)
    }
}

/// How strong a sign of life a fact is by itself. A complaint came from the inbox, like a reply.
pub(super) fn shown(fact: &Fact, policy: &Policy) -> Option<Level> {
    match &fact.what {
        FactKind::Activity { level, .. } => Some(*level).filter(|level| *level > Level::MACHINE_OPEN),
        FactKind::Response(response) => match says(response, policy) {
            Says::Alive | Says::Complaint => Some(Level::REPLY),
            Says::Bounced(_) | Says::Undelivered | Says::Unverified | Says::Nothing => None,
        },
        FactKind::Sent { .. }
        | FactKind::Suppress { .. }
        | FactKind::Reactivate { .. }
        | FactKind::Imported(_)
        | FactKind::Attributes(_)
        | FactKind::Limit(_)
        | FactKind::Confirm { .. } => None,
    }
}
