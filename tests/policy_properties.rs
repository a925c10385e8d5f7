//! Laws of the fold, tried on random records.

mod policy_facts;

use backstop::classify::{BounceType, Category, Fault};
use backstop::mail::ListId;
use backstop::policy::contact::FactKind;
use backstop::policy::{
    Authority, Contact, ContactState, EventId, Fact, Level, Policy, Profile, Scope, State, Suppression, due, explain,
    fold,
};
use backstop::report::Kind;
use jiff::SignedDuration;
use policy_facts::plain::Plain;
use policy_facts::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const CATEGORIES: [Category; 6] = [
    Category::Rejected,
    Category::Invalid,
    Category::Transient,
    Category::Unknown,
    Category::Blocked,
    Category::Failed,
];

/// Any fact of the first 24 days; few campaigns and lists, so that they meet.
fn any_fact() -> impl Strategy<Value = Dated> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", "e"]);
    let scope = || prop::sample::select(vec![Scope::System, list("news"), list("shop")]);
    let day = || 0..24i64;
    let kinds = vec![Kind::Delivered, Kind::Autoreply, Kind::Delayed, Kind::OptOut, Kind::NotSpam];
    let bounce_type = || prop::sample::select(vec![BounceType::Hard, BounceType::Soft]);
    let brought =
        || prop::option::of(prop::sample::select(vec![Category::Complaint, Category::Rejected, Category::Blocked]));
    let what = prop_oneof![
        4 => (day(), name()).prop_map(|(day, name)| soft(day, name)),
        2 => (day(), name(), prop::sample::select(CATEGORIES.to_vec()), bounce_type())
            .prop_map(|(day, name, category, bounce_type)| bounce(day, name, category, bounce_type)),
        2 => (day(), 0..24i64).prop_map(|(day, hour)| nameless_soft(day, hour)),
        1 => (day(), name()).prop_map(|(day, name)| hard(day, name)),
        2 => (day(), name()).prop_map(|(day, name)| let_out(day, name)),
        1 => (day(), prop::option::of(prop::sample::select(vec!["news", "shop"])))
            .prop_map(|(day, list)| complaint(day, list)),
        2 => (day(), prop::sample::select(kinds), name()).prop_map(|(day, kind, name)| of_kind(day, kind, name)),
        1 => (day(), 0..=5u8, prop::option::of(name())).prop_map(|(day, level, name)| {
            let mut dated = activity(day, level);
            let level = Level::try_from(level).expect("a level");
            dated.what = FactKind::Activity { level, campaign: name.map(campaign) };
            dated
        }),
        1 => (day(), scope()).prop_map(|(day, scope)| suppress(day, scope)),
        1 => (day(), scope()).prop_map(|(day, scope)| reactivate(day, scope)),
        1 => day().prop_map(timer),
        1 => (day(), scope(), brought()).prop_map(|(day, scope, category)| imported(day, scope, category, None)),
    ];
    let fault = prop::sample::select(vec![Fault::Recipient, Fault::Path]);
    (what, prop::option::of(0..24i64), prop::bool::ANY, fault).prop_map(|(mut dated, sent, by_words, fault)| {
        if matches!(dated.what, FactKind::Response(_)) {
            change(&mut dated, |response| {
                response.sent_at = sent.map(day_of);
                (response.by_words, response.fault) = (by_words, Some(fault));
            });
        }
        dated
    })
}

fn any_record() -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::vec(any_fact(), 0..24).prop_map(numbered)
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(Profile::ALL.to_vec()).prop_map(|(_, profile)| {
        let mut policy = Policy::of(profile);
        if profile == Profile::TwiceWeekly {
            // Rows that random records reach.
            (policy.table.transient.responses, policy.table.transient.span_days) = (2, 3);
            (policy.table.failed.responses, policy.table.failed.span_days) = (2, 0);
            policy.proof.soft = Level::PURCHASE;
        }
        policy
    })
}

fn contact(facts: &[Fact]) -> Contact {
    let mut contact = Contact::default();
    facts.iter().cloned().for_each(|fact| contact.insert(fact));
    contact
}

/// A fact of another host, whose ids no other has.
fn foreign(dated: Dated) -> Fact {
    Fact { event: EventId::new(dated.at, 2, 0), at: dated.at, what: dated.what }
}

