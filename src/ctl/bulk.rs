//! `import`, `batches`, `revert`, `export` and `db compact`: what takes long tells how far it is.

use super::arguments::{BatchesArguments, ExportArguments, ImportArguments, ListOutput, UpkeepArguments};
use super::client::{Body, Client, encoded, pages};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::progress::Progress;
use super::rows::{self, Cell, Column, Rows, fields, further, usual};
use super::table::clean;
use super::undo::because;
use super::when;
use crate::admin::wire::{BatchAnswer, BatchesAnswer, CompactLine, ImportAnswer, ImportLine, Problem, RevertLine};
use crate::bulk::BadLine;
use crate::policy::OperatorList;
use hyper::StatusCode;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// `backstopctl import FILE`: exits with 1 if a line could not be read; the others went in.
pub fn import(client: &Client, asked: &ImportArguments, out: &mut Output) -> Result<Exit, Failure> {
    let name = if asked.file == Path::new("-") { "-".to_owned() } else { asked.file.display().to_string() };
    let no_input = |error: io::Error| Failure::new(Exit::NoInput, format!("{name}: {error}"));
    let sent = Arc::new(AtomicU64::new(0));
    let (list, size): (Box<dyn Read + Send>, u64) = if name == "-" {
        (Box::new(io::stdin()), 0)
    } else {
        let file = File::open(&asked.file).map_err(no_input)?;
        let found = file.metadata().map_err(no_input)?;
        if found.is_dir() {
            return Err(Failure::new(Exit::NoInput, format!("{name}: a directory; a file is wanted")));
        }
        (Box::new(file), found.len())
    };
    let list = Counted { list, sent: sent.clone() };
    let to = match (asked.blocklist, asked.robinson) {
        (true, _) => "blocklist",
        (false, true) => "robinson",
        (false, false) => "suppressions",
    };
    let source = asked.file.file_name().map_or("-".into(), |name| name.to_string_lossy());
    let mut target = format!("/v1/import?list={to}&dry_run={}&source={}", asked.dry_run, encoded(&source));
    for (parameter, value) in [("format", &asked.format), ("reason", &asked.reason)] {
        if let Some(value) = value {
            target.push_str(&format!("&{parameter}={}", encoded(value)));
        }
    }
    let mut progress = Progress::new(0, size);
    let mut done = None;
    let ended = client.follow(&target, Body::List(Box::new(list)), |line| {
        match read::<ImportLine>(line)? {
            ImportLine::Read { read } if size > 0 => {
                progress.at(sent.load(Relaxed), &format!("{read} lines read"));
            }
            ImportLine::Read { read } => progress.count(&format!("{read} lines read")),
            ImportLine::Stored { stored } => progress.count(&format!("{stored} entries stored")),
            ImportLine::Bad(BadLine { line, problem }) => {
                progress.end();
                eprintln!("{}:{line}: {}", clean(&name), clean(&problem));
            }
            ImportLine::Done(answer) => done = Some(Ok(answer)),
            ImportLine::Failed { error } => done = Some(Err(error)),
        }
        if out.json() { out.raw(line) } else { Ok(()) }
    });
    progress.end();
    ended?;
    let answer = finished(done, "the import")?;
    if !out.json() {
        summary(&answer, out)?;
    }
    Ok(if answer.bad > 0 { Exit::No } else { Exit::Yes })
}

fn summary(answer: &ImportAnswer, out: &mut Output) -> Result<(), Failure> {
    let format = answer.format.map(|format| format!(" ({format})")).unwrap_or_default();
    let to = answer.list.map_or("suppressions", OperatorList::as_str);
    let imported = if answer.dry_run { "would be imported" } else { "imported" };
    let mut line = format!("{to}{format}: {} {imported}", answer.imported);
    for (count, what) in [
        (answer.known, "of them about somebody on record before"),
        (answer.duplicates, "said the same again"),
        (answer.not_suppressed, "may be mailed"),
        (answer.bad, "could not be read"),
    ] {
        if count > 0 {
            line.push_str(&format!(", {count} {what}"));
        }
    }
    out.line(&line)?;
    match answer.batch {
        Some(batch) => out.line(&format!("batch {batch}; `backstopctl revert {batch} --reason TEXT` takes it back")),
        None if answer.dry_run => out.line("nothing was changed"),
        None => out.line("there was nothing to import"),
    }
}

/// Counts what is read of a list.
struct Counted {
    list: Box<dyn Read + Send>,
    sent: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let octets = self.list.read(buffer)?;
        self.sent.fetch_add(octets as u64, Relaxed);
        Ok(octets)
    }
}

const BATCHES: &[Column<BatchAnswer>] = &[
    usual("batch", "BATCH", |batch| Some(batch.batch).into()),
    usual("at", "TIME (UTC)", |batch| Cell::Time(Some(batch.at))),
    usual("list", "LIST", |batch| Some(batch.list.map_or("suppressions", OperatorList::as_str)).into()),
    usual("entries", "ENTRIES", |batch| Some(batch.entries).into()),
    further("known", "KNOWN", |batch| Some(batch.known).into()),
    usual("reverted", "TAKEN BACK", |batch| Cell::Time(batch.reverted)),
    usual("source", "SOURCE", |batch| Some(&batch.source).into()),
    usual("reason", "REASON", |batch| Some(&batch.reason).into()),
];

