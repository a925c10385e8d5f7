//! Category by profile: how many responses suppress, over how long, and when that ends by itself (SPEC 6).

use super::Profile;
use crate::classify::Category;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What suppresses in one category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// So many responses in a row, in separate campaigns, when they are hard; 1 suppresses at once.
    pub hard_responses: u32,
    /// So many when they are soft.
    pub responses: u32,
    /// Where more than one is needed: at least so many days from the first of them to the last.
    pub span_days: u32,
    /// Released by the daemon's timer after so many days; none for never.
    pub reactivate_days: Option<u32>,
    /// Twice as long each time it is suppressed again.
    pub doubling: bool,
    /// In whose row a response of this category stands.
    pub counts_as: Category,
}

/// One cell for each category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// For [`Category::Rejected`].
    pub rejected: Cell,
    /// For [`Category::Invalid`].
    pub invalid: Cell,
    /// For [`Category::Transient`].
    pub transient: Cell,
    /// For [`Category::Unknown`].
    pub unknown: Cell,
    /// For [`Category::Blocked`].
    pub blocked: Cell,
    /// For [`Category::Failed`].
    pub failed: Cell,
    /// For [`Category::Complaint`]: always one, never reactivated.
    pub complaint: Cell,
}

/// The categories in the order in which the table shows them.
pub const CATEGORIES: [Category; 7] = [
    Category::Rejected,
    Category::Invalid,
    Category::Transient,
    Category::Unknown,
    Category::Blocked,
    Category::Failed,
    Category::Complaint,
];

impl Table {
    /// The table of a profile.
    pub fn of(profile: Profile) -> Table {
        use Category::{Blocked, Complaint, Failed, Invalid, Rejected, Transient};
        let (transient, failed, span) = match profile {
            // SPEC 6 word for word: hard at once, soft three times in a row whatever the category, for good.
            //                          hard soft span back in the row of
            Profile::Standard | Profile::Literal => {
                return Table {
                    rejected: cell(1, 3, 0, NEVER, Transient),
                    invalid: cell(1, 3, 0, NEVER, Transient),
                    transient: cell(1, 3, 0, NEVER, Transient),
                    unknown: cell(1, 3, 0, NEVER, Transient),
                    blocked: cell(1, 3, 0, NEVER, Transient),
                    failed: cell(1, 3, 0, NEVER, Transient),
                    complaint: cell(1, 1, 0, NEVER, Complaint),
                };
            }
            // Responses of transient and failed, days from the first to the last: the more often one sends, the
            // sooner a row is long.
            Profile::Daily => (7, 10, 14),
            Profile::TwiceWeekly => (5, 6, 10),
            Profile::Weekly => (3, 4, 14),
            Profile::Monthly => (3, 3, 60),
        };
        Table {
            rejected: cell(1, 1, 0, NEVER, Rejected),
            invalid: cell(1, 1, 0, NEVER, Invalid),
            transient: cell(transient, transient, span, Some(14), Transient),
            unknown: cell(transient, transient, span, Some(14), Transient),
            blocked: cell(1, 3, 0, Some(14), Blocked),
            failed: cell(failed, failed, span, Some(21), Failed),
            complaint: cell(1, 1, 0, NEVER, Complaint),
        }
    }

    /// The cell of a category.
    pub fn cell(&self, category: Category) -> &Cell {
        match category {
            Category::Rejected => &self.rejected,
            Category::Invalid => &self.invalid,
            Category::Transient => &self.transient,
            Category::Unknown => &self.unknown,
            Category::Blocked => &self.blocked,
            Category::Failed => &self.failed,
            Category::Complaint => &self.complaint,
        }
    }
}

const NEVER: Option<u32> = None;

/// What is released by time is released later each time.
fn cell(
    hard_responses: u32,
    responses: u32,
    span_days: u32,
    reactivate_days: Option<u32>,
    counts_as: Category,
) -> Cell {
    Cell { hard_responses, responses, span_days, reactivate_days, doubling: reactivate_days.is_some(), counts_as }
}
