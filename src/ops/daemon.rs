//! The daemon from its start to its end: opens the store, serves the milter and the admin socket, reloads,
//! drains.
//!
//! In: a configuration that was read. Called by `backstopd`. Everything that can fail at the start has its exit
//! code of sysexits.h.

use super::clock;
use super::config::{Config, ConfigError, LogAddresses};
use super::event::{AddressKey, LogEvent, say, set_addresses};
use super::privileges::{self, PrivilegeError};
use super::release::{LastRun, release_hourly};
use super::rule_files;
use super::signals::{Asked, Signals};
use super::systemd::{self, Passed};
use super::watchdog::{self, Watched};
use crate::admin::server::{ConfigState, LastRelease};
use crate::authority::keys::KeysError;
use crate::authority::{FeedbackLoops, KeyRing, Signatures, Tokens};
use crate::classify::{RuleError, Rules};
use crate::hooks::{Hooks, Raised};
use crate::outbound::{Domains, Mode};
use crate::service::{InForce, Service};
use crate::store::{Store, StoreError};
use crate::{admin, authority, hooks, milter};
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// How much longer than the drain time the end may take: the admin socket's requests, and some slack.
const SLACK: Duration = Duration::from_secs(5);

/// Old words and old sends are let go of so long after the start, and then so often.
const FIRST_EXPIRY: Duration = Duration::from_secs(300);
const EXPIRY: Duration = Duration::from_secs(86_400);

/// Files that others than the milter's connections may want: the admin socket's crowd, the store, hooks, the DNS.
const FILES_OF_OTHERS: u64 = 256;

/// Why the daemon cannot start, or did not end in good order.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operator's rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RuleError),
    /// Domains are to be checked, and the DNS cannot be asked.
    #[error("[dns]: {0}")]
    Dns(String),
    /// The key for hashing addresses cannot be had.
    #[error("[log] hash_key_file {}: {source}", file.display())]
    HashKey {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The keys of tokens cannot be used.
    #[error("[authority] keys: {0}")]
    Keys(#[from] KeysError),
    /// The store cannot be opened, rebuilt or closed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A socket cannot be listened on.
    #[error("{0}")]
    Listen(std::io::Error),
    /// It is root, and cannot or must not go on as somebody else.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The system refuses what every daemon needs.
    #[error("{0}")]
    System(std::io::Error),
}

impl Failure {
    /// The exit code (sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Config(_) | Failure::Rules(_) | Failure::Dns(_) | Failure::Keys(_) | Failure::HashKey { .. } => 78, // EX_CONFIG
            Failure::Store(StoreError::InUse { .. } | StoreError::Busy) => 75, // EX_TEMPFAIL
            Failure::Store(
                StoreError::NewerSchema { .. }
                | StoreError::Unopenable { .. }
                | StoreError::Damaged { .. }
                | StoreError::Corrupt { .. },
            ) => 65, // EX_DATAERR: starting again does not help
            Failure::Store(StoreError::Unwritable { .. }) => 73,               // EX_CANTCREAT
            Failure::Store(StoreError::Engine(_) | StoreError::Stopped) => 74, // EX_IOERR
            Failure::Listen(_) => 69,                                          // EX_UNAVAILABLE
            Failure::Privileges(PrivilegeError::Refused { .. } | PrivilegeError::Left(_)) => 71, // EX_OSERR
            Failure::Privileges(_) => 78,                                      // EX_CONFIG
            Failure::System(_) => 71,                                          // EX_OSERR
        }
    }
}

/// Tells a daemon in a user namespace who its peers are, until it is ended.
///
/// # Errors
/// [`Failure`] when it is root and cannot be anybody less, or was passed no socket.
pub fn tell_peers(allow_root: bool) -> Result<(), Failure> {
    // Anybody will do: it opens nothing.
    let anybody = privileges::Settings { user: "nobody".to_owned(), group: None };
    if let Some(unprivileged) = privileges::whom(&anybody, allow_root)? {
        unprivileged.become_for_good()?;
    }
    privileges::gain_nothing_new()?;
    let socket = systemd::peer_socket().map_err(Failure::Listen)?;
    match admin::peer::tell::tell(socket).map_err(Failure::System)? {}
}

