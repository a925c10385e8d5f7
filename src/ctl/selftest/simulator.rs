//! The receiving end of the self-test: an LMTP server (RFC 2033) on a Unix socket, to which Postfix hands everything for
//! the test domain. It answers each recipient at the end of the message as the local part says, for only there is it
//! seen whether the message is of this run; what a broken-off run left in the queue is taken in and forgotten.

use super::stop::Stop;
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The field that marks a message of a self-test, with the id of its run.
pub const MARK: &str = "X-Selftest-Run";
/// How often somebody looks whether all is to end.
const TICK: Duration = Duration::from_millis(50);
/// Longest line that is read whole.
const LINE_BYTES: u64 = 4096;
/// Longest message kept; ours are a tenth of it, with what Postfix writes around them.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Recipients of a message, connections at a time.
const MOST: usize = 50;
/// Most arrivals that are written down: a run has a tenth of it, and anybody may write to its addresses meanwhile.
const ARRIVALS: usize = 200;

/// A recipient of a message of this run that Postfix handed to us.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The argument of MAIL FROM, without brackets; empty for the null reverse path.
    pub reverse_path: String,
    /// The local part of the recipient, lower case.
    pub local_part: String,
    /// The message as it came.
    pub message: Arc<Vec<u8>>,
}

/// The server. Its socket goes when it is dropped.
pub struct Simulator {
    arrived: Arc<Mutex<Vec<Arrived>>>,
    ended: Arc<AtomicBool>,
    path: PathBuf,
    acceptor: Option<JoinHandle<()>>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum NoSimulator {
    /// Another one answers there.
    #[error("another self-test is running: something answers on {0}")]
    Taken(String),
    /// The socket cannot be made.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

impl Simulator {
    /// Serves messages of `run` on a socket that user `owner` may connect to; one that nobody answers on any more is
    /// replaced.
    ///
    /// # Errors
    /// [`NoSimulator`] when the socket is in use or cannot be made.
    pub fn start(path: &Path, owner: Option<u32>, run: &str) -> Result<Simulator, NoSimulator> {
        let failed = |error| NoSimulator::Io(path.display().to_string(), error);
        let is_socket = fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket());
        match UnixStream::connect(path).map_err(|error| (error.kind(), error)) {
            Ok(_) => return Err(NoSimulator::Taken(path.display().to_string())),
            Err((io::ErrorKind::ConnectionRefused, _)) if is_socket => fs::remove_file(path).map_err(failed)?,
            // Nothing is there, or a file, which bind(2) leaves alone.
            Err((io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound, _)) => {}
            // Somebody's whom we may not ask.
            Err((_, error)) => return Err(failed(error)),
        }
        // lmtp(8) is Postfix's user. Only root can give the socket away; anybody else who may write here opens it, and
        // the directory keeps others out. The mode is there from the start, and the owner goes to no link's target: the
        // directory belongs to somebody whom root need not trust.
        let owner = owner.filter(|_| geteuid().is_root());
        let others =
            umask(if owner.is_some() { Mode::from_bits_truncate(0o177) } else { Mode::from_bits_truncate(0o111) });
        let bound = UnixListener::bind(path);
        umask(others);
        let listener = bound.map_err(failed)?;
        let mut simulator = Simulator {
            arrived: Arc::default(),
            ended: Arc::default(),
            path: path.to_owned(),
            acceptor: None, // from here on, dropping it removes the socket
        };
        if owner.is_some() {
            lchown(path, owner, None).map_err(failed)?;
        }
        listener.set_nonblocking(true).map_err(failed)?;
        let (arrived, ended) = (Arc::clone(&simulator.arrived), Arc::clone(&simulator.ended));
        let mark = format!("{MARK}: {run}");
        let open = Arc::new(AtomicUsize::new(0));
        simulator.acceptor = Some(std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(TICK);
                    continue;
                };
                if open.fetch_add(1, Ordering::Relaxed) >= MOST {
                    open.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let (arrived, ended, mark, open) = (arrived.clone(), ended.clone(), mark.clone(), open.clone());
                std::thread::spawn(move || {
                    // Postfix tells in its log what it made of a connection that broke off.
                    let _ = Session { arrived: &arrived, mark: &mark }.serve(stream, ended);
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }));
        Ok(simulator)
    }

    /// What has arrived for this local part.
    pub fn arrived(&self, local_part: &str) -> Vec<Arrived> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.iter().filter(|arrived| arrived.local_part == local_part).cloned().collect()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// What a session writes down, and for which messages.
struct Session<'a> {
    arrived: &'a Mutex<Vec<Arrived>>,
    mark: &'a str,
}

impl Session<'_> {
    fn serve(&self, stream: UnixStream, ended: Arc<AtomicBool>) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TICK))?;
        let mut answers = stream.try_clone()?;
        let stop = Stop::when(ended);
        let mut lines = BufReader::new(stop.reader(stream, Duration::from_secs(300)));
        answers.write_all(b"220 backstop-selftest.invalid LMTP\r\n")?;
        let (mut reverse_path, mut recipients) = (String::new(), Vec::new());
        loop {
            let line = read_line(&mut lines)?;
            let text = String::from_utf8_lossy(&line);
            match text.trim_end().get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
                "LHLO" => answers.write_all(b"250-backstop-selftest.invalid\r\n250 8BITMIME\r\n")?,
                "MAIL" => {
                    (reverse_path, recipients) = (path_of(&text), Vec::new());
                    answers.write_all(b"250 2.1.0 ok\r\n")?;
                }
                "RCPT" if recipients.len() < MOST => {
                    recipients.push(path_of(&text));
                    answers.write_all(b"250 2.1.5 ok\r\n")?;
                }
                "RCPT" => answers.write_all(b"452 4.5.3 too many recipients\r\n")?,
                "DATA" => {
                    answers.write_all(b"354 go on\r\n")?;
                    let message = read_message(&mut lines)?;
                    let replies = self.take(&reverse_path, &std::mem::take(&mut recipients), message);
                    answers.write_all(replies.as_bytes())?;
                }
                "RSET" => {
                    recipients.clear();
                    answers.write_all(b"250 2.0.0 ok\r\n")?;
                }
                "QUIT" => return answers.write_all(b"221 2.0.0 bye\r\n"),
                _ => answers.write_all(b"250 2.0.0 ok\r\n")?,
            }
        }
    }

    /// Writes down a message of this run, and gives a reply for each recipient.
    fn take(&self, reverse_path: &str, recipients: &[String], message: Vec<u8>) -> String {
        let is_notification = reverse_path.is_empty();
        let is_ours = is_notification || is_marked(&message, self.mark);
        let message = Arc::new(message);
        let mut replies = String::new();
        for recipient in recipients {
            let local_part = recipient.split('@').next().unwrap_or_default().to_ascii_lowercase();
            replies.push_str(match local_part.as_str() {
                _ if !is_ours => "250 2.0.0 of a run that is over\r\n",
                "bounce" => "550 5.1.1 user unknown: the self-test's bounce\r\n",
                "soft" => "552 5.2.2 mailbox full: the self-test's soft bounce\r\n",
                _ => "250 2.0.0 kept\r\n",
            });
            let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            if is_ours && arrived.len() < ARRIVALS {
                let (reverse_path, message) = (reverse_path.to_owned(), message.clone());
                arrived.push(Arrived { reverse_path, local_part, message });
            }
        }
        replies
    }
}

