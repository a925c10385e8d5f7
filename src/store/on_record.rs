//! Which contacts have anything on record that may suppress: a set in memory, asked for every recipient of
//! every outgoing message.
//!
//! It holds 64-bit hashes. An address that shares one with another only costs a look at its record.

use super::keyed::AddressKey;
use crate::mail::Address;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock};

/// So many locks share the contacts; a power of two.
const SHARDS: usize = 64;

/// The set.
pub struct OnRecord {
    key: AddressKey,
    shards: [RwLock<Shard>; SHARDS],
}

type Shard = HashSet<u64, BuildHasherDefault<AsIs>>;

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

/// A hash of an address, of use in one set and those made with [`OnRecord::another`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl OnRecord {
    /// An empty set.
    pub fn new(key: AddressKey) -> OnRecord {
        OnRecord { key, shards: std::array::from_fn(|_| RwLock::default()) }
    }

    /// An empty set whose fingerprints are those of this one.
    pub fn another(&self) -> OnRecord {
        OnRecord::new(self.key.clone())
    }

    /// The fingerprint of an address.
    pub fn fingerprint(&self, address: &str) -> Fingerprint {
        Fingerprint(self.key.hash(address).short())
    }

    // hashbrown takes the lowest and the highest bits; these are from the middle.
    fn shard(&self, fingerprint: Fingerprint) -> &RwLock<Shard> {
        &self.shards[(fingerprint.0 >> 40) as usize % SHARDS]
    }

    /// Puts a contact in.
    pub fn insert(&self, fingerprint: Fingerprint) {
        let mut shard = self.shard(fingerprint).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(fingerprint.0);
    }

    /// Whether a contact may be in it; false is certain.
    pub fn contains(&self, address: &Address) -> bool {
        let fingerprint = self.fingerprint(address.as_str());
        let shard = self.shard(fingerprint).read().unwrap_or_else(PoisonError::into_inner);
        shard.contains(&fingerprint.0)
    }

    /// Takes the place of what was in it, shard by shard.
    pub fn replace(&self, by: OnRecord) {
        for (old, new) in self.shards.iter().zip(by.shards) {
            let new = new.into_inner().unwrap_or_else(PoisonError::into_inner);
            *old.write().unwrap_or_else(PoisonError::into_inner) = new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_on_record_once_put_in_and_gone_once_replaced() {
        let address = |number: usize| Address::parse(&format!("c{number}@example.org")).unwrap();
        let set = OnRecord::new(AddressKey::new(&[7; 16]));
        for number in 0..1000 {
            assert!(!set.contains(&address(number)));
            set.insert(set.fingerprint(address(number).as_str()));
        }
        assert!((0..1000).all(|number| set.contains(&address(number))));
        let other = set.another();
        other.insert(other.fingerprint(address(7).as_str()));
        set.replace(other);
        assert!(set.contains(&address(7)) && !set.contains(&address(8)));
    }
}
