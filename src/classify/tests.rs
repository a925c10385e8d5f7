//! What `classify` says: the known lies, expiry, missing codes, hostile text.

use super::*;
use crate::report::Action;

fn recipient(status: &str, diagnostic_type: &str, text: &str) -> Recipient {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Recipient {
        address: None,
        original_recipient: None,
        final_recipient: None,
        action: Action::Failed,
        status: given(status),
        diagnostic_type: given(diagnostic_type),
        diagnostic_code: given(text),
        remote_mta: None,
        will_retry_until: None,
    }
}

fn judged(status: &str, diagnostic_type: &str, text: &str) -> Judgement {
    classify(&recipient(status, diagnostic_type, text), "rfc3464", &Rules::compiled_in())
}

/// `category type code reason fault`.
fn verdict(judgement: &Judgement) -> String {
    let Judgement { category, bounce_type, code, reason, fault, .. } = judgement;
    format!("{} {} {code} {reason} {}", category.as_str(), bounce_type.as_str(), fault.as_str())
}

#[test]
fn the_known_lies_are_seen_through() {
    for (status, text, want) in [
        ("5.4.1", "550 5.4.1 Recipient address rejected: Access denied", "rejected hard 5.4.1 user-unknown recipient"),
        ("5.4.1", "550 5.4.1 Relay access denied", "blocked hard 5.4.1 relay-denied path"),
        (
            "5.1.1",
            "550 5.1.1 <joe@example.org> 192.0.2.9 has sent to too many recipients this hour",
            "transient soft 5.1.1 rate-limited sender",
        ),
        (
            "5.2.1",
            "550-5.2.1 The user you are trying to contact is receiving mail at a rate that 550-5.2.1 prevents additional",
            "transient soft 5.2.1 rate-limited sender",
        ),
        (
            "5.2.2",
            "552 5.2.2 The email account that you tried to reach is out of storage space and inactive",
            "rejected soft 5.2.2 mailbox-inactive recipient",
        ),
        ("5.4.5", "550 5.4.5 Daily sending quota exceeded", "transient soft 5.4.5 sender-quota sender"),
        ("5.7.1", "550 5.7.1 Email quota exceeded", "transient soft 5.7.1 sender-quota sender"),
        (
            "5.7.2",
            "553 5.7.2 [TSS09] All messages from 192.0.2.9 will be permanently deferred; Retrying will NOT succeed",
            "blocked hard 5.7.2 ip-blocklisted sender",
        ),
        (
            "5.0.0",
            "554 30 Sorry, your message to joe@example.org cannot be delivered. This mailbox is disabled (554.30)",
            "rejected hard 5.0.0 mailbox-disabled recipient",
        ),
        ("5.5.0", "550 5.5.0 Adresse invalide. OFR_416", "rejected hard 5.5.0 user-unknown recipient"),
        ("5.5.0", "550 5.5.0 Adresse invalide. LPN416", "rejected hard 5.5.0 user-unknown recipient"),
        ("5.5.0", "550 5.5.0 Boite pleine. LPN007_417", "transient soft 5.5.0 mailbox-full recipient"),
        ("5.7.1", "550 5.7.1 Mail rejete. OFR_506", "blocked hard 5.7.1 spam message"),
        ("5.5.0", "550 5.5.0 Service refuse. OFR_103", "blocked hard 5.5.0 ip-blocklisted sender"),
        ("5.1.1", "OnAccountSuppressionList", "blocked hard 5.1.1 upstream-suppressed path"),
        ("5.0.0", "605 Not delivering to previously bounced address", "blocked hard 5.0.0 upstream-suppressed path"),
        ("5.3.4", "552 5.3.4 Message too large", "blocked hard 5.3.4 message-too-large message"),
        ("5.7.1", "554 5.7.1 Too many connections", "transient soft 5.7.1 too-many-connections sender"),
        ("5.3.2", "521 5.3.2 Host does not accept mail", "invalid hard 5.3.2 null-mx recipient"),
        ("5.7.1", "554 5.7.1 <joe@example.org>: Relay access denied", "blocked hard 5.7.1 relay-denied path"),
        ("5.4.6", "554 5.4.6 Too many hops", "unknown hard 5.4.6 routing-loop path"),
        ("5.1.1", "550 5.1.1 <joe@example.org> mailbox is full", "transient soft 5.1.1 mailbox-full recipient"),
        ("5.2.1", "550 5.2.1 <joe@example.org>... User unknown", "rejected hard 5.2.1 user-unknown recipient"),
        ("5.2.0", "550 5.2.0 User unknown", "rejected hard 5.2.0 user-unknown recipient"),
        ("5.7.1", "550 5.7.1 user unknown", "rejected hard 5.7.1 user-unknown recipient"),
    ] {
        let judgement = judged(status, "smtp", text);
        assert_eq!(verdict(&judgement), want, "{text}\n{judgement:?}");
        assert!(judgement.by_words(), "{text}");
    }
}

