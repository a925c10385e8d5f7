//! Reads bounces that follow no standard: one engine over data, an entry for each format
//! (`config/dialects/*.toml`, overlaid by the operator's `/etc/backstop/dialects.d/`).
//!
//! In: a message that is no delivery status notification. Out: a [`Report`] in the same shape, not yet judged.
//! One pass of a literal search over sender, subject and text finds the few entries that could be meant; only
//! those are tried, in order, and the first that names a recipient is believed. A person's mail costs little
//! more than that pass.

use super::entry::{Dialect, DialectError, ReturnedAt, Returns};
use super::text::{self, Author};
use super::{Action, Kind, Report, Returned, dsn, recipients};
use crate::mail::{Headers, Message};
use aho_corasick::AhoCorasick;
use std::path::Path;

/// Octets of text that are looked at: what a bounce has to say stands at its front.
const TEXT_BYTES: usize = 64 << 10;

/// Octets of text in which marks are looked for.
const MARKED_BYTES: usize = 16 << 10;

/// Entries tried on one message. A bounce bears the marks of a few; a text made to bear all is no bounce.
const TRIED: usize = 48;

/// The entries in force.
#[derive(Debug)]
pub struct Dialects {
    entries: Vec<Dialect>,
    marks: Marks,
    /// Marks of entries for any sender.
    strangers: Marks,
    returned: Returns,
}

/// What the engine looks at: taken from the message once for all entries.
pub(super) struct Notice<'a> {
    pub headers: &'a Headers,
    pub from: String,
    pub subject: String,
    /// Whose mail it seems to be.
    pub author: Author,
    /// What kind of report it says it is, if not a delivery status notification.
    pub other_report: Option<&'static str>,
    /// The first text, as plain text with LF line ends.
    text: String,
    returned: Option<ReturnedAt>,
}

macro_rules! compiled_in {
    ($file:literal) => {
        (concat!("config/dialects/", $file), include_str!(concat!("../../config/dialects/", $file)))
    };
}

/// The entries compiled in, by file.
const COMPILED_IN: [(&str, &str); 20] = [
    compiled_in!("00-returned.toml"),
    compiled_in!("40-exchange.toml"),
    compiled_in!("41-exchange-2007.toml"),
    compiled_in!("42-groupware.toml"),
    compiled_in!("50-google.toml"),
    compiled_in!("51-webmail.toml"),
    compiled_in!("52-russian.toml"),
    compiled_in!("53-senders.toml"),
    compiled_in!("54-filters.toml"),
    compiled_in!("55-telecom.toml"),
    compiled_in!("56-east-asia.toml"),
    compiled_in!("60-qmail.toml"),
    compiled_in!("61-exim.toml"),
    compiled_in!("62-sendmail.toml"),
    compiled_in!("63-unix.toml"),
    compiled_in!("70-servers.toml"),
    compiled_in!("72-gateways.toml"),
    compiled_in!("75-sites.toml"),
    compiled_in!("80-simple.toml"),
    compiled_in!("90-general.toml"),
];

impl Dialects {
    /// The entries compiled in.
    pub fn compiled_in() -> Dialects {
        Dialects::with_overlay([]).expect("the entries compiled in are tested")
    }

    /// The operator's entries, given as file names and texts, ahead of those compiled in.
    ///
    /// # Errors
    /// [`DialectError`] for the first entry that cannot be used.
    pub fn with_overlay<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Result<Dialects, DialectError> {
        let compiled_in = COMPILED_IN.iter().map(|(file, text)| (Path::new(*file), *text));
        Dialects::new(files.into_iter().chain(compiled_in))
    }

    /// Puts entries in the order of the files.
    ///
    /// # Errors
    /// [`DialectError`] for the first entry that cannot be used.
    pub fn new<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> Result<Dialects, DialectError> {
        let (mut entries, mut lines) = (Vec::new(), Vec::new());
        for (file, toml) in files {
            let read = super::entry::read(file, toml)?;
            // Each file by itself, so that the error names it.
            Returns::new(file, &read.returned)?;
            entries.extend(read.dialects);
            lines.extend(read.returned);
        }
        Ok(Dialects {
            marks: Marks::of(&entries, |_| true),
            strangers: Marks::of(&entries, Dialect::is_for_any_sender),
            returned: Returns::new(Path::new("dialects"), &lines)?,
            entries,
        })
    }

    /// The entries, in the order in which they are tried.
    pub fn entries(&self) -> &[Dialect] {
        &self.entries
    }

