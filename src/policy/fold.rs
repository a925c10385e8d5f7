//! The fold: facts, policy and time in, the contact's state out (SPEC 6).
//!
//! In: a contact's facts in order of time, as [`Contact::insert`] keeps them. Out: whether it may be mailed,
//! every suppression in force, and the streak of soft bounces. It runs for every screened recipient that is on
//! record, so a contact without a soft bounce costs one pass and no list of campaigns.

use super::contact::{Fact, FactKind};
use super::{Authority, Contact, EventId, Policy, Profile, Response, Scope};
use crate::classify::{BounceCode, BounceType, Category, Class, Fault, code};
use crate::mail::ListId;
use crate::report::{Campaign, Kind};
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

/// `reason` of a bounce by which an upstream relay only echoes its own suppression list. It says nothing about
/// the mailbox (SPEC 2.2).
pub const UPSTREAM_SUPPRESSED: &str = "upstream-suppressed";

/// The state of a contact with these facts at `now`. Facts later than `now` do not count.
pub fn fold(contact: &Contact, policy: &Policy, now: Timestamp) -> ContactState {
    let facts = &contact.facts[..contact.facts.partition_point(|fact| fact.at <= now)];
    let mut suppressions = Vec::new();
    let mut released = 0; // facts before this place do not count any more
    let mut any_soft = false;
    for (place, fact) in facts.iter().enumerate() {
        match &fact.what {
            FactKind::Response(response) => match says(response, policy) {
                Says::Hard => impose(&mut suppressions, bounce(fact, response)),
                Says::Soft => any_soft = true,
                Says::Complaint => impose(&mut suppressions, complaint(fact, response)),
                Says::Alive | Says::Undelivered | Says::Nothing => {}
            },
            FactKind::Suppress { scope, reason } => impose(&mut suppressions, by_person(fact, scope, reason)),
            FactKind::Reactivate { scope: Scope::System, .. } => {
                suppressions.clear();
                any_soft = false;
                released = place + 1;
            }
            FactKind::Reactivate { scope, .. } => suppressions.retain(|suppression| suppression.scope != *scope),
            FactKind::Sent { .. }
            | FactKind::Imported(_)
            | FactKind::Activity { .. }
            | FactKind::Attributes(_)
            | FactKind::Limit(_) => {}
        }
    }
    let mut soft_streak = 0;
    if any_soft {
        let streak = streak(&facts[released..], policy, now);
        soft_streak = streak.len() as u32;
        let tipping = streak.get(policy.soft_streak.max(1) as usize - 1);
        suppressions.extend(tipping.map(|(fact, response)| bounce(fact, response)));
    }
    suppressions.sort_by_key(|suppression| (suppression.scope != Scope::System, suppression.since, suppression.event));
    ContactState { state: state(&suppressions), suppressions, soft_streak }
}

fn state(suppressions: &[Suppression]) -> State {
    let mut state = State::Active;
    for suppression in suppressions.iter().filter(|suppression| suppression.scope == Scope::System) {
        match nature(suppression) {
            Nature::Bounce if state == State::Active => state = State::Bounced,
            Nature::Bounce => {}
            Nature::Complaint | Nature::Person => state = State::Suppressed,
        }
    }
    state
}

/// What a response says of the contact.
enum Says {
    /// Suppresses at once.
    Hard,
    /// Suppresses after enough of them in a row.
    Soft,
    /// Suppresses for the list. It came from the inbox, so the message was delivered.
    Complaint,
    /// The message was delivered.
    Alive,
    /// The message was not delivered, and whether the mailbox would have taken it is not known.
    Undelivered,
    /// Decides nothing, not even that there was a response.
    Nothing,
}

fn says(response: &Response, policy: &Policy) -> Says {
    let counts = match response.authority {
        Authority::Unverified => policy.accept_unverified,
        Authority::Authenticated | Authority::Matched | Authority::Local | Authority::Signed | Authority::Operator => {
            true
        }
    };
    if !counts {
        return Says::Nothing;
    }
    match response.kind {
        Kind::Bounce if response.reason.as_deref() == Some(UPSTREAM_SUPPRESSED) => Says::Undelivered,
        Kind::Bounce => match (response.class, counted_type(response, policy.profile)) {
            (Class::Bounce | Class::Skip, Some(BounceType::Hard)) => Says::Hard,
            (Class::Bounce | Class::Skip, Some(BounceType::Soft)) => Says::Soft,
            (Class::Bounce | Class::Skip, None) | (Class::Feedback, _) => Says::Undelivered,
        },
        Kind::Complaint | Kind::OptOut => Says::Complaint,
        Kind::Delivered | Kind::Autoreply | Kind::NotSpam => Says::Alive,
        Kind::Delayed | Kind::Other => Says::Nothing,
    }
}

/// Hard or soft as the profile counts it; the response keeps the type it came with (SPEC 6, fault).
fn counted_type(response: &Response, profile: Profile) -> Option<BounceType> {
    match (profile, response.fault, response.code) {
        (Profile::Standard, Some(Fault::Sender | Fault::Message | Fault::Path | Fault::Provider), _)
            if response.by_words =>
        {
            response.bounce_type.map(|_| BounceType::Soft)
        }
        (Profile::Literal, _, Some(code)) if response.by_words => Some(code::entry(code).bounce_type),
        (Profile::Standard | Profile::Literal, _, _) => response.bounce_type,
    }
}

/// Adds a suppression, unless one of its scope and nature stands already: the first says since when.
fn impose(suppressions: &mut Vec<Suppression>, new: Suppression) {
    if !suppressions.iter().any(|known| known.scope == new.scope && nature(known) == nature(&new)) {
        suppressions.push(new);
    }
}

