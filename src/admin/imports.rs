//! Imports of lists, of any length: read as they arrive, sorted in a file, and stored when all of it is there.
//!
//! Nothing is stored of a list that breaks off. A client may write all of its list before it reads a line of the
//! answer: until the list has ended, what does not fit is left out of the answer, and the reading goes on.

use super::access::Caller;
use super::answer::{Parameters, Refusal};
use super::given::read_reason;
use super::routes::{App, must_write, turn};
use super::stream::{self, Progress};
use super::wire::{ImportAnswer, ImportLine, Problem};
use crate::bulk::{Accepts, BadLine, Entry, Format, Line, Reader, Sorter, sort};
use crate::ops::event::{self, LogEvent, Touched};
use crate::policy::{ImportedEntry, OperatorList, Scope, What};
use crate::store::{NewEvent, Store};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use jiff::Timestamp;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Longest time in which nothing of a list arrives.
const STALL_TIME: Duration = Duration::from_secs(30);
/// Bad lines told; further ones are counted. Characters told of each.
const BAD_LINES: usize = 1000;
const PROBLEM_CHARS: usize = 300;
/// Characters of the source's name.
const SOURCE_CHARS: usize = 255;

/// What was asked for.
struct Asked {
    list: Option<OperatorList>,
    format: Option<Format>,
    source: String,
    reason: String,
    dry_run: bool,
    uid: u32,
}

/// `POST /v1/import`.
pub(super) async fn import(
    State(app): State<Arc<App>>,
    caller: Extension<Caller>,
    request: Request,
) -> Result<Response, Refusal> {
    let uid = must_write(caller)?.uid;
    let query = Parameters::read(&request, &["list", "format", "source", "dry_run", "reason"])?;
    let list = query.parse("list", read_list)?.flatten();
    let format = query.parse("format", str::parse)?;
    let source = query.parse("source", |text| match text.chars().count() {
        ..=SOURCE_CHARS if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("one line of at most {SOURCE_CHARS} characters is wanted")),
    })?;
    let source = source.unwrap_or_else(|| "-".to_owned());
    let reason = match query.get("reason") {
        Some(reason) => read_reason(reason)?,
        None => format!("import of {source}"),
    };
    let asked = Asked { list, format, source, reason, dry_run: query.flag("dry_run")?, uid };
    let turn = turn(&app.import, "an import, or the taking back of one,")?;
    // The first piece is waited for: only then is a client told to go on that asked whether it should.
    let mut body = request.into_body();
    let first = next(&mut body)
        .await
        .map_err(|error| Refusal::new(StatusCode::REQUEST_TIMEOUT, "broken-body", format!("the list: {error}")))?;
    let (sender, pieces) = mpsc::channel(8);
    tokio::spawn(feed(first, body, sender));
    let list = Pieces { pieces, piece: Bytes::new(), over: false };
    let store = app.service.store().clone();
    Ok(stream::work(turn, move |progress| run(&store, asked, list, progress)))
}

fn read_list(text: &str) -> Result<Option<OperatorList>, String> {
    match text {
        "suppressions" => Ok(None),
        "blocklist" => Ok(Some(OperatorList::Blocklist)),
        "robinson" => Ok(Some(OperatorList::Robinson)),
        _ => Err("suppressions, blocklist or robinson is wanted".to_owned()),
    }
}

/// Hands on the pieces of a body; its end is said, so that nothing else is taken for it.
async fn feed(first: Option<Bytes>, mut body: Body, sender: mpsc::Sender<io::Result<Option<Bytes>>>) {
    let mut piece = Ok(first);
    loop {
        let last = !matches!(piece, Ok(Some(_)));
        if sender.send(piece).await.is_err() || last {
            return;
        }
        piece = next(&mut body).await;
    }
}

