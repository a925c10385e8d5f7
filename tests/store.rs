//! The store through its public face: what is acknowledged stays, whatever happens to the process or the disk.

use backstop::classify::{BounceCode, BounceType, Category, Class, Fault};
use backstop::mail::{Address, ListId, MessageId};
use backstop::policy::contact::FactKind;
use backstop::policy::{Authority, ContentKey, EventId, Evidence, Response, Scope, SkipReason, What};
use backstop::report::{Campaign, Kind};
use backstop::store::{NewEvent, Recorded, Send, Settings, Store, StoreError};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DAY: i64 = 86_400;

fn settings(path: &Path) -> Settings {
    Settings { path: path.to_owned(), cache_bytes: 16 << 20, evidence_days: 400, ledger_days: 35 }
}

fn open(path: &Path) -> Store {
    Store::open(&settings(path)).expect("the store opens")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).expect("a time")
}

fn response(kind: Kind, authority: Authority) -> Response {
    Response {
        class: Class::Bounce,
        kind,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
        reason: Some("user-unknown".to_owned()),
        fault: Some(Fault::Recipient),
        by_words: true,
        authority,
        campaign: Some(Campaign("spring".to_owned())),
        list: Some(ListId("news.example.org".to_owned())),
        sent_at: Some(at(-60)),
    }
}

/// A bounce whose content key is made of `report`.
fn bounce(to: &str, report: &str, seconds: i64) -> NewEvent {
    let evidence = Evidence {
        description: "bad destination mailbox address".to_owned(),
        diagnostic: Some("550 5.1.1 user unknown".to_owned()),
        ..Evidence::default()
    };
    NewEvent {
        at: at(seconds),
        address: Some(address(to)),
        queue_id: Some("4XyZ12".to_owned()),
        what: What::Response {
            response: Box::new(response(Kind::Bounce, Authority::Local)),
            evidence: Box::new(evidence),
        },
        content_key: Some(ContentKey::of(&[to.as_bytes(), report.as_bytes()])),
    }
}

fn skip(to: &str, seconds: i64) -> NewEvent {
    let what = What::Skip {
        reason: SkipReason::Suppressed,
        category: Some(Category::Rejected),
        scope: Some(Scope::System),
        limit: None,
        campaign: None,
        list: None,
        forward_path: None,
        shadow: false,
    };
    NewEvent { at: at(seconds), address: Some(address(to)), queue_id: None, what, content_key: None }
}

fn send(message_id: &str, seconds: i64, recipients: &[&str]) -> Send {
    Send {
        message_id: MessageId(message_id.to_owned()),
        at: at(seconds),
        campaign: Some(Campaign("spring".to_owned())),
        list: None,
        recipients: recipients.iter().map(|recipient| address(recipient)).collect(),
    }
}

fn id(recorded: Recorded) -> EventId {
    match recorded {
        Recorded::New(id) | Recorded::Known(id) => id,
    }
}

