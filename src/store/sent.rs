//! How many recipients each campaign was sent to, by day and by provider: tree `sent`, which outlives the ledger.
//!
//! | key | value |
//! |---|---|
//! | `c`, keyed hash of the campaign | name, list, first and last time, recipients, number of its providers |
//! | `c`, hash, `d`, day | recipients |
//! | `c`, hash, `p`, provider | recipients |
//! | `d`, day | recipients, number of providers: of all campaigns |
//! | `d`, day, provider | recipients |
//! | `n` | number of the last [`Tally`] written |
//! | `l` | how far the ledger of before was counted |
//!
//! A send is counted when it is written to the ledger, if the ledger does not know it: once for each message, day and
//! recipient. The counts of all sends that gathered are written together, in one batch, ahead of the flush that makes
//! the sends durable; so a campaign of a million recipients is some hundred writes a second while it runs.
//!
//! Of a campaign so many providers have a count of their own, those that came first; the others stand under
//! [`OTHER`]. One that got no place never gets one, so each count is exact.

use super::StoreError;
use super::by_campaign::Walked;
use super::fact::{Reader, put_text, put_time};
use super::keyed::{AddressHash, AddressKey};
use super::ledger::{Place, SendRecord};
use crate::classify::provider::{self, OTHER};
use crate::mail::ListId;
use crate::report::Campaign;
use jiff::Timestamp;
use sled::{Batch, Tree};
use std::collections::{BTreeMap, BTreeSet};

const VERSION: u8 = 1;
/// Domains that have a count of their own: of a campaign, of a day. Providers known by name always have.
const OF_CAMPAIGN: u32 = 256;
const OF_DAY: u32 = 1024;

/// Behind every key of the ledger.
const LEDGER_END: [u8; 5] = [0xff; 5];

/// What one campaign was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Recipients, each counted once for each message on each day.
    pub recipients: u64,
    /// When the first message passed.
    pub first_at: Option<Timestamp>,
    /// When the last one did.
    pub last_at: Option<Timestamp>,
    /// Its list, as the first message named one.
    pub list: Option<ListId>,
    /// By day, from 1970-01-01.
    pub by_day: BTreeMap<u32, u64>,
    /// By provider.
    pub by_provider: BTreeMap<String, u64>,
    /// There were more providers: what is not among them stands under [`OTHER`].
    pub crowded: bool,
}

/// The head of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentHead {
    /// Its name.
    pub campaign: Campaign,
    /// Its list, as the first message named one.
    pub list: Option<ListId>,
    /// When the first message passed.
    pub first_at: Timestamp,
    /// When the last one did.
    pub last_at: Timestamp,
    /// Recipients.
    pub recipients: u64,
    /// Domains that have a count of their own.
    places: u32,
}

/// Sends that are counted and not written yet.
#[derive(Default)]
pub struct Tally {
    /// The one before it is on disk.
    number: u64,
    campaigns: BTreeMap<AddressHash, OfCampaign>,
    days: BTreeMap<u32, BTreeMap<String, u64>>,
    /// The sends up to this one, of those being written, are in it.
    counted: Option<Place>,
}

struct OfCampaign {
    campaign: Campaign,
    list: Option<ListId>,
    first_at: Timestamp,
    last_at: Timestamp,
    days: BTreeMap<u32, u64>,
    providers: BTreeMap<String, u64>,
}

