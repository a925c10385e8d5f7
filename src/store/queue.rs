//! What waits to be written: requests that somebody waits for, in order, and beside them what nobody waits
//! for. Skips ride along or go by themselves once a second; sends go once a second, a chunk at a time between
//! the requests. All of it is bounded.

use super::ledger::{MessageKey, PendingSends, Place, Recipient, SendRecord, Sends};
use super::writer::Writer;
use super::{NewEvent, Recorded, SendMatch, StoreError};
use crate::policy::What;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At most so many operations share a transaction,
const OPERATIONS: usize = 128;
/// and so many events, unless one operation has more.
const EVENTS: usize = 512;
/// So many of the events that nobody waits for ride along.
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

/// Work on the writer thread, between two batches.
pub type Job = Box<dyn FnOnce(&mut Writer) + Send>;

enum Request {
    Record { events: Vec<NewEvent>, reply: Reply },
    Job(Job),
}

/// What the writer does next.
pub enum Work {
    /// Writes a batch.
    Batch {
        /// Events and who waits for them.
        records: Vec<(Vec<NewEvent>, Reply)>,
        /// Events that nobody waits for.
        soon: Vec<NewEvent>,
    },
    /// Writes a chunk of [`Queue::sends_to_write`].
    Sends,
    /// Runs a job.
    Job(Job),
    /// Ends: the queue is closed, and nothing waits.
    End,
}

/// See above.
#[derive(Default)]
pub struct Queue {
    requests: VecDeque<Request>,
    request_events: usize,
    soon: VecDeque<NewEvent>,
    soon_octets: usize,
    /// When these events are due; none where there are none.
    due: Option<Instant>,
    sends: PendingSends,
    /// When the sends that gather are due; none where there are none.
    sends_due: Option<Instant>,
    /// Something else went last, so that a chunk of sends that is due goes before more requests.
    sends_turn: bool,
    /// Neither goes before this time: the last attempt failed.
    not_before: Option<Instant>,
    closed: bool,
}

