//! What one transaction writes: events and what follows from them in the other trees.
//!
//! Everything is read and worked out before the transaction, which then only writes: while it runs, sled
//! lets nobody read. Only the writer thread writes, so nothing changes in between.

use super::by_campaign::{self, Head as CampaignHead, Named};
use super::contacts::{self, InOrder, UNVERIFIED_KEPT};
use super::events::{self, Entry, StoredEvent};
use super::fact::{self, Head};
use super::keyed::AddressHash;
use super::lists::ListChanges;
use super::on_record::{Fingerprint, OnRecord};
use super::schema::{Engine, Meta, read_number};
use super::undone::Voiding;
use super::{NewEvent, Recorded, StoreError};
use crate::mail::Address;
use crate::policy::{Event, EventId, What};
use jiff::Timestamp;
use sled::{Batch as TreeBatch, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// More ids than one batch gives out.
const SKIPPED_AT_START: u64 = 1 << 20;

/// Gives out event ids, each above the last, whatever the clock does.
pub struct Sequence {
    host: u32,
    milliseconds: i64,
    counter: u64,
}

/// The numbers kept in `meta`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    milliseconds: u64,
    /// Ids given out.
    pub counter: u64,
    /// Events on record.
    pub events: u64,
    /// Contacts with a record; not told by stores of before.
    pub contacts: Option<u64>,
}

impl Counters {
    /// Reads them.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn read(meta: &Tree) -> Result<Counters, StoreError> {
        let Some(value) = meta.get(Meta::Counters.key())? else { return Ok(Counters::default()) };
        let number = |octets: &[u8]| octets.first_chunk().map(|octets| u64::from_be_bytes(*octets));
        let (three, contacts): (sled::IVec, _) = match value.len() {
            32 => (value.subslice(0, 24), number(&value[24..])),
            _ => (value, None),
        };
        let all: [u8; 24] = read_number(Meta::Counters, &three)?;
        let mut numbers = all.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number));
        let mut next = || numbers.next().unwrap_or(0);
        Ok(Counters { milliseconds: next(), counter: next(), events: next(), contacts })
    }
}

impl Sequence {
    /// Goes on behind the ids of the last run. A batch that did not reach the disk may have shown its ids to
    /// somebody, so as many as it could have given out are left out.
    ///
    /// # Errors
    /// [`StoreError`] when the host's number cannot be read.
    pub fn open(meta: &Tree, counters: Counters) -> Result<Sequence, StoreError> {
        let host = meta.get(Meta::Host.key())?.map(|host| read_number(Meta::Host, &host)).transpose()?;
        Ok(Sequence {
            host: u32::from_be_bytes(host.unwrap_or_default()),
            milliseconds: counters.milliseconds as i64,
            counter: counters.counter + SKIPPED_AT_START,
        })
    }

    /// The next id.
    pub fn next(&mut self, now: Timestamp) -> EventId {
        self.milliseconds = self.milliseconds.max(now.as_millisecond());
        self.counter += 1;
        let at = Timestamp::from_millisecond(self.milliseconds).unwrap_or(Timestamp::MAX);
        EventId::new(at, self.host, self.counter)
    }

    /// Gives events their ids. Fails, for all of them, when one is too long to be stored.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn prepare(&mut self, events: Vec<NewEvent>, now: Timestamp) -> Result<Vec<Prepared>, StoreError> {
        let mut prepare = |new: NewEvent| {
            let NewEvent { at, address, queue_id, what, content_key } = new;
            let stored = StoredEvent { event: Event { id: self.next(now), at, address, queue_id, what }, content_key };
            stored.entries().map(|entries| Prepared { stored, entries })
        };
        events.into_iter().map(&mut prepare).collect()
    }

    /// How many ids were given out: what [`Sequence::counters`] writes.
    pub fn given_out(&self) -> u64 {
        self.counter
    }

    /// The record of `meta` with so many events and contacts.
    pub fn counters(&self, events: u64, contacts: u64) -> Vec<u8> {
        [self.milliseconds as u64, self.counter, events, contacts]
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect()
    }
}

/// An event ready to be written.
pub struct Prepared {
    stored: StoredEvent,
    entries: Vec<Entry>,
}

impl From<Prepared> for NewEvent {
    fn from(prepared: Prepared) -> NewEvent {
        let StoredEvent { event: Event { id: _, at, address, queue_id, what }, content_key } = prepared.stored;
        NewEvent { at, address, queue_id, what, content_key }
    }
}

/// Entries of the trees that follow from the events, a batch for each.
#[derive(Default)]
pub struct Entries {
    /// For the contact records.
    pub contacts: TreeBatch,
    /// For the events of each contact.
    pub by_contact: TreeBatch,
    /// For the index by campaign.
    pub by_campaign: TreeBatch,
}

