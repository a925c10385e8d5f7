use super::*;
use crate::classify::{BounceType, Class};
use crate::milter::macros::Stage;
use crate::milter::{Command, Edit};
use crate::outbound::edits;
use crate::policy::event::ImportedEntry;
use crate::policy::{Authority, Response};
use crate::report::Kind;
use crate::store;
use std::collections::BTreeMap;
use std::sync::Barrier;

/// A store of its own, and where it lies.
struct Ground {
    store: Store,
    settings: Settings,
    _directory: tempfile::TempDir,
}

const DAY: u32 = 86_400;

fn ground() -> Ground {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("store");
    let settings = store::Settings { path, cache_bytes: 1 << 20, evidence_days: 400, ledger_days: 35 };
    let store = Store::open(&settings).expect("a new store");
    Ground { store, settings: Settings::default(), _directory: directory }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

/// A message of the campaign `c1` on list `news.in.test`.
fn campaign(recipients: &[&str]) -> Transaction {
    message(&[("X-Campaign-ID", "c1"), ("List-ID", "<news.in.test>"), ("Message-ID", "<1@in.test>")], recipients)
}

fn message(fields: &[(&str, &str)], recipients: &[&str]) -> Transaction {
    let mut transaction = Transaction::default();
    fields.iter().for_each(|(name, value)| transaction.headers.push(name.as_bytes(), value.as_bytes()));
    transaction.recipients = recipients.iter().map(|argument| forward_path(argument)).collect();
    transaction
}

fn forward_path(argument: &str) -> ForwardPath {
    ForwardPath { argument: argument.into(), parameters: Vec::new(), mailer: None, address: None }
}

impl Ground {
    fn record(&self, to: Option<&str>, what: What) {
        let event = NewEvent { at: at(0), address: to.map(address), queue_id: None, what, content_key: None };
        self.store.record_blocking(vec![event]).expect("a store that records");
    }

    fn suppress(&self, to: &str, scope: Scope) {
        self.record(Some(to), What::Suppress { scope, reason: "asked".to_owned(), uid: 0 });
    }

    fn list(&self, list: OperatorList, entry: &str) {
        let (entry, reason) = (entry.to_owned(), "asked".to_owned());
        self.record(None, What::ListAdd { list, entry, reason, uid: 0 });
    }

    fn attributes(&self, to: &str, known: &[(&str, &str)]) {
        let attributes: BTreeMap<_, _> =
            known.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.record(Some(to), What::Attributes { attributes, uid: 0, reason: String::new() });
    }

    fn bounce(&self, to: &str, bounce_type: BounceType) {
        let response = Response {
            class: Class::Bounce,
            kind: Kind::Bounce,
            category: Some(Category::Rejected),
            bounce_type: Some(bounce_type),
            code: None,
            reason: None,
            fault: None,
            by_words: false,
            authority: Authority::Local,
            campaign: Some(Campaign("c0".to_owned())),
            list: Some(ListId("other.in.test".to_owned())),
            sent_at: None,
        };
        self.record(Some(to), What::Response { response: Box::new(response), evidence: Box::default() });
    }

    fn screen(&self, transaction: &Transaction) -> Screening {
        screen(transaction, &self.settings, &self.store, at(1)).expect("a readable store")
    }

    /// The reason for every recipient, `stays`, or `-` where it is none of our business.
    fn reasons(&self, transaction: &Transaction) -> Vec<&'static str> {
        reasons(&self.screen(transaction), transaction)
    }
}

fn reasons(screening: &Screening, transaction: &Transaction) -> Vec<&'static str> {
    let mut reasons = vec!["-"; transaction.recipients.len()];
    screening.skips.iter().for_each(|skip| reasons[skip.recipient] = skip.reason.as_str());
    screening.stays.iter().for_each(|stays| reasons[stays.recipient] = "stays");
    reasons
}

fn limit(messages: u32, window_secs: u32) -> Limit {
    Limit { messages, window_secs }
}

