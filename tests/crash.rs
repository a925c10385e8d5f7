//! The daemon is killed with SIGKILL at random moments, a hundred times, while mail goes through a real Postfix.
//! What was acknowledged must be there afterwards, once: every report that an SMTP client or our own Postfix had a
//! 250 for, every suppression that backstopctl was told of; and every outgoing message must have arrived, once, as it
//! was sent.
//!
//! Postfix asks clients to come again while the daemon is down (`milter_default_action = tempfail`), so nothing passes
//! unscreened and the test can be strict.
//!
//! BACKSTOP_CRASH_SEED repeats the moments of a run, as far as the machine lets it; BACKSTOP_CRASH_KILLS is how many
//! kills.

// postfix.rs uses the rest of them.
#[allow(dead_code)]
#[path = "common/daemon.rs"]
mod daemon;
#[allow(dead_code)]
#[path = "common/rig.rs"]
mod rig;
#[allow(dead_code)]
#[path = "common/smtp.rs"]
mod smtp;

use backstop::policy::What;
use backstop::store::{Settings, Store, verify};
use rig::{Options, RETURN_PATH, Rig, newsletter, notification, within};
use smtp::Client;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const KILLS: usize = 100;
/// The daemon runs at most so long between two kills; of that, a random part.
const LONGEST_RUN: Duration = Duration::from_millis(700);
/// A message, report or request must have gone through by then, however often the daemon was killed meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);
/// What waited while the daemon was down is tried again soon, and never given up.
const POSTFIX: &[&str] = &["maximal_queue_lifetime = 1d", "bounce_queue_lifetime = 1d"];
const CONFIG: &str = "[return_path]\ndomains = [\"bounces.test\"]\n[outbound]\non_error = \"tempfail\"\n";

/// Random enough for moments, and the same for the same seed.
struct Moments(u64);

