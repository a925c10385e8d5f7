//! How fast Backstop is beside do-nothing milters in C, through Postfix, and at making bounces durable.
//!
//! Called by `benches/run`, which compiles the C milters and says where things are. Everything is measured
//! in one run, the milters in turn and in several rounds; printed are medians and their ratios.
//!
//! - `matrix`: transactions per second, connections x recipients; memory beside it
//! - `postfix`: messages per second, smtp-source to smtp-sink
//! - `durable`: acknowledged bounces per second, beside the store's own rate and the disk's
//! - `campaign`: recipients per second of campaigns of a million, with streaks, ledger and limits and without; only
//!   when asked for
//! - `contacts`: import, start and screening of ten million suppressed contacts; only when asked for

mod campaign;
mod durable;
mod load;
mod mail;
mod million;
mod mta;
mod postfix;
mod table;
mod targets;
mod ten_million;

use anyhow::{Context, Result, bail};
use backstop::store::Store;
use load::Cell;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use table::{Table, median, ratio};
use targets::Target;

const USAGE: &str = "use: benches/run [--only matrix,postfix,durable,campaign,contacts] [--count N] [--rounds N] [--millis N] [--write]; see benches/README.md";
/// SMTP sessions have this many messages, but in the row that says otherwise.
const MESSAGES: usize = 100;

struct Arguments {
    /// Compiled C milters, stores and Postfix instances are here.
    work: PathBuf,
    rig: PathBuf,
    only: Vec<String>,
    rounds: u64,
    length: Duration,
    /// Suppressed contacts of the part `contacts`.
    count: u64,
    /// Where the results are to be kept.
    write: Option<PathBuf>,
}

fn main() -> Result<()> {
    let Some(arguments) = Arguments::read()? else {
        // `cargo bench` and `cargo test --benches` come this way.
        eprintln!("{USAGE}");
        return Ok(());
    };
    match arguments.only.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // Steps of the part `contacts`, which starts them.
        ["import"] => return ten_million::import(&arguments.work, arguments.count),
        ["serve"] => return ten_million::serve(&arguments.work, arguments.count),
        _ => {}
    }
    // The path of a Unix socket is short, and Postfix must get there.
    let sockets = tempfile::Builder::new()
        .prefix("backstop-bench.")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()?;
    fs::write(arguments.work.join("sockets"), sockets.path().display().to_string())?;
    let mut report = table::environment();
    if arguments.measures("matrix") {
        report += &matrix(&arguments, sockets.path())?;
    }
    if arguments.measures("postfix") {
        report += &through_postfix(&arguments, sockets.path())?;
    }
    if arguments.measures("durable") {
        report += &durable_bounces(&arguments, sockets.path())?;
    }
    if arguments.measures("campaign") {
        report += &campaign::measure(&arguments.work, sockets.path(), arguments.rounds)?;
    }
    if arguments.measures("contacts") {
        report += &ten_million::measure(&arguments.work, arguments.count)?;
    }
    print!("{report}");
    if let Some(readme) = &arguments.write {
        table::keep(&report, readme)?;
    }
    Ok(())
}

impl Arguments {
    fn read() -> Result<Option<Arguments>> {
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        let mut work = None;
        let mut rig = PathBuf::from("tests/postfix/rig.sh");
        let mut only = ["matrix", "postfix", "durable"].map(str::to_owned).to_vec();
        let (mut rounds, mut millis, mut count, mut write) = (5, 500, 10_000_000, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value; {USAGE}"));
            match word.as_str() {
                "--work" => work = Some(PathBuf::from(value()?)),
                "--rig" => rig = PathBuf::from(value()?),
                "--only" => only = value()?.split(',').map(str::to_owned).collect(),
                "--rounds" => rounds = value()?.parse().context("--rounds wants a number")?,
                "--millis" => millis = value()?.parse().context("--millis wants a number")?,
                "--count" => count = value()?.parse().context("--count wants a number")?,
                "--write" => write = Some(PathBuf::from(value()?)),
                _ => bail!("{word}: unknown; {USAGE}"),
            }
        }
        let length = Duration::from_millis(millis);
        Ok(work.map(|work| Arguments { work, rig, only, rounds, length, count, write }))
    }

    fn measures(&self, part: &str) -> bool {
        self.only.iter().any(|only| only == part)
    }
}

