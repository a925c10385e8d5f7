//! Laws of the fold, tried on random records.

mod policy_facts;

use backstop::policy::contact::FactKind;
use backstop::policy::{Authority, Contact, EventId, Fact, Policy, Scope, State, fold};
use backstop::report::Kind;
use jiff::SignedDuration;
use policy_facts::*;
use proptest::prelude::*;
use std::time::Duration;

/// Any fact of the first 24 days; few campaigns and lists, so that they meet.
fn any_fact() -> impl Strategy<Value = Dated> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", "e"]);
    let scope = || prop::sample::select(vec![Scope::System, list("news"), list("shop")]);
    let day = || 0..24i64;
    let kinds = vec![Kind::Delivered, Kind::Autoreply, Kind::Delayed, Kind::OptOut, Kind::NotSpam];
    let what = prop_oneof![
        4 => (day(), name()).prop_map(|(day, name)| soft(day, name)),
        2 => (day(), 0..24i64).prop_map(|(day, hour)| nameless_soft(day, hour)),
        1 => (day(), name()).prop_map(|(day, name)| hard(day, name)),
        2 => (day(), name()).prop_map(|(day, name)| let_out(day, name)),
        1 => (day(), prop::option::of(prop::sample::select(vec!["news", "shop"])))
            .prop_map(|(day, list)| complaint(day, list)),
        2 => (day(), prop::sample::select(kinds), name()).prop_map(|(day, kind, name)| of_kind(day, kind, name)),
        1 => (day(), scope()).prop_map(|(day, scope)| suppress(day, scope)),
        1 => (day(), scope()).prop_map(|(day, scope)| reactivate(day, scope)),
    ];
    (what, prop::option::of(0..24i64), prop::bool::ANY).prop_map(|(dated, sent, by_words)| {
        let mut dated = dated;
        if matches!(dated.what, FactKind::Response(_)) {
            change(&mut dated, |response| {
                response.sent_at = sent.map(day_of);
                response.by_words = by_words;
            });
        }
        dated
    })
}

fn any_record() -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::vec(any_fact(), 0..24).prop_map(numbered)
}

fn contact(facts: &[Fact]) -> Contact {
    let mut contact = Contact::default();
    facts.iter().cloned().for_each(|fact| contact.insert(fact));
    contact
}

proptest! {
    #[test]
    fn the_order_in_which_events_arrive_does_not_matter(
        (facts, shuffled) in any_record().prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        day in 0..40i64,
    ) {
        let now = day_of(day);
        prop_assert_eq!(contact(&facts), contact(&shuffled));
        prop_assert_eq!(
            fold(&contact(&facts), &Policy::default(), now),
            fold(&contact(&shuffled), &Policy::default(), now)
        );
    }

    #[test]
    fn the_same_event_twice_counts_once(facts in any_record(), day in 0..40i64) {
        let twice: Vec<Fact> = facts.iter().chain(&facts).cloned().collect();
        prop_assert_eq!(
            fold(&contact(&facts), &Policy::default(), day_of(day)),
            fold(&contact(&twice), &Policy::default(), day_of(day))
        );
    }

    #[test]
    fn an_unverified_response_changes_nothing(
        facts in any_record(),
        forged in any_fact().prop_filter("responses only", |dated| matches!(dated.what, FactKind::Response(_))),
        day in 0..40i64,
    ) {
        let mut forged = forged;
        change(&mut forged, |response| response.authority = Authority::Unverified);
        let before = fold(&contact(&facts), &Policy::default(), day_of(day));
        let event = EventId::new(forged.at, 2, 0);
        let forged = Fact { event, at: forged.at, what: forged.what };
        let with: Vec<Fact> = facts.into_iter().chain([forged]).collect();
        prop_assert_eq!(before, fold(&contact(&with), &Policy::default(), day_of(day)));
    }

    #[test]
    fn what_has_not_happened_yet_changes_nothing(facts in any_record(), day in 0..24i64) {
        let now = day_of(day);
        let past: Vec<Fact> = facts.iter().filter(|fact| fact.at <= now).cloned().collect();
        prop_assert_eq!(
            fold(&contact(&facts), &Policy::default(), now),
            fold(&contact(&past), &Policy::default(), now)
        );
    }

    #[test]
    fn a_system_wide_release_today_leaves_nothing(facts in any_record()) {
        let release = Fact {
            event: EventId::new(day_of(30), 1, 0),
            at: day_of(30),
            what: FactKind::Reactivate { scope: Scope::System, reason: String::new(), by_timer: false },
        };
        let released: Vec<Fact> = facts.into_iter().chain([release]).collect();
        let state = fold(&contact(&released), &Policy::default(), day_of(31));
        prop_assert_eq!((state.state, state.suppressions.len(), state.soft_streak), (State::Active, 0, 0));
    }

    #[test]
    fn the_state_agrees_with_the_suppressions_and_those_with_a_plain_count(facts in any_record(), day in 0..40i64) {
        let policy = Policy::default();
        let state = fold(&contact(&facts), &policy, day_of(day));
        let system = state.suppressions.iter().filter(|suppression| suppression.scope == Scope::System).count();
        prop_assert_eq!(state.state == State::Active, system == 0);
        prop_assert!(state.suppressions[..system].iter().all(|suppression| suppression.scope == Scope::System));
        prop_assert!(state.suppressions.iter().all(|suppression| suppression.since <= day_of(day)));
        prop_assert_eq!(state.soft_streak, plain_streak(&contact(&facts), &policy, day_of(day)));
    }
}

