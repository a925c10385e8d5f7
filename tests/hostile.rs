//! Reports as somebody who means harm would send them: every fixture cut at every octet, spoiled at every
//! line, wrapped again and again. Nothing may panic, hang, or take memory beyond what the limits allow.
//!
//! Dialogues are treated the same way in `dialogues.rs`.

use backstop::admin::classified;
use backstop::admin::wire::Classified;
use backstop::classify::Rules;
use backstop::mail::Limits;
use backstop::report::{CampaignHeaders, Dialects, Kind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// A mail that takes longer hangs, whatever the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than reading any one mail may take in memory, the mail itself not counted.
const MEMORY_KIB: u64 = 64 << 10;

fn fixtures() -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut found = Vec::new();
    for directory in std::fs::read_dir(&root).expect("tests/fixtures is there") {
        for file in std::fs::read_dir(directory.expect("an entry").path()).expect("a directory of fixtures") {
            let path = file.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "eml") {
                let mail = std::fs::read(&path).expect("a fixture is readable");
                found.push((path, mail));
            }
        }
    }
    assert!(found.len() >= 40, "found only {} fixtures", found.len());
    found
}

struct Reader {
    limits: Limits,
    campaign_headers: CampaignHeaders,
    dialects: Dialects,
    rules: Rules,
}

impl Reader {
    fn new() -> Reader {
        Reader {
            limits: Limits::default(),
            campaign_headers: CampaignHeaders::default(),
            dialects: Dialects::compiled_in(),
            rules: Rules::compiled_in(),
        }
    }

    fn read(&self, mail: &[u8]) -> Classified {
        classified(mail, &self.limits, &self.campaign_headers, &self.dialects, &self.rules)
    }
}

/// Runs `each` over all fixtures, on as many threads as there are processors.
fn over_fixtures(each: impl Fn(&Reader, &Path, &[u8]) + Sync) {
    let fixtures = fixtures();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for worker in 0..workers {
            let (fixtures, each) = (&fixtures, &each);
            scope.spawn(move || {
                let reader = Reader::new();
                for (path, mail) in fixtures.iter().skip(worker).step_by(workers) {
                    each(&reader, path, mail);
                }
            });
        }
    });
}

#[test]
fn a_report_cut_at_any_octet_is_read_as_far_as_it_goes() {
    over_fixtures(|reader, path, mail| {
        let whole = reader.read(mail);
        for cut in 0..mail.len() {
            let begun = Instant::now();
            let answer = reader.read(&mail[..cut]);
            assert!(begun.elapsed() < PATIENCE, "{} cut at octet {cut} took {:?}", path.display(), begun.elapsed());
            // Less of a mail never names more people than the whole, but for one whose address was cut short.
            let people = whole.recipients.len() + 1;
            assert!(answer.recipients.len() <= people, "{} cut at octet {cut} names more people", path.display());
        }
    });
}

#[test]
fn a_report_spoiled_in_any_line_is_still_answered() {
    over_fixtures(|reader, path, mail| {
        let mut starts = vec![0];
        starts.extend(mail.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(place, _)| place + 1));
        for line in starts.windows(2) {
            let (before, after) = (&mail[..line[0]], &mail[line[1]..]);
            let text = &mail[line[0]..line[1]];
            let long: Vec<u8> = text.iter().copied().cycle().take(10_000).collect();
            let noise: Vec<u8> = text.iter().map(|octet| octet ^ 0x80).collect();
            for spoiled in [&b""[..], b"\0\0\0\n", &[text, text, text].concat(), &long, &noise] {
                let begun = Instant::now();
                reader.read(&[before, spoiled, after].concat());
                assert!(begun.elapsed() < PATIENCE, "{} spoiled at octet {} hangs", path.display(), line[0]);
            }
        }
    });
}

