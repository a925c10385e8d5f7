//! Judges the contacts of a campaign and counts them: in all, by provider, by day (SPEC 8).
//!
//! In: what [`super::campaign_walk`] found. Out: the figures. A contact is judged by its record, by the same fold as
//! everywhere else.

use super::campaign_walk::{Kept, Walk, Wanted};
use super::wire_campaigns::CampaignAnswer;
use super::wire_reports::{DayRow, Figures, ProviderRow};
use crate::classify::provider::{self, OTHER};
use crate::classify::{BounceType, Category, Class};
use crate::mail::Address;
use crate::policy::contact::{Contact, Fact, FactKind, Response as Came};
use crate::policy::{Authority, Policy, fold};
use crate::report::{Campaign, Kind};
use crate::store::sent::Sent;
use crate::store::{Store, StoreError};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

/// Providers with a row of their own in the report of one campaign.
const PROVIDERS: usize = 50;

/// What contacts are judged by.
pub(super) struct Judge<'a> {
    pub store: &'a Store,
    pub policy: &'a Policy,
    pub now: Timestamp,
}

/// Figures by provider and by day.
#[derive(Default)]
pub(super) struct Rows {
    /// Only what happened on the days from one to another, that one included.
    within: Option<(Date, Date)>,
    providers: BTreeMap<String, Figures>,
    days: BTreeMap<Date, Figures>,
}

impl Judge<'_> {
    /// The report of one campaign; without times where nothing is known of it.
    pub fn report(&self, campaign: Campaign, going_on: &dyn Fn() -> bool) -> Result<CampaignAnswer, StoreError> {
        let found = Walk::over(self.store, &campaign, Wanted::everything(), going_on)?;
        self.report_of(campaign, found, going_on)
    }

    /// The report of one campaign by what was found of it.
    pub fn report_of(
        &self,
        campaign: Campaign,
        found: Walk,
        going_on: &dyn Fn() -> bool,
    ) -> Result<CampaignAnswer, StoreError> {
        let sent = self.store.sent_of(&campaign)?;
        let mut report = CampaignAnswer::nothing(campaign);
        report.first_at = [found.first_at, sent.first_at].into_iter().flatten().min();
        report.last_at = found.last_at.max(sent.last_at);
        report.lists = found.lists;
        report.lists.extend(sent.list.clone());
        let mut rows = Rows::default();
        for (name, kept) in found.contacts {
            self.count(&mut report, &mut rows, &name, &kept)?;
            if !going_on() {
                return Err(StoreError::Stopped);
            }
        }
        report.of_sent(sent.recipients);
        report.by_day = rows.by_day(&sent);
        report.by_provider = rows.by_provider(&sent, PROVIDERS);
        Ok(report)
    }

    /// Adds to rows what one campaign did on their days. Whether that was anything.
    pub fn add(&self, rows: &mut Rows, campaign: Campaign, going_on: &dyn Fn() -> bool) -> Result<bool, StoreError> {
        let found = Walk::over(self.store, &campaign, Wanted::everything(), going_on)?;
        let mut report = CampaignAnswer::nothing(campaign);
        let mut any = false;
        for (name, kept) in found.contacts {
            if kept.times.is_some_and(|(first, last)| rows.may_count(first, last)) {
                any = true;
                self.count(&mut report, rows, &name, &kept)?;
            }
            if !going_on() {
                return Err(StoreError::Stopped);
            }
        }
        Ok(any)
    }

    /// Counts one contact.
    fn count(&self, report: &mut CampaignAnswer, rows: &mut Rows, name: &str, kept: &Kept) -> Result<(), StoreError> {
        let contact = record(self.store, name)?;
        let provider = name.rsplit_once('@').map_or(OTHER, |(_, domain)| provider::of(domain));
        match &kept.skip {
            Some(skip) if skip.shadow => report.skipped.shadow += 1,
            Some(skip) => {
                report.count_skip(skip.reason.as_str());
                rows.note(provider, skip.at, |figures| figures.skipped += 1);
            }
            None => {}
        }
        let facts = contact.believed_at(self.now);
        let words = last_words(&facts, &report.campaign, self.policy);
        report.contacts += u64::from(kept.skip.is_some() || !words.is_empty());
        report.unverified += u64::from(words.iter().any(|word| !word.counts));
        let words: Vec<Word<'_>> = words.into_iter().filter(|word| word.counts).collect();
        // Only of bounces anything is ever retracted.
        let retracted = match words.iter().any(|word| word.came.kind == Kind::Bounce) {
            true => fold(&contact, self.policy, self.now).retracted,
            false => Vec::new(),
        };
        for Word { fact, came, .. } in words {
            let figure: fn(&mut Figures) = match came.kind {
                Kind::Bounce if retracted.binary_search(&fact.event).is_ok() => {
                    report.retracted += 1;
                    |figures| figures.retracted += 1
                }
                Kind::Bounce => {
                    let category = came.category.unwrap_or(Category::Unknown);
                    match (came.class, came.bounce_type) {
                        (Class::Skip, _) => {
                            report.count_skip(category.as_str());
                            |figures| figures.skipped += 1
                        }
                        (Class::Bounce | Class::Feedback, bounce_type) => {
                            report.count_bounce(category, bounce_type);
                            match bounce_type {
                                Some(BounceType::Hard) => |figures| {
                                    figures.bounces += 1;
                                    figures.hard += 1;
                                },
                                Some(BounceType::Soft) => |figures| {
                                    figures.bounces += 1;
                                    figures.soft += 1;
                                },
                                None => |figures| figures.bounces += 1,
                            }
                        }
                    }
                }
                Kind::Complaint => {
                    report.complaints += 1;
                    |figures| figures.complaints += 1
                }
                Kind::OptOut => {
                    report.opt_outs += 1;
                    |figures| figures.opt_outs += 1
                }
                Kind::Autoreply => {
                    report.autoreplies += 1;
                    |figures| figures.autoreplies += 1
                }
                Kind::NotSpam => {
                    report.not_spam += 1;
                    |figures| figures.not_spam += 1
                }
                Kind::Delivered => {
                    report.delivered += 1;
                    |figures| figures.delivered += 1
                }
                Kind::Delayed => {
                    report.delayed += 1;
                    |figures| figures.delayed += 1
                }
                Kind::Other => continue,
            };
            rows.note(provider, fact.at, figure);
        }
        Ok(())
    }
}

