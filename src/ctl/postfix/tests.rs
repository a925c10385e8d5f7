//! Configurations of Postfix as they are met, and what is said of each.

use super::attached::Asked;
use super::configuration::{Configuration, Printed};
use super::finding::{Finding, Level};
use super::lines::{Plan, attach, commands, detach};
use super::milter::Ours;
use super::value;
use super::{findings, value::compact};
use crate::ops::config::Config;
use std::collections::BTreeMap;
use std::path::Path;

const DIRECTORY: &str = "/etc/postfix";
const OURS: &str = "{ unix:backstop/milter.sock, default_action=accept, connect_timeout=5s }";
const SELFTEST: &str = "inline:{ backstop-selftest.invalid=lmtp:unix:backstop/selftest.sock }";
/// Debian's, as far as it matters.
const MASTER: &str = "smtp inet n - y - - smtpd\npickup unix n - y 60 1 pickup\ncleanup unix n - y - 0 cleanup\n\
                      lmtp unix - - y - - lmtp\n";
const DEFAULTS: &str = "\
    compatibility_level = 3.6\nqueue_directory = /var/spool/postfix\nconfig_directory = /etc/postfix\n\
    smtpd_milters =\nnon_smtpd_milters =\ninternal_mail_filter_classes =\nmilter_default_action = tempfail\n\
    milter_protocol = 6\nmilter_connect_timeout = 30s\nmilter_command_timeout = 30s\n\
    milter_content_timeout = 300s\nreceive_override_options =\ncontent_filter =\nsmtpd_proxy_filter =\n\
    transport_maps =\nmyhostname = mx.example.net\nmydestination = $myhostname, localhost\n\
    local_recipient_maps = proxy:unix:passwd.byname $alias_maps\nalias_maps = hash:/etc/aliases\n\
    virtual_alias_domains = $virtual_alias_maps\nvirtual_alias_maps =\nvirtual_mailbox_domains =\n\
    virtual_mailbox_maps =\nrelay_domains =\nrelay_recipient_maps =\nrecipient_delimiter =\n\
    parent_domain_matches_subdomains = relay_domains\nmasquerade_domains =\n\
    masquerade_classes = envelope_sender, header_sender\nmaximal_queue_lifetime = 5d\nsoft_bounce = no\n\
    smtpd_reject_unlisted_recipient = yes\nsmtp_generic_maps =\n";

fn postfix_of(version: &str, main: &str, master: &str) -> Configuration {
    let line = |line: &str| line.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    let mut all: BTreeMap<String, String> = DEFAULTS.lines().filter_map(line).collect();
    all.extend(main.lines().filter_map(line));
    let known = |name: &str| all.get(name).cloned();
    let written = |value: &dyn Fn(&str) -> String| -> String {
        all.iter().map(|(name, raw)| format!("{name} = {}\n", value(raw))).collect()
    };
    let printed = Printed {
        version: format!("mail_version = {version}\n"),
        all: written(&str::to_owned),
        expanded: written(&|raw| value::expanded(raw, &known)),
        set: main.to_owned(),
        master: format!("{MASTER}{master}"),
    };
    Configuration::read(&printed).expect("whole")
}

fn postfix(main: &str, master: &str) -> Configuration {
    postfix_of("3.7.11", main, master)
}

fn config(text: &str) -> Config {
    Config::parse(Path::new("backstop.toml"), text).expect("valid")
}

fn attached(postfix: &Configuration, config: &Config) -> Plan {
    attach(postfix, &Ours { config }, Path::new(DIRECTORY)).expect("a listener in the chroot")
}

fn after(postfix: &Configuration, plan: &Plan) -> Configuration {
    let mut after = postfix.clone();
    plan.changes.iter().for_each(|change| change.apply(&mut after));
    after
}

fn printed(plan: &Plan) -> Vec<String> {
    commands(&plan.changes, None, super::configuration::Version { major: 3, minor: 7 })
}

