//! Requests that are answered line by line: the events, and a rebuild that tells how far it is.

use super::access::Caller;
use super::answer::Format::{self, NdJson};
use super::answer::{Parameters, Refusal, Stream, blocking, csv_line};
use super::given::{read_limit, read_time, read_why};
use super::listing::{self, Asked, Page, Row, written};
use super::routes::{App, must_write};
use super::server::stopped;
use super::stream::{self, READER_TIME};
use super::wire::{EventsAnswer, RebuildProgress};
use crate::ops::event::{self, LogEvent, Touched};
use crate::policy::{Event, EventId};
use crate::store::{Store, StoreError};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Events read from the store at a time.
const BATCH: usize = 500;

/// `GET /v1/events`: oldest first; NDJSON unless `Accept` says otherwise.
///
/// `since` is a time, or the id of the last event already seen; so is `cursor`. Without them, everything on record is
/// told; or, with `follow=true`, what is recorded from now on. `until` goes by when an event was recorded, as `since`
/// does.
pub(super) async fn events(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let query = Parameters::read(&request, &["since", "until", "follow", "cursor", "limit"])?;
    let follow = query.flag("follow")?;
    let format = if follow { Format::of_rows(request.headers()) } else { Format::accepted(request.headers(), NdJson) }?;
    let since = query.parse("since", read_since)?;
    let before = query.parse("until", read_until)?;
    let cursor = query.parse("cursor", str::parse::<EventId>)?;
    let limit = read_limit(&query)?;
    let store = app.service.store().clone();
    if !follow {
        let asked = Asked { format, cursor: cursor.max(since).map(String::from), limit };
        let read = move |cursor: Option<&str>, limit| {
            page(&store, cursor.and_then(|cursor| cursor.parse().ok()), before, limit)
        };
        return listing::list(&app, asked, read, |events, next| EventsAnswer { events, next }).await;
    }
    if before.is_some() || limit.is_some() {
        return Err(Refusal::value("`follow` has no end; `until` and `limit` do not go with it"));
    }
    let news = store.watch();
    let after = cursor.max(since).unwrap_or_else(|| *news.borrow());
    let (sender, response) = Stream::answer(format.content_type());
    let _ = sender.try_send(Ok(Bytes::from_static(format.head::<Event>().as_bytes())));
    let lines = Lines { format, sender };
    tokio::spawn(tell(store, Some(after), news, lines, app.stopping.clone()));
    Ok(response)
}

/// The events behind one and before another, and the cursor behind them.
fn page(
    store: &Store,
    after: Option<EventId>,
    before: Option<EventId>,
    limit: usize,
) -> Result<Page<Event>, StoreError> {
    let mut events = store.events_after(after, limit)?;
    let full = events.len() == limit;
    let within = events.partition_point(|event| before.is_none_or(|before| event.id < before));
    let more = full && within == limit;
    events.truncate(within);
    let next = events.last().filter(|_| more).map(|event| event.id.to_string());
    Ok((events, next))
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

/// The first id that is too late.
fn read_until(text: &str) -> Result<EventId, String> {
    read_time(text).map(|at| EventId::new(at, 0, 0))
}

impl Row for Event {
    const CSV_HEAD: &'static str =
        "id,at,event,kind,address,queue_id,category,type,code,reason,authority,campaign,list,scope,uid\r\n";

    fn csv(&self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        let cells = Event::CSV_HEAD.trim_end().split(',').map(|name| match &json[name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let cells: Vec<String> = cells.collect();
        csv_line(&cells.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Where the events go that somebody follows.
struct Lines {
    format: Format,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

async fn tell(
    store: Store,
    mut after: Option<EventId>,
    mut news: watch::Receiver<EventId>,
    lines: Lines,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        // Marked as seen before reading, so that an event recorded meanwhile wakes us.
        news.borrow_and_update();
        loop {
            let reading = store.clone();
            let batch = match blocking(move || reading.events_after(after, BATCH)).await {
                Ok(batch) => batch,
                Err(refusal) => {
                    let _ = lines.sender.send(Err(io::Error::other(refusal.message))).await;
                    return;
                }
            };
            let Some(last) = batch.last() else { break };
            after = Some(last.id);
            let sent = tokio::time::timeout(READER_TIME, lines.sender.send(written(lines.format, &batch)));
            if *stopping.borrow() || !matches!(sent.await, Ok(Ok(()))) {
                return;
            }
        }
        tokio::select! {
            news = news.changed() => if news.is_err() { return },
            () = lines.sender.closed() => return,
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
    let query = Parameters::read(&request, &["dry_run", "reason"])?;
    let (dry_run, reason) = (query.flag("dry_run")?, read_why(&query)?);
    let Ok(turn) = app.rebuild.clone().try_acquire_owned() else {
        return Err(Refusal::new(StatusCode::CONFLICT, "busy", "a rebuild is under way already"));
    };
    let store = app.service.store().clone();
    if dry_run {
        // As many as there are now: a rebuild changes none of them that is as its events say.
        let contacts = Some(store.figures().contacts);
        let nothing = RebuildProgress { contacts, dry_run, ..RebuildProgress::default() };
        return Ok(stream::work(turn, move |_| Ok(vec![nothing])));
    }
    event::say(&LogEvent::Operator { action: "rebuild", on: Touched::Nameless, uid: caller.uid, reason: &reason });
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
