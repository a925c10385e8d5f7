//! The daemon in a user namespace, as `PrivateUsers=yes` makes one, and the process that tells it who connects.
//!
//! The users are real ones, most of them without a name: of such a user counts the group that it comes with. Takes root.

use crate::Process;
use crate::rig::{PATIENCE, tail, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use sendfd::SendWithFd;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// The daemon's user and group.
const OWN: u32 = 64_110;
/// The user and group of the process that tells.
const TELLER: u32 = 64_111;
/// A user and a group that every Debian has, each of id 1: the database puts the one into the other.
const DAEMON: u32 = 1;
/// Debian's group bin.
const BIN: u32 = 2;
const OTHERS: u32 = 64_203;
const NOBODY: u32 = 65_534;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// None where real users are not to be had.
    fn of_root() -> Option<Place> {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: real users are only to be had as root");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let place = Place { directory };
        // Where others may come to: the build may lie in root's home.
        fs::copy(env!("CARGO_BIN_EXE_backstopd"), place.path("backstopd")).expect("there is room for a copy");
        fs::copy(env!("CARGO_BIN_EXE_backstopctl"), place.path("backstopctl")).expect("there is room for a copy");
        for name in ["store", "run"] {
            fs::create_dir(place.path(name)).expect("writable");
            chown(place.path(name), Some(OWN), Some(OWN)).expect("root may");
        }
        let at = |name: &str| place.path(name).display().to_string();
        let config = format!(
            "[milter]\nlisten = [\"unix:{}\"]\n[admin]\nsocket = \"{}\"\nwrite_group = \"daemon\"\nread_group = \"bin\"\n\
             [store]\npath = \"{}\"\n",
            at("run/milter.sock"),
            at("run/admin.sock"),
            at("store")
        );
        fs::write(place.path("backstop.toml"), config).expect("writable");
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        tail(&self.path("log"))
    }

    /// Where the daemon asks; the socket is held by the test, as it is by systemd.
    fn listen(&self) -> UnixListener {
        let path = self.path("run/peer.sock");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        chown(&path, Some(OWN), Some(OWN)).expect("root may");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        listener
    }

    /// The process that tells, which is passed that socket.
    fn tell(&self, listener: &UnixListener, uid: u32) -> Process {
        let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=peer exec \"$@\"";
        let log = File::options().create(true).append(true).open(self.path("log")).expect("writable");
        let mut command = Command::new("bash");
        command.args(["-c", script, "bash"]).arg(self.path("backstopd")).arg("--tell-peers");
        let socket = OwnedFd::from(listener.try_clone().expect("a copy"));
        command.stdin(socket).stderr(log).uid(uid).gid(uid);
        Process(command.spawn().expect("bash runs"))
    }

    /// The daemon, in a user namespace of root and its own user. None where there can be none.
    fn start(&self) -> Option<Process> {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("writable");
        let script = "echo; read -r _; own=$1; shift; \
                      exec setpriv --reuid \"$own\" --regid \"$own\" --clear-groups --pdeathsig KILL \"$@\" </dev/null";
        let mut command = Command::new("unshare");
        command.args(["--user", "bash", "-c", script, "bash", &OWN.to_string()]);
        command.arg(self.path("backstopd")).arg("--config").arg(self.path("backstop.toml"));
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn();
        let mut process = Process(spawned.expect("unshare(1), of util-linux, runs"));
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
        if line.is_empty() {
            eprintln!("SKIPPED: no user namespace can be had here: {}", self.log());
            return None;
        }
        // As systemd writes them.
        for map in ["uid_map", "gid_map"] {
            let map = format!("/proc/{}/{map}", process.0.id());
            fs::write(map, format!("0 0 1\n{OWN} {OWN} 1\n")).expect("root may");
        }
        process.0.stdin.take().expect("piped").write_all(b"\n").expect("it waits");
        within(PATIENCE, || if self.log().contains("event=ready") { Ok(()) } else { Err(self.log()) });
        Some(process)
    }

    fn ctl(&self, (uid, gid): (u32, u32), arguments: &[&str]) -> Output {
        let mut command = Command::new(self.path("backstopctl"));
        command.arg("--socket").arg(self.path("run/admin.sock")).arg("--json").args(arguments).stdin(Stdio::null());
        // As root, the standard library lets go of all other groups with the user id.
        command.uid(uid).gid(gid).output().expect("it runs")
    }

    fn alerts(&self) -> Vec<String> {
        let status: Value = serde_json::from_slice(&self.ctl((0, 0), &["status"]).stdout).expect("JSON");
        let alerts = status["alerts"].as_array().expect("a list").iter();
        alerts.map(|alert| alert["code"].as_str().expect("a code").to_owned()).collect()
    }

    /// User ids of all changes, oldest first.
    fn changed_by(&self) -> Vec<u64> {
        let events = self.ctl((0, 0), &["events"]).stdout;
        let events = String::from_utf8(events).expect("UTF-8");
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events.map(|event| event["uid"].as_u64().expect("a user id")).collect()
    }
}

const READ: [&str; 1] = ["status"];
const CHANGE: [&str; 4] = ["suppress", "ann@example.org", "--reason", "asked by telephone"];

/// User, group, and what they may do.
const PEOPLE: [((u32, u32), &str); 8] = [
    ((0, 0), "write"),
    ((OWN, OWN), "write"),
    ((64_101, DAEMON), "write"),
    ((DAEMON, OTHERS), "write"), // by the database
    ((64_102, BIN), "read"),
    ((64_103, OTHERS), "nothing"),
    ((64_104, 0), "nothing"), // the group of root is not root
    ((NOBODY, NOBODY), "nothing"),
];

