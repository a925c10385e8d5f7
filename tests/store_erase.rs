//! Erasure and compaction: nothing of a person is left on disk, and the person stays blocked.

use OperatorList::{Blocklist, Robinson};
use backstop::classify::{BounceCode, BounceType, Category, Class, Fault};
use backstop::mail::{Address, ListId, MessageId};
use backstop::policy::event::ImportedEntry;
use backstop::policy::{
    Authority, ContentKey, Event, EventId, Evidence, OperatorList, Response, Scope, SkipReason, What,
};
use backstop::report::{Campaign, Kind};
use backstop::store::erase::Erased;
use backstop::store::{NewEvent, Recorded, Send, Settings, Store};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const JOE: &str = "joe.miller77@example.org";
const ANN: &str = "ann@example.org";

fn open(path: &Path) -> Store {
    Store::open(&Settings { path: path.to_owned(), cache_bytes: 16 << 20, evidence_days: 400, ledger_days: 35 })
        .expect("the store opens")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_760_000_000 + seconds).expect("a time")
}

fn event(about: Option<&str>, what: What, seconds: i64) -> NewEvent {
    NewEvent { at: at(seconds), address: about.map(address), queue_id: None, what, content_key: None }
}

fn bounce(to: &str, diagnostic: &str, report: &str) -> NewEvent {
    let response = Response {
        class: Class::Bounce,
        kind: Kind::Bounce,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
        reason: Some("user-unknown".to_owned()),
        fault: Some(Fault::Recipient),
        by_words: true,
        authority: Authority::Local,
        campaign: Some(Campaign("spring".to_owned())),
        list: None,
        sent_at: None,
    };
    let evidence = Evidence {
        description: "bad destination mailbox address".to_owned(),
        diagnostic: Some(diagnostic.to_owned()),
        ..Evidence::default()
    };
    let what = What::Response { response: Box::new(response), evidence: Box::new(evidence) };
    NewEvent {
        content_key: Some(ContentKey::of(&[to.as_bytes(), report.as_bytes()])),
        queue_id: Some("4XyZ12".to_owned()),
        ..event(Some(to), what, 0)
    }
}

fn skip(to: &str) -> NewEvent {
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
    event(Some(to), what, 0)
}

fn unreadable(excerpt: &str) -> NewEvent {
    event(None, What::Unreadable { problem: "cut off".to_owned(), excerpt: excerpt.to_owned() }, 0)
}

fn suppress(to: &str, reason: &str) -> NewEvent {
    event(Some(to), What::Suppress { scope: Scope::System, reason: reason.to_owned(), uid: 0 }, 0)
}

fn list_add(list: OperatorList, entry: &str) -> NewEvent {
    event(None, What::ListAdd { list, entry: entry.to_owned(), reason: String::new(), uid: 0 }, 0)
}

fn block(list: Option<OperatorList>, subjects: &[&str]) -> NewEvent {
    let entry = |subject: &&str| ImportedEntry {
        subject: (*subject).to_owned(),
        scope: None,
        category: None,
        bounce_type: None,
        code: None,
        reason: None,
        since: None,
        note: Some(format!("as {subject} wrote")),
    };
    event(None, What::Imported { batch: EventId(1), list, entries: subjects.iter().map(entry).collect() }, 0)
}

fn send(message_id: &str, recipients: &[&str]) -> Send {
    Send {
        message_id: MessageId(message_id.to_owned()),
        at: at(0),
        campaign: Some(Campaign("spring".to_owned())),
        list: None,
        recipients: recipients.iter().map(|recipient| address(recipient)).collect(),
    }
}

fn erase(kept: bool) -> NewEvent {
    event(None, What::Erase { kept, reason: "asked to".to_owned(), uid: 0 }, 9)
}

fn events(store: &Store) -> Vec<Event> {
    store.events_after(None, usize::MAX).unwrap()
}

/// The files below a directory that hold one of the words, in whatever case.
fn files_with(path: &Path, words: &[&str]) -> Vec<String> {
    let words = aho_corasick::AhoCorasick::builder().ascii_case_insensitive(true).build(words).unwrap();
    let mut found = Vec::new();
    let mut open = vec![path.to_owned()];
    let mut files = 0;
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            files += 1;
            if words.is_match(&fs::read(&path).unwrap()) {
                found.push(path.display().to_string());
            }
        }
    }
    assert!(files > 0);
    found
}

