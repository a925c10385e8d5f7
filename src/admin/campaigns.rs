//! What one campaign did (SPEC 8): its figures, and what came back from each contact.
//!
//! Nothing is indexed by campaign yet, so each request reads every event on record once, about 1.5 seconds a
//! million, for the contacts that the campaign concerns; then the record of each of these is judged, about 30
//! microseconds a contact, as `contacts` and the screening judge it. So a bounce that was retracted, voided or
//! erased counts as it does there. Memory grows with the contacts of the one campaign that something came back
//! from, or that were skipped.

use super::answer::{Format, Parameters, Refusal, Stream, blocking, json, ndjson};
use super::campaign_walk::{Skip, Walk, Wanted};
use super::given::{LIMIT, Segment, read_limit};
use super::routes::{self, App};
use super::wire::word;
use super::wire_campaigns::{CampaignAnswer, CampaignResponse, CampaignResponsesAnswer};
use crate::classify::{Category, Class, code};
use crate::mail::Address;
use crate::policy::contact::{Contact, Fact, FactKind, Response as Came};
use crate::policy::{Authority, Policy, What, fold};
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
/// Each report reads every event; those that come meanwhile wait.
static TURNS: Semaphore = Semaphore::const_new(2);

/// `GET /v1/campaigns/{id}`.
pub(super) async fn report(State(app): State<Arc<App>>, id: Segment, request: Request) -> Result<Response, Refusal> {
    let campaign = read_campaign(id)?;
    Parameters::read(&request, &[])?;
    let turn = TURNS.acquire().await;
    let (store, policy) = (app.service.store().clone(), app.service.in_force().policy.clone());
    let (asked, going_on) = asked(&app);
    let of = campaign.clone();
    let made = blocking(move || {
        let found = Walk::over(&store, &of, Wanted::everything(), &going_on)?;
        let sends = store.sends_of(&of, &going_on)?;
        let mut report = CampaignAnswer::nothing(of);
        let firsts = [found.first_at, sends.first_at];
        report.first_at = firsts.into_iter().flatten().min();
        report.last_at = found.last_at.max(sends.last_at);
        report.lists = found.lists;
        let now = Timestamp::now();
        for (name, skip) in found.contacts {
            count(&mut report, &store, &name, skip.as_ref(), &policy, now)?;
            if !going_on() {
                return Err(StoreError::Stopped);
            }
        }
        report.of_sent(sends.recipients);
        Ok(report)
    });
    let report = made.await?;
    drop((turn, asked));
    if report.first_at.is_none() {
        return Err(nothing_known(&campaign));
    }
    Ok(json(&report))
}

/// `GET /v1/campaigns/{id}/responses`: JSON in pages of `limit` contacts; NDJSON and CSV whole.
pub(super) async fn responses(State(app): State<Arc<App>>, id: Segment, request: Request) -> Result<Response, Refusal> {
    let campaign = read_campaign(id)?;
    let format = Format::wanted(request.headers())?;
    let query = Parameters::read(&request, if format == Format::Json { &["cursor", "limit"] } else { &[] })?;
    let limit = read_limit(&query)?;
    let wanted = match format {
        Format::Json => Wanted { behind: query.get("cursor").map(str::to_owned), most: limit.unwrap_or(LIMIT) },
        Format::NdJson | Format::Csv => Wanted::everything(),
    };
    let place = match format {
        Format::Json => None,
        Format::NdJson | Format::Csv => Some(routes::turn(&app.lists, "the writing of 16 long lists")?),
    };
    let turn = TURNS.acquire().await;
    let store = app.service.store().clone();
    let (asked, going_on) = asked(&app);
    let of = campaign.clone();
    let found = blocking(move || {
        let found = Walk::over(&store, &of, wanted, &going_on)?;
        let known = found.first_at.is_some() || store.sends_of(&of, &going_on)?.recipients > 0;
        Ok(known.then_some(found))
    });
    let found = found.await?.ok_or_else(|| nothing_known(&campaign))?;
    drop(asked);
    let next = found.next();
    let told = Told { app, campaign, contacts: found.contacts.into_iter() };
    let content_type = match format {
        Format::Json => {
            let (_, responses) = told.some(usize::MAX).await?;
            return Ok(json(&CampaignResponsesAnswer { responses, next }));
        }
        Format::NdJson => "application/x-ndjson",
        Format::Csv => "text/csv; charset=utf-8",
    };
    // The next may walk, however slow this one's reader is.
    drop(turn);
    let (sender, response) = Stream::answer(content_type);
    tokio::spawn(async move {
        told.to(format, sender).await;
        drop(place);
    });
    Ok(response)
}

