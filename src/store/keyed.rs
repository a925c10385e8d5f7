//! Keyed hashes of addresses, the same in every run of one store.
//!
//! The key is made with the store and never leaves it: what is stored under a keyed hash cannot be traced back
//! to an address by trying addresses elsewhere, and nobody can choose addresses that collide.

use super::StoreError;
use super::schema::{Meta, read_number};
use siphasher::sip128::{Hasher128, SipHasher24};
use sled::Tree;
use std::hash::Hasher;

/// The key of a store.
#[derive(Clone)]
pub struct AddressKey(SipHasher24);

/// The hash of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressHash(pub [u8; 16]);

impl AddressKey {
    /// A key of these octets.
    pub fn new(key: &[u8; 16]) -> AddressKey {
        AddressKey(SipHasher24::new_with_key(key))
    }

    /// The key in `meta`.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read, or is not there.
    pub fn read(meta: &Tree) -> Result<AddressKey, StoreError> {
        let Some(key) = meta.get(Meta::AddressKey.key())? else {
            return Err(StoreError::Engine("the store has no address key".to_owned()));
        };
        read_number(Meta::AddressKey, &key).map(|key| AddressKey::new(&key))
    }

    /// The hash of an address in normal form.
    pub fn hash(&self, address: &str) -> AddressHash {
        self.hash_octets(address.as_bytes())
    }

    /// The hash of octets.
    pub fn hash_octets(&self, octets: &[u8]) -> AddressHash {
        let mut hasher = self.0;
        hasher.write(octets);
        AddressHash(hasher.finish128().as_bytes())
    }
}

impl AddressHash {
    /// Half of it, for tables in memory.
    pub fn short(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_depends_on_the_key_and_on_every_octet() {
        let (one, other) = (AddressKey::new(&[1; 16]), AddressKey::new(&[2; 16]));
        assert_eq!(one.hash("joe@example.org"), AddressKey::new(&[1; 16]).hash("joe@example.org"));
        assert_ne!(one.hash("joe@example.org"), other.hash("joe@example.org"));
        assert_ne!(one.hash("joe@example.org").short(), one.hash("jof@example.org").short());
    }
}
