//! One rule: its conditions, its verdict, its samples. [`super::rule_file`] reads it from TOML.

use super::literals::Words;
use super::reading::Reading;
use super::{BounceCode, BounceType, Category, Fault};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// One rule of the set. All conditions that it states must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Rule {
    /// Its name, unique in the set.
    pub id: String,
    /// The file it stands in.
    pub file: PathBuf,
    /// Line in that file, from 1.
    pub line: usize,
    /// Condition: a regular expression found in the reply text, without case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Condition: the bounce code is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<CodePattern>,
    /// Condition: the SMTP reply code is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replies: Vec<u16>,
    /// Condition: the remote MTA or the recipient's domain is, or ends in, one of these domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provider: Vec<String>,
    /// Condition: the report was read by one of these readers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dialect: Vec<String>,
    /// Condition: the type of `Diagnostic-Code` is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diagnostic_type: Vec<String>,
    /// Condition: the last word was a temporary one (4.x.x, or a 4xx reply), or was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporary: Option<bool>,
    /// Verdict: category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Verdict: hard or soft. `hard` does not make a temporary refusal permanent, unless `codes` names 4.x.x.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub bounce_type: Option<BounceType>,
    /// Verdict: finer reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Verdict: whose problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Verdict: file it under this bounce code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<BounceCode>,
    /// Lines it was written for.
    pub samples: Vec<Sample>,
    /// The pattern, compiled.
    #[serde(skip)]
    pub(super) regex: Option<Regex>,
    /// See [`super::literals::required`].
    #[serde(skip)]
    pub(super) words: Words,
}

/// A reply text, with what stands around it where that matters. What is left out is taken from the rule: its
/// first provider, dialect and diagnostic type (`smtp` where it names none).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Line in the rule's file, from 1.
    #[serde(skip)]
    pub line: usize,
    /// Text of `Diagnostic-Code`.
    #[serde(default)]
    pub text: String,
    /// `Status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `Remote-MTA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_mta: Option<String>,
    /// Type of `Diagnostic-Code`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diagnostic_type: Option<String>,
}

/// `5.1.1`, `5.1.*`, `4.*`, or `none` for bounces without a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum CodePattern {
    /// No code was found.
    Absent,
    /// Every code of a class.
    Class(u8),
    /// Every code of a class and subject.
    Subject(u8, u16),
    /// One code.
    Exact(BounceCode),
}

impl CodePattern {
    pub(super) fn parse(text: &str) -> Option<CodePattern> {
        let class = |text: &str| matches!(text, "4" | "5").then(|| text.as_bytes()[0] - b'0');
        let pieces: Vec<&str> = text.split('.').collect();
        match pieces[..] {
            ["none"] => Some(CodePattern::Absent),
            [of, "*"] | [of, "*", "*"] => class(of).map(CodePattern::Class),
            [of, subject, "*"] => Some(CodePattern::Subject(class(of)?, subject.parse().ok()?)),
            _ => BounceCode::try_from(text.to_owned()).ok().map(CodePattern::Exact),
        }
    }

    fn covers(self, code: Option<BounceCode>) -> bool {
        match (self, code) {
            (CodePattern::Absent, code) => code.is_none(),
            (CodePattern::Class(class), Some(code)) => code.class == class,
            (CodePattern::Subject(class, subject), Some(code)) => (code.class, code.subject) == (class, subject),
            (CodePattern::Exact(exact), Some(code)) => code == exact,
            (CodePattern::Class(_) | CodePattern::Subject(..) | CodePattern::Exact(_), None) => false,
        }
    }

    fn is_temporary(self) -> bool {
        match self {
            CodePattern::Absent => false,
            CodePattern::Class(class) | CodePattern::Subject(class, _) => class == 4,
            CodePattern::Exact(code) => code.class == 4,
        }
    }
}

impl From<CodePattern> for String {
    fn from(pattern: CodePattern) -> String {
        match pattern {
            CodePattern::Absent => "none".to_owned(),
            CodePattern::Class(class) => format!("{class}.*"),
            CodePattern::Subject(class, subject) => format!("{class}.{subject}.*"),
            CodePattern::Exact(code) => code.to_string(),
        }
    }
}

impl Rule {
    /// Whether the rule applies, and which octets of the text its pattern matched. A rule without a pattern
    /// goes by the rest, and no words.
    pub(super) fn applies(&self, reading: &Reading<'_>) -> Option<Option<std::ops::Range<usize>>> {
        let among = |allowed: &[String], word: &str| {
            allowed.is_empty() || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(word))
        };
        let holds = (self.codes.is_empty() || self.codes.iter().any(|pattern| pattern.covers(reading.code)))
            && (self.replies.is_empty() || reading.reply.is_some_and(|reply| self.replies.contains(&reply)))
            && self.temporary.is_none_or(|wanted| wanted == reading.temporary)
            && among(&self.dialect, reading.dialect)
            && among(&self.diagnostic_type, reading.diagnostic_type)
            && (self.provider.is_empty()
                || self.provider.iter().any(|domain| within(reading.remote, domain) || within(reading.domain, domain)));
        match &self.regex {
            _ if !holds => None,
            None => Some(None),
            Some(regex) => regex.find(reading.text.as_bytes()).map(|found| Some(found.range())),
        }
    }

    /// Hard or soft by this rule, for a refusal that was temporary or not.
    pub(super) fn bounce_type(&self, temporary: bool) -> Option<BounceType> {
        match self.bounce_type {
            Some(BounceType::Hard) if temporary && !self.codes.iter().any(|code| code.is_temporary()) => None,
            said => said,
        }
    }

    /// `FILE:LINE`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }
}

/// Whether a host or domain name is `domain` or below it.
fn within(name: &str, domain: &str) -> bool {
    match name.len().checked_sub(domain.len()) {
        Some(0) => name.eq_ignore_ascii_case(domain),
        Some(head) => {
            name.as_bytes()[head - 1] == b'.' && name.as_bytes()[head..].eq_ignore_ascii_case(domain.as_bytes())
        }
        None => false,
    }
}
