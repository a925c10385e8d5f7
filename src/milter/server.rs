//! The I/O around a session: listeners, connections, deadlines, drain.
//!
//! One task accepts for each listener, one task serves each connection. A connection that fails, or panics,
//! ends alone; Postfix then does as its `milter_default_action` says for the rest of that SMTP session.

mod connection;
mod handover;
mod listener;
mod probe;

use super::session::{Conclusion, Interest, Transaction};
use super::{Choose, ListenAddress, Wanted};
use crate::ops::event::{LogEvent, measure, say, strain};
use connection::Connection;
pub use handover::{HandedOver, Opening};
pub use listener::Bound;
use listener::{Listener, Stream};
use probe::Given;
pub use probe::Prober;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, JoinSet};

/// Wait before accepting again when the system cannot (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How much longer than the drain time an answer that was decided on by then may take to be sent.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// The tasks that serve connections; each gives back what is to be handed over.
type Connections = JoinSet<Option<HandedOver>>;

/// How the server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Connections served at once. One more is closed at once, for Postfix to act by its default, rather than
    /// left to wait until Postfix gives up.
    pub connections: usize,
    /// Longest wait for the next packet of a connection. Postfix keeps one open as long as its SMTP client
    /// may idle (`smtpd_timeout`, 300 s).
    pub idle_timeout: Duration,
    /// Longest time for the decision at the end of a message.
    pub decision_timeout: Duration,
    /// Longest time a stopping server lets open connections finish.
    pub drain_timeout: Duration,
    /// What one connection may cost.
    pub limits: super::Limits,
    /// Who may connect to a Unix socket that we make.
    pub access: SocketAccess,
}

/// Who may connect to a Unix socket, as far as its own mode says; the directory it stands in says the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// Its mode. Postfix connects as user `postfix`, which must be allowed to write.
    pub mode: u32,
    /// Its group, if not the daemon's own.
    pub group: Option<String>,
}

impl Default for SocketAccess {
    fn default() -> SocketAccess {
        SocketAccess { mode: 0o666, group: None }
    }
}

/// What decides; implemented by `service::Service`. One value is made for each message, so that a reload
/// never changes the rules in the middle of one.
pub trait Judge: std::marker::Send + Sync + 'static {
    /// The chooser that serves one message.
    type Chooser: Choose + std::marker::Send + Sync;

    /// What to ask Postfix for at the start of a connection.
    fn wanted(&self) -> Wanted;

    /// Called at the start of each message.
    fn begin(&self) -> Self::Chooser;

    /// Decides on a complete message. Never fails: trouble is answered as configured.
    fn conclude(
        &self,
        chooser: Self::Chooser,
        interest: Interest,
        transaction: &Transaction,
    ) -> impl Future<Output = Conclusion> + std::marker::Send;

    /// Answers for a message whose decision took longer than [`Settings::decision_timeout`], or panicked: that
    /// decision was given up.
    fn overdue(&self, interest: Interest, transaction: &Transaction) -> Conclusion;
}

/// Whether the server stops, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It serves.
    No,
    /// Connections are closed when their message is answered.
    Drain,
    /// Connections are handed over when their message is answered.
    HandOver,
}

/// A running server. Dropped without [`Server::stop`], it stops by itself in the background.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<ListenAddress>,
    open: Arc<AtomicUsize>,
    stopping: watch::Sender<Stop>,
    given: Vec<mpsc::Sender<Given>>,
    acceptors: Vec<JoinHandle<Vec<HandedOver>>>,
}

/// One open connection, counted as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Server {
    /// Binds every listener and starts to serve.
    ///
    /// # Errors
    /// An I/O error naming the listener that cannot be bound; then none is left bound.
    pub async fn start<J: Judge>(settings: Settings, judge: Arc<J>) -> io::Result<Server> {
        let bound = bind(&settings)?;
        Server::start_on(bound, settings, judge)
    }

    /// Serves listeners that were bound before, or passed to the process.
    ///
    /// # Errors
    /// What the system says.
    pub fn start_on<J: Judge>(bound: Vec<Bound>, settings: Settings, judge: Arc<J>) -> io::Result<Server> {
        let listeners: Vec<Listener> = bound.into_iter().map(Bound::serve).collect::<io::Result<_>>()?;
        let addresses = listeners.iter().map(|listener| listener.address().clone()).collect();
        let open = Arc::new(AtomicUsize::new(0));
        let (stopping, stop) = watch::channel(Stop::No);
        let settings = Arc::new(settings);
        let (given, to_take): (Vec<_>, Vec<_>) = listeners.iter().map(|_| mpsc::channel(1)).unzip();
        let accept = |(listener, given)| {
            let acceptor = Acceptor {
                listener,
                given,
                settings: settings.clone(),
                judge: judge.clone(),
                open: open.clone(),
                stop: stop.clone(),
            };
            tokio::spawn(acceptor.run())
        };
        let acceptors = listeners.into_iter().zip(to_take).map(accept).collect();
        Ok(Server { addresses, open, stopping, given, acceptors })
    }

    /// Where it listens; a TCP port 0 is replaced by the port given.
    pub fn addresses(&self) -> &[ListenAddress] {
        &self.addresses
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Stops accepting, lets open messages finish within the drain time, then closes. A connection between two
    /// messages goes on for as long as it is busy, because Postfix does not connect again within an SMTP
    /// session.
    pub async fn stop(self) {
        self.end(Stop::Drain).await;
    }

    /// As [`Server::stop`], but connections between two messages are not closed: they are given back, for
    /// [`Server::resume`] of another process.
    pub async fn stop_handing_over(self) -> Vec<HandedOver> {
        self.end(Stop::HandOver).await
    }

    async fn end(self, how: Stop) -> Vec<HandedOver> {
        self.stopping.send_replace(how);
        let mut handed_over = Vec::new();
        for acceptor in self.acceptors {
            match acceptor.await {
                Ok(mut some) => handed_over.append(&mut some),
                Err(error) => report_panic(&error),
            }
        }
        handed_over
    }

    /// Goes on with connections that another process handed over.
    pub async fn resume(&self, handed_over: Vec<HandedOver>) {
        let Some(acceptor) = self.given.first() else { return };
        for connection in handed_over {
            // Fails when the server stops; then the connection is closed.
            _ = acceptor.send(Given::Resumed(connection)).await;
        }
    }

    /// Looks whether the server still serves.
    pub fn prober(&self) -> Prober {
        Prober::new(self.given.clone())
    }
}

