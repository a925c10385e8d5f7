//! Every request of the admin socket, and which function answers it (SPEC 12).

use super::access::{Access, Caller};
use super::answer::{Refusal, Trouble};
use super::metrics;
use super::operation::Operation;
use super::operations::operations;
use super::server::Daemon;
use crate::ops::event::{LogEvent, say};
use crate::service::Service;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Semaphore, watch};

/// What the answers are made of.
pub(super) struct App {
    pub service: Arc<Service>,
    pub daemon: Arc<dyn Daemon>,
    pub started: Instant,
    /// Becomes true when the server stops: streams without an end must then end.
    pub stopping: watch::Receiver<bool>,
    /// Mails in memory at once: each may be [`MAIL_BYTES`](super::MAIL_BYTES) long.
    pub mails: Semaphore,
    /// One rebuild or compaction at a time.
    pub rebuild: Arc<Semaphore>,
    /// One backup at a time.
    pub backup: Arc<Semaphore>,
    /// One import, or taking back of one, at a time.
    pub import: Arc<Semaphore>,
    /// Long lists written at once: each has a thread that waits with its reader.
    pub lists: Arc<Semaphore>,
}

impl App {
    pub fn new(service: Arc<Service>, daemon: Arc<dyn Daemon>, stopping: watch::Receiver<bool>) -> App {
        let (mails, lists) = (Semaphore::new(4), Arc::new(Semaphore::new(16)));
        let backup = Arc::new(Semaphore::new(1));
        let (rebuild, import) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        App { service, daemon, started: Instant::now(), stopping, mails, rebuild, backup, import, lists }
    }
}

/// The requests of a peer that may read, each with its own check for those that only writers may ask.
pub(super) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for Operation { path, access, route, .. } in operations() {
        router = router.route(
            path,
            match access {
                Access::Write => route.route_layer(from_fn(move |request, next| only_writers(path, request, next))),
                Access::Read | Access::Nothing => route,
            },
        );
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(app)
}

/// Lets writers pass, and tells the log where what they asked for could not be done.
async fn only_writers(path: &'static str, request: Request, next: Next) -> Result<Response, Refusal> {
    let caller = match request.extensions().get::<Caller>() {
        Some(caller) => must_write(Extension(*caller))?,
        None => return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", "nobody can tell who you are")),
    };
    // The path as the table has it: an address in it stays out of the log.
    let action = format!("{} {path}", request.method());
    let mut answer = next.run(request).await;
    if let Some(trouble) = answer.extensions_mut().remove::<Trouble>() {
        trouble.tell(move |problem| say(&LogEvent::OperatorFailed { action: &action, uid: caller.uid, problem }));
    }
    Ok(answer)
}

/// `/metrics` alone, for the TCP listener, which knows nobody's user id.
pub(super) fn metrics_only(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

const NOT_A_MEMBER: &str = "your user may not use this socket; ask for group membership: who is in [admin] read_group \
                            (backstop-read) may ask, who is in write_group (backstop-admin) may change";
const ONLY_A_READER: &str =
    "your user may read here, but change nothing; that takes the group [admin] write_group (backstop-admin)";

/// One answer to everything, for a peer that may not even read.
pub(super) fn nothing() -> Router {
    Router::new().fallback(|| async { Refusal::new(StatusCode::FORBIDDEN, "forbidden", NOT_A_MEMBER) })
}

/// The same, for a peer of whom nobody can tell who it is, and why.
pub(super) fn somebody(problem: &std::io::Error) -> Router {
    let message = format!(
        "your user cannot be told from others here: backstopd-peer, which tells the daemon who connects, does not answer \
         ({problem}); have root do it: systemctl start backstopd-peer.socket"
    );
    Router::new().fallback(move || async { Refusal::new(StatusCode::FORBIDDEN, "forbidden", message) })
}

/// Lets a writer pass.
///
/// # Errors
/// 403 for a peer that may only read.
pub(super) fn must_write(Extension(caller): Extension<Caller>) -> Result<Caller, Refusal> {
    match caller.access {
        Access::Write => Ok(caller),
        Access::Read | Access::Nothing => Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", ONLY_A_READER)),
    }
}

async fn unknown(request: Request) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "unknown-request", format!("there is no {}", request.uri().path()))
}

async fn wrong_method(request: Request) -> Refusal {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", message)
}

/// A place for one of few, or 409.
///
/// # Errors
/// 409 that says what is under way.
pub(super) fn turn(places: &Arc<Semaphore>, what: &str) -> Result<tokio::sync::OwnedSemaphorePermit, Refusal> {
    places.clone().try_acquire_owned().map_err(|_| {
        Refusal::new(StatusCode::CONFLICT, "busy", format!("{what} is under way already; wait for it to end"))
    })
}
