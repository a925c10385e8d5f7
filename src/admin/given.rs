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
pub(super) const REASON_CHARS: usize = 500;
/// Entries in a page where `limit` is not given, and the most that may be asked for.
pub(super) const LIMIT: usize = 1000;
pub(super) const MOST: usize = 10_000;

/// The one segment of a path that is not fixed.
pub(super) type Segment = Result<Path<String>, PathRejection>;

pub(super) fn read_address(path: Segment) -> Result<Address, Refusal> {
    let text = read_segment(path)?;
    Address::parse(&text).map_err(|error| Refusal::value(format!("`address`: {error}")))
}

pub(super) fn read_id(path: Segment) -> Result<EventId, Refusal> {
    read_segment(path)?.parse().map_err(|error: String| Refusal::value(format!("`id`: {error}")))
}

pub(super) fn read_segment(path: Segment) -> Result<String, Refusal> {
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

/// `?reason=` of what programs do without a word; empty where nothing is said.
pub(super) fn read_why(query: &Parameters) -> Result<String, Refusal> {
    query.get("reason").map_or(Ok(String::new()), read_reason)
}

/// A time that has passed.
pub(super) fn read_past(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match text.parse::<Timestamp>() {
        Ok(at) if at <= now => Ok(at),
        Ok(_) | Err(_) => Err("a time that has passed is wanted, as 2026-11-21T23:50:08Z".to_owned()),
    }
}

/// `since` and `until`: from the one on, before the other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

impl Span {
    pub fn of(query: &Parameters) -> Result<Span, Refusal> {
        Ok(Span { since: query.parse("since", read_time)?, until: query.parse("until", read_time)? })
    }

    pub fn holds(self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

pub(super) fn read_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "a time is wanted, as 2026-08-21T03:00:00Z".to_owned())
}

/// A domain in the form that contacts have: lower-case A-labels.
pub(super) fn read_domain(text: &str) -> Result<String, String> {
    let address = Address::parse(&format!("postmaster@{}", text.trim_start_matches('@')));
    address.map(|address| address.domain().to_owned()).map_err(|_| "a domain is wanted".to_owned())
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
