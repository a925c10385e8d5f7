//! Judges a report: which category, type, reason and fault each recipient's words and code amount to
//! (SPEC 2). Rules over the reply text come first, the bare code table last. No I/O.

pub mod code;
pub mod rules;
pub mod status;

pub use code::{BounceCode, CodeEntry};
pub use rules::{RuleError, Rules};

use crate::report::Recipient;
use serde::{Deserialize, Serialize};

/// Where on its way a response arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Before the message left: by Backstop or our own MTA.
    Skip,
    /// After sending, before the inbox: by the receiving MTA.
    Bounce,
    /// After the inbox: by the contact or the provider.
    Feedback,
}

/// What a bounce, complaint or failed send amounts to (SPEC 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Our MTA could not connect to the recipient's.
    Failed,
    /// The recipient's domain does not exist, has a null MX, or could not be resolved.
    Invalid,
    /// Reported as spam.
    Complaint,
    /// The address does not exist any more or the account is not active.
    Rejected,
    /// Temporary: full, greylisted, rate limit, server trouble.
    Transient,
    /// No exact reason can be established.
    Unknown,
    /// Refused: blocklist, spam, virus, content, policy, authentication.
    Blocked,
}

impl Category {
    /// The class a response of this category has.
    pub fn class(self) -> Class {
        match self {
            Category::Failed | Category::Invalid => Class::Skip,
            Category::Complaint => Class::Feedback,
            Category::Rejected | Category::Transient | Category::Unknown | Category::Blocked => Class::Bounce,
        }
    }

    /// The word for it in rules, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Failed => "failed",
            Category::Invalid => "invalid",
            Category::Complaint => "complaint",
            Category::Rejected => "rejected",
            Category::Transient => "transient",
            Category::Unknown => "unknown",
            Category::Blocked => "blocked",
        }
    }
}

/// Permanent or temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BounceType {
    /// Permanent.
    Hard,
    /// Temporary.
    Soft,
}

impl BounceType {
    /// The word for it in rules, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            BounceType::Hard => "hard",
            BounceType::Soft => "soft",
        }
    }
}

/// Whose problem a bounce is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The mailbox or its owner.
    Recipient,
    /// The receiving system.
    Provider,
    /// Our address, reputation or rate.
    Sender,
    /// What the message holds, or its size.
    Message,
    /// The way between: routing, relaying, configuration.
    Path,
}

impl Fault {
    /// The word for it in rules, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Recipient => "recipient",
            Fault::Provider => "provider",
            Fault::Sender => "sender",
            Fault::Message => "message",
            Fault::Path => "path",
        }
    }
}

/// The verdict on one recipient of a bounce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Category.
    pub category: Category,
    /// Permanent or temporary.
    #[serde(rename = "type")]
    pub bounce_type: BounceType,
    /// The enhanced status code it is filed under; 9.1.1 where none was found in a hard bounce.
    pub code: BounceCode,
    /// The finer reason: `mailbox-full`, `user-unknown`, ...
    pub reason: String,
    /// Whose problem it is.
    pub fault: Fault,
    /// The rule that decided: its id, or `code-table`.
    pub rule: String,
    /// The words the rule matched; `None` where the bare code decided.
    pub matched: Option<String>,
}

impl Judgement {
    /// Whether words decided, not the bare code (SPEC 6, fault).
    pub fn by_words(&self) -> bool {
        self.matched.is_some()
    }
}

/// Judges one recipient of a bounce by the rules, then by the code table.
pub fn classify(recipient: &Recipient, rules: &Rules) -> Judgement {
    let _ = (recipient, rules);
    todo!()
}
