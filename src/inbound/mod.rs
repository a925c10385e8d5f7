//! What comes back: read, authorise, classify, decide, commit, say (SPEC 3, 4).
//!
//! In: a message on the return path, or a notification of our own Postfix. Out: events in the store, on
//! disk, and what the message was. Called by `service` at the end of the message and by `POST /v1/ingest`.

pub mod ingest;
mod respond;
pub mod watch;

pub use ingest::{Arrival, Ground, Ingested, ingest};
pub use watch::Watch;

use crate::mail::{Limits, ReturnPath};
use serde::{Deserialize, Serialize};

/// `[return_path] recognised`: what happens to a report that was read and recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recognised {
    /// It ends here; its evidence is in the store.
    #[default]
    Discard,
    /// It goes on to the mailbox.
    Deliver,
}

/// `[return_path]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Which addresses are the return path.
    pub return_path: ReturnPath,
    /// What happens to a recognised report.
    pub recognised: Recognised,
    /// What one message may cost.
    pub limits: Limits,
}
