//! The index from a campaign to its events: keys, encoding and reading of tree `by_campaign.N`.
//!
//! | key | value |
//! |---|---|
//! | keyed hash of the campaign, 16 octets | the campaign itself: its name, when, which lists ([`Head`]) |
//! | that, name of the contact, NUL, event id | a response or skip ([`Entry`]) |
//!
//! It is made from the events, in the transaction that records them, and made anew with the contact records. An
//! entry tells that there is something, not what it comes to: a response is judged by the contact's record, so that
//! whatever takes it back takes it out of the report. Sends and signs of life only move the times in the head.

use super::StoreError;
use super::fact::{Reader, TEXT, put_text, put_time};
use super::keyed::{AddressHash, AddressKey};
use crate::classify::Category;
use crate::mail::{Address, ListId};
use crate::policy::{Authority, Event, EventId, SkipReason, What};
use crate::report::Campaign;
use jiff::Timestamp;
use sled::Tree;
use std::borrow::Cow;
use std::collections::BTreeSet;

const VERSION: u8 = 1;
/// What an entry is.
const RESPONSE: u8 = 1;
const SKIP: u8 = 2;
const SHADOW_SKIP: u8 = 3;

/// Lists that are kept of a campaign, and octets of their names.
const LISTS: usize = 100;
const LIST_OCTETS: usize = 2048;

/// Octets of a key around the name of the contact: the hash before it, NUL and the id behind.
const HASH: usize = 16;
const TAIL: usize = 17;

/// The longest name of a contact in a key. No address is longer (RFC 5321 §4.5.3.1); a forward path may be.
const NAME: usize = 320;

/// A campaign, but for one that cannot be read, and the hash to go on from; none at the end.
pub type Walked<T> = (Option<T>, Option<u128>);

/// What is known of a campaign itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub campaign: Campaign,
    /// When the first event named it.
    pub first_at: Timestamp,
    /// When the last one did.
    pub last_at: Timestamp,
    /// Its lists, as far as they were named by what counts.
    pub lists: BTreeSet<ListId>,
}

/// A response or skip of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The contact: an address, or a forward path that is none.
    pub name: String,
    /// The event.
    pub event: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// The skip; none for a response, of which the contact's record tells.
    pub skip: Option<Skipped>,
}

/// A contact taken off a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Why.
    pub reason: SkipReason,
    /// Category of the suppression.
    pub category: Option<Category>,
    /// The campaign's list.
    pub list: Option<ListId>,
    /// Decided, but not done.
    pub shadow: bool,
}

/// What an event says of a campaign.
pub struct Named<'a> {
    /// The campaign.
    pub campaign: &'a Campaign,
    list: Option<&'a ListId>,
    name: Option<&'a str>,
    value: Option<Vec<u8>>,
}

impl<'a> Named<'a> {
    /// What an event says of the campaign it names, if it names one.
    pub fn by(event: &'a Event) -> Option<Named<'a>> {
        let name = event.address.as_ref().map(|address| address.as_str());
        let put = |tag| {
            let mut value = vec![VERSION, tag];
            put_time(&mut value, event.at);
            value
        };
        match &event.what {
            What::Response { response, .. } => {
                let list = response.list.as_ref().filter(|_| response.authority != Authority::Unverified);
                Some(Named { campaign: response.campaign.as_ref()?, list, name, value: Some(put(RESPONSE)) })
            }
            What::Skip { reason, category, campaign, list, forward_path, shadow, .. } => {
                let mut value = put(if *shadow { SHADOW_SKIP } else { SKIP });
                value.extend([reason_number(*reason), category.map_or(0, category_number)]);
                put_text(&mut value, list.as_ref().map(|list| list.0.as_str()));
                let name = name.or(forward_path.as_deref());
                Some(Named { campaign: campaign.as_ref()?, list: list.as_ref(), name, value: Some(value) })
            }
            What::Sent { campaign, list, .. } => {
                Some(Named { campaign: campaign.as_ref()?, list: list.as_ref(), name: None, value: None })
            }
            What::Activity { campaign, .. } => {
                Some(Named { campaign: campaign.as_ref()?, list: None, name: None, value: None })
            }
            What::Suppress { .. }
            | What::Reactivate { .. }
            | What::Import { .. }
            | What::Imported { .. }
            | What::Revert { .. }
            | What::Void { .. }
            | What::Confirm { .. }
            | What::ListAdd { .. }
            | What::ListRemove { .. }
            | What::Attributes { .. }
            | What::Limit { .. }
            | What::Erase { .. }
            | What::Unreadable { .. } => None,
        }
    }

    /// The entry for it, where it is about a contact: key and value.
    pub fn entry(&self, hash: AddressHash, event: EventId) -> Option<(Vec<u8>, Vec<u8>)> {
        let (name, value) = (self.name?, self.value.as_ref()?);
        let mut key = hash.0.to_vec();
        key.extend(shown(name).as_bytes());
        key.push(0);
        key.extend(event.0.to_be_bytes());
        Some((key, value.clone()))
    }

    /// The campaign with this event noted.
    pub fn note(&self, head: Option<Head>, at: Timestamp) -> Head {
        let mut head = head.unwrap_or_else(|| Head {
            campaign: self.campaign.clone(),
            first_at: at,
            last_at: at,
            lists: BTreeSet::new(),
        });
        head.first_at = head.first_at.min(at);
        head.last_at = head.last_at.max(at);
        let octets: usize = head.lists.iter().map(|list| list.0.len()).sum();
        if let Some(list) = self.list
            && head.lists.len() < LISTS
            && octets + list.0.len() <= LIST_OCTETS
        {
            head.lists.insert(list.clone());
        }
        head
    }
}

/// A contact's name as reports give it: itself, or, of a forward path that is too long, its beginning and a hash.
pub fn shown(name: &str) -> Cow<'_, str> {
    if name.len() <= NAME {
        return Cow::Borrowed(name);
    }
    let start = &name[..name.floor_char_boundary(NAME - 36)];
    Cow::Owned(format!("{start}...{}", &blake3::hash(name.as_bytes()).to_hex()[..32]))
}

