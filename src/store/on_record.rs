//! Which contacts have anything on record that may suppress, and what it comes to where that is settled: a
//! table in memory, asked for every recipient of every outgoing message.
//!
//! It holds 60 bits of a keyed hash and four bits of summary for each contact, eight octets in all. An address
//! that shares its hash with a contact on record is taken for that contact; among ten million that happens to
//! one lookup in a hundred thousand million.

use super::keyed::AddressKey;
use crate::classify::Category;
use crate::mail::Address;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

/// So many locks share the contacts; the first bits of a hash tell which.
const SHARDS: usize = 256;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// The bits of a slot that hold the summary; never 0, so that 0 is a free slot.
const CODE: u64 = 15;

/// What is known of a contact without its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summary {
    /// The record must be read.
    Ask,
    /// Suppressed system-wide, for this category, until something new comes on record or the policy changes.
    Suppressed(Option<Category>),
}

/// The table.
pub struct OnRecord {
    key: AddressKey,
    shards: Box<[RwLock<Shard>]>,
    ready: AtomicBool,
}

/// A hash of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

/// How often contacts that share a lock had changed: what was read before is summed up only if none has since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

/// The stamps of all contacts.
pub struct Stamps(Vec<u64>);

/// A hash table of its own: open addressing, nothing is ever taken out of it but to be replaced in place.
#[derive(Default)]
struct Shard {
    slots: Vec<u64>,
    used: usize,
    changes: u64,
}

impl OnRecord {
    /// An empty table, not ready.
    pub fn new(key: AddressKey) -> OnRecord {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        OnRecord { key, shards, ready: AtomicBool::new(false) }
    }

    /// What addresses are hashed with.
    pub fn key(&self) -> &AddressKey {
        &self.key
    }

    /// The fingerprint of an address.
    pub fn fingerprint(&self, address: &str) -> Fingerprint {
        Fingerprint(self.key.hash(address).short())
    }

    /// Whether every contact on record is in it. Until then, what it does not hold may be on record.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Every contact on record is in it from now on, or not any more.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Whether a contact may be on record; false is certain.
    pub fn contains(&self, address: &Address) -> bool {
        !self.is_ready() || self.look(self.fingerprint(address.as_str())).0.is_some()
    }

    /// What is known of a contact, and the stamp for [`OnRecord::sum_up`]. Where nothing is, it is not on
    /// record, if the table was ready before.
    pub fn look(&self, contact: Fingerprint) -> (Option<Summary>, Stamp) {
        let shard = self.shard(contact).read().unwrap_or_else(PoisonError::into_inner);
        (shard.find(contact.0).ok().and_then(|place| Summary::decode(shard.slots[place])), Stamp(shard.changes))
    }

    /// The stamps of all contacts, before many of them are read.
    pub fn stamps(&self) -> Stamps {
        let changes = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).changes;
        Stamps(self.shards.iter().map(changes).collect())
    }

    /// Something new is on record of a contact: what was known holds no more. One that cannot be suppressed by
    /// it, and was not in the table, stays out of it.
    pub fn touch(&self, contact: Fingerprint, may_suppress: bool) {
        let mut shard = self.write(contact);
        shard.changes += 1;
        match shard.find(contact.0) {
            Ok(place) if may_suppress || Summary::decode(shard.slots[place]).is_some() => {
                shard.slots[place] = contact.0 & !CODE | Summary::Ask.encode();
            }
            Err(_) if may_suppress => shard.put(contact.0, Summary::Ask.encode()),
            Ok(_) | Err(_) => {}
        }
    }

    /// Sees to it that a contact is in the table that may be suppressed; what is known of it holds.
    pub fn note(&self, contact: Fingerprint, may_suppress: bool) {
        if may_suppress && self.look(contact).0.is_none() {
            self.touch(contact, true);
        }
    }

    /// Notes what the record of a contact comes to, unless something changed since the stamp was taken: then it
    /// is in the table, and must be asked.
    pub fn sum_up(&self, contact: Fingerprint, stamp: Stamp, summary: Summary) {
        let mut shard = self.write(contact);
        let fresh = Stamp(shard.changes) == stamp;
        match shard.find(contact.0).map(|place| (place, Summary::decode(shard.slots[place]))) {
            Ok((place, known)) if fresh || known.is_none() => {
                let summary = if fresh { summary } else { Summary::Ask };
                shard.slots[place] = contact.0 & !CODE | summary.encode();
            }
            Ok(_) => {}
            Err(_) => shard.put(contact.0, if fresh { summary.encode() } else { Summary::Ask.encode() }),
        }
    }

    /// As [`OnRecord::sum_up`], with the stamps of all.
    pub fn sum_up_since(&self, contact: Fingerprint, stamps: &Stamps, summary: Summary) {
        self.sum_up(contact, Stamp(stamps.0[shard_of(contact)]), summary);
    }

    /// Takes a contact out, of whom nothing is on record any more.
    pub fn remove(&self, contact: Fingerprint) {
        let mut shard = self.write(contact);
        shard.changes += 1;
        if let Ok(place) = shard.find(contact.0) {
            shard.slots[place] |= CODE;
        }
    }

    /// Whatever was summed up must be asked again: the policy has changed, or the records were made anew.
    pub fn forget(&self) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.changes += 1;
            for slot in &mut shard.slots {
                if let Some(Summary::Suppressed(_)) = Summary::decode(*slot) {
                    *slot = *slot & !CODE | Summary::Ask.encode();
                }
            }
        }
    }

    /// How many it holds.
    pub fn len(&self) -> u64 {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).used as u64).sum()
    }

    fn shard(&self, contact: Fingerprint) -> &RwLock<Shard> {
        &self.shards[shard_of(contact)]
    }

    fn write(&self, contact: Fingerprint) -> std::sync::RwLockWriteGuard<'_, Shard> {
        self.shard(contact).write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shard_of(contact: Fingerprint) -> usize {
    (contact.0 >> (u64::BITS - SHARD_BITS)) as usize
}

