//! `postfix print` and `postfix check`: the lines that attach Backstop to this host's Postfix, and what is wrong with
//! them. Nothing here changes anything; a person pastes the lines.
//!
//! `command` asks Postfix's own tools, `configuration` reads their answers, `lines` says what to change, and `attached`,
//! `failure` and `return_path` say what is wrong, all without I/O; `socket` tries the milter socket.

mod attached;
mod command;
mod configuration;
mod failure;
mod finding;
mod lines;
mod milter;
mod return_path;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod value;

use super::arguments::PostfixArguments;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::table::clean;
use crate::ops::config::Config;
use attached::Asked;
use command::Postfix;
pub use command::program;
use finding::{Finding, Level};
pub use lines::{SELFTEST_SOCKET, has_bounce, tool};
use milter::Ours;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
pub use value::{quoted, with_last};

#[derive(Serialize)]
struct Printed<'a> {
    postfix_version: String,
    undo: bool,
    commands: &'a [String],
    notes: &'a [String],
}

/// `backstopctl postfix print`.
pub fn print(asked: &PostfixArguments, undo: bool, out: &mut Output) -> Result<Exit, Failure> {
    let config = config(&asked.config)?;
    let directory = absolute(asked.postfix_config.as_deref())?;
    let directory = directory.as_deref();
    let postfix = Postfix::at(directory);
    let now = postfix.configuration()?;
    let at = postfix.directory(&now);
    let ours = Ours { config: &config };
    let plan = if undo {
        lines::detach(&now, &ours, &at)
    } else {
        lines::attach(&now, &ours, &at).map_err(|problem| Failure::new(Exit::Config, problem))?
    };
    let commands = lines::commands(&plan.changes, directory, now.version);
    if out.json() {
        let postfix_version = format!("{}.{}", now.version.major, now.version.minor);
        out.object(&Printed { postfix_version, undo, commands: &commands, notes: &plan.notes })?;
        return Ok(Exit::Yes);
    }
    // Whatever is not a command is a comment, so that all of it can be given to a shell.
    for note in &plan.notes {
        out.line(&format!("# {}", clean(note)))?;
    }
    match (commands.is_empty(), undo) {
        (true, false) => {
            out.line("# Backstop is attached: nothing is to be done. `backstopctl postfix check` looks closer.")?
        }
        (true, true) => out.line("# Backstop is not attached: nothing is to be taken off.")?,
        (false, _) => commands.iter().try_for_each(|command| out.line(command))?,
    }
    Ok(Exit::Yes)
}

/// `backstopctl postfix check`: exits with 1 if anything is worse than a hint.
pub fn check(asked: &PostfixArguments, out: &mut Output) -> Result<Exit, Failure> {
    let config = config(&asked.config)?;
    let directory = absolute(asked.postfix_config.as_deref())?;
    let directory = directory.as_deref();
    let postfix = Postfix::at(directory);
    let now = postfix.configuration()?;
    let at = postfix.directory(&now);
    let asked = Asked { postfix: &now, ours: Ours { config: &config }, directory, config_directory: &at };
    let mut found = findings(&asked, &|table, key| postfix.lookup(table, key));
    found.extend(socket::findings(&asked));
    found.sort_by_key(|finding| finding.level); // in order of the path of the mail within a level
    for finding in &found {
        if out.json() {
            out.object(finding)?;
        } else {
            finding.lines().iter().try_for_each(|line| out.line(&clean_end(line)))?;
        }
    }
    if !out.json() {
        let count = |level| found.iter().filter(|finding| finding.level == level).count();
        let (errors, warnings, hints) = (count(Level::Error), count(Level::Warning), count(Level::Hint));
        out.line("")?;
        out.line(&format!("errors: {errors}, warnings: {warnings}, hints: {hints}"))?;
    }
    let is_bad = found.iter().any(|finding| finding.level <= Level::Warning);
    Ok(if is_bad { Exit::No } else { Exit::Yes })
}

/// The commands that route the self-test to its socket; none where main.cf has the route. `directory` is that of
/// `--postfix-config`.
///
/// # Errors
/// Postfix cannot be asked, or a sentence where no route leads there.
pub fn selftest_route(config: &Config, directory: Option<&Path>) -> Result<Vec<String>, Failure> {
    let postfix = Postfix::at(directory);
    let now = postfix.configuration()?;
    let changes = lines::selftest(&now, &Ours { config }, &postfix.directory(&now));
    let changes = changes.map_err(|problem| Failure::new(Exit::Config, problem))?;
    Ok(lines::commands(&changes, directory, now.version))
}

/// What needs no socket.
fn findings(asked: &Asked<'_>, lookup: return_path::Lookup<'_>) -> Vec<Finding> {
    let mut found = attached::findings(asked);
    found.extend(failure::findings(asked));
    found.extend(settings::findings(asked));
    found.extend(return_path::findings(asked, lookup));
    found
}

/// A line with its indent, made fit for a terminal.
fn clean_end(line: &str) -> String {
    let text = line.trim_start();
    format!("{}{}", &line[..line.len() - text.len()], clean(text))
}

/// The directory of `--postfix-config`: the commands hold wherever they are pasted.
///
/// # Errors
/// Nobody can tell where we are.
pub fn absolute(directory: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    let named = |error: io::Error| Failure::new(Exit::NoInput, format!("--postfix-config: {error}"));
    directory.map(std::path::absolute).transpose().map_err(named)
}

fn config(file: &Path) -> Result<Config, Failure> {
    Config::read(file).map_err(|error| Failure::new(Exit::Config, error.to_string()))
}
