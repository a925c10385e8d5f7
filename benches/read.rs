//! How many mails a second are read and judged, on one thread: `cargo bench --bench read`.
//!
//! The mails are those of `tests/fixtures`, in their mix, with LF and with CRLF. Beside it, in the same run, the
//! MIME parser alone over the same octets: the ratio travels better than the figures. Processor time, not wall
//! time, so a busy machine disturbs little.

use backstop::admin::classified;
use backstop::classify::Rules;
use backstop::mail::Limits;
use backstop::report::{CampaignHeaders, Dialects};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::path::Path;
use std::time::Duration;

/// Processor time given to each measurement, and how many there are of each.
const SHARE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;

fn mails(directory: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(directory).expect("tests/fixtures is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            mails(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            let mail = std::fs::read(&path).expect("a fixture is readable");
            let lf: Vec<u8> = mail.iter().copied().filter(|octet| *octet != b'\r').collect();
            let mut crlf = Vec::with_capacity(lf.len() + lf.len() / 32);
            for octet in &lf {
                if *octet == b'\n' {
                    crlf.push(b'\r');
                }
                crlf.push(*octet);
            }
            found.extend([lf, crlf]);
        }
    }
}

fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("Linux tells a process of itself");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(u64::try_from(micros).expect("time is not negative"))
}

fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Mails per second of processor time.
fn rate(mails: &[Vec<u8>], mut read: impl FnMut(&[u8])) -> f64 {
    let begun = processor_time();
    let mut count = 0;
    loop {
        for mail in mails {
            read(mail);
        }
        count += mails.len();
        let taken = processor_time() - begun;
        if taken >= SHARE {
            return count as f64 / taken.as_secs_f64();
        }
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    let mut found = Vec::new();
    mails(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"), &mut found);
    let octets: usize = found.iter().map(Vec::len).sum();
    println!("{} mails, {} octets each on average, one thread", found.len(), octets / found.len());
    let (limits, campaign_headers) = (Limits::default(), CampaignHeaders::default());
    let (dialects, rules) = (Dialects::compiled_in(), Rules::compiled_in());
    let (mut ours, mut parser) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(rate(&found, |mail| {
            std::hint::black_box(classified(mail, &limits, &campaign_headers, &dialects, &rules));
        }));
        parser.push(rate(&found, |mail| {
            std::hint::black_box(mail_parser::MessageParser::default().parse(mail));
        }));
    }
    let (ours, parser) = (median(ours), median(parser));
    println!("read and judged     {ours:>9.0} mails per second of processor time");
    println!("MIME parser alone   {parser:>9.0}");
    println!("ratio               {:>9.2}", ours / parser);
    if let Some(peak) = peak_memory_kib() {
        println!("peak memory         {peak:>9} KiB");
    }
}
