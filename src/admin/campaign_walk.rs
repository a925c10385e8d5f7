//! What there is to report of one campaign, by the store's index; while that is being made, by a walk over every event
//! on record.
//!
//! In: the store. Out: which contacts something came back from, or were skipped, not yet judged. Called by
//! `campaigns`. Memory grows with those contacts, never with the events.

use crate::classify::Category;
use crate::mail::ListId;
use crate::policy::{Authority, Event, EventId, SkipReason, What};
use crate::report::Campaign;
use crate::store::by_campaign::{self, Entry};
use crate::store::{Store, StoreError};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Lists named in a report.
const LISTS: usize = 100;

/// Which contacts a walk keeps: the first so many behind this one.
pub(super) struct Wanted {
    pub behind: Option<String>,
    pub most: usize,
}

impl Wanted {
    pub fn everything() -> Wanted {
        Wanted { behind: None, most: usize::MAX }
    }
}

/// The last time that Backstop took somebody off a message of the campaign.
pub(super) struct Skip {
    pub event: EventId,
    pub at: Timestamp,
    pub reason: SkipReason,
    pub category: Option<Category>,
    pub list: Option<ListId>,
    pub shadow: bool,
}

/// What is kept of a contact.
#[derive(Default)]
pub(super) struct Kept {
    /// No record tells of a skip; responses are in the contact's record.
    pub skip: Option<Skip>,
    /// Times of the first and the last thing that is on record of it.
    pub times: Option<(Timestamp, Timestamp)>,
}

/// What the events say of a campaign, before they are judged.
pub(super) struct Walk {
    wanted: Wanted,
    /// There were more contacts than wanted.
    more: bool,
    pub first_at: Option<Timestamp>,
    pub last_at: Option<Timestamp>,
    pub lists: BTreeSet<ListId>,
    /// By address, or forward path that is none.
    pub contacts: BTreeMap<String, Kept>,
}

impl Walk {
    /// Reads what is on record.
    pub fn over(
        store: &Store,
        campaign: &Campaign,
        wanted: Wanted,
        going_on: &dyn Fn() -> bool,
    ) -> Result<Walk, StoreError> {
        match store.is_indexed() {
            true => Walk::by_index(store, campaign, wanted, going_on),
            false => Walk::over_events(store, campaign, wanted, going_on),
        }
    }

    /// The same by the index or by a walk, as asked.
    #[cfg(test)]
    pub fn found(store: &Store, campaign: &Campaign, wanted: Wanted, by_index: bool) -> Result<Walk, StoreError> {
        assert!(store.is_indexed());
        match by_index {
            true => Walk::by_index(store, campaign, wanted, &|| true),
            false => Walk::over_events(store, campaign, wanted, &|| true),
        }
    }

    fn new(wanted: Wanted) -> Walk {
        let (lists, contacts) = (BTreeSet::new(), BTreeMap::new());
        Walk { wanted, more: false, first_at: None, last_at: None, lists, contacts }
    }

    fn by_index(
        store: &Store,
        campaign: &Campaign,
        wanted: Wanted,
        going_on: &dyn Fn() -> bool,
    ) -> Result<Walk, StoreError> {
        let mut walk = Walk::new(wanted);
        if let Some(times) = store.campaign(campaign)? {
            (walk.first_at, walk.last_at) = (Some(times.first_at), Some(times.last_at));
            walk.lists = times.lists;
        }
        let (behind, mut broken_off) = (walk.wanted.behind.clone(), false);
        store.entries_of(campaign, behind.as_deref(), &mut |entry| {
            let Entry { name, event, at, skip } = entry;
            let skip = skip.map(|skip| {
                let by_campaign::Skipped { reason, category, list, shadow } = skip;
                Skip { event, at, reason, category, list, shadow }
            });
            walk.keep(name, at, skip);
            broken_off = !going_on();
            !walk.more && !broken_off
        })?;
        if broken_off { Err(StoreError::Stopped) } else { Ok(walk) }
    }

    fn over_events(
        store: &Store,
        campaign: &Campaign,
        wanted: Wanted,
        going_on: &dyn Fn() -> bool,
    ) -> Result<Walk, StoreError> {
        let mut walk = Walk::new(wanted);
        let newest = *store.watch().borrow();
        let mut after = None;
        while after.is_none_or(|after| after < newest) && going_on() {
            match store.events_naming(campaign, after, &mut |event| walk.note(event, campaign))? {
                Some(last) => after = Some(last),
                None => return Ok(walk),
            }
        }
        if going_on() { Ok(walk) } else { Err(StoreError::Stopped) }
    }

    fn note(&mut self, event: Event, campaign: &Campaign) {
        let Event { id, at, address, what, .. } = event;
        let shown = |name: String| by_campaign::shown(&name).into_owned();
        let name = address.map(String::from);
        match what {
            What::Response { response, .. } if response.campaign.as_ref() == Some(campaign) => {
                let vouched = response.authority != Authority::Unverified;
                self.seen(at, response.list.filter(|_| vouched));
                name.into_iter().for_each(|name| self.keep(shown(name), at, None));
            }
            What::Skip { reason, category, campaign: Some(of), list, forward_path, shadow, .. } if of == *campaign => {
                self.seen(at, list.clone());
                let skip = Skip { event: id, at, reason, category, list, shadow };
                if let Some(name) = name.or(forward_path) {
                    self.keep(shown(name), at, Some(skip));
                }
            }
            What::Sent { campaign: Some(of), list, .. } if of == *campaign => self.seen(at, list),
            What::Activity { campaign: Some(of), .. } if of == *campaign => self.seen(at, None),
            _ => {}
        }
    }

    fn seen(&mut self, at: Timestamp, list: Option<ListId>) {
        self.first_at = Some(self.first_at.map_or(at, |first| first.min(at)));
        self.last_at = self.last_at.max(Some(at));
        if self.lists.len() < LISTS {
            self.lists.extend(list);
        }
    }

    fn keep(&mut self, name: String, at: Timestamp, skip: Option<Skip>) {
        if self.wanted.behind.as_ref().is_some_and(|behind| name <= *behind) {
            return;
        }
        let known = self.contacts.entry(name).or_default();
        known.times = Some(known.times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
        match (known.skip.as_ref(), skip) {
            (Some(before), Some(skip)) if (before.at, before.event) > (skip.at, skip.event) => {}
            (_, Some(skip)) => known.skip = Some(skip),
            (_, None) => {}
        }
        if self.contacts.len() > self.wanted.most {
            self.more = true;
            self.contacts.pop_last();
        }
    }

    /// The cursor behind the contacts kept; none where there are no more.
    pub fn next(&self) -> Option<String> {
        self.contacts.last_key_value().filter(|_| self.more).map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_no_more_contacts_than_were_asked_for() {
        let wanted = Wanted { behind: Some("b@example.org".to_owned()), most: 2 };
        let mut walk = Walk::new(wanted);
        for name in ["e@example.org", "b@example.org", "c@example.org", "c@example.org", "d@example.org"] {
            walk.keep(name.to_owned(), Timestamp::UNIX_EPOCH, None);
            assert!(walk.contacts.len() <= 2);
        }
        assert_eq!(walk.contacts.keys().collect::<Vec<_>>(), ["c@example.org", "d@example.org"]);
        assert_eq!(walk.next().as_deref(), Some("d@example.org"));
    }
}
