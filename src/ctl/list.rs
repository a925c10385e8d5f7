//! `list` and `check`: many contacts at once.

use super::arguments::{CheckArguments, ListArguments};
use super::client::{Body, Client, encoded, pages};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::rows::{Cell, Column, Rows, further, usual};
use super::when;
use crate::admin::wire::{CheckAnswer, ListedSuppression, SuppressionsAnswer, word};
use std::io::BufRead;

/// Contacts asked for at a time.
const PAGE: usize = 1000;
/// Addresses checked at a time, and the octets they may take: below what the daemon takes.
const CHECKED: usize = 5000;
const CHECKED_BYTES: usize = 256 << 10;

const SUPPRESSIONS: &[Column<ListedSuppression>] = &[
    usual("address", "ADDRESS", |listed| Some(&listed.address).into()),
    usual("since", "SINCE (UTC)", |listed| Cell::Time(Some(listed.suppression.since))),
    usual("scope", "SCOPE", |listed| Some(&listed.suppression.scope).into()),
    usual("code", "CODE", |listed| listed.suppression.code.into()),
    usual("type", "TYPE", |listed| listed.suppression.bounce_type.as_ref().map(word).into()),
    usual("category", "CATEGORY", |listed| listed.suppression.category.as_ref().map(word).into()),
    usual("campaign", "CAMPAIGN", |listed| listed.suppression.campaign.as_ref().map(|campaign| &campaign.0).into()),
    usual("reason", "REASON", |listed| Some(&listed.suppression.reason).into()),
    further("until", "UNTIL (UTC)", |listed| Cell::Time(listed.suppression.until)),
    further("event", "EVENT", |listed| Some(listed.suppression.event).into()),
];

/// `backstopctl list`.
pub fn suppressions(client: &Client, filter: &ListArguments, out: &mut Output) -> Result<Exit, Failure> {
    let mut rows = Rows::new(SUPPRESSIONS, &filter.output, out)?;
    let mut query = when::query(&filter.since, &filter.until)?;
    for (name, value) in [("scope", &filter.scope), ("category", &filter.category), ("domain", &filter.domain)] {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let (mut left, mut none) = (filter.limit.unwrap_or(usize::MAX), true);
    if left > 0 {
        pages(client, &format!("/v1/suppressions?limit={}{query}", left.min(PAGE)), |page: SuppressionsAnswer| {
            let mut page = page;
            // Pages are of one length, so the last may have more than is left.
            let taken: usize = page.suppressions.chunk_by(of_one).take(left).map(<[_]>::len).sum();
            page.suppressions.truncate(taken);
            none &= page.suppressions.is_empty();
            rows.print(&page.suppressions, out)?;
            left -= page.suppressions.chunk_by(of_one).count();
            Ok(page.next.filter(|_| left > 0))
        })?;
    }
    if none && rows.is_table() {
        eprintln!("nobody is suppressed, as far as asked");
    }
    rows.end(out)?;
    Ok(Exit::Yes)
}

/// The suppressions of a contact follow each other.
fn of_one(one: &ListedSuppression, next: &ListedSuppression) -> bool {
    one.address == next.address
}

const VERDICTS: &[Column<CheckAnswer>] = &[
    usual("address", "ADDRESS", |verdict| Some(&verdict.address).into()),
    usual("verdict", "VERDICT", |verdict| Some(said(verdict)).into()),
    usual("since", "SINCE (UTC)", |verdict| Cell::Time(verdict.suppressions.first().map(|why| why.since))),
    usual("why", "WHY", |verdict| verdict.suppressions.first().map(|why| &why.reason).into()),
    further("state", "STATE", |verdict| verdict.state.as_ref().map(word).into()),
    further("category", "CATEGORY", |verdict| {
        verdict.suppressions.first().and_then(|why| why.category.as_ref().map(word)).into()
    }),
    further("code", "CODE", |verdict| verdict.suppressions.first().and_then(|why| why.code).into()),
];

/// `backstopctl check ADDR...`: exits with 1 if any of them must not be mailed.
pub fn check(client: &Client, asked: CheckArguments, out: &mut Output) -> Result<Exit, Failure> {
    let rows = Rows::new(VERDICTS, &asked.output, out)?;
    let mut lot = Lot { checker: Checker::new(client, asked.list.as_deref()), rows, exit: Exit::Yes };
    for address in asked.addresses {
        if address == "-" {
            for line in std::io::stdin().lock().lines() {
                let line = line.map_err(|error| Failure::new(Exit::Data, format!("standard input: {error}")))?;
                if !line.trim().is_empty() {
                    lot.add(line.trim().to_owned(), out)?;
                }
            }
        } else {
            lot.add(address, out)?;
        }
    }
    lot.ask(out)?;
    lot.rows.end(out)?;
    Ok(lot.exit)
}

/// Addresses that wait to be asked about together.
pub(super) struct Checker<'a> {
    client: &'a Client,
    target: String,
    waiting: Vec<String>,
    bytes: usize,
}

impl<'a> Checker<'a> {
    /// For mail of one list, or of none.
    pub fn new(client: &'a Client, list: Option<&str>) -> Checker<'a> {
        let target = match list {
            Some(list) => format!("/v1/check?list={}", encoded(list)),
            None => "/v1/check".to_owned(),
        };
        Checker { client, target, waiting: Vec::new(), bytes: 0 }
    }

    /// Adds an address, and says whether it is time to ask.
    pub fn add(&mut self, address: String) -> bool {
        self.bytes += address.len();
        self.waiting.push(address);
        self.waiting.len() >= CHECKED || self.bytes >= CHECKED_BYTES
    }

    /// Asks about those that wait; the verdicts are in their order.
    pub fn ask(&mut self) -> Result<Vec<CheckAnswer>, Failure> {
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let body = serde_json::to_vec(&self.waiting).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        (self.waiting, self.bytes) = (Vec::new(), 0);
        read(&self.client.ask(&self.target, Body::Json(body))?)
    }
}

struct Lot<'a> {
    checker: Checker<'a>,
    rows: Rows<'static, CheckAnswer>,
    exit: Exit,
}

impl Lot<'_> {
    fn add(&mut self, address: String, out: &mut Output) -> Result<(), Failure> {
        if self.checker.add(address) { self.ask(out) } else { Ok(()) }
    }

    fn ask(&mut self, out: &mut Output) -> Result<(), Failure> {
        let verdicts = self.checker.ask()?;
        if verdicts.iter().any(|verdict| verdict.reason.is_some()) {
            self.exit = Exit::No;
        }
        self.rows.print(&verdicts, out)
    }
}

fn said(verdict: &CheckAnswer) -> String {
    match &verdict.reason {
        Some(reason) => word(reason),
        None if verdict.suppressions.is_empty() => "ok".to_owned(),
        None => "ok, but for some lists".to_owned(),
    }
}
