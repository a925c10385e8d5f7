//! How `backstopctl` ends (SPEC 9; sysexits.h).

use hyper::StatusCode;
use std::io;

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Yes, or done.
    Yes = 0,
    /// No: somebody is suppressed, never heard of, not a report.
    No = 1,
    /// The command line cannot be used.
    Usage = 64,
    /// What was given cannot be used: an address, a mail, a rule file.
    Data = 65,
    /// A file cannot be read.
    NoInput = 66,
    /// The daemon cannot be reached, or cannot answer.
    Unavailable = 69,
    /// The answer cannot be written.
    Output = 74,
    /// Not allowed.
    Permission = 77,
    /// The rules cannot be used.
    Config = 78,
}

/// Why nothing, or not everything, was done.
#[derive(Debug)]
pub enum Failure {
    /// Whoever read our output has enough (`backstopctl list | head`).
    ReaderGone,
    /// Anything else.
    Because {
        /// How to exit.
        exit: Exit,
        /// A sentence for standard error.
        message: String,
    },
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure::Because { exit, message: message.into() }
    }

    /// The failure that an answer of the daemon stands for.
    pub(super) fn of_status(status: StatusCode, code: &str, message: &str) -> Failure {
        let exit = match status.as_u16() {
            403 => Exit::Permission,
            404 if code == "not-found" => Exit::No,
            409 if code == "already" => Exit::No,
            400 | 413 | 422 => Exit::Data,
            _ => Exit::Unavailable,
        };
        Failure::new(exit, message)
    }
}

/// Only writing to standard output fails with a bare I/O error.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ReaderGone,
            _ => Failure::new(Exit::Output, format!("standard output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_the_daemon_has_its_exit_status() {
        for (status, code, want) in [
            (403, "forbidden", Exit::Permission),
            (404, "not-found", Exit::No),
            (404, "unknown-request", Exit::Unavailable), // an older daemon
            (409, "already", Exit::No),
            (409, "busy", Exit::Unavailable),
            (413, "too-large", Exit::Data),
            (422, "invalid-value", Exit::Data),
            (503, "store-unavailable", Exit::Unavailable),
        ] {
            let failure = Failure::of_status(StatusCode::from_u16(status).expect("a literal"), code, "");
            let Failure::Because { exit, .. } = failure else { panic!("{status} {code}") };
            assert_eq!(exit, want, "{status} {code}");
        }
    }
}
