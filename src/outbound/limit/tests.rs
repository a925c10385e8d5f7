//! What the counting of sends promises, and a model of it that is too simple to be wrong.

use super::*;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn limit(messages: u32, window_secs: u32) -> Limit {
    Limit { messages, window_secs }
}

const ANN: u64 = 0x0123_4567_89ab_cdef;

#[test]
fn a_limit_is_reached_with_its_last_message_and_until_the_window_has_passed() {
    let limits = [limit(2, 100)];
    let sends = Sends::new(&limits);
    assert_eq!(sends.reached(ANN, &limits, at(1000)), None);
    sends.note(ANN, at(1000));
    assert_eq!(sends.reached(ANN, &limits, at(1010)), None);
    sends.note(ANN, at(1010));
    assert_eq!(sends.reached(ANN, &limits, at(1010)), Some(limits[0]));
    assert_eq!(sends.reached(ANN, &limits, at(1099)), Some(limits[0]));
    assert_eq!(sends.reached(ANN, &limits, at(1100)), None);
    assert_eq!(sends.reached(ANN + 1, &limits, at(1010)), None, "another contact");
    assert_eq!(sends.reached(ANN, &[], at(1010)), None, "no limits");
}

#[test]
fn the_strictest_limit_is_the_one_that_is_reached_longest() {
    let (hour, day) = (limit(1, 3600), limit(3, 86_400));
    let limits = [hour, day];
    let sends = Sends::new(&limits);
    for time in [10_000, 20_000, 30_000] {
        assert_eq!(sends.reached_or_note(ANN, &limits, at(time)), None, "{time}");
    }
    assert_eq!(sends.reached(ANN, &limits, at(30_001)), Some(day));
    assert_eq!(sends.reached(ANN, &[day, hour], at(30_001)), Some(day));
    assert_eq!(sends.reached(ANN, &limits, at(96_399)), Some(day));
    assert_eq!(sends.reached_or_note(ANN, &limits, at(96_400)), None);
    // Both are: the day until 106400, the hour until 100000.
    assert_eq!(sends.reached(ANN, &limits, at(96_401)), Some(day));
}

#[test]
fn what_a_limit_refuses_is_not_counted() {
    let limits = [limit(1, 100)];
    let sends = Sends::new(&limits);
    assert_eq!(sends.reached_or_note(ANN, &limits, at(1000)), None);
    assert_eq!(sends.reached_or_note(ANN, &limits, at(1050)), Some(limits[0]));
    assert_eq!(sends.count(ANN, 100, at(1050)), 1);
    assert_eq!(sends.reached_or_note(ANN, &limits, at(1100)), None);
}

#[test]
fn sends_may_arrive_in_any_order() {
    let limits = [limit(9, 1000)];
    let sends = Sends::new(&limits);
    for time in [1500, 1100, 1300, 1200, 1400, 1600, 1000] {
        sends.note(ANN, at(time));
    }
    for (window, want) in [(60, 1), (101, 2), (350, 4), (601, 7), (1000, 7)] {
        assert_eq!(sends.count(ANN, window, at(1600)), want, "{window}");
    }
}

#[test]
fn a_send_can_be_taken_back() {
    let limits = [limit(9, 1000)];
    for sent in 1..=8 {
        let sends = Sends::new(&limits);
        (0..sent).for_each(|number| sends.note(ANN, at(1000 + number)));
        sends.take_back(ANN, at(1000 + sent / 2));
        sends.take_back(ANN, at(1000 + sent / 2));
        sends.take_back(ANN + 1, at(1000));
        assert_eq!(sends.count(ANN, 1000, at(1100)), sent as usize - 1);
    }
}

#[test]
fn an_erased_contact_leaves_nothing() {
    let sends = Sends::new(&[limit(9, 1000)]);
    for sent in [1, 5] {
        (0..sent).for_each(|_| sends.note(ANN, at(1000)));
        sends.forget(ANN);
        assert_eq!((sends.count(ANN, 1000, at(1000)), sends.contacts()), (0, 0));
    }
}

#[test]
fn what_is_older_than_the_longest_window_is_dropped_and_the_memory_with_it() {
    let sends = Sends::new(&[limit(9, 1000)]);
    for recipient in 0..100_000_u64 {
        let recipient = recipient.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..recipient % 7 + 1).for_each(|number| sends.note(recipient, at(1000 + number as i64)));
    }
    assert_eq!(sends.contacts(), 100_000);
    sends.expire(at(1004));
    let left = (0..100_000_u64).filter(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 7 >= 4).count();
    assert_eq!(sends.contacts(), left);
    sends.expire(at(1007));
    assert_eq!(sends.contacts(), 0);
    let room = |shard: &Mutex<Shard>| {
        let shard = lock(shard);
        shard.few.capacity() + shard.many.capacity()
    };
    assert_eq!(sends.shards.iter().map(room).sum::<usize>(), 0);
}

#[test]
fn no_more_is_kept_of_a_contact_than_the_limits_ask_for() {
    let limits = [limit(10, 86_400)];
    let sends = Sends::new(&limits);
    (0..1000).for_each(|number| sends.note(ANN, at(1000 + number)));
    assert_eq!(sends.count(ANN, 86_400, at(2000)), 13);
    assert_eq!(sends.reached(ANN, &limits, at(1990 + 86_399 - 1)), Some(limits[0]));
    assert_eq!(sends.reached(ANN, &limits, at(1990 + 86_400)), None);
}

