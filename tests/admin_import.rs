//! Imports, exports and what is taken back, over the admin socket.

mod support_admin;

use backstop::policy::What;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use support_admin::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The lines of an import's answer, the last one apart.
fn lines(answer: &Answer) -> (Vec<Value>, Value) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut lines: Vec<Value> = answer.text().lines().map(read).collect();
    let last = lines.pop().expect("a line");
    lines.retain(|line| line.get("line").is_some());
    (lines, last)
}

/// Begins a request by hand and leaves its body open.
async fn begin(socket: &Path, target: &str, framing: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).await.expect("the server listens");
    let head = format!("POST {target} HTTP/1.1\r\nhost: backstop\r\n{framing}\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).await.expect("written");
    stream
}

/// Waits until an import may begin.
async fn free(backstop: &Running) -> Answer {
    for _ in 0..200 {
        let answer = backstop.post("/v1/import?dry_run=true", b"joe@example.org\n").await;
        if answer.status != 409 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("an import never ended")
}

const LIST: &str = "email,reason\n\
    joe@example.org,bounce\n\
    no address,bounce\n\
    ann@example.org,spam\n\
    JOE@example.org,bounce\n\
    bob@example.org,active\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reads_all_of_a_list_and_imports_nothing() {
    let backstop = start().await;
    let answer = backstop.post("/v1/import?dry_run=true", LIST.as_bytes()).await;
    let (bad, last) = lines(&answer);
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0]["line"], 3);
    assert!(bad[0]["problem"].as_str().is_some_and(|problem| problem.contains("address")), "{bad:?}");
    let want = json!({
        "batch": null, "dry_run": true, "list": null, "format": "csv",
        "imported": 2, "known": 0, "bad": 1, "duplicates": 1, "not_suppressed": 1,
    });
    assert_eq!(last, want);
    assert_eq!(backstop.store.figures().events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_nobody_makes_no_batch() {
    let backstop = start().await;
    for body in [&b""[..], b"\n\n# nothing\n", b"two words\n"] {
        let (_, last) = lines(&backstop.post("/v1/import", body).await);
        assert_eq!((&last["batch"], &last["imported"]), (&Value::Null, &json!(0)), "{body:?}");
    }
    assert_eq!(backstop.store.figures().events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_not_asked_for_rightly_is_refused_by_name() {
    let backstop = start().await;
    for (query, named) in [
        ("list=graylist", "`list`"),
        ("format=excel", "sendgrid-bounces"),
        ("reason=%0a", "`reason`"),
        ("source=a%0ab", "`source`"),
        ("dry_run=maybe", "`dry_run`"),
        ("lists=blocklist", "`lists`"),
    ] {
        let answer = backstop.post(&format!("/v1/import?{query}"), b"joe@example.org\n").await;
        assert_eq!(answer.refused().0, 422, "{query}");
        assert!(answer.text().contains(named), "{query}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_imported_of_a_list_that_breaks_off() {
    let backstop = start().await;
    let chunk = "10\r\njoe@example.org\n\r\n";
    for (framing, body) in [("content-length: 1000", "joe@example.org\n"), ("transfer-encoding: chunked", chunk)] {
        let stream = begin(&backstop.socket, "/v1/import", framing, body).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(backstop.post("/v1/import", b"ann@example.org\n").await.refused(), (409, "busy".to_owned()));
        drop(stream);
        assert_eq!(free(&backstop).await.status, 200);
        assert_eq!(backstop.store.figures().events, 0, "{framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_write_all_of_its_list_before_it_reads_a_line() {
    let backstop = start().await;
    let list: String = (0..200_000).map(|number| format!("no address {number}\n")).collect();
    let framing = format!("connection: close\r\ncontent-length: {}", list.len());
    let writing = begin(&backstop.socket, "/v1/import?dry_run=true&format=plain", &framing, &list);
    let mut stream = tokio::time::timeout(Duration::from_secs(60), writing).await.expect("it never blocks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("UTF-8");
    assert!(answer.contains("\"bad\":200000"), "{}", &answer[answer.len().saturating_sub(300)..]);
    assert_eq!(answer.matches("\"problem\"").count(), 1000, "the others are counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_whether_it_should_go_on_is_told_to() {
    let backstop = start().await;
    let framing = "expect: 100-continue\r\nconnection: close\r\ncontent-length: 16";
    let mut stream = begin(&backstop.socket, "/v1/import?dry_run=true", framing, "").await;
    let mut head = [0; 25];
    stream.read_exact(&mut head).await.expect("an interim answer");
    assert_eq!(&head, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"joe@example.org\n").await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("UTF-8");
    assert!(answer.contains("\"imported\":1"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_imported_listed_and_taken_back() {
    let backstop = start().await;
    let answer = backstop.post("/v1/import?source=old.csv&reason=moved", LIST.as_bytes()).await;
    let (bad, last) = lines(&answer);
    assert_eq!((bad.len(), &last["imported"], &last["duplicates"]), (1, &json!(2), &json!(1)), "{last}");
    let batch = last["batch"].as_str().expect("an id").to_owned();
    let joe = backstop.get("/v1/contacts/joe@example.org").await.json();
    assert_eq!((&joe["state"], &joe["suppressions"][0]["category"]), (&json!("bounced"), &json!("rejected")));
    let batches = backstop.get("/v1/batches").await.json();
    let listed = &batches["batches"][0];
    assert_eq!((&listed["batch"], &listed["entries"]), (&json!(batch), &json!(2)));
    assert_eq!(
        (&listed["source"], &listed["reason"], &listed["reverted"]),
        (&json!("old.csv"), &json!("moved"), &Value::Null)
    );

    let target = format!("/v1/batches/{batch}/revert");
    let (_, dry) = lines(&backstop.post(&format!("{target}?dry_run=true"), br#"{"reason": "r"}"#).await);
    assert_eq!(dry, json!({"batch": batch, "removed": 2, "dry_run": true}));
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["state"], "bounced");
    let (_, done) = lines(&backstop.post(&target, br#"{"reason": "wrong file"}"#).await);
    assert_eq!(done, json!({"batch": batch, "removed": 2, "dry_run": false}));
    let verdict = backstop.post("/v1/check", br#"["joe@example.org"]"#).await.json();
    assert_eq!(verdict[0]["suppressed"], false);
    assert_eq!(backstop.post(&target, br#"{"reason": "r"}"#).await.refused(), (409, "already".to_owned()));
    let unknown = format!("/v1/batches/{}/revert", "0".repeat(32));
    assert_eq!(backstop.post(&unknown, br#"{"reason": "r"}"#).await.refused(), (404, "not-found".to_owned()));
    assert_eq!(backstop.post("/v1/batches/x/revert", br#"{"reason": "r"}"#).await.refused().0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_imported_with_what_they_take() {
    let backstop = start().await;
    let (bad, last) = lines(&backstop.post("/v1/import?list=blocklist", b"example.com\njoe@example.org\n").await);
    assert_eq!((bad.len(), &last["imported"], &last["list"]), (0, &json!(2), &json!("blocklist")));
    // printf %s joe@example.net | sha256sum
    let hash = "sha256:8dfdbae2be1a7f6f4c21f4da4a4f7d0ff8f3bc3f4d7cd92c0a39f8c0d6a1d4a6\nexample.com\n";
    let (bad, last) = lines(&backstop.post("/v1/import?list=robinson", hash.as_bytes()).await);
    assert_eq!((bad.len(), &last["imported"]), (1, &json!(1)), "a domain is nothing for the Robinson list");
    assert_eq!(backstop.get("/v1/blocklist").await.json()["entries"].as_array().map(Vec::len), Some(2));
    assert_eq!(backstop.get("/v1/robinson").await.json()["entries"].as_array().map(Vec::len), Some(1));
    let verdict = backstop.post("/v1/check", br#"["ann@example.com"]"#).await.json();
    assert_eq!(verdict[0]["reason"], "blocklist");
}

/// Everything that keeps mail from somebody, as far as an import keeps it.
async fn suppressions(backstop: &Running) -> Vec<Vec<Value>> {
    let listed = backstop.get("/v1/suppressions?limit=10000").await.json();
    let short = |listed: &Value| {
        ["address", "scope", "category", "type", "code"].iter().map(|field| listed[*field].clone()).collect()
    };
    let mut short: Vec<Vec<Value>> = listed["suppressions"].as_array().expect("an array").iter().map(short).collect();
    short.sort_by_key(|row| row.iter().map(Value::to_string).collect::<String>());
    short
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_can_be_imported_elsewhere_and_suppresses_the_same() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.suppress_for("joe@example.org", "news.example.com").await;
    backstop.suppress_for("ann@example.org", "news.example.com").await;
    let body = br#"{"reason": "said \"no\", twice; by phone"}"#;
    backstop.post("/v1/contacts/bob@example.org/suppress", body).await.json();
    let want = suppressions(&backstop).await;
    assert_eq!(want.len(), 4);
    for accept in ["application/x-ndjson", "text/csv"] {
        let exported = backstop.send("GET", "/v1/export", &[("accept", accept)], b"").await;
        assert_eq!(exported.status, 200);
        let other = start().await;
        let (bad, last) = lines(&other.post("/v1/import", &exported.body).await);
        assert_eq!((bad.len(), &last["imported"]), (0, &json!(4)), "{accept}: {last}");
        assert_eq!(suppressions(&other).await, want, "{accept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_hashes_names_nobody_and_blocks_the_same_people_elsewhere() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let body = br#"{"reason": "joe@example.org called"}"#;
    backstop.post("/v1/contacts/joe@example.org/suppress", body).await.json();
    // printf %s joe@example.org | md5sum, sha1sum, sha256sum; printf %s pepperjoe@example.org | sha256sum
    for (query, want) in [
        ("hashed=md5", "md5:4efa9f57993995b10a03a415f0e62883"),
        ("hashed=sha1", "sha1:449a005c91ccc637c4cc8dae0985dc0326cffa2d"),
        ("hashed=sha256", "sha256:0eafd52010f0849542563f1bc3f0e52d7a1414353e1bc0eb6da7d9d3c4ba3646"),
        ("hashed=sha256&salt=pepper", "sha256:pepper:a4925029cdbcc2acc73eb4a6842d8538ccd49926d06c80f9a0a9ccfa9731bd0f"),
    ] {
        for accept in ["application/x-ndjson", "text/csv"] {
            let exported = backstop.send("GET", &format!("/v1/export?{query}"), &[("accept", accept)], b"").await;
            assert!(exported.text().contains(want), "{query}: {}", exported.text());
            assert!(!exported.text().contains("joe"), "{query}: {}", exported.text());
            let (bad, last) = lines(&backstop.post("/v1/import?list=robinson&dry_run=true", &exported.body).await);
            assert_eq!((bad.len(), &last["bad"]), (0, &json!(0)), "{query} {accept}: {}", exported.text());
            assert!(last["imported"].as_u64().is_some_and(|imported| imported > 0), "{last}");
        }
    }
    for query in ["hashed=crc32", "salt=x", "hashed=md5&salt=x", "hashed=sha256&salt=a%3ab", "what=everything"] {
        assert_eq!(backstop.get(&format!("/v1/export?{query}")).await.refused().0, 422, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_one_list_does_not_come_onto_the_robinson_list_by_a_hashed_export() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.suppress_for("ann@example.org", "news.example.com").await;
    for accept in ["application/x-ndjson", "text/csv"] {
        let hashed = backstop.send("GET", "/v1/export?hashed=sha256", &[("accept", accept)], b"").await;
        let (bad, last) = lines(&backstop.post("/v1/import?list=robinson", &hashed.body).await);
        assert_eq!((&last["imported"], &last["bad"]), (&json!(1), &json!(1)), "{accept}");
        let problem = bad[0]["problem"].as_str().expect("what is wrong");
        assert!(problem.contains("news.example.com alone"), "{problem}");
    }
    assert!(backstop.store.listed(&address_of("ann@example.org")).is_none());
    assert!(backstop.store.listed(&address_of("joe@example.org")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_all_says_of_each_line_where_it_is_from_and_no_import_reads_it() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let body = br#"{"entries": ["example.com"], "reason": "r"}"#;
    backstop.send("PUT", "/v1/blocklist", &[], body).await.json();
    let all = backstop.get("/v1/export?what=all").await;
    let what: Vec<Value> = all.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&what[0]["what"], &what[0]["address"]), (&json!("suppression"), &json!("joe@example.org")));
    assert_eq!((&what[1]["what"], &what[1]["subject"]), (&json!("blocklist"), &json!("example.com")));
    let csv = backstop.send("GET", "/v1/export?what=all", &[("accept", "text/csv")], b"").await;
    let columns: Vec<usize> = csv.text().lines().map(|line| line.split(',').count()).collect();
    assert_eq!(columns, [11, 11, 11], "{}", csv.text());
    for body in [all.body, csv.body] {
        let (bad, last) = lines(&backstop.post("/v1/import", &body).await);
        assert_eq!((&last["imported"], &last["batch"]), (&json!(0), &Value::Null), "who is blocked is not suppressed");
        let problem = bad[0]["problem"].as_str().expect("what is wrong");
        assert!(problem.starts_with("an export of all"), "{problem}");
    }
    let list = backstop.send("GET", "/v1/export?what=blocklist", &[("accept", "text/csv")], b"").await;
    assert!(list.text().starts_with("subject,since\r\nexample.com,"), "{}", list.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_undone_counts_as_if_it_had_never_been() {
    let backstop = start().await;
    let bounce = backstop.bounce("joe@example.org").await;
    let target = format!("/v1/events/{bounce}/void");
    let dry = backstop.post(&format!("{target}?dry_run=true"), br#"{"reason": "r"}"#).await.json();
    assert_eq!((&dry["before"], &dry["after"]), (&json!("bounced"), &json!("active")));
    assert_eq!((&dry["event"], &dry["kind"]), (&Value::Null, &json!("bounce")));
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["state"], "bounced");
    let done = backstop.post(&target, br#"{"reason": "a broken relay"}"#).await.json();
    assert_eq!((&done["before"], &done["after"]), (&json!("bounced"), &json!("active")));
    let void = done["event"].as_str().expect("an id");
    let events = backstop.store.events_after(None, 10).expect("readable");
    let found = events.iter().find(|event| event.id.to_string() == void).expect("it is on record");
    assert!(
        matches!(&found.what, What::Void { target, reason, .. } if *target == bounce && reason == "a broken relay")
    );
    for again in [target.clone(), format!("{target}?dry_run=true")] {
        assert_eq!(backstop.post(&again, br#"{"reason": "r"}"#).await.refused(), (409, "already".to_owned()));
    }
    for query in ["", "?dry_run=true"] {
        let undo = backstop.post(&format!("/v1/events/{void}/void{query}"), br#"{"reason": "r"}"#).await;
        assert_eq!(undo.refused(), (422, "invalid-value".to_owned()), "{query}");
    }
    let unknown = format!("/v1/events/{}/void", "0".repeat(32));
    assert_eq!(backstop.post(&unknown, br#"{"reason": "r"}"#).await.refused(), (404, "not-found".to_owned()));
    assert_eq!(backstop.post("/v1/events/x/void", br#"{"reason": "r"}"#).await.refused().0, 422);
    assert_eq!(backstop.post(&target, b"{}").await.refused().0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_erased_is_gone_and_stays_blocked_unless_told_otherwise() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let target = "/v1/contacts/joe@example.org";
    let reason = br#"{"reason": "asked for it"}"#;
    let dry = backstop.send("DELETE", &format!("{target}?dry_run=true"), &[], reason).await.json();
    assert_eq!((&dry["events"], &dry["hash_kept"], &dry["dry_run"]), (&json!(1), &json!(true), &json!(true)));
    let named = backstop.send("DELETE", target, &[], br#"{"reason": "Joe@example.org asked"}"#).await;
    assert_eq!(named.refused().0, 422, "the reason would stay");
    assert_eq!(backstop.store.figures().events, 1);

    let done = backstop.send("DELETE", target, &[], reason).await.json();
    assert_eq!((&done["events"], &done["hash_kept"], &done["dry_run"]), (&json!(1), &json!(true), &json!(false)));
    let contact = backstop.get(target).await.json();
    assert_eq!((&contact["erased"], &contact["responses"]), (&json!(true), &json!([])));
    let verdict = backstop.post("/v1/check", br#"["joe@example.org"]"#).await.json();
    assert_eq!((&verdict[0]["suppressed"], &verdict[0]["reason"]), (&json!(true), &json!("suppressed")));

    let events = backstop.store.figures().events;
    for (method, what, body) in [
        ("PUT", "attributes", r#"{"locale": "de"}"#),
        ("PUT", "limit", r#"{"messages": 1, "window": "1d"}"#),
        ("POST", "suppress", r#"{"reason": "r"}"#),
    ] {
        let answer = backstop.send(method, &format!("{target}/{what}"), &[], body.as_bytes()).await;
        assert_eq!(answer.refused(), (409, "erased".to_owned()), "{what}");
    }
    let listed = br#"{"entries": ["joe@example.org"], "reason": "r"}"#;
    assert_eq!(backstop.send("PUT", "/v1/blocklist", &[], listed).await.refused().0, 422);
    assert_eq!(backstop.store.figures().events, events, "nothing is kept of whom was erased");

    backstop.send("DELETE", &format!("{target}?keep_hash=false"), &[], reason).await.json();
    assert_eq!(backstop.get(target).await.refused().0, 404);
    let verdict = backstop.post("/v1/check", br#"["joe@example.org"]"#).await.json();
    assert_eq!(verdict[0]["suppressed"], false);
}
