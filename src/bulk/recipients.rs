//! A list that somebody means to mail: record by record, as it came, with the address that stands in it. The column is
//! told by the header, by its name, or by the first record. Memory is bounded by the longest record, 64 KiB.

use super::format::{Column, Places, plain};
use super::lines::{LINE_BYTES, Lines, Next};
use super::record::Fields;
use crate::mail::{Address, mailboxes};
use std::io::{self, BufRead};

/// Lines of the longest record.
const RECORD_LINES: usize = 100;
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// A record of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The names of the columns; they are for nobody.
    Header(Vec<u8>),
    /// Somebody.
    Recipient {
        /// The line it begins at, counted from 1.
        line: u64,
        /// The record as it came, without its line end.
        raw: Vec<u8>,
        /// What stands where an address is wanted.
        address: String,
    },
    /// It could not be read.
    Bad {
        /// The line it begins at.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Reads the records of a list.
pub struct Recipients<R> {
    lines: Lines<R>,
    column: Option<String>,
    /// What separates the fields, and which of them is the address; none before the first record.
    place: Option<(u8, usize)>,
    fields: Fields,
}

impl<R: BufRead> Recipients<R> {
    /// Reads `input`; the addresses stand in the column of this name, if it is given.
    pub fn new(input: R, column: Option<String>) -> Recipients<R> {
        Recipients { lines: Lines::new(input), column, place: None, fields: Fields::default() }
    }

    /// The next record; none at the end. Blank lines are passed over.
    ///
    /// # Errors
    /// One of the input, and [`io::ErrorKind::InvalidData`] where no column of addresses can be told.
    pub fn read(&mut self) -> io::Result<Option<Record>> {
        loop {
            let mut raw = Vec::new();
            match self.lines.next(&mut raw)? {
                Next::End => return Ok(None),
                Next::TooLong => return Ok(Some(self.bad("the line is longer than 64 KiB"))),
                Next::Line if raw.trim_ascii().is_empty() => continue,
                Next::Line => {}
            }
            let Some((delimiter, place)) = self.place else {
                if let Some(header) = self.start(raw)? {
                    return Ok(Some(header));
                }
                continue;
            };
            return self.record(raw, delimiter, place).map(Some);
        }
    }

    fn bad(&self, problem: &'static str) -> Record {
        Record::Bad { line: self.lines.number(), problem }
    }

    /// Looks at the first record: gives it back if it is a header, else takes it back to be read.
    fn start(&mut self, first: Vec<u8>) -> io::Result<Option<Record>> {
        let unusable = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first);
        let text = std::str::from_utf8(text).map_err(|_| unusable("it is not UTF-8".to_owned()))?;
        for delimiter in DELIMITERS {
            self.fields.clear();
            if self.fields.split(text, delimiter, false) {
                continue;
            }
            let named = match &self.column {
                Some(column) => self.fields.iter().position(|name| plain(name) == plain(column)),
                None => Places::find(self.fields.iter()).of(Column::Address),
            };
            if let Some(place) = named.filter(|_| !self.fields.iter().any(is_address)) {
                self.place = Some((delimiter, place));
                return Ok(Some(Record::Header(first)));
            }
            let place = self.fields.iter().position(is_address);
            if let (Some(place), None) = (place, &self.column) {
                self.place = Some((delimiter, place));
                let number = self.lines.number() - 1;
                self.lines.take_back(&[b"\n", text.as_bytes()].concat(), false, number);
                return Ok(None);
            }
        }
        Err(unusable(match &self.column {
            Some(column) => format!("its first line names no column {column}"),
            None => "its first line tells no column of addresses; name it with --column".to_owned(),
        }))
    }

    fn record(&mut self, mut raw: Vec<u8>, delimiter: u8, place: usize) -> io::Result<Record> {
        const NOT_UTF8: &str = "it is not UTF-8";
        const UNCLOSED: &str = "a quote is opened and not closed within 100 lines and 64 KiB";
        let line = self.lines.number();
        let Ok(text) = std::str::from_utf8(&raw) else { return Ok(Record::Bad { line, problem: NOT_UTF8 }) };
        self.fields.clear();
        let mut open = self.fields.split(text, delimiter, false);
        let first = raw.len();
        for _ in 1..RECORD_LINES {
            if !open {
                break;
            }
            let mut piece = Vec::new();
            let next = self.lines.next(&mut piece)?;
            let text = std::str::from_utf8(&piece).ok().filter(|_| next == Next::Line);
            match text.filter(|text| raw.len() + text.len() < LINE_BYTES) {
                Some(text) => {
                    open = self.fields.split(text, delimiter, true);
                    raw.push(b'\n');
                    raw.extend_from_slice(&piece);
                }
                None => {
                    if next == Next::Line {
                        raw.push(b'\n');
                        raw.extend_from_slice(&piece);
                    }
                    self.lines.take_back(&raw[first..], next == Next::TooLong, line);
                    return Ok(Record::Bad { line, problem: UNCLOSED });
                }
            }
        }
        if open {
            self.lines.take_back(&raw[first..], false, line);
            return Ok(Record::Bad { line, problem: UNCLOSED });
        }
        let address = self.fields.get(place);
        // "Joe <joe@example.org>", as mail programs export it.
        let address = match Address::parse(address) {
            Ok(_) => address,
            Err(_) => mailboxes(address).first().copied().unwrap_or(address),
        };
        Ok(Record::Recipient { line, address: address.to_owned(), raw })
    }
}

