//! Gives root up for good.
//!
//! Started as root, the daemon binds its sockets and reads what only root may read, then becomes its user and can
//! never come back: no capability, no set-user-ID program that would give it one. Started as anybody else it keeps
//! who it is. To run as root to its end is refused, unless it is asked for in so many words.
//!
//! Called by `daemon` before there is any thread but the first.

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist, getgroups, getresgid, getresuid};
use nix::unistd::{setgid, setgroups, setresgid, setresuid, setuid};
use std::ffi::CString;

/// `[process]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The user to become when started as root.
    pub user: String,
    /// The group; none for the user's own.
    pub group: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { user: "backstop".to_owned(), group: None }
    }
}

/// Why the daemon does not go on.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// It runs as root and there is nobody to become.
    #[error(
        "started as root, to become the user {0}, whom nobody knows; make that user (systemd-sysusers, or adduser --system \
         --group {0}), or name another under [process] user. A container or a test may say --allow-root"
    )]
    NoUser(String),
    /// The user to become is root.
    #[error("[process] user {0} is root; name an unprivileged user. A container or a test may say --allow-root")]
    UserIsRoot(String),
    /// The group is not there.
    #[error("there is no group {0} ([process] group)")]
    NoGroup(String),
    /// The system refused a step.
    #[error("cannot {step}: {source}")]
    Refused {
        /// Which.
        step: &'static str,
        /// Why.
        source: Errno,
    },
    /// Something of root is left.
    #[error("root was given up, but {0}; the daemon does not run like that")]
    Left(String),
}

/// Whom to become.
#[derive(Debug, PartialEq, Eq)]
pub struct Unprivileged {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// Files that the daemon makes are nobody else's, but for what is given a mode of its own.
pub fn set_umask() {
    umask(Mode::from_bits_truncate(0o077));
}

/// Whom to become: nobody else where the process is not root, or may stay root.
///
/// # Errors
/// [`PrivilegeError`] when it is root and must not stay so.
pub fn whom(settings: &Settings, allow_root: bool) -> Result<Option<Unprivileged>, PrivilegeError> {
    if !geteuid().is_root() || allow_root {
        return Ok(None);
    }
    let name = &settings.user;
    let refused = |step| move |source| PrivilegeError::Refused { step, source };
    let found = User::from_name(name).map_err(refused("look the user up"))?;
    let user = found.ok_or_else(|| PrivilegeError::NoUser(name.clone()))?;
    if user.uid.is_root() {
        return Err(PrivilegeError::UserIsRoot(name.clone()));
    }
    let gid = match &settings.group {
        None => user.gid,
        Some(group) => {
            let found = Group::from_name(group).map_err(refused("look the group up"))?;
            found.ok_or_else(|| PrivilegeError::NoGroup(group.clone()))?.gid
        }
    };
    let name = CString::new(user.name).map_err(|_| PrivilegeError::NoUser(name.clone()))?;
    let groups = getgrouplist(&name, gid).map_err(refused("look the user's groups up"))?;
    Ok(Some(Unprivileged { uid: user.uid, gid, groups }))
}

impl Unprivileged {
    /// Becomes that user, for good.
    ///
    /// # Errors
    /// [`PrivilegeError`] when a step is refused, or something of root is left afterwards.
    pub fn become_for_good(self) -> Result<(), PrivilegeError> {
        let refused = |step| move |source| PrivilegeError::Refused { step, source };
        // Groups first: a user may not choose them.
        setgroups(&self.groups).map_err(refused("set the groups"))?;
        setresgid(self.gid, self.gid, self.gid).map_err(refused("set the group"))?;
        setresuid(self.uid, self.uid, self.uid).map_err(refused("set the user"))?;
        self.check()
    }

    /// Whether nothing of root is left, and no way back.
    fn check(&self) -> Result<(), PrivilegeError> {
        let left = |what: &str| Err(PrivilegeError::Left(what.to_owned()));
        let (uids, gids) = (getresuid(), getresgid());
        if !uids.is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [self.uid; 3]) {
            return left("a user id is still another's");
        }
        if !gids.is_ok_and(|ids| [ids.real, ids.effective, ids.saved] == [self.gid; 3]) {
            return left("a group id is still another's");
        }
        if !getgroups().is_ok_and(|mut now| {
            now.retain(|group| !self.groups.contains(group) && *group != self.gid);
            now.is_empty()
        }) {
            return left("groups of root are");
        }
        let root = (Uid::from_raw(0), Gid::from_raw(0));
        let back = [setuid(root.0).is_ok(), setresuid(root.0, root.0, root.0).is_ok()];
        if back.contains(&true) || self.gid != root.1 && setgid(root.1).is_ok() {
            return left("it could come back");
        }
        match capabilities() {
            Some(none) if none.is_empty() => Ok(()),
            Some(some) => left(&format!("capabilities are left: {}", some.join(" "))),
            // No /proc: the kernel has taken them all with the last user id (capabilities(7)).
            None => Ok(()),
        }
    }
}

/// From here on no program that this process runs gets more than it has: no set-user-ID, no file capabilities.
///
/// # Errors
/// [`PrivilegeError`] when the system refuses.
pub fn gain_nothing_new() -> Result<(), PrivilegeError> {
    prctl::set_no_new_privs().map_err(|source| PrivilegeError::Refused { step: "give up set-user-ID programs", source })
}

/// The sets of capabilities that are not empty, as /proc tells them; none where it cannot be read.
fn capabilities() -> Option<Vec<String>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    let sets = lines.filter(|(name, _)| ["CapPrm", "CapEff", "CapAmb"].contains(name));
    let some = sets.filter(|(_, set)| set.trim().bytes().any(|digit| digit != b'0'));
    Some(some.map(|(name, set)| format!("{name} {}", set.trim())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_that_may_stay_root_and_anybody_else_become_nobody() {
        let settings = Settings { user: "backstop-no-such-user".to_owned(), group: None };
        assert_eq!(whom(&settings, true).expect("it may"), None);
        if !geteuid().is_root() {
            assert_eq!(whom(&settings, false).expect("it is not root"), None);
        }
    }

    #[test]
    fn root_without_a_user_to_become_is_told_what_to_do() {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: not root");
            return;
        }
        let of = |user: &str, group: Option<&str>| {
            let settings = Settings { user: user.to_owned(), group: group.map(str::to_owned) };
            whom(&settings, false).map_err(|error| error.to_string())
        };
        let problem = of("backstop-no-such-user", None).expect_err("there is none");
        assert!(problem.contains("adduser --system --group backstop-no-such-user"), "{problem}");
        assert!(of("root", None).expect_err("root").contains("is root"));
        assert!(of("nobody", Some("backstop-no-such-group")).expect_err("none").contains("no group"));
        let nobody = of("nobody", None).expect("there is one").expect("not root");
        assert!(!nobody.uid.is_root() && nobody.groups.contains(&nobody.gid));
    }
}
