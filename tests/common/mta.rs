//! Postfix's half of the milter protocol, for tests: sends what smtpd(8) and cleanup(8) of 3.7 were seen to
//! send, and reads what comes back. Shares no code with the milter under test, so that both cannot be wrong in
//! the same way.
//!
//! As Postfix does, it tells each event's macros before the event, also when the event itself is declined;
//! leaves out what was declined; waits for an answer only where none was waived; and sends nothing before it
//! has to wait.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// What an MTA offers at the start.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub version: u32,
    pub actions: u32,
    pub protocol: u32,
}

/// What Postfix 3.7 offers.
pub const POSTFIX: Offer = Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };

/// Longest piece of a body.
const PIECE: usize = 65_535;

/// For each event: its letter, the bit that declines it, the bit that waives its answer, the number of its
/// macro list. Fields and pieces of the body use the list of the end of the message.
const EVENTS: [(u8, u32, u32, usize); 10] = [
    (b'C', 0x1, 0x1000, 0),
    (b'H', 0x2, 0x2000, 1),
    (b'M', 0x4, 0x4000, 2),
    (b'R', 0x8, 0x8000, 3),
    (b'T', 0x200, 0x1_0000, 4),
    (b'L', 0x20, 0x80, 5),
    (b'N', 0x40, 0x4_0000, 6),
    (b'B', 0x10, 0x8_0000, 5),
    (b'E', 0, 0, 5),
    (b'U', 0x100, 0x2_0000, 7),
];
const LEADING_BLANK: u32 = 0x10_0000;

/// Postfix's own macro lists, in force until the milter names others.
const LISTS: [&str; 8] = [
    "j {daemon_name} {daemon_addr} v _",
    "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}",
    "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}",
    "i {rcpt_addr} {rcpt_host} {rcpt_mailer}",
    "i",
    "i",
    "i",
    "",
];

/// Which of Postfix's programs speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// smtpd(8): arguments as the client wrote them, the queue id from the second recipient on, ABORT behind
    /// every message.
    Smtp,
    /// cleanup(8), for sendmail(1) and for Postfix's own notifications: bare addresses, the queue id at once.
    Cleanup,
}

/// A connection to a milter.
pub struct Mta<S> {
    stream: S,
    origin: Origin,
    out: Vec<u8>,
    input: Vec<u8>,
    /// Every octet that was sent.
    pub sent: Vec<u8>,
    /// Values that hold for the next event instead of those Postfix would tell.
    pub instead: BTreeMap<String, String>,
    macros: BTreeMap<String, String>,
    messages: usize,
    lists: [Vec<String>; 8],
    protocol: u32,
}

/// An answer packet: its letter and its data.
pub type Answer = (u8, Vec<u8>);

impl<S: Read + Write> Mta<S> {
    /// A connection on which nothing was said yet.
    pub fn new(stream: S, origin: Origin) -> Mta<S> {
        Mta {
            stream,
            origin,
            out: Vec::new(),
            input: Vec::new(),
            sent: Vec::new(),
            instead: BTreeMap::new(),
            macros: BTreeMap::from([("j".into(), "mx.test".into()), ("{daemon_name}".into(), "mx.test".into())]),
            messages: 0,
            lists: LISTS.map(names),
            protocol: 0,
        }
    }

    /// Negotiates; what the milter declined, waived and listed holds from here on. Returns the action mask.
    pub fn negotiate(&mut self, offer: Offer) -> io::Result<u32> {
        let data = [offer.version, offer.actions, offer.protocol].map(u32::to_be_bytes).concat();
        self.packet(b'O', &data);
        let (letter, data) = self.answer()?.ok_or_else(closed)?;
        if letter != b'O' || data.len() < 12 {
            return Err(problem("no negotiation"));
        }
        let (actions, protocol) = (number(&data[4..]), number(&data[8..]));
        if number(&data) > offer.version || actions & !offer.actions != 0 {
            return Err(problem("the milter asks for what was not offered"));
        }
        self.protocol = protocol;
        let mut lists = &data[12..];
        while lists.len() > 4 {
            let stage = number(lists) as usize;
            let end = lists[4..].iter().position(|octet| *octet == 0).ok_or_else(|| problem("a list without NUL"))?;
            let list = names(&String::from_utf8_lossy(&lists[4..4 + end]));
            let place = self.lists[..7].get_mut(stage).ok_or_else(|| problem("a list for no stage"))?;
            // An empty list leaves Postfix's own in place.
            if !list.is_empty() {
                *place = list;
            }
            lists = &lists[4 + end + 1..];
        }
        Ok(actions)
    }

    /// Tells an event, its macros first. Returns the answer; `None` where none is due, `UnexpectedEof` where the
    /// milter closed instead.
    pub fn event(&mut self, letter: u8, data: &[u8]) -> io::Result<Option<Answer>> {
        let (declined, waived) = self.tell(letter, data);
        if declined || waived {
            return Ok(None);
        }
        self.answer()?.map(Some).ok_or_else(closed)
    }

    /// Tells MAIL with its argument and ESMTP arguments.
    pub fn mail(&mut self, argument: &str, parameters: &[&str]) -> io::Result<Option<Answer>> {
        self.messages += 1;
        self.macros.remove("i");
        self.know("{mail_addr}", bare(argument));
        match self.origin {
            Origin::Smtp => self.know("{mail_mailer}", "smtp"),
            Origin::Cleanup => self.know_queue_id(),
        }
        self.event(b'M', &strings(argument, parameters))
    }

