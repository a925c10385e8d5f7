//! `backstopctl`: what an operator types, and what is printed for it.
//!
//! In: the command line ([`Arguments`]). Out: the exit status of SPEC 9. `client` speaks to the daemon;
//! `show`, `explain`, `list`, `change`, `undo`, `confirm`, `entries`, `activity`, `attributes`, `bulk`, `ingest`, `events`, `hooks`, `policy`,
//! `campaigns`, `report`, `top` and `selftest` ask it; `backup` takes a copy from it; `offline`, `keys`, `postfix`, `completions` and most of
//! `db` need no daemon; `part` holds a file until it is whole; `interrupt` catches signals; `table` aligns columns and keeps
//! hostile text from the terminal. Answers go to standard output, everything else to standard error.

mod activity;
mod arguments;
mod attributes;
mod backup;
mod bulk;
mod campaigns;
mod change;
mod chart;
mod cleanse;
mod client;
mod completions;
mod confirm;
mod db;
mod entries;
mod events;
mod exit;
mod explain;
mod hooks;
mod ingest;
mod interrupt;
mod keys;
mod list;
mod mailbox;
mod offline;
mod output;
mod part;
mod place;
mod policy;
mod postfix;
mod progress;
mod report;
mod report_html;
mod rows;
mod selftest;
mod show;
mod table;
mod top;
mod undo;
mod when;

pub use arguments::{
    Arguments, Command, DbCommand, EntriesCommand, HooksCommand, KeysCommand, PolicyCommand, PostfixCommand,
    RulesCommand, Shell, TokenCommand,
};
pub use exit::{Exit, Failure};

use clap::Parser;
use client::Client;
use output::Output;
use std::ffi::OsString;

/// Runs `backstopctl` with these arguments, the program's name first, and says how it should exit.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers; everything else is a wrong command line.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Yes };
        }
    };
    let mut out = Output::new(arguments.json);
    let done = dispatch(arguments, &mut out).and_then(|exit| out.flush().map(|()| exit));
    match done {
        Ok(exit) => exit,
        Err(Failure::ReaderGone) => Exit::Yes,
        Err(Failure::Because { exit, message }) => {
            eprintln!("backstopctl: {message}");
            exit
        }
    }
}

fn dispatch(arguments: Arguments, out: &mut Output) -> Result<Exit, Failure> {
    let socket = arguments.socket();
    let client = || Client::new(socket.clone());
    match arguments.command {
        Command::Status => show::status(&client()?, out),
        Command::Show { address } => show::contact(&client()?, &address, out),
        Command::Explain { address, list, campaign } => {
            explain::explain(&client()?, &address, list.as_deref(), campaign.as_deref(), out)
        }
        Command::List(filter) => list::suppressions(&client()?, &filter, out),
        Command::Check(asked) if asked.file.is_some() => cleanse::check(&client()?, &asked, out),
        Command::Check(asked) => list::check(&client()?, asked, out),
        Command::Suppress(change) => change::change(&client()?, "suppress", &change, out),
        Command::Reactivate(change) => change::change(&client()?, "reactivate", &change, out),
        Command::Undo { event, reason, dry_run } => undo::undo(&client()?, &event, &reason, dry_run, out),
        Command::Confirm(asked) => confirm::confirm(&client()?, &asked, out),
        Command::Erase { address, reason, forget, dry_run } => {
            undo::erase(&client()?, &address, &reason, forget, dry_run, out)
        }
        Command::Activity(told) => activity::activity(&client()?, &told, out),
        Command::Attributes(asked) => attributes::attributes(&client()?, &asked, out),
        Command::Limit(asked) => attributes::limit(&client()?, &asked, out),
        Command::Blocklist { command } => entries::entries(&client()?, "blocklist", &command, out),
        Command::Robinson { command } => entries::entries(&client()?, "robinson", &command, out),
        Command::Import(import) => bulk::import(&client()?, &import, out),
        Command::Batches(asked) => bulk::batches(&client()?, &asked, out),
        Command::Revert { batch, reason, dry_run } => bulk::revert(&client()?, &batch, &reason, dry_run, out),
        Command::Export(export) => bulk::export(&client()?, &export, out),
        Command::Backup(asked) => backup::backup(&client()?, &asked, out),
        Command::Db { command: DbCommand::Compact(asked) } => bulk::compact(&client()?, &asked, out),
        Command::Db { command: DbCommand::Restore { file, store } } => db::restore(&file, &store, out),
        Command::Db { command: DbCommand::Verify { file: Some(file), .. } } => db::verify_backup(&file, out),
        Command::Db { command: DbCommand::Verify { file: None, store } } => db::verify(store.as_deref(), out),
        Command::Db { command: DbCommand::Stats { store: Some(store) } } => db::stats_of(&store, out),
        Command::Db { command: DbCommand::Stats { store: None } } => db::stats(&client()?, out),
        Command::Classify { files, rules, dialects } => {
            offline::classify(&files, rules.as_deref(), dialects.as_deref(), out)
        }
        Command::Ingest { paths, again, reason } => ingest::ingest(&client()?, &paths, again, reason.as_deref(), out),
        Command::Events(asked) => events::events(&client()?, &asked, out),
        Command::Hooks { command: None | Some(HooksCommand::List) } => hooks::list(&client()?, out),
        Command::Hooks { command: Some(HooksCommand::Test { name }) } => hooks::test(&client()?, &name, out),
        Command::Hooks { command: Some(HooksCommand::Skip { name, reason, dry_run }) } => {
            hooks::skip(&client()?, &name, &reason, dry_run, out)
        }
        Command::Rebuild(asked) => events::rebuild(&client()?, &asked, out),
        Command::Policy { command: PolicyCommand::Show(asked) } => policy::show(&client()?, &asked, out),
        Command::Postfix { command: PostfixCommand::Print { undo, places } } => postfix::print(&places, undo, out),
        Command::Postfix { command: PostfixCommand::Check(places) } => postfix::check(&places, out),
        Command::Campaigns(asked) => campaigns::campaigns(&client()?, &asked, out),
        Command::Top(asked) => top::top(socket, &asked, out),
        Command::Selftest(asked) => selftest::selftest(&client()?, &asked, out),
        Command::Report(asked) => report::report(&client()?, &asked, out),
        Command::Keys { command } => keys::keys(&command, out),
        Command::Token { command } => keys::token(&command, out),
        Command::Codes(output) => offline::codes(&output, out),
        Command::Completions { shell } => completions::completions(shell, out),
        Command::Rules { command: RulesCommand::Test { file } } => offline::rules_test(&file, out),
        Command::Rules { command: RulesCommand::List { rules, output } } => {
            offline::rules_list(rules.as_deref(), &output, out)
        }
    }
}
