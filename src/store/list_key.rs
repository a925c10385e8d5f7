//! Keys of tree `lists.N`: what stands on the operator's lists, and which keys an address would be under.
//!
//! | octet | list | subject |
//! |---|---|---|
//! | 1 | blocklist | address |
//! | 2 | blocklist | domain, that one alone |
//! | 3 | blocklist | domain, its subdomains alone |
//! | 4 | Robinson | address |
//! | 5, 6, 7 | Robinson | MD5, SHA-1, SHA-256 of the address |
//! | 8 | Robinson | length of the salt, salt, SHA-256 of the salt and the address |
//!
//! Behind the subject follow NUL and the id of the event that put it there. Domains and addresses hold no NUL
//! and hashes have one length each, so no key's subject is the beginning of another's.

use crate::mail::Address;
use crate::policy::{EventId, OperatorList};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;
use std::ops::{ControlFlow, Range};

/// Octets of a key behind the subject: NUL and 16 octets.
const TAIL: usize = 17;

/// The longest salt.
const SALT: usize = 128;

const BLOCKED_ADDRESS: u8 = 1;
const BLOCKED_DOMAIN: u8 = 2;
const BLOCKED_SUBDOMAINS: u8 = 3;
const ADDRESS: u8 = 4;
const MD5: u8 = 5;
const SHA1: u8 = 6;
const SHA256: u8 = 7;
/// The octet of salted hashes.
pub const SALTED: u8 = 8;

/// One more than the highest octet.
pub const FORMS: usize = 9;

/// The octet and the subject of an entry: all of its keys but the tail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListKey(pub Vec<u8>);

/// Reads an entry as an operator or an import writes it.
///
/// # Errors
/// Why it cannot stand on this list.
pub fn parse(list: OperatorList, text: &str) -> Result<ListKey, String> {
    let text = text.trim();
    let form = |form: u8, subject: &[u8]| ListKey([&[form], subject].concat());
    let address = |octet: u8| match Address::parse(text) {
        Ok(address) => Ok(form(octet, address.as_str().as_bytes())),
        Err(error) => Err(error.to_string()),
    };
    match list {
        OperatorList::Blocklist if text.contains('@') => address(BLOCKED_ADDRESS),
        OperatorList::Blocklist => {
            let (octet, domain) = match text.strip_prefix('.') {
                Some(above) => (BLOCKED_SUBDOMAINS, above),
                None => (BLOCKED_DOMAIN, text),
            };
            let address = Address::parse(&format!("x@{domain}")).map_err(|_| format!("\"{text}\" is no domain"))?;
            Ok(form(octet, address.domain().as_bytes()))
        }
        OperatorList::Robinson => match text.split_once(':') {
            Some((name, hash)) if name.eq_ignore_ascii_case("md5") => Ok(form(MD5, &digest::<16>(hash)?)),
            Some((name, hash)) if name.eq_ignore_ascii_case("sha1") => Ok(form(SHA1, &digest::<20>(hash)?)),
            Some((name, hash)) if name.eq_ignore_ascii_case("sha256") => match hash.rsplit_once(':') {
                None => Ok(form(SHA256, &digest::<32>(hash)?)),
                Some((salt, hash)) => {
                    let length = u8::try_from(salt.len()).ok().filter(|length| (1..=SALT as u8).contains(length));
                    let length = length.ok_or_else(|| format!("the salt has no 1 to {SALT} octets"))?;
                    Ok(form(SALTED, &[&[length][..], salt.as_bytes(), &digest::<32>(hash)?].concat()))
                }
            },
            _ => address(ADDRESS),
        },
    }
}

fn digest<const N: usize>(hex: &str) -> Result<[u8; N], String> {
    let digit = |octet: &u8| char::from(*octet).to_digit(16);
    let octets = hex.as_bytes().chunks_exact(2).map(|pair| Some((digit(&pair[0])? << 4 | digit(&pair[1])?) as u8));
    let octets: Option<Vec<u8>> = octets.collect();
    let octets = octets.filter(|_| hex.len() == 2 * N).and_then(|octets| octets.try_into().ok());
    octets.ok_or_else(|| format!("the hash has no {} hexadecimal digits", 2 * N))
}

