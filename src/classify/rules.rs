//! Rules as data (SPEC 2.2): `config/rules/*.toml`, compiled in, overlaid by the operator's files. The first
//! rule that applies decides. Every rule carries samples that a test runs through the whole set.
//!
//! `ops::rule_files` adds what reads the operator's files from disk.
//!
//! A text is passed over once, looking for the words that patterns need ([`super::literals`]); only rules
//! whose words were seen are tried, in order.

use super::reading::Reading;
use super::rule::{Rule, Sample};
use super::rule_file::read_file;
use super::{Judgement, judge};
use crate::report::{Action, Recipient};
use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The files compiled in, in order.
const COMPILED_IN: &[(&str, &str)] = &[
    ("config/rules/10-upstream.toml", include_str!("../../config/rules/10-upstream.toml")),
    ("config/rules/20-google.toml", include_str!("../../config/rules/20-google.toml")),
    ("config/rules/21-microsoft.toml", include_str!("../../config/rules/21-microsoft.toml")),
    ("config/rules/22-exchange.toml", include_str!("../../config/rules/22-exchange.toml")),
    ("config/rules/23-yahoo-apple.toml", include_str!("../../config/rules/23-yahoo-apple.toml")),
    ("config/rules/24-america.toml", include_str!("../../config/rules/24-america.toml")),
    ("config/rules/25-europe.toml", include_str!("../../config/rules/25-europe.toml")),
    ("config/rules/26-east.toml", include_str!("../../config/rules/26-east.toml")),
    ("config/rules/27-asia.toml", include_str!("../../config/rules/27-asia.toml")),
    ("config/rules/28-filters.toml", include_str!("../../config/rules/28-filters.toml")),
    ("config/rules/29-hosts.toml", include_str!("../../config/rules/29-hosts.toml")),
    ("config/rules/30-blocklists.toml", include_str!("../../config/rules/30-blocklists.toml")),
    ("config/rules/35-sender.toml", include_str!("../../config/rules/35-sender.toml")),
    ("config/rules/40-postfix.toml", include_str!("../../config/rules/40-postfix.toml")),
    ("config/rules/41-servers.toml", include_str!("../../config/rules/41-servers.toml")),
    ("config/rules/45-domain.toml", include_str!("../../config/rules/45-domain.toml")),
    ("config/rules/50-mailbox.toml", include_str!("../../config/rules/50-mailbox.toml")),
    ("config/rules/60-reputation.toml", include_str!("../../config/rules/60-reputation.toml")),
    ("config/rules/70-message.toml", include_str!("../../config/rules/70-message.toml")),
    ("config/rules/80-transport.toml", include_str!("../../config/rules/80-transport.toml")),
    ("config/rules/85-languages.toml", include_str!("../../config/rules/85-languages.toml")),
    ("config/rules/90-generic.toml", include_str!("../../config/rules/90-generic.toml")),
];

/// The rule set in force. Cheap to clone.
#[derive(Clone)]
pub struct Rules {
    set: Arc<Set>,
}

/// Rules in order, and the words that lead to them.
struct Set {
    rules: Vec<Arc<Rule>>,
    words: AhoCorasick,
    /// For each word, by its number in `words`, the rules it leads to.
    leads_to: Vec<Vec<usize>>,
    /// Rules that need no word.
    always: Vec<usize>,
}

/// Why a rule file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file cannot be read.
    #[error("{}: cannot be read", file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no rule file, or one rule in it cannot be used.
    #[error("{}:{line}: {problem}", file.display())]
    Invalid {
        /// Which file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, and what would do.
        problem: String,
    },
}

/// A sample that the rule set answers differently than its rule says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// The rule whose sample it is.
    pub rule: String,
    /// The file and line it stands in.
    pub place: String,
    /// The sample.
    pub sample: String,
    /// The rule that answered instead.
    pub answered: Judgement,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("rules", &self.set.rules.len()).finish_non_exhaustive()
    }
}

