//! `list` and `check`: many contacts at once.

use super::arguments::ListArguments;
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::{aligned, clean};
use super::when;
use crate::admin::wire::{CheckAnswer, ListedSuppression, SuppressionsAnswer, word};
use jiff::Zoned;
use std::io::BufRead;

/// Contacts asked for at a time.
const PAGE: usize = 1000;
/// Addresses checked at a time, and the octets they may take: below what the daemon takes.
const CHECKED: usize = 5000;
const CHECKED_BYTES: usize = 256 << 10;

/// `backstopctl list`.
pub fn suppressions(client: &Client, filter: &ListArguments, out: &mut Output) -> Result<Exit, Failure> {
    let since = filter.since.as_deref().map(|since| when::read(since, &Zoned::now())).transpose()?;
    let mut query = String::new();
    let filters =
        [("scope", &filter.scope), ("category", &filter.category), ("domain", &filter.domain), ("since", &since)];
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let mut left = filter.limit.unwrap_or(usize::MAX);
    let mut cursor: Option<String> = None;
    while left > 0 {
        let from = cursor.as_deref().map(|cursor| format!("&cursor={}", encoded(cursor))).unwrap_or_default();
        let target = format!("/v1/suppressions?limit={}{query}{from}", left.min(PAGE));
        let page: SuppressionsAnswer = read(&client.ask(&target, Body::None)?)?;
        print(&page.suppressions, cursor.is_none(), out)?;
        left -= contacts(&page.suppressions).min(left);
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    Ok(Exit::Yes)
}

/// The suppressions of a contact follow each other.
fn contacts(page: &[ListedSuppression]) -> usize {
    page.chunk_by(|one, next| one.address == next.address).count()
}

/// Columns are aligned within a page: a list may be too long to hold.
fn print(page: &[ListedSuppression], first: bool, out: &mut Output) -> Result<(), Failure> {
    if out.json() {
        return page.iter().try_for_each(|listed| out.object(listed));
    }
    if first && page.is_empty() {
        eprintln!("nobody is suppressed, as far as asked");
        return Ok(());
    }
    let head = ["ADDRESS", "SINCE (UTC)", "SCOPE", "CODE", "TYPE", "CATEGORY", "CAMPAIGN", "REASON"];
    let rows: Vec<Vec<String>> = page.iter().map(row).collect();
    aligned(&head, &rows).iter().skip(usize::from(!first)).try_for_each(|line| out.line(line))
}

fn row(listed: &ListedSuppression) -> Vec<String> {
    let suppression = &listed.suppression;
    vec![
        listed.address.to_string(),
        when::shown(suppression.since),
        suppression.scope.clone(),
        suppression.code.map(|code| code.to_string()).unwrap_or_default(),
        suppression.bounce_type.map_or("", |bounce_type| bounce_type.as_str()).to_owned(),
        suppression.category.map_or("", |category| category.as_str()).to_owned(),
        suppression.campaign.as_ref().map(|campaign| campaign.0.clone()).unwrap_or_default(),
        suppression.reason.clone(),
    ]
}

/// `backstopctl check ADDR...`: exits with 1 if any of them must not be mailed.
pub fn check(client: &Client, addresses: Vec<String>, list: Option<&str>, out: &mut Output) -> Result<Exit, Failure> {
    let target = match list {
        Some(list) => format!("/v1/check?list={}", encoded(list)),
        None => "/v1/check".to_owned(),
    };
    let mut lot = Lot { client, target, waiting: Vec::new(), bytes: 0, first: true, exit: Exit::Yes };
    for address in addresses {
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
    Ok(lot.exit)
}

/// Addresses that wait to be asked about together.
struct Lot<'a> {
    client: &'a Client,
    target: String,
    waiting: Vec<String>,
    bytes: usize,
    first: bool,
    exit: Exit,
}

impl Lot<'_> {
    fn add(&mut self, address: String, out: &mut Output) -> Result<(), Failure> {
        self.bytes += address.len();
        self.waiting.push(address);
        if self.waiting.len() >= CHECKED || self.bytes >= CHECKED_BYTES { self.ask(out) } else { Ok(()) }
    }

    fn ask(&mut self, out: &mut Output) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let body = serde_json::to_vec(&self.waiting).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        (self.waiting, self.bytes) = (Vec::new(), 0);
        let verdicts: Vec<CheckAnswer> = read(&self.client.ask(&self.target, Body::Json(body))?)?;
        if verdicts.iter().any(|verdict| verdict.reason.is_some()) {
            self.exit = Exit::No;
        }
        if out.json() {
            return verdicts.iter().try_for_each(|verdict| out.object(verdict));
        }
        let rows: Vec<Vec<String>> = verdicts.iter().map(checked).collect();
        let lines = aligned(&["ADDRESS", "VERDICT", "SINCE (UTC)", "WHY"], &rows);
        lines.iter().skip(usize::from(!self.first)).try_for_each(|line| out.line(line))?;
        self.first = false;
        Ok(())
    }
}

fn checked(verdict: &CheckAnswer) -> Vec<String> {
    let said = match &verdict.reason {
        Some(reason) => word(reason),
        None if verdict.suppressions.is_empty() => "ok".to_owned(),
        None => "ok, but for some lists".to_owned(),
    };
    let why = verdict.suppressions.first();
    vec![
        clean(&verdict.address),
        said,
        why.map(|suppression| when::shown(suppression.since)).unwrap_or_default(),
        why.map(|suppression| suppression.reason.clone()).unwrap_or_default(),
    ]
}
