//! `events` and `rebuild`: answers that come line by line.

use super::arguments::{EventsArguments, UpkeepArguments};
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::rows::{Cell, Column, Rows, usual};
use super::table::clean;
use super::when;
use crate::admin::wire::{RebuildProgress, word};
use crate::policy::{Event, Scope, What};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How often a daemon that is away is looked for.
const AWAY_TIME: Duration = Duration::from_secs(1);

const COLUMNS: &[Column<Value>] = &[
    usual("id", "ID", |event| field(event, "id")),
    usual("at", "TIME (UTC)", |event| Cell::Time(event["at"].as_str().and_then(|at| at.parse().ok()))),
    usual("event", "EVENT", |event| field(event, "event")),
    usual("kind", "KIND", |event| field(event, "kind")),
    usual("address", "ADDRESS", |event| field(event, "address")),
    usual("queue_id", "QUEUE ID", |event| field(event, "queue_id")),
    usual("category", "CATEGORY", |event| field(event, "category")),
    usual("type", "TYPE", |event| field(event, "type")),
    usual("code", "CODE", |event| field(event, "code")),
    usual("reason", "REASON", |event| field(event, "reason")),
    usual("authority", "AUTHORITY", |event| field(event, "authority")),
    usual("campaign", "CAMPAIGN", |event| field(event, "campaign")),
    usual("list", "LIST", |event| field(event, "list")),
    usual("scope", "SCOPE", |event| field(event, "scope")),
    usual("uid", "UID", |event| field(event, "uid")),
];

