//! What can only be seen from inside: when the disk is waited for, and what happens when it fails.

use super::*;
use crate::policy::Scope;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

fn settings(path: &std::path::Path) -> Settings {
    Settings { path: path.to_owned(), cache_bytes: 16 << 20, evidence_days: 400, ledger_days: 35 }
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn suppress(to: &str) -> NewEvent {
    NewEvent {
        at: Timestamp::from_second(1_760_000_000).unwrap(),
        address: Some(address(to)),
        queue_id: None,
        what: What::Suppress { scope: Scope::System, reason: "asked to".to_owned(), uid: 0 },
        content_key: Some(ContentKey::of(&[to.as_bytes()])),
    }
}

fn too_long() -> NewEvent {
    let what = What::Unreadable { problem: String::new(), excerpt: "x".repeat(2 << 20) };
    NewEvent { what, address: None, content_key: None, ..suppress("joe@example.org") }
}

#[test]
fn nothing_is_acknowledged_before_the_disk_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let sync = {
        let (order, path) = (order.clone(), directory.path().join("db"));
        move |file: &std::fs::File| {
            use std::os::unix::fs::MetadataExt;
            let (synced, db) = (file.metadata()?, std::fs::metadata(&path)?);
            assert_eq!(synced.ino(), db.ino(), "it is the file db that counts");
            std::thread::sleep(Duration::from_millis(30));
            order.lock().unwrap().push("synced");
            file.sync_data()
        }
    };
    let store = Store::open_with(&settings(directory.path()), Arc::new(sync)).unwrap();
    order.lock().unwrap().clear();
    let mut watch = store.watch();
    watch.mark_unchanged();
    for to in ["a@example.org", "b@example.org"] {
        let waiting = std::thread::spawn({
            let store = store.clone();
            move || store.record_blocking(vec![suppress(to)])
        });
        // Before the sync returns nobody is told anything.
        while order.lock().unwrap().is_empty() && !waiting.is_finished() {
            let told = store.may_be_suppressed(&address(to)) || watch.has_changed().unwrap();
            assert!(!told || !order.lock().unwrap().is_empty(), "told of {to} before it was on disk");
            std::thread::sleep(Duration::from_millis(1));
        }
        waiting.join().unwrap().unwrap();
        assert!(store.may_be_suppressed(&address(to)) && watch.has_changed().unwrap());
        watch.mark_unchanged();
        assert_eq!(std::mem::take(&mut *order.lock().unwrap()), ["synced"], "once for each batch");
    }
    store.record_blocking(vec![suppress("a@example.org")]).unwrap();
    assert!(order.lock().unwrap().is_empty(), "a repeat changes nothing");
    store.import([suppress("c@example.org"), suppress("d@example.org")]).unwrap();
    assert_eq!(*order.lock().unwrap(), ["synced"], "an import is durable when it returns");
}

#[test]
fn a_failed_sync_acknowledges_nobody_and_the_next_one_may_succeed() {
    let directory = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let sync = {
        let fails = fails.clone();
        move |file: &std::fs::File| match fails.load(Ordering::Relaxed) {
            true => Err(io::Error::from_raw_os_error(5)),
            false => file.sync_data(),
        }
    };
    let store = Store::open_with(&settings(directory.path()), Arc::new(sync)).unwrap();
    store.record_blocking(vec![suppress("joe@example.org")]).unwrap();
    let newest = *store.watch().borrow();
    fails.store(true, Ordering::Relaxed);
    for round in 0..3 {
        let waiting = ["a@example.org", "b@example.org"].map(|to| {
            let store = store.clone();
            std::thread::spawn(move || store.record_blocking(vec![suppress(to)]))
        });
        for waiting in waiting {
            let answer = waiting.join().unwrap();
            let Err(StoreError::Engine(problem)) = &answer else { panic!("round {round}: {answer:?}") };
            assert!(problem.contains("fdatasync"), "{problem}");
        }
        assert_eq!(*store.watch().borrow(), newest);
        assert_eq!(store.events_after(Some(newest), 9).map_or(0, |events| events.len()), 0);
    }
    store
        .remember_send(Send {
            message_id: MessageId("1@x".to_owned()),
            at: Timestamp::from_second(1_760_000_000).unwrap(),
            campaign: None,
            list: None,
            recipients: vec![address("joe@example.org")],
        })
        .unwrap();
    store.record_soon(vec![suppress("soon@example.org")]).unwrap();
    fails.store(false, Ordering::Relaxed);
    for to in ["a@example.org", "b@example.org"] {
        // What the failed sync left behind may count or not; either way it is on record once.
        store.record_blocking(vec![suppress(to)]).unwrap();
        assert!(store.may_be_suppressed(&address(to)));
        assert_eq!(store.contact(&address(to)).unwrap().unwrap().facts.len(), 1);
        assert_eq!(store.events_of(&address(to), 9).unwrap().len(), 1);
    }
    store.close().unwrap();
    let store = Store::open(&settings(directory.path())).unwrap();
    assert_eq!(store.figures().events, 4);
    assert_eq!(store.events_after(None, 9).unwrap().len(), 4);
    assert!(store.may_be_suppressed(&address("soon@example.org")), "it was tried again");
    let found = store.find_send(&MessageId("1@x".to_owned()), &address("joe@example.org")).unwrap();
    assert!(found.is_some_and(|found| found.recipient));
}

