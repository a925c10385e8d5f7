//! The operator's door: HTTP/1.1 and JSON over a Unix socket (SPEC 9, 12).
//!
//! In: requests of `backstopctl`, curl, a campaign tool on this machine. `server` accepts them, `access` tells
//! who asks and what they may do, `operations` has a line for every request, of which `routes` makes the router and
//! `openapi` the description; `contacts`, `suppressions`, `mails` and `events` answer them, `wire` holds the shapes
//! they answer in, `answer` and `listing` turn those into HTTP.

mod access;
mod activity;
mod answer;
mod attributes;
mod backup;
mod batches;
mod campaign_count;
#[cfg(test)]
mod campaign_tests;
mod campaign_walk;
mod campaigns;
pub mod classified;
mod confirm;
mod contacts;
mod crowd;
mod erasure;
mod events;
mod explain;
mod export;
mod given;
mod half_closed;
mod hooks;
mod imports;
mod linger;
mod listing;
mod lists;
mod mails;
mod metrics;
mod openapi;
mod operation;
mod operations;
pub mod peer;
mod policy;
mod reports;
pub mod routes;
pub mod server;
mod status;
mod stream;
mod suppressions;
pub mod wire;
pub mod wire_campaigns;
pub mod wire_policy;
pub mod wire_reports;

pub use access::{Access, Caller};
pub use answer::{JSON_BYTES, MAIL_BYTES};
pub use classified::classified;
pub use status::open_alerts;
