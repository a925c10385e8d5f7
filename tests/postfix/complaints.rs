//! Complaints of a feedback loop that come by SMTP: really signed, or sent from where SPF says, or neither; the name
//! server is ours.

use crate::dns::{Answer, DnsServer, txt};
use crate::rig::{Options, RETURN_PATH, Rig};
use backstop::authority::keys::new_key;
use jiff::Timestamp;
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

const KEY_NAME: &str = "s._domainkey.fbl.test";
/// The client that hands the loop's complaints in, and one that has nothing to do with it.
const LOOPS: &str = "198.51.100.7";
const STRANGERS: &str = "203.0.113.9";
/// Where the contact has its mail forwarded to: whom the loop names. We never sent anything there.
const FORWARDER: &str = "ann@forwarder.test";

/// A rig that signs and knows a feedback loop, which signs as `fbl.test`, or where it does not sends from there.
struct Loop {
    rig: Rig,
    dns: DnsServer,
    _keys: TempDir,
}

fn key_record() -> Answer {
    let pem = include_str!("../keys/dkim-rsa.pub").lines().filter(|line| !line.starts_with("--"));
    txt(&format!("v=DKIM1; k=rsa; p={}", pem.collect::<String>()))
}

fn start() -> Loop {
    let key = key_record();
    let spf = || txt(&format!("v=spf1 ip4:{LOOPS} -all"));
    let dns = DnsServer::start([
        (KEY_NAME, key.clone()),
        ("s._domainkey.stranger.test", key),
        ("fbl.test", spf()),
        ("mx.elsewhere.test", spf()),
        ("stranger.test", txt("v=spf1 +all")),
    ]);
    let keys = tempfile::tempdir().expect("a directory");
    new_key(keys.path(), Timestamp::now()).expect("writable");
    let config = format!(
        "[return_path]\ndomains = [\"bounces.test\"]\n[authority]\nsign = true\nkeys = \"{}\"\n\
         [dns]\nservers = [\"{}\"]\n\
         [[feedback_loop]]\ndomain = \"fbl.test\"\nspf = [\"fbl.test\", \"mx.elsewhere.test\"]\n",
        keys.path().display(),
        dns.address()
    );
    Loop { rig: Rig::with(Options { config: config.leak(), ..Options::default() }), dns, _keys: keys }
}

/// A complaint by or about `named`, of the message that went to `to` in campaign `c1`.
fn complaint(name: &str, named: &str, to: &str) -> String {
    format!(
        "From: Feedback <reports@fbl.test>\r\nTo: <{RETURN_PATH}>\r\nSubject: FW: News of c1\r\n\
         Date: Mon, 2 Nov 2026 11:00:00 +0000\r\nMessage-ID: <{name}@fbl.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=\"=_part\"\r\n\r\n\
         --=_part\r\nContent-Type: text/plain\r\n\r\nSomebody complains of this mail.\r\n\r\n\
         --=_part\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: Loop/1\r\nVersion: 1\r\nOriginal-Rcpt-To: <{named}>\r\n\r\n\
         --=_part\r\nContent-Type: message/rfc822\r\n\r\n\
         From: The Shop <news@shop.test>\r\nTo: <{to}>\r\nSubject: News of c1\r\n\
         Message-ID: <hello.c1@shop.test>\r\nX-Campaign-ID: c1\r\nList-ID: The Shop's news <news.shop.test>\r\n\r\n\
         Hello,\r\n\r\nnews!\r\n\r\n--=_part--\r\n"
    )
}

/// The complaint with a signature of `domain`, which holds for so many seconds; 0 is for ever.
fn signed_by(domain: &str, seconds: u64, mail: &str) -> String {
    #[expect(deprecated, reason = "the key is PEM, and the other way wants a crate of its own")]
    let key = RsaKey::<Sha256>::from_rsa_pem(include_str!("../keys/dkim-rsa.pem")).expect("a key");
    let signer = DkimSigner::from_key(key).domain(domain).selector("s");
    let signer = signer.headers(["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"]);
    let signer = if seconds > 0 { signer.expiration(seconds) } else { signer };
    format!("{}{mail}", signer.sign(mail.as_bytes()).expect("it can be signed").to_header())
}

