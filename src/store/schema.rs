//! What lies on disk: the directory, its lock, the trees and the records that describe them.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `events` | event id, 16 octets, big-endian; a piece number behind it from the second piece on | the event ([`super::events`]) |
//! | `contacts.N` | address, NUL, content key (or event id where there is none) | the fact the event adds ([`super::contacts`]) |
//! | `by_contact.N` | address, NUL, event id | nothing: events that add no fact, skips above all |
//! | `by_campaign.N` | hash of the campaign; that, a contact, NUL, event id | what there is to report ([`super::by_campaign`]) |
//! | `lists.N` | what stands on an operator's list, NUL, event id | since when, and its batch ([`super::list_key`]) |
//! | `erased` | keyed hash of an address, 16 octets | time of the erasure ([`super::erased`]) |
//! | `batches` | id of the event that began it | how far a batch came ([`super::loading`]) |
//! | `voided` | id of an event or batch that was undone | the event that undid it ([`super::undone`]) |
//! | `ledger` | day, hash of the Message-ID, hash of a recipient in crowded messages | the send ([`super::ledger`]) |
//! | `sent` | campaign or day, and provider | how many recipients it was sent to ([`super::sent`]) |
//! | `meta` | a name | see [`Meta`] |
//!
//! `contacts.N` is the contact records, the cache of the fold, and at the same time recognises reports that
//! were here before. A contact's facts lie side by side under its address, so that recording one is one
//! insert, whatever the contact's history. N is the generation: a rebuild writes the next and then switches.
//!
//! What was imported counts once its batch is whole: until then, and from the moment it is taken back, reading
//! passes over its entries, which are cleared away in steps.
//!
//! No value is longer than [`PIECE`]. sled keeps pages beyond 128 KiB in files of their own, which it never
//! syncs; a page holds some 16 entries.

use super::{Settings, StoreError, compact, damaged_files};
use crate::ops::event::strain;
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use sled::transaction::{TransactionError, TransactionalTree};
use sled::{Db, IVec, Transactional, Tree};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The newest schema this program reads, and the one it writes.
pub const SCHEMA: u32 = 3;

/// The longest value, in octets.
pub const PIECE: usize = 4096;

/// Below this much free space nothing is written: sled cannot go on after a write that failed half-way.
pub const SPARE_BYTES: u64 = 8 << 20;

/// Entries of an old contact tree that go at once.
const SWEPT_AT_ONCE: usize = 512;

/// How long a closing sled may hold its file when we open it again.
pub const LINGER: Duration = Duration::from_secs(5);

/// Makes what was written to a file durable: `fdatasync`, but in tests.
pub type Sync = Arc<dyn Fn(&File) -> io::Result<()> + Send + std::marker::Sync>;

/// The records of tree `meta`.
#[derive(Clone, Copy, Debug)]
pub enum Meta {
    /// Schema on disk, u32.
    Schema,
    /// Random number of this host, u32: the middle of event ids.
    Host,
    /// Milliseconds (u64) and counter (u64) of the newest event id, numbers of events and contacts (u64).
    Counters,
    /// Generation of the contact trees, u32.
    Generation,
    /// Events below this id have lost their words, u128.
    Expired,
    /// What addresses are hashed with, 16 octets.
    AddressKey,
    /// Generation of which the index by campaign is whole, u32; another one, or none, while it is being made.
    Indexed,
    /// Sends from this time on are counted as they are written, those before are yet to be: seconds, i64. Not there
    /// once they are, nor in a store that counted from the start.
    CountedFrom,
}

impl Meta {
    /// Its key.
    pub fn key(self) -> &'static [u8] {
        match self {
            Meta::Schema => b"schema",
            Meta::Host => b"host",
            Meta::Counters => b"counters",
            Meta::Generation => b"generation",
            Meta::Expired => b"expired",
            Meta::AddressKey => b"address_key",
            Meta::Indexed => b"indexed",
            Meta::CountedFrom => b"counted_from",
        }
    }
}

