//! Postfix's half of the milter protocol, as smtpd(8) and cleanup(8) of 3.7 play it.
//!
//! In: letters and notifications. Out: the milter's answer to each. What counts for the speed of a milter is
//! kept as it was seen on real connections: every event is preceded by its macros; what a milter declined or
//! answers to nobody is left out or not waited for; octets leave when an answer is waited for, when the buffer
//! of 4096 is full, and when smtpd hands the connection to cleanup behind DATA; ABORT follows every message.

use crate::mail::{Letter, Notification};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The protocol bits that change what Postfix sends (`SMFIP_*` of libmilter).
mod step {
    pub const NO_CONNECT: u32 = 0x1;
    pub const NO_HELO: u32 = 0x2;
    pub const NO_MAIL: u32 = 0x4;
    pub const NO_RCPT: u32 = 0x8;
    pub const NO_BODY: u32 = 0x10;
    pub const NO_HEADERS: u32 = 0x20;
    pub const NO_END_OF_HEADER: u32 = 0x40;
    pub const NR_HEADER: u32 = 0x80;
    pub const NO_DATA: u32 = 0x200;
    pub const NR_CONNECT: u32 = 0x1000;
    pub const NR_HELO: u32 = 0x2000;
    pub const NR_MAIL: u32 = 0x4000;
    pub const NR_RCPT: u32 = 0x8000;
    pub const NR_DATA: u32 = 0x1_0000;
    pub const NR_END_OF_HEADER: u32 = 0x4_0000;
    pub const NR_BODY: u32 = 0x8_0000;
    pub const LEADING_SPACE: u32 = 0x10_0000;
    /// What Postfix offers.
    pub const OFFERED: u32 = 0x1f_ffff;
}

/// The actions Postfix offers, `SMFIF_ADDHDRS` to `SMFIF_SETSYMLIST`.
const ACTIONS_OFFERED: u32 = 0x1ff;
/// Size of the buffer of a Postfix stream.
const STREAM_BUFFER: usize = 4096;
/// Longest body chunk.
const CHUNK: usize = 65535;
/// How long an answer may take before the run is given up.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// An event's packets: its letter, its stage in macro lists, the bits that decline it and waive its answer.
#[derive(Clone, Copy)]
struct Event {
    letter: u8,
    stage: usize,
    declined: u32,
    waived: u32,
}

const CONNECT: Event = Event { letter: b'C', stage: 0, declined: step::NO_CONNECT, waived: step::NR_CONNECT };
const HELO: Event = Event { letter: b'H', stage: 1, declined: step::NO_HELO, waived: step::NR_HELO };
const MAIL: Event = Event { letter: b'M', stage: 2, declined: step::NO_MAIL, waived: step::NR_MAIL };
const RCPT: Event = Event { letter: b'R', stage: 3, declined: step::NO_RCPT, waived: step::NR_RCPT };
const DATA: Event = Event { letter: b'T', stage: 4, declined: step::NO_DATA, waived: step::NR_DATA };
const HEADER: Event = Event { letter: b'L', stage: 5, declined: step::NO_HEADERS, waived: step::NR_HEADER };
const END_OF_HEADER: Event =
    Event { letter: b'N', stage: 6, declined: step::NO_END_OF_HEADER, waived: step::NR_END_OF_HEADER };
const BODY: Event = Event { letter: b'B', stage: 5, declined: step::NO_BODY, waived: step::NR_BODY };
const END_OF_MESSAGE: Event = Event { letter: b'E', stage: 5, declined: 0, waived: 0 };

/// Postfix's default macro lists by stage, as far as they have a value here.
const DEFAULT_MACROS: [&str; 7] = [
    "j {daemon_name} {daemon_addr} v _",
    "",
    "i {mail_addr} {mail_host} {mail_mailer}",
    "i {rcpt_addr} {rcpt_host} {rcpt_mailer}",
    "i",
    "i",
    "i",
];

