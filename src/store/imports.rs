//! Batches: imported whole, taken back whole; and single events undone.

use super::loading::{Load, Loading};
use super::shared::Shared;
use super::undone::Voiding;
use super::{NewEvent, Store, StoreError, events};
use crate::mail::Address;
use crate::policy::event::ImportedEntry;
use crate::policy::{EventId, OperatorList, What};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// At most so many entries make a piece, one event,
const ENTRIES: usize = 512;
/// and about so many octets, unless one entry has more.
const OCTETS: usize = 64 << 10;

/// A batch on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Its id: that of the event that began it.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// The operator's list it went to; none for suppressions.
    pub list: Option<OperatorList>,
    /// Where it came from.
    pub source: String,
    /// Why.
    pub reason: String,
    /// The user id that asked.
    pub uid: u32,
    /// How many entries it brought.
    pub entries: u64,
    /// How many of them were about contacts on record before.
    pub known: u64,
    /// When it was taken back, if it was.
    pub reverted: Option<Timestamp>,
}

/// Why an event or batch was not undone.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// There is none with this id.
    #[error("there is no such event")]
    Unknown,
    /// It was undone before.
    #[error("it was undone before, by event {0}")]
    Already(EventId),
    /// It is of a kind that cannot be.
    #[error("{0}")]
    Never(&'static str),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Records a batch: `begin` is its [`crate::policy::What::Import`], `entries` come in order of subject.
    /// `progress` is told how many are in. Durable at the end, and nothing of it counts if it fails. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when an entry cannot be read, written or made durable.
    pub fn import_batch(
        &self,
        begin: NewEvent,
        entries: &mut dyn Iterator<Item = std::io::Result<ImportedEntry>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Batch, StoreError> {
        let What::Import { list, .. } = begin.what else {
            return Err(StoreError::Engine("an import begins with another event".to_owned()));
        };
        let shared = &self.inner.shared;
        let mut loading = shared.run(move |writer| writer.begin_load(begin))?;
        let batch = loading.batch;
        let loaded = load(shared, &mut loading, list, entries, progress);
        if let Err(error) = loaded.and_then(|()| shared.run(move |writer| writer.finish_load(&loading))) {
            // Where that fails, too, it is done when the store is opened next.
            let _ = give_up(shared, batch);
            return Err(error);
        }
        let missing = || StoreError::Engine("a batch is gone right after it was imported".to_owned());
        self.batch(batch)?.ok_or_else(missing)
    }

    /// Takes a batch back; `revert` is the [`crate::policy::What::Revert`]. `progress` is told how many entries
    /// are cleared away. Returns how many the batch had brought. Blocks.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn revert(&self, revert: NewEvent, progress: &mut dyn FnMut(u64)) -> Result<u64, UndoError> {
        let What::Revert { batch, .. } = revert.what else {
            return Err(UndoError::Never("that is no event that takes a batch back"));
        };
        let shared = &self.inner.shared;
        shared.run(move |writer| match check_revert(&writer.shared, batch) {
            Ok(()) => writer.record_now(revert).map(Ok),
            Err(UndoError::Store(error)) => Err(error),
            Err(refused) => Ok(Err(refused)),
        })??;
        let swept = sweep(shared, batch, progress);
        if swept.is_err() {
            // What is left of it is passed over, but must not be remembered either.
            shared.on_record.forget();
        }
        let swept = swept?;
        Ok(self.batch(batch)?.map_or(swept, |batch| batch.entries))
    }

    /// Undoes one event; `void` is the [`crate::policy::What::Void`]. Blocks.
    ///
    /// # Errors
    /// [`UndoError`].
    pub fn void(&self, mut void: NewEvent) -> Result<EventId, UndoError> {
        let What::Void { target, .. } = void.what else {
            return Err(UndoError::Never("that is no event that undoes another"));
        };
        self.inner.shared.run(move |writer| match check_void(&writer.shared, target) {
            Ok(address) => {
                void.address = address;
                writer.record_now(void).map(Ok)
            }
            Err(UndoError::Store(error)) => Err(error),
            Err(refused) => Ok(Err(refused)),
        })?
    }

    /// Whether [`Store::void`] would undo this event.
    ///
    /// # Errors
    /// [`UndoError`] with why not.
    pub fn may_void(&self, target: EventId) -> Result<(), UndoError> {
        check_void(&self.inner.shared, target).map(drop)
    }

    /// Every batch, oldest first; those under way are not among them.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn batches(&self) -> Result<Vec<Batch>, StoreError> {
        let ids: Vec<EventId> = {
            let reading = self.inner.shared.read();
            Load::all(&reading.engine()?.batches).map(|load| load.map(|(id, _)| id)).collect::<Result<_, _>>()?
        };
        ids.into_iter().filter_map(|id| self.batch(id).transpose()).collect()
    }

    /// The batch with this id; none while it is under way.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn batch(&self, id: EventId) -> Result<Option<Batch>, StoreError> {
        let reading = self.inner.shared.read();
        let engine = reading.engine()?;
        let Some(load) = Load::of(&engine.batches, id)? else { return Ok(None) };
        let voiding = Voiding::of(&engine.voided, id)?;
        let Some(begin) = events::get(&engine.events, id)?.filter(|_| load.whole || voiding.is_some()) else {
            return Ok(None);
        };
        let What::Import { list, source, reason, uid, .. } = begin.event.what else { return Ok(None) };
        let by = voiding.map(|voiding| events::get(&engine.events, voiding.by)).transpose()?.flatten();
        let (entries, known) = (load.entries, load.known);
        let reverted = by.map(|by| by.event.at);
        Ok(Some(Batch { id, at: begin.event.at, list, source, reason, uid, entries, known, reverted }))
    }

    /// The event by which an event, or the batch it came with, was undone.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn undone_by(&self, id: EventId) -> Result<Option<EventId>, StoreError> {
        let reading = self.inner.shared.read();
        let engine = reading.engine()?;
        if let Some(voiding) = Voiding::of(&engine.voided, id)? {
            return Ok(Some(voiding.by));
        }
        match events::get(&engine.events, id)?.map(|stored| stored.event.what) {
            Some(What::Imported { batch, .. }) => Ok(Voiding::of(&engine.voided, batch)?.map(|voiding| voiding.by)),
            _ => Ok(None),
        }
    }
}