fn lists() -> [Option<ListId>; 3] {
    [None, Some(ListId("news".into())), Some(ListId("shop".into()))]
}

fn stays(suppression: &Suppression) -> bool {
    suppression.category.is_none_or(|category| category == Category::Complaint) && suppression.bounce_type.is_none()
}

/// Scopes and categories of what neither activity nor the timer may end.
fn words(state: &ContactState) -> BTreeSet<(Scope, Option<Category>)> {
    let kept = state.suppressions.iter().filter(|suppression| stays(suppression));
    kept.map(|suppression| (suppression.scope.clone(), suppression.category)).collect()
}

proptest! {
    #[test]
    fn the_order_in_which_events_arrive_does_not_matter(
        (facts, shuffled) in any_record().prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        policy in any_policy(),
        day in 0..40i64,
    ) {
        let now = day_of(day);
        prop_assert_eq!(contact(&facts), contact(&shuffled));
        prop_assert_eq!(fold(&contact(&facts), &policy, now), fold(&contact(&shuffled), &policy, now));
    }

    #[test]
    fn the_same_event_twice_counts_once(facts in any_record(), policy in any_policy(), day in 0..40i64) {
        let twice: Vec<Fact> = facts.iter().chain(&facts).cloned().collect();
        prop_assert_eq!(fold(&contact(&facts), &policy, day_of(day)), fold(&contact(&twice), &policy, day_of(day)));
    }

    #[test]
    fn undoing_an_event_equals_never_having_had_it(facts in any_record(), place in any::<prop::sample::Index>()) {
        prop_assume!(!facts.is_empty());
        let place = place.index(facts.len());
        let mut undone = contact(&facts);
        prop_assert!(undone.remove(facts[place].event));
        prop_assert!(!undone.remove(facts[place].event));
        let others: Vec<Fact> = facts.iter().filter(|fact| fact.event != facts[place].event).cloned().collect();
        prop_assert_eq!(undone, contact(&others));
    }

    #[test]
    fn an_unverified_response_changes_nothing(
        facts in any_record(),
        forged in any_fact().prop_filter("responses only", |dated| matches!(dated.what, FactKind::Response(_))),
        policy in any_policy(),
        day in 0..40i64,
    ) {
        let mut forged = forged;
        change(&mut forged, |response| response.authority = Authority::Unverified);
        let before = fold(&contact(&facts), &policy, day_of(day));
        let with: Vec<Fact> = facts.into_iter().chain([foreign(forged)]).collect();
        prop_assert_eq!(before, fold(&contact(&with), &policy, day_of(day)));
    }

    #[test]
    fn what_a_person_confirms_counts_from_then_on_as_if_that_person_had_said_it(
        facts in any_record(),
        place in any::<prop::sample::Index>(),
        policy in any_policy(),
        confirmed in 24..32i64,
        day in 0..40i64,
    ) {
        prop_assume!(!facts.is_empty());
        let mut facts = facts;
        let place = place.index(facts.len());
        let target = facts[place].event;
        let mut of_a_person = facts.clone();
        if let FactKind::Response(response) = &mut of_a_person[place].what {
            response.authority = Authority::Operator;
        }
        if let FactKind::Response(response) = &mut facts[place].what {
            response.authority = Authority::Unverified;
        }
        let word = foreign(Dated { at: day_of(confirmed), what: FactKind::Confirm { target } });
        let id = word.event;
        // Whichever comes first.
        let mut with = contact(&facts.iter().cloned().chain([word.clone()]).collect::<Vec<_>>());
        let first = contact(&[word].into_iter().chain(facts.iter().cloned()).collect::<Vec<_>>());
        prop_assert_eq!(&with, &first);
        let now = day_of(day);
        let want = if day < confirmed { contact(&facts) } else { contact(&of_a_person) };
        prop_assert_eq!(fold(&with, &policy, now), fold(&want, &policy, now));
        prop_assert_eq!(explain(&with, &policy, now, None), explain(&want, &policy, now, None));
        // And undone, it was never said.
        prop_assert!(with.remove(id));
        prop_assert_eq!(fold(&with, &policy, now), fold(&contact(&facts), &policy, now));
    }

    #[test]
    fn what_has_not_happened_yet_changes_nothing(facts in any_record(), policy in any_policy(), day in 0..24i64) {
        let now = day_of(day);
        let past: Vec<Fact> = facts.iter().filter(|fact| fact.at <= now).cloned().collect();
        prop_assert_eq!(fold(&contact(&facts), &policy, now), fold(&contact(&past), &policy, now));
        prop_assert_eq!(explain(&contact(&facts), &policy, now, None), explain(&contact(&past), &policy, now, None));
    }

    #[test]
    fn a_system_wide_release_today_leaves_nothing(facts in any_record(), policy in any_policy()) {
        let released: Vec<Fact> = facts.into_iter().chain([foreign(reactivate(30, Scope::System))]).collect();
        let state = fold(&contact(&released), &policy, day_of(31));
        prop_assert_eq!((state.state, state.suppressions.len(), state.soft_streak), (State::Active, 0, 0));
    }

    #[test]
    fn activity_never_lifts_a_complaint_or_a_persons_word(
        facts in any_record(), policy in any_policy(), day in 0..40i64, level in 0..=5u8,
    ) {
        let before = fold(&contact(&facts), &policy, day_of(40));
        let with: Vec<Fact> = facts.into_iter().chain([foreign(activity(day, level))]).collect();
        prop_assert_eq!(words(&before), words(&fold(&contact(&with), &policy, day_of(40))));
    }

    #[test]
    fn the_timer_never_lifts_what_does_not_end_by_time(
        facts in any_record(), policy in any_policy(), day in 0..40i64,
    ) {
        let before = fold(&contact(&facts), &policy, day_of(40));
        let with: Vec<Fact> = facts.into_iter().chain([foreign(timer(day))]).collect();
        let after = fold(&contact(&with), &policy, day_of(40));
        prop_assert_eq!(words(&before), words(&after));
        let lasting = |state: &ContactState| -> Vec<Suppression> {
            state.suppressions.iter().filter(|suppression| suppression.until.is_none()).cloned().collect()
        };
        prop_assert_eq!(lasting(&before), lasting(&after));
    }

    #[test]
    fn the_timer_that_is_due_leaves_nothing_that_ends_by_time(
        facts in any_record(),
        profile in prop::sample::select(vec![Profile::Daily, Profile::Weekly, Profile::Monthly]),
    ) {
        let (policy, now) = (Policy::of(profile), day_of(90));
        // At least one that ends by time; two releases before it may have doubled its days twice.
        let blocked = foreign(bounce(25, "z", Category::Blocked, BounceType::Hard));
        let facts: Vec<Fact> = facts.into_iter().chain([blocked]).collect();
        let before = fold(&contact(&facts), &policy, now);
        let last = before.suppressions.iter().filter_map(|suppression| suppression.until).max();
        prop_assert_eq!(due(&before, now), last.is_some_and(|last| last <= now));
        let with: Vec<Fact> = facts.into_iter().chain([foreign(timer(90))]).collect();
        let after = fold(&contact(&with), &policy, now);
        prop_assert!(after.suppressions.iter().all(|suppression| suppression.until.is_none()));
        prop_assert!(!due(&after, now) && after.soft_streak == 0);
    }

    #[test]
    fn an_import_makes_nobody_less_suppressed(
        facts in any_record(), policy in any_policy(), day in 0..40i64,
        scope in prop::sample::select(vec![Scope::System, list("news")]),
        category in prop::option::of(prop::sample::select(CATEGORIES.to_vec())),
    ) {
        let now = day_of(40);
        let before = fold(&contact(&facts), &policy, now);
        let import = foreign(imported(day, scope, category, None));
        let with: Vec<Fact> = facts.into_iter().chain([import]).collect();
        let after = fold(&contact(&with), &policy, now);
        for list in lists() {
            let (before, after) = (before.suppressed_for(list.as_ref()), after.suppressed_for(list.as_ref()));
            prop_assert!(before.is_none() || after.is_some());
        }
        prop_assert!(before.state == State::Active || after.state != State::Active);
        prop_assert!(before.state != State::Suppressed || after.state == State::Suppressed);
        prop_assert_eq!((before.soft_streak, before.retracted), (after.soft_streak, after.retracted));
    }

    #[test]
    fn an_explanation_rests_on_the_fewest_events(facts in any_record(), policy in any_policy(), day in 0..40i64) {
        let (all, now) = (contact(&facts), day_of(day));
        for list in lists() {
            let explanation = explain(&all, &policy, now, list.as_ref());
            let verdict = |contact: &Contact| {
                let state = fold(contact, &policy, now);
                state.suppressed_for(list.as_ref()).map(|by| (by.event, by.scope.clone(), by.category, by.since))
            };
            let only = |events: &[EventId]| {
                Contact { facts: all.facts.iter().filter(|fact| events.contains(&fact.event)).cloned().collect() }
            };
            let rests_on = &explanation.rests_on;
            prop_assert_eq!(verdict(&all), verdict(&only(rests_on)));
            prop_assert_eq!(explanation.suppressed, verdict(&all).is_some());
            for without in 0..rests_on.len() {
                let fewer = [&rests_on[..without], &rests_on[without + 1..]].concat();
                prop_assert_ne!(verdict(&all), verdict(&only(&fewer)));
            }
            // Every bounce, complaint and word either is a reason or is told why it is not.
            let told: BTreeSet<EventId> =
                rests_on.iter().copied().chain(explanation.not_counted.iter().map(|left| left.event)).collect();
            for fact in all.facts.iter().filter(|fact| fact.at <= now) {
                let must_be_told = match &fact.what {
                    FactKind::Response(response) => {
                        matches!(response.kind, Kind::Bounce | Kind::Complaint | Kind::OptOut | Kind::Delayed)
                    }
                    FactKind::Suppress { .. } | FactKind::Imported(_) => true,
                    _ => false,
                };
                prop_assert!(!must_be_told || told.contains(&fact.event), "{:?}", fact);
            }
        }
    }

    #[test]
    fn the_state_agrees_with_the_suppressions_and_those_with_a_plain_count(facts in any_record(), day in 0..40i64) {
        let (policy, now) = (Policy::default(), day_of(day));
        let state = fold(&contact(&facts), &policy, now);
        let system = state.suppressions.iter().filter(|suppression| suppression.scope == Scope::System).count();
        prop_assert_eq!(state.state == State::Active, system == 0);
        prop_assert!(state.suppressions[..system].iter().all(|suppression| suppression.scope == Scope::System));
        prop_assert!(state.suppressions.iter().all(|suppression| suppression.since <= now));
        let plain = Plain::of(&contact(&facts), &policy, now);
        prop_assert_eq!(&state.retracted, &plain.retracted);
        prop_assert_eq!(state.soft_streak, plain.streak);
        let reported = facts.into_iter().filter(|fact| !matches!(fact.what, FactKind::Imported(_))).collect::<Vec<_>>();
        let state = fold(&contact(&reported), &policy, now);
        let bounced = state.suppressions.iter().any(|suppression| suppression.bounce_type.is_some());
        prop_assert_eq!(bounced, plain.bounced);
    }
}

