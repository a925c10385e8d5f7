//! The two command lines, as clap knows them.

use super::roff::{literal, mdoc, prose};
use backstop::ctl;
use backstop::ops::options::Options;
use clap::{Arg, ArgAction, Command, CommandFactory};

/// The options of `backstopd`, for man(7).
pub fn options_of_the_daemon() -> String {
    let mut command = Options::command();
    command.build();
    let told = |argument: &Arg| {
        let short = argument.get_short().map_or(String::new(), |short| format!(", \\fB\\-{short}\\fR"));
        let value = value_of(argument).map_or(String::new(), |value| format!(" \\fI{value}\\fR"));
        let long = literal(argument.get_long().expect("every option has a long name"));
        format!(".TP\n\\fB\\-\\-{long}\\fR{short}{value}\n{}", prose(&help(argument)))
    };
    command.get_arguments().map(told).collect()
}

/// How every subcommand of `backstopctl` is used, for mdoc(7).
pub fn synopsis() -> String {
    let used = |(name, command): &(String, Command)| {
        let mut text = format!(".Nm\n.Cm {name}\n");
        for argument in arguments(command) {
            let (bare, required) = (macros(argument), argument.is_required_set());
            text.push_str(&if required { format!(".{bare}\n") } else { format!(".Op {bare}\n") });
        }
        text
    };
    leaves().iter().map(used).collect()
}

/// The page with an entry for each subcommand, and in it a line for each option. What is there stays as it is; what
/// is missing is added with the help that the program gives.
pub fn completed(page: &str) -> Result<String, String> {
    const BEGIN: &str = ".Sh SUBCOMMANDS\n.Bl -tag -width Ds\n";
    let (head, rest) = page.split_once(BEGIN).ok_or("no section SUBCOMMANDS that begins with a list")?;
    let end = rest.find("\n.Sh ").ok_or("nothing follows SUBCOMMANDS")? + 1;
    let (list, tail) = rest[..end].rsplit_once(".El\n").ok_or("the list of SUBCOMMANDS does not end")?;
    let mut entries = entries(list);
    let mut place = 0;
    for (name, command) in leaves() {
        match entries.iter().position(|(known, _)| *known == name) {
            Some(known) => {
                entries[known].1 = with_options(&entries[known].1, &command);
                place = known + 1;
            }
            None => {
                entries.insert(place, (name.clone(), with_options(&opened(&name, &command), &command)));
                place += 1;
            }
        }
    }
    let list: String = entries.into_iter().map(|(_, entry)| entry).collect();
    Ok(format!("{head}{BEGIN}{list}.El\n{tail}{}", &rest[end..]))
}

/// The subcommands that do something, each with its whole name, in the order of the program.
pub fn leaves() -> Vec<(String, Command)> {
    fn under(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let name = format!("{name} {}", subcommand.get_name()).trim().to_owned();
            match subcommand.has_subcommands() {
                true => under(subcommand, &name, found),
                false => found.push((name, subcommand.clone())),
            }
        }
    }
    let mut found = Vec::new();
    under(&ctl::Arguments::command(), "", &mut found);
    found
}

/// The entries of the list, with their names: from one `.It Cm` that is not within a list of its own to the next.
fn entries(list: &str) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut depth = 0;
    for line in list.split_inclusive('\n') {
        if depth == 0 && line.starts_with(".It Cm ") {
            let words = line.trim_end().split(' ').skip(2);
            let name = words.take_while(|word| word.starts_with(|first: char| first.is_ascii_lowercase()));
            entries.push((name.collect::<Vec<_>>().join(" "), String::new()));
        }
        depth += i32::from(line.starts_with(".Bl")) - i32::from(line.starts_with(".El"));
        if let Some((_, entry)) = entries.last_mut() {
            entry.push_str(line);
        }
    }
    entries
}

/// An entry without its options.
fn opened(name: &str, command: &Command) -> String {
    let mut line = format!(".It Cm {name}");
    for argument in arguments(command) {
        let (bare, required) = (macros(argument), argument.is_required_set());
        line.push_str(&if required { format!(" {bare}") } else { format!(" Oo {bare} Oc") });
    }
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    format!("{line}\n{}", mdoc(&sentences(&about)))
}

/// The entry with a line for each option that it does not name.
fn with_options(entry: &str, command: &Command) -> String {
    let named = |long: &str| {
        entry
            .split_whitespace()
            .collect::<Vec<_>>()
            .windows(2)
            .any(|pair| pair[0].ends_with("Fl") && pair[1].trim_start_matches('-') == long)
    };
    let missing: String = arguments(command)
        .filter(|argument| argument.get_long().is_some_and(|long| !named(long)))
        .map(|argument| format!(".It {}\n{}", macros(argument), mdoc(&help(argument))))
        .collect();
    match (missing.is_empty(), entry.strip_suffix(".El\n")) {
        (true, _) => entry.to_owned(),
        (false, Some(open)) => format!("{open}{missing}.El\n"),
        (false, None) => format!("{entry}.Bl -tag -width Ds\n{missing}.El\n"),
    }
}

/// Options in their order, those that must be given first, then the rest of the line.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let own = || command.get_arguments().filter(|argument| !argument.is_global_set() && !argument.is_hide_set());
    let options =
        |required| own().filter(move |argument| !argument.is_positional() && argument.is_required_set() == required);
    options(true).chain(options(false)).chain(own().filter(|argument| argument.is_positional()))
}

/// `Fl -list Ar LIST`.
fn macros(argument: &Arg) -> String {
    let repeated = matches!(argument.get_action(), ArgAction::Append) && argument.get_value_delimiter().is_none();
    let several = if repeated { " ..." } else { "" };
    let value = value_of(argument).unwrap_or_default();
    match argument.get_long() {
        None => format!("Ar {value}{several}"),
        Some(long) if value.is_empty() => format!("Fl -{long}"),
        Some(long) => format!("Fl -{long} Ar {value}{several}"),
    }
}

fn value_of(argument: &Arg) -> Option<String> {
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    takes_value.then(|| argument.get_value_names().map_or(String::new(), |names| names.join(" ")))
}

/// The long help, or where there is none the short one; a sentence or more.
fn help(argument: &Arg) -> String {
    match argument.get_id().as_str() {
        // clap's own words depend on what else there is.
        "help" => return "Print how it is used.".to_owned(),
        "version" => return "Print the version.".to_owned(),
        _ => {}
    }
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    sentences(&help)
}

/// clap takes the stop from the end of a paragraph.
fn sentences(text: &str) -> String {
    let stopped = |text: &str| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.ends_with(['.', ':', '?']) { text } else { format!("{text}.") }
    };
    text.split("\n\n").map(stopped).collect::<Vec<_>>().join(" ")
}
