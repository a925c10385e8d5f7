//! Tokens as the configuration wants them: made for what goes out, looked for in what comes back (SPEC 5.2).
//!
//! In: `[authority]` and its keys; outgoing recipients, or a report and the addresses it came to. Out: a token, or all
//! that were found, each proved or with the reason why not. No I/O but the making of references.

use super::keys::KeyRing;
use super::token::{LENGTH, Token, TokenError, is_of_a_token};
use crate::mail::{Address, MessageId};
use crate::report::Report;
use jiff::Timestamp;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places of one report that are looked at.
const PLACES: usize = 64;

/// `[authority]`, but for `accept_unverified`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether outgoing campaign mail is signed.
    pub sign: bool,
    /// The directory of the keys.
    pub keys: PathBuf,
    /// Days after which a token proves nothing.
    pub max_age_days: u16,
    /// What stands ahead of the token in the local part, lower case.
    pub prefix: String,
    /// The domain of signed reverse paths, where no sender's entry says otherwise; none without a return path.
    pub domain: Option<String>,
    /// Domains of senders that have a return path domain of their own.
    pub domains: Vec<SenderDomain>,
}

/// `[[authority.domains]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SenderDomain {
    /// Domain of the sender; it stands for those below it, too. `*` stands for every domain.
    pub sender: String,
    /// Domain of the reverse path that is put in its place.
    pub return_path: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sign: false,
            keys: "/etc/backstop/keys".into(),
            max_age_days: 35,
            prefix: "b-".to_owned(),
            domain: None,
            domains: Vec::new(),
        }
    }
}

/// `[authority]` with its keys, in force.
#[derive(Debug, Default)]
pub struct Tokens {
    settings: Settings,
    ring: KeyRing,
    made: AtomicU64,
}

impl Tokens {
    /// Tokens of these keys.
    pub fn new(settings: Settings, ring: KeyRing) -> Tokens {
        Tokens { settings, ring, made: AtomicU64::new(0) }
    }

    /// The configuration.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether outgoing campaign mail is signed.
    pub fn signs(&self) -> bool {
        self.settings.sign && self.ring.signing().is_some()
    }

    /// Makes a token for a message: bound to its recipient where there is only one. Gives the token and the name under
    /// which the ledger is to know the message. `seed` is what is known of the message; with the time and a count it
    /// makes a reference that no other message has. None without a key.
    pub fn make(&self, seed: &[u8], recipient: Option<&Address>, now: Timestamp) -> Option<(String, MessageId)> {
        let (id, secret) = self.ring.signing()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&now.as_nanosecond().to_be_bytes());
        hasher.update(&self.made.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        hasher.update(&std::process::id().to_be_bytes());
        hasher.update(seed);
        let reference = *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 octets");
        let token = match recipient {
            Some(recipient) => Token::for_recipient(id, secret, now, reference, recipient),
            None => Token::for_message(id, now, reference),
        };
        Some((token.write(secret), ledger_name(&token)))
    }

    /// Reads a token and proves it.
    ///
    /// # Errors
    /// [`TokenError`]: what is wrong with it.
    pub fn read(&self, text: &str, now: Timestamp) -> Result<Token, TokenError> {
        Token::read(text, |id| self.ring.proving(id), now, self.settings.max_age_days)
    }

    /// Whether a token is bound to this recipient.
    pub fn names(&self, token: &Token, recipient: &Address) -> bool {
        self.ring.proving(token.key).is_some_and(|secret| token.names(secret, recipient))
    }

    /// Every token that a report carries, proved or with what is wrong with it, none twice. `came_to` are the addresses
    /// that the report itself was sent to.
    ///
    /// Looked at are those addresses, `Original-Envelope-Id`, and of the returned message `Return-Path`,
    /// `CFBL-Feedback-ID` and `CFBL-Address`. A token proves itself wherever it stands, so that a place is a forger's to
    /// write changes nothing: he needs a token.
    pub fn carried(&self, report: &Report, came_to: &[&str], now: Timestamp) -> Vec<Result<Token, TokenError>> {
        let mut texts: Vec<String> = came_to.iter().filter_map(|address| self.in_address(address)).collect();
        texts.extend(report.original_envelope_id.iter().filter_map(|id| alone(id)));
        if let Some(returned) = &report.returned {
            let values = |name| returned.headers.all(name).take(PLACES);
            texts.extend(values("CFBL-Feedback-ID").filter_map(|id| alone(&id)));
            for name in ["Return-Path", "CFBL-Address"] {
                texts.extend(values(name).filter_map(|address| self.in_address(&address)));
            }
        }
        texts.iter_mut().for_each(|text| text.make_ascii_lowercase());
        texts.sort_unstable();
        texts.dedup();
        texts.truncate(PLACES);
        texts.iter().map(|text| self.read(text, now)).collect()
    }

    /// What stands in the place of a token in an address, also where it was cut off: behind the prefix, up to the next
    /// character that no token has. VERP and address extensions may follow it.
    fn in_address(&self, address: &str) -> Option<String> {
        let address = address.trim_start_matches(['<', ' ', '"']);
        let local = &address[..address.find('@').unwrap_or(address.len())];
        let prefix = &self.settings.prefix;
        let start = local.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix))?;
        let rest = &local[start.len()..];
        let end = rest.find(|character| !is_of_a_token(character)).unwrap_or(rest.len());
        (end > 0).then(|| rest[..end].to_owned())
    }

    /// Whether an address is a signed reverse path by its looks. It may be another host's.
    pub fn is_signed(&self, address: &Address) -> bool {
        self.in_address(address.as_str()).is_some_and(|text| text.len() == LENGTH)
    }
}