/// All that is said, with tables that hold these keys.
fn found(postfix: &Configuration, config: &Config, tables: &[(&str, &str, &str)]) -> Vec<Finding> {
    let directory = Path::new(DIRECTORY);
    let asked = Asked { postfix, ours: Ours { config }, directory: None, config_directory: directory };
    findings(&asked, &|table, key| {
        if table.starts_with("mysql:") {
            return Err("mysql does not answer".to_owned());
        }
        let hit = tables.iter().find(|(of, known, _)| *of == table && *known == key);
        // What print writes.
        let inline = table.strip_prefix("inline:{ ").and_then(|pair| pair.strip_suffix(" }")?.split_once('='));
        let inline = inline.filter(|(known, _)| *known == key).map(|(_, value)| value.to_owned());
        Ok(hit.map(|(_, _, value)| (*value).to_owned()).or(inline))
    })
}

fn said<'a>(found: &'a [Finding], check: &str) -> Vec<&'a Finding> {
    found.iter().filter(|finding| finding.check == check && finding.level != Level::Ok).collect()
}

const OPERATORS: [(&str, &str); 9] = [
    ("", ""),
    ("smtpd_milters = inet:localhost:8891\nnon_smtpd_milters = $smtpd_milters\n", ""),
    ("smtpd_milters = $non_smtpd_milters\nnon_smtpd_milters = unix:opendkim/opendkim.sock\n", ""),
    ("my = inet:localhost:11332\nsmtpd_milters = ${my}\nnon_smtpd_milters = $my,  unix:a/b\n", ""),
    ("smtpd_milters = { inet:localhost:11332, default_action=tempfail },unix:x/y  unix:z/z\n", ""),
    ("internal_mail_filter_classes = notify\ntransport_maps = hash:/etc/postfix/transport\n", ""),
    ("", "submission inet n - y - - smtpd -o smtpd_milters=inet:localhost:8891\n"),
    ("smtpd_milters = unix:a/b\n", "submission inet n - y - - smtpd -o smtpd_milters= -o syslog_name=x\n"),
    ("content_filter = x:y\n", "127.0.0.1:10025 inet n - n - - smtpd -o smtpd_milters= -o content_filter=\n"),
];

#[test]
fn what_was_printed_is_enough_is_printed_once_and_is_taken_back_exactly() {
    let config = config("");
    for (main, master) in OPERATORS {
        let before = postfix(main, master);
        let plan = attached(&before, &config);
        assert!(!plan.changes.is_empty(), "{main}{master}");
        let then = after(&before, &plan);
        assert_eq!(attached(&then, &config).changes, [], "attached twice: {main}{master}");
        let worse: Vec<_> =
            found(&then, &config, &[]).into_iter().filter(|finding| finding.level <= Level::Warning).collect();
        assert_eq!(worse, [], "{main}{master}");

        let undone = after(&then, &detach(&then, &Ours { config: &config }, Path::new(DIRECTORY)));
        assert_eq!(undone.set().collect::<Vec<_>>(), before.set().collect::<Vec<_>>(), "{main}{master}");
        for (was, is) in before.services.iter().zip(&undone.services) {
            for (name, value) in &was.overrides {
                assert_eq!(is.own(name).map(compact), Some(compact(value)), "{name} of {}", was.id());
            }
            assert_eq!(was.overrides.len(), is.overrides.len(), "{}", was.id());
        }
        assert_eq!(detach(&before, &Ours { config: &config }, Path::new(DIRECTORY)).changes, [], "nothing is ours yet");
    }
}

#[test]
fn the_lines_for_debian_are_these() {
    let config = config("");
    let plan = attached(&postfix("", ""), &config);
    assert_eq!(
        printed(&plan),
        [
            format!("postconf -e 'smtpd_milters = {OURS}'"),
            format!("postconf -e 'non_smtpd_milters = {OURS}'"),
            "postconf -e 'internal_mail_filter_classes = bounce'".to_owned(),
            format!("postconf -e 'transport_maps = {SELFTEST}'"),
            "postfix reload".to_owned(),
        ]
    );
    assert_eq!(plan.notes, Vec::<String>::new());
}

