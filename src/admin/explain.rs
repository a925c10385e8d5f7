//! Why a contact may or may not be mailed (SPEC 9): the verdict, what it rests on, what did not count, and what
//! would release it.

use super::answer::{Parameters, Refusal, blocking, json};
use super::contacts::RESPONSES;
use super::given::{Segment, never_heard_of, read_address};
use super::lists::listings;
use super::routes::App;
use super::wire::{ExplainAnswer, Ground, Listing, NotCountedAnswer, Obstacle, read_scope};
use crate::mail::{Address, ListId};
use crate::policy::contact::FactKind;
use crate::policy::explain::explain;
use crate::policy::{Authority, Contact, Event, EventId, Fact, Limit, Scope, SkipReason, State as Stands, What, fold};
use crate::report::Campaign;
use crate::service::Service;
use crate::store::{Store, StoreError};
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// `GET /v1/contacts/{address}/explain?list=&campaign=`. A campaign stands for its list, where the contact's record
/// names it.
pub(super) async fn get(State(app): State<Arc<App>>, address: Segment, request: Request) -> Result<Response, Refusal> {
    let address = read_address(address)?;
    let query = Parameters::read(&request, &["list", "campaign"])?;
    let list = query.parse("list", |text| match read_scope(text)? {
        Scope::List(list) => Ok(list),
        Scope::System => Err("the id of a list is wanted".to_owned()),
    })?;
    let campaign = query.get("campaign").map(|name| Campaign(name.to_owned()));
    let (service, asked) = (app.service.clone(), address.clone());
    let answer = blocking(move || answer(&service, asked, list, campaign.as_ref())).await?;
    answer.map(|answer| json(&answer)).ok_or_else(|| never_heard_of(&address))
}

/// None where nothing was ever heard of the contact.
fn answer(
    service: &Service,
    address: Address,
    list: Option<ListId>,
    campaign: Option<&Campaign>,
) -> Result<Option<ExplainAnswer>, StoreError> {
    let (store, in_force) = (service.store(), service.in_force());
    let policy = &in_force.policy;
    let contact = store.contact(&address)?;
    let events = store.events_of(&address, RESPONSES)?;
    let (listings, erased) = (listings(store, &address)?, store.is_erased(&address));
    if contact.is_none() && events.is_empty() && listings.is_empty() && !erased {
        return Ok(None);
    }
    let contact = contact.unwrap_or_default();
    let now = contact.present(Timestamp::now());
    let list = list.or_else(|| list_of(&events, campaign?));
    let state = fold(&contact, policy, now);
    let explained = explain(&contact, policy, now, list.as_ref());
    let record = Record::of(&contact, &events);
    let mut obstacles = Vec::new();
    if let Some(by) = &explained.by {
        let grounds = explained.rests_on.iter().filter_map(|event| record.ground(*event));
        let rests_on = grounds.map(|ground| with_batch(store, &address, ground));
        obstacles.push(Obstacle {
            suppression: Some(by.into()),
            rests_on: rests_on.collect::<Result<_, _>>()?,
            releases: explained.releases,
            ..Obstacle::of(SkipReason::Suppressed)
        });
    }
    if erased {
        obstacles.push(Obstacle::erased());
    }
    for listing in listings {
        let ground = put_there(store, &listing)?;
        obstacles.push(Obstacle { rests_on: ground.into_iter().collect(), ..Obstacle::listed(listing) });
    }
    // A message limit that is reached keeps mail away, too, if nothing else does.
    if obstacles.is_empty() {
        let limits: Vec<Limit> = in_force.limits.iter().copied().chain(contact.limit(now)).collect();
        let reached = service.sends().reached(store.recipient_key(&address), &limits, now);
        obstacles.extend(reached.map(Obstacle::limited));
    }
    let matters = |scope: &Scope| match scope {
        Scope::System => true,
        Scope::List(of) => list.as_ref() == Some(of),
    };
    let elsewhere = state.suppressions.iter().filter(|suppression| !matters(&suppression.scope));
    let not_counted = explained.not_counted.into_iter().filter_map(|uncounted| {
        let ground = record.ground(uncounted.event)?;
        Some(NotCountedAnswer { ground, not_counted: uncounted.why })
    });
    Ok(Some(ExplainAnswer {
        address,
        mailed: obstacles.is_empty(),
        state: if erased { Stands::Suppressed } else { state.state },
        elsewhere: elsewhere.map(Into::into).collect(),
        not_counted: not_counted.collect(),
        obstacles,
        list,
    }))
}

