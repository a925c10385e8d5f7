//! Backups: what is restored of one is the store it was taken of, whatever happened meanwhile, and what was
//! altered, cut off or broken off is refused and leaves nothing.

use backstop::classify::{BounceCode, BounceType, Category, Class, Fault};
use backstop::mail::{Address, MessageId};
use backstop::policy::event::ImportedEntry;
use backstop::policy::{
    Authority, Contact, ContentKey, Event, EventId, Evidence, Level, Limit, OperatorList, Response, Scope, SkipReason,
    What,
};
use backstop::report::{Campaign, Kind};
use backstop::store::archive::{ArchiveError, Summary};
use backstop::store::backup::BackupError;
use backstop::store::restore::{RestoreError, Restored, check, restore};
use backstop::store::verify::{Finding, Remedy, Verified, verify};
use backstop::store::{NewEvent, Recorded, Send, Settings, Store, StoreError, stats};
use jiff::Timestamp;
use proptest::prelude::proptest;
use proptest::test_runner::Config;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn settings(path: &Path) -> Settings {
    Settings { path: path.to_owned(), cache_bytes: 16 << 20, evidence_days: 400, ledger_days: 35 }
}

fn open(path: &Path) -> Store {
    Store::open(&settings(path)).expect("the store opens")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn contact(number: u8) -> String {
    format!("c{number}@example.org")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).expect("a time")
}

fn event(to: Option<&str>, seconds: i64, what: What) -> NewEvent {
    NewEvent { at: at(seconds), address: to.map(address), queue_id: None, what, content_key: None }
}

fn bounce(to: &str, diagnostic: &str, authority: Authority, seconds: i64) -> NewEvent {
    let response = Response {
        class: Class::Bounce,
        kind: Kind::Bounce,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
        reason: Some("user-unknown".to_owned()),
        fault: Some(Fault::Recipient),
        by_words: true,
        authority,
        campaign: Some(Campaign("spring".to_owned())),
        list: None,
        sent_at: None,
    };
    let evidence = Evidence { diagnostic: Some(diagnostic.to_owned()), ..Evidence::default() };
    let what = What::Response { response: Box::new(response), evidence: Box::new(evidence) };
    let content_key = Some(ContentKey::of(&[to.as_bytes(), diagnostic.as_bytes()]));
    NewEvent { content_key, ..event(Some(to), seconds, what) }
}

fn suppress(to: &str, seconds: i64) -> NewEvent {
    event(Some(to), seconds, What::Suppress { scope: Scope::System, reason: "asked to".to_owned(), uid: 0 })
}

fn skip(to: &str, seconds: i64) -> NewEvent {
    let what = What::Skip {
        reason: SkipReason::Suppressed,
        category: None,
        scope: None,
        limit: None,
        campaign: Some(Campaign("spring".to_owned())),
        list: None,
        forward_path: None,
        shadow: false,
    };
    event(Some(to), seconds, what)
}

fn entry(subject: &str) -> ImportedEntry {
    ImportedEntry {
        subject: subject.to_owned(),
        scope: None,
        category: None,
        bounce_type: None,
        code: None,
        reason: None,
        since: None,
        note: Some("as they wrote".to_owned()),
    }
}

fn import(store: &Store, list: Option<OperatorList>, subjects: &[String], seconds: i64) -> EventId {
    let (source, format) = ("old.csv".to_owned(), "plain".to_owned());
    let what = What::Import { list, source, format, reason: "moved here".to_owned(), uid: 0 };
    let mut entries = subjects.iter().map(|subject| Ok(entry(subject)));
    store.import_batch(event(None, seconds, what), &mut entries, &mut |_| {}).expect("an import").id
}

fn hash(text: &str) -> String {
    use md5::Digest;
    let digest = md5::Md5::digest(text.as_bytes());
    format!("md5:{}", digest.iter().map(|octet| format!("{octet:02x}")).collect::<String>())
}

