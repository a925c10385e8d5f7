//! Tests of the notification reader on whole mails.

use super::*;
use crate::mail::Limits;
use crate::report::{self, Dialects};
use proptest::prelude::*;

const STATUS: &str = "Reporting-MTA: dns; mx.example.org\nX-Postfix-Queue-ID: 4XyZ12\n\
    Arrival-Date: Sat, 21 Nov 2026 23:50:08 +0000 (UTC)\n\nFinal-Recipient: rfc822; joe@example.org\n\
    Original-Recipient: rfc822;Joe@example.org\nAction: failed\nStatus: 5.1.1\nRemote-MTA: dns; mx.example.net\n\
    Diagnostic-Code: smtp; 550 5.1.1 <joe@example.org>: Recipient address\n    rejected: User unknown\n";

const ORIGINAL: &str = "Return-Path: <news@example.com>\nReceived: from app by mx.example.org;\n\tSat, 21 Nov 2026\n\
    From: News <news@example.com>\nMessage-ID: <spring.1@example.com>\nList-ID: News <News.example.com>\n\
    Date: Sat, 21 Nov 2026 23:50:00 +0000\nX-Campaign-ID: spring\n";

/// A mail of these parts, `(header, body)`, as a mailer writes it.
fn mail(header: &str, content_type: &str, parts: &[(&str, &str)]) -> String {
    let part = |(header, body): &(&str, &str)| format!("--=_b/1\nContent-Type: {header}\n\n{body}\n");
    let parts: String = parts.iter().map(part).collect();
    format!("{header}\nContent-Type: {content_type};\n boundary=\"=_b/1\"\n\n{parts}--=_b/1--\n")
}

const HEADER: &str = "From: MAILER-DAEMON@mx.example.org (Mail Delivery System)\nTo: news@example.com\n\
    Message-Id: <report.1@mx.example.org>\nMIME-Version: 1.0";
const PERSON: &str = "From: Ann <ann@example.net>\nTo: joe@example.org\nSubject: Fwd: Undelivered\nMIME-Version: 1.0";
const REPORT: &str = "multipart/report; report-type=delivery-status";

fn notification() -> String {
    let parts = [("text/plain", "I'm sorry.\n"), ("message/delivery-status", STATUS), ("message/rfc822", ORIGINAL)];
    mail(HEADER, REPORT, &parts)
}

/// The same with another boundary, to stand within a mail.
fn inner_notification() -> String {
    notification().replace("=_b/1", "=_b/2")
}

/// Reads with LF and with CRLF, which must say the same but for the line ends in the returned header.
fn read(mail: &str) -> Result<Option<Report>, DsnError> {
    let with = |raw: &[u8]| super::read(&Message::read(raw, &Limits::default()));
    let (lf, crlf) = (with(mail.as_bytes()), with(mail.replace('\n', "\r\n").as_bytes()));
    assert_eq!(format!("{lf:?}"), format!("{crlf:?}").replace("\\r\\n", "\\n"), "LF and CRLF read the same: {mail}");
    lf
}

fn expect(mail: &str) -> Report {
    read(mail).unwrap_or_else(|error| panic!("{error}: {mail}")).unwrap_or_else(|| panic!("no report: {mail}"))
}

fn addresses(report: &Report) -> Vec<&str> {
    report
        .recipients
        .iter()
        .map(|recipient| recipient.address.as_ref().map_or("-", |address| address.as_str()))
        .collect()
}

#[test]
fn a_notification_is_read_whole() {
    let report = expect(&notification());
    assert_eq!((report.kind, &*report.dialect), (Kind::Bounce, "rfc3464"));
    assert_eq!(report.reporting_mta.as_deref(), Some("mx.example.org"));
    assert_eq!(report.postfix_queue_id.as_deref(), Some("4XyZ12"));
    assert_eq!(report.arrival_date, "2026-11-21T23:50:08Z".parse().ok());
    assert_eq!(report.message_id.as_ref().map(|id| &*id.0), Some("report.1@mx.example.org"));
    assert_eq!(addresses(&report), ["joe@example.org"]);
    let reply = "550 5.1.1 <joe@example.org>: Recipient address rejected: User unknown";
    assert_eq!(report.recipients[0].diagnostic_code.as_deref(), Some(reply));
    let returned = report.returned.as_ref().expect("the original came back");
    assert_eq!(returned.message_id.as_ref().map(|id| &*id.0), Some("spring.1@example.com"));
    assert_eq!(returned.list.as_ref().map(|list| &*list.0), Some("news.example.com"));
    assert_eq!(returned.date, "2026-11-21T23:50:00Z".parse().ok());
    assert_eq!(returned.headers.get("X-Campaign-ID").as_deref(), Some("spring"));
    assert_eq!(returned.headers.len(), 7);
    let message = Message::read(notification().leak().as_bytes(), &Limits::default());
    assert_eq!(report::read(&message, &Dialects::compiled_in()), Ok(Some(report)), "the module's reader asks this one");
}

