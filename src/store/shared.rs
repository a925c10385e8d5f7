//! What the store's handles and the writer share: the trees, the queue, and what is kept in memory.

use super::background::Background;
use super::erased::{ErasedSet, Erasures};
use super::keyed::AddressKey;
use super::ledger::{MessageKey, Recipient, SendRecord};
use super::listed::Listed;
use super::on_record::OnRecord;
use super::queue::{Queue, Reply, Work};
use super::schema::Engine;
use super::undone::Undone;
use super::writer::Writer;
use super::{NewEvent, SendMatch, Settings, StoreError};
use crate::ops::event::measure;
use crate::policy::{EventId, Policy};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The trees, as far as they can be had.
pub enum State {
    /// Open.
    Open(Box<Engine>),
    /// Could not be opened again, and why.
    Failed(String),
    /// Closed for good, or not open yet.
    Closed,
}

/// What the handles and the writer share.
pub struct Shared {
    /// How the store was opened.
    pub settings: Settings,
    state: RwLock<State>,
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Contacts that may be suppressed.
    pub on_record: OnRecord,
    /// Batches that do not count.
    pub undone: Undone,
    policy: RwLock<Arc<Policy>>,
    /// What is done beside serving.
    pub background: Background,
    /// What is on the operator's lists.
    pub listed: Listed,
    /// Who was erased and stays blocked.
    pub erased: ErasedSet,
    /// Erasures at work.
    pub erasures: Erasures,
    /// Newest durable event.
    pub recorded: watch::Sender<EventId>,
    /// Events on record.
    pub events: AtomicU64,
    /// Contacts with a record.
    pub contacts: AtomicU64,
    /// Days with sends.
    pub ledger_days: RwLock<BTreeSet<u32>>,
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
    /// Nothing yet.
    pub fn new(settings: &Settings, key: AddressKey) -> Shared {
        Shared {
            settings: settings.clone(),
            state: RwLock::new(State::Closed),
            queue: Mutex::default(),
            wake: Condvar::new(),
            listed: Listed::new(key.clone()),
            erased: ErasedSet::new(key.clone()),
            erasures: Erasures::default(),
            on_record: OnRecord::new(key),
            undone: Undone::default(),
            policy: RwLock::default(),
            background: Background::default(),
            recorded: watch::Sender::new(EventId(0)),
            events: AtomicU64::new(0),
            contacts: AtomicU64::new(0),
            ledger_days: RwLock::default(),
        }
    }

    /// Takes the trees for reading. Held only for as long as one question takes.
    pub fn read(&self) -> Reading<'_> {
        Reading(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts trees in place of those that were there.
    pub fn put(&self, state: State) {
        let mut place = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, state);
        // sled panics when it cannot sync a closing file. We have synced what counts.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a policy in force. Whether it is another than before.
    pub fn set_policy(&self, policy: &Policy) -> bool {
        let mut place = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let other = **place != *policy;
        *place = Arc::new(policy.clone());
        other
    }

    /// Closes the trees and puts others in their place, while who wants to read waits.
    ///
    /// # Errors
    /// That of `open`; then there are no trees.
    pub fn reopen(&self, open: impl FnOnce() -> Result<Engine, StoreError>) -> Result<(), StoreError> {
        let mut place = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, State::Closed);
        // As in `put`.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(old)));
        let opened = open();
        let (state, result) = match opened {
            Ok(engine) => (State::Open(Box::new(engine)), Ok(())),
            Err(error) => (State::Failed(error.to_string()), Err(error)),
        };
        *place = state;
        result
    }

    /// Changes the trees while nobody reads them.
    pub fn change(&self, change: impl FnOnce(&mut Engine)) {
        if let State::Open(engine) = &mut *self.state.write().unwrap_or_else(PoisonError::into_inner) {
            change(engine);
        }
    }

    /// The queue.
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the writer's next work.
    pub fn next_work(&self) -> Work {
        let mut queue = self.queue();
        loop {
            let now = Instant::now();
            if let Some(work) = queue.next(now) {
                return work;
            }
            let wait = queue.soon_at(now).map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(now));
            queue = self.wake.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets no more in; the writer ends when nothing waits any more.
    pub fn close(&self) {
        self.queue().close();
        self.wake.notify_all();
    }

    /// Has events recorded; `reply` is told when they are durable.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn record(&self, events: Vec<NewEvent>, reply: Reply) -> Result<(), StoreError> {
        self.queue().record(events, reply)?;
        self.wake.notify_one();
        Ok(())
    }

    /// Has events recorded soon.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn record_soon(&self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        if self.queue().record_soon(events)? {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Has a send remembered soon.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn remember(&self, message: MessageKey, record: SendRecord) -> Result<(), StoreError> {
        if self.queue().remember(message, record)? {
            self.wake.notify_one();
        }
        measure::LEDGER_MESSAGES.add(1);
        Ok(())
    }

    /// What sends that are not on disk yet tell of a message and a recipient.
    pub fn pending_send(&self, message: MessageKey, recipient: Recipient) -> Option<SendMatch> {
        self.queue().find_send(message, recipient)
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
        self.queue().run(Box::new(move |writer: &mut Writer| drop(done.send(job(writer)))))?;
        self.wake.notify_one();
        result.recv().unwrap_or(Err(StoreError::Stopped))
    }
}
