//! One contact: how it stands and why, whether it may be mailed, and a person's word on it.

use super::access::Caller;
use super::answer::{Parameters, Refusal, blocking, json, read_json};
use super::given::{self, Segment, never_heard_of, read_address, read_reason};
use super::lists;
use super::routes::{App, must_write};
use super::wire::{
    ChangeAnswer, ChangeRequest, CheckAnswer, ContactAnswer, ResponseAnswer, SuppressionAnswer, read_scope, word,
};
use crate::classify::Class;
use crate::mail::{Address, ListId};
use crate::ops::event::{self, LogEvent, Touched};
use crate::policy::{
    Authority, Contact, ContactState, Event, EventId, OperatorList, Policy, Scope, SkipReason, State as Stands, What,
    fold,
};
use crate::report::Kind;
use crate::store::{NewEvent, Recorded, Store, StoreError};
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Responses shown of one contact, the newest.
pub(super) const RESPONSES: usize = 10_000;

/// `GET /v1/contacts/{address}`.
pub(super) async fn show(State(app): State<Arc<App>>, address: Segment, request: Request) -> Result<Response, Refusal> {
    let address = read_address(address)?;
    Parameters::read(&request, &[])?;
    let store = app.service.store().clone();
    let policy = app.service.in_force().policy.clone();
    let asked = address.clone();
    let found = blocking(move || {
        let lists = lists::listings(&store, &asked)?;
        Ok((store.contact(&asked)?, store.events_of(&asked, RESPONSES)?, lists, store.is_erased(&asked)))
    });
    let (contact, events, lists, erased) = found.await?;
    if contact.is_none() && events.is_empty() && lists.is_empty() && !erased {
        return Err(never_heard_of(&address));
    }
    let contact = contact.unwrap_or_default();
    let now = contact.present(Timestamp::now());
    let state = fold(&contact, &policy, now);
    let confirmed = contact.confirmed_at(now);
    let responses = events.iter().filter_map(|event| response(event, &state, &confirmed)).collect();
    Ok(json(&ContactAnswer {
        address,
        state: if erased { Stands::Suppressed } else { state.state },
        suppressions: suppressions(&state),
        soft_streak: state.soft_streak,
        lists,
        erased,
        attributes: contact.attributes(now).cloned().unwrap_or_default(),
        limit: contact.limit(now).map(Into::into),
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
    let contact = contact.unwrap_or_default();
    let state = fold(&contact, policy, contact.present(now));
    let erased = store.is_erased(&address);
    let reason = if erased || state.suppressed_for(list).is_some() {
        Some(SkipReason::Suppressed)
    } else {
        store.listed(&address).map(|list| match list {
            OperatorList::Blocklist => SkipReason::Blocklist,
            OperatorList::Robinson => SkipReason::Robinson,
        })
    };
    Ok(CheckAnswer {
        address: asked,
        suppressed: reason.is_some(),
        reason,
        state: Some(if erased { Stands::Suppressed } else { state.state }),
        suppressions: suppressions(&state),
    })
}

/// `POST /v1/contacts/{address}/suppress`.
pub(super) async fn suppress(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    address: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    change(&app, Action::Suppress, must_write(caller)?, read_address(address)?, request).await
}

/// `POST /v1/contacts/{address}/reactivate`.
pub(super) async fn reactivate(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    address: Segment,
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
    let erased = app.service.store().is_erased(&address);
    if action == Action::Suppress && erased {
        return Err(given::erased(&address));
    }
    if action == Action::Reactivate && before.is_none() && !erased {
        return Err(never_heard_of(&address));
    }
    let before = before.unwrap_or_default();
    let at = Timestamp::now();
    let what = action.what(scope.clone(), reason.clone(), caller.uid);
    let (event, after) = if dry_run {
        (None, tried(before.clone(), &address, at, what))
    } else {
        let new = NewEvent { at, address: Some(address.clone()), queue_id: None, what, content_key: None };
        if erased {
            let (store, address) = (app.service.store().clone(), address.clone());
            blocking(move || store.unerase(&address)).await?;
        }
        let event = record(app, new).await?;
        let on = Touched::Contact(&address);
        event::say(&LogEvent::Operator { action: action.as_str(), on, uid: caller.uid, reason: &reason });
        (event, contact(app, &address).await?.unwrap_or_default())
    };
    // A moment later than the event: facts of the future do not count.
    let now = after.present(before.present(Timestamp::now().max(at)));
    let after = fold(&after, &policy, now);
    Ok(json(&ChangeAnswer {
        address,
        action: action.as_str().to_owned(),
        scope: scope.as_str().to_owned(),
        dry_run,
        event,
        before: if erased { Stands::Suppressed } else { fold(&before, &policy, now).state },
        after: after.state,
        suppressions: suppressions(&after),
    }))
}

/// Records one event and gives its id.
pub(super) async fn record(app: &App, new: NewEvent) -> Result<Option<EventId>, Refusal> {
    let recorded = app.service.store().record(vec![new]).await?;
    Ok(recorded.first().map(|recorded| match *recorded {
        Recorded::New(id) | Recorded::Known(id) => id,
    }))
}

pub(super) async fn contact(app: &App, address: &Address) -> Result<Option<Contact>, Refusal> {
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

pub(super) fn suppressions(state: &ContactState) -> Vec<SuppressionAnswer> {
    state.suppressions.iter().map(SuppressionAnswer::from).collect()
}

/// What an event says about its contact's mail, if it does.
fn response(event: &Event, state: &ContactState, confirmed: &BTreeSet<EventId>) -> Option<ResponseAnswer> {
    match &event.what {
        What::Response { response, evidence } => Some(ResponseAnswer {
            event: event.id,
            at: event.at,
            class: response.class,
            kind: response.kind,
            category: response.category,
            bounce_type: response.bounce_type,
            code: response.code,
            reason: response.reason.clone(),
            fault: response.fault,
            authority: Some(match response.authority {
                Authority::Unverified if confirmed.contains(&event.id) => Authority::Operator,
                authority => authority,
            }),
            campaign: response.campaign.clone(),
            list: response.list.clone(),
            description: Some(evidence.description.clone()).filter(|text| !text.is_empty()),
            diagnostic: evidence.diagnostic.clone(),
            retracted: state.retracted.binary_search(&event.id).is_ok(),
        }),
        What::Skip { reason, category, campaign, list, shadow, .. } => Some(ResponseAnswer {
            event: event.id,
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
