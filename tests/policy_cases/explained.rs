//! SPEC 9: the verdict, what it rests on, what was not counted and why, and what would release it.

use crate::policy_facts::*;
use backstop::classify::{BounceType, Category, Fault};
use backstop::mail::ListId;
use backstop::policy::{Authority, EventId, Explanation, Level, NotCounted, Policy, Profile, Release, Scope, explain};
use backstop::report::Kind;

fn explained(facts: Vec<Dated>) -> Explanation {
    explain(&record(facts), &Policy::default(), day_of(30), None)
}

fn why(explanation: &Explanation) -> Vec<(EventId, NotCounted)> {
    explanation.not_counted.iter().map(|left| (left.event, left.why)).collect()
}

fn unverified(mut dated: Dated) -> Dated {
    change(&mut dated, |response| response.authority = Authority::Unverified);
    dated
}

#[test]
fn who_may_be_mailed_needs_no_reason_and_no_release() {
    let explanation = explained(vec![soft(1, "a")]);
    assert!(!explanation.suppressed && explanation.rests_on.is_empty() && explanation.releases.is_empty());
    assert_eq!(
        why(&explanation),
        [(event_of(1, 0), NotCounted::RowTooShort { responses: 1, needed: 3, span_days: 0 })]
    );
}

#[test]
fn a_hard_bounce_is_its_own_reason_and_later_ones_stand_behind_it() {
    let explanation = explained(vec![hard(1, "a"), hard(2, "b")]);
    assert_eq!(explanation.by.as_ref().map(|by| by.event), Some(event_of(1, 0)));
    assert_eq!(explanation.rests_on, [event_of(1, 0)]);
    assert_eq!(why(&explanation), [(event_of(2, 0), NotCounted::EarlierStands { by: event_of(1, 0) })]);
    let level = Level::HUMAN_CLICK;
    assert_eq!(explanation.releases, [Release::Person { scope: Scope::System }, Release::ProofOfLife { level }]);
}

#[test]
fn a_row_is_the_reason_and_what_is_left_out_of_it_says_why() {
    let explanation = explained(vec![
        soft(1, "a"),
        sent_on(1, of_kind(2, Kind::Delivered, "b")),
        soft(3, "c"),
        soft(4, "c"),
        of_kind(4, Kind::Delayed, "x"),
        unverified(hard(5, "d")),
        soft(6, "e"),
        soft(7, "f"),
        soft(8, "g"),
        let_out(28, "h"),
    ]);
    assert_eq!(explanation.rests_on, [event_of(3, 0), event_of(6, 0), event_of(7, 0)]);
    assert_eq!(
        why(&explanation),
        [
            (event_of(1, 0), NotCounted::Retracted { by: event_of(2, 0) }),
            (event_of(4, 0), NotCounted::SameCampaign { by: event_of(3, 0) }),
            (event_of(4, 1), NotCounted::SaysNothing),
            (event_of(5, 0), NotCounted::Unverified),
            (event_of(8, 0), NotCounted::EarlierStands { by: event_of(7, 0) }),
            (event_of(28, 0), NotCounted::NotSettled),
        ]
    );
}

#[test]
fn a_row_that_a_delivery_ended_names_that_campaign() {
    let explanation = explained(vec![soft(1, "a"), soft(2, "b"), let_out(3, "c"), soft(4, "d")]);
    let broken = NotCounted::Broken { by: event_of(3, 0) };
    let short = NotCounted::RowTooShort { responses: 1, needed: 3, span_days: 0 };
    assert_eq!(why(&explanation), [(event_of(1, 0), broken), (event_of(2, 0), broken), (event_of(4, 0), short)]);
}

#[test]
fn a_delivery_too_weak_to_retract_is_told_as_a_delay() {
    let mut policy = Policy::default();
    policy.proof.soft = Level::PURCHASE;
    let facts = vec![soft(1, "a"), of_kind(2, Kind::Delivered, "a")];
    let explanation = explain(&record(facts), &policy, day_of(30), None);
    assert_eq!(why(&explanation), [(event_of(1, 0), NotCounted::Delayed { by: event_of(2, 0) })]);
}

#[test]
fn a_release_is_named() {
    let explanation = explained(vec![hard(1, "a"), suppress(1, Scope::System), reactivate(2, Scope::System)]);
    let released = NotCounted::Released { by: event_of(2, 0) };
    assert_eq!(why(&explanation), [(event_of(1, 0), released), (event_of(1, 1), released)]);
}

#[test]
fn a_fault_that_is_not_the_recipients_is_told_also_where_the_bounce_counts() {
    let path = |day: i64| by_words(hard(day, &format!("{day}")), Fault::Path);
    let explanation = explained(vec![path(1), path(2), path(3)]);
    assert_eq!(explanation.rests_on.len(), 3);
    assert!(why(&explanation).iter().all(|(_, why)| *why == NotCounted::FaultElsewhere));
    assert_eq!(explanation.not_counted.len(), 3);
}

#[test]
fn a_complaint_holds_for_its_list_and_nothing_but_a_person_releases_it() {
    let contact = record(vec![complaint(1, Some("news"))]);
    let news = ListId("news".into());
    let explanation = explain(&contact, &Policy::default(), day_of(30), Some(&news));
    assert!(explanation.suppressed);
    assert_eq!(explanation.releases, [Release::Person { scope: list("news") }]);
    let other = explain(&contact, &Policy::default(), day_of(30), Some(&ListId("shop".into())));
    assert!(!other.suppressed);
    assert_eq!(why(&other), [(event_of(1, 0), NotCounted::OtherList)]);
}

#[test]
fn what_ends_by_time_says_when() {
    let blocked = bounce(1, "a", Category::Blocked, BounceType::Hard);
    let policy = Policy::of(Profile::Weekly);
    let explanation = explain(&record(vec![blocked.clone()]), &policy, day_of(3), None);
    assert!(explanation.releases.contains(&Release::Timer { at: day_of(15) }));
    let stays = explain(&record(vec![blocked, suppress(2, Scope::System)]), &policy, day_of(3), None);
    assert_eq!(stays.releases, [Release::Person { scope: Scope::System }], "the timer would leave a person's word");
}

#[test]
fn a_row_over_days_rests_on_its_first_and_its_last() {
    let soft = |day: i64| bounce(day, &format!("{day}"), Category::Transient, BounceType::Soft);
    let facts = record((0..20).map(soft).collect());
    let explanation = explain(&facts, &Policy::of(Profile::Weekly), day_of(25), None);
    assert_eq!(explanation.rests_on, [event_of(0, 0), event_of(13, 0), event_of(14, 0)]);
}

#[test]
fn it_is_written_in_kebab_case() {
    let json = serde_json::to_value(explained(vec![hard(1, "a"), hard(2, "b")])).expect("plain data");
    assert_eq!(json["not_counted"][0]["why"], "earlier-stands");
    assert_eq!(json["releases"][1], serde_json::json!({"how": "proof-of-life", "level": 3}));
    let sentence = NotCounted::RowTooShort { responses: 2, needed: 7, span_days: 14 }.to_string();
    assert_eq!(sentence, "it stands in a row of 2; 7 over 14 days suppress");
}
