//! Reads rule files: TOML, a list of `[[rule]]`. Whatever cannot be used is told with file and line.

use super::literals::{self, Words};
use super::rule::{CodePattern, Rule, Sample};
use super::rules::RuleError;
use super::{BounceCode, BounceType, Category, Fault};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;

/// Octets a compiled pattern may take.
const PATTERN_SIZE_LIMIT: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    rule: Vec<Spanned<Written>>,
}

/// A rule as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: Spanned<String>,
    pattern: Option<Spanned<OneOrMore>>,
    #[serde(default)]
    codes: Vec<Spanned<String>>,
    #[serde(default)]
    replies: Vec<Spanned<u16>>,
    #[serde(default)]
    provider: Vec<Spanned<String>>,
    #[serde(default)]
    dialect: Vec<String>,
    #[serde(default)]
    diagnostic_type: Vec<String>,
    temporary: Option<bool>,
    category: Option<Category>,
    #[serde(rename = "type")]
    bounce_type: Option<BounceType>,
    reason: Option<Spanned<String>>,
    fault: Option<Fault>,
    code: Option<Spanned<String>>,
    #[serde(default)]
    samples: Vec<Spanned<WrittenSample>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a pattern is a text, or a list of texts of which one must match")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn into_pattern(self) -> String {
        match self {
            OneOrMore::One(pattern) => pattern,
            OneOrMore::More(patterns) => patterns.join("|"),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a sample is a text, or a table with text, status, remote_mta, diagnostic_type")]
enum WrittenSample {
    Text(String),
    Table(Sample),
}

/// Reads the rules of one file, in order.
///
/// # Errors
/// [`RuleError::Invalid`] with file and line for the first thing that cannot be used.
pub(super) fn read_file(file: &Path, content: &str) -> Result<Vec<Rule>, RuleError> {
    let source = Source { file, content };
    let written: RuleFile = toml::from_str(content).map_err(|error| {
        let place = error.span().map_or(0, |span| span.start);
        source.invalid(place, error.message().to_owned())
    })?;
    written.rule.into_iter().map(|rule| source.rule(rule)).collect()
}

/// Compiles a pattern, and finds the words it needs. It looks at octets, not at characters: what it searches may
/// come from anybody, and `\w` means ASCII.
fn compile(pattern: &str) -> Result<(Regex, Words), String> {
    let words = literals::required(pattern)?;
    let regex = RegexBuilder::new(pattern)
        .case_insensitive(true)
        .unicode(false)
        .size_limit(PATTERN_SIZE_LIMIT)
        .build()
        .map_err(|error| error.to_string())?;
    match regex.is_match(b"") {
        true => Err("the pattern matches any text; name the words it is about".to_owned()),
        false => Ok((regex, words)),
    }
}

/// A rule file being read: knows places.
struct Source<'a> {
    file: &'a Path,
    content: &'a str,
}

impl Source<'_> {
    fn line(&self, place: usize) -> usize {
        1 + self.content.as_bytes().iter().take(place).filter(|&&octet| octet == b'\n').count()
    }

    fn invalid(&self, place: usize, problem: String) -> RuleError {
        RuleError::Invalid { file: self.file.to_owned(), line: self.line(place), problem }
    }

    fn rule(&self, written: Spanned<Written>) -> Result<Rule, RuleError> {
        let start = written.span().start;
        let written = written.into_inner();
        self.word("id", &written.id)?;
        let id = written.id.into_inner();
        if written.samples.is_empty() {
            return Err(self.invalid(start, format!("rule \"{id}\" has no sample; add samples = [\"550 ...\"]")));
        }
        if written.pattern.is_none() && written.codes.is_empty() && written.replies.is_empty() {
            return Err(self.invalid(start, format!("rule \"{id}\" has no condition; add pattern, codes or replies")));
        }
        if written.category.is_none()
            && written.bounce_type.is_none()
            && written.reason.is_none()
            && written.fault.is_none()
            && written.code.is_none()
        {
            let what = "add category, type, reason, fault or code";
            return Err(self.invalid(start, format!("rule \"{id}\" decides nothing; {what}")));
        }
        let (pattern, regex, words) = match written.pattern {
            Some(pattern) => {
                let place = pattern.span().start;
                let pattern = pattern.into_inner().into_pattern();
                let (regex, words) = compile(&pattern).map_err(|problem| self.invalid(place, problem))?;
                (Some(pattern), Some(regex), words)
            }
            None => (None, None, None),
        };
        if let Some(reason) = &written.reason {
            self.word("reason", reason)?;
        }
        for domain in &written.provider {
            if domain.get_ref().is_empty() || domain.get_ref().starts_with(['.', '*']) {
                let problem = format!("provider \"{}\" is no domain; write it as example.org", domain.get_ref());
                return Err(self.invalid(domain.span().start, problem));
            }
        }
        Ok(Rule {
            pattern,
            codes: written.codes.iter().map(|code| self.code_pattern(code)).collect::<Result<_, _>>()?,
            replies: written.replies.iter().map(|reply| self.reply(reply)).collect::<Result<_, _>>()?,
            provider: written.provider.into_iter().map(Spanned::into_inner).collect(),
            dialect: written.dialect,
            diagnostic_type: written.diagnostic_type,
            temporary: written.temporary,
            category: written.category,
            bounce_type: written.bounce_type,
            reason: written.reason.map(Spanned::into_inner),
            fault: written.fault,
            code: written.code.map(|code| self.code(code)).transpose()?,
            samples: written.samples.into_iter().map(|sample| self.sample(sample)).collect(),
            id,
            file: self.file.to_owned(),
            line: self.line(start),
            regex,
            words,
        })
    }

    fn word(&self, key: &str, word: &Spanned<String>) -> Result<(), RuleError> {
        let text = word.get_ref();
        let fits = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
        match !text.is_empty() && text.bytes().all(fits) {
            true => Ok(()),
            false => {
                let problem = format!("{key} \"{text}\" must be of a-z, 0-9 and -, as mailbox-full");
                Err(self.invalid(word.span().start, problem))
            }
        }
    }

    fn code_pattern(&self, code: &Spanned<String>) -> Result<CodePattern, RuleError> {
        CodePattern::parse(code.get_ref()).ok_or_else(|| {
            let problem = format!("\"{}\" is no code; write 5.1.1, 5.1.*, 4.* or none", code.get_ref());
            self.invalid(code.span().start, problem)
        })
    }

    fn reply(&self, reply: &Spanned<u16>) -> Result<u16, RuleError> {
        match *reply.get_ref() {
            number @ 400..=559 => Ok(number),
            number => {
                Err(self
                    .invalid(reply.span().start, format!("{number} is no SMTP reply of failure; they are 400 to 559")))
            }
        }
    }

    fn code(&self, code: Spanned<String>) -> Result<BounceCode, RuleError> {
        let place = code.span().start;
        BounceCode::try_from(code.into_inner()).map_err(|problem| self.invalid(place, problem))
    }

    fn sample(&self, sample: Spanned<WrittenSample>) -> Sample {
        let line = self.line(sample.span().start);
        match sample.into_inner() {
            WrittenSample::Text(text) => Sample { line, text, status: None, remote_mta: None, diagnostic_type: None },
            WrittenSample::Table(sample) => Sample { line, ..sample },
        }
    }
}
