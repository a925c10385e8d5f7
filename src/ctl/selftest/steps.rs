//! The mails of a self-test, and what must become of each on its way out. What must come back is in `bounces` and
//! `returned`.

use super::board::{Board, Told};
use super::cleaning::REASON;
use super::events::Events;
use super::message::{address, campaign};
use super::preconditions::Ready;
use super::submit::{Session, Submitted};
use super::{Exit, Failure, trouble};
use crate::admin::wire::{ChangeAnswer, ChangeRequest, ContactAnswer, word};
use crate::ctl::client::{Body, Client, encoded};
use crate::ctl::output::read;
use crate::policy::{Event, Response, State, What};
use crate::report::Kind;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The contacts of the test, by their local parts.
pub const CONTACTS: [&str; 5] = ["bounce", "soft", "suppressed", "complaint", "ooto"];
/// What a mail got through that should have been stopped is followed by at most so long: an event that is late.
const GRACE: Duration = Duration::from_secs(2);

/// A self-test under way.
pub struct Test<'a> {
    pub(super) client: &'a Client,
    pub(super) ready: Ready,
    /// Queue ids that Postfix told us.
    pub(super) queue_ids: BTreeSet<String>,
}

/// The campaign message to the first three contacts, as Postfix took it.
pub(super) struct Sent {
    pub(super) queue_id: String,
    /// What must come of it must have come by then.
    pub(super) deadline: Instant,
    /// `suppressed@` was refused at RCPT with this.
    refusal: Option<String>,
}

