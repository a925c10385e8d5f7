//! Lists in the form of the real exports, composed by hand.

use super::*;
use crate::bulk::lines::LINE_BYTES;
use proptest::prelude::*;
use std::io::BufReader;

fn read_as(list: &[u8], format: Option<Format>, accepts: Accepts) -> (Vec<Line>, Option<Format>) {
    // A small buffer, so that every line is put together from pieces.
    let mut reader = Reader::new(BufReader::with_capacity(7, list), format, accepts);
    let lines = reader.by_ref().map(|line| line.expect("memory does not fail")).collect();
    (lines, reader.format())
}

fn read(list: &str) -> (Vec<Line>, Option<Format>) {
    read_as(list.as_bytes(), None, Accepts::default())
}

/// One line for each: `line subject category type code reason list since "note"`, with `-` for none.
fn shown(lines: &[Line]) -> Vec<String> {
    let one = |line: &Line| match line {
        Line::Bad(bad) => format!("{} bad {}", bad.line, bad.problem.split(':').next().unwrap_or_default()),
        Line::NotSuppressed { line } => format!("{line} fine"),
        Line::Entry(entry) => {
            let note = entry.note.as_ref().map(|note| format!(" \"{note}\"")).unwrap_or_default();
            let said = [
                entry.category.map(|category| category.as_str().to_owned()),
                entry.bounce_type.map(|bounce_type| bounce_type.as_str().to_owned()),
                entry.code.map(|code| code.to_string()),
                entry.reason.clone(),
                entry.list.as_ref().map(|list| list.0.clone()),
                entry.since.map(|since| since.to_string()),
            ];
            let said = said.map(|word| word.unwrap_or_else(|| "-".to_owned())).join(" ");
            format!("{} {} {said}{note}", entry.line, entry.subject)
        }
    };
    lines.iter().map(one).collect()
}

#[track_caller]
fn check(list: &str, format: Format, want: &[&str]) {
    let (lines, found) = read(list);
    assert_eq!(found, Some(format));
    assert_eq!(shown(&lines), want);
    // The same with CRLF, with a byte order mark, and by its name.
    let crlf = format!("\u{feff}{}", list.replace('\n', "\r\n"));
    assert_eq!(shown(&read(&crlf).0), want);
    assert_eq!(shown(&read_as(list.as_bytes(), Some(format), Accepts::default()).0), want);
}

#[test]
fn a_plain_list_has_an_address_a_line() {
    check(
        "# our old list\n\njoe@example.org\nAnn <Ann@Example.ORG>,\n  bob@example.org ;  \n\"eve@example.org\"\n\
         max@example.org # asked by ann@example.org\nc#@example.org\n\"Doe, John #1\" <jd@example.org>\nnobody\na@b.org, c@d.org\n\
         example.com\nd41d8cd98f00b204e9800998ecf8427e\nlast@example.org",
        Format::Plain,
        &[
            "3 joe@example.org - - - - - -",
            "4 ann@example.org - - - - - -",
            "5 bob@example.org - - - - - -",
            "6 eve@example.org - - - - - -",
            "7 max@example.org - - - - - -",
            "8 c#@example.org - - - - - -",
            "9 jd@example.org - - - - - -",
            "10 bad address",
            "11 bad address",
            "12 bad address",
            "13 bad address",
            "14 last@example.org - - - - - -",
        ],
    );
}

#[test]
fn domains_and_hashes_are_taken_where_they_belong() {
    let list = b"joe@example.org\n.example.com\nd41d8cd98f00b204e9800998ecf8427e\n";
    for (domains, hashes, bad) in [(true, true, 0), (true, false, 1), (false, true, 1), (false, false, 2)] {
        let (lines, _) = read_as(list, None, Accepts { domains, hashes });
        assert_eq!(lines.iter().filter(|line| matches!(line, Line::Bad(_))).count(), bad, "{domains} {hashes}");
    }
    let (lines, _) = read_as(list, None, Accepts::default());
    let problems: Vec<String> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Bad(bad) => Some(bad.to_string()),
            Line::Entry(_) | Line::NotSuppressed { .. } => None,
        })
        .collect();
    assert!(problems[0].starts_with("line 2: address: a domain") && problems[0].contains("blocklist"), "{problems:?}");
    assert!(problems[1].starts_with("line 3: address: a hash") && problems[1].contains("Robinson"), "{problems:?}");
}

