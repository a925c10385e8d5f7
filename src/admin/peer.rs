//! Who connected to the admin socket, also where the daemon cannot see it by itself.
//!
//! In a user namespace that maps few users (`PrivateUsers=yes`) the kernel shows every other one as nobody
//! (user_namespaces(7), the overflow user id). Then the connection itself is passed, over a socket that only the daemon's
//! user may connect to, to a process outside that namespace ([`tell`], `backstopd --tell-peers`), which answers with the
//! user and the group that it sees at the other end. Called by `server` for each connection.

pub mod tell;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest wait for an answer; whoever asks the other side waits no longer for a question.
const PATIENCE: Duration = Duration::from_secs(1);
/// Octets of an answer: user id and group id, as the machine writes them.
const ANSWER: usize = 8;
/// The user id that stands for all that have none here. /proc/sys has it, which a sandbox may hide; nobody changes it.
const NOBODY: u32 = 65_534;

/// Who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub uid: u32,
    pub gid: u32,
}

/// Which users this process can tell from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    whole: bool,
}

impl View {
    /// What /proc tells. Where that cannot be read, nobody is believed to be nobody.
    fn of_this_process() -> View {
        View::of(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default())
    }

    /// A line is: the first id here, the first id outside, how many.
    fn of(map: &str) -> View {
        let lengths = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
        // The last number is no user id (chown(2): leave it as it is).
        View { whole: lengths.sum::<u64>() >= u64::from(u32::MAX) }
    }

    /// Whether this user id may be anybody's.
    fn hides(self, uid: u32) -> bool {
        !self.whole && uid == NOBODY
    }

    /// Who is at the other end, if that can be seen. Sockets that are connected to nothing have nobody there.
    fn peer(self, connection: impl AsFd) -> Option<Peer> {
        let seen = getsockopt(&connection.as_fd(), PeerCredentials).ok()?;
        let peer = Peer { uid: seen.uid(), gid: seen.gid() };
        (peer.uid != u32::MAX && !self.hides(peer.uid)).then_some(peer)
    }
}

/// Whom to ask for the peers that cannot be seen.
#[derive(Debug)]
pub(super) struct Peers {
    view: View,
    socket: PathBuf,
}

impl Peers {
    /// For peers of this admin socket; the other process listens beside it.
    pub fn of(admin_socket: &Path) -> Peers {
        Peers { view: View::of_this_process(), socket: admin_socket.with_file_name("peer.sock") }
    }

    /// Whether a peer that seems to have this user id has to be asked for.
    pub fn hidden(&self, uid: u32) -> bool {
        self.view.hides(uid)
    }

    /// Asks who is at the other end of a connection. Blocks, for at most [`PATIENCE`].
    ///
    /// # Errors
    /// An I/O error that says why nobody told.
    pub fn ask(&self, connection: impl AsFd) -> io::Result<Peer> {
        let until = Instant::now() + PATIENCE;
        let asked = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Before it connects: a full queue would hold it up without an end.
        sockopt::set_socket_timeout(&asked, sockopt::Timeout::Send, Some(PATIENCE))?;
        let told = net::connect(&asked, &net::SocketAddrUnix::new(&self.socket)?)
            .and_then(|()| pass(&asked, connection))
            .map_err(io::Error::from)
            .and_then(|()| read(asked.into(), until));
        told.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()))
            }
            _ => error,
        })
    }
}

/// One octet, as a descriptor cannot travel alone.
fn pass(asked: impl AsFd, connection: impl AsFd) -> rustix::io::Result<()> {
    let descriptor = [connection.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&descriptor));
    net::sendmsg(asked, &[IoSlice::new(b"?")], &mut message, SendFlags::NOSIGNAL).map(|_| ())
}

