//! Reads what comes back: notifications, complaints, automatic replies. A report is read, not judged:
//! `classify` gives it a code, `authority` says how far to believe it.
//!
//! In: a [`Message`]. Out: a [`Report`], or nothing where the mail is a person's.
//! Called by `inbound` and by `backstopctl classify`. No I/O.

pub mod arf;
pub mod autoreply;
pub mod campaign;
pub mod dialect;
pub mod dsn;
pub mod entry;
mod recipients;
mod text;

use crate::mail::{Address, Headers, ListId, Message, MessageId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use campaign::{Campaign, CampaignHeaders};
pub use dialect::Dialects;
pub use dsn::DsnError;

/// What a report says, on the whole or of one recipient. `other` is a person's mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Delivery failed for good (RFC 3464 `Action: failed`).
    Bounce,
    /// Still being tried (`Action: delayed`).
    Delayed,
    /// Delivered, relayed or expanded.
    Delivered,
    /// Reported as spam (RFC 5965 `Feedback-Type: abuse`).
    Complaint,
    /// Reported as not spam (RFC 6430).
    NotSpam,
    /// Wants no more mail from the list (RFC 5965 `opt-out`).
    OptOut,
    /// Answered by a program (RFC 3834).
    Autoreply,
    /// None of these.
    Other,
}

impl Kind {
    /// The word for it in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Bounce => "bounce",
            Kind::Delayed => "delayed",
            Kind::Delivered => "delivered",
            Kind::Complaint => "complaint",
            Kind::NotSpam => "not-spam",
            Kind::OptOut => "opt-out",
            Kind::Autoreply => "autoreply",
            Kind::Other => "other",
        }
    }
}

/// `Action` of a per-recipient group (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Could not be delivered, and no more is tried.
    Failed,
    /// Not yet delivered, still tried.
    Delayed,
    /// In the recipient's mailbox.
    Delivered,
    /// Handed to a system that does not send notifications.
    Relayed,
    /// Delivered to a list or alias and passed on.
    Expanded,
}

impl Action {
    /// What a notification says of a recipient with this action.
    pub fn kind(self) -> Kind {
        match self {
            Action::Failed => Kind::Bounce,
            Action::Delayed => Kind::Delayed,
            Action::Delivered | Action::Relayed | Action::Expanded => Kind::Delivered,
        }
    }
}

/// A report, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What the report as a whole says: that of its first recipient, where it has any.
    pub kind: Kind,
    /// Which reader or dialect read it: `rfc3464`, `rfc3464-scan`, ...
    pub dialect: String,
    /// `Reporting-MTA` without its type (RFC 3464 §2.2.2).
    pub reporting_mta: Option<String>,
    /// `Original-Envelope-Id` (§2.2.1).
    pub original_envelope_id: Option<String>,
    /// `Arrival-Date` (§2.2.5).
    pub arrival_date: Option<Timestamp>,
    /// `X-Postfix-Queue-ID`: the queue id of the returned message, in Postfix's own notifications.
    pub postfix_queue_id: Option<String>,
    /// `Feedback-Type` of a complaint, lower case (RFC 5965 §3.1); `opt-out` where a mail program asks for that in
    /// words of its own.
    pub feedback_type: Option<String>,
    /// The report's own `Message-ID`.
    pub message_id: Option<MessageId>,
    /// One entry for each per-recipient group, in order; of a complaint and an automatic reply one for each
    /// contact it names.
    pub recipients: Vec<Recipient>,
    /// What the report returns of the message it is about.
    pub returned: Option<Returned>,
}

impl Report {
    /// What the report says of one of its recipients: groups of a notification may differ.
    pub fn kind_of(&self, recipient: &Recipient) -> Kind {
        match self.kind {
            Kind::Complaint | Kind::NotSpam | Kind::OptOut | Kind::Autoreply => self.kind,
            Kind::Bounce | Kind::Delayed | Kind::Delivered | Kind::Other => recipient.action.kind(),
        }
    }
}

