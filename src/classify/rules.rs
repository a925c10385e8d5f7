//! Rules as data (SPEC 2.2): `config/rules/*.toml`, compiled in, overlaid by the operator's files. The first
//! rule that matches decides. Every rule carries samples that a test runs through the whole set.

use super::Judgement;
use std::path::{Path, PathBuf};

/// The rule set in force.
#[derive(Debug)]
pub struct Rules {}

/// Why a rule file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no rule file, or one rule in it cannot be used.
    #[error("{}:{line}: {problem}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and what would do.
        problem: String,
    },
}

/// A sample that the rule set answers differently than its rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// The rule whose sample it is.
    pub rule: String,
    /// The file and line it stands in.
    pub place: String,
    /// The sample.
    pub sample: String,
    /// The rule that answered instead.
    pub answered: Judgement,
}

impl Rules {
    /// The rules compiled in.
    pub fn compiled_in() -> Rules {
        todo!()
    }

    /// The rules compiled in, overlaid by every `*.toml` in `directory`, in order of name; a missing
    /// directory is an empty one.
    ///
    /// # Errors
    /// [`RuleError`] for the first file that cannot be used.
    pub fn with_overlay(directory: &Path) -> Result<Rules, RuleError> {
        let _ = directory;
        todo!()
    }

    /// Runs every sample of `file` through these rules overlaid by `file`.
    ///
    /// # Errors
    /// [`RuleError`] if the file cannot be used.
    pub fn test(&self, file: &Path) -> Result<(usize, Vec<Miss>), RuleError> {
        let _ = file;
        todo!()
    }
}
