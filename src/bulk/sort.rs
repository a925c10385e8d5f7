//! Sorts entries by their subjects, however many: runs of them in one unnamed file, merged when all are there.
//!
//! The store loads what comes in the order of its keys many times faster than what comes in any order.

use super::Entry;
use super::packed::{decode, encode, key, length, prefix, record};
use crate::classify::Category;
use crate::mail::ListId;
use std::cmp::Ordering;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What a sort takes where the caller has no reason for another figure.
pub const MEMORY_BYTES: usize = 64 << 20;
/// Octets read of a run at a time, at least and at most.
const LEAST_READ: usize = 4 << 10;
const MOST_READ: usize = 256 << 10;
/// Lists and categories remembered of one subject; a duplicate beyond them passes.
const REMEMBERED: usize = 10_000;

/// Takes entries in any order.
pub struct Sorter {
    directory: PathBuf,
    memory_bytes: usize,
    /// Encoded entries, in order of arrival, and where each begins.
    arena: Vec<u8>,
    index: Vec<Place>,
    file: Option<BufWriter<File>>,
    written: u64,
    /// Where each run ends in the file; it begins where the one before ends.
    ends: Vec<u64>,
}

/// Where an entry begins in the arena, with the first octets of its subject's text: most comparisons need no more.
#[derive(Clone, Copy)]
struct Place {
    prefix: u64,
    offset: usize,
}

/// The entries in the order of their subjects' texts, those of one subject in order of arrival. Of entries with
/// the same subject, list and category only the first is given.
pub struct Sorted {
    heads: BinaryHeap<Head>,
    duplicates: u64,
    /// Lists and categories already given of the subject in hand.
    subject: Vec<u8>,
    given: HashSet<(Option<ListId>, Option<Category>)>,
    broken: bool,
}

impl Sorter {
    /// Sorts with some `memory_bytes` of memory and files in `directory`.
    pub fn new(directory: &Path, memory_bytes: usize) -> Sorter {
        Sorter {
            directory: directory.to_owned(),
            memory_bytes,
            arena: Vec::new(),
            index: Vec::new(),
            file: None,
            written: 0,
            ends: Vec::new(),
        }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// When the file cannot be made or written, or the subject's text has more than 65535 octets.
    pub fn push(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.subject.text().len() > usize::from(u16::MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the subject of an entry is too long to sort"));
        }
        // Set aside in whole, so that growing never holds two copies; memory not used is not taken.
        if self.arena.capacity() == 0 {
            self.arena.reserve_exact(self.memory_bytes / 3 * 2);
            self.index.reserve_exact(self.memory_bytes / 3 / size_of::<Place>());
        }
        let offset = self.arena.len();
        encode(entry, &mut self.arena);
        let prefix = prefix(key(&self.arena[offset..]));
        self.index.push(Place { prefix, offset });
        if self.arena.len() >= self.memory_bytes / 3 * 2 || self.index.len() == self.index.capacity() {
            self.spill()?;
        }
        Ok(())
    }

    /// Ends the adding.
    ///
    /// # Errors
    /// When the file cannot be written or read.
    pub fn finish(mut self) -> io::Result<Sorted> {
        let mut heads = BinaryHeap::new();
        let memory = if self.file.is_some() {
            self.spill()?;
            (self.arena, self.index) = (Vec::new(), Vec::new());
            None
        } else {
            self.sort();
            Some(Source::Memory { arena: self.arena, places: self.index.into_iter() })
        };
        let mut sources: Vec<Source> = memory.into_iter().collect();
        if let Some(file) = self.file {
            let file = Arc::new(file.into_inner().map_err(io::IntoInnerError::into_error)?);
            let read = (self.memory_bytes / self.ends.len().max(1)).clamp(LEAST_READ, MOST_READ);
            let mut begin = 0;
            for end in self.ends {
                sources.push(Source::Run(Run {
                    file: file.clone(),
                    next: begin,
                    end,
                    read,
                    buffer: Vec::new(),
                    used: 0,
                }));
                begin = end;
            }
        }
        for (run, source) in sources.into_iter().enumerate() {
            let mut head = Head { record: Vec::new(), run, source };
            if head.advance()? {
                heads.push(head);
            }
        }
        Ok(Sorted { heads, duplicates: 0, subject: Vec::new(), given: HashSet::new(), broken: false })
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        self.index.sort_unstable_by(|one, other| {
            let text = || key(&arena[one.offset..]).cmp(key(&arena[other.offset..]));
            one.prefix.cmp(&other.prefix).then_with(text).then(one.offset.cmp(&other.offset))
        });
    }

    /// Writes what is in memory as one sorted run.
    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::with_capacity(MOST_READ, unnamed(&self.directory)?)),
        };
        for place in &self.index {
            let record = record(&self.arena[place.offset..]);
            file.write_all(record)?;
            self.written += record.len() as u64;
        }
        self.ends.push(self.written);
        self.arena.clear();
        self.index.clear();
        Ok(())
    }
}