/// The streak told a second way: campaign by campaign with a map, in the order of the words of SPEC 6.
fn plain_streak(contact: &Contact, policy: &Policy, now: jiff::Timestamp) -> u32 {
    let facts: Vec<&Fact> = contact.facts.iter().filter(|fact| fact.at <= now).collect();
    let last_release = facts
        .iter()
        .rposition(|fact| matches!(&fact.what, FactKind::Reactivate { scope: Scope::System, .. }))
        .map_or(0, |place| place + 1);
    let mut campaigns: std::collections::BTreeMap<String, Vec<&Fact>> = Default::default();
    for fact in &facts[last_release..] {
        let (campaign, sent) = match &fact.what {
            FactKind::Response(response) => (&response.campaign, response.sent_at.unwrap_or(fact.at).min(fact.at)),
            FactKind::Sent { campaign, .. } => (campaign, fact.at),
            _ => continue,
        };
        let name = campaign.as_ref().map_or_else(|| sent.strftime("day %F").to_string(), |campaign| campaign.0.clone());
        campaigns.entry(name).or_default().push(fact);
    }
    let mut row = Vec::new();
    for facts in campaigns.values() {
        let mut told = Vec::new();
        let mut let_out = None;
        let mut ended = None; // Some(true): bounced softly
        let mut answered = false;
        let mut seen = Vec::new();
        for fact in facts {
            match &fact.what {
                FactKind::Response(response) => {
                    let hard = response.bounce_type == Some(backstop::classify::BounceType::Hard);
                    match response.kind {
                        Kind::Bounce if hard => {}
                        Kind::Bounce => ended = Some(true),
                        Kind::Delayed | Kind::Other => continue,
                        Kind::Delivered | Kind::Autoreply | Kind::Complaint | Kind::OptOut | Kind::NotSpam => {
                            ended = Some(false)
                        }
                    }
                    answered = true;
                    told.extend(response.sent_at.map(|sent| sent.min(fact.at)));
                }
                FactKind::Sent { .. } => let_out = let_out.or(Some(fact.at)),
                _ => continue,
            }
            seen.push((fact.at, fact.event));
        }
        let settle = SignedDuration::try_from(policy.settle).unwrap_or(SignedDuration::MAX);
        let silent = let_out.is_some_and(|sent| !answered && now.duration_since(sent) >= settle);
        if let (Some(soft), Some(&first)) = (ended.or(silent.then_some(false)), seen.first()) {
            row.push((told.iter().min().copied().or(let_out).unwrap_or(first.0), first, soft));
        }
    }
    row.sort();
    row.iter().rev().take_while(|(_, _, soft)| *soft).count() as u32
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
