//! A bound listener, Unix or TCP.

use crate::milter::ListenAddress;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};

/// Connections that may wait to be accepted. Postfix does not wait for room: a full queue is an error to it,
/// and the default action (POSTFIX-FACTS 1). The system lowers this to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Mode of a Unix socket. Postfix connects as user `postfix`, which must be allowed to write; who may reach the
/// socket at all is for the directory it stands in to say.
const SOCKET_MODE: u32 = 0o666;

/// A bound listener; a Unix socket is removed with it.
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

impl Listener {
    /// Binds. A Unix socket that nobody answers is replaced.
    ///
    /// # Errors
    /// What the system says, or `AddrInUse` for a file that is no stale socket.
    pub async fn bind(address: &ListenAddress) -> io::Result<Listener> {
        match address {
            ListenAddress::Unix(path) => {
                remove_stale(path).await?;
                let socket = UnixSocket::new_stream()?;
                socket.bind(path)?;
                let file = SocketFile::new(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
                let listener = socket.listen(BACKLOG)?;
                Ok(Listener { socket: Socket::Unix(listener), address: address.clone(), _file: Some(file) })
            }
            ListenAddress::Inet(address) => {
                let socket = match address {
                    SocketAddr::V4(_) => TcpSocket::new_v4()?,
                    SocketAddr::V6(_) => TcpSocket::new_v6()?,
                };
                socket.set_reuseaddr(true)?;
                socket.bind(*address)?;
                let listener = socket.listen(BACKLOG)?;
                let address = ListenAddress::Inet(listener.local_addr()?);
                Ok(Listener { socket: Socket::Tcp(listener), address, _file: None })
            }
        }
    }

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
async fn remove_stale(path: &Path) -> io::Result<()> {
    let in_use = |problem: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, problem));
    match fs::symlink_metadata(path) {
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(other) => return Err(other),
        Ok(file) if !file.file_type().is_socket() => return in_use("a file that is no socket stands there"),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
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

    #[tokio::test]
    async fn a_unix_socket_is_writable_for_postfix_and_removed_with_its_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("milter.sock");
        let listener = Listener::bind(&unix(&path)).await.unwrap();
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
        let listener = Listener::bind(&unix(&path)).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(listener);
    }

    #[tokio::test]
    async fn a_unix_socket_in_use_or_a_file_that_is_none_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (busy, file) = (directory.path().join("busy"), directory.path().join("file"));
        let _listener = Listener::bind(&unix(&busy)).await.unwrap();
        fs::write(&file, "words").unwrap();
        for (path, want) in [(&busy, "another program"), (&file, "no socket")] {
            let problem = Listener::bind(&unix(path)).await.unwrap_err();
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
        let old = Listener::bind(&unix(&path)).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _new = Listener::bind(&unix(&path)).await.unwrap();
        drop(old);
        UnixStream::connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn port_0_becomes_the_port_given() {
        let listener = Listener::bind(&ListenAddress::parse("inet:127.0.0.1:0").unwrap()).await.unwrap();
        let ListenAddress::Inet(address) = listener.address() else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        TcpStream::connect(address).await.unwrap();
    }
}
