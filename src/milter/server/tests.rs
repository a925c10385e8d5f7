//! The server against a client of a few lines. What a judge is to do stands in the reverse path.

use super::*;
use crate::milter::negotiation::POSTFIX_OFFERS as OFFER;
use crate::milter::packet::Cutter;
use crate::milter::{Edit, ForwardPath, Limits, SmtpReply, Verdict};
use std::path::PathBuf;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Longest wait for anything in a test: a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the judge takes for a `<slow@x>`.
const SLOW: Duration = Duration::from_millis(2500);

struct TestJudge;
struct TestChooser;

impl Choose for TestChooser {
    fn interest(&self, transaction: &Transaction) -> Interest {
        assert_ne!(transaction.reverse_path, b"<panic-in-choice@x>", "as the test wants");
        Interest::Screening
    }

    fn refuse(&self, _: &Transaction, _: &ForwardPath) -> Option<SmtpReply> {
        None
    }
}

impl Judge for TestJudge {
    type Chooser = TestChooser;

    fn wanted(&self) -> Wanted {
        Wanted {
            answer_recipients: false,
            change_sender: false,
            change_headers: false,
            add_recipients: false,
            helo: false,
        }
    }

    fn begin(&self) -> TestChooser {
        TestChooser
    }

    async fn conclude(&self, _: TestChooser, _: Interest, transaction: &Transaction) -> Conclusion {
        match transaction.reverse_path.as_slice() {
            b"<slow@x>" => tokio::time::sleep(SLOW).await,
            b"<endless@x>" => std::future::pending().await,
            b"<panic@x>" => panic!("as the test wants"),
            _ => {}
        }
        let delete = |recipient: &ForwardPath| Edit::DeleteRecipient(recipient.argument.clone());
        let suppressed = transaction.recipients.iter().filter(|recipient| recipient.argument.starts_with(b"<no"));
        Conclusion { edits: suppressed.map(delete).collect(), verdict: Verdict::Continue }
    }

    fn overdue(&self, _: Interest, _: &Transaction) -> Conclusion {
        Conclusion { edits: Vec::new(), verdict: Verdict::Tempfail }
    }
}

