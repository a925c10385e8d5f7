//! What we answer: replies and changes, written as packets.
//!
//! In: a [`Reply`] or an [`Edit`]. Out: its packet at the end of a buffer. Called by `session` and, for
//! "still working", by `server`. Nothing written here can be malformed: Postfix answers one bad reply with
//! `451 4.3.5` for the rest of the SMTP session (POSTFIX-FACTS 5).

use std::borrow::Cow;

/// Longest line of an SMTP reply, the code not counted; RFC 5321 §4.5.3.1.5 allows 512 octets in all.
const LINE: usize = 480;

/// Lines of one SMTP reply that are sent; the rest is left out.
const LINES: usize = 32;

/// A 4xx or 5xx SMTP reply with enhanced code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmtpReply {
    /// 400 to 599; any other is sent as a plain "try again later".
    pub code: u16,
    /// Enhanced code; its class is that of `code`, and is sent as such whatever stands here.
    pub enhanced: (u8, u16, u16),
    /// One line or several. What is no printable ASCII is replaced; a long line is broken.
    pub text: Cow<'static, str>,
}

/// A reply without changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Go on.
    Continue,
    /// Take the message (or session) without asking further.
    Accept,
    /// 5xx.
    Reject,
    /// 4xx.
    Tempfail,
    /// Take it and drop it.
    Discard,
    /// No more of these events.
    Skip,
    /// Still working.
    Progress,
    /// A reply of our own.
    ReplyCode(SmtpReply),
}

/// A change to the message, at its end only. Strings end at their first NUL. The value of a header field is
/// all that stands behind the colon, the blank included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds a recipient.
    AddRecipient(Vec<u8>),
    /// Adds a recipient with ESMTP arguments (`NOTIFY=`, `ORCPT=`).
    AddRecipientWith(Vec<u8>, Vec<u8>),
    /// Deletes a recipient, by its form as received.
    DeleteRecipient(Vec<u8>),
    /// Deletes a recipient and adds it again in the same form, with ESMTP arguments: both or neither.
    ReaddRecipient(Vec<u8>, Vec<u8>),
    /// Changes the reverse path, with ESMTP arguments (`RET=`, `ENVID=`).
    ChangeSender(Vec<u8>, Option<Vec<u8>>),
    /// Adds a field at the end of the header.
    AddHeader(Vec<u8>, Vec<u8>),
    /// Inserts a field at a place from 0.
    InsertHeader(u32, Vec<u8>, Vec<u8>),
    /// Changes the n-th field of that name, from 1; an empty value deletes it.
    ChangeHeader(u32, Vec<u8>, Vec<u8>),
    /// Puts the message on hold.
    Quarantine(Vec<u8>),
}

/// Who writes the blank behind the colon of a header field we add or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadingBlank {
    /// We do (`SMFIP_HDR_LEADSPC` was agreed).
    Ours,
    /// The MTA does, always.
    Theirs,
}

impl Reply {
    /// Writes the packet.
    pub fn write(&self, out: &mut Vec<u8>) {
        let letter = match self {
            Reply::Continue => b'c',
            Reply::Accept => b'a',
            Reply::Reject => b'r',
            Reply::Tempfail => b't',
            Reply::Discard => b'd',
            Reply::Skip => b's',
            Reply::Progress => b'p',
            Reply::ReplyCode(reply) => return reply.write(out),
        };
        out.extend_from_slice(&[0, 0, 0, 1, letter]);
    }
}

