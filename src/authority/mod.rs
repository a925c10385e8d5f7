//! How far a report may be believed (SPEC 5).
//!
//! In: a report, one of its recipients, and how the report reached us. Out: its [`Authority`], the reason in
//! words for `show` and the event, and what the send ledger knows. Asked in this order: a token of ours (`signed`),
//! our own Postfix (`local`), the send ledger (`matched`); what nothing vouches for is `unverified`. Of a complaint
//! [`signature`] tells whether a feedback loop signed it, or sent it as SPF says, and [`vouch`] what that is worth.
//!
//! A token that proves nothing (expired, altered, another recipient's) takes nothing away from what else vouches: who
//! wants to forge would leave it out.
//!
//! # Who can still imitate whom
//!
//! - A *recipient* of a message holds its token, and knows its Message-ID. With a token bound to him he can say what he
//!   likes of himself, and of nobody else. Where a message had many recipients in one envelope, each of them can speak
//!   for each other one that he knows of: to close this, send to one at a time.
//! - Whoever reads a message on its way (a forwarder, a list archive) is in its recipient's place, until the token
//!   expires.
//! - A *user of this host* who may run sendmail(1) can make a message that looks like one of bounce(8) to a milter: what
//!   comes to us differs in nothing. He must name a message that we let out, by Message-ID (or, where it has none, by
//!   queue id), and one of its recipients. A user who sends the message himself first knows both, so that he can
//!   switch off a contact whom he has mailed; Postfix's log then has both messages with his user id. To close this, give
//!   sendmail(1) to programs that may (Postfix's `authorized_submit_users`).
//! - A *stranger* whose report is handed on by sendmail(1) with the null reverse path, by a mail filter of a user for
//!   instance, is nobody: his mail was received, and says so in `Received`, which bounce(8) never writes. Where the filter
//!   removes that, he is in that user's place, but for the log.
//! - A *stranger* who makes our Postfix bounce mail of his own, sent through it to somebody else, gets a notification
//!   that is genuine and `unverified`: that message was not let out as ours, so it is not in the ledger.
//! - Whoever may send from the hosts of a domain that an entry's `spf` names can write its loop's complaints, about
//!   messages that he has seen. SPF vouches for hosts and not for content, so no entry that is compiled in has it.
//!
//! What it costs: notifications of our own Postfix about messages that the ledger never saw, or has forgotten, are
//! `unverified`: those sent before Backstop was there, or past it while it was not, and those whose recipient goes by
//! another name in the notification (a client's own `ORCPT`, an address that Postfix rewrote). They are on record, and a
//! person may confirm them.

pub mod feedback;
pub mod keys;
pub mod signature;
pub mod spf;
pub mod token;
pub mod tokens;

pub use feedback::{FeedbackLoop, FeedbackLoops, Identify};
pub use keys::KeyRing;
pub use signature::{Signature, Signatures};
pub use spf::Envelope;
pub use token::{Bound, Token, TokenError};
pub use tokens::{SenderDomain, Settings, Tokens, ledger_name};

use crate::mail::{Address, MessageId, mailboxes};
use crate::policy::Authority;
use crate::report::Report;
use crate::store::{SendMatch, Store, StoreError};

/// How a report reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// From a program on this host with the null reverse path, as bounce(8) sends its notifications. Holds
    /// Postfix's `myhostname` (macro `j`), where told.
    NonSmtp(Option<&'a str>),
    /// By SMTP, from outside.
    Smtp(Envelope<'a>),
    /// By SMTP through a host of our own, so that nothing is known of its client; or handed in by an operator.
    Elsewhere,
}

/// What a report's word on one recipient is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The tier.
    pub authority: Authority,
    /// Why, in words.
    pub because: String,
    /// The send it answers, where the ledger knows it.
    pub send: Option<SendMatch>,
}

/// What reports are weighed by.
#[derive(Clone, Copy, Debug)]
pub struct Scales<'a> {
    /// How the report reached us.
    pub origin: Origin<'a>,
    /// The tokens it carries ([`Tokens::carried`]).
    pub carried: &'a [Result<Token, TokenError>],
    /// What proves them.
    pub tokens: &'a Tokens,
    /// Whether the ledger is kept.
    pub ledger: bool,
}

/// Weighs what `report` says of `recipient`.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be asked; then nothing is known, and the report must come again.
pub fn weigh(report: &Report, recipient: &Address, scales: Scales<'_>, store: &Store) -> Result<Standing, StoreError> {
    let mut standing = by_origin(report, recipient, scales, store)?;
    let mut problem = None;
    for carried in scales.carried {
        match carried {
            Ok(token) => {
                let of_token = store.find_send(&ledger_name(token), recipient)?;
                let in_ledger = of_token.as_ref().map(|send| send.recipient);
                if standing.send.as_ref().is_none_or(|send| !send.recipient) {
                    standing.send = of_token.filter(|send| send.recipient).or(standing.send);
                }
                let about = match (token.bound, in_ledger) {
                    (Bound::Recipient, _) if scales.tokens.names(token, recipient) => "to this recipient alone",
                    (Bound::Message, Some(true)) => "to this recipient among others",
                    (Bound::Recipient, _) | (Bound::Message, Some(false)) => {
                        problem = Some("the token is of a message to somebody else".to_owned());
                        continue;
                    }
                    (Bound::Message, None) => {
                        problem = Some("the token's message is not in the send ledger".to_owned());
                        continue;
                    }
                };
                let because = format!("carries our token of {}, of a message {about}", token.date());
                return Ok(Standing { authority: Authority::Signed, because, send: standing.send });
            }
            Err(error) => problem = Some(error.to_string()),
        }
    }
    if let Some(problem) = problem {
        standing.because = format!("{}; {problem}", standing.because);
    }
    Ok(standing)
}