/// What holds a request's work up to its end: it goes on until the first is dropped, as it is when the peer is
/// gone, or the server stops.
fn asked(app: &App) -> (watch::Sender<()>, impl Fn() -> bool + Send + 'static) {
    let (asked, waiting) = watch::channel(());
    let stopping = app.stopping.clone();
    (asked, move || waiting.has_changed().is_ok() && !*stopping.borrow())
}

/// The last thing of its kind that is on record of one contact and campaign.
struct Word<'a> {
    fact: &'a Fact,
    came: &'a Came,
    /// Something vouches for it, or need not.
    counts: bool,
}

/// The last word of each kind (SPEC 2: one response for one contact and campaign), in order of time. What counts
/// goes before what nothing vouches for, however late that came.
fn last_words<'a>(facts: &'a [Fact], campaign: &Campaign, policy: &Policy) -> Vec<Word<'a>> {
    let mut words: Vec<Word<'a>> = Vec::new();
    for fact in facts {
        let FactKind::Response(came) = &fact.what else { continue };
        if came.campaign.as_ref() != Some(campaign) {
            continue;
        }
        let counts = policy.accept_unverified || came.authority != Authority::Unverified;
        let word = Word { fact, came, counts };
        match words.iter().position(|known| known.came.kind == came.kind) {
            Some(place) if words[place].counts && !counts => {}
            Some(place) => {
                words.remove(place);
                words.push(word);
            }
            None => words.push(word),
        }
    }
    words.sort_by_key(|word| (word.fact.at, word.fact.event));
    words
}

/// The record of a contact; one without where the name is no address.
fn record(store: &Store, name: &str) -> Result<Contact, StoreError> {
    let Ok(address) = Address::parse(name) else { return Ok(Contact::default()) };
    Ok(store.contact(&address)?.unwrap_or_default())
}

/// Counts one contact.
fn count(
    report: &mut CampaignAnswer,
    store: &Store,
    name: &str,
    skip: Option<&Skip>,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), StoreError> {
    let contact = record(store, name)?;
    match skip {
        Some(skip) if skip.shadow => report.skipped.shadow += 1,
        Some(skip) => report.count_skip(skip.reason.as_str()),
        None => {}
    }
    let facts = contact.believed_at(now);
    let words = last_words(&facts, &report.campaign, policy);
    report.contacts += u64::from(skip.is_some() || !words.is_empty());
    report.unverified += u64::from(words.iter().any(|word| !word.counts));
    let words: Vec<Word<'_>> = words.into_iter().filter(|word| word.counts).collect();
    if words.is_empty() {
        return Ok(());
    }
    let retracted = fold(&contact, policy, now).retracted;
    for Word { fact, came, .. } in words {
        match came.kind {
            Kind::Bounce if retracted.binary_search(&fact.event).is_ok() => report.retracted += 1,
            Kind::Bounce => {
                let category = came.category.unwrap_or(Category::Unknown);
                match came.class {
                    Class::Skip => report.count_skip(category.as_str()),
                    Class::Bounce | Class::Feedback => report.count_bounce(category, came.bounce_type),
                }
            }
            Kind::Complaint => report.complaints += 1,
            Kind::OptOut => report.opt_outs += 1,
            Kind::Autoreply => report.autoreplies += 1,
            Kind::NotSpam => report.not_spam += 1,
            Kind::Delivered => report.delivered += 1,
            Kind::Delayed => report.delayed += 1,
            Kind::Other => {}
        }
    }
    Ok(())
}

