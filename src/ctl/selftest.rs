//! `backstopctl selftest`: a marked message on the way that every campaign takes, through this host's Postfix and
//! back, to addresses of a domain that ends here ([`crate::mail::SELFTEST_DOMAIN`]); each step shown as it ends.
//!
//! In: the command line. Out: exit status 0 if all was as it must be by the configuration in force, 1 if something was
//! not, sysexits where it could not begin. `preconditions` looks whether it can; `simulator` is the receiving end;
//! `steps` are the mails on their way out, `bounces` and `returned` what must come back; `expect` says what that is;
//! `board` shows it; `events` follows the daemon; `postfix` asks Postfix; `submit` sends; `cleaning` clears away; `stop`
//! listens for signals.
//!
//! However it ends, short of SIGKILL: contacts are erased, nothing of it stays in Postfix's queue, its socket is gone.
//! What a killed run left, the next one clears.

mod board;
mod bounces;
mod cleaning;
mod events;
mod expect;
mod message;
mod postfix;
mod preconditions;
mod returned;
mod simulator;
mod steps;
mod stop;
mod submit;

use super::arguments::SelftestArguments;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::output::Output;
use board::{Board, Told, Trouble};
use preconditions::Ready;
use std::hash::{BuildHasher, RandomState};
use stop::Stop;

/// `backstopctl selftest`.
pub fn selftest(client: &Client, asked: &SelftestArguments, out: &mut Output) -> Result<Exit, Failure> {
    let stop = Stop::at_signals()?;
    // Keyed at random for each process; no secret, so this is random enough.
    let run = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
    let mut board = Board::new(out);
    let ready = match Ready::look(client, asked, &stop, &run, &mut board)? {
        Ok(ready) => ready,
        Err(exit) => return Ok(exit),
    };
    let mut test = steps::Test::new(client, ready);
    let done = test.run(&mut board);
    // Whatever went wrong before: first it is cleared away.
    let cleaned = test.clean(&mut board);
    drop(test); // and the socket with it
    if let Some(status) = stop.status() {
        eprintln!("backstopctl: interrupted; what the test made was cleared away as far as is said above");
        // As the signal would have ended it.
        std::process::exit(status);
    }
    done?;
    cleaned?;
    board.end(&run)?;
    Ok(if board.has_failed() { Exit::No } else { Exit::Yes })
}

/// Trouble with its cause, and where to look.
fn trouble(expected: &str, seen: impl Into<String>, cause: impl Into<String>, look: Vec<String>) -> Told {
    let trouble = Trouble { expected: expected.to_owned(), seen: seen.into(), cause: cause.into(), look };
    Told::Trouble(Box::new(trouble))
}
