//! The writer's steps of an import and of taking it back.
//!
//! A batch is written piece by piece, not in one transaction, which could not be of any size. Tree `batches`
//! tells that it is unfinished before the first piece is written, and that it is whole once all of them are on
//! disk. One that stayed unfinished is taken back when the store is opened.

use super::batch::ContactChanges;
use super::contacts::{self, InOrder};
use super::events::{self, StoredEvent};
use super::lists::ListChanges;
use super::schema::{Engine, Meta};
use super::shared::Shared;
use super::undone::Voiding;
use super::writer::Writer;
use super::{NewEvent, Recorded, StoreError, erased, listed};
use crate::mail::Address;
use crate::policy::{Event, EventId, ImportedEntry, What};
use jiff::Timestamp;
use sled::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// So many pieces are written before they are handed to the kernel: sled's memory grows until then.
const FLUSHED_AT_ONCE: u64 = 8;

/// So many events are looked through for a piece of a batch in one step.
const LOOKED_THROUGH: usize = 32;

/// An import of so many entries is worth opening sled again: only then it writes the snapshot that lets the next
/// start pass over the log, also after a kill.
const WORTH_A_SNAPSHOT: u64 = 500_000;

/// How far a batch has come: an entry of tree `batches`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// It is whole, and counts.
    pub whole: bool,
    /// Entries brought.
    pub entries: u64,
    /// So many of them about contacts that were on record before.
    pub known: u64,
    /// Its last piece.
    pub last: Option<EventId>,
}

impl Load {
    fn encode(self) -> Vec<u8> {
        let mut value = vec![1, u8::from(self.whole)];
        value.extend(self.entries.to_be_bytes());
        value.extend(self.known.to_be_bytes());
        value.extend(self.last.map_or(0, |last| last.0).to_be_bytes());
        value
    }

    /// Reads an entry: the batch, and how far it has come.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn decode(key: &[u8], value: &[u8]) -> Result<(EventId, Load), StoreError> {
        let read = || {
            let [1, whole @ (0 | 1), rest @ ..] = value else { return None };
            let (entries, rest) = rest.split_first_chunk()?;
            let (known, rest) = rest.split_first_chunk()?;
            let last = u128::from_be_bytes(rest.try_into().ok()?);
            let load = Load {
                whole: *whole == 1,
                entries: u64::from_be_bytes(*entries),
                known: u64::from_be_bytes(*known),
                last: (last > 0).then_some(EventId(last)),
            };
            Some((EventId(u128::from_be_bytes(key.try_into().ok()?)), load))
        };
        read().ok_or_else(|| StoreError::Damaged {
            tree: "batches",
            key: key.iter().map(|octet| format!("{octet:02x}")).collect(),
            problem: "cut off, or of an unknown version".to_owned(),
        })
    }

    /// The value of an entry as far as events up to `last` go: a batch with pieces behind it is unfinished, one that
    /// began behind it is not there.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn until(key: &[u8], value: &[u8], last: EventId) -> Result<Option<Vec<u8>>, StoreError> {
        let (batch, load) = Load::decode(key, value)?;
        let whole = load.last.is_none_or(|piece| piece <= last);
        let known = if whole { value.to_vec() } else { Load::default().encode() };
        Ok((batch <= last).then_some(known))
    }

    /// How far this batch has come; none where there is no such batch.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn of(batches: &Tree, batch: EventId) -> Result<Option<Load>, StoreError> {
        let key = batch.0.to_be_bytes();
        batches.get(key)?.map(|value| Load::decode(&key, &value).map(|(_, load)| load)).transpose()
    }

    /// Every batch, oldest first.
    pub fn all(batches: &Tree) -> impl Iterator<Item = Result<(EventId, Load), StoreError>> {
        batches.iter().map(|entry| {
            let (key, value) = entry?;
            Load::decode(&key, &value)
        })
    }
}

/// An import under way.
#[derive(Clone)]
pub struct Loading {
    /// Its id.
    pub batch: EventId,
    /// How far it has come.
    pub load: Load,
    /// It is for one of the operator's lists.
    list: bool,
    at: Timestamp,
    opened: u64,
    pieces: u64,
}

impl Writer {
    /// Begins an import, whose [`What::Import`] this is: nothing of it counts before [`Writer::finish_load`].
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written.
    pub fn begin_load(&mut self, begin: NewEvent) -> Result<Loading, StoreError> {
        let at = Timestamp::from_millisecond(begin.at.as_millisecond()).unwrap_or(begin.at);
        let list = matches!(begin.what, What::Import { list: Some(_), .. });
        let prepared = self.prepare(vec![NewEvent { at, content_key: None, ..begin }])?;
        let answers = self.write(&[prepared], false)?;
        let Some(Recorded::New(batch)) = answers.into_iter().flatten().next() else {
            return Err(StoreError::Engine("an import was recorded before it began".to_owned()));
        };
        let shared = self.shared.clone();
        shared.undone.insert(batch);
        self.change(|writer, engine| {
            engine.batches.insert(batch.0.to_be_bytes(), Load::default().encode())?;
            writer.unsynced = true;
            Ok(())
        })?;
        self.settle()?;
        Ok(Loading { batch, load: Load::default(), list, at, opened: self.opened, pieces: 0 })
    }

