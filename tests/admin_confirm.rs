//! What nothing vouched for, confirmed by a person: one response, several, all of a domain.

mod support_admin;

use backstop::policy::{Authority, EventId, What};
use serde_json::{Value, json};
use support_admin::*;

fn unverified() -> What {
    let mut what = hard_bounce();
    if let What::Response { response, .. } = &mut what {
        response.authority = Authority::Unverified;
    }
    what
}

async fn state(backstop: &Running, address: &str) -> Value {
    backstop.get(&format!("/v1/contacts/{address}")).await.json()["state"].clone()
}

fn because() -> Vec<u8> {
    br#"{"reason": "their postmaster says so"}"#.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirmed_bounce_suppresses_and_its_confirmation_can_be_undone() {
    let backstop = start().await;
    let event = backstop.record("joe@example.org", a_minute_ago(), unverified()).await;
    assert_eq!(state(&backstop, "joe@example.org").await, "active");

    let tried = backstop.post(&format!("/v1/events/{event}/confirm?dry_run=true"), &because()).await.json();
    assert_eq!(
        (&tried["before"], &tried["after"], &tried["event"]),
        (&json!("active"), &json!("bounced"), &json!(null))
    );
    assert_eq!(state(&backstop, "joe@example.org").await, "active");

    let done = backstop.post(&format!("/v1/events/{event}/confirm"), &because()).await.json();
    assert_eq!((&done["before"], &done["after"]), (&json!("active"), &json!("bounced")));
    let contact = backstop.get("/v1/contacts/joe@example.org").await.json();
    assert_eq!(contact["state"], "bounced");
    assert_eq!(contact["responses"][0]["authority"], "operator");
    let why = backstop.get("/v1/contacts/joe@example.org/explain").await.json();
    let ground = &why["obstacles"][0]["rests_on"][0];
    assert_eq!(ground["authority"], "operator");
    let because_of = ground["authority_because"].as_str().expect("a reason");
    assert!(because_of.ends_with("confirmed it: their postmaster says so"), "{because_of}");

    let again = backstop.post(&format!("/v1/events/{event}/confirm"), &because()).await;
    assert_eq!(again.refused(), (409, "already".to_owned()));
    let word = done["event"].as_str().expect("an event");
    let undone = backstop.post(&format!("/v1/events/{word}/void"), &because()).await.json();
    assert_eq!((&undone["kind"], &undone["after"]), (&json!("confirm"), &json!("active")));
    assert_eq!(state(&backstop, "joe@example.org").await, "active");
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["responses"][0]["authority"], "unverified");
    // And once more, for good.
    assert_eq!(backstop.post(&format!("/v1/events/{event}/confirm"), &because()).await.status, 200);
    assert_eq!(state(&backstop, "joe@example.org").await, "bounced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_makes_nobody_active_before_a_confirmation() {
    let backstop = start().await;
    let ahead = jiff::Timestamp::now() + std::time::Duration::from_secs(3600);
    backstop.record("joe@example.org", ahead, hard_bounce()).await;
    assert_eq!(state(&backstop, "joe@example.org").await, "bounced", "else this proves nothing");
    let event = backstop.record("joe@example.org", a_minute_ago(), unverified()).await;
    let tried = backstop.post(&format!("/v1/events/{event}/confirm?dry_run=true"), &because()).await.json();
    assert_eq!((&tried["before"], &tried["after"]), (&json!("bounced"), &json!("bounced")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_response_that_nothing_vouches_for_is_confirmed() {
    let backstop = start().await;
    let local = backstop.bounce("joe@example.org").await;
    let word = backstop.suppress_for("joe@example.org", "news.example.com").await;
    let gone = backstop.record("ann@example.org", a_minute_ago(), unverified()).await;
    assert_eq!(backstop.post(&format!("/v1/events/{gone}/void"), &because()).await.status, 200);
    for (event, want) in [
        (local, (422, "invalid-value")),
        (word, (422, "invalid-value")),
        (gone, (409, "already")),
        (EventId(7), (404, "not-found")),
    ] {
        let refused = backstop.post(&format!("/v1/events/{event}/confirm"), &because()).await.refused();
        assert_eq!((refused.0, refused.1.as_str()), want, "{event}");
    }
    for body in
        [r#"{"reason": "x"}"#, r#"{"reason": "x", "authority": "local"}"#, r#"{"reason": "x", "domain": "a b"}"#]
    {
        assert_eq!(backstop.post("/v1/confirm", body.as_bytes()).await.status, 422, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_domain_are_confirmed_at_once_after_a_look_at_what_that_would_do() {
    let backstop = start().await;
    let mut events = Vec::new();
    for number in 0..5 {
        events.push(backstop.record(&format!("c{number}@example.org"), a_minute_ago(), unverified()).await);
        backstop.record(&format!("c{number}@example.net"), a_minute_ago(), unverified()).await;
    }
    let which = ["confirm", "--domain", "Example.ORG", "--since", "2h", "--reason", "their server is back"];
    let looked = backstop.run(&[which.as_slice(), &["--dry-run"]].concat()).await;
    let told =
        "5 responses of 5 contacts would be confirmed, and 5 contacts not mailed any more; nothing was changed\n";
    assert_eq!(stdout(&looked), told, "{}", stderr(&looked));
    assert_eq!(state(&backstop, "c0@example.org").await, "active");

    let one = backstop.run(&["confirm", &events[0].to_string(), "--reason", "seen"]).await;
    assert!(stdout(&one).contains("  bounced, was active\n"), "{}{}", stdout(&one), stderr(&one));
    let done = backstop.run(&which).await;
    assert_eq!(stdout(&done), "4 responses of 4 contacts confirmed; 4 contacts are not mailed any more\n");
    for number in 0..5 {
        assert_eq!(state(&backstop, &format!("c{number}@example.org")).await, "bounced");
        assert_eq!(state(&backstop, &format!("c{number}@example.net")).await, "active");
    }
    let none = backstop.run(&which).await;
    assert_eq!(none.status.code(), Some(1), "nothing was left to confirm");
    assert_eq!(backstop.run(&["confirm", "--reason", "all of it"]).await.status.code(), Some(64));
}
