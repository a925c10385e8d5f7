//! The policy in force: profile, table of cells, what proves life.

use super::{Level, Table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A named set of thresholds (SPEC 6, profiles); [`Table::of`] has the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// SPEC 6 word for word.
    #[default]
    Standard,
    /// The bare code always decides.
    Literal,
    /// For who sends every day.
    Daily,
    /// For who sends twice a week.
    TwiceWeekly,
    /// For who sends every week.
    Weekly,
    /// For who sends every month.
    Monthly,
}

impl Profile {
    /// Every profile, by the word for it in JSON and configuration.
    pub const ALL: [(&'static str, Profile); 6] = [
        ("standard", Profile::Standard),
        ("literal", Profile::Literal),
        ("daily", Profile::Daily),
        ("twice-weekly", Profile::TwiceWeekly),
        ("weekly", Profile::Weekly),
        ("monthly", Profile::Monthly),
    ];
}

/// How strong a sign of life retracts a bounce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// One that counts as soft.
    pub soft: Level,
    /// One of category `unknown`, hard or soft.
    pub unknown: Level,
    /// One that counts as hard.
    pub hard: Level,
}

impl Default for Proof {
    fn default() -> Proof {
        Proof { soft: Level::OPEN, unknown: Level::HUMAN_CLICK, hard: Level::HUMAN_CLICK }
    }
}

/// What the fold goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The profile.
    pub profile: Profile,
    /// How long a campaign without a response is not yet taken as delivered.
    pub settle: Duration,
    /// Whether `unverified` evidence counts.
    pub accept_unverified: bool,
    /// How many responses suppress, and for how long: the profile's, with the operator's changes.
    pub table: Table,
    /// What retracts a bounce.
    pub proof: Proof,
}

impl Policy {
    /// The policy of a profile, with nothing changed.
    pub fn of(profile: Profile) -> Policy {
        Policy {
            profile,
            settle: Duration::from_secs(6 * 86_400),
            accept_unverified: false,
            table: Table::of(profile),
            proof: Proof::default(),
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::of(Profile::Standard)
    }
}
