//! What is kept of the operator's lists in memory, for every recipient of every outgoing message: a set of
//! 64-bit keyed hashes of the entries, and how many there are of each form, so that nothing is hashed in vain.
//!
//! While it is read from the tree, screening asks the tree.

use super::keyed::AddressKey;
use super::list_key::{self, FORMS, SALTED};
use super::schema::Engine;
use super::shared::Shared;
use super::{StoreError, lists};
use crate::mail::Address;
use crate::policy::{EventId, OperatorList};
use sled::Tree;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// So many locks share the entries; a power of two.
const SHARDS: usize = 64;

/// Entries read at once; who changes a list meanwhile waits for them.
const STEP: usize = 1024;

/// So many entries are read before the store is open; the others beside its work.
const AT_ONCE: usize = 32 * STEP;

/// More salts would make every recipient of a message expensive.
pub const SALTS: usize = 64;

type Shard = HashSet<u64, BuildHasherDefault<AsIs>>;

/// Salts, and how many entries have each.
type Salts = Vec<(Box<[u8]>, u64)>;

/// The fingerprints are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, octets: &[u8]) {
        self.0 = octets.iter().fold(self.0, |sum, octet| sum.rotate_left(8) ^ u64::from(*octet));
    }
    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

/// The entries.
pub struct Listed {
    key: AddressKey,
    shards: [RwLock<Shard>; SHARDS],
    /// How many there are of each form.
    counts: [AtomicU64; FORMS],
    /// The salts in use, and how many entries have them; none while they are still being read.
    salts: RwLock<Salts>,
    any: AtomicBool,
    /// The number of the reading that is whole in memory; 0 while there is none.
    ready: AtomicU64,
    /// Counts how often it was read anew. Held for as long as entries pass from the tree into the set, so that
    /// none is put in that was removed meanwhile.
    reading: Mutex<u64>,
}

impl Listed {
    /// Nothing yet.
    pub fn new(key: AddressKey) -> Listed {
        Listed {
            key,
            shards: std::array::from_fn(|_| RwLock::default()),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            salts: RwLock::default(),
            any: AtomicBool::new(false),
            ready: AtomicU64::new(1),
            reading: Mutex::new(1),
        }
    }

    /// The first list the address is on; nothing if not everything is in memory.
    pub fn find_if_ready(&self, address: &Address) -> Option<Option<OperatorList>> {
        let ready = self.ready.load(Ordering::Acquire);
        let found = (ready > 0).then(|| self.find(address))?;
        // It may have been emptied while we looked.
        (found.is_some() || self.ready.load(Ordering::Acquire) == ready).then_some(found)
    }