fn send(number: u8, campaign: &str) -> Send {
    Send {
        message_id: MessageId(format!("{campaign}-{number}@example.com")),
        at: Timestamp::now(),
        campaign: Some(Campaign(campaign.to_owned())),
        list: None,
        // Some have more than stand in one record.
        recipients: (0..if number == 7 { 400 } else { 3 })
            .map(|other: u16| address(&format!("r{other}-{number}@example.org")))
            .collect(),
    }
}

fn erase(seconds: i64) -> NewEvent {
    event(None, seconds, What::Erase { kept: true, reason: "asked to".to_owned(), uid: 0 })
}

fn backup(store: &Store) -> (Vec<u8>, Summary) {
    let mut octets = Vec::new();
    let summary = store.backup(&mut |some| -> Result<(), ()> {
        octets.extend_from_slice(some);
        Ok(())
    });
    (octets, summary.expect("a backup"))
}

fn restored(backup: &[u8], path: &Path) -> Result<Restored, RestoreError> {
    restore(&settings(path), &mut &backup[..], &mut |_| {})
}

fn findings(path: &Path) -> (Vec<Finding>, Verified) {
    let mut found = Vec::new();
    let verified = verify(&settings(path), &mut |finding| found.push(finding), &mut |_| {}).expect("it can be read");
    (found, verified)
}

/// All that a store says of itself.
#[derive(Debug, PartialEq)]
struct Told {
    events: Vec<Event>,
    contacts: BTreeMap<String, (Option<Contact>, Vec<Event>, bool, bool)>,
    lists: Vec<(OperatorList, String, Timestamp, EventId, Option<EventId>)>,
    listed: Vec<Option<OperatorList>>,
    batches: Vec<backstop::store::imports::Batch>,
    undone: Vec<Option<EventId>>,
    sends: Vec<Option<backstop::store::SendMatch>>,
    on_record: usize,
    /// Contacts are counted anew behind an erasure, in the background; who they are stands above.
    events_counted: u64,
}

fn told(store: &Store) -> Told {
    let all: Vec<String> = (0..=255).map(contact).collect();
    let events = store.events_after(None, usize::MAX).unwrap();
    let one = |text: &String| {
        let asked = address(text);
        let contact = store.contact(&asked).unwrap();
        (contact, store.events_of(&asked, 1000).unwrap(), store.is_erased(&asked), store.may_be_suppressed(&asked))
    };
    let mut lists = Vec::new();
    for list in [OperatorList::Blocklist, OperatorList::Robinson] {
        for found in store.list_entries(list, None, usize::MAX).unwrap().entries {
            lists.push((list, found.entry, found.since, found.event, found.batch));
        }
    }
    let sends = (0..=10).flat_map(|number| {
        send(number, "spring").recipients.into_iter().map(move |to| (send(number, "spring").message_id, to))
    });
    Told {
        undone: events.iter().map(|event| store.undone_by(event.id).unwrap()).collect(),
        events,
        contacts: all
            .iter()
            .map(|text| (text.clone(), one(text)))
            .filter(|(_, told)| told.0.is_some() || !told.1.is_empty() || told.2)
            .collect(),
        lists,
        listed: all.iter().map(|text| store.listed(&address(text))).collect(),
        batches: store.batches().unwrap(),
        sends: sends.map(|(message, to)| store.find_send(&message, &to).unwrap()).collect(),
        on_record: store.contacts_on_record(None, usize::MAX).unwrap().entries.len(),
        events_counted: store.figures().events,
    }
}

