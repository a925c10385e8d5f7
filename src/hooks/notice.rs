//! What one event comes to for a receiver: plain functions of the event, the contact's record, and the policy.
//!
//! A suppression or a release is no event of its own. It is what an event changes: the contact is folded as it stood
//! before the event and as it stood after it, at the time it was recorded, whatever has been recorded since.

use super::Occasion;
use crate::mail::Address;
use crate::policy::{Contact, ContactState, Event, EventId, Fact, Policy, State, Suppression, What, fold};
use crate::report::Kind;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What a receiver is told, once: the body of a post, the standard input of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The same whenever the same notice is told again: event id and type, for an alert its code and time.
    pub id: String,
    /// What it is.
    #[serde(rename = "type")]
    pub occasion: Occasion,
    /// When it was recorded, or noticed.
    pub at: Timestamp,
    /// The hook's name.
    pub hook: String,
    /// The event, as `GET /v1/events` shows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub event: Option<Event>,
    /// The contact.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contact: Option<Address>,
    /// How the contact stood after the event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<State>,
    /// Every suppression then in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub suppressions: Option<Vec<Suppression>>,
    /// The suppressions that came (`suppress`) or went (`release`).
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changed: Vec<Suppression>,
    /// The alert.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alert: Option<AlertNotice>,
}

/// An alert, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertNotice {
    /// Which, as in `GET /v1/status`.
    pub code: String,
    /// What is wrong; of an alert that is over, what was.
    pub message: String,
    /// Whether it is still so.
    pub open: bool,
}

impl Notice {
    /// A notice that tells nothing yet.
    pub fn new(hook: &str, occasion: Occasion, id: String, at: Timestamp) -> Notice {
        Notice {
            id,
            occasion,
            at,
            hook: hook.to_owned(),
            event: None,
            contact: None,
            state: None,
            suppressions: None,
            changed: Vec::new(),
            alert: None,
        }
    }
}

/// Whether an event can come to anything for a hook that tells these; a look at the contact says more.
pub fn may_tell(on: &[Occasion], event: &Event) -> bool {
    let changes = on.contains(&Occasion::Suppress) || on.contains(&Occasion::Release);
    match &event.what {
        What::Response { response, .. } => {
            changes || (response.kind == Kind::Complaint && on.contains(&Occasion::Complaint))
        }
        What::Suppress { .. }
        | What::Reactivate { .. }
        | What::Activity { .. }
        | What::Void { .. }
        | What::Confirm { .. } => changes && event.address.is_some(),
        // What an import brings, or the operator's lists hold, is not told contact by contact.
        What::Import { .. }
        | What::Imported { .. }
        | What::Revert { .. }
        | What::ListAdd { .. }
        | What::ListRemove { .. }
        | What::Sent { .. }
        | What::Skip { .. }
        | What::Attributes { .. }
        | What::Limit { .. }
        | What::Erase { .. }
        | What::Unreadable { .. } => false,
    }
}

/// When the event was recorded.
pub fn recorded(id: EventId) -> Timestamp {
    Timestamp::from_millisecond((id.0 >> 80) as i64).unwrap_or(Timestamp::MAX)
}

/// What a hook tells of an event, in this order: the complaint, what was released, what was suppressed.
///
/// `contact` is the record as it is now; `voided` the event that this one undoes, if it undoes one.
pub fn notices(
    hook: &str,
    on: &[Occasion],
    event: &Event,
    contact: &Contact,
    voided: Option<&Event>,
    policy: &Policy,
) -> Vec<Notice> {
    let [before, after] = around(event, contact, voided, policy);
    let came = changes(&after, &before);
    let went = changes(&before, &after);
    let complains = matches!(&event.what, What::Response { response, .. } if response.kind == Kind::Complaint);
    let told = [
        (Occasion::Complaint, complains, Vec::new()),
        (Occasion::Release, !went.is_empty(), went),
        (Occasion::Suppress, !came.is_empty(), came),
    ];
    let told = told.into_iter().filter(|(occasion, so, _)| *so && on.contains(occasion));
    told.map(|(occasion, _, changed)| Notice {
        event: Some(event.clone()),
        contact: event.address.clone(),
        state: event.address.as_ref().map(|_| after.state),
        suppressions: event.address.as_ref().map(|_| after.suppressions.clone()),
        changed,
        ..Notice::new(hook, occasion, format!("{}-{}", event.id, occasion.as_str()), recorded(event.id))
    })
    .collect()
}

/// The contact's state before the event and after it.
fn around(event: &Event, contact: &Contact, voided: Option<&Event>, policy: &Policy) -> [ContactState; 2] {
    let earlier = |fact: &&Fact| fact.event < event.id;
    let mut before: Contact = contact.facts.iter().filter(earlier).cloned().collect();
    let mut after = before.clone();
    // Its own fact may have been undone since; what it undid is gone from the record.
    after.facts.extend(event.fact());
    if let Some(fact) = voided.filter(|voided| voided.address == event.address).and_then(Event::fact) {
        after.facts.retain(|known| known.event != fact.event);
        before.insert(fact);
    }
    let after: Contact = after.facts.into_iter().collect();
    // An id has milliseconds, and facts of the future do not count.
    let now = recorded(event.id).checked_add(SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX).max(event.at);
    [fold(&before, policy, now), fold(&after, policy, now)]
}

/// The suppressions of one state that the other has not: of another scope, category or origin.
fn changes(of: &ContactState, than: &ContactState) -> Vec<Suppression> {
    let key = |suppression: &Suppression| {
        let by_person = suppression.category.is_none() && suppression.bounce_type.is_none();
        (suppression.scope.clone(), suppression.category, by_person)
    };
    let known: Vec<_> = than.suppressions.iter().map(key).collect();
    of.suppressions.iter().filter(|suppression| !known.contains(&key(suppression))).cloned().collect()
}

#[cfg(test)]
mod tests;
