//! SPEC 6, false bounces: proof of life after the bounce retracts it.

use crate::policy_facts::*;
use backstop::classify::{BounceType, Category};
use backstop::policy::contact::FactKind;
use backstop::policy::{Authority, Level, Policy, Proof, Scope, State};
use backstop::report::Kind;

#[test]
fn proof_of_life_after_the_bounce_retracts_it() {
    for (name, life) in [
        ("a click by a person", activity(2, 3)),
        ("a purchase", activity(2, 5)),
        ("a report shows delivery", of_kind(2, Kind::Delivered, "august")),
        ("a reply", of_kind(2, Kind::Autoreply, "august")),
        ("not spam", of_kind(2, Kind::NotSpam, "august")),
    ] {
        let state = after(vec![hard(1, "july"), life]);
        assert_eq!((state.state, state.suppressions.len()), (State::Active, 0), "{name}");
        assert_eq!(state.retracted, [event_of(1, 0)], "{name}: the response stays in the history, as retracted");
    }
}

#[test]
fn proof_of_life_before_the_bounce_retracts_nothing() {
    let state = after(vec![activity(1, 5), hard(2, "july")]);
    assert_eq!((state.state, state.retracted.len()), (State::Bounced, 0));
}

#[test]
fn a_suppression_that_rested_on_a_retracted_bounce_falls_and_another_stands() {
    let unknown = bounce(1, "a", Category::Unknown, BounceType::Hard);
    let strict = Policy { proof: Proof { hard: Level::PURCHASE, ..Proof::default() }, ..Policy::default() };
    let facts = || vec![unknown.clone(), hard(2, "b"), activity(3, 4)];
    let state = on_day(30, facts(), &strict);
    assert_eq!((state.state, state.retracted.as_slice()), (State::Bounced, [event_of(1, 0)].as_slice()));
    assert_eq!((state.suppressions.len(), state.suppressions[0].event), (1, event_of(2, 0)));
    assert_eq!(on_day(30, facts(), &Policy::default()).state, State::Active);
}

#[test]
fn each_reason_states_the_level_it_needs() {
    let row = |category| (1..4).map(move |day| bounce(day, &format!("{day}"), category, BounceType::Soft)).collect();
    for (name, facts, needs) in [
        ("soft", row(Category::Transient), 1),
        ("unknown", row(Category::Unknown), 3),
        ("unknown, hard", vec![bounce(1, "a", Category::Unknown, BounceType::Hard)], 3),
        ("hard", vec![hard(1, "a")], 3),
    ] {
        let facts: Vec<Dated> = facts;
        for level in 0..=5 {
            let state = after([facts.clone(), vec![activity(9, level)]].concat());
            let want = if level >= needs { State::Active } else { State::Bounced };
            assert_eq!(state.state, want, "{name}, level {level}");
            assert_eq!(state.retracted.len(), if level >= needs { facts.len() } else { 0 }, "{name}, level {level}");
        }
    }
}

#[test]
fn the_levels_are_the_policys() {
    let strict = Policy {
        proof: Proof { soft: Level::PURCHASE, unknown: Level::OPEN, hard: Level::CLICK },
        ..Policy::default()
    };
    for (facts, level, want) in [
        (vec![hard(1, "a")], 1, State::Bounced),
        (vec![hard(1, "a")], 2, State::Active),
        (vec![bounce(1, "a", Category::Unknown, BounceType::Hard)], 1, State::Active),
        (vec![soft(1, "a"), soft(2, "b"), soft(3, "c")], 4, State::Bounced),
        (vec![soft(1, "a"), soft(2, "b"), soft(3, "c")], 5, State::Active),
    ] {
        let all = [facts.clone(), vec![activity(9, level)]].concat();
        assert_eq!(on_day(30, all, &strict).state, want, "{facts:?} {level}");
    }
}

#[test]
fn a_machine_open_proves_nothing() {
    let state = after(vec![soft(1, "a"), soft(2, "b"), activity(3, 0), soft(4, "c")]);
    assert_eq!((state.state, state.retracted.len()), (State::Bounced, 0));
}

