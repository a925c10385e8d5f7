//! The daemon while it serves: what it tells the admin socket, hooks and the service manager of itself, and how it reads
//! its configuration again.

use super::{Failure, address_key, explain, in_force};
use crate::admin::server::{ConfigState, LastRelease};
use crate::hooks::{Hooks, Raised};
use crate::ops::config::Config;
use crate::ops::event::{LogEvent, say};
use crate::ops::release::LastRun;
use crate::ops::watchdog::{self, Watched};
use crate::outbound::Mode;
use crate::service::Service;
use crate::{admin, hooks, milter};
use jiff::Timestamp;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// What the admin socket tells of the daemon.
pub struct Running {
    pub milter: Mutex<Option<milter::server::Server>>,
    config_state: Mutex<ConfigState>,
    pub last_release: LastRun,
    service: Arc<Service>,
    pub hooks: Mutex<Option<Arc<Hooks>>>,
}

impl Running {
    pub fn new(file: &Path, service: Arc<Service>) -> Running {
        let state = ConfigState { file: file.to_owned(), loaded_at: Timestamp::now(), reload_error: None };
        let (milter, config_state) = (Mutex::new(None), Mutex::new(state));
        Running { milter, config_state, last_release: LastRun::default(), service, hooks: Mutex::default() }
    }

    /// The milter's listeners, as `ready` tells them.
    pub fn listeners(&self) -> String {
        let milter = locked(&self.milter);
        let addresses = milter.iter().flat_map(|milter| milter.addresses());
        addresses.map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// What `systemctl status` shows.
    pub fn status(&self) -> String {
        let connections = locked(&self.milter).as_ref().map_or(0, milter::server::Server::connections);
        let figures = self.service.store().figures();
        let mode = match self.service.in_force().mode {
            Mode::Enforce => "serving",
            Mode::Shadow => "serving in shadow mode",
        };
        let refused = locked(&self.config_state).reload_error.is_some();
        let reload = if refused { "; the new configuration cannot be used, the old one serves" } else { "" };
        format!(
            "{mode}: {connections} milter connections, {} events, {} contacts{reload}",
            figures.events, figures.contacts
        )
    }

    /// Tells the service manager that all is well, while it is.
    pub fn watch(self: &Arc<Running>) -> tokio::task::JoinHandle<()> {
        let prober = locked(&self.milter).as_ref().map(milter::server::Server::prober);
        let (running, service) = (self.clone(), self.service.clone());
        let status = Box::new(move || running.status());
        tokio::spawn(async move {
            if let Some(milter) = prober {
                watchdog::serve(Watched { milter, service, status }).await;
            }
        })
    }

    /// Reads the configuration and the rules again; puts them in force only if all of it can be used.
    pub async fn reload(&self, started_with: &Config) {
        let file = locked(&self.config_state).file.clone();
        let read = || -> Result<_, Failure> {
            let config = Config::read(&file)?;
            let in_force = in_force(&config)?;
            // Not used before a restart, but better refused now than then.
            address_key(&config)?;
            Ok((config, in_force))
        };
        match tokio::task::block_in_place(read) {
            Ok((config, in_force)) => {
                self.service.replace(in_force);
                if let Some(hooks) = locked(&self.hooks).as_ref() {
                    hooks.replace(config.hooks.clone());
                }
                let mut state = locked(&self.config_state);
                (state.loaded_at, state.reload_error) = (Timestamp::now(), None);
                let restart = started_with.needs_restart(&config).join(",");
                say(&LogEvent::Reload { file: &state.file.display().to_string(), restart: &restart });
            }
            Err(failure) => {
                let problem = explain(&failure);
                say(&LogEvent::ReloadRefused { problem: &problem });
                locked(&self.config_state).reload_error = Some(problem);
            }
        }
    }
}

impl admin::server::Daemon for Running {
    fn milter_connections(&self) -> usize {
        locked(&self.milter).as_ref().map_or(0, milter::server::Server::connections)
    }

    fn config_state(&self) -> ConfigState {
        locked(&self.config_state).clone()
    }

    fn last_release(&self) -> Option<LastRelease> {
        *locked(&self.last_release)
    }

    fn hooks(&self) -> Option<Arc<Hooks>> {
        locked(&self.hooks).clone()
    }
}

impl hooks::Alerts for Running {
    fn raised(&self, asking: &str) -> Vec<Raised> {
        let open = admin::open_alerts(self, self.service.watch(), Some(asking));
        open.into_iter().map(|alert| Raised { code: alert.code, message: alert.message }).collect()
    }
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