impl Queue {
    /// Adds events that somebody waits for.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn record(&mut self, events: Vec<NewEvent>, reply: Reply) -> Result<(), StoreError> {
        self.check_open()?;
        if self.request_events > 0 && self.request_events + events.len() > WAITING {
            return Err(StoreError::Busy);
        }
        self.request_events += events.len();
        self.requests.push_back(Request::Record { events, reply });
        Ok(())
    }

    /// Adds a job.
    ///
    /// # Errors
    /// [`StoreError::Stopped`].
    pub fn run(&mut self, job: Job) -> Result<(), StoreError> {
        self.check_open()?;
        self.requests.push_back(Request::Job(job));
        Ok(())
    }

    /// Adds events that nobody waits for. Whether the writer must be told.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn record_soon(&mut self, events: Vec<NewEvent>) -> Result<bool, StoreError> {
        self.check_open()?;
        let octets: usize = events.iter().map(weight).sum();
        if self.soon.len() + events.len() > WAITING_SOON || self.soon_octets + octets > WAITING_SOON_OCTETS {
            return Err(StoreError::Busy);
        }
        let before = self.soon.len();
        self.soon_octets += octets;
        self.soon.extend(events);
        Ok(set_due(&mut self.due) || before < MANY && self.soon.len() >= MANY)
    }

    /// Adds a send. Whether the writer must be told.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn remember(&mut self, message: MessageKey, record: SendRecord) -> Result<bool, StoreError> {
        self.check_open()?;
        let was_much = self.sends.is_much();
        self.sends.add(message, record)?;
        Ok(set_due(&mut self.sends_due) || !was_much && self.sends.is_much())
    }

    /// What sends that are not on disk yet tell of a message and a recipient.
    pub fn find_send(&self, message: MessageKey, recipient: Recipient) -> Option<SendMatch> {
        self.sends.find(message, recipient)
    }

    /// Changes the events that nobody waits for, and takes a recipient out of the sends.
    pub fn forget(&mut self, recipient: Recipient, change: impl FnMut(&mut NewEvent)) {
        self.soon.iter_mut().for_each(change);
        self.soon_octets = self.soon.iter().map(weight).sum();
        self.sends.forget(recipient);
    }

    /// How much waits.
    pub fn waiting(&self) -> usize {
        self.requests.len() + self.soon.len() + self.sends.waiting()
    }

    /// Takes nothing more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether nothing more is taken.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Closes it and drops the requests in it, which tells those who wait.
    pub fn abandon(&mut self) -> impl Drop + use<> {
        self.closed = true;
        std::mem::take(&mut self.requests)
    }

    fn check_open(&self) -> Result<(), StoreError> {
        if self.closed { Err(StoreError::Stopped) } else { Ok(()) }
    }

    /// When what nobody waits for is to be written; none where there is nothing.
    pub fn soon_at(&self, now: Instant) -> Option<Instant> {
        [self.events_at(now), self.sends_at(now)].into_iter().flatten().min()
    }

    fn events_at(&self, now: Instant) -> Option<Instant> {
        self.soon_or_now(self.due, self.soon.len() >= MANY, now)
    }

    fn sends_at(&self, now: Instant) -> Option<Instant> {
        if self.sends.is_writing() {
            return self.soon_or_now(Some(now), true, now);
        }
        self.soon_or_now(self.sends_due, self.sends.is_much(), now)
    }

    fn soon_or_now(&self, due: Option<Instant>, many: bool, now: Instant) -> Option<Instant> {
        let due = if many { now } else { due? };
        Some(if self.closed { now } else { due.max(self.not_before.unwrap_or(due)) })
    }

    /// The next work, if any is due.
    pub fn next(&mut self, now: Instant) -> Option<Work> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if std::mem::take(&mut self.sends_turn) && is_due(self.sends_at(now)) {
            return Some(Work::Sends);
        }
        let work = self.next_but_sends(now);
        self.sends_turn = work.is_some();
        work.or_else(|| is_due(self.sends_at(now)).then_some(Work::Sends)).or(self.closed.then_some(Work::End))
    }

    fn next_but_sends(&mut self, now: Instant) -> Option<Work> {
        let mut records = Vec::new();
        let mut count = 0;
        while let Some(request) = self.requests.pop_front() {
            match request {
                Request::Job(job) if records.is_empty() => return Some(Work::Job(job)),
                Request::Record { events, reply }
                    if records.is_empty() || records.len() < OPERATIONS && count + events.len() <= EVENTS =>
                {
                    count += events.len();
                    records.push((events, reply));
                }
                request => {
                    self.requests.push_front(request);
                    break;
                }
            }
        }
        self.request_events -= count;
        if records.is_empty() && self.events_at(now).is_none_or(|at| at > now) {
            return None;
        }
        let limit = if records.is_empty() { MANY } else { RIDING };
        let soon: Vec<NewEvent> = self.soon.drain(..self.soon.len().min(limit)).collect();
        self.soon_octets -= soon.iter().map(weight).sum::<usize>();
        Some(Work::Batch { records, soon })
    }

    /// Sends to be written, and where to go on.
    pub fn sends_to_write(&mut self) -> (Arc<Sends>, Option<Place>) {
        if !self.sends.is_writing() {
            self.sends_due = None;
        }
        self.sends.take()
    }

    /// Sends before `next` are in the tree.
    pub fn sends_written(&mut self, next: Place) {
        self.sends.written(next);
    }

    /// All of them are on disk. Dropping them takes a while.
    pub fn sends_durable(&mut self) -> Arc<Sends> {
        self.not_before = None;
        self.sends.durable()
    }

    /// The trees were opened again, and what was not durable may be lost.
    pub fn start_again(&mut self) {
        self.sends.start_again();
    }

    /// A batch is on disk. `by_itself`: with nothing in it that somebody waited for.
    pub fn written(&mut self, by_itself: bool) {
        self.not_before = None;
        if self.soon.is_empty() {
            self.due = None;
        } else if by_itself {
            self.due = Some(Instant::now() + SOON);
        }
    }

    /// A batch failed: what nobody waited for is tried again.
    pub fn failed(&mut self, soon: impl DoubleEndedIterator<Item = NewEvent>) {
        for event in soon.rev() {
            self.soon_octets += weight(&event);
            self.soon.push_front(event);
        }
        self.not_before = Some(Instant::now() + SOON);
    }
}

