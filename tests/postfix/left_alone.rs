//! What Backstop has no business with arrives as if it were not there.

use crate::rig::{RETURN_PATH, Rig, newsletter};
use regex::bytes::Regex;

/// Postfix adds a Date where there is none.
const DATE: &str = "Mon, 2 Nov 2026 10:00:00 +0000";

/// A message without what differs between two deliveries of it: the queue id and the time in the uppermost
/// Received field, which Postfix wrote.
fn without_trace(message: &[u8]) -> Vec<u8> {
    let field = Regex::new(r"(?m)^Received: .*\r?\n(?:[ \t].*\r?\n)*").expect("a regular expression");
    let received = field.find(message).expect("Postfix adds a Received field").range();
    let id_and_time = Regex::new(r" id [0-9A-Za-z]+|;\s+[^\r\n]+").expect("a regular expression");
    let mut rest = message[..received.start].to_vec();
    rest.extend_from_slice(&id_and_time.replace_all(&message[received.clone()], &b" _"[..]));
    rest.extend_from_slice(&message[received.end..]);
    rest
}

/// Fails with the first place where two messages differ.
fn assert_same(got: &[u8], want: &[u8], what: &str) {
    if got != want {
        let place = got.iter().zip(want).take_while(|(got, want)| got == want).count();
        let around = |octets: &[u8]| {
            let end = (place + 80).min(octets.len());
            String::from_utf8_lossy(&octets[place.saturating_sub(80)..end]).into_owned()
        };
        panic!("{what}: differs at octet {place}: {:?} instead of {:?}", around(got), around(want));
    }
}

/// Messages as tools write them, and as they should not.
fn odd_messages(mark: &str) -> Vec<(&'static str, Vec<u8>)> {
    let header = format!("From: <news@shop.test>\r\nDate: {DATE}\r\nMessage-ID: <odd@shop.test>\r\n{mark}");
    let message = |more: &[u8]| [header.as_bytes(), more].concat();
    let long = |length: usize| "x".repeat(length);
    vec![
        ("eight bits", message(b"Subject: Gr\xc3\xbc\xc3\x9fe\r\nX-Latin: caf\xe9\r\n\r\nna\xefve \x80\xff \xf0\x9f\x98\x80\r\n")),
        (
            "odd folding",
            message(
                b"Subject: one\r\n\ttwo\r\n   three\r\n \t four\r\nX-Empty:\r\nX-Tight:value\r\nX-Wide:    v   \r\n\
                  X-Twice: a\r\nX-Twice: b\r\nx-tWICE: c\r\nReferences:\r\n <a@b>\r\n <c@d>\r\n\r\nbody\r\n",
            ),
        ),
        ("long lines", message(format!("X-Long: {}\r\n\r\n{}\r\n{}\r\n", long(900), long(998), long(5000)).as_bytes())),
        ("dots", message(b"\r\n.\r\n..\r\n.leading\r\n...\r\n\r\n\r\n\r\n")),
        ("trailing space", message(b"Subject: x \r\n\r\nline \t\r\n \r\n\t\r\n-- \r\n")),
        ("no body", message(b"Subject: nothing more\r\n")),
        ("empty body", message(b"Subject: nothing more\r\n\r\n")),
        ("no header field in the middle", message(b"this is no header field\r\nSubject: x\r\n\r\nbody\r\n")),
        ("stray octets", message(b"\r\n\0 \r \x0b \x1b[31m\r\n")),
        ("large", message(format!("\r\n{}", "seventy-six octets of a line as base64 encoders like to write them ........\r\n".repeat(4000)).as_bytes())),
        (
            "MIME",
            message(
                b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\npreamble\r\n--b\r\n\
                  Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xa4\r\n--b\r\n\
                  Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n--b--\r\n\
                  epilogue\r\n",
            ),
        ),
    ]
}