#[test]
fn our_element_goes_to_the_front_of_what_is_there() {
    let config = config("");
    for (main, master, want) in [
        ("smtpd_milters = inet:localhost:8891", "", format!("'smtpd_milters = {OURS}, inet:localhost:8891'")),
        (
            // Behind the signer, it is moved as it is.
            "smtpd_milters = inet:localhost:8891, { unix:backstop/milter.sock, connect_timeout=9s }",
            "",
            "'smtpd_milters = { unix:backstop/milter.sock, connect_timeout=9s }, inet:localhost:8891'".to_owned(),
        ),
        // Where nobody listens, it is written anew.
        ("smtpd_milters = unix:/run/backstop/milter.sock, unix:a/b", "", format!("'smtpd_milters = {OURS}, unix:a/b'")),
        ("internal_mail_filter_classes = notify", "", "'internal_mail_filter_classes = notify, bounce'".to_owned()),
        ("transport_maps = hash:/t", "", format!("'transport_maps = hash:/t, {SELFTEST}'")),
        (
            "",
            "submission inet n - y - - smtpd -o smtpd_milters=inet:localhost:8891",
            "-P 'submission/inet/smtpd_milters={unix:backstop/milter.sock,default_action=accept,connect_timeout=5s},\
             inet:localhost:8891'"
                .to_owned(),
        ),
    ] {
        let lines = printed(&attached(&postfix(main, master), &config));
        assert!(lines.iter().any(|line| line.contains(&want)), "{main}{master}: {want}\n{lines:#?}");
    }
}

#[test]
fn a_list_that_refers_to_the_other_gets_us_once() {
    let config = config("");
    for (main, name) in [
        ("smtpd_milters = unix:a/b\nnon_smtpd_milters = $smtpd_milters", "smtpd_milters"),
        ("smtpd_milters = $non_smtpd_milters\nnon_smtpd_milters = unix:a/b", "non_smtpd_milters"),
    ] {
        let lines = printed(&attached(&postfix(main, ""), &config));
        let ours: Vec<&String> = lines.iter().filter(|line| line.contains("milter.sock")).collect();
        assert_eq!(ours, [&format!("postconf -e '{name} = {OURS}, unix:a/b'")], "{main}");
    }
}

#[test]
fn the_socket_is_named_as_the_chroot_lets_it_be_found() {
    for (listen, chroot, want) in [
        ("unix:/var/spool/postfix/backstop/milter.sock", true, Some("unix:backstop/milter.sock")),
        ("unix:/var/spool/postfix/backstop/milter.sock", false, Some("unix:backstop/milter.sock")),
        ("unix:/run/backstop/milter.sock", false, Some("unix:/run/backstop/milter.sock")),
        ("unix:/run/backstop/milter.sock", true, None),
        ("inet:127.0.0.1:8899", true, Some("inet:127.0.0.1:8899")),
        ("inet:[::]:8899", true, Some("inet:[::1]:8899")),
        ("inet:0.0.0.0:8899", false, Some("inet:127.0.0.1:8899")),
    ] {
        let config = config(&format!("[milter]\nlisten = [\"{listen}\"]\n"));
        let mut postfix = postfix("", "");
        postfix.services.iter_mut().for_each(|service| service.chroot = chroot);
        let plan = attach(&postfix, &Ours { config: &config }, Path::new(DIRECTORY));
        match want {
            Some(want) => {
                let lines = printed(&plan.expect("reachable"));
                assert!(lines[0].contains(&format!("{{ {want}, ")), "{listen}: {lines:#?}");
            }
            None => {
                let problem = plan.expect_err("outside of the chroot");
                assert!(problem.contains("unix:/var/spool/postfix/backstop/milter.sock"), "{problem}");
                let found = found(&postfix, &config, &[]);
                assert!(said(&found, "listener").iter().any(|finding| finding.level == Level::Error));
            }
        }
    }
    let two = config("[milter]\nlisten = [\"unix:/run/b/m.sock\", \"inet:127.0.0.1:8899\"]\n");
    let plan = attached(&postfix("", ""), &two);
    assert!(printed(&plan)[0].contains("inet:127.0.0.1:8899"), "the one that can be reached");
    assert!(plan.notes.iter().any(|note| note.contains("self-test")), "it has no socket: {:?}", plan.notes);
}

