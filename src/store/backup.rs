//! A consistent copy while the daemon serves, as one stream ([`super::archive`]).
//!
//! It holds what nothing can make anew: events up to the newest that was on disk when it began, what became of
//! batches and of what was undone, who was erased, the ledger, how
//! many recipients each campaign was sent to, and the keys of `meta`. Contact records, indexes
//! and lists are left to a rebuild ([`super::restore`]). Events are only ever added behind that newest one, so
//! they are read beside the writer, some at a time, and recording goes on between and meanwhile.
//!
//! Two things change what is on record: words that have become too old, of which a copy may have either; and
//! an erasure. No backup that came to its end knows somebody who was erased before: one that finds an erasure at
//! work breaks off, and whoever asked begins anew.

use super::archive::{Broken, Header, MAGIC, Packer, Part, Summary};
use super::events::{self, Entry, StoredEvent};
use super::loading::Load;
use super::schema::{Engine, Meta, SCHEMA};
use super::undone::Voiding;
use super::{Store, StoreError};
use crate::policy::EventId;
use jiff::Timestamp;
use sled::Tree;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Entries, and octets, read at once.
const STEP: usize = 512;
const STEP_OCTETS: usize = 128 << 10;

/// So long is waited for erasures at work before the beginning, looked for so often.
const QUIET_TIME: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError<E> {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody was erased meanwhile, whom it may name.
    #[error("somebody was erased meanwhile, whom the copy may still name; begin anew")]
    Erasure,
    /// Whoever takes it takes no more.
    #[error("nobody takes it")]
    Taker(E),
}

impl<E> BackupError<E> {
    /// As it is said to whoever reads the stream.
    fn broken(&self) -> Broken {
        let problem = match self {
            BackupError::Store(error) => error.to_string(),
            BackupError::Erasure => BackupError::<()>::Erasure.to_string(),
            BackupError::Taker(_) => String::new(),
        };
        Broken { problem, again: matches!(self, BackupError::Erasure) }
    }
}

/// What is fixed at the beginning.
struct Begun {
    last: EventId,
    events: u64,
    meta: Vec<Entry>,
}

/// Entries of a tree, and the key to go on from; none at the end.
struct Step {
    entries: Vec<Entry>,
    next: Option<Vec<u8>>,
}

