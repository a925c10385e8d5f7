//! Runs the built `backstopctl`: what it prints, how it exits, and what other users get to see.

mod support_admin;

use backstop::ctl::Arguments;
use clap::CommandFactory;
use nix::unistd::{Gid, Group};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use support_admin::*;

/// A user that owns nothing here.
const STRANGER: u32 = 65_534;

#[tokio::test(flavor = "multi_thread")]
async fn show_says_the_verdict_first_and_knows_who_was_never_heard_of() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let shown = backstop.run(&["show", "joe@example.org"]).await;
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    let text = stdout(&shown);
    assert!(text.starts_with("joe@example.org: bounced, gets no campaign mail\n  since "), "{text}");
    for word in
        ["5.1.1", "hard", "rejected", "user-unknown", "local", "77", "no such mailbox", "550 5.1.1 user unknown"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json = backstop.run(&["--json", "show", "joe@example.org"]).await;
    let contact: Value = serde_json::from_str(stdout(&json)).expect("one object");
    assert_eq!(contact["state"], "bounced");

    let nobody = backstop.run(&["show", "nobody@example.org"]).await;
    assert_eq!((nobody.status.code(), stdout(&nobody)), (Some(1), ""));
    assert!(stderr(&nobody).contains("never heard of"), "{}", stderr(&nobody));
    let wrong = backstop.run(&["show", "nobody"]).await;
    assert_eq!(wrong.status.code(), Some(65), "{}", stderr(&wrong));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_exits_with_1_when_somebody_must_not_be_mailed() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.suppress_for("ann@example.org", "news.example.com").await;
    for (arguments, want) in [
        (&["check", "new@example.org"][..], 0),
        (&["check", "new@example.org", "joe@example.org"], 1),
        (&["check", "ann@example.org"], 0),
        (&["check", "--list", "news.example.com", "ann@example.org"], 1),
        (&["check", "{{email}}"], 1),
        (&["check"], 64),
    ] {
        let checked = backstop.run(arguments).await;
        assert_eq!(checked.status.code(), Some(want), "{arguments:?}: {}{}", stdout(&checked), stderr(&checked));
    }
    let mut command = backstop.ctl(&["--json", "check", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    // More than one request takes.
    let addresses: String = (0..12_000).map(|number| format!("c{number}@example.org\n\n")).collect();
    let output = tokio::task::spawn_blocking(move || {
        let writer = std::thread::spawn(move || stdin.write_all(addresses.as_bytes()).expect("read to the end"));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("written");
        output
    });
    let output = output.await.expect("nobody panics");
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(0), 12_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn list_prints_every_page_up_to_its_limit() {
    let backstop = start().await;
    for address in ["a@example.org", "b@example.org", "c@other.example"] {
        backstop.bounce(address).await;
    }
    for (arguments, want) in [
        (&["--json", "list"][..], 3),
        (&["--json", "list", "--limit", "2"], 2),
        (&["--json", "list", "--domain", "other.example", "--category", "rejected", "--since", "1d"], 1),
        (&["--json", "list", "--scope", "news.example.com"], 0),
        (&["list"], 4), // with its head
    ] {
        let listed = backstop.run(arguments).await;
        assert_eq!(listed.status.code(), Some(0), "{arguments:?}: {}", stderr(&listed));
        assert_eq!(stdout(&listed).lines().count(), want, "{arguments:?}: {}", stdout(&listed));
    }
    assert_eq!(backstop.run(&["list", "--since", "soon"]).await.status.code(), Some(64));
    assert_eq!(backstop.run(&["list", "--category", "angry"]).await.status.code(), Some(65));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_change_is_made_and_a_dry_run_is_not() {
    let backstop = start().await;
    let dry = ["suppress", "joe@example.org", "--reason", "asked by phone", "--dry-run"];
    let tried = backstop.run(&dry).await;
    assert_eq!(tried.status.code(), Some(0), "{}", stderr(&tried));
    assert!(stdout(&tried).contains("would be suppressed; nothing was changed"), "{}", stdout(&tried));
    assert_eq!(backstop.run(&["show", "joe@example.org"]).await.status.code(), Some(1));
    for (arguments, want) in [
        (
            &["suppress", "joe@example.org", "--reason", "asked by phone"][..],
            "joe@example.org: suppressed, was active\n",
        ),
        (&["reactivate", "joe@example.org", "--reason", "a mistake"], "joe@example.org: active, was suppressed\n"),
    ] {
        let changed = backstop.run(arguments).await;
        assert_eq!(changed.status.code(), Some(0), "{}", stderr(&changed));
        assert!(stdout(&changed).starts_with(want), "{}", stdout(&changed));
    }
    assert_eq!(backstop.run(&["suppress", "joe@example.org"]).await.status.code(), Some(64), "no reason");
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_and_a_limit_are_set_replaced_and_taken_away() {
    let backstop = start().await;
    let because = ["--reason", "asked by phone"];
    for (arguments, want, said) in [
        (&["attributes", "joe@example.org", "plan=gold", "--dry-run"][..], 0, "would have plan=gold; nothing was"),
        (&["attributes", "joe@example.org", "plan=gold", "lang=de"], 0, "joe@example.org: lang=de, plan=gold\n"),
        (&["attributes", "joe@example.org", "plan=free"], 0, "joe@example.org: plan=free\n"),
        (
            &["limit", "joe@example.org", "2/1d", "--dry-run"],
            0,
            "would have at most 2 campaign messages in 1d; nothing",
        ),
        (&["limit", "joe@example.org", "2/24h"], 0, "joe@example.org: at most 2 campaign messages in 1d\n"),
        (&["show", "joe@example.org"], 0, "at most 2 campaign messages in 1d"),
        (&["limit", "joe@example.org", "none", "--json"], 0, "\"limit\":null"),
        (&["attributes", "joe@example.org", "--clear"], 0, "joe@example.org: no attributes\n"),
        (&["attributes", "joe@example.org"], 64, ""),
        (&["attributes", "joe@example.org", "plan=gold", "--clear"], 64, ""),
        (&["attributes", "joe@example.org", "a b=c"], 65, ""),
        (&["limit", "joe@example.org", "2/99y"], 65, ""),
        (&["limit", "joe@example.org", "2"], 64, ""),
    ] {
        let arguments = if arguments[0] == "show" { arguments.to_vec() } else { [arguments, &because].concat() };
        let output = backstop.run(&arguments).await;
        assert_eq!(output.status.code(), Some(want), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(said), "{arguments:?}: {}", stdout(&output));
    }
    for wordless in [&["attributes", "joe@example.org", "--clear"][..], &["limit", "joe@example.org", "none"]] {
        assert_eq!(backstop.run(wordless).await.status.code(), Some(64), "no reason");
    }
    let contact = backstop.get("/v1/contacts/joe%40example.org").await.json();
    assert_eq!((&contact["attributes"], &contact["limit"]), (&serde_json::json!({}), &Value::Null));
    let events = backstop.store.events_of(&address_of("joe@example.org"), 10).expect("readable");
    assert_eq!(events.len(), 5, "the dry runs left nothing");
    let json = serde_json::to_value(&events[0]).expect("plain data");
    assert_eq!(json["reason"], "asked by phone");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_events_ingest_and_rebuild_are_told_in_words_and_in_json() {
    let backstop = start().await;
    let mail = backstop.directory.path().join("bounce.eml");
    std::fs::write(&mail, BOUNCE).expect("written");
    let mail = mail.to_str().expect("UTF-8");
    let missing = backstop.directory.path().join("missing.eml");
    for (arguments, want, said) in [
        (&["ingest", mail][..], 0, "bounce, 1 recorded, 0 on record already"),
        (&["ingest", mail], 0, "bounce, 0 recorded, 1 on record already"),
        (&["ingest", mail, missing.to_str().expect("UTF-8")], 66, "on record already"),
        (&["ingest", "-"], 65, ""), // nothing on standard input
        (&["events"], 0, "gone@example.net"),
        (&["--json", "events"], 0, "\"address\":\"gone@example.net\""),
        (&["status"], 0, "mode enforce"),
        (&["policy", "show"], 0, "profile standard, settled after 6 days"),
        (
            &["policy", "show", "--csv"],
            0,
            "category,hard_responses,responses,span_days,reactivate_days,doubling,counts",
        ),
        (&["policy", "show", "--columns", "counts_as,category"], 0, "COUNTS AS  CATEGORY\n"),
        (&["--json", "policy", "show"], 0, "\"category\":\"complaint\",\"hard_responses\":1,"),
        (&["--json", "status"], 0, "\"mode\":\"enforce\""),
        (&["rebuild"], 0, "1 contact records made anew"),
        (&["--json", "rebuild"], 0, "{\"contacts\":1}"),
    ] {
        let output = backstop.run(arguments).await;
        assert_eq!(output.status.code(), Some(want), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(said), "{arguments:?}: {}", stdout(&output));
    }
}

#[test]
fn a_daemon_that_is_not_there_is_said_so_with_its_socket() {
    let output = alone(&["--socket", "/nonexistent/admin.sock", "status"]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(69));
    assert!(stderr(&output).contains("/nonexistent/admin.sock"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--socket"), "{}", stderr(&output));
    let output = alone(&["status"]).env("BACKSTOP_SOCKET", "/nonexistent/by-variable").output().expect("it starts");
    assert!(stderr(&output).contains("/nonexistent/by-variable"), "{}", stderr(&output));
}

#[test]
fn a_wrong_command_line_exits_with_64_and_help_with_0() {
    for (arguments, want) in [
        (&[][..], 64),
        (&["no-such-subcommand"], 64),
        (&["list", "--no-such-option"], 64),
        (&["rules"], 64),
        (&["--help"], 0),
        (&["rules", "test", "--help"], 0),
        (&["--version"], 0),
    ] {
        let output = alone(arguments).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(want), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn classify_prints_one_json_line_for_each_file_without_a_daemon() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bounce, letter) = (directory.path().join("bounce.eml"), directory.path().join("letter.eml"));
    std::fs::write(&bounce, BOUNCE).expect("written");
    std::fs::write(&letter, "From: ann@example.org\n\nSee you.\n").expect("written");
    let output = alone(&["classify"]).args([&bounce, &letter]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["file"], bounce.to_str().expect("UTF-8"));
    assert_eq!((&lines[0]["kind"], &lines[1]["kind"]), (&Value::from("bounce"), &Value::from("other")));
    assert_eq!(lines[0]["recipients"][0]["code"], "5.1.1");

    let mut child = alone(&["classify", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(BOUNCE).expect("read");
    let output = child.wait_with_output().expect("it ends");
    assert!(stdout(&output).starts_with("{\"file\":\"-\",\"kind\":\"bounce\""), "{}", stdout(&output));

    let missing = directory.path().join("missing.eml");
    let output = alone(&["classify"]).args([&missing, &letter]).output().expect("the program starts");
    assert_eq!((output.status.code(), stdout(&output).lines().count()), (Some(66), 1), "the rest is still read");
    let output = alone(&["classify", "--rules"]).args([&missing, &letter]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(66), "no such directory");
    let rules = directory.path().join("rules.d");
    std::fs::create_dir(&rules).expect("made");
    std::fs::write(rules.join("mine.toml"), "[[rule]\n").expect("written");
    let output = alone(&["classify", "--rules"]).args([&rules, &letter]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
    let output = alone(&["rules", "test"]).arg(rules.join("mine.toml")).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(65), "{}", stderr(&output));
}

#[test]
fn codes_and_rules_are_printed_as_tables_and_as_json() {
    for (arguments, word) in [
        (&["codes"][..], "5.1.1"),
        (&["codes", "--json"], "\"code\":\"5.1.1\""),
        (&["rules", "list"], "CATEGORY"),
        (&["rules", "list", "--json"], "\"id\":"),
    ] {
        let output = alone(arguments).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        assert!(stdout(&output).contains(word), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_trouble() {
    let mut child = alone(&["codes"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_decides_who_may_change_who_may_ask_and_who_may_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can become other users");
        return;
    }
    let group = |name: &str| Group::from_name(name).expect("the database answers").map(|group| group.gid);
    let (Some(writers), Some(readers)) = (group("daemon"), group("bin")) else {
        eprintln!("skipped: this machine lacks the groups daemon and bin");
        return;
    };
    let backstop = start_with(|settings| {
        settings.write_group = "daemon".to_owned();
        settings.read_group = "bin".to_owned();
    })
    .await;
    backstop.bounce("joe@example.org").await;
    // A copy that other users reach, wherever the source lies.
    let program = backstop.directory.path().join("backstopctl");
    std::fs::copy(env!("CARGO_BIN_EXE_backstopctl"), &program).expect("copied");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
    // More than the socket's buffers hold: the refusal comes while the mail is still on its way.
    let large = backstop.directory.path().join("large.eml");
    std::fs::write(&large, vec![b'x'; 8 << 20]).expect("written");
    std::fs::set_permissions(&large, std::fs::Permissions::from_mode(0o644)).expect("ours");
    let large = large.to_str().expect("UTF-8");
    let stranger = |gid: Gid, arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--socket").arg(&backstop.socket).args(arguments).stdin(Stdio::null()).current_dir("/");
        // Setting a user as root drops all supplementary groups, too.
        command.uid(STRANGER).gid(gid.as_raw());
        run(command)
    };
    let show = ["show", "joe@example.org"];
    let suppress = ["suppress", "ann@example.org", "--reason", "asked by phone"];
    for (gid, arguments, want) in [
        (writers, &show[..], 0),
        (writers, &suppress, 0),
        (readers, &show, 0),
        (readers, &suppress, 77),
        (readers, &["rebuild"], 77),
        (readers, &["ingest", large], 77),
        (readers, &["check", "new@example.org"], 0),
        (readers, &["policy", "show"], 0),
        (Gid::from_raw(STRANGER), &show, 77),
        (Gid::from_raw(STRANGER), &["show", "nobody@example.org"], 77), // not even whether it is known
        (Gid::from_raw(STRANGER), &suppress, 77),
    ] {
        let output = stranger(gid, arguments).await;
        assert_eq!(output.status.code(), Some(want), "gid {gid} {arguments:?}: {}", stderr(&output));
        assert!(want == 0 || stdout(&output).is_empty(), "gid {gid} {arguments:?}: {}", stdout(&output));
    }
    let events = backstop.store.events_of(&address_of("ann@example.org"), 10).expect("readable");
    assert_eq!(events.len(), 1, "only the member of the write group changed something");
    let json = serde_json::to_value(&events[0]).expect("plain data");
    assert_eq!(json["uid"], STRANGER, "on whose word is kept");
}

/// The page's subcommands, each with the options it names, by the lines `.It Cm ...` and `.It Fl ...`.
fn of_the_page(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let section = page.split(".Sh SUBCOMMANDS").nth(1).expect("the section").split(".Sh ").next().expect("a piece");
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in section.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let named = line.starts_with(".It ");
        if line.starts_with(".It Cm ") {
            let name = words[2..].iter().take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()));
            current = name.copied().collect::<Vec<_>>().join(" ");
            assert!(found.insert(current.clone(), BTreeSet::new()).is_none(), "{current} stands twice");
        }
        if named {
            let flags = words.windows(2).filter(|pair| pair[0] == "Fl").map(|pair| format!("-{}", pair[1]));
            found.get_mut(&current).expect("below a subcommand").extend(flags);
        }
    }
    found
}

/// The same, as the program itself has it.
fn of_the_program(command: &clap::Command, name: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
    for subcommand in command.get_subcommands() {
        let name = format!("{name} {}", subcommand.get_name()).trim().to_owned();
        if subcommand.has_subcommands() {
            of_the_program(subcommand, &name, found);
            continue;
        }
        let options = subcommand.get_arguments().filter(|argument| !argument.is_global_set());
        let options = options.filter_map(|argument| argument.get_long()).filter(|long| *long != "help");
        found.insert(name, options.map(|long| format!("--{long}")).collect());
    }
}

#[test]
fn the_manual_page_lists_the_subcommands_options_and_exit_statuses_of_the_program() {
    let page = include_str!("../man/backstopctl.1");
    let mut program = BTreeMap::new();
    of_the_program(&Arguments::command(), "", &mut program);
    assert_eq!(of_the_page(page), program);
    let head = page.split(".Sh SUBCOMMANDS").next().expect("a piece");
    for global in Arguments::command().get_arguments().filter_map(|argument| argument.get_long()) {
        assert!(head.contains(&format!(".It Fl -{global}")), "--{global}");
    }
    for exit in [0, 1, 64, 65, 66, 69, 74, 77, 78] {
        assert!(page.contains(&format!("\n.It {exit}\n")), "exit status {exit}");
    }
}

fn alone(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstopctl"));
    command.args(arguments).env_remove("BACKSTOP_SOCKET").stdin(Stdio::null());
    command
}

/// A notification about `number`, as another server sends it.
fn notification(number: usize) -> String {
    format!(
        "Received: by mx.example.com; Sat, 21 Nov 2015 23:50:{number:02} +0000\nFrom: MAILER-DAEMON@mx.example.net\n\
         Message-ID: <n{number}@mx.example.net>\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n\
         Final-Recipient: rfc822; c{number}@example.net\nAction: failed\nStatus: 5.1.1\n\n--b--\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_is_ingested_in_one_command_and_goes_on_where_it_was_broken_off() {
    let backstop = start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mbox, state) = (directory.path().join("old.mbox"), directory.path().join("state"));
    let mails: Vec<String> = (0..30)
        .map(|number| format!("From MAILER-DAEMON Sat Nov 21 23:50:08 2015\n{}\n", notification(number)))
        .collect();
    let person = "From ann Sat Nov 21 23:50:08 2015\nFrom: ann@example.org\nSubject: hello\n\nhow are you\n\n";
    std::fs::write(&mbox, format!("{person}{}", mails.concat())).expect("a mailbox");
    let ingest = |options: &[&str]| {
        let mut command = backstop.ctl(options);
        command.arg(&mbox).env("XDG_STATE_HOME", &state).output().expect("the program starts")
    };
    let first = ingest(&["ingest"]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let told = stdout(&first);
    assert!(
        told.ends_with(": 31 mails (30 bounce, 1 other), 30 recorded, 0 on record already, 0 unreadable\n"),
        "{told}"
    );
    let again = ingest(&["ingest"]);
    assert!(stdout(&again).contains("0 recorded, 30 on record already"), "{}", stdout(&again));

    // The response counts for when the report came in, not for when it was handed in.
    let shown = backstop.run(&["--json", "show", "c7@example.net"]).await;
    let contact: Value = serde_json::from_str(stdout(&shown)).expect("one object");
    assert_eq!(contact["responses"][0]["at"], "2015-11-21T23:50:07Z");

    // As if it had been broken off behind the tenth mail.
    let place = person.len() + mails[..9].concat().len();
    let whole = mbox.canonicalize().expect("it exists");
    let name = blake3::hash(whole.as_os_str().as_encoded_bytes()).to_hex();
    let note = state.join("backstop/ingest").join(&name[..32]);
    std::fs::create_dir_all(note.parent().expect("it has one")).expect("a state directory");
    std::fs::write(&note, place.to_string()).expect("a note");
    let rest = ingest(&["ingest"]);
    assert!(stdout(&rest).contains(": 21 mails (21 bounce), 0 recorded, 21 on record already"), "{}", stdout(&rest));
    assert!(stderr(&rest).contains("goes on where it was broken off"), "{}", stderr(&rest));
    assert!(!note.exists(), "the note goes when the mailbox is through");
}

#[test]
fn keys_are_made_listed_and_retired_and_a_token_is_read_without_a_daemon() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let keys = directory.path().join("keys");
    let run = |arguments: &[&str]| alone(arguments).arg("--directory").arg(&keys).output().expect("the program starts");
    let json = |arguments: &[&str]| -> Vec<Value> {
        let output = run(arguments);
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
    };
    let none = run(&["keys", "list"]);
    assert_eq!(none.status.code(), Some(1), "nothing to sign with");
    assert!(stdout(&none).contains("there are no keys"), "{}", stdout(&none));
    let made = run(&["keys", "new"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    assert!(stdout(&made).starts_with("key 1 is made"), "{}", stdout(&made));
    assert_eq!(run(&["keys", "rotate"]).status.code(), Some(0));
    let states = |lines: &[Value]| lines.iter().map(|line| line["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states(&json(&["--json", "keys", "list"])), ["proves", "signs"], "one is not too old");
    assert!(stdout(&run(&["keys", "list"])).contains("KEY"), "a table");

    let read = || backstop::authority::KeyRing::read(&keys).expect("readable");
    let tokens = backstop::authority::Tokens::new(Default::default(), read());
    let joe = address_of("joe@example.org");
    let (token, _) = tokens.make(b"4XyZ12", Some(&joe), jiff::Timestamp::now()).expect("there is a key");
    let address = format!("<b-{}@bounces.example.com>", token.to_uppercase());
    for (token, recipient, want, word) in [
        (token.as_str(), None, 0, "with key 2, bound to its recipient"),
        (&address, None, 0, "with key 2"),
        (&token, Some("Joe@example.org"), 0, "bound to that recipient"),
        (&token, Some("ann@example.org"), 1, "bound to another recipient"),
        (&token[1..], None, 1, "malformed"),
        ("bounce@example.com", None, 1, "malformed"),
    ] {
        let mut arguments = vec!["token", "decode", token];
        arguments.extend(recipient.into_iter().flat_map(|recipient| ["--recipient", recipient]));
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(want), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains(word), "{arguments:?}: {}", stdout(&output));
    }
    assert_eq!(json(&["--json", "token", "decode", &token])[0]["key"], 2);

    let would = run(&["keys", "rotate", "--at-once", "--dry-run"]);
    assert!(stdout(&would).contains("key 3 would be made") && stdout(&would).contains("key 2 would be retired"));
    let would = json(&["--json", "keys", "new", "--dry-run"]);
    assert_eq!((&would[0]["id"], &would[0]["dry_run"]), (&Value::from(3), &Value::from(true)));
    assert_eq!(states(&json(&["--json", "keys", "list"])), ["proves", "signs"], "nothing was changed");

    let rotated = run(&["keys", "rotate", "--at-once"]);
    assert!(stdout(&rotated).contains("key 2 is retired"), "{}", stdout(&rotated));
    assert_eq!(states(&json(&["--json", "keys", "list"])), ["retired", "retired", "signs"]);
    assert_eq!(run(&["token", "decode", &token]).status.code(), Some(1), "a retired key proves nothing");

    std::fs::set_permissions(keys.join("key-003.toml"), std::fs::Permissions::from_mode(0o644)).expect("ours");
    let exposed = run(&["keys", "list"]);
    assert_eq!(exposed.status.code(), Some(78), "{}", stderr(&exposed));
    assert!(stderr(&exposed).contains("key-003.toml"), "{}", stderr(&exposed));
}
