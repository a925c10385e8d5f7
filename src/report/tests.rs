//! Tests of the order in which the readers are asked, and of mail that only looks like a report.

use super::*;
use crate::mail::Limits;
use std::sync::LazyLock;

static DIALECTS: LazyLock<Dialects> = LazyLock::new(Dialects::compiled_in);

const QMAIL: &str = "Hi. This is the qmail-send program at mx.example.org.\n\
    I'm afraid I wasn't able to deliver your message to the following addresses.\n\
    This is a permanent error; I've given up. Sorry it didn't work out.\n\n\
    <joe@example.net>:\n192.0.2.25 does not like recipient.\n\
    Remote host said: 550 5.1.1 no such user\nGiving up on 192.0.2.25.\n\n\
    --- Below this line is a copy of the message.\n\nMessage-ID: <n1@example.com>\nSubject: News\n";

const STATUS: &str = "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; joe@example.net\n\
    Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n";

fn read_mail(mail: &str) -> Result<Option<Report>, ReportError> {
    read(&Message::read(mail.as_bytes(), &Limits::default()), &DIALECTS)
}

fn report(mail: &str) -> Report {
    read_mail(mail).expect("a report that can be used").expect("a report")
}

fn quoted(text: &str) -> String {
    text.lines().map(|line| format!("> {line}\n")).collect()
}

#[test]
fn the_mail_that_the_near_misses_quote_is_itself_a_bounce() {
    let mail = format!("From: MAILER-DAEMON@mx.example.org\nTo: b@example.com\nSubject: failure notice\n\n{QMAIL}");
    let report = report(&mail);
    assert_eq!((report.kind, &*report.dialect), (Kind::Bounce, "qmail"));
    assert_eq!(report.recipients[0].address.as_ref().map(Address::as_str), Some("joe@example.net"));
}

#[test]
fn mail_of_a_person_or_a_mailing_is_no_bounce_whatever_it_quotes() {
    let ann = "From: Ann <ann@example.org>\nTo: Bob <bob@example.com>\n";
    let newsletter = "From: The Postmaster's Weekly <weekly@news.example.org>\nTo: bob@example.com\n\
        List-Unsubscribe: <mailto:leave@news.example.org>\nList-ID: <weekly.news.example.org>\n";
    for (what, mail) in [
        ("a reply", format!("{ann}Subject: Re: failure notice\n\nWhat is this?\n\n{}", quoted(QMAIL))),
        ("a reply that does not mark what it quotes", format!("{ann}Subject: AW: failure notice\n\nHelp!\n\n{QMAIL}")),
        ("a reply of the postmaster", {
            let postmaster = "From: Postmaster <postmaster@example.org>\nTo: bob@example.com\n";
            format!("{postmaster}Subject: RE: [Ticket 7] failure notice\n\nYou mistyped it.\n\n{QMAIL}")
        }),
        ("a forwarded bounce", {
            format!("{ann}Subject: Fwd: failure notice\n\n---------- Forwarded message ----------\n{QMAIL}")
        }),
        ("a forwarded notification", {
            format!(
                "{ann}Subject: FW: Undelivered Mail Returned to Sender\nContent-Type: multipart/mixed; boundary=b\n\n\
                --b\nContent-Type: text/plain\n\nCan you tell me why this could not be delivered?\n\n\
                --b\nContent-Type: message/rfc822\n\nFrom: MAILER-DAEMON@mx.example.org\n\
                Content-Type: multipart/report; report-type=delivery-status; boundary=i\n\n\
                --i\nContent-Type: message/delivery-status\n\n{STATUS}\n--i--\n--b--\n"
            )
        }),
        ("a newsletter about bounces", {
            format!(
                "{newsletter}Subject: When mail is returned to sender: undelivered mail explained\n\n\
                Delivery to the following recipients failed:\n  joe@example.net\nThat is how many bounces begin:\n\n{QMAIL}"
            )
        }),
        ("a digest of a mailing list", {
            format!(
                "{newsletter}Subject: postfix-talk Digest, Vol 7, Issue 3\n\nMessage: 1\nSubject: failure notice\n\n{QMAIL}"
            )
        }),
        ("mail of an Exchange list, with a null sender", {
            format!(
                "Return-Path: <>\n{ann}Subject: Boxes\n\nThe boxes could not be delivered to the address below, \
                the mailbox was full:\n\njoe@example.net\n\nPlease call him.\n"
            )
        }),
        ("a person's complaint about a delivery", {
            format!(
                "{ann}Subject: Delivery problem with my order\n\nMy parcel was not delivered to the following \
                address:\n\njoe@example.net\n"
            )
        }),
        ("an absence note", {
            format!(
                "Auto-Submitted: auto-replied\n{ann}Subject: Out of office\n\nI cannot be reached. Your message \
                will not be delivered to others; write to joe@example.net instead.\n"
            )
        }),
        ("a warning of ezmlm to a subscriber", {
            format!(
                "Return-Path: <list-return-7-@lists.example.org>\nFrom: list-help@lists.example.org\n\
                To: bob@example.com\nSubject: ezmlm warning\n\nHi! This is the ezmlm program. I'm managing the\n\
                list@lists.example.org mailing list.\n\nMessages to you from the list mailing list seem to\n\
                have been bouncing.\n\n--- Enclosed is a copy of the bounce message I received.\n\n\
                Return-Path: <>\n\n{QMAIL}"
            )
        }),
        ("a read receipt", {
            format!(
                "{ann}Subject: Not read: Undeliverable?\nContent-Type: multipart/report; \
                report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: text/plain\n\n\
                Your message to joe@example.net was deleted without being read; it was not delivered to others.\n\n\
                --b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;joe@example.net\n\
                Disposition: manual-action/MDN-sent-manually; deleted\n\n--b--\n"
            )
        }),
    ] {
        for mail in [mail.clone(), mail.replace('\n', "\r\n")] {
            let bounce = read_mail(&mail).map(|report| report.filter(|report| report.kind != Kind::Autoreply));
            assert_eq!(bounce.map(|report| report.map(|report| report.dialect)), Ok(None), "{what}");
        }
    }
}

