//! Erasure: a person's data goes from events, records, indexes, lists and ledger.
//!
//! First the keyed hash that keeps the address blocked, and the event that tells of the erasure, are on disk;
//! from then on nothing about the address is recorded any more ([`super::erased`]). Then the records go, in
//! short steps of the writer; what to look at is found beside it, by reading through all events and the whole
//! ledger. Cut off half-way, it is completed by asking again.
//!
//! Of an event about somebody else the texts go that name the address: a reply text that lists several
//! recipients, a reason a person wrote. sled leaves on disk what was removed, until [`Store::compact`].

use super::batch::Prepared;
use super::by_campaign::{Head as CampaignHead, Named};
use super::events::{self, StoredEvent};
use super::keyed::AddressHash;
use super::ledger::{Recipient, SendRecord};
use super::list_key::ListKey;
use super::schema::{Engine, Meta};
use super::sent::SentHead;
use super::writer::Writer;
use super::{NewEvent, Recorded, Store, StoreError, by_campaign, contacts, erased, fact, sent};
use crate::mail::Address;
use crate::policy::{Event, EventId, What};
use aho_corasick::AhoCorasick;
use serde_json::Value;
use sled::{Batch, Tree};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Entries of a tree read at once.
const STEP: usize = 2048;

/// Records changed at once.
const CHANGED_AT_ONCE: usize = 256;

/// Texts of events that may be empty, but not absent.
const REQUIRED: [&str; 6] = ["problem", "excerpt", "reason", "source", "format", "description"];

/// Members that name somebody else, or nobody, by the time texts are looked at.
const SUBJECTS: [&str; 6] = ["address", "subject", "entry", "id", "batch", "target"];

/// What an erasure took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events removed, or relieved of the address.
    pub events: u64,
    /// Entries of the ledger that named the address.
    pub sends: u64,
}

impl Store {
    /// Erases a contact; `erase` is the [`crate::policy::What::Erase`], which names nobody. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written; what went before is gone, and it can be asked
    /// for again.
    pub fn erase(&self, address: &Address, erase: NewEvent) -> Result<Erased, StoreError> {
        let shared = &self.inner.shared;
        let _erasing = shared.erasures.begin();
        let person = Arc::new(Person::new(address, self.recipient_key(address))?);
        let begin = person.clone();
        let last = shared.run(move |writer| writer.begin_erasure(&begin, erase))?;
        let mut erased = Erased::default();
        let mut first = Some(Vec::new());
        while let Some(from) = first {
            let (ids, next) = person.events_to_change(&shared.read().engine()?.events, from, last)?;
            for ids in ids.chunks(CHANGED_AT_ONCE).map(<[EventId]>::to_vec) {
                let person = person.clone();
                erased.events += shared.run(move |writer| writer.erase_events(&person, &ids))?;
            }
            first = next;
        }
        let mut first = Some(Vec::new());
        while let Some(from) = first {
            let (keys, next) = person.sends_to_change(&shared.read().engine()?.ledger, from)?;
            if !keys.is_empty() {
                let person = person.clone();
                erased.sends += shared.run(move |writer| writer.erase_sends(&person, &keys))?;
            }
            first = next;
        }
        shared.run(move |writer| writer.end_erasure(&person))?;
        while shared.run(|writer| writer.sweep_step())? {}
        shared.run(|writer| writer.settle())?;
        Ok(erased)
    }

    /// Whether the address was erased and is kept blocked. From memory.
    pub fn is_erased(&self, address: &Address) -> bool {
        self.inner.shared.erased.contains(address)
    }

    /// Lets go of the hash that keeps an erased address blocked, before a person releases it
    /// ([`crate::policy::What::Reactivate`]): from then on events about it are recorded with the address again.
    /// Whether there was one. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be written.
    pub fn unerase(&self, address: &Address) -> Result<bool, StoreError> {
        let shared = &self.inner.shared;
        let hash = shared.erased.hash(address);
        let _erasing = shared.erasures.begin();
        shared.run(move |writer| writer.forget_hash(hash))
    }

