//! What is done beside serving, on a thread of its own: reading every contact for the table in memory, making
//! records anew that cannot be read, clearing away what a killed process left unfinished, and bringing a store of before
//! up to date.

use super::imports;
use super::screened::summary;
use super::shared::Shared;
use super::writer::again;
use super::{StoreError, contacts, indexing, upkeep};
use crate::policy::EventId;
use jiff::Timestamp;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Contacts read at once.
const AT_ONCE: u32 = 512;

/// So long after trouble with the store is it read again.
const PAUSE: Duration = Duration::from_secs(1);

/// What is wanted of the thread.
#[derive(Default)]
pub struct Background {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Default)]
struct Wanted {
    /// So many times was it asked that contacts be read,
    asked: u64,
    /// and this one of them is done.
    done: u64,
    /// How many contacts there are is not on disk yet.
    count: bool,
    /// Batches that were unfinished, or not cleared away, when the store was opened.
    undone: Vec<EventId>,
    /// The store was opened: there may be something to clear away.
    opened: bool,
    /// Contacts could neither be read nor made anew.
    failed: Option<StoreError>,
    closed: bool,
}

impl Background {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store was opened. `counted`: it told how many contacts there are; `undone` are the batches that do
    /// not count.
    pub fn begin(&self, counted: bool, undone: Vec<EventId>) {
        let mut wanted = self.wanted();
        (wanted.count, wanted.undone, wanted.opened) = (!counted, undone, true);
        wanted.asked += 1;
        self.changed.notify_all();
    }

    /// Has all contacts read again, from the beginning if that is under way.
    pub fn scan(&self) {
        self.wanted().asked += 1;
        self.changed.notify_all();
    }

    /// Ends the thread.
    pub fn close(&self) {
        self.wanted().closed = true;
        self.changed.notify_all();
    }

    /// Waits until all contacts were read as last asked, or until then.
    ///
    /// # Errors
    /// [`StoreError`] when they could neither be read nor made anew.
    pub fn wait(&self, until: Instant) -> Result<(), StoreError> {
        let mut wanted = self.wanted();
        loop {
            if let Some(failed) = &wanted.failed {
                return Err(again(failed));
            }
            let left = until.saturating_duration_since(Instant::now());
            if wanted.done >= wanted.asked || wanted.closed || left.is_zero() {
                return Ok(());
            }
            wanted = self.changed.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until contacts are to be read; none when the store closes.
    fn next(&self) -> Option<u64> {
        let mut wanted = self.wanted();
        loop {
            if wanted.closed {
                return None;
            }
            if wanted.asked > wanted.done {
                return Some(wanted.asked);
            }
            wanted = self.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_wanted(&self, request: u64) -> bool {
        let wanted = self.wanted();
        !wanted.closed && wanted.asked == request
    }

    fn done(&self, request: u64, failed: Option<StoreError>) {
        let mut wanted = self.wanted();
        (wanted.done, wanted.failed) = (request, failed);
        self.changed.notify_all();
    }

    fn pause(&self) {
        let wanted = self.wanted();
        if !wanted.closed {
            drop(self.changed.wait_timeout(wanted, PAUSE));
        }
    }
}

/// Serves until the store closes.
pub fn serve(shared: &Shared) {
    let background = &shared.background;
    while let Some(request) = background.next() {
        match scan(shared, request) {
            Ok(true) => {
                shared.on_record.set_ready(true);
                background.done(request, None);
            }
            Ok(false) => continue,
            Err(StoreError::Damaged { .. } | StoreError::Corrupt { .. }) => {
                match upkeep::rebuild(shared, &mut |_| {}) {
                    Ok(_) => background.scan(),
                    Err(failed @ (StoreError::Damaged { .. } | StoreError::Corrupt { .. })) => {
                        background.done(request, Some(failed))
                    }
                    Err(_) => background.pause(),
                }
            }
            Err(_) => {
                background.pause();
                continue;
            }
        }
        let undone = {
            let mut wanted = background.wanted();
            let opened = std::mem::take(&mut wanted.opened);
            opened.then(|| std::mem::take(&mut wanted.undone))
        };
        // Where this fails it is done when the store is opened next.
        let _ = undone.map(|undone| clear_away(shared, undone).and_then(|()| indexing::complete(shared)));
    }
}

/// Reads every contact and notes what its record comes to. Whether it came to the end.
fn scan(shared: &Shared, request: u64) -> Result<bool, StoreError> {
    let count = shared.background.wanted().count;
    let mut from = Some(vec![1]);
    let mut contacts = 0;
    while let Some(next) = from.take() {
        if !shared.background.is_wanted(request) {
            return Ok(false);
        }
        // In this order: whatever changes behind the stamps makes them old.
        let stamps = shared.on_record.stamps();
        let (policy, undone, now) = (shared.policy(), shared.undone.now(), Timestamp::now());
        let mut left = AT_ONCE;
        let reading = shared.read();
        from = contacts::walk(&reading.engine()?.contacts, next, &undone, |address, record| {
            contacts += 1;
            left -= 1;
            if record.may_suppress || record.passed_over {
                let contact = shared.on_record.fingerprint(address);
                shared.on_record.sum_up_since(contact, &stamps, summary(&record, &policy, now));
            }
            Ok(left > 0)
        })?;
    }
    if count {
        shared.contacts.store(contacts, Ordering::Relaxed);
        shared.background.wanted().count = false;
    }
    Ok(true)
}

fn clear_away(shared: &Shared, undone: Vec<EventId>) -> Result<(), StoreError> {
    for batch in undone {
        imports::give_up(shared, batch)?;
    }
    while shared.run(|writer| writer.sweep_step())? {}
    Ok(())
}
