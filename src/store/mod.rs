//! Events, contact records, the send ledger, on disk: the only place that names sled.
//!
//! Events are the truth; contact records are the cache of what the fold reads. One writer thread serves
//! everybody: it drains what waits, applies it in one transaction over all trees, makes it durable, and then
//! answers all (group commit). Reads go straight to the trees; whether a contact is on record at all is
//! answered from memory.
//!
//! In: events and sends, from `inbound`, `outbound` and `admin`. Out: contact records, which the caller
//! folds; events; what the ledger knows. [`schema`] tells what lies on disk.

mod acknowledged;
pub mod archive;
mod background;
pub mod backup;
mod batch;
pub mod by_campaign;
mod compact;
pub mod contacts;
mod damaged_files;
pub mod erase;
mod erased;
pub mod events;
pub mod fact;
mod imported;
pub mod imports;
mod indexing;
mod keyed;
pub mod ledger;
mod list_key;
mod listed;
pub mod lists;
mod loading;
mod on_record;
mod packed;
mod queue;
mod readers;
pub mod restore;
pub mod schema;
pub mod screened;
pub mod sent;
mod shared;
pub mod stats;
pub mod tally;
#[cfg(test)]
mod tests;
mod undone;
mod upkeep;
pub mod verify;
mod writer;

use crate::mail::{Address, ListId, MessageId};
use crate::policy::{Contact, ContentKey, Event, EventId, What};
use crate::report::Campaign;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

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
    /// Its files are there, and sled cannot make a store of them.
    #[error(
        "{0}: the store cannot be opened: {problem}; `systemctl stop 'backstopd*'`, then the way back: mv {0} {0}.damaged && backstopctl db restore FILE \
         --store {0}, with the newest backup as FILE; without one see backstopd(8), WHEN THINGS GO WRONG", path.display()
    )]
    Unopenable {
        /// The store's directory.
        path: PathBuf,
        /// What sled says.
        problem: String,
    },
    /// sled reports trouble.
    #[error("store: {0}")]
    Engine(String),
    /// A record cannot be read.
    #[error("store: {tree} record {key} is damaged: {problem}; `backstopctl db verify` says what helps")]
    Damaged {
        /// Which tree.
        tree: &'static str,
        /// Which key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// Octets of its files are not as they were written.
    #[error(
        "store: its file db is damaged{}; what can be read serves on; backstopd(8), WHEN THINGS GO WRONG, says what helps",
        at.map(|at| format!(" at octet {at}")).unwrap_or_default()
    )]
    Corrupt {
        /// Where in the file `db`, if sled says so.
        at: Option<u64>,
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

/// What [`Store::expire`] let go of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Events that lost their words.
    pub events: u64,
    /// Entries of the ledger.
    pub sends: u64,
}

/// Events in one transaction of an import.
const IMPORTED_AT_ONCE: usize = 256;

/// The store. Clones share it.
#[derive(Clone)]
pub struct Store {
    settings: Arc<Settings>,
    inner: Arc<writer::Inner>,
}

impl Store {
    /// Opens or makes the store, takes its lock and checks its schema. Which contacts are on record is read
    /// meanwhile: a small store is read when it returns, of a large one every record is asked until then.
    ///
    /// # Errors
    /// [`StoreError`] when it is in use, newer, unwritable or damaged.
    pub fn open(settings: &Settings) -> Result<Store, StoreError> {
        Store::open_with(settings, Arc::new(|file| file.sync_data()))
    }

    fn open_with(settings: &Settings, sync: schema::Sync) -> Result<Store, StoreError> {
        let opened = writer::Inner::open(settings, sync);
        let inner = opened.map_err(|error| match error {
            StoreError::Corrupt { at } => {
                let place = at.map(|at| format!(" at octet {at}")).unwrap_or_default();
                let problem = format!("its file db is damaged{place}");
                StoreError::Unopenable { path: settings.path.clone(), problem }
            }
            error => error,
        })?;
        Ok(Store { settings: Arc::new(settings.clone()), inner: Arc::new(inner) })
    }