/// Holds the store for this process; another `backstopd` is told so instead of waiting.
pub struct Lock {
    _held: Flock<File>,
}

impl Lock {
    /// Makes the directory if need be and takes the lock in it.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Unwritable`].
    pub fn take(path: &Path) -> Result<Lock, StoreError> {
        let unwritable = |source| StoreError::Unwritable { path: path.to_owned(), source };
        let made = !path.exists();
        fs::create_dir_all(path).map_err(unwritable)?;
        if made {
            // The name of a new directory is durable only when the one above it is.
            let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(above).and_then(|above| above.sync_all()).map_err(unwritable)?;
        }
        check_mode(&fs::metadata(path).map_err(unwritable)?).map_err(unwritable)?;
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(path.join("lock")).map_err(unwritable)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Lock { _held: held }),
            Err((_, Errno::EWOULDBLOCK)) => Err(StoreError::InUse { path: path.to_owned() }),
            Err((_, errno)) => Err(unwritable(errno.into())),
        }
    }
}

/// A file or directory that nobody may write is left alone, also by root: so an operator can freeze a store
/// (`chmod a-w db`) for as long as a copy takes, and reports are asked to come again.
fn check_mode(metadata: &fs::Metadata) -> io::Result<()> {
    match metadata.permissions().mode() & 0o222 {
        0 => Err(io::Error::new(io::ErrorKind::PermissionDenied, "its mode lets nobody write")),
        _ => Ok(()),
    }
}

/// The open trees.
pub struct Engine {
    db: Db,
    file: File,
    /// Events.
    pub events: Tree,
    /// Contact records.
    pub contacts: Tree,
    /// Events without a fact, by contact.
    pub by_contact: Tree,
    /// Events by the campaign they name.
    pub by_campaign: Tree,
    /// The operator's lists.
    pub lists: Tree,
    /// Who was erased and stays blocked.
    pub erased: Tree,
    /// Batches.
    pub batches: Tree,
    /// Events and batches that were undone.
    pub voided: Tree,
    /// Sends.
    pub ledger: Tree,
    /// Counts of sends.
    pub sent: Tree,
    /// Records about the store.
    pub meta: Tree,
    /// Generation of `contacts`, `by_contact`, `by_campaign` and `lists`.
    pub generation: u32,
    /// Whether `by_campaign` holds every event that belongs there.
    pub is_indexed: bool,
}

/// The trees of one transaction, in which everything of a batch is written or nothing.
pub struct View<'a> {
    /// Events.
    pub events: &'a TransactionalTree,
    /// Contact records.
    pub contacts: &'a TransactionalTree,
    /// Events without a fact, by contact.
    pub by_contact: &'a TransactionalTree,
    /// Events by the campaign they name.
    pub by_campaign: &'a TransactionalTree,
    /// The operator's lists.
    pub lists: &'a TransactionalTree,
    /// Batches.
    pub batches: &'a TransactionalTree,
    /// Events and batches that were undone.
    pub voided: &'a TransactionalTree,
    /// Sends.
    pub ledger: &'a TransactionalTree,
    /// Records about the store.
    pub meta: &'a TransactionalTree,
}

