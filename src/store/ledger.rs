//! The send ledger: which message went to whom. Keys and encoding of tree `ledger`, and the sends that are
//! not written yet.
//!
//! A message is known by 16 octets of the hash of its Message-ID, a recipient by 8 of the keyed hash of its address. The day
//! leads the key, so that what is old lies together and is dropped as one range. The first [`INLINE`]
//! recipients stand in the message's record; the others, of a message that many share, have a key of their
//! own each, since a record that long would be written again with every send.
//!
//! Nobody waits for a send, so sends gather for up to a second and are written in the order of their keys, a
//! [`CHUNK`] at a time. They are plain inserts: a transaction would keep everybody from reading.

use super::fact::{Reader, put_text, put_time};
use super::keyed::AddressKey;
use super::{Send, SendMatch, StoreError};
use crate::classify::provider;
use crate::mail::{Address, ListId, MessageId};
use crate::report::Campaign;
use jiff::Timestamp;
use sled::Tree;
use std::borrow::Cow;
use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

const VERSION: u8 = 3;
/// Flags of a record.
const CROWDED: u8 = 1;
const NOT_COUNTED: u8 = 2;

/// So many recipients stand in the record of their message.
pub const INLINE: usize = 256;

/// So many messages are written before the writer looks what else there is to do.
pub const CHUNK: usize = 256;

/// At most so many messages wait to be written...
const WAITING: usize = 65_536;
/// ... and so many recipients.
const WAITING_RECIPIENTS: usize = 1 << 20;

/// So many messages go without delay: the more at once, the less each costs, since many share a page.
pub const MANY: usize = 16_384;
/// So do so many recipients, or there would be no room for more while they are written.
const MANY_RECIPIENTS: usize = WAITING_RECIPIENTS / 3;

/// The hash of a Message-ID.
pub type MessageKey = [u8; 16];

/// The hash of a recipient's address.
pub type Recipient = u64;

/// What is remembered of a message on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendRecord {
    /// When it first passed.
    pub at: Timestamp,
    /// Its campaign.
    pub campaign: Option<Campaign>,
    /// Its list.
    pub list: Option<ListId>,
    /// Its recipients, in no order; one may be there twice.
    pub recipients: Vec<Recipient>,
    /// The providers of the recipients, each with how many of them follow each other: known until it is written.
    pub providers: Vec<(Cow<'static, str>, u32)>,
    /// Whether more recipients have keys of their own.
    pub crowded: bool,
    /// Whether it is counted as a send; else it is another name of one that is, or no campaign's.
    pub counted: bool,
}

/// The hash of a Message-ID.
pub fn message_key(message_id: &MessageId) -> MessageKey {
    first(message_id.0.as_bytes())
}

/// The keyed hash of a recipient's address.
pub fn recipient_key(key: &AddressKey, address: &Address) -> Recipient {
    key.hash(address.as_str()).short()
}

/// The providers of recipients, those of one after another together; of what is no campaign's only how many.
fn providers(recipients: &[Address], wanted: bool) -> Vec<(Cow<'static, str>, u32)> {
    if !wanted {
        return vec![(Cow::Borrowed(""), recipients.len() as u32)];
    }
    let mut runs: Vec<(Cow<'static, str>, u32)> = Vec::with_capacity(1);
    for recipient in recipients {
        let domain = recipient.domain();
        let named = provider::named(domain);
        match runs.last_mut() {
            Some((last, count)) if *last == named.unwrap_or(domain) => *count += 1,
            _ => runs.push((named.map_or_else(|| Cow::Owned(domain.to_owned()), Cow::Borrowed), 1)),
        }
    }
    runs
}

/// The first octets of a hash.
fn first<const N: usize>(text: &[u8]) -> [u8; N] {
    *blake3::hash(text).as_bytes().first_chunk().expect("N is at most 32")
}

/// The day of a time, from 1970-01-01; 0 before.
pub fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_second().div_euclid(86_400)).unwrap_or(0)
}

/// The key of a message's record.
pub fn record_key(day: u32, message: MessageKey) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&day.to_be_bytes());
    key[4..].copy_from_slice(&message);
    key
}

