//! A message split into its parts (RFC 2045, 2046). The only place that names `mail-parser`.
//!
//! mail-parser reads what a part says of itself and undoes encodings and charsets. It is not handed the
//! structure: mail from strangers can make it quadratic or, by attached messages nested within a base64 part
//! where no look ahead finds them, overflow its stack. So the structure is split here, in one pass over the
//! lines, with a stack of boundaries no deeper than [`Limits::depth`], and an attached message is never opened.
//! What exceeds the limits has no parts; the reader's scan of the raw text is what is left.

use super::Headers;
use super::header::{NoField, Scan, is_dashes, line_end, unfold, without_line_end};
use mail_parser::HeaderValue;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Octets of a `Content-Type` that are read: mail-parser is quadratic in the number of parameters.
const CONTENT_TYPE_BYTES: usize = 2000;

/// What a message may cost before it is read as raw text only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets split into parts. Of a longer message the rest is not looked at: what a report has to say stands
    /// at its front, ahead of the message it returns.
    pub message_bytes: usize,
    /// Parts of all depths, multiparts included.
    pub parts: usize,
    /// Nesting of multiparts.
    pub depth: usize,
    /// Octets of the header.
    pub header_bytes: usize,
    /// Fields of the header, and of a part's.
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
    /// What stands behind the top header, within [`Limits::message_bytes`].
    pub body: &'a [u8],
    /// `type/subtype` of the top, lower case; `text/plain` where nothing is said (RFC 2045 §5.2).
    pub content_type: String,
    /// `report-type` parameter of the top's `Content-Type`, lower case (RFC 6522 §3).
    pub report_type: Option<String>,
    /// The leaves and attached messages in reading order; of the returned message none. A message that is
    /// no multipart has one part.
    pub parts: Vec<Part<'a>>,
    /// Why the MIME structure was not read, where the guard refused it.
    pub refused: Option<&'static str>,
}

/// One part of a message.
#[derive(Debug)]
pub struct Part<'a> {
    /// `type/subtype`, lower case.
    pub content_type: String,
    /// The part's own header; empty for the only part of a message that is no multipart, whose header is the
    /// message's.
    pub headers: Headers,
    /// Transfer encoding undone; text parts brought to UTF-8. An attached message stands here whole.
    pub body: Cow<'a, [u8]>,
    /// Whether it stands directly below the top multipart, or is all there is.
    pub direct: bool,
}

impl<'a> Message<'a> {
    /// Splits a message. Never fails: what cannot be split has no parts and says why in `refused`.
    pub fn read(raw: &'a [u8], limits: &Limits) -> Message<'a> {
        let text = &raw[..raw.len().min(limits.message_bytes)];
        // In a file, an empty line may stand ahead of the header.
        let start = text.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        let text = &text[start..];
        let scan = Scan::of(&text[..text.len().min(limits.header_bytes)], limits.headers, NoField::PassOver);
        let header_is_whole = !scan.too_many && (scan.body < limits.header_bytes || text.len() <= limits.header_bytes);
        let mut message = Message {
            raw,
            headers: scan.headers,
            body: &text[scan.body..],
            content_type: String::new(),
            report_type: None,
            parts: Vec::new(),
            refused: None,
        };
        // The limits leave mail-parser no known way to panic; an unknown one must not end the daemon.
        let split = catch_unwind(AssertUnwindSafe(|| {
            let top = ContentType::of(&message.headers);
            let parts = if header_is_whole { split(&message.headers, &top, message.body, limits) } else { Ok(vec![]) };
            (top, parts)
        }));
        let (top, parts) = split.unwrap_or_else(|_| (ContentType::default(), Err("the MIME decoder failed")));
        (message.content_type, message.report_type) = (top.name, top.report_type);
        match parts {
            Ok(parts) if header_is_whole => message.parts = parts,
            Ok(_) => message.refused = Some("the header is too long"),
            Err(reason) => message.refused = Some(reason),
        }
        message
    }
}

/// What a `Content-Type` field says, as far as we ask.
struct ContentType {
    name: String,
    boundary: Option<Vec<u8>>,
    charset: Option<String>,
    report_type: Option<String>,
}

impl Default for ContentType {
    /// RFC 2045 §5.2.
    fn default() -> ContentType {
        ContentType { name: "text/plain".to_owned(), boundary: None, charset: None, report_type: None }
    }
}

impl ContentType {
    fn of(headers: &Headers) -> ContentType {
        let Some(value) = headers.get_raw("Content-Type") else { return ContentType::default() };
        let mut line = unfold(&value[..value.len().min(CONTENT_TYPE_BYTES)]).into_owned();
        line.push('\n');
        let value = MessageStream::new(line.as_bytes()).parse_content_type();
        let Some(read) = value.as_content_type() else { return ContentType::default() };
        // A type without subtype ("text") is of no known kind; it is read as text, like none at all.
        let Some(subtype) = read.subtype() else { return ContentType::default() };
        let boundary = read.attribute("boundary").map(|boundary| boundary.trim_end().as_bytes().to_vec());
        let lower = |name| read.attribute(name).map(|value| value.trim().to_ascii_lowercase());
        ContentType {
            name: format!("{}/{subtype}", read.ctype()),
            boundary: boundary.filter(|boundary| !boundary.is_empty() && read.ctype() == "multipart"),
            charset: lower("charset"),
            report_type: lower("report-type"),
        }
    }
}

/// A part whose end is not found yet.
struct Open {
    headers: Headers,
    content_type: ContentType,
    start: usize,
    direct: bool,
    /// It is a multipart: what it holds so far is the preamble of a boundary that is still to come.
    preamble: bool,
}

impl Open {
    fn close<'a>(self, body: &'a [u8], end: usize) -> Part<'a> {
        let raw = body.get(self.start..end).unwrap_or_default();
        let body = decode(raw, &self.headers, &self.content_type);
        Part { content_type: self.content_type.name, headers: self.headers, body, direct: self.direct }
    }
}