    /// Writes a piece of an import; `what` is its [`What::Imported`].
    ///
    /// # Errors
    /// [`StoreError`] when it could not be written; the import is to be given up.
    pub fn load_step(&mut self, loading: &mut Loading, what: What) -> Result<(), StoreError> {
        self.mend()?;
        let what = admitted(&self.shared, loading.at, what)?;
        if loading.opened != self.opened {
            // What was written and not flushed is gone with the sled of then.
            return Err(StoreError::Engine("the import was given up after trouble with the disk".to_owned()));
        }
        let entries = if let What::Imported { entries, .. } = &what { entries.len() as u64 } else { 0 };
        let id = self.next_id();
        let event = Event { id, at: loading.at, address: None, queue_id: None, what };
        let stored = StoredEvent { event, content_key: None };
        let pieces = stored.entries()?;
        self.change(|writer, engine| {
            let shared = &writer.shared;
            let mut changes = ContactChanges::new(engine, &engine.contacts, &engine.by_campaign, &shared.on_record);
            changes.add(&stored)?;
            let mut lists = ListChanges::new(&engine.lists);
            lists.add(&stored)?;
            let events = shared.events.load(Ordering::Relaxed) + 1;
            let contacts = shared.contacts.load(Ordering::Relaxed) + changes.new_contacts;
            let (mut event, mut records) = (sled::Batch::default(), sled::Batch::default());
            pieces.into_iter().for_each(|(key, value)| event.insert(key, value));
            let brought = std::mem::take(&mut changes.entries);
            brought.into_iter().for_each(|(key, value)| match value {
                Some(value) => records.insert(key, value),
                None => records.remove(key),
            });
            writer.unsynced = true;
            engine.events.apply_batch(event)?;
            engine.contacts.apply_batch(records)?;
            // In memory once the batch counts.
            lists.apply()?;
            engine.meta.insert(Meta::Counters.key(), writer.counters(events, contacts))?;
            loading.load.entries += entries;
            if !changes.touched.is_empty() {
                loading.load.known += entries - changes.new_contacts.min(entries);
            }
            loading.load.last = Some(id);
            loading.pieces += 1;
            if loading.pieces.is_multiple_of(FLUSHED_AT_ONCE) {
                engine.flush()?;
            }
            changes.touched.iter().for_each(|&(contact, may_suppress)| shared.on_record.touch(contact, may_suppress));
            shared.events.store(events, Ordering::Relaxed);
            shared.contacts.store(contacts, Ordering::Relaxed);
            writer.newest = id;
            Ok(())
        })
    }

    /// The import is whole: from now on it counts.
    ///
    /// # Errors
    /// [`StoreError`] when it could not be made durable; then nothing of it counts.
    pub fn finish_load(&mut self, loading: &Loading) -> Result<(), StoreError> {
        self.mend()?;
        if loading.opened != self.opened {
            return Err(StoreError::Engine("the import was given up after trouble with the disk".to_owned()));
        }
        // First what it brought, then that it is whole: the order in which sled writes does not bind the disk.
        self.settle()?;
        let load = Load { whole: true, ..loading.load };
        self.change(|writer, engine| {
            engine.batches.insert(loading.batch.0.to_be_bytes(), load.encode())?;
            engine.flush()?;
            engine.sync(&writer.sync)
        })?;
        self.shared.undone.remove(loading.batch);
        if loading.list {
            listed::load(&self.shared)?;
        }
        if load.entries >= WORTH_A_SNAPSHOT && self.rebuild.is_none() {
            // It counts already; where sled cannot be opened now, that is tried again before the next write.
            let _ = self.reopen();
        }
        if load.entries.saturating_mul(16) > self.shared.on_record.len() {
            self.shared.background.scan();
        }
        Ok(())
    }

