//! How a hook is: what it told last, what waits, and how often it failed.

use super::settings::{Occasion, Settings};
use super::{FAILING, GAVE_UP, Notice, locked};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;
use std::time::Duration;

/// One hook, as `GET /v1/hooks` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HookStatus {
    /// Its name.
    pub name: String,
    /// Its program, or its URL without the query.
    pub to: String,
    /// What it tells.
    pub on: Vec<Occasion>,
    /// What it told last, since the daemon started.
    pub last: Option<LastTold>,
    /// What it could not tell yet.
    pub waiting: Option<Waiting>,
    /// Notices told since the start.
    pub delivered: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// Notices given up since the start.
    pub given_up: u64,
    /// Seconds since that which waits was recorded; 0 where nothing waits.
    pub lag_secs: u64,
}

/// The notice told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LastTold {
    /// Its id.
    pub id: String,
    /// When it was taken.
    pub at: Timestamp,
}

/// A notice that could not be told yet; all others of its hook wait behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Waiting {
    /// Its id.
    pub id: String,
    /// Since when it waits: when it was recorded.
    pub since: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried again; none while it is tried.
    pub next_attempt: Option<Timestamp>,
    /// What came of the last attempt.
    pub error: Option<String>,
}

/// What came of `POST /v1/hooks/{name}/test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TestAnswer {
    /// The hook.
    pub name: String,
    /// The id of what was told.
    pub id: String,
    /// Whether it was taken.
    pub delivered: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it was not taken.
    pub error: Option<String>,
}

/// `POST /v1/hooks/{name}/skip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SkipAnswer {
    /// The hook.
    pub name: String,
    /// The id of what is not told any more; `null` where nothing waited.
    pub skipped: Option<String>,
    /// It only would be; nothing was passed over.
    pub dry_run: bool,
}

/// What is known of a running hook.
#[derive(Default)]
pub(super) struct State {
    figures: Mutex<Figures>,
    /// Held during an attempt: one at a time.
    pub turn: tokio::sync::Mutex<()>,
    /// Asks for the next attempt now.
    pub again: tokio::sync::Notify,
    /// The notice that an operator wants passed over.
    skipped: Mutex<Option<String>>,
}

#[derive(Default)]
struct Figures {
    last: Option<LastTold>,
    waiting: Option<Waiting>,
    failing_since: Option<Timestamp>,
    gave_up_at: Option<Timestamp>,
    delivered: u64,
    failed: u64,
    given_up: u64,
}

impl State {
    pub fn status(&self, settings: &Settings, now: Timestamp) -> HookStatus {
        let figures = locked(&self.figures);
        let lag = figures.waiting.as_ref().map(|waiting| span(waiting.since, now));
        HookStatus {
            name: settings.name.clone(),
            to: settings.target.shown(),
            on: settings.on.clone(),
            last: figures.last.clone(),
            waiting: figures.waiting.clone(),
            delivered: figures.delivered,
            failed: figures.failed,
            given_up: figures.given_up,
            lag_secs: lag.unwrap_or_default().as_secs(),
        }
    }

    /// What an alert says of it, if it fails for long or gave something up lately.
    pub fn trouble(&self, now: Timestamp) -> Option<String> {
        let figures = locked(&self.figures);
        let failing = figures.failing_since.map(|since| span(since, now)).filter(|span| *span >= FAILING);
        if let Some(failing) = failing {
            let error = figures.waiting.as_ref().and_then(|waiting| waiting.error.as_deref()).unwrap_or("no answer");
            return Some(format!("failing for {} minutes, {error}", failing.as_secs() / 60));
        }
        let lately = figures.gave_up_at.filter(|at| span(*at, now) < GAVE_UP)?;
        Some(format!("{} notices were given up, the last one {lately}", figures.given_up))
    }

    /// How long it has failed.
    pub fn failing(&self, now: Timestamp) -> Duration {
        locked(&self.figures).failing_since.map(|since| span(since, now)).unwrap_or_default()
    }

    /// Another worker takes over, maybe with another receiver: it has not failed yet.
    pub fn begins(&self) {
        let mut figures = locked(&self.figures);
        (figures.waiting, figures.failing_since) = (None, None);
    }

    pub fn takes_up(&self, notice: &Notice) {
        let waiting = Waiting { id: notice.id.clone(), since: notice.at, attempts: 0, next_attempt: None, error: None };
        locked(&self.figures).waiting = Some(waiting);
    }

    /// The id of what waits.
    pub fn waits(&self) -> Option<String> {
        locked(&self.figures).waiting.as_ref().map(|waiting| waiting.id.clone())
    }

    /// Passes over what waits, once an attempt in hand has failed: the id of it.
    pub fn skip(&self) -> Option<String> {
        let waiting = self.waits();
        *locked(&self.skipped) = waiting.clone();
        self.again.notify_waiters();
        waiting
    }

    pub fn is_skipped(&self, id: &str) -> bool {
        locked(&self.skipped).as_deref() == Some(id)
    }

    pub fn tries(&self) {
        if let Some(waiting) = &mut locked(&self.figures).waiting {
            waiting.attempts = waiting.attempts.saturating_add(1);
            waiting.next_attempt = None;
        }
    }

    pub fn has_told(&self, notice: &Notice, now: Timestamp) {
        let mut figures = locked(&self.figures);
        figures.delivered += 1;
        figures.last = Some(LastTold { id: notice.id.clone(), at: now });
        (figures.waiting, figures.failing_since) = (None, None);
    }

    pub fn has_failed(&self, problem: &str, now: Timestamp) {
        let mut figures = locked(&self.figures);
        figures.failed += 1;
        figures.failing_since.get_or_insert(now);
        if let Some(waiting) = &mut figures.waiting {
            waiting.error = Some(problem.to_owned());
        }
    }

    pub fn waits_until(&self, at: Timestamp) {
        if let Some(waiting) = &mut locked(&self.figures).waiting {
            waiting.next_attempt = Some(at);
        }
    }

    pub fn gives_up(&self, now: Timestamp) {
        let mut figures = locked(&self.figures);
        figures.given_up += 1;
        figures.gave_up_at = Some(now);
        figures.waiting = None;
    }
}

/// From one time to a later one; nothing where the clock went back.
pub(super) fn span(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Occasion;
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_hook_is_in_trouble_after_minutes_of_failure_and_for_a_day_after_it_gave_up() {
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        let state = State::default();
        let notice = Notice::new("crm", Occasion::Suppress, "1-suppress".to_owned(), at(0));
        state.takes_up(&notice);
        state.tries();
        state.has_failed("answered 503", at(1));
        state.has_failed("answered 502", at(5));
        assert_eq!(state.trouble(at(5)), None);
        assert_eq!(state.trouble(at(6)).unwrap(), "failing for 5 minutes, answered 502");
        state.gives_up(at(7));
        assert!(state.trouble(at(8)).unwrap().starts_with("failing for 7 minutes"));
        state.takes_up(&notice);
        state.has_told(&notice, at(9));
        assert_eq!(state.trouble(at(9)).unwrap(), "1 notices were given up, the last one 1970-01-01T00:07:00Z");
        assert_eq!(state.trouble(at(7 + 24 * 60)), None);
        assert_eq!(state.failing(at(9)), Duration::ZERO);
    }
}
