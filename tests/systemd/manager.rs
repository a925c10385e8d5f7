//! A service manager for tests: holds the sockets while the daemon is not there, hears what it tells, and keeps what it
//! leaves, as systemd does; and systemd's own `systemd-socket-activate`.

use crate::daemon::Daemon;
use crate::rig::{Options, PATIENCE, Rig, newsletter, tail, within};
use crate::there_is;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sendfd::RecvWithFd;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// See above. Ends the daemon when dropped.
pub struct Manager {
    config: PathBuf,
    log: PathBuf,
    notify: UnixDatagram,
    notify_path: PathBuf,
    /// Copies that children inherit.
    sockets: Vec<(String, RawFd)>,
    /// What the daemon left: name and descriptor.
    store: Vec<(String, RawFd)>,
    keeps: bool,
    watchdog: Option<Duration>,
    process: Option<Child>,
}

impl Manager {
    /// Listens on the daemon's sockets; the daemon does not run yet. `keeps`: keeps connections over restarts.
    pub fn listen(daemon: &Daemon, keeps: bool) -> Manager {
        let config = daemon.config();
        let notify_path = config.with_file_name("notify");
        let notify = UnixDatagram::bind(&notify_path).expect("a socket");
        notify.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a time-out");
        let sockets = [("milter", daemon.milter_socket()), ("admin", &daemon.admin_socket())];
        let sockets = sockets.map(|(name, path)| (name.to_owned(), listen(path)));
        Manager {
            config,
            log: daemon.log(),
            notify,
            notify_path,
            sockets: sockets.to_vec(),
            store: Vec::new(),
            keeps,
            watchdog: None,
            process: None,
        }
    }

    /// Starts the daemon and waits until it is ready. Gives what it told until then.
    pub fn start(&mut self) -> Vec<String> {
        let passed: Vec<(String, RawFd)> = self.sockets.iter().chain(&self.store).cloned().collect();
        let numbers: Vec<String> = passed.iter().map(|(_, descriptor)| descriptor.to_string()).collect();
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        // In two steps, as a number may be one's source and another's place.
        let script = "my ($count, @from) = (0, split /,/, shift); @ENV{qw(LISTEN_PID LISTEN_FDS)} = ($$, scalar @from); \
                      dup2($_, 600 + $count++) for @from; \
                      for (0 .. $#from) { dup2(600 + $_, 3 + $_); POSIX::close(600 + $_) } exec @ARGV";
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "perl", "-MPOSIX=dup2", "-e", script, &numbers.join(",")]);
        command.env("LISTEN_FDNAMES", names.join(":"));
        command.args([env!("CARGO_BIN_EXE_backstopd"), "--allow-root", "--config"]).arg(&self.config);
        command.env("NOTIFY_SOCKET", &self.notify_path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if self.keeps {
            command.env("FDSTORE", "100");
        }
        if let Some(time) = self.watchdog {
            command.env("WATCHDOG_USEC", time.as_micros().to_string());
        }
        self.process = Some(command.spawn().expect("setpriv(1), of util-linux, runs"));
        self.hear_until("READY=1")
    }

    /// What the daemon tells, until it has told this.
    pub fn hear_until(&mut self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        within(PATIENCE, || {
            heard.append(&mut self.hear());
            if heard.iter().any(|line| line == wanted) {
                Ok(())
            } else {
                Err(format!("{heard:?}: {}", tail(&self.log)))
            }
        });
        heard
    }

    /// One message of the daemon, as lines; nothing if none came for a moment.
    fn hear(&mut self) -> Vec<String> {
        let (mut octets, mut descriptors) = ([0; 4096], [0; 16]);
        let Ok((length, count)) = self.notify.recv_with_fd(&mut octets, &mut descriptors) else { return Vec::new() };
        let text = String::from_utf8_lossy(&octets[..length]).into_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default();
        for descriptor in &descriptors[..count] {
            match text.lines().any(|line| line == "FDSTORE=1") {
                true if self.keeps => self.store.push((name.to_owned(), *descriptor)),
                // A barrier is answered by closing it.
                _ => nix::unistd::close(*descriptor).expect("it was passed to us"),
            }
        }
        if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
            self.store.retain(|(kept, descriptor)| {
                let stays = kept != name;
                if !stays {
                    nix::unistd::close(*descriptor).expect("it is ours");
                }
                stays
            });
        }
        text.lines().map(str::to_owned).collect()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().expect("it runs");
        kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
    }

    /// Ends the daemon, and gives how long that took.
    pub fn stop(&mut self) -> Duration {
        let since = std::time::Instant::now();
        self.signal(Signal::SIGTERM);
        let mut child = self.process.take().expect("it runs");
        within(Duration::from_secs(30), || {
            self.hear();
            child.try_wait().expect("a child can be waited for").ok_or_else(|| "it does not end".to_owned())
        });
        while !self.hear().is_empty() {}
        since.elapsed()
    }

    /// How many descriptors are kept.
    pub fn kept(&self) -> usize {
        self.store.len()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(child) = &mut self.process {
            let _ = child.kill();
            let _ = child.wait();
        }
        for (_, descriptor) in self.sockets.iter().chain(&self.store) {
            let _ = nix::unistd::close(*descriptor);
        }
    }
}

