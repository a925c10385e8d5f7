//! Tests of the splitter: structure, encodings, limits.

use super::*;
use proptest::prelude::*;

/// Reads with LF and with CRLF, and gives `(type, direct, body)` of each part, which must be the same.
fn parts(mail: &str) -> Vec<(String, bool, String)> {
    let rows = |raw: &[u8]| -> Vec<_> {
        let text = |part: &Part<'_>| String::from_utf8_lossy(&part.body).replace('\r', "");
        let message = Message::read(raw, &Limits::default());
        assert_eq!(message.refused, None, "{mail}");
        message.parts.iter().map(|part| (part.content_type.clone(), part.direct, text(part))).collect()
    };
    let lf = rows(mail.as_bytes());
    assert_eq!(lf, rows(mail.replace('\n', "\r\n").as_bytes()), "LF and CRLF read the same: {mail}");
    lf
}

fn row(content_type: &str, direct: bool, body: &str) -> (String, bool, String) {
    (content_type.to_owned(), direct, body.to_owned())
}

fn refusal(mail: &str) -> Option<&'static str> {
    let message = Message::read(mail.as_bytes(), &Limits::default());
    assert_eq!(message.refused.is_some(), message.parts.is_empty(), "{mail}");
    message.refused
}

#[test]
fn a_message_that_is_no_multipart_has_one_part() {
    assert_eq!(parts("Subject: x\n\nHello.\n"), [row("text/plain", true, "Hello.\n")]);
    assert_eq!(parts("Subject: x\n"), [row("text/plain", true, "")]);
    assert_eq!(parts(""), [row("text/plain", true, "")]);
    let bare = "Content-Type: Message/Delivery-Status\n\nReporting-MTA: dns; x\n";
    assert_eq!(parts(bare), [row("message/delivery-status", true, "Reporting-MTA: dns; x\n")]);
}

#[test]
fn a_report_gives_its_parts_in_order_and_the_returned_message_whole() {
    let mail = "Content-Type: multipart/report; report-type=Delivery-Status;\n\tboundary=\"Q1.2/mx.example\"\n\n\
        preamble\n--Q1.2/mx.example\n\nText.\n--Q1.2/mx.example\nContent-Type: message/delivery-status\n\n\
        Reporting-MTA: dns; x\n\n--Q1.2/mx.example  \nContent-Type: message/rfc822\n\n\
        Content-Type: multipart/mixed; boundary=inner\n\n--inner\n\nOriginal.\n--inner--\n\n--Q1.2/mx.example--\nepilogue\n";
    let original = "Content-Type: multipart/mixed; boundary=inner\n\n--inner\n\nOriginal.\n--inner--\n";
    assert_eq!(
        parts(mail),
        [
            row("text/plain", true, "Text."),
            row("message/delivery-status", true, "Reporting-MTA: dns; x\n"),
            row("message/rfc822", true, original),
        ]
    );
    let message = Message::read(mail.as_bytes(), &Limits::default());
    assert_eq!(message.content_type, "multipart/report");
    assert_eq!(message.report_type.as_deref(), Some("delivery-status"));
    assert!(message.parts.iter().all(|part| matches!(part.body, Cow::Borrowed(_))), "nothing had to be copied");
}

#[test]
fn what_stands_in_a_nested_multipart_is_not_direct() {
    let mail = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/alternative; boundary=a-b\n\n\
        --a-b\n\nplain\n--a-b\nContent-Type: text/html\n\n<p>\n--a-b--\n\n--a\nContent-Type: image/png\n\n\n--a--\n";
    assert_eq!(
        parts(mail),
        [row("text/plain", false, "plain"), row("text/html", false, "<p>"), row("image/png", true, "")]
    );
}

#[test]
fn broken_structure_loses_as_little_as_can_be() {
    for (what, mail, want) in [
        ("no end", "Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n", vec![row("text/plain", true, "one\n")]),
        (
            "an inner multipart without end",
            "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--a\n\ntwo\n--a--",
            vec![row("text/plain", false, "one"), row("text/plain", true, "two")],
        ),
        (
            "an inner multipart whose boundary never comes",
            "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\none\n--a\n\ntwo\n--a--",
            vec![row("multipart/mixed", true, "one"), row("text/plain", true, "two")],
        ),
        (
            "no empty line behind a part's header",
            "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: text/x\nSo it begins.\n--a\n--a--\n",
            vec![row("text/x", true, "So it begins."), row("text/plain", true, "")],
        ),
        (
            "empty lines and an mbox line ahead of the header",
            "\n\nFrom joe Sat Nov 21 23:50:08 2026\nContent-Type: text/x\n\none",
            vec![row("text/x", true, "one")],
        ),
        ("a type without subtype", "Content-Type: text\n\none", vec![row("text/plain", true, "one")]),
    ] {
        assert_eq!(parts(mail), want, "{what}");
    }
}

