//! Which domains answer when deliveries are asked for (SPEC 5.3).
//!
//! Postfix hands `NOTIFY=SUCCESS` on to a next hop that announces DSN. For any other it puts the delivery down in a
//! file of its queue directory `trace`, but sends that only where the client had asked, too: the file stays. So a
//! domain that does not answer is soon left in peace; its contacts then go by `settle_days`.

use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A domain is asked so many times without an answer,
const UNANSWERED: u32 = 5;
/// and then not again for so long.
const PAUSE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// So many domains are remembered.
const DOMAINS: usize = 20_000;

/// What is known of each domain that was asked.
#[derive(Default)]
pub struct Asking(Mutex<HashMap<String, Asked>>);

struct Asked {
    unanswered: u32,
    last: Timestamp,
}

impl Asking {
    /// Whether to ask a domain now. If so, it counts as asked.
    pub fn ask(&self, domain: &str, now: Timestamp) -> bool {
        let mut domains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = domains.get_mut(domain) {
            if asked.unanswered >= UNANSWERED {
                if now.duration_since(asked.last) < PAUSE {
                    return false;
                }
                asked.unanswered = 0;
            }
            asked.unanswered += 1;
            asked.last = now;
            return true;
        }
        if domains.len() >= DOMAINS {
            domains.retain(|_, asked| now.duration_since(asked.last) < PAUSE);
        }
        let has_room = domains.len() < DOMAINS;
        if has_room {
            domains.insert(domain.to_owned(), Asked { unanswered: 1, last: now });
        }
        has_room
    }

    /// A delivery to a domain was reported.
    pub fn answered(&self, domain: &str) {
        let mut domains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = domains.get_mut(domain) {
            asked.unanswered = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
    }

    #[test]
    fn a_domain_that_does_not_answer_is_left_in_peace_for_a_week() {
        let asking = Asking::default();
        let asked = |on| (0..20).filter(|_| asking.ask("out.test", on)).count() as u32;
        assert_eq!([asked(day(0)), asked(day(6)), asked(day(7))], [UNANSWERED, 0, UNANSWERED]);
        assert!(asking.ask("other.test", day(0)), "each domain for itself");
    }

    #[test]
    fn a_domain_that_answers_is_asked_on() {
        let asking = Asking::default();
        for _ in 0..20 {
            assert!(asking.ask("out.test", day(0)));
            asking.answered("out.test");
        }
        asking.answered("never-asked.test");
    }

    #[test]
    fn memory_is_bounded_and_old_domains_make_room() {
        let asking = Asking::default();
        let asked =
            |on, from: usize| (from..from + DOMAINS + 9).filter(|n| asking.ask(&format!("d{n}.test"), on)).count();
        assert_eq!(asked(day(0), 0), DOMAINS);
        assert_eq!(asked(day(8), DOMAINS * 2), DOMAINS);
    }
}