    /// Writes the store anew without what was removed or replaced; sled alone leaves that on disk until it needs
    /// the room. Recording waits while it runs; reading goes on. Returns the octets on disk before and after.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when there is no room or the store cannot be read or written; the old one stays.
    pub fn compact(&self, progress: &mut dyn FnMut(u64)) -> Result<(u64, u64), StoreError> {
        let shared = &self.inner.shared;
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let job = scope.spawn(move || {
                shared.run(move |writer| {
                    writer.compact(&|copied| {
                        let _ = tell.send(copied);
                    })
                })
            });
            told.iter().for_each(progress);
            job.join().unwrap_or(Err(StoreError::Stopped))
        })
    }
}

/// Whom to erase, and how texts name them.
struct Person {
    address: Address,
    recipient: Recipient,
    /// `joe@example.org`, `joe=example.org` as variable reverse paths have it, and how JSON writes them.
    names: AhoCorasick,
}

impl Person {
    fn new(address: &Address, recipient: Recipient) -> Result<Person, StoreError> {
        let text = address.as_str();
        let (unicode, _) = idna::domain_to_unicode(address.domain());
        let unicode = format!("{}@{unicode}", address.local_part());
        let verp = format!("{}={}", address.local_part(), address.domain());
        let mut names = Vec::new();
        for name in [text, &unicode, &verp] {
            for name in [name.to_owned(), name.to_uppercase()] {
                let json = Value::from(name.as_str()).to_string();
                names.extend([json.trim_matches('"').to_owned(), name]);
            }
        }
        let names = AhoCorasick::builder().ascii_case_insensitive(true).build(names);
        let names = names.map_err(|error| StoreError::Engine(error.to_string()))?;
        Ok(Person { address: address.clone(), recipient, names })
    }

    /// Whether a text names the person, and not somebody whose address only ends or begins the same way.
    fn is_named_in(&self, text: &str) -> bool {
        let part = |octet: Option<&u8>| octet.is_some_and(|octet| octet.is_ascii_alphanumeric() || *octet > 0x7f);
        self.names.find_overlapping_iter(text).any(|found| {
            let (before, behind) = (&text.as_bytes()[..found.start()], &text.as_bytes()[found.end()..]);
            let goes_on = match behind {
                [b'.' | b'-', next, ..] => part(Some(next)),
                _ => part(behind.first()),
            };
            !goes_on && !part(before.last()) && !matches!(before.last(), Some(b'.' | b'_'))
        })
    }

    fn is(&self, text: &str) -> bool {
        Address::parse(text).is_ok_and(|address| address == self.address)
    }

    /// The ids of events, from a key up to `last`, whose octets name the person; and where to go on.
    fn events_to_change(&self, events: &Tree, from: Vec<u8>, last: EventId) -> Result<Step<EventId>, StoreError> {
        let mut ids = Vec::new();
        let mut record = Vec::new();
        let mut open = None;
        let mut count = 0;
        for entry in events.range(from..) {
            let (key, value) = entry?;
            let Some(id) = key.first_chunk().map(|id| EventId(u128::from_be_bytes(*id))) else { continue };
            // The pieces of an event are looked at together: a name may stand across two of them.
            if open != Some(id) {
                ids.extend(open.filter(|id| self.names.is_match(&*events::readable(*id, &record))));
                record.clear();
                if id > last {
                    return Ok((ids, None));
                }
                if count >= STEP {
                    return Ok((ids, Some(key.to_vec())));
                }
                open = Some(id);
            }
            record.extend_from_slice(&value);
            count += 1;
        }
        ids.extend(open.filter(|id| self.names.is_match(&*events::readable(*id, &record))));
        Ok((ids, None))
    }

    /// The keys of the ledger, from one on, whose records name the person; and where to go on.
    fn sends_to_change(&self, ledger: &Tree, from: Vec<u8>) -> Result<Step<Vec<u8>>, StoreError> {
        let mut keys = Vec::new();
        for (count, entry) in ledger.range(from..).enumerate() {
            let (key, value) = entry?;
            if count == STEP {
                return Ok((keys, Some(key.to_vec())));
            }
            let found = match (key.len(), key.last_chunk()) {
                (28, Some(recipient)) => u64::from_be_bytes(*recipient) == self.recipient,
                _ => {
                    let is_recipient = |record: SendRecord| record.recipients.contains(&self.recipient);
                    self.names.is_match(&value) || SendRecord::decode(&value).is_ok_and(is_recipient)
                }
            };
            if found {
                keys.push(key.to_vec());
            }
        }
        Ok((keys, None))
    }

