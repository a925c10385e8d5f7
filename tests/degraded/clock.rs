//! The clock of the machine jumps, ahead and back, by hours and by years, while the daemon runs.
//!
//! libfaketime (Debian's `faketime`) tells backstopd, and nobody else, another time; the monotonic clock stays true.

use crate::rig::{Options, PATIENCE, RETURN_PATH, Rig, newsletter, notification, within};
use backstop::ops::clock;
use backstop::store::{Send, Settings, Store};
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn libfaketime() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|place| place.path());
    places.map(|place| place.join("faketime/libfaketime.so.1")).find(|file| file.exists())
}

#[test]
fn whatever_the_clock_says_mail_flows_ids_are_in_order_and_nothing_is_let_go_of() {
    let Some(library) = libfaketime() else {
        println!("SKIPPED: scripts/install-deps installs Debian's faketime");
        return;
    };
    let mut rig = Rig::with(Options { daemon_runs: false, ..Options::default() });
    let clock = rig.daemon.log().with_file_name("clock");
    let set = |offset: &str| {
        // It is read at any time: it must never be half written.
        let next = clock.with_file_name("clock.next");
        std::fs::write(&next, format!("{offset}\n")).and_then(|()| std::fs::rename(&next, &clock)).expect("our own");
    };
    set("+0");
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.display());
    let options = ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];
    rig.daemon.start_through(&[&["env", &preload, &file], &options[..]].concat());
    rig.daemon.start();
    rig.daemon.suppress("ann@good.test");
    rig.send_campaign("c0", &["zoe@good.test"]);
    // Open over all the jumps: what times out goes by the monotonic clock.
    let mut session = rig.client();
    assert!(session.send(RETURN_PATH, &["bob@good.test"], &newsletter("c0", "session")).accepted());

    let offsets = ["+3y", "+0", "-3y", "+5h", "-5h", "+60y", "+0"];
    for (number, offset) in offsets.iter().enumerate() {
        set(offset);
        within(PATIENCE, || match rig.daemon.lines("event=clock-jumped").len() {
            seen if seen > number => Ok(()),
            seen => Err(format!("{offset}: {seen} jumps are told, this is one more")),
        });
        let (hard, campaign) = (format!("hard{number}@hard.test"), format!("c{}", number + 1));
        rig.send_campaign(&campaign, &["ann@good.test", &hard, "cat@good.test"]);
        assert_eq!(rig.daemon.responses(&hard).len(), 1, "{offset}");
        assert_eq!(rig.daemon.state(&hard), "bounced", "{offset}");
        assert!(
            session.send(RETURN_PATH, &["bob@good.test"], &newsletter(&campaign, "session")).accepted(),
            "{offset}"
        );
        let alerts = rig.daemon.alerts();
        assert!(alerts.contains(&"clock-jumped".to_owned()), "{offset}: {alerts:?}");
    }
    rig.wait_until_idle();
    let recipients = rig.sink.recipients();
    assert!(!recipients.contains(&"ann@good.test".to_owned()), "{recipients:?}");
    assert_eq!(recipients.iter().filter(|recipient| *recipient == "cat@good.test").count(), offsets.len());
    assert_eq!(recipients.iter().filter(|recipient| *recipient == "bob@good.test").count(), offsets.len() + 1);

    let report = notification("zoe@good.test", "hello.c0@shop.test", "5.1.1", "550 5.1.1 no such user");
    assert!(rig.client_from("198.51.100.7").send("", &[RETURN_PATH], &report).accepted());
    assert_eq!(rig.daemon.responses("zoe@good.test")[0]["authority"], "matched", "the ledger still knows the send");
    let ids = || -> Vec<String> {
        let events = rig.daemon.ask_lines(&["events"]);
        events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
    };
    let before = ids();
    assert!(before.len() > offsets.len() && before.windows(2).all(|two| two[0] < two[1]), "{before:?}");
    assert_eq!(rig.daemon.lines("panicked").len() + rig.daemon.lines("event=panic").len(), 0);
    assert_eq!(rig.daemon.lines("event=expire ").len(), 0);
    // A start with the clock decades behind the newest event.
    rig.daemon.stop();
    set("-3y");
    rig.daemon.start();
    rig.daemon.suppress("dan@good.test");
    let events = rig.daemon.ask_lines(&["events"]);
    let last = events.last().expect("it was recorded");
    assert_eq!((events.len(), &last["address"]), (before.len() + 1, &"dan@good.test".into()), "in its place: last");
    assert_eq!(rig.daemon.state("ann@good.test"), "suppressed");
}

#[test]
fn a_clock_far_ahead_at_the_start_lets_nothing_go_before_it_was_steady_for_a_day() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let store = Store::open(&Settings { path, cache_bytes: 16 << 20, evidence_days: 400, ledger_days: 35 });
    let store = store.expect("a new store");
    let now = Timestamp::now();
    let in_days = |days: i64| now + SignedDuration::from_hours(24 * days);
    let send = Send {
        message_id: backstop::mail::MessageId("m1@shop.test".to_owned()),
        at: now,
        campaign: None,
        list: None,
        recipients: vec![backstop::mail::Address::parse("ann@good.test").expect("an address")],
    };
    store.remember_send(send).expect("remembered");
    let new = backstop::store::NewEvent {
        at: now,
        address: Some(backstop::mail::Address::parse("ann@good.test").expect("an address")),
        queue_id: None,
        what: backstop::policy::What::Unreadable { problem: "x".to_owned(), excerpt: "words".to_owned() },
        content_key: None,
    };
    store.record_blocking(vec![new]).expect("recorded");
    within(PATIENCE, || match store.figures().waiting {
        0 => Ok(()),
        waiting => Err(format!("{waiting} are to be written")),
    });
    let soon = Duration::from_secs(300);
    for (days, watched_for, waits) in [
        (0, soon, false),
        (36, soon, false), // a day's sends: ordinary work
        (41, soon, false),
        (60, soon, true), // 25 days of sends at once
        (60, DAY, false), // the clock was right all day: the daemon was not run for long
        (3650, soon, true),
        (402, DAY, false),
    ] {
        let problem = clock::not_yet(&store, in_days(days), watched_for);
        assert_eq!(problem.is_some(), waits, "{days} days ahead, watched for {watched_for:?}: {problem:?}");
    }
    let expired = store.expire(in_days(60)).expect("expired");
    assert_eq!((expired.sends, expired.events), (1, 0));
    let problem = clock::not_yet(&store, in_days(500) + SignedDuration::from_hours(12), soon);
    assert!(problem.is_some_and(|problem| problem.contains("100 days")), "the words of reports wait likewise");
    store.close().expect("closed");
}
