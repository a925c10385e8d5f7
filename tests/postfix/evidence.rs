//! What ends a streak and lifts a suppression: the delivery itself, asked for with NOTIFY (SPEC 5.3), and proof of life.

use crate::daemon::said;
use crate::rig::notification;
use crate::rig::{Options, RETURN_PATH, Rig, newsletter};

/// A campaign goes out to `sue@good.test`, and another server reports her mailbox full.
fn soft_bounce(rig: &Rig, campaign: &str) {
    rig.send_campaign(campaign, &["sue@good.test"]);
    let message_id = format!("hello.{campaign}@shop.test");
    let report = notification("sue@good.test", &message_id, "4.2.2", "452 4.2.2 mailbox full");
    let report = String::from_utf8(report).expect("ASCII").replace("<dsn.", &format!("<{campaign}.dsn."));
    let report = report.replace("X-Campaign-ID: c1", &format!("X-Campaign-ID: {campaign}"));
    let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], report.as_bytes());
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
}

/// A vacation notice from her, about a message of ours.
fn automatic_reply(rig: &Rig, message_id: &str) {
    let reply = format!(
        "From: Sue <sue@good.test>\r\nTo: {RETURN_PATH}\r\nSubject: Automatic reply: News\r\n\
         Date: Mon, 2 Nov 2026 10:06:00 +0000\r\nMessage-ID: <away.{message_id}>\r\nIn-Reply-To: <{message_id}>\r\n\
         Auto-Submitted: auto-replied\r\n\r\nBack on Monday.\r\n"
    );
    let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], reply.as_bytes());
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
}

fn streak(rig: &Rig) -> serde_json::Value {
    rig.daemon.ask(&["show", "sue@good.test"])["soft_streak"].clone()
}

/// Sends `c2` to both; of the first the client itself wants to be told. Postfix 3.7 looks for what it has to tell of a
/// success only if a client asked for that: what a milter asks for alone is passed on to the next hop, and otherwise
/// forgotten.
fn send_with_notify(rig: &Rig) {
    let mut client = rig.client();
    let envelope =
        ["MAIL FROM:<bounce@bounces.test>", "RCPT TO:<ann@good.test> NOTIFY=SUCCESS", "RCPT TO:<sue@good.test>"];
    for line in envelope.into_iter().chain(["DATA"]) {
        assert!(client.command(line).accepted(), "{line}");
    }
    let message = String::from_utf8(newsletter("c2", "hello")).expect("ASCII");
    assert!(client.command(&format!("{message}.")).accepted());
    rig.wait_until_idle();
}

#[test]
fn the_delivery_to_a_contact_with_an_open_streak_comes_back_and_ends_it() {
    let rig = Rig::start();
    soft_bounce(&rig, "c1");
    assert_eq!(streak(&rig), 1);
    send_with_notify(&rig);
    let readers = rig.sink.recipients();
    assert_eq!(readers, ["ann@good.test", "sue@good.test", "sue@good.test"], "c2 once to each");
    assert_eq!(streak(&rig), 0);
    let responses = rig.daemon.responses("sue@good.test");
    let delivered: Vec<_> = responses.iter().filter(|response| response["kind"] == "delivered").collect();
    assert_eq!(delivered.len(), 1, "{responses:#?}");
    assert_eq!((&delivered[0]["authority"], &delivered[0]["campaign"]), (&"local".into(), &"c2".into()));
    assert_eq!(rig.mailbox("bounces").len(), 0, "the success notification ends here");
}

#[test]
fn a_next_hop_that_sends_notifications_is_asked_to() {
    let rig = Rig::with(Options { sink_sends_notifications: true, ..Options::default() });
    soft_bounce(&rig, "c1");
    rig.send_campaign("c2", &["sue@good.test"]);
    let messages = rig.sink.wait_for(2);
    let parameters = messages[1].parameters.join(" ").to_ascii_uppercase();
    assert!(parameters.contains("NOTIFY=SUCCESS,FAILURE"), "{parameters}");
    assert!(!messages[0].parameters.join(" ").contains("SUCCESS"), "{:?}", messages[0].parameters);
    assert_eq!(streak(&rig), 1, "nothing came back yet");

    let report = notification("sue@good.test", "hello.c2@shop.test", "2.0.0", "250 2.0.0 delivered");
    let report = String::from_utf8(report).expect("ASCII").replace("Action: failed", "Action: delivered");
    let report = report.replace("X-Campaign-ID: c1", "X-Campaign-ID: c2").replace("<dsn.", "<ok.");
    let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], report.as_bytes());
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    assert_eq!(streak(&rig), 0);
}

