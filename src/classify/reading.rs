//! What a recipient's fields say, brought together for the rules: the reply text in one line, the bounce code,
//! the SMTP reply code, who reported and who answered.

use super::BounceCode;
use super::quoted::{host_in, servers_words};
use super::status::{CodesInText, codes_in, read_status, reply_in, telling};
use crate::report::{Action, Recipient};

/// Octets of a reply text that are looked at. RFC 5321 §4.5.3.1.5 allows 512 a line; real replies have a few.
const TEXT_LIMIT: usize = 4096;

/// One recipient, as the rules see it.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    /// The reply text in one line, see [`one_line`].
    pub text: String,
    /// The bounce code by the fields and the text; `None` where neither holds one.
    pub code: Option<BounceCode>,
    /// The SMTP reply code in the text.
    pub reply: Option<u16>,
    /// Whether the last word was a temporary one, however long ago it was said and whatever came of it.
    pub temporary: bool,
    /// Whether it is still being tried: then nothing is final, whatever the words.
    pub delayed: bool,
    /// Which reader read the report.
    pub dialect: &'a str,
    /// Type of `Diagnostic-Code`.
    pub diagnostic_type: &'a str,
    /// The server that answered.
    pub remote: &'a str,
    /// The recipient's domain.
    pub domain: &'a str,
}

impl<'a> Reading<'a> {
    /// Reads a recipient's fields.
    pub fn of(recipient: &'a Recipient, dialect: &'a str) -> Reading<'a> {
        let comment = || recipient.status.as_deref().and_then(comment_in).unwrap_or_default();
        let diagnostic = recipient.diagnostic_code.as_deref().unwrap_or_else(comment);
        let whole = one_line(diagnostic);
        let text = servers_words(&whole).to_owned();
        let status = recipient.status.as_deref().and_then(read_status).filter(|code| code.class != 2);
        let in_words = codes_in(&text);
        let in_text = if in_words.best().is_some() { in_words } else { codes_in(&whole) };
        let code = choose(status, in_text);
        let reply = reply_in(&text);
        let delayed = recipient.action == Action::Delayed;
        let temporary = delayed || code.is_some_and(|code| code.class == 4) || reply.is_some_and(|reply| reply < 500);
        let remote = recipient.remote_mta.as_deref().and_then(|name| name.split_ascii_whitespace().next());
        Reading {
            text,
            code,
            reply,
            temporary,
            delayed,
            dialect,
            diagnostic_type: recipient.diagnostic_type.as_deref().unwrap_or_default(),
            remote: remote.or_else(|| host_in(diagnostic)).unwrap_or_default().trim_end_matches('.'),
            domain: recipient.address.as_ref().map(|address| address.domain()).unwrap_or_default(),
        }
    }
}

/// The bounce code is the one the remote server gave (SPEC 2.1). The reporting MTA's `Status` stands for it,
/// but where it says no more than its class, or that time ran out, the reply is asked; and where the reply has a
/// code of its own right behind the reply code, as RFC 2034 wants it, the MTA between us did not pass that on.
fn choose(status: Option<BounceCode>, in_text: CodesInText) -> Option<BounceCode> {
    match status {
        Some(status) if telling(status) => {
            let own = in_text.behind_reply.filter(|&code| telling(code) && code.class == status.class);
            own.or(Some(status))
        }
        Some(status) => in_text.best().filter(|&code| telling(code)).or(Some(status)),
        None => in_text.best(),
    }
}

/// The comment of a `Status` field: where there is no diagnostic, some MTAs say there what happened.
fn comment_in(status: &str) -> Option<&str> {
    let (_, comment) = status.split_once('(')?;
    comment.rsplit_once(')').map(|(comment, _)| comment)
}

