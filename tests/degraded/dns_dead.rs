//! Nobody answers questions about names. (A complaint that waits for the DNS: postfix/complaints.rs.)

use crate::dns::{Answer, DnsServer};
use crate::rig::{Options, PATIENCE, RETURN_PATH, Rig, newsletter, notification};
use std::time::Instant;

#[test]
fn with_a_dead_dns_campaigns_and_bounces_go_on() {
    let dns = DnsServer::start([]);
    dns.otherwise(Answer::Silence);
    let config = format!(
        "[return_path]\ndomains = [\"bounces.test\"]\n[outbound]\ncheck_domains = true\n[dns]\nservers = [\"{}\"]\n",
        dns.address()
    );
    let rig = Rig::with(Options { config: config.leak(), ..Options::default() });
    rig.daemon.suppress("ann@good.test");
    let since = Instant::now();
    rig.send(RETURN_PATH, &["ann@good.test", "bob@hard.test", "cat@good.test"], &newsletter("c1", "hello"));
    assert!(since.elapsed() < PATIENCE, "held up for {:?}", since.elapsed());
    rig.wait_until_idle();
    assert_eq!(rig.sink.recipients(), ["cat@good.test"]);
    assert_eq!(rig.daemon.state("bob@hard.test"), "bounced", "a bounce needs no DNS");
    let report = notification("cat@good.test", "hello.c1@shop.test", "5.1.1", "550 5.1.1 no such user");
    assert!(rig.client_from("198.51.100.7").send("", &[RETURN_PATH], &report).accepted());
    let alerts = rig.daemon.alerts();
    assert!(!alerts.contains(&"tempfail".to_owned()), "{alerts:?}");
}
