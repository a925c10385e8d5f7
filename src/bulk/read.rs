//! Reads a list line by line. Memory is bounded by the longest line, 64 KiB, whatever the input holds.

use super::format::{self, Column, First, Format, Places};
use super::lines::{LINE_BYTES, Lines, Next};
use super::meaning;
use super::record::Fields;
use super::subject::Subject;
use super::{Entry, meaning::Said};
use crate::mail::mailboxes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::{self, BufRead};

/// Lines of the longest record.
const RECORD_LINES: usize = 100;
const UNCLOSED: &str = "a quote is opened and not closed within 100 lines and 64 KiB; close it, or write it twice";
/// What the lines of our export of all say that they are from.
const OF_ALL: [&str; 3] = ["suppression", "blocklist", "robinson"];

/// Which subjects a list may have beside addresses. Suppressions: neither; a blocklist: domains; a Robinson
/// list: hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Domains and subdomains.
    pub domains: bool,
    /// Hashes of addresses.
    pub hashes: bool,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadLine {
    /// The line it begins at, counted from 1.
    pub line: u64,
    /// What is wrong, naming the field, and what would do.
    pub problem: String,
}

/// What a line of a list holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Somebody who must not be mailed.
    Entry(Entry),
    /// It could not be read.
    Bad(BadLine),
    /// It says that the contact may be mailed: a subscribed contact in an export of all.
    NotSuppressed {
        /// The line it begins at, counted from 1.
        line: u64,
    },
}

/// Iterates over the lines of a list. Blank lines, comments and the header are passed over. An error is one of
/// the input and ends the reading; a list of which nothing can be read is one bad line.
pub struct Reader<R> {
    lines: Lines<R>,
    accepts: Accepts,
    format: Option<Format>,
    delimiter: u8,
    places: Places,
    /// The line or record in hand, as it came.
    record: Vec<u8>,
    /// A further line of it.
    piece: Vec<u8>,
    fields: Fields,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// The form is not known yet.
    Start,
    /// The first line was no header: it is in hand and not read yet.
    Held,
    Reading,
    Over,
}

impl<R: BufRead> Reader<R> {
    /// Reads `input` as `format`, or as what its first line tells.
    pub fn new(input: R, format: Option<Format>, accepts: Accepts) -> Reader<R> {
        Reader {
            lines: Lines::new(input),
            accepts,
            format,
            delimiter: b',',
            places: Places::default(),
            record: Vec::new(),
            piece: Vec::new(),
            fields: Fields::default(),
            progress: Progress::Start,
        }
    }

    /// The format it was told or, once the first line was asked for, found.
    pub fn format(&self) -> Option<Format> {
        self.format
    }

    /// Reads up to the first line that tells the form.
    fn start(&mut self) -> io::Result<Option<Line>> {
        loop {
            self.record.clear();
            let next = self.lines.next(&mut self.record)?;
            let line = self.lines.number();
            let useless = |problem: &str| Ok(Some(bad(line, problem)));
            match next {
                Next::End => {
                    self.progress = Progress::Over;
                    return Ok(None);
                }
                Next::TooLong => {
                    self.progress = Progress::Over;
                    return useless("the first line is longer than 64 KiB; this is no list");
                }
                Next::Line => {}
            }
            if line == 1 {
                if self.record.starts_with(b"\xff\xfe") || self.record.starts_with(b"\xfe\xff") {
                    self.progress = Progress::Over;
                    return useless("the list is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)");
                }
                if self.record.starts_with(b"\xef\xbb\xbf") {
                    self.record.drain(..3);
                }
            }
            let text = match std::str::from_utf8(&self.record) {
                Ok(text) => text,
                Err(_) => return Ok(Some(not_utf8(line))),
            };
            if text.trim().is_empty() || text.trim_start().starts_with('#') {
                continue;
            }
            match format::first(text, self.format) {
                First::Header { format, delimiter, places } => {
                    (self.format, self.delimiter, self.places) = (Some(format), delimiter, *places);
                    self.progress = Progress::Reading;
                }
                First::Entry { format, delimiter } => {
                    (self.format, self.delimiter) = (Some(format), delimiter);
                    if format == Format::AmazonSes {
                        self.places = Places::find(["emailaddress", "reason"].into_iter());
                    }
                    self.progress = Progress::Held;
                }
                First::Useless(problem) => {
                    self.progress = Progress::Over;
                    return useless(problem);
                }
            }
            return Ok(None);
        }
    }

    /// The next line or record that is not blank.
    fn read(&mut self, format: Format) -> io::Result<Option<Line>> {
        loop {
            if self.progress == Progress::Held {
                self.progress = Progress::Reading;
            } else {
                self.record.clear();
                match self.lines.next(&mut self.record)? {
                    Next::End => return Ok(None),
                    Next::TooLong => return Ok(Some(bad(self.lines.number(), "the line is longer than 64 KiB"))),
                    Next::Line => {}
                }
            }
            let line = self.lines.number();
            let Ok(text) = std::str::from_utf8(&self.record) else { return Ok(Some(not_utf8(line))) };
            let read = match format {
                Format::Plain => plain(text),
                Format::NdJson => object(text),
                _ => {
                    self.fields.clear();
                    if self.fields.split(text, self.delimiter, false)
                        && let Some(bad) = self.go_on(line)?
                    {
                        return Ok(Some(bad));
                    }
                    let get = |column| self.places.of(column).map_or("", |place| self.fields.get(place));
                    match self.fields.iter().all(str::is_empty) {
                        true => Ok(Read::Nothing),
                        false => row(format, get),
                    }
                }
            };
            return Ok(Some(match read {
                Ok(Read::Nothing) => continue,
                Ok(Read::NotSuppressed) => Line::NotSuppressed { line },
                Ok(Read::Entry(subject, said)) => match self.refused(&subject) {
                    Some(problem) => bad(line, problem),
                    None => Line::Entry(entry(line, subject, said)),
                },
                Err(problem) => bad(line, problem),
            }));
        }
    }

