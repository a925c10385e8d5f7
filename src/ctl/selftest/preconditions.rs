//! What must be there before anything is sent: the daemon, Postfix, the route of the test domain, the socket it leads to.

use super::board::{Board, Told};
use super::expect::Setup;
use super::message::address;
use super::postfix::{Destination, Postfix};
use super::simulator::{NoSimulator, Simulator};
use super::stop::Stop;
use super::submit::Session;
use super::trouble;
use crate::admin::wire::{Status, word};
use crate::ctl::arguments::SelftestArguments;
use crate::ctl::client::{Body, Client};
use crate::ctl::exit::{Exit, Failure};
use crate::ctl::output::read;
use crate::ctl::postfix::{SELFTEST_SOCKET, absolute, selftest_route};
use crate::mail::SELFTEST_DOMAIN;
use crate::ops::config::Config;
use nix::unistd::User;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a test needs.
pub struct Ready {
    /// The id of the run.
    pub run: String,
    /// Ends it early.
    pub stop: Stop,
    /// Postfix's programs.
    pub postfix: Postfix,
    /// Postfix's queue directory.
    pub queue_directory: PathBuf,
    /// Where Postfix takes mail.
    pub smtp: SocketAddr,
    /// Longest wait for what must happen.
    pub patience: Duration,
    /// What is in force.
    pub setup: Setup,
    /// The receiving end.
    pub simulator: Simulator,
}

impl Ready {
    /// Looks, and shows each step. An exit status where the test cannot begin; what was shown last says why.
    pub fn look(
        client: &Client,
        asked: &SelftestArguments,
        stop: &Stop,
        run: &str,
        board: &mut Board<'_>,
    ) -> Result<Result<Ready, Exit>, Failure> {
        let mut look = |step: &str, looked: Looked| -> Result<Option<Exit>, Failure> {
            board.show(step, &looked.0)?;
            Ok(looked.1)
        };
        let setup = match client.ask("/v1/status", Body::None) {
            Ok(status) => Setup::of(read::<Status>(&status)?),
            Err(Failure::Because { exit, message }) => {
                look("daemon", daemon_is_away(message, exit))?;
                return Ok(Err(exit));
            }
            Err(gone) => return Err(gone),
        };
        let (version, mode) = (&setup.status.version, word(&setup.status.mode));
        look("daemon", Looked::fine(format!("backstopd {version} answers, mode {mode}")))?;
        if let Err(problem) = &setup.config {
            look("configuration", Looked(Told::Skipped(format!("taken as by default: {problem}")), None))?;
        }
        let patience = Duration::from_secs(asked.timeout);
        let postfix = Postfix::new(absolute(asked.postfix_config.as_deref())?);
        if let Some(exit) = look("postfix", greeting(asked.smtp, patience, stop, &postfix))? {
            return Ok(Err(exit));
        }
        let (queue_directory, route) = match route(&postfix, setup.config()) {
            Ok(found) => found,
            Err(looked) => return Ok(Err(look("route", looked)?.unwrap_or(Exit::Config))),
        };
        let path = queue_directory.join(route.nexthop.trim_start_matches("unix:"));
        let Destination { transport, nexthop, .. } = &route;
        look("route", Looked::fine(format!("mail to {SELFTEST_DOMAIN} goes to {transport}:{nexthop}")))?;
        let owner = postfix.value("mail_owner").ok().and_then(|name| User::from_name(&name).ok().flatten());
        let simulator = match Simulator::start(&path, owner.map(|user| user.uid.as_raw()), run) {
            Ok(simulator) => simulator,
            Err(problem) => return Ok(Err(look("simulator", no_simulator(&problem))?.unwrap_or(Exit::Config))),
        };
        look("simulator", Looked::fine(format!("takes mail on {}", path.display())))?;
        let (run, stop, smtp) = (run.to_owned(), stop.clone(), asked.smtp);
        Ok(Ok(Ready { run, stop, postfix, queue_directory, smtp, patience, setup, simulator }))
    }
}

/// What came of looking, and the exit status if that was the end.
struct Looked(Told, Option<Exit>);

impl Looked {
    fn fine(text: String) -> Looked {
        Looked(Told::Fine(text), None)
    }
}

