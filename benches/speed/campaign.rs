//! Campaigns of a million recipients, 20 a message: recipients per second with everything that must remember who was
//! sent what (streaks, ledger, message limits), beside a daemon that remembers nothing.
//!
//! Two daemons take the same campaigns in turn. In the store of one, a recipient in a hundred has a soft bounce on
//! record: its streak is open, so the campaign is noted with the contact, and its delivery is asked for. No recipient
//! is suppressed, so that the rates differ by that alone.

use crate::load::bare;
use crate::mail::{Letter, push_subscriber};
use crate::million::{contact, copy_tree, hard_bounce, remove, settings};
use crate::mta::Mta;
use crate::table::{Table, median};
use crate::targets::{Target, processor_time_of};
use anyhow::{Context, Result, bail, ensure};
use backstop::classify::{BounceCode, BounceType, Category};
use backstop::mail::Address;
use backstop::policy::What;
use backstop::store::{NewEvent, Store};
use jiff::{Timestamp, ToSpan};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Recipients of a campaign, and of a message.
const RECIPIENTS: u64 = 1_000_000;
const TOGETHER: u64 = 20;
/// Messages of a session.
const SESSION: usize = 100;
/// One subscriber in this many has an open streak.
const OPEN: u64 = 100;
/// Contacts in both stores that are suppressed; none of them is a subscriber.
const SUPPRESSED: u64 = 200_000;
/// More campaigns than this and a domain is not asked for deliveries any more.
const MOST_ROUNDS: u64 = 5;

const WITHOUT: &str = "[outbound]\nledger = false";
const WITH: &str = "[outbound]\nledger = true\n[[limits.rule]]\nmessages = 9\nwindow = \"1d\"\n\
                    [[limits.rule]]\nmessages = 30\nwindow = \"30d\"";

/// One campaign through one daemon.
struct Passed {
    /// Recipients per second, first message to last answer.
    per_second: f64,
    /// Processor time of the daemon for a message, until nothing waits to be written any more.
    cost: Duration,
    /// Processors that others were using meanwhile.
    others: f64,
}

/// Runs `rounds` campaigns, five at most, over 10 and over 50 connections, and returns the report.
pub fn measure(work: &Path, sockets: &Path, rounds: u64) -> Result<String> {
    eprintln!("campaigns");
    let stores = ["store-without", "store-with"].map(|name| work.join(name));
    stores.iter().try_for_each(|store| remove(store))?;
    make(&stores[0])?;
    let mut table = Table::new(&[
        "connections",
        "recipients/s without",
        "recipients/s with",
        "beside each other",
        "lowest, highest",
        "us a message without",
        "us a message with",
        "processors others used",
        "MB without",
        "MB with",
    ]);
    for connections in [10, 50] {
        remove(&stores[1])?;
        fs::create_dir_all(&stores[1])?;
        copy_tree(&stores[0], &stores[1])?;
        open_streaks(&stores[1])?;
        let without = Target::backstopd("without", &stores[0], sockets, WITHOUT)?;
        let with = Target::backstopd("with", &stores[1], sockets, WITH)?;
        let (mut plain, mut full) = (Vec::new(), Vec::new());
        for round in 0..rounds.min(MOST_ROUNDS) {
            // Who goes first changes.
            if round % 2 == 0 {
                plain.push(pass(&without, connections, round, false)?);
                full.push(pass(&with, connections, round, true)?);
            } else {
                full.push(pass(&with, connections, round, true)?);
                plain.push(pass(&without, connections, round, false)?);
            }
        }
        let ratios: Vec<f64> =
            full.iter().zip(&plain).map(|(with, without)| with.per_second / without.per_second).collect();
        let (lowest, highest) =
            ratios.iter().fold((f64::MAX, 0f64), |(low, high), &ratio| (low.min(ratio), high.max(ratio)));
        let of = |passed: &[Passed], figure: fn(&Passed) -> f64| median(passed.iter().map(figure).collect());
        let cost = |passed: &[Passed]| of(passed, |passed| passed.cost.as_secs_f64() * 1e6);
        let others = plain.iter().chain(&full).map(|passed| passed.others).collect();
        table.row(&[
            connections.to_string(),
            format!("{:.0}", of(&plain, |passed| passed.per_second)),
            format!("{:.0}", of(&full, |passed| passed.per_second)),
            format!("{:.2}x", median(ratios)),
            format!("{lowest:.2}x {highest:.2}x"),
            format!("{:.0}", cost(&plain)),
            format!("{:.0}", cost(&full)),
            format!("{:.1}", median(others)),
            (without.resident_kb()?.0 / 1000).to_string(),
            (with.resident_kb()?.0 / 1000).to_string(),
        ]);
    }
    stores.iter().try_for_each(|store| remove(store))?;
    Ok(format!("### Campaigns of a million recipients, 20 a message\n\n{table}\n"))
}

/// A store of contacts that no campaign goes to.
fn make(path: &Path) -> Result<()> {
    let mut addresses: Vec<Address> = (0..SUPPRESSED).map(contact).collect();
    addresses.sort_unstable();
    let store = Store::open(&settings(path)?)?;
    let at = Timestamp::now();
    store.import(addresses.into_iter().map(|address| hard_bounce(address, at)))?;
    Ok(store.close()?)
}

/// A full mailbox yesterday, for each subscriber that is to have an open streak.
fn open_streaks(path: &Path) -> Result<()> {
    let yesterday = Timestamp::now().checked_sub(24.hours())?;
    let mut addresses: Vec<Address> = (0..RECIPIENTS).filter(|&number| is_open(number)).map(subscriber).collect();
    addresses.sort_unstable();
    let store = Store::open(&settings(path)?)?;
    store.import(addresses.into_iter().map(|address| full_mailbox(address, yesterday)))?;
    Ok(store.close()?)
}

