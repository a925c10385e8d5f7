//! `activity`: signs of life, one on the command line or many from standard input.

use super::arguments::ActivityArguments;
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::when;
use crate::admin::wire::{ActivityAnswer, ActivityRequest};
use crate::report::Campaign;
use jiff::Zoned;
use std::io::BufRead;

/// Signs of life told at a time, and the octets they may take: below what the daemon takes.
const TOLD: usize = 5000;
const TOLD_BYTES: usize = 512 << 10;

/// `backstopctl activity ADDR`.
pub fn activity(client: &Client, told: &ActivityArguments, out: &mut Output) -> Result<Exit, Failure> {
    let (dry_run, reason, sum) = (told.dry_run, told.reason.as_deref(), ActivityAnswer::default());
    let mut lot = Lot { client, dry_run, reason, waiting: Vec::new(), bytes: 0, sum };
    if told.address == "-" {
        if told.level.is_some() || told.campaign.is_some() || told.at.is_some() {
            let message = "with -, level, campaign and at stand in each line of standard input";
            return Err(Failure::new(Exit::Usage, message));
        }
        for (number, line) in std::io::stdin().lock().lines().enumerate() {
            let wrong = |problem: String| Failure::new(Exit::Data, format!("-:{}: {problem}", number + 1));
            let line = line.map_err(|error| wrong(error.to_string()))?;
            if !line.trim().is_empty() {
                let request = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
                lot.add(request, line.len())?;
            }
        }
    } else {
        let Some(level) = &told.level else {
            return Err(Failure::new(Exit::Usage, "--level is wanted: 0 to 5, or the word for it"));
        };
        let level =
            level.parse().map_err(|error: String| Failure::new(Exit::Usage, error.replace("`level`", "--level")))?;
        let at = told.at.as_deref().map(|at| when::read_as("--at", at, &Zoned::now())).transpose()?;
        let at =
            at.map(|at| at.parse()).transpose().map_err(|_| Failure::new(Exit::Usage, "--at: a time is wanted"))?;
        let campaign = told.campaign.clone().map(Campaign);
        lot.add(ActivityRequest { address: told.address.clone(), campaign, level, at }, 0)?;
    }
    lot.tell()?;
    if out.json() {
        out.object(&lot.sum)?;
        return Ok(Exit::Yes);
    }
    let ActivityAnswer { recorded, known, ignored, dry_run } = lot.sum;
    let recorded = match dry_run {
        true => format!("{recorded} would be recorded or are known"),
        false => format!("{recorded} recorded, {known} known before"),
    };
    out.line(&match ignored {
        0 => recorded,
        _ => format!("{recorded}, {ignored} ignored: of contacts of whom nothing is on record that they could change"),
    })?;
    Ok(Exit::Yes)
}

/// Signs of life that wait to be told together.
struct Lot<'a> {
    client: &'a Client,
    dry_run: bool,
    reason: Option<&'a str>,
    waiting: Vec<ActivityRequest>,
    bytes: usize,
    sum: ActivityAnswer,
}

impl Lot<'_> {
    fn add(&mut self, request: ActivityRequest, bytes: usize) -> Result<(), Failure> {
        self.bytes += bytes;
        self.waiting.push(request);
        if self.waiting.len() >= TOLD || self.bytes >= TOLD_BYTES { self.tell() } else { Ok(()) }
    }

    fn tell(&mut self) -> Result<(), Failure> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let body = serde_json::to_vec(&self.waiting).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        (self.waiting, self.bytes) = (Vec::new(), 0);
        let reason = self.reason.map(|reason| format!("&reason={}", encoded(reason))).unwrap_or_default();
        let target = format!("/v1/activity?dry_run={}{reason}", self.dry_run);
        let answer: ActivityAnswer = read(&self.client.ask(&target, Body::Json(body))?)?;
        self.sum.recorded += answer.recorded;
        self.sum.known += answer.known;
        self.sum.ignored += answer.ignored;
        self.sum.dry_run = answer.dry_run;
        Ok(())
    }
}