impl Rules {
    /// The rules compiled in; read once.
    pub fn compiled_in() -> Rules {
        static RULES: OnceLock<Rules> = OnceLock::new();
        let read = || {
            let files = COMPILED_IN.iter().map(|(file, content)| read_file(Path::new(file), content));
            let rules = files.collect::<Result<Vec<_>, _>>().and_then(|files| Rules::of(files.concat(), &[]));
            rules.expect("the compiled-in rules are valid: every_rule_answers_its_own_samples")
        };
        RULES.get_or_init(read).clone()
    }

    /// The rules compiled in, overlaid by those of `files` (name and content), in their order. A rule with the id
    /// of a compiled-in one replaces it.
    ///
    /// # Errors
    /// [`RuleError::Invalid`] for the first file that cannot be used.
    pub fn overlaid_by(files: &[(PathBuf, String)]) -> Result<Rules, RuleError> {
        let rules = files.iter().map(|(file, content)| read_file(file, content)).collect::<Result<Vec<_>, _>>()?;
        Rules::of(rules.concat(), &Rules::compiled_in().set.rules)
    }

    /// Runs every sample of a file through these rules overlaid by it: how many samples there are, and those
    /// answered otherwise.
    ///
    /// # Errors
    /// [`RuleError::Invalid`] if the file cannot be used.
    pub fn test_content(&self, file: &Path, content: &str) -> Result<(usize, Vec<Miss>), RuleError> {
        let overlay = read_file(file, content)?;
        let overlaid = Rules::of(overlay.clone(), &self.set.rules)?;
        Ok(overlaid.misses(overlay.iter()))
    }

    /// Every rule, in the order they are asked.
    pub fn list(&self) -> impl Iterator<Item = &Rule> {
        self.set.rules.iter().map(Arc::as_ref)
    }

    /// Runs the samples of `rules` through the whole set: how many there are, and those answered otherwise.
    fn misses<'a>(&self, rules: impl Iterator<Item = &'a Rule>) -> (usize, Vec<Miss>) {
        let samples = rules.flat_map(|rule| rule.samples.iter().map(move |sample| (rule, sample)));
        let mut count = 0;
        let mut misses = Vec::new();
        for (rule, sample) in samples {
            count += 1;
            let recipient = recipient_of(rule, sample);
            let dialect = rule.dialect.first().map_or("rfc3464", String::as_str);
            let mut reading = Reading::of(&recipient, dialect);
            if sample.remote_mta.is_none() {
                reading.remote = rule.provider.first().map_or("", String::as_str);
            }
            let answered = judge(&reading, self);
            if answered.rule != rule.id {
                let place = format!("{}:{}", rule.file.display(), sample.line);
                misses.push(Miss { rule: rule.id.clone(), place, sample: sample.text.clone(), answered });
            }
        }
        (count, misses)
    }

    /// Puts a set together: `overlay`, then those of `base` whose ids it does not use.
    fn of(overlay: Vec<Rule>, base: &[Arc<Rule>]) -> Result<Rules, RuleError> {
        let mut places: HashMap<&str, &Rule> = HashMap::new();
        for rule in &overlay {
            if let Some(first) = places.insert(&rule.id, rule) {
                let problem = format!("the id \"{}\" is taken: see {}", rule.id, first.place());
                return Err(RuleError::Invalid { file: rule.file.clone(), line: rule.line, problem });
            }
        }
        let taken: HashSet<String> = places.into_keys().map(str::to_owned).collect();
        let kept = base.iter().filter(|rule| !taken.contains(&rule.id)).cloned();
        let rules: Vec<Arc<Rule>> = overlay.into_iter().map(Arc::new).chain(kept).collect();

        let mut by_word: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        let mut always = Vec::new();
        for (number, rule) in rules.iter().enumerate() {
            match &rule.words {
                None => always.push(number),
                Some(words) => {
                    for word in words {
                        by_word.entry(word.to_ascii_lowercase()).or_default().push(number);
                    }
                }
            }
        }
        let (words, leads_to): (Vec<_>, Vec<_>) = by_word.into_iter().unzip();
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(words)
            .map_err(|error| RuleError::Invalid {
                file: rules.first().map(|rule| rule.file.clone()).unwrap_or_default(),
                line: 1,
                problem: format!("too many rules: {error}"),
            })?;
        Ok(Rules { set: Arc::new(Set { rules, words, leads_to, always }) })
    }

    /// The first rule that applies, and the octets of the text that its pattern matched.
    pub(super) fn decide(&self, reading: &Reading<'_>) -> Option<(&Rule, Option<std::ops::Range<usize>>)> {
        let set = &*self.set;
        let mut candidates = set.always.clone();
        for found in set.words.find_overlapping_iter(&reading.text) {
            candidates.extend_from_slice(&set.leads_to[found.pattern().as_usize()]);
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().find_map(|number| {
            let rule = &*set.rules[number];
            rule.applies(reading).map(|matched| (rule, matched))
        })
    }
}

