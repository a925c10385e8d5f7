//! One milter connection as a state machine: one command in, what to do out. No socket, no clock.
//!
//! Before the end of a message the only answer is "continue" (or nothing, where the reply was waived, or
//! "skip" for a body nobody wants): anything else would hide the rest of the message, or of the session. The
//! one exception is the refusal of a recipient, where the configuration asks for it.

use super::command::{Command, Offer, Strings};
use super::macros::Stage;
use super::negotiation::{Agreement, Wanted};
use super::reply::{Edit, Reply, SmtpReply};
pub use super::transaction::{ForwardPath, Limits, Peer, Transaction};

/// Longest domain (RFC 5321 §4.5.3.1.2).
const DOMAIN_OCTETS: usize = 255;

/// Octets of envelope kept of one message, the cost of keeping them included.
const ENVELOPE_BYTES: usize = 32 << 20;

/// What the message in hand is to us; chosen once, when the header is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Nobody's business here.
    Idle,
    /// Outgoing: the envelope matters, the body does not.
    Screening,
    /// A report, perhaps: the body is kept.
    Inspecting,
}

/// Chooses for the session; implemented by `service`, and by tests.
pub trait Choose {
    /// Called once for each message, when its header is complete.
    fn interest(&self, transaction: &Transaction) -> Interest;

    /// Called for each recipient when replies to RCPT are not waived (`[outbound] action = "reject"`): the
    /// refusal, if this recipient is to be refused. Never called for mail that did not come by SMTP.
    fn refuse(&self, transaction: &Transaction, recipient: &ForwardPath) -> Option<SmtpReply>;
}

/// The answer at the end of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let it pass, with the edits.
    Continue,
    /// Take it and drop it.
    Discard,
    /// 4xx, without words of our own.
    Tempfail,
    /// 4xx or 5xx with words.
    Refuse(SmtpReply),
}

/// Edits and verdict, sent in one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conclusion {
    /// Changes to the envelope and header, in order. They are sent only with [`Verdict::Continue`]: with any
    /// other they change nothing, and Postfix pays for each (POSTFIX-FACTS 6).
    pub edits: Vec<Edit>,
    /// The answer.
    pub verdict: Verdict,
}

impl Conclusion {
    /// Nothing to change, let it pass.
    pub fn pass() -> Conclusion {
        Conclusion { edits: Vec::new(), verdict: Verdict::Continue }
    }
}

/// What to do after a command. Replies are already encoded into the buffer given to [`Session::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on reading; whatever stands in the buffer is to be sent when nothing more has arrived.
    Continue,
    /// The message is complete: decide on [`Session::transaction`], then call [`Session::conclude`].
    Conclude(Interest),
    /// The MTA said good-bye: close.
    Quit,
}

/// Why a connection must be closed: the peer does not speak milter, or says what cannot be said now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Anything but a negotiation came first.
    #[error("{0} before the negotiation")]
    NotNegotiated(&'static str),
    /// The peer's version is not ours to speak.
    #[error("milter protocol version {0} is not supported (2 to 6 are)")]
    Version(u32),
    /// A command that does not follow from those before it.
    #[error("{0} out of order")]
    OutOfOrder(&'static str),
}

/// How far the message in hand has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// There is none.
    Between,
    /// MAIL was said.
    Envelope,
    /// A header field was told.
    Header,
    /// The header is complete.
    Body(Interest),
    /// It waits for its conclusion.
    Complete,
}

/// A milter connection.
#[derive(Debug)]
pub struct Session {
    wanted: Wanted,
    limits: Limits,
    agreement: Option<Agreement>,
    /// At the start and after QUIT_NC: a negotiation may come.
    is_fresh: bool,
    progress: Progress,
    /// The stage whose variables were told just now, for the command to come.
    told: Option<Stage>,
    transaction: Transaction,
    envelope_bytes: usize,
    header_bytes: usize,
}

impl Session {
    /// A connection that has not negotiated yet.
    pub fn new(wanted: Wanted, limits: Limits) -> Session {
        Session {
            wanted,
            limits,
            agreement: None,
            is_fresh: true,
            progress: Progress::Between,
            told: None,
            transaction: Transaction::default(),
            envelope_bytes: 0,
            header_bytes: 0,
        }
    }

    /// The message in hand, as far as it is known; complete after [`Step::Conclude`].
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Whether no message is in hand: the connection may be closed without breaking one.
    pub fn is_between_messages(&self) -> bool {
        self.progress == Progress::Between
    }

