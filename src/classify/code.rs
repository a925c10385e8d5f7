//! The table of bounce codes (SPEC 2.1; RFC 3463 and the IANA registry of enhanced status codes): for each
//! code the type, the default category, reason and fault, and a line of description in our own words.

use super::{BounceType, Category, Fault};
use serde::{Deserialize, Serialize};

/// The enhanced status code a bounce is filed under: class, subject, detail (RFC 3463 §2), or 9.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BounceCode {
    /// 4 or 5 (2 in notifications of success); 9 where no code was found.
    pub class: u8,
    /// What the code is about.
    pub subject: u16,
    /// The finer point.
    pub detail: u16,
}

impl BounceCode {
    /// A hard bounce in which no bounce code was found.
    pub const NONE_FOUND: BounceCode = BounceCode { class: 9, subject: 1, detail: 1 };
}

impl std::fmt::Display for BounceCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl From<BounceCode> for String {
    fn from(code: BounceCode) -> String {
        code.to_string()
    }
}

impl TryFrom<String> for BounceCode {
    type Error = String;
    fn try_from(text: String) -> Result<BounceCode, String> {
        let mut numbers = text.split('.').map(str::parse::<u16>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(class @ (2 | 4 | 5 | 9))), Some(Ok(subject)), Some(Ok(detail)), None) => {
                Ok(BounceCode { class: class as u8, subject, detail })
            }
            _ => Err(format!("\"{text}\" is no enhanced status code; write it as 5.1.1")),
        }
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CodeEntry {
    /// The code.
    pub code: BounceCode,
    /// Hard or soft by the bare code.
    #[serde(rename = "type")]
    pub bounce_type: BounceType,
    /// Category by the bare code.
    pub category: Category,
    /// Reason by the bare code.
    pub reason: &'static str,
    /// Fault by the bare code.
    pub fault: Fault,
    /// One line in our own words.
    pub description: &'static str,
}

/// Every row, in order of code.
pub fn table() -> &'static [CodeEntry] {
    todo!()
}

/// The row that judges a code: its own; for an unlisted 5.x.y that of 5.x.0; for any 4.x.y soft. A row made
/// by falling back carries the code asked for.
pub fn entry(code: BounceCode) -> CodeEntry {
    let _ = code;
    todo!()
}
