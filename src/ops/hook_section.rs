//! `[[hook]]`: who is told what happened. A secret is read with the file, so that a reload finds a changed one.

use super::config::ConfigError;
use super::keys::{Keys, number, string};
use super::sections::path;
use crate::hooks::{MOST, NAME_LETTERS, Occasion, Secret, Settings, Target, Url};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const KEY: &str = "hook";
const NAME: &str = "hook.name";
const COMMAND: &str = "hook.command";
const URL: &str = "hook.url";
const SECRET: &str = "hook.secret_file";
const ON: &str = "hook.on";
const TIMEOUT: &str = "hook.timeout_secs";
const GIVE_UP: &str = "hook.give_up_after_hours";
const KEYS: [&str; 7] = [NAME, COMMAND, URL, SECRET, ON, TIMEOUT, GIVE_UP];

/// Octets of a secret.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=4096;

/// `[[hook]]`.
pub fn read_hooks(keys: &Keys<'_>) -> Result<Vec<Settings>, ConfigError> {
    let tables = keys.tables(KEY, &KEYS)?;
    if tables.len() > MOST {
        return Err(keys.refuse(KEY, &format!("names {} hooks; it takes {MOST} at most", tables.len())));
    }
    let mut hooks: Vec<Settings> = Vec::new();
    for own in &tables {
        let hook = read_hook(own)?;
        if hooks.iter().any(|known| known.name == hook.name) {
            return Err(own.refuse(NAME, &format!("\"{}\" is the name of another hook; each has its own", hook.name)));
        }
        hooks.push(hook);
    }
    Ok(hooks)
}

fn read_hook(own: &Keys<'_>) -> Result<Settings, ConfigError> {
    let Some(name) = own.get(NAME, None, |value| name(&string(value)?).map(Some))? else {
        return Err(own.refuse(KEY, "has no name; give it one, such as name = \"crm\""));
    };
    let command = own.list(COMMAND, Vec::new(), |word| match word.contains('\0') {
        false => Ok(word.to_owned()),
        true => Err("a NUL cannot stand in it".to_owned()),
    })?;
    let url = own.get(URL, None, |value| Url::parse(&string(value)?).map(Some))?;
    let secret = own.get(SECRET, None, |value| read_secret(&path(value)?).map(Some))?;
    let target = match (command, url) {
        (command, None) if !command.is_empty() => {
            if !Path::new(&command[0]).is_absolute() {
                return Err(own
                    .refuse(COMMAND, "begins with the absolute path of a program, such as [\"/usr/local/bin/told\"]"));
            }
            if secret.is_some() {
                return Err(own.refuse(SECRET, "signs what is posted to a url; a command takes none"));
            }
            Target::Program(command)
        }
        (command, Some(url)) if command.is_empty() => Target::Url { url, secret },
        (command, _) if command.is_empty() => {
            return Err(own.refuse(KEY, &format!("{name} has neither command nor url; give it one of them")));
        }
        (_, _) => return Err(own.refuse(URL, &format!("{name} has a command, too; it takes one of them"))),
    };
    let mut on = own.list(ON, Vec::new(), occasion)?;
    on.sort_unstable();
    on.dedup();
    if on.is_empty() {
        return Err(own.refuse(
            KEY,
            &format!("{name} tells nothing; say what it is told, such as on = [\"suppress\", \"release\"]"),
        ));
    }
    let timeout = own.get(TIMEOUT, 10, number(1..=300, "seconds"))?;
    let give_up_hours: u64 = own.get(GIVE_UP, 72, number(1..=8760, "hours"))?;
    let (timeout, give_up_after) = (Duration::from_secs(timeout), Duration::from_secs(give_up_hours * 3600));
    Ok(Settings { name, target, on, timeout, give_up_after })
}

/// A name that can be a label and a piece of a path as it stands.
fn name(text: &str) -> Result<String, String> {
    let may_stand = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_".contains(&octet);
    match (1..=NAME_LETTERS).contains(&text.len()) && text.bytes().all(may_stand) {
        true => Ok(text.to_owned()),
        false => Err(format!("\"{text}\" cannot be used; it takes 1 to {NAME_LETTERS} of a-z, 0-9, - and _")),
    }
}

fn occasion(word: &str) -> Result<Occasion, String> {
    let known = Occasion::ALL.iter().find(|(name, _)| *name == word);
    known.map(|(_, occasion)| *occasion).ok_or_else(|| {
        let names: Vec<String> = Occasion::ALL.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("\"{word}\" cannot be used; it takes {}", names.join(", "))
    })
}

/// The secret in a file, without the line feed at its end.
fn read_secret(file: &Path) -> Result<Secret, String> {
    let shown = file.display();
    let trouble = |error: std::io::Error| format!("{shown}: {error}");
    let opened = File::open(file).map_err(trouble)?;
    let metadata = opened.metadata().map_err(trouble)?;
    if !metadata.is_file() {
        return Err(format!("{shown}: is no file"));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(format!(
            "{shown}: mode {mode:04o}: everybody can read this secret; make it 0640 or 0600, and replace it if somebody may have"
        ));
    }
    let mut octets = Vec::new();
    opened.take(*SECRET_BYTES.end() as u64 + 3).read_to_end(&mut octets).map_err(trouble)?;
    let secret = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if !SECRET_BYTES.contains(&secret.len()) {
        let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
        return Err(format!("{shown}: a secret has {least} to {most} octets; `openssl rand -hex 32` makes one"));
    }
    Ok(Secret::new(secret.to_vec()))
}
