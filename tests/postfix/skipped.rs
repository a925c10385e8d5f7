//! Who gets a campaign and who does not, by each of the reasons of SPEC 7, and what a suppression covers.

use crate::daemon::said;
use crate::dns::{Answer, DnsServer, mx, null_mx};
use crate::rig::{Options, RETURN_PATH, Rig, newsletter, within};
use std::time::Duration;

/// A newsletter of another list, or with more header fields.
fn letter(campaign: &str, list: &str, fields: &str) -> Vec<u8> {
    let text = String::from_utf8(newsletter(campaign, list)).expect("ASCII");
    let field = format!("List-ID: <{list}>\r\n{fields}");
    text.replace("List-ID: The Shop's news <news.shop.test>\r\n", &field).into_bytes()
}

/// The address, reason and category of every skip, sorted.
fn skips(rig: &Rig, count: usize) -> Vec<[String; 3]> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let skips = rig.daemon.wait_for_events("skip", count);
    let mut skips: Vec<_> =
        skips.iter().map(|skip| [&skip["address"], &skip["reason"], &skip["category"]].map(text)).collect();
    skips.sort();
    skips
}

/// What a mailbox provider sends when its user calls the message with this Message-ID spam.
fn complaint(recipient: &str, message_id: &str, list: &str) -> Vec<u8> {
    format!(
        "From: feedback@fbl.inbox.test\r\nTo: {RETURN_PATH}\r\nSubject: FW: News\r\nMessage-ID: <fb@fbl.inbox.test>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=\"fb\"\r\n\r\n\
         --fb\r\nContent-Type: text/plain\r\n\r\nSomebody calls this spam.\r\n\r\n\
         --fb\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: Inbox/1.0\r\n\
         Version: 1\r\nOriginal-Rcpt-To: <{recipient}>\r\n\r\n\
         --fb\r\nContent-Type: message/rfc822\r\n\r\nFrom: news@shop.test\r\nMessage-ID: <{message_id}>\r\n\
         List-ID: <{list}>\r\n\r\nHello\r\n\r\n--fb--\r\n"
    )
    .into_bytes()
}

#[test]
fn a_complaint_holds_within_its_list_and_a_bounce_everywhere() {
    let rig = Rig::start();
    let readers = ["ann@good.test", "bob@hard.test"];
    rig.send_campaign("c1", &readers);
    let report = complaint("ann@good.test", "hello.c1@shop.test", "news.shop.test");
    let reply = rig.client_from("198.51.100.7").send("feedback@fbl.inbox.test", &[RETURN_PATH], &report);
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    assert_eq!(rig.daemon.responses("ann@good.test")[0]["authority"], "matched");

    rig.send_campaign("c2", &readers);
    rig.send(RETURN_PATH, &readers, &letter("c3", "offers.shop.test", ""));
    rig.wait_until_idle();
    let received: Vec<_> = rig.sink.messages().iter().map(|message| message.text().contains("offers.shop")).collect();
    assert_eq!(received, [false, true], "c1 and c3 for ann; nothing more for bob");
    assert_eq!(rig.delivery_attempts("bob@hard.test"), 1);
    let scopes = rig.daemon.wait_for_events("skip", 3).into_iter().map(|skip| {
        let text = |name: &str| skip[name].as_str().unwrap_or_default().to_owned();
        [text("address"), text("campaign"), text("scope"), text("category")]
    });
    let mut scopes: Vec<_> = scopes.collect();
    scopes.sort();
    let want = [
        ["ann@good.test", "c2", "news.shop.test", "complaint"],
        ["bob@hard.test", "c2", "system", "rejected"],
        ["bob@hard.test", "c3", "system", "rejected"],
    ];
    assert_eq!(scopes, want);
}

#[test]
fn an_opt_out_holds_within_its_list() {
    let rig = Rig::start();
    rig.send_campaign("c1", &["ann@good.test"]);
    let report = complaint("ann@good.test", "hello.c1@shop.test", "news.shop.test");
    let report = String::from_utf8(report).expect("ASCII").replace("Feedback-Type: abuse", "Feedback-Type: opt-out");
    let reply = rig.client_from("198.51.100.7").send("feedback@fbl.inbox.test", &[RETURN_PATH], report.as_bytes());
    assert!(reply.accepted(), "{reply:?}");
    rig.wait_until_idle();
    rig.send_campaign("c2", &["ann@good.test"]);
    rig.send(RETURN_PATH, &["ann@good.test"], &letter("c3", "offers.shop.test", ""));
    rig.wait_until_idle();
    assert_eq!(rig.sink.messages().len(), 2, "c1, and c3 of the other list");
}