/// Writes the entries of an import, cut into pieces. No piece names an address twice: of one event a contact has
/// one fact.
fn load(
    shared: &Shared,
    loading: &mut Loading,
    list: Option<OperatorList>,
    entries: &mut dyn Iterator<Item = std::io::Result<ImportedEntry>>,
    progress: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let mut piece: Vec<ImportedEntry> = Vec::new();
    let mut subjects: BTreeSet<String> = BTreeSet::new();
    let mut octets = 0;
    let mut write = |piece: Vec<ImportedEntry>| {
        // The writer has it while it writes, and gives it back.
        let what = What::Imported { batch: loading.batch, list, entries: piece };
        let mut taken = loading.clone();
        *loading = shared.run(move |writer| writer.load_step(&mut taken, what).map(|()| taken))?;
        progress(loading.load.entries);
        Ok::<(), StoreError>(())
    };
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::Engine(format!("the import could not be read: {error}")))?;
        let subject = match list {
            Some(_) => entry.subject.clone(),
            None => match Address::parse(&entry.subject) {
                Ok(address) => address.as_str().to_owned(),
                Err(error) => return Err(StoreError::Engine(format!("import: {}: {error}", entry.subject))),
            },
        };
        let weight = weight(&entry);
        if piece.len() >= ENTRIES || octets > 0 && octets + weight > OCTETS || subjects.contains(&subject) {
            write(std::mem::take(&mut piece))?;
            subjects.clear();
            octets = 0;
        }
        octets += weight;
        subjects.insert(subject);
        piece.push(entry);
    }
    if !piece.is_empty() {
        write(piece)?;
    }
    Ok(())
}