/// The next piece of a body; none at its end.
async fn next(body: &mut Body) -> io::Result<Option<Bytes>> {
    loop {
        match tokio::time::timeout(STALL_TIME, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(Some(data)),
                Ok(_) | Err(_) => {}
            },
            Ok(Some(Err(_))) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off")),
            Err(_) => {
                let message = format!("nothing came for {} seconds", STALL_TIME.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
        }
    }
}

/// What arrives, for a thread that reads.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Option<Bytes>>>,
    piece: Bytes,
    over: bool,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && !self.over {
            match self.pieces.blocking_recv() {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.over = true,
                Some(Err(error)) => return Err(error),
                // The server stops.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, octets: usize) {
        self.piece.advance(octets);
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let octets = available.len().min(buffer.len());
        buffer[..octets].copy_from_slice(&available[..octets]);
        self.consume(octets);
        Ok(octets)
    }
}

/// What reading a list gave beside its entries.
#[derive(Default)]
struct Tally {
    format: Option<Format>,
    bad: u64,
    told: Vec<ImportLine>,
    not_suppressed: u64,
}

fn run(store: &Store, asked: Asked, list: Pieces, progress: &mut Progress) -> Result<Vec<ImportLine>, Problem> {
    let broken = |error: io::Error| Problem {
        code: "broken-body".to_owned(),
        message: format!("nothing was imported: {error}"),
    };
    let mut tally = Tally::default();
    let mut sorter = Sorter::new(store.path(), sort::MEMORY_BYTES);
    read(list, &asked, &mut sorter, &mut tally, progress).map_err(broken)?;
    let mut sorted = sorter.finish().map_err(broken)?;
    let (mut batch, mut imported, mut known) = (None, 0, 0);
    if asked.dry_run {
        for entry in sorted.by_ref() {
            entry.map_err(broken)?;
            imported += 1;
        }
    } else if let Some(first) = sorted.next() {
        let format = tally.format.map_or("plain", Format::as_str).to_owned();
        let Asked { list, source, reason, uid, .. } = asked;
        let what = What::Import { list, source, format, reason: reason.clone(), uid };
        let at = Timestamp::now();
        let begin = NewEvent { at, address: None, queue_id: None, what, content_key: None };
        let mut entries =
            std::iter::once(first).chain(sorted.by_ref()).map(|entry| entry.map(|entry| imported_entry(entry, at)));
        let told = |stored| ImportLine::Stored { stored };
        let stored = store.import_batch(begin, &mut entries, &mut |stored| progress.tell(|| told(stored)));
        let stored = stored.map_err(stream::problem)?;
        event::say(&LogEvent::Operator { action: "import", on: Touched::Id(stored.id), uid, reason: &reason });
        (batch, imported, known) = (Some(stored.id), stored.entries, stored.known);
    }
    let mut lines = tally.told;
    lines.push(ImportLine::Done(ImportAnswer {
        batch,
        dry_run: asked.dry_run,
        list: asked.list,
        format: tally.format,
        imported,
        known,
        bad: tally.bad,
        duplicates: sorted.duplicates(),
        not_suppressed: tally.not_suppressed,
    }));
    Ok(lines)
}

fn read(
    list: Pieces,
    asked: &Asked,
    sorter: &mut Sorter,
    tally: &mut Tally,
    progress: &mut Progress,
) -> io::Result<()> {
    let accepts = match asked.list {
        None => Accepts::default(),
        Some(OperatorList::Blocklist) => Accepts { domains: true, hashes: false },
        Some(OperatorList::Robinson) => Accepts { domains: false, hashes: true },
    };
    let mut reader = Reader::new(list, asked.format, accepts);
    for (line, read) in reader.by_ref().zip(1u64..) {
        let line = match line? {
            // Whoever left one list has not left all mail.
            Line::Entry(Entry { line, list: Some(list), .. }) if asked.list.is_some() => {
                let problem = format!("list: it holds for {} alone, and this list is for all mail", list.0);
                Line::Bad(BadLine { line, problem })
            }
            line => line,
        };
        match line {
            Line::Entry(entry) => sorter.push(&entry)?,
            Line::NotSuppressed { .. } => tally.not_suppressed += 1,
            Line::Bad(BadLine { line, problem }) => {
                tally.bad += 1;
                if tally.told.len() < BAD_LINES {
                    let problem = problem.chars().take(PROBLEM_CHARS).collect();
                    tally.told.push(ImportLine::Bad(BadLine { line, problem }));
                }
            }
        }
        progress.tell(|| ImportLine::Read { read });
    }
    tally.format = reader.format();
    Ok(())
}

/// An entry as it is stored; what is said to have begun later than now is not believed.
fn imported_entry(entry: Entry, now: Timestamp) -> ImportedEntry {
    ImportedEntry {
        subject: entry.subject.to_string(),
        scope: entry.list.map(Scope::List),
        category: entry.category,
        bounce_type: entry.bounce_type,
        code: entry.code,
        reason: entry.reason,
        since: entry.since.filter(|since| *since <= now),
        note: entry.note,
    }
}
