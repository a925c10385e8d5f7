//! The daemon from its start to its end: opens the store, serves the milter and the admin socket, reloads,
//! drains.
//!
//! In: a configuration that was read. Called by `backstopd`. Everything that can fail at the start has its exit
//! code of sysexits.h.

mod failure;
mod running;

pub use failure::{Failure, explain};

use super::clock;
use super::config::{Config, LogAddresses};
use super::event::{AddressKey, LogEvent, say, set_addresses};
use super::privileges;
use super::release::release_hourly;
use super::rule_files;
use super::signals::{Asked, Signals};
use super::systemd::{self, Passed};
use crate::authority::keys::KeysError;
use crate::authority::{FeedbackLoops, KeyRing, Signatures, Tokens};
use crate::classify::Rules;
use crate::hooks::Hooks;
use crate::outbound::Domains;
use crate::service::{InForce, Service};
use crate::store::Store;
use crate::{admin, authority, milter};
use jiff::Timestamp;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use running::{Running, locked};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How much longer than the drain time the end may take: the admin socket's requests, and some slack.
const SLACK: Duration = Duration::from_secs(5);

/// Old words and old sends are let go of so long after the start, and then so often.
const FIRST_EXPIRY: Duration = Duration::from_secs(300);
const EXPIRY: Duration = Duration::from_secs(86_400);

/// Files that others than the milter's connections may want: the admin socket's crowd, the store, hooks, the DNS.
const FILES_OF_OTHERS: u64 = 256;

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
    systemd::ready(&running.status());
    let watchdog = running.watch();
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
                running.reload(&config).await;
                systemd::ready(&running.status());
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
        drain(milter).await;
        tokio::join!(admin.stop(), hooks.stop());
    };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(config.milter.drain_timeout + SLACK) => {}
        _ = signals.stop() => {} // asked twice: at once
    }
    Ok(())
}

/// Lets messages in hand finish; connections between two are left with the service manager, where it keeps them.
async fn drain(milter: Option<milter::server::Server>) {
    match milter {
        Some(milter) if systemd::keeps_connections() => {
            let connections = milter.stop_handing_over().await;
            tokio::task::block_in_place(|| systemd::keep(connections));
        }
        Some(milter) => milter.stop().await,
        None => {}
    }
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
