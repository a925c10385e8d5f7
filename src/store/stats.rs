//! Figures of a store: what takes how much of it. Read a few entries at a time, so that nobody waits.

use super::schema::{Engine, Lock};
use super::verify::open;
use super::{Settings, Store, StoreError, events};
use crate::policy::EventId;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries read at once.
const STEP: usize = 4096;

/// What one tree holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TreeStats {
    /// Its name.
    pub tree: String,
    /// Entries.
    pub entries: u64,
    /// Octets of their keys and values; on disk it may be more, or less.
    pub octets: u64,
}

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// Version of what is on disk.
    pub schema: u32,
    /// How often contact records were made anew, and one.
    pub generation: u32,
    /// Octets on disk.
    pub disk_bytes: u64,
    /// Events.
    pub events: u64,
    /// The oldest event.
    pub oldest: Option<EventId>,
    /// When it was recorded.
    pub oldest_at: Option<Timestamp>,
    /// The newest event.
    pub newest: Option<EventId>,
    /// When it was recorded.
    pub newest_at: Option<Timestamp>,
    /// Contacts with a record.
    pub contacts: u64,
    /// Addresses that were erased and stay blocked.
    pub erased: u64,
    /// Days that the ledger has sends of.
    pub ledger_days: u64,
    /// Each tree, by name.
    pub trees: Vec<TreeStats>,
}

impl Store {
    /// Figures of the store, while it serves. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn stats(&self) -> Result<Stats, StoreError> {
        let shared = &self.inner.shared;
        gather(&mut |read| read(shared.read().engine()?))
    }
}

/// Figures of a store that no daemon serves.
///
/// # Errors
/// [`StoreError`] when it cannot be opened or read.
pub fn of(settings: &Settings) -> Result<Stats, StoreError> {
    let (engine, _lock): (Engine, Lock) = open(settings)?;
    gather(&mut |read| read(&engine))
}

/// One look at the trees.
type Look<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&Engine) -> Result<(), StoreError>) -> Result<(), StoreError>;

fn gather(look: Look<'_>) -> Result<Stats, StoreError> {
    let mut stats = Stats { schema: super::schema::SCHEMA, ..Stats::default() };
    let mut names = Vec::new();
    look(&mut |engine| {
        (stats.generation, stats.disk_bytes) = (engine.generation, engine.disk_bytes());
        let first = engine.events.first()?.and_then(|(key, _)| events::id_of(&key));
        (stats.oldest, stats.newest) = (first, events::newest(&engine.events)?);
        stats.ledger_days = super::ledger::days(&engine.ledger)?.len() as u64;
        names = engine.trees_in_use()?.iter().map(|tree| tree.name().to_vec()).collect();
        Ok(())
    })?;
    let at = |id: EventId| Timestamp::from_millisecond((id.0 >> 80) as i64).ok();
    (stats.oldest_at, stats.newest_at) = (stats.oldest.and_then(at), stats.newest.and_then(at));
    names.sort();
    for name in names {
        let tree = String::from_utf8_lossy(&name).into_owned();
        let mut one = TreeStats { tree, ..TreeStats::default() };
        let mut from = Some(Vec::new());
        let mut contact = Vec::new();
        while let Some(first) = from.take() {
            look(&mut |engine| {
                let open = engine.trees_in_use()?.into_iter().find(|open| open.name() == name);
                // One of the generation before: a rebuild has come to its end meanwhile.
                let Some(open) = open else { return Ok(()) };
                for (count, entry) in open.range(first.clone()..).enumerate() {
                    let (key, value) = entry?;
                    if count == STEP {
                        from = Some(key.to_vec());
                        break;
                    }
                    one.entries += 1;
                    one.octets += (key.len() + value.len()) as u64;
                    match () {
                        () if one.tree == "events" => stats.events += u64::from(key.len() == 16),
                        () if one.tree == "erased" => stats.erased += 1,
                        () if one.tree.starts_with("contacts.") => {
                            let address = super::contacts::address_in(&key);
                            if !address.is_empty() && address != contact {
                                stats.contacts += 1;
                                contact = address.to_vec();
                            }
                        }
                        () => {}
                    }
                }
                Ok(())
            })?;
        }
        if one.tree != "__sled__default" {
            stats.trees.push(one);
        }
    }
    Ok(stats)
}