#[test]
fn sendgrid_bounces_are_hard_whatever_their_words() {
    check(
        "status,reason,email,created\n\
         5.1.1,\"550 5.1.1 The email account, \"\"joe\"\",\n does not exist\",joe@example.org,1443651125\n\
         5.0.0,\"550 No such user\",ann@example.org,1443651126\n\
         5.0.0,\"554 5.1.2 no such domain\",bob@example.invalid,1443651127\n\
         ,\"unable to get mx info\",eve@example.org,yesterday\n\
         4.0.0,,,1443651128\n",
        Format::SendGridBounces,
        &[
            "2 joe@example.org rejected hard 5.1.1 user-unknown - 2015-09-30T22:12:05Z \
             \"550 5.1.1 The email account, \"joe\", does not exist\"",
            "4 ann@example.org rejected hard 5.0.0 hard-bounce - 2015-09-30T22:12:06Z \"550 No such user\"",
            "5 bob@example.invalid invalid hard 5.1.2 domain-unknown - 2015-09-30T22:12:07Z \"554 5.1.2 no such domain\"",
            "6 bad time",
            "7 bad address",
        ],
    );
}

#[test]
fn sendgrid_blocks_are_read_where_they_are_named() {
    let list =
        b"status,reason,email,created\n5.7.1,\"550 5.7.1 blocked\",joe@example.org,1443651125\n,no,ann@example.org,\n";
    let (lines, _) = read_as(list, Some(Format::SendGridBlocks), Accepts::default());
    let want = [
        "2 joe@example.org blocked soft 5.7.1 policy - 2015-09-30T22:12:05Z \"550 5.7.1 blocked\"",
        "3 ann@example.org blocked soft - blocked - - \"no\"",
    ];
    assert_eq!(shown(&lines), want);
}

#[test]
fn sendgrid_spam_reports_unsubscribes_and_invalid_addresses_are_told_apart() {
    check(
        "email,ip,created\njoe@example.org,192.0.2.1,1443651125\n",
        Format::SendGridSpamReports,
        &["2 joe@example.org complaint - - spam-complaint - 2015-09-30T22:12:05Z"],
    );
    check(
        "email,created\njoe@example.org,1443651125\n",
        Format::SendGridUnsubscribes,
        &["2 joe@example.org - - - unsubscribed - 2015-09-30T22:12:05Z"],
    );
    check(
        "reason,email,created\nMail domain mentioned in email address is unknown,joe@example.invalid,1443651125\n\
         Known bad,ann@example.org,1443651125\n",
        Format::SendGridInvalid,
        &[
            "2 joe@example.invalid invalid hard - domain-unknown - 2015-09-30T22:12:05Z \
             \"Mail domain mentioned in email address is unknown\"",
            "3 ann@example.org rejected hard - address-syntax - 2015-09-30T22:12:05Z \"Known bad\"",
        ],
    );
}

#[test]
fn mailguns_three_lists_are_told_apart() {
    check(
        "address,code,error,created_at\njoe@example.org,550,\"550 5.1.1 <joe@example.org>: unknown\",\
         \"Wed, 30 Sep 2015 22:12:05 UTC\"\nann@example.org,605,Not delivering,\n",
        Format::MailgunBounces,
        &[
            "2 joe@example.org rejected hard 5.1.1 user-unknown - 2015-09-30T22:12:05Z \
             \"550 5.1.1 <joe@example.org>: unknown\"",
            "3 ann@example.org rejected hard - hard-bounce - - \"Not delivering\"",
        ],
    );
    check(
        "address,created_at\njoe@example.org,\"Wed, 30 Sep 2015 22:12:05 GMT\"\n",
        Format::MailgunComplaints,
        &["2 joe@example.org complaint - - spam-complaint - 2015-09-30T22:12:05Z"],
    );
    check(
        "address,tags,created_at\njoe@example.org,*,\nann@example.org,News,\nbob@example.org,\"news,shop\",\n",
        Format::MailgunUnsubscribes,
        &[
            "2 joe@example.org - - - unsubscribed - -",
            "3 ann@example.org - - - unsubscribed news -",
            "4 bob@example.org - - - unsubscribed - - \"news,shop\"",
        ],
    );
}

