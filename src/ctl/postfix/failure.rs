//! What Postfix does while Backstop does not answer: default action, timeouts, protocol.

use super::attached::Asked;
use super::configuration::Version;
use super::finding::{Finding, Level};
use super::lines::{Change, attach, chroot_of};
use super::milter::{Milter, Whose};
use super::value::{elements, seconds};
use crate::milter::negotiation::VERSION;
use crate::outbound::SkipAction;

/// A setting that one of our elements is to have.
type Wanted = (&'static str, String);

/// Everything about one of our elements; the same finding of both lists is told once.
///
/// A list is written as a whole, so the commands of a finding also make what those that are as bad or worse want of it:
/// who pastes one after the other loses nothing.
pub fn findings(asked: &Asked<'_>) -> Vec<Finding> {
    let postfix = asked.postfix;
    let mut found: Vec<(Finding, Option<Wanted>)> = Vec::new();
    for (list, program) in super::lines::LISTS {
        let of_main = (postfix.value(list), chroot_of(postfix, program, list));
        let own = postfix.running(program).filter(|service| service.own(list).is_some());
        let own = own.map(|service| (postfix.of(service, list), service.chroot));
        for (value, chroot) in std::iter::once(of_main).chain(own) {
            for (milter, whose) in asked.ours.list(&value, postfix, chroot) {
                if whose != Whose::Ours {
                    continue;
                }
                for finding in of_milter(asked, &milter) {
                    if !found.contains(&finding) {
                        found.push(finding);
                    }
                }
            }
        }
    }
    let wanted: Vec<(Level, Wanted)> =
        found.iter().filter_map(|(finding, wanted)| Some((finding.level, wanted.clone()?))).collect();
    let mend = |(finding, wants): (Finding, Option<Wanted>)| match wants {
        None => finding,
        Some(_) => {
            let these = wanted.iter().filter(|(level, _)| *level <= finding.level).map(|(_, wanted)| wanted);
            let changes = with_settings(asked, &these.collect::<Vec<_>>());
            asked.mended(finding, &changes)
        }
    };
    found.into_iter().map(mend).collect()
}

/// A setting of a milter: its own, or else that of all. Also whether somebody chose it.
fn setting(asked: &Asked<'_>, milter: &Milter, name: &str) -> (String, bool) {
    let global = format!("milter_{name}");
    match milter.setting(name).filter(|_| asked.postfix.version >= Version::BRACES) {
        Some(own) => (own.to_owned(), true),
        None => (asked.postfix.value(&global), asked.postfix.is_set(&global)),
    }
}

/// The changes that give each of our elements these settings; before Postfix 3.0, that give them to all milters. They
/// begin with the lists as they are once Backstop stands where it should.
fn with_settings(asked: &Asked<'_>, wanted: &[&Wanted]) -> Vec<Change> {
    if asked.postfix.version < Version::BRACES {
        let of_all = |(name, value): &&Wanted| Change::Set(format!("milter_{name}"), value.clone());
        return wanted.iter().map(of_all).collect();
    }
    let mut postfix = asked.postfix.clone();
    if let Ok(plan) = attach(&postfix.clone(), &asked.ours, asked.config_directory) {
        plan.changes.iter().for_each(|change| change.apply(&mut postfix));
    }
    let mut changes = Vec::new();
    for (parameter, raw) in postfix.set() {
        let new = replaced(asked, raw, wanted);
        changes.extend(new.map(|new| Change::Set(parameter.to_owned(), new)));
    }
    for service in &postfix.services {
        for (list, _) in super::lines::LISTS {
            let new = service.own(list).and_then(|own| replaced(asked, own, wanted));
            changes.extend(new.map(|new| Change::Service(service.id(), list.to_owned(), new)));
        }
    }
    changes
}

fn replaced(asked: &Asked<'_>, list: &str, wanted: &[&Wanted]) -> Option<String> {
    let mut new = list.to_owned();
    for element in elements(list).into_iter().filter(|one| asked.ours.is_meant(one, asked.postfix)) {
        let has = Milter::read(element);
        let lacks: Vec<_> = wanted.iter().filter(|(name, value)| has.setting(name) != Some(value)).collect();
        if lacks.is_empty() {
            continue;
        }
        let inner = element.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(element);
        let others = elements(inner).into_iter().filter(|part| {
            let bare = part.trim_start_matches('{').trim_start();
            bare.split_once('=').is_none_or(|(own, _)| lacks.iter().all(|(name, _)| own.trim() != *name))
        });
        let settings = lacks.iter().map(|(name, value)| format!("{name}={value}"));
        let parts: Vec<String> = others.map(str::to_owned).chain(settings).collect();
        new = new.replacen(element, &format!("{{ {} }}", parts.join(", ")), 1);
    }
    (new != list).then_some(new)
}

/// What is said of one of our elements, and the setting that mends it.
fn of_milter(asked: &Asked<'_>, milter: &Milter) -> Vec<(Finding, Option<Wanted>)> {
    let mut found = vec![default_action(asked, milter)];
    found.extend(protocol(asked, milter));
    found.extend(timeouts(asked, milter));
    found
}

fn default_action(asked: &Asked<'_>, milter: &Milter) -> (Finding, Option<Wanted>) {
    const CHECK: &str = "default-action";
    let (action, chosen) = setting(asked, milter, "default_action");
    let wanted = asked.ours.default_action();
    let what = if chosen {
        format!("while Backstop does not answer, Postfix does: {action}")
    } else {
        format!("no default_action is set for Backstop, and Postfix's own is {action}")
    };
    let finding = |level, left: &str| {
        (Finding::new(level, CHECK, what.clone(), left), Some(("default_action", wanted.to_owned())))
    };
    match action.as_str() {
        action if action == wanted => (Finding::ok(CHECK, what), None),
        "tempfail" => {
            let left = "no mail is taken by SMTP while backstopd is down: clients get 451 and come again, sendmail(1) \
                        mail waits. With [outbound] on_error = \"accept\" you said that mail is to flow.";
            finding(if chosen { Level::Hint } else { Level::Warning }, left)
        }
        "accept" => {
            let left = "mail goes out unscreened while backstopd is down, and Postfix's notifications are not \
                        recorded. With [outbound] on_error = \"tempfail\" you said that it is to wait.";
            finding(Level::Hint, left)
        }
        "reject" => finding(Level::Error, "all mail is refused for good (5xx) while backstopd is down or restarts."),
        "quarantine" => finding(
            Level::Warning,
            "all mail goes to the hold queue while backstopd is down, until a person releases it.",
        ),
        "shutdown" => {
            let left = "SMTP sessions are cut off while backstopd is down; where this version of Postfix does not know \
                        it (3.7 does not), it warns and answers 451.";
            finding(Level::Warning, left)
        }
        _ => finding(
            Level::Error,
            "Postfix does not know this action: it warns, and answers 451 while backstopd is down.",
        ),
    }
}

fn protocol(asked: &Asked<'_>, milter: &Milter) -> Option<(Finding, Option<Wanted>)> {
    let (told, _) = setting(asked, milter, "protocol");
    let version: u32 = elements(&told).first()?.parse().ok()?;
    if version >= VERSION {
        return None;
    }
    let sign = asked.ours.config.authority.sign;
    let what = format!("Postfix speaks version {version} of the milter protocol to Backstop, not {VERSION}");
    let left = if sign {
        "return paths cannot be signed, and delivery cannot be asked for: both need version 6."
    } else {
        "delivery cannot be asked for (NOTIFY), and Postfix waits for more answers than it needs to."
    };
    let level = if sign { Level::Error } else { Level::Warning };
    Some((Finding::new(level, "protocol", what, left), Some(("protocol", VERSION.to_string()))))
}

fn timeouts(asked: &Asked<'_>, milter: &Milter) -> Vec<(Finding, Option<Wanted>)> {
    let mut found = Vec::new();
    let told = |name: &str| {
        let (value, _) = setting(asked, milter, name);
        seconds(&value, 's').map(|seconds| (value, seconds))
    };
    let decision = asked.ours.config.milter.decision_timeout.as_secs();
    if let Some((value, limit)) = told("content_timeout")
        && limit <= decision
    {
        let what = format!("content_timeout of Backstop is {value}, not above its decision_timeout_secs ({decision})");
        let left = "Postfix gives up on a slow decision before Backstop does, and does what default_action says, for the \
                    rest of the SMTP session.";
        let finding = Finding::new(Level::Warning, "timeout", what, left);
        found.push((finding, Some(("content_timeout", asked.ours.content_timeout()))));
    }
    if asked.ours.config.outbound.action == SkipAction::Reject
        && let Some((value, limit)) = told("command_timeout")
        && limit < 5
    {
        let what = format!("command_timeout of Backstop is {value}, and with action = \"reject\" it answers each RCPT");
        let left = "a busy moment makes Postfix do what default_action says, for the rest of the SMTP session.";
        let finding = Finding::new(Level::Warning, "timeout", what, left);
        found.push((finding, Some(("command_timeout", "30s".to_owned()))));
    }
    if let Some((value, limit)) = told("connect_timeout")
        && limit > 10
    {
        let what = format!("connect_timeout of Backstop is {value}");
        let left = "while backstopd hangs, each SMTP client waits that long for its greeting.";
        let finding = Finding::new(Level::Hint, "timeout", what, left);
        found.push((finding, Some(("connect_timeout", "5s".to_owned()))));
    }
    found
}
