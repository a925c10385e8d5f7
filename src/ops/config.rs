//! Reads `backstop.toml` (SPEC 12).

use crate::{admin, inbound, milter, outbound, policy, store};
use std::path::{Path, PathBuf};

/// `[log] addresses`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogAddresses {
    /// As they are.
    #[default]
    Plain,
    /// Keyed hashes.
    Hashed,
}

/// The configuration, every key given its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `mode`.
    pub mode: outbound::Mode,
    /// `[milter]`.
    pub milter: milter::server::Settings,
    /// `[admin]`.
    pub admin: admin::server::Settings,
    /// `[store]`.
    pub store: store::Settings,
    /// `[return_path]`.
    pub return_path: inbound::Settings,
    /// `[outbound]`.
    pub outbound: outbound::Settings,
    /// `[policy]`, `[authority] accept_unverified`.
    pub policy: policy::Policy,
    /// `[log] addresses`.
    pub log_addresses: LogAddresses,
    /// Where the operator's rules are.
    pub rules_directory: PathBuf,
}

/// Why a configuration cannot be used. The message names file, line, key and what would do.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1, where one can be named.
    pub line: Option<usize>,
    /// Key, what is wrong, what would do.
    pub problem: String,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that cannot be used.
    pub fn read(file: &Path) -> Result<Config, ConfigError> {
        let _ = file;
        todo!()
    }

    /// Reads a text as if it were the file's.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
        let _ = (file, text);
        todo!()
    }
}
