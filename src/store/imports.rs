//! Batches: imported whole, taken back whole; and single events undone.

use super::{NewEvent, Store, StoreError};
use crate::policy::event::ImportedEntry;
use crate::policy::{EventId, OperatorList};
use jiff::Timestamp;

/// A batch on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its id: that of the event that began it.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// The operator's list it went to; none for suppressions.
    pub list: Option<OperatorList>,
    /// Where it came from.
    pub source: String,
    /// Why.
    pub reason: String,
    /// How many entries it brought.
    pub entries: u64,
    /// When it was taken back, if it was.
    pub reverted: Option<Timestamp>,
}

/// Why an event or batch was not undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// There is none with this id.
    #[error("there is no such event")]
    Unknown,
    /// It was undone before.
    #[error("it was undone before, by event {0}")]
    Already(EventId),
    /// It is of a kind that cannot be.
    #[error("{0}")]
    Never(&'static str),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Records a batch: `begin` is its [`crate::policy::What::Import`], `entries` come in order of subject.
    /// `progress` is told how many are in. Durable at the end, and nothing of it counts if it fails. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when an entry cannot be read, written or made durable.
    pub fn import_batch(
        &self,
        _begin: NewEvent,
        _entries: &mut dyn Iterator<Item = std::io::Result<ImportedEntry>>,
        _progress: &mut dyn FnMut(u64),
    ) -> Result<Batch, StoreError> {
        Err(StoreError::Engine("imports are not served yet".to_owned()))
    }

    /// Takes a batch back; `revert` is the [`crate::policy::What::Revert`]. Returns how many entries went. Blocks.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn revert(&self, _revert: NewEvent, _progress: &mut dyn FnMut(u64)) -> Result<u64, UndoError> {
        Err(UndoError::Unknown)
    }

    /// Undoes one event; `void` is the [`crate::policy::What::Void`]. Blocks.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn void(&self, _void: NewEvent) -> Result<EventId, UndoError> {
        Err(UndoError::Unknown)
    }

    /// Every batch, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn batches(&self) -> Result<Vec<Batch>, StoreError> {
        Ok(Vec::new())
    }
}