fn read(mut asked: UnixStream, until: Instant) -> io::Result<Peer> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    asked.set_read_timeout(Some(left))?;
    let mut answer = [0; ANSWER + 1];
    // Written in one go, so read in one go.
    match asked.read(&mut answer)? {
        ANSWER => {
            let number = |at| u32::from_ne_bytes(std::array::from_fn(|place| answer[at + place]));
            Ok(Peer { uid: number(0), gid: number(4) })
        }
        0 => Err(io::Error::other("it cannot tell either")),
        length => Err(io::Error::other(format!("an answer of {length} octets"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_anybody_where_not_every_user_is_mapped() {
        for (map, hides) in [
            ("         0          0 4294967295\n", false),
            ("0 0 1\n998 998 1\n", true),
            ("0 100000 65536\n", true), // a container; whoever comes from outside of it is nobody, too
            ("0 0 1000\n1000 1000 4294966295\n", false),
            ("", true), // no /proc
        ] {
            assert_eq!(View::of(map).hides(NOBODY), hides, "{map:?}");
            assert!(!View::of(map).hides(0) && !View::of(map).hides(998), "{map:?}");
        }
    }

    #[test]
    fn a_socket_that_is_connected_to_nobody_and_a_file_have_no_peer() {
        let view = View { whole: true };
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        assert_eq!(view.peer(&datagrams), None);
        assert_eq!(view.peer(std::fs::File::open("/dev/null").expect("there is one")), None);
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        assert_eq!(view.peer(&ours).map(|peer| peer.uid), Some(nix::unistd::geteuid().as_raw()));
    }

    /// A daemon's view from a user namespace, and the socket that it asks on, held by the test.
    fn asking() -> (tempfile::TempDir, Peers, std::os::unix::net::UnixListener) {
        let directory = tempfile::tempdir().expect("a directory");
        let peers = Peers { view: View { whole: false }, socket: directory.path().join("peer.sock") };
        let listener = std::os::unix::net::UnixListener::bind(&peers.socket).expect("a socket");
        (directory, peers, listener)
    }

    #[test]
    fn who_is_at_the_other_end_is_told() {
        let (_directory, peers, listener) = asking();
        std::thread::spawn(move || tell::tell(listener.into()));
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let own = Peer { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() };
        for _ in 0..100 {
            assert_eq!(peers.ask(&ours).expect("it tells"), own);
        }
        let null = std::fs::File::open("/dev/null").expect("there is one");
        assert_eq!(peers.ask(&null).expect_err("nobody is there").to_string(), "it cannot tell either");
    }

    #[test]
    fn a_question_without_an_answer_ends_within_its_time() {
        let (_directory, peers, listener) = asking();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).expect("a length")).expect("it listens");
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        // The first waits for an answer, the second for a place in the queue.
        let first = std::thread::scope(|scope| {
            let first = scope.spawn(|| (Instant::now(), peers.ask(&ours)));
            std::thread::sleep(Duration::from_millis(100));
            let second = (Instant::now(), peers.ask(&ours));
            [first.join().expect("no panic"), second]
        });
        for (began, asked) in first {
            assert_eq!(asked.expect_err("nobody tells").to_string(), "no answer within 1 s");
            assert!(began.elapsed() < 3 * PATIENCE);
        }
        drop(listener);
        assert_eq!(peers.ask(&ours).expect_err("refused").kind(), io::ErrorKind::ConnectionRefused);
        std::fs::remove_file(&peers.socket).expect("ours");
        assert_eq!(peers.ask(&ours).expect_err("not there").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_answer_that_is_none_is_no_peer() {
        use std::io::Write;
        let (_directory, peers, listener) = asking();
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        for (answer, problem) in [(&[7; 7][..], "7 octets"), (&[0; 12], "9 octets"), (&[], "cannot tell")] {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut asked, _) = listener.accept().expect("it is asked");
                    // As one that reads the question: else what is unread resets the connection.
                    io::Read::read(&mut asked, &mut [0; 8]).expect("a question");
                    asked.write_all(answer).expect("it waits");
                });
                let error = peers.ask(&ours).expect_err(problem).to_string();
                assert!(error.contains(problem), "{error}");
            });
        }
    }
}