impl Edit {
    /// Writes the packet.
    pub fn write(&self, blank: LeadingBlank, out: &mut Vec<u8>) {
        let value = |value| match blank {
            LeadingBlank::Ours => value,
            LeadingBlank::Theirs => <[u8]>::strip_prefix(value, b" ").unwrap_or(value),
        };
        match self {
            Edit::AddRecipient(path) => packet(out, b'+', |out| string(out, path)),
            Edit::AddRecipientWith(path, parameters) => packet(out, b'2', |out| {
                string(out, path);
                string(out, parameters);
            }),
            Edit::DeleteRecipient(path) => packet(out, b'-', |out| string(out, path)),
            Edit::ReaddRecipient(path, parameters) => {
                packet(out, b'-', |out| string(out, path));
                packet(out, b'2', |out| {
                    string(out, path);
                    string(out, parameters);
                });
            }
            Edit::ChangeSender(path, parameters) => packet(out, b'e', |out| {
                string(out, path);
                if let Some(parameters) = parameters {
                    string(out, parameters);
                }
            }),
            Edit::AddHeader(name, text) => packet(out, b'h', |out| {
                string(out, name);
                string(out, value(text));
            }),
            Edit::InsertHeader(place, name, text) => packet(out, b'i', |out| {
                out.extend_from_slice(&place.to_be_bytes());
                string(out, name);
                string(out, value(text));
            }),
            Edit::ChangeHeader(number, name, text) => packet(out, b'm', |out| {
                out.extend_from_slice(&number.to_be_bytes());
                string(out, name);
                string(out, value(text));
            }),
            Edit::Quarantine(reason) => packet(out, b'q', |out| string(out, reason)),
        }
    }
}

impl SmtpReply {
    /// Writes the packet: every line with both codes, a hyphen behind the code of all but the last, `%` doubled
    /// because Postfix and Sendmail take it for the start of a format.
    fn write(&self, out: &mut Vec<u8>) {
        let class = self.code / 100;
        if !(4..=5).contains(&class) {
            return Reply::Tempfail.write(out);
        }
        let (_, subject, detail) = self.enhanced;
        let lines: Vec<Vec<u8>> = self.text.lines().flat_map(printable_lines).take(LINES).collect();
        packet(out, b'y', |out| {
            for number in 0..lines.len().max(1) {
                let is_last = number + 1 >= lines.len();
                let (mark, end) = if is_last { (' ', "") } else { ('-', "\r\n") };
                out.extend_from_slice(format!("{}{mark}{class}.{subject}.{detail} ", self.code).as_bytes());
                for octet in lines.get(number).into_iter().flatten() {
                    out.extend_from_slice(if *octet == b'%' { b"%%" } else { std::slice::from_ref(octet) });
                }
                out.extend_from_slice(end.as_bytes());
            }
            out.push(0);
        });
    }
}

fn printable_lines(line: &str) -> Vec<Vec<u8>> {
    let printable = |letter: char| match letter {
        ' '..='~' => letter as u8,
        letter if letter.is_ascii() => b' ',
        _ => b'?',
    };
    let line: Vec<u8> = line.chars().map(printable).collect();
    if line.is_empty() { vec![line] } else { line.chunks(LINE).map(<[u8]>::to_vec).collect() }
}

/// Writes length, letter and whatever `data` adds.
pub(super) fn packet(out: &mut Vec<u8>, letter: u8, data: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, letter]);
    data(out);
    let length = (out.len() - start - super::packet::PREFIX) as u32;
    out[start..start + super::packet::PREFIX].copy_from_slice(&length.to_be_bytes());
}

