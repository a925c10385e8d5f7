//! Signs of life, told by the operator's programs: opened, clicked, replied, bought.

use super::access::Caller;
use super::answer::{Parameters, Refusal, json, read_body};
use super::given::read_why;
use super::routes::{App, must_write};
use super::wire::{ActivityAnswer, ActivityRequest};
use crate::mail::Address;
use crate::policy::{ContentKey, What};
use crate::store::{NewEvent, Recorded};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use std::sync::Arc;

/// Signs of life in one request.
const MOST: usize = 10_000;
/// Of these, recorded at once.
const AT_ONCE: usize = 500;
/// Octets of a campaign's id, as in a header.
const CAMPAIGN_BYTES: usize = 255;

/// `POST /v1/activity`: one, or an array. Told twice, it counts once.
///
/// Of a contact that has nothing on record there is nothing to change, so nothing is recorded: an open of every
/// reader of every campaign would be most of the store.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let uid = must_write(caller)?.uid;
    let query = Parameters::read(&request, &["dry_run", "reason"])?;
    let (dry_run, reason) = (query.flag("dry_run")?, read_why(&query)?);
    let now = Timestamp::now();
    let told = read(&read_body(request, super::JSON_BYTES).await?)?;
    let mut events = Vec::new();
    let mut answer = ActivityAnswer { dry_run, ..ActivityAnswer::default() };
    for (place, told) in told.into_iter().enumerate() {
        let event =
            event(told, now, uid, &reason).map_err(|problem| Refusal::value(format!("[{place}]: {problem}")))?;
        match &event.address {
            Some(address) if app.service.store().may_be_suppressed(address) => events.push(event),
            Some(_) | None => answer.ignored += 1,
        }
    }
    if dry_run {
        answer.recorded = events.len() as u64;
        return Ok(json(&answer));
    }
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let some: Vec<NewEvent> = events.by_ref().take(AT_ONCE).collect();
        for recorded in app.service.store().record(some).await? {
            match recorded {
                Recorded::New(_) => answer.recorded += 1,
                Recorded::Known(_) => answer.known += 1,
            }
        }
    }
    Ok(json(&answer))
}

/// Reads one, or an array; told apart here, so that an error says what is wrong with the one it is about.
fn read(body: &[u8]) -> Result<Vec<ActivityRequest>, Refusal> {
    let told = if body.trim_ascii_start().first() == Some(&b'[') {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|one| vec![one])
    };
    let told: Vec<ActivityRequest> = told.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refusal::value(error.to_string()),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "invalid-json", format!("the body is no JSON: {error}")),
    })?;
    if told.len() > MOST {
        return Err(Refusal::value(format!("{} signs of life; one request takes at most {MOST}", told.len())));
    }
    Ok(told)
}

fn event(told: ActivityRequest, now: Timestamp, uid: u32, reason: &str) -> Result<NewEvent, String> {
    let address = Address::parse(&told.address).map_err(|error| format!("`address`: {error}"))?;
    let level = told.level.0;
    if let Some(campaign) = &told.campaign
        && (!(1..=CAMPAIGN_BYTES).contains(&campaign.0.len()) || campaign.0.chars().any(char::is_control))
    {
        return Err(format!("`campaign`: one line of at most {CAMPAIGN_BYTES} octets is wanted"));
    }
    let at = told.at.unwrap_or(now);
    if at > now {
        return Err(format!("`at`: {at} is yet to come; a time that has passed is wanted"));
    }
    let campaign = told.campaign.as_ref().map_or("", |campaign| &campaign.0);
    let pieces: [&[u8]; 5] = [
        b"activity",
        address.as_str().as_bytes(),
        campaign.as_bytes(),
        &[u8::from(level)],
        &at.as_nanosecond().to_le_bytes(),
    ];
    let content_key = Some(ContentKey::of(&pieces));
    let what = What::Activity { level, campaign: told.campaign, uid: Some(uid), reason: reason.to_owned() };
    Ok(NewEvent { at, address: Some(address), queue_id: None, what, content_key })
}
