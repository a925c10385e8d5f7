//! `blocklist` and `robinson`: the operator's lists, entry by entry.

use super::arguments::{EntriesArguments, EntriesCommand};
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::{aligned, clean};
use super::when;
use crate::admin::wire::{ListAnswer, ListChangeAnswer, ListChangeRequest, ListEntry};
use std::io::BufRead;

/// Entries asked for at a time, and told at a time.
const PAGE: usize = 1000;
const TOLD: usize = 2000;

/// `backstopctl blocklist ...` and `backstopctl robinson ...`.
pub fn entries(client: &Client, list: &str, command: &EntriesCommand, out: &mut Output) -> Result<Exit, Failure> {
    match command {
        EntriesCommand::List => print(client, list, out),
        EntriesCommand::Add(asked) => change(client, list, true, asked, out),
        EntriesCommand::Remove(asked) => change(client, list, false, asked, out),
    }
}

fn print(client: &Client, list: &str, out: &mut Output) -> Result<Exit, Failure> {
    let mut cursor: Option<String> = None;
    loop {
        let from = cursor.as_deref().map(|cursor| format!("&cursor={}", encoded(cursor))).unwrap_or_default();
        let page: ListAnswer = read(&client.ask(&format!("/v1/{list}?limit={PAGE}{from}"), Body::None)?)?;
        if out.json() {
            page.entries.iter().try_for_each(|entry| out.object(entry))?;
        } else if cursor.is_none() && page.entries.is_empty() {
            eprintln!("the list is empty");
        } else {
            let rows: Vec<Vec<String>> = page.entries.iter().map(row).collect();
            let lines = aligned(&["ENTRY", "SINCE (UTC)", "BATCH"], &rows);
            lines.iter().skip(usize::from(cursor.is_some())).try_for_each(|line| out.line(line))?;
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(Exit::Yes),
        }
    }
}

fn row(entry: &ListEntry) -> Vec<String> {
    let batch = entry.batch.map(|batch| batch.to_string()).unwrap_or_default();
    vec![entry.entry.clone(), when::shown(entry.since), batch]
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
