//! One `[[hook]]`: what is told to whom, and how long that is tried.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Most hooks there may be.
pub const MOST: usize = 32;
/// Longest name, in letters.
pub const NAME_LETTERS: usize = 32;

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name, in small letters, digits, `-` and `_`: its place in the store, the label of its metrics.
    pub name: String,
    /// Whom it tells.
    pub target: Target,
    /// What it tells.
    pub on: Vec<Occasion>,
    /// Longest time for one attempt.
    pub timeout: Duration,
    /// How long one notice is tried.
    pub give_up_after: Duration,
}

/// Whom a hook tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A program: its absolute path and its arguments.
    Program(Vec<String>),
    /// A server.
    Url {
        /// Where.
        url: Url,
        /// What the posts are signed with; none where they are not.
        secret: Option<Secret>,
    },
}

impl Target {
    /// How status and logs name it: without arguments and query, which may hold secrets.
    pub fn shown(&self) -> String {
        match self {
            Target::Program(command) => command.first().cloned().unwrap_or_default(),
            Target::Url { url, .. } => {
                let scheme = if url.tls { "https" } else { "http" };
                let path = url.path.split('?').next().unwrap_or_default();
                format!("{scheme}://{}{path}", url.authority)
            }
        }
    }
}

/// A URL that can be posted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `https`.
    pub tls: bool,
    /// As in `Host` (RFC 9110 §7.2).
    pub authority: String,
    /// The host, an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// A sentence saying what would do.
    pub fn parse(text: &str) -> Result<Url, String> {
        let wanted = |problem: &str| format!("{problem}; write it as https://example.com/path");
        if text.contains('#') {
            return Err(wanted("the URL has a fragment"));
        }
        let uri: hyper::Uri = text.parse().map_err(|_| wanted("this is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wanted("the URL is neither https nor http")),
        };
        let Some(authority) = uri.authority() else { return Err(wanted("the URL names no host")) };
        if authority.as_str().contains('@') {
            return Err("a URL with a user's name is not taken; posts are signed with secret_file".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") if tls => 443,
            Some("") => 80,
            rest => rest.and_then(|rest| rest.strip_prefix(':')?.parse().ok()).unwrap_or(0),
        };
        if host.is_empty() || port == 0 {
            return Err(wanted("the URL names no host, or no port that can be used"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Url { tls, authority: authority.as_str().to_owned(), host, port, path })
    }
}

/// A key for signatures. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Octets that nobody else knows.
    pub fn new(octets: Vec<u8>) -> Secret {
        Secret(octets)
    }

    /// `Backstop-Signature` of a body sent at a time, in seconds since 1970: `t=1790000000,v1=` and HMAC-SHA-256
    /// (RFC 2104) of the time, a dot and the body, in hexadecimal digits.
    pub fn signature(&self, at: i64, body: &[u8]) -> String {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.0);
        let mut context = ring::hmac::Context::with_key(&key);
        context.update(format!("{at}.").as_bytes());
        context.update(body);
        let digits: String = context.sign().as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        format!("t={at},v1={digits}")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What a hook may tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// A contact complained.
    Complaint,
    /// A suppression of a contact has fallen.
    Release,
    /// A contact is suppressed that was not, in this scope and for this category.
    Suppress,
    /// An alert was raised or is over.
    Alert,
    /// An operator tries the hook.
    Test,
}

impl Occasion {
    /// Those that `on` takes, with their words.
    pub const ALL: [(&'static str, Occasion); 4] = [
        ("suppress", Occasion::Suppress),
        ("release", Occasion::Release),
        ("complaint", Occasion::Complaint),
        ("alert", Occasion::Alert),
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Occasion::Complaint => "complaint",
            Occasion::Release => "release",
            Occasion::Suppress => "suppress",
            Occasion::Alert => "alert",
            Occasion::Test => "test",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_or_refused() {
        for (text, want) in [
            ("https://example.com/a?b=c", Some((true, "example.com", 443, "/a?b=c", "example.com"))),
            ("http://127.0.0.1:8080", Some((false, "127.0.0.1", 8080, "/", "127.0.0.1:8080"))),
            ("http://[::1]:81/x", Some((false, "::1", 81, "/x", "[::1]:81"))),
            ("HTTPS://Example.com", Some((true, "Example.com", 443, "/", "Example.com"))),
            ("ftp://example.com/", None),
            ("/path", None),
            ("example.com", None),
            ("https://user:pw@example.com/", None),
            ("https://example.com/#part", None),
            ("https://example.com:0/", None),
            ("https://example.com:/", None),
            ("https://example.com:99999/", None),
            ("https://", None),
            ("", None),
        ] {
            let url = Url::parse(text).ok();
            let parts = url.as_ref().map(|url| (url.tls, &*url.host, url.port, &*url.path, &*url.authority));
            assert_eq!(parts, want, "{text}");
        }
    }

    #[test]
    fn what_is_shown_of_a_url_or_a_program_holds_no_secret() {
        let url = Url::parse("https://example.com:8443/in?token=hush").unwrap();
        let secret = Some(Secret::new(b"quite secret".to_vec()));
        let target = Target::Url { url, secret };
        assert_eq!(target.shown(), "https://example.com:8443/in");
        assert!(!format!("{target:?}").contains("quite"));
        assert_eq!(Target::Program(vec!["/bin/x".into(), "hush".into()]).shown(), "/bin/x");
    }

    #[test]
    fn the_signature_is_the_hmac_of_time_and_body() {
        // printf '1790000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let signature = Secret::new(b"key".to_vec()).signature(1_790_000_000, b"{\"a\":1}");
        assert_eq!(signature, "t=1790000000,v1=7a4d26944722100249410c8c7f2e76c3cc6e9735fcc98b39e44a122da5490ffc");
    }
}
