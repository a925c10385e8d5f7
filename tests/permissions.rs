//! Who may ask, who may change, and that every change is an event with who made it and why.
//!
//! The users are real ones: a child runs under each user id, and the server looks its groups up in the user
//! database. That is one of our own, laid over `/etc/passwd` and `/etc/group` in a mount namespace, so that
//! nothing on the machine is changed. Without root, or where no namespace can be had, that part is skipped, and
//! says so.

mod support_admin;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use support_admin::{BOUNCE, Running, start, start_with};

const WRITERS: &str = "backstop-test-admin";
const READERS: &str = "backstop-test-read";
const WRITERS_ID: u32 = 64_201;
const READERS_ID: u32 = 64_202;
const NOBODYS_ID: u32 = 64_203;

/// User id, group it comes with, groups the database adds, and what it may do: write, read or nothing.
const PEOPLE: [(u32, u32, &[&str], &str); 9] = [
    (64_101, WRITERS_ID, &[], "write"),
    (64_102, NOBODYS_ID, &[WRITERS], "write"),
    (64_103, READERS_ID, &[], "read"),
    (64_104, NOBODYS_ID, &[READERS], "read"),
    (64_105, READERS_ID, &[WRITERS], "write"),
    (64_106, NOBODYS_ID, &[READERS, WRITERS], "write"),
    (64_107, NOBODYS_ID, &[], "nothing"),
    (64_108, NOBODYS_ID, &["backstop-test-others"], "nothing"),
    (0, 0, &[], "write"),
];
/// Of no name in the database.
const UNKNOWN: u32 = 64_199;

/// Set in the process that has a user database of its own.
const INSIDE: &str = "BACKSTOP_TEST_INSIDE";
/// What a child is to ask, and where.
const ASK: &str = "BACKSTOP_TEST_ASK";

/// Every request that may be asked by a reader.
const QUESTIONS: [&str; 16] = [
    "/v1/status",
    "/v1/contacts/joe@example.org",
    "/v1/contacts/joe@example.org/explain",
    "/v1/suppressions",
    "/v1/policy",
    "/v1/campaigns/77",
    "/v1/campaigns/77/responses",
    "/v1/blocklist",
    "/v1/robinson",
    "/v1/export",
    "/v1/batches",
    "/v1/events",
    "/v1/db",
    "/metrics",
    "/v1/nothing-like-this",
    "/v1/events?since=2026-01-01T00:00:00Z",
];

