//! The recipient fields of a group: address type and address (RFC 3464 §2.3.1–2.3.2), in the encodings of
//! RFC 6533 §3 and RFC 3461 §4.

use crate::mail::Address;
use std::borrow::Cow;

/// What a group calls its recipient.
pub(super) struct Names {
    /// The mailbox, where either name is one; that of `Original-Recipient` first: it is what we sent to, the
    /// other what aliases and forwarding made of it.
    pub address: Option<Address>,
    pub original_recipient: Option<String>,
    pub final_recipient: Option<String>,
}

/// Reads both recipient fields.
pub(super) fn read(original: Option<&str>, last: Option<&str>) -> Names {
    let last = last.map(Name::read);
    let original = original.map(Name::read).map(|name| name.without_xtext(last.as_ref()));
    let address = original.as_ref().and_then(Name::mailbox).or_else(|| last.as_ref().and_then(Name::mailbox));
    let text = |name: Option<Name<'_>>| name.map(|name| name.text.into_owned()).filter(|text| !text.is_empty());
    Names { address, original_recipient: text(original), final_recipient: text(last) }
}

/// A typed address: `rfc822; joe@example.org`.
struct Name<'a> {
    is_mailbox: bool,
    text: Cow<'a, str>,
}

impl<'a> Name<'a> {
    fn read(value: &'a str) -> Name<'a> {
        // No type at all, against the RFC, is a mailbox. X.400 names and local users are none.
        let (kind, text) = value.split_once(';').unwrap_or(("", value));
        let is = |name: &str| kind.trim().eq_ignore_ascii_case(name);
        let text = text.trim();
        let text = if is("utf-8") { unescape(text) } else { Cow::Borrowed(text) };
        Name { is_mailbox: ["", "rfc822", "rfc/822", "utf-8", "unknown", "smtp"].iter().any(|name| is(name)), text }
    }

    /// Undoes the xtext of the client's `ORCPT` (RFC 3461 §4), which the reporting MTA should have undone. What
    /// looks like xtext may be a plus address written plainly, so it is taken for xtext only where an encoder
    /// had to write it so, and the final recipient is not called the same.
    fn without_xtext(mut self, last: Option<&Name<'_>>) -> Name<'a> {
        if self.is_mailbox
            && last.is_none_or(|last| !last.text.eq_ignore_ascii_case(&self.text))
            && let Some(plain) = decode_xtext(&self.text)
            && Address::parse(&plain).is_ok()
        {
            self.text = Cow::Owned(plain);
        }
        self
    }

    fn mailbox(&self) -> Option<Address> {
        if !self.is_mailbox {
            return None;
        }
        let text = &*self.text;
        // "joe@example.org (expanded from joe)", "Joe <joe@example.org>"
        let bracketed = || text.split_once('<')?.1.split_once('>').map(|(path, _)| path);
        Address::parse(text)
            .or_else(|_| Address::parse(bracketed().or_else(|| text.split_whitespace().next()).unwrap_or_default()))
            .ok()
    }
}

/// RFC 6533 §3 `EmbeddedUnicodeChar`: `\x{XXXX}`. What is none stays as it is.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains("\\x{") {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut pieces = text.split("\\x{");
    plain.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let escaped = piece.split_once('}').and_then(|(hex, rest)| {
            let sound = (2..=6).contains(&hex.len()) && hex.bytes().all(|octet| octet.is_ascii_hexdigit());
            let c = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            sound.then_some((c, rest))
        });
        match escaped {
            Some((c, rest)) => {
                plain.push(c);
                plain.push_str(rest);
            }
            None => {
                plain.push_str("\\x{");
                plain.push_str(piece);
            }
        }
    }
    Cow::Owned(plain)
}

