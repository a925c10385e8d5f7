//! Options of what is said of this host's Postfix.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What to say of Postfix.
#[derive(Debug, Subcommand)]
pub enum PostfixCommand {
    /// The lines that attach Backstop to this Postfix, to be pasted into a shell; changes nothing
    Print {
        /// The lines that take it off again: only what is Backstop's goes
        #[arg(long)]
        undo: bool,
        /// Where both configurations are.
        #[command(flatten)]
        places: PostfixArguments,
    },
    /// Whether this Postfix asks Backstop as it should: what is wrong, what comes of it, what mends it; changes nothing
    Check(PostfixArguments),
}

/// Where both configurations are.
#[derive(Debug, Args)]
pub struct PostfixArguments {
    /// Backstop's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/backstop/backstop.toml")]
    pub config: PathBuf,
    /// The directory of main.cf, where it is not Postfix's own
    #[arg(long, value_name = "DIR")]
    pub postfix_config: Option<PathBuf>,
}
