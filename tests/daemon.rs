//! backstopd from its start to its end, as its log tells it and its exit code.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a configuration, and room for the store and the sockets.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { directory: tempfile::tempdir().expect("a temporary directory") };
        place.configure("");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration; `more` stands ahead of the sections.
    fn configure(&self, more: &str) {
        let at = |name: &str| self.path(name).display().to_string();
        let text = format!(
            "{more}\n[milter]\nlisten = [\"unix:{}\"]\ndrain_timeout_secs = 1\n[admin]\nsocket = \"{}\"\n\
             [store]\npath = \"{}\"\n[rules]\ndirectory = \"{}\"\n",
            at("milter.sock"),
            at("admin.sock"),
            at("store"),
            at("rules.d")
        );
        std::fs::write(self.path("backstop.toml"), text).expect("writable");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstopd"));
        command
            .args(["--allow-root", "--config"])
            .arg(self.path("backstop.toml"))
            .env_remove("RUST_LOG")
            .env("JOURNAL_STREAM", "1:2");
        command
    }

    /// Runs a command that ends by itself: exit code and standard error.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command().args(arguments).output().expect("backstopd can be started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts a daemon and waits until it is ready.
    fn start(&self) -> Daemon {
        let mut command = self.command();
        let mut child = command.stderr(Stdio::piped()).spawn().expect("backstopd can be started");
        let (tell, lines) = channel();
        let log = BufReader::new(child.stderr.take().expect("its standard error is a pipe"));
        std::thread::spawn(move || log.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok()));
        let daemon = Daemon { child, lines };
        daemon.line("event=ready");
        daemon
    }
}

/// A daemon that is killed if its test fails.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    /// The next line that says so.
    fn line(&self, wanted: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(wanted) => return line,
                Ok(_) => {}
                Err(_) => panic!("no line {wanted}"),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("the daemon runs");
    }

    fn end(mut self) -> Option<i32> {
        self.child.wait().expect("it can be waited for").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it has ended, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_log_says_who_handed_in_what_was_recorded_and_why() {
    let place = Place::new();
    let daemon = place.start();
    let mail = place.path("bounce.eml");
    let bounce = "From: MAILER-DAEMON@mx.example.net\nMessage-ID: <n1@mx.example.net>\nMIME-Version: 1.0\n\
                  Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
                  --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n\
                  Final-Recipient: rfc822; gone@example.net\nAction: failed\nStatus: 5.1.1\n\n--b--\n";
    std::fs::write(&mail, bounce).expect("writable");
    let ingest = |reason: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstopctl"));
        command.arg("--socket").arg(place.path("admin.sock")).arg("ingest").arg(&mail).args(["--reason", reason]);
        assert!(command.output().expect("backstopctl can be started").status.success(), "{reason}");
    };
    ingest("found in a drawer");
    ingest("the same again");
    daemon.signal(Signal::SIGTERM);
    let uid = nix::unistd::geteuid();
    let mut told = Vec::new();
    while let Ok(line) = daemon.lines.recv_timeout(PATIENCE) {
        told.extend(line.contains("event=operator").then_some(line));
    }
    assert_eq!(told.len(), 1, "of what was on record before, nothing was recorded: {told:?}");
    let line = format!("count=1 action=ingest uid={uid} reason=\"found in a drawer\"");
    assert!(told[0].contains(&line), "{told:?}");
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

#[test]
fn it_tells_when_it_serves_and_ends_in_good_order() {
    for (signal, name) in [(Signal::SIGTERM, "SIGTERM"), (Signal::SIGINT, "SIGINT")] {
        let place = Place::new();
        let daemon = place.start();
        assert!(is_socket(&place.path("milter.sock")) && is_socket(&place.path("admin.sock")));
        daemon.signal(signal);
        daemon.line(&format!("event=stop signal={name}"));
        daemon.line("event=stopped");
        assert_eq!(daemon.end(), Some(0));
        assert!(!place.path("admin.sock").exists(), "its socket is gone");
    }
}

#[test]
fn an_open_connection_does_not_hold_the_end_up() {
    let place = Place::new();
    let daemon = place.start();
    let _idle = std::os::unix::net::UnixStream::connect(place.path("milter.sock")).expect("it listens");
    let started = std::time::Instant::now();
    daemon.signal(Signal::SIGTERM);
    daemon.line("event=stopped");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn it_takes_over_a_new_configuration_or_keeps_the_old_one() {
    let place = Place::new();
    let daemon = place.start();
    place.configure("mode = \"shadwo\"");
    daemon.signal(Signal::SIGHUP);
    let line = daemon.line("event=reload-refused");
    assert!(line.contains("backstop.toml:1: mode: "), "{line}");
    place.configure("mode = \"shadow\"\n[log]\naddresses = \"hashed\"");
    daemon.signal(Signal::SIGHUP);
    let line = daemon.line("event=reload file=");
    assert!(line.ends_with("restart_for=[log]"), "{line}");
    place.configure("mode = \"shadow\"");
    daemon.signal(Signal::SIGHUP);
    let line = daemon.line("event=reload file=");
    assert!(!line.contains("restart_for"), "{line}");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_broken_rule_file_keeps_the_old_rules() {
    let place = Place::new();
    let daemon = place.start();
    std::fs::create_dir(place.path("rules.d")).expect("writable");
    std::fs::write(place.path("rules.d/mine.toml"), "[[rule]]\nid = 3\n").expect("writable");
    daemon.signal(Signal::SIGHUP);
    let line = daemon.line("event=reload-refused");
    assert!(line.contains("mine.toml:"), "{line}");
    daemon.signal(Signal::SIGTERM);
    daemon.line("event=stopped");
    assert_eq!(place.run(&[]).0, Some(78), "at the start it is refused");
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() {
    let place = Place::new();
    let daemon = place.start();
    for arguments in [[].as_slice(), &["--rebuild"]] {
        let (code, error) = place.run(arguments);
        assert_eq!(code, Some(75), "{error}");
        assert!(error.contains("in use by another process"), "{error}");
    }
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(place.run(&["--rebuild"]).0, Some(0), "the store is free again");
}

#[test]
fn a_store_that_cannot_be_made_is_refused() {
    let place = Place::new();
    std::fs::write(place.path("store"), "a file, no directory").expect("writable");
    let (code, error) = place.run(&[]);
    assert_eq!(code, Some(73), "{error}");
    assert!(error.contains(&place.path("store").display().to_string()), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[test]
fn a_socket_that_is_taken_is_refused_and_leaves_nothing_behind() {
    let place = Place::new();
    std::fs::write(place.path("milter.sock"), "no socket").expect("writable");
    let (code, error) = place.run(&[]);
    assert_eq!(code, Some(69), "{error}");
    assert!(error.contains("milter.sock"), "{error}");
    assert!(!place.path("admin.sock").exists(), "the admin socket was taken back");
    std::fs::remove_file(place.path("milter.sock")).expect("it was written");
    let daemon = place.start();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end(), Some(0), "the store was closed in good order");
}

#[test]
fn after_a_kill_it_starts_by_itself() {
    let place = Place::new();
    let daemon = place.start();
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.end(), None);
    let daemon = place.start();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end(), Some(0));
}
