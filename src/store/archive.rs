//! The form of a backup: one stream, written once from its beginning to its end, and read the same way.
//!
//! It begins with [`MAGIC`]. Then come records, each of them
//!
//! | octets | what |
//! |---|---|
//! | 1 | part: 0 header, 1 to 6 an entry of a tree ([`Part`]), 7 end, 8 broken off |
//! | 1 | length of the key |
//! | 2 | length of the value |
//! | | key, value |
//! | 4 | the first octets of the BLAKE3 hash of all that |
//!
//! Header, end and words of a break are JSON. The end holds how many entries each tree has and the hash of every
//! octet before it; nothing follows it. Numbers are big-endian.

use crate::policy::EventId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What every backup begins with; the number is the version of this form.
pub const MAGIC: &[u8] = b"backstop-backup 1\n";

/// Octets of a record before its key.
const FRAME: usize = 4;
/// Octets behind its value.
const CHECK: usize = 4;
/// The longest key.
const KEY: usize = 64;
/// The longest value: those of the store are shorter by far.
const VALUE: usize = 16 << 10;

/// Which tree an entry is of. What can be made anew from the events is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Records about the store: its host number, the key of its hashes, ...
    Meta,
    /// Events.
    Events,
    /// Who was erased and stays blocked.
    Erased,
    /// Batches.
    Batches,
    /// What was undone.
    Voided,
    /// Sends.
    Ledger,
    /// How many recipients each campaign was sent to.
    Sent,
}

/// All of them, in the order in which they are written.
pub const PARTS: [Part; 7] =
    [Part::Meta, Part::Events, Part::Erased, Part::Batches, Part::Voided, Part::Ledger, Part::Sent];

impl Part {
    fn octet(self) -> u8 {
        match self {
            Part::Meta => 1,
            Part::Events => 2,
            Part::Erased => 3,
            Part::Batches => 4,
            Part::Voided => 5,
            Part::Ledger => 6,
            Part::Sent => 7,
        }
    }

    /// The tree's name.
    pub fn tree(self) -> &'static str {
        match self {
            Part::Meta => "meta",
            Part::Events => "events",
            Part::Erased => "erased",
            Part::Batches => "batches",
            Part::Voided => "voided",
            Part::Ledger => "ledger",
            Part::Sent => "sent",
        }
    }
}

const HEADER: u8 = 0;
const END: u8 = 14;
const BROKEN: u8 = 15;

/// What a backup says of itself at its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The schema of its entries.
    pub schema: u32,
    /// The program that wrote it.
    pub version: String,
    /// When it was begun.
    pub at: Timestamp,
    /// The newest event in it; none where there is none.
    pub last: Option<EventId>,
    /// Events on record when it was begun.
    pub events: u64,
}

/// What a backup says at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// Entries of each tree, in the order of [`PARTS`].
    pub entries: [u64; PARTS.len()],
    /// The hash of all octets before the end, hexadecimal.
    pub hash: String,
}

/// Why a backup was broken off by who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// In words.
    pub problem: String,
    /// The same asked again may come to an end.
    pub again: bool,
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It begins with something else.
    #[error("it is no backup of Backstop, or of a version that this one cannot read")]
    NotABackup,
    /// A record is not as it was written.
    #[error("it is damaged: {problem} (octet {at})")]
    Damaged {
        /// How many octets stand before it.
        at: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// It ends before its end.
    #[error("it is cut off after {at} octets")]
    CutOff {
        /// How many octets there are.
        at: u64,
    },
    /// Who wrote it did not come to the end.
    #[error("it was broken off: {}", .0.problem)]
    Broken(Broken),
}

/// Writes a backup: each call gives the octets to be written next.
#[derive(Default)]
pub struct Packer {
    hasher: blake3::Hasher,
    summary: Summary,
}

impl Packer {
    /// The beginning.
    pub fn begin(&mut self, header: &Header) -> Vec<u8> {
        let mut octets = MAGIC.to_vec();
        octets.extend(record(HEADER, &[], &json(header)));
        self.hasher.update(&octets);
        octets
    }

    /// Adds an entry to `octets`. `event`: it is the first piece of one.
    pub fn entry(&mut self, octets: &mut Vec<u8>, part: Part, key: &[u8], value: &[u8], event: bool) {
        let record = record(part.octet(), key, value);
        self.hasher.update(&record);
        self.summary.entries[usize::from(part.octet() - 1)] += 1;
        self.summary.events += u64::from(event);
        octets.extend(record);
    }

    /// The end, and what it says.
    pub fn end(mut self) -> (Vec<u8>, Summary) {
        self.summary.hash = self.hasher.finalize().to_hex().to_string();
        (record(END, &[], &json(&self.summary)), self.summary)
    }