#[test]
fn a_suppressed_contact_is_skipped_with_category_and_scope() {
    let ground = ground();
    ground.bounce("gone@out.test", BounceType::Hard);
    ground.suppress("left@out.test", Scope::List(ListId("news.in.test".to_owned())));
    let screening = ground.screen(&campaign(&["<gone@out.test>", "<left@out.test>", "<stays@out.test>"]));
    let found: Vec<_> = screening.skips.iter().map(|skip| (skip.reason, skip.category, skip.scope.clone())).collect();
    let list = Scope::List(ListId("news.in.test".to_owned()));
    let suppressed = SkipReason::Suppressed;
    let want = [(suppressed, Some(Category::Rejected), Some(Scope::System)), (suppressed, None, Some(list))];
    assert_eq!(found, want);
}

#[test]
fn each_skip_is_an_event_with_queue_id_campaign_and_reason() {
    let ground = ground();
    ground.bounce("gone@out.test", BounceType::Hard);
    ground.list(OperatorList::Blocklist, "block.test");
    let mut transaction = campaign(&["<gone@out.test>", "<stays@out.test>", "<x@block.test>"]);
    let Ok(Command::Macros(_, macros)) = Command::read(b"DEi\x004XyZ12\0") else { panic!("no macros") };
    transaction.macros.tell(Stage::EndOfMessage, macros);
    for shadow in [false, true] {
        let events = ground.screen(&transaction).events(&transaction, shadow, at(1));
        let told = events.iter().map(|event| match &event.what {
            What::Skip { reason, campaign, list, shadow, .. } => {
                let (campaign, list) = (campaign.clone().expect("a campaign").0, list.clone().expect("a list").0);
                (event.address.clone(), event.queue_id.as_deref(), reason.as_str(), campaign, list, *shadow)
            }
            other => panic!("{other:?}"),
        });
        let want = [("gone@out.test", "suppressed"), ("x@block.test", "blocklist")].map(|(to, reason)| {
            (Some(address(to)), Some("4XyZ12"), reason, "c1".to_owned(), "news.in.test".to_owned(), shadow)
        });
        assert_eq!(told.collect::<Vec<_>>(), want);
    }
}

#[test]
fn a_contact_suppressed_on_one_list_still_gets_another() {
    let ground = ground();
    ground.suppress("left@out.test", Scope::List(ListId("other.in.test".to_owned())));
    assert_eq!(ground.reasons(&campaign(&["<left@out.test>"])), ["stays"]);
}

#[test]
fn an_address_that_cannot_be_mailed_is_invalid_and_what_postfix_understands_is_not() {
    let ground = ground();
    for (argument, resolved, want) in [
        ("<{{email}}@out.test>", None, "invalid-address"),
        ("<*|EMAIL|*>", Some("*|email|*@in.test"), "invalid-address"),
        ("<joe@out..test>", Some("joe@out..test"), "invalid-address"),
        ("<joe@>", None, "invalid-address"),
        ("<a b@out.test>", None, "invalid-address"),
        ("joe@out.test, ann@out.test", None, "invalid-address"),
        ("<joe@out.test>", None, "stays"),
        ("<joe%out.test>", Some("joe@out.test"), "stays"),
        ("<out.test!joe>", Some("joe@out.test"), "stays"),
        ("<joe>", None, "-"),
        ("<out.test!joe>", None, "-"),
        ("root", None, "-"),
    ] {
        let mut transaction = campaign(&[argument]);
        transaction.recipients[0].address = resolved.map(str::to_owned);
        assert_eq!(ground.reasons(&transaction), [want], "RCPT TO:{argument}");
    }
}

#[test]
fn an_invalid_address_is_written_down_as_the_client_wrote_it() {
    let ground = ground();
    let transaction = campaign(&["<{{email}}@out.test>", "<joe@>"]);
    let events = ground.screen(&transaction).events(&transaction, false, at(1));
    let told = events.iter().map(|event| match &event.what {
        What::Skip { reason: SkipReason::InvalidAddress, category: Some(Category::Invalid), forward_path, .. } => {
            (event.address.as_ref().map(Address::to_string), forward_path.clone())
        }
        other => panic!("{other:?}"),
    });
    let as_written = |text: &str| Some(text.to_owned());
    let want = [(as_written("{{email}}@out.test"), as_written("<{{email}}@out.test>")), (None, as_written("<joe@>"))];
    assert_eq!(told.collect::<Vec<_>>(), want);
}

