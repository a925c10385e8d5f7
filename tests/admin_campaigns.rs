//! What one campaign did, asked over the admin socket and by `backstopctl report` (SPEC 8).

mod support_admin;

use backstop::classify::{BounceCode, BounceType, Category, Fault};
use backstop::mail::MessageId;
use backstop::policy::{Authority, Level, Policy, SkipReason, What};
use backstop::report::{Campaign, Kind};
use backstop::service::InForce;
use backstop::store::{NewEvent, Send};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;
use support_admin::*;

const REPORT: &str = "/v1/campaigns/77";

fn minutes_ago(minutes: u64) -> Timestamp {
    Timestamp::now() - Duration::from_secs(60 * minutes)
}

/// A response of campaign 77 that differs from a hard bounce.
fn response(change: impl FnOnce(&mut backstop::policy::Response)) -> What {
    let What::Response { mut response, evidence } = hard_bounce() else { unreachable!("it is a response") };
    change(&mut response);
    What::Response { response, evidence }
}

fn of_kind(kind: Kind) -> What {
    response(|response| {
        response.kind = kind;
        response.class = backstop::classify::Class::Feedback;
        (response.category, response.bounce_type, response.code) = (None, None, None);
    })
}

fn bounce(category: Category, bounce_type: BounceType) -> What {
    response(|response| {
        response.class = category.class();
        response.category = Some(category);
        response.bounce_type = Some(bounce_type);
        response.code = Some(BounceCode { class: 4, subject: 2, detail: 2 });
    })
}

fn unverified() -> What {
    response(|response| response.authority = Authority::Unverified)
}

fn skip(reason: SkipReason, shadow: bool, forward_path: Option<&str>) -> What {
    What::Skip {
        reason,
        category: None,
        scope: None,
        campaign: Some(Campaign("77".to_owned())),
        list: None,
        forward_path: forward_path.map(str::to_owned),
        limit: None,
        shadow,
    }
}

fn activity(level: Level) -> What {
    What::Activity { level, campaign: None }
}

impl Running {
    async fn report(&self) -> Value {
        self.get(REPORT).await.json()
    }