/// The hash of a campaign.
pub fn hash(key: &AddressKey, campaign: &Campaign) -> AddressHash {
    key.hash(&campaign.0)
}

impl Head {
    /// Its octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = vec![VERSION];
        put_time(&mut value, self.first_at);
        put_time(&mut value, self.last_at);
        put_text(&mut value, Some(&self.campaign.0));
        self.lists.iter().for_each(|list| put_text(&mut value, Some(&list.0)));
        value
    }

    /// Reads its octets.
    pub fn decode(value: &[u8]) -> Option<Head> {
        let mut reader = Reader(value);
        let [VERSION] = reader.octets()? else { return None };
        let (first_at, last_at, campaign) = (reader.time()?, reader.time()?, Campaign(reader.text()??));
        let mut lists = BTreeSet::new();
        while !reader.0.is_empty() {
            lists.insert(ListId(reader.text()??));
        }
        Some(Head { campaign, first_at, last_at, lists })
    }

    /// The campaign under this hash; one that cannot be read is as good as none.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn of(tree: &Tree, hash: AddressHash) -> Result<Option<Head>, StoreError> {
        Ok(tree.get(hash.0)?.and_then(|value| Head::decode(&value)))
    }

    /// The first campaign whose hash is not below `from`, and the hash to go on from; none at the end.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn next(tree: &Tree, from: u128) -> Result<Option<Walked<Head>>, StoreError> {
        let Some(entry) = tree.range(from.to_be_bytes()..).next() else { return Ok(None) };
        let (key, value) = entry?;
        let Some(hash) = key.first_chunk().map(|hash| u128::from_be_bytes(*hash)) else { return Ok(None) };
        let head = if key.len() == HASH { Head::decode(&value) } else { None };
        Ok(Some((head, hash.checked_add(1))))
    }
}

impl Entry {
    /// Reads the entry under a key; none for a head, or what cannot be read.
    pub fn decode(key: &[u8], value: &[u8]) -> Option<Entry> {
        let name = key.get(HASH..key.len().checked_sub(TAIL)?)?;
        let event = EventId(u128::from_be_bytes(*key.last_chunk()?));
        let mut reader = Reader(value);
        let [VERSION, tag] = reader.octets()? else { return None };
        let at = reader.time()?;
        let skip = match tag {
            RESPONSE => None,
            SKIP | SHADOW_SKIP => {
                let (reason, category) = (reason_of(reader.octet()?)?, category_of(reader.octet()?)?);
                Some(Skipped { reason, category, list: reader.text()?.map(ListId), shadow: tag == SHADOW_SKIP })
            }
            _ => return None,
        };
        let name = String::from_utf8(name.to_vec()).ok()?;
        reader.0.is_empty().then_some(Entry { name, event, at, skip })
    }
}

/// The first key of a campaign's entries behind a contact, or of all.
pub fn first_key(hash: AddressHash, behind: Option<&str>) -> Vec<u8> {
    let mut key = hash.0.to_vec();
    key.extend(behind.map(shown).unwrap_or_default().as_bytes());
    // NUL ends a name; a head has nothing behind the hash.
    key.push(if behind.is_some() { 1 } else { 0 });
    key
}

/// What every key of a contact begins with, under one campaign.
pub fn prefix(hash: AddressHash, address: &Address) -> Vec<u8> {
    [&hash.0[..], shown(address.as_str()).as_bytes(), &[0]].concat()
}

