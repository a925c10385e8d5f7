//! Events, contact records, the send ledger, on disk: the only place that names sled.
//!
//! Events are the truth; contact records are the cache of what the fold reads. One writer thread serves
//! everybody: it drains what waits, applies it in one transaction over all trees, makes it durable, and then
//! answers all (group commit). Reads go straight to the trees; whether a contact is on record at all is
//! answered from memory.

pub mod contacts;
pub mod events;
pub mod ledger;
pub mod schema;
mod writer;

use crate::mail::{Address, ListId, MessageId};
use crate::policy::{Contact, ContentKey, Event, EventId, What};
use crate::report::Campaign;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// How the store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The store's directory.
    pub path: PathBuf,
    /// sled's cache; resident memory is about three times this.
    pub cache_bytes: u64,
    /// How long the words of a report are kept.
    pub evidence_days: u32,
    /// How long a send is remembered.
    pub ledger_days: u32,
}

/// Why the store cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process holds it.
    #[error("{}: in use by another process", path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// Its schema is newer than this program.
    #[error("{}: written by a newer backstopd (schema {found}, this one reads up to {known}); install that version or restore a backup", path.display())]
    NewerSchema {
        /// The store's directory.
        path: PathBuf,
        /// Schema on disk.
        found: u32,
        /// Newest schema this program reads.
        known: u32,
    },
    /// The directory cannot be made or written.
    #[error("{}: cannot be written: {source}; it must belong to the user backstopd runs as", path.display())]
    Unwritable {
        /// The store's directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// sled reports trouble.
    #[error("store: {0}")]
    Engine(String),
    /// A record cannot be read.
    #[error(
        "store: {tree} record {key} is damaged: {problem}; `backstopd --rebuild` restores contact records from events"
    )]
    Damaged {
        /// Which tree.
        tree: &'static str,
        /// Which key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The writer has ended (the daemon is stopping, or an earlier write failed for good).
    #[error("store: the writer has stopped")]
    Stopped,
    /// Too much is waiting to be written.
    #[error("store: too many writes are waiting")]
    Busy,
}

/// An event to be recorded: the store gives it its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// When it happened.
    pub at: Timestamp,
    /// The contact it is about.
    pub address: Option<Address>,
    /// Postfix's queue id.
    pub queue_id: Option<String>,
    /// What happened.
    pub what: What,
    /// Set for reports: an event with the same key is not recorded again.
    pub content_key: Option<ContentKey>,
}

/// What became of a [`NewEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// Recorded under this id.
    New(EventId),
    /// Already on record under this id; nothing was changed.
    Known(EventId),
}

/// One message that we let out, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Its Message-ID.
    pub message_id: MessageId,
    /// When it passed.
    pub at: Timestamp,
    /// Its campaign.
    pub campaign: Option<Campaign>,
    /// Its list.
    pub list: Option<ListId>,
    /// The recipients that stayed.
    pub recipients: Vec<Address>,
}

/// What the ledger knows of a Message-ID and one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendMatch {
    /// When it passed.
    pub at: Timestamp,
    /// Its campaign.
    pub campaign: Option<Campaign>,
    /// Its list.
    pub list: Option<ListId>,
    /// Whether the recipient asked about was one of its recipients.
    pub recipient: bool,
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub entries: Vec<T>,
    /// What to pass as cursor for the next page; none at the end.
    pub next: Option<String>,
}

/// Figures for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events on record.
    pub events: u64,
    /// Contacts with a record.
    pub contacts: u64,
    /// Writes waiting.
    pub waiting: u64,
    /// Octets on disk.
    pub disk_bytes: u64,
}

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<writer::Inner>,
}

impl Store {
    /// Opens or makes the store, takes its lock, checks its schema, and reads which contacts are on record.
    ///
    /// # Errors
    /// [`StoreError`] when it is in use, newer, unwritable or damaged.
    pub fn open(settings: &Settings) -> Result<Store, StoreError> {
        let _ = settings;
        todo!()
    }

    /// Records events and returns when they are on disk, all or none. The answer is in the order asked.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be made durable; then none of them counts.
    pub async fn record(&self, events: Vec<NewEvent>) -> Result<Vec<Recorded>, StoreError> {
        let _ = (&self.inner, events);
        todo!()
    }

    /// As [`Store::record`], for callers without a runtime (rebuild, offline tools).
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn record_blocking(&self, events: Vec<NewEvent>) -> Result<Vec<Recorded>, StoreError> {
        let _ = events;
        todo!()
    }

    /// Records events soon, within a second, without anybody waiting: skips and sends.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many wait already, [`StoreError::Stopped`] when there is no writer;
    /// then the events are not recorded.
    pub fn record_soon(&self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        let _ = events;
        todo!()
    }

    /// Remembers a send soon, in a batch with others. Found by [`Store::find_send`] at once.
    ///
    /// # Errors
    /// As [`Store::record_soon`].
    pub fn remember_send(&self, send: Send) -> Result<(), StoreError> {
        let _ = send;
        todo!()
    }

    /// What the ledger knows of this Message-ID, and of this recipient under it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn find_send(&self, message_id: &MessageId, recipient: &Address) -> Result<Option<SendMatch>, StoreError> {
        let _ = (message_id, recipient);
        todo!()
    }

    /// Whether anything that may suppress is on record of the contact. In memory; false is certain, true
    /// wants [`Store::contact`].
    pub fn may_be_suppressed(&self, address: &Address) -> bool {
        let _ = address;
        todo!()
    }

    /// The record of a contact.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn contact(&self, address: &Address) -> Result<Option<Contact>, StoreError> {
        let _ = address;
        todo!()
    }

    /// The events of a contact, oldest first, at most `limit` of the newest.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn events_of(&self, address: &Address, limit: usize) -> Result<Vec<Event>, StoreError> {
        let _ = (address, limit);
        todo!()
    }

    /// Events with an id above `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn events_after(&self, after: Option<EventId>, limit: usize) -> Result<Vec<Event>, StoreError> {
        let _ = (after, limit);
        todo!()
    }

    /// Waits until an event is recorded that was not there when the receiver was last asked.
    pub fn watch(&self) -> tokio::sync::watch::Receiver<EventId> {
        todo!()
    }

    /// Contacts that may be suppressed, in order of address, behind `cursor`, at most `limit`; with their
    /// records. The caller folds them.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn contacts_on_record(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<(Address, Contact)>, StoreError> {
        let _ = (cursor, limit);
        todo!()
    }

    /// Makes every contact record anew from the events. `progress` is told how many events were read.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written.
    pub fn rebuild(&self, progress: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        let _ = progress;
        todo!()
    }

    /// Figures for `status`.
    pub fn figures(&self) -> Figures {
        todo!()
    }

    /// Writes what waits, makes it durable and ends the writer. Called once, when the daemon stops.
    ///
    /// # Errors
    /// [`StoreError`] when what waited could not be written.
    pub fn close(&self) -> Result<(), StoreError> {
        todo!()
    }
}