/// A file that is gone when it is closed, or when the process dies.
fn unnamed(directory: &Path) -> io::Result<File> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = format!(".backstop-sort-{}-{}", std::process::id(), COUNTER.fetch_add(1, Relaxed));
    let path = directory.join(name);
    // One that an earlier process of this id left between these two lines.
    let _ = std::fs::remove_file(&path);
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl Sorted {
    /// How many entries were left out so far because they say what an earlier one says.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Whether an entry of the subject in hand repeats one already given.
    fn repeats(&mut self, key: &[u8], entry: &Entry) -> bool {
        if self.subject != key {
            self.subject.clear();
            self.subject.extend_from_slice(key);
            self.given.clear();
        }
        // Most subjects come once; then nothing more is asked of the set.
        let what = (entry.list.clone(), entry.category);
        if self.given.contains(&what) {
            return true;
        }
        if self.given.len() < REMEMBERED {
            self.given.insert(what);
        }
        false
    }

    fn take(&mut self) -> io::Result<Option<(Vec<u8>, Entry)>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let entry = decode(&head.record).ok_or_else(damaged)?;
        let key = key(&head.record).to_vec();
        if !head.advance()? {
            PeekMut::pop(head);
        }
        Ok(Some((key, entry)))
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        while !self.broken {
            match self.take() {
                Ok(Some((key, entry))) if self.repeats(&key, &entry) => self.duplicates += 1,
                Ok(Some((_, entry))) => return Some(Ok(entry)),
                Ok(None) => return None,
                Err(error) => {
                    self.broken = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The next record of a run. The greatest of a heap is the one to take first.
struct Head {
    record: Vec<u8>,
    run: usize,
    source: Source,
}

enum Source {
    Memory { arena: Vec<u8>, places: std::vec::IntoIter<Place> },
    Run(Run),
}

/// A run in the file.
struct Run {
    file: Arc<File>,
    next: u64,
    end: u64,
    read: usize,
    buffer: Vec<u8>,
    used: usize,
}

impl Head {
    /// Takes the next record in hand; false if there is none.
    fn advance(&mut self) -> io::Result<bool> {
        self.record.clear();
        match &mut self.source {
            Source::Memory { arena, places } => match places.next() {
                Some(place) => self.record.extend_from_slice(record(&arena[place.offset..])),
                None => return Ok(false),
            },
            Source::Run(run) => match run.fill(4)? {
                0 => return Ok(false),
                4.. => {
                    let length = length(&run.buffer[run.used..]);
                    if run.fill(length)? < length {
                        return Err(damaged());
                    }
                    self.record.extend_from_slice(&run.buffer[run.used..run.used + length]);
                    run.used += length;
                }
                1..4 => return Err(damaged()),
            },
        }
        Ok(true)
    }
}

impl Run {
    /// Makes `wanted` octets ready, where the run has as many; says how many are.
    fn fill(&mut self, wanted: usize) -> io::Result<usize> {
        let ready = self.buffer.len() - self.used;
        if ready >= wanted || self.next == self.end {
            return Ok(ready);
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        let more = self.read.max(wanted - ready).min(usize::try_from(self.end - self.next).unwrap_or(usize::MAX));
        self.buffer.resize(ready + more, 0);
        self.file.read_exact_at(&mut self.buffer[ready..], self.next)?;
        self.next += more as u64;
        Ok(self.buffer.len())
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        key(&other.record).cmp(key(&self.record)).then(other.run.cmp(&self.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file of a sort does not hold what was written to it")
}

#[cfg(test)]
mod tests;
