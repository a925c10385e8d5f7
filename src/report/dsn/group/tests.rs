//! Tests of the group reader.

use super::*;
use proptest::prelude::*;

/// Reads with LF and with CRLF, which must say the same.
fn read(text: &str) -> Result<Status, DsnError> {
    let lf = Status::read(text.as_bytes());
    let crlf = Status::read(text.replace('\n', "\r\n").as_bytes());
    assert_eq!(format!("{lf:?}"), format!("{crlf:?}"), "LF and CRLF read the same: {text}");
    lf
}

fn addresses(text: &str) -> Vec<String> {
    let status = read(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let name = |recipient: &Recipient| recipient.address.as_ref().map_or("-".to_owned(), ToString::to_string);
    status.recipients.iter().map(|recipient| format!("{} {:?}", name(recipient), recipient.action)).collect()
}

#[test]
fn every_field_of_a_group_is_read() {
    let status = read(
        "Reporting-MTA: dns; mx.example.org (Postfix)\nOriginal-Envelope-Id: QQ314\nX-Postfix-Queue-ID: 4XyZ12\n\
         X-Postfix-Sender: rfc822; news@example.org\nArrival-Date: Sat, 21 Nov 2026 23:50:08 +0000 (UTC)\n\n\
         Final-Recipient: rfc822; joe@inner.example\nOriginal-Recipient: rfc822;joe@example.org\nAction: delayed\n\
         Status: 4.2.2 (over quota)\nRemote-MTA: dns; mx.inner.example [192.0.2.1]\n\
         Diagnostic-Code: SMTP; 452-4.2.2 Mailbox full:\n    452 4.2.2 the recipient\n\tis over quota\n\
         Last-Attempt-Date: Sun, 22 Nov 2026 00:00:00 +0000\nWill-Retry-Until: Thu, 26 Nov 2026 23:50:18 +0000 (UTC)\n",
    )
    .unwrap();
    assert_eq!(status.reporting_mta.as_deref(), Some("mx.example.org (Postfix)"));
    assert_eq!(status.original_envelope_id.as_deref(), Some("QQ314"));
    assert_eq!(status.postfix_queue_id.as_deref(), Some("4XyZ12"));
    assert_eq!(status.arrival_date, "2026-11-21T23:50:08Z".parse().ok());
    let [joe] = &status.recipients[..] else { panic!("one recipient: {:?}", status.recipients) };
    assert_eq!(joe.address.as_ref().map(|address| address.as_str()), Some("joe@example.org"));
    assert_eq!(joe.original_recipient.as_deref(), Some("joe@example.org"));
    assert_eq!(joe.final_recipient.as_deref(), Some("joe@inner.example"));
    assert_eq!(joe.action, Action::Delayed);
    assert_eq!(joe.status.as_deref(), Some("4.2.2 (over quota)"));
    assert_eq!(joe.remote_mta.as_deref(), Some("mx.inner.example [192.0.2.1]"));
    assert_eq!(joe.diagnostic_type.as_deref(), Some("smtp"));
    let reply = "452-4.2.2 Mailbox full: 452 4.2.2 the recipient is over quota";
    assert_eq!(joe.diagnostic_code.as_deref(), Some(reply));
    assert_eq!(joe.will_retry_until, "2026-11-26T23:50:18Z".parse().ok());
}

#[test]
fn groups_are_told_apart_wherever_the_empty_lines_stand() {
    for (what, text, want) in [
        (
            "as the RFC has it",
            "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\n\n\
             Final-Recipient: rfc822; b@x.example\nAction: relayed\nStatus: 2.0.0\n",
            vec!["a@x.example Failed", "b@x.example Relayed"],
        ),
        ("no per-message group", "Final-Recipient: rfc822; a@x.example\nAction: failed\n", vec!["a@x.example Failed"]),
        (
            "no empty line behind it",
            "Reporting-MTA: dns; x\nFinal-Recipient: rfc822; a@x.example\nAction: failed\nStatus: 5.1.1\n",
            vec!["a@x.example Failed"],
        ),
        (
            "several empty lines, with blanks in them",
            "\n\nReporting-MTA: dns; x\n \n\t\n\nFinal-Recipient: rfc822; a@x.example\nAction: failed\n\n\n\n\
             Final-Recipient: rfc822; b@x.example\nAction: expanded\n\n",
            vec!["a@x.example Failed", "b@x.example Expanded"],
        ),
        (
            "none between groups",
            "Original-Recipient: rfc822;a@x.example\nFinal-Recipient: rfc822; a@y.example\nAction: failed\n\
             Original-Recipient: rfc822;b@x.example\nFinal-Recipient: rfc822; b@y.example\nAction: delivered\n",
            vec!["a@x.example Failed", "b@x.example Delivered"],
        ),
        (
            "one amid a group",
            "Final-Recipient: rfc822; a@x.example\n\nAction: failed\nStatus: 5.1.1\n\n\
             Final-Recipient: rfc822; b@x.example\n\nAction: delayed\nStatus: 4.4.1\n",
            vec!["a@x.example Failed", "b@x.example Delayed"],
        ),
        (
            "fields in another order and letter case, blanks ahead of the colon",
            "STATUS: 5.1.1\naction : Failed\nfinal-recipient:rfc822;a@x.example\n\n\
             Status: 4.4.1\nAction: delayed (still trying)\nFinal-Recipient: rfc822; b@x.example\n",
            vec!["a@x.example Failed", "b@x.example Delayed"],
        ),
        (
            "a second recipient without original",
            "Final-Recipient: rfc822; a@y.example\nOriginal-Recipient: rfc822;a@x.example\nAction: failed\n\n\
             Final-Recipient: rfc822; b@y.example\nAction: failed\n",
            vec!["a@x.example Failed", "b@y.example Failed"],
        ),
        (
            "a group that cannot be used beside one that can",
            "Final-Recipient: rfc822; a@x.example\n\nFinal-Recipient: x400; /S=Joe/\nAction: failed\n\nAction: failed\n",
            vec!["- Failed"],
        ),
    ] {
        assert_eq!(addresses(text), want, "{what}");
    }
}

#[test]
fn an_action_that_is_missing_or_unknown_is_told_by_the_status() {
    for (fields, want) in [
        ("Action: error\nStatus: 5.0.0\n", Action::Failed),
        ("Status: 4.4.7\n", Action::Failed), // who says nothing has given up
        ("Status: 2.1.5\n", Action::Delivered),
        ("Diagnostic-Code: smtp; 550 no\n", Action::Failed),
        ("Action:failed\n", Action::Failed),
        ("Action: delivered (to mailbox)\nStatus: 5.0.0\n", Action::Delivered),
    ] {
        let status = read(&format!("Final-Recipient: rfc822; a@x.example\n{fields}")).unwrap();
        assert_eq!(status.recipients[0].action, want, "{fields}");
    }
}

#[test]
fn a_diagnostic_comes_in_many_shapes() {
    for (fields, kind, text) in [
        ("Diagnostic-Code: X-Postfix; unknown user: \"joe\"", Some("x-postfix"), Some("unknown user: \"joe\"")),
        ("Diagnostic-Code: smtp;550 5.1.1 no; really", Some("smtp"), Some("550 5.1.1 no; really")),
        ("Diagnostic-Code: 550 5.1.1 no; really", None, Some("550 5.1.1 no; really")),
        ("Diagnostic-Code: 550;no", None, Some("550;no")),
        ("Diagnostic-Code: smtp;", Some("smtp"), None),
        ("Diagnostic-Code:", None, None),
        (
            "Diagnostic-Code: smtp; 550-no\n550 5.1.1 <a@x.example>: unknown\n<a@x.example>: too",
            Some("smtp"),
            Some("550-no 550 5.1.1 <a@x.example>: unknown <a@x.example>: too"),
        ),
        ("X-Supplementary-Info: < #5.1.1 smtp; 550 no>", None, Some("< #5.1.1 smtp; 550 no>")),
        ("Diagnostic-Code:\nX-Supplementary-Info: smtp; 550 no", Some("smtp"), Some("550 no")),
        ("X-Supplementary-Info: more\nDiagnostic-Code: smtp; 550 no", Some("smtp"), Some("550 no")),
    ] {
        let status = read(&format!("Final-Recipient: rfc822; a@x.example\nAction: failed\n{fields}\n")).unwrap();
        let joe = &status.recipients[0];
        assert_eq!((joe.diagnostic_type.as_deref(), joe.diagnostic_code.as_deref()), (kind, text), "{fields}");
    }
}

#[test]
fn a_status_without_a_group_to_use_says_what_is_missing() {
    let missing = |group, field| DsnError::MissingField { group, field };
    for (text, want) in [
        ("", DsnError::NoGroup),
        ("Reporting-MTA: dns; x\nArrival-Date: never\n", DsnError::NoGroup),
        ("Action: failed\nStatus: 5.1.1\n", missing(1, "Final-Recipient")),
        ("Final-Recipient: rfc822; a@x.example\n", missing(1, "Action")),
        (
            "Action: failed\n\nAction: failed\nFinal-Recipient: \n\nFinal-Recipient: rfc822; a@x.example\n",
            missing(3, "Action"),
        ),
    ] {
        assert_eq!(read(text).err(), Some(want), "{text}");
    }
}

#[test]
fn a_hostile_status_is_read_up_to_its_limits() {
    let long =
        format!("Final-Recipient: rfc822; a@x.example\nAction: failed\nDiagnostic-Code: {}\n", "x".repeat(1 << 20));
    assert_eq!(read(&long).unwrap().recipients[0].diagnostic_code.as_ref().map(String::len), Some(FIELD_BYTES - 1));
    let many = "Final-Recipient: rfc822; a@x.example\nAction: failed\n\n".repeat(GROUPS + 10);
    assert_eq!(Status::read(many.as_bytes()).unwrap().recipients.len(), GROUPS);
}

proptest! {
    #[test]
    fn any_status_is_answered(lines in prop::collection::vec(prop::sample::select(vec![
        "Final-Recipient: rfc822; a@x.example", "Original-Recipient: utf-8;\\x{FC}@x", "Action: failed", "Status: 5",
        "Status: \u{fc}", "Diagnostic-Code: ;;", " folded", "plain", "", " ", "--b", ":", "Reporting-MTA:", ";", "\r",
    ]), 0..20), junk: Vec<u8>) {
        let mut text = lines.join("\n").into_bytes();
        text.extend_from_slice(&junk);
        let named = lines.iter().filter(|line| line.contains("Recipient")).count();
        if let Ok(status) = Status::read(&text) {
            prop_assert!(!status.recipients.is_empty() && status.recipients.len() <= named + junk.len());
        }
    }
}
