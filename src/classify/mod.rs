//! Judges a report: which category, type, reason and fault each recipient's words and code amount to
//! (SPEC 2). Rules over the reply text come first, the bare code table last. No I/O.

pub mod code;
mod literals;
pub mod provider;
mod quoted;
mod reading;
pub mod reason;
pub mod rule;
mod rule_file;
pub mod rules;
pub mod status;

pub use code::{BounceCode, CodeEntry};
pub use rule::Rule;
pub use rules::{RuleError, Rules};

use crate::report::Recipient;
use reading::Reading;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where on its way a response arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// One line on what it amounts to: the reason's where words decided, else the bounce code's.
    pub fn description(&self) -> &'static str {
        let by_reason = self.matched.as_ref().and_then(|_| reason::describe(&self.reason));
        by_reason.unwrap_or_else(|| code::entry(self.code).description)
    }

    /// Whether words decided, not the bare code (SPEC 6, fault).
    pub fn by_words(&self) -> bool {
        self.matched.is_some()
    }
}

/// The `rule` of a judgement that no rule decided.
pub const CODE_TABLE: &str = "code-table";

/// Octets of the matched words that a judgement keeps.
const MATCHED_LIMIT: usize = 200;

/// Judges one recipient of a bounce or delay that `dialect` read: by the rules, then by the code table.
pub fn classify(recipient: &Recipient, dialect: &str, rules: &Rules) -> Judgement {
    judge(&Reading::of(recipient, dialect), rules)
}

fn judge(reading: &Reading<'_>, rules: &Rules) -> Judgement {
    let (rule, range) = match rules.decide(reading) {
        Some((rule, range)) => (Some(rule), range),
        None => (None, None),
    };
    let found = rule.and_then(|rule| rule.code).or(reading.code);
    // A temporary refusal without a code is 4.0.0: the class is known, and 9.1.1 is for hard bounces.
    let by_code = code::entry(found.unwrap_or(if reading.temporary { UNNAMED_SOFT } else { BounceCode::NONE_FOUND }));
    let bounce_type = match rule.and_then(|rule| rule.bounce_type(reading.temporary)) {
        _ if reading.delayed => BounceType::Soft,
        Some(said) => said,
        None if reading.temporary => BounceType::Soft,
        // No code, and words that tell of a connection or of time running out: nothing final was said.
        None if found.is_none() && rule.and_then(|rule| rule.category) == Some(Category::Failed) => BounceType::Soft,
        None => by_code.bounce_type,
    };
    let code = match found {
        None if bounce_type == BounceType::Soft => UNNAMED_SOFT,
        _ => by_code.code,
    };
    let matched = range.map(|range| {
        let words = &reading.text.as_bytes()[range];
        String::from_utf8_lossy(&words[..words.len().min(MATCHED_LIMIT)]).trim().to_owned()
    });
    Judgement {
        category: rule.and_then(|rule| rule.category).unwrap_or(by_code.category),
        bounce_type,
        code,
        reason: rule.and_then(|rule| rule.reason.as_deref()).unwrap_or(by_code.reason).to_owned(),
        fault: rule.and_then(|rule| rule.fault).unwrap_or(by_code.fault),
        rule: rule.map_or(CODE_TABLE, |rule| rule.id.as_str()).to_owned(),
        matched,
    }
}

/// What a soft bounce without a code is filed under.
const UNNAMED_SOFT: BounceCode = BounceCode { class: 4, subject: 0, detail: 0 };

#[cfg(test)]
mod tests;
