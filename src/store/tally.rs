//! What the store knows of campaigns, or of one event, for reports: reads only.

use super::sent::{Sent, SentHead};
use super::{Store, StoreError, by_campaign, events, sent};
use crate::mail::ListId;
use crate::policy::{Event, EventId};
use crate::report::Campaign;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::ops::Bound;

/// Entries of a tree read at a time; between them, whoever wants to change the trees gets his turn.
const PIECE: usize = 4096;

/// A campaign among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignTimes {
    /// Its name.
    pub campaign: Campaign,
    /// Its lists.
    pub lists: BTreeSet<ListId>,
    /// When the first thing happened that is on record of it.
    pub first_at: Timestamp,
    /// When the last one did.
    pub last_at: Timestamp,
}

impl Store {
    /// The event with this id.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn event(&self, id: EventId) -> Result<Option<Event>, StoreError> {
        let reading = self.inner.shared.read();
        Ok(events::get(&reading.engine()?.events, id)?.map(|stored| stored.event))
    }

    /// Tells of the events behind `after` that may name a campaign, all that do among them, oldest first, some at a time. Returns the id to go on
    /// behind; none at the end. Only what is on disk for good.
    ///
    /// A record is looked through for the campaign's name before an event is made of it: that is most of the work.
    ///
    /// # Errors
    /// [`StoreError`] when the events cannot be read.
    pub fn events_naming(
        &self,
        campaign: &Campaign,
        after: Option<EventId>,
        told: &mut dyn FnMut(Event),
    ) -> Result<Option<EventId>, StoreError> {
        let name = serde_json::to_string(campaign).map_err(|error| StoreError::Engine(error.to_string()))?;
        let named = format!("\"campaign\":{name}");
        let end = self.inner.shared.recorded.borrow().0.saturating_add(1);
        let first = after.map_or(0, |after| after.0.saturating_add(1)).min(end);
        let reading = self.inner.shared.read();
        let events = &reading.engine()?.events;
        let mut last = None;
        for entry in events.range(first.to_be_bytes()..end.to_be_bytes()).take(PIECE) {
            let (key, record) = entry?;
            let Some(id) = key.first_chunk().map(|id| EventId(u128::from_be_bytes(*id))) else { continue };
            last = Some(id);
            // Longer keys continue an event, which `get` reads whole.
            if key.len() == 16 && may_name(&record, &named) {
                events::get(events, id)?.into_iter().for_each(|stored| told(stored.event));
            }
        }
        Ok(last)
    }

    /// Whether the index by campaign is whole: it is not for a while after a store of before was opened.
    pub fn is_indexed(&self) -> bool {
        self.inner.shared.read().engine().is_ok_and(|engine| engine.is_indexed)
    }

    /// What the index knows of a campaign itself.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn campaign(&self, campaign: &Campaign) -> Result<Option<CampaignTimes>, StoreError> {
        let hash = by_campaign::hash(self.address_key(), campaign);
        let reading = self.inner.shared.read();
        let head = by_campaign::Head::of(&reading.engine()?.by_campaign, hash)?;
        Ok(head.filter(|head| head.campaign == *campaign).map(CampaignTimes::from))
    }

    /// Tells of the responses and skips of a campaign by the index, in order of contact, behind one or from the first;
    /// for as long as `told` says to go on. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn entries_of(
        &self,
        campaign: &Campaign,
        behind: Option<&str>,
        told: &mut dyn FnMut(by_campaign::Entry) -> bool,
    ) -> Result<(), StoreError> {
        let hash = by_campaign::hash(self.address_key(), campaign);
        let mut from = Bound::Included(by_campaign::first_key(hash, behind));
        loop {
            let mut last = None;
            let reading = self.inner.shared.read();
            for entry in reading.engine()?.by_campaign.range((from, Bound::Unbounded)).take(PIECE) {
                let (key, value) = entry?;
                let entry = Some(&key).filter(|key| by_campaign::is_of(hash, key));
                let Some(key) = entry else { return Ok(()) };
                if by_campaign::Entry::decode(key, &value).is_some_and(|entry| !told(entry)) {
                    return Ok(());
                }
                last = Some(key.to_vec());
            }
            match last {
                Some(key) => from = Bound::Excluded(key),
                None => return Ok(()),
            }
        }
    }

    /// Tells of every campaign by the index and the counts of what was sent, in no order, each once; for as long as
    /// `told` says to go on. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub fn campaigns(&self, told: &mut dyn FnMut(CampaignTimes) -> bool) -> Result<(), StoreError> {
        let mut from = Some(0);
        while let Some(start) = from {
            let reading = self.inner.shared.read();
            let engine = reading.engine()?;
            let Some((head, next)) = by_campaign::Head::next(&engine.by_campaign, start)? else { break };
            from = next;
            let Some(head) = head else { continue };
            let hash = by_campaign::hash(self.address_key(), &head.campaign);
            let mut times = CampaignTimes::from(head);
            if let Some(sent) = SentHead::of(&engine.sent, hash)? {
                times.first_at = times.first_at.min(sent.first_at);
                times.last_at = times.last_at.max(sent.last_at);
                times.lists.extend(sent.list);
            }
            if !told(times) {
                return Ok(());
            }
        }
        let mut from = Some(0);
        while let Some(start) = from {
            let reading = self.inner.shared.read();
            let engine = reading.engine()?;
            let Some((head, next)) = SentHead::next(&engine.sent, start)? else { break };
            from = next;
            let Some(head) = head else { continue };
            let hash = by_campaign::hash(self.address_key(), &head.campaign);
            if by_campaign::Head::of(&engine.by_campaign, hash)?.is_some() {
                continue;
            }
            let SentHead { campaign, list, first_at, last_at, .. } = head;
            if !told(CampaignTimes { campaign, lists: list.into_iter().collect(), first_at, last_at }) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How many a campaign was sent to, by day and by provider. Sends of the last second may be missing.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn sent_of(&self, campaign: &Campaign) -> Result<Sent, StoreError> {
        let hash = by_campaign::hash(self.address_key(), campaign);
        sent::of(&self.inner.shared.read().engine()?.sent, hash)
    }

    /// How many all campaigns were sent to, on the days from one to another (from 1970-01-01), that one included.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub fn sent_on_days(&self, first: u32, last: u32) -> Result<Sent, StoreError> {
        sent::on_days(&self.inner.shared.read().engine()?.sent, first, last)
    }
}

