//! Plays every dialogue of `tests/dialogues/` against the server with the real service and a store of its own;
//! then each of them again, cut at every octet and with every length a lie.

#[path = "common/dialogue.rs"]
mod dialogue;
#[path = "common/mta.rs"]
mod mta;

use backstop::mail::{Address, ListId, MessageId};
use backstop::milter::ListenAddress;
use backstop::milter::server::Server;
use backstop::ops::config::Config;
use backstop::ops::daemon;
use backstop::policy::{Scope, What, fold};
use backstop::service::Service;
use backstop::store::{NewEvent, Send, Store};
use dialogue::Dialogue;
use jiff::Timestamp;
use mta::{Mta, Origin, POSTFIX};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Longest wait for an answer: a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the dialogues are played against: a milter server on a Unix socket, over a store of its own.
struct Daemon {
    runtime: Runtime,
    server: Option<Server>,
    service: Arc<Service>,
    socket: PathBuf,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start(dialogue: &Dialogue) -> Daemon {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = directory.path().join("milter.sock");
        let mut config = Config::parse(Path::new("dialogue"), &dialogue.config).expect("a sound configuration");
        config.milter.listen = vec![ListenAddress::Unix(socket.clone())];
        config.store.path = directory.path().join("store");
        config.rules_directory = directory.path().join("rules.d");
        let store = Store::open(&config.store).expect("a new store");
        let runtime = Runtime::new().expect("a runtime");
        let suppressed = dialogue.suppressed.iter().map(suppress).collect();
        runtime.block_on(store.record(suppressed)).expect("a store that records");
        dialogue.sent.iter().for_each(|sent| store.remember_send(send(sent)).expect("room for a send"));
        let service = Arc::new(Service::new(store, daemon::in_force(&config).expect("the rules of the house")));
        let server = runtime.block_on(Server::start(config.milter, service.clone())).expect("a free socket");
        Daemon { runtime, server: Some(server), service, socket, _directory: directory }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("a server that listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// `bounced` or `suppressed` (by a person) for all mail, `active`, or `unknown`.
    fn state(&self, address: &str) -> String {
        let address = Address::parse(address).expect("an address");
        let Some(contact) = self.service.store().contact(&address).expect("a readable store") else {
            return "unknown".to_owned();
        };
        let in_force = self.service.in_force();
        let state = fold(&contact, &in_force.policy, Timestamp::now());
        let word = serde_json::to_value(state.state).expect("a state is a word");
        word.as_str().expect("a state is a word").to_owned()
    }

    /// Waits until no connection is open, and stops.
    fn stop_when_deserted(mut self) {
        let server = self.server.take().expect("stopped once");
        let started = Instant::now();
        while server.connections() > 0 {
            assert!(started.elapsed() < PATIENCE, "{} connections are left open", server.connections());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.runtime.block_on(server.stop());
    }
}

fn send((message_id, to): &(String, String)) -> Send {
    let recipients = vec![Address::parse(to).expect("an address")];
    Send { message_id: MessageId(message_id.clone()), at: Timestamp::now(), campaign: None, list: None, recipients }
}

fn suppress((address, list): &(String, Option<String>)) -> NewEvent {
    let scope = list.as_ref().map_or(Scope::System, |list| Scope::List(ListId(list.clone())));
    NewEvent {
        at: Timestamp::now(),
        address: Some(Address::parse(address).expect("an address")),
        queue_id: None,
        what: What::Suppress { scope, reason: "given".to_owned(), uid: 0 },
        content_key: None,
    }
}

fn dialogues() -> Vec<(String, Dialogue)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut dialogues = Vec::new();
    for entry in std::fs::read_dir(directory).expect("tests/dialogues is readable") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a dialogue is UTF-8");
        dialogues.push((name.clone(), Dialogue::read(&text).unwrap_or_else(|problem| panic!("{name}: {problem}"))));
    }
    dialogues.sort_by(|one, other| one.0.cmp(&other.0));
    assert!(dialogues.len() > 15, "found only {} dialogues", dialogues.len());
    dialogues
}

#[test]
fn every_dialogue_goes_as_written() {
    let mut failures = Vec::new();
    for (name, dialogue) in dialogues() {
        assert!(dialogue.has_an_end(), "{name} does not end with QUIT or closed");
        let daemon = Daemon::start(&dialogue);
        if let Err(problem) = dialogue.play(daemon.connect(), |address| daemon.state(address)) {
            failures.push(format!("{name}, {problem}"));
        }
        daemon.stop_when_deserted();
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What the MTA sends in a dialogue, and where each packet of it begins.
fn octets_of(dialogue: &Dialogue, daemon: &Daemon) -> (Vec<u8>, Vec<usize>) {
    let octets = dialogue.play(daemon.connect(), |address| daemon.state(address)).expect("played before");
    let (mut starts, mut place) = (Vec::new(), 0);
    while let Some(length) = octets.get(place..place + 4) {
        starts.push(place);
        place += 4 + u32::from_be_bytes(length.try_into().expect("four octets")) as usize;
    }
    (octets, starts)
}

/// Sends these octets and the end of the stream; whatever is answered, it ends, and in time.
fn ends_in_time(daemon: &Daemon, octets: &[u8], what: std::fmt::Arguments<'_>) {
    let mut stream = daemon.connect();
    // The milter may close before it has heard all of it.
    _ = stream.write_all(octets).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answers = Vec::new();
    if let Err(problem) = stream.read_to_end(&mut answers) {
        assert!(problem.kind() == std::io::ErrorKind::ConnectionReset, "{what}: {problem}");
    }
}

/// Peak of resident memory, from the kernel's books.
fn peak_kilobytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn every_dialogue_cut_at_every_octet_or_with_a_lying_length_ends_in_good_order() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));
    let mut peak = None;
    for (name, dialogue) in dialogues() {
        let daemon = Daemon::start(&dialogue);
        let (octets, starts) = octets_of(&dialogue, &daemon);
        // The first dialogue warms up what any connection takes.
        let before = *peak.get_or_insert_with(peak_kilobytes);
        for cut in (0..octets.len()).filter(|cut| octets.len() < 10_000 || starts.contains(cut) || cut % 1009 == 0) {
            ends_in_time(&daemon, &octets[..cut], format_args!("{name} cut at octet {cut}"));
        }
        for start in starts {
            let place = start..start + 4;
            let length = u32::from_be_bytes(octets[place.clone()].try_into().expect("four octets"));
            for lie in [
                0,
                length.wrapping_sub(1),
                length.wrapping_add(1),
                length.wrapping_add(5),
                1 << 20,
                (1 << 20) + 1,
                1 << 31,
                u32::MAX,
            ] {
                let mut lying = octets.clone();
                lying[place.clone()].copy_from_slice(&lie.to_be_bytes());
                ends_in_time(&daemon, &lying, format_args!("{name}, {length} octets at {start} called {lie}"));
            }
        }
        assert_eq!(PANICS.load(Ordering::Relaxed), 0, "{name}");
        let grown = peak_kilobytes().saturating_sub(before);
        assert!(grown < 100 << 10, "{name}: {grown} KiB more than before");
        let mut next = Mta::new(daemon.connect(), Origin::Smtp);
        next.negotiate(POSTFIX).expect("the server goes on");
        drop(next);
        daemon.stop_when_deserted();
    }
}