#[test]
fn before_3_0_there_are_no_braces_and_no_inline_tables() {
    let config = config("");
    let old = postfix_of("2.11.3", "", "");
    let plan = attached(&old, &config);
    let lines = commands(&plan.changes, None, old.version);
    assert_eq!(lines[0], "postconf -e 'smtpd_milters = unix:backstop/milter.sock'");
    assert!(lines.contains(&"postconf -e 'milter_default_action = accept'".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"postmap hash:/etc/postfix/backstop-selftest".to_owned()), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("inline:") && !line.contains('{')), "{lines:#?}");
    assert!(plan.notes.iter().any(|note| note.contains("every milter")));
    let then = after(&old, &plan);
    assert_eq!(attached(&then, &config).changes, []);
    let undo = detach(&then, &Ours { config: &config }, Path::new(DIRECTORY));
    let left = after(&then, &undo);
    assert_eq!(
        left.set().map(|(name, _)| name).collect::<Vec<_>>(),
        ["milter_connect_timeout", "milter_default_action"]
    );
    assert!(undo.notes.iter().any(|note| note.contains("milter_default_action")), "and it says so");
}

#[test]
fn where_what_holds_for_all_milters_would_not_do_ours_has_its_own() {
    let config = config("");
    let before = postfix("milter_content_timeout = 30s\nmilter_protocol = 2\n", "");
    let plan = attached(&before, &config);
    let lines = printed(&plan);
    assert!(lines[0].contains("connect_timeout=5s, content_timeout=300s, protocol=6 }"), "{lines:#?}");
    let worse =
        found(&after(&before, &plan), &config, &[]).iter().filter(|finding| finding.level <= Level::Warning).count();
    assert_eq!(worse, 0);
}

#[test]
fn on_error_tempfail_is_what_postfix_is_told_too() {
    let config = config("[outbound]\non_error = \"tempfail\"\n");
    let lines = printed(&attached(&postfix("", ""), &config));
    assert!(lines[0].contains("default_action=tempfail"), "{lines:#?}");
}

/// Debian's with Backstop attached, and something changed.
fn changed(main: &str, master: &str) -> Configuration {
    let base = format!(
        "smtpd_milters = {OURS}\nnon_smtpd_milters = {OURS}\ninternal_mail_filter_classes = bounce\ntransport_maps = {SELFTEST}\n"
    );
    let name = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let kept: String = base
        .lines()
        .filter(|line| main.lines().all(|new| name(new) != name(line)))
        .map(|line| format!("{line}\n"))
        .collect();
    postfix(&format!("{kept}{main}"), master)
}

