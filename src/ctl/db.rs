//! `db restore`, `db verify` and `db stats`: the store itself, mostly while no daemon serves it.

use super::arguments::STORE;
use super::client::{Body, Client};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::progress::Progress;
use super::table::{aligned, clean};
use super::when;
use crate::ops::privileges;
use crate::store::restore::{self, RestoreError, Restored};
use crate::store::stats::{self, Stats};
use crate::store::verify::{self, Remedy};
use crate::store::{Settings, StoreError};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// sled's cache while a store is made or read.
const CACHE_BYTES: u64 = 64 << 20;

/// How long anything is kept matters to nothing here.
fn settings(store: &Path) -> Settings {
    Settings { path: store.to_owned(), cache_bytes: CACHE_BYTES, evidence_days: 400, ledger_days: 35 }
}

/// A backup, and its octets where they are known.
fn open(file: &Path) -> Result<(Box<dyn Read>, u64), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), 0));
    }
    let opened = File::open(file).and_then(|backup| backup.metadata().map(|found| (backup, found.len())));
    let (backup, octets) =
        opened.map_err(|error| Failure::new(Exit::NoInput, format!("{}: {error}", file.display())))?;
    Ok((Box::new(backup), octets))
}

/// `backstopctl db restore FILE --store DIR`.
pub fn restore(file: &Path, store: &Path, out: &mut Output) -> Result<Exit, Failure> {
    let (mut backup, size) = open(file)?;
    privileges::set_umask(); // as the daemon's own
    let mut progress = Progress::new(0, size);
    let restored = restore::restore(&settings(store), &mut backup, &mut |step| match step {
        restore::Progress::Read(octets) if size > 0 => progress.at(octets, "read"),
        restore::Progress::Read(octets) => progress.count(&format!("{} MiB read", octets >> 20)),
        restore::Progress::Rebuilt(events) => progress.count(&format!("contact records: {events} events read")),
    });
    progress.end();
    let Restored { header, summary, contacts } = restored.map_err(|error| refused(file, &error))?;
    if out.json() {
        out.object(&serde_json::json!({
            "store": store, "at": header.at, "last": header.last, "events": summary.events, "contacts": contacts,
        }))?;
        return Ok(Exit::Yes);
    }
    let (store, at) = (store.display(), when::shown(header.at));
    out.line(&format!("{store}: {} events of {contacts} contacts, as of {at} UTC", summary.events))?;
    out.line("  whoever was erased since then is on record again: erase them again")?;
    Ok(Exit::Yes)
}

/// `backstopctl db verify FILE`.
pub fn verify_backup(file: &Path, out: &mut Output) -> Result<Exit, Failure> {
    let (mut backup, size) = open(file)?;
    let mut progress = Progress::new(0, size);
    let checked = restore::check(&mut backup, &mut |octets| progress.at(octets, "read"));
    progress.end();
    let (header, summary) = checked.map_err(|error| refused(file, &error))?;
    if out.json() {
        out.object(&serde_json::json!({
            "file": file, "at": header.at, "last": header.last, "schema": header.schema,
            "events": summary.events, "entries": summary.entries.iter().sum::<u64>(), "hash": summary.hash,
        }))?;
    } else {
        let at = when::shown(header.at);
        out.line(&format!("{}: whole, {} events, as of {at} UTC", file.display(), summary.events))?;
    }
    Ok(Exit::Yes)
}

/// `backstopctl db verify`: exits with 1 where something is to be done.
pub fn verify(store: Option<&Path>, out: &mut Output) -> Result<Exit, Failure> {
    let path = store.unwrap_or(Path::new(STORE));
    let mut progress = Progress::new(0, 0);
    let (mut wrong, mut told) = (0_u64, Ok(()));
    let verified = verify::verify(
        &settings(path),
        &mut |finding| {
            wrong += u64::from(finding.remedy != Remedy::Nothing);
            if told.is_ok() {
                told = if out.json() {
                    out.object(&finding)
                } else {
                    let (key, problem) = (clean(&finding.key), clean(&finding.problem));
                    out.line(&format!("{} {key}: {problem}; {}", finding.tree, finding.remedy.words()))
                };
            }
        },
        &mut |entries| progress.count(&format!("{entries} entries read")),
    );
    progress.end();
    told?;
    let verified = verified.map_err(|error| unopened(&error))?;
    if out.json() {
        out.object(&verified)?;
    } else {
        let (path, findings) = (path.display(), verified.findings);
        out.line(&format!("{path}: {} events, {} entries, {findings} findings", verified.events, verified.entries))?;
    }
    Ok(if wrong > 0 { Exit::No } else { Exit::Yes })
}