fn signed(mail: &str) -> String {
    signed_by("fbl.test", 0, mail)
}

impl Loop {
    /// A campaign to one contact; waits until the ledger knows that it went to nobody else.
    fn send_campaign_to(&self, contact: &str) {
        self.rig.send_campaign("c1", &[contact]);
        std::thread::sleep(Duration::from_secs(3));
    }

    /// Hands a mail in from a client outside; it must be accepted.
    fn take_from(&self, client: &str, reverse_path: &str, to: &str, mail: &str) {
        let reply = self.rig.client_from(client).send(reverse_path, &[to], mail.as_bytes());
        assert!(reply.accepted(), "{reply:?}\n{mail}");
        self.rig.wait_until_idle();
    }

    fn take(&self, mail: &str) {
        self.take_from(STRANGERS, "someone@stranger.test", RETURN_PATH, mail);
    }

    fn newest(&self, contact: &str) -> Value {
        self.rig.daemon.responses(contact).last().cloned().unwrap_or_default()
    }

    /// Why the responses of a contact count or do not.
    fn explained(&self, contact: &str) -> String {
        self.rig.daemon.ask(&["explain", contact]).to_string()
    }
}

#[test]
fn a_signed_complaint_takes_the_contact_off_its_list_and_the_next_campaign_drops_it() {
    let fbl = start();
    fbl.rig.send_campaign("c1", &["ann@good.test"]);
    fbl.take(&signed(&complaint("one", "ann@good.test", "ann@good.test")));
    let response = fbl.newest("ann@good.test");
    for (field, want) in [
        ("class", "feedback"),
        ("kind", "complaint"),
        ("authority", "authenticated"),
        ("campaign", "c1"),
        ("list", "news.shop.test"),
    ] {
        assert_eq!(response[field], want, "{field} of {response:#}");
    }
    let shown = fbl.rig.daemon.ask(&["show", "ann@good.test"]);
    assert_eq!(shown["suppressions"][0]["scope"], "news.shop.test", "{shown:#}");
    assert!(fbl.explained("ann@good.test").contains("signed by the feedback loop of fbl.test"));
    assert_eq!(fbl.rig.mailbox("bounces").len(), 0, "it ends here");
    fbl.rig.send_campaign("c2", &["ann@good.test"]);
    assert_eq!(fbl.rig.sink.recipients(), ["ann@good.test"], "c1 alone");
}

#[test]
fn a_forwarded_complaint_counts_for_the_one_recipient_if_its_signature_holds_and_for_nobody_if_not() {
    let fbl = start();
    fbl.send_campaign_to("ann@good.test");
    let mail = |name: &str| complaint(name, FORWARDER, "ann@good.test");
    let expired = signed_by("fbl.test", 1, &mail("expired"));
    std::thread::sleep(Duration::from_millis(2200));
    let cases = [
        ("altered", signed(&mail("altered")).replace("Somebody complains", "Somebody complained"), "fbl.test: "),
        ("renamed", signed(&mail("renamed")).replace("To: <ann@good.test>", "To: <dan@good.test>"), "fbl.test: "),
        ("expired", expired, "xpired"),
        ("strangers", signed_by("stranger.test", 0, &mail("strangers")), ""),
        ("unsigned", mail("unsigned"), ""),
    ];
    for (count, (name, forged, why)) in (1..).zip(&cases) {
        fbl.take(forged);
        let responses = fbl.rig.daemon.responses(FORWARDER);
        assert_eq!(responses.len(), count, "{name}");
        assert!(responses.iter().all(|response| response["authority"] == "unverified"), "{name}: {responses:#?}");
        assert!(fbl.explained(FORWARDER).contains(why), "{name}: {}", fbl.explained(FORWARDER));
        assert_eq!(fbl.rig.daemon.state(FORWARDER), "active", "{name}");
        assert_eq!(fbl.rig.daemon.state("ann@good.test"), "unknown", "{name}");
    }
    fbl.take(&signed(&mail("good")));
    assert_eq!(fbl.newest("ann@good.test")["authority"], "authenticated");
    assert_eq!(fbl.rig.daemon.state(FORWARDER), "active");
}

