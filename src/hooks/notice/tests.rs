use super::*;
use crate::classify::{BounceCode, BounceType, Category, Fault};
use crate::mail::ListId;
use crate::policy::{Authority, Evidence, Level, Response, Scope};
use crate::report::Campaign;

const ALL: [Occasion; 3] = [Occasion::Suppress, Occasion::Release, Occasion::Complaint];

fn minute(minute: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + 60 * minute).unwrap()
}

/// An event recorded at that minute, about something of then.
fn event(at: i64, what: What) -> Event {
    let address = Some(Address::parse("joe@example.org").unwrap());
    let id = EventId::new(minute(at), 1, at as u64);
    Event { id, at: minute(at), address, queue_id: None, what }
}

fn bounce(bounce_type: BounceType, campaign: &str) -> What {
    let (category, class) = match bounce_type {
        BounceType::Hard => (Category::Rejected, 5),
        BounceType::Soft => (Category::Transient, 4),
    };
    response(Kind::Bounce, category, Some(bounce_type), BounceCode { class, subject: 1, detail: 1 }, campaign)
}

fn complaint() -> What {
    let code = BounceCode { class: 5, subject: 7, detail: 1 };
    response(Kind::Complaint, Category::Complaint, None, code, "77")
}

fn response(kind: Kind, category: Category, bounce_type: Option<BounceType>, code: BounceCode, campaign: &str) -> What {
    let response = Response {
        class: category.class(),
        kind,
        category: Some(category),
        bounce_type,
        code: Some(code),
        reason: None,
        fault: Some(Fault::Recipient),
        by_words: true,
        authority: Authority::Local,
        campaign: Some(Campaign(campaign.to_owned())),
        list: Some(ListId("news.example.org".to_owned())),
        sent_at: None,
    };
    What::Response { response: Box::new(response), evidence: Box::<Evidence>::default() }
}

fn reactivate(by_timer: bool) -> What {
    What::Reactivate { scope: Scope::System, reason: "asked".to_owned(), uid: 0, by_timer }
}

/// What is told of each of these events, the record being of all of them.
fn told(events: &[Event]) -> Vec<Vec<(Occasion, State)>> {
    let undone = |event: &Event| {
        events.iter().any(|other| matches!(&other.what, What::Void { target, .. } if *target == event.id))
    };
    let contact: Contact = events.iter().filter(|event| !undone(event)).filter_map(Event::fact).collect();
    let policy = Policy::default();
    let of = |event: &Event| {
        let voided = match &event.what {
            What::Void { target, .. } => events.iter().find(|event| event.id == *target),
            _ => None,
        };
        let notices = notices("h", &ALL, event, &contact, voided, &policy);
        notices.iter().map(|notice| (notice.occasion, notice.state.unwrap())).collect()
    };
    events.iter().map(of).collect()
}

#[test]
fn a_suppression_is_told_by_the_event_that_tips_it_though_more_has_come_since() {
    let soft = |at, campaign| event(at, bounce(BounceType::Soft, campaign));
    let events = [soft(0, "a"), soft(1, "b"), soft(2, "b"), soft(3, "c"), soft(4, "d"), event(5, reactivate(false))];
    let (suppress, release) = ((Occasion::Suppress, State::Bounced), (Occasion::Release, State::Active));
    assert_eq!(told(&events), [vec![], vec![], vec![], vec![suppress], vec![], vec![release]]);
}

#[test]
fn a_complaint_is_told_as_such_and_as_what_it_suppresses() {
    let events = [event(0, complaint()), event(1, complaint()), event(2, bounce(BounceType::Hard, "78"))];
    // Within its list alone: the contact stays active.
    let (complaint, suppress) = ((Occasion::Complaint, State::Active), (Occasion::Suppress, State::Active));
    assert_eq!(told(&events), [vec![complaint, suppress], vec![complaint], vec![(Occasion::Suppress, State::Bounced)]]);
}

fn activity(level: Level) -> What {
    What::Activity { level, campaign: None, uid: None, reason: String::new() }
}

