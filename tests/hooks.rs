//! `[[hook]]` with a daemon that runs: what is told, in which order, over which kinds of trouble, and that mail never
//! waits for it.

// Shared with other tests, which use more of it.
#![allow(dead_code)]

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/dialogue.rs"]
mod dialogue;
#[path = "common/mta.rs"]
mod mta;
#[path = "hooks/receiver.rs"]
mod receiver;
#[path = "common/rig.rs"]
mod rig;
#[path = "common/smtp.rs"]
mod smtp;

use daemon::Daemon;
use dialogue::Dialogue;
use receiver::{Answer, Receiver, SECRET};
use rig::within;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon, and room for what its hooks need.
struct Place {
    directory: TempDir,
    daemon: Daemon,
}

impl Place {
    fn new(hooks: impl Fn(&Path) -> String) -> Place {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let secret = directory.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).expect("writable");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o640)).expect("ours");
        let milter = directory.path().join("milter.sock");
        let daemon = Daemon::prepare(directory.path(), &milter, &sections(&hooks(directory.path())));
        Place { directory, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Has the daemon take over other hooks.
    fn reload(&self, hooks: &str) {
        self.configure(hooks);
        let before = self.counter("reload");
        self.daemon.reload();
        within(PATIENCE, || match self.counter("reload") > before {
            true => Ok(()),
            false => Err("not reloaded".to_owned()),
        });
    }

    fn configure(&self, hooks: &str) {
        drop(Daemon::prepare(self.directory.path(), &self.path("milter.sock"), &sections(hooks)));
    }

    fn counter(&self, name: &str) -> u64 {
        self.daemon.ask(&["status"])["counters"][name].as_u64().expect("a number")
    }

    fn reactivate(&self, address: &str) {
        let output = self.daemon.ctl(&["reactivate", address, "--reason", "asked by telephone"]);
        assert!(output.status.success(), "{}", daemon::said(&output));
    }

    /// The ids of the notices that the events come to, which here are all about contacts not suppressed before.
    fn expected(&self) -> Vec<String> {
        let events = self.daemon.ask_lines(&["events"]);
        let id = |event: &Value| {
            let word = match event["event"].as_str() {
                Some("suppress") => "suppress",
                Some("reactivate") => "release",
                other => panic!("{other:?}"),
            };
            format!("{}-{word}", event["id"].as_str().expect("an event has an id"))
        };
        events.iter().map(id).collect()
    }

    fn hook(&self, name: &str) -> Value {
        let hooks = self.daemon.ask_lines(&["hooks"]);
        hooks.into_iter().find(|hook| hook["name"] == name).unwrap_or_else(|| panic!("no hook {name}"))
    }
}

/// The hooks stand in a section, as far as `Daemon::prepare` is concerned.
fn sections(hooks: &str) -> String {
    format!("[policy]\nsettle_days = 6\n{hooks}")
}

fn posts(name: &str, directory: &Path, receiver: &Receiver, more: &str) -> String {
    let (url, secret) = (receiver.url(), directory.join("secret"));
    let on = "on = [\"suppress\", \"release\", \"complaint\"]";
    let on = if more.contains("on = ") { "" } else { on };
    format!("[[hook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = \"{}\"\n{on}\n{more}\n", secret.display())
}

fn runs(name: &str, script: &str, more: &str) -> String {
    format!(
        "[[hook]]\nname = \"{name}\"\ncommand = [\"/bin/sh\", \"-c\", '{script}']\non = [\"suppress\", \"release\"]\n{more}\n"
    )
}

fn wait_for(receiver: &Receiver, want: &[String]) {
    within(PATIENCE, || {
        let ids = receiver.ids();
        if ids == want { Ok(()) } else { Err(format!("taken are {ids:#?}, wanted {want:#?}")) }
    });
}

