//! `check --file`: a whole list, before it is mailed. Read, asked about and written record by record, so that its
//! length does not matter.

use super::arguments::CheckArguments;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::list::Checker;
use super::output::Output;
use super::place::Place;
use super::progress::Progress;
use super::rows::{Cell, Column, Rows, further, usual};
use super::table::clean;
use crate::admin::wire::{CheckAnswer, word};
use crate::bulk::{Recipients, Record};
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

/// Octets of records that wait for their verdict.
const WAITING_BYTES: usize = 4 << 20;

/// Somebody on the list who must not be mailed.
#[derive(Serialize)]
struct Found {
    line: u64,
    #[serde(flatten)]
    verdict: CheckAnswer,
}

const COLUMNS: &[Column<Found>] = &[
    usual("line", "LINE", |found| Some(found.line).into()),
    usual("address", "ADDRESS", |found| Some(&found.verdict.address).into()),
    usual("verdict", "VERDICT", |found| found.verdict.reason.as_ref().map(word).into()),
    usual("since", "SINCE (UTC)", |found| Cell::Time(found.verdict.suppressions.first().map(|why| why.since))),
    usual("why", "WHY", |found| found.verdict.suppressions.first().map(|why| &why.reason).into()),
    further("state", "STATE", |found| found.verdict.state.as_ref().map(word).into()),
    further("category", "CATEGORY", |found| {
        found.verdict.suppressions.first().and_then(|why| why.category.as_ref().map(word)).into()
    }),
    further("code", "CODE", |found| found.verdict.suppressions.first().and_then(|why| why.code).into()),
];

/// `backstopctl check --file LIST`: exits with 1 if somebody on it must not be mailed, or a record cannot be read.
pub fn check(client: &Client, asked: &CheckArguments, out: &mut Output) -> Result<Exit, Failure> {
    let path = asked.file.as_deref().unwrap_or(Path::new("-"));
    let name = clean(&path.display().to_string());
    let no_input = |error: io::Error| Failure::new(Exit::NoInput, format!("{name}: {error}"));
    let input: Box<dyn BufRead> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(no_input)?)),
    };
    let keep = asked.keep.as_deref().map(Kept::create).transpose()?;
    let rows = Rows::new(COLUMNS, &asked.output, out)?;
    let checker = Checker::new(client, asked.list.as_deref());
    let mut list = Checked { checker, waiting: Vec::new(), bytes: 0, keep, rows, told: Told::default() };
    let mut recipients = Recipients::new(input, asked.column.clone());
    let mut progress = Progress::new(0, 0);
    loop {
        let record = recipients.read().map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => Failure::new(Exit::Data, format!("{name}: {error}")),
            _ => no_input(error),
        })?;
        match record {
            None => break,
            Some(Record::Header(raw)) => list.kept(&raw)?,
            Some(Record::Recipient { line, raw, address }) => list.add(line, raw, address, out)?,
            Some(Record::Bad { line, problem }) => {
                progress.end();
                eprintln!("{name}:{line}: {problem}");
                list.told.bad += 1;
            }
        }
        progress.count(&format!("{} checked", list.told.checked));
    }
    list.ask(out)?;
    progress.end();
    let Checked { keep, rows, told, .. } = list;
    rows.end(out)?;
    if let Some(keep) = keep {
        keep.finish()?;
    }
    let Told { checked, found, bad } = told;
    let unreadable = if bad > 0 { format!(", {bad} records cannot be read") } else { String::new() };
    eprintln!("{checked} checked: {found} must not be mailed{unreadable}");
    Ok(if found + bad > 0 { Exit::No } else { Exit::Yes })
}

#[derive(Default)]
struct Told {
    checked: u64,
    found: u64,
    bad: u64,
}

/// The list, as far as it was read.
struct Checked<'a> {
    checker: Checker<'a>,
    /// Records whose verdict is not known yet, with their lines.
    waiting: Vec<(u64, Vec<u8>)>,
    bytes: usize,
    keep: Option<Kept>,
    rows: Rows<'static, Found>,
    told: Told,
}

impl Checked<'_> {
    fn add(&mut self, line: u64, raw: Vec<u8>, address: String, out: &mut Output) -> Result<(), Failure> {
        // Without a file to write there is no need to keep the record.
        let raw = if self.keep.is_some() { raw } else { Vec::new() };
        self.bytes += raw.len();
        self.waiting.push((line, raw));
        let full = self.checker.add(address);
        if full || self.bytes >= WAITING_BYTES { self.ask(out) } else { Ok(()) }
    }

    fn ask(&mut self, out: &mut Output) -> Result<(), Failure> {
        let verdicts = self.checker.ask()?;
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        if verdicts.len() != waiting.len() {
            return Err(Failure::new(Exit::Unavailable, "backstopd did not answer for every address"));
        }
        self.told.checked += verdicts.len() as u64;
        let mut found = Vec::new();
        for ((line, raw), verdict) in waiting.into_iter().zip(verdicts) {
            match verdict.reason {
                Some(_) => found.push(Found { line, verdict }),
                None => self.kept(&raw)?,
            }
        }
        self.told.found += found.len() as u64;
        if found.is_empty() { Ok(()) } else { self.rows.print(&found, out) }
    }

    fn kept(&mut self, raw: &[u8]) -> Result<(), Failure> {
        self.keep.as_mut().map_or(Ok(()), |keep| keep.write(raw))
    }
}

/// The cleaned list. It has its name only when it is whole, so that nobody mails a part of it, or an old one.
struct Kept {
    path: PathBuf,
    place: Place,
}

impl Kept {
    fn create(path: &Path) -> Result<Kept, Failure> {
        let place = Place::for_file(path).map_err(|error| unwritten(path, &error))?;
        Ok(Kept { path: path.to_owned(), place })
    }

    fn write(&mut self, raw: &[u8]) -> Result<(), Failure> {
        let written = self.place.out.write_all(raw).and_then(|()| self.place.out.write_all(b"\n"));
        written.map_err(|error| unwritten(&self.path, &error))
    }

    fn finish(self) -> Result<(), Failure> {
        self.place.finish().map_err(|error| unwritten(&self.path, &error))
    }
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Output, format!("{}: {error}", path.display()))
}
