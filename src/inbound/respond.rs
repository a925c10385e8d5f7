//! From one recipient of a report to the response that is recorded: judgement, campaign, send time, and the
//! key by which the same report is recognised when it comes again.

use super::Ground;
use crate::authority::Standing;
use crate::classify::{Category, Class, Judgement, classify, status};
use crate::policy::{ContentKey, Evidence, Response, What};
use crate::report::{Action, Kind, Recipient, Report};
use jiff::Timestamp;

/// The response that a report makes for one recipient.
pub fn response(
    report: &Report,
    recipient: &Recipient,
    standing: Standing,
    now: Timestamp,
    ground: Ground<'_>,
) -> What {
    let kind = report.kind_of(recipient);
    let judgement = match kind {
        Kind::Bounce | Kind::Delayed => Some(classify(recipient, &report.dialect, ground.rules)),
        Kind::Delivered | Kind::Complaint | Kind::NotSpam | Kind::OptOut | Kind::Autoreply | Kind::Other => None,
    };
    let category = match (&judgement, kind) {
        (Some(judgement), _) => Some(judgement.category),
        (None, Kind::Complaint | Kind::OptOut) => Some(Category::Complaint),
        (None, _) => None,
    };
    let returned = report.returned.as_ref();
    let send = standing.send;
    let named = returned.and_then(|returned| ground.campaign_headers.campaign(&returned.headers));
    let response = Response {
        class: judgement.as_ref().map_or(Class::Feedback, |judgement| judgement.category.class()),
        kind,
        category,
        bounce_type: judgement.as_ref().map(|judgement| judgement.bounce_type),
        code: match &judgement {
            Some(judgement) => Some(judgement.code),
            None => recipient.status.as_deref().and_then(status::read_status),
        },
        reason: judgement.as_ref().map(|judgement| judgement.reason.clone()).or_else(|| report.feedback_type.clone()),
        fault: judgement.as_ref().map(|judgement| judgement.fault),
        by_words: judgement.as_ref().is_some_and(|judgement| judgement.by_words()),
        authority: standing.authority,
        campaign: named.or_else(|| send.as_ref().and_then(|send| send.campaign.clone())),
        list: returned
            .and_then(|returned| returned.list.clone())
            .or_else(|| send.as_ref().and_then(|send| send.list.clone())),
        sent_at: sent_at(report, send.map(|send| send.at), now),
    };
    let evidence = Evidence {
        description: describe(kind, recipient.action, judgement.as_ref()),
        diagnostic: recipient.diagnostic_code.clone(),
        status: recipient.status.clone(),
        rule: judgement.as_ref().map(|judgement| judgement.rule.clone()),
        matched: judgement.and_then(|judgement| judgement.matched),
        dialect: Some(report.dialect.clone()),
        reporting_mta: report.reporting_mta.clone(),
        remote_mta: recipient.remote_mta.clone(),
        message_id: returned.and_then(|returned| returned.message_id.clone()),
        authority_because: Some(standing.because),
    };
    What::Response { response: Box::new(response), evidence: Box::new(evidence) }
}

/// When the message was sent: by our ledger, else by the reporting MTA's arrival date, else by the returned
/// message's own date. A time in the future is nobody's word to take.
fn sent_at(report: &Report, ledger: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    let date = report.returned.as_ref().and_then(|returned| returned.date);
    ledger.or(report.arrival_date).or(date).filter(|sent_at| *sent_at <= now)
}

fn describe(kind: Kind, action: Action, judgement: Option<&Judgement>) -> String {
    let why = judgement.map_or("", Judgement::description);
    let what = match (kind, action) {
        (Kind::Delayed, _) => return format!("not delivered yet, still being tried: {why}"),
        (Kind::Bounce | Kind::Other, _) => why,
        (Kind::Complaint, _) => "reported as spam",
        (Kind::NotSpam, _) => "reported as not spam",
        (Kind::OptOut, _) => "asks for no more mail",
        (Kind::Autoreply, _) => "answered by a program: the mailbox exists",
        (Kind::Delivered, Action::Relayed) => "handed to a server that reports no further",
        (Kind::Delivered, Action::Expanded) => "delivered to a list or alias and passed on",
        (Kind::Delivered, Action::Delivered | Action::Failed | Action::Delayed) => "delivered to the mailbox",
    };
    what.to_owned()
}

/// One key for each recipient of a report, in order.
///
/// Postfix makes a notification anew, with a new queue id and Message-ID, after a temporary failure; the
/// returned message's queue id and arrival date stay (POSTFIX-FACTS 8). Anybody else's report is known by
/// its own Message-ID; one without is known by its octets. The same recipient named twice in one report
/// counts as two groups only if the groups differ in action or status.
pub fn content_keys(report: &Report, raw: &[u8]) -> Vec<ContentKey> {
    let mta = report.reporting_mta.as_deref().unwrap_or_default().to_ascii_lowercase();
    let arrival = report.arrival_date.map(|date| date.to_string()).unwrap_or_default();
    let whole = match (&report.postfix_queue_id, &report.message_id) {
        (Some(queue_id), _) => ContentKey::of(&[b"postfix", mta.as_bytes(), queue_id.as_bytes(), arrival.as_bytes()]),
        (None, Some(message_id)) => ContentKey::of(&[b"message-id", mta.as_bytes(), message_id.0.as_bytes()]),
        (None, None) => ContentKey::of(&[b"octets", raw]),
    };
    let key = |recipient: &Recipient| {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        ContentKey::of(&[
            &whole.0,
            text(&recipient.original_recipient).as_bytes(),
            text(&recipient.final_recipient).as_bytes(),
            format!("{:?}", recipient.action).as_bytes(),
            text(&recipient.status).as_bytes(),
        ])
    };
    report.recipients.iter().map(key).collect()
}
