//! Finds the enhanced status code and the SMTP reply code in a `Status` field and in reply texts
//! (RFC 3463 §2, RFC 5321 §4.2).

use super::BounceCode;

/// Reads a `Status` field (RFC 3464 §2.3.4); a comment may stand before or behind the code. Classes are 2, 4
/// and 5.
pub fn read_status(field: &str) -> Option<BounceCode> {
    let mut field = field.trim_start();
    if let Some(comment) = field.strip_prefix('(') {
        field = comment.split_once(')')?.1.trim_start();
    }
    code_at(field.as_bytes(), 0).map(|(code, _)| code)
}

/// The codes a reply text holds, best first choice in `best`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CodesInText {
    /// Directly behind an SMTP reply code: `550 5.1.1`, `550-5.1.1`, `550 #5.1.1`.
    pub behind_reply: Option<BounceCode>,
    /// Anywhere: `(#5.5.0)`, `[5.1.1]`, `host said: 5.7.1 ...`.
    pub anywhere: Option<BounceCode>,
}

impl CodesInText {
    /// The code to go by. What stands behind a reply code is the server's own word.
    pub fn best(self) -> Option<BounceCode> {
        match (self.behind_reply, self.anywhere) {
            (Some(behind), _) if telling(behind) => Some(behind),
            (behind, Some(anywhere)) if telling(anywhere) || behind.is_none() => Some(anywhere),
            (behind, _) => behind,
        }
    }
}

/// Whether a code says more than its class. X.4.7 does not: it tells of the queue, not of what stood in the way.
pub fn telling(code: BounceCode) -> bool {
    !matches!((code.subject, code.detail), (0, 0) | (4, 7))
}

/// Finds the enhanced status codes (classes 4 and 5) in a reply text. Of several in one place the first that
/// is [`telling`] counts. IP addresses and version numbers are passed over.
pub fn codes_in(text: &str) -> CodesInText {
    let octets = text.as_bytes();
    let mut found = CodesInText::default();
    let keep = |slot: &mut Option<BounceCode>, code: BounceCode| {
        if slot.is_none_or(|known| !telling(known) && telling(code)) {
            *slot = Some(code);
        }
    };
    let mut place = 0;
    while let Some(step) = octets[place..].iter().position(|octet| matches!(octet, b'4' | b'5')) {
        place += step;
        let before = &octets[..place];
        match code_at(octets, place) {
            Some((code, end)) if may_precede(before) => {
                if ends_with_reply_code(before) {
                    keep(&mut found.behind_reply, code);
                } else {
                    keep(&mut found.anywhere, code);
                }
                place = end;
            }
            _ => place += 1,
        }
    }
    found
}

/// The SMTP reply code of a text: at its start, behind `said: ` as Postfix and Exim quote it, or else before an
/// enhanced status code.
pub fn reply_in(text: &str) -> Option<u16> {
    let octets = text.as_bytes();
    let start = octets.iter().position(|octet| !octet.is_ascii_whitespace())?;
    if let Some(reply) = reply_at(octets, start) {
        return Some(reply);
    }
    if let Some(said) = text.find("said: ")
        && let Some(reply) = reply_at(octets, said + "said: ".len())
    {
        return Some(reply);
    }
    (1..octets.len()).find_map(|place| {
        let reply = reply_at(octets, place)?;
        let behind = octets.get(place + 3..)?;
        let skipped = behind.iter().position(|octet| !b" -'#".contains(octet))?;
        let code = code_at(octets, place + 3 + skipped)?.0;
        (!octets[place - 1].is_ascii_alphanumeric() && u16::from(code.class) == reply / 100).then_some(reply)
    })
}

/// Whether a text begins in an SMTP reply code.
pub(super) fn starts_with_reply(text: &str) -> bool {
    reply_at(text.as_bytes(), 0).is_some()
}

/// A code of class 2, 4 or 5 at `place`, and where it ends. Single-digit subjects only: nobody has registered
/// others, and dates and versions have them.
fn code_at(octets: &[u8], place: usize) -> Option<(BounceCode, usize)> {
    let class = match octets.get(place)? {
        digit @ (b'2' | b'4' | b'5') => digit - b'0',
        _ => return None,
    };
    let subject = match octets.get(place + 1..place + 4)? {
        [b'.', digit, b'.'] if digit.is_ascii_digit() => u16::from(digit - b'0'),
        _ => return None,
    };
    let digits = octets[place + 4..].iter().take_while(|octet| octet.is_ascii_digit()).count();
    if !(1..=3).contains(&digits) {
        return None;
    }
    let end = place + 4 + digits;
    let detail = octets[place + 4..end].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match octets.get(end..).unwrap_or_default() {
        [b'.', next, ..] if next.is_ascii_alphanumeric() => None,
        [next, ..] if next.is_ascii_alphanumeric() || *next == b'_' => None,
        _ => Some((BounceCode { class, subject, detail }, end)),
    }
}

/// Whether a code may begin behind these octets: not inside a word, a number or an address, nor behind a
/// program's name or the word "version".
fn may_precede(before: &[u8]) -> bool {
    match before.last() {
        None => true,
        Some(b'-') => ends_with_reply_code(before),
        Some(octet) if octet.is_ascii_alphanumeric() || b"._/@+".contains(octet) => false,
        Some(_) => {
            let word = before.trim_ascii_end().rsplit(|octet| b" (;,".contains(octet)).next().unwrap_or_default();
            !["version", "ver", "release", "exim", "build"]
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        }
    }
}

