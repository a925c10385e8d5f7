//! The keys of signed return paths, and what a token says: `keys` and `token`. They need no daemon, but a directory
//! that may be read.

use super::arguments::{KeysCommand, ListOutput, TokenCommand};
use super::exit::{Exit, Failure};
use super::output::Output;
use super::rows::{Cell, Column, Rows, usual};
use crate::authority::keys::{self, Key, KeysError};
use crate::authority::token::LENGTH;
use crate::authority::{Bound, KeyRing, Token, TokenError};
use crate::mail::Address;
use jiff::Timestamp;
use serde::Serialize;
use std::io;
use std::path::Path;

#[derive(Serialize)]
struct Line {
    id: u8,
    state: &'static str,
    created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<Timestamp>,
}

#[derive(Serialize)]
struct Decoded {
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound_to: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names_recipient: Option<bool>,
}

/// `backstopctl keys list|new|rotate`.
pub fn keys(command: &KeysCommand, out: &mut Output) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    match command {
        KeysCommand::List { directory, output } => {
            let ring = KeyRing::read(directory).map_err(failure)?;
            list(directory, &ring, output, out)
        }
        KeysCommand::New { directory, dry_run: true } => {
            let (id, _) = keys::rotation(directory, now, u16::MAX, false).map_err(failure)?;
            would(id, &[], out)
        }
        KeysCommand::New { directory, dry_run: false } => {
            let key = keys::new_key(directory, now).map_err(failure)?;
            made(&key, out)
        }
        KeysCommand::Rotate { directory, max_age_days, at_once, dry_run: true } => {
            let (id, retired) = keys::rotation(directory, now, *max_age_days, *at_once).map_err(failure)?;
            would(id, &retired, out)
        }
        KeysCommand::Rotate { directory, max_age_days, at_once, dry_run: false } => {
            let key = keys::new_key(directory, now).map_err(failure)?;
            let retired = keys::retire(directory, now, *max_age_days, *at_once).map_err(failure)?;
            let exit = made(&key, out)?;
            if !out.json() {
                retired
                    .iter()
                    .try_for_each(|id| out.line(&format!("key {id} is retired: its tokens prove nothing")))?;
            }
            Ok(exit)
        }
    }
}

const COLUMNS: &[Column<Line>] = &[
    usual("id", "KEY", |line| Some(line.id).into()),
    usual("state", "STATE", |line| Some(line.state).into()),
    usual("created", "MADE (UTC)", |line| Cell::Time(Some(line.created))),
    usual("retired", "RETIRED (UTC)", |line| Cell::Time(line.retired)),
];

fn list(directory: &Path, ring: &KeyRing, output: &ListOutput, out: &mut Output) -> Result<Exit, Failure> {
    let signing = ring.signing().map(|(id, _)| id);
    let state = |key: &Key| match key.retired {
        Some(_) => "retired",
        None if signing == Some(key.id) => "signs",
        None => "proves",
    };
    let lines: Vec<Line> = ring
        .keys()
        .map(|key| Line { id: key.id, state: state(key), created: key.created, retired: key.retired })
        .collect();
    let mut rows = Rows::new(COLUMNS, output, out)?;
    if lines.is_empty() && rows.is_table() {
        out.line(&format!("{}: there are no keys; `backstopctl keys new` makes one", directory.display()))?;
        return Ok(Exit::No);
    }
    rows.print(&lines, out)?;
    rows.end(out)?;
    Ok(if signing.is_some() { Exit::Yes } else { Exit::No })
}

/// What a dry run answers.
#[derive(Serialize)]
struct Would {
    id: u8,
    retires: Vec<u8>,
    dry_run: bool,
}

fn would(id: u8, retires: &[u8], out: &mut Output) -> Result<Exit, Failure> {
    if out.json() {
        out.object(&Would { id, retires: retires.to_vec(), dry_run: true })?;
        return Ok(Exit::Yes);
    }
    out.line(&format!("key {id} would be made; nothing was changed (--dry-run)"))?;
    retires
        .iter()
        .try_for_each(|id| out.line(&format!("key {id} would be retired: its tokens would prove nothing")))?;
    Ok(Exit::Yes)
}

