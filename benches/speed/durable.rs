//! Durable bounces per second: through the milter, straight into the store, and what the disk can do.

use crate::mail::Notification;
use crate::million::{contact, hard_bounce, settings};
use crate::mta::Mta;
use crate::targets::Target;
use anyhow::{Context, Result, bail, ensure};
use backstop::mail::Address;
use backstop::store::Store;
use jiff::Timestamp;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Contacts recorded straight into the store are numbered from here.
static NEXT_DIRECT: AtomicU64 = AtomicU64::new(1_000_000_000);

/// Bounces per second over `connections`, one connection for each notification as cleanup does. Those
/// acknowledged are added to `acknowledged`.
pub fn through_milter(
    socket: &Path,
    connections: usize,
    length: Duration,
    acknowledged: &Mutex<Vec<Address>>,
) -> Result<f64> {
    per_second(connections, length, || {
        let notification = Notification::next();
        let answer = Mta::notification(socket, &notification)?;
        if answer.verdict != b'd' {
            return Err(io::Error::other(format!("a bounce was answered \"{}\"", answer.verdict.escape_ascii())));
        }
        let address = Address::parse_bytes(notification.contact()).map_err(io::Error::other)?;
        acknowledged.lock().map_err(|_| io::Error::other("a sender panicked"))?.push(address);
        Ok(())
    })
}

/// Events per second that the store makes durable for that many callers at once.
pub fn into_store(store: &Store, callers: usize, length: Duration) -> Result<f64> {
    per_second(callers, length, || {
        let address = contact(NEXT_DIRECT.fetch_add(1, Ordering::Relaxed));
        store.record_blocking(vec![hard_bounce(address, Timestamp::now())]).map_err(io::Error::other)?;
        Ok(())
    })
}

/// Writes of 4 KiB per second, each followed by fdatasync, into a file of 4 MiB that is there already.
pub fn fdatasync(work: &Path, length: Duration) -> Result<f64> {
    let path = work.join("fdatasync");
    fs::write(&path, vec![1; 4 << 20])?;
    let file = OpenOptions::new().write(true).open(&path)?;
    file.sync_all()?;
    let (page, mut count) = ([2; 4096], 0u64);
    let begin = Instant::now();
    while begin.elapsed() < length {
        file.write_all_at(&page, count % 1024 * 4096)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(rate)
}

/// Kills the daemon as a power cut would, opens its store and looks for every bounce it acknowledged.
pub fn kill_and_verify(daemon: Target, store: &Path, acknowledged: &[Address]) -> Result<()> {
    daemon.kill()?;
    let store = Store::open(&settings(store)?).context("the store does not open after kill -9")?;
    for address in acknowledged {
        let on_record = store.contact(address)?.is_some_and(|contact| !contact.facts.is_empty());
        ensure!(on_record, "the bounce of {address} was acknowledged and is not in the store after kill -9");
    }
    Ok(store.close()?)
}

fn per_second(threads: usize, length: Duration, work: impl Fn() -> io::Result<()> + Sync) -> Result<f64> {
    let begin = Instant::now();
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = 0u64;
                    while begin.elapsed() < length {
                        work()?;
                        done += 1;
                    }
                    io::Result::Ok(done)
                })
            })
            .collect();
        let mut total = 0;
        for worker in workers {
            match worker.join() {
                Ok(done) => total += done?,
                Err(_) => bail!("a sender panicked"),
            }
        }
        Ok(total)
    })?;
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}