#[test]
fn each_thing_that_breaks_backstop_is_found_with_its_level() {
    use Level::{Error, Hint, Warning};
    let braces = |more: &str| format!("smtpd_milters = {{ unix:backstop/milter.sock, {more} }}");
    for (main, master, check, level, word) in [
        ("smtpd_milters =", "", "attached", Error, "does not name Backstop"),
        ("non_smtpd_milters = unix:a/b", "", "attached", Error, "non_smtpd_milters"),
        ("smtpd_milters = unix:/var/spool/postfix/backstop/milter.sock", "", "attached", Error, "does not listen"),
        (&format!("smtpd_milters = inet:localhost:8891, {OURS}"), "", "order", Warning, "OpenDKIM"),
        (&format!("non_smtpd_milters = inet:127.0.0.1:11332 {OURS}"), "", "order", Warning, "rspamd"),
        (&format!("smtpd_milters = {OURS}, {OURS}"), "", "twice", Warning, "2 times"),
        ("internal_mail_filter_classes = notify", "", "classes", Error, "lacks bounce"),
        ("receive_override_options = no_milters", "", "no-milters", Error, "in main.cf"),
        ("", "submission inet n - y - - smtpd -o smtpd_milters=unix:a/b", "attached", Error, "submission/inet"),
        ("", "submission inet n - y - - smtpd -o smtpd_milters=", "attached", Error, "submission/inet"),
        ("", "127.0.0.1:10025 inet n - y - - smtpd -o smtpd_milters=", "service", Hint, "127.0.0.1:10025"),
        ("", "x inet n - y - - smtpd -o receive_override_options=no_milters", "no-milters", Warning, "x/inet"),
        ("smtpd_milter_maps = cidr:/x", "", "service", Hint, "smtpd_milter_maps"),
        ("content_filter = f:x", "127.0.0.1:10025 inet n - n - - smtpd -o content_filter=", "filter", Warning, "again"),
        (
            "smtpd_proxy_filter = 127.0.0.1:10024",
            "127.0.0.1:10025 inet n - n - - smtpd -o smtpd_proxy_filter=",
            "filter",
            Error,
            "smtp/inet hands mail",
        ),
        (
            "smtpd_proxy_filter = 127.0.0.1:10024",
            "127.0.0.1:10025 inet n - n - - smtpd -o smtpd_proxy_filter= -o smtpd_milters=",
            "filter",
            Error,
            "does not show it",
        ),
        (&braces("connect_timeout=5s"), "", "default-action", Warning, "Postfix's own is tempfail"),
        (&braces("default_action=tempfail"), "", "default-action", Hint, "tempfail"),
        (&braces("default_action=reject"), "", "default-action", Error, "reject"),
        (&braces("default_action=quarantine"), "", "default-action", Warning, "quarantine"),
        (&braces("default_action=shutdown"), "", "default-action", Warning, "shutdown"),
        (&braces("default_action=acept"), "", "default-action", Error, "acept"),
        (&braces("protocol=2"), "", "protocol", Warning, "version 2"),
        ("milter_protocol = 4", "", "protocol", Warning, "version 4"),
        (&braces("content_timeout=60s"), "", "timeout", Warning, "content_timeout"),
        (&braces("connect_timeout=20s"), "", "timeout", Hint, "connect_timeout"),
        ("soft_bounce = yes", "", "soft-bounce", Warning, "soft_bounce"),
        ("maximal_queue_lifetime = 10d", "", "queue-lifetime", Warning, "10d"),
        ("transport_maps =", "", "selftest", Hint, "transport_maps"),
    ] {
        let found = found(&changed(main, master), &config(""), &[]);
        let told = said(&found, check);
        let finding = told.iter().find(|finding| finding.what.contains(word) && finding.level == level);
        let finding = finding.unwrap_or_else(|| panic!("{main}{master}: no {level:?} {check} {word:?} in {found:#?}"));
        assert!(finding.if_left.is_some(), "{main}{master}: what happens if it is left");
        assert!(level == Level::Hint || !finding.fix.is_empty(), "{main}{master}: what mends it");
    }
}

/// A list of milters is set as a whole: the command of one finding must not take back that of another.
#[test]
fn commands_pasted_one_after_the_other_mend_everything() {
    for milters in [
        "unix:backstop/milter.sock",
        "{ unix:backstop/milter.sock, connect_timeout=20s, content_timeout=60s, protocol=2 }",
        "inet:localhost:8891, { unix:backstop/milter.sock, default_action=reject }",
    ] {
        let mut postfix = changed(&format!("smtpd_milters = {milters}\nnon_smtpd_milters = {milters}"), "");
        let mut found_first = found(&postfix, &config(""), &[]);
        found_first.sort_by_key(|finding| finding.level);
        for line in found_first.iter().filter(|finding| finding.level < Level::Ok).flat_map(|finding| &finding.fix) {
            let Some(setting) = line.strip_prefix("postconf -e '") else { continue };
            let (name, value) = setting.trim_end_matches('\'').split_once(" = ").expect("name = value");
            postfix.change(name, Some(value));
        }
        let left = found(&postfix, &config(""), &[]);
        let left: Vec<_> =
            left.iter().filter(|one| matches!(one.check, "default-action" | "timeout" | "protocol")).collect();
        assert!(left.iter().all(|finding| finding.level == Level::Ok), "{milters}: {left:#?}");
        assert!(attached(&postfix, &config("")).changes.is_empty(), "{milters}");
    }
}