/// `backstopctl batches`.
pub fn batches(client: &Client, asked: &BatchesArguments, out: &mut Output) -> Result<Exit, Failure> {
    let mut rows = Rows::new(BATCHES, &asked.output, out)?;
    let query = when::query(&asked.since, &asked.until)?;
    let mut none = true;
    pages(client, &format!("/v1/batches?limit=1000{query}"), |page: BatchesAnswer| {
        none &= page.batches.is_empty();
        rows.print(&page.batches, out)?;
        Ok(page.next)
    })?;
    if none && rows.is_table() {
        eprintln!("nothing was imported, as far as asked");
    }
    rows.end(out)?;
    Ok(Exit::Yes)
}

/// `backstopctl revert BATCH`.
pub fn revert(client: &Client, batch: &str, reason: &str, dry_run: bool, out: &mut Output) -> Result<Exit, Failure> {
    let target = format!("/v1/batches/{}/revert?dry_run={dry_run}", encoded(batch));
    let mut progress = Progress::new(0, 0);
    let mut done = None;
    let ended = client.follow(&target, Body::Json(because(reason)?), |line| {
        match read::<RevertLine>(line)? {
            RevertLine::Progress { reverted } => progress.count(&format!("{reverted} entries taken back")),
            RevertLine::Done { removed, .. } => done = Some(Ok(removed)),
            RevertLine::Failed { error } => done = Some(Err(error)),
        }
        if out.json() { out.raw(line) } else { Ok(()) }
    });
    progress.end();
    ended?;
    let removed = finished(done, "the taking back")?;
    if !out.json() {
        out.line(&match dry_run {
            true => format!("batch {}: {removed} entries would go; nothing was changed", clean(batch)),
            false => format!("batch {}: taken back, {removed} entries", clean(batch)),
        })?;
    }
    Ok(Exit::Yes)
}

/// The columns of a suppression in an export.
const SUPPRESSION: [&str; 10] =
    ["address", "scope", "category", "type", "code", "reason", "since", "until", "campaign", "event"];

/// `backstopctl export`.
pub fn export(client: &Client, asked: &ExportArguments, out: &mut Output) -> Result<Exit, Failure> {
    let mut target = format!("/v1/export?what={}", encoded(&asked.what));
    for (parameter, value) in [("hashed", &asked.hashed), ("salt", &asked.salt)] {
        if let Some(value) = value {
            target.push_str(&format!("&{parameter}={}", encoded(value)));
        }
    }
    if !asked.columns.is_empty() {
        let mut names = match (asked.hashed.is_some(), asked.what.as_str()) {
            (true, _) => vec!["subject", "scope", "category", "type", "code", "since"],
            (false, "blocklist" | "robinson") => vec!["subject", "since"],
            (false, _) => SUPPRESSION.to_vec(),
        };
        if asked.what == "all" {
            names.insert(0, "what");
        }
        let (columns, output) = (fields(names), ListOutput { csv: true, columns: asked.columns.clone() });
        rows::lines(client, &target, Rows::new(&columns, &output, out)?, out, as_suppression)?;
        return Ok(Exit::Yes);
    }
    let body = if asked.csv { Body::Csv } else { Body::Lines };
    client.copy(&target, body, |piece| out.octets(piece))?;
    Ok(Exit::Yes)
}

/// Among suppressions, a list's entry has their columns.
fn as_suppression(row: &mut Value) {
    if let (None, Some(subject)) = (row.get("address"), row.get("subject").cloned()) {
        row["address"] = subject;
        if row.get("scope").is_none() {
            row["scope"] = "system".into();
        }
    }
}

/// `backstopctl db compact`.
pub fn compact(client: &Client, asked: &UpkeepArguments, out: &mut Output) -> Result<Exit, Failure> {
    let mut progress = Progress::new(0, 0);
    let mut done = None;
    let ended = client.follow(&asked.target("/v1/compact"), Body::Json(Vec::new()), |line| {
        match read::<CompactLine>(line)? {
            CompactLine::Progress { written } => progress.count(&format!("{written} records written")),
            CompactLine::Done { bytes_before, bytes_after } => done = Some(Ok((bytes_before, Some(bytes_after)))),
            CompactLine::Nothing { bytes_before, .. } => done = Some(Ok((bytes_before, None))),
            CompactLine::Failed { error } => done = Some(Err(error)),
        }
        if out.json() { out.raw(line) } else { Ok(()) }
    });
    progress.end();
    ended?;
    let (before, after) = finished(done, "the compaction")?;
    if !out.json() {
        let mebibytes = |octets: u64| octets.div_ceil(1 << 20);
        out.line(&match after {
            Some(after) => format!("{} MiB on disk, {} MiB before", mebibytes(after), mebibytes(before)),
            None => format!("{} MiB on disk; nothing was changed", mebibytes(before)),
        })?;
    }
    Ok(Exit::Yes)
}

/// The last line, which says what came of it.
pub(super) fn finished<T>(done: Option<Result<T, Problem>>, what: &str) -> Result<T, Failure> {
    match done {
        Some(Ok(answer)) => Ok(answer),
        Some(Err(Problem { code, message })) => {
            let status = match code.as_str() {
                "not-found" => StatusCode::NOT_FOUND,
                "already" => StatusCode::CONFLICT,
                "invalid-value" | "broken-body" => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            Err(Failure::of_status(status, &code, &message))
        }
        None => Err(Failure::new(Exit::Unavailable, format!("{what} did not say that it is done"))),
    }
}
