//! From events to a contact's state (SPEC 6): plain functions of the facts, the policy and the time.

pub mod contact;
pub mod event;
pub mod fold;
pub mod profile;

pub use contact::{Authority, Contact, Fact, Response, Scope, SkipReason};
pub use event::{ContentKey, Event, EventId, Evidence, What};
pub use fold::{ContactState, State, Suppression, fold};
pub use profile::{Policy, Profile};