#[test]
fn a_message_with_nobody_to_drop_is_the_same_octet_for_octet() {
    let rig = Rig::start();
    rig.daemon.suppress("somebody.else@good.test");
    for mark in ["", "X-Campaign-ID: c1\r\nList-ID: <news.shop.test>\r\n"] {
        for (what, message) in odd_messages(mark) {
            let before = rig.sink.messages().len();
            let through_milter = rig.client().send(RETURN_PATH, &["ann@good.test"], &message);
            assert!(through_milter.accepted(), "{what}: {through_milter:?}");
            rig.sink.wait_for(before + 1);
            let without = rig.client_without_milter().send(RETURN_PATH, &["ann@good.test"], &message);
            assert!(without.accepted(), "{what}: {without:?}");
            let messages = rig.sink.wait_for(before + 2);
            let [got, want] = [&messages[before], &messages[before + 1]];
            assert_same(&without_trace(&got.message), &without_trace(&want.message), what);
            assert_eq!((&got.reverse_path, &got.forward_paths), (&want.reverse_path, &want.forward_paths), "{what}");
        }
    }
}

#[test]
fn a_message_that_lost_a_recipient_is_the_same_for_the_others() {
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    for (what, message) in odd_messages("List-ID: <news.shop.test>\r\n") {
        let before = rig.sink.messages().len();
        let recipients = ["bob@good.test", "ann@good.test", "cat@good.test"];
        let through_milter = rig.client().send(RETURN_PATH, &recipients, &message);
        assert!(through_milter.accepted(), "{what}: {through_milter:?}");
        rig.sink.wait_for(before + 1);
        let without = rig.client_without_milter().send(RETURN_PATH, &["bob@good.test", "cat@good.test"], &message);
        assert!(without.accepted(), "{what}: {without:?}");
        let messages = rig.sink.wait_for(before + 2);
        let [got, want] = [&messages[before], &messages[before + 1]];
        assert_same(&without_trace(&got.message), &without_trace(&want.message), what);
        assert_eq!((&got.reverse_path, &got.forward_paths), (&want.reverse_path, &want.forward_paths), "{what}");
    }
}

#[test]
fn a_persons_mail_to_the_return_path_is_delivered_untouched() {
    let rig = Rig::start();
    let letter = b"From: Ann <ann@elsewhere.test>\r\nTo: bounce@bounces.test\r\nSubject: Re: News\r\n\
                   Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n\
                   Message-ID: <1@elsewhere.test>\r\n\r\nUndelivered mail? Please stop. Gr\xc3\xbc\xc3\x9fe\r\n";
    // A null reverse path alone makes no bounce.
    for (number, reverse_path) in ["ann@elsewhere.test", ""].into_iter().enumerate() {
        for mut client in [rig.client_from("198.51.100.7"), {
            let mut client = rig.client_without_milter();
            assert!(client.command("XCLIENT ADDR=198.51.100.7 NAME=mx.elsewhere.test").accepted());
            assert!(client.command("EHLO mx.elsewhere.test").accepted());
            client
        }] {
            let reply = client.send(reverse_path, &[RETURN_PATH], letter);
            assert!(reply.accepted(), "{reply:?}");
            rig.wait_until_idle();
        }
        let mailbox = rig.mailbox("bounces");
        assert_eq!(mailbox.len(), 2 * (number + 1), "from <{reverse_path}>");
        let texts: Vec<Vec<u8>> = mailbox.iter().map(|message| without_trace(message)).collect();
        let same = |a: &Vec<u8>| texts.iter().filter(|b| *b == a).count();
        assert!(texts.iter().all(|text| same(text) % 2 == 0), "from <{reverse_path}>: the two ways differ");
    }
}

#[test]
fn a_newsletter_from_outside_for_a_local_reader_is_not_screened() {
    let rig = Rig::start();
    rig.daemon.suppress("reader@local.test");
    let reply =
        rig.client_from("198.51.100.7").send("news@elsewhere.test", &["reader@local.test"], &newsletter("x", "a"));
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    assert_eq!(rig.mailbox("local").len(), 1, "from outside");
    // From our own network, too: the recipient's mailbox is here.
    rig.send("news@shop.test", &["reader@local.test", "ann@good.test"], &newsletter("c1", "b"));
    rig.wait_until_idle();
    assert_eq!(rig.mailbox("local").len(), 2, "from our own network");
}

#[test]
fn other_mail_passes_to_a_suppressed_contact() {
    let rig = Rig::start();
    rig.daemon.suppress("ann@good.test");
    let reset = b"From: <accounts@shop.test>\r\nSubject: Reset your password\r\n\r\nFollow this link.\r\n";
    rig.send("accounts@shop.test", &["ann@good.test"], reset);
    rig.sendmail("accounts@shop.test", &["ann@good.test"], reset);
    rig.sink.wait_for(2);
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "ann@good.test"]);
}