fn is_address(text: &str) -> bool {
    let mailbox = mailboxes(text);
    text.contains('@')
        && (Address::parse(text).is_ok() || mailbox.first().is_some_and(|one| Address::parse(one).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(list: &str, column: Option<&str>) -> Result<Vec<String>, String> {
        let mut recipients = Recipients::new(list.as_bytes(), column.map(str::to_owned));
        let mut told = Vec::new();
        while let Some(record) = recipients.read().map_err(|error| error.to_string())? {
            told.push(match record {
                Record::Header(raw) => format!("header {}", String::from_utf8_lossy(&raw)),
                Record::Recipient { line, address, .. } => format!("{line} {address}"),
                Record::Bad { line, problem } => format!("{line} bad: {problem}"),
            });
        }
        Ok(told)
    }

    #[test]
    fn the_column_is_told_by_the_header_by_name_or_by_the_first_record() {
        for (list, column, want) in [
            ("joe@example.org\n\nann@example.org", None, Ok(&["1 joe@example.org", "3 ann@example.org"][..])),
            ("name,E-Mail\nJoe,joe@example.org\r\n", None, Ok(&["header name,E-Mail", "2 joe@example.org"])),
            (
                "\u{feff}name;work;home\nJoe;a@x.example;b@x.example\n",
                Some("home"),
                Ok(&["header \u{feff}name;work;home", "2 b@x.example"]),
            ),
            ("Joe\tjoe@example.org\nAnn\t{{email}}\n", None, Ok(&["1 joe@example.org", "2 {{email}}"])),
            ("\"Joe\nand Ann\",joe@example.org\n", None, Err("tells no column")),
            (
                "email,note\njoe@example.org,\"two\nlines\"\nann@example.org,x\n",
                None,
                Ok(&["header email,note", "2 joe@example.org", "4 ann@example.org"]),
            ),
            (
                "email,note\njoe@example.org,\"open\nann@example.org,x\n",
                None,
                Ok(&[
                    "header email,note",
                    "2 bad: a quote is opened and not closed within 100 lines and 64 KiB",
                    "3 ann@example.org",
                ]),
            ),
            ("Joe Doe <joe@example.org>\n", None, Ok(&["1 joe@example.org"])),
            ("name,age\nJoe,40\n", None, Err("--column")),
            ("name,age\nJoe,40\n", Some("mail"), Err("no column mail")),
            ("", None, Ok(&[])),
        ] {
            match (read(list, column), want) {
                (Ok(told), Ok(want)) => assert_eq!(told, want, "{list:?}"),
                (Err(problem), Err(want)) => assert!(problem.contains(want), "{list:?}: {problem}"),
                (told, _) => panic!("{list:?}: {told:?}"),
            }
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let list = "email,note\njoe@example.org,\"two\nlines\"\n";
        let mut recipients = Recipients::new(list.as_bytes(), None);
        let mut raw = Vec::new();
        while let Ok(Some(Record::Header(record) | Record::Recipient { raw: record, .. })) = recipients.read() {
            raw.extend([record, b"\n".to_vec()].concat());
        }
        assert_eq!(raw, list.as_bytes());
    }
}
