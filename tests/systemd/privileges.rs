//! Started as root: who it is afterwards.

use crate::Process;
use crate::rig::{PATIENCE, tail, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory of root's, in which the daemon may write its store only.
struct Place {
    directory: tempfile::TempDir,
    user: User,
}

impl Place {
    /// None where the test does not run as root.
    fn of_root() -> Option<Place> {
        let user = User::from_name("nobody").ok().flatten();
        let (true, Some(user)) = (geteuid().is_root(), user) else {
            eprintln!("SKIPPED: takes root, and a user nobody");
            return None;
        };
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        let place = Place { directory, user };
        for name in ["store", "run"] {
            fs::create_dir(place.path(name)).expect("writable");
        }
        chown(place.path("store"), Some(place.user.uid.as_raw()), Some(place.user.gid.as_raw())).ok()?;
        fs::write(place.path("key"), "a secret that only root may read").expect("writable");
        fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o600)).expect("ours");
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A daemon that is not started yet.
    fn command(&self, user: &str) -> Command {
        let at = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "[process]\nuser = \"{user}\"\n[milter]\nlisten = [\"unix:{}\"]\nsocket_mode = \"0660\"\nsocket_group = \
             \"daemon\"\n[admin]\nsocket = \"{}\"\n[store]\npath = \"{}\"\n[log]\naddresses = \"hashed\"\nhash_key_file = \
             \"{}\"\n",
            at("run/milter.sock"),
            at("run/admin.sock"),
            at("store"),
            at("key")
        );
        fs::write(self.path("backstop.toml"), config).expect("writable");
        fs::set_permissions(self.path("backstop.toml"), fs::Permissions::from_mode(0o600)).expect("ours");
        // Where others may come to: the build may lie in root's home.
        let program = self.path("backstopd");
        fs::copy(env!("CARGO_BIN_EXE_backstopd"), &program).expect("there is room for a copy");
        let mut command = Command::new(program);
        command.arg("--config").arg(self.path("backstop.toml")).stdin(Stdio::null());
        command
    }
}

/// The lines of /proc/PID/status.
fn status(process: u32) -> HashMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

#[test]
fn started_as_root_it_binds_reads_its_secrets_and_gives_root_up_for_good() {
    let Some(place) = Place::of_root() else { return };
    let log = File::create(place.path("log")).expect("writable");
    let mut running = Process(place.command("nobody").stderr(log).spawn().expect("it can be started"));
    let ready = || tail(&place.path("log")).contains("event=ready");
    within(PATIENCE, || if ready() { Ok(()) } else { Err(tail(&place.path("log"))) });
    let status = status(running.0.id());
    let (uid, gid) = (place.user.uid, place.user.gid);
    assert_eq!(status["Uid"], [uid.as_raw(); 4].map(|id| id.to_string()).join(" "));
    assert_eq!(status["Gid"], [gid.as_raw(); 4].map(|id| id.to_string()).join(" "));
    assert_eq!(status["Groups"], gid.to_string(), "no group of root");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set].trim_matches('0'), "", "{set}");
    }
    assert_eq!(status["NoNewPrivs"], "1");
    // Every thread, not only the first: what a thread gives up, the others keep.
    for task in fs::read_dir(format!("/proc/{}/task", running.0.id())).expect("it runs").flatten() {
        let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(text.is_empty() || line("NoNewPrivs").ends_with('1'), "{text}");
        assert!(text.is_empty() || line("CapEff").ends_with("0000000000000000"), "{text}");
    }
    let milter = fs::metadata(place.path("run/milter.sock")).expect("it was bound");
    assert_eq!(milter.mode() & 0o777, 0o660);
    assert_eq!(milter.gid(), nix::unistd::Group::from_name("daemon").unwrap().expect("Debian has it").gid.as_raw());
    UnixStream::connect(place.path("run/admin.sock")).expect("everybody may connect");
    let made = files_below(&place.path("store"));
    assert!(!made.is_empty());
    for file in made {
        let found = fs::metadata(&file).expect("readable");
        assert_eq!((found.uid(), found.mode() & 0o077), (uid.as_raw(), 0), "{}", file.display());
    }
    kill(Pid::from_raw(running.0.id() as i32), Signal::SIGTERM).expect("it runs");
    assert!(running.0.wait().expect("a child").success(), "{}", tail(&place.path("log")));
}

#[test]
fn root_that_cannot_become_anybody_is_refused_with_what_to_do() {
    let Some(place) = Place::of_root() else { return };
    for (user, want) in [("backstop-no-such-user", "--allow-root"), ("root", "name an unprivileged user")] {
        for arguments in [[].as_slice(), &["--rebuild"]] {
            let output = place.command(user).args(arguments).output().expect("it can be started");
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{told}");
            assert!(told.contains(want), "{told}");
        }
    }
    assert!(files_below(&place.path("store")).is_empty(), "nothing was written");
    assert!(!place.path("run/milter.sock").exists());
}

#[test]
fn a_rebuild_started_as_root_leaves_no_file_of_root() {
    let Some(place) = Place::of_root() else { return };
    let output = place.command("nobody").arg("--rebuild").output().expect("it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in files_below(&place.path("store")) {
        assert_eq!(fs::metadata(&file).expect("readable").uid(), place.user.uid.as_raw(), "{}", file.display());
    }
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let Some(place) = Place::of_root() else { return };
    fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o644)).expect("ours");
    let output = place.command("nobody").output().expect("it can be started");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{told}");
    assert!(told.contains("hash_key_file") && told.contains("0644"), "{told}");
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}
