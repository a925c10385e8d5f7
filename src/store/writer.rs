//! The writer thread: the one place that writes.
//!
//! It drains what waits, writes it in one transaction, makes it durable, and only then answers everybody
//! (group commit). What nobody waits for, skips and sends, rides along or goes by itself once a second.
//! After trouble with the disk the trees are opened again before the next write, since sled does not go on
//! after a failed one; until then they still answer reads.

use super::batch::{Batch, Counters, Prepared, Sequence};
use super::ledger::{self, PendingSends, Sends};
use super::on_record::OnRecord;
use super::schema::{Engine, Lock, Sync};
use super::upkeep::Rebuild;
use super::{NewEvent, Recorded, Settings, StoreError, contacts, events};
use crate::ops::event::{LogEvent, say};
use crate::policy::{EventId, What};
use jiff::Timestamp;
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// At most so many operations share a transaction,
const OPERATIONS: usize = 128;
/// and so many events, unless one operation has more.
const EVENTS: usize = 512;
/// So many of the events, and of the sends, that nobody waits for ride along.
const RIDING: usize = 128;
/// So many of them go at once, and then without delay.
const MANY: usize = 512;
/// What nobody waits for is written after this long.
const SOON: Duration = Duration::from_secs(1);
/// At most so many events wait that somebody waits for.
const WAITING: usize = 1 << 17;
/// At most so many events wait that nobody waits for, and so many octets.
const WAITING_SOON: usize = 1 << 16;
const WAITING_SOON_OCTETS: usize = 32 << 20;

/// Tells a caller what became of its events.
pub type Reply = Box<dyn FnOnce(Result<Vec<Recorded>, StoreError>) + Send>;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

enum Request {
    Record { events: Vec<NewEvent>, reply: Reply },
    Job(Job),
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    request_events: usize,
    soon: VecDeque<NewEvent>,
    soon_octets: usize,
    sends: PendingSends,
    /// When what nobody waits for is due.
    due: Option<Instant>,
    /// Nothing goes before this time: the last attempt failed.
    not_before: Option<Instant>,
    closed: bool,
}

enum State {
    Open(Box<Engine>),
    Failed(String),
    Closed,
}

/// What the store's handles and the writer share.
pub struct Shared {
    settings: Settings,
    state: RwLock<State>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Contacts that may be suppressed.
    pub on_record: OnRecord,
    /// Newest durable event.
    pub recorded: watch::Sender<EventId>,
    /// Events on record.
    pub events: AtomicU64,
    /// Contacts with a record.
    pub contacts: AtomicU64,
    /// Days with sends.
    pub ledger_days: RwLock<BTreeSet<u32>>,
}

/// Held by every [`super::Store`]; ends the writer with the last of them.
pub struct Inner {
    /// What the handles share.
    pub shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<(), StoreError>>>>,
}

/// Access to the trees for one read.
pub struct Reading<'a>(RwLockReadGuard<'a, State>);

impl Reading<'_> {
    /// The trees.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] when they are closed, [`StoreError::Engine`] when they could not be opened again.
    pub fn engine(&self) -> Result<&Engine, StoreError> {
        match &*self.0 {
            State::Open(engine) => Ok(engine),
            State::Failed(problem) => Err(StoreError::Engine(problem.clone())),
            State::Closed => Err(StoreError::Stopped),
        }
    }
}

impl Shared {
    /// Takes the trees for reading. Held only for as long as one question takes.
    pub fn read(&self) -> Reading<'_> {
        Reading(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has events recorded; `reply` is told when they are durable.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn record(&self, events: Vec<NewEvent>, reply: Reply) -> Result<(), StoreError> {
        let mut queue = self.queue();
        queue.check_open()?;
        if queue.request_events > 0 && queue.request_events + events.len() > WAITING {
            return Err(StoreError::Busy);
        }
        queue.request_events += events.len();
        queue.requests.push_back(Request::Record { events, reply });
        self.wake.notify_one();
        Ok(())
    }

    /// Has events recorded soon.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn record_soon(&self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        let mut queue = self.queue();
        queue.check_open()?;
        let octets: usize = events.iter().map(weight).sum();
        if queue.soon.len() + events.len() > WAITING_SOON || queue.soon_octets + octets > WAITING_SOON_OCTETS {
            return Err(StoreError::Busy);
        }
        queue.soon_octets += octets;
        queue.soon.extend(events);
        self.set_due(&mut queue);
        Ok(())
    }