    async fn responses(&self) -> Vec<Value> {
        let page = self.get("/v1/campaigns/77/responses").await.json();
        assert_eq!(page["next"], Value::Null);
        page["responses"].as_array().expect("a list").clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_counts_follow_a_retraction() {
    let backstop = start().await;
    for address in ["joe@example.org", "ann@example.org"] {
        backstop.bounce(address).await;
    }
    let soft = bounce(Category::Transient, BounceType::Soft);
    backstop.record("bob@example.org", a_minute_ago(), soft).await;
    let report = backstop.report().await;
    let by_category = json!({"rejected": 2, "transient": 1, "unknown": 0, "blocked": 0});
    assert_eq!(report["bounces"], json!({"total": 3, "hard": 2, "soft": 1, "by_category": by_category}));
    assert_eq!((&report["retracted"], &report["contacts"]), (&json!(0), &json!(3)));

    // An open takes a soft bounce back, but no hard one.
    for address in ["joe@example.org", "bob@example.org"] {
        backstop.record(address, Timestamp::now(), activity(Level::OPEN)).await;
    }
    let report = backstop.report().await;
    let by_category = json!({"rejected": 2, "transient": 0, "unknown": 0, "blocked": 0});
    assert_eq!(report["bounces"], json!({"total": 2, "hard": 2, "soft": 0, "by_category": by_category}));
    assert_eq!(report["retracted"], 1);

    backstop.record("joe@example.org", Timestamp::now(), activity(Level::PURCHASE)).await;
    let report = backstop.report().await;
    assert_eq!((&report["bounces"]["total"], &report["retracted"]), (&json!(1), &json!(2)));
    // The history keeps them.
    assert_eq!(report["contacts"], 3);
    let retracted: Vec<(Value, Value)> =
        backstop.responses().await.iter().map(|row| (row["address"].clone(), row["retracted"].clone())).collect();
    let want = [("ann@example.org", false), ("bob@example.org", true), ("joe@example.org", true)];
    assert_eq!(retracted, want.map(|(address, retracted)| (json!(address), json!(retracted))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_after_the_sign_of_life_counts_again() {
    let backstop = start().await;
    backstop.record("joe@example.org", minutes_ago(9), hard_bounce()).await;
    backstop.record("joe@example.org", minutes_ago(6), activity(Level::PURCHASE)).await;
    backstop.record("joe@example.org", minutes_ago(3), bounce(Category::Blocked, BounceType::Soft)).await;
    let report = backstop.report().await;
    assert_eq!((&report["bounces"]["total"], &report["retracted"]), (&json!(1), &json!(0)));
    assert_eq!(report["bounces"]["by_category"]["blocked"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_whose_fault_is_not_the_recipients_is_reported_with_its_code_and_type_as_they_came() {
    let backstop = start().await;
    let ours = response(|response| {
        response.category = Some(Category::Blocked);
        response.code = Some(BounceCode { class: 5, subject: 7, detail: 1 });
        response.fault = Some(Fault::Sender);
    });
    backstop.record("joe@example.org", a_minute_ago(), ours).await;
    assert_eq!(backstop.get("/v1/contacts/joe@example.org").await.json()["state"], "active");
    let bounces = &backstop.report().await["bounces"];
    assert_eq!((&bounces["hard"], &bounces["soft"]), (&json!(1), &json!(0)));
    let row = &backstop.responses().await[0];
    let told = ["code", "type", "category", "fault"].map(|field| row[field].clone());
    assert_eq!(told, ["5.7.1", "hard", "blocked", "sender"].map(Value::from));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_is_never_taken_back_by_activity() {
    let backstop = start().await;
    backstop.record("joe@example.org", a_minute_ago(), of_kind(Kind::Complaint)).await;
    backstop.record("joe@example.org", Timestamp::now(), activity(Level::PURCHASE)).await;
    let report = backstop.report().await;
    assert_eq!((&report["complaints"], &report["retracted"]), (&json!(1), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_reports_of_one_contact_count_as_one_bounce_by_the_last_word() {
    let backstop = start().await;
    // The later one is recorded first.
    backstop.record("joe@example.org", minutes_ago(2), hard_bounce()).await;
    backstop.record("joe@example.org", minutes_ago(5), bounce(Category::Transient, BounceType::Soft)).await;
    let other = response(|response| response.campaign = Some(Campaign("78".to_owned())));
    backstop.record("joe@example.org", minutes_ago(1), other).await;
    let report = backstop.report().await;
    let by_category = json!({"rejected": 1, "transient": 0, "unknown": 0, "blocked": 0});
    assert_eq!(report["bounces"], json!({"total": 1, "hard": 1, "soft": 0, "by_category": by_category}));
    assert_eq!(report["contacts"], 1);
    let rows = backstop.responses().await;
    assert_eq!((rows.len(), &rows[0]["code"]), (1, &json!("5.1.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_vouches_for_counts_as_unverified_alone_unless_accepted() {
    let backstop = start().await;
    backstop.bounce("ann@example.org").await;
    for address in ["ann@example.org", "joe@example.org", "joe@example.org"] {
        backstop.record(address, Timestamp::now(), unverified()).await;
    }
    let report = backstop.report().await;
    assert_eq!((&report["bounces"]["total"], &report["unverified"]), (&json!(1), &json!(1)));
    assert_eq!(report["contacts"], 2);
    let authorities: Vec<Value> = backstop.responses().await.iter().map(|row| row["authority"].clone()).collect();
    assert_eq!(authorities, ["local", "unverified"]);

    let policy = Policy { accept_unverified: true, ..Policy::default() };
    backstop.service.replace(InForce { policy, ..in_force() });
    let report = backstop.report().await;
    assert_eq!((&report["bounces"]["total"], &report["unverified"]), (&json!(2), &json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_left_is_skipped_by_its_reason() {
    let backstop = start().await;
    for (address, what) in [
        ("a@example.org", skip(SkipReason::Suppressed, false, None)),
        ("a@example.org", skip(SkipReason::Suppressed, false, None)), // the client tried again
        ("b@example.org", skip(SkipReason::Limit, false, None)),
        ("c@example.org", skip(SkipReason::Suppressed, true, None)),
        ("d@example.org", bounce(Category::Failed, BounceType::Soft)), // our own MTA gave up
    ] {
        backstop.record(address, a_minute_ago(), what).await;
    }
    let nobody = skip(SkipReason::InvalidAddress, false, Some("{{email}}"));
    let new = NewEvent { at: a_minute_ago(), address: None, queue_id: None, what: nobody, content_key: None };
    backstop.store.record(vec![new]).await.expect("writable");
    let report = backstop.report().await;
    let by_reason = json!({
        "suppressed": 1, "blocklist": 0, "robinson": 0, "limit": 1, "missing-info": 0, "invalid-address": 1,
        "invalid-domain": 0, "failed": 1, "invalid": 0,
    });
    assert_eq!(report["skipped"], json!({"total": 4, "by_reason": by_reason, "shadow": 1}));
    assert_eq!((&report["bounces"]["total"], &report["contacts"]), (&json!(0), &json!(5)));
    let rows = backstop.responses().await;
    let told: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["address"].as_str().expect("a text"), row["description"].as_str().expect("a text")))
        .collect();
    assert_eq!(rows.len(), 5, "{told:?}");
    assert_eq!(told[2], ("c@example.org", "would have been taken off the message (shadow mode)"));
    assert_eq!((told[4].0, &rows[4]["reason"]), ("{{email}}", &json!("invalid-address")));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_has_its_figure_and_rates_are_of_those_sent() {
    let backstop = start().await;
    backstop.bounce("a@example.org").await;
    for (address, kind) in [
        ("b@example.org", Kind::Complaint),
        ("c@example.org", Kind::OptOut),
        ("d@example.org", Kind::Autoreply),
        ("e@example.org", Kind::NotSpam),
        ("f@example.org", Kind::Delivered),
        ("g@example.org", Kind::Delayed),
    ] {
        backstop.record(address, a_minute_ago(), of_kind(kind)).await;
    }
    let report = backstop.report().await;
    for figure in ["complaints", "opt_outs", "autoreplies", "not_spam", "delivered", "delayed"] {
        assert_eq!(report[figure], 1, "{figure}: {report}");
    }
    assert_eq!((&report["sent"], &report["contacts"]), (&json!(0), &json!(7)));
    assert_eq!(report["rates"], json!({"bounces": null, "complaints": null}));
    assert_eq!((&report["campaign"], &report["lists"]), (&json!("77"), &json!(["news.example.com"])));

    let at = minutes_ago(60);
    let send = |number: usize| Send {
        message_id: MessageId(format!("{number}@example.com")),
        at,
        campaign: Some(Campaign(if number == 0 { "78" } else { "77" }.to_owned())),
        list: None,
        recipients: (0..10).map(|one| address_of(&format!("c{number}-{one}@example.org"))).collect(),
    };
    (0..5).for_each(|number| backstop.store.remember_send(send(number)).expect("there is room"));
    // Sends are written within a second.
    let mut report = Value::Null;
    for _ in 0..100 {
        report = backstop.report().await;
        if report["sent"] == 40 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(report["sent"], 40, "{report}");
    assert_eq!(report["rates"], json!({"bounces": 0.025, "complaints": 0.025}));
    assert_eq!(report["first_at"], at.to_string());
    // A campaign of which nothing came back is known.
    let other = backstop.get("/v1/campaigns/78").await.json();
    assert_eq!((&other["sent"], &other["contacts"]), (&json!(10), &json!(0)));
    let none = backstop.get("/v1/campaigns/78/responses").await.json();
    assert_eq!(none, json!({"responses": [], "next": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_nothing_is_known_of_is_not_found_and_ids_are_percent_encoded() {
    let backstop = start().await;
    let strange = response(|response| response.campaign = Some(Campaign("spring/2026 ü?#%".to_owned())));
    backstop.record("joe@example.org", a_minute_ago(), strange).await;
    let report = backstop.get("/v1/campaigns/spring%2F2026%20%C3%BC%3F%23%25").await.json();
    assert_eq!((&report["campaign"], &report["bounces"]["total"]), (&json!("spring/2026 ü?#%"), &json!(1)));
    let shown = backstop.run(&["report", "spring/2026 ü?#%"]).await;
    assert!(stdout(&shown).starts_with("campaign spring/2026 ü?#%\n"), "{}{}", stdout(&shown), stderr(&shown));
    for (target, want) in [
        (REPORT, (404, "not-found")),
        ("/v1/campaigns/77/responses", (404, "not-found")),
        ("/v1/campaigns/%ff", (400, "invalid-path")),
        ("/v1/campaigns/77?limit=1", (422, "invalid-value")),
        ("/v1/campaigns/77/responses?limit=0", (422, "invalid-value")),
    ] {
        let (status, code) = backstop.get(target).await.refused();
        assert_eq!((status, code.as_str()), want, "{target}");
    }
    assert_eq!(backstop.run(&["report", "77"]).await.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_come_in_pages_or_whole_with_the_words_they_rest_on() {
    let backstop = start().await;
    for number in 0..450 {
        backstop.bounce(&format!("c{number:03}@example.org")).await;
    }
    let (mut target, mut addresses) = ("/v1/campaigns/77/responses?limit=200".to_owned(), Vec::new());
    let mut pages = Vec::new();
    loop {
        let page = backstop.get(&target).await.json();
        let rows = page["responses"].as_array().expect("a list");
        pages.push(rows.len());
        addresses.extend(rows.iter().map(|row| row["address"].as_str().expect("a text").to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/campaigns/77/responses?limit=200&cursor={}", next.replace('@', "%40"));
    }
    assert_eq!(pages, [200, 200, 50]);
    let want: Vec<String> = (0..450).map(|number| format!("c{number:03}@example.org")).collect();
    assert_eq!(addresses, want);

    let responses = "/v1/campaigns/77/responses";
    let lines = backstop.send("GET", responses, &[("accept", "application/x-ndjson")], b"").await;
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(lines.len(), 450);
    let first = &lines[0];
    let want = json!({
        "address": "c000@example.org", "at": first["at"], "class": "bounce", "kind": "bounce",
        "category": "rejected", "type": "hard", "code": "5.1.1", "reason": "user-unknown", "fault": "recipient",
        "authority": "local", "list": "news.example.com", "retracted": false, "description": "no such mailbox",
        "diagnostic": "550 5.1.1 user unknown", "event": first["event"],
    });
    assert_eq!(*first, want);

    let csv = backstop.send("GET", responses, &[("accept", "text/csv")], b"").await;
    let lines: Vec<&str> = csv.text().split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 451);
    let columns = "address,at,class,kind,category,type,code,reason,fault,authority,list,retracted,description,\
                   diagnostic,event";
    assert_eq!(lines[0], columns);
    assert!(lines[450].starts_with("c449@example.org,") && lines[450].contains(",rejected,hard,5.1.1,"));

    let printed = backstop.run(&["report", "77", "--responses", "--csv"]).await;
    assert_eq!(stdout(&printed), csv.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn report_prints_figures_csv_or_json() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.record("ann@example.org", a_minute_ago(), skip(SkipReason::Limit, false, None)).await;
    let table = backstop.run(&["report", "77"]).await;
    assert!(stdout(&table).contains("1 hard, 0 soft; 1 rejected"), "{}{}", stdout(&table), stderr(&table));
    let csv = backstop.run(&["report", "--csv", "77"]).await;
    let lines: Vec<&str> = stdout(&csv).split_terminator("\r\n").collect();
    let [head, line] = lines[..] else { panic!("{lines:?}") };
    let cells: Vec<(&str, &str)> = head.split(',').zip(line.split(',')).collect();
    for cell in [("campaign", "77"), ("skipped_limit", "1"), ("bounces_hard", "1"), ("retracted", "0")] {
        assert!(cells.contains(&cell), "{cells:?}");
    }
    let json = backstop.run(&["--json", "report", "77"]).await;
    let report: Value = serde_json::from_str(stdout(&json)).expect("one object");
    assert_eq!(report["bounces"]["total"], 1);
    let rows = backstop.run(&["report", "--responses", "77"]).await;
    let text = stdout(&rows);
    for word in ["ADDRESS", "joe@example.org", "5.1.1", "no such mailbox", "skip", "limit"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert_eq!(backstop.run(&["--json", "report", "--csv", "77"]).await.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voided_bounce_is_no_longer_in_the_report_and_what_it_hid_is() {
    let backstop = start().await;
    let soft = bounce(Category::Transient, BounceType::Soft);
    backstop.record("joe@example.org", minutes_ago(5), soft).await;
    let last = backstop.bounce("joe@example.org").await;
    let only = backstop.bounce("ann@example.org").await;
    assert_eq!(backstop.report().await["bounces"]["hard"], 2);
    for target in [last, only] {
        let what = What::Void { target, reason: "their server lied".to_owned(), uid: 0 };
        let (at, store) = (Timestamp::now(), backstop.store.clone());
        let void = NewEvent { at, address: None, queue_id: None, what, content_key: None };
        let voided = tokio::task::spawn_blocking(move || store.void(void)).await.expect("nobody panics");
        voided.expect("it is on record");
    }
    let report = backstop.report().await;
    let by_category = json!({"rejected": 0, "transient": 1, "unknown": 0, "blocked": 0});
    assert_eq!(report["bounces"], json!({"total": 1, "hard": 0, "soft": 1, "by_category": by_category}));
    assert_eq!((&report["retracted"], &report["contacts"]), (&json!(0), &json!(1)));
    assert_eq!(backstop.responses().await.len(), 1);
}