impl Engine {
    /// Opens the trees and checks the schema. The caller holds the [`Lock`].
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be opened, or are newer.
    pub fn open(settings: &Settings) -> Result<Engine, StoreError> {
        let path = &settings.path;
        let unwritable = |source| StoreError::Unwritable { path: path.clone(), source };
        match fs::metadata(path.join("db")) {
            Ok(metadata) => check_mode(&metadata).map_err(unwritable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unwritable(error)),
        }
        compact::complete(path).map_err(unwritable)?;
        let db = open_db(path, settings.cache_bytes)?;
        let meta = db.open_tree("meta")?;
        let number = |meta: &Tree, record: Meta| -> Result<Option<u32>, StoreError> {
            meta.get(record.key())?.map(|value| read_number(record, &value).map(u32::from_be_bytes)).transpose()
        };
        match number(&meta, Meta::Schema)? {
            Some(SCHEMA) => {}
            Some(1) => upgrade(&meta, &db.open_tree("ledger")?, random_key().map_err(unwritable)?)?,
            Some(2) => upgrade_2(&meta)?,
            Some(found) if found > SCHEMA => {
                return Err(StoreError::NewerSchema { path: path.clone(), found, known: SCHEMA });
            }
            None if meta.is_empty() => {
                let mut first = sled::Batch::default();
                first.insert(Meta::Host.key(), &random_host().to_be_bytes());
                first.insert(Meta::Generation.key(), &1_u32.to_be_bytes());
                first.insert(Meta::Indexed.key(), &1_u32.to_be_bytes());
                first.insert(Meta::AddressKey.key(), &random_key().map_err(unwritable)?);
                first.insert(Meta::Schema.key(), &SCHEMA.to_be_bytes());
                meta.apply_batch(first)?;
            }
            Some(_) | None => return Err(damaged_meta(Meta::Schema, "missing or of no known schema")),
        }
        let generation = number(&meta, Meta::Generation)?.ok_or_else(|| damaged_meta(Meta::Generation, "missing"))?;
        let file = File::open(path.join("db")).map_err(unwritable)?;
        let engine = Engine {
            events: db.open_tree("events")?,
            contacts: db.open_tree(contacts_name(generation))?,
            by_contact: db.open_tree(by_contact_name(generation))?,
            by_campaign: db.open_tree(by_campaign_name(generation))?,
            lists: db.open_tree(lists_name(generation))?,
            erased: db.open_tree("erased")?,
            batches: db.open_tree("batches")?,
            voided: db.open_tree("voided")?,
            ledger: db.open_tree("ledger")?,
            sent: db.open_tree("sent")?,
            is_indexed: number(&meta, Meta::Indexed)? == Some(generation),
            meta,
            generation,
            file,
            db,
        };
        engine.flush()?;
        File::open(path).and_then(|directory| directory.sync_all()).map_err(unwritable)?;
        Ok(engine)
    }

    /// Whether there is room and permission to write, asked before every batch.
    ///
    /// # Errors
    /// [`StoreError::Unwritable`], or [`StoreError::Engine`] when the file system is nearly full.
    pub fn check_writable(&self, path: &Path) -> Result<(), StoreError> {
        let unwritable = |source| StoreError::Unwritable { path: path.to_owned(), source };
        check_mode(&self.file.metadata().map_err(unwritable)?).map_err(unwritable)?;
        let system = fstatvfs(&self.file).map_err(|errno| unwritable(errno.into()))?;
        if system.flags().contains(FsFlags::ST_RDONLY) {
            return Err(unwritable(io::Error::from(io::ErrorKind::ReadOnlyFilesystem)));
        }
        let free = (system.blocks_available() as u64).saturating_mul(system.fragment_size() as u64);
        if free < SPARE_BYTES {
            let (free, spare) = (free >> 10, SPARE_BYTES >> 10);
            let problem = format!("{}: the disk is full: {free} KiB free, {spare} KiB must be", path.display());
            return Err(StoreError::Engine(problem));
        }
        Ok(())
    }

    /// Runs `write` over all trees: all of it, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Engine`]; then what was written in part is gone after the next opening.
    pub fn transaction(
        &self,
        write: impl Fn(View<'_>) -> Result<(), sled::transaction::UnabortableTransactionError>,
    ) -> Result<(), StoreError> {
        let Engine { events, contacts, by_contact, by_campaign, lists, batches, voided, ledger, meta, .. } = self;
        let trees = (events, contacts, by_contact, by_campaign, lists, batches, voided, ledger, meta);
        let written =
            trees.transaction(|(events, contacts, by_contact, by_campaign, lists, batches, voided, ledger, meta)| {
                write(View { events, contacts, by_contact, by_campaign, lists, batches, voided, ledger, meta })?;
                Ok(())
            });
        written.map_err(|error: TransactionError<()>| match error {
            TransactionError::Storage(error) => error.into(),
            TransactionError::Abort(()) => StoreError::Engine("transaction aborted".to_owned()),
        })
    }

    /// Hands everything written to the kernel. Not durable yet: sled calls `sync_file_range` on Linux.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn flush(&self) -> Result<(), StoreError> {
        self.db.flush()?;
        Ok(())
    }

