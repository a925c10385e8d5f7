//! The verdict on every recipient of one outgoing message, taken as one batch at its end.

use super::limit::ByRecipient;
use super::placeholder::is_unrendered;
use super::{DomainVerdict, Domains, Sends, Settings};
use crate::classify::Category;
use crate::mail::{Address, Headers, ListId, MessageId, ReversePath, SELFTEST_DOMAIN};
use crate::milter::{ForwardPath, Transaction};
use crate::policy::event::OperatorList;
use crate::policy::{Contact, Limit, Scope, SkipReason, What};
use crate::report::Campaign;
use crate::store::{NewEvent, Send, Store, StoreError};
use jiff::Timestamp;

/// A recipient that must not be mailed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Its place among the transaction's recipients.
    pub recipient: usize,
    /// The contact; none where the argument of RCPT names none, and where it was erased: then nothing about it
    /// is to be written down again.
    pub address: Option<Address>,
    /// Why.
    pub reason: SkipReason,
    /// Category of the suppression; `invalid` where address or domain are.
    pub category: Option<Category>,
    /// Scope of the suppression.
    pub scope: Option<Scope>,
    /// The message limit that is reached.
    pub limit: Option<Limit>,
}

/// A recipient that is mailed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stays {
    /// Its place among the transaction's recipients.
    pub recipient: usize,
    /// The contact.
    pub address: Address,
    /// Soft bounces in a row are on record: how this message fares matters.
    pub streak: bool,
    /// That this campaign was let out to the contact is on record already.
    pub is_noted: bool,
    /// The contact's own message limit.
    pub limit: Option<Limit>,
}

/// What screening one message came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screening {
    /// Whether it is campaign mail; transactional mail knows no message limit.
    pub is_campaign: bool,
    /// Its campaign.
    pub campaign: Option<Campaign>,
    /// Its list.
    pub list: Option<ListId>,
    /// Its Message-ID.
    pub message_id: Option<MessageId>,
    /// Recipients to take off, in order.
    pub skips: Vec<Skip>,
    /// Contacts that stay, in order.
    pub stays: Vec<Stays>,
    /// What the message limits said of each contact, by its key; where nothing, this message is counted.
    pub(super) asked: ByRecipient<Option<Limit>>,
}

/// What one recipient is judged by.
struct Ground<'a> {
    settings: &'a Settings,
    store: &'a Store,
    campaign: Option<&'a Campaign>,
    list: Option<&'a ListId>,
    /// Attributes that must be known of the contact.
    required: &'a [String],
    now: Timestamp,
}

/// What becomes of one recipient.
enum Judged {
    /// None of our business.
    LeftAlone,
    Skipped(Skip),
    Stays(Stays),
}

/// Whether a message is outgoing: submitted on this host, by an authenticated client, or from
/// `[outbound] networks`.
pub fn is_outgoing(transaction: &Transaction, settings: &Settings) -> bool {
    transaction.is_non_smtp()
        || transaction.macros.get("{auth_authen}").is_some_and(|name| !name.is_empty())
        || transaction.peer.address.is_some_and(|client| {
            let client = client.to_canonical();
            settings.networks.iter().any(|network| network.contains(&client))
        })
}

/// Whether a message is campaign mail, by its header or its sender (SPEC 7.2).
pub fn is_campaign(transaction: &Transaction, settings: &Settings) -> bool {
    settings.campaign_headers.mark(&transaction.headers) || is_campaign_sender(&transaction.reverse_path, settings)
}

/// Whether the reverse path alone makes a message campaign mail (`[outbound] campaign_senders`).
pub fn is_campaign_sender(reverse_path: &[u8], settings: &Settings) -> bool {
    if settings.campaign_senders.is_empty() {
        return false;
    }
    let Ok(ReversePath::Mailbox(sender)) = ReversePath::parse(reverse_path) else { return false };
    settings.campaign_senders.iter().any(|pattern| match pattern.strip_prefix('@') {
        Some(domain) => sender.domain().eq_ignore_ascii_case(domain),
        None => sender.as_str().eq_ignore_ascii_case(pattern),
    })
}

