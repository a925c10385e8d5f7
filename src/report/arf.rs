//! Reads spam complaints and what else comes through feedback loops: the Abuse Reporting Format,
//! `multipart/report; report-type=feedback-report` (RFC 5965; not-spam RFC 6430, CFBL RFC 9477), as it is and as
//! it is half broken, and the forms of Hotmail, AOL and Amazon that came before it or go beside it.
//!
//! In: a message split into parts. Out: a [`Report`] with one recipient for each contact that it names. A
//! redacted name (RFC 6590) is kept as evidence, but is nobody's address.
//! Called by `report::read`.

mod redaction;

use super::{Action, Kind, Recipient, Report, Returned, dsn};
use crate::mail::{Address, Headers, Message, MessageId, Part, date, mailboxes};
use redaction::is_redacted;
use std::collections::HashSet;

/// Recipients read of one complaint.
const RECIPIENTS: usize = 1000;
/// Octets of its fields kept as its words.
const WORDS_BYTES: usize = 1000;

/// Reads a complaint. One of kind `other` is a report on authentication (RFC 6591): it is about a message, not
/// about a contact, and for the person who runs the signing.
pub fn read(message: &Message<'_>) -> Option<Report> {
    if matches!(message.report_type.as_deref(), Some("delivery-status" | "disposition-notification")) {
        return None;
    }
    let returned = returned(message);
    let (dialect, fields) = if let Some(part) = message.parts.iter().find(|part| is_feedback(part)) {
        let forwarded = message.content_type != "multipart/report" && is_within_a_conversation(&message.headers);
        ("arf", Some(block(&part.body)).filter(|_| !forwarded)?)
    } else if let Some(fields) = fields_in_text(message, returned.is_some()) {
        ("arf-text", fields)
    } else {
        (forwarding_loop(message, returned.as_ref()?)?, Headers::new())
    };
    Some(report(message, dialect, &fields, returned))
}

/// The part that says it is the report. Nested deeper, it belongs to one that somebody passes on.
fn is_feedback(part: &Part<'_>) -> bool {
    part.direct && part.content_type.ends_with("/feedback-report")
}

/// Mail programs that forward a complaint inline keep its parts, and tell what they forward.
fn is_within_a_conversation(headers: &Headers) -> bool {
    ["In-Reply-To", "References", "X-Forwarded-Message-Id"].iter().any(|name| headers.get_raw(name).is_some())
}

/// Names that a feedback report's fields may begin with (RFC 5965 §3, §3.3).
const FIRST_FIELDS: [&[u8]; 10] = [
    b"feedback-type:",
    b"user-agent:",
    b"version:",
    b"original-rcpt-to:",
    b"original-mail-from:",
    b"arrival-date:",
    b"received-date:",
    b"source-ip:",
    b"reported-domain:",
    b"abuse-type:",
];

/// The fields where no part is declared to hold them. A message that says it is a feedback report may have them
/// anywhere in its text; in any other a text must begin with them and the message must come back beside it, or a
/// person who quotes a complaint would complain.
fn fields_in_text(message: &Message<'_>, returns_message: bool) -> Option<Headers> {
    let declared = message.report_type.as_deref() == Some("feedback-report");
    if !declared && (!returns_message || is_within_a_conversation(&message.headers)) {
        return None;
    }
    let texts = message.parts.iter().filter(|part| part.direct && !dsn::is_returned_type(&part.content_type));
    let texts = texts.map(|part| &*part.body).chain(message.parts.is_empty().then(|| ahead_of_returned(message)));
    texts.filter_map(|text| from_first_field(text, declared)).find_map(|text| {
        let fields = block(text);
        let has = |name| fields.get_raw(name).is_some();
        (has("Feedback-Type") && (has("User-Agent") || has("Version") || declared)).then_some(fields)
    })
}

fn from_first_field(text: &[u8], anywhere: bool) -> Option<&[u8]> {
    let mut offset = 0;
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        let is_first = |name: &&[u8]| line.get(..name.len()).is_some_and(|front| front.eq_ignore_ascii_case(name));
        if FIRST_FIELDS.iter().any(is_first) {
            return Some(&text[offset..]);
        }
        if !anywhere && !line.trim_ascii().is_empty() {
            return None;
        }
        offset += line.len();
    }
    None
}