    /// Has a send remembered soon.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn remember(&self, message: ledger::MessageKey, record: ledger::SendRecord) -> Result<(), StoreError> {
        let mut queue = self.queue();
        queue.check_open()?;
        queue.sends.add(message, record)?;
        self.set_due(&mut queue);
        Ok(())
    }

    fn set_due(&self, queue: &mut Queue) {
        if queue.due.is_none() {
            queue.due = Some(Instant::now() + SOON);
            self.wake.notify_one();
        } else if queue.waiting_soon() == MANY {
            self.wake.notify_one();
        }
    }

    /// What sends that are not on disk yet tell of a message and a recipient.
    pub fn pending_send(&self, message: ledger::MessageKey, recipient: ledger::Recipient) -> Option<super::SendMatch> {
        self.queue().sends.find(message, recipient)
    }

    /// Operations that wait.
    pub fn waiting(&self) -> u64 {
        let queue = self.queue();
        (queue.requests.len() + queue.waiting_soon()) as u64
    }

    /// Runs `job` on the writer thread, between two batches, and waits for it.
    ///
    /// # Errors
    /// That of the job; [`StoreError::Stopped`] when there is no writer.
    pub fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (done, result) = mpsc::sync_channel(1);
        let job = Box::new(move |writer: &mut Writer| drop(done.send(job(writer))));
        let mut queue = self.queue();
        queue.check_open()?;
        queue.requests.push_back(Request::Job(job));
        self.wake.notify_one();
        drop(queue);
        result.recv().unwrap_or(Err(StoreError::Stopped))
    }
}

impl Inner {
    /// Opens the store and starts its writer.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be opened.
    pub fn open(settings: &Settings, sync: Sync) -> Result<Inner, StoreError> {
        let lock = Lock::take(&settings.path)?;
        let engine = Engine::open(settings)?;
        let counters = Counters::read(&engine.meta)?;
        let sequence = Sequence::open(&engine.meta, counters)?;
        let shared = Arc::new(Shared {
            settings: settings.clone(),
            state: RwLock::new(State::Closed),
            queue: Mutex::default(),
            wake: Condvar::new(),
            on_record: OnRecord::default(),
            recorded: watch::Sender::new(EventId(0)),
            events: AtomicU64::new(0),
            contacts: AtomicU64::new(0),
            ledger_days: RwLock::default(),
        });
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
        self.shared.queue().closed = true;
        self.shared.wake.notify_all();
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

impl Queue {
    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed { Err(StoreError::Stopped) } else { Ok(()) }
    }

    fn waiting_soon(&self) -> usize {
        self.soon.len() + self.sends.waiting()
    }

    /// When what nobody waits for is to be written; none where there is nothing.
    fn soon_at(&self, now: Instant) -> Option<Instant> {
        let due = self.due?;
        if self.closed {
            return Some(now);
        }
        let due = if self.waiting_soon() >= MANY { now } else { due };
        Some(due.max(self.not_before.unwrap_or(due)))
    }

    /// The next work, if any is due.
    fn gather(&mut self, now: Instant) -> Option<Work> {
        if let Some(Request::Job(_)) = self.requests.front() {
            let Some(Request::Job(job)) = self.requests.pop_front() else { return None };
            return Some(Work::Job(job));
        }
        let mut records = Vec::new();
        let mut count = 0;
        while let Some(Request::Record { events, .. }) = self.requests.front()
            && records.len() < OPERATIONS
            && (records.is_empty() || count + events.len() <= EVENTS)
        {
            count += events.len();
            let Some(Request::Record { events, reply }) = self.requests.pop_front() else { break };
            records.push((events, reply));
        }
        self.request_events -= count;
        if records.is_empty() && self.soon_at(now).is_none_or(|at| at > now) {
            return self.closed.then_some(Work::End);
        }
        let limit = if records.is_empty() { MANY } else { RIDING };
        let soon: Vec<NewEvent> = self.soon.drain(..self.soon.len().min(limit)).collect();
        self.soon_octets -= soon.iter().map(weight).sum::<usize>();
        let sends = self.sends.take(limit);
        Some(Work::Batch { records, soon, sends })
    }
}

/// About how much memory an event takes while it waits.
fn weight(event: &NewEvent) -> usize {
    let text = match &event.what {
        What::Response { evidence, .. } => evidence.diagnostic.as_ref().map_or(0, String::len),
        What::Unreadable { problem, excerpt } => problem.len() + excerpt.len(),
        What::Skip { forward_path, .. } => forward_path.as_ref().map_or(0, String::len),
        What::Suppress { reason, .. } | What::Reactivate { reason, .. } => reason.len(),
        What::Sent { .. } => 0,
    };
    512 + text
}

enum Work {
    Batch { records: Vec<(Vec<NewEvent>, Reply)>, soon: Vec<NewEvent>, sends: Arc<Sends> },
    Job(Job),
    End,
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
        let mut queue = self.0.queue();
        queue.closed = true;
        let unanswered = std::mem::take(&mut queue.requests);
        drop(queue);
        drop(unanswered);
        self.0.put(State::Closed);
    }
}

