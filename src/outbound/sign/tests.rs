use super::*;
use crate::authority::keys::new_key;
use crate::authority::{KeyRing, SenderDomain};
use crate::milter::ForwardPath;
use crate::outbound::Stays;

fn now() -> Timestamp {
    "2026-11-22T06:00:00Z".parse().expect("a literal time")
}

fn tokens(sign: bool) -> Tokens {
    let directory = tempfile::tempdir().expect("a directory");
    new_key(directory.path(), Timestamp::UNIX_EPOCH).expect("writable");
    let entry = |sender: &str, return_path: &str| SenderDomain {
        sender: sender.to_owned(),
        return_path: return_path.to_owned(),
    };
    let settings = crate::authority::Settings {
        sign,
        domain: Some("bounces.test".to_owned()),
        domains: vec![entry("shop.test", "b.shop.test"), entry("eu.shop.test", "b.eu.test")],
        ..Default::default()
    };
    Tokens::new(settings, KeyRing::read(directory.path()).expect("readable"))
}

fn return_path() -> ReturnPath {
    ReturnPath {
        domains: ["bounces.test", "b.shop.test", "b.eu.test", "other.test"].map(str::to_owned).to_vec(),
        addresses: vec!["bounce*@club.test".to_owned()],
    }
}

fn settings() -> Settings {
    Settings { campaign_senders: vec!["@senders.test".to_owned()], ..Settings::default() }
}

/// A message to these recipients, all of whom stay, and what screening says of it.
fn message(reverse_path: &str, recipients: &[&str]) -> (Transaction, Screening) {
    let mut transaction = Transaction { reverse_path: reverse_path.as_bytes().to_vec(), ..Transaction::default() };
    let mut screening = Screening { is_campaign: true, ..Screening::default() };
    for (place, recipient) in recipients.iter().enumerate() {
        let argument = format!("<{recipient}>").into_bytes();
        transaction.recipients.push(ForwardPath { argument, parameters: Vec::new(), mailer: None, address: None });
        let address = Address::parse(recipient).expect("an address");
        screening.stays.push(Stays { recipient: place, address, streak: false, is_noted: false, limit: None });
    }
    (transaction, screening)
}

fn signed(transaction: &Transaction, screening: &Screening) -> Option<Signed> {
    sign(transaction, screening, &tokens(true), &settings(), &return_path(), now())
}

/// The new reverse path and its ESMTP arguments.
fn sender(signed: &Signed) -> (String, Option<String>) {
    let Edit::ChangeSender(path, arguments) = &signed.edits[0] else { panic!("{signed:?}") };
    let text = |octets: &Vec<u8>| String::from_utf8(octets.clone()).expect("ASCII");
    (text(path), arguments.as_ref().map(text))
}

#[test]
fn a_campaign_message_gets_a_token_as_sender_envelope_id_and_feedback_address() {
    let (transaction, screening) = message("<news@bounces.test>", &["joe@example.org"]);
    let tokens = tokens(true);
    let signed = sign(&transaction, &screening, &tokens, &settings(), &return_path(), now()).expect("signed");
    let (path, arguments) = sender(&signed);
    let address = path.strip_prefix('<').and_then(|path| path.strip_suffix('>')).expect("in brackets");
    let token = address.strip_prefix("b-").and_then(|rest| rest.strip_suffix("@bounces.test")).expect("prefix");
    assert!(address.split('@').next().expect("a local part").len() <= 64);
    assert_eq!(arguments, Some(format!("ENVID={token}")));
    let field = |name: &str, value: String| Edit::AddHeader(name.as_bytes().to_vec(), value.into_bytes());
    assert_eq!(
        signed.edits[1..],
        [field("CFBL-Address", format!(" {address}; report=arf")), field("CFBL-Feedback-ID", format!(" {token}"))]
    );
    let token = tokens.read(token, now()).expect("valid");
    assert!(tokens.names(&token, &screening.stays[0].address));
}

