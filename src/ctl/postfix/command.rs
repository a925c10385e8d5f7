//! Asks Postfix: runs postconf(1) and postmap(1), which only read. The self-test runs other programs of it the same way.

use super::super::exit::{Exit, Failure};
use super::configuration::{Configuration, Printed};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Postfix, by its own tools.
pub struct Postfix<'a> {
    /// `--postfix-config`.
    directory: Option<&'a Path>,
}

impl<'a> Postfix<'a> {
    /// With main.cf in this directory, or where Postfix has it.
    pub fn at(directory: Option<&'a Path>) -> Postfix<'a> {
        Postfix { directory }
    }

    /// Its configuration.
    pub fn configuration(&self) -> Result<Configuration, Failure> {
        let printed = Printed {
            version: self.postconf(&["-d", "mail_version"])?,
            all: self.postconf(&[])?,
            // Before 2.10 there is no -x; what is not conditional is then expanded here.
            expanded: self.postconf(&["-x"]).unwrap_or_default(),
            set: self.postconf(&["-n"])?,
            master: self.postconf(&["-M"])?,
        };
        Configuration::read(&printed).map_err(|problem| Failure::new(Exit::Unavailable, problem))
    }

    /// Where main.cf is.
    pub fn directory(&self, configuration: &Configuration) -> PathBuf {
        self.directory.map_or_else(|| PathBuf::from(configuration.value("config_directory")), Path::to_owned)
    }

    /// Looks a key up in a table; a path alone is a file of patterns.
    pub fn lookup(&self, table: &str, key: &str) -> Result<Option<String>, String> {
        if table.starts_with('/') {
            let text = std::fs::read_to_string(table).map_err(|error| format!("{table}: {error}"))?;
            let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            let mut words = lines.flat_map(|line| line.split([',', ' ', '\t']));
            return Ok(words.find(|word| word.eq_ignore_ascii_case(key)).map(str::to_owned));
        }
        let output = self.run("postmap", &["-q", key, table]).map_err(|error| format!("postmap: {error}"))?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()));
        }
        // 1 says "not found", and "cannot be asked" as well.
        let said = String::from_utf8_lossy(&output.stderr);
        let trouble = |line: &&str| ["fatal:", "error:"].iter().any(|word| line.contains(word));
        match said.lines().find(trouble) {
            Some(line) => Err(line.trim_start_matches("postmap: ").to_owned()),
            None => Ok(None),
        }
    }

    fn postconf(&self, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.run("postconf", arguments).map_err(|error| {
            let message = match error.kind() {
                io::ErrorKind::NotFound => "postconf was not found: Postfix is not installed here".to_owned(),
                _ => format!("postconf: {error}"),
            };
            Failure::new(Exit::Unavailable, message)
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("postconf: no word of why").to_owned();
            return Err(Failure::new(Exit::Config, format!("Postfix's configuration cannot be read: {last}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run(&self, name: &str, arguments: &[&str]) -> io::Result<Output> {
        program(name, self.directory).args(arguments).output()
    }
}

/// A program of Postfix, to be run with main.cf in this directory, or where Postfix has it. Arguments follow.
pub fn program(name: &str, directory: Option<&Path>) -> Command {
    let mut command = Command::new(name);
    // Where Postfix's programs are, and a user's PATH often does not lead.
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":"); // with nothing in front of it, it would stand for the directory we are in
    }
    path.push("/usr/local/sbin:/usr/sbin:/sbin");
    command.env("PATH", path).env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(directory) = directory {
        // sendmail(1) spells it otherwise.
        command.env_remove("MAIL_CONFIG").arg(if name == "sendmail" { "-C" } else { "-c" }).arg(directory);
    }
    command
}
