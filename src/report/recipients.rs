//! Whom a bounce names, by an entry of the dialect table, and in what words.

use super::dialect::Notice;
use super::entry::{Diagnostic, Dialect, Fallback};
use super::{Action, Recipient, Returned, dsn, text};
use crate::mail::{Address, Message};
use regex::Captures;

/// Recipients read of one bounce.
const RECIPIENTS: usize = 1000;

/// Recipients without words of their own for whom the rest of the text is searched.
const SILENT: usize = 50;

/// Octets of diagnostic kept of one recipient.
const DIAGNOSTIC_BYTES: usize = 2000;

/// The recipients that an entry finds: in the text; where it names none, in the places that the entry gives,
/// in their order.
pub(super) fn find(
    entry: &Dialect,
    section: &str,
    notice: &Notice<'_>,
    message: &Message<'_>,
    returned: Option<&Returned>,
    action: Action,
) -> Vec<Recipient> {
    let shared = entry.words.as_ref().and_then(|words| words.captures(notice.words()));
    let shared = shared.as_ref().and_then(|captures| captures.name("diagnostic")).map(|words| joined(words.as_str()));
    let mut found = in_text(entry, section, notice, returned, shared.as_deref(), action);
    let whole = || shared.clone().unwrap_or_else(|| joined(entry.stopped(section)));
    let named = |fields: &mut dyn Iterator<Item = String>| -> Vec<Recipient> {
        let fields: Vec<String> = fields.map(|field| text::decode_words(&field)).collect();
        let addresses = fields.iter().flat_map(|field| text::addresses(field)).take(RECIPIENTS);
        addresses.map(|address| recipient(address, None, whole(), action)).collect()
    };
    for fallback in &entry.fallback {
        if !found.is_empty() {
            break;
        }
        found = match fallback {
            Fallback::Header(name) => named(&mut notice.headers.all(name)),
            Fallback::ReturnedTo => named(&mut returned.iter().flat_map(|returned| returned.headers.get("To"))),
            Fallback::ReturnedHeader(name) => {
                named(&mut returned.iter().flat_map(|returned| returned.headers.get(name)))
            }
            Fallback::ReturnedFor => named(&mut returned.and_then(received_for).into_iter()),
            Fallback::AttachedReport => dsn::attached(&message.parts),
        };
    }
    found
}

fn in_text(
    entry: &Dialect,
    section: &str,
    notice: &Notice<'_>,
    returned: Option<&Returned>,
    shared: Option<&str>,
    action: Action,
) -> Vec<Recipient> {
    let mut section = section;
    let mut matches = named_in(entry, section, notice, returned);
    if matches.is_empty() && entry.wide {
        section = notice.words();
        matches = named_in(entry, section, notice, returned);
    }
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut before = 0;
    for (place, (captures, address)) in matches.iter().enumerate() {
        let (start, named) = places(captures);
        let until = matches.get(place + 1).map_or(section.len(), |(next, _)| places(next).0.max(named));
        let words = match (captures.name("diagnostic"), shared, entry.diagnostic) {
            (Some(words), ..) => joined(words.as_str()),
            (None, Some(shared), _) => shared.to_owned(),
            (None, None, Diagnostic::Nearest) if matches.len() == 1 => joined(entry.stopped(notice.words())),
            (None, None, Diagnostic::Behind | Diagnostic::Nearest) => {
                joined(entry.stopped(without_marks(&section[named..until])))
            }
            (None, None, Diagnostic::FromLine) => {
                let line = section[..start].rfind('\n').map_or(0, |end| end + 1);
                joined(entry.stopped(&section[line.max(before)..until]))
            }
            (None, None, Diagnostic::Ahead) => joined(&section[before.min(start)..line_end(section, named)]),
            (None, None, Diagnostic::Section) => joined(entry.stopped(section)),
        };
        before = captures.get(0).map_or(before, |whole| line_end(section, whole.end()));
        let status = captures.name("status").map(|status| status.as_str().to_owned());
        // Many systems name a recipient twice: in the summary, and above the words of the server.
        match recipients.iter_mut().find(|known| known.address.as_ref() == Some(address)) {
            Some(known) => {
                if known.diagnostic_code.as_ref().map_or(0, String::len) < words.len() {
                    known.diagnostic_code = Some(words);
                }
                known.status = known.status.take().or(status);
            }
            None => recipients.push(recipient(address.clone(), status, words, action)),
        }
    }
    // Some name all recipients first and say why once, at the end: it goes for each of them. Others say it
    // ahead of the first.
    let last = recipients.last().and_then(|last| last.diagnostic_code.clone()).filter(|_| entry.shared);
    let silent = recipients.iter_mut().filter(|recipient| recipient.diagnostic_code.is_none());
    for (place, recipient) in silent.enumerate() {
        let own = if place < SILENT { elsewhere(section, recipient.final_recipient.as_deref()) } else { None };
        recipient.diagnostic_code = own.or_else(|| last.clone()).or_else(|| Some(joined(section)));
    }
    recipients
}

