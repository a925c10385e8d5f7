//! The lines that attach Backstop to this Postfix, and those that take it off again, as commands for a shell.
//!
//! In: the configuration as it is, and ours. Out: [`Change`]s; those that are made already are left out. Each can be
//! applied to a [`Configuration`], so that what comes next is judged by what it will be.

use super::configuration::{Configuration, Service, Version};
use super::milter::{Milter, Ours, Whose, spelled};
use super::value::{compact, elements, quoted, with_first, with_last, without};
use crate::mail::SELFTEST_DOMAIN;
use crate::milter::ListenAddress;
use std::path::Path;

/// The socket of the self-test, beside that of the milter.
pub const SELFTEST_SOCKET: &str = "selftest.sock";
/// The parameters that name milters.
pub const LISTS: [(&str, &str); 2] = [("smtpd_milters", "smtpd"), ("non_smtpd_milters", "cleanup")];

/// One thing to change in Postfix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A parameter of main.cf gets a value.
    Set(String, String),
    /// A parameter goes from main.cf, because its default is what is left of it.
    Reset(String),
    /// A service of master.cf gets a value of its own: the service, the parameter, the value.
    Service(String, String, String),
    /// Something else, as a command.
    Command(String),
}

impl Change {
    /// Makes it.
    pub fn apply(&self, postfix: &mut Configuration) {
        match self {
            Change::Set(name, value) => postfix.change(name, Some(value)),
            Change::Reset(name) => postfix.change(name, None),
            Change::Service(service, name, value) => postfix.change_service(service, name, value),
            Change::Command(_) => {}
        }
    }
}

/// What is to be done, and what is to be known about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub changes: Vec<Change>,
    /// Sentences.
    pub notes: Vec<String>,
}

/// The changes as commands, `postfix reload` last; none if nothing is to be changed. `directory` is that of
/// `--postfix-config`.
pub fn commands(changes: &[Change], directory: Option<&Path>, version: Version) -> Vec<String> {
    if changes.is_empty() {
        return Vec::new();
    }
    let postconf = tool("postconf", directory);
    let command = |change: &Change| match change {
        Change::Set(name, value) => format!("{postconf} -e {}", quoted(&format!("{name} = {value}"))),
        // -X came with 2.10.
        Change::Reset(name) if version < (Version { major: 2, minor: 10 }) => format!("{postconf} -e '{name} ='"),
        Change::Reset(name) => format!("{postconf} -X {name}"),
        // -P came with 2.11, and takes no value with a blank in it.
        Change::Service(service, name, value) => {
            format!("{postconf} -P {}", quoted(&format!("{service}/{name}={}", compact(value))))
        }
        Change::Command(command) => command.clone(),
    };
    changes.iter().map(command).chain([format!("{} reload", tool("postfix", directory))]).collect()
}

/// A program of Postfix, with the option that names its configuration.
pub fn tool(name: &str, directory: Option<&Path>) -> String {
    match directory {
        Some(directory) => format!("{name} -c {}", quoted(&directory.display().to_string())),
        None => name.to_owned(),
    }
}