struct Rig {
    server: Server,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Rig {
    async fn start() -> Rig {
        Rig::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Rig {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter.sock");
        let mut settings = Settings {
            listen: vec![ListenAddress::Unix(path.clone())],
            connections: 100,
            idle_timeout: PATIENCE,
            decision_timeout: PATIENCE,
            drain_timeout: PATIENCE,
            limits: Limits::default(),
            access: SocketAccess::default(),
        };
        change(&mut settings);
        let server = Server::start(settings, Arc::new(TestJudge)).await.unwrap();
        Rig { server, path, _directory: directory }
    }

    async fn client(&self) -> Client<UnixStream> {
        Client::new(UnixStream::connect(&self.path).await.unwrap()).await
    }

    /// Waits until no connection is open: a fault of one must not leave it behind.
    async fn is_deserted(&self) {
        let started = Instant::now();
        while self.server.connections() > 0 {
            assert!(started.elapsed() < PATIENCE, "{} connections are left open", self.server.connections());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

struct Client<S> {
    stream: S,
    cutter: Cutter,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    async fn new(stream: S) -> Client<S> {
        let mut client = Client { stream, cutter: Cutter::new(1 << 20) };
        client.says(&[OFFER]).await;
        assert!(client.hears().await.starts_with('O'));
        client
    }

    async fn says(&mut self, packets: &[&[u8]]) {
        let framed: Vec<u8> =
            packets.iter().flat_map(|data| [&(data.len() as u32).to_be_bytes()[..], data].concat()).collect();
        self.stream.write_all(&framed).await.unwrap();
    }

    /// The next answer; `closed` at the end of the connection.
    async fn hears(&mut self) -> String {
        loop {
            if let Some(packet) = self.cutter.next_packet().unwrap() {
                return packet.escape_ascii().to_string();
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read(self.cutter.space())).await;
            match read.expect("an answer in time") {
                Ok(0) | Err(_) => return "closed".to_owned(),
                Ok(count) => self.cutter.filled(count),
            }
        }
    }

    /// Tells a message from this sender to its last packet, all at once.
    async fn tells_message(&mut self, sender: &str) {
        let mail = [b"M", sender.as_bytes(), b"\0"].concat();
        self.says(&[b"DMi\x004XyZ\0", &mail, b"R<joe@x>\0", b"R<nobody@x>\0", b"LA\0 b\0", b"E"]).await;
    }

    async fn passes_a_message(&mut self) {
        self.tells_message("<news@x>").await;
        assert_eq!([self.hears().await, self.hears().await], [r"-<nobody@x>\x00", "c"]);
    }
}

#[tokio::test]
async fn several_messages_pass_on_one_connection() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    for _ in 0..3 {
        client.passes_a_message().await;
        client.says(&[b"A"]).await;
    }
    assert_eq!(rig.server.connections(), 1);
    client.says(&[b"A", b"Q"]).await;
    assert_eq!(client.hears().await, "closed");
    rig.is_deserted().await;
}

#[tokio::test]
async fn several_listeners_serve_at_once() {
    let tcp = ListenAddress::parse("inet:127.0.0.1:0").unwrap();
    let rig = Rig::with(|settings| settings.listen.push(tcp)).await;
    rig.client().await.passes_a_message().await;
    let ListenAddress::Inet(address) = rig.server.addresses()[1] else { panic!("the second is TCP") };
    Client::new(TcpStream::connect(address).await.unwrap()).await.passes_a_message().await;
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_is_named_and_the_others_are_let_go() {
    let rig = Rig::start().await;
    let other = rig.path.with_file_name("other.sock");
    let settings = Settings {
        listen: vec![ListenAddress::Unix(other.clone()), ListenAddress::Unix(rig.path.clone())],
        connections: 1,
        idle_timeout: PATIENCE,
        decision_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        limits: Limits::default(),
        access: SocketAccess::default(),
    };
    let problem = Server::start(settings, Arc::new(TestJudge)).await.unwrap_err();
    let want = format!("cannot listen on unix:{}: another program listens there", rig.path.display());
    assert_eq!(problem.to_string(), want);
    assert!(!other.exists());
}

#[tokio::test]
async fn a_decision_that_takes_long_is_said_to_be_under_way() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    client.tells_message("<slow@x>").await;
    let heard = [client.hears().await, client.hears().await, client.hears().await];
    assert_eq!(heard, ["p", r"-<nobody@x>\x00", "c"]);
}

#[tokio::test]
async fn a_decision_that_is_overdue_is_given_up_and_answered_and_the_connection_goes_on() {
    let rig = Rig::with(|settings| settings.decision_timeout = Duration::from_millis(50)).await;
    let mut client = rig.client().await;
    client.tells_message("<endless@x>").await;
    assert_eq!(client.hears().await, "t");
    client.passes_a_message().await;
}

#[tokio::test]
async fn a_panic_in_a_decision_is_answered_and_takes_nobody_down() {
    let rig = Rig::start().await;
    let (mut client, mut bystander) = (rig.client().await, rig.client().await);
    client.tells_message("<panic@x>").await;
    assert_eq!(client.hears().await, "t");
    client.passes_a_message().await;
    bystander.passes_a_message().await;
}

#[tokio::test]
async fn a_panic_elsewhere_costs_one_connection() {
    let rig = Rig::start().await;
    let (mut client, mut bystander) = (rig.client().await, rig.client().await);
    client.tells_message("<panic-in-choice@x>").await;
    assert_eq!(client.hears().await, "closed");
    bystander.passes_a_message().await;
    drop(bystander);
    rig.is_deserted().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_room_is_used_again() {
    let rig = Rig::with(|settings| settings.connections = 2).await;
    let (first, mut second) = (rig.client().await, rig.client().await);
    let mut third = UnixStream::connect(&rig.path).await.unwrap();
    let closed = tokio::time::timeout(PATIENCE, third.read(&mut [0; 16])).await.expect("closed in time");
    assert_eq!(closed.unwrap(), 0);
    second.passes_a_message().await;
    drop(first);
    while rig.server.connections() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.client().await.passes_a_message().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_for_too_long_is_closed() {
    let rig = Rig::with(|settings| settings.idle_timeout = Duration::from_millis(300)).await;
    let mut silent = UnixStream::connect(&rig.path).await.unwrap();
    let mut client = rig.client().await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(600) {
        client.passes_a_message().await; // whoever speaks is not idle
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
    assert_eq!(client.hears().await, "closed");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn what_cannot_be_read_closes_the_connection() {
    for (packet, why) in [
        (&b"\0\0\0\0"[..], "length zero"),
        (b"\0\x10\0\x01", "longer than the limit"),
        (b"\xff\xff\xff\xff", "as long as can be said"),
        (b"\0\0\0\x01X", "unknown command"),
        (b"\0\0\0\x02H1", "string without its NUL"),
        (b"\0\0\0\x05R<a>\0", "RCPT before MAIL"),
        (b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff", "a second negotiation"),
    ] {
        let rig = Rig::start().await;
        let mut client = rig.client().await;
        // The second one comes after a client.
        client.says(&[b"Ch\0U"]).await;
        client.stream.write_all(packet).await.unwrap();
        assert_eq!(client.hears().await, "closed", "{why}");
        rig.is_deserted().await;
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let rig = Rig::with(|settings| settings.idle_timeout = Duration::from_millis(200)).await;
    let mut client = rig.client().await;
    let piece = [&[0, 0, 0, 2, b'M', 0, 0, 0, 0, 1, b'E'][..], &[0, 0, 0, 1, b'A']].concat().repeat(2000);
    let started = Instant::now();
    while client.stream.write_all(&piece).await.is_ok() {
        assert!(started.elapsed() < PATIENCE, "the server keeps on reading");
    }
    rig.is_deserted().await;
}

#[tokio::test]
async fn a_stopping_server_finishes_the_message_in_hand_and_then_closes() {
    let rig = Rig::start().await;
    let (mut busy, mut quiet) = (rig.client().await, rig.client().await);
    busy.says(&[b"M<news@x>\0", b"R<nobody@x>\0"]).await;
    // That MAIL has been heard is known once the body is answered.
    busy.says(&[b"Btext"]).await;
    assert_eq!(busy.hears().await, "s");
    let Rig { server, path, _directory } = rig;
    let stopped = tokio::spawn(server.stop());
    assert_eq!(quiet.hears().await, "closed");
    assert!(UnixStream::connect(&path).await.is_err(), "it accepts nobody while it stops");
    assert!(!stopped.is_finished());
    busy.says(&[b"E"]).await;
    assert_eq!([busy.hears().await, busy.hears().await], [r"-<nobody@x>\x00", "c"]);
    busy.passes_a_message().await; // its SMTP session goes on, and Postfix would not come back within it
    assert_eq!(busy.hears().await, "closed");
    tokio::time::timeout(PATIENCE, stopped).await.expect("stopped in time").unwrap();
}

#[tokio::test]
async fn a_message_that_does_not_end_stops_no_server_from_stopping() {
    let rig = Rig::with(|settings| settings.drain_timeout = Duration::from_millis(100)).await;
    let (mut stuck, mut undecided) = (rig.client().await, rig.client().await);
    stuck.says(&[b"M<news@x>\0", b"Btext"]).await;
    assert_eq!(stuck.hears().await, "s");
    undecided.tells_message("<endless@x>").await;
    tokio::time::timeout(PATIENCE, rig.server.stop()).await.expect("stopped in time");
    assert_eq!(stuck.hears().await, "closed");
    assert_eq!([undecided.hears().await, undecided.hears().await], ["t", "closed"], "it is answered, and then closed");
}

#[tokio::test]
async fn a_server_that_is_dropped_lets_go_of_its_socket() {
    let rig = Rig::start().await;
    let Rig { server, path, _directory } = rig;
    drop(server);
    let started = Instant::now();
    while path.exists() {
        assert!(started.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_connection_between_messages_goes_on_in_the_next_server_and_one_in_a_message_when_that_is_answered() {
    let rig = Rig::start().await;
    let (mut quiet, mut busy) = (rig.client().await, rig.client().await);
    quiet.says(&[b"DCj\0mx.example.org\0", b"Chost\x004\x00\x19127.0.0.1\0", b"Hclient\0"]).await;
    quiet.passes_a_message().await;
    busy.says(&[b"M<news@x>\0", b"R<nobody@x>\0", b"Btext"]).await;
    assert_eq!(busy.hears().await, "s");
    let Rig { server, path, _directory } = rig;
    let stopped = tokio::spawn(server.stop_handing_over());
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!stopped.is_finished(), "a message is in hand");
    // What Postfix says meanwhile waits in the socket.
    quiet.says(&[b"M<news@x>\0", b"R<nobody@x>\0", b"E"]).await;
    busy.says(&[b"E"]).await;
    assert_eq!([busy.hears().await, busy.hears().await], [r"-<nobody@x>\x00", "c"]);
    let handed_over = tokio::time::timeout(PATIENCE, stopped).await.expect("stopped in time").unwrap();
    assert_eq!(handed_over.len(), 2);
    let over_the_wire = handed_over.into_iter().map(|HandedOver { stream, opening }| {
        let opening = Opening::from_octets(&opening.to_octets()).expect("it reads back");
        HandedOver { stream, opening }
    });
    let next_rig = Rig::start().await;
    let next = &next_rig.server;
    next.resume(over_the_wire.collect()).await;
    assert_eq!([quiet.hears().await, quiet.hears().await], [r"-<nobody@x>\x00", "c"]);
    for client in [&mut quiet, &mut busy] {
        client.says(&[b"A"]).await;
        client.passes_a_message().await;
    }
    assert_eq!(next.connections(), 2);
    assert!(UnixStream::connect(&path).await.is_err());
}

#[tokio::test]
async fn a_connection_whose_macros_were_read_ahead_of_their_command_waits_for_it() {
    let rig = Rig::start().await;
    let mut client = rig.client().await;
    client.says(&[b"DMi\x004XyZ12\0"]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopped = tokio::spawn(rig.server.stop_handing_over());
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.says(&[b"M<news@x>\0", b"E"]).await;
    assert_eq!(client.hears().await, "c");
    assert_eq!(tokio::time::timeout(PATIENCE, stopped).await.expect("stopped in time").unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_serves_says_so_to_who_looks_and_one_that_has_stopped_does_not() {
    let rig = Rig::with(|settings| settings.connections = 1).await;
    let _only = rig.client().await;
    let prober = rig.server.prober();
    assert!(prober.serves().await, "also when all places are taken");
    assert_eq!(rig.server.connections(), 1);
    rig.server.stop().await;
    assert!(!prober.serves().await);
}
