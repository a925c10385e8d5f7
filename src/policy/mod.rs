//! From events to a contact's state (SPEC 6): plain functions of the facts, the policy and the time.
//!
//! `contact` holds what is on record, `profile` and `table` what it is measured by. `says` and `proof` read one
//! fact by itself, `later` in the light of what came after it, `row` campaign by campaign; `fold` makes the state of it,
//! and `explain` tells why.

pub mod contact;
pub mod event;
pub mod explain;
pub mod fold;
mod later;
pub mod limit;
pub mod profile;
mod proof;
mod row;
mod says;
mod send_out;
mod suppression;
pub mod table;

pub use contact::{Authority, Contact, Fact, Imported, Level, Response, Scope, SkipReason};
pub use event::{ContentKey, Event, EventId, Evidence, ImportedEntry, OperatorList, What};
pub use explain::{Explanation, NotCounted, Release, explain};
pub use fold::{ContactState, State, due, fold};
pub use limit::Limit;
pub use profile::{Policy, Profile, Proof};
pub use says::UPSTREAM_SUPPRESSED;
pub use suppression::Suppression;
pub use table::{CATEGORIES, Cell, Table};