/// What a configuration puts in force: reads the operator's rules and dialects.
///
/// # Errors
/// [`Failure::Rules`] for the first rule file that cannot be used, [`Failure::Dns`] where domains are to be checked
/// and nobody can be asked, [`Failure::Keys`] for keys that cannot be used, or none where mail is to be signed.
pub fn in_force(config: &Config) -> Result<InForce, Failure> {
    let domains = config.outbound.check_domains.then(|| Domains::new(&config.dns));
    Ok(InForce {
        mode: config.mode,
        outbound: config.outbound.clone(),
        limits: config.limits.clone(),
        domains: domains.transpose().map_err(Failure::Dns)?.map(Arc::new),
        signatures: Some(Arc::new(Signatures::new(
            FeedbackLoops::compiled_in().overlaid_by(&config.feedback_loops),
            &config.dns.servers,
        ))),
        inbound: config.return_path.clone(),
        policy: config.policy.clone(),
        tokens: Arc::new(tokens(&config.authority)?),
        dialects: Arc::new(rule_files::dialects(&config.dialects_directory)?),
        rules: Arc::new(Rules::with_overlay(&config.rules_directory)?),
    })
}

/// The tokens, with the keys of their directory. Where nothing is signed any more, old tokens still come back.
fn tokens(settings: &authority::Settings) -> Result<Tokens, KeysError> {
    let ring = KeyRing::read(&settings.keys)?;
    if settings.sign && ring.signing().is_none() {
        return Err(KeysError::NoKey { directory: settings.keys.clone() });
    }
    Ok(Tokens::new(settings.clone(), ring))
}

/// The key that addresses in the log are hashed with, if they are.
///
/// # Errors
/// [`Failure::HashKey`] when it cannot be read.
pub fn address_key(config: &Config) -> Result<Option<AddressKey>, Failure> {
    match (config.log_addresses, &config.log_hash_key_file) {
        (LogAddresses::Plain, _) => Ok(None),
        (LogAddresses::Hashed, None) => AddressKey::random().map(Some).map_err(Failure::System),
        (LogAddresses::Hashed, Some(file)) => {
            AddressKey::read(file).map(Some).map_err(|source| Failure::HashKey { file: file.clone(), source })
        }
    }
}

/// What takes root, where the process was started as such, and what is read before the first message.
pub struct Prepared {
    file: PathBuf,
    config: Config,
    in_force: InForce,
    passed: Passed,
    /// Bound by root already, if it was root; else when the store is open, so that whoever connects finds a daemon that is
    /// whole, or none. An error is told then, too: a second daemon on the same store is to hear of the store first.
    sockets: Option<std::io::Result<Sockets>>,
}

/// The milter's listeners, and the admin socket with that of the metrics.
type Sockets = (Vec<milter::server::Bound>, admin::server::Sockets);

impl Prepared {
    /// Reads rules and secrets; as root binds the sockets that were not passed, and gives root up. To be called before there
    /// is a second thread.
    ///
    /// # Errors
    /// [`Failure`] for what cannot be used, and where root cannot be given up.
    pub fn new(file: &Path, config: Config, allow_root: bool) -> Result<Prepared, Failure> {
        let becoming = privileges::whom(&config.process, allow_root)?;
        privileges::set_umask();
        let mut passed = Passed::take().map_err(Failure::Listen)?;
        set_addresses(address_key(&config)?);
        let in_force = in_force(&config)?;
        let sockets = match becoming {
            None => None,
            Some(unprivileged) => {
                let sockets = bind(&config, &mut passed);
                unprivileged.become_for_good()?;
                Some(sockets)
            }
        };
        if !allow_root {
            privileges::gain_nothing_new()?;
        }
        Ok(Prepared { file: file.to_owned(), config, in_force, passed, sockets })
    }
}

