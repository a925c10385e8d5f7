//! From events to a contact's state (SPEC 6): plain functions of the facts, the policy and the time.

pub mod contact;
pub mod event;
pub mod fold;
pub mod limit;
pub mod profile;

pub use contact::{Authority, Contact, Fact, Imported, Level, Response, Scope, SkipReason};
pub use event::{ContentKey, Event, EventId, Evidence, ImportedEntry, OperatorList, What};
pub use fold::{ContactState, State, Suppression, fold};
pub use limit::Limit;
pub use profile::{Policy, Profile};
