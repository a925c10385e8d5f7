//! Options of what is done with the store as a whole.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Write it anew, without what was erased or removed
    Compact(UpkeepArguments),
    /// Make a store of a backup; without the daemon
    Restore {
        /// The backup; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Where the store is to be: a directory that is empty or not there
        #[arg(long, value_name = "DIR", default_value = STORE)]
        store: PathBuf,
    },
    /// Whether a store, or a backup, holds together; without the daemon
    Verify {
        /// A backup instead of a store; `-` is standard input
        #[arg(value_name = "FILE", conflicts_with = "store")]
        file: Option<PathBuf>,
        /// The store [default: /var/lib/backstop/store]
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
    /// How much of what is in it
    Stats {
        /// A store that no daemon serves, instead of the daemon's
        #[arg(long, value_name = "DIR")]
        store: Option<PathBuf>,
    },
}

/// Where the store is if nothing else is said.
pub const STORE: &str = "/var/lib/backstop/store";

/// How to make something anew.
#[derive(Debug, Args)]
pub struct UpkeepArguments {
    /// Why; written to the log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Say how much there is, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl UpkeepArguments {
    /// The request, with what was said.
    pub fn target(&self, path: &str) -> String {
        let reason = self.reason.as_deref().map(|reason| format!("&reason={}", crate::ctl::client::encoded(reason)));
        format!("{path}?dry_run={}{}", self.dry_run, reason.unwrap_or_default())
    }
}

/// Where to copy the store to.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// The backup; in a directory it is named by the time
    #[arg(value_name = "FILE|DIR", required_unless_present = "output", conflicts_with = "output")]
    pub to: Option<PathBuf>,
    /// The same; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Why; written to the log
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}