fn daemon_is_away(message: String, exit: Exit) -> Looked {
    let (cause, look) = match exit {
        Exit::Permission => ("run it as root, or as a member of [admin] write_group", vec!["id".to_owned()]),
        _ => (
            "backstopd does not run, or its admin socket is elsewhere (--socket)",
            vec!["systemctl status backstopd".to_owned(), "journalctl -u backstopd -n 20".to_owned()],
        ),
    };
    Looked(trouble("backstopd answers on its admin socket", message, cause, look), Some(exit))
}

fn greeting(smtp: SocketAddr, patience: Duration, stop: &Stop, postfix: &Postfix) -> Looked {
    let expected = "Postfix greets, and takes mail from this host";
    let look = vec![postfix.command_line("postfix", "status"), "ss -ltnp".to_owned()];
    let refused = |seen: String, cause: &str| {
        let look = [look.clone(), vec!["backstopctl postfix check".to_owned()]].concat();
        Looked(trouble(expected, seen, cause, look), Some(Exit::Unavailable))
    };
    match Session::connect(smtp, patience, stop) {
        Ok(session) if session.greeting.code == 220 => {
            let greeting = session.greeting.text.clone();
            session.quit();
            Looked::fine(format!("answers on {smtp}: {greeting}"))
        }
        Ok(session) => {
            let seen = format!("{smtp}: {}", session.greeting);
            refused(seen, "its milter does not answer and default_action is reject, or the port is not Postfix's")
        }
        Err(error) => refused(format!("{smtp}: {error}"), "Postfix does not run, or takes mail elsewhere (--smtp)"),
    }
}

/// Postfix's queue directory, and where mail to the test domain goes now.
fn route(postfix: &Postfix, ours: &Config) -> Result<(PathBuf, Destination), Looked> {
    let expected = &format!("mail to {SELFTEST_DOMAIN} goes to {SELFTEST_SOCKET}, beside the milter's socket");
    let config = |seen: String, cause: &str, look| Looked(trouble(expected, seen, cause, look), Some(Exit::Config));
    let queue_directory = match postfix.value("queue_directory") {
        Ok(directory) => PathBuf::from(directory),
        Err(problem) => {
            let cause = "Postfix's configuration is not where it usually is (--postfix-config)";
            return Err(config(problem, cause, Vec::new()));
        }
    };
    let destination = match postfix.resolve(&queue_directory, &address("bounce")) {
        Ok(destination) => destination,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let told =
                trouble(expected, format!("Postfix's resolver: {error}"), "only root may ask it: run as root", vec![]);
            return Err(Looked(told, Some(Exit::Permission)));
        }
        Err(error) => {
            let cause = "Postfix does not run with this configuration (--postfix-config)";
            return Err(config(
                format!("Postfix's resolver: {error}"),
                cause,
                vec![postfix.command_line("postfix", "status")],
            ));
        }
    };
    if destination.nexthop.strip_prefix("unix:").is_some_and(|path| path.ends_with(SELFTEST_SOCKET)) {
        return Ok((queue_directory, destination));
    }
    let seen = format!("it would go to {}:{}; nothing was sent", destination.transport, destination.nexthop);
    Err(match selftest_route(ours, postfix.directory()) {
        Ok(add) if add.is_empty() => {
            let cause =
                "main.cf has the route, and the running Postfix does not know it yet, or another map goes before it";
            config(seen, cause, vec![postfix.command_line("postfix", "reload")])
        }
        Ok(add) => config(seen, "the route of the test domain is missing; add it once, it does no harm", add),
        Err(Failure::Because { message, .. }) => config(seen, &message, vec!["backstopctl postfix check".to_owned()]),
        Err(Failure::ReaderGone) => config(seen, "postconf(1) does not answer", Vec::new()),
    })
}

fn no_simulator(problem: &NoSimulator) -> Looked {
    let expected = "the socket to which Postfix hands the test mail can be made";
    let (cause, exit) = match problem {
        NoSimulator::Taken(_) => ("wait until it has ended", Exit::Unavailable),
        NoSimulator::Io(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
            ("only root, and the owner of the directory, may make it: run as root", Exit::Permission)
        }
        NoSimulator::Io(_, error) if error.kind() == io::ErrorKind::NotFound => {
            ("the directory is missing; it is that of the milter's socket", Exit::Config)
        }
        NoSimulator::Io(..) => ("see what stands in its place", Exit::Config),
    };
    Looked(trouble(expected, problem.to_string(), cause, vec!["backstopctl postfix check".to_owned()]), Some(exit))
}
