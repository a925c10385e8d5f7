//! Whether Postfix's user reaches the milter socket: by the modes on the way there, and, run as root, by connecting as
//! that user and opening a negotiation, as Postfix does.

use super::attached::Asked;
use super::configuration::below;
use super::finding::{Finding, Level};
use super::value::quoted;
use crate::milter::ListenAddress;
use crate::milter::negotiation::POSTFIX_OFFERS;
use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgrouplist, getgroups, initgroups, setegid, seteuid, setgroups,
};
use std::ffi::CString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

const CHECK: &str = "socket";
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Makes the sockets and the daemon anew, also where systemd has given up on them.
const ANEW: [&str; 3] =
    ["systemctl stop 'backstopd*'", "systemctl reset-failed 'backstopd*'", "systemctl start backstopd"];
const LEFT: &str = "Postfix cannot ask Backstop, and does what default_action says with all mail.";

/// A user and the groups it has.
#[derive(Clone, Debug)]
struct Who {
    name: String,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// What the mode of a file says.
#[derive(Clone, Copy, Debug)]
struct Modes {
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Modes {
    /// Whether somebody has these rights (`rwx` as 0 to 7); the first class that fits decides (path_resolution(7)).
    fn allow(self, who: &Who, rights: u32) -> bool {
        let shift = match () {
            () if who.uid == 0 => return true,
            () if self.uid == who.uid => 6,
            () if who.gid == self.gid || who.groups.contains(&self.gid) => 3,
            () => 0,
        };
        self.mode >> shift & rights == rights
    }
}

/// Everything about the listener that Postfix is told of.
pub fn findings(asked: &Asked<'_>) -> Vec<Finding> {
    let Ok((listener, address)) = asked.ours.listener(asked.postfix) else { return Vec::new() };
    match listener {
        ListenAddress::Inet(_) => {
            let to = address.trim_start_matches("inet:").parse().map_err(io::Error::other);
            let connected = to.and_then(|to| TcpStream::connect_timeout(&to, PATIENCE)).and_then(|stream| {
                stream.set_read_timeout(Some(PATIENCE))?;
                negotiate(stream)
            });
            vec![match connected {
                Ok(()) => Finding::ok(CHECK, format!("{address} answers as a milter (tried by connecting)")),
                Err(error) => unserved(&address, &error),
            }]
        }
        ListenAddress::Unix(path) => of_path(asked, path),
    }
}

fn unserved(address: &str, error: &io::Error) -> Finding {
    let what = format!("{address} does not answer as a milter: {error}");
    Finding::new(Level::Error, CHECK, what, LEFT).fixed_with(ANEW.map(str::to_owned))
}

fn of_path(asked: &Asked<'_>, socket: &Path) -> Vec<Finding> {
    let owner = asked.postfix.value("mail_owner");
    let Some(who) = user(&owner) else {
        let what = format!("Postfix's user {owner:?} (mail_owner) does not exist here");
        return vec![Finding::new(Level::Error, CHECK, what, "Postfix itself does not run so.")];
    };
    // What Postfix has to pass: from its working directory on, or else from the root.
    let queue = asked.postfix.queue_directory();
    let (start, rest) = match below(socket, &queue) {
        Some(rest) => (queue, rest),
        None => (PathBuf::from("/"), socket.strip_prefix("/").unwrap_or(socket).to_owned()),
    };
    if let Some(finding) = on_the_way(&start, &rest, &who) {
        return vec![finding];
    }
    let mut found: Vec<Finding> = open_to_all(socket).into_iter().collect();
    found.extend(tried(&who, &start, &rest, socket));
    found
}

/// Connects as that user, if it can be done.
fn tried(who: &Who, start: &Path, rest: &Path, socket: &Path) -> Vec<Finding> {
    let shown = socket.display();
    let by_mode = || {
        let what =
            format!("{} may reach {shown} by the modes on the way; no connection was tried as {}", who.name, who.name);
        let left = "access control lists, SELinux or AppArmor may say otherwise: run this as root to try it.";
        vec![Finding::new(Level::Hint, CHECK, what, left)]
    };
    if !geteuid().is_root() {
        return by_mode();
    }
    let before = std::env::current_dir();
    let tried = as_user(who, || {
        std::env::set_current_dir(start)?;
        let stream = UnixStream::connect(if start == Path::new("/") { socket } else { rest })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        negotiate(stream)
    });
    // As ourselves again: that user may not be let back to where we came from, /root for one.
    if let Ok(before) = before {
        let _ = std::env::set_current_dir(before);
    }
    match tried {
        None => by_mode(),
        Some(Ok(())) => {
            let what =
                format!("{shown} answers as a milter (tried by connecting as {}, from where Postfix does)", who.name);
            vec![Finding::ok(CHECK, what)]
        }
        Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let what = format!("{} may not connect to {shown}, though the modes allow it", who.name);
            let left = format!("{LEFT} An access control list, SELinux or AppArmor says otherwise.");
            let fix = format!("getfacl -e {}", quoted(&socket.parent().unwrap_or(socket).display().to_string()));
            vec![Finding::new(Level::Error, CHECK, what, left).fixed_with([fix])]
        }
        Some(Err(error)) => vec![unserved(&shown.to_string(), &error)],
    }
}

/// Whether everybody may put another socket in its place.
fn open_to_all(socket: &Path) -> Option<Finding> {
    let directory = socket.parent()?;
    let mode = directory.metadata().ok()?.mode();
    if mode & 0o002 == 0 {
        return None;
    }
    let shown = directory.display().to_string();
    let what = format!("everybody on this host may write to {shown} (mode {:04o})", mode & 0o7777);
    let left = "anybody may put a socket of their own in place of Backstop's, and reads and changes the mail that \
                Postfix shows it.";
    Some(Finding::new(Level::Warning, CHECK, what, left).fixed_with([format!("chmod o-w {}", quoted(&shown))]))
}

/// The name of a user or a group, or its number where it has none.
fn name_or(name: Option<String>, id: u32) -> String {
    name.unwrap_or_else(|| id.to_string())
}

/// What keeps a user from the socket, if the modes show it.
fn on_the_way(start: &Path, rest: &Path, who: &Who) -> Option<Finding> {
    let finding = |what: String, fix: String| Some(Finding::new(Level::Error, CHECK, what, LEFT).fixed_with([fix]));
    let group_of = |gid: u32| name_or(Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name), gid);
    let group = group_of(who.gid);
    let mut path = start.to_owned();
    let mut parts = rest.components();
    loop {
        let shown = path.display().to_string();
        let is_last = parts.as_path().as_os_str().is_empty();
        let found = match path.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_last => {
                let what = format!("{shown} is not there: backstopd does not run, or listens elsewhere");
                return Some(Finding::new(Level::Error, CHECK, what, LEFT).fixed_with(ANEW.map(str::to_owned)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && path == start => {
                return finding(format!("queue_directory, {shown}, is not there"), "postfix check".to_owned());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let fix = format!("install -d -o backstop -g {group} -m 750 {}", quoted(&shown));
                return finding(format!("the directory {shown} is not there"), fix);
            }
            Err(error) => {
                let what = format!("{shown} cannot be looked at: {error}");
                let left = "whether Postfix reaches the socket is not known: run this as root.";
                return Some(Finding::new(Level::Hint, CHECK, what, left));
            }
        };
        let modes = Modes { mode: found.mode(), uid: found.uid(), gid: found.gid() };
        if is_last && !found.file_type().is_socket() {
            let what = format!("{shown} is no socket");
            return finding(what, format!("rm -i {} && systemctl restart backstopd", quoted(&shown)));
        }
        let (rights, verb, letter) = if is_last { (2, "write to the socket", "w") } else { (1, "pass through", "x") };
        if !modes.allow(who, rights) {
            let what = format!(
                "{} may not {verb} {shown} (mode {:04o}, owner {}, group {})",
                who.name,
                modes.mode & 0o7777,
                name_or(User::from_uid(Uid::from_raw(modes.uid)).ok().flatten().map(|user| user.name), modes.uid),
                group_of(modes.gid)
            );
            let shown = quoted(&shown);
            let fix = if modes.uid == who.uid {
                format!("chmod u+{letter} {shown}")
            } else if modes.gid == who.gid || who.groups.contains(&modes.gid) {
                format!("chmod g+{letter} {shown}")
            } else if path.starts_with(start) && path != start && start != Path::new("/") || is_last {
                format!("chgrp {group} {shown} && chmod g+{letter} {shown}")
            } else {
                format!("chmod o+{letter} {shown}") // not ours: its group stays
            };
            return finding(what, fix);
        }
        path.push(parts.next()?);
    }
}

fn user(name: &str) -> Option<Who> {
    let user = User::from_name(name).ok().flatten()?;
    let groups = getgrouplist(&CString::new(name).ok()?, user.gid).unwrap_or_default();
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    Some(Who { name: name.to_owned(), uid: user.uid.as_raw(), gid: user.gid.as_raw(), groups })
}

/// Does something with the rights of a user, and takes our own back; `None` where root may not become that user.
fn as_user<T>(who: &Who, does: impl FnOnce() -> T) -> Option<T> {
    let (uid, gid, groups) = (geteuid(), getegid(), getgroups().ok()?);
    let become_user = || -> nix::Result<()> {
        initgroups(&CString::new(who.name.as_str()).map_err(|_| nix::Error::EINVAL)?, Gid::from_raw(who.gid))?;
        setegid(Gid::from_raw(who.gid))?;
        seteuid(Uid::from_raw(who.uid))
    };
    let done = become_user().is_ok().then(does);
    let back = || -> nix::Result<()> {
        seteuid(uid)?;
        setegid(gid)?;
        setgroups(&groups)
    };
    // Only the real user id makes this fail, and that is root's still.
    back().is_ok().then_some(done).flatten()
}

/// Offers what Postfix offers, and waits for the answer of a milter.
fn negotiate(mut stream: impl Read + Write) -> io::Result<()> {
    stream.write_all(&[&13u32.to_be_bytes()[..], POSTFIX_OFFERS].concat())?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    if answer[4] != b'O' || u32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]) < 13 {
        return Err(io::Error::other("something else listens there"));
    }
    // It has answered; whether it hears the farewell is all the same.
    let _ = stream.write_all(&[&1u32.to_be_bytes()[..], b"Q"].concat());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    const WHO: Who = Who { name: String::new(), uid: 100, gid: 110, groups: Vec::new() };

