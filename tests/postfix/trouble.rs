//! The daemon is restarted, killed, absent, or cannot write: mail flows as configured, and no report is lost.

use crate::rig::notification;
use crate::rig::{Options, PATIENCE, RETURN_PATH, Rig, newsletter, within};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Takes everybody's permission to write the store's file, or gives it back. The daemon heeds it as root, too.
fn set_store_writable(rig: &Rig, writable: bool) {
    let mode = if writable { 0o600 } else { 0o400 };
    let file = rig.daemon.store().join("db");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("the store is our own");
}

#[test]
fn a_daemon_restarted_between_messages_goes_on_where_it_was() {
    let mut rig = Rig::start();
    rig.send_campaign("c1", &["bob@hard.test", "sue@soft.test"]);
    rig.daemon.stop();
    rig.daemon.start();
    rig.send_campaign("c2", &["ann@good.test", "bob@hard.test", "sue@soft.test"]);
    assert_eq!(rig.delivery_attempts("bob@hard.test"), 1, "dropped after the restart");
    rig.daemon.stop();
    rig.daemon.start();
    rig.send_campaign("c3", &["sue@soft.test"]);
    assert_eq!(rig.daemon.state("sue@soft.test"), "bounced", "the streak goes over restarts");
    let before = rig.daemon.responses("sue@soft.test");
    assert_eq!(before.len(), 3);
    let report = notification("ann@good.test", "hello.c2@shop.test", "5.1.1", "550 5.1.1 no such user");
    rig.daemon.stop();
    rig.daemon.start();
    assert!(rig.client_from("198.51.100.7").send("", &[RETURN_PATH], &report).accepted());
    assert_eq!(rig.daemon.responses("ann@good.test")[0]["authority"], "matched", "the ledger goes over restarts");
}

#[test]
fn kill_9_loses_no_report_that_was_acknowledged() {
    let mut rig = Rig::start();
    for number in 1..=3 {
        let recipient = format!("bob{number}@hard.test");
        rig.send_campaign(&format!("c{number}"), &[&recipient]);
        // Idle: Postfix has the answer to the notification. What was answered must be on disk.
        rig.daemon.kill();
        rig.daemon.start();
        assert_eq!(rig.daemon.state(&recipient), "bounced", "after kill {number}");
    }
}

#[test]
fn a_session_that_lost_its_daemon_is_asked_to_come_again_and_does() {
    let mut rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    let mut client = rig.client();
    let recipients = ["ann@good.test", "bob@good.test"];
    assert!(client.send(RETURN_PATH, &recipients, &newsletter("c1", "first")).accepted());
    rig.daemon.kill();
    let reply = client.send(RETURN_PATH, &recipients, &newsletter("c1", "second"));
    assert_eq!(reply.code, 451, "{reply:?}");
    rig.daemon.start();
    assert!(rig.client().send(RETURN_PATH, &recipients, &newsletter("c1", "second")).accepted());
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["bob@good.test", "bob@good.test"]);
}

#[test]
fn without_the_daemon_and_with_accept_mail_passes_unscreened() {
    let mut rig = Rig::with(Options { default_action: "accept", ..Options::default() });
    rig.daemon.suppress("ann@good.test");
    rig.daemon.stop();
    rig.send_campaign("c1", &["ann@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test"]);
    rig.send_campaign("c1", &["bob@hard.test"]);
    assert_eq!(rig.mailbox("bounces").len(), 1, "the notification comes to the mailbox");
    rig.daemon.start();
    rig.send_campaign("c2", &["ann@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test"], "screened again, as soon as the daemon runs");
    assert_eq!(rig.daemon.state("bob@hard.test"), "unknown", "README: what passes meanwhile is not recorded");
}