/// Sets when what waits is due, a second after the first of it came. Whether this is the first.
fn set_due(due: &mut Option<Instant>) -> bool {
    let first = due.is_none();
    due.get_or_insert_with(|| Instant::now() + SOON);
    first
}

/// About how much memory an event takes while it waits.
fn weight(event: &NewEvent) -> usize {
    let text = match &event.what {
        What::Response { evidence, .. } => evidence.diagnostic.as_ref().map_or(0, String::len),
        What::Unreadable { problem, excerpt } => problem.len() + excerpt.len(),
        What::Skip { forward_path, .. } => forward_path.as_ref().map_or(0, String::len),
        What::Suppress { reason, .. } | What::Reactivate { reason, .. } | What::Confirm { reason, .. } => reason.len(),
        What::Imported { entries, .. } => entries.len() * 200,
        What::Attributes { attributes, reason, .. } => {
            reason.len() + attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        }
        What::Sent { .. }
        | What::Import { .. }
        | What::Revert { .. }
        | What::Void { .. }
        | What::ListAdd { .. }
        | What::ListRemove { .. }
        | What::Activity { .. }
        | What::Limit { .. }
        | What::Erase { .. } => 0,
    };
    512 + text
}

#[cfg(test)]
mod tests {
    use super::super::ledger;
    use super::*;
    use crate::policy::Scope;
    use jiff::Timestamp;

    fn event() -> NewEvent {
        let what = What::Suppress { scope: Scope::System, reason: String::new(), uid: 0 };
        NewEvent { at: Timestamp::UNIX_EPOCH, address: None, queue_id: None, what, content_key: None }
    }

    fn sizes(work: Option<Work>) -> Option<(usize, usize)> {
        match work {
            Some(Work::Batch { records, soon, .. }) => Some((records.len(), soon.len())),
            Some(Work::Job(_) | Work::Sends | Work::End) | None => None,
        }
    }

    #[test]
    fn requests_keep_their_order_and_share_a_batch_up_to_a_job() {
        let mut queue = Queue::default();
        let now = Instant::now();
        for _ in 0..OPERATIONS + 2 {
            queue.record(vec![event()], Box::new(drop)).unwrap();
        }
        queue.run(Box::new(|_| {})).unwrap();
        queue.record(vec![event(); EVENTS * 2], Box::new(drop)).unwrap();
        queue.record(vec![event()], Box::new(drop)).unwrap();
        assert_eq!(sizes(queue.next(now)), Some((OPERATIONS, 0)));
        assert_eq!(sizes(queue.next(now)), Some((2, 0)), "not beyond the job");
        assert!(matches!(queue.next(now), Some(Work::Job(_))));
        assert_eq!(sizes(queue.next(now)), Some((1, 0)), "a large operation goes alone");
        assert_eq!(sizes(queue.next(now)), Some((1, 0)));
        assert!(queue.next(now).is_none());
        queue.close();
        assert!(matches!(queue.next(now), Some(Work::End)));
        assert!(matches!(queue.run(Box::new(|_| {})), Err(StoreError::Stopped)));
    }

    #[test]
    fn what_nobody_waits_for_goes_after_a_second_or_when_it_is_much_or_with_others() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let later = now + SOON * 2;
        assert!(queue.record_soon(vec![event(); 3]).unwrap(), "the writer is told of the first");
        assert!(!queue.record_soon(vec![event()]).unwrap());
        assert!(queue.next(now).is_none());
        assert_eq!(sizes(queue.next(later)), Some((0, 4)));
        queue.written(true);
        assert!(queue.soon_at(later).is_none());

