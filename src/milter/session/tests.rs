//! Dialogues as lists of pairs: what the MTA says, what it is answered. "-" is no answer at all.

use super::*;
use crate::milter::negotiation::POSTFIX_OFFERS as POSTFIX;
use crate::milter::packet::Cutter;
use std::cell::RefCell;

const WANTED: Wanted =
    Wanted { answer_recipients: false, change_sender: true, change_headers: true, add_recipients: true, helo: true };
const REFUSING: Wanted = Wanted { answer_recipients: true, ..WANTED };

/// What a milter of the first days was offered.
const OLD: &[u8] = b"O\0\0\0\x02\0\0\0\x3f\0\0\0\x7f";

/// Who connects where mail did not come by SMTP.
const LOCALHOST: &[u8] = b"Clocalhost\x004\0\x00127.0.0.1\0";

/// Packets in a row.
type Packets = &'static [&'static [u8]];

/// Chooses always the same, refuses recipients that begin with `<no`, and keeps what it was shown.
struct Chooser {
    interest: Interest,
    shown: RefCell<Vec<Transaction>>,
}

impl Choose for Chooser {
    fn interest(&self, transaction: &Transaction) -> Interest {
        self.shown.borrow_mut().push(transaction.clone());
        self.interest
    }

    fn refuse(&self, _: &Transaction, recipient: &ForwardPath) -> Option<SmtpReply> {
        let refusal = SmtpReply { code: 550, enhanced: (5, 7, 1), text: "suppressed".into() };
        recipient.argument.starts_with(b"<no").then_some(refusal)
    }
}

struct Talk {
    session: Session,
    chooser: Chooser,
}

impl Talk {
    fn new(interest: Interest) -> Talk {
        Talk::with(interest, WANTED, POSTFIX, Limits::default())
    }

    fn with(interest: Interest, wanted: Wanted, offer: &[u8], limits: Limits) -> Talk {
        let chooser = Chooser { interest, shown: RefCell::default() };
        let mut talk = Talk { session: Session::new(wanted, limits), chooser };
        assert!(talk.says(offer).starts_with('O'), "{}", offer.escape_ascii());
        talk
    }

    /// The answer to one command: packets with blanks between, `conclude ...`, `quit`, or the error.
    fn says(&mut self, packet: &[u8]) -> String {
        let mut out = Vec::new();
        let command = Command::read(packet).expect("the test speaks milter");
        let step = self.session.step(command, &self.chooser, &mut out);
        let mut answers = answers(&out);
        match step {
            Ok(Step::Continue) => {}
            Ok(Step::Conclude(interest)) => answers.push(format!("conclude {interest:?}")),
            Ok(Step::Quit) => answers.push("quit".to_owned()),
            Err(problem) => answers.push(problem.to_string()),
        }
        if answers.is_empty() { "-".to_owned() } else { answers.join(" ") }
    }

    fn dialogue(&mut self, pairs: &[(&[u8], &str)]) {
        for (number, (packet, want)) in pairs.iter().enumerate() {
            assert_eq!(self.says(packet), *want, "command {number}: {}", packet.escape_ascii());
        }
    }

    fn conclude(&mut self, conclusion: &Conclusion) -> String {
        let mut out = Vec::new();
        self.session.conclude(conclusion, &mut out);
        answers(&out).join(" ")
    }

    fn transaction(&self) -> &Transaction {
        self.session.transaction()
    }

    fn arguments(&self) -> Vec<String> {
        let recipients = self.transaction().recipients.iter();
        recipients.map(|recipient| recipient.argument.escape_ascii().to_string()).collect()
    }
}

fn answers(out: &[u8]) -> Vec<String> {
    let mut cutter = Cutter::new(1 << 20);
    let mut answers = Vec::new();
    let mut out = out;
    while !out.is_empty() {
        let space = cutter.space();
        let count = space.len().min(out.len());
        space[..count].copy_from_slice(&out[..count]);
        cutter.filled(count);
        out = &out[count..];
        while let Some(packet) = cutter.next_packet().expect("our own packets are sound") {
            answers.push(packet.escape_ascii().to_string());
        }
    }
    answers
}

