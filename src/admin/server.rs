//! Serves the Unix socket: peer credentials decide who may read and write.
//!
//! Anybody may connect (the socket's mode is 0666), as somebody who may do nothing is owed a 403, not a
//! "permission denied" that looks like a broken installation. Such a peer gets few connections, one request
//! on each, and nothing but that answer.

use super::access::{self, Access};
use super::crowd::{Answering, InHand};
use super::half_closed::Watched;
use super::linger::Lingering;
use super::peer::Peers;
use super::routes::{self, App};
use crate::hooks::Hooks;
use crate::ops::event::strain;
use crate::service::Service;
use axum::Router;
use axum::extract::Request;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::Backlog;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service as _;

/// Connections served at once; further ones wait in the listener's queue, and idle ones give way to them.
const CONNECTIONS: usize = 128;
/// Of these, connections of peers that may do nothing.
const STRANGERS: usize = 8;
/// Longest time a request's header may take, and an idle connection may stay.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Longest header of a request.
const HEADER_BYTES: usize = 16 << 10;
/// Longest time a stranger's connection may take.
const STRANGER_TIME: Duration = Duration::from_secs(5);
/// Longest wait for the user database.
const LOOK_UP_TIME: Duration = Duration::from_secs(10);
/// Longest time a stopping server lets requests finish.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Of this, the time in which somebody who was let in asks for the first time.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

/// How the admin socket is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The socket.
    pub socket: PathBuf,
    /// `host:port` of a TCP listener for `/metrics` only; none by default.
    pub metrics_listen: Option<std::net::SocketAddr>,
    /// Group whose members may write.
    pub write_group: String,
    /// Group whose members may read.
    pub read_group: String,
}

/// What the admin socket tells of the daemon besides the store.
pub trait Daemon: Send + Sync + 'static {
    /// Milter connections open.
    fn milter_connections(&self) -> usize;
    /// The configuration file, when it was read, and why the last reload failed, if it did.
    fn config_state(&self) -> ConfigState;
    /// What tells others of what happened; none where nothing does.
    fn hooks(&self) -> Option<Arc<Hooks>> {
        None
    }
    /// The last run of the timer that releases contacts; none before the first.
    fn last_release(&self) -> Option<LastRelease> {
        None
    }
}

/// A run of the timer that releases contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct LastRelease {
    /// When.
    pub at: jiff::Timestamp,
    /// Contacts released.
    pub released: u64,
}

/// Where the configuration in force comes from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct ConfigState {
    /// The file.
    pub file: PathBuf,
    /// When it was read.
    pub loaded_at: jiff::Timestamp,
    /// Why the last reload kept the old one, if it did.
    pub reload_error: Option<String>,
}

/// The sockets, listening and not served yet. A Unix socket that we made is removed with them.
pub struct Sockets {
    admin: std::os::unix::net::UnixListener,
    made: Option<SocketFile>,
    metrics: Option<std::net::TcpListener>,
}

impl Sockets {
    /// Binds what was not passed to the process.
    ///
    /// # Errors
    /// An I/O error naming the socket, or the address of the metrics.
    pub fn bind(settings: &Settings, admin: Option<OwnedFd>, metrics: Option<OwnedFd>) -> io::Result<Sockets> {
        let metrics = match (metrics, settings.metrics_listen) {
            (Some(passed), _) => Some(std::net::TcpListener::from(passed)),
            (None, Some(address)) => {
                Some(std::net::TcpListener::bind(address).map_err(|error| naming("metrics", &address, error))?)
            }
            (None, None) => None,
        };
        // Last, so that no socket is left behind by a start that fails.
        let (admin, made) = match admin {
            Some(passed) => (std::os::unix::net::UnixListener::from(passed), None),
            None => {
                let socket = &settings.socket;
                let (listener, file) =
                    bind(socket).map_err(|error| naming("admin socket", &socket.display(), error))?;
                (listener, Some(file))
            }
        };
        Ok(Sockets { admin, made, metrics })
    }
}

