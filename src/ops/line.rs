//! Writes one log line as logfmt: `key=value key="a value with blanks"`.
//!
//! What comes from the network cannot break out of its value: control characters and the like are escaped, and
//! long values are cut. With `[log] addresses = "hashed"`, addresses are replaced by keyed hashes, wherever they
//! stand.

use crate::mail::Address;
use std::fmt::{Display, Formatter, Write};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

/// Longest value written, in characters; a path or a reply text is not longer, an attack may be.
const LONGEST: usize = 512;

/// What addresses are hashed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressKey([u8; 32]);

impl AddressKey {
    /// A key that nobody knows, for this run only.
    ///
    /// # Errors
    /// An I/O error when the system gives no random octets.
    pub fn random() -> std::io::Result<AddressKey> {
        let mut key = [0; 32];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(AddressKey(key))
    }

    /// The key that a file's content makes.
    ///
    /// # Errors
    /// An I/O error when it cannot be read, has fewer than 16 octets, or others can read it.
    pub fn read(file: &Path) -> std::io::Result<AddressKey> {
        let mut content = Vec::new();
        let file = std::fs::File::open(file)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        // A group of its own may read it: root's secret for the daemon's group is 0640.
        if mode & 0o027 != 0 {
            let problem = format!("has mode {mode:04o}: others can read it or change it; make it 0600 or 0640");
            return Err(std::io::Error::other(problem));
        }
        file.take(64 << 10).read_to_end(&mut content)?;
        if content.len() < 16 {
            return Err(std::io::Error::other("is too short for a key; it takes at least 16 octets"));
        }
        Ok(AddressKey(blake3::derive_key("Backstop 2026 addresses in log lines", &content)))
    }

    /// The hash of an address: `#` and 16 hexadecimal digits.
    fn hash(&self, address: &str) -> String {
        let hash = blake3::keyed_hash(&self.0, address.as_bytes());
        format!("#{}", &hash.to_hex()[..16])
    }
}

static KEY: OnceLock<Option<AddressKey>> = OnceLock::new();

/// Says once, at the start, how addresses are written: plain, or hashed with that key. Plain where nobody says.
pub fn set_addresses(hashed_with: Option<AddressKey>) {
    // A second call changes nothing: a line must not be plain because of a reload.
    let _ = KEY.set(hashed_with);
}

/// A line in the making.
pub struct Line {
    text: String,
    key: Option<&'static AddressKey>,
}

impl Line {
    /// A line that begins `event=name`.
    pub fn of(event: &str) -> Line {
        Line { text: String::with_capacity(160), key: KEY.get().and_then(Option::as_ref) }.word("event", event)
    }

    /// Adds a value that is never an address.
    pub fn word(mut self, key: &str, value: &str) -> Line {
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(key);
        self.text.push('=');
        push_value(&mut self.text, value);
        self
    }

    /// Adds a value, if there is one.
    pub fn maybe(self, key: &str, value: Option<&str>) -> Line {
        match value {
            Some(value) => self.word(key, value),
            None => self,
        }
    }

    /// Adds a number.
    pub fn number(mut self, key: &str, value: u64) -> Line {
        write!(self.text, " {key}={value}").expect("writing to a string does not fail");
        self
    }

    /// Adds words somebody wrote; addresses in them are hidden where addresses are hashed.
    pub fn text(self, key: &str, value: &str) -> Line {
        match self.key {
            None => self.word(key, value),
            Some(hasher) => {
                let hidden = hide_addresses(value, hasher);
                self.word(key, &hidden)
            }
        }
    }

    /// Adds a contact.
    pub fn address(self, key: &str, address: &Address) -> Line {
        match self.key {
            None => self.word(key, address.as_str()),
            Some(hasher) => {
                let hash = hasher.hash(address.as_str());
                self.word(key, &hash)
            }
        }
    }

    /// Adds a recipient as received, without its angle brackets. Its hash is that of the contact it names.
    pub fn forward_path(self, key: &str, argument: &[u8]) -> Line {
        match (self.key, Address::parse_bytes(argument)) {
            (Some(_), Ok(address)) => self.address(key, &address),
            (Some(hasher), Err(_)) => {
                let hash = hasher.hash(&String::from_utf8_lossy(argument));
                self.word(key, &hash)
            }
            (None, _) => {
                let bare = argument.strip_prefix(b"<").and_then(|rest| rest.strip_suffix(b">")).unwrap_or(argument);
                self.word(key, &String::from_utf8_lossy(bare))
            }
        }
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Writes a value, in quotes if a reader could mistake it otherwise.
fn push_value(text: &mut String, value: &str) {
    let plain = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b'=');
    if !value.is_empty() && value.len() <= LONGEST && value.bytes().all(plain) {
        return text.push_str(value);
    }
    text.push('"');
    for letter in value.chars().take(LONGEST) {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // Line and paragraph separators, and what turns the direction of writing: terminals obey them.
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => text.extend(letter.escape_unicode()),
            letter if letter.is_control() => text.extend(letter.escape_unicode()),
            letter => text.push(letter),
        }
    }
    if value.chars().nth(LONGEST).is_some() {
        text.push_str("...");
    }
    text.push('"');
}

