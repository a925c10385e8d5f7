//! The operator's lists: tree `lists.N`, and what of it is kept in memory for screening.
//!
//! A key is the entry and the event that put it there ([`super::list_key`]), so that each import can be taken
//! back without the others; the value is the time since when, and the batch where there is one.

use super::events::StoredEvent;
use super::fact::{Reader, put_time};
use super::list_key::{self, ListKey, parse};
use super::listed::SALTS;
use super::shared::Shared;
use super::{NewEvent, Page, Store, StoreError};
use crate::mail::Address;
use crate::policy::{Event, EventId, OperatorList, What};
use jiff::Timestamp;
use sled::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// One entry on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// The entry: an address, a domain (`.example.com` stands for its subdomains), a hash.
    pub entry: String,
    /// Since when.
    pub since: Timestamp,
    /// The event that put it there.
    pub event: EventId,
    /// The batch it came with.
    pub batch: Option<EventId>,
}

impl Store {
    /// The first of the operator's lists that the address is on: the blocklist, then the Robinson list. From
    /// memory.
    pub fn listed(&self, address: &Address) -> Option<OperatorList> {
        let shared = &self.inner.shared;
        if let Some(found) = shared.listed.find_if_ready(address) {
            return found;
        }
        let reading = shared.read();
        let undone = shared.undone.now();
        let found = |subject: &[u8], _, value: &[u8]| match counts(value, &undone) {
            true => ControlFlow::Break(list_key::list_of(subject)),
            false => ControlFlow::Continue(()),
        };
        match reading.engine().and_then(|engine| shared.listed.find_in_tree(&engine.lists, address, found)) {
            Ok(found) => found,
            Err(_) => shared.listed.find(address),
        }
    }

    /// The entries of a list, in order, behind `cursor`, at most `limit`: addresses before domains before hashes.
    /// An entry that several events put there is told once, with the first of them.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn list_entries(
        &self,
        list: OperatorList,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Page<ListedEntry>, StoreError> {
        let range = list_key::range(list);
        let first = match cursor {
            None => range.start.to_vec(),
            Some(cursor) => parse(list, cursor)
                .map_err(|problem| StoreError::Engine(format!("the cursor is no entry: {problem}")))?
                .behind(),
        };
        let mut page = Page { entries: Vec::new(), next: None };
        let mut last = Vec::new();
        let undone = self.inner.shared.undone.now();
        for entry in self.inner.shared.read().engine()?.lists.range(first..range.end.to_vec()) {
            let (key, value) = entry?;
            let subject = list_key::subject_in(&key);
            if subject == last || !counts(&value, &undone) {
                continue;
            }
            if page.entries.len() >= limit {
                page.next = page.entries.last().map(|entry: &ListedEntry| entry.entry.clone());
                break;
            }
            last = subject.to_vec();
            page.entries.push(read(&key, &value)?);
        }
        Ok(page)
    }

    /// The entries by which an address is on the lists: itself, its domain, its hashes.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn listed_by(&self, address: &Address) -> Result<Vec<(OperatorList, ListedEntry)>, StoreError> {
        let shared = &self.inner.shared;
        let mut all = Vec::new();
        let undone = shared.undone.now();
        let found = |subject: &[u8], key: Vec<u8>, value: &[u8]| match read(&key, value) {
            Ok(_) if !counts(value, &undone) => ControlFlow::Continue(()),
            Ok(entry) => {
                all.push((list_key::list_of(subject), entry));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        };
        match shared.listed.find_in_tree(&shared.read().engine()?.lists, address, found)? {
            Some(error) => Err(error),
            None => Ok(all),
        }
    }
}

/// Checks what is to be put on a list, before any of it is written.
///
/// # Errors
/// [`StoreError::Engine`] with an entry that cannot stand there, or when there would be too many salts.
pub fn check(shared: &Shared, events: &[NewEvent]) -> Result<(), StoreError> {
    let mut salted = Vec::new();
    let mut one = |list: OperatorList, entry: &str| -> Result<(), StoreError> {
        // Of an address that was erased nothing is left.
        if !entry.is_empty() {
            let key = parse(list, entry)
                .map_err(|problem| StoreError::Engine(format!("not for the {}: {problem}", list.as_str())))?;
            salted.extend(list_key::salt_in(&key.0).map(<[u8]>::to_vec));
        }
        Ok(())
    };
    for event in events {
        match &event.what {
            What::ListAdd { list, entry, .. } => one(*list, entry)?,
            What::Imported { list: Some(list), entries, .. } => {
                entries.iter().try_for_each(|entry| one(*list, &entry.subject))?;
            }
            _ => {}
        }
    }
    if !salted.is_empty() && shared.listed.salts_with(salted.iter().map(Vec::as_slice)) > SALTS {
        let problem = format!("the hashes on the robinson list may have {SALTS} different salts, and no more");
        return Err(StoreError::Engine(problem));
    }
    Ok(())
}

