//! `backstopctl completions`: what a shell needs to complete our commands and options.

use super::arguments::{Arguments, Shell};
use super::exit::{Exit, Failure};
use super::output::Output;
use clap::CommandFactory;
use clap_complete::{generate, shells};

/// Prints the script.
pub fn completions(shell: Shell, out: &mut Output) -> Result<Exit, Failure> {
    let (mut command, mut script) = (Arguments::command(), Vec::new());
    let name = command.get_name().to_owned();
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(shells::Zsh, &mut command, name, &mut script),
        Shell::Fish => generate(shells::Fish, &mut command, name, &mut script),
    }
    out.octets(&script)?;
    Ok(Exit::Yes)
}
