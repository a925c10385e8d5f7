//! A person vouches for what nothing vouched for (SPEC 5): one response, or many at once. It then counts from its
//! own time on; `undo` of the confirmation takes that back.

use super::access::Caller;
use super::answer::{Parameters, Refusal, blocking, json, read_json};
use super::batches::{contact_of, read_target};
use super::contacts::suppressions;
use super::given::{Segment, read_domain, read_id, read_past, read_reason};
use super::routes::{App, must_write, turn};
use super::stream;
use super::wire::{ConfirmAnswer, ConfirmLine, ConfirmRequest, ReasonRequest};
use crate::mail::Address;
use crate::ops::event::{self, LogEvent, Touched};
use crate::policy::contact::FactKind;
use crate::policy::{Authority, Contact, Event, EventId, Fact, Policy, State as Stands, What, fold};
use crate::store::{NewEvent, Recorded, Store, StoreError};
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most responses that one request confirms; who asks again goes on behind them.
const MOST: usize = 100_000;
/// Events read, or recorded, at a time.
const AT_ONCE: usize = 256;

/// `POST /v1/events/{id}/confirm`.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    id: Segment,
    request: Request,
) -> Result<Response, Refusal> {
    let (uid, id) = (must_write(caller)?.uid, read_id(id)?);
    let dry_run = Parameters::read(&request, &["dry_run"])?.flag("dry_run")?;
    let reason = read_reason(&read_json::<ReasonRequest>(request).await?.reason)?;
    let store = app.service.store().clone();
    let found = blocking(move || {
        let Some((target, contact)) = read_target(&store, id)? else { return Ok(None) };
        Ok(Some((target, contact, store.undone_by(id)?)))
    });
    let Some((target, contact, undone)) = found.await? else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "not-found", format!("there is no event {id}")));
    };
    let now = Timestamp::now();
    let Some(address) = target.address.clone().filter(|_| is_unverified(&target.what)) else {
        let kind = target.what.name();
        return Err(Refusal::value(format!("`id`: this {kind} needs nobody to vouch for it")));
    };
    if let Some(by) = undone {
        return Err(Refusal::new(StatusCode::CONFLICT, "already", format!("it was undone by {by}")));
    }
    if contact.confirmed_at(now).contains(&id) {
        return Err(Refusal::new(StatusCode::CONFLICT, "already", "it was confirmed before"));
    }
    let (event, after) = if dry_run {
        (None, tried(contact.clone(), &[&target], now))
    } else {
        let new = confirmation(id, address.clone(), reason.clone(), uid);
        let recorded = app.service.store().record(vec![new]).await?;
        let event = recorded.first().map(|recorded| match *recorded {
            Recorded::New(id) | Recorded::Known(id) => id,
        });
        event::say(&LogEvent::Operator { action: "confirm", on: Touched::Id(id), uid, reason: &reason });
        let (store, address) = (app.service.store().clone(), address.clone());
        (event, blocking(move || contact_of(&store, Some(&address))).await?)
    };
    let policy = app.service.in_force().policy.clone();
    // A moment later than the event: facts of the future do not count.
    let now = after.present(contact.present(Timestamp::now().max(now)));
    let after = fold(&after, &policy, now);
    Ok(json(&ConfirmAnswer {
        target: id,
        kind: target.what.name().to_owned(),
        dry_run,
        event,
        address,
        before: fold(&contact, &policy, now).state,
        after: after.state,
        suppressions: suppressions(&after),
    }))
}

