//! Who an entry of a list is about: an address, a domain, or the hash of an address.

use crate::mail::{Address, AddressError};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Octets of the longest salt.
const SALT_BYTES: usize = 128;

/// Who must not be mailed. As text an address is written as such, a domain as [`Subject::Domain`] says, a hash
/// as [`HashedAddress`] says; all three read back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subject {
    /// One mailbox.
    Address(Address),
    /// In lower-case A-labels: `example.com` is that domain alone, `.example.com` all domains below it.
    Domain(String),
    /// Somebody whose address the list does not give away.
    Hash(HashedAddress),
}

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// It has an `@` and yet is no address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No `@`, no hash, and no name of a domain with a dot in it.
    #[error("\"{0}\" is neither an address nor a domain nor a hash of an address")]
    Nobody(String),
    /// It begins like a hash, but what follows does not fit.
    #[error("\"{0}\" is no hash: write md5:HEX (32 digits), sha1:HEX (40), sha256:HEX or sha256:SALT:HEX (64)")]
    Hash(String),
}

/// The hash function of a hashed address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashKind {
    /// RFC 1321, 16 octets.
    Md5,
    /// FIPS 180-4, 20 octets.
    Sha1,
    /// FIPS 180-4, 32 octets.
    Sha256,
}

impl HashKind {
    /// The word for it, as it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            HashKind::Md5 => "md5",
            HashKind::Sha1 => "sha1",
            HashKind::Sha256 => "sha256",
        }
    }

    /// Octets of its digests.
    pub fn size(self) -> usize {
        match self {
            HashKind::Md5 => 16,
            HashKind::Sha1 => 20,
            HashKind::Sha256 => 32,
        }
    }

    fn of_size(size: usize) -> Option<HashKind> {
        [HashKind::Md5, HashKind::Sha1, HashKind::Sha256].into_iter().find(|kind| kind.size() == size)
    }
}

/// The hash of a normalised address ([`Address::as_str`]), with a salt that of the salt followed by the address.
///
/// Written `md5:HEX`, `sha1:HEX`, `sha256:HEX` or `sha256:SALT:HEX`; 32, 40 or 64 bare hexadecimal digits are
/// read as well. A salt is printable, without blanks, `:` and `%`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashedAddress {
    /// The hash function.
    pub kind: HashKind,
    /// What was put before the address; with SHA-256 only.
    pub salt: Option<String>,
    /// The digest, as long as [`HashKind::size`] says.
    pub digest: Vec<u8>,
}

impl HashedAddress {
    /// Whether this is the hash of that address.
    pub fn matches(&self, address: &Address) -> bool {
        *digest(self.kind, self.salt.as_deref(), address) == *self.digest
    }
}

/// A digest without an allocation; derefs to its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    octets: [u8; 32],
    size: usize,
}

impl std::ops::Deref for Digest {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.octets[..self.size]
    }
}

/// Hashes the salt, if any, followed by the normalised address.
pub fn digest(kind: HashKind, salt: Option<&str>, address: &Address) -> Digest {
    let mut digest = Digest { octets: [0; 32], size: kind.size() };
    let out = &mut digest.octets[..kind.size()];
    let (salt, address) = (salt.unwrap_or_default(), address.as_str());
    match kind {
        HashKind::Md5 => out.copy_from_slice(&Md5::new().chain_update(salt).chain_update(address).finalize()),
        HashKind::Sha1 => out.copy_from_slice(&Sha1::new().chain_update(salt).chain_update(address).finalize()),
        HashKind::Sha256 => out.copy_from_slice(&Sha256::new().chain_update(salt).chain_update(address).finalize()),
    }
    digest
}

impl Subject {
    /// The text of [`fmt::Display`], borrowed where it can be.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Subject::Address(address) => Cow::Borrowed(address.as_str()),
            Subject::Domain(domain) => Cow::Borrowed(domain),
            Subject::Hash(hashed) => Cow::Owned(hashed.to_string()),
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    /// A domain may also be written `@example.com`, and its subdomains `*.example.com`.
    fn from_str(text: &str) -> Result<Subject, SubjectError> {
        let text = text.trim();
        if let Some(hashed) = read_hash(text) {
            return hashed.map(Subject::Hash);
        }
        match text.strip_prefix('@') {
            Some(domain) if !domain.contains('@') => read_domain(domain),
            _ if text.is_empty() || text.contains('@') => Ok(Subject::Address(Address::parse(text)?)),
            _ => read_domain(text),
        }
    }
}

/// A hash by its prefix or by its length; `None` for what looks like neither.
fn read_hash(text: &str) -> Option<Result<HashedAddress, SubjectError>> {
    if let Some((prefix, rest)) = text.split_once(':') {
        let kinds = [HashKind::Md5, HashKind::Sha1, HashKind::Sha256];
        let kind = kinds.into_iter().find(|kind| prefix.eq_ignore_ascii_case(kind.as_str()))?;
        let (salt, hex) = match rest.split_once(':') {
            Some((salt, hex)) => (Some(salt), hex),
            None => (None, rest),
        };
        let may_have_salt = salt.is_none_or(|salt| kind == HashKind::Sha256 && is_salt(salt));
        let digest = unhex(hex).filter(|digest| digest.len() == kind.size() && may_have_salt);
        let hashed = digest.map(|digest| HashedAddress { kind, salt: salt.map(str::to_owned), digest });
        return Some(hashed.ok_or_else(|| SubjectError::Hash(excerpt(text))));
    }
    let kind = HashKind::of_size(text.len() / 2).filter(|_| text.len().is_multiple_of(2))?;
    unhex(text).map(|digest| Ok(HashedAddress { kind, salt: None, digest }))
}