/// Changes to tree `lists.N` that follow from events.
pub struct ListChanges<'a> {
    lists: &'a Tree,
    /// New value of every key that changes; none where it goes.
    pub entries: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> ListChanges<'a> {
    /// No changes yet to this tree.
    pub fn new(lists: &'a Tree) -> ListChanges<'a> {
        ListChanges { lists, entries: BTreeMap::new() }
    }

    /// Adds an event, if it is about the lists.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn add(&mut self, stored: &StoredEvent) -> Result<(), StoreError> {
        self.add_block(&stored.event)
    }

    /// As [`ListChanges::add`]. What cannot stand on the list is left out.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn add_block(&mut self, event: &Event) -> Result<(), StoreError> {
        if let What::ListRemove { list, entry, .. } = &event.what {
            return self.take_off(*list, entry, event.id);
        }
        for (key, since, batch) in put_there_by(event) {
            let mut value = Vec::with_capacity(28);
            put_time(&mut value, since);
            value.extend(batch.iter().flat_map(|batch| batch.0.to_be_bytes()));
            self.entries.insert(key.under(event.id), Some(value));
        }
        Ok(())
    }

    /// Takes back what an event put there.
    pub fn remove_block(&mut self, event: &Event) {
        let keys = put_there_by(event).into_iter().map(|(key, ..)| (key.under(event.id), None));
        self.entries.extend(keys);
    }

    /// Writes them, by themselves.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn apply(self) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in self.entries {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        Ok(self.lists.apply_batch(batch)?)
    }

    fn take_off(&mut self, list: OperatorList, entry: &str, event: EventId) -> Result<(), StoreError> {
        let Ok(entry) = parse(list, entry) else { return Ok(()) };
        let (first, end) = (entry.prefix(), entry.under(event));
        for key in self.lists.range(first.clone()..end.clone()).keys() {
            self.entries.insert(key?.to_vec(), None);
        }
        self.entries.range_mut(first..end).for_each(|(_, value)| *value = None);
        Ok(())
    }
}

/// What an event puts on a list: since when, and with which batch.
fn put_there_by(event: &Event) -> Vec<(ListKey, Timestamp, Option<EventId>)> {
    match &event.what {
        What::ListAdd { list, entry, .. } => parse(*list, entry).map(|key| (key, event.at, None)).into_iter().collect(),
        What::Imported { batch, list: Some(list), entries } => {
            let key = |entry: &crate::policy::event::ImportedEntry| {
                Some((parse(*list, &entry.subject).ok()?, entry.since.unwrap_or(event.at), Some(*batch)))
            };
            entries.iter().filter_map(key).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an entry of tree `lists.N` counts: not while its batch is being imported, nor once that was taken back.
pub fn counts(value: &[u8], undone: &BTreeSet<EventId>) -> bool {
    let batch = value.get(12..).and_then(|batch| batch.try_into().ok()).map(u128::from_be_bytes);
    batch.is_none_or(|batch| !undone.contains(&EventId(batch)))
}

fn read(key: &[u8], value: &[u8]) -> Result<ListedEntry, StoreError> {
    let mut reader = Reader(value);
    let entry = list_key::text(list_key::subject_in(key)).zip(reader.time()).map(|(entry, since)| ListedEntry {
        entry,
        since,
        event: list_key::event_in(key),
        batch: reader.octets().map(|batch| EventId(u128::from_be_bytes(batch))),
    });
    entry.ok_or_else(|| StoreError::Damaged {
        tree: "lists",
        key: String::from_utf8_lossy(list_key::subject_in(key)).into_owned(),
        problem: "cut off".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::event::ImportedEntry;

    #[test]
    fn what_a_batch_put_there_goes_with_it_and_what_others_put_there_stays() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let event =
            |id, what| Event { id: EventId(id), at: Timestamp::UNIX_EPOCH, address: None, queue_id: None, what };
        let imported = |id, subjects: &[&str]| {
            let entry = |subject: &&str| ImportedEntry {
                subject: (*subject).to_owned(),
                scope: None,
                category: None,
                bounce_type: None,
                code: None,
                reason: None,
                since: None,
                note: None,
            };
            let entries = subjects.iter().map(entry).collect();
            event(id, What::Imported { batch: EventId(1), list: Some(OperatorList::Robinson), entries })
        };
        let by_hand = |id, entry: &str| {
            let (list, entry, reason) = (OperatorList::Robinson, entry.to_owned(), String::new());
            event(id, What::ListAdd { list, entry, reason, uid: 0 })
        };
        let one = imported(2, &["a@example.org", "no address", "b@example.org"]);
        let mut changes = ListChanges::new(&db);
        changes.add_block(&one).unwrap();
        changes.add_block(&by_hand(3, "b@example.org")).unwrap();
        changes.apply().unwrap();
        assert_eq!(db.len(), 3);
        let mut changes = ListChanges::new(&db);
        changes.remove_block(&one);
        changes.apply().unwrap();
        let left: Vec<_> = db.iter().map(|entry| entry.unwrap()).collect();
        assert_eq!(left.len(), 1);
        let left = read(&left[0].0, &left[0].1).unwrap();
        assert_eq!((left.entry.as_str(), left.event, left.batch), ("b@example.org", EventId(3), None));
        let mut changes = ListChanges::new(&db);
        changes.remove_block(&by_hand(3, "b@example.org"));
        changes.add_block(&by_hand(4, "c@example.org")).unwrap();
        changes.apply().unwrap();
        assert_eq!(db.len(), 1);
    }
}
