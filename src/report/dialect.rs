//! Reads bounces that follow no standard: one engine over data, an entry for each format
//! (`config/dialects/*.toml`, overlaid by the operator's `/etc/backstop/dialects.d/`).
//!
//! In: a message that is no delivery status notification. Out: a [`Report`] in the same shape, not yet judged.
//! One pass of a literal search over sender, subject and text finds the few entries that could be meant; only
//! those are tried, in order, and the first that names a recipient is believed.

use super::entry::{Diagnostic, Dialect, DialectError, Fallback, Returns};
use super::{Action, Kind, Recipient, Report, Returned, text};
use crate::mail::{Address, Headers, Message};
use aho_corasick::{AhoCorasick, MatchKind};
use regex::Captures;
use std::path::Path;

/// Octets of text that are looked at: what a bounce has to say stands at its front.
const TEXT_BYTES: usize = 64 << 10;

/// Recipients read of one bounce.
const RECIPIENTS: usize = 1000;

/// Octets of diagnostic kept of one recipient.
const DIAGNOSTIC_BYTES: usize = 2000;

/// The entries in force.
#[derive(Debug)]
pub struct Dialects {
    entries: Vec<Dialect>,
    marks: AhoCorasick,
    /// The entry that each mark belongs to.
    owners: Vec<usize>,
    returned: Returns,
}

/// What the engine looks at: taken from the message once for all entries.
pub(super) struct Subject<'a> {
    pub headers: &'a Headers,
    pub from: String,
    pub subject: String,
    /// The first text part, as plain text with LF line ends.
    pub text: String,
}

/// The entries compiled in, by file.
const COMPILED_IN: [(&str, &str); 2] = [
    ("config/dialects/00-returned.toml", include_str!("../../config/dialects/00-returned.toml")),
    ("config/dialects/20-unix.toml", include_str!("../../config/dialects/20-unix.toml")),
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
        let (mut entries, mut returned) = (Vec::new(), Vec::new());
        for (file, toml) in files {
            let read = super::entry::read(file, toml)?;
            entries.extend(read.dialects);
            returned.extend(read.returned);
        }
        let (mut literals, mut owners) = (Vec::new(), Vec::new());
        for (owner, entry) in entries.iter().enumerate() {
            for mark in &entry.marks {
                literals.push(mark.clone());
                owners.push(owner);
            }
        }
        let marks = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&literals)
            .expect("a few hundred short literals stay below every limit of the builder");
        Ok(Dialects { entries, marks, owners, returned: Returns(returned) })
    }

    /// The entries, in the order in which they are tried.
    pub fn entries(&self) -> &[Dialect] {
        &self.entries
    }

    /// Reads a bounce. An entry that fits without naming anybody still makes it a bounce, of nobody.
    pub fn read(&self, message: &Message<'_>) -> Option<Report> {
        let subject = Subject::of(message);
        let mut nobody = None;
        for entry in self.candidates(&subject) {
            if !entry.fits(&subject) {
                continue;
            }
            let report = self.report(entry, &subject, message);
            if !report.recipients.is_empty() {
                return Some(report);
            }
            nobody = nobody.or(Some(report));
        }
        nobody
    }

    /// The entries with a mark in the message, in order.
    fn candidates(&self, subject: &Subject<'_>) -> impl Iterator<Item = &Dialect> {
        let mut wanted = vec![false; self.entries.len()];
        for haystack in [&subject.from, &subject.subject, &subject.text] {
            for found in self.marks.find_overlapping_iter(haystack) {
                wanted[self.owners[found.pattern().as_usize()]] = true;
            }
        }
        self.entries.iter().zip(wanted).filter_map(|(entry, wanted)| wanted.then_some(entry))
    }

    fn report(&self, entry: &Dialect, subject: &Subject<'_>, message: &Message<'_>) -> Report {
        let begin = entry.begin.as_ref().and_then(|begin| begin.find(&subject.text)).map_or(0, |found| found.end());
        let rest = &subject.text[begin..];
        let own_end = entry.end.as_ref().and_then(|end| end.find(rest));
        let end = [own_end, self.returned.find(rest)].into_iter().flatten().min_by_key(|found| found.start());
        let (section, behind) = match end {
            Some(end) => (&rest[..end.start()], &rest[end.end()..]),
            None => (rest, ""),
        };
        let returned = super::dsn::returned(&message.parts).or_else(|| returned_in(behind));
        let action = match &entry.delayed {
            Some(delayed) if delayed.is_match(&subject.text) || delayed.is_match(&subject.subject) => Action::Delayed,
            _ => entry.action,
        };
        let recipients = recipients(entry, section, subject, returned.as_ref(), action);
        let kind = if action == Action::Delayed { Kind::Delayed } else { Kind::Bounce };
        Report {
            kind,
            dialect: entry.id.clone(),
            reporting_mta: None,
            original_envelope_id: None,
            arrival_date: None,
            postfix_queue_id: None,
            message_id: message.headers.message_id(),
            recipients,
            returned,
        }
    }
}

impl<'a> Subject<'a> {
    pub(super) fn of(message: &'a Message<'_>) -> Subject<'a> {
        let headers = &message.headers;
        let field = |name| headers.get(name).map(|value| text::decode_words(&value)).unwrap_or_default();
        Subject { headers, from: field("From"), subject: field("Subject"), text: text::of(message, TEXT_BYTES) }
    }
}