/// A recipient that says what the sample says.
fn recipient_of(rule: &Rule, sample: &Sample) -> Recipient {
    let diagnostic_type = sample.diagnostic_type.as_ref().or(rule.diagnostic_type.first());
    Recipient {
        address: None,
        original_recipient: None,
        final_recipient: None,
        action: Action::Failed,
        status: sample.status.clone(),
        diagnostic_type: Some(diagnostic_type.map_or("smtp", String::as_str).to_owned()),
        diagnostic_code: (!sample.text.is_empty()).then(|| sample.text.clone()),
        remote_mta: sample.remote_mta.clone(),
        will_retry_until: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = r#"
[[rule]]
id = "house-rule"
pattern = 'closed for the holidays'
category = "transient"
type = "soft"
samples = ["550 5.1.1 we are closed for the holidays"]
"#;

    fn tested(content: &str) -> Result<(usize, Vec<Miss>), RuleError> {
        Rules::compiled_in().test_content(Path::new("house.toml"), content)
    }

    #[test]
    fn every_rule_answers_its_own_samples() {
        let rules = Rules::compiled_in();
        let (count, misses) = rules.misses(rules.list());
        let told: Vec<String> = misses
            .iter()
            .map(|Miss { rule, place, sample, answered }| {
                format!("{place}: {rule} is shadowed by {} ({:?})\n    {sample}", answered.rule, answered.matched)
            })
            .collect();
        assert!(misses.is_empty(), "{} of {count} samples:\n{}", misses.len(), told.join("\n"));
        assert!(count > rules.list().count(), "some rules have several samples");
    }

    #[test]
    fn every_rule_file_is_compiled_in() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files: Vec<String> = std::fs::read_dir(directory.join("config/rules"))
            .unwrap()
            .map(|entry| format!("config/rules/{}", entry.unwrap().file_name().to_str().unwrap()))
            .collect();
        files.sort();
        assert!(COMPILED_IN.iter().map(|(file, _)| *file).eq(files));
    }

    #[test]
    fn compiled_in_rules_use_our_words_and_are_not_tried_on_every_text() {
        let mut wrong = Vec::new();
        for rule in Rules::compiled_in().list() {
            if let Some(reason) = &rule.reason
                && super::super::reason::describe(reason).is_none()
            {
                wrong.push(format!("{}: no such reason: {reason}", rule.place()));
            }
            let shortest = rule.words.iter().flatten().min_by_key(|word| word.len());
            if shortest.is_none_or(|word| word.len() < 3) {
                let word = shortest.map(|word| String::from_utf8_lossy(word));
                wrong.push(format!("{}: {} is tried wherever {word:?} stands", rule.place(), rule.id));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_operators_rules_come_first_and_replace_those_of_the_same_id() {
        let content = RULE.replace("house-rule", "user-unknown");
        let rules = Rules::overlaid_by(&[(PathBuf::from("house.toml"), content.clone())]).unwrap();
        assert_eq!(rules.list().count(), Rules::compiled_in().list().count());
        let first = rules.list().next().unwrap();
        assert_eq!((first.id.as_str(), first.place()), ("user-unknown", "house.toml:2".to_owned()));
        let again = rules.test_content(Path::new("house.toml"), &content);
        assert_eq!(again.unwrap(), (1, vec![]), "testing a file that is in force already");
    }

    #[test]
    fn a_sample_that_another_rule_answers_is_told_with_its_place() {
        let answer = tested(
            r#"
[[rule]]
id = "first"
pattern = 'holidays'
category = "transient"
samples = ["550 holidays"]
[[rule]]
id = "second"
pattern = 'closed for the holidays'
category = "unknown"
samples = [
  "550 closed for the holidays",
  { status = "5.1.1", text = "550 nothing of the kind" },
]
"#,
        );
        let (count, misses) = answer.unwrap();
        let told: Vec<_> = misses.iter().map(|miss| (miss.place.as_str(), miss.answered.rule.as_str())).collect();
        assert_eq!((count, told), (3, vec![("house.toml:12", "first"), ("house.toml:13", "code-table")]));
    }

    #[test]
    fn what_cannot_be_used_is_told_with_file_and_line() {
        for (content, line, problem) in [
            (RULE.replace("samples = [\"550 5.1.1 we are closed for the holidays\"]", ""), 2, "has no sample"),
            (RULE.replace("pattern", "patern"), 4, "unknown field"),
            (RULE.replace("'closed for", "'closed (for"), 4, "unclosed group"),
            (RULE.replace("closed for the holidays'", ".*'"), 4, "matches any text"),
            (RULE.replace("holidays'", "h[é]t'"), 4, "Unicode"),
            (RULE.replace("\"transient\"", "\"full\""), 5, "unknown variant"),
            (RULE.replace("house-rule", "House rule"), 3, "must be of a-z"),
            (RULE.replace("pattern = 'closed for the holidays'", ""), 2, "has no condition"),
            (RULE.replace("category = \"transient\"\ntype = \"soft\"", ""), 2, "decides nothing"),
            (RULE.replace("category", "codes = [\"5.1\"]\ncategory"), 5, "is no code"),
            (RULE.replace("category", "replies = [250]\ncategory"), 5, "no SMTP reply of failure"),
            (RULE.replace("category", "provider = [\"*.example.org\"]\ncategory"), 5, "is no domain"),
            (RULE.replace("category", "code = \"550\"\ncategory"), 5, "no enhanced status code"),
            (RULE.replace("samples = [", "samples = [ 5, "), 7, "a sample is a text"),
            (format!("{RULE}{RULE}"), 9, "is taken: see"),
            ("rules = 3".to_owned(), 1, "unknown field"),
            ("[[rule]\n".to_owned(), 1, ""),
        ] {
            match tested(&content) {
                Err(RuleError::Invalid { file, line: told, problem: why }) => {
                    assert_eq!((file.to_str(), told), (Some("house.toml"), line), "{why}\n{content}");
                    assert!(why.contains(problem), "{why:?} should speak of {problem:?}");
                }
                other => panic!("{other:?}\n{content}"),
            }
        }
    }

    #[test]
    fn every_condition_of_a_rule_must_hold() {
        let answer = tested(
            r#"
[[rule]]
id = "narrow"
pattern = ['xyzzy', 'plugh', 'refusé']
codes = ["5.2.*", "none"]
replies = [550, 554]
provider = ["example.org"]
dialect = ["rfc3464"]
diagnostic_type = ["smtp"]
temporary = false
category = "blocked"
samples = [
  "550 5.2.0 xyzzy",
  { text = "554 PLUGH", remote_mta = "mx.Example.org. (192.0.2.1)", diagnostic_type = "SMTP" },
  "550 REFUSé",
  "550 5.1.1 xyzzy",
  "551 5.2.0 xyzzy",
  "550 5.2.0 xyz",
  { text = "550 5.2.0 xyzzy", remote_mta = "mx.badexample.org" },
  { text = "550 5.2.0 xyzzy", diagnostic_type = "x-unix" },
]
"#,
        );
        let (count, misses) = answer.unwrap();
        let lines: Vec<_> = misses.iter().map(|miss| miss.place.rsplit(':').next().unwrap().to_owned()).collect();
        assert_eq!((count, lines), (8, ["16", "17", "18", "19", "20"].map(str::to_owned).to_vec()));
    }
}
