//! Complaints of a feedback loop that does not sign: SPF vouches for the reverse path (RFC 7208), with a name server on
//! loopback.

#[path = "common/dns.rs"]
mod dns;
mod support_admin;

use backstop::authority::{Envelope, FeedbackLoop, FeedbackLoops, Identify, Origin, Signatures};
use backstop::inbound::{Arrival, Ingested};
use backstop::mail::{Address, MessageId};
use backstop::policy::{Authority, What};
use backstop::service::{InForce, Service};
use backstop::store::{Send, Store};
use dns::{Answer, DnsServer, Record, mx, txt};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use support_admin::{address_of, store_settings};

/// Where the loop's mail comes from, and where somebody else's does.
const LOOPS: &str = "198.51.100.7";
const STRANGERS: &str = "203.0.113.9";
const CONTACT: &str = "joe@example.net";

struct Rig {
    service: Arc<Service>,
    store: Store,
    dns: DnsServer,
    _directory: tempfile::TempDir,
}

impl Rig {
    /// A loop that sends from `fbl.example` and what is below it, and a message of ours to [`CONTACT`] alone.
    fn start(from: &[&str]) -> Rig {
        let dns = DnsServer::start([]);
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&store_settings(directory.path())).expect("a store");
        let own = FeedbackLoop {
            domain: "loop.example".to_owned(),
            signed_by: vec!["loop.example".to_owned()],
            spf: vec!["fbl.example".to_owned(), ".fbl.example".to_owned()],
            from: from.iter().map(|author| (*author).to_owned()).collect(),
            identify: vec![Identify::Ledger],
        };
        let loops = FeedbackLoops::compiled_in().overlaid_by(&[own]);
        let signatures = Signatures::new(loops, &[dns.address()]).within(Duration::from_secs(1));
        let in_force = InForce { signatures: Some(Arc::new(signatures)), ..support_admin::in_force() };
        let service = Arc::new(Service::new(store.clone(), in_force));
        let (message_id, recipients) = (MessageId("one@example.com".to_owned()), vec![address_of(CONTACT)]);
        let send = Send { message_id, at: Timestamp::now(), campaign: None, list: None, recipients };
        store.remember_send(send).expect("room");
        Rig { service, store, dns, _directory: directory }
    }

    async fn take(&self, mail: &str, envelope: Option<Envelope<'_>>) -> Ingested {
        let origin = envelope.map_or(Origin::Elsewhere, Origin::Smtp);
        let arrival = Arrival { raw: mail.as_bytes(), at: Timestamp::now(), queue_id: "4XyZ12", origin, came_to: &[] };
        self.service.ingest(arrival).await.expect("the store is writable")
    }

    /// The authority of a contact's newest response, and why.
    fn newest(&self, contact: &str) -> (Authority, String) {
        let events = self.store.events_of(&address_of(contact), 99).expect("readable");
        let newest = events.iter().max_by_key(|event| event.id).expect("there is one");
        match &newest.what {
            What::Response { response, evidence } => {
                (response.authority, evidence.authority_because.clone().unwrap_or_default())
            }
            other => panic!("{other:?}"),
        }
    }
}

fn complaint(number: usize, named: &str) -> String {
    about(number, named, "one@example.com")
}

fn about(number: usize, named: &str, message_id: &str) -> String {
    format!(
        "From: reports@loop.example\r\nTo: fbl@example.com\r\nSubject: complaint\r\n\
         Message-ID: <complaint-{number}@loop.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: Loop/1\r\nVersion: 1\r\nOriginal-Rcpt-To: {named}\r\n\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\n\
         From: news@example.com\r\nTo: news@example.com\r\nMessage-ID: <{message_id}>\r\n\
         List-ID: <news.example.com>\r\n\r\nBuy!\r\n\r\n--b--\r\n"
    )
}

