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

/// The record of a contact; none where no fact is on record.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub fn contact(contacts: &Tree, address: &Address) -> Result<Option<Contact>, StoreError> {
    let mut contact = Contact::default();
    for entry in contacts.scan_prefix(prefix(Some(address))) {
        let (key, value) = entry?;
        if let Some(fact) = fact::decode(&value).map_err(|problem| damaged(&key, problem))? {
            contact.insert(fact);
        }
    }
    Ok((!contact.facts.is_empty()).then_some(contact))
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
        keep(Head::read(&value).map_err(|problem| damaged(&key, problem))?.event);
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
pub fn page(contacts: &Tree, cursor: Option<&str>, limit: usize) -> Result<Page<(Address, Contact)>, StoreError> {
    // 0x01 sorts behind the NUL of the cursor's own keys and before every other address.
    let first = cursor.map_or(vec![1], |cursor| [cursor.as_bytes(), &[1]].concat());
    let mut page = Page { entries: Vec::new(), next: None };
    let mut open: Option<(Vec<u8>, Contact, bool)> = None;
    for entry in contacts.range(first..) {
        let (key, value) = entry?;
        let address = address_in(&key);
        if open.as_ref().is_some_and(|(of, ..)| of != address) {
            finish(&mut page, open.take())?;
            if page.entries.len() >= limit {
                page.next = page.entries.last().map(|(address, _)| address.as_str().to_owned());
                return Ok(page);
            }
        }
        let (_, contact, suppresses) = open.get_or_insert_with(|| (address.to_vec(), Contact::default(), false));
        *suppresses |= Head::read(&value).map_err(|problem| damaged(&key, problem))?.may_suppress();
        fact::decode(&value)
            .map_err(|problem| damaged(&key, problem))?
            .into_iter()
            .for_each(|fact| contact.insert(fact));
    }
    finish(&mut page, open)?;
    Ok(page)
}

fn finish(page: &mut Page<(Address, Contact)>, open: Option<(Vec<u8>, Contact, bool)>) -> Result<(), StoreError> {
    if let Some((address, contact, true)) = open {
        let parsed = Address::parse_bytes(&address).map_err(|error| damaged(&address, &error.to_string()))?;
        page.entries.push((parsed, contact));
    }
    Ok(())
}

/// Reads through all contacts. `seen` is told each address, once or more often, and whether the fact at hand
/// may suppress. Returns how many contacts there are.
///
/// # Errors
/// [`StoreError::Damaged`] at the first entry that cannot be read.
pub fn scan(contacts: &Tree, mut seen: impl FnMut(&str, bool)) -> Result<u64, StoreError> {
    let mut count = 0;
    let mut last = Vec::new();
    for entry in contacts {
        let (key, value) = entry?;
        let head = Head::read(&value).map_err(|problem| damaged(&key, problem))?;
        let address = address_in(&key);
        if address.is_empty() {
            continue;
        }
        if address != last {
            count += 1;
            last.clear();
            last.extend_from_slice(address);
        }
        seen(std::str::from_utf8(address).map_err(|_| damaged(&key, "the address is not UTF-8"))?, head.may_suppress());
    }
    Ok(count)
}

fn damaged(key: &[u8], problem: &str) -> StoreError {
    let key = String::from_utf8_lossy(address_in(key)).into_owned();
    StoreError::Damaged { tree: "contacts", key, problem: problem.to_owned() }
}
