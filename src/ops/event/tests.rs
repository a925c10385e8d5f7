use super::*;
use crate::classify::{BounceCode, BounceType, Category, Class, Fault};
use crate::mail::ListId;
use crate::policy::Authority;

/// One of each, with its line.
fn each(told: impl Fn(LogEvent<'_>, &str)) {
    let address = Address::parse("joe@example.org").expect("an address");
    let campaign = Campaign("july 26".into());
    let queue_id = "4XyZ12";
    let response = Response {
        class: Class::Bounce,
        kind: Kind::Bounce,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
        reason: Some("user-unknown".into()),
        fault: Some(Fault::Recipient),
        by_words: true,
        authority: Authority::Local,
        campaign: Some(campaign.clone()),
        list: Some(ListId("news.example.org".into())),
        sent_at: None,
    };
    told(
        LogEvent::Skip {
            queue_id,
            forward_path: b"<Joe@example.org>",
            reason: SkipReason::Suppressed,
            limit: None,
            campaign: Some(&Campaign("77".into())),
            shadow: false,
        },
        "event=skip queue_id=4XyZ12 address=Joe@example.org reason=suppressed campaign=77",
    );
    let (forward_path, reason) = (b"joe".as_slice(), SkipReason::InvalidAddress);
    told(
        LogEvent::Skip { queue_id, forward_path, reason, limit: None, campaign: None, shadow: true },
        "event=skip queue_id=4XyZ12 address=joe reason=invalid-address shadow=true",
    );
    let (reason, limit) = (SkipReason::Limit, Some(&Limit { messages: 9, window_secs: 86_400 }));
    told(
        LogEvent::Skip { queue_id, forward_path, reason, limit, campaign: None, shadow: false },
        "event=skip queue_id=4XyZ12 address=joe reason=limit limit=\"9 per 1d\"",
    );
    told(LogEvent::LimitsLoaded { sends: 7, contacts: 5 }, "event=limits-loaded sends=7 contacts=5");
    told(LogEvent::LimitsNotLoaded { problem: "no disk" }, "event=limits-not-loaded problem=\"no disk\"");
    told(LogEvent::Discard { queue_id, recipients: 3 }, "event=discard queue_id=4XyZ12 recipients=3");
    told(
        LogEvent::Response { queue_id, address: &address, response: &response, rule: "smtp-user-unknown" },
        "event=response queue_id=4XyZ12 address=joe@example.org kind=bounce type=hard category=rejected \
         code=5.1.1 reason=user-unknown fault=recipient authority=local rule=smtp-user-unknown \
         campaign=\"july 26\" list=news.example.org",
    );
    told(
        LogEvent::Deactivate { queue_id, address: &address, reason: "user-unknown", streak: 3 },
        "event=deactivate queue_id=4XyZ12 address=joe@example.org reason=user-unknown streak=3",
    );
    told(LogEvent::Repeat { queue_id }, "event=repeat queue_id=4XyZ12");
    let problem = "no group";
    told(LogEvent::Unreadable { queue_id, problem }, "event=unreadable queue_id=4XyZ12 problem=\"no group\"");
    told(LogEvent::NotAReport { queue_id }, "event=not-a-report queue_id=4XyZ12");
    told(LogEvent::Tempfail { queue_id, problem }, "event=tempfail queue_id=4XyZ12 problem=\"no group\"");
    told(LogEvent::Undecided { queue_id, problem }, "event=undecided queue_id=4XyZ12 problem=\"no group\"");
    told(
        LogEvent::ProtocolError { queue_id: "-", problem: "length 0" },
        "event=protocol-error queue_id=- problem=\"length 0\"",
    );
    told(LogEvent::OverLimit { queue_id: "-", limit: "connections" }, "event=over-limit queue_id=- limit=connections");
    told(LogEvent::Unrecorded { queue_id, problem }, "event=unrecorded queue_id=4XyZ12 problem=\"no group\"");
    told(
        LogEvent::Operator { action: "suppress", on: Touched::Contact(&address), uid: 1000, reason: "asked\nus" },
        "event=operator address=joe@example.org action=suppress uid=1000 reason=\"asked\\nus\"",
    );
    told(
        LogEvent::Operator { action: "revert", on: Touched::Id(EventId(7)), uid: 0, reason: "wrong file" },
        "event=operator id=00000000000000000000000000000007 action=revert uid=0 reason=\"wrong file\"",
    );
    told(
        LogEvent::Operator { action: "import", on: Touched::Many(9), uid: 0, reason: "moved" },
        "event=operator count=9 action=import uid=0 reason=moved",
    );
    told(
        LogEvent::Operator { action: "erase", on: Touched::Nameless, uid: 0, reason: "GDPR" },
        "event=operator action=erase uid=0 reason=GDPR",
    );
    told(
        LogEvent::Replay { queue_id, reference: "issue-77@example.com", how: "again" },
        "event=replay queue_id=4XyZ12 reference=issue-77@example.com how=again",
    );
    told(
        LogEvent::PeerUnknown { problem: "no answer within 1 s" },
        "event=peer-unknown problem=\"no answer within 1 s\"",
    );
    told(
        LogEvent::Ready { milter: "inet:127.0.0.1:8899", admin: "/run/a.sock" },
        "event=ready milter=inet:127.0.0.1:8899 admin=/run/a.sock",
    );
    told(LogEvent::Reload { file: "/etc/b.toml", restart: "" }, "event=reload file=/etc/b.toml");
    told(
        LogEvent::Reload { file: "/etc/b.toml", restart: "[milter]" },
        "event=reload file=/etc/b.toml restart_for=[milter]",
    );
    told(LogEvent::ReloadRefused { problem: "b.toml:1: mode" }, "event=reload-refused problem=\"b.toml:1: mode\"");
    told(LogEvent::Expire { evidence: 7, sends: 8 }, "event=expire evidence=7 sends=8");
    told(LogEvent::ExpireFailed { problem: "full" }, "event=expire-failed problem=full");
    told(LogEvent::Release { released: 7 }, "event=release released=7");
    told(LogEvent::ReleaseFailed { problem: "full" }, "event=release-failed problem=full");
    told(LogEvent::Hook { hook: "crm", id: "7-suppress" }, "event=hook hook=crm id=7-suppress");
    told(
        LogEvent::HookFailed { hook: "crm", id: "7-suppress", attempts: 3, problem: "answered 503\nbusy" },
        "event=hook-failed hook=crm id=7-suppress attempts=3 problem=\"answered 503\\nbusy\"",
    );
    told(
        LogEvent::HookGivenUp { hook: "crm", id: "7-suppress", attempts: 9, problem: "gone" },
        "event=hook-given-up hook=crm id=7-suppress attempts=9 problem=gone",
    );
    told(LogEvent::Stop { signal: "SIGTERM" }, "event=stop signal=SIGTERM");
    told(LogEvent::Stopped, "event=stopped");
    told(LogEvent::Panic { place: "src/x.rs:1:2", problem: "index" }, "event=panic place=src/x.rs:1:2 problem=index");
    told(
        LogEvent::OperatorFailed { action: "PUT /v1/blocklist", uid: 7, problem: "no disk" },
        "event=operator-failed action=\"PUT /v1/blocklist\" uid=7 problem=\"no disk\"",
    );
    told(LogEvent::StoreDamaged { problem: "at octet 7" }, "event=store-damaged problem=\"at octet 7\"");
    told(LogEvent::ClockJumped { seconds: -7200 }, "event=clock-jumped seconds=-7200");
}

#[test]
fn every_event_has_its_line_and_its_name() {
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    each(|event, want| {
        assert_eq!(event.line().to_string(), want, "{event:?}");
        assert!(want.starts_with(&format!("event={}", EVENTS[event.place()].0)));
        seen.borrow_mut().insert(event.place());
    });
    assert_eq!(seen.into_inner(), (0..EVENTS.len()).collect());
}

#[test]
fn what_is_said_is_counted_and_dated() {
    let before = counters()["stopped"];
    let started = Timestamp::now();
    say(&LogEvent::Stopped);
    assert_eq!(counters()["stopped"], before + 1);
    let when = last().into_iter().find(|(name, _)| *name == "stopped").expect("it was said").1;
    assert!(when.as_millisecond() >= started.as_millisecond());
    assert_eq!(counters().len(), EVENTS.len(), "every kind has a counter from the start");
}

#[test]
fn words_in_the_log_are_those_of_the_json() {
    let json = |word: &str| format!("\"{word}\"");
    let kinds = [Kind::Bounce, Kind::Delayed, Kind::Delivered, Kind::Complaint, Kind::NotSpam, Kind::OptOut];
    for kind in kinds.into_iter().chain([Kind::Autoreply, Kind::Other]) {
        assert_eq!(serde_json::to_string(&kind).expect("a word"), json(kind_word(kind)));
    }
    use Authority::{Authenticated, Local, Matched, Operator, Signed, Unverified};
    for authority in [Unverified, Authenticated, Matched, Local, Signed, Operator] {
        assert_eq!(serde_json::to_string(&authority).expect("a word"), json(authority.as_str()));
    }
    use SkipReason::{Blocklist, InvalidAddress, InvalidDomain, Limit, MissingInfo, Robinson, Suppressed};
    for reason in [Suppressed, Blocklist, Robinson, Limit, MissingInfo, InvalidAddress, InvalidDomain] {
        assert_eq!(serde_json::to_string(&reason).expect("a word"), json(reason.as_str()));
    }
}
