//! The command line of `backstopd`. backstopd(8) has a part made from it.

use clap::Parser;
use std::path::PathBuf;

/// Keeps a bulk sender from mailing people it must not mail: a milter and bounce reader beside Postfix.
#[derive(Debug, Parser)]
#[command(name = "backstopd", version, after_help = "See backstopd(8) and backstop.toml(5).")]
pub struct Options {
    /// The configuration
    ///
    /// The configuration, `/etc/backstop/backstop.toml` by default. An empty file is a valid one; a missing one is an
    /// error.
    #[arg(long, value_name = "FILE", default_value = "/etc/backstop/backstop.toml")]
    pub config: PathBuf,
    /// Say what is wrong with the configuration and the rules, if anything is, and end: 0 or 78
    ///
    /// Read the configuration, the operator's rules and the key file for hashed addresses; say what is wrong with them,
    /// if anything is; end with 0 or 78. Nothing else is opened or changed.
    #[arg(long, conflicts_with = "rebuild")]
    pub check_config: bool,
    /// Make every contact record anew from the events, while no daemon runs, and end
    ///
    /// Make every contact record anew from the events on record, and end. No daemon may run on the store meanwhile;
    /// `backstopctl rebuild` does the same while one serves.
    #[arg(long)]
    pub rebuild: bool,
}
