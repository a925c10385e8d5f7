//! The pages of `man/`: the generated parts are those of the code, everything that there is has its line, what is
//! shown as an example works, and mandoc(1) has nothing to say against them.

#[path = "../examples/man/pages/mod.rs"]
mod pages;

use backstop::ops::config::KEYS;
use pages::{PAGES, rewritten, roff, root, source};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

fn page(name: &str) -> String {
    let file = root().join("man").join(name);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("man/{name}: {error}"))
}

/// All of them, generated or not.
fn pages_there_are() -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join("man")).expect("man/ is there");
    let names = entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"));
    names.filter(|name| name.ends_with(|last: char| last.is_ascii_digit())).collect()
}

/// A section of a page, without its heading.
fn section(page: &str, heading: &str) -> String {
    let start = page.find(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading}")) + heading.len() + 1;
    let rest = &page[start..];
    let end = [".SH ", ".Sh "].iter().filter_map(|next| rest.find(&format!("\n{next}"))).min();
    rest[..end.map_or(rest.len(), |end| end + 1)].to_owned()
}

/// The tags of the entries of a section: what stands behind `.B`, `.I` or the like in the line below `.TP`.
fn tags(section: &str) -> Vec<String> {
    let lines: Vec<&str> = section.lines().collect();
    let below = lines.windows(2).filter(|pair| pair[0] == ".TP").map(|pair| pair[1]);
    below.map(|line| roff::unescaped(line.split(' ').nth(1).unwrap_or(line))).collect()
}

#[test]
fn the_generated_parts_are_those_of_the_code() {
    for name in PAGES {
        let committed = page(name);
        let wanted = rewritten(name, &committed).unwrap_or_else(|problem| panic!("man/{name}: {problem}"));
        let differs = committed.lines().zip(wanted.lines()).position(|(is, should)| is != should);
        assert!(committed == wanted, "man/{name} is out of date from line {} on: run `make man`", {
            differs.map_or(committed.lines().count().min(wanted.lines().count()), |line| line) + 1
        });
    }
}

#[test]
fn what_is_missing_in_a_page_is_added_with_what_the_program_says_of_it() {
    let committed = page("backstopctl.1");
    let start = committed.find(".It Cm hooks list\n").expect("an entry");
    let end = start + 1 + committed[start + 1..].find(".It Cm ").expect("the next");
    let without = format!("{}{}", &committed[..start], &committed[end..]);
    let added = rewritten("backstopctl.1", &without).expect("whole");
    let entry = "Every hook: what it told last, what waits and why.\n";
    let wanted = format!("{}.It Cm hooks list\n{entry}{}", &committed[..start], &committed[end..]);
    assert!(added == wanted, "at its place, with the words of the program");

    let option = ".It Fl -forget\nKeep nothing, not even the hash: the address can be mailed again.\n";
    let without = committed.replace(option, "").replace("Oo Fl -forget Oc ", "");
    assert!(!section(&without, ".Sh SUBCOMMANDS").contains("forget"), "else this proves nothing");
    let added = rewritten("backstopctl.1", &without).expect("whole");
    assert!(added.contains(".It Fl -forget\nKeep nothing, not even what blocks the address.\n.El\n.It Cm activity"));

    let committed = page("backstop.toml.5");
    let start = committed.find(".TP\n.B write_group\n").expect("an entry");
    let end = start + committed[start..].find(".TP\n.B read_group\n").expect("the next");
    let without = format!("{}{}", &committed[..start], &committed[end..]);
    let added = rewritten("backstop.toml.5", &without).expect("whole");
    let entry = ".TP\n.B write_group\n(string; default: \"backstop\\-admin\")\nMembers of this group, and root, may read and change.\n.SS [store]\n";
    assert!(added.contains(entry), "at the end of its section");

    let changed = committed.replace("(integer; default: 1000)\nConnections", "(default: 7)\nConnections");
    assert_ne!(changed, committed);
    assert_eq!(rewritten("backstop.toml.5", &changed).as_deref(), Ok(committed.as_str()), "type and default");
    let broken = committed.replace(".SH KEYS", ".SH WORDS");
    assert!(rewritten("backstop.toml.5", &broken).is_err_and(|problem| problem.contains("KEYS")));
}