    /// Records events and returns when they are on disk, all or none. The answer is in the order asked.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be made durable; then none of them counts.
    pub async fn record(&self, events: Vec<NewEvent>) -> Result<Vec<Recorded>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inner.shared.record(events, Box::new(move |result| drop(reply.send(result))))?;
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// As [`Store::record`], for callers without a runtime (rebuild, offline tools).
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn record_blocking(&self, events: Vec<NewEvent>) -> Result<Vec<Recorded>, StoreError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.inner.shared.record(events, Box::new(move |result| drop(reply.send(result))))?;
        answer.recv().unwrap_or(Err(StoreError::Stopped))
    }

    /// Records events soon, within a second, without anybody waiting: skips and sends. They are tried again
    /// for as long as the store cannot be written.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many wait already, [`StoreError::Stopped`] when there is no writer;
    /// then the events are not recorded.
    pub fn record_soon(&self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        self.inner.shared.record_soon(events)
    }

    /// Records events fast, durable only when all are, for imports: events before one that fails may be on
    /// record. Sorted by address it is fastest. Returns how many were new. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be written or made durable.
    pub fn import(&self, events: impl IntoIterator<Item = NewEvent>) -> Result<u64, StoreError> {
        let mut events = events.into_iter();
        let mut recorded = 0;
        loop {
            let some: Vec<NewEvent> = events.by_ref().take(IMPORTED_AT_ONCE).collect();
            if some.is_empty() {
                self.inner.shared.run(|writer| writer.settle())?;
                return Ok(recorded);
            }
            recorded += self.inner.shared.run(|writer| writer.import_step(some))?;
        }
    }

    /// Remembers a send soon, in a batch with others. Found by [`Store::find_send`] at once.
    ///
    /// # Errors
    /// As [`Store::record_soon`].
    pub fn remember_send(&self, mut send: Send) -> Result<(), StoreError> {
        send.recipients.retain(|recipient| !self.is_erased(recipient));
        self.inner
            .shared
            .remember(ledger::message_key(&send.message_id), ledger::SendRecord::of(&send, self.address_key()))
    }

    /// As [`Store::remember_send`], for what is not counted as a send: another name of one that is counted, or mail
    /// that is no campaign's.
    ///
    /// # Errors
    /// As [`Store::record_soon`].
    pub fn remember_uncounted(&self, mut send: Send) -> Result<(), StoreError> {
        send.recipients.retain(|recipient| !self.is_erased(recipient));
        let record = ledger::SendRecord { counted: false, ..ledger::SendRecord::of(&send, self.address_key()) };
        self.inner.shared.remember(ledger::message_key(&send.message_id), record)
    }

    /// What the ledger knows of this Message-ID, and of this recipient under it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn find_send(&self, message_id: &MessageId, recipient: &Address) -> Result<Option<SendMatch>, StoreError> {
        let (message, recipient) = (ledger::message_key(message_id), self.recipient_key(recipient));
        // What leaves the queue is in the tree by then, so the queue comes first.
        let pending = self.inner.shared.pending_send(message, recipient);
        if pending.as_ref().is_some_and(|pending| pending.recipient) {
            return Ok(pending);
        }
        let days = self.inner.shared.ledger_days.read().unwrap_or_else(PoisonError::into_inner).clone();
        let reading = self.inner.shared.read();
        let written = ledger::find(&reading.engine()?.ledger, days.into_iter().rev(), message, recipient)?;
        Ok(written.filter(|written| written.recipient || pending.is_none()).or(pending))
    }

    /// Whether the ledger knows this Message-ID, and if so whether the message went to this recipient alone. Of a
    /// send of the last second only that it is known.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn sent_alone(&self, message_id: &MessageId, recipient: &Address) -> Result<Option<bool>, StoreError> {
        let (message, recipient) = (ledger::message_key(message_id), self.recipient_key(recipient));
        if self.inner.shared.pending_send(message, recipient).is_some() {
            return Ok(Some(false));
        }
        let days = self.inner.shared.ledger_days.read().unwrap_or_else(PoisonError::into_inner).clone();
        ledger::alone(&self.inner.shared.read().engine()?.ledger, days.into_iter(), message, recipient)
    }

    /// Whether the ledger knows this Message-ID.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn remembers(&self, message_id: &MessageId) -> Result<bool, StoreError> {
        let message = ledger::message_key(message_id);
        if self.inner.shared.pending_send(message, 0).is_some() {
            return Ok(true);
        }
        let days = self.inner.shared.ledger_days.read().unwrap_or_else(PoisonError::into_inner).clone();
        let reading = self.inner.shared.read();
        Ok(ledger::find(&reading.engine()?.ledger, days.into_iter().rev(), message, 0)?.is_some())
    }

    /// The key by which the ledger knows a recipient.
    pub fn recipient_key(&self, address: &Address) -> u64 {
        ledger::recipient_key(self.address_key(), address)
    }

    fn address_key(&self) -> &keyed::AddressKey {
        self.inner.shared.on_record.key()
    }

    /// Tells of every send since a time that the ledger remembers, in no order: recipient and time. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be read.
    pub fn sends_since(&self, since: Timestamp, told: &mut dyn FnMut(u64, Timestamp)) -> Result<(), StoreError> {
        ledger::since(&self.inner.shared.read().engine()?.ledger, since, told)
    }

    /// Whether anything that may suppress is on record of the contact. In memory; false is certain, true
    /// wants [`Store::contact`].
    pub fn may_be_suppressed(&self, address: &Address) -> bool {
        self.inner.shared.on_record.contains(address)
    }

    /// Whether the table of contacts in memory is whole; until then records are read from disk.
    pub fn is_ready(&self) -> bool {
        self.inner.shared.on_record.is_ready()
    }

    /// The record of a contact.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn contact(&self, address: &Address) -> Result<Option<Contact>, StoreError> {
        let shared = &self.inner.shared;
        let undone = shared.undone.now();
        let contact = contacts::record(&shared.read().engine()?.contacts, address, &undone)?.contact;
        Ok((!contact.facts.is_empty()).then_some(contact))
    }

    /// The events of a contact, oldest first, at most `limit` of the newest, by when they were recorded. A piece
    /// of an import shows this contact's entry only.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn events_of(&self, address: &Address, limit: usize) -> Result<Vec<Event>, StoreError> {
        let reading = self.inner.shared.read();
        let engine = reading.engine()?;
        let undone = self.inner.shared.undone.now();
        let ids = contacts::event_ids(&engine.contacts, &engine.by_contact, address, limit, &undone)?;
        let stored = ids.into_iter().filter_map(|id| events::get(&engine.events, id).transpose());
        stored.map(|stored| stored.map(|stored| about(stored.event, address))).collect()
    }

    /// Events with an id above `after`, oldest first, at most `limit`. Only what is on disk for good.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn events_after(&self, after: Option<EventId>, limit: usize) -> Result<Vec<Event>, StoreError> {
        let last = *self.inner.shared.recorded.borrow();
        let reading = self.inner.shared.read();
        let stored = events::range(&reading.engine()?.events, after, last).take(limit);
        stored.map(|stored| stored.map(|stored| stored.event)).collect()
    }

    /// Waits until an event is recorded that was not there when the receiver was last asked.
    pub fn watch(&self) -> watch::Receiver<EventId> {
        self.inner.shared.recorded.subscribe()
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
        let undone = self.inner.shared.undone.now();
        contacts::page(&self.inner.shared.read().engine()?.contacts, cursor, limit, &undone)
    }

    /// Makes every contact record anew from the events. `progress` is told how many events were read.
    /// Returns how many contacts have a record. Blocks; the old records serve until the new ones are whole,
    /// and recording goes on.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written; the old records stay.
    pub fn rebuild(&self, progress: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        upkeep::rebuild(&self.inner.shared, progress)
    }

    /// Lets go of what is older than `evidence_days` and `ledger_days`: the words of reports, and sends.
    /// Verdicts stay. The daemon calls it daily. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written; what went before is gone.
    pub fn expire(&self, now: Timestamp) -> Result<Expired, StoreError> {
        let Settings { evidence_days, ledger_days, .. } = *self.settings;
        let shared = &self.inner.shared;
        let mut expired = Expired::default();
        let day = ledger::day_of(upkeep::days_before(now, ledger_days));
        loop {
            match shared.run(move |writer| writer.expire_sends_step(day))? {
                0 => break,
                removed => expired.sends += removed,
            }
        }
        let end = EventId::new(upkeep::days_before(now, evidence_days), 0, 0);
        loop {
            let (shortened, more) = shared.run(move |writer| writer.expire_words_step(end))?;
            expired.events += shortened;
            if !more {
                break;
            }
        }
        shared.run(|writer| writer.settle())?;
        Ok(expired)
    }

    /// How much [`Store::expire`] would let go of at once: the time between the end of what went before, or the oldest
    /// that is there, and the end of what would go now. In ordinary work a day or so.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn expiry_at_once(&self, now: Timestamp) -> Result<Duration, StoreError> {
        let Settings { evidence_days, ledger_days, .. } = *self.settings;
        let reading = self.inner.shared.read();
        let engine = reading.engine()?;
        let day = ledger::day_of(upkeep::days_before(now, ledger_days));
        let oldest = self.inner.shared.ledger_days.read().unwrap_or_else(PoisonError::into_inner).first().copied();
        let sends = Duration::from_secs(86_400) * day.saturating_sub(oldest.unwrap_or(day));
        let end = upkeep::days_before(now, evidence_days);
        let words = match upkeep::words_begin(engine)? {
            Some(begin) => Duration::try_from(end.duration_since(begin)).unwrap_or_default(),
            None => Duration::ZERO,
        };
        Ok(sends.max(words))
    }

    /// The store's directory.
    pub fn path(&self) -> &std::path::Path {
        &self.settings.path
    }

    /// Figures for `status`.
    pub fn figures(&self) -> Figures {
        let shared = &self.inner.shared;
        Figures {
            events: shared.events.load(Ordering::Relaxed),
            contacts: shared.contacts.load(Ordering::Relaxed),
            waiting: shared.queue().waiting() as u64,
            disk_bytes: shared.read().engine().map_or(0, |engine| engine.disk_bytes()),
        }
    }

    /// Writes what waits, makes it durable and ends the writer. Called once, when the daemon stops; the last
    /// clone does the same when it is dropped.
    ///
    /// # Errors
    /// [`StoreError`] when what waited could not be written.
    pub fn close(&self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

/// A piece of an import shows only the entry of the contact asked about.
fn about(mut event: Event, address: &Address) -> Event {
    if let What::Imported { entries, .. } = &mut event.what {
        entries.retain(|entry| Address::parse(&entry.subject).is_ok_and(|subject| subject == *address));
    }
    event
}
