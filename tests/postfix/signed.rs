//! Campaign mail leaves with a signed reverse path, and what comes back proves by it what it is about (SPEC 5.2).

use crate::rig::notification;
use crate::rig::{Options, RETURN_PATH, Rig, newsletter};
use backstop::authority::keys::new_key;
use backstop::authority::{KeyRing, Settings, Tokens};
use backstop::mail::Address;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

/// A rig that signs, and its key ring's directory.
fn signing() -> (Rig, TempDir) {
    let keys = tempfile::tempdir().expect("a directory");
    new_key(keys.path(), Timestamp::now()).expect("writable");
    let config = format!(
        "[return_path]\ndomains = [\"bounces.test\"]\n[authority]\nsign = true\nkeys = \"{}\"\n",
        keys.path().display()
    );
    (Rig::with(Options { config: config.leak(), ..Options::default() }), keys)
}

/// The tokens of the rig's own keys, as somebody who has stolen them could make them.
fn tokens(keys: &TempDir) -> Tokens {
    Tokens::new(Settings::default(), KeyRing::read(keys.path()).expect("readable"))
}

/// Another server reports to `to` that `recipient` is not there; it returns no message that the ledger could know.
/// The rest of the response is given.
fn report_to(rig: &Rig, to: &str, recipient: &str, name: &str) -> serde_json::Value {
    let report = notification(recipient, "not.in.the.ledger@shop.test", "5.1.1", "550 5.1.1 no such user");
    let report = String::from_utf8(report).expect("ASCII").replace("<dsn.", &format!("<{name}.dsn."));
    let reply = rig.client_from("198.51.100.7").send("", &[to], report.as_bytes());
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    let responses = rig.daemon.responses(recipient);
    responses.last().cloned().unwrap_or_default()
}

/// The reverse path with which the last message left.
fn last_sender(rig: &Rig) -> String {
    let messages = rig.sink.messages();
    let path = &messages.last().expect("something left").reverse_path;
    path.trim_start_matches('<').trim_end_matches('>').to_owned()
}

#[test]
fn a_refusal_at_rcpt_and_one_at_data_come_back_signed() {
    let (rig, _keys) = signing();
    for recipients in [&["bob@hard.test"][..], &["ann@good.test", "tim@hard.test"], &["eve@content.test"]] {
        rig.send_campaign("c1", recipients);
    }
    for (recipient, state, code) in [
        ("bob@hard.test", "bounced", "5.1.1"),
        ("tim@hard.test", "bounced", "5.1.1"),
        ("eve@content.test", "active", "5.7.1"),
    ] {
        let response = &rig.daemon.responses(recipient)[0];
        assert_eq!((&response["authority"], &response["code"]), (&"signed".into(), &code.into()), "{response:#}");
        assert_eq!((&response["campaign"], rig.daemon.state(recipient).as_str()), (&"c1".into(), state));
    }
    assert_eq!(rig.mailbox("bounces").len(), 0, "they end here");
    let left = last_sender(&rig);
    assert!(left.starts_with("b-") && left.ends_with("@bounces.test") && left.len() == 2 + 40 + 13, "{left}");
}

#[test]
fn what_leaves_has_the_token_in_three_places() {
    let (rig, _keys) = signing();
    rig.send_campaign("c1", &["ann@good.test"]);
    let messages = rig.sink.wait_for(1);
    let address = last_sender(&rig);
    let token = &address[2..42];
    let text = String::from_utf8_lossy(&messages[0].message).into_owned();
    assert!(text.contains(&format!("\nCFBL-Address: {address}; report=arf\r\n")), "{text}");
    assert!(text.contains(&format!("\nCFBL-Feedback-ID: {token}\r\n")), "{text}");
    assert!(text.ends_with("\r\n\r\nHello,\r\n\r\nnews!\r\n"), "{text}");
    // This server announces no DSN, so ENVID goes no further than our own Postfix, which returns it.
    rig.send_campaign("c1", &["bob@hard.test"]);
    let explained = rig.daemon.ask(&["explain", "bob@hard.test"]).to_string();
    assert!(explained.contains("carries our token of "), "{explained}");
}

#[test]
fn a_notification_that_comes_later_to_the_signed_address_counts_also_with_its_letter_case_lost() {
    let (rig, _keys) = signing();
    for (recipient, upper) in [("zoe@good.test", false), ("max@good.test", true)] {
        rig.send_campaign("c1", &[recipient]);
        let address = last_sender(&rig);
        let address = if upper { address.to_uppercase() } else { address };
        let response = report_to(&rig, &address, recipient, "a");
        assert_eq!(response["authority"], "signed", "{address}: {response:#}");
        assert_eq!(rig.daemon.state(recipient), "bounced");
        // The same again is known.
        report_to(&rig, &address, recipient, "a");
        assert_eq!(rig.daemon.responses(recipient).len(), 1);
    }
    assert_eq!(rig.mailbox("bounces").len(), 0);
}

