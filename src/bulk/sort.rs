//! Sorts entries by their subjects, however many: runs of them in one unnamed file, merged when all are there.
//!
//! The store loads what comes in the order of its keys many times faster than what comes in any order.

use super::{Entry, Subject};
use crate::classify::{BounceCode, BounceType, Category};
use crate::mail::ListId;
use jiff::Timestamp;
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

fn prefix(key: &[u8]) -> u64 {
    let mut prefix = [0; 8];
    let length = key.len().min(8);
    prefix[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(prefix)
}

// A record: its length (4 octets), that of the key (2), the key, the line (8), which fields follow (1), category
// and type (1), and of code (5), time (12), list, reason and note those that are there. Numbers are little-endian.
const CODE: u8 = 1;
const SINCE: u8 = 2;
const LIST: u8 = 4;
const REASON: u8 = 8;
const NOTE: u8 = 16;

const CATEGORIES: [Category; 7] = [
    Category::Failed,
    Category::Invalid,
    Category::Complaint,
    Category::Rejected,
    Category::Transient,
    Category::Unknown,
    Category::Blocked,
];

fn length(record: &[u8]) -> usize {
    u32::from_le_bytes([record[0], record[1], record[2], record[3]]) as usize
}

/// The record that octets begin with.
fn record(octets: &[u8]) -> &[u8] {
    &octets[..length(octets)]
}

/// The text of the subject that a record is about.
fn key(record: &[u8]) -> &[u8] {
    &record[6..6 + usize::from(u16::from_le_bytes([record[4], record[5]]))]
}

fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    let key = entry.subject.text();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&entry.line.to_le_bytes());
    let texts =
        [(LIST, entry.list.as_ref().map(|list| &list.0)), (REASON, entry.reason.as_ref()), (NOTE, entry.note.as_ref())];
    let present = |there: bool, flag: u8| if there { flag } else { 0 };
    let flags = present(entry.code.is_some(), CODE) | present(entry.since.is_some(), SINCE);
    out.push(texts.iter().fold(flags, |flags, (flag, text)| flags | present(text.is_some(), *flag)));
    let category = entry.category.and_then(|category| CATEGORIES.iter().position(|known| *known == category));
    let bounce_type = match entry.bounce_type {
        None => 0,
        Some(BounceType::Hard) => 1,
        Some(BounceType::Soft) => 2,
    };
    out.push(category.map_or(0, |place| place as u8 + 1) << 2 | bounce_type);
    if let Some(BounceCode { class, subject, detail }) = entry.code {
        out.push(class);
        out.extend_from_slice(&subject.to_le_bytes());
        out.extend_from_slice(&detail.to_le_bytes());
    }
    if let Some(since) = entry.since {
        out.extend_from_slice(&since.as_second().to_le_bytes());
        out.extend_from_slice(&since.subsec_nanosecond().to_le_bytes());
    }
    for text in texts.iter().filter_map(|(_, text)| *text) {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn decode(record: &[u8]) -> Option<Entry> {
    let subject: Subject = std::str::from_utf8(key(record)).ok()?.parse().ok()?;
    let mut rest = &record[6 + key(record).len()..];
    let line = u64::from_le_bytes(*take(&mut rest)?);
    let [flags, kinds] = *take(&mut rest)?;
    let category = match kinds >> 2 {
        0 => None,
        place => Some(*CATEGORIES.get(usize::from(place) - 1)?),
    };
    let bounce_type = match kinds & 3 {
        0 => None,
        1 => Some(BounceType::Hard),
        _ => Some(BounceType::Soft),
    };
    let mut code = None;
    if flags & CODE != 0 {
        let [class, s0, s1, d0, d1] = *take(&mut rest)?;
        let (subject, detail) = (u16::from_le_bytes([s0, s1]), u16::from_le_bytes([d0, d1]));
        code = Some(BounceCode { class, subject, detail });
    }
    let mut since = None;
    if flags & SINCE != 0 {
        let seconds = i64::from_le_bytes(*take(&mut rest)?);
        since = Some(Timestamp::new(seconds, i32::from_le_bytes(*take(&mut rest)?)).ok()?);
    }
    let mut text = |flag: u8| -> Option<Option<String>> {
        if flags & flag == 0 {
            return Some(None);
        }
        let length = u32::from_le_bytes(*take(&mut rest)?) as usize;
        let (text, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(Some(std::str::from_utf8(text).ok()?.to_owned()))
    };
    let (list, reason, note) = (text(LIST)?.map(ListId), text(REASON)?, text(NOTE)?);
    Some(Entry { line, subject, category, bounce_type, code, reason, note, since, list })
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::{Accepts, Line, Reader};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn plain(text: &str, line: u64) -> Entry {
        Entry {
            line,
            subject: text.parse().expect("a subject"),
            category: None,
            bounce_type: None,
            code: None,
            reason: None,
            note: None,
            since: None,
            list: None,
        }
    }

    fn sorted(entries: &[Entry], memory_bytes: usize) -> (Vec<Entry>, u64) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sorter = Sorter::new(directory.path(), memory_bytes);
        entries.iter().for_each(|entry| sorter.push(entry).expect("a disk"));
        let mut sorted = sorter.finish().expect("a disk");
        let names = std::fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(names, 0, "the file has a name");
        let found: Result<Vec<Entry>, _> = sorted.by_ref().collect();
        (found.expect("a disk"), sorted.duplicates())
    }

    /// What must come out, made the plain way.
    fn expected(entries: &[Entry]) -> Vec<Entry> {
        let mut given = HashSet::new();
        let mut expected: Vec<Entry> = entries
            .iter()
            .filter(|entry| given.insert((entry.subject.to_string(), entry.list.clone(), entry.category)))
            .cloned()
            .collect();
        expected.sort_by_key(|entry| entry.subject.to_string());
        expected
    }

    fn subjects() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c]{1,3}@(example|beispiel)\\.(org|com)",
            "[a-b]{1,12}@example\\.org",
            "\\.?[a-b]{1,2}\\.example",
            "md5:[0-9a-f]{32}",
            "sha256:[a-z]{1,4}:[0-9a-f]{64}",
        ]
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let text = || proptest::option::of("[ -~\u{e4}]{0,40}");
        let list = proptest::option::of("[ab]\\.example\\.org");
        let code = proptest::option::of((4u8..=5, 0u16..9, 0u16..999));
        let time = proptest::option::of((0i64..4_000_000_000, 0i32..1_000_000_000));
        (subjects(), 0usize..8, 0u8..3, code, text(), text(), time, list).prop_map(
            |(subject, category, kind, code, reason, note, time, list)| Entry {
                category: category.checked_sub(1).map(|place| CATEGORIES[place]),
                bounce_type: [None, Some(BounceType::Hard), Some(BounceType::Soft)][usize::from(kind)],
                code: code.map(|(class, subject, detail)| BounceCode { class, subject, detail }),
                reason,
                note,
                since: time.map(|(seconds, nanos)| Timestamp::new(seconds, nanos).expect("within range")),
                list: list.map(ListId),
                ..plain(&subject, 0)
            },
        )
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in_sorted_and_without_duplicates(
            mut entries in vec(entries(), 0..300),
            memory_bytes in 200usize..100_000,
        ) {
            entries.iter_mut().zip(1..).for_each(|(entry, line)| entry.line = line);
            let (found, duplicates) = sorted(&entries, memory_bytes);
            let expected = expected(&entries);
            prop_assert_eq!(duplicates, (entries.len() - expected.len()) as u64);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_record_reads_back_as_written(entry in entries()) {
            let mut octets = Vec::new();
            encode(&entry, &mut octets);
            prop_assert_eq!(record(&octets).len(), octets.len());
            prop_assert_eq!(decode(&octets), Some(entry));
        }
    }

    #[test]
    fn an_entry_for_another_list_or_of_another_category_is_no_duplicate() {
        let news = Some(ListId("news.example.org".to_owned()));
        let mut entries: Vec<Entry> = (1..=5).map(|line| plain("joe@example.org", line)).collect();
        entries[1].list = news.clone();
        entries[2].category = Some(Category::Complaint);
        entries[4].list = news;
        let (found, duplicates) = sorted(&entries, MEMORY_BYTES);
        assert_eq!(found.iter().map(|entry| entry.line).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(duplicates, 2);
    }

    #[test]
    fn nothing_sorted_is_nothing() {
        assert_eq!(sorted(&[], 1000), (Vec::new(), 0));
        assert_eq!(sorted(&[], 0), (Vec::new(), 0));
        assert_eq!(sorted(&[plain("joe@example.org", 1)], 0).0.len(), 1);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let mut sorter = Sorter::new(Path::new("/nonexistent/of/backstop"), 0);
        assert!(sorter.push(&plain("joe@example.org", 1)).is_err());
    }

    /// Prints the rate; run it with `--release -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn ten_million_addresses_are_read_and_sorted() {
        const MANY: u64 = 10_000_000;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("list");
        let mut list = BufWriter::new(File::create(&path).expect("a disk"));
        for number in 0..MANY {
            let scrambled = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            writeln!(list, "user.{:x}@host{}.example.org", scrambled >> 24, scrambled % 997).expect("a disk");
        }
        list.flush().expect("a disk");
        let start = std::time::Instant::now();
        let input = io::BufReader::with_capacity(1 << 18, File::open(&path).expect("just written"));
        let mut sorter = Sorter::new(directory.path(), MEMORY_BYTES);
        for line in Reader::new(input, None, Accepts::default()) {
            let Line::Entry(entry) = line.expect("a disk") else { panic!("an address") };
            sorter.push(&entry).expect("a disk");
        }
        let pushed = start.elapsed();
        let mut sorted = sorter.finish().expect("a disk");
        let (mut count, mut last) = (0, String::new());
        for entry in sorted.by_ref() {
            let subject = entry.expect("a disk").subject;
            assert!(subject.text().as_ref() > last.as_str());
            last.clear();
            last.push_str(&subject.text());
            count += 1;
        }
        assert_eq!(count + sorted.duplicates(), MANY);
        let status = std::fs::read_to_string("/proc/self/status").expect("proc");
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        println!("read and pushed in {pushed:?}, all in {:?}, {peak}", start.elapsed());
    }
}
