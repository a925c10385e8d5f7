//! How many campaign messages a contact gets in a while (SPEC 7.3).

use serde::{Deserialize, Serialize};

/// At most so many messages in a rolling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Messages.
    pub messages: u32,
    /// Length of the window in seconds.
    pub window_secs: u32,
}
