//! A bar on standard error for work that takes long; nothing where standard error is no terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const WIDTH: usize = 24;
const EVERY: Duration = Duration::from_millis(100);

/// The bar.
pub struct Progress {
    start: u64,
    size: u64,
    begun: Instant,
    drawn: Option<Instant>,
    shown: bool,
}

impl Progress {
    /// A bar over work that begins at `start` of `size`.
    pub fn new(start: u64, size: u64) -> Progress {
        Progress { start, size, begun: Instant::now(), drawn: None, shown: std::io::stderr().is_terminal() }
    }

    /// Draws it, ten times a second at most.
    pub fn at(&mut self, place: u64, words: &str) {
        if !self.shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        // Fails when standard error is closed; there is nobody to tell then.
        let _ = write!(std::io::stderr(), "\r{}\x1b[K", self.line(place, words, self.begun.elapsed()));
    }

    /// Draws how much is done of what has no known size.
    pub fn count(&mut self, words: &str) {
        if !self.shown || self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY) {
            return;
        }
        self.drawn = Some(Instant::now());
        let _ = write!(std::io::stderr(), "\r{words}\x1b[K");
    }

    /// Takes it away.
    pub fn end(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn line(&self, place: u64, words: &str, taken: Duration) -> String {
        let size = self.size.max(1);
        let full = (place.min(size) as usize).saturating_mul(WIDTH) / size as usize;
        let percent = place.min(size) * 100 / size;
        let done = place.saturating_sub(self.start);
        let left = taken.as_secs_f64() * size.saturating_sub(place) as f64 / done.max(1) as f64;
        let left = match left as u64 {
            seconds @ ..90 => format!("{seconds} s"),
            seconds => format!("{} min", seconds.div_ceil(60)),
        };
        format!("[{}{}] {percent} %, {words}, {left} left", "#".repeat(full), " ".repeat(WIDTH - full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_tells_how_much_is_done_and_how_long_it_takes_still() {
        let progress = Progress::new(0, 200);
        let line = |place, seconds| progress.line(place, "5 mails", Duration::from_secs(seconds));
        assert_eq!(line(0, 0), "[                        ] 0 %, 5 mails, 0 s left");
        assert_eq!(line(50, 10), "[######                  ] 25 %, 5 mails, 30 s left");
        assert_eq!(line(50, 100), "[######                  ] 25 %, 5 mails, 5 min left");
        assert_eq!(line(400, 10), "[########################] 100 %, 5 mails, 0 s left");
        assert_eq!(Progress::new(0, 0).line(0, "", Duration::ZERO).len(), "[]  %, , 0 s left".len() + WIDTH + 1);
    }
}