fn made(key: &Key, out: &mut Output) -> Result<Exit, Failure> {
    if out.json() {
        out.object(&Line { id: key.id, state: "signs", created: key.created, retired: None })?;
    } else {
        out.line(&format!("key {} is made; it signs after `systemctl reload backstopd`", key.id))?;
    }
    Ok(Exit::Yes)
}

/// `backstopctl token decode`: what a token says, and whether it is ours. Its age is told, not judged.
pub fn token(command: &TokenCommand, out: &mut Output) -> Result<Exit, Failure> {
    let TokenCommand::Decode { token, directory, recipient } = command;
    let ring = KeyRing::read(directory).map_err(failure)?;
    let recipient = recipient.as_deref().map(Address::parse).transpose();
    let recipient = recipient.map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    let decoded = match read(token, &ring, Timestamp::now()) {
        Ok(token) => {
            let names = |recipient: &Address| ring.proving(token.key).is_some_and(|key| token.names(key, recipient));
            let bound_to = match token.bound {
                Bound::Recipient => "recipient",
                Bound::Message => "message",
            };
            Decoded {
                valid: true,
                problem: None,
                key: Some(token.key),
                made: Some(token.date()),
                bound_to: Some(bound_to),
                message: Some(format!("{:016x}", u64::from_be_bytes(token.reference))),
                names_recipient: recipient.as_ref().filter(|_| token.bound == Bound::Recipient).map(names),
            }
        }
        Err(error) => Decoded {
            valid: false,
            problem: Some(error.to_string()),
            key: None,
            made: None,
            bound_to: None,
            message: None,
            names_recipient: None,
        },
    };
    if out.json() {
        out.object(&decoded)?;
    } else {
        told(&decoded).iter().try_for_each(|line| out.line(line))?;
    }
    Ok(if decoded.valid && decoded.names_recipient != Some(false) { Exit::Yes } else { Exit::No })
}

fn told(decoded: &Decoded) -> Vec<String> {
    let Decoded { key: Some(key), made: Some(made), bound_to: Some(bound_to), message: Some(message), .. } = decoded
    else {
        return decoded.problem.iter().cloned().collect();
    };
    let mut lines = vec![format!("ours: made on {made} with key {key}, bound to its {bound_to}; message {message}")];
    match (decoded.names_recipient, *bound_to) {
        (Some(true), _) => lines.push("bound to that recipient".to_owned()),
        (Some(false), _) => lines.push("bound to another recipient".to_owned()),
        (None, "message") => lines.push("the daemon's ledger knows the recipients of that message".to_owned()),
        (None, _) => {}
    }
    lines
}

/// Reads a token as it stands, or in an address behind whatever prefix.
fn read(text: &str, ring: &KeyRing, now: Timestamp) -> Result<Token, TokenError> {
    let read = |text: &str| Token::read(text, |id| ring.proving(id), now, u16::MAX);
    let text = text.trim_start_matches('<');
    let Some((local, _)) = text.split_once('@') else { return read(text) };
    let starts = (0..=local.len().saturating_sub(LENGTH)).filter_map(|start| local.get(start..start + LENGTH));
    // Of what is no valid token, that tells most which has at least the form of one.
    let mut problem = TokenError::Malformed;
    for answer in starts.map(read) {
        match answer {
            Ok(token) => return Ok(token),
            Err(error) if problem == TokenError::Malformed => problem = error,
            Err(_) => {}
        }
    }
    Err(problem)
}

fn failure(error: KeysError) -> Failure {
    let exit = match &error {
        KeysError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::Permission,
        KeysError::Io { .. } => Exit::NoInput,
        KeysError::Exposed { .. } | KeysError::Broken { .. } | KeysError::NoKey { .. } | KeysError::Full { .. } => {
            Exit::Config
        }
    };
    Failure::new(exit, error.to_string())
}