/// Reads a line back into the values it was made of, for the journal: each key with its value, unescaped. Stops at
/// what no [`Line`] writes.
pub fn fields(line: &str, mut told: impl FnMut(&str, String)) {
    let mut left = line;
    while let Some((key, rest)) = left.split_once('=') {
        let (value, rest) = match rest.strip_prefix('"') {
            None => {
                let (value, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
                (value.to_owned(), rest)
            }
            Some(quoted) => match unquote(quoted) {
                Some(read) => read,
                None => return,
            },
        };
        told(key.trim_start(), value);
        left = rest;
    }
}

/// Reads up to the closing quote. Gives the value and what follows.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::with_capacity(quoted.len());
    let mut letters = quoted.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &quoted[place + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'u' => {
                    let digits: String =
                        letters.by_ref().map(|(_, digit)| digit).take_while(|digit| *digit != '}').collect();
                    value.push(char::from_u32(u32::from_str_radix(digits.strip_prefix('{')?, 16).ok()?)?);
                }
                itself => value.push(itself),
            },
            letter => value.push(letter),
        }
    }
    None
}

/// Replaces whatever looks like an address by its hash.
fn hide_addresses(value: &str, key: &AddressKey) -> String {
    let between = |letter: char| letter.is_whitespace() || letter.is_control() || "\"'<>(),;:=[]".contains(letter);
    value
        .split_inclusive(between)
        .map(|piece| {
            let end = piece.trim_end_matches(between).trim_end_matches('.');
            match Address::parse(end) {
                Ok(address) => format!("{}{}", key.hash(address.as_str()), &piece[end.len()..]),
                Err(_) if end.contains('@') => format!("{}{}", key.hash(end), &piece[end.len()..]),
                Err(_) => piece.to_owned(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(key: Option<&'static AddressKey>) -> Line {
        Line { text: String::new(), key }
    }

    #[test]
    fn a_value_stands_bare_only_where_nobody_can_mistake_it() {
        for (value, want) in [
            ("user-unknown", "user-unknown"),
            ("joe+x@example.org", "joe+x@example.org"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("say \"x\" \\", "\"say \\\"x\\\" \\\\\""),
            ("jürgen@example.org", "\"jürgen@example.org\""),
        ] {
            assert_eq!(line(None).word("k", value).text, format!("k={want}"), "{value}");
        }
    }

    #[test]
    fn nothing_a_stranger_writes_breaks_the_line() {
        let evil = "x\nevent=forged\r\t\0\u{1b}[2J\u{85}\u{9b}\u{2028}\u{202e}";
        let text = line(None).word("k", evil).text;
        assert_eq!(text, "k=\"x\\nevent=forged\\r\\t\\u{0}\\u{1b}[2J\\u{85}\\u{9b}\\u{2028}\\u{202e}\"");
        let path = line(None).forward_path("k", b"<a\xff\n@example.org>").text;
        assert_eq!(path, "k=\"a\u{fffd}\\n@example.org\"");
    }

    #[test]
    fn a_line_reads_back_into_what_it_was_made_of() {
        let evil = "x\nevent=forged\r\t\0\u{1b}[2J\u{2028} \\\" y=z";
        let text = line(None).word("event", "skip").word("k", evil).number("n", 7).word("empty", "").text;
        let mut read = Vec::new();
        fields(&text, |key, value| read.push((key.to_owned(), value)));
        let want = [("event", "skip"), ("k", evil), ("n", "7"), ("empty", "")];
        assert_eq!(read, want.map(|(key, value)| (key.to_owned(), value.to_owned())));
        for broken in ["", "words", "a=\"", "a=\"\\", "a=\"\\u{110000}\"", "a=\"\\u12\""] {
            fields(broken, |key, value| panic!("{broken}: {key}={value}"));
        }
    }

    #[test]
    fn a_long_value_is_cut() {
        let text = line(None).word("k", &"é".repeat(10_000)).text;
        assert_eq!(text, format!("k=\"{}...\"", "é".repeat(LONGEST)));
        assert_eq!(line(None).word("k", &"x".repeat(LONGEST)).text.len(), LONGEST + 2);
    }

    #[test]
    fn hashed_addresses_are_the_same_for_the_same_contact_and_told_nowhere() {
        static KEY: AddressKey = AddressKey([7; 32]);
        let contact = Address::parse("Joe@Example.ORG").expect("an address");
        let hash = line(Some(&KEY)).address("a", &contact).text;
        assert!(hash.starts_with("a=#") && hash.len() == 19, "{hash}");
        assert_eq!(line(Some(&KEY)).forward_path("a", b"<JOE@example.org>").text, hash);
        let bad = line(Some(&KEY)).forward_path("a", b"<joe>").text;
        assert!(bad.starts_with("a=#") && !bad.contains("joe"), "{bad}");
        let text = line(Some(&KEY)).text("t", "record <joe@example.org> is damaged, ask joe@example.org.").text;
        assert!(!text.contains("example.org"), "{text}");
        let hash = &hash[2..];
        assert_eq!(text, format!("t=\"record <{hash}> is damaged, ask {hash}.\""));
        let other = AddressKey::random().expect("random octets");
        assert_ne!(other.hash(contact.as_str()), hash, "another key, another hash");
    }

    #[test]
    fn a_key_file_must_hold_enough() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), "short").expect("writable");
        let error = AddressKey::read(file.path()).expect_err("5 octets are too few");
        assert!(error.to_string().contains("at least 16"), "{error}");
        std::fs::write(file.path(), "long enough to be a key\n").expect("writable");
        let key = AddressKey::read(file.path()).expect("23 octets do");
        assert_eq!(Ok(key), AddressKey::read(file.path()).map_err(|error| error.to_string()));
        for (mode, may_be_used) in [(0o600, true), (0o640, true), (0o644, false), (0o660, false), (0o604, false)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("ours");
            assert_eq!(AddressKey::read(file.path()).is_ok(), may_be_used, "{mode:o}");
        }
    }
}