/// A notification with this status part and this text.
fn notification(text: &str, status: &str) -> String {
    format!(
        "From: Mail Delivery System <Mailer-Daemon@mx.example.org>\nTo: b@example.com\nSubject: Mail delivery failed\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: text/plain\n\n\
        {text}\n--b\nContent-Type: message/delivery-status\n\n{status}\n--b--\n"
    )
}

const EXIM: &str = "A message that you sent could not be delivered to one or more of its\n\
    recipients. The following address(es) failed:\n\n  joe@example.net\n    the disk is full\n";

#[test]
fn the_fields_of_a_notification_are_believed_before_its_text() {
    let report = report(&notification(EXIM, STATUS));
    assert_eq!(report.dialect, "rfc3464");
    assert_eq!(report.recipients[0].diagnostic_code.as_deref(), Some("550 5.1.1 no such user"));
}

#[test]
fn what_the_fields_leave_out_is_taken_from_the_text() {
    let no_words = "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822;joe@example.net\nAction: failed\nStatus: 5.0.0\n";
    let a_file = no_words.replace("joe@example.net", "/var/mail/joe");
    for status in [no_words, &a_file] {
        let report = report(&notification(EXIM, status));
        let [recipient] = &report.recipients[..] else { panic!("{report:?}") };
        assert_eq!(report.dialect, "rfc3464");
        assert_eq!(recipient.address.as_ref().map(Address::as_str), Some("joe@example.net"), "{status}");
        assert_eq!(recipient.diagnostic_code.as_deref(), Some("the disk is full"), "{status}");
        assert_eq!(recipient.status.as_deref(), Some("5.0.0"), "{status}");
    }
}

#[test]
fn a_broken_notification_is_read_by_its_text_if_that_can_be_read() {
    let broken = "Reporting-MTA: dns; mx.example.org\n";
    let report = report(&notification(EXIM, broken));
    assert_eq!((&*report.dialect, report.recipients.len()), ("exim", 1));
    let unreadable = read_mail(&notification("It did not work.\n", broken));
    assert_eq!(unreadable, Err(ReportError::Dsn(DsnError::NoGroup)));
}
