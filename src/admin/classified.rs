//! Reads and judges one mail without storing anything: what `POST /v1/classify` and `backstopctl classify`
//! answer, and what the fixtures expect.

use super::wire::{Classified, ClassifiedRecipient};
use crate::classify::{Category, Rules, classify, status};
use crate::mail::{Limits, Message};
use crate::report::{self, CampaignHeaders, Dialects, Kind, Recipient, Report};

/// What a mail says, and of whom. A broken report is of kind `other` and says why in `error`.
pub fn classified(
    raw: &[u8],
    limits: &Limits,
    campaign_headers: &CampaignHeaders,
    dialects: &Dialects,
    rules: &Rules,
) -> Classified {
    let message = Message::read(raw, limits);
    match report::read(&message, dialects) {
        Ok(Some(report)) => of_report(&report, campaign_headers, rules),
        Ok(None) => other(message.refused.map(|why| format!("the MIME structure was not read: {why}"))),
        Err(error) => other(Some(error.to_string())),
    }
}

fn of_report(report: &Report, campaign_headers: &CampaignHeaders, rules: &Rules) -> Classified {
    let returned = report.returned.as_ref();
    Classified {
        kind: report.kind,
        campaign: returned.and_then(|returned| campaign_headers.campaign(&returned.headers)),
        list: returned.and_then(|returned| returned.list.clone()),
        message_id: returned.and_then(|returned| returned.message_id.clone()),
        recipients: report.recipients.iter().map(|recipient| of_recipient(report, recipient, rules)).collect(),
        error: None,
    }
}

fn of_recipient(report: &Report, recipient: &Recipient, rules: &Rules) -> ClassifiedRecipient {
    let read = ClassifiedRecipient {
        address: recipient.address.clone(),
        diagnostic: recipient.diagnostic_code.clone(),
        dialect: Some(report.dialect.clone()),
        ..ClassifiedRecipient::default()
    };
    let reason = report.feedback_type.clone();
    match report.kind_of(recipient) {
        Kind::Bounce | Kind::Delayed => judged(read, recipient, &report.dialect, rules),
        Kind::Complaint | Kind::OptOut => ClassifiedRecipient { category: Some(Category::Complaint), reason, ..read },
        Kind::NotSpam | Kind::Autoreply | Kind::Other => ClassifiedRecipient { reason, ..read },
        Kind::Delivered => {
            ClassifiedRecipient { code: recipient.status.as_deref().and_then(status::read_status), ..read }
        }
    }
}

fn judged(read: ClassifiedRecipient, recipient: &Recipient, dialect: &str, rules: &Rules) -> ClassifiedRecipient {
    let judgement = classify(recipient, dialect, rules);
    ClassifiedRecipient {
        code: Some(judgement.code),
        bounce_type: Some(judgement.bounce_type),
        category: Some(judgement.category),
        reason: Some(judgement.reason),
        fault: Some(judgement.fault),
        rule: Some(judgement.rule),
        matched: judgement.matched,
        ..read
    }
}

fn other(error: Option<String>) -> Classified {
    Classified { kind: Kind::Other, campaign: None, list: None, message_id: None, recipients: Vec::new(), error }
}
