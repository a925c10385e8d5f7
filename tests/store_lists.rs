//! The operator's lists: who is on them, by what, and what is left when entries go.

use OperatorList::{Blocklist, Robinson};
use backstop::mail::Address;
use backstop::policy::event::ImportedEntry;
use backstop::policy::{EventId, OperatorList, What};
use backstop::store::{NewEvent, Recorded, Settings, Store, StoreError};
use jiff::Timestamp;
use sha2::Digest;
use std::fs;
use std::path::Path;
use std::time::Instant;

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

fn event(what: What, seconds: i64) -> NewEvent {
    NewEvent { at: at(seconds), address: None, queue_id: None, what, content_key: None }
}

fn add(list: OperatorList, entry: &str) -> NewEvent {
    event(What::ListAdd { list, entry: entry.to_owned(), reason: "asked to".to_owned(), uid: 0 }, 0)
}

fn remove(list: OperatorList, entry: &str) -> NewEvent {
    event(What::ListRemove { list, entry: entry.to_owned(), reason: "asked to".to_owned(), uid: 0 }, 0)
}

fn block(list: OperatorList, batch: EventId, subjects: &[String]) -> NewEvent {
    let entry = |subject: &String| ImportedEntry {
        subject: subject.clone(),
        scope: None,
        category: None,
        bounce_type: None,
        code: None,
        reason: None,
        since: Some(at(-500)),
        note: None,
    };
    event(What::Imported { batch, list: Some(list), entries: subjects.iter().map(entry).collect() }, 0)
}

fn record(store: &Store, event: NewEvent) -> EventId {
    match store.record_blocking(vec![event]).expect("recorded")[0] {
        Recorded::New(id) | Recorded::Known(id) => id,
    }
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn salted(salt: &str, address: &str) -> String {
    format!("sha256:{salt}:{}", hex(&sha2::Sha256::digest(format!("{salt}{address}"))))
}

fn entries(store: &Store, list: OperatorList) -> Vec<String> {
    let page = store.list_entries(list, None, usize::MAX).unwrap();
    assert_eq!(page.next, None);
    page.entries.into_iter().map(|entry| entry.entry).collect()
}

#[test]
fn a_domain_stands_for_itself_and_with_a_dot_for_its_subdomains_at_any_depth() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert_eq!(store.listed(&address("joe@example.com")), None);
    record(&store, add(Blocklist, "Example.com"));
    record(&store, add(Blocklist, ".Example.org"));
    record(&store, add(Blocklist, "joe@example.net"));
    for (who, want) in [
        ("joe@example.com", Some(Blocklist)),
        ("Joe@EXAMPLE.com", Some(Blocklist)),
        ("joe@sub.example.com", None),
        ("joe@notexample.com", None),
        ("joe@example.org", None),
        ("joe@a.example.org", Some(Blocklist)),
        ("joe@a.b.c.example.org", Some(Blocklist)),
        ("joe@notexample.org", None),
        ("joe@org", None),
        ("joe@example.net", Some(Blocklist)),
        ("ann@example.net", None),
        ("joe@[192.0.2.1]", None),
    ] {
        assert_eq!(store.listed(&address(who)), want, "{who}");
    }
    let by: Vec<_> = store.listed_by(&address("joe@a.b.example.org")).unwrap();
    assert_eq!(
        by.iter().map(|(list, entry)| (*list, entry.entry.as_str())).collect::<Vec<_>>(),
        [(Blocklist, ".example.org")]
    );
}

#[test]
fn who_is_on_the_robinson_list_by_a_hash_of_any_kind_is_found_and_told_by_which() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let people = ["plain@example.org", "md5@example.org", "sha1@example.org", "sha256@example.org", "salt@example.org"];
    let written = [
        "Plain@Example.org".to_owned(),
        format!("MD5:{}", hex(&md5::Md5::digest(people[1])).to_uppercase()),
        format!("sha1:{}", hex(&sha1::Sha1::digest(people[2]))),
        format!("sha256:{}", hex(&sha2::Sha256::digest(people[3]))),
        salted("Pe:pper", people[4]),
    ];
    for (who, entry) in people.iter().zip(&written) {
        assert_eq!(store.listed(&address(who)), None, "{who}");
        let id = record(&store, add(Robinson, entry));
        assert_eq!(store.listed(&address(who)), Some(Robinson), "{entry}");
        assert_eq!(store.listed(&address("nobody@example.org")), None, "{entry}");
        let by = store.listed_by(&address(who)).unwrap();
        assert_eq!(by.len(), 1, "{entry}");
        assert_eq!((by[0].0, by[0].1.event, by[0].1.since), (Robinson, id, at(0)), "{entry}");
        assert!(by[0].1.entry.eq_ignore_ascii_case(entry), "{entry}: {by:?}");
    }
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    for (who, entry) in people.iter().zip(&written) {
        assert_eq!(store.listed(&address(who)), Some(Robinson), "after reopening: {entry}");
    }
    record(&store, add(Blocklist, people[0]));
    assert_eq!(store.listed(&address(people[0])), Some(Blocklist), "the blocklist is asked first");
    assert_eq!(store.listed_by(&address(people[0])).unwrap().len(), 2);
    for (who, entry) in people.iter().zip(&written) {
        record(&store, remove(Robinson, entry));
        record(&store, remove(Blocklist, who));
        assert_eq!(store.listed(&address(who)), None, "{entry}");
    }
    assert!(entries(&store, Robinson).is_empty() && entries(&store, Blocklist).is_empty());
}