/// A store that tells of Joe in every way there is, and of others.
fn fill(store: &Store) {
    store
        .record_blocking(vec![
            bounce(JOE, "550 5.1.1 <joe.miller77@example.org>: user unknown", "1"),
            bounce(ANN, "550 5.1.1 ann and JOE.MILLER77@EXAMPLE.ORG are unknown here", "2"),
            bounce("big-joe.miller77@example.org", "550 5.1.1 nobody", "3"),
            bounce(ANN, "550 5.1.1 <ann@example.org>: user unknown", "4"),
            skip(JOE),
            skip(ANN),
            suppress(JOE, "asked to"),
            suppress(ANN, "married to joe.miller77@example.org"),
            unreadable(&format!("{}To: Joe.Miller77@Example.ORG", "x".repeat(4000))),
            unreadable("To: someone else"),
            unreadable("for bounce+joe.miller77=example.org@example.net"),
            list_add(Robinson, JOE),
            list_add(Blocklist, JOE),
            list_add(Blocklist, ANN),
            block(None, &[ANN, JOE, "zoe@example.org"]),
            block(Some(Robinson), &[JOE, "zoe@example.org"]),
        ])
        .unwrap();
    let attributes = [("locale", "de"), ("referred_by", JOE)];
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    store
        .record_blocking(vec![event(Some(ANN), What::Attributes { attributes, uid: 0, reason: String::new() }, 0)])
        .unwrap();
    store.remember_send(send("1@x", &[JOE, ANN])).unwrap();
    let crowd: Vec<String> = (0..600).map(|number| format!("c{number}@example.org")).collect();
    let crowd: Vec<&str> = crowd.iter().map(String::as_str).chain([JOE]).collect();
    store.remember_send(send("2@x", &crowd)).unwrap();
    store.record_blocking(vec![skip("zoe@example.org")]).unwrap();
    for number in 0..3000 {
        store.record_soon(vec![skip(&format!("c{number}@example.org"))]).unwrap();
    }
}

/// Until nothing waits to be written, nor is being written.
fn wait(store: &Store) {
    while store.figures().waiting > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(store.import([]).unwrap(), 0);
}

fn is_recipient(store: &Store, message_id: &str, who: &str) -> bool {
    store.find_send(&MessageId(message_id.to_owned()), &address(who)).unwrap().is_some_and(|found| found.recipient)
}

