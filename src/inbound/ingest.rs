//! Takes one message that came back through all steps.

use super::respond::{content_keys, response};
use super::watch::{Reference, Watch};
use crate::authority::{
    Origin, Scales, Signature, Signatures, Standing, Token, TokenError, Tokens, ledger_name, named_alone, vouch, weigh,
};
use crate::classify::Rules;
use crate::mail::{Address, Limits, Message};
use crate::ops::event::{LogEvent, say};
use crate::policy::{Authority, ContentKey, EventId, Policy, What, fold};
use crate::report::{self, CampaignHeaders, Dialects, Kind, Report};
use crate::store::{NewEvent, Recorded, Store, StoreError};
use jiff::Timestamp;

/// Octets of a report kept where it cannot be read.
const EXCERPT_BYTES: usize = 2048;

/// A message that came back.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The whole message.
    pub raw: &'a [u8],
    /// When.
    pub at: Timestamp,
    /// Postfix's queue id, `-` where there is none.
    pub queue_id: &'a str,
    /// How it reached us.
    pub origin: Origin<'a>,
    /// The addresses it was sent to, as received.
    pub came_to: &'a [&'a str],
}

/// What a report is read and judged by.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// What one message may cost.
    pub limits: &'a Limits,
    /// Where a returned message names its campaign.
    pub campaign_headers: &'a CampaignHeaders,
    /// How bounces that follow no standard are read.
    pub dialects: &'a Dialects,
    /// The rule set.
    pub rules: &'a Rules,
    /// The policy.
    pub policy: &'a Policy,
    /// What proves a token.
    pub tokens: &'a Tokens,
    /// Whether the ledger is kept.
    pub ledger: bool,
    /// Checks the signatures of complaints; none where nobody is to be asked.
    pub signatures: Option<&'a Signatures>,
    /// Watches what comes back as a whole.
    pub watch: &'a Watch,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingested {
    /// What it was; `other` where it was no report, or none that can be used.
    pub kind: Kind,
    /// Events it made.
    pub recorded: Vec<EventId>,
    /// Events that were on record already.
    pub known: Vec<EventId>,
    /// Whether any of it may change a contact's state: somebody vouches for it, or the policy asks for nobody.
    pub counts: bool,
    /// Whom somebody who can be believed says it was delivered to.
    pub delivered: Vec<Address>,
    /// Why nothing was recorded, though it is ours to read: it must come again.
    pub postponed: Option<String>,
}

/// Reads, authorises, classifies, records durably, and says so in the log.
///
/// A broken report, and one that names no mailbox, is an event too, and its kind is `other`: it goes on to
/// whoever it was addressed to.
///
/// # Errors
/// [`StoreError`] when nothing could be recorded; then nothing was, and the report must come again.
pub async fn ingest(arrival: Arrival<'_>, ground: Ground<'_>, store: &Store) -> Result<Ingested, StoreError> {
    let message = Message::read(arrival.raw, ground.limits);
    let read = report::read(&message, ground.dialects);
    drop(message);
    let (kind, events) = match read {
        Ok(None) => return Ok(Ingested::nothing(Kind::Other)),
        Ok(Some(mut report)) => {
            let signature = signature(&report, arrival, ground, store).await?;
            named_alone(&mut report, &signature, store)?;
            let carried = ground.tokens.carried(&report, arrival.came_to, arrival.at);
            let standings = standings(&report, &carried, arrival, ground, store)?;
            if let Some(problem) = postponed(&report, &signature, &standings, arrival, ground) {
                return Ok(Ingested { postponed: Some(problem), ..Ingested::nothing(report.kind) });
            }
            responses(&report, &signature, &carried, standings, arrival, ground)
        }
        Err(problem) => (Kind::Other, vec![unreadable(problem.to_string(), arrival)]),
    };
    let answers = store.record(events.clone()).await?;
    let counts = events.iter().any(|event| may_count(&event.what, ground.policy));
    let delivered = events.iter().filter_map(|event| delivered_to(event, ground.policy)).collect();
    let mut ingested = Ingested { counts, delivered, ..Ingested::nothing(kind) };
    for (event, answer) in events.iter().zip(answers) {
        match answer {
            Recorded::New(id) => {
                ingested.recorded.push(id);
                tell(event, id, ground.policy, store, arrival);
                watch_response(&event.what, ground.watch, arrival.at);
            }
            Recorded::Known(id) => {
                ingested.known.push(id);
                say(&LogEvent::Repeat { queue_id: arrival.queue_id });
            }
        }
    }
    Ok(ingested)
}

