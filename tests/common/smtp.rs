//! Both ends of an SMTP conversation, for tests: a client that says exactly what it is told, and a server that
//! keeps every message octet for octet. On 127.0.0.1 only.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for the other side of a connection.
const PATIENCE: Duration = Duration::from_secs(40);

/// One SMTP reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The text of all lines.
    pub text: String,
}

impl Reply {
    /// Whether the command succeeded.
    pub fn accepted(&self) -> bool {
        self.code < 400
    }
}

/// An SMTP session with Postfix. Postfix opens one milter connection for it.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and says EHLO.
    pub fn connect(port: u16) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("Postfix listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        let mut client = Client { stream: BufReader::new(stream) };
        let greeting = client.reply();
        assert!(greeting.accepted(), "greeting: {greeting:?}");
        let hello = client.command("EHLO client.test");
        assert!(hello.accepted(), "EHLO: {hello:?}");
        client
    }

    /// Connects as a client from the world outside, by Postfix's XCLIENT.
    pub fn connect_from(port: u16, address: &str) -> Client {
        let mut client = Client::connect(port);
        let xclient = client.command(&format!("XCLIENT ADDR={address} NAME=mx.elsewhere.test"));
        assert!(xclient.accepted(), "XCLIENT: {xclient:?}");
        let hello = client.command("EHLO mx.elsewhere.test");
        assert!(hello.accepted(), "EHLO: {hello:?}");
        client
    }

    /// Sends one message. The reply is the first refusal, or the one to the end of the message.
    pub fn send(&mut self, reverse_path: &str, forward_paths: &[&str], message: &[u8]) -> Reply {
        let mut commands = vec![format!("MAIL FROM:<{reverse_path}>")];
        commands.extend(forward_paths.iter().map(|forward_path| format!("RCPT TO:<{forward_path}>")));
        commands.push("DATA".to_owned());
        for line in commands {
            let reply = self.command(&line);
            if !reply.accepted() {
                self.command("RSET");
                return reply;
            }
        }
        let mut octets = Vec::with_capacity(message.len() + 64);
        for line in message.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                octets.push(b'.');
            }
            octets.extend_from_slice(line);
        }
        assert!(octets.ends_with(b"\r\n"), "a message ends with CRLF");
        octets.extend_from_slice(b".\r\n");
        self.stream.get_mut().write_all(&octets).expect("Postfix reads");
        self.reply()
    }

    /// Says one line and reads the reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("Postfix reads");
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("Postfix answers in time");
            let code = line.get(..3).and_then(|digits| digits.parse().ok());
            let code = code.unwrap_or_else(|| panic!("no SMTP reply: {line:?} after {text:?}"));
            text.push_str(line.get(4..).unwrap_or_default().trim_end());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Reply { code, text };
            }
            text.push('\n');
        }
    }
}

/// A message as a [`Sink`] got it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Received {
    /// The argument of MAIL FROM, without brackets.
    pub reverse_path: String,
    /// The arguments of RCPT TO, without brackets, in order.
    pub forward_paths: Vec<String>,
    /// What stood behind each of them.
    pub parameters: Vec<String>,
    /// The message with CRLF, without dot-stuffing.
    pub message: Vec<u8>,
}

impl Received {
    /// The message as text, for looking into.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.message).into_owned()
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(2000).collect();
        write!(f, "from <{}> to {:?}:\n{text}", self.reverse_path, self.forward_paths)
    }
}

#[derive(Default)]
struct Kept {
    messages: Mutex<Vec<Received>>,
    arrived: Condvar,
    stop: AtomicBool,
}

/// An SMTP server that accepts everything and keeps it.
pub struct Sink {
    kept: Arc<Kept>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl Sink {
    /// Listens on a port that the kernel gives. `dsn`: announces that it sends notifications.
    pub fn start(dsn: bool) -> Sink {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let kept = Arc::new(Kept::default());
        let for_acceptor = Arc::clone(&kept);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if for_acceptor.stop.load(Ordering::Relaxed) {
                    return;
                }
                let kept = Arc::clone(&for_acceptor);
                std::thread::spawn(move || serve(stream, &kept, dsn));
            }
        });
        Sink { kept, address, acceptor: Some(acceptor) }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All messages so far, in order of arrival.
    pub fn messages(&self) -> Vec<Received> {
        self.kept.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until there are `count` messages and gives them.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        let deadline = Instant::now() + PATIENCE;
        let mut messages = self.kept.messages.lock().unwrap_or_else(PoisonError::into_inner);
        while messages.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited for {count} messages, {} came: {messages:#?}", messages.len());
            messages = self.kept.arrived.wait_timeout(messages, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        messages.clone()
    }

    /// All recipients of all messages, sorted.
    pub fn recipients(&self) -> Vec<String> {
        let mut recipients: Vec<String> =
            self.messages().into_iter().flat_map(|message| message.forward_paths).collect();
        recipients.sort();
        recipients
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.kept.stop.store(true, Ordering::Relaxed);
        // Wakes the acceptor, so that it sees the flag.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Serves one connection until it ends. Trouble ends it: the test then misses its message and says so.
fn serve(stream: TcpStream, kept: &Kept, dsn: bool) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let _ = stream.set_nodelay(true); // replies to pipelined commands go out one by one
    let mut stream = BufReader::new(stream);
    let say = |stream: &mut BufReader<TcpStream>, text: &str| stream.get_mut().write_all(text.as_bytes());
    if say(&mut stream, "220 sink.test ESMTP\r\n").is_err() {
        return;
    }
    let mut received = Received::default();
    let mut line = String::new();
    loop {
        line.clear();
        if !matches!(stream.read_line(&mut line), Ok(1..)) {
            return;
        }
        let command = line.trim_end();
        let answer = match command.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            // 8BITMIME, so that Postfix has no reason to convert anything.
            "EHLO" if dsn => "250-sink.test\r\n250-PIPELINING\r\n250-DSN\r\n250 8BITMIME\r\n",
            "EHLO" => "250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            "MAIL" => {
                received.reverse_path = path(command);
                "250 sender ok\r\n"
            }
            "RCPT" => {
                received.forward_paths.push(path(command));
                received.parameters.push(command.split_once('>').map_or("", |(_, rest)| rest.trim()).to_owned());
                "250 recipient ok\r\n"
            }
            "DATA" => {
                if say(&mut stream, "354 go on\r\n").is_err() {
                    return;
                }
                let Some(message) = read_message(&mut stream) else { return };
                received.message = message;
                let complete = std::mem::take(&mut received);
                kept.messages.lock().unwrap_or_else(PoisonError::into_inner).push(complete);
                kept.arrived.notify_all();
                "250 kept\r\n"
            }
            "QUIT" => {
                let _ = say(&mut stream, "221 bye\r\n");
                return;
            }
            _ => "250 ok\r\n",
        };
        if say(&mut stream, answer).is_err() {
            return;
        }
    }
}

/// What stands between the first `<` and the next `>`.
fn path(command: &str) -> String {
    let inner = command.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map(|(path, _)| path.to_owned()).unwrap_or_default()
}

fn read_message(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