#[test]
fn after_erasure_and_compaction_no_file_of_the_store_names_the_person_and_others_are_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store);
    wait(&store);
    // These wait when the erasure begins.
    store.record_soon(vec![skip(JOE)]).unwrap();
    store.remember_send(send("3@x", &[ANN, JOE])).unwrap();
    let words = [JOE, "joe.miller77@", "joe.miller77="];
    assert!(!files_with(directory.path(), &words).is_empty());
    assert!(is_recipient(&store, "1@x", JOE) && is_recipient(&store, "2@x", JOE) && is_recipient(&store, "3@x", JOE));
    let others = |store: &Store| {
        let ann = store.contact(&address(ANN)).unwrap().unwrap();
        let zoe = store.contact(&address("zoe@example.org")).unwrap().unwrap();
        let sends = ["1@x", "3@x"].map(|message_id| is_recipient(store, message_id, ANN));
        let lists = [ANN, "zoe@example.org"].map(|who| store.listed(&address(who)));
        (ann.facts.len(), zoe, sends, lists, is_recipient(store, "2@x", "c599@example.org"))
    };
    let before = others(&store);

    let Erased { events: changed, sends } = store.erase(&address(JOE), erase(true)).unwrap();
    // One waiting skip may have been written before.
    assert!((12..=13).contains(&changed), "{changed}");
    assert!((2..=3).contains(&sends), "those on disk: {sends}");
    let check = |store: &Store, when: &str| {
        assert!(store.is_erased(&address(JOE)), "{when}");
        assert_eq!(store.contact(&address(JOE)).unwrap(), None, "{when}");
        assert_eq!(store.listed(&address(JOE)), None, "{when}");
        assert!(store.events_of(&address(JOE), 99).unwrap().is_empty(), "{when}");
        assert!(!["1@x", "2@x", "3@x"].iter().any(|message_id| is_recipient(store, message_id, JOE)), "{when}");
        assert_eq!(others(store), before, "{when}");
        let left = events(store);
        let told = serde_json::to_string(&left).unwrap();
        assert!(!told.to_lowercase().contains("\"joe.miller77") && !told.contains("<joe"), "{when}");
        assert!(told.contains("big-joe.miller77@example.org"), "another person: {when}");
        assert!(told.contains("<ann@example.org>: user unknown") && told.contains("someone else"), "{when}");
        assert_eq!(left.iter().filter(|event| event.what.name() == "erase").count(), 1, "{when}");
        assert_eq!(store.figures().events, left.len() as u64, "{when}");
    };
    wait(&store);
    check(&store, "after the erasure");

    // The other Joe is not who is looked for.
    let mut told = Vec::new();
    let (before_bytes, after_bytes) = store.compact(&mut |copied| told.push(copied)).unwrap();
    assert!(told.is_sorted() && *told.last().unwrap() > 3000, "{told:?}");
    assert!(before_bytes > 0 && after_bytes > 0);
    check(&store, "after the compaction");
    let mut of_the_other = 0;
    for file in files_with(directory.path(), &words) {
        let text = String::from_utf8_lossy(&fs::read(file).unwrap()).to_lowercase();
        let all = text.matches("joe.miller77").count();
        assert_eq!(all, text.matches("big-joe.miller77").count());
        of_the_other += all;
    }
    assert!(of_the_other > 0);
    assert!(!directory.path().join("compacted").exists());
    store.record_blocking(vec![bounce("late@example.org", "550 5.1.1 nobody", "5")]).unwrap();
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    check(&store, "after reopening");
    assert!(store.contact(&address("late@example.org")).unwrap().is_some());
    store.rebuild(&mut |_| {}).unwrap();
    check(&store, "after a rebuild");
    assert_eq!(store.erase(&address(JOE), erase(true)).unwrap(), Erased::default(), "nothing is left to erase");
}

#[test]
fn no_index_or_count_of_a_campaign_names_the_person_and_others_stay_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let of = |campaign: &str, list: Option<&str>, mut skip: NewEvent| {
        let What::Skip { campaign: named, list: of_list, .. } = &mut skip.what else { unreachable!("a skip") };
        *named = Some(Campaign(campaign.to_owned()));
        *of_list = list.map(|list| ListId(list.to_owned()));
        skip
    };
    let his = format!("birthday {JOE}");
    let mut unmailable = skip(ANN);
    unmailable.address = None;
    if let What::Skip { forward_path, .. } = &mut unmailable.what {
        *forward_path = Some(format!("<{JOE}>"));
    }
    let new = vec![
        skip(JOE),
        skip(ANN),
        bounce(JOE, "550 5.1.1 nobody", "1"),
        of(&his, None, skip(ANN)),
        of("autumn", Some(JOE), skip(ANN)),
        of("autumn", Some("news"), skip(JOE)),
        unmailable,
    ];
    store.record_blocking(new).unwrap();
    for (number, campaign, list) in [(1, his.as_str(), "news"), (2, "autumn", JOE), (3, "autumn", "news")] {
        let (campaign, list) = (Some(Campaign(campaign.to_owned())), Some(ListId(list.to_owned())));
        store.remember_send(Send { campaign, list, ..send(&format!("{number}@x"), &[ANN]) }).unwrap();
        wait(&store);
    }
    let names = |store: &Store, campaign: &str| {
        let mut names = BTreeSet::new();
        let mut told = |entry: backstop::store::by_campaign::Entry| {
            names.insert(entry.name);
            true
        };
        store.entries_of(&Campaign(campaign.to_owned()), None, &mut told).unwrap();
        names.into_iter().collect::<Vec<_>>()
    };
    let sent = |store: &Store, campaign: &str| store.sent_of(&Campaign(campaign.to_owned())).unwrap().recipients;
    assert_eq!(names(&store, "spring").len(), 3);
    assert_eq!((names(&store, &his), sent(&store, &his)), (vec![ANN.to_owned()], 1));
    store.erase(&address(JOE), erase(true)).unwrap();
    store.compact(&mut |_| {}).unwrap();
    let check = |store: &Store, when: &str| {
        assert!(files_with(directory.path(), &[JOE]).is_empty(), "{when}");
        for (campaign, want, count) in [("spring", vec![ANN], 0), ("autumn", vec![ANN], 2), (&his, vec![], 0)] {
            assert_eq!(
                (names(store, campaign), sent(store, campaign)),
                (want.iter().map(|name| (*name).to_owned()).collect(), count),
                "{when}"
            );
        }
        let mut campaigns = Vec::new();
        store
            .campaigns(&mut |times| {
                campaigns.push((times.campaign.0, times.lists));
                true
            })
            .unwrap();
        campaigns.sort();
        let lists = BTreeSet::from([ListId("news".to_owned())]);
        assert_eq!(campaigns, [("autumn".to_owned(), lists), ("spring".to_owned(), BTreeSet::new())], "{when}");
    };
    check(&store, "after the compaction");
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    check(&store, "after reopening");
}

