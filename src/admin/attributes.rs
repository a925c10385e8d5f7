//! What is known of a contact, and its own message limit (SPEC 7.3): set by the operator's programs, mostly without
//! a word why (`?reason=`).

use super::access::Caller;
use super::answer::{Parameters, Refusal, json, read_json};
use super::contacts::record;
use super::given::{Segment, erased, read_address, read_why};
use super::routes::{App, must_write};
use super::wire::{AttributesAnswer, ContactLimit, LimitAnswer};
use crate::mail::Address;
use crate::policy::{EventId, Limit, What};
use crate::store::NewEvent;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Attributes of one contact, and octets of a name and of a value.
const NAMES: usize = 64;
const NAME_BYTES: usize = 64;
const VALUE_BYTES: usize = 256;

/// `PUT /v1/contacts/{address}/attributes`: the object replaces what was known.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    address: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let (uid, address) = (must_write(caller)?.uid, read_address(address)?);
    let query = Parameters::read(&request, &["dry_run", "reason"])?;
    let (dry_run, reason) = (query.flag("dry_run")?, read_why(&query)?);
    let attributes = read_attributes(read_json(request).await?)?;
    let what = What::Attributes { attributes: attributes.clone(), uid, reason };
    let event = recorded(&app, &address, what, dry_run).await?;
    Ok(json(&AttributesAnswer { address, dry_run, event, attributes }))
}

/// `PUT /v1/contacts/{address}/limit`: the contact's own limit, or `null` for none.
pub(super) async fn put_limit(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    address: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let (uid, address) = (must_write(caller)?.uid, read_address(address)?);
    let query = Parameters::read(&request, &["dry_run", "reason"])?;
    let (dry_run, reason) = (query.flag("dry_run")?, read_why(&query)?);
    let asked: Option<ContactLimit> = read_json(request).await?;
    let limit = asked.as_ref().map(Limit::try_from).transpose().map_err(Refusal::value)?;
    let event = recorded(&app, &address, What::Limit { limit, uid, reason }, dry_run).await?;
    if let (Some(limit), false) = (limit, dry_run) {
        app.service.cover(limit);
    }
    Ok(json(&LimitAnswer { address, dry_run, event, limit: limit.map(Into::into) }))
}

async fn recorded(app: &App, address: &Address, what: What, dry_run: bool) -> Result<Option<EventId>, Refusal> {
    if app.service.store().is_erased(address) {
        return Err(erased(address));
    }
    if dry_run {
        return Ok(None);
    }
    let at = Timestamp::now();
    record(app, NewEvent { at, address: Some(address.clone()), queue_id: None, what, content_key: None }).await
}

fn read_attributes(given: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Refusal> {
    if given.len() > NAMES {
        return Err(Refusal::value(format!("{} attributes; a contact has at most {NAMES}", given.len())));
    }
    let read = |(name, value): (String, Value)| {
        let letter = |octet: u8| octet.is_ascii_alphanumeric() || b"_.-".contains(&octet);
        if !(1..=NAME_BYTES).contains(&name.len()) || !name.bytes().all(letter) {
            let wanted = format!("letters, digits, `_`, `.` and `-` are wanted, at most {NAME_BYTES}");
            return Err(Refusal::value(format!("attribute {name:?}: {wanted}")));
        }
        let value = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(Refusal::value(format!("`{name}`: a string, a number, true or false is wanted")));
            }
        };
        if value.len() > VALUE_BYTES {
            return Err(Refusal::value(format!("`{name}`: at most {VALUE_BYTES} octets are wanted")));
        }
        Ok((name, value))
    };
    given.into_iter().map(read).collect()
}