fn envelope<'a>(client: &str, helo: &'a str, reverse_path: Option<&'a Address>) -> Option<Envelope<'a>> {
    Some(Envelope { client: client.parse().expect("an IP address"), helo, reverse_path })
}

fn a(address: &str) -> Record {
    Record::A(address.parse().expect("an IPv4 address"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_that_spf_vouches_for_is_authenticated_and_every_other_result_is_worth_nothing() {
    let rig = Rig::start(&[]);
    rig.dns.set("mail.example", Answer::Records(vec![a(LOOPS)]));
    rig.dns.set("mx.example", mx("mail.example"));
    rig.dns.set("included.example", txt("v=spf1 ip4:198.51.100.0/24 -all"));
    for (number, domain, record, client, want) in [
        (1, "a.fbl.example", "v=spf1 ip4:198.51.100.7 -all", LOOPS, None),
        (2, "a.fbl.example", "", STRANGERS, Some("fail")),
        (3, "b.fbl.example", "v=spf1 a:mail.example ~all", LOOPS, None),
        (4, "b.fbl.example", "", STRANGERS, Some("softfail")),
        (5, "c.fbl.example", "v=spf1 mx:mx.example", LOOPS, None),
        (6, "c.fbl.example", "", STRANGERS, Some("neutral")),
        (7, "d.fbl.example", "v=spf1 include:included.example -all", LOOPS, None),
        (8, "d.fbl.example", "", STRANGERS, Some("fail")),
        (9, "e.fbl.example", "v=spf1 ip4:198.51.100.7.9 -all", LOOPS, Some("permerror")),
        (10, "f.fbl.example", "v=spf1 include:nowhere.example +all", LOOPS, Some("permerror")),
        (11, "g.fbl.example", "v=spf1 include:g.fbl.example", LOOPS, Some("permerror")),
        (12, "h.fbl.example", "no such record", LOOPS, Some("none")),
        (13, "nowhere.fbl.example", "", LOOPS, Some("none")),
        (14, "i.fbl.example", "v=spf1 redirect=included.example", LOOPS, None),
        (15, "fbl.example", "v=spf1 ip6:2001:db8::/32 -all", "2001:db8::7", None),
        (16, "j.fbl.example", "v=spf1 a:nowhere.example exists:%{i}.nowhere.example -all", LOOPS, Some("fail")),
        (17, "FBL.example", "", "2001:db9::7", Some("fail")),
    ] {
        if !record.is_empty() {
            rig.dns.set(domain, txt(record));
        }
        let reverse_path = address_of(&format!("bounce@{domain}"));
        let taken = rig.take(&complaint(number, CONTACT), envelope(client, "mx.test", Some(&reverse_path))).await;
        assert_eq!((taken.postponed, taken.recorded.len()), (None, 1), "{number}");
        let (authority, because) = rig.newest(CONTACT);
        match want {
            None => {
                assert_eq!(authority, Authority::Authenticated, "{number}: {because}");
                assert!(because.starts_with("sent by the feedback loop of loop.example, says SPF; "), "{because}");
            }
            Some(result) => {
                assert_eq!(authority, Authority::Matched, "{number}: {because}");
                let said = format!("; SPF of {}: {result}", domain.to_ascii_lowercase());
                assert!(because.ends_with(&said), "{number}: {because}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_about_a_domain_that_no_loop_names_or_mail_without_a_client() {
    let rig = Rig::start(&["reports@loop.example"]);
    rig.dns.otherwise(txt("v=spf1 +all"));
    let of = |domain: &str| address_of(&format!("bounce@{domain}"));
    let (ours, foreign, below) = (of("fbl.example"), of("loop.example"), of("evilfbl.example"));
    let authors = complaint(5, CONTACT).replace("From: reports@", "From: users@");
    for (mail, envelope) in [
        (complaint(1, CONTACT), envelope(LOOPS, "fbl.example", Some(&foreign))),
        (complaint(2, CONTACT), envelope(LOOPS, "fbl.example", Some(&below))),
        (complaint(3, CONTACT), None),
        (complaint(4, CONTACT), envelope("127.0.0.1", "fbl.example", Some(&ours))),
        (authors, envelope(LOOPS, "fbl.example", Some(&ours))),
        (about(6, CONTACT, "guessed@example.com"), envelope(LOOPS, "fbl.example", Some(&ours))),
        (complaint(7, CONTACT), envelope(LOOPS, "mx.example", None)),
        (complaint(8, CONTACT), envelope(LOOPS, "", None)),
    ] {
        assert_eq!(rig.take(&mail, envelope).await.recorded.len(), 1);
        let (authority, because) = rig.newest(CONTACT);
        assert_ne!(authority, Authority::Authenticated, "{envelope:?}: {because}");
    }
    assert_eq!(rig.dns.questions(), 0);
    // And what would have been right; of a null reverse path, for the name in HELO.
    for (number, envelope) in [(9, envelope(LOOPS, "", Some(&ours))), (10, envelope(LOOPS, "MX.fbl.example", None))] {
        rig.take(&complaint(number, CONTACT), envelope).await;
        assert_eq!(rig.newest(CONTACT).0, Authority::Authenticated, "{envelope:?}");
    }
    assert_eq!((rig.dns.asked("fbl.example"), rig.dns.asked("mx.fbl.example")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_dns_is_in_trouble_a_complaint_waits_wherever_the_trouble_is() {
    let rig = Rig::start(&[]);
    let reverse_path = address_of("bounce@fbl.example");
    let named = "joe@forwarded.example";
    let told = |number| complaint(number, named).replace("To: news@example.com", &format!("To: {CONTACT}"));
    for (number, record, broken) in [
        (1, "v=spf1 +all", "fbl.example"),
        (2, "v=spf1 a:mail.example -all", "mail.example"),
        (3, "v=spf1 mx:mx.example -all", "mx.example"),
        (4, "v=spf1 include:included.example -all", "included.example"),
        (5, "v=spf1 -a:mail.example +all", "mail.example"),
    ] {
        for trouble in [Answer::Code(2), Answer::Code(5), Answer::Silence] {
            // The record is remembered once it was told.
            let domain = format!("d{number}.fbl.example");
            let broken = if broken == "fbl.example" { domain.as_str() } else { broken };
            rig.dns.set(&domain, txt(record));
            rig.dns.set(broken, trouble.clone());
            let reverse_path = address_of(&format!("bounce@{domain}"));
            let taken = rig.take(&told(number), envelope(LOOPS, "mx.test", Some(&reverse_path))).await;
            assert!(taken.postponed.is_some() && taken.recorded.is_empty(), "{record}, {trouble:?}: {taken:?}");
            assert!(taken.postponed.expect("just seen").starts_with(&format!("SPF of {domain}: ")));
        }
    }
    assert_eq!(rig.store.events_of(&address_of(named), 9).expect("readable"), []);
    // What the ledger vouches for waits for nobody.
    rig.dns.set("fbl.example", Answer::Code(2));
    rig.take(&complaint(6, CONTACT), envelope(LOOPS, "mx.test", Some(&reverse_path))).await;
    assert_eq!(rig.newest(CONTACT).0, Authority::Matched);
    // What the last second sent is not known to be somebody's alone; and then the retry counts.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut written = 0;
    while written == 0 {
        assert!(std::time::Instant::now() < deadline, "the send is written within a second");
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.store.sends_since(Timestamp::UNIX_EPOCH, &mut |_, _| written += 1).expect("readable");
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    rig.dns.set("fbl.example", txt("v=spf1 ip4:198.51.100.7 -all"));
    rig.take(&told(7), envelope(LOOPS, "mx.test", Some(&reverse_path))).await;
    let (authority, because) = rig.newest(CONTACT);
    assert_eq!(authority, Authority::Authenticated, "{because}");
}
