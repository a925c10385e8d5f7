//! How the fact of an imported suppression is written in a contact record: short, since there are millions.
//!
//! | octets | what |
//! |---|---|
//! | 1 | version |
//! | 1 | flags, below |
//! | 1 | category, four bits, and type |
//! | some | the batch: how far the event's id is ahead of it, milliseconds and counter; else 16 octets |
//! | some | time: milliseconds from that of the event's id; else 12 octets |
//! | some | code, if any |
//! | 4 | since when, if told: seconds from 1970; else 12 octets |
//! | some | list, unless it holds for all mail; reason, unless it is `imported` |
//!
//! The event's id ends the key. Numbers are written seven bits to an octet, the lowest first.

use super::fact::{Numbered, Reader, TEXT, put_time};
use crate::classify::BounceCode;
use crate::mail::ListId;
use crate::policy::contact::FactKind;
use crate::policy::{EventId, Fact, Imported, Scope};
use jiff::Timestamp;

/// The first octet of such an entry.
pub const VERSION: u8 = 2;

const BATCH_WHOLE: u8 = 1;
const AT_WHOLE: u8 = 2;
const CODE: u8 = 4;
const SINCE: u8 = 8;
const SINCE_WHOLE: u8 = 16;
const LIST: u8 = 32;
const REASON: u8 = 64;

/// `reason` where the list gave none.
const IMPORTED: &str = "imported";

/// The entry of what was imported with this event.
pub fn encode(event: EventId, at: Timestamp, imported: &Imported) -> Vec<u8> {
    let Imported { batch, scope, category, bounce_type, code, reason, since } = imported;
    let number = |number: Option<u8>| number.unwrap_or(0);
    let kind = number(category.map(Numbered::number)) << 4 | number(bounce_type.map(Numbered::number));
    let mut flags = 0;
    let mut rest = Vec::with_capacity(40);
    match ahead(event, *batch) {
        Some((milliseconds, counter)) => {
            put_number(&mut rest, milliseconds);
            put_number(&mut rest, counter);
        }
        None => {
            flags |= BATCH_WHOLE;
            rest.extend(batch.0.to_be_bytes());
        }
    }
    match at.as_millisecond().checked_sub(milliseconds(event)) {
        Some(apart) if at.subsec_nanosecond() % 1_000_000 == 0 => put_number(&mut rest, zigzag(apart)),
        _ => {
            flags |= AT_WHOLE;
            put_time(&mut rest, at);
        }
    }
    if let Some(BounceCode { class, subject, detail }) = code {
        flags |= CODE;
        rest.push(*class);
        put_number(&mut rest, (*subject).into());
        put_number(&mut rest, (*detail).into());
    }
    if let Some(since) = since {
        match u32::try_from(since.as_second()) {
            Ok(seconds) if since.subsec_nanosecond() == 0 => {
                flags |= SINCE;
                rest.extend(seconds.to_be_bytes());
            }
            _ => {
                flags |= SINCE_WHOLE;
                put_time(&mut rest, *since);
            }
        }
    }
    if let Scope::List(list) = scope {
        flags |= LIST;
        put_text(&mut rest, &list.0);
    }
    if reason != IMPORTED {
        flags |= REASON;
        put_text(&mut rest, reason);
    }
    let mut entry = vec![VERSION, flags, kind];
    entry.extend(rest);
    entry
}

/// Event, time and batch of the entry under a key.
pub fn head(key: &[u8], entry: &[u8]) -> Option<(EventId, Timestamp, EventId)> {
    let event = EventId(u128::from_be_bytes(*key.last_chunk()?));
    let mut reader = Reader(entry);
    let [VERSION, flags, _] = reader.octets()? else { return None };
    let batch = reader.batch(event, flags)?;
    Some((event, reader.at(event, flags)?, batch))
}

/// The fact of the entry under a key.
pub fn decode(key: &[u8], entry: &[u8]) -> Option<Fact> {
    let event = EventId(u128::from_be_bytes(*key.last_chunk()?));
    let mut reader = Reader(entry);
    let [VERSION, flags, kind] = reader.octets()? else { return None };
    if flags & !(BATCH_WHOLE | AT_WHOLE | CODE | SINCE | SINCE_WHOLE | LIST | REASON) != 0 {
        return None;
    }
    let batch = reader.batch(event, flags)?;
    let at = reader.at(event, flags)?;
    let code = match flags & CODE {
        0 => None,
        _ => Some(BounceCode {
            class: reader.octet()?,
            subject: reader.number()?.try_into().ok()?,
            detail: reader.number()?.try_into().ok()?,
        }),
    };
    let since = match flags & (SINCE | SINCE_WHOLE) {
        0 => None,
        SINCE => Some(Timestamp::from_second(u32::from_be_bytes(reader.octets()?).into()).ok()?),
        SINCE_WHOLE => Some(reader.time()?),
        _ => return None,
    };
    let scope = if flags & LIST == 0 { Scope::System } else { Scope::List(ListId(reader.short_text()?)) };
    let reason = if flags & REASON == 0 { IMPORTED.to_owned() } else { reader.short_text()? };
    let numbers = [kind >> 4, kind & 15];
    let mut kinds = Reader(&numbers);
    let (category, bounce_type) = (kinds.numbered()?, kinds.numbered()?);
    let imported = Imported { batch, scope, category, bounce_type, code, reason, since };
    reader.0.is_empty().then(|| Fact { event, at, what: FactKind::Imported(Box::new(imported)) })
}

