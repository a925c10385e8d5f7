//! `backstopctl top` on a real terminal: a tmux of its own shows it, keys go in, and what is on the screen is read.

#[path = "common/daemon.rs"]
#[allow(dead_code)]
mod daemon;
#[path = "common/mta.rs"]
#[allow(dead_code)]
mod mta;
#[path = "common/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "common/smtp.rs"]
#[allow(dead_code)]
mod smtp;

use daemon::{Daemon, said};
use mta::{Mta, Origin, POSTFIX};
use rig::within;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const CTL: &str = env!("CARGO_BIN_EXE_backstopctl");

/// A daemon, running or not, and the directory all is in.
struct Place {
    daemon: Daemon,
    milter: PathBuf,
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().expect("a directory");
        let milter = directory.path().join("milter.sock");
        let daemon = Daemon::prepare(directory.path(), &milter, "");
        Place { daemon, milter, directory }
    }

    /// Sends one campaign message to these recipients through the milter.
    fn send(&self, number: usize, recipients: &[&str]) {
        let stream = UnixStream::connect(&self.milter).expect("the milter serves");
        let mut mta = Mta::new(stream, Origin::Smtp);
        mta.negotiate(POSTFIX).expect("version 6");
        mta.event(b'C', b"client.test\x004\x9c\xb0127.0.0.1\0").expect("taken");
        mta.event(b'H', b"client.test\0").expect("taken");
        mta.mail("<news@example.com>", &[]).expect("taken");
        for recipient in recipients {
            mta.rcpt(&format!("<{recipient}>"), &[]).expect("taken");
        }
        for (name, value) in [("X-Campaign-ID", "spring"), ("Message-ID", &format!("<{number}@example.com>"))] {
            mta.header(name.as_bytes(), value.as_bytes()).expect("taken");
        }
        mta.event(b'N', b"").expect("taken");
        mta.body(b"text").expect("taken");
        mta.end_of_message().expect("an answer");
        mta.packet(b'Q', b"");
        mta.flush().expect("taken");
    }

    /// Hands in a notification that an address does not exist.
    fn bounce(&self, address: &str) {
        let mail = format!(
            "From: MAILER-DAEMON@mx.example.net\nMessage-ID: <{address}>\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
             --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n\
             Final-Recipient: rfc822; {address}\nAction: failed\nStatus: 5.1.1\n\
             Diagnostic-Code: smtp; 550 5.1.1 user unknown\n\n--b--\n"
        );
        let file = self.directory.path().join("mail.eml");
        std::fs::write(&file, mail).expect("our own directory");
        let output = self.daemon.ctl(&["ingest", file.to_str().expect("UTF-8")]);
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// A tmux server of its own with one window, ended with the test.
struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// A shell in a window of this size.
    fn start(directory: &Path, (columns, rows): (usize, usize)) -> Tmux {
        let tmux = Tmux { socket: directory.join("tmux") };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = "exec env PS1='ready> ' sh";
        let made = tmux.run(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &rows, shell]);
        assert!(made.status.success(), "tmux, which scripts/install-deps installs: {}", said(&made));
        tmux.wait_for("ready>");
        tmux
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(arguments).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        command.stdin(Stdio::null()).output().expect("tmux runs (scripts/install-deps)")
    }

    fn type_line(&self, line: &str) {
        assert!(self.run(&["send-keys", "-l", line]).status.success());
        assert!(self.run(&["send-keys", "Enter"]).status.success());
    }

    fn press(&self, key: &str) {
        assert!(self.run(&["send-keys", key]).status.success());
    }

    fn screen(&self) -> String {
        String::from_utf8(self.run(&["capture-pane", "-p"]).stdout).expect("UTF-8")
    }

    /// What tmux knows of its window.
    fn ask(&self, format: &str) -> String {
        String::from_utf8(self.run(&["display-message", "-p", format]).stdout).expect("UTF-8").trim().to_owned()
    }

    /// The screen as soon as it shows all of this.
    fn wait_until(&self, what: &str, shows: impl Fn(&str) -> bool) -> String {
        within(PATIENCE, || {
            let screen = self.screen();
            if shows(&screen) { Ok(screen) } else { Err(format!("waiting for {what}, the screen shows\n{screen}")) }
        })
    }

    fn wait_for(&self, piece: &str) -> String {
        self.wait_until(piece, |screen| screen.contains(piece))
    }

    /// Runs top and waits for its first figures.
    fn start_top(&self, place: &Place) {
        self.type_line(&format!("{CTL} --socket {} top", place.directory.path().join("admin.sock").display()));
        self.wait_for("since start");
    }

    /// Checks that the terminal is as it was: the shell's screen, its cursor, echo, whole lines.
    fn check_restored(&self) {
        self.wait_until("the shell's screen", |screen| screen.contains("ready>") && !screen.contains("since start"));
        assert_eq!(self.ask("#{alternate_on} #{cursor_flag} #{wrap_flag}"), "0 1 1");
        self.type_line(
            "stty -a | tr ';' '\\n' | grep -ow -e '-*echo' -e '-*icanon' -e '-*isig' -e '-*opost' | xargs echo modes:",
        );
        let screen = self.wait_until("modes", |screen| screen.lines().any(|line| line.starts_with("modes:")));
        let modes = screen.lines().rfind(|line| line.starts_with("modes:")).expect("it is there");
        for mode in ["echo", "icanon", "isig", "opost"] {
            assert!(modes.split(' ').any(|word| word == mode), "{mode}: {screen}");
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// The number in the last column of a row: since the start.
fn since_start(screen: &str, row: &str) -> Option<u64> {
    let line = screen.lines().find_map(|line| line.trim_start().strip_prefix(row))?;
    line.split_whitespace().nth(3)?.replace(',', "").parse().ok()
}

/// Shows a screen to whoever runs the test with BACKSTOP_SHOW_SCREENS set.
fn show(what: &str, screen: &str) {
    if std::env::var_os("BACKSTOP_SHOW_SCREENS").is_some() {
        println!("=== {what}\n{screen}");
    }
}

#[test]
fn numbers_move_while_mail_goes_and_the_terminal_comes_back() {
    let mut place = Place::new();
    place.daemon.start();
    place.daemon.suppress("never@example.net");
    let tmux = Tmux::start(place.directory.path(), (80, 24));
    tmux.start_top(&place);
    let first = tmux.wait_for("every 1 s");
    assert_eq!(tmux.ask("#{alternate_on} #{cursor_flag}"), "1 0");
    assert_eq!(since_start(&first, "sent"), Some(0), "{first}");
    assert!(first.contains("enforce") && first.contains("alerts none"), "{first}");
    for number in 0..20 {
        place.send(number, &["joe@gmail.com", "never@example.net", "ann@example.net"]);
    }
    tmux.wait_until("the skips", |screen| screen.contains("20 times"));
    (0..3).for_each(|number| place.bounce(&format!("gone{number}@example.net")));
    let shown = |screen: &str| {
        let told = ["sent", "skipped", "came back", "bounced", "complained"].map(|row| since_start(screen, row));
        told == [Some(40), Some(20), Some(3), Some(3), Some(0)]
    };
    let screen = tmux.wait_until("all that happened", shown);
    show("80x24", &screen);
    let screen = tmux.wait_for("gone2@example.net");
    assert!(
        screen.contains("20 times")
            && screen.contains("suppressed 20")
            && screen.contains("rejected 3")
            && screen.contains("unverified 3")
    );
    assert!(screen.contains(['▁', '█']), "{screen}");
    assert_eq!(screen.lines().count(), 24);

    tmux.press("p");
    tmux.wait_for("PAUSED");
    tmux.press("+");
    tmux.wait_for("every 2 s");
    tmux.press("-");
    tmux.wait_for("every 1 s");
    place.bounce("later@example.net");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(since_start(&tmux.screen(), "bounced"), Some(3), "it is paused");
    tmux.press("p");
    tmux.wait_until("what came meanwhile", |screen| since_start(screen, "bounced") == Some(4));

    for (columns, rows) in [("132", "43"), ("60", "16"), ("40", "10"), ("80", "24")] {
        assert!(tmux.run(&["resize-window", "-x", columns, "-y", rows]).status.success());
        let fits = |screen: &str| {
            let small = screen.contains("top needs");
            small == (columns == "40")
                && (small || screen.contains("since start"))
                && (small || screen.lines().next_back().is_some_and(|line| line.contains("quit")))
                && screen.lines().count() == rows.parse::<usize>().expect("a literal")
        };
        let screen = tmux.wait_until(&format!("{columns}x{rows}"), fits);
        show(&format!("{columns}x{rows}"), &screen);
    }
    tmux.press("q");
    tmux.check_restored();
    place.daemon.stop();
}

#[test]
fn without_a_daemon_it_goes_on_trying_and_a_signal_gives_the_terminal_back() {
    let mut place = Place::new();
    let tmux = Tmux::start(place.directory.path(), (80, 24));
    tmux.type_line(&format!("{CTL} --socket {} top", place.directory.path().join("admin.sock").display()));
    let screen = tmux.wait_for("trying again");
    show("no daemon", &screen);
    assert!(screen.contains("cannot be reached"), "{screen}");
    place.daemon.start();
    tmux.wait_until("figures", |screen| screen.contains("since start") && !screen.contains("trying again"));
    place.daemon.stop();
    let screen = tmux.wait_for("trying again");
    show("daemon gone", &screen);
    assert!(screen.contains("since start"), "what was known stays: {screen}");
    let pane = tmux.ask("#{pane_pid}");
    let child = Command::new("pgrep").args(["-P", &pane]).output().expect("pgrep(1) runs");
    let child: i32 = String::from_utf8_lossy(&child.stdout).trim().parse().expect("one child of the shell");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGTERM).expect("it runs");
    tmux.check_restored();
}

#[test]
fn once_prints_one_frame_and_ends() {
    let mut place = Place::new();
    let socket = place.directory.path().join("admin.sock");
    let top = |arguments: &[&str]| {
        let mut command = Command::new(CTL);
        command.arg("--socket").arg(&socket).arg("top").args(arguments);
        command.stdin(Stdio::null()).output().expect("it runs")
    };
    assert_eq!(top(&["--once"]).status.code(), Some(69), "no daemon");
    assert_eq!(top(&[]).status.code(), Some(64), "no terminal");
    assert_eq!(top(&["--interval", "0"]).status.code(), Some(64));
    place.daemon.start();
    place.bounce("gone@example.net");
    let output = top(&["--once"]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.contains('\u{1b}'), "{text}");
    assert_eq!(since_start(&text, "bounced"), Some(1), "{text}");
    assert!(text.contains("gone@example.net"), "{text}");
    let output = top(&["--once", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(json["bounced"]["since_start"], 1, "{json}");
    assert_eq!(json["sent"]["per_second"], 0.0, "{json}");
}
