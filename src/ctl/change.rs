//! `suppress`, `reactivate`: a person's word on a contact.

use super::arguments::ChangeArguments;
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::show::told;
use super::table::clean;
use crate::admin::wire::{ChangeAnswer, ChangeRequest, word};

/// `backstopctl suppress ADDR` and `backstopctl reactivate ADDR`.
pub fn change(client: &Client, action: &str, asked: &ChangeArguments, out: &mut Output) -> Result<Exit, Failure> {
    let request = ChangeRequest { scope: asked.list.clone(), reason: asked.reason.clone() };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    let dry_run = if asked.dry_run { "?dry_run=true" } else { "" };
    let target = format!("/v1/contacts/{}/{action}{dry_run}", encoded(&asked.address));
    let answer = client.ask(&target, Body::Json(body))?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let answer: ChangeAnswer = read(&answer)?;
    let (address, before, after) = (clean(answer.address.as_str()), word(&answer.before), word(&answer.after));
    if answer.dry_run {
        out.line(&format!("{address}: {before}, would be {after}; nothing was changed"))?;
    } else {
        out.line(&format!("{address}: {after}, was {before}"))?;
    }
    for suppression in &answer.suppressions {
        out.line(&format!("  {}", told(suppression)))?;
    }
    Ok(Exit::Yes)
}