    /// Tells RCPT with its argument and ESMTP arguments.
    pub fn rcpt(&mut self, argument: &str, parameters: &[&str]) -> io::Result<Option<Answer>> {
        match self.origin {
            Origin::Smtp => {
                self.know("{rcpt_addr}", &bare(argument).to_lowercase());
                self.know("{rcpt_mailer}", "smtp");
            }
            Origin::Cleanup => self.know("{rcpt_addr}", argument),
        }
        let answer = self.event(b'R', &strings(argument, parameters))?;
        // cleanup is opened when the first recipient is accepted.
        self.know_queue_id();
        Ok(answer)
    }

    /// Tells a header field; `value` is all that stands behind the colon.
    pub fn header(&mut self, name: &[u8], value: &[u8]) -> io::Result<Option<Answer>> {
        let kept = if self.protocol & LEADING_BLANK != 0 { value } else { value.strip_prefix(b" ").unwrap_or(value) };
        self.event(b'L', &[name, b"\0", kept, b"\0"].concat())
    }

    /// Tells a body in pieces, until the milter has had enough of it. Returns the answers.
    pub fn body(&mut self, body: &[u8]) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for piece in body.chunks(PIECE) {
            let answer = self.event(b'B', piece)?;
            let is_skipped = answer.as_ref().is_some_and(|(letter, _)| *letter == b's');
            answers.extend(answer);
            if is_skipped {
                break;
            }
        }
        Ok(answers)
    }

    /// Ends the message. Returns the answers, the verdict last.
    pub fn end_of_message(&mut self) -> io::Result<Vec<Answer>> {
        self.tell(b'E', b"");
        let mut answers = Vec::new();
        loop {
            let answer = self.answer()?.ok_or_else(closed)?;
            let is_verdict = b"acdrty".contains(&answer.0);
            answers.push(answer);
            if is_verdict {
                return Ok(answers);
            }
        }
    }

    /// Adds a packet to what is sent before the next wait.
    pub fn packet(&mut self, letter: u8, data: &[u8]) {
        self.out.extend_from_slice(&(1 + data.len() as u32).to_be_bytes());
        self.out.push(letter);
        self.out.extend_from_slice(data);
    }

    /// Adds octets that need not be a packet.
    pub fn octets(&mut self, octets: &[u8]) {
        self.out.extend_from_slice(octets);
    }

    /// Sends what waits to be sent.
    pub fn flush(&mut self) -> io::Result<()> {
        self.sent.extend_from_slice(&self.out);
        let written = self.stream.write_all(&self.out);
        self.out.clear();
        written
    }

    /// Waits for the next answer; `None` at the end of the connection.
    pub fn answer(&mut self) -> io::Result<Option<Answer>> {
        self.flush()?;
        loop {
            if let Some((length, rest)) = self.input.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() >= length {
                    let (letter, data) = rest[..length].split_first().ok_or_else(|| problem("an empty packet"))?;
                    let answer = (*letter, data.to_vec());
                    self.input.drain(..4 + length);
                    return Ok(Some(answer));
                }
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) if self.input.is_empty() => return Ok(None),
                Ok(0) => return Err(problem("the milter closed inside a packet")),
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                Err(reset) if reset.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(other) => return Err(other),
            }
        }
    }

    fn know(&mut self, name: &str, value: &str) {
        self.macros.insert(name.to_owned(), value.to_owned());
    }

    fn know_queue_id(&mut self) {
        self.know("i", &format!("4XyZ{}", self.messages));
    }

    /// Adds macros and event; returns whether the event was declined, and whether its answer is waived.
    fn tell(&mut self, letter: u8, data: &[u8]) -> (bool, bool) {
        let event = EVENTS.iter().find(|event| event.0 == letter).expect("an event with an answer");
        let (_, declines, waives, list) = *event;
        let is_declined = self.protocol & declines != 0;
        // Of content that was declined nothing is sent at all.
        if !(is_declined && b"LNB".contains(&letter)) {
            let mut definitions = vec![letter];
            for name in &self.lists[list] {
                if let Some(value) = self.instead.get(name).or_else(|| self.macros.get(name)) {
                    definitions.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
                }
            }
            self.packet(b'D', &definitions);
        }
        self.instead.clear();
        if !is_declined {
            self.packet(letter, data);
        }
        (is_declined, self.protocol & waives != 0)
    }
}

/// An argument and ESMTP arguments, each with its NUL.
fn strings(argument: &str, parameters: &[&str]) -> Vec<u8> {
    std::iter::once(&argument).chain(parameters).flat_map(|text| [text.as_bytes(), b"\0"].concat()).collect()
}

fn bare(argument: &str) -> &str {
    argument.strip_prefix('<').and_then(|argument| argument.strip_suffix('>')).unwrap_or(argument)
}

fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

fn number(octets: &[u8]) -> u32 {
    octets.first_chunk::<4>().map_or(0, |four| u32::from_be_bytes(*four))
}

/// The milter closed where an answer was due.
fn closed() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn problem(what: &str) -> io::Error {
    io::Error::other(what)
}
