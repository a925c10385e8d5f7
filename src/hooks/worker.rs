//! The work of one hook: find what is to be told next, tell it until it is taken, keep the place behind it.

use super::queue::{Next, Place};
use super::settings::{Occasion, Settings, Target};
use super::status::{State, TestAnswer, span};
use super::{Alerts, DRAIN, Notice, post, program};
use crate::ops::event::{LogEvent, say};
use crate::policy::EventId;
use crate::store::{Store, StoreError};
use jiff::{SignedDuration, Timestamp};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The first wait after a failure, and the longest: each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Alerts are looked at so often.
const LOOK: Duration = Duration::from_secs(2);
/// A hook looks at the log at most so often where there is nothing to tell.
const GATHER: Duration = Duration::from_millis(50);
/// A place that only passed events over is kept so often.
const KEEP: Duration = Duration::from_secs(60);
/// A hook must have failed for so long before anything is given up: what waited while the daemon was down is tried
/// more than once.
const PATIENCE: Duration = Duration::from_secs(600);
/// The store is asked again after so long when it cannot be read.
const STORE_WAIT: Duration = Duration::from_secs(15);
/// Longest wait of a test for the attempt in hand, and longest time of its own: whoever asked waits for a minute.
const TURN: Duration = Duration::from_secs(30);
const TEST: Duration = Duration::from_secs(20);
/// Octets of what a program or a server says that are logged.
pub(super) const SAID_BYTES: usize = 4096;

/// Whether a hook goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// It does.
    On,
    /// It ends, and its place is kept.
    Stop,
    /// It ends for good.
    Forget,
}

/// Why an attempt came to nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In words.
    pub problem: String,
    /// The receiver wants no more of it: 410 Gone.
    pub gone: bool,
    /// The wait that the receiver asks for.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    pub fn new(problem: impl Into<String>) -> Trouble {
        Trouble { problem: problem.into(), ..Trouble::default() }
    }
}

/// What a hook works with.
pub(super) struct Worker {
    pub settings: Arc<Settings>,
    pub state: Arc<State>,
    pub store: Store,
    pub alerts: Arc<dyn Alerts>,
    pub run: watch::Receiver<Run>,
    /// The newest event when the hook began.
    pub newest: EventId,
}

impl Worker {
    /// Works until it is stopped, once the worker it follows has ended.
    pub async fn work(mut self, follows: Option<JoinHandle<()>>) {
        if let Some(mut former) = follows
            && tokio::time::timeout(DRAIN * 2, &mut former).await.is_err()
        {
            former.abort();
        }
        self.state.begins();
        let Some(mut place) = self.begin().await else { return };
        let mut news = self.store.watch();
        let mut kept = Instant::now();
        let mut passed = false;
        while *self.run.borrow() == Run::On {
            // Marked as seen before reading, so that an event recorded meanwhile wakes us.
            news.borrow_and_update();
            let item = match self.next(&mut place).await {
                Ok(Next::Item(item)) => *item,
                Ok(Next::Passed(further)) => {
                    (place, passed) = (further, true);
                    if kept.elapsed() >= KEEP {
                        (kept, passed) = (Instant::now(), !self.keep(&place).await);
                    }
                    continue;
                }
                Ok(Next::Nothing) => {
                    tokio::select! {
                        // A moment later there is more to look at in one step.
                        _ = news.changed() => tokio::time::sleep(GATHER).await,
                        () = tokio::time::sleep(LOOK), if self.looks_at_alerts() => {}
                        _ = self.run.changed() => {}
                    }
                    continue;
                }
                Err(error) => {
                    let (hook, problem) = (self.settings.name.as_str(), error.to_string());
                    say(&LogEvent::HookFailed { hook, id: "-", attempts: 0, problem: &problem });
                    tokio::select! {
                        () = tokio::time::sleep(STORE_WAIT) => {}
                        _ = self.run.changed() => {}
                    }
                    continue;
                }
            };
            if self.tell(&item.notice).await {
                place = item.then;
                (kept, passed) = (Instant::now(), !self.keep(&place).await);
            }
        }
        let run = *self.run.borrow();
        if run == Run::Forget {
            let (store, name) = (self.store.clone(), self.settings.name.clone());
            let _ = tokio::task::spawn_blocking(move || store.keep_reader(&name, None)).await;
        } else if passed {
            self.keep(&place).await;
        }
    }

