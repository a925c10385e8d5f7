//! Campaign mail on its way out: who is dropped, whichever way the mail was handed in.

use crate::rig::{Options, RETURN_PATH, Rig, newsletter};

#[test]
fn a_message_with_nobody_left_is_discarded_and_nothing_is_delivered() {
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    rig.daemon.suppress("bob@good.test");
    let reply = rig.send(RETURN_PATH, &["ann@good.test", "bob@good.test"], &newsletter("c1", "hello"));
    assert_eq!(reply.code, 250, "the campaign tool has no reason to try again");
    rig.wait_until_idle();
    rig.wait_for_log(&["milter-discard"]);
    assert!(rig.sink.messages().is_empty(), "{:?}", rig.sink.messages());
    assert_eq!(rig.mailbox("bounces").len(), 0, "nobody is notified");
    let mut skipped: Vec<_> =
        rig.daemon.wait_for_events("skip", 2).iter().map(|skip| skip["address"].clone()).collect();
    skipped.sort_by_key(ToString::to_string);
    assert_eq!(skipped, ["ann@good.test", "bob@good.test"]);
}

#[test]
fn one_of_fifty_is_dropped_and_forty_nine_get_the_message() {
    let rig = Rig::start();
    rig.daemon.suppress("reader17@good.test");
    let everybody: Vec<String> = (1..=50).map(|number| format!("reader{number}@good.test")).collect();
    let forward_paths: Vec<&str> = everybody.iter().map(String::as_str).collect();
    rig.send_campaign("c1", &forward_paths);
    let mut want: Vec<String> = everybody.into_iter().filter(|reader| reader != "reader17@good.test").collect();
    want.sort();
    assert_eq!(rig.sink.recipients(), want);
}

#[test]
fn a_recipient_is_dropped_in_whatever_form_the_client_writes_it() {
    let rig = Rig::start();
    rig.daemon.suppress("ann.lee@good.test");
    rig.send_campaign("c1", &["Ann.Lee@Good.Test", "bob@good.test"]);
    rig.send_campaign("c2", &["\"ann.lee\"@good.test", "bob@good.test"]);
    rig.send_campaign("c3", &["@relay.test:ann.lee@good.test", "bob@good.test"]);
    rig.send_campaign("c4", &["ann.lee@GOOD.test", "ann.lee@good.test", "bob@good.test"]);
    assert_eq!(rig.sink.recipients(), ["bob@good.test"; 4]);
}

#[test]
fn a_campaign_submitted_with_sendmail_loses_its_suppressed_recipients() {
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    rig.sendmail(RETURN_PATH, &["ann@good.test", "bob@good.test"], &newsletter("c1", "hello"));
    rig.sink.wait_for(1);
    rig.sendmail(RETURN_PATH, &["ann@good.test"], &newsletter("c1", "alone"));
    rig.wait_for_log(&["milter-discard"]);
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["bob@good.test"]);
}

#[test]
fn a_bounce_of_mail_submitted_with_sendmail_counts() {
    let rig = Rig::start();
    rig.sendmail(RETURN_PATH, &["bob@hard.test"], &newsletter("c1", "hello"));
    rig.wait_until_idle();
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced");
    assert_eq!(rig.daemon.responses("bob@hard.test")[0]["authority"], "local");
}

#[test]
fn each_of_several_messages_on_one_connection_is_decided_for_itself() {
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    let personal = b"From: <me@shop.test>\r\nSubject: your order\r\n\r\nIt is on its way.\r\n";
    let mut client = rig.client();
    let mut send = |forward_paths: &[&str], message: &[u8]| {
        let reply = client.send(RETURN_PATH, forward_paths, message);
        assert!(reply.accepted(), "{forward_paths:?}: {reply:?}");
        // A transaction given up in the middle leaves nothing behind for the next one.
        for line in ["MAIL FROM:<x@shop.test>", "RCPT TO:<ann@good.test>", "RSET"] {
            assert!(client.command(line).accepted(), "{line}");
        }
    };
    send(&["ann@good.test", "bob@good.test"], &newsletter("c1", "first"));
    send(&["ann@good.test"], personal);
    send(&["ann@good.test"], &newsletter("c1", "second"));
    send(&["cat@good.test"], &newsletter("c1", "third"));
    send(&["ann@good.test", "dan@good.test"], personal);
    drop(client);
    rig.wait_until_idle();
    let messages = rig.sink.messages();
    assert_eq!(messages.len(), 4, "{messages:#?}");
    let newsletters = messages.iter().filter(|message| message.text().contains("X-Campaign-ID"));
    let mut readers: Vec<String> = newsletters.flat_map(|message| message.forward_paths.clone()).collect();
    readers.sort();
    assert_eq!(readers, ["bob@good.test", "cat@good.test"]);
    assert_eq!(
        rig.sink.recipients(),
        ["ann@good.test", "ann@good.test", "bob@good.test", "cat@good.test", "dan@good.test"]
    );
}

#[test]
fn many_sessions_at_once_are_all_screened() {
    let config = "[return_path]\ndomains = [\"bounces.test\"]\n[outbound]\ncampaign_senders = [\"@bounces.test\"]\n";
    let rig = Rig::with(Options { config, ..Options::default() });
    rig.daemon.suppress("ann@good.test");
    rig.smtp_source(10, 60, "ann@good.test");
    rig.smtp_source(10, 60, "bob@good.test");
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), vec!["bob@good.test"; 60]);
    rig.daemon.wait_for_events("skip", 60);
}

#[test]
fn shadow_mode_changes_nothing_and_records_what_it_would_have_done() {
    let config = "mode = \"shadow\"\n[return_path]\ndomains = [\"bounces.test\"]\n";
    let rig = Rig::with(Options { config, ..Options::default() });
    rig.send_campaign("c1", &["ann@good.test", "bob@hard.test"]);
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced", "what comes back is recorded");
    assert_eq!(rig.mailbox("bounces").len(), 1, "and goes on to the mailbox");
    rig.send_campaign("c2", &["ann@good.test", "bob@hard.test"]);
    assert_eq!(rig.delivery_attempts("bob@hard.test"), 2, "both campaigns tried");
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "ann@good.test"]);
    let skip = &rig.daemon.wait_for_events("skip", 1)[0];
    assert_eq!((&skip["address"], &skip["shadow"]), (&"bob@hard.test".into(), &true.into()), "{skip:#}");
}

#[test]
fn a_reactivated_contact_is_mailed_again() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["bob@hard.test"]);
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced");
    let output = rig.daemon.ctl(&["reactivate", "bob@hard.test", "--reason", "confirmed by telephone"]);
    assert!(output.status.success(), "{}", crate::daemon::said(&output));
    rig.send_campaign("c2", &["bob@hard.test"]);
    assert_eq!(rig.delivery_attempts("bob@hard.test"), 2);
}