    /// The first list the address is on, of what is in memory.
    pub fn find(&self, address: &Address) -> Option<OperatorList> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let present = |form: u8| self.counts[usize::from(form)].load(Ordering::Relaxed) > 0;
        list_key::candidates(
            address,
            present,
            |told| self.each_salt(told),
            |subject| {
                let fingerprint = self.fingerprint(subject);
                match self.shard(fingerprint).read().unwrap_or_else(PoisonError::into_inner).contains(&fingerprint) {
                    true => ControlFlow::Break(list_key::list_of(subject)),
                    false => ControlFlow::Continue(()),
                }
            },
        )
    }

    /// Every subject in the tree by which the address is listed, until `found` has enough.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn find_in_tree<T>(
        &self,
        lists: &Tree,
        address: &Address,
        mut found: impl FnMut(&[u8], Vec<u8>, &[u8]) -> ControlFlow<T>,
    ) -> Result<Option<T>, StoreError> {
        let present = |form: u8| lists.scan_prefix([form]).next().is_some();
        let found = list_key::candidates(
            address,
            present,
            |told| self.each_salt(told),
            |subject| {
                for entry in lists.scan_prefix([subject, &[0]].concat()) {
                    match entry {
                        Ok((key, value)) => match found(subject, key.to_vec(), &value) {
                            ControlFlow::Break(enough) => return ControlFlow::Break(Ok(enough)),
                            ControlFlow::Continue(()) => {}
                        },
                        Err(error) => return ControlFlow::Break(Err(error)),
                    }
                }
                ControlFlow::Continue(())
            },
        );
        Ok(found.transpose()?)
    }

    fn each_salt(&self, told: &mut dyn FnMut(&[u8])) {
        self.salts.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|(salt, _)| told(salt));
    }

    /// How many salts would be in use with these.
    pub fn salts_with<'a>(&self, more: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut new = HashSet::new();
        let salts = self.salts.read().unwrap_or_else(PoisonError::into_inner);
        new.extend(more.filter(|salt| salts.iter().all(|(known, _)| **known != **salt)));
        salts.len() + new.len()
    }

    fn fingerprint(&self, subject: &[u8]) -> u64 {
        self.key.hash_octets(subject).short()
    }

    // hashbrown takes the lowest and the highest bits; these are from the middle.
    fn shard(&self, fingerprint: u64) -> &RwLock<Shard> {
        &self.shards[(fingerprint >> 40) as usize % SHARDS]
    }

    fn insert(&self, subject: &[u8]) {
        let Some(count) = subject.first().and_then(|form| self.counts.get(usize::from(*form))) else { return };
        let fingerprint = self.fingerprint(subject);
        if !self.shard(fingerprint).write().unwrap_or_else(PoisonError::into_inner).insert(fingerprint) {
            return;
        }
        if let Some(salt) = list_key::salt_in(subject) {
            let mut salts = self.salts.write().unwrap_or_else(PoisonError::into_inner);
            match salts.iter_mut().find(|(known, _)| **known == *salt) {
                Some((_, count)) => *count += 1,
                None => salts.push((salt.into(), 1)),
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
    }

    fn remove(&self, subject: &[u8]) {
        let Some(count) = subject.first().and_then(|form| self.counts.get(usize::from(*form))) else { return };
        let fingerprint = self.fingerprint(subject);
        if !self.shard(fingerprint).write().unwrap_or_else(PoisonError::into_inner).remove(&fingerprint) {
            return;
        }
        if let Some(salt) = list_key::salt_in(subject) {
            let mut salts = self.salts.write().unwrap_or_else(PoisonError::into_inner);
            salts.iter_mut().filter(|(known, _)| **known == *salt).for_each(|(_, count)| *count -= 1);
            if self.ready.load(Ordering::Acquire) > 0 {
                salts.retain(|(_, count)| *count > 0);
            }
        }
        count.fetch_sub(1, Ordering::Relaxed);
        self.any.store(self.counts.iter().any(|count| count.load(Ordering::Relaxed) > 0), Ordering::Relaxed);
    }

    /// Takes note of keys that were put into the tree or removed from it.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn note<V>(&self, lists: &Tree, changes: &BTreeMap<Vec<u8>, Option<V>>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            let subject = list_key::subject_in(key);
            // Another event may have put it there, too.
            let stays = value.is_some() || lists.scan_prefix([subject, &[0]].concat()).next().transpose()?.is_some();
            if stays { self.insert(subject) } else { self.remove(subject) }
        }
        Ok(())
    }

    /// Forgets everything; the trees answer until it was read anew. Returns the number of this reading.
    fn restart(&self, engine: &Engine) -> Result<u64, StoreError> {
        let salts = salts_in(&engine.lists)?;
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.ready.store(0, Ordering::Release);
        self.shards.iter().for_each(|shard| *shard.write().unwrap_or_else(PoisonError::into_inner) = Shard::default());
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        *self.salts.write().unwrap_or_else(PoisonError::into_inner) = salts;
        self.any.store(false, Ordering::Relaxed);
        *reading += 1;
        Ok(*reading)
    }

    /// Reads some entries, from the first key; where to go on, if there are more.
    fn step(
        &self,
        lists: &Tree,
        undone: &BTreeSet<EventId>,
        number: u64,
        first: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if *reading != number {
            return Ok(None);
        }
        let mut count = 0;
        let mut last = None;
        // A new walk each time: one under way would go on in pages as they were.
        for entry in lists.range(first..).take(STEP) {
            let (key, value) = entry?;
            if lists::counts(&value, undone) {
                self.insert(list_key::subject_in(&key));
            }
            count += 1;
            last = Some(key);
        }
        match last {
            Some(last) if count == STEP => Ok(Some([&last[..], &[0]].concat())),
            _ => {
                self.salts.write().unwrap_or_else(PoisonError::into_inner).retain(|(_, count)| *count > 0);
                self.ready.store(number, Ordering::Release);
                Ok(None)
            }
        }
    }
}

/// Reads the lists of the trees in use: at once where they are short, else beside everything else.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub fn load(shared: &Arc<Shared>) -> Result<(), StoreError> {
    let number = shared.listed.restart(shared.read().engine()?)?;
    let mut first = Vec::new();
    for _ in 0..AT_ONCE / STEP {
        match shared.listed.step(&shared.read().engine()?.lists, &shared.undone.now(), number, &first)? {
            Some(next) => first = next,
            None => return Ok(()),
        }
    }
    let shared = shared.clone();
    let rest = move || {
        // Closed, or being opened again: then they are read anew.
        while let Ok(Some(next)) = shared
            .read()
            .engine()
            .and_then(|engine| shared.listed.step(&engine.lists, &shared.undone.now(), number, &first))
        {
            first = next;
        }
    };
    let thread = std::thread::Builder::new().name("store-lists".to_owned()).spawn(rest);
    thread.map(drop).map_err(|error| StoreError::Engine(format!("cannot read the lists: {error}")))
}

/// The salts in use, each found by one step over all entries that have the one before.
fn salts_in(lists: &Tree) -> Result<Salts, StoreError> {
    let mut salts = Vec::new();
    let mut first = vec![SALTED];
    while let Some((key, _)) = lists.range(first..).next().transpose()? {
        let Some(salt) = list_key::salt_in(&key) else { break };
        salts.push((salt.into(), 0));
        first = [&[SALTED, salt.len() as u8], salt].concat();
        // Behind all hashes under it, and before the next salt.
        first.extend([0xff; 33]);
    }
    Ok(salts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    #[ignore = "takes long without --release"]
    fn ten_million_hashed_entries_fit_into_two_hundred_megabytes() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
        };
        let listed = Listed::new(AddressKey::new(&[7; 16]));
        let before = resident();
        for number in 0..10_000_000_u64 {
            let mut subject = [0; 33];
            subject[0] = 7;
            subject[1..9].copy_from_slice(&number.to_be_bytes());
            listed.insert(&subject);
        }
        let taken = resident() - before;
        let addresses: Vec<Address> =
            (0..10_000).map(|number| Address::parse(&format!("c{number}@example.org")).unwrap()).collect();
        let since = Instant::now();
        for _ in 0..100 {
            assert!(addresses.iter().all(|address| listed.find(std::hint::black_box(address)).is_none()));
        }
        println!("{taken} MiB; {:?} for one who is not listed", since.elapsed() / 1_000_000);
        assert!(taken < 200, "{taken} MiB");
    }
}