/// `backstopctl db stats`.
pub fn stats(client: &Client, out: &mut Output) -> Result<Exit, Failure> {
    let mut last = Vec::new();
    client.follow("/v1/db", Body::None, |line| {
        last = line.to_vec();
        Ok(())
    })?;
    if let Ok(answer) = read::<crate::admin::wire::ErrorAnswer>(&last) {
        return Err(Failure::new(Exit::Unavailable, answer.error.message));
    }
    if out.json() {
        out.raw(&last)?;
        return Ok(Exit::Yes);
    }
    told(&read(&last)?, out)
}

/// `backstopctl db stats --store DIR`.
pub fn stats_of(store: &Path, out: &mut Output) -> Result<Exit, Failure> {
    let stats = stats::of(&settings(store)).map_err(|error| unopened(&error))?;
    if out.json() {
        out.object(&stats)?;
        return Ok(Exit::Yes);
    }
    told(&stats, out)
}

fn told(stats: &Stats, out: &mut Output) -> Result<Exit, Failure> {
    let event = |id: Option<crate::policy::EventId>, at: Option<jiff::Timestamp>| match (id, at) {
        (Some(id), Some(at)) => format!("{} UTC  {id}", when::shown(at)),
        _ => "-".to_owned(),
    };
    for (name, value) in [
        ("events", stats.events.to_string()),
        ("oldest", event(stats.oldest, stats.oldest_at)),
        ("newest", event(stats.newest, stats.newest_at)),
        ("contacts", stats.contacts.to_string()),
        ("erased", stats.erased.to_string()),
        ("ledger days", stats.ledger_days.to_string()),
        ("on disk", format!("{} MiB", stats.disk_bytes.div_ceil(1 << 20))),
        ("schema", stats.schema.to_string()),
        ("generation", stats.generation.to_string()),
    ] {
        out.line(&format!("{name:<12} {value}"))?;
    }
    let row = |tree: &stats::TreeStats| vec![tree.tree.clone(), tree.entries.to_string(), tree.octets.to_string()];
    let rows: Vec<Vec<String>> = stats.trees.iter().map(row).collect();
    aligned(&["TREE", "ENTRIES", "OCTETS"], &rows).iter().try_for_each(|line| out.line(line))?;
    Ok(Exit::Yes)
}

fn refused(file: &Path, error: &RestoreError) -> Failure {
    let name = file.display();
    match error {
        RestoreError::Archive(error) => Failure::new(Exit::Data, format!("{name}: {error}")),
        RestoreError::Read(error) => Failure::new(Exit::NoInput, format!("{name}: {error}")),
        RestoreError::NotEmpty(_) => Failure::new(Exit::Output, error.to_string()),
        RestoreError::Store(
            StoreError::Damaged { .. } | StoreError::Corrupt { .. } | StoreError::NewerSchema { .. },
        ) => Failure::new(Exit::Data, format!("{name}: {error}")),
        RestoreError::Store(error) => unopened(error),
    }
}

fn unopened(error: &StoreError) -> Failure {
    match error {
        StoreError::InUse { .. } => {
            let way = "stop backstopd first, or take a backup and verify that";
            Failure::new(Exit::Unavailable, format!("{error}; {way}"))
        }
        StoreError::Unwritable { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Permission, error.to_string())
        }
        StoreError::Unwritable { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Failure::new(Exit::NoInput, error.to_string())
        }
        StoreError::NewerSchema { .. }
        | StoreError::Unopenable { .. }
        | StoreError::Damaged { .. }
        | StoreError::Corrupt { .. } => Failure::new(Exit::Data, error.to_string()),
        StoreError::Unwritable { .. } | StoreError::Engine(_) | StoreError::Stopped | StoreError::Busy => {
            Failure::new(Exit::Output, error.to_string())
        }
    }
}