#[test]
fn a_complaint_with_our_token_is_signed_whoever_sends_it_and_with_somebody_elses_it_is_not() {
    let fbl = start();
    for contact in ["ann@good.test", "zoe@good.test"] {
        fbl.rig.send_campaign("c1", &[contact]);
    }
    let messages = fbl.rig.sink.wait_for(2);
    let address = |at: usize| messages[at].reverse_path.clone();
    // No Message-ID of ours: the token alone has to do, in the returned message or in the address it came to.
    let foreign = |name, named: &str| complaint(name, named, named).replace("hello.c1@", "not.ours@");
    let token = &address(0)[2..42];
    let within = foreign("one", "ann@good.test")
        .replace("X-Campaign-ID", &format!("CFBL-Feedback-ID: {token}\r\nX-Campaign-ID"));
    fbl.take(&within);
    assert_eq!(fbl.newest("ann@good.test")["authority"], "signed", "{}", fbl.explained("ann@good.test"));
    let anns = address(0);
    fbl.take_from(STRANGERS, "", &anns, &foreign("cross", "zoe@good.test"));
    assert_eq!(fbl.newest("zoe@good.test")["authority"], "unverified");
    assert!(fbl.explained("zoe@good.test").contains("somebody else"), "{}", fbl.explained("zoe@good.test"));
    assert_eq!(fbl.rig.daemon.state("zoe@good.test"), "active");
    fbl.take_from(STRANGERS, "", &address(1).to_uppercase(), &foreign("right", "zoe@good.test"));
    assert_eq!(fbl.newest("zoe@good.test")["authority"], "signed", "{}", fbl.explained("zoe@good.test"));
}

#[test]
fn while_the_dns_is_dead_a_complaint_is_asked_to_come_again_and_then_it_counts() {
    let fbl = start();
    fbl.send_campaign_to("ann@good.test");
    let mail = signed(&complaint("one", FORWARDER, "ann@good.test"));
    let mut client = fbl.rig.client_from(STRANGERS);
    for trouble in [Answer::Silence, Answer::Code(2)] {
        fbl.dns.set(KEY_NAME, trouble.clone());
        let reply = client.send("someone@stranger.test", &[RETURN_PATH], mail.as_bytes());
        assert_eq!(reply.code / 100, 4, "{trouble:?}: {reply:?}");
    }
    assert!(alerts(&fbl.rig).contains(&"tempfail".to_owned()), "an alert says so");
    assert_eq!(fbl.rig.daemon.state("ann@good.test"), "unknown");
    assert_eq!(fbl.rig.daemon.state(FORWARDER), "unknown");
    fbl.dns.set(KEY_NAME, key_record());
    let reply = client.send("someone@stranger.test", &[RETURN_PATH], mail.as_bytes());
    assert!(reply.accepted(), "{reply:?}");
    fbl.rig.wait_until_idle();
    assert_eq!(fbl.newest("ann@good.test")["authority"], "authenticated");
}

