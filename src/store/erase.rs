//! Erasure: a person's data goes from events, records, indexes, lists and ledger.

use super::{NewEvent, Store, StoreError};
use crate::mail::Address;

/// What an erasure took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events removed, or relieved of the address.
    pub events: u64,
    /// Entries of the ledger that named the address.
    pub sends: u64,
}

impl Store {
    /// Erases a contact; `erase` is the [`crate::policy::What::Erase`], which names nobody. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written; what went before is gone, and it can be asked
    /// for again.
    pub fn erase(&self, _address: &Address, _erase: NewEvent) -> Result<Erased, StoreError> {
        Err(StoreError::Engine("erasure is not served yet".to_owned()))
    }

    /// Whether the address was erased and is kept blocked. From memory.
    pub fn is_erased(&self, _address: &Address) -> bool {
        false
    }

    /// Writes the store anew without what was removed or replaced; sled alone leaves that on disk until it needs
    /// the room. Recording waits while it runs; reading goes on. Returns the octets on disk before and after.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when there is no room or the store cannot be read or written; the old one stays.
    pub fn compact(&self, _progress: &mut dyn FnMut(u64)) -> Result<(u64, u64), StoreError> {
        Err(StoreError::Engine("compaction is not served yet".to_owned()))
    }
}