impl<'a> Test<'a> {
    /// A test that has not begun.
    pub fn new(client: &'a Client, ready: Ready) -> Test<'a> {
        Test { client, ready, queue_ids: BTreeSet::new() }
    }

    /// All steps, but for clearing away.
    pub fn run(&mut self, board: &mut Board<'_>) -> Result<(), Failure> {
        self.clean_before(board)?;
        let mut events = self.suppress(board)?;
        let sent = match self.send("campaign", &address("return"), &["bounce", "soft", "suppressed"])? {
            Ok(submitted) => self.sent(submitted, board)?,
            Err(problem) => return board.show("sent", &problem),
        };
        let Some(sent) = sent else { return Ok(()) };
        let told = self.delivered(&sent)?;
        board.show("delivered", &told)?;
        let told = self.bounced(&sent, &mut events)?;
        board.show("bounce@", &told)?;
        let told = self.soft(&sent, &mut events)?;
        board.show("soft@", &told)?;
        let (told, is_attached) = self.suppressed(&sent, &mut events)?;
        board.show("suppressed@", &told)?;
        let told = self.sendmail(&mut events)?;
        board.show("sendmail", &told)?;
        self.returned(is_attached, &mut events, board)
    }

    /// Suppresses `suppressed@`; what is recorded from here on is looked at.
    fn suppress(&mut self, board: &mut Board<'_>) -> Result<Events<'a>, Failure> {
        let request = serde_json::to_vec(&ChangeRequest { scope: None, reason: REASON.to_owned() });
        let request = request.map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        let target = format!("/v1/contacts/{}/suppress", encoded(&address("suppressed")));
        let answer: ChangeAnswer = read(&self.client.ask(&target, Body::Json(request))?)?;
        let Some(event) = answer.event else {
            return Err(Failure::new(Exit::Unavailable, "backstopd did not record a suppression"));
        };
        board.show("suppress", &Told::Fine(format!("{} is suppressed", address("suppressed"))))?;
        Ok(Events::behind(self.client, event))
    }

    /// Sends a campaign message by SMTP. Trouble where Postfix cannot be talked to.
    pub(super) fn send(
        &mut self,
        name: &str,
        reverse_path: &str,
        contacts: &[&str],
    ) -> Result<Result<Submitted, Told>, Failure> {
        let recipients: Vec<String> = contacts.iter().map(|contact| address(contact)).collect();
        let field = self.ready.setup.campaign_field();
        let message = campaign(&self.ready.run, name, &recipients.join(">, <"), &field);
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        self.submit(reverse_path, &recipients, &message)
    }

    /// Hands a message in by SMTP.
    pub(super) fn submit(
        &mut self,
        reverse_path: &str,
        recipients: &[&str],
        message: &[u8],
    ) -> Result<Result<Submitted, Told>, Failure> {
        let Ready { smtp, patience, stop, .. } = &self.ready;
        let submitted = Session::connect(*smtp, *patience, stop).and_then(|mut session| {
            let submitted = session.send(reverse_path, recipients, message)?;
            session.quit();
            Ok(submitted)
        });
        self.go_on()?;
        Ok(match submitted {
            Ok(submitted) => {
                self.queue_ids.extend(submitted.queue_id.clone());
                Ok(submitted)
            }
            Err(error) => {
                let cause = "a milter that Postfix asks hangs, or Postfix went away";
                let look = vec!["backstopctl postfix check".to_owned()];
                Err(trouble("Postfix takes the message", format!("{smtp}: {error}"), cause, look))
            }
        })
    }

    /// Shows whether Postfix took the message, and goes on if it did.
    fn sent(&mut self, submitted: Submitted, board: &mut Board<'_>) -> Result<Option<Sent>, Failure> {
        let suppressed = address("suppressed");
        let refusal = submitted.refused.iter().find(|(to, reply)| *to == suppressed && reply.code == 550);
        let refusal = refusal.map(|(_, reply)| reply.to_string()).filter(|_| self.ready.setup.may_refuse());
        let others = submitted.refused.len() - usize::from(refusal.is_some());
        if !submitted.is_taken() || others > 0 {
            board.show("sent", &not_taken(&submitted))?;
        }
        if !submitted.is_taken() {
            return Ok(None);
        }
        let queue_id = submitted.queue_id.unwrap_or_else(|| "-".to_owned());
        if others == 0 {
            let text = format!("Postfix took the campaign's message to bounce@, soft@ and suppressed@ as {queue_id}");
            board.show("sent", &Told::Fine(text))?;
        }
        Ok(Some(Sent { queue_id, deadline: self.deadline(), refusal }))
    }

    /// Waits until the simulator has it for `bounce@` and `soft@`.
    fn delivered(&mut self, sent: &Sent) -> Result<Told, Failure> {
        let here = |test: &mut Test<'a>| {
            let count = |name: &str| test.ready.simulator.arrived(name).len();
            Ok((count("bounce") > 0 && count("soft") > 0).then_some(()))
        };
        if self.until(sent.deadline, here)?.is_none() {
            let look =
                vec![self.ready.postfix.log_line(&sent.queue_id), self.ready.postfix.command_line("postqueue", "-p")];
            let cause = "Postfix cannot reach the self-test's socket, or has much to do; the mail log says which";
            return Ok(trouble("Postfix hands it to the simulator", "nothing came", cause, look));
        }
        let arrived = self.ready.simulator.arrived("soft");
        let message = arrived.first().map(|arrived| arrived.message.clone()).unwrap_or_default();
        let header = String::from_utf8_lossy(super::simulator::header_of(&message)).to_ascii_lowercase();
        let field = self.ready.setup.campaign_field().to_ascii_lowercase();
        if self.ready.setup.enforces() && field.starts_with("x-backstop-") && header.contains(&format!("\n{field}:")) {
            let expected = "X-Backstop-Campaign is taken off before the message leaves";
            return Ok(trouble(expected, "it is still there", self.not_asked("smtpd_milters"), look_at_milters()));
        }
        Ok(Told::Fine("to the simulator, which refuses both".to_owned()))
    }

    /// Whether the suppressed recipient was taken off; and whether the milter was asked at all.
    fn suppressed(&mut self, sent: &Sent, events: &mut Events<'_>) -> Result<(Told, bool), Failure> {
        let enforces = self.ready.setup.enforces();
        let mut got_through = None;
        let skip = self.until(sent.deadline, |test| {
            let skip = events.find("suppressed", |event| is_skip_of(event, sent))?.cloned();
            let is_here = !test.ready.simulator.arrived("suppressed").is_empty();
            let late = is_here && got_through.get_or_insert_with(Instant::now).elapsed() > GRACE;
            Ok(skip.map(Some).or(late.then_some(None)))
        })?;
        let skip = skip.flatten();
        let is_here = !self.ready.simulator.arrived("suppressed").is_empty();
        let told = match (&skip, is_here, enforces) {
            (Some(_), false, true) => Told::Fine(match &sent.refusal {
                Some(refusal) => format!("refused at RCPT: {refusal}"),
                None => "taken off the message, which went to the others; the skip is on record".to_owned(),
            }),
            (Some(_), true, false) => Told::Skipped(
                "mode = \"shadow\": it was let through, and the skip is on record as would-skip".to_owned(),
            ),
            (Some(_), ..) => trouble(
                if enforces { "it is taken off" } else { "it is let through, as mode = \"shadow\" says" },
                if is_here { "a skip is on record, and it got the message" } else { "it did not get the message" },
                "Postfix did not do what the milter said, or delivered it past the milter; its log says which",
                vec![self.ready.postfix.log_line(&sent.queue_id)],
            ),
            (None, ..) => {
                let seen = if is_here { "it got the message, no skip is on record" } else { "no skip is on record" };
                let expected = if enforces { "it is taken off" } else { "a skip is on record as would-skip" };
                trouble(expected, seen, self.not_asked("smtpd_milters"), look_at_milters())
            }
        };
        Ok((told, skip.is_some()))
    }

    /// The same by sendmail(1): whoever bounced, else who was suppressed, is taken off.
    fn sendmail(&mut self, events: &mut Events<'_>) -> Result<Told, Failure> {
        let is_off = self.contact("bounce")?.is_some_and(|contact| contact.state != State::Active);
        let to = if is_off { "bounce" } else { "suppressed" };
        let before = events.find(to, |event| matches!(event.what, What::Skip { .. }))?.map(|event| event.id);
        let field = self.ready.setup.campaign_field();
        let message = campaign(&self.ready.run, "sendmail", &address(to), &field);
        // A program on this host ends its lines as the host does.
        let message: Vec<u8> = message.into_iter().filter(|octet| *octet != b'\r').collect();
        let expected = format!("the next message to {to}@, by sendmail(1), is stopped");
        if let Err(problem) = self.ready.postfix.sendmail(&address("return"), &address(to), &message) {
            return Ok(trouble(&expected, problem, "who may use sendmail(1) says authorized_submit_users", Vec::new()));
        }
        let deadline = self.deadline();
        let skip = self.until(deadline, |_| {
            let is_new = |event: &Event| matches!(event.what, What::Skip { .. }) && Some(event.id) > before;
            Ok(events.find(to, is_new)?.cloned())
        })?;
        Ok(match skip {
            Some(_) if self.ready.setup.enforces() => Told::Fine(format!("{expected}; non_smtpd_milters work")),
            Some(_) => {
                Told::Skipped(format!("mode = \"shadow\": the message to {to}@ was let through, the skip is on record"))
            }
            None => trouble(&expected, "no skip is on record", self.not_asked("non_smtpd_milters"), look_at_milters()),
        })
    }

    /// Waits for the response of one kind of a contact.
    pub(super) fn response(
        &mut self,
        contact: &str,
        kind: Kind,
        deadline: Instant,
        events: &mut Events<'_>,
    ) -> Result<Option<Event>, Failure> {
        let fits = |event: &Event| response_of(event).is_some_and(|response| response.kind == kind);
        self.until(deadline, |_| Ok(events.find(contact, fits)?.cloned()))
    }

    /// Why the milter may not have been asked.
    pub(super) fn not_asked(&self, parameter: &str) -> String {
        match self.ready.postfix.value(parameter) {
            Ok(value) if value.is_empty() => format!("{parameter} is empty: Postfix asks no milter"),
            Ok(value) => format!("{parameter} is {value}: is that the daemon's, and does it answer there?"),
            Err(problem) => problem,
        }
    }

    /// The record of a contact; none where there is none.
    pub(super) fn contact(&self, contact: &str) -> Result<Option<ContactAnswer>, Failure> {
        match self.client.ask(&format!("/v1/contacts/{}", encoded(&address(contact))), Body::None) {
            Ok(answer) => Ok(Some(read(&answer)?)),
            Err(Failure::Because { exit: Exit::No, .. }) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// When what begins now must have come about.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.ready.patience
    }

    /// Looks again and again until there is something, or the time is over.
    pub(super) fn until<T>(
        &mut self,
        deadline: Instant,
        mut look: impl FnMut(&mut Test<'a>) -> Result<Option<T>, Failure>,
    ) -> Result<Option<T>, Failure> {
        loop {
            self.go_on()?;
            if let Some(found) = look(self)? {
                return Ok(Some(found));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(super::stop::TICK);
        }
    }

    fn go_on(&self) -> Result<(), Failure> {
        match self.ready.stop.is_asked() {
            true => Err(Failure::new(Exit::Unavailable, "interrupted")),
            false => Ok(()),
        }
    }
}

/// Trouble: Postfix did not take a message.
pub(super) fn not_taken(submitted: &Submitted) -> Told {
    let refused = submitted.refused.first().map(|(to, reply)| format!("{to}: {reply}"));
    let seen = refused.unwrap_or_else(|| submitted.last.to_string());
    let cause = match submitted.last.code {
        451 | 421 => "a milter does not answer and default_action is tempfail, or the daemon cannot decide",
        _ => "a restriction of smtpd refuses test mail from this host: let permit_mynetworks stand before it",
    };
    // Another milter may be the one that does not answer; Postfix's log names it.
    let mut look = look_at_milters();
    look.push("journalctl --since -10min | grep -i 'warning: .*milter'".to_owned());
    trouble("Postfix takes the message", seen, cause, look)
}

fn look_at_milters() -> Vec<String> {
    vec!["backstopctl postfix check".to_owned(), "backstopctl status".to_owned()]
}

fn is_skip_of(event: &Event, sent: &Sent) -> bool {
    // Refused at RCPT, the message may not have had its queue id yet.
    let is_of = event.queue_id.as_deref() == Some(&sent.queue_id) || sent.refusal.is_some() || sent.queue_id == "-";
    matches!(event.what, What::Skip { .. }) && is_of
}

pub(super) fn response_of(event: &Event) -> Option<&Response> {
    match &event.what {
        What::Response { response, .. } => Some(response),
        _ => None,
    }
}

/// What was recorded, in the words of `show`.
pub(super) fn summary(response: &Response) -> String {
    let words = [
        response.code.map(|code| code.to_string()),
        response.bounce_type.as_ref().map(word),
        response.category.as_ref().map(word),
        response.reason.clone(),
        Some(format!("authority {}", word(&response.authority))),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