    /// Reads the further lines of a record that has a quote open. Where the quote is not closed soon, the first line
    /// is bad, and the reading goes on with the second.
    fn go_on(&mut self, line: u64) -> io::Result<Option<Line>> {
        let first = self.record.len();
        for _ in 1..RECORD_LINES {
            self.piece.clear();
            let next = self.lines.next(&mut self.piece)?;
            if next == Next::Line {
                self.record.push(b'\n');
                self.record.extend_from_slice(&self.piece);
            }
            let piece = std::str::from_utf8(&self.piece).ok();
            match piece.filter(|_| next == Next::Line && self.record.len() <= LINE_BYTES) {
                Some(piece) if !self.fields.split(piece, self.delimiter, true) => return Ok(None),
                Some(_) => {}
                None => {
                    self.lines.take_back(&self.record[first..], next == Next::TooLong, line);
                    return Ok(Some(bad(line, UNCLOSED)));
                }
            }
        }
        self.lines.take_back(&self.record[first..], false, line);
        Ok(Some(bad(line, UNCLOSED)))
    }

    fn refused(&self, subject: &Subject) -> Option<&'static str> {
        match subject {
            Subject::Domain(_) if !self.accepts.domains => {
                Some("address: a domain; domains belong on the blocklist, here an address is wanted")
            }
            Subject::Hash(_) if !self.accepts.hashes => {
                Some("address: a hash; hashes belong on the Robinson list, here an address is wanted")
            }
            Subject::Address(_) | Subject::Domain(_) | Subject::Hash(_) => None,
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        let read = loop {
            break match (self.progress, self.format) {
                (Progress::Over, _) => return None,
                (Progress::Held | Progress::Reading, Some(format)) => self.read(format),
                (Progress::Start | Progress::Held | Progress::Reading, _) => match self.start() {
                    Ok(None) => continue,
                    told => told,
                },
            };
        };
        match read.transpose() {
            Some(Ok(line)) => Some(Ok(line)),
            over => {
                self.progress = Progress::Over;
                over
            }
        }
    }
}

/// What a line gave.
enum Read {
    Nothing,
    NotSuppressed,
    Entry(Subject, Said),
}

/// A line of a plain list.
fn plain(line: &str) -> Result<Read, String> {
    let mut text = line.trim();
    if text.starts_with('#') {
        return Ok(Read::Nothing);
    }
    // A local part may hold the sign; behind a blank it can only begin a comment.
    if let Some(comment) = text.find([' ', '\t']).and_then(|blank| text[blank..].find('#').map(|sign| blank + sign))
        && text[..comment].ends_with([' ', '\t'])
        && (text[..comment].contains('@') || !text[comment..].contains('@'))
    {
        text = &text[..comment];
    }
    let text = text.trim_end_matches([',', ';', ' ', '\t']);
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() {
        return Ok(Read::Nothing);
    }
    let subject = match text.contains(['<', '(', ',', ';']) {
        false => subject(text)?,
        true => match mailboxes(text)[..] {
            [mailbox] => subject(mailbox)?,
            _ => return Err("address: more than one on the line, or more columns without a header".to_owned()),
        },
    };
    Ok(Read::Entry(subject, Said::default()))
}

/// A line of JSON: the names tell which provider's object it is.
fn object(line: &str) -> Result<Read, String> {
    if line.trim().is_empty() {
        return Ok(Read::Nothing);
    }
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| format!("a JSON object is wanted: {error}"))?;
    if object.get("what").and_then(Value::as_str).is_some_and(|what| OF_ALL.contains(&what)) {
        return Err(format::EXPORT_OF_ALL.to_owned());
    }
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    let places = Places::find(names.iter().copied());
    let values: Vec<Cow<'_, str>> = object.values().map(text).collect();
    let get = |column| places.of(column).map_or("", |place| values[place].trim());
    row(places.format(&names), get)
}

/// A value as CSV would have it.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null | Value::Object(_) => Cow::Borrowed(""),
        Value::Bool(_) | Value::Number(_) => Cow::Owned(value.to_string()),
        Value::Array(items) => Cow::Owned(items.iter().map(text).collect::<Vec<_>>().join(",")),
    }
}

fn row<'a>(format: Format, get: impl Fn(Column) -> &'a str) -> Result<Read, String> {
    let address = get(Column::Address);
    Ok(match meaning::read(format, get)? {
        Some(said) => Read::Entry(subject(address)?, said),
        None => Read::NotSuppressed,
    })
}

fn subject(text: &str) -> Result<Subject, String> {
    let mailbox = match text.contains('<') {
        true => mailboxes(text).first().copied().unwrap_or(text),
        false => text,
    };
    mailbox.parse().map_err(|error| format!("address: {error}; write joe@example.org"))
}

fn entry(line: u64, subject: Subject, said: Said) -> Entry {
    let Said { category, bounce_type, code, reason, note, since, list } = said;
    Entry { line, subject, category, bounce_type, code, reason, note, since, list }
}

fn bad(line: u64, problem: impl Into<String>) -> Line {
    Line::Bad(BadLine { line, problem: problem.into() })
}

fn not_utf8(line: u64) -> Line {
    bad(line, "the line is not UTF-8; convert the list (iconv -f ISO-8859-1 -t UTF-8)")
}