/// Values of the macros that change; those without a value are not sent.
#[derive(Clone, Copy, Default)]
struct Values<'a> {
    queue_id: Option<&'a [u8]>,
    mail_addr: Option<&'a [u8]>,
    rcpt_addr: Option<&'a [u8]>,
    /// By SMTP; cleanup tells no mailer and no host.
    smtp: bool,
}

impl Values<'_> {
    fn get(&self, name: &[u8]) -> Option<&[u8]> {
        match name {
            b"i" => self.queue_id,
            b"j" | b"{daemon_name}" => Some(b"mx.bench.example"),
            b"{daemon_addr}" | b"{client_addr}" => Some(b"127.0.0.1"),
            b"{client_name}" | b"{client_ptr}" => Some(if self.smtp { b"unknown" } else { b"localhost" }),
            b"{client_port}" => Some(if self.smtp { b"40112" } else { b"0" }),
            b"v" => Some(b"Postfix 3.7.11"),
            b"_" => Some(if self.smtp { b"unknown [127.0.0.1]" } else { b"localhost [127.0.0.1]" }),
            b"{mail_addr}" => self.mail_addr,
            b"{rcpt_addr}" => self.rcpt_addr,
            b"{mail_host}" | b"{rcpt_host}" if self.smtp => Some(b"[127.0.0.1]:2526"),
            b"{mail_mailer}" | b"{rcpt_mailer}" if self.smtp => Some(b"smtp"),
            _ => None,
        }
    }
}

/// What the milter answered at the end of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The verdict's packet letter: `c` continue, `a` accept, `d` discard, `t` tempfail, `r` reject, `y` reply.
    pub verdict: u8,
    /// The recipients deleted, as the milter wrote them.
    pub deleted: Vec<Vec<u8>>,
    /// The recipients added with parameters, as the milter wrote them.
    pub added: Vec<Vec<u8>>,
}

/// A milter connection.
pub struct Mta {
    stream: UnixStream,
    out: Vec<u8>,
    written: usize,
    input: Box<[u8; 16384]>,
    filled: usize,
    taken: usize,
    steps: u32,
    macros: [Vec<Vec<u8>>; 7],
}

impl Mta {
    /// Connects, negotiates and tells CONNECT and HELO, as smtpd does when a client has said EHLO.
    pub fn smtpd(socket: &Path) -> io::Result<Mta> {
        let mut mta = Mta::negotiate(socket)?;
        let values = Values { smtp: true, ..Values::default() };
        mta.event(CONNECT, values, b"[127.0.0.1]\x004\x9c\xb0127.0.0.1\0")?;
        mta.event(HELO, values, b"app.bench.example\0")?;
        Ok(mta)
    }

    fn negotiate(socket: &Path) -> io::Result<Mta> {
        let stream = UnixStream::connect(socket)?;
        let mut mta = Mta {
            stream,
            out: Vec::with_capacity(2 * STREAM_BUFFER),
            written: 0,
            input: Box::new([0; 16384]),
            filled: 0,
            taken: 0,
            steps: 0,
            macros: DEFAULT_MACROS.map(list),
        };
        let mut offer = Vec::from(6u32.to_be_bytes());
        offer.extend(ACTIONS_OFFERED.to_be_bytes());
        offer.extend(step::OFFERED.to_be_bytes());
        mta.packet(b'O', &[&offer])?;
        let (letter, agreed) = mta.reply()?;
        if letter != b'O' || agreed.len() < 12 {
            return Err(unexpected("the negotiation", letter));
        }
        let agreed = agreed.to_vec();
        mta.steps = number(&agreed[8..]);
        let mut lists = &agreed[12..];
        while lists.len() > 4 {
            let stage = number(lists) as usize;
            let end = lists[4..].iter().position(|&octet| octet == 0).map_or(lists.len(), |at| at + 4);
            let names = String::from_utf8_lossy(&lists[4..end]);
            // An empty list leaves Postfix's own in place; a list of unknown names leaves none.
            if let (Some(macros), false) = (mta.macros.get_mut(stage), names.trim().is_empty()) {
                *macros = list(&names);
            }
            lists = lists.get(end + 1..).unwrap_or_default();
        }
        Ok(mta)
    }