#[test]
fn what_came_back_is_read_from_every_type_it_comes_in() {
    for (content_type, body, want) in [
        ("message/rfc822", ORIGINAL, Some("spring.1@example.com")),
        ("text/rfc822-headers; charset=iso-8859-1", ORIGINAL, Some("spring.1@example.com")),
        ("message/global", "Subject: grüße\nMessage-ID: <u@example.com>\n\nText", Some("u@example.com")),
        ("message/global-headers", "\n\nMessage-ID: <u@example.com>\n", Some("u@example.com")),
        ("message/rfc822\nContent-Transfer-Encoding: base64", "TWVzc2FnZS1JRDogPHVAeD4KCg==", Some("u@x")),
        ("text/rfc822-headers", "", None),
        ("text/plain", ORIGINAL, None),
    ] {
        let report = expect(&mail(HEADER, REPORT, &[("message/delivery-status", STATUS), (content_type, body)]));
        let id = report.returned.and_then(|returned| returned.message_id);
        assert_eq!(id.as_ref().map(|id| &*id.0), want, "{content_type}");
    }
    assert_eq!(expect(&mail(HEADER, REPORT, &[("message/delivery-status", STATUS)])).returned, None);
}

#[test]
fn the_status_is_read_wherever_it_may_stand() {
    for (what, mail) in [
        ("a report without report-type", mail(HEADER, "multipart/report", &[("message/delivery-status", STATUS)])),
        (
            "multipart/mixed",
            mail(HEADER, "multipart/mixed", &[("text/plain", "x"), ("message/delivery-status", STATUS)]),
        ),
        ("bare", format!("{HEADER}\nContent-Type: message/delivery-status\n\n{STATUS}")),
        ("UTF-8", mail(HEADER, REPORT, &[("message/global-delivery-status", STATUS)])),
        ("letter case", mail(HEADER, "Multipart/REPORT", &[("Message/Delivery-Status; charset=UTF-8", STATUS)])),
        ("a person's name above it", mail(PERSON, REPORT, &[("message/delivery-status", STATUS)])),
    ] {
        let report = expect(&mail);
        assert_eq!((&*report.dialect, addresses(&report)), ("rfc3464", vec!["joe@example.org"]), "{what}");
    }
}

#[test]
fn a_utf8_recipient_is_read() {
    let status = "Final-Recipient: utf-8; joe@b\\x{FC}cher.example\nAction: failed\nStatus: 5.6.7\n";
    let report = expect(&mail(HEADER, REPORT, &[("message/global-delivery-status", status)]));
    assert_eq!(addresses(&report), ["joe@xn--bcher-kva.example"]);
    assert_eq!(report.recipients[0].final_recipient.as_deref(), Some("joe@bücher.example"));
}

#[test]
fn the_kind_is_that_of_the_first_recipient() {
    for (action, want) in [
        ("failed", Kind::Bounce),
        ("delayed", Kind::Delayed),
        ("delivered", Kind::Delivered),
        ("relayed", Kind::Delivered),
        ("expanded", Kind::Delivered),
    ] {
        let status = STATUS.replace("failed", action) + "\nFinal-Recipient: rfc822; ann@example.org\nAction: failed\n";
        let report = expect(&mail(HEADER, REPORT, &[("message/delivery-status", &status)]));
        assert_eq!((report.kind, report.recipients.len()), (want, 2), "{action}");
    }
}