    /// What remains of an event: itself, another, or nothing.
    fn without(&self, event: &Event) -> Option<Event> {
        let of_this = match &event.what {
            What::ListAdd { entry, .. } | What::ListRemove { entry, .. } => self.is(entry),
            What::Skip { forward_path: Some(forward_path), .. } => self.is(forward_path),
            _ => false,
        };
        if of_this || event.address.as_ref() == Some(&self.address) {
            return None;
        }
        let mut event = event.clone();
        if let What::Imported { entries, .. } = &mut event.what {
            entries.retain(|entry| !self.is(&entry.subject));
        }
        let mut value = serde_json::to_value(&event).ok()?;
        match self.take_texts(&mut value) {
            // Without a text it cannot be without, there is no event.
            true => serde_json::from_value(value).ok(),
            false => Some(event),
        }
    }

    /// Takes away the texts that name the person. Whether there were any.
    fn take_texts(&self, value: &mut Value) -> bool {
        let named = |value: &Value| value.as_str().is_some_and(|text| self.is_named_in(text));
        match value {
            Value::Object(members) => {
                let mut taken = false;
                members.retain(|name, value| {
                    let goes = !SUBJECTS.contains(&name.as_str()) && named(value) || self.is_named_in(name);
                    taken |= goes;
                    if goes && REQUIRED.contains(&name.as_str()) {
                        *value = Value::from("");
                        return true;
                    }
                    !goes
                });
                members.values_mut().fold(taken, |taken, value| self.take_texts(value) || taken)
            }
            Value::Array(values) => {
                let before = values.len();
                values.retain(|value| !named(value));
                let shorter = values.len() < before;
                values.iter_mut().fold(shorter, |taken, value| self.take_texts(value) || taken)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
}

/// What was found, and where to go on.
type Step<T> = (Vec<T>, Option<Vec<u8>>);

impl Writer {
    /// Puts on disk that the address is erased. The id of the event that tells of it: what comes behind it
    /// names nobody.
    fn begin_erasure(&mut self, person: &Person, mut erase: NewEvent) -> Result<EventId, StoreError> {
        let What::Erase { kept, .. } = erase.what else {
            return Err(StoreError::Engine("an erasure is recorded as such".to_owned()));
        };
        erase.address = None;
        // It would put in force what it has read of the person.
        self.rebuild = None;
        let hash = self.shared.erased.hash(&person.address);
        if kept {
            self.change(|_, engine| {
                engine.erased.insert(hash.0, erased::value(erase.at))?;
                Ok(())
            })?;
        } else {
            self.forget_hash(hash)?;
        }
        let prepared: Vec<Prepared> = self.prepare(vec![erase])?;
        let recorded = self.write(&[prepared], true)?;
        if kept {
            self.shared.erased.insert(hash);
        }
        let is_person = |address: &Address| *address == person.address;
        self.shared.queue().forget(person.recipient, |event| erased::strip(event, &is_person));
        self.erase_record(person)?;
        self.erase_campaigns(person)?;
        match recorded.first().and_then(|answers| answers.first()) {
            Some(Recorded::New(id) | Recorded::Known(id)) => Ok(*id),
            None => Err(StoreError::Engine("the erasure was not recorded".to_owned())),
        }
    }

    /// A rebuild that began meanwhile may have read what was removed since.
    fn end_erasure(&mut self, person: &Person) -> Result<(), StoreError> {
        // One that was indexed meanwhile by an event that is gone since.
        self.erase_campaigns(person)?;
        if self.rebuild.take().is_some() {
            return self.erase_record(person);
        }
        Ok(())
    }

    fn forget_hash(&mut self, hash: AddressHash) -> Result<bool, StoreError> {
        let was = self.change(|writer, engine| {
            let was = engine.erased.remove(hash.0)?.is_some();
            engine.flush()?;
            engine.sync(&writer.sync)?;
            Ok(was)
        })?;
        self.shared.erased.remove(hash);
        Ok(was)
    }

    /// Removes the contact record, the index of the contact's events, and the address from the lists.
    fn erase_record(&mut self, person: &Person) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        self.change(|_, engine| {
            let prefix = contacts::prefix(Some(&person.address));
            if remove_all(&engine.contacts, &prefix)? > 0 {
                let _ = shared.contacts.try_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
            }
            shared.on_record.remove(shared.on_record.fingerprint(person.address.as_str()));
            remove_all(&engine.by_contact, &prefix)?;
            let mut gone = BTreeMap::new();
            for entry in ListKey::of_address(&person.address) {
                for key in engine.lists.scan_prefix(entry.prefix()).keys() {
                    gone.insert(key?.to_vec(), None::<()>);
                }
            }
            let mut batch = Batch::default();
            gone.keys().for_each(|key| batch.remove(&key[..]));
            engine.lists.apply_batch(batch)?;
            shared.listed.note(&engine.lists, &gone)
        })?;
        self.settle()
    }

    /// Removes the person from the index by campaign, campaigns that are named after the person, and the names of such
    /// lists.
    fn erase_campaigns(&mut self, person: &Person) -> Result<(), StoreError> {
        self.change(|writer, engine| {
            let names = |text: &str| person.is_named_in(text);
            let key = writer.shared.on_record.key();
            let mut from = Some(0);
            while let Some((head, next)) = from.map(|from| SentHead::next(&engine.sent, from)).transpose()?.flatten() {
                from = next;
                let Some(head) = head else { continue };
                let hash = by_campaign::hash(key, &head.campaign);
                if names(&head.campaign.0) {
                    sent::remove(&engine.sent, hash)?;
                } else if head.list.as_ref().is_some_and(|list| names(&list.0)) {
                    head.without_list().put(&engine.sent, hash)?;
                }
            }
            let mut from = Some(0);
            while let Some((head, next)) =
                from.map(|from| CampaignHead::next(&engine.by_campaign, from)).transpose()?.flatten()
            {
                from = next;
                let Some(mut head) = head else { continue };
                let hash = by_campaign::hash(key, &head.campaign);
                let lists = head.lists.len();
                head.lists.retain(|list| !names(&list.0));
                if names(&head.campaign.0) {
                    remove_all(&engine.by_campaign, &hash.0)?;
                    continue;
                }
                // Also what an event told that cannot be read any more.
                remove_all(&engine.by_campaign, &by_campaign::prefix(hash, &person.address))?;
                if head.lists.len() < lists {
                    engine.by_campaign.insert(hash.0, head.encode())?;
                }
            }
            writer.unsynced = true;
            Ok(())
        })
    }

    /// Removes or rewrites events. How many there were.
    fn erase_events(&mut self, person: &Person, ids: &[EventId]) -> Result<u64, StoreError> {
        let shared = self.shared.clone();
        self.change(|_, engine| {
            let (mut changed, mut removed) = (0, 0);
            let (mut events, mut facts) = (BTreeMap::new(), BTreeMap::new());
            let mut in_campaigns: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
            let entry = |event: &Event| {
                let named = Named::by(event)?;
                named.entry(by_campaign::hash(shared.on_record.key(), named.campaign), event.id)
            };
            for id in ids {
                let stored = events::get(&engine.events, *id);
                if let Ok(Some(stored)) = &stored {
                    in_campaigns.extend(entry(&stored.event).map(|(key, _)| (key, None)));
                }
                let remains = match stored {
                    Ok(Some(stored)) => match person.without(&stored.event) {
                        Some(event) if event == stored.event => {
                            in_campaigns.extend(entry(&event).map(|(key, value)| (key, Some(value))));
                            continue;
                        }
                        remains => remains.map(|event| StoredEvent { event, ..stored }),
                    },
                    Ok(None) => continue,
                    // Its octets name the person, and nobody can read more in it.
                    Err(StoreError::Damaged { .. }) => None,
                    Err(error) => return Err(error),
                };
                changed += 1;
                for key in engine.events.scan_prefix(id.0.to_be_bytes()).keys() {
                    events.insert(key?.to_vec(), None);
                }
                match remains {
                    Some(stored) => {
                        events.extend(stored.entries()?.into_iter().map(|(key, value)| (key, Some(value))));
                        renew_facts(engine, &stored, &mut facts)?;
                        in_campaigns.extend(entry(&stored.event).map(|(key, value)| (key, Some(value))));
                    }
                    None => removed += 1,
                }
            }
            let left = shared.events.load(Ordering::Relaxed).saturating_sub(removed);
            let counters = engine.meta.get(Meta::Counters.key())?;
            let counters = counters.as_deref().and_then(|counters| Some((counters.get(..16)?, counters.get(24..)?)));
            let counters = counters.map(|(ids, contacts)| [ids, &left.to_be_bytes(), contacts].concat());
            // In one, so that the count is right whenever it is cut off.
            engine.transaction(|trees| {
                for (key, value) in &events {
                    match value {
                        Some(value) => trees.events.insert(&key[..], &value[..])?,
                        None => trees.events.remove(&key[..])?,
                    };
                }
                for (key, value) in &facts {
                    trees.contacts.insert(&key[..], &value[..])?;
                }
                for (key, value) in &in_campaigns {
                    match value {
                        Some(value) => trees.by_campaign.insert(&key[..], &value[..])?,
                        None => trees.by_campaign.remove(&key[..])?,
                    };
                }
                if let Some(counters) = &counters {
                    trees.meta.insert(Meta::Counters.key(), &counters[..])?;
                }
                Ok(())
            })?;
            shared.events.store(left, Ordering::Relaxed);
            Ok(changed)
        })
    }

    /// Takes the recipient out of records of the ledger. How many named them.
    fn erase_sends(&mut self, person: &Person, keys: &[Vec<u8>]) -> Result<u64, StoreError> {
        self.change(|_, engine| {
            let mut batch = Batch::default();
            let mut count = 0;
            for key in keys {
                if key.len() == 28 {
                    batch.remove(&key[..]);
                    count += 1;
                    continue;
                }
                let Some(value) = engine.ledger.get(key)? else { continue };
                match SendRecord::decode(&value) {
                    Ok(mut record) => {
                        count += u64::from(record.forget(person.recipient) > 0);
                        record.campaign = record.campaign.filter(|campaign| !person.is_named_in(&campaign.0));
                        record.list = record.list.filter(|list| !person.is_named_in(&list.0));
                        batch.insert(&key[..], record.encode());
                    }
                    Err(_) => batch.remove(&key[..]),
                }
            }
            engine.ledger.apply_batch(batch)?;
            Ok(count)
        })
    }
}

/// Writes the facts of a changed event anew, where they are on record.
fn renew_facts(
    engine: &Engine,
    stored: &StoredEvent,
    facts: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(), StoreError> {
    let StoredEvent { event, content_key } = stored;
    for (address, fact) in event.facts() {
        let key = match content_key {
            Some(key) => contacts::content_key(Some(&address), *key),
            None => contacts::event_key(Some(&address), event.id),
        };
        if let Some(known) = engine.contacts.get(&key)? {
            let entry = fact::encode(event.id, event.at, Some(&fact.what));
            // What was undone stays so.
            let voided = matches!(fact::decode(&key, &known), Ok(None));
            facts.insert(key, if voided { fact::void(&entry) } else { entry });
        }
    }
    Ok(())
}

/// Removes every key that begins so. How many there were.
fn remove_all(tree: &Tree, prefix: &[u8]) -> Result<usize, StoreError> {
    let mut removed = 0;
    loop {
        let mut batch = Batch::default();
        let mut some = 0;
        for key in tree.scan_prefix(prefix).keys().take(CHANGED_AT_ONCE) {
            batch.remove(key?);
            some += 1;
        }
        if some == 0 {
            return Ok(removed);
        }
        tree.apply_batch(batch)?;
        removed += some;
    }
}
