//! `backstop.toml`: what is read, what is refused and in which words, and that every key is written down.

use backstop::authority::{Identify, SenderDomain};
use backstop::classify::Category;
use backstop::inbound::Recognised;
use backstop::milter::ListenAddress;
use backstop::ops::config::{Config, KEYS, LogAddresses};
use backstop::outbound::{Mode, OnError, OtherMail, SkipAction};
use backstop::policy::{Cell, Level, Limit, Policy, Profile, Proof};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SHIPPED: &str = include_str!("../config/backstop.toml");

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("backstop.toml"), text).map_err(|error| error.to_string())
}

/// `[section]` and `key = value` for a key of the list.
fn line(key: &str, value: &str) -> String {
    match key.split_once('.') {
        Some((section, key)) => format!("[{section}]\n{key} = {value}\n"),
        None => format!("{key} = {value}\n"),
    }
}

#[test]
fn an_empty_file_is_a_valid_one() {
    assert_eq!(parse("").expect("empty is valid"), Config::default());
}

#[test]
fn the_shipped_file_says_what_the_defaults_are() {
    assert_eq!(parse(SHIPPED).expect("the shipped file is valid"), Config::default());
}

/// Key and value of a line; also of one that is commented out, `#key = value`, since another key decides its default.
fn setting(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('#').unwrap_or(line).split_once(" = ").filter(|(key, _)| !key.contains(' '))
}

#[test]
fn what_the_shipped_file_has_commented_out_is_the_default_too() {
    let uncommented: Vec<&str> =
        SHIPPED.lines().map(|line| setting(line).map_or(line, |_| line.trim_start_matches('#'))).collect();
    assert!(uncommented.iter().any(|line| SHIPPED.contains(&format!("\n#{line}\n")) && !line.is_empty()));
    assert_eq!(parse(&uncommented.join("\n")).expect("valid"), Config::default());
}

#[test]
fn a_cell_that_is_not_set_has_the_value_of_the_profile() {
    for (name, profile) in Profile::ALL {
        let shipped = SHIPPED.replace("profile = \"standard\"", &format!("profile = \"{name}\""));
        assert_eq!(parse(&shipped).expect(name).policy, Policy::of(profile));
    }
    let config =
        parse("[policy]\nprofile = \"daily\"\n[policy.failed]\nreactivate_days = 0\nresponses = 4").expect("valid");
    let mut want = Policy::of(Profile::Daily);
    (want.table.failed.reactivate_days, want.table.failed.responses) = (None, 4);
    assert_eq!(config.policy, want);
}

#[test]
fn every_key_is_in_the_shipped_file_in_this_order_with_a_comment_above_it() {
    let mut section = String::new();
    let mut found = Vec::new();
    let mut above = "";
    for line in SHIPPED.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = setting(line) {
            assert!(above.starts_with('#'), "{key} has no comment above it");
            found.push(format!("{section}{key}"));
        }
        above = line;
    }
    assert_eq!(found, KEYS);
}

#[test]
fn every_key_is_in_the_manual() {
    let manual = include_str!("../man/backstop.toml.5");
    for key in KEYS {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let part = match section {
            "" => manual,
            _ => {
                let start =
                    manual.find(&format!("\n.SS [{section}]\n")).unwrap_or_else(|| panic!("no .SS [{section}]"));
                let rest = &manual[start + 1..];
                &rest[..rest[1..].find("\n.S").map_or(rest.len(), |end| end + 1)]
            }
        };
        assert!(part.contains(&format!("\n.B {name}\n")), "backstop.toml(5): {key} is missing");
    }
    let entries = manual.lines().filter(|line| line.starts_with(".B ")).count();
    assert_eq!(entries, KEYS.len(), "backstop.toml(5) describes a key that does not exist");
}

#[test]
fn every_key_is_read() {
    // No key takes a date, so each must be refused by the piece that reads it.
    for key in KEYS {
        let error = parse(&line(key, "1979-05-27")).expect_err(key);
        let number = if key.contains('.') { 2 } else { 1 };
        assert!(error.starts_with(&format!("backstop.toml:{number}: {key}: ")), "{key}: {error}");
    }
}

