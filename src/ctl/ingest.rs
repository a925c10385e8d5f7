//! `ingest`: hands in mails, Maildirs and mbox files as if they had arrived on the return path.
//!
//! A mailbox that was broken off goes on where it stopped: how far it came is kept in the user's state
//! directory until it is through. Handing in the same report twice changes nothing, so a lost note costs time
//! only.

use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::mailbox::{Found, Mailbox};
use super::output::{Output, read};
use super::progress::Progress;
use super::table::clean;
use crate::admin::wire::{IngestAnswer, word};
use crate::mail::{Headers, date};
use crate::report::Kind;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How often it is noted how far a mailbox came.
const NOTE_EVERY: u64 = 100;

/// Whom mails are handed to, and why.
struct Daemon<'a> {
    client: &'a Client,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    answer: &'a IngestAnswer,
}

/// What became of the mails.
#[derive(Default)]
struct Tally {
    mails: u64,
    by_kind: BTreeMap<String, u64>,
    recorded: u64,
    known: u64,
    unreadable: u64,
}

/// `backstopctl ingest PATH...`: exits with 1 if a single mail was no report. Of a mailbox, a summary is told;
/// ordinary mail between the reports is expected there.
pub fn ingest(
    client: &Client,
    paths: &[PathBuf],
    again: bool,
    reason: Option<&str>,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let daemon = Daemon { client, reason };
    let mut exit = Exit::Yes;
    for path in paths {
        let ended = match Mailbox::open(path) {
            Ok(mailbox @ Mailbox::Single(_)) => single(&daemon, &mailbox, out)?,
            Ok(mailbox) => whole(&daemon, path, &mailbox, again, out)?,
            Err(error) => {
                eprintln!("backstopctl: {}: {error}", path.display());
                Exit::NoInput
            }
        };
        // The worst of them: whatever cannot be read weighs more than what is no report.
        if ended != Exit::Yes && (exit == Exit::Yes || exit == Exit::No) {
            exit = ended;
        }
    }
    Ok(exit)
}

fn single(daemon: &Daemon, mailbox: &Mailbox, out: &mut Output) -> Result<Exit, Failure> {
    let mut exit = Exit::Yes;
    mailbox.each(0, |found| {
        let Some(answer) = hand_in(daemon, &found, &mut exit)? else { return Ok(()) };
        if answer.kind == Kind::Other {
            exit = Exit::No;
        }
        tell(&found.name, &answer, out)
    })?;
    Ok(exit)
}

fn whole(daemon: &Daemon, path: &Path, mailbox: &Mailbox, again: bool, out: &mut Output) -> Result<Exit, Failure> {
    let note = Note::of(path);
    let start = if again { 0 } else { note.place() };
    if start > 0 {
        eprintln!("backstopctl: {}: goes on where it was broken off (--again begins anew)", path.display());
    }
    let mut progress = Progress::new(start, mailbox.size());
    let (mut tally, mut exit) = (Tally::default(), Exit::Yes);
    let done: Result<(), Failure> = mailbox.each(start, |found| {
        tally.mails += 1;
        match hand_in(daemon, &found, &mut exit)? {
            Some(answer) => {
                *tally.by_kind.entry(word(&answer.kind)).or_default() += 1;
                tally.recorded += answer.recorded.len() as u64;
                tally.known += answer.known.len() as u64;
                if out.json() {
                    tell(&found.name, &answer, out)?;
                }
            }
            None => tally.unreadable += 1,
        }
        if tally.mails.is_multiple_of(NOTE_EVERY) {
            note.write(found.place);
        }
        progress.at(found.place, &format!("{} mails, {} recorded", tally.mails, tally.recorded));
        Ok(())
    });
    progress.end();
    done?;
    note.remove();
    let kinds: Vec<String> = tally.by_kind.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let Tally { mails, recorded, known, unreadable, .. } = tally;
    let summary = format!(
        "{}: {mails} mails ({}), {recorded} recorded, {known} on record already, {unreadable} unreadable",
        clean(&path.to_string_lossy()),
        kinds.join(", ")
    );
    if out.json() {
        eprintln!("{summary}")
    } else {
        out.line(&summary)?
    }
    Ok(exit)
}