impl Moments {
    /// From BACKSTOP_CRASH_SEED, or a new one; told, so that a failure can be repeated.
    fn new() -> Moments {
        let given = std::env::var("BACKSTOP_CRASH_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let new = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) | 1;
        let seed = given.unwrap_or_else(new);
        println!("BACKSTOP_CRASH_SEED={seed}");
        Moments(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Where the load goes, and when it ends.
struct Load {
    smtp: u16,
    admin_socket: PathBuf,
    over: AtomicBool,
    /// Answers other than success: the kills were felt.
    put_off: AtomicUsize,
}

impl Load {
    /// Until the load is over, one after the other: makes something known under a number, tried until it is acknowledged.
    /// Gives the numbers acknowledged.
    fn go_on(&self, mut attempt: impl FnMut(usize) -> bool) -> usize {
        for number in 0.. {
            if self.over.load(Relaxed) {
                return number;
            }
            let since = Instant::now();
            while !attempt(number) {
                self.put_off.fetch_add(1, Relaxed);
                assert!(since.elapsed() < PATIENCE, "number {number} did not go through within {PATIENCE:?}");
                thread::sleep(Duration::from_millis(30));
            }
        }
        unreachable!("there are always more numbers")
    }

    /// Sends on an open session if there is one; one that was put off is over, as Postfix does not ask the milter again
    /// within it.
    fn send(&self, session: &mut Option<Client>, from: Option<&str>, to: &[&str], message: &[u8]) -> bool {
        let client = session.get_or_insert_with(|| match from {
            Some(address) => Client::connect_from(self.smtp, address),
            None => Client::connect(self.smtp),
        });
        let reverse_path = if from.is_some() { "" } else { RETURN_PATH };
        let reply = client.send(reverse_path, to, message);
        if !reply.accepted() {
            assert!((400..500).contains(&reply.code), "{to:?}: {reply:?}");
            *session = None;
        }
        reply.accepted()
    }

    /// Reports from another server, each about a recipient of its own.
    fn reports(&self, name: &str) -> usize {
        let mut session = None;
        self.go_on(|number| {
            let recipient = format!("{name}{number}@good.test");
            let report = notification(&recipient, "none.c0@shop.test", "5.1.1", "550 5.1.1 no such user");
            self.send(&mut session, Some("198.51.100.7"), &[RETURN_PATH], &report)
        })
    }

    /// Messages of a campaign, each with a Message-ID of its own, to one who accepts and one who does not exist.
    fn campaign(&self) -> usize {
        let mut session = None;
        self.go_on(|number| {
            let (good, hard) = (format!("reader{number}@good.test"), format!("gone{number}@hard.test"));
            self.send(&mut session, None, &[&good, &hard], &newsletter("c1", &format!("n{number}")))
        })
    }

    /// Suppresses contacts, each acknowledged by backstopctl, and then mails them with somebody who wants it.
    fn suppressions(&self) -> usize {
        let mut session = None;
        let mut suppressed = None;
        self.go_on(|number| {
            let contact = format!("left{number}@good.test");
            if suppressed != Some(number) {
                let mut backstopctl = Command::new(env!("CARGO_BIN_EXE_backstopctl"));
                backstopctl.arg("--socket").arg(&self.admin_socket);
                backstopctl.args(["suppress", &contact, "--reason", "asked by telephone"]);
                backstopctl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                if !backstopctl.status().expect("backstopctl was built").success() {
                    return false;
                }
                suppressed = Some(number);
            }
            let friend = format!("friend{number}@good.test");
            self.send(&mut session, None, &[&contact, &friend], &newsletter("c2", &format!("s{number}")))
        })
    }
}

#[test]
fn a_hundred_kills_under_load_lose_nothing_that_was_acknowledged() {
    let kills = std::env::var("BACKSTOP_CRASH_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"));
    let mut moments = Moments::new();
    let mut rig = Rig::with(Options { postfix: POSTFIX, config: CONFIG, ..Options::default() });
    let load = Load {
        smtp: rig.port("port_smtpd"),
        admin_socket: rig.daemon.admin_socket(),
        over: AtomicBool::new(false),
        put_off: AtomicUsize::new(0),
    };
    let begun = Instant::now();
    let acknowledged = thread::scope(|scope| {
        let _over = Over(&load.over);
        let threads = [
            scope.spawn(|| load.reports("a")),
            scope.spawn(|| load.reports("b")),
            scope.spawn(|| load.campaign()),
            scope.spawn(|| load.suppressions()),
        ];
        for _ in 0..kills {
            thread::sleep(Duration::from_millis(moments.below(LONGEST_RUN.as_millis() as u64)));
            rig.daemon.kill();
            // Some are killed again while they open the store, or before.
            if moments.below(8) == 0 {
                rig.daemon.begin();
                thread::sleep(Duration::from_millis(moments.below(150)));
                rig.daemon.kill();
            }
            rig.daemon.start();
            let failed = threads.iter().any(thread::ScopedJoinHandle::is_finished);
            assert!(!failed, "a part of the load gave up; what is said above tells why");
        }
        load.over.store(true, Relaxed);
        threads.map(|thread| thread.join().expect("the load came to its end"))
    });
    let [a, b, messages, suppressions] = acknowledged;
    println!(
        "{kills} kills within {:?}: {} reports and {suppressions} suppressions acknowledged, {} messages accepted, {} \
         attempts put off",
        begun.elapsed(),
        a + b + messages,
        messages + suppressions,
        load.put_off.load(Relaxed)
    );
    for (what, count) in [("a", a), ("b", b), ("messages", messages), ("suppressions", suppressions)] {
        assert!(count * 2 >= kills, "{what}: only {count}: that was no load");
    }
    assert!(load.put_off.load(Relaxed) > 0, "no kill was felt");
    // Notifications that could not be recorded are made anew, until they are.
    within(Duration::from_secs(90), || {
        rig.queued().or_else(|| rig.queued()).map_or(Ok(()), |file| Err(format!("queued: {}", file.display())))
    });
    rig.daemon.stop();

    let mut expected: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for (name, count) in [("a", a), ("b", b)] {
        expected.extend((0..count).map(|number| (format!("{name}{number}@good.test"), (1, "bounce"))));
    }
    expected.extend((0..messages).map(|number| (format!("gone{number}@hard.test"), (1, "bounce"))));
    assert_reports(&rig, &expected, suppressions);
    assert_mail(&rig, messages, suppressions);
}

/// Ends the load also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Opens the store and compares.
fn assert_reports(rig: &Rig, expected: &BTreeMap<String, (usize, &str)>, suppressions: usize) {
    let path = rig.daemon.store();
    let settings = Settings { path, cache_bytes: 16 << 20, evidence_days: 400, ledger_days: 35 };
    let mut findings = Vec::new();
    verify::verify(&settings, &mut |finding| findings.push(finding), &mut |_| {}).expect("the store can be read");
    assert!(findings.is_empty(), "{findings:?}");
    let store = Store::open(&settings).expect("the store opens by itself");
    let events = store.events_after(None, usize::MAX).expect("it can be read");
    assert!(events.windows(2).all(|two| two[0].id < two[1].id), "ids are in order, each given once");
    let mut found: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    let mut suppressed: BTreeMap<String, usize> = BTreeMap::new();
    for event in &events {
        let Some(address) = &event.address else { continue };
        match &event.what {
            What::Response { response, .. } => {
                let (count, kind) = found.entry(address.to_string()).or_default();
                (*count, *kind) = (*count + 1, response.kind.as_str());
            }
            What::Suppress { .. } => *suppressed.entry(address.to_string()).or_default() += 1,
            _ => {}
        }
    }
    let differ: Vec<_> = expected.iter().filter(|(address, want)| found.get(*address) != Some(want)).collect();
    assert!(differ.is_empty(), "of {} acknowledged reports, not on record once: {differ:?}", expected.len());
    let strangers: Vec<_> = found.keys().filter(|address| !expected.contains_key(*address)).collect();
    assert!(strangers.is_empty(), "on record, and never sent: {strangers:?}");
    for number in 0..suppressions {
        // backstopctl is asked again where the daemon was killed before it answered, and then records it again.
        assert!(suppressed.contains_key(&format!("left{number}@good.test")), "suppression {number} is lost");
    }
    store.close().expect("it closes");
}

/// Compares what the server behind Postfix got with what was accepted.
fn assert_mail(rig: &Rig, messages: usize, suppressions: usize) {
    let mut sent: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for number in 0..messages {
        sent.insert(format!("reader{number}@good.test"), newsletter("c1", &format!("n{number}")));
    }
    for number in 0..suppressions {
        sent.insert(format!("friend{number}@good.test"), newsletter("c2", &format!("s{number}")));
    }
    let mut got: BTreeMap<String, usize> = BTreeMap::new();
    for received in rig.sink.messages() {
        assert_eq!(received.reverse_path, RETURN_PATH, "{received:?}");
        for recipient in &received.forward_paths {
            let message = sent.get(recipient).unwrap_or_else(|| panic!("{recipient} must not be mailed: {received:?}"));
            assert!(received.message.ends_with(message), "{recipient}: not as it was sent: {received:?}");
            *got.entry(recipient.clone()).or_default() += 1;
        }
    }
    let differ: Vec<_> = sent.keys().filter(|recipient| got.get(*recipient) != Some(&1)).collect();
    assert!(differ.is_empty(), "not mailed once: {differ:?}");
    assert_eq!(rig.mailbox("bounces").len(), 0, "every notification was read, none passed by");
}
