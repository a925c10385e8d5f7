//! Bounces in a row (SPEC 6): how each campaign ended for the contact, in the order in which they were sent.
//!
//! A run is what lies between two deliveries. A row within it suppresses at the response that makes it long
//! enough; what is sent later and met with silence does not undo that.

use super::contact::{Fact, FactKind};
use super::later::{Fate, Later};
use super::proof::shown;
use super::says::{Bounced, bounced};
use super::send_out::{SendOut, sent_at};
use super::{Policy, Scope};
use crate::classify::Category;
use jiff::{SignedDuration, Timestamp};

/// Campaigns that bounced one after the other.
pub(super) struct Run {
    /// Places of the bounces that count, one for each campaign, in the order in which they came back.
    pub bounces: Vec<usize>,
    /// Place of the first fact of the delivered campaign that was sent next; none in the run at the end.
    pub ended_by: Option<usize>,
}

/// The runs of a record since a person's last release everywhere, in the order in which they were sent.
pub(super) fn runs(facts: &[Fact], policy: &Policy, now: Timestamp) -> Vec<Run> {
    let marks = marks(facts, policy);
    // Sorted by campaign, then by time: sorting needs no map, and a long record stays n log n.
    let mut by_campaign: Vec<(SendOut<'_>, usize)> = facts
        .iter()
        .enumerate()
        .filter(|(place, _)| marks[*place] != Mark::Nothing)
        .filter_map(|(place, fact)| Some((SendOut::of(fact)?, place)))
        .collect();
    by_campaign.sort_unstable();
    let mut outcomes: Vec<Outcome> = by_campaign
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(|group| outcome(group.iter().map(|&(_, place)| place), facts, &marks, policy, now))
        .collect();
    outcomes.sort_unstable_by_key(|outcome| (outcome.sent_at, outcome.first));
    let mut runs = Vec::new();
    let mut bounces = Vec::new();
    for outcome in outcomes {
        match outcome.bounced {
            Some(place) => bounces.push(place),
            None if bounces.is_empty() => {}
            None => runs.push(Run { bounces: std::mem::take(&mut bounces), ended_by: Some(outcome.first) }),
        }
    }
    if !bounces.is_empty() {
        runs.push(Run { bounces, ended_by: None });
    }
    runs.iter_mut().for_each(|run| run.bounces.sort_unstable());
    runs
}

impl Run {
    /// Places of the bounces that made a row long enough, the first of each row.
    pub fn tips(&self, facts: &[Fact], policy: &Policy) -> Vec<usize> {
        let mut rows: Vec<(Category, u32, Timestamp, bool)> = Vec::new();
        let mut tips = Vec::new();
        for &place in &self.bounces {
            let (Some(bounced), at) = (bounced(&facts[place], policy), facts[place].at) else { continue };
            let row = bounced.cell.counts_as;
            let known = rows.iter().position(|(known, ..)| *known == row).unwrap_or_else(|| {
                rows.push((row, 0, at, false));
                rows.len() - 1
            });
            let (_, count, first, tipped) = &mut rows[known];
            *count += 1;
            let long_enough = at.duration_since(*first) >= span(&bounced);
            if !*tipped && *count >= bounced.responses && long_enough {
                *tipped = true;
                tips.push(place);
            }
        }
        tips
    }

    /// The fewest bounces that make the row tip at this place: the first, which gives it its span, and the last.
    pub fn least(&self, tip: usize, facts: &[Fact], policy: &Policy) -> Vec<usize> {
        let Some(bounced) = bounced(&facts[tip], policy) else { return vec![tip] };
        let same_row = |place: &usize| {
            super::says::bounced(&facts[*place], policy)
                .is_some_and(|other| other.cell.counts_as == bounced.cell.counts_as)
        };
        let mut places: Vec<usize> =
            self.bounces.iter().copied().filter(|place| *place <= tip).filter(same_row).collect();
        let least = (bounced.responses as usize).max(1);
        if places.len() > least {
            places.drain(1..=places.len() - least);
        }
        places
    }
}

fn span(bounced: &Bounced<'_>) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(bounced.cell.span_days))
}

/// What a fact is to its campaign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Bounced,
    /// It bounced, but the mailbox was there.
    Retracted,
    Delivered,
    Undelivered,
    Sent,
    Nothing,
}

fn marks(facts: &[Fact], policy: &Policy) -> Vec<Mark> {
    let mut marks = vec![Mark::Nothing; facts.len()];
    let mut later = Later::new(facts, policy);
    for (place, fact) in facts.iter().enumerate().rev() {
        if matches!(&fact.what, FactKind::Reactivate { scope: Scope::System, by_timer: false, .. }) {
            break;
        }
        marks[place] = match (&fact.what, later.fate(place)) {
            (FactKind::Sent { .. }, _) => Mark::Sent,
            _ if shown(fact, policy).is_some() => Mark::Delivered,
            (FactKind::Response(_), Fate::InRow(_)) => Mark::Bounced,
            // One that suppresses at once stands in no row, retracted or not.
            (FactKind::Response(_), Fate::Retracted(_)) => match bounced(fact, policy) {
                Some(bounced) if !bounced.at_once() => Mark::Retracted,
                _ => Mark::Undelivered,
            },
            (FactKind::Response(_), Fate::Suppresses(..) | Fate::Released(_) | Fate::Undelivered) => Mark::Undelivered,
            _ => Mark::Nothing,
        };
        later.note(place);
    }
    marks
}

/// How a campaign ended for the contact.
struct Outcome {
    /// By this the row is ordered.
    sent_at: Timestamp,
    /// Place of its first fact: settles the order of campaigns sent at the same time.
    first: usize,
    /// Place of the bounce that counts; none when the campaign was delivered.
    bounced: Option<usize>,
}

/// The outcome of the campaign whose facts stand at these places; none while it neither counts nor ends a row.
fn outcome(
    places: impl Iterator<Item = usize>,
    facts: &[Fact],
    marks: &[Mark],
    policy: &Policy,
    now: Timestamp,
) -> Option<Outcome> {
    let (mut bounced, mut delivered, mut answered) = (None, false, false);
    let (mut first, mut told, mut let_out) = (None, None::<Timestamp>, None);
    for place in places {
        let fact = &facts[place];
        match marks[place] {
            Mark::Bounced => (bounced, delivered) = (bounced.or(Some(place)), false),
            // What is delivered later than a bounce makes it a delay.
            Mark::Delivered => (bounced, delivered) = (None, true),
            Mark::Retracted => delivered |= bounced.is_none(),
            Mark::Undelivered => {}
            Mark::Sent => let_out = let_out.or(Some(fact.at)),
            Mark::Nothing => continue,
        }
        if marks[place] != Mark::Sent {
            answered = true;
            told = [told, sent_at(fact)].into_iter().flatten().min();
        }
        first = first.or(Some(place));
    }
    let first = first?;
    let settled = let_out.is_some_and(|sent| is_settled(sent, policy, now));
    if bounced.is_none() && !delivered && (answered || !settled) {
        return None;
    }
    Some(Outcome { sent_at: told.or(let_out).unwrap_or(facts[first].at), first, bounced })
}

/// Whether silence since then stands for a delivery.
pub(super) fn is_settled(sent: Timestamp, policy: &Policy, now: Timestamp) -> bool {
    now.duration_since(sent).unsigned_abs() >= policy.settle
}