/// Every contact's record, and whether it may be suppressed.
fn all_contacts(store: &Store) -> Vec<(Address, backstop::policy::Contact)> {
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = store.contacts_on_record(cursor.as_deref(), 7).unwrap();
        all.extend(page.entries);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

#[test]
fn what_was_recorded_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/store");
    let store = open(&path);
    let recorded = store.record_blocking(vec![bounce("joe@example.org", "1", 0), skip("joe@example.org", 5)]).unwrap();
    let unreadable = NewEvent {
        at: at(9),
        address: None,
        queue_id: None,
        what: What::Unreadable { problem: "no Action".to_owned(), excerpt: "ü".repeat(20_000) },
        content_key: Some(ContentKey::of(&[b"broken"])),
    };
    store.record_blocking(vec![unreadable.clone()]).unwrap();
    let check = |store: &Store| {
        let joe = address("joe@example.org");
        assert!(store.may_be_suppressed(&joe) && !store.may_be_suppressed(&address("jo@example.org")));
        assert_eq!(store.contact(&address("jo@example.org")).unwrap(), None);
        let facts = store.contact(&joe).unwrap().unwrap().facts;
        assert_eq!(facts.len(), 1);
        assert_eq!((facts[0].event, facts[0].at), (id(recorded[0]), at(0)));
        assert_eq!(facts[0].what, FactKind::Response(Box::new(response(Kind::Bounce, Authority::Local))));
        let events = store.events_of(&joe, 9).unwrap();
        assert_eq!(
            events.iter().map(|event| event.id).collect::<Vec<_>>(),
            recorded.iter().copied().map(id).collect::<Vec<_>>()
        );
        assert_eq!(store.events_of(&joe, 1).unwrap(), events[1..], "the newest");
        let all = store.events_after(None, 9).unwrap();
        assert_eq!((all.len(), &all[..2], &all[2].what), (3, &events[..], &unreadable.what));
        assert_eq!(store.events_after(Some(all[0].id), 1).unwrap(), all[1..2]);
        assert_eq!((store.figures().events, store.figures().contacts), (3, 1));
        assert!(fs::read_dir(path.join("blobs")).unwrap().next().is_none(), "sled does not sync these");
    };
    check(&store);
    store.close().unwrap();
    store.close().unwrap();
    assert!(matches!(store.record_blocking(vec![]), Err(StoreError::Stopped)));
    assert!(matches!(store.contact(&address("joe@example.org")), Err(StoreError::Stopped)));
    let store = open(&path);
    check(&store);
    assert_eq!(store.record_blocking(vec![unreadable]).unwrap().len(), 1);
    assert_eq!(store.figures().events, 3);
}

#[test]
fn the_same_report_counts_once_in_one_batch_in_another_and_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let (one, other) = (bounce("joe@example.org", "1", 0), bounce("joe@example.org", "2", 0));
    let first = store.record_blocking(vec![one.clone(), other.clone(), one.clone()]).unwrap();
    assert!(matches!(first[..], [Recorded::New(a), Recorded::New(b), Recorded::Known(c)] if a == c && a < b));
    let second = store.record_blocking(vec![other.clone()]).unwrap();
    assert_eq!(second, [Recorded::Known(id(first[1]))]);
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.record_blocking(vec![one.clone()]).unwrap(), [Recorded::Known(id(first[0]))]);
    assert_eq!(store.rebuild(&mut |_| {}).unwrap(), 1);
    assert_eq!(store.record_blocking(vec![one]).unwrap(), [Recorded::Known(id(first[0]))], "also after a rebuild");
    assert_eq!(store.figures().events, 2);
    assert_eq!(store.contact(&address("joe@example.org")).unwrap().unwrap().facts.len(), 2);
}

#[test]
fn facts_stand_in_order_of_time_in_whatever_order_they_came() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for seconds in [5, 1, 4, 2, 3, 0] {
        store.record_blocking(vec![bounce("joe@example.org", &seconds.to_string(), seconds)]).unwrap();
    }
    let facts = store.contact(&address("joe@example.org")).unwrap().unwrap().facts;
    assert_eq!(facts.iter().map(|fact| fact.at).collect::<Vec<_>>(), (0..6).map(at).collect::<Vec<_>>());
}

#[test]
fn of_what_nothing_vouches_for_the_newest_count_and_everything_else_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let unverified = |number: i64| {
        let mut event = bounce("joe@example.org", &number.to_string(), number);
        let What::Response { response, .. } = &mut event.what else { unreachable!() };
        response.authority = Authority::Unverified;
        event
    };
    store.record_blocking(vec![bounce("joe@example.org", "first", -1)]).unwrap();
    store.import((0..400).map(|number| unverified(number * 7 % 400))).unwrap();
    let check = |store: &Store| {
        let facts = store.contact(&address("joe@example.org")).unwrap().unwrap().facts;
        let times: Vec<Timestamp> = facts.iter().map(|fact| fact.at).collect();
        assert_eq!(times, std::iter::once(-1).chain(144..400).map(at).collect::<Vec<_>>());
    };
    check(&store);
    assert_eq!(store.events_after(None, 1000).unwrap().len(), 401);
    store.rebuild(&mut |_| {}).unwrap();
    check(&store);
}