    /// The end of what was broken off.
    pub fn broken(broken: &Broken) -> Vec<u8> {
        record(BROKEN, &[], &json(broken))
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("these are structs of numbers and short texts")
}

fn record(part: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    debug_assert!(key.len() <= KEY && value.len() <= VALUE);
    let mut octets = Vec::with_capacity(FRAME + key.len() + value.len() + CHECK);
    octets.extend([part, key.len() as u8]);
    octets.extend((value.len() as u16).to_be_bytes());
    octets.extend_from_slice(key);
    octets.extend_from_slice(value);
    let check = check(&octets);
    octets.extend(check);
    octets
}

fn check(octets: &[u8]) -> [u8; CHECK] {
    *blake3::hash(octets).as_bytes().first_chunk().expect("a hash is longer")
}

/// One thing read.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The beginning.
    Header(Header),
    /// An entry of a tree.
    Entry(Part, &'a [u8], &'a [u8]),
}

/// Reads a backup as its octets come.
pub struct Unpacker {
    hasher: blake3::Hasher,
    /// Octets that are no whole record yet.
    rest: Vec<u8>,
    /// Octets before these.
    at: u64,
    begun: bool,
    last: Option<Part>,
    counted: [u64; PARTS.len()],
    ended: Option<Summary>,
}

impl Default for Unpacker {
    fn default() -> Unpacker {
        Unpacker {
            hasher: blake3::Hasher::new(),
            rest: Vec::new(),
            at: 0,
            begun: false,
            last: None,
            counted: [0; PARTS.len()],
            ended: None,
        }
    }
}

impl Unpacker {
    /// Reads what comes next, and hands on what is whole. Pieces are best some ten thousand octets long.
    ///
    /// # Errors
    /// [`ArchiveError`]; that of `take`.
    pub fn feed<E: From<ArchiveError>>(
        &mut self,
        octets: &[u8],
        take: &mut dyn FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(octets);
        let mut from = 0;
        while let Some(length) = self.next(&rest[from..], take)? {
            from += length;
            self.at += length as u64;
        }
        rest.drain(..from);
        self.rest = rest;
        Ok(())
    }

    /// Reads one record, if it is whole. Its length.
    fn next<E: From<ArchiveError>>(
        &mut self,
        octets: &[u8],
        take: &mut dyn FnMut(Item<'_>) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        if self.at == 0 {
            if octets.len() < MAGIC.len() && MAGIC.starts_with(octets) {
                return Ok(None);
            }
            if !octets.starts_with(MAGIC) {
                return Err(ArchiveError::NotABackup.into());
            }
            self.hasher.update(MAGIC);
            return Ok(Some(MAGIC.len()));
        }
        let Some(&[part, key, high, low]) = octets.first_chunk() else { return Ok(None) };
        if self.ended.is_some() {
            return Err(self.damaged("something follows its end").into());
        }
        let (key, value) = (usize::from(key), usize::from(u16::from_be_bytes([high, low])));
        if part > BROKEN || key > KEY || value > VALUE {
            return Err(self.damaged("no record begins like this").into());
        }
        let length = FRAME + key + value + CHECK;
        let Some(record) = octets.get(..length) else { return Ok(None) };
        let (octets, sum) = record.split_at(length - CHECK);
        if check(octets) != sum {
            return Err(self.damaged("a checksum is wrong").into());
        }
        let (key, value) = octets[FRAME..].split_at(key);
        match part {
            HEADER if !self.begun => {
                self.begun = true;
                let header = serde_json::from_slice(value).map_err(|_| self.damaged("its header cannot be read"))?;
                take(Item::Header(header))?;
            }
            BROKEN => {
                let broken = serde_json::from_slice(value).map_err(|_| self.damaged("a record cannot be read"))?;
                return Err(ArchiveError::Broken(broken).into());
            }
            _ if !self.begun => return Err(self.damaged("its header is missing").into()),
            END => {
                let summary: Summary =
                    serde_json::from_slice(value).map_err(|_| self.damaged("its end cannot be read"))?;
                if summary.hash != self.hasher.finalize().to_hex().as_str() {
                    return Err(self.damaged("the hash over all of it is wrong").into());
                }
                if summary.entries != self.counted {
                    return Err(self.damaged("entries are missing").into());
                }
                self.ended = Some(summary);
                return Ok(Some(length));
            }
            _ => {
                let entry = part.checked_sub(1).and_then(|part| PARTS.get(usize::from(part))).copied();
                let entry = entry.filter(|part| self.last.is_none_or(|last| *part >= last));
                let Some(part) = entry else { return Err(self.damaged("its parts are out of order").into()) };
                self.last = Some(part);
                self.counted[usize::from(part.octet() - 1)] += 1;
                take(Item::Entry(part, key, value))?;
            }
        }
        self.hasher.update(record);
        Ok(Some(length))
    }

