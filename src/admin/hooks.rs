//! The hooks: how they are, and a try.

use super::access::Caller;
use super::answer::{Parameters, Refusal, json, read_json};
use super::given::{Segment, read_reason, read_segment};
use super::routes::{App, must_write};
use super::wire::ReasonRequest;
use crate::ops::event::{self, LogEvent, Touched};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use std::sync::Arc;

/// `GET /v1/hooks`: every hook, in order of name.
pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let hooks = app.daemon.hooks().map(|hooks| hooks.status(Timestamp::now()));
    Ok(json(&hooks.unwrap_or_default()))
}

/// `POST /v1/hooks/{name}/test`: tells the hook a notice of type `test` now, beside its queue, and what came of it.
pub(super) async fn test(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    name: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    must_write(caller)?;
    let name = read_segment(name)?;
    Parameters::read(&request, &[])?;
    let tried = match app.daemon.hooks() {
        Some(hooks) => hooks.test(&name).await,
        None => None,
    };
    Ok(json(&tried.ok_or_else(|| unknown(&name))?))
}

/// `POST /v1/hooks/{name}/skip`: what waits is not told any more, so that what follows is.
pub(super) async fn skip(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    name: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let uid = must_write(caller)?.uid;
    let name = read_segment(name)?;
    let dry_run = Parameters::read(&request, &["dry_run"])?.flag("dry_run")?;
    let reason = read_reason(&read_json::<ReasonRequest>(request).await?.reason)?;
    let answer = app.daemon.hooks().and_then(|hooks| hooks.skip(&name, dry_run)).ok_or_else(|| unknown(&name))?;
    if !dry_run {
        event::say(&LogEvent::Operator { action: "hook-skip", on: Touched::Nameless, uid, reason: &reason });
    }
    Ok(json(&answer))
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not-found", format!("there is no hook {name}"))
}
