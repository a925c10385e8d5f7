//! Words, keys and codes with what they mean.

use super::roff::{literal, prose};
use super::source::{self, Described};
use backstop::classify::code;
use backstop::classify::reason::REASONS;

/// A tagged paragraph.
pub fn entry(tag: &str, text: &str) -> String {
    format!(".TP\n.B {}\n{}", literal(tag), prose(text))
}

/// The words of an enum.
pub fn words(file: &str, name: &str) -> Result<String, String> {
    Ok(source::variants(file, name)?.iter().map(|word| entry(&word.name, &word.docs)).collect())
}

/// The keys of a struct that is read from a file.
pub fn keys(file: &str, name: &str) -> Result<String, String> {
    let keys = source::fields(file, name)?;
    Ok(keys.iter().filter(|key| !key.docs.is_empty()).map(|key| entry(&key.name, &key.docs)).collect())
}

/// The fields of a struct that is told as JSON; those that may be missing in brackets.
pub fn fields(file: &str, name: &str) -> Result<String, String> {
    Ok(source::fields(file, name)?.iter().map(field).collect())
}

/// One field.
pub fn field(field: &Described) -> String {
    let name = literal(&field.name);
    match field.optional {
        true => format!(".TP\n.RI [ {name} ]\n{}", prose(&field.docs)),
        false => format!(".TP\n.I {name}\n{}", prose(&field.docs)),
    }
}

/// The keys that a `[[rule]]` may have, with what stands beside them in the rule as it is in force.
pub fn rule_keys() -> Result<String, String> {
    let described = source::fields("src/classify/rule.rs", "Rule")?;
    let taken = source::fields("src/classify/rule_file.rs", "Written")?;
    taken
        .iter()
        .map(|key| match described.iter().find(|known| known.ident == key.ident) {
            Some(known) => Ok(entry(&key.name, &known.docs)),
            None => Err(format!("src/classify/rule.rs says nothing of the key {}", key.name)),
        })
        .collect()
}

/// The keys of a `[[dialect]]`, of its table `when`, and of its samples, and the words that some of them take.
pub fn dialect_keys() -> Result<String, String> {
    const FILE: &str = "src/report/entry.rs";
    let mut text = String::new();
    for key in source::fields(FILE, "Dialect")? {
        text.push_str(&entry(&key.name, &key.docs));
        let within = match key.name.as_str() {
            "when" => keys(FILE, "When")?,
            "diagnostic" => words(FILE, "Diagnostic")?,
            "fallback" => words(FILE, "Fallback")?,
            "action" => words("src/report/mod.rs", "Action")?,
            "sample" => keys(FILE, "Sample")?,
            _ => continue,
        };
        text.push_str(&format!(".RS\n{within}.RE\n"));
    }
    Ok(text)
}

/// Every reason that the compiled-in rules and the table of codes use.
pub fn reasons() -> String {
    REASONS.iter().map(|(word, means)| entry(word, means)).collect()
}

/// The table of bounce codes.
pub fn codes() -> String {
    let row = |row: &code::CodeEntry| {
        let (code, kind, category) = (row.code, row.bounce_type.as_str(), row.category.as_str());
        let verdict = format!("{kind}, {category}, {}, {}", row.reason, row.fault.as_str());
        format!(".TP\n.B {code}\n{}: {}", literal(&verdict), prose(row.description))
    };
    code::table().iter().map(row).collect()
}
