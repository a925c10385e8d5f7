//! What goes out: screened, or passed with our own words taken off it.
//!
//! In: a transaction at its end. Out: who is taken off it, and what store and ledger are to know.

use super::{Begun, InForce, LONGEST_READING};
use crate::authority::queue_name;
use crate::inbound;
use crate::mail::{Address, ReversePath, SELFTEST_DOMAIN};
use crate::milter::{Conclusion, Edit, Transaction, Verdict};
use crate::ops::event::{LogEvent, measure, say};
use crate::outbound::sign::Signed;
use crate::outbound::{self, Mode, OnError, Screening, Skip, edits, screen};
use crate::policy::{SkipReason, fold};
use crate::report::Campaign;
use crate::store::{NewEvent, Send, StoreError};
use jiff::Timestamp;

impl Begun {
    /// Takes our own words off outgoing mail that is not screened (SPEC 7.2); the rest is left as it is. The ledger
    /// is told of it, so that a notification of our own Postfix about it can be told from one that looks like it.
    pub(super) fn pass(&self, transaction: &Transaction, now: Timestamp) -> Conclusion {
        if !screen::is_outgoing(transaction, &self.in_force.outbound) {
            return Conclusion::pass();
        }
        self.remember_other(transaction, now);
        let removals = edits::header_removals(transaction);
        let is_changed = !removals.is_empty() && self.in_force.mode == Mode::Enforce;
        if is_changed { Conclusion { edits: removals, verdict: Verdict::Continue } } else { Conclusion::pass() }
    }

    /// Takes recipients that must not be mailed off an outgoing campaign message.
    pub(super) async fn screen(&self, transaction: &Transaction) -> Conclusion {
        let now = Timestamp::now();
        let InForce { outbound: settings, limits, domains, mode, .. } = &*self.in_force;
        let queue_id = transaction.queue_id();
        let shadow = *mode == Mode::Shadow;
        let mut screening = match outbound::screen(transaction, settings, &self.store, now) {
            Ok(screening) => screening,
            Err(problem) => {
                let edits = if shadow { Vec::new() } else { edits::header_removals(transaction) };
                return self.undecided(queue_id, &problem.to_string(), edits);
            }
        };
        if let Some(domains) = domains {
            screening.check_domains(domains).await;
        }
        let own: Vec<_> = screening.stays.iter().filter_map(|stays| stays.limit).collect();
        if !own.is_empty() {
            self.sends.cover(&own, &self.store, now);
            self.sends.covered(LONGEST_READING).await;
        }
        screening.count(&self.store, limits, self.sends.sends(), shadow, now);
        let InForce { tokens, inbound: inbound::Settings { return_path, .. }, .. } = &*self.in_force;
        let signed = match *mode {
            Mode::Enforce => outbound::sign(transaction, &screening, tokens, settings, return_path, now),
            Mode::Shadow => None,
        };
        let conclusion = self.conclude(transaction, &screening, signed.as_ref(), now);
        if conclusion.verdict == Verdict::Tempfail {
            screening.take_back(self.sends.sends(), now);
        }
        for skip in &screening.skips {
            let argument = &transaction.recipients[skip.recipient].argument;
            self.say_skip(skip, transaction, argument, screening.campaign.as_ref(), shadow);
        }
        measure_recipients(&screening, shadow, &conclusion.verdict);
        self.write_soon(queue_id, screening.events(transaction, shadow, now));
        if settings.ledger {
            screening.message_id.get_or_insert_with(|| queue_name(queue_id));
        }
        if let Some(send) = screening.into_send(shadow, now) {
            let by_token = signed.map(|signed| Send { message_id: signed.ledger_name, ..send.clone() });
            // A self-test was sent to nobody: no report and no alert counts it.
            let remembered = if send.recipients.iter().all(|recipient| recipient.domain() == SELFTEST_DOMAIN) {
                self.store.remember_uncounted(send)
            } else {
                self.watch.sent(send.recipients.len() as u64, now);
                self.store.remember_send(send)
            };
            let also = by_token.map_or(Ok(()), |send| self.store.remember_uncounted(send));
            self.say_unrecorded(queue_id, remembered.and(also));
        }
        conclusion
    }

    /// Remembers outgoing mail that is not screened.
    fn remember_other(&self, transaction: &Transaction, now: Timestamp) {
        let recipients: Vec<Address> = transaction
            .recipients
            .iter()
            .filter_map(|recipient| Address::parse_bytes(&recipient.argument).ok())
            .collect();
        if !self.in_force.outbound.ledger || recipients.is_empty() {
            return;
        }
        let queue_id = transaction.queue_id();
        let message_id = transaction.headers.message_id().unwrap_or_else(|| queue_name(queue_id));
        let send = Send { message_id, at: now, campaign: None, list: None, recipients };
        self.say_unrecorded(queue_id, self.store.remember_uncounted(send));
    }