impl Ingested {
    /// Nothing came of it.
    fn nothing(kind: Kind) -> Ingested {
        Ingested {
            kind,
            recorded: Vec::new(),
            known: Vec::new(),
            counts: false,
            delivered: Vec::new(),
            postponed: None,
        }
    }
}

/// What the signatures of a complaint say. Nobody is asked about one that could not be believed whoever signed it:
/// that does not name a message of ours.
async fn signature(
    report: &Report,
    arrival: Arrival<'_>,
    ground: Ground<'_>,
    store: &Store,
) -> Result<Signature, StoreError> {
    let is_complaint = matches!(report.kind, Kind::Complaint | Kind::NotSpam | Kind::OptOut);
    let message_id = report.returned.as_ref().and_then(|returned| returned.message_id.as_ref());
    match (ground.signatures, message_id) {
        (Some(signatures), Some(message_id)) if is_complaint && store.remembers(message_id)? => {
            let envelope = match arrival.origin {
                Origin::Smtp(envelope) => Some(envelope),
                Origin::NonSmtp(_) | Origin::Elsewhere => None,
            };
            Ok(signatures.check(arrival.raw, envelope).await)
        }
        _ => Ok(Signature::None),
    }
}

/// What vouches for the report about each of its recipients, its signature aside; nothing for one without a mailbox.
fn standings(
    report: &Report,
    carried: &[Result<Token, TokenError>],
    arrival: Arrival<'_>,
    ground: Ground<'_>,
    store: &Store,
) -> Result<Vec<Option<Standing>>, StoreError> {
    let scales = Scales { origin: arrival.origin, carried, tokens: ground.tokens, ledger: ground.ledger };
    let weigh = |address| weigh(report, address, scales, store);
    report.recipients.iter().map(|recipient| recipient.address.as_ref().map(weigh).transpose()).collect()
}

/// Why a complaint is to come again, if it is: its signature or its SPF cannot be checked now, and nothing else vouches for it.
/// After a day it is recorded as it stands.
fn postponed(
    report: &Report,
    signature: &Signature,
    standings: &[Option<Standing>],
    arrival: Arrival<'_>,
    ground: Ground<'_>,
) -> Option<String> {
    let Signature::Unknown(problem) = signature else { return None };
    if standings.iter().flatten().any(|standing| standing.authority != Authority::Unverified) {
        return None;
    }
    let key = content_keys(report, arrival.raw).first().copied();
    let key = key.unwrap_or_else(|| ContentKey::of(&[b"octets", arrival.raw]));
    ground.watch.should_wait(key, arrival.at).then(|| problem.clone())
}

/// Notes that something came back, and a complaint that matches nothing we remember.
fn watch_response(what: &What, watch: &Watch, at: Timestamp) {
    let What::Response { response, .. } = what else { return };
    watch.came_back(at);
    let is_complaint = matches!(response.kind, Kind::Complaint | Kind::OptOut);
    if is_complaint && response.authority == Authority::Unverified {
        watch.unmatched_complaint(at);
    }
}