/// A message by SMTP up to its header, as Postfix tells it once we have negotiated.
const BY_SMTP: &[(&[u8], &str)] = &[
    (b"DCj\0mx.test\0", "-"),
    (b"Cclient.test\x004\x9c\x40127.0.0.1\0", "-"),
    (b"DM{auth_authen}\0joe\0{mail_mailer}\0smtp\0", "-"),
    (b"M<news@in.test>\0SIZE=100\0", "-"),
    (b"DR{rcpt_addr}\0one@out.test\0{rcpt_mailer}\0smtp\0", "-"),
    (b"R<One@Out.Test>\0ORCPT=rfc822;One@Out.Test\0", "-"),
    (b"DRi\x004XyZ\0{rcpt_addr}\0two@out.test\0{rcpt_mailer}\0virtual\0", "-"),
    (b"R<two@out.test>\0", "-"),
    (b"DTi\x004XyZ\0", "-"),
    (b"LSubject\0 hello\0", "-"),
    (b"LX\0\tfolded\n value\0", "-"),
];

#[test]
fn nothing_is_answered_before_the_body_of_an_outgoing_message_and_that_is_skipped_at_its_first_piece() {
    let mut talk = Talk::new(Interest::Screening);
    talk.dialogue(BY_SMTP);
    talk.dialogue(&[(b"Bfirst", "s"), (b"DEi\x004XyZ\0", "-"), (b"E", "conclude Screening")]);
    assert_eq!(talk.transaction().body, b"");
    assert_eq!(talk.conclude(&Conclusion::pass()), "c");
}

#[test]
fn what_the_client_says_it_is_is_kept_from_message_to_message_and_the_last_word_counts() {
    let helo = |name: &str| format!("H{name}\0").into_bytes();
    let (long, longest) = ("x".repeat(256), "x".repeat(255));
    for (said, want) in [
        (&["mx.test"][..], "mx.test"),
        (&["mx.test", "[192.0.2.1]"], "[192.0.2.1]"),
        (&["mx.test", &long], ""),
        (&[&longest], &longest),
        (&[""], ""),
    ] {
        let mut talk = Talk::new(Interest::Idle);
        talk.dialogue(&[(b"Cclient.test\x004\x9c\x40127.0.0.1\0", "-")]);
        said.iter().for_each(|name| talk.dialogue(&[(&helo(name), "-")]));
        for _ in 0..2 {
            talk.dialogue(&[(b"M<a@b>\0", "-"), (b"E", "conclude Idle")]);
            assert_eq!(talk.transaction().peer.helo, *want);
            talk.conclude(&Conclusion::pass());
        }
        talk.dialogue(&[(b"Cother.test\x004\x9c\x40127.0.0.1\0", "-")]);
        assert_eq!(talk.transaction().peer.helo, "");
    }
}

#[test]
fn everything_a_message_tells_is_kept_as_received() {
    let mut talk = Talk::new(Interest::Inspecting);
    talk.dialogue(BY_SMTP);
    talk.dialogue(&[(b"Bone\r\n", "c"), (b"Btwo\r\n", "c"), (b"E", "conclude Inspecting")]);
    let transaction = talk.transaction();
    let peer =
        Peer { host: "client.test".into(), address: "127.0.0.1".parse().ok(), port: 40_000, helo: String::new() };
    assert_eq!(transaction.peer, peer);
    assert_eq!(transaction.reverse_path, b"<news@in.test>");
    assert_eq!(transaction.parameters, [b"SIZE=100"]);
    assert_eq!(
        transaction.recipients,
        [
            ForwardPath {
                argument: b"<One@Out.Test>".to_vec(),
                parameters: vec![b"ORCPT=rfc822;One@Out.Test".to_vec()],
                mailer: Some("smtp".into()),
                address: Some("one@out.test".into()),
            },
            ForwardPath {
                argument: b"<two@out.test>".to_vec(),
                parameters: Vec::new(),
                mailer: Some("virtual".into()),
                address: Some("two@out.test".into()),
            },
        ]
    );
    let fields: Vec<_> = transaction.headers.iter().collect();
    assert_eq!(fields, [(&b"Subject"[..], &b" hello"[..]), (b"X", b"\tfolded\n value")]);
    assert_eq!(transaction.body, b"one\r\ntwo\r\n");
    assert_eq!((transaction.queue_id(), transaction.macros.get("j")), ("4XyZ", Some("mx.test")));
    assert_eq!(transaction.macros.get("{auth_authen}"), Some("joe"));
    assert_eq!(transaction.over_limit, None);
    assert!(!transaction.is_non_smtp());
}

