//! What a person would read of a message: its first text, free of HTML, and its subject, decoded. For the
//! readers of bounces that follow no standard, and of automatic replies.

use super::dialect::Subject;
use crate::mail::{Address, Message};
use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The first text of a message as plain text with LF line ends, at most `limit` octets of it. The raw body
/// where the structure could not be read.
pub fn of(message: &Message<'_>, limit: usize) -> String {
    let plain =
        message.parts.iter().find(|part| part.direct && part.content_type == "text/plain" && !part.body.is_empty());
    let readable = plain
        .or_else(|| message.parts.iter().find(|part| part.content_type == "text/plain" && !part.body.is_empty()))
        .or_else(|| message.parts.iter().find(|part| part.content_type.starts_with("text/")));
    let (octets, is_html): (&[u8], bool) = match readable {
        Some(part) => (&part.body, part.content_type == "text/html"),
        None => (message.body, false),
    };
    let text = String::from_utf8_lossy(&octets[..octets.len().min(limit)]);
    let text = if is_html { Cow::Owned(without_tags(&text)) } else { text };
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.into_owned() }
}

/// HTML as lines of text: block tags become line ends, other tags and the content of style and script
/// nothing, the few entities that bounces use their letters.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        text.push_str(&rest[..open]);
        rest = &rest[open..];
        let Some(close) = rest.find('>') else { break };
        let tag = rest[1..close].trim_start_matches('/').to_ascii_lowercase();
        let name = tag.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        if tag.contains('@') && !tag.contains(['=', ' ']) {
            // Not a tag: an address in brackets that was not written as an entity.
            text.push_str(&rest[..=close]);
        }
        rest = &rest[close + 1..];
        match name {
            "style" | "script" => rest = &rest[find_end_tag(rest, name)..],
            "br" | "p" | "div" | "tr" | "li" | "h1" | "h2" | "h3" | "table" | "pre" | "title" | "blockquote" => {
                text.push('\n')
            }
            "td" => text.push(' '),
            _ => {}
        }
    }
    text.push_str(rest);
    let entities = [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#43;", "+"),
        ("&amp;", "&"),
    ];
    entities.into_iter().fold(text, |text, (entity, letter)| text.replace(entity, letter))
}

fn find_end_tag(html: &str, name: &str) -> usize {
    let is_end = |place: usize| {
        let tag = html[place..].as_bytes();
        tag.get(2..2 + name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()))
    };
    html.match_indices("</").map(|(place, _)| place).find(|place| is_end(*place)).unwrap_or(html.len())
}

/// Mailboxes in a header field or a line, in order: everything in angle brackets or standing alone that is an
/// address.
pub fn addresses(line: &str) -> impl Iterator<Item = Address> {
    line.split([',', ';', ' ', '\t', '\n', '\r', '<', '>', '"', '(', ')'])
        .filter(|word| word.contains('@'))
        .filter_map(|word| Address::parse(word.trim_matches(['\'', ':', '.'])).ok())
}

/// Whether sender, subject or header look like a mail system's, not a person's. A reply or a forwarded mail
/// never does, whatever it quotes.
pub(super) fn is_from_a_system(subject: &Subject<'_>) -> bool {
    static REPLY: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)^\s*(?:re|fwd?|aw|wg|sv|vs|tr|r[ée]f|antw|odp|rv|i)\s*(?:\[\d+\])?:")
            .expect("a literal pattern")
    });
    static SENDER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)mailer[-_. ]?daemon|post\s?master|mail(?:er)? (?:delivery|system|admin|router)|delivery sub|system administrator|daemon@|^<?>?$|mailadmin|mail-admin|mdaemon|mail gateway|undeliver|bounces?[@+-]|mmdf|smtpd?@|system attendant",
        )
        .expect("a literal pattern")
    });
    static TITLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)undeliver|non[- ]?deliver|not deliver|returned? (?:mail|to sender|message)|(?:mail|message|delivery|recipient)s? (?:status|failure|failed|error|problem|delayed|notification)|(?:failure|bounce|delivery) noti|fail(?:ed|ure)\b.{0,30}(?:deliver|mail|notice)|unzustellbar|nicht zustellbar|unable to deliver|could ?n.t (?:be )?(?:deliver|send)|mail delivery|delivery report|warning: (?:could not|message)|user unknown|unknown user|bounce|rejected|unknown address|invalid (?:address|recipient)|address error|remise impossible|non remis|échec|rifiutat|mancato recapito|não entreg|no se (?:ha )?pud|devuelt|не доставлен|не удалось|недоставлен|配信|送信|エラー|退信|退回|系统",
        )
        .expect("a literal pattern")
    });
    if REPLY.is_match(&subject.subject) && subject.headers.get_raw("X-Failed-Recipients").is_none() {
        return false;
    }
    subject.headers.get_raw("X-Failed-Recipients").is_some()
        || subject.headers.get("Return-Path").is_some_and(|path| path == "<>")
        || SENDER.is_match(&subject.from)
        || TITLE.is_match(&subject.subject)
        || subject.headers.get("Auto-Submitted").is_some_and(|value| !value.to_ascii_lowercase().starts_with("no"))
}

/// Undoes encoded words (RFC 2047).
pub fn decode_words(value: &str) -> String {
    if value.contains("=?") { crate::mail::mime::decode_words(value) } else { value.to_owned() }
}
