//! Takes one message as if it had arrived on the return path.

use crate::authority::Origin;
use crate::policy::EventId;
use crate::report::Kind;
use crate::service::InForce;
use crate::store::{Store, StoreError};
use jiff::Timestamp;

/// A message that came back.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The whole message.
    pub raw: &'a [u8],
    /// When.
    pub at: Timestamp,
    /// Postfix's queue id, `-` where there is none.
    pub queue_id: &'a str,
    /// Who brought it.
    pub origin: Origin,
    /// Postfix's `myhostname` (macro `j`), where told.
    pub own_hostname: Option<&'a str>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// What it was.
    pub kind: Kind,
    /// Events it made.
    pub recorded: Vec<EventId>,
    /// Events that were on record already.
    pub known: Vec<EventId>,
}

/// Reads, authorises, classifies, records durably, and says so in the log.
///
/// # Errors
/// [`StoreError`] when nothing could be recorded; then nothing was.
pub async fn ingest(arrival: Arrival<'_>, in_force: &InForce, store: &Store) -> Result<Ingested, StoreError> {
    let _ = (arrival, in_force, store);
    todo!()
}