/// Takes the sockets that were passed, and binds the configured ones that are not among them.
fn bind(config: &Config, passed: &mut Passed) -> std::io::Result<Sockets> {
    let taken = std::mem::take(&mut passed.milter).into_iter().map(milter::server::Bound::passed);
    let mut milter: Vec<_> = taken.collect::<Result<_, _>>()?;
    let mut settings = config.milter.clone();
    settings.listen.retain(|address| !milter.iter().any(|bound| bound.address() == address));
    let admin = admin::server::Sockets::bind(&config.admin, passed.admin.take(), passed.metrics.take())?;
    milter.extend(milter::server::bind(&settings)?);
    Ok((milter, admin))
}

/// Serves until a signal asks for the end.
///
/// # Errors
/// [`Failure`] when it cannot start, or what waited could not be written at the end.
pub async fn run(prepared: Prepared) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::System)?;
    raise_open_files();
    let Prepared { file, config, in_force, mut passed, sockets } = prepared;
    let settings = config.store.clone();
    let store = blocking(move || Store::open(&settings)).await??;
    let service = Arc::new(Service::new(store.clone(), in_force));
    let served = match sockets.unwrap_or_else(|| bind(&config, &mut passed)) {
        Ok(sockets) => serve(&file, config, sockets, passed, service, &mut signals).await,
        Err(error) => Err(Failure::Listen(error)),
    };
    let closed = blocking(move || store.close()).await;
    served?;
    closed??;
    say(&LogEvent::Stopped);
    Ok(())
}

async fn serve(
    file: &Path,
    config: Config,
    (milter, admin): Sockets,
    mut passed: Passed,
    service: Arc<Service>,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let running = Arc::new(Running::new(file, service.clone()));
    let admin = admin::server::Server::start_on(admin, config.admin.clone(), service.clone(), running.clone());
    let admin = admin.map_err(Failure::Listen)?;
    match milter::server::Server::start_on(milter, within_open_files(config.milter.clone()), service.clone()) {
        Ok(milter) => {
            milter.resume(std::mem::take(&mut passed.connections)).await;
            passed.release();
            *locked(&running.milter) = Some(milter);
        }
        Err(error) => {
            admin.stop().await;
            return Err(Failure::Listen(error));
        }
    }
    say(&LogEvent::Ready { milter: &running.listeners(), admin: &config.admin.socket.display().to_string() });
    systemd::ready(&running.status(&service));
    let watchdog = running.watch(&service);
    let hooks = Hooks::start(service.store().clone(), running.clone(), config.hooks.clone()).await;
    *locked(&running.hooks) = Some(hooks.clone());
    let expiry = tokio::spawn(expire_daily(service.clone()));
    let clock = tokio::spawn(clock::watch());
    let watched = service.clone();
    drop(tokio::task::spawn_blocking(move || watched.look_back(Timestamp::now())));
    let release = tokio::spawn(release_hourly(service.clone(), running.last_release.clone()));
    loop {
        match signals.next().await {
            Asked::Reload => {
                systemd::reloading();
                running.reload(&config, &service).await;
                systemd::ready(&running.status(&service));
            }
            Asked::Stop(signal) => {
                say(&LogEvent::Stop { signal });
                break;
            }
        }
    }
    systemd::stopping();
    watchdog.abort();
    // A step in hand finishes in the store's writer, which is closed later.
    expiry.abort();
    release.abort();
    clock.abort();
    let milter = locked(&running.milter).take();
    let drained = async {
        match milter {
            Some(milter) if systemd::keeps_connections() => {
                let connections = milter.stop_handing_over().await;
                tokio::task::block_in_place(|| systemd::keep(connections));
            }
            Some(milter) => milter.stop().await,
            None => {}
        }
        tokio::join!(admin.stop(), hooks.stop());
    };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(config.milter.drain_timeout + SLACK) => {}
        _ = signals.stop() => {} // asked twice: at once
    }
    Ok(())
}

