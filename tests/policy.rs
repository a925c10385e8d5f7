//! SPEC 6, sentence by sentence: what the facts on record make of a contact. Streaks, complaints and fault here,
//! the rest in `policy_cases`.

mod policy_cases;
mod policy_facts;

use backstop::classify::{BounceCode, BounceType, Category, Class, Fault};
use backstop::mail::ListId;
use backstop::policy::contact::FactKind;
use backstop::policy::{Authority, Contact, Limit, Policy, Profile, Scope, State, fold};
use backstop::report::Kind;
use policy_facts::*;
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn a_contact_nothing_is_known_of_is_active() {
    let state = fold(&Contact::default(), &Policy::default(), day_of(0));
    assert_eq!((state.state, state.suppressions.len(), state.soft_streak), (State::Active, 0, 0));
}

#[test]
fn a_hard_bounce_suppresses_at_once_and_system_wide() {
    let state = after(vec![hard(1, "july")]);
    assert_eq!((state.state, state.soft_streak), (State::Bounced, 0));
    let suppression = &state.suppressions[0];
    assert_eq!(suppression.scope, Scope::System);
    assert_eq!(suppression.category, Some(Category::Rejected));
    assert_eq!(suppression.bounce_type, Some(BounceType::Hard));
    assert_eq!(suppression.code.map(|code| code.to_string()).as_deref(), Some("5.1.1"));
    assert_eq!(suppression.reason, "user-unknown");
    assert_eq!(suppression.since, day_of(1));
    assert_eq!(suppression.until, None);
    assert_eq!(suppression.campaign, Some(campaign("july")));
    assert_eq!(suppression.event, event_of(1, 0));
    assert_eq!(state.suppressed_for(Some(&ListId("any".into()))), Some(suppression));
}

#[test]
fn a_second_hard_bounce_leaves_the_suppression_of_the_first() {
    let state = after(vec![hard(1, "july"), hard(2, "august")]);
    assert_eq!((state.suppressions.len(), state.suppressions[0].since), (1, day_of(1)));
}

#[test]
fn a_hard_failure_before_the_message_left_suppresses_too() {
    let mut dated = hard(1, "july");
    change(&mut dated, |response| {
        (response.class, response.category) = (Class::Skip, Some(Category::Invalid));
    });
    assert_eq!(after(vec![dated]).state, State::Bounced);
}

#[test]
fn soft_bounces_suppress_when_they_happened_three_times_in_a_row_in_three_separate_campaigns() {
    let two = vec![soft(1, "a"), soft(2, "b")];
    let state = after(two.clone());
    assert_eq!((state.state, state.soft_streak, state.suppressions.len()), (State::Active, 2, 0));

    let state = after([two, vec![soft(3, "c")]].concat());
    assert_eq!((state.state, state.soft_streak), (State::Bounced, 3));
    let suppression = &state.suppressions[0];
    assert_eq!((suppression.since, suppression.event), (day_of(3), event_of(3, 0)));
    assert_eq!(suppression.category, Some(Category::Transient));
    assert_eq!(suppression.campaign, Some(campaign("c")));
    assert_eq!(suppression.scope, Scope::System);
}

#[test]
fn a_fourth_soft_bounce_lengthens_the_streak_and_not_the_suppression() {
    let state = after(vec![soft(1, "a"), soft(2, "b"), soft(3, "c"), soft(4, "d")]);
    assert_eq!((state.soft_streak, state.suppressions.len(), state.suppressions[0].since), (4, 1, day_of(3)));
}

#[test]
fn two_soft_bounces_of_one_campaign_count_once() {
    let state = after(vec![soft(1, "a"), soft(2, "a"), soft(3, "b"), soft(4, "b"), soft(5, "a")]);
    assert_eq!((state.state, state.soft_streak), (State::Active, 2));
}

#[test]
fn in_a_row_is_by_send_time() {
    // Campaign b went out second and was delivered; the bounce of a came back last.
    let late = sent_on(1, soft(9, "a"));
    let state = after(vec![sent_on(2, of_kind(2, Kind::Delivered, "b")), sent_on(3, soft(3, "c")), late]);
    assert_eq!(state.soft_streak, 1, "only c stands behind b");
}