/// The header of a message, without the empty line.
pub fn header_of(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 2);
    &message[..end.unwrap_or(message.len())]
}

fn is_marked(message: &[u8], mark: &str) -> bool {
    String::from_utf8_lossy(header_of(message)).lines().any(|line| line.eq_ignore_ascii_case(mark))
}

/// What stands between the first `<` and the last `>`.
fn path_of(command: &str) -> String {
    let inner = command.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>'));
    inner.map(|(path, _)| path.to_owned()).unwrap_or_default()
}

fn read_line(lines: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::BufRead::read_until(&mut lines.take(LINE_BYTES), b'\n', &mut line)?;
    match line.last() {
        Some(b'\n') => Ok(line),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The message up to its final dot, dots undone.
fn read_message(lines: &mut impl io::BufRead) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut lines = lines.take(MESSAGE_BYTES);
    loop {
        let mut line = Vec::new();
        io::BufRead::read_until(&mut lines, b'\n', &mut line)?;
        match line.as_slice() {
            b".\r\n" => return Ok(message),
            [] => return Err(io::ErrorKind::UnexpectedEof.into()),
            line => message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;

    fn talk(stream: &UnixStream, say: &str, replies: usize) -> Vec<String> {
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(say.as_bytes()).expect("it reads");
        (0..replies)
            .map(|_| {
                let mut line = String::new();
                stream.read_line(&mut line).expect("it answers");
                line.trim_end().to_owned()
            })
            .collect()
    }

    #[test]
    fn each_recipient_is_answered_by_its_name_and_a_run_that_is_over_is_taken_in() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("selftest.sock");
        drop(UnixListener::bind(&path).expect("a stale socket"));
        let simulator = Simulator::start(&path, None, "77").expect("the stale one is replaced");
        assert!(matches!(Simulator::start(&path, None, "78"), Err(NoSimulator::Taken(_))));
        let stream = UnixStream::connect(&path).expect("it listens");
        talk(&stream, "", 1);
        talk(&stream, "LHLO x\r\n", 2);
        for (run, want) in [("77", ["550 5.1.1", "552 5.2.2", "250 2.0.0"]), ("76", ["250 2.0.0"; 3])] {
            talk(&stream, "MAIL FROM:<a@b.invalid> SIZE=3\r\n", 1);
            for to in ["Bounce", "soft", "ooto"] {
                talk(&stream, &format!("RCPT TO:<{to}@backstop-selftest.invalid>\r\n"), 1);
            }
            talk(&stream, "DATA\r\n", 1);
            let message = format!("Subject: x\r\nx-selftest-run: {run}\r\n\r\n{MARK}: 77\r\n..\r\n.\r\n");
            let replies = talk(&stream, &message, 3);
            assert!(replies.iter().zip(want).all(|(reply, want)| reply.starts_with(want)), "{run}: {replies:?}");
        }
        let arrived = simulator.arrived("bounce");
        assert_eq!((arrived.len(), arrived[0].reverse_path.as_str()), (1, "a@b.invalid"), "{arrived:?}");
        assert!(arrived[0].message.ends_with(b"\r\n.\r\n"), "the dot is undone");
        drop(simulator);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("selftest.sock");
        fs::write(&path, "words").expect("writable");
        assert!(matches!(Simulator::start(&path, None, "77"), Err(NoSimulator::Io(..))));
        assert_eq!(fs::read_to_string(&path).expect("it stays"), "words");
    }

    #[test]
    fn of_notifications_without_end_some_are_written_down() {
        let arrived = Mutex::default();
        let session = Session { arrived: &arrived, mark: "X: 77" };
        for _ in 0..10 {
            let replies = session.take("", &vec!["return@backstop-selftest.invalid".to_owned(); MOST], Vec::new());
            assert_eq!(replies.lines().count(), MOST, "each is answered");
        }
        assert_eq!(arrived.lock().expect("no panic").len(), ARRIVALS);
    }

    #[test]
    fn a_line_without_end_ends_the_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("selftest.sock");
        let _simulator = Simulator::start(&path, None, "77").expect("a socket");
        let mut stream = UnixStream::connect(&path).expect("it listens");
        talk(&stream, "", 1);
        let long = vec![b'x'; 4 * LINE_BYTES as usize];
        let _ = stream.write_all(&long);
        let mut rest = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        let ended =
            stream.read_to_end(&mut rest).map_or_else(|error| error.kind() != io::ErrorKind::WouldBlock, |_| true);
        assert!(ended && rest.is_empty());
    }
}
