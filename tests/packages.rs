//! What the packages ship: all that `make install` puts in place, and nothing that `make uninstall` leaves. That they
//! install, upgrade and purge is tried on a whole machine by `make test-machine`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The directory of the programs under test.
fn programs() -> &'static str {
    Path::new(env!("CARGO_BIN_EXE_backstopd")).parent().and_then(Path::to_str).expect("a UTF-8 path")
}

fn succeeds(command: &mut Command) -> String {
    let output = command.current_dir(source()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
    told
}

fn make(target: &str, root: &Path) {
    let root = format!("DESTDIR={}", root.display());
    let programs = format!("PROGRAMS={}", programs());
    // Not those of a make that runs the tests.
    let mut command = Command::new("make");
    succeeds(command.args(["--silent", target, "PREFIX=/usr", &root, &programs]).env_remove("MAKEFLAGS"));
}

/// Every file below a directory, relative to it, in order.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("readable").flatten() {
            if entry.file_type().expect("a type").is_dir() {
                directories.push(entry.path());
            } else {
                let path = entry.path();
                found.insert(path.strip_prefix(root).expect("below it").to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found
}

/// `packaging/tree deb` or `rpm`, in a directory of its own.
fn tree(package: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("packaging/tree");
    command.arg(package).env("PACKAGE_TREE", directory.path()).env("PROGRAMS", programs()).env_remove("MAKEFLAGS");
    succeeds(&mut command);
    let root = directory.path().join("root");
    (directory, root)
}

fn manifest() -> toml::Table {
    fs::read_to_string(source().join("Cargo.toml")).expect("readable").parse().expect("TOML")
}

/// Which files an asset of Cargo.toml takes, below target/package/root.
fn takes(pattern: &str, file: &str) -> bool {
    let Some(pattern) = pattern.strip_prefix("target/package/root/") else { return false };
    match (pattern.strip_suffix("/**/*"), pattern.strip_suffix("/*")) {
        (Some(directory), _) => file.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')),
        (None, Some(directory)) => Path::new(file).parent() == Some(Path::new(directory)),
        (None, None) => pattern == file,
    }
}

#[test]
fn make_uninstall_takes_away_what_make_install_put_there_but_the_configuration() {
    let root = tempfile::tempdir().expect("a directory");
    make("install-built", root.path());
    let installed = files(root.path());
    for entry in fs::read_dir(source().join("systemd")).expect("the units").flatten() {
        let name = entry.file_name().into_string().expect("a UTF-8 name");
        let there = installed.contains(&format!("usr/lib/systemd/system/{name}"));
        assert_eq!(there, !name.ends_with(".sysusers") && !name.ends_with(".tmpfiles"), "{name}: {installed:?}");
    }
    make("uninstall", root.path());
    assert_eq!(files(root.path()), BTreeSet::from(["etc/backstop/backstop.toml".to_owned()]));
}

#[test]
fn both_packages_ship_what_make_install_puts_in_place() {
    let root = tempfile::tempdir().expect("a directory");
    make("install-built", root.path());
    let installed = files(root.path());
    // Where a package has its own way: compressed pages, Debian's place for zsh, Debian's form of the changelog.
    let at_home = |file: &str| {
        let file = file.strip_suffix(".gz").unwrap_or(file);
        file.replace("zsh/vendor-completions/", "zsh/site-functions/")
    };
    for (package, more, less) in [
        ("deb", &["crates.txt", "lintian/overrides/backstop"][..], &["doc/backstop/CHANGELOG.md"][..]),
        ("rpm", &["crates.txt"][..], &[][..]),
    ] {
        let (_directory, root) = tree(package);
        let shipped: BTreeSet<String> = files(&root).iter().map(|file| at_home(file)).collect();
        let added: Vec<&String> = shipped.difference(&installed).collect();
        let missing: Vec<&String> = installed.difference(&shipped).collect();
        assert!(
            added.len() == more.len() && added.iter().all(|file| more.iter().any(|end| file.ends_with(end))),
            "{package}: {added:?}"
        );
        assert!(
            missing.len() == less.len() && missing.iter().all(|file| less.iter().any(|end| file.ends_with(end))),
            "{package}: {missing:?}"
        );
    }
}

#[test]
fn every_file_of_a_package_is_one_asset_with_the_mode_it_was_installed_with() {
    let manifest = manifest();
    let metadata = &manifest["package"]["metadata"];
    let deb: Vec<(&str, &str)> = metadata["deb"]["assets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|asset| (asset[0].as_str().expect("a pattern"), asset[2].as_str().expect("a mode")))
        .collect();
    let rpm: Vec<(&str, &str)> = metadata["generate-rpm"]["assets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|asset| (asset["source"].as_str().expect("a pattern"), asset["mode"].as_str().expect("a mode")))
        .collect();
    for (package, assets) in [("deb", deb), ("rpm", rpm)] {
        let (_directory, root) = tree(package);
        for file in files(&root) {
            let modes: Vec<&str> =
                assets.iter().filter(|(pattern, _)| takes(pattern, &file)).map(|&(_, mode)| mode).collect();
            let mode = fs::metadata(root.join(&file)).expect("it is there").permissions().mode() & 0o777;
            assert_eq!(modes, [format!("{mode:o}")], "{package}: {file}");
        }
    }
}

#[test]
fn the_scripts_of_packages_are_whole_and_name_every_unit_that_can_be_enabled() {
    let mut enabled = Vec::new();
    for entry in fs::read_dir(source().join("systemd")).expect("the units").flatten() {
        if fs::read_to_string(entry.path()).expect("readable").contains("\n[Install]\n") {
            enabled.push(entry.file_name().into_string().expect("a UTF-8 name"));
        }
    }
    assert!(enabled.len() >= 4, "{enabled:?}");
    for (package, scripts) in [("deb", &["postinst", "prerm", "postrm"][..]), ("rpm", &["post.sh", "preun.sh"][..])] {
        let (directory, _root) = tree(package);
        for script in scripts {
            let path = directory.path().join(if package == "deb" { "debian" } else { "rpm" }).join(script);
            succeeds(Command::new("sh").arg("-n").arg(&path));
            let text = fs::read_to_string(&path).expect("readable");
            for unit in &enabled {
                assert!(text.contains(unit.as_str()), "{script} does not name {unit}");
            }
            assert!(!text.contains("@SOCKETS@") && !text.contains("@TIMERS@"), "{script}");
        }
    }
}

#[test]
fn the_changelog_of_the_package_has_every_entry_in_debians_form() {
    let (directory, _root) = tree("deb");
    let written = fs::read_to_string(directory.path().join("debian/changelog")).expect("it was made");
    let manifest = manifest();
    let version = manifest["package"]["version"].as_str().expect("a version");
    assert!(written.starts_with(&format!("backstop ({version}-1) unstable; urgency=medium\n\n  * ")), "{written}");
    let entries = fs::read_to_string(source().join("CHANGELOG.md")).expect("readable");
    let begun = entries.lines().filter(|line| line.starts_with("- ")).count();
    assert!(written.lines().filter(|line| line.starts_with("  * ")).count() >= begun, "{written}");
    for line in written.lines() {
        let known =
            ["backstop (", "  * ", "    ", " -- Backstop maintainers <"].iter().any(|start| line.starts_with(start));
        assert!(known || line.is_empty(), "{line}");
        assert!(line.starts_with(" -- ") || line.chars().count() <= 80, "{line}");
    }
}
