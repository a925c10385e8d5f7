//! Work beside the daily writing: imports, making contact records anew, letting go of what is old. Each is
//! cut into short steps that the writer takes between its batches, so that nobody waits long.

use super::batch::ContactChanges;
use super::listed;
use super::lists::ListChanges;
use super::schema::{Engine, Meta, read_number};
use super::shared::Shared;
use super::undone::Voiding;
use super::writer::Writer;
use super::{NewEvent, Recorded, StoreError, events};
use crate::policy::{Event, EventId, Evidence, What};
use jiff::{SignedDuration, Timestamp};
use sled::{Batch, Tree};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// Events, or contacts that a piece of an import names, in one step of a rebuild.
const STEP: usize = 512;

/// So many steps are handed to the kernel at once: sled's memory grows until then.
const FLUSHED_AT_ONCE: u64 = 8;

/// Records in one step of expiry; a piece of an import counts for some.
const EXPIRY_STEP: usize = 256;

/// Contact records being made anew, in trees of the next generation. Events that arrive meanwhile are
/// reached in the end, since they have higher ids.
pub struct Rebuild {
    /// The new contact records.
    pub contacts: Tree,
    /// How many contacts they are of.
    pub made: u64,
    by_contact: Tree,
    by_campaign: Tree,
    /// The operator's lists.
    pub lists: Tree,
    after: Option<EventId>,
    events: u64,
    steps: u64,
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Events read so far.
    pub events: u64,
    /// Contacts that have a record now, once it is done.
    pub done: Option<u64>,
}

/// A whole rebuild, in steps. `progress` is told how many events were read. Returns how many contacts have a
/// record.
///
/// # Errors
/// [`StoreError`] when the store cannot be read or written; the old records stay.
pub fn rebuild(shared: &Shared, progress: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
    while shared.run(|writer| writer.sweep_step())? {}
    shared.run(|writer| writer.begin_rebuild())?;
    loop {
        let step = shared.run(|writer| writer.rebuild_step())?;
        progress(step.events);
        if let Some(made) = step.done {
            while shared.run(|writer| writer.sweep_step())? {}
            return Ok(made);
        }
    }
}

impl Writer {
    /// Records events without making them durable.
    ///
    /// # Errors
    /// [`StoreError`] when they could not be written; then none of them counts.
    pub fn import_step(&mut self, events: Vec<NewEvent>) -> Result<u64, StoreError> {
        let prepared = self.prepare(events)?;
        let answers = self.write(&[prepared], false)?;
        Ok(answers.iter().flatten().filter(|answer| matches!(answer, Recorded::New(_))).count() as u64)
    }

    /// Begins a rebuild; one that was under way is given up.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be written.
    pub fn begin_rebuild(&mut self) -> Result<(), StoreError> {
        self.rebuild = None;
        self.change(|writer, engine| {
            let (contacts, by_contact) = engine.next_generation()?;
            let (by_campaign, lists) = (engine.next_by_campaign()?, engine.next_lists()?);
            let (after, events, steps, made) = (None, 0, 0, 0);
            writer.rebuild = Some(Rebuild { contacts, made, by_contact, by_campaign, lists, after, events, steps });
            Ok(())
        })
    }

    /// Takes one step of the rebuild begun; the last puts the new records in force.
    ///
    /// # Errors
    /// [`StoreError`] when an event cannot be read or nothing can be written; the old records stay in force.
    pub fn rebuild_step(&mut self) -> Result<Progress, StoreError> {
        // Gives the rebuild up if sled has to be opened again.
        self.mend()?;
        let Some(mut rebuild) = self.rebuild.take() else {
            return Err(StoreError::Engine("the rebuild was given up".to_owned()));
        };
        let more = self.change(|writer, engine| rebuild.step(engine, &writer.shared))?;
        let events = rebuild.events;
        if more {
            self.rebuild = Some(rebuild);
            return Ok(Progress { events, done: None });
        }
        let made = rebuild.made;
        self.put_in_force(rebuild)?;
        Ok(Progress { events, done: Some(made) })
    }