/// Whether the octets end in an SMTP reply code, but for a separator: `550 `, `550-`, `550 #`, `550-'`.
fn ends_with_reply_code(before: &[u8]) -> bool {
    let separators = before.iter().rev().take_while(|octet| b" -#'(".contains(octet)).count();
    let end = before.len() - separators;
    (1..=3).contains(&separators)
        && end >= 3
        && reply_at(before, end - 3).is_some()
        && (end == 3 || !(before[end - 4].is_ascii_alphanumeric() || before[end - 4] == b'.'))
}

/// A reply code of class 4 or 5 at `place`, standing alone. RFC 5321 knows middle digits to 5; 571 and 577 are in use.
fn reply_at(octets: &[u8], place: usize) -> Option<u16> {
    match octets.get(place..place + 3)? {
        &[class @ (b'4' | b'5'), middle @ b'0'..=b'7', last @ b'0'..=b'9'] => {
            let follows = octets.get(place + 3);
            let number = |digit: u8| u16::from(digit - b'0');
            follows
                .is_none_or(|next| b" -;:,'#\"<(\t".contains(next))
                .then(|| number(class) * 100 + number(middle) * 10 + number(last))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_field_gives_its_code_with_or_without_comment() {
        for (field, want) in [
            ("5.1.1", Some((5, 1, 1))),
            (" 4.4.7 ", Some((4, 4, 7))),
            ("2.0.0", Some((2, 0, 0))),
            ("5.1.1 (unknown user)", Some((5, 1, 1))), // a comment may follow the code
            ("5.0.0(permanent failure)", Some((5, 0, 0))),
            ("(bad mailbox) 5.1.1", Some((5, 1, 1))),
            ("5.7.509", Some((5, 7, 509))),
            ("3.1.1", None), // classes are 2, 4 and 5: RFC 3463 §2
            ("5.1", None),
            ("5.1.", None),
            ("5..1", None),
            ("550", None),
            ("5.1.1234", None),
            ("5.1.1.1", None),
            ("(5.1.1", None),
            ("", None),
            ("unknown", None),
        ] {
            let want = want.map(|(class, subject, detail)| BounceCode { class, subject, detail });
            assert_eq!(read_status(field), want, "Status: {field}");
        }
    }

    #[test]
    fn a_code_is_found_in_a_reply_and_addresses_and_versions_are_not_taken_for_one() {
        for (text, want) in [
            ("550 5.1.1 <joe@example.org>: user unknown", "5.1.1"),
            ("550-5.1.1 The account does not exist", "5.1.1"),
            ("550 #5.1.0 Address rejected", "5.1.0"),
            ("553 sorry, no such domain here (#5.7.1)", "5.7.1"),
            ("554 [5.1.1] no such user", "5.1.1"),
            ("host mx.example.org[192.0.2.1] said: 550 5.7.1 no", "5.7.1"),
            ("501 RCPT TO not accepted: 5.7.1 no relaying", "5.7.1"),
            ("5.1.0 - Unknown address error 550-'5.2.2 <a@example.org> full'", "5.2.2"), // the server's own word
            ("554 4.4.7 Message expired: <421 4.4.2 Connection timed out>", "4.4.2"),
            ("554 5.0.0 failed (#5.1.1)", "5.1.1"),
            ("550 4.4.7 QUEUE.Expired; message expired", "4.4.7"),
            ("550 5.0.0 no", "5.0.0"),
            ("550 5.7.509 Access denied", "5.7.509"),
            ("550 5.1.1. Sorry", "5.1.1"),
            ("550 refused, client 5.1.1.7", ""),
            ("550 refused, client [4.2.2.2]", ""),
            ("550 refused by gateway 1.4.5.1.1", ""),
            ("550 refused by Exim 4.9.2", ""),
            ("550 refused (version 5.0.1)", ""),
            ("550 id=k5.1.1", ""),
            ("550 see https://example.org/5.1.1", ""),
            ("550 joe-5.1.1@example.org is unknown", ""),
            ("550 2.1.5 ok", ""), // a success code in a failure tells nothing
            ("550", ""),
            ("", ""),
        ] {
            let found = codes_in(text).best().map(|code| code.to_string()).unwrap_or_default();
            assert_eq!(found, want, "{text}");
        }
    }

    #[test]
    fn the_reply_code_is_the_servers_and_no_other_number() {
        for (text, want) in [
            ("550 5.1.1 no", Some(550)),
            ("452-4.2.2 full", Some(452)),
            ("  421 busy", Some(421)),
            ("550", Some(550)),
            ("host mx.example.org[192.0.2.1] said: 450 4.7.1 later (in reply to RCPT TO command)", Some(450)),
            ("5.1.0 - Unknown address error 550-'5.2.2 full'", Some(550)),
            ("5.3.0 - Other trouble 550-'Unknown user'", None), // no code behind it: it might be any number
            ("unable to deliver in 500 minutes", None),
            ("250 ok", None),
            ("5501 x", None),
            ("", None),
        ] {
            assert_eq!(reply_in(text), want, "{text}");
        }
    }
}