#[test]
fn a_persons_mail_about_a_notification_is_none() {
    let inner = inner_notification();
    let quoted: String = inner.lines().map(|line| format!("> {line}\n")).collect();
    let nested = mail("", REPORT, &[("message/delivery-status", STATUS)]).replace("=_b/1", "=_b/2");
    for (what, mail) in [
        ("an ordinary mail", format!("{PERSON}\n\nHello.\n")),
        (
            "forwarded as an attachment",
            mail(PERSON, "multipart/mixed", &[("text/plain", "See."), ("message/rfc822", &inner)]),
        ),
        ("forwarded alone", format!("{PERSON}\nContent-Type: message/rfc822\n\n{inner}")),
        ("forwarded inline", format!("{PERSON}\n\n{inner}")),
        ("quoted", format!("{PERSON}\n\nWhat is this?\n{quoted}")),
        (
            "the status among alternatives",
            mail(PERSON, "multipart/alternative", &[("message/delivery-status", STATUS)]),
        ),
        (
            "a report inside",
            mail(
                PERSON,
                "multipart/mixed",
                &[("text/plain", "x"), (nested.trim_start_matches("\nContent-Type: "), "")],
            ),
        ),
        (
            "a gateway's notice with a notification attached",
            mail(HEADER, "multipart/mixed", &[("text/plain", "Copy."), ("message/rfc822", &inner)]),
        ),
        ("a postmaster who quotes", format!("From: postmaster@example.net\nTo: joe@example.org\n\n{STATUS}")),
    ] {
        assert_eq!(read(&mail), Ok(None), "{what}");
    }
}

#[test]
fn other_reports_are_none() {
    let feedback = "Feedback-Type: abuse\nUser-Agent: x/1\nVersion: 1\nOriginal-Rcpt-To: joe@example.org\n";
    for (content_type, part) in [
        ("multipart/report; report-type=feedback-report", "message/feedback-report"),
        ("multipart/report; report-type=\"Feedback-Report\"", "message/delivery-status"),
        ("multipart/report", "message/feedback-report"),
        ("multipart/report; report-type=disposition-notification", "message/disposition-notification"),
        ("multipart/report", "message/disposition-notification"),
    ] {
        let mail = mail(HEADER, content_type, &[(part, feedback), ("text/plain", STATUS)]);
        assert_eq!(read(&mail), Ok(None), "{content_type} {part}");
    }
}

#[test]
fn a_notification_in_broken_mime_is_scanned() {
    let whole = notification();
    let returned = Some("spring.1@example.com");
    for (what, mail, id) in [
        ("another boundary", whole.replace("--=_b/1\n", "--=_b/2\n"), returned),
        ("no boundary parameter", whole.replace(" boundary=\"=_b/1\"\n", " x=y\n"), returned),
        ("the content type lost", whole.replace(&format!("Content-Type: {REPORT};\n boundary=\"=_b/1\"\n"), ""), None),
        ("the status called text", whole.replace("message/delivery-status", "text/plain"), returned),
        ("the status within the text", whole.replace("--=_b/1\nContent-Type: message/delivery-status\n", ""), returned),
        ("an empty status part", whole.replace("\n\nReporting-MTA", "\n\n--=_b/1\n\nReporting-MTA"), returned),
        ("cut within the status", whole[..whole.find("Remote-MTA").unwrap()].replace("\"=_b/1\"", "\"?\""), None),
        (
            "a postmaster's program",
            format!("From: postmaster@example.net\nAuto-Submitted: auto-replied\n\nSorry.\n\n{STATUS}"),
            None,
        ),
    ] {
        let report = expect(&mail);
        assert_eq!((&*report.dialect, addresses(&report)), ("rfc3464-scan", vec!["joe@example.org"]), "{what}");
        let message_id = report.returned.and_then(|returned| returned.message_id);
        assert_eq!(message_id.as_ref().map(|id| &*id.0), id, "{what}");
    }
}

#[test]
fn a_scan_ends_where_the_returned_message_begins() {
    // The original is itself a notification, of another failure.
    let whole = mail(HEADER, REPORT, &[("text/plain", "Sorry."), ("message/rfc822", &inner_notification())]);
    for (what, mail) in [("sound", whole.clone()), ("broken", whole.replace("--=_b/1\n", "--=_b/3\n"))] {
        assert_eq!(read(&mail), Ok(None), "{what}");
    }
}

#[test]
fn a_status_part_without_a_group_is_an_error() {
    let with = |status| read(&mail(HEADER, REPORT, &[("text/plain", "Sorry."), ("message/delivery-status", status)]));
    assert_eq!(with(""), Err(DsnError::NoGroup));
    assert_eq!(with("Reporting-MTA: dns; mx.example.org\n"), Err(DsnError::NoGroup));
    let nameless = DsnError::MissingField { group: 1, field: "Final-Recipient" };
    assert_eq!(nameless.to_string(), "per-recipient group 1: Final-Recipient is missing");
    assert_eq!(with("Reporting-MTA: dns; x\n\nAction: failed\nStatus: 5.0.0\n"), Err(nameless));
}