impl From<by_campaign::Head> for CampaignTimes {
    fn from(head: by_campaign::Head) -> CampaignTimes {
        let by_campaign::Head { campaign, first_at, last_at, lists } = head;
        CampaignTimes { campaign, lists, first_at, last_at }
    }
}

/// Whether an event has these words in it, by the first piece of its record; false is certain.
fn may_name(record: &[u8], words: &str) -> bool {
    let whole = record.get(1).is_none_or(|pieces| *pieces <= 1);
    // Words may stand across two pieces, and a content key before them may be anything.
    if record.first() == Some(&events::PACKED) {
        return false; // a piece of an import, which names no campaign
    }
    let json =
        record.iter().position(|octet| *octet == b'{').and_then(|start| std::str::from_utf8(&record[start..]).ok());
    !whole || json.is_none_or(|json| json.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Address, MessageId};
    use crate::policy::{ContentKey, SkipReason, What};
    use crate::store::{NewEvent, Send, Settings};

    fn send(number: usize, campaign: &str, recipients: std::ops::Range<usize>) -> Send {
        Send {
            message_id: MessageId(format!("{number}@example.com")),
            at: Timestamp::new(1_700_000_000 + number as i64, 0).unwrap(),
            campaign: Some(Campaign(campaign.to_owned())),
            list: None,
            recipients: recipients.map(|one| Address::parse(&format!("c{one}@example.org")).unwrap()).collect(),
        }
    }

    #[test]
    fn every_recipient_of_a_campaign_is_counted_however_many_share_a_message() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let settings = Settings { path, cache_bytes: 8 << 20, evidence_days: 400, ledger_days: 35 };
        let store = Store::open(&settings).unwrap();
        // More messages than are read at a time, and one with more recipients than its record takes.
        for number in 0..5000 {
            store.remember_send(send(number, if number % 2 == 0 { "spring" } else { "other" }, 0..3)).unwrap();
        }
        store.remember_send(send(6000, "spring", 0..1000)).unwrap();
        store.remember_send(send(6000, "spring", 0..1000)).unwrap();
        store.close().unwrap();
        let store = Store::open(&settings).unwrap();
        let campaign = Campaign("spring".to_owned());
        let sent = store.sent_of(&campaign).unwrap();
        assert_eq!(sent.recipients, 2500 * 3 + 1000);
        assert_eq!(sent.by_provider["example.org"], sent.recipients);
        assert_eq!(sent.by_day.values().sum::<u64>(), sent.recipients);
        let seconds = |at: Option<Timestamp>| at.unwrap().as_second() - 1_700_000_000;
        assert_eq!((seconds(sent.first_at), seconds(sent.last_at)), (0, 6000));
        let none = store.sent_of(&Campaign("autumn".to_owned())).unwrap();
        assert_eq!(none, Sent::default());
        let mut campaigns = Vec::new();
        let mut told = |times: CampaignTimes| {
            campaigns.push(times.campaign.0);
            true
        };
        store.campaigns(&mut told).unwrap();
        campaigns.sort();
        assert_eq!(campaigns, ["other", "spring"]);
        // The ledger forgets, the counts stay.
        store.expire(Timestamp::now()).unwrap();
        assert_eq!(store.sent_of(&campaign).unwrap(), sent);
    }

    #[test]
    fn every_event_of_a_campaign_is_found_however_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        let settings = Settings { path, cache_bytes: 8 << 20, evidence_days: 400, ledger_days: 35 };
        let store = Store::open(&settings).unwrap();
        let campaign = Campaign("\"spring\" \\ 2026 \u{1}ü".to_owned());
        let skip = |number: usize, campaign: &Campaign, content_key: Option<ContentKey>| NewEvent {
            at: Timestamp::now(),
            address: None,
            queue_id: None,
            what: What::Skip {
                reason: SkipReason::InvalidAddress,
                category: None,
                scope: None,
                campaign: Some(campaign.clone()),
                list: None,
                // Some are longer than a piece, so that the name stands anywhere in it.
                forward_path: Some("x".repeat(number * 29)),
                limit: None,
                shadow: false,
            },
            content_key,
        };
        let other = Campaign("spring".to_owned());
        let events = (0..600).map(|number| {
            let key = (number % 3 == 0).then(|| ContentKey::of(&[&[number as u8, (number >> 8) as u8]]));
            skip(number, if number % 2 == 0 { &campaign } else { &other }, key)
        });
        store.record_blocking(events.collect()).unwrap();
        let (mut after, mut found) = (None, 0);
        let mut told = |event: Event| {
            found += usize::from(matches!(event.what, What::Skip { campaign: Some(of), .. } if of == campaign));
        };
        while let Some(last) = store.events_naming(&campaign, after, &mut told).unwrap() {
            assert!(after < Some(last));
            after = Some(last);
        }
        assert_eq!(found, 300);
    }
}
