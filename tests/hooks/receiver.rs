//! A server on loopback that takes posts of hooks: checks each signature, and answers as it is told.

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// What the posts are signed with.
pub const SECRET: &str = "a secret of the tests";

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This status.
    Status(u16),
    /// Nothing, for as long as the test runs.
    Silence,
}

#[derive(Default)]
struct Seen {
    taken: Vec<Value>,
    refused: usize,
}

/// The server.
pub struct Receiver {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    answers: Arc<Mutex<(Vec<Answer>, Answer)>>,
}

impl Receiver {
    /// One that takes everything.
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let receiver =
            Receiver { port, seen: Arc::default(), answers: Arc::new(Mutex::new((Vec::new(), Answer::Status(200)))) };
        let (seen, answers) = (receiver.seen.clone(), receiver.answers.clone());
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = {
                    let mut answers = answers.lock().expect("nobody panics with it");
                    if answers.0.is_empty() { answers.1 } else { answers.0.remove(0) }
                };
                // A daemon that is killed breaks off in the middle.
                let Some(notice) = read(&stream) else { continue };
                let mut seen = seen.lock().expect("nobody panics with it");
                match answer {
                    Answer::Silence => silent.push(stream),
                    Answer::Status(status) => {
                        if status == 200 {
                            seen.taken.push(notice)
                        } else {
                            seen.refused += 1
                        }
                        let answer = format!("HTTP/1.1 {status} Told\r\nContent-Length: 4\r\n\r\nwhy?");
                        let _ = (&stream).write_all(answer.as_bytes());
                    }
                }
            }
        });
        receiver
    }

    /// Answers so from now on, after these.
    pub fn answer(&self, first: &[Answer], then: Answer) {
        *self.answers.lock().expect("nobody panics with it") = (first.to_vec(), then);
    }

    /// Where to post.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/told?by=backstop", self.port)
    }

    /// Every notice taken, in order.
    pub fn taken(&self) -> Vec<Value> {
        self.seen.lock().expect("nobody panics with it").taken.clone()
    }

    /// The ids of the notices taken, in order of their first coming, each once.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for notice in self.taken() {
            let id = notice["id"].as_str().expect("a notice has an id").to_owned();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// How many posts were answered otherwise.
    pub fn refused(&self) -> usize {
        self.seen.lock().expect("nobody panics with it").refused
    }
}

/// Reads a post; its signature, its id and its type must be right.
fn read(stream: &TcpStream) -> Option<Value> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket takes a time-out");
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|octets| *octets > 0)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    assert_eq!(head[0], "POST /told?by=backstop HTTP/1.1");
    let field = |name: &str| {
        let found =
            head.iter().find_map(|line| line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)));
        found.unwrap_or_else(|| panic!("no {name} in {head:?}")).1.to_owned()
    };
    let mut body = vec![0; field("content-length").parse().expect("a length")];
    reader.read_exact(&mut body).ok()?;
    let signature = field("backstop-signature");
    let (time, digits) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("t=...,v1=...");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    assert!(now.abs_diff(time.parse().expect("seconds")) < 60, "{signature}");
    let signed = [time.as_bytes(), b".", &body].concat();
    let want: String = hmac(SECRET.as_bytes(), &signed).iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(digits, want, "the signature");
    let notice: Value = serde_json::from_slice(&body).expect("the body is JSON");
    assert_eq!(notice["id"], field("backstop-event"));
    assert_eq!(notice["type"], field("backstop-type"));
    Some(notice)
}

/// RFC 2104, written out: the tests trust nothing that the program uses for it.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |by: u8| -> Vec<u8> {
        let octet = |place: usize| key.get(place).copied().unwrap_or(0) ^ by;
        (0..64).map(octet).collect()
    };
    let inner = Sha256::digest([padded(0x36), text.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}