/// Binds every listener of the settings.
///
/// # Errors
/// An I/O error naming the listener that cannot be bound; then none is left bound.
pub fn bind(settings: &Settings) -> io::Result<Vec<Bound>> {
    let bind = |address: &ListenAddress| {
        let named = |error: io::Error| {
            let hint = match (address, error.kind()) {
                (ListenAddress::Unix(_), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                    "; its directory must be there and belong to the daemon's user, or with systemd, \
                     backstopd-milter.socket must name it as ListenStream"
                }
                _ => "",
            };
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
        };
        Bound::bind(address, &settings.access).map_err(named)
    };
    settings.listen.iter().map(bind).collect()
}

struct Acceptor<J> {
    listener: Listener,
    given: mpsc::Receiver<Given>,
    settings: Arc<Settings>,
    judge: Arc<J>,
    open: Arc<AtomicUsize>,
    stop: watch::Receiver<Stop>,
}

impl<J: Judge> Acceptor<J> {
    async fn run(mut self) -> Vec<HandedOver> {
        let mut connections = JoinSet::new();
        let mut handed_over = Vec::new();
        loop {
            tokio::select! {
                biased;
                // An error means that the server was dropped.
                _ = self.stop.changed() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => note(ended, &mut handed_over),
                Some(given) = self.given.recv() => self.take(given, &mut connections),
                accepted = self.listener.accept() => match accepted {
                    Ok(stream) => self.serve(stream, &mut connections),
                    Err(problem) => {
                        strain::cannot_accept("milter", &problem);
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        let drain_timeout = self.settings.drain_timeout;
        drop(self.listener);
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                note(ended, &mut handed_over);
            }
        };
        // Each connection keeps to the drain time by itself; what is left then does not get its answer sent.
        if tokio::time::timeout(drain_timeout + LAST_ANSWERS, drained).await.is_err() {
            connections.shutdown().await;
        }
        handed_over
    }

    fn serve(&self, stream: Stream, connections: &mut Connections) {
        measure::MILTER_CONNECTIONS.add(1);
        let counted = Counted::new(self.open.clone());
        if counted.0.load(Ordering::Relaxed) > self.settings.connections {
            strain::too_many_connections(self.settings.connections);
            return;
        }
        connections.spawn(converse(self.connection(), stream, None, counted));
    }

    /// Takes what came by another way than the listener.
    fn take(&self, given: Given, connections: &mut Connections) {
        let connection = self.connection();
        match given {
            Given::Probe(stream) => {
                connections.spawn(async move {
                    // It says good-bye, or is gone; there is nothing to go on with.
                    _ = connection.serve(stream, None).await;
                    None
                });
            }
            Given::Resumed(HandedOver { stream, opening }) => match Stream::passed(stream) {
                Ok(stream) => {
                    let counted = Counted::new(self.open.clone());
                    connections.spawn(converse(connection, stream, Some(opening), counted));
                }
                Err(error) => {
                    let problem = format!("a connection that was handed over cannot be used: {error}");
                    say(&LogEvent::ProtocolError { queue_id: "-", problem: &problem });
                }
            },
        }
    }

    fn connection(&self) -> Connection<J> {
        Connection::new(self.settings.clone(), self.judge.clone(), self.stop.clone())
    }
}

/// Serves a connection from its beginning, or from where another process left it; gives back what is to be handed over.
async fn converse<J: Judge>(
    connection: Connection<J>,
    stream: Stream,
    opening: Option<Opening>,
    _counted: Counted,
) -> Option<HandedOver> {
    match stream {
        Stream::Unix(stream) => left(connection.serve(stream, opening).await, UnixStream::into_std),
        Stream::Tcp(stream) => left(connection.serve(stream, opening).await, TcpStream::into_std),
    }
}

/// What a connection leaves when it ends: itself, where it is handed over.
fn left<S, D: Into<OwnedFd>>(ended: Option<(S, Opening)>, into_std: fn(S) -> io::Result<D>) -> Option<HandedOver> {
    let (stream, opening) = ended?;
    Some(HandedOver { stream: into_std(stream).ok()?.into(), opening })
}

impl Counted {
    fn new(open: Arc<AtomicUsize>) -> Counted {
        open.fetch_add(1, Ordering::Relaxed);
        Counted(open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn note(ended: Result<Option<HandedOver>, JoinError>, handed_over: &mut Vec<HandedOver>) {
    match ended {
        Ok(left) => handed_over.extend(left),
        Err(error) => report_panic(&error),
    }
}

fn report_panic(error: &JoinError) {
    if error.is_panic() {
        say(&LogEvent::ProtocolError { queue_id: "-", problem: "a connection was lost to a fault of ours (panic)" });
    }
}

#[cfg(test)]
mod tests;
