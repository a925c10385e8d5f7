//! `undo` and `erase`: what was recorded counts no more, or is gone.

use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::show::told;
use super::table::clean;
use crate::admin::wire::{EraseAnswer, ReasonRequest, VoidAnswer, word};

/// A body that says why.
pub fn because(reason: &str) -> Result<Vec<u8>, Failure> {
    let request = ReasonRequest { reason: reason.to_owned() };
    serde_json::to_vec(&request).map_err(|error| Failure::new(Exit::Data, error.to_string()))
}

/// `backstopctl undo EVENT`.
pub fn undo(client: &Client, event: &str, reason: &str, dry_run: bool, out: &mut Output) -> Result<Exit, Failure> {
    let target = format!("/v1/events/{}/void?dry_run={dry_run}", encoded(event));
    let answer = client.ask(&target, Body::Json(because(reason)?))?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let answer: VoidAnswer = read(&answer)?;
    let (kind, tense) = (clean(&answer.kind), if answer.dry_run { "would be undone" } else { "undone" });
    let Some(address) = &answer.address else {
        out.line(&format!("{kind} {}: {tense}", answer.target))?;
        return Ok(Exit::Yes);
    };
    out.line(&format!("{kind} {} of {}: {tense}", answer.target, clean(address.as_str())))?;
    let (before, after) = (answer.before.as_ref().map(word), answer.after.as_ref().map(word));
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    match answer.dry_run {
        true => out.line(&format!("  {before}, would be {after}; nothing was changed"))?,
        false => out.line(&format!("  {after}, was {before}"))?,
    }
    for suppression in &answer.suppressions {
        out.line(&format!("  {}", told(suppression)))?;
    }
    Ok(Exit::Yes)
}

/// `backstopctl erase ADDR`.
pub fn erase(
    client: &Client,
    address: &str,
    reason: &str,
    forget: bool,
    dry_run: bool,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let target = format!("/v1/contacts/{}?keep_hash={}&dry_run={dry_run}", encoded(address), !forget);
    let answer = client.ask(&target, Body::Delete(because(reason)?))?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let answer: EraseAnswer = read(&answer)?;
    let address = clean(answer.address.as_str());
    match answer.dry_run {
        true => out.line(&format!("{address}: events that would be erased: {}; nothing was changed", answer.events))?,
        false => out.line(&format!(
            "{address}: erased; events: {}, remembered sends: {}",
            answer.events,
            answer.sends.unwrap_or_default()
        ))?,
    }
    match (answer.hash_kept, answer.dry_run) {
        (true, false) => out.line("  a keyed hash stays, by which the address is blocked")?,
        (true, true) => out.line("  a keyed hash would stay, by which the address is blocked")?,
        (false, _) => out.line("  nothing stays: the address can be mailed again")?,
    }
    if !answer.dry_run {
        out.line("  until `backstopctl db compact`, traces may be left in the store's files")?;
    }
    Ok(Exit::Yes)
}
