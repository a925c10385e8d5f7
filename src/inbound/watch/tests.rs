//! What the watch alerts of, and what not.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).expect("a time")
}

fn contact(number: u32) -> Address {
    Address::parse(&format!("c{number}@example.org")).expect("an address")
}

fn codes(watch: &Watch, now: Timestamp) -> Vec<&'static str> {
    watch.alerts(now).into_iter().map(|(code, _)| code).collect()
}

#[test]
fn a_campaign_whose_every_recipient_bounces_is_no_replay() {
    let (watch, id) = (Watch::default(), MessageId("campaign@example.com".to_owned()));
    for number in 0..5000 {
        assert_eq!(watch.refers(Reference::MessageId(&id), &contact(number), true, at(i64::from(number))), None);
    }
    assert!(codes(&watch, at(5000)).is_empty());
}

#[test]
fn one_reference_again_and_again_or_for_many_strangers_is_a_replay_told_once() {
    let (watch, id) = (Watch::default(), MessageId("one@example.com".to_owned()));
    let refer = |to, number| watch.refers(to, &contact(number), false, at(1));
    let told: Vec<_> = (0..50).filter_map(|number| refer(Reference::MessageId(&id), number)).collect();
    assert_eq!(told, [Replay::Strangers]);
    let told: Vec<_> = (0..50).filter_map(|_| refer(Reference::Token("abc"), 7)).collect();
    assert_eq!(told, [Replay::Again]);
    assert_eq!(codes(&watch, at(2)), ["replay"]);
    assert!(codes(&watch, at(2 * DAY)).is_empty(), "an alert of yesterday is over");
}

#[test]
fn references_of_a_day_ago_are_forgotten_and_memory_has_an_end() {
    let (watch, id) = (Watch::default(), MessageId("one@example.com".to_owned()));
    for day in 0..100 {
        assert_eq!(watch.refers(Reference::MessageId(&id), &contact(1), true, at(day * DAY)), None);
    }
    for number in 0..(REMEMBERED as u32 + 500) {
        watch.refers(Reference::MessageId(&id), &contact(number), true, at(0));
    }
    assert_eq!(watch.watched().pairs.len(), REMEMBERED);
    assert_eq!(watch.watched().pairs.counts.len(), REMEMBERED);
}

#[test]
fn complaints_that_match_nothing_are_an_alert_for_a_day() {
    let watch = Watch::default();
    for number in 0..UNMATCHED {
        assert!(codes(&watch, at(number as i64)).is_empty());
        watch.unmatched_complaint(at(number as i64));
    }
    assert_eq!(codes(&watch, at(60)), ["complaints-unmatched"]);
    assert!(codes(&watch, at(DAY + HOUR)).is_empty());
}

#[test]
fn silence_is_an_alert_only_while_mail_goes_out_and_what_was_before_is_known() {
    let watch = Watch::default();
    watch.sent(SENT, at(0));
    assert!(codes(&watch, at(1)).is_empty(), "nobody has looked yet what came back before the start");
    watch.is_seeded();
    assert_eq!(codes(&watch, at(1)), ["return-path-silent"]);
    watch.came_back(at(2));
    assert!(codes(&watch, at(3)).is_empty());
    watch.sent(SENT, at(8 * DAY));
    assert_eq!(codes(&watch, at(8 * DAY)), ["return-path-silent"], "what came back is eight days ago");
    assert!(codes(&watch, at(16 * DAY)).is_empty(), "nothing goes out any more");
    let few = Watch::default();
    few.is_seeded();
    few.sent(SENT - 1, at(0));
    assert!(codes(&few, at(1)).is_empty());
}

#[test]
fn a_report_waits_a_day_for_the_dns_and_not_longer_and_not_all_of_them() {
    let watch = Watch::default();
    let key = |number: u32| ContentKey::of(&[&number.to_be_bytes()]);
    assert!(watch.should_wait(key(0), at(0)));
    assert!(watch.should_wait(key(0), at(DAY - 1)));
    assert!(!watch.should_wait(key(0), at(DAY)));
    let waiting = (1..2 * WAITING as u32).filter(|number| watch.should_wait(key(*number), at(0))).count();
    assert_eq!(waiting, WAITING - 1);
    assert!(watch.should_wait(key(u32::MAX), at(3 * DAY)), "there is place again");
}