#[test]
fn a_contact_is_listed_when_something_may_suppress_it_page_by_page_in_order_of_address() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut delivered = bounce("a@example.org", "d", 0);
    let What::Response { response, .. } = &mut delivered.what else { unreachable!() };
    response.kind = Kind::Delivered;
    let names = ["c@example.org", "c@example.org.uk", "b@example.org", "c-d@example.org"];
    let mut events: Vec<NewEvent> = names.iter().map(|name| bounce(name, "1", 0)).collect();
    events.extend([delivered, bounce("c@example.org", "2", 1), skip("z@example.org", 0)]);
    store.record_blocking(events).unwrap();
    let (mut listed, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.contacts_on_record(cursor.as_deref(), 1).unwrap();
        assert!(page.entries.len() <= 1);
        listed.extend(page.entries.iter().map(|(address, contact)| (address.to_string(), contact.facts.len())));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let want = [("b@example.org", 1), ("c-d@example.org", 1), ("c@example.org", 2), ("c@example.org.uk", 1)];
    assert_eq!(listed, want.map(|(address, facts)| (address.to_owned(), facts)));
    assert!(!store.may_be_suppressed(&address("a@example.org")), "a delivery suppresses nobody");
    assert_eq!(store.contact(&address("a@example.org")).unwrap().unwrap().facts.len(), 1);
    assert_eq!(store.figures().contacts, 5);
}

#[test]
fn a_rebuild_makes_the_same_records_while_recording_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let event = |number: i64| match number % 3 {
        0 => skip(&format!("c{}@example.org", number % 97), number),
        _ => bounce(&format!("c{}@example.org", number % 97), &number.to_string(), -number),
    };
    store.import((0..3000).map(event)).unwrap();
    let during = std::thread::spawn({
        let store = store.clone();
        move || (3000..3400).for_each(|number| drop(store.record_blocking(vec![event(number)]).unwrap()))
    });
    let mut told = Vec::new();
    store.rebuild(&mut |events| told.push(events)).unwrap();
    during.join().unwrap();
    assert!(told.len() > 3 && told.is_sorted() && *told.last().unwrap() >= 3000, "{told:?}");
    let before = (all_contacts(&store), store.events_of(&address("c5@example.org"), 1000).unwrap());
    assert_eq!(before.0.len(), 97);
    let figures = store.figures();
    assert_eq!(store.rebuild(&mut |_| {}).unwrap(), 97);
    assert_eq!((all_contacts(&store), store.events_of(&address("c5@example.org"), 1000).unwrap()), before);
    assert_eq!((store.figures().events, store.figures().contacts), (figures.events, figures.contacts));
    drop(store);
    let store = open(directory.path());
    assert_eq!(all_contacts(&store), before.0);
    assert_eq!(store.figures().contacts, 97);
}

#[test]
fn sends_are_found_at_once_and_when_written_and_forgotten_when_old() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let crowd: Vec<String> = (0..900).map(|number| format!("c{number}@example.org")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).collect();
    store.remember_send(send("old@x", -40 * DAY, &["joe@example.org"])).unwrap();
    store.remember_send(send("new@x", 0, &["joe@example.org", "ann@example.org"])).unwrap();
    for part in crowd.chunks(300) {
        store.remember_send(send("crowd@x", 0, part)).unwrap();
    }
    let recipient = |store: &Store, message_id: &str, to: &str| {
        let found = store.find_send(&MessageId(message_id.to_owned()), &address(to)).unwrap();
        found.map(|found| {
            assert_eq!(found.campaign, Some(Campaign("spring".to_owned())));
            found.recipient
        })
    };
    let check = |store: &Store, old: Option<bool>| {
        assert_eq!(recipient(store, "old@x", "joe@example.org"), old);
        assert_eq!(recipient(store, "new@x", "ann@example.org"), Some(true));
        assert_eq!(recipient(store, "new@x", "eve@example.org"), Some(false));
        assert_eq!(recipient(store, "never@x", "joe@example.org"), None);
        assert!(crowd.iter().all(|to| recipient(store, "crowd@x", to) == Some(true)));
        assert_eq!(recipient(store, "crowd@x", "eve@example.org"), Some(false));
    };
    check(&store, Some(true));
    store.close().unwrap();
    let store = open(directory.path());
    check(&store, Some(true));
    // More of the same message on another day; the first day still answers for its own recipients.
    store.remember_send(send("new@x", DAY, &["eve@example.org"])).unwrap();
    assert_eq!(recipient(&store, "new@x", "eve@example.org"), Some(true));
    assert_eq!(recipient(&store, "new@x", "ann@example.org"), Some(true));
    store.close().unwrap();
    let store = open(directory.path());
    assert_eq!(recipient(&store, "new@x", "eve@example.org"), Some(true));
    store.close().unwrap();
    let store = open(directory.path());
    let ledger_days = Duration::from_secs(35 * DAY as u64);
    assert_eq!(store.expire(at(0)).unwrap().sends, 1);
    assert_eq!(recipient(&store, "old@x", "joe@example.org"), None);
    assert_eq!(recipient(&store, "new@x", "ann@example.org"), Some(true));
    assert!(store.expire(at(2 * DAY) + ledger_days).unwrap().sends > 600);
    assert_eq!(recipient(&store, "crowd@x", "c7@example.org"), None);
}

