//! Header fields (RFC 5322 §2.2): an ordered list, looked up without case, values unfolded on request.

use serde::{Deserialize, Serialize};

/// The header of a message, in the order it came. Names keep their case, values their octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Headers {
    /// An empty header.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Adds a field at the end. `value` is everything behind the colon, folding included.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.fields.push((name.to_vec(), value.to_vec()));
    }

    /// The first field of that name: unfolded, decoded as UTF-8 (invalid octets replaced), trimmed.
    pub fn get(&self, name: &str) -> Option<String> {
        let _ = name;
        todo!()
    }

    /// Every field of that name, as [`Headers::get`] gives it, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        let _ = name;
        std::iter::empty()
    }

    /// Every field as it came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The first `Message-ID` (RFC 5322 §3.6.4).
    pub fn message_id(&self) -> Option<MessageId> {
        todo!()
    }

    /// The first `List-ID` (RFC 2919 §3).
    pub fn list_id(&self) -> Option<ListId> {
        todo!()
    }

    /// Reads a header block, up to the first empty line or the end; LF and CRLF alike. Lines that are no
    /// fields are passed over.
    pub fn read(block: &[u8]) -> Headers {
        let _ = block;
        todo!()
    }
}

/// A `Message-ID` without its angle brackets, as written otherwise (RFC 5322 §3.6.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub String);

/// A `List-ID` (RFC 2919): the identifier between the last angle brackets, lower-cased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListId(pub String);