/// Does one thing to a store, which a number stands for.
fn act(store: &Store, step: usize, (what, who): (u8, u8), done: &mut Vec<EventId>, batches: &mut Vec<EventId>) {
    let (to, seconds) = (contact(who % 12), step as i64);
    let one = match what % 20 {
        0 | 1 => bounce(&to, &format!("no such user {who}"), Authority::Local, seconds),
        2 => bounce(&to, &"a long word ".repeat(600), Authority::Matched, seconds),
        3 => bounce(&to, &format!("said by nobody {who}"), Authority::Unverified, seconds),
        4 => suppress(&to, seconds),
        5 => {
            let what = What::Reactivate { scope: Scope::System, reason: "asked".to_owned(), uid: 7, by_timer: false };
            event(Some(&to), seconds, what)
        }
        6 => skip(&to, seconds),
        7 => event(Some(&to), seconds, activity()),
        8 => {
            let (list, reason) = (OperatorList::Blocklist, "no more".to_owned());
            event(Some(&to), seconds, What::ListAdd { list, entry: to.clone(), reason, uid: 1 })
        }
        9 => {
            let (list, reason) = (OperatorList::Blocklist, "again".to_owned());
            event(Some(&to), seconds, What::ListRemove { list, entry: to.clone(), reason, uid: 1 })
        }
        10 => {
            let (list, entry) = (OperatorList::Robinson, hash(&to));
            event(None, seconds, What::ListAdd { list, entry, reason: String::new(), uid: 1 })
        }
        11 => limit(&to, who, seconds),
        12 => {
            let subjects: Vec<String> = (0..who % 9).map(|other| contact(other + who % 3)).collect();
            return batches.push(import(store, None, &subjects, seconds));
        }
        13 => {
            let subjects: Vec<String> = (0..who % 5).map(|other| hash(&contact(other + who % 7))).collect();
            return batches.push(import(store, Some(OperatorList::Robinson), &subjects, seconds));
        }
        14 => {
            let subjects = vec![contact(who % 12), "example.net".to_owned()];
            return batches.push(import(store, Some(OperatorList::Blocklist), &subjects, seconds));
        }
        15 | 16 => {
            if let Some(target) = done.get(usize::from(who) % done.len().max(1)).copied() {
                let what = What::Void { target, reason: "wrong".to_owned(), uid: 2 };
                let _ = store.void(event(None, seconds, what));
            }
            return;
        }
        17 => {
            if let Some(batch) = batches.get(usize::from(who) % batches.len().max(1)).copied() {
                let what = What::Revert { batch, reason: "wrong".to_owned(), uid: 2 };
                let _ = store.revert(event(None, seconds, what), &mut |_| {});
            }
            return;
        }
        18 => {
            store.erase(&address(&to), erase(seconds)).unwrap();
            return;
        }
        _ => {
            store.remember_send(send(who % 11, "spring")).unwrap();
            return;
        }
    };
    for recorded in store.record_blocking(vec![one]).unwrap() {
        let (Recorded::New(id) | Recorded::Known(id)) = recorded;
        done.push(id);
    }
}

fn activity() -> What {
    What::Activity { level: Level::CLICK, campaign: None, uid: None, reason: String::new() }
}

fn limit(to: &str, who: u8, seconds: i64) -> NewEvent {
    let limit = Some(Limit { messages: u32::from(who) + 1, window_secs: 86_400 });
    event(Some(to), seconds, What::Limit { limit, uid: 3, reason: String::new() })
}

#[test]
fn a_restored_store_says_what_the_original_says() {
    let steps = proptest::collection::vec((0_u8..20, 0_u8..40), 1..60);
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    proptest!(config, |(steps in steps)| {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        let store = open(&one);
        let (mut done, mut batches) = (Vec::new(), Vec::new());
        for (step, what) in steps.into_iter().enumerate() {
            act(&store, step, what, &mut done, &mut batches);
        }
        // What nobody waits for is on disk, too.
        store.close().unwrap();
        drop(store);
        let store = open(&one);
        let (octets, summary) = backup(&store);
        let restored = restored(&octets, &other).unwrap();
        assert_eq!(restored.summary, summary);
        assert_eq!(check(&mut &octets[..], &mut |_| {}).unwrap(), (restored.header, summary));
        let before = told(&store);
        store.close().unwrap();
        drop(store);
        for path in [&one, &other] {
            let (found, verified) = findings(path);
            assert_eq!(found, [], "{}", path.display());
            assert_eq!(verified.events, before.events.len() as u64);
        }
        let after = open(&other);
        assert_eq!(told(&after), before);
        // And it goes on from there: what was imported can be taken back, and ids are above all that were.
        let newest = before.events.last().map(|event| event.id);
        for batch in before.batches.iter().filter(|batch| batch.reverted.is_none()) {
            let what = What::Revert { batch: batch.id, reason: "wrong".to_owned(), uid: 2 };
            assert_eq!(after.revert(event(None, 99, what), &mut |_| {}).unwrap(), batch.entries);
        }
        let recorded = after.record_blocking(vec![suppress("new@example.org", 100)]).unwrap();
        assert!(matches!(recorded[0], Recorded::New(id) if Some(id) > newest));
        after.close().unwrap();
        drop(after);
        assert_eq!(findings(&other).0, []);
    });
}

