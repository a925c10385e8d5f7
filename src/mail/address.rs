//! Addresses as RFC 5321 §4.1.2 writes them, and the one normal form a contact is known by.
//!
//! In: what a client wrote in `MAIL FROM`/`RCPT TO`, a report's address field, an operator's argument.
//! Out: an [`Address`], equal for everything that means the same mailbox to us.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};
use unicode_normalization::UnicodeNormalization;

/// Octets looked at. The longest path is 256 (RFC 5321 §4.5.3.1.3); a source route may stand before it.
const INPUT_BYTES: usize = 1000;
/// RFC 5321 §4.5.3.1.1 allows 64, but servers send and take more, for bounce addresses that carry the recipient
/// above all; a contact that Postfix delivers to must have a name here. Measured on the normal form.
const LOCAL_PART_BYTES: usize = 255;
/// RFC 5321 §4.5.3.1.2.
const DOMAIN_BYTES: usize = 255;
/// RFC 1035 §2.3.4.
const LABEL_BYTES: usize = 63;

/// A contact's address in normal form: angle brackets and source route stripped, domain in lower-case
/// A-labels (IDNA), local part lower-cased in NFC, needless quotes removed. Nothing is folded away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Box<str>);

/// Why a text is no address that could be mailed. The text is cut where it is long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing was left after brackets and blanks were taken off.
    #[error("the address is empty")]
    Empty,
    /// There is no `@`, so no domain.
    #[error("\"{0}\" has no domain")]
    NoDomain(String),
    /// The local part is empty, too long (255 octets) or holds what may not stand there.
    #[error("\"{0}\" has an invalid local part")]
    LocalPart(String),
    /// The domain is no domain name or address literal, or is too long (255 octets).
    #[error("\"{0}\" has an invalid domain")]
    Domain(String),
}

impl Address {
    /// Reads an address as a client or a report writes it and brings it to normal form.
    ///
    /// # Errors
    /// [`AddressError`] when it names no mailbox.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        if text.len() > INPUT_BYTES {
            return Err(AddressError::LocalPart(excerpt(text)));
        }
        let mailbox = without_source_route(without_brackets(text));
        if mailbox.is_empty() {
            return Err(AddressError::Empty);
        }
        let Some((local, domain)) = split(mailbox) else {
            return Err(AddressError::NoDomain(excerpt(text)));
        };
        let mut address = String::with_capacity(mailbox.len());
        push_local_part(&mut address, local).ok_or_else(|| AddressError::LocalPart(excerpt(text)))?;
        address.push('@');
        push_domain(&mut address, domain).ok_or_else(|| AddressError::Domain(excerpt(text)))?;
        Ok(Address(address.into()))
    }

    /// As [`Address::parse`], for octets off the wire.
    ///
    /// # Errors
    /// [`AddressError`] when it names no mailbox, or is not UTF-8 (RFC 6531).
    pub fn parse_bytes(octets: &[u8]) -> Result<Address, AddressError> {
        let octets = &octets[..octets.len().min(INPUT_BYTES + 1)];
        match std::str::from_utf8(octets) {
            Ok(text) => Address::parse(text),
            Err(_) => Err(AddressError::LocalPart(excerpt(&String::from_utf8_lossy(octets)))),
        }
    }

    /// The whole address, `local@domain`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`.
    pub fn local_part(&self) -> &str {
        self.halves().0
    }

    /// The part behind the last `@`, lower-case A-labels.
    pub fn domain(&self) -> &str {
        self.halves().1
    }

    fn halves(&self) -> (&str, &str) {
        self.0.rsplit_once('@').expect("an address holds an @: written by Address::parse")
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Address, AddressError> {
        Address::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.0.into()
    }
}

/// The argument of `MAIL FROM` (RFC 5321 §4.1.1.2). Notifications travel with `Null` (§4.5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`, or from cleanup(8) an empty string.
    Null,
    /// A mailbox that notifications may be sent to.
    Mailbox(Address),
}

impl ReversePath {
    /// Reads the first argument of the milter's MAIL event, with or without brackets.
    ///
    /// # Errors
    /// [`AddressError`] when it is neither null nor an address.
    pub fn parse(octets: &[u8]) -> Result<ReversePath, AddressError> {
        match Address::parse_bytes(octets) {
            Ok(address) => Ok(ReversePath::Mailbox(address)),
            Err(AddressError::Empty) => Ok(ReversePath::Null),
            Err(error) => Err(error),
        }
    }
}