#[test]
fn amazon_ses_comes_with_and_without_a_header_and_as_json() {
    let want = [
        "2 joe@example.org rejected hard - hard-bounce - 2020-04-10T21:03:05.25Z",
        "3 ann@example.org complaint - - spam-complaint - -",
        "4 bad reason",
    ];
    check(
        "EmailAddress,Reason,LastUpdateTime\njoe@example.org,BOUNCE,2020-04-10T21:03:05.250000+00:00\n\
         ann@example.org,COMPLAINT,\nbob@example.org,WHIM,\n",
        Format::AmazonSes,
        &want,
    );
    check(
        "\njoe@example.org,BOUNCE\nann@example.org, COMPLAINT\n",
        Format::AmazonSes,
        &["2 joe@example.org rejected hard - hard-bounce - -", "3 ann@example.org complaint - - spam-complaint - -"],
    );
    check(
        "\n{\"EmailAddress\":\"joe@example.org\",\"Reason\":\"BOUNCE\",\"LastUpdateTime\":\"2020-04-10T21:03:05.25+00:00\"}\n\
         {\"emailAddress\": \"ann@example.org\", \"reason\": \"COMPLAINT\"}\n{\"emailAddress\":\"b@c.de\",\"reason\":1}\n",
        Format::NdJson,
        &want,
    );
}

#[test]
fn postmark_tells_a_persons_wish_from_the_customers() {
    check(
        "\"EmailAddress\",\"SuppressionReason\",\"Origin\",\"CreatedAt\"\n\
         \"joe@example.org\",\"HardBounce\",\"Recipient\",\"2019-12-17T08:58:33-05:00\"\n\
         \"ann@example.org\",\"SpamComplaint\",\"Recipient\",\"\"\n\
         \"bob@example.org\",\"ManualSuppression\",\"Recipient\",\"\"\n\
         \"eve@example.org\",\"ManualSuppression\",\"Customer\",\"\"\n\
         \"max@example.org\",\"Other\",\"Admin\",\"\"\n",
        Format::Postmark,
        &[
            "2 joe@example.org rejected hard - hard-bounce - 2019-12-17T13:58:33Z",
            "3 ann@example.org complaint - - spam-complaint - -",
            "4 bob@example.org - - - unsubscribed - -",
            "5 eve@example.org - - - manual - -",
            "6 bad suppression reason",
        ],
    );
}

#[test]
fn sparkpost_is_read_by_source_and_flags() {
    check(
        "recipient,type,source,description,created,updated,list_id\n\
         joe@example.org,transactional,Bounce Rule,550: 550 5.1.1 No such user,2020-01-01T00:00:00+00:00,,\n\
         ann@example.org,non_transactional,Spam Complaint,,,2020-01-02T00:00:00+00:00,\n\
         bob@example.org,non_transactional,List Unsubscribe,,,,<News.example.org>\n\
         eve@example.org,non_transactional,Manually Added,by hand,,,\n",
        Format::SparkPost,
        &[
            "2 joe@example.org rejected hard 5.1.1 user-unknown - 2020-01-01T00:00:00Z \"550: 550 5.1.1 No such user\"",
            "3 ann@example.org complaint - - spam-complaint - 2020-01-02T00:00:00Z",
            "4 bob@example.org - - - unsubscribed news.example.org -",
            "5 eve@example.org - - - manual - - \"by hand\"",
        ],
    );
    check(
        "recipient,transactional,non_transactional\njoe@example.org,false,true\nann@example.org,false,false\n",
        Format::SparkPost,
        &["2 joe@example.org - - - manual - -", "3 fine"],
    );
}

#[test]
fn listmonk_exports_contacts_that_may_be_mailed_too() {
    check(
        "uuid,email,name,attributes,status,created_at,updated_at\n\
         a1,joe@example.org,\"Joe, A.\",\"{\"\"city\"\": \"\"Bonn\"\"}\",blocklisted,\
         2021-05-06 12:30:01.123456 +0000 UTC,2021-05-07 12:30:01 +0000 UTC\n\
         a2,ann@example.org,Ann,{},enabled,,\na3,bob@example.org,Bob,{},disabled,,\na4,eve@example.org,Eve,{},odd,,\n",
        Format::Listmonk,
        &[
            "2 joe@example.org - - - manual - 2021-05-07T12:30:01Z",
            "3 fine",
            "4 bob@example.org - - - manual - -",
            "5 bad status",
        ],
    );
    check(
        "id,email,type,source,meta,created_at\n1,joe@example.org,hard,ses,\"{\"\"x\"\": \"\"550 5.1.1 no\"\"}\",\n\
         2,ann@example.org,complaint,ses,,\n3,bob@example.org,soft,ses,,\n",
        Format::ListmonkBounces,
        &[
            "2 joe@example.org rejected hard 5.1.1 user-unknown - - \"{\"x\": \"550 5.1.1 no\"}\"",
            "3 ann@example.org complaint - - spam-complaint - -",
            "4 fine",
        ],
    );
}