#[test]
fn a_backup_taken_while_others_write_holds_all_that_was_acknowledged_before_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("one"));
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (store, stop, acknowledged) = (store.clone(), stop.clone(), acknowledged.clone());
            std::thread::spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let to = format!("w{writer}n{number}@example.org");
                    store.record_blocking(vec![suppress(&to, 0), skip(&to, 1)]).unwrap();
                    if writer == 0 {
                        acknowledged.store(number + 1, Ordering::SeqCst);
                    } else if number % 40 == 39 {
                        let subjects: Vec<String> = (0..700).map(|other| format!("i{other}{to}")).collect();
                        import(&store, None, &subjects, 2);
                    }
                }
            })
        })
        .collect();
    let backups: Vec<_> = (0..4)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let before = acknowledged.load(Ordering::SeqCst);
            let newest = *store.watch().borrow();
            (before, newest, backup(&store), acknowledged.load(Ordering::SeqCst))
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let all = store.events_after(None, usize::MAX).unwrap();
    assert!(backups[0].0 > 0 && backups.iter().any(|(before, .., after)| after > before), "nobody wrote meanwhile");
    for (number, (before, newest, (octets, summary), _)) in backups.into_iter().enumerate() {
        let path = directory.path().join(format!("copy{number}"));
        restored(&octets, &path).unwrap();
        let copy = open(&path);
        for known in 0..before {
            let to = address(&format!("w0n{known}@example.org"));
            assert!(copy.contact(&to).unwrap().is_some(), "{to} was acknowledged");
        }
        // A prefix of what happened; an import that was at work is taken back.
        let events = copy.events_after(None, usize::MAX).unwrap();
        let (prefix, own) = events.split_at(summary.events as usize);
        assert_eq!(prefix, &all[..prefix.len()]);
        assert!(prefix.last().is_some_and(|last| last.id >= newest));
        assert!(own.iter().all(|event| matches!(event.what, What::Revert { .. })), "{own:?}");
        for batch in copy.batches().unwrap().into_iter().filter(|batch| batch.reverted.is_none()) {
            assert_eq!(Some(batch.clone()), store.batch(batch.id).unwrap());
            assert_eq!(batch.entries, 700);
        }
        copy.close().unwrap();
        drop(copy);
        assert_eq!(findings(&path).0, []);
    }
}