/// What only the batch tells: where an import came from, and the words that stood there of this contact.
fn with_batch(store: &Store, address: &Address, mut ground: Ground) -> Result<Ground, StoreError> {
    let Some(batch) = ground.batch else { return Ok(ground) };
    if let Some(batch) = store.batch(batch)? {
        (ground.source, ground.uid) = (Some(batch.source), Some(batch.uid));
    }
    let before = EventId(ground.event.0.saturating_sub(1));
    for event in store.events_after(Some(before), 1)? {
        if let What::Imported { entries, .. } = event.what
            && event.id == ground.event
        {
            let own = entries.into_iter().find(|entry| entry.subject == address.as_str());
            ground.diagnostic = own.and_then(|entry| entry.note);
        }
    }
    Ok(ground)
}

/// Who put an entry on a list, and why.
fn put_there(store: &Store, listing: &Listing) -> Result<Option<Ground>, StoreError> {
    let entry = &listing.entry;
    let before = EventId(entry.event.0.saturating_sub(1));
    let event = store.events_after(Some(before), 1)?.into_iter().find(|event| event.id == entry.event);
    let mut ground = Ground { batch: entry.batch, ..nothing_yet(entry.event, entry.since) };
    let batch = entry.batch.map(|batch| store.batch(batch)).transpose()?.flatten();
    match (event.map(|event| event.what), batch) {
        (Some(What::ListAdd { reason, uid, .. }), _) => {
            (ground.kind, ground.reason, ground.uid) = ("list-add".to_owned(), Some(reason), Some(uid));
        }
        (_, Some(batch)) => {
            (ground.kind, ground.reason, ground.uid) = ("imported".to_owned(), Some(batch.reason), Some(batch.uid));
            ground.source = Some(batch.source);
        }
        (_, None) => return Ok(None),
    }
    Ok(Some(ground))
}

/// The list of a campaign, as far as the contact's own record tells.
fn list_of(events: &[Event], campaign: &Campaign) -> Option<ListId> {
    events.iter().rev().find_map(|event| {
        let (of, list) = match &event.what {
            What::Response { response, .. } => (&response.campaign, &response.list),
            What::Sent { campaign, list, .. } | What::Skip { campaign, list, .. } => (campaign, list),
            _ => return None,
        };
        list.clone().filter(|_| of.as_ref() == Some(campaign))
    })
}

/// What is on record of a contact, by event.
struct Record<'a> {
    facts: BTreeMap<EventId, &'a Fact>,
    /// What a person confirmed, by which event.
    confirmed: BTreeMap<EventId, EventId>,
    events: BTreeMap<EventId, &'a Event>,
}

impl<'a> Record<'a> {
    fn of(contact: &'a Contact, events: &'a [Event]) -> Record<'a> {
        Record {
            facts: contact.facts.iter().map(|fact| (fact.event, fact)).collect(),
            confirmed: contact.facts.iter().filter_map(confirmed).collect(),
            events: events.iter().map(|event| (event.id, event)).collect(),
        }
    }

    fn ground(&self, id: EventId) -> Option<Ground> {
        let fact = self.facts.get(&id)?;
        let mut ground = of_fact(fact);
        if let Some(event) = self.events.get(&id) {
            tell_more(&mut ground, event);
        }
        if let Some(confirm) = self.confirmed.get(&id)
            && ground.authority == Some(Authority::Unverified)
        {
            ground.authority = Some(Authority::Operator);
            let reason = self.events.get(confirm).and_then(|event| confirmation(event));
            ground.authority_because = Some(reason.unwrap_or_else(|| "a person confirmed it".to_owned()));
        }
        Some(ground)
    }
}

