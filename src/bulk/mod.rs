//! Lists that operators bring along: old suppressions of other senders, blocklists, Robinson lists.
//!
//! In: a list as octets, in one of the forms of [`Format`]. [`Reader`] gives one [`Line`] per line or record, in
//! the order of the list, in constant memory; a line that cannot be read is told with its number and never ends
//! the reading. [`Sorter`] brings the entries into the order of their subjects, which is how the store loads
//! them fastest. Called by whoever imports; nothing here knows the store.

pub mod format;
mod lines;
mod meaning;
mod packed;
pub mod read;
pub mod recipients;
mod record;
pub mod sort;
pub mod subject;
mod when;

pub use format::Format;
pub use read::{Accepts, BadLine, Line, Reader};
pub use recipients::{Recipients, Record};
pub use sort::{Sorted, Sorter};
pub use subject::{Digest, HashKind, HashedAddress, Subject, SubjectError, digest};

use crate::classify::{BounceCode, BounceType, Category};
use crate::mail::ListId;
use jiff::Timestamp;

/// Every category, in the order of its declaration.
const CATEGORIES: [Category; 7] = [
    Category::Failed,
    Category::Invalid,
    Category::Complaint,
    Category::Rejected,
    Category::Transient,
    Category::Unknown,
    Category::Blocked,
];

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line it begins at, counted from 1.
    pub line: u64,
    /// Who must not be mailed.
    pub subject: Subject,
    /// What the provider's reason amounts to; none for a person's wish (`unsubscribed`, `manual`) and where the
    /// list gives no reason.
    pub category: Option<Category>,
    /// Hard or soft, for bounces.
    pub bounce_type: Option<BounceType>,
    /// The enhanced status code, where the list has one or an SMTP reply that holds one.
    pub code: Option<BounceCode>,
    /// One word: `user-unknown`, `hard-bounce`, `blocked`, `spam-complaint`, `unsubscribed`, `manual`, ...
    pub reason: Option<String>,
    /// The provider's own words, cut to 500 octets, without control characters.
    pub note: Option<String>,
    /// When it was put on the list.
    pub since: Option<Timestamp>,
    /// The one mailing list it holds for; none for all mail.
    pub list: Option<ListId>,
}

#[cfg(test)]
mod tests;