#[test]
fn an_entry_that_several_put_there_stays_until_it_is_taken_off_and_that_takes_off_all_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = record(&store, add(Blocklist, "joe@example.org"));
    record(&store, block(Blocklist, first, &["joe@example.org".to_owned(), "ann@example.org".to_owned()]));
    assert_eq!(entries(&store, Blocklist), ["ann@example.org", "joe@example.org"]);
    let by = store.listed_by(&address("joe@example.org")).unwrap();
    assert_eq!(
        by.iter().map(|(_, entry)| (entry.batch, entry.since)).collect::<Vec<_>>(),
        [(None, at(0)), (Some(first), at(-500))]
    );
    record(&store, remove(Blocklist, "JOE@example.org"));
    assert_eq!(store.listed(&address("joe@example.org")), None);
    assert_eq!(store.listed(&address("ann@example.org")), Some(Blocklist));
    // Also when they come in one batch with it, and what comes behind counts.
    store
        .record_blocking(vec![
            add(Blocklist, "a@example.org"),
            remove(Blocklist, "a@example.org"),
            add(Blocklist, "b@example.org"),
            remove(Blocklist, "b@example.org"),
            add(Blocklist, "b@example.org"),
        ])
        .unwrap();
    assert_eq!(store.listed(&address("a@example.org")), None);
    assert_eq!(store.listed(&address("b@example.org")), Some(Blocklist));
    assert_eq!(entries(&store, Blocklist), ["ann@example.org", "b@example.org"]);
}

#[test]
fn a_list_is_told_page_by_page_each_entry_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let people: Vec<String> = (0..40).map(|number| format!("c{number}@example.org")).collect();
    let mut robinson = people[..10].to_vec();
    robinson.extend(people.iter().map(|who| format!("md5:{}", hex(&md5::Md5::digest(who)))));
    robinson.extend(people.iter().map(|who| salted("one", who)));
    robinson.extend(people.iter().map(|who| salted("another", who)));
    let batch = EventId(7);
    store.import([block(Robinson, batch, &robinson), block(Robinson, batch, &robinson)]).unwrap();
    store.import([block(Blocklist, batch, &people)]).unwrap();
    let all = entries(&store, Robinson);
    let (mut want, mut have) = (robinson.clone(), all.clone());
    want.sort();
    have.sort();
    assert_eq!(have, want);
    for limit in [1, 7, 129, 130, 131] {
        let mut paged = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = store.list_entries(Robinson, cursor.as_deref(), limit).unwrap();
            assert!(page.entries.len() <= limit);
            paged.extend(page.entries.into_iter().map(|entry| entry.entry));
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(paged, all, "{limit} at a time");
    }
    assert!(store.list_entries(Robinson, Some("no entry"), 1).is_err());
}

#[test]
fn a_rebuild_makes_the_same_lists() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let people: Vec<String> = (0..700).map(|number| format!("c{number:03}@example.org")).collect();
    for some in people.chunks(90) {
        store.import([block(Robinson, EventId(1), some)]).unwrap();
        store.record_blocking(vec![remove(Robinson, &some[7]), add(Blocklist, &some[8])]).unwrap();
    }
    record(&store, add(Robinson, &salted("pepper", "joe@example.org")));
    let told = |store: &Store| {
        let listed: Vec<_> = people.iter().map(|who| store.listed(&address(who))).collect();
        let lists = [Blocklist, Robinson].map(|list| store.list_entries(list, None, usize::MAX).unwrap().entries);
        (listed, lists, store.listed(&address("joe@example.org")))
    };
    let before = told(&store);
    assert_eq!(before.1[1].len(), 700 - 8 + 1);
    for _ in 0..2 {
        store.rebuild(&mut |_| {}).unwrap();
        assert_eq!(told(&store), before);
    }
    store.close().unwrap();
    drop(store);
    assert_eq!(told(&open(directory.path())), before);
}

#[test]
fn what_cannot_stand_on_a_list_and_a_salt_too_many_are_refused_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let refused = |event: NewEvent| match store.record_blocking(vec![event]) {
        Err(StoreError::Engine(problem)) => problem,
        other => panic!("{other:?}"),
    };
    assert!(refused(add(Robinson, "example.org")).contains("robinson"));
    assert!(refused(add(Blocklist, "md5:d41d8cd98f00b204e9800998ecf8427e")).contains("blocklist"));
    let salts: Vec<String> = (0..64).map(|number| salted(&format!("salt{number}"), "joe@example.org")).collect();
    record(&store, block(Robinson, EventId(1), &salts));
    let one_more = salted("one more", "ann@example.org");
    assert!(refused(add(Robinson, &one_more)).contains("64"));
    assert!(refused(block(Robinson, EventId(1), std::slice::from_ref(&one_more))).contains("64"));
    assert_eq!(store.listed(&address("ann@example.org")), None);
    record(&store, add(Robinson, &salted("salt63", "ann@example.org")));
    assert_eq!(store.listed(&address("ann@example.org")), Some(Robinson));
    record(&store, remove(Robinson, &salts[0]));
    record(&store, add(Robinson, &one_more));
    let by = store.listed_by(&address("ann@example.org")).unwrap();
    assert_eq!(by.len(), 2, "{by:?}");
    assert!(store.record_blocking(vec![add(Blocklist, "example.org")]).is_ok());
}

