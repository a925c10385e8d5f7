//! Contact records: keys and reading of the trees `contacts.N` and `by_contact.N`.
//!
//! The record of a contact is every entry under its address. The encoding of a fact is in
//! [`super::fact`]; here are the keys, the walk over them, and what a contact may take up.

use super::fact::{self, Head};
use super::{Page, StoreError};
use crate::mail::Address;
use crate::policy::{Contact, ContentKey, EventId};
use sled::Tree;
use std::collections::BTreeSet;

/// Of one contact's responses that nothing vouches for, this many count, the newest: anybody can send us
/// more. All of them stay on record as events.
pub const UNVERIFIED_KEPT: usize = 256;

/// Octets of a key behind the address: NUL and 16 octets.
const TAIL: usize = 17;

/// The key of what is known by its content; of nobody in particular where there is no address.
pub fn content_key(address: Option<&Address>, key: ContentKey) -> Vec<u8> {
    under(address, key.0)
}

/// The key of what is known by its event id only.
pub fn event_key(address: Option<&Address>, id: EventId) -> Vec<u8> {
    under(address, id.0.to_be_bytes())
}

fn under(address: Option<&Address>, tail: [u8; 16]) -> Vec<u8> {
    let mut key = prefix(address);
    key.extend(tail);
    key
}

/// What every key of a contact begins with. NUL sorts below whatever may stand in an address, so keys are in
/// order of address.
pub fn prefix(address: Option<&Address>) -> Vec<u8> {
    let mut prefix = address.map_or(Vec::new(), |address| address.as_str().as_bytes().to_vec());
    prefix.push(0);
    prefix
}

/// The address in a key.
pub fn address_in(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(TAIL)]
}

/// What is on record of a contact.
#[derive(Debug, Default)]
pub struct Record {
    /// Its facts, but for those of batches that do not count.
    pub contact: Contact,
    /// There are some of those: what the record comes to changes when their batch counts.
    pub passed_over: bool,
    /// One of the facts may suppress.
    pub may_suppress: bool,
}

impl Record {
    fn add(&mut self, key: &[u8], entry: &[u8], undone: &BTreeSet<EventId>) -> Result<(), StoreError> {
        let head = Head::read(key, entry).map_err(|problem| damaged(key, problem))?;
        if head.batch.is_some_and(|batch| undone.contains(&batch)) {
            self.passed_over = true;
            return Ok(());
        }
        self.may_suppress |= head.may_suppress();
        let fact = fact::decode(key, entry).map_err(|problem| damaged(key, problem))?;
        self.contact.facts.extend(fact);
        Ok(())
    }

    /// Entries come in the order of their keys, which is none a contact knows.
    fn finish(mut self) -> Record {
        self.contact = self.contact.facts.into_iter().collect();
        self
    }
}

/// The record of a contact, which may be empty; the batches `undone` do not count.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub fn record(contacts: &Tree, address: &Address, undone: &BTreeSet<EventId>) -> Result<Record, StoreError> {
    let mut record = Record::default();
    for entry in contacts.scan_prefix(prefix(Some(address))) {
        let (key, entry) = entry?;
        record.add(&key, &entry, undone)?;
    }
    Ok(record.finish())
}

/// Ids of the newest `limit` events of a contact, oldest first.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub fn event_ids(
    contacts: &Tree,
    by_contact: &Tree,
    address: &Address,
    limit: usize,
    undone: &BTreeSet<EventId>,
) -> Result<Vec<EventId>, StoreError> {
    let mut ids = BTreeSet::new();
    let mut keep = |id| {
        ids.insert(id);
        if ids.len() > limit {
            ids.pop_first();
        }
    };
    for entry in contacts.scan_prefix(prefix(Some(address))) {
        let (key, value) = entry?;
        let head = Head::read(&key, &value).map_err(|problem| damaged(&key, problem))?;
        if head.batch.is_none_or(|batch| !undone.contains(&batch)) {
            keep(head.event);
        }
    }
    for key in by_contact.scan_prefix(prefix(Some(address))).keys().rev().take(limit) {
        keep(event_in(&key?));
    }
    Ok(ids.into_iter().collect())
}

