//! What the store knows of one campaign or one event, for reports: reads only, and nothing is indexed by campaign.

use super::ledger::SendRecord;
use super::{Store, StoreError, events};
use crate::policy::{Event, EventId};
use crate::report::Campaign;
use jiff::Timestamp;
use std::ops::Bound;

/// Entries of a tree read at a time; between them, whoever wants to change the trees gets his turn.
const PIECE: usize = 4096;

/// What the ledger remembers of a campaign. It forgets after `[store] ledger_days`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CampaignSends {
    /// Recipients, counted once for each message on each day.
    pub recipients: u64,
    /// When the first message passed.
    pub first_at: Option<Timestamp>,
    /// When the last one did.
    pub last_at: Option<Timestamp>,
}

impl CampaignSends {
    fn add(&mut self, record: SendRecord) {
        let mut recipients = record.recipients;
        recipients.sort_unstable();
        recipients.dedup();
        self.recipients += recipients.len() as u64;
        self.first_at = Some(self.first_at.map_or(record.at, |first| first.min(record.at)));
        self.last_at = self.last_at.max(Some(record.at));
    }
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

    /// What the ledger remembers of a campaign. Reads all of it; sends of the last second may be missing. Blocks,
    /// for as long as `going_on` says so.
    ///
    /// # Errors
    /// [`StoreError`] when the ledger cannot be read, [`StoreError::Stopped`] when it shall not go on.
    pub fn sends_of(&self, campaign: &Campaign, going_on: &dyn Fn() -> bool) -> Result<CampaignSends, StoreError> {
        let mut sends = CampaignSends::default();
        let mut from: Bound<Vec<u8>> = Bound::Unbounded;
        // Whether the recipients that follow are of this campaign: they do not stand in the record of their message.
        let mut ours = false;
        while going_on() {
            let mut last = None;
            let reading = self.inner.shared.read();
            for entry in reading.engine()?.ledger.range((from, Bound::Unbounded)).take(PIECE) {
                let (key, value) = entry?;
                if key.len() == 28 {
                    sends.recipients += u64::from(ours);
                } else {
                    let record = SendRecord::decode(&value).ok();
                    let record = record.filter(|record| record.counted && record.campaign.as_ref() == Some(campaign));
                    ours = record.is_some();
                    record.into_iter().for_each(|record| sends.add(record));
                }
                last = Some(key);
            }
            match last {
                Some(key) => from = Bound::Excluded(key.to_vec()),
                None => return Ok(sends),
            }
        }
        Err(StoreError::Stopped)
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
        let sends = store.sends_of(&campaign, &|| true).unwrap();
        assert_eq!(sends.recipients, 2500 * 3 + 1000);
        let seconds = |at: Option<Timestamp>| at.unwrap().as_second() - 1_700_000_000;
        assert_eq!((seconds(sends.first_at), seconds(sends.last_at)), (0, 6000));
        let none = store.sends_of(&Campaign("autumn".to_owned()), &|| true).unwrap();
        assert_eq!(none, CampaignSends::default());
        assert!(matches!(store.sends_of(&campaign, &|| false), Err(StoreError::Stopped)));
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
