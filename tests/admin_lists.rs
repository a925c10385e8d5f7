//! Asks the admin socket for what operators and their programs tell: attributes, limits, signs of life, lists.

mod support_admin;

use backstop::policy::What;
use serde_json::{Value, json};
use support_admin::*;

#[tokio::test(flavor = "multi_thread")]
async fn attributes_are_set_whole_and_kept_as_text() {
    let backstop = start().await;
    let target = "/v1/contacts/joe@example.org/attributes";
    let answer = backstop.send("PUT", target, &[], br#"{"locale": "de", "age": 7, "vip": true}"#).await.json();
    assert_eq!(answer["attributes"], json!({"locale": "de", "age": "7", "vip": "true"}));
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["attributes"], answer["attributes"]);
    let dry = format!("{target}?dry_run=true");
    assert_eq!(backstop.send("PUT", &dry, &[], b"{}").await.json()["event"], Value::Null);
    backstop.send("PUT", target, &[], br#"{"first_name": "Joe"}"#).await.json();
    let contact = backstop.get("/v1/contacts/joe@example.org").await.json();
    assert_eq!((&contact["attributes"], &contact["state"]), (&json!({"first_name": "Joe"}), &json!("active")));
    assert_eq!(backstop.store.figures().events, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_cannot_be_kept_are_refused_by_name() {
    let backstop = start().await;
    let many: String = (0..65).map(|number| format!("\"n{number}\": 1,")).collect();
    let many = format!("{{{}}}", many.trim_end_matches(','));
    let long = format!("{{\"motto\": \"{}\"}}", "x".repeat(257));
    let name = format!("{{\"{}\": 1}}", "n".repeat(65));
    for (body, named) in [
        (r#"{"first name": "Joe"}"#, "first name"),
        (r#"{"": "Joe"}"#, "letters"),
        (r#"{"tags": ["a"]}"#, "`tags`"),
        (r#"{"locale": null}"#, "`locale`"),
        (&long, "`motto`"),
        (&name, "at most 64"),
        (&many, "65 attributes"),
        (r#"["locale"]"#, "map"),
    ] {
        let answer = backstop.send("PUT", "/v1/contacts/joe@example.org/attributes", &[], body.as_bytes()).await;
        assert_eq!(answer.refused(), (422, "invalid-value".to_owned()), "{body}");
        assert!(answer.text().contains(named), "{body}: {}", answer.text());
    }
    assert_eq!(backstop.store.figures().events, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contacts_own_limit_is_set_and_taken_away() {
    let backstop = start().await;
    let target = "/v1/contacts/joe@example.org/limit";
    let set = backstop.send("PUT", target, &[], br#"{"messages": 3, "window": "24h"}"#).await.json();
    assert_eq!(set["limit"], json!({"messages": 3, "window": "1d"}));
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["limit"], set["limit"]);
    assert_eq!(backstop.send("PUT", target, &[], b"null").await.json()["limit"], Value::Null);
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["limit"], Value::Null);
    for (body, named) in [
        (r#"{"messages": 0, "window": "1d"}"#, "`messages`"),
        (r#"{"messages": 3, "window": "soon"}"#, "`window`"),
        (r#"{"messages": 3, "window": "90d"}"#, "`window`"),
        (r#"{"messages": -3, "window": "1d"}"#, "u32"),
        (r#"{"messages": 3}"#, "window"),
    ] {
        let answer = backstop.send("PUT", target, &[], body.as_bytes()).await;
        assert_eq!(answer.refused().0, 422, "{body}");
        assert!(answer.text().contains(named), "{body}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_of_life_counts_once_and_only_where_it_can_change_something() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let one = br#"{"address": "joe@example.org", "campaign": "77", "level": "click", "at": "2026-01-02T03:04:05Z"}"#;
    let dry = backstop.post("/v1/activity?dry_run=true", one).await.json();
    assert_eq!(dry, json!({"recorded": 1, "known": 0, "ignored": 0, "dry_run": true}));
    let first = backstop.post("/v1/activity", one).await.json();
    assert_eq!(first, json!({"recorded": 1, "known": 0, "ignored": 0, "dry_run": false}));
    let many = br#"[
        {"address": "Joe@Example.org", "campaign": "77", "level": 2, "at": "2026-01-02T03:04:05Z"},
        {"address": "joe@example.org", "campaign": "77", "level": 3, "at": "2026-01-02T03:04:05Z"},
        {"address": "new@example.org", "level": 5}
    ]"#;
    let answer = backstop.post("/v1/activity", many).await.json();
    assert_eq!(answer, json!({"recorded": 1, "known": 1, "ignored": 1, "dry_run": false}));
    let events = backstop.store.events_of(&address_of("joe@example.org"), 10).expect("readable");
    let levels = events.iter().filter(|event| matches!(event.what, What::Activity { .. }));
    assert_eq!(levels.count(), 2);
    assert_eq!(backstop.get("/v1/contacts/new@example.org").await.refused().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_that_cannot_be_are_refused_all_together() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    for (body, named) in [
        (r#"{"address": "joe@example.org", "level": "glance"}"#, "machine-open"),
        (r#"{"address": "joe@example.org", "level": 6}"#, "0 to 5"),
        (r#"{"address": "joe@example.org"}"#, "level"),
        (r#"{"address": "joe", "level": 1}"#, "`address`"),
        (r#"{"address": "joe@example.org", "level": 1, "at": "2999-01-01T00:00:00Z"}"#, "`at`"),
        (r#"{"address": "joe@example.org", "level": 1, "campaign": ""}"#, "`campaign`"),
        (r#"{"address": "joe@example.org", "level": 1, "when": "now"}"#, "when"),
        (r#"[{"address": "joe@example.org", "level": 1}, {"address": "x", "level": 1}]"#, "[1]"),
    ] {
        let answer = backstop.post("/v1/activity", body.as_bytes()).await;
        assert_eq!(answer.refused().0, 422, "{body}: {}", answer.text());
        assert!(answer.text().contains(named), "{body}: {}", answer.text());
    }
    let too_many = format!("[{}]", vec![r#"{"address":"joe@example.org","level":1}"#; 10_001].join(","));
    assert!(backstop.post("/v1/activity", too_many.as_bytes()).await.text().contains("at most 10000"));
    assert_eq!(backstop.store.figures().events, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_on_a_list_and_off_it_and_say_whether_anything_changed() {
    let backstop = start().await;
    let body = br#"{"entries": ["Joe@Example.ORG", "example.com", "*.example.net", "joe@example.org"], "reason": "r"}"#;
    let dry = backstop.send("PUT", "/v1/blocklist?dry_run=true", &[], body).await.json();
    assert_eq!((&dry["changed"], &dry["unchanged"], &dry["dry_run"]), (&json!(3), &json!(0), &json!(true)));
    let added = backstop.send("PUT", "/v1/blocklist", &[], body).await.json();
    let want = json!({"list": "blocklist", "action": "add", "dry_run": false, "changed": 3, "unchanged": 0, "bad": []});
    assert_eq!(added, want);
    let again = backstop.send("PUT", "/v1/blocklist", &[], body).await.json();
    assert_eq!((&again["changed"], &again["unchanged"]), (&json!(0), &json!(3)));

    let entries = |answer: &Value| -> Vec<String> {
        let entries = answer["entries"].as_array().expect("an array").iter();
        entries.map(|entry| entry["entry"].as_str().expect("a text").to_owned()).collect()
    };
    let mut listed = entries(&backstop.get("/v1/blocklist").await.json());
    listed.sort();
    assert_eq!(listed, [".example.net", "example.com", "joe@example.org"]);
    let page = backstop.get("/v1/blocklist?limit=2").await.json();
    let next = page["next"].as_str().expect("there is more").replace('@', "%40");
    let rest = backstop.get(&format!("/v1/blocklist?limit=2&cursor={next}")).await.json();
    assert_eq!((entries(&page).len(), entries(&rest).len(), &rest["next"]), (2, 1, &Value::Null));
    assert_eq!(backstop.get("/v1/blocklist?cursor=no%20entry").await.refused().0, 422);
    let csv = backstop.send("GET", "/v1/blocklist", &[("accept", "text/csv")], b"").await;
    assert!(csv.text().starts_with("entry,since,event,batch\r\n"), "{}", csv.text());
    assert_eq!(csv.text().lines().count(), 4);
    let lines = backstop.send("GET", "/v1/blocklist", &[("accept", "application/x-ndjson")], b"").await;
    assert_eq!(lines.text().lines().count(), 3);

    let addresses = br#"["joe@example.org", "ann@example.com", "ann@a.example.net", "ann@example.net"]"#;
    let verdicts = backstop.post("/v1/check", addresses).await.json();
    let reasons: Vec<&Value> = verdicts.as_array().expect("an array").iter().map(|one| &one["reason"]).collect();
    assert_eq!(reasons, [&json!("blocklist"), &json!("blocklist"), &json!("blocklist"), &Value::Null]);
    let ann = backstop.get("/v1/contacts/ann@example.com").await.json();
    assert_eq!((&ann["lists"][0]["list"], &ann["lists"][0]["entry"]), (&json!("blocklist"), &json!("example.com")));

    let off = br#"{"entries": ["example.com", "other.example"], "reason": "a mistake"}"#;
    let removed = backstop.send("DELETE", "/v1/blocklist", &[], off).await.json();
    assert_eq!((&removed["changed"], &removed["unchanged"]), (&json!(1), &json!(1)));
    assert_eq!(backstop.get("/v1/contacts/ann@example.com").await.refused().0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_robinson_list_takes_hashes_and_knows_whose_they_are() {
    let backstop = start().await;
    // printf %s joe@example.org | md5sum; printf %s pepperjoe@example.org | sha256sum
    let md5 = "4efa9f57993995b10a03a415f0e62883";
    let salted = "sha256:pepper:a4925029cdbcc2acc73eb4a6842d8538ccd49926d06c80f9a0a9ccfa9731bd0f";
    let body = json!({"entries": [md5.to_uppercase(), salted], "reason": "list of 2026"}).to_string();
    assert_eq!(backstop.send("PUT", "/v1/robinson", &[], body.as_bytes()).await.json()["changed"], 2);
    assert_eq!(backstop.send("PUT", "/v1/robinson", &[], body.as_bytes()).await.json()["unchanged"], 2);
    let verdicts = backstop.post("/v1/check", br#"["JOE@example.org", "ann@example.org"]"#).await.json();
    assert_eq!((&verdicts[0]["reason"], &verdicts[1]["reason"]), (&json!("robinson"), &Value::Null));
    let off = json!({"entries": [md5], "reason": "a mistake"}).to_string();
    assert_eq!(backstop.send("DELETE", "/v1/robinson", &[], off.as_bytes()).await.json()["changed"], 1);
    let joe = backstop.get("/v1/contacts/joe@example.org").await.json();
    assert_eq!(joe["lists"].as_array().map(Vec::len), Some(1));
    assert_eq!(joe["lists"][0]["entry"], salted);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_used_is_told_and_the_others_go_in() {
    let backstop = start().await;
    let hash = "4efa9f57993995b10a03a415f0e62883";
    for (list, bad) in [("blocklist", hash), ("robinson", "example.com"), ("blocklist", "two words")] {
        let body = json!({"entries": ["joe@example.org", bad], "reason": "r"}).to_string();
        let answer = backstop.send("PUT", &format!("/v1/{list}?dry_run=true"), &[], body.as_bytes()).await.json();
        assert_eq!((&answer["changed"], &answer["bad"][0]["entry"]), (&json!(1), &json!(bad)), "{list} {bad}");
        let alone = json!({"entries": [bad], "reason": "r"}).to_string();
        let refused = backstop.send("PUT", &format!("/v1/{list}"), &[], alone.as_bytes()).await;
        assert_eq!(refused.refused().0, 422, "{list} {bad}");
        assert!(refused.text().contains("`entries`"), "{}", refused.text());
    }
    for body in [r#"{"entries": [], "reason": "r"}"#, r#"{"entries": ["a@example.org"], "reason": " "}"#] {
        assert_eq!(backstop.send("PUT", "/v1/blocklist", &[], body.as_bytes()).await.refused().0, 422, "{body}");
    }
}