#[test]
fn nobody_who_is_erased_while_a_backup_runs_is_in_one_that_came_to_its_end() {
    const JOE: &str = "joe.miller77@example.org";
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let record = |number: usize| store.record_blocking(vec![suppress(&format!("n{number}@example.org"), 0)]).unwrap();
    store.record_blocking(vec![bounce(JOE, "first", Authority::Local, 0)]).unwrap();
    (0..2000).for_each(|number| drop(record(number)));
    store.record_blocking(vec![bounce(JOE, "last", Authority::Local, 0)]).unwrap();
    let taken = Mutex::new(Vec::new());
    let broken = store.backup(&mut |octets: &[u8]| -> Result<(), ()> {
        let mut taken = taken.lock().unwrap();
        if taken.len() == 1 {
            // Joe's first bounce is written already.
            store.erase(&address(JOE), erase(1)).unwrap();
        }
        taken.push(octets.to_vec());
        Ok(())
    });
    assert!(matches!(broken, Err(BackupError::Erasure)), "{broken:?}");
    let octets = taken.into_inner().unwrap().concat();
    let refused = restored(&octets, &directory.path().join("other"));
    let Err(RestoreError::Archive(ArchiveError::Broken(why))) = refused else { panic!("{refused:?}") };
    assert!(why.again && why.problem.contains("erased"), "{why:?}");
    assert!(!directory.path().join("other").exists());
    let (octets, _) = backup(&store);
    let joe = |octets: &[u8]| aho_corasick::AhoCorasick::new([JOE]).unwrap().is_match(octets);
    assert!(!joe(&octets), "the next one does not know Joe");
    let path = directory.path().join("again");
    restored(&octets, &path).unwrap();
    let copy = open(&path);
    assert!(copy.is_erased(&address(JOE)) && copy.contact(&address(JOE)).unwrap().is_none());
}

#[test]
fn a_backup_that_was_cut_off_or_altered_is_refused_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("one"));
    for number in 0..300 {
        store.record_blocking(vec![suppress(&format!("n{number}@example.org"), 0)]).unwrap();
    }
    let (octets, _) = backup(&store);
    let path = directory.path().join("other");
    let step = octets.len() / 23;
    for at in (0..octets.len()).step_by(step) {
        let mut altered = octets.clone();
        altered[at] ^= 0x40;
        for (what, bad) in [("cut off", &octets[..at]), ("altered", &altered[..])] {
            let refused = restored(bad, &path);
            assert!(matches!(refused, Err(RestoreError::Archive(_))), "{what} at {at}: {refused:?}");
            assert!(!path.exists(), "{what} at {at}");
            assert!(check(&mut &bad[..], &mut |_| {}).is_err(), "{what} at {at}");
        }
    }
    // Into a directory that is there and empty it goes, and what was refused leaves that as it was.
    fs::create_dir(&path).unwrap();
    assert!(restored(&octets[..octets.len() - 1], &path).is_err());
    assert!(fs::read_dir(&path).unwrap().all(|entry| entry.unwrap().file_name() == "lock"));
    restored(&octets, &path).unwrap();
    assert_eq!(open(&path).figures().events, 300);
}

#[test]
fn no_store_that_is_there_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("one"));
    store.record_blocking(vec![suppress("joe@example.org", 0)]).unwrap();
    let (octets, _) = backup(&store);
    let locked = restored(&octets, &directory.path().join("one"));
    assert!(matches!(locked, Err(RestoreError::Store(StoreError::InUse { .. }))), "{locked:?}");
    store.close().unwrap();
    drop(store);
    let there = restored(&octets, &directory.path().join("one"));
    assert!(matches!(there, Err(RestoreError::NotEmpty(_))), "{there:?}");
    let other = directory.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "from home").unwrap();
    assert!(matches!(restored(&octets, &other), Err(RestoreError::NotEmpty(_))));
    assert_eq!(fs::read_to_string(other.join("letter")).unwrap(), "from home");
    assert_eq!(open(&directory.path().join("one")).figures().events, 1);
}

#[test]
fn a_backup_of_an_empty_store_is_one_too_and_a_reader_who_goes_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("one"));
    let (octets, summary) = backup(&store);
    assert_eq!(summary.events, 0);
    restored(&octets, &directory.path().join("other")).unwrap();
    assert_eq!(open(&directory.path().join("other")).figures().events, 0);
    let gone = store.backup(&mut |_| Err("gone"));
    assert!(matches!(gone, Err(BackupError::Taker("gone"))), "{gone:?}");
}

