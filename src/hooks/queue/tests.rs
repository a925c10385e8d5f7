use super::super::{Secret, Target, Url};
use super::*;
use crate::mail::Address;
use crate::policy::Scope;
use crate::store::{self, NewEvent, Recorded};
use jiff::SignedDuration;

fn store(directory: &tempfile::TempDir) -> Store {
    let path = directory.path().join("store");
    Store::open(&store::Settings { path, cache_bytes: 1 << 20, evidence_days: 1, ledger_days: 1 }).unwrap()
}

fn hook(on: &[Occasion]) -> Settings {
    let secret = Some(Secret::new(vec![7; 16]));
    Settings {
        name: "crm".to_owned(),
        target: Target::Url { url: Url::parse("http://127.0.0.1:1/").unwrap(), secret },
        on: on.to_vec(),
        timeout: Duration::from_secs(1),
        give_up_after: Duration::from_secs(60),
    }
}

fn record(store: &Store, address: &str, what: What) -> EventId {
    let address = Some(Address::parse(address).unwrap());
    let new = NewEvent { at: Timestamp::now(), address, queue_id: None, what, content_key: None };
    match store.record_blocking(vec![new]).unwrap()[0] {
        Recorded::New(id) | Recorded::Known(id) => id,
    }
}

fn suppress() -> What {
    What::Suppress { scope: Scope::System, reason: "asked".to_owned(), uid: 0 }
}

/// Everything that is told from a place on, and the place behind it.
fn all(mut place: Place, hook: &Settings, store: &Store) -> (Vec<String>, Place) {
    let mut told = Vec::new();
    loop {
        match place.next(hook, store).unwrap() {
            Next::Item(item) => {
                told.push(item.notice.id);
                place = Place::decode(&item.then.encode()).unwrap();
            }
            Next::Passed(further) => place = further,
            Next::Nothing => return (told, place),
        }
    }
}

#[test]
fn everything_is_told_once_in_order_from_any_place_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    record(&store, "before@example.org", suppress());
    let start = Place::now(*store.watch().borrow());
    let mut want = Vec::new();
    for number in 0..5 {
        let address = format!("c{number}@example.org");
        let sent = What::Sent { campaign: None, list: None, message_id: None };
        record(&store, &address, sent);
        want.push(format!("{}-suppress", record(&store, &address, suppress())));
        record(&store, &address, suppress());
        let what = What::Reactivate { scope: Scope::System, reason: "asked".to_owned(), uid: 0, by_timer: false };
        want.push(format!("{}-release", record(&store, &address, what)));
    }
    let both = hook(&[Occasion::Release, Occasion::Suppress]);
    let (told, end) = all(start.clone(), &both, &store);
    assert_eq!(told, want);
    assert_eq!(end.next(&both, &store).unwrap(), Next::Nothing);
    let (told, _) = all(start.clone(), &hook(&[Occasion::Release]), &store);
    assert_eq!(told, want.iter().skip(1).step_by(2).cloned().collect::<Vec<_>>());
    assert_eq!(all(start, &hook(&[Occasion::Alert]), &store).0, Vec::<String>::new());
}

#[test]
fn of_an_event_with_several_notices_those_that_were_told_are_not_told_again() {
    use crate::classify::Category;
    use crate::policy::{Authority, Evidence, Response};
    use crate::report::Kind;
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let start = Place::now(*store.watch().borrow());
    let response = Response {
        class: Category::Complaint.class(),
        kind: Kind::Complaint,
        category: Some(Category::Complaint),
        bounce_type: None,
        code: None,
        reason: None,
        fault: None,
        by_words: false,
        authority: Authority::Signed,
        campaign: None,
        list: None,
        sent_at: None,
    };
    let what = What::Response { response: Box::new(response), evidence: Box::<Evidence>::default() };
    let id = record(&store, "joe@example.org", what);
    let hook = hook(&[Occasion::Complaint, Occasion::Suppress]);
    let Next::Item(first) = start.next(&hook, &store).unwrap() else { panic!("two notices") };
    assert_eq!((first.notice.id, first.then.told), (format!("{id}-complaint"), Some(1)));
    let Next::Item(second) = first.then.next(&hook, &store).unwrap() else { panic!("another notice") };
    assert_eq!((second.notice.id, second.then.told), (format!("{id}-suppress"), None));
    assert_eq!(second.then.next(&hook, &store).unwrap(), Next::Nothing);
}

#[test]
fn an_alert_is_told_when_it_is_raised_and_when_it_has_been_over_for_a_while() {
    let at = |seconds: i64| Timestamp::from_second(1_780_000_000).unwrap() + SignedDuration::from_secs(seconds);
    let raised = [Raised { code: "undecided".to_owned(), message: "7 messages".to_owned() }];
    let mut place = Place::now(EventId(0));
    assert!(!place.note_alerts(&[], at(0)) && place.next_alert("h", at(0)).is_none());
    assert!(place.note_alerts(&raised, at(1)));
    let first = place.next_alert("h", at(1)).unwrap();
    assert_eq!(first.notice.id, "undecided-raised-1780000001000");
    let want = AlertNotice { code: "undecided".to_owned(), message: "7 messages".to_owned(), open: true };
    assert_eq!(first.notice.alert, Some(want));
    // Not told yet, or not kept: the same again, under the same id, though time has gone on.
    let mut place = Place::decode(&place.encode()).unwrap();
    assert!(!place.note_alerts(&raised, at(5)));
    assert_eq!(place.next_alert("h", at(5)).unwrap(), first);
    place = first.then;
    assert!(place.next_alert("h", at(6)).is_none());
    // It comes and goes.
    assert!(place.note_alerts(&[], at(7)));
    assert!(place.next_alert("h", at(8)).is_none());
    assert!(place.note_alerts(&raised, at(9)));
    assert!(place.next_alert("h", at(30)).is_none());
    assert!(place.note_alerts(&[], at(31)));
    let over = place.next_alert("h", at(41)).unwrap();
    assert_eq!((over.notice.id.as_str(), over.notice.alert.unwrap().open), ("undecided-over-1780000031000", false));
    assert!(over.then.alerts.is_empty());
}

#[test]
fn the_record_of_many_long_alerts_still_has_room() {
    let mut place = Place::now(EventId(u128::MAX));
    let raised = |number| Raised { code: format!("alert-number-{number}"), message: "\u{1}\"é".repeat(1000) };
    place.note_alerts(&(0..40).map(raised).collect::<Vec<_>>(), Timestamp::UNIX_EPOCH);
    assert_eq!(place.alerts.len(), ALERTS);
    let record = place.encode();
    assert!(record.len() <= RECORD, "{}", record.len());
    assert_eq!(Place::decode(&record).unwrap().alerts.len(), ALERTS);
}
