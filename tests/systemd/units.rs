//! The unit files, as systemd's own tools judge them.

use crate::there_is;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// All that a program says, and whether it succeeded.
fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// How exposed a unit is, by `systemd-analyze security`: 0 to 10.
fn exposure(unit: &Path) -> f32 {
    let unit = unit.to_str().expect("a UTF-8 path");
    let (_, told) = run("systemd-analyze", &["security", "--offline=true", "--no-pager", unit]);
    let level = told.rsplit("Overall exposure level for ").next().and_then(|rest| rest.split(": ").nth(1));
    let level = level.and_then(|rest| rest.split(' ').next()).and_then(|level| level.parse().ok());
    level.unwrap_or_else(|| panic!("no exposure level: {told}"))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !there_is("systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut copies = Vec::new();
    for entry in fs::read_dir(units()).expect("the units").flatten() {
        let name = entry.file_name().into_string().expect("a UTF-8 name");
        if name.ends_with(".service") || name.ends_with(".socket") || name.ends_with(".timer") {
            let text = fs::read_to_string(entry.path()).expect("readable");
            let text = text.replace("/usr/sbin/backstopd", env!("CARGO_BIN_EXE_backstopd"));
            let text = text.replace("/usr/bin/backstopctl", env!("CARGO_BIN_EXE_backstopctl"));
            let copy = directory.path().join(name);
            fs::write(&copy, text).expect("writable");
            copies.push(copy.to_str().expect("a UTF-8 path").to_owned());
        }
    }
    assert_eq!(copies.len(), 7, "{copies:?}");
    let arguments: Vec<&str> = ["verify", "--man=no"].into_iter().chain(copies.iter().map(String::as_str)).collect();
    let (succeeded, told) = run("systemd-analyze", &arguments);
    // What it has to say of the machine's other units is not ours.
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("backstop")).collect();
    assert!(ours.is_empty() && succeeded, "{told}");
}

#[test]
fn the_units_are_little_exposed() {
    if !there_is("systemd-analyze") {
        return;
    }
    for (unit, most) in [("backstopd.service", 1.0), ("backstopd-peer.service", 0.5), ("backstop-backup.service", 0.5)]
    {
        let exposure = exposure(&units().join(unit));
        assert!(exposure <= most, "{unit}: {exposure}");
    }
}

#[test]
fn the_users_groups_and_directories_are_made() {
    if !nix::unistd::geteuid().is_root() || !there_is("systemd-sysusers") || !there_is("systemd-tmpfiles") {
        eprintln!("SKIPPED: takes root, systemd-sysusers and systemd-tmpfiles");
        return;
    }
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(root.path().join("etc")).expect("writable");
    fs::create_dir_all(root.path().join("var/spool/postfix")).expect("writable");
    fs::write(root.path().join("etc/group"), "root:x:0:\npostfix:x:4711:\n").expect("writable");
    fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\npostfix:x:4711:4711::/:/bin/false\n")
        .expect("writable");
    let at_root = format!("--root={}", root.path().display());
    let file = |name: &str| units().join(name).to_str().expect("a UTF-8 path").to_owned();
    let (succeeded, told) = run("systemd-sysusers", &[&at_root, &file("backstop.sysusers")]);
    assert!(succeeded, "{told}");
    let groups = fs::read_to_string(root.path().join("etc/group")).expect("readable");
    for group in ["backstop", "backstop-admin", "backstop-read"] {
        assert!(groups.lines().any(|line| line.starts_with(&format!("{group}:"))), "{groups}");
    }
    let (succeeded, told) = run("systemd-tmpfiles", &[&at_root, "--create", &file("backstop.tmpfiles")]);
    assert!(succeeded, "{told}");
    use std::os::unix::fs::MetadataExt;
    let milter = fs::metadata(root.path().join("var/spool/postfix/backstop")).expect("it was made");
    assert_eq!((milter.mode() & 0o7777, milter.gid()), (0o750, 4711), "Postfix and nobody else passes");
}
