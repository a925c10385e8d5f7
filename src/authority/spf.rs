//! Whether SPF lets a client send for a domain (RFC 7208).
//!
//! In: who handed a mail to our Postfix, and as whom. Out: what SPF says of it. mail-auth evaluates the records; called
//! by [`super::signature`] for complaints whose domain a feedback loop in force names, and for nothing else.

use crate::mail::Address;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MessageAuthenticator, SpfResult};
use std::net::IpAddr;

/// What a mail's SMTP client said before the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The argument of its HELO; empty where not told.
    pub helo: &'a str,
    /// The argument of MAIL; none is null.
    pub reverse_path: Option<&'a Address>,
}

impl Envelope<'_> {
    /// The domain whose SPF record says whether the client may do so, lower case: that of the reverse path (§2.4),
    /// or where that is null, the one that the client said it is. None where the client is this host: what it
    /// handed on came from elsewhere.
    pub(super) fn domain(&self) -> Option<String> {
        let client = self.client.to_canonical();
        if client.is_loopback() || client.is_unspecified() {
            return None;
        }
        let domain = self.reverse_path.map_or(self.helo, |address| address.domain());
        let domain = domain.strip_suffix('.').unwrap_or(domain);
        Some(domain.to_ascii_lowercase()).filter(|domain| !domain.is_empty())
    }
}

/// What SPF says of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may send for this domain.
    Pass,
    /// Anything else, by its name in §2.6.
    Other(String),
    /// The DNS is in trouble: it may say otherwise later.
    Trouble,
}

/// Evaluates the record of `domain`, which is [`Envelope::domain`].
pub(super) async fn evaluate(asked: &MessageAuthenticator, envelope: &Envelope<'_>, domain: &str) -> Verdict {
    let client = envelope.client.to_canonical();
    // "unknown": the name of the receiving host, which only explanations tell (§7.3).
    let parameters = match envelope.reverse_path {
        Some(address) => SpfParameters::verify_mail_from(client, envelope.helo, "unknown", address.as_str()),
        None => SpfParameters::verify_ehlo(client, domain, "unknown"),
    };
    match asked.verify_spf(parameters).await.result() {
        SpfResult::Pass => Verdict::Pass,
        SpfResult::TempError => Verdict::Trouble,
        other => Verdict::Other(other.to_string().to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_that_of_the_reverse_path_or_of_helo_and_this_host_has_none() {
        let joe = Address::parse("joe@FBL.example").expect("an address");
        for (client, helo, reverse_path, want) in [
            ("198.51.100.7", "mx.example", Some(&joe), Some("fbl.example")),
            ("2001:db8::7", "MX.example.", None, Some("mx.example")),
            ("198.51.100.7", "", None, None),
            ("127.0.0.1", "mx.example", Some(&joe), None),
            ("::ffff:127.0.0.1", "mx.example", Some(&joe), None),
            ("::1", "mx.example", None, None),
            ("0.0.0.0", "mx.example", Some(&joe), None),
        ] {
            let envelope = Envelope { client: client.parse().expect("an address"), helo, reverse_path };
            assert_eq!(envelope.domain().as_deref(), want, "{envelope:?}");
        }
    }
}
