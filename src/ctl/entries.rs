//! `blocklist` and `robinson`: the operator's lists, entry by entry.

use super::arguments::{EntriesArguments, EntriesCommand, EntriesListArguments};
use super::client::{Body, Client, encoded, pages};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::rows::{Cell, Column, Rows, further, usual};
use super::table::clean;
use super::when;
use crate::admin::wire::{ListAnswer, ListChangeAnswer, ListChangeRequest, ListEntry};
use std::io::BufRead;

/// Entries asked for at a time, and told at a time.
const PAGE: usize = 1000;
const TOLD: usize = 2000;

/// `backstopctl blocklist ...` and `backstopctl robinson ...`.
pub fn entries(client: &Client, list: &str, command: &EntriesCommand, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        EntriesCommand::List(asked) => print(client, list, asked, out),
        EntriesCommand::Add(asked) => change(client, list, true, asked, out),
        EntriesCommand::Remove(asked) => change(client, list, false, asked, out),
    }
}

const COLUMNS: &[Column<ListEntry>] = &[
    usual("entry", "ENTRY", |entry| Some(&entry.entry).into()),
    usual("since", "SINCE (UTC)", |entry| Cell::Time(Some(entry.since))),
    further("event", "EVENT", |entry| Some(entry.event).into()),
    usual("batch", "BATCH", |entry| entry.batch.into()),
];

fn print(client: &Client, list: &str, asked: &EntriesListArguments, out: &mut Output) -> Result<Exit, Failure> {
    let mut rows = Rows::new(COLUMNS, &asked.output, out)?;
    let mut query = when::query(&asked.since, &asked.until)?;
    if let Some(domain) = &asked.domain {
        query.push_str(&format!("&domain={}", encoded(domain)));
    }
    let mut none = true;
    pages(client, &format!("/v1/{list}?limit={PAGE}{query}"), |page: ListAnswer| {
        none &= page.entries.is_empty();
        rows.print(&page.entries, out)?;
        Ok(page.next)
    })?;
    if none && rows.is_table() {
        eprintln!("the list is empty, as far as asked");
    }
    rows.end(out)?;
    Ok(Exit::Yes)
}

/// Exits with 1 if an entry cannot be used; the others went in.
fn change(client: &Client, list: &str, add: bool, asked: &EntriesArguments, out: &mut Output) -> Result<Exit, Failure> {
    let mut entries = Vec::new();
    for entry in &asked.entries {
        if entry != "-" {
            entries.push(entry.clone());
            continue;
        }
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| Failure::new(Exit::Data, format!("standard input: {error}")))?;
            if !line.trim().is_empty() {
                entries.push(line.trim().to_owned());
            }
        }
    }
    let mut exit = Exit::Yes;
    for some in entries.chunks(TOLD) {
        let request = ListChangeRequest { entries: some.to_vec(), reason: asked.reason.clone() };
        let body = serde_json::to_vec(&request).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        let body = if add { Body::Put(body) } else { Body::Delete(body) };
        let answer = client.ask(&format!("/v1/{list}?dry_run={}", asked.dry_run), body)?;
        let told: ListChangeAnswer = read(&answer)?;
        for bad in &told.bad {
            eprintln!("backstopctl: {}: {}", clean(&bad.entry), clean(&bad.problem));
            exit = Exit::No;
        }
        if out.json() {
            out.raw(&answer)?;
        } else {
            out.line(&summary(list, add, &told))?;
        }
    }
    Ok(exit)
}

fn summary(list: &str, add: bool, told: &ListChangeAnswer) -> String {
    let (done, before) = match (add, told.dry_run) {
        (true, false) => ("added", "were on it before"),
        (true, true) => ("would be added", "are on it already"),
        (false, false) => ("removed", "were not on it"),
        (false, true) => ("would be removed", "are not on it"),
    };
    let mut line = format!("{list}: {} {done}", told.changed);
    if told.unchanged > 0 {
        line.push_str(&format!(", {} {before}", told.unchanged));
    }
    if !told.bad.is_empty() {
        line.push_str(&format!(", {} cannot be used", told.bad.len()));
    }
    line
}