/// The file of a socket that we made, removed when it is dropped.
struct SocketFile {
    path: PathBuf,
    /// Device and inode: another daemon may have put its own in its place since.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A running admin server.
pub struct Server {
    made: Option<SocketFile>,
    metrics_address: Option<std::net::SocketAddr>,
    stopping: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Binds the socket and starts to serve.
    ///
    /// # Errors
    /// An I/O error naming the socket, or the address of the metrics.
    pub async fn start(settings: Settings, service: Arc<Service>, daemon: Arc<dyn Daemon>) -> io::Result<Server> {
        let sockets = Sockets::bind(&settings, None, None)?;
        Server::start_on(sockets, settings, service, daemon)
    }

    /// Serves sockets that were bound before, or passed to the process.
    ///
    /// # Errors
    /// What the system says.
    pub fn start_on(
        sockets: Sockets,
        settings: Settings,
        service: Arc<Service>,
        daemon: Arc<dyn Daemon>,
    ) -> io::Result<Server> {
        sockets.admin.set_nonblocking(true)?;
        let listener = UnixListener::from_std(sockets.admin)?;
        let metrics_listener = match sockets.metrics {
            Some(metrics) => {
                metrics.set_nonblocking(true)?;
                Some(TcpListener::from_std(metrics)?)
            }
            None => None,
        };
        let metrics_address = metrics_listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let (stopping, stop) = watch::channel(false);
        let app = Arc::new(App::new(service, daemon, stop.clone()));
        let mut tasks = vec![tokio::spawn(serve(listener, settings, app.clone(), stop.clone()))];
        if let Some(listener) = metrics_listener {
            tasks.push(tokio::spawn(serve_metrics(listener, routes::metrics_only(app), stop)));
        }
        Ok(Server { made: sockets.made, metrics_address, stopping, tasks })
    }

    /// Where `/metrics` is served by TCP, if anywhere; a port 0 is replaced by the port given.
    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.metrics_address
    }

    /// Stops serving and removes the socket.
    ///
    /// Requests have two seconds to finish; whoever follows the events is let go at once.
    pub async fn stop(self) {
        drop(self.made);
        self.stopping.send_replace(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

/// Waits until the server stops.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn naming(what: &str, place: &dyn std::fmt::Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {place}: {error}"))
}

fn bind(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        // Left over from a daemon that was killed, unless somebody still answers.
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty() && !directory.exists());
            if let Some(directory) = directory {
                std::fs::create_dir_all(directory)?;
                // Whatever the umask is: everybody may come as far as the socket.
                std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
            }
        }
        Err(error) => return Err(error),
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    // As many as the kernel allows may wait: who finds no room there is refused without a word.
    nix::sys::socket::listen(&listener, Backlog::MAXALLOWABLE)?;
    // Everybody may connect; who may do what is decided by peer credentials (see the module's words).
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    let made = std::fs::symlink_metadata(path)?;
    Ok((listener, SocketFile { path: path.to_owned(), identity: (made.dev(), made.ino()) }))
}

async fn serve(listener: UnixListener, settings: Settings, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let router = routes::router(app);
    let (peers, settings) = (Arc::new(Peers::of(&settings.socket)), Arc::new(settings));
    let (places, strangers) = (Arc::new(Semaphore::new(CONNECTIONS)), Arc::new(Semaphore::new(STRANGERS)));
    let mut connections = JoinSet::new();
    let (crowded, crowd) = watch::channel(false);
    loop {
        while connections.try_join_next().is_some() {}
        crowded.send_if_modified(|crowded| std::mem::replace(crowded, places.available_permits() == 0) != *crowded);
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.expect("the semaphore is never closed"),
            () = stopped(&mut stop) => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            () = stopped(&mut stop) => break,
        };
        match stream {
            Ok(stream) => {
                let (router, settings, peers) = (router.clone(), settings.clone(), peers.clone());
                let (strangers, until) = (strangers.clone(), Until { stop: stop.clone(), crowd: crowd.clone() });
                connections.spawn(async move {
                    admit(stream, router, (settings, peers), strangers, until).await;
                    drop(place);
                });
            }
            Err(error) => pause_after("admin socket", &error).await,
        }
    }
    drop(listener);
    drain(connections).await;
}