#[test]
fn what_comes_back_of_an_erased_contact_counts_for_the_campaign_and_names_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.record_blocking(vec![bounce(ANN, "550 5.1.1 nobody", "1")]).unwrap();
    store.erase(&address(JOE), erase(true)).unwrap();
    assert!(store.is_erased(&address(JOE)), "also who was never heard of");
    let late = bounce(JOE, "550 5.1.1 <joe.miller77@example.org>: user unknown", "2");
    let Recorded::New(id) = store.record_blocking(vec![late.clone()]).unwrap()[0] else { panic!("it is new") };
    assert_eq!(store.record_blocking(vec![late]).unwrap(), [Recorded::Known(id)], "it is recognised again");
    store
        .record_blocking(vec![
            suppress(JOE, "he asked"),
            list_add(Blocklist, JOE),
            block(None, &[JOE, "zoe@example.org"]),
            block(Some(Robinson), &[JOE, "zoe@example.org"]),
        ])
        .unwrap();
    store.record_soon(vec![skip(JOE)]).unwrap();
    store.remember_send(send("1@x", &[JOE, ANN])).unwrap();
    assert!(!is_recipient(&store, "1@x", JOE) && is_recipient(&store, "1@x", ANN));
    store.close().unwrap();
    drop(store);
    assert!(files_with(directory.path(), &["joe.miller77"]).is_empty());
    let store = open(directory.path());
    let late = events(&store).into_iter().find(|event| event.id == id).unwrap();
    let What::Response { response, evidence } = late.what else { panic!("{late:?}") };
    assert_eq!((late.address, late.queue_id, response.campaign), (None, None, Some(Campaign("spring".to_owned()))));
    assert_eq!((evidence.diagnostic, evidence.description.as_str()), (None, "bad destination mailbox address"));
    assert_eq!(events(&store).iter().filter(|event| event.what.name() == "skip").count(), 1);
    assert_eq!(store.contact(&address(JOE)).unwrap(), None);
    assert_eq!(store.listed(&address(JOE)), None);
    assert_eq!(store.listed(&address("zoe@example.org")), Some(Robinson));
    assert!(store.contact(&address("zoe@example.org")).unwrap().is_some());
}

#[test]
fn a_person_may_let_an_erased_contact_back_in_or_keep_nothing_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.record_blocking(vec![suppress(JOE, "asked to"), suppress(ANN, "asked to")]).unwrap();
    assert!(!store.unerase(&address(JOE)).unwrap());
    store.erase(&address(JOE), erase(true)).unwrap();
    store.erase(&address(ANN), erase(false)).unwrap();
    assert!(store.is_erased(&address(JOE)) && !store.is_erased(&address(ANN)));
    assert_eq!(store.contact(&address(ANN)).unwrap(), None);
    assert!(store.unerase(&address(JOE)).unwrap());
    assert!(!store.is_erased(&address(JOE)));
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    assert!(!store.is_erased(&address(JOE)));
    store.record_blocking(vec![suppress(JOE, "asked to"), suppress(ANN, "asked to")]).unwrap();
    assert!(store.contact(&address(JOE)).unwrap().is_some() && store.contact(&address(ANN)).unwrap().is_some());
    store.erase(&address(JOE), erase(true)).unwrap();
    store.erase(&address(JOE), erase(false)).unwrap();
    assert!(!store.is_erased(&address(JOE)), "asked again, to keep nothing");
    let not_an_erasure = store.erase(&address(JOE), suppress(JOE, "asked to"));
    assert!(not_an_erasure.is_err());
}