#[test]
fn mail_that_expired_in_our_queue_is_one_soft_event_of_the_category_that_the_words_tell() {
    for (status, diagnostic_type, text, want) in [
        ("4.4.1", "x-postfix", "connect to mx.example.org[192.0.2.1]:25: Connection refused", "failed soft 4.4.1"),
        ("4.4.1", "x-postfix", "connect to mx.example.org[192.0.2.1]:25: Connection timed out", "failed soft 4.4.1"),
        ("4.2.2", "smtp", "452 4.2.2 Mailbox full: the recipient is over quota", "transient soft 4.2.2"),
        ("4.4.7", "smtp", "452 4.2.2 Mailbox full", "transient soft 4.2.2"),
        ("5.4.7", "smtp", "452 4.2.2 Mailbox full", "transient soft 4.2.2"),
        ("4.4.7", "", "", "failed soft 4.4.7"),
        ("4.4.7", "smtp", "550 4.4.7 QUEUE.Expired; message expired", "failed soft 4.4.7"),
        ("5.4.7", "smtp", "delivery time expired", "failed hard 5.4.7"), // no 4 anywhere: the code stands
        ("4.1.1", "smtp", "450 4.1.1 <joe@example.org>: User unknown in local recipient table", "rejected soft 4.1.1"),
        ("5.1.1", "smtp", "450 4.1.1 User unknown", "rejected soft 5.1.1"), // the last word was temporary
        ("4.3.0", "x-postfix", "mail transport unavailable", "failed soft 4.3.0"),
    ] {
        let judgement = judged(status, diagnostic_type, text);
        assert!(verdict(&judgement).starts_with(want), "{status} {text}: {judgement:?}");
    }
}

#[test]
fn a_bare_or_missing_code_is_read_through_the_text() {
    for (status, text, want) in [
        ("", "550 user unknown", "rejected hard 9.1.1 user-unknown recipient user-unknown"),
        ("", "550 we know better", "unknown hard 9.1.1 none-found recipient code-table"),
        ("", "", "unknown hard 9.1.1 none-found recipient code-table"),
        ("", "550 mailbox full", "transient soft 4.0.0 mailbox-full recipient mailbox-full"),
        ("", "450 not now", "transient soft 4.0.0 system-trouble provider code-table"),
        ("5.0.0", "550 5.7.1 virus found", "blocked hard 5.7.1 virus message virus"),
        ("5.0.0", "553 sorry, no such user (#5.1.1)", "rejected hard 5.1.1 user-unknown recipient user-unknown"),
        ("5.1.1", "", "rejected hard 5.1.1 user-unknown recipient code-table"),
        (
            "4.0.0 (mx.example.org: host name lookup failure)",
            "",
            "invalid soft 4.0.0 dns-trouble path lookup-failed-for-now",
        ),
    ] {
        let judgement = judged(status, "smtp", text);
        assert_eq!(format!("{} {}", verdict(&judgement), judgement.rule), want, "{status} {text}");
        assert_eq!(judgement.by_words(), judgement.rule != CODE_TABLE, "{status} {text}");
    }
}