impl Shard {
    /// The slot of a fingerprint, or the free one where it would go. There is always a free one, but in a table
    /// without slots.
    fn find(&self, fingerprint: u64) -> Result<usize, usize> {
        let slots = self.slots.len();
        let mut place = ((u128::from(fingerprint << SHARD_BITS) * slots as u128) >> u64::BITS) as usize;
        loop {
            match self.slots.get(place) {
                None | Some(0) => return Err(place),
                Some(slot) if slot & !CODE == fingerprint & !CODE => return Ok(place),
                Some(_) => place = if place + 1 == slots { 0 } else { place + 1 },
            }
        }
    }

    fn put(&mut self, fingerprint: u64, code: u64) {
        if (self.used + 1) * 5 > self.slots.len() * 4 {
            let larger = vec![0; (self.slots.len() * 3 / 2).max(16)];
            let old = std::mem::replace(&mut self.slots, larger);
            for slot in old.into_iter().filter(|slot| *slot != 0) {
                let place = self.find(slot).unwrap_or_else(|free| free);
                self.slots[place] = slot;
            }
        }
        let place = self.find(fingerprint).unwrap_or_else(|free| {
            self.used += 1;
            free
        });
        self.slots[place] = fingerprint & !CODE | code;
    }
}

impl Summary {
    fn encode(self) -> u64 {
        match self {
            Summary::Ask => 1,
            Summary::Suppressed(None) => 3,
            Summary::Suppressed(Some(category)) => match category {
                Category::Failed => 4,
                Category::Invalid => 5,
                Category::Complaint => 6,
                Category::Rejected => 7,
                Category::Transient => 8,
                Category::Unknown => 9,
                Category::Blocked => 10,
            },
        }
    }

    /// None for a contact that was taken out.
    fn decode(slot: u64) -> Option<Summary> {
        let category = match slot & CODE {
            1 => return Some(Summary::Ask),
            3 => None,
            4 => Some(Category::Failed),
            5 => Some(Category::Invalid),
            6 => Some(Category::Complaint),
            7 => Some(Category::Rejected),
            8 => Some(Category::Transient),
            9 => Some(Category::Unknown),
            10 => Some(Category::Blocked),
            _ => return None,
        };
        Some(Summary::Suppressed(category))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> OnRecord {
        let table = OnRecord::new(AddressKey::new(&[7; 16]));
        table.set_ready(true);
        table
    }

    fn contact(table: &OnRecord, number: usize) -> Fingerprint {
        table.fingerprint(&format!("c{number}@example.org"))
    }

    #[test]
    fn every_contact_put_in_is_found_and_no_other() {
        let table = table();
        let all: Vec<Fingerprint> = (0..200_000).map(|number| contact(&table, number)).collect();
        for &contact in &all[..100_000] {
            assert_eq!(table.look(contact).0, None);
            table.touch(contact, false);
            assert_eq!(table.look(contact).0, None, "what cannot suppress stays out");
            table.touch(contact, true);
            table.touch(contact, true);
        }
        assert!(all[..100_000].iter().all(|&contact| table.look(contact).0 == Some(Summary::Ask)));
        assert!(all[100_000..].iter().all(|&contact| table.look(contact).0.is_none()));
        assert_eq!(table.len(), 100_000);
        let octets: usize = table.shards.iter().map(|shard| shard.read().unwrap().slots.capacity() * 8).sum();
        assert!(octets < 100_000 * 16, "{octets}");
        table.remove(all[5]);
        assert_eq!(table.look(all[5]).0, None);
        table.touch(all[5], true);
        assert_eq!(table.look(all[5]).0, Some(Summary::Ask));
    }

    #[test]
    fn until_it_is_ready_anybody_may_be_on_record() {
        let table = OnRecord::new(AddressKey::new(&[7; 16]));
        let address = Address::parse("joe@example.org").unwrap();
        assert!(table.contains(&address));
        table.set_ready(true);
        assert!(!table.contains(&address));
    }

    #[test]
    fn a_summary_of_what_has_changed_since_is_not_taken() {
        let table = table();
        let (joe, gone) = (contact(&table, 1), Summary::Suppressed(Some(Category::Rejected)));
        table.touch(joe, true);
        let (stamp, stamps) = (table.look(joe).1, table.stamps());
        table.touch(joe, false);
        table.sum_up(joe, stamp, gone);
        table.sum_up_since(joe, &stamps, gone);
        assert_eq!(table.look(joe).0, Some(Summary::Ask));
        table.sum_up(joe, table.look(joe).1, gone);
        assert_eq!(table.look(joe).0, Some(gone));
        let stamp = table.look(joe).1;
        table.forget();
        table.sum_up(joe, stamp, gone);
        assert_eq!(table.look(joe).0, Some(Summary::Ask));
    }

    #[test]
    fn every_summary_is_read_as_it_was_written() {
        use Category::{Blocked, Complaint, Failed, Invalid, Rejected, Transient, Unknown};
        let categories = [Failed, Invalid, Complaint, Rejected, Transient, Unknown, Blocked].map(Some);
        let suppressed = categories.into_iter().chain([None]).map(Summary::Suppressed);
        for summary in suppressed.chain([Summary::Ask]) {
            assert_eq!(Summary::decode(!CODE | summary.encode()), Some(summary));
        }
    }
}
