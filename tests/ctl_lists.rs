//! What `backstopctl` prints of lists, how it checks one before it is mailed, and how it follows the events.

mod support_admin;

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use support_admin::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_printed_with_the_columns_that_are_asked_for() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.suppress_for("ann@example.org", "news.example.com").await;
    for (arguments, want) in [
        (
            &["list", "--columns", "code,address"][..],
            "CODE   ADDRESS\n-      ann@example.org\n5.1.1  joe@example.org\n",
        ),
        (
            &["list", "--csv", "--columns", "address,scope"],
            "address,scope\nann@example.org,news.example.com\njoe@example.org,system\n",
        ),
        (&["list", "--csv", "--columns", "address", "--until", "1d"], "address\n"),
        (&["list", "--csv", "--columns", "address", "--since", "1d", "--limit", "1"], "address\nann@example.org\n"),
        (&["check", "joe@example.org", "--csv", "--columns", "verdict,code"], "verdict,code\nsuppressed,5.1.1\n"),
        (
            &["events", "--csv", "--columns", "event,kind,address"],
            "event,kind,address\nresponse,bounce,joe@example.org\nsuppress,,ann@example.org\n",
        ),
        (&["events", "--columns", "kind", "--until", "1d"], ""),
        (&["batches", "--csv", "--columns", "batch"], "batch\n"),
        (&["robinson", "list", "--csv"], "entry,since,event,batch\n"),
    ] {
        let output = backstop.run(arguments).await;
        assert_eq!(stdout(&output), want, "{arguments:?}: {}", stderr(&output));
    }
    for arguments in
        [&["list", "--columns", "colour"][..], &["--json", "list", "--csv"], &["--json", "list", "--columns", "code"]]
    {
        assert_eq!(backstop.run(arguments).await.status.code(), Some(64), "{arguments:?}");
    }
    let lines = backstop.run(&["--jsonl", "list"]).await;
    assert_eq!(stdout(&lines).lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_listed_by_domain_and_time() {
    let backstop = start().await;
    let add =
        ["blocklist", "add", "--reason", "traps", "joe@example.org", "example.org", ".example.org", "ann@example.com"];
    assert_eq!(backstop.run(&add).await.status.code(), Some(0));
    for (options, want) in [
        (&["--domain", "example.org"][..], 3),
        (&["--domain", "example.com", "--since", "1h"], 1),
        (&["--until", "1h"], 0),
    ] {
        let output = backstop.run(&[&["--json", "blocklist", "list"], options].concat()).await;
        assert_eq!(stdout(&output).lines().count(), want, "{options:?}: {}", stderr(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_list_is_checked_before_it_is_mailed() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let at = |name: &str| backstop.directory.path().join(name).display().to_string();
    let rows: String = (0..12_000).map(|number| format!("Reader {number};r{number}@example.org\r\n")).collect();
    let list = format!(
        "Name;E-Mail\r\n\"Joe; of old\";Joe@Example.ORG\r\nHolder;{{{{email}}}}\r\n{rows}Zoe;joe@example.org\r\n"
    );
    std::fs::write(at("list.csv"), list).expect("our own directory");
    let checked = backstop.run(&["--json", "check", "--file", &at("list.csv"), "--keep", &at("clean.csv")]).await;
    assert_eq!(checked.status.code(), Some(1), "{}", stderr(&checked));
    let found: Vec<Value> = stdout(&checked).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found: Vec<(u64, &str)> = found
        .iter()
        .map(|one| (one["line"].as_u64().expect("a number"), one["reason"].as_str().expect("a reason")))
        .collect();
    assert_eq!(found, [(2, "suppressed"), (3, "invalid-address"), (12_004, "suppressed")]);
    assert!(stderr(&checked).contains("12003 checked: 3 must not be mailed"), "{}", stderr(&checked));
    let kept = std::fs::read_to_string(at("clean.csv")).expect("written");
    assert_eq!(kept, format!("Name;E-Mail\n{}", rows.replace("\r\n", "\n")));

    let clean = backstop.run(&["check", "--file", &at("clean.csv"), "--column", "e-mail"]).await;
    assert_eq!((clean.status.code(), stdout(&clean)), (Some(0), ""));
    let unknown =
        backstop.run(&["check", "--file", &at("list.csv"), "--column", "Address", "--keep", &at("x.csv")]).await;
    assert_eq!(unknown.status.code(), Some(65), "{}", stderr(&unknown));
    assert!(!std::fs::exists(at("x.csv")).expect("readable"), "a list that was not read is not written");
    let files = std::fs::read_dir(backstop.directory.path()).expect("our own directory");
    let parts =
        files.filter(|file| file.as_ref().expect("readable").file_name().display().to_string().ends_with(".part"));
    assert_eq!(parts.count(), 0, "nor is a part of it left");
    assert_eq!(backstop.run(&["check", "--file", &at("nowhere.csv")]).await.status.code(), Some(66));
    assert_eq!(backstop.run(&["check"]).await.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn following_goes_on_when_the_daemon_is_restarted() {
    let mut backstop = start().await;
    backstop.bounce("before@example.org").await;
    let mut follower = backstop
        .ctl(&["events", "--follow", "--since", "1h", "--csv", "--columns", "address"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let (told, heard) = mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
    let next = |want: &str| {
        let line = heard.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{want} was not told"));
        assert_eq!(line, want);
    };
    next("address");
    next("before@example.org");
    for round in 0..2 {
        backstop.server.stop().await;
        let meanwhile = format!("meanwhile{round}@example.org");
        record(&backstop.store, &meanwhile, a_minute_ago(), hard_bounce()).await;
        // A while without the socket.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let settings = admin_settings(&backstop.socket);
        let (service, daemon) = (backstop.service.clone(), backstop.daemon.clone());
        backstop.server =
            backstop::admin::server::Server::start(settings, service, daemon).await.expect("started again");
        next(&meanwhile);
        let after = format!("after{round}@example.org");
        backstop.bounce(&after).await;
        next(&after);
    }
    follower.kill().expect("ours");
    follower.wait().expect("ours");
    // Where no daemon was met at all, that is told at once.
    let nobody = Command::new(env!("CARGO_BIN_EXE_backstopctl"))
        .args(["--socket", "/nonexistent/admin.sock", "events", "--follow"])
        .output()
        .expect("the program starts");
    assert_eq!(nobody.status.code(), Some(69));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_or_is_interrupted_leaves_no_part_of_a_list_behind() {
    let backstop = start().await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let kept = directory.path().join("kept");
    let is_left = || std::fs::read_dir(directory.path()).expect("readable").count() > 0;
    let path = kept.to_str().expect("UTF-8");
    let check = |socket: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_backstopctl"));
        command.arg("--socket").arg(socket).args(["check", "--file", "-", "--keep", path]);
        command.stdin(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("it starts")
    };
    let mut nobody = check(&directory.path().join("no.sock"));
    let mut stdin = nobody.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"joe@example.org\n").expect("read");
    drop(stdin);
    assert_eq!(nobody.wait().expect("it ends").code(), Some(69));
    assert!(!is_left(), "nothing is left");

    for (signal, want) in [(nix::sys::signal::Signal::SIGTERM, 143), (nix::sys::signal::Signal::SIGINT, 130)] {
        let mut child = check(&backstop.socket);
        let _open = child.stdin.take(); // waiting would close it, and end the list
        while !is_left() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        // The handlers are there a moment after the file.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let process = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("small"));
        nix::sys::signal::kill(process, signal).expect("ours");
        assert_eq!(child.wait().expect("it ends").code(), Some(want));
        assert!(!is_left(), "nothing is left");
    }
}
