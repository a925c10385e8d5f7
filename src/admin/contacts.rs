//! One contact: how it stands and why, whether it may be mailed, and a person's word on it.

use super::access::Caller;
use super::answer::{Parameters, Refusal, blocking, json, read_json};
use super::routes::{App, must_write};
use super::wire::{
    ChangeAnswer, ChangeRequest, CheckAnswer, ContactAnswer, ResponseAnswer, SuppressionAnswer, read_scope, word,
};
use crate::classify::Class;
use crate::mail::{Address, ListId};
use crate::ops::event::{self, LogEvent};
use crate::policy::{Contact, ContactState, Event, EventId, Policy, Scope, SkipReason, What, fold};
use crate::report::Kind;
use crate::store::{NewEvent, Recorded, Store, StoreError};
use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use std::sync::Arc;

/// Responses shown of one contact, the newest.
const RESPONSES: usize = 10_000;
/// Longest reason a person may give, in characters.
const REASON_CHARS: usize = 500;

type AddressPath = Result<Path<String>, PathRejection>;

/// `GET /v1/contacts/{address}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    address: AddressPath,
    request: Request,
) -> Result<Response, Refusal> {
    let address = read_address(address)?;
    Parameters::read(&request, &[])?;
    let store = app.service.store().clone();
    let policy = app.service.in_force().policy.clone();
    let asked = address.clone();
    let (contact, events) = blocking(move || Ok((store.contact(&asked)?, store.events_of(&asked, RESPONSES)?))).await?;
    if contact.is_none() && events.is_empty() {
        return Err(never_heard_of(&address));
    }
    let state = fold(&contact.unwrap_or_default(), &policy, Timestamp::now());
    let retracted = |event: &Event| state.retracted.binary_search(&event.id).is_ok();
    let told = |event: &Event| Some(ResponseAnswer { retracted: retracted(event), ..response(event)? });
    let responses = events.iter().filter_map(told).collect();
    Ok(json(&ContactAnswer {
        address,
        state: state.state,
        suppressions: suppressions(&state),
        soft_streak: state.soft_streak,
        responses,
    }))
}

/// `POST /v1/check`: one verdict for each address, in the order asked; with `?list=` for mail of that list.
pub(super) async fn check(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let list = Parameters::read(&request, &["list"])?.parse("list", |text| match read_scope(text)? {
        Scope::List(list) => Ok(list),
        Scope::System => Err("the id of a list is wanted".to_owned()),
    })?;
    let addresses: Vec<String> = read_json(request).await?;
    let store = app.service.store().clone();
    let policy = app.service.in_force().policy.clone();
    let now = Timestamp::now();
    let verdicts = blocking(move || {
        addresses.into_iter().map(|address| verdict(address, list.as_ref(), &store, &policy, now)).collect()
    });
    Ok(json::<Vec<CheckAnswer>>(&verdicts.await?))
}

fn verdict(
    asked: String,
    list: Option<&ListId>,
    store: &Store,
    policy: &Policy,
    now: Timestamp,
) -> Result<CheckAnswer, StoreError> {
    let Ok(address) = Address::parse(&asked) else {
        let reason = Some(SkipReason::InvalidAddress);
        return Ok(CheckAnswer { address: asked, suppressed: false, reason, state: None, suppressions: Vec::new() });
    };
    let contact = if store.may_be_suppressed(&address) { store.contact(&address)? } else { None };
    let state = fold(&contact.unwrap_or_default(), policy, now);
    let suppressed = state.suppressed_for(list).is_some();
    Ok(CheckAnswer {
        address: asked,
        suppressed,
        reason: suppressed.then_some(SkipReason::Suppressed),
        state: Some(state.state),
        suppressions: suppressions(&state),
    })
}

/// `POST /v1/contacts/{address}/suppress`.
pub(super) async fn suppress(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    address: AddressPath,
    request: Request,
) -> Result<Response, Refusal> {
    change(&app, Action::Suppress, must_write(caller)?, read_address(address)?, request).await
}

/// `POST /v1/contacts/{address}/reactivate`.
pub(super) async fn reactivate(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    address: AddressPath,
    request: Request,
) -> Result<Response, Refusal> {
    change(&app, Action::Reactivate, must_write(caller)?, read_address(address)?, request).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Suppress,
    Reactivate,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Action::Suppress => "suppress",
            Action::Reactivate => "reactivate",
        }
    }

    fn what(self, scope: Scope, reason: String, uid: u32) -> What {
        match self {
            Action::Suppress => What::Suppress { scope, reason, uid },
            Action::Reactivate => What::Reactivate { scope, reason, uid, by_timer: false },
        }
    }
}