#[test]
fn what_is_right_is_not_complained_about() {
    for (main, master) in [
        ("", ""),
        // Filters that hand back without asking again.
        (
            "content_filter = f:x",
            "127.0.0.1:10025 inet n - n - - smtpd -o content_filter= -o receive_override_options=no_milters",
        ),
        ("content_filter = f:x", "[::1]:10025 inet n - n - - smtpd -o content_filter= -o smtpd_milters="),
        (
            "",
            "25 inet n - n - - smtpd -o smtpd_milters= -o smtpd_proxy_filter=127.0.0.1:10024\n\
             127.0.0.1:10025 inet n - n - - smtpd",
        ),
        (&format!("smtpd_milters = unix:clamav/c.ctl, {OURS}, inet:localhost:8891"), ""), // who looks may stand ahead
        ("my = { unix:backstop/milter.sock, default_action=accept, connect_timeout=5s }\nsmtpd_milters = $my", ""),
        ("milter_default_action = accept\nsmtpd_milters = { unix:backstop/milter.sock, connect_timeout=5s }", ""),
    ] {
        let found = found(&changed(main, master), &config(""), &[]);
        let worse: Vec<_> = found.iter().filter(|finding| finding.level <= Level::Warning).collect();
        assert!(worse.is_empty(), "{main} {master}: {worse:#?}");
        assert!(found.iter().filter(|finding| finding.level == Level::Ok).count() >= 3, "{main}{master}: {found:#?}");
    }
}

#[test]
fn the_return_path_is_looked_for_in_every_class_of_addresses() {
    use Level::{Error, Hint, Ok, Warning};
    let domain = "[return_path]\ndomains = [\"b.example.com\"]\n";
    let signed = "[return_path]\ndomains = [\"b.example.com\"]\n[authority]\nsign = true\n";
    let plus = "[return_path]\naddresses = [\"bounce+*@example.com\"]\n";
    let at = "@b.example.com";
    for (backstop, main, tables, level, word) in [
        (domain, "", &[][..], Warning, "no mail for b.example.com"),
        (domain, "mydestination = b.example.com\nlocal_recipient_maps =", &[], Ok, "any address of b.example.com"),
        (domain, "mydestination = b.example.com", &[], Hint, "unknown user"),
        (signed, "mydestination = b.example.com", &[], Error, "b-TOKEN@b.example.com"),
        (
            signed,
            "virtual_alias_domains = b.example.com\nvirtual_alias_maps = hash:/v",
            &[("hash:/v", at, "p")],
            Ok,
            "b-TOKEN",
        ),
        (signed, "virtual_alias_domains = b.example.com\nvirtual_alias_maps = hash:/v", &[], Error, "b-TOKEN"),
        (
            signed,
            "virtual_alias_maps = hash:/v",
            &[("hash:/v", "b.example.com", "x"), ("hash:/v", at, "p")],
            Ok,
            "b-TOKEN",
        ),
        (signed, "virtual_mailbox_domains = hash:/d", &[("hash:/d", "b.example.com", "x")], Ok, "b-TOKEN"),
        (signed, "virtual_mailbox_domains = b.example.com\nvirtual_mailbox_maps = hash:/m", &[], Error, "b-TOKEN"),
        (signed, "relay_domains = example.com", &[], Ok, "b-TOKEN"),
        (signed, "relay_domains = !b.example.com, example.com", &[], Warning, "no mail for"),
        (signed, "relay_domains = example.com\nparent_domain_matches_subdomains =", &[], Warning, "no mail for"),
        (signed, "relay_domains = .example.com\nparent_domain_matches_subdomains =", &[], Ok, "b-TOKEN"),
        (
            signed,
            "relay_domains = example.com\nsmtpd_reject_unlisted_recipient = no\nrelay_recipient_maps = hash:/r",
            &[],
            Ok,
            "b-TOKEN",
        ),
        (signed, "mydestination = /etc/d", &[("/etc/d", "b.example.com", "x")], Error, "b-TOKEN"),
        (domain, "relay_domains = mysql:/x", &[], Hint, "mysql does not answer"),
        (domain, "relay_domains = proxy:mysql:/x", &[], Hint, "mysql does not answer"),
        (
            plus,
            "mydestination = example.com",
            &[("unix:passwd.byname", "bounce", "x")],
            Warning,
            "bounce+*@example.com",
        ),
        (
            plus,
            "mydestination = example.com\nrecipient_delimiter = -+",
            &[("unix:passwd.byname", "bounce", "x")],
            Ok,
            "bounce+*@example.com",
        ),
        (
            domain,
            "relay_domains = b.example.com\ntransport_maps = hash:/t",
            &[("hash:/t", "b.example.com", "error:no")],
            Error,
            "to error:no",
        ),
        (
            domain,
            "relay_domains = b.example.com\ntransport_maps = hash:/t",
            &[("hash:/t", "b.example.com", "discard:")],
            Hint,
            "to discard:",
        ),
    ] {
        let found = found(&changed(main, ""), &config(backstop), tables);
        let of: Vec<_> = found.iter().filter(|finding| finding.check == "return-path").collect();
        let fits = |finding: &&&Finding| finding.level == level && finding.what.contains(word);
        assert!(of.iter().find(fits).is_some(), "{backstop}{main}: {level:?} {word} in {of:#?}");
        assert_eq!(of.len(), 1, "one sentence on it: {of:#?}");
    }
}