#[test]
fn old_reports_lose_their_words_and_keep_their_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut long = bounce("c0@example.org", "long", 0);
    let What::Response { evidence, .. } = &mut long.what else { unreachable!() };
    evidence.diagnostic = Some("550 ".repeat(5000));
    store.import((1..700).map(|number| bounce(&format!("c{number}@example.org"), "1", 0)).chain([long])).unwrap();
    let contacts = all_contacts(&store);
    assert_eq!(store.expire(Timestamp::now()).unwrap().events, 0, "nothing is old yet");
    let later = Timestamp::now() + Duration::from_secs(401 * DAY as u64);
    assert_eq!(store.expire(later).unwrap().events, 700);
    assert_eq!(store.expire(later).unwrap().events, 0);
    let events = store.events_after(None, 1000).unwrap();
    assert_eq!(events.len(), 700);
    for event in &events {
        let What::Response { response: kept, evidence } = &event.what else { panic!("{event:?}") };
        assert_eq!(**kept, response(Kind::Bounce, Authority::Local));
        assert_eq!((evidence.description.as_str(), &evidence.diagnostic), ("bad destination mailbox address", &None));
    }
    assert_eq!(all_contacts(&store), contacts);
    assert_eq!(store.record_blocking(vec![bounce("c7@example.org", "1", 0)]).unwrap().len(), 1);
    assert_eq!(store.figures().events, 700, "and are still known when they come again");
}

#[test]
fn what_is_recorded_soon_is_there_within_seconds_and_announced() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut watch = store.watch();
    watch.mark_unchanged();
    store.record_soon((0..1500).map(|number| skip(&format!("c{number}@example.org"), 0)).collect()).unwrap();
    let since = Instant::now();
    while store.figures().events < 1500 {
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", store.figures());
        std::thread::sleep(Duration::from_millis(5));
    }
    let newest = *watch.borrow_and_update();
    assert_eq!(store.events_after(None, 2000).unwrap().last().unwrap().id, newest);
    let event = skip("joe@example.org", 0);
    assert!(matches!(store.record_soon(vec![event; 100_000]), Err(StoreError::Busy)));
    assert_eq!(store.figures().waiting, 0);
}

#[test]
fn an_opening_that_was_cut_off_does_not_hinder_the_next() {
    let directory = tempfile::tempdir().unwrap();
    // The very first one: sled was writing its settings, and there is no log yet.
    fs::write(directory.path().join("conf"), "segment_size: 524288\nuse_com").unwrap();
    let mut recorded = BTreeSet::new();
    for (round, left) in
        ["", "half of a snapshot, which is longer than the note of its length and checksum"].iter().enumerate()
    {
        // sled goes by the last snapshot in order of name, and takes one that was never finished for finished.
        for name in ["snap.0000000000000000.generating", "snap.7FFFFFFFFFFFFFFF.generating"] {
            fs::write(directory.path().join(name), left).unwrap();
        }
        let store = open(directory.path());
        let new = store.record_blocking(vec![bounce("joe@example.org", &round.to_string(), 0)]).unwrap();
        recorded.extend(new.into_iter().map(id));
        let on_disk = store.events_after(None, 10).unwrap().into_iter().map(|event| event.id).collect::<BTreeSet<_>>();
        assert_eq!(on_disk, recorded);
        store.close().unwrap();
    }
}

