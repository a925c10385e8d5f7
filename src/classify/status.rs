//! Finds the enhanced status code and the SMTP reply code in a `Status` field and in reply texts
//! (RFC 3463 §2, RFC 5321 §4.2).

use super::BounceCode;

/// Reads a `Status` field (RFC 3464 §2.3.4); a comment may follow the code. Classes are 2, 4 and 5.
pub fn read_status(field: &str) -> Option<BounceCode> {
    let _ = field;
    todo!()
}