/// About how many octets an entry takes.
fn weight(entry: &ImportedEntry) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let scope = entry.scope.as_ref().map_or(0, |scope| scope.as_str().len());
    64 + entry.subject.len() + scope + text(&entry.reason) + text(&entry.note)
}

/// Takes back a batch that did not come to its end, and clears away what it brought.
///
/// # Errors
/// [`StoreError`] when that cannot be written; nothing of the batch counts all the same.
pub fn give_up(shared: &Shared, batch: EventId) -> Result<(), StoreError> {
    shared.run(move |writer| {
        let begin = {
            let reading = writer.shared.read();
            let engine = reading.engine()?;
            let known = Voiding::of(&engine.voided, batch)?;
            if known.is_some() { None } else { events::get(&engine.events, batch)? }
        };
        let Some(What::Import { uid, .. }) = begin.map(|begin| begin.event.what) else { return Ok(()) };
        let what = What::Revert { batch, reason: "the import did not come to its end".to_owned(), uid };
        let revert = NewEvent { at: Timestamp::now(), address: None, queue_id: None, what, content_key: None };
        writer.record_now(revert).map(drop)
    })?;
    sweep(shared, batch, &mut |_| {}).map(drop)
}

/// Clears away what a batch brought that does not count. Returns how many entries went.
///
/// # Errors
/// [`StoreError`] when the store cannot be read or written; the rest still does not count.
pub fn sweep(shared: &Shared, batch: EventId, progress: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
    let (mut removed, mut after) = (0, batch);
    loop {
        let (step, next) = shared.run(move |writer| writer.unload_step(batch, after))?;
        removed += step;
        progress(removed);
        match next {
            Some(next) => after = next,
            None => return Ok(removed),
        }
    }
}

fn check_revert(shared: &Shared, batch: EventId) -> Result<(), UndoError> {
    let reading = shared.read();
    let engine = reading.engine()?;
    let begin = events::get(&engine.events, batch)?.ok_or(UndoError::Unknown)?;
    if !matches!(begin.event.what, What::Import { .. }) {
        return Err(UndoError::Never("it is no batch but a single event; void it instead"));
    }
    if let Some(voiding) = Voiding::of(&engine.voided, batch)? {
        return Err(UndoError::Already(voiding.by));
    }
    match Load::of(&engine.batches, batch)? {
        Some(load) if !load.whole => Err(UndoError::Never("its import is not finished yet")),
        Some(_) | None => Ok(()),
    }
}

/// Whether an event can be undone; the contact it is about.
fn check_void(shared: &Shared, target: EventId) -> Result<Option<Address>, UndoError> {
    let reading = shared.read();
    let engine = reading.engine()?;
    let stored = events::get(&engine.events, target)?.ok_or(UndoError::Unknown)?;
    let never = match stored.event.what {
        What::Response { .. }
        | What::Sent { .. }
        | What::Suppress { .. }
        | What::Reactivate { .. }
        | What::Activity { .. }
        | What::Attributes { .. }
        | What::Limit { .. }
        | What::Confirm { .. } => None,
        What::Import { .. } | What::Imported { .. } => Some("it is part of a batch; revert the batch instead"),
        What::Revert { .. } => Some("a batch that was taken back stays so; import it again instead"),
        What::Void { .. } => Some("what was undone stays so; record it again instead"),
        What::ListAdd { .. } => Some("take the entry off the list instead"),
        What::ListRemove { .. } => Some("put the entry on the list instead"),
        What::Erase { .. } => Some("what was erased is gone for good"),
        What::Skip { .. } => Some("a skip tells what was done; it decides nothing"),
        What::Unreadable { .. } => Some("an unreadable report decides nothing"),
    };
    if let Some(never) = never {
        return Err(UndoError::Never(never));
    }
    match Voiding::of(&engine.voided, target)? {
        Some(voiding) => Err(UndoError::Already(voiding.by)),
        None => Ok(stored.event.address),
    }
}
