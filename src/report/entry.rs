//! One entry of the dialect table: how a format is recognised and where it names its recipients.

use super::Action;
use super::dialect::Notice;
use super::text::Author;
use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::path::{Path, PathBuf};

/// Memory that one compiled pattern, and each of its caches, may take.
const PATTERN_BYTES: usize = 1 << 20;
const CACHE_BYTES: usize = 1 << 20;

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
    /// Where a recipient is named: group `address`, perhaps groups `diagnostic` and `status`; or group `local`
    /// where the domain is left out. The first pattern that finds anybody is used.
    #[serde(default, deserialize_with = "patterns")]
    pub(super) recipient: Vec<Regex>,
    /// The domain of recipients that are named by `local`: `sender` for that of the bounce's `From`. A recipient
    /// of the returned message that has this local part goes first.
    #[serde(default)]
    pub(super) domain: Option<String>,
    /// Where the words about a recipient stand, if not in the group.
    #[serde(default)]
    pub(super) diagnostic: Diagnostic,
    /// The words about all recipients, where they stand in one place: group `diagnostic`.
    #[serde(default, deserialize_with = "pattern")]
    pub(super) words: Option<Regex>,
    /// What ends the words about a recipient.
    #[serde(default, deserialize_with = "pattern")]
    stop: Option<Regex>,
    /// Recipients without words of their own share the last one's.
    #[serde(default)]
    pub(super) shared: bool,
    /// Set where the entry is so wide that it fits mail of another kind, and its patterns take others for
    /// recipients: whom the bounce goes to, whom it comes from, a postmaster to ask. It fits only where somebody
    /// else is named.
    #[serde(default)]
    pub(super) wide: bool,
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
    /// What `From` must say.
    #[serde(default, deserialize_with = "pattern")]
    from: Option<Regex>,
    /// What `Subject` must say.
    #[serde(default, deserialize_with = "pattern")]
    subject: Option<Regex>,
    /// What the text must say.
    #[serde(default, deserialize_with = "pattern")]
    text: Option<Regex>,
    /// What the text must not say.
    #[serde(default, deserialize_with = "pattern")]
    unless: Option<Regex>,
    /// A field that must be there.
    #[serde(default)]
    header: Option<String>,
    /// `report-type` of the few formats that come as another kind of report: `disposition-notification`.
    #[serde(default)]
    report: Option<String>,
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
    /// On its line and behind it, up to the next recipient.
    FromLine,
    /// Ahead of it and on its line, down from the last recipient.
    Ahead,
    /// Anywhere in the section that names recipients.
    Section,
    /// Anywhere in the bounce's own words where one recipient is named, else behind its address.
    Nearest,
}

/// Where recipients are looked for that the text does not name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// In a field of the bounce's own header.
    Header(String),
    /// In `To` of the returned message.
    ReturnedTo,
    /// In a field of the returned message.
    ReturnedHeader(String),
    /// In the `for` clause of the returned message's last `Received` (RFC 5321 §4.4).
    ReturnedFor,
    /// In the notification (RFC 3464) that a gateway passes on as an attached message.
    AttachedReport,
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
    /// `Message-ID` of the returned message.
    #[serde(default)]
    pub returned: Option<String>,
}

/// What one file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default, rename = "dialect")]
    pub dialects: Vec<Dialect>,
    /// Lines that part the words from the returned message, whatever the format.
    #[serde(default)]
    pub returned: Vec<String>,
}

/// Every line that may part the words from the returned message.
#[derive(Debug)]
pub(super) struct Returns(Option<Regex>);

/// Where the returned message was found in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReturnedAt {
    /// Where the words of the bounce end.
    pub words_end: usize,
    /// Where the returned message begins.
    pub message: usize,
}

impl Returns {
    /// # Errors
    /// [`DialectError`] if a line is no pattern.
    pub fn new(file: &Path, lines: &[String]) -> Result<Returns, DialectError> {
        if lines.is_empty() {
            return Ok(Returns(None));
        }
        let all: Vec<String> = lines.iter().map(|line| format!("(?:{line})")).collect();
        let compiled = compile(&all.join("|")).map_err(|problem| DialectError {
            file: file.to_owned(),
            line: 1,
            problem: format!("returned: {problem}"),
        })?;
        Ok(Returns(Some(compiled)))
    }

    /// The first of the lines. One with a group `message` is itself the start of the returned message.
    pub fn find(&self, text: &str) -> Option<ReturnedAt> {
        let captures = self.0.as_ref()?.captures(text)?;
        let whole = captures.get(0).expect("group 0 is the whole match");
        let message = captures.name("message").map_or(whole.end(), |message| message.start());
        Some(ReturnedAt { words_end: whole.start(), message })
    }
}

impl Dialect {
    /// Whether all conditions hold.
    pub(super) fn fits(&self, notice: &Notice<'_>) -> bool {
        let holds = |pattern: &Option<Regex>, text: &str| pattern.as_ref().is_none_or(|pattern| pattern.is_match(text));
        let wanted = if self.wide { Author::MailSystem } else { Author::Program };
        (self.when.any_sender || notice.author >= wanted)
            && self.when.report.as_deref() == notice.other_report
            && self.when.header.as_ref().is_none_or(|name| notice.headers.get_raw(name).is_some())
            && holds(&self.when.from, &notice.from)
            && holds(&self.when.subject, &notice.subject)
            && holds(&self.when.text, notice.words())
            && !self.when.unless.as_ref().is_some_and(|unless| unless.is_match(notice.words()))
    }

