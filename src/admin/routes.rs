//! Every request of the admin socket, and which function answers it (SPEC 12).

use super::access::{Access, Caller};
use super::answer::Refusal;
use super::server::Daemon;
use super::{contacts, events, mails, metrics, policy, status, suppressions};
use crate::service::Service;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, post};
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
    /// One rebuild at a time.
    pub rebuild: Arc<Semaphore>,
}

impl App {
    pub fn new(service: Arc<Service>, daemon: Arc<dyn Daemon>, stopping: watch::Receiver<bool>) -> App {
        let (mails, rebuild) = (Semaphore::new(4), Arc::new(Semaphore::new(1)));
        App { service, daemon, started: Instant::now(), stopping, mails, rebuild }
    }
}

/// The requests of a peer that may read; those that change something ask for more themselves.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/status", get(status::status))
        .route("/v1/contacts/{address}", get(contacts::show))
        .route("/v1/contacts/{address}/suppress", post(contacts::suppress))
        .route("/v1/contacts/{address}/reactivate", post(contacts::reactivate))
        .route("/v1/suppressions", get(suppressions::list))
        .route("/v1/policy", get(policy::show))
        .route("/v1/check", post(contacts::check))
        .route("/v1/classify", post(mails::classify))
        .route("/v1/ingest", post(mails::ingest))
        .route("/v1/events", get(events::events))
        .route("/v1/rebuild", post(events::rebuild))
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