#[test]
fn mailchimp_tells_unsubscribed_cleaned_and_subscribed_by_their_times() {
    check(
        "Email Address,First Name,Address,MEMBER_RATING,UNSUB_TIME,UNSUB_CAMPAIGN_TITLE,UNSUB_REASON,LEID,TAGS\n\
         joe@example.org,Joe,\"1 Main St\nBonn\",2,\"2014-02-01 09:00:00\",\"Summer, sale\",NORMAL,44,\"\"\"a\"\"\"\n",
        Format::Mailchimp,
        &["2 joe@example.org - - - unsubscribed - 2014-02-01T09:00:00Z \"Summer, sale\""],
    );
    check(
        "Email Address,MEMBER_RATING,CLEAN_TIME,CLEAN_CAMPAIGN_TITLE,LEID\njoe@example.org,1,2014-02-01 09:00:00,Sale,4\n",
        Format::Mailchimp,
        &["2 joe@example.org rejected hard - hard-bounce - 2014-02-01T09:00:00Z \"Sale\""],
    );
    check("Email Address,MEMBER_RATING,OPTIN_TIME,LEID\njoe@example.org,2,,4\n", Format::Mailchimp, &["2 fine"]);
}

#[test]
fn a_csv_of_our_own_reads_back_what_it_says() {
    check(
        "address,scope,category,type,code,reason,since,until,campaign,event\n\
         joe@example.org,system,rejected,hard,5.1.1,user-unknown,2026-08-21T03:00:00Z,,spring,00\n\
         ann@example.org,news.example.org,complaint,,,spam,2026-08-21T03:00:00Z,,,00\n\
         bob@example.org,system,,,,\"asked us, by phone\",,,,\n\
         eve@example.org,system,dead,,,,,,,\nmax@example.org,system,,sometimes,,,,,,\nliz@example.org,two words,,,,,,,,\n",
        Format::Csv,
        &[
            "2 joe@example.org rejected hard 5.1.1 user-unknown - 2026-08-21T03:00:00Z",
            "3 ann@example.org complaint - - spam news.example.org 2026-08-21T03:00:00Z",
            "4 bob@example.org - - - - - - \"asked us, by phone\"",
            "5 bad category",
            "6 bad type",
            "7 bad list",
        ],
    );
}

#[test]
fn a_csv_that_somebody_made_is_read_by_the_words_senders_use() {
    check(
        "Name;E-Mail;Status;Reason\nJoe;joe@example.org;;hard_bounce\nAnn;ann@example.org;unsubscribed;\n\
         Bob;bob@example.org;active;\n;;;\nEve;eve@example.org;;\"550 5.2.1 off; gone\"\nMax;\"Max <max@example.org>\";;moved\n",
        Format::Csv,
        &[
            "2 joe@example.org rejected hard - hard-bounce - -",
            "3 ann@example.org - - - unsubscribed - -",
            "4 fine",
            "6 eve@example.org - - 5.2.1 - - - \"550 5.2.1 off; gone\"",
            "7 max@example.org - - - moved - -",
        ],
    );
}

#[test]
fn ndjson_of_our_own_reads_back_what_it_says() {
    check(
        "{\"address\":\"joe@example.org\",\"scope\":\"system\",\"category\":\"rejected\",\"type\":\"hard\",\"code\":\"5.1.1\",\
         \"reason\":\"user-unknown\",\"since\":\"2026-08-21T03:00:00Z\",\"until\":null,\"campaign\":null,\"event\":\"00\"}\n\n\
         {\"address\":\"ann@example.org\",\"scope\":\"news.example.org\",\"reason\":\"unsubscribed\"}\n\
         {\"address\":7}\n{broken\n[1]\n{}\n",
        Format::NdJson,
        &[
            "1 joe@example.org rejected hard 5.1.1 user-unknown - 2026-08-21T03:00:00Z",
            "3 ann@example.org - - - unsubscribed news.example.org -",
            "4 bad address",
            "5 bad a JSON object is wanted",
            "6 bad a JSON object is wanted",
            "7 bad address",
        ],
    );
}

