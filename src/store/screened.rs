//! What screening asks of every recipient: answered from memory for nearly all.

use super::contacts::{self, Record};
use super::on_record::Summary;
use super::{Store, StoreError};
use crate::classify::Category;
use crate::mail::{Address, ListId};
use crate::policy::contact::FactKind;
use crate::policy::{Fact, Limit, Policy, Scope, fold};
use crate::report::Campaign;
use jiff::{SignedDuration, Timestamp};

/// What screening needs to know of one contact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screened {
    /// Category and scope of the suppression that keeps this mail from the contact.
    pub suppression: Option<(Option<Category>, Scope)>,
    /// Soft bounces in a row are on record: how this message fares matters.
    pub streak: bool,
    /// Of a contact with such a streak: the campaigns let out to it that are on record, and when.
    pub sent: Vec<(Option<Campaign>, Timestamp)>,
    /// The contact's own message limit.
    pub limit: Option<Limit>,
}

impl Store {
    /// Puts a policy in force for [`Store::screened`].
    pub fn set_policy(&self, policy: &Policy) {
        let shared = &self.inner.shared;
        if shared.set_policy(policy) {
            // After the policy, so that nobody sums up by the old one any more.
            shared.on_record.forget();
            shared.background.scan();
        }
    }

    /// How a contact stands for mail of this list.
    ///
    /// # Errors
    /// [`StoreError`] when its record cannot be read.
    pub fn screened(&self, address: &Address, list: Option<&ListId>, now: Timestamp) -> Result<Screened, StoreError> {
        let shared = &self.inner.shared;
        let suppressed = |category| Screened { suppression: Some((category, Scope::System)), ..Screened::default() };
        if shared.erased.contains(address) {
            return Ok(suppressed(None));
        }
        let contact = shared.on_record.fingerprint(address.as_str());
        // Before the look: what is found in a table that becomes ready meanwhile is not all there is.
        let ready = shared.on_record.is_ready();
        let (known, stamp) = shared.on_record.look(contact);
        match known {
            None if ready => return Ok(Screened::default()),
            Some(Summary::Suppressed(category)) => return Ok(suppressed(category)),
            None | Some(Summary::Ask) => {}
        }
        // After the stamp: whatever changes from here on makes it old.
        let (policy, undone) = (shared.policy(), shared.undone.now());
        let record = contacts::record(&shared.read().engine()?.contacts, address, &undone)?;
        if known.is_some() {
            let summary = summary(&record, &policy, Timestamp::now());
            if summary != Summary::Ask {
                shared.on_record.sum_up(contact, stamp, summary);
            }
        }
        let now = record.contact.present(now);
        let state = fold(&record.contact, &policy, now);
        let suppression = state.suppressed_for(list).map(|found| (found.category, found.scope.clone()));
        let streak = state.soft_streak > 0;
        let sent = |fact: &Fact| match &fact.what {
            FactKind::Sent { campaign, .. } => Some((campaign.clone(), fact.at)),
            _ => None,
        };
        let sent = if streak { record.contact.facts.iter().filter_map(sent).collect() } else { Vec::new() };
        Ok(Screened { suppression, streak, sent, limit: record.contact.limit(now) })
    }
}

/// What a record comes to, if that is the same for all mail and will be so until something new is on record.
pub fn summary(record: &Record, policy: &Policy, now: Timestamp) -> Summary {
    let contact = &record.contact;
    let later = now.checked_add(SignedDuration::from_hours(100 * 366 * 24)).unwrap_or(Timestamp::MAX);
    if record.passed_over
        || contact.limit(now).is_some()
        || contact.facts.last().is_none_or(|newest| newest.at > now)
        || contact.facts.iter().any(|fact| matches!(fact.what, FactKind::Sent { .. }))
    {
        return Summary::Ask;
    }
    // Whoever stands the same now and in a hundred years, and waits for nothing, stands so in between.
    let stands = |at| {
        let state = fold(contact, policy, at);
        let first = state.suppressions.first().filter(|first| first.scope == Scope::System && first.until.is_none());
        first.filter(|_| state.soft_streak == 0).map(|first| first.category)
    };
    match (stands(now), stands(later)) {
        (Some(now), Some(later)) if now == later => Summary::Suppressed(now),
        _ => Summary::Ask,
    }
}
