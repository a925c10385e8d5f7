//! What is watched of all that comes back, in status and metrics.

mod support_admin;

use backstop::inbound::watch::{SENT, UNMATCHED};
use backstop::mail::MessageId;
use backstop::service::Service;
use backstop::store::{Send, Store};
use jiff::Timestamp;
use std::time::Duration;
use support_admin::*;

fn alerts(status: &serde_json::Value) -> Vec<String> {
    let alerts = status["alerts"].as_array().expect("a list");
    alerts.iter().map(|alert| alert["code"].as_str().expect("a word").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn complaints_that_match_nobody_and_the_authority_of_all_are_told() {
    let backstop = start().await;
    assert!(alerts(&backstop.get("/v1/status").await.json()).is_empty());
    for number in 0..UNMATCHED {
        let mail = format!(
            "From: a@fbl.example\r\nMessage-ID: <{number}@fbl.example>\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
             --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nVersion: 1\r\n\
             User-Agent: x\r\nOriginal-Rcpt-To: joe@example.net\r\n\r\n--b--\r\n"
        );
        assert_eq!(backstop.post("/v1/ingest", mail.as_bytes()).await.status, 200);
    }
    let status = backstop.get("/v1/status").await.json();
    assert_eq!(alerts(&status), ["complaints-unmatched"]);
    let metrics = backstop.get("/metrics").await;
    let has = |line: &str| metrics.text().lines().any(|told| told == line);
    let by_authority = |word: &str, kind: &str, count: u64| {
        has(&format!("backstop_responses_by_authority_total{{authority=\"{word}\",kind=\"{kind}\"}} {count}"))
    };
    assert!(by_authority("unverified", "complaint", UNMATCHED), "{}", metrics.text());
    assert!(by_authority("signed", "complaint", 0) && by_authority("unverified", "bounce", 0));
    let labels = "{class=\"feedback\",kind=\"complaint\",category=\"complaint\"}";
    assert!(has(&format!("backstop_responses_total{labels} {UNMATCHED}")));
    let provider = "{provider=\"other\",kind=\"complaint\"}";
    assert!(has(&format!("backstop_responses_by_provider_total{provider} {UNMATCHED}")));
    assert!(has("backstop_alert{name=\"complaints-unmatched\"} 1") && has("backstop_alert{name=\"replay\"} 0"));
    assert!(has(&format!("backstop_unmatched_complaints_day {UNMATCHED}")));
    assert!(has("backstop_return_path_silent 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_return_path_is_an_alert_after_a_restart_too_until_something_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || Store::open(&store_settings(directory.path())).expect("a store");
    let store = open();
    let now = Timestamp::now();
    for number in 0..SENT {
        let (message_id, at) = (MessageId(format!("{number}@example.com")), now - Duration::from_secs(60 * 60 * 24));
        let recipients = vec![address_of(&format!("c{number}@example.net"))];
        store.remember_send(Send { message_id, at, campaign: None, list: None, recipients }).expect("room");
    }
    store.close().expect("it can be written");
    drop(store);
    let store = open();
    let codes = |store: &Store| {
        let service = Service::new(store.clone(), in_force());
        service.look_back(now).expect("readable");
        service.watch().alerts(now).into_iter().map(|(code, _)| code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&store), ["return-path-silent"]);
    record(&store, "c1@example.net", now, hard_bounce()).await;
    assert!(codes(&store).is_empty());
}
