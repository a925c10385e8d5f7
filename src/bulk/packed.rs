//! Entries as short records, in memory and in the files of a sort.
//!
//! A record: its length (4 octets), that of the key (2), the key, the line (8), which fields follow (1), category
//! and type (1), and of code (5), time (12), list, reason and note those that are there. Numbers are little-endian.

use super::{CATEGORIES, Entry, Subject};
use crate::classify::{BounceCode, BounceType};
use crate::mail::ListId;
use jiff::Timestamp;
const CODE: u8 = 1;
const SINCE: u8 = 2;
const LIST: u8 = 4;
const REASON: u8 = 8;
const NOTE: u8 = 16;

/// The length a record begins with.
pub fn length(record: &[u8]) -> usize {
    u32::from_le_bytes([record[0], record[1], record[2], record[3]]) as usize
}

/// The record that octets begin with.
pub fn record(octets: &[u8]) -> &[u8] {
    &octets[..length(octets)]
}

/// The text of the subject that a record is about.
pub fn key(record: &[u8]) -> &[u8] {
    &record[6..6 + usize::from(u16::from_le_bytes([record[4], record[5]]))]
}

/// Appends an entry. Its subject's text has at most 65535 octets.
pub fn encode(entry: &Entry, out: &mut Vec<u8>) {
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

/// The entry of a record; `None` if it is damaged.
pub fn decode(record: &[u8]) -> Option<Entry> {
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

/// The first octets of a key, in an order that is that of the keys.
pub fn prefix(key: &[u8]) -> u64 {
    let mut prefix = [0; 8];
    let length = key.len().min(8);
    prefix[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(prefix)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(taken)
}
