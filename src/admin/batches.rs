//! Batches, and what was done taken back: a whole batch, or one event.

use super::access::Caller;
use super::answer::{Format, Parameters, Refusal, blocking, csv_line, json, read_json};
use super::contacts::suppressions;
use super::given::{Segment, Span, read_id, read_limit, read_reason};
use super::listing::{self, Asked, Row};
use super::routes::{App, must_write, turn};
use super::stream;
use super::wire::{BatchAnswer, BatchesAnswer, ReasonRequest, RevertLine, VoidAnswer};
use crate::ops::event::{self, LogEvent, Touched};
use crate::policy::{Contact, ContactState, Event, EventId, OperatorList, What, fold};
use crate::store::imports::{Batch, UndoError};
use crate::store::{NewEvent, Store, StoreError};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use std::sync::Arc;

impl From<UndoError> for Refusal {
    fn from(error: UndoError) -> Refusal {
        let (status, code) = match error {
            UndoError::Unknown => (StatusCode::NOT_FOUND, "not-found"),
            UndoError::Already(_) => (StatusCode::CONFLICT, "already"),
            UndoError::Never(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-value"),
            UndoError::Store(error) => return error.into(),
        };
        Refusal::new(status, code, error.to_string())
    }
}

/// `GET /v1/batches`: there are few, so they are read at once.
pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let query = Parameters::read(&request, &["since", "until", "cursor", "limit"])?;
    let format = Format::wanted(request.headers())?;
    let span = Span::of(&query)?;
    let cursor = query.parse("cursor", str::parse::<EventId>)?.map(String::from);
    let asked = Asked { format, cursor, limit: read_limit(&query)? };
    let store = app.service.store().clone();
    let read = move |cursor: Option<&str>, limit| {
        let behind = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(EventId(0));
        let admitted = store.batches()?.into_iter().filter(|batch| batch.id > behind && span.holds(batch.at));
        let mut found: Vec<BatchAnswer> = admitted.map(BatchAnswer::from).collect();
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|batch| batch.batch.to_string());
        Ok((found, next))
    };
    listing::list(&app, asked, read, |batches, next| BatchesAnswer { batches, next }).await
}

impl Row for BatchAnswer {
    const CSV_HEAD: &'static str = "batch,at,list,source,reason,entries,known,reverted\r\n";

    fn csv(&self) -> String {
        csv_line(&[
            &self.batch.to_string(),
            &self.at.to_string(),
            self.list.map_or("", OperatorList::as_str),
            &self.source,
            &self.reason,
            &self.entries.to_string(),
            &self.known.to_string(),
            &self.reverted.map(|at| at.to_string()).unwrap_or_default(),
        ])
    }
}

impl From<Batch> for BatchAnswer {
    fn from(batch: Batch) -> BatchAnswer {
        let Batch { id, at, list, source, reason, uid, entries, known, reverted } = batch;
        BatchAnswer { batch: id, at, list, source, reason, uid, entries, known, reverted }
    }
}

/// `POST /v1/batches/{id}/revert`: a line now and then that tells how far it is.
pub(super) async fn revert(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    id: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let (uid, id) = (must_write(caller)?.uid, read_id(id)?);
    let dry_run = Parameters::read(&request, &["dry_run"])?.flag("dry_run")?;
    let reason = read_reason(&read_json::<ReasonRequest>(request).await?.reason)?;
    let turn = turn(&app.import, "an import, or the taking back of one,")?;
    let store = app.service.store().clone();
    let asked = store.clone();
    let batch = blocking(move || asked.batch(id)).await?;
    let Some(batch) = batch else {
        let message = format!("there is no batch {id}; `backstopctl batches` lists them");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not-found", message));
    };
    if let Some(at) = batch.reverted {
        return Err(Refusal::new(StatusCode::CONFLICT, "already", format!("batch {id} was taken back on {at}")));
    }
    Ok(stream::work(turn, move |progress| {
        if dry_run {
            return Ok(vec![RevertLine::Done { batch: id, removed: batch.entries, dry_run }]);
        }
        let what = What::Revert { batch: id, reason: reason.clone(), uid };
        let new = NewEvent { at: Timestamp::now(), address: None, queue_id: None, what, content_key: None };
        let told = |reverted| RevertLine::Progress { reverted };
        let removed = store.revert(new, &mut |done| progress.tell(|| told(done))).map_err(stream::problem)?;
        event::say(&LogEvent::Operator { action: "revert", on: Touched::Id(id), uid, reason: &reason });
        Ok(vec![RevertLine::Done { batch: id, removed, dry_run }])
    }))
}

/// `POST /v1/events/{id}/void`: the event counts as if it had never been.
pub(super) async fn void(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    id: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let (uid, id) = (must_write(caller)?.uid, read_id(id)?);
    let dry_run = Parameters::read(&request, &["dry_run"])?.flag("dry_run")?;
    let reason = read_reason(&read_json::<ReasonRequest>(request).await?.reason)?;
    let store = app.service.store().clone();
    let policy = app.service.in_force().policy.clone();
    let (target, contact) = blocking(move || read_target(&store, id)).await?.ok_or(UndoError::Unknown)?;
    let mut event = None;
    let mut without = contact.clone();
    if dry_run {
        let store = app.service.store().clone();
        blocking(move || match store.may_void(id) {
            Err(UndoError::Store(error)) => Err(error),
            asked => Ok(asked),
        })
        .await??;
        without.facts.retain(|fact| fact.event != id);
    } else {
        let store = app.service.store().clone();
        let (address, what) = (target.address.clone(), What::Void { target: id, reason: reason.clone(), uid });
        let new = NewEvent { at: Timestamp::now(), address, queue_id: None, what, content_key: None };
        let asked = target.address.clone();
        let done = blocking(move || match store.void(new) {
            Ok(event) => Ok(Ok((event, contact_of(&store, asked.as_ref())?))),
            Err(UndoError::Store(error)) => Err(error),
            Err(error) => Ok(Err(error)),
        });
        let (voided, after) = done.await??;
        (event, without) = (Some(voided), after);
        event::say(&LogEvent::Operator { action: "undo", on: Touched::Id(id), uid, reason: &reason });
    }
    let now = Timestamp::now();
    let stood = |contact: &Contact| -> ContactState { fold(contact, &policy, contact.present(now)) };
    let (before, after) = (stood(&contact), stood(&without));
    let named = target.address.is_some();
    Ok(json(&VoidAnswer {
        target: id,
        kind: target.what.name().to_owned(),
        dry_run,
        event,
        address: target.address,
        before: named.then_some(before.state),
        after: named.then_some(after.state),
        suppressions: suppressions(&after),
    }))
}

pub(super) fn read_target(store: &Store, id: EventId) -> Result<Option<(Event, Contact)>, StoreError> {
    let before = EventId(id.0.saturating_sub(1));
    let found = store.events_after(Some(before), 1)?.into_iter().find(|event| event.id == id);
    let Some(event) = found else { return Ok(None) };
    let contact = contact_of(store, event.address.as_ref())?;
    Ok(Some((event, contact)))
}

pub(super) fn contact_of(store: &Store, address: Option<&crate::mail::Address>) -> Result<Contact, StoreError> {
    Ok(address.map(|address| store.contact(address)).transpose()?.flatten().unwrap_or_default())
}
