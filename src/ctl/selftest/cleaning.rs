//! Clearing away: the contacts, and what is in Postfix's queue.

use super::board::{Board, Told};
use super::message::address;
use super::steps::{CONTACTS, Test};
use super::{Failure, trouble};
use crate::admin::wire::{EraseAnswer, Status};
use crate::ctl::client::{Body, Client, encoded};
use crate::ctl::output::read;
use crate::ctl::undo::because;
use std::time::{Duration, Instant};

/// How long what is on its way is waited for.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the daemon's writing is waited for.
const WRITING: Duration = Duration::from_secs(3);
/// Why things are done to the contacts, as the log and the events tell it.
pub const REASON: &str = "backstopctl selftest";

/// Erases a contact of the test, and gives how much there was.
fn erase(client: &Client, local_part: &str) -> Result<u64, Failure> {
    let target = format!("/v1/contacts/{}?keep_hash=false", encoded(&address(local_part)));
    let answer: EraseAnswer = read(&client.ask(&target, Body::Delete(because(REASON)?))?)?;
    Ok(answer.events + answer.sends.unwrap_or_default())
}

impl Test<'_> {
    /// Clears away what an earlier run left that was killed.
    pub(super) fn clean_before(&mut self, board: &mut Board<'_>) -> Result<(), Failure> {
        let mut contacts = 0;
        for contact in CONTACTS {
            if self.contact(contact)?.is_some() {
                self.wait_until_written();
                erase(self.client, contact)?;
                contacts += 1;
            }
        }
        let left = self.ready.postfix.left_in_queue(&self.queue_ids).unwrap_or_default();
        let removed = !left.is_empty() && self.ready.postfix.remove(&left).is_ok();
        if contacts + left.len() > 0 {
            let mails = if removed { "removed from the queue" } else { "in the queue" };
            let text =
                format!("of a run that was broken off: {contacts} contacts erased, {} mails {mails}", left.len());
            board.show("left over", &Told::Fine(text))?;
        }
        Ok(())
    }

    /// Clears away all that this run made, also one that was interrupted.
    pub fn clean(&mut self, board: &mut Board<'_>) -> Result<(), Failure> {
        let queue = self.clean_queue();
        self.wait_until_written();
        let mut erased = 0;
        let mut contacts = Ok(());
        for contact in CONTACTS {
            match erase(self.client, contact) {
                Ok(count) => erased += count,
                Err(Failure::Because { message, .. }) => contacts = Err(message),
                Err(gone) => return Err(gone),
            }
        }
        let expected = "nothing of the test stays";
        let told = match (contacts, queue) {
            (Ok(()), Ok(0)) => Told::Fine(format!("contacts erased with {erased} records, nothing in Postfix's queue")),
            (Ok(()), Ok(mails)) => Told::Fine(format!("contacts erased with {erased} records, {mails} mails removed")),
            (Err(problem), _) => {
                let look =
                    CONTACTS.map(|name| format!("backstopctl erase --forget --reason selftest {}", address(name)));
                trouble(expected, problem, "the daemon went away; the next self-test erases them", look.to_vec())
            }
            (_, Err((problem, look))) => trouble(expected, problem, "only root may remove mail", look),
        };
        board.show("cleaned up", &told)
    }

    /// Waits a moment for skips that the daemon has not written down yet: of one that is written behind the erasure, the
    /// campaign would stay. A busy daemon always has something to write; then that may be.
    fn wait_until_written(&self) {
        let deadline = Instant::now() + WRITING;
        let is_waiting = || {
            let status = self.client.ask("/v1/status", Body::None).and_then(|status| read::<Status>(&status));
            status.is_ok_and(|status| status.store.waiting > 0)
        };
        while is_waiting() && Instant::now() < deadline {
            std::thread::sleep(super::stop::TICK);
        }
    }

    /// Waits a moment for what is on its way, and removes the rest; gives how many mails that were. On trouble says
    /// what it is and what is to be done.
    fn clean_queue(&self) -> Result<usize, (String, Vec<String>)> {
        let postfix = &self.ready.postfix;
        let deadline = Instant::now() + DRAIN;
        let left = loop {
            let left = postfix.left_in_queue(&self.queue_ids).map_err(|problem| (problem, Vec::new()))?;
            if left.is_empty() || Instant::now() > deadline {
                break left;
            }
            std::thread::sleep(super::stop::TICK);
        };
        if !left.is_empty() {
            let look = left.iter().map(|id| postfix.command_line("postsuper", &format!("-d {id}")));
            postfix.remove(&left).map_err(|problem| (problem, look.collect()))?;
        }
        Ok(left.len())
    }
}
