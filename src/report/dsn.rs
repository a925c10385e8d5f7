//! Reads delivery status notifications, `multipart/report; report-type=delivery-status`
//! (RFC 3464, 6522; RFC 6533 for UTF-8 addresses).
//!
//! In: a message split into parts. Out: a [`Report`] with one recipient for each group, not yet judged.
//! Called by `report::read`, behind complaints, ahead of dialects and automatic replies.

mod group;
mod mailbox;

use super::{Kind, Recipient, Report, Returned};
use crate::mail::{Headers, Message, Part, header};
use group::Status;
use std::borrow::Cow;

/// A notification that is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DsnError {
    /// No group has this field, nor what could stand in for it. Groups count from 1.
    #[error("per-recipient group {group}: {field} is missing")]
    MissingField {
        /// Which group, from 1.
        group: usize,
        /// The field's name.
        field: &'static str,
    },
    /// There is a delivery status part, but no per-recipient group in it.
    #[error("the delivery status has no per-recipient group")]
    NoGroup,
}

/// Reads a notification.
///
/// The status part is looked for where RFC 6522 puts it, directly below the top; below `multipart/mixed` and
/// as the whole message, as some MTAs send it, too. Deeper it belongs to a notification that somebody forwards.
/// Where the MIME structure is too broken to show it, the text is scanned for groups, and the report's dialect
/// is `rfc3464-scan`.
///
/// # Errors
/// [`DsnError`] if it is one, but no recipient can be read from it.
pub fn read(message: &Message<'_>) -> Result<Option<Report>, DsnError> {
    if other_report(message).is_some() {
        return Ok(None);
    }
    let status = message.parts.iter().find(|part| is_status(part) && may_hold_status(&message.content_type));
    let broken = match status.map(|part| Status::read(&part.body)) {
        Some(Ok(status)) => return Ok(Some(report(message, "rfc3464", status, returned(&message.parts)))),
        Some(Err(error)) => Some(error),
        None => None,
    };
    if (broken.is_some() || is_notification(message))
        && let Some((status, returned)) = scan(message)
    {
        return Ok(Some(report(message, "rfc3464-scan", status, returned)));
    }
    broken.map_or(Ok(None), Err)
}

fn report(message: &Message<'_>, dialect: &str, status: Status, returned: Option<Returned>) -> Report {
    Report {
        kind: status.recipients.first().map_or(Kind::Other, |first| first.action.kind()),
        dialect: dialect.to_owned(),
        reporting_mta: status.reporting_mta,
        original_envelope_id: status.original_envelope_id,
        arrival_date: status.arrival_date,
        postfix_queue_id: status.postfix_queue_id,
        feedback_type: None,
        message_id: message.headers.message_id(),
        recipients: status.recipients,
        returned,
    }
}

