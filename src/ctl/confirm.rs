//! `confirm`: an operator vouches for what nothing vouched for.

use super::arguments::ConfirmArguments;
use super::bulk::finished;
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::progress::Progress;
use super::show::told;
use super::table::clean;
use super::undo::because;
use super::when;
use crate::admin::wire::{ConfirmAnswer, ConfirmLine, ConfirmRequest, word};
use crate::policy::Authority;
use jiff::Zoned;

/// `backstopctl confirm`: the events that are named, or all that the filters admit.
pub fn confirm(client: &Client, asked: &ConfirmArguments, out: &mut Output) -> Result<Exit, Failure> {
    if asked.events.is_empty() {
        return many(client, asked, out);
    }
    for event in &asked.events {
        one(client, event, asked, out)?;
    }
    Ok(Exit::Yes)
}

fn one(client: &Client, event: &str, asked: &ConfirmArguments, out: &mut Output) -> Result<(), Failure> {
    let target = format!("/v1/events/{}/confirm?dry_run={}", encoded(event), asked.dry_run);
    let answer = client.ask(&target, Body::Json(because(&asked.reason)?))?;
    if out.json() {
        return out.raw(&answer);
    }
    let answer: ConfirmAnswer = read(&answer)?;
    let (kind, address) = (clean(&answer.kind), clean(answer.address.as_str()));
    let tense = if answer.dry_run { "would be confirmed" } else { "confirmed" };
    out.line(&format!("{kind} {} of {address}: {tense}", answer.target))?;
    let (before, after) = (word(&answer.before), word(&answer.after));
    match answer.dry_run {
        true => out.line(&format!("  {before}, would be {after}; nothing was changed"))?,
        false => out.line(&format!("  {after}, was {before}"))?,
    }
    for suppression in &answer.suppressions {
        out.line(&format!("  {}", told(suppression)))?;
    }
    Ok(())
}

fn many(client: &Client, asked: &ConfirmArguments, out: &mut Output) -> Result<Exit, Failure> {
    let now = Zoned::now();
    let time =
        |option: &str, text: &Option<String>| text.as_deref().map(|text| when::read_as(option, text, &now)).transpose();
    let request = ConfirmRequest {
        reason: asked.reason.clone(),
        since: time("--since", &asked.since)?,
        until: time("--until", &asked.until)?,
        domain: asked.domain.clone(),
        authority: Some(Authority::Unverified),
    };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    let mut progress = Progress::new(0, 0);
    let mut done = None;
    let target = format!("/v1/confirm?dry_run={}", asked.dry_run);
    let ended = client.follow(&target, Body::Json(body), |line| {
        match read::<ConfirmLine>(line)? {
            ConfirmLine::Progress { confirmed } => progress.count(&format!("{confirmed} responses confirmed")),
            ConfirmLine::Done { responses, contacts, suppressed, more, .. } => {
                done = Some(Ok((responses, contacts, suppressed, more)));
            }
            ConfirmLine::Failed { error } => done = Some(Err(error)),
        }
        if out.json() { out.raw(line) } else { Ok(()) }
    });
    progress.end();
    ended?;
    let (responses, contacts, suppressed, more) = finished(done, "the confirmation")?;
    if !out.json() {
        out.line(&match asked.dry_run {
            true => format!(
                "{responses} responses of {contacts} contacts would be confirmed, and {suppressed} contacts not mailed \
                 any more; nothing was changed"
            ),
            false => format!(
                "{responses} responses of {contacts} contacts confirmed; {suppressed} contacts are not mailed any more"
            ),
        })?;
        if more {
            out.line("  there are more; run it again")?;
        }
    }
    Ok(if responses == 0 { Exit::No } else { Exit::Yes })
}
