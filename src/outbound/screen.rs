//! The verdict on every recipient of one outgoing message, taken as one batch at its end.

use super::Settings;
use crate::classify::Category;
use crate::mail::{Address, ListId, MessageId, ReversePath};
use crate::milter::{ForwardPath, Transaction};
use crate::policy::{Policy, Scope, SkipReason, Suppression, What, fold};
use crate::report::Campaign;
use crate::store::{NewEvent, Send, Store, StoreError};
use jiff::Timestamp;

/// A recipient that must not be mailed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Its place among the transaction's recipients.
    pub recipient: usize,
    /// The contact.
    pub address: Address,
    /// Why.
    pub reason: SkipReason,
    /// Category of the suppression.
    pub category: Option<Category>,
    /// Scope of the suppression.
    pub scope: Scope,
}

/// What screening one message came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screening {
    /// Its campaign.
    pub campaign: Option<Campaign>,
    /// Its list.
    pub list: Option<ListId>,
    /// Its Message-ID.
    pub message_id: Option<MessageId>,
    /// Recipients to take off, in order.
    pub skips: Vec<Skip>,
    /// Contacts that stay.
    pub kept: Vec<Address>,
    /// Those of `kept` with soft bounces in a row on record: their sends matter to the streak.
    pub streaks: Vec<Address>,
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

/// Judges every recipient of a campaign message. Recipients that Postfix routes to a local mailbox, and
/// arguments that are no address, are left alone.
///
/// # Errors
/// [`StoreError`] when a contact's record cannot be read; then nothing is decided.
pub fn screen(
    transaction: &Transaction,
    settings: &Settings,
    policy: &Policy,
    store: &Store,
    now: Timestamp,
) -> Result<Screening, StoreError> {
    let mut screening = Screening {
        campaign: settings.campaign_headers.campaign(&transaction.headers),
        list: transaction.headers.list_id(),
        message_id: if settings.ledger { transaction.headers.message_id() } else { None },
        ..Screening::default()
    };
    for (place, recipient) in transaction.recipients.iter().enumerate() {
        if is_local(recipient, settings) {
            continue;
        }
        let mut names = contact_names(recipient).peekable();
        let first = names.peek().cloned();
        let mut streak = false;
        let mut skip = None;
        for address in names {
            if !store.may_be_suppressed(&address) {
                continue;
            }
            let Some(contact) = store.contact(&address)? else { continue };
            let state = fold(&contact, policy, now);
            if let Some(Suppression { category, scope, .. }) = state.suppressed_for(screening.list.as_ref()) {
                let reason = SkipReason::Suppressed;
                skip = Some(Skip { recipient: place, address, reason, category: *category, scope: scope.clone() });
                break;
            }
            streak |= state.soft_streak > 0;
        }
        match (skip, first) {
            (Some(skip), _) => screening.skips.push(skip),
            (None, Some(address)) => {
                if streak {
                    screening.streaks.push(address.clone());
                }
                if settings.ledger {
                    screening.kept.push(address);
                }
            }
            (None, None) => {}
        }
    }
    Ok(screening)
}

/// The contact a single recipient stands for, and the suppression that keeps system-wide mail from it:
/// what can be decided at RCPT, before the header is known.
///
/// # Errors
/// As [`screen`].
pub fn system_wide(
    recipient: &ForwardPath,
    settings: &Settings,
    policy: &Policy,
    store: &Store,
    now: Timestamp,
) -> Result<Option<(Address, Suppression)>, StoreError> {
    if is_local(recipient, settings) {
        return Ok(None);
    }
    for address in contact_names(recipient) {
        if store.may_be_suppressed(&address)
            && let Some(contact) = store.contact(&address)?
            && let Some(suppression) = fold(&contact, policy, now).suppressed_for(None)
        {
            return Ok(Some((address, suppression.clone())));
        }
    }
    Ok(None)
}

/// The contacts a recipient may be on record as: the argument of RCPT in normal form, and the address that
/// smtpd made of it where that differs (`out.test!user`, `user%out.test`; POSTFIX-FACTS 6).
fn contact_names(recipient: &ForwardPath) -> impl Iterator<Item = Address> {
    let written = Address::parse_bytes(&recipient.argument).ok();
    let resolved = recipient
        .address
        .as_deref()
        .filter(|resolved| written.as_ref().is_none_or(|written| written.as_str() != *resolved))
        .and_then(|resolved| Address::parse(resolved).ok())
        .filter(|resolved| written.as_ref() != Some(resolved));
    written.into_iter().chain(resolved)
}

/// Whether Postfix routes the recipient to a mailbox on this host.
fn is_local(recipient: &ForwardPath, settings: &Settings) -> bool {
    recipient.mailer.as_ref().is_some_and(|mailer| settings.local_mailers.contains(mailer))
}

impl Screening {
    /// The events to be written down: a skip for each recipient taken off, a send for each open streak.
    pub fn events(&self, queue_id: &str, shadow: bool, now: Timestamp) -> Vec<NewEvent> {
        let event = |address: &Address, what| NewEvent {
            at: now,
            address: Some(address.clone()),
            queue_id: Some(queue_id.to_owned()),
            what,
            content_key: None,
        };
        let skips = self.skips.iter().map(|skip| {
            let what = What::Skip {
                reason: skip.reason,
                category: skip.category,
                scope: Some(skip.scope.clone()),
                campaign: self.campaign.clone(),
                list: self.list.clone(),
                forward_path: None,
                shadow,
            };
            event(&skip.address, what)
        });
        let sends = self.streaks.iter().map(|address| {
            let what = What::Sent {
                campaign: self.campaign.clone(),
                list: self.list.clone(),
                message_id: self.message_id.clone(),
            };
            event(address, what)
        });
        skips.chain(sends).collect()
    }

    /// The entry for the send ledger, where anybody is left and the message has a Message-ID.
    pub fn send(&mut self, now: Timestamp) -> Option<Send> {
        let recipients = std::mem::take(&mut self.kept);
        let message_id = self.message_id.clone().filter(|_| !recipients.is_empty())?;
        Some(Send { message_id, at: now, campaign: self.campaign.clone(), list: self.list.clone(), recipients })
    }
}