#[test]
fn every_key_has_its_type_and_default() {
    let page = page("backstop.toml.5");
    let keys = section(&page, ".SH KEYS");
    for key in KEYS {
        let name = key.split_once('.').map_or(key, |(_, name)| name);
        let entry = keys.split(&format!(".B {name}\n")).nth(1).unwrap_or_else(|| panic!("{key} has no entry"));
        let attributes = entry.lines().find(|line| !line.starts_with(".TQ") && !line.starts_with(".B "));
        let kinds = ["(string; ", "(integer; ", "(boolean; ", "(array of strings; ", "(array of tables; "];
        assert!(
            attributes.is_some_and(|line| kinds.iter().any(|kind| line.starts_with(kind))),
            "{key}: {attributes:?}"
        );
    }
}

#[test]
fn every_field_of_a_log_line_is_explained_and_no_other() {
    let written: BTreeSet<String> =
        source::log_keys().expect("readable").into_values().flatten().map(|(key, _)| key).collect();
    assert!(written.contains("queue_id") && written.contains("shadow") && written.contains("restart_for"));
    let explained = tags(&section(&page("backstop-events.7"), ".SH FIELDS OF LOG LINES"));
    assert_eq!(explained, written.into_iter().collect::<Vec<_>>(), "backstop-events(7), FIELDS OF LOG LINES");
}

#[test]
fn the_fields_told_of_a_log_event_are_those_of_its_line() {
    let keys = source::log_keys().expect("readable");
    let plain = |event: &str| keys[event].iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>();
    let maybe =
        |event: &str| keys[event].iter().filter(|(_, maybe)| *maybe).map(|(key, _)| key.as_str()).collect::<Vec<_>>();
    assert_eq!(plain("Skip"), ["queue_id", "address", "reason", "limit", "campaign", "shadow"]);
    assert_eq!(maybe("Skip"), ["limit", "campaign", "shadow"]);
    assert_eq!(plain("Operator"), ["address", "id", "count", "action", "uid", "reason"]);
    assert_eq!(maybe("Operator"), ["address", "id", "count"]);
    assert_eq!(plain("Tempfail"), ["queue_id", "problem"], "of an arm for several");
    assert!(plain("Stopped").is_empty());
}

#[test]
fn every_alert_is_explained() {
    let explained = tags(&section(&page("backstop-events.7"), ".SH ALERTS"));
    let alerts = source::array("src/admin/status.rs", "ALERTS").expect("a table");
    assert_eq!(explained, alerts, "backstop-events(7), ALERTS");
}

#[test]
fn every_exit_status_is_explained() {
    let numbers = |text: &str, before: &str| -> Vec<u8> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(before));
        lines.filter_map(|rest| rest.split(',').next()?.parse().ok()).collect()
    };
    let client = section(&page("backstopctl.1"), ".Sh EXIT STATUS");
    let mut wanted = source::numbers("src/ctl/exit.rs", "Exit").expect("readable");
    wanted.push(129); // and the other signals that end the writing of a file (src/ctl/interrupt.rs)
    assert_eq!(numbers(&client, ".It "), wanted);

    let daemon = section(&page("backstopd.8"), ".SH EXIT STATUS");
    let mut wanted = source::numbers("src/ops/daemon/failure.rs", "exit_code").expect("readable");
    wanted.extend([0, 64]); // in good order; the command line cannot be used (src/bin/backstopd.rs)
    wanted.sort_unstable();
    assert_eq!(numbers(&daemon, ""), wanted);
}

#[test]
fn every_code_and_reason_has_its_line() {
    let page = page("backstop-rules.5");
    let codes = tags(&section(&page, ".SH BOUNCE CODES"));
    let table: Vec<String> = backstop::classify::code::table().iter().map(|row| row.code.to_string()).collect();
    assert_eq!(codes, table);
    let reasons: BTreeSet<String> = tags(&section(&page, ".SH REASONS")).into_iter().collect();
    for rule in backstop::classify::Rules::compiled_in().list() {
        assert!(rule.reason.as_ref().is_none_or(|reason| reasons.contains(reason)), "{}: {:?}", rule.id, rule.reason);
    }
}

/// The lines of an example, `.\" example: NAME`, as a person types them.
fn example(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!(".\\\" example: {name}\n.nf\n")).unwrap_or_else(|| panic!("no {name}"));
    let lines = rest.lines().take_while(|line| *line != ".fi");
    lines.map(|line| roff::unescaped(&line.replace("\\(aq", "'")) + "\n").collect()
}

