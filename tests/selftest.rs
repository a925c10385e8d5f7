//! `backstopctl selftest` through a real Postfix: all is well, and each thing that may be wrong is named.
//!
//! Needs what `tests/postfix.rs` needs.

#[path = "common/daemon.rs"]
#[allow(dead_code)]
mod daemon;
#[path = "common/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "common/smtp.rs"]
#[allow(dead_code)]
mod smtp;

use backstop::authority::keys::new_key;
use daemon::said;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rig::{Options, Rig, within};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The line of main.cf that the manual asks for.
const ROUTE: &str = "transport_maps = inline:{ backstop-selftest.invalid=lmtp:unix:backstop/selftest.sock }";
const RETURN_PATH: &str = "[return_path]\ndomains = [\"bounces.test\"]\n";
/// The steps in which mail goes back and forth.
const MAILS: [&str; 8] = ["sent", "delivered", "bounce@", "soft@", "suppressed@", "sendmail", "complaint@", "ooto@"];

/// A rig with the route of the test domain and the directory of its socket.
fn rig(config: &str, postfix: &[&'static str]) -> Rig {
    let postfix: Vec<&'static str> = std::iter::once(ROUTE).chain(postfix.iter().copied()).collect();
    let config: &'static str = config.to_owned().leak();
    let rig = Rig::with(Options { config, postfix: postfix.leak(), default_action: "accept", ..Options::default() });
    std::fs::create_dir_all(rig.queue_directory().join("backstop")).expect("our own directory");
    rig
}

fn command(rig: &Rig, arguments: &[&str]) -> Command {
    command_through(&format!("127.0.0.1:{}", rig.smtp_port()), rig, arguments)
}

fn command_through(smtp: &str, rig: &Rig, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstopctl"));
    command.arg("--socket").arg(rig.daemon.admin_socket()).args(["selftest", "--smtp", smtp]);
    command.arg("--postfix-config").arg(rig.configuration()).args(arguments);
    command.stdin(Stdio::null()).env_remove("MAIL_CONFIG").env("LC_ALL", "C.UTF-8");
    command
}

/// The steps of a run, by their names, and its exit status.
struct Run {
    output: Output,
    steps: BTreeMap<String, Value>,
}

impl Run {
    fn outcome(&self, step: &str) -> &str {
        self.steps.get(step).and_then(|step| step["outcome"].as_str()).unwrap_or("not shown")
    }

    /// What a step says, all of it.
    fn told(&self, step: &str) -> String {
        self.steps.get(step).map(Value::to_string).unwrap_or_default()
    }

    fn assert(&self, status: i32, want: &[(&str, &str)]) {
        let told = said(&self.output);
        assert_eq!(self.output.status.code(), Some(status), "{told}");
        for (step, outcome) in want {
            assert_eq!(self.outcome(step), *outcome, "{step}: {told}");
        }
    }
}

fn run(rig: &Rig, arguments: &[&str]) -> Run {
    run_of(command(rig, &[&["--json"], arguments].concat()))
}

fn run_of(mut command: Command) -> Run {
    let output = command.output().expect("it was built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let steps = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a JSON object a line"));
    let steps = steps.filter_map(|step| Some((step["step"].as_str()?.to_owned(), step))).collect();
    Run { output, steps }
}

/// Nothing of the test is left, on record, in the queue, on disk, or with the server that stands for the world.
fn assert_clean(rig: &Rig) {
    for contact in ["bounce", "soft", "suppressed", "complaint", "ooto", "return"] {
        let address = format!("{contact}@backstop-selftest.invalid");
        assert_eq!(rig.daemon.state(&address), "unknown", "{address}");
    }
    let events = rig.daemon.ask_lines(&["events"]);
    let other: Vec<_> = events.iter().filter(|event| event["event"] != "erase").collect();
    assert_eq!(other, Vec::<&Value>::new());
    assert_eq!(rig.queued(), None);
    assert!(!rig.queue_directory().join("backstop/selftest.sock").exists());
    assert_eq!(rig.sink.messages().len(), 0, "nothing left the machine");
    assert_eq!(rig.mailbox("bounces").len(), 0, "nothing reached a mailbox");
}