#[test]
fn mail_that_did_not_come_by_smtp_is_told_by_its_bare_paths() {
    for (path, want) in [(&b"M\0"[..], &b""[..]), (b"Mjoe@in.test\0", b"joe@in.test")] {
        let mut talk = Talk::new(Interest::Inspecting);
        talk.dialogue(&[
            (b"DCj\0mx.test\0", "-"),
            (LOCALHOST, "-"),
            (b"DMi\x004XyZ\0", "-"),
            (path, "-"),
            (b"DR{rcpt_addr}\0news@in.test\0", "-"),
            (b"Rnews@in.test\0", "-"),
            (b"E", "conclude Inspecting"),
        ]);
        let transaction = talk.transaction();
        assert!(transaction.is_non_smtp());
        assert_eq!((transaction.reverse_path.as_slice(), transaction.queue_id()), (want, "4XyZ"));
        assert_eq!(transaction.recipients[0].argument, b"news@in.test");
    }
}

#[test]
fn the_interest_is_chosen_once_when_the_header_is_complete() {
    for ends in [&[b"N".as_slice(), b"Bx", b"E"][..], &[b"Bx", b"Bx", b"E"], &[b"N", b"E"], &[b"E"]] {
        let mut talk = Talk::new(Interest::Inspecting);
        talk.dialogue(BY_SMTP);
        assert!(talk.chooser.shown.borrow().is_empty());
        for end in ends {
            talk.says(end);
        }
        let shown = talk.chooser.shown.borrow();
        assert_eq!(shown.len(), 1, "{ends:?}");
        assert_eq!((shown[0].headers.len(), shown[0].recipients.len(), shown[0].body.len()), (2, 2, 0));
    }
}

#[test]
fn the_body_of_idle_mail_is_skipped_too() {
    let mut talk = Talk::new(Interest::Idle);
    talk.dialogue(BY_SMTP);
    talk.dialogue(&[(b"N", "-"), (b"Bfirst", "s"), (b"E", "conclude Idle")]);
    assert_eq!(talk.transaction().body, b"");
}

#[test]
fn a_body_is_kept_up_to_its_limit_and_the_rest_is_skipped() {
    let limits = Limits { body_bytes: 5, ..Limits::default() };
    let mut talk = Talk::with(Interest::Inspecting, WANTED, POSTFIX, limits);
    talk.dialogue(BY_SMTP);
    talk.dialogue(&[(b"Babc", "c"), (b"Bde", "c")]);
    assert_eq!(talk.transaction().over_limit, None);
    talk.dialogue(&[(b"Bfgh", "s"), (b"E", "conclude Inspecting")]);
    assert_eq!(
        (talk.transaction().body.as_slice(), talk.transaction().over_limit),
        (&b"abcde"[..], Some("body too large"))
    );
}

#[test]
fn the_end_of_the_message_may_bring_the_last_piece_of_the_body() {
    let mut talk = Talk::new(Interest::Inspecting);
    talk.dialogue(BY_SMTP);
    talk.dialogue(&[(b"Babc", "c"), (b"Ede", "conclude Inspecting")]);
    assert_eq!(talk.transaction().body, b"abcde");
}

#[test]
fn an_mta_that_does_not_know_skip_is_told_to_go_on_and_its_body_is_not_kept() {
    let mut talk = Talk::with(Interest::Screening, WANTED, OLD, Limits::default());
    talk.dialogue(&[(b"M<>\0", "c"), (b"R<a@b>\0", "c"), (b"LA\0b\0", "c"), (b"Bx", "c"), (b"By", "c")]);
    talk.dialogue(&[(b"E", "conclude Screening")]);
    assert_eq!(talk.transaction().body, b"");
}