/// Complaints (RFC 5965) and disposition notifications (RFC 8098) are `multipart/report` too.
pub(super) fn other_report(message: &Message<'_>) -> Option<&'static str> {
    ["feedback-report", "disposition-notification"].into_iter().find(|name| {
        let is_named = |content_type: &str| content_type.strip_prefix("message/") == Some(name);
        message.report_type.as_deref() == Some(name)
            || message.parts.iter().any(|part| part.direct && is_named(&part.content_type))
    })
}

fn is_status(part: &Part<'_>) -> bool {
    part.direct && is_status_type(&part.content_type)
}

fn is_status_type(content_type: &str) -> bool {
    matches!(content_type, "message/delivery-status" | "message/global-delivery-status")
}

fn may_hold_status(top: &str) -> bool {
    matches!(top, "multipart/report" | "multipart/mixed") || is_status_type(top)
}

pub(super) fn is_returned_type(content_type: &str) -> bool {
    matches!(content_type, "message/rfc822" | "text/rfc822-headers" | "message/global" | "message/global-headers")
}

pub(super) fn returned(parts: &[Part<'_>]) -> Option<Returned> {
    let part = parts.iter().find(|part| part.direct && is_returned_type(&part.content_type))?;
    read_returned(&part.body)
}

pub(super) fn read_returned(block: &[u8]) -> Option<Returned> {
    let start = block.iter().position(|octet| !octet.is_ascii_whitespace())?;
    let headers = Headers::read(&block[start..]);
    let (message_id, list, date) = (headers.message_id(), headers.list_id(), headers.date());
    (!headers.is_empty()).then_some(Returned { headers, message_id, list, date })
}

/// The recipients of a notification that a gateway passes on as an attached message, instead of in its own words.
pub(super) fn attached(parts: &[Part<'_>]) -> Vec<Recipient> {
    let attached = parts.iter().filter(|part| part.direct && part.content_type == "message/rfc822");
    let read = |part: &Part<'_>| Status::read(from_first_group(at_returned_message(&part.body).0)?).ok();
    attached.filter_map(read).next().map(|status| status.recipients).unwrap_or_default()
}

/// Whether a message without a readable status part is a notification all the same. A person may quote one, so
/// the text alone does not tell.
fn is_notification(message: &Message<'_>) -> bool {
    if message.content_type == "multipart/report" || message.report_type.as_deref() == Some("delivery-status") {
        return true;
    }
    let from = message.headers.get("From").unwrap_or_default().to_ascii_lowercase();
    let named = |names: &[&str]| names.iter().any(|name| from.contains(name));
    named(&["mailer-daemon", "mail delivery s"]) || (named(&["postmaster@", "postmaster "]) && is_automatic(message))
}

fn is_automatic(message: &Message<'_>) -> bool {
    let says = |name| message.headers.get(name);
    says("Return-Path").is_some_and(|path| path == "<>")
        || says("Auto-Submitted").is_some_and(|by| !by.is_empty() && !by.eq_ignore_ascii_case("no"))
}

/// Looks for per-recipient groups in the text. Attached messages are not looked at: what they hold is another
/// notification.
fn scan(message: &Message<'_>) -> Option<(Status, Option<Returned>)> {
    if message.parts.is_empty() {
        let (text, rest) = at_returned_message(message.body);
        let status = Status::read(from_first_group(text)?).ok()?;
        return Some((status, rest.and_then(read_returned)));
    }
    let texts = message.parts.iter().filter(|part| part.direct && !is_returned_type(&part.content_type));
    let status = texts.filter_map(|part| Status::read(from_first_group(&part.body)?).ok()).next()?;
    Some((status, returned(&message.parts)))
}

/// The text from the first line on that can only stand in a delivery status.
fn from_first_group(text: &[u8]) -> Option<&[u8]> {
    let names: [&[u8]; 3] = [b"reporting-mta:", b"original-recipient:", b"final-recipient:"];
    lines(text).find(|(_, line)| names.iter().any(|name| starts_with(line, name))).map(|(start, _)| &text[start..])
}

/// Cuts broken MIME where a part's header says that the returned message follows: the text ahead of it, and
/// what follows that part's header.
pub(super) fn at_returned_message(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let is_head = |line: &[u8]| {
        starts_with(line, b"content-type:")
            && match header::unfold(&line[b"content-type:".len()..]) {
                Cow::Borrowed(value) => {
                    value.split(';').next().is_some_and(|name| is_returned_type(&name.trim().to_ascii_lowercase()))
                }
                Cow::Owned(_) => false,
            }
    };
    let mut following = lines(text).skip_while(|(_, line)| !is_head(line));
    match following.next() {
        None => (text, None),
        Some((start, _)) => {
            let body = following.find(|(_, line)| line.trim_ascii().is_empty());
            (&text[..start], body.map(|(empty, line)| &text[empty + line.len()..]))
        }
    }
}

/// Every line with its end, and where it begins.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    text.split_inclusive(|&octet| octet == b'\n').scan(0, |offset, line| {
        let start = *offset;
        *offset += line.len();
        Some((start, line))
    })
}

fn starts_with(line: &[u8], lower_case: &[u8]) -> bool {
    line.get(..lower_case.len()).is_some_and(|front| front.eq_ignore_ascii_case(lower_case))
}

#[cfg(test)]
mod tests;
