//! The keys of `backstop.toml`: in the page each has an entry written by hand, whose second line tells type and
//! default. That line is generated, and so is an entry that is missing.

use super::roff::{literal, prose};
use super::root;
use backstop::ops::config::KEYS;

/// A key as `config/backstop.toml` shows it.
struct Shown {
    section: String,
    name: String,
    /// What stands behind the equals sign.
    default: String,
    /// Whether the line is commented out: then something else decides the default, and the page says what.
    elsewhere: bool,
    /// The comment above it.
    comment: String,
}

impl Shown {
    fn kind(&self) -> &'static str {
        let tables = self.comment.contains("[[") || self.comment.contains("[{");
        match self.default.as_bytes().first() {
            Some(b'"') => "string",
            Some(b'[') if tables => "array of tables",
            Some(b'[') => "array of strings",
            Some(b't' | b'f') => "boolean",
            _ => "integer",
        }
    }
}

/// The page with type and default of every key, and an entry for every key.
pub fn rewritten(page: &str) -> Result<String, String> {
    let shown = shown()?;
    let mut section = "";
    let mut kinds: Vec<&Shown> = Vec::new();
    let mut text = String::new();
    for line in page.lines() {
        if let Some(title) = line.strip_prefix(".SS [").and_then(|rest| rest.strip_suffix(']')) {
            section = title;
        } else if line.starts_with(".SH ") {
            section = "";
        }
        if let Some(name) = line.strip_prefix(".B ") {
            kinds.extend(shown.iter().find(|key| key.section == section && key.name == name.replace("\\-", "-")));
        } else if let (Some(key), Some(rest)) = (kinds.first(), line.strip_prefix('(')) {
            text.push_str(&attributes(key, rest.trim_end_matches(')')));
            kinds.clear();
            continue;
        } else if line != ".TQ" {
            kinds.clear();
        }
        text.push_str(line);
        text.push('\n');
    }
    for key in &shown {
        text = with_entry(&text, key)?;
    }
    Ok(text)
}

/// The second line of an entry; `old` is what it says now, `TYPE; default: VALUE` or `default: VALUE`.
fn attributes(key: &Shown, old: &str) -> String {
    let old = old.split_once("default: ").map_or("none", |(_, old)| old);
    let default = if key.elsewhere { old.to_owned() } else { literal(&key.default) };
    format!("({}; default: {default})\n", key.kind())
}

fn with_entry(page: &str, key: &Shown) -> Result<String, String> {
    const KEYS: &str = ".SH KEYS\n";
    let (head, rest) = page.split_once(KEYS).ok_or("no section KEYS")?;
    let (part, tail) = rest.split_at(rest.find("\n.SH ").ok_or("nothing follows KEYS")? + 1);
    let title = format!(".SS [{}]\n", key.section);
    let start = match key.section.as_str() {
        "" => Some(0),
        _ => part.find(&title).map(|place| place + title.len()),
    };
    let (before, own, after) = match start {
        Some(start) => {
            let end = part[start..].find(".SS ").map_or(part.len(), |end| start + end);
            (part[..start].to_owned(), &part[start..end], &part[end..])
        }
        None => (format!("{part}{title}"), "", ""),
    };
    if own.contains(&format!(".B {}\n", literal(&key.name))) {
        return Ok(page.to_owned());
    }
    let default = if key.elsewhere { "none" } else { "" };
    let entry = format!(
        ".TP\n.B {}\n{}{}",
        literal(&key.name),
        attributes(key, &format!("default: {default}")),
        prose(&key.comment)
    );
    Ok(format!("{head}{KEYS}{before}{own}{entry}{after}{tail}"))
}

/// Every key in the file that comes with the program, in its order.
fn shown() -> Result<Vec<Shown>, String> {
    let file = root().join("config/backstop.toml");
    let text = std::fs::read_to_string(file).map_err(|error| format!("config/backstop.toml: {error}"))?;
    let (mut section, mut comment, mut shown) = (String::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let bare = line.strip_prefix('#').unwrap_or(line);
        let setting = bare.split_once(" = ").filter(|(key, _)| !key.contains(' '));
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            comment.clear();
        } else if let Some((key, default)) = setting {
            let path = format!("{section}.{key}");
            let path = path.trim_start_matches('.');
            if !KEYS.contains(&path) {
                return Err(format!("config/backstop.toml: {path} is no key"));
            }
            let (section, name) = path.split_once('.').unwrap_or(("", path));
            shown.push(Shown {
                section: section.to_owned(),
                name: name.to_owned(),
                default: default.to_owned(),
                elsewhere: line.starts_with('#'),
                comment: comment.join(" "),
            });
            comment.clear();
        } else if line.starts_with('#') {
            comment.push(bare.trim().to_owned());
        } else {
            comment.clear();
        }
    }
    match KEYS.iter().find(|key| {
        !shown.iter().any(|known| format!("{}.{}", known.section, known.name).trim_start_matches('.') == **key)
    }) {
        Some(missing) => Err(format!("config/backstop.toml does not show {missing}")),
        None => Ok(shown),
    }
}