#[test]
fn what_does_not_hold_together_is_found_with_what_helps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = open(path);
    let ids: Vec<EventId> = (0..40)
        .flat_map(|number| {
            store.record_blocking(vec![suppress(&contact(number), 0), skip(&contact(number), 1)]).unwrap()
        })
        .map(|recorded| match recorded {
            Recorded::New(id) | Recorded::Known(id) => id,
        })
        .collect();
    import(&store, Some(OperatorList::Robinson), &[hash("a@example.org"), hash("b@example.org")], 2);
    store.remember_send(send(1, "spring")).unwrap();
    store.void(event(None, 3, What::Void { target: ids[0], reason: "wrong".to_owned(), uid: 0 })).unwrap();
    store.close().unwrap();
    drop(store);
    assert_eq!(findings(path).0, []);
    let since = std::time::Instant::now();
    let db = loop {
        match sled::open(path) {
            Ok(db) => break db,
            Err(error) => assert!(since.elapsed().as_secs() < 5, "{error}"),
        }
    };
    let tree = |name: &str| db.open_tree(name).unwrap();
    let key = |number: usize| ids[number].0.to_be_bytes();
    let under =
        |tree: &sled::Tree, to: u8| tree.scan_prefix([contact(to).as_bytes(), &[0]].concat()).next().unwrap().unwrap();
    // An event that nobody can read, one that is gone, a record that is gone, one that nobody made, one changed.
    tree("events").insert(key(2), b"nonsense").unwrap();
    tree("events").remove(key(7)).unwrap();
    let contacts = tree("contacts.1");
    contacts.remove(under(&contacts, 5).0).unwrap();
    contacts.insert([b"eve@example.org\0", &key(9)[..]].concat(), b"made up").unwrap();
    let (changed, mut value) = under(&contacts, 6).clone();
    *value.last_mut().unwrap() ^= 1;
    contacts.insert(changed, value).unwrap();
    let (first, value) = tree("lists.1").first().unwrap().unwrap();
    tree("lists.1").remove(first).unwrap();
    tree("lists.1").insert([&[1][..], b"what is this", &[0], &[7; 16]].concat(), value).unwrap();
    tree("voided").remove(key(0)).unwrap();
    tree("voided").insert(key(20), [&[1, 0][..], &key(22)].concat()).unwrap();
    tree("erased").insert(b"short", vec![0; 5000]).unwrap();
    tree("batches").insert(key(30), b"").unwrap();
    let (send, _) = tree("ledger").first().unwrap().unwrap();
    tree("ledger").insert(send, b"").unwrap();
    db.flush().unwrap();
    drop((contacts, db));
    let (found, verified) = loop {
        let mut found = Vec::new();
        match verify(&settings(path), &mut |finding| found.push(finding), &mut |_| {}) {
            Ok(verified) => break (found, verified),
            Err(error) => assert!(since.elapsed().as_secs() < 10, "{error}"),
        }
    };
    assert_eq!(verified.findings, found.len() as u64);
    let has = |tree: &str, key: &str, remedy: Remedy| {
        let like = |finding: &&Finding| finding.tree == tree && finding.key.contains(key) && finding.remedy == remedy;
        assert!(found.iter().any(|finding| like(&finding)), "{tree} {key}: {found:#?}");
    };
    has("events", &ids[2].to_string(), Remedy::Restore);
    has("contacts", &contact(1), Remedy::Rebuild);
    has("by_contact", &contact(3), Remedy::Rebuild);
    has("contacts", &contact(5), Remedy::Rebuild);
    has("contacts", "eve@example.org", Remedy::Rebuild);
    has("contacts", &contact(6), Remedy::Rebuild);
    has("lists", "", Remedy::Rebuild);
    has("voided", &ids[0].to_string(), Remedy::Rebuild);
    has("voided", &ids[20].to_string(), Remedy::Restore);
    has("erased", "", Remedy::Restore);
    has("batches", &ids[30].to_string(), Remedy::Restore);
    has("ledger", "", Remedy::Nothing);
    assert!(found.iter().any(|finding| finding.problem.contains("5000 octets")));
    assert!(!path.join("verifying").exists());
}

