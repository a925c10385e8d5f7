//! Writes log lines to the journal with their fields (systemd.journal-fields(7)), so that
//! `journalctl QUEUE_ID=4XyZ12` finds what became of a message.
//!
//! An event is one line of text made by `line`; which fields it has is known only then, and tracing's fields (and
//! with them tracing-journald) want them named beforehand. So the line is read back here into the fields it was made
//! of. The protocol is a datagram of `NAME=value` lines.

use super::line;
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

const SOCKET: &str = "/run/systemd/journal/socket";

/// A journal that can be written to.
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// The machine's journal, if standard error goes there (`JOURNAL_STREAM` names device and inode) and it can be
    /// reached.
    pub fn of_standard_error() -> Option<Journal> {
        let named = std::env::var("JOURNAL_STREAM").ok()?;
        let (device, inode) = named.split_once(':')?;
        let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
        let is_it = (device.parse(), inode.parse()) == (Ok(stderr.dev()), Ok(stderr.ino()));
        if is_it { Journal::at(Path::new(SOCKET)).ok() } else { None }
    }

    fn at(path: &Path) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Journal { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let entry = entry(*event.metadata().level(), &words);
        // A journal that was started again has another socket behind the same path; standard error is kept open
        // over that by the service manager.
        if self.socket.send(&entry).is_err()
            && Journal::at(Path::new(SOCKET)).and_then(|journal| journal.socket.send(&entry)).is_err()
        {
            eprintln!("{}", words.message);
        }
    }
}

/// What an event says.
#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.fields.push((field.name(), format!("{value:?}")));
        }
    }
}

fn entry(level: Level, words: &Words) -> Vec<u8> {
    let priority = match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    };
    let mut message = words.message.clone();
    for (name, value) in &words.fields {
        let _ = write!(message, " {name}={value}");
    }
    let mut entry = Vec::with_capacity(2 * message.len() + 80);
    field(&mut entry, "PRIORITY", priority);
    field(&mut entry, "SYSLOG_IDENTIFIER", "backstopd");
    field(&mut entry, "MESSAGE", &message);
    if words.message.starts_with("event=") {
        line::fields(&words.message, |name, value| field(&mut entry, &name.to_ascii_uppercase(), &value));
    }
    for (name, value) in &words.fields {
        field(&mut entry, &name.to_ascii_uppercase(), value);
    }
    entry
}

fn field(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// The fields of one entry, as a journal reads them.
    fn read(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("UTF-8");
        while !entry.is_empty() {
            let end = entry.iter().position(|octet| matches!(octet, b'=' | b'\n')).expect("a name ends");
            let (name, rest) = (text(&entry[..end]), &entry[end + 1..]);
            let (value, rest) = if entry[end] == b'=' {
                let end = rest.iter().position(|octet| *octet == b'\n').expect("a value ends");
                (text(&rest[..end]), &rest[end + 1..])
            } else {
                let (length, rest) = rest.split_first_chunk::<8>().expect("a length");
                let length = u64::from_le_bytes(*length) as usize;
                (text(&rest[..length]), &rest[length + 1..])
            };
            fields.push((name, value));
            entry = rest;
        }
        fields
    }

    #[test]
    fn an_event_becomes_an_entry_with_a_field_for_each_of_its_values() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("journal");
        let reading = UnixDatagram::bind(&path).expect("a socket");
        let log = tracing_subscriber::registry().with(Journal::at(&path).expect("it can be reached"));
        let mut entry = [0; 4096];
        tracing::subscriber::with_default(log, || {
            let said = "event=tempfail queue_id=4XyZ12 problem=\"disk \\\"x\\\"\\nQUEUE_ID=forged \\u{1b}\"";
            tracing::warn!("{said}");
            let length = reading.recv(&mut entry).expect("an entry");
            let fields = read(&entry[..length]);
            let of = |name: &str| fields.iter().filter(|(is, _)| is == name).map(|(_, value)| value.as_str()).collect();
            let of = |name: &str| -> Vec<&str> { of(name) };
            assert_eq!(of("MESSAGE"), [said]);
            assert_eq!(of("PRIORITY"), ["4"]);
            assert_eq!(of("EVENT"), ["tempfail"]);
            assert_eq!(of("QUEUE_ID"), ["4XyZ12"], "what a stranger wrote is no field");
            assert_eq!(of("PROBLEM"), ["disk \"x\"\nQUEUE_ID=forged \u{1b}"]);
            tracing::info!(uid = 7, "two words");
            let length = reading.recv(&mut entry).expect("an entry");
            let fields = read(&entry[..length]);
            assert!(fields.contains(&("MESSAGE".to_owned(), "two words uid=7".to_owned())), "{fields:?}");
            assert!(fields.contains(&("UID".to_owned(), "7".to_owned())), "{fields:?}");
        });
    }
}
