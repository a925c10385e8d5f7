//! How the requests answer that compare: campaigns, mailbox providers, days (SPEC 8), as JSON and as CSV.
//!
//! `GET /v1/campaigns`, `/v1/report/providers`, `/v1/report/days`, and the rows in `GET /v1/campaigns/{id}`.

use super::answer::csv_line;
use crate::mail::ListId;
use crate::report::Campaign;
use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The figures of one row. Within one campaign each contact counts once in each figure, by the last word on it, as
/// in the report of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Recipients that it was sent to.
    pub sent: u64,
    /// Contacts to whom a report says it was delivered.
    pub delivered: u64,
    /// Contacts for whom a report says it was still being tried.
    pub delayed: u64,
    /// Contacts never reached: taken off, or given up by our own MTA. Not those of shadow mode.
    pub skipped: u64,
    /// Contacts it came back from: hard, soft, and those of which the type is not known.
    pub bounces: u64,
    /// Hard ones.
    pub hard: u64,
    /// Soft ones.
    pub soft: u64,
    /// Reports as spam.
    pub complaints: u64,
    /// Wishes for no more mail.
    pub opt_outs: u64,
    /// Automatic replies.
    pub autoreplies: u64,
    /// Reports as not spam.
    pub not_spam: u64,
    /// Bounces that proof of life took back; they count nowhere else.
    pub retracted: u64,
    /// Bounces of those sent, from 0 to 1; `null` where none are known to be sent.
    pub bounce_rate: Option<f64>,
    /// Complaints of those sent.
    pub complaint_rate: Option<f64>,
}

impl Figures {
    /// The heads of its columns in CSV.
    pub const COLUMNS: [&str; 14] = [
        "sent",
        "delivered",
        "delayed",
        "skipped",
        "bounces",
        "hard",
        "soft",
        "complaints",
        "opt_outs",
        "autoreplies",
        "not_spam",
        "retracted",
        "bounce_rate",
        "complaint_rate",
    ];

    /// Adds the counts of another; the rates are those of the sum.
    pub fn add(&mut self, other: &Figures) {
        // Spelled out, so that a new figure cannot be forgotten here.
        let Figures {
            sent,
            delivered,
            delayed,
            skipped,
            bounces,
            hard,
            soft,
            complaints,
            opt_outs,
            autoreplies,
            not_spam,
            retracted,
            bounce_rate: _,
            complaint_rate: _,
        } = other;
        self.sent += sent;
        self.delivered += delivered;
        self.delayed += delayed;
        self.skipped += skipped;
        self.bounces += bounces;
        self.hard += hard;
        self.soft += soft;
        self.complaints += complaints;
        self.opt_outs += opt_outs;
        self.autoreplies += autoreplies;
        self.not_spam += not_spam;
        self.retracted += retracted;
        *self = self.with_rates();
    }

    /// The same with the rates that follow from the counts.
    pub fn with_rates(self) -> Figures {
        let rate = |count: u64| (self.sent > 0).then(|| count as f64 / self.sent as f64);
        Figures { bounce_rate: rate(self.bounces), complaint_rate: rate(self.complaints), ..self }
    }

    /// Whether there is anything in it.
    pub fn is_empty(&self) -> bool {
        *self == Figures::default()
    }

    /// Its cells of CSV.
    pub fn cells(&self) -> [String; 14] {
        let rate = |rate: Option<f64>| rate.map(|rate| rate.to_string()).unwrap_or_default();
        [
            self.sent.to_string(),
            self.delivered.to_string(),
            self.delayed.to_string(),
            self.skipped.to_string(),
            self.bounces.to_string(),
            self.hard.to_string(),
            self.soft.to_string(),
            self.complaints.to_string(),
            self.opt_outs.to_string(),
            self.autoreplies.to_string(),
            self.not_spam.to_string(),
            self.retracted.to_string(),
            rate(self.bounce_rate),
            rate(self.complaint_rate),
        ]
    }
}

/// The figures of one mailbox provider: one of those known by name (`google`, `microsoft`, ...), else the domain of
/// the recipients' addresses. The DNS is not asked: a company's domain that a large provider hosts stands by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProviderRow {
    /// Its name or domain; `other` for the rest.
    pub provider: String,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The figures of one day (UTC): each thing counts on the day on which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DayRow {
    /// The day, as 2026-08-21.
    pub day: Date,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// One campaign among others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CampaignRow {
    /// The campaign.
    pub campaign: Campaign,
    /// Its lists.
    pub lists: BTreeSet<ListId>,
    /// When the first thing happened that is on record of it.
    pub first_at: Option<Timestamp>,
    /// When the last one did.
    pub last_at: Option<Timestamp>,
    /// The figures, of all its time.
    #[serde(flatten)]
    pub figures: Figures,
}