    /// Takes one command; replies go to `out`.
    ///
    /// # Errors
    /// [`SessionError`] when the connection must be closed.
    pub fn step(
        &mut self,
        command: Command<'_>,
        chooser: &dyn Choose,
        out: &mut Vec<u8>,
    ) -> Result<Step, SessionError> {
        let agreement = match (&command, self.agreement) {
            (Command::Quit, _) => return Ok(Step::Quit),
            (Command::Negotiate(offer), _) => return self.negotiate(*offer, out),
            (_, None) => return Err(SessionError::NotNegotiated(command.name())),
            (_, Some(agreement)) => agreement,
        };
        if let Command::Macros(letter, definitions) = command {
            self.told = Stage::of(letter);
            if let Some(stage) = self.told {
                self.transaction.macros.tell(stage, definitions);
            }
            return Ok(Step::Continue);
        }
        if !self.may_follow(&command) {
            return Err(SessionError::OutOfOrder(command.name()));
        }
        let told = self.told.take();
        let is_answered = agreement.is_answered(&command);
        let mut reply = Reply::Continue;
        match command {
            Command::Negotiate(_) | Command::Macros(..) | Command::Quit => unreachable!("answered above"),
            Command::Connect { host, address, port } => {
                if told != Some(Stage::Connect) {
                    self.transaction.macros.forget_from(Stage::Connect);
                }
                self.is_fresh = false;
                let (host, helo) = (String::from_utf8_lossy(host).into_owned(), String::new());
                self.transaction.peer = Peer { host, address, port, helo };
            }
            Command::Helo(name) => {
                let name = if name.len() > DOMAIN_OCTETS { b"" } else { name };
                self.transaction.peer.helo = String::from_utf8_lossy(name).into_owned();
            }
            Command::Data | Command::Unknown(_) => {}
            Command::Mail(argument, parameters) => self.begin(argument, parameters, told),
            Command::Rcpt(argument, parameters) => {
                if let Some(refusal) = self.add_recipient(argument, parameters, told, agreement, chooser) {
                    reply = Reply::ReplyCode(refusal);
                }
            }
            Command::Header(name, value) => {
                self.progress = Progress::Header;
                self.add_header(name, value, agreement);
            }
            Command::EndOfHeader => _ = self.complete_header(chooser),
            Command::Body(piece) => {
                let interest = self.complete_header(chooser);
                if !self.keep_body(interest, piece) && agreement.may_skip() {
                    reply = Reply::Skip;
                }
            }
            Command::EndOfMessage(last_piece) => {
                let interest = self.complete_header(chooser);
                self.keep_body(interest, last_piece);
                self.progress = Progress::Complete;
                return Ok(Step::Conclude(interest));
            }
            // Postfix says so after every message of an SMTP session, accepted ones too: there is nothing to
            // undo but what is in hand.
            Command::Abort => self.end_message(),
            Command::QuitNewConnection => {
                self.end_message();
                self.transaction = Transaction::default();
                self.is_fresh = true;
            }
        }
        if is_answered {
            reply.write(out);
        }
        Ok(Step::Continue)
    }

    /// Writes edits and verdict for the message that [`Step::Conclude`] told of, and lets go of it. Returns how
    /// many edits were left out because the MTA did not agree to such; does nothing if no message is complete.
    /// A recipient that cannot be added again just stays: that is no loss to speak of.
    pub fn conclude(&mut self, conclusion: &Conclusion, out: &mut Vec<u8>) -> usize {
        let (Progress::Complete, Some(agreement)) = (self.progress, self.agreement) else { return 0 };
        let mut left_out = 0;
        let verdict = match &conclusion.verdict {
            Verdict::Continue => {
                for edit in &conclusion.edits {
                    if agreement.allows(edit) {
                        edit.write(agreement.leading_blank(), out);
                    } else if !matches!(edit, Edit::ReaddRecipient(..)) {
                        left_out += 1;
                    }
                }
                Reply::Continue
            }
            Verdict::Discard => Reply::Discard,
            Verdict::Tempfail => Reply::Tempfail,
            Verdict::Refuse(reply) => Reply::ReplyCode(reply.clone()),
        };
        verdict.write(out);
        self.end_message();
        left_out
    }

    fn negotiate(&mut self, offer: Offer, out: &mut Vec<u8>) -> Result<Step, SessionError> {
        if !self.is_fresh {
            return Err(SessionError::OutOfOrder("negotiation"));
        }
        let agreement = Agreement::reach(self.wanted, offer).ok_or(SessionError::Version(offer.version))?;
        agreement.write(self.wanted, out);
        self.agreement = Some(agreement);
        self.is_fresh = false;
        Ok(Step::Continue)
    }

