//! Watches what comes back as a whole, for what no single report shows: a Message-ID or a token that is used again
//! and again, complaints about mail that nobody remembers, a return path that is silent, reports that wait for the
//! DNS. In memory and bounded; it decides nothing, it alerts.

use crate::mail::{Address, MessageId};
use crate::policy::ContentKey;
use jiff::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many reports of one reference and one recipient, within a [`WINDOW`], are a replay. A bounce, a complaint and an
/// automatic reply, each of them repeated, are fewer.
pub const SAME: u32 = 10;
/// So many different recipients of one reference that it never was for are one, too. A recipient that forwards its
/// mail makes one.
pub const STRANGERS: u32 = 10;
/// So many complaints within a day that match nothing we remember are an alert.
pub const UNMATCHED: u64 = 10;
/// So many recipients were sent to within a week...
pub const SENT: u64 = 1000;
/// ... without any answer: the return path is silent.
pub const SILENCE: Duration = Duration::from_secs(7 * 86_400);

/// How long a reference is remembered after its first use.
const WINDOW: Duration = Duration::from_secs(86_400);
/// References remembered, and pairs of a reference and a recipient.
const REMEMBERED: usize = 20_000;
/// How long a report waits for the DNS.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// Reports remembered as waiting for the DNS.
const WAITING: usize = 10_000;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// What is watched, for as long as the daemon runs.
pub struct Watch(Mutex<Watched>);

struct Watched {
    pairs: Remembered<[u8; 16]>,
    references: Remembered<[u8; 16]>,
    waiting: Remembered<ContentKey>,
    replayed: Option<Timestamp>,
    unmatched: Sums<24>,
    sent: Sums<7>,
    came_back: Option<Timestamp>,
    /// What is on record from before the start has been looked at.
    seeded: bool,
}

/// What a report refers to our message by.
#[derive(Clone, Copy, Debug)]
pub enum Reference<'a> {
    /// The Message-ID that came back.
    MessageId(&'a MessageId),
    /// A token of ours.
    Token(&'a str),
}

/// A reference that is used as no mail server uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// For one recipient again and again.
    Again,
    /// For many recipients that it never was for.
    Strangers,
}

impl Replay {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Replay::Again => "again and again for one recipient",
            Replay::Strangers => "for many recipients that it was not sent to",
        }
    }
}

