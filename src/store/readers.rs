//! Who reads the events in their own time, hooks above all: where each of them is, and the events behind that.
//!
//! A reader's place is a record of `meta`, under `reader.` and its name; what is in it is the reader's affair. It is
//! handed to the kernel when it is kept, so that it survives a kill, but not synced: after a power cut a reader may
//! be a few events back.

use super::schema::PIECE;
use super::{Store, StoreError, events};
use crate::policy::{Event, EventId, Policy};
use std::sync::Arc;

/// What the keys of their records begin with.
const PREFIX: &str = "reader.";

fn key(name: &str) -> Vec<u8> {
    [PREFIX, name].concat().into_bytes()
}

impl Store {
    /// Where a reader is; none where it has no place yet.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn reader(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let reading = self.inner.shared.read();
        Ok(reading.engine()?.meta.get(key(name))?.map(|place| place.to_vec()))
    }

    /// The names of all readers that have a place.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn readers(&self) -> Result<Vec<String>, StoreError> {
        let reading = self.inner.shared.read();
        let keys = reading.engine()?.meta.scan_prefix(PREFIX).keys();
        keys.map(|key| Ok(String::from_utf8_lossy(&key?[PREFIX.len()..]).into_owned())).collect()
    }

    /// Keeps where a reader is, or forgets it. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub fn keep_reader(&self, name: &str, place: Option<Vec<u8>>) -> Result<(), StoreError> {
        let key = key(name);
        if place.as_ref().is_some_and(|place| place.len() > PIECE) {
            return Err(StoreError::Engine(format!("the place of reader {name} is too long")));
        }
        self.inner.shared.run(move |writer| {
            writer.change(|writer, engine| {
                match place {
                    Some(place) => engine.meta.insert(key, place)?,
                    None => engine.meta.remove(key)?,
                };
                writer.unsynced = true;
                engine.flush()
            })
        })
    }

    /// The first event with an id above `after` that `wanted` tells, of the next `limit`; and the last id looked at,
    /// which is `after` where nothing is behind it. Only what is on disk for good; one event at a time is in memory.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn next_event(
        &self,
        after: EventId,
        limit: usize,
        wanted: &dyn Fn(&Event) -> bool,
    ) -> Result<(Option<Event>, EventId), StoreError> {
        let last = *self.inner.shared.recorded.borrow();
        let reading = self.inner.shared.read();
        let mut reached = after;
        for stored in events::range(&reading.engine()?.events, Some(after), last).take(limit) {
            let event = stored?.event;
            reached = event.id;
            if wanted(&event) {
                return Ok((Some(event), reached));
            }
        }
        Ok((None, reached))
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.inner.shared.policy()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NewEvent, Settings};
    use super::*;
    use crate::policy::What;
    use jiff::Timestamp;

    fn store(directory: &tempfile::TempDir) -> Store {
        let path = directory.path().join("store");
        Store::open(&Settings { path, cache_bytes: 1 << 20, evidence_days: 1, ledger_days: 1 }).unwrap()
    }

    #[test]
    fn a_place_is_kept_over_a_reopening_until_it_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let first = store(&directory);
        assert_eq!(first.reader("crm").unwrap(), None);
        first.keep_reader("crm", Some(b"here".to_vec())).unwrap();
        first.keep_reader("other", Some(b"there".to_vec())).unwrap();
        assert!(first.keep_reader("long", Some(vec![0; PIECE + 1])).is_err());
        first.close().unwrap();
        drop(first);
        let second = store(&directory);
        assert_eq!(second.reader("crm").unwrap().unwrap(), b"here");
        assert_eq!(second.readers().unwrap(), ["crm", "other"]);
        second.keep_reader("crm", None).unwrap();
        assert_eq!(second.readers().unwrap(), ["other"]);
    }

    #[test]
    fn the_next_event_is_the_first_that_is_wanted_and_the_rest_is_passed_over_in_steps() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let at = Timestamp::UNIX_EPOCH;
        let problem = |number: u32| What::Unreadable { problem: number.to_string(), excerpt: String::new() };
        let new = |number| NewEvent { at, address: None, queue_id: None, what: problem(number), content_key: None };
        store.record_blocking((0..10).map(new).collect()).unwrap();
        let wanted = |event: &Event| event.what == problem(7);
        let (none, reached) = store.next_event(EventId(0), 5, &wanted).unwrap();
        assert_eq!(none, None);
        assert_eq!(store.event(reached).unwrap().unwrap().what, problem(4));
        let (found, at_it) = store.next_event(reached, 5, &wanted).unwrap();
        assert_eq!(found.unwrap().id, at_it);
        let (none, end) = store.next_event(at_it, 5, &wanted).unwrap();
        assert_eq!((none, store.next_event(end, 5, &wanted).unwrap().1), (None, end));
    }
}