fn c_milters(arguments: &Arguments, sockets: &Path) -> Result<[Target; 2]> {
    let program = |name: &str| arguments.work.join(name);
    Ok([Target::c_milter("every", &program("every"), sockets)?, Target::c_milter("lean", &program("lean"), sockets)?])
}

/// Transactions per second of four milters in turn; two of them are backstopd, each on its own store.
fn matrix(arguments: &Arguments, sockets: &Path) -> Result<String> {
    eprintln!("matrix");
    let [every, lean] = c_milters(arguments, sockets)?;
    let stores = [million::copy(&arguments.work, "store-off")?, million::copy(&arguments.work, "store-on")?];
    let backstop = Target::backstopd("backstop", &stores[0], sockets, "[outbound]\nledger = false")?;
    let ledger = Target::backstopd("ledger", &stores[1], sockets, "[outbound]\nledger = true")?;
    let idle = backstop.resident_kb()?;
    let mut table = Table::new(&[
        "connections",
        "recipients",
        "messages a session",
        "every callback, C",
        "lean, C",
        "Backstop",
        "beside every",
        "beside lean",
        "with ledger",
        "beside every",
        "beside lean",
    ]);
    let mut processor = Table::new(&[
        "connections",
        "recipients",
        "messages a session",
        "every callback, C",
        "lean, C",
        "Backstop",
        "with ledger",
    ]);
    let cells = [(1, 1), (10, 1), (50, 1), (1, 20), (10, 20), (50, 20)];
    let cells = cells.map(|(connections, recipients)| Cell { connections, recipients, messages: MESSAGES });
    let short_sessions = Cell { connections: 10, recipients: 1, messages: 1 };
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|&processor| all.is_set(processor)).context("no processor")?);
    for cell in cells.into_iter().chain([short_sessions]) {
        // With one connection, generator and milter take turns. Where the kernel wakes them, on one processor
        // or on two, changes the rate tenfold for every milter, and it changes its mind: all get one.
        let processors = if cell.connections == 1 { &one } else { &all };
        sched_setaffinity(None, processors)?;
        [&every, &lean, &backstop, &ledger].iter().try_for_each(|target| target.confine(processors))?;
        let mut rates = [const { Vec::new() }; 4];
        let mut costs = [const { Vec::new() }; 4];
        for round in 0..arguments.rounds {
            for (target, (rates, costs)) in
                [&every, &lean, &backstop, &ledger].into_iter().zip(rates.iter_mut().zip(&mut costs))
            {
                let before = target.processor_time()?;
                let load = load::measure(&target.socket, cell, target.expected, arguments.length, round);
                let load = load.with_context(|| format!("{} at {cell:?}", target.name))?;
                let cost = target.processor_time()?.saturating_sub(before);
                rates.push(load.per_second);
                costs.push(cost.as_secs_f64() * 1e6 / load.transactions as f64);
            }
        }
        let mut row = vec![cell.connections.to_string(), cell.recipients.to_string(), cell.messages.to_string()];
        row.extend(costs.map(|costs| format!("{:.0}", median(costs))));
        processor.row(&row);
        let [every, lean, backstop, ledger] = rates.map(median);
        table.row(&[
            cell.connections.to_string(),
            cell.recipients.to_string(),
            cell.messages.to_string(),
            format!("{every:.0}"),
            format!("{lean:.0}"),
            format!("{backstop:.0}"),
            ratio(backstop, every),
            ratio(backstop, lean),
            format!("{ledger:.0}"),
            ratio(ledger, every),
            ratio(ledger, lean),
        ]);
    }
    sched_setaffinity(None, &all)?;
    let mut text = format!(
        "### Transactions per second\n\n{table}\n### Processor time of the milter, microseconds a transaction\n\n\
         {processor}\n### Resident memory\n\n"
    );
    for (name, target) in [("without ledger", &backstop), ("with ledger", &ledger)] {
        let (loaded, peak) = target.resident_kb()?;
        text += &format!("- {name}: {} MB after this load, {} MB at the most\n", loaded / 1000, peak / 1000);
    }
    text += &format!("- {} MB before the first connection\n\n", idle.0 / 1000);
    drop((backstop, ledger));
    stores.iter().try_for_each(|store| million::remove(store))?;
    Ok(text)
}