#[test]
fn an_mta_that_waives_nothing_is_answered_continue_to_everything() {
    let mut talk = Talk::with(Interest::Inspecting, WANTED, OLD, Limits::default());
    talk.dialogue(&[
        (b"DCj\0mx\0", "-"),
        (b"Ch\0U", "c"),
        (b"Hclient\0", "c"),
        (b"UFOO\0", "c"),
        (b"M<>\0", "c"),
        (b"R<a@b>\0", "c"),
        (b"T", "c"),
        (b"LA\0b\0", "c"),
        (b"N", "c"),
        (b"Bx", "c"),
        (b"E", "conclude Inspecting"),
    ]);
    assert_eq!(talk.conclude(&Conclusion::pass()), "c");
    talk.dialogue(&[(b"A", "-"), (b"Q", "quit")]);
}

#[test]
fn where_the_blank_behind_the_colon_is_taken_off_it_is_put_back() {
    let mut talk = Talk::with(Interest::Idle, WANTED, OLD, Limits::default());
    talk.dialogue(&[(b"M<>\0", "c"), (b"R<a@b>\0", "c"), (b"LSubject\0hello\0", "c"), (b"E", "conclude Idle")]);
    assert_eq!(talk.transaction().headers.iter().collect::<Vec<_>>(), [(&b"Subject"[..], &b" hello"[..])]);
    let edits = vec![Edit::AddHeader(b"X-A".to_vec(), b" v".to_vec())];
    assert_eq!(talk.conclude(&Conclusion { edits, verdict: Verdict::Continue }), "hX-A\\x00v\\x00 c");
}

#[test]
fn abort_after_an_accepted_message_undoes_nothing_and_the_next_message_starts_clean() {
    let mut talk = Talk::new(Interest::Inspecting);
    talk.dialogue(BY_SMTP);
    talk.dialogue(&[(b"Bx", "c"), (b"E", "conclude Inspecting")]);
    assert_eq!(talk.conclude(&Conclusion::pass()), "c");
    assert!(talk.session.is_between_messages());
    talk.dialogue(&[(b"A", "-"), (b"A", "-"), (b"M<next@in.test>\0", "-"), (b"R<a@b>\0", "-")]);
    talk.dialogue(&[(b"E", "conclude Inspecting")]);
    let transaction = talk.transaction();
    assert_eq!(
        (transaction.reverse_path.as_slice(), talk.arguments().as_slice()),
        (&b"<next@in.test>"[..], &["<a@b>".to_owned()][..])
    );
    assert!(transaction.headers.is_empty() && transaction.body.is_empty() && transaction.parameters.is_empty());
    // Who connected, and what was told of the connection, holds for every message of it.
    assert_eq!((transaction.peer.host.as_str(), transaction.macros.get("j")), ("client.test", Some("mx.test")));
    assert_eq!((transaction.queue_id(), transaction.macros.get("{mail_mailer}")), ("-", None));
    assert_eq!(transaction.recipients[0].address, None);
}

#[test]
fn several_messages_pass_on_one_connection_without_abort_between_them() {
    let mut talk = Talk::new(Interest::Screening);
    for sender in [&b"M<a@in.test>\0"[..], b"M<b@in.test>\0", b"M<c@in.test>\0"] {
        talk.dialogue(&[(sender, "-"), (b"R<x@out.test>\0", "-"), (b"Btext", "s"), (b"E", "conclude Screening")]);
        assert_eq!(talk.arguments(), ["<x@out.test>"]);
        assert_eq!(talk.conclude(&Conclusion::pass()), "c");
    }
}

#[test]
fn a_new_mail_without_abort_gives_up_the_message_in_hand() {
    for until in 1..BY_SMTP.len() {
        let mut talk = Talk::new(Interest::Screening);
        talk.dialogue(&BY_SMTP[..until]);
        talk.dialogue(&[(b"DM{mail_mailer}\0lmtp\0", "-"), (b"M<new@in.test>\0", "-"), (b"R<a@b>\0", "-")]);
        talk.dialogue(&[(b"E", "conclude Screening")]);
        assert_eq!((talk.arguments(), talk.transaction().headers.len()), (vec!["<a@b>".to_owned()], 0));
        assert_eq!(talk.transaction().macros.get("{mail_mailer}"), Some("lmtp"));
        assert_eq!(talk.transaction().queue_id(), "-", "the queue id of the message given up is not the new one's");
    }
}

