//! Where to listen, in Postfix's and libmilter's spelling.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket: `sockaddr_un` on Linux holds 108 octets, the last one NUL.
const LONGEST_PATH: usize = 107;

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
        let text = text.trim();
        match text.split_once(':') {
            Some(("unix" | "local", path)) => unix(path),
            Some(("inet", address)) => inet(address, text, Ipv4Addr::LOCALHOST.into()),
            Some(("inet6", address)) => inet(address, text, Ipv6Addr::LOCALHOST.into()),
            _ if text.starts_with('/') => unix(text),
            _ => Err(format!(
                "{text:?} is no listener; write unix:/path/to/socket or inet:127.0.0.1:8899 \
                 (or libmilter's local:/path, inet:8899@127.0.0.1, inet6:8899@::1)"
            )),
        }
    }
}

/// Postfix's spelling, ready to be put into `smtpd_milters`.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Inet(address) => write!(f, "inet:{address}"),
        }
    }
}

fn unix(path: &str) -> Result<ListenAddress, String> {
    if !Path::new(path).is_absolute() {
        return Err(format!(
            "{path:?} is no absolute path; write unix:/path/to/socket \
             (Postfix takes a relative path from its queue directory, so name that in full here)"
        ));
    }
    if path.len() > LONGEST_PATH {
        return Err(format!(
            "the socket path has {} octets and a Unix socket takes at most {LONGEST_PATH}; choose a shorter one than {path:?}",
            path.len()
        ));
    }
    if path.ends_with('/') {
        return Err(format!("{path:?} names a directory; write the socket's own name behind it"));
    }
    Ok(ListenAddress::Unix(path.into()))
}

fn inet(address: &str, whole: &str, localhost: IpAddr) -> Result<ListenAddress, String> {
    // libmilter: port@host. Postfix: host:port, an IPv6 host in square brackets.
    let split = match address.split_once('@') {
        Some((port, host)) => Some((host, port)),
        None => address.rsplit_once(':'),
    };
    let Some((host, port)) = split else {
        return Err(format!("{whole:?} names no address; write inet:127.0.0.1:{address} or inet:{address}@127.0.0.1"));
    };
    let port: u16 = port.parse().map_err(|_| {
        format!("{port:?} in {whole:?} is no port; write a number from 1 to 65535, as in inet:127.0.0.1:8899")
    })?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = match bare {
        "localhost" => localhost,
        _ => bare.parse().map_err(|_| {
            format!(
                "{host:?} in {whole:?} is no IP address; write one, as in inet:127.0.0.1:{port} or inet:[::1]:{port}"
            )
        })?,
    };
    if whole.starts_with("inet6:") && host.is_ipv4() {
        return Err(format!("{whole:?} says IPv6 and names an IPv4 address; write inet:{host}:{port}"));
    }
    Ok(ListenAddress::Inet(SocketAddr::new(host, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postfix_and_libmilter_spelling_are_both_read() {
        for (text, want) in [
            ("unix:/run/b/m.sock", "unix:/run/b/m.sock"),
            ("local:/run/b/m.sock", "unix:/run/b/m.sock"),
            ("/run/b/m.sock", "unix:/run/b/m.sock"),
            (" unix:/run/b:c/m.sock ", "unix:/run/b:c/m.sock"),
            ("inet:127.0.0.1:8899", "inet:127.0.0.1:8899"),
            ("inet:8899@127.0.0.1", "inet:127.0.0.1:8899"),
            ("inet:localhost:8899", "inet:127.0.0.1:8899"),
            ("inet:8899@localhost", "inet:127.0.0.1:8899"),
            ("inet6:8899@localhost", "inet:[::1]:8899"),
            ("inet6:8899@::1", "inet:[::1]:8899"),
            ("inet6:8899@[::1]", "inet:[::1]:8899"),
            ("inet6:[::1]:8899", "inet:[::1]:8899"),
            ("inet:[::1]:8899", "inet:[::1]:8899"),
            ("inet:[2001:db8::1]:0", "inet:[2001:db8::1]:0"),
            ("inet:0.0.0.0:8899", "inet:0.0.0.0:8899"),
        ] {
            let read = ListenAddress::parse(text);
            assert_eq!(read.as_ref().map(ToString::to_string), Ok(want.to_owned()), "{text}");
            assert_eq!(ListenAddress::parse(want), read, "{want} is its own spelling");
        }
    }

    #[test]
    fn what_cannot_be_used_is_answered_with_what_would_do() {
        let long = format!("unix:/{}", "x".repeat(200));
        for (text, want) in [
            ("", "write unix:/path"),
            ("8899", "write unix:/path"),
            ("tcp:127.0.0.1:8899", "write unix:/path"),
            ("run/m.sock", "write unix:/path"),
            ("unix:run/m.sock", "no absolute path"),
            ("unix:", "no absolute path"),
            ("unix:/run/", "names a directory"),
            (&long, "at most 107"),
            ("inet:8899", "write inet:127.0.0.1:8899"),
            ("inet:mail.example.org:8899", "no IP address"),
            ("inet:127.0.0.1:smtp", "no port"),
            ("inet:127.0.0.1:65536", "no port"),
            ("inet:127.0.0.1:-1", "no port"),
            ("inet:8899@", "no IP address"),
            ("inet:@127.0.0.1", "no port"),
            ("inet6:8899@127.0.0.1", "write inet:127.0.0.1:8899"),
        ] {
            let problem = ListenAddress::parse(text).expect_err(text);
            assert!(problem.contains(want), "{text}: {problem}");
        }
    }
}