impl Tally {
    /// The first after those on disk.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn after(tree: &Tree) -> Result<Tally, StoreError> {
        Ok(Tally { number: written(tree)? + 1, ..Tally::default() })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.campaigns.is_empty()
    }

    /// Whether a send is in it already: it is written again, after trouble with the disk.
    pub fn has(&self, place: Place) -> bool {
        self.counted.is_some_and(|counted| place <= counted)
    }

    /// The sends up to this one are in it.
    pub fn has_now(&mut self, place: Place) {
        self.counted = self.counted.max(Some(place));
    }

    /// Counts recipients of a send, of one provider.
    pub fn count(&mut self, key: &AddressKey, day: u32, send: &SendRecord, provider: &str, recipients: u64) {
        let Some(campaign) = send.campaign.as_ref().filter(|_| send.counted && recipients > 0) else { return };
        let provider = if provider.is_empty() { OTHER } else { provider };
        let of = self.campaigns.entry(key.hash(&campaign.0)).or_insert_with(|| OfCampaign {
            campaign: campaign.clone(),
            list: None,
            first_at: send.at,
            last_at: send.at,
            days: BTreeMap::new(),
            providers: BTreeMap::new(),
        });
        of.first_at = of.first_at.min(send.at);
        of.last_at = of.last_at.max(send.at);
        if of.list.is_none() {
            of.list.clone_from(&send.list);
        }
        *of.days.entry(day).or_default() += recipients;
        add(&mut of.providers, provider, recipients);
        add(self.days.entry(day).or_default(), provider, recipients);
    }

    /// Writes it, all or nothing, and once: a second time, after trouble with the disk, does nothing. Not durable yet.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read or written.
    pub fn write(&self, tree: &Tree) -> Result<(), StoreError> {
        if self.is_empty() || written(tree)? >= self.number {
            return Ok(());
        }
        let mut batch = Batch::default();
        self.put(tree, &mut batch)?;
        batch.insert(b"n", &self.number.to_be_bytes());
        tree.apply_batch(batch)?;
        Ok(())
    }

    /// Writes it with how far the ledger of before was counted; none at its end.
    ///
    /// # Errors
    /// As [`Tally::write`].
    pub fn write_ledger(&self, tree: &Tree, reached: Option<&[u8]>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.put(tree, &mut batch)?;
        batch.insert(b"l", reached.unwrap_or(&LEDGER_END));
        tree.apply_batch(batch)?;
        Ok(())
    }

    /// It is on disk for good; what comes next is another.
    pub fn next(&mut self) {
        *self = Tally { number: self.number + u64::from(!self.is_empty()), ..Tally::default() };
    }

    fn put(&self, tree: &Tree, batch: &mut Batch) -> Result<(), StoreError> {
        for (hash, new) in &self.campaigns {
            let recipients: u64 = new.days.values().sum();
            let mut head = match SentHead::of(tree, *hash)? {
                Some(head) => head,
                None => SentHead {
                    campaign: new.campaign.clone(),
                    list: None,
                    first_at: new.first_at,
                    last_at: new.last_at,
                    recipients: 0,
                    places: 0,
                },
            };
            head.first_at = head.first_at.min(new.first_at);
            head.last_at = head.last_at.max(new.last_at);
            head.list = head.list.take().or(new.list.clone());
            head.recipients += recipients;
            let prefix = campaign_key(*hash);
            for (day, count) in &new.days {
                raise(tree, batch, &[&prefix, &b"d"[..], &day.to_be_bytes()].concat(), *count)?;
            }
            head.places =
                put_providers(tree, batch, &[&prefix, &b"p"[..]].concat(), &new.providers, head.places, OF_CAMPAIGN)?;
            batch.insert(prefix, head.encode());
        }
        for (day, providers) in &self.days {
            let prefix = day_key(*day);
            let (known, places) = day_head(tree, *day)?;
            let places = put_providers(tree, batch, &prefix, providers, places, OF_DAY)?;
            let recipients = known + providers.values().sum::<u64>();
            batch.insert(prefix, [&recipients.to_be_bytes()[..], &places.to_be_bytes()].concat());
        }
        Ok(())
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    match counts.get_mut(name) {
        Some(known) => *known += count,
        None => drop(counts.insert(name.to_owned(), count)),
    }
}

