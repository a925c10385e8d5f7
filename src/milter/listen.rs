//! Where to listen, in Postfix's and libmilter's spelling.

use std::net::SocketAddr;
use std::path::PathBuf;

/// A milter listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `unix:/path` (Postfix), `local:/path` or `/path` (libmilter).
    Unix(PathBuf),
    /// `inet:host:port` (Postfix), `inet:port@host`, `inet6:port@host` (libmilter).
    Inet(SocketAddr),
}

impl ListenAddress {
    /// Reads either spelling.
    ///
    /// # Errors
    /// A sentence saying what is wrong and what would do.
    pub fn parse(text: &str) -> Result<ListenAddress, String> {
        let _ = text;
        todo!()
    }
}
