//! One entry of the dialect table: how a format is recognised and where it names its recipients.

use super::Action;
use super::dialect::Subject;
use regex::{Match, Regex};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::path::{Path, PathBuf};

/// Why a dialect file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {problem}", file.display())]
pub struct DialectError {
    /// Which file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and what would do.
    pub problem: String,
}

/// A format.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// Its name, as `classify` shows it.
    pub id: String,
    /// Literals, one of which stands in sender, subject or text of every mail of this format.
    pub marks: Vec<String>,
    /// What must hold besides.
    #[serde(default)]
    when: When,
    /// Recipients are named behind this.
    #[serde(default, deserialize_with = "pattern")]
    pub(super) begin: Option<Regex>,
    /// Recipients are named ahead of this; the returned message begins behind it.
    #[serde(default, deserialize_with = "pattern")]
    pub(super) end: Option<Regex>,
    /// Where a recipient is named: group `address`, perhaps groups `diagnostic` and `status`. The first
    /// pattern that finds anybody is used.
    #[serde(default, deserialize_with = "patterns")]
    pub(super) recipient: Vec<Regex>,
    /// Where the words about a recipient stand, if not in the group.
    #[serde(default)]
    pub(super) diagnostic: Diagnostic,
    /// What ends the words about a recipient.
    #[serde(default, deserialize_with = "pattern")]
    stop: Option<Regex>,
    /// Recipients without words of their own share the last one's.
    #[serde(default)]
    pub(super) shared: bool,
    /// Where to look for recipients that the text does not name.
    #[serde(default)]
    pub(super) fallback: Vec<Fallback>,
    /// What happened.
    #[serde(default = "failed")]
    pub(super) action: Action,
    /// Subject or text of a notice that the message is only delayed.
    #[serde(default, deserialize_with = "pattern")]
    pub(super) delayed: Option<Regex>,
    /// Mails of this format, with what is read from them.
    #[serde(rename = "sample")]
    pub samples: Vec<Sample>,
}

/// Conditions; all given must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    #[serde(default, deserialize_with = "pattern")]
    from: Option<Regex>,
    #[serde(default, deserialize_with = "pattern")]
    subject: Option<Regex>,
    #[serde(default, deserialize_with = "pattern")]
    text: Option<Regex>,
    /// A field that must be there.
    #[serde(default)]
    header: Option<String>,
    /// Set where the format does not look like a system's mail by its sender or subject.
    #[serde(default)]
    any_sender: bool,
}

/// Where the words about a recipient stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnostic {
    /// Behind its address, up to the next recipient.
    #[default]
    Behind,
    /// Ahead of its line, down from the last recipient.
    Ahead,
    /// Anywhere in the section that names recipients.
    Section,
}

/// Where recipients are looked for that the text does not name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// In a field of the bounce's own header.
    Header(String),
    /// In `To` of the returned message.
    ReturnedTo,
}

/// A mail, and what is to be read from it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The mail, header and all.
    pub mail: String,
    /// Addresses, in order.
    pub recipients: Vec<String>,
    /// Words that the first recipient's diagnostic holds.
    #[serde(default)]
    pub words: Option<String>,
    /// What happened, if not the entry's own.
    #[serde(default)]
    pub action: Option<Action>,
}

/// What one file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, rename = "dialect")]
    pub dialects: Vec<Dialect>,
    /// Lines that part the words from the returned message, whatever the format.
    #[serde(default, deserialize_with = "patterns")]
    pub returned: Vec<Regex>,
}

/// Every line that may part the words from the returned message.
#[derive(Debug)]
pub(super) struct Returns(pub Vec<Regex>);

impl Returns {
    pub fn find<'t>(&self, text: &'t str) -> Option<Match<'t>> {
        self.0.iter().filter_map(|line| line.find(text)).min_by_key(|found| found.start())
    }
}

impl Dialect {
    /// Whether all conditions hold.
    pub(super) fn fits(&self, subject: &Subject<'_>) -> bool {
        let holds = |pattern: &Option<Regex>, text: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(text));
        (self.when.any_sender || super::text::is_from_a_system(subject))
            && holds(&self.when.from, &subject.from)
            && holds(&self.when.subject, &subject.subject)
            && self.when.header.as_ref().is_none_or(|name| subject.headers.get_raw(name).is_some())
            && holds(&self.when.text, &subject.text)
    }

    /// The words up to where the entry says they stop.
    pub(super) fn stopped<'t>(&self, words: &'t str) -> &'t str {
        match self.stop.as_ref().and_then(|stop| stop.find(words)) {
            Some(stop) => &words[..stop.start()],
            None => words,
        }
    }
}

/// Reads a file.
///
/// # Errors
/// [`DialectError`] with the line of the first thing that cannot be used.
pub(super) fn read(file: &Path, text: &str) -> Result<File, DialectError> {
    let read: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text[..at.min(text.len())].matches('\n').count() + 1;
        DialectError { file: file.to_owned(), line, problem: error.message().to_owned() }
    })?;
    for entry in &read.dialects {
        let problem = if entry.marks.is_empty() || entry.marks.iter().any(|mark| mark.len() < 4) {
            "marks: give one or more literals of at least 4 letters"
        } else if entry.recipient.is_empty() && entry.fallback.is_empty() {
            "give recipient or fallback, or nobody is found"
        } else if !entry.recipient.iter().all(|pattern| pattern.capture_names().flatten().any(|name| name == "address"))
        {
            "recipient: the pattern has no group (?P<address>...)"
        } else if entry.samples.is_empty() {
            "give at least one sample"
        } else {
            continue;
        };
        let place = text.find(&format!("id = \"{}\"", entry.id)).unwrap_or(0);
        let line = text[..place].matches('\n').count() + 1;
        let problem = format!("dialect {}: {problem}", entry.id);
        return Err(DialectError { file: file.to_owned(), line, problem });
    }
    Ok(read)
}

fn failed() -> Action {
    Action::Failed
}

/// Patterns look at whole texts: `^` and `$` are line ends, letters match without case.
fn compile(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern)
        .multi_line(true)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .build()
        .map_err(|error| error.to_string())
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let pattern = String::deserialize(deserializer)?;
    compile(&pattern).map(Some).map_err(D::Error::custom)
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Regex>, D::Error> {
    let patterns = Vec::<String>::deserialize(deserializer)?;
    patterns.iter().map(|pattern| compile(pattern).map_err(D::Error::custom)).collect()
}