#[test]
fn a_person_is_not_told_of_deliveries_nobody_asked_about() {
    let rig = Rig::start();
    soft_bounce(&rig, "c1");
    rig.send("owner@local.test", &["sue@good.test"], &newsletter("c2", "hello"));
    rig.wait_until_idle();
    assert_eq!(rig.sink.messages().len(), 2);
    assert_eq!(rig.mailbox("local").len(), 0);
    assert_eq!(streak(&rig), 1);
}

#[test]
fn a_campaign_submitted_with_sendmail_is_asked_about_too() {
    let rig = Rig::with(Options { sink_sends_notifications: true, ..Options::default() });
    soft_bounce(&rig, "c1");
    rig.sendmail(RETURN_PATH, &["sue@good.test"], &newsletter("c2", "hello"));
    let messages = rig.sink.wait_for(2);
    assert!(messages[1].parameters.join(" ").contains("NOTIFY=SUCCESS,FAILURE"), "{:?}", messages[1].parameters);
    rig.wait_until_idle();
}

#[test]
fn an_automatic_reply_to_a_message_of_ours_is_proof_of_life_and_lifts_what_soft_bounces_did() {
    let rig = Rig::start();
    let postfix_says_nothing = "owner@local.test";
    for campaign in ["c1", "c2", "c3"] {
        // Not from the return path: else the deliveries themselves would end the streak.
        rig.send(postfix_says_nothing, &["sue@good.test"], &newsletter(campaign, "hello"));
        rig.wait_until_idle();
    }
    for campaign in ["c1", "c2", "c3"] {
        let message_id = format!("hello.{campaign}@shop.test");
        let report = notification("sue@good.test", &message_id, "4.2.2", "452 4.2.2 mailbox full");
        let report = String::from_utf8(report).expect("ASCII").replace("<dsn.", &format!("<{campaign}.dsn."));
        let report = report.replace("X-Campaign-ID: c1", &format!("X-Campaign-ID: {campaign}"));
        let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], report.as_bytes());
        assert!(reply.accepted(), "{reply:?}");
        rig.wait_until_idle();
    }
    assert_eq!(rig.daemon.state("sue@good.test"), "bounced");
    automatic_reply(&rig, "hello.c3@shop.test");
    let responses = rig.daemon.responses("sue@good.test");
    let answer = responses.iter().find(|response| response["kind"] == "autoreply").expect("it is on record");
    assert_eq!(answer["authority"], "matched", "{answer:#}");
    assert_eq!(rig.daemon.state("sue@good.test"), "active", "{responses:#?}");
    rig.send_campaign("c4", &["sue@good.test"]);
    assert_eq!(rig.sink.messages().len(), 4);
}

#[test]
fn an_automatic_reply_to_nothing_of_ours_proves_nothing() {
    let rig = Rig::start();
    soft_bounce(&rig, "c1");
    automatic_reply(&rig, "guessed@shop.test");
    let responses = rig.daemon.responses("sue@good.test");
    let answer = responses.iter().find(|response| response["kind"] == "autoreply").expect("it is on record");
    assert_eq!(answer["authority"], "unverified", "{answer:#}");
    assert_eq!(streak(&rig), 1);
}

#[test]
fn a_purchase_retracts_a_false_bounce_and_the_contact_is_mailed_again() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["zoe@good.test"]);
    let report = notification("zoe@good.test", "hello.c1@shop.test", "5.1.1", "550 5.1.1 no such user");
    let reply = rig.client_from("198.51.100.7").send("", &[RETURN_PATH], &report);
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    assert_eq!(rig.daemon.state("zoe@good.test"), "bounced");
    let output = rig.daemon.ctl(&["activity", "zoe@good.test", "--level", "purchase"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(rig.daemon.state("zoe@good.test"), "active");
    assert_eq!(rig.daemon.responses("zoe@good.test")[0]["retracted"], true);
    rig.send_campaign("c2", &["zoe@good.test"]);
    assert_eq!(rig.sink.recipients(), ["zoe@good.test", "zoe@good.test"]);
}
