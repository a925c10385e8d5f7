//! Watches the clock of the machine against the time that really goes by, and keeps a clock that is wrong from
//! costing what is on record: the text of reports, the send ledger, suppressions that end by themselves.
//!
//! The kernel counts the time since the machine was started, sleep included, whatever the clock is set to
//! (CLOCK_BOOTTIME). Where the two part, the clock jumped. Which of its times is the
//! true one nobody can tell; so whatever goes by the age of things waits until the clock has been steady for a day.

use super::event::strain;
use crate::store::Store;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// So often the two are compared.
const EVERY: Duration = Duration::from_secs(5);
/// They may part by so much from one look to the next: a clock that is set right after the start of a machine.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(10);
/// More than this is let go of at once only if the clock has been watched for a day: an ordinary day's work is a day.
const AT_ONCE: Duration = Duration::from_secs(7 * 86_400);

/// One look at both.
#[derive(Clone, Copy, Debug)]
struct Look {
    clock: Timestamp,
    time: Duration,
}

impl Look {
    fn now() -> Look {
        let time = clock_gettime(ClockId::Boottime);
        Look { clock: Timestamp::now(), time: Duration::try_from(time).unwrap_or_default() }
    }

    /// By how many seconds the clock went ahead of time since an earlier look, or back, if that is a jump.
    fn jump_since(&self, earlier: &Look) -> Option<i64> {
        let time = SignedDuration::try_from(self.time.saturating_sub(earlier.time)).unwrap_or(SignedDuration::MAX);
        let ahead = self.clock.duration_since(earlier.clock).saturating_sub(time);
        (ahead.abs() > TOLERANCE).then(|| ahead.as_secs())
    }
}

/// Watches as long as the daemon runs.
pub async fn watch() {
    let mut last = Look::now();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tick.tick().await;
        let look = Look::now();
        if let Some(seconds) = look.jump_since(&last) {
            strain::clock_jumped(seconds);
        }
        last = look;
    }
}

/// Why what is old cannot be let go of yet, if it cannot. `watched_for` is how long the clock was watched.
pub fn not_yet(store: &Store, now: Timestamp, watched_for: Duration) -> Option<String> {
    if !strain::clock_is_steady() {
        return Some("the clock jumped: nothing is let go of before it has been steady for a day".to_owned());
    }
    match store.expiry_at_once(now) {
        Ok(at_once) if at_once > AT_ONCE && watched_for < strain::STEADY => Some(format!(
            "the clock says that {} days are to be let go of at once: that waits until the clock has been steady for a day",
            at_once.as_secs() / 86_400
        )),
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_clock_and_time_part_the_clock_jumped() {
        let look = |clock, time| Look {
            clock: Timestamp::from_second(clock).expect("a time"),
            time: Duration::from_secs(time),
        };
        let year = 365 * 86_400;
        let before = look(1_800_000_000, 500);
        for (clock, time, want) in [
            (1_800_000_005, 505, None),
            (1_800_000_300, 505, None),                       // set right, a little
            (1_800_000_000 + 8 * 3600, 500 + 8 * 3600, None), // the machine slept
            (1_800_000_005 + year, 505, Some(year)),
            (1_800_000_005 - year, 505, Some(-year)),
            (1_800_000_005 - 7200, 505, Some(-7200)),
            (-377_705_023_201, 505, Some(-377_705_023_201 - 1_800_000_005)),
        ] {
            assert_eq!(look(clock, time).jump_since(&before), want, "{clock} {time}");
        }
    }
}
