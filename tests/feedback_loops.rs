//! Complaints that a feedback loop signed, with real signatures and a name server on loopback; and what anybody can
//! forge, which changes nobody.

#[path = "common/dns.rs"]
mod dns;
mod support_admin;

use backstop::authority::{FeedbackLoop, FeedbackLoops, Identify, Origin, Signatures};
use backstop::inbound::{Arrival, Ingested};
use backstop::mail::MessageId;
use backstop::policy::{Authority, State, What, fold};
use backstop::report::Kind;
use backstop::service::{InForce, Service};
use backstop::store::{Send, Store};
use dns::{Answer, DnsServer, txt};
use jiff::Timestamp;
use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::DkimSigner;
use std::sync::Arc;
use std::time::Duration;
use support_admin::{address_of, store_settings};

const KEY_NAME: &str = "s._domainkey.fbl.example";
const SIGNED: [&str; 5] = ["From", "To", "Subject", "Message-ID", "Content-Type"];

/// A complaint about the message `about`, by or on behalf of `named`, which was to `to`.
fn complaint(number: usize, about: &str, named: &str, to: &str) -> String {
    format!(
        "From: reports@fbl.example\r\nTo: fbl@example.com\r\nSubject: complaint\r\n\
         Message-ID: <complaint-{number}@fbl.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nSomebody complains.\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: Loop/1\r\nVersion: 1\r\nOriginal-Rcpt-To: {named}\r\n\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\n\
         From: news@example.com\r\nTo: {to}\r\nMessage-ID: <{about}>\r\nList-ID: <news.example.com>\r\n\
         Subject: offers\r\n\r\nBuy!\r\n\r\n--b--\r\n"
    )
}

struct Loop {
    service: Arc<Service>,
    store: Store,
    dns: DnsServer,
    key: Vec<u8>,
    _directory: tempfile::TempDir,
}

fn base64(octets: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let piece = |piece: &[u8]| {
        let bits = piece
            .iter()
            .chain([0; 3].iter().take(3 - piece.len()))
            .fold(0u32, |bits, octet| bits << 8 | u32::from(*octet));
        let letter = |place: usize| match place <= piece.len() {
            true => char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]),
            false => '=',
        };
        (0..4).map(letter).collect::<String>()
    };
    octets.chunks(3).map(piece).collect()
}

fn own(identify: Vec<Identify>) -> FeedbackLoop {
    let (domain, signed_by) = ("fbl.example".to_owned(), vec!["fbl.example".to_owned()]);
    FeedbackLoop { domain, signed_by, spf: Vec::new(), from: Vec::new(), identify }
}

impl Loop {
    fn start() -> Loop {
        let key = Ed25519Key::generate_pkcs8().expect("randomness");
        let public = Ed25519Key::from_pkcs8_der(&key).expect("just made").public_key();
        let record = format!("v=DKIM1; k=ed25519; p={}", base64(&public));
        let dns = DnsServer::start([(KEY_NAME, txt(&record))]);
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(&store_settings(directory.path())).expect("a store");
        let loops = FeedbackLoops::compiled_in().overlaid_by(&[own(vec![Identify::Ledger])]);
        let signatures = Signatures::new(loops, &[dns.address()]).within(Duration::from_secs(1));
        let in_force = InForce { signatures: Some(Arc::new(signatures)), ..support_admin::in_force() };
        let service = Arc::new(Service::new(store.clone(), in_force));
        Loop { service, store, dns, key, _directory: directory }
    }

    fn send(&self, message_id: &str, recipients: &[&str]) {
        let recipients = recipients.iter().map(|recipient| address_of(recipient)).collect();
        let (message_id, at) = (MessageId(message_id.to_owned()), Timestamp::now());
        self.store.remember_send(Send { message_id, at, campaign: None, list: None, recipients }).expect("room");
        // What the last second sent is not known to be somebody's alone.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let mut written = 0;
        while written == 0 {
            assert!(std::time::Instant::now() < deadline, "the send is written within a second");
            std::thread::sleep(Duration::from_millis(100));
            let since = Timestamp::UNIX_EPOCH;
            self.store.sends_since(since, &mut |_, _| written += 1).expect("readable");
        }
        std::thread::sleep(Duration::from_millis(1500));
    }

    fn signed(&self, mail: &str) -> String {
        self.signed_as(mail, "fbl.example", 0)
    }

