//! Batches and undoing: what counts when, what is taken back exactly, and what screening says of it at once.

use backstop::classify::{BounceCode, BounceType, Category, Class, Fault};
use backstop::mail::{Address, ListId};
use backstop::policy::{
    Authority, Contact, ContentKey, Event, EventId, Evidence, ImportedEntry, Level, OperatorList, Response, Scope, What,
};
use backstop::report::Kind;
use backstop::store::imports::UndoError;
use backstop::store::{NewEvent, Recorded, Settings, Store};
use jiff::Timestamp;
use proptest::prelude::{Strategy, proptest};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn open(path: &Path) -> Store {
    let settings = Settings { path: path.to_owned(), cache_bytes: 16 << 20, evidence_days: 400, ledger_days: 35 };
    Store::open(&settings).expect("the store opens")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).expect("a time")
}

fn event(to: Option<&str>, seconds: i64, what: What) -> NewEvent {
    NewEvent { at: at(seconds), address: to.map(address), queue_id: None, what, content_key: None }
}

fn bounce(to: &str, report: &str, seconds: i64, authority: Authority) -> NewEvent {
    let response = Response {
        class: Class::Bounce,
        kind: Kind::Bounce,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
        reason: None,
        fault: Some(Fault::Recipient),
        by_words: true,
        authority,
        campaign: None,
        list: None,
        sent_at: None,
    };
    let what = What::Response { response: Box::new(response), evidence: Box::new(Evidence::default()) };
    let content_key = Some(ContentKey::of(&[to.as_bytes(), report.as_bytes()]));
    NewEvent { content_key, ..event(Some(to), seconds, what) }
}

fn suppress(to: &str, seconds: i64) -> NewEvent {
    event(Some(to), seconds, What::Suppress { scope: Scope::System, reason: "asked to".to_owned(), uid: 0 })
}

fn reactivate(to: &str, seconds: i64) -> NewEvent {
    let what = What::Reactivate { scope: Scope::System, reason: "asked to".to_owned(), uid: 0, by_timer: false };
    event(Some(to), seconds, what)
}

fn begin(seconds: i64) -> NewEvent {
    let (source, format) = ("old.csv".to_owned(), "sendgrid".to_owned());
    event(None, seconds, What::Import { list: None, source, format, reason: "moved here".to_owned(), uid: 0 })
}

fn entry(subject: &str) -> ImportedEntry {
    ImportedEntry {
        subject: subject.to_owned(),
        scope: None,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: None,
        reason: Some("hard-bounce".to_owned()),
        since: Some(at(-1000)),
        note: None,
    }
}

fn numbered(range: std::ops::Range<u32>) -> impl Iterator<Item = std::io::Result<ImportedEntry>> {
    range.map(|number| Ok(entry(&format!("c{number:06}@example.org"))))
}

fn void(target: EventId) -> NewEvent {
    event(None, 0, What::Void { target, reason: "a mistake".to_owned(), uid: 0 })
}

fn revert(batch: EventId) -> NewEvent {
    event(None, 0, What::Revert { batch, reason: "a mistake".to_owned(), uid: 0 })
}

fn id(recorded: &[Recorded]) -> EventId {
    match recorded[0] {
        Recorded::New(id) | Recorded::Known(id) => id,
    }
}

fn record(store: &Store, event: NewEvent) -> EventId {
    id(&store.record_blocking(vec![event]).expect("recorded"))
}

fn all_contacts(store: &Store) -> Vec<(Address, Contact)> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = store.contacts_on_record(cursor.as_deref(), 500).expect("a page");
        all.extend(page.entries);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

/// Checks that a rebuild and reopening change nothing, and returns what is on record.
fn lasting(store: Store, path: &Path) -> (Vec<(Address, Contact)>, u64) {
    let before = (all_contacts(&store), store.figures().contacts);
    store.rebuild(&mut |_| {}).expect("rebuilt");
    assert_eq!((all_contacts(&store), store.figures().contacts), before, "after a rebuild");
    store.close().expect("closed");
    drop(store);
    let store = open(path);
    assert_eq!((all_contacts(&store), store.figures().contacts), before, "after reopening");
    before
}

fn is_suppressed(store: &Store, to: &str) -> bool {
    let list = ListId("news.example.org".to_owned());
    store.screened(&address(to), Some(&list), Timestamp::now()).expect("an answer").suppression.is_some()
}

