//! How far a report may be believed (SPEC 5).
//!
//! In: a report, one of its recipients, and how the report reached us. Out: its [`Authority`], the reason in
//! words for `show` and the event, and what the send ledger knows. Today `local` and `matched`; what nothing
//! vouches for is `unverified`.

use crate::mail::Address;
use crate::policy::Authority;
use crate::report::Report;
use crate::store::{SendMatch, Store, StoreError};

/// How a report reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// From a program on this host with the null reverse path, as bounce(8) sends its notifications. Holds
    /// Postfix's `myhostname` (macro `j`), where told.
    NonSmtp(Option<&'a str>),
    /// By SMTP, or handed in by an operator.
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

/// Weighs what `report` says of `recipient`.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be asked; then nothing is known, and the report must come again.
pub fn weigh(report: &Report, recipient: &Address, origin: Origin<'_>, store: &Store) -> Result<Standing, StoreError> {
    let message_id = report.returned.as_ref().and_then(|returned| returned.message_id.as_ref());
    let send = match message_id {
        Some(message_id) => store.find_send(message_id, recipient)?,
        None => None,
    };
    let (authority, because) = match (origin, &send) {
        (Origin::NonSmtp(hostname), _) if is_of_postfix(report, hostname) => {
            (Authority::Local, "written by our own Postfix".to_owned())
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
