//! Ten million suppressed contacts: how long their import takes, when screening answers after a start, and what
//! it costs then, while a writer is busy. Each step is a process of its own, so that memory is that of the step.

use crate::million::{hard_bounce, remove, settings};
use crate::table::Table;
use anyhow::{Context, Result, ensure};
use backstop::classify::{BounceType, Category};
use backstop::mail::Address;
use backstop::policy::{ImportedEntry, What};
use backstop::store::{NewEvent, Store};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Contacts asked for in one series.
const ASKED: u64 = 200_000;

/// Runs the steps in `work` and returns the report.
pub fn measure(work: &Path, count: u64) -> Result<String> {
    let store = work.join("store-contacts");
    remove(&store)?;
    let import = step("import", &store, count)?;
    let clean = step("serve", &store, count)?;
    let killed = step("serve", &store, count)?;
    remove(&store)?;
    let mut table = Table::new(&["what", "after the import", "after a kill"]);
    let figure = |figures: &BTreeMap<String, String>, name: &str| figures.get(name).cloned().unwrap_or_default();
    for name in clean.keys() {
        table.row(&[name.clone(), figure(&clean, name), figure(&killed, name)]);
    }
    let import: String = import.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect();
    Ok(format!("### {count} suppressed contacts\n\n{import}\n{table}\n"))
}

/// Runs one step in a process of its own, which is killed once it has told everything.
fn step(name: &str, store: &Path, count: u64) -> Result<BTreeMap<String, String>> {
    eprintln!("contacts: {name}");
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--work", &store.display().to_string(), "--only", name, "--count", &count.to_string()]);
    let mut child = child.stdout(Stdio::piped()).spawn()?;
    let mut figures = BTreeMap::new();
    for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
        let line = line?;
        match line.split_once('\t') {
            Some((name, value)) => figures.insert(name.to_owned(), value.to_owned()),
            None if line == "done" => break,
            None => continue,
        };
    }
    child.kill()?;
    child.wait()?;
    ensure!(!figures.is_empty(), "{name} failed");
    Ok(figures)
}

fn tell(name: &str, value: impl std::fmt::Display) {
    println!("{name}\t{value}");
}

fn subject(number: u64) -> String {
    format!("user{number:08}@example{}.org", number % 97)
}

/// The import.
pub fn import(path: &Path, count: u64) -> Result<()> {
    let store = Store::open(&settings(path)?)?;
    let what = What::Import {
        list: None,
        source: "suppressions.csv".to_owned(),
        format: "sendgrid".to_owned(),
        reason: "moved here".to_owned(),
        uid: 0,
    };
    let begin = NewEvent { at: Timestamp::now(), address: None, queue_id: None, what, content_key: None };
    let entry = |number: u64| {
        let (category, bounce_type, reason) = match number % 4 {
            0 => (Category::Complaint, None, "spam-report"),
            _ => (Category::Rejected, Some(BounceType::Hard), "hard-bounce"),
        };
        Ok(ImportedEntry {
            subject: subject(number),
            scope: None,
            category: Some(category),
            bounce_type,
            code: None,
            reason: Some(reason.to_owned()),
            since: Timestamp::from_second(1_600_000_000 + number as i64).ok(),
            note: None,
        })
    };
    let begun = Instant::now();
    let batch = store.import_batch(begin, &mut (0..count).map(entry), &mut |_| {})?;
    ensure!(batch.entries == count, "{} of {count} entries", batch.entries);
    tell("import, s", format!("{:.1}", begun.elapsed().as_secs_f64()));
    let ready = Instant::now();
    while !store.is_ready() {
        std::thread::sleep(Duration::from_millis(10));
    }
    tell("and all in memory, s", format!("{:.1}", ready.elapsed().as_secs_f64()));
    tell_memory()?;
    store.close()?;
    drop(store);
    let disk: u64 = fs::read_dir(path)?.filter_map(|entry| entry.ok()?.metadata().ok()).map(|file| file.len()).sum();
    tell("disk, MB", disk / 1_000_000);
    println!("done");
    Ok(())
}

/// A start and what comes after.
pub fn serve(path: &Path, count: u64) -> Result<()> {
    let begun = Instant::now();
    let store = Store::open(&settings(path)?)?;
    tell("1 opened, ms", begun.elapsed().as_millis());
    let known = Address::parse(&subject(count / 2))?;
    let answer = store.screened(&known, None, Timestamp::now())?;
    ensure!(answer.suppression.is_some(), "{known} is not suppressed");
    tell("2 screening answers, ms", begun.elapsed().as_millis());
    tell("3 from memory already", store.is_ready());
    while !store.is_ready() {
        std::thread::sleep(Duration::from_millis(10));
    }
    tell("4 all in memory, ms", begun.elapsed().as_millis());
    let end = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            let mut number = begun.elapsed().as_nanos() as u64;
            while !end.load(Ordering::Relaxed) {
                let address = |number: u64| Address::parse(&format!("new{number}@example.com"));
                let events: Vec<NewEvent> = (0..32)
                    .map(|_| {
                        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        Ok(hard_bounce(address(number)?, Timestamp::now()))
                    })
                    .collect::<Result<_>>()?;
                store.record_blocking(events)?;
                written.fetch_add(32, Ordering::Relaxed);
            }
            Ok(())
        });
        let busy = Instant::now();
        let stranger = |number: u64| format!("user{number:08}@example.net");
        series(&store, "5 not suppressed", count, &stranger, false)?;
        series(&store, "6 suppressed", count, &subject, true)?;
        tell(
            "7 events recorded meanwhile, 1/s",
            (written.load(Ordering::Relaxed) as f64 / busy.elapsed().as_secs_f64()) as u64,
        );
        tell_memory()?;
        println!("done");
        // The parent kills us while the writer is busy.
        std::thread::sleep(Duration::from_secs(5));
        end.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?
    })
}

fn series(store: &Store, name: &str, count: u64, subject: &dyn Fn(u64) -> String, suppressed: bool) -> Result<()> {
    let now = Timestamp::now();
    let mut taken = Vec::new();
    for number in 0..ASKED {
        let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % count;
        let address = Address::parse(&subject(number))?;
        let begun = Instant::now();
        let answer = store.screened(std::hint::black_box(&address), None, now)?;
        taken.push(begun.elapsed().as_nanos() as u64);
        ensure!(answer.suppression.is_some() == suppressed, "{address}: {answer:?}");
        if number.is_multiple_of(64) {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    taken.sort_unstable();
    let at = |part: f64| taken[(taken.len() as f64 * part) as usize] as f64 / 1000.0;
    tell(&format!("{name}: median, p99, p99.9, us"), format!("{:.2} {:.2} {:.2}", at(0.5), at(0.99), at(0.999)));
    Ok(())
}

fn tell_memory() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    for (field, name) in [("VmRSS:", "8 resident, MB"), ("VmHWM:", "9 resident at the most, MB")] {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no memory in status")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        tell(name, kib * 1024 / 1_000_000);
    }
    Ok(())
}