fn is_salt(salt: &str) -> bool {
    let printable = |c: char| !c.is_control() && !c.is_whitespace() && c != '%';
    (1..=SALT_BYTES).contains(&salt.len()) && salt.chars().all(printable)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let octets = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { octets } else { None }
}

/// A domain needs a dot, or any word would be one.
fn read_domain(text: &str) -> Result<Subject, SubjectError> {
    let nobody = || SubjectError::Nobody(excerpt(text));
    let (dot, domain) = match text.strip_prefix("*.").or(text.strip_prefix('.')) {
        Some(parent) => (".", parent),
        None => ("", text),
    };
    if domain.starts_with('[') || domain.chars().any(|c| c.is_whitespace() || "<>\"\\,;:@".contains(c)) {
        return Err(nobody());
    }
    let address = Address::parse(&format!("postmaster@{domain}")).map_err(|_| nobody())?;
    // "example.com." has lost its dot; "com" never had one and is only named with what is below it.
    match address.domain().contains('.') || !dot.is_empty() {
        true => Ok(Subject::Domain(format!("{dot}{}", address.domain()))),
        false => Err(nobody()),
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

impl fmt::Display for HashedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind.as_str())?;
        if let Some(salt) = &self.salt {
            write!(f, "{salt}:")?;
        }
        self.digest.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;
    fn try_from(text: String) -> Result<Subject, SubjectError> {
        text.parse()
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> String {
        subject.text().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // printf %s joe@example.org | md5sum, sha1sum, sha256sum; printf %s pepperjoe@example.org | sha256sum
    const MD5: &str = "4efa9f57993995b10a03a415f0e62883";
    const SHA1: &str = "449a005c91ccc637c4cc8dae0985dc0326cffa2d";
    const SHA256: &str = "0eafd52010f0849542563f1bc3f0e52d7a1414353e1bc0eb6da7d9d3c4ba3646";
    const SALTED: &str = "a4925029cdbcc2acc73eb4a6842d8538ccd49926d06c80f9a0a9ccfa9731bd0f";

    #[test]
    fn a_hash_matches_the_normalised_address_and_no_other() {
        let joe = Address::parse("Joe@Example.ORG").expect("an address");
        let ann = Address::parse("ann@example.org").expect("an address");
        let salted = format!("sha256:pepper:{SALTED}");
        for text in [&format!("md5:{MD5}"), &format!("sha1:{SHA1}"), &format!("SHA256:{SHA256}"), &salted] {
            let Ok(Subject::Hash(hashed)) = text.parse() else { panic!("{text} is a hash") };
            assert!(hashed.matches(&joe), "{text}");
            assert!(!hashed.matches(&ann), "{text}");
        }
        for (bare, kind) in [(MD5, HashKind::Md5), (SHA1, HashKind::Sha1), (SHA256, HashKind::Sha256)] {
            let Ok(Subject::Hash(hashed)) = bare.to_uppercase().parse() else { panic!("{bare} is a hash") };
            assert_eq!((hashed.kind, &hashed.salt), (kind, &None));
            assert_eq!(*digest(kind, None, &joe), *hashed.digest);
        }
    }

    #[test]
    fn a_subject_reads_back_as_it_is_written() {
        for (text, want) in [
            ("Joe@Example.ORG", Some("joe@example.org")),
            ("<joe@example.org>", Some("joe@example.org")),
            ("example.com", Some("example.com")),
            ("@Example.com", Some("example.com")),
            (".Example.com", Some(".example.com")),
            ("*.example.com", Some(".example.com")),
            (".com", Some(".com")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("com", None),
            ("two words.example", None),
            ("[192.0.2.1]", None),
            ("joe@", None),
            ("@@example.com", None),
            ("", None),
            ("md5:00", None),
            ("md5:zz", None),
            ("md5:salt:00112233445566778899aabbccddeeff", None),
            ("00112233445566778899AABBCCDDEEFF", Some("md5:00112233445566778899aabbccddeeff")),
            ("0011223344556677889 AABBCCDDEEFFF", None),
            ("sha256:a%b:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", None),
            ("sha256::00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", None),
        ] {
            let read: Result<Subject, _> = text.parse();
            assert_eq!(read.as_ref().ok().map(Subject::to_string).as_deref(), want, "{text}");
            if let Ok(subject) = read {
                assert_eq!(subject.to_string().parse(), Ok(subject.clone()), "{text}");
                let json = serde_json::to_string(&subject).expect("plain data");
                assert_eq!(serde_json::from_str::<Subject>(&json).expect("just written"), subject);
            }
        }
    }
}