#[test]
fn abort_at_any_moment_leaves_the_connection_ready_for_a_message() {
    for until in 1..BY_SMTP.len() {
        let mut talk = Talk::new(Interest::Screening);
        talk.dialogue(&BY_SMTP[..until]);
        talk.dialogue(&[(b"A", "-"), (b"A", "-")]);
        assert!(talk.session.is_between_messages());
        talk.dialogue(&[(b"M<new@in.test>\0", "-"), (b"R<a@b>\0", "-"), (b"E", "conclude Screening")]);
        assert_eq!(talk.arguments(), ["<a@b>"]);
    }
}

#[test]
fn a_second_ehlo_within_a_message_is_followed_by_abort() {
    let mut talk = Talk::with(Interest::Screening, WANTED, OLD, Limits::default());
    talk.dialogue(&[(b"Hone\0", "c"), (b"M<>\0", "c"), (b"R<a@b>\0", "c"), (b"Htwo\0", "c"), (b"A", "-"), (b"A", "-")]);
    talk.dialogue(&[(b"M<>\0", "c"), (b"Q", "quit")]);
}

#[test]
fn mail_without_recipients_or_without_an_end_is_no_error() {
    let mut talk = Talk::new(Interest::Inspecting);
    talk.dialogue(&[(LOCALHOST, "-"), (b"M\0", "-"), (b"Q", "quit")]);
    let mut talk = Talk::new(Interest::Inspecting);
    talk.dialogue(&[(b"M\0", "-"), (b"Ra@b\0", "-"), (b"A", "-"), (b"Q", "quit")]);
    let mut talk = Talk::new(Interest::Inspecting);
    talk.dialogue(&[(b"M\0", "-"), (b"E", "conclude Inspecting")]);
    assert_eq!(talk.conclude(&Conclusion::pass()), "c");
}

#[test]
fn a_client_that_says_no_helo_is_no_error() {
    let mut talk = Talk::new(Interest::Idle);
    talk.dialogue(&[(b"Ch\0U", "-"), (b"M<a@b>\0", "-")]);
    assert_eq!(talk.transaction().peer.address, None);
}

#[test]
fn after_quit_nc_another_client_may_come_with_or_without_a_negotiation() {
    for again in [None, Some(POSTFIX)] {
        let mut talk = Talk::new(Interest::Screening);
        talk.dialogue(BY_SMTP);
        talk.dialogue(&[(b"K", "-")]);
        assert_eq!(talk.transaction(), &Transaction::default());
        if let Some(offer) = again {
            assert!(talk.says(offer).starts_with('O'));
        }
        talk.dialogue(&[(b"Cother\0U", "-"), (b"M<a@b>\0", "-"), (b"E", "conclude Screening")]);
        assert_eq!(talk.transaction().peer.host, "other");
    }
}

#[test]
fn commands_out_of_order_are_a_protocol_error() {
    let starts: [(&[u8], Packets, &str); 16] = [
        (b"R<a@b>\0", &[], "RCPT out of order"),
        (b"T", &[], "DATA out of order"),
        (b"LA\0 b\0", &[], "header out of order"),
        (b"N", &[], "end of header out of order"),
        (b"Bx", &[], "body out of order"),
        (b"E", &[], "end of message out of order"),
        (POSTFIX, &[], "negotiation out of order"),
        (POSTFIX, &[b"M<>\0"], "negotiation out of order"),
        (b"Ch\0U", &[b"M<>\0"], "connect out of order"),
        (b"R<a@b>\0", &[b"M<>\0", b"LA\0 b\0"], "RCPT out of order"),
        (b"R<a@b>\0", &[b"M<>\0", b"Bx"], "RCPT out of order"),
        (b"LA\0 b\0", &[b"M<>\0", b"Bx"], "header out of order"),
        (b"N", &[b"M<>\0", b"N"], "end of header out of order"),
        (b"Bx", &[b"M<>\0", b"E"], "body out of order"),
        (b"M<>\0", &[b"M<>\0", b"E"], "MAIL out of order"),
        (b"R<a@b>\0", &[b"M<>\0", b"A"], "RCPT out of order"),
    ];
    for (packet, before, want) in starts {
        let mut talk = Talk::new(Interest::Idle);
        before.iter().for_each(|packet| _ = talk.says(packet));
        assert_eq!(talk.says(packet), want, "after {before:?}");
    }
}

