//! Whether a store holds together, looked at while no daemon runs on it: every event can be read; contact
//! records, indexes and lists are what the events come to; nothing is where nothing can be.
//!
//! What the events come to is worked out in a directory beside, as a rebuild does it, and compared.

use super::batch::ContactChanges;
use super::events::{self, StoredEvent};
use super::fact::Head;
use super::keyed::AddressKey;
use super::ledger::SendRecord;
use super::lists::{self, ListChanges};
use super::loading::Load;
use super::on_record::OnRecord;
use super::schema::{self, Engine, Lock, PIECE};
use super::undone::Voiding;
use super::writer::Writer;
use super::{Settings, StoreError, contacts, restore};
use crate::policy::{EventId, What};
use serde::Serialize;
use sled::{IVec, Tree};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Where the records are made that those of the store are compared with.
const SCRATCH: &str = "verifying";

/// Events, or contacts that a piece of an import names, gathered at once; so many times before they are flushed.
const STEP: usize = 512;
const FLUSHED_AT_ONCE: u64 = 8;

/// What the records are made with.
const CACHE_BYTES: u64 = 16 << 20;

/// What makes it good again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Records made anew from the events.
    Rebuild,
    /// A backup: what is damaged is in nothing else.
    Restore,
    /// Nothing needs to be done; it goes by itself, or says nothing.
    Nothing,
}

impl Remedy {
    /// What to do, in words.
    pub fn words(self) -> &'static str {
        match self {
            Remedy::Rebuild => "make the records anew: backstopctl rebuild, or backstopd --rebuild",
            Remedy::Restore => "restore a backup: backstopctl db restore",
            Remedy::Nothing => "nothing needs to be done",
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which tree.
    pub tree: &'static str,
    /// Which key, as far as it can be read.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What makes it good again.
    pub remedy: Remedy,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Events.
    pub events: u64,
    /// Entries of all trees.
    pub entries: u64,
    /// Findings.
    pub findings: u64,
}

/// Opens the trees of a store that no daemon serves.
///
/// # Errors
/// [`StoreError`]; also when there is no store.
pub fn open(settings: &Settings) -> Result<(Engine, Lock), StoreError> {
    let path = &settings.path;
    if !path.join("db").exists() && !path.join("compacted").exists() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no store");
        return Err(StoreError::Unwritable { path: path.clone(), source });
    }
    let lock = Lock::take(path)?;
    let engine = Engine::open(settings)?;
    restore::own_again(path).map_err(|source| StoreError::Unwritable { path: path.clone(), source })?;
    Ok((engine, lock))
}

/// Looks at all of a store. `found` is told each finding, `progress` how many entries were read. Blocks.
///
/// # Errors
/// [`StoreError`] when it cannot be opened, or its disk cannot be read.
pub fn verify(
    settings: &Settings,
    found: &mut dyn FnMut(Finding),
    progress: &mut dyn FnMut(u64),
) -> Result<Verified, StoreError> {
    let (engine, _lock) = open(settings)?;
    let scratch = settings.path.join(SCRATCH);
    remove(&scratch)?;
    fs::create_dir(&scratch).map_err(|source| StoreError::Unwritable { path: scratch.clone(), source })?;
    let made = schema::open_db(&scratch, CACHE_BYTES).and_then(|db| {
        let mut verifying = Verifying { engine: &engine, verified: Verified::default(), found, progress };
        let done = verifying.all(&db);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
        done.map(|()| verifying.verified)
    });
    remove(&scratch)?;
    drop(engine);
    let _ = restore::own_again(&settings.path);
    made
}