        queue.record_soon(vec![event()]).unwrap();
        queue.record(vec![event()], Box::new(drop)).unwrap();
        assert_eq!(sizes(queue.next(now)), Some((1, 1)));
        queue.written(false);

        queue.record_soon(vec![event()]).unwrap();
        assert!(queue.record_soon(vec![event(); MANY]).unwrap(), "the writer is told when it is much");
        assert_eq!(sizes(queue.next(now)), Some((0, MANY)));
        queue.failed((0..MANY).map(|_| event()));
        assert!(queue.next(now).is_none(), "not at once after a failure");
        assert_eq!(sizes(queue.next(later)), Some((0, MANY)));
        queue.close();
        assert_eq!(sizes(queue.next(now)), Some((0, 1)));
        queue.written(true);
        assert!(matches!(queue.next(now), Some(Work::End)));
    }

    #[test]
    fn sends_to_many_recipients_go_without_delay_and_leave_room_for_more() {
        let send = || SendRecord {
            at: Timestamp::UNIX_EPOCH,
            campaign: None,
            list: None,
            recipients: (0..1000).collect(),
            providers: Vec::new(),
            crowded: false,
            counted: true,
        };
        let mut queue = Queue::default();
        let now = Instant::now();
        let told = (0..400_u128).filter(|number| queue.remember(number.to_be_bytes(), send()).unwrap());
        assert_eq!(told.collect::<Vec<_>>(), [0, 349], "the writer is told of the first, and when they are many");
        assert!(matches!(queue.next(now), Some(Work::Sends)));
        queue.sends_to_write();
        assert!((400..1000_u128).all(|number| queue.remember(number.to_be_bytes(), send()).is_ok()));
    }

    #[test]
    fn sends_go_after_a_second_or_when_they_are_many_and_requests_go_between() {
        let send = || SendRecord {
            at: Timestamp::UNIX_EPOCH,
            campaign: None,
            list: None,
            recipients: vec![1],
            providers: Vec::new(),
            crowded: false,
            counted: true,
        };
        let mut queue = Queue::default();
        let now = Instant::now();
        let later = now + SOON * 2;
        assert!(queue.remember([0; 16], send()).unwrap(), "the writer is told of the first");
        for number in 1..ledger::MANY as u128 - 1 {
            assert!(!queue.remember(number.to_be_bytes(), send()).unwrap());
        }
        assert!(queue.next(now).is_none());
        assert!(matches!(queue.next(later), Some(Work::Sends)));
        assert!(queue.remember([9; 16], send()).unwrap(), "the writer is told when they are many");
        assert!(matches!(queue.next(now), Some(Work::Sends)));
        let (sends, _) = queue.sends_to_write();
        assert_eq!(sends.len(), ledger::MANY);
        queue.sends_written(*sends.last_key_value().unwrap().0);
        assert!(queue.remember([8; 16], send()).unwrap(), "these gather anew");
        queue.record(vec![event()], Box::new(drop)).unwrap();
        assert_eq!(sizes(queue.next(now)), Some((1, 0)));
        queue.written(false);
        queue.record(vec![event()], Box::new(drop)).unwrap();
        assert!(matches!(queue.next(now), Some(Work::Sends)), "what was begun goes on, whoever waits");
        assert_eq!(sizes(queue.next(now)), Some((1, 0)));
        queue.failed(std::iter::empty());
        assert!(queue.next(now).is_none(), "not at once after a failure");
        assert!(matches!(queue.next(later), Some(Work::Sends)));
        queue.sends_durable();
        assert!(queue.next(now).is_none());
        queue.close();
        assert!(matches!(queue.next(now), Some(Work::Sends)));
        assert_eq!(queue.sends_to_write().0.len(), 1);
        queue.sends_durable();
        assert!(matches!(queue.next(now), Some(Work::End)));
    }
}