/// What each hostile mail must come to. The time is printed, not asserted: `cargo test hostile -- --nocapture`.
#[test]
fn hostile_mail_costs_no_more_than_its_limits() {
    let scanned = Some("rfc3464-scan");
    let report = format!("{HEADER}\nContent-Type: {REPORT}; boundary=b\n\n");
    let nested_in_base64 = {
        // 3 octets of "Content-Type: message/rfc822\n\n" at a time become 4.
        let line = "Q29udGVudC1UeXBlOiBtZXNzYWdlL3JmYzgyMgoK";
        format!(
            "{report}--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{}",
            line.repeat(100_000)
        )
    };
    let unterminated: String =
        (0..100_000).map(|n| format!("--b\nContent-Type: multipart/mixed; boundary=x{n}\n\n")).collect();
    let deep: String =
        (0..100_000).map(|n| format!("Content-Type: multipart/mixed; boundary=x{n}\n\n--x{n}\n")).collect();
    for (what, mail, refused, dialect) in [
        ("25 MB of text in a report", notification() + &"x".repeat(25 << 20), None, Some("rfc3464")),
        ("25 MB of short lines", format!("{HEADER}\n\n{}", "-\n".repeat(12 << 20)), None, None),
        (
            "25 MB of boundaries",
            format!("{report}{STATUS}{}", "--b\n".repeat(6 << 20)),
            Some("too many parts"),
            scanned,
        ),
        ("100,000 parts", format!("{report}{STATUS}{}", "--b\n\nx\n".repeat(100_000)), Some("too many parts"), scanned),
        (
            "a 10 MB header field",
            format!("A: {}\n{report}", "x".repeat(10 << 20)),
            Some("the header is too long"),
            None,
        ),
        ("a 10 MB header", format!("{}{report}", "A: 1\n".repeat(2 << 20)), Some("the header is too long"), None),
        (
            "a part's 4 MB header",
            format!("{report}--b\n{}", "a:\n".repeat(2 << 20)),
            Some("the header of a part is too long"),
            None,
        ),
        (
            "100,000 multiparts, each in the one above",
            format!("{report}{STATUS}--b\n{deep}"),
            Some("multiparts nested too deep"),
            scanned,
        ),
        ("100,000 multiparts without end", format!("{report}{STATUS}{unterminated}"), Some("too many parts"), scanned),
        (
            "100,000 attached messages, each in the one above",
            format!("{report}--b\n{}", "Content-Type: message/rfc822\n\n".repeat(100_000)),
            None,
            None,
        ),
        ("the same within base64", nested_in_base64, None, None),
        (
            "4 MB of comments in a Content-Type",
            format!("{report}--b\nContent-Type: text/x {}\n\nx", "(".repeat(4 << 20)),
            None,
            None,
        ),
        (
            "100,000 parameters",
            format!("{report}--b\nContent-Type: text/x{}\n\nx", ";a*1=b".repeat(100_000)),
            None,
            None,
        ),
        (
            "100,000 recipients",
            format!(
                "{report}--b\nContent-Type: message/delivery-status\n\n{}",
                "Final-Recipient:rfc822;a@b\nAction:failed\n".repeat(100_000)
            ),
            None,
            Some("rfc3464"),
        ),
        (
            "a field of 4 MB in folds",
            format!("{report}--b\nContent-Type: message/delivery-status\n\n{STATUS}{}", " \n x\n".repeat(1 << 20)),
            None,
            Some("rfc3464"),
        ),
    ] {
        let begun = std::time::Instant::now();
        let message = Message::read(mail.as_bytes(), &Limits::default());
        let report = super::read(&message);
        println!("{what}: {:?}", begun.elapsed());
        assert_eq!(message.refused, refused, "{what}");
        assert!(message.parts.len() <= Limits::default().parts, "{what}");
        assert_eq!(report.unwrap_or(None).as_ref().map(|report| &*report.dialect), dialect, "{what}");
    }
}

proptest! {
    #[test]
    fn a_notification_cut_and_garbled_is_answered(cut in 0usize..2000, place in 0usize..2000, octet: u8) {
        let mut raw = notification().into_bytes();
        let end = cut.min(raw.len());
        raw.truncate(end);
        if let Some(garbled) = raw.get_mut(place) {
            *garbled = octet;
        }
        if let Ok(Some(report)) = super::read(&Message::read(&raw, &Limits::default())) {
            prop_assert!(!report.recipients.is_empty());
        }
    }
}
