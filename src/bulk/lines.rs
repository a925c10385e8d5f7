//! Lines of a list, bounded: what is too long is read over, not kept.

use std::io::{self, BufRead, ErrorKind};

/// Octets of the longest line, and of the longest record of several lines.
pub const LINE_BYTES: usize = 64 << 10;

/// What came of asking for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It was appended, without its line end.
    Line,
    /// It would have made more than [`LINE_BYTES`]; what was appended of it is to be forgotten.
    TooLong,
    /// There is none.
    End,
}

/// Numbers the lines of an input, and takes lines back.
pub struct Lines<R> {
    input: R,
    /// Lines taken back, and how far they were given out again.
    again: Vec<u8>,
    place: usize,
    /// Whether a line that was too long stands behind them.
    long_behind: bool,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(input: R) -> Lines<R> {
        Lines { input, again: Vec::new(), place: 0, long_behind: false, number: 0 }
    }

    /// The number of the line last given, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Appends the next line, so that `out` has at most [`LINE_BYTES`]. LF and CRLF end a line alike.
    pub fn next(&mut self, out: &mut Vec<u8>) -> io::Result<Next> {
        if self.long_behind && self.place == self.again.len() {
            self.long_behind = false;
            self.number += 1;
            return Ok(Next::TooLong);
        }
        let start = out.len();
        let mut long = false;
        let mut any = false;
        loop {
            let again = self.place < self.again.len();
            let available = if again {
                &self.again[self.place..]
            } else {
                match self.input.fill_buf() {
                    Ok(available) => available,
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            };
            let end = available.iter().position(|octet| *octet == b'\n');
            let taken = &available[..end.unwrap_or(available.len())];
            // One more than may be, for the CR that is taken off again.
            if long || out.len() + taken.len() > LINE_BYTES + 1 {
                long = true;
            } else {
                out.extend_from_slice(taken);
            }
            any |= !available.is_empty();
            let ended = end.is_some() || available.is_empty();
            let used = taken.len() + usize::from(end.is_some());
            if again {
                self.place += used;
            } else {
                self.input.consume(used);
            }
            if ended {
                break;
            }
        }
        if !any {
            return Ok(Next::End);
        }
        self.number += 1;
        if out.len() > start && out.last() == Some(&b'\r') {
            out.pop();
        }
        Ok(if long || out.len() > LINE_BYTES { Next::TooLong } else { Next::Line })
    }

    /// Takes back the lines behind line `number`, an LF before each; `long` if one that was too long followed them.
    pub fn take_back(&mut self, lines: &[u8], long: bool, number: u64) {
        let rest = &self.again[self.place..];
        let mut again = Vec::with_capacity(lines.len() + rest.len());
        if let Some(lines) = lines.strip_prefix(b"\n") {
            again.extend_from_slice(lines);
            again.push(b'\n');
        }
        again.extend_from_slice(rest);
        self.long_behind |= long;
        (self.again, self.place, self.number) = (again, 0, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_read_over_without_being_kept() {
        let long = "x".repeat(LINE_BYTES);
        let text = format!("one\r\n{long}\n{long}x\n{long}{long}{long}\r\n\nlast");
        let mut lines = Lines::new(io::BufReader::with_capacity(1000, text.as_bytes()));
        let mut found = Vec::new();
        loop {
            let mut line = Vec::new();
            let next = lines.next(&mut line).expect("memory does not fail");
            assert!(line.capacity() <= 4 * LINE_BYTES);
            match next {
                Next::End => break,
                Next::Line => found.push((lines.number(), Some(line.len()))),
                Next::TooLong => found.push((lines.number(), None)),
            }
        }
        assert_eq!(found, [(1, Some(3)), (2, Some(LINE_BYTES)), (3, None), (4, None), (5, Some(0)), (6, Some(4))]);
    }

    #[test]
    fn lines_taken_back_are_given_again_with_their_numbers() {
        let mut lines = Lines::new(&b"one\ntwo\nthree\n"[..]);
        let mut line = Vec::new();
        assert_eq!(lines.next(&mut line).expect("memory"), Next::Line);
        assert_eq!(lines.next(&mut line).expect("memory"), Next::Line);
        lines.take_back(b"\none\ntwo", false, 0);
        let mut found = Vec::new();
        loop {
            line.clear();
            if lines.next(&mut line).expect("memory") == Next::End {
                break;
            }
            found.push((lines.number(), String::from_utf8_lossy(&line).into_owned()));
        }
        assert_eq!(found, [(1, "one".to_owned()), (2, "two".to_owned()), (3, "three".to_owned())]);
    }
}
