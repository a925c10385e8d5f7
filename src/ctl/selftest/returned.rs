//! What comes to the return path: a complaint and an automatic reply, each about a message of its own that really left.

use super::board::{Board, Told};
use super::events::Events;
use super::message::{LIST, address, automatic_reply, complaint, message_id};
use super::simulator::Arrived;
use super::steps::{Test, not_taken, response_of, summary};
use super::{Failure, trouble};
use crate::admin::wire::word;
use crate::policy::{Authority, Event, State};
use crate::report::Kind;

impl Test<'_> {
    /// Sends both, or says why not: without a return path nobody would read them, and where they would not end at the
    /// milter they would end in somebody's mailbox.
    pub(super) fn returned(
        &mut self,
        is_attached: bool,
        events: &mut Events<'_>,
        board: &mut Board<'_>,
    ) -> Result<(), Failure> {
        let sender = match self.sender(is_attached) {
            Ok(sender) => sender,
            Err(why) => {
                board.show("complaint@", &Told::Skipped(why.clone()))?;
                return board.show("ooto@", &Told::Skipped(why));
            }
        };
        let told = self.complaint(&sender, events)?;
        board.show("complaint@", &told)?;
        let told = self.automatic_reply(&sender, events)?;
        board.show("ooto@", &told)
    }

    /// The address on the return path that both are sent from, or why there is none.
    fn sender(&self, is_attached: bool) -> Result<String, String> {
        let setup = &self.ready.setup;
        let why = match &setup.config {
            Err(problem) => Some(format!("the return path is not known: {problem}")),
            Ok(_) if setup.return_paths().is_empty() => {
                Some("no return path is configured ([return_path]): complaints and replies are not read".to_owned())
            }
            Ok(_) if !is_attached => Some(
                "Postfix did not ask the milter: the test's reports would reach the return path's mailbox".to_owned(),
            ),
            Ok(_) => setup.goes_on().map(str::to_owned),
        };
        match why {
            Some(why) => Err(why),
            None => setup.return_paths().into_iter().find(|address| self.ends_here(address)).ok_or_else(|| {
                let named = setup.return_paths().join(", ");
                format!("mail to the return path does not end at this Postfix, and would leave the machine: {named}")
            }),
        }
    }

    fn ends_here(&self, address: &str) -> bool {
        let resolved = self.ready.postfix.resolve(&self.ready.queue_directory, address);
        resolved.is_ok_and(|destination| destination.is_final)
    }

    fn complaint(&mut self, sender: &str, events: &mut Events<'_>) -> Result<Told, Failure> {
        let (run, signs) = (self.ready.run.clone(), self.ready.setup.signs(sender));
        let report = |arrived: &Arrived| complaint(&run, &arrived.reverse_path, &arrived.message);
        let reporter = address("complaint");
        let (event, was_signed) =
            match self.round_trip("complaint", sender, &reporter, report, Kind::Complaint, events)? {
                Ok(done) => done,
                Err(told) => return Ok(told),
            };
        let (authority, counts) = self.ready.setup.complaint(was_signed);
        let authority_word = word(&authority);
        let expected = format!("the complaint is recorded with the authority {authority_word}");
        if signs && !was_signed {
            let look = vec!["backstopctl keys list".to_owned(), "backstopctl status".to_owned()];
            let cause = "[authority] sign = true, and the daemon has no key, or was not reloaded since";
            return Ok(trouble("the message leaves with a signed return path", "it left with its own", cause, look));
        }
        if let Some(told) = self.unbelieved("complaint", &event, &[authority], &expected) {
            return Ok(told);
        }
        let contact = self.contact("complaint")?;
        let scopes: Vec<String> =
            contact.iter().flat_map(|contact| &contact.suppressions).map(|off| off.scope.clone()).collect();
        let seen = response_of(&event).map(summary).unwrap_or_default();
        let is_right = if counts { scopes == [LIST] } else { scopes.is_empty() };
        if !is_right {
            let expected =
                if counts { "the contact is off its list" } else { "what nothing vouches for changes nothing" };
            let look = vec![format!("backstopctl explain {reporter}")];
            return Ok(trouble(expected, format!("{seen}; suppressed for {scopes:?}"), "see the explanation", look));
        }
        Ok(Told::Fine(match (counts, authority) {
            (true, Authority::Signed) => {
                format!("it left with a signed return path, complained, and is off its list: {seen}")
            }
            (true, _) => format!("it complained, and is off its list: {seen}"),
            (false, _) => format!("recorded, and changes nothing, as nothing vouches for it: {seen}"),
        }))
    }

    fn automatic_reply(&mut self, sender: &str, events: &mut Events<'_>) -> Result<Told, Failure> {
        let run = self.ready.run.clone();
        let answered = message_id(&run, "ooto");
        let reply = |arrived: &Arrived| automatic_reply(&run, &arrived.reverse_path, &answered);
        let event = match self.round_trip("ooto", sender, "", reply, Kind::Autoreply, events)? {
            Ok((event, _)) => event,
            Err(told) => return Ok(told),
        };
        let state = self.contact("ooto")?.map(|contact| contact.state);
        if state != Some(State::Active) {
            let look = vec![format!("backstopctl explain {}", address("ooto"))];
            let seen = state.map_or_else(|| "no contact".to_owned(), |state| word(&state));
            return Ok(trouble("an automatic reply suppresses nobody", seen, "see the explanation", look));
        }
        let seen = response_of(&event).map(summary).unwrap_or_default();
        Ok(Told::Fine(format!("its automatic reply is recorded, and the contact stays active: {seen}")))
    }

    /// Sends a message to a contact, answers it to the return path that it arrived with, and waits for what is recorded
    /// of that. Gives that, and whether the return path had been signed.
    fn round_trip(
        &mut self,
        contact: &str,
        sender: &str,
        answer_from: &str,
        answer: impl Fn(&Arrived) -> Vec<u8>,
        kind: Kind,
        events: &mut Events<'_>,
    ) -> Result<Result<(Event, bool), Told>, Failure> {
        let queue_id = match self.send(contact, sender, &[contact])? {
            Ok(submitted) if submitted.is_taken() => submitted.queue_id.unwrap_or_else(|| "-".to_owned()),
            Ok(submitted) => return Ok(Err(not_taken(&submitted))),
            Err(told) => return Ok(Err(told)),
        };
        let deadline = self.deadline();
        let arrived = self.until(deadline, |test| Ok(test.ready.simulator.arrived(contact).into_iter().next()))?;
        let Some(arrived) = arrived else {
            let look = vec![self.ready.postfix.log_line(&queue_id)];
            let cause = "Postfix has not delivered it; its log says why";
            return Ok(Err(trouble("the message reaches the simulator", "nothing came", cause, look)));
        };
        let was_signed = arrived.reverse_path != sender;
        let back = arrived.reverse_path.clone();
        if was_signed && !self.ends_here(&back) {
            let text = format!("mail to the signed return path does not end at this Postfix: {back}");
            return Ok(Err(Told::Skipped(text)));
        }
        let submitted = match self.submit(answer_from, &[back.as_str()], &answer(&arrived))? {
            Ok(submitted) => submitted,
            Err(told) => return Ok(Err(told)),
        };
        if !submitted.is_taken() {
            let seen = submitted.refused.first().map_or(&submitted.last, |(_, reply)| reply).to_string();
            let cause = "Postfix does not take every address of the return path's domain: see backstop-postfix(7)";
            let look = vec!["backstopctl postfix check".to_owned()];
            return Ok(Err(trouble(&format!("Postfix takes mail to {back}"), seen, cause, look)));
        }
        let deadline = self.deadline();
        Ok(match self.response(contact, kind, deadline, events)? {
            Some(event) => Ok((event, was_signed)),
            None => {
                let log = submitted.queue_id.map(|queue_id| self.ready.postfix.log_line(&queue_id));
                let look = log.into_iter().chain(["backstopctl events --since 10m".to_owned()]).collect();
                let cause = "the daemon's [return_path] differs from its file: has it been reloaded?";
                Err(trouble(
                    &format!("what came to {back} is read as {}", word(&kind)),
                    "nothing was recorded",
                    cause,
                    look,
                ))
            }
        })
    }
}