#[test]
fn a_release_is_told_whoever_releases() {
    let hard = event(0, bounce(BounceType::Hard, "77"));
    let suppress = vec![(Occasion::Suppress, State::Bounced)];
    let release = vec![(Occasion::Release, State::Active)];
    let undo = What::Void { target: hard.id, reason: "not so".to_owned(), uid: 0 };
    for what in [reactivate(false), activity(Level::PURCHASE), undo] {
        let events = [hard.clone(), event(1, what.clone())];
        assert_eq!(told(&events), [suppress.clone(), release.clone()], "{what:?}");
    }
    let stronger = [hard.clone(), event(1, activity(Level::OPEN))];
    assert_eq!(told(&stronger), [suppress.clone(), vec![]], "too weak a sign of life");
    // The timer dates its release back; it was recorded later, and what came between still counts.
    let mut timer = event(9, reactivate(true));
    timer.at = minute(5);
    let policy = Policy::of(crate::policy::Profile::Weekly);
    let blocked = response(
        Kind::Bounce,
        Category::Blocked,
        Some(BounceType::Hard),
        BounceCode { class: 5, subject: 7, detail: 1 },
        "77",
    );
    let contact: Contact = [event(0, blocked), timer.clone()].iter().filter_map(Event::fact).collect();
    let notices = notices("h", &ALL, &timer, &contact, None, &policy);
    assert_eq!(notices.iter().map(|notice| notice.occasion).collect::<Vec<_>>(), [Occasion::Release]);
    assert_eq!(notices[0].changed[0].category, Some(Category::Blocked));
    assert_eq!(notices[0].suppressions, Some(Vec::new()));
}

#[test]
fn the_release_of_a_release_suppresses_again() {
    let released = event(1, reactivate(false));
    let undo = What::Void { target: released.id, reason: "not so".to_owned(), uid: 0 };
    let events = [event(0, bounce(BounceType::Hard, "77")), released, event(2, undo)];
    assert_eq!(told(&events)[2], [(Occasion::Suppress, State::Bounced)]);
}

#[test]
fn only_what_was_asked_for_is_told_and_its_id_is_that_of_the_event_and_the_type() {
    let event = event(0, complaint());
    let contact: Contact = event.fact().into_iter().collect();
    let of = |on: &[Occasion]| notices("crm", on, &event, &contact, None, &Policy::default());
    assert_eq!(of(&[Occasion::Release]), []);
    let [suppress] = &of(&[Occasion::Suppress])[..] else { panic!("one notice") };
    assert_eq!(suppress.id, format!("{}-suppress", event.id));
    let json = serde_json::to_value(suppress).unwrap();
    assert_eq!((&json["type"], &json["hook"]), (&"suppress".into(), &"crm".into()));
    assert_eq!(json["event"], serde_json::to_value(&event).unwrap(), "as GET /v1/events has it");
    assert_eq!(json["contact"], "joe@example.org");
    assert_eq!(json["changed"][0]["scope"], "news.example.org");
    assert!(json.get("alert").is_none());
    assert_eq!(json["at"], "2026-05-28T20:26:40Z");
}

#[test]
fn what_decides_nothing_of_a_contact_is_passed_over_unread() {
    let import = What::Imported { batch: EventId(1), list: None, entries: Vec::new() };
    let unreadable = What::Unreadable { problem: String::new(), excerpt: String::new() };
    for what in [import, unreadable, What::Sent { campaign: None, list: None, message_id: None }] {
        assert!(!may_tell(&ALL, &event(0, what.clone())), "{what:?}");
    }
    for (on, what, want) in [
        (Occasion::Suppress, complaint(), true),
        (Occasion::Complaint, complaint(), true),
        (Occasion::Complaint, bounce(BounceType::Hard, "77"), false),
        (Occasion::Complaint, reactivate(false), false),
        (Occasion::Release, reactivate(true), true),
        (Occasion::Alert, complaint(), false),
    ] {
        assert_eq!(may_tell(&[on], &event(0, what.clone())), want, "{on:?} {what:?}");
    }
}