#[test]
fn a_multipart_that_cannot_be_split_says_why() {
    assert_eq!(refusal("Content-Type: multipart/report\n\n--a\n\nx\n"), Some("the multipart names no boundary"));
    let other = "Content-Type: multipart/report; boundary=a\n\n--b\n\nx\n--b--\n";
    assert_eq!(refusal(other), Some("no part stands between the boundaries"));
}

#[test]
fn encodings_and_charsets_are_undone() {
    for (header, body, want) in [
        ("text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable", "gr=FC=\n=DFe", "grüße"),
        ("text/plain; charset=\"UTF-8\"\nContent-Transfer-Encoding: BASE64", "Z3LDvMOf\nZQ==\n", "grüße"),
        ("text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit", "grüße", "grüße"),
        ("text/plain; charset=no-such-set", "as it is", "as it is"),
        ("message/delivery-status\nContent-Transfer-Encoding: base64", "QWN0aW9uOiBmYWlsZWQ=", "Action: failed"),
        ("message/rfc822\nContent-Transfer-Encoding: quoted-printable", "Subject: a=3Db", "Subject: a=b"),
        ("text/plain\nContent-Transfer-Encoding: base64", "!! no base64 !!", "!! no base64 !!"),
        ("text/plain\nContent-Transfer-Encoding: quoted-printable", "=ZZ", "=ZZ"),
    ] {
        let name = header.split([';', '\n']).next().unwrap();
        assert_eq!(parts(&format!("Content-Type: {header}\n\n{body}")), [row(name, true, want)], "{header}");
        let mail =
            format!("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: {header}\n\n{body}\n--a--\n");
        assert_eq!(parts(&mail), [row(name, true, want)], "{header}");
    }
}

#[test]
fn a_message_at_its_limits_is_read_and_one_beyond_is_refused() {
    let part = "--a\n\nx\n";
    let parts = |count| format!("Content-Type: multipart/mixed; boundary=a\n\n{}--a--\n", part.repeat(count));
    assert_eq!(refusal(&parts(63)), None);
    assert_eq!(refusal(&parts(64)), Some("too many parts"));
    let nested = |depth: usize| {
        let open = |level| format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
        format!("{}\nx\n", (0..depth).map(open).collect::<String>())
    };
    assert_eq!(refusal(&nested(8)), None);
    assert_eq!(refusal(&nested(9)), Some("multiparts nested too deep"));
    let fields = |count| format!("{}\nx\n", "A: 1\n".repeat(count));
    assert_eq!(refusal(&fields(1000)), None);
    assert_eq!(refusal(&fields(1001)), Some("the header is too long"));
    assert_eq!(refusal(&format!("A: {}\n\nx", "y".repeat(256 << 10))), Some("the header is too long"));
    let in_part = |count| format!("Content-Type: multipart/mixed; boundary=a\n\n--a\n{}\nx\n", "A: 1\n".repeat(count));
    assert_eq!(refusal(&in_part(1000)), None);
    assert_eq!(refusal(&in_part(1001)), Some("the header of a part is too long"));
}

#[test]
fn of_a_long_message_the_front_is_read() {
    let limits = Limits { message_bytes: 60, ..Limits::default() };
    let mail = format!("Content-Type: multipart/mixed; boundary=a\n\n--a\n\none\n--a\n\n{}", "x".repeat(1000));
    let message = Message::read(mail.as_bytes(), &limits);
    assert_eq!(message.raw.len(), mail.len());
    assert_eq!((message.refused, message.parts.len()), (None, 2));
    assert_eq!(message.parts[1].body.len(), 60 - mail.find("xxx").unwrap());
}

proptest! {
    #[test]
    fn any_octets_are_split(lines in prop::collection::vec(prop::sample::select(vec![
        "Content-Type: multipart/mixed; boundary=a", "Content-Type: multipart/report; boundary=\"b", " c\"",
        "Content-Type: message/rfc822", "Content-Type: text/plain; charset=utf-7", "Content-Type: ;;=\"(\\",
        "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "--a", "--a--", "--b",
        "--b c", "", "", "=", "====", "QUJD", "\u{0}\r\r", "Content-Type: a/b; x*0*='=; x*1=(;boundary*=%zz",
    ]), 0..40), junk: Vec<u8>) {
        let mut raw = lines.join("\n").into_bytes();
        raw.extend_from_slice(&junk);
        let message = Message::read(&raw, &Limits::default());
        prop_assert_eq!(message.refused.is_some(), message.parts.is_empty());
        let junk = Message::read(&junk, &Limits::default());
        prop_assert_eq!(junk.refused.is_some(), junk.parts.is_empty());
    }
}
