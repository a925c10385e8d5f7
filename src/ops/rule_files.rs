//! Reads rule and dialect files from disk for `classify` and `report`, which do no I/O themselves.

use crate::classify::rules::{Miss, RuleError, Rules};
use crate::report::Dialects;
use std::path::{Path, PathBuf};

/// Every `*.toml` in `directory` with its content, in order of name; a missing directory is an empty one.
fn files_in(directory: &Path) -> Result<Vec<(PathBuf, String)>, RuleError> {
    let unreadable = |source| RuleError::Unreadable { file: directory.to_owned(), source };
    let mut files: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unreadable(error)),
    };
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files.into_iter().map(|file| Ok((file.clone(), read(&file)?))).collect()
}

/// The dialects compiled in, overlaid by every `*.toml` in `directory`, in order of name.
///
/// # Errors
/// [`RuleError`] for the first file that cannot be used.
pub fn dialects(directory: &Path) -> Result<Dialects, RuleError> {
    let files = files_in(directory)?;
    let texts = files.iter().map(|(file, text)| (file.as_path(), text.as_str()));
    Dialects::with_overlay(texts).map_err(|error| RuleError::Invalid {
        file: error.file,
        line: error.line,
        problem: error.problem,
    })
}

impl Rules {
    /// The rules compiled in, overlaid by every `*.toml` in `directory`, in order of name; a missing
    /// directory is an empty one.
    ///
    /// # Errors
    /// [`RuleError`] for the first file that cannot be used.
    pub fn with_overlay(directory: &Path) -> Result<Rules, RuleError> {
        match files_in(directory)? {
            files if files.is_empty() => Ok(Rules::compiled_in()),
            files => Rules::overlaid_by(&files),
        }
    }

    /// Runs every sample of `file` through these rules overlaid by `file`: how many samples there are, and those
    /// answered otherwise.
    ///
    /// # Errors
    /// [`RuleError`] if the file cannot be used.
    pub fn test(&self, file: &Path) -> Result<(usize, Vec<Miss>), RuleError> {
        self.test_content(file, &read(file)?)
    }
}

fn read(file: &Path) -> Result<String, RuleError> {
    std::fs::read_to_string(file).map_err(|source| RuleError::Unreadable { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str) -> String {
        format!("[[rule]]\nid = \"{id}\"\npattern = 'xyzzy'\ncategory = \"unknown\"\nsamples = [\"550 xyzzy\"]\n")
    }

    #[test]
    fn a_missing_directory_is_an_empty_one() {
        let rules = Rules::with_overlay(Path::new("/nonexistent/rules.d")).unwrap();
        assert_eq!(rules.list().count(), Rules::compiled_in().list().count());
    }

    #[test]
    fn files_are_read_in_order_of_name_and_only_toml() {
        let directory = tempfile::tempdir().unwrap();
        for (name, content) in [("20-b.toml", rule("b")), ("10-a.toml", rule("a")), ("notes.txt", "no rule".to_owned())]
        {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let rules = Rules::with_overlay(directory.path()).unwrap();
        let first: Vec<&str> = rules.list().take(2).map(|rule| rule.id.as_str()).collect();
        assert_eq!(first, ["a", "b"]);
    }

    #[test]
    fn an_operators_dialect_is_asked_first_and_a_broken_one_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("own.toml");
        let entry = "[[dialect]]\nid = \"own\"\nmarks = [\"the house gateway says no\"]\nrecipient = ['^to {address}$']\n\
                     [[dialect.sample]]\nmail = \"From: MAILER-DAEMON\\n\\nthe house gateway says no\\nto joe@example.net\\n\"\n\
                     recipients = [\"joe@example.net\"]\n";
        std::fs::write(&file, entry).unwrap();
        assert_eq!(dialects(directory.path()).unwrap().entries().first().unwrap().id, "own");
        std::fs::write(&file, entry.replace("marks", "markers")).unwrap();
        match dialects(directory.path()) {
            Err(RuleError::Invalid { file: named, line, .. }) => assert_eq!((named, line), (file, 3)),
            other => panic!("{:?}", other.map(|_| ())),
        }
    }

    #[test]
    fn a_file_is_tested_against_the_whole_set() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.toml");
        std::fs::write(&file, rule("a")).unwrap();
        assert_eq!(Rules::compiled_in().test(&file).unwrap(), (1, vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let file = Path::new("/nonexistent/rules.toml");
        match Rules::compiled_in().test(file) {
            Err(RuleError::Unreadable { file: named, .. }) => assert_eq!(named, file),
            other => panic!("{other:?}"),
        }
    }
}