fn milliseconds(id: EventId) -> i64 {
    (id.0 >> 80) as i64
}

/// How far an event is ahead of its batch, if both are of one host: milliseconds and counter.
fn ahead(event: EventId, batch: EventId) -> Option<(u64, u64)> {
    let host = |id: EventId| (id.0 >> 48) as u32;
    let counter = |id: EventId| id.0 as u64 & 0xffff_ffff_ffff;
    let milliseconds = milliseconds(event).checked_sub(milliseconds(batch))?;
    let counter = counter(event).checked_sub(counter(batch))?;
    (host(event) == host(batch)).then_some((u64::try_from(milliseconds).ok()?, counter))
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

pub(super) fn put_number(entry: &mut Vec<u8>, mut number: u64) {
    while number >= 128 {
        entry.push(number as u8 | 128);
        number >>= 7;
    }
    entry.push(number as u8);
}

fn put_text(entry: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT)];
    put_number(entry, text.len() as u64);
    entry.extend(text.as_bytes());
}

impl<'a> Reader<'a> {
    /// A number as [`put_number`] writes it.
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in 0..10 {
            let octet = self.octet()?;
            number |= u64::from(octet & 127) << (7 * place);
            if octet < 128 {
                return Some(number);
            }
        }
        None
    }

    /// So many octets.
    pub(super) fn slice(&mut self, length: u64) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(length.try_into().ok()?)?;
        self.0 = rest;
        Some(slice)
    }

    fn short_text(&mut self) -> Option<String> {
        let length = self.number()?;
        Some(std::str::from_utf8(self.slice(length)?).ok()?.to_owned())
    }

    fn batch(&mut self, event: EventId, flags: u8) -> Option<EventId> {
        if flags & BATCH_WHOLE != 0 {
            return Some(EventId(u128::from_be_bytes(self.octets()?)));
        }
        let (milliseconds, counter) = (self.number()?, self.number()?);
        let back = u128::from(milliseconds).checked_mul(1 << 80)?.checked_add(counter.into())?;
        event.0.checked_sub(back).map(EventId)
    }

    fn at(&mut self, event: EventId, flags: u8) -> Option<Timestamp> {
        if flags & AT_WHOLE != 0 {
            return self.time();
        }
        let number = self.number()?;
        let apart = (number >> 1) as i64 ^ -((number & 1) as i64);
        Timestamp::from_millisecond(milliseconds(event).checked_add(apart)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{BounceType, Category};

    #[test]
    fn what_was_imported_is_read_as_it_was_written_and_cut_short_it_is_nothing() {
        let time = |second, nanosecond| Timestamp::new(second, nanosecond).unwrap();
        let id =
            |millisecond, host, counter| EventId::new(Timestamp::from_millisecond(millisecond).unwrap(), host, counter);
        let event = id(1_760_000_123_456, 7, 99);
        let plain = Imported {
            batch: id(1_760_000_000_000, 7, 4),
            scope: Scope::System,
            category: Some(Category::Rejected),
            bounce_type: Some(BounceType::Hard),
            code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
            reason: "hard-bounce".to_owned(),
            since: Some(time(1_700_000_000, 0)),
        };
        let bare = Imported { category: None, bounce_type: None, code: None, since: None, ..plain.clone() };
        let samples = [
            (time(1_760_000_000, 0), plain.clone()),
            (time(1_760_000_000, 1), plain.clone()),
            (time(1_770_000_000, 999_000_000), bare.clone()),
            (Timestamp::MAX, bare.clone()),
            (Timestamp::MIN, Imported { reason: "imported".to_owned(), ..bare.clone() }),
            (Timestamp::UNIX_EPOCH, Imported { batch: id(1_760_000_000_000, 8, 4), ..bare.clone() }),
            (Timestamp::UNIX_EPOCH, Imported { batch: id(1_760_000_200_000, 7, 4), ..bare.clone() }),
            (Timestamp::UNIX_EPOCH, Imported { batch: id(1_760_000_000_000, 7, 100), ..bare.clone() }),
            (Timestamp::UNIX_EPOCH, Imported { since: Some(time(-5, 0)), ..plain.clone() }),
            (Timestamp::UNIX_EPOCH, Imported { since: Some(time(5, 1)), reason: String::new(), ..plain.clone() }),
            (Timestamp::UNIX_EPOCH, Imported { scope: Scope::List(ListId("news".to_owned())), ..plain.clone() }),
        ];
        for (at, imported) in samples {
            let entry = encode(event, at, &imported);
            let key = [b"joe@example.org\0".as_slice(), &event.0.to_be_bytes()].concat();
            assert_eq!(head(&key, &entry), Some((event, at, imported.batch)));
            let fact = Fact { event, at, what: FactKind::Imported(Box::new(imported)) };
            assert_eq!(decode(&key, &entry), Some(fact.clone()));
            assert!((0..entry.len()).all(|end| decode(&key, &entry[..end]).is_none()), "{fact:?}");
            assert_eq!(decode(&key, &[&entry[..], &[0]].concat()), None, "{fact:?}");
            assert_eq!(decode(b"short", &entry), None);
        }
        assert!(encode(event, time(1_760_000_000, 0), &plain).len() <= 32);
    }
}