#[test]
fn recording_goes_on_while_somebody_is_erased_and_reading_while_the_store_is_compacted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.import((0..6000).map(|number| bounce(&format!("c{number}@example.org"), "550 nobody", "1"))).unwrap();
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (store, done) = (store.clone(), done.clone());
        move || {
            let mut count = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.record_blocking(vec![bounce(JOE, "550 nobody", &format!("late {count}"))]).unwrap();
                count += 1;
            }
            count
        }
    });
    let reader = std::thread::spawn({
        let (store, done) = (store.clone(), done.clone());
        move || {
            let mut count = 0_usize;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let who = address(&format!("c{}@example.org", count % 6000));
                assert!(store.contact(&who).unwrap().is_some(), "{who}");
                count += 1;
            }
            count
        }
    });
    for round in 0..3 {
        store.erase(&address(&format!("c{}@example.org", 6000 + round)), erase(true)).unwrap();
        store.erase(&address(JOE), erase(true)).unwrap();
        assert_eq!(store.contact(&address(JOE)).unwrap(), None);
        store.compact(&mut |_| {}).unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let (written, read) = (writer.join().unwrap(), reader.join().unwrap());
    assert!(written > 0 && read > 0);
    assert_eq!(store.contact(&address(JOE)).unwrap(), None);
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.figures().events, events(&store).len() as u64);
}

#[test]
fn a_copy_that_was_cut_off_is_thrown_away_and_one_that_is_whole_takes_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    fill(&store);
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    let before = events(&store).len();
    store.close().unwrap();
    drop(store);
    let copy = directory.path().join("compacted");
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("db"), "half of it").unwrap();
    let store = open(directory.path());
    assert_eq!(events(&store).len(), before);
    assert!(!copy.exists());
    store.close().unwrap();
    drop(store);
    // A swap may be cut off between any two of its steps; here the old files are gone but for their number.
    fs::create_dir(&copy).unwrap();
    for name in ["db", "conf"] {
        fs::rename(directory.path().join(name), copy.join(name)).unwrap();
    }
    fs::write(copy.join("READY"), "").unwrap();
    fs::write(directory.path().join("db"), "the old one").unwrap();
    let store = open(directory.path());
    assert_eq!(events(&store).len(), before);
    assert!(!copy.exists());
}

#[test]
fn without_room_for_a_copy_the_store_stays_as_it_is() {
    let mounted = tempfile::tempdir().unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=30m", "tmpfs"]).arg(mounted.path());
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("not tested: file systems cannot be mounted here");
        return;
    }
    let path = mounted.path().join("store");
    let told = std::panic::catch_unwind(|| {
        let store = open(&path);
        store.record_blocking(vec![bounce(ANN, "550 nobody", "1")]).unwrap();
        let problem = store.compact(&mut |_| {}).unwrap_err().to_string();
        assert!(problem.contains("MiB are free"), "{problem}");
        assert!(store.contact(&address(ANN)).unwrap().is_some());
        store.record_blocking(vec![bounce(ANN, "550 nobody", "2")]).unwrap();
        assert!(!path.join("compacted").exists());
        store.close().unwrap();
    });
    assert!(Command::new("umount").arg("-l").arg(mounted.path()).status().unwrap().success());
    told.unwrap();
}

