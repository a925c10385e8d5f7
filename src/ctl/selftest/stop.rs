//! Whether all is to end: at Ctrl-C and SIGTERM, so that what was made is cleared away before the program goes. A
//! second signal ends it at once.

use crate::ctl::exit::{Exit, Failure};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// How often somebody who waits looks.
pub const TICK: Duration = Duration::from_millis(100);

/// Tells whether all is to end.
#[derive(Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    by: Arc<AtomicI32>,
}

impl Stop {
    /// At a signal.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub fn at_signals() -> Result<Stop, Failure> {
        let refused = |error: io::Error| Failure::new(Exit::Unavailable, format!("cannot start: {error}"));
        let stop = Stop::when(Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let entered = runtime.enter();
        for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()] {
            let (mut signal, stop) = (signal(kind).map_err(refused)?, stop.clone());
            runtime.spawn(async move {
                while signal.recv().await.is_some() {
                    if stop.asked.swap(true, Ordering::Relaxed) {
                        std::process::exit(128 + kind.as_raw_value());
                    }
                    stop.by.store(kind.as_raw_value(), Ordering::Relaxed);
                }
            });
        }
        drop(entered);
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Ok(stop)
    }

    /// When this becomes true.
    pub fn when(asked: Arc<AtomicBool>) -> Stop {
        Stop { asked, by: Arc::default() }
    }

    /// Whether all is to end.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The exit status that a signal asks for; none where there was none.
    pub fn status(&self) -> Option<i32> {
        Some(self.by.load(Ordering::Relaxed)).filter(|by| *by > 0).map(|by| 128 + by)
    }

    /// Reads from a socket with a short time-out, at most so long for one read.
    pub fn reader<R: Read>(&self, inner: R, patience: Duration) -> Reader<R> {
        Reader { inner, stop: self.clone(), patience }
    }
}

/// See [`Stop::reader`].
pub struct Reader<R> {
    inner: R,
    stop: Stop,
    patience: Duration,
}

impl<R> Reader<R> {
    /// What is read from.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.inner
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let deadline = Instant::now() + self.patience;
        loop {
            match self.inner.read(buffer) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.stop.is_asked() {
                        return Err(io::Error::other("interrupted"));
                    }
                    if Instant::now() >= deadline {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                done => return done,
            }
        }
    }
}