/// The key of a recipient that does not stand in the record.
pub fn recipient_record_key(day: u32, message: MessageKey, recipient: Recipient) -> Vec<u8> {
    [&day.to_be_bytes()[..], &message, &recipient.to_be_bytes()].concat()
}

impl SendRecord {
    /// The record of one send.
    pub fn of(send: &Send, key: &AddressKey) -> SendRecord {
        SendRecord {
            at: send.at,
            campaign: send.campaign.clone(),
            list: send.list.clone(),
            recipients: send.recipients.iter().map(|recipient| recipient_key(key, recipient)).collect(),
            providers: providers(&send.recipients, send.campaign.is_some()),
            crowded: false,
            counted: true,
        }
    }

    /// The provider of each recipient, in order; empty where it is not known.
    fn provider_of_each(&self) -> impl Iterator<Item = &str> {
        let runs = self.providers.iter();
        runs.flat_map(|(name, count)| std::iter::repeat_n(name.as_ref(), *count as usize)).chain(std::iter::repeat(""))
    }

    /// Tells of recipients that are counted with this send for the first time, some of one provider at a time.
    fn tell_new(
        &self,
        known: Option<&SendRecord>,
        has_key: impl Fn(Recipient) -> Result<bool, StoreError>,
        told: &mut dyn FnMut(&str, u64),
    ) -> Result<(), StoreError> {
        if let ([_], None, Some((provider, _))) = (&self.recipients[..], known, self.providers.first()) {
            told(provider, 1);
            return Ok(());
        }
        // What was known and not counted is counted now.
        let known = known.filter(|known| known.counted);
        let mut seen: HashSet<Recipient> = known.iter().flat_map(|known| known.recipients.iter().copied()).collect();
        let is_crowded = known.is_some_and(|known| known.crowded);
        let mut open = ("", 0);
        for (recipient, provider) in self.recipients.iter().zip(self.provider_of_each()) {
            if !seen.insert(*recipient) || is_crowded && has_key(*recipient)? {
                continue;
            }
            if open.0 != provider && open.1 > 0 {
                told(open.0, open.1);
                open.1 = 0;
            }
            open = (provider, open.1 + 1);
        }
        if open.1 > 0 {
            told(open.0, open.1);
        }
        Ok(())
    }

    /// Adds what another send of the same message knows. What was said first stands.
    pub fn merge(&mut self, other: SendRecord) {
        self.at = self.at.min(other.at);
        self.campaign = self.campaign.take().or(other.campaign);
        self.list = self.list.take().or(other.list);
        self.recipients.extend(other.recipients);
        self.providers.extend(other.providers);
        self.crowded |= other.crowded;
        self.counted |= other.counted;
    }

    /// Takes a recipient out. How many times it was there.
    pub fn forget(&mut self, recipient: Recipient) -> usize {
        let before = self.recipients.len();
        let mut place = 0;
        for (_, count) in &mut self.providers {
            let end = (place + *count as usize).min(before);
            let gone = self.recipients[place.min(end)..end].iter().filter(|known| **known == recipient).count();
            *count -= gone as u32;
            place = end;
        }
        self.recipients.retain(|known| *known != recipient);
        before - self.recipients.len()
    }

    /// Takes out the recipients that need keys of their own.
    pub fn overflow(&mut self) -> Vec<Recipient> {
        self.recipients.sort_unstable();
        self.recipients.dedup();
        let over = self.recipients.split_off(INLINE.min(self.recipients.len()));
        self.crowded |= !over.is_empty();
        over
    }

