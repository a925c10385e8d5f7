//! What later facts make of an earlier one: released, retracted, or standing.
//!
//! A record is read from its end; [`Later`] remembers, of all that was read, what reaches back.

use super::contact::{Fact, FactKind};
use super::proof::Proofs;
use super::says::{Bounced, Says, imported_needs, says};
use super::suppression::Nature;
use super::table::Cell;
use super::{EventId, Level, Policy, Scope, Suppression};
use crate::classify::Category;
use crate::mail::ListId;
use jiff::Timestamp;

/// What a fact comes to, in the light of what came later.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate<'a> {
    /// Suppresses by itself. The bounce it is, where it is a response that bounced.
    Suppresses(Key<'a>, Option<Bounced<'a>>),
    /// A bounce that stands in a row with others.
    InRow(Bounced<'a>),
    /// A bounce that proof of life retracted.
    Retracted(EventId),
    /// It does not count any more in its scope.
    Released(EventId),
    /// Shows that the message was delivered.
    Alive,
    /// The message was not delivered; nothing more.
    Undelivered,
    /// Nothing vouches for it.
    Unverified,
    /// No response that says anything, or no response at all.
    Nothing,
}

/// Of the suppressions of one key, the first stands: it says since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    /// None is the whole system.
    list: Option<&'a ListId>,
    nature: Nature,
    category: Option<Category>,
}

impl<'a> Key<'a> {
    /// Of the suppression that a row imposes at this fact.
    pub fn of_bounce(fact: &Fact) -> Option<Key<'a>> {
        match &fact.what {
            FactKind::Response(response) => {
                Some(Key { list: None, nature: Nature::Bounce, category: response.category })
            }
            _ => None,
        }
    }

    pub fn is_of(&self, suppression: &Suppression) -> bool {
        let list = match &suppression.scope {
            Scope::System => None,
            Scope::List(list) => Some(list),
        };
        (self.list, self.nature, self.category) == (list, suppression.nature(), suppression.category)
    }
}

/// What has been read, from the end of a record, that reaches back. Of several, the nearest is remembered.
pub(super) struct Later<'a> {
    record: Proofs<'a>,
    /// The nearest that is at least so strong.
    proofs: [Option<EventId>; 6],
    by_person: Option<EventId>,
    by_timer: Option<EventId>,
    lists: Vec<(&'a ListId, bool, EventId)>,
}

impl<'a> Later<'a> {
    /// Of a record of which nothing has been read yet.
    pub fn new(facts: &'a [Fact], policy: &'a Policy) -> Later<'a> {
        let record = Proofs::of(facts, policy);
        Later { record, proofs: [None; 6], by_person: None, by_timer: None, lists: Vec::new() }
    }

    /// The fact at this place has been read.
    pub fn note(&mut self, place: usize) {
        let fact: &'a Fact = &self.record.facts[place];
        match &fact.what {
            FactKind::Reactivate { scope: Scope::System, by_timer: false, .. } => self.by_person = Some(fact.event),
            FactKind::Reactivate { scope: Scope::System, by_timer: true, .. } => self.by_timer = Some(fact.event),
            FactKind::Reactivate { scope: Scope::List(list), by_timer, .. } => {
                self.lists.retain(|(known, timer, _)| (*known, timer) != (list, by_timer));
                self.lists.push((list, *by_timer, fact.event));
            }
            _ => {
                if let Some(level) = self.record.level(place) {
                    self.proofs[..=usize::from(u8::from(level))].fill(Some(fact.event));
                }
            }
        }
    }

    /// The next release everywhere by a person.
    pub fn by_person(&self) -> Option<EventId> {
        self.by_person
    }

    /// What the fact at this place comes to, which is earlier than all that was noted.
    pub fn fate(&self, place: usize) -> Fate<'a> {
        let (facts, policy): (&'a [Fact], &'a Policy) = (self.record.facts, self.record.policy);
        let list_of = |scope: &'a Scope| match scope {
            Scope::System => None,
            Scope::List(list) => Some(list),
        };
        match &facts[place].what {
            FactKind::Response(response) => match says(response, policy) {
                Says::Bounced(bounced) => {
                    let key = Key { list: None, nature: Nature::Bounce, category: response.category };
                    let otherwise =
                        if bounced.at_once() { Fate::Suppresses(key, Some(bounced)) } else { Fate::InRow(bounced) };
                    self.bounce(key, bounced.needs, bounced.cell, otherwise)
                }
                Says::Complaint => {
                    let category = Some(Category::Complaint);
                    self.word(Key { list: response.list.as_ref(), nature: Nature::Complaint, category })
                }
                Says::Alive => Fate::Alive,
                Says::Undelivered => Fate::Undelivered,
                Says::Unverified => Fate::Unverified,
                Says::Nothing => Fate::Nothing,
            },
            FactKind::Suppress { scope, .. } => {
                self.word(Key { list: list_of(scope), nature: Nature::Person, category: None })
            }
            FactKind::Imported(imported) => {
                let category = imported.category;
                let nature = Nature::of(category, imported.bounce_type);
                let key = Key { list: list_of(&imported.scope), nature, category };
                let cell = policy.table.cell(category.unwrap_or(Category::Unknown));
                match nature {
                    Nature::Bounce => {
                        let needs = imported_needs(imported, policy);
                        match self.proof_since(imported.since, place, needs) {
                            Some(proof) => Fate::Retracted(proof),
                            None => self.bounce(key, needs, cell, Fate::Suppresses(key, None)),
                        }
                    }
                    Nature::Complaint | Nature::Person => self.word(key),
                }
            }
            FactKind::Activity { level, .. } if *level > Level::MACHINE_OPEN => Fate::Alive,
            FactKind::Sent { .. }
            | FactKind::Reactivate { .. }
            | FactKind::Activity { .. }
            | FactKind::Attributes(_)
            | FactKind::Limit(_)
            | FactKind::Confirm { .. } => Fate::Nothing,
        }
    }

    /// What shows that the mailbox lived after an imported bounce, though before the import: it bounced when the
    /// list says.
    fn proof_since(&self, since: Option<Timestamp>, place: usize, needs: Level) -> Option<EventId> {
        let since = since?;
        let earlier = (0..place).rev().take_while(|earlier| self.record.facts[*earlier].at > since);
        let proof = { earlier }.find(|earlier| self.record.level(*earlier).is_some_and(|level| level >= needs));
        proof.map(|proof| self.record.facts[proof].event)
    }

    /// Proof of life and the timer end bounces, beside a person.
    fn bounce(&self, key: Key<'a>, needs: Level, cell: &Cell, otherwise: Fate<'a>) -> Fate<'a> {
        match self.proofs[usize::from(u8::from(needs))] {
            Some(proof) => Fate::Retracted(proof),
            None => self.released(key.list, cell.reactivate_days.is_some()).map_or(otherwise, Fate::Released),
        }
    }

    /// A complaint and a person's word are ended by a person alone.
    fn word(&self, key: Key<'a>) -> Fate<'a> {
        self.released(key.list, false).map_or(Fate::Suppresses(key, None), Fate::Released)
    }

    /// The release that reaches back to a fact of this list; the timer's only for what it may release.
    fn released(&self, list: Option<&ListId>, timed: bool) -> Option<EventId> {
        let of_list = |(known, timer, _): &&(&ListId, bool, EventId)| Some(*known) == list && (timed || !timer);
        let by_timer = self.by_timer.filter(|_| timed);
        self.by_person.or(by_timer).or_else(|| self.lists.iter().find(of_list).map(|(_, _, event)| *event))
    }
}