/// `GET /v1/campaigns?since=&until=&cursor=&limit=`: those of which anything happened from `since` on and before
/// `until`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CampaignsAnswer {
    /// The campaigns, that of which the last thing was heard first.
    pub campaigns: Vec<CampaignRow>,
    /// What to pass as `cursor` for the next page; `null` at the end.
    pub next: Option<String>,
}

/// `GET /v1/report/providers?since=&until=`: all campaigns together, by mailbox provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProvidersAnswer {
    /// The first day counted (UTC).
    pub since: Date,
    /// The last day counted.
    pub until: Date,
    /// So many campaigns have anything in it.
    pub campaigns: u64,
    /// All of it.
    pub total: Figures,
    /// Most sent first, then by name; the rest as `other`, last.
    pub providers: Vec<ProviderRow>,
}

/// `GET /v1/report/days?since=&until=`: all campaigns together, by day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DaysAnswer {
    /// The first day counted (UTC).
    pub since: Date,
    /// The last day counted.
    pub until: Date,
    /// So many campaigns have anything in it.
    pub campaigns: u64,
    /// All of it.
    pub total: Figures,
    /// In order; days without anything are left out.
    pub days: Vec<DayRow>,
}

/// A head of CSV: these columns, and those of the figures.
fn csv_head(columns: &[&str]) -> String {
    csv_line(&[columns, &Figures::COLUMNS].concat())
}

fn csv_row(columns: &[&str], figures: &Figures) -> String {
    let cells = figures.cells();
    let cells: Vec<&str> = columns.iter().copied().chain(cells.iter().map(String::as_str)).collect();
    csv_line(&cells)
}

impl ProviderRow {
    /// The head of its CSV.
    pub fn csv_head() -> String {
        csv_head(&["provider"])
    }

    /// Its line of CSV.
    pub fn csv(&self) -> String {
        csv_row(&[&self.provider], &self.figures)
    }
}

impl DayRow {
    /// The head of its CSV.
    pub fn csv_head() -> String {
        csv_head(&["day"])
    }

    /// Its line of CSV.
    pub fn csv(&self) -> String {
        csv_row(&[&self.day.to_string()], &self.figures)
    }
}

impl CampaignRow {
    /// The head of its CSV.
    pub fn csv_head() -> String {
        csv_head(&["campaign", "lists", "first_at", "last_at"])
    }

    /// Its line of CSV.
    pub fn csv(&self) -> String {
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        let lists: Vec<&str> = self.lists.iter().map(|list| list.0.as_str()).collect();
        csv_row(&[&self.campaign.0, &lists.join(" "), &time(self.first_at), &time(self.last_at)], &self.figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_add_up_and_their_rates_are_those_of_the_sum() {
        let mut sum = Figures { sent: 100, bounces: 5, hard: 3, soft: 1, ..Figures::default() }.with_rates();
        sum.add(&Figures { sent: 300, bounces: 3, complaints: 2, ..Figures::default() });
        assert_eq!((sum.sent, sum.bounces, sum.hard), (400, 8, 3));
        assert_eq!((sum.bounce_rate, sum.complaint_rate), (Some(0.02), Some(0.005)));
        assert_eq!(Figures { bounces: 3, ..Figures::default() }.with_rates().bounce_rate, None);
    }

    #[test]
    fn a_row_is_flat_in_json_and_has_a_cell_for_each_column_in_csv() {
        let figures = Figures { sent: 4, complaints: 1, ..Figures::default() }.with_rates();
        let row = ProviderRow { provider: "google".to_owned(), figures };
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(
            (&json["provider"], &json["sent"], &json["complaint_rate"]),
            (&"google".into(), &4.into(), &0.25.into())
        );
        assert_eq!(serde_json::from_value::<ProviderRow>(json).unwrap(), row);
        assert_eq!(row.csv(), "google,4,0,0,0,0,0,0,1,0,0,0,0,0,0.25\r\n");
        assert_eq!(ProviderRow::csv_head().split(',').count(), row.csv().split(',').count());
        let day = DayRow { day: "2026-08-21".parse().unwrap(), figures };
        assert_eq!(serde_json::to_value(day).unwrap()["day"], "2026-08-21");
    }
}