/// Changes to the contact trees that follow from events.
pub struct ContactChanges<'a> {
    engine: &'a Engine,
    contacts: &'a Tree,
    campaigns: &'a Tree,
    on_record: &'a OnRecord,
    /// New value of every key of `contacts` that changes; none where it goes.
    pub entries: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// New keys of `by_contact`.
    pub by_contact: BTreeSet<Vec<u8>>,
    /// New entries of `by_campaign`, but for the campaigns themselves.
    pub by_campaign: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Campaigns that changed.
    pub campaigns_heard_of: BTreeMap<AddressHash, CampaignHead>,
    /// New entries of `voided`.
    pub voided: BTreeMap<EventId, Voiding>,
    /// Contacts of whom something changes, and whether what is new may suppress them.
    pub touched: Vec<(Fingerprint, bool)>,
    /// How many contacts had no record before.
    pub new_contacts: u64,
}

impl<'a> ContactChanges<'a> {
    /// No changes yet to `contacts` and the index by campaign, which are those of the engine or made anew.
    pub fn new(
        engine: &'a Engine,
        contacts: &'a Tree,
        campaigns: &'a Tree,
        on_record: &'a OnRecord,
    ) -> ContactChanges<'a> {
        ContactChanges {
            engine,
            contacts,
            campaigns,
            on_record,
            entries: BTreeMap::new(),
            by_contact: BTreeSet::new(),
            by_campaign: BTreeMap::new(),
            campaigns_heard_of: BTreeMap::new(),
            voided: BTreeMap::new(),
            touched: Vec::new(),
            new_contacts: 0,
        }
    }

    /// The entry under a key, with these changes.
    fn entry(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.entries.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => Ok(self.contacts.get(key)?.map(|entry| entry.to_vec())),
        }
    }

    /// The id under which a report was recorded before. An entry that cannot be read is as good as none.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn repeated(&self, stored: &StoredEvent) -> Result<Option<EventId>, StoreError> {
        let Some(key) = stored.content_key else { return Ok(None) };
        let key = contacts::content_key(stored.event.address.as_ref(), key);
        Ok(self.entry(&key)?.and_then(|entry| Head::read(&key, &entry).ok()).map(|head| head.event))
    }

    /// Whether the event or batch was undone.
    fn is_undone(&self, id: EventId) -> Result<bool, StoreError> {
        Ok(self.voided.contains_key(&id) || Voiding::of(&self.engine.voided, id)?.is_some())
    }

    /// Whether the event is a piece of a batch that was taken back.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn is_reverted(&self, stored: &StoredEvent) -> Result<bool, StoreError> {
        match stored.event.what {
            What::Imported { batch, .. } => self.is_undone(batch),
            _ => Ok(false),
        }
    }

    /// Adds an event. What it changes of the operator's lists is up to [`ListChanges`].
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn add(&mut self, stored: &StoredEvent) -> Result<(), StoreError> {
        let StoredEvent { event, .. } = stored;
        match &event.what {
            What::Imported { batch, list: None, .. } => return self.add_imported(*batch, event),
            What::Imported { list: Some(_), .. } => return Ok(()),
            What::Void { target, .. } => {
                self.voided.entry(*target).or_insert(Voiding { by: event.id, batch: false, swept: false });
                self.void(*target)?;
            }
            What::Revert { batch, .. } => {
                self.voided.entry(*batch).or_insert(Voiding { by: event.id, batch: true, swept: false });
            }
            _ => {}
        }
        self.index(event)?;
        let address = event.address.as_ref();
        let Some(key) = key_of(stored) else {
            if address.is_some() {
                self.by_contact.insert(contacts::event_key(address, event.id));
            }
            return Ok(());
        };
        let mut entry = fact::encode(event.id, event.at, event.fact().as_ref().map(|fact| &fact.what));
        if self.is_undone(event.id)? {
            entry = fact::void(&entry);
        }
        self.put(address, key, entry)?;
        match &event.what {
            What::Confirm { target, .. } if !self.is_undone(event.id)? => self.confirmed(*target, event),
            _ => Ok(()),
        }
    }

    /// Notes under its campaign what an event says of one.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn index(&mut self, event: &Event) -> Result<(), StoreError> {
        let Some(named) = Named::by(event).filter(|named| by_campaign::fits(named.campaign)) else { return Ok(()) };
        let hash = by_campaign::hash(self.on_record.key(), named.campaign);
        let known = match self.campaigns_heard_of.remove(&hash) {
            Some(head) => Some(head),
            None => CampaignHead::of(self.campaigns, hash)?,
        };
        self.campaigns_heard_of.insert(hash, named.note(known, event.at));
        self.by_campaign.extend(named.entry(hash, event.id));
        Ok(())
    }

    /// New entries of the index by campaign, all of them.
    pub fn campaign_entries(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let heads = self.campaigns_heard_of.iter().map(|(hash, head)| (hash.0.to_vec(), head.encode()));
        heads.chain(self.by_campaign.iter().map(|(key, value)| (key.clone(), value.clone())))
    }

    /// Takes what is to be written where no transaction holds it together: to trees that are made anew.
    pub fn take_entries(&mut self) -> Entries {
        let mut made = Entries::default();
        self.campaign_entries().for_each(|(key, value)| made.by_campaign.insert(key, value));
        for (key, value) in std::mem::take(&mut self.entries) {
            match value {
                Some(value) => made.contacts.insert(key, value),
                None => made.contacts.remove(key),
            }
        }
        std::mem::take(&mut self.by_contact).into_iter().for_each(|key| made.by_contact.insert(key, &[]));
        made
    }

    /// What a person vouches for is on record again, should it have gone with the oldest of what nothing vouched for.
    fn confirmed(&mut self, target: EventId, confirm: &Event) -> Result<(), StoreError> {
        let Some(stored) = events::get(&self.engine.events, target)? else { return Ok(()) };
        let Some(key) = key_of(&stored).filter(|_| stored.event.address == confirm.address) else { return Ok(()) };
        if self.entry(&key)?.is_some() || self.is_undone(target)? {
            return Ok(());
        }
        let fact = stored.event.fact();
        let entry = fact::encode(target, stored.event.at, fact.as_ref().map(|fact| &fact.what));
        self.put(stored.event.address.as_ref(), key, entry)
    }

    /// Takes the fact of an event out of its contact's record; the entry goes on recognising a repeat.
    fn void(&mut self, target: EventId) -> Result<(), StoreError> {
        let Some(stored) = events::get(&self.engine.events, target)? else { return Ok(()) };
        let Some(key) = key_of(&stored) else { return Ok(()) };
        let Some(entry) = self.entry(&key)? else { return Ok(()) };
        if Head::read(&key, &entry).is_ok_and(|head| head.event == target) {
            self.entries.insert(key, Some(fact::void(&entry)));
            let address = stored.event.address.iter();
            self.touched.extend(address.map(|address| (self.on_record.fingerprint(address.as_str()), false)));
        }
        match (&stored.event.what, &stored.event.address) {
            // What it confirmed is one of those again that nothing vouches for.
            (What::Confirm { .. }, Some(address)) => self.drop_oldest_unverified(address),
            _ => Ok(()),
        }
    }

    /// Adds a piece of an import: many contacts, in order of address or nearly.
    fn add_imported(&mut self, batch: EventId, event: &Event) -> Result<(), StoreError> {
        if self.is_undone(batch)? || self.is_undone(event.id)? {
            return Ok(());
        }
        let mut facts: Vec<_> = event
            .facts()
            .into_iter()
            .map(|(address, fact)| (contacts::prefix(Some(&address)), address, fact))
            .collect();
        facts.sort_by(|one, other| one.0.cmp(&other.0));
        let mut known = InOrder::new(self.contacts);
        for (prefix, address, fact) in facts {
            if !known.has(&prefix)? && !self.changes(&prefix) {
                self.new_contacts += 1;
            }
            let entry = fact::encode(event.id, event.at, Some(&fact.what));
            self.touched.push((self.on_record.fingerprint(address.as_str()), true));
            self.entries.insert(contacts::event_key(Some(&address), event.id), Some(entry));
        }
        Ok(())
    }

    fn put(&mut self, address: Option<&Address>, key: Vec<u8>, entry: Vec<u8>) -> Result<(), StoreError> {
        let head = Head::read(&key, &entry).expect("encode writes a head");
        if let Some(address) = address {
            let prefix = contacts::prefix(Some(address));
            if !self.changes(&prefix) && self.contacts.scan_prefix(prefix).next().transpose()?.is_none() {
                self.new_contacts += 1;
            }
            self.touched.push((self.on_record.fingerprint(address.as_str()), head.may_suppress()));
        }
        self.entries.insert(key, Some(entry));
        match address {
            Some(address) if head.unverified() => self.drop_oldest_unverified(address),
            _ => Ok(()),
        }
    }

    /// Whether anything under this prefix changes.
    fn changes(&self, prefix: &[u8]) -> bool {
        self.entries.range(prefix.to_vec()..).next().is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// Keeps the newest [`UNVERIFIED_KEPT`], in whatever order they came, beside those that a person confirmed.
    fn drop_oldest_unverified(&mut self, address: &Address) -> Result<(), StoreError> {
        let prefix = contacts::prefix(Some(address));
        let mut unverified = BTreeMap::new();
        let mut confirmed = BTreeSet::new();
        let mut keep = |key: &[u8], entry: &[u8]| match Head::read(key, entry) {
            Ok(head) if head.unverified() => drop(unverified.insert((head.at, head.event), key.to_vec())),
            Ok(head) if head.confirms() => confirmed.extend(fact::confirms(key, entry)),
            _ => {}
        };
        for entry in self.contacts.scan_prefix(&prefix) {
            let (key, entry) = entry?;
            if !self.entries.contains_key(key.as_ref()) {
                keep(&key, &entry);
            }
        }
        for (key, entry) in self.entries.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix)) {
            entry.iter().for_each(|entry| keep(key, entry));
        }
        unverified.retain(|(_, event), _| !confirmed.contains(event));
        while unverified.len() > UNVERIFIED_KEPT {
            if let Some((_, oldest)) = unverified.pop_first() {
                self.entries.insert(oldest, None);
            }
        }
        Ok(())
    }
}

