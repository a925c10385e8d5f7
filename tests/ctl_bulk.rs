//! Runs the built `backstopctl` on lists, imports, exports, erasure and signs of life.

mod support_admin;

use serde_json::Value;
use std::io::Write;
use std::process::{Output, Stdio};
use support_admin::*;

/// Runs `backstopctl` with this on its standard input.
async fn fed(backstop: &Running, arguments: &[&str], input: Vec<u8>) -> Output {
    let mut command = backstop.ctl(arguments);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let output = tokio::task::spawn_blocking(move || {
        // Broken where the program has ended already.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("written");
        output
    });
    output.await.expect("nobody panics")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("killed: {}", stderr(output)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_imported_from_a_file_and_bad_lines_are_told_with_file_and_number() {
    let backstop = start().await;
    let file = backstop.directory.path().join("old.csv");
    let name = file.to_str().expect("UTF-8");
    std::fs::write(&file, "email,reason\njoe@example.org,bounce\nnobody,bounce\nann@example.org,spam\n").expect("ours");
    let tried = backstop.run(&["import", name, "--dry-run"]).await;
    assert_eq!(code(&tried), 1, "{}", stderr(&tried));
    assert!(stderr(&tried).starts_with(&format!("{name}:3: ")), "{}", stderr(&tried));
    let want = "suppressions (csv): 2 would be imported, 1 could not be read\nnothing was changed\n";
    assert_eq!(stdout(&tried), want);
    assert_eq!(backstop.store.figures().events, 0);

    let done = backstop.run(&["import", name, "--reason", "moved here"]).await;
    assert_eq!(code(&done), 1, "{}", stderr(&done));
    assert!(
        stdout(&done).starts_with("suppressions (csv): 2 imported, 1 could not be read\nbatch "),
        "{}",
        stdout(&done)
    );
    let shown = backstop.run(&["show", "joe@example.org"]).await;
    assert!(stdout(&shown).starts_with("joe@example.org: bounced"), "{}", stdout(&shown));

    let explained = backstop.run(&["explain", "joe@example.org"]).await;
    assert!(stdout(&explained).contains("from     old.csv\n"), "{}", stdout(&explained));
    assert!(stdout(&explained).contains("a wrong import:  backstopctl revert "), "{}", stdout(&explained));

    let batches = backstop.run(&["batches", "--json"]).await;
    let batch: Value = serde_json::from_str(stdout(&batches).trim()).expect("one object");
    assert_eq!((&batch["source"], &batch["reason"]), (&"old.csv".into(), &"moved here".into()));
    let id = batch["batch"].as_str().expect("an id");
    let dry = backstop.run(&["revert", id, "--reason", "r", "--dry-run"]).await;
    assert_eq!(stdout(&dry), format!("batch {id}: 2 entries would go; nothing was changed\n"), "{}", stderr(&dry));
    let reverted = backstop.run(&["revert", id, "--reason", "wrong file"]).await;
    assert_eq!(stdout(&reverted), format!("batch {id}: taken back, 2 entries\n"), "{}", stderr(&reverted));
    assert_eq!(code(&backstop.run(&["check", "joe@example.org"]).await), 0);
    assert_eq!(code(&backstop.run(&["revert", id, "--reason", "r"]).await), 1, "it was taken back before");
    assert_eq!(code(&backstop.run(&["revert", "x", "--reason", "r"]).await), 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_ends_with_0_where_all_of_it_went_in() {
    let backstop = start().await;
    let list: String = (0..20_000).map(|number| format!("c{number}@example.org\n")).collect();
    let done = fed(&backstop, &["import", "-", "--json"], list.into_bytes()).await;
    assert_eq!(code(&done), 0, "{}", stderr(&done));
    let last: Value = serde_json::from_str(stdout(&done).lines().last().expect("a line")).expect("JSON");
    assert_eq!((&last["imported"], &last["format"]), (&20_000.into(), &"plain".into()));
    assert_eq!(code(&backstop.run(&["check", "c19999@example.org"]).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_imported_is_said_so() {
    let backstop = start().await;
    for (arguments, want) in [
        (&["import", "/no/such/file"][..], 66),
        (&["import", "/"], 66),
        (&["import"], 64),
        (&["import", "-", "--blocklist", "--robinson"], 64),
        (&["import", "-", "--format", "excel"], 65),
        (&["import", "-", "--reason", "two\nlines"], 65),
        (&["export", "--what", "everything"], 65),
        (&["export", "--salt", "x"], 64),
        (&["activity", "joe@example.org"], 64),
        (&["activity", "joe@example.org", "--level", "glance"], 64),
        (&["activity", "joe", "--level", "click"], 65),
        (&["undo", "x", "--reason", "r"], 65),
        (&["erase", "joe@example.org"], 64),
    ] {
        let output = backstop.run(arguments).await;
        assert_eq!(code(&output), want, "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_host_exports_another_imports() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    backstop.suppress_for("ann@example.org", "news.example.com").await;
    backstop.run(&["blocklist", "add", "example.com", "--reason", "r"]).await;
    let other = start().await;
    for (export, import, want) in [
        (&["export"][..], &["import", "-"][..], 0),
        (&["export", "--csv"], &["import", "-"], 0),
        (&["export", "--what", "blocklist"], &["import", "--blocklist", "-"], 0),
        // Ann, who left one list only, does not come along.
        (&["export", "--hashed", "sha256", "--salt", "pepper"], &["import", "--robinson", "-"], 1),
    ] {
        let exported = backstop.run(export).await;
        assert_eq!(code(&exported), 0, "{export:?}: {}", stderr(&exported));
        let imported = fed(&other, import, exported.stdout).await;
        assert_eq!(code(&imported), want, "{import:?}: {}", stderr(&imported));
    }
    assert_eq!(code(&other.run(&["check", "joe@example.org"]).await), 1);
    assert_eq!(code(&other.run(&["check", "--list", "news.example.com", "ann@example.org"]).await), 1);
    assert_eq!(code(&other.run(&["check", "bob@example.com"]).await), 1);
    for options in [&[][..], &["--what", "all"], &["--what", "blocklist"], &["--hashed", "sha256"]] {
        let whole = backstop.run(&[&["export", "--csv"], options].concat()).await;
        let head = stdout(&whole).lines().next().expect("a head");
        let all = backstop.run(&[&["export", "--csv", "--columns", head], options].concat()).await;
        assert_eq!(stdout(&all), stdout(&whole).replace("\r\n", "\n"), "every column is as the daemon has it");
    }
    let some = backstop.run(&["export", "--csv", "--columns", "scope,address"]).await;
    assert_eq!(stdout(&some), "scope,address\nnews.example.com,ann@example.org\nsystem,joe@example.org\n");
    assert_eq!(code(&backstop.run(&["export", "--columns", "address"]).await), 64, "JSON has every field");
    let robinson = other.run(&["robinson", "list"]).await;
    assert!(stdout(&robinson).contains("sha256:pepper:a4925029cdbcc2acc73eb4a6842d8538"), "{}", stdout(&robinson));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_go_on_the_blocklist_and_off_it() {
    let backstop = start().await;
    let dry = backstop.run(&["blocklist", "add", "example.com", "--reason", "r", "--dry-run"]).await;
    assert_eq!(stdout(&dry), "blocklist: 1 would be added\n", "{}", stderr(&dry));
    let input = b"example.com\n\njoe@example.org\ntwo words\n".to_vec();
    let added = fed(&backstop, &["blocklist", "add", "-", "--reason", "competitors"], input).await;
    assert_eq!((code(&added), stdout(&added)), (1, "blocklist: 2 added, 1 cannot be used\n"), "{}", stderr(&added));
    assert!(stderr(&added).contains("two words: "), "{}", stderr(&added));
    let listed = backstop.run(&["blocklist", "list"]).await;
    assert_eq!(stdout(&listed).lines().count(), 3, "{}", stdout(&listed));
    let shown = backstop.run(&["show", "ann@example.com"]).await;
    let text = stdout(&shown);
    assert!(text.starts_with("ann@example.com: on the blocklist, gets no campaign mail\n  since "), "{text}");
    assert!(text.contains("on the blocklist by example.com"), "{text}");
    let explained = backstop.run(&["explain", "ann@example.com"]).await;
    let text = stdout(&explained);
    assert!(text.contains("backstopctl blocklist remove example.com --reason TEXT"), "{text}");
    let removed = backstop.run(&["blocklist", "remove", "example.com", "other.example", "--reason", "r"]).await;
    assert_eq!((code(&removed), stdout(&removed)), (0, "blocklist: 1 removed, 1 were not on it\n"));
    assert_eq!(code(&backstop.run(&["check", "ann@example.com"]).await), 0);
    assert_eq!(code(&backstop.run(&["robinson", "add", "example.com", "--reason", "r"]).await), 65);
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_are_told_one_by_one_or_as_lines() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let one = ["activity", "joe@example.org", "--level", "click", "--campaign", "77", "--at", "1h"];
    let told = backstop.run(&one).await;
    assert!(stdout(&told).starts_with("1 recorded, 0 known before\n"), "{}{}", stdout(&told), stderr(&told));
    let lines =
        "{\"address\": \"joe@example.org\", \"level\": 1}\n\n{\"address\": \"new@example.org\", \"level\": 5}\n";
    let told = fed(&backstop, &["activity", "-"], lines.into()).await;
    assert!(stdout(&told).starts_with("1 recorded, 0 known before, 1 ignored"), "{}{}", stdout(&told), stderr(&told));
    let wrong =
        fed(&backstop, &["activity", "-"], b"{\"address\": \"joe@example.org\", \"level\": 9}\n".to_vec()).await;
    assert_eq!(code(&wrong), 65);
    assert!(stderr(&wrong).contains("-:1: "), "{}", stderr(&wrong));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_and_the_store_written_anew() {
    let backstop = start().await;
    backstop.bounce("joe@example.org").await;
    let dry = backstop.run(&["erase", "joe@example.org", "--reason", "asked", "--dry-run"]).await;
    assert!(
        stdout(&dry).starts_with("joe@example.org: events that would be erased: 1; nothing was changed\n"),
        "{}",
        stdout(&dry)
    );
    let done = backstop.run(&["erase", "joe@example.org", "--reason", "asked"]).await;
    assert!(
        stdout(&done).starts_with("joe@example.org: erased; events: 1, remembered sends: 0\n"),
        "{}",
        stderr(&done)
    );
    let shown = backstop.run(&["show", "joe@example.org"]).await;
    assert!(stdout(&shown).starts_with("joe@example.org: erased, gets no campaign mail"), "{}", stdout(&shown));
    let explained = backstop.run(&["explain", "joe@example.org"]).await;
    assert!(stdout(&explained).contains("Erased; a keyed hash was kept"), "{}", stdout(&explained));
    let compacted = backstop.run(&["db", "compact"]).await;
    assert_eq!(code(&compacted), 0, "{}", stderr(&compacted));
    assert!(stdout(&compacted).contains("MiB on disk"), "{}", stdout(&compacted));
    let released = backstop.run(&["reactivate", "joe@example.org", "--reason", "signed up again"]).await;
    assert_eq!(code(&released), 0, "{}", stderr(&released));
    assert_eq!(code(&backstop.run(&["check", "joe@example.org"]).await), 0);
}