#[test]
fn a_contact_on_the_blocklist_or_the_robinson_list_is_skipped() {
    let ground = ground();
    ground.list(OperatorList::Blocklist, "ann@out.test");
    ground.list(OperatorList::Blocklist, "block.test");
    ground.list(OperatorList::Robinson, "bob@out.test");
    let transaction = campaign(&["<Ann@out.test>", "<x@block.test>", "<bob@out.test>", "<cat@out.test>"]);
    assert_eq!(ground.reasons(&transaction), ["blocklist", "blocklist", "robinson", "stays"]);
}

#[test]
fn an_erased_contact_is_skipped_and_not_written_down_again() {
    let ground = ground();
    let erase = What::Erase { kept: true, reason: "asked".to_owned(), uid: 0 };
    let event = NewEvent { at: at(0), address: None, queue_id: None, what: erase, content_key: None };
    ground.bounce("ann@out.test", BounceType::Hard);
    ground.store.erase(&address("ann@out.test"), event).expect("a store that erases");
    let transaction = campaign(&["<ann@out.test>"]);
    let screening = ground.screen(&transaction);
    assert_eq!(reasons(&screening, &transaction), ["suppressed"]);
    let events = screening.events(&transaction, false, at(1));
    assert!(!format!("{events:?}").contains("ann@"), "{events:?}");
}

#[test]
fn required_information_that_is_not_known_of_a_contact_skips_it() {
    let ground = ground();
    ground.attributes("both@out.test", &[("locale", "de"), ("first_name", "Ann")]);
    ground.attributes("empty@out.test", &[("locale", "de"), ("first_name", " ")]);
    ground.attributes("one@out.test", &[("locale", "de")]);
    let recipients = ["<both@out.test>", "<empty@out.test>", "<one@out.test>", "<none@out.test>"];
    for (fields, want) in [
        (&[][..], ["stays"; 4]),
        (&["locale"], ["stays", "stays", "stays", "missing-info"]),
        (&["locale, first_name"], ["stays", "missing-info", "missing-info", "missing-info"]),
        (&["locale", " ,first_name,"], ["stays", "missing-info", "missing-info", "missing-info"]),
        (&[" , "], ["stays"; 4]),
    ] {
        let mut transaction = campaign(&recipients);
        fields.iter().for_each(|field| transaction.headers.push(b"X-Backstop-Require", field.as_bytes()));
        assert_eq!(ground.reasons(&transaction), want, "X-Backstop-Require: {fields:?}");
    }
}

#[test]
fn of_several_reasons_the_first_in_order_is_given() {
    let ground = ground();
    let sends = Sends::new(&[limit(1, DAY)]);
    for contact in ["{{x}}@out.test", "a@out.test", "b@out.test", "c@out.test", "d@out.test", "e@out.test"] {
        sends.note(ground.store.recipient_key(&address(contact)), at(0));
    }
    ground.bounce("{{x}}@out.test", BounceType::Hard);
    ground.bounce("a@out.test", BounceType::Hard);
    ["a@out.test", "b@out.test"].iter().for_each(|entry| ground.list(OperatorList::Blocklist, entry));
    ["a@out.test", "b@out.test", "c@out.test"].iter().for_each(|entry| ground.list(OperatorList::Robinson, entry));
    ground.attributes("e@out.test", &[("locale", "de")]);
    let mut transaction =
        campaign(&["<{{x}}@out.test>", "<a@out.test>", "<b@out.test>", "<c@out.test>", "<d@out.test>", "<e@out.test>"]);
    transaction.headers.push(b"X-Backstop-Require", b"locale");
    let mut screening = ground.screen(&transaction);
    screening.count(&ground.store, &[limit(1, DAY)], &sends, false, at(1));
    let want = ["invalid-address", "suppressed", "blocklist", "robinson", "missing-info", "limit"];
    assert_eq!(reasons(&screening, &transaction), want);
}