/// Judges every recipient of an outgoing message by what is on record: all but what the DNS
/// ([`Screening::check_domains`]) and the message limits ([`Screening::count`]) say, which are asked in this order
/// about those that stay. Recipients that Postfix routes to a local mailbox, and arguments without a domain, are
/// left alone.
///
/// # Errors
/// [`StoreError`] when a contact's record cannot be read; then nothing is decided.
pub fn screen(
    transaction: &Transaction,
    settings: &Settings,
    store: &Store,
    now: Timestamp,
) -> Result<Screening, StoreError> {
    let mut screening = Screening {
        is_campaign: is_campaign(transaction, settings),
        campaign: settings.campaign_headers.campaign(&transaction.headers),
        list: transaction.headers.list_id(),
        message_id: if settings.ledger { transaction.headers.message_id() } else { None },
        stays: Vec::with_capacity(transaction.recipients.len()),
        ..Screening::default()
    };
    let required = required(&transaction.headers);
    let (campaign, list) = (screening.campaign.as_ref(), screening.list.as_ref());
    let ground = Ground { settings, store, campaign, list, required: &required, now };
    for (place, recipient) in transaction.recipients.iter().enumerate() {
        match ground.judge(place, recipient)? {
            Judged::LeftAlone => {}
            Judged::Skipped(skip) => screening.skips.push(skip),
            Judged::Stays(stays) => screening.stays.push(stays),
        }
    }
    Ok(screening)
}

/// Why a single recipient gets no system-wide mail: what can be decided at RCPT, before the header is known.
///
/// # Errors
/// As [`screen`].
pub fn system_wide(
    recipient: &ForwardPath,
    settings: &Settings,
    store: &Store,
    now: Timestamp,
) -> Result<Option<Skip>, StoreError> {
    let ground = Ground { settings, store, campaign: None, list: None, required: &[], now };
    Ok(match ground.judge(0, recipient)? {
        Judged::Skipped(skip) => Some(skip),
        Judged::LeftAlone | Judged::Stays(_) => None,
    })
}

