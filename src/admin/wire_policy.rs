//! How `GET /v1/policy` answers: the table in force (SPEC 6, profiles).

use crate::classify::Category;
use crate::policy::{CATEGORIES, Cell, Policy, Profile, Proof};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /v1/policy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyAnswer {
    /// The profile the table comes from.
    pub profile: Profile,
    /// How long a campaign without a response is not yet taken as delivered.
    pub settle_days: u64,
    /// Whether `unverified` evidence counts.
    pub accept_unverified: bool,
    /// The level of activity that retracts a bounce.
    pub proof_of_life: Proof,
    /// A row for each category, with the operator's changes.
    pub table: Vec<PolicyRow>,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRow {
    /// The category.
    pub category: Category,
    /// What suppresses in it.
    #[serde(flatten)]
    pub cell: Cell,
}

impl From<&Policy> for PolicyAnswer {
    fn from(policy: &Policy) -> PolicyAnswer {
        let row = |category| PolicyRow { category, cell: *policy.table.cell(category) };
        PolicyAnswer {
            profile: policy.profile,
            settle_days: policy.settle.as_secs() / 86_400,
            accept_unverified: policy.accept_unverified,
            proof_of_life: policy.proof,
            table: CATEGORIES.into_iter().map(row).collect(),
        }
    }
}