#[test]
fn what_mends_the_return_path_is_a_command_where_there_is_one() {
    let check = |backstop: &str, main: &str, tables: &[(&str, &str, &str)]| {
        let found = found(&changed(main, ""), &config(backstop), tables);
        said(&found, "return-path").first().map(|finding| finding.fix.join("\n")).unwrap_or_default()
    };
    let domain = "[return_path]\ndomains = [\"b.example.com\"]\n";
    let fix = check(domain, "virtual_alias_maps = hash:/v", &[]);
    assert!(fix.contains("'virtual_alias_domains = $virtual_alias_maps, b.example.com'"), "{fix}");
    assert!(fix.contains("'virtual_alias_maps = hash:/v, inline:{ @b.example.com=postmaster }'"), "{fix}");
    let plus = "[return_path]\naddresses = [\"bounce+*@example.com\"]\n";
    let users = [("unix:passwd.byname", "bounce", "x")];
    let fix = check(plus, "mydestination = example.com\nrecipient_delimiter = -", &users);
    assert!(fix.contains("'recipient_delimiter = -+'"), "{fix}");
}

#[test]
fn an_envelope_sender_that_is_rewritten_is_found() {
    let backstop = "[return_path]\ndomains = [\"b.example.com\"]\n";
    let generic = [("hash:/g", "@b.example.com", "all@example.net")];
    let of = |main: &str, tables: &[(&str, &str, &str)]| {
        let main = format!("relay_domains = b.example.com\n{main}");
        let found = found(&changed(&main, ""), &config(backstop), tables);
        said(&found, "rewriting")
            .iter()
            .map(|finding| format!("{} {:?}", finding.what, finding.fix))
            .collect::<Vec<_>>()
    };
    let masqueraded = of("masquerade_domains = example.com", &[]);
    assert!(masqueraded.len() == 1 && masqueraded[0].contains("!b.example.com, example.com"), "{masqueraded:?}");
    assert_eq!(of("masquerade_domains = !b.example.com example.com", &[]), [""; 0]);
    assert_eq!(of("masquerade_domains = example.com\nmasquerade_classes = header_sender", &[]), [""; 0]);
    assert_eq!(of("masquerade_domains = b.example.com", &[]), [""; 0], "only what is below is rewritten");
    assert!(of("smtp_generic_maps = hash:/g", &generic)[0].contains("all@example.net"));
    assert_eq!(of("smtp_generic_maps = hash:/g", &[]), [""; 0]);
}

#[test]
fn a_return_path_of_another_organisation_does_not_align() {
    let backstop = "[return_path]\ndomains = [\"bounces.example.com\"]\n\
                    [outbound]\ncampaign_senders = [\"@shop.example.com\", \"news@club.example.net\"]\n\
                    [authority]\nsign = true\ndomains = [{ sender = \"other.example.org\", return_path = \"bounces.example.com\" }]\n";
    let found = found(&changed("relay_domains = bounces.example.com", ""), &config(backstop), &[]);
    let told: Vec<&str> = said(&found, "alignment").iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|what| what.contains("other.example.org")));
    assert!(told.iter().any(|what| what.contains("club.example.net")));
    assert!(said(&found, "dns").iter().any(|finding| finding.what.contains("bounces.example.com")), "and SPF is named");
}

#[test]
fn signing_needs_version_6_of_the_protocol() {
    let backstop = "[return_path]\ndomains = [\"b.example.com\"]\n[authority]\nsign = true\n";
    let found = found(&changed("milter_protocol = 4", ""), &config(backstop), &[]);
    assert_eq!(said(&found, "protocol").first().map(|finding| finding.level), Some(Level::Error));
}
