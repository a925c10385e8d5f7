//! How `GET /v1/campaigns/{id}` and `/v1/campaigns/{id}/responses` answer (SPEC 8), as JSON and as CSV. Its rows by
//! provider and by day are in [`super::wire_reports`].

use super::answer::csv_line;
use super::wire::word;
use super::wire_reports::{DayRow, ProviderRow};
use crate::classify::{BounceCode, BounceType, Category, Class, Fault};
use crate::mail::ListId;
use crate::policy::{Authority, EventId, SkipReason};
use crate::report::{Campaign, Kind};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The reasons for a skip, in the order reports name them.
pub const SKIP_REASONS: [SkipReason; 7] = [
    SkipReason::Suppressed,
    SkipReason::Blocklist,
    SkipReason::Robinson,
    SkipReason::Limit,
    SkipReason::MissingInfo,
    SkipReason::InvalidAddress,
    SkipReason::InvalidDomain,
];
/// The categories of failures before a remote server was reached, and of bounces (SPEC 2).
pub const FAILURES: [Category; 2] = [Category::Failed, Category::Invalid];
/// See [`FAILURES`].
pub const BOUNCES: [Category; 4] = [Category::Rejected, Category::Transient, Category::Unknown, Category::Blocked];

/// `GET /v1/campaigns/{id}`: each contact counts once in each figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CampaignAnswer {
    /// The campaign.
    pub campaign: Campaign,
    /// Its lists, as far as they were named by what counts.
    pub lists: BTreeSet<ListId>,
    /// When the first thing happened that is on record of it.
    pub first_at: Option<Timestamp>,
    /// When the last one did.
    pub last_at: Option<Timestamp>,
    /// Recipients that it was sent to, each counted once for each message on each day. What had left the send ledger
    /// before backstopd counted sends is not in it.
    pub sent: u64,
    /// Contacts that it never reached.
    pub skipped: Skipped,
    /// Contacts it came back from.
    pub bounces: Bounces,
    /// Reports as spam.
    pub complaints: u64,
    /// Wishes for no more mail.
    pub opt_outs: u64,
    /// Automatic replies.
    pub autoreplies: u64,
    /// Reports as not spam.
    pub not_spam: u64,
    /// Contacts to whom a report says it was delivered.
    pub delivered: u64,
    /// Contacts for whom a report says it was still being tried.
    pub delayed: u64,
    /// Bounces that proof of life took back; they count nowhere else.
    pub retracted: u64,
    /// Contacts with a report that nothing vouches for; it counts nowhere else.
    pub unverified: u64,
    /// Contacts of whom any of this is on record.
    pub contacts: u64,
    /// What part of those sent.
    pub rates: Rates,
    /// By mailbox provider: most sent first, then by name; the 50 largest, and the rest as `other`, last.
    #[serde(default)]
    pub by_provider: Vec<ProviderRow>,
    /// By day (UTC) on which each thing happened, in order; days without anything are left out.
    #[serde(default)]
    pub by_day: Vec<DayRow>,
}

/// Contacts a campaign never reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Skipped {
    /// All of them.
    pub total: u64,
    /// By the reason for which Backstop took them off, or by the category with which our own MTA gave up:
    /// `failed`, `invalid`.
    pub by_reason: BTreeMap<String, u64>,
    /// Contacts that would have been taken off (`mode = "shadow"`); not in the total.
    pub shadow: u64,
}

/// Contacts a campaign came back from, by the last word on each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bounces {
    /// All of them.
    pub total: u64,
    /// Hard, as the code and type came.
    pub hard: u64,
    /// Soft.
    pub soft: u64,
    /// By category.
    pub by_category: BTreeMap<String, u64>,
}

/// Parts of those sent, from 0 to 1; `null` where none are known to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Bounces.
    pub bounces: Option<f64>,
    /// Complaints.
    pub complaints: Option<f64>,
}

impl CampaignAnswer {
    /// The report before anything was counted: every figure is there.
    pub fn nothing(campaign: Campaign) -> CampaignAnswer {
        let reasons = SKIP_REASONS.iter().map(|reason| reason.as_str()).chain(FAILURES.iter().map(|one| one.as_str()));
        let zeros = |names: &mut dyn Iterator<Item = &'static str>| names.map(|name| (name.to_owned(), 0)).collect();
        CampaignAnswer {
            campaign,
            lists: BTreeSet::new(),
            first_at: None,
            last_at: None,
            sent: 0,
            skipped: Skipped { total: 0, by_reason: zeros(&mut reasons.into_iter()), shadow: 0 },
            bounces: Bounces {
                total: 0,
                hard: 0,
                soft: 0,
                by_category: zeros(&mut BOUNCES.iter().map(|category| category.as_str())),
            },
            complaints: 0,
            opt_outs: 0,
            autoreplies: 0,
            not_spam: 0,
            delivered: 0,
            delayed: 0,
            retracted: 0,
            unverified: 0,
            contacts: 0,
            rates: Rates { bounces: None, complaints: None },
            by_provider: Vec::new(),
            by_day: Vec::new(),
        }
    }