/// Out of file descriptors, most likely: accepting again at once would only spin.
async fn pause_after(listener: &str, error: &io::Error) {
    strain::cannot_accept(listener, error);
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn drain(mut connections: JoinSet<()>) {
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, finished).await.is_err() {
        connections.shutdown().await;
    }
}

async fn admit(
    stream: UnixStream,
    router: Router,
    (settings, peers): (Arc<Settings>, Arc<Peers>),
    strangers: Arc<Semaphore>,
    until: Until,
) {
    let Ok(peer) = stream.peer_cred() else { return };
    let hidden = peers.hidden(peer.uid()).then(|| stream.as_fd().try_clone_to_owned()).transpose();
    let Ok(hidden) = hidden else { return };
    let look_up = tokio::task::spawn_blocking(move || {
        let (uid, gid) = match hidden {
            None => (peer.uid(), peer.gid()),
            Some(connection) => {
                let told = peers.ask(connection).inspect(|_| strain::peer_told());
                let peer = told.inspect_err(|error| strain::peer_unknown(&error.to_string()))?;
                (peer.uid, peer.gid)
            }
        };
        Ok::<_, io::Error>(access::look_up(uid, gid, &settings))
    });
    let caller = match tokio::time::timeout(LOOK_UP_TIME, look_up).await {
        Ok(Ok(Ok(caller))) => caller,
        Ok(Ok(Err(error))) => return refuse(stream, routes::somebody(&error), &strangers, until).await,
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(uid = peer.uid(), "the groups of a peer of the admin socket cannot be looked up");
            return;
        }
    };
    match caller.access {
        Access::Nothing => {
            tracing::info!(uid = caller.uid, "refused on the admin socket");
            refuse(stream, routes::nothing(), &strangers, until).await;
        }
        Access::Read | Access::Write => {
            let stream = Watched::over(stream);
            let gone = stream.clone().gone();
            converse(stream, router.layer(axum::Extension(caller)), true, until, gone).await
        }
    }
}

/// One answer, where there is a place for strangers.
async fn refuse(stream: UnixStream, answer: Router, strangers: &Semaphore, until: Until) {
    if let Ok(_place) = strangers.try_acquire() {
        let stream = Watched::over(stream);
        let gone = stream.clone().gone();
        let _ = tokio::time::timeout(STRANGER_TIME, converse(stream, answer, false, until, gone)).await;
    }
}

/// What ends a connection besides its peer.
#[derive(Clone)]
struct Until {
    /// The server stops.
    stop: watch::Receiver<bool>,
    /// Others wait for its place.
    crowd: watch::Receiver<bool>,
}

/// Answers the requests of one connection.
async fn converse<S>(stream: S, router: Router, keep_alive: bool, until: Until, gone: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Until { mut stop, crowd } = until;
    let in_hand = InHand::default();
    let asked = in_hand.clone();
    let answer = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (mut router, asked) = (router.clone(), asked.one());
        async move {
            let answer = router.call(request.map(|body| axum::body::Body::new(Lingering::over(body)))).await?;
            Ok::<_, std::convert::Infallible>(answer.map(|body| Answering { body, _asked: asked }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(keep_alive)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = in_hand.give_way(crowd) => return,
        () = gone => return,
        () = stopped(&mut stop) => {
            // Who has only just connected is about to ask, and would be hung up on.
            let first = if in_hand.none_yet() { FIRST_REQUEST } else { Duration::ZERO };
            match tokio::time::timeout(first, connection.as_mut()).await {
                Ok(ended) => ended,
                Err(_) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of the admin socket broke off");
    }
}

async fn serve_metrics(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(STRANGERS));
    let mut connections = JoinSet::new();
    let (_never, crowd) = watch::channel(false);
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok(stream) => {
                // Whoever comes when all places are taken is let go; a scraper comes again.
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let (router, until) = (router.clone(), Until { stop: stop.clone(), crowd: crowd.clone() });
                connections.spawn(async move {
                    let _ = tokio::time::timeout(
                        STRANGER_TIME,
                        converse(stream, router, false, until, std::future::pending()),
                    )
                    .await;
                    drop(place);
                });
            }
            Err(error) => pause_after("metrics listener", &error).await,
        }
    }
    drop(listener);
    drain(connections).await;
}
