//! Whether Postfix asks Backstop, for all mail, once, and ahead of whoever signs.

use super::configuration::{Configuration, Service};
use super::finding::{Finding, Level};
use super::lines::{self, Change, LISTS, asks_no_milter, has_bounce, is_left_out, is_ours, signer_ahead};
use super::milter::{Milter, Ours, Whose};
use super::value::{compact, elements, quoted, with_first, without};
use std::path::Path;

/// What is asked about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Postfix as it is.
    pub postfix: &'a Configuration,
    /// What is ours.
    pub ours: Ours<'a>,
    /// `--postfix-config`, as the commands repeat it.
    pub directory: Option<&'a Path>,
    /// Where main.cf is.
    pub config_directory: &'a Path,
}

impl Asked<'_> {
    /// A finding with the changes that mend it.
    pub fn mended(&self, finding: Finding, changes: &[Change]) -> Finding {
        finding.fixed_by(changes, self.postfix, self.directory)
    }
}

/// Everything about milters and classes.
pub fn findings(asked: &Asked<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let plan = match lines::attach(asked.postfix, &asked.ours, asked.config_directory) {
        Ok(plan) => plan.changes,
        Err(problem) => {
            let left = "Postfix cannot ask Backstop: nobody is screened and nothing is recorded.";
            found.push(Finding::new(Level::Error, "listener", problem, left).fixed_with(into_chroot(asked)));
            Vec::new()
        }
    };
    for (list, program) in LISTS {
        found.extend(of_main(asked, list, program, &plan));
        for service in asked.postfix.running(program).filter(|service| service.own(list).is_some()) {
            found.extend(of_service(asked, list, service, &plan));
        }
    }
    found.extend(classes(asked, &plan));
    found.extend(no_milters(asked));
    found.extend(filters(asked));
    found.extend(by_client(asked));
    found
}

/// What puts the socket into Postfix's queue directory: its directory, the unit that makes it, and the daemon that is to
/// know it.
fn into_chroot(asked: &Asked<'_>) -> Vec<String> {
    const DROP_IN: &str = "/etc/systemd/system/backstopd-milter.socket.d";
    let directory = asked.postfix.queue_directory().join("backstop").display().to_string();
    let group = asked.postfix.value("mail_owner");
    vec![
        format!("# in backstop.toml, [milter]: listen = [\"unix:{directory}/milter.sock\"]"),
        format!("install -d -o backstop -g {group} -m 750 {}", quoted(&directory)),
        format!("mkdir -p {DROP_IN}"),
        format!(
            "printf '[Socket]\\nListenStream=\\nListenStream=%s\\n' {}/milter.sock > {DROP_IN}/queue.conf",
            quoted(&directory)
        ),
        "systemctl daemon-reload".to_owned(),
        "systemctl stop 'backstopd*'".to_owned(),
        "systemctl start backstopd".to_owned(),
        "# then this once more".to_owned(),
    ]
}

/// The list of main.cf.
fn of_main(asked: &Asked<'_>, list: &str, program: &str, plan: &[Change]) -> Vec<Finding> {
    let postfix = asked.postfix;
    let fix: Vec<Change> =
        plan.iter().filter(|change| matches!(change, Change::Set(name, _) if name == list)).cloned().collect();
    // Where one list refers to the other, that one is what is mended.
    let fix = if fix.is_empty() { of_lists(plan) } else { fix };
    if !postfix.running(program).any(|service| service.own(list).is_none()) {
        return Vec::new(); // every service has its own, or there is none
    }
    let chroot = lines::chroot_of(postfix, program, list);
    let milters = asked.ours.list(&postfix.value(list), postfix, chroot);
    let seen = if list == "smtpd_milters" {
        "mail that comes by SMTP: no recipient is taken off, no report is read"
    } else {
        "mail by sendmail(1) and Postfix's own notifications, which are most of what there is to know"
    };
    judged(&milters, &format!("{list} in main.cf"), seen)
        .into_iter()
        .map(|finding| if finding.level == Level::Ok { finding } else { asked.mended(finding, &fix) })
        .collect()
}

fn of_lists(plan: &[Change]) -> Vec<Change> {
    let of_list =
        |change: &&Change| matches!(change, Change::Set(name, _) if LISTS.iter().any(|(list, _)| list == name));
    plan.iter().filter(of_list).cloned().collect()
}

