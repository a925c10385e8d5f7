//! `/v1/openapi.json` beside the running server: every request is asked as it is described, and what is answered
//! is held against its schema, whatever the type.

#[path = "common/schema.rs"]
mod schema;
mod support_admin;

use backstop::policy::{SkipReason, What};
use schema::Schemas;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use support_admin::*;

/// What needs a hook to tell: `tests/hooks.rs` asks it.
const ELSEWHERE: [(&str, &str); 2] = [("POST", "/v1/hooks/{hook}/test"), ("POST", "/v1/hooks/{hook}/skip")];

/// Requests that are answered with success, in this order: later ones see what earlier ones did. Words in braces
/// in a target stand for ids, see [`Ids`].
const CALLS: &[(&str, &str, &str, &str)] = &[
    ("GET", "/v1/status", "", ""),
    ("GET", "/v1/openapi.json", "", ""),
    ("GET", "/v1/policy", "", ""),
    ("GET", "/metrics", "", ""),
    ("PUT", "/v1/contacts/{address}/attributes", "joe@example.org", r#"{"locale": "de", "age": 40, "vip": true}"#),
    ("PUT", "/v1/contacts/{address}/limit", "joe@example.org", r#"{"messages": 3, "window": "1d"}"#),
    ("PUT", "/v1/contacts/{address}/limit", "ann@example.org?dry_run=true", "null"),
    (
        "POST",
        "/v1/contacts/{address}/suppress",
        "ann@example.org",
        r#"{"scope": "news.example.com", "reason": "asked"}"#,
    ),
    ("POST", "/v1/contacts/{address}/suppress", "eve@example.org", r#"{"reason": "asked"}"#),
    ("POST", "/v1/contacts/{address}/reactivate", "eve@example.org?dry_run=true", r#"{"reason": "asked"}"#),
    (
        "PUT",
        "/v1/blocklist",
        "",
        r#"{"entries": ["joe@example.org", ".example.com", "nonsense"], "reason": "spam traps"}"#,
    ),
    (
        "PUT",
        "/v1/robinson",
        "",
        r#"{"entries": ["md5:0123456789abcdef0123456789abcdef"], "reason": "the list of May"}"#,
    ),
    ("GET", "/v1/blocklist", "?limit=1", ""),
    ("GET", "/v1/blocklist", "?domain=example.com&since=2000-01-01T00:00:00Z&until=2999-01-01T00:00:00Z", ""),
    ("GET", "/v1/robinson", "", ""),
    ("POST", "/v1/ingest", "", "{bounce}"),
    ("POST", "/v1/ingest", "?at=2026-08-21T03:00:00Z", "From: joe@example.org\r\n\r\nhello\r\n"),
    ("POST", "/v1/classify", "", "{bounce}"),
    ("POST", "/v1/events/{event}/confirm", "{unverified}?dry_run=true", r#"{"reason": "seen in the log"}"#),
    ("POST", "/v1/confirm", "", r#"{"reason": "seen in the log", "authority": "unverified"}"#),
    (
        "POST",
        "/v1/import",
        "?source=may.csv",
        "address,category,code\r\nimp@example.org,rejected,5.1.1\r\nnonsense,,\r\n",
    ),
    ("POST", "/v1/import", "?list=robinson&reason=again&dry_run=true", "max@example.org\n"),
    ("POST", "/v1/activity", "", r#"{"address": "joe@example.org", "level": "human-click", "campaign": "77"}"#),
    (
        "POST",
        "/v1/activity",
        "?dry_run=1",
        r#"[{"address": "joe@example.org", "level": 2, "at": "2026-01-01T00:00:00Z"}]"#,
    ),
    ("GET", "/v1/campaigns", "?limit=1&since=2000-01-01T00:00:00Z&until=2999-01-01T00:00:00Z", ""),
    ("GET", "/v1/report/providers", "", ""),
    ("GET", "/v1/report/days", "?since=2026-08-01T00:00:00Z&until=2026-08-21T00:00:00Z", ""),
    ("GET", "/v1/hooks", "", ""),
    ("GET", "/v1/contacts/{address}", "joe@example.org", ""),
    ("GET", "/v1/contacts/{address}", "ann@example.org", ""),
    ("GET", "/v1/contacts/{address}", "imp@example.org", ""),
    ("GET", "/v1/contacts/{address}/explain", "joe@example.org?campaign=77", ""),
    ("GET", "/v1/contacts/{address}/explain", "ann@example.org?list=news.example.com", ""),
    ("GET", "/v1/contacts/{address}/explain", "imp@example.org", ""),
    ("GET", "/v1/contacts/{address}/explain", "gone@example.net", ""),
    (
        "POST",
        "/v1/check",
        "?list=news.example.com",
        r#"["joe@example.org", "ann@example.org", "{{email}}", "new@example.org"]"#,
    ),
    ("GET", "/v1/suppressions", "?limit=1", ""),
    ("GET", "/v1/suppressions", "?scope=system&category=rejected&domain=example.org&since=2000-01-01T00:00:00Z", ""),
    ("GET", "/v1/suppressions", "", ""),
    ("GET", "/v1/export", "?what=all", ""),
    ("GET", "/v1/export", "", ""),
    ("GET", "/v1/export", "?what=all&hashed=sha256&salt=pepper", ""),
    ("GET", "/v1/export", "?what=blocklist", ""),
    ("GET", "/v1/batches", "", ""),
    ("GET", "/v1/campaigns/{campaign}", "77", ""),
    ("GET", "/v1/campaigns/{campaign}/responses", "77", ""),
    ("POST", "/v1/events/{event}/void", "{skipless}", r#"{"reason": "an accident of the provider"}"#),
    ("POST", "/v1/batches/{batch}/revert", "{batch}", r#"{"reason": "the wrong file"}"#),
    (
        "DELETE",
        "/v1/contacts/{address}",
        "eve@example.org?keep_hash=false&dry_run=true",
        r#"{"reason": "asked for it"}"#,
    ),
    ("DELETE", "/v1/contacts/{address}", "eve@example.org", r#"{"reason": "asked for it"}"#),
    ("GET", "/v1/contacts/{address}", "eve@example.org", ""),
    ("GET", "/v1/contacts/{address}/explain", "eve@example.org", ""),
    ("DELETE", "/v1/blocklist", "", r#"{"entries": ["joe@example.org"], "reason": "a mistake"}"#),
    ("DELETE", "/v1/robinson", "?dry_run=true", r#"{"entries": ["max@example.org"], "reason": "a mistake"}"#),
    ("GET", "/v1/events", "?limit=2", ""),
    ("GET", "/v1/events", "", ""),
    ("POST", "/v1/rebuild", "", ""),
    ("POST", "/v1/compact", "", ""),
    ("POST", "/v1/compact", "?dry_run=true", ""),
    ("POST", "/v1/rebuild", "?dry_run=true&reason=why", ""),
    ("POST", "/v1/backup", "?reason=nightly", ""),
    ("GET", "/v1/db", "", ""),
    ("GET", "/v1/status", "", ""),
];

/// What the words in braces stand for.
struct Ids<'a> {
    backstop: &'a Running,
    bounced: String,
}

impl Ids<'_> {
    /// A target or a body with the ids that are on record by now.
    fn put_in(&self, text: &str) -> String {
        let mut text =
            text.replace("{bounce}", std::str::from_utf8(BOUNCE).expect("ASCII")).replace("{skipless}", &self.bounced);
        for (word, wanted) in [("{batch}", "import"), ("{unverified}", "bounce")] {
            if text.contains(word) {
                let events = self.backstop.store.events_after(None, 1000).expect("readable");
                let last = events.iter().rev().find(|event| event.what.name() == wanted).expect("made before");
                text = text.replace(word, &last.id.to_string());
            }
        }
        text
    }
}

fn operations(document: &Value) -> BTreeMap<(String, String), &Value> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |(path, methods): (&String, &'_ Value)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    let all = paths.iter().flat_map(methods);
    all.map(|(method, path)| {
        let operation = &document["paths"][&path][method.to_lowercase()];
        ((method, path), operation)
    })
    .collect()
}

/// The target of an operation: the template's braces filled from the first piece of `rest`.
fn target(path: &str, rest: &str) -> String {
    match (path.find('{'), path.find('}')) {
        (Some(from), Some(to)) => {
            let (segment, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
            format!("{}{}{}{query}", &path[..from], segment.replace('@', "%40"), &path[to + 1..])
        }
        _ => format!("{path}{rest}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_as_it_is_described() {
    let backstop = start().await;
    let document = backstop.get("/v1/openapi.json").await.json();
    let (schemas, operations) = (Schemas(&document), operations(&document));
    let skip = What::Skip {
        reason: SkipReason::MissingInfo,
        category: None,
        scope: None,
        limit: None,
        campaign: Some(backstop::report::Campaign("77".to_owned())),
        list: None,
        forward_path: None,
        shadow: true,
    };
    backstop.record("joe@example.org", a_minute_ago(), skip).await;
    let ids = Ids { backstop: &backstop, bounced: backstop.bounce("joe@example.org").await.to_string() };
    let called: BTreeSet<(String, String)> =
        CALLS.iter().map(|(method, path, ..)| (*method, *path)).chain(ELSEWHERE).map(owned).collect();
    assert_eq!(called, operations.keys().cloned().collect(), "each request stands in CALLS");
    for (method, path, rest, body) in CALLS {
        let operation = operations[&((*method).to_owned(), (*path).to_owned())];
        let (target, body) = (target(path, &ids.put_in(rest)), ids.put_in(body));
        if let Some(described) = operation.pointer("/requestBody/content/application~1json/schema") {
            let body = serde_json::from_str(&body).expect("a JSON body");
            schemas.check(described, &body).unwrap_or_else(|problem| panic!("body of {method} {target}: {problem}"));
        }
        for (media_type, described) in operation["responses"]["200"]["content"].as_object().expect("answers") {
            let answer = backstop.send(method, &target, &[("accept", media_type)], body.as_bytes()).await;
            let context = format!("{method} {target} as {media_type}: {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(answer.status, 200, "{context}");
            let told = answer.headers["content-type"].to_str().expect("text");
            assert_eq!(told.split(';').next(), Some(media_type.as_str()), "{context}");
            let schema = &described["schema"];
            let check =
                |value: &Value| schemas.check(schema, value).unwrap_or_else(|problem| panic!("{problem}: {context}"));
            match media_type.as_str() {
                "application/json" => check(&answer.json()),
                "application/x-ndjson" => {
                    let lines = answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON"));
                    lines.collect::<Vec<Value>>().iter().for_each(check);
                }
                "text/csv" => {
                    let widths: BTreeSet<usize> = answer.text().lines().map(|line| line.matches(',').count()).collect();
                    assert_eq!(widths.len(), 1, "{context}");
                }
                _ => assert!(!answer.body.is_empty(), "{context}"),
            }
        }
    }
}

fn owned((method, path): (&str, &str)) -> (String, String) {
    (method.to_owned(), path.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_takes_the_parameters_that_are_described_and_no_other() {
    let backstop = start().await;
    let document = backstop.get("/v1/openapi.json").await.json();
    for ((method, path), operation) in operations(&document) {
        let described: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        // A scraper may send what it likes.
        if path == "/metrics" {
            continue;
        }
        let segment = if path.contains("{address}") { "joe@example.org" } else { "01a2025760cb4927eb52000000100001" };
        let target = target(&path, &format!("{}?nonsense=1", if path.contains('{') { segment } else { "" }));
        let answer = backstop.send(&method, &target, &[], b"").await;
        assert_eq!(answer.refused(), (422, "invalid-value".to_owned()), "{method} {target}: {}", answer.text());
        let json = answer.json();
        let message = json["error"]["message"].as_str().expect("text").to_owned();
        let (_, taken) = message.split_once("it takes ").unwrap_or_else(|| panic!("{method} {target}: {message}"));
        let taken: BTreeSet<&str> = taken.split(", ").filter(|name| *name != "none").collect();
        assert_eq!(taken, described, "{method} {target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_described_and_has_the_shape_of_one() {
    let backstop = start().await;
    let document = backstop.get("/v1/openapi.json").await.json();
    let schemas = Schemas(&document);
    for ((method, path), operation) in operations(&document) {
        let fill = |segment: &str| target(&path, if path.contains('{') { segment } else { "" });
        let attempts = [
            (fill("%ff"), "application/json", "{}"),
            (fill("nobody%40example.org"), "application/json", "{\"reason\": "),
            (fill("00000000000000000000000000000000"), "application/json", "[[[[\"\u{1f41e}\"]]]]"),
            (fill("%00"), "image/png", "null"),
            (fill("x") + "?limit=0&limit=%ff", "*/*", "{\"reason\": 5}"),
            (fill("x") + "?since=soon", "text/csv", "{\"reason\": \"two\\nlines\"}"),
        ];
        for (target, accept, body) in attempts {
            let answer = backstop.send(&method, &target, &[("accept", accept)], body.as_bytes()).await;
            if answer.status == 200 {
                continue;
            }
            let context = format!("{method} {target}: {}: {}", answer.status, answer.text());
            let described = &operation["responses"][answer.status.as_str()]["$ref"];
            let response = schemas.resolve(described.as_str().unwrap_or_else(|| panic!("not described: {context}")));
            let schema = &response["content"]["application/json"]["schema"];
            schemas.check(schema, &answer.json()).unwrap_or_else(|problem| panic!("{problem}: {context}"));
            answer.refused();
        }
    }
    for (method, target, want) in
        [("GET", "/v2/status", (404, "unknown-request")), ("PATCH", "/v1/status", (405, "wrong-method"))]
    {
        let (status, code) = backstop.send(method, target, &[], b"").await.refused();
        assert_eq!((status, code.as_str()), want, "{method} {target}");
    }
}

#[test]
fn the_validator_of_these_tests_finds_what_is_wrong() {
    let document = json!({ "components": { "schemas": { "Name": { "type": "string", "minLength": 1 } } } });
    let schemas = Schemas(&document);
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "$ref": "#/components/schemas/Name" },
            "at": { "type": ["string", "null"], "format": "date-time" },
            "kind": { "enum": ["a", "b"] },
        },
        "required": ["name"],
    });
    for (value, want) in [
        (json!({ "name": "x", "at": null, "kind": "a" }), ""),
        (json!({ "name": "x", "at": "2026-01-01T00:00:00Z" }), ""),
        (json!({ "at": null }), "name is missing"),
        (json!({ "name": "" }), "minLength"),
        (json!({ "name": 5 }), "type"),
        (json!({ "name": "x", "at": "soon" }), "format"),
        (json!({ "name": "x", "kind": "c" }), "enum"),
        (json!({ "name": "x", "nmae": "y" }), "nmae is in no schema"),
        (json!("x"), "type"),
    ] {
        let problem = schemas.check(&schema, &value).err().unwrap_or_default();
        assert!(if want.is_empty() { problem.is_empty() } else { problem.contains(want) }, "{value}: {problem}");
    }
}
