//! The writer thread: the one place that writes.
//!
//! It drains what waits, writes it in one transaction, makes it durable, and only then answers everybody
//! (group commit). After trouble with the disk the trees are opened again before the next write, since sled
//! does not go on after a failed one; until then they still answer reads.

use super::batch::{Batch, Counters, Prepared, Sequence};
use super::keyed::AddressKey;
use super::ledger;
use super::queue::{Reply, Work};
use super::schema::{Engine, Lock, Sync};
use super::shared::{Shared, State};
use super::upkeep::Rebuild;
use super::{NewEvent, Recorded, Settings, StoreError, contacts, erased, events, listed};
use crate::ops::event::{LogEvent, say};
use crate::policy::EventId;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Held by every [`super::Store`]; ends the writer with the last of them.
pub struct Inner {
    /// What the handles share.
    pub shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

impl Inner {
    /// Opens the store and starts its writer.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened.
    pub fn open(settings: &Settings, sync: Sync) -> Result<Inner, StoreError> {
        let lock = Lock::take(&settings.path)?;
        let engine = Engine::open(settings)?;
        // What a killed process left may be in the page cache only, and is on record from now on.
        engine.sync(&sync)?;
        let counters = Counters::read(&engine.meta)?;
        let sequence = Sequence::open(&engine.meta, counters)?;
        let shared = Arc::new(Shared::new(settings, AddressKey::read(&engine.meta)?));
        let mut writer = Writer {
            shared: shared.clone(),
            sync,
            rebuild: None,
            _lock: lock,
            sequence,
            newest: EventId(0),
            unsynced: false,
            broken: false,
        };
        writer.enter(engine)?;
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.serve());
        let thread = thread.map_err(|error| StoreError::Engine(format!("cannot start the writer: {error}")))?;
        Ok(Inner { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Writes what waits and ends the writer.
    ///
    /// # Errors
    /// [`StoreError`] when what waited could not be written.
    pub fn close(&self) -> Result<(), StoreError> {
        self.shared.close();
        match self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(thread) => thread.join().unwrap_or(Err(StoreError::Stopped)),
            None => Ok(()),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// The writer thread's own.
pub struct Writer {
    /// What the handles share.
    pub shared: Arc<Shared>,
    /// Makes a file durable.
    pub sync: Sync,
    /// A rebuild under way.
    pub rebuild: Option<Rebuild>,
    _lock: Lock,
    sequence: Sequence,
    newest: EventId,
    /// Something written is not durable yet.
    unsynced: bool,
    /// The last write failed: sled must be opened again.
    broken: bool,
}

/// Answers everybody who still waits when the writer ends, even by a panic.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Dropped outside the lock: whoever waits may come back at once.
        let unanswered = self.0.queue().abandon();
        drop(unanswered);
        self.0.put(State::Closed);
    }
}

impl Writer {
    fn serve(mut self) -> Result<(), StoreError> {
        let _ending = Ending(self.shared.clone());
        loop {
            match self.shared.next_work() {
                Work::Job(job) => job(&mut self),
                Work::Batch { records, soon } => {
                    let nobody_waits = records.is_empty();
                    let committed = self.commit(records, soon);
                    if nobody_waits && self.shared.queue().is_closed() {
                        committed?;
                    }
                }
                Work::Sends => {
                    let written = self.write_sends();
                    if written.is_err() {
                        self.shared.queue().failed(std::iter::empty());
                    }
                    if self.shared.queue().is_closed() {
                        written?;
                    }
                }
                Work::End => return Ok(()),
            }
        }
    }

    /// Writes one batch and answers. The error is that of the batch, for whoever cares besides.
    fn commit(&mut self, records: Vec<(Vec<NewEvent>, Reply)>, soon: Vec<NewEvent>) -> Result<(), StoreError> {
        let nobody_waits = records.is_empty();
        let mut operations = Vec::new();
        let mut replies = Vec::new();
        for (events, reply) in records {
            match self.prepare(events) {
                Ok(prepared) => {
                    operations.push(prepared);
                    replies.push(reply);
                }
                Err(error) => reply(Err(error)),
            }
        }
        for event in soon {
            let queue_id = event.queue_id.clone();
            match self.prepare(vec![event]) {
                Ok(prepared) => operations.push(prepared),
                Err(error) => {
                    let queue_id = queue_id.as_deref().unwrap_or("-");
                    say(&LogEvent::Unrecorded { queue_id, problem: &error.to_string() });
                }
            }
        }
        match self.write(&operations, true) {
            Ok(answers) => {
                self.shared.queue().written(nobody_waits);
                for (reply, answer) in replies.into_iter().zip(answers) {
                    reply(Ok(answer));
                }
                Ok(())
            }
            Err(error) => {
                let soon = operations.drain(replies.len()..).flatten().map(NewEvent::from);
                self.shared.queue().failed(soon.collect::<Vec<_>>().into_iter());
                for reply in replies {
                    reply(Err(again(&error)));
                }
                Err(error)
            }
        }
    }

    /// Writes operations in one transaction and, if `durable`, to the disk; then takes note.
    /// Nothing counts when it fails.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written.
    pub fn write(&mut self, operations: &[Vec<Prepared>], durable: bool) -> Result<Vec<Vec<Recorded>>, StoreError> {
        let answers = self.change(|writer, engine| {
            let shared = writer.shared.clone();
            let mut batch = Batch::new(engine, &shared.on_record);
            let answers: Vec<Vec<Recorded>> =
                operations.iter().map(|operation| batch.add(operation)).collect::<Result<_, _>>()?;
            let events = shared.events.load(Ordering::Relaxed) + batch.recorded;
            if !batch.is_empty() {
                batch.write(&writer.sequence, events)?;
                writer.unsynced = true;
            }
            if durable && writer.unsynced {
                engine.flush()?;
                engine.sync(&writer.sync)?;
                writer.unsynced = false;
            }
            batch.contacts.suppressible.iter().for_each(|contact| shared.on_record.insert(*contact));
            shared.listed.note(&engine.lists, &batch.lists.entries)?;
            shared.events.store(events, Ordering::Relaxed);
            shared.contacts.fetch_add(batch.contacts.new_contacts, Ordering::Relaxed);
            writer.newest = batch.newest.unwrap_or(writer.newest);
            Ok(answers)
        })?;
        if durable {
            self.announce();
        }
        Ok(answers)
    }

    /// Writes a chunk of the sends that wait; after the last makes them durable. Begins anew when the trees
    /// had to be opened again, so that those given up are on disk for good.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be written; they still wait.
    fn write_sends(&mut self) -> Result<(), StoreError> {
        self.mend()?;
        let (sends, next) = self.shared.queue().sends_to_write();
        let next = self.change(|writer, engine| {
            let mut left = next.map(|next| sends.range(next..)).into_iter().flatten();
            let mut days = BTreeSet::new();
            writer.unsynced = true;
            for ((message, day), send) in left.by_ref().take(ledger::CHUNK) {
                ledger::write(&engine.ledger, *day, *message, send)?;
                days.insert(*day);
            }
            writer.shared.ledger_days.write().unwrap_or_else(PoisonError::into_inner).append(&mut days);
            let next = left.next().map(|(next, _)| *next);
            if next.is_none() {
                engine.flush()?;
                engine.sync(&writer.sync)?;
                writer.unsynced = false;
            }
            Ok(next)
        })?;
        match next {
            Some(next) => self.shared.queue().sends_written(next),
            None => {
                let durable = self.shared.queue().sends_durable();
                drop(durable);
            }
        }
        Ok(())
    }

    /// Gives new events their ids, and keeps from them what must not be recorded.
    ///
    /// # Errors
    /// [`StoreError::Engine`] when one is too long, or cannot stand on the list it is for.
    pub fn prepare(&mut self, events: Vec<NewEvent>) -> Result<Vec<Prepared>, StoreError> {
        let events = erased::admit(&self.shared, events)?;
        self.sequence.prepare(events, Timestamp::now())
    }

    /// Runs what writes. When it fails, sled is opened again before the next: it would not go on.
    ///
    /// # Errors
    /// That of the change, or [`StoreError`] when nothing can be written.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Writer, &Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.mend()?;
        let shared = self.shared.clone();
        let reading = shared.read();
        let engine = reading.engine()?;
        engine.check_writable(&shared.settings.path)?;
        self.broken = true;
        let changed = change(self, engine);
        // A record that cannot be read says nothing against the disk.
        self.broken = !matches!(changed, Ok(_) | Err(StoreError::Damaged { .. }));
        changed
    }

    /// Makes durable what was written without it.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        self.change(|writer, engine| {
            engine.flush()?;
            engine.sync(&writer.sync)?;
            writer.unsynced = false;
            Ok(())
        })?;
        self.announce();
        Ok(())
    }

    fn announce(&self) {
        self.shared.recorded.send_if_modified(|newest| {
            let newer = self.newest > *newest;
            *newest = self.newest.max(*newest);
            newer
        });
    }

    /// Has the trees opened again before the next write.
    pub fn give_up_trees(&mut self) {
        self.broken = true;
    }

    /// Opens the trees again if the last write failed.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be opened or written yet.
    pub fn mend(&mut self) -> Result<(), StoreError> {
        if !self.broken {
            return Ok(());
        }
        if let Ok(engine) = self.shared.read().engine() {
            engine.check_writable(&self.shared.settings.path)?;
        }
        self.rebuild = None;
        self.unsynced = false;
        self.shared.queue().start_again();
        self.shared.put(State::Failed("being opened again after trouble with the disk".to_owned()));
        let opened = Engine::open(&self.shared.settings).and_then(|engine| {
            engine.sync(&self.sync)?;
            self.enter(engine)
        });
        match opened {
            Ok(()) => self.broken = false,
            Err(ref error) => self.shared.put(State::Failed(error.to_string())),
        }
        opened
    }

    /// Takes trees just opened into use: counts what is there, and makes contact records that cannot be
    /// read anew.
    fn enter(&mut self, engine: Engine) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let newest = events::newest(&engine.events)?.unwrap_or(EventId(0));
        shared.events.store(Counters::read(&engine.meta)?.events, Ordering::Relaxed);
        *shared.ledger_days.write().unwrap_or_else(PoisonError::into_inner) = ledger::days(&engine.ledger)?;
        let contacts = contacts::scan(&engine.contacts, |address, may_suppress| {
            if may_suppress {
                shared.on_record.insert(shared.on_record.fingerprint(address));
            }
        });
        shared.erased.load(&engine.erased)?;
        shared.put(State::Open(Box::new(engine)));
        listed::load(&shared)?;
        self.broken = false;
        match contacts {
            Ok(contacts) => shared.contacts.store(contacts, Ordering::Relaxed),
            Err(StoreError::Damaged { .. }) => self.rebuild_at_once()?,
            Err(error) => return Err(error),
        }
        self.newest = self.newest.max(newest);
        self.announce();
        Ok(())
    }
}

/// The same error for another who waits.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::InUse { path } => StoreError::InUse { path: path.clone() },
        StoreError::NewerSchema { path, found, known } => {
            StoreError::NewerSchema { path: path.clone(), found: *found, known: *known }
        }
        StoreError::Unwritable { path, source } => {
            let source = std::io::Error::new(source.kind(), source.to_string());
            StoreError::Unwritable { path: path.clone(), source }
        }
        StoreError::Engine(problem) => StoreError::Engine(problem.clone()),
        StoreError::Damaged { tree, key, problem } => {
            StoreError::Damaged { tree, key: key.clone(), problem: problem.clone() }
        }
        StoreError::Stopped => StoreError::Stopped,
        StoreError::Busy => StoreError::Busy,
    }
}
