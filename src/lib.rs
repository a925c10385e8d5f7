//! Backstop keeps a bulk sender from mailing people it must not mail. It is one daemon beside Postfix.
//!
//! # The journey of one message
//!
//! Postfix opens a milter connection and tells the story of a message: who connects, the reverse path,
//! the recipients, the header, the body. [`milter`] turns the octets into commands and keeps what the story
//! needs; it knows no store and no clock. At the end of the header [`service`] chooses once what the message
//! is to us:
//!
//! - *idle*: nobody's business here; it passes.
//! - *screening*: campaign mail on its way out. Its body is skipped at the first chunk. At the end of the
//!   message [`outbound`] asks [`store`] about all recipients at once, and those that must not be mailed are
//!   deleted from the envelope.
//! - *inspecting*: mail to the return path, or a notification of our own Postfix. [`inbound`] reads it
//!   ([`report`]), asks how far it may be believed ([`authority`]), judges it ([`classify`]), and writes an
//!   event to [`store`], on disk, before Postfix is answered.
//!
//! A contact's state is a fold over its events: [`policy`], a plain function of the events, the policy and
//! the time. Operators ask over [`admin`]; their programs are told by [`hooks`]; [`ops`] wires it all to the machine.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | contact | one normalised address ([`mail::Address`]) |
//! | campaign | one send-out, named by an id in a header ([`report::Campaign`]) |
//! | list | the distribution list a campaign belongs to ([`mail::ListId`]) |
//! | report | a notification, a complaint or an automatic reply, read but not judged ([`report::Report`]) |
//! | response | what came back, or was prevented, for one contact and campaign ([`policy::Response`]) |
//! | bounce code | the enhanced status code that a response is filed under ([`classify::BounceCode`]) |
//! | authority | how far a piece of evidence is to be believed ([`policy::Authority`]) |
//! | token | what a message of ours takes along, and what comes back proves itself by ([`authority::Token`]) |
//! | scope | where a suppression holds: the whole system or one list ([`policy::Scope`]) |
//! | streak | soft bounces in a row, one for each campaign |
//! | skip | a recipient removed from an outgoing message ([`policy::SkipReason`]) |
//! | ledger | the remembered sends: Message-ID, recipients, campaign, time ([`store`]) |

pub mod admin;
pub mod authority;
pub mod bulk;
pub mod classify;
pub mod ctl;
pub mod hooks;
pub mod inbound;
pub mod mail;
pub mod milter;
pub mod ops;
pub mod outbound;
pub mod policy;
pub mod report;
pub mod service;
pub mod store;