#[test]
fn a_contact_suppressed_on_one_list_still_gets_another() {
    let rig = Rig::start();
    let output =
        rig.daemon.ctl(&["suppress", "ann@good.test", "--list", "news.shop.test", "--reason", "asked by telephone"]);
    assert!(output.status.success(), "{}", said(&output));
    rig.send_campaign("c1", &["ann@good.test"]);
    rig.send(RETURN_PATH, &["ann@good.test"], &letter("c1", "offers.shop.test", ""));
    rig.wait_until_idle();
    assert_eq!(rig.sink.messages().len(), 1);
    assert!(rig.sink.messages()[0].text().contains("offers.shop.test"));
}

#[test]
fn no_contact_gets_more_campaign_mail_than_the_limits_allow_and_other_mail_is_exempt() {
    let config = "[return_path]\ndomains = [\"bounces.test\"]\n\
                  [[limits.rule]]\nmessages = 2\nwindow = \"1d\"\n[[limits.rule]]\nmessages = 9\nwindow = \"30d\"\n";
    let mut rig = Rig::with(Options { config, ..Options::default() });
    let reset = b"From: <accounts@shop.test>\r\nSubject: Reset your password\r\n\r\nFollow this link.\r\n";
    for campaign in ["c1", "c2", "c3"] {
        rig.send_campaign(campaign, &["ann@good.test"]);
        rig.send("accounts@shop.test", &["ann@good.test"], reset);
    }
    rig.send_campaign("c3", &["bob@good.test"]);
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients().iter().filter(|reader| *reader == "ann@good.test").count(), 5);
    assert_eq!(skips(&rig, 1), [["ann@good.test", "limit", ""]]);
    let skip = &rig.daemon.wait_for_events("skip", 1)[0];
    assert_eq!((&skip["limit"]["messages"], &skip["limit"]["window_secs"]), (&2.into(), &86_400.into()), "{skip:#}");

    // What was sent is remembered over a restart.
    rig.daemon.stop();
    rig.daemon.start();
    within(Duration::from_secs(20), || {
        let log = std::fs::read_to_string(rig.daemon.log()).unwrap_or_default();
        let loaded = log.contains("event=limits-loaded sends=3 contacts=2");
        if loaded { Ok(()) } else { Err(format!("the limits are not loaded:\n{log}")) }
    });
    let before = rig.sink.messages().len();
    rig.send_campaign("c4", &["ann@good.test", "bob@good.test"]);
    assert_eq!(rig.sink.messages().len(), before + 1);
    assert_eq!(rig.sink.messages()[before].forward_paths, ["bob@good.test"]);
}

#[test]
fn a_contacts_own_limit_counts_too_and_over_a_restart() {
    let mut rig = Rig::start();
    rig.daemon.put("/v1/contacts/ann@good.test/limit", r#"{"messages": 1, "window": "1d"}"#);
    for campaign in ["c1", "c2"] {
        rig.send_campaign(campaign, &["ann@good.test", "bob@good.test"]);
    }
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "bob@good.test", "bob@good.test"]);
    assert_eq!(skips(&rig, 1), [["ann@good.test", "limit", ""]]);

    // No limit in the configuration: the first message to the contact has the ledger read, and waits for it.
    rig.daemon.stop();
    rig.daemon.start();
    rig.send_campaign("c3", &["ann@good.test", "bob@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test", "bob@good.test", "bob@good.test", "bob@good.test"]);
}

#[test]
fn an_address_that_was_not_filled_in_is_dropped() {
    let rig = Rig::start();
    let recipients =
        ["{{email}}@good.test", "*|EMAIL|*@good.test", "%EMAIL%@good.test", "ann@good.test", "x%good.test@good.test"];
    rig.send_campaign("c1", &recipients);
    let placeholders = &recipients[..3];
    let received = rig.sink.recipients();
    assert_eq!(received.len(), 2, "{received:?}");
    assert!(received.iter().all(|reader| !placeholders.contains(&&**reader)), "{received:?}");
    for skip in rig.daemon.wait_for_events("skip", 3) {
        assert_eq!((&skip["reason"], &skip["category"]), (&"invalid-address".into(), &"invalid".into()), "{skip:#}");
        let as_written = skip["forward_path"].as_str().unwrap_or_default();
        assert!(placeholders.iter().any(|path| format!("<{path}>") == as_written), "{skip:#}");
    }
    rig.sendmail(RETURN_PATH, &["{{email}}@good.test", "bob@good.test"], &newsletter("c2", "local"));
    rig.wait_until_idle();
    rig.sink.wait_for(2);
    assert!(rig.sink.recipients().contains(&"bob@good.test".to_owned()));
    assert_eq!(rig.daemon.wait_for_events("skip", 4).len(), 4);
}

