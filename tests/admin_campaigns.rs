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
    What::Activity { level, campaign: None, uid: None, reason: String::new() }
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

    for (accept, head) in [("application/x-ndjson", 0), ("text/csv", 1)] {
        let (mut from, mut pages) = (String::new(), Vec::new());
        loop {
            let target = format!("{responses}?limit=200{from}");
            let page = backstop.send("GET", &target, &[("accept", accept)], b"").await;
            pages.push(page.text().lines().count() - head);
            let Some(next) = page.headers.get("backstop-next-cursor") else { break };
            from = format!("&cursor={}", next.to_str().expect("ASCII").replace('@', "%40"));
        }
        assert_eq!(pages, [200, 200, 50], "{accept}");
        let behind = format!("{responses}?cursor=c199%40example.org");
        let rest = backstop.send("GET", &behind, &[("accept", accept)], b"").await;
        assert_eq!(rest.text().lines().count() - head, 250, "{accept}: all that are behind, without a limit");
    }

    let printed = backstop.run(&["report", "77", "--responses", "--csv"]).await;
    assert_eq!(stdout(&printed), csv.text());
    let some = backstop.run(&["report", "77", "--responses", "--csv", "--columns", "code,address"]).await;
    let lines: Vec<&str> = stdout(&some).lines().collect();
    assert_eq!((lines.len(), lines[0], lines[450]), (451, "code,address", "5.1.1,c449@example.org"));
    let names: Vec<&str> = csv.text().lines().next().expect("a head").split(',').collect();
    let all = backstop.run(&["report", "77", "--responses", "--csv", "--columns", &names.join(",")]).await;
    assert_eq!(stdout(&all), csv.text().replace("\r\n", "\n"), "every column is as the daemon has it");
    for (options, head, row) in [
        (&["campaigns", "--columns", "bounces,campaign"][..], "BOUNCES  CAMPAIGN", "450      77"),
        (&["campaigns", "--csv", "--columns", "campaign,lists"], "campaign,lists", "77,news.example.com"),
        (&["report", "--provider", "--csv", "--columns", "hard,provider"], "hard,provider", "450,example.org"),
        (&["report", "77", "--provider", "--columns", "provider,hard"], "PROVIDER     HARD", "example.org  450"),
        (&["report", "77", "--day", "--csv", "--columns", "soft,hard"], "soft,hard", "0,450"),
        (&["report", "--day", "--csv", "--columns", "soft,hard"], "soft,hard", "0,450"),
    ] {
        let printed = backstop.run(options).await;
        assert_eq!(stdout(&printed).lines().take(2).collect::<Vec<_>>(), [head, row], "{options:?}");
    }
    for wrong in [
        &["report", "77", "--columns", "hard"][..],
        &["report", "77", "--responses", "--columns", "hard"],
        &["campaigns", "--json", "--columns", "campaign"],
        &["campaigns", "--json", "--csv"],
    ] {
        assert_eq!(backstop.run(wrong).await.status.code(), Some(64), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn report_prints_figures_csv_or_json() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.record("ann@example.org", a_minute_ago(), skip(SkipReason::Limit, false, None)).await;
    let table = backstop.run(&["report", "77"]).await;
    for words in ["1 hard, 0 soft", "BOUNCES BY CATEGORY", "rejected", "SKIPPED BY REASON", "limit"] {
        assert!(stdout(&table).contains(words), "{words}: {}{}", stdout(&table), stderr(&table));
    }
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

fn send(number: usize, campaign: &str, at: Timestamp, domain: &str, recipients: usize) -> Send {
    Send {
        message_id: MessageId(format!("{number}-{campaign}-{domain}@example.com")),
        at,
        campaign: Some(Campaign(campaign.to_owned())),
        list: None,
        recipients: (0..recipients).map(|one| address_of(&format!("c{number}-{one}@{domain}"))).collect(),
    }
}

impl Running {
    /// Waits until so many sends of a campaign are counted: they are written within a second.
    async fn counted(&self, campaign: &str, sent: u64) {
        for _ in 0..200 {
            let counted = self.store.sent_of(&Campaign(campaign.to_owned())).expect("readable").recipients;
            if counted == sent {
                return;
            }
            assert!(counted < sent, "{counted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the sends of {campaign} are not counted");
    }
}

fn rows(report: &Value, rows: &str, name: &str) -> Vec<(String, u64, u64, u64)> {
    let rows = report[rows].as_array().unwrap_or_else(|| panic!("{rows}: {report}"));
    let count = |row: &Value, figure: &str| row[figure].as_u64().unwrap_or_else(|| panic!("{figure}: {row}"));
    let told = |row: &Value| {
        let name = row[name].as_str().expect("a name").to_owned();
        (name, count(row, "sent"), count(row, "bounces"), count(row, "complaints"))
    };
    rows.iter().map(told).collect()
}

fn named(rows: &[(&str, u64, u64, u64)]) -> Vec<(String, u64, u64, u64)> {
    rows.iter().map(|(name, a, b, c)| ((*name).to_owned(), *a, *b, *c)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_tells_providers_and_days_apart_and_outlives_the_ledger() {
    let backstop = start().await;
    let (then, now) = (Timestamp::now() - Duration::from_secs(40 * 86_400), Timestamp::now());
    for (number, domain, recipients) in [(1, "gmail.com", 30), (2, "googlemail.com", 10), (3, "example.org", 5)] {
        backstop.store.remember_send(send(number, "77", then, domain, recipients)).expect("there is room");
    }
    backstop.store.remember_send(send(4, "77", now, "example.org", 5)).expect("there is room");
    backstop.record("c1-1@gmail.com", then, hard_bounce()).await;
    backstop.record("c2-1@googlemail.com", then, bounce(Category::Transient, BounceType::Soft)).await;
    backstop.record("c2-2@googlemail.com", then, of_kind(Kind::Complaint)).await;
    backstop.record("c3-1@example.org", now, hard_bounce()).await;
    let nobody = skip(SkipReason::InvalidAddress, false, Some("{{email}}"));
    let new = NewEvent { at: now, address: None, queue_id: None, what: nobody, content_key: None };
    backstop.store.record(vec![new]).await.expect("writable");
    backstop.counted("77", 50).await;
    let (day, today) = (then.strftime("%Y-%m-%d").to_string(), now.strftime("%Y-%m-%d").to_string());
    let check = async || {
        let report = backstop.report().await;
        assert_eq!(report["sent"], 50, "{report}");
        assert_eq!(report["rates"]["complaints"], 0.02);
        let providers = named(&[("google", 40, 2, 1), ("example.org", 10, 1, 0), ("other", 0, 0, 0)]);
        assert_eq!(rows(&report, "by_provider", "provider"), providers);
        assert_eq!(report["by_provider"][2]["skipped"], 1);
        assert_eq!(report["by_provider"][0]["bounce_rate"], 0.05);
        assert_eq!(rows(&report, "by_day", "day"), named(&[(&day, 45, 2, 1), (&today, 5, 1, 0)]));
    };
    check().await;
    let store = backstop.store.clone();
    let expired = tokio::task::spawn_blocking(move || store.expire(Timestamp::now())).await.expect("nobody panics");
    assert_eq!(expired.expect("expired").sends, 3);
    check().await;
    let store = backstop.store.clone();
    tokio::task::spawn_blocking(move || store.rebuild(&mut |_| {})).await.expect("nobody panics").expect("rebuilt");
    check().await;

    for (option, first, second) in [("--provider", "google", "example.org"), ("--day", day.as_str(), today.as_str())] {
        let table = backstop.run(&["report", "77", option]).await;
        let lines: Vec<&str> = stdout(&table).lines().collect();
        assert!(lines[1].starts_with(first) && lines[2].starts_with(second), "{option}: {lines:#?}");
        let csv = backstop.run(&["report", option, "--csv", "77"]).await;
        assert!(stdout(&csv).starts_with(&format!("{},sent,delivered,", &option[2..])), "{}", stdout(&csv));
        assert!(stdout(&csv).contains(&format!("\r\n{first},4")), "{}", stdout(&csv));
    }
    let whole = backstop.ctl(&["report", "77"]).env("LC_ALL", "C.UTF-8").output().expect("it runs");
    for words in ["5 % or more", "0.3 % or more", "BOUNCES BY CATEGORY", "█", "PROVIDER", "DAY (UTC)", "%!!"] {
        assert!(stdout(&whole).contains(words), "{words}: {}", stdout(&whole));
    }
    assert!(!stdout(&whole).contains('\u{1b}'), "no colour where nobody looks");
    let ascii = backstop.ctl(&["report", "77"]).env("LC_ALL", "C").env("COLUMNS", "90").output().expect("it runs");
    assert!(stdout(&ascii).is_ascii() && stdout(&ascii).contains("####"), "{}", stdout(&ascii));
    let wide = stdout(&ascii).lines().map(str::len).max();
    assert!(wide <= Some(90), "{wide:?}: {}", stdout(&ascii));
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_are_listed_with_their_figures_newest_first_in_pages() {
    let backstop = start().await;
    let empty = backstop.get("/v1/campaigns").await.json();
    assert_eq!(empty, json!({"campaigns": [], "next": null}));
    for number in 0..5_u64 {
        let of = |response: &mut backstop::policy::Response| response.campaign = Some(Campaign(format!("c {number}")));
        backstop.record("joe@example.org", minutes_ago(60 - 10 * number), response(of)).await;
    }
    // Nothing came back of this one.
    backstop.store.remember_send(send(1, "sent", minutes_ago(35), "gmail.com", 4)).expect("there is room");
    backstop.store.remember_send(send(1, "c 2", minutes_ago(45), "gmail.com", 20)).expect("there is room");
    backstop.counted("sent", 4).await;
    backstop.counted("c 2", 20).await;
    let all = backstop.get("/v1/campaigns").await.json();
    let names = |page: &Value| -> Vec<String> {
        let rows = page["campaigns"].as_array().expect("a list");
        rows.iter().map(|row| row["campaign"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(names(&all), ["c 4", "c 3", "sent", "c 2", "c 1", "c 0"]);
    let row = &all["campaigns"][3];
    assert_eq!((&row["sent"], &row["hard"], &row["bounce_rate"]), (&json!(20), &json!(1), &json!(0.05)));
    assert_eq!((&row["lists"], &row["complaint_rate"]), (&json!(["news.example.com"]), &json!(0.0)));
    assert_eq!((&all["campaigns"][2]["sent"], &all["campaigns"][2]["bounces"]), (&json!(4), &json!(0)));

    let (mut cursor, mut paged) = (String::new(), Vec::new());
    loop {
        let page = backstop.get(&format!("/v1/campaigns?limit=2&cursor={cursor}")).await.json();
        paged.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        cursor = next.replace(' ', "%20").replace('+', "%2B");
    }
    assert_eq!(paged, names(&all));
    let (since, until) = (minutes_ago(42), minutes_ago(25));
    let some = backstop.get(&format!("/v1/campaigns?since={since}&until={until}")).await.json();
    assert_eq!(names(&some), ["c 3", "sent", "c 2"]);
    let lines = backstop.send("GET", "/v1/campaigns", &[("accept", "application/x-ndjson")], b"").await;
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(Value::Array(lines), all["campaigns"]);
    for (target, want) in [
        ("/v1/campaigns?since=yesterday", (422, "invalid-value")),
        ("/v1/campaigns?cursor=77", (422, "invalid-value")),
        ("/v1/campaigns?limit=0", (422, "invalid-value")),
        ("/v1/report/days?since=2026-08-21T00:00:00Z&until=2026-08-21T00:00:00Z", (422, "invalid-value")),
        ("/v1/report/providers?limit=1", (422, "invalid-value")),
    ] {
        let (status, code) = backstop.get(target).await.refused();
        assert_eq!((status, code.as_str()), want, "{target}");
    }

    let table = backstop.run(&["campaigns"]).await;
    let lines: Vec<&str> = stdout(&table).lines().collect();
    assert!(lines[0].contains("CAMPAIGN") && lines[1].contains("c 4") && lines.len() == 7, "{lines:#?}");
    for limited in [&["campaigns", "--limit", "2"][..], &["campaigns", "--limit", "2", "--csv"]] {
        assert_eq!(stdout(&backstop.run(limited).await).lines().count(), 3, "{limited:?}: the head and two");
    }
    let csv = backstop.run(&["campaigns", "--csv", "--since", "42m", "--until", "25m"]).await;
    let lines: Vec<&str> = stdout(&csv).split_terminator("\r\n").collect();
    assert!(lines[0].starts_with("campaign,lists,first_at,last_at,sent,") && lines.len() == 4, "{lines:#?}");
    let objects = backstop.run(&["--json", "campaigns"]).await;
    assert_eq!(stdout(&objects).lines().count(), 6);
    assert_eq!(backstop.run(&["--json", "campaigns", "--csv"]).await.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_campaigns_together_are_reported_by_provider_and_by_day() {
    let backstop = start().await;
    let days_ago = |days: u64| Timestamp::now() - Duration::from_secs(days * 86_400);
    for (number, campaign, days, domain) in
        [(1, "77", 50, "gmail.com"), (2, "77", 2, "gmail.com"), (3, "78", 2, "example.org"), (4, "78", 0, "gmail.com")]
    {
        let send = send(number, campaign, days_ago(days), domain, 100);
        backstop.store.remember_send(send).expect("there is room");
    }
    let other = |response: &mut backstop::policy::Response| response.campaign = Some(Campaign("78".to_owned()));
    backstop.record("c1-1@gmail.com", days_ago(49), hard_bounce()).await;
    backstop.record("c2-1@gmail.com", days_ago(2), hard_bounce()).await;
    backstop.record("c3-1@example.org", days_ago(1), response(other)).await;
    backstop.record("c4-1@gmail.com", days_ago(0), response(other)).await;
    backstop.counted("77", 200).await;
    backstop.counted("78", 200).await;
    let day = |days: u64| days_ago(days).strftime("%Y-%m-%d").to_string();

    let report = backstop.get("/v1/report/days").await.json();
    assert_eq!((&report["since"], &report["until"]), (&json!(day(29)), &json!(day(0))));
    let want = [(day(2), 200, 1, 0), (day(1), 0, 1, 0), (day(0), 100, 1, 0)];
    assert_eq!(rows(&report, "days", "day"), want);
    assert_eq!((&report["campaigns"], &report["total"]["sent"]), (&json!(2), &json!(300)));
    assert_eq!(report["total"]["bounce_rate"], 0.01);
    let report = backstop.get("/v1/report/providers").await.json();
    assert_eq!(rows(&report, "providers", "provider"), named(&[("google", 200, 2, 0), ("example.org", 100, 1, 0)]));
    let old = backstop.get(&format!("/v1/report/providers?since={}&until={}", days_ago(60), days_ago(40))).await.json();
    assert_eq!(rows(&old, "providers", "provider"), named(&[("google", 100, 1, 0)]));
    assert_eq!(old["campaigns"], 1);

    // What is taken back leaves these figures, too.
    backstop.record("c2-1@gmail.com", Timestamp::now(), activity(Level::PURCHASE)).await;
    let report = backstop.get("/v1/report/days").await.json();
    assert_eq!(rows(&report, "days", "day")[0], (day(2), 200, 0, 0));
    assert_eq!(report["total"]["retracted"], 1);

    let table = backstop.run(&["report", "--provider"]).await;
    let text = stdout(&table);
    assert!(text.starts_with("2 campaigns from ") && text.contains("\ngoogle "), "{text}{}", stderr(&table));
    let csv = backstop.run(&["report", "--day", "--since", "60d", "--csv"]).await;
    assert_eq!(stdout(&csv).split_terminator("\r\n").count(), 6, "{}", stdout(&csv));
    let json = backstop.run(&["--json", "report", "--day"]).await;
    assert_eq!(serde_json::from_str::<Value>(stdout(&json)).expect("one object")["campaigns"], 2);
    for wrong in [&["report"][..], &["report", "77", "--since", "1d"], &["report", "--provider", "--day"]] {
        assert_eq!(backstop.run(wrong).await.status.code(), Some(64), "{wrong:?}");
    }
}
