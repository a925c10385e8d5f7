//! Keeps the arrows of the layout true: who may know whom (see the module list in `src/lib.rs`).
//!
//! Read as text: every `crate::name` in a module's files must point to a module it may know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module with all it may know. `ops::event`, where log lines and counters are made, is open to
/// everything that does I/O.
const MAY_KNOW: [(&str, &[&str]); 14] = [
    ("mail", &[]),
    ("report", &["mail"]),
    ("classify", &["mail", "report"]),
    ("policy", &["mail", "report", "classify"]),
    ("bulk", &["mail", "report", "classify", "policy"]),
    ("store", &["mail", "report", "classify", "policy", "ops::event"]),
    ("milter", &["mail", "ops::event"]),
    ("authority", &["mail", "report", "classify", "policy", "store", "ops::event"]),
    ("outbound", &["mail", "milter", "report", "classify", "policy", "store", "authority", "ops::event"]),
    ("inbound", &["mail", "milter", "report", "classify", "policy", "store", "authority", "ops::event"]),
    (
        "service",
        &["mail", "milter", "report", "classify", "policy", "store", "authority", "outbound", "inbound", "ops::event"],
    ),
    ("hooks", &["mail", "report", "policy", "store", "ops::event"]),
    (
        "admin",
        &[
            "mail",
            "report",
            "classify",
            "policy",
            "bulk",
            "store",
            "authority",
            "outbound",
            "inbound",
            "service",
            "hooks",
            "ops::event",
        ],
    ),
    // Wires everything together; nothing to forbid.
    ("ops", &["*"]),
];

/// Files that do no I/O and read no clock, with what must not be named in them.
const PURE: [&str; 18] = [
    "mail",
    "report",
    "classify",
    "policy",
    "authority/token.rs",
    "bulk/format.rs",
    "bulk/lines.rs",
    "bulk/meaning.rs",
    "bulk/read.rs",
    "bulk/subject.rs",
    "milter/packet.rs",
    "milter/command.rs",
    "milter/reply.rs",
    "milter/negotiation.rs",
    "milter/macros.rs",
    "milter/session.rs",
    "milter/transaction.rs",
    "milter/listen.rs",
];
const IMPURE_WORDS: [&str; 8] = [
    "tokio::",
    "std::net::Tcp",
    "std::os::unix::net",
    "Timestamp::now",
    "SystemTime::now",
    "Instant::now",
    "ops::event",
    "std::fs",
];

/// Words that belong to one place alone.
const ONLY_IN: [(&str, &str); 2] = [("sled::", "store/"), ("mail_parser::", "mail/mime")];

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("src is readable") {
        let path = entry.expect("an entry of src").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

/// Every source file below `src`, by its path there; files of tests, tests at the end and comments left out.
fn sources() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeMap<_, _> = rust_files(&src)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let code = text.split("#[cfg(test)]").next().expect("split gives at least one piece");
            let code: String = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .map(|line| format!("{line}\n"))
                .collect();
            (path.strip_prefix(&src).expect("below src").display().to_string(), code)
        })
        .collect();
    assert!(files.len() > 30, "found only {} source files", files.len());
    files
}

/// The targets of `crate::...`, braces spelled out: `crate::{mail::Address, store}` names `mail::Address`
/// and `store`.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (place, _) in code.match_indices("crate::") {
        let rest = &code[place + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 1;
                let mut item = String::new();
                for letter in group.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        _ => {}
                    }
                    if depth == 0 || (depth == 1 && letter == ',') {
                        paths.insert(item.trim().to_owned());
                        item.clear();
                    } else {
                        item.push(letter);
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            None => {
                let end = rest.find(|letter: char| !(letter.is_alphanumeric() || "_:".contains(letter)));
                paths.insert(rest[..end.unwrap_or(rest.len())].to_owned());
            }
        }
    }
    paths.remove("");
    paths
}

#[test]
fn a_module_knows_only_what_stands_before_it_on_the_path_of_the_mail() {
    for (file, code) in sources() {
        let module = file.split(['/', '.']).next().expect("a path has a first piece");
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == module) else { continue };
        if allowed.contains(&"*") {
            continue;
        }
        for path in crate_paths(&code) {
            let known = path.starts_with(module)
                || allowed.iter().any(|name| path == *name || path.starts_with(&format!("{name}::")));
            assert!(known, "src/{file} names crate::{path}, which {module} must not know");
        }
    }
}

#[test]
fn every_module_has_its_place_among_the_arrows() {
    let wiring = ["lib", "bin", "ctl"];
    for file in sources().keys() {
        let module = file.split(['/', '.']).next().expect("a path has a first piece");
        let placed = MAY_KNOW.iter().any(|(name, _)| *name == module) || wiring.contains(&module);
        assert!(placed, "src/{file}: add {module} to MAY_KNOW");
    }
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    for (file, code) in sources() {
        if PURE.iter().any(|pure| file.starts_with(pure)) {
            for word in IMPURE_WORDS {
                assert!(!code.contains(word), "src/{file} names {word}");
            }
        }
    }
}

#[test]
fn sled_and_the_mime_parser_are_named_in_one_place_each() {
    for (file, code) in sources() {
        for (word, place) in ONLY_IN {
            assert!(!code.contains(word) || file.starts_with(place), "src/{file} names {word}");
        }
    }
}