#[test]
fn a_delay_is_soft_whatever_its_code_and_words() {
    let nxdomain = "DNS type 'mx' lookup of gone.example responded with code NXDOMAIN";
    for (status, text, failed_is) in [
        ("5.1.1", "550 5.1.1 user unknown", BounceType::Hard),
        ("4.0.0", nxdomain, BounceType::Hard), // Gmail gives 4.0.0 for good, too
    ] {
        let recipient = |action| Recipient { action, ..recipient(status, "smtp", text) };
        let rules = Rules::compiled_in();
        assert_eq!(classify(&recipient(Action::Failed), "rfc3464", &rules).bounce_type, failed_is, "{text}");
        assert_eq!(classify(&recipient(Action::Delayed), "rfc3464", &rules).bounce_type, BounceType::Soft, "{text}");
    }
}

#[test]
fn the_matched_words_are_kept_and_described() {
    let judgement = judged("5.7.1", "smtp", "550-5.7.1 Mail from you 550-5.7.1 looks like SPAM to us");
    assert_eq!(judgement.matched.as_deref(), Some("SPAM"));
    assert_eq!(judgement.description(), "taken for spam");
    let long = judged("5.7.1", "smtp", &format!("550 5.7.1 message {}too large", "\u{fc}".repeat(1500) + " "));
    assert!(long.matched.is_some_and(|words| words.chars().count() <= MATCHED_LIMIT));
    assert_eq!(judged("5.1.1", "", "").description(), "there is no such mailbox");
}

#[test]
fn no_text_makes_it_panic_and_a_long_one_is_cut() {
    let rules = Rules::compiled_in();
    let samples: Vec<String> = rules.list().flat_map(|rule| rule.samples.iter().map(|s| s.text.clone())).collect();
    for sample in &samples {
        for cut in (0..sample.len()).filter(|&cut| sample.is_char_boundary(cut)) {
            judged(&sample[cut..], "smtp", &sample[..cut]);
        }
    }
    for word in ["mailbox ", "5.1.1 ", "550-5.1.1 ", "user unknown ", "a", "\u{fc}", "(", "sender x "] {
        judged(&word.repeat(100_000), "smtp", &word.repeat(100_000));
    }
}

#[test]
fn a_sample_is_judged_alike_whoever_quotes_it() {
    let rules = Rules::compiled_in();
    let (mut seen, mut wrong) = (0, Vec::new());
    for rule in rules.list() {
        let samples = rule.samples.iter().filter(|sample| sample.status.is_none() && sample.diagnostic_type.is_none());
        for text in samples.map(|sample| sample.text.as_str()).filter(|text| status::starts_with_reply(text)) {
            for quoted in [
                format!("host mx.example.org[192.0.2.1] said: {text} (in reply to RCPT TO command)"),
                format!("SMTP error from remote mail server after RCPT TO:<a@b>: host mx [192.0.2.1]: {text}"),
                format!("192.0.2.1 does not like recipient. Remote host said: {text} Giving up on 192.0.2.1."),
                format!("(reason: {text}) <<< {text} 550 5.1.1 <joe@example.org>... User unknown"),
            ] {
                seen += 1;
                let (plain, quoted) = (judged("", "smtp", text), judged("", "smtp", &quoted));
                if plain.rule != quoted.rule || plain.bounce_type != quoted.bounce_type {
                    wrong.push(format!("{}: {} said {text}", rule.place(), quoted.rule));
                }
            }
        }
    }
    assert!(wrong.is_empty() && seen > 3000, "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn only_a_dead_address_and_a_refusing_recipient_are_the_recipients_fault() {
    for rule in Rules::compiled_in().list() {
        let place = rule.place();
        match rule.category {
            Some(Category::Rejected) => assert_eq!(rule.fault, Some(Fault::Recipient), "{place}"),
            Some(Category::Blocked) if rule.fault == Some(Fault::Recipient) => {
                assert_eq!(rule.reason.as_deref(), Some("recipient-refused"), "{place}");
            }
            Some(Category::Blocked | Category::Failed) => assert!(rule.fault.is_some(), "{place}"),
            Some(Category::Transient | Category::Invalid | Category::Unknown | Category::Complaint) | None => {}
        }
    }
}
