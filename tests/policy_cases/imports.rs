//! SPEC 6, operator's lists: what an import of old suppressions makes of a contact.

use crate::policy_facts::*;
use backstop::classify::{BounceType, Category};
use backstop::policy::contact::FactKind;
use backstop::policy::{Policy, Profile, Scope, State};

fn since(day: i64, mut dated: Dated) -> Dated {
    match &mut dated.what {
        FactKind::Imported(imported) => imported.since = Some(day_of(day)),
        _ => panic!("no import"),
    }
    dated
}

fn gone(day: i64) -> Dated {
    imported(day, Scope::System, Some(Category::Rejected), Some(BounceType::Hard))
}

#[test]
fn an_import_suppresses_as_the_reports_would_have() {
    for (category, bounce_type, want) in [
        (Some(Category::Rejected), Some(BounceType::Hard), State::Bounced),
        (Some(Category::Transient), Some(BounceType::Soft), State::Bounced),
        (Some(Category::Blocked), None, State::Bounced),
        (Some(Category::Complaint), None, State::Suppressed),
        (None, None, State::Suppressed),
    ] {
        let state = after(vec![imported(1, Scope::System, category, bounce_type)]);
        assert_eq!(state.state, want, "{category:?}");
        let suppression = &state.suppressions[0];
        assert_eq!((suppression.category, suppression.bounce_type), (category, bounce_type));
        assert_eq!((suppression.reason.as_str(), suppression.event), ("imported", event_of(1, 0)));
        let state = after(vec![imported(1, list("news"), category, bounce_type)]);
        assert_eq!((state.state, &state.suppressions[0].scope), (State::Active, &list("news")));
    }
}

#[test]
fn an_import_keeps_since_when_but_not_from_the_future() {
    assert_eq!(after(vec![since(-400, gone(5))]).suppressions[0].since, day_of(-400));
    assert_eq!(after(vec![gone(5)]).suppressions[0].since, day_of(5));
    assert_eq!(after(vec![since(900, gone(5))]).suppressions[0].since, day_of(5));
}

#[test]
fn an_import_never_weakens_a_stronger_reason_it_only_adds() {
    let state = after(vec![complaint(1, None), imported(2, Scope::System, Some(Category::Transient), None)]);
    assert_eq!((state.state, state.suppressions.len()), (State::Suppressed, 2));
    let state = after(vec![hard(1, "a"), gone(2)]);
    assert_eq!((state.suppressions.len(), state.suppressions[0].event), (1, event_of(1, 0)));
}

#[test]
fn a_release_after_the_import_ends_it_and_one_before_does_not() {
    // Ordered by when it was imported, however old the list says it is.
    let import = || since(-400, gone(5));
    assert_eq!(after(vec![import(), reactivate(6, Scope::System)]).state, State::Active);
    assert_eq!(after(vec![reactivate(4, Scope::System), import()]).state, State::Bounced);
}

#[test]
fn proof_of_life_retracts_an_imported_bounce_and_no_imported_wish() {
    let of = |category, bounce_type| imported(1, Scope::System, category, bounce_type);
    for (import, level, want) in [
        (of(Some(Category::Rejected), Some(BounceType::Hard)), 2, State::Bounced),
        (of(Some(Category::Rejected), Some(BounceType::Hard)), 3, State::Active),
        (of(Some(Category::Rejected), None), 2, State::Bounced),
        (of(Some(Category::Transient), Some(BounceType::Soft)), 1, State::Active),
        (of(Some(Category::Complaint), None), 5, State::Suppressed),
        (of(None, None), 5, State::Suppressed),
    ] {
        let state = after(vec![import.clone(), activity(2, level)]);
        assert_eq!(state.state, want, "{import:?} {level}");
        assert_eq!(state.retracted, [], "an import is no response");
    }
}

#[test]
fn proof_of_life_from_before_the_import_retracts_a_bounce_that_is_older_still() {
    let rejected = || imported(9, Scope::System, Some(Category::Rejected), Some(BounceType::Hard));
    assert_eq!(after(vec![activity(5, 3), since(4, rejected())]).state, State::Active);
    assert_eq!(after(vec![activity(5, 3), since(6, rejected())]).state, State::Bounced);
    assert_eq!(after(vec![activity(5, 2), since(4, rejected())]).state, State::Bounced, "too weak a sign");
    assert_eq!(after(vec![activity(5, 3), rejected()]).state, State::Bounced, "no word on when it bounced");
}

#[test]
fn an_imported_bounce_ends_by_time_from_its_import_on() {
    let daily = Policy::of(Profile::Daily);
    let import = since(-400, imported(5, Scope::System, Some(Category::Blocked), Some(BounceType::Hard)));
    let state = on_day(30, vec![import.clone()], &daily);
    assert_eq!(state.suppressions[0].until, Some(day_of(19)));
    assert_eq!(on_day(30, vec![import, timer(19)], &daily).state, State::Active);
}

#[test]
fn an_import_is_no_bounce_in_a_row_and_ends_none() {
    let import = imported(2, list("news"), Some(Category::Transient), Some(BounceType::Soft));
    assert_eq!(after(vec![soft(1, "a"), import, soft(3, "b")]).soft_streak, 2);
}
