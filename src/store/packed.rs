//! How a piece of an import is written in the event log: as JSON it would take five times the room.
//!
//! First the event as JSON without its entries, and as a JSON list what entries say beside subject and
//! time, each once; both with their length before them. Then the number of entries and each of them: how many
//! octets of its subject are those of the one before, how many more there are, and those; which of the list it
//! goes by; and since when: 0, or 1 and seconds, or 2 and 12 octets. Numbers are as in [`super::imported`].

use super::fact::{Reader, put_time};
use super::imported::put_number;
use crate::policy::{Event, ImportedEntry, What};
use jiff::Timestamp;

/// So far back an entry's like is looked for.
const LIKE: usize = 16;

/// Writes a piece of an import; none for any other event.
///
/// # Errors
/// Those of JSON.
pub fn encode(event: &Event) -> Option<serde_json::Result<Vec<u8>>> {
    let What::Imported { batch, list, entries } = &event.what else { return None };
    let what = What::Imported { batch: *batch, list: *list, entries: Vec::new() };
    let bare =
        Event { id: event.id, at: event.at, address: event.address.clone(), queue_id: event.queue_id.clone(), what };
    Some(write(&bare, entries))
}

fn write(bare: &Event, entries: &[ImportedEntry]) -> serde_json::Result<Vec<u8>> {
    let mut kinds: Vec<ImportedEntry> = Vec::new();
    let mut rows = Vec::with_capacity(entries.len() * 32);
    put_number(&mut rows, entries.len() as u64);
    let mut last = "";
    for entry in entries {
        let like = kinds.iter().rposition(|kind| is_like(kind, entry)).filter(|place| place + LIKE >= kinds.len());
        let kind = like.unwrap_or_else(|| {
            kinds.push(ImportedEntry { subject: String::new(), since: None, ..entry.clone() });
            kinds.len() - 1
        });
        let subject = entry.subject.as_bytes();
        let shared = subject.iter().zip(last.as_bytes()).take_while(|(one, other)| one == other).count();
        put_number(&mut rows, shared as u64);
        put_number(&mut rows, (subject.len() - shared) as u64);
        rows.extend(&subject[shared..]);
        put_number(&mut rows, kind as u64);
        put_since(&mut rows, entry.since);
        last = &entry.subject;
    }
    let mut record = Vec::new();
    for json in [serde_json::to_vec(bare)?, serde_json::to_vec(&kinds)?] {
        put_number(&mut record, json.len() as u64);
        record.extend(json);
    }
    record.extend(rows);
    Ok(record)
}

fn is_like(kind: &ImportedEntry, entry: &ImportedEntry) -> bool {
    let ImportedEntry { subject: _, scope, category, bounce_type, code, reason, since: _, note } = kind;
    (scope, category, bounce_type, code) == (&entry.scope, &entry.category, &entry.bounce_type, &entry.code)
        && (reason, note) == (&entry.reason, &entry.note)
}

fn put_since(rows: &mut Vec<u8>, since: Option<Timestamp>) {
    match since {
        None => rows.push(0),
        Some(since) => match u64::try_from(since.as_second()) {
            Ok(seconds) if since.subsec_nanosecond() == 0 => {
                rows.push(1);
                put_number(rows, seconds);
            }
            _ => {
                rows.push(2);
                put_time(rows, since);
            }
        },
    }
}

/// The event written.
///
/// # Errors
/// What is wrong with it.
pub fn decode(record: &[u8]) -> Result<Event, String> {
    let mut reader = Reader(record);
    let cut = || "cut off".to_owned();
    let mut json = || reader.number().and_then(|length| reader.slice(length)).ok_or_else(cut);
    let mut event: Event = serde_json::from_slice(json()?).map_err(|error| error.to_string())?;
    let kinds: Vec<ImportedEntry> = serde_json::from_slice(json()?).map_err(|error| error.to_string())?;
    let What::Imported { entries, .. } = &mut event.what else { return Err("no piece of an import".to_owned()) };
    *entries = read_rows(&mut reader, &kinds).filter(|_| reader.0.is_empty()).ok_or_else(cut)?;
    Ok(event)
}

fn read_rows(reader: &mut Reader<'_>, kinds: &[ImportedEntry]) -> Option<Vec<ImportedEntry>> {
    let count = reader.number()?;
    let mut entries: Vec<ImportedEntry> = Vec::new();
    for _ in 0..count {
        let last = entries.last().map_or("", |last| last.subject.as_str());
        let shared = last.as_bytes().get(..reader.number()?.try_into().ok()?)?;
        let length = reader.number()?;
        let subject = String::from_utf8([shared, reader.slice(length)?].concat()).ok()?;
        let kind = kinds.get(usize::try_from(reader.number()?).ok()?)?.clone();
        let since = match reader.octet()? {
            0 => None,
            1 => Some(Timestamp::from_second(reader.number()?.try_into().ok()?).ok()?),
            2 => Some(reader.time()?),
            _ => return None,
        };
        entries.push(ImportedEntry { subject, since, ..kind });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{BounceType, Category};
    use crate::mail::ListId;
    use crate::policy::{EventId, OperatorList, Scope};

    fn event() -> Event {
        let plain = ImportedEntry {
            subject: String::new(),
            scope: None,
            category: Some(Category::Rejected),
            bounce_type: Some(BounceType::Hard),
            code: None,
            reason: Some("hard-bounce".to_owned()),
            since: None,
            note: None,
        };
        let entry = |number: i64| ImportedEntry {
            subject: format!("contact{number:05}ü@example.org"),
            since: (number % 3 > 0).then(|| Timestamp::new(number - 2, (number % 3 - 1) as i32).unwrap()),
            scope: (number % 7 == 0).then(|| Scope::List(ListId("news".to_owned()))),
            note: (number % 5 == 0).then(|| format!("550 mailbox {number} is gone")),
            ..plain.clone()
        };
        let entries = (0..100).map(entry).chain([entry(3), entry(50), plain.clone()]).collect();
        let what = What::Imported { batch: EventId(3), list: Some(OperatorList::Robinson), entries };
        Event { id: EventId(9), at: Timestamp::UNIX_EPOCH, address: None, queue_id: None, what }
    }

    #[test]
    fn a_piece_of_an_import_is_read_as_it_was_written_and_cut_short_it_is_refused() {
        let event = event();
        let record = encode(&event).unwrap().unwrap();
        assert_eq!(decode(&record), Ok(event.clone()));
        for end in 0..record.len() {
            assert!(decode(&record[..end]).is_err(), "cut at {end}");
        }
        assert!(decode(&[&record[..], &[0]].concat()).is_err());
        assert!(record.len() * 2 < serde_json::to_vec(&event).unwrap().len());
    }
}
