//! Facts for the tests of the fold, dated by the day.

#![allow(dead_code, reason = "each of the two test programs uses its own part")]

pub mod plain;

use backstop::classify::{BounceCode, BounceType, Category, Class, Fault};
use backstop::mail::ListId;
use backstop::policy::contact::FactKind;
use backstop::policy::{
    Authority, Contact, ContactState, EventId, Fact, Imported, Level, Policy, Response, Scope, fold,
};
use backstop::report::{Campaign, Kind};
use jiff::{SignedDuration, Timestamp};

/// A fact that has no event id yet.
#[derive(Clone, Debug)]
pub struct Dated {
    pub at: Timestamp,
    pub what: FactKind,
}

/// Midnight, so many days into the tests.
pub fn day_of(day: i64) -> Timestamp {
    "2026-03-01T00:00:00Z".parse::<Timestamp>().expect("a literal time") + SignedDuration::from_hours(24 * day)
}

/// The id of the fact in that place of its day.
pub fn event_of(day: i64, place: u64) -> EventId {
    EventId::new(day_of(day), 1, place)
}

/// The contact with these facts; ids by time, then by order.
pub fn record(dated: Vec<Dated>) -> Contact {
    let mut contact = Contact::default();
    for fact in numbered(dated) {
        contact.insert(fact);
    }
    contact
}

/// Facts with ids: those of one time count up from 0.
pub fn numbered(dated: Vec<Dated>) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    for Dated { at, what } in dated {
        let place = facts.iter().filter(|fact| fact.at == at).count() as u64;
        facts.push(Fact { event: EventId::new(at, 1, place), at, what });
    }
    facts
}

pub fn campaign(name: &str) -> Campaign {
    Campaign(name.to_owned())
}

pub fn list(name: &str) -> Scope {
    Scope::List(ListId(name.to_owned()))
}

pub fn response(day: i64, response: Response) -> Dated {
    Dated { at: day_of(day), what: FactKind::Response(Box::new(response)) }
}

pub fn change(dated: &mut Dated, how: impl FnOnce(&mut Response)) {
    match &mut dated.what {
        FactKind::Response(response) => how(response),
        _ => panic!("no response"),
    }
}

pub fn of_kind(day: i64, kind: Kind, name: &str) -> Dated {
    let class = if kind == Kind::Bounce { Class::Bounce } else { Class::Feedback };
    let answer = Response {
        class,
        kind,
        category: None,
        bounce_type: None,
        code: None,
        reason: None,
        fault: None,
        by_words: false,
        authority: Authority::Matched,
        campaign: Some(campaign(name)),
        list: None,
        sent_at: None,
    };
    response(day, answer)
}

pub fn hard(day: i64, name: &str) -> Dated {
    let mut dated = of_kind(day, Kind::Bounce, name);
    change(&mut dated, |response| {
        response.category = Some(Category::Rejected);
        response.bounce_type = Some(BounceType::Hard);
        response.code = Some(BounceCode { class: 5, subject: 1, detail: 1 });
        response.reason = Some("user-unknown".into());
        response.fault = Some(Fault::Recipient);
    });
    dated
}

pub fn soft(day: i64, name: &str) -> Dated {
    let mut dated = of_kind(day, Kind::Bounce, name);
    change(&mut dated, |response| {
        response.category = Some(Category::Transient);
        response.bounce_type = Some(BounceType::Soft);
        response.code = Some(BounceCode { class: 4, subject: 2, detail: 2 });
        response.reason = Some("mailbox-full".into());
        response.fault = Some(Fault::Recipient);
    });
    dated
}

pub fn nameless_soft(day: i64, hour: i64) -> Dated {
    let mut dated = soft(day, "");
    dated.at += SignedDuration::from_hours(hour);
    change(&mut dated, |response| response.campaign = None);
    dated
}

pub fn sent_on(day: i64, mut dated: Dated) -> Dated {
    change(&mut dated, |response| response.sent_at = Some(day_of(day)));
    dated
}

pub fn complaint(day: i64, list: Option<&str>) -> Dated {
    let mut dated = of_kind(day, Kind::Complaint, "complained");
    change(&mut dated, |response| {
        response.category = Some(Category::Complaint);
        response.list = list.map(|name| ListId(name.to_owned()));
    });
    dated
}

pub fn let_out(day: i64, name: &str) -> Dated {
    Dated { at: day_of(day), what: FactKind::Sent { campaign: Some(campaign(name)), list: None } }
}

pub fn suppress(day: i64, scope: Scope) -> Dated {
    Dated { at: day_of(day), what: FactKind::Suppress { scope, reason: "asked".into() } }
}

pub fn reactivate(day: i64, scope: Scope) -> Dated {
    Dated { at: day_of(day), what: FactKind::Reactivate { scope, reason: "wrote back".into(), by_timer: false } }
}

/// The state after these facts, a month after the first day.
pub fn after(facts: Vec<Dated>) -> ContactState {
    on_day(30, facts, &Policy::default())
}

pub fn on_day(day: i64, facts: Vec<Dated>, policy: &Policy) -> ContactState {
    fold(&record(facts), policy, day_of(day))
}

/// A bounce of that category and type, by its bare code.
pub fn bounce(day: i64, name: &str, category: Category, bounce_type: BounceType) -> Dated {
    let mut dated = if bounce_type == BounceType::Hard { hard(day, name) } else { soft(day, name) };
    change(&mut dated, |response| {
        (response.category, response.reason) = (Some(category), None);
        response.class = category.class();
    });
    dated
}

/// The same, with words that show whose fault it is.
pub fn by_words(mut dated: Dated, fault: Fault) -> Dated {
    change(&mut dated, |response| (response.by_words, response.fault) = (true, Some(fault)));
    dated
}

pub fn activity(day: i64, level: u8) -> Dated {
    let level = Level::try_from(level).expect("a level");
    Dated { at: day_of(day), what: FactKind::Activity { level, campaign: None } }
}

pub fn timer(day: i64) -> Dated {
    let what = FactKind::Reactivate { scope: Scope::System, reason: "after its days".into(), by_timer: true };
    Dated { at: day_of(day), what }
}

pub fn imported(day: i64, scope: Scope, category: Option<Category>, bounce_type: Option<BounceType>) -> Dated {
    let imported = Imported {
        batch: EventId::new(day_of(day), 9, 0),
        scope,
        category,
        bounce_type,
        code: None,
        reason: "imported".into(),
        since: None,
    };
    Dated { at: day_of(day), what: FactKind::Imported(Box::new(imported)) }
}
