//! The service manager: sockets it passes (sd_listen_fds(3)), what it wants to be told (sd_notify(3)), and connections
//! it keeps over a restart (its file descriptor store).
//!
//! Without one, nothing here does anything.

use crate::milter::server::{HandedOver, Opening};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{SFlag, fstat};
use sd_notify::NotifyState;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// What the names of kept connections begin with.
const KEPT: &str = "milter-connection-";

/// Longest opening that is read back; `Opening` has its own limit below it.
const OPENING: u64 = 1 << 20;

/// Longest wait for the service manager to have taken what it is to keep.
const TAKEN: Duration = Duration::from_secs(5);

/// What the service manager passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// Listeners for Postfix (`FileDescriptorName=milter`).
    pub milter: Vec<OwnedFd>,
    /// The admin socket (`admin`).
    pub admin: Option<OwnedFd>,
    /// The listener for /metrics (`metrics`).
    pub metrics: Option<OwnedFd>,
    /// Connections that the daemon before us left.
    pub connections: Vec<HandedOver>,
    /// The names under which the service manager still keeps them.
    kept: Vec<String>,
}

impl Passed {
    /// Takes what was passed. To be called once, by a process that has opened nothing else.
    ///
    /// # Errors
    /// An I/O error for a name that is none of ours, and for descriptors that cannot be taken.
    pub fn take() -> io::Result<Passed> {
        let mut passed = Passed::default();
        let mut kept: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
        for (name, descriptor) in sd_listen_fds::get().map_err(io::Error::other)? {
            // A copy that programs we run do not inherit; ours is closed.
            let descriptor = descriptor.into_std().try_clone()?;
            match name.as_deref() {
                Some("milter") => passed.milter.push(descriptor),
                Some("admin") if passed.admin.is_none() => passed.admin = Some(descriptor),
                Some("metrics") if passed.metrics.is_none() => passed.metrics = Some(descriptor),
                Some(name) if name.starts_with(KEPT) => kept.entry(name.to_owned()).or_default().push(descriptor),
                other => {
                    let name = other.unwrap_or("nothing");
                    let problem = format!(
                        "the service manager passed a socket named {name}; FileDescriptorName= takes milter (any number of \
                         them), admin and metrics (one of each)"
                    );
                    return Err(io::Error::other(problem));
                }
            }
        }
        for (name, descriptors) in kept {
            // One that its client closed meanwhile was let go of, and left its opening alone.
            passed.connections.extend(connection(descriptors));
            passed.kept.push(name);
        }
        Ok(passed)
    }

    /// Has the service manager let go of the connections, which are served again.
    pub fn release(&mut self) {
        for name in self.kept.drain(..) {
            tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
        }
    }
}

/// The socket on which a daemon asks who its peers are, the only one passed (`FileDescriptorName=peer`).
///
/// # Errors
/// An I/O error where anything else was passed, or nothing.
pub fn peer_socket() -> io::Result<OwnedFd> {
    let mut passed = sd_listen_fds::get().map_err(io::Error::other)?;
    match passed.pop() {
        Some((Some(name), socket)) if name == "peer" && passed.is_empty() => Ok(socket.into_std()),
        _ => Err(io::Error::other("--tell-peers takes one socket, named peer, that backstopd-peer.socket passes")),
    }
}

/// A connection and its opening, told apart by what they are.
fn connection(descriptors: Vec<OwnedFd>) -> Option<HandedOver> {
    let is_socket = |descriptor: &OwnedFd| {
        fstat(descriptor)
            .is_ok_and(|found| SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFSOCK)
    };
    let (sockets, files): (Vec<OwnedFd>, Vec<OwnedFd>) = descriptors.into_iter().partition(is_socket);
    let (stream, file) = (sockets.into_iter().next()?, files.into_iter().next()?);
    let mut file = File::from(file);
    let mut octets = Vec::new();
    file.rewind().ok()?;
    file.take(OPENING).read_to_end(&mut octets).ok()?;
    Some(HandedOver { stream, opening: Opening::from_octets(&octets)? })
}

/// Whether the service manager keeps connections for the next daemon: systemd 254 says so by itself, an older one by
/// `Environment=FDSTORE=` in the unit.
pub fn keeps_connections() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some() && std::env::var_os("FDSTORE").is_some_and(|most| most != "0")
}

/// Leaves connections with the service manager. Returns when it has taken them.
pub fn keep(connections: Vec<HandedOver>) {
    let process = std::process::id();
    let mut kept = false;
    for (number, HandedOver { stream, opening }) in connections.into_iter().enumerate() {
        let Ok(file) = opening_file(&opening) else { continue };
        let name = format!("{KEPT}{process}-{number}");
        let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
        if sd_notify::notify_with_fds(&states, &[stream.as_fd(), file.as_fd()]).is_ok() {
            kept = true;
        }
    }
    if kept && !barrier() {
        tracing::warn!("the service manager did not say that it took the open connections");
    }
}

fn opening_file(opening: &Opening) -> io::Result<File> {
    let mut file = File::from(memfd_create("backstop-opening", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&opening.to_octets())?;
    Ok(file)
}

/// Waits until the service manager has read all that it was told: it closes its end of a pipe then. Who ends before may
/// be somebody it does not know any more.
fn barrier() -> bool {
    let Ok((ours, theirs)) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC) else { return false };
    let told: &[BorrowedFd<'_>] = &[theirs.as_fd()];
    if sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], told).is_err() {
        return false;
    }
    drop(theirs);
    let mut closed = [PollFd::new(ours.as_fd(), PollFlags::empty())];
    let patience = PollTimeout::try_from(TAKEN).unwrap_or(PollTimeout::ZERO);
    poll(&mut closed, patience).is_ok_and(|closed| closed > 0)
}

/// The daemon serves; `status` is for `systemctl status`.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon reads its configuration again; [`ready`] follows whatever comes of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The daemon ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ending: messages in hand are finished")]);
}

/// The daemon is alive.
pub fn alive(status: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
