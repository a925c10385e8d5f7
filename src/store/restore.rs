//! Makes a store of a backup, while no daemon runs on it.
//!
//! It is made in `compacted/` and put in place as compaction does ([`super::compact`]): only once all of the
//! backup was read, its hash is right, and contact records, indexes and lists are made of its events. Cut off
//! before that, or refused, it leaves nothing.

use super::archive::{ArchiveError, Header, Item, Part, Summary, Unpacker};
use super::compact::{self, BATCH, CACHE_BYTES, DIRECTORY, FLUSH};
use super::events::{self, StoredEvent};
use super::schema::{self, Lock, Meta, SCHEMA, SPARE_BYTES};
use super::{Settings, Store, StoreError};
use crate::policy::EventId;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, chown};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Octets read at once.
const PIECE_BYTES: usize = 64 << 10;

/// Why no store was made of a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something is there already.
    #[error("{}: is not empty; move it aside, or name another directory", .0.display())]
    NotEmpty(PathBuf),
    /// The backup cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    /// The store cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sled::Error> for RestoreError {
    fn from(error: sled::Error) -> RestoreError {
        RestoreError::Store(error.into())
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Octets of the backup read.
    Read(u64),
    /// Events read for the contact records.
    Rebuilt(u64),
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: Header,
    /// What was in it.
    pub summary: Summary,
    /// Contacts with a record.
    pub contacts: u64,
}

/// Makes the store at `settings.path`, which must be empty or not there. Blocks.
///
/// # Errors
/// [`RestoreError`]; then nothing is left of it.
pub fn restore(
    settings: &Settings,
    backup: &mut dyn Read,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let path = &settings.path;
    let unwritable = |source| StoreError::Unwritable { path: path.clone(), source };
    let made = !path.exists();
    let lock = Lock::take(path)?;
    let locked = fs::read_dir(path).map_err(unwritable)?.collect::<io::Result<Vec<_>>>().map_err(unwritable)?;
    if locked.iter().any(|entry| entry.file_name() != "lock") {
        return Err(RestoreError::NotEmpty(path.clone()));
    }
    let restored = build(settings, backup, progress).and_then(|restored| {
        let swapped = own(path, made).and_then(|()| compact::mark(&path.join(DIRECTORY)));
        swapped.and_then(|()| compact::complete(path)).map_err(unwritable)?;
        Ok(restored)
    });
    if restored.is_err() {
        let _ = fs::remove_dir_all(path.join(DIRECTORY));
        if made {
            let _ = fs::remove_file(path.join("lock"));
            let _ = fs::remove_dir(path);
        }
    }
    drop(lock);
    restored
}

fn build(
    settings: &Settings,
    backup: &mut dyn Read,
    progress: &mut dyn FnMut(Progress),
) -> Result<Restored, RestoreError> {
    let copy = settings.path.join(DIRECTORY);
    let unwritable = |source| StoreError::Unwritable { path: copy.clone(), source };
    fs::create_dir(&copy).map_err(unwritable)?;
    let db = schema::open_db(&copy, CACHE_BYTES)?;
    let filled = fill(&db, &copy, backup, &mut |octets| progress(Progress::Read(octets)));
    // sled panics when it cannot sync a closing file. It is synced below.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    let (header, summary) = filled?;
    compact::wait_until_free(&copy.join("db"))?;
    let store = Store::open(&Settings { path: copy.clone(), ..settings.clone() })?;
    let contacts = store.rebuild(&mut |events| progress(Progress::Rebuilt(events)));
    let closed = store.close();
    drop(store);
    let contacts = contacts?;
    closed?;
    compact::wait_until_free(&copy.join("db"))?;
    compact::sync_copy(&copy).map_err(unwritable)?;
    Ok(Restored { header, summary, contacts })
}