#[test]
fn all_is_well_twice_in_a_row_and_nothing_stays() {
    let rig = rig(RETURN_PATH, &[]);
    for _ in 0..2 {
        let run = run(&rig, &[]);
        run.assert(0, &MAILS.map(|step| (step, "ok")));
        run.assert(0, &["daemon", "postfix", "route", "simulator", "cleaned up"].map(|step| (step, "ok")));
        assert!(run.told("bounce@").contains("5.1.1, hard, rejected") && run.told("bounce@").contains("bounced"));
        assert!(run.told("soft@").contains("5.2.2, soft, transient"), "{}", run.told("soft@"));
        assert!(run.told("complaint@").contains("authority matched"), "{}", run.told("complaint@"));
        assert_clean(&rig);
    }
    // The campaign's name stays, and no figure with it.
    let campaigns = rig.daemon.ask_lines(&["campaigns"]);
    assert!(campaigns.len() == 1 && campaigns[0]["campaign"] == "backstop-selftest", "{campaigns:#?}");
    for figure in ["sent", "skipped", "bounces", "complaints", "autoreplies"] {
        assert_eq!(campaigns[0][figure], 0, "{figure}: {campaigns:#?}");
    }
    assert_eq!(rig.daemon.ask(&["status"])["alerts"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_person_sees_ticks_and_a_plain_terminal_words() {
    let rig = rig(RETURN_PATH, &[]);
    let output = command(&rig, &[]).output().expect("it was built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", said(&output));
    assert!(text.lines().filter(|line| line.starts_with("✓ ")).count() >= 13, "{text}");
    let output = command(&rig, &[]).env("LC_ALL", "C").output().expect("it was built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.stdout.is_ascii() && text.contains("ok bounce@: "), "{text}");
}

#[test]
fn with_a_signed_return_path_the_complaint_is_signed() {
    let keys = tempfile::tempdir().expect("a directory");
    new_key(keys.path(), jiff::Timestamp::now()).expect("writable");
    let config = format!("{RETURN_PATH}[authority]\nsign = true\nkeys = \"{}\"\n", keys.path().display());
    let rig = rig(&config, &[]);
    let run = run(&rig, &[]);
    run.assert(0, &MAILS.map(|step| (step, "ok")));
    assert!(run.told("complaint@").contains("authority signed"), "{}", run.told("complaint@"));
    assert_clean(&rig);
}

#[test]
fn refused_at_rcpt_is_fine_where_that_is_configured() {
    let config = format!("{RETURN_PATH}[outbound]\naction = \"reject\"\nother_mail = \"screen\"\n");
    let rig = rig(&config, &[]);
    let run = run(&rig, &[]);
    run.assert(0, &MAILS.map(|step| (step, "ok")));
    assert!(run.told("suppressed@").contains("refused at RCPT: 550"), "{}", run.told("suppressed@"));
    assert_clean(&rig);
}

#[test]
fn a_complaint_that_nothing_vouches_for_must_change_nothing() {
    let rig = rig(&format!("{RETURN_PATH}[outbound]\nledger = false\n"), &[]);
    let run = run(&rig, &[]);
    run.assert(0, &MAILS.map(|step| (step, "ok")));
    assert!(run.told("complaint@").contains("authority unverified"), "{}", run.told("complaint@"));
    assert_clean(&rig);
}

#[test]
fn in_shadow_mode_what_is_not_done_is_no_failure_and_has_no_tick() {
    let rig = rig(&format!("mode = \"shadow\"\n{RETURN_PATH}"), &[]);
    let run = run(&rig, &[]);
    let ticks = ["sent", "delivered", "bounce@", "soft@"].map(|step| (step, "ok"));
    run.assert(0, &ticks);
    for step in ["suppressed@", "sendmail", "complaint@", "ooto@"] {
        assert_eq!(run.outcome(step), "skipped", "{step}");
        assert!(run.told(step).contains("shadow"), "{}", run.told(step));
    }
    assert_clean(&rig);
}

#[test]
fn without_a_return_path_of_this_host_nothing_is_sent_to_it() {
    for (config, why) in [
        ("", "no return path is configured"),
        ("[return_path]\ndomains = [\"elsewhere.test\"]\n", "would leave the machine"),
        ("[return_path]\ndomains = [\"bounces.test\"]\nrecognised = \"deliver\"\n", "would go on to its mailbox"),
    ] {
        let rig = rig(config, &[]);
        let run = run(&rig, &[]);
        run.assert(0, &[("bounce@", "ok"), ("suppressed@", "ok"), ("complaint@", "skipped"), ("ooto@", "skipped")]);
        assert!(run.told("complaint@").contains(why), "{}", run.told("complaint@"));
        assert_clean(&rig);
    }
}

#[test]
fn without_the_daemon_nothing_is_sent() {
    let mut rig = rig(RETURN_PATH, &[]);
    rig.daemon.stop();
    let run = run(&rig, &[]);
    run.assert(69, &[("daemon", "failed"), ("route", "not shown"), ("sent", "not shown")]);
    assert!(run.told("daemon").contains("systemctl status"), "{}", run.told("daemon"));
}

#[test]
fn a_milter_that_is_not_asked_is_found_out_and_the_cause_is_named() {
    let rig = rig(RETURN_PATH, &["smtpd_milters ="]);
    let run = run(&rig, &["--timeout", "6"]);
    run.assert(1, &[("sent", "ok"), ("delivered", "failed"), ("suppressed@", "failed"), ("complaint@", "skipped")]);
    assert!(run.told("suppressed@").contains("smtpd_milters is empty"), "{}", run.told("suppressed@"));
    assert!(run.told("suppressed@").contains("it got the message"), "{}", run.told("suppressed@"));
    // The notification comes by non_smtpd_milters, about a message that the daemon never saw.
    assert!(run.told("bounce@").contains("unverified"), "{}", run.told("bounce@"));
    assert_clean(&rig);
}

#[test]
fn notifications_that_are_not_shown_to_the_milter_are_missed() {
    let rig = rig(RETURN_PATH, &["internal_mail_filter_classes = notify"]);
    let run = run(&rig, &["--timeout", "4"]);
    run.assert(1, &[("bounce@", "failed"), ("soft@", "failed"), ("suppressed@", "ok"), ("complaint@", "ok")]);
    let told = run.told("bounce@");
    let mended = "'internal_mail_filter_classes = notify, bounce'"; // what is there stays
    for word in ["the notification passed", "without bounce", "postconf -c", mended] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_clean(&rig);
}

#[test]
fn mail_by_sendmail_that_is_not_screened_is_found_out() {
    let rig = rig(RETURN_PATH, &["non_smtpd_milters ="]);
    let run = run(&rig, &["--timeout", "4"]);
    run.assert(1, &[("bounce@", "failed"), ("sendmail", "failed"), ("suppressed@", "ok"), ("complaint@", "ok")]);
    assert!(run.told("sendmail").contains("non_smtpd_milters is empty"), "{}", run.told("sendmail"));
    assert_clean(&rig);
}

#[test]
fn a_missing_route_is_said_with_the_command_that_adds_it_and_nothing_is_sent() {
    let rig = rig(RETURN_PATH, &["transport_maps = inline:{ other.test=smtp:[127.0.0.1]:1 }"]);
    let run = run(&rig, &[]);
    run.assert(78, &[("postfix", "ok"), ("route", "failed"), ("sent", "not shown")]);
    let told = run.told("route");
    let socket = rig.daemon.milter_socket().with_file_name("selftest.sock");
    let want = format!(
        "'transport_maps = inline:{{ other.test=smtp:[127.0.0.1]:1 }}, \
         inline:{{ backstop-selftest.invalid=lmtp:unix:{} }}'",
        socket.display()
    );
    assert!(told.contains(&want), "{want}: {told}");
    assert_clean(&rig);
    // The command, literally; a reload is needed, and that is said, too.
    let look = run.steps["route"]["look"].as_array().cloned().unwrap_or_default();
    let commands: Vec<&str> = look.iter().filter_map(Value::as_str).collect();
    let shell = |line: &str| {
        let done = Command::new("sh").args(["-c", line]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
        let done = done.expect("a shell runs");
        assert!(done.status.success(), "{line}: {}", said(&done));
    };
    shell(commands[0]);
    let again = self::run(&rig, &[]);
    again.assert(78, &[("route", "failed"), ("sent", "not shown")]);
    assert!(again.told("route").contains("does not know it yet"), "{}", again.told("route"));
    shell(commands[1]);
    within(Duration::from_secs(20), || match self::run(&rig, &[]) {
        run if run.output.status.code() == Some(0) => Ok(()),
        run => Err(said(&run.output)),
    });
    assert_clean(&rig);
    assert!(!socket.exists());
}

#[test]
fn without_the_sockets_directory_it_says_so_and_beside_another_run_it_waits_for_none() {
    let rig = rig(RETURN_PATH, &[]);
    let directory = rig.queue_directory().join("backstop");
    let other = UnixListener::bind(directory.join("selftest.sock")).expect("a free name");
    let run = run(&rig, &[]);
    run.assert(69, &[("simulator", "failed"), ("sent", "not shown")]);
    assert!(run.told("simulator").contains("another self-test is running"), "{}", run.told("simulator"));
    drop(other); // the name stays: a stale socket
    self::run(&rig, &[]).assert(0, &[("simulator", "ok"), ("bounce@", "ok")]);
    std::fs::remove_dir(&directory).expect("it is empty");
    let run = self::run(&rig, &[]);
    run.assert(78, &[("simulator", "failed"), ("sent", "not shown")]);
}

#[test]
fn only_mail_of_this_host_is_tested() {
    let rig = rig(RETURN_PATH, &[]);
    let elsewhere = command_through("192.0.2.1:25", &rig, &[]).output().expect("it was built");
    assert_eq!(elsewhere.status.code(), Some(64), "{}", said(&elsewhere));
    let run = run_of(command_through("127.0.0.1:1", &rig, &["--json"]));
    run.assert(69, &[("postfix", "failed"), ("sent", "not shown")]);
}

#[test]
fn interrupted_it_clears_away_and_killed_the_next_run_does() {
    let rig = rig(RETURN_PATH, &["internal_mail_filter_classes ="]);
    // Without notifications it waits for one: then comes the signal.
    let interrupt = |signal: Signal| {
        let mut child = command(&rig, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it was built");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
        within(Duration::from_secs(30), || match rig.daemon.state("suppressed@backstop-selftest.invalid").as_str() {
            "suppressed" if rig.queued().is_none() => Ok(()),
            state => Err(state.to_owned()),
        });
        kill(pid, signal).expect("it runs");
        child.wait().expect("it ends")
    };
    for (signal, want) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        assert_eq!(interrupt(signal).code(), Some(want), "{signal}");
        assert_clean(&rig);
    }
    assert_eq!(interrupt(Signal::SIGKILL).code(), None);
    assert_eq!(rig.daemon.state("suppressed@backstop-selftest.invalid"), "suppressed", "else this proves nothing");
    assert!(rig.queue_directory().join("backstop/selftest.sock").exists(), "else this proves nothing");
    // A message that waits in the queue for the simulator of the killed run.
    let message = b"Subject: left over\r\nX-Selftest-Run: 77\r\n\r\nleft over\r\n";
    rig.sendmail("return@backstop-selftest.invalid", &["bounce@backstop-selftest.invalid"], message);
    let run = run(&rig, &["--timeout", "4"]);
    run.assert(1, &[("left over", "ok"), ("suppressed@", "ok"), ("cleaned up", "ok")]);
    assert_clean(&rig);
}
