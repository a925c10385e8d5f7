//! Requests that are answered line by line: the events, and a rebuild that tells how far it is.

use super::access::Caller;
use super::answer::{Parameters, Refusal, Stream, blocking, ndjson};
use super::routes::{App, must_write};
use super::server::stopped;
use super::stream;
use super::wire::RebuildProgress;
use crate::policy::EventId;
use crate::store::Store;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Events read from the store at a time.
const BATCH: usize = 500;

/// `GET /v1/events?since=&follow=`: NDJSON, oldest first.
///
/// `since` is a time, or the id of the last event already seen. Without it, everything on record is told; or,
/// with `follow=true`, what is recorded from now on.
pub(super) async fn events(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let query = Parameters::read(&request, &["since", "follow"])?;
    let follow = query.flag("follow")?;
    let news = app.service.store().watch();
    let after = match query.parse("since", read_since)? {
        Some(after) => Some(after),
        None if follow => Some(*news.borrow()),
        None => None,
    };
    let (sender, response) = Stream::answer("application/x-ndjson");
    let news = follow.then_some(news);
    tokio::spawn(tell(app.service.store().clone(), after, news, sender, app.stopping.clone()));
    Ok(response)
}

fn read_since(text: &str) -> Result<EventId, String> {
    if let Ok(id) = text.parse::<EventId>() {
        return Ok(id);
    }
    let at: Timestamp =
        text.parse().map_err(|_| "a time is wanted, as 2026-08-21T03:00:00Z, or the id of an event".to_owned())?;
    // The last id before that time; those of the time itself are told.
    Ok(EventId(EventId::new(at, 0, 0).0.saturating_sub(1)))
}

async fn tell(
    store: Store,
    mut after: Option<EventId>,
    mut news: Option<watch::Receiver<EventId>>,
    lines: mpsc::Sender<io::Result<Bytes>>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        // Marked as seen before reading, so that an event recorded meanwhile wakes us.
        if let Some(news) = &mut news {
            news.borrow_and_update();
        }
        loop {
            let reading = store.clone();
            let batch = match blocking(move || reading.events_after(after, BATCH)).await {
                Ok(batch) => batch,
                Err(refusal) => {
                    let _ = lines.send(Err(io::Error::other(refusal.message))).await;
                    return;
                }
            };
            let Some(last) = batch.last() else { break };
            after = Some(last.id);
            if *stopping.borrow() || lines.send(ndjson(&batch)).await.is_err() {
                return;
            }
        }
        let Some(news) = &mut news else { return };
        tokio::select! {
            news = news.changed() => if news.is_err() { return },
            () = lines.closed() => return,
            () = stopped(&mut stopping) => return,
        }
    }
}

/// `POST /v1/rebuild`: makes every contact record anew from the events.
pub(super) async fn rebuild(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let caller = must_write(caller)?;
    Parameters::read(&request, &[])?;
    let Ok(turn) = app.rebuild.clone().try_acquire_owned() else {
        return Err(Refusal::new(StatusCode::CONFLICT, "busy", "a rebuild is under way already"));
    };
    tracing::info!(uid = caller.uid, "contact records are made anew from the events");
    let store = app.service.store().clone();
    Ok(stream::work(turn, move |progress| {
        let told = |read| RebuildProgress { events_read: Some(read), ..RebuildProgress::default() };
        let contacts = store.rebuild(&mut |read| progress.tell(|| told(read))).map_err(stream::problem)?;
        Ok(vec![RebuildProgress { contacts: Some(contacts), ..RebuildProgress::default() }])
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn since_a_time_includes_the_events_of_that_time() {
        let at: Timestamp = "2026-08-21T03:00:00Z".parse().expect("a literal");
        let since = read_since("2026-08-21T03:00:00Z").expect("a time");
        assert!(since < EventId::new(at, 0, 0));
        assert!(since >= EventId::new(at - Duration::from_millis(1), u32::MAX, u64::MAX));
    }

    #[test]
    fn since_an_event_is_behind_that_event() {
        let id = EventId::new(Timestamp::UNIX_EPOCH, 7, 9);
        assert_eq!(read_since(&id.to_string()), Ok(id));
        assert!(read_since("yesterday").is_err());
    }
}
