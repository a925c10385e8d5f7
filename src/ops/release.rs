//! The daemon's own timer: contacts whose suppression ends by itself are released when it has (SPEC 6).
//!
//! A release is an event like a person's. It is dated to the moment the suppression ended, not to the run: what
//! came back since then still counts, and a run that comes late or twice changes nothing.

use super::event::{LogEvent, say, strain};
use crate::admin::server::LastRelease;
use crate::mail::Address;
use crate::policy::{CATEGORIES, Contact, ContentKey, Policy, Profile, Scope, What, due, fold};
use crate::service::Service;
use crate::store::{NewEvent, Recorded, Store, StoreError};
use jiff::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The first run is so long after the start, and then so often.
const FIRST: Duration = Duration::from_secs(300);
const EVERY: Duration = Duration::from_secs(3600);
/// Contacts looked at at a time.
const BATCH: usize = 500;

/// What `status` tells of it; none before the first run.
pub type LastRun = Arc<Mutex<Option<LastRelease>>>;

/// Releases who is due, a while after the start and then hourly, where the policy lets anything end by itself.
pub async fn release_hourly(service: Arc<Service>, last: LastRun) {
    let mut tick = tokio::time::interval_at(Instant::now() + FIRST, EVERY);
    loop {
        tick.tick().await;
        if !strain::clock_is_steady() {
            continue;
        }
        let policy = service.in_force().policy.clone();
        if !ends_anything(&policy) {
            continue;
        }
        let (store, at) = (service.store().clone(), Timestamp::now());
        let run = tokio::task::spawn_blocking(move || release(&store, &policy, at)).await;
        match run {
            Ok(Ok(released)) => {
                say(&LogEvent::Release { released });
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastRelease { at, released });
            }
            Ok(Err(error)) => say(&LogEvent::ReleaseFailed { problem: &error.to_string() }),
            Err(error) => say(&LogEvent::ReleaseFailed { problem: &error.to_string() }),
        }
    }
}

/// Whether there is anything that ends by itself.
fn ends_anything(policy: &Policy) -> bool {
    CATEGORIES.iter().any(|category| policy.table.cell(*category).reactivate_days.is_some())
}

/// Releases every contact that is due at `now`, and says how many. Blocks.
///
/// # Errors
/// [`StoreError`] when the store cannot be read or written; who was released before stays so.
pub fn release(store: &Store, policy: &Policy, now: Timestamp) -> Result<u64, StoreError> {
    let mut released = 0;
    let mut cursor: Option<String> = None;
    loop {
        let page = store.contacts_on_record(cursor.as_deref(), BATCH)?;
        let due = |(address, contact)| release_of(address, &contact, policy, now);
        let events: Vec<NewEvent> = page.entries.into_iter().filter_map(due).collect();
        if !events.is_empty() {
            let recorded = store.record_blocking(events)?;
            released += recorded.iter().filter(|recorded| matches!(recorded, Recorded::New(_))).count() as u64;
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(released),
        }
    }
}

/// The event that releases a contact, if it is due.
fn release_of(address: Address, contact: &Contact, policy: &Policy, now: Timestamp) -> Option<NewEvent> {
    let state = fold(contact, policy, now);
    if !due(&state, now) {
        return None;
    }
    let ended = state.suppressions.iter().filter_map(|suppression| Some((suppression.until?, suppression.since)));
    let (until, since) = ended.max()?;
    let days = until.duration_since(since).as_hours() / 24;
    let name = Profile::ALL.iter().find(|(_, profile)| *profile == policy.profile).map_or("", |(name, _)| name);
    let what = What::Reactivate {
        scope: Scope::System,
        reason: format!("reactivated after {days} days ({name})"),
        uid: nix::unistd::geteuid().as_raw(),
        by_timer: true,
    };
    let key: [&[u8]; 3] = [b"release", address.as_str().as_bytes(), &until.as_nanosecond().to_le_bytes()];
    let content_key = Some(ContentKey::of(&key));
    Some(NewEvent { at: until, address: Some(address), queue_id: None, what, content_key })
}
