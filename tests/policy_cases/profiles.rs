//! SPEC 6, profiles: a table of category by responses, span and reactivation.

use crate::policy_facts::*;
use backstop::classify::{BounceType, Category, Fault};
use backstop::policy::{CATEGORIES, Policy, Profile, State, Table};
use backstop::report::Kind;

const BY_FREQUENCY: [Profile; 4] = [Profile::Daily, Profile::TwiceWeekly, Profile::Weekly, Profile::Monthly];

/// One bounce every so many days, each of its own campaign.
fn every(days: i64, count: i64, category: Category, bounce_type: BounceType) -> Vec<Dated> {
    (0..count).map(|number| bounce(number * days, &format!("c{number}"), category, bounce_type)).collect()
}

fn state_of(facts: Vec<Dated>, policy: &Policy) -> State {
    on_day(1000, facts, policy).state
}

#[test]
fn the_table_has_the_numbers_of_each_send_frequency() {
    for (profile, transient, failed, span) in [
        (Profile::Daily, 7, 10, 14),
        (Profile::TwiceWeekly, 5, 6, 10),
        (Profile::Weekly, 3, 4, 14),
        (Profile::Monthly, 3, 3, 60),
    ] {
        let table = Table::of(profile);
        for (category, responses, days) in [(Category::Transient, transient, 14), (Category::Failed, failed, 21)] {
            let cell = table.cell(category);
            assert_eq!((cell.responses, cell.hard_responses), (responses, responses), "{profile:?} {category:?}");
            assert_eq!((cell.span_days, cell.reactivate_days, cell.doubling), (span, Some(days), true));
        }
        let unknown = table.cell(Category::Unknown);
        assert_eq!(unknown, table.cell(Category::Transient), "{profile:?}: unknown as transient");
        for category in [Category::Rejected, Category::Invalid, Category::Complaint] {
            let cell = table.cell(category);
            assert_eq!((cell.responses, cell.hard_responses, cell.reactivate_days), (1, 1, None), "{category:?}");
        }
        let blocked = table.cell(Category::Blocked);
        assert_eq!((blocked.hard_responses, blocked.responses, blocked.reactivate_days), (1, 3, Some(14)));
    }
}

#[test]
fn standard_and_literal_have_hard_at_once_and_soft_three_in_one_row_for_good() {
    for profile in [Profile::Standard, Profile::Literal] {
        let table = Table::of(profile);
        for category in CATEGORIES.into_iter().filter(|category| *category != Category::Complaint) {
            let cell = table.cell(category);
            assert_eq!((cell.hard_responses, cell.responses, cell.span_days, cell.reactivate_days), (1, 3, 0, None));
            assert_eq!(cell.counts_as, Category::Transient, "{category:?}");
        }
    }
    let mixed = [Category::Transient, Category::Failed, Category::Blocked];
    let facts = || (0..).zip(mixed).map(|(day, category)| bounce(day, &format!("{day}"), category, BounceType::Soft));
    assert_eq!(state_of(facts().collect(), &Policy::default()), State::Bounced);
    assert_eq!(state_of(facts().take(2).collect(), &Policy::default()), State::Active);
}

#[test]
fn in_every_profile_an_address_that_does_not_exist_suppresses_at_once() {
    for (_, profile) in Profile::ALL {
        let policy = Policy::of(profile);
        for category in [Category::Rejected, Category::Invalid] {
            assert_eq!(state_of(every(1, 1, category, BounceType::Hard), &policy), State::Bounced, "{profile:?}");
        }
    }
    for profile in BY_FREQUENCY {
        let soft = every(1, 1, Category::Rejected, BounceType::Soft);
        assert_eq!(state_of(soft, &Policy::of(profile)), State::Bounced, "{profile:?}, soft");
    }
}

#[test]
fn in_the_profiles_by_frequency_a_row_needs_its_responses_and_its_span() {
    for profile in BY_FREQUENCY {
        let policy = Policy::of(profile);
        for category in [Category::Transient, Category::Unknown, Category::Failed] {
            let cell = *policy.table.cell(category);
            let (needed, span) = (i64::from(cell.responses), i64::from(cell.span_days));
            let apart = (span + needed - 2) / (needed - 1);
            for bounce_type in [BounceType::Soft, BounceType::Hard] {
                let said = format!("{profile:?} {category:?} {bounce_type:?}");
                assert_eq!(state_of(every(apart, needed, category, bounce_type), &policy), State::Bounced, "{said}");
                assert_eq!(state_of(every(apart, needed - 1, category, bounce_type), &policy), State::Active, "{said}");
                let crowded = every(1, needed, category, bounce_type);
                let want = if span < needed { State::Bounced } else { State::Active };
                assert_eq!(state_of(crowded, &policy), want, "{said}, one a day");
            }
        }
    }
}

