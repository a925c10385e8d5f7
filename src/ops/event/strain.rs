//! What the machine or the store suffers from just now, for alerts: nobody's mail is at fault.
//!
//! In: whoever meets it. Out: [`now`], for `admin::status`. What passes by itself is forgotten a while after it was
//! last met; all times are of the monotonic clock, as the other one may be what is wrong.

use super::{LogEvent, say};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long after it was last met, a strain is still told of.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// Between two lines about the same strain lies at least so much time.
const QUIET: Duration = Duration::from_secs(10);
/// The same for peers of the admin socket who are unknown: whoever connects in vain does not fill the log.
const QUIET_OF_PEERS: Duration = Duration::from_secs(60);
/// After a jump of the clock nothing old is let go of for so long.
pub const STEADY: Duration = Duration::from_secs(86_400);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Seconds since the first strain of this process.
fn seconds() -> u64 {
    START.elapsed().as_secs()
}

/// When it was met last, and how often that was not logged.
struct Met {
    /// Seconds + 1; 0 for never.
    last: AtomicU64,
    logged: AtomicU64,
    left_out: AtomicU64,
    why: Mutex<String>,
    quiet: Duration,
}

impl Met {
    const fn never(quiet: Duration) -> Met {
        Met {
            last: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            why: Mutex::new(String::new()),
            quiet,
        }
    }

