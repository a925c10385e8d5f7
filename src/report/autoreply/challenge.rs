//! Challenges: a program holds the message back until its sender confirms that he is one. The mailbox exists and
//! the message lies there, so it is an automatic reply, even where it is sent as a notification of failure.

use super::{report, subject_of};
use crate::mail::{Address, Headers, Message, mailboxes};
use crate::report::{Action, Kind, Report, dsn};

/// Domains that challenges come from, those of the services themselves.
const SERVICES: [&str; 11] = [
    "0spam.com",
    "antispam.uol.com.br",
    "bluebottle.com",
    "boxbe.com",
    "digiportal.com",
    "knowspam.net",
    "mailblocks.com",
    "mailinblack.com",
    "spamarrest.com",
    "spamlion.com",
    "vanquish.com",
];

/// What challenges ask for, in their subject or their first words.
const WORDS: [&str; 11] = [
    "verif",
    "confirm",
    "guest list",
    "allowed list",
    "approved",
    "whitelist",
    "authenti",
    "autoris",
    "autentica",
    "bestätig",
    "action required",
];

/// Octets of the text that are searched for them.
const TEXT_BYTES: usize = 4000;

/// Reads a challenge of a service that is known. The contact is whom the notification names, where it is dressed
/// as one; else who is to be answered.
pub fn read(message: &Message<'_>) -> Option<Report> {
    let of_service = senders(&message.headers, "From").iter().any(is_of_service);
    if message.content_type == "multipart/report" {
        if !of_service && !has_notice(message) {
            return None;
        }
        // One that cannot be read is left to the readers of bounces, to be told of as broken.
        let notification = dsn::read(message).ok()??;
        return Some(as_challenge(notification));
    }
    let marked = message.headers.get_raw("X-Bluebottle-Request").is_some();
    if !(marked || (of_service && asks(message))) {
        return None;
    }
    let answerable = ["Reply-To", "From"].into_iter().flat_map(|name| senders(&message.headers, name));
    let contact = answerable.into_iter().find(|address| !is_machine(address));
    Some(report(message, Kind::Autoreply, "challenge", contact, subject_of(&message.headers)))
}

fn as_challenge(mut notification: Report) -> Report {
    for recipient in &mut notification.recipients {
        (recipient.action, recipient.status) = (Action::Delivered, None);
    }
    Report { kind: Kind::Autoreply, dialect: "challenge".to_owned(), ..notification }
}

fn senders(headers: &Headers, name: &str) -> Vec<Address> {
    let value = headers.get(name).unwrap_or_default();
    mailboxes(&value).into_iter().filter_map(|mailbox| Address::parse(mailbox).ok()).collect()
}

fn is_of_service(sender: &Address) -> bool {
    let domain = sender.domain();
    SERVICES
        .iter()
        .any(|service| domain.strip_suffix(service).is_some_and(|host| host.is_empty() || host.ends_with('.')))
}

/// Addresses that the service itself writes from.
fn is_machine(sender: &Address) -> bool {
    let plain: String = sender.local_part().chars().filter(char::is_ascii_alphanumeric).collect();
    is_of_service(sender)
        && ["noreply", "donotreply", "support", "confirm", "verif", "challenge", "auto", "notif", "antispam", "mailer"]
            .iter()
            .any(|start| plain.starts_with(start))
}

/// Boxbe's notices call their diagnostic by their own name, `X-Boxbe-Notice`, whatever address they come from.
fn has_notice(message: &Message<'_>) -> bool {
    let status = message.parts.iter().find(|part| part.direct && part.content_type == "message/delivery-status");
    status
        .is_some_and(|part| contains(&part.body[..part.body.len().min(TEXT_BYTES)], &["x-boxbe-notice", "x-challenge"]))
}

/// Whether subject or text ask for a confirmation: people work at these services, too.
fn asks(message: &Message<'_>) -> bool {
    let text = message.parts.iter().find(|part| part.content_type.starts_with("text/"));
    contains(subject_of(&message.headers).as_bytes(), &WORDS)
        || text.is_some_and(|part| contains(&part.body[..part.body.len().min(TEXT_BYTES)], &WORDS))
}

fn contains(text: &[u8], words: &[&str]) -> bool {
    let text = String::from_utf8_lossy(text).to_lowercase();
    words.iter().any(|word| text.contains(word))
}
