//! Batches whose entries do not count: those that are being imported, and those taken back whose entries have
//! not all been cleared away yet. Kept in memory; nearly always empty.

use super::StoreError;
use crate::policy::EventId;
use sled::Tree;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// The batches.
#[derive(Default)]
pub struct Undone(RwLock<Arc<BTreeSet<EventId>>>);

impl Undone {
    /// As it is now, for one read.
    pub fn now(&self) -> Arc<BTreeSet<EventId>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the place of what was in it.
    pub fn replace(&self, by: BTreeSet<EventId>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(by);
    }

    /// A batch does not count from now on.
    pub fn insert(&self, batch: EventId) {
        Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)).insert(batch);
    }

    /// A batch counts, or nothing is left of it.
    pub fn remove(&self, batch: EventId) {
        Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)).remove(&batch);
    }
}

/// How an event does not count any more: an entry of tree `voided`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voiding {
    /// The event that undid it.
    pub by: EventId,
    /// It is a batch, taken back whole.
    pub batch: bool,
    /// Nothing of the batch is left in the contact records.
    pub swept: bool,
}

impl Voiding {
    /// The value of an entry.
    pub fn encode(self) -> Vec<u8> {
        let mut value = vec![1, u8::from(self.batch) | u8::from(self.swept) << 1];
        value.extend(self.by.0.to_be_bytes());
        value
    }

    /// Reads an entry: what was undone, and how.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn decode(key: &[u8], value: &[u8]) -> Result<(EventId, Voiding), StoreError> {
        let read = || {
            let [1, flags, id @ ..] = value else { return None };
            let by = EventId(u128::from_be_bytes(id.try_into().ok()?));
            let target = EventId(u128::from_be_bytes(key.try_into().ok()?));
            (*flags < 4).then_some((target, Voiding { by, batch: flags & 1 != 0, swept: flags & 2 != 0 }))
        };
        read().ok_or_else(|| StoreError::Damaged {
            tree: "voided",
            key: key.iter().map(|octet| format!("{octet:02x}")).collect(),
            problem: "cut off, or of an unknown version".to_owned(),
        })
    }

    /// How this event or batch was undone, if it was.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn of(voided: &Tree, target: EventId) -> Result<Option<Voiding>, StoreError> {
        let key = target.0.to_be_bytes();
        voided.get(key)?.map(|value| Voiding::decode(&key, &value).map(|(_, voiding)| voiding)).transpose()
    }

    /// All of them, by what they undid.
    pub fn all(voided: &Tree) -> impl Iterator<Item = Result<(EventId, Voiding), StoreError>> {
        voided.iter().map(|entry| {
            let (key, value) = entry?;
            Voiding::decode(&key, &value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voiding_is_read_as_it_was_written_and_cut_short_it_is_damage() {
        let target = EventId(5).0.to_be_bytes();
        for (batch, swept) in [(false, false), (true, false), (true, true)] {
            let voiding = Voiding { by: EventId(u128::MAX / 3), batch, swept };
            let value = voiding.encode();
            assert_eq!(Voiding::decode(&target, &value).unwrap(), (EventId(5), voiding));
            assert!((0..value.len()).all(|end| Voiding::decode(&target, &value[..end]).is_err()));
        }
    }
}