#[test]
fn the_figures_of_a_store_are_the_same_beside_the_daemon_and_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..20 {
        store.record_blocking(vec![suppress(&contact(number), 0), skip(&contact(number), 1)]).unwrap();
    }
    store.erase(&address(&contact(3)), erase(2)).unwrap();
    store.remember_send(send(1, "spring")).unwrap();
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    let beside = store.stats().unwrap();
    let newest = store.events_after(None, usize::MAX).unwrap().last().map(|event| event.id);
    store.close().unwrap();
    drop(store);
    let without = stats::of(&settings(directory.path())).unwrap();
    assert_eq!(stats::Stats { disk_bytes: 0, ..beside.clone() }, stats::Stats { disk_bytes: 0, ..without });
    assert_eq!((beside.events, beside.contacts, beside.erased, beside.ledger_days), (39, 19, 1, 1));
    assert_eq!((beside.schema, beside.generation, beside.newest), (3, 1, newest));
    let events = beside.trees.iter().find(|tree| tree.tree == "events").unwrap();
    assert!(events.entries == 39 && events.octets > 39 * 50, "{events:?}");
    let nothing = stats::of(&settings(&directory.path().join("nothing")));
    assert!(matches!(&nothing, Err(StoreError::Unwritable { .. })), "{nothing:?}");
    assert!(!directory.path().join("nothing").exists());
}

#[test]
fn a_store_that_cannot_be_opened_names_the_way_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..200 {
        store.record_blocking(vec![suppress(&contact(number), 0)]).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let copy = |name: &str| {
        let to = directory.path().join("copies").join(name);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        to
    };
    let conf = copy("conf");
    fs::write(conf.join("conf"), "no settings").unwrap();
    let snapshot = copy("snapshot");
    for entry in fs::read_dir(&snapshot).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::write(entry.path(), "no snapshot").unwrap();
        }
    }
    for path in [conf, snapshot] {
        let store = open(&path);
        assert_eq!(store.figures().events, 200, "{}: made anew of db", path.display());
        store.close().unwrap();
    }
    let (cut, missing) = (copy("cut"), copy("missing"));
    fs::File::options().write(true).open(cut.join("db")).unwrap().set_len(1000).unwrap();
    fs::remove_file(missing.join("db")).unwrap();
    for path in [cut, missing] {
        let Err(error) = Store::open(&settings(&path)) else { panic!("{} was opened", path.display()) };
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unopenable { .. }), "{}: {text}", path.display());
        assert!(text.contains("its file db") && text.contains("backstopctl db restore FILE --store"), "{text}");
    }
}

#[test]
fn a_store_whose_disk_is_full_can_be_copied_elsewhere() {
    let mounted = tempfile::tempdir().unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=30m", "tmpfs"]).arg(mounted.path());
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: file systems cannot be mounted here");
        return;
    }
    let path = mounted.path().join("store");
    let told = std::panic::catch_unwind(|| {
        let store = open(&path);
        let late = |seconds| vec![bounce("joe@example.org", "550 nobody", Authority::Local, seconds)];
        store.record_blocking(late(1)).unwrap();
        let filled = fs::File::create(mounted.path().join("filled")).unwrap();
        let mut octets = 24_u64 << 20;
        while nix::fcntl::fallocate(&filled, nix::fcntl::FallocateFlags::empty(), 0, octets as i64).is_err() {
            octets -= 1 << 20;
        }
        assert!(store.record_blocking(late(2)).unwrap_err().to_string().contains("the disk is full"));
        let (octets, summary) = backup(&store);
        assert_eq!(summary.events, 1);
        assert_eq!(check(&mut &octets[..], &mut |_| {}).unwrap().1, summary);
        store.close().unwrap();
    });
    assert!(std::process::Command::new("umount").arg("-l").arg(mounted.path()).status().unwrap().success());
    told.unwrap();
}
