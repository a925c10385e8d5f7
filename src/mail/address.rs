//! Addresses as RFC 5321 §4.1.2 writes them, and the one normal form a contact is known by.
//!
//! In: what a client wrote in `MAIL FROM`/`RCPT TO`, a report's address field, an operator's argument.
//! Out: an [`Address`], equal for everything that means the same mailbox to us.

use serde::{Deserialize, Serialize};

/// A contact's address in normal form: angle brackets and source route stripped, domain in lower-case
/// A-labels (IDNA), local part lower-cased in NFC, needless quotes removed. Nothing is folded away.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address(Box<str>);

/// Why a text is no address that could be mailed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing was left after brackets and blanks were taken off.
    #[error("the address is empty")]
    Empty,
    /// There is no `@`, so no domain.
    #[error("\"{0}\" has no domain")]
    NoDomain(String),
    /// The local part is empty, too long (64 octets, RFC 5321 §4.5.3.1.1) or holds what may not stand there.
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
        let _ = text;
        todo!()
    }

    /// As [`Address::parse`], for octets off the wire.
    ///
    /// # Errors
    /// [`AddressError`] when it names no mailbox, or is not UTF-8 (RFC 6531).
    pub fn parse_bytes(octets: &[u8]) -> Result<Address, AddressError> {
        let _ = octets;
        todo!()
    }

    /// The whole address, `local@domain`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the last `@`.
    pub fn local_part(&self) -> &str {
        todo!()
    }

    /// The part behind the last `@`, lower-case A-labels.
    pub fn domain(&self) -> &str {
        todo!()
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
        let _ = octets;
        todo!()
    }
}