/// A list of a service's own.
fn of_service(asked: &Asked<'_>, list: &str, service: &Service, plan: &[Change]) -> Vec<Finding> {
    let postfix = asked.postfix;
    if asks_no_milter(postfix, service) || !postfix.of(service, "smtpd_proxy_filter").is_empty() {
        return Vec::new(); // no_milters() and filters() tell
    }
    let id = service.id();
    let milters = asked.ours.list(&postfix.of(service, list), postfix, service.chroot);
    if is_left_out(postfix, service) && !is_ours(&milters) {
        let what = format!("what comes in at {id} passes by Backstop: {list} is empty there, in master.cf");
        let left = "right where a content filter hands mail back; else that mail is not screened.";
        return vec![Finding::new(Level::Hint, "service", what, left)];
    }
    let fix: Vec<Change> =
        plan.iter().filter(|change| matches!(change, Change::Service(of, _, _) if *of == id)).cloned().collect();
    let seen = "what comes in there: it is neither screened nor read";
    judged(&milters, &format!("{list} of {id} in master.cf"), seen)
        .into_iter()
        .map(|finding| match finding.level {
            Level::Ok => finding,
            _ => asked.mended(finding, &fix),
        })
        .collect()
}

/// One list: is ours in it, does it lead to us, who stands ahead.
fn judged(milters: &[(Milter, Whose)], place: &str, seen: &str) -> Vec<Finding> {
    if let Some((milter, _)) = milters.iter().find(|(_, whose)| *whose == Whose::Astray)
        && !is_ours(milters)
    {
        let what = format!("{place} names {}, where backstopd does not listen", milter.address);
        let left = format!("Postfix finds nobody there, and does what default_action says with {seen}.");
        return vec![Finding::new(Level::Error, "attached", what, left)];
    }
    let ours: Vec<&Milter> = milters.iter().filter(|(_, whose)| *whose == Whose::Ours).map(|(one, _)| one).collect();
    let [ours, others @ ..] = &ours[..] else {
        let what = format!("{place} does not name Backstop");
        return vec![Finding::new(Level::Error, "attached", what, format!("Backstop does not see {seen}."))];
    };
    let mut found = Vec::new();
    if !others.is_empty() {
        let what = format!("{place} names Backstop {} times", 1 + others.len());
        let left = "each message is screened and counted more than once; take all but the first out.";
        found.push(Finding::new(Level::Warning, "twice", what, left));
    }
    match signer_ahead(milters) {
        Some(signer) => {
            let what = format!("{place} names {signer} ahead of Backstop");
            let left = "header fields that Backstop adds or takes away (X-Backstop-*, CFBL-Address) change after DKIM \
                        or ARC has signed: signatures break, or do not cover them.";
            found.push(Finding::new(Level::Warning, "order", what, left));
        }
        None => found.push(Finding::ok("attached", format!("{place} names Backstop ({})", ours.address))),
    }
    found
}

/// Which of Postfix's own mails are shown.
fn classes(asked: &Asked<'_>, plan: &[Change]) -> Vec<Finding> {
    const NAME: &str = "internal_mail_filter_classes";
    let value = asked.postfix.value(NAME);
    if has_bounce(&value) {
        return vec![Finding::ok("classes", format!("{NAME} has bounce: Postfix shows its own notifications"))];
    }
    let what = format!("{NAME} lacks bounce: Postfix does not show the notifications that it writes itself");
    let left = "addresses that are refused while Postfix sends are never heard of, and go on being mailed.";
    let fix: Vec<Change> =
        plan.iter().filter(|change| matches!(change, Change::Set(name, _) if name == NAME)).cloned().collect();
    vec![asked.mended(Finding::new(Level::Error, "classes", what, left), &fix)]
}

/// Services that are told to ask nobody.
fn no_milters(asked: &Asked<'_>) -> Vec<Finding> {
    const NAME: &str = "receive_override_options";
    let postfix = asked.postfix;
    let left = "what comes in there is neither screened nor read.";
    let without_it = |value: &str| without(value, |option| option == "no_milters").unwrap_or_default();
    if elements(&postfix.value(NAME)).contains(&"no_milters") {
        let what = format!("{NAME} in main.cf has no_milters: no milter is asked at all");
        let change = match without_it(postfix.raw(NAME)) {
            rest if rest.is_empty() => Change::Reset(NAME.to_owned()),
            rest => Change::Set(NAME.to_owned(), rest),
        };
        return vec![asked.mended(Finding::new(Level::Error, "no-milters", what, left), &[change])];
    }
    let takes_mail = |service: &&Service| matches!(service.command.as_str(), "smtpd" | "pickup" | "qmqpd");
    let asks_nobody = |service: &&Service| {
        asks_no_milter(postfix, service) && !(service.command == "smtpd" && takes_mail_back(asked, service))
    };
    let told = |service: &Service| {
        let what = format!("{} has {NAME} = no_milters in master.cf", service.id());
        let change = Change::Service(service.id(), NAME.to_owned(), compact(&without_it(service.own(NAME)?)));
        Some(asked.mended(Finding::new(Level::Warning, "no-milters", what, left), &[change]))
    };
    postfix.services.iter().filter(takes_mail).filter(asks_nobody).filter_map(told).collect()
}