/// A feedback report's fields. Empty lines between them, which some senders leave, do not end them.
fn block(text: &[u8]) -> Headers {
    let lines = text.split_inclusive(|&octet| octet == b'\n').filter(|line| !line.trim_ascii().is_empty());
    Headers::read(&lines.flatten().copied().collect::<Vec<u8>>())
}

fn ahead_of_returned<'a>(message: &Message<'a>) -> &'a [u8] {
    dsn::at_returned_message(message.body).0
}

/// What came back; where the MIME structure could not be read, what follows the head of its part.
fn returned(message: &Message<'_>) -> Option<Returned> {
    if message.parts.is_empty() {
        return dsn::at_returned_message(message.body).1.and_then(dsn::read_returned);
    }
    dsn::returned(&message.parts)
}

/// Feedback loops that only forward the message, told by their sender, who forwards nothing else: Microsoft's
/// JMRP until 2026, Amazon SES, and AOL's from before ARF.
fn forwarding_loop(message: &Message<'_>, returned: &Returned) -> Option<&'static str> {
    let from = message.headers.get("From")?.to_ascii_lowercase();
    let from = *mailboxes(&from).first()?;
    let subject = message.headers.get("Subject").unwrap_or_default().to_ascii_lowercase();
    let about_a_message = subject.contains("complaint about message from");
    let marked = returned.headers.get_raw("X-HmXmrOriginalRecipient").is_some();
    match from.rsplit_once('@')? {
        ("staff", "hotmail.com") if about_a_message || marked => Some("jmrp"),
        (_, "hotmail.com" | "outlook.com" | "microsoft.com") if about_a_message && marked => Some("jmrp"),
        (local, domain) if local.starts_with("complaints") && domain.ends_with("email-abuse.amazonses.com") => {
            Some("ses-complaint")
        }
        ("scomp", "aol.net" | "aol.com") => Some("scomp"),
        _ => None,
    }
}

fn report(message: &Message<'_>, dialect: &str, fields: &Headers, returned: Option<Returned>) -> Report {
    let feedback_type = fields.get("Feedback-Type").and_then(|value| token(&value));
    let kind = match feedback_type.as_deref() {
        _ if fields.get_raw("Auth-Failure").is_some() => Kind::Other,
        Some("auth-failure" | "dkim" | "dmarc" | "spf") => Kind::Other,
        Some("not-spam" | "not_spam" | "notspam") => Kind::NotSpam,
        Some("opt-out" | "opt-out-list" | "optout") => Kind::OptOut,
        // abuse, fraud, virus, other, and what will be registered: somebody does not want this mail.
        Some(_) | None => Kind::Complaint,
    };
    let words = words(fields);
    let named = named(fields, returned.as_ref());
    Report {
        kind,
        dialect: dialect.to_owned(),
        reporting_mta: fields.get("Reporting-MTA").and_then(|value| without_type(&value)),
        original_envelope_id: fields.get("Original-Envelope-Id").filter(|id| !id.is_empty()),
        arrival_date: ["Arrival-Date", "Received-Date"].iter().find_map(|name| date::read(&fields.get(name)?)),
        postfix_queue_id: None,
        feedback_type: feedback_type.or_else(|| fields.is_empty().then(|| "abuse".to_owned())),
        message_id: message.headers.message_id(),
        recipients: named.into_iter().map(|name| recipient(name, words.clone())).collect(),
        returned: completed(returned, fields),
    }
}

/// The first word of a value: `abuse` of `Abuse; x=y (comment)`.
fn token(value: &str) -> Option<String> {
    let word =
        value.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')).find(|word| !word.is_empty())?;
    Some(word[..word.len().min(64)].to_ascii_lowercase())
}

/// `mx.example.net` of `dns; mx.example.net`.
fn without_type(value: &str) -> Option<String> {
    let name = value.split_once(';').map_or(value, |(_, name)| name).trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// What the report says besides names, in one line, for the person who looks into it.
fn words(fields: &Headers) -> Option<String> {
    let mut words = String::new();
    for name in ["Feedback-Type", "User-Agent", "Source-IP", "Reported-Domain", "Original-Mail-From", "Incidents"] {
        for value in fields.all(name).filter(|value| !value.is_empty()) {
            // RFC 5965 §3.2 has the bare address; some put it into brackets.
            let value = if name == "Source-IP" { value.trim_matches(['[', ']', '<', '>']) } else { &value };
            if words.len() + name.len() + value.len() > WORDS_BYTES {
                return Some(words).filter(|words| !words.is_empty());
            }
            let separator = if words.is_empty() { "" } else { "; " };
            words.extend([separator, name, ": ", value]);
        }
    }
    Some(words).filter(|words| !words.is_empty())
}

/// Somebody whom a complaint names: as written, and the contact, if it is one.
struct Name {
    written: String,
    address: Option<Address>,
}

/// Whom the complaint names, by the first source that has a contact. The returned message's `To` is asked only
/// where nothing else is named, not even redacted, and only where it can be no other recipient.
fn named(fields: &Headers, returned: Option<&Returned>) -> Vec<Name> {
    let of_loop = returned.map(|returned| names(&returned.headers, "X-HmXmrOriginalRecipient")).unwrap_or_default();
    let sources = [names(fields, "Original-Rcpt-To"), names(fields, "Removal-Recipient"), of_loop];
    let mut redacted = Vec::new();
    for names in sources {
        if names.iter().any(|name| name.address.is_some()) {
            return names;
        }
        if redacted.is_empty() {
            redacted = names;
        }
    }
    if redacted.is_empty() {
        redacted = names(fields, "Redacted-Address");
    }
    if !redacted.is_empty() {
        return redacted;
    }
    let to = returned.map(|returned| names(&returned.headers, "To")).unwrap_or_default();
    if to.len() == 1 { to } else { Vec::new() }
}

/// The mailboxes in all fields of a name, none twice.
fn names(headers: &Headers, field: &str) -> Vec<Name> {
    let values: Vec<String> = headers.all(field).take(RECIPIENTS).collect();
    let written = values.iter().flat_map(|value| {
        // As in the fields of RFC 3464.
        let untyped =
            value.get(..7).filter(|kind| kind.eq_ignore_ascii_case("rfc822;")).map(|kind| &value[kind.len()..]);
        mailboxes(untyped.unwrap_or(value))
    });
    let mut seen = HashSet::new();
    let named = written.take(RECIPIENTS).map(|written| {
        let address = Address::parse(written).ok().filter(|_| !is_redacted(written));
        Name { written: written.to_owned(), address }
    });
    named.filter(|name| seen.insert(name.address.as_ref().map_or(name.written.clone(), Address::to_string))).collect()
}

fn recipient(name: Name, words: Option<String>) -> Recipient {
    Recipient {
        address: name.address,
        original_recipient: Some(name.written),
        final_recipient: None,
        action: Action::Delivered,
        status: None,
        diagnostic_type: None,
        diagnostic_code: words,
        remote_mta: None,
        will_retry_until: None,
    }
}

/// What came back, with what the report's fields say of it: some return no message, but name it.
fn completed(returned: Option<Returned>, fields: &Headers) -> Option<Returned> {
    let message_id = ["Original-Message-ID", "Message-ID"].iter().find_map(|name| MessageId::read(&fields.get(name)?));
    let feedback_id = fields.get_raw("CFBL-Feedback-ID");
    let mut returned = match (returned, &message_id, feedback_id) {
        (Some(returned), _, _) => returned,
        (None, None, None) => return None,
        (None, _, _) => Returned { headers: Headers::new(), message_id: None, list: None, date: None },
    };
    returned.message_id = returned.message_id.or(message_id);
    // RFC 9477 §3.2.2: what the sender put there is opaque to all others; `campaign_headers` may name it.
    if let Some(value) = feedback_id.filter(|_| returned.headers.get_raw("CFBL-Feedback-ID").is_none()) {
        returned.headers.push(b"CFBL-Feedback-ID", value);
    }
    Some(returned)
}

#[cfg(test)]
mod tests;