/// Lets go of old words and old sends, a while after the start and then daily.
async fn expire_daily(service: Arc<Service>) {
    let started = Instant::now();
    let mut due = tokio::time::interval_at(started + FIRST_EXPIRY, EXPIRY);
    loop {
        due.tick().await;
        if let Some(problem) = clock::not_yet(service.store(), Timestamp::now(), started.elapsed()) {
            say(&LogEvent::ExpireFailed { problem: &problem });
            continue;
        }
        let service = service.clone();
        let expire = move || {
            service.expire(Timestamp::now());
            service.store().expire(Timestamp::now())
        };
        match blocking(expire).await {
            Ok(Ok(expired)) => say(&LogEvent::Expire { evidence: expired.events, sends: expired.sends }),
            Ok(Err(error)) => say(&LogEvent::ExpireFailed { problem: &error.to_string() }),
            Err(failure) => say(&LogEvent::ExpireFailed { problem: &failure.to_string() }),
        }
    }
}

/// What the admin socket tells of the daemon.
struct Running {
    milter: Mutex<Option<milter::server::Server>>,
    config_state: Mutex<ConfigState>,
    last_release: LastRun,
    service: Arc<Service>,
    hooks: Mutex<Option<Arc<Hooks>>>,
}

impl Running {
    fn new(file: &Path, service: Arc<Service>) -> Running {
        let state = ConfigState { file: file.to_owned(), loaded_at: Timestamp::now(), reload_error: None };
        let (milter, config_state) = (Mutex::new(None), Mutex::new(state));
        Running { milter, config_state, last_release: LastRun::default(), service, hooks: Mutex::default() }
    }

    /// The milter's listeners, as `ready` tells them.
    fn listeners(&self) -> String {
        let milter = locked(&self.milter);
        let addresses = milter.iter().flat_map(|milter| milter.addresses());
        addresses.map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// What `systemctl status` shows.
    fn status(&self, service: &Service) -> String {
        let connections = locked(&self.milter).as_ref().map_or(0, milter::server::Server::connections);
        let figures = service.store().figures();
        let mode = match service.in_force().mode {
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
    fn watch(self: &Arc<Running>, service: &Arc<Service>) -> tokio::task::JoinHandle<()> {
        let prober = locked(&self.milter).as_ref().map(milter::server::Server::prober);
        let (running, told_of) = (self.clone(), service.clone());
        let status = Box::new(move || running.status(&told_of));
        let service = service.clone();
        tokio::spawn(async move {
            if let Some(milter) = prober {
                watchdog::serve(Watched { milter, service, status }).await;
            }
        })
    }

    /// Reads the configuration and the rules again; puts them in force only if all of it can be used.
    async fn reload(&self, started_with: &Config, service: &Service) {
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
                service.replace(in_force);
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

/// An error with its causes, in one line.
pub fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::System(std::io::Error::other(error)))
}

/// Lets the process open as many files as it may: every milter connection is one.
///
/// How many that are.
fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    // Refused in some sandboxes; then the soft limit is what there is.
    if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}

/// No more milter connections than leave files for the store, which must be able to write whatever clients do.
fn within_open_files(mut milter: milter::server::Settings) -> milter::server::Settings {
    let open_files = raise_open_files();
    let room = open_files.saturating_sub(FILES_OF_OTHERS).max(open_files / 2);
    let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
    if room < milter.connections {
        let wanted = milter.connections;
        let limit =
            format!("[milter] connections is {wanted}, of {open_files} open files {room} can be spared for them");
        say(&LogEvent::OverLimit { queue_id: "-", limit: &limit });
        milter.connections = room;
    }
    milter
}