#[test]
fn a_long_list_is_asked_on_disk_until_it_is_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let people: Vec<String> = (0..120_000).map(|number| format!("c{number:06}@example.org")).collect();
    store.import(people.chunks(250).map(|some| block(Robinson, EventId(1), some))).unwrap();
    record(&store, add(Robinson, &salted("pepper", "joe@example.org")));
    store.close().unwrap();
    drop(store);
    let store = open(directory.path());
    let last = address("c119999@example.org");
    // Beside the reading.
    assert_eq!(store.listed(&last), Some(Robinson));
    assert_eq!(store.listed(&address("joe@example.org")), Some(Robinson));
    assert_eq!(store.listed(&address("nobody@example.org")), None);
    record(&store, remove(Robinson, &people[40_000]));
    record(&store, add(Robinson, "late@example.org"));
    record(&store, remove(Robinson, last.as_str()));
    let check = |when: &str| {
        assert_eq!(store.listed(&last), None, "{when}");
        assert_eq!(store.listed(&address(&people[40_000])), None, "{when}");
        assert_eq!(store.listed(&address("late@example.org")), Some(Robinson), "{when}");
        assert_eq!(store.listed(&address(&people[119_998])), Some(Robinson), "{when}");
        assert_eq!(store.listed(&address("joe@example.org")), Some(Robinson), "{when}");
    };
    check("beside the reading");
    let since = Instant::now();
    while since.elapsed().as_secs() < 3 {
        check("while it goes on, or when it is done");
    }
    store.rebuild(&mut |_| {}).unwrap();
    check("after a rebuild");
}

#[test]
#[ignore = "takes a minute; run it alone, with --release"]
fn a_million_hashed_entries_fit_into_memory_and_are_asked_within_a_microsecond() {
    let directory = tempfile::tempdir().unwrap();
    let resident = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    let name = |number: u64| format!("contact{number:07}@example{}.org", number % 100);
    let time = |what: &str, store: &Store, people: &[Address], want: Option<OperatorList>| {
        let since = Instant::now();
        for _ in 0..100 {
            assert!(people.iter().all(|who| store.listed(std::hint::black_box(who)) == want));
        }
        println!("{what}: {:?}", since.elapsed() / (100 * people.len() as u32));
    };
    let others: Vec<Address> = (0..10_000).map(|number| address(&format!("other{number}@example.net"))).collect();
    let people: Vec<Address> = (0..10_000).map(|number| address(&name(number * 97))).collect();
    let store = open(directory.path());
    time("nobody on the lists, not listed", &store, &others, None);
    record(&store, add(Blocklist, ".blocked.example"));
    time("one blocked domain, not listed", &store, &others, None);
    let mut hashes: Vec<String> = (0..1_000_000).map(|number| hex(&sha2::Sha256::digest(name(number)))).collect();
    hashes.sort();
    let since = Instant::now();
    let blocks = hashes.chunks(64).map(|some| {
        let some: Vec<String> = some.iter().map(|hash| format!("sha256:{hash}")).collect();
        block(Robinson, EventId(1), &some)
    });
    store.import(blocks).unwrap();
    println!("imported in {:?}, {} MiB on disk", since.elapsed(), store.figures().disk_bytes >> 20);
    drop(hashes);
    time("a million SHA-256, not listed", &store, &others, None);
    time("a million SHA-256, listed", &store, &people, Some(Robinson));
    store.close().unwrap();
    drop(store);
    let before = resident();
    let since = Instant::now();
    let store = open(directory.path());
    println!("opened in {:?}, {} MiB more resident", since.elapsed(), resident().saturating_sub(before));
    let early = Instant::now();
    assert_eq!(store.listed(&people[9999]), Some(Robinson));
    println!("first answer, from disk: {:?}", early.elapsed());
    let mut slowest = std::time::Duration::ZERO;
    let mut asked = 0_u32;
    while since.elapsed().as_secs() < 6 {
        let one = Instant::now();
        assert_eq!(store.listed(&others[asked as usize % others.len()]), None);
        slowest = slowest.max(one.elapsed());
        asked += 1;
    }
    println!("{asked} asked in six seconds, the slowest in {slowest:?}; {} MiB resident", resident());
    time("a million SHA-256, read from disk, not listed", &store, &others, None);
    for number in 0..8 {
        record(&store, add(Robinson, &salted(&format!("salt{number}"), "joe@example.org")));
    }
    time("with eight salts, not listed", &store, &others, None);
}