    fn put_in_force(&mut self, rebuild: Rebuild) -> Result<(), StoreError> {
        self.settle()?;
        let Rebuild { contacts, by_contact, by_campaign, lists, made, .. } = rebuild;
        self.change(|writer, engine| {
            let next = (engine.generation + 1).to_be_bytes();
            let mut now = Batch::default();
            now.insert(Meta::Generation.key(), &next);
            now.insert(Meta::Indexed.key(), &next);
            engine.meta.apply_batch(now)?;
            engine.flush()?;
            engine.sync(&writer.sync)
        })?;
        self.shared.change(|engine| {
            engine.generation += 1;
            engine.contacts = contacts;
            engine.by_contact = by_contact;
            engine.by_campaign = by_campaign;
            engine.is_indexed = true;
            engine.lists = lists;
        });
        listed::load(&self.shared)?;
        // Every contact is in the table already: as the records of before had it, or put there by a step.
        self.shared.contacts.store(made, Ordering::Relaxed);
        self.shared.on_record.forget();
        self.shared.background.scan();
        self.change(|writer, engine| {
            let counters = writer.counters(writer.shared.events.load(Ordering::Relaxed), made);
            engine.meta.insert(Meta::Counters.key(), counters)?;
            writer.unsynced = true;
            Ok(())
        })
    }

    /// Drops some of the records that a rebuild has replaced. Whether there are more.
    ///
    /// # Errors
    /// [`StoreError`] when nothing can be written.
    pub fn sweep_step(&mut self) -> Result<bool, StoreError> {
        if self.rebuild.is_some() {
            // What it makes is not in use yet, and no leftover.
            return Ok(false);
        }
        self.change(|_, engine| engine.sweep())
    }

    /// Forgets sends of days before `day`, some at a time. Returns how many entries went; 0 at the end.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written.
    pub fn expire_sends_step(&mut self, day: u32) -> Result<u64, StoreError> {
        let removed = self.change(|_, engine| {
            let mut batch = Batch::default();
            let mut removed = 0;
            for key in engine.ledger.range(..day.to_be_bytes()).keys().take(EXPIRY_STEP) {
                batch.remove(key?);
                removed += 1;
            }
            engine.ledger.apply_batch(batch)?;
            Ok(removed)
        })?;
        if removed == 0 {
            let mut days = self.shared.ledger_days.write().unwrap_or_else(PoisonError::into_inner);
            *days = days.split_off(&day);
        }
        Ok(removed)
    }

    /// Drops the words of events with ids below `end`, some at a time. Returns how many events lost theirs,
    /// and whether there is more to do.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written.
    pub fn expire_words_step(&mut self, end: EventId) -> Result<(u64, bool), StoreError> {
        self.change(|_, engine| {
            let last = EventId(end.0.saturating_sub(1));
            let done_to = engine.meta.get(Meta::Expired.key())?;
            let done_to = done_to.map(|id| read_number(Meta::Expired, &id)).transpose()?.map(u128::from_be_bytes);
            let mut batch = Batch::default();
            let (mut weight, mut shortened, mut reached) = (0, 0, None);
            for stored in events::range(&engine.events, done_to.map(EventId), last) {
                let mut stored = stored?;
                weight +=
                    if let What::Imported { entries, .. } = &stored.event.what { 1 + entries.len() / 16 } else { 1 };
                reached = Some(stored.event.id);
                let before = stored.entries()?;
                if drop_words(&mut stored.event) {
                    shortened += 1;
                    before.into_iter().for_each(|(key, _)| batch.remove(key));
                    stored.entries()?.into_iter().for_each(|(key, value)| batch.insert(key, value));
                }
                if weight >= EXPIRY_STEP {
                    break;
                }
            }
            engine.events.apply_batch(batch)?;
            // After the events: what is done twice does no harm, what is left out stays for good.
            if let Some(reached) = reached {
                engine.meta.insert(Meta::Expired.key(), &reached.0.to_be_bytes())?;
            }
            Ok((shortened, weight >= EXPIRY_STEP))
        })
    }
}