#[test]
fn every_key_can_be_set() {
    let config = parse(
        r#"
mode = "shadow"
[process]
user = "news"
group = "mail"
[milter]
listen = ["inet:127.0.0.1:8899", "unix:/run/m.sock"]
socket_mode = "0660"
socket_group = "postfix"
connections = 7
idle_timeout_secs = 11
decision_timeout_secs = 12
drain_timeout_secs = 0
packet_bytes = 70_000
header_fields = 13
header_bytes = 2000
body_bytes = 0x1000
recipients = 14
[admin]
socket = "/tmp/a.sock"
write_group = "w"
read_group = "r"
metrics_listen = "127.0.0.1:9899"
[store]
path = "/tmp/store"
cache_bytes = 1048576
evidence_days = 15
ledger_days = 16
[return_path]
domains = ["Bounces.Example.COM", "bücher.example"]
addresses = ["FBL@example.com", "bounce+*@example.com"]
recognised = "deliver"
message_bytes = 3000
header_fields = 17
header_bytes = 3001
parts = 18
depth = 19
[outbound]
action = "reject"
on_error = "tempfail"
other_mail = "screen"
networks = ["192.0.2.1", "[2001:db8::]/32"]
campaign_headers = ["X-Mailing"]
campaign_senders = ["News@Example.com", "@News.example.com"]
local_mailers = ["mbox"]
ledger = true
check_domains = true
[dns]
servers = ["127.0.0.1", "::1", "[::1]", "192.0.2.53:5353", "[2001:db8::1]:54"]
timeout_secs = 21
[authority]
accept_unverified = true
sign = true
keys = "/tmp/keys"
max_age_days = 22
prefix = "bounce+"
domain = "Example.com"
[[authority.domains]]
sender = "Shop.example"
return_path = "bounces.example.com"
[[authority.domains]]
return_path = "Example.com"
sender = "*"
[policy]
profile = "literal"
settle_days = 20
[policy.rejected]
hard_responses = 2
responses = 3
span_days = 4
reactivate_days = 5
doubling = true
[policy.invalid]
hard_responses = 7
responses = 8
span_days = 9
reactivate_days = 10
doubling = true
[policy.transient]
hard_responses = 12
responses = 13
span_days = 14
reactivate_days = 15
doubling = true
[policy.unknown]
hard_responses = 17
responses = 18
span_days = 19
reactivate_days = 20
doubling = true
[policy.blocked]
hard_responses = 22
responses = 23
span_days = 24
reactivate_days = 25
doubling = true
[policy.failed]
hard_responses = 27
responses = 28
span_days = 29
reactivate_days = 30
doubling = true
[policy.complaint]
responses = 1
[policy.proof_of_life]
soft = 2
unknown = 4
hard = 5
[rules]
directory = "/tmp/rules.d"
[log]
addresses = "hashed"
hash_key_file = "/tmp/key"
[[limits.rule]]
messages = 9
window = "1d"
[[limits.rule]]
window = "90m"
messages = 1
"#,
    )
    .expect("all of it is valid");
    assert_eq!(config.mode, Mode::Shadow);
    assert_eq!((config.process.user.as_str(), config.process.group.as_deref()), ("news", Some("mail")));
    let milter = &config.milter;
    assert_eq!((milter.access.mode, milter.access.group.as_deref()), (0o660, Some("postfix")));
    let listen = [
        ListenAddress::Inet("127.0.0.1:8899".parse().expect("a literal address")),
        ListenAddress::Unix("/run/m.sock".into()),
    ];
    assert_eq!((milter.listen.as_slice(), milter.connections), (listen.as_slice(), 7));
    assert_eq!((milter.idle_timeout, milter.decision_timeout), (Duration::from_secs(11), Duration::from_secs(12)));
    assert_eq!(milter.drain_timeout, Duration::ZERO);
    let limits = &milter.limits;
    assert_eq!((limits.packet_bytes, limits.headers, limits.header_bytes), (70_000, 13, 2000));
    assert_eq!((limits.body_bytes, limits.recipients), (4096, 14));
    assert_eq!(config.admin.socket, PathBuf::from("/tmp/a.sock"));
    assert_eq!((config.admin.write_group.as_str(), config.admin.read_group.as_str()), ("w", "r"));
    assert_eq!(config.admin.metrics_listen, Some("127.0.0.1:9899".parse().expect("a literal address")));
    let store = &config.store;
    assert_eq!((store.path.as_path(), store.cache_bytes), (Path::new("/tmp/store"), 1 << 20));
    assert_eq!((store.evidence_days, store.ledger_days), (15, 16));
    let back = &config.return_path;
    assert_eq!(back.return_path.domains, ["bounces.example.com", "xn--bcher-kva.example"]);
    assert_eq!(back.return_path.addresses, ["fbl@example.com", "bounce+*@example.com"]);
    assert_eq!(back.recognised, Recognised::Deliver);
    assert_eq!((back.limits.message_bytes, back.limits.headers, back.limits.header_bytes), (3000, 17, 3001));
    assert_eq!((back.limits.parts, back.limits.depth), (18, 19));
    let out = &config.outbound;
    assert_eq!((out.action, out.on_error, out.other_mail), (SkipAction::Reject, OnError::Tempfail, OtherMail::Screen));
    let networks: Vec<_> = out.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["192.0.2.1/32", "2001:db8::/32"]);
    assert_eq!(out.campaign_headers.names, ["X-Mailing"]);
    assert_eq!(out.campaign_senders, ["news@example.com", "@news.example.com"]);
    assert_eq!((out.local_mailers.as_slice(), out.ledger), (["mbox".to_owned()].as_slice(), true));
    // Message limits need the ledger.
    let without = Config::parse(Path::new("backstop.toml"), "[outbound]\nledger = false").expect("valid");
    assert!(!without.outbound.ledger);
    assert!(out.check_domains);
    let servers: Vec<_> = config.dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:53", "[::1]:53", "[::1]:53", "192.0.2.53:5353", "[2001:db8::1]:54"]);
    assert_eq!(config.dns.timeout, Duration::from_secs(21));
    let entry = |sender: &str, return_path: &str| SenderDomain {
        sender: sender.to_owned(),
        return_path: return_path.to_owned(),
    };
    let authority = backstop::authority::Settings {
        sign: true,
        keys: "/tmp/keys".into(),
        max_age_days: 22,
        prefix: "bounce+".to_owned(),
        domain: Some("example.com".to_owned()),
        domains: vec![entry("shop.example", "bounces.example.com"), entry("*", "example.com")],
    };
    assert_eq!(config.authority, authority);
    let limits = [Limit { messages: 9, window_secs: 86_400 }, Limit { messages: 1, window_secs: 5400 }];
    assert_eq!(config.limits, limits);
    let policy = &config.policy;
    assert_eq!((policy.profile, policy.accept_unverified), (Profile::Literal, true));
    assert_eq!(policy.settle, Duration::from_secs(20 * 86_400));
    let table = &policy.table;
    let cells = [table.rejected, table.invalid, table.transient, table.unknown, table.blocked, table.failed];
    for (number, cell) in (0..).map(|number| 5 * number).zip(cells) {
        let want = Cell {
            hard_responses: number + 2,
            responses: number + 3,
            span_days: number + 4,
            reactivate_days: Some(number + 5),
            doubling: true,
            counts_as: Category::Transient,
        };
        assert_eq!(cell, want);
    }
    let level = |number: u8| Level::try_from(number).expect("a level");
    assert_eq!(policy.proof, Proof { soft: level(2), unknown: level(4), hard: level(5) });
    assert_eq!(config.rules_directory, PathBuf::from("/tmp/rules.d"));
    assert_eq!(config.log_addresses, LogAddresses::Hashed);
    assert_eq!(config.log_hash_key_file, Some("/tmp/key".into()));
}