    /// Makes durable what was flushed.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn sync(&self, sync: &Sync) -> Result<(), StoreError> {
        sync(&self.file).map_err(|error| StoreError::Engine(format!("fdatasync: {error}")))
    }

    /// Empty contact trees of the next generation.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn next_generation(&self) -> Result<(Tree, Tree), StoreError> {
        while self.sweep()? {}
        let next = self.generation + 1;
        Ok((self.db.open_tree(contacts_name(next))?, self.db.open_tree(by_contact_name(next))?))
    }

    /// The empty index by campaign of the next generation; asked for behind [`Engine::next_generation`].
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn next_by_campaign(&self) -> Result<Tree, StoreError> {
        Ok(self.db.open_tree(by_campaign_name(self.generation + 1))?)
    }

    /// The empty tree of lists of the next generation; asked for behind [`Engine::next_generation`].
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn next_lists(&self) -> Result<Tree, StoreError> {
        Ok(self.db.open_tree(lists_name(self.generation + 1))?)
    }

    /// Every tree in use.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn trees_in_use(&self) -> Result<Vec<Tree>, StoreError> {
        let names = self.db.tree_names().into_iter().filter(|name| !self.is_left_behind(name));
        names.map(|name| Ok(self.db.open_tree(name)?)).collect()
    }

    /// Whether a tree is of another generation than the one in use.
    fn is_left_behind(&self, name: &[u8]) -> bool {
        let kept = [contacts_name, by_contact_name, by_campaign_name, lists_name].map(|name| name(self.generation));
        let ours =
            [&b"contacts."[..], b"by_contact.", b"by_campaign.", b"lists."].iter().any(|start| name.starts_with(start));
        ours && kept.iter().all(|kept| kept.as_bytes() != name)
    }

    /// Drops contact trees that are not in use, what a rebuild left behind, some entries at a time. Whether
    /// there is more. (Dropped whole, a tree of a million contacts takes 300 MB of memory to free its pages.)
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn sweep(&self) -> Result<bool, StoreError> {
        for name in self.db.tree_names() {
            if !self.is_left_behind(&name) {
                continue;
            }
            let tree = self.db.open_tree(&name)?;
            let keys: sled::Result<Vec<IVec>> = tree.iter().keys().take(SWEPT_AT_ONCE).collect();
            let keys = match keys {
                Ok(keys) => keys,
                // It stays until the store is compacted, which copies what is in use.
                Err(sled::Error::Corruption { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            if keys.is_empty() {
                self.db.drop_tree(name)?;
                return Ok(true);
            }
            let mut batch = sled::Batch::default();
            keys.into_iter().for_each(|key| batch.remove(key));
            tree.apply_batch(batch)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Octets on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

fn contacts_name(generation: u32) -> String {
    format!("contacts.{generation}")
}

fn by_contact_name(generation: u32) -> String {
    format!("by_contact.{generation}")
}

fn by_campaign_name(generation: u32) -> String {
    format!("by_campaign.{generation}")
}

fn lists_name(generation: u32) -> String {
    format!("lists.{generation}")
}

/// Removes what an opening left that was cut off. sled 0.34.7 takes a snapshot it was still writing for a whole one
/// and then refuses to open, for ever; it needs none, the log tells it the same. Nor can it go on from half of
/// its settings, which it writes before there is a log.
fn clear_unfinished(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"snap.") && name.ends_with(b".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    let conf = path.join("conf");
    if conf.try_exists()? && !path.join("db").try_exists()? {
        fs::remove_file(conf)?;
    }
    Ok(())
}

/// Opens sled in a directory.
///
/// # Errors
/// [`StoreError`].
pub fn open_db(path: &Path, cache_bytes: u64) -> Result<Db, StoreError> {
    let cleared = clear_unfinished(path).and_then(|()| damaged_files::clear(path));
    cleared.map_err(|source| StoreError::Unwritable { path: path.to_owned(), source })?;
    let since = Instant::now();
    loop {
        // flush_every_ms also drives sled's garbage collection, so it stays on.
        let config = sled::Config::new().path(path).cache_capacity(cache_bytes);
        let config = config.flush_every_ms(Some(500));
        // sled panics over some of what it cannot read.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
        let Ok(opened) = opened else {
            let problem = "its file db is damaged: sled gave up over what is in it".to_owned();
            return Err(StoreError::Unopenable { path: path.to_owned(), problem });
        };
        match opened {
            Ok(db) => return Ok(db),
            // We hold the lock, so this is our own last sled: its threads let go of the file a little later.
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") && since.elapsed() < LINGER => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(sled::Error::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(sled::Error::Io(error).into());
            }
            Err(sled::Error::Corruption { .. }) => {
                let problem = damaged_files::problem_of_db(path);
                return Err(StoreError::Unopenable { path: path.to_owned(), problem });
            }
            Err(error) => {
                let problem = format!("its file db is damaged or of another program: {error}");
                return Err(StoreError::Unopenable { path: path.to_owned(), problem });
            }
        }
    }
}

/// Brings a store of schema 1 up to date. Its ledger knew recipients by hashes without a key and is let go of: what
/// it would have vouched for is `unverified`, and message limits begin anew.
fn upgrade(meta: &Tree, ledger: &Tree, key: [u8; 16]) -> Result<(), StoreError> {
    ledger.clear()?;
    let mut now = sled::Batch::default();
    now.insert(Meta::AddressKey.key(), &key);
    now.insert(Meta::Schema.key(), &SCHEMA.to_be_bytes());
    meta.apply_batch(now)?;
    Ok(())
}

/// Brings a store of schema 2 up to date: the index by campaign is made, and the sends of before are counted, while it
/// serves ([`super::indexing`]).
fn upgrade_2(meta: &Tree) -> Result<(), StoreError> {
    let mut now = sled::Batch::default();
    now.insert(Meta::CountedFrom.key(), &Timestamp::now().as_second().to_be_bytes());
    now.insert(Meta::Schema.key(), &SCHEMA.to_be_bytes());
    meta.apply_batch(now)?;
    Ok(())
}

fn random_key() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

fn random_host() -> u32 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish() as u32
}

/// Reads a number of fixed width out of a record of `meta`.
///
/// # Errors
/// [`StoreError::Damaged`] when the record has another length.
pub fn read_number<const N: usize>(record: Meta, value: &IVec) -> Result<[u8; N], StoreError> {
    value.as_ref().try_into().map_err(|_| damaged_meta(record, "wrong length"))
}

fn damaged_meta(record: Meta, problem: &str) -> StoreError {
    let key = String::from_utf8_lossy(record.key()).into_owned();
    StoreError::Damaged { tree: "meta", key, problem: problem.to_owned() }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> StoreError {
        match error {
            sled::Error::Corruption { at, .. } => {
                // sled shows a place as `Inline(519178)`, and keeps the number to itself.
                let shown = at.map(|at| format!("{at:?}")).unwrap_or_default();
                let digits = shown.split(|letter: char| !letter.is_ascii_digit()).find(|digits| !digits.is_empty());
                let corrupt = StoreError::Corrupt { at: digits.and_then(|digits| digits.parse().ok()) };
                strain::store_damaged(&corrupt.to_string());
                corrupt
            }
            error => StoreError::Engine(error.to_string()),
        }
    }
}
