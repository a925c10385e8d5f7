//! Drives a milter with N connections for a while and counts complete transactions.

use crate::mail::Letter;
use crate::mta::{Answer, Mta};
use std::io;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One cell of the matrix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// SMTP sessions at once, a milter connection each.
    pub connections: usize,
    /// Recipients of a message.
    pub recipients: usize,
    /// Messages of a session.
    pub messages: usize,
}

/// What a milter is expected to do with suppressed recipients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Nothing: it knows none.
    Nothing,
    /// To delete each of them and nobody else, and to discard the message when none is left.
    Deletions,
}

/// What was counted.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Transactions per second, once it was under way.
    pub per_second: f64,
    /// Transactions from the first to the last.
    pub transactions: u64,
}

/// Time to get going before counting begins.
const WARM_UP: Duration = Duration::from_millis(150);

/// Puts the milter under load and counts for `length`.
///
/// # Errors
/// The first connection trouble or wrong answer.
pub fn measure(socket: &Path, cell: Cell, expected: Expected, length: Duration, seed: u64) -> io::Result<Load> {
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let start = Barrier::new(cell.connections + 1);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..cell.connections as u64)
            .map(|sender| {
                let (stop, done, start) = (&stop, &done, &start);
                scope.spawn(move || {
                    start.wait();
                    sessions(socket, cell, expected, seed << 8 | sender, stop, done).inspect_err(|_| {
                        stop.store(true, Ordering::Relaxed);
                    })
                })
            })
            .collect();
        start.wait();
        std::thread::sleep(WARM_UP);
        let (from, begin) = (done.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(length);
        let (to, end) = (done.load(Ordering::Relaxed), Instant::now());
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().map_err(|_| io::Error::other("a sender panicked"))??;
        }
        let per_second = (to - from) as f64 / (end - begin).as_secs_f64();
        Ok(Load { per_second, transactions: done.load(Ordering::Relaxed) })
    })
}

fn sessions(
    socket: &Path,
    cell: Cell,
    expected: Expected,
    seed: u64,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> io::Result<()> {
    let mut letter = Letter::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let mut mta = Mta::smtpd(socket)?;
        for _ in 0..cell.messages {
            letter.renew(cell.recipients);
            let answer = mta.letter(&letter)?;
            check(&letter, &answer, expected)?;
            done.fetch_add(1, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        mta.quit()?;
    }
    Ok(())
}

/// The argument of RCPT without what Postfix leaves out when it compares: brackets, and the NUL.
pub fn bare(path: &[u8]) -> &[u8] {
    let path = path.strip_suffix(b"\0").unwrap_or(path);
    let path = path.strip_prefix(b"<").unwrap_or(path);
    path.strip_suffix(b">").unwrap_or(path)
}

/// Compares the answer with what the store's content demands.
fn check(letter: &Letter, answer: &Answer, expected: Expected) -> io::Result<()> {
    let suppressed = || letter.recipients().filter(|recipient| recipient.on_record);
    let left = letter.recipients().any(|recipient| !recipient.on_record);
    let right = match expected {
        Expected::Nothing => answer.verdict == b'c' && answer.deleted.is_empty(),
        Expected::Deletions if left => {
            matches!(answer.verdict, b'c' | b'a')
                && answer.deleted.len() == suppressed().count()
                && suppressed().all(|recipient| {
                    // Postfix takes the argument with its brackets and without.
                    let argument = recipient.argument.strip_suffix(b">\0").unwrap_or(recipient.argument);
                    answer.deleted.iter().any(|deleted| bare(deleted) == bare(argument))
                })
        }
        Expected::Deletions => answer.verdict == b'd',
    };
    if right {
        return Ok(());
    }
    let deleted: Vec<_> = answer.deleted.iter().map(|path| path.escape_ascii().to_string()).collect();
    let wanted: Vec<_> = suppressed().map(|recipient| recipient.argument.escape_ascii().to_string()).collect();
    Err(io::Error::other(format!(
        "wrong answer \"{}\" deleting {deleted:?}; suppressed are {wanted:?}, others are left: {left}",
        answer.verdict.escape_ascii()
    )))
}
