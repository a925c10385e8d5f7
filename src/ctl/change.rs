//! `suppress`, `reactivate`, `ingest`: what changes the record.

use super::arguments::ChangeArguments;
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::offline::each_mail;
use super::output::{Output, read};
use super::show::told;
use super::table::clean;
use crate::admin::wire::{ChangeAnswer, ChangeRequest, IngestAnswer, word};
use crate::report::Kind;
use serde::Serialize;
use std::path::PathBuf;

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

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    answer: &'a IngestAnswer,
}

/// `backstopctl ingest FILE...`: exits with 1 if one of them was no report.
pub fn ingest(client: &Client, files: &[PathBuf], out: &mut Output) -> Result<Exit, Failure> {
    let mut exit = Exit::Yes;
    let read_exit = each_mail(files, |file, mail| {
        let answer: IngestAnswer = read(&client.ask("/v1/ingest", Body::Mail(mail))?)?;
        if answer.kind == Kind::Other {
            exit = Exit::No;
        }
        if out.json() {
            return out.object(&Line { file, answer: &answer });
        }
        let (kind, recorded, known) = (word(&answer.kind), answer.recorded.len(), answer.known.len());
        out.line(&format!("{}: {kind}, {recorded} recorded, {known} on record already", clean(file)))
    })?;
    Ok(if read_exit == Exit::Yes { exit } else { read_exit })
}
