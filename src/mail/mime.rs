//! A message split into its parts (RFC 2045, 2046). The only place that names `mail-parser`.
//!
//! mail-parser must be guarded: mail from strangers can make it slow or overflow its stack. So one linear
//! pass counts boundary-like lines and nested multipart/message parts first; what exceeds [`Limits`] is not
//! handed over, and the message then has no parts: the reader's scan of the raw text is what is left.

use super::Headers;

/// What a message may cost before it is read as raw text only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets handed to the MIME parser.
    pub message_bytes: usize,
    /// Parts of all depths.
    pub parts: usize,
    /// Nesting of multiparts and attached messages.
    pub depth: usize,
    /// Octets of the header.
    pub header_bytes: usize,
    /// Fields of the header.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { message_bytes: 4 << 20, parts: 64, depth: 8, header_bytes: 256 << 10, headers: 1000 }
    }
}

/// A message, its header and its parts.
#[derive(Debug)]
pub struct Message<'a> {
    /// Everything as received.
    pub raw: &'a [u8],
    /// The top header.
    pub headers: Headers,
    /// `type/subtype` of the top, lower case; `text/plain` where nothing is said (RFC 2045 §5.2).
    pub content_type: String,
    /// `report-type` parameter of the top's `Content-Type`, lower case (RFC 6522 §3).
    pub report_type: Option<String>,
    /// The leaves and attached messages in reading order; of the returned message none. A message that is
    /// no multipart has one part.
    pub parts: Vec<Part>,
    /// Why the MIME structure was not read, where the guard refused it.
    pub refused: Option<&'static str>,
}

/// One part of a message.
#[derive(Debug)]
pub struct Part {
    /// `type/subtype`, lower case.
    pub content_type: String,
    /// The part's own header.
    pub headers: Headers,
    /// Transfer encoding undone; text parts brought to UTF-8. An attached message stands here whole.
    pub body: Vec<u8>,
    /// Whether it stands directly below the top multipart.
    pub direct: bool,
}

impl<'a> Message<'a> {
    /// Splits a message. Never fails: what cannot be split has no parts and says why in `refused`.
    pub fn read(raw: &'a [u8], limits: &Limits) -> Message<'a> {
        let _ = (raw, limits);
        todo!()
    }
}