/// Asks and changes as each of them, and looks at what came of it.
fn everybody_may_what_they_may(place: &Place) {
    let before = place.changed_by().len();
    for (who, may) in PEOPLE {
        let (read, changed) = (place.ctl(who, &READ), place.ctl(who, &CHANGE));
        let wanted = [if may == "nothing" { 77 } else { 0 }, if may == "write" { 0 } else { 77 }];
        assert_eq!([read.status.code(), changed.status.code()], wanted.map(Some), "{who:?}: {read:?} {changed:?}");
        if may == "nothing" {
            let told = String::from_utf8_lossy(&read.stderr);
            assert!(told.contains("ask for group membership") && read.stdout.is_empty(), "{who:?}: {told}");
        }
    }
    let writers = PEOPLE.iter().filter(|(_, may)| *may == "write").map(|((uid, _), _)| u64::from(*uid));
    assert_eq!(place.changed_by()[before..], writers.collect::<Vec<_>>(), "and each change is on record as theirs");
}

#[test]
fn in_a_user_namespace_the_daemon_knows_its_peers_while_somebody_outside_tells() {
    let Some(place) = Place::of_root() else { return };
    let listener = place.listen();
    let teller = place.tell(&listener, TELLER);
    let Some(_daemon) = place.start() else { return };
    everybody_may_what_they_may(&place);
    assert!(place.alerts().is_empty());
    // Nobody tells any more; the socket is still there, then it is not.
    drop(teller);
    let mut listener = Some(listener);
    for problem in ["no answer within 1 s", "Connection refused", "No such file"] {
        for who in [(64_101, DAEMON), (64_103, OTHERS)] {
            for arguments in [&READ[..], &CHANGE[..]] {
                let refused = place.ctl(who, arguments);
                let told = String::from_utf8_lossy(&refused.stderr);
                assert_eq!(refused.status.code(), Some(77), "{who:?}: {told}");
                assert!(told.contains("systemctl start backstopd-peer.socket") && told.contains(problem), "{told}");
                assert!(refused.stdout.is_empty(), "{refused:?}");
            }
        }
        for who in [(0, 0), (OWN, OWN)] {
            assert!(place.ctl(who, &CHANGE).status.success(), "{who:?} is seen without help");
        }
        assert_eq!(place.alerts(), ["peers-unknown"]);
        if listener.take().is_none() {
            let _ = fs::remove_file(place.path("run/peer.sock"));
        }
    }
    assert_eq!(place.log().matches("event=peer-unknown").count(), 1, "{}", place.log());
    let listener = place.listen();
    let _teller = place.tell(&listener, TELLER);
    everybody_may_what_they_may(&place);
    assert!(place.alerts().is_empty());
}

/// One question, and what came back until the end.
fn asked(socket: &Path, octets: &[u8], descriptors: &[RawFd]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    match descriptors {
        [] => stream.write_all(octets).expect("it is taken"),
        _ => assert_eq!(stream.send_with_fd(octets, descriptors).expect("it is taken"), octets.len()),
    }
    let mut answer = Vec::new();
    // What is not read resets the connection.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn whoever_asks_who_its_peers_are_may_ask_anything_and_gains_nothing() {
    let Some(place) = Place::of_root() else { return };
    let listener = place.listen();
    // As root it becomes nobody.
    let teller = place.tell(&listener, 0);
    let process = teller.0.id();
    let socket = place.path("run/peer.sock");
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let answer = [0_u32; 2].map(u32::to_ne_bytes).concat();
    assert_eq!(asked(&socket, b"?", &[ours.as_raw_fd()]), answer, "{}", place.log());
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let nobody = format!("Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}\n");
    assert!(status.contains(&nobody) && status.contains("NoNewPrivs:\t1\n"), "{status}");
    let open = || fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
    let before = open();
    let file = File::open("/dev/null").expect("there is one");
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let many = [ours.as_raw_fd(); 200];
    for round in 0..20 {
        for (octets, descriptors) in [
            (&[b'x'; 10_000][..], &[][..]),
            (b"?", &[]),
            (b"??", &many[..1]),
            (b"?", &many[..2]),
            (b"?", &many[..3]),
            (b"?", &many),
            (&[b'x'; 10_000], &many),
            (b"?", &[file.as_raw_fd()]),
            (b"?", &[reader.as_raw_fd()]),
            (b"?", &[tcp.as_raw_fd()]),
        ] {
            let answer = asked(&socket, octets, descriptors);
            assert_eq!(answer, b"", "round {round}: {} octets, {} descriptors", octets.len(), descriptors.len());
        }
        // Gone before it is answered.
        let stream = UnixStream::connect(&socket).expect("it listens");
        stream.send_with_fd(b"?", &many[..1]).expect("it is taken");
    }
    let idle: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&socket).expect("it listens")).collect();
    let began = std::time::Instant::now();
    assert_eq!(asked(&socket, b"?", &many[..1]), answer, "however many say nothing");
    assert!(began.elapsed() < Duration::from_secs(1));
    within(PATIENCE, || if open() == before { Ok(()) } else { Err(format!("{} for {before}", open())) });
    for mut stream in idle {
        assert_eq!(stream.read(&mut [0]).expect("it is closed"), 0, "nobody may say nothing for long");
    }
    assert_eq!(asked(&socket, b"?", &many[..1]), answer);
    kill(Pid::from_raw(process as i32), Signal::SIGTERM).expect("it runs");
}

#[test]
fn without_a_socket_there_is_nobody_to_tell() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstopd"));
    let output = command.args(["--tell-peers", "--allow-root"]).stdin(Stdio::null()).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(told.contains("backstopd-peer.socket"), "{told}");
}
