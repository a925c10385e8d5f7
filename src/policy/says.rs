//! What one fact says of the contact, by itself: before asking what came later or what came in between.

use super::contact::{Fact, FactKind, Imported};
use super::table::Cell;
use super::{Authority, Level, Policy, Profile, Response};
use crate::classify::{BounceType, Category, Class, Fault, code};
use crate::report::Kind;

/// `reason` of a bounce by which an upstream relay only echoes its own suppression list. It says nothing about
/// the mailbox (SPEC 2.2).
pub const UPSTREAM_SUPPRESSED: &str = "upstream-suppressed";

/// What a response says of the contact.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says<'a> {
    /// It bounced.
    Bounced(Bounced<'a>),
    /// Suppresses for the list. It came from the inbox, so the message was delivered.
    Complaint,
    /// The message was delivered.
    Alive,
    /// The message was not delivered, and whether the mailbox would have taken it is not known.
    Undelivered,
    /// Nothing vouches for it: decides nothing, not even that there was a response.
    Unverified,
    /// Decides nothing, not even that there was a response.
    Nothing,
}

/// How a bounce counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounced<'a> {
    /// By this cell.
    pub cell: &'a Cell,
    /// So many of them in a row suppress.
    pub responses: u32,
    /// So strong a sign of life retracts it.
    pub needs: Level,
    /// Hard, but counts like a soft one: the fault is not the recipient's.
    pub softened: bool,
}

impl Bounced<'_> {
    pub fn at_once(&self) -> bool {
        self.responses <= 1
    }
}

pub(super) fn says<'a>(response: &Response, policy: &'a Policy) -> Says<'a> {
    if response.authority == Authority::Unverified && !policy.accept_unverified {
        return Says::Unverified;
    }
    match response.kind {
        Kind::Bounce if response.reason.as_deref() == Some(UPSTREAM_SUPPRESSED) => Says::Undelivered,
        Kind::Bounce => match (response.class, counted_type(response, policy.profile)) {
            (Class::Bounce | Class::Skip, Some(counted)) => Says::Bounced(count(response, counted, policy)),
            (Class::Bounce | Class::Skip, None) | (Class::Feedback, _) => Says::Undelivered,
        },
        Kind::Complaint | Kind::OptOut => Says::Complaint,
        Kind::Delivered | Kind::Autoreply | Kind::NotSpam => Says::Alive,
        Kind::Delayed | Kind::Other => Says::Nothing,
    }
}

/// How a fact counts that is a bounce.
pub(super) fn bounced<'a>(fact: &Fact, policy: &'a Policy) -> Option<Bounced<'a>> {
    match &fact.what {
        FactKind::Response(response) => match says(response, policy) {
            Says::Bounced(bounced) => Some(bounced),
            _ => None,
        },
        _ => None,
    }
}

/// Hard or soft as the profile counts it; the response keeps the type it came with (SPEC 6, fault).
fn counted_type(response: &Response, profile: Profile) -> Option<BounceType> {
    match (profile, response.code) {
        (Profile::Literal, Some(code)) if response.by_words => Some(code::entry(code).bounce_type),
        (Profile::Literal, _) => response.bounce_type,
        _ if not_the_recipients(response) => response.bounce_type.map(|_| BounceType::Soft),
        _ => response.bounce_type,
    }
}

/// Whether words, not the bare code, show that the fault is somebody else's.
fn not_the_recipients(response: &Response) -> bool {
    let elsewhere = matches!(response.fault, Some(Fault::Sender | Fault::Message | Fault::Path | Fault::Provider));
    response.by_words && elsewhere
}

fn count<'a>(response: &Response, counted: BounceType, policy: &'a Policy) -> Bounced<'a> {
    let category = response.category.filter(|category| *category != Category::Complaint).unwrap_or(Category::Unknown);
    let softened = counted == BounceType::Soft && response.bounce_type == Some(BounceType::Hard);
    let cell = policy.table.cell(category);
    // Where a single soft one suppresses, what says nothing about the contact must not: it stands with `blocked`.
    let spared = policy.profile != Profile::Literal && not_the_recipients(response) && cell.responses <= 1;
    let cell = if spared { policy.table.cell(Category::Blocked) } else { cell };
    let responses = if counted == BounceType::Hard { cell.hard_responses } else { cell.responses };
    Bounced { cell, responses, needs: needs(category, counted, policy), softened }
}

fn needs(category: Category, counted: BounceType, policy: &Policy) -> Level {
    match (category, counted) {
        (Category::Unknown, _) => policy.proof.unknown,
        (_, BounceType::Hard) => policy.proof.hard,
        (_, BounceType::Soft) => policy.proof.soft,
    }
}

/// What retracts an imported bounce; one without a type is taken as hard.
pub(super) fn imported_needs(imported: &Imported, policy: &Policy) -> Level {
    let category = imported.category.unwrap_or(Category::Unknown);
    needs(category, imported.bounce_type.unwrap_or(BounceType::Hard), policy)
}
