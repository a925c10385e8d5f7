//! What comes back, by our own Postfix and from the world, and what the next campaign does about it.

use crate::rig::{Options, RETURN_PATH, Rig, newsletter, notification};

#[test]
fn a_local_bounce_suppresses_and_the_next_campaign_drops_the_recipient() {
    let rig = Rig::start();
    let recipients = ["ann@good.test", "bob@hard.test", "cat@good.test"];
    rig.send_campaign("c1", &recipients);

    let answer = rig.daemon.ask(&["show", "bob@hard.test"]);
    assert_eq!(answer["state"], "bounced", "{answer:#}");
    assert_eq!(answer["suppressions"][0]["scope"], "system", "{answer:#}");
    let responses = rig.daemon.responses("bob@hard.test");
    assert_eq!(responses.len(), 1, "{answer:#}");
    for (field, want) in [
        ("class", "bounce"),
        ("kind", "bounce"),
        ("category", "rejected"),
        ("type", "hard"),
        ("code", "5.1.1"),
        ("authority", "local"),
        ("campaign", "c1"),
        ("list", "news.shop.test"),
    ] {
        assert_eq!(responses[0][field], want, "{field} of {:#}", responses[0]);
    }
    let said = responses[0]["diagnostic"].as_str().unwrap_or_default();
    assert!(said.contains("550 5.1.1 User unknown in this domain"), "diagnostic: {said}");
    assert!(!responses[0]["description"].as_str().unwrap_or_default().is_empty(), "{:#}", responses[0]);
    let at: jiff::Timestamp = responses[0]["at"].as_str().unwrap_or_default().parse().expect("RFC 3339");
    assert!(at.duration_until(jiff::Timestamp::now()).abs() < jiff::SignedDuration::from_mins(5), "at: {at}");
    assert_eq!(rig.mailbox("bounces").len(), 0, "a notification that was read ends here");
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "cat@good.test"]);

    rig.send_campaign("c2", &recipients);
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "ann@good.test", "cat@good.test", "cat@good.test"]);
    assert_eq!(rig.delivery_attempts("bob@hard.test"), 1, "only the first campaign tried");
    let skips = rig.daemon.wait_for_events("skip", 1);
    for (field, want) in
        [("address", "bob@hard.test"), ("reason", "suppressed"), ("campaign", "c2"), ("category", "rejected")]
    {
        assert_eq!(skips[0][field], want, "{field} of {:#}", skips[0]);
    }
    assert!(rig.log().contains(&format!("{}: ", skips[0]["queue_id"].as_str().expect("a skip names its message"))));
}

#[test]
fn a_refusal_after_the_content_says_nothing_about_the_contact_until_the_third_campaign() {
    let rig = Rig::start();
    for (campaign, state) in [("c1", "active"), ("c2", "active"), ("c3", "bounced")] {
        rig.send_campaign(campaign, &["eve@content.test"]);
        assert_eq!(rig.daemon.state("eve@content.test"), state, "after {campaign}");
    }
    let response = &rig.daemon.responses("eve@content.test")[0];
    assert_eq!((&response["code"], &response["category"]), (&"5.7.1".into(), &"blocked".into()), "{response:#}");
}

#[test]
fn a_soft_bounce_in_three_campaigns_suppresses_and_the_fourth_is_dropped() {
    let rig = Rig::start();
    for (campaign, state, streak) in [("c1", "active", 1), ("c2", "active", 2), ("c3", "bounced", 3)] {
        rig.send_campaign(campaign, &["sue@soft.test"]);
        let answer = rig.daemon.ask(&["show", "sue@soft.test"]);
        assert_eq!(answer["state"], state, "after {campaign}: {answer:#}");
        assert_eq!(answer["soft_streak"], streak, "after {campaign}: {answer:#}");
    }
    for response in rig.daemon.responses("sue@soft.test") {
        assert_eq!((&response["type"], &response["code"]), (&"soft".into(), &"4.2.2".into()), "{response:#}");
        assert_eq!((&response["category"], &response["authority"]), (&"transient".into(), &"local".into()));
    }
    let before = rig.delivery_attempts("sue@soft.test");
    rig.send_campaign("c4", &["sue@soft.test"]);
    assert_eq!(rig.delivery_attempts("sue@soft.test"), before, "the fourth campaign did not try");
}