fn backstopctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstopctl")).args(arguments).output().expect("the program starts")
}

#[test]
fn the_rule_in_the_page_answers_its_samples() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("50-house.toml");
    let rule = example(&page("backstop-rules.5"), "50-house.toml");
    std::fs::write(&file, &rule).expect("writable");
    let test = |file: &PathBuf| backstopctl(&["rules", "test", file.to_str().expect("UTF-8")]);
    let told = test(&file);
    assert_eq!(told.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&told.stdout), rule);
    // Its samples are answered by it and not by chance: without its words it does not answer them.
    std::fs::write(&file, rule.replace("closed (?:for|until)", "opened")).expect("writable");
    assert_eq!(test(&file).status.code(), Some(1));
}

#[test]
fn the_dialect_in_the_page_reads_its_sample() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let dialect = example(&page("backstop-rules.5"), "50-gateway.toml");
    std::fs::write(directory.path().join("50-gateway.toml"), &dialect).expect("writable");
    let mail = dialect.split("'''\n").nth(1).expect("the sample");
    let file = directory.path().join("bounce.eml");
    std::fs::write(&file, mail).expect("writable");
    let (dialects, file) = (directory.path().to_str().expect("UTF-8"), file.to_str().expect("UTF-8"));
    let told = backstopctl(&["--json", "classify", "--dialects", dialects, file]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("an object");
    let recipient = &told["recipients"][0];
    assert_eq!(recipient["address"], "joe@example.net", "{told}");
    assert_eq!(recipient["dialect"], "house-gateway", "{told}");
    assert_eq!(recipient["reason"], "user-unknown", "{told}");
}

#[test]
fn pages_refer_to_pages_that_there_are() {
    let pages = pages_there_are();
    let is_page = |word: &str| {
        word.starts_with("backstop") && word.bytes().all(|octet| octet.is_ascii_lowercase() || b".-".contains(&octet))
    };
    assert!(pages.len() >= 6, "{pages:?}");
    for name in &pages {
        let text = page(name).replace("\\-", "-").replace("\\fR", " ").replace("\\fB", " ");
        let words: Vec<&str> = text.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| is_page(pair[0])) {
            let number = pair[1].trim_start_matches('(').chars().next().filter(char::is_ascii_digit);
            let is_section = pair[1].len() == 1 || pair[1].starts_with('(');
            if let Some(number) = number.filter(|_| is_section) {
                assert!(pages.contains(&format!("{}.{number}", pair[0])), "{name}: {} {}", pair[0], pair[1]);
            }
        }
    }
}

#[test]
fn mandoc_has_nothing_to_say() {
    let mut lint = Command::new("mandoc");
    lint.args(["-Tlint", "-Wall"]).args(pages_there_are()).current_dir(root().join("man"));
    let told = lint.output().expect("mandoc is there: scripts/install-deps");
    let told = String::from_utf8_lossy(&told.stdout);
    // Our lines are 120 columns long, and the pages need not be installed where they are tested.
    let accepted = ["input text line longer than 80 bytes", "referenced manual not found"];
    let said: Vec<&str> = told.lines().filter(|line| !accepted.iter().any(|known| line.contains(known))).collect();
    assert!(said.is_empty(), "{}", said.join("\n"));
    assert!(told.contains(accepted[0]), "mandoc has read the pages");
}

#[test]
fn make_installs_every_page_and_the_completions() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let made = Command::new("make")
        .args(["--silent", "install-docs", "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", directory.path().display()))
        .arg(format!("BACKSTOPCTL={}", env!("CARGO_BIN_EXE_backstopctl")))
        .current_dir(root())
        .output()
        .expect("make is there: scripts/install-deps");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let share = directory.path().join("usr/share");
    for name in pages_there_are() {
        let (_, number) = name.rsplit_once('.').expect("a section");
        assert!(share.join(format!("man/man{number}/{name}")).is_file(), "{name}");
    }
    for script in [
        "bash-completion/completions/backstopctl",
        "zsh/site-functions/_backstopctl",
        "fish/vendor_completions.d/backstopctl.fish",
    ] {
        let text = std::fs::read_to_string(share.join(script)).unwrap_or_else(|error| panic!("{script}: {error}"));
        assert!(text.contains("reactivate"), "{script}");
    }
}