/// One per-recipient group (RFC 3464 §2.3), fields as written. Who complains or answers was delivered to, so
/// there the action is `delivered`.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipient {
    /// `Original-Recipient` where present and readable, else `Final-Recipient`; `None` where neither names
    /// a mailbox.
    pub address: Option<Address>,
    /// `Original-Recipient`, decoded, without its type.
    pub original_recipient: Option<String>,
    /// `Final-Recipient`, decoded, without its type.
    pub final_recipient: Option<String>,
    /// `Action`.
    pub action: Action,
    /// `Status` as written: `5.1.1`, `5.0.0 (unknown)`.
    pub status: Option<String>,
    /// Type of `Diagnostic-Code`, lower case: `smtp`, `x-postfix`.
    pub diagnostic_type: Option<String>,
    /// Text of `Diagnostic-Code`, unfolded to one line.
    pub diagnostic_code: Option<String>,
    /// `Remote-MTA` without its type.
    pub remote_mta: Option<String>,
    /// `Will-Retry-Until`.
    pub will_retry_until: Option<Timestamp>,
}

/// The message a report is about, as far as it came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Returned {
    /// Its header.
    pub headers: Headers,
    /// Its `Message-ID`.
    pub message_id: Option<MessageId>,
    /// Its `List-ID`.
    pub list: Option<ListId>,
    /// Its `Date`.
    pub date: Option<Timestamp>,
}

/// A report that is ours to read, but broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// A delivery status notification that cannot be read.
    #[error("delivery status notification: {0}")]
    Dsn(#[from] DsnError),
}

/// Reads a report: complaints and challenges, which say what they are, then notifications, then bounces that follow
/// no standard; automatic replies last, for bounces may be marked as such.
///
/// `Ok(None)` is a person's mail. A notification that names no mailbox, or cannot be read, may still name one in
/// its text.
///
/// # Errors
/// [`ReportError`] for a report that is broken beyond use.
pub fn read(message: &Message<'_>, dialects: &Dialects) -> Result<Option<Report>, ReportError> {
    if let Some(report) = autoreply::read_challenge(message).or_else(|| arf::read(message)) {
        return Ok(Some(report).filter(|report| report.kind != Kind::Other));
    }
    let standard = dsn::read(message);
    if let Ok(Some(report)) = &standard
        && report.recipients.iter().all(Recipient::is_told)
    {
        return Ok(standard?);
    }
    match (standard, dialects.read(message)) {
        (Ok(Some(mut report)), in_words) => {
            report.complete(in_words);
            Ok(Some(report))
        }
        (_, Some(in_words)) => Ok(Some(in_words)),
        (Err(error), None) => Err(error.into()),
        (Ok(None), None) => Ok(autoreply::read(message)),
    }
}

impl Recipient {
    /// Whether there is nothing left to ask the bounce's text: who it is, and what was said.
    fn is_told(&self) -> bool {
        let has_failed = matches!(self.action, Action::Failed | Action::Delayed);
        self.address.is_some() && (self.diagnostic_code.is_some() || !has_failed)
    }
}

impl Report {
    /// Takes from the bounce's text, read by the dialect that it is written in, what the standard fields leave
    /// out. Some MTAs put a file or a command there instead of the mailbox, or give a bare code.
    fn complete(&mut self, in_words: Option<Report>) {
        let Some(in_words) = in_words else { return };
        let is_anybody_named = self.recipients.iter().any(|recipient| recipient.address.is_some());
        if !is_anybody_named && self.recipients.len() == in_words.recipients.len() {
            for (recipient, named) in self.recipients.iter_mut().zip(&in_words.recipients) {
                recipient.address = named.address.clone();
            }
        } else if !is_anybody_named && !in_words.recipients.is_empty() {
            self.recipients = in_words.recipients;
            return;
        }
        for recipient in self.recipients.iter_mut().filter(|recipient| recipient.diagnostic_code.is_none()) {
            let is_same = |named: &&Recipient| named.address.is_some() && named.address == recipient.address;
            let named = in_words.recipients.iter().find(is_same);
            recipient.diagnostic_code = named.and_then(|named| named.diagnostic_code.clone());
        }
    }
}

#[cfg(test)]
mod tests;