    fn say_unrecorded(&self, queue_id: &str, remembered: Result<(), StoreError>) {
        if let Err(problem) = remembered {
            say(&LogEvent::Unrecorded { queue_id, problem: &problem.to_string() });
        }
    }

    fn conclude(
        &self,
        transaction: &Transaction,
        screening: &Screening,
        signed: Option<&Signed>,
        now: Timestamp,
    ) -> Conclusion {
        if self.in_force.mode == Mode::Shadow {
            return Conclusion::pass();
        }
        let queue_id = transaction.queue_id();
        let deletions = edits::deletions(transaction, screening);
        if let Some(limit) = transaction.over_limit {
            // What lies beyond the limit was not seen; what was seen and is suppressed still comes off, and so do our words.
            let edits = deletions.into_iter().chain(edits::header_removals(transaction)).collect();
            return self.undecided(queue_id, limit, edits);
        }
        if deletions.len() == transaction.recipients.len() && !deletions.is_empty() {
            say(&LogEvent::Discard { queue_id, recipients: deletions.len() });
            return Conclusion { edits: Vec::new(), verdict: Verdict::Discard };
        }
        let mut edits = deletions;
        if signed.is_some() || self.is_told_of_success(transaction) {
            let ask = |address: &Address| self.asking.ask(address.domain(), now);
            edits.extend(edits::readditions(transaction, screening, ask));
        }
        edits.extend(edits::header_removals(transaction));
        edits.extend(signed.into_iter().flat_map(|signed| signed.edits.iter().cloned()));
        Conclusion { edits, verdict: Verdict::Continue }
    }

    /// Whether notifications of this message come to us: else a person would be told of every delivery. With XVERP,
    /// Postfix makes other reverse paths of the one that we see.
    fn is_told_of_success(&self, transaction: &Transaction) -> bool {
        let is_xverp = |parameter: &Vec<u8>| parameter.to_ascii_uppercase().starts_with(b"XVERP");
        match ReversePath::parse(&transaction.reverse_path) {
            Ok(ReversePath::Mailbox(sender)) => {
                self.in_force.inbound.return_path.covers(&sender) && !transaction.parameters.iter().any(is_xverp)
            }
            Ok(ReversePath::Null) | Err(_) => false,
        }
    }

    pub(super) fn say_skip(
        &self,
        skip: &Skip,
        transaction: &Transaction,
        forward_path: &[u8],
        campaign: Option<&Campaign>,
        shadow: bool,
    ) {
        let (queue_id, limit) = (transaction.queue_id(), skip.limit.as_ref());
        say(&LogEvent::Skip { queue_id, forward_path, reason: skip.reason, limit, campaign, shadow });
    }

    /// The words with which a recipient is refused at RCPT.
    pub(super) fn refusal(&self, skip: &Skip, now: Timestamp) -> String {
        if skip.reason != SkipReason::Suppressed {
            return format!("recipient is not mailed: {}", skip.reason.as_str());
        }
        let contact = skip.address.as_ref().and_then(|address| self.store.contact(address).ok()?);
        let state = contact.map(|contact| fold(&contact, &self.in_force.policy, contact.present(now)));
        match state.as_ref().and_then(|state| state.suppressed_for(None)) {
            Some(found) => format!("recipient is suppressed: {} [{}]", found.reason, found.event),
            None => "recipient is suppressed".to_owned(),
        }
    }

    pub(super) fn undecided(&self, queue_id: &str, problem: &str, edits: Vec<Edit>) -> Conclusion {
        say(&LogEvent::Undecided { queue_id, problem });
        match self.in_force.outbound.on_error {
            OnError::Accept => Conclusion { edits, verdict: Verdict::Continue },
            OnError::Tempfail => Conclusion { edits: Vec::new(), verdict: Verdict::Tempfail },
        }
    }

    pub(super) fn write_soon(&self, queue_id: &str, events: Vec<NewEvent>) {
        if !events.is_empty() {
            self.say_unrecorded(queue_id, self.store.record_soon(events));
        }
    }
}

/// Counts who was judged, and whose mail goes out; those that come again are counted again.
fn measure_recipients(screening: &Screening, shadow: bool, verdict: &Verdict) {
    measure::screened((screening.skips.len() + screening.stays.len()) as u64);
    if *verdict != Verdict::Tempfail {
        let skipped = screening.skips.iter().filter(|_| shadow).filter_map(|skip| skip.address.as_ref());
        let stay = screening.stays.iter().map(|stays| &stays.address);
        stay.chain(skipped).for_each(|address| measure::sent(address.domain()));
    }
}