#[test]
fn what_cannot_be_used_is_answered_with_file_line_key_and_what_would_do() {
    for (text, want) in [
        ("[process]\nuser = \"\"", "2: process.user: is empty; name the user the daemon runs as"),
        (
            "[milter]\nsocket_mode = \"rw\"",
            "2: milter.socket_mode: \"rw\" is no mode; write it in octal digits, such as \"0660\"",
        ),
        (
            "[milter]\nsocket_mode = \"0600\"",
            "2: milter.socket_mode: \"0600\" lets nobody else connect; write \"0660\" with milter.socket_group, or \"0666\"",
        ),
        ("mode = \"enfroce\"", "1: mode: \"enfroce\" cannot be used; it takes \"enforce\" or \"shadow\""),
        ("\nmode = 3", "2: mode: takes \"enforce\" or \"shadow\", not an integer"),
        ("mdoe = \"shadow\"", "1: mdoe: unknown key; did you mean mode (ahead of all sections)?"),
        ("colour = 1", "1: colour: unknown key; backstop.toml(5) lists them"),
        ("settle_days = 5", "1: settle_days: unknown key; did you mean settle_days in [policy]?"),
        ("[policy]\nsettle_day = 5", "2: policy.settle_day: unknown key; did you mean settle_days in [policy]?"),
        ("[log]\nledger = true", "2: log.ledger: unknown key; did you mean ledger in [outbound]?"),
        ("[outbuond]\nledger = true", "1: outbuond: unknown section; did you mean [outbound]?"),
        ("[surprise]\nx = 1", "1: surprise: unknown section; backstop.toml(5) lists them"),
        ("milter = \"inet:1\"", "1: milter: is a section; write its keys below a line [milter]"),
        (
            "[milter]\nconnections = 0",
            "2: milter.connections: 0 cannot be used; it takes a whole number of connections from 1 to 65536",
        ),
        (
            "[milter]\nconnections = \"9\"",
            "2: milter.connections: takes a whole number of connections from 1 to 65536, not a string",
        ),
        (
            "[store]\nledger_days = -1",
            "2: store.ledger_days: -1 cannot be used; it takes a whole number of days from 1 to 36500",
        ),
        ("[store]\npath = \"store\"", "2: store.path: \"store\" is no absolute path; begin it with /"),
        (
            "[milter]\nlisten = []",
            "2: milter.listen: is empty; name at least one listener, such as \"inet:127.0.0.1:8899\"",
        ),
        (
            "[milter]\nlisten = \"inet:1\"",
            "2: milter.listen: takes a list of strings, [\"...\", \"...\"], not a string",
        ),
        (
            "[milter]\nlisten = [\"unix:/a\", \"unix:/a\"]",
            "2: milter.listen: names the same listener twice; remove number 2",
        ),
        (
            "[outbound]\nnetworks = [\n  \"10.0.0.0/8\",\n  \"10.1.2.3/8\",\n]",
            "4: outbound.networks: \"10.1.2.3/8\" has bits set behind its prefix; write it as 10.0.0.0/8",
        ),
        (
            "[outbound]\nnetworks = [\"example.com\"]",
            "2: outbound.networks: \"example.com\" is no network; write it as 10.0.0.0/8, fc00::/7 or 192.0.2.1",
        ),
        (
            "[outbound]\ncampaign_headers = [\"List-ID:\"]",
            "2: outbound.campaign_headers: \"List-ID:\" is no header field name; write it without its colon",
        ),
        (
            "[return_path]\ndomains = [\"a@b.example\"]",
            "2: return_path.domains: \"a@b.example\" is no domain; write it as example.com",
        ),
        (
            "[return_path]\naddresses = [\"joe\"]",
            "2: return_path.addresses: \"joe\" has no domain; write it as name@example.com",
        ),
        (
            "[admin]\nmetrics_listen = \"9899\"",
            "2: admin.metrics_listen: \"9899\" is no address and port; write it as 127.0.0.1:9899 or [::1]:9899",
        ),
        ("[admin]\nread_group = \"\"", "2: admin.read_group: is empty; name a group"),
        (
            "[policy]\nprofile = \"strict\"",
            "2: policy.profile: \"strict\" cannot be used; it takes \"standard\" or \"literal\" or \"daily\" or \"twice-weekly\" \
             or \"weekly\" or \"monthly\"",
        ),
        (
            "[policy.complaint]\nresponses = 2",
            "2: policy.complaint.responses: 2 cannot be used; a complaint always suppresses at once, that is not \
             configurable; set it to 1",
        ),
        (
            "[policy.transient]\nresponses = 0",
            "2: policy.transient.responses: 0 cannot be used; it takes a whole number of responses from 1 to 1000",
        ),
        (
            "[policy.proof_of_life]\nhard = 0",
            "2: policy.proof_of_life.hard: 0 cannot be used; it takes a whole number of levels from 1 to 5",
        ),
        ("[policy.transiet]\nresponses = 3", "1: policy.transiet: unknown section; did you mean [policy.transient]?"),
        (
            "[policy.transient]\nresponse = 3",
            "2: policy.transient.response: unknown key; did you mean responses in [policy.transient]?",
        ),
        (
            "[policy]\ntransient = 3",
            "2: policy.transient: is a section; write its keys below a line [policy.transient]",
        ),
        (
            "[dns]\nservers = [\n  \"127.0.0.1\",\n  \"ns.example.com\",\n]",
            "4: dns.servers: \"ns.example.com\" is no address; write it as 192.0.2.53, 127.0.0.1:5353 or [::1]:53",
        ),
        (
            "[dns]\nservers = [\"127.0.0.1:0\"]",
            "2: dns.servers: \"127.0.0.1:0\" is no address; write it as 192.0.2.53, 127.0.0.1:5353 or [::1]:53",
        ),
        ("feedback_loop = 9", "1: feedback_loop: takes an array of tables, not an integer"),
        (
            "[[feedback_loop]]\nsigned_by = [\"a.example\"]",
            "1: feedback_loop: has no domain; give the loop a name, such as domain = \"example.net\"",
        ),
        (
            "[[feedback_loop]]\ndomain = \"a.example\"\nidentify = [\"signature\"]",
            "3: feedback_loop.identify: \"signature\" cannot be used; it takes \"token\" and \"ledger\"",
        ),
        (
            "[[feedback_loop]]\ndomain = \"a.example\"\nspf = [\"a.example\", \"..example\"]",
            "3: feedback_loop.spf: \".example\" is no domain; write it as example.com",
        ),
        (
            "[[feedback_loop]]\ndomain = \"a.example\"\n[[feedback_loop]]\ndomain = \"A.example\"",
            "1: feedback_loop: names a.example twice",
        ),
        (
            "[outbound]\nledger = false\n[[limits.rule]]\nmessages = 9\nwindow = \"1d\"",
            "3: limits.rule: needs outbound.ledger = true, or the sends are forgotten",
        ),
        (
            "[store]\nledger_days = 7\n[[limits.rule]]\nmessages = 9\nwindow = \"8d\"",
            "3: limits.rule: looks back further than store.ledger_days = 7; raise that or shorten the window",
        ),
        ("[limits]\nrule = 9", "2: limits.rule: takes an array of tables, not an integer"),
        ("[limits]\nrule = [\n  9,\n]", "3: limits.rule: takes an array of tables, not an integer"),
        (
            "[[limits.rule]]\nmessages = 9\nper = \"1d\"",
            "3: limits.rule.per: unknown key; it takes messages and window",
        ),
        (
            "[[limits.rule]]\nmessages = 0\nwindow = \"1d\"",
            "2: limits.rule.messages: 0 cannot be used; it takes a whole number of messages from 1 to 100000",
        ),
        (
            "[limits]\nrule = [\n  { messages = 9, window = \"1d\" },\n  { messages = 9, window = \"1y\" },\n]",
            "4: limits.rule.window: \"1y\" is no window; write it as 30m, 12h, 1d or 4w",
        ),
        (
            "[[limits.rule]]\nmessages = 9\nwindow = \"53w\"",
            "3: limits.rule.window: a window of 32054400 seconds cannot be used; it takes 1m to 366d",
        ),
        (
            "\n[[limits.rule]]\nmessages = 9\n",
            "2: limits.rule: is not whole; write it as { messages = 9, window = \"1d\" }",
        ),
    ] {
        assert_eq!(parse(text).expect_err(text), format!("backstop.toml:{want}"), "{text}");
    }
}

