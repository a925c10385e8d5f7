//! Whole mails handed in by a person: judged only, or taken as if they had come back.

use super::access::Caller;
use super::answer::{MAIL_BYTES, Parameters, Refusal, blocking, json, read_body};
use super::classified;
use super::given::{read_past, read_why};
use super::routes::{App, must_write};
use super::wire::IngestAnswer;
use crate::authority::Origin;
use crate::inbound::Arrival;
use crate::ops::event::{self, LogEvent, Touched};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// Longest wait for a place among the mails in memory.
const PLACE_TIME: Duration = Duration::from_secs(10);

/// `POST /v1/classify`: reads and judges, stores nothing.
pub(super) async fn classify(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let (_place, mail) = read_mail(&app, request).await?;
    let in_force = app.service.in_force();
    let answer = blocking(move || {
        let headers = &in_force.outbound.campaign_headers;
        Ok(classified(&mail, &in_force.inbound.limits, headers, &in_force.dialects, &in_force.rules))
    });
    Ok(json(&answer.await?))
}

/// `POST /v1/ingest`: as if it had arrived on the return path, from elsewhere. A person's word does not make
/// a report more believable: without a send of ours to match, it is recorded as `unverified`. `at` says when it
/// came back, if not now. Who handed it in, and `reason`, is in the log; the events are those of any report.
pub(super) async fn ingest(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let uid = must_write(caller)?.uid;
    let now = Timestamp::now();
    let query = Parameters::read(&request, &["at", "reason"])?;
    let (at, reason) = (query.parse("at", |text| read_past(text, now))?, read_why(&query)?);
    let (_place, mail) = read_mail(&app, request).await?;
    let arrival = Arrival { raw: &mail, at: at.unwrap_or(now), queue_id: "-", origin: Origin::Elsewhere, came_to: &[] };
    let ingested = app.service.ingest(arrival).await?;
    if let Some(problem) = ingested.postponed {
        let message = format!("its signature cannot be checked now, try again: {problem}");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "dns-unavailable", message));
    }
    if !ingested.recorded.is_empty() {
        let on = Touched::Many(ingested.recorded.len() as u64);
        event::say(&LogEvent::Operator { action: "ingest", on, uid, reason: &reason });
    }
    Ok(json(&IngestAnswer { kind: ingested.kind, recorded: ingested.recorded, known: ingested.known }))
}

async fn read_mail(app: &App, request: Request) -> Result<(SemaphorePermit<'_>, Bytes), Refusal> {
    let place = match tokio::time::timeout(PLACE_TIME, app.mails.acquire()).await {
        Ok(Ok(place)) => place,
        Ok(Err(_)) | Err(_) => {
            let message = "too many mails are being read; try again";
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message));
        }
    };
    let mail = read_body(request, MAIL_BYTES).await?;
    if mail.is_empty() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "empty-body", "the body is to be a message/rfc822"));
    }
    Ok((place, mail))
}
