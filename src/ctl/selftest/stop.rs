//! Whether all is to end: at Ctrl-C and SIGTERM, so that what was made is cleared away before the program goes. A
//! second signal ends it at once.

use crate::ctl::exit::{Exit, Failure};
use crate::ctl::interrupt::at_signals;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// How often somebody who waits looks.
pub const TICK: Duration = Duration::from_millis(100);

/// Tells whether all is to end.
#[derive(Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    /// That of the signal; 0 where there was none.
    status: Arc<AtomicI32>,
}

impl Stop {
    /// At a signal.
    ///
    /// # Errors
    /// Signals cannot be caught.
    pub fn at_signals() -> Result<Stop, Failure> {
        let refused = |error: io::Error| Failure::new(Exit::Unavailable, format!("cannot start: {error}"));
        let stop = Stop::when(Arc::default());
        let heard = stop.clone();
        let act = move |status| {
            // First: whoever sees that it is asked also asks by what.
            heard.status.store(status, Ordering::SeqCst);
            if heard.asked.swap(true, Ordering::SeqCst) {
                std::process::exit(status);
            }
        };
        at_signals(act).map_err(refused)?;
        Ok(stop)
    }

    /// When this becomes true.
    pub fn when(asked: Arc<AtomicBool>) -> Stop {
        Stop { asked, status: Arc::default() }
    }

    /// Whether all is to end.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// The exit status that a signal asks for; none where there was none.
    pub fn status(&self) -> Option<i32> {
        Some(self.status.load(Ordering::SeqCst)).filter(|status| *status > 0)
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