#[test]
fn a_domain_that_does_not_exist_or_takes_no_mail_is_dropped_and_trouble_with_the_dns_drops_nobody() {
    let table = [
        ("good.test", mx("mx.good.test")),
        ("gone.test", Answer::NoSuchName),
        ("null.test", null_mx()),
        ("trouble.test", Answer::Code(2)),
    ];
    let dns = DnsServer::start(table);
    let config = format!(
        "[return_path]\ndomains = [\"bounces.test\"]\n[outbound]\ncheck_domains = true\n[dns]\nservers = [\"{}\"]\n",
        dns.address()
    );
    let rig = Rig::with(Options { config: config.leak(), ..Options::default() });
    rig.daemon.suppress("ann@unasked.test");
    rig.send_campaign("c1", &["a@good.test", "b@gone.test", "c@null.test", "d@trouble.test", "ann@unasked.test"]);
    assert_eq!(rig.sink.recipients(), ["a@good.test", "d@trouble.test"]);
    let want = [
        ["ann@unasked.test", "suppressed", ""],
        ["b@gone.test", "invalid-domain", "invalid"],
        ["c@null.test", "invalid-domain", "invalid"],
    ];
    assert_eq!(skips(&rig, 3), want);
    let asked = dns.questions();
    assert_eq!(dns.asked("unasked.test"), 0, "who is dropped anyway is not asked about");
    rig.send_campaign("c2", &["a@good.test", "b@gone.test"]);
    assert_eq!(dns.questions(), asked, "answers are remembered");
    assert_eq!(rig.sink.recipients(), ["a@good.test", "a@good.test", "d@trouble.test"]);
}

#[test]
fn required_information_that_is_missing_drops_the_recipient_and_the_request_leaves_the_message() {
    let rig = Rig::start();
    let require = "X-Backstop-Require: locale, first_name\r\n";
    rig.daemon.put("/v1/contacts/ann@good.test/attributes", r#"{"locale": "de", "first_name": "Ann"}"#);
    rig.daemon.put("/v1/contacts/bob@good.test/attributes", r#"{"locale": "de"}"#);
    let readers = ["ann@good.test", "bob@good.test", "cat@good.test"];
    rig.send(RETURN_PATH, &readers, &letter("c1", "news.shop.test", require));
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["ann@good.test"]);
    assert!(!rig.sink.messages()[0].text().contains("X-Backstop"), "{:?}", rig.sink.messages());
    assert_eq!(skips(&rig, 2), [["bob@good.test", "missing-info", ""], ["cat@good.test", "missing-info", ""]]);
}

#[test]
fn required_information_of_nobody_discards_the_message() {
    let rig = Rig::start();
    rig.send(RETURN_PATH, &["ann@good.test"], &letter("c1", "news.shop.test", "X-Backstop-Require: locale\r\n"));
    rig.wait_for_log(&["milter-discard"]);
    assert_eq!(skips(&rig, 1), [["ann@good.test", "missing-info", ""]]);
    assert!(rig.sink.messages().is_empty());
}

#[test]
fn a_blocked_domain_and_its_subdomains_get_no_campaign() {
    let rig = Rig::start();
    let add = ["blocklist", "add", "blocked.test", ".under.test", "bob@good.test", "--reason", "competitor"];
    let output = rig.daemon.ctl(&add);
    assert!(output.status.success(), "{}", said(&output));
    rig.send_campaign("c1", &["a@blocked.test", "b@mail.under.test", "bob@good.test", "ann@good.test"]);
    assert_eq!(rig.sink.recipients(), ["ann@good.test"]);
    let want = [
        ["a@blocked.test", "blocklist", ""],
        ["b@mail.under.test", "blocklist", ""],
        ["bob@good.test", "blocklist", ""],
    ];
    assert_eq!(skips(&rig, 3), want);
}

#[test]
fn a_hash_on_the_robinson_list_keeps_campaigns_from_the_person() {
    let rig = Rig::start();
    // printf %s ann@good.test | sha256sum, and bob@good.test | md5sum
    let hashes = [ANN_SHA256, BOB_MD5];
    let output = rig.daemon.ctl(&["robinson", "add", hashes[0], hashes[1], "--reason", "DDV list of 2026"]);
    assert!(output.status.success(), "{}", said(&output));
    rig.send_campaign("c1", &["Ann@Good.Test", "bob@good.test", "cat@good.test"]);
    assert_eq!(rig.sink.recipients(), ["cat@good.test"]);
    assert_eq!(skips(&rig, 2), [["ann@good.test", "robinson", ""], ["bob@good.test", "robinson", ""]]);
    let reset = b"From: <accounts@shop.test>\r\nSubject: Reset your password\r\n\r\nFollow this link.\r\n";
    rig.send("accounts@shop.test", &["ann@good.test"], reset);
    rig.sink.wait_for(2);
}

const ANN_SHA256: &str = "ccb3e2045d7260999eec9e35101405eef1e35c2e0b0697f9c35d03654734668c";
const BOB_MD5: &str = "0746fae512b2d562e0bc332c4058dd89";