#[test]
fn a_batch_brings_one_fact_for_each_address_and_its_events_tell_all_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    record(&store, suppress("c000007@example.org", 5));
    let mut told = Vec::new();
    let batch = store.import_batch(begin(9), &mut numbered(0..1500), &mut |count| told.push(count)).unwrap();
    assert_eq!((batch.entries, batch.known, batch.reverted), (1500, 1, None));
    assert_eq!((batch.source.as_str(), batch.reason.as_str(), batch.at), ("old.csv", "moved here", at(9)));
    assert_eq!(told, [512, 1024, 1500]);
    assert_eq!(store.batches().unwrap(), std::slice::from_ref(&batch));
    assert_eq!(store.figures().contacts, 1500);
    let facts = store.contact(&address("c000007@example.org")).unwrap().unwrap().facts;
    assert_eq!(facts.len(), 2);
    let events = store.events_after(None, 99).unwrap();
    let brought: Vec<&ImportedEntry> = events.iter().flat_map(|event| imported(event, batch.id)).collect();
    assert!(
        brought
            .iter()
            .map(|entry| &entry.subject)
            .eq(numbered(0..1500).map(|entry| entry.unwrap().subject).collect::<Vec<_>>().iter())
    );
    let of_one = store.events_of(&address("c000007@example.org"), 9).unwrap();
    assert_eq!(of_one.len(), 2);
    assert_eq!(imported(&of_one[1], batch.id), [entry("c000007@example.org")], "only its own entry");
    let figures = store.figures();
    assert_eq!((figures.events, figures.contacts), (5, 1500));
    lasting(store, directory.path());
}

fn imported(event: &Event, of: EventId) -> &[ImportedEntry] {
    match &event.what {
        What::Imported { batch, entries, .. } if *batch == of => entries,
        _ => &[],
    }
}

#[test]
fn an_address_named_twice_has_both_facts() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let on =
        |list: &str| ImportedEntry { scope: Some(Scope::List(ListId(list.to_owned()))), ..entry("joe@example.org") };
    let entries =
        [entry("ann@example.org"), on("news"), on("offers"), entry("JOE@EXAMPLE.org"), entry("zoe@example.org")];
    let batch = store.import_batch(begin(0), &mut entries.map(Ok).into_iter(), &mut |_| {}).unwrap();
    assert_eq!(batch.entries, 5);
    assert!(store.contact(&address("joe@example.org")).unwrap().unwrap().facts.len() >= 2);
    lasting(store, directory.path());
}

#[test]
fn nothing_of_a_batch_counts_that_cannot_be_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    record(&store, suppress("c000003@example.org", 5));
    let before = (all_contacts(&store), store.figures().contacts);
    let broken = || Err(std::io::Error::other("the connection was reset"));
    let mut entries = numbered(0..2000).chain(std::iter::once_with(broken));
    let mut during = 0;
    let failed = store.import_batch(begin(0), &mut entries, &mut |_| {
        during += 1;
        assert_eq!(all_contacts(&store), before.0, "nothing counts yet");
        assert!(is_suppressed(&store, "c000003@example.org"));
        assert_eq!(store.contact(&address("c000005@example.org")).unwrap(), None);
        assert!(store.batches().unwrap().is_empty());
    });
    assert!(failed.unwrap_err().to_string().contains("connection was reset") && during > 2);
    assert_eq!((all_contacts(&store), store.figures().contacts), before);
    let mut entries = [Ok(entry("ann@example.org")), Ok(entry("no address"))].into_iter();
    assert!(store.import_batch(begin(0), &mut entries, &mut |_| {}).unwrap_err().to_string().contains("no address"));
    assert!(store.batches().unwrap().iter().all(|batch| batch.reverted.is_some()));
    assert_eq!(lasting(store, directory.path()), before);
}

