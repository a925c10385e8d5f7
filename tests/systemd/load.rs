//! Restarts and reloads while mail passes through a real Postfix.

use crate::manager::Manager;
use crate::rig::{Options, Rig, newsletter};
use nix::sys::signal::Signal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// SMTP sessions at once.
const SESSIONS: usize = 6;

/// Sends messages to ann and bob in several sessions until `meanwhile` returns. Gives how many were accepted; any other
/// answer fails the test. Each session sends `in_session` messages with a pause of so many milliseconds, then another
/// begins.
fn under_load(rig: &Rig, in_session: usize, pause: u64, meanwhile: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    let send = |session: usize| {
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            let mut client = rig.client();
            for _ in 0..in_session {
                let message = newsletter("c1", &format!("s{session}m{sent}"));
                let reply = client.send("bounce@bounces.test", &["ann@good.test", "bob@good.test"], &message);
                assert!(reply.accepted(), "session {session}, message {sent}: {reply:?}\n{}", rig.log());
                sent += 1;
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
        sent
    };
    let sent = std::thread::scope(|scope| {
        let send = &send;
        let sessions: Vec<_> = (0..SESSIONS).map(|session| scope.spawn(move || send(session))).collect();
        meanwhile();
        over.store(true, Ordering::Relaxed);
        sessions.into_iter().map(|session| session.join().expect("every message was accepted")).sum()
    });
    rig.wait_until_idle();
    sent
}

fn check(rig: &Rig, sent: usize) {
    let recipients = rig.sink.recipients();
    assert!(recipients.iter().all(|recipient| recipient == "bob@good.test"), "all were screened: {recipients:?}");
    assert_eq!(recipients.len(), sent, "none was lost, none came twice");
    assert!(!rig.log().contains("status=deferred"), "{}", rig.log());
}

#[test]
fn no_message_is_deferred_lost_or_unscreened_while_the_daemon_restarts_and_the_sockets_are_held() {
    let rig = Rig::with(Options { daemon_runs: false, ..Options::default() });
    let mut manager = Manager::listen(&rig.daemon, false);
    manager.start();
    rig.daemon.suppress("ann@good.test");
    let sent = under_load(&rig, 1, 0, || {
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(400));
            manager.stop();
            std::thread::sleep(Duration::from_millis(200));
            manager.start();
        }
    });
    assert!(sent > 50, "{sent} messages are no load");
    check(&rig, sent);
}

#[test]
fn sessions_of_many_messages_outlive_restarts_where_their_connections_are_kept() {
    let rig = Rig::with(Options { daemon_runs: false, ..Options::default() });
    let mut manager = Manager::listen(&rig.daemon, true);
    manager.start();
    rig.daemon.suppress("ann@good.test");
    let mut kept = 0;
    let sent = under_load(&rig, 20, 20, || {
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(300));
            manager.stop();
            kept += manager.kept();
            manager.start();
        }
    });
    assert!(kept >= SESSIONS, "{kept} descriptors were kept");
    check(&rig, sent);
}

#[test]
fn a_reload_under_load_screens_no_message_by_half_of_two_configurations() {
    let rig = Rig::with(Options { daemon_runs: false, ..Options::default() });
    let mut manager = Manager::listen(&rig.daemon, false);
    manager.start();
    rig.daemon.suppress("ann@good.test");
    let before = std::fs::read_to_string(rig.daemon.config()).expect("it was written");
    // Neither takes ann off: the one only records, the other sees no campaign. Half of each would take her off.
    let whole = [
        format!("mode = \"shadow\"\n{before}[outbound]\ncampaign_headers = [\"X-Campaign-ID\"]\n"),
        format!("mode = \"enforce\"\n{before}[outbound]\ncampaign_headers = [\"X-Nobody-Has-This\"]\n"),
        format!("mode = \"enforce\"\n{before}[outbound]\ncampaign_headers = [\"X-Campaign-ID\"\n"), // broken off
    ];
    let reload = |manager: &mut Manager, text: &str| {
        std::fs::write(rig.daemon.config(), text).expect("writable");
        manager.signal(Signal::SIGHUP);
        manager.hear_until("READY=1")
    };
    reload(&mut manager, &whole[0]);
    let sent = under_load(&rig, 5, 0, || {
        for number in 1..60 {
            reload(&mut manager, &whole[number % 3]);
        }
    });
    assert!(sent > 50, "{sent} messages are no load");
    let count = |recipient: &str| rig.sink.recipients().iter().filter(|one| *one == recipient).count();
    assert_eq!((count("ann@good.test"), count("bob@good.test")), (sent, sent));
    reload(&mut manager, &before);
    rig.send_campaign("c2", &["ann@good.test", "bob@good.test"]);
    assert_eq!(count("ann@good.test"), sent, "the whole of the first configuration takes her off");
}