    /// Reads a bounce. An entry that fits a mail system's mail without naming anybody still makes it a bounce, of
    /// nobody.
    pub fn read(&self, message: &Message<'_>) -> Option<Report> {
        let field = |name| message.headers.get(name).map(|value| text::decode_words(&value)).unwrap_or_default();
        let (from, subject) = (field("From"), field("Subject"));
        let author = text::author(&message.headers, &from, &subject);
        let readable = text::readable(message);
        if author == Author::Person && !self.strangers.stand_in(&from, &subject, readable.octets) {
            return None;
        }
        let text = readable.plain(TEXT_BYTES);
        let returned = self.returned.find(&text);
        let other_report = dsn::other_report(message);
        let notice = Notice { headers: &message.headers, from, subject, author, other_report, text, returned };
        let mut nobody = None;
        for entry in self.candidates(&notice) {
            let report = report(entry, &notice, message);
            if !report.recipients.is_empty() {
                return Some(report);
            }
            let may_name_nobody = !entry.wide && notice.author == Author::MailSystem;
            nobody = nobody.or(may_name_nobody.then_some(report));
        }
        nobody
    }

    /// The entries with a mark in the message that fit, in order.
    fn candidates(&self, notice: &Notice<'_>) -> impl Iterator<Item = &Dialect> {
        let mut marked = vec![false; self.entries.len()];
        for haystack in [&*notice.from, &*notice.subject, front(notice.words(), MARKED_BYTES)] {
            self.marks.owners(haystack, &mut marked);
        }
        let marked = self.entries.iter().zip(marked).filter_map(|(entry, marked)| marked.then_some(entry));
        marked.take(TRIED).filter(|entry| entry.fits(notice))
    }
}

/// Literals of entries, and whose they are.
#[derive(Debug)]
struct Marks {
    automaton: AhoCorasick,
    owners: Vec<usize>,
}

impl Marks {
    fn of(entries: &[Dialect], of_interest: impl Fn(&Dialect) -> bool) -> Marks {
        let (mut literals, mut owners) = (Vec::new(), Vec::new());
        for (owner, entry) in entries.iter().enumerate().filter(|(_, entry)| of_interest(entry)) {
            literals.extend(&entry.marks);
            owners.resize(literals.len(), owner);
        }
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&literals)
            .expect("a few hundred short literals stay below every limit of the builder");
        Marks { automaton, owners }
    }

    fn stand_in(&self, from: &str, subject: &str, text: &[u8]) -> bool {
        let text = &text[..text.len().min(MARKED_BYTES)];
        [from.as_bytes(), subject.as_bytes(), text].into_iter().any(|haystack| self.automaton.is_match(haystack))
    }

    fn owners(&self, haystack: &str, marked: &mut [bool]) {
        for found in self.automaton.find_overlapping_iter(haystack) {
            marked[self.owners[found.pattern().as_usize()]] = true;
        }
    }
}

impl Notice<'_> {
    /// The bounce's own words, ahead of the message it returns.
    pub fn words(&self) -> &str {
        self.returned.map_or(&self.text, |returned| &self.text[..returned.words_end])
    }

    /// The returned message, where it stands in the text.
    fn behind_words(&self) -> &str {
        self.returned.map_or("", |returned| &self.text[returned.message..])
    }
}

fn report(entry: &Dialect, notice: &Notice<'_>, message: &Message<'_>) -> Report {
    let words = notice.words();
    let begin = entry.begin.as_ref().and_then(|begin| begin.find(words)).map_or(0, |found| found.end());
    let section = &words[begin..];
    let (section, behind) = match entry.end.as_ref().and_then(|end| end.find(section)) {
        Some(end) => (&section[..end.start()], &section[end.end()..]),
        None => (section, ""),
    };
    let returned = dsn::returned(&message.parts)
        .or_else(|| returned_in(notice.behind_words()))
        .or_else(|| returned_in(behind))
        .or_else(|| message.parts.iter().skip(1).filter(|part| part.direct).find_map(|part| header_alone(&part.body)));
    let action = match &entry.delayed {
        Some(delayed) if delayed.is_match(words) || delayed.is_match(&notice.subject) => Action::Delayed,
        _ => entry.action,
    };
    let recipients = recipients::find(entry, section, notice, message, returned.as_ref(), action);
    Report {
        kind: if action == Action::Delayed { Kind::Delayed } else { Kind::Bounce },
        dialect: entry.id.clone(),
        reporting_mta: None,
        original_envelope_id: None,
        arrival_date: None,
        postfix_queue_id: None,
        feedback_type: None,
        message_id: message.headers.message_id(),
        recipients,
        returned,
    }
}

/// The returned message at the front of a text. Where it does not look like one, the entry's end was that of
/// the recipients only.
fn returned_in(text: &str) -> Option<Returned> {
    let names = ["Message-ID", "Received", "Subject", "From"];
    let returned = dsn::read_returned(text.trim_start().as_bytes())?;
    names.iter().any(|name| returned.headers.get_raw(name).is_some()).then_some(returned)
}

/// A part that is nothing but a header, sent as an attached text.
fn header_alone(part: &[u8]) -> Option<Returned> {
    let first = part.trim_ascii_start();
    let names: [&[u8]; 3] = [b"received:", b"return-path:", b"message-id:"];
    let is_header =
        names.iter().any(|name| first.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    if is_header { dsn::read_returned(first) } else { None }
}

/// At most `limit` octets of a text.
fn front(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

#[cfg(test)]
mod tests;