impl Rows {
    /// Rows of what happened on the days from one to another, that one included.
    pub fn within(first: Date, last: Date) -> Rows {
        Rows { within: Some((first, last)), ..Rows::default() }
    }

    fn may_count(&self, first: Timestamp, last: Timestamp) -> bool {
        self.within.is_none_or(|(since, until)| day_of(last) >= since && day_of(first) <= until)
    }

    fn note(&mut self, provider: &str, at: Timestamp, count: impl Fn(&mut Figures)) {
        let day = day_of(at);
        if self.within.is_some_and(|(first, last)| day < first || day > last) {
            return;
        }
        count(self.days.entry(day).or_default());
        match self.providers.get_mut(provider) {
            Some(known) => count(known),
            None => count(self.providers.entry(provider.to_owned()).or_default()),
        }
    }

    /// The rows by day.
    pub fn by_day(&self, sent: &Sent) -> Vec<DayRow> {
        let mut days = self.days.clone();
        for (day, count) in &sent.by_day {
            if let Some(day) = numbered(*day) {
                days.entry(day).or_default().sent += count;
            }
        }
        days.into_iter().map(|(day, figures)| DayRow { day, figures: figures.with_rates() }).collect()
    }

    /// The rows by provider: at most so many, and the rest as one.
    pub fn by_provider(self, sent: &Sent, most: usize) -> Vec<ProviderRow> {
        let mut providers: BTreeMap<String, Figures> = BTreeMap::new();
        for (name, figures) in self.providers {
            // What was sent to it stands under `other`, if it is crowded: so must what came back.
            let has_place = sent.by_provider.contains_key(&name) || provider::is_name(&name) || !sent.crowded;
            providers.entry(if has_place { name } else { OTHER.to_owned() }).or_default().add(&figures);
        }
        for (name, count) in &sent.by_provider {
            providers.entry(name.clone()).or_default().sent += count;
        }
        let mut other = providers.remove(OTHER).unwrap_or_default();
        let mut rows: Vec<(String, Figures)> = providers.into_iter().collect();
        rows.sort_by(|(name, one), (other, two)| two.sent.cmp(&one.sent).then_with(|| name.cmp(other)));
        rows.drain(most.min(rows.len())..).for_each(|(_, figures)| other.add(&figures));
        if !other.is_empty() {
            rows.push((OTHER.to_owned(), other));
        }
        let row = |(provider, figures): (String, Figures)| ProviderRow { provider, figures: figures.with_rates() };
        rows.into_iter().map(row).collect()
    }
}