impl Store {
    /// Writes a backup: `take` is given its octets in order. Every event acknowledged before the call is in it.
    /// Where it breaks off, the stream says why. Blocks, but holds up nobody else.
    ///
    /// # Errors
    /// [`BackupError`]; what was taken until then is no backup.
    pub fn backup<E>(&self, take: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<Summary, BackupError<E>> {
        let mut begun = false;
        let written = self.write_backup(&mut |octets| {
            begun = true;
            take(octets)
        });
        if let Err(error @ (BackupError::Store(_) | BackupError::Erasure)) = &written {
            // A disk that is full is found before the first record.
            let mut octets = if begun { Vec::new() } else { MAGIC.to_vec() };
            octets.extend(Packer::broken(&error.broken()));
            take(&octets).map_err(BackupError::Taker)?;
        }
        written
    }

    fn write_backup<E>(&self, take: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> Result<Summary, BackupError<E>> {
        let shared = &self.inner.shared;
        let since = Instant::now();
        let erasures = loop {
            match shared.erasures.at_rest() {
                Some(erasures) => break erasures,
                None if since.elapsed() > QUIET_TIME => return Err(BackupError::Erasure),
                None => std::thread::sleep(LOOK),
            }
        };
        let Begun { last, events, meta } = shared.run(|writer| {
            // What was written and not made durable is behind nobody's back yet: from here on it is on disk. A store
            // with nothing of that kind can be copied though its own disk is full.
            if writer.unsynced {
                writer.settle()?;
            }
            let reading = writer.shared.read();
            let engine = reading.engine()?;
            Ok(Begun {
                last: writer.newest,
                events: writer.shared.events.load(Ordering::Relaxed),
                meta: meta(&engine.meta)?,
            })
        })?;
        let mut packer = Packer::default();
        let header = Header {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: Timestamp::now(),
            last: (last.0 > 0).then_some(last),
            events,
        };
        let mut octets = packer.begin(&header);
        meta.iter().for_each(|(key, value)| packer.entry(&mut octets, Part::Meta, key, value, false));
        let mut hand_on = |octets: &mut Vec<u8>| match shared.erasures.begun() == erasures {
            true => {
                let taken = take(octets).map_err(BackupError::Taker);
                octets.clear();
                taken
            }
            false => Err(BackupError::Erasure),
        };
        for part in [Part::Events, Part::Erased, Part::Batches, Part::Voided, Part::Ledger, Part::Sent] {
            let mut from = Some(Vec::new());
            while let Some(first) = from {
                let step = self.backup_step(part, first, last)?;
                for (key, value) in &step.entries {
                    let event = part == Part::Events && key.len() == 16;
                    packer.entry(&mut octets, part, key, value, event);
                }
                hand_on(&mut octets)?;
                from = step.next;
            }
        }
        let (end, summary) = packer.end();
        octets.extend(end);
        hand_on(&mut octets)?;
        Ok(summary)
    }

    fn backup_step(&self, part: Part, from: Vec<u8>, last: EventId) -> Result<Step, StoreError> {
        let shared = &self.inner.shared;
        match step(shared.read().engine()?, part, from.clone(), last) {
            // Its words may have gone while it was read; where the writer waits, nothing changes.
            Err(StoreError::Damaged { .. }) => {
                shared.run(move |writer| step(writer.shared.read().engine()?, part, from, last))
            }
            read => read,
        }
    }
}

/// What of `meta` is no matter of these files.
fn meta(meta: &Tree) -> Result<Vec<Entry>, StoreError> {
    let mut entries = Vec::new();
    for record in [Meta::Schema, Meta::Host, Meta::Counters, Meta::Expired, Meta::AddressKey, Meta::CountedFrom] {
        if let Some(value) = meta.get(record.key())? {
            entries.push((record.key().to_vec(), value.to_vec()));
        }
    }
    Ok(entries)
}

fn step(engine: &Engine, part: Part, from: Vec<u8>, last: EventId) -> Result<Step, StoreError> {
    match part {
        Part::Events => some_events(&engine.events, from, last),
        Part::Erased => some(&engine.erased, from, |_, value| Ok(Some(value.to_vec()))),
        Part::Ledger => some(&engine.ledger, from, |_, value| Ok(Some(value.to_vec()))),
        Part::Sent => some(&engine.sent, from, |_, value| Ok(Some(value.to_vec()))),
        Part::Batches => some(&engine.batches, from, |key, value| Load::until(key, value, last)),
        Part::Voided => some(&engine.voided, from, |key, value| {
            Ok(Voiding::decode(key, value)?.1.by.le(&last).then(|| value.to_vec()))
        }),
        Part::Meta => Ok(Step { entries: Vec::new(), next: None }),
    }
}

/// Some entries of a tree, each as `keep` would have it.
fn some(
    tree: &Tree,
    from: Vec<u8>,
    mut keep: impl FnMut(&[u8], &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<Step, StoreError> {
    let mut step = Step { entries: Vec::new(), next: None };
    for (count, entry) in tree.range(from..).enumerate() {
        let (key, value) = entry?;
        if count >= STEP {
            step.next = Some(key.to_vec());
            break;
        }
        step.entries.extend(keep(&key, &value)?.map(|value| (key.to_vec(), value)));
    }
    Ok(step)
}

/// Some events up to `last`, whole; each of them can be read.
fn some_events(events: &Tree, from: Vec<u8>, last: EventId) -> Result<Step, StoreError> {
    let mut step = Step { entries: Vec::new(), next: None };
    let mut open: Option<(EventId, Vec<u8>)> = None;
    let mut octets = 0;
    let close = |open: Option<(EventId, Vec<u8>)>| match open {
        Some((id, record)) => StoredEvent::decode_whole(id, &record).map(drop),
        None => Ok(()),
    };
    for entry in events.range(from..) {
        let (key, value) = entry?;
        let id = events::id_of(&key).ok_or_else(|| events::damaged(EventId(0), "a key is no event id"))?;
        if open.as_ref().is_none_or(|(open, _)| *open != id) {
            close(open.take())?;
            if id > last {
                return Ok(step);
            }
            if step.entries.len() >= STEP || octets >= STEP_OCTETS {
                step.next = Some(key.to_vec());
                return Ok(step);
            }
            open = Some((id, Vec::new()));
        }
        if let Some((_, record)) = &mut open {
            record.extend_from_slice(&value);
        }
        octets += value.len();
        step.entries.push((key.to_vec(), value.to_vec()));
    }
    close(open)?;
    Ok(step)
}
