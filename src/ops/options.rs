//! The command line of `backstopd`. backstopd(8) has a part made from it.

use clap::Parser;
use std::path::PathBuf;

/// Keeps a bulk sender from mailing people it must not mail: a milter and bounce reader beside Postfix.
#[derive(Debug, Parser)]
#[command(name = "backstopd", version, after_help = "See backstopd(8) and backstop.toml(5).")]
pub struct Options {
    /// The configuration, backstop.toml(5)
    ///
    /// Without it, `/etc/backstop/backstop.toml` is read. An empty file is a valid one; a missing one is an error.
    #[arg(long, value_name = "FILE", default_value = "/etc/backstop/backstop.toml")]
    pub config: PathBuf,
    /// Say what is wrong with the configuration and the rules, if anything is, and end: 0 or 78
    ///
    /// The operator's rules and dialects, the keys and the key file for hashed addresses are read, too. Nothing else is
    /// opened or changed.
    #[arg(long, conflicts_with = "rebuild")]
    pub check_config: bool,
    /// Make every contact record anew from the events, while no daemon runs, and end
    ///
    /// `backstopctl rebuild` does the same while a daemon serves.
    #[arg(long)]
    pub rebuild: bool,
    /// Tell a daemon in a user namespace who connects to its admin socket. Started by backstopd-peer.socket
    ///
    /// The daemon sees root and its own user only, with `PrivateUsers=yes`, and passes the connections of others to a socket
    /// named `peer` that this process is given. It answers with the user and the group at the other end. No configuration
    /// is read.
    #[arg(long, conflicts_with_all = ["rebuild", "check_config", "config"])]
    pub tell_peers: bool,
    /// Stay root, for tests and containers. Otherwise root becomes the user of [process]
    ///
    /// Nothing is given up then, and nothing that root may do is refused.
    #[arg(long)]
    pub allow_root: bool,
}
