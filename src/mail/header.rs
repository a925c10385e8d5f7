//! Header fields (RFC 5322 §2.2): an ordered list, looked up without case, values unfolded on request.
//!
//! All octets stand in one buffer, so that the milter's field after field costs no allocation of its own.

use super::date;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Range;

/// What [`Headers::read`] keeps of a block. Postfix's own `header_size_limit` is 100 KiB for one field.
const BLOCK_BYTES: usize = 256 << 10;
const BLOCK_FIELDS: usize = 1000;
/// RFC 5322 §2.1.1, RFC 2919 §3.
const MESSAGE_ID_BYTES: usize = 998;
const LIST_ID_BYTES: usize = 255;

/// The header of a message, in the order it came. Names keep their case, values their octets.
#[derive(Clone, Default)]
pub struct Headers {
    octets: Vec<u8>,
    fields: Vec<Field>,
}

/// Where in the buffer a field stands.
#[derive(Clone)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

impl Headers {
    /// An empty header.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Adds a field at the end. `value` is everything behind the colon, folding included.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.octets.len();
        self.octets.extend_from_slice(name);
        self.octets.extend_from_slice(value);
        let middle = start + name.len();
        self.fields.push(Field { name: start..middle, value: middle..self.octets.len() });
    }

    /// The first field of that name: unfolded, decoded as UTF-8 (invalid octets replaced), trimmed. A fold
    /// becomes one blank.
    pub fn get(&self, name: &str) -> Option<String> {
        self.get_raw(name).map(|value| unfold(value).into_owned())
    }

    /// The first field of that name as it came.
    pub fn get_raw(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(this, _)| this.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Every field of that name, as [`Headers::get`] gives it, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = String> + 'a {
        self.iter()
            .filter(move |(this, _)| this.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| unfold(value).into_owned())
    }

    /// Every field as it came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (&self.octets[field.name.clone()], &self.octets[field.value.clone()]))
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
        MessageId::read(&unfold(self.get_raw("Message-ID")?))
    }

    /// The first `List-ID` (RFC 2919 §3): what the last angle brackets hold; where there are none, the value
    /// if it is one word.
    pub fn list_id(&self) -> Option<ListId> {
        let value = unfold(self.get_raw("List-ID")?);
        let id = match value.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')) {
            Some((id, _)) => id.trim(),
            None => &value,
        };
        let sound = (1..=LIST_ID_BYTES).contains(&id.len()) && !id.contains(char::is_whitespace);
        sound.then(|| ListId(id.to_lowercase()))
    }

    /// The first `Date` (RFC 5322 §3.6.1).
    pub fn date(&self) -> Option<Timestamp> {
        date::read(&unfold(self.get_raw("Date")?))
    }

    /// Reads a header block, up to the first empty line or the end; LF and CRLF alike. Lines that are no
    /// fields are passed over. At most 256 KiB and 1000 fields are read.
    pub fn read(block: &[u8]) -> Headers {
        let block = &block[..block.len().min(BLOCK_BYTES)];
        Scan::of(block, BLOCK_FIELDS, NoField::PassOver).headers
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Headers) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        f.debug_map().entries(self.iter().map(text)).finish()
    }
}

/// What a line does that is neither a field nor the continuation of one.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum NoField {
    /// Nothing: the header goes on behind it.
    PassOver,
    /// It is the first line of the body, as is a line that may be a boundary.
    EndsHeader,
}

/// A header read off the front of a text.
pub(super) struct Scan {
    /// The fields.
    pub headers: Headers,
    /// Where the body begins.
    pub body: usize,
    /// Whether there were more fields than allowed; the rest was not read, and `body` is where it begins.
    pub too_many: bool,
}