/// The day of a time (UTC).
pub(super) fn day_of(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// The day with this number from 1970-01-01.
fn numbered(day: u32) -> Option<Date> {
    Timestamp::from_second(i64::from(day) * 86_400).ok().map(day_of)
}

/// The number of a day from 1970-01-01.
pub(super) fn number_of(day: Date) -> u32 {
    let midnight = day.to_zoned(TimeZone::UTC).map(|midnight| midnight.timestamp().as_second());
    u32::try_from(midnight.unwrap_or_default().div_euclid(86_400)).unwrap_or(0)
}

/// The last thing of its kind that is on record of one contact and campaign.
pub(super) struct Word<'a> {
    pub fact: &'a Fact,
    pub came: &'a Came,
    /// Something vouches for it, or need not.
    pub counts: bool,
}

/// The last word of each kind (SPEC 2: one response for one contact and campaign), in order of time. What counts
/// goes before what nothing vouches for, however late that came.
pub(super) fn last_words<'a>(facts: &'a [Fact], campaign: &Campaign, policy: &Policy) -> Vec<Word<'a>> {
    let mut words: Vec<Word<'a>> = Vec::new();
    for fact in facts {
        let FactKind::Response(came) = &fact.what else { continue };
        if came.campaign.as_ref() != Some(campaign) {
            continue;
        }
        let counts = policy.accept_unverified || came.authority != Authority::Unverified;
        let word = Word { fact, came, counts };
        match words.iter().position(|known| known.came.kind == came.kind) {
            Some(place) if words[place].counts && !counts => {}
            Some(place) => {
                words.remove(place);
                words.push(word);
            }
            None => words.push(word),
        }
    }
    words.sort_by_key(|word| (word.fact.at, word.fact.event));
    words
}

/// The record of a contact; one without where the name is no address.
pub(super) fn record(store: &Store, name: &str) -> Result<Contact, StoreError> {
    let Ok(address) = Address::parse(name) else { return Ok(Contact::default()) };
    Ok(store.contact(&address)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{EventId, Level};

    fn came(event: u128, authority: Authority, category: Category) -> Fact {
        let response = Came {
            class: category.class(),
            kind: Kind::Bounce,
            category: Some(category),
            bounce_type: None,
            code: None,
            reason: None,
            fault: None,
            by_words: false,
            authority,
            campaign: Some(Campaign("77".to_owned())),
            list: None,
            sent_at: None,
        };
        let at = Timestamp::new(event as i64, 0).unwrap();
        Fact { event: EventId(event), at, what: FactKind::Response(Box::new(response)) }
    }

    #[test]
    fn the_last_word_that_something_vouches_for_counts() {
        let mut contact = Contact::default();
        contact.insert(came(1, Authority::Local, Category::Transient));
        contact.insert(came(2, Authority::Matched, Category::Rejected));
        contact.insert(came(3, Authority::Unverified, Category::Blocked));
        let level = FactKind::Activity { level: Level::OPEN, campaign: Some(Campaign("77".to_owned())) };
        contact.insert(Fact { event: EventId(4), at: Timestamp::new(4, 0).unwrap(), what: level });
        let (strict, lax) = (Policy::default(), Policy { accept_unverified: true, ..Policy::default() });
        let now = Timestamp::new(100, 0).unwrap();
        let events = |contact: &Contact, campaign: &str, policy: &Policy| {
            let campaign = Campaign(campaign.to_owned());
            let words = last_words(contact.known_at(now), &campaign, policy);
            words.iter().map(|word| (word.fact.event.0, word.counts)).collect::<Vec<_>>()
        };
        assert_eq!(events(&contact, "77", &strict), [(2, true)]);
        assert_eq!(events(&contact, "77", &lax), [(3, true)]);
        assert_eq!(events(&contact, "78", &lax), []);
        // As a void leaves it.
        contact.remove(EventId(2));
        assert_eq!(events(&contact, "77", &strict), [(1, true)]);
        contact.remove(EventId(1));
        assert_eq!(events(&contact, "77", &strict), [(3, false)]);
    }
}
