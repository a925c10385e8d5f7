//! SPEC 6, reactivation: by a person, or after the profile's days by the daemon's timer.

use crate::policy_facts::*;
use backstop::classify::{BounceType, Category};
use backstop::policy::{Policy, Profile, Scope, State, due};

fn blocked(day: i64) -> Dated {
    bounce(day, &format!("{day}"), Category::Blocked, BounceType::Hard)
}

fn daily() -> Policy {
    Policy::of(Profile::Daily)
}

fn until(facts: Vec<Dated>) -> Vec<Option<i64>> {
    let state = on_day(3000, facts, &daily());
    let days = |at: jiff::Timestamp| at.duration_since(day_of(0)).as_hours() / 24;
    state.suppressions.iter().map(|suppression| suppression.until.map(days)).collect()
}

#[test]
fn a_suppression_says_when_the_timer_releases_it() {
    assert_eq!(until(vec![blocked(1)]), [Some(15)]);
    let failed = (0..15).map(|day| bounce(day, &format!("{day}"), Category::Failed, BounceType::Soft)).collect();
    assert_eq!(until(failed), [Some(35)], "it tipped on day 14, and failed takes 21");
}

#[test]
fn what_no_profile_reactivates_has_no_end() {
    assert_eq!(until(vec![hard(1, "a")]), [None]);
    assert_eq!(until(vec![complaint(1, None)]), [None]);
    assert_eq!(until(vec![suppress(1, Scope::System)]), [None]);
    let facts = vec![soft(1, "a"), soft(2, "b"), soft(3, "c")];
    assert_eq!(after(facts).suppressions[0].until, None, "standard releases nothing by time");
}

#[test]
fn time_alone_releases_nobody_the_timers_event_does() {
    assert_eq!(on_day(99, vec![blocked(1)], &daily()).state, State::Bounced);
    let state = on_day(99, vec![blocked(1), timer(15)], &daily());
    assert_eq!((state.state, state.suppressions.len()), (State::Active, 0));
}

#[test]
fn the_timer_is_due_when_all_that_ends_by_time_has_ended() {
    for (name, facts, day, want) in [
        ("nothing", vec![], 20, false),
        ("not yet", vec![blocked(1)], 14, false),
        ("on the day", vec![blocked(1)], 15, true),
        ("once", vec![blocked(1), timer(15)], 16, false),
        ("never", vec![hard(1, "a")], 900, false),
        ("beside what stays", vec![hard(1, "a"), blocked(2), suppress(3, Scope::System)], 16, true),
    ] {
        assert_eq!(due(&on_day(day, facts, &daily()), day_of(day)), want, "{name}");
    }
    let transient = (0..15).map(|day| bounce(day, &format!("{day}"), Category::Transient, BounceType::Soft));
    let facts: Vec<Dated> = transient.chain([blocked(20)]).collect();
    for (day, want) in [(28, false), (34, true)] {
        assert_eq!(due(&on_day(day, facts.clone(), &daily()), day_of(day)), want, "day {day}: blocked until 34");
    }
}

#[test]
fn the_timer_never_lifts_what_a_person_said_a_complaint_or_what_has_no_end() {
    for (name, fact) in [
        ("a person", suppress(1, Scope::System)),
        ("a person, for a list", suppress(1, list("news"))),
        ("a complaint", complaint(1, None)),
        ("a complaint, for a list", complaint(1, Some("news"))),
        ("an imported complaint", imported(1, Scope::System, Some(Category::Complaint), None)),
        ("an imported wish", imported(1, Scope::System, None, None)),
        ("an address that does not exist", hard(1, "a")),
    ] {
        let before = on_day(40, vec![fact.clone()], &daily());
        let mut released = on_day(40, vec![fact, blocked(2), timer(16)], &daily());
        released.retracted.clear();
        assert_eq!(released.suppressions, before.suppressions, "{name}");
    }
}

#[test]
fn after_the_timers_release_earlier_bounces_do_not_count() {
    let transient = |day| bounce(day, &format!("{day}"), Category::Transient, BounceType::Soft);
    let facts: Vec<Dated> = (0..15).map(transient).chain([timer(28)]).chain((29..35).map(transient)).collect();
    let state = on_day(60, facts, &daily());
    assert_eq!((state.state, state.soft_streak), (State::Active, 6));
}

#[test]
fn each_time_it_is_suppressed_again_takes_twice_as_long() {
    assert_eq!(until(vec![blocked(1), timer(15), blocked(20)]), [Some(48)]);
    assert_eq!(until(vec![blocked(1), timer(15), blocked(20), timer(48), blocked(50)]), [Some(106)]);
    let mut plain = daily();
    plain.table.blocked.doubling = false;
    let state = on_day(60, vec![blocked(1), timer(15), blocked(20)], &plain);
    assert_eq!(state.suppressions[0].until, Some(day_of(34)));
}

#[test]
fn doubling_starts_anew_after_a_person_or_strong_proof_of_life() {
    let twice = || vec![blocked(1), timer(15)];
    for (name, between, want) in [
        ("a person's release", reactivate(17, Scope::System), 34),
        ("a click by a person", activity(17, 3), 34),
        ("a mere open", activity(17, 1), 48),
        ("a person's release of a list", reactivate(17, list("news")), 48),
    ] {
        assert_eq!(until([twice(), vec![between, blocked(20)]].concat()), [Some(want)], "{name}");
    }
}

#[test]
fn doubling_a_thousand_times_overflows_nothing() {
    let mut facts: Vec<Dated> = (1..1000).map(timer).collect();
    facts.push(blocked(2000));
    assert!(until(facts)[0] > Some(300_000));
}

#[test]
fn a_profile_that_does_not_reactivate_does_not_heed_the_timer_either() {
    assert_eq!(after(vec![blocked(1), timer(15)]).state, State::Bounced);
}

#[test]
fn a_persons_release_lifts_complaints_and_imports_too() {
    let facts = vec![complaint(1, None), imported(1, list("news"), None, None), reactivate(2, Scope::System)];
    assert_eq!(after(facts).suppressions, []);
}
