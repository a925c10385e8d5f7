//! Serves the Unix socket: peer credentials decide who may read and write.

use crate::service::Service;
use std::path::PathBuf;
use std::sync::Arc;

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
}

/// Where the configuration in force comes from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConfigState {
    /// The file.
    pub file: PathBuf,
    /// When it was read.
    pub loaded_at: jiff::Timestamp,
    /// Why the last reload kept the old one, if it did.
    pub reload_error: Option<String>,
}

/// A running admin server.
pub struct Server {}

impl Server {
    /// Binds the socket and starts to serve.
    ///
    /// # Errors
    /// An I/O error naming the socket.
    pub async fn start(settings: Settings, service: Arc<Service>, daemon: Arc<dyn Daemon>) -> std::io::Result<Server> {
        let _ = (settings, service, daemon);
        todo!()
    }

    /// Stops serving and removes the socket.
    pub async fn stop(self) {
        todo!()
    }
}