#[test]
fn a_contacts_own_limit_may_look_back_further() {
    let limits = [limit(1, 100)];
    let sends = Sends::new(&limits);
    let own = limit(2, 5000);
    sends.widen(&[own]);
    assert_eq!(sends.longest_window_secs(), 5000);
    for time in [1000, 2000] {
        assert_eq!(sends.reached_or_note(ANN, &[limits[0], own], at(time)), None);
    }
    assert_eq!(sends.reached(ANN, &[limits[0], own], at(5999)), Some(own));
    assert_eq!(sends.reached(ANN, &limits, at(5999)), None);
}

#[test]
fn a_clock_that_goes_wrong_does_not_panic() {
    let limits = [limit(2, 366 * 86_400)];
    let sends = Sends::new(&limits);
    for time in [Timestamp::MAX, at(1000), Timestamp::MIN, at(0), Timestamp::MAX, at(-5), at(1000)] {
        sends.note(ANN, time);
        sends.reached_or_note(ANN, &limits, time);
        sends.expire(time);
        sends.take_back(ANN, time);
    }
    sends.forget(ANN);
    sends.note(ANN, at(2000));
    sends.note(ANN, at(2000));
    assert_eq!(sends.reached(ANN, &limits, at(1000)), Some(limits[0]), "sends of the future count");
}

#[test]
fn of_messages_at_once_only_as_many_pass_as_the_limit_allows() {
    let limits = [limit(5, 1000)];
    let sends = Sends::new(&limits);
    let passed = std::thread::scope(|scope| {
        let try_ten = || (0..10).filter(|_| sends.reached_or_note(ANN, &limits, at(1000)).is_none()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(try_ten)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(passed, 5);
}

#[derive(Clone, Debug)]
enum Step {
    Note(u64, i64),
    ReachedOrNote(u64),
    TakeBack(u64, i64),
    Forget(u64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let time = || (0..4_u64, 0..600_i64);
    prop_oneof![
        8 => time().prop_map(|(who, when)| Step::Note(who, when)),
        8 => (0..4_u64).prop_map(Step::ReachedOrNote),
        2 => time().prop_map(|(who, when)| Step::TakeBack(who, when)),
        1 => (0..4_u64).prop_map(Step::Forget),
        1 => Just(Step::Expire),
    ]
}

const LIMITS: [Limit; 3] = [
    Limit { messages: 2, window_secs: 60 },
    Limit { messages: 4, window_secs: 200 },
    Limit { messages: 7, window_secs: 400 },
];

proptest! {
    #[test]
    fn it_counts_as_a_plain_list_of_all_sends_does(steps in prop::collection::vec(step(), 0..80)) {
        let sends = Sends::new(&LIMITS);
        let mut model: Vec<(u64, i64)> = Vec::new();
        let counting = |model: &[(u64, i64)], who: u64, window: u32, now: i64| {
            model.iter().filter(|(whom, when)| *whom == who && when + i64::from(window) > now).count()
        };
        let reached = |model: &[(u64, i64)], who: u64, now: i64| {
            let holds =
                |limit: &Limit, now: i64| counting(model, who, limit.window_secs, now) >= limit.messages as usize;
            let until = |limit: &Limit| (now..).find(|later| !holds(limit, *later));
            LIMITS.into_iter().filter(|limit| holds(limit, now)).max_by_key(|limit| (until(limit), limit.window_secs))
        };
        // Time moves on by itself; sends are noted late, as when the ledger is read.
        let mut now = 1000;
        for step in steps {
            now += 7;
            match step {
                Step::Note(who, ago) => {
                    sends.note(who, at(now - ago));
                    model.push((who, now - ago));
                }
                Step::ReachedOrNote(who) => {
                    let want = reached(&model, who, now);
                    prop_assert_eq!(sends.reached(who, &LIMITS, at(now)), want);
                    prop_assert_eq!(sends.reached_or_note(who, &LIMITS, at(now)), want);
                    if want.is_none() {
                        model.push((who, now));
                    }
                }
                // Only what still counts: the rest may have been dropped.
                Step::TakeBack(who, ago) => {
                    let newest = model.iter().rposition(|(whom, when)| *whom == who && now - when <= ago.min(50));
                    let kept = newest.filter(|_| counting(&model, who, 400, now) <= 7);
                    if let Some(place) = kept {
                        sends.take_back(who, at(model[place].1));
                        model.remove(place);
                    }
                }
                Step::Forget(who) => {
                    sends.forget(who);
                    model.retain(|(whom, _)| *whom != who);
                }
                Step::Expire => sends.expire(at(now - 400)),
            }
            for who in 0..4 {
                for limit in LIMITS {
                    let want = counting(&model, who, limit.window_secs, now).min(10);
                    prop_assert_eq!(sends.count(who, limit.window_secs, at(now)).min(10), want);
                }
            }
        }
    }
}

/// `cargo test --release --lib outbound::limit -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a test"]
fn how_long_a_recipient_takes() {
    const CONTACTS: u64 = 1_000_000;
    let limits = [limit(9, 86_400), limit(30, 30 * 86_400)];
    let sends = Sends::new(&limits);
    let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    for round in 1..=5 {
        let start = std::time::Instant::now();
        let now = at(1_000_000 + round * 86_400);
        let passed =
            (0..CONTACTS).filter(|number| sends.reached_or_note(hash(*number), &limits, now).is_none()).count();
        let each = start.elapsed().as_nanos() / u128::from(CONTACTS);
        println!("send {round}: {each} ns for each of {CONTACTS} contacts, {passed} passed");
    }
    let start = std::time::Instant::now();
    sends.expire(at(1_000_000 + 3 * 86_400));
    println!("expire: {:?}", start.elapsed());
}
