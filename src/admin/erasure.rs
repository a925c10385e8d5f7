//! Erasure of a person's data, and the writing of the store anew without it.

use super::access::Caller;
use super::answer::{Parameters, Refusal, blocking, json, read_json};
use super::contacts::RESPONSES;
use super::given::{Segment, read_address, read_reason, read_why};
use super::routes::{App, must_write, turn};
use super::stream;
use super::wire::{CompactLine, EraseAnswer, ReasonRequest};
use crate::ops::event::{self, LogEvent, Touched};
use crate::policy::What;
use crate::store::NewEvent;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use std::sync::Arc;

/// `DELETE /v1/contacts/{address}`. A keyed hash stays that blocks the address, unless `keep_hash=false`.
pub(super) async fn erase(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    address: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let (uid, address) = (must_write(caller)?.uid, read_address(address)?);
    let query = Parameters::read(&request, &["keep_hash", "dry_run"])?;
    let dry_run = query.flag("dry_run")?;
    let kept = query.get("keep_hash").is_none() || query.flag("keep_hash")?;
    let reason = read_reason(&read_json::<ReasonRequest>(request).await?.reason)?;
    // The reason stays on record.
    if reason.to_lowercase().contains(&address.as_str().to_lowercase()) {
        return Err(Refusal::value("`reason` names the address, and stays; say why without it"));
    }
    let (store, asked) = (app.service.store().clone(), address.clone());
    if dry_run {
        let events = blocking(move || Ok(store.events_of(&asked, RESPONSES)?.len() as u64)).await?;
        return Ok(json(&EraseAnswer { address, dry_run, hash_kept: kept, events, sends: None }));
    }
    let what = What::Erase { kept, reason: reason.clone(), uid };
    let new = NewEvent { at: Timestamp::now(), address: None, queue_id: None, what, content_key: None };
    let erased = blocking(move || store.erase(&asked, new)).await?;
    app.service.sends().forget(app.service.store().recipient_key(&address));
    event::say(&LogEvent::Operator { action: "erase", on: Touched::Nameless, uid, reason: &reason });
    let (events, sends) = (erased.events, Some(erased.sends));
    Ok(json(&EraseAnswer { address, dry_run, hash_kept: kept, events, sends }))
}

/// `POST /v1/compact`: a line now and then that tells how far it is.
pub(super) async fn compact(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let caller = must_write(caller)?;
    let query = Parameters::read(&request, &["dry_run", "reason"])?;
    let (dry_run, reason) = (query.flag("dry_run")?, read_why(&query)?);
    let turn = turn(&app.rebuild, "a rebuild or a compaction")?;
    let store = app.service.store().clone();
    if dry_run {
        let bytes_before = store.figures().disk_bytes;
        return Ok(stream::work(turn, move |_| Ok(vec![CompactLine::Nothing { bytes_before, dry_run }])));
    }
    event::say(&LogEvent::Operator { action: "compact", on: Touched::Nameless, uid: caller.uid, reason: &reason });
    Ok(stream::work(turn, move |progress| {
        let told = |written| CompactLine::Progress { written };
        let (bytes_before, bytes_after) =
            store.compact(&mut |written| progress.tell(|| told(written))).map_err(stream::problem)?;
        Ok(vec![CompactLine::Done { bytes_before, bytes_after }])
    }))
}