/// Whether a key is of this campaign.
pub fn is_of(hash: AddressHash, key: &[u8]) -> bool {
    key.starts_with(&hash.0)
}

/// Whether a name of a campaign fits a head.
pub fn fits(campaign: &Campaign) -> bool {
    campaign.0.len() <= TEXT
}

fn reason_number(reason: SkipReason) -> u8 {
    match reason {
        SkipReason::Suppressed => 1,
        SkipReason::Blocklist => 2,
        SkipReason::Robinson => 3,
        SkipReason::Limit => 4,
        SkipReason::MissingInfo => 5,
        SkipReason::InvalidAddress => 6,
        SkipReason::InvalidDomain => 7,
    }
}

fn reason_of(number: u8) -> Option<SkipReason> {
    Some(match number {
        1 => SkipReason::Suppressed,
        2 => SkipReason::Blocklist,
        3 => SkipReason::Robinson,
        4 => SkipReason::Limit,
        5 => SkipReason::MissingInfo,
        6 => SkipReason::InvalidAddress,
        7 => SkipReason::InvalidDomain,
        _ => return None,
    })
}

fn category_number(category: Category) -> u8 {
    super::fact::Numbered::number(category)
}

fn category_of(number: u8) -> Option<Option<Category>> {
    match number {
        0 => Some(None),
        number => Some(Some(super::fact::Numbered::numbered(number)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(number: u8, shadow: bool, list: Option<&str>) -> Event {
        let what = What::Skip {
            reason: reason_of(number).unwrap(),
            category: Some(Category::Rejected).filter(|_| number > 1),
            scope: None,
            limit: None,
            campaign: Some(Campaign("spring".to_owned())),
            list: list.map(|list| ListId(list.to_owned())),
            forward_path: None,
            shadow,
        };
        let address = Some(Address::parse("joe@example.org").unwrap());
        Event { id: EventId(7), at: Timestamp::new(1_700_000_000, 5).unwrap(), address, queue_id: None, what }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_cut_short_it_is_none() {
        let key = AddressKey::new(&[7; 16]);
        for number in 1..=7 {
            let event = skip(number, number % 2 == 0, (number > 3).then_some("news"));
            let named = Named::by(&event).unwrap();
            let (key, value) = named.entry(hash(&key, named.campaign), event.id).unwrap();
            let entry = Entry::decode(&key, &value).unwrap();
            assert_eq!((entry.name.as_str(), entry.event, entry.at), ("joe@example.org", event.id, event.at));
            let skip = entry.skip.unwrap();
            assert_eq!((skip.reason, skip.shadow), (reason_of(number).unwrap(), number % 2 == 0));
            assert!((0..value.len()).all(|end| Entry::decode(&key, &value[..end]).is_none()));
        }
        assert!(reason_of(0).is_none() && reason_of(8).is_none());
    }

    #[test]
    fn a_head_is_read_as_it_was_written_however_many_lists_it_heard_of() {
        let mut head = None;
        for number in 0..300 {
            let mut event = skip(1, false, Some(&format!("list{number}.example.org")));
            event.at = Timestamp::new(1_700_000_000 - number, 0).unwrap();
            head = Some(Named::by(&event).unwrap().note(head, event.at));
        }
        let head = head.unwrap();
        assert!(head.lists.len() <= LISTS && head.lists.len() > 80);
        assert_eq!((head.last_at - head.first_at).get_seconds(), 299);
        let value = head.encode();
        assert!(value.len() < super::super::schema::PIECE);
        assert_eq!(Head::decode(&value), Some(head));
    }

    #[test]
    fn keys_are_in_order_of_contact_and_the_first_behind_one_is_the_next() {
        let (key, campaign) = (AddressKey::new(&[7; 16]), Campaign("spring".to_owned()));
        let hash = hash(&key, &campaign);
        let key_of = |name: &str| {
            let named = Named { campaign: &campaign, list: None, name: Some(name), value: Some(Vec::new()) };
            named.entry(hash, EventId(u128::MAX)).unwrap().0
        };
        let long = "x".repeat(5000);
        let names = ["a@x", "a@x.example", "b@x", long.as_str()];
        for pair in names.windows(2) {
            assert!(key_of(pair[0]) < key_of(pair[1]));
            let behind = first_key(hash, Some(pair[0]));
            assert!(key_of(pair[0]) < behind && behind <= key_of(pair[1]), "{pair:?}");
        }
        assert!(first_key(hash, None) <= key_of("") && hash.0.to_vec() < first_key(hash, None));
        assert!(key_of(&long).len() <= HASH + NAME + TAIL);
        assert_ne!(key_of(&long), key_of(&format!("{long}x")));
    }
}
