//! What `backstopctl postfix check` found, and how it is told.

use super::configuration::Configuration;
use super::lines::{Change, commands};
use serde::Serialize;
use std::path::Path;

/// How bad it is. The worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Backstop does not do its work, or mail suffers.
    Error,
    /// Part of its work is not done, or will not be some day.
    Warning,
    /// Good to know; nothing is broken.
    Hint,
    /// As it should be.
    Ok,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warning => "WARNING",
            Level::Hint => "HINT",
            Level::Ok => "OK",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, one word for programs.
    pub check: &'static str,
    /// What is.
    pub what: String,
    /// What happens if it is left so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub if_left: Option<String>,
    /// The commands that mend it; a line that begins with `#` is for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fix: Vec<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, check, what: what.into(), if_left: None, fix: Vec::new() }
    }

    /// Not as it should be.
    pub fn new(level: Level, check: &'static str, what: impl Into<String>, if_left: impl Into<String>) -> Finding {
        Finding { level, check, what: what.into(), if_left: Some(if_left.into()), fix: Vec::new() }
    }

    /// With the commands that mend it.
    pub fn fixed_by(self, changes: &[Change], postfix: &Configuration, directory: Option<&Path>) -> Finding {
        let fix = commands(changes, directory, postfix.version);
        Finding { fix, ..self }
    }

    /// With lines of another kind.
    pub fn fixed_with(self, lines: impl IntoIterator<Item = String>) -> Finding {
        Finding { fix: lines.into_iter().collect(), ..self }
    }

    /// The lines that tell it, 80 columns wide; commands are not broken, so that they can be pasted.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = wrapped(&self.what, self.level.as_str());
        if let Some(if_left) = &self.if_left {
            lines.extend(wrapped(&format!("If left: {if_left}"), ""));
        }
        if !self.fix.is_empty() {
            lines.push(format!("{:INDENT$}To mend it:", ""));
            lines.extend(self.fix.iter().map(|line| format!("{:INDENT$}  {line}", "")));
        }
        lines
    }
}

const INDENT: usize = 9;
const WIDTH: usize = 80;

/// Text in lines, the first one behind a mark.
fn wrapped(text: &str, mark: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && INDENT + line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    let marks = std::iter::once(mark).chain(std::iter::repeat(""));
    marks.zip(lines).map(|(mark, line)| format!("{mark:INDENT$}{line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_well_on_80_columns_and_its_commands_stay_whole() {
        let what = "smtpd asks Backstop last, and what was signed before is changed by it. ".repeat(3);
        let fix = format!("postconf -e '{}'", "x".repeat(100));
        let finding = Finding::new(Level::Warning, "order", what.clone(), "it goes on.").fixed_with([fix.clone()]);
        let lines = finding.lines();
        let (last, text) = lines.split_last().expect("lines");
        assert_eq!(last.trim_start(), fix);
        assert!(text.iter().all(|line| line.chars().count() <= WIDTH), "{text:#?}");
        assert!(text[0].starts_with("WARNING  smtpd asks"));
        assert!(text[1..].iter().all(|line| line.starts_with("         ")));
        let told: Vec<&str> = text.iter().flat_map(|line| line.split_whitespace()).collect();
        assert!(told.join(" ").contains(what.trim()), "every word is there");
    }

    #[test]
    fn the_worst_comes_first() {
        let mut levels = [Level::Ok, Level::Hint, Level::Error, Level::Warning];
        levels.sort();
        assert_eq!(levels, [Level::Error, Level::Warning, Level::Hint, Level::Ok]);
    }
}
