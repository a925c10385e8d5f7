//! What one campaign did (SPEC 8): its figures, and what came back from each contact.
//!
//! The store's index tells which contacts the campaign concerns; then the record of each of these is judged, about 30
//! microseconds a contact, as `contacts` and the screening judge it. So a bounce that was retracted, voided or
//! erased counts as it does there. Memory grows with the contacts of the one campaign that something came back
//! from, or that were skipped.

use super::answer::{Format, Parameters, Refusal, Stream, blocking, json, ndjson};
use super::campaign_count::{Judge, Word, last_words, record};
use super::campaign_walk::{Kept, Skip, Walk, Wanted};
use super::given::{LIMIT, Segment, read_limit};
use super::listing::{internal, page_of};
use super::routes::{self, App};
use super::wire::word;
use super::wire_campaigns::{CampaignResponse, CampaignResponsesAnswer};
use crate::classify::{Class, code};
use crate::policy::{Policy, What, fold};
use crate::report::{Campaign, Kind};
use crate::store::{Store, StoreError};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use std::collections::btree_map::IntoIter;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};

/// Contacts judged at a time while a list is written.
const BATCH: usize = 200;
/// Longest time in which a reader takes nothing of a list.
const READER_TIME: Duration = Duration::from_secs(600);
/// So many reports are made at a time; others wait.
pub(super) static TURNS: Semaphore = Semaphore::const_new(2);

/// `GET /v1/campaigns/{id}`.
pub(super) async fn report(State(app): State<Arc<App>>, id: Segment, request: Request) -> Result<Response, Refusal> {
    let campaign = read_campaign(id)?;
    Parameters::read(&request, &[])?;
    let turn = TURNS.acquire().await;
    let (store, policy) = (app.service.store().clone(), app.service.in_force().policy.clone());
    let (asked, going_on) = asked(&app);
    let of = campaign.clone();
    let made = blocking(move || {
        let judge = Judge { store: &store, policy: &policy, now: Timestamp::now() };
        judge.report(of, &going_on)
    });
    let report = made.await?;
    drop((turn, asked));
    if report.first_at.is_none() {
        return Err(nothing_known(&campaign));
    }
    Ok(json(&report))
}

/// `GET /v1/campaigns/{id}/responses`: in pages of `limit` contacts; NDJSON and CSV without a `limit` whole.
pub(super) async fn responses(State(app): State<Arc<App>>, id: Segment, request: Request) -> Result<Response, Refusal> {
    let campaign = read_campaign(id)?;
    let format = Format::wanted(request.headers())?;
    let query = Parameters::read(&request, &["cursor", "limit"])?;
    let limit = read_limit(&query)?.or((format == Format::Json).then_some(LIMIT));
    let wanted = Wanted { behind: query.get("cursor").map(str::to_owned), most: limit.unwrap_or(usize::MAX) };
    let place = match limit {
        Some(_) => None,
        None => Some(routes::turn(&app.lists, "the writing of 16 long lists")?),
    };
    let turn = TURNS.acquire().await;
    let store = app.service.store().clone();
    let (asked, going_on) = asked(&app);
    let of = campaign.clone();
    let found = blocking(move || {
        let found = Walk::over(&store, &of, wanted, &going_on)?;
        let known = found.first_at.is_some() || store.sent_of(&of)?.recipients > 0;
        Ok(known.then_some(found))
    });
    let found = found.await?.ok_or_else(|| nothing_known(&campaign))?;
    drop(asked);
    let next = found.next();
    let told = Told { app, campaign, contacts: found.contacts.into_iter() };
    if limit.is_some() {
        let (_, responses) = told.some(usize::MAX).await?;
        return match format {
            Format::Json => Ok(json(&CampaignResponsesAnswer { responses, next })),
            Format::NdJson | Format::Csv => {
                let body = [opening(format), written(format, &responses).map_err(internal)?].concat();
                Ok(page_of(format, body, next))
            }
        };
    }
    // The next may walk, however slow this one's reader is.
    drop(turn);
    let (sender, response) = Stream::answer(format.content_type());
    tokio::spawn(async move {
        told.to(format, sender).await;
        drop(place);
    });
    Ok(response)
}

/// What holds a request's work up to its end: it goes on until the first is dropped, as it is when the peer is
/// gone, or the server stops.
pub(super) fn asked(app: &App) -> (watch::Sender<()>, impl Fn() -> bool + Send + 'static) {
    let (asked, waiting) = watch::channel(());
    let stopping = app.stopping.clone();
    (asked, move || waiting.has_changed().is_ok() && !*stopping.borrow())
}

