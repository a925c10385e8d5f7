//! Why the daemon cannot start, or did not end in good order, with the exit code for each.

use crate::authority::keys::KeysError;
use crate::classify::RuleError;
use crate::ops::config::ConfigError;
use crate::ops::privileges::PrivilegeError;
use crate::store::StoreError;
use std::path::PathBuf;

/// Why the daemon cannot start, or did not end in good order.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operator's rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RuleError),
    /// Domains are to be checked, and the DNS cannot be asked.
    #[error("[dns]: {0}")]
    Dns(String),
    /// The key for hashing addresses cannot be had.
    #[error("[log] hash_key_file {}: {source}", file.display())]
    HashKey {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The keys of tokens cannot be used.
    #[error("[authority] keys: {0}")]
    Keys(#[from] KeysError),
    /// The store cannot be opened, rebuilt or closed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A socket cannot be listened on.
    #[error("{0}")]
    Listen(std::io::Error),
    /// It is root, and cannot or must not go on as somebody else.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The system refuses what every daemon needs.
    #[error("{0}")]
    System(std::io::Error),
}

impl Failure {
    /// The exit code (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Rules(_) | Failure::Dns(_) | Failure::Keys(_) | Failure::HashKey { .. } => 78, // EX_CONFIG
            Failure::Store(StoreError::InUse { .. } | StoreError::Busy) => 75, // EX_TEMPFAIL
            Failure::Store(
                StoreError::NewerSchema { .. }
                | StoreError::Unopenable { .. }
                | StoreError::Damaged { .. }
                | StoreError::Corrupt { .. },
            ) => 65, // EX_DATAERR: starting again does not help
            Failure::Store(StoreError::Unwritable { .. }) => 73,               // EX_CANTCREAT
            Failure::Store(StoreError::Engine(_) | StoreError::Stopped) => 74, // EX_IOERR
            Failure::Listen(_) => 69,                                          // EX_UNAVAILABLE
            Failure::Privileges(PrivilegeError::Refused { .. } | PrivilegeError::Left(_)) => 71, // EX_OSERR
            Failure::Privileges(_) => 78,                                      // EX_CONFIG
            Failure::System(_) => 71,                                          // EX_OSERR
        }
    }
}

/// An error with its causes, in one line.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