    /// Whether it may be meant whoever the sender is.
    pub(super) fn is_for_any_sender(&self) -> bool {
        self.when.any_sender
    }

    /// The words up to where the entry says they stop.
    pub(super) fn stopped<'t>(&self, words: &'t str) -> &'t str {
        match self.stop.as_ref().and_then(|stop| stop.find(words)) {
            Some(stop) => &words[..stop.start()],
            None => words,
        }
    }

    /// What is missing in it, or too much.
    fn problem(&self) -> Option<&'static str> {
        let has = |pattern: &Regex, group: &str| pattern.capture_names().flatten().any(|name| name == group);
        if self.marks.is_empty() || self.marks.iter().any(|mark| mark.len() < 4) {
            Some("marks: give one or more literals of at least 4 letters")
        } else if self.recipient.is_empty() && self.fallback.is_empty() {
            Some("give recipient or fallback, or nobody is found")
        } else if !self.recipient.iter().all(|pattern| has(pattern, "address") || has(pattern, "local")) {
            Some("recipient: the pattern has no group (?P<address>...) or (?P<local>...)")
        } else if self.words.as_ref().is_some_and(|pattern| !has(pattern, "diagnostic")) {
            Some("words: the pattern has no group (?P<diagnostic>...)")
        } else if self.samples.is_empty() {
            Some("give at least one sample")
        } else {
            None
        }
    }
}

/// Reads a file.
///
/// # Errors
/// [`DialectError`] with the line of the first thing that cannot be used.
pub(super) fn read(file: &Path, text: &str) -> Result<File, DialectError> {
    let line_of = |place: usize| text.as_bytes()[..place.min(text.len())].iter().filter(|&&o| o == b'\n').count() + 1;
    let read: File = toml::from_str(text).map_err(|error| {
        let line = line_of(error.span().map_or(0, |span| span.start));
        DialectError { file: file.to_owned(), line, problem: error.message().to_owned() }
    })?;
    for entry in &read.dialects {
        if let Some(problem) = entry.problem() {
            let line = line_of(text.find(&format!("id = \"{}\"", entry.id)).unwrap_or(0));
            let problem = format!("dialect {}: {problem}", entry.id);
            return Err(DialectError { file: file.to_owned(), line, problem });
        }
    }
    Ok(read)
}

fn failed() -> Action {
    Action::Failed
}

/// What `{address}` stands for in a pattern: a mailbox in running text, without what may stand around it.
const ADDRESS: &str = r#"(?P<address>(?:"[^"\n]+"|[^\s<>()\[\],;:"'][^\s<>()\[\],;:"]*)@[^\s<>()\[\],;:"'@/]*[^\s<>()\[\],;:"'@/.!?*_-])"#;

/// Patterns look at whole texts: `^` and `$` are line ends, letters match without case, `{address}` is
/// [`ADDRESS`]. Digits and word boundaries are those of ASCII: of Unicode, the first take ten times the memory
/// and the second keep the fast engines from running.
fn compile(pattern: &str) -> Result<Regex, String> {
    let pattern = pattern.replace("{address}", ADDRESS).replace(r"\d", "[0-9]").replace(r"\b", r"(?-u:\b)");
    regex::RegexBuilder::new(&pattern)
        .multi_line(true)
        .case_insensitive(true)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(CACHE_BYTES)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(toml: &str) -> String {
        read(Path::new("house.toml"), toml).expect_err("it cannot be used").to_string()
    }

    #[test]
    fn an_entry_that_cannot_be_used_is_told_with_file_and_line() {
        let entry = "[[dialect]]\nid = \"house\"\nmarks = [\"did not get it\"]\n";
        let sample = "[[dialect.sample]]\nmail = \"x\"\nrecipients = []\n";
        for (toml, want) in [
            (format!("{entry}recipient = ['(?P<address>']\n{sample}"), "house.toml:4: regex parse error"),
            (format!("{entry}recipients = []\n{sample}"), "house.toml:4: unknown field `recipients`"),
            (
                format!("\n{entry}recipient = ['.+@.+']\n{sample}"),
                "house.toml:3: dialect house: recipient: the pattern",
            ),
            (format!("{entry}{sample}"), "house.toml:2: dialect house: give recipient or fallback"),
            (format!("{entry}fallback = [\"returned-to\"]\n"), "house.toml:1: missing field `sample`"),
            (entry.replace("did not get it", "x") + "sample = []", "house.toml:2: dialect house: marks: give"),
            (
                format!("{entry}fallback = [\"returned-to\"]\nwords = 'because'\n{sample}"),
                "house.toml:2: dialect house: words",
            ),
        ] {
            let told = problem(&toml);
            assert!(told.starts_with(want), "{told}\n{toml}");
        }
    }
}
