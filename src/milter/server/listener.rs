//! A bound listener, Unix or TCP.

use super::SocketAccess;
use crate::milter::ListenAddress;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::unistd::{Gid, Group};
use std::fs;
use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Connections that may wait to be accepted. Postfix does not wait for room: a full queue is an error to it,
/// and the default action (POSTFIX-FACTS 1). The system lowers this to `net.core.somaxconn`.
const BACKLOG: Backlog = Backlog::MAXCONN;

/// A socket that listens and is not served yet, so that it can be made before the daemon gives up what it takes to
/// make it. A Unix socket that we made is removed with it; one that was passed to us is its owner's.
#[derive(Debug)]
pub struct Bound {
    socket: BoundSocket,
    address: ListenAddress,
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum BoundSocket {
    Unix(StdUnixListener),
    Tcp(StdTcpListener),
}

/// A listener that is served; a Unix socket that we made is removed with it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ListenAddress,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// An accepted connection.
pub enum Stream {
    /// Over a Unix socket.
    Unix(UnixStream),
    /// Over TCP.
    Tcp(TcpStream),
}

/// A socket file of ours: another that took its place is left alone.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl Bound {
    /// Binds. A Unix socket that nobody answers is replaced.
    ///
    /// # Errors
    /// What the system says, or `AddrInUse` for a file that is no stale socket.
    pub fn bind(address: &ListenAddress, access: &SocketAccess) -> io::Result<Bound> {
        match address {
            ListenAddress::Unix(path) => {
                remove_stale(path)?;
                let (socket, file) = bind_unix(path, access)?;
                Ok(Bound { socket: BoundSocket::Unix(socket), address: address.clone(), file: Some(file) })
            }
            ListenAddress::Inet(address) => Bound::of_tcp(StdTcpListener::bind(address)?),
        }
    }

    /// Takes over a listening socket that was passed to the process.
    ///
    /// # Errors
    /// What the system says of a descriptor that is no such socket.
    pub fn passed(descriptor: OwnedFd) -> io::Result<Bound> {
        let unix = StdUnixListener::from(descriptor.try_clone()?);
        match unix.local_addr() {
            Ok(name) => {
                let address = ListenAddress::Unix(name.as_pathname().unwrap_or(Path::new("@")).to_owned());
                Ok(Bound { socket: BoundSocket::Unix(unix), address, file: None })
            }
            Err(_) => Bound::of_tcp(descriptor.into()),
        }
    }

    fn of_tcp(socket: StdTcpListener) -> io::Result<Bound> {
        nix::sys::socket::listen(&socket, BACKLOG)?;
        let address = ListenAddress::Inet(socket.local_addr()?);
        Ok(Bound { socket: BoundSocket::Tcp(socket), address, file: None })
    }

    /// Where it listens.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Makes a listener of it that the runtime knows.
    ///
    /// # Errors
    /// What the system says.
    pub fn serve(self) -> io::Result<Listener> {
        let socket = match self.socket {
            BoundSocket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Socket::Unix(UnixListener::from_std(socket)?)
            }
            BoundSocket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Socket::Tcp(TcpListener::from_std(socket)?)
            }
        };
        Ok(Listener { socket, address: self.address, _file: self.file })
    }
}

/// Binds and listens in two steps: nobody connects before the file has its owner and its mode.
fn bind_unix(path: &Path, access: &SocketAccess) -> io::Result<(StdUnixListener, SocketFile)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(path)?)?;
    let file = SocketFile::new(path)?;
    if let Some(group) = &access.group {
        let told = |problem: String| io::Error::new(io::ErrorKind::PermissionDenied, problem);
        std::os::unix::fs::lchown(path, None, Some(group_id(group)?.as_raw()))
            .map_err(|error| told(format!("cannot be given to group {group}: {error}")))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))?;
    nix::sys::socket::listen(&socket, BACKLOG)?;
    Ok((StdUnixListener::from(socket), file))
}

fn group_id(name: &str) -> io::Result<Gid> {
    let missing =
        || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name} ([milter] socket_group)"));
    Ok(Group::from_name(name)?.ok_or_else(missing)?.gid)
}