/// Adds to the counts of providers, as far as these have or get one. How many domains have one then.
fn put_providers(
    tree: &Tree,
    batch: &mut Batch,
    prefix: &[u8],
    providers: &BTreeMap<String, u64>,
    mut places: u32,
    most: u32,
) -> Result<u32, StoreError> {
    let mut other = 0;
    for (name, count) in providers {
        let key = [prefix, name.as_bytes()].concat();
        if name == OTHER {
            other += count;
        } else if provider::is_name(name) || tree.contains_key(&key)? {
            raise(tree, batch, &key, *count)?;
        } else if places < most && name.len() <= 255 {
            places += 1;
            raise(tree, batch, &key, *count)?;
        } else {
            // From now on it is crowded, also where the last place was just given away.
            places = most + 1;
            other += count;
        }
    }
    if other > 0 {
        raise(tree, batch, &[prefix, OTHER.as_bytes()].concat(), other)?;
    }
    Ok(places)
}

fn raise(tree: &Tree, batch: &mut Batch, key: &[u8], by: u64) -> Result<(), StoreError> {
    let known = tree.get(key)?.map_or(0, |value| number(&value));
    batch.insert(key, &(known + by).to_be_bytes());
    Ok(())
}

fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets))
}

fn written(tree: &Tree) -> Result<u64, StoreError> {
    Ok(tree.get(b"n")?.map_or(0, |value| number(&value)))
}

/// How far the ledger of before was counted.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read.
pub fn ledger_counted_to(tree: &Tree) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(tree.get(b"l")?.map(|value| value.to_vec()))
}

fn campaign_key(hash: AddressHash) -> Vec<u8> {
    [&b"c"[..], &hash.0].concat()
}

fn day_key(day: u32) -> Vec<u8> {
    [&b"d"[..], &day.to_be_bytes()].concat()
}

fn day_head(tree: &Tree, day: u32) -> Result<(u64, u32), StoreError> {
    let Some(value) = tree.get(day_key(day))? else { return Ok((0, 0)) };
    Ok((number(&value), value.last_chunk().map_or(0, |places| u32::from_be_bytes(*places))))
}

impl SentHead {
    fn encode(&self) -> Vec<u8> {
        let mut value = vec![VERSION];
        put_time(&mut value, self.first_at);
        put_time(&mut value, self.last_at);
        value.extend(self.recipients.to_be_bytes());
        value.extend(self.places.to_be_bytes());
        put_text(&mut value, Some(&self.campaign.0));
        put_text(&mut value, self.list.as_ref().map(|list| list.0.as_str()));
        value
    }

    fn decode(value: &[u8]) -> Option<SentHead> {
        let mut reader = Reader(value);
        let [VERSION] = reader.octets()? else { return None };
        let head = SentHead {
            first_at: reader.time()?,
            last_at: reader.time()?,
            recipients: u64::from_be_bytes(reader.octets()?),
            places: u32::from_be_bytes(reader.octets()?),
            campaign: Campaign(reader.text()??),
            list: reader.text()?.map(ListId),
        };
        reader.0.is_empty().then_some(head)
    }

    /// The same without the name of its list.
    pub fn without_list(self) -> SentHead {
        SentHead { list: None, ..self }
    }

    /// Puts it in place of the one that is there.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be written.
    pub fn put(&self, tree: &Tree, hash: AddressHash) -> Result<(), StoreError> {
        tree.insert(campaign_key(hash), self.encode())?;
        Ok(())
    }

    /// The campaign under this hash.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn of(tree: &Tree, hash: AddressHash) -> Result<Option<SentHead>, StoreError> {
        Ok(tree.get(campaign_key(hash))?.and_then(|value| SentHead::decode(&value)))
    }

    /// The first campaign whose hash is not below `from`, and the hash to go on from; none at the end.
    ///
    /// # Errors
    /// [`StoreError`] when the tree cannot be read.
    pub fn next(tree: &Tree, from: u128) -> Result<Option<Walked<SentHead>>, StoreError> {
        let Some(entry) = tree.range(campaign_key(AddressHash(from.to_be_bytes()))..b"d".to_vec()).next() else {
            return Ok(None);
        };
        let (key, value) = entry?;
        let Some(hash) = key.get(1..).and_then(|hash| hash.first_chunk()).map(|hash| u128::from_be_bytes(*hash)) else {
            return Ok(None);
        };
        let head = if key.len() == 17 { SentHead::decode(&value) } else { None };
        Ok(Some((head, hash.checked_add(1))))
    }
}