/// A listening socket that children inherit.
fn listen(path: &Path) -> RawFd {
    let listener = UnixListener::bind(path).expect("the path is free");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("ours");
    fcntl(listener.as_fd(), FcntlArg::F_DUPFD(300)).expect("a free number")
}

const OFFER: &[u8] = b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

/// Whether a milter answers a negotiation there.
fn negotiates(path: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(path) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    let mut answer = [0; 5];
    stream.write_all(OFFER).is_ok() && stream.read_exact(&mut answer).is_ok() && answer[4] == b'O'
}

#[test]
fn systemd_socket_activate_starts_the_daemon_when_somebody_connects() {
    if !there_is("systemd-socket-activate") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let milter = directory.path().join("milter.sock");
    let daemon = Daemon::prepare(directory.path(), &milter, "");
    let log = File::create(daemon.log()).expect("writable");
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "systemd-socket-activate", "--fdname=milter:admin", "-l"])
        .arg(&milter)
        .arg("-l")
        .arg(daemon.admin_socket())
        .args([env!("CARGO_BIN_EXE_backstopd"), "--allow-root", "--config"])
        .arg(daemon.config())
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("setpriv(1), of util-linux, runs");
    within(PATIENCE, || if daemon.admin_socket().exists() { Ok(()) } else { Err("it does not listen".to_owned()) });
    std::thread::sleep(Duration::from_millis(100));
    assert!(!daemon.store().exists(), "nobody has connected yet");
    assert!(negotiates(&milter), "{}", tail(&daemon.log()));
    assert_eq!(daemon.state("ann@good.test"), "unknown", "the admin socket is served, too");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("it runs");
    assert!(child.wait().expect("a child can be waited for").success(), "{}", tail(&daemon.log()));
    assert!(milter.exists() && daemon.admin_socket().exists(), "sockets of somebody else stay");
}

#[test]
fn a_socket_of_another_name_is_refused_in_so_many_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::prepare(directory.path(), &directory.path().join("milter.sock"), "");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http exec \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash", env!("CARGO_BIN_EXE_backstopd"), "--allow-root", "--config"]);
    let output = command.arg(daemon.config()).stdin(Stdio::null()).output().expect("bash runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.contains("named http; FileDescriptorName= takes milter"), "{told}");
}

#[test]
fn it_tells_when_it_is_ready_alive_reloading_and_ending() {
    let directory = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::prepare(directory.path(), &directory.path().join("milter.sock"), "");
    let mut manager = Manager::listen(&daemon, false);
    manager.watchdog = Some(Duration::from_secs(3));
    let told = manager.start();
    assert!(told.contains(&"STATUS=serving: 0 milter connections, 0 events, 0 contacts".to_owned()), "{told:?}");
    manager.hear_until("WATCHDOG=1");
    manager.signal(Signal::SIGHUP);
    let told = manager.hear_until("READY=1");
    let place = |wanted: &str| told.iter().position(|line| line.starts_with(wanted));
    assert!(place("RELOADING=1").is_some() && place("MONOTONIC_USEC=").is_some(), "{told:?}");
    assert!(place("RELOADING=1") < place("READY=1"), "{told:?}");
    fs::write(daemon.config(), "mode = 3").expect("writable");
    manager.signal(Signal::SIGHUP);
    let told = manager.hear_until("READY=1").join("\n");
    assert!(told.contains("the old one serves"), "{told}");
    manager.signal(Signal::SIGTERM);
    manager.hear_until("STOPPING=1");
}

#[test]
fn an_smtp_session_goes_on_over_restarts_however_long_it_idles() {
    let rig = Rig::with(Options { daemon_runs: false, ..Options::default() });
    let mut manager = Manager::listen(&rig.daemon, true);
    manager.start();
    rig.daemon.suppress("ann@good.test");
    let mut client = rig.client();
    for number in 1..=4 {
        let recipients = ["ann@good.test", "bob@good.test"];
        let reply = client.send("bounce@bounces.test", &recipients, &newsletter("c1", &format!("m{number}")));
        assert!(reply.accepted(), "message {number}: {reply:?}");
        let took = manager.stop();
        assert!(took < Duration::from_secs(5), "nobody is waited for: {took:?}");
        assert_eq!(manager.kept(), 2, "the connection, and how it began");
        manager.start();
        within(PATIENCE, || {
            manager.hear();
            if manager.kept() == 0 { Ok(()) } else { Err("it was not taken over".to_owned()) }
        });
    }
    drop(client);
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["bob@good.test"; 4], "and every message was screened");
}