#[test]
fn an_event_that_cannot_be_stored_fails_alone_and_takes_its_own_operation_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let sync = {
        let syncs = syncs.clone();
        move |_: &std::fs::File| {
            std::thread::sleep(Duration::from_millis(100));
            syncs.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    };
    let store = Store::open_with(&settings(directory.path()), Arc::new(sync)).unwrap();
    syncs.store(0, Ordering::Relaxed);
    let record = |events: Vec<NewEvent>| {
        let store = store.clone();
        std::thread::spawn(move || store.record_blocking(events))
    };
    let first = record(vec![suppress("first@example.org")]);
    std::thread::sleep(Duration::from_millis(50)); // the next three wait for its sync and share a batch
    let good = record(vec![suppress("good@example.org")]);
    let bad = record(vec![suppress("bad@example.org"), too_long()]);
    let better = record(vec![suppress("better@example.org")]);
    first.join().unwrap().unwrap();
    good.join().unwrap().unwrap();
    better.join().unwrap().unwrap();
    let refused = bad.join().unwrap();
    assert!(matches!(&refused, Err(StoreError::Engine(problem)) if problem.contains("too long")), "{refused:?}");
    assert!(!store.may_be_suppressed(&address("bad@example.org")), "all or none");
    assert_eq!(store.figures().events, 3);
    assert!(syncs.load(Ordering::Relaxed) <= 3, "{syncs:?}");
}

#[test]
fn who_waits_when_the_writer_dies_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path())).unwrap();
    let died = store.inner.shared.run(|_| -> Result<(), StoreError> { panic!("as if sled had panicked") });
    assert!(matches!(died, Err(StoreError::Stopped)));
    assert!(matches!(store.record_blocking(vec![suppress("joe@example.org")]), Err(StoreError::Stopped)));
    assert!(matches!(store.record_soon(vec![suppress("joe@example.org")]), Err(StoreError::Stopped)));
    assert!(matches!(store.close(), Err(StoreError::Stopped)));
    drop(store);
    Store::open(&settings(directory.path())).unwrap().record_blocking(vec![suppress("joe@example.org")]).unwrap();
}

#[test]
fn a_store_of_schema_1_is_brought_up_to_date_without_its_ledger() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path())).unwrap();
    store.record_blocking(vec![suppress("joe@example.org")]).unwrap();
    store.close().unwrap();
    drop(store);
    let since = std::time::Instant::now();
    let db = loop {
        match sled::open(directory.path()) {
            Ok(db) => break db,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(5), "{error}"),
        }
    };
    let (meta, ledger) = (db.open_tree("meta").unwrap(), db.open_tree("ledger").unwrap());
    meta.insert("schema", &1_u32.to_be_bytes()).unwrap();
    meta.remove("address_key").unwrap();
    let message_id = MessageId("1@example.org".to_owned());
    ledger.insert(ledger::record_key(20_000, ledger::message_key(&message_id)), b"of an older kind").unwrap();
    db.flush().unwrap();
    drop((meta, ledger, db));
    for _ in 0..2 {
        let store = loop {
            match Store::open(&settings(directory.path())) {
                Ok(store) => break store,
                Err(error) => assert!(since.elapsed() < Duration::from_secs(10), "{error}"),
            }
        };
        assert!(store.may_be_suppressed(&address("joe@example.org")));
        assert_eq!(store.find_send(&message_id, &address("joe@example.org")).unwrap(), None);
        store.close().unwrap();
    }
}

