//! Asks the admin socket everything it answers, over the socket, and what it must refuse.

mod support_admin;

use backstop::admin::server::Server;
use backstop::policy::{Event, Level, SkipReason, What};
use backstop::store::Store;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support_admin::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_mode_configuration_store_and_milter() {
    let backstop = start().await;
    let bounce = backstop.bounce("joe@example.org").await;
    let answer = backstop.get("/v1/status").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let status = answer.json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["mode"], "enforce");
    assert_eq!(status["alerts"], json!([]));
    assert_eq!(status["config"]["file"], "/etc/backstop/backstop.toml");
    assert_eq!(status["store"]["events"], 1);
    assert_eq!(status["store"]["contacts"], 1);
    assert_eq!(status["milter"]["connections"], 3);
    assert_eq!(status["last_events"]["bounce"]["event"], bounce.to_string());
    assert_eq!(status["last_events"]["bounce"]["address"], "joe@example.org");
    assert!(status["uptime_secs"].is_u64() && status["counters"].is_object(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_was_not_reloaded_is_an_alert() {
    let backstop = start().await;
    *backstop.daemon.reload_error.lock().expect("ours") = Some("line 3: no such key".to_owned());
    let status = backstop.get("/v1/status").await.json();
    assert_eq!(status["alerts"][0]["code"], "config-not-reloaded");
    assert_eq!(status["config"]["reload_error"], "line 3: no such key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_is_shown_with_its_suppression_and_its_evidence() {
    let backstop = start().await;
    let event = backstop.bounce("joe@example.org").await;
    // However the address is written.
    let contact = backstop.get("/v1/contacts/%3CJoe%40Example.ORG%3E").await.json();
    assert_eq!(contact["address"], "joe@example.org");
    assert_eq!(contact["state"], "bounced");
    assert_eq!(contact["soft_streak"], 0);
    let suppression = &contact["suppressions"][0];
    let since = suppression["since"].clone();
    let want = json!({
        "scope": "system", "category": "rejected", "type": "hard", "code": "5.1.1", "reason": "user-unknown",
        "since": since, "until": null, "campaign": "77", "event": event.to_string(),
    });
    assert_eq!(*suppression, want);
    let response = &contact["responses"][0];
    let want = json!({
        "event": event.to_string(), "at": since, "class": "bounce", "kind": "bounce", "category": "rejected", "type": "hard", "code": "5.1.1",
        "reason": "user-unknown", "fault": "recipient", "authority": "local", "campaign": "77",
        "list": "news.example.com", "description": "no such mailbox", "diagnostic": "550 5.1.1 user unknown",
        "retracted": false,
    });
    assert_eq!(*response, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_that_a_sign_of_life_retracted_is_shown_as_retracted() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let what = What::Activity { level: Level::PURCHASE, campaign: None, uid: None, reason: String::new() };
    backstop.record("joe@example.org", jiff::Timestamp::now(), what).await;
    let contact = backstop.get("/v1/contacts/joe@example.org").await.json();
    assert_eq!((&contact["state"], &contact["responses"][0]["retracted"]), (&json!("active"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skip_is_a_response_of_class_skip() {
    let backstop = start().await;
    let skip = What::Skip {
        reason: SkipReason::Suppressed,
        category: None,
        scope: None,
        limit: None,
        campaign: None,
        list: None,
        forward_path: None,
        shadow: false,
    };
    backstop.record("joe@example.org", a_minute_ago(), skip).await;
    let contact = backstop.get("/v1/contacts/joe@example.org").await.json();
    assert_eq!(contact["state"], "active");
    assert_eq!(contact["responses"][0]["class"], "skip");
    assert_eq!(contact["responses"][0]["reason"], "suppressed");
    assert_eq!(contact["responses"][0]["authority"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_never_heard_of_is_not_found_and_a_text_is_no_address() {
    let backstop = start().await;
    for (target, want) in [
        ("/v1/contacts/nobody@example.org", (404, "not-found")),
        ("/v1/contacts/nobody", (422, "invalid-value")),
        ("/v1/contacts/%ff%40example.org", (400, "invalid-path")),
        ("/v1/contacts/a%0d%0ab@example.org", (422, "invalid-value")),
        ("/v1/contacts/nobody@example.org?verbose=1", (422, "invalid-value")),
    ] {
        let (status, code) = backstop.get(target).await.refused();
        assert_eq!((status, code.as_str()), want, "{target}");
    }
    assert!(backstop.get("/v1/contacts/nobody").await.text().contains("`address`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_in_force_is_told_whole() {
    let backstop = start().await;
    let policy = backstop.get("/v1/policy").await.json();
    assert_eq!((&policy["profile"], &policy["settle_days"]), (&json!("standard"), &json!(6)));
    assert_eq!(policy["proof_of_life"], json!({"soft": 1, "unknown": 3, "hard": 3}));
    let want = json!({
        "category": "rejected", "hard_responses": 1, "responses": 3, "span_days": 0, "reactivate_days": null,
        "doubling": false, "counts_as": "transient",
    });
    assert_eq!(policy["table"][0], want);
    assert_eq!(policy["table"].as_array().map(Vec::len), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_suppresses_and_reactivates_with_a_reason() {
    let backstop = start().await;
    let suppress = "/v1/contacts/joe@example.org/suppress";
    let answer = backstop.post(suppress, br#"{"reason": " asked by phone "}"#).await.json();
    assert_eq!((&answer["before"], &answer["after"]), (&json!("active"), &json!("suppressed")));
    assert_eq!(answer["suppressions"][0]["reason"], "asked by phone");
    assert_eq!(answer["suppressions"][0]["category"], Value::Null);
    assert_eq!(answer["scope"], "system");

    let events = backstop.store.events_of(&address_of("joe@example.org"), 10).expect("readable");
    assert_eq!(events[0].id.to_string(), answer["event"].as_str().expect("an id"));
    let own_uid = nix::unistd::geteuid().as_raw();
    assert!(
        matches!(&events[0].what, What::Suppress { uid, reason, .. } if *uid == own_uid && reason == "asked by phone")
    );

    let reactivate = "/v1/contacts/joe@example.org/reactivate";
    let answer = backstop.post(reactivate, br#"{"scope": "system", "reason": "a mistake"}"#).await.json();
    assert_eq!((&answer["before"], &answer["after"]), (&json!("suppressed"), &json!("active")));
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["state"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_for_one_list_leaves_the_contact_active() {
    let backstop = start().await;
    let body = br#"{"scope": "News.Example.com", "reason": "asked by phone"}"#;
    let answer = backstop.post("/v1/contacts/joe@example.org/suppress", body).await.json();
    assert_eq!(answer["after"], "active");
    assert_eq!(answer["suppressions"][0]["scope"], "news.example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_and_changes_nothing() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let target = "/v1/contacts/joe@example.org/reactivate?dry_run=true";
    let answer = backstop.post(target, br#"{"reason": "just asking"}"#).await.json();
    assert_eq!(answer["dry_run"], true);
    assert_eq!(answer["event"], Value::Null);
    assert_eq!((&answer["before"], &answer["after"]), (&json!("bounced"), &json!("active")));
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["state"], "bounced");
    assert_eq!(backstop.store.figures().events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_made_is_refused_and_names_its_field() {
    let backstop = start().await;
    let target = "/v1/contacts/joe@example.org/suppress";
    for (body, status, named) in [
        (&b"{\"reason\": "[..], 400, "JSON"),
        (b"", 400, "JSON"),
        (b"{}", 422, "reason"),
        (br#"{"reason": ""}"#, 422, "`reason`"),
        (br#"{"reason": "two\nlines"}"#, 422, "`reason`"),
        (br#"{"reason": 5}"#, 422, "string"),
        (br#"{"reason": "x", "scope": "two words"}"#, 422, "`scope`"),
        (br#"{"reason": "x", "scop": "system"}"#, 422, "scop"),
        (br#"["x"]"#, 422, "ChangeRequest"),
    ] {
        let answer = backstop.post(target, body).await;
        let text = String::from_utf8_lossy(body);
        assert_eq!(answer.refused().0, status, "{text}: {}", answer.text());
        assert!(answer.text().contains(named), "{text}: {}", answer.text());
    }
    let (status, code) =
        backstop.post("/v1/contacts/joe@example.org/reactivate", br#"{"reason": "x"}"#).await.refused();
    assert_eq!((status, code.as_str()), (404, "not-found"), "never heard of");
    assert_eq!(backstop.store.figures().events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_gives_one_verdict_for_each_address_in_order() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.suppress_for("ann@example.org", "news.example.com").await;
    let addresses = br#"["JOE@example.org", "new@example.org", "no address", "ann@example.org"]"#;
    let verdicts = backstop.post("/v1/check", addresses).await.json();
    let short = |verdicts: &Value| -> Vec<(String, bool, Value)> {
        let verdicts = verdicts.as_array().expect("an array").iter();
        let short = |verdict: &Value| {
            let address = verdict["address"].as_str().expect("an address").to_owned();
            (address, verdict["suppressed"].as_bool().expect("a flag"), verdict["reason"].clone())
        };
        verdicts.map(short).collect()
    };
    let want = |ann: bool| {
        vec![
            ("JOE@example.org".to_owned(), true, json!("suppressed")),
            ("new@example.org".to_owned(), false, Value::Null),
            ("no address".to_owned(), false, json!("invalid-address")),
            ("ann@example.org".to_owned(), ann, if ann { json!("suppressed") } else { Value::Null }),
        ]
    };
    assert_eq!(short(&verdicts), want(false));
    assert_eq!(verdicts[3]["suppressions"][0]["scope"], "news.example.com");
    let verdicts = backstop.post("/v1/check?list=news.example.com", addresses).await.json();
    assert_eq!(short(&verdicts), want(true));
    assert_eq!(backstop.post("/v1/check", br#"{"a": 1}"#).await.refused().0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_filtered_paged_and_written_in_three_ways() {
    let backstop = start().await;
    for address in ["c@example.org", "a@example.org", "b@other.example"] {
        backstop.bounce(address).await;
    }
    backstop.suppress_for("a@example.org", "news.example.com").await;
    let addresses = |answer: &Value| -> Vec<String> {
        let listed = answer["suppressions"].as_array().expect("an array").iter();
        listed.map(|listed| listed["address"].as_str().expect("an address").to_owned()).collect()
    };
    for (query, want) in [
        ("", &["a@example.org", "a@example.org", "b@other.example", "c@example.org"][..]),
        ("?domain=EXAMPLE.org&category=rejected", &["a@example.org", "c@example.org"]),
        ("?scope=news.example.com", &["a@example.org"]),
        ("?scope=system&domain=other.example", &["b@other.example"]),
        ("?category=complaint", &[]),
        ("?since=2999-01-01T00:00:00Z", &[]),
        ("?limit=1", &["a@example.org", "a@example.org"]), // one contact, never torn apart
    ] {
        let answer = backstop.get(&format!("/v1/suppressions{query}")).await.json();
        assert_eq!(addresses(&answer), want, "{query}");
    }

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    for _ in 0..10 {
        let answer = backstop.get(&format!("/v1/suppressions?limit=1&cursor={cursor}")).await.json();
        paged.extend(addresses(&answer));
        match answer["next"].as_str() {
            Some(next) => cursor = next.replace('@', "%40"),
            None => break,
        }
    }
    assert_eq!(paged, ["a@example.org", "a@example.org", "b@other.example", "c@example.org"]);

    let lines = backstop.send("GET", "/v1/suppressions", &[("accept", "application/x-ndjson")], b"").await;
    assert_eq!(lines.headers["content-type"], "application/x-ndjson");
    let first: Value = serde_json::from_str(lines.text().lines().next().expect("a line")).expect("JSON");
    assert_eq!((lines.text().lines().count(), &first["address"]), (4, &json!("a@example.org")));

    let csv = backstop.send("GET", "/v1/suppressions?limit=1", &[("accept", "text/csv")], b"").await;
    assert_eq!(csv.text().lines().count(), 3, "{}", csv.text());
    assert!(csv.text().starts_with("address,scope,category,type,code,reason,since,until,campaign,event\r\n"));
    assert!(csv.text().contains("\r\na@example.org,system,rejected,hard,5.1.1,user-unknown,"), "{}", csv.text());
    assert!(csv.headers.contains_key("backstop-next-cursor"));

    for query in ["?category=angry", "?domain=a%20b", "?since=yesterday", "?limit=0", "?limit=x", "?page=2"] {
        let (status, code) = backstop.get(&format!("/v1/suppressions{query}")).await.refused();
        assert_eq!((status, code.as_str()), (422, "invalid-value"), "{query}");
    }
    let (status, _) = backstop.send("GET", "/v1/suppressions", &[("accept", "image/png")], b"").await.refused();
    assert_eq!(status, 406);
}

#[tokio::test(flavor = "multi_thread")]
async fn classify_judges_and_stores_nothing() {
    let backstop = start().await;
    let answer = backstop.post("/v1/classify", BOUNCE).await.json();
    assert_eq!(answer["kind"], "bounce");
    assert_eq!(answer["campaign"], "77");
    assert_eq!(answer["list"], "news.example.com");
    assert_eq!(answer["message_id"], "issue-77@example.com");
    let recipient = &answer["recipients"][0];
    assert_eq!(recipient["address"], "gone@example.net");
    assert_eq!((&recipient["code"], &recipient["type"]), (&json!("5.1.1"), &json!("hard")));
    assert_eq!((&recipient["category"], &recipient["fault"]), (&json!("rejected"), &json!("recipient")));
    let mine = backstop.post("/v1/classify", b"From: ann@example.org\r\nSubject: Hi\r\n\r\nSee you.\r\n").await.json();
    assert_eq!(mine, json!({"kind": "other", "campaign": null, "list": null, "message_id": null, "recipients": []}));
    assert_eq!(backstop.post("/v1/classify", b"").await.refused().0, 400);
    assert_eq!(backstop.store.figures().events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_is_soft_and_delivered_has_no_category() {
    let backstop = start().await;
    let report = String::from_utf8(BOUNCE.to_vec()).expect("ASCII");
    let delayed = report.replace("Action: failed", "Action: delayed").replace("5.1.1", "4.4.1");
    let delayed = backstop.post("/v1/classify", delayed.as_bytes()).await.json();
    assert_eq!((&delayed["kind"], &delayed["recipients"][0]["type"]), (&json!("delayed"), &json!("soft")));
    let delivered = report.replace("Action: failed", "Action: delivered").replace("5.1.1", "2.0.0");
    let delivered = backstop.post("/v1/classify", delivered.as_bytes()).await.json();
    assert_eq!((&delivered["kind"], &delivered["recipients"][0]["code"]), (&json!("delivered"), &json!("2.0.0")));
    assert_eq!(delivered["recipients"][0]["category"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_report_ingested_twice_counts_once() {
    let backstop = start().await;
    let first = backstop.post("/v1/ingest", BOUNCE).await.json();
    assert_eq!(first["kind"], "bounce");
    assert_eq!((first["recorded"].as_array().map(Vec::len), &first["known"]), (Some(1), &json!([])));
    let second = backstop.post("/v1/ingest", BOUNCE).await.json();
    assert_eq!((&second["recorded"], &second["known"]), (&json!([]), &first["recorded"]));
    // Handed in by a person, it is no more believable than it was.
    let contact = backstop.get("/v1/contacts/gone@example.net").await.json();
    assert_eq!(contact["state"], "active");
    assert_eq!(contact["responses"][0]["authority"], "unverified");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_from_a_time_or_behind_an_event() {
    let backstop = start().await;
    let mut ids = Vec::new();
    for address in ["a@example.org", "b@example.org", "c@example.org"] {
        ids.push(backstop.bounce(address).await);
    }
    let ids_of = |answer: Answer| -> Vec<_> {
        let events = answer.text().lines().map(|line| serde_json::from_str::<Event>(line).expect("an event"));
        events.map(|event| event.id).collect()
    };
    let answer = backstop.get("/v1/events").await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert_eq!(ids_of(answer), ids);
    assert_eq!(ids_of(backstop.get(&format!("/v1/events?since={}", ids[0])).await), ids[1..]);
    assert_eq!(ids_of(backstop.get("/v1/events?since=2020-01-01T00:00:00Z").await), ids);
    assert_eq!(ids_of(backstop.get("/v1/events?since=2999-01-01T00:00:00Z").await), []);
    assert_eq!(backstop.get("/v1/events?since=soon").await.refused().0, 422);
    assert_eq!(backstop.get("/v1/events?follow=maybe").await.refused().0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_hears_the_next_event_and_holds_up_no_stop() {
    let backstop = start().await;
    backstop.bounce("before@example.org").await;
    let mut answer = open(&backstop.socket, "GET", "/v1/events?follow=true", &[], b"").await.into_body();
    let id = backstop.bounce("joe@example.org").await;
    let frame = tokio::time::timeout(Duration::from_secs(5), answer.frame()).await.expect("in time");
    let line = frame.expect("a frame").expect("whole").into_data().expect("data");
    let event: Event = serde_json::from_slice(&line).expect("one event");
    assert_eq!((event.id, event.address), (id, Some(address_of("joe@example.org"))));

    let (socket, begun) = (backstop.socket.clone(), Instant::now());
    backstop.server.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "stop took {:?}", begun.elapsed());
    assert!(!socket.exists(), "the socket is removed");
    assert!(answer.frame().await.is_none_or(|frame| frame.is_err()), "the stream ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_let_in_before_the_stop_is_answered_and_whoever_says_nothing_holds_up_no_stop() {
    let backstop = start().await;
    let mut asks = UnixStream::connect(&backstop.socket).await.expect("the server listens");
    let mut silent = UnixStream::connect(&backstop.socket).await.expect("the server listens");
    tokio::time::sleep(Duration::from_millis(300)).await; // both are let in
    let begun = Instant::now();
    let stop = tokio::spawn(backstop.server.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    asks.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it is still there");
    let mut answer = String::new();
    asks.read_to_string(&mut answer).await.expect("an answer, and the end");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(silent.read(&mut [0]).await.expect("the end"), 0);
    stop.await.expect("no panic");
    assert!(begun.elapsed() < Duration::from_secs(1), "stop took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn following_begins_now_on_a_store_that_was_written_before() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let settings = store_settings(directory.path());
    let old = Store::open(&settings).expect("a new store");
    record(&old, "before@example.org", a_minute_ago(), hard_bounce()).await;
    old.close().expect("written");
    drop(old);
    tokio::time::sleep(Duration::from_millis(5)).await; // ids count milliseconds

    let backstop = start_over(directory, |_| {}).await;
    let mut answer = open(&backstop.socket, "GET", "/v1/events?follow=true", &[], b"").await.into_body();
    let id = backstop.bounce("joe@example.org").await;
    let line = answer.frame().await.expect("a frame").expect("whole").into_data().expect("data");
    assert_eq!(serde_json::from_slice::<Event>(&line).expect("one event").id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_ends_with_the_number_of_contacts() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let answer = backstop.post("/v1/rebuild", b"").await;
    let last: Value = serde_json::from_str(answer.text().lines().last().expect("a line")).expect("JSON");
    assert_eq!(last, json!({"contacts": 1}));
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["state"], "bounced");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_asked_for_rightly_is_refused_as_json() {
    let backstop = start().await;
    for (method, target, want) in [
        ("GET", "/", (404, "unknown-request")),
        ("GET", "/v1/nothing", (404, "unknown-request")),
        ("GET", "/v1/contacts/", (404, "unknown-request")),
        ("POST", "/v1/status", (405, "wrong-method")),
        ("GET", "/v1/check", (405, "wrong-method")),
        ("PATCH", "/v1/contacts/joe@example.org", (405, "wrong-method")),
    ] {
        let (status, code) = backstop.send(method, target, &[], b"").await.refused();
        assert_eq!((status, code.as_str()), want, "{method} {target}");
    }
    assert_eq!(backstop.send("GET", "/v1/check", &[], b"").await.headers["allow"], "POST");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_its_limit_is_refused_before_it_is_read() {
    let backstop = start().await;
    for (target, announced) in [("/v1/check", "1048577"), ("/v1/classify", "33554433"), ("/v1/ingest", "99999999999")] {
        // Announced, and never sent: an answer can only come if nobody waits for the body.
        let mut stream = UnixStream::connect(&backstop.socket).await.expect("the server listens");
        let head = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("written");
        assert!(answered(&mut stream).await.starts_with("HTTP/1.1 413 "), "{target}");
    }
    // Not announced: a chunk of more than is taken.
    let mut stream = UnixStream::connect(&backstop.socket).await.expect("the server listens");
    let head = "POST /v1/check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let _ = stream.write_all(&vec![b' '; 0x0020_0000]).await; // the server may hang up in the middle
    assert!(answered(&mut stream).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_answered_with_400_or_closed() {
    let backstop = start().await;
    for octets in [&b"\x00\x00\x00\x0d\x4f garbage\r\n\r\n"[..], b"GET /v1/status HTTP/9.9\r\n\r\n", &[b'a'; 40_000]] {
        let mut stream = UnixStream::connect(&backstop.socket).await.expect("the server listens");
        let _ = stream.write_all(octets).await;
        let answer = answered(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(backstop.get("/v1/status").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_hung_up_on_and_hold_up_nobody() {
    let backstop = start().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = UnixStream::connect(&backstop.socket).await.expect("the server listens");
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nHo").await.expect("written");
        slow.push(stream);
    }
    assert_eq!(backstop.get("/v1/status").await.status, 200);
    for stream in &mut slow {
        let ended = tokio::time::timeout(Duration::from_secs(15), answered(stream)).await;
        assert!(ended.is_ok(), "a client that says nothing more is hung up on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_left_over_is_replaced_and_a_live_one_or_a_file_is_not() {
    let backstop = start().await;
    let again = |socket: &std::path::Path| {
        Server::start(admin_settings(socket), backstop.service.clone(), backstop.daemon.clone())
    };
    let error = again(&backstop.socket).await.err().expect("somebody serves it");
    assert!(error.to_string().contains("another process serves it"), "{error}");
    assert!(error.to_string().contains("admin.sock"), "{error}");

    let left_over = backstop.directory.path().join("left-over.sock");
    drop(std::os::unix::net::UnixListener::bind(&left_over).expect("bound"));
    let server = again(&left_over).await.expect("nobody answers there");
    // What somebody else put in its place meanwhile is not removed.
    std::fs::remove_file(&left_over).expect("ours");
    std::fs::write(&left_over, "not yours").expect("written");
    server.stop().await;
    assert_eq!(std::fs::read_to_string(&left_over).expect("still there"), "not yours");

    let error = again(&left_over).await.err().expect("no socket");
    assert!(error.to_string().contains("no socket"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_by_tcp_and_nothing_else() {
    let backstop =
        start_with(|settings| settings.metrics_listen = Some("127.0.0.1:0".parse().expect("a literal"))).await;
    backstop.bounce("joe@example.org").await;
    let local = backstop.get("/metrics").await;
    assert!(local.text().contains("\nbackstop_store_events 1\n"), "{}", local.text());
    let address = backstop.server.metrics_address().expect("it listens");
    for (target, want) in [("/metrics", "HTTP/1.1 200 "), ("/v1/status", "HTTP/1.1 404 ")] {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        assert!(answer.starts_with(want), "{target}: {answer}");
    }
}

/// Everything until the server hangs up.
async fn answered(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
