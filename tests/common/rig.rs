//! A private Postfix with backstopd beside it, for one test (`tests/postfix/rig.sh` is the Postfix half).
//! Everything is on 127.0.0.1 and in one temporary directory, and ends when the [`Rig`] is dropped or the test
//! process dies: `rig.sh hold` stops all when its standard input closes.
//!
//! Postfix wants root. Another user becomes root of a user namespace, where the kernel and /etc/subuid allow:
//! the test binary starts itself again in there.

use super::daemon::{Daemon, said};
use super::smtp::{Client, Reply, Sink};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The return path of every campaign here; `rig.sh` gives it a mailbox.
pub const RETURN_PATH: &str = "bounce@bounces.test";
/// Longest wait for something to come about. What takes long on a busy machine takes a second on an idle one.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// What a test wants of its rig.
pub struct Options {
    /// `milter_default_action`.
    pub default_action: &'static str,
    /// Lines of main.cf, `name = value`.
    pub postfix: &'static [&'static str],
    /// Configuration beside the paths; top-level keys first.
    pub config: &'static str,
    /// Whether backstopd runs from the start.
    pub daemon_runs: bool,
    /// Whether the server that accepts everything announces DSN (RFC 3461).
    pub sink_sends_notifications: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            default_action: "tempfail",
            postfix: &[],
            config: "[return_path]\ndomains = [\"bounces.test\"]\n",
            daemon_runs: true,
            sink_sends_notifications: false,
        }
    }
}

/// Postfix, the servers it delivers to, and backstopd.
pub struct Rig {
    /// backstopd.
    pub daemon: Daemon,
    /// The server that accepts everything.
    pub sink: Sink,
    facts: HashMap<String, String>,
    hold: Child,
    _dir: TempDir,
}

impl Rig {
    /// Everything as by default.
    pub fn start() -> Rig {
        Rig::with(Options::default())
    }