#[test]
fn nothing_but_a_negotiation_or_good_bye_comes_first() {
    for (packet, want) in [
        (&b"DCj\0mx\0"[..], "macros before the negotiation"),
        (b"Ch\0U", "connect before the negotiation"),
        (b"M<>\0", "MAIL before the negotiation"),
        (b"E", "end of message before the negotiation"),
        (b"A", "abort before the negotiation"),
        (b"Q", "quit"),
        (b"O\0\0\0\x01\0\0\0\0\0\0\0\0", "milter protocol version 1 is not supported (2 to 6 are)"),
    ] {
        let chooser = Chooser { interest: Interest::Idle, shown: RefCell::default() };
        let mut talk = Talk { session: Session::new(WANTED, Limits::default()), chooser };
        assert_eq!(talk.says(packet), want, "{}", packet.escape_ascii());
    }
}

#[test]
fn edits_and_verdict_are_one_answer_the_verdict_last() {
    let b = |text: &str| text.as_bytes().to_vec();
    let edits = vec![Edit::DeleteRecipient(b("<One@Out.Test>")), Edit::ChangeSender(b("<t@rp>"), Some(b("ENVID=x")))];
    let refusal = SmtpReply { code: 550, enhanced: (5, 7, 1), text: "no".into() };
    for (verdict, want) in [
        (Verdict::Continue, r"-<One@Out.Test>\x00 e<t@rp>\x00ENVID=x\x00 c"),
        (Verdict::Discard, "d"), // edits change nothing then
        (Verdict::Tempfail, "t"),
        (Verdict::Refuse(refusal), r"y550 5.7.1 no\x00"),
    ] {
        let mut talk = Talk::new(Interest::Screening);
        talk.dialogue(BY_SMTP);
        talk.dialogue(&[(b"E", "conclude Screening")]);
        assert_eq!(talk.conclude(&Conclusion { edits: edits.clone(), verdict }), want);
        assert_eq!(talk.conclude(&Conclusion::pass()), "", "one answer for one message");
    }
}

#[test]
fn an_edit_that_was_not_agreed_on_is_left_out_and_counted() {
    let plain = Wanted {
        answer_recipients: false,
        change_sender: false,
        change_headers: false,
        add_recipients: false,
        helo: true,
    };
    let mut talk = Talk::with(Interest::Screening, plain, POSTFIX, Limits::default());
    talk.dialogue(&[(b"M<>\0", "-"), (b"R<a@b>\0", "-"), (b"E", "conclude Screening")]);
    let edits = vec![Edit::ChangeSender(b"<>".to_vec(), None), Edit::DeleteRecipient(b"<a@b>".to_vec())];
    let mut out = Vec::new();
    assert_eq!(talk.session.conclude(&Conclusion { edits, verdict: Verdict::Continue }, &mut out), 1);
    assert_eq!(answers(&out), [r"-<a@b>\x00", "c"]);
}

#[test]
fn a_recipient_is_refused_at_rcpt_only_where_that_is_wanted() {
    for (wanted, want) in [(WANTED, ["-", "-"]), (REFUSING, [r"y550 5.7.1 suppressed\x00", "c"])] {
        let mut talk = Talk::with(Interest::Screening, wanted, POSTFIX, Limits::default());
        talk.dialogue(&[(b"DM{mail_mailer}\0smtp\0", "-"), (b"M<news@in.test>\0", "-")]);
        assert_eq!([b"R<nobody@x>\0".as_slice(), b"R<joe@x>\0"].map(|rcpt| talk.says(rcpt)), want);
        talk.dialogue(&[(b"E", "conclude Screening")]);
        let kept = if wanted == WANTED { vec!["<nobody@x>", "<joe@x>"] } else { vec!["<joe@x>"] };
        assert_eq!(talk.arguments(), kept, "Postfix drops a refused recipient by itself");
    }
}

#[test]
fn a_recipient_of_mail_that_did_not_come_by_smtp_is_never_refused_at_rcpt() {
    let mut talk = Talk::with(Interest::Screening, REFUSING, POSTFIX, Limits::default());
    talk.dialogue(&[
        (LOCALHOST, "-"),
        (b"DMi\x004XyZ\0", "-"),
        (b"Mnews@in.test\0", "-"),
        (b"R<nobody@x>\0", "c"),
        (b"E", "conclude Screening"),
    ]);
    assert_eq!(talk.arguments(), ["<nobody@x>"]);
}

