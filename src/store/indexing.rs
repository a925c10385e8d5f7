//! Brings a store of before up to date while it serves: the index by campaign is made from the events, and the sends
//! that the ledger remembers are counted. In short steps of the writer, so that nothing changes in between; cut off,
//! the index is begun anew and the counting goes on where it was.

use super::batch::ContactChanges;
use super::ledger::SendRecord;
use super::schema::{Engine, Meta, read_number};
use super::sent::{self, Tally};
use super::shared::Shared;
use super::writer::Writer;
use super::{StoreError, events};
use crate::policy::EventId;
use jiff::Timestamp;
use sled::Batch;

/// Events read in one step.
const STEP: usize = 512;
/// Entries of the ledger read in one step.
const LEDGER_STEP: usize = 4096;
/// So many steps are handed to the kernel at once: sled's memory grows until then.
const FLUSHED_AT_ONCE: u64 = 8;

/// Does all of it that is still to be done.
///
/// # Errors
/// [`StoreError`] when the store cannot be read or written; the rest is done when it is opened next.
pub fn complete(shared: &Shared) -> Result<(), StoreError> {
    while shared.run(|writer| writer.count_ledger_step())? {}
    let is_indexed = shared.read().engine()?.is_indexed;
    if is_indexed {
        return Ok(());
    }
    let (mut after, mut steps) = (None, 0);
    let mut opened = None;
    loop {
        let step = shared.run(move |writer| {
            writer.mend()?;
            // What was written and not flushed is gone with the sled of then.
            let again = opened.is_some_and(|opened| opened != writer.opened);
            let reached = writer.index_step(if again { None } else { after })?;
            Ok((reached, writer.opened))
        })?;
        opened = Some(step.1);
        steps += 1;
        match step.0 {
            Some(reached) => after = Some(reached),
            None => return shared.run(|writer| writer.put_index_in_force()),
        }
        if steps % FLUSHED_AT_ONCE == 0 {
            shared.run(|writer| writer.settle())?;
        }
    }
}

impl Writer {
    /// Indexes some events, from behind `after`. The last of them; none where there were none.
    fn index_step(&mut self, after: Option<EventId>) -> Result<Option<EventId>, StoreError> {
        self.change(|writer, engine| {
            let mut changes =
                ContactChanges::new(engine, &engine.contacts, &engine.by_campaign, &writer.shared.on_record);
            let mut reached = None;
            for stored in events::range(&engine.events, after, EventId(u128::MAX)).take(STEP) {
                let event = match stored {
                    Ok(stored) => stored.event,
                    // The others are worth having all the same; who reads the events hears of this one.
                    Err(StoreError::Damaged { .. }) => continue,
                    Err(error) => return Err(error),
                };
                reached = Some(event.id);
                changes.index(&event)?;
            }
            let mut batch = Batch::default();
            changes.campaign_entries().for_each(|(key, value)| batch.insert(key, value));
            engine.by_campaign.apply_batch(batch)?;
            writer.unsynced = true;
            Ok(reached)
        })
    }

    fn put_index_in_force(&mut self) -> Result<(), StoreError> {
        // First what it holds, then that it is whole.
        self.settle()?;
        self.change(|writer, engine| {
            engine.meta.insert(Meta::Indexed.key(), &engine.generation.to_be_bytes())?;
            engine.flush()?;
            engine.sync(&writer.sync)
        })?;
        self.shared.change(|engine| engine.is_indexed = true);
        Ok(())
    }

    /// Counts some of the sends that were remembered before they were counted. Whether there are more.
    fn count_ledger_step(&mut self) -> Result<bool, StoreError> {
        let more = self.change(|writer, engine| {
            let Some(from) = counted_from(engine)? else { return Ok(None) };
            let (mut tally, key) = (Tally::default(), writer.shared.on_record.key());
            let start = sent::ledger_counted_to(&engine.sent)?.unwrap_or_default();
            let mut reached = None;
            // A record, and its recipients: those that do not stand in it follow it.
            let mut open: Option<(u32, SendRecord, u64)> = None;
            for (count, entry) in engine.ledger.range(start..).enumerate() {
                let (place, value) = entry?;
                let Some(day) = place.first_chunk().map(|day| u32::from_be_bytes(*day)) else { continue };
                if place.len() == 28 {
                    open.iter_mut().for_each(|(_, _, recipients)| *recipients += 1);
                    continue;
                }
                open.take().iter().for_each(|(day, record, count)| tally.count(key, *day, record, "", *count));
                if count >= LEDGER_STEP {
                    reached = Some(place.to_vec());
                    break;
                }
                let Ok(mut record) = SendRecord::decode(&value) else { continue };
                if record.at < from {
                    record.recipients.sort_unstable();
                    record.recipients.dedup();
                    let recipients = record.recipients.len() as u64;
                    open = Some((day, record, recipients));
                }
            }
            open.iter().for_each(|(day, record, count)| tally.count(key, *day, record, "", *count));
            tally.write_ledger(&engine.sent, reached.as_deref())?;
            writer.unsynced = true;
            Ok(Some(reached.is_some()))
        })?;
        match more {
            None => Ok(false),
            Some(true) => Ok(true),
            Some(false) => {
                self.settle()?;
                self.change(|writer, engine| {
                    engine.meta.remove(Meta::CountedFrom.key())?;
                    engine.flush()?;
                    engine.sync(&writer.sync)
                })?;
                Ok(false)
            }
        }
    }
}

fn counted_from(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let Some(value) = engine.meta.get(Meta::CountedFrom.key())? else { return Ok(None) };
    let seconds = i64::from_be_bytes(read_number(Meta::CountedFrom, &value)?);
    Ok(Some(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)))
}