#[test]
fn the_send_time_is_the_responses_own_then_that_of_the_send_on_record_then_the_time_it_came_back() {
    for (name, bounce, streak) in [
        ("its own, before the delivery", vec![sent_on(1, soft(9, "a"))], 0),
        ("of the send on record, before the delivery", vec![let_out(1, "a"), soft(9, "a")], 0),
        ("its own wins", vec![let_out(1, "a"), sent_on(6, soft(9, "a"))], 1),
        ("when it came back, behind the delivery", vec![soft(9, "a")], 1),
    ] {
        let facts = [bounce, vec![of_kind(5, Kind::Delivered, "b")]].concat();
        assert_eq!(after(facts).soft_streak, streak, "{name}");
    }
}

#[test]
fn the_suppression_dates_from_the_bounce_that_came_back_last() {
    let late = sent_on(1, soft(9, "a"));
    let state = after(vec![late, sent_on(2, soft(3, "b")), sent_on(3, soft(4, "c"))]);
    let suppression = &state.suppressions[0];
    assert_eq!((suppression.since, &suppression.campaign), (day_of(9), &Some(campaign("a"))));
}

#[test]
fn a_campaign_delivered_in_between_ends_the_streak() {
    for (name, between) in [
        ("success notification", of_kind(3, Kind::Delivered, "c")),
        ("automatic reply", of_kind(3, Kind::Autoreply, "c")),
        ("no response within settle", let_out(3, "c")),
    ] {
        let state = after(vec![soft(1, "a"), soft(2, "b"), between, soft(4, "d")]);
        assert_eq!((state.state, state.soft_streak), (State::Active, 1), "{name}");
    }
}

#[test]
fn a_complaint_came_from_the_inbox_and_ends_the_streak() {
    let state = after(vec![soft(1, "a"), soft(2, "b"), complaint(3, Some("news")), soft(4, "d")]);
    assert_eq!((state.state, state.soft_streak), (State::Active, 1));
}

#[test]
fn proof_of_life_that_names_no_campaign_ends_the_streak() {
    let mut life = of_kind(3, Kind::Autoreply, "");
    change(&mut life, |response| response.campaign = None);
    assert_eq!(after(vec![soft(1, "a"), soft(2, "b"), life, soft(4, "d")]).soft_streak, 1);
}

#[test]
fn a_delivery_behind_three_soft_bounces_ends_the_streak_and_the_suppression() {
    let state = after(vec![soft(1, "a"), soft(2, "b"), soft(3, "c"), of_kind(4, Kind::Delivered, "d")]);
    assert_eq!((state.state, state.soft_streak), (State::Active, 0));
}

#[test]
fn a_campaign_not_yet_settled_neither_counts_nor_ends_the_streak() {
    let facts = || vec![soft(1, "a"), soft(2, "b"), let_out(3, "c"), soft(4, "d")];
    for (day, streak) in [(4, 3), (8, 3), (9, 1)] {
        assert_eq!(on_day(day, facts(), &Policy::default()).soft_streak, streak, "day {day}, settle is 6 days");
    }
    let patient = Policy { settle: Duration::from_secs(20 * 86_400), ..Policy::default() };
    assert_eq!(on_day(22, facts(), &patient).soft_streak, 3);
    assert_eq!(on_day(23, facts(), &patient).soft_streak, 1);
}

#[test]
fn a_late_soft_bounce_undoes_the_delivery_that_silence_stood_for() {
    let state = after(vec![soft(1, "a"), let_out(2, "b"), soft(3, "c"), soft(12, "b")]);
    assert_eq!((state.state, state.soft_streak, state.suppressions[0].since), (State::Bounced, 3, day_of(12)));
}

#[test]
fn a_campaign_bounced_softly_when_no_delivery_follows_its_soft_bounce() {
    let bounced_then_delivered = [soft(3, "c"), of_kind(4, Kind::Delivered, "c")].to_vec();
    let relayed_then_bounced = [of_kind(3, Kind::Delivered, "c"), soft(4, "c")].to_vec();
    let two = vec![soft(1, "a"), soft(2, "b")];
    assert_eq!(after([two.clone(), bounced_then_delivered].concat()).soft_streak, 0);
    assert_eq!(after([two, relayed_then_bounced].concat()).soft_streak, 3);
}