#[test]
fn soft_bounces_of_one_campaign_count_once() {
    let rig = Rig::start();
    for name in ["first", "second", "third", "fourth"] {
        rig.send(RETURN_PATH, &["sue@soft.test"], &newsletter("c1", name));
        rig.wait_until_idle();
    }
    assert_eq!(rig.daemon.responses("sue@soft.test").len(), 4);
    let answer = rig.daemon.ask(&["show", "sue@soft.test"]);
    assert_eq!((&answer["state"], &answer["soft_streak"]), (&"active".into(), &1.into()), "{answer:#}");
}

#[test]
fn a_notification_from_another_server_is_matched_through_the_ledger() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["zoe@good.test", "ann@good.test"]);
    let report = notification("zoe@good.test", "hello.c1@shop.test", "5.1.1", "550 5.1.1 no such user");
    let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], &report);
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    let response = &rig.daemon.responses("zoe@good.test")[0];
    assert_eq!((&response["authority"], &response["campaign"]), (&"matched".into(), &"c1".into()), "{response:#}");
    assert_eq!(rig.daemon.state("zoe@good.test"), "bounced");
    assert_eq!(rig.mailbox("bounces").len(), 0, "a notification that was read ends here");

    rig.send_campaign("c2", &["zoe@good.test", "ann@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "ann@good.test", "zoe@good.test"]);
}

#[test]
fn the_same_notification_twice_counts_once() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["zoe@good.test"]);
    let report = notification("zoe@good.test", "hello.c1@shop.test", "4.2.2", "452 4.2.2 mailbox full");
    let mut client = rig.client_from("198.51.100.7");
    for _ in 0..2 {
        let reply = client.send("", &[RETURN_PATH], &report);
        assert!(reply.accepted(), "{reply:?}");
    }
    rig.wait_until_idle();
    assert_eq!(rig.daemon.responses("zoe@good.test").len(), 1);
    assert_eq!(rig.mailbox("bounces").len(), 0, "the repeat ends here, too");
}

#[test]
fn a_forged_notification_is_on_record_and_without_effect() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["ann@good.test"]);
    let mut forger = rig.client_from("198.51.100.7");
    // A message we never sent; and one that we did send, but not to this person.
    for (recipient, message_id) in [("ann@good.test", "guessed@shop.test"), ("dan@good.test", "hello.c1@shop.test")] {
        let report = notification(recipient, message_id, "5.1.1", "550 5.1.1 no such user");
        let reply = forger.send("", &[RETURN_PATH], &report);
        assert!(reply.accepted(), "{reply:?}");
        rig.wait_until_idle();
        let response = &rig.daemon.responses(recipient)[0];
        assert_eq!(response["authority"], "unverified", "{response:#}");
        assert_eq!(rig.daemon.state(recipient), "active");
    }
    rig.send_campaign("c2", &["ann@good.test", "dan@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "ann@good.test", "dan@good.test"]);
}

#[test]
fn a_notification_that_claims_to_be_our_own_postfix_is_forged_if_it_comes_by_smtp() {
    let rig = Rig::start();
    let report = notification("ann@good.test", "guessed@shop.test", "5.1.1", "550 5.1.1 no such user");
    let report = String::from_utf8(report).expect("ASCII").replace("mx.elsewhere.test", "mx.rig.test");
    let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], report.as_bytes());
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    assert_eq!(rig.daemon.responses("ann@good.test")[0]["authority"], "unverified");
    assert_eq!(rig.daemon.state("ann@good.test"), "active");
}

#[test]
fn recognised_deliver_records_the_notification_and_passes_it_on() {
    let config = "[return_path]\ndomains = [\"bounces.test\"]\nrecognised = \"deliver\"\n";
    let rig = Rig::with(Options { config, ..Options::default() });
    rig.send_campaign("c1", &["bob@hard.test"]);
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced");
    let mailbox = rig.mailbox("bounces");
    assert_eq!(mailbox.len(), 1);
    let text = String::from_utf8_lossy(&mailbox[0]);
    assert!(text.contains("Undelivered Mail Returned to Sender") && text.contains("bob@hard.test"), "{text}");
}

#[test]
fn a_notification_on_its_way_to_a_person_is_read_and_goes_on_to_that_person() {
    let rig = Rig::start();
    rig.send("owner@local.test", &["bob@hard.test"], &newsletter("c1", "hello"));
    rig.wait_until_idle();
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced");
    assert_eq!(rig.mailbox("local").len(), 1);
}

#[test]
fn a_local_bounce_counts_before_anybody_has_set_up_a_return_path() {
    let rig = Rig::with(Options { config: "", ..Options::default() });
    rig.send_campaign("c1", &["bob@hard.test"]);
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced");
    assert_eq!(rig.mailbox("bounces").len(), 1, "only what is addressed to a return path may end here");
}