/// The event id at the end of a key of `by_contact`.
fn event_in(key: &[u8]) -> EventId {
    EventId(key.last_chunk().map_or(0, |id| u128::from_be_bytes(*id)))
}

/// Contacts with a fact that may suppress, in order of address behind `cursor`, at most `limit`.
///
/// # Errors
/// [`StoreError`] when they cannot be read.
pub fn page(
    contacts: &Tree,
    cursor: Option<&str>,
    limit: usize,
    undone: &BTreeSet<EventId>,
) -> Result<Page<(Address, Contact)>, StoreError> {
    // 0x01 sorts behind the NUL of the cursor's own keys and before every other address.
    let first = cursor.map_or(vec![1], |cursor| [cursor.as_bytes(), &[1]].concat());
    let mut page = Page { entries: Vec::new(), next: None };
    let more = walk(contacts, first, undone, |address, record| {
        if record.may_suppress {
            let parsed = Address::parse(address).map_err(|error| damaged(address.as_bytes(), &error.to_string()))?;
            page.entries.push((parsed, record.contact));
        }
        Ok(page.entries.len() < limit)
    })?;
    page.next = page.entries.last().filter(|_| more.is_some()).map(|(address, _)| address.as_str().to_owned());
    Ok(page)
}

/// Reads contacts in order of address from a key on. `told` is given each with its record, and says whether to
/// go on. Returns the key to go on from, none at the end.
///
/// # Errors
/// [`StoreError::Damaged`] at the first entry that cannot be read; that of `told`.
pub fn walk(
    contacts: &Tree,
    from: Vec<u8>,
    undone: &BTreeSet<EventId>,
    mut told: impl FnMut(&str, Record) -> Result<bool, StoreError>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let mut tell = |key: &[u8], record: Record| {
        // Of nobody in particular.
        let address = Some(address_in(key)).filter(|address| !address.is_empty());
        let text = |address| std::str::from_utf8(address).map_err(|_| damaged(key, "the address is not UTF-8"));
        address.map(text).transpose()?.map_or(Ok(true), |address| told(address, record.finish()))
    };
    let mut open: Option<(sled::IVec, Record)> = None;
    for entry in contacts.range(from..) {
        let (key, entry) = entry?;
        if let Some((of, record)) = open.take_if(|(of, _)| address_in(of) != address_in(&key))
            && !tell(&of, record)?
        {
            return Ok(Some(key.to_vec()));
        }
        open.get_or_insert_with(|| (key.clone(), Record::default())).1.add(&key, &entry, undone)?;
    }
    if let Some((of, record)) = open {
        tell(&of, record)?;
    }
    Ok(None)
}

/// Looks for contacts in order of address: one search where many that are asked for lie between two that are on
/// record.
pub struct InOrder<'a> {
    contacts: &'a Tree,
    entries: Option<sled::Iter>,
    /// The first key not before the contact asked for last; none at the end.
    next: Option<sled::IVec>,
}

/// So many entries are read through before a contact is searched for.
const READ_THROUGH: usize = 8;

impl<'a> InOrder<'a> {
    /// Nothing looked for yet.
    pub fn new(contacts: &'a Tree) -> InOrder<'a> {
        InOrder { contacts, entries: None, next: None }
    }

    /// Whether anything is under this prefix, which is not before the last one asked for.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn has(&mut self, prefix: &[u8]) -> Result<bool, StoreError> {
        for _ in 0..READ_THROUGH {
            match (&mut self.entries, &self.next) {
                (Some(_), Some(next)) if next.as_ref() >= prefix => return Ok(next.starts_with(prefix)),
                (Some(_), None) => return Ok(false),
                (Some(entries), Some(_)) => self.next = entries.next().transpose()?.map(|(key, _)| key),
                (None, _) => break,
            }
        }
        let mut entries = self.contacts.range(prefix..);
        self.next = entries.next().transpose()?.map(|(key, _)| key);
        self.entries = Some(entries);
        Ok(self.next.as_ref().is_some_and(|next| next.starts_with(prefix)))
    }
}

fn damaged(key: &[u8], problem: &str) -> StoreError {
    let key = String::from_utf8_lossy(address_in(key)).into_owned();
    StoreError::Damaged { tree: "contacts", key, problem: problem.to_owned() }
}
