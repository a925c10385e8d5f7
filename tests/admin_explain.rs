//! Why a contact may or may not be mailed: over the admin socket and by `backstopctl explain`; and the timer that
//! ends what ends by itself.

mod support_admin;

use backstop::admin::server::LastRelease;
use backstop::ops::release::release;
use backstop::policy::{Level, Policy, What};
use backstop::service::InForce;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use support_admin::*;

fn days_ago(days: u64) -> Timestamp {
    Timestamp::now() - Duration::from_secs(days * 86_400)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_is_explained_by_its_words_its_authority_and_what_would_release_it() {
    let backstop = start().await;
    let bounce = backstop.bounce("joe@example.org").await;
    let answer = backstop.get("/v1/contacts/joe@example.org/explain").await.json();
    assert_eq!(
        (&answer["mailed"], &answer["state"], &answer["list"]),
        (&json!(false), &json!("bounced"), &Value::Null)
    );
    let obstacle = &answer["obstacles"][0];
    assert_eq!((&obstacle["reason"], &obstacle["suppression"]["code"]), (&json!("suppressed"), &json!("5.1.1")));
    let ground = &obstacle["rests_on"][0];
    assert_eq!((&ground["event"], &ground["kind"]), (&json!(bounce.to_string()), &json!("bounce")));
    assert_eq!((&ground["authority"], &ground["diagnostic"]), (&json!("local"), &json!("550 5.1.1 user unknown")));
    let ways: Vec<&Value> =
        obstacle["releases"].as_array().expect("an array").iter().map(|release| &release["how"]).collect();
    assert_eq!(ways, [&json!("person"), &json!("proof-of-life")]);
    assert_eq!((&answer["not_counted"], &answer["elsewhere"]), (&json!([]), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_limit_that_is_reached_is_explained() {
    let backstop = start().await;
    backstop.send("PUT", "/v1/contacts/joe@example.org/limit", &[], br#"{"messages": 1, "window": "1d"}"#).await.json();
    let explain = async || backstop.get("/v1/contacts/joe@example.org/explain").await.json();
    assert_eq!(explain().await["mailed"], true);
    backstop.service.sends().note(backstop.store.recipient_key(&address_of("joe@example.org")), Timestamp::now());
    let answer = explain().await;
    assert_eq!((&answer["mailed"], &answer["obstacles"][0]["reason"]), (&json!(false), &json!("limit")));
    assert_eq!(answer["obstacles"][0]["limit"]["messages"], 1);
    let output = backstop.run(&["explain", "joe@example.org"]).await;
    assert!(stdout(&output).contains("\nIts share is used up: 1 per 1d; "), "{}", stdout(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_of_one_list_is_explained_for_that_list_or_its_campaign() {
    let backstop = start().await;
    backstop.suppress_for("ann@example.org", "news.example.com").await;
    let explain = async |query: &str| backstop.get(&format!("/v1/contacts/ann@example.org/explain{query}")).await;
    let answer = explain("").await.json();
    assert_eq!((&answer["mailed"], &answer["elsewhere"][0]["scope"]), (&json!(true), &json!("news.example.com")));
    let answer = explain("?list=news.example.com").await.json();
    assert_eq!((&answer["mailed"], &answer["elsewhere"]), (&json!(false), &json!([])));
    assert_eq!(answer["obstacles"][0]["rests_on"][0]["reason"], "asked by phone");
    assert_eq!(explain("?campaign=77").await.json()["list"], Value::Null, "never heard of");
    assert_eq!(explain("?list=system").await.refused().0, 422);
    assert_eq!(backstop.get("/v1/contacts/new@example.org/explain").await.refused().0, 404);
    backstop.bounce("ann@example.org").await;
    assert_eq!(explain("?campaign=77").await.json()["list"], "news.example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_that_a_sign_of_life_took_back_is_shown_as_retracted_and_as_not_counted() {
    let backstop = start().await;
    let bounce = backstop.bounce("joe@example.org").await;
    let alive = What::Activity { level: Level::PURCHASE, campaign: None, uid: None, reason: String::new() };
    let alive = backstop.record("joe@example.org", Timestamp::now(), alive).await;
    let contact = backstop.get("/v1/contacts/joe@example.org").await.json();
    assert_eq!((&contact["state"], &contact["responses"][0]["retracted"]), (&json!("active"), &json!(true)));
    let answer = backstop.get("/v1/contacts/joe@example.org/explain").await.json();
    assert_eq!((&answer["mailed"], &answer["obstacles"]), (&json!(true), &json!([])));
    let uncounted = &answer["not_counted"][0];
    assert_eq!((&uncounted["event"], &uncounted["why"]), (&json!(bounce.to_string()), &json!("retracted")));
    assert_eq!(uncounted["by"], alive.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_reads_the_verdict_the_reasons_and_the_commands_that_end_it() {
    let backstop = start().await;
    let bounce = backstop.bounce("joe@example.org").await;
    let explained = backstop.run(&["explain", "joe@example.org"]).await;
    assert_eq!(explained.status.code(), Some(0), "{}", stderr(&explained));
    let text = stdout(&explained);
    assert!(text.starts_with("joe@example.org: gets no campaign mail\n\nSuppressed since "), "{text}");
    for words in [
        "  It rests on:\n",
        "bounce 5.1.1 hard rejected user-unknown, fault of the recipient, campaign 77",
        "said     550 5.1.1 user unknown",
        "belief   local: written by our own Postfix",
        &format!("event    {bounce}"),
        "a person:        backstopctl reactivate joe@example.org --reason TEXT",
        "a sign of life:  level 3 or more (a click by a person)",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let fine = backstop.run(&["explain", "joe@example.org", "--json"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&fine.stdout).expect("one object")["mailed"], false);
    assert_eq!(backstop.run(&["explain", "new@example.org"]).await.status.code(), Some(1));
    let undone = backstop.run(&["undo", &bounce.to_string(), "--reason", "r", "--dry-run"]).await;
    assert!(stdout(&undone).contains("bounced, would be active; nothing was changed"), "{}", stdout(&undone));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timer_releases_what_has_ended_and_nothing_that_came_back_since() {
    let backstop = start().await;
    for (address, days) in [("old@example.org", 15), ("new@example.org", 13), ("again@example.org", 15)] {
        backstop.record(address, days_ago(days), hard_bounce()).await;
    }
    backstop.suppress_for("old@example.org", "news.example.com").await;
    let mut policy = Policy::default();
    policy.table.rejected.reactivate_days = Some(14);
    backstop.service.replace(InForce { policy: policy.clone(), ..in_force() });
    let (store, now) = (backstop.store.clone(), Timestamp::now());
    // A bounce that comes between the end and the run.
    backstop.record("again@example.org", a_minute_ago(), hard_bounce()).await;
    let run = move || {
        let first = release(&store, &policy, now).expect("the store serves");
        (first, release(&store, &policy, now).expect("the store serves"))
    };
    let (first, second) = tokio::task::spawn_blocking(run).await.expect("nobody panics");
    assert!(first >= 1, "somebody is due");
    assert_eq!(second, 0, "nothing is released twice");
    let state = async |address: &str| backstop.get(&format!("/v1/contacts/{address}")).await.json();
    let old = state("old@example.org").await;
    assert_eq!(old["state"], "active");
    assert_eq!(old["suppressions"][0]["scope"], "news.example.com", "a person's word is not ended by time");
    assert_eq!(state("new@example.org").await["state"], "bounced");
    assert_eq!(state("again@example.org").await["state"], "bounced");
    let events = backstop.store.events_of(&address_of("old@example.org"), 10).expect("readable");
    let reason = events.iter().find_map(|event| match &event.what {
        What::Reactivate { reason, by_timer: true, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason.as_deref(), Some("reactivated after 14 days (standard)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timers_last_run_is_told_in_the_status() {
    let backstop = start().await;
    assert_eq!(backstop.get("/v1/status").await.json()["release"], Value::Null);
    let at = "2026-08-21T03:00:00Z".parse().expect("a literal");
    *backstop.daemon.last_release.lock().expect("ours") = Some(LastRelease { at, released: 7 });
    let release = backstop.get("/v1/status").await.json()["release"].clone();
    assert_eq!(release, json!({"at": "2026-08-21T03:00:00Z", "released": 7}));
    let status = backstop.run(&["status"]).await;
    assert!(stdout(&status).contains("timer   7 contacts released by its last run"), "{}", stdout(&status));
}