fn full_mailbox(address: Address, at: Timestamp) -> NewEvent {
    let mut event = hard_bounce(address, at);
    if let What::Response { response, evidence } = &mut event.what {
        response.category = Some(Category::Transient);
        response.bounce_type = Some(BounceType::Soft);
        response.code = Some(BounceCode { class: 4, subject: 2, detail: 2 });
        response.reason = Some("mailbox-full".to_owned());
        evidence.diagnostic = Some("452 4.2.2 The recipient's mailbox is over quota".to_owned());
        evidence.status = Some("4.2.2".to_owned());
        evidence.rule = Some("code-4.2.2".to_owned());
    }
    event
}

fn is_open(number: u64) -> bool {
    number.is_multiple_of(OPEN)
}

fn subscriber(number: u64) -> Address {
    let mut text = Vec::new();
    push_subscriber(&mut text, number);
    Address::parse_bytes(&text).expect("push_subscriber writes plain addresses")
}

/// Sends a campaign, then waits until the daemon has nothing left to do.
fn pass(target: &Target, connections: u64, round: u64, streaks: bool) -> Result<Passed> {
    let busy = Busy::now(target)?;
    let (next, asked) = (AtomicU64::new(0), AtomicU64::new(0));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..connections)
            .map(|sender| {
                let letter =
                    Letter::of_campaign((1 + round) << 16 | connections << 8 | sender, format!("week-{round}"));
                let (next, asked) = (&next, &asked);
                scope.spawn(move || sessions(target, letter, streaks, next, asked))
            })
            .collect();
        for sender in senders {
            match sender.join() {
                Ok(sent) => sent.with_context(|| format!("{} in campaign {round}", target.name))?,
                Err(_) => bail!("a sender panicked"),
            }
        }
        Ok(())
    })?;
    let elapsed = begin.elapsed();
    let others = busy.others_since(target)? / elapsed.as_secs_f64();
    let (asked, wanted) = (asked.into_inner(), if streaks { RECIPIENTS / OPEN } else { 0 });
    ensure!(asked == wanted, "{}: {asked} deliveries were asked for in campaign {round}, not {wanted}", target.name);
    settle(target)?;
    let cost = (target.processor_time()? - busy.target) / (RECIPIENTS / TOGETHER) as u32;
    Ok(Passed { per_second: RECIPIENTS as f64 / elapsed.as_secs_f64(), cost, others })
}

/// Sends messages until the campaign has been sent. Counts the recipients added again.
fn sessions(target: &Target, mut letter: Letter, streaks: bool, next: &AtomicU64, asked: &AtomicU64) -> io::Result<()> {
    loop {
        let mut mta = Mta::smtpd(&target.socket)?;
        for _ in 0..SESSION {
            let first = next.fetch_add(TOGETHER, Ordering::Relaxed);
            if first >= RECIPIENTS {
                return mta.quit();
            }
            // Each once, in an order that has nothing to do with the address.
            let scattered = (first..first + TOGETHER).map(|place| place * 387_421 % RECIPIENTS);
            letter.renew_for(scattered, |number| streaks && is_open(number));
            let answer = mta.letter(&letter)?;
            let open = || letter.recipients().filter(|recipient| recipient.on_record);
            let is_right = matches!(answer.verdict, b'c' | b'a')
                && answer.deleted == answer.added
                && answer.added.len() == open().count()
                && open().all(|open| answer.added.iter().any(|added| bare(added) == bare(open.argument)));
            if !is_right {
                let wanted: Vec<_> = open().map(|open| open.argument.escape_ascii().to_string()).collect();
                return Err(io::Error::other(format!("wrong answer {answer:?}; open streaks have {wanted:?}")));
            }
            asked.fetch_add(answer.added.len() as u64, Ordering::Relaxed);
        }
        mta.quit()?;
    }
}

/// What nobody waits for is written within a second.
fn settle(target: &Target) -> Result<()> {
    let begin = Instant::now();
    loop {
        let before = target.processor_time()?;
        std::thread::sleep(Duration::from_millis(1500));
        if target.processor_time()? - before <= Duration::from_millis(20) {
            return Ok(());
        }
        ensure!(begin.elapsed() < Duration::from_secs(60), "{} does not come to rest", target.name);
    }
}

/// Processor time so far: of everybody, of this program, of the daemon.
struct Busy {
    all: Duration,
    own: Duration,
    target: Duration,
}

impl Busy {
    fn now(target: &Target) -> Result<Busy> {
        let stat = fs::read_to_string("/proc/stat")?;
        let ticks = stat.lines().next().context("nothing in stat")?.split_whitespace().skip(1);
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>().context("no number in stat")?;
        // user, nice and system, irq, softirq; between them idle and iowait.
        let all = [0, 1, 2, 5, 6].iter().filter_map(|&place| ticks.get(place)).sum::<u64>();
        let own = processor_time_of(std::process::id())?;
        Ok(Busy { all: Duration::from_millis(all * 10), own, target: target.processor_time()? })
    }

    /// Seconds of processor time that neither the daemon nor this program used.
    fn others_since(&self, target: &Target) -> Result<f64> {
        let now = Busy::now(target)?;
        let ours = (now.own - self.own) + (now.target - self.target);
        Ok((now.all - self.all).saturating_sub(ours).as_secs_f64())
    }
}