    /// Takes note; how many were not logged since the last that was, if this one is to be.
    fn met(&self, why: &str) -> Option<u64> {
        let now = seconds() + 1;
        self.last.store(now, Relaxed);
        let logged = self.logged.load(Relaxed);
        // Another thread may have logged it in a later second than ours.
        let due = logged == 0 || now.saturating_sub(logged) >= self.quiet.as_secs();
        if due && self.logged.compare_exchange(logged, now, Relaxed, Relaxed).is_ok() {
            why.clone_into(&mut self.why.lock().unwrap_or_else(PoisonError::into_inner));
            return Some(self.left_out.swap(0, Relaxed));
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }

    /// What was met within the last while.
    fn lately(&self, within: Duration) -> Option<String> {
        let last = self.last.load(Relaxed);
        let lately = last != 0 && seconds() + 1 - last <= within.as_secs();
        lately.then(|| self.why.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// It is over.
    fn forget(&self) {
        self.last.store(0, Relaxed);
    }
}

static NO_ACCEPT: Met = Met::never(QUIET);
static CROWDED: Met = Met::never(QUIET);
static DAMAGED: Met = Met::never(QUIET);
static JUMPED: Met = Met::never(QUIET);
static UNKNOWN_PEERS: Met = Met::never(QUIET_OF_PEERS);

/// Says that a limit is reached, and how many times more it was since the last line about it.
fn say_limit(limit: &str, left_out: u64) {
    match left_out {
        0 => say(&LogEvent::OverLimit { queue_id: "-", limit }),
        more => {
            say(&LogEvent::OverLimit { queue_id: "-", limit: &format!("{limit} ({more} more since the last line)") })
        }
    }
}

/// Lines of one kind, so many in a while.
pub(super) struct Burst {
    /// Seconds since the first strain, and how many lines since then.
    since: AtomicU64,
    lines: AtomicU64,
    left_out: AtomicU64,
}

/// Lines of one kind in [`QUIET`]; further ones are counted only.
const LINES: u64 = 50;

pub(super) static PROTOCOL_ERRORS: Burst = Burst::none();
pub(super) static OVER_LIMITS: Burst = Burst::none();

impl Burst {
    const fn none() -> Burst {
        Burst { since: AtomicU64::new(0), lines: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Whether one more line is to be written, and how many were left out since the last.
    pub(super) fn line(&self) -> Option<u64> {
        let (now, since) = (seconds(), self.since.load(Relaxed));
        if now - since.min(now) >= QUIET.as_secs() {
            self.since.store(now, Relaxed);
            self.lines.store(0, Relaxed);
        }
        if self.lines.fetch_add(1, Relaxed) < LINES {
            return Some(self.left_out.swap(0, Relaxed));
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}

/// A listener cannot take a connection up: out of file descriptors, most likely. The caller waits a moment.
pub fn cannot_accept(listener: &str, problem: &std::io::Error) {
    let why = format!("the {listener} cannot accept: {problem}");
    if let Some(left_out) = NO_ACCEPT.met(&why) {
        say_limit(&why, left_out);
    }
}

/// A milter connection was closed at once, as so many are open already.
pub fn too_many_connections(most: usize) {
    if let Some(left_out) = CROWDED.met(&format!("{most}")) {
        say_limit(&format!("connections: {most} are open"), left_out);
    }
}

/// The store has met octets of its own that are not as they were written.
pub fn store_damaged(problem: &str) {
    if DAMAGED.met(problem).is_some() {
        say(&LogEvent::StoreDamaged { problem });
    }
}

/// The clock went by so many seconds more, or less, than time did.
pub fn clock_jumped(seconds: i64) {
    let direction = if seconds < 0 { "back" } else { "ahead" };
    // Each jump is told: they are rare, and no two are the same.
    let _ = JUMPED.met(&format!("{} seconds {direction}", seconds.unsigned_abs()));
    say(&LogEvent::ClockJumped { seconds });
}

/// Who connected to the admin socket was asked for, and not told.
pub fn peer_unknown(problem: &str) {
    if UNKNOWN_PEERS.met(problem).is_some() {
        say(&LogEvent::PeerUnknown { problem });
    }
}

/// Who connected to the admin socket was asked for, and told.
pub fn peer_told() {
    UNKNOWN_PEERS.forget();
}

/// Whether the clock has not jumped since the start, or for a day.
pub fn clock_is_steady() -> bool {
    JUMPED.lately(STEADY).is_none()
}

/// What there is just now: the code of its alert, and what is the matter.
pub fn now() -> Vec<(&'static str, String)> {
    let mut now = Vec::new();
    if let Some(problem) = DAMAGED.lately(Duration::MAX) {
        let way = if problem.contains("WHEN THINGS") { "" } else { "; see backstopd(8), WHEN THINGS GO WRONG" };
        now.push(("store-damaged", format!("{problem}{way}")));
    }
    if let Some(why) = NO_ACCEPT.lately(TOLD_FOR) {
        let way = "LimitNOFILE= of the unit, or `ulimit -n`, says how many files it may open";
        now.push(("descriptors", format!("connections wait: {why}; {way}")));
    }
    if let Some(most) = CROWDED.lately(TOLD_FOR) {
        let message = format!(
            "all {most} milter connections were open, and further ones were closed, for Postfix to do as its \
             milter_default_action says; [milter] connections and LimitNOFILE= say how many there may be"
        );
        now.push(("milter-connections", message));
    }
    if let Some(how) = JUMPED.lately(STEADY) {
        let message = format!("the clock jumped {how}: nobody is released and nothing old is let go of for a day");
        now.push(("clock-jumped", message));
    }
    if UNKNOWN_PEERS.lately(Duration::MAX).is_some() {
        let message = "users of the admin socket but root are refused: backstopd-peer, which tells who connects, did not \
                       answer when last asked; systemctl start backstopd-peer.socket";
        now.push(("peers-unknown", message.to_owned()));
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_of_lines_some_are_written_and_the_rest_are_counted() {
        let burst = Burst::none();
        let written = (0..1000).filter(|_| burst.line().is_some()).count();
        assert!((50..=100).contains(&written), "{written}: at most two whiles");
        burst.lines.store(0, Relaxed);
        assert!(burst.line().is_some_and(|left_out| left_out >= 900));
    }

    #[test]
    fn what_is_met_often_is_logged_once_and_told_for_a_while() {
        let met = Met::never(QUIET);
        assert_eq!(met.lately(TOLD_FOR), None);
        assert_eq!(met.met("first"), Some(0));
        for _ in 0..1000 {
            assert_eq!(met.met("again"), None);
        }
        assert_eq!(met.lately(TOLD_FOR).as_deref(), Some("first"));
        met.logged.store(0, Relaxed);
        assert_eq!(met.met("later"), Some(1000));
        met.forget();
        assert_eq!(met.lately(Duration::MAX), None);
    }

    #[test]
    fn a_line_of_a_later_second_keeps_one_of_ours_quiet() {
        let met = Met::never(QUIET);
        assert_eq!(met.met("first"), Some(0));
        met.logged.store(seconds() + 5, Relaxed);
        assert_eq!(met.met("again"), None);
    }
}
