//! One milter connection as a state machine: one command in, what to do out. No socket, no clock.
//!
//! Before the end of a message the only answer is "continue" (or nothing, where the reply was waived, or
//! "skip" for a body nobody wants): anything else would hide the rest of the message, or of the session.

use super::{Command, Edit, Macros, SmtpReply, Wanted};
use crate::mail::Headers;
use std::net::IpAddr;

/// What a connection may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest packet, its command octet included.
    pub packet_bytes: usize,
    /// Header fields kept of one message.
    pub headers: usize,
    /// Octets of header kept of one message.
    pub header_bytes: usize,
    /// Octets of body kept of one message under inspection; the rest is not kept.
    pub body_bytes: usize,
    /// Recipients kept of one message.
    pub recipients: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            packet_bytes: 1 << 20,
            headers: 1000,
            header_bytes: 256 << 10,
            body_bytes: 4 << 20,
            recipients: 50_000,
        }
    }
}

/// Who connected to Postfix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Host name as Postfix gives it.
    pub host: String,
    /// Address, where it has one.
    pub address: Option<IpAddr>,
    /// Port; 0 for mail that did not come by SMTP.
    pub port: u16,
}

/// A recipient of the message in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardPath {
    /// The argument of RCPT as received: what a deletion must send back.
    pub argument: Vec<u8>,
    /// ESMTP arguments.
    pub parameters: Vec<Vec<u8>>,
    /// `{rcpt_mailer}`, where told.
    pub mailer: Option<String>,
    /// `{rcpt_addr}`, where told: resolved and lower-cased by smtpd.
    pub address: Option<String>,
}

/// What is known of the message in hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Who connected to Postfix.
    pub peer: Peer,
    /// Postfix's variables, by stage.
    pub macros: Macros,
    /// The argument of MAIL as received: with brackets by SMTP, bare from cleanup(8); empty is null.
    pub reverse_path: Vec<u8>,
    /// ESMTP arguments of MAIL.
    pub parameters: Vec<Vec<u8>>,
    /// Recipients as received, in order.
    pub recipients: Vec<ForwardPath>,
    /// The header; values with the blank behind the colon as it was.
    pub headers: Headers,
    /// The body, as far as kept; empty unless inspecting.
    pub body: Vec<u8>,
    /// A limit that was met, in words: what the message holds beyond it is not here.
    pub over_limit: Option<&'static str>,
}

impl Transaction {
    /// Postfix's queue id (macro `i`), or `-` where not told yet.
    pub fn queue_id(&self) -> &str {
        self.macros.get("i").unwrap_or("-")
    }

    /// The message as far as it was kept, put together again: header, empty line, body.
    pub fn to_message(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.body.len() + 4096);
        for (name, value) in self.headers.iter() {
            message.extend_from_slice(name);
            message.push(b':');
            message.extend_from_slice(value);
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(b"\r\n");
        message.extend_from_slice(&self.body);
        message
    }

    /// Whether the message did not come by SMTP: sendmail(1), or Postfix itself (POSTFIX-FACTS 4). smtpd
    /// always tells `{mail_mailer}` and hands on the brackets.
    pub fn is_non_smtp(&self) -> bool {
        self.macros.get("{mail_mailer}").is_none() && !self.reverse_path.starts_with(b"<") && self.peer.port == 0
    }
}

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
    /// refusal, if this recipient is to be refused.
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
    /// Changes to the envelope and header, in order.
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
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on reading; whatever stands in the buffer is to be sent when nothing more has arrived.
    Continue,
    /// The message is complete: decide, then call [`Session::conclude`].
    Conclude(Interest, Box<Transaction>),
    /// The MTA said good-bye: close.
    Quit,
}

/// A milter connection.
#[derive(Debug)]
pub struct Session {}

/// Why a connection must be closed: the peer does not speak milter, or asked for what was not agreed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Anything but a negotiation came first.
    #[error("{0} before the negotiation")]
    NotNegotiated(&'static str),
    /// The peer's version is not ours to speak.
    #[error("milter protocol version {0} is not supported (2 to 6 are)")]
    Version(u32),
}

impl Session {
    /// A connection that has not negotiated yet.
    pub fn new(wanted: Wanted, limits: Limits) -> Session {
        let _ = (wanted, limits);
        todo!()
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
        let _ = (command, chooser, out);
        todo!()
    }

    /// Writes edits and verdict for the message that [`Step::Conclude`] handed out. The transaction's buffers
    /// may be handed back for reuse.
    pub fn conclude(&mut self, conclusion: &Conclusion, out: &mut Vec<u8>) {
        let _ = (conclusion, out);
        todo!()
    }
}