/// Splits a body in one pass over its lines (RFC 2046 §5.1).
fn split<'a>(
    headers: &Headers,
    top: &ContentType,
    body: &'a [u8],
    limits: &Limits,
) -> Result<Vec<Part<'a>>, &'static str> {
    let Some(boundary) = &top.boundary else {
        if top.name.starts_with("multipart/") {
            return Err("the multipart names no boundary");
        }
        let (content_type, body) = (top.name.clone(), decode(body, headers, top));
        return Ok(vec![Part { content_type, headers: Headers::new(), body, direct: true }]);
    };
    let (mut parts, mut seen) = (Vec::new(), 1);
    let mut boundaries = vec![boundary.clone()];
    let mut open: Option<Open> = None;
    let mut offset = 0;
    while offset < body.len() && !boundaries.is_empty() {
        let (start, line) = (offset, &body[offset..line_end(body, offset)]);
        offset += line.len();
        let Some((level, is_last)) = is_dashes(line).then(|| delimiter(line, &boundaries)).flatten() else { continue };
        if let Some(part) = open.take().filter(|part| !part.preamble || level + 1 < boundaries.len()) {
            parts.push(part.close(body, before_line_end(body, start)));
        }
        boundaries.truncate(if is_last { level } else { level + 1 });
        if is_last {
            continue;
        }
        seen += 1;
        if seen > limits.parts {
            return Err("too many parts");
        }
        let direct = boundaries.len() == 1;
        let header = Scan::of(&body[offset..], limits.headers, NoField::EndsHeader);
        if header.too_many {
            return Err("the header of a part is too long");
        }
        offset += header.body;
        let content_type = ContentType::of(&header.headers);
        let preamble = content_type.boundary.is_some();
        if let Some(boundary) = &content_type.boundary {
            if boundaries.len() == limits.depth {
                return Err("multiparts nested too deep");
            }
            boundaries.push(boundary.clone());
        }
        open = Some(Open { headers: header.headers, content_type, start: offset, direct, preamble });
    }
    if let Some(part) = open {
        parts.push(part.close(body, body.len()));
    }
    if parts.is_empty() { Err("no part stands between the boundaries") } else { Ok(parts) }
}

/// Which boundary a line is, the innermost first, and whether the last of its multipart.
fn delimiter(line: &[u8], boundaries: &[Vec<u8>]) -> Option<(usize, bool)> {
    let line = &line.trim_ascii_end()[2..];
    boundaries.iter().enumerate().rev().find_map(|(level, boundary)| match line.strip_prefix(&boundary[..])? {
        b"" => Some((level, false)),
        b"--" => Some((level, true)),
        _ => None,
    })
}

/// The line end ahead of a boundary belongs to the boundary (RFC 2046 §5.1.1).
fn before_line_end(body: &[u8], start: usize) -> usize {
    without_line_end(&body[..start]).len()
}

/// Undoes the transfer encoding (RFC 2045 §6), and of a text the charset. What cannot be undone stays as it is.
fn decode<'a>(raw: &'a [u8], headers: &Headers, content_type: &ContentType) -> Cow<'a, [u8]> {
    let encoding = headers.get_raw("Content-Transfer-Encoding").unwrap_or_default().trim_ascii();
    let body = if encoding.eq_ignore_ascii_case(b"base64") {
        base64_decode(raw).map_or(Cow::Borrowed(raw), Cow::Owned)
    } else if encoding.eq_ignore_ascii_case(b"quoted-printable") {
        quoted_printable_decode(raw).map_or(Cow::Borrowed(raw), Cow::Owned)
    } else {
        Cow::Borrowed(raw)
    };
    let is_text = content_type.name.starts_with("text/") && content_type.name != "text/rfc822-headers";
    match content_type.charset.as_deref() {
        None | Some("us-ascii" | "utf-8" | "utf8") => body,
        Some(charset) if is_text => match charset_decoder(charset.as_bytes()) {
            Some(to_utf8) => Cow::Owned(to_utf8(&body).into_bytes()),
            None => body,
        },
        Some(_) => body,
    }
}

/// Undoes the encoded words in a header field's value (RFC 2047).
pub fn decode_words(value: &str) -> String {
    let line = format!("{}\n", &value[..value.floor_char_boundary(CONTENT_TYPE_BYTES)]);
    match MessageStream::new(line.as_bytes()).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