async fn change(
    app: &App,
    action: Action,
    caller: Caller,
    address: Address,
    request: Request,
) -> Result<Response, Refusal> {
    let dry_run = Parameters::read(&request, &["dry_run"])?.flag("dry_run")?;
    let asked: ChangeRequest = read_json(request).await?;
    let scope = read_scope(asked.scope.as_deref().unwrap_or("system")).map_err(Refusal::value)?;
    let reason = read_reason(&asked.reason)?;
    let policy = app.service.in_force().policy.clone();
    let before = contact(app, &address).await?;
    if action == Action::Reactivate && before.is_none() {
        return Err(never_heard_of(&address));
    }
    let before = before.unwrap_or_default();
    let at = Timestamp::now();
    let what = action.what(scope.clone(), reason.clone(), caller.uid);
    let (event, after) = if dry_run {
        (None, tried(before.clone(), &address, at, what))
    } else {
        let new = NewEvent { at, address: Some(address.clone()), queue_id: None, what, content_key: None };
        let recorded = app.service.store().record(vec![new]).await?;
        event::say(&LogEvent::Operator {
            action: action.as_str(),
            address: &address,
            uid: caller.uid,
            reason: &reason,
        });
        let event = recorded.first().map(|recorded| match *recorded {
            Recorded::New(id) | Recorded::Known(id) => id,
        });
        (event, contact(app, &address).await?.unwrap_or_default())
    };
    // A moment later than the event: facts of the future do not count.
    let now = Timestamp::now().max(at);
    let after = fold(&after, &policy, now);
    Ok(json(&ChangeAnswer {
        address,
        action: action.as_str().to_owned(),
        scope: scope.as_str().to_owned(),
        dry_run,
        event,
        before: fold(&before, &policy, now).state,
        after: after.state,
        suppressions: suppressions(&after),
    }))
}

async fn contact(app: &App, address: &Address) -> Result<Option<Contact>, Refusal> {
    let (store, address) = (app.service.store().clone(), address.clone());
    blocking(move || store.contact(&address)).await
}

/// The contact as it would be with one more event.
fn tried(mut contact: Contact, address: &Address, at: Timestamp, what: What) -> Contact {
    let id = EventId::new(at, u32::MAX, u64::MAX);
    let event = Event { id, at, address: Some(address.clone()), queue_id: None, what };
    if let Some(fact) = event.fact() {
        contact.insert(fact);
    }
    contact
}

fn read_address(path: AddressPath) -> Result<Address, Refusal> {
    let Path(text) = path.map_err(|_| {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid-path", "the address in the path is not percent-encoded UTF-8")
    })?;
    Address::parse(&text).map_err(|error| Refusal::value(format!("`address`: {error}")))
}

fn read_reason(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::value("`reason` is empty; whoever asks later why wants to read it"));
    }
    if text.chars().count() > REASON_CHARS || text.chars().any(char::is_control) {
        return Err(Refusal::value(format!("`reason` is one line of at most {REASON_CHARS} characters")));
    }
    Ok(text.to_owned())
}

fn never_heard_of(address: &Address) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not-found", format!("{address} was never heard of"))
}

fn suppressions(state: &ContactState) -> Vec<SuppressionAnswer> {
    state.suppressions.iter().map(SuppressionAnswer::from).collect()
}

/// What an event says about its contact's mail, if it does.
fn response(event: &Event) -> Option<ResponseAnswer> {
    match &event.what {
        What::Response { response, evidence } => Some(ResponseAnswer {
            at: event.at,
            class: response.class,
            kind: response.kind,
            category: response.category,
            bounce_type: response.bounce_type,
            code: response.code,
            reason: response.reason.clone(),
            fault: response.fault,
            authority: Some(response.authority),
            campaign: response.campaign.clone(),
            list: response.list.clone(),
            description: Some(evidence.description.clone()).filter(|text| !text.is_empty()),
            diagnostic: evidence.diagnostic.clone(),
            retracted: false,
        }),
        What::Skip { reason, category, campaign, list, shadow, .. } => Some(ResponseAnswer {
            at: event.at,
            class: Class::Skip,
            kind: Kind::Other,
            category: *category,
            bounce_type: None,
            code: None,
            reason: Some(word(reason)),
            fault: None,
            authority: None,
            campaign: campaign.clone(),
            list: list.clone(),
            description: Some(if *shadow {
                "would have been taken off the message (shadow mode)".to_owned()
            } else {
                "taken off the message before it left".to_owned()
            }),
            diagnostic: None,
            retracted: false,
        }),
        _ => None,
    }
}
