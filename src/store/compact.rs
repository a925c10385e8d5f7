//! Compaction: the whole store copied into a fresh sled, which then takes the place of the old.
//!
//! sled writes a log and leaves in it what was removed or replaced, for as long as it does not need the room;
//! what was erased lies there to be read. The copy is made in `compacted/` beside the old files. Once it is on
//! disk a marker says so, and from then on the swap is completed whatever happens: here, or by the next that
//! opens the store. A copy without the marker is thrown away.

use super::schema::{self, Engine, LINGER, SPARE_BYTES};
use super::writer::Writer;
use super::{Settings, StoreError};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use sled::{Db, Tree};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const DIRECTORY: &str = "compacted";
const MARKER: &str = "READY";

/// Entries in one batch, and between two flushes: sled takes memory without bound when either is large.
pub(super) const BATCH: usize = 256;
pub(super) const FLUSH: u64 = 4096;

/// The copy needs no more cache: it is written in order.
pub(super) const CACHE_BYTES: u64 = 16 << 20;

/// Completes a swap that was cut off, or throws away a copy that was. Called before sled opens its files.
///
/// # Errors
/// When a file cannot be moved.
pub fn complete(path: &Path) -> io::Result<()> {
    let copy = path.join(DIRECTORY);
    if copy.join(MARKER).try_exists()? {
        return swap(path);
    }
    match fs::remove_dir_all(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts the files of the copy in place of the old. Done again from any point where it was cut off, it ends the
/// same.
fn swap(path: &Path) -> io::Result<()> {
    let copy = path.join(DIRECTORY);
    // They tell where in the old log things are. sled reads the log itself where there are none.
    remove_snapshots(path)?;
    sync_directory(path)?;
    for name in ["db", "conf", "blobs"] {
        let (from, to) = (copy.join(name), path.join(name));
        if from.try_exists()? {
            if to.is_dir() {
                fs::remove_dir_all(&to)?;
            }
            fs::rename(from, to)?;
        }
    }
    sync_directory(path)?;
    fs::remove_file(copy.join(MARKER))?;
    fs::remove_dir_all(&copy)?;
    sync_directory(path)
}

fn remove_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"snap.") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Writer {
    /// See [`super::Store::compact`].
    ///
    /// # Errors
    /// [`StoreError`]; then the old store stays, or is opened again before the next write.
    pub fn compact(&mut self, copied: &dyn Fn(u64)) -> Result<(u64, u64), StoreError> {
        self.settle()?;
        // Its trees would keep the old sled open.
        self.rebuild = None;
        let shared = self.shared.clone();
        let settings = &shared.settings;
        let copy = settings.path.join(DIRECTORY);
        let unwritable = |source| StoreError::Unwritable { path: copy.clone(), source };
        let made = {
            let reading = shared.read();
            let engine = reading.engine()?;
            complete(&settings.path).map_err(unwritable)?;
            let before = engine.disk_bytes();
            check_room(&settings.path, before)?;
            // Asked again behind the copy: an operator may have frozen the store meanwhile.
            let copied = copy_all(engine, &copy, copied).and_then(|()| engine.check_writable(&settings.path));
            copied.map(|()| before)
        };
        let before = match made {
            Ok(before) => before,
            Err(error) => {
                let _ = fs::remove_dir_all(&copy);
                return Err(error);
            }
        };
        // From here on the copy may be what counts: nothing is written to the old store any more.
        if let Err(error) = mark(&copy) {
            self.give_up_trees();
            return Err(unwritable(error));
        }
        let swapped = shared.reopen(|| {
            wait_until_closed(settings)?;
            // Opening it completes the swap.
            Engine::open(settings)
        });
        let after = swapped.and_then(|()| {
            let reading = shared.read();
            let engine = reading.engine()?;
            engine.sync(&self.sync)?;
            Ok(engine.disk_bytes())
        });
        match after {
            Ok(after) => Ok((before, after)),
            Err(error) => {
                self.give_up_trees();
                Err(error)
            }
        }
    }
}

/// Whether there is room for a copy, which is no larger than what is there.
fn check_room(path: &Path, octets: u64) -> Result<(), StoreError> {
    let free = free(path)?;
    let needed = octets.saturating_add(4 * SPARE_BYTES);
    if free < needed {
        let (free, needed) = (free >> 20, needed >> 20);
        let problem = format!("{}: a copy needs {needed} MiB; {free} MiB are free", path.display());
        return Err(StoreError::Engine(problem));
    }
    Ok(())
}

pub(super) fn free(path: &Path) -> Result<u64, StoreError> {
    let unwritable = |errno: nix::Error| StoreError::Unwritable { path: path.to_owned(), source: errno.into() };
    let system = statvfs(path).map_err(unwritable)?;
    Ok((system.blocks_available() as u64).saturating_mul(system.fragment_size() as u64))
}

/// Copies every tree in use and closes the copy. All of it is on disk then.
fn copy_all(engine: &Engine, copy: &Path, copied: &dyn Fn(u64)) -> Result<(), StoreError> {
    let unwritable = |source| StoreError::Unwritable { path: copy.to_owned(), source };
    fs::create_dir(copy).map_err(unwritable)?;
    let db = schema::open_db(copy, CACHE_BYTES)?;
    let mut count = 0;
    let written = engine.trees_in_use().and_then(|trees| {
        trees.iter().try_for_each(|tree| copy_tree(tree, &db, copy, &mut count, copied))?;
        db.flush()?;
        Ok(())
    });
    // sled panics when it cannot sync a closing file. It is synced below.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    written?;
    wait_until_free(&copy.join("db"))?;
    sync_copy(copy).map_err(unwritable)
}

fn copy_tree(tree: &Tree, db: &Db, path: &Path, count: &mut u64, copied: &dyn Fn(u64)) -> Result<(), StoreError> {
    let to = db.open_tree(tree.name())?;
    let mut batch = sled::Batch::default();
    let mut gathered = 0;
    for entry in tree {
        let (key, value) = entry?;
        batch.insert(key, value);
        gathered += 1;
        *count += 1;
        if gathered == BATCH {
            to.apply_batch(std::mem::take(&mut batch))?;
            gathered = 0;
        }
        if count.is_multiple_of(FLUSH) {
            db.flush()?;
            if free(path)? < SPARE_BYTES * 2 {
                return Err(StoreError::Engine(format!("{}: the disk is full", path.display())));
            }
            copied(*count);
        }
    }
    to.apply_batch(batch)?;
    db.flush()?;
    copied(*count);
    Ok(())
}

/// Makes the copy durable, but for the marker.
pub(super) fn sync_copy(copy: &Path) -> io::Result<()> {
    // sled writes them only when it opens: they do not know what was written since.
    remove_snapshots(copy)?;
    for name in ["db", "conf"] {
        File::open(copy.join(name))?.sync_all()?;
    }
    let blobs = copy.join("blobs");
    if blobs.is_dir() {
        for blob in fs::read_dir(&blobs)? {
            File::open(blob?.path())?.sync_all()?;
        }
        sync_directory(&blobs)?;
    }
    sync_directory(copy)
}

/// Says, on disk, that the copy is whole.
pub(super) fn mark(copy: &Path) -> io::Result<()> {
    sync_directory(copy.parent().unwrap_or(Path::new(".")))?;
    File::create(copy.join(MARKER))?.sync_all()?;
    sync_directory(copy)
}

/// Waits until the threads of the sled just dropped have let go of its files.
fn wait_until_closed(settings: &Settings) -> Result<(), StoreError> {
    wait_until_free(&settings.path.join("db"))
}

pub(super) fn wait_until_free(db: &PathBuf) -> Result<(), StoreError> {
    let since = Instant::now();
    let unwritable = |source| StoreError::Unwritable { path: db.clone(), source };
    let mut file = File::open(db).map_err(unwritable)?;
    loop {
        // Let go of at once: it is only asked for.
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_) => return Ok(()),
            Err((_, errno)) if since.elapsed() > LINGER => return Err(unwritable(errno.into())),
            Err((file, _)) => file,
        };
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_cut_off_anywhere_ends_the_same() {
        for cut_off in 0..6 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path();
            let copy = path.join(DIRECTORY);
            fs::create_dir_all(copy.join("blobs")).unwrap();
            fs::create_dir(path.join("blobs")).unwrap();
            for name in ["db", "conf", "blobs/1"] {
                fs::write(path.join(name), "old").unwrap();
                fs::write(copy.join(name), "new").unwrap();
            }
            fs::write(path.join("snap.0001"), "old").unwrap();
            fs::write(path.join("lock"), "").unwrap();
            fs::write(copy.join(MARKER), "").unwrap();
            let steps: [&dyn Fn(); 5] = [
                &|| fs::remove_file(path.join("snap.0001")).unwrap(),
                &|| fs::rename(copy.join("db"), path.join("db")).unwrap(),
                &|| fs::rename(copy.join("conf"), path.join("conf")).unwrap(),
                &|| fs::remove_dir_all(path.join("blobs")).unwrap(),
                &|| fs::rename(copy.join("blobs"), path.join("blobs")).unwrap(),
            ];
            steps.iter().take(cut_off).for_each(|step| step());
            for again in 0..2 {
                complete(path).unwrap();
                for name in ["db", "conf", "blobs/1"] {
                    assert_eq!(fs::read_to_string(path.join(name)).unwrap(), "new", "{cut_off} {again}: {name}");
                }
                let mut left: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                left.sort();
                assert_eq!(left, ["blobs", "conf", "db", "lock"], "{cut_off} {again}");
            }
        }
    }

    #[test]
    fn a_copy_without_its_marker_is_thrown_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::create_dir(path.join(DIRECTORY)).unwrap();
        for name in ["db", "snap.0001", "compacted/db"] {
            fs::write(path.join(name), "old").unwrap();
        }
        complete(path).unwrap();
        assert!(path.join("db").exists() && path.join("snap.0001").exists() && !path.join(DIRECTORY).exists());
    }
}