/// Hands one mail in. None where it cannot be read: then the others go on, and the exit status tells.
fn hand_in(daemon: &Daemon, found: &Found, exit: &mut Exit) -> Result<Option<IngestAnswer>, Failure> {
    let mail = match &found.mail {
        Ok(mail) if mail.is_empty() => {
            eprintln!("backstopctl: {}: empty", found.name);
            *exit = Exit::Data;
            return Ok(None);
        }
        Ok(mail) => mail,
        Err(problem) => {
            eprintln!("backstopctl: {}: {problem}", found.name);
            *exit = if matches!(problem, super::mailbox::Unreadable::TooLong) { Exit::Data } else { Exit::NoInput };
            return Ok(None);
        }
    };
    let at = arrived(mail).map(|at| format!("at={}", encoded(&at.to_string())));
    let reason = daemon.reason.map(|reason| format!("reason={}", encoded(reason)));
    let query: Vec<String> = at.into_iter().chain(reason).collect();
    let target = format!("/v1/ingest?{}", query.join("&"));
    read(&daemon.client.ask(&target, Body::Mail(mail.clone()))?).map(Some)
}

fn tell(name: &str, answer: &IngestAnswer, out: &mut Output) -> Result<(), Failure> {
    if out.json() {
        return out.object(&Line { file: name, answer });
    }
    let (kind, recorded, known) = (word(&answer.kind), answer.recorded.len(), answer.known.len());
    out.line(&format!("{}: {kind}, {recorded} recorded, {known} on record already", clean(name)))
}

/// When a mail came in: the date of its uppermost `Received` (RFC 5321 §4.4), else its own. An old bounce counts
/// for when it happened, not for when it is handed in.
fn arrived(mail: &[u8]) -> Option<Timestamp> {
    let headers = Headers::read(mail);
    let received = headers.get("Received");
    let stamp = received.as_deref().and_then(|field| field.rsplit_once(';')).and_then(|(_, stamp)| date::read(stamp));
    stamp.or_else(|| headers.date()).filter(|at| *at <= Timestamp::now())
}

/// The note of how far a mailbox came.
struct Note(Option<PathBuf>);

impl Note {
    fn of(path: &Path) -> Note {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = blake3::hash(whole.as_os_str().as_encoded_bytes()).to_hex();
        Note(state.map(|state| state.join("backstop/ingest").join(&name[..32])))
    }

    fn place(&self) -> u64 {
        let text = self.0.as_ref().and_then(|note| fs::read_to_string(note).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Without a note the next run begins anew, which costs time only: so trouble here is no trouble.
    fn write(&self, place: u64) {
        if let Some(note) = &self.0 {
            let _ = note.parent().map(fs::create_dir_all);
            let _ = fs::write(note, place.to_string());
        }
    }

    fn remove(&self) {
        let _ = self.0.as_ref().map(fs::remove_file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_came_in_when_its_uppermost_received_field_says() {
        let at = |mail: &str| arrived(mail.as_bytes()).map(|at| at.to_string());
        let received = "Received: by mx.example.org; with a semicolon;\n\tSat, 21 Nov 2015 23:50:08 +0000\n";
        assert_eq!(
            at(&format!("{received}Date: Sun, 22 Nov 2015 10:00:00 +0000\n\n")).unwrap(),
            "2015-11-21T23:50:08Z"
        );
        assert_eq!(at("Date: Sun, 22 Nov 2015 10:00:00 +0000\n\n").unwrap(), "2015-11-22T10:00:00Z");
        assert_eq!(at("Date: Sun, 22 Nov 2215 10:00:00 +0000\n\n"), None, "the future has not happened");
        assert_eq!(at("Subject: x\n\n"), None);
    }
}
