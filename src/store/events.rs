//! The event log: keys and encoding of tree `events`.
//!
//! A record is an octet of version, an octet that counts its pieces, an octet that tells whether a content
//! key follows, the content key, and the event as JSON; a piece of an import, version 2, as [`packed`] says.
//! Records longer than [`PIECE`] continue under the same id with the piece number behind it.

use super::schema::PIECE;
use super::{StoreError, packed};
use crate::policy::{ContentKey, Event, EventId};
use sled::{IVec, Tree};
use std::borrow::Cow;

const VERSION: u8 = 1;
/// Version of a record that holds a piece of an import.
pub const PACKED: u8 = 2;

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// An event as stored, with what recognises it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event.
    pub event: Event,
    /// Its content key, for reports.
    pub content_key: Option<ContentKey>,
}

impl StoredEvent {
    /// The entries of tree `events` that hold it, in order.
    ///
    /// # Errors
    /// [`StoreError::Engine`] when it is longer than 255 pieces (1 MiB).
    pub fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let packed = packed::encode(&self.event);
        let version = if packed.is_some() { PACKED } else { VERSION };
        let mut record = vec![version, 0, u8::from(self.content_key.is_some())];
        record.extend(self.content_key.iter().flat_map(|key| key.0));
        let event = packed.unwrap_or_else(|| serde_json::to_vec(&self.event));
        record.extend(event.map_err(|error| StoreError::Engine(error.to_string()))?);
        let pieces = u8::try_from(record.len().div_ceil(PIECE))
            .map_err(|_| StoreError::Engine(format!("an event of {} octets is too long", record.len())))?;
        record[1] = pieces;
        let entry = |(number, piece): (usize, &[u8])| (piece_key(self.event.id, number as u8), piece.to_vec());
        Ok(record.chunks(PIECE).enumerate().map(entry).collect())
    }

    /// As [`StoredEvent::decode`], of pieces put together: they must be as many as the first says, and the event
    /// the one its key names.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn decode_whole(id: EventId, record: &[u8]) -> Result<StoredEvent, StoreError> {
        let pieces = record.len().div_ceil(PIECE);
        if record.get(1).is_none_or(|told| usize::from(*told) != pieces) {
            return Err(damaged(id, "it has more or fewer pieces than it says"));
        }
        let stored = StoredEvent::decode(id, record)?;
        if stored.event.id != id {
            return Err(damaged(id, "it stands under the id of another"));
        }
        Ok(stored)
    }

    /// Reads a record, put together of its pieces.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn decode(id: EventId, record: &[u8]) -> Result<StoredEvent, StoreError> {
        let (version, content_key, event) = match record {
            [version @ (VERSION | PACKED), _, 0, event @ ..] => (*version, None, event),
            [version @ (VERSION | PACKED), _, 1, rest @ ..] => {
                let (key, event) = rest.split_first_chunk().ok_or_else(|| damaged(id, "cut off"))?;
                (*version, Some(ContentKey(*key)), event)
            }
            _ => return Err(damaged(id, "unknown version")),
        };
        let event = match version {
            PACKED => packed::decode(event),
            _ => serde_json::from_slice(event).map_err(|error| error.to_string()),
        };
        let event = event.map_err(|problem| damaged(id, &problem))?;
        Ok(StoredEvent { event, content_key })
    }
}

/// The octets of a record as somebody can look for a word in them: what is packed is unpacked.
pub fn readable(id: EventId, record: &[u8]) -> Cow<'_, [u8]> {
    let unpacked = match record.first() {
        Some(&PACKED) => StoredEvent::decode(id, record).ok().and_then(|stored| serde_json::to_vec(&stored.event).ok()),
        _ => None,
    };
    unpacked.map_or(Cow::Borrowed(record), Cow::Owned)
}

fn piece_key(id: EventId, number: u8) -> Vec<u8> {
    let mut key = id.0.to_be_bytes().to_vec();
    key.extend((number > 0).then_some(number));
    key
}

/// That an event cannot be read.
pub fn damaged(id: EventId, problem: &str) -> StoreError {
    StoreError::Damaged { tree: "events", key: id.to_string(), problem: problem.to_owned() }
}

/// The event with this id.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub fn get(events: &Tree, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
    let Some(first) = events.get(id.0.to_be_bytes())? else { return Ok(None) };
    let mut record = first.to_vec();
    for number in 1..record.get(1).copied().unwrap_or(1) {
        let piece = events.get(piece_key(id, number))?.ok_or_else(|| damaged(id, "a piece is missing"))?;
        record.extend_from_slice(&piece);
    }
    StoredEvent::decode(id, &record).map(Some)
}

/// The newest id on record.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read.
pub fn newest(events: &Tree) -> Result<Option<EventId>, StoreError> {
    Ok(events.last()?.and_then(|(key, _)| id_of(&key)))
}

/// The id in a key.
pub fn id_of(key: &[u8]) -> Option<EventId> {
    key.first_chunk().map(|id| EventId(u128::from_be_bytes(*id)))
}

/// Reads events in order of id, from behind `after` up to and with `last`.
pub fn range(events: &Tree, after: Option<EventId>, last: EventId) -> Events {
    let first = after.map_or(0, |after| after.0.saturating_add(1));
    // Pieces of `last` have longer keys, so the end is the id behind it.
    let end = last.0.saturating_add(1);
    Events { entries: events.range(first.min(end).to_be_bytes()..end.to_be_bytes()) }
}

/// See [`range`].
pub struct Events {
    entries: sled::Iter,
}

impl Events {
    fn read(&mut self, first: (IVec, IVec)) -> Result<StoredEvent, StoreError> {
        let (key, value) = first;
        let id = id_of(&key).filter(|_| key.len() == 16).ok_or_else(|| damaged(EventId(0), "a key is no event id"))?;
        let mut record = value.to_vec();
        for number in 1..record.get(1).copied().unwrap_or(1) {
            let (key, piece) = self.entries.next().ok_or_else(|| damaged(id, "a piece is missing"))??;
            if key != piece_key(id, number) {
                return Err(damaged(id, "a piece is missing"));
            }
            record.extend_from_slice(&piece);
        }
        StoredEvent::decode(id, &record)
    }
}

impl Iterator for Events {
    type Item = Result<StoredEvent, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.entries.next()? {
            Ok(first) => Some(self.read(first)),
            Err(error) => Some(Err(error.into())),
        }
    }
}