/// The key of tree `contacts` under which an event about one contact stands; none where it has no place there.
fn key_of(stored: &StoredEvent) -> Option<Vec<u8>> {
    let StoredEvent { event, content_key } = stored;
    let address = event.address.as_ref();
    match content_key {
        Some(key) => Some(contacts::content_key(address, *key)),
        None => event.fact().map(|_| contacts::event_key(address, event.id)),
    }
}

/// A batch in the making.
pub struct Batch<'a> {
    engine: &'a Engine,
    /// What it changes of contacts.
    pub contacts: ContactChanges<'a>,
    /// What it changes of the operator's lists.
    pub lists: ListChanges<'a>,
    events: Vec<&'a Entry>,
    /// How many events are new.
    pub recorded: u64,
    /// The newest of them.
    pub newest: Option<EventId>,
}

impl<'a> Batch<'a> {
    /// An empty batch.
    pub fn new(engine: &'a Engine, on_record: &'a OnRecord) -> Batch<'a> {
        let contacts = ContactChanges::new(engine, &engine.contacts, &engine.by_campaign, on_record);
        let lists = ListChanges::new(&engine.lists);
        Batch { engine, contacts, lists, events: Vec::new(), recorded: 0, newest: None }
    }

    /// Adds events, but for those that are on record.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    pub fn add(&mut self, events: &'a [Prepared]) -> Result<Vec<Recorded>, StoreError> {
        let mut add = |prepared: &'a Prepared| {
            if let Some(known) = self.contacts.repeated(&prepared.stored)? {
                return Ok(Recorded::Known(known));
            }
            self.contacts.add(&prepared.stored)?;
            self.lists.add(&prepared.stored)?;
            self.events.extend(&prepared.entries);
            self.recorded += 1;
            self.newest = Some(prepared.stored.event.id);
            Ok(Recorded::New(prepared.stored.event.id))
        };
        events.iter().map(&mut add).collect()
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Writes it, all or nothing; not yet durable. `events` and `contacts` are on record with it.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn write(&self, sequence: &Sequence, events: u64, contacts: u64) -> Result<(), StoreError> {
        let counters = sequence.counters(events, contacts);
        let by_campaign: Vec<Entry> = self.contacts.campaign_entries().collect();
        self.engine.transaction(|trees| {
            for (key, value) in &self.events {
                trees.events.insert(&key[..], &value[..])?;
            }
            for (key, value) in &self.contacts.entries {
                match value {
                    Some(value) => trees.contacts.insert(&key[..], &value[..])?,
                    None => trees.contacts.remove(&key[..])?,
                };
            }
            for key in &self.contacts.by_contact {
                trees.by_contact.insert(&key[..], &[])?;
            }
            for (key, value) in &by_campaign {
                trees.by_campaign.insert(&key[..], &value[..])?;
            }
            for (target, voiding) in &self.contacts.voided {
                trees.voided.insert(&target.0.to_be_bytes(), voiding.encode())?;
            }
            for (key, value) in &self.lists.entries {
                match value {
                    Some(value) => trees.lists.insert(&key[..], &value[..])?,
                    None => trees.lists.remove(&key[..])?,
                };
            }
            trees.meta.insert(Meta::Counters.key(), &counters[..])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_though_the_clock_goes_back() {
        let mut sequence = Sequence { host: 7, milliseconds: 0, counter: 0 };
        let times = [1_000, 1_000, 5_000, 2_000, 1, 5_001];
        let ids = times.map(|at| sequence.next(Timestamp::from_millisecond(at).unwrap()));
        assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
        assert_eq!(ids[3].0 >> 80, 5_000);
    }
}