    #[test]
    fn the_first_class_that_fits_decides() {
        for (mode, uid, gid, want) in [
            (0o700, 100, 0, true),
            (0o077, 100, 110, false), // the owner, though everybody else may
            (0o750, 0, 110, true),
            (0o705, 0, 110, false),
            (0o701, 0, 0, true),
            (0o750, 0, 0, false),
        ] {
            assert_eq!(Modes { mode, uid, gid }.allow(&WHO, 1), want, "{mode:o} {uid} {gid}");
        }
        let with_group = Who { groups: vec![7], ..WHO };
        assert!(Modes { mode: 0o770, uid: 0, gid: 7 }.allow(&with_group, 3));
    }

    #[test]
    fn what_is_in_the_way_is_named_with_what_mends_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let mode =
            |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
        mode(directory.path(), 0o755);
        let told = |start: &Path, rest: &str| {
            let who = Who { uid: 4_000_000, gid: 4_000_000, ..WHO };
            on_the_way(start, Path::new(rest), &who).map(|finding| (finding.what, finding.fix.join("\n")))
        };
        let queue = directory.path();
        let (what, fix) = told(queue, "b/m.sock").expect("no directory");
        assert!(what.contains("/b is not there") && fix.starts_with("install -d -o backstop"), "{what} {fix}");
        std::fs::create_dir(queue.join("b")).expect("made");
        mode(&queue.join("b"), 0o755);
        let (what, fix) = told(queue, "b/m.sock").expect("no socket");
        assert!(what.contains("m.sock is not there") && fix == ANEW.join("\n"), "{what} {fix}");
        let _listener = UnixListener::bind(queue.join("b/m.sock")).expect("bound");
        mode(&queue.join("b/m.sock"), 0o600);
        let (what, fix) = told(queue, "b/m.sock").expect("not writable");
        assert!(what.contains("write to the socket") && fix.contains("chmod g+w"), "{what} {fix}");
        mode(&queue.join("b/m.sock"), 0o666);
        assert_eq!(told(queue, "b/m.sock"), None);
        mode(&queue.join("b"), 0o700);
        let (what, fix) = told(queue, "b/m.sock").expect("not to be passed");
        assert!(what.contains("pass through") && fix.contains("chgrp"), "{what} {fix}");
        mode(&queue.join("b"), 0o755);
        mode(queue, 0o700);
        let (what, fix) = told(queue, "b/m.sock").expect("the queue directory");
        assert!(what.contains("pass through") && fix.starts_with("chmod o+x"), "{what} {fix}");
        mode(queue, 0o755);
        std::fs::write(queue.join("b/file"), "").expect("written");
        assert!(told(queue, "b/file").is_some_and(|(what, _)| what.contains("no socket")));
    }

    #[test]
    fn a_directory_that_everybody_may_write_to_is_told_of() {
        let directory = tempfile::tempdir().expect("a directory");
        for (mode, want) in [(0o750, false), (0o755, false), (0o777, true)] {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).expect("ours");
            let found = open_to_all(&directory.path().join("m.sock"));
            assert_eq!(found.is_some_and(|finding| finding.fix[0].starts_with("chmod o-w")), want, "{mode:o}");
        }
    }

    #[test]
    fn only_a_milter_is_taken_for_one() {
        for (answer, want) in [
            (&b"\0\0\0\x0dO\0\0\0\x06\0\0\0\0\0\0\0\0"[..], true),
            (b"220 mx.example.org ESMTP\r\n", false),
            (b"\0\0\0\x01O", false),
            (b"", false),
        ] {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair");
            theirs.write_all(answer).expect("written");
            theirs.shutdown(std::net::Shutdown::Write).expect("closed");
            assert_eq!(negotiate(ours).is_ok(), want, "{answer:?}");
            let mut offer = [0; 17];
            theirs.read_exact(&mut offer).expect("readable");
            assert!(offer.starts_with(b"\0\0\0\x0dO\0\0\0\x06"));
        }
    }
}