#[test]
fn a_long_record_is_folded_in_bounded_time() {
    let facts: Vec<Fact> = numbered_fast(50_000);
    let contact = Contact { facts };
    let started = std::time::Instant::now();
    let state = fold(&contact, &Policy::default(), day_of(9_000));
    assert_eq!(state.state, State::Bounced);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_long_record_is_explained_in_bounded_time() {
    // Every second campaign comes back once more, and every hundredth was delivered after all.
    let mut facts = numbered_fast(20_000);
    for (number, fact) in facts.iter_mut().enumerate() {
        if let FactKind::Response(response) = &mut fact.what {
            response.campaign = Some(campaign(&format!("{}", number / 2)));
            if number % 100 == 99 {
                response.kind = Kind::Delivered;
            }
        }
    }
    let mut policy = Policy::default();
    policy.proof.soft = Level::PURCHASE;
    let started = std::time::Instant::now();
    let explanation = explain(&Contact { facts }, &policy, day_of(9_000), None);
    assert_eq!(explanation.rests_on.len(), 3);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// One soft bounce an hour, each of its own campaign.
fn numbered_fast(count: u64) -> Vec<Fact> {
    (0..count)
        .map(|number| {
            let mut dated = soft(0, &format!("campaign {number}"));
            dated.at += SignedDuration::from_hours(number as i64);
            Fact { event: EventId::new(dated.at, 1, number), at: dated.at, what: dated.what }
        })
        .collect()
}
