//! The policy in force: how many responses of which kind suppress a contact.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A named set of thresholds (SPEC 6, profiles).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// SPEC 6 word for word.
    #[default]
    Standard,
    /// The bare code always decides.
    Literal,
}

/// What the fold goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The profile.
    pub profile: Profile,
    /// How long a campaign without a response is not yet taken as delivered.
    pub settle: Duration,
    /// Soft bounces in a row, in separate campaigns, that suppress.
    pub soft_streak: u32,
    /// Whether `unverified` evidence counts.
    pub accept_unverified: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            profile: Profile::Standard,
            settle: Duration::from_secs(6 * 86_400),
            soft_streak: 3,
            accept_unverified: false,
        }
    }
}