/// What an error message quotes of an input.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn without_brackets(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        Some(path) => path.trim(),
        None => text,
    }
}

/// `@relay.example,@other.example:user@domain` (RFC 5321 §4.1.2 `A-d-l`, to be ignored by §3.3).
fn without_source_route(path: &str) -> &str {
    match path.strip_prefix('@').and_then(|route| route.split_once(':')) {
        Some((_, mailbox)) => mailbox.trim_start(),
        None => path,
    }
}

/// Splits at the last `@` that stands neither in quotes nor behind a backslash.
fn split(mailbox: &str) -> Option<(&str, &str)> {
    if !mailbox.contains(['"', '\\']) {
        return mailbox.rsplit_once('@');
    }
    let (mut quoted, mut escaped, mut at) = (false, false, None);
    for (place, octet) in mailbox.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'@' if !quoted => at = Some(place),
            _ => {}
        }
    }
    at.map(|place| (&mailbox[..place], &mailbox[place + 1..]))
}

/// Appends the local part in normal form; `None` if it cannot stand in an address.
fn push_local_part(out: &mut String, written: &str) -> Option<()> {
    let start = out.len();
    let was_quoted = written.contains(['"', '\\']);
    let content = if was_quoted { Cow::Owned(unquote(written)?) } else { Cow::Borrowed(written) };
    let lower: String = if content.is_ascii() {
        content.to_ascii_lowercase()
    } else {
        content.nfc().collect::<String>().to_lowercase().nfc().collect()
    };
    // Asked of the normal form: NFC turns U+037E into a semicolon.
    let needs_quotes = !lower.chars().all(is_atom_or_dot);
    // Blanks, commas and the like must have been quoted (RFC 5321 §4.1.2 Quoted-string).
    if lower.is_empty() || (needs_quotes && !was_quoted) {
        return None;
    }
    if needs_quotes {
        out.push('"');
        for c in lower.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    } else {
        out.push_str(&lower);
    }
    (out.len() - start <= LOCAL_PART_BYTES).then_some(())
}

/// Undoes quotes and backslashes, wherever in the local part they stand (RFC 5322 `obs-local-part`). What is
/// outside the quotes must not need any.
fn unquote(written: &str) -> Option<String> {
    let mut content = String::with_capacity(written.len());
    let (mut quoted, mut characters) = (false, written.chars());
    while let Some(c) = characters.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' => content.push(characters.next()?),
            _ if quoted || is_atom_or_dot(c) => content.push(c),
            _ => return None,
        }
    }
    let sound = !quoted && !content.chars().any(|c| c.is_control() || c == '\u{fffd}');
    sound.then_some(content)
}

/// RFC 5322 `atext`, RFC 6532 non-ASCII, and the dot. Dots in a row or at an end are wrong by the RFC, but
/// Japanese mobile operators gave out such addresses; quoted and bare they are one mailbox.
fn is_atom_or_dot(c: char) -> bool {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' => true,
        '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_' | '`' => true,
        '{' | '|' | '}' | '~' => true,
        '\u{fffd}' => false,
        _ => !c.is_ascii() && !c.is_control() && !c.is_whitespace(),
    }
}

/// Appends the domain in normal form; `None` if it is no domain.
fn push_domain(out: &mut String, written: &str) -> Option<()> {
    if let Some(literal) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return push_literal(out, literal);
    }
    let start = out.len();
    // idna costs a hundred times the plain case, which nearly every domain is.
    if written.is_ascii() && !written.to_ascii_lowercase().contains("xn--") {
        out.push_str(written);
        out[start..].make_ascii_lowercase();
    } else {
        out.push_str(&idna::domain_to_ascii(written).ok()?);
    }
    if out.ends_with('.') {
        out.pop();
    }
    is_domain(&out[start..]).then_some(())
}

/// RFC 5321 §4.1.3, IPv4 and IPv6.
fn push_literal(out: &mut String, literal: &str) -> Option<()> {
    let tag = literal.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:"));
    let ip = match tag {
        Some(_) => format!("[ipv6:{}]", literal[5..].parse::<Ipv6Addr>().ok()?),
        None => format!("[{}]", literal.parse::<Ipv4Addr>().ok()?),
    };
    out.push_str(&ip);
    Some(())
}

/// Letters, digits, hyphens (RFC 1035 §2.3.1), and the underscore, which some hosts do carry.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    domain.len() <= DOMAIN_BYTES && domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
