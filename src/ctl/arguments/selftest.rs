//! Options of the self-test.

use clap::Args;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// How to test.
#[derive(Debug, Args)]
pub struct SelftestArguments {
    /// Where this host's Postfix takes campaign mail; on this host only
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:25", value_parser = on_this_host)]
    pub smtp: SocketAddr,
    /// The directory of Postfix's main.cf, where it is not the usual one
    #[arg(long, value_name = "DIR")]
    pub postfix_config: Option<PathBuf>,
    /// Longest wait for what must happen
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// An address of the loopback interface: no test mail goes to another host.
fn on_this_host(text: &str) -> Result<SocketAddr, String> {
    let wanted = "a host and a port, as 127.0.0.1:25 or [::1]:25";
    let found: Vec<_> = text.to_socket_addrs().map_err(|_| format!("no such place; write {wanted}"))?.collect();
    match found.first() {
        Some(first) if found.iter().all(|address| address.ip().is_loopback()) => Ok(*first),
        _ => Err(format!("not on this host; write {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_interface_is_tested_through() {
        for (text, want) in [
            ("127.0.0.1:25", Some("127.0.0.1:25")),
            ("127.1.2.3:2525", Some("127.1.2.3:2525")),
            ("[::1]:25", Some("[::1]:25")),
            ("192.0.2.1:25", None),
            ("[2001:db8::1]:25", None),
            ("0.0.0.0:25", None),
            ("127.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(on_this_host(text).ok().map(|address| address.to_string()).as_deref(), want, "{text}");
        }
    }
}
