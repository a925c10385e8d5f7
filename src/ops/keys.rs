//! A TOML file as a flat set of keys, `section.key` (a section may itself be within one), each with its line: what `config` reads its values from.
//!
//! In: the text and the keys that exist. Out: values turned into our types, or the first thing that cannot be
//! used, with file, line, key and what would do.

use super::config::ConfigError;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The keys of one file.
pub struct Keys<'a> {
    file: &'a Path,
    text: &'a str,
    values: BTreeMap<&'static str, (Range<usize>, DeValue<'a>)>,
}

impl<'a> Keys<'a> {
    /// Reads a text; every key in it must be one of `known`.
    ///
    /// # Errors
    /// [`ConfigError`] for what is no TOML, and for the first key, in the order of the file, that is not known.
    pub fn read(file: &'a Path, text: &'a str, known: &[&'static str]) -> Result<Keys<'a>, ConfigError> {
        let mut keys = Keys { file, text, values: BTreeMap::new() };
        let document = DeTable::parse(text).map_err(|problem| {
            let words = problem.message().lines().collect::<Vec<_>>().join("; ");
            keys.error(problem.span().unwrap_or(0..0), format!("not TOML: {words}"))
        })?;
        let mut unknown = Vec::new();
        keys.take(document.into_inner(), "", known, &mut unknown);
        unknown.sort_by_key(|(span, _): &(Range<usize>, String)| span.start);
        match unknown.into_iter().next() {
            Some((span, problem)) => Err(keys.error(span, problem)),
            None => Ok(keys),
        }
    }

    fn take(
        &mut self,
        table: DeTable<'a>,
        section: &str,
        known: &[&'static str],
        unknown: &mut Vec<(Range<usize>, String)>,
    ) {
        for (name, value) in table {
            let path =
                if section.is_empty() { name.get_ref().to_string() } else { format!("{section}.{}", name.get_ref()) };
            let is_section = known.iter().any(|key| key.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.')));
            match (known.iter().find(|key| **key == path), value.span(), value.into_inner()) {
                (Some(key), span, value) => {
                    self.values.insert(key, (span, value));
                }
                (None, _, DeValue::Table(table)) if is_section => self.take(table, &path, known, unknown),
                (None, _, _) if is_section => {
                    unknown.push((name.span(), format!("{path}: is a section; write its keys below a line [{path}]")));
                }
                (None, _, value) => unknown.push((name.span(), complain(&path, value.is_table(), known))),
            }
        }
    }

    /// A value, turned by `convert`; `default` where the key is absent.
    ///
    /// # Errors
    /// [`ConfigError`] with what `convert` said.
    pub fn get<T>(
        &self,
        key: &str,
        default: T,
        convert: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        match self.values.get(key) {
            None => Ok(default),
            Some((span, value)) => {
                convert(value).map_err(|problem| self.error(span.clone(), format!("{key}: {problem}")))
            }
        }
    }

    /// A list of strings, each turned by `convert`; `default` where the key is absent.
    ///
    /// # Errors
    /// [`ConfigError`] with what `convert` said, at the line of the item.
    pub fn list<T>(
        &self,
        key: &str,
        default: Vec<T>,
        convert: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some((span, value)) = self.values.get(key) else { return Ok(default) };
        let wrong = |span: &Range<usize>, problem| self.error(span.clone(), format!("{key}: {problem}"));
        let items =
            value.as_array().ok_or_else(|| wrong(span, mistyped(value, "a list of strings, [\"...\", \"...\"]")))?;
        let item = |item: &toml::Spanned<DeValue<'_>>| {
            string(item.get_ref()).and_then(|text| convert(&text)).map_err(|problem| wrong(&item.span(), problem))
        };
        items.iter().map(item).collect()
    }

    /// An array of tables, each as keys of its own, named as in `known`: `section.key.name`. Empty where the key is
    /// absent. [`Keys::refuse`] finds the line of a table by the array's key.
    ///
    /// # Errors
    /// [`ConfigError`] for what is no array of tables, and for a name in one that is not known.
    pub fn tables(&self, key: &'static str, known: &[&'static str]) -> Result<Vec<Keys<'a>>, ConfigError> {
        let Some((span, value)) = self.values.get(key) else { return Ok(Vec::new()) };
        let wrong = |span: Range<usize>, value: &DeValue<'_>| {
            self.error(span, format!("{key}: {}", mistyped(value, "an array of tables")))
        };
        let read = |item: &toml::Spanned<DeValue<'a>>| {
            let table = item.get_ref().as_table().ok_or_else(|| wrong(item.span(), item.get_ref()))?;
            let whole = (item.span(), DeValue::Boolean(true));
            let mut keys = Keys { file: self.file, text: self.text, values: BTreeMap::from([(key, whole)]) };
            for (name, value) in table {
                let path = format!("{key}.{}", name.get_ref());
                let Some(known) = known.iter().find(|known| **known == path) else {
                    let names: Vec<_> = known.iter().filter_map(|known| known.rsplit('.').next()).collect();
                    let problem = format!("{path}: unknown key; it takes {}", names.join(" and "));
                    return Err(self.error(name.span(), problem));
                };
                keys.values.insert(known, (value.span(), value.get_ref().clone()));
            }
            Ok(keys)
        };
        value.as_array().ok_or_else(|| wrong(span.clone(), value))?.iter().map(read).collect()
    }

    /// An error about a key, at its line where the file has it.
    pub fn refuse(&self, key: &str, problem: &str) -> ConfigError {
        let span = self.values.get(key).map(|(span, _)| span.clone());
        let problem = format!("{key}: {problem}");
        match span {
            Some(span) => self.error(span, problem),
            None => ConfigError { file: self.file.to_owned(), line: None, problem },
        }
    }

    fn error(&self, span: Range<usize>, problem: String) -> ConfigError {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|octet| **octet == b'\n').count();
        ConfigError { file: self.file.to_owned(), line: Some(line), problem }
    }
}