#[derive(PartialEq)]
enum Nature {
    Bounce,
    Complaint,
    Person,
}

/// Bounces alone have a type, and a person gives no category.
fn nature(suppression: &Suppression) -> Nature {
    match (suppression.bounce_type, suppression.category) {
        (Some(_), _) => Nature::Bounce,
        (None, Some(_)) => Nature::Complaint,
        (None, None) => Nature::Person,
    }
}

fn bounce(fact: &Fact, response: &Response) -> Suppression {
    let reason = response.reason.as_deref().or(response.category.map(Category::as_str)).unwrap_or("unknown");
    Suppression {
        scope: Scope::System,
        category: response.category,
        bounce_type: response.bounce_type,
        code: response.code,
        reason: reason.to_owned(),
        since: fact.at,
        until: None,
        campaign: response.campaign.clone(),
        event: fact.event,
    }
}

fn complaint(fact: &Fact, response: &Response) -> Suppression {
    let otherwise = if response.kind == Kind::OptOut { "opt-out" } else { "complaint" };
    Suppression {
        scope: response.list.clone().map_or(Scope::System, Scope::List),
        category: Some(response.category.unwrap_or(Category::Complaint)),
        bounce_type: None,
        code: response.code,
        reason: response.reason.as_deref().unwrap_or(otherwise).to_owned(),
        since: fact.at,
        until: None,
        campaign: response.campaign.clone(),
        event: fact.event,
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

/// The soft bounces that stand in a row at the end, one for each campaign, in the order in which they came
/// back: the n-th is the one that made the streak n long.
fn streak<'a>(facts: &'a [Fact], policy: &Policy, now: Timestamp) -> Vec<(&'a Fact, &'a Response)> {
    // Sorted by campaign, then by time: sorting needs no map, and a long record stays n log n.
    let mut by_campaign: Vec<(SendOut<'_>, usize)> =
        facts.iter().enumerate().filter_map(|(place, fact)| Some((SendOut::of(fact)?, place))).collect();
    by_campaign.sort_unstable();
    let mut outcomes: Vec<Outcome> = by_campaign
        .chunk_by(|a, b| a.0 == b.0)
        .filter_map(|group| outcome(group.iter().map(|&(_, place)| place), facts, policy, now))
        .collect();
    outcomes.sort_unstable_by_key(|outcome| (outcome.sent_at, outcome.first));
    let mut row: Vec<usize> = outcomes.iter().rev().map_while(|outcome| outcome.soft).collect();
    row.sort_unstable();
    row.into_iter()
        .filter_map(|place| match &facts[place].what {
            FactKind::Response(response) => Some((&facts[place], response.as_ref())),
            _ => None,
        })
        .collect()
}

/// What counts as one campaign: the name, or for mail that names none the day (UTC) it was sent, else came back.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum SendOut<'a> {
    Named(&'a Campaign),
    Day(i64),
}

impl<'a> SendOut<'a> {
    fn of(fact: &'a Fact) -> Option<SendOut<'a>> {
        let campaign = match &fact.what {
            FactKind::Response(response) => &response.campaign,
            FactKind::Sent { campaign, .. } => campaign,
            _ => return None,
        };
        let day = || SendOut::Day(sent_at(fact).unwrap_or(fact.at).as_second().div_euclid(86_400));
        Some(campaign.as_ref().map_or_else(day, SendOut::Named))
    }
}

/// When the message was sent, where known; never later than what came back.
fn sent_at(fact: &Fact) -> Option<Timestamp> {
    match &fact.what {
        FactKind::Response(response) => response.sent_at.map(|sent| sent.min(fact.at)),
        FactKind::Sent { .. } => Some(fact.at),
        _ => None,
    }
}

/// How a campaign ended for the contact.
struct Outcome {
    /// By this the row is ordered.
    sent_at: Timestamp,
    /// Place of its first fact: settles the order of campaigns sent at the same time.
    first: usize,
    /// Place of the soft bounce that counts; none when the campaign was delivered.
    soft: Option<usize>,
}

/// The outcome of the campaign whose facts stand at these places; none while it neither counts nor ends a row.
fn outcome(places: impl Iterator<Item = usize>, facts: &[Fact], policy: &Policy, now: Timestamp) -> Option<Outcome> {
    let (mut soft, mut delivered, mut answered) = (None, false, false);
    let (mut first, mut told, mut let_out) = (None, None::<Timestamp>, None);
    for place in places {
        let fact = &facts[place];
        match &fact.what {
            FactKind::Response(response) => {
                match says(response, policy) {
                    Says::Soft => (soft, delivered) = (soft.or(Some(place)), false),
                    // What is delivered later than a soft bounce makes it a delay.
                    Says::Alive | Says::Complaint => (soft, delivered) = (None, true),
                    Says::Hard | Says::Undelivered => {}
                    Says::Nothing => continue,
                }
                answered = true;
                told = [told, sent_at(fact)].into_iter().flatten().min();
            }
            FactKind::Sent { .. } => let_out = let_out.or(Some(fact.at)),
            _ => continue,
        }
        first = first.or(Some(place));
    }
    let first = first?;
    let settled = let_out.is_some_and(|sent| now.duration_since(sent).unsigned_abs() >= policy.settle);
    if soft.is_none() && !delivered && (answered || !settled) {
        return None;
    }
    Some(Outcome { sent_at: told.or(let_out).unwrap_or(facts[first].at), first, soft })
}
