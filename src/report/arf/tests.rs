use super::*;
use crate::mail::Limits;

const RETURNED: &str = "Message-ID: <7@shop.example.com>\nTo: joe@example.org\nSubject: Spring sale\n\nbuy\n";

/// A feedback report of these fields that returns this message.
fn complaint(fields: &str, returned: &str) -> String {
    format!(
        "From: feedback@mx.example.net\nMessage-ID: <fb@mx.example.net>\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
         --b\nContent-Type: text/plain\n\nsaid to be spam\n\
         --b\nContent-Type: message/feedback-report\n\n{fields}\n\
         --b\nContent-Type: message/rfc822\n\n{returned}\n--b--\n"
    )
}

fn expect(mail: &str) -> Report {
    read(&Message::read(mail.as_bytes(), &Limits::default())).unwrap_or_else(|| panic!("no complaint: {mail}"))
}

fn addresses(report: &Report) -> Vec<&str> {
    report.recipients.iter().map(|recipient| recipient.address.as_ref().map_or("-", Address::as_str)).collect()
}

#[test]
fn the_type_says_whether_it_is_a_complaint() {
    for (fields, want, reason) in [
        ("Feedback-Type: abuse", Kind::Complaint, Some("abuse")),
        ("FEEDBACK-TYPE:Abuse", Kind::Complaint, Some("abuse")),
        ("Feedback-Type: fraud", Kind::Complaint, Some("fraud")),
        ("Feedback-Type: not-spam", Kind::NotSpam, Some("not-spam")),
        ("Feedback-Type: opt-out", Kind::OptOut, Some("opt-out")),
        ("Feedback-Type: auth-failure", Kind::Other, Some("auth-failure")),
        ("Feedback-Type: abuse\nAuth-Failure: dkim", Kind::Other, Some("abuse")),
        ("Feedback-Type: \u{e4}", Kind::Complaint, None),
        ("Feedback-Type:", Kind::Complaint, None),
        ("Version: 1", Kind::Complaint, None),
    ] {
        let report = expect(&complaint(fields, RETURNED));
        assert_eq!((report.kind, report.feedback_type.as_deref()), (want, reason), "{fields}");
    }
}

#[test]
fn the_fields_about_the_message_are_read() {
    let report = expect(&complaint(
        "Feedback-Type: abuse\nReporting-MTA: dns; mx.example.net\nOriginal-Envelope-Id: e7\n\
         Received-Date: Sun, 12 Apr 2026 06:00:04 +0200 (CEST)\nSource-IP: [192.0.2.10]",
        RETURNED,
    ));
    assert_eq!(report.reporting_mta.as_deref(), Some("mx.example.net"));
    assert_eq!(report.original_envelope_id.as_deref(), Some("e7"));
    assert_eq!(report.arrival_date, "2026-04-12T04:00:04Z".parse().ok());
    assert_eq!(report.message_id, Some(MessageId("fb@mx.example.net".into())));
    assert_eq!(report.returned.and_then(|returned| returned.message_id), Some(MessageId("7@shop.example.com".into())));
    assert_eq!(
        report.recipients[0].diagnostic_code.as_deref(),
        Some("Feedback-Type: abuse; Source-IP: 192.0.2.10"),
        "brackets are not kept"
    );
}