#[test]
fn bounces_that_name_no_campaign_count_as_one_campaign_per_day() {
    let nameless = |day, hour| nameless_soft(day, hour);
    assert_eq!(after(vec![nameless(1, 1), nameless(1, 9), nameless(1, 23)]).soft_streak, 1);
    assert_eq!(after(vec![nameless(1, 1), nameless(2, 1), nameless(2, 2)]).soft_streak, 2);
    assert_eq!(after(vec![nameless(1, 1), nameless(2, 1), nameless(3, 1)]).state, State::Bounced);
}

#[test]
fn a_nameless_bounce_belongs_to_the_day_its_message_was_sent_where_that_is_known() {
    // Postfix gave up five days later: the send of day 1 was not delivered.
    let mut send = let_out(1, "");
    send.what = FactKind::Sent { campaign: None, list: None };
    let state = after(vec![send, sent_on(1, nameless_soft(6, 0))]);
    assert_eq!(state.soft_streak, 1);
    let state = after(vec![sent_on(1, nameless_soft(6, 0)), sent_on(1, nameless_soft(7, 0))]);
    assert_eq!(state.soft_streak, 1, "one send-out, two bounces");
}

#[test]
fn an_echo_of_an_upstream_suppression_list_is_no_evidence_about_the_mailbox() {
    let echo = |mut dated: Dated| {
        change(&mut dated, |response| response.reason = Some("upstream-suppressed".into()));
        dated
    };
    assert_eq!(after(vec![echo(hard(1, "a"))]).state, State::Active);
    assert_eq!(after(vec![echo(soft(1, "a")), echo(soft(2, "b")), echo(soft(3, "c"))]).soft_streak, 0);
    // It answers the send all the same, so silence does not stand for a delivery.
    let facts = vec![soft(1, "a"), soft(2, "b"), let_out(3, "c"), echo(hard(3, "c")), soft(4, "d")];
    assert_eq!(after(facts).soft_streak, 3);
}

#[test]
fn a_delay_counts_as_nothing() {
    let state = after(vec![soft(1, "a"), of_kind(2, Kind::Delayed, "b"), soft(3, "c"), soft(4, "d")]);
    assert_eq!((state.state, state.soft_streak), (State::Bounced, 3));
    let state = after(vec![soft(1, "a"), let_out(2, "b"), of_kind(2, Kind::Delayed, "b"), soft(3, "c")]);
    assert_eq!(state.soft_streak, 1, "delayed, then silence: delivered");
}

#[test]
fn a_complaint_deactivates_within_the_list_the_message_belonged_to() {
    for kind in [Kind::Complaint, Kind::OptOut] {
        let mut dated = complaint(1, Some("news"));
        change(&mut dated, |response| response.kind = kind);
        let state = after(vec![dated]);
        assert_eq!(state.state, State::Active, "{kind:?}");
        assert_eq!(state.suppressions[0].scope, list("news"));
        assert_eq!(state.suppressions[0].category, Some(Category::Complaint));
        assert!(state.suppressed_for(Some(&ListId("news".into()))).is_some());
        assert!(state.suppressed_for(Some(&ListId("shop".into()))).is_none());
        assert!(state.suppressed_for(None).is_none());
    }
}

#[test]
fn a_complaint_that_names_no_list_deactivates_system_wide() {
    let state = after(vec![complaint(1, None)]);
    assert_eq!((state.state, &state.suppressions[0].scope), (State::Suppressed, &Scope::System));
    assert_eq!(state.suppressions[0].bounce_type, None);
}

#[test]
fn where_words_show_a_fault_not_the_recipients_a_hard_bounce_counts_like_a_soft_one() {
    for fault in [Fault::Sender, Fault::Message, Fault::Path, Fault::Provider] {
        let by_words = |day, name| {
            let mut dated = hard(day, name);
            change(&mut dated, |response| (response.by_words, response.fault) = (true, Some(fault)));
            dated
        };
        let state = after(vec![by_words(1, "a"), by_words(2, "b")]);
        assert_eq!((state.state, state.soft_streak), (State::Active, 2), "{fault:?}");
        let state = after(vec![by_words(1, "a"), by_words(2, "b"), by_words(3, "c")]);
        assert_eq!(state.state, State::Bounced, "{fault:?}");
        assert_eq!(state.suppressions[0].bounce_type, Some(BounceType::Hard), "reports show the type as it came");
    }
}