#[test]
fn a_row_that_is_long_but_too_short_in_days_suppresses_on_the_day_it_spans_them() {
    let state = on_day(30, every(1, 20, Category::Transient, BounceType::Soft), &Policy::of(Profile::Daily));
    assert_eq!((state.state, state.suppressions[0].since), (State::Bounced, day_of(14)));
}

#[test]
fn rows_of_different_categories_stand_apart_and_neither_ends_the_other() {
    let policy = Policy::of(Profile::Weekly);
    let facts = vec![
        bounce(0, "a", Category::Transient, BounceType::Soft),
        bounce(7, "b", Category::Failed, BounceType::Soft),
        bounce(14, "c", Category::Unknown, BounceType::Soft),
        bounce(21, "d", Category::Blocked, BounceType::Soft),
    ];
    assert_eq!(
        state_of(facts.clone(), &policy),
        State::Active,
        "two of transient and unknown, one failed, one blocked"
    );
    let third = [facts, vec![bounce(28, "e", Category::Transient, BounceType::Soft)]].concat();
    assert_eq!(state_of(third.clone(), &policy), State::Bounced);
    let delivered = [third, vec![sent_on(10, of_kind(15, Kind::Delivered, "f"))]].concat();
    assert_eq!(state_of(delivered, &policy), State::Active, "a delivery ends them all");
}

#[test]
fn the_fault_rule_holds_in_every_profile_but_literal() {
    for (_, profile) in Profile::ALL {
        let policy = Policy::of(profile);
        for category in [Category::Blocked, Category::Rejected, Category::Invalid] {
            let faults = [(Fault::Recipient, State::Bounced), (Fault::Path, State::Active)];
            for (fault, want) in faults {
                let want = if profile == Profile::Literal { State::Bounced } else { want };
                let one = vec![by_words(bounce(0, "a", category, BounceType::Hard), fault)];
                assert_eq!(state_of(one, &policy), want, "{profile:?} {category:?} {fault:?}");
            }
            let three =
                (0..3).map(|day| by_words(bounce(day, &format!("{day}"), category, BounceType::Hard), Fault::Path));
            assert_eq!(state_of(three.collect(), &policy), State::Bounced, "{profile:?} {category:?}, three in a row");
        }
    }
}

#[test]
fn soft_dns_trouble_that_is_not_the_recipients_does_not_suppress_at_once() {
    for profile in BY_FREQUENCY {
        let trouble = by_words(bounce(0, "a", Category::Invalid, BounceType::Soft), Fault::Path);
        assert_eq!(state_of(vec![trouble], &Policy::of(profile)), State::Active, "{profile:?}");
    }
}

#[test]
fn every_cell_can_be_overridden() {
    let mut policy = Policy::default();
    policy.table.transient.responses = 1;
    assert_eq!(on_day(30, vec![soft(1, "a")], &policy).state, State::Bounced);

    let mut policy = Policy::of(Profile::Daily);
    (policy.table.failed.hard_responses, policy.table.failed.responses) = (1, 3);
    policy.table.failed.span_days = 0;
    assert_eq!(state_of(every(1, 1, Category::Failed, BounceType::Hard), &policy), State::Bounced);
    assert_eq!(state_of(every(1, 3, Category::Failed, BounceType::Soft), &policy), State::Bounced);
    assert_eq!(state_of(every(1, 2, Category::Failed, BounceType::Soft), &policy), State::Active);

    // In a row that categories share, each one's own length decides when it comes.
    let mut policy = Policy::default();
    policy.table.failed.responses = 5;
    assert_eq!(state_of(every(1, 4, Category::Failed, BounceType::Soft), &policy), State::Active);
    let shared = [every(1, 2, Category::Failed, BounceType::Soft), vec![soft(3, "x")]].concat();
    assert_eq!(state_of(shared, &policy), State::Bounced);
}