fn through_postfix(arguments: &Arguments, sockets: &Path) -> Result<String> {
    let title = "### Messages per second through Postfix, until the queue is empty\n\n";
    if let Some(obstacle) = postfix::obstacle(&arguments.rig) {
        return Ok(format!("{title}Not measured: {obstacle}.\n\n"));
    }
    eprintln!("through Postfix");
    let [_every, lean] = c_milters(arguments, sockets)?;
    let store = million::copy(&arguments.work, "store-on")?;
    let backstop = Target::backstopd("backstop", &store, sockets, "")?;
    let sink = postfix::Sink::start(&arguments.rig)?;
    let unix = |target: &Target| format!("unix:{}", target.socket.display());
    let mut instances = Vec::new();
    for (name, milter) in [("none", String::new()), ("lean", unix(&lean)), ("backstop", unix(&backstop))] {
        let work = sockets.join("postfix");
        fs::create_dir_all(&work)?;
        instances.push(postfix::Postfix::start(name, &arguments.rig, &work, &milter, &sink)?);
    }
    let letter = sockets.join("letter.eml");
    fs::write(&letter, mail::Letter::new(1).to_text())?;
    let mut table =
        Table::new(&["sessions", "recipients", "no milter", "lean, C", "Backstop", "beside none", "beside lean"]);
    for (sessions, messages, recipients) in [(1, 400, 1), (10, 800, 1), (50, 800, 1), (10, 200, 20)] {
        let mut rates = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..arguments.rounds {
            for (instance, rates) in instances.iter_mut().zip(&mut rates) {
                rates.push(instance.measure(&letter, sessions, messages, recipients)?);
            }
        }
        let [none, lean, backstop] = rates.map(median);
        table.row(&[
            sessions.to_string(),
            recipients.to_string(),
            format!("{none:.0}"),
            format!("{lean:.0}"),
            format!("{backstop:.0}"),
            ratio(backstop, none),
            ratio(backstop, lean),
        ]);
    }
    for instance in &instances {
        instance.verify(instance.name == "backstop")?;
    }
    drop((instances, backstop));
    million::remove(&store)?;
    Ok(format!("{title}{table}\n"))
}

fn durable_bounces(arguments: &Arguments, sockets: &Path) -> Result<String> {
    eprintln!("durable bounces");
    let counts = [1, 16, 64];
    let length = arguments.length * 2;
    let acknowledged = Mutex::new(Vec::new());
    let mut through_milter = [Vec::new(), Vec::new(), Vec::new()];
    let mut into_store = [Vec::new(), Vec::new(), Vec::new()];
    let mut disk = Vec::new();
    let stores = [million::copy(&arguments.work, "store-daemon")?, million::copy(&arguments.work, "store-alone")?];
    let backstop = Target::backstopd("backstop", &stores[0], sockets, "")?;
    let alone = Store::open(&million::settings(&stores[1])?)?;
    for _ in 0..arguments.rounds {
        for (place, count) in counts.into_iter().enumerate() {
            through_milter[place].push(durable::through_milter(&backstop.socket, count, length, &acknowledged)?);
            into_store[place].push(durable::into_store(&alone, count, length)?);
            disk.push(durable::fdatasync(&arguments.work, arguments.length / 2)?);
        }
    }
    alone.close()?;
    let acknowledged = acknowledged.into_inner().map_err(|_| anyhow::anyhow!("a sender panicked"))?;
    durable::kill_and_verify(backstop, &stores[0], &acknowledged)?;
    stores.iter().try_for_each(|store| million::remove(store))?;
    let disk = median(disk);
    let mut table = Table::new(&[
        "at once",
        "bounces acknowledged",
        "store alone",
        "fdatasync of 4 KiB",
        "beside the store",
        "beside fdatasync",
    ]);
    for ((count, milter), store) in counts.into_iter().zip(through_milter.map(median)).zip(into_store.map(median)) {
        table.row(&[
            count.to_string(),
            format!("{milter:.0}"),
            format!("{store:.0}"),
            format!("{disk:.0}"),
            ratio(milter, store),
            ratio(milter, disk),
        ]);
    }
    Ok(format!(
        "### Durable bounces per second\n\n{table}\nAfter `kill -9` all {} acknowledged bounces were on record.\n\n",
        acknowledged.len()
    ))
}