/// Whether a filter hands mail back to this service: it is for this machine alone, and does not filter again.
fn takes_mail_back(asked: &Asked<'_>, service: &Service) -> bool {
    let postfix = asked.postfix;
    let filters = |service: &Service| {
        ["content_filter", "smtpd_proxy_filter"].iter().any(|name| !postfix.of(service, name).is_empty())
    };
    service.is_loopback() && !filters(service) && postfix.services.iter().any(filters)
}

/// Content filters that hand mail back: each message must be shown once.
fn filters(asked: &Asked<'_>) -> Vec<Finding> {
    let postfix = asked.postfix;
    let mut found = Vec::new();
    let shown = |service: &Service| {
        !asks_no_milter(postfix, service)
            && is_ours(&asked.ours.list(&postfix.of(service, "smtpd_milters"), postfix, service.chroot))
    };
    let smtpd: Vec<&Service> = postfix.running("smtpd").collect();
    let back: Vec<&Service> = smtpd.iter().copied().filter(|service| takes_mail_back(asked, service)).collect();
    let proxied: Vec<&Service> =
        smtpd.iter().copied().filter(|service| !postfix.of(service, "smtpd_proxy_filter").is_empty()).collect();
    let mut queued = smtpd
        .iter()
        .copied()
        .filter(|service| !postfix.of(service, "content_filter").is_empty())
        .chain(postfix.running("pickup").filter(|service| !postfix.of(service, "content_filter").is_empty()));
    let cleanup_chroot = lines::chroot_of(postfix, "cleanup", "non_smtpd_milters");
    let shown_before = queued.any(|service| match service.command.as_str() {
        "smtpd" => shown(service),
        _ => is_ours(&asked.ours.list(&postfix.value("non_smtpd_milters"), postfix, cleanup_chroot)),
    });
    for service in proxied.iter().filter(|service| shown(service)) {
        let what = format!("{} hands mail to smtpd_proxy_filter while it comes in", service.id());
        let left = "there, Postfix shows milters the envelope and not the message: Backstop decides nothing. It must be \
                    asked where the filter hands mail back.";
        found.push(Finding::new(Level::Error, "filter", what, left).fixed_with(none_before_proxy(asked, service)));
    }
    for service in back {
        let id = service.id();
        if shown_before && proxied.is_empty() && shown(service) {
            let what = format!("{id} takes mail back from a content filter, and shows it to Backstop again");
            let left = "each message is screened twice and counts twice: in reports, and towards message limits.";
            let own = service.own("receive_override_options").map(str::to_owned);
            let own = own.unwrap_or_else(|| postfix.value("receive_override_options"));
            let value = compact(&super::value::with_last(&own, "no_milters"));
            let fix = [Change::Service(id, "receive_override_options".to_owned(), value)];
            found.push(asked.mended(Finding::new(Level::Warning, "filter", what, left), &fix));
        } else if !proxied.is_empty() && !shown(service) {
            let what = format!("{id} takes mail back from smtpd_proxy_filter, and does not show it to Backstop");
            let left = "what came in through the filter is neither screened nor read.";
            let own = service.own("smtpd_milters").unwrap_or_default();
            let options =
                without(service.own("receive_override_options").unwrap_or_default(), |one| one == "no_milters");
            let element = asked.ours.element(postfix).unwrap_or_default();
            let mut fix = vec![Change::Service(id.clone(), "smtpd_milters".to_owned(), with_first(&element, own))];
            fix.extend(options.map(|left| Change::Service(id, "receive_override_options".to_owned(), left)));
            found.push(asked.mended(Finding::new(Level::Error, "filter", what, left), &fix));
        }
    }
    found
}

/// The command that has a service ahead of a filter ask the milters other than ours.
fn none_before_proxy(asked: &Asked<'_>, service: &Service) -> Vec<String> {
    let value = asked.postfix.of(service, "smtpd_milters");
    let rest = without(&value, |one| asked.ours.is_meant(one, asked.postfix)).unwrap_or(value);
    let change = Change::Service(service.id(), "smtpd_milters".to_owned(), compact(&rest));
    lines::commands(&[change], asked.directory, asked.postfix.version)
}

/// A table that gives some clients other milters (Postfix 3.2).
fn by_client(asked: &Asked<'_>) -> Vec<Finding> {
    let table = asked.postfix.value("smtpd_milter_maps");
    if table.is_empty() {
        return Vec::new();
    }
    let what = format!("smtpd_milter_maps = {table} gives some clients milters of their own");
    let left = "mail of these clients passes by Backstop where the table does not name it.";
    vec![Finding::new(Level::Hint, "service", what, left)]
}