/// What a report is worth by who wrote it and which message it returns.
fn by_origin(report: &Report, recipient: &Address, scales: Scales<'_>, store: &Store) -> Result<Standing, StoreError> {
    let message_id = report.returned.as_ref().and_then(|returned| returned.message_id.as_ref());
    let send = match message_id {
        Some(message_id) => store.find_send(message_id, recipient)?,
        None => None,
    };
    let (authority, because) = match (scales.origin, &send) {
        (Origin::NonSmtp(hostname), _) if is_of_postfix(report, hostname) => {
            let is_known = match (&send, message_id, &report.postfix_queue_id) {
                (Some(known), _, _) => known.recipient,
                (None, None, Some(queue_id)) => {
                    store.find_send(&queue_name(queue_id), recipient)?.is_some_and(|known| known.recipient)
                }
                (None, _, _) => false,
            };
            if is_known {
                (Authority::Local, "written by our own Postfix, about a message that it sent for us".to_owned())
            } else if !scales.ledger {
                (Authority::Local, "written by our own Postfix, as it seems; there is no ledger to ask".to_owned())
            } else {
                let because = "looks like our own Postfix's, but about no message that we sent to this recipient";
                (Authority::Unverified, because.to_owned())
            }
        }
        (_, Some(known)) if known.recipient => {
            (Authority::Matched, "answers a message that we sent to this recipient".to_owned())
        }
        (_, Some(_)) => (Authority::Unverified, "the message is ours, but was not sent to this recipient".to_owned()),
        (_, None) if message_id.is_none() => {
            (Authority::Unverified, "returns no Message-ID to look up in the send ledger".to_owned())
        }
        (_, None) => (Authority::Unverified, "the returned Message-ID is not in the send ledger".to_owned()),
    };
    Ok(Standing { authority, because, send })
}

/// The name under which the ledger knows a message without a Message-ID. No Message-ID begins with a blank.
pub fn queue_name(queue_id: &str) -> MessageId {
    MessageId(format!(" queue:{queue_id}"))
}

/// What a complaint's word is worth once its signatures were checked. A valid one, or SPF in its place, makes it
/// `authenticated` where the ledger has the contact; whoever signed it, it says nothing of a contact that the ledger
/// does not have.
pub fn vouch(standing: Standing, signature: &Signature) -> Standing {
    let Standing { authority, because, send } = standing;
    let of_ledger = send.as_ref().is_some_and(|send| send.recipient);
    let (authority, because) = match (signature, authority) {
        (Signature::None, _) => (authority, because),
        (Signature::Valid(of) | Signature::Sent(of), Authority::Unverified | Authority::Matched)
            if of_ledger && of.identify.contains(&Identify::Ledger) =>
        {
            (Authority::Authenticated, format!("{signature}; {because}"))
        }
        (Signature::Valid(_) | Signature::Sent(_), _) => (authority, format!("{because}; {signature}")),
        (Signature::Invalid(problem) | Signature::Unknown(problem), _) => (authority, format!("{because}; {problem}")),
    };
    Standing { authority, because, send }
}

/// Names the contact of a signed complaint that names none, or one that the message was not sent to (it may have been
/// forwarded): whoever the returned message was to, if the ledger knows that it went to that one contact alone.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be asked.
pub fn named_alone(report: &mut Report, signature: &Signature, store: &Store) -> Result<(), StoreError> {
    let (Signature::Valid(of) | Signature::Sent(of)) = signature else { return Ok(()) };
    let (Some(returned), [recipient]) = (&report.returned, report.recipients.as_mut_slice()) else { return Ok(()) };
    let Some(message_id) = returned.message_id.as_ref().filter(|_| of.identify.contains(&Identify::Ledger)) else {
        return Ok(());
    };
    if let Some(named) = &recipient.address
        && store.find_send(message_id, named)?.is_some_and(|send| send.recipient)
    {
        return Ok(());
    }
    let to = returned.headers.get("To").unwrap_or_default();
    let [to] = mailboxes(&to)[..] else { return Ok(()) };
    if let Ok(to) = Address::parse(to)
        && store.sent_alone(message_id, &to)? == Some(true)
    {
        recipient.address = Some(to);
    }
    Ok(())
}

/// Whether a notification from the non-SMTP path bears the marks of the Postfix that handed it to us: the
/// queue id of the returned message, and its own name as the reporting MTA. An older Postfix may not tell
/// its name; then the queue id has to do.
fn is_of_postfix(report: &Report, hostname: Option<&str>) -> bool {
    let names_itself = match (hostname, &report.reporting_mta) {
        (Some(hostname), Some(reporting_mta)) => reporting_mta.eq_ignore_ascii_case(hostname),
        (Some(_), None) => false,
        (None, _) => true,
    };
    report.postfix_queue_id.is_some() && names_itself
}
