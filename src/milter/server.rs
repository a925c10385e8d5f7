//! The I/O around a session: listeners, connections, deadlines, drain.

use super::session::{Conclusion, Interest, Transaction};
use super::{Choose, ListenAddress, Wanted};
use std::sync::Arc;
use std::time::Duration;

/// How the server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Vec<ListenAddress>,
    /// Connections served at once.
    pub connections: usize,
    /// Longest wait for the next packet of a connection.
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
        transaction: Box<Transaction>,
    ) -> impl Future<Output = Conclusion> + std::marker::Send;
}

/// A running server.
pub struct Server {}

impl Server {
    /// Binds every listener and starts to serve.
    ///
    /// # Errors
    /// An I/O error naming the listener that cannot be bound.
    pub async fn start<J: Judge>(settings: Settings, judge: Arc<J>) -> std::io::Result<Server> {
        let _ = (settings, judge);
        todo!()
    }

    /// Where it listens; a TCP port 0 is replaced by the port given.
    pub fn addresses(&self) -> &[ListenAddress] {
        todo!()
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        todo!()
    }

    /// Stops accepting, lets open messages finish within the drain time, then closes.
    pub async fn stop(self) {
        todo!()
    }
}