/// What a campaign was sent.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read.
pub fn of(tree: &Tree, hash: AddressHash) -> Result<Sent, StoreError> {
    let Some(head) = SentHead::of(tree, hash)? else { return Ok(Sent::default()) };
    let mut sent = Sent {
        recipients: head.recipients,
        first_at: Some(head.first_at),
        last_at: Some(head.last_at),
        list: head.list,
        crowded: head.places > OF_CAMPAIGN,
        ..Sent::default()
    };
    for entry in tree.scan_prefix(campaign_key(hash)) {
        let (key, value) = entry?;
        match key.get(17..) {
            Some([b'd', day @ ..]) => {
                if let Some(day) = day.first_chunk() {
                    sent.by_day.insert(u32::from_be_bytes(*day), number(&value));
                }
            }
            Some([b'p', name @ ..]) => {
                sent.by_provider.insert(String::from_utf8_lossy(name).into_owned(), number(&value));
            }
            _ => {}
        }
    }
    Ok(sent)
}

/// What all campaigns were sent on the days from one to another, that one included.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read.
pub fn on_days(tree: &Tree, first: u32, last: u32) -> Result<Sent, StoreError> {
    let mut sent = Sent::default();
    // Domains that had a place on each of the days that were crowded; what others had stands under `other` in part.
    let mut placed: Option<BTreeSet<String>> = None;
    let (mut day, mut crowded, mut names) = (0, false, BTreeSet::new());
    let mut close = |crowded: bool, names: BTreeSet<String>| {
        if crowded {
            placed = Some(match placed.take() {
                Some(before) => before.intersection(&names).cloned().collect(),
                None => names,
            });
        }
    };
    let end = match last.checked_add(1) {
        Some(end) => day_key(end),
        None => b"e".to_vec(),
    };
    for entry in tree.range(day_key(first)..end) {
        let (key, value) = entry?;
        let Some((octets, name)) = key.get(1..).and_then(|key| key.split_first_chunk()) else { continue };
        if name.is_empty() {
            close(crowded, std::mem::take(&mut names));
            day = u32::from_be_bytes(*octets);
            crowded = value.last_chunk().is_some_and(|places| u32::from_be_bytes(*places) > OF_DAY);
            sent.crowded |= crowded;
            sent.recipients += number(&value);
            sent.by_day.insert(day, number(&value));
        } else if day == u32::from_be_bytes(*octets) {
            let name = String::from_utf8_lossy(name).into_owned();
            add(&mut sent.by_provider, &name, number(&value));
            if crowded {
                names.insert(name);
            }
        }
    }
    close(crowded, names);
    if let Some(placed) = placed {
        let mut other = 0;
        sent.by_provider.retain(|name, count| {
            let stays = name == OTHER || provider::is_name(name) || placed.contains(name);
            other += if stays { 0 } else { *count };
            stays
        });
        if other > 0 {
            add(&mut sent.by_provider, OTHER, other);
        }
    }
    Ok(sent)
}

