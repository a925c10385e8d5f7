//! A name server for tests: answers over UDP on a loopback port, from a table, and counts what it is asked.
//!
//! It takes one question a message (RFC 1035 §4.1), for class IN, and knows MX, A, TXT and CNAME. A name that is
//! not in the table does not exist.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A name longer than this, in octets on the wire, is not answered (RFC 1035 §2.3.4).
const NAME_OCTETS: usize = 255;
/// A longer answer is sent without records, as truncated.
const MESSAGE_OCTETS: usize = 1232;

const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;

/// What one name is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These records, each to questions for its type; none of the type is NODATA.
    Records(Vec<Record>),
    /// NXDOMAIN.
    NoSuchName,
    /// A response code alone: 2 for SERVFAIL, 5 for REFUSED.
    Code(u8),
    /// Nothing, ever.
    Silence,
}

/// A record of a name.
#[derive(Clone, Debug)]
pub enum Record {
    /// Preference and exchange; `.` is the root.
    Mx(u16, String),
    /// An address.
    A(Ipv4Addr),
    /// A text of any length.
    Txt(String),
    /// The name it is an alias of.
    Cname(String),
}

/// An MX record with preference 10.
pub fn mx(exchange: &str) -> Answer {
    Answer::Records(vec![Record::Mx(10, exchange.to_owned())])
}

/// A null MX (RFC 7505).
pub fn null_mx() -> Answer {
    Answer::Records(vec![Record::Mx(0, ".".to_owned())])
}

/// A TXT record.
pub fn txt(text: &str) -> Answer {
    Answer::Records(vec![Record::Txt(text.to_owned())])
}

/// The server; it ends when it is dropped.
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

struct State {
    table: HashMap<String, Answer>,
    otherwise: Answer,
    ttl: u32,
    asked: HashMap<String, usize>,
}

impl DnsServer {
    /// Answers these names on a port of its own, with a TTL of five minutes.
    pub fn start<'a>(table: impl IntoIterator<Item = (&'a str, Answer)>) -> DnsServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout is no zero");
        let address = socket.local_addr().expect("it is bound");
        let table = table.into_iter().map(|(name, answer)| (name.to_owned(), answer)).collect();
        let state = State { table, otherwise: Answer::NoSuchName, ttl: 300, asked: HashMap::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), stop: AtomicBool::new(false) });
        let served = shared.clone();
        let thread = Some(thread::spawn(move || serve(&socket, &served)));
        DnsServer { address, shared, thread }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers a name differently from now on.
    pub fn set(&self, name: &str, answer: Answer) {
        self.state().table.insert(name.to_owned(), answer);
    }

    /// Answers names that are not in the table so.
    pub fn otherwise(&self, answer: Answer) {
        self.state().otherwise = answer;
    }

    /// The TTL of all answers, in seconds.
    pub fn ttl(&self, seconds: u32) {
        self.state().ttl = seconds;
    }

    /// Questions about a name so far; a client that waited too long asked more than once.
    pub fn asked(&self, name: &str) -> usize {
        self.state().asked.get(name).copied().unwrap_or(0)
    }

    /// Different names asked so far.
    pub fn names_asked(&self) -> usize {
        self.state().asked.len()
    }

    /// Questions so far.
    pub fn questions(&self) -> usize {
        self.state().asked.values().sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("the server did not panic")
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut octets = [0; 4096];
    while !shared.stop.load(Relaxed) {
        let Ok((length, client)) = socket.recv_from(&mut octets) else { continue };
        let Some(question) = read_question(&octets[..length]) else { continue };
        let answer = {
            let mut state = shared.state.lock().expect("the test did not panic with it");
            *state.asked.entry(question.name.clone()).or_default() += 1;
            let answer = state.table.get(&question.name).unwrap_or(&state.otherwise);
            write_answer(&octets[..length], &question, answer, state.ttl)
        };
        if let Some(answer) = answer {
            // A client that is gone does not matter.
            let _ = socket.send_to(&answer, client);
        }
    }
}

struct Question {
    /// In lower case, without the dot at its end.
    name: String,
    kind: u16,
    /// Where the question ends in the message.
    end: usize,
}

/// The single question of a query; none for anything else.
fn read_question(message: &[u8]) -> Option<Question> {
    let flags = message.get(2)?;
    let questions = message.get(4..6)?;
    if flags & 0x80 != 0 || questions != [0, 1] {
        return None;
    }
    let mut labels = Vec::new();
    let mut place = 12;
    loop {
        match usize::from(*message.get(place)?) {
            0 => break,
            length @ 1..=63 => {
                let label = message.get(place + 1..place + 1 + length)?;
                labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
                place += 1 + length;
            }
            _ => return None,
        }
        if place - 12 >= NAME_OCTETS {
            return None;
        }
    }
    let kind = message.get(place + 1..place + 3)?;
    message.get(place + 3..place + 5)?;
    Some(Question { name: labels.join("."), kind: u16::from_be_bytes([kind[0], kind[1]]), end: place + 5 })
}

fn write_answer(query: &[u8], question: &Question, answer: &Answer, ttl: u32) -> Option<Vec<u8>> {
    let (code, records) = match answer {
        Answer::Silence => return None,
        Answer::Code(code) => (*code, [].as_slice()),
        Answer::NoSuchName => (3, [].as_slice()),
        Answer::Records(records) => (0, records.as_slice()),
    };
    let told: Vec<_> =
        records.iter().map(write_record).filter(|(kind, _)| [question.kind, CNAME].contains(kind)).collect();
    let negative = told.is_empty() && matches!(code, 0 | 3);
    let mut message = query[..question.end].to_vec();
    // Response, recursion desired and available.
    message[2..4].copy_from_slice(&[0x81, 0x80 | code & 0x0f]);
    let answers = u16::try_from(told.len()).expect("a short table");
    message[6..8].copy_from_slice(&answers.to_be_bytes());
    message[8..12].copy_from_slice(&[0, u8::from(negative), 0, 0]);
    if negative {
        // RFC 2308 §5: the SOA record's TTL and last number say how long the answer holds.
        let numbers = [1, 3600, 600, 86_400, ttl].map(u32::to_be_bytes).concat();
        push_record(&mut message, SOA, ttl, &[&[0, 0], numbers.as_slice()].concat());
    }
    for (kind, data) in told {
        push_record(&mut message, kind, ttl, &data);
    }
    if message.len() > MESSAGE_OCTETS {
        message.truncate(question.end);
        message[2] |= 0x02;
        message[6..8].copy_from_slice(&[0, 0]);
    }
    Some(message)
}

/// A record of the name in question, to which its own name points.
fn push_record(message: &mut Vec<u8>, kind: u16, ttl: u32, data: &[u8]) {
    message.extend([0xc0, 12]);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message.extend(ttl.to_be_bytes());
    message.extend(u16::try_from(data.len()).expect("a short record").to_be_bytes());
    message.extend(data);
}

fn write_record(record: &Record) -> (u16, Vec<u8>) {
    match record {
        Record::Mx(preference, exchange) => (MX, [preference.to_be_bytes().to_vec(), write_name(exchange)].concat()),
        Record::A(address) => (A, address.octets().to_vec()),
        Record::Cname(name) => (CNAME, write_name(name)),
        Record::Txt(text) => {
            let piece = |piece: &[u8]| [&[u8::try_from(piece.len()).expect("255 at most")], piece].concat();
            (TXT, text.as_bytes().chunks(255).flat_map(piece).collect())
        }
    }
}

fn write_name(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets
            .push(u8::try_from(label.len()).ok().filter(|length| *length < 64).expect("a label of 63 octets at most"));
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}