#[test]
fn what_is_not_counted_is_found_but_is_no_send() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(directory.path())).unwrap();
    let (ann, campaign) = (Address::parse("ann@example.org").unwrap(), Campaign("spring".to_owned()));
    let send = |id: &str| Send {
        message_id: MessageId(id.to_owned()),
        at: Timestamp::now(),
        campaign: Some(campaign.clone()),
        list: None,
        recipients: std::iter::once(ann.clone()).chain((0..400).map(number)).collect(),
    };
    store.remember_uncounted(send(" token:1")).unwrap();
    store.remember_send(send("a@x")).unwrap();
    // The same message once as a campaign's and once not counts.
    store.remember_uncounted(send("a@x")).unwrap();
    store.close().unwrap();
    let store = Store::open(&settings(directory.path())).unwrap();
    for id in [" token:1", "a@x"] {
        assert!(store.find_send(&MessageId(id.to_owned()), &ann).unwrap().is_some_and(|found| found.recipient), "{id}");
    }
    let mut told = 0;
    store.sends_since(Timestamp::UNIX_EPOCH, &mut |_, _| told += 1).unwrap();
    assert_eq!((told, store.sent_of(&campaign).unwrap().recipients), (401, 401));
}

fn number(number: usize) -> Address {
    Address::parse(&format!("c{number}@example.org")).unwrap()
}

#[test]
fn a_store_of_schema_2_is_indexed_and_its_ledger_counted_while_it_serves() {
    let directory = tempfile::tempdir().unwrap();
    let since = std::time::Instant::now();
    let campaign = Campaign("spring".to_owned());
    let skip = |contact: usize| NewEvent {
        at: Timestamp::now(),
        address: Some(number(contact)),
        queue_id: None,
        what: What::Skip {
            reason: crate::policy::SkipReason::Suppressed,
            category: None,
            scope: None,
            limit: None,
            campaign: Some(campaign.clone()),
            list: None,
            forward_path: None,
            shadow: false,
        },
        content_key: None,
    };
    let send = |id: usize, recipients: std::ops::Range<usize>| Send {
        message_id: MessageId(format!("{id}@x")),
        at: Timestamp::now(),
        campaign: Some(campaign.clone()),
        list: None,
        recipients: recipients.map(number).collect(),
    };
    let store = Store::open(&settings(directory.path())).unwrap();
    store.record_blocking((0..1500).map(skip).collect()).unwrap();
    // More than is counted in one step, and one with recipients beside its record.
    (0..5000).for_each(|id| store.remember_send(send(id, id..id + 2)).unwrap());
    store.remember_send(send(9000, 0..1000)).unwrap();
    store.remember_uncounted(send(9001, 0..1000)).unwrap();
    store.close().unwrap();
    assert_eq!(store.sent_of(&campaign).ok(), None, "closed");
    drop(store);
    let reopened = || loop {
        match Store::open(&settings(directory.path())) {
            Ok(store) => break store,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    let db = loop {
        match sled::open(directory.path()) {
            Ok(db) => break db,
            Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    let meta = db.open_tree("meta").unwrap();
    meta.insert("schema", &2_u32.to_be_bytes()).unwrap();
    meta.remove("indexed").unwrap();
    db.drop_tree("by_campaign.1").unwrap();
    db.drop_tree("sent").unwrap();
    db.flush().unwrap();
    drop((meta, db));
    // As of the second before, so that what is sent from now on is told apart.
    std::thread::sleep(Duration::from_millis(1100));
    let mut want = 11_000;
    for round in 0..3 {
        let store = reopened();
        while !store.is_indexed() || store.sent_of(&campaign).unwrap().recipients < want {
            assert!(
                since.elapsed() < Duration::from_secs(40),
                "{:?}",
                store.sent_of(&campaign).map(|sent| sent.recipients)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut entries = 0;
        store
            .entries_of(&campaign, None, &mut |entry| {
                entries += usize::from(entry.skip.is_some());
                true
            })
            .unwrap();
        assert_eq!(entries, 1500 + round);
        let sent = store.sent_of(&campaign).unwrap();
        assert_eq!((sent.recipients, sent.by_provider["other"]), (want, 11_000));
        store.record_blocking(vec![skip(5000 + round)]).unwrap();
        store.remember_send(send(20_000 + round, 0..10)).unwrap();
        store.close().unwrap();
        want += 10;
    }
}
