//! Which recipient domains take no mail, asked of a name server of our own.

#[path = "common/dns.rs"]
mod dns;

use backstop::mail::SELFTEST_DOMAIN;
use backstop::outbound::{DomainSettings, DomainVerdict, Domains};
use dns::{Answer, DnsServer, Record, mx, null_mx, txt};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Longer than any answer takes that comes at all.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(server: &DnsServer) -> DomainSettings {
    DomainSettings { servers: vec![server.address()], timeout: PATIENCE, ..DomainSettings::default() }
}

fn domains(settings: &DomainSettings) -> Domains {
    Domains::new(settings).expect("the settings can be used")
}

#[tokio::test]
async fn only_a_name_that_does_not_exist_and_a_null_mx_are_invalid() {
    let records = Answer::Records;
    let a = || Record::A(Ipv4Addr::new(192, 0, 2, 1));
    let alias = |name: &str| records(vec![Record::Cname(name.to_owned())]);
    let mx_record = |preference, exchange: &str| Record::Mx(preference, exchange.to_owned());
    let server = DnsServer::start([
        ("mx.example.org", mx("mail.example.org")),
        ("null.example.org", null_mx()),
        ("nowhere.example.org", Answer::NoSuchName),
        ("a.example.org", records(vec![a()])),
        ("empty.example.org", records(vec![])),
        ("txt.example.org", txt("v=spf1 -all")),
        ("failing.example.org", Answer::Code(2)),
        ("refused.example.org", Answer::Code(5)),
        ("half-null.example.org", records(vec![mx_record(0, "."), mx_record(10, "mail.example.org")])),
        ("null-at-10.example.org", records(vec![mx_record(10, ".")])),
        ("alias.example.org", alias("mx.example.org")),
        ("alias-of-null.example.org", alias("null.example.org")),
        ("alias-of-nothing.example.org", alias("nowhere.example.org")),
    ]);
    let domains = domains(&settings(&server));
    let table = [
        ("mx.example.org", DomainVerdict::TakesMail),
        ("null.example.org", DomainVerdict::NullMx),
        ("nowhere.example.org", DomainVerdict::NoSuchDomain),
        ("a.example.org", DomainVerdict::TakesMail), // RFC 5321 §5.1: its address is its exchange
        ("empty.example.org", DomainVerdict::TakesMail),
        ("txt.example.org", DomainVerdict::TakesMail),
        ("failing.example.org", DomainVerdict::Unknown),
        ("refused.example.org", DomainVerdict::Unknown),
        ("half-null.example.org", DomainVerdict::TakesMail), // RFC 7505 §3: the only record
        ("null-at-10.example.org", DomainVerdict::TakesMail), // RFC 7505 §3: of preference 0
        ("alias.example.org", DomainVerdict::TakesMail),
        ("alias-of-null.example.org", DomainVerdict::NullMx),
        ("alias-of-nothing.example.org", DomainVerdict::NoSuchDomain),
        ("nowhere.example.org", DomainVerdict::NoSuchDomain), // a second time
    ];
    let verdicts = domains.check(table.map(|(domain, _)| domain)).await;
    for ((domain, want), verdict) in table.into_iter().zip(verdicts) {
        assert_eq!(verdict, want, "{domain}");
        assert_eq!(domains.cached(domain), Some(want), "{domain}");
        assert_eq!(verdict.is_invalid(), matches!(want, DomainVerdict::NoSuchDomain | DomainVerdict::NullMx));
    }
}

#[tokio::test]
async fn the_dns_is_not_asked_about_what_is_no_domain_of_the_internet() {
    let server = DnsServer::start([]);
    let domains = domains(&settings(&server));
    let long = format!("{}.example.org", "x".repeat(64));
    let selftest = SELFTEST_DOMAIN;
    for domain in ["[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost", "mailhost", "a..example.org", &long, selftest] {
        assert_eq!(domains.cached(domain), Some(DomainVerdict::TakesMail), "{domain}");
        assert_eq!(domains.check([domain]).await, [DomainVerdict::TakesMail], "{domain}");
    }
    assert_eq!(server.questions(), 0);
}

#[tokio::test]
async fn an_answer_is_remembered() {
    let server = DnsServer::start([("a.example.org", null_mx()), ("b.example.org", Answer::Code(2))]);
    let domains = domains(&settings(&server));
    assert_eq!(domains.cached("a.example.org"), None);
    let names = ["a.example.org", "b.example.org", "c.example.org"];
    let first = domains.check(names).await;
    assert_eq!(first, [DomainVerdict::NullMx, DomainVerdict::Unknown, DomainVerdict::NoSuchDomain]);
    let asked = server.questions();
    assert!(asked >= 3);
    server.set("a.example.org", mx("mail.example.org"));
    for _ in 0..10 {
        assert_eq!(domains.check(names).await, first);
    }
    assert_eq!(server.questions(), asked);
}

