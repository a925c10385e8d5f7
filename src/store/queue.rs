//! What waits to be written: requests that somebody waits for, in order, and beside them what nobody waits
//! for, skips and sends, which rides along or goes by itself once a second. All of it is bounded.

use super::ledger::{MessageKey, PendingSends, Recipient, SendRecord, Sends};
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
        /// Sends; given again until [`Queue::written`] is called.
        sends: Arc<Sends>,
    },
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
    sends: PendingSends,
    /// When what nobody waits for is due; none where there is nothing.
    due: Option<Instant>,
    /// It does not go before this time: the last attempt failed.
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
        let before = self.waiting_soon();
        self.soon_octets += octets;
        self.soon.extend(events);
        Ok(self.set_due(before))
    }

    /// Adds a send. Whether the writer must be told.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Stopped`].
    pub fn remember(&mut self, message: MessageKey, record: SendRecord) -> Result<bool, StoreError> {
        self.check_open()?;
        let before = self.waiting_soon();
        self.sends.add(message, record)?;
        Ok(self.set_due(before))
    }

    fn set_due(&mut self, before: usize) -> bool {
        let first = self.due.is_none();
        if first {
            self.due = Some(Instant::now() + SOON);
        }
        first || before < MANY && self.waiting_soon() >= MANY
    }

    /// What sends that are not on disk yet tell of a message and a recipient.
    pub fn find_send(&self, message: MessageKey, recipient: Recipient) -> Option<SendMatch> {
        self.sends.find(message, recipient)
    }

    /// How much waits.
    pub fn waiting(&self) -> usize {
        self.requests.len() + self.waiting_soon()
    }

    fn waiting_soon(&self) -> usize {
        self.soon.len() + self.sends.waiting()
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
        let due = self.due?;
        if self.closed {
            return Some(now);
        }
        let due = if self.waiting_soon() >= MANY { now } else { due };
        Some(due.max(self.not_before.unwrap_or(due)))
    }

    /// The next work, if any is due.
    pub fn next(&mut self, now: Instant) -> Option<Work> {
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
        if records.is_empty() && self.soon_at(now).is_none_or(|at| at > now) {
            return self.closed.then_some(Work::End);
        }
        let limit = if records.is_empty() { MANY } else { RIDING };
        let soon: Vec<NewEvent> = self.soon.drain(..self.soon.len().min(limit)).collect();
        self.soon_octets -= soon.iter().map(weight).sum::<usize>();
        let sends = self.sends.take(limit);
        Some(Work::Batch { records, soon, sends })
    }

    /// A batch is on disk. `by_itself`: with nothing in it that somebody waited for.
    pub fn written(&mut self, by_itself: bool) {
        self.sends.written();
        self.not_before = None;
        if self.waiting_soon() == 0 {
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

/// About how much memory an event takes while it waits.
fn weight(event: &NewEvent) -> usize {
    let text = match &event.what {
        What::Response { evidence, .. } => evidence.diagnostic.as_ref().map_or(0, String::len),
        What::Unreadable { problem, excerpt } => problem.len() + excerpt.len(),
        What::Skip { forward_path, .. } => forward_path.as_ref().map_or(0, String::len),
        What::Suppress { reason, .. } | What::Reactivate { reason, .. } => reason.len(),
        What::Imported { entries, .. } => entries.len() * 200,
        What::Attributes { attributes, .. } => attributes.iter().map(|(name, value)| name.len() + value.len()).sum(),
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
            Some(Work::Job(_) | Work::End) | None => None,
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
}