impl Shared {
    fn put(&self, state: State) {
        let mut place = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, state);
        // sled panics when it cannot sync a closing file. We have synced what counts.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
    }

    /// Changes the trees while nobody reads them.
    pub fn change(&self, change: impl FnOnce(&mut Engine)) {
        if let State::Open(engine) = &mut *self.state.write().unwrap_or_else(PoisonError::into_inner) {
            change(engine);
        }
    }
}

impl Writer {
    fn serve(mut self) -> Result<(), StoreError> {
        let _ending = Ending(self.shared.clone());
        loop {
            match self.next_work() {
                Work::Job(job) => job(&mut self),
                Work::Batch { records, soon, sends } => {
                    let nobody_waits = records.is_empty();
                    let committed = self.commit(records, soon, &sends);
                    if nobody_waits && self.shared.queue().closed {
                        committed?;
                    }
                }
                Work::End => return Ok(()),
            }
        }
    }

    fn next_work(&self) -> Work {
        let mut queue = self.shared.queue();
        loop {
            let now = Instant::now();
            if let Some(work) = queue.gather(now) {
                return work;
            }
            let wait = queue.soon_at(now).map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(now));
            queue = self.shared.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes one batch and answers. The error is that of the batch, for whoever cares besides.
    fn commit(
        &mut self,
        records: Vec<(Vec<NewEvent>, Reply)>,
        soon: Vec<NewEvent>,
        sends: &Arc<Sends>,
    ) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let nobody_waits = records.is_empty();
        let mut operations = Vec::new();
        let mut replies = Vec::new();
        for (events, reply) in records {
            match self.sequence.prepare(events, now) {
                Ok(prepared) => {
                    operations.push(prepared);
                    replies.push(reply);
                }
                Err(error) => reply(Err(error)),
            }
        }
        for event in soon {
            let queue_id = event.queue_id.clone();
            match self.sequence.prepare(vec![event], now) {
                Ok(prepared) => operations.push(prepared),
                Err(error) => {
                    let queue_id = queue_id.as_deref().unwrap_or("-");
                    say(&LogEvent::Unrecorded { queue_id, problem: &error.to_string() });
                }
            }
        }
        match self.write(&operations, sends, true) {
            Ok(answers) => {
                let mut queue = self.shared.queue();
                queue.sends.written();
                queue.not_before = None;
                queue.due = queue.due.filter(|_| queue.waiting_soon() > 0);
                if nobody_waits {
                    queue.due = queue.due.map(|_| Instant::now() + SOON);
                }
                drop(queue);
                for (reply, answer) in replies.into_iter().zip(answers) {
                    reply(Ok(answer));
                }
                Ok(())
            }
            Err(error) => {
                let mut queue = self.shared.queue();
                for operation in operations.drain(replies.len()..).rev() {
                    for event in operation.into_iter().map(NewEvent::from) {
                        queue.soon_octets += weight(&event);
                        queue.soon.push_front(event);
                    }
                }
                queue.not_before = Some(Instant::now() + SOON);
                drop(queue);
                for reply in replies {
                    reply(Err(again(&error)));
                }
                Err(error)
            }
        }
    }

    /// Writes operations and sends in one transaction and, if `durable`, to the disk; then takes note.
    /// Nothing counts when it fails.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written.
    pub fn write(
        &mut self,
        operations: &[Vec<Prepared>],
        sends: &Sends,
        durable: bool,
    ) -> Result<Vec<Vec<Recorded>>, StoreError> {
        let answers = self.change(|writer, engine| {
            let shared = writer.shared.clone();
            let mut batch = Batch::new(engine, &shared.on_record);
            let answers: Vec<Vec<Recorded>> =
                operations.iter().map(|operation| batch.add(operation)).collect::<Result<_, _>>()?;
            batch.add_sends(sends)?;
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
            shared.events.store(events, Ordering::Relaxed);
            shared.contacts.fetch_add(batch.contacts.new_contacts, Ordering::Relaxed);
            let mut days = shared.ledger_days.write().unwrap_or_else(PoisonError::into_inner);
            days.extend(sends.keys().map(|(_, day)| *day));
            writer.newest = batch.newest.unwrap_or(writer.newest);
            Ok(answers)
        })?;
        if durable {
            self.announce();
        }
        Ok(answers)
    }

    /// Gives new events their ids.
    ///
    /// # Errors
    /// [`StoreError::Engine`] when one is too long.
    pub fn prepare(&mut self, events: Vec<NewEvent>) -> Result<Vec<Prepared>, StoreError> {
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

    /// Opens the trees again if the last write failed.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be opened or written yet.
    pub fn mend(&mut self) -> Result<(), StoreError> {
        if !self.broken {
            return Ok(());
        }
        if let State::Open(engine) = &*self.shared.read().0 {
            engine.check_writable(&self.shared.settings.path)?;
        }
        self.rebuild = None;
        self.unsynced = false;
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
        shared.put(State::Open(Box::new(engine)));
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