#[test]
fn a_second_opener_is_told_that_the_store_is_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let error = Store::open(&settings(directory.path())).err().expect("refused");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().ends_with("in use by another process"), "{error}");
    drop(store);
    open(directory.path());
}

#[test]
fn a_newer_schema_is_refused_by_name_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).record_blocking(vec![bounce("joe@example.org", "1", 0)]).unwrap();
    let set = |schema: u32| {
        let db = sled::Config::new().path(directory.path()).open().unwrap();
        db.open_tree("meta").unwrap().insert("schema", &schema.to_be_bytes()).unwrap();
        db.flush().unwrap();
    };
    set(4);
    let error = Store::open(&settings(directory.path())).err().expect("refused");
    assert!(matches!(error, StoreError::NewerSchema { found: 4, known: 3, .. }), "{error}");
    assert!(error.to_string().contains("newer backstopd (schema 4, this one reads up to 3)"), "{error}");
    set(3);
    assert_eq!(open(directory.path()).figures().events, 1);
}

#[test]
fn a_path_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.join("store"), file] {
        let error = Store::open(&settings(&path)).err().expect("refused");
        assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    }
}

#[test]
fn a_store_that_nobody_may_write_serves_reads_refuses_reports_and_takes_them_later() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.record_blocking(vec![bounce("joe@example.org", "1", 0)]).unwrap();
    let db = directory.path().join("db");
    let set_mode = |mode| fs::set_permissions(&db, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o444);
    for _ in 0..3 {
        let refused = store.record_blocking(vec![bounce("ann@example.org", "1", 0)]);
        assert!(matches!(refused, Err(StoreError::Unwritable { .. })), "{refused:?}");
    }
    assert!(!store.may_be_suppressed(&address("ann@example.org")));
    assert_eq!(store.contact(&address("ann@example.org")).unwrap(), None);
    assert!(store.contact(&address("joe@example.org")).unwrap().is_some());
    store.record_soon(vec![skip("joe@example.org", 1)]).unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    assert_eq!(store.figures().waiting, 1, "it waits for better times");
    let error = store.clone().close().err();
    assert!(matches!(error, Some(StoreError::Unwritable { .. })), "{error:?}");
    drop(store);
    assert!(matches!(Store::open(&settings(directory.path())), Err(StoreError::Unwritable { .. })));
    set_mode(0o644);
    let store = open(directory.path());
    store.record_blocking(vec![bounce("ann@example.org", "1", 0)]).unwrap();
    assert!(store.may_be_suppressed(&address("ann@example.org")));
}

#[test]
fn contact_records_that_cannot_be_read_are_made_anew_on_opening() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.import((0..50).map(|number| bounce(&format!("c{number}@example.org"), "1", number))).unwrap();
    let before = all_contacts(&store);
    drop(store);
    let db = sled::Config::new().path(directory.path()).open().unwrap();
    let tree = db.open_tree("contacts.1").unwrap();
    let (key, _) = tree.iter().nth(20).unwrap().unwrap();
    tree.insert(key, b"\xff\xff").unwrap();
    drop((db, tree));
    let store = open(directory.path());
    assert_eq!(all_contacts(&store), before);
    assert!(before.iter().all(|(address, _)| store.may_be_suppressed(address)));
    assert_eq!(store.figures().contacts, 50);
}