#[test]
fn a_bare_code_without_words_is_taken_at_its_word() {
    let mut bare = hard(1, "a");
    change(&mut bare, |response| response.fault = Some(Fault::Sender));
    assert_eq!(after(vec![bare]).state, State::Bounced);
}

#[test]
fn words_that_show_the_recipients_fault_suppress_at_once() {
    let mut dated = hard(1, "a");
    change(&mut dated, |response| (response.by_words, response.fault) = (true, Some(Fault::Recipient)));
    assert_eq!(after(vec![dated]).state, State::Bounced);
}

#[test]
fn the_literal_profile_goes_by_the_code_whatever_the_words_and_the_fault() {
    let literal = Policy { profile: Profile::Literal, ..Policy::default() };
    let by_words = |code: (u8, u16, u16), judged: BounceType, fault: Fault| {
        let mut dated = hard(1, "a");
        change(&mut dated, |response| {
            let (class, subject, detail) = code;
            response.code = Some(BounceCode { class, subject, detail });
            (response.bounce_type, response.by_words, response.fault) = (Some(judged), true, Some(fault));
        });
        vec![dated]
    };
    for (code, judged, fault, standard, by_code) in [
        ((5, 1, 1), BounceType::Hard, Fault::Sender, State::Active, State::Bounced),
        ((5, 1, 1), BounceType::Soft, Fault::Sender, State::Active, State::Bounced), // too many recipients this hour
        ((5, 2, 2), BounceType::Hard, Fault::Recipient, State::Bounced, State::Active), // full and inactive
        ((4, 2, 2), BounceType::Soft, Fault::Recipient, State::Active, State::Active),
    ] {
        let facts = || by_words(code, judged, fault);
        assert_eq!(after(facts()).state, standard, "{code:?} {judged:?} {fault:?}, standard");
        assert_eq!(on_day(30, facts(), &literal).state, by_code, "{code:?} {judged:?} {fault:?}, literal");
    }
}

#[test]
fn unverified_evidence_decides_nothing_unless_accepted() {
    let facts = || {
        let mut dated = hard(1, "a");
        change(&mut dated, |response| response.authority = Authority::Unverified);
        vec![dated]
    };
    assert_eq!(after(facts()).state, State::Active);
    let trusting = Policy { accept_unverified: true, ..Policy::default() };
    assert_eq!(on_day(30, facts(), &trusting).state, State::Bounced);
}

#[test]
fn every_other_authority_counts() {
    for authority in
        [Authority::Authenticated, Authority::Matched, Authority::Local, Authority::Signed, Authority::Operator]
    {
        let mut dated = hard(1, "a");
        change(&mut dated, |response| response.authority = authority);
        assert_eq!(after(vec![dated]).state, State::Bounced, "{authority:?}");
    }
}

#[test]
fn a_person_suppresses_for_the_system_or_for_a_list() {
    let state = after(vec![suppress(1, Scope::System)]);
    assert_eq!((state.state, state.suppressions[0].reason.as_str()), (State::Suppressed, "asked"));
    assert_eq!(state.suppressions[0].category, None);
    let state = after(vec![suppress(1, list("news"))]);
    assert_eq!((state.state, &state.suppressions[0].scope), (State::Active, &list("news")));
}

#[test]
fn a_persons_word_names_the_state_beside_a_bounce() {
    let state = after(vec![hard(1, "a"), suppress(2, Scope::System)]);
    assert_eq!((state.state, state.suppressions.len()), (State::Suppressed, 2));
}

#[test]
fn system_wide_suppressions_come_first() {
    let state = after(vec![complaint(1, Some("news")), suppress(2, list("shop")), hard(3, "a")]);
    let scopes: Vec<_> = state.suppressions.iter().map(|suppression| suppression.scope.clone()).collect();
    assert_eq!(scopes, [Scope::System, list("news"), list("shop")]);
}

#[test]
fn reactivation_of_the_system_releases_everything_before_it() {
    let facts = || vec![hard(1, "a"), complaint(2, Some("news")), complaint(2, None), suppress(3, Scope::System)];
    let state = after([facts(), vec![reactivate(4, Scope::System)]].concat());
    assert_eq!((state.state, state.suppressions.len()), (State::Active, 0));
    let state = after([facts(), vec![reactivate(4, Scope::System), hard(5, "b")]].concat());
    assert_eq!((state.state, state.suppressions[0].since), (State::Bounced, day_of(5)));
}

