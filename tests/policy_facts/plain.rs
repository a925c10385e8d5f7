//! The fold once more, written another way, to compare with.

use backstop::classify::{BounceType, Category, Fault};
use backstop::policy::contact::FactKind;
use backstop::policy::{Contact, EventId, Fact, Level, Policy, Response, Scope};
use backstop::report::Kind;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// The standard profile told a second way, in the order of the words of SPEC 6, with no eye to speed.
pub struct Plain {
    pub retracted: Vec<EventId>,
    pub streak: u32,
    pub bounced: bool,
}

/// Hard or soft, as the standard profile counts it.
fn counted(response: &Response) -> BounceType {
    let elsewhere = response.by_words && response.fault == Some(Fault::Path);
    if elsewhere { BounceType::Soft } else { response.bounce_type.expect("bounces here have a type") }
}

fn answer(fact: &Fact) -> Option<&Response> {
    match &fact.what {
        FactKind::Response(response) => Some(response),
        _ => None,
    }
}

/// The campaign, and when it was sent as far as this fact tells.
fn send_out(fact: &Fact) -> Option<(String, Option<Timestamp>)> {
    let (campaign, sent) = match &fact.what {
        FactKind::Response(response) => (&response.campaign, response.sent_at.map(|sent| sent.min(fact.at))),
        FactKind::Sent { campaign, .. } => (campaign, Some(fact.at)),
        FactKind::Activity { campaign, .. } => (campaign, None),
        _ => return None,
    };
    let day = || sent.unwrap_or(fact.at).strftime("day %F").to_string();
    Some((campaign.as_ref().map_or_else(day, |campaign| campaign.0.clone()), sent))
}

impl Plain {
    pub fn of(contact: &Contact, policy: &Policy, now: Timestamp) -> Plain {
        let facts: Vec<&Fact> = contact.facts.iter().filter(|fact| fact.at <= now).collect();
        let kind = |fact: &Fact| answer(fact).map(|response| response.kind);
        let life = |place: usize| match &facts[place].what {
            FactKind::Activity { level, .. } => u8::from(*level),
            FactKind::Response(response) => match response.kind {
                Kind::Autoreply | Kind::NotSpam | Kind::Complaint | Kind::OptOut => 4,
                Kind::Delivered => {
                    let name = |fact: &Fact| send_out(fact).map(|(name, _)| name);
                    let fails = |later: &&Fact| kind(later) == Some(Kind::Bounce) && name(later) == name(facts[place]);
                    if facts[place + 1..].iter().any(fails) { 0 } else { 4 }
                }
                Kind::Bounce | Kind::Delayed | Kind::Other => 0,
            },
            _ => 0,
        };
        let retracted = |place: usize| {
            let Some(response) = answer(facts[place]).filter(|response| response.kind == Kind::Bounce) else {
                return false;
            };
            let unknown = response.category == Some(Category::Unknown);
            let needs = if unknown || counted(response) == BounceType::Hard { 3 } else { 1 };
            (place + 1..facts.len()).any(|later| life(later) >= needs)
        };
        let release =
            |fact: &&Fact| matches!(&fact.what, FactKind::Reactivate { scope: Scope::System, by_timer: false, .. });
        let from = facts.iter().rposition(release).map_or(0, |place| place + 1);
        let hard = |place: usize| {
            let response = answer(facts[place]).filter(|response| response.kind == Kind::Bounce);
            response.is_some_and(|response| counted(response) == BounceType::Hard)
        };
        let mut campaigns: BTreeMap<String, Vec<(usize, Option<Timestamp>)>> = BTreeMap::new();
        for (place, fact) in facts.iter().enumerate().skip(from) {
            if let Some((name, sent)) = send_out(fact) {
                campaigns.entry(name).or_default().push((place, sent));
            }
        }
        let mut ends: Vec<((Timestamp, usize), Option<usize>)> = Vec::new();
        for places in campaigns.values() {
            let (mut told, mut let_out, mut seen) = (Vec::new(), None, Vec::new());
            let (mut counts, mut delivered, mut answered) = (None, false, false);
            for &(place, sent) in places {
                match (&facts[place].what, kind(facts[place])) {
                    (FactKind::Sent { .. }, _) => let_out = let_out.or(sent),
                    (FactKind::Activity { level, .. }, _) if *level == Level::MACHINE_OPEN => continue,
                    (_, Some(Kind::Delayed | Kind::Other)) => continue,
                    (_, Some(Kind::Bounce)) => {
                        answered = true;
                        match (hard(place), retracted(place)) {
                            (true, _) => {}
                            (false, true) => delivered |= counts.is_none(),
                            (false, false) => (counts, delivered) = (counts.or(Some(place)), false),
                        }
                    }
                    _ => (counts, delivered, answered) = (None, true, true),
                }
                if !matches!(facts[place].what, FactKind::Sent { .. }) {
                    told.extend(sent);
                }
                seen.push(place);
            }
            let settle = SignedDuration::try_from(policy.settle).unwrap_or(SignedDuration::MAX);
            let silent = !answered && let_out.is_some_and(|sent| now.duration_since(sent) >= settle);
            if let (true, Some(&first)) = (counts.is_some() || delivered || silent, seen.first()) {
                let sent = told.iter().min().copied().or(let_out).unwrap_or(facts[first].at);
                ends.push(((sent, first), counts));
            }
        }
        ends.sort();
        let streak = ends.iter().rev().take_while(|(_, counts)| counts.is_some()).count() as u32;
        let row = ends.windows(3).any(|three| three.iter().all(|(_, counts)| counts.is_some()));
        let mut gone: Vec<EventId> =
            (0..facts.len()).filter(|place| retracted(*place)).map(|place| facts[place].event).collect();
        gone.sort();
        let at_once = (from..facts.len()).any(|place| hard(place) && !retracted(place));
        Plain { retracted: gone, streak, bounced: row || at_once }
    }
}