/// What attaches Backstop.
///
/// # Errors
/// A sentence, where Postfix cannot reach any of our listeners.
pub fn attach(postfix: &Configuration, ours: &Ours<'_>, directory: &Path) -> Result<Plan, String> {
    let element = ours.element(postfix)?;
    let mut after = postfix.clone();
    let mut plan = Plan::default();
    let mut make = |change: Change, after: &mut Configuration| {
        change.apply(after);
        plan.changes.push(change);
    };
    // A list that refers to the other one is complete once that is.
    let refers = elements(postfix.raw("smtpd_milters")).iter().any(|element| element.contains("non_smtpd_milters"));
    let lists = if refers { [LISTS[1], LISTS[0]] } else { LISTS };
    for (name, program) in lists {
        let chroot = chroot_of(postfix, program, name);
        let list = ours.list(&after.value(name), &after, chroot);
        if is_first(&list) {
            continue;
        }
        let raw = after.raw(name).to_owned();
        let meant = |element: &str| ours.is_meant(element, postfix);
        // Behind the signer it comes to the front as it is; astray it is written anew.
        let here = elements(&raw).into_iter().find(|one| is_ours(&ours.list(one, postfix, chroot)));
        let element = here.map_or(element.clone(), str::to_owned);
        let rest = without(&raw, meant).unwrap_or(raw.clone());
        make(Change::Set(name.to_owned(), with_first(&element, &rest)), &mut after);
    }
    for (name, program) in LISTS {
        for service in postfix.running(program) {
            let Some(own) = service.own(name) else { continue };
            if is_first(&ours.list(&after.of(service, name), &after, service.chroot)) || is_left_out(&after, service) {
                continue;
            }
            let rest = without(own, |element| ours.is_meant(element, postfix)).unwrap_or(own.to_owned());
            let value = compact(&with_first(&element, &rest));
            make(Change::Service(service.id(), name.to_owned(), value), &mut after);
        }
    }
    let classes = postfix.raw("internal_mail_filter_classes");
    if !has_bounce(&postfix.value("internal_mail_filter_classes")) {
        make(Change::Set("internal_mail_filter_classes".to_owned(), with_last(classes, "bounce")), &mut after);
    }
    if postfix.version < Version::BRACES {
        for (name, value) in [("milter_default_action", ours.default_action()), ("milter_connect_timeout", "5s")] {
            if postfix.value(name) != value {
                make(Change::Set(name.to_owned(), value.to_owned()), &mut after);
                plan.notes.push(format!("before Postfix 3.0, {name} holds for every milter, not only for Backstop"));
            }
        }
    }
    match selftest(postfix, ours, directory) {
        Ok(changes) => changes.into_iter().for_each(|change| plan.changes.push(change)),
        Err(problem) => plan.notes.push(problem),
    }
    Ok(plan)
}

/// What takes our parts out again, and leaves all else as it is.
pub fn detach(postfix: &Configuration, ours: &Ours<'_>, directory: &Path) -> Plan {
    let mut plan = Plan::default();
    let mut after = postfix.clone();
    let meant = |element: &str| ours.is_meant(element, postfix);
    // Also a parameter of the operator's own that a list refers to.
    for (name, value) in postfix.set() {
        if let Some(left) = without(value, meant) {
            plan.changes.push(left_of(name, left));
        }
    }
    for service in &postfix.services {
        for (name, _) in LISTS {
            if let Some(left) = service.own(name).and_then(|own| without(own, meant)) {
                plan.changes.push(Change::Service(service.id(), name.to_owned(), left));
            }
        }
    }
    let was_attached = !plan.changes.is_empty();
    plan.changes.iter().for_each(|change| change.apply(&mut after));
    let bounce = |class: &str| class.eq_ignore_ascii_case("bounce");
    if was_attached && let Some(left) = without(postfix.raw("internal_mail_filter_classes"), bounce) {
        plan.changes.push(left_of("internal_mail_filter_classes", left));
        if !after.value("non_smtpd_milters").trim().is_empty() {
            let note = "other milters see Postfix's notifications no more; if they did before Backstop came, leave the \
                        line internal_mail_filter_classes out";
            plan.notes.push(note.to_owned());
        }
    }
    if let Some(left) = without(postfix.raw("transport_maps"), |table| is_selftest(table, directory)) {
        plan.changes.push(left_of("transport_maps", left));
        if postfix.version < Version::BRACES {
            let table = selftest_table(directory);
            plan.changes.push(Change::Command(format!("rm -f {table} {table}.db")));
        }
    }
    if was_attached && postfix.version < Version::BRACES {
        let note = "milter_default_action and milter_connect_timeout stay: what they were before is not known";
        plan.notes.push(note.to_owned());
    }
    plan
}

fn left_of(name: &str, left: String) -> Change {
    if left.is_empty() { Change::Reset(name.to_owned()) } else { Change::Set(name.to_owned(), left) }
}