#[test]
fn a_sign_of_life_in_between_ends_the_row() {
    let state = after(vec![soft(1, "a"), soft(2, "b"), activity(3, 1), soft(4, "c")]);
    assert_eq!((state.state, state.soft_streak, state.retracted.len()), (State::Active, 1, 2));
    // Too weak to retract, strong enough to show that something was delivered.
    let unknown = |day| bounce(day, &format!("{day}"), Category::Unknown, BounceType::Soft);
    let state = after(vec![unknown(1), unknown(2), activity(3, 1), unknown(4)]);
    assert_eq!((state.state, state.soft_streak, state.retracted.len()), (State::Active, 1, 0));
}

#[test]
fn activity_that_names_a_campaign_shows_that_this_campaign_was_delivered() {
    let unknown = |day, name| bounce(day, name, Category::Unknown, BounceType::Soft);
    let mut open = activity(5, 1);
    open.what = FactKind::Activity { level: Level::OPEN, campaign: Some(campaign("b")) };
    let facts = vec![unknown(1, "a"), let_out(2, "b"), unknown(3, "c"), unknown(4, "d"), open];
    assert_eq!(after(facts).soft_streak, 2, "b went out between a and c");
}

#[test]
fn a_retracted_bounce_counts_as_a_delivery() {
    // Unknown ones need level 3, the soft one between them level 1.
    let unknown = |day, name| bounce(day, name, Category::Unknown, BounceType::Soft);
    let facts = || vec![unknown(1, "a"), soft(2, "b"), unknown(3, "c")];
    assert_eq!(after(facts()).state, State::Bounced);
    let state = after([facts(), vec![sent_on(0, of_kind(4, Kind::Delayed, "x")), activity(4, 2)]].concat());
    assert_eq!((state.state, state.retracted.as_slice()), (State::Active, [event_of(2, 0)].as_slice()));
}

#[test]
fn a_complaint_is_never_lifted_by_activity() {
    for complained in [complaint(1, None), complaint(1, Some("news"))] {
        let state = after(vec![complained, activity(2, 5), of_kind(3, Kind::Delivered, "x")]);
        assert_eq!(state.suppressions.len(), 1);
    }
}

#[test]
fn a_persons_word_is_never_lifted_by_activity() {
    assert_eq!(after(vec![suppress(1, Scope::System), activity(2, 5)]).state, State::Suppressed);
}

#[test]
fn a_complaint_came_from_the_inbox_so_it_retracts_bounces_and_suppresses_itself() {
    let state = after(vec![hard(1, "a"), complaint(2, Some("news"))]);
    assert_eq!((state.state, state.retracted.as_slice()), (State::Active, [event_of(1, 0)].as_slice()));
    assert_eq!(state.suppressions[0].scope, list("news"));
}

#[test]
fn an_unverified_reply_retracts_nothing() {
    let mut reply = of_kind(2, Kind::Autoreply, "a");
    change(&mut reply, |response| response.authority = Authority::Unverified);
    assert_eq!(after(vec![hard(1, "a"), reply]).state, State::Bounced);
}

#[test]
fn a_released_bounce_is_still_retracted_by_what_came_after_it() {
    let state = after(vec![hard(1, "a"), reactivate(2, Scope::System), activity(3, 3)]);
    assert_eq!(state.retracted, [event_of(1, 0)]);
}

#[test]
fn a_relayed_message_that_bounces_later_was_no_proof_of_life() {
    let relayed_then = |bounce| vec![hard(1, "a"), of_kind(2, Kind::Delivered, "b"), bounce];
    assert_eq!(after(relayed_then(soft(3, "b"))).retracted, []);
    assert_eq!(after(relayed_then(hard(3, "b"))).suppressions[0].event, event_of(1, 0));
    assert_eq!(after(relayed_then(soft(3, "c"))).retracted, [event_of(1, 0)], "another campaign's bounce says nothing");
}