/// Writes for [`kill_9_loses_nothing_that_was_acknowledged`], which starts it and kills it.
#[test]
#[ignore = "the child of another test"]
fn child_that_records() {
    let Some(path) = std::env::var_os("BACKSTOP_TEST_STORE") else { return };
    let round = std::env::var("BACKSTOP_TEST_ROUND").unwrap();
    let store = open(Path::new(&path));
    let threads = (0..6).map(|thread| {
        let (store, round) = (store.clone(), round.clone());
        std::thread::spawn(move || {
            for number in 0.. {
                let to = format!("c{}@example.org", number % 50);
                let report = format!("{round} {thread} {number}");
                let events = vec![bounce(&to, &report, number), skip(&to, number)];
                let recorded = store.record_blocking(events).expect("recorded");
                store.remember_send(send(&report, 0, &[&to])).expect("remembered");
                let ids: Vec<String> = recorded.into_iter().map(|recorded| id(recorded).to_string()).collect();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {}", ids.join(" ")).and_then(|()| out.flush()).expect("the parent reads");
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().expect("it records"));
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: BTreeSet<EventId> = BTreeSet::new();
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_records", "--ignored", "--nocapture"])
            .env("BACKSTOP_TEST_STORE", directory.path())
            .env("BACKSTOP_TEST_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut deadline = None;
        let mut killed = false;
        for line in lines {
            let Ok(line) = line else { break };
            let Some((_, ids)) = line.split_once("acknowledged ") else { continue };
            // A line cut off by the kill is no acknowledgement.
            for id in ids.split(' ').filter_map(|id| id.parse().ok()) {
                assert!(acknowledged.insert(id), "{id} was given out twice");
            }
            let deadline = *deadline.get_or_insert_with(|| {
                let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), round);
                Instant::now() + Duration::from_millis(random % 150)
            });
            if !killed && Instant::now() >= deadline {
                child.kill().unwrap();
                killed = true;
            }
        }
        assert!(killed && !child.wait().unwrap().success());
        let store = open(directory.path());
        let events = store.events_after(None, usize::MAX).unwrap();
        let on_disk: BTreeSet<EventId> = events.iter().map(|event| event.id).collect();
        let lost: Vec<_> = acknowledged.difference(&on_disk).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost", lost.len(), acknowledged.len());
        assert_eq!(store.figures().events, events.len() as u64);
        let contacts = all_contacts(&store);
        let facts = events.iter().filter(|event| event.fact().is_some()).count();
        assert_eq!(contacts.iter().map(|(_, contact)| contact.facts.len()).sum::<usize>(), facts);
        if round % 5 == 4 {
            store.rebuild(&mut |_| {}).unwrap();
            assert_eq!(all_contacts(&store), contacts, "round {round}");
        }
        store.close().unwrap();
    }
    println!("{} acknowledged events outlived 20 kills", acknowledged.len());
}

struct Mounted(tempfile::TempDir);

impl Mounted {
    /// A small file system of our own; none without the right to mount one.
    fn new(size: &str) -> Option<Mounted> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(directory.path());
        mount.status().is_ok_and(|status| status.success()).then_some(Mounted(directory))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_reports_and_takes_them_when_there_is_room() {
    let Some(mounted) = Mounted::new("size=64m") else {
        eprintln!("not run: needs the right to mount a tmpfs");
        return;
    };
    let path = mounted.0.path().join("store");
    let filler = mounted.0.path().join("filler");
    let leave = |octets: u64| fs::write(&filler, vec![1; (free(mounted.0.path()) - octets) as usize]).unwrap();
    let store = open(&path);
    let mut kept = store.record_blocking(vec![bounce("joe@example.org", "1", 0)]).unwrap();

    // Nearly full: seen before anything is written.
    leave(4 << 20);
    let refused = store.record_blocking(vec![bounce("ann@example.org", "1", 0)]);
    assert!(matches!(&refused, Err(StoreError::Engine(problem)) if problem.contains("disk is full")), "{refused:?}");
    assert!(store.contact(&address("joe@example.org")).unwrap().is_some());
    fs::remove_file(&filler).unwrap();
    kept.extend(store.record_blocking(vec![bounce("ann@example.org", "1", 0)]).unwrap());

    // Full in the midst of a batch: sled fails and is opened again.
    leave(9 << 20);
    let large = |number: usize| {
        let mut event = bounce(&format!("c{number}@example.org"), "1", 0);
        let What::Response { evidence, .. } = &mut event.what else { unreachable!() };
        evidence.diagnostic = Some("5".repeat(3000));
        event
    };
    for problem in ["StorageFull", "disk is full"] {
        let refused = store.record_blocking((0..8000).map(large).collect());
        assert!(matches!(&refused, Err(StoreError::Engine(text)) if text.contains(problem)), "{problem}: {refused:?}");
    }
    assert!(!store.may_be_suppressed(&address("c1@example.org")));
    assert!(store.contact(&address("joe@example.org")).unwrap().is_some(), "reads go on");
    store.record_soon(vec![skip("joe@example.org", 1)]).unwrap();
    fs::remove_file(&filler).unwrap();
    kept.extend(store.record_blocking(vec![bounce("eve@example.org", "1", 0)]).unwrap());
    let check = |store: &Store| {
        let on_disk: BTreeSet<EventId> =
            store.events_after(None, usize::MAX).unwrap().into_iter().map(|event| event.id).collect();
        assert!(kept.iter().all(|recorded| on_disk.contains(&id(*recorded))));
        assert_eq!(on_disk.len(), kept.len() + 1, "and the one that nobody waited for");
        assert_eq!(store.contact(&address("c1@example.org")).unwrap(), None);
        assert_eq!((store.figures().events, store.figures().contacts), (4, 3));
    };
    store.close().unwrap();
    drop(store);
    let store = open(&path);
    check(&store);
    drop(store);
}

fn free(path: &Path) -> u64 {
    let system = nix::sys::statvfs::statvfs(path).unwrap();
    system.blocks_available() as u64 * system.fragment_size() as u64
}

#[test]
fn many_who_wait_share_one_sync() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let file = fs::File::create(directory.path().join("beside")).unwrap();
    let since = Instant::now();
    for _ in 0..200 {
        std::os::unix::fs::FileExt::write_at(&file, &[1; 512], 0).unwrap();
        file.sync_data().unwrap();
    }
    let syncs = 200.0 / since.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for connections in [1, 16, 64] {
        let each = 1600 / connections;
        let since = Instant::now();
        runtime.block_on(async {
            let tasks = (0..connections).map(|connection| {
                let store = store.clone();
                tokio::spawn(async move {
                    for number in 0..each {
                        let to = format!("c{}@example.org", number * 64 + connection);
                        let report = format!("{connections} {connection} {number}");
                        let recorded = store.record(vec![bounce(&to, &report, 0)]).await.unwrap();
                        assert!(matches!(recorded[..], [Recorded::New(_)]));
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        });
        let rate = f64::from(connections * each) / since.elapsed().as_secs_f64();
        println!("{connections} connections: {rate:.0} durable bounces/s beside {syncs:.0} fdatasync/s");
    }
    assert_eq!(store.figures().events, 4800);
}

#[test]
fn no_page_outgrows_sleds_log_whatever_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    // The longest addresses there are, told apart at the front and at the end, with long words.
    let domain = vec!["d".repeat(60); 4].join(".");
    let events = (0..6_000_u64).flat_map(|number| {
        let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let front = format!("{hash:016x}{}@{domain}", "l".repeat(239));
        let end = format!("{}{hash:016x}@{domain}", "l".repeat(239));
        [front, end].map(|to| {
            let mut event = bounce(&to, "1", 0);
            let What::Response { response, evidence } = &mut event.what else { unreachable!() };
            if number % 10 == 0 {
                (response.reason, response.campaign) = (Some("r".repeat(2000)), Some(Campaign("c".repeat(2000))));
                evidence.diagnostic = Some("5".repeat(20_000));
            }
            event
        })
    });
    assert_eq!(store.import(events).unwrap(), 12_000);
    store.rebuild(&mut |_| {}).unwrap();
    let beside = fs::read_dir(directory.path().join("blobs")).unwrap().count();
    assert_eq!(beside, 0, "what sled keeps beside its log it does not sync");
}

/// Fills a store for [`a_million_suppressed_contacts_fit_into_memory`], whose own memory stays clean of it.
#[test]
#[ignore = "the child of another test"]
fn child_that_imports_a_million() {
    let Some(path) = std::env::var_os("BACKSTOP_TEST_STORE") else { return };
    let store = open(Path::new(&path));
    let events =
        (0..1_000_000).map(|number| bounce(&format!("contact{number:07}@example{}.org", number % 100), "1", 0));
    assert_eq!(store.import(events).unwrap(), 1_000_000);
}

#[test]
#[ignore = "takes minutes; run it alone, with --release"]
fn a_million_suppressed_contacts_fit_into_memory() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_that_imports_a_million", "--ignored"]);
    assert!(child.env("BACKSTOP_TEST_STORE", directory.path()).status().unwrap().success());
    let resident = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    let before = resident();
    let since = Instant::now();
    let store = Store::open(&Settings { cache_bytes: 32 << 20, ..settings(directory.path()) }).unwrap();
    println!("opened in {:?}, {} MiB resident", since.elapsed(), resident() - before);
    let contacts: Vec<Address> = (0..1000)
        .map(|number| address(&format!("contact{:07}@example{}.org", number * 997, number * 997 % 100)))
        .collect();
    let since = Instant::now();
    for _ in 0..1000 {
        assert!(contacts.iter().all(|contact| store.may_be_suppressed(std::hint::black_box(contact))));
    }
    println!("may_be_suppressed: {:?}", since.elapsed() / 1_000_000);
    let since = Instant::now();
    assert!(contacts.iter().all(|contact| store.contact(contact).unwrap().is_some()));
    println!("contact: {:?}, {} MiB resident", since.elapsed() / 1000, resident() - before);
    assert!(resident() - before < 230, "{} MiB", resident() - before);
    assert_eq!(store.figures().contacts, 1_000_000);
}

fn unverified(to: &str, report: &str, seconds: i64) -> NewEvent {
    let mut new = bounce(to, report, seconds);
    if let What::Response { response, .. } = &mut new.what {
        response.authority = Authority::Unverified;
    }
    new
}

fn confirm(to: &str, target: EventId) -> NewEvent {
    let what = What::Confirm { target, reason: "seen in their logs".to_owned(), uid: 0 };
    NewEvent { at: at(5000), address: Some(address(to)), queue_id: None, what, content_key: None }
}

#[test]
fn what_a_person_confirmed_is_not_pushed_out_by_what_nothing_vouches_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let joe = address("joe@example.org");
    let record = |events| store.record_blocking(events).unwrap().into_iter().map(id).collect::<Vec<_>>();
    let flood = |from: i64, to: i64| (from..to).map(|n| unverified("joe@example.org", &n.to_string(), n)).collect();
    let early = record(flood(0, 300));
    let known = |event: EventId| store.contact(&joe).unwrap().unwrap().facts.iter().any(|fact| fact.event == event);
    assert!(!known(early[0]) && known(early[299]), "anybody can send more than are kept");

    // One that has gone comes back, one that is there stays, whatever comes after them.
    let words = record(vec![confirm("joe@example.org", early[0]), confirm("joe@example.org", early[299])]);
    record(flood(300, 700));
    assert!(known(early[0]) && known(early[299]) && !known(early[298]));
    let believed = store.contact(&joe).unwrap().unwrap();
    let operator = |fact: &&backstop::policy::Fact| matches!(&fact.what, FactKind::Response(response) if response.authority == Authority::Operator);
    assert_eq!(believed.believed_at(at(6000)).iter().filter(operator).count(), 2);
    assert_eq!(believed.believed_at(at(4000)).iter().filter(operator).count(), 0, "not before it was confirmed");

    let live = all_contacts(&store);
    store.rebuild(&mut |_| ()).unwrap();
    assert_eq!(all_contacts(&store), live);

    // Undone, both are among the oldest of what nothing vouches for, and go.
    for word in words {
        let what = What::Void { target: word, reason: "a mistake".to_owned(), uid: 0 };
        let new = NewEvent { at: at(6000), address: None, queue_id: None, what, content_key: None };
        store.void(new).unwrap();
    }
    assert!(!known(early[0]) && !known(early[299]));
    let live = all_contacts(&store);
    store.rebuild(&mut |_| ()).unwrap();
    assert_eq!(all_contacts(&store), live);
}