    /// Starts Postfix, and backstopd unless told otherwise.
    pub fn with(options: Options) -> Rig {
        become_root();
        let dir = tempfile::Builder::new().prefix("backstop-").tempdir().expect("a temporary directory");
        // User postfix passes through it to the milter's socket.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our own directory");
        let sink = Sink::start(options.sink_sends_notifications);
        let postfix = dir.path().join("postfix");
        let milter_socket = postfix.join("run/milter.sock");
        let mut hold = Command::new("bash")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postfix/rig.sh"))
            .arg("hold")
            .arg(&postfix)
            .arg(format!("relay={}", sink.port()))
            .arg(format!("milter=unix:{}", milter_socket.display()))
            .arg(format!("default_action={}", options.default_action))
            .args(options.postfix.iter().map(|line| format!("cf.{line}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0) // Ctrl-C on the terminal ends the test; the rig ends when it notices.
            .spawn()
            .expect("bash runs");
        let stdout = BufReader::new(hold.stdout.take().expect("stdout is piped"));
        let lines = stdout.lines().map_while(Result::ok);
        let mut facts: HashMap<String, String> = lines
            .filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .take_while(|(name, _)| name != "ready")
            .collect();
        if !facts.contains_key("port_smtpd") {
            let status = hold.wait();
            panic!("Postfix did not start ({status:?}); what is said above tells why");
        }
        facts.insert("milter_socket".to_owned(), milter_socket.display().to_string());
        let daemon = Daemon::prepare(dir.path(), &milter_socket, options.config);
        let mut rig = Rig { daemon, sink, facts, hold, _dir: dir };
        if options.daemon_runs {
            rig.daemon.start();
        }
        rig
    }

    /// An SMTP session with the Postfix that asks the milter.
    pub fn client(&self) -> Client {
        Client::connect(self.port("port_smtpd"))
    }

    /// The same, as a client from the world outside.
    pub fn client_from(&self, address: &str) -> Client {
        Client::connect_from(self.port("port_smtpd"), address)
    }

    /// An SMTP session with the same Postfix, on a port where no milter is asked.
    pub fn client_without_milter(&self) -> Client {
        Client::connect(self.port("port_plain"))
    }

    /// Sends one message in a session of its own; it must be accepted.
    pub fn send(&self, reverse_path: &str, forward_paths: &[&str], message: &[u8]) -> Reply {
        let reply = self.client().send(reverse_path, forward_paths, message);
        assert!(reply.accepted(), "message to {forward_paths:?}: {reply:?}\n{}", self.log());
        reply
    }

    /// Sends one message of a campaign, and waits until Postfix is done with all that follows from it.
    pub fn send_campaign(&self, campaign: &str, forward_paths: &[&str]) {
        self.send(RETURN_PATH, forward_paths, &newsletter(campaign, "hello"));
        self.wait_until_idle();
    }

    /// Submits one message as a program on the same machine does.
    pub fn sendmail(&self, reverse_path: &str, forward_paths: &[&str], message: &[u8]) {
        let mut child = Command::new("/usr/sbin/sendmail")
            .args(["-C", &self.facts["conf"], "-i", "-f", reverse_path])
            .args(forward_paths)
            .env_remove("MAIL_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Debian's postfix has sendmail");
        child.stdin.take().expect("stdin is piped").write_all(message).expect("sendmail reads");
        let output = child.wait_with_output().expect("a child can be waited for");
        assert!(output.status.success(), "sendmail: {}", said(&output));
    }

    /// Sends `count` messages over `sessions` connections with Postfix's own load generator.
    pub fn smtp_source(&self, sessions: usize, count: usize, forward_path: &str) {
        let output = Command::new("/usr/sbin/smtp-source")
            .args(["-d", "-s", &sessions.to_string(), "-m", &count.to_string()])
            .args(["-f", RETURN_PATH, "-t", forward_path])
            .arg(format!("127.0.0.1:{}", self.port("port_smtpd")))
            .output()
            .expect("Debian's postfix has smtp-source");
        assert!(output.status.success(), "smtp-source: {}", said(&output));
    }

    /// Waits until the queue is empty: everything accepted so far was delivered, discarded or bounced, and the
    /// bounces likewise.
    pub fn wait_until_idle(&self) {
        within(PATIENCE, || {
            // A message moves on while one looks: only when it was nowhere twice is it gone.
            match self.queued().or_else(|| self.queued()) {
                None => Ok(()),
                Some(file) => Err(format!("still in the queue: {}\n{}", file.display(), self.log())),
            }
        });
    }

    /// A message that Postfix still has, if any, looked for in the order in which messages move.
    pub fn queued(&self) -> Option<PathBuf> {
        let queue = Path::new(&self.facts["dir"]).join("queue");
        let stations = ["maildrop", "incoming", "active", "deferred", "hold", "corrupt", "active"];
        stations.iter().find_map(|station| files_below(&queue.join(station)).into_iter().next())
    }

    /// Messages in a mailbox: `bounces` or `local`.
    pub fn mailbox(&self, name: &str) -> Vec<Vec<u8>> {
        let mut files = files_below(&Path::new(&self.facts["mail"]).join(name).join("new"));
        files.sort();
        files.iter().map(|file| fs::read(file).expect("the mailbox is ours to read")).collect()
    }

    /// Postfix's log.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.facts["log"]).unwrap_or_default()
    }

    /// Waits until a line of Postfix's log has all of these pieces, and gives it.
    pub fn wait_for_log(&self, pieces: &[&str]) -> String {
        within(PATIENCE, || {
            let log = self.log();
            let found = log.lines().find(|line| pieces.iter().all(|piece| line.contains(piece)));
            found.map(str::to_owned).ok_or_else(|| format!("no line with {pieces:?} in Postfix's log:\n{log}"))
        })
    }

    /// How many times Postfix tried to deliver to this recipient.
    pub fn delivery_attempts(&self, recipient: &str) -> usize {
        let to = format!("to=<{recipient}>");
        self.log().lines().filter(|line| line.contains(&to) && line.contains("status=")).count()
    }

    /// Postfix's queue directory.
    #[allow(dead_code)] // not every test that shares this has a reason to
    pub fn queue_directory(&self) -> PathBuf {
        Path::new(&self.facts["dir"]).join("queue")
    }

    /// The directory of its main.cf.
    #[allow(dead_code)]
    pub fn configuration(&self) -> &Path {
        Path::new(&self.facts["conf"])
    }

    /// The port of the Postfix that asks the milter.
    #[allow(dead_code)]
    pub fn smtp_port(&self) -> u16 {
        self.port("port_smtpd")
    }

    /// The port of a service of this Postfix: `port_smtpd`, `port_plain`.
    pub fn port(&self, name: &str) -> u16 {
        self.facts[name].parse().expect("rig.sh prints ports as numbers")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // Postfix first: it would complain about a milter that went before it.
        drop(self.hold.stdin.take());
        let _ = self.hold.wait();
        self.daemon.kill();
        if std::thread::panicking() {
            let (postfix, daemon) = (tail(Path::new(&self.facts["log"])), tail(&self.daemon.log()));
            eprintln!("--- Postfix's log\n{postfix}\n--- backstopd's log\n{daemon}");
        }
    }
}

/// A newsletter of one campaign, with a Message-ID made of the campaign's and its own name.
pub fn newsletter(campaign: &str, name: &str) -> Vec<u8> {
    format!(
        "From: The Shop <news@shop.test>\r\nTo: readers@shop.test\r\nSubject: News of {campaign}\r\n\
         Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{name}.{campaign}@shop.test>\r\n\
         X-Campaign-ID: {campaign}\r\nList-ID: The Shop's news <news.shop.test>\r\n\r\nHello,\r\n\r\nnews!\r\n"
    )
    .into_bytes()
}

/// A notification as another server writes it, about `recipient` of the message with this Message-ID.
pub fn notification(recipient: &str, message_id: &str, status: &str, reply: &str) -> Vec<u8> {
    format!(
        "From: Mail Delivery System <postmaster@mx.elsewhere.test>\r\nTo: {RETURN_PATH}\r\n\
         Subject: Delivery Status Notification (Failure)\r\nDate: Mon, 2 Nov 2026 10:05:00 +0000\r\n\
         Message-ID: <dsn.{recipient}@mx.elsewhere.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"=_part\"\r\n\r\n\
         --=_part\r\nContent-Type: text/plain\r\n\r\nYour message could not be delivered.\r\n\r\n\
         --=_part\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.elsewhere.test\r\nArrival-Date: Mon, 2 Nov 2026 10:04:00 +0000\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: {status}\r\n\
         Remote-MTA: dns; store.elsewhere.test\r\nDiagnostic-Code: smtp; {reply}\r\n\r\n\
         --=_part\r\nContent-Type: text/rfc822-headers\r\n\r\n\
         Return-Path: <{RETURN_PATH}>\r\nFrom: The Shop <news@shop.test>\r\nSubject: News\r\n\
         Message-ID: <{message_id}>\r\nX-Campaign-ID: c1\r\n\r\n--=_part--\r\n"
    )
    .into_bytes()
}

/// Tries until it succeeds; fails the test with the last reason when the time is over.
pub fn within<T>(time: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + time;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if Instant::now() >= deadline => panic!("not within {time:?}: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The last lines of a log.
pub fn tail(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => {} // moved on meanwhile
        }
    }
    files
}

/// Starts this test binary again as root of a user namespace, unless we are root.
fn become_root() {
    const INSIDE: &str = "BACKSTOP_TESTS_IN_NAMESPACE";
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if nix::unistd::geteuid().is_root() {
            return;
        }
        let options = ["--user", "--map-root-user", "--map-auto"];
        let works = Command::new("unshare").args(options).arg("true").output().is_ok_and(|ran| ran.status.success());
        let wanted = "Postfix starts as root only. Run these tests as root, or let this user make namespaces: \
                      package uidmap, a range for the user in /etc/subuid and /etc/subgid, and a kernel with \
                      kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns set to allow it";
        assert!(works && std::env::var_os(INSIDE).is_none(), "{wanted}");
        let program = std::env::current_exe().expect("a running program has a path");
        let arguments = std::env::args_os().skip(1);
        let error = Command::new("unshare").args(options).arg(program).args(arguments).env(INSIDE, "1").exec();
        panic!("unshare: {error}. {wanted}");
    });
}