#[test]
fn a_contact_that_had_its_messages_is_skipped_and_the_strictest_limit_wins() {
    let ground = ground();
    let rules = [limit(2, DAY), limit(3, 7 * DAY)];
    let sends = Sends::new(&rules);
    let transaction = campaign(&["<ann@out.test>"]);
    let hour = 3600;
    let mut told = Vec::new();
    for hours in [0, 1, 2, 25, 26, 7 * 24 + 1] {
        let mut screening = ground.screen(&transaction);
        screening.count(&ground.store, &rules, &sends, false, at(hours * hour));
        told.push(screening.skips.first().and_then(|skip| skip.limit));
    }
    assert_eq!(told, [None, None, Some(rules[0]), None, Some(rules[1]), None]);
}

#[test]
fn a_contacts_own_limit_is_one_more() {
    let ground = ground();
    let own = limit(1, DAY);
    ground.record(Some("ann@out.test"), What::Limit { limit: Some(own), uid: 0, reason: String::new() });
    let rules = [limit(2, DAY)];
    let sends = Sends::new(&rules);
    let transaction = campaign(&["<ann@out.test>", "<bob@out.test>"]);
    for (time, want) in [(0, ["stays", "stays"]), (1, ["limit", "stays"]), (2, ["limit", "limit"])] {
        let mut screening = ground.screen(&transaction);
        screening.count(&ground.store, &rules, &sends, false, at(time));
        assert_eq!(reasons(&screening, &transaction), want);
    }
}

#[test]
fn transactional_mail_is_exempt_from_limits_and_does_not_count() {
    let ground = ground();
    let rules = [limit(1, DAY)];
    let sends = Sends::new(&rules);
    let transactional = message(&[("Subject", "Your password")], &["<ann@out.test>"]);
    for transaction in [&transactional, &campaign(&["<ann@out.test>"]), &transactional] {
        let mut screening = ground.screen(transaction);
        screening.count(&ground.store, &rules, &sends, false, at(1));
        assert_eq!(reasons(&screening, transaction), ["stays"]);
    }
    assert_eq!(sends.count(ground.store.recipient_key(&address("ann@out.test")), DAY, at(1)), 1);
}

#[test]
fn what_is_skipped_for_another_reason_does_not_count() {
    let ground = ground();
    ground.bounce("gone@out.test", BounceType::Hard);
    let rules = [limit(9, DAY)];
    let transaction = campaign(&["<gone@out.test>"]);
    for (shadow, want) in [(false, 0), (true, 1)] {
        let sends = Sends::new(&rules);
        ground.screen(&transaction).count(&ground.store, &rules, &sends, shadow, at(1));
        let count = sends.count(ground.store.recipient_key(&address("gone@out.test")), DAY, at(1));
        assert_eq!(count, want, "shadow: {shadow}; there it goes out all the same");
    }
}

#[test]
fn in_shadow_mode_a_limit_is_told_and_every_message_counts() {
    let ground = ground();
    let rules = [limit(1, DAY)];
    let sends = Sends::new(&rules);
    let transaction = campaign(&["<ann@out.test>"]);
    for want in ["stays", "limit", "limit"] {
        let mut screening = ground.screen(&transaction);
        screening.count(&ground.store, &rules, &sends, true, at(1));
        assert_eq!(reasons(&screening, &transaction), [want]);
    }
    // As many as the largest limit has are kept, and some.
    assert_eq!(sends.count(ground.store.recipient_key(&address("ann@out.test")), DAY, at(1)), 3);
}

#[test]
fn a_contact_named_twice_in_a_message_gets_it_once() {
    let ground = ground();
    let rules = [limit(1, DAY)];
    let sends = Sends::new(&rules);
    let transaction = campaign(&["<ann@out.test>", "<Ann@Out.Test>"]);
    for want in [["stays", "stays"], ["limit", "limit"]] {
        let mut screening = ground.screen(&transaction);
        screening.count(&ground.store, &rules, &sends, false, at(1));
        assert_eq!(reasons(&screening, &transaction), want);
    }
}

#[test]
fn a_message_that_must_come_again_is_not_counted() {
    let ground = ground();
    let rules = [limit(1, DAY)];
    let sends = Sends::new(&rules);
    let transaction = campaign(&["<ann@out.test>"]);
    let mut screening = ground.screen(&transaction);
    screening.count(&ground.store, &rules, &sends, false, at(1));
    screening.take_back(&sends, at(1));
    assert_eq!(sends.count(ground.store.recipient_key(&address("ann@out.test")), DAY, at(1)), 0);
}

