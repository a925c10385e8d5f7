//! The process that sees everybody: tells a daemon in a user namespace who connected to it (`backstopd --tell-peers`).
//!
//! In: connections of the daemon's user, on each one octet and one descriptor. Out: eight octets, the user id and the
//! group id of who is at the other end of that descriptor, or nothing where there is nobody; then the connection is closed.
//! The descriptor is held no longer than that. Whoever asks is not believed to behave: few may ask at once, and not long.

use super::{ANSWER, PATIENCE, Peer, View};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// Connections on which nothing was asked yet; when there are more, the eldest gives way.
const ASKING: usize = 32;

/// Answers until the process is ended.
///
/// # Errors
/// What the system says when the socket cannot be waited on.
pub fn tell(listener: OwnedFd) -> io::Result<Infallible> {
    let listener = UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    let view = View::of_this_process();
    // In the order they came, with when they have to go.
    let mut asking: VecDeque<(UnixStream, Instant)> = VecDeque::new();
    loop {
        let (somebody_came, asked) = wait(&listener, &asking)?;
        let mut asked = asked.into_iter();
        let now = Instant::now();
        asking.retain(|(stream, until)| {
            let asks = asked.next().unwrap_or(false);
            if asks {
                answer(view, stream);
            }
            !asks && now < *until
        });
        if somebody_came {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    if asking.len() == ASKING {
                        asking.pop_front();
                    }
                    asking.push_back((stream, now + PATIENCE));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Out of memory or descriptors; it gets better or it does not, but not by trying at once.
                Err(error) => {
                    tracing::warn!(%error, "a question cannot be taken");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

/// Waits until somebody connects, asks, or has to go: whether somebody came, and who asked.
fn wait(listener: &UnixListener, asking: &VecDeque<(UnixStream, Instant)>) -> io::Result<(bool, Vec<bool>)> {
    let connected = asking.iter().map(|(stream, _)| stream.as_fd());
    let all = std::iter::once(listener.as_fd()).chain(connected);
    let mut all: Vec<PollFd<'_>> = all.map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
    // Rounded up, or the last millisecond would be spent asking for the time.
    let left = |until: Instant| until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    let patience = asking
        .front()
        .map_or(PollTimeout::NONE, |(_, until)| PollTimeout::try_from(left(*until)).unwrap_or(PollTimeout::ZERO));
    match poll(&mut all, patience) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = all.iter().map(|one| one.any().unwrap_or(true));
    Ok((ready.next().unwrap_or(false), ready.collect()))
}

/// Answers a question, if it is one.
fn answer(view: View, asker: &UnixStream) {
    let Some(Peer { uid, gid }) = question(asker).and_then(|connection| view.peer(connection)) else { return };
    let mut answer = [0; ANSWER];
    answer[..4].copy_from_slice(&uid.to_ne_bytes());
    answer[4..].copy_from_slice(&gid.to_ne_bytes());
    // Who does not wait for the answer has none.
    let _ = (&mut &*asker).write_all(&answer);
}

/// The one descriptor that came with one octet. More than one, or more octets, is no question; all of them are closed.
fn question(asker: &UnixStream) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut octets = [0; 2];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(asker, &mut [IoSliceMut::new(&mut octets)], &mut message, flags).ok()?;
    let mut descriptors = Vec::new();
    for part in message.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            descriptors.extend(passed);
        }
    }
    let whole = received.bytes == 1 && !received.flags.contains(ReturnFlags::CTRUNC);
    let [_] = descriptors[..] else { return None };
    descriptors.pop().filter(|_| whole)
}
