//! The queue of one hook: its place among the events, the alerts it knows of, and what is to be told next.
//!
//! The log of events is the queue. What is kept beside it is [`Place`], a record of the store; a notice counts as told
//! when the place behind it was kept. A kill between the two tells the notice again, under the same id.

use super::notice::{self, AlertNotice, Notice};
use super::{Occasion, Raised, Settings};
use crate::policy::{Event, EventId, What};
use crate::store::{Store, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Events looked at in one step; between two steps the hook may be stopped.
const LOOKED_AT: usize = 2000;
/// Alerts known at once, and letters of each.
const ALERTS: usize = 16;
const MESSAGE: usize = 300;
/// Octets that a record may have.
const RECORD: usize = 4096;
/// An alert must be gone for so long before it is told to be over: one that comes and goes is told once.
pub const CALM: Duration = Duration::from_secs(10);

/// Where a hook is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The event it has come to.
    pub event: EventId,
    /// How many notices of that event were told; none: all of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub told: Option<u8>,
    /// The alerts that were raised and not yet told to be over, by code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub alerts: BTreeMap<String, Known>,
}

/// An alert that was raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// When.
    pub raised: Timestamp,
    /// What it said, shortened.
    pub message: String,
    /// Whether that was told.
    pub told: bool,
    /// Since when it is over, where it is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub over: Option<Timestamp>,
}

/// What is to be told next, and where the hook is once it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The notice.
    pub notice: Notice,
    /// The place behind it.
    pub then: Place,
}

/// What a look at the log has brought.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Something to tell.
    Item(Box<Item>),
    /// Nothing so far; so far the log has been read.
    Passed(Place),
    /// Nothing, to the end of the log.
    Nothing,
}

impl Place {
    /// The place of a hook that is new: it tells what happens from now on.
    pub fn now(newest: EventId) -> Place {
        Place { event: newest, told: None, alerts: BTreeMap::new() }
    }

    /// Reads the record; none for one that cannot be read.
    pub fn decode(record: &[u8]) -> Option<Place> {
        serde_json::from_slice(record).ok()
    }

    /// The record; where it would be too long, with less of what the alerts say.
    pub fn encode(&self) -> Vec<u8> {
        let mut place = self.clone();
        let mut letters = MESSAGE;
        loop {
            let record = serde_json::to_vec(&place).expect("plain data is JSON");
            if record.len() <= RECORD || letters == 0 {
                return record;
            }
            letters /= 2;
            for known in place.alerts.values_mut() {
                known.message = known.message.chars().take(letters).collect();
            }
        }
    }

    /// Looks at the events behind this place. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn next(&self, hook: &Settings, store: &Store) -> Result<Next, StoreError> {
        let after = match self.told {
            Some(_) => EventId(self.event.0.saturating_sub(1)),
            None => self.event,
        };
        let wanted = |event: &Event| notice::may_tell(&hook.on, event);
        let (event, reached) = store.next_event(after, LOOKED_AT, &wanted)?;
        let whole = |event| Place { event, told: None, alerts: self.alerts.clone() };
        let Some(event) = event else {
            return Ok(if reached == after { Next::Nothing } else { Next::Passed(whole(reached)) });
        };
        let contact = event.address.as_ref().map(|address| store.contact(address)).transpose()?.flatten();
        let voided = match &event.what {
            What::Void { target, .. } => store.event(*target)?,
            _ => None,
        };
        let contact = contact.unwrap_or_default();
        let notices = notice::notices(&hook.name, &hook.on, &event, &contact, voided.as_ref(), &store.policy());
        let told = if event.id == self.event { self.told.unwrap_or(0) } else { 0 };
        let count = notices.len();
        let Some(notice) = notices.into_iter().nth(usize::from(told)) else { return Ok(Next::Passed(whole(event.id))) };
        let told = told + 1;
        let then = Place { told: (usize::from(told) < count).then_some(told), ..whole(event.id) };
        Ok(Next::Item(Box::new(Item { notice, then })))
    }

    /// Takes note of which alerts are raised now; whether anything changed.
    pub fn note_alerts(&mut self, raised: &[Raised], now: Timestamp) -> bool {
        let mut changed = false;
        for alert in raised {
            let room = self.alerts.len() < ALERTS;
            match self.alerts.get_mut(&alert.code) {
                Some(known) => changed |= known.over.take().is_some(),
                None if room => {
                    let message = alert.message.chars().take(MESSAGE).collect();
                    let known = Known { raised: now, message, told: false, over: None };
                    self.alerts.insert(alert.code.clone(), known);
                    changed = true;
                }
                None => {}
            }
        }
        for (code, known) in &mut self.alerts {
            if known.over.is_none() && !raised.iter().any(|alert| alert.code == *code) {
                known.over = Some(now);
                changed = true;
            }
        }
        changed
    }

    /// The next alert to tell of: first that it was raised, then that it is over.
    pub fn next_alert(&self, hook: &str, now: Timestamp) -> Option<Item> {
        let calm = |over: Timestamp| Duration::try_from(now.duration_since(over)).is_ok_and(|since| since >= CALM);
        let due = |known: &Known| !known.told || known.over.is_some_and(calm);
        let (code, known) = self.alerts.iter().find(|(_, known)| due(known))?;
        let open = !known.told;
        let at = if open { known.raised } else { known.over.unwrap_or(now) };
        let word = if open { "raised" } else { "over" };
        let mut notice = Notice::new(hook, Occasion::Alert, format!("{code}-{word}-{}", at.as_millisecond()), at);
        notice.alert = Some(AlertNotice { code: code.clone(), message: known.message.clone(), open });
        let mut then = self.clone();
        if open {
            then.alerts.insert(code.clone(), Known { told: true, ..known.clone() });
        } else {
            then.alerts.remove(code);
        }
        Some(Item { notice, then })
    }
}

#[cfg(test)]
mod tests;