/// Removes a campaign from the counts by campaign.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read or written.
pub fn remove(tree: &Tree, hash: AddressHash) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    for key in tree.scan_prefix(campaign_key(hash)).keys() {
        batch.remove(key?);
    }
    tree.apply_batch(batch)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(campaign: &str, at: i64) -> SendRecord {
        SendRecord {
            at: Timestamp::new(at, 0).unwrap(),
            campaign: Some(Campaign(campaign.to_owned())),
            list: Some(ListId("news.example.org".to_owned())),
            recipients: Vec::new(),
            providers: Vec::new(),
            crowded: false,
            counted: true,
        }
    }

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let tree = sled::open(directory.path()).unwrap().open_tree("sent").unwrap();
        (directory, tree)
    }

    #[test]
    fn counts_add_up_and_a_tally_written_twice_counts_once() {
        let (_directory, tree) = tree();
        let key = AddressKey::new(&[7; 16]);
        let mut tally = Tally::after(&tree).unwrap();
        for round in 0..3 {
            tally.count(&key, 20_000 + round, &send("spring", 1_700_000_000 + i64::from(round)), "google", 10);
            tally.count(&key, 20_000, &send("spring", 1_700_000_500), "example.org", 1);
            tally.count(&key, 20_000, &send("autumn", 1_700_000_500), "example.org", 5);
            tally.count(&key, 20_000, &SendRecord { counted: false, ..send("autumn", 1) }, "example.org", 5);
            tally.write(&tree).unwrap();
            tally.write(&tree).unwrap();
            tally.next();
            tally.next();
            if round == 1 {
                tally = Tally::after(&tree).unwrap();
            }
        }
        let spring = of(&tree, key.hash("spring")).unwrap();
        assert_eq!((spring.recipients, spring.crowded), (33, false));
        assert_eq!(spring.by_day, BTreeMap::from([(20_000, 13), (20_001, 10), (20_002, 10)]));
        assert_eq!(spring.by_provider, BTreeMap::from([("google".to_owned(), 30), ("example.org".to_owned(), 3)]));
        assert_eq!(spring.first_at, Timestamp::new(1_700_000_000, 0).ok());
        assert_eq!(spring.list, Some(ListId("news.example.org".to_owned())));
        let all = on_days(&tree, 20_000, 20_001).unwrap();
        assert_eq!(all.by_day, BTreeMap::from([(20_000, 28), (20_001, 10)]));
        assert_eq!(all.by_provider, BTreeMap::from([("google".to_owned(), 20), ("example.org".to_owned(), 18)]));
        assert_eq!(all.recipients, 38);
        let mut heads = Vec::new();
        let mut from = Some(0);
        while let Some((head, next)) = from.and_then(|from| SentHead::next(&tree, from).unwrap()) {
            heads.extend(head.map(|head| (head.campaign.0, head.recipients)));
            from = next;
        }
        heads.sort();
        assert_eq!(heads, [("autumn".to_owned(), 15), ("spring".to_owned(), 33)]);
        remove(&tree, key.hash("spring")).unwrap();
        assert_eq!(of(&tree, key.hash("spring")).unwrap(), Sent::default());
    }

    #[test]
    fn of_too_many_domains_those_that_came_first_have_exact_counts_and_the_rest_is_other() {
        let (_directory, tree) = tree();
        let key = AddressKey::new(&[7; 16]);
        let mut tally = Tally::after(&tree).unwrap();
        let spring = send("spring", 1_700_000_000);
        for _ in 0..3 {
            for number in 0..2000 {
                tally.count(&key, 20_000, &spring, &format!("d{number}.example.org"), 1);
            }
            tally.count(&key, 20_000, &spring, "google", 100);
            tally.write(&tree).unwrap();
            tally.next();
        }
        for (sent, places) in
            [(of(&tree, key.hash("spring")).unwrap(), OF_CAMPAIGN), (on_days(&tree, 0, u32::MAX).unwrap(), OF_DAY)]
        {
            assert!(sent.crowded);
            assert_eq!(sent.recipients, 3 * 2100);
            assert_eq!(sent.by_provider.values().sum::<u64>(), 3 * 2100);
            assert_eq!(sent.by_provider["google"], 300);
            let domains: Vec<u64> =
                sent.by_provider.iter().filter(|(name, _)| name.contains('.')).map(|(_, count)| *count).collect();
            assert_eq!(domains, vec![3; places as usize]);
        }
    }
}
