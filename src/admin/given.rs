//! What requests give, read with its limits: the address in a path, a reason, a time that has passed, a number of
//! entries.

use super::answer::{Parameters, Refusal};
use crate::mail::Address;
use crate::policy::EventId;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::StatusCode;
use jiff::Timestamp;

/// Longest reason a person may give, in characters.
const REASON_CHARS: usize = 500;
/// Entries in a page where `limit` is not given, and the most that may be asked for.
pub(super) const LIMIT: usize = 1000;
const MOST: usize = 10_000;

/// The one segment of a path that is not fixed.
pub(super) type Segment = Result<Path<String>, PathRejection>;

pub(super) fn read_address(path: Segment) -> Result<Address, Refusal> {
    let text = read_segment(path)?;
    Address::parse(&text).map_err(|error| Refusal::value(format!("`address`: {error}")))
}

pub(super) fn read_id(path: Segment) -> Result<EventId, Refusal> {
    read_segment(path)?.parse().map_err(|error: String| Refusal::value(format!("`id`: {error}")))
}

fn read_segment(path: Segment) -> Result<String, Refusal> {
    let Path(text) = path.map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid-path", "the address in the path is not percent-encoded UTF-8")
    })?;
    Ok(text)
}

pub(super) fn read_reason(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::value("`reason` is empty; whoever asks later why wants to read it"));
    }
    if text.chars().count() > REASON_CHARS || text.chars().any(char::is_control) {
        return Err(Refusal::value(format!("`reason` is one line of at most {REASON_CHARS} characters")));
    }
    Ok(text.to_owned())
}

/// A time that has passed.
pub(super) fn read_past(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match text.parse::<Timestamp>() {
        Ok(at) if at <= now => Ok(at),
        Ok(_) | Err(_) => Err("a time that has passed is wanted, as 2026-11-21T23:50:08Z".to_owned()),
    }
}

pub(super) fn read_limit(query: &Parameters) -> Result<Option<usize>, Refusal> {
    query.parse("limit", |text| match text.parse() {
        Ok(limit @ 1..=MOST) => Ok(limit),
        Ok(_) | Err(_) => Err(format!("a number from 1 to {MOST} is wanted")),
    })
}

/// 409 for what cannot be kept of a contact that was erased.
pub(super) fn erased(address: &Address) -> Refusal {
    let message = format!("{address} was erased and stays blocked; nothing is kept of it before it is reactivated");
    Refusal::new(StatusCode::CONFLICT, "erased", message)
}

pub(super) fn never_heard_of(address: &Address) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not-found", format!("{address} was never heard of"))
}
