//! Octets of the store are not as they were written.

use crate::daemon::said;
use crate::rig::{Options, PATIENCE, Rig, within};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// So many make a log of several of sled's segments.
const CONTACTS: usize = 8000;

/// Postfix lets mail pass while the daemon is gone.
fn rig() -> Rig {
    Rig::with(Options { default_action: "accept", ..Options::default() })
}

/// A file beside the store.
fn beside(rig: &Rig, name: &str) -> PathBuf {
    rig.daemon.log().with_file_name(name)
}

fn cut(file: &Path, octets: u64) {
    File::options().write(true).open(file).and_then(|file| file.set_len(octets)).expect("the store is our own");
}

fn files(store: &Path, start: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(store).expect("the store is our own").map(|entry| entry.expect("readable").path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)));
    files.sort();
    files
}

/// Types what an operator reads, with the file he has.
fn shell(line: &str, file: &Path) {
    let line = line.replace("backstopctl", env!("CARGO_BIN_EXE_backstopctl"));
    let line = line.replace("FILE", &file.display().to_string());
    let ran = Command::new("sh").args(["-c", &line]).output().expect("sh runs");
    assert!(ran.status.success(), "{line}: {}", said(&ran));
}

#[test]
fn a_store_that_cannot_be_opened_is_said_with_the_way_back_and_that_way_leads_back() {
    let mut rig = rig();
    rig.daemon.suppress("ann@good.test");
    rig.send_campaign("c1", &["bob@hard.test"]);
    let backup = beside(&rig, "nightly.backup");
    let taken = rig.daemon.ctl(&["backup", backup.to_str().expect("our own name")]);
    assert!(taken.status.success(), "{}", said(&taken));
    rig.daemon.stop();
    cut(&rig.daemon.store().join("db"), 100);

    let gave_up = rig.daemon.run();
    let text = said(&gave_up);
    assert_eq!(gave_up.status.code(), Some(65), "starting again is of no use: {text}");
    assert!(text.contains("its file db is damaged") && !text.contains("panic"), "{text}");
    rig.send_campaign("c2", &["ann@good.test", "cat@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "cat@good.test"], "mail flows as Postfix was told");

    let stderr = String::from_utf8_lossy(&gave_up.stderr).into_owned();
    let way = stderr.split_once("the way back: ").and_then(|(_, rest)| rest.split_once(", with the newest backup"));
    shell(way.unwrap_or_else(|| panic!("no way back: {stderr}")).0, &backup);
    rig.daemon.start();
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced");
    rig.send_campaign("c3", &["ann@good.test", "bob@hard.test", "dan@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "cat@good.test", "dan@good.test"], "screened again");
}

#[test]
fn without_a_backup_what_was_exported_leads_back() {
    let mut rig = rig();
    rig.daemon.suppress("ann@good.test");
    rig.send_campaign("c1", &["bob@hard.test"]);
    let exported = beside(&rig, "suppressions");
    fs::write(&exported, rig.daemon.ctl(&["export"]).stdout).expect("our own directory");
    rig.daemon.stop();
    let db = rig.daemon.store().join("db");
    let length = fs::metadata(&db).expect("it is there").len();
    cut(&db, length / 2);
    let gave_up = rig.daemon.run();
    assert_eq!(gave_up.status.code(), Some(65), "{}", said(&gave_up));

    let store = rig.daemon.store();
    shell(&format!("mv {0} {0}.damaged", store.display()), &exported);
    rig.daemon.start();
    let line = format!("backstopctl --socket {} import FILE", rig.daemon.admin_socket().display());
    shell(&line, &exported);
    rig.send_campaign("c2", &["ann@good.test", "bob@hard.test", "dan@good.test"]);
    assert_eq!(rig.sink.recipients(), ["dan@good.test"]);
    assert_eq!(rig.delivery_attempts("bob@hard.test"), 1, "the first only");
}

#[test]
fn damage_beside_the_log_is_mended_by_itself_and_said() {
    let mut rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    // A snapshot is written when there is a log to tell of.
    rig.daemon.stop();
    rig.daemon.start();
    rig.daemon.suppress("bob@good.test");
    rig.daemon.stop();
    let store = rig.daemon.store();
    let snapshot = files(&store, "snap.").pop().expect("sled has made one");
    let spoil = |file: &Path| {
        let opened = File::options().write(true).open(file).expect("the store is our own");
        opened.write_all_at(b"\xffspoilt\xff", 3).expect("written");
    };
    spoil(&snapshot);
    spoil(&store.join("conf"));
    rig.daemon.start();
    let lines = rig.daemon.lines("event=store-damaged");
    assert!(!lines.is_empty(), "it is said");
    assert!(rig.daemon.alerts().contains(&"store-damaged".to_owned()));
    assert_eq!(files(&store, "damaged.").len(), 2, "what was spoilt is kept for whoever wants to see it");
    rig.send_campaign("c1", &["ann@good.test", "bob@good.test", "cat@good.test"]);
    assert_eq!(rig.sink.recipients(), ["cat@good.test"]);
    rig.daemon.stop();
    rig.daemon.start();
    assert_eq!(rig.daemon.alerts(), [""; 0], "and over with the next start");
}

#[test]
fn whatever_octets_change_the_daemon_refuses_clearly_or_serves_and_says_so() {
    let mut rig = rig();
    let list = beside(&rig, "list");
    let many: String = (0..CONTACTS).map(|number| format!("user{number}@good.test\n")).collect();
    fs::write(&list, many).expect("our own directory");
    let imported = rig.daemon.ctl(&["import", list.to_str().expect("our own name")]);
    assert!(imported.status.success(), "{}", said(&imported));
    rig.daemon.stop();
    rig.daemon.start();
    rig.daemon.stop();
    let store = rig.daemon.store();
    let good = store.with_file_name("good");
    let copy = |from: &Path, to: &Path| shell(&format!("rm -rf {1}; cp -a {0} {1}", from.display(), to.display()), to);
    copy(&store, &good);
    let length = fs::metadata(good.join("db")).expect("it is there").len();
    let (mut refused, mut whole, mut served_on) = (0, 0, 0);
    for round in 0..16_u64 {
        copy(&good, &store);
        let at = length * round / 16 + 1000;
        let db = File::options().write(true).open(store.join("db")).expect("the store is our own");
        db.write_all_at(&[0x5a; 64], at).expect("written");
        fs::remove_file(rig.daemon.log()).expect("our own directory");
        rig.daemon.begin();
        let ended = within(PATIENCE, || {
            let ready = !rig.daemon.lines("event=ready").is_empty();
            let ended = rig.daemon.ended();
            if ready || ended.is_some() { Ok(ended) } else { Err("neither serves nor ends".to_owned()) }
        });
        let log = fs::read_to_string(rig.daemon.log()).expect("a log");
        assert!(!log.contains("panicked"), "octet {at}: {log}");
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(65), "octet {at}: {log}");
            assert!(log.contains("damaged") && log.contains("backstopctl db"), "octet {at}: {log}");
            refused += 1;
            continue;
        }
        // What is read here may be what was changed.
        let listed = rig.daemon.ctl(&["list"]);
        let events = rig.daemon.ctl(&["events"]);
        let alerts = rig.daemon.alerts();
        if listed.status.success() && events.status.success() {
            let rows = String::from_utf8_lossy(&listed.stdout).lines().count();
            assert_eq!(rows, CONTACTS, "octet {at}: nobody is missing without a word");
            whole += 1;
        } else {
            assert!(alerts.contains(&"store-damaged".to_owned()), "octet {at}: {alerts:?}, {}", said(&listed));
            assert!(!rig.daemon.lines("event=store-damaged").is_empty(), "octet {at}");
            served_on += 1;
        }
        rig.send_campaign(&format!("c{round}"), &["ann@good.test"]);
        assert!(rig.daemon.lines("event=panic").is_empty(), "octet {at}");
        rig.daemon.kill();
    }
    println!("{refused} refused, {served_on} served with an alert, {whole} unharmed or mended");
    assert_eq!(rig.sink.messages().len(), whole + served_on);
    assert!(refused + served_on > 0, "nothing was hit");
}