#[test]
fn a_variable_told_for_one_recipient_is_not_the_next_ones() {
    let mut talk = Talk::new(Interest::Screening);
    talk.dialogue(&[(b"M<>\0", "-"), (b"DR{rcpt_addr}\0a@b\0", "-"), (b"R<a@b>\0", "-"), (b"R<c@d>\0", "-")]);
    let told: Vec<_> = talk.transaction().recipients.iter().map(|recipient| recipient.address.as_deref()).collect();
    assert_eq!(told, [Some("a@b"), None]);
}

#[test]
fn variables_for_an_unknown_command_are_passed_over() {
    let mut talk = Talk::new(Interest::Screening);
    talk.dialogue(&[(b"DMi\x004XyZ\0", "-"), (b"M<>\0", "-"), (b"DUi\0x\0", "-"), (b"UFOO\0", "-")]);
    assert_eq!(talk.transaction().queue_id(), "4XyZ");
}

#[test]
fn a_limit_is_marked_and_never_an_error() {
    let small = Limits { packet_bytes: 1 << 20, headers: 2, header_bytes: 20, body_bytes: 0, recipients: 2 };
    let cases: [(Packets, usize, usize, &str); 4] = [
        (&[b"R<a@b>\0", b"R<c@d>\0", b"R<e@f>\0"], 2, 0, "too many recipients"),
        (&[b"LA\0 1\0", b"LB\0 2\0", b"LC\0 3\0", b"LD\0\0"], 0, 2, "too many header fields"),
        (&[b"LA\0 1\0", b"LB\0 12345678901234567890\0", b"LC\0\0"], 0, 1, "header too large"),
        (&[b"Bx"], 0, 0, "body too large"),
    ];
    for (packets, recipients, headers, want) in cases {
        let mut talk = Talk::with(Interest::Inspecting, WANTED, POSTFIX, small.clone());
        talk.says(b"M<>\0");
        packets.iter().for_each(|packet| assert!(["-", "s"].contains(&talk.says(packet).as_str())));
        talk.dialogue(&[(b"E", "conclude Inspecting")]);
        let transaction = talk.transaction();
        assert_eq!(transaction.over_limit, Some(want));
        assert_eq!((transaction.recipients.len(), transaction.headers.len()), (recipients, headers));
        talk.conclude(&Conclusion::pass());
        assert_eq!(talk.transaction().over_limit, None, "the next message starts anew");
    }
}

#[test]
fn the_memory_an_envelope_takes_is_bounded_however_it_is_made_up() {
    let mut talk = Talk::new(Interest::Screening);
    let crowded = [b"R<a@b>\0".as_slice(), &[0; 100_000]].concat();
    talk.says(b"M<>\0");
    (0..100).for_each(|_| assert_eq!(talk.says(&crowded), "-"));
    assert_eq!(talk.transaction().over_limit, Some("envelope too large"));
    assert!(talk.transaction().recipients.len() < 20);
}

#[test]
fn every_order_of_commands_is_borne() {
    let commands: [&[u8]; 16] = [
        POSTFIX,
        OLD,
        b"DMi\0x\0",
        b"Ch\0U",
        b"Hh\0",
        b"M<>\0",
        b"R<a@b>\0",
        b"T",
        b"LA\0 b\0",
        b"N",
        b"Bx",
        b"E",
        b"A",
        b"Q",
        b"K",
        b"UFOO\0",
    ];
    // Every sequence of four, after each beginning of a message; the session is used on after an error.
    for until in [0, 4, BY_SMTP.len()] {
        for sequence in 0..commands.len().pow(4) {
            let mut talk = Talk::new(Interest::Inspecting);
            BY_SMTP[..until].iter().for_each(|(packet, _)| _ = talk.says(packet));
            for digit in 0..4 {
                let answer = talk.says(commands[sequence / commands.len().pow(digit) % commands.len()]);
                if answer.starts_with("conclude") && sequence % 2 == 0 {
                    assert_eq!(talk.conclude(&Conclusion::pass()), "c");
                }
            }
        }
    }
}