impl Rebuild {
    /// Reads some events; whether there are more.
    fn step(&mut self, engine: &Engine, shared: &Shared) -> Result<bool, StoreError> {
        let mut changes = ContactChanges::new(engine, &self.contacts, &self.by_campaign, &shared.on_record);
        let mut lists = ListChanges::new(&self.lists);
        let (mut count, mut weight) = (0, 0);
        let mut more = false;
        for stored in events::range(&engine.events, self.after, EventId(u128::MAX)) {
            let stored = stored?;
            changes.add(&stored)?;
            if !changes.is_reverted(&stored)? {
                lists.add(&stored)?;
            }
            self.after = Some(stored.event.id);
            count += 1;
            weight += if let What::Imported { entries, .. } = &stored.event.what { entries.len() } else { 1 };
            if weight >= STEP {
                more = true;
                break;
            }
        }
        let made = changes.take_entries();
        let mut voided = Batch::default();
        for (target, voiding) in changes.voided {
            if Voiding::of(&engine.voided, target)?.is_none() {
                voided.insert(&target.0.to_be_bytes(), voiding.encode());
            }
        }
        changes.touched.iter().for_each(|&(contact, may_suppress)| shared.on_record.note(contact, may_suppress));
        self.made += changes.new_contacts;
        self.events += count as u64;
        self.steps += 1;
        self.contacts.apply_batch(made.contacts)?;
        self.by_contact.apply_batch(made.by_contact)?;
        self.by_campaign.apply_batch(made.by_campaign)?;
        lists.apply()?;
        engine.voided.apply_batch(voided)?;
        if self.steps.is_multiple_of(FLUSHED_AT_ONCE) {
            engine.flush()?;
        }
        Ok(more)
    }
}

/// From when on events have their words; none where there are no events.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub fn words_begin(engine: &Engine) -> Result<Option<Timestamp>, StoreError> {
    let done_to = engine.meta.get(Meta::Expired.key())?;
    let done_to = done_to.map(|id| read_number(Meta::Expired, &id)).transpose()?.map(u128::from_be_bytes);
    let next = events::range(&engine.events, done_to.map(EventId), EventId(u128::MAX)).next();
    // The upper 48 bits of an id are the milliseconds of its time.
    let at = |id: EventId| Timestamp::from_millisecond((id.0 >> 80) as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(next.transpose()?.map(|stored| at(stored.event.id)))
}

/// Drops what others wrote; what we made of it stays. Whether there was anything.
fn drop_words(event: &mut Event) -> bool {
    match &mut event.what {
        What::Response { evidence, .. } => {
            let Evidence { description, rule, dialect, .. } = evidence.as_ref().clone();
            let kept = Evidence { description, rule, dialect, ..Evidence::default() };
            let had = **evidence != kept;
            **evidence = kept;
            had
        }
        What::Unreadable { excerpt, .. } => !std::mem::take(excerpt).is_empty(),
        What::Imported { entries, .. } => entries.iter_mut().filter_map(|entry| entry.note.take()).count() > 0,
        What::Sent { .. }
        | What::Skip { .. }
        | What::Suppress { .. }
        | What::Reactivate { .. }
        | What::Import { .. }
        | What::Revert { .. }
        | What::Void { .. }
        | What::Confirm { .. }
        | What::ListAdd { .. }
        | What::ListRemove { .. }
        | What::Activity { .. }
        | What::Attributes { .. }
        | What::Limit { .. }
        | What::Erase { .. } => false,
    }
}

/// The time `days` before `now`.
pub fn days_before(now: Timestamp, days: u32) -> Timestamp {
    let span = SignedDuration::from_hours(24 * i64::from(days));
    now.checked_sub(span).unwrap_or(Timestamp::MIN).max(Timestamp::UNIX_EPOCH)
}
