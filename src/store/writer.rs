//! The writer thread: the one place that writes.
//!
//! It drains what waits, writes it in one transaction, makes it durable, and only then answers everybody
//! (group commit). After trouble with the disk the trees are opened again before the next write, since sled
//! does not go on after a failed one; until then they still answer reads.

use super::acknowledged::Acknowledged;
use super::background;
use super::batch::{Batch, Counters, Prepared, Sequence};
use super::keyed::AddressKey;
use super::ledger;
use super::queue::{Reply, Work};
use super::schema::{Engine, Lock, Sync};
use super::sent::Tally;
use super::shared::{Shared, State};
use super::upkeep::Rebuild;
use super::{NewEvent, Recorded, Settings, StoreError, erased, events, listed};
use crate::ops::event::{LogEvent, measure, say};
use crate::policy::EventId;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Opening waits for the table of contacts until so much time has gone; one that takes longer is made while
/// the records themselves are asked.
const READY_AT_ONCE: Duration = Duration::from_millis(400);

/// Held by every [`super::Store`]; ends the writer with the last of them.
pub struct Inner {
    /// What the handles share.
    pub shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
    background: Mutex<Option<JoinHandle<()>>>,
}

impl Inner {
    /// Opens the store and starts its writer.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened.
    pub fn open(settings: &Settings, sync: Sync) -> Result<Inner, StoreError> {
        let since = Instant::now();
        let lock = Lock::take(&settings.path)?;
        let engine = Engine::open(settings)?;
        // What a killed process left may be in the page cache only, and is on record from now on.
        engine.sync(&sync)?;
        let counters = Counters::read(&engine.meta)?;
        let acknowledged = Acknowledged::open(&settings.path, counters.counter)?;
        let sequence = Sequence::open(&engine.meta, counters)?;
        let shared = Arc::new(Shared::new(settings, AddressKey::read(&engine.meta)?));
        let mut writer = Writer {
            shared: shared.clone(),
            sync,
            rebuild: None,
            tally: Tally::after(&engine.sent)?,
            _lock: lock,
            sequence,
            newest: EventId(0),
            unsynced: false,
            acknowledged,
            written: None,
            broken: false,
            opened: 0,
        };
        writer.enter(engine)?;
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.serve());
        let thread = thread.map_err(|error| StoreError::Engine(format!("cannot start the writer: {error}")))?;
        let inner = Inner { shared, thread: Mutex::new(Some(thread)), background: Mutex::default() };
        let background = std::thread::Builder::new().name("store-background".to_owned());
        let background = background.spawn({
            let shared = inner.shared.clone();
            move || background::serve(&shared)
        });
        let background = background.map_err(|error| StoreError::Engine(format!("cannot start a thread: {error}")))?;
        *inner.background.lock().unwrap_or_else(PoisonError::into_inner) = Some(background);
        inner.shared.background.wait(since + READY_AT_ONCE)?;
        Ok(inner)
    }

    /// Writes what waits and ends the writer.
    ///
    /// # Errors
    /// [`StoreError`] when what waited could not be written.
    pub fn close(&self) -> Result<(), StoreError> {
        self.shared.background.close();
        self.shared.close();
        let ended = match self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(thread) => thread.join().unwrap_or(Err(StoreError::Stopped)),
            None => Ok(()),
        };
        if let Some(background) = self.background.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = background.join();
        }
        ended
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
    /// Sends that are counted with the next that become durable.
    tally: Tally,
    _lock: Lock,
    sequence: Sequence,
    /// Newest event written.
    pub newest: EventId,
    /// Something written is not durable yet.
    pub unsynced: bool,
    /// What was acknowledged, told beside the store.
    acknowledged: Acknowledged,
    /// Ids given out up to the newest record that was written; none where it is durable.
    written: Option<u64>,
    /// The last write failed: sled must be opened again.
    broken: bool,
    /// How often sled was opened, but where all that was written was durable before.
    pub opened: u64,
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
                    measure::written(written.is_ok());
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
        let since = Instant::now();
        let written = self.write(&operations, true);
        measure::committed(operations.len(), since.elapsed(), written.is_ok());
        match written {
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
            let contacts = shared.contacts.load(Ordering::Relaxed) + batch.contacts.new_contacts;
            if !batch.is_empty() {
                batch.write(&writer.sequence, events, contacts)?;
                writer.unsynced = true;
                writer.written = Some(writer.sequence.given_out());
            }
            if durable && writer.unsynced {
                engine.flush()?;
                engine.sync(&writer.sync)?;
                writer.durable();
            }
            let reverted = batch.contacts.voided.iter().filter(|(_, voiding)| voiding.batch);
            reverted.for_each(|(batch, _)| shared.undone.insert(*batch));
            let touched = &batch.contacts.touched;
            touched.iter().for_each(|&(contact, may_suppress)| shared.on_record.touch(contact, may_suppress));
            shared.listed.note(&engine.lists, &batch.lists.entries)?;
            shared.events.store(events, Ordering::Relaxed);
            shared.contacts.store(contacts, Ordering::Relaxed);
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
            let (key, tally) = (writer.shared.on_record.key(), &mut writer.tally);
            for (place @ (message, day), send) in left.by_ref().take(ledger::CHUNK) {
                let is_counted = tally.has(*place);
                ledger::write(&engine.ledger, *day, *message, send, &mut |known, provider, recipients| {
                    if !is_counted {
                        tally.count(key, *day, known, provider, recipients);
                    }
                })?;
                tally.has_now(*place);
                days.insert(*day);
            }
            writer.shared.ledger_days.write().unwrap_or_else(PoisonError::into_inner).append(&mut days);
            let next = left.next().map(|(next, _)| *next);
            if next.is_none() {
                writer.tally.write(&engine.sent)?;
                engine.flush()?;
                engine.sync(&writer.sync)?;
                writer.unsynced = false;
            }
            Ok(next)
        })?;
        match next {
            Some(next) => self.shared.queue().sends_written(next),
            None => {
                self.tally.next();
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

    /// Records one event, durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be.
    pub fn record_now(&mut self, event: NewEvent) -> Result<EventId, StoreError> {
        let prepared = self.prepare(vec![event])?;
        match self.write(&[prepared], true)?.into_iter().flatten().next() {
            Some(Recorded::New(id) | Recorded::Known(id)) => Ok(id),
            None => Err(StoreError::Engine("an event was not recorded".to_owned())),
        }
    }

    /// The next event's id.
    pub fn next_id(&mut self) -> EventId {
        self.sequence.next(Timestamp::now())
    }

    /// The counters of `meta` with so many events and contacts.
    pub fn counters(&self, events: u64, contacts: u64) -> Vec<u8> {
        self.sequence.counters(events, contacts)
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
            writer.durable();
            Ok(())
        })?;
        self.announce();
        Ok(())
    }

    /// All that was written is on disk.
    fn durable(&mut self) {
        self.unsynced = false;
        if let Some(given_out) = self.written.take() {
            self.acknowledged.note(given_out);
        }
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
        (self.unsynced, self.written) = (false, None);
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

    /// Opens the trees again, which makes sled write a snapshot. Who reads meanwhile waits.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be opened; that is tried again before the next write.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        self.rebuild = None;
        self.broken = true;
        let settings = self.shared.settings.clone();
        self.shared.reopen(|| Engine::open(&settings))?;
        self.broken = false;
        Ok(())
    }

    /// Takes trees just opened into use. What is read of every contact is left to [`super::background`].
    fn enter(&mut self, engine: Engine) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        let newest = events::newest(&engine.events)?.unwrap_or(EventId(0));
        let counters = Counters::read(&engine.meta)?;
        shared.events.store(counters.events, Ordering::Relaxed);
        shared.contacts.store(counters.contacts.unwrap_or(0), Ordering::Relaxed);
        *shared.ledger_days.write().unwrap_or_else(PoisonError::into_inner) = ledger::days(&engine.ledger)?;
        let undone = Writer::undone(&engine)?;
        shared.undone.replace(undone.clone());
        let counted = counters.contacts.is_some() || engine.contacts.is_empty();
        // After trouble, what was written and not acknowledged may be there all the same.
        shared.on_record.set_ready(false);
        shared.erased.load(&engine.erased)?;
        shared.put(State::Open(Box::new(engine)));
        shared.on_record.forget();
        listed::load(&shared)?;
        shared.background.begin(counted, undone.into_iter().collect());
        self.opened += 1;
        self.broken = false;
        self.newest = self.newest.max(newest);
        self.announce();
        Ok(())
    }
}

/// The same error for another who waits.
pub fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::InUse { path } => StoreError::InUse { path: path.clone() },
        StoreError::NewerSchema { path, found, known } => {
            StoreError::NewerSchema { path: path.clone(), found: *found, known: *known }
        }
        StoreError::Unwritable { path, source } => {
            let source = std::io::Error::new(source.kind(), source.to_string());
            StoreError::Unwritable { path: path.clone(), source }
        }
        StoreError::Unopenable { path, problem } => {
            StoreError::Unopenable { path: path.clone(), problem: problem.clone() }
        }
        StoreError::Engine(problem) => StoreError::Engine(problem.clone()),
        StoreError::Damaged { tree, key, problem } => {
            StoreError::Damaged { tree, key: key.clone(), problem: problem.clone() }
        }
        StoreError::Corrupt { at } => StoreError::Corrupt { at: *at },
        StoreError::Stopped => StoreError::Stopped,
        StoreError::Busy => StoreError::Busy,
    }
}