    fn looks_at_alerts(&self) -> bool {
        self.settings.on.contains(&Occasion::Alert)
    }

    /// The place it was left at, or now; none where it is stopped before it could be read.
    async fn begin(&mut self) -> Option<Place> {
        loop {
            let (store, name) = (self.store.clone(), self.settings.name.clone());
            match tokio::task::spawn_blocking(move || store.reader(&name)).await {
                Ok(Ok(Some(record))) if let Some(place) = Place::decode(&record) => return Some(place),
                Ok(Ok(_)) => {
                    let place = Place::now(self.newest);
                    self.keep(&place).await;
                    return Some(place);
                }
                Ok(Err(_)) | Err(_) => tokio::select! {
                    () = tokio::time::sleep(STORE_WAIT) => {}
                    _ = self.run.changed() => return None,
                },
            }
        }
    }

    /// Whether the place could be kept; if not, the notices since are told again after a restart.
    async fn keep(&self, place: &Place) -> bool {
        let (store, name, record) = (self.store.clone(), self.settings.name.clone(), place.encode());
        matches!(tokio::task::spawn_blocking(move || store.keep_reader(&name, Some(record))).await, Ok(Ok(())))
    }

    /// What is to be told next: alerts go first, they are few.
    async fn next(&self, place: &mut Place) -> Result<Next, StoreError> {
        if self.looks_at_alerts() {
            let now = Timestamp::now();
            if place.note_alerts(&self.alerts.raised(&self.settings.name), now) {
                self.keep(place).await;
            }
            if let Some(item) = place.next_alert(&self.settings.name, now) {
                return Ok(Next::Item(Box::new(item)));
            }
        }
        let (store, settings, from) = (self.store.clone(), self.settings.clone(), place.clone());
        let looked = tokio::task::spawn_blocking(move || from.next(&settings, &store)).await;
        looked.unwrap_or_else(|error| Err(StoreError::Engine(error.to_string())))
    }

    /// Tells a notice until it is taken or given up; false where the hook was stopped before.
    async fn tell(&mut self, notice: &Notice) -> bool {
        let (hook, id) = (self.settings.name.clone(), notice.id.as_str());
        let (state, settings) = (self.state.clone(), self.settings.clone());
        state.takes_up(notice);
        let mut attempts = 0_u32;
        loop {
            let attempt = async {
                let _turn = state.turn.lock().await;
                state.tries();
                attempt(&settings, notice).await
            };
            let tried = tokio::select! {
                tried = attempt => tried,
                () = stopped(&mut self.run, DRAIN) => return false,
            };
            attempts = attempts.saturating_add(1);
            let now = Timestamp::now();
            let trouble = match tried {
                Ok(()) => {
                    state.has_told(notice, now);
                    say(&LogEvent::Hook { hook: &hook, id });
                    return true;
                }
                Err(trouble) => trouble,
            };
            let problem = trouble.problem.as_str();
            state.has_failed(problem, now);
            say(&LogEvent::HookFailed { hook: &hook, id, attempts, problem });
            if trouble.gone || is_over(span(notice.at, now), state.failing(now), settings.give_up_after) {
                state.gives_up(now);
                say(&LogEvent::HookGivenUp { hook: &hook, id, attempts, problem });
                return true;
            }
            let wait = wait_after(attempts, random()).max(trouble.retry_after.unwrap_or_default()).min(LONGEST_WAIT);
            state.waits_until(now + SignedDuration::try_from(wait).unwrap_or_default());
            let again = state.again.notified();
            if !state.is_skipped(id) {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = again => {}
                    () = stopped(&mut self.run, Duration::ZERO) => return false,
                }
            }
            if state.is_skipped(id) {
                state.gives_up(Timestamp::now());
                say(&LogEvent::HookGivenUp { hook: &hook, id, attempts, problem: "an operator passed it over" });
                return true;
            }
        }
    }
}