/// Writes the entries of a backup. When it returns, all of it was read and is as it was written.
fn fill(
    db: &sled::Db,
    path: &Path,
    backup: &mut dyn Read,
    progress: &mut dyn FnMut(u64),
) -> Result<(Header, Summary), RestoreError> {
    let mut open: Option<(Part, sled::Tree, sled::Batch)> = None;
    let (mut count, mut gathered) = (0_u64, 0);
    let read = unpack(backup, progress, &mut |part, key, value| {
        if open.as_ref().is_none_or(|(open, ..)| *open != part) || gathered >= BATCH {
            if let Some((_, tree, batch)) = open.take() {
                tree.apply_batch(batch)?;
            }
            open = Some((part, db.open_tree(part.tree())?, sled::Batch::default()));
            gathered = 0;
        }
        if let Some((_, _, batch)) = &mut open {
            batch.insert(key, value);
        }
        (gathered, count) = (gathered + 1, count + 1);
        if count.is_multiple_of(FLUSH) {
            db.flush()?;
            if compact::free(path)? < SPARE_BYTES * 2 {
                return Err(StoreError::Engine(format!("{}: the disk is full", path.display())).into());
            }
        }
        Ok(())
    });
    let (header, summary) = read?;
    if let Some((_, tree, batch)) = open.take() {
        tree.apply_batch(batch)?;
    }
    let meta = db.open_tree(Part::Meta.tree())?;
    for record in [Meta::Schema, Meta::Host, Meta::AddressKey] {
        if !meta.contains_key(record.key())? {
            return Err(ArchiveError::Damaged { at: 0, problem: "records about the store are missing" }.into());
        }
    }
    meta.insert(Meta::Generation.key(), &1_u32.to_be_bytes())?;
    // Ids go on where they were; events are as many as came, and of contacts there are none yet.
    if let Some(ids) = meta.get(Meta::Counters.key())?.as_deref().and_then(|counters| counters.get(..16)) {
        let counters = [ids, &summary.events.to_be_bytes(), &[0; 8]].concat();
        meta.insert(Meta::Counters.key(), counters)?;
    }
    db.flush()?;
    Ok((header, summary))
}

/// Who is given the entries: tree, key, value.
type Take<'a> = &'a mut dyn FnMut(Part, &[u8], &[u8]) -> Result<(), RestoreError>;

/// Reads a backup to its end and hands on its entries.
fn unpack(
    backup: &mut dyn Read,
    progress: &mut dyn FnMut(u64),
    take: Take<'_>,
) -> Result<(Header, Summary), RestoreError> {
    let mut unpacker = Unpacker::default();
    let mut header = None;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let octets = match backup.read(&mut piece) {
            Ok(0) => break,
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(RestoreError::Read(error)),
        };
        unpacker.feed(&piece[..octets], &mut |item| match item {
            Item::Header(found) if found.schema > SCHEMA => {
                let path = PathBuf::from("the backup");
                Err(StoreError::NewerSchema { path, found: found.schema, known: SCHEMA }.into())
            }
            Item::Header(found) => {
                header = Some(found);
                Ok(())
            }
            Item::Entry(part, key, value) => take(part, key, value),
        })?;
        progress(unpacker.octets());
    }
    let summary = unpacker.finish()?;
    let header = header.ok_or(ArchiveError::NotABackup)?;
    Ok((header, summary))
}

/// Whether a backup is whole and every event in it can be read, without making a store of it.
///
/// # Errors
/// [`RestoreError`] with what is wrong.
pub fn check(backup: &mut dyn Read, progress: &mut dyn FnMut(u64)) -> Result<(Header, Summary), RestoreError> {
    let mut open: Option<(EventId, Vec<u8>)> = None;
    let close = |open: Option<(EventId, Vec<u8>)>| match open {
        Some((id, record)) => StoredEvent::decode_whole(id, &record).map(drop),
        None => Ok(()),
    };
    let read = unpack(backup, progress, &mut |part, key, value| {
        if part != Part::Events {
            return Ok(());
        }
        let id = events::id_of(key).ok_or_else(|| events::damaged(EventId(0), "a key is no event id"))?;
        match &mut open {
            Some((known, record)) if *known == id => record.extend_from_slice(value),
            _ => close(open.replace((id, value.to_vec())))?,
        }
        Ok(())
    });
    let read = read?;
    close(open)?;
    Ok(read)
}

/// Gives what root made to the user whose directory it is: a daemon that does not run as root must be able to
/// write it. `made`: the store's directory itself is new, and the one above it tells.
fn own(path: &Path, made: bool) -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let owner = fs::metadata(if made { above } else { path })?;
    own_all(path, owner.uid(), owner.gid())
}

fn own_all(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    chown(path, Some(uid), Some(gid))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            own_all(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// As [`own`], for a store that was there before: what opening it made.
///
/// # Errors
/// When a file cannot be given away.
pub(super) fn own_again(path: &Path) -> io::Result<()> {
    own(path, false)
}
