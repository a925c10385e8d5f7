//! One event, one line, one counter, one place. Every log line of the mail path is written here.
//!
//! A line reads `event=skip queue_id=4XyZ12 address=joe@example.org reason=suppressed campaign=77`.

use crate::mail::Address;
use crate::policy::{Response, SkipReason};
use crate::report::Campaign;

/// What happened, as logged and counted. The doc comment of each variant is its line in backstop-events(7).
#[derive(Debug)]
pub enum LogEvent<'a> {
    /// A recipient was taken off an outgoing message (or would have been, in shadow mode).
    Skip {
        /// Queue id.
        queue_id: &'a str,
        /// The recipient as received.
        forward_path: &'a [u8],
        /// Why.
        reason: SkipReason,
        /// Campaign.
        campaign: Option<&'a Campaign>,
        /// Shadow mode.
        shadow: bool,
    },
    /// All recipients were suppressed: the message was discarded.
    Discard {
        /// Queue id.
        queue_id: &'a str,
        /// How many recipients it had.
        recipients: usize,
    },
    /// A response was recorded: a bounce, a delay, a delivery, a complaint, an automatic reply.
    Response {
        /// Queue id.
        queue_id: &'a str,
        /// Contact.
        address: &'a Address,
        /// What came back.
        response: &'a Response,
        /// The rule that judged it, `-` where none had to.
        rule: &'a str,
    },
    /// A contact's state changed to bounced or suppressed.
    Deactivate {
        /// Queue id.
        queue_id: &'a str,
        /// Contact.
        address: &'a Address,
        /// Reason.
        reason: &'a str,
        /// Soft bounces in a row.
        streak: u32,
    },
    /// The same report came again; nothing was changed.
    Repeat {
        /// Queue id.
        queue_id: &'a str,
    },
    /// A report that is ours to read cannot be read, or names nobody.
    Unreadable {
        /// Queue id.
        queue_id: &'a str,
        /// What is wrong.
        problem: &'a str,
    },
    /// Mail on the return path that is no report; delivered untouched.
    NotAReport {
        /// Queue id.
        queue_id: &'a str,
    },
    /// A report could not be recorded and was asked to come again.
    Tempfail {
        /// Queue id.
        queue_id: &'a str,
        /// Why.
        problem: &'a str,
    },
    /// Outgoing mail could not be decided on and went as `[outbound] on_error` says.
    Undecided {
        /// Queue id.
        queue_id: &'a str,
        /// Why.
        problem: &'a str,
    },
    /// A milter connection was closed for what it sent.
    ProtocolError {
        /// Queue id, or `-`.
        queue_id: &'a str,
        /// What is wrong.
        problem: &'a str,
    },
    /// A milter connection was refused or closed for its limits.
    OverLimit {
        /// Queue id, or `-`.
        queue_id: &'a str,
        /// Which limit.
        limit: &'a str,
    },
    /// Skips or sends could not be written down.
    Unrecorded {
        /// Queue id.
        queue_id: &'a str,
        /// Why.
        problem: &'a str,
    },
    /// A person changed a contact's state.
    Operator {
        /// What was done: `suppress`, `reactivate`.
        action: &'a str,
        /// Contact.
        address: &'a Address,
        /// User id.
        uid: u32,
        /// Why.
        reason: &'a str,
    },
}

/// Writes the line and counts.
pub fn say(event: &LogEvent<'_>) {
    let _ = event;
    todo!()
}
