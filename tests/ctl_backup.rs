//! `backstopctl backup` and `db`, against a running server and on files.

mod support_admin;

use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use support_admin::{Running, run, start, stderr, stdout};

async fn recorded() -> Running {
    let running = start().await;
    for number in 0..40 {
        running.bounce(&format!("c{number}@example.net")).await;
    }
    running.suppress_for("joe@example.org", "news.example.com").await;
    running
}

#[tokio::test]
async fn a_backup_is_a_file_of_ones_own_and_is_verified_and_restored_without_the_daemon() {
    let running = recorded().await;
    let directory = tempfile::tempdir().expect("a directory");
    let into = directory.path().to_str().expect("UTF-8");
    let done = running.run(&["backup", into, "--reason", "nightly", "--json"]).await;
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    let told: Value = serde_json::from_str(stdout(&done)).expect("JSON");
    let file = told["file"].as_str().expect("a file");
    let name = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(name.len(), 1, "no part of it is left: {name:?}");
    assert!(file.ends_with(".backup") && file.contains("/backstop-20"), "{file}");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((told["events"].as_u64(), told["octets"].as_u64()), (Some(41), Some(fs::metadata(file).unwrap().len())));

    let verified = running.run(&["db", "verify", file]).await;
    assert_eq!((verified.status.code(), stdout(&verified).contains("whole, 41 events")), (Some(0), true));
    let store = directory.path().join("store");
    let to = store.to_str().unwrap();
    let restored = running.run(&["db", "restore", file, "--store", to]).await;
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    assert!(stdout(&restored).contains("41 events of 41 contacts"), "{}", stdout(&restored));
    for made in [to.to_owned(), format!("{to}/db")] {
        let mode = fs::metadata(&made).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{made}: {mode:o}, and addresses are in there");
    }
    let again = running.run(&["db", "restore", file, "--store", to]).await;
    assert_eq!((again.status.code(), stderr(&again).contains("is not empty")), (Some(74), true));
    let verified = running.run(&["db", "verify", "--store", to]).await;
    assert_eq!((verified.status.code(), stdout(&verified).contains("0 findings")), (Some(0), true));

    // The figures are those that the daemon tells of its own.
    let of = running.run(&["db", "stats", "--store", to, "--json"]).await;
    let beside = running.run(&["db", "stats", "--json"]).await;
    let read = |output: &std::process::Output| -> Value { serde_json::from_str(stdout(output)).expect("JSON") };
    let (of, beside) = (read(&of), read(&beside));
    for figure in ["events", "contacts", "erased", "newest", "oldest", "schema"] {
        assert_eq!(of[figure], beside[figure], "{figure}");
    }
    let table = running.run(&["db", "stats"]).await;
    assert!(
        stdout(&table).contains("events       41") && stdout(&table).contains("by_contact.1"),
        "{}",
        stdout(&table)
    );
}

#[tokio::test]
async fn a_backup_goes_to_standard_output_and_from_there_into_a_store() {
    let running = recorded().await;
    for asked in [&["backup", "--output", "-"][..], &["backup", "-"]] {
        let done = running.run(asked).await;
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        let file = running.directory.path().join("taken");
        fs::write(&file, &done.stdout).unwrap();
        let store = running.directory.path().join("restored");
        let mut restore = running.ctl(&["db", "restore", "-", "--store", store.to_str().unwrap(), "--json"]);
        restore.stdin(fs::File::open(&file).unwrap());
        let restored = run(restore).await;
        assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
        let told: Value = serde_json::from_str(stdout(&restored)).expect("JSON");
        assert_eq!((told["events"].as_u64(), told["contacts"].as_u64()), (Some(41), Some(41)));
        fs::remove_dir_all(store).unwrap();
    }
    let body = running.post("/v1/backup", b"").await;
    assert_eq!(body.status, 200);
    assert!(body.body.starts_with(b"backstop-backup 1\n"));
}

#[tokio::test]
async fn what_cannot_be_used_or_written_is_said_with_its_exit_status() {
    let running = recorded().await;
    let directory = running.directory.path();
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    assert_eq!(running.run(&["backup", &path("one")]).await.status.code(), Some(0));
    let mut cut = fs::read(path("one")).unwrap();
    cut.truncate(cut.len() - 9);
    fs::write(path("cut"), cut).unwrap();
    for (arguments, exit, words) in [
        (vec!["db".into(), "verify".into(), path("cut")], 65, "cut off"),
        (vec!["db".into(), "restore".into(), path("cut"), "--store".into(), path("new")], 65, "cut off"),
        (vec!["db".into(), "verify".into(), path("none")], 66, "No such file"),
        (vec!["db".into(), "verify".into(), "--store".into(), path("store")], 69, "in use by another process; stop"),
        (vec!["db".into(), "restore".into(), path("one"), "--store".into(), path("store")], 69, "in use"),
        (vec!["db".into(), "stats".into(), "--store".into(), path("new")], 66, "there is no store"),
        (vec!["backup".into(), path("none/one")], 74, "No such file"),
        (vec!["backup".into()], 64, "required"),
        (vec!["backup".into(), path("one"), "--reason".into(), "two\nlines".into()], 65, "one line"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let done = running.run(&arguments).await;
        assert_eq!(done.status.code(), Some(exit), "{arguments:?}: {}{}", stdout(&done), stderr(&done));
        assert!(stderr(&done).contains(words), "{arguments:?}: {}", stderr(&done));
    }
    assert!(!directory.join("new").exists());
    let parts = fs::read_dir(directory)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(parts.count(), 0);
}
