//! Who was erased and stays blocked: keyed hashes of the addresses, in tree `erased` and in memory; and what
//! is still recorded about them.

use super::fact::put_time;
use super::keyed::{AddressHash, AddressKey};
use super::shared::Shared;
use super::{NewEvent, StoreError, lists};
use crate::mail::Address;
use crate::policy::{Evidence, What};
use jiff::Timestamp;
use sled::Tree;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// The hashes.
pub struct ErasedSet {
    key: AddressKey,
    hashes: RwLock<HashSet<AddressHash>>,
    any: AtomicBool,
}

impl ErasedSet {
    /// Nobody yet.
    pub fn new(key: AddressKey) -> ErasedSet {
        ErasedSet { key, hashes: RwLock::default(), any: AtomicBool::new(false) }
    }

    /// Reads them, in place of those that were there.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn load(&self, erased: &Tree) -> Result<(), StoreError> {
        let mut all = HashSet::new();
        for key in erased.iter().keys() {
            all.extend(<[u8; 16]>::try_from(key?.as_ref()).map(AddressHash));
        }
        self.change(|hashes| *hashes = all);
        Ok(())
    }

    /// The hash of an address, which is its key in the tree.
    pub fn hash(&self, address: &Address) -> AddressHash {
        self.key.hash(address.as_str())
    }

    /// Whether the address is among them.
    pub fn contains(&self, address: &Address) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.hashes.read().unwrap_or_else(PoisonError::into_inner).contains(&self.hash(address))
    }

    /// Adds one that is on disk.
    pub fn insert(&self, hash: AddressHash) {
        self.change(|hashes| hashes.extend([hash]));
    }

    /// Removes one that is no more on disk.
    pub fn remove(&self, hash: AddressHash) {
        self.change(|hashes| hashes.retain(|known| *known != hash));
    }

    fn change(&self, change: impl FnOnce(&mut HashSet<AddressHash>)) {
        let mut hashes = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut hashes);
        self.any.store(!hashes.is_empty(), Ordering::Relaxed);
    }
}

/// Erasures, and releases of who was erased: while one is at work, and after it, what was read before may be too
/// much.
#[derive(Default)]
pub struct Erasures(Mutex<AtWork>);

#[derive(Default)]
struct AtWork {
    begun: u64,
    now: u64,
}

/// One at work, until this is dropped.
pub struct Erasing<'a>(&'a Erasures);

impl Drop for Erasing<'_> {
    fn drop(&mut self) {
        self.0.lock().now -= 1;
    }
}

impl Erasures {
    fn lock(&self) -> MutexGuard<'_, AtWork> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One begins.
    pub fn begin(&self) -> Erasing<'_> {
        let mut erasures = self.lock();
        erasures.begun += 1;
        erasures.now += 1;
        Erasing(self)
    }

    /// How many have begun.
    pub fn begun(&self) -> u64 {
        self.lock().begun
    }

    /// How many have begun, if all of them have ended.
    pub fn at_rest(&self) -> Option<u64> {
        let erasures = self.lock();
        (erasures.now == 0).then_some(erasures.begun)
    }
}

/// The value in tree `erased`.
pub fn value(at: Timestamp) -> Vec<u8> {
    let mut value = Vec::with_capacity(12);
    put_time(&mut value, at);
    value
}

/// Lets events be recorded: those about somebody erased without what would tell whose they are, so that
/// campaigns still count them; the others only if they can stand on the lists they are for.
///
/// # Errors
/// As [`lists::check`].
pub fn admit(shared: &Shared, mut events: Vec<NewEvent>) -> Result<Vec<NewEvent>, StoreError> {
    if shared.erased.any.load(Ordering::Relaxed) {
        let erased = |address: &Address| shared.erased.contains(address);
        events.iter_mut().for_each(|event| strip(event, &erased));
    }
    lists::check(shared, &events)?;
    Ok(events)
}

/// Takes from an event what it tells of contacts that are `erased`.
pub fn strip(event: &mut NewEvent, erased: &dyn Fn(&Address) -> bool) {
    let named = |text: &str| Address::parse(text).is_ok_and(|address| erased(&address));
    match &mut event.what {
        What::Imported { entries, .. } => entries.retain(|entry| !named(&entry.subject)),
        What::ListAdd { entry, reason, .. } | What::ListRemove { entry, reason, .. } if named(entry) => {
            entry.clear();
            reason.clear();
        }
        _ => {}
    }
    if !event.address.as_ref().is_some_and(erased) {
        return;
    }
    event.address = None;
    event.queue_id = None;
    match &mut event.what {
        What::Response { evidence, .. } => {
            let Evidence { description, rule, dialect, .. } = std::mem::take(evidence.as_mut());
            **evidence = Evidence { description, rule, dialect, ..Evidence::default() };
        }
        What::Sent { message_id, .. } => *message_id = None,
        What::Skip { forward_path, .. } => *forward_path = None,
        What::Suppress { reason, .. } | What::Reactivate { reason, .. } | What::Confirm { reason, .. } => {
            reason.clear();
        }
        What::ListAdd { entry, reason, .. } | What::ListRemove { entry, reason, .. } => {
            entry.clear();
            reason.clear();
        }
        What::Attributes { attributes, reason, .. } => {
            attributes.clear();
            reason.clear();
        }
        What::Activity { reason, .. } | What::Limit { reason, .. } => reason.clear(),
        What::Unreadable { problem, excerpt } => {
            problem.clear();
            excerpt.clear();
        }
        What::Import { .. } | What::Imported { .. } | What::Revert { .. } | What::Void { .. } | What::Erase { .. } => {}
    }
}