/// `POST /v1/confirm`: every response that nothing vouches for, of a time or of the contacts of a domain. A line
/// now and then tells how far it is.
pub(super) async fn many(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let uid = must_write(caller)?.uid;
    let dry_run = Parameters::read(&request, &["dry_run"])?.flag("dry_run")?;
    let asked: ConfirmRequest = read_json(request).await?;
    let reason = read_reason(&asked.reason)?;
    let now = Timestamp::now();
    let time = |name: &str, text: &Option<String>| {
        text.as_deref().map(|text| read_past(text, now).map_err(|wanted| Refusal::value(format!("`{name}`: {wanted}"))))
    };
    let filter = Filter {
        since: time("since", &asked.since).transpose()?,
        until: time("until", &asked.until).transpose()?,
        domain: asked
            .domain
            .as_deref()
            .map(|domain| read_domain(domain).map_err(|wanted| Refusal::value(format!("`domain`: {wanted}"))))
            .transpose()?,
    };
    if asked.authority.is_some_and(|authority| authority != Authority::Unverified) {
        return Err(Refusal::value("`authority`: only what is unverified can be confirmed"));
    }
    if asked.authority.is_none() && filter == Filter::default() {
        let message = "say which: `since`, `until`, `domain`, or \"authority\": \"unverified\" for all there is";
        return Err(Refusal::value(message));
    }
    let turn = turn(&app.import, "an import, or a confirmation,")?;
    let (store, policy) = (app.service.store().clone(), app.service.in_force().policy.clone());
    Ok(stream::work(turn, move |progress| {
        let (targets, more) = filter.targets(&store, now).map_err(stream::problem)?;
        let suppressed = newly_suppressed(&store, &targets, &policy, now).map_err(stream::problem)?;
        let mut confirmed = 0;
        if !dry_run {
            for some in targets.chunks(AT_ONCE) {
                let new = some
                    .iter()
                    .filter_map(|target| Some(confirmation(target.id, target.address.clone()?, reason.clone(), uid)));
                store.record_blocking(new.collect()).map_err(stream::problem)?;
                confirmed += some.len() as u64;
                progress.tell(|| ConfirmLine::Progress { confirmed });
            }
            event::say(&LogEvent::Operator { action: "confirm", on: Touched::Many(confirmed), uid, reason: &reason });
        }
        let contacts = targets.iter().filter_map(|target| target.address.as_ref());
        let contacts = contacts.collect::<std::collections::BTreeSet<_>>().len() as u64;
        Ok(vec![ConfirmLine::Done { responses: targets.len() as u64, contacts, suppressed, more, dry_run }])
    }))
}

/// Which responses to confirm.
#[derive(Clone, Debug, Default, PartialEq)]
struct Filter {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    domain: Option<String>,
}

impl Filter {
    /// The responses that nothing vouches for, oldest first, at most [`MOST`]; and whether there are more.
    fn targets(&self, store: &Store, now: Timestamp) -> Result<(Vec<Event>, bool), StoreError> {
        let mut targets: Vec<Event> = Vec::new();
        // An event is recorded when it happened or later, so no earlier id is of the time asked for.
        let mut after = self.since.map(|since| EventId(EventId::new(since, 0, 0).0.saturating_sub(1)));
        loop {
            let events = store.events_after(after, AT_ONCE)?;
            let Some(last) = events.last() else { return Ok((targets, false)) };
            after = Some(last.id);
            for event in events.into_iter().filter(|event| self.admits(event)) {
                let contact = contact_of(store, event.address.as_ref())?;
                if contact.confirmed_at(now).contains(&event.id) || store.undone_by(event.id)?.is_some() {
                    continue;
                }
                if targets.len() == MOST {
                    return Ok((targets, true));
                }
                targets.push(event);
            }
        }
    }

    fn admits(&self, event: &Event) -> bool {
        let Some(address) = &event.address else { return false };
        is_unverified(&event.what)
            && self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && self.domain.as_deref().is_none_or(|domain| address.domain() == domain)
    }
}

fn is_unverified(what: &What) -> bool {
    matches!(what, What::Response { response, .. } if response.authority == Authority::Unverified)
}

fn confirmation(target: EventId, address: Address, reason: String, uid: u32) -> NewEvent {
    let what = What::Confirm { target, reason, uid };
    NewEvent { at: Timestamp::now(), address: Some(address), queue_id: None, what, content_key: None }
}

/// The contact as it would be, were these responses of it confirmed.
fn tried(mut contact: Contact, targets: &[&Event], now: Timestamp) -> Contact {
    for (place, target) in targets.iter().enumerate() {
        // It may be one of the many that nothing vouches for and that have gone from the record.
        if let Some(fact) = target.fact() {
            contact.insert(fact);
        }
        let event = EventId::new(now, u32::MAX, u64::MAX - place as u64);
        contact.insert(Fact { event, at: now, what: FactKind::Confirm { target: target.id } });
    }
    contact
}

/// How many contacts may be mailed now, and could not be then.
fn newly_suppressed(store: &Store, targets: &[Event], policy: &Policy, now: Timestamp) -> Result<u64, StoreError> {
    let mut by_contact: BTreeMap<&Address, Vec<&Event>> = BTreeMap::new();
    for target in targets {
        by_contact.entry(target.address.as_ref().expect("admitted with an address")).or_default().push(target);
    }
    let mut suppressed = 0;
    for (address, targets) in by_contact {
        let contact = contact_of(store, Some(address))?;
        let active = |contact: &Contact| fold(contact, policy, contact.present(now)).state == Stands::Active;
        suppressed += u64::from(active(&contact) && !active(&tried(contact, &targets, now)));
    }
    Ok(suppressed)
}
