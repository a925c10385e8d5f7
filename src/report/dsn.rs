//! Reads delivery status notifications, `multipart/report; report-type=delivery-status`
//! (RFC 3464; RFC 6533 for UTF-8 addresses).
//!
//! In: a message split into parts. Out: a [`Report`] with one recipient for each group, not yet judged.
//! Called by `report::read`, ahead of complaints and dialects.

use super::Report;
use crate::mail::Message;

/// A notification that is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// A field RFC 3464 requires in every group is absent. Groups count from 1.
    #[error("per-recipient group {group}: {field} is missing")]
    MissingField {
        /// Which group, from 1.
        group: usize,
        /// The field's name.
        field: &'static str,
    },
    /// There is a delivery status part, but no per-recipient group in it.
    #[error("the delivery status has no per-recipient group")]
    NoGroup,
}

/// Reads a notification.
///
/// # Errors
/// [`DsnError`] if it is one, but no recipient can be read from it.
pub fn read(message: &Message<'_>) -> Result<Option<Report>, DsnError> {
    let _ = message;
    todo!()
}
