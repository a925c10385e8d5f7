//! `tests/sentences.txt` says by which tests each sentence of SPEC 6 and 7 is proved; here, that they exist.

use std::path::Path;

#[test]
fn every_sentence_has_tests_and_they_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let list = read("tests/sentences.txt");
    let (mut sentences, mut tests, mut missing) = (0, 1, Vec::new());
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(sentence) = line.strip_prefix("> ") {
            assert!(tests > 0, "no test for the sentence ahead of \"{sentence}\"");
            (sentences, tests) = (sentences + 1, 0);
            continue;
        }
        tests += 1;
        let (file, name) = line.split_once(' ').unwrap_or((line, ""));
        let is_there = match name {
            "" => file.starts_with("tests/dialogues/") && root.join(file).is_file(),
            name => read(file).contains(&format!("fn {name}(")),
        };
        if !is_there {
            missing.push(line);
        }
    }
    assert!(tests > 0, "no test for the last sentence");
    assert!(sentences >= 50, "found only {sentences} sentences");
    assert!(missing.is_empty(), "there are no such tests:\n{}", missing.join("\n"));
}