/// Whether a program of Postfix that takes its list from main.cf runs in a chroot.
pub fn chroot_of(postfix: &Configuration, program: &str, list: &str) -> bool {
    postfix.running(program).any(|service| service.own(list).is_none() && service.chroot)
}

/// Whether ours is in the list.
pub fn is_ours(list: &[(Milter, Whose)]) -> bool {
    list.iter().any(|(_, whose)| *whose == Whose::Ours)
}

/// Whether ours is in the list, once, and nobody who signs stands ahead of it.
pub fn is_first(list: &[(Milter, Whose)]) -> bool {
    let ours = list.iter().filter(|(_, whose)| *whose == Whose::Ours).count();
    ours == 1 && signer_ahead(list).is_none()
}

/// Who signs before ours is asked.
pub fn signer_ahead(list: &[(Milter, Whose)]) -> Option<&'static str> {
    list.iter().take_while(|(_, whose)| *whose != Whose::Ours).find_map(|(milter, _)| milter.signer())
}

/// Whether a service asks no milter on purpose: a filter hands back to it, or it hands on to one.
pub fn is_left_out(postfix: &Configuration, service: &Service) -> bool {
    let own_list_is_empty = LISTS.iter().any(|(name, _)| service.own(name).is_some_and(|own| own.trim().is_empty()));
    (service.is_loopback() && own_list_is_empty)
        || asks_no_milter(postfix, service)
        || !postfix.of(service, "smtpd_proxy_filter").is_empty()
}

/// Whether a service is told to ask no milter.
pub fn asks_no_milter(postfix: &Configuration, service: &Service) -> bool {
    elements(&postfix.of(service, "receive_override_options")).contains(&"no_milters")
}

/// Whether Postfix shows its own notifications.
pub fn has_bounce(classes: &str) -> bool {
    elements(classes).iter().any(|class| class.eq_ignore_ascii_case("bounce"))
}

fn selftest_table(directory: &Path) -> String {
    quoted(&directory.join("backstop-selftest").display().to_string())
}

/// Whether this table routes the self-test.
fn is_selftest(table: &str, directory: &Path) -> bool {
    table.starts_with("inline:") && table.contains(SELFTEST_DOMAIN)
        || table == format!("hash:{}", directory.join("backstop-selftest").display())
}

/// What routes the self-test to its socket; nothing where main.cf has the route.
///
/// # Errors
/// A sentence, where lmtp(8) cannot reach a socket beside the milter's.
pub fn selftest(postfix: &Configuration, ours: &Ours<'_>, directory: &Path) -> Result<Vec<Change>, String> {
    let transports = postfix.raw("transport_maps");
    if elements(transports).iter().any(|table| is_selftest(table, directory)) {
        return Ok(Vec::new());
    }
    let (ListenAddress::Unix(milter), _) = ours.listener(postfix)? else {
        return Err("the self-test has its socket beside that of the milter, and [milter] listen names none".to_owned());
    };
    let socket = milter.with_file_name(SELFTEST_SOCKET);
    let chroot = postfix.running("lmtp").any(|service| service.chroot);
    let Some(path) = spelled(&socket, &postfix.queue_directory(), chroot) else {
        return Err(format!("lmtp(8) cannot reach {} from its chroot, so there is no self-test", socket.display()));
    };
    let transport = format!("lmtp:unix:{path}");
    let set = |table: &str| Change::Set("transport_maps".to_owned(), with_last(transports, table));
    if postfix.version >= Version::BRACES {
        return Ok(vec![set(&format!("inline:{{ {SELFTEST_DOMAIN}={transport} }}"))]);
    }
    let table = selftest_table(directory);
    let written = quoted(&format!("{SELFTEST_DOMAIN} {transport}"));
    Ok(vec![
        Change::Command(format!("echo {written} > {table}")),
        Change::Command(format!("postmap hash:{table}")),
        set(&format!("hash:{}", directory.join("backstop-selftest").display())),
    ])
}