/// `true` or `false`.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| mistyped(value, "true or false"))
}

/// A string.
pub fn string(value: &DeValue<'_>) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| mistyped(value, "a string in quotes"))
}

/// A whole number in that range, of that unit.
pub fn number<N>(range: RangeInclusive<u64>, unit: &'static str) -> impl Fn(&DeValue<'_>) -> Result<N, String>
where
    N: TryFrom<u64>,
{
    move |value| {
        let want = format!("a whole number of {unit} from {} to {}", range.start(), range.end());
        let integer = value.as_integer().ok_or_else(|| mistyped(value, &want))?;
        let number = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
        number
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| range.contains(number))
            .and_then(|number| N::try_from(number).ok())
            .ok_or_else(|| format!("{} cannot be used; it takes {want}", integer.as_str()))
    }
}

/// One of these words.
pub fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let want = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let text = value.as_str().ok_or_else(|| mistyped(value, &want))?;
        let known = words.iter().find(|(word, _)| *word == text);
        known.map(|(_, meaning)| *meaning).ok_or_else(|| format!("\"{text}\" cannot be used; it takes {want}"))
    }
}

fn mistyped(value: &DeValue<'_>, want: &str) -> String {
    format!(
        "takes {want}, not {} {}",
        if value.is_array() || value.is_integer() { "an" } else { "a" },
        value.type_str()
    )
}

/// What to say of an unknown key: the nearest known one, by its whole path or its last piece.
fn complain(path: &str, is_table: bool, known: &[&'static str]) -> String {
    if is_table {
        let mut sections: Vec<_> =
            known.iter().filter_map(|key| key.rsplit_once('.')).map(|(section, _)| section).collect();
        sections.dedup();
        return match nearest(path, sections.into_iter().map(|section| (section, section))) {
            Some(section) => format!("{path}: unknown section; did you mean [{section}]?"),
            None => format!("{path}: unknown section; backstop.toml(5) lists them"),
        };
    }
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    let name = path.rsplit('.').next().unwrap_or(path);
    let by_path = nearest(path, known.iter().map(|key| (*key, *key)));
    match by_path.or_else(|| nearest(name, known.iter().map(|key| (last(key), *key)))) {
        Some(key) => match key.rsplit_once('.') {
            Some((section, key)) => format!("{path}: unknown key; did you mean {key} in [{section}]?"),
            None => format!("{path}: unknown key; did you mean {key} (ahead of all sections)?"),
        },
        None => format!("{path}: unknown key; backstop.toml(5) lists them"),
    }
}

/// The candidate with the fewest letters to change, if those are few for its length.
fn nearest(word: &str, candidates: impl Iterator<Item = (&'static str, &'static str)>) -> Option<&'static str> {
    candidates
        .map(|(candidate, answer)| (edits(word, candidate), candidate.len(), answer))
        .filter(|(edits, length, _)| *edits <= 1 + length / 4)
        .min_by_key(|(edits, _, _)| *edits)
        .map(|(_, _, answer)| answer)
}

/// Levenshtein distance, of at most the first 64 letters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