/// What came back from the contacts, to be told.
struct Told {
    app: Arc<App>,
    campaign: Campaign,
    contacts: IntoIter<String, Kept>,
}

impl Told {
    /// Writes all of it; an error breaks the answer off.
    async fn to(self, format: Format, sender: mpsc::Sender<io::Result<Bytes>>) {
        let mut told = self;
        let mut piece = Ok(opening(format));
        loop {
            let broken = piece.is_err();
            let sent = tokio::time::timeout(READER_TIME, sender.send(piece)).await;
            if broken || !matches!(sent, Ok(Ok(()))) || told.contacts.len() == 0 {
                return;
            }
            match told.some(BATCH).await {
                Ok((rest, responses)) => {
                    told = rest;
                    piece = written(format, &responses);
                }
                // The contacts are gone with the work that failed.
                Err(refusal) => {
                    let _ = sender.send(Err(io::Error::other(refusal.message))).await;
                    return;
                }
            }
        }
    }

    /// What came back from the next so many contacts, and the rest.
    async fn some(mut self, contacts: usize) -> Result<(Told, Vec<CampaignResponse>), Refusal> {
        blocking(move || {
            let store = self.app.service.store().clone();
            let policy = self.app.service.in_force().policy.clone();
            let now = Timestamp::now();
            let mut responses = Vec::new();
            for (name, kept) in self.contacts.by_ref().take(contacts) {
                tell(&mut responses, &store, name, kept.skip, &self.campaign, &policy, now)?;
            }
            Ok((self, responses))
        })
        .await
    }
}

/// What stands before the first.
fn opening(format: Format) -> Bytes {
    Bytes::from_static(if format == Format::Csv { CampaignResponse::CSV_HEAD.as_bytes() } else { b"" })
}

fn written(format: Format, responses: &[CampaignResponse]) -> io::Result<Bytes> {
    match format {
        Format::Json | Format::NdJson => ndjson(responses),
        Format::Csv => Ok(responses.iter().map(CampaignResponse::csv).collect::<String>().into()),
    }
}

fn tell(
    responses: &mut Vec<CampaignResponse>,
    store: &Store,
    name: String,
    skip: Option<Skip>,
    campaign: &Campaign,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), StoreError> {
    let contact = record(store, &name)?;
    let facts = contact.believed_at(now);
    let words = last_words(&facts, campaign, policy);
    let retracted = if words.is_empty() { Vec::new() } else { fold(&contact, policy, now).retracted };
    let before = responses.len();
    for Word { fact, came, .. } in words {
        let evidence = match store.event(fact.event)?.map(|event| event.what) {
            Some(What::Response { evidence, .. }) => *evidence,
            _ => Default::default(),
        };
        let words = Some(evidence.description).filter(|text| !text.is_empty());
        responses.push(CampaignResponse {
            address: name.clone(),
            at: fact.at,
            class: came.class,
            kind: came.kind,
            category: came.category,
            bounce_type: came.bounce_type,
            code: came.code,
            reason: came.reason.clone(),
            fault: came.fault,
            authority: Some(came.authority),
            list: came.list.clone(),
            retracted: retracted.binary_search(&fact.event).is_ok(),
            // The words may be older than they are kept; what the code means is still true.
            description: words.or_else(|| came.code.map(|code| code::entry(code).description.to_owned())),
            diagnostic: evidence.diagnostic,
            event: fact.event,
        });
    }
    responses.extend(skip.map(|skip| CampaignResponse {
        address: name,
        at: skip.at,
        class: Class::Skip,
        kind: Kind::Other,
        category: skip.category,
        bounce_type: None,
        code: None,
        reason: Some(word(&skip.reason)),
        fault: None,
        authority: None,
        list: skip.list,
        retracted: false,
        description: Some(if skip.shadow {
            "would have been taken off the message (shadow mode)".to_owned()
        } else {
            "taken off the message before it left".to_owned()
        }),
        diagnostic: None,
        event: skip.event,
    }));
    responses[before..].sort_by_key(|response| (response.at, response.event));
    Ok(())
}

fn read_campaign(id: Segment) -> Result<Campaign, Refusal> {
    let Path(id) = id.map_err(|_| {
        let message = "the campaign's id in the path is not percent-encoded UTF-8";
        Refusal::new(StatusCode::BAD_REQUEST, "invalid-path", message)
    })?;
    Ok(Campaign::cut(&id))
}

fn nothing_known(campaign: &Campaign) -> Refusal {
    let message = format!("nothing is known of a campaign \"{}\"; ids are told apart by case", campaign.0);
    Refusal::new(StatusCode::NOT_FOUND, "not-found", message)
}