impl Listener {
    /// Where it listens.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// The next connection.
    ///
    /// # Errors
    /// What the system says; one error does not end the listener.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Our packets are whole answers: there is nothing to wait for before they are sent.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl Stream {
    /// A connection that was passed to the process.
    ///
    /// # Errors
    /// What the system says.
    pub fn passed(descriptor: OwnedFd) -> io::Result<Stream> {
        let unix = StdUnixStream::from(descriptor);
        if unix.local_addr().is_ok() {
            unix.set_nonblocking(true)?;
            return Ok(Stream::Unix(UnixStream::from_std(unix)?));
        }
        let tcp = std::net::TcpStream::from(OwnedFd::from(unix));
        tcp.set_nonblocking(true)?;
        tcp.set_nodelay(true)?;
        Ok(Stream::Tcp(TcpStream::from_std(tcp)?))
    }
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        let file = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_owned(), device_and_inode: (file.dev(), file.ino()) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |file: fs::Metadata| (file.dev(), file.ino()) == self.device_and_inode;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // If it cannot be removed, the next start finds it stale.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket that a server left behind which did not end by itself.
fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |problem: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, problem));
    match fs::symlink_metadata(path) {
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(other) => return Err(other),
        Ok(file) if !file.file_type().is_socket() => return in_use("a file that is no socket stands there"),
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(other) => Err(other),
        Ok(_) => in_use("another program listens there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &Path) -> ListenAddress {
        ListenAddress::Unix(path.to_owned())
    }

    fn bind(address: &ListenAddress) -> io::Result<Listener> {
        Bound::bind(address, &SocketAccess::default())?.serve()
    }

    #[tokio::test]
    async fn a_unix_socket_is_writable_for_postfix_and_removed_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter.sock");
        let listener = bind(&unix(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_unix_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = bind(&unix(&path)).unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(listener);
    }

    #[tokio::test]
    async fn a_unix_socket_in_use_or_a_file_that_is_none_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (busy, file) = (directory.path().join("busy"), directory.path().join("file"));
        let _listener = bind(&unix(&busy)).unwrap();
        fs::write(&file, "words").unwrap();
        for (path, want) in [(&busy, "another program"), (&file, "no socket")] {
            let problem = bind(&unix(path)).unwrap_err();
            assert_eq!(problem.kind(), io::ErrorKind::AddrInUse);
            assert!(problem.to_string().contains(want), "{problem}");
        }
        UnixStream::connect(&busy).await.unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"words");
    }

    #[tokio::test]
    async fn a_socket_that_took_the_place_of_ours_is_not_removed_with_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter.sock");
        let old = bind(&unix(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let _new = bind(&unix(&path)).unwrap();
        drop(old);
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_unix_socket_has_the_mode_and_group_asked_for_before_anybody_can_connect() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter.sock");
        let own_group = Group::from_gid(nix::unistd::getegid()).unwrap().expect("our group has a name");
        let access = SocketAccess { mode: 0o660, group: Some(own_group.name) };
        let _bound = Bound::bind(&unix(&path), &access).unwrap();
        let made = fs::metadata(&path).unwrap();
        assert_eq!((made.permissions().mode() & 0o777, made.gid()), (0o660, own_group.gid.as_raw()));
        let access = SocketAccess { mode: 0o660, group: Some("backstop-no-such-group".to_owned()) };
        let problem = Bound::bind(&unix(&directory.path().join("other.sock")), &access).unwrap_err();
        assert!(problem.to_string().contains("no group backstop-no-such-group"), "{problem}");
        assert!(!directory.path().join("other.sock").exists(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_socket_that_was_passed_is_served_and_stays_when_its_listener_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter.sock");
        let held = StdUnixListener::bind(&path).unwrap();
        let listener = Bound::passed(held.try_clone().unwrap().into()).unwrap().serve().unwrap();
        assert_eq!(listener.address(), &unix(&path));
        drop(listener);
        let _waiting = StdUnixStream::connect(&path).expect("the socket stays, and a connection waits");
        let tcp = StdTcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap();
        assert_eq!(Bound::passed(tcp.into()).unwrap().address(), &ListenAddress::Inet(port));
        let file = fs::File::create(directory.path().join("file")).unwrap();
        assert!(Bound::passed(file.into()).is_err(), "a file is no socket");
    }

    #[tokio::test]
    async fn port_0_becomes_the_port_given() {
        let listener = bind(&ListenAddress::parse("inet:127.0.0.1:0").unwrap()).unwrap();
        let ListenAddress::Inet(address) = listener.address() else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).await.unwrap();
    }
}