#[test]
fn without_the_daemon_and_with_tempfail_clients_come_again() {
    let mut rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    rig.daemon.stop();
    let reply = rig.client().send(RETURN_PATH, &["ann@good.test"], &newsletter("c1", "hello"));
    assert_eq!(reply.code, 451, "{reply:?}");
    rig.sendmail(RETURN_PATH, &["ann@good.test", "bob@good.test"], &newsletter("c1", "local"));
    rig.wait_for_log(&["connect to Milter service"]);
    assert!(rig.sink.messages().is_empty());
    rig.daemon.start();
    rig.sink.wait_for(1);
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["bob@good.test"], "what waited in the maildrop is screened");
}

#[test]
fn a_report_that_cannot_be_written_is_asked_to_come_again() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["zoe@good.test"]);
    let report = notification("zoe@good.test", "hello.c1@shop.test", "5.1.1", "550 5.1.1 no such user");
    // The ledger is written lazily; only what is written can be matched after all.
    set_store_writable(&rig, false);
    let mut client = rig.client_from("198.51.100.7");
    for _ in 0..2 {
        let reply = client.send("", &[RETURN_PATH], &report);
        assert!((400..500).contains(&reply.code), "{reply:?}");
    }
    set_store_writable(&rig, true);
    within(PATIENCE, || {
        let reply = client.send("", &[RETURN_PATH], &report);
        if reply.accepted() { Ok(()) } else { Err(format!("{reply:?}")) }
    });
    rig.wait_until_idle();
    assert_eq!(rig.daemon.responses("zoe@good.test").len(), 1, "once on record, however often it came");
    assert_eq!(rig.daemon.state("zoe@good.test"), "bounced");
    assert_eq!(rig.mailbox("bounces").len(), 0);
}

#[test]
fn a_local_bounce_that_cannot_be_written_is_made_anew_by_postfix() {
    // A message of any age is tried again: only then does Postfix remember who was refused. After the queue
    // lifetime it would write a notification that names nobody.
    let postfix = &["maximal_queue_lifetime = 1d", "bounce_queue_lifetime = 1d"];
    let rig = Rig::with(Options { postfix, ..Options::default() });
    rig.daemon.suppress("ann@good.test");
    set_store_writable(&rig, false);
    rig.send(RETURN_PATH, &["ann@good.test", "bob@hard.test", "cat@good.test"], &newsletter("c1", "hello"));
    rig.wait_for_log(&["bounce failed"]);
    assert!(rig.queued().is_some(), "Postfix keeps the original");
    assert_eq!(rig.sink.wait_for(1)[0].forward_paths, ["cat@good.test"], "campaigns are screened by what is known");
    set_store_writable(&rig, true);
    rig.wait_until_idle();
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced");
    assert_eq!(rig.daemon.responses("bob@hard.test").len(), 1);
    assert_eq!(rig.sink.messages().len(), 1, "nobody gets the message twice");
    assert_eq!(rig.mailbox("bounces").len(), 0);
}

#[test]
fn the_notification_of_an_expired_message_that_cannot_be_written_is_made_anew_by_postfix() {
    let rig = Rig::start();
    set_store_writable(&rig, false);
    rig.send(RETURN_PATH, &["sue@soft.test"], &newsletter("c1", "hello"));
    rig.wait_for_log(&["bounce failed"]);
    assert!(rig.queued().is_some(), "Postfix keeps the original");
    set_store_writable(&rig, true);
    rig.wait_until_idle();
    let responses = rig.daemon.responses("sue@soft.test");
    assert_eq!(responses.len(), 1, "{responses:#?}");
    assert_eq!((&responses[0]["code"], &responses[0]["authority"]), (&"4.2.2".into(), &"local".into()));
    assert_eq!(rig.mailbox("bounces").len(), 0);
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused_and_the_first_goes_on() {
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    let output = rig.daemon.run_second();
    assert!(!output.status.success(), "{}", crate::daemon::said(&output));
    let said = crate::daemon::said(&output);
    assert!(said.contains("in use by another process"), "{said}");
    rig.send_campaign("c1", &["ann@good.test", "bob@good.test"]);
    assert_eq!(rig.sink.recipients(), ["bob@good.test"]);
}
