//! Every request of the admin socket, and which function answers it (SPEC 12).

use super::access::{Access, Caller};
use super::answer::Refusal;
use super::campaigns;
use super::server::Daemon;
use super::{
    activity, attributes, batches, confirm, contacts, erasure, events, explain, export, imports, lists, mails, metrics,
    policy, status, suppressions,
};
use crate::service::Service;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
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
    /// One import, or taking back of one, at a time.
    pub import: Arc<Semaphore>,
    /// Long lists written at once: each has a thread that waits with its reader.
    pub lists: Arc<Semaphore>,
}

impl App {
    pub fn new(service: Arc<Service>, daemon: Arc<dyn Daemon>, stopping: watch::Receiver<bool>) -> App {
        let (mails, lists) = (Semaphore::new(4), Arc::new(Semaphore::new(16)));
        let (rebuild, import) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
        App { service, daemon, started: Instant::now(), stopping, mails, rebuild, import, lists }
    }
}

/// The requests of a peer that may read; those that change something ask for more themselves.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/contacts/{address}", get(contacts::show).delete(erasure::erase))
        .route("/v1/contacts/{address}/explain", get(explain::get))
        .route("/v1/contacts/{address}/attributes", put(attributes::put))
        .route("/v1/contacts/{address}/limit", put(attributes::put_limit))
        .route("/v1/contacts/{address}/suppress", post(contacts::suppress))
        .route("/v1/contacts/{address}/reactivate", post(contacts::reactivate))
        .route("/v1/suppressions", get(suppressions::list))
        .route("/v1/policy", get(policy::show))
        .route("/v1/campaigns/{id}", get(campaigns::report))
        .route("/v1/campaigns/{id}/responses", get(campaigns::responses))
        .route("/v1/check", post(contacts::check))
        .route("/v1/classify", post(mails::classify))
        .route("/v1/ingest", post(mails::ingest))
        .route("/v1/activity", post(activity::post))
        .route("/v1/blocklist", get(lists::blocklist).put(lists::add_blocklist).delete(lists::remove_blocklist))
        .route("/v1/robinson", get(lists::robinson).put(lists::add_robinson).delete(lists::remove_robinson))
        .route("/v1/import", post(imports::import))
        .route("/v1/export", get(export::export))
        .route("/v1/batches", get(batches::list))
        .route("/v1/batches/{id}/revert", post(batches::revert))
        .route("/v1/events", get(events::events))
        .route("/v1/events/{id}/void", post(batches::void))
        .route("/v1/events/{id}/confirm", post(confirm::one))
        .route("/v1/confirm", post(confirm::many))
        .route("/v1/rebuild", post(events::rebuild))
        .route("/v1/compact", post(erasure::compact))
        .route("/metrics", get(metrics::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// `/metrics` alone, for the TCP listener, which knows nobody's user id.
pub(super) fn metrics_only(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// One answer to everything, for a peer that may not even read.
pub(super) fn nothing() -> Router {
    Router::new().fallback(|| async {
        Refusal::new(StatusCode::FORBIDDEN, "forbidden", "your user may not use this socket; ask for group membership")
    })
}

/// Lets a writer pass.
///
/// # Errors
/// 403 for a peer that may only read.
pub(super) fn must_write(Extension(caller): Extension<Caller>) -> Result<Caller, Refusal> {
    match caller.access {
        Access::Write => Ok(caller),
        Access::Read | Access::Nothing => {
            Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", "your user may read here, but change nothing"))
        }
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
