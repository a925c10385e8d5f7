//! Attaching to a Postfix that runs, by the lines that `backstopctl postfix print` prints, and taking it off again.

use crate::daemon::said;
use crate::rig::{PATIENCE, RETURN_PATH, Rig, newsletter, within};
use std::process::{Command, Output};

/// What `backstopctl postfix ...` says of the rig's Postfix.
fn ctl(rig: &Rig, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstopctl"))
        .arg("postfix")
        .args(arguments)
        .arg("--config")
        .arg(rig.daemon.config())
        .arg("--postfix-config")
        .arg(rig.configuration())
        .output()
        .expect("backstopctl was built")
}

/// What was printed, as if on one line.
fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Pastes the lines into a shell.
fn paste(rig: &Rig, arguments: &[&str]) -> String {
    let printed = ctl(rig, arguments);
    assert!(printed.status.success(), "{}", said(&printed));
    let lines = String::from_utf8(printed.stdout).expect("UTF-8");
    let pasted = Command::new("sh").args(["-ec", &lines]).env_remove("MAIL_CONFIG").output().expect("a shell");
    assert!(pasted.status.success(), "{lines}\n{}", said(&pasted));
    lines
}

fn parameters(rig: &Rig) -> String {
    let output = Command::new("postconf").arg("-c").arg(rig.configuration()).arg("-n").output().expect("postconf(1)");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn postfix_is_attached_by_the_printed_lines_and_taken_off_again_as_it_was() {
    let rig = Rig::start();
    // The rig's Postfix begins attached.
    paste(&rig, &["print", "--undo"]);
    let before = parameters(&rig);
    assert!(!before.contains("milters") && !before.contains("internal_mail_filter_classes"), "{before}");
    let report = ctl(&rig, &["check"]);
    assert_eq!(report.status.code(), Some(1), "{}", said(&report));
    assert!(words(&report).contains("smtpd_milters in main.cf does not name Backstop"), "{}", said(&report));

    let lines = paste(&rig, &["print"]);
    assert!(lines.ends_with(" reload\n"), "{lines}");
    // The rig's directory of sockets is everybody's, which is found, and mended by what is said.
    let report = ctl(&rig, &["check"]);
    assert_eq!(report.status.code(), Some(1), "{}", said(&report));
    let told = String::from_utf8_lossy(&report.stdout).into_owned();
    let mended = told.lines().find(|line| line.trim_start().starts_with("chmod o-w ")).expect("a command");
    assert!(Command::new("sh").args(["-ec", mended]).status().expect("a shell").success(), "{mended}");
    let report = ctl(&rig, &["check"]);
    assert_eq!(report.status.code(), Some(0), "{}", said(&report));
    assert!(words(&report).contains("tried by connecting as postfix"), "{}", said(&report));
    assert!(paste(&rig, &["print"]).contains("nothing is to be done"));

    // smtpd(8) processes from before the reload may take one more session.
    within(PATIENCE, || {
        rig.send_campaign("c1", &["bob@hard.test"]);
        match rig.daemon.state("bob@hard.test").as_str() {
            "bounced" => Ok(()),
            other => Err(format!("bob@hard.test is {other}")),
        }
    });
    assert_eq!(rig.log().matches("Milter service").count(), 0, "{}", rig.log());

    paste(&rig, &["print", "--undo"]);
    assert_eq!(parameters(&rig), before);
    within(PATIENCE, || {
        rig.send_campaign("c2", &["bob@hard.test"]);
        match rig.delivery_attempts("bob@hard.test") {
            attempts if attempts >= 2 => Ok(()),
            attempts => Err(format!("still screened: {attempts} deliveries")),
        }
    });
}

#[test]
fn the_socket_is_tried_as_postfix_reaches_it() {
    let mut rig = Rig::start();
    paste(&rig, &["print"]);
    let answers = |rig: &Rig| words(&ctl(rig, &["check"])).contains("sock answers as a milter");
    assert!(answers(&rig));
    rig.daemon.stop();
    let report = ctl(&rig, &["check"]);
    assert_eq!(report.status.code(), Some(1));
    assert!(!answers(&rig) && words(&report).contains("systemctl"), "{}", said(&report));
    rig.daemon.start();
    assert!(answers(&rig), "and again");
}

#[test]
fn a_service_with_milters_of_its_own_asks_backstop_too_by_the_printed_line() {
    let rig = Rig::start();
    let postconf = |arguments: &[&str]| {
        let output =
            Command::new("postconf").arg("-c").arg(rig.configuration()).args(arguments).output().expect("postconf(1)");
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    // The port where no milter is asked gets one that is not there.
    let services = postconf(&["-M"]);
    let service = services.lines().find(|line| line.contains("-o smtpd_milters=")).expect("rig.sh has it");
    let service = service.split_whitespace().next().expect("a name");
    postconf(&["-P", &format!("{service}/inet/smtpd_milters={{unix:none.sock,default_action=accept}}")]);
    let report = words(&ctl(&rig, &["check"]));
    assert!(report.contains(&format!("smtpd_milters of {service}/inet in master.cf does not name")), "{report}");
    let lines = paste(&rig, &["print"]);
    assert!(lines.contains(&format!("{service}/inet/smtpd_milters={{unix:")), "{lines}");
    assert!(!words(&ctl(&rig, &["check"])).contains("does not name"));

    rig.daemon.suppress("ann@good.test");
    within(PATIENCE, || {
        let reply = rig.client_without_milter().send(RETURN_PATH, &["ann@good.test"], &newsletter("c1", "hello"));
        assert!(reply.accepted(), "{reply:?}\n{}", rig.log());
        rig.wait_until_idle();
        if rig.log().contains("milter-discard") { Ok(()) } else { Err("not screened".to_owned()) }
    });

    paste(&rig, &["print", "--undo"]);
    assert!(
        postconf(&["-M"]).contains("smtpd_milters={unix:none.sock,default_action=accept}"),
        "{}",
        postconf(&["-M"])
    );
}
