//! The command line. backstopctl(1) has a synopsis made from it (`make man`), and a test finds what the page lacks.

mod postfix;
mod selftest;
mod store;

pub use postfix::{PostfixArguments, PostfixCommand};
pub use selftest::SelftestArguments;
pub use store::{BackupArguments, DbCommand, STORE, UpkeepArguments};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Where the daemon listens if nothing else is said.
const SOCKET: &str = "/run/backstop/admin.sock";
/// The variable that says otherwise.
const SOCKET_VARIABLE: &str = "BACKSTOP_SOCKET";

/// Asks and corrects backstopd: who must not be mailed, why, since when.
#[derive(Debug, Parser)]
#[command(name = "backstopctl", version, disable_help_subcommand = true)]
pub struct Arguments {
    /// The daemon's admin socket [default: $BACKSTOP_SOCKET, else /run/backstop/admin.sock]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true, visible_alias = "jsonl")]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The socket to use.
    pub fn socket(&self) -> PathBuf {
        let told = self.socket.clone().or_else(|| std::env::var_os(SOCKET_VARIABLE).map(PathBuf::from));
        told.filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from(SOCKET))
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// How the daemon is: counters, last events, alerts, store
    Status,
    /// May this contact be mailed; if not, why, since when, on whose word
    Show {
        /// The contact
        #[arg(value_name = "ADDR")]
        address: String,
    },
    /// Why this contact may or may not be mailed, on what evidence, and what would release it
    Explain {
        /// The contact
        #[arg(value_name = "ADDR")]
        address: String,
        /// For mail of this list
        #[arg(long, value_name = "LIST")]
        list: Option<String>,
        /// For mail of the list of this campaign, as far as the contact's record names it
        #[arg(long, value_name = "ID")]
        campaign: Option<String>,
    },
    /// Everybody who is suppressed
    List(ListArguments),
    /// Which of these addresses must not be mailed
    Check(CheckArguments),
    /// Keep campaign mail from a contact
    Suppress(ChangeArguments),
    /// Let a contact be mailed again
    Reactivate(ChangeArguments),
    /// Undo one event: it counts as if it had never been
    Undo {
        /// The event's id, as `events --json` and `show --json` tell it
        #[arg(value_name = "EVENT")]
        event: String,
        /// Why; kept with the change
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Vouch for responses that nothing vouched for: they count from their own time on
    Confirm(ConfirmArguments),
    /// Erase a person's data; the address stays blocked
    Erase {
        /// The contact
        #[arg(value_name = "ADDR")]
        address: String,
        /// Why, without naming the person; kept
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Keep nothing, not even what blocks the address
        #[arg(long)]
        forget: bool,
        /// Say what would go, and erase nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// A sign of life: the contact opened, clicked, replied, bought
    Activity(ActivityArguments),
    /// What is known of a contact, for campaigns that ask for it: replaces what was known
    Attributes(AttributesArguments),
    /// How many campaign messages a contact gets at most
    Limit(LimitArguments),
    /// Addresses and domains that get no campaign mail
    Blocklist {
        /// What to do with it.
        #[command(subcommand)]
        command: EntriesCommand,
    },
    /// People who want no advertising: addresses, also as hashes
    Robinson {
        /// What to do with it.
        #[command(subcommand)]
        command: EntriesCommand,
    },
    /// Bring a list along: suppressions of another sender, a blocklist, a Robinson list
    Import(ImportArguments),
    /// Every import
    Batches(BatchesArguments),
    /// Take an import back, whole
    Revert {
        /// The batch, as `import` and `batches` tell it
        #[arg(value_name = "BATCH")]
        batch: String,
        /// Why; kept with the change
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Say what would go, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Everybody who is suppressed, for other programs
    Export(ExportArguments),
    /// What mails say, and of whom; without the daemon, stores nothing
    Classify {
        /// Mails; `-` reads one from standard input
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Rules of your own, over the compiled-in ones
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
        /// Dialects of your own, ahead of the compiled-in ones
        #[arg(long, value_name = "DIR")]
        dialects: Option<PathBuf>,
    },
    /// Hand in mails as if they had arrived on the return path
    Ingest {
        /// Mails, mbox files and Maildirs; `-` reads one mail from standard input
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// Begin a mailbox anew that was broken off
        #[arg(long)]
        again: bool,
        /// Why; written to the log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// What happened, oldest first
    Events(EventsArguments),
    /// Who is told what happened: how each hook is, or a try of one
    Hooks {
        /// What to do with them; `list` if nothing is said.
        #[command(subcommand)]
        command: Option<HooksCommand>,
    },
    /// Make every contact record anew from the events
    Rebuild(UpkeepArguments),
    /// Copy the store while the daemon serves, to be restored with `db restore`
    Backup(BackupArguments),
    /// The store itself
    Db {
        /// What to do with it.
        #[command(subcommand)]
        command: DbCommand,
    },
    /// How many bounces suppress, and for how long
    Policy {
        /// What to do with it.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// How Backstop is attached to the Postfix of this host; without the daemon
    Postfix {
        /// What to say of it.
        #[command(subcommand)]
        command: PostfixCommand,
    },
    /// Every campaign with its figures, that heard of last first
    Campaigns(CampaignsArguments),
    /// What a campaign did, or all of them by provider or day: bounces, complaints, skips
    Report(ReportArguments),
    /// How it goes, now: rates out and in, skips, alerts, last events
    Top(TopArguments),
    /// Test mail through this host's Postfix and back, to addresses that end here; each step with a tick
    Selftest(SelftestArguments),
    /// The keys that sign return paths; without the daemon
    Keys {
        /// What to do with them.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// The token of a signed return path; without the daemon
    Token {
        /// What to do with it.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// The table of bounce codes
    Codes(ListOutput),
    /// A script that completes commands and options in a shell
    Completions {
        /// bash, zsh or fish
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// The rules that judge replies
    Rules {
        /// What to do with them.
        #[command(subcommand)]
        command: RulesCommand,
    },
}

/// Shells that completions can be made for.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Shell {
    /// For `/usr/share/bash-completion/completions/backstopctl`
    Bash,
    /// For `/usr/share/zsh/site-functions/_backstopctl`
    Zsh,
    /// For `/usr/share/fish/vendor_completions.d/backstopctl.fish`
    Fish,
}

/// Where the keys are if nothing else is said.
const KEYS: &str = "/etc/backstop/keys";

/// What to do with the keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Every key, the newest last: which signs, which proves, which is retired
    List {
        /// Where the keys are
        #[arg(long, value_name = "DIR", default_value = KEYS)]
        directory: PathBuf,
        /// How it is printed.
        #[command(flatten)]
        output: ListOutput,
    },
    /// Make a key; it signs from the daemon's next reload on, and all others go on proving
    New {
        /// Where the keys are
        #[arg(long, value_name = "DIR", default_value = KEYS)]
        directory: PathBuf,
        /// Say which key would be made, and make none
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a key, and retire those that were replaced so long ago that all their tokens are too old
    Rotate {
        /// Where the keys are
        #[arg(long, value_name = "DIR", default_value = KEYS)]
        directory: PathBuf,
        /// Days after which a token is too old, as authority.max_age_days
        #[arg(long, value_name = "N", default_value = "35")]
        max_age_days: u16,
        /// Retire every other key now: one has become known to somebody
        #[arg(long)]
        at_once: bool,
        /// Say which key would be made and which retired, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What to do with a token.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// What a token says, and whether it is ours
    Decode {
        /// The token, or the address it stands in
        #[arg(value_name = "TOKEN")]
        token: String,
        /// Where the keys are
        #[arg(long, value_name = "DIR", default_value = KEYS)]
        directory: PathBuf,
        /// Say whether it is bound to this recipient
        #[arg(long, value_name = "ADDR")]
        recipient: Option<String>,
    },
}

/// What to do with the policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// The table in force: the profile's, with the changes in backstop.toml
    Show(ListOutput),
}

/// What to do with the hooks.
#[derive(Debug, Subcommand)]
pub enum HooksCommand {
    /// Every hook: what it told last, what waits and why
    List,
    /// Tell a hook something now, and say what came of it
    Test {
        /// The hook's name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Give up the one notice that waits, so that those behind it are told
    Skip {
        /// The hook's name
        #[arg(value_name = "NAME")]
        name: String,
        /// Why; kept in the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Say which it is, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// What to do with the rules.
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Run the samples of a rule file through the whole rule set
    Test {
        /// The rule file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Every rule, in the order they are asked
    List {
        /// Rules of your own, over the compiled-in ones
        #[arg(long, value_name = "DIR")]
        rules: Option<PathBuf>,
        /// How it is printed.
        #[command(flatten)]
        output: ListOutput,
    },
}

/// What to do with one of the operator's lists.
#[derive(Debug, Subcommand)]
pub enum EntriesCommand {
    /// Every entry
    List(EntriesListArguments),
    /// Put entries on it
    Add(EntriesArguments),
    /// Take entries off it
    Remove(EntriesArguments),
}

/// Entries of one of the operator's lists.
#[derive(Debug, Args)]
pub struct EntriesArguments {
    /// Addresses, domains (blocklist), hashes (Robinson list); `-` reads them from standard input, one a line
    #[arg(value_name = "ENTRY", required = true)]
    pub entries: Vec<String>,
    /// Why; kept with the change
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Which responses to vouch for.
#[derive(Debug, Args)]
pub struct ConfirmArguments {
    /// Ids of the events, as `events --json` and `show --json` tell them
    #[arg(value_name = "EVENT", required_unless_present_any = ["since", "until", "domain", "authority"],
          conflicts_with_all = ["since", "until", "domain", "authority"])]
    pub events: Vec<String>,
    /// Why; kept with the change
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// All unverified ones from this time, or from this long ago
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// All unverified ones before this time, or before this long ago
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// All unverified ones of contacts of this domain
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// `unverified`: all there are
    #[arg(long, value_name = "AUTHORITY", value_parser = ["unverified"])]
    pub authority: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A sign of life.
#[derive(Debug, Args)]
pub struct ActivityArguments {
    /// The contact; `-` reads JSON from standard input, one object a line: address, level, campaign, at
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// 0 to 5, or machine-open, open, click, human-click, reply, purchase
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,
    /// The campaign it answers
    #[arg(long, value_name = "ID")]
    pub campaign: Option<String>,
    /// When it was, if not now
    #[arg(long, value_name = "WHEN")]
    pub at: Option<String>,
    /// Why it is told by hand; kept with it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Say what would be recorded, and record nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What is known of a contact.
#[derive(Debug, Args)]
pub struct AttributesArguments {
    /// The contact
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// All that is known of it
    #[arg(value_name = "NAME=VALUE", required_unless_present = "clear", conflicts_with = "clear")]
    pub attributes: Vec<String>,
    /// Nothing is known of it
    #[arg(long)]
    pub clear: bool,
    /// Why; kept with the change
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A contact's own message limit.
#[derive(Debug, Args)]
pub struct LimitArguments {
    /// The contact
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// At most so many messages in so long, as 2/1d or 5/1w; `none`: no limit of its own
    #[arg(value_name = "N/WINDOW")]
    pub limit: String,
    /// Why; kept with the change
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Which list to bring along.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The list; `-` is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// It is a blocklist
    #[arg(long, conflicts_with = "robinson")]
    pub blocklist: bool,
    /// It is a Robinson list
    #[arg(long)]
    pub robinson: bool,
    /// Its format, where the first line does not tell
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Why; kept with the batch
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Read and check all of it, and import nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What to export, and how.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// suppressions, blocklist, robinson, or all, which no import reads
    #[arg(long, value_name = "WHAT", default_value = "suppressions")]
    pub what: String,
    /// As CSV, not as one JSON object a line
    #[arg(long)]
    pub csv: bool,
    /// Only these columns of CSV, in this order, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "csv")]
    pub columns: Vec<String>,
    /// Hashes instead of addresses: sha256, sha1 or md5
    #[arg(long, value_name = "HASH")]
    pub hashed: Option<String>,
    /// Put this before each address that is hashed, with sha256
    #[arg(long, value_name = "SALT", requires = "hashed")]
    pub salt: Option<String>,
}

/// Which suppressions to list.
#[derive(Debug, Args)]
pub struct ListArguments {
    /// `system`, or the id of a list
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
    /// failed, invalid, complaint, rejected, transient, unknown or blocked
    #[arg(long, value_name = "CATEGORY")]
    pub category: Option<String>,
    /// Only contacts of this domain
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Suppressed since this time, or within this long
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Suppressed before this time, or longer ago than this
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// At most this many contacts
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// How it is printed.
    #[command(flatten)]
    pub output: ListOutput,
}

/// How a list is printed.
#[derive(Debug, Default, Args)]
pub struct ListOutput {
    /// Print CSV
    #[arg(long)]
    pub csv: bool,
    /// Only these columns, in this order: names as in CSV, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// Whom to check.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Addresses; `-` reads them from standard input, one a line
    #[arg(value_name = "ADDR", required_unless_present = "file", conflicts_with = "file")]
    pub addresses: Vec<String>,
    /// A whole list that is to be mailed, of any length: prints only whom it must not be mailed to; `-` is standard
    /// input
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The column that holds the addresses, where the header does not tell
    #[arg(long, value_name = "NAME", requires = "file")]
    pub column: Option<String>,
    /// Write the records of those who may be mailed to this file, as they came
    #[arg(long, value_name = "FILE", requires = "file")]
    pub keep: Option<PathBuf>,
    /// Check for mail of this list, too
    #[arg(long, value_name = "LIST")]
    pub list: Option<String>,
    /// How it is printed.
    #[command(flatten)]
    pub output: ListOutput,
}

/// Which imports.
#[derive(Debug, Args)]
pub struct BatchesArguments {
    /// Since this time, or within this long
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Before this time, or longer ago than this
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// How it is printed.
    #[command(flatten)]
    pub output: ListOutput,
}

/// Which entries.
#[derive(Debug, Args)]
pub struct EntriesListArguments {
    /// Only entries of this domain
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Put there since this time, or within this long
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Put there before this time, or longer ago than this
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// How it is printed.
    #[command(flatten)]
    pub output: ListOutput,
}

/// Which events.
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// From this time, this long ago, or behind this event id
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Before this time, or longer ago than this
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub until: Option<String>,
    /// Wait for what happens next, also when backstopd is restarted; without --since, only that
    #[arg(long)]
    pub follow: bool,
    /// How it is printed.
    #[command(flatten)]
    pub output: ListOutput,
}

/// Which campaigns.
#[derive(Debug, Args)]
pub struct CampaignsArguments {
    /// Of which anything happened since this time, or within this long
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Of which anything happened before this time, or before this long ago
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// At most this many campaigns
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub limit: Option<u64>,
    /// How it is printed.
    #[command(flatten)]
    pub output: ListOutput,
}

/// Which report.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// The campaign's id; without one, all campaigns together, by --provider or --day
    #[arg(
        value_name = "CAMPAIGN",
        required_unless_present_any = ["provider", "day"],
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    pub campaign: Option<String>,
    /// What came back from each contact, instead of the figures
    #[arg(long, requires = "campaign", conflicts_with_all = ["provider", "day"])]
    pub responses: bool,
    /// By mailbox provider
    #[arg(long, conflicts_with = "day")]
    pub provider: bool,
    /// By day (UTC)
    #[arg(long)]
    pub day: bool,
    /// All campaigns from the day of this time on, or of this long ago; else the last 30 days
    #[arg(long, value_name = "WHEN", conflicts_with = "campaign")]
    pub since: Option<String>,
    /// All campaigns up to this time, or to this long ago; whole days count
    #[arg(long, value_name = "WHEN", conflicts_with = "campaign")]
    pub until: Option<String>,
    /// How it is printed.
    #[command(flatten)]
    pub output: ListOutput,
    /// Write all of it as one page for a browser to this file; `-` is standard output
    #[arg(long, value_name = "FILE", requires = "campaign",
          conflicts_with_all = ["responses", "csv", "columns", "json", "provider", "day"])]
    pub html: Option<PathBuf>,
}

/// How to watch.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// Print one frame and end
    #[arg(long)]
    pub once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub interval: u64,
}

/// A person's word on a contact.
#[derive(Debug, Args)]
pub struct ChangeArguments {
    /// The contact
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// Why; kept with the change
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Only for this list, not system-wide
    #[arg(long, value_name = "LIST")]
    pub list: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_and_behind_the_subcommand() {
        for line in ["backstopctl --json --socket /x status", "backstopctl status --socket /x --json"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).expect(line);
            assert!(arguments.json, "{line}");
            assert_eq!(arguments.socket(), PathBuf::from("/x"), "{line}");
        }
    }

    #[test]
    fn a_change_wants_a_reason() {
        assert!(Arguments::try_parse_from(["backstopctl", "suppress", "joe@example.org"]).is_err());
    }
}
