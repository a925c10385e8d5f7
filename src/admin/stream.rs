//! Answers that are written while they are made, on a thread of their own: long lists, and work that tells how far
//! it is. At most four pieces wait for a slow reader; the thread waits with them, and ends when the reader is gone.

use super::answer::{Refusal, Stream, Trouble, ndjson};
use super::wire::Problem;
use crate::store::StoreError;
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use std::io;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// Octets gathered before they are handed on.
const PIECE_BYTES: usize = 32 << 10;
/// Longest time in which a reader takes nothing of a list: long enough for a person with a pager.
pub(super) const READER_TIME: Duration = Duration::from_secs(600);
/// Shortest time between two lines that tell how far the work is.
const PROGRESS_TIME: Duration = Duration::from_millis(200);

/// Where a list is written to.
pub(super) struct Pieces {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

/// Why a list was not written to its end.
pub(super) enum Broken {
    /// Nobody reads it any more.
    ReaderGone,
    /// What is wrong; the answer breaks off, so that nobody takes a part of the list for the whole.
    Trouble(String),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Broken {
        Broken::Trouble(error.to_string())
    }
}

impl Pieces {
    pub fn write(&mut self, octets: &[u8]) -> Result<(), Broken> {
        self.piece.extend_from_slice(octets);
        if self.piece.len() >= PIECE_BYTES { self.hand_on() } else { Ok(()) }
    }

    /// One JSON object on a line.
    pub fn line<T: Serialize>(&mut self, value: &T) -> Result<(), Broken> {
        serde_json::to_writer(&mut self.piece, value).map_err(|error| Broken::Trouble(error.to_string()))?;
        self.write(b"\n")
    }

    fn hand_on(&mut self) -> Result<(), Broken> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let sent = tokio::time::timeout(READER_TIME, self.sender.send(Ok(piece)));
        match Handle::current().block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::ReaderGone),
            Err(_) => Err(Broken::Trouble("the reader takes nothing".to_owned())),
        }
    }
}

/// A list that `make` writes; `place` is given back when it ends.
pub(super) fn list(
    content_type: &'static str,
    place: OwnedSemaphorePermit,
    make: impl FnOnce(&mut Pieces) -> Result<(), Broken> + Send + 'static,
) -> Response {
    let (sender, response) = Stream::answer(content_type);
    tokio::task::spawn_blocking(move || {
        let mut pieces = Pieces { sender, piece: Vec::new() };
        match make(&mut pieces).and_then(|()| pieces.hand_on()) {
            Ok(()) | Err(Broken::ReaderGone) => {}
            Err(Broken::Trouble(problem)) => {
                drop(place);
                let _ = pieces.sender.blocking_send(Err(io::Error::other(problem)));
            }
        }
    });
    response
}

/// Where work tells how far it is. Where nobody reads, the work goes on all the same.
pub(super) struct Progress {
    sender: mpsc::Sender<io::Result<Bytes>>,
    told: Instant,
}

impl Progress {
    /// Tells how far it is, now and then; never waits.
    pub fn tell<T: Serialize>(&mut self, line: impl FnOnce() -> T) {
        if self.told.elapsed() >= PROGRESS_TIME {
            self.told = Instant::now();
            let _ = self.sender.try_send(ndjson(&[line()]));
        }
    }
}

/// An answer of lines that tell how far `work` is. Behind them come the lines that it returns, or `{"error": ...}`;
/// by then its turn is over, so a reader that is slow or gone holds up nobody.
pub(super) fn work<T: Serialize>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce(&mut Progress) -> Result<Vec<T>, Problem> + Send + 'static,
) -> Response {
    let (sender, mut response) = Stream::answer("application/x-ndjson");
    let (later, trouble) = Trouble::later();
    response.extensions_mut().insert(trouble);
    tokio::task::spawn_blocking(move || {
        let mut progress = Progress { sender, told: Instant::now() };
        let done = work(&mut progress);
        drop(turn);
        let last = match done {
            Ok(lines) => ndjson(&lines),
            Err(error) => {
                // What the client's own list says is no trouble of ours.
                if error.code.starts_with("store-") {
                    let _ = later.send(error.message.clone());
                }
                ndjson(&[Failed { error }])
            }
        };
        let _ = progress.sender.blocking_send(last);
    });
    response
}

#[derive(Serialize)]
struct Failed {
    error: Problem,
}

/// The same as a refusal before the work began.
pub(super) fn problem(error: impl Into<Refusal>) -> Problem {
    let refusal: Refusal = error.into();
    refusal.problem()
}
