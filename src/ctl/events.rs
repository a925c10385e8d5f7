//! `events` and `rebuild`: answers that come line by line.

use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::clean;
use super::when;
use crate::admin::wire::{RebuildProgress, word};
use crate::policy::{Event, Scope, What};
use jiff::Zoned;
use std::io::{IsTerminal, Write};

/// `backstopctl events`: JSON as it comes, or one line of text for each.
pub fn events(client: &Client, since: Option<&str>, follow: bool, out: &mut Output) -> Result<Exit, Failure> {
    let since = since.map(|since| when::read(since, &Zoned::now())).transpose()?;
    let since = since.map(|since| encoded(&since)).unwrap_or_default();
    client.follow(&format!("/v1/events?since={since}&follow={follow}"), Body::None, |line| {
        if out.json() {
            out.raw(line)?;
        } else {
            out.line(&told(&read(line)?))?;
        }
        // Somebody waits for each line.
        if follow { out.flush() } else { Ok(()) }
    })?;
    if follow {
        return Err(Failure::new(Exit::Unavailable, "backstopd has stopped"));
    }
    Ok(Exit::Yes)
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

fn kind(what: &What) -> &'static str {
    match what {
        What::Skip { shadow: true, .. } => "would-skip",
        what => what.name(),
    }
}

fn details(what: &What) -> Vec<(&'static str, String)> {
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
        What::Activity { level, campaign } => {
            add("level", Some(u8::from(*level).to_string()));
            add("campaign", campaign.as_ref().map(|campaign| campaign.0.clone()));
        }
        What::Attributes { attributes, uid } => {
            add("names", Some(attributes.keys().cloned().collect::<Vec<_>>().join(",")));
            add("uid", Some(uid.to_string()));
        }
        What::Limit { limit, uid } => {
            let limit = limit.map(|limit| format!("{} per {} s", limit.messages, limit.window_secs));
            add("limit", Some(limit.unwrap_or_else(|| "none".to_owned())));
            add("uid", Some(uid.to_string()));
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
pub fn rebuild(client: &Client, out: &mut Output) -> Result<Exit, Failure> {
    let watched = std::io::stderr().is_terminal();
    let mut done = None;
    client.follow("/v1/rebuild", Body::Json(Vec::new()), |line| {
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
        Some(RebuildProgress { contacts: Some(contacts), .. }) => {
            if !out.json() {
                out.line(&format!("{contacts} contact records made anew"))?;
            }
            Ok(Exit::Yes)
        }
        Some(_) | None => Err(Failure::new(Exit::Unavailable, "the rebuild did not say that it is done")),
    }
}
