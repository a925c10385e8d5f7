//! The list of suppressions in force, whole or by scope, category, domain and time.

use super::answer::{Format, Parameters, Refusal, csv_line};
use super::given::{Span, read_domain, read_limit};
use super::listing::{self, Asked, Page, Row};
use super::routes::App;
use super::wire::{ListedSuppression, SuppressionsAnswer, read_scope, word};
use crate::classify::Category;
use crate::mail::Address;
use crate::policy::{Contact, Policy, Scope, fold};
use crate::store::{Store, StoreError};
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use std::sync::Arc;

/// Contacts read from the store at a time.
const BATCH: usize = 500;

/// What a suppression must be like to be listed.
struct Filter {
    scope: Option<Scope>,
    category: Option<Category>,
    domain: Option<String>,
    span: Span,
}

/// `GET /v1/suppressions`. `limit` counts contacts: the suppressions of one contact are never torn apart.
pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let known = ["scope", "category", "domain", "since", "until", "cursor", "limit"];
    let query = Parameters::read(&request, &known)?;
    let format = Format::wanted(request.headers())?;
    let filter = Filter {
        scope: query.parse("scope", read_scope)?,
        category: query.parse("category", read_category)?,
        domain: query.parse("domain", read_domain)?,
        span: Span::of(&query)?,
    };
    let asked = Asked { format, cursor: query.get("cursor").map(str::to_owned), limit: read_limit(&query)? };
    let (store, in_force) = (app.service.store().clone(), app.service.in_force());
    let read = move |cursor: Option<&str>, limit| page(&store, &filter, &in_force.policy, cursor, limit);
    let whole = |suppressions, next| SuppressionsAnswer { suppressions, next };
    listing::list(&app, asked, read, whole).await
}

/// The suppressions of up to `limit` contacts behind `cursor`, and the cursor behind them.
fn page(
    store: &Store,
    filter: &Filter,
    policy: &Policy,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<ListedSuppression>, StoreError> {
    let (now, mut cursor) = (Timestamp::now(), cursor.map(str::to_owned));
    let (mut found, mut contacts) = (Vec::new(), 0);
    loop {
        let batch = store.contacts_on_record(cursor.as_deref(), BATCH)?;
        for (address, contact) in batch.entries {
            let before = found.len();
            found.extend(matching(&address, &contact, filter, policy, now));
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
    let state = fold(contact, policy, contact.present(now));
    let wanted = state.suppressions.iter().filter(|suppression| {
        filter.scope.as_ref().is_none_or(|scope| suppression.scope == *scope)
            && filter.category.is_none_or(|category| suppression.category == Some(category))
            && filter.span.holds(suppression.since)
    });
    wanted.map(|suppression| ListedSuppression { address: address.clone(), suppression: suppression.into() }).collect()
}

impl Row for ListedSuppression {
    const CSV_HEAD: &'static str = "address,scope,category,type,code,reason,since,until,campaign,event\r\n";

    fn csv(&self) -> String {
        let ListedSuppression { address, suppression } = self;
        csv_line(&[
            address.as_str(),
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
}

fn read_category(text: &str) -> Result<Category, String> {
    let word: StrDeserializer<'_, ValueError> = text.into_deserializer();
    Category::deserialize(word).map_err(|error| error.to_string())
}