#[test]
fn two_messages_at_once_cannot_both_take_the_last_place() {
    const MESSAGES: usize = 8;
    let ground = ground();
    let rules = [limit(3, DAY)];
    let transaction = campaign(&["<ann@out.test>", "<bob@out.test>"]);
    for _ in 0..50 {
        let sends = Sends::new(&rules);
        let together = Barrier::new(MESSAGES);
        let pass = || {
            let mut screening = ground.screen(&transaction);
            together.wait();
            screening.count(&ground.store, &rules, &sends, false, at(1));
            screening.stays.len()
        };
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..MESSAGES).map(|_| scope.spawn(pass)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(passed, 6, "three messages to each of two contacts");
    }
}

#[test]
fn an_imported_suppression_skips_too() {
    let ground = ground();
    let entry = ImportedEntry {
        subject: "old@out.test".to_owned(),
        scope: None,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: None,
        reason: None,
        since: None,
        note: None,
    };
    let (source, format, reason) = ("old.txt".to_owned(), "plain".to_owned(), "moved".to_owned());
    let begin = What::Import { list: None, source, format, reason, uid: 0 };
    let begin = NewEvent { at: at(0), address: None, queue_id: None, what: begin, content_key: None };
    let entries = &mut std::iter::once(Ok(entry));
    ground.store.import_batch(begin, entries, &mut |_| {}).expect("a store that imports");
    assert_eq!(ground.reasons(&campaign(&["<old@out.test>"])), ["suppressed"]);
}

#[test]
fn a_contact_with_an_open_streak_is_added_again_with_notify() {
    let ground = ground();
    for contact in ["sue@out.test", "own@out.test", "twice@out.test", "routed@out.test", "orcpt@out.test"] {
        ground.bounce(contact, BounceType::Soft);
    }
    let arguments = [
        "<ann@out.test>",
        "<Sue@Out.Test>",
        "<own@out.test>",
        "<twice@out.test>",
        "<twice@out.test>",
        "<@relay.test:routed@out.test>",
        "<orcpt@out.test>",
    ];
    let mut transaction = campaign(&arguments);
    transaction.recipients[2].parameters.push(b"notify=NEVER".to_vec());
    transaction.recipients[6].parameters.push(b"ORCPT=rfc822;o+2Brcpt@out.test".to_vec());
    let again = |path: &str, parameters: &str| Edit::ReaddRecipient(path.into(), parameters.into());
    assert_eq!(
        edits::readditions(&transaction, &ground.screen(&transaction), |_| true),
        [
            again("<orcpt@out.test>", "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+2Brcpt@out.test"),
            again("<Sue@Out.Test>", "NOTIFY=SUCCESS,FAILURE"),
        ]
    );
}

#[test]
fn in_shadow_mode_the_ledger_remembers_those_who_would_have_been_skipped() {
    let ground = ground();
    ground.bounce("gone@out.test", BounceType::Hard);
    let transaction = campaign(&["<gone@out.test>", "<ann@out.test>"]);
    for (shadow, want) in [(false, vec!["ann@out.test"]), (true, vec!["ann@out.test", "gone@out.test"])] {
        let send = ground.screen(&transaction).into_send(shadow, at(1)).expect("somebody gets it");
        assert_eq!(send.recipients.iter().map(Address::as_str).collect::<Vec<_>>(), want, "shadow: {shadow}");
    }
}

#[test]
fn the_self_tests_recipients_are_screened_though_lmtp_takes_them() {
    let ground = ground();
    let mut transaction = campaign(&["<bounce@backstop-selftest.invalid>", "<joe@in.test>"]);
    for recipient in &mut transaction.recipients {
        recipient.mailer = Some("lmtp".to_owned());
        let argument = std::str::from_utf8(&recipient.argument).expect("ASCII");
        recipient.address = Some(argument.trim_matches(['<', '>']).to_owned());
    }
    assert_eq!(ground.reasons(&transaction), ["stays", "-"]);
}