/// Writes a string up to its first NUL, and a NUL.
pub(super) fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text.split(|octet| *octet == 0).next().unwrap_or_default());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = b"before".to_vec();
        write(&mut out);
        let (length, data) = out[6..].split_first_chunk::<4>().expect("a packet has a length");
        assert_eq!(u32::from_be_bytes(*length) as usize, data.len());
        data.to_vec()
    }

    #[test]
    fn a_reply_is_one_letter() {
        for (reply, want) in [
            (Reply::Continue, b"c"),
            (Reply::Accept, b"a"),
            (Reply::Reject, b"r"),
            (Reply::Tempfail, b"t"),
            (Reply::Discard, b"d"),
            (Reply::Skip, b"s"),
            (Reply::Progress, b"p"),
        ] {
            assert_eq!(written(|out| reply.write(out)), want, "{reply:?}");
        }
    }

    #[test]
    fn a_change_is_its_letter_and_strings_ended_by_nuls() {
        let b = |text: &str| text.as_bytes().to_vec();
        for (edit, want) in [
            (Edit::AddRecipient(b("<a@b>")), &b"+<a@b>\0"[..]),
            (Edit::AddRecipientWith(b("<a@b>"), b("NOTIFY=SUCCESS")), b"2<a@b>\0NOTIFY=SUCCESS\0"),
            (Edit::DeleteRecipient(b("<X.Y@Out.Test>")), b"-<X.Y@Out.Test>\0"),
            (Edit::ChangeSender(b("<>"), None), b"e<>\0"),
            (Edit::ChangeSender(b("<a@b>"), Some(b("ENVID=x RET=HDRS"))), b"e<a@b>\0ENVID=x RET=HDRS\0"),
            (Edit::AddHeader(b("X-A"), b(" v")), b"hX-A\0 v\0"),
            (Edit::InsertHeader(1, b("X-A"), b(" v")), b"i\0\0\0\x01X-A\0 v\0"),
            (Edit::ChangeHeader(258, b("X-A"), b("")), b"m\0\0\x01\x02X-A\0\0"),
            (Edit::Quarantine(b("why")), b"qwhy\0"),
            (Edit::DeleteRecipient(b("<a\0b>")), b"-<a\0"), // never a packet with a string too many
        ] {
            assert_eq!(written(|out| edit.write(LeadingBlank::Ours, out)), want, "{edit:?}");
        }
    }

    #[test]
    fn a_recipient_that_is_added_again_is_deleted_first() {
        let mut out = Vec::new();
        Edit::ReaddRecipient(b"<a@b>".to_vec(), b"NOTIFY=SUCCESS".to_vec()).write(LeadingBlank::Ours, &mut out);
        assert_eq!(out, b"\0\0\0\x07-<a@b>\0\0\0\0\x162<a@b>\0NOTIFY=SUCCESS\0");
    }

    #[test]
    fn the_blank_behind_the_colon_is_left_to_an_mta_that_writes_it_itself() {
        let b = |text: &str| text.as_bytes().to_vec();
        for (edit, want) in [
            (Edit::AddHeader(b("X-A"), b(" v")), &b"hX-A\0v\0"[..]),
            (Edit::AddHeader(b("X-A"), b("v")), b"hX-A\0v\0"),
            (Edit::InsertHeader(0, b("X-A"), b("  v")), b"i\0\0\0\0X-A\0 v\0"),
            (Edit::ChangeHeader(1, b("X-A"), b(" v")), b"m\0\0\0\x01X-A\0v\0"),
        ] {
            assert_eq!(written(|out| edit.write(LeadingBlank::Theirs, out)), want, "{edit:?}");
        }
    }

    #[test]
    fn an_smtp_reply_is_never_malformed() {
        let long = "x".repeat(LINE + 1);
        for (code, enhanced, text, want) in [
            (550, (5, 7, 1), "no", "y550 5.7.1 no\0".to_owned()),
            (550, (4, 1, 1), "class of the code", "y550 5.1.1 class of the code\0".to_owned()),
            (451, (5, 3, 0), "later", "y451 4.3.0 later\0".to_owned()),
            (550, (5, 7, 1), "100% %s", "y550 5.7.1 100%% %%s\0".to_owned()),
            (550, (5, 7, 1), "one\ntwo\r\nthree\n", "y550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\0".to_owned()),
            (550, (5, 7, 1), "a\n\nb", "y550-5.7.1 a\r\n550-5.7.1 \r\n550 5.7.1 b\0".to_owned()),
            (550, (5, 7, 1), "", "y550 5.7.1 \0".to_owned()),
            (550, (5, 7, 1), "t\ta\0b\x7fü", "y550 5.7.1 t a b ?\0".to_owned()),
            (550, (5, 7, 1), &long, format!("y550-5.7.1 {}\r\n550 5.7.1 x\0", &long[1..])),
            (250, (2, 0, 0), "fine", "t".to_owned()),
            (600, (5, 0, 0), "what", "t".to_owned()),
            (0, (0, 0, 0), "", "t".to_owned()),
        ] {
            let reply = Reply::ReplyCode(SmtpReply { code, enhanced, text: text.to_owned().into() });
            assert_eq!(String::from_utf8(written(|out| reply.write(out))).unwrap(), want, "{code} {enhanced:?} {text}");
        }
    }

    #[test]
    fn an_endless_smtp_reply_is_ended() {
        let reply = SmtpReply { code: 550, enhanced: (5, 7, 1), text: "line\n".repeat(1000).into() };
        let packet = String::from_utf8(written(|out| reply.write(out))).unwrap();
        assert_eq!(packet.lines().count(), LINES);
        assert!(packet.ends_with("\r\n550 5.7.1 line\0"), "{packet}");
    }
}
