//! Fills the counts of [`Sends`] from the send ledger: at the start, and whenever a limit looks further back than
//! what was read.
//!
//! In: the store, and the limits in force. Out: [`Sends`] that know what was sent before this process began. The
//! ledger is read in the background; until it is, the limits in the configuration go by what passed since the start. A
//! contact's own limit is only met when the contact is, so that the first such message waits for the reading.

use super::Sends;
use crate::ops::event::{LogEvent, say};
use crate::policy::Limit;
use crate::store::Store;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::watch;

/// When contacts were sent campaign mail, as far back as any limit in force looks.
pub struct SendsOnRecord {
    sends: Sends,
    /// From when on everything is counted, in seconds since 1970; far in the future before there is any limit.
    covered_from: AtomicI64,
    /// Readings of the ledger under way.
    readings: watch::Sender<usize>,
}

/// A reading under way, until it is dropped: also by a panic.
struct Reading(Arc<SendsOnRecord>);

impl Reading {
    fn begin(of: &Arc<SendsOnRecord>) -> Reading {
        of.readings.send_modify(|readings| *readings += 1);
        Reading(of.clone())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.readings.send_modify(|readings| *readings -= 1);
    }
}

impl SendsOnRecord {
    /// Nothing counted yet, and no limit.
    pub fn new() -> Arc<SendsOnRecord> {
        Arc::new(SendsOnRecord {
            sends: Sends::new(&[]),
            covered_from: AtomicI64::new(i64::MAX),
            readings: watch::Sender::new(0),
        })
    }

    /// The counts.
    pub fn sends(&self) -> &Sends {
        &self.sends
    }

    /// Sees to it that sends are counted as far back as these limits look: at once from `now` on, and soon from what
    /// the ledger remembers. To be called ahead of the first question about a limit; costs next to nothing when it is
    /// not the first.
    pub fn cover(self: &Arc<SendsOnRecord>, limits: &[Limit], store: &Store, now: Timestamp) {
        if limits.is_empty() {
            return;
        }
        self.sends.widen(limits);
        // Ahead of the mark: who finds the mark set and waits, waits for this reading, too.
        let reading = Reading::begin(self);
        let now = now.as_second();
        let wanted = now - i64::from(self.sends.longest_window_secs());
        let covered = self.covered_from.fetch_min(wanted, Relaxed).min(now);
        if covered <= wanted {
            return;
        }
        let store = store.clone();
        let read = move || reading.0.read(&store, wanted, covered);
        if let Err(problem) = std::thread::Builder::new().name("limits".to_owned()).spawn(read) {
            say(&LogEvent::LimitsNotLoaded { problem: &problem.to_string() });
        }
    }

    /// Waits until all is counted that was to be covered so far, but no longer than `most`.
    pub async fn covered(&self, most: Duration) {
        let mut readings = self.readings.subscribe();
        // Where it takes longer, the limits go by what is known.
        _ = tokio::time::timeout(most, readings.wait_for(|readings| *readings == 0)).await;
    }

    /// Counts what the ledger remembers of the seconds from `from` up to, but without, `to`.
    fn read(&self, store: &Store, from: i64, to: i64) {
        let mut count = 0;
        let mut tell = |recipient, at: Timestamp| {
            if (from..to).contains(&at.as_second()) {
                self.sends.note(recipient, at);
                count += 1;
            }
        };
        let since = Timestamp::from_second(from).unwrap_or(Timestamp::UNIX_EPOCH);
        match store.sends_since(since, &mut tell) {
            Ok(()) => say(&LogEvent::LimitsLoaded { sends: count, contacts: self.sends.contacts() as u64 }),
            Err(problem) => say(&LogEvent::LimitsNotLoaded { problem: &problem.to_string() }),
        }
    }

    /// Lets go of what no limit looks back to any more.
    pub fn expire(&self, now: Timestamp) {
        let oldest = now.as_second() - i64::from(self.sends.longest_window_secs());
        self.sends.expire(Timestamp::from_second(oldest).unwrap_or(Timestamp::UNIX_EPOCH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Address, MessageId};
    use crate::store::{self, Send};
    use std::time::{Duration, Instant};

    const NOW: i64 = 1_700_000_000;
    const DAY: u32 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn until(condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(10), "not within ten seconds");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn what_was_sent_before_the_start_counts_once_however_often_limits_look_back_further() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("store");
        let settings = store::Settings { path, cache_bytes: 1 << 20, evidence_days: 400, ledger_days: 35 };
        let ann = Address::parse("ann@out.test").expect("an address");
        let store = Store::open(&settings).expect("a new store");
        let contact = store.recipient_key(&ann);
        for (name, days_ago) in [("1", 0), ("2", 2), ("3", 5), ("4", 20)] {
            let (message_id, recipients) = (MessageId(name.to_owned()), vec![ann.clone()]);
            let sent_at = at(NOW - 60 - days_ago * i64::from(DAY));
            let send = Send { message_id, at: sent_at, campaign: None, list: None, recipients };
            store.remember_send(send).expect("a store that remembers");
        }
        // What is not written yet is written by then.
        store.close().expect("a store that closes");
        drop(store);
        let store = Store::open(&settings).expect("the same store");

        let on_record = SendsOnRecord::new();
        let count = |days: u32| on_record.sends().count(contact, days * DAY, at(NOW));
        on_record.cover(&[], &store, at(NOW));
        assert_eq!(on_record.sends().longest_window_secs(), 0, "nobody asks for any count");
        for (days, want) in [(1, 1), (7, 3), (3, 2), (30, 4)] {
            on_record.cover(&[Limit { messages: 9, window_secs: days * DAY }], &store, at(NOW));
            until(|| count(days) == want);
        }
        on_record.sends().note(contact, at(NOW));
        assert_eq!(count(30), 5);
        on_record.expire(at(NOW + 29 * i64::from(DAY)));
        assert_eq!(count(30), 2, "what the longest window left behind is forgotten");
    }
}