/// What came back from the contacts, to be told.
struct Told {
    app: Arc<App>,
    campaign: Campaign,
    contacts: IntoIter<String, Option<Skip>>,
}

impl Told {
    /// Writes all of it; an error breaks the answer off.
    async fn to(self, format: Format, sender: mpsc::Sender<io::Result<Bytes>>) {
        let mut told = self;
        let mut piece = match format {
            Format::Csv => Ok(Bytes::from_static(CampaignResponse::CSV_HEAD.as_bytes())),
            Format::Json | Format::NdJson => Ok(Bytes::new()),
        };
        loop {
            let broken = piece.is_err();
            let sent = tokio::time::timeout(READER_TIME, sender.send(piece)).await;
            if broken || !matches!(sent, Ok(Ok(()))) || told.contacts.len() == 0 {
                return;
            }
            match told.some(BATCH).await {
                Ok((rest, responses)) => {
                    told = rest;
                    piece = match format {
                        Format::Csv => Ok(responses.iter().map(CampaignResponse::csv).collect::<String>().into()),
                        Format::Json | Format::NdJson => ndjson(&responses),
                    };
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
            for (name, skip) in self.contacts.by_ref().take(contacts) {
                tell(&mut responses, &store, name, skip, &self.campaign, &policy, now)?;
            }
            Ok((self, responses))
        })
        .await
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
    Ok(Campaign(id))
}

fn nothing_known(campaign: &Campaign) -> Refusal {
    let message = format!("nothing is known of a campaign \"{}\"; ids are told apart by case", campaign.0);
    Refusal::new(StatusCode::NOT_FOUND, "not-found", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{EventId, Level};

    fn came(event: u128, authority: Authority, category: Category) -> Fact {
        let response = Came {
            class: category.class(),
            kind: Kind::Bounce,
            category: Some(category),
            bounce_type: None,
            code: None,
            reason: None,
            fault: None,
            by_words: false,
            authority,
            campaign: Some(Campaign("77".to_owned())),
            list: None,
            sent_at: None,
        };
        let at = Timestamp::new(event as i64, 0).unwrap();
        Fact { event: EventId(event), at, what: FactKind::Response(Box::new(response)) }
    }

    #[test]
    fn the_last_word_that_something_vouches_for_counts() {
        let mut contact = Contact::default();
        contact.insert(came(1, Authority::Local, Category::Transient));
        contact.insert(came(2, Authority::Matched, Category::Rejected));
        contact.insert(came(3, Authority::Unverified, Category::Blocked));
        let level = FactKind::Activity { level: Level::OPEN, campaign: Some(Campaign("77".to_owned())) };
        contact.insert(Fact { event: EventId(4), at: Timestamp::new(4, 0).unwrap(), what: level });
        let (strict, lax) = (Policy::default(), Policy { accept_unverified: true, ..Policy::default() });
        let now = Timestamp::new(100, 0).unwrap();
        let events = |contact: &Contact, campaign: &str, policy: &Policy| {
            let campaign = Campaign(campaign.to_owned());
            let words = last_words(contact.known_at(now), &campaign, policy);
            words.iter().map(|word| (word.fact.event.0, word.counts)).collect::<Vec<_>>()
        };
        assert_eq!(events(&contact, "77", &strict), [(2, true)]);
        assert_eq!(events(&contact, "77", &lax), [(3, true)]);
        assert_eq!(events(&contact, "78", &lax), []);
        // As a void leaves it.
        contact.remove(EventId(2));
        assert_eq!(events(&contact, "77", &strict), [(1, true)]);
        contact.remove(EventId(1));
        assert_eq!(events(&contact, "77", &strict), [(3, false)]);
    }
}
