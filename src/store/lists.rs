//! The operator's lists: tree `lists`, and what of it is kept in memory for screening.

use super::{Page, Store, StoreError};
use crate::mail::Address;
use crate::policy::{EventId, OperatorList};
use jiff::Timestamp;

/// One entry on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// The entry: an address, a domain (`.example.com` stands for its subdomains), a hash.
    pub entry: String,
    /// Since when.
    pub since: Timestamp,
    /// The event that put it there.
    pub event: EventId,
    /// The batch it came with.
    pub batch: Option<EventId>,
}

impl Store {
    /// The first of the operator's lists that the address is on: the blocklist, then the Robinson list. From
    /// memory.
    pub fn listed(&self, _address: &Address) -> Option<OperatorList> {
        None
    }

    /// The entries of a list, in order, behind `cursor`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn list_entries(
        &self,
        _list: OperatorList,
        _cursor: Option<&str>,
        _limit: usize,
    ) -> Result<Page<ListedEntry>, StoreError> {
        Ok(Page { entries: Vec::new(), next: None })
    }

    /// The entries by which an address is on the lists: itself, its domain, its hashes.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn listed_by(&self, _address: &Address) -> Result<Vec<(OperatorList, ListedEntry)>, StoreError> {
        Ok(Vec::new())
    }
}