/// Brings a reply to one line: blanks and control characters become single spaces, and the reply code and
/// enhanced code that a multi-line reply repeats at each line (RFC 5321 §4.2.1) stay at its head only, so that
/// phrases which run over a line end are whole. The reply may be quoted: `host mx.example.org said: 550-5.1.1 ...`.
pub(super) fn one_line(text: &str) -> String {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let words = text[..end].split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let mut line = String::with_capacity(end);
    let mut head = None;
    let mut at_line_start = false;
    for mut word in words {
        let Some((reply, enhanced)) = head else {
            head = head_of_lines(word).filter(|_| line.is_empty() || line.ends_with(':'));
            let (reply, rest) = head.unwrap_or((word, ""));
            push_word(&mut line, reply);
            push_word(&mut line, rest);
            continue;
        };
        if let Some(rest) = word.strip_prefix(reply)
            && (rest.is_empty() || rest.starts_with('-'))
        {
            at_line_start = true;
            word = rest.get(1..).unwrap_or_default();
        }
        if at_line_start && !word.is_empty() {
            at_line_start = false;
            if word == enhanced && read_status(word).is_some() {
                continue;
            }
        }
        push_word(&mut line, word);
    }
    line
}

/// `550-5.1.1` and `550-The` at the head of a reply of several lines: the reply code, and what stands behind it.
fn head_of_lines(word: &str) -> Option<(&str, &str)> {
    let (reply, rest) = word.split_at_checked(3)?;
    let rest = rest.strip_prefix('-')?;
    reply.bytes().all(|octet| octet.is_ascii_digit()).then_some((reply, rest))
}

fn push_word(line: &mut String, word: &str) {
    if !word.is_empty() && !line.is_empty() {
        line.push(' ');
    }
    line.push_str(word);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_several_lines_reads_as_one() {
        for (text, want) in [
            ("550 5.1.1 no  such\tuser", "550 5.1.1 no such user"),
            (
                "550-5.1.1 The account does not exist. Please try 550-5.1.1 double-checking it. 550 5.1.1 example.org",
                "550 5.1.1 The account does not exist. Please try double-checking it. example.org",
            ),
            ("550-This message scored 8.4 550 points", "550 This message scored 8.4 points"),
            ("550- 550-5.7.1 no", "550 5.7.1 no"),
            ("550-5.7.26", "550 5.7.26"),
            ("connect to mx.example.org: refused", "connect to mx.example.org: refused"),
            (
                "host mx.example.org[192.0.2.1] said: 550-5.1.1 does not\n550-5.1.1 exist 550 5.1.1 gsmtp (in reply)",
                "host mx.example.org[192.0.2.1] said: 550 5.1.1 does not exist gsmtp (in reply)",
            ),
            ("call 550-1234 or 550-5678", "call 550-1234 or 550-5678"),
            ("x\u{1b}[31my\u{7}", "x [31my"), // nothing a terminal would act on
            ("", ""),
            (" \t ", ""),
        ] {
            assert_eq!(one_line(text), want, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = format!("550 {}", "ü".repeat(TEXT_LIMIT));
        assert!(one_line(&long).len() <= TEXT_LIMIT);
    }

    #[test]
    fn the_bounce_code_is_the_one_the_remote_server_gave() {
        for (status, text, want) in [
            ("5.1.1", "550 5.1.1 unknown", "5.1.1"),
            ("5.1.1", "", "5.1.1"),
            ("5.0.0", "550 5.7.1 spam", "5.7.1"), // a mere class
            ("5.0.0", "553 no such domain here (#5.7.1)", "5.7.1"),
            ("5.0.0", "550 no", "5.0.0"),
            ("5.0.0", "450 4.2.0 greylisted", "4.2.0"),
            ("4.4.7", "452 4.2.2 full", "4.2.2"), // time ran out, and this is why
            ("4.4.7", "", "4.4.7"),
            ("5.1.1", "550 5.7.1 address blocklisted", "5.7.1"), // Sendmail goes by the 550 of a RCPT
            ("5.1.1", "550 #5.1.0 rejected", "5.1.0"),
            ("5.1.3", "553 in my list (#5.7.1)", "5.1.3"),
            ("4.2.0", "550 5.1.1 unknown", "4.2.0"), // the queue's word, not one reply's
            ("2.0.0", "550 5.1.1 unknown", "5.1.1"),
            ("", "550 5.1.1 unknown", "5.1.1"),
            ("", "550 unknown", ""),
        ] {
            let code = choose(read_status(status).filter(|code| code.class != 2), codes_in(text));
            assert_eq!(code.map(|code| code.to_string()).unwrap_or_default(), want, "Status: {status}, {text}");
        }
    }
}