#[test]
fn a_batch_taken_back_leaves_what_was_there_and_what_another_brought() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in (0..900).step_by(100) {
        record(&store, suppress(&format!("c{number:06}@example.org"), 5));
    }
    let first = store.import_batch(begin(0), &mut numbered(0..1000), &mut |_| {}).unwrap();
    let before = (all_contacts(&store), store.figures().contacts);
    let second = store.import_batch(begin(1), &mut numbered(500..3000), &mut |_| {}).unwrap();
    assert_eq!((second.entries, second.known), (2500, 500));
    let mut told = 0;
    assert_eq!(store.revert(revert(second.id), &mut |count| told = count).unwrap(), 2500);
    assert_eq!(told, 2500);
    assert_eq!((all_contacts(&store), store.figures().contacts), before);
    assert!(!is_suppressed(&store, "c002000@example.org"));
    assert!(store.events_of(&address("c002000@example.org"), 9).unwrap().is_empty());
    let again = store.revert(revert(second.id), &mut |_| {});
    let by = store.undone_by(second.id).unwrap().unwrap();
    assert!(matches!(again, Err(UndoError::Already(event)) if event == by), "{again:?}");
    let piece = store.events_after(Some(second.id), 1).unwrap()[0].id;
    assert_eq!(store.undone_by(piece).unwrap(), Some(by));
    assert_eq!(store.undone_by(first.id).unwrap(), None);
    assert!(matches!(store.revert(revert(EventId(7)), &mut |_| {}), Err(UndoError::Unknown)));
    assert!(matches!(store.revert(revert(by), &mut |_| {}), Err(UndoError::Never(_))));
    let batches = store.batches().unwrap();
    assert_eq!(batches.iter().map(|batch| batch.reverted.is_some()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(lasting(store, directory.path()), before);
    let store = open(directory.path());
    store.revert(revert(first.id), &mut |_| {}).unwrap();
    assert_eq!(all_contacts(&store).len(), 9);
    assert_eq!(lasting(store, directory.path()).1, 9);
}

#[test]
fn a_batch_taken_back_while_contact_records_are_made_anew_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let batch = store.import_batch(begin(0), &mut numbered(0..20_000), &mut |_| {}).unwrap();
    record(&store, suppress("joe@example.org", 5));
    let reverting = std::thread::spawn({
        let store = store.clone();
        move || store.revert(revert(batch.id), &mut |_| {}).unwrap()
    });
    store.rebuild(&mut |_| {}).unwrap();
    assert_eq!(reverting.join().unwrap(), 20_000);
    assert_eq!(all_contacts(&store).len(), 1);
    assert_eq!(store.figures().contacts, 1);
    assert_eq!(lasting(store, directory.path()).1, 1);
}

#[test]
fn a_batch_for_a_list_counts_when_it_is_whole_and_goes_without_what_others_put_there() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let list = Some(OperatorList::Blocklist);
    let by_hand = What::ListAdd {
        list: OperatorList::Blocklist,
        entry: "c000005@example.org".to_owned(),
        reason: String::new(),
        uid: 0,
    };
    record(&store, event(None, 0, by_hand));
    let begin = || match begin(0) {
        NewEvent { what: What::Import { source, format, reason, uid, .. }, .. } => {
            event(None, 0, What::Import { list, source, format, reason, uid })
        }
        other => other,
    };
    let listed = |store: &Store, number: u32| store.listed(&address(&format!("c{number:06}@example.org")));
    let check = |store: &Store, counts: bool| {
        assert_eq!(listed(store, 5), list);
        assert_eq!(listed(store, 700), list.filter(|_| counts));
        assert_eq!(store.listed_by(&address("c000700@example.org")).unwrap().len(), usize::from(counts));
        assert_eq!(
            store.list_entries(OperatorList::Blocklist, None, 5000).unwrap().entries.len(),
            if counts { 2000 } else { 1 }
        );
    };
    let mut broken = numbered(0..2000).chain(std::iter::once_with(|| Err(std::io::Error::other("reset"))));
    store.import_batch(begin(), &mut broken, &mut |_| check(&store, false)).unwrap_err();
    check(&store, false);
    let batch = store.import_batch(begin(), &mut numbered(0..2000), &mut |_| check(&store, false)).unwrap();
    assert_eq!((batch.list, batch.entries), (list, 2000));
    check(&store, true);
    store.rebuild(&mut |_| {}).unwrap();
    check(&store, true);
    assert_eq!(store.revert(revert(batch.id), &mut |_| {}).unwrap(), 2000);
    check(&store, false);
    store.rebuild(&mut |_| {}).unwrap();
    check(&store, false);
    drop(store);
    check(&open(directory.path()), false);
}

#[test]
fn an_erased_address_goes_from_a_batch_though_its_neighbours_share_most_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.import_batch(begin(0), &mut numbered(0..1000), &mut |_| {}).unwrap();
    assert!(store.contact(&address("c000700@example.org")).unwrap().is_some());
    let erase = event(None, 0, What::Erase { kept: false, reason: "asked to".to_owned(), uid: 0 });
    assert_eq!(store.erase(&address("c000700@example.org"), erase).unwrap().events, 1);
    let told = format!("{:?}", store.events_after(None, 99).unwrap());
    assert!(told.contains("c000699@example.org") && !told.contains("c000700@example.org"));
    assert_eq!(store.contact(&address("c000700@example.org")).unwrap(), None);
    assert!(!is_suppressed(&store, "c000700@example.org"));
    assert_eq!(lasting(store, directory.path()).1, 999);
}