#[test]
fn reactivation_of_the_system_ends_the_streak() {
    let state = after(vec![soft(1, "a"), soft(2, "b"), reactivate(3, Scope::System), soft(4, "c")]);
    assert_eq!((state.state, state.soft_streak), (State::Active, 1));
}

#[test]
fn reactivation_of_a_list_lifts_suppressions_of_that_list_only() {
    let facts = vec![
        complaint(1, Some("news")),
        suppress(1, list("news")),
        complaint(1, Some("shop")),
        hard(1, "a"),
        reactivate(2, list("news")),
    ];
    let state = after(facts);
    let scopes: Vec<_> = state.suppressions.iter().map(|suppression| suppression.scope.clone()).collect();
    assert_eq!((state.state, scopes), (State::Bounced, vec![Scope::System, list("shop")]));
    let state = after(vec![reactivate(1, list("news")), complaint(2, Some("news"))]);
    assert_eq!(state.suppressions.len(), 1, "a release holds for what came before it");
}

#[test]
fn facts_later_than_now_do_not_count() {
    let facts = || vec![hard(5, "a"), reactivate(8, Scope::System), suppress(12, Scope::System)];
    for (day, state) in [(4, State::Active), (5, State::Bounced), (8, State::Active), (12, State::Suppressed)] {
        assert_eq!(on_day(day, facts(), &Policy::default()).state, state, "day {day}");
    }
}

#[test]
fn three_in_a_row_stay_suppressed_when_a_later_campaign_meets_silence() {
    let state = after(vec![soft(1, "a"), soft(2, "b"), soft(3, "c"), let_out(4, "d")]);
    assert_eq!((state.state, state.soft_streak), (State::Bounced, 0));
    assert_eq!(state.suppressions[0].since, day_of(3));
}

#[test]
fn a_campaign_sent_in_between_that_settles_as_delivered_breaks_the_row_for_good() {
    let facts = || vec![soft(1, "a"), soft(2, "b"), let_out(3, "c"), soft(4, "d")];
    for (day, state) in [(8, State::Bounced), (9, State::Active)] {
        assert_eq!(on_day(day, facts(), &Policy::default()).state, state, "day {day}");
    }
}

#[test]
fn rows_before_and_after_a_silence_each_need_three() {
    let facts = [soft(1, "a"), soft(2, "b"), let_out(3, "s"), soft(4, "c"), soft(5, "d")].to_vec();
    assert_eq!((after(facts.clone()).state, after(facts.clone()).soft_streak), (State::Active, 2));
    assert_eq!(after([facts, vec![soft(6, "e")]].concat()).suppressions[0].since, day_of(6));
}

#[test]
fn an_automatic_reply_never_leads_to_suppression() {
    let replies = (1..9).map(|day| of_kind(day, Kind::Autoreply, &format!("{day}"))).collect();
    assert_eq!((after(replies).state), State::Active);
}

#[test]
fn a_complaint_suppresses_at_once_under_every_policy() {
    for (_, profile) in Profile::ALL {
        let mut policy = Policy::of(profile);
        (policy.table.complaint.responses, policy.table.complaint.hard_responses) = (9, 9);
        policy.table.complaint.reactivate_days = Some(1);
        let state = on_day(30, vec![complaint(1, None), timer(2)], &policy);
        assert_eq!((state.state, state.suppressions[0].until), (State::Suppressed, None), "{profile:?}");
    }
}

#[test]
fn the_last_limit_and_the_last_attributes_told_are_in_force() {
    let limit = |day, limit| Dated { at: day_of(day), what: FactKind::Limit(limit) };
    let attributes = |day, name: &str| {
        let known = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        Dated { at: day_of(day), what: FactKind::Attributes(known) }
    };
    let nine = Some(Limit { messages: 9, window_secs: 86_400 });
    let contact = record(vec![limit(1, nine), attributes(2, "locale"), attributes(4, "name"), limit(5, None)]);
    for (day, want, names) in [(0, None, None), (1, nine, None), (3, nine, Some("locale")), (5, None, Some("name"))] {
        assert_eq!(contact.limit(day_of(day)), want, "day {day}");
        let known = contact.attributes(day_of(day)).map(|known| known.keys().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(known, names.map(|name| vec![name]), "day {day}");
    }
    assert_eq!(fold(&contact, &Policy::default(), day_of(9)).state, State::Active);
}