/// For whom the last host that took the returned message took it, if it says so.
fn received_for(returned: &Returned) -> Option<String> {
    let received = returned.headers.get("Received")?;
    let (_, recipient) = received.split_once(" for ")?;
    recipient.split([';', ' ']).next().map(str::to_owned)
}

/// Lines that name a recipient amid other words, as a transcript of the session does.
fn elsewhere(section: &str, address: Option<&str>) -> Option<String> {
    let address = address?;
    let names = |line: &&str| line.len() > address.len() + 8 && line.to_ascii_lowercase().contains(address);
    let lines: Vec<&str> = section.lines().filter(names).take(8).collect();
    (!lines.is_empty()).then(|| joined(&lines.join("\n")))
}

/// Where the entry's first pattern that fits names somebody.
fn named_in<'t>(
    entry: &Dialect,
    section: &'t str,
    notice: &Notice<'_>,
    returned: Option<&Returned>,
) -> Vec<(Captures<'t>, Address)> {
    let others = if entry.wide { Others::of(notice, returned) } else { Others::default() };
    for pattern in &entry.recipient {
        let named = pattern.captures_iter(section).take(RECIPIENTS).filter_map(|captures| {
            let address = match (captures.name("address"), captures.name("local")) {
                (Some(address), _) => Address::parse(address.as_str()).ok()?,
                (None, Some(local)) => completed(local.as_str(), entry, notice, returned)?,
                (None, None) => return None,
            };
            (!others.are(&address)).then_some((captures, address))
        });
        let named: Vec<_> = named.collect();
        if !named.is_empty() {
            return named;
        }
    }
    Vec::new()
}

/// Whom a bounce may name besides those it did not reach.
#[derive(Default)]
struct Others {
    correspondents: Vec<Address>,
    recipients: Vec<Address>,
    is_wide: bool,
}

impl Others {
    fn of(notice: &Notice<'_>, returned: Option<&Returned>) -> Others {
        let addresses = |fields: Vec<String>| fields.iter().flat_map(|field| text::addresses(field)).collect();
        let own = ["To", "From", "Reply-To"].into_iter().flat_map(|name| notice.headers.get(name)).collect();
        let sent_to = returned.iter().flat_map(|returned| returned.headers.get("To")).collect();
        Others { correspondents: addresses(own), recipients: addresses(sent_to), is_wide: true }
    }

    fn are(&self, address: &Address) -> bool {
        let roles = ["postmaster", "mailer-daemon", "abuse", "hostmaster", "webmaster", "helpdesk", "support"];
        self.is_wide
            && !self.recipients.contains(address)
            && (self.correspondents.contains(address) || roles.contains(&address.local_part()))
    }
}

/// A recipient named without its domain: the one of the returned message with this local part, else in the
/// domain that the entry gives.
fn completed(local: &str, entry: &Dialect, notice: &Notice<'_>, returned: Option<&Returned>) -> Option<Address> {
    let fields = returned.iter().flat_map(|returned| ["To", "Cc"].map(|name| returned.headers.get(name)));
    let sent_to: Vec<String> = fields.flatten().collect();
    let mut known = sent_to.iter().flat_map(|field| text::addresses(field));
    let known = known.find(|address| address.local_part().eq_ignore_ascii_case(local));
    known.or_else(|| {
        let domain = match entry.domain.as_deref()? {
            "sender" => text::addresses(&notice.from).next()?.domain().to_owned(),
            domain => domain.to_owned(),
        };
        Address::parse(&format!("{local}@{domain}")).ok()
    })
}

/// What stands behind a name, without the marks that closed it.
fn without_marks(words: &str) -> &str {
    words.trim_start_matches(|c: char| {
        c.is_whitespace() || matches!(c, '>' | '"' | '\'' | ')' | ']' | ':' | ';' | ',' | '.')
    })
}

fn line_end(text: &str, place: usize) -> usize {
    text[place..].find('\n').map_or(text.len(), |end| place + end)
}

/// Where a match begins, and where the name in it ends.
fn places(captures: &Captures<'_>) -> (usize, usize) {
    let whole = captures.get(0).expect("group 0 is the whole match");
    let name = captures.name("address").or_else(|| captures.name("local"));
    (whole.start(), name.map_or(whole.end(), |name| name.end()))
}

fn recipient(address: Address, status: Option<String>, words: String, action: Action) -> Recipient {
    Recipient {
        original_recipient: None,
        final_recipient: Some(address.to_string()),
        address: Some(address),
        action,
        status,
        diagnostic_type: None,
        diagnostic_code: (!words.is_empty()).then_some(words),
        remote_mta: None,
        will_retry_until: None,
    }
}

/// Lines joined by one blank, at most [`DIAGNOSTIC_BYTES`].
fn joined(words: &str) -> String {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if line.len() + word.len() > DIAGNOSTIC_BYTES {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}