/// Notes which messages of ours a report refers to, by Message-ID and by token, and says so when that is a replay.
fn watch_reference(
    report: &Report,
    recipient: &Address,
    standing: &Standing,
    carried: &[Result<Token, TokenError>],
    arrival: Arrival<'_>,
    ground: Ground<'_>,
) {
    let Ground { watch, tokens, .. } = ground;
    let message_id = report.returned.as_ref().and_then(|returned| returned.message_id.as_ref());
    if let (Some(message_id), Some(send)) = (message_id, &standing.send)
        && let Some(replay) = watch.refers(Reference::MessageId(message_id), recipient, send.recipient, arrival.at)
    {
        say(&LogEvent::Replay { queue_id: arrival.queue_id, reference: &message_id.0, how: replay.as_str() });
    }
    for token in carried.iter().flatten() {
        let name = ledger_name(token).0;
        let is_recipient = tokens.names(token, recipient) || standing.send.as_ref().is_some_and(|send| send.recipient);
        if let Some(replay) = watch.refers(Reference::Token(&name), recipient, is_recipient, arrival.at) {
            say(&LogEvent::Replay { queue_id: arrival.queue_id, reference: name.trim_start(), how: replay.as_str() });
        }
    }
}

fn may_count(what: &What, policy: &Policy) -> bool {
    match what {
        What::Response { response, .. } => policy.accept_unverified || response.authority != Authority::Unverified,
        _ => false,
    }
}

fn delivered_to(event: &NewEvent, policy: &Policy) -> Option<Address> {
    match &event.what {
        What::Response { response, .. } if response.kind == Kind::Delivered && may_count(&event.what, policy) => {
            event.address.clone()
        }
        _ => None,
    }
}

/// One event for each recipient the report names; one `unreadable` event where it names nobody.
fn responses(
    report: &Report,
    signature: &Signature,
    carried: &[Result<Token, TokenError>],
    standings: Vec<Option<Standing>>,
    arrival: Arrival<'_>,
    ground: Ground<'_>,
) -> (Kind, Vec<NewEvent>) {
    let keys = content_keys(report, arrival.raw);
    let mut events = Vec::with_capacity(report.recipients.len());
    for ((recipient, key), standing) in report.recipients.iter().zip(keys).zip(standings) {
        let (Some(address), Some(standing)) = (&recipient.address, standing) else { continue };
        let standing = vouch(standing, signature);
        watch_reference(report, address, &standing, carried, arrival, ground);
        events.push(NewEvent {
            at: arrival.at,
            address: Some(address.clone()),
            queue_id: Some(arrival.queue_id.to_owned()),
            what: response(report, recipient, standing, arrival.at, ground),
            content_key: Some(key),
        });
    }
    if events.is_empty() {
        return (Kind::Other, vec![unreadable("no recipient is named by a mailbox".to_owned(), arrival)]);
    }
    (report.kind, events)
}

fn unreadable(problem: String, arrival: Arrival<'_>) -> NewEvent {
    let excerpt = &arrival.raw[..arrival.raw.len().min(EXCERPT_BYTES)];
    NewEvent {
        at: arrival.at,
        address: None,
        queue_id: Some(arrival.queue_id.to_owned()),
        what: What::Unreadable { problem, excerpt: String::from_utf8_lossy(excerpt).into_owned() },
        content_key: Some(ContentKey::of(&[b"unreadable", arrival.raw])),
    }
}

/// The log lines of a new event: what was recorded, and whether it changed the contact's state.
fn tell(event: &NewEvent, id: EventId, policy: &Policy, store: &Store, arrival: Arrival<'_>) {
    let queue_id = arrival.queue_id;
    match (&event.what, &event.address) {
        (What::Response { response, evidence }, Some(address)) => {
            say(&LogEvent::Response { queue_id, address, response, rule: evidence.rule.as_deref().unwrap_or("-") });
            // The record is on disk already; a log line is not worth a failure if it cannot be read back.
            let Ok(Some(contact)) = store.contact(address) else { return };
            let state = fold(&contact, policy, contact.present(arrival.at));
            if let Some(suppression) = state.suppressions.iter().find(|suppression| suppression.event == id) {
                let (reason, streak) = (suppression.reason.as_str(), state.soft_streak);
                say(&LogEvent::Deactivate { queue_id, address, reason, streak });
            }
        }
        (What::Unreadable { problem, .. }, _) => say(&LogEvent::Unreadable { queue_id, problem }),
        _ => {}
    }
}