/// The recipients that an entry finds: in the text; where it names none, in the header field that the entry
/// names; where that is silent too, in the returned message.
fn recipients(
    entry: &Dialect,
    section: &str,
    subject: &Subject<'_>,
    returned: Option<&Returned>,
    action: Action,
) -> Vec<Recipient> {
    let mut found = in_text(entry, section, action);
    let whole = || joined(section);
    for fallback in &entry.fallback {
        if !found.is_empty() {
            break;
        }
        let fields: Vec<String> = match fallback {
            Fallback::Header(name) => subject.headers.all(name).collect(),
            Fallback::ReturnedTo => returned.iter().flat_map(|returned| returned.headers.get("To")).collect(),
        };
        let addresses = fields.iter().flat_map(|field| text::addresses(field)).take(RECIPIENTS);
        found = addresses.map(|address| recipient(address, None, whole(), action)).collect();
    }
    found
}

fn in_text(entry: &Dialect, section: &str, action: Action) -> Vec<Recipient> {
    let mut matches: Vec<(Captures<'_>, Address)> = Vec::new();
    for pattern in &entry.recipient {
        let valid = pattern.captures_iter(section).take(RECIPIENTS).filter_map(|captures| {
            let address = Address::parse(captures.name("address")?.as_str()).ok()?;
            Some((captures, address))
        });
        matches.extend(valid);
        if !matches.is_empty() {
            break;
        }
    }
    let mut recipients: Vec<Recipient> = Vec::new();
    for (place, (captures, address)) in matches.iter().enumerate() {
        let whole = captures.get(0).expect("group 0 is the whole match");
        let from = captures.name("address").expect("checked above").end();
        let until = matches
            .get(place + 1)
            .map_or(section.len(), |(next, _)| next.get(0).expect("group 0 is the whole match").start().max(from));
        let before = match place {
            0 => 0,
            _ => matches[place - 1].0.get(0).expect("group 0 is the whole match").end(),
        };
        let words = match (captures.name("diagnostic"), entry.diagnostic) {
            (Some(words), _) => words.as_str(),
            (None, Diagnostic::Behind) => entry.stopped(&section[from..until]),
            (None, Diagnostic::Ahead) => &section[before.min(whole.start())..whole.start()],
            (None, Diagnostic::Section) => section,
        };
        let status = captures.name("status").map(|status| status.as_str().to_owned());
        let found = recipient(address.clone(), status, joined(words), action);
        // Many systems name a recipient twice: in the summary, and above the words of the server.
        match recipients.iter_mut().find(|known| known.address.as_ref() == Some(address)) {
            Some(known) => {
                let more = known.diagnostic_code.as_ref().map_or(0, String::len)
                    < found.diagnostic_code.as_ref().map_or(0, String::len);
                if more {
                    known.diagnostic_code = found.diagnostic_code;
                }
                known.status = known.status.take().or(found.status);
            }
            None => recipients.push(found),
        }
    }
    // Some name all recipients first and say why once, at the end: it goes for each of them.
    if let Some(words) = recipients.last().and_then(|last| last.diagnostic_code.clone())
        && entry.shared
    {
        recipients.iter_mut().filter(|silent| silent.diagnostic_code.is_none()).for_each(|silent| {
            silent.diagnostic_code = Some(words.clone());
        });
    }
    recipients
}

fn recipient(address: Address, status: Option<String>, words: String, action: Action) -> Recipient {
    Recipient {
        original_recipient: None,
        final_recipient: Some(address.to_string()),
        address: Some(address),
        action,
        status,
        diagnostic_type: None,
        diagnostic_code: (!words.is_empty()).then_some(words),
        remote_mta: None,
        will_retry_until: None,
    }
}

/// Lines joined by one blank, at most [`DIAGNOSTIC_BYTES`].
fn joined(words: &str) -> String {
    let mut line = String::new();
    for word in words.split_whitespace() {
        if line.len() + word.len() > DIAGNOSTIC_BYTES {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}

/// The returned message where it stands in the text itself, behind the entry's last words.
fn returned_in(behind: &str) -> Option<Returned> {
    let start = behind.find(|letter: char| !letter.is_whitespace())?;
    super::dsn::read_returned(&behind.as_bytes()[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Limits;

    #[test]
    fn every_sample_is_read_by_its_own_entry() {
        let dialects = Dialects::compiled_in();
        let mut samples = 0;
        for entry in dialects.entries() {
            for (place, sample) in entry.samples.iter().enumerate() {
                for mail in [sample.mail.clone(), sample.mail.replace('\n', "\r\n")] {
                    let who = format!("dialect {}, sample {}", entry.id, place + 1);
                    let message = Message::read(mail.trim_start().as_bytes(), &Limits::default());
                    let report = dialects.read(&message).unwrap_or_else(|| panic!("{who}: read by no entry"));
                    assert_eq!(report.dialect, entry.id, "{who}: read by another entry");
                    let named: Vec<String> = report
                        .recipients
                        .iter()
                        .flat_map(|recipient| &recipient.address)
                        .map(Address::to_string)
                        .collect();
                    assert_eq!(named, sample.recipients, "{who}");
                    let first = report.recipients.first();
                    if let Some(words) = &sample.words {
                        let said = first.and_then(|recipient| recipient.diagnostic_code.as_deref()).unwrap_or_default();
                        assert!(said.contains(words.as_str()), "{who}: diagnostic is {said:?}");
                    }
                    if let (Some(action), Some(first)) = (sample.action.or(Some(entry.action)), first) {
                        assert_eq!(first.action, action, "{who}");
                    }
                    samples += 1;
                }
            }
        }
        assert!(samples > 0, "no sample was found");
    }
}