#[test]
fn a_feedback_loop_signs_as_itself_unless_it_is_said_otherwise() {
    let text = "[[feedback_loop]]\ndomain = \"Loop.Example\"\n[[feedback_loop]]\ndomain = \"b.example\"\n\
                signed_by = [\".B.example\"]\nspf = [\"C.example\", \".c.example\"]\nfrom = [\"Staff@b.example\"]\nidentify = [\"ledger\"]";
    let loops = parse(text).expect("both are valid").feedback_loops;
    assert_eq!(
        (loops[0].domain.as_str(), loops[0].signed_by.as_slice()),
        ("loop.example", &["loop.example".to_owned()][..])
    );
    assert_eq!(loops[0].identify, [Identify::Token, Identify::Ledger]);
    assert_eq!(
        (loops[1].signed_by.as_slice(), loops[1].from.as_slice()),
        (&[".b.example".to_owned()][..], &["staff@b.example".to_owned()][..])
    );
    assert_eq!(
        (loops[0].spf.as_slice(), loops[1].spf.as_slice()),
        (&[][..], &["c.example".to_owned(), ".c.example".to_owned()][..])
    );
    assert_eq!(loops[1].identify, [Identify::Ledger]);
}

#[test]
fn there_are_sixteen_limits_at_most() {
    let rules = |count: usize| format!("[limits]\nrule = [{}]", "{ messages = 9, window = \"1d\" }, ".repeat(count));
    assert_eq!(parse(&rules(16)).expect("sixteen will do").limits.len(), 16);
    let error = parse(&rules(17)).expect_err("one too many");
    assert_eq!(error, "backstop.toml:2: limits.rule: has 17 rules; it takes 16 at most");
}