/// Figures for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Recipients of campaign mail within a week.
    pub sent: u64,
    /// Complaints within a day that match nothing we remember.
    pub unmatched: u64,
    /// Reports that wait for the DNS, or gave up waiting lately.
    pub waiting: u64,
    /// Whether mail goes out and nothing comes back.
    pub silent: bool,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch(Mutex::new(Watched {
            pairs: Remembered::new(REMEMBERED),
            references: Remembered::new(REMEMBERED),
            waiting: Remembered::new(WAITING),
            replayed: None,
            unmatched: Sums::new(HOUR),
            sent: Sums::new(DAY),
            came_back: None,
            seeded: false,
        }))
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// A report refers to a message of ours; `is_recipient`: the message went to this recipient. Tells of a replay
    /// once, when it becomes one.
    pub fn refers(&self, to: Reference<'_>, recipient: &Address, is_recipient: bool, now: Timestamp) -> Option<Replay> {
        let (kind, text) = match to {
            Reference::MessageId(message_id) => (b"message-id".as_slice(), message_id.0.as_bytes()),
            Reference::Token(token) => (b"token".as_slice(), token.as_bytes()),
        };
        let reference = ContentKey::of(&[kind, text]).0;
        let pair = ContentKey::of(&[kind, text, recipient.as_str().as_bytes()]).0;
        let mut watched = self.watched();
        let count = watched.pairs.count(pair, now);
        let replay = if count == SAME {
            Some(Replay::Again)
        } else if count == 1 && !is_recipient && watched.references.count(reference, now) == STRANGERS {
            Some(Replay::Strangers)
        } else {
            None
        };
        if replay.is_some() {
            watched.replayed = Some(now);
        }
        replay
    }

    /// A complaint came that matches nothing we remember.
    pub fn unmatched_complaint(&self, now: Timestamp) {
        self.watched().unmatched.add(1, now);
    }

    /// Campaign mail went out to so many recipients.
    pub fn sent(&self, recipients: u64, now: Timestamp) {
        self.watched().sent.add(recipients, now);
    }

    /// Something came back.
    pub fn came_back(&self, at: Timestamp) {
        let mut watched = self.watched();
        watched.came_back = watched.came_back.max(Some(at));
    }

    /// What went out before the start is counted from now on; until then silence is no alert.
    pub fn is_seeded(&self) {
        self.watched().seeded = true;
    }

    /// Whether a report should wait for the DNS: not longer than a day, and not more of them than can be remembered.
    pub fn should_wait(&self, report: ContentKey, now: Timestamp) -> bool {
        let mut watched = self.watched();
        match watched.waiting.since(&report) {
            Some(since) => age(since, now) < PATIENCE,
            None if watched.waiting.is_full(now, PATIENCE) => false,
            None => {
                watched.waiting.count(report, now);
                true
            }
        }
    }

    /// The figures at a time.
    pub fn figures(&self, now: Timestamp) -> Figures {
        let watched = self.watched();
        let sent = watched.sent.sum(now);
        let heard = watched.came_back.is_some_and(|at| age(at, now) < SILENCE);
        Figures {
            sent,
            unmatched: watched.unmatched.sum(now),
            waiting: watched.waiting.len() as u64,
            silent: watched.seeded && sent >= SENT && !heard,
        }
    }

    /// What a person should look into: a word for it, and what it is.
    pub fn alerts(&self, now: Timestamp) -> Vec<(&'static str, String)> {
        let figures = self.figures(now);
        let replayed = self.watched().replayed.filter(|at| age(*at, now) < WINDOW);
        let mut alerts = Vec::new();
        if let Some(at) = replayed {
            let message = "reports refer to one message of ours as no mail server does; the log says to which";
            alerts.push(("replay", format!("{message} (last {at})")));
        }
        if figures.unmatched >= UNMATCHED {
            let message = "complaints within a day are about mail that the send ledger does not know";
            alerts.push(("complaints-unmatched", format!("{} {message}", figures.unmatched)));
        }
        if figures.silent {
            let message = "recipients were sent to within a week and nothing came back; is the return path connected?";
            alerts.push(("return-path-silent", format!("{} {message}", figures.sent)));
        }
        alerts
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// Counts by key, each for a [`WINDOW`] from its first; when there are too many the oldest go.
struct Remembered<K> {
    counts: HashMap<K, (u32, Timestamp)>,
    order: VecDeque<K>,
    most: usize,
}

impl<K: Copy + Eq + Hash> Remembered<K> {
    fn new(most: usize) -> Remembered<K> {
        Remembered { counts: HashMap::new(), order: VecDeque::new(), most }
    }

    /// Counts once more: how often by now.
    fn count(&mut self, key: K, now: Timestamp) -> u32 {
        if let Some((count, since)) = self.counts.get_mut(&key) {
            if age(*since, now) >= WINDOW {
                (*count, *since) = (0, now);
            }
            *count = count.saturating_add(1);
            return *count;
        }
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.order.push_back(key);
        self.counts.insert(key, (1, now));
        1
    }

    fn since(&self, key: &K) -> Option<Timestamp> {
        self.counts.get(key).map(|(_, since)| *since)
    }

    /// Whether there is no place, not even after letting go of what is twice as old as `patience`.
    fn is_full(&mut self, now: Timestamp, patience: Duration) -> bool {
        while let Some(oldest) = self.order.front()
            && self.since(oldest).is_none_or(|since| age(since, now) >= 2 * patience)
        {
            let oldest = self.order.pop_front().expect("there is a front");
            self.counts.remove(&oldest);
        }
        self.order.len() >= self.most
    }

    fn len(&self) -> usize {
        self.order.len()
    }
}

/// Sums over the last N spans of time.
struct Sums<const N: usize> {
    span_secs: i64,
    sums: [(i64, u64); N],
}

impl<const N: usize> Sums<N> {
    fn new(span_secs: i64) -> Sums<N> {
        Sums { span_secs, sums: [(i64::MIN, 0); N] }
    }

    fn add(&mut self, count: u64, at: Timestamp) {
        let span = at.as_second().div_euclid(self.span_secs);
        let place = &mut self.sums[span.rem_euclid(N as i64) as usize];
        match place.0.cmp(&span) {
            std::cmp::Ordering::Less => *place = (span, count),
            std::cmp::Ordering::Equal => place.1 += count,
            // Longer ago than is summed.
            std::cmp::Ordering::Greater => {}
        }
    }

    fn sum(&self, now: Timestamp) -> u64 {
        let span = now.as_second().div_euclid(self.span_secs);
        self.sums.iter().filter(|(of, _)| *of > span - N as i64 && *of <= span).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests;
