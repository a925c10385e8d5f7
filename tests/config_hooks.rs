//! `[[hook]]` in `backstop.toml`: what is read, and what is refused in which words.

use backstop::hooks::{Occasion, Secret, Target};
use backstop::ops::config::Config;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("backstop.toml"), text).map_err(|error| error.to_string())
}

fn secret(directory: &tempfile::TempDir, content: &[u8], mode: u32) -> PathBuf {
    let file = directory.path().join("secret");
    std::fs::write(&file, content).expect("writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    file
}

#[test]
fn a_hook_is_read_with_its_defaults_and_its_secret() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = secret(&directory, b"0123456789abcdef\r\n", 0o640);
    let text = format!(
        "[[hook]]\nname = \"crm\"\nurl = \"https://Crm.example.com/in\"\nsecret_file = \"{}\"\n\
         on = [\"release\", \"suppress\", \"release\"]\n\
         [[hook]]\nname = \"p-2_x\"\ncommand = [\"/bin/true\", \"a b\"]\non = [\"alert\"]\ntimeout_secs = 300\n\
         give_up_after_hours = 1\n",
        file.display()
    );
    let hooks = parse(&text).expect("whole").hooks;
    let Target::Url { url, secret } = &hooks[0].target else { panic!("a url") };
    assert_eq!((url.tls, url.port, url.path.as_str()), (true, 443, "/in"));
    assert_eq!(*secret, Some(Secret::new(b"0123456789abcdef".to_vec())), "without the end of its line");
    assert_eq!(hooks[0].on, [Occasion::Release, Occasion::Suppress]);
    let three_days = Duration::from_secs(3 * 86_400);
    assert_eq!((hooks[0].timeout, hooks[0].give_up_after), (Duration::from_secs(10), three_days));
    assert_eq!(hooks[1].target, Target::Program(vec!["/bin/true".to_owned(), "a b".to_owned()]));
    assert_eq!((hooks[1].timeout.as_secs(), hooks[1].give_up_after.as_secs()), (300, 3600));
    // The same file with another secret is another hook.
    std::fs::write(&file, "fedcba9876543210").expect("writable");
    assert_ne!(parse(&text).expect("whole").hooks[0], hooks[0]);
}

#[test]
fn what_cannot_be_used_is_told_with_its_line() {
    let many: String = (0..33)
        .map(|number| format!("[[hook]]\nname = \"h{number}\"\ncommand = [\"/x\"]\non = [\"alert\"]\n"))
        .collect();
    for (text, want) in [
        ("hook = 9", "1: hook: takes an array of tables, not an integer"),
        ("[[hook]]\nurl = \"http://a/\"", "1: hook: has no name; give it one, such as name = \"crm\""),
        ("[[hook]]\nname = \"Crm\"", "2: hook.name: \"Crm\" cannot be used; it takes 1 to 32 of a-z, 0-9, - and _"),
        ("[[hook]]\nname = \"a\"\n", "1: hook: a has neither command nor url; give it one of them"),
        (
            "[[hook]]\nname = \"a\"\ncommand = [\"/x\"]\nurl = \"http://a/\"",
            "4: hook.url: a has a command, too; it takes one of them",
        ),
        (
            "[[hook]]\nname = \"a\"\ncommand = [\"x\"]",
            "3: hook.command: begins with the absolute path of a program, such as [\"/usr/local/bin/told\"]",
        ),
        (
            "[[hook]]\nname = \"a\"\ncommand = \"/x\"",
            "3: hook.command: takes a list of strings, [\"...\", \"...\"], not a string",
        ),
        (
            "[[hook]]\nname = \"a\"\nurl = \"ftp://a/\"",
            "3: hook.url: the URL is neither https nor http; write it as https://example.com/path",
        ),
        (
            "[[hook]]\nname = \"a\"\nurl = \"http://a/\"",
            "1: hook: a tells nothing; say what it is told, such as on = [\"suppress\", \"release\"]",
        ),
        (
            "[[hook]]\nname = \"a\"\nurl = \"http://a/\"\non = [\n\"suppress\",\n\"test\"]",
            "6: hook.on: \"test\" cannot be used; it takes \"suppress\", \"release\", \"complaint\", \"alert\"",
        ),
        (
            "[[hook]]\nname = \"a\"\nurl = \"http://a/\"\non = [\"alert\"]\ntimeout_secs = 301",
            "5: hook.timeout_secs: 301 cannot be used; it takes a whole number of seconds from 1 to 300",
        ),
        (
            "[[hook]]\nname = \"a\"\nurl = \"http://a/\"\non = [\"alert\"]\nretries = 3",
            "5: hook.retries: unknown key; it takes name and command and url and secret_file and on and timeout_secs and \
             give_up_after_hours",
        ),
        (
            "[[hook]]\nname = \"a\"\nurl = \"http://a/\"\non = [\"alert\"]\n\
             [[hook]]\nname = \"a\"\nurl = \"http://b/\"\non = [\"alert\"]",
            "6: hook.name: \"a\" is the name of another hook; each has its own",
        ),
        (&many, "1: hook: names 33 hooks; it takes 32 at most"),
    ] {
        assert_eq!(parse(text).expect_err(text), format!("backstop.toml:{want}"), "{text}");
    }
}

#[test]
fn a_secret_that_anybody_can_read_or_guess_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (content, mode, want) in [
        (b"0123456789abcdef".as_slice(), 0o644, "mode 0644: everybody can read this secret"),
        (b"0123456789abcdef", 0o602, "mode 0602"),
        (b"0123456789abcde\n", 0o600, "a secret has 16 to 4096 octets"),
        (&[b'x'; 5000], 0o600, "a secret has 16 to 4096 octets"),
        (b"", 0o600, "a secret has"),
    ] {
        let file = secret(&directory, content, mode);
        let text = format!(
            "[[hook]]\nname = \"a\"\non = [\"alert\"]\nurl = \"http://a/\"\nsecret_file = \"{}\"",
            file.display()
        );
        let error = parse(&text).expect_err(want);
        let head = format!("backstop.toml:5: hook.secret_file: {}: ", file.display());
        assert!(error.starts_with(&head) && error.contains(want), "{error}");
        assert!(!error.contains("0123456789"), "{error}");
    }
    for (file, want) in
        [("/nonexistent/secret", "No such file"), ("/", "is no file"), ("secret", "is no absolute path")]
    {
        let text = format!("[[hook]]\nname = \"a\"\nurl = \"http://a/\"\non = [\"alert\"]\nsecret_file = \"{file}\"");
        let error = parse(&text).expect_err(file);
        assert!(error.starts_with("backstop.toml:5: hook.secret_file: ") && error.contains(want), "{error}");
    }
    let text = "[[hook]]\nname = \"a\"\ncommand = [\"/x\"]\non = [\"alert\"]\nsecret_file = \"/dev/null\"";
    assert!(parse(text).is_err());
}