#[test]
fn the_recipients_come_from_the_first_source_that_has_a_contact() {
    for (fields, returned, want) in [
        ("Original-Rcpt-To: <joe@example.org>\nRemoval-Recipient: ann@example.org", RETURNED, &["joe@example.org"][..]),
        ("Original-Rcpt-To: redacted\nRemoval-Recipient: ann@example.org", RETURNED, &["ann@example.org"]),
        (
            "Original-Rcpt-To: a@example.org, b@example.org\nOriginal-Rcpt-To: A@example.org",
            RETURNED,
            &["a@example.org", "b@example.org"],
        ),
        ("Original-Rcpt-To: RFC822; joe@example.org", RETURNED, &["joe@example.org"]),
        ("Original-Rcpt-To: redacted@example.org", RETURNED, &["-"]), // the To is somebody, but not who complains
        ("Redacted-Address: redacted", RETURNED, &["-"]),
        ("", "X-HmXmrOriginalRecipient: ann@example.org\nTo: joe@example.org\n\n", &["ann@example.org"]),
        ("", RETURNED, &["joe@example.org"]),
        ("", "To: joe@example.org, ann@example.org\n\n", &[]),
        ("", "To: joe@example.org\nTo: ann@example.org\n\n", &[]),
        ("", "To: [redacted]\n\n", &["-"]),
        ("", "Subject: no To\n\n", &[]),
    ] {
        assert_eq!(addresses(&expect(&complaint(&format!("Version: 1\n{fields}"), returned))), want, "{fields}");
    }
}

#[test]
fn fields_stand_in_for_a_message_that_does_not_come_back() {
    let report = expect(&complaint("Original-Message-ID: <7@shop.example.com>\nCFBL-Feedback-ID: 3:7", "\n"));
    let returned = report.returned.expect("the fields name the message");
    assert_eq!(returned.message_id, Some(MessageId("7@shop.example.com".into())));
    assert_eq!(returned.headers.get("CFBL-Feedback-ID").as_deref(), Some("3:7"));
    let both = expect(&complaint("CFBL-Feedback-ID: other", &format!("CFBL-Feedback-ID: own\n{RETURNED}")));
    let headers = both.returned.expect("it came back").headers;
    assert_eq!(headers.all("CFBL-Feedback-ID").collect::<Vec<_>>(), ["own"]);
}

#[test]
fn a_feedback_loop_that_only_forwards_is_known_by_its_sender() {
    let hotmail = "X-HmXmrOriginalRecipient: joe@hotmail.example\nTo: joe@hotmail.example\n\nbuy\n";
    for (from, subject, returned, want) in [
        ("staff@hotmail.com", "complaint about message from 192.0.2.10", RETURNED, Some("jmrp")),
        ("Hotmail <staff@hotmail.com>", "whatever", hotmail, Some("jmrp")),
        ("staff@hotmail.com", "hello", RETURNED, None),
        ("joe@hotmail.com", "complaint about message from Joe", RETURNED, None),
        ("ann@example.net", "complaint about message from 192.0.2.10", hotmail, None),
        ("\"staff@hotmail.com\" <ann@example.net>", "complaint about message from 192.0.2.10", hotmail, None),
        ("complaints@eu-west-1.email-abuse.amazonses.com", "", RETURNED, Some("ses-complaint")),
        ("scomp@aol.net", "Client TOS Notification", RETURNED, Some("scomp")),
        ("aol@example.net", "Client TOS Notification", RETURNED, None),
    ] {
        let mail = format!(
            "From: {from}\nSubject: {subject}\nContent-Type: multipart/mixed; boundary=b\n\n\
             --b\nContent-Type: message/rfc822\n\n{returned}\n--b--\n"
        );
        let report = read(&Message::read(mail.as_bytes(), &Limits::default()));
        assert_eq!(report.map(|report| report.dialect), want.map(str::to_owned), "{from}: {subject}");
    }
}

#[test]
fn notifications_and_receipts_are_left_to_others() {
    for report_type in ["delivery-status", "disposition-notification"] {
        let mail =
            complaint("Feedback-Type: abuse", RETURNED).replace("feedback-report; b", &format!("{report_type}; b"));
        assert_eq!(read(&Message::read(mail.as_bytes(), &Limits::default())), None, "{report_type}");
    }
}

#[test]
fn a_complaint_names_no_more_recipients_than_its_limit() {
    let many: String = (0..3000).map(|n| format!("Original-Rcpt-To: a{n}@example.org,b{n}@example.org\n")).collect();
    assert_eq!(expect(&complaint(&many, RETURNED)).recipients.len(), RECIPIENTS);
}
