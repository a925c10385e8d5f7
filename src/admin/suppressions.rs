//! The list of suppressions in force, whole or by scope, category, domain and time.

use super::answer::{Format, Parameters, Refusal, Stream, blocking, csv_line, json, ndjson};
use super::given::{LIMIT, read_limit};
use super::routes::App;
use super::wire::{ListedSuppression, SuppressionsAnswer, read_scope, word};
use crate::classify::Category;
use crate::mail::Address;
use crate::policy::{Contact, Policy, Scope, fold};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use std::io;
use std::sync::Arc;

/// Contacts read from the store at a time.
const BATCH: usize = 500;
/// The field that carries the next page's cursor where the body has no place for it.
pub(super) const NEXT_CURSOR: &str = "backstop-next-cursor";

/// What a suppression must be like to be listed.
struct Filter {
    scope: Option<Scope>,
    category: Option<Category>,
    domain: Option<String>,
    since: Option<Timestamp>,
}

/// `GET /v1/suppressions`.
///
/// `limit` counts contacts: the suppressions of one contact are never torn apart. JSON comes in pages of 1000
/// if nothing is said; NDJSON and CSV without a `limit` are the whole list.
pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let query = Parameters::read(&request, &["scope", "category", "domain", "since", "cursor", "limit"])?;
    let format = Format::wanted(request.headers())?;
    let filter = Filter {
        scope: query.parse("scope", read_scope)?,
        category: query.parse("category", read_category)?,
        domain: query.parse("domain", read_domain)?,
        since: query.parse("since", read_time)?,
    };
    let limit = read_limit(&query)?;
    let cursor = query.get("cursor").map(str::to_owned);
    match (format, limit) {
        (Format::Json, limit) => {
            let (suppressions, next) = page(&app, &filter, cursor, limit.unwrap_or(LIMIT)).await?;
            Ok(json(&SuppressionsAnswer { suppressions, next }))
        }
        (Format::NdJson | Format::Csv, Some(limit)) => {
            let (found, next) = page(&app, &filter, cursor, limit).await?;
            let (content_type, head) = opening(format);
            let body = [Bytes::from_static(head.as_bytes()), written(format, &found).map_err(internal)?].concat();
            let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
            if let Some(next) = next.and_then(|next| HeaderValue::from_str(&next).ok()) {
                response.headers_mut().insert(NEXT_CURSOR, next);
            }
            Ok(response)
        }
        (Format::NdJson | Format::Csv, None) => Ok(whole(app, filter, cursor, format)),
    }
}

/// Streams every page from `cursor` on.
fn whole(app: Arc<App>, filter: Filter, mut cursor: Option<String>, format: Format) -> Response {
    let (content_type, head) = opening(format);
    let (sender, response) = Stream::answer(content_type);
    tokio::spawn(async move {
        let mut piece = Ok(Bytes::from_static(head.as_bytes()));
        loop {
            let broken = piece.is_err();
            if sender.send(piece).await.is_err() || broken {
                return;
            }
            (piece, cursor) = match page(&app, &filter, cursor, LIMIT).await {
                Ok((found, next)) => (written(format, &found), next),
                Err(refusal) => (Err(io::Error::other(refusal.message)), None),
            };
            if cursor.is_none() {
                let _ = sender.send(piece).await;
                return;
            }
        }
    });
    response
}

/// The suppressions of up to `limit` contacts behind `cursor`, and the cursor behind them.
async fn page(
    app: &App,
    filter: &Filter,
    mut cursor: Option<String>,
    limit: usize,
) -> Result<(Vec<ListedSuppression>, Option<String>), Refusal> {
    let policy = app.service.in_force().policy.clone();
    let now = Timestamp::now();
    let (mut found, mut contacts) = (Vec::new(), 0);
    loop {
        let store = app.service.store().clone();
        let batch = blocking(move || store.contacts_on_record(cursor.as_deref(), BATCH)).await?;
        for (address, contact) in batch.entries {
            let before = found.len();
            found.extend(matching(&address, &contact, filter, &policy, now));
            contacts += usize::from(found.len() > before);
            if contacts == limit {
                return Ok((found, Some(address.into())));
            }
        }
        match batch.next {
            Some(next) => cursor = Some(next),
            None => return Ok((found, None)),
        }
    }
}

fn matching(
    address: &Address,
    contact: &Contact,
    filter: &Filter,
    policy: &Policy,
    now: Timestamp,
) -> Vec<ListedSuppression> {
    if filter.domain.as_deref().is_some_and(|domain| address.domain() != domain) {
        return Vec::new();
    }
    let state = fold(contact, policy, now);
    let wanted = state.suppressions.iter().filter(|suppression| {
        filter.scope.as_ref().is_none_or(|scope| suppression.scope == *scope)
            && filter.category.is_none_or(|category| suppression.category == Some(category))
            && filter.since.is_none_or(|since| suppression.since >= since)
    });
    wanted.map(|suppression| ListedSuppression { address: address.clone(), suppression: suppression.into() }).collect()
}

pub(super) fn opening(format: Format) -> (&'static str, &'static str) {
    match format {
        Format::Json => ("application/json", ""),
        Format::NdJson => ("application/x-ndjson", ""),
        Format::Csv => {
            ("text/csv; charset=utf-8", "address,scope,category,type,code,reason,since,until,campaign,event\r\n")
        }
    }
}

fn written(format: Format, found: &[ListedSuppression]) -> io::Result<Bytes> {
    match format {
        Format::Json | Format::NdJson => ndjson(found),
        Format::Csv => Ok(found.iter().map(csv).collect::<String>().into()),
    }
}

pub(super) fn csv(listed: &ListedSuppression) -> String {
    let suppression = &listed.suppression;
    csv_line(&[
        listed.address.as_str(),
        &suppression.scope,
        suppression.category.map_or("", Category::as_str),
        &suppression.bounce_type.as_ref().map(word).unwrap_or_default(),
        &suppression.code.map(|code| code.to_string()).unwrap_or_default(),
        &suppression.reason,
        &suppression.since.to_string(),
        &suppression.until.map(|until| until.to_string()).unwrap_or_default(),
        suppression.campaign.as_ref().map_or("", |campaign| &campaign.0),
        &suppression.event.to_string(),
    ])
}

fn read_category(text: &str) -> Result<Category, String> {
    let word: StrDeserializer<'_, ValueError> = text.into_deserializer();
    Category::deserialize(word).map_err(|error| error.to_string())
}

/// A domain in the form that contacts have: lower-case A-labels.
pub(super) fn read_domain(text: &str) -> Result<String, String> {
    let address = Address::parse(&format!("postmaster@{}", text.trim_start_matches('@')));
    address.map(|address| address.domain().to_owned()).map_err(|_| "a domain is wanted".to_owned())
}

fn read_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "a time is wanted, as 2026-08-21T03:00:00Z".to_owned())
}

pub(super) fn internal(error: io::Error) -> Refusal {
    Refusal::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
}