    /// Which batches do not count.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn undone(engine: &Engine) -> Result<BTreeSet<EventId>, StoreError> {
        let mut undone = BTreeSet::new();
        for load in Load::all(&engine.batches) {
            let (batch, load) = load?;
            if !load.whole && Voiding::of(&engine.voided, batch)?.is_none_or(|voiding| !voiding.swept) {
                undone.insert(batch);
            }
        }
        for voiding in Voiding::all(&engine.voided) {
            let (batch, voiding) = voiding?;
            if voiding.batch && !voiding.swept {
                undone.insert(batch);
            }
        }
        Ok(undone)
    }

    /// Clears away the entries of one piece of a batch that does not count, the first behind `after`. Returns how
    /// many went and where to go on; the batch is done with when there is nowhere.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written; the rest still does not count.
    pub fn unload_step(&mut self, batch: EventId, after: EventId) -> Result<(u64, Option<EventId>), StoreError> {
        let step = self.change(|writer, engine| {
            let last = Load::of(&engine.batches, batch)?.and_then(|load| load.last.filter(|_| load.whole));
            let last = last.unwrap_or(EventId(u128::MAX - 1));
            let mut reached = None;
            for stored in events::range(&engine.events, Some(after), last).take(LOOKED_THROUGH) {
                let event = stored?.event;
                reached = Some(event.id);
                if let What::Imported { batch: of, entries, list } = &event.what
                    && *of == batch
                {
                    let removed = match list {
                        None => writer.unload(engine, event.id, entries)?,
                        Some(_) => writer.unload_list(engine, &event)?,
                    };
                    return Ok((removed, reached));
                }
            }
            Ok((0, reached))
        })?;
        if step.1.is_some() {
            return Ok(step);
        }
        self.settle()?;
        self.change(|_, engine| {
            if let Some(voiding) = Voiding::of(&engine.voided, batch)? {
                let swept = Voiding { swept: true, ..voiding };
                engine.voided.insert(batch.0.to_be_bytes(), swept.encode())?;
            }
            Ok(())
        })?;
        self.settle()?;
        self.shared.undone.remove(batch);
        Ok(step)
    }

    fn unload_list(&mut self, engine: &Engine, piece: &Event) -> Result<u64, StoreError> {
        let trees = [Some(&engine.lists), self.rebuild.as_ref().map(|rebuild| &rebuild.lists)];
        let mut removed = BTreeMap::new();
        for tree in trees.into_iter().flatten() {
            let mut changes = ListChanges::new(tree);
            changes.remove_block(piece);
            removed = changes.entries.clone();
            changes.apply()?;
        }
        self.shared.listed.note(&engine.lists, &removed)?;
        self.unsynced = true;
        Ok(removed.len() as u64)
    }

    fn unload(&mut self, engine: &Engine, piece: EventId, entries: &[ImportedEntry]) -> Result<u64, StoreError> {
        let addresses: BTreeSet<Address> =
            entries.iter().filter_map(|entry| Address::parse(&entry.subject).ok()).collect();
        let mut trees = vec![(engine.contacts.clone(), None)];
        if let Some(rebuild) = &mut self.rebuild {
            trees.push((rebuild.contacts.clone(), Some(&mut rebuild.made)));
        }
        let shared = &self.shared;
        let mut removed = 0;
        for (tree, made) in trees {
            let mut batch = sled::Batch::default();
            let mut gone = Vec::new();
            for address in &addresses {
                let key = contacts::event_key(Some(address), piece);
                if tree.contains_key(&key)? {
                    batch.remove(key);
                    gone.push(contacts::prefix(Some(address)));
                }
            }
            tree.apply_batch(batch)?;
            gone.sort();
            let mut left = InOrder::new(&tree);
            let mut without = 0;
            for prefix in &gone {
                without += u64::from(!left.has(prefix)?);
            }
            match made {
                Some(made) => *made = made.saturating_sub(without),
                None => {
                    removed = gone.len() as u64;
                    let contacts = shared.contacts.load(Ordering::Relaxed).saturating_sub(without);
                    shared.contacts.store(contacts, Ordering::Relaxed);
                }
            }
        }
        for address in &addresses {
            shared.on_record.touch(shared.on_record.fingerprint(address.as_str()), false);
        }
        let (events, contacts) = (shared.events.load(Ordering::Relaxed), shared.contacts.load(Ordering::Relaxed));
        engine.meta.insert(Meta::Counters.key(), self.counters(events, contacts))?;
        self.unsynced = true;
        Ok(removed)
    }
}

/// What of a piece may be recorded: nothing about somebody who was erased.
fn admitted(shared: &Shared, at: Timestamp, what: What) -> Result<What, StoreError> {
    let event = NewEvent { at, address: None, queue_id: None, what, content_key: None };
    let event = erased::admit(shared, vec![event])?.pop();
    event.map(|event| event.what).ok_or_else(|| StoreError::Engine("a piece of an import is gone".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_batch_came_is_read_as_it_was_written_and_cut_short_it_is_damage() {
        let key = EventId(5).0.to_be_bytes();
        for load in [Load::default(), Load { whole: true, entries: 7, known: 3, last: Some(EventId(u128::MAX / 5)) }] {
            let value = load.encode();
            assert_eq!(Load::decode(&key, &value).unwrap(), (EventId(5), load));
            assert!((0..value.len()).all(|end| Load::decode(&key, &value[..end]).is_err()));
        }
    }
}
