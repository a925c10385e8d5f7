//! Reads every mail under `tests/fixtures/` with LF and with CRLF, and compares what is read from it with the
//! `.json` beside it, in the shape of `POST /v1/classify`. Each has a `.md` that says why it is kept.

use backstop::admin::classified;
use backstop::classify::Rules;
use backstop::mail::Limits;
use backstop::report::{CampaignHeaders, Dialects};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static TABLES: LazyLock<(Dialects, Rules)> = LazyLock::new(|| (Dialects::compiled_in(), Rules::compiled_in()));

/// What is made of a mail, in the shape of `POST /v1/classify`.
fn read(raw: &[u8]) -> Value {
    let (dialects, rules) = &*TABLES;
    let answer = classified(raw, &Limits::default(), &CampaignHeaders::default(), dialects, rules);
    serde_json::to_value(answer).expect("the answer is JSON")
}

/// Every place where `got` is not what `want` says, as `recipients[0].code: want "5.1.1", got "9.1.1"`. The
/// words a rule matched are not compared: a better pattern may match more of them.
fn differences(place: &str, want: &Value, got: &Value, told: &mut Vec<String>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let keys: BTreeSet<&String> = want.keys().chain(got.keys()).filter(|key| *key != "matched").collect();
            for key in keys {
                let of =
                    |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(json!("(absent)"));
                differences(&format!("{place}.{key}"), &of(want), &of(got), told);
            }
        }
        (Value::Array(want), Value::Array(got)) if want.len() == got.len() => {
            for (index, (want, got)) in want.iter().zip(got).enumerate() {
                differences(&format!("{place}[{index}]"), want, got, told);
            }
        }
        _ if want == got => {}
        _ => told.push(format!("{}\n        want {want}\n        got  {got}", place.trim_start_matches('.'))),
    }
}

fn fixtures(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(directory);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        for extension in ["eml", "json", "md"] {
            let beside = file.with_extension(extension);
            assert!(beside.exists(), "{} belongs to three files, but {} is missing", file.display(), beside.display());
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
    assert!(!files.is_empty(), "no fixture in {}", directory.display());
    files
}

fn walk(directory: &str) {
    let mut failed = Vec::new();
    for file in fixtures(directory) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let want: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap())
            .unwrap_or_else(|error| panic!("{name}.json: {error}"));
        let lf = std::fs::read(&file).unwrap();
        assert!(!lf.contains(&b'\r'), "{name}.eml must have LF only; CRLF is made of it here");
        let crlf = lf.split(|&octet| octet == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
        for (ending, raw) in [("LF", &lf), ("CRLF", &crlf)] {
            let mut told = Vec::new();
            differences("", &want, &read(raw), &mut told);
            if !told.is_empty() {
                failed.push(format!("{directory}/{name} ({ending})\n    {}", told.join("\n    ")));
            }
        }
    }
    assert!(failed.is_empty(), "{} readings differ from what is expected:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_notification_reads_as_expected() {
    walk("dsn");
}

#[test]
fn every_bounce_that_follows_no_standard_reads_as_expected() {
    walk("dialect");
}

#[test]
fn every_complaint_reads_as_expected() {
    walk("arf");
}

#[test]
fn every_automatic_reply_reads_as_expected() {
    walk("autoreply");
}

#[test]
fn what_is_no_report_is_left_alone() {
    walk("not-a-report");
}

#[test]
fn the_fixtures_cover_every_class_and_subject_of_codes_and_every_category_of_bounces() {
    let mut seen = BTreeSet::new();
    for file in fixtures("dsn") {
        let told: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
        for recipient in told["recipients"].as_array().unwrap() {
            let code = recipient["code"].as_str().unwrap_or_default();
            seen.insert(code.rsplit_once('.').map_or("", |(subject, _)| subject).to_owned());
            seen.insert(recipient["category"].as_str().unwrap_or("delivery").to_owned());
        }
    }
    for wanted in "2.0 4.0 4.2 4.3 4.4 4.7 5.0 5.1 5.2 5.3 5.4 5.5 5.6 5.7 9.1".split(' ') {
        assert!(seen.contains(wanted), "no fixture with a code {wanted}.x");
    }
    for wanted in ["failed", "invalid", "rejected", "transient", "unknown", "blocked", "delivery"] {
        assert!(seen.contains(wanted), "no fixture of category {wanted}");
    }
}