    /// Tells one message that came by SMTP, as smtpd and cleanup do between them.
    pub fn letter(&mut self, letter: &Letter) -> io::Result<Answer> {
        let mut values = Values { mail_addr: Some(letter.sender()), smtp: true, ..Values::default() };
        self.event(MAIL, values, letter.mail_arguments())?;
        for recipient in letter.recipients() {
            values.rcpt_addr = Some(recipient.address);
            self.event(RCPT, values, recipient.argument)?;
            values.queue_id = Some(letter.queue_id());
        }
        self.event(DATA, values, b"")?;
        self.flush()?;
        let answer = self.content(values, letter.headers(), letter.body());
        self.packet(b'A', &[])?;
        answer
    }

    /// Ends an SMTP session.
    pub fn quit(mut self) -> io::Result<()> {
        self.packet(b'A', &[])?;
        self.packet(b'Q', &[])?;
        self.flush()
    }

    /// Tells one notification, as cleanup does for bounce(8): a connection of its own, bare addresses, no ABORT.
    pub fn notification(socket: &Path, notification: &Notification) -> io::Result<Answer> {
        let mut mta = Mta::negotiate(socket)?;
        let mut values = Values::default();
        mta.event(CONNECT, values, b"localhost\x004\0\x00127.0.0.1\0")?;
        mta.event(HELO, values, b"localhost\0")?;
        values.queue_id = Some(notification.queue_id());
        values.mail_addr = Some(b"");
        mta.event(MAIL, values, b"\0")?;
        values.rcpt_addr = Some(notification.recipient());
        mta.event(RCPT, values, notification.recipient_argument())?;
        mta.event(DATA, values, b"")?;
        let answer = mta.content(values, notification.headers(), notification.body())?;
        mta.packet(b'Q', &[])?;
        mta.flush()?;
        Ok(answer)
    }

