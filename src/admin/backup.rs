//! A copy of the store while it serves, and its figures.

use super::access::Caller;
use super::answer::{Parameters, Refusal};
use super::given::read_why;
use super::routes::{App, must_write, turn};
use super::stream::{self, Broken};
use crate::ops::event::{self, LogEvent, Touched};
use crate::store::backup::BackupError;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use std::sync::Arc;

/// `POST /v1/backup?reason=`: the stream that `backstopctl db restore` reads. It holds everything there is, the key
/// of the store's hashes too, so it is for those who may write. Whether it came to its end is told by the stream
/// itself.
pub(super) async fn backup(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let uid = must_write(caller)?.uid;
    let reason = read_why(&Parameters::read(&request, &["reason"])?)?;
    let turn = turn(&app.backup, "a backup")?;
    let store = app.service.store().clone();
    Ok(stream::list("application/octet-stream", turn, move |pieces| {
        match store.backup(&mut |octets| pieces.write(octets)) {
            Ok(summary) => {
                let on = Touched::Many(summary.events);
                event::say(&LogEvent::Operator { action: "backup", on, uid, reason: &reason });
                Ok(())
            }
            Err(BackupError::Taker(broken)) => Err(broken),
            // The stream says why, in its own words.
            Err(error @ (BackupError::Store(_) | BackupError::Erasure)) => {
                tracing::warn!(uid, error = %problem(&error), "a backup was broken off");
                Ok(())
            }
        }
    }))
}

fn problem(error: &BackupError<Broken>) -> String {
    error.to_string()
}

/// `GET /v1/db`: how much of what is in the store. All of it is read, which takes a while.
pub(super) async fn stats(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    let place = turn(&app.lists, "the writing of 16 long lists")?;
    let store = app.service.store().clone();
    Ok(stream::work(place, move |_| Ok(vec![store.stats().map_err(stream::problem)?])))
}