#[test]
fn a_list_that_is_none_is_one_bad_line() {
    for (list, problem) in [
        (&b"\xff\xfej\0o\0e\0"[..], "UTF-16"),
        (b"\xfe\xff\0j", "UTF-16"),
        (b"[\n{}\n]\n", "array"),
        (b"{\n\"a\": 1\n}\n", "one whole object a line"),
        (b"name,street\nJoe,Main\n", "no column"),
    ] {
        let (lines, _) = read_as(list, None, Accepts::default());
        assert!(matches!(&lines[..], [Line::Bad(bad)] if bad.problem.contains(problem)), "{problem}: {lines:?}");
    }
    let (lines, _) = read_as(b"joe@example.org\n", Some(Format::Postmark), Accepts::default());
    assert!(matches!(&lines[..], [Line::Bad(_)]), "{lines:?}");
    assert_eq!(read("").0, []);
    assert_eq!(read("\n# nothing\n").0, []);
}

#[test]
fn a_line_that_is_not_utf_8_is_bad_and_the_rest_goes_in() {
    let (lines, _) = read_as(b"joe@example.org\nj\xf6@example.org\nann@example.org\n", None, Accepts::default());
    assert_eq!(shown(&lines)[1], "2 bad the line is not UTF-8; convert the list (iconv -f ISO-8859-1 -t UTF-8)");
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_line_that_is_too_long_is_bad_and_the_rest_goes_in() {
    let long = "x".repeat(3 * LINE_BYTES);
    let (lines, _) = read(&format!("joe@example.org\n{long}\nann@example.org\n"));
    assert_eq!(
        shown(&lines),
        ["1 joe@example.org - - - - - -", "2 bad the line is longer than 64 KiB", "3 ann@example.org - - - - - -"]
    );
}

#[test]
fn a_quote_never_closed_costs_one_line() {
    let good: String = (0..2000).map(|number| format!("user{number}@example.org,x\n")).collect();
    for (behind, bad_lines) in [
        (good.clone(), 1),
        (format!("ann@example.org,x\n{}\n{good}", "y".repeat(2 * LINE_BYTES)), 2),
        (format!("ann@example.org,{}\nbob@example.org,{0}\n{good}", "y".repeat(LINE_BYTES - 100)), 1),
        ("ann@example.org,x\n\n".to_owned(), 1),
        (String::new(), 1),
    ] {
        let list = format!("email,name\njoe@example.org,\"Joe\n{behind}");
        let (lines, _) = read(&list);
        let of = |wanted: fn(&Line) -> bool| lines.iter().filter(|line| wanted(line)).count();
        assert!(
            matches!(&lines[0], Line::Bad(bad) if bad.line == 2 && bad.problem.contains("quote")),
            "{:?}",
            lines[0]
        );
        assert_eq!(of(|line| matches!(line, Line::Bad(_))), bad_lines);
        let good = behind.lines().filter(|line| line.contains('@')).count();
        assert_eq!(of(|line| matches!(line, Line::Entry(_))), good);
        let last = list.lines().filter(|line| !line.is_empty()).count() as u64;
        let Some(Line::Entry(Entry { line, .. }) | Line::Bad(BadLine { line, .. })) = lines.last() else { panic!() };
        assert_eq!(*line, last);
    }
}

#[test]
fn notes_are_cut_to_500_octets_on_one_line() {
    let (lines, _) = read(&format!("email,note\njoe@example.org,\"a\u{1}b\n{}\"\n", "\u{e4}".repeat(600)));
    let Line::Entry(entry) = &lines[0] else { panic!("{lines:?}") };
    let note = entry.note.as_deref().expect("a note");
    assert!(note.starts_with("a b \u{e4}") && note.len() == 500, "{note}");
}

proptest! {
    #[test]
    fn no_list_ends_the_reading_early_or_counts_lines_wrongly(pieces in prop::collection::vec(
        prop_oneof![
            Just("\n"), Just("\r\n"), Just("\""), Just(","), Just(";"), Just("joe@example.org"), Just("email,reason"),
            Just("{\"address\":\"a@b.org\"}"), Just("#"), Just(" "), Just("\u{feff}"), Just("x\",y\"z,\""), Just("<"),
        ],
        0..60,
    )) {
        let list = pieces.concat();
        let most = list.lines().count() as u64;
        for format in Format::ALL.into_iter().map(Some).chain([None]) {
            let (lines, _) = read_as(list.as_bytes(), format, Accepts { domains: true, hashes: true });
            let numbers: Vec<u64> = lines.iter().map(|line| match line {
                Line::Entry(Entry { line, .. }) | Line::Bad(BadLine { line, .. }) | Line::NotSuppressed { line } => *line,
            }).collect();
            prop_assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
            prop_assert!(numbers.iter().all(|line| (1..=most).contains(line)), "{numbers:?} of {most}");
        }
    }
}
