//! This host's Postfix, by its own programs: postconf(1), postqueue(1), postsuper(1), sendmail(1); and the running
//! resolver, trivial-rewrite(8), which alone knows where a message would go now.

use crate::ctl::postfix::{program, tool};
use crate::mail::SELFTEST_DOMAIN;
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

/// Longest wait for the resolver.
const RESOLVE_TIME: Duration = Duration::from_secs(10);
/// The address classes whose mail ends on this host: local, virtual alias, virtual mailbox (`RESOLVE_CLASS_FINAL` in
/// Postfix's resolve_clnt.h, unchanged from 2.3 to 3.12).
const CLASS_FINAL: u32 = 0x700;
/// Longest line about a message in the queue that is read whole; the test's have a hundredth of it.
const QUEUED_BYTES: u64 = 256 << 10;
/// Octets at the end of the mail log that are looked through.
const LOG_BYTES: u64 = 4 << 20;

/// Postfix with one configuration.
pub struct Postfix {
    config: Option<PathBuf>,
}

/// Where Postfix would send a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The transport of master.cf.
    pub transport: String,
    /// The next hop; for LMTP over a Unix socket `unix:PATH`.
    pub nexthop: String,
    /// Its mail ends on this host.
    pub is_final: bool,
}

/// A message in the queue.
#[derive(Debug, Deserialize)]
struct Queued {
    queue_id: String,
    #[serde(default)]
    recipients: Vec<QueuedRecipient>,
}

#[derive(Debug, Deserialize)]
struct QueuedRecipient {
    address: String,
}

impl Postfix {
    /// The one whose main.cf is in this directory, else the usual one.
    pub fn new(config: Option<PathBuf>) -> Postfix {
        Postfix { config }
    }

    /// The value of a parameter, others in it replaced by theirs.
    ///
    /// # Errors
    /// What postconf(1) says, or that it is not there.
    pub fn value(&self, name: &str) -> Result<String, String> {
        self.run("postconf", &["-x", "-h", name]).map(|value| value.trim().to_owned())
    }

    /// The directory of main.cf, if it is not the usual one.
    pub fn directory(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// A program and its arguments, as an operator of this Postfix has to type them.
    pub fn command_line(&self, name: &str, arguments: &str) -> String {
        format!("{} {arguments}", tool(name, self.directory()))
    }

    /// Asks the running trivial-rewrite(8) where a message would go. Its protocol is that of resolve_clnt(3): names and
    /// values ended by NUL, a list ended by another one.
    ///
    /// # Errors
    /// The socket is out of our reach, or it answers otherwise.
    pub fn resolve(&self, queue_directory: &Path, address: &str) -> io::Result<Destination> {
        let mut stream = UnixStream::connect(queue_directory.join("private/rewrite"))?;
        stream.set_read_timeout(Some(RESOLVE_TIME))?;
        stream.write_all(format!("request\0resolve\0sender\0\0address\0{address}\0\0").as_bytes())?;
        read_destination(&mut BufReader::new(stream))
    }

    /// The ids of messages in the queue that are to addresses of the test domain alone, and of those of `ours` that are
    /// still there.
    ///
    /// # Errors
    /// What postqueue(1) says.
    pub fn left_in_queue(&self, ours: &BTreeSet<String>) -> Result<Vec<String>, String> {
        let failed = |error: io::Error| format!("postqueue: {error}");
        let mut command = program("postqueue", self.directory());
        let mut child = command.arg("-j").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        // A queue may have a million messages of others: what is not the test's is let go of line by line.
        let read = child.stdout.take().map_or(Ok(Vec::new()), |listed| left_of(&mut BufReader::new(listed), ours));
        let output = child.wait_with_output().map_err(failed)?;
        match output.status.success() {
            true => read.map_err(failed),
            false => Err(said("postqueue", &output)),
        }
    }

    /// Removes messages from the queue; only root may.
    ///
    /// # Errors
    /// What postsuper(1) says.
    pub fn remove(&self, queue_ids: &[String]) -> Result<(), String> {
        let arguments: Vec<&str> = queue_ids.iter().flat_map(|id| ["-d", id]).collect();
        self.run("postsuper", &arguments).map(|_| ())
    }

    /// Hands in a message as a program on this host does.
    ///
    /// # Errors
    /// What sendmail(1) says.
    pub fn sendmail(&self, reverse_path: &str, recipient: &str, message: &[u8]) -> Result<(), String> {
        let mut command = program("sendmail", self.directory());
        command.args(["-i", "-f", reverse_path, recipient]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("sendmail: {error}"))?;
        let written = child.stdin.take().map(|mut stdin| stdin.write_all(message));
        let output = child.wait_with_output().map_err(|error| format!("sendmail: {error}"))?;
        match written {
            Some(Ok(())) if output.status.success() => Ok(()),
            _ => Err(said("sendmail", &output)),
        }
    }

    /// The last line of the mail log about a message, or the command that looks for it.
    pub fn log_line(&self, queue_id: &str) -> String {
        let own = self.value("maillog_file").unwrap_or_default();
        let files = [own.as_str(), "/var/log/mail.log", "/var/log/maillog"];
        let found = files.iter().filter(|file| file.starts_with('/')).find_map(|file| last_about(file, queue_id));
        found.unwrap_or_else(|| format!("journalctl --since -10min | grep {queue_id}"))
    }

    fn run(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        let output = program(name, self.directory()).args(arguments).output();
        let output = output.map_err(|error| format!("{name}: {error}"))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(said(name, &output)),
        }
    }
}

fn said(name: &str, output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    match text.trim() {
        "" => format!("{name} ended with {}", output.status),
        text => text.replace('\n', "; "),
    }
}