    /// Its octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut record = Vec::with_capacity(128 + 8 * self.recipients.len());
        let flag = |is_set, flag| if is_set { flag } else { 0 };
        record.extend([VERSION, flag(self.crowded, CROWDED) | flag(!self.counted, NOT_COUNTED)]);
        put_time(&mut record, self.at);
        put_text(&mut record, self.campaign.as_ref().map(|campaign| campaign.0.as_str()));
        put_text(&mut record, self.list.as_ref().map(|list| list.0.as_str()));
        record.extend(self.recipients.iter().flat_map(|recipient| recipient.to_be_bytes()));
        record
    }

    /// Reads its octets.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(record: &[u8]) -> Result<SendRecord, &'static str> {
        let mut reader = Reader(record);
        let read = |reader: &mut Reader<'_>| -> Option<SendRecord> {
            let [VERSION, flags] = reader.octets()? else { return None };
            let (at, campaign, list) = (reader.time()?, reader.text()?.map(Campaign), reader.text()?.map(ListId));
            let (recipients, rest) = reader.0.as_chunks();
            let recipients = recipients.iter().map(|recipient| u64::from_be_bytes(*recipient)).collect();
            let (crowded, counted) = (flags & CROWDED != 0, flags & NOT_COUNTED == 0);
            let providers = Vec::new();
            rest.is_empty().then_some(SendRecord { at, campaign, list, recipients, providers, crowded, counted })
        };
        read(&mut reader).ok_or("cut off, or of an unknown version")
    }
}

/// The record of a message on a day.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub fn record(ledger: &Tree, day: u32, message: MessageKey) -> Result<Option<SendRecord>, StoreError> {
    let Some(value) = ledger.get(record_key(day, message))? else { return Ok(None) };
    let damaged = |problem: &str| {
        let key = format!("{day} {:032x}", u128::from_be_bytes(message));
        StoreError::Damaged { tree: "ledger", key, problem: problem.to_owned() }
    };
    SendRecord::decode(&value).map(Some).map_err(damaged)
}