/// RFC 3461 §4 `xtext`: `+` and two upper-case hexadecimal digits. `None` where the text is not xtext of what
/// has to be encoded: `+`, `=`, controls, blanks and non-ASCII.
fn decode_xtext(text: &str) -> Option<String> {
    if !text.contains('+') {
        return None;
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'+' {
            octets.push(octet);
            continue;
        }
        let digit = |octet: u8| match octet {
            b'0'..=b'9' => Some(octet - b'0'),
            b'A'..=b'F' => Some(octet - b'A' + 10),
            _ => None,
        };
        let plain = digit(rest.next()?)? << 4 | digit(rest.next()?)?;
        if plain.is_ascii_graphic() && !matches!(plain, b'+' | b'=') {
            return None;
        }
        octets.push(plain);
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(original: Option<&str>, last: Option<&str>) -> Option<String> {
        read(original, last).address.map(String::from)
    }

    #[test]
    fn the_original_recipient_is_preferred_where_it_names_a_mailbox() {
        let last = "rfc822; joe@inner.example";
        for (original, want) in [
            ("rfc822;Joe@Example.org", "joe@example.org"),
            ("RFC822; <joe@example.org>", "joe@example.org"),
            ("unknown; joe@example.org", "joe@example.org"),
            ("joe@example.org", "joe@example.org"),
            ("rfc822; joe@example.org (expanded from team)", "joe@example.org"),
            ("rfc822; Joe User <joe@example.org>", "joe@example.org"),
            ("rfc822; \"joe user\"@example.org", "\"joe user\"@example.org"),
            ("rfc822; joe", "joe@inner.example"),
            ("rfc822;", "joe@inner.example"),
            ("", "joe@inner.example"),
            ("x400; /S=Joe/O=Example/C=DE/@mta", "joe@inner.example"),
            ("X-Unix; |/usr/bin/procmail@x", "joe@inner.example"),
            ("local; joe@example.org", "joe@inner.example"),
        ] {
            assert_eq!(address(Some(original), Some(last)).as_deref(), Some(want), "{original}");
        }
        assert_eq!(address(None, Some(last)).as_deref(), Some("joe@inner.example"));
        assert_eq!(address(Some("rfc822;joe@example.org"), None).as_deref(), Some("joe@example.org"));
        assert_eq!(address(None, Some("x400; /S=Joe/")), None);
        assert_eq!(address(None, None), None);
    }

    #[test]
    fn names_are_kept_decoded_and_without_their_type() {
        let names = read(Some("utf-8; gr\\x{FC}\\x{DF}e@example.org"), Some("x400; /S=Joe/"));
        assert_eq!(names.original_recipient.as_deref(), Some("grüße@example.org"));
        assert_eq!(names.final_recipient.as_deref(), Some("/S=Joe/"));
        assert_eq!(read(Some("rfc822;"), None).original_recipient, None);
    }

    #[test]
    fn escapes_of_rfc_6533_are_undone() {
        for (text, want) in [
            ("\\x{1F600}@example.org", "😀@example.org"),
            ("a\\x{5C}b@example.org", "a\\b@example.org"),
            ("grüße@example.org", "grüße@example.org"),
            ("\\x{}@x", "\\x{}@x"),
            ("\\x{D800}@x", "\\x{D800}@x"),
            ("\\x{+41}@x", "\\x{+41}@x"),
            ("\\x{41", "\\x{41"),
        ] {
            assert_eq!(unescape(text), want, "{text}");
        }
    }

    #[test]
    fn xtext_is_undone_only_where_it_can_be_nothing_else() {
        for (original, last, want) in [
            ("joe+2Bnews@example.org", "joe+news@example.org", "joe+news@example.org"),
            ("bounce+3Djoe@example.org", "x@inner.example", "bounce=joe@example.org"),
            ("gr+C3+BC+C3+9Fe@example.org", "x@inner.example", "grüße@example.org"),
            ("joe+2Bnews@example.org", "Joe+2Bnews@example.org", "joe+2bnews@example.org"), // called so itself
            ("joe+41@example.org", "x@inner.example", "joe+41@example.org"),                // A needs no encoding
            ("joe+20@example.org", "x@inner.example", "joe+20@example.org"),                // no mailbox otherwise
            ("joe+2b@example.org", "x@inner.example", "joe+2b@example.org"),                // upper case only
            ("joe+news@example.org", "x@inner.example", "joe+news@example.org"),
            ("joe+@example.org", "x@inner.example", "joe+@example.org"),
            ("joe@example.org+", "x@inner.example", "x@inner.example"),
        ] {
            let (original, last) = (format!("rfc822;{original}"), format!("rfc822; {last}"));
            assert_eq!(address(Some(&original), Some(&last)).as_deref(), Some(want), "{original}");
        }
    }
}