impl Scan {
    /// Reads a header off the front of `text`, at most `limit` fields.
    pub fn of(text: &[u8], limit: usize, no_field: NoField) -> Scan {
        let mut fields: Vec<Field> = Vec::new();
        let (mut offset, mut in_field, mut too_many) = (0, false, false);
        while offset < text.len() {
            let next = line_end(text, offset);
            let line = without_line_end(&text[offset..next]);
            if line.is_empty() {
                break;
            }
            if matches!(line[0], b' ' | b'\t') {
                if let (true, Some(field)) = (in_field, fields.last_mut()) {
                    field.value.end = offset + line.len();
                }
            } else if let Some(name) = field_name(line).filter(|_| no_field == NoField::PassOver || !is_dashes(line)) {
                if fields.len() == limit {
                    too_many = true;
                    break;
                }
                in_field = true;
                let colon = offset + name.colon;
                fields.push(Field { name: offset..offset + name.len, value: colon + 1..offset + line.len() });
            } else if no_field == NoField::EndsHeader {
                let octets = text[..offset].to_vec();
                return Scan { headers: Headers { octets, fields }, body: offset, too_many };
            } else {
                in_field = false;
            }
            offset = next;
        }
        let octets = text[..offset].to_vec();
        let body = if too_many { offset } else { line_end(text, offset) };
        Scan { headers: Headers { octets, fields }, body, too_many }
    }
}

struct FieldName {
    len: usize,
    colon: usize,
}

/// The name at the front of a line: printable octets without blanks, then perhaps blanks, then a colon
/// (RFC 5322 §2.2, §4.5).
fn field_name(line: &[u8]) -> Option<FieldName> {
    let colon = line.iter().position(|&octet| octet == b':')?;
    let len = line[..colon].trim_ascii_end().len();
    (len > 0 && line[..len].iter().all(u8::is_ascii_graphic)).then_some(FieldName { len, colon })
}

pub(super) fn is_dashes(line: &[u8]) -> bool {
    line.starts_with(b"--")
}

/// Where the line ends that begins at `offset`: behind its LF.
pub(super) fn line_end(text: &[u8], offset: usize) -> usize {
    text[offset..].iter().position(|&octet| octet == b'\n').map_or(text.len(), |place| offset + place + 1)
}