#[test]
fn a_listener_that_cannot_be_used_is_named_at_its_line() {
    let error =
        parse("[milter]\nlisten = [\n  \"unix:/a\",\n  \"carrier-pigeon:9\",\n]").expect_err("no such transport");
    assert!(error.starts_with("backstop.toml:4: milter.listen: "), "{error}");
    assert!(error.contains("carrier-pigeon"), "{error}");
}

#[test]
fn what_is_no_toml_is_answered_with_its_line() {
    for (text, line) in [("mode = \"shadow\"\n[milter\n", 2), ("a = = 1", 1), ("mode = \"a\"\nmode = \"b\"", 2)] {
        let error = parse(text).expect_err(text);
        assert!(error.starts_with(&format!("backstop.toml:{line}: not TOML: ")), "{text}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn what_comes_in_a_later_version_is_refused_and_not_passed_over() {
    let error = parse("[return_path]\nunrecognised = \"discard\"").expect_err("not served");
    assert!(error.starts_with("backstop.toml:2: ") && error.contains("not available in this version"), "{error}");
    for text in ["[authority]\nsign = false", "[admin]\nmetrics_listen = \"\"", "[limits]", "[limits]\nrule = []"] {
        assert_eq!(parse(text).expect(text), Config::default());
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Config::read(Path::new("/nonexistent/backstop.toml")).expect_err("it does not exist");
    assert!(error.to_string().starts_with("/nonexistent/backstop.toml: cannot be read: "), "{error}");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), b"mode = \"shadow\"\n# \xff\n").expect("writable");
    let error = Config::read(file.path()).expect_err("not UTF-8");
    assert_eq!(error.line, Some(2), "{error}");
}

#[test]
fn what_only_a_restart_changes_is_told_by_section() {
    let old = Config::default();
    for (text, want) in [
        ("mode = \"shadow\"\n[policy]\nsettle_days = 3", vec![]),
        ("[milter]\nconnections = 3", vec!["[milter]"]),
        ("[admin]\nsocket = \"/a\"\n[store]\npath = \"/b\"", vec!["[admin]", "[store]"]),
        ("[log]\nhash_key_file = \"/a\"", vec!["[log]"]),
    ] {
        assert_eq!(old.needs_restart(&parse(text).expect(text)), want, "{text}");
    }
}

/// Runs backstopd: exit code, standard output, standard error.
fn backstopd(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_backstopd"))
        .args(arguments)
        .output()
        .expect("backstopd can be started");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_config_ends_with_0_or_78_and_says_why() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("backstop.toml");
    let name = file.to_str().expect("a UTF-8 path");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("writable");
        backstopd(&["--config", name, "--check-config"])
    };
    let rules = directory.path().join("rules.d");
    let with_rules = format!("[rules]\ndirectory = \"{}\"\n", rules.display());
    assert_eq!(check(&with_rules), (Some(0), format!("{name}: can be used\n"), String::new()));

    let (code, out, error) = check("mode = \"shadwo\"");
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert_eq!(
        error,
        format!("backstopd: {name}:1: mode: \"shadwo\" cannot be used; it takes \"enforce\" or \"shadow\"\n")
    );

    std::fs::create_dir(&rules).expect("writable");
    std::fs::write(rules.join("mine.toml"), "[[rule]]\nid = 3\n").expect("writable");
    let (code, _, error) = check(&with_rules);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("mine.toml"), "{error}");
    std::fs::remove_file(rules.join("mine.toml")).expect("it was written");

    let key = directory.path().join("key");
    std::fs::write(&key, "short").expect("writable");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let hashed = format!("{with_rules}[log]\naddresses = \"hashed\"\nhash_key_file = \"{}\"\n", key.display());
    let (code, _, error) = check(&hashed);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("hash_key_file") && error.contains("at least 16"), "{error}");

    let (code, _, error) = backstopd(&["--config", "/nonexistent/backstop.toml", "--check-config"]);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("/nonexistent/backstop.toml: cannot be read"), "{error}");
}