/// Writes what is known of a message on a day, beside what the tree knows already. Not durable yet; done twice
/// it does no harm. `told` hears of the recipients that the tree did not know, with what is known of the message now.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read or written.
pub fn write(
    ledger: &Tree,
    day: u32,
    message: MessageKey,
    send: &SendRecord,
    told: &mut dyn FnMut(&SendRecord, &str, u64),
) -> Result<(), StoreError> {
    let key = record_key(day, message);
    // Nearly every message is new and has few recipients, and this goes down the tree once.
    if send.recipients.len() <= INLINE && ledger.compare_and_swap(key, None::<&[u8]>, Some(send.encode()))?.is_ok() {
        return send.tell_new(None, |_| Ok(false), &mut |provider, count| told(send, provider, count));
    }
    let known = match record(ledger, day, message) {
        Ok(known) => known,
        Err(StoreError::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    let mut all = match known.clone() {
        Some(mut all) => {
            all.merge(send.clone());
            all
        }
        None => send.clone(),
    };
    // Before they are written: then all of them are known.
    let mut new: Vec<(String, u64)> = Vec::new();
    let has_key = |recipient| Ok(ledger.contains_key(recipient_record_key(day, message, recipient))?);
    send.tell_new(known.as_ref(), has_key, &mut |provider, count| new.push((provider.to_owned(), count)))?;
    for recipient in all.overflow() {
        ledger.insert(recipient_record_key(day, message, recipient), &[])?;
    }
    ledger.insert(key, all.encode())?;
    new.iter().for_each(|(provider, count)| told(&all, provider, *count));
    Ok(())
}

/// What the tree knows of a message and a recipient. `days` are asked newest first; the first that has the
/// recipient answers, else the first that has the message.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub fn find(
    ledger: &Tree,
    days: impl Iterator<Item = u32>,
    message: MessageKey,
    recipient: Recipient,
) -> Result<Option<SendMatch>, StoreError> {
    let mut found = None;
    for day in days {
        let Some(record) = record(ledger, day, message)? else { continue };
        let is_recipient = record.recipients.contains(&recipient)
            || record.crowded && ledger.contains_key(recipient_record_key(day, message, recipient))?;
        let SendRecord { at, campaign, list, .. } = record;
        let this = SendMatch { at, campaign, list, recipient: is_recipient };
        if is_recipient {
            return Ok(Some(this));
        }
        found.get_or_insert(this);
    }
    Ok(found)
}

/// Whether the tree knows a message, and if so whether it went to this recipient alone.
///
/// # Errors
/// [`StoreError`] when it cannot be read.
pub fn alone(
    ledger: &Tree,
    days: impl Iterator<Item = u32>,
    message: MessageKey,
    recipient: Recipient,
) -> Result<Option<bool>, StoreError> {
    let mut alone = None;
    for day in days {
        let Some(record) = record(ledger, day, message)? else { continue };
        let only = !record.crowded && record.recipients.iter().all(|known| *known == recipient);
        alone = Some(alone.unwrap_or(true) && only && !record.recipients.is_empty());
    }
    Ok(alone)
}

/// The days on which there are sends.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read.
pub fn days(ledger: &Tree) -> Result<BTreeSet<u32>, StoreError> {
    let mut days = BTreeSet::new();
    let mut first = 0_u32;
    while let Some(entry) = ledger.range(first.to_be_bytes()..).next() {
        let (key, _) = entry?;
        let Some(day) = key.first_chunk().map(|day| u32::from_be_bytes(*day)) else { break };
        days.insert(day);
        let Some(next) = day.checked_add(1) else { break };
        first = next;
    }
    Ok(days)
}

/// Tells of every send since a time that is counted, in no order.
///
/// # Errors
/// [`StoreError`] when the tree cannot be read.
pub fn since(ledger: &Tree, since: Timestamp, told: &mut dyn FnMut(Recipient, Timestamp)) -> Result<(), StoreError> {
    let (mut at, mut counted) = (Timestamp::UNIX_EPOCH, false);
    for entry in ledger.range(day_of(since).to_be_bytes()..) {
        let (key, value) = entry?;
        match (key.len(), key.last_chunk()) {
            // The recipients that do not stand in a record follow it.
            (28, Some(recipient)) if counted && at >= since => told(u64::from_be_bytes(*recipient), at),
            (28, _) => {}
            _ => {
                let Ok(record) = SendRecord::decode(&value) else { continue };
                (at, counted) = (record.at, record.counted);
                if counted && at >= since {
                    record.recipients.iter().for_each(|recipient| told(*recipient, at));
                }
            }
        }
    }
    Ok(())
}

/// A message on a day.
pub type Place = (MessageKey, u32);

/// Sends, those of one message on one day together.
pub type Sends = BTreeMap<Place, SendRecord>;

/// Sends that are not on disk yet: those that gather, and those that are being written.
#[derive(Default)]
pub struct PendingSends {
    gathering: Sends,
    writing: Arc<Sends>,
    /// The first of `writing` that is not in the tree; none where there are none.
    next: Option<Place>,
    gathering_recipients: usize,
    writing_recipients: usize,
}

impl PendingSends {
    /// Adds one.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too many wait.
    pub fn add(&mut self, message: MessageKey, record: SendRecord) -> Result<(), StoreError> {
        let recipients = self.gathering_recipients + record.recipients.len();
        if self.waiting() >= WAITING || self.writing_recipients + recipients > WAITING_RECIPIENTS {
            return Err(StoreError::Busy);
        }
        self.gathering_recipients = recipients;
        match self.gathering.entry((message, day_of(record.at))) {
            Entry::Vacant(place) => drop(place.insert(record)),
            Entry::Occupied(mut known) => known.get_mut().merge(record),
        }
        Ok(())
    }

    /// Takes a recipient out of all of them.
    pub fn forget(&mut self, recipient: Recipient) {
        for send in self.gathering.values_mut() {
            self.gathering_recipients -= send.forget(recipient);
        }
        if self.writing.values().any(|send| send.recipients.contains(&recipient)) {
            let writing = Arc::make_mut(&mut self.writing);
            self.writing_recipients -= writing.values_mut().map(|send| send.forget(recipient)).sum::<usize>();
        }
    }

    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        self.gathering.len() + self.writing.len()
    }

    /// Whether so much gathers that it is to be written without delay.
    pub fn is_much(&self) -> bool {
        self.gathering.len() >= MANY || self.gathering_recipients >= MANY_RECIPIENTS
    }

    /// Whether some are being written.
    pub fn is_writing(&self) -> bool {
        !self.writing.is_empty()
    }

    /// What is being written, and where to go on; if that was nothing, all that has gathered.
    pub fn take(&mut self) -> (Arc<Sends>, Option<Place>) {
        if self.writing.is_empty() {
            self.writing = Arc::new(std::mem::take(&mut self.gathering));
            self.writing_recipients = std::mem::take(&mut self.gathering_recipients);
            self.start_again();
        }
        (self.writing.clone(), self.next)
    }

    /// Those before `next` are in the tree.
    pub fn written(&mut self, next: Place) {
        self.next = Some(next);
    }

    /// The tree may have lost what was written to it.
    pub fn start_again(&mut self) {
        self.next = self.writing.keys().next().copied();
    }

    /// Those being written are on disk. They are given back, to be dropped where nobody waits for it.
    pub fn durable(&mut self) -> Arc<Sends> {
        self.writing_recipients = 0;
        self.next = None;
        std::mem::take(&mut self.writing)
    }

    /// What is known here of a message and a recipient.
    pub fn find(&self, message: MessageKey, recipient: Recipient) -> Option<SendMatch> {
        let of_message = (message, 0)..=(message, u32::MAX);
        let records = self.gathering.range(of_message.clone()).rev().chain(self.writing.range(of_message).rev());
        let matches = records.map(|(_, record)| SendMatch {
            at: record.at,
            campaign: record.campaign.clone(),
            list: record.list.clone(),
            recipient: record.recipients.contains(&recipient),
        });
        let matches: Vec<SendMatch> = matches.collect();
        matches.iter().find(|found| found.recipient).or(matches.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(recipients: impl IntoIterator<Item = Recipient>) -> SendRecord {
        SendRecord {
            at: Timestamp::new(1_700_000_000, 5).unwrap(),
            campaign: Some(Campaign("spring".to_owned())),
            list: None,
            recipients: recipients.into_iter().collect(),
            providers: Vec::new(),
            crowded: false,
            counted: true,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_only_whole() {
        let written = record([1, 2, u64::MAX]);
        let octets = written.encode();
        assert_eq!(SendRecord::decode(&octets), Ok(written));
        for end in (0..octets.len()).filter(|end| !(octets.len() - end).is_multiple_of(8)) {
            assert!(SendRecord::decode(&octets[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn recipients_beyond_the_first_get_keys_of_their_own() {
        let mut crowd = record(0..1000);
        let outside = crowd.overflow();
        assert_eq!((crowd.recipients.len(), outside.len(), crowd.crowded), (INLINE, 1000 - INLINE, true));
        assert!(crowd.encode().len() < super::super::schema::PIECE);
        let mut few = record(0..INLINE as u64);
        assert!(few.overflow().is_empty() && !few.crowded);
    }

    #[test]
    fn each_recipient_is_counted_once_with_its_provider_and_who_was_erased_is_not() {
        let address = |text: &str| Address::parse(text).unwrap();
        let send = |recipients: &[&str]| {
            let recipients = recipients.iter().map(|text| address(text)).collect();
            let (at, campaign) = (Timestamp::UNIX_EPOCH, Some(Campaign("spring".to_owned())));
            Send { message_id: MessageId("1@x".to_owned()), at, campaign, list: None, recipients }
        };
        let key = AddressKey::new(&[7; 16]);
        let mut record = SendRecord::of(&send(&["a@gmail.com", "b@googlemail.com", "c@example.org"]), &key);
        assert_eq!(record.providers, [(Cow::Borrowed("google"), 2), (Cow::Borrowed("example.org"), 1)]);
        record.merge(SendRecord::of(&send(&["d@example.org", "a@gmail.com", "e@gmail.com"]), &key));
        let told = |record: &SendRecord, known: Option<&SendRecord>| {
            let mut told = Vec::new();
            let tell = &mut |provider: &str, count| told.push((provider.to_owned(), count));
            record.tell_new(known, |_| Ok(false), tell).unwrap();
            told
        };
        let named =
            |told: &[(&str, u64)]| told.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Vec<_>>();
        assert_eq!(told(&record, None), named(&[("google", 2), ("example.org", 2), ("google", 1)]));
        let known = SendRecord::of(&send(&["b@googlemail.com", "d@example.org"]), &key);
        assert_eq!(told(&record, Some(&known)), named(&[("google", 1), ("example.org", 1), ("google", 1)]));
        let uncounted = SendRecord { counted: false, ..known };
        assert_eq!(told(&record, Some(&uncounted)), told(&record, None));
        assert_eq!(record.forget(recipient_key(&key, &address("a@gmail.com"))), 2);
        assert_eq!(told(&record, None), named(&[("google", 1), ("example.org", 2), ("google", 1)]));
    }

    #[test]
    fn sends_are_found_while_they_wait_and_while_they_are_written() {
        let mut pending = PendingSends::default();
        let day = day_of(record([]).at);
        pending.add([1; 16], record([10])).unwrap();
        pending.add([1; 16], record([11])).unwrap();
        pending.add([2; 16], record([12])).unwrap();
        assert_eq!(pending.waiting(), 2, "sends of one message on one day are one");
        let (taken, next) = pending.take();
        assert_eq!((taken.len(), next), (2, Some(([1; 16], day))));
        pending.add([3; 16], record([13])).unwrap();
        pending.written(([2; 16], day));
        assert_eq!(pending.take(), (taken.clone(), Some(([2; 16], day))), "given again until durable");
        pending.start_again();
        assert_eq!(pending.take().1, next);
        for (message, recipient, want) in [
            ([1; 16], 11, Some(true)),
            ([1; 16], 12, Some(false)),
            ([2; 16], 12, Some(true)),
            ([3; 16], 13, Some(true)),
            ([4; 16], 1, None),
        ] {
            assert_eq!(pending.find(message, recipient).map(|found| found.recipient), want, "{message:?} {recipient}");
        }
        assert_eq!(pending.durable(), taken);
        assert_eq!(pending.find([1; 16], 11), None);
        assert_eq!(pending.take().0.len(), 1);
    }

    #[test]
    fn what_is_written_later_stands_beside_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = sled::open(directory.path()).unwrap().open_tree("ledger").unwrap();
        let is_recipient = |recipient| {
            let found = find(&ledger, [1].into_iter(), [7; 16], recipient).unwrap().unwrap();
            assert_eq!(found.campaign, record([]).campaign);
            found.recipient
        };
        let mut new = 0;
        let mut write = |send: &SendRecord| {
            write(&ledger, 1, [7; 16], send, &mut |_, _, count| new += count).unwrap();
            new
        };
        assert_eq!(write(&record([5, 5, 9])), 2);
        assert!(is_recipient(5) && is_recipient(9) && !is_recipient(6));
        assert_eq!(write(&SendRecord { campaign: None, ..record(100..1100) }), 1002);
        assert_eq!(write(&record([6, 2000])), 1004);
        assert_eq!(write(&record((0..20).chain(90..1120))), 1004 + 17 + 10 + 20, "those of before are known");
        assert!([5, 6, 9, 100, 555, 1099, 2000].into_iter().all(is_recipient));
        assert!(![20, 89, 1120].into_iter().any(is_recipient));
        let crowd = super::record(&ledger, 1, [7; 16]).unwrap().unwrap();
        assert_eq!((crowd.recipients.len(), crowd.crowded), (INLINE, true));
        assert_eq!(find(&ledger, [1, 2].into_iter(), [8; 16], 5).unwrap(), None);
    }

    #[test]
    fn too_many_waiting_sends_are_refused() {
        let mut pending = PendingSends::default();
        for number in 0..WAITING as u128 {
            pending.add(number.to_be_bytes(), record([1])).unwrap();
        }
        assert!(matches!(pending.add([255; 16], record([1])), Err(StoreError::Busy)));
        let mut pending = PendingSends::default();
        let crowd = record(0..WAITING_RECIPIENTS as u64 + 1);
        assert!(matches!(pending.add([0; 16], crowd), Err(StoreError::Busy)));
        pending.add([0; 16], record(0..WAITING_RECIPIENTS as u64)).unwrap();
        pending.take();
        assert!(matches!(pending.add([1; 16], record([1])), Err(StoreError::Busy)), "also while they are written");
        pending.durable();
        pending.add([1; 16], record([1])).unwrap();
    }
}