impl ListKey {
    /// The key under which an event put it there.
    pub fn under(&self, event: EventId) -> Vec<u8> {
        [&self.0[..], &[0], &event.0.to_be_bytes()].concat()
    }

    /// What every key of the entry begins with.
    pub fn prefix(&self) -> Vec<u8> {
        [&self.0[..], &[0]].concat()
    }

    /// Sorts behind every key of the entry and before those of the next.
    pub fn behind(&self) -> Vec<u8> {
        [&self.0[..], &[1]].concat()
    }

    /// The keys by which an address is on a list as itself.
    pub fn of_address(address: &Address) -> [ListKey; 2] {
        [BLOCKED_ADDRESS, ADDRESS].map(|octet| ListKey([&[octet], address.as_str().as_bytes()].concat()))
    }
}

/// Octet and subject of a key of the tree.
pub fn subject_in(key: &[u8]) -> &[u8] {
    &key[..key.len().saturating_sub(TAIL)]
}

/// The event in a key of the tree.
pub fn event_in(key: &[u8]) -> EventId {
    EventId(key.last_chunk().map_or(0, |id| u128::from_be_bytes(*id)))
}

/// The keys of a list.
pub fn range(list: OperatorList) -> Range<[u8; 1]> {
    match list {
        OperatorList::Blocklist => [BLOCKED_ADDRESS]..[ADDRESS],
        OperatorList::Robinson => [ADDRESS]..[FORMS as u8],
    }
}

/// The list an octet and subject stand on.
pub fn list_of(subject: &[u8]) -> OperatorList {
    match subject.first() {
        Some(&(BLOCKED_ADDRESS..ADDRESS)) => OperatorList::Blocklist,
        _ => OperatorList::Robinson,
    }
}

/// The salt of a subject, if it has one.
pub fn salt_in(subject: &[u8]) -> Option<&[u8]> {
    match subject {
        [SALTED, length, rest @ ..] => rest.get(..usize::from(*length)),
        _ => None,
    }
}

/// Octet and subject as an operator would write the entry; none if that cannot be.
pub fn text(subject: &[u8]) -> Option<String> {
    let (&octet, rest) = subject.split_first()?;
    let hashed =
        |name: &str, hash: &[u8]| hash.iter().fold(name.to_owned(), |text, octet| text + &format!("{octet:02x}"));
    Some(match octet {
        MD5 => hashed("md5:", rest),
        SHA1 => hashed("sha1:", rest),
        SHA256 => hashed("sha256:", rest),
        SALTED => {
            let salt = salt_in(subject)?;
            hashed(&format!("sha256:{}:", std::str::from_utf8(salt).ok()?), rest.get(1 + salt.len()..)?)
        }
        BLOCKED_SUBDOMAINS => format!(".{}", std::str::from_utf8(rest).ok()?),
        _ => std::str::from_utf8(rest).ok()?.to_owned(),
    })
}