#[test]
fn an_event_undone_is_as_if_it_had_never_been_and_the_same_report_does_not_bring_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let kept = record(&store, bounce("joe@example.org", "1", 0, Authority::Local));
    let before = store.contact(&address("joe@example.org")).unwrap();
    let wrong = record(&store, bounce("joe@example.org", "2", 5, Authority::Local));
    let by = store.void(void(wrong)).unwrap();
    assert_eq!(store.contact(&address("joe@example.org")).unwrap(), before);
    let again = store.record_blocking(vec![bounce("joe@example.org", "2", 5, Authority::Local)]).unwrap();
    assert_eq!(again, [Recorded::Known(wrong)]);
    assert_eq!(store.contact(&address("joe@example.org")).unwrap(), before);
    let listed: Vec<EventId> =
        store.events_of(&address("joe@example.org"), 9).unwrap().into_iter().map(|event| event.id).collect();
    assert_eq!(listed, [kept, wrong, by], "all of it stays on record");
    assert_eq!(store.undone_by(wrong).unwrap(), Some(by));
    for (target, want) in [(wrong, "undone before"), (by, "record it again"), (EventId(9), "no such event")] {
        let refused = store.void(void(target)).unwrap_err().to_string();
        assert!(refused.contains(want), "{refused}");
    }
    let batch = store.import_batch(begin(0), &mut numbered(0..3), &mut |_| {}).unwrap();
    for target in [batch.id, store.events_after(Some(batch.id), 1).unwrap()[0].id] {
        assert!(store.void(void(target)).unwrap_err().to_string().contains("revert the batch"));
    }
    store.void(void(kept)).unwrap();
    assert_eq!(store.contact(&address("joe@example.org")).unwrap(), None);
    assert!(!is_suppressed(&store, "joe@example.org"));
    lasting(store, directory.path());
}

/// What happens in [`undoing_equals_never_having_had_it`]: to which contact, what, and whether it is undone.
fn happening() -> impl Strategy<Value = (u8, u8, i64, bool)> {
    (0..4_u8, 0..6_u8, 0..40_i64, proptest::bool::ANY)
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(12))]
    #[test]
    fn undoing_equals_never_having_had_it(happenings in proptest::collection::vec(happening(), 1..40)) {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [with, without] = [0, 1].map(|one: usize| open(directories[one].path()));
        let mut undone = Vec::new();
        for (number, (contact, kind, seconds, undo)) in happenings.into_iter().enumerate() {
            let to = format!("c{contact}@example.org");
            let event = match kind {
                0 => bounce(&to, &number.to_string(), seconds, Authority::Local),
                1 => bounce(&to, &number.to_string(), seconds, Authority::Unverified),
                2 => suppress(&to, seconds),
                3 => reactivate(&to, seconds),
                4 => event(Some(&to), seconds, What::Activity { level: Level::CLICK, campaign: None, uid: None, reason: String::new() }),
                _ => event(Some(&to), seconds, What::Sent { campaign: None, list: None, message_id: None }),
            };
            let recorded = record(&with, event.clone());
            if undo { undone.push(recorded) } else { record(&without, event); }
            if number % 3 == 0 {
                undone.drain(..).for_each(|target| assert!(with.void(void(target)).is_ok()));
            }
        }
        undone.drain(..).for_each(|target| assert!(with.void(void(target)).is_ok()));
        let facts = |store: &Store| -> Vec<_> {
            let of = |number| store.contact(&address(&format!("c{number}@example.org"))).unwrap().unwrap_or_default();
            (0..4).map(|number| of(number).facts.into_iter().map(|fact| (fact.at, fact.what)).collect::<Vec<_>>()).collect()
        };
        // Facts of one time stand in order of id, and ids rise in both: the same order.
        assert_eq!(facts(&with), facts(&without));
        let screened = |store: &Store| (0..4).map(|number| is_suppressed(store, &format!("c{number}@example.org"))).collect::<Vec<_>>();
        assert_eq!(screened(&with), screened(&without));
        lasting(with, directories[0].path());
    }
}