/// What a fact confirms, and its own event.
fn confirmed(fact: &Fact) -> Option<(EventId, EventId)> {
    match &fact.what {
        FactKind::Confirm { target } => Some((*target, fact.event)),
        _ => None,
    }
}

/// Who confirmed, and why.
fn confirmation(event: &Event) -> Option<String> {
    match &event.what {
        What::Confirm { reason, uid, .. } => Some(format!("user {uid} confirmed it: {reason}")),
        _ => None,
    }
}

/// A ground of which only this is known.
fn nothing_yet(event: EventId, at: Timestamp) -> Ground {
    Ground {
        event,
        at,
        kind: String::new(),
        scope: None,
        category: None,
        bounce_type: None,
        code: None,
        reason: None,
        fault: None,
        campaign: None,
        list: None,
        authority: None,
        authority_because: None,
        diagnostic: None,
        rule: None,
        matched: None,
        reporting_mta: None,
        uid: None,
        batch: None,
        source: None,
    }
}

/// What a fact tells: of a batch there is nothing else.
fn of_fact(fact: &Fact) -> Ground {
    let mut ground = nothing_yet(fact.event, fact.at);
    let (kind, reason) = match &fact.what {
        FactKind::Response(response) => {
            (ground.category, ground.bounce_type, ground.code) =
                (response.category, response.bounce_type, response.code);
            (ground.fault, ground.authority) = (response.fault, Some(response.authority));
            (ground.campaign, ground.list) = (response.campaign.clone(), response.list.clone());
            (response.kind.as_str(), response.reason.clone())
        }
        FactKind::Imported(imported) => {
            (ground.category, ground.bounce_type, ground.code) =
                (imported.category, imported.bounce_type, imported.code);
            (ground.scope, ground.batch) = (Some(imported.scope.clone()), Some(imported.batch));
            ground.at = imported.since.unwrap_or(fact.at);
            ("imported", Some(imported.reason.clone()))
        }
        FactKind::Suppress { scope, reason } => {
            ground.scope = Some(scope.clone());
            ("suppress", Some(reason.clone()))
        }
        FactKind::Reactivate { scope, reason, .. } => {
            ground.scope = Some(scope.clone());
            ("reactivate", Some(reason.clone()))
        }
        FactKind::Sent { campaign, list } => {
            (ground.campaign, ground.list) = (campaign.clone(), list.clone());
            ("sent", None)
        }
        FactKind::Activity { level, campaign } => {
            ground.campaign = campaign.clone();
            ("activity", Some(format!("level {}", u8::from(*level))))
        }
        FactKind::Attributes(_) => ("attributes", None),
        FactKind::Limit(_) => ("limit", None),
        FactKind::Confirm { target } => ("confirm", Some(format!("of {target}"))),
    };
    (ground.kind, ground.reason) = (kind.to_owned(), reason);
    ground
}

/// What only the event tells: the words, and who said them.
fn tell_more(ground: &mut Ground, event: &Event) {
    match &event.what {
        What::Response { evidence, .. } => {
            ground.authority_because = evidence.authority_because.clone();
            ground.diagnostic = evidence.diagnostic.clone();
            (ground.rule, ground.matched) = (evidence.rule.clone(), evidence.matched.clone());
            ground.reporting_mta = evidence.reporting_mta.clone();
        }
        What::Suppress { uid, .. } | What::Reactivate { uid, .. } | What::Confirm { uid, .. } => {
            ground.uid = Some(*uid)
        }
        What::Attributes { uid, reason, .. } | What::Limit { uid, reason, .. } => {
            (ground.uid, ground.reason) = (Some(*uid), Some(reason.clone()).filter(|reason| !reason.is_empty()));
        }
        What::Activity { uid, reason, .. } => {
            ground.uid = *uid;
            if let (Some(said), false) = (&mut ground.reason, reason.is_empty()) {
                *said = format!("{said}: {reason}");
            }
        }
        _ => {}
    }
}