#[tokio::test]
async fn an_answer_is_forgotten_as_its_ttl_says_within_our_bounds() {
    let short = Duration::from_millis(100);
    for (ttl, min_ttl, max_ttl, forgotten) in [
        (1, Duration::ZERO, Duration::from_secs(3600), true),
        (1, Duration::from_secs(3600), Duration::from_secs(3600), false),
        (3600, Duration::ZERO, short, true),
        (3600, Duration::ZERO, Duration::from_secs(3600), false),
    ] {
        let server = DnsServer::start([("a.example.org", null_mx())]);
        server.ttl(ttl);
        let domains = domains(&DomainSettings { min_ttl, max_ttl, ..settings(&server) });
        let names = ["a.example.org", "nowhere.example.org"];
        assert_eq!(domains.check(names).await, [DomainVerdict::NullMx, DomainVerdict::NoSuchDomain]);
        server.set("a.example.org", mx("mail.example.org"));
        server.set("nowhere.example.org", mx("mail.example.org"));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let want = match forgotten {
            true => [DomainVerdict::TakesMail; 2],
            false => [DomainVerdict::NullMx, DomainVerdict::NoSuchDomain],
        };
        assert_eq!(domains.check(names).await, want, "TTL {ttl}, from {min_ttl:?} to {max_ttl:?}");
    }
}

#[tokio::test]
async fn no_more_domains_are_remembered_than_is_allowed() {
    let server = DnsServer::start([]);
    let domains = domains(&DomainSettings { cache_entries: 10, ..settings(&server) });
    let names: Vec<String> = (0..100).map(|number| format!("d{number}.example.org")).collect();
    for name in &names {
        assert_eq!(domains.check([name.as_str()]).await, [DomainVerdict::NoSuchDomain]);
    }
    let remembered = names.iter().filter(|name| domains.cached(name).is_some()).count();
    assert!((5..=10).contains(&remembered), "{remembered}");
    assert_eq!(domains.cached("d99.example.org"), Some(DomainVerdict::NoSuchDomain));
}

#[tokio::test]
async fn a_silent_server_holds_a_message_up_no_longer_than_the_timeout() {
    let server = DnsServer::start([]);
    server.otherwise(Answer::Silence);
    let timeout = Duration::from_millis(400);
    let domains = domains(&DomainSettings { timeout, ..settings(&server) });
    let names: Vec<String> = (0..1000).map(|number| format!("d{number}.example.org")).collect();
    let start = Instant::now();
    let verdicts = domains.check(names.iter().map(String::as_str)).await;
    // Far less than a second try for each sixteen would take (25 s), with room for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(verdicts.iter().all(|verdict| *verdict == DomainVerdict::Unknown));
    assert!((1..=32).contains(&server.names_asked()), "{} at once", server.names_asked());
    // Those that were asked are not asked again soon; the others may be.
    let remembered = names.iter().filter(|name| domains.cached(name).is_some()).count();
    assert!((1..=32).contains(&remembered), "{remembered}");
}

#[tokio::test]
async fn a_thousand_domains_are_asked_a_few_at_a_time_and_all_answered() {
    let server = DnsServer::start([]);
    let domains = domains(&settings(&server));
    let names: Vec<String> = (0..1000).map(|number| format!("d{number}.example.org")).collect();
    let verdicts = domains.check(names.iter().map(String::as_str)).await;
    assert_eq!(verdicts, vec![DomainVerdict::NoSuchDomain; 1000]);
    assert_eq!(server.names_asked(), 1000);
}

#[tokio::test]
async fn a_dns_that_seems_dead_is_left_alone_for_a_while() {
    let server = DnsServer::start([]);
    server.otherwise(Answer::Silence);
    let (timeout, pause) = (Duration::from_millis(100), Duration::from_secs(3));
    let domains = domains(&DomainSettings { timeout, pause, ..settings(&server) });
    for number in 0..5 {
        let start = Instant::now();
        assert_eq!(domains.check([format!("d{number}.example.org").as_str()]).await, [DomainVerdict::Unknown]);
        assert!(start.elapsed() >= timeout, "it was asked");
    }
    let dead = Instant::now();
    // What was sent may still be on its way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = server.questions();
    server.otherwise(Answer::NoSuchName);
    for number in 5..100 {
        let name = format!("d{number}.example.org");
        assert_eq!(domains.check([name.as_str()]).await, [DomainVerdict::Unknown]);
        assert_eq!(domains.cached(&name), None, "it was not asked, so nothing was learnt");
    }
    assert_eq!(server.questions(), asked);
    assert!(dead.elapsed() < pause, "this machine is too slow for this test");
    tokio::time::sleep(pause).await;
    // One answer, and all is well again.
    let mut back = false;
    while !back && dead.elapsed() < PATIENCE {
        back = domains.check([format!("e{}.example.org", dead.elapsed().as_nanos()).as_str()]).await
            == [DomainVerdict::NoSuchDomain];
    }
    assert!(back);
}

#[tokio::test]
async fn one_answer_among_silence_keeps_the_dns_alive() {
    let server = DnsServer::start([]);
    server.otherwise(Answer::Silence);
    let domains = domains(&DomainSettings { timeout: Duration::from_millis(500), ..settings(&server) });
    for number in 0..7 {
        let answered = format!("a{number}.example.org");
        server.set(&answered, Answer::NoSuchName);
        let silent = format!("s{number}.example.org");
        domains.check([answered.as_str(), silent.as_str()]).await;
        assert!(server.asked(&silent) >= 1, "{silent}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_makes_no_domain_invalid() {
    let server = DnsServer::start([]);
    let settings = DomainSettings { timeout: Duration::from_millis(500), ..settings(&server) };
    drop(server);
    assert_eq!(domains(&settings).check(["a.example.org"]).await, [DomainVerdict::Unknown]);
}
