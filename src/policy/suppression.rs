//! One suppression: what it rests on, where it holds, when it ends by itself.

use super::contact::{Fact, FactKind, Imported};
use super::proof::Proofs;
use super::says::{Says, says};
use super::table::Cell;
use super::{EventId, Policy, Response, Scope};
use crate::classify::{BounceCode, BounceType, Category};
use crate::report::{Campaign, Kind};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

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
    /// When the daemon's timer releases it, where it does.
    pub until: Option<Timestamp>,
    /// The campaign it arose in.
    pub campaign: Option<Campaign>,
    /// The event that tipped it.
    pub event: EventId,
}

/// What kind of thing a suppression rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Ended by proof of life, by the timer, by a person.
    Bounce,
    /// Ended by a person alone.
    Complaint,
    /// Ended by a person alone.
    Person,
}

impl Nature {
    /// A bounce has a type or a category; a person gives neither.
    pub fn of(category: Option<Category>, bounce_type: Option<BounceType>) -> Nature {
        match (category, bounce_type) {
            (Some(Category::Complaint), _) => Nature::Complaint,
            (None, None) => Nature::Person,
            (Some(_), _) | (None, Some(_)) => Nature::Bounce,
        }
    }
}

impl Suppression {
    pub(super) fn nature(&self) -> Nature {
        Nature::of(self.category, self.bounce_type)
    }

    /// The suppression that the fact at this place imposes, alone or as the one that makes a row long enough.
    pub(super) fn of(facts: &[Fact], place: usize, policy: &Policy) -> Option<Suppression> {
        let fact = facts.get(place)?;
        let mut suppression = match &fact.what {
            FactKind::Response(response) => match response.kind {
                Kind::Complaint | Kind::OptOut => complaint(fact, response),
                _ => bounce(fact, response),
            },
            FactKind::Suppress { scope, reason } => by_person(fact, scope, reason),
            FactKind::Imported(imported) => brought(fact, imported),
            _ => return None,
        };
        if suppression.nature() == Nature::Bounce {
            let of_category = policy.table.cell(suppression.category.unwrap_or(Category::Unknown));
            let cell = match &fact.what {
                FactKind::Response(response) => match says(response, policy) {
                    Says::Bounced(bounced) => bounced.cell,
                    _ => of_category,
                },
                _ => of_category,
            };
            suppression.until = until(facts, place, cell, policy);
        }
        Some(suppression)
    }
}

fn bounce(fact: &Fact, response: &Response) -> Suppression {
    let reason = response.reason.as_deref().or(response.category.map(Category::as_str)).unwrap_or("unknown");
    Suppression {
        category: response.category,
        bounce_type: response.bounce_type,
        code: response.code,
        campaign: response.campaign.clone(),
        ..by_person(fact, &Scope::System, reason)
    }
}

fn complaint(fact: &Fact, response: &Response) -> Suppression {
    let otherwise = if response.kind == Kind::OptOut { "opt-out" } else { "complaint" };
    let scope = response.list.clone().map_or(Scope::System, Scope::List);
    Suppression {
        category: Some(Category::Complaint),
        code: response.code,
        campaign: response.campaign.clone(),
        ..by_person(fact, &scope, response.reason.as_deref().unwrap_or(otherwise))
    }
}

fn brought(fact: &Fact, imported: &Imported) -> Suppression {
    Suppression {
        category: imported.category,
        bounce_type: imported.bounce_type,
        code: imported.code,
        since: imported.since.map_or(fact.at, |since| since.min(fact.at)),
        ..by_person(fact, &imported.scope, &imported.reason)
    }
}

fn by_person(fact: &Fact, scope: &Scope, reason: &str) -> Suppression {
    Suppression {
        scope: scope.clone(),
        category: None,
        bounce_type: None,
        code: None,
        reason: reason.to_owned(),
        since: fact.at,
        until: None,
        campaign: None,
        event: fact.event,
    }
}

/// When the timer releases what the fact at this place imposed. An imported one counts from its import: how the
/// mailbox fared since then nobody here has seen.
fn until(facts: &[Fact], place: usize, cell: &Cell, policy: &Policy) -> Option<Timestamp> {
    let days = i64::from(cell.reactivate_days?);
    let doubled = if cell.doubling { released_by_timer(&facts[..=place], policy) } else { 0 };
    // Beyond a thousand years nothing doubles any more.
    let days = days.saturating_mul(1 << doubled.min(16)).min(365_000);
    Some(facts[place].at.checked_add(SignedDuration::from_hours(24 * days)).unwrap_or(Timestamp::MAX))
}

/// Releases by the timer, counted back to the last proof that the mailbox works or a person's release.
fn released_by_timer(facts: &[Fact], policy: &Policy) -> u32 {
    let proofs = Proofs::of(facts, policy);
    let mut count = 0;
    for (place, fact) in facts.iter().enumerate().rev() {
        match &fact.what {
            FactKind::Reactivate { by_timer: true, scope: Scope::System, .. } => count += 1,
            FactKind::Reactivate { by_timer: false, scope: Scope::System, .. } => break,
            _ if proofs.level(place).is_some_and(|level| level >= policy.proof.hard) => break,
            _ => {}
        }
    }
    count
}