/// Tells, one by one, under which octet and subject the address would stand, the blocklist's first, until
/// `found` has enough. Of the forms not `present` nothing is worked out.
pub fn candidates<T>(
    address: &Address,
    present: impl Fn(u8) -> bool,
    salts: impl FnOnce(&mut dyn FnMut(&[u8])),
    mut found: impl FnMut(&[u8]) -> ControlFlow<T>,
) -> Option<T> {
    let mut subject = Vec::with_capacity(128);
    let mut try_one = |octet: u8, pieces: [&[u8]; 3]| {
        subject.clear();
        subject.push(octet);
        pieces.iter().for_each(|piece| subject.extend_from_slice(piece));
        found(&subject).break_value()
    };
    let (whole, domain) = (address.as_str().as_bytes(), address.domain());
    if present(BLOCKED_ADDRESS)
        && let Some(enough) = try_one(BLOCKED_ADDRESS, [whole, &[], &[]])
    {
        return Some(enough);
    }
    if present(BLOCKED_DOMAIN)
        && let Some(enough) = try_one(BLOCKED_DOMAIN, [domain.as_bytes(), &[], &[]])
    {
        return Some(enough);
    }
    if present(BLOCKED_SUBDOMAINS) {
        let mut below = domain;
        while let Some((_, above)) = below.split_once('.') {
            if let Some(enough) = try_one(BLOCKED_SUBDOMAINS, [above.as_bytes(), &[], &[]]) {
                return Some(enough);
            }
            below = above;
        }
    }
    if present(ADDRESS)
        && let Some(enough) = try_one(ADDRESS, [whole, &[], &[]])
    {
        return Some(enough);
    }
    if present(MD5)
        && let Some(enough) = try_one(MD5, [&Md5::digest(whole), &[], &[]])
    {
        return Some(enough);
    }
    if present(SHA1)
        && let Some(enough) = try_one(SHA1, [&Sha1::digest(whole), &[], &[]])
    {
        return Some(enough);
    }
    if present(SHA256)
        && let Some(enough) = try_one(SHA256, [&Sha256::digest(whole), &[], &[]])
    {
        return Some(enough);
    }
    let mut enough = None;
    if present(SALTED) {
        salts(&mut |salt| {
            if enough.is_none() {
                let hash = Sha256::new_with_prefix(salt).chain_update(whole).finalize();
                enough = try_one(SALTED, [&[salt.len() as u8], salt, &hash]);
            }
        });
    }
    enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use OperatorList::{Blocklist, Robinson};

    #[test]
    fn an_entry_is_written_as_it_was_read_in_normal_form() {
        let hash = "0".repeat(62) + "aB";
        for (list, written, normal) in [
            (Blocklist, " <Joe@Example.ORG> ", Some("joe@example.org")),
            (Blocklist, "Example.com", Some("example.com")),
            (Blocklist, ".Example.com", Some(".example.com")),
            (Blocklist, "bücher.example", Some("xn--bcher-kva.example")),
            (Blocklist, "..example.com", None),
            (Blocklist, "", None),
            (Blocklist, "two words", None),
            (Robinson, "Joe@example.org", Some("joe@example.org")),
            (Robinson, "example.org", None),
            (Robinson, ".example.org", None),
            (Robinson, "MD5:D41D8CD98F00B204E9800998ECF8427E", Some("md5:d41d8cd98f00b204e9800998ecf8427e")),
            (Robinson, "md5:d41d8cd98f00b204e9800998ecf8427", None),
            (
                Robinson,
                "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
                Some("sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ),
            (Robinson, "sha1:xa39a3ee5e6b4b0d3255bfef95601890afd80709", None),
            (Robinson, &format!("sha256:{hash}"), Some(&format!("sha256:{}", hash.to_lowercase()))),
            (Robinson, &format!("sha256:Pe:pper:{hash}"), Some(&format!("sha256:Pe:pper:{}", hash.to_lowercase()))),
            (Robinson, &format!("sha256::{hash}"), None),
            (Robinson, &format!("sha256:{}:{hash}", "s".repeat(SALT + 1)), None),
        ] {
            let key = parse(list, written);
            let read = key.as_ref().ok().and_then(|key| text(&key.0));
            assert_eq!(read.as_deref(), normal, "{list:?} {written}: {key:?}");
            if let Ok(key) = key {
                assert_eq!(list_of(&key.0), list, "{written}");
                assert_eq!(subject_in(&key.under(EventId(7))), key.0, "{written}");
                assert_eq!(event_in(&key.under(EventId(7))), EventId(7), "{written}");
            }
        }
    }

    #[test]
    fn nothing_is_worked_out_of_what_is_on_no_list() {
        let address = Address::parse("joe@a.b.example.org").unwrap();
        let asked = |wanted: &[u8]| {
            let mut asked = Vec::new();
            let salts = |told: &mut dyn FnMut(&[u8])| told(b"pepper");
            let found = |subject: &[u8]| -> ControlFlow<()> {
                asked.push(text(subject).unwrap());
                ControlFlow::Continue(())
            };
            candidates(&address, |form| wanted.contains(&form), salts, found);
            asked
        };
        assert!(asked(&[]).is_empty());
        assert_eq!(asked(&[BLOCKED_DOMAIN]), ["a.b.example.org"]);
        assert_eq!(asked(&[BLOCKED_SUBDOMAINS]), [".b.example.org", ".example.org", ".org"]);
        assert_eq!(asked(&[SALTED]).len(), 1);
        assert_eq!(asked(&[1, 2, 3, 4, 5, 6, 7, 8]).len(), 10);
    }
}