/// The ids of the test's messages in what `postqueue -j` lists: an object a line. A line that is too long comes in pieces,
/// none of which is an object.
fn left_of(listed: &mut impl BufRead, ours: &BTreeSet<String>) -> io::Result<Vec<String>> {
    let mut left = Vec::new();
    let mut line = Vec::new();
    while listed.take(QUEUED_BYTES).read_until(b'\n', &mut line)? > 0 {
        let entry = serde_json::from_slice::<Queued>(&line).ok();
        left.extend(
            entry.filter(|entry| is_tests(entry) || ours.contains(&entry.queue_id)).map(|entry| entry.queue_id),
        );
        line.clear();
    }
    Ok(left)
}

/// Whether a message goes to the test domain and nowhere else.
fn is_tests(entry: &Queued) -> bool {
    let is_tests = |recipient: &QueuedRecipient| {
        let domain = recipient.address.rsplit_once('@').map(|(_, domain)| domain);
        domain.is_some_and(|domain| domain.eq_ignore_ascii_case(SELFTEST_DOMAIN))
    };
    !entry.recipients.is_empty() && entry.recipients.iter().all(is_tests)
}

/// Reads lists of names and values up to the first that has a transport: a newer server greets with one of its own.
fn read_destination(stream: &mut impl BufRead) -> io::Result<Destination> {
    let mut stream = stream.take(64 << 10);
    let mut attributes = HashMap::new();
    loop {
        let mut text = || {
            let mut octets = Vec::new();
            stream.read_until(0, &mut octets)?;
            match octets.pop() {
                Some(0) => Ok(String::from_utf8_lossy(&octets).into_owned()),
                _ => Err(io::Error::other("trivial-rewrite(8) answered what this version cannot read")),
            }
        };
        let name = text()?;
        if !name.is_empty() {
            // Of the two that are called `flags` the last one is the address's.
            let value = text()?;
            attributes.insert(name, value);
        } else if let Some(transport) = attributes.remove("transport") {
            let flags: u32 = attributes.get("flags").and_then(|flags| flags.parse().ok()).unwrap_or_default();
            let nexthop = attributes.remove("nexthop").unwrap_or_default();
            return Ok(Destination { transport, nexthop, is_final: flags & CLASS_FINAL != 0 });
        }
    }
}

fn last_about(file: &str, queue_id: &str) -> Option<String> {
    let mut file = File::open(file).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES))).ok()?;
    let mut octets = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut octets).ok()?;
    let text = String::from_utf8_lossy(&octets);
    let named = format!(" {queue_id}: ");
    // "removed" ends every message, and tells nothing.
    let found = text.lines().rev().find(|line| line.contains(&named) && !line.ends_with(": removed"));
    found.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolvers_answer_is_read_with_a_greeting_and_without() {
        let plain =
            b"flags\x000\0transport\0lmtp\0nexthop\0unix:backstop/selftest.sock\0recipient\0a@b\0flags\x004096\0\0";
        let greeted = [&b"protocol\0rewrite\0\0"[..], plain].concat();
        let nexthop = "unix:backstop/selftest.sock".to_owned();
        let want = Destination { transport: "lmtp".to_owned(), nexthop, is_final: false };
        for answer in [&plain[..], &greeted] {
            assert_eq!(read_destination(&mut &answer[..]).ok().as_ref(), Some(&want));
        }
        let own = b"flags\x000\0transport\0virtual\0nexthop\0b\0recipient\0a@b\0flags\x001024\0\0";
        assert!(read_destination(&mut &own[..]).is_ok_and(|own| own.is_final));
        for broken in [&b"flags\x000\0transport\0lmtp"[..], b"", b"\0\0\0"] {
            assert!(read_destination(&mut &*broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn of_a_queue_without_measure_only_the_tests_messages_are_kept() {
        let entry =
            |id: &str, to: &str| format!("{{\"queue_id\":\"{id}\",\"recipients\":[{{\"address\":\"{to}\"}}]}}\n");
        let test = "bounce@backstop-selftest.invalid";
        let long = entry("long", &format!("{}@backstop-selftest.invalid", "x".repeat(QUEUED_BYTES as usize)));
        let listed = [
            entry("1", "joe@example.org").repeat(10_000),
            entry("2", test),
            "no JSON\n".to_owned(),
            long,
            entry("3", "joe@example.org"),
            entry("4", test).trim_end().to_owned(),
        ];
        let ours = BTreeSet::from(["3".to_owned()]);
        assert_eq!(left_of(&mut listed.concat().as_bytes(), &ours).expect("readable"), ["2", "3", "4"]);
    }

    #[test]
    fn what_is_to_anybody_else_is_not_the_tests() {
        for (recipients, want) in [
            (r#"[{"address":"bounce@backstop-selftest.invalid"}]"#, true),
            (
                r#"[{"address":"a@Backstop-Selftest.invalid","delay_reason":"x"},{"address":"b@backstop-selftest.invalid"}]"#,
                true,
            ),
            (r#"[{"address":"bounce@backstop-selftest.invalid"},{"address":"joe@example.org"}]"#, false),
            (r#"[{"address":"joe@example.org"}]"#, false),
            (r#"[{"address":"joe@x.backstop-selftest.invalid"}]"#, false),
            ("[]", false),
        ] {
            let line = format!(r#"{{"queue_name":"deferred","queue_id":"1","sender":"","recipients":{recipients}}}"#);
            assert_eq!(is_tests(&serde_json::from_str(&line).expect("JSON")), want, "{recipients}");
        }
    }
}