    /// There is no more. What the end says of the whole.
    ///
    /// # Errors
    /// [`ArchiveError::CutOff`] when there was no end.
    pub fn finish(self) -> Result<Summary, ArchiveError> {
        let octets = self.octets();
        match self.ended {
            Some(summary) if self.rest.is_empty() => Ok(summary),
            Some(_) => Err(self.damaged("something follows its end")),
            None => Err(ArchiveError::CutOff { at: octets }),
        }
    }

    /// Octets read so far.
    pub fn octets(&self) -> u64 {
        self.at + self.rest.len() as u64
    }

    fn damaged(&self, problem: &'static str) -> ArchiveError {
        ArchiveError::Damaged { at: self.at, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { schema: 2, version: "1".to_owned(), at: Timestamp::UNIX_EPOCH, last: Some(EventId(7)), events: 2 }
    }

    fn packed() -> Vec<u8> {
        let mut packer = Packer::default();
        let mut octets = packer.begin(&header());
        packer.entry(&mut octets, Part::Meta, b"host", b"1234", false);
        packer.entry(&mut octets, Part::Events, &[6; 16], b"one", true);
        packer.entry(&mut octets, Part::Events, &[7; 16], &[0; 4096], true);
        packer.entry(&mut octets, Part::Ledger, &[8; 28], b"", false);
        octets.extend(packer.end().0);
        octets
    }

    fn unpack(octets: &[u8], at_once: usize) -> Result<(Vec<String>, Summary), ArchiveError> {
        let mut unpacker = Unpacker::default();
        let mut items = Vec::new();
        let mut take = |item: Item<'_>| -> Result<(), ArchiveError> {
            items.push(match item {
                Item::Header(header) => format!("{header:?}"),
                Item::Entry(part, key, value) => format!("{part:?} {} {}", key.len(), value.len()),
            });
            Ok(())
        };
        octets.chunks(at_once).try_for_each(|some| unpacker.feed(some, &mut take))?;
        Ok((items, unpacker.finish()?))
    }

    #[test]
    fn what_was_packed_is_unpacked_however_it_arrives() {
        let octets = packed();
        for at_once in [1, 3, 1000, octets.len()] {
            let (items, summary) = unpack(&octets, at_once).unwrap();
            assert_eq!(items[1..], ["Meta 4 4", "Events 16 3", "Events 16 4096", "Ledger 28 0"]);
            assert_eq!(items[0], format!("{:?}", header()));
            assert_eq!((summary.events, summary.entries), (2, [1, 2, 0, 0, 0, 1, 0]));
        }
    }

    #[test]
    fn a_backup_that_is_cut_off_anywhere_is_refused() {
        let octets = packed();
        for end in 0..octets.len() {
            assert!(matches!(unpack(&octets[..end], 999), Err(ArchiveError::CutOff { .. })), "{end}");
        }
        let longer = [&octets[..], b"x"].concat();
        assert!(unpack(&longer, 999).is_err());
        assert!(unpack(&[&octets[..], &octets].concat(), 999).is_err());
    }

    #[test]
    fn a_backup_in_which_one_octet_was_altered_is_refused() {
        let octets = packed();
        for at in 0..octets.len() {
            let mut altered = octets.clone();
            altered[at] ^= 1;
            assert!(unpack(&altered, 999).is_err(), "{at}");
        }
    }

    #[test]
    fn a_backup_from_which_a_record_was_taken_or_twice_put_is_refused() {
        let mut packer = Packer::default();
        let begin = packer.begin(&header());
        let mut one = Vec::new();
        packer.entry(&mut one, Part::Events, &[6; 16], b"one", true);
        let mut two = Vec::new();
        packer.entry(&mut two, Part::Events, &[7; 16], b"two", true);
        let (end, _) = packer.end();
        assert!(unpack(&[&begin[..], &one, &two, &end].concat(), 999).is_ok());
        for other in [vec![&begin, &one, &end], vec![&begin, &two, &one, &end], vec![&begin, &one, &one, &two, &end]] {
            let other: Vec<u8> = other.into_iter().flatten().copied().collect();
            assert!(matches!(unpack(&other, 999), Err(ArchiveError::Damaged { .. })));
        }
    }

    #[test]
    fn what_was_broken_off_says_why() {
        let mut octets = Packer::default().begin(&header());
        octets.extend(Packer::broken(&Broken { problem: "no more".to_owned(), again: true }));
        let Err(ArchiveError::Broken(broken)) = unpack(&octets, 999) else { panic!("it was broken off") };
        let at_once = [MAGIC, &Packer::broken(&broken)].concat();
        assert!(matches!(unpack(&at_once, 7), Err(ArchiveError::Broken(_))), "before its header, too");
        assert!(broken.again && broken.problem == "no more");
    }

    #[test]
    fn what_is_no_backup_is_told_from_one_that_is_damaged() {
        assert!(matches!(unpack(b"From joe@example.org", 999), Err(ArchiveError::NotABackup)));
        assert!(matches!(unpack(b"backstop-backup 2\nfuture", 999), Err(ArchiveError::NotABackup)));
    }
}