    fn signed_as(&self, mail: &str, domain: &str, expires_in_secs: u64) -> String {
        let key = Ed25519Key::from_pkcs8_der(&self.key).expect("our own");
        let signer = DkimSigner::from_key(key).domain(domain).selector("s").headers(SIGNED);
        let signer = if expires_in_secs > 0 { signer.expiration(expires_in_secs) } else { signer };
        format!("{}{mail}", signer.sign(mail.as_bytes()).expect("it can be signed").to_header())
    }

    async fn ingest(&self, mail: &str, at: Timestamp) -> Ingested {
        let arrival = Arrival { raw: mail.as_bytes(), at, queue_id: "4XyZ12", origin: Origin::Elsewhere, came_to: &[] };
        self.service.ingest(arrival).await.expect("the store is writable")
    }

    async fn take(&self, mail: &str) -> Ingested {
        self.ingest(mail, Timestamp::now()).await
    }

    /// The authority of the only response of a contact, and why.
    fn authority(&self, contact: &str) -> (Authority, String) {
        let events = self.store.events_of(&address_of(contact), 9).expect("readable");
        match events.as_slice() {
            [event] => match &event.what {
                What::Response { response, evidence } => {
                    assert_eq!(response.kind, Kind::Complaint);
                    (response.authority, evidence.authority_because.clone().unwrap_or_default())
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{contact} has {} events", other.len()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_that_a_loop_signed_about_a_message_of_ours_is_authenticated() {
    let running = Loop::start();
    running.send("one@example.com", &["joe@example.net", "ann@example.net"]);
    let mail = running.signed(&complaint(1, "one@example.com", "joe@example.net", "news@example.com"));
    let taken = running.take(&mail).await;
    assert_eq!((taken.kind, taken.counts, taken.recorded.len()), (Kind::Complaint, true, 1));
    let (authority, because) = running.authority("joe@example.net");
    assert_eq!(authority, Authority::Authenticated, "{because}");
    assert!(because.starts_with("signed by the feedback loop of fbl.example; "), "{because}");
    // With the lines of a file, too.
    let mail = running.signed(&complaint(2, "one@example.com", "ann@example.net", "news@example.com"));
    running.take(&mail.replace("\r\n", "\n")).await;
    assert_eq!(running.authority("ann@example.net").0, Authority::Authenticated);
    assert_eq!(running.dns.asked(KEY_NAME), 1, "a key is asked for once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redacted_complaint_names_the_one_recipient_of_the_message_if_its_signature_holds() {
    let running = Loop::start();
    running.send("alone@example.com", &["joe@example.net"]);
    let mail = |number| complaint(number, "alone@example.com", "redacted@redacted.invalid", "Joe <joe@example.net>");
    // Altered, expired, signed by somebody else, or not at all, it is nobody's.
    let altered = running.signed(&mail(1)).replace("Somebody complains", "Somebody complained");
    let expired = running.signed_as(&mail(2), "fbl.example", 1);
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let foreign = running.signed_as(&mail(3), "other.example", 0);
    let two_authors = format!("From: someone@else.example\r\n{}", running.signed(&mail(4)));
    for forged in [altered, expired, foreign, two_authors, mail(5)] {
        let taken = running.take(&forged).await;
        assert!(!taken.counts && taken.postponed.is_none(), "{forged}");
        assert!(running.store.contact(&address_of("joe@example.net")).expect("readable").is_none(), "{forged}");
    }
    running.take(&running.signed(&mail(6))).await;
    assert_eq!(running.authority("joe@example.net").0, Authority::Authenticated);
    let contact = running.store.contact(&address_of("joe@example.net")).expect("readable").expect("on record");
    let state = fold(&contact, &running.service.in_force().policy, Timestamp::now());
    assert_eq!(state.suppressions.len(), 1, "for its list");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_says_nothing_of_mail_that_was_not_ours_or_not_to_that_contact_alone() {
    let running = Loop::start();
    running.send("many@example.com", &["joe@example.net", "ann@example.net"]);
    let named = |number, about: &str, named: &str| running.signed(&complaint(number, about, named, "ann@example.net"));
    running.take(&named(1, "foreign@example.org", "bob@example.net")).await;
    assert_eq!(running.authority("bob@example.net").0, Authority::Unverified);
    assert_eq!(running.dns.questions(), 0, "nobody is asked about a message that is not ours");
    running.take(&named(2, "many@example.com", "eve@example.net")).await;
    let (authority, because) = running.authority("eve@example.net");
    assert_eq!(authority, Authority::Unverified);
    assert!(because.ends_with("signed by the feedback loop of fbl.example"), "{because}");
    assert!(running.store.contact(&address_of("ann@example.net")).expect("readable").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_dns_is_in_trouble_a_complaint_is_neither_lost_nor_believed() {
    let running = Loop::start();
    running.send("alone@example.com", &["joe@example.net"]);
    let mail = running.signed(&complaint(1, "alone@example.com", "joe@gmail.example", "joe@example.net"));
    let now = Timestamp::now();
    for trouble in [Answer::Silence, Answer::Code(2)] {
        running.dns.set(KEY_NAME, trouble.clone());
        let taken = running.ingest(&mail, now).await;
        assert!(taken.postponed.is_some() && taken.recorded.is_empty(), "{trouble:?}");
    }
    for contact in ["joe@example.net", "joe@gmail.example"] {
        assert_eq!(running.store.events_of(&address_of(contact), 9).expect("readable"), [], "{contact}");
    }
    // What the ledger vouches for waits for nobody.
    running.take(&running.signed(&complaint(2, "alone@example.com", "joe@example.net", "joe@example.net"))).await;
    assert_eq!(running.authority("joe@example.net").0, Authority::Matched);
    // After a day of it the complaint is recorded as it stands.
    let taken = running.ingest(&mail, now + Duration::from_secs(86_400)).await;
    assert_eq!((taken.postponed, taken.counts, taken.recorded.len()), (None, false, 1));
    assert_eq!(running.authority("joe@gmail.example").0, Authority::Unverified);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_will_do() {
    let running = Loop::start();
    running.send("one@example.com", &["joe@example.net", "ann@example.net"]);
    let pem: String = include_str!("keys/dkim-rsa.pub").lines().filter(|line| !line.starts_with("--")).collect();
    running.dns.set(KEY_NAME, txt(&format!("v=DKIM1; k=rsa; p={pem}")));
    #[expect(deprecated, reason = "the key is PEM, and the other way wants a crate of its own")]
    let key = RsaKey::<Sha256>::from_rsa_pem(include_str!("keys/dkim-rsa.pem")).expect("a key");
    let signer = DkimSigner::from_key(key).domain("fbl.example").selector("s").headers(SIGNED);
    let mail = complaint(1, "one@example.com", "joe@example.net", "news@example.com");
    running.take(&format!("{}{mail}", signer.sign(mail.as_bytes()).expect("signed").to_header())).await;
    let (authority, because) = running.authority("joe@example.net");
    assert_eq!(authority, Authority::Authenticated, "{because}");
}

/// Notifications and complaints as anybody can write them, about contacts that get mail from us.
fn forged(number: usize, contacts: usize) -> String {
    let contact = format!("c{}@example.net", number % contacts);
    if number % 4 == 3 {
        return complaint(number, &format!("guess-{number}@example.com"), &contact, &contact);
    }
    format!(
        "From: MAILER-DAEMON@mx{number}.example.net\r\nTo: bounce@example.com\r\nMessage-ID: <{number}@mx.example.net>\r\n\
         MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\
         X-Postfix-Queue-ID: 4XyZ{number}\r\n\r\n\
         Final-Recipient: rfc822; {contact}\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Diagnostic-Code: smtp; 550 5.1.1 user unknown\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nTo: {contact}\r\nMessage-ID: <guess-{number}@example.com>\r\n\r\n--b--\r\n"
    )
}

async fn flood(count: usize, contacts: usize) {
    let running = Loop::start();
    running.send("real@example.com", &["c0@example.net", "c1@example.net", "c2@example.net"]);
    let running = Arc::new(running);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..64 {
        let running = running.clone();
        tasks.spawn(async move {
            for number in (worker..count).step_by(64) {
                let taken = running.take(&forged(number, contacts)).await;
                assert!(!taken.counts && taken.recorded.len() == 1, "{number}: {taken:?}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("nobody panics");
    }
    let now = Timestamp::now();
    let policy = running.service.in_force().policy.clone();
    for number in 0..contacts {
        let contact = running.store.contact(&address_of(&format!("c{number}@example.net"))).expect("readable");
        let state = fold(&contact.expect("what was forged is on record"), &policy, now);
        assert_eq!((state.state, state.suppressions.len(), state.soft_streak), (State::Active, 0, 0), "c{number}");
    }
    assert_eq!(running.dns.questions(), 0, "forged complaints ask the DNS nothing");
    let alerts: Vec<_> = running.service.watch().alerts(now).into_iter().map(|(code, _)| code).collect();
    assert_eq!(alerts, ["complaints-unmatched"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_forged_reports_change_no_contact() {
    flood(20_000, 2000).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a million of them; run in release"]
async fn a_million_forged_reports_change_no_contact() {
    flood(1_000_000, 20_000).await;
}