#[test]
fn a_command_line_that_cannot_be_used_ends_with_64() {
    for arguments in [["--colour"].as_slice(), &["--config"], &["--check-config", "--rebuild"], &["start"]] {
        let (code, _, error) = backstopd(arguments);
        assert_eq!(code, Some(64), "{arguments:?}: {error}");
        assert!(!error.is_empty());
    }
    let (code, out, _) = backstopd(&["--version"]);
    assert_eq!((code, out), (Some(0), format!("backstopd {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn every_option_is_in_the_manual() {
    let manual = include_str!("../man/backstopd.8").replace("\\-", "-");
    let options = manual.split("\n.SH OPTIONS\n").nth(1).and_then(|rest| rest.split("\n.SH ").next());
    let options = options.expect("a section OPTIONS");
    let (_, help, _) = backstopd(&["--help"]);
    let told: Vec<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(told.len() >= 5, "{help}");
    for option in told {
        assert!(options.contains(&format!("\\fB{option}\\fR")), "backstopd(8): {option} is missing");
    }
}

#[test]
fn signing_says_what_it_needs() {
    let domains = "[return_path]\ndomains = [\"bounces.example.com\", \"b.example.net\"]\n";
    let config = parse(&format!("{domains}[authority]\nsign = true")).expect("whole");
    assert_eq!(config.authority.domain.as_deref(), Some("bounces.example.com"), "the first");
    let config = parse(&format!("{domains}[authority]\nsign = true\ndomain = \"B.example.net.\"")).expect("whole");
    assert_eq!(config.authority.domain.as_deref(), Some("b.example.net"));
    for (text, key, want) in [
        ("[authority]\nsign = true", "authority.sign", "[return_path] domains"),
        (
            "[return_path]\naddresses = [\"b@x.test\"]\n[authority]\nsign = true",
            "authority.sign",
            "[return_path] domains",
        ),
        (
            "[return_path]\ndomains = [\"x.test\"]\n[outbound]\nledger = false\n[authority]\nsign = true",
            "authority.sign",
            "outbound.ledger = true",
        ),
        (
            "[return_path]\ndomains = [\"x.test\"]\n[authority]\nsign = true\ndomain = \"y.test\"",
            "authority.domain",
            "\"b-*@y.test\" to return_path.addresses",
        ),
        (
            "[return_path]\ndomains = [\"x.test\"]\n[authority]\nsign = true\n\
             domains = [{ sender = \"*\", return_path = \"y.test\" }]",
            "authority.domains",
            "is not the return path",
        ),
        ("[authority]\ndomains = [{ sender = \"y.test\" }]", "authority.domains", "return_path = "),
        (
            "[authority]\ndomains = [{ sender = \"y.test\", return_path = \"a.test\" }, \
             { sender = \"Y.test\", return_path = \"b.test\" }]",
            "authority.domains",
            "twice",
        ),
        ("[authority]\nprefix = \"\"", "authority.prefix", "1 to 24"),
        ("[authority]\nprefix = \"B-\"", "authority.prefix", "a-z"),
        ("[authority]\nprefix = \"abcdefghijklmnopqrstuvwxy\"", "authority.prefix", "1 to 24"),
        ("[authority]\nprefix = \"prvs=\"", "authority.prefix", "others"),
        ("[authority]\nprefix = \".b\"", "authority.prefix", "1 to 24"),
        ("[authority]\nmax_age_days = 0", "authority.max_age_days", "days"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(&format!(": {key}: ")) && error.contains(want), "{text}: {error}");
    }
}