/// A value that is nothing but a token by its looks; what else stands there is somebody else's.
fn alone(value: &str) -> Option<String> {
    let value = value.trim();
    (value.len() == LENGTH && value.chars().all(is_of_a_token)).then(|| value.to_owned())
}

/// The name under which the ledger knows a message by its token. No Message-ID begins with a blank, so none can be
/// taken for it.
pub fn ledger_name(token: &Token) -> MessageId {
    MessageId(format!(" token:{:016x}", u64::from_be_bytes(token.reference)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::keys::new_key;
    use crate::mail::Headers;
    use crate::report::{Kind, Returned};

    fn tokens() -> Tokens {
        let directory = tempfile::tempdir().expect("a directory");
        new_key(directory.path(), Timestamp::UNIX_EPOCH).expect("writable");
        let ring = KeyRing::read(directory.path()).expect("readable");
        Tokens::new(Settings { sign: true, ..Settings::default() }, ring)
    }

    fn now() -> Timestamp {
        "2026-11-22T06:00:00Z".parse().expect("a literal time")
    }

    fn report(envelope_id: Option<&str>, fields: &[(&str, &str)]) -> Report {
        let mut headers = Headers::new();
        fields.iter().for_each(|(name, value)| headers.push(name.as_bytes(), value.as_bytes()));
        Report {
            kind: Kind::Bounce,
            dialect: "rfc3464".to_owned(),
            reporting_mta: None,
            original_envelope_id: envelope_id.map(str::to_owned),
            arrival_date: None,
            postfix_queue_id: None,
            feedback_type: None,
            message_id: None,
            recipients: Vec::new(),
            returned: Some(Returned { headers, message_id: None, list: None, date: None }),
        }
    }

    #[test]
    fn a_token_is_found_wherever_it_comes_back() {
        let tokens = tokens();
        let joe = Address::parse("joe@example.org").expect("an address");
        let (token, name) = tokens.make(b"4XyZ12", Some(&joe), now()).expect("there is a key");
        let upper = token.to_uppercase();
        let found = |report: &Report, came_to: &[&str]| tokens.carried(report, came_to, now());
        let nothing = report(None, &[]);
        for came_to in [
            format!("<b-{token}@bounces.test>"),
            format!("B-{upper}@BOUNCES.TEST"),
            format!("<b-{token}+joe=example.org@bounces.test>"), // XVERP
            format!("b-{token}-joe=example.org@bounces.test"),
            format!("\"b-{token}\"@bounces.test"),
        ] {
            let found = found(&nothing, &[&came_to]);
            assert!(matches!(found[..], [Ok(found)] if tokens.names(&found, &joe)), "{came_to}: {found:?}");
        }
        let address = format!(" <b-{upper}@bounces.test>");
        let cfbl = format!(" b-{token}@bounces.test; report=arf");
        for report in [
            report(Some(&token), &[]),
            report(Some(&format!(" {upper} ")), &[]),
            report(None, &[("Return-Path", &address)]),
            report(None, &[("cfbl-feedback-id", &format!(" {token}"))]),
            report(None, &[("CFBL-Address", &cfbl)]),
            report(Some(&upper), &[("Return-Path", &address), ("CFBL-Feedback-ID", &token)]),
        ] {
            assert!(matches!(found(&report, &[])[..], [Ok(found)] if ledger_name(&found) == name), "{report:?}");
        }
    }

    #[test]
    fn what_is_no_token_of_ours_is_passed_over_and_what_is_broken_is_told() {
        let tokens = tokens();
        let (token, _) = tokens.make(b"4XyZ12", None, now()).expect("there is a key");
        for (came_to, want) in [
            ("bounce@bounces.test".to_owned(), None),
            ("b-@bounces.test".to_owned(), None),
            (format!("{token}@bounces.test"), None),
            (format!("b-{}@bounces.test", &token[..39]), Some(TokenError::Malformed)),
            (format!("b-{token}x@bounces.test"), Some(TokenError::Malformed)),
            (format!("b-{token}"), None), // valid, see above: a domain is not asked for
            ("b-".to_owned() + &"ä".repeat(40), None),
        ] {
            let found = tokens.carried(&report(Some("QQ314159"), &[]), &[&came_to], now());
            let problem = found.iter().find_map(|found| found.err());
            assert_eq!(problem, want, "{came_to}");
        }
    }

    #[test]
    fn two_tokens_are_never_the_same() {
        let tokens = tokens();
        let made: std::collections::HashSet<_> =
            (0..1000).filter_map(|_| tokens.make(b"", None, now())).map(|(token, _)| token).collect();
        assert_eq!(made.len(), 1000);
    }

    #[test]
    fn without_a_key_nothing_is_signed() {
        let tokens = Tokens::new(Settings { sign: true, ..Settings::default() }, KeyRing::default());
        assert!(!tokens.signs() && tokens.make(b"", None, now()).is_none());
    }
}