    /// Counts a contact that was not reached.
    pub fn count_skip(&mut self, reason: &str) {
        self.skipped.total += 1;
        *self.skipped.by_reason.entry(reason.to_owned()).or_default() += 1;
    }

    /// Counts a contact that it came back from.
    pub fn count_bounce(&mut self, category: Category, bounce_type: Option<BounceType>) {
        self.bounces.total += 1;
        match bounce_type {
            Some(BounceType::Hard) => self.bounces.hard += 1,
            Some(BounceType::Soft) => self.bounces.soft += 1,
            None => {}
        }
        *self.bounces.by_category.entry(category.as_str().to_owned()).or_default() += 1;
    }

    /// Sets how many were sent, and the rates.
    pub fn of_sent(&mut self, sent: u64) {
        let rate = |count: u64| (sent > 0).then(|| count as f64 / sent as f64);
        self.rates = Rates { bounces: rate(self.bounces.total), complaints: rate(self.complaints) };
        self.sent = sent;
    }

    /// A head and a line of CSV with every figure (RFC 4180).
    pub fn csv(&self) -> String {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        let lists: Vec<&str> = self.lists.iter().map(|list| list.0.as_str()).collect();
        let mut fields: Vec<(String, String)> = vec![
            ("campaign".to_owned(), self.campaign.0.clone()),
            ("lists".to_owned(), lists.join(" ")),
            ("first_at".to_owned(), time(self.first_at)),
            ("last_at".to_owned(), time(self.last_at)),
        ];
        let mut figure = |name: &str, count: u64| fields.push((name.to_owned(), count.to_string()));
        figure("sent", self.sent);
        figure("skipped", self.skipped.total);
        self.skipped.by_reason.iter().for_each(|(reason, count)| figure(&format!("skipped_{reason}"), *count));
        figure("skipped_shadow", self.skipped.shadow);
        figure("bounces", self.bounces.total);
        figure("bounces_hard", self.bounces.hard);
        figure("bounces_soft", self.bounces.soft);
        self.bounces.by_category.iter().for_each(|(category, count)| figure(&format!("bounces_{category}"), *count));
        figure("complaints", self.complaints);
        figure("opt_outs", self.opt_outs);
        figure("autoreplies", self.autoreplies);
        figure("not_spam", self.not_spam);
        figure("delivered", self.delivered);
        figure("delayed", self.delayed);
        figure("retracted", self.retracted);
        figure("unverified", self.unverified);
        figure("contacts", self.contacts);
        let (names, values): (Vec<&str>, Vec<&str>) = fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).unzip();
        csv_line(&names) + &csv_line(&values)
    }
}

/// What came back from one contact, or was prevented: the last word of its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CampaignResponse {
    /// The contact; a recipient that is no address is given as the client wrote it.
    pub address: String,
    /// When.
    pub at: Timestamp,
    /// Where on its way it arose.
    pub class: Class,
    /// What the report says; `other` where Backstop itself took the contact off the message.
    pub kind: Kind,
    /// Category.
    pub category: Option<Category>,
    /// Hard or soft.
    #[serde(rename = "type")]
    pub bounce_type: Option<BounceType>,
    /// Bounce code.
    pub code: Option<BounceCode>,
    /// Finer reason.
    pub reason: Option<String>,
    /// Whose problem it is.
    pub fault: Option<Fault>,
    /// How far it is believed; `unverified` decides and counts nothing unless `accept_unverified`.
    pub authority: Option<Authority>,
    /// The list of the campaign.
    pub list: Option<ListId>,
    /// Whether proof of life took it back.
    pub retracted: bool,
    /// One line: what the code or the rule means.
    pub description: Option<String>,
    /// The words it rests on.
    pub diagnostic: Option<String>,
    /// The event that recorded it.
    pub event: EventId,
}

impl CampaignResponse {
    /// The head of its CSV.
    pub const CSV_HEAD: &str = "address,at,class,kind,category,type,code,reason,fault,authority,list,retracted,\
                                description,diagnostic,event\r\n";

    /// Its line of CSV.
    pub fn csv(&self) -> String {
        fn or_empty<T: Serialize>(value: &Option<T>) -> String {
            value.as_ref().map(word).unwrap_or_default()
        }
        csv_line(&[
            &self.address,
            &self.at.to_string(),
            &word(&self.class),
            self.kind.as_str(),
            self.category.map_or("", Category::as_str),
            &or_empty(&self.bounce_type),
            &self.code.map(|code| code.to_string()).unwrap_or_default(),
            self.reason.as_deref().unwrap_or_default(),
            &or_empty(&self.fault),
            self.authority.map_or("", Authority::as_str),
            self.list.as_ref().map_or("", |list| &list.0),
            if self.retracted { "true" } else { "false" },
            self.description.as_deref().unwrap_or_default(),
            self.diagnostic.as_deref().unwrap_or_default(),
            &self.event.to_string(),
        ])
    }
}

/// A page of `GET /v1/campaigns/{id}/responses`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CampaignResponsesAnswer {
    /// The responses, in order of contact, then of time.
    pub responses: Vec<CampaignResponse>,
    /// What to pass as `cursor` for the next page; `null` at the end.
    pub next: Option<String>,
}