fn field(event: &Value, name: &str) -> Cell {
    Cell::Text(match &event[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// `backstopctl events`: JSON as it comes, CSV, the columns asked for, or one line of text for each. Following goes
/// on when the daemon is restarted, behind the last event that was printed.
pub fn events(client: &Client, asked: &EventsArguments, out: &mut Output) -> Result<Exit, Failure> {
    let rows = Rows::new(COLUMNS, &asked.output, out)?;
    let as_rows = asked.output.csv || !asked.output.columns.is_empty();
    let mut printer = Printer { rows, as_rows, last: None };
    let mut query = when::query(&asked.since, &asked.until)?;
    if !asked.follow {
        client.follow(&format!("/v1/events?follow=false{query}"), Body::None, |line| printer.print(line, out))?;
        printer.rows.end(out)?;
        return Ok(Exit::Yes);
    }
    if query.is_empty() {
        // Said here, so that nothing is left out if the daemon goes before the first event.
        query = format!("&since={}", encoded(&Timestamp::now().to_string()));
    }
    let mut met = false;
    loop {
        let from = printer.last.as_ref().map_or(query.clone(), |last| format!("&since={last}"));
        let followed = client.follow(&format!("/v1/events?follow=true{from}"), Body::None, |line| {
            met = true;
            printer.print(line, out)?;
            // Somebody waits for each line.
            out.flush()
        });
        match followed {
            // The daemon ended the answer: it stops, and is perhaps started again.
            Ok(()) => met = true,
            Err(Failure::Because { exit: Exit::Unavailable, .. }) if met => {}
            Err(failure) => return Err(failure),
        }
        std::thread::sleep(AWAY_TIME);
    }
}

/// Prints events as they come.
struct Printer {
    rows: Rows<'static, Value>,
    as_rows: bool,
    /// The id of the last one.
    last: Option<String>,
}

impl Printer {
    fn print(&mut self, line: &[u8], out: &mut Output) -> Result<(), Failure> {
        if out.json() {
            out.raw(line)?;
            self.last = Some(read::<Identified>(line)?.id);
        } else if self.as_rows {
            let event: Value = read(line)?;
            self.last = event["id"].as_str().map(str::to_owned);
            self.rows.print(&[event], out)?;
        } else {
            let event: Event = read(line)?;
            self.last = Some(event.id.to_string());
            out.line(&told(&event))?;
        }
        Ok(())
    }
}

/// As much of an event as following needs.
#[derive(Deserialize)]
struct Identified {
    id: String,
}

fn told(event: &Event) -> String {
    let at = event.at.strftime("%Y-%m-%d %H:%M:%S");
    let address = event.address.as_ref().map_or("-", |address| address.as_str());
    let mut line = format!("{at}  {:<10}  {}", kind(&event.what), clean(address));
    for (name, value) in details(&event.what) {
        line.push_str(&format!("  {name}={}", clean(&value)));
    }
    if let Some(queue_id) = &event.queue_id {
        line.push_str(&format!("  queue_id={}", clean(queue_id)));
    }
    line
}

/// The name of an event, as it is told.
pub(super) fn kind(what: &What) -> &'static str {
    match what {
        What::Skip { shadow: true, .. } => "would-skip",
        what => what.name(),
    }
}

/// What an event says besides, by name.
pub(super) fn details(what: &What) -> Vec<(&'static str, String)> {
    let mut details = Vec::new();
    let mut add = |name, value: Option<String>| details.extend(value.map(|value| (name, value)));
    let list = |scope: &Scope| match scope {
        Scope::System => None,
        Scope::List(list) => Some(list.0.clone()),
    };
    match what {
        What::Response { response, .. } => {
            add("code", response.code.map(|code| code.to_string()));
            add("type", response.bounce_type.as_ref().map(word));
            add("category", response.category.as_ref().map(word));
            add("reason", response.reason.clone());
            add("authority", Some(word(&response.authority)));
            add("campaign", response.campaign.as_ref().map(|campaign| campaign.0.clone()));
        }
        What::Sent { campaign, .. } => add("campaign", campaign.as_ref().map(|campaign| campaign.0.clone())),
        What::Skip { reason, campaign, forward_path, .. } => {
            add("reason", Some(word(reason)));
            add("campaign", campaign.as_ref().map(|campaign| campaign.0.clone()));
            add("forward_path", forward_path.clone());
        }
        What::Suppress { scope, reason, uid } | What::Reactivate { scope, reason, uid, .. } => {
            add("list", list(scope));
            add("uid", Some(uid.to_string()));
            add("reason", Some(reason.clone()));
        }
        What::Import { list, source, format, reason, uid } => {
            add("to", list.map(|list| list.as_str().to_owned()));
            add("source", Some(source.clone()));
            add("format", Some(format.clone()));
            add("uid", Some(uid.to_string()));
            add("reason", Some(reason.clone()));
        }
        What::Imported { batch, entries, .. } => {
            add("batch", Some(batch.to_string()));
            add("entries", Some(entries.len().to_string()));
        }
        What::Revert { batch: target, reason, uid }
        | What::Void { target, reason, uid }
        | What::Confirm { target, reason, uid } => {
            add("target", Some(target.to_string()));
            add("uid", Some(uid.to_string()));
            add("reason", Some(reason.clone()));
        }
        What::ListAdd { list, entry, reason, uid } | What::ListRemove { list, entry, reason, uid } => {
            add("list", Some(list.as_str().to_owned()));
            add("entry", Some(entry.clone()));
            add("uid", Some(uid.to_string()));
            add("reason", Some(reason.clone()));
        }
        What::Activity { level, campaign, uid, reason } => {
            add("level", Some(u8::from(*level).to_string()));
            add("campaign", campaign.as_ref().map(|campaign| campaign.0.clone()));
            add("uid", uid.map(|uid| uid.to_string()));
            add("reason", Some(reason.clone()).filter(|reason| !reason.is_empty()));
        }
        What::Attributes { attributes, uid, reason } => {
            add("names", Some(attributes.keys().cloned().collect::<Vec<_>>().join(",")));
            add("uid", Some(uid.to_string()));
            add("reason", Some(reason.clone()).filter(|reason| !reason.is_empty()));
        }
        What::Limit { limit, uid, reason } => {
            let limit = limit.map(|limit| format!("{} per {} s", limit.messages, limit.window_secs));
            add("limit", Some(limit.unwrap_or_else(|| "none".to_owned())));
            add("uid", Some(uid.to_string()));
            add("reason", Some(reason.clone()).filter(|reason| !reason.is_empty()));
        }
        What::Erase { kept, reason, uid } => {
            add("hash_kept", Some(kept.to_string()));
            add("uid", Some(uid.to_string()));
            add("reason", Some(reason.clone()));
        }
        What::Unreadable { problem, .. } => add("problem", Some(problem.clone())),
    }
    details
}

/// `backstopctl rebuild`: tells how far it is where a person watches.
pub fn rebuild(client: &Client, asked: &UpkeepArguments, out: &mut Output) -> Result<Exit, Failure> {
    let watched = std::io::stderr().is_terminal();
    let mut done = None;
    client.follow(&asked.target("/v1/rebuild"), Body::Json(Vec::new()), |line| {
        let progress: RebuildProgress = read(line)?;
        if out.json() {
            out.raw(line)?;
            out.flush()?;
        }
        if let (Some(events), true) = (progress.events_read, watched) {
            eprint!("\r{events} events read");
            let _ = std::io::stderr().flush();
        }
        if progress.contacts.is_some() || progress.error.is_some() {
            done = Some(progress);
        }
        Ok(())
    })?;
    if watched {
        eprintln!();
    }
    match done {
        Some(RebuildProgress { error: Some(problem), .. }) => Err(Failure::new(Exit::Unavailable, problem.message)),
        Some(RebuildProgress { contacts: Some(contacts), dry_run, .. }) => {
            if !out.json() {
                out.line(&match dry_run {
                    true => format!("{contacts} contact records would be made anew; nothing was changed"),
                    false => format!("{contacts} contact records made anew"),
                })?;
            }
            Ok(Exit::Yes)
        }
        Some(_) | None => Err(Failure::new(Exit::Unavailable, "the rebuild did not say that it is done")),
    }
}
