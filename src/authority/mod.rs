//! How far a report may be believed (SPEC 5): `local` and `matched`; what nothing vouches for is
//! `unverified`. Tokens and feedback-loop signatures come later.

use crate::mail::Address;
use crate::policy::Authority;
use crate::report::Report;
use crate::store::{SendMatch, Store, StoreError};

/// Where a report came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Our own Postfix's notification: non-SMTP path, null reverse path. The name is Postfix's `myhostname`.
    OwnPostfix,
    /// By SMTP, or submitted by hand.
    Elsewhere,
}

/// The authority of what a report says of one recipient, why, and what the ledger knows of the send.
///
/// # Errors
/// [`StoreError`] when the ledger cannot be asked.
pub fn of(
    report: &Report,
    recipient: &Address,
    origin: Origin,
    own_hostname: Option<&str>,
    store: &Store,
) -> Result<(Authority, String, Option<SendMatch>), StoreError> {
    let _ = (report, recipient, origin, own_hostname, store);
    todo!()
}
