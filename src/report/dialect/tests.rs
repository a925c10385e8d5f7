//! Tests of the engine, and every sample of every entry through the whole set.

use super::*;
use crate::mail::{Address, Limits};
use crate::report::entry::Sample;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static DIALECTS: LazyLock<Dialects> = LazyLock::new(Dialects::compiled_in);

fn message(mail: &str) -> Message<'_> {
    Message::read(mail.trim_start().as_bytes(), &Limits::default())
}

fn named(report: &Report) -> Vec<&str> {
    report.recipients.iter().flat_map(|recipient| &recipient.address).map(Address::as_str).collect()
}

/// What is wrong with how a sample is read.
fn fault(entry: &Dialect, sample: &Sample, mail: &str) -> Option<String> {
    let Some(report) = DIALECTS.read(&message(mail)) else { return Some("is read by no entry".to_owned()) };
    if report.dialect != entry.id {
        return Some(format!("is read by {}: {:?}", report.dialect, named(&report)));
    }
    if named(&report) != sample.recipients {
        return Some(format!("names {:?}", named(&report)));
    }
    let first = report.recipients.first();
    let said = first.and_then(|first| first.diagnostic_code.as_deref()).unwrap_or_default();
    if let Some(words) = sample.words.as_ref().filter(|words| !said.contains(words.as_str())) {
        return Some(format!("is to say {words:?}, but says {said:?}"));
    }
    let action = sample.action.unwrap_or(entry.action);
    if first.is_some_and(|first| first.action != action)
        || (report.kind == Kind::Delayed) != (action == Action::Delayed)
    {
        return Some(format!("is {:?}", report.kind));
    }
    let returned = report.returned.and_then(|returned| returned.message_id).map(|id| id.0);
    match &sample.returned {
        Some(id) if returned.as_ref() != Some(id) => Some(format!("returns {returned:?}")),
        _ => None,
    }
}

#[test]
fn every_sample_is_read_by_its_own_entry() {
    let mut samples = 0;
    let mut faults = Vec::new();
    for entry in DIALECTS.entries() {
        for (place, sample) in entry.samples.iter().enumerate() {
            for mail in [sample.mail.clone(), sample.mail.replace('\n', "\r\n")] {
                samples += 1;
                faults.extend(
                    fault(entry, sample, &mail).map(|fault| format!("{}, sample {}: {fault}", entry.id, place + 1)),
                );
            }
        }
    }
    assert!(samples > 0, "no sample was found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_two_entries_have_one_name() {
    let mut names: Vec<&str> = DIALECTS.entries().iter().map(|entry| &*entry.id).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn a_text_made_to_bear_every_mark_is_read_in_bounded_time() {
    let marks: Vec<&str> = DIALECTS.entries().iter().flat_map(|entry| &entry.marks).map(String::as_str).collect();
    let head = "From: MAILER-DAEMON@mx.example.org\nX-Mailer: x\nX-MLServer: x\nSubject: Undeliverable Mail\n\n";
    for filler in
        ["@", "a@b.example\n", "<a@b.example>: 550 x\n  ", "\n", " ", "(a@b", "a b: ", "<<< 550 \n", "\"a", "é@"]
    {
        let mail = format!("{head}{}\n{}", marks.join(" "), filler.repeat(TEXT_BYTES / filler.len()));
        let begun = Instant::now();
        let report = DIALECTS.read(&message(&mail));
        assert!(begun.elapsed() < Duration::from_secs(10), "{filler:?} took {:?}", begun.elapsed());
        assert!(report.is_none_or(|report| report.recipients.len() < 10), "{filler:?} names a crowd");
    }
}
