//! The I/O around a session: listeners, connections, deadlines, drain.
//!
//! One task accepts for each listener, one task serves each connection. A connection that fails, or panics,
//! ends alone; Postfix then does as its `milter_default_action` says for the rest of that SMTP session.

mod connection;
mod listener;

use super::session::{Conclusion, Interest, Transaction};
use super::{Choose, ListenAddress, Wanted};
use crate::ops::event::{LogEvent, measure, say};
use connection::Connection;
use listener::Listener;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

/// Wait before accepting again when the system cannot (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// A running server. Dropped without [`Server::stop`], it stops by itself in the background.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<ListenAddress>,
    open: Arc<AtomicUsize>,
    stopping: watch::Sender<bool>,
    acceptors: Vec<JoinHandle<()>>,
}

/// One open connection, counted as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Server {
    /// Binds every listener and starts to serve.
    ///
    /// # Errors
    /// An I/O error naming the listener that cannot be bound; then none is left bound.
    pub async fn start<J: Judge>(settings: Settings, judge: Arc<J>) -> io::Result<Server> {
        let mut listeners = Vec::with_capacity(settings.listen.len());
        for address in &settings.listen {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
            listeners.push(Listener::bind(address).await.map_err(named)?);
        }
        let addresses = listeners.iter().map(|listener| listener.address().clone()).collect();
        let open = Arc::new(AtomicUsize::new(0));
        let (stopping, stop) = watch::channel(false);
        let settings = Arc::new(settings);
        let accept = |listener| {
            let acceptor = Acceptor {
                listener,
                settings: settings.clone(),
                judge: judge.clone(),
                open: open.clone(),
                stop: stop.clone(),
            };
            tokio::spawn(acceptor.run())
        };
        let acceptors = listeners.into_iter().map(accept).collect();
        Ok(Server { addresses, open, stopping, acceptors })
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
        self.stopping.send_replace(true);
        for acceptor in self.acceptors {
            report_panic(&acceptor.await);
        }
    }
}

struct Acceptor<J> {
    listener: Listener,
    settings: Arc<Settings>,
    judge: Arc<J>,
    open: Arc<AtomicUsize>,
    stop: watch::Receiver<bool>,
}

impl<J: Judge> Acceptor<J> {
    async fn run(mut self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                // An error means that the server was dropped.
                _ = self.stop.changed() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    report_panic(&ended);
                }
                accepted = self.listener.accept() => match accepted {
                    Ok(stream) => self.serve(stream, &mut connections),
                    Err(problem) => {
                        say(&LogEvent::OverLimit { queue_id: "-", limit: &format!("cannot accept: {problem}") });
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        let drain_timeout = self.settings.drain_timeout;
        drop(self.listener);
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                report_panic(&ended);
            }
        };
        if tokio::time::timeout(drain_timeout, drained).await.is_err() {
            connections.shutdown().await;
        }
    }

    fn serve(&self, stream: listener::Stream, connections: &mut JoinSet<()>) {
        measure::MILTER_CONNECTIONS.add(1);
        let counted = Counted::new(self.open.clone());
        if counted.0.load(Ordering::Relaxed) > self.settings.connections {
            say(&LogEvent::OverLimit { queue_id: "-", limit: "connections" });
            return;
        }
        let connection = Connection::new(self.settings.clone(), self.judge.clone(), self.stop.clone());
        connections.spawn(async move {
            let _counted = counted;
            match stream {
                listener::Stream::Unix(stream) => connection.serve(stream).await,
                listener::Stream::Tcp(stream) => connection.serve(stream).await,
            }
        });
    }
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

fn report_panic(ended: &Result<(), JoinError>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        say(&LogEvent::ProtocolError { queue_id: "-", problem: "a connection was lost to a fault of ours (panic)" });
    }
}

#[cfg(test)]
mod tests;