impl Ground<'_> {
    fn judge(&self, place: usize, recipient: &ForwardPath) -> Result<Judged, StoreError> {
        if is_local(recipient, self.settings) {
            return Ok(Judged::LeftAlone);
        }
        let (first, second) = contact_names(recipient);
        let argument = &recipient.argument;
        if is_unrendered(argument) || (first.is_none() && argument.contains(&b'@')) {
            let skip = Skip { category: Some(Category::Invalid), ..Skip::of(place, first, SkipReason::InvalidAddress) };
            return Ok(Judged::Skipped(skip));
        }
        let Some(first) = first else { return Ok(Judged::LeftAlone) };
        let names = || std::iter::once(&first).chain(&second);
        let (mut streak, mut is_noted, mut limit) = (false, false, None);
        for address in names() {
            let found = self.store.screened(address, self.list, self.now)?;
            if let Some((category, scope)) = found.suppression {
                // Who was erased is not written down again.
                let named = Some(address.clone()).filter(|address| !self.store.is_erased(address));
                let skip = Skip::of(place, named, SkipReason::Suppressed);
                return Ok(Judged::Skipped(Skip { category, scope: Some(scope), ..skip }));
            }
            streak |= found.streak;
            is_noted |= found.sent.iter().any(|(campaign, at)| self.is_this_campaign(campaign.as_ref(), *at));
            limit = limit.or(found.limit);
        }
        let listed = |address| self.store.listed(address).map(|list| (list, address));
        // An address on the blocklist counts ahead of its other name on the Robinson list.
        if let Some((list, address)) = names().filter_map(listed).min_by_key(|(list, _)| *list) {
            let reason = match list {
                OperatorList::Blocklist => SkipReason::Blocklist,
                OperatorList::Robinson => SkipReason::Robinson,
            };
            return Ok(Judged::Skipped(Skip::of(place, Some(address.clone()), reason)));
        }
        if !self.required.is_empty() && !self.is_known(names())? {
            return Ok(Judged::Skipped(Skip::of(place, Some(first), SkipReason::MissingInfo)));
        }
        Ok(Judged::Stays(Stays { recipient: place, address: first, streak, is_noted, limit }))
    }

    /// Whether a send on record is one of this campaign; mail that names none is one campaign a day.
    fn is_this_campaign(&self, campaign: Option<&Campaign>, at: Timestamp) -> bool {
        let day = |at: Timestamp| at.as_second().div_euclid(86_400);
        campaign == self.campaign && (campaign.is_some() || day(at) == day(self.now))
    }

    /// Whether all that is required is known of the contact under one of its names.
    fn is_known<'a>(&self, names: impl Iterator<Item = &'a Address>) -> Result<bool, StoreError> {
        let is_whole = |contact: &Contact| {
            let attributes = contact.attributes(self.now);
            let value = |name| attributes.and_then(|attributes| attributes.get(name));
            self.required.iter().all(|name| value(name).is_some_and(|value| !value.trim().is_empty()))
        };
        for address in names {
            if self.store.contact(address)?.is_some_and(|contact| is_whole(&contact)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The attributes that the sender requires of every contact (SPEC 7.3): `X-Backstop-Require: locale, first_name`.
fn required(headers: &Headers) -> Vec<String> {
    let names = |value: String| value.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
    headers.all("X-Backstop-Require").flat_map(names).filter(|name| !name.is_empty()).collect()
}

/// The contacts a recipient may be on record as: the argument of RCPT in normal form, and the address that
/// smtpd made of it where that differs (`out.test!user`, `user%out.test`; POSTFIX-FACTS 6).
fn contact_names(recipient: &ForwardPath) -> (Option<Address>, Option<Address>) {
    let written = Address::parse_bytes(&recipient.argument).ok();
    let resolved = recipient
        .address
        .as_deref()
        .filter(|resolved| written.as_ref().is_none_or(|written| written.as_str() != *resolved))
        .and_then(|resolved| Address::parse(resolved).ok())
        .filter(|resolved| written.as_ref() != Some(resolved));
    if written.is_none() { (resolved, None) } else { (written, resolved) }
}

/// Whether Postfix routes the recipient to a mailbox on this host. The self-test's are none, though `lmtp` takes them.
fn is_local(recipient: &ForwardPath, settings: &Settings) -> bool {
    let is_selftest = || {
        let resolved = recipient.address.as_deref().and_then(|address| address.rsplit_once('@'));
        resolved.is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(SELFTEST_DOMAIN))
    };
    recipient.mailer.as_ref().is_some_and(|mailer| settings.local_mailers.contains(mailer)) && !is_selftest()
}

impl Skip {
    fn of(recipient: usize, address: Option<Address>, reason: SkipReason) -> Skip {
        Skip { recipient, address, reason, category: None, scope: None, limit: None }
    }

    /// The event to be written down.
    pub fn event(
        self,
        forward_path: &ForwardPath,
        campaign: Option<Campaign>,
        list: Option<ListId>,
        shadow: bool,
    ) -> (Option<Address>, What) {
        let as_written = || String::from_utf8_lossy(&forward_path.argument).into_owned();
        let Skip { address, reason, category, scope, limit, .. } = self;
        let forward_path = (reason == SkipReason::InvalidAddress).then(as_written);
        (address, What::Skip { reason, category, scope, limit, campaign, list, forward_path, shadow })
    }
}

impl Screening {
    /// Takes off the recipients whose domains take no mail (SPEC 7.1, `invalid-domain`).
    pub async fn check_domains(&mut self, domains: &Domains) {
        let verdicts = domains.check(self.stays.iter().map(|stays| stays.address.domain())).await;
        let mut verdicts = verdicts.into_iter();
        self.skip_if(|_| {
            let is_invalid = verdicts.next().is_some_and(DomainVerdict::is_invalid);
            is_invalid.then_some((SkipReason::InvalidDomain, Some(Category::Invalid), None))
        });
    }

    /// Takes off the contacts that have had as many campaign messages as the rules and their own limits allow, and
    /// notes this one for the others (SPEC 7.3). With `shadow` it is noted for everybody: they get it.
    ///
    /// A contact that is named twice in a message gets it once.
    pub fn count(&mut self, store: &Store, rules: &[Limit], sends: &Sends, shadow: bool, now: Timestamp) {
        if !self.is_campaign || sends.longest_window_secs() == 0 {
            return;
        }
        let mut asked = ByRecipient::with_capacity_and_hasher(self.stays.len(), Default::default());
        self.skip_if(|stays| {
            let contact = store.recipient_key(&stays.address);
            let reached = *asked.entry(contact).or_insert_with(|| match stays.limit {
                None => sends.reached_or_note(contact, rules, now),
                Some(own) => sends.reached_or_note(contact, &[rules, &[own]].concat(), now),
            });
            reached.map(|limit| (SkipReason::Limit, None, Some(limit)))
        });
        for contact in self.skips.iter().filter(|_| shadow).filter_map(|skip| skip.address.as_ref()) {
            let contact = store.recipient_key(contact);
            if asked.insert(contact, None) != Some(None) {
                sends.note(contact, now);
            }
        }
        self.asked = asked;
    }

    /// Takes back what [`Screening::count`] noted: the message does not go out now, and will come again.
    pub fn take_back(&mut self, sends: &Sends, now: Timestamp) {
        let noted = self.asked.drain().filter(|(_, reached)| reached.is_none());
        noted.for_each(|(contact, _)| sends.take_back(contact, now));
    }

    /// Takes off those of whom `why` gives a reason, asked in order.
    fn skip_if(&mut self, mut why: impl FnMut(&Stays) -> Option<(SkipReason, Option<Category>, Option<Limit>)>) {
        let before = self.skips.len();
        let skips = &mut self.skips;
        self.stays.retain(|stays| match why(stays) {
            None => true,
            Some((reason, category, limit)) => {
                let skip = Skip::of(stays.recipient, Some(stays.address.clone()), reason);
                skips.push(Skip { category, limit, ..skip });
                false
            }
        });
        if skips.len() > before {
            skips.sort_unstable_by_key(|skip| skip.recipient);
        }
    }

    /// The events to be written down: a skip for each recipient taken off, a send for each open streak.
    pub fn events(&self, transaction: &Transaction, shadow: bool, now: Timestamp) -> Vec<NewEvent> {
        let event = |address, what| {
            let queue_id = Some(transaction.queue_id().to_owned());
            NewEvent { at: now, address, queue_id, what, content_key: None }
        };
        let skips = self.skips.iter().map(|skip| {
            let forward_path = &transaction.recipients[skip.recipient];
            let (address, what) = skip.clone().event(forward_path, self.campaign.clone(), self.list.clone(), shadow);
            event(address, what)
        });
        let sends = self.stays.iter().filter(|stays| stays.streak && !stays.is_noted).map(|stays| {
            let what = What::Sent {
                campaign: self.campaign.clone(),
                list: self.list.clone(),
                message_id: self.message_id.clone(),
            };
            event(Some(stays.address.clone()), what)
        });
        skips.chain(sends).collect()
    }

    /// The entry for the send ledger, where the message has a Message-ID and anybody gets it: with `shadow`
    /// everybody.
    pub fn into_send(self, shadow: bool, now: Timestamp) -> Option<Send> {
        let message_id = self.message_id?;
        let skipped = self.skips.into_iter().filter(|_| shadow).filter_map(|skip| skip.address);
        let recipients: Vec<Address> = self.stays.into_iter().map(|stays| stays.address).chain(skipped).collect();
        let (campaign, list) = (self.campaign, self.list);
        (!recipients.is_empty()).then_some(Send { message_id, at: now, campaign, list, recipients })
    }
}

#[cfg(test)]
mod tests;