#[test]
fn spf_vouches_for_an_unsigned_complaint_from_the_loops_own_client() {
    let fbl = start();
    fbl.send_campaign_to("ann@good.test");
    let mail = |name: &str| complaint(name, FORWARDER, "ann@good.test");
    for (name, client, reverse_path) in [
        ("elsewhere", STRANGERS, "bounce@fbl.test"),
        ("helo", STRANGERS, ""),
        ("foreign", LOOPS, "bounce@stranger.test"),
    ] {
        fbl.take_from(client, reverse_path, RETURN_PATH, &mail(name));
        assert_eq!(fbl.newest(FORWARDER)["authority"], "unverified", "{name}");
        assert_eq!(fbl.rig.daemon.state("ann@good.test"), "unknown", "{name}");
    }
    assert!(fbl.explained(FORWARDER).contains("SPF of fbl.test: fail"), "{}", fbl.explained(FORWARDER));
    assert!(fbl.explained(FORWARDER).contains("SPF of mx.elsewhere.test: fail"), "{}", fbl.explained(FORWARDER));
    assert_eq!(fbl.dns.asked("stranger.test"), 0, "no loop names it");
    // Through a host of our own, where SPF has nobody to ask about.
    let before = fbl.dns.questions();
    fbl.rig.send("bounce@fbl.test", &[RETURN_PATH], mail("relayed").as_bytes());
    fbl.rig.wait_until_idle();
    assert_eq!((fbl.newest(FORWARDER)["authority"].as_str(), fbl.dns.questions()), (Some("unverified"), before));

    fbl.take_from(LOOPS, "bounce@fbl.test", RETURN_PATH, &mail("good"));
    assert_eq!(fbl.newest("ann@good.test")["authority"], "authenticated");
    assert!(fbl.explained("ann@good.test").contains("sent by the feedback loop of fbl.test, says SPF"));
    // With the null reverse path the name in HELO counts: here mx.elsewhere.test.
    fbl.take_from(LOOPS, "", RETURN_PATH, &mail("null"));
    let responses = fbl.rig.daemon.responses("ann@good.test");
    assert_eq!(responses.len(), 2, "{responses:#?}");
    assert!(responses.iter().all(|response| response["authority"] == "authenticated"), "{responses:#?}");
}

fn alerts(rig: &Rig) -> Vec<String> {
    let status = rig.daemon.ask(&["status"]);
    let alerts = status["alerts"].as_array().cloned().unwrap_or_default();
    alerts.iter().filter_map(|alert| alert["code"].as_str()).map(str::to_owned).collect()
}

#[test]
fn the_same_complaint_again_and_again_is_one_event_and_an_alert() {
    let fbl = start();
    fbl.rig.send_campaign("c1", &["ann@good.test"]);
    let mail = signed(&complaint("one", "ann@good.test", "ann@good.test"));
    let mut client = fbl.rig.client_from(STRANGERS);
    let metric = || fbl.rig.daemon.metric("backstop_events_total{event=\"replay\"}");
    for time in 1..=12 {
        let reply = client.send("someone@stranger.test", &[RETURN_PATH], mail.as_bytes());
        assert!(reply.accepted(), "{reply:?}");
        let replayed = time >= 10;
        assert_eq!(alerts(&fbl.rig).contains(&"replay".to_owned()), replayed, "the time number {time}");
        assert_eq!(metric().unwrap_or(0), u64::from(replayed), "the time number {time}");
    }
    assert_eq!(fbl.rig.daemon.responses("ann@good.test").len(), 1);
}

#[test]
fn a_token_that_is_used_for_many_others_is_an_alert_and_changes_none_of_them() {
    let fbl = start();
    fbl.rig.send_campaign("c1", &["ann@good.test"]);
    let address = fbl.rig.sink.wait_for(1)[0].reverse_path.clone();
    let mut client = fbl.rig.client_from(STRANGERS);
    for number in 1..=12 {
        let contact = format!("c{number}@good.test");
        let mail = complaint(&contact, &contact, &contact).replace("hello.c1@", "not.ours@");
        let reply = client.send("", &[&address], mail.as_bytes());
        assert!(reply.accepted(), "{reply:?}");
        let response = &fbl.rig.daemon.responses(&contact)[0];
        assert_eq!((&response["authority"], fbl.rig.daemon.state(&contact).as_str()), (&"unverified".into(), "active"));
        assert_eq!(alerts(&fbl.rig).contains(&"replay".to_owned()), number >= 10, "contact number {number}");
    }
    assert_eq!(fbl.rig.daemon.state("ann@good.test"), "unknown");
}