    fn may_follow(&self, command: &Command<'_>) -> bool {
        match command {
            Command::Connect { .. } => self.progress == Progress::Between,
            Command::Helo(_) => matches!(self.progress, Progress::Between | Progress::Envelope),
            Command::Rcpt(..) | Command::Data => self.progress == Progress::Envelope,
            Command::Header(..) | Command::EndOfHeader => {
                matches!(self.progress, Progress::Envelope | Progress::Header)
            }
            Command::Body(_) | Command::EndOfMessage(_) => {
                matches!(self.progress, Progress::Envelope | Progress::Header | Progress::Body(_))
            }
            // A new message may begin where the one before was given up without a word.
            Command::Mail(..) | Command::Unknown(_) => self.progress != Progress::Complete,
            Command::Negotiate(_)
            | Command::Macros(..)
            | Command::Abort
            | Command::Quit
            | Command::QuitNewConnection => true,
        }
    }

    fn begin(&mut self, argument: &[u8], parameters: Strings<'_>, told: Option<Stage>) {
        let macros = std::mem::take(&mut self.transaction.macros);
        self.end_message();
        self.transaction.macros = macros;
        if told != Some(Stage::Mail) {
            self.transaction.macros.forget_from(Stage::Mail);
        }
        self.progress = Progress::Envelope;
        if self.affords(argument, parameters) {
            self.transaction.parameters.extend(parameters.iter().map(<[u8]>::to_vec));
        }
        self.transaction.reverse_path.extend_from_slice(argument);
    }

    /// Takes a recipient, or the refusal of it.
    fn add_recipient(
        &mut self,
        argument: &[u8],
        parameters: Strings<'_>,
        told: Option<Stage>,
        agreement: Agreement,
        chooser: &dyn Choose,
    ) -> Option<SmtpReply> {
        if told != Some(Stage::Rcpt) {
            self.transaction.macros.forget_from(Stage::Rcpt);
        }
        let is_one_too_many = self.transaction.recipients.len() >= self.limits.recipients;
        if is_one_too_many || !self.affords(argument, parameters) {
            self.transaction.over_limit.get_or_insert("too many recipients");
            return None;
        }
        let variable = |name| self.transaction.macros.get(name).map(str::to_owned);
        let recipient = ForwardPath {
            argument: argument.to_vec(),
            parameters: parameters.iter().map(<[u8]>::to_vec).collect(),
            mailer: variable("{rcpt_mailer}"),
            address: variable("{rcpt_addr}"),
        };
        // A refusal at RCPT would block a maildrop: mail that is not in by SMTP has nobody to take it.
        if agreement.may_refuse_recipients() && !self.transaction.is_non_smtp() {
            let refusal = chooser.refuse(&self.transaction, &recipient);
            if refusal.is_some() {
                return refusal;
            }
        }
        self.transaction.recipients.push(recipient);
        None
    }

    /// Counts a path against [`ENVELOPE_BYTES`]; no memory is set aside for one that is too much.
    fn affords(&mut self, argument: &[u8], parameters: Strings<'_>) -> bool {
        let parameters: usize = parameters.iter().map(|parameter| parameter.len() + size_of::<Vec<u8>>()).sum();
        self.envelope_bytes += size_of::<ForwardPath>() + argument.len() + parameters;
        let affords = self.envelope_bytes <= ENVELOPE_BYTES;
        if !affords {
            self.transaction.over_limit.get_or_insert("envelope too large");
        }
        affords
    }

    fn add_header(&mut self, name: &[u8], value: &[u8], agreement: Agreement) {
        use super::reply::LeadingBlank;
        let headers = &mut self.transaction.headers;
        self.header_bytes = self.header_bytes.saturating_add(name.len() + value.len());
        if headers.len() >= self.limits.headers {
            self.header_bytes = usize::MAX; // nothing after the first that is left out is kept either
            self.transaction.over_limit.get_or_insert("too many header fields");
        } else if self.header_bytes > self.limits.header_bytes {
            self.header_bytes = usize::MAX;
            self.transaction.over_limit.get_or_insert("header too large");
        } else if agreement.leading_blank() == LeadingBlank::Ours {
            headers.push(name, value);
        } else {
            // The MTA took a blank off, if there was one; nearly always there was.
            headers.push(name, &[b" ", value].concat());
        }
    }

    /// Chooses, unless that was done.
    fn complete_header(&mut self, chooser: &dyn Choose) -> Interest {
        if let Progress::Body(interest) = self.progress {
            return interest;
        }
        let interest = chooser.interest(&self.transaction);
        self.progress = Progress::Body(interest);
        interest
    }

    /// Keeps a piece of the body; false if none of what follows will be kept.
    fn keep_body(&mut self, interest: Interest, piece: &[u8]) -> bool {
        if interest != Interest::Inspecting {
            return false;
        }
        let room = self.limits.body_bytes.saturating_sub(self.transaction.body.len());
        self.transaction.body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            self.transaction.over_limit.get_or_insert("body too large");
        }
        piece.len() <= room
    }

    fn end_message(&mut self) {
        self.progress = Progress::Between;
        self.transaction.clear();
        (self.envelope_bytes, self.header_bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