/// Imports for [`a_batch_cut_off_by_kill_9_does_not_count`], which kills it.
#[test]
#[ignore = "the child of another test"]
fn child_that_imports() {
    let Some(path) = std::env::var_os("BACKSTOP_TEST_STORE") else { return };
    let store = open(Path::new(&path));
    record(&store, suppress("joe@example.org", 5));
    let whole = store.import_batch(begin(0), &mut numbered(0..700), &mut |_| {}).unwrap();
    println!("whole {}", whole.id);
    std::thread::spawn({
        let store = store.clone();
        move || {
            for number in 0..u32::MAX {
                println!("beside {}", record(&store, suppress(&format!("b{number}@example.org"), 5)));
            }
        }
    });
    store.import_batch(begin(1), &mut numbered(300..9_000_000), &mut |count| println!("in {count}")).unwrap();
}

#[test]
fn a_batch_cut_off_by_kill_9_does_not_count() {
    for round in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child_that_imports", "--ignored", "--nocapture"]);
        child.env("BACKSTOP_TEST_STORE", directory.path()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let (mut whole, mut beside, mut pieces) = (None, Vec::new(), 0);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            match line.split_once(' ') {
                Some(("whole", id)) => whole = Some(id.parse::<EventId>().unwrap()),
                Some(("beside", id)) => beside.extend(id.parse::<EventId>()),
                Some(("in", _)) => pieces += 1,
                _ => {}
            }
            if pieces > round * 7 && !beside.is_empty() {
                child.kill().unwrap();
                break;
            }
        }
        assert!(!child.wait().unwrap().success() && !beside.is_empty());
        let store = open(directory.path());
        let counts = |store: &Store| {
            assert!(store.contact(&address("c000650@example.org")).unwrap().unwrap().facts.len() == 1);
            assert_eq!(store.contact(&address("c000800@example.org")).unwrap(), None);
            assert!(is_suppressed(store, "joe@example.org") && !is_suppressed(store, "c000800@example.org"));
        };
        counts(&store);
        let deadline = Instant::now() + Duration::from_secs(20);
        let batches = loop {
            let batches = store.batches().unwrap();
            if batches.len() == 2 {
                break batches;
            }
            assert!(Instant::now() < deadline, "the batch that was cut off is not taken back: {batches:?}");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!((Some(batches[0].id), batches[0].reverted), (whole, None));
        assert!(batches[1].reverted.is_some());
        let events = store.events_after(None, usize::MAX).unwrap();
        assert!(beside.iter().all(|id| events.iter().any(|event| event.id == *id)), "what was acknowledged stays");
        counts(&store);
        store.rebuild(&mut |_| {}).unwrap();
        counts(&store);
        let figures = store.figures().contacts;
        assert_eq!(figures, all_contacts(&store).len() as u64);
        // Another import takes its place.
        store.import_batch(begin(2), &mut numbered(300..1000), &mut |_| {}).unwrap();
        assert!(store.contact(&address("c000800@example.org")).unwrap().is_some());
        lasting(store, directory.path());
    }
}

#[test]
fn screening_knows_at_once_what_was_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let end = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !end.load(Ordering::Relaxed) {
                    for number in 0..8 {
                        is_suppressed(&store, &format!("c{number}@example.org"));
                    }
                    asked.fetch_add(8, Ordering::Relaxed);
                }
            });
        }
        for round in 0..120 {
            let to = format!("c{}@example.org", round % 8);
            record(&store, suppress(&to, round * 10));
            assert!(is_suppressed(&store, &to), "round {round}");
            let released = record(&store, reactivate(&to, round * 10 + 5));
            assert!(!is_suppressed(&store, &to), "round {round}");
            store.void(void(released)).unwrap();
            assert!(is_suppressed(&store, &to), "round {round}");
            record(&store, reactivate(&to, round * 10 + 6));
            assert!(!is_suppressed(&store, &to), "round {round}");
        }
        end.store(true, Ordering::Relaxed);
    });
    assert!(asked.load(Ordering::Relaxed) > 1000);
}

#[test]
fn screening_goes_by_the_policy_put_in_force_last() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..3000 {
        let event = bounce(&format!("c{number}@example.org"), "1", 0, Authority::Unverified);
        store.import([event]).unwrap();
    }
    for accept_unverified in [false, true, false, true] {
        store.set_policy(&backstop::policy::Policy { accept_unverified, ..Default::default() });
        for number in 0..3000 {
            assert_eq!(is_suppressed(&store, &format!("c{number}@example.org")), accept_unverified);
        }
    }
}
