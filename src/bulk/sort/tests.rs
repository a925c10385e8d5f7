//! The sort against a plain one, and its measurement.

use super::*;
use crate::bulk::packed::decode;
use crate::bulk::{Accepts, CATEGORIES, Line, Reader};
use crate::classify::{BounceCode, BounceType};
use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

fn plain(text: &str, line: u64) -> Entry {
    Entry {
        line,
        subject: text.parse().expect("a subject"),
        category: None,
        bounce_type: None,
        code: None,
        reason: None,
        note: None,
        since: None,
        list: None,
    }
}

fn sorted(entries: &[Entry], memory_bytes: usize) -> (Vec<Entry>, u64) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut sorter = Sorter::new(directory.path(), memory_bytes);
    entries.iter().for_each(|entry| sorter.push(entry).expect("a disk"));
    let mut sorted = sorter.finish().expect("a disk");
    let names = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(names, 0, "the file has a name");
    let found: Result<Vec<Entry>, _> = sorted.by_ref().collect();
    (found.expect("a disk"), sorted.duplicates())
}

/// What must come out, made the plain way.
fn expected(entries: &[Entry]) -> Vec<Entry> {
    let mut given = HashSet::new();
    let mut expected: Vec<Entry> = entries
        .iter()
        .filter(|entry| given.insert((entry.subject.to_string(), entry.list.clone(), entry.category)))
        .cloned()
        .collect();
    expected.sort_by_key(|entry| entry.subject.to_string());
    expected
}

fn subjects() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{1,3}@(example|beispiel)\\.(org|com)",
        "[a-b]{1,12}@example\\.org",
        "\\.?[a-b]{1,2}\\.example",
        "md5:[0-9a-f]{32}",
        "sha256:[a-z]{1,4}:[0-9a-f]{64}",
    ]
}

fn entries() -> impl Strategy<Value = Entry> {
    let text = || proptest::option::of("[ -~\u{e4}]{0,40}");
    let list = proptest::option::of("[ab]\\.example\\.org");
    let code = proptest::option::of((4u8..=5, 0u16..9, 0u16..999));
    let time = proptest::option::of((0i64..4_000_000_000, 0i32..1_000_000_000));
    (subjects(), 0usize..8, 0u8..3, code, text(), text(), time, list).prop_map(
        |(subject, category, kind, code, reason, note, time, list)| Entry {
            category: category.checked_sub(1).map(|place| CATEGORIES[place]),
            bounce_type: [None, Some(BounceType::Hard), Some(BounceType::Soft)][usize::from(kind)],
            code: code.map(|(class, subject, detail)| BounceCode { class, subject, detail }),
            reason,
            note,
            since: time.map(|(seconds, nanos)| Timestamp::new(seconds, nanos).expect("within range")),
            list: list.map(ListId),
            ..plain(&subject, 0)
        },
    )
}

proptest! {
    #[test]
    fn what_comes_out_is_what_went_in_sorted_and_without_duplicates(
        mut entries in vec(entries(), 0..300),
        memory_bytes in 200usize..100_000,
    ) {
        entries.iter_mut().zip(1..).for_each(|(entry, line)| entry.line = line);
        let (found, duplicates) = sorted(&entries, memory_bytes);
        let expected = expected(&entries);
        prop_assert_eq!(duplicates, (entries.len() - expected.len()) as u64);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_record_reads_back_as_written(entry in entries()) {
        let mut octets = Vec::new();
        encode(&entry, &mut octets);
        prop_assert_eq!(record(&octets).len(), octets.len());
        prop_assert_eq!(decode(&octets), Some(entry));
    }
}

#[test]
fn an_entry_for_another_list_or_of_another_category_is_no_duplicate() {
    let news = Some(ListId("news.example.org".to_owned()));
    let mut entries: Vec<Entry> = (1..=5).map(|line| plain("joe@example.org", line)).collect();
    entries[1].list = news.clone();
    entries[2].category = Some(Category::Complaint);
    entries[4].list = news;
    let (found, duplicates) = sorted(&entries, MEMORY_BYTES);
    assert_eq!(found.iter().map(|entry| entry.line).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(duplicates, 2);
}

#[test]
fn nothing_sorted_is_nothing() {
    assert_eq!(sorted(&[], 1000), (Vec::new(), 0));
    assert_eq!(sorted(&[], 0), (Vec::new(), 0));
    assert_eq!(sorted(&[plain("joe@example.org", 1)], 0).0.len(), 1);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let mut sorter = Sorter::new(Path::new("/nonexistent/of/backstop"), 0);
    assert!(sorter.push(&plain("joe@example.org", 1)).is_err());
}

/// Prints the rate; run it with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn ten_million_addresses_are_read_and_sorted() {
    const MANY: u64 = 10_000_000;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("list");
    let mut list = BufWriter::new(File::create(&path).expect("a disk"));
    for number in 0..MANY {
        let scrambled = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(list, "user.{:x}@host{}.example.org", scrambled >> 24, scrambled % 997).expect("a disk");
    }
    list.flush().expect("a disk");
    let start = std::time::Instant::now();
    let input = io::BufReader::with_capacity(1 << 18, File::open(&path).expect("just written"));
    let mut sorter = Sorter::new(directory.path(), MEMORY_BYTES);
    for line in Reader::new(input, None, Accepts::default()) {
        let Line::Entry(entry) = line.expect("a disk") else { panic!("an address") };
        sorter.push(&entry).expect("a disk");
    }
    let pushed = start.elapsed();
    let mut sorted = sorter.finish().expect("a disk");
    let (mut count, mut last) = (0, String::new());
    for entry in sorted.by_ref() {
        let subject = entry.expect("a disk").subject;
        assert!(subject.text().as_ref() > last.as_str());
        last.clear();
        last.push_str(&subject.text());
        count += 1;
    }
    assert_eq!(count + sorted.duplicates(), MANY);
    let status = std::fs::read_to_string("/proc/self/status").expect("proc");
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("read and pushed in {pushed:?}, all in {:?}, {peak}", start.elapsed());
}