/// A line without its LF or CRLF.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Brings a field's value to one line (RFC 5322 §2.2.3): each line end with the blanks around it becomes one
/// blank, octets that are no UTF-8 are replaced, blanks at the ends go.
pub fn unfold(value: &[u8]) -> Cow<'_, str> {
    let value = value.trim_ascii();
    if !value.iter().any(|octet| matches!(octet, b'\r' | b'\n')) {
        return String::from_utf8_lossy(value);
    }
    let mut line = Vec::with_capacity(value.len());
    for piece in value.split(|octet| matches!(octet, b'\r' | b'\n')).map(<[u8]>::trim_ascii) {
        if !line.is_empty() && !piece.is_empty() {
            line.push(b' ');
        }
        line.extend_from_slice(piece);
    }
    Cow::Owned(String::from_utf8(line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// A `Message-ID` without its angle brackets, as written otherwise (RFC 5322 §3.6.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct MessageId(pub String);

impl MessageId {
    /// The first identifier in the value of `Message-ID`, `In-Reply-To` and the like.
    pub fn read(value: &str) -> Option<MessageId> {
        let id = match value.split_once('<').and_then(|(_, rest)| rest.split_once('>')) {
            Some((id, _)) => id.trim(),
            None => value.split_whitespace().next()?,
        };
        (1..=MESSAGE_ID_BYTES).contains(&id.len()).then(|| MessageId(id.to_owned()))
    }
}

/// A `List-ID` (RFC 2919): the identifier between the last angle brackets, lower-cased.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ListId(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "From joe Sat Nov 21 23:50:08 2026\n\
        Subject: one\n\
        subject : two\n\t and  three \n\
        X-Empty:\n\
        no field at all\n continued\n\
        Message-ID:\n <a@example.org>\n\
        \n\
        Body: not a field\n";

    #[test]
    fn a_block_is_read_up_to_the_empty_line_with_lf_and_crlf() {
        let (lf, crlf) = (Headers::read(BLOCK.as_bytes()), Headers::read(BLOCK.replace('\n', "\r\n").as_bytes()));
        for headers in [lf, crlf] {
            assert_eq!(headers.len(), 4, "{headers:?}");
            assert_eq!(headers.get("SUBJECT").as_deref(), Some("one"));
            assert_eq!(headers.all("Subject").collect::<Vec<_>>(), ["one", "two and  three"]);
            assert_eq!(headers.get("x-empty").as_deref(), Some(""));
            assert_eq!(headers.get("Body"), None);
            assert_eq!(headers.message_id(), Some(MessageId("a@example.org".into())));
            assert_eq!(headers.iter().map(|(name, _)| name).nth(1), Some(&b"subject"[..]));
        }
    }

    #[test]
    fn pushed_and_read_headers_are_equal_where_their_fields_are() {
        let mut pushed = Headers::new();
        assert!(pushed.is_empty());
        pushed.push(b"A", b" 1");
        pushed.push(b"B", b" 2\n\t3");
        assert_eq!(pushed, Headers::read(b"A: 1\nB : 2\n\t3\n\n"));
        assert_ne!(pushed, Headers::read(b"A: 1\n\n"));
        assert_eq!(pushed.get_raw("b"), Some(&b" 2\n\t3"[..]));
        assert_eq!(pushed.get("b").as_deref(), Some("2 3"));
    }

    #[test]
    fn any_octets_survive_as_text() {
        let mut headers = Headers::new();
        headers.push(b"\xff\x00", b"\xc3(\r\n\xff\x00");
        assert_eq!(headers.iter().next(), Some((&b"\xff\x00"[..], &b"\xc3(\r\n\xff\x00"[..])));
        headers.push(b"X", b" \xc3(\r\n \xff\r\r");
        assert_eq!(headers.get("x").as_deref(), Some("\u{fffd}( \u{fffd}"));
    }

    #[test]
    fn a_message_id_loses_its_brackets_and_nothing_else() {
        for (value, want) in [
            ("<Camp-77.X@Example.org>", Some("Camp-77.X@Example.org")),
            ("<a@b> (added by mx.example)", Some("a@b")),
            ("a@b", Some("a@b")),
            ("a@b (comment)", Some("a@b")),
            ("<>", None),
            ("", None),
        ] {
            let mut headers = Headers::new();
            headers.push(b"Message-Id", value.as_bytes());
            assert_eq!(headers.message_id(), want.map(|id| MessageId(id.into())), "{value}");
        }
    }

    #[test]
    fn a_list_id_is_what_the_last_brackets_hold() {
        let long = format!("<{}>", "x".repeat(300));
        for (value, want) in [
            ("News <News.Example.org>", Some("news.example.org")),
            ("\"a <b>\" <news.example.org>", Some("news.example.org")),
            ("news.example.org", Some("news.example.org")),
            ("Our news", None),
            ("News <>", None),
            (&long, None),
        ] {
            let mut headers = Headers::new();
            headers.push(b"List-Id", value.as_bytes());
            assert_eq!(headers.list_id(), want.map(|id| ListId(id.into())), "{value}");
        }
    }

    #[test]
    fn a_block_beyond_its_limits_is_read_up_to_them() {
        assert_eq!(Headers::read(&b"a:\n".repeat(100_000)).len(), BLOCK_FIELDS);
        let long = Headers::read(format!("a: {}\nb: 1\n", "x".repeat(10 << 20)).as_bytes());
        assert_eq!((long.len(), long.get_raw("a").map(<[u8]>::len)), (1, Some(BLOCK_BYTES - 2)));
    }

    #[test]
    fn the_header_of_a_part_ends_at_a_line_that_is_no_field() {
        for (text, body) in [
            ("A: 1\n\nbody", "body"),
            ("A: 1\nbody\n", "body\n"),
            ("A: 1\n--b: x\n", "--b: x\n"),
            ("\nA: 1\n", "A: 1\n"),
            ("A: 1", ""),
        ] {
            let scan = Scan::of(text.as_bytes(), 10, NoField::EndsHeader);
            assert_eq!(&text[scan.body..], body, "{text:?}");
            assert_eq!(scan.headers.len(), usize::from(!text.starts_with('\n')), "{text:?}");
        }
    }
}