#[test]
fn what_is_recorded_is_told_in_order_over_failures_and_kills() {
    let receiver = Receiver::start();
    let mut place = Place::new(|_| String::new());
    place.daemon.start();
    place.daemon.suppress("before@example.org");
    place.daemon.stop();
    let hooks = posts("crm", place.directory.path(), &receiver, "");
    place.configure(&hooks);
    place.daemon.start();
    receiver.answer(&[Answer::Status(500), Answer::Status(429)], Answer::Status(200));
    for number in 0..5 {
        place.daemon.suppress(&format!("c{number}@example.org"));
    }
    place.reactivate("c0@example.org");
    place.daemon.suppress("c0@example.org");
    // What was there before the hook is not told.
    let want = || place.expected()[1..].to_vec();
    wait_for(&receiver, &want());
    assert_eq!(receiver.refused(), 2);
    let taken = receiver.taken();
    assert_eq!(taken.len(), 7, "each once, as nothing was killed");
    assert_eq!((&taken[5]["type"], &taken[5]["state"]), (&"release".into(), &"active".into()));
    assert_eq!(taken[6]["event"]["reason"], "asked by telephone");
    assert_eq!(taken[6]["contact"], "c0@example.org");

    // Nobody takes anything while this is recorded, and the daemon is killed over and over.
    receiver.answer(&[], Answer::Status(503));
    for number in 5..10 {
        place.daemon.suppress(&format!("c{number}@example.org"));
        place.daemon.kill();
        place.daemon.start();
    }
    within(PATIENCE, || match place.hook("crm")["waiting"]["error"].as_str() {
        Some("answered 503 Service Unavailable: why?") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    place.daemon.kill();
    receiver.answer(&[], Answer::Status(200));
    place.daemon.start();
    let want = place.expected()[1..].to_vec();
    wait_for(&receiver, &want);

    // Killed in the middle of telling.
    for number in 10..30 {
        place.daemon.suppress(&format!("c{number}@example.org"));
        if number % 4 == 0 {
            place.daemon.kill();
            place.daemon.start();
        }
    }
    let want = place.expected()[1..].to_vec();
    wait_for(&receiver, &want);
    let repeated = receiver.taken().len() - want.len();
    assert!(repeated <= 5 + 6, "{repeated} were told again, for 11 kills");
}

#[test]
fn a_program_that_hangs_is_killed_and_holds_up_neither_other_hooks_nor_a_reload_nor_the_end() {
    let hangs = |directory: &Path| {
        let pids = directory.join("pids");
        runs("hangs", &format!("echo $$ >> {}; echo so far so good; sleep 600", pids.display()), "timeout_secs = 1")
    };
    let works = |directory: &Path| runs("works", &format!("cat >> {}", directory.join("told").display()), "");
    let mut place = Place::new(|directory| hangs(directory) + &works(directory));
    place.daemon.start();
    for number in 0..3 {
        place.daemon.suppress(&format!("c{number}@example.org"));
    }
    let told = || -> Vec<Value> {
        let text = std::fs::read_to_string(place.path("told")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a notice a line")).collect()
    };
    within(PATIENCE, || match told().len() {
        3 => Ok(()),
        count => Err(format!("{count} were told")),
    });
    let ids: Vec<String> = told().iter().map(|notice| notice["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids, place.expected());
    assert_eq!(told()[1]["hook"], "works");
    within(PATIENCE, || match place.hook("hangs")["waiting"]["attempts"].as_u64() {
        Some(2..) => Ok(()),
        other => Err(format!("{other:?} attempts")),
    });
    let hook = place.hook("hangs");
    assert_eq!(hook["waiting"]["error"], "not done within 1 seconds");
    assert_eq!((&hook["waiting"]["id"], &hook["delivered"]), (&ids[0].clone().into(), &0.into()));
    assert_eq!(place.hook("works")["delivered"], 3);

    // A longer time, so that it hangs while all else is asked for.
    let longer = hangs(place.directory.path()).replace("timeout_secs = 1", "timeout_secs = 300");
    let began = Instant::now();
    place.reload(&(longer.clone() + &works(place.directory.path())));
    assert!(began.elapsed() < Duration::from_secs(5), "the reload took {:?}", began.elapsed());
    let attempts = std::fs::read_to_string(place.path("pids")).expect("it ran").lines().count();
    within(PATIENCE, || match std::fs::read_to_string(place.path("pids")).expect("it ran").lines().count() {
        count if count > attempts => Ok(()),
        _ => Err("it was not tried again".to_owned()),
    });
    let began = Instant::now();
    place.daemon.stop();
    assert!(began.elapsed() < Duration::from_secs(8), "the end took {:?}", began.elapsed());
    let pids = std::fs::read_to_string(place.path("pids")).expect("it ran");
    for pid in pids.lines() {
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |stat| !stat.contains("(sh)") || stat.contains(") Z"))
        };
        within(PATIENCE, || if gone() { Ok(()) } else { Err(format!("process {pid} runs on")) });
    }
}

#[test]
fn mail_goes_on_while_a_server_never_answers() {
    let receiver = Receiver::start();
    receiver.answer(&[], Answer::Silence);
    let hooks = |directory: &Path| posts("crm", directory, &receiver, "timeout_secs = 300");
    let mut place = Place::new(hooks);
    place.daemon.start();
    place.daemon.suppress("gone@out.test");
    within(PATIENCE, || match place.hook("crm")["waiting"]["attempts"].as_u64() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?} attempts")),
    });
    let dialogue = Dialogue::read(
        "> CONNECT client.test 127.0.0.1 40112\n> HELO client.test\n> MAIL <news@in.test> SIZE=420\n\
         > RCPT <stays@out.test>\n> RCPT <gone@out.test>\n> DATA\n> CONTENT\n\
         \x20 | From: news@in.test\n  | List-ID: News <news.in.test>\n  | Message-ID: <1@in.test>\n  |\n  | Dear reader\n\
         < skip\n> END\n< delrcpt <gone@out.test>\n< continue\n> ABORT\n> QUIT\n",
    );
    let dialogue = dialogue.expect("a dialogue");
    let began = Instant::now();
    for _ in 0..20 {
        let stream = UnixStream::connect(place.path("milter.sock")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        dialogue.play(stream, |_| String::new()).expect("as without hooks");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for number in 0..20 {
        place.daemon.suppress(&format!("c{number}@example.org"));
    }
    let want = place.daemon.wait_for_events("suppress", 21).len();
    assert_eq!(place.hook("crm")["waiting"]["attempts"], 1, "it hangs on");
    assert_eq!(receiver.taken().len(), 0);

    // The operator mends it: what waits is told, in order, beginning with what was in hand.
    receiver.answer(&[], Answer::Status(200));
    place.reload(&posts("crm", place.directory.path(), &receiver, "timeout_secs = 5"));
    within(PATIENCE, || match receiver.ids().len() {
        count if count == want => Ok(()),
        count => Err(format!("{count} were told of {want}")),
    });
    let suppressed = place.daemon.wait_for_events("suppress", 21);
    let ids: Vec<String> =
        suppressed.iter().map(|event| format!("{}-suppress", event["id"].as_str().expect("an id"))).collect();
    assert_eq!(receiver.ids(), ids);
}

#[test]
fn alerts_are_told_when_they_are_raised_and_when_they_are_over() {
    let receiver = Receiver::start();
    let hooks = |directory: &Path| posts("pager", directory, &receiver, "on = [\"alert\"]");
    let mut place = Place::new(hooks);
    place.daemon.start();
    place.daemon.suppress("joe@example.org");
    place.configure("[nonsense]");
    place.daemon.reload();
    let alert = |place: usize| {
        within(PATIENCE, || receiver.taken().get(place).cloned().ok_or_else(|| "no alert was told".to_owned()))
    };
    let raised = alert(0);
    assert_eq!((&raised["type"], &raised["alert"]["open"]), (&"alert".into(), &true.into()));
    assert_eq!(raised["alert"]["code"], "config-not-reloaded");
    assert!(raised["alert"]["message"].as_str().is_some_and(|message| message.contains("nonsense")), "{raised}");
    // Told once, also over a restart by force; the new configuration cures it.
    place.configure(&hooks(place.directory.path()));
    place.daemon.kill();
    place.daemon.start();
    let over = alert(1);
    assert_eq!((&over["alert"]["code"], &over["alert"]["open"]), (&"config-not-reloaded".into(), &false.into()));
    assert_ne!(over["id"], raised["id"]);
    assert_eq!(receiver.taken().len(), 2, "nothing but alerts");
}

#[test]
fn a_hook_is_tried_listed_measured_and_forgotten() {
    let receiver = Receiver::start();
    let mut place = Place::new(|directory| posts("crm", directory, &receiver, "") + &runs("ok", "exit 0", ""));
    place.daemon.start();
    let tried = place.daemon.ask(&["hooks", "test", "crm"]);
    assert_eq!((&tried["delivered"], &tried["error"]), (&true.into(), &Value::Null), "{tried}");
    assert_eq!((&receiver.taken()[0]["type"], &receiver.taken()[0]["id"]), (&"test".into(), &tried["id"]));
    receiver.answer(&[], Answer::Status(404));
    let output = place.daemon.ctl(&["hooks", "test", "crm"]);
    assert_eq!(output.status.code(), Some(1), "{}", daemon::said(&output));
    assert!(daemon::said(&output).contains("answered 404 Not Found: why?"), "{}", daemon::said(&output));
    assert_eq!(place.daemon.ctl(&["hooks", "test", "ok"]).status.code(), Some(0));
    assert_eq!(place.daemon.ctl(&["hooks", "test", "no-such"]).status.code(), Some(1));

    // 410 Gone: that one is not told again, the next is.
    receiver.answer(&[Answer::Status(410)], Answer::Status(200));
    place.daemon.suppress("first@example.org");
    place.daemon.suppress("second@example.org");
    within(PATIENCE, || match place.hook("crm")["delivered"].as_u64() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?} were told")),
    });
    let hook = place.hook("crm");
    assert_eq!((&hook["given_up"], &hook["failed"], &hook["waiting"]), (&1.into(), &1.into(), &Value::Null));
    assert_eq!(receiver.taken().last().expect("one")["contact"], "second@example.org");
    assert!(hook["to"].as_str().is_some_and(|to| to.ends_with("/told")), "without its query: {hook}");
    let listed = std::process::Command::new(env!("CARGO_BIN_EXE_backstopctl"))
        .arg("--socket")
        .arg(place.path("admin.sock"))
        .arg("hooks")
        .output()
        .expect("backstopctl was built");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.starts_with("HOOK ") && listed.lines().count() == 3, "{listed}");

    // One that is never taken holds up what follows, until an operator passes it over.
    assert_eq!(place.daemon.ctl(&["hooks", "skip", "crm", "--reason", "none"]).status.code(), Some(1), "nothing waits");
    receiver.answer(&[], Answer::Status(422));
    place.daemon.suppress("poison@example.org");
    within(PATIENCE, || match place.hook("crm")["waiting"]["error"].as_str() {
        Some("answered 422 Unprocessable Entity: why?") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let would = place.daemon.ask(&["hooks", "skip", "crm", "--reason", "a fault of theirs", "--dry-run"]);
    assert_eq!(would["dry_run"], true, "{would}");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(place.hook("crm")["waiting"]["id"], would["skipped"], "it still waits");
    let skipped = place.daemon.ask(&["hooks", "skip", "crm", "--reason", "a fault of theirs"]);
    receiver.answer(&[], Answer::Status(200));
    assert!(place.expected().contains(&skipped["skipped"].as_str().expect("an id").to_owned()), "{skipped}");
    place.daemon.suppress("behind@example.org");
    within(PATIENCE, || match receiver.taken().last().map(|last| last["contact"].clone()) {
        Some(contact) if contact == "behind@example.org" => Ok(()),
        other => Err(format!("the last is {other:?}")),
    });
    assert!(receiver.taken().iter().all(|notice| notice["contact"] != "poison@example.org"));

    // Taken out of the file it is forgotten; back in it, it begins anew.
    place.reload(&runs("ok", "exit 0", ""));
    assert_eq!(place.daemon.ask_lines(&["hooks"]).len(), 1);
    place.daemon.suppress("third@example.org");
    std::thread::sleep(Duration::from_millis(500));
    place.reload(&posts("crm", place.directory.path(), &receiver, ""));
    place.daemon.suppress("fourth@example.org");
    within(PATIENCE, || match receiver.taken().last().map(|last| last["contact"].clone()) {
        Some(contact) if contact == "fourth@example.org" => Ok(()),
        other => Err(format!("the last is {other:?}")),
    });
    assert!(receiver.taken().iter().all(|notice| notice["contact"] != "third@example.org"));
}

#[test]
fn a_complaint_that_comes_in_as_mail_is_told_and_so_is_what_it_suppresses() {
    let receiver = Receiver::start();
    let hooks = |directory: &Path| posts("crm", directory, &receiver, "") + "[authority]\naccept_unverified = true\n";
    let mut place = Place::new(hooks);
    place.daemon.start();
    let fixture = |name: &str| format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let output = place.daemon.ctl(&["ingest", &fixture("arf/base64-fields.eml")]);
    assert!(output.status.success(), "{}", daemon::said(&output));
    within(PATIENCE, || match receiver.taken().len() {
        2 => Ok(()),
        count => Err(format!("{count} were told")),
    });
    let taken = receiver.taken();
    let events = place.daemon.ask_lines(&["events"]);
    for (notice, word) in taken.iter().zip(["complaint", "suppress"]) {
        assert_eq!(notice["id"], format!("{}-{word}", events[0]["id"].as_str().expect("an id")));
        assert_eq!((&notice["type"], &notice["event"]), (&word.into(), &events[0]));
        assert_eq!((&notice["contact"], &notice["state"]), (&"joe@example.org".into(), &"active".into()));
        assert_eq!(notice["suppressions"][0]["scope"], "offers.shop.example.com");
    }
    assert_eq!(taken[1]["changed"], taken[1]["suppressions"]);
    assert!(taken[0].get("changed").is_none(), "a complaint by itself changes nothing");
}
