//! `backstopctl postfix` on configurations of Postfix, as files: what `print` prints is applied with postconf(1), what
//! `check` finds is mended by the commands it names. No Postfix runs here; `postfix/attaching.rs` has one that does.

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A machine's two configurations, and something that answers as a milter does.
struct Host {
    dir: TempDir,
}

impl Host {
    /// With these lines of main.cf, of master.cf, and of backstop.toml.
    fn with(main: &str, master: &str, backstop: &str) -> Host {
        let dir = tempfile::Builder::new().prefix("host-").tempdir().expect("a directory");
        let host = Host { dir };
        let readable = |path: &PathBuf| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
        readable(&host.dir.path().to_owned());
        for directory in ["conf", "queue", "queue/backstop"] {
            fs::create_dir(host.path(directory)).expect("made");
            readable(&host.path(directory));
        }
        let queue = host.path("queue");
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {}\nmyhostname = mx.example.net\nmydestination = localhost\n\
             virtual_alias_maps =\nlocal_recipient_maps =\n{main}\n",
            queue.display()
        );
        let usual = "smtp inet n - y - - smtpd\npickup unix n - y 60 1 pickup\ncleanup unix n - y - 0 cleanup\n\
                     lmtp unix - - y - - lmtp\n";
        fs::write(host.path("conf/main.cf"), main).expect("written");
        fs::write(host.path("conf/master.cf"), format!("{usual}{master}\n")).expect("written");
        let socket = host.path("queue/backstop/milter.sock");
        let backstop = format!("[milter]\nlisten = [\"unix:{}\"]\n{backstop}", socket.display());
        fs::write(host.path("backstop.toml"), backstop).expect("written");
        let listener = UnixListener::bind(&socket).expect("bound");
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("ours");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut offer = [0; 17];
                if stream.read_exact(&mut offer).is_ok() {
                    let _ = stream.write_all(b"\0\0\0\x0dO\0\0\0\x06\0\0\0\0\0\0\0\0");
                }
            }
        });
        host.age();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes the files look as if they were older: of fresh ones, Postfix's tools wait until they are complete.
    fn age(&self) {
        for name in ["conf/main.cf", "conf/master.cf"] {
            let file = fs::File::options().append(true).open(self.path(name)).expect("there");
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).expect("ours");
        }
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        let places = ["--config", &self.path("backstop.toml").display().to_string()].map(str::to_owned);
        Command::new(env!("CARGO_BIN_EXE_backstopctl"))
            .arg("postfix")
            .args(arguments)
            .args(places)
            .arg("--postfix-config")
            .arg(self.path("conf"))
            .output()
            .expect("backstopctl was built")
    }

    /// Applies lines that were printed, but for what needs a Postfix or a daemon that runs.
    fn paste(&self, lines: &[String]) {
        let now = lines.iter().filter(|line| !line.ends_with(" reload") && !line.starts_with("systemctl"));
        let script: String = now.map(|line| format!("{line}\n")).collect();
        let output = Command::new("sh").args(["-ec", &script]).env_remove("MAIL_CONFIG").output().expect("a shell");
        assert!(output.status.success(), "{script}{}", String::from_utf8_lossy(&output.stderr));
        self.age();
    }

    fn print(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.ctl(&[&["print"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    /// The exit status, and what is not as it should be, worst first.
    fn check(&self) -> (i32, Vec<Value>) {
        let output = self.ctl(&["check", "--json"]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let findings = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        let findings = findings.filter(|finding: &Value| finding["level"] != "ok").collect();
        (output.status.code().expect("it ended by itself"), findings)
    }

    fn postconf(&self, arguments: &[&str]) -> String {
        let conf = self.path("conf");
        let output = Command::new("postconf").arg("-c").arg(conf).args(arguments).output().expect("postconf(1)");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        self.age();
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// All that is set in main.cf and master.cf.
    fn settings(&self) -> String {
        self.postconf(&["-n"]) + &self.postconf(&["-M"])
    }
}

fn fixes(finding: &Value) -> Vec<String> {
    let lines = finding["fix"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.iter().map(|line| line.as_str().expect("text").to_owned()).collect()
}

const HOSTS: [(&str, &str); 4] = [
    ("", ""),
    ("smtpd_milters = inet:localhost:8891, unix:x/y\nnon_smtpd_milters = $smtpd_milters", ""),
    (
        "smtpd_milters = unix:a/b\ninternal_mail_filter_classes = notify\n\
         transport_maps = inline:{ { x.example = discard: }, y.example=discard: }",
        "submission inet n - y - - smtpd\n  -o smtpd_milters=inet:localhost:11332\n  -o syslog_name=postfix/submission",
    ),
    ("smtpd_milters = { unix:it's/a.sock, default_action=tempfail }", "587 inet n - y - - smtpd -o smtpd_milters="),
];

#[test]
fn what_print_prints_makes_check_content_and_undo_brings_back_what_was() {
    for (main, master) in HOSTS {
        let host = Host::with(main, master, "");
        let before = host.settings();
        assert_eq!(host.check().0, 1, "not attached: {main} {master}");
        host.paste(&host.print(&[]));
        assert_eq!(host.check().0, 0, "{main} {master}: {:#?}", host.check().1);
        assert!(host.print(&[])[0].contains("nothing is to be done"));
        host.paste(&host.print(&["--undo"]));
        assert_eq!(host.settings(), before, "{main} {master}");
        assert!(host.print(&["--undo"])[0].contains("nothing is to be taken off"));
    }
}

#[test]
fn each_thing_that_is_broken_is_found_and_mended_by_the_command_it_names() {
    let backstop = "[return_path]\ndomains = [\"bounces.example.com\"]\naddresses = [\"fbl+*@example.net\"]\n\
                    [authority]\nsign = true\n";
    let main = "virtual_alias_domains = bounces.example.com\n\
                virtual_alias_maps = inline:{ { @bounces.example.com = postmaster }, { fbl@example.net = postmaster } }\n\
                virtual_mailbox_domains = example.net\nvirtual_mailbox_maps = inline:{ x@example.net=x }\n\
                recipient_delimiter = +\nsmtpd_milters = inet:localhost:8891\nnon_smtpd_milters = inet:localhost:8891";
    let host = Host::with(main, "submission inet n - y - - smtpd -o smtpd_milters=inet:localhost:8891", backstop);
    host.paste(&host.print(&[]));
    let (exit, fine) = host.check();
    assert_eq!(exit, 0, "{fine:#?}");
    let fine: Vec<Value> = fine.iter().map(|finding| finding["check"].clone()).collect();
    let milter = "unix:backstop/milter.sock";
    for (check, broken) in [
        ("attached", vec!["-e".to_owned(), "smtpd_milters = inet:localhost:8891".to_owned()]),
        ("attached", vec!["-e".to_owned(), "non_smtpd_milters =".to_owned()]),
        ("attached", vec!["-P".to_owned(), "submission/inet/smtpd_milters=inet:localhost:8891".to_owned()]),
        ("attached", vec!["-e".to_owned(), "smtpd_milters = unix:/backstop/old.sock, inet:localhost:8891".to_owned()]),
        (
            "order",
            vec![
                "-e".to_owned(),
                format!(
                    "smtpd_milters = inet:localhost:8891, {{ {milter}, default_action=accept, connect_timeout=5s }}"
                ),
            ],
        ),
        ("classes", vec!["-e".to_owned(), "internal_mail_filter_classes = notify".to_owned()]),
        ("no-milters", vec!["-e".to_owned(), "receive_override_options = no_milters".to_owned()]),
        ("no-milters", vec!["-P".to_owned(), "pickup/unix/receive_override_options=no_milters".to_owned()]),
        ("default-action", vec!["-e".to_owned(), format!("smtpd_milters = {{ {milter}, default_action=reject }}")]),
        ("default-action", vec!["-e".to_owned(), format!("smtpd_milters = {{ {milter}, connect_timeout=5s }}")]),
        ("default-action", vec!["-P".to_owned(), format!("submission/inet/smtpd_milters={milter}")]),
        ("protocol", vec!["-e".to_owned(), "milter_protocol = 2".to_owned()]),
        ("timeout", vec!["-e".to_owned(), "milter_content_timeout = 10s".to_owned()]),
        ("soft-bounce", vec!["-e".to_owned(), "soft_bounce = yes".to_owned()]),
        ("queue-lifetime", vec!["-e".to_owned(), "maximal_queue_lifetime = 30d".to_owned()]),
        ("return-path", vec!["-e".to_owned(), "virtual_alias_domains =".to_owned()]),
        ("return-path", vec!["-e".to_owned(), "virtual_alias_maps = inline:{ fbl@example.net=x }".to_owned()]),
        ("return-path", vec!["-e".to_owned(), "recipient_delimiter =".to_owned()]),
        ("rewriting", vec!["-e".to_owned(), "masquerade_domains = example.com".to_owned()]),
        ("selftest", vec!["-e".to_owned(), "transport_maps =".to_owned()]),
    ] {
        let broken: Vec<&str> = broken.iter().map(String::as_str).collect();
        host.postconf(&broken);
        let (mut exit, mut found) = host.check();
        let finding = found.iter().find(|finding| finding["check"] == check);
        let finding = finding.unwrap_or_else(|| panic!("{broken:?}: no finding {check} in {found:#?}"));
        assert_eq!(exit, if finding["level"] == "hint" { 0 } else { 1 }, "{broken:?}");
        assert!(finding["if_left"].is_string(), "{broken:?}: {finding}");
        // One after the other: mending one thing may mend the next.
        for _ in 0..3 {
            let Some(next) = found.iter().find(|finding| !fine.contains(&finding["check"])) else { break };
            assert!(!fixes(next).is_empty(), "{broken:?}: {next}");
            host.paste(&fixes(next));
            (exit, found) = host.check();
        }
        let checks: Vec<Value> = found.iter().map(|finding| finding["check"].clone()).collect();
        assert_eq!((exit, &checks), (0, &fine), "{broken:?}: {found:#?}");
    }
}

#[test]
fn the_way_to_the_socket_is_looked_at_and_mended() {
    let host = Host::with("", "", "");
    host.paste(&host.print(&[]));
    assert_eq!(host.check().0, 0, "{:#?}", host.check().1);
    let socket_findings = || -> Vec<Value> {
        host.check()
            .1
            .into_iter()
            .filter(|finding| finding["check"] == "socket" && finding["level"] == "error")
            .collect()
    };
    let root = nix::unistd::geteuid().is_root();
    for (path, mode, word) in
        [("queue/backstop", 0o700, "pass through"), ("queue/backstop/milter.sock", 0o600, "write to")]
    {
        let path = host.path(path);
        let before = fs::metadata(&path).expect("there").permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        let found = socket_findings();
        assert!(found.len() == 1 && found[0]["what"].as_str().expect("text").contains(word), "{found:#?}");
        if root {
            host.paste(&fixes(&found[0]));
            assert_eq!(socket_findings(), Vec::<Value>::new(), "{:?}", fixes(&found[0]));
        }
        fs::set_permissions(&path, before).expect("ours");
    }
    fs::remove_file(host.path("queue/backstop/milter.sock")).expect("ours");
    assert!(socket_findings()[0]["what"].as_str().expect("text").contains("is not there"));
}

#[test]
fn nothing_is_changed_by_looking() {
    let host = Host::with("smtpd_milters = inet:localhost:8891", "", "");
    let files = || ["conf/main.cf", "conf/master.cf"].map(|name| fs::read(host.path(name)).expect("readable"));
    let before = files();
    host.check();
    host.print(&[]);
    host.print(&["--undo"]);
    assert_eq!(files(), before);
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_own_exit_status() {
    let host = Host::with("", "", "");
    let said = |output: Output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
    fs::write(host.path("backstop.toml"), "mode = \"maybe\"\n").expect("written");
    let (exit, problem) = said(host.ctl(&["check"]));
    assert!(exit == Some(78) && problem.contains("backstop.toml:1"), "{exit:?} {problem}");
    fs::write(host.path("backstop.toml"), "").expect("written");
    let (exit, problem) = said(host.ctl(&["print"]));
    assert!(exit == Some(78) && problem.contains("chroot") && problem.contains("listen = "), "{exit:?} {problem}");
    fs::remove_file(host.path("conf/main.cf")).expect("there");
    let (exit, problem) = said(host.ctl(&["check"]));
    assert!(exit == Some(78) && problem.contains("main.cf"), "{exit:?} {problem}");
}

#[test]
fn a_person_reads_the_same_as_a_program() {
    let host = Host::with("", "", "");
    let text = String::from_utf8(host.ctl(&["check"]).stdout).expect("UTF-8");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, found) = host.check();
    assert!(found.len() >= 3, "{found:#?}");
    for finding in &found {
        for part in ["what", "if_left"] {
            let part = finding[part].as_str().expect("text");
            assert!(words(&text).contains(&words(part)), "{part}\n{text}");
        }
        for line in fixes(finding) {
            assert!(text.lines().any(|shown| shown.trim() == line), "{line} stands on a line of its own\n{text}");
        }
    }
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.iter().all(|line| line.trim_start().starts_with("postconf")), "only commands are wider: {wide:#?}");
}
