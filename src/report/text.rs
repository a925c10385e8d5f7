//! What a person would read of a message: its first text, free of HTML, and its subject, decoded. For the
//! readers of bounces that follow no standard, and of automatic replies.

mod html;

use crate::mail::{Address, Headers, Message};
use regex::Regex;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The part of a message that says what it is about, transfer encoding and charset undone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readable<'a> {
    pub octets: &'a [u8],
    is_html: bool,
}

/// The first text of a message that is not blank. The raw body where the structure could not be read.
pub(super) fn readable<'a>(message: &'a Message<'_>) -> Readable<'a> {
    let has = |content_type: &str, direct: bool| {
        message.parts.iter().find(|part| {
            part.content_type.starts_with(content_type)
                && (part.direct || !direct)
                && !part.body.trim_ascii().is_empty()
        })
    };
    let part = has("text/plain", true).or_else(|| has("text/plain", false)).or_else(|| has("text/html", false));
    let part = part.or_else(|| message.parts.iter().find(|part| part.content_type.starts_with("text/")));
    match part {
        Some(part) => Readable { octets: &part.body, is_html: part.content_type == "text/html" },
        None => Readable { octets: message.body, is_html: false },
    }
}

impl Readable<'_> {
    /// As plain text with LF line ends; of more than `limit` octets the front.
    pub fn plain(&self, limit: usize) -> String {
        let text = String::from_utf8_lossy(&self.octets[..self.octets.len().min(limit)]);
        let text = if self.is_html { Cow::Owned(html::to_text(&text)) } else { text };
        if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text.into_owned() }
    }
}

/// Mailboxes in a header field or a line, in order: everything in angle brackets or standing alone that is an
/// address.
pub fn addresses(line: &str) -> impl Iterator<Item = Address> {
    line.split([',', ';', ' ', '\t', '\n', '\r', '<', '>', '"', '(', ')'])
        .filter(|word| word.contains('@'))
        .filter_map(|word| Address::parse(word.trim_matches(['\'', ':', '.'])).ok())
}

/// Whose mail it is, by sender, subject and header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Author {
    /// A person, a mailing, or a program that hides it.
    Person,
    /// Some program: Exchange lists send ordinary mail with a null reverse path, too.
    Program,
    /// A mail system.
    MailSystem,
}

/// Whose mail it seems to be. A reply or a forwarded mail is a person's, whatever it quotes, unless a mail system
/// replies with the subject it was sent.
pub(super) fn author(headers: &Headers, from: &str, subject: &str) -> Author {
    static REPLY: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)^\s*(?:re|fwd?|aw|wg|sv|vs|vl|tr|rép?|rif|antw|odp|pd|rv|res|enc|i|r|ynt|回复|答复|转发|返信|転送)\s*(?:\[\d+\])?\s*[:：]",
        )
        .expect("a literal pattern")
    });
    static DAEMON: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)mailer[-_. ]?daemon|^\s*<?>?$|<>\s*$|mail delivery s(?:ub)?system").expect("a literal pattern")
    });
    static SENDER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)post[-_ ]?master|mail(?:er)? (?:deliver|system|admin|router|gateway|server)|deliver[yi][- ](?:sub|status|system|service|report)|system administrator|administrador do|daemon\b|mail-?admin|mdaemon|undeliver|bounces?[@+-]|mmdf|smtpd?@|system attendant|interscan|smtp.gateway|mail-?(?:system|service|delivery)@|exchange server|autorespond",
        )
        .expect("a literal pattern")
    });
    static TITLE: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)un-?deliver|non[- ]?deliver|no[nt] deliver|returned? (?:mail|to sender|message)|(?:mail|message|delivery|recipient)s? (?:status|fail(?:ure|ed)|error|problem|warning|delay|notification|notice|report|system|has failed|could not)|(?:failure|bounce|delivery|error|delay(?:ed)?|non-?delivery) (?:noti|report|warning)|fail(?:ed|ure)\b.{0,30}(?:deliver|mail|notice|send)|unable to (?:deliver|send)|(?:could ?n.t|could not|cannot) (?:be )?(?:deliver|send|sent)|warning: (?:could not|message|mail|delay)|(?:user|host|domain|mailbox|recipient|address) (?:unknown|not found|full|disabled|unavailable)|unknown (?:user|address|recipient|host|mailbox)|bounce|rejected|invalid (?:address|recipient|user)|(?:address|processing) error|error sending|no such user|quota|wasn.t delivered|not (?:be )?delivered|unzustellbar|nicht zustellbar|zustell|unzugestellt|konnte nicht|remise|non remis|échec|echec|non distribu|impossible de (?:remettre|livrer)|rifiutat|mancat[oa] (?:recapito|consegna)|impossibile (?:recapitare|consegnare)|não entreg|falha|devolvid|erro na entrega|no se (?:ha )?pud|devuelt|no entregad|error (?:de|en la) entrega|onbestelbaar|niet (?:bezorgd|afgeleverd)|kan ikke leveres|kunne ikke|oleverbar|kunde inte|ej levere|toimittam|nie dostarcz|niedostarcz|zwrot|nedoručit|kézbesít|teslim edilem|не ?доставлен|не удалось|возврат|ошибка доставки|配信|配送|送信|送達|エラー|不達|退信|退回|系统|无法|未送达|投递|傳送|반송|전송 실패",
        )
        .expect("a literal pattern")
    });
    let says = |name| headers.get(name).map(|value| value.to_ascii_lowercase());
    if headers.get_raw("X-Failed-Recipients").is_some() || DAEMON.is_match(from) {
        return Author::MailSystem;
    }
    if REPLY.is_match(subject) {
        return Author::Person;
    }
    // A mailing may well be about undelivered mail. But a list manager puts its fields also on what came back to
    // one of the list's own addresses and goes on to the list's owner.
    let is_mailing = ["List-Unsubscribe", "List-ID"].into_iter().any(|name| headers.get_raw(name).is_some())
        && !says("To").is_some_and(|to| ["-bounces@", "-admin@", "-owner@"].iter().any(|end| to.contains(end)));
    let path = says("Return-Path").unwrap_or_default();
    if !is_mailing && (SENDER.is_match(from) || path.contains("mailer-daemon")) {
        return Author::MailSystem;
    }
    let is_automatic = path == "<>" || says("Auto-Submitted").is_some_and(|by| !by.is_empty() && !by.starts_with("no"));
    match (is_automatic, !is_mailing && TITLE.is_match(subject)) {
        (true, true) => Author::MailSystem,
        (true, false) if path == "<>" || !is_mailing => Author::Program,
        (false, true) => Author::Program,
        _ => Author::Person,
    }
}

/// Undoes encoded words (RFC 2047).
pub fn decode_words(value: &str) -> String {
    if value.contains("=?") { crate::mail::mime::decode_words(value) } else { value.to_owned() }
}
