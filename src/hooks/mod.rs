//! Notifications out: `[[hook]]` of the configuration tells a program or a server when a contact is suppressed or
//! released, when somebody complains, and when an alert is raised or over.
//!
//! In: the events of [`crate::store`], in order of their ids; they are the durable queue, beside which each hook keeps
//! only its place. What an event comes to is decided by folding the contact as it stood before and after it
//! ([`notice`]). Out: one JSON object at a time for each hook, to the standard input of a program or signed in a post,
//! tried again until it is taken ([`worker`]). Nothing of the mail path knows of it, or waits for it.
//!
//! Started, reloaded and stopped by `ops::daemon`; asked by `admin`.

pub mod notice;
mod post;
mod program;
pub mod queue;
pub mod settings;
mod status;
mod worker;

pub use notice::{AlertNotice, Notice};
pub use settings::{MOST, NAME_LETTERS, Occasion, Secret, Settings, Target, Url};
pub use status::{HookStatus, LastTold, SkipAnswer, TestAnswer, Waiting};

use crate::store::Store;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use worker::{Run, Worker};

/// How long a notice in hand may take once its hook is stopped.
const DRAIN: Duration = Duration::from_secs(2);
/// A hook that has failed for so long is an alert.
const FAILING: Duration = Duration::from_secs(300);
/// One that gave up is an alert for so long.
const GAVE_UP: Duration = Duration::from_secs(86_400);

/// An alert that is raised now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// Which.
    pub code: String,
    /// What is wrong.
    pub message: String,
}

/// Where hooks look for alerts.
pub trait Alerts: Send + Sync + 'static {
    /// The alerts raised now, but for the one that would say that the hook which asks fails.
    fn raised(&self, asking: &str) -> Vec<Raised>;
}

/// All hooks, each at its work.
pub struct Hooks {
    store: Store,
    alerts: Arc<dyn Alerts>,
    running: Mutex<BTreeMap<String, Running>>,
    /// Hooks that were stopped, until they have ended.
    ending: Mutex<BTreeMap<String, JoinHandle<()>>>,
}

struct Running {
    settings: Arc<Settings>,
    state: Arc<status::State>,
    run: watch::Sender<Run>,
    task: JoinHandle<()>,
}

impl Hooks {
    /// Starts hooks, and forgets the places of those that are no more.
    pub async fn start(store: Store, alerts: Arc<dyn Alerts>, settings: Vec<Settings>) -> Arc<Hooks> {
        let names: Vec<String> = settings.iter().map(|hook| hook.name.clone()).collect();
        let forgetting = store.clone();
        let forgotten = tokio::task::spawn_blocking(move || {
            let known = forgetting.readers()?;
            known.iter().filter(|name| !names.contains(name)).try_for_each(|name| forgetting.keep_reader(name, None))
        });
        if let Ok(Err(error)) = forgotten.await {
            // The next start tries again; until then a place is kept that nobody needs.
            tracing::warn!(%error, "the places of removed hooks cannot be forgotten");
        }
        let hooks = Hooks { store, alerts, running: Mutex::default(), ending: Mutex::default() };
        hooks.replace(settings);
        Arc::new(hooks)
    }

    /// Puts other hooks in force, without waiting: one that is as before goes on, one that has changed begins where it
    /// was, a new one begins with what is recorded from now on, and one that is gone is forgotten.
    pub fn replace(&self, settings: Vec<Settings>) {
        let mut running = locked(&self.running);
        let mut ending = locked(&self.ending);
        ending.retain(|_, task| !task.is_finished());
        let gone = running.extract_if(.., |name, _| !settings.iter().any(|hook| hook.name == *name));
        for (name, hook) in gone.collect::<Vec<_>>() {
            hook.run.send_replace(Run::Forget);
            ending.insert(name, hook.task);
        }
        for hook in settings {
            let name = hook.name.clone();
            let state = match running.remove(&name) {
                Some(known) if *known.settings == hook => {
                    running.insert(name, known);
                    continue;
                }
                Some(known) => {
                    known.run.send_replace(Run::Stop);
                    ending.insert(name.clone(), known.task);
                    known.state
                }
                None => Arc::default(),
            };
            let settings = Arc::new(hook);
            let (run, running_on) = watch::channel(Run::On);
            let worker = Worker {
                settings: settings.clone(),
                state: state.clone(),
                store: self.store.clone(),
                alerts: self.alerts.clone(),
                run: running_on,
                newest: *self.store.watch().borrow(),
            };
            let task = tokio::spawn(worker.work(ending.remove(&name)));
            running.insert(name, Running { settings, state, run, task });
        }
    }

    /// How each hook is, in order of name.
    pub fn status(&self, now: Timestamp) -> Vec<HookStatus> {
        locked(&self.running).values().map(|hook| hook.state.status(&hook.settings, now)).collect()
    }

    /// The alert that hooks fail, if some do; without the one that asks.
    pub fn failing(&self, asking: Option<&str>, now: Timestamp) -> Option<Raised> {
        let running = locked(&self.running);
        let others = running.iter().filter(|(name, _)| Some(name.as_str()) != asking);
        let problems: Vec<String> =
            others.filter_map(|(name, hook)| Some(format!("{name}: {}", hook.state.trouble(now)?))).collect();
        let message = format!("hooks cannot tell what happened, and try again; {}", problems.join("; "));
        (!problems.is_empty()).then(|| Raised { code: "hook-failing".to_owned(), message })
    }

    /// Tells a hook that an operator tries it, beside its queue, and says what came of it. None where there is no
    /// such hook. When it works, what waits is tried again at once.
    pub async fn test(&self, name: &str) -> Option<TestAnswer> {
        let (settings, state) =
            locked(&self.running).get(name).map(|hook| (hook.settings.clone(), hook.state.clone()))?;
        Some(worker::test(&settings, &state).await)
    }

    /// Passes over the notice that a hook cannot tell, or says which it would be. None where there is no such hook.
    pub fn skip(&self, name: &str, dry_run: bool) -> Option<SkipAnswer> {
        let running = locked(&self.running);
        let hook = running.get(name)?;
        let skipped = if dry_run { hook.state.waits() } else { hook.state.skip() };
        Some(SkipAnswer { name: name.to_owned(), skipped, dry_run })
    }

    /// Stops all hooks; what is in hand has a moment to be done.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *locked(&self.running));
        for hook in running.values() {
            hook.run.send_replace(Run::Stop);
        }
        let ending = std::mem::take(&mut *locked(&self.ending));
        for task in running.into_values().map(|hook| hook.task).chain(ending.into_values()) {
            // Each bounds itself; one that cannot even do that is left behind.
            let _ = tokio::time::timeout(DRAIN * 2, task).await;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