/// Writes for [`kill_9_while_compacting_loses_nothing_that_was_acknowledged`], which starts it and kills it.
#[test]
#[ignore = "the child of another test"]
fn child_that_compacts() {
    let Some(path) = std::env::var_os("BACKSTOP_TEST_STORE") else { return };
    let round = std::env::var("BACKSTOP_TEST_ROUND").unwrap();
    let store = open(Path::new(&path));
    let recording = std::thread::spawn({
        let store = store.clone();
        move || {
            for number in 0.. {
                let to = format!("c{}@example.org", number % 500);
                let report = format!("{round} {number}");
                let recorded = store.record_blocking(vec![bounce(&to, "550 nobody", &report)]).expect("recorded");
                let [Recorded::New(id) | Recorded::Known(id)] = recorded[..] else { panic!("{recorded:?}") };
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {id}").and_then(|()| out.flush()).expect("the parent reads");
            }
        }
    });
    while !recording.is_finished() {
        store.compact(&mut |_| {}).expect("compacted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn kill_9_while_compacting_loses_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.import((0..5000).map(|number| bounce(&format!("c{number}@example.org"), "550 nobody", "first"))).unwrap();
    store.erase(&address(JOE), erase(true)).unwrap();
    store.close().unwrap();
    drop(store);
    let mut acknowledged: BTreeSet<EventId> = BTreeSet::new();
    let mut cut_off = 0;
    for round in 0..20_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_compacts", "--ignored", "--nocapture"])
            .env("BACKSTOP_TEST_STORE", directory.path())
            .env("BACKSTOP_TEST_ROUND", round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (begun, began) = std::sync::mpsc::channel::<()>();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Nothing is acknowledged while it compacts, so the moment is chosen beside.
        let killer = std::thread::spawn(move || {
            let _ = began.recv();
            let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), round);
            std::thread::sleep(Duration::from_millis(random % 900));
            child.kill().unwrap();
            child
        });
        for line in lines.map_while(Result::ok) {
            let Some((_, id)) = line.split_once("acknowledged ") else { continue };
            // A line cut off by the kill is no acknowledgement.
            let Ok(id) = id.parse() else { continue };
            assert!(acknowledged.insert(id), "{id} was given out twice");
            let _ = begun.send(());
        }
        assert!(!killer.join().unwrap().wait().unwrap().success());
        cut_off += u32::from(directory.path().join("compacted").exists());
        let store = open(directory.path());
        let on_disk: BTreeSet<EventId> = events(&store).iter().map(|event| event.id).collect();
        let lost = acknowledged.difference(&on_disk).count();
        assert_eq!(lost, 0, "round {round}: of {} acknowledged", acknowledged.len());
        assert!(on_disk.len() > 5000, "round {round}");
        assert!(store.is_erased(&address(JOE)), "round {round}: with the key its hash was made with");
        assert!(!directory.path().join("compacted").exists());
        store.close().unwrap();
    }
    println!("{} acknowledged, {cut_off} of 20 compactions cut off", acknowledged.len());
    assert!(cut_off > 0, "no kill hit a compaction");
}

/// Erases for [`an_erasure_cut_off_half_way_is_completed_by_asking_again`], which starts it and kills it.
#[test]
#[ignore = "the child of another test"]
fn child_that_erases() {
    let Some(path) = std::env::var_os("BACKSTOP_TEST_STORE") else { return };
    let store = open(Path::new(&path));
    println!("begins");
    store.erase(&address(JOE), erase(true)).expect("erased");
    println!("done");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn an_erasure_cut_off_half_way_is_completed_by_asking_again() {
    let mut cut_off = 0;
    for round in 0..8_u64 {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        store.import((0..3000).map(|number| bounce(JOE, "550 nobody", &number.to_string()))).unwrap();
        store.close().unwrap();
        drop(store);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_erases", "--ignored", "--nocapture"])
            .env("BACKSTOP_TEST_STORE", directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("begins")));
        std::thread::sleep(Duration::from_millis(round * 15));
        child.kill().unwrap();
        child.wait().unwrap();
        let done = lines.map_while(Result::ok).any(|line| line.contains("done"));
        let store = open(directory.path());
        let begun = store.is_erased(&address(JOE));
        assert!(begun || !done);
        cut_off += u32::from(begun && !done);
        if !begun {
            assert_eq!(store.contact(&address(JOE)).unwrap().unwrap().facts.len(), 3000, "nothing goes before");
        }
        store.erase(&address(JOE), erase(true)).unwrap();
        store.compact(&mut |_| {}).unwrap();
        assert_eq!(store.figures().events, events(&store).len() as u64);
        store.close().unwrap();
        drop(store);
        assert!(files_with(directory.path(), &["joe.miller77"]).is_empty(), "round {round}");
        let store = open(directory.path());
        assert!(store.is_erased(&address(JOE)) && store.contact(&address(JOE)).unwrap().is_none());
    }
    println!("{cut_off} of 8 erasures cut off");
    assert!(cut_off > 0, "no kill hit an erasure");
}