/// Every request that changes something or takes all there is: method, target, body, and the event it makes. ID
/// stands for an event, BATCH for a batch.
fn changes() -> Vec<(&'static str, String, String, Option<&'static str>)> {
    let why = |number: usize| json!({"reason": format!("because of {number}")}).to_string();
    let entries =
        |number: usize, entry: &str| json!({"reason": format!("because of {number}"), "entries": [entry]}).to_string();
    let to = |text: &str| text.to_owned();
    vec![
        ("POST", to("/v1/contacts/joe@example.org/suppress"), why(0), Some("suppress")),
        ("POST", to("/v1/contacts/joe@example.org/reactivate"), why(1), Some("reactivate")),
        (
            "PUT",
            to("/v1/contacts/joe@example.org/attributes?reason=because%20of%202"),
            to(r#"{"tier": "gold"}"#),
            Some("attributes"),
        ),
        (
            "PUT",
            to("/v1/contacts/joe@example.org/limit?reason=because%20of%203"),
            to(r#"{"messages": 3, "window": "1d"}"#),
            Some("limit"),
        ),
        ("PUT", to("/v1/blocklist"), entries(4, "bad.example"), Some("list-add")),
        ("DELETE", to("/v1/blocklist"), entries(5, "bad.example"), Some("list-remove")),
        ("PUT", to("/v1/robinson"), entries(6, "ann@example.org"), Some("list-add")),
        ("DELETE", to("/v1/robinson"), entries(7, "ann@example.org"), Some("list-remove")),
        ("POST", to("/v1/import?reason=because%20of%208"), to("old@example.org\n"), Some("import")),
        ("POST", to("/v1/batches/BATCH/revert"), why(9), Some("revert")),
        (
            "POST",
            to("/v1/activity?reason=because%20of%2010"),
            to(r#"{"address": "joe@example.org", "level": 5}"#),
            Some("activity"),
        ),
        ("POST", to("/v1/events/UNVERIFIED/confirm"), why(11), Some("confirm")),
        ("POST", to("/v1/events/ID/void"), why(12), Some("void")),
        (
            "POST",
            to("/v1/confirm"),
            json!({"reason": "because of 13", "domain": "example.net"}).to_string(),
            Some("confirm"),
        ),
        ("DELETE", to("/v1/contacts/gone@example.org"), why(14), Some("erase")),
        ("POST", to("/v1/rebuild?reason=because%20of%2015"), String::new(), None),
        ("POST", to("/v1/compact?reason=because%20of%2016"), String::new(), None),
        ("POST", to("/v1/backup?reason=because%20of%2017"), String::new(), None),
        ("POST", to("/v1/ingest"), String::from_utf8(BOUNCE.to_vec()).expect("ASCII"), None),
    ]
}

/// Puts the ids into a target.
async fn filled(target: &str, running: &Running) -> String {
    let events = events(running).await;
    let last = |kind: &str| {
        let found = events.iter().rev().find(|event| event["event"] == kind);
        found.map_or("0".repeat(32), |event| event["id"].as_str().expect("an id").to_owned())
    };
    let unverified = events.iter().find(|event| event["authority"] == "unverified");
    let unverified = unverified.map_or("0".repeat(32), |event| event["id"].as_str().expect("an id").to_owned());
    let target = target.replace("BATCH", &last("import")).replace("UNVERIFIED", &unverified);
    target.replace("ID", &last("confirm"))
}

async fn events(running: &Running) -> Vec<Value> {
    let answer = running.get("/v1/events").await;
    answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// A store with something of every kind to be changed.
async fn prepared(running: &Running) {
    running.bounce("joe@example.org").await;
    running.bounce("gone@example.org").await;
    assert_eq!(running.post("/v1/ingest", BOUNCE).await.status, 200);
    assert!(events(running).await.iter().any(|event| event["authority"] == "unverified"));
}

/// Makes every change, asked as `ask` does it, and looks at the events that it makes. `uid` is whose they are.
async fn every_change(running: &Running, uid: u32, ask: &dyn Fn(&str, &str, &str) -> (u16, String)) {
    for (number, (method, target, body, kind)) in changes().into_iter().enumerate() {
        let target = filled(&target, running).await;
        let before = events(running).await;
        if !["/v1/backup", "/v1/ingest"].iter().any(|other| target.starts_with(other)) {
            let dry = format!("{target}{}dry_run=true", if target.contains('?') { '&' } else { '?' });
            let (status, text) = tokio::task::block_in_place(|| ask(method, &dry, &body));
            assert_eq!(status, 200, "{method} {dry}: {text}");
            assert!(text.contains("\"dry_run\":true"), "{method} {dry}: {text}");
            assert_eq!(events(running).await, before, "{method} {dry} changes nothing");
        }
        let (status, text) = tokio::task::block_in_place(|| ask(method, &target, &body));
        assert_eq!(status, 200, "{method} {target}: {text}");
        assert!(!text.contains("\"error\":{\"code\""), "{method} {target}: {text}");
        let known: BTreeSet<&str> = before.iter().filter_map(|event| event["id"].as_str()).collect();
        let made: Vec<Value> = events(running).await;
        let made: Vec<&Value> =
            made.iter().filter(|event| !known.contains(event["id"].as_str().expect("an id"))).collect();
        let Some(kind) = kind else {
            assert_eq!(made, Vec::<&Value>::new(), "{method} {target}");
            continue;
        };
        let of_kind: Vec<_> = made.iter().filter(|event| event["event"] == kind).collect();
        assert_eq!(of_kind.len(), 1, "{method} {target}: {made:?}");
        assert_eq!(of_kind[0]["uid"], uid, "{method} {target}");
        assert_eq!(of_kind[0]["reason"], format!("because of {number}"), "{method} {target}");
        // What else was made is what the import brought.
        assert!(made.iter().all(|event| event["event"] == kind || event["event"] == "imported"), "{made:?}");
    }
    let done = running.run(&["events"]).await;
    let told = support_admin::stdout(&done);
    for (number, (_, target, _, kind)) in changes().into_iter().enumerate() {
        if let Some(kind) = kind {
            let line =
                told.lines().find(|line| line.contains(kind) && line.ends_with(&format!("reason=because of {number}")));
            assert!(line.is_some_and(|line| line.contains(&format!("uid={uid} "))), "{target}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_an_event_with_who_made_it_and_why() {
    let running = start().await;
    prepared(&running).await;
    let socket = running.socket.clone();
    let uid = nix::unistd::geteuid().as_raw();
    every_change(&running, uid, &|method, target, body| ask(&socket, method, target, body)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_names_who_kept_mail_from_a_contact_and_why() {
    let running = start().await;
    let uid = nix::unistd::geteuid().as_raw();
    let to = "/v1/contacts/ann@example.org/suppress";
    running.post(to, br#"{"reason": "asked by phone"}"#).await;
    let entries = br#"{"reason": "a trap", "entries": ["example.org"]}"#;
    running.send("PUT", "/v1/blocklist", &[], entries).await;
    running.post("/v1/import?list=robinson&source=national&reason=by%20law", b"ann@example.org\n").await;
    running.post("/v1/import?source=old&reason=moved", b"bob@example.net\n").await;
    for (address, kind, reason, source) in [
        ("ann@example.org", "suppress", "asked by phone", Value::Null),
        ("ann@example.org", "list-add", "a trap", Value::Null),
        ("ann@example.org", "imported", "by law", json!("national")),
        ("bob@example.net", "imported", "imported", json!("old")),
    ] {
        let explained = running.get(&format!("/v1/contacts/{address}/explain")).await.json();
        let obstacles = explained["obstacles"].as_array().expect("a list");
        let mut grounds = obstacles.iter().filter_map(|obstacle| obstacle["rests_on"].as_array()).flatten();
        let ground = grounds.find(|ground| ground["kind"] == kind && ground["reason"] == reason);
        let ground = ground.unwrap_or_else(|| panic!("{kind} {reason}: {explained:#}"));
        assert_eq!((&ground["uid"], ground.get("source").unwrap_or(&Value::Null)), (&json!(uid), &source), "{kind}");
        let told = running.run(&["explain", address]).await;
        let told = support_admin::stdout(&told);
        assert!(told.contains(&format!("user id {uid}")) && told.contains(reason), "{told}");
    }
    let batches = running.get("/v1/batches").await.json();
    assert!(batches["batches"].as_array().is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["uid"] == uid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_can_be_undone_or_it_is_said_why_not() {
    let running = start().await;
    prepared(&running).await;
    let socket = running.socket.clone();
    let uid = nix::unistd::geteuid().as_raw();
    every_change(&running, uid, &|method, target, body| ask(&socket, method, target, body)).await;
    let mut seen = BTreeSet::new();
    let all = events(&running).await;
    for event in &all {
        let (id, kind) = (event["id"].as_str().expect("an id"), event["event"].as_str().expect("a kind"));
        let undone = all.iter().any(|other| other["event"] == "void" && other["target"] == id);
        let why = match kind {
            "import" | "imported" => Some("revert the batch instead"),
            "revert" => Some("import it again instead"),
            "void" => Some("record it again instead"),
            "list-add" => Some("take the entry off the list instead"),
            "list-remove" => Some("put the entry on the list instead"),
            "erase" => Some("gone for good"),
            _ if undone => Some("undone before, by event"),
            _ => None,
        };
        let body = br#"{"reason": "wrong"}"#;
        let dry = running.post(&format!("/v1/events/{id}/void?dry_run=true"), body).await;
        let done = running.post(&format!("/v1/events/{id}/void"), body).await;
        match why {
            Some(why) => {
                for answer in [&dry, &done] {
                    assert!(matches!(answer.refused().0, 409 | 422), "{kind}");
                    assert!(answer.text().contains(why), "{kind}: {}", answer.text());
                }
            }
            None => {
                assert_eq!((dry.status, done.status), (hyper::StatusCode::OK, hyper::StatusCode::OK), "{kind}");
                assert_eq!((&dry.json()["after"], &dry.json()["kind"]), (&done.json()["after"], &done.json()["kind"]));
                let again = running.post(&format!("/v1/events/{id}/void"), body).await;
                assert_eq!(again.refused(), (409, "already".to_owned()), "{kind}");
                let void = done.json()["event"].as_str().expect("an id").to_owned();
                let made = events(&running).await.into_iter().find(|event| event["id"] == void.as_str());
                let made = made.expect("it is on record");
                assert_eq!(
                    (&made["uid"], &made["reason"], &made["target"]),
                    (&json!(uid), &json!("wrong"), &json!(id))
                );
            }
        }
        seen.insert(kind);
    }
    let kinds = [
        "activity",
        "attributes",
        "confirm",
        "erase",
        "import",
        "imported",
        "limit",
        "list-add",
        "list-remove",
        "reactivate",
        "response",
        "revert",
        "suppress",
        "void",
    ];
    assert_eq!(seen, BTreeSet::from(kinds));
    let unknown = running.post(&format!("/v1/events/{}/void", "0".repeat(32)), br#"{"reason": "wrong"}"#).await;
    assert_eq!(unknown.refused(), (404, "not-found".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_of_the_metrics_gives_metrics_and_nothing_else() {
    let running =
        start_with(|settings| settings.metrics_listen = Some("127.0.0.1:0".parse().expect("a literal"))).await;
    prepared(&running).await;
    let address = running.server.metrics_address().expect("it listens");
    let asked = |method: &str, target: &str, body: &str| {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        converse(&mut stream, method, target, body)
    };
    tokio::task::block_in_place(|| {
        let (status, text) = asked("GET", "/metrics", "");
        assert!(status == 200 && text.contains("# TYPE backstop_"), "{status} {text}");
        for target in QUESTIONS.into_iter().filter(|target| *target != "/metrics") {
            let (status, text) = asked("GET", target, "");
            assert!(status == 404 && text.contains("unknown-request"), "{target}: {status} {text}");
        }
        for (method, target, body, _) in changes() {
            assert_eq!(asked(method, &target, &body).0, 404, "{method} {target}");
        }
    });
    assert_eq!(running.store.figures().events, 3);
}

#[test]
fn groups_decide_who_may_ask_and_who_may_change() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("SKIPPED: real users are only to be had as root");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, of_the_system: &str, more: String| {
        let path = directory.path().join(name);
        fs::write(&path, fs::read_to_string(of_the_system).expect("readable") + &more).expect("ours");
        path
    };
    let users: String = PEOPLE
        .iter()
        .filter(|(uid, ..)| *uid > 0)
        .map(|(uid, gid, ..)| format!("backstop-test-{uid}:x:{uid}:{gid}::/:/bin/false\n"))
        .collect();
    let members = |group: &str| -> String {
        let named = PEOPLE.iter().filter(|(_, _, groups, _)| groups.contains(&group));
        named.map(|(uid, ..)| format!("backstop-test-{uid}")).collect::<Vec<_>>().join(",")
    };
    let groups: String = [
        (WRITERS, WRITERS_ID),
        (READERS, READERS_ID),
        ("backstop-test-nobodys", NOBODYS_ID),
        ("backstop-test-others", 64_204),
    ]
    .map(|(group, id)| format!("{group}:x:{id}:{}\n", members(group)))
    .concat();
    let (passwd, group) = (file("passwd", "/etc/passwd", users), file("group", "/etc/group", groups));
    let script = "mount --bind \"$1\" /etc/passwd && mount --bind \"$2\" /etc/group || exit 200; shift 2; exec \"$@\"";
    let inside = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .args([&passwd, &group])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "inside_with_users_of_its_own", "--ignored", "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let output = match inside {
        // 1 is unshare's, 200 the script's; a test that fails ends otherwise.
        Ok(output) if !matches!(output.status.code(), Some(1 | 200)) => output,
        other => return eprintln!("SKIPPED: no mount namespace can be had here: {other:?}"),
    };
    assert!(output.status.success() && said(&output).contains("1 passed"), "{}", said(&output));
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by groups_decide_who_may_ask_and_who_may_change"]
async fn inside_with_users_of_its_own() {
    assert!(std::env::var_os(INSIDE).is_some(), "run by another test");
    let (writers, readers) = (WRITERS.to_owned(), READERS.to_owned());
    let running = start_with(|settings| (settings.write_group, settings.read_group) = (writers, readers)).await;
    prepared(&running).await;
    let socket = running.socket.clone();
    let as_user = |uid: u32, gid: u32, method: &str, target: &str, body: &str| {
        tokio::task::block_in_place(|| ask_as(uid, gid, &socket, method, target, body))
    };
    // Of a user without a name in the database counts the group it comes with.
    let nameless =
        [(UNKNOWN, READERS_ID, &[][..], "read"), (UNKNOWN, WRITERS_ID, &[], "write"), (UNKNOWN, 5, &[], "nothing")];
    for (uid, gid, groups, may) in PEOPLE.into_iter().chain(nameless) {
        let before = events(&running).await.len();
        let (asked, _) = as_user(uid, gid, "GET", "/v1/status", "");
        assert_eq!(asked, if may == "nothing" { 403 } else { 200 }, "{uid} {groups:?}: status");
        let body = json!({"reason": format!("said by {uid}")}).to_string();
        let (changed, text) = as_user(uid, gid, "POST", "/v1/contacts/new@example.org/suppress", &body);
        assert_eq!(changed, if may == "write" { 200 } else { 403 }, "{uid} {groups:?}: suppress: {text}");
        let events = events(&running).await;
        match may {
            "write" => {
                let last = events.last().expect("an event");
                assert_eq!((&last["uid"], &last["reason"]), (&json!(uid), &json!(format!("said by {uid}"))));
            }
            _ => assert_eq!(events.len(), before, "{uid} {groups:?}"),
        }
    }
    // A stranger is told nothing whatever is asked, a reader may ask everything and change nothing.
    let before = events(&running).await;
    for target in QUESTIONS {
        let (status, text) = as_user(64_107, NOBODYS_ID, "GET", target, "");
        forbidden(status, &text, target);
        let (status, text) = as_user(64_104, NOBODYS_ID, "GET", target, "");
        let wanted = if target == "/v1/nothing-like-this" { 404 } else { 200 };
        assert_eq!(status, wanted, "{target}: {text}");
    }
    for (method, target, body, _) in changes() {
        let target = filled(&target, &running).await;
        for uid in [64_107, 64_104] {
            let (status, text) = as_user(uid, NOBODYS_ID, method, &target, &body);
            forbidden(status, &text, &format!("{uid}: {method} {target}"));
        }
    }
    assert_eq!(events(&running).await, before);
    every_change(&running, 64_102, &|method, target, body| ask_as(64_102, NOBODYS_ID, &socket, method, target, body))
        .await;
    // backstopctl says what is missing, with its exit status.
    for (uid, arguments, exit, words) in [
        (64_107, &["status"][..], 77, "ask for group membership"),
        (64_104, &["suppress", "a@example.org", "--reason", "x"], 77, "may read here, but change nothing"),
        (64_104, &["backup", "-"], 77, "may read here, but change nothing"),
        (64_104, &["status"], 0, ""),
    ] {
        let mut command = running.ctl(arguments);
        command.uid(uid).gid(NOBODYS_ID);
        let done = support_admin::run(command).await;
        assert_eq!(done.status.code(), Some(exit), "{uid} {arguments:?}: {}", said(&done));
        assert!(said(&done).contains(words), "{uid} {arguments:?}: {}", said(&done));
    }
    // Where the groups are missing on a host, only root and the daemon's own user are somebody.
    let alone = start().await;
    prepared(&alone).await;
    for (uid, gid, may) in [(64_101, WRITERS_ID, false), (64_104, NOBODYS_ID, false), (0, 0, true)] {
        let (status, text) = tokio::task::block_in_place(|| ask_as(uid, gid, &alone.socket, "GET", "/v1/events", ""));
        assert_eq!(status == 200, may, "{uid}: {text}");
        assert!(may || !text.contains("example"), "{uid}: {text}");
    }
}

fn forbidden(status: u16, text: &str, asked: &str) {
    assert_eq!(status, 403, "{asked}: {text}");
    let answer: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{asked}: {error}: {text}"));
    assert_eq!(answer["error"]["code"], "forbidden", "{asked}");
    assert!(
        answer.as_object().is_some_and(|members| members.len() == 1) && !text.contains("example"),
        "{asked}: {text}"
    );
}

/// Asks as another user: this program runs once more, under that user's id.
fn ask_as(uid: u32, gid: u32, socket: &Path, method: &str, target: &str, body: &str) -> (u16, String) {
    let asked = json!({"socket": socket, "method": method, "target": target, "body": body}).to_string();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "asked_by_another_user", "--ignored", "--nocapture"]).env(ASK, asked);
    // As root, the standard library lets go of all other groups with the user id.
    let output = command.stdin(Stdio::null()).uid(uid).gid(gid).output().expect("it runs");
    let said = said(&output);
    let answer = said.split_once("<<<").and_then(|(_, rest)| rest.rsplit_once(">>>")).map(|(answer, _)| answer);
    let answer: Value = serde_json::from_str(answer.unwrap_or_else(|| panic!("{uid}: {said}"))).expect("JSON");
    (answer[0].as_u64().expect("a status") as u16, answer[1].as_str().expect("a text").to_owned())
}

#[test]
#[ignore = "run under other user ids"]
fn asked_by_another_user() {
    let asked: Value = serde_json::from_str(&std::env::var(ASK).expect("run by another test")).expect("JSON");
    let text = |name: &str| asked[name].as_str().expect("a text");
    let answer = ask(Path::new(text("socket")), text("method"), text("target"), text("body"));
    println!("<<<{}>>>", json!([answer.0, answer.1]));
}

fn ask(socket: &Path, method: &str, target: &str, body: &str) -> (u16, String) {
    converse(&mut UnixStream::connect(socket).expect("the server listens"), method, target, body)
}

/// One request on a connection of its own, in few words: status, and the body with the chunks' lengths in it.
fn converse(stream: &mut (impl Read + Write), method: &str, target: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head =
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    // Who is refused may be hung up on before all is sent.
    let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{method} {target}: {answer}")), body.to_owned())
}
