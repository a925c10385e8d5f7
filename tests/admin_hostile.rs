//! The admin socket before a crowd, and before people who mean harm: whatever they do, they get a clear answer or
//! none, the daemon stays small, and mail goes on.

// dialogues.rs uses the rest of it.
#[allow(dead_code)]
#[path = "common/mta.rs"]
mod mta;

use mta::{Mta, Origin, POSTFIX};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest wait for anything: a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(40);
/// Clients at once.
const CROWD: usize = 1000;

/// backstopd as a process of its own, so that its memory can be looked at.
struct Daemon {
    directory: TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Daemon {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name).display().to_string();
        let text = format!(
            "[milter]\nlisten = [\"unix:{}\"]\n[admin]\nsocket = \"{}\"\n[store]\npath = \"{}\"\n[rules]\n\
             directory = \"{}\"\n",
            at("milter.sock"),
            at("admin.sock"),
            at("store"),
            at("rules.d")
        );
        std::fs::write(directory.path().join("backstop.toml"), text).expect("our own directory");
        // Dies with the thread that runs the test, should that be killed.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_backstopd"), "--allow-root", "--config"])
            .arg(directory.path().join("backstop.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv(1), of util-linux, runs");
        let daemon = Daemon { directory, process };
        let deadline = Instant::now() + PATIENCE;
        for socket in ["admin.sock", "milter.sock"] {
            while UnixStream::connect(daemon.path(socket)).is_err() {
                assert!(Instant::now() < deadline, "backstopd does not serve {socket}");
                thread::sleep(Duration::from_millis(20));
            }
        }
        daemon
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path("admin.sock")).expect("backstopd listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Status and body of the answer to these octets.
    fn ask(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.connect();
        let _ = stream.write_all(request); // it may be refused before all of it is read
        answer(&mut stream)
    }

    /// Resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// One message to one recipient through the milter, and how long it took.
    fn mail(&self) -> Duration {
        let begun = Instant::now();
        let stream = UnixStream::connect(self.path("milter.sock")).expect("the milter listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut mta = Mta::new(stream, Origin::Smtp);
        mta.negotiate(POSTFIX).expect("negotiated");
        mta.event(b'C', b"localhost\x004\x00\x00127.0.0.1\0").expect("connected");
        mta.mail("<news@example.com>", &[]).expect("a sender");
        mta.rcpt("<joe@example.org>", &[]).expect("a recipient");
        mta.header(b"X-Campaign-ID", b"77").expect("a field");
        mta.body(b"hello\r\n").expect("a body");
        let last = mta.end_of_message().expect("an answer");
        let letter = last.last().map(|(letter, _)| *letter);
        assert!(matches!(letter, Some(b'a' | b'c')), "accepted: {letter:?}");
        begun.elapsed()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Status and body of what stands on a connection, up to its end.
fn answer(stream: &mut UnixStream) -> (u16, String) {
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn post(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn a_thousand_clients_at_once_are_all_answered_and_mail_goes_on() {
    let daemon = Daemon::start();
    let alone = daemon.mail();
    let before = daemon.memory();
    let slowest = thread::scope(|scope| {
        let crowd: Vec<_> = (0..CROWD).map(|_| scope.spawn(|| daemon.ask(STATUS).0)).collect();
        let mail: Vec<Duration> = (0..20).map(|_| daemon.mail()).collect();
        for (number, client) in crowd.into_iter().enumerate() {
            assert_eq!(client.join().expect("a thread that ends"), 200, "client {number}");
        }
        mail.into_iter().max().expect("twenty")
    });
    assert!(slowest < Duration::from_secs(5), "mail took {slowest:?} beside the crowd, {alone:?} alone");
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 64 << 10, "grew by {grown} KiB");
}

#[test]
fn a_thousand_that_say_nothing_keep_an_operator_waiting_for_seconds_only() {
    let daemon = Daemon::start();
    let before = daemon.memory();
    let mut silent: Vec<UnixStream> = (0..CROWD).map(|_| daemon.connect()).collect();
    // Half of them begin a request, octet by octet.
    for stream in silent.iter_mut().step_by(2) {
        let _ = stream.write_all(b"GET /v1/sta");
    }
    let mail = daemon.mail();
    let begun = Instant::now();
    assert_eq!(daemon.ask(STATUS).0, 200);
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(30), "an operator waited {waited:?}");
    assert!(mail < Duration::from_secs(5), "mail took {mail:?}");
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 64 << 10, "grew by {grown} KiB");
}

#[test]
fn a_request_whose_writer_closed_its_half_is_answered() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect();
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(answer(&mut stream).0, 200);
    // A body that ends too early is an error, and not taken for the whole.
    for target in ["/v1/check", "/v1/classify", "/v1/import"] {
        let mut stream = daemon.connect();
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[\"joe@example.org\"");
        stream.write_all(head.as_bytes()).expect("written");
        stream.shutdown(Shutdown::Write).expect("half closed");
        let (status, body) = answer(&mut stream);
        assert!(matches!(status, 0 | 400 | 408) || body.contains("broke off"), "{target}: {status}: {body}");
        assert!(!body.contains("\"imported\""), "{target}: {body}");
    }
    assert_eq!(daemon.ask(STATUS).0, 200);
}

#[test]
fn whoever_followed_and_went_gives_the_place_back() {
    let daemon = Daemon::start();
    for _ in 0..300 {
        let mut stream = daemon.connect();
        stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n").expect("written");
        let mut begun = [0; 15];
        stream.read_exact(&mut begun).expect("the head of an answer");
        assert_eq!(&begun, b"HTTP/1.1 200 OK");
    }
    assert_eq!(daemon.ask(STATUS).0, 200);
}

#[test]
fn a_hundred_megabytes_are_refused_before_they_are_in_memory() {
    let daemon = Daemon::start();
    let before = daemon.memory();
    let piece = vec![b' '; 1 << 20];
    for (target, chunked) in [("/v1/check", false), ("/v1/check", true), ("/v1/classify", true), ("/v1/activity", true)]
    {
        let mut stream = daemon.connect();
        let how = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 104857600" };
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\n{how}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("written");
        for _ in 0..100 {
            let written = match chunked {
                true => {
                    [b"100000\r\n", piece.as_slice(), b"\r\n"].iter().try_for_each(|octets| stream.write_all(octets))
                }
                false => stream.write_all(&piece),
            };
            if written.is_err() {
                break; // hung up on
            }
        }
        let (status, body) = answer(&mut stream);
        assert!(matches!(status, 0 | 413), "{target}: {status}: {body}");
        let grown = daemon.memory().saturating_sub(before);
        assert!(grown < 80 << 10, "{target}: grew by {grown} KiB");
    }
}

#[test]
fn what_cannot_be_read_is_told_as_such() {
    let daemon = Daemon::start();
    let deep = |octet: u8| [vec![octet; 200_000], b"1".to_vec()].concat();
    let suppress = "/v1/contacts/joe%40example.org/suppress";
    for (name, request, want) in [
        ("deep arrays", post("/v1/check", "", &deep(b'[')), 422),
        ("deep arrays of signs of life", post("/v1/activity", "", &deep(b'[')), 422),
        ("deep objects", post(suppress, "", &b"{\"reason\":".repeat(20_000)), 422),
        ("deep in a level", post("/v1/activity", "", &[b"{\"level\":".as_slice(), &deep(b'[')].concat()), 400),
        ("no JSON", post(suppress, "", b"{\"reason\": "), 400),
        ("no UTF-8", post(suppress, "", b"{\"reason\": \"\xff\xfe\"}"), 400),
        ("half a surrogate", post(suppress, "", b"{\"reason\": \"\\ud800\"}"), 400),
        ("a wrong type", post(suppress, "", b"{\"reason\": 5}"), 422),
        ("a number too large", post("/v1/contacts/joe%40example.org/limit", "", b"{}"), 405),
        ("a NUL", post("/v1/check", "", b"[\"a\\u0000b@example.org\"]"), 200),
        ("no UTF-8 in the path", post("/v1/contacts/%ff%fe/suppress", "", b"{}"), 400),
        ("a broken escape", post("/v1/contacts/%zz/suppress", "", b"{\"reason\": \"x\"}"), 422),
        ("a NUL in the path", post("/v1/contacts/a%00b%40example.org/suppress", "", b"{\"reason\": \"x\"}"), 422),
        (
            "a slash in the path",
            post("/v1/contacts/a%2Fb%40example.org/suppress?dry_run=1", "", b"{\"reason\": \"x\"}"),
            200,
        ),
        ("dots in the path", post("/v1/contacts/..%2F..%2Fetc/suppress", "", b"{\"reason\": \"x\"}"), 422),
        ("no UTF-8 in the query", post("/v1/check?list=%ff", "", b"[]"), 400),
        ("a parameter twice", post("/v1/check?list=a&list=b", "", b"[]"), 422),
    ] {
        let (status, body) = daemon.ask(&request);
        assert_eq!(status, want, "{name}: {body}");
        let json: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{name}: {error}: {body}"));
        if status != 200 {
            assert!(json["error"]["code"].is_string() && json["error"]["message"].is_string(), "{name}: {body}");
        }
    }
    // What is broken HTTP is answered by HTTP's own rules, without a body, as the description says.
    let long = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(20_000));
    for (octets, want) in [("GET /v1/status HTTP/1.1\r\nno field\r\n\r\n", 400), (long.as_str(), 431)] {
        let mut stream = daemon.connect();
        let _ = stream.write_all(octets.as_bytes());
        assert_eq!(answer(&mut stream), (want, String::new()));
    }
    // What is no HTTP at all is hung up on, or answered so.
    for octets in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET  HTTP/1.1\r\n\r\n", b"\r\n\r\n\r\n\r\nGET", &[b'A'; 100_000]]
    {
        let mut stream = daemon.connect();
        let _ = stream.write_all(octets);
        let _ = stream.shutdown(Shutdown::Write);
        let (status, _) = answer(&mut stream);
        assert!(status == 0 || (400..500).contains(&status), "{status}");
    }
    assert_eq!(daemon.ask(STATUS).0, 200);
}