#[test]
fn a_token_is_bound_to_the_one_recipient_that_is_left_else_to_the_message() {
    let (transaction, mut screening) = message("<news@bounces.test>", &["joe@example.org", "ann@example.org"]);
    let tokens = tokens(true);
    let bound = |screening: &Screening| {
        let signed = sign(&transaction, screening, &tokens, &settings(), &return_path(), now()).expect("signed");
        let path = sender(&signed).0;
        tokens.read(&path[3..43], now()).expect("valid").bound
    };
    assert_eq!(bound(&screening), crate::authority::Bound::Message);
    // One goes to a local mailbox: he gets the same message all the same.
    let left = screening.stays.pop().expect("two");
    assert_eq!(bound(&screening), crate::authority::Bound::Message);
    screening.skips.push(crate::outbound::Skip {
        recipient: 1,
        address: Some(left.address),
        reason: crate::policy::SkipReason::Suppressed,
        category: None,
        scope: None,
        limit: None,
    });
    assert_eq!(bound(&screening), crate::authority::Bound::Recipient);
}

#[test]
fn the_domain_follows_the_sender() {
    for (reverse_path, want) in [
        ("<news@bounces.test>", Some("bounces.test")),
        ("News@BOUNCES.test", Some("bounces.test")), // from sendmail(1), without brackets
        ("<news@other.test>", Some("other.test")),
        ("<news@shop.test>", Some("b.shop.test")),
        ("<news@mail.shop.test>", Some("b.shop.test")),
        ("<news@eu.shop.test>", Some("b.eu.test")),
        ("<news@workshop.test>", None),
        ("<bounces@club.test>", Some("bounces.test")),
        ("<ann@club.test>", None),
        ("<news@senders.test>", Some("bounces.test")),
        ("<news@customer.test>", None),
    ] {
        let (transaction, screening) = message(reverse_path, &["joe@example.org"]);
        let signed = signed(&transaction, &screening).map(|signed| sender(&signed).0);
        let domain = signed.as_deref().and_then(|path| path.strip_suffix('>')?.rsplit_once('@'));
        assert_eq!(domain.map(|(_, domain)| domain), want, "MAIL FROM:{reverse_path}");
    }
}

#[test]
fn mail_that_must_not_be_addressed_anew_is_left_alone() {
    let token = "a".repeat(40);
    for reverse_path in [
        "<>",
        "",
        "<no address>",
        "<news-joe=example.org@bounces.test>",
        "<news+joe=example.org@bounces.test>",
        "<news+123@bounces.test>",
        "<prvs=0123456789=news@bounces.test>",
        "<SRS0=abc=de=other.test=ann@bounces.test>",
        "<SRS0+abc=de=other.test=ann@bounces.test>",
        "<srs1-abc-other@bounces.test>",
        "<btv1==0123456789=news@bounces.test>",
        &format!("<b-{token}@bounces.test>"),
        &format!("<B-{token}@bounces.test>"),
    ] {
        let (transaction, screening) = message(reverse_path, &["joe@example.org"]);
        assert_eq!(signed(&transaction, &screening), None, "MAIL FROM:{reverse_path}");
    }
    let (plain, screening) = message("<news@bounces.test>", &["joe@example.org"]);
    for parameter in ["XVERP", "xverp=+="] {
        let transaction = Transaction { parameters: vec![parameter.as_bytes().to_vec()], ..plain.clone() };
        assert_eq!(signed(&transaction, &screening), None, "{parameter}");
    }
    assert_eq!(signed(&plain, &Screening { is_campaign: false, ..screening.clone() }), None, "no campaign's");
    assert_eq!(signed(&plain, &Screening { stays: Vec::new(), ..screening.clone() }), None, "nobody is left");
    assert_eq!(sign(&plain, &screening, &tokens(false), &settings(), &return_path(), now()), None, "sign = false");
    assert!(signed(&plain, &screening).is_some());
}

#[test]
fn what_the_client_said_itself_stays() {
    let (mut transaction, screening) = message("<news@bounces.test>", &["joe@example.org"]);
    transaction.parameters = vec![b"RET=HDRS".to_vec(), b"envid=QQ314159".to_vec()];
    transaction.headers.push(b"CFBL-Address", b" fbl@shop.test; report=arf");
    let signed = signed(&transaction, &screening).expect("signed");
    assert_eq!((sender(&signed).1, signed.edits.len()), (None, 1));
}
