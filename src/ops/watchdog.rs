//! Tells the service manager that the daemon lives, while it does (`WatchdogSec=`).
//!
//! Alive means: every milter listener serves a connection and has a message begun on it, and the store's writer
//! answers. A writer that answers that the disk is full is alive; one that hangs is not, and nobody else could tell.

use super::systemd;
use crate::milter::server::Prober;
use crate::service::Service;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

/// How often the status is told where nobody watches.
const STATUS_EVERY: Duration = Duration::from_secs(60);

/// What is looked at.
pub struct Watched {
    /// The milter.
    pub milter: Prober,
    /// The store, behind the service.
    pub service: Arc<Service>,
    /// What `systemctl status` shows.
    pub status: Box<dyn Fn() -> String + Send + Sync>,
}

/// Looks until it is aborted. What hangs is told once, and again when it goes on.
pub async fn serve(watched: Watched) {
    // The wait for a look, and the look, which may take as long, fit into the time.
    let every = sd_notify::watchdog_enabled().map_or(STATUS_EVERY, |time| time / 3);
    let mut due = interval_at(Instant::now() + every, every);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hung = None;
    loop {
        due.tick().await;
        let found = look(&watched, every).await;
        match found {
            None => systemd::alive(&(watched.status)()),
            Some(what) if hung != found => tracing::error!("the {what} does not answer within {every:?}"),
            Some(_) => {}
        }
        if hung.is_some() && found.is_none() {
            tracing::warn!("the milter and the store answer again");
        }
        hung = found;
    }
}

/// What hangs, if anything does.
async fn look(watched: &Watched, patience: Duration) -> Option<&'static str> {
    let until = Instant::now() + patience;
    match timeout_at(until, watched.milter.serves()).await {
        Ok(true) => {}
        _ => return Some("milter"),
    }
    // Nothing is recorded; that it cannot be is an answer, too.
    match timeout_at(until, watched.service.store().record(Vec::new())).await {
        Ok(_) => None,
        Err(_) => Some("store's writer"),
    }
}