#[test]
fn a_token_that_is_cut_off_altered_expired_or_somebody_elses_proves_nothing() {
    let (rig, keys) = signing();
    rig.send_campaign("c1", &["ann@good.test"]);
    let anns = last_sender(&rig);
    rig.send_campaign("c1", &["cat@good.test", "dan@good.test"]);
    let theirs = last_sender(&rig);
    let zoe = Address::parse("zoe@good.test").expect("an address");
    let made = |days: i64| {
        let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
        let (token, _) = tokens(&keys).make(b"", Some(&zoe), at).expect("there is a key");
        format!("b-{token}@bounces.test")
    };
    let other = if &anns[20..21] == "a" { "b" } else { "a" };
    let altered = format!("{}{other}{}", &anns[..20], &anns[21..]);
    for (name, address, recipient, why) in [
        ("cut", format!("{}@bounces.test", &anns[..40]), "ann@good.test", "malformed"),
        ("altered", altered, "ann@good.test", "altered"),
        ("expired", made(36), "zoe@good.test", "expired"),
        ("cross", anns.clone(), "zoe@good.test", "somebody else"),
        ("crossed", theirs.clone(), "zoe@good.test", "somebody else"),
        ("none", RETURN_PATH.to_owned(), "zoe@good.test", "not in the send ledger"),
    ] {
        let response = report_to(&rig, &address, recipient, name);
        assert_eq!(response["authority"], "unverified", "{name}: {response:#}");
        assert_eq!(rig.daemon.state(recipient), "active", "{name}");
        let explained = rig.daemon.ask(&["explain", recipient]).to_string();
        assert!(explained.contains(why), "{name}: {explained}");
    }
    // And what would have been right.
    for (name, address, recipient) in
        [("r1", anns, "ann@good.test"), ("r2", theirs, "dan@good.test"), ("r3", made(35), "zoe@good.test")]
    {
        let response = report_to(&rig, &address, recipient, name);
        assert_eq!(rig.daemon.state(recipient), "bounced", "{name}: {response:#}");
    }
}

#[test]
fn mail_with_a_return_path_of_its_own_making_keeps_it() {
    let (rig, _keys) = signing();
    for sender in ["bounce-ann=good.test@bounces.test", "prvs=1234567890=news@bounces.test", "news@elsewhere.test"] {
        let before = rig.sink.messages().len();
        rig.send(sender, &["ann@good.test"], &newsletter("c1", "hello"));
        rig.sink.wait_for(before + 1);
        assert_eq!(last_sender(&rig), sender);
    }
    let reset = b"From: <accounts@bounces.test>\r\nSubject: Reset your password\r\n\r\nFollow this link.\r\n";
    rig.send("accounts@bounces.test", &["ann@good.test"], reset);
    rig.sink.wait_for(4);
    assert_eq!(last_sender(&rig), "accounts@bounces.test", "no campaign's");
}

#[test]
fn a_campaign_submitted_with_sendmail_is_signed_too() {
    let (rig, _keys) = signing();
    rig.sendmail(RETURN_PATH, &["bob@hard.test"], &newsletter("c1", "hello"));
    rig.wait_for_log(&["to=<bob@hard.test>", "status=bounced"]);
    rig.wait_until_idle();
    assert_eq!(rig.daemon.responses("bob@hard.test")[0]["authority"], "signed");
}

/// A notification such as our own Postfix writes, about a message with this Message-ID.
fn imitation(recipient: &str, message_id: &str) -> Vec<u8> {
    let report = notification(recipient, message_id, "5.1.1", "550 5.1.1 no such user");
    let report = String::from_utf8(report).expect("ASCII").replace("mx.elsewhere.test", "mx.rig.test");
    report.replace("Arrival-Date:", "X-Postfix-Queue-ID: 4XyZ12\r\nArrival-Date:").replace("\r\n", "\n").into_bytes()
}

#[test]
fn a_local_user_who_imitates_our_postfix_must_name_a_message_that_we_sent() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["ann@good.test"]);
    for recipient in ["ann@good.test", "dan@good.test"] {
        rig.sendmail("", &[RETURN_PATH], &imitation(recipient, "guessed@shop.test"));
    }
    rig.wait_until_idle();
    for recipient in ["ann@good.test", "dan@good.test"] {
        assert_eq!(rig.daemon.responses(recipient)[0]["authority"], "unverified");
        assert_eq!(rig.daemon.state(recipient), "active");
    }
}

#[test]
fn what_was_received_from_elsewhere_is_not_our_own_postfixs() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["ann@good.test", "dan@good.test"]);
    // The Message-ID is right; a user's mail filter hands the second on.
    let written_here = imitation("ann@good.test", "hello.c1@shop.test");
    let handed_on = [
        b"Received: from mx.elsewhere.test by mx.rig.test\n".to_vec(),
        imitation("dan@good.test", "hello.c1@shop.test"),
    ]
    .concat();
    for report in [written_here, handed_on] {
        rig.sendmail("", &[RETURN_PATH], &report);
    }
    rig.wait_until_idle();
    assert_eq!(rig.daemon.responses("ann@good.test")[0]["authority"], "local");
    assert_eq!(rig.daemon.responses("dan@good.test")[0]["authority"], "matched");
}

#[test]
fn our_postfixs_word_on_mail_that_is_no_campaigns_counts_too() {
    let rig = Rig::start();
    let reset = b"From: <accounts@shop.test>\r\nSubject: Reset your password\r\n\r\nFollow this link.\r\n";
    rig.send(RETURN_PATH, &["bob@hard.test"], reset);
    rig.wait_until_idle();
    let response = &rig.daemon.responses("bob@hard.test")[0];
    assert_eq!((&response["authority"], rig.daemon.state("bob@hard.test").as_str()), (&"local".into(), "bounced"));
}

#[test]
fn a_stranger_who_makes_our_postfix_bounce_his_own_mail_changes_nobody() {
    // Mail to this domain is taken from anybody and handed on.
    let rig = Rig::with(Options { postfix: &["relay_domains = hard.test"], ..Options::default() });
    let reply = rig.client_from("198.51.100.7").send(RETURN_PATH, &["bob@hard.test"], &newsletter("c1", "forged"));
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    assert_eq!(rig.daemon.responses("bob@hard.test")[0]["authority"], "unverified");
    assert_eq!(rig.daemon.state("bob@hard.test"), "active");
}