    fn content<'h>(
        &mut self,
        values: Values<'_>,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        body: &[u8],
    ) -> io::Result<Answer> {
        if self.steps & HEADER.declined == 0 {
            for (name, value) in headers {
                self.macros(HEADER, values)?;
                let blank: &[u8] = if self.steps & step::LEADING_SPACE != 0 { b" " } else { b"" };
                self.packet(HEADER.letter, &[name, b"\0", blank, value, b"\0"])?;
                self.answered(HEADER)?;
            }
        }
        if self.steps & END_OF_HEADER.declined == 0 {
            self.event(END_OF_HEADER, values, b"")?;
        }
        if self.steps & BODY.declined == 0 {
            for chunk in body.chunks(CHUNK) {
                self.macros(BODY, values)?;
                self.packet(BODY.letter, &[chunk])?;
                if self.answered(BODY)? == b's' {
                    break;
                }
            }
        }
        self.macros(END_OF_MESSAGE, values)?;
        self.packet(END_OF_MESSAGE.letter, &[])?;
        let mut answer = Answer::default();
        loop {
            match self.reply()? {
                (b'-', recipient) => answer.deleted.push(recipient.strip_suffix(b"\0").unwrap_or(recipient).to_vec()),
                (b'2', strings) => answer.added.extend(strings.split(|&octet| octet == 0).next().map(<[u8]>::to_vec)),
                (b'p', _) => {}
                (verdict @ (b'c' | b'a' | b'd' | b't' | b'r' | b'y'), _) => {
                    answer.verdict = verdict;
                    return Ok(answer);
                }
                (letter, _) => return Err(unexpected("the end of a message", letter)),
            }
        }
    }

    /// Macros, then the event unless it is declined, then its answer unless it is waived.
    fn event(&mut self, event: Event, values: Values<'_>, arguments: &[u8]) -> io::Result<()> {
        self.macros(event, values)?;
        if self.steps & event.declined == 0 {
            self.packet(event.letter, &[arguments])?;
            self.answered(event)?;
        }
        Ok(())
    }

    fn macros(&mut self, event: Event, values: Values<'_>) -> io::Result<()> {
        let start = self.out.len();
        self.out.extend([0, 0, 0, 0, b'D', event.letter]);
        for name in &self.macros[event.stage] {
            if let Some(value) = values.get(name) {
                self.out.extend_from_slice(name);
                self.out.push(0);
                self.out.extend_from_slice(value);
                self.out.push(0);
            }
        }
        self.finish(start)
    }

    /// Waits for `c` (or `s`, returned) unless the answer is waived.
    fn answered(&mut self, event: Event) -> io::Result<u8> {
        if self.steps & event.waived != 0 {
            return Ok(b'c');
        }
        loop {
            match self.reply()?.0 {
                b'p' => {}
                letter @ (b'c' | b's') => return Ok(letter),
                letter => return Err(unexpected("an event before the end of a message", letter)),
            }
        }
    }

    fn packet(&mut self, letter: u8, pieces: &[&[u8]]) -> io::Result<()> {
        let start = self.out.len();
        self.out.extend([0, 0, 0, 0, letter]);
        for piece in pieces {
            self.out.extend_from_slice(piece);
        }
        self.finish(start)
    }

    /// Fills in the length of the packet that begins at `start`; full buffers leave.
    fn finish(&mut self, start: usize) -> io::Result<()> {
        let length = (self.out.len() - start - 4) as u32;
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        while self.out.len() - self.written > STREAM_BUFFER {
            self.write(STREAM_BUFFER)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.written < self.out.len() {
            self.write(self.out.len() - self.written)?;
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    fn write(&mut self, count: usize) -> io::Result<()> {
        self.wait(PollFlags::OUT)?;
        self.stream.write_all(&self.out[self.written..self.written + count])?;
        self.written += count;
        Ok(())
    }

    /// Postfix polls before each read and write. It matters: a thread that sleeps in read(2) on a Unix socket is
    /// woken when the peer has taken what it wrote, one that sleeps in poll(2) for input is not.
    fn wait(&self, what: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.stream, what)], Some(&PATIENCE))? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, "the milter is silent")),
            _ => Ok(()),
        }
    }

    /// The next packet from the milter; what waits to be sent goes first.
    fn reply(&mut self) -> io::Result<(u8, &[u8])> {
        if !self.out.is_empty() {
            self.flush()?;
        }
        loop {
            let waiting = &self.input[self.taken..self.filled];
            if waiting.len() >= 5 {
                let length = number(waiting) as usize;
                if length == 0 || length + 4 > self.input.len() {
                    return Err(io::Error::other(format!("the milter sent a packet of {length} octets")));
                }
                if waiting.len() >= length + 4 {
                    let start = self.taken;
                    self.taken += length + 4;
                    return Ok((self.input[start + 4], &self.input[start + 5..start + 4 + length]));
                }
            }
            self.input.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
            self.wait(PollFlags::IN)?;
            let end = self.input.len().min(self.filled + STREAM_BUFFER);
            match self.stream.read(&mut self.input[self.filled..end])? {
                0 => return Err(io::Error::other("the milter closed the connection")),
                octets => self.filled += octets,
            }
        }
    }
}

fn list(names: &str) -> Vec<Vec<u8>> {
    names.split([' ', ',', '\t']).filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec()).collect()
}

fn number(octets: &[u8]) -> u32 {
    octets.iter().take(4).fold(0, |number, &octet| number << 8 | u32::from(octet))
}

fn unexpected(place: &str, letter: u8) -> io::Error {
    io::Error::other(format!("the milter answered {place} with \"{}\"", letter.escape_ascii()))
}