fn remove(scratch: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Unwritable { path: scratch.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

struct Verifying<'a> {
    engine: &'a Engine,
    verified: Verified,
    found: &'a mut dyn FnMut(Finding),
    progress: &'a mut dyn FnMut(u64),
}

/// The trees of records that are compared.
struct Expected {
    contacts: Tree,
    by_contact: Tree,
    by_campaign: Tree,
    lists: Tree,
}

impl Verifying<'_> {
    fn find(&mut self, tree: &'static str, key: impl Into<String>, problem: impl Into<String>, remedy: Remedy) {
        self.verified.findings += 1;
        (self.found)(Finding { tree, key: key.into(), problem: problem.into(), remedy });
    }

    /// Counts an entry, and looks at its length.
    fn entry(&mut self, tree: &'static str, key: &[u8], value: &[u8]) {
        self.verified.entries += 1;
        if self.verified.entries.is_multiple_of(1024) {
            (self.progress)(self.verified.entries);
        }
        if value.len() > PIECE {
            let problem = format!("its value has {} octets, more than {PIECE}", value.len());
            let remedy = match tree {
                "contacts" | "by_contact" | "by_campaign" | "lists" => Remedy::Rebuild,
                _ => Remedy::Restore,
            };
            self.find(tree, shown(key), problem, remedy);
        }
    }

    fn all(&mut self, db: &sled::Db) -> Result<(), StoreError> {
        let expected = Expected {
            contacts: db.open_tree("contacts")?,
            by_contact: db.open_tree("by_contact")?,
            by_campaign: db.open_tree("by_campaign")?,
            lists: db.open_tree("lists")?,
        };
        self.marks()?;
        self.events(db, &expected)?;
        let undone = Writer::undone(self.engine).unwrap_or_default();
        let (contacts, by_contact) = (self.engine.contacts.clone(), self.engine.by_contact.clone());
        self.compare("contacts", &contacts, &expected.contacts, &|key, value| {
            Head::read(key, value).is_ok_and(|head| head.batch.is_some_and(|batch| undone.contains(&batch)))
        })?;
        self.compare("by_contact", &by_contact, &expected.by_contact, &|_, _| false)?;
        // Until it is whole nobody reads it. What is known of a campaign itself outlives whom it was known by.
        if self.engine.is_indexed {
            let by_campaign = self.engine.by_campaign.clone();
            self.compare("by_campaign", &by_campaign, &expected.by_campaign, &|key, _| key.len() == 16)?;
        }
        let lists = self.engine.lists.clone();
        self.compare("lists", &lists, &expected.lists, &|_, value| !lists::counts(value, &undone))?;
        self.ledger()
    }

    /// Trees `erased`, `batches` and `voided`.
    fn marks(&mut self) -> Result<(), StoreError> {
        let engine = self.engine;
        for entry in &engine.erased {
            let (key, value) = entry?;
            self.entry("erased", &key, &value);
            if key.len() != 16 {
                self.find("erased", shown(&key), "its key is no hash of an address", Remedy::Restore);
            }
        }
        for entry in &engine.batches {
            let (key, value) = entry?;
            self.entry("batches", &key, &value);
            let begin = match Load::decode(&key, &value) {
                Err(error) => {
                    self.find("batches", shown(&key), problem(&error), Remedy::Restore);
                    continue;
                }
                Ok((batch, _)) => events::get(&engine.events, batch),
            };
            if !matches!(&begin, Ok(Some(stored)) if matches!(stored.event.what, What::Import { .. })) {
                self.find("batches", shown(&key), "there is no event that began this import", Remedy::Restore);
            }
        }
        for entry in &engine.voided {
            let (key, value) = entry?;
            self.entry("voided", &key, &value);
            let (target, voiding) = match Voiding::decode(&key, &value) {
                Err(error) => {
                    self.find("voided", shown(&key), problem(&error), Remedy::Restore);
                    continue;
                }
                Ok(read) => read,
            };
            // Both are gone where their contact was erased.
            let undid = |stored: Option<StoredEvent>| match stored.map(|stored| stored.event.what) {
                Some(What::Void { target: of, .. } | What::Revert { batch: of, .. }) => of == target,
                Some(_) | None => false,
            };
            let undone = events::get(&engine.events, target).is_ok_and(|stored| stored.is_some());
            if undone && !events::get(&engine.events, voiding.by).is_ok_and(undid) {
                let problem = format!("it counts as undone by {}, which did not undo it", voiding.by);
                self.find("voided", shown(&key), problem, Remedy::Restore);
            }
        }
        Ok(())
    }

    /// Reads every event, and works out what they come to.
    fn events(&mut self, db: &sled::Db, expected: &Expected) -> Result<(), StoreError> {
        let on_record = OnRecord::new(AddressKey::read(&self.engine.meta)?);
        let mut gathered: Vec<StoredEvent> = Vec::new();
        let (mut weight, mut steps) = (0, 0_u64);
        let mut open: Option<(EventId, Vec<u8>)> = None;
        let engine = self.engine;
        let mut entries = engine.events.iter();
        loop {
            let entry = entries.next().transpose()?;
            let id = entry.as_ref().and_then(|(key, _)| events::id_of(key));
            if let Some((key, value)) = &entry {
                self.entry("events", key, value);
                if id.is_none() {
                    self.find("events", shown(key), "its key is no event id", Remedy::Restore);
                    continue;
                }
            }
            if let Some((whole, record)) = open.take_if(|(open, _)| Some(*open) != id) {
                self.verified.events += 1;
                match StoredEvent::decode_whole(whole, &record) {
                    Ok(stored) => {
                        let pieces =
                            if let What::Imported { entries, .. } = &stored.event.what { entries.len() } else { 1 };
                        weight += pieces;
                        gathered.push(stored);
                    }
                    Err(error) => self.find("events", whole.to_string(), problem(&error), Remedy::Restore),
                }
            }
            if weight >= STEP || entry.is_none() {
                self.work_out(&gathered, expected, &on_record)?;
                gathered.clear();
                (weight, steps) = (0, steps + 1);
                if steps.is_multiple_of(FLUSHED_AT_ONCE) {
                    db.flush()?;
                }
            }
            let (Some((key, value)), Some(id)) = (entry, id) else { return Ok(()) };
            let (_, record) = open.get_or_insert_with(|| (id, Vec::new()));
            let number = record.len().div_ceil(PIECE);
            let is_next = match key.get(16..) {
                Some([]) => number == 0,
                Some([piece]) => number > 0 && usize::from(*piece) == number,
                Some(_) | None => false,
            };
            if is_next {
                record.extend_from_slice(&value);
            } else {
                self.find("events", shown(&key), "a piece is missing before it", Remedy::Restore);
            }
        }
    }

    fn work_out(
        &mut self,
        gathered: &[StoredEvent],
        expected: &Expected,
        on_record: &OnRecord,
    ) -> Result<(), StoreError> {
        let mut changes = ContactChanges::new(self.engine, &expected.contacts, &expected.by_campaign, on_record);
        let mut lists = ListChanges::new(&expected.lists);
        for stored in gathered {
            // What is undone may itself be damaged; that is told where it stands.
            match changes.add(stored) {
                Ok(()) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            if !changes.is_reverted(stored)? {
                lists.add(stored)?;
            }
        }
        let missing: Vec<EventId> = {
            let known = |target: &EventId| Voiding::of(&self.engine.voided, *target);
            let is_missing = |target: &EventId| matches!(known(target), Ok(None));
            changes.voided.keys().copied().filter(is_missing).collect()
        };
        let made = changes.take_entries();
        expected.contacts.apply_batch(made.contacts)?;
        expected.by_contact.apply_batch(made.by_contact)?;
        expected.by_campaign.apply_batch(made.by_campaign)?;
        lists.apply()?;
        for target in missing {
            self.find("voided", target.to_string(), "an event undid it, and it is not noted here", Remedy::Rebuild);
        }
        Ok(())
    }

    /// Compares what there is with what there should be. `passed_over` is what counts for nothing, here or there.
    fn compare(
        &mut self,
        name: &'static str,
        there: &Tree,
        expected: &Tree,
        passed_over: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let (mut there, mut expected) = (there.iter(), expected.iter());
        let next = |entries: &mut sled::Iter| entries.next().transpose();
        let (mut one, mut other) = (next(&mut there)?, next(&mut expected)?);
        loop {
            let order = match (&one, &other) {
                (Some((one, _)), Some((other, _))) => one.cmp(other),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let (mut found, mut should) = (None, None);
            if order.is_le() {
                found = std::mem::replace(&mut one, next(&mut there)?);
            }
            if order.is_ge() {
                should = std::mem::replace(&mut other, next(&mut expected)?);
            }
            if let Some((key, value)) = &found {
                self.entry(name, key, value);
            }
            self.differ(name, found, should, passed_over);
        }
    }

    fn differ(
        &mut self,
        name: &'static str,
        found: Option<(IVec, IVec)>,
        should: Option<(IVec, IVec)>,
        passed_over: &dyn Fn(&[u8], &[u8]) -> bool,
    ) {
        let over = |entry: &Option<(IVec, IVec)>| entry.as_ref().is_none_or(|(key, value)| passed_over(key, value));
        if found == should || over(&found) && over(&should) {
            return;
        }
        let problem = match (&found, &should) {
            (Some(_), Some(_)) => "it is not what its event says",
            (Some(_), None) => "no event says this",
            (None, _) => "its event is on record, and this is missing",
        };
        let Some((key, _)) = found.or(should) else { return };
        let key = match name {
            "lists" => super::list_key::text(super::list_key::subject_in(&key)).unwrap_or_else(|| shown(&key)),
            _ => entry_of(&key),
        };
        self.find(name, key, problem, Remedy::Rebuild);
    }

    fn ledger(&mut self) -> Result<(), StoreError> {
        let engine = self.engine;
        let mut crowded: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for entry in &engine.ledger {
            let (key, value) = entry?;
            self.entry("ledger", &key, &value);
            match key.len() {
                20 => {
                    let read = SendRecord::decode(&value);
                    // Only those of one message stand behind each other.
                    crowded = read.iter().map(|record| (key.to_vec(), record.crowded)).collect();
                    if let Err(problem) = read {
                        self.find("ledger", shown(&key), problem, Remedy::Nothing);
                    }
                }
                28 if crowded.get(&key[..20]) == Some(&true) => {}
                28 => self.find("ledger", shown(&key), "a recipient without its message", Remedy::Nothing),
                _ => self.find("ledger", shown(&key), "its key is none of a send", Remedy::Nothing),
            }
        }
        Ok(())
    }
}

/// The words of an error, without where it is: that is told beside.
fn problem(error: &StoreError) -> String {
    match error {
        StoreError::Damaged { problem, .. } => problem.clone(),
        error => error.to_string(),
    }
}

fn shown(key: &[u8]) -> String {
    key.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The contact of a key, and what stands behind it.
fn entry_of(key: &[u8]) -> String {
    let address = String::from_utf8_lossy(contacts::address_in(key));
    format!("{address} {}", shown(&key[key.len().saturating_sub(16)..]))
}