/// Waits until the hook is to end, and then a while.
async fn stopped(run: &mut watch::Receiver<Run>, then: Duration) {
    // An error: whoever could stop it is gone, which is an end, too.
    let _ = run.wait_for(|run| *run != Run::On).await;
    tokio::time::sleep(then).await;
}

/// One attempt, within the hook's time.
async fn attempt(settings: &Settings, notice: &Notice) -> Result<(), Trouble> {
    let body = serde_json::to_vec(notice).map_err(|error| Trouble::new(error.to_string()))?;
    let tried = async {
        match &settings.target {
            Target::Program(command) => program::run(command, notice, body).await,
            Target::Url { url, secret } => post::post(url, secret.as_ref(), notice, body).await,
        }
    };
    match tokio::time::timeout(settings.timeout, tried).await {
        Ok(tried) => tried,
        Err(_) => Err(Trouble::new(format!("not done within {} seconds", settings.timeout.as_secs()))),
    }
}

/// Tells a hook that an operator tries it.
pub(super) async fn test(settings: &Settings, state: &State) -> TestAnswer {
    let now = Timestamp::now();
    let id = format!("test-{}", now.as_millisecond());
    let notice = Notice::new(&settings.name, Occasion::Test, id.clone(), now);
    let settings = Settings { timeout: settings.timeout.min(TEST), ..settings.clone() };
    let started = Instant::now();
    let tried = match tokio::time::timeout(TURN, state.turn.lock()).await {
        Ok(_turn) => attempt(&settings, &notice).await,
        Err(_) => Err(Trouble::new("an attempt is under way already")),
    };
    if tried.is_ok() {
        state.again.notify_waiters();
    }
    TestAnswer {
        name: settings.name.clone(),
        id,
        delivered: tried.is_ok(),
        took_ms: started.elapsed().as_millis() as u64,
        error: tried.err().map(|trouble| trouble.problem),
    }
}

/// Whether a notice so old is not tried any more by a hook that has failed for so long.
fn is_over(age: Duration, failing: Duration, give_up_after: Duration) -> bool {
    age >= give_up_after && failing >= PATIENCE.min(give_up_after)
}

/// How long to wait after so many failures: a second, doubled each time up to an hour, give or take a quarter, so
/// that those who failed together do not come back together.
fn wait_after(attempts: u32, random: u64) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(12)).min(LONGEST_WAIT);
    doubled * (75 + (random % 51) as u32) / 100
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_an_hour_give_or_take_a_quarter() {
        for (attempts, want) in [(1, 1), (2, 2), (3, 4), (11, 1024), (12, 2048), (13, 3600), (u32::MAX, 3600)] {
            let want = Duration::from_secs(want);
            assert_eq!(wait_after(attempts, 25), want, "{attempts}");
            assert_eq!(wait_after(attempts, 0), want * 3 / 4, "{attempts}");
            assert_eq!(wait_after(attempts, 50), want * 5 / 4, "{attempts}");
        }
    }

    #[test]
    fn only_what_is_old_is_given_up_and_only_by_a_hook_that_has_failed_for_a_while() {
        let (day, minute) = (Duration::from_secs(86_400), Duration::from_secs(60));
        for (age, failing, give_up_after, want) in [
            (day, day, 3 * day, false),
            (3 * day, 3 * day, 3 * day, true),
            (4 * day, minute, 3 * day, false), // the daemon was down
            (4 * day, 10 * minute, 3 * day, true),
            (minute, minute, minute, true),
        ] {
            assert_eq!(is_over(age, failing, give_up_after), want, "{age:?} {failing:?} {give_up_after:?}");
        }
    }
}