/// Mails made to cost much, each with what it is.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let head = "From: MAILER-DAEMON@mx.example.org\nSubject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n";
    let report = |body: &str| {
        let kind = "Content-Type: multipart/report; report-type=delivery-status; boundary=b";
        format!("{head}{kind}\n\n{body}").into_bytes()
    };
    let group = "Final-Recipient: rfc822; joe@example.net\nAction: failed\nStatus: 5.1.1\n\n";
    let status = "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n";
    let nested: String = (0..100_000).map(|_| "Content-Type: message/rfc822\n\n").collect();
    let nested_parts: String = (0..20_000)
        .map(|level| format!("--b{level}\nContent-Type: multipart/mixed; boundary=b{}\n\n", level + 1))
        .collect();
    vec![
        ("25 MB of text", report(&format!("--b\n\n{}", "all work and no play\n".repeat(25 << 20 >> 4)))),
        ("100,000 parts", report(&"--b\nContent-Type: text/plain\n\nx\n".repeat(100_000))),
        (
            "a header of 10 MB",
            format!("{head}{}\n\nbody\n", "X-Padding: more and more\n".repeat(10 << 20 >> 4)).into_bytes(),
        ),
        ("one header field of 10 MB", format!("{head}X-Long: {}\n\nbody\n", "x".repeat(10 << 20)).into_bytes()),
        ("a folded field of 10 MB", format!("{head}X-Long: a\n{}\nbody\n", "\tb\n".repeat(10 << 20 >> 2)).into_bytes()),
        ("100,000 messages within messages", report(&format!("--b\n{nested}"))),
        (
            "20,000 multiparts within multiparts",
            report(&format!("--b\nContent-Type: multipart/mixed; boundary=b0\n\n{nested_parts}")),
        ),
        ("100,000 recipients", report(&format!("{status}{}", group.repeat(100_000)))),
        (
            "a diagnostic of 10 MB",
            report(&format!(
                "{status}{}Diagnostic-Code: smtp; 550 {}\n",
                group.trim_end().to_owned() + "\n",
                "no ".repeat(3 << 20)
            )),
        ),
        ("10 MB of angle brackets", report(&"<".repeat(10 << 20))),
        ("10 MB of encoded words", format!("{head}Subject: {}\n\n\n", "=?utf-8?q?=41?= ".repeat(600_000)).into_bytes()),
        (
            "1,000,000 parameters",
            format!("{head}Content-Type: multipart/report{}\n\nbody\n", "; a=b".repeat(1_000_000)).into_bytes(),
        ),
    ]
}

#[cfg(target_os = "linux")]
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process of itself");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of KiB")
}

#[test]
#[cfg(target_os = "linux")]
fn a_mail_made_to_cost_much_costs_little() {
    // A process of its own for each: the peak is the process's, and only ever rises.
    if let Ok(wanted) = std::env::var("BACKSTOP_BOMB") {
        let (what, mail) = bombs().swap_remove(wanted.parse().expect("a number"));
        let reader = Reader::new();
        reader.read(b"From: a@example.org\n\nwarm up\n");
        let before = peak_memory_kib();
        let begun = Instant::now();
        let answer = reader.read(&mail);
        let taken = peak_memory_kib().saturating_sub(before);
        assert!(begun.elapsed() < PATIENCE, "{what}: took {:?}", begun.elapsed());
        assert!(taken < MEMORY_KIB, "{what}: took {taken} KiB");
        assert!(answer.recipients.len() <= 10_000, "{what}: names {} people", answer.recipients.len());
        return;
    }
    for (number, (what, _)) in bombs().iter().enumerate() {
        let child = std::process::Command::new(std::env::current_exe().expect("the path of this test"))
            .args(["--exact", "a_mail_made_to_cost_much_costs_little", "--nocapture"])
            .env("BACKSTOP_BOMB", number.to_string())
            .output()
            .expect("this test starts once more");
        assert!(child.status.success(), "{what}: {}", String::from_utf8_lossy(&child.stderr));
    }
}

#[test]
fn what_the_guard_refuses_is_still_read_by_its_fields() {
    let group = "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n\
                 Final-Recipient: rfc822; joe@example.net\nAction: failed\nStatus: 5.1.1\n\n";
    let parts = "--b\nContent-Type: text/plain\n\nx\n".repeat(1000);
    let mail = format!(
        "From: MAILER-DAEMON@mx.example.org\nSubject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n{group}{parts}"
    );
    let answer = Reader::new().read(mail.as_bytes());
    assert_eq!(answer.kind, Kind::Bounce, "{answer:?}");
    assert_eq!(answer.recipients.len(), 1);
    assert_eq!(answer.recipients[0].dialect.as_deref(), Some("rfc3464-scan"));
}
