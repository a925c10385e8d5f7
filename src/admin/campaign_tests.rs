//! The report by the index against the report by a walk over every event, on random histories.

use super::campaign_count::{Judge, Rows};
use super::campaign_walk::{Walk, Wanted};
use super::wire_campaigns::CampaignAnswer;
use crate::classify::{BounceType, Category, Class};
use crate::mail::{Address, ListId};
use crate::policy::{Authority, ContentKey, EventId, Evidence, Level, Policy, Response, Scope, SkipReason, What};
use crate::report::{Campaign, Kind};
use crate::store::{NewEvent, Recorded, Settings, Store};
use jiff::Timestamp;
use proptest::prelude::*;
use std::path::Path;

const CONTACTS: [&str; 6] =
    ["joe@example.org", "ann@gmail.com", "bob@outlook.com", "eve@example.net", "joe@example.com", "kim@example.org"];

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Response {
        contact: usize,
        campaign: usize,
        kind: usize,
        category: usize,
        authority: usize,
        minute: i64,
        repeat: bool,
    },
    Skip {
        contact: Option<usize>,
        campaign: usize,
        reason: usize,
        shadow: bool,
        minute: i64,
    },
    Sent {
        contact: usize,
        campaign: usize,
        minute: i64,
    },
    Activity {
        contact: usize,
        level: u8,
        minute: i64,
    },
    Reactivate {
        contact: usize,
        minute: i64,
    },
    /// Of the event recorded so many before.
    Void(usize),
    Confirm(usize),
    Erase {
        contact: usize,
        kept: bool,
    },
    Rebuild,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let (contact, campaign, minute) = (0..CONTACTS.len(), 0..2_usize, 0..5000_i64);
    prop_oneof![
        12 => (contact.clone(), campaign.clone(), 0..7_usize, 0..4_usize, 0..3_usize, minute.clone(), any::<bool>()).prop_map(
            |(contact, campaign, kind, category, authority, minute, repeat)| {
                Step::Response { contact, campaign, kind, category, authority, minute, repeat }
            }
        ),
        4 => (proptest::option::of(contact.clone()), campaign.clone(), 0..3_usize, any::<bool>(), minute.clone())
            .prop_map(|(contact, campaign, reason, shadow, minute)| Step::Skip { contact, campaign, reason, shadow, minute }),
        1 => (contact.clone(), campaign, minute.clone())
            .prop_map(|(contact, campaign, minute)| Step::Sent { contact, campaign, minute }),
        3 => (contact.clone(), 0..6_u8, minute.clone())
            .prop_map(|(contact, level, minute)| Step::Activity { contact, level, minute }),
        1 => (contact.clone(), minute).prop_map(|(contact, minute)| Step::Reactivate { contact, minute }),
        2 => (0..8_usize).prop_map(Step::Void),
        1 => (0..8_usize).prop_map(Step::Confirm),
        1 => (contact, any::<bool>()).prop_map(|(contact, kept)| Step::Erase { contact, kept }),
        1 => Just(Step::Rebuild),
        1 => Just(Step::Reopen),
    ]
}

fn open(path: &Path) -> Store {
    let settings = Settings { path: path.to_owned(), cache_bytes: 8 << 20, evidence_days: 400, ledger_days: 35 };
    Store::open(&settings).expect("the store opens")
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + minute * 60).expect("a time")
}

fn campaign(number: usize) -> Campaign {
    Campaign(["spring", "autumn"][number].to_owned())
}

fn new(contact: Option<usize>, at: Timestamp, what: What) -> NewEvent {
    let address = contact.map(|contact| Address::parse(CONTACTS[contact]).expect("an address"));
    NewEvent { at, address, queue_id: None, what, content_key: None }
}

fn response(of: usize, kind: usize, category: usize, authority: usize) -> What {
    let kind =
        [Kind::Bounce, Kind::Bounce, Kind::Complaint, Kind::Autoreply, Kind::Delivered, Kind::OptOut, Kind::Delayed]
            [kind];
    let category = Some([Category::Rejected, Category::Transient, Category::Failed, Category::Blocked][category]);
    let category = category.filter(|_| kind == Kind::Bounce);
    let hard = category == Some(Category::Rejected);
    let response = Response {
        class: category.map_or(Class::Feedback, Category::class),
        kind,
        category,
        bounce_type: category.map(|_| if hard { BounceType::Hard } else { BounceType::Soft }),
        code: None,
        reason: None,
        fault: None,
        by_words: true,
        authority: [Authority::Local, Authority::Unverified, Authority::Matched][authority],
        campaign: Some(campaign(of)),
        list: Some(ListId(format!("news{authority}.example.org"))),
        sent_at: None,
    };
    What::Response { response: Box::new(response), evidence: Box::new(Evidence::default()) }
}

struct History {
    directory: tempfile::TempDir,
    store: Store,
    events: Vec<(EventId, Option<usize>)>,
    erased: bool,
}

impl History {
    fn record(&mut self, contact: Option<usize>, new: NewEvent) {
        if let Ok([Recorded::New(id)]) = self.store.record_blocking(vec![new]).as_deref() {
            self.events.push((*id, contact));
        }
    }

    fn take(&mut self, step: &Step) {
        let before = |back: usize| self.events.len().checked_sub(back + 1).map(|place| self.events[place]);
        match step.clone() {
            Step::Response { contact, campaign, kind, category, authority, minute, repeat } => {
                let mut new = new(Some(contact), at(minute), response(campaign, kind, category, authority));
                let key = [&[contact as u8, campaign as u8, kind as u8][..]];
                new.content_key = repeat.then(|| ContentKey::of(&key));
                self.record(Some(contact), new);
            }
            Step::Skip { contact, campaign: of, reason, shadow, minute } => {
                let reason = [SkipReason::Suppressed, SkipReason::Limit, SkipReason::InvalidAddress][reason];
                let what = What::Skip {
                    reason,
                    category: Some(Category::Rejected),
                    scope: Some(Scope::System),
                    limit: None,
                    campaign: Some(campaign(of)),
                    list: Some(ListId("news".to_owned())),
                    forward_path: Some("{{email}}".to_owned()).filter(|_| contact.is_none()),
                    shadow,
                };
                self.record(contact, new(contact, at(minute), what));
            }
            Step::Sent { contact, campaign: of, minute } => {
                let what = What::Sent { campaign: Some(campaign(of)), list: None, message_id: None };
                self.record(Some(contact), new(Some(contact), at(minute), what));
            }
            Step::Activity { contact, level, minute } => {
                let level = Level::try_from(level).expect("0 to 5");
                let what = What::Activity { level, campaign: Some(campaign(0)), uid: None, reason: String::new() };
                self.record(Some(contact), new(Some(contact), at(minute), what));
            }
            Step::Reactivate { contact, minute } => {
                let what =
                    What::Reactivate { scope: Scope::System, reason: "asked".to_owned(), uid: 0, by_timer: false };
                self.record(Some(contact), new(Some(contact), at(minute), what));
            }
            Step::Void(back) => {
                let Some((target, _)) = before(back) else { return };
                let what = What::Void { target, reason: "a mistake".to_owned(), uid: 0 };
                // Not everything can be undone, nor twice.
                let _ = self.store.void(new(None, at(5000), what));
            }
            Step::Confirm(back) => {
                let Some((target, Some(contact))) = before(back) else { return };
                let what = What::Confirm { target, reason: "seen".to_owned(), uid: 0 };
                self.record(Some(contact), new(Some(contact), at(5000), what));
            }
            Step::Erase { contact, kept } => {
                let what = What::Erase { kept, reason: "asked".to_owned(), uid: 0 };
                let address = Address::parse(CONTACTS[contact]).expect("an address");
                self.store.erase(&address, new(None, at(5000), what)).expect("erased");
                self.events.retain(|(_, of)| *of != Some(contact));
                self.erased = true;
            }
            Step::Rebuild => drop(self.store.rebuild(&mut |_| {}).expect("rebuilt")),
            Step::Reopen => {
                self.store.close().expect("closed");
                self.store = open(self.directory.path());
            }
        }
    }

    /// The report, and what there is of each contact; by the index or by a walk.
    fn report(&self, of: usize, policy: &Policy, by_index: bool) -> (CampaignAnswer, Vec<String>) {
        let judge = Judge { store: &self.store, policy, now: at(6000) };
        let walk = |wanted| Walk::found(&self.store, &campaign(of), wanted, by_index).expect("readable");
        let report = judge.report_of(campaign(of), walk(Wanted::everything()), &|| true).expect("readable");
        let (mut names, mut behind) = (Vec::new(), None);
        loop {
            let page = walk(Wanted { behind, most: 2 });
            let told = |(name, kept): (&String, &super::campaign_walk::Kept)| {
                let skip = kept.skip.as_ref().map(|skip| (skip.event, skip.at, skip.reason, skip.shadow, &skip.list));
                format!("{name} {:?} {skip:?}", kept.times)
            };
            names.extend(page.contacts.iter().map(told));
            behind = page.next();
            if behind.is_none() {
                return (report, names);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_report_by_the_index_is_the_report_by_a_walk_over_every_event(
        steps in proptest::collection::vec(step(), 1..60),
        accept_unverified in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(directory.path());
        let mut history = History { directory, store, events: Vec::new(), erased: false };
        steps.iter().for_each(|step| history.take(step));
        let policy = Policy { accept_unverified, ..Policy::default() };
        for of in 0..2 {
            let (mut indexed, names) = history.report(of, &policy, true);
            let (walked, walked_names) = history.report(of, &policy, false);
            prop_assert_eq!(names, walked_names);
            if history.erased {
                // When things happened, and under which list, says nothing of a person and stays.
                prop_assert!(walked.first_at.is_none() || indexed.first_at <= walked.first_at);
                prop_assert!(indexed.last_at >= walked.last_at && indexed.lists.is_superset(&walked.lists));
                (indexed.first_at, indexed.last_at) = (walked.first_at, walked.last_at);
                indexed.lists.clone_from(&walked.lists);
            }
            prop_assert_eq!(&indexed, &walked);
            // Whatever is counted has a provider and a day.
            let by_day: u64 = indexed.by_day.iter().map(|row| row.figures.bounces + row.figures.skipped).sum();
            let by_provider: u64 = indexed.by_provider.iter().map(|row| row.figures.bounces + row.figures.skipped).sum();
            let want = indexed.bounces.total + indexed.skipped.total;
            prop_assert_eq!((by_day, by_provider), (want, want));
        }
    }
}

#[test]
fn all_campaigns_together_come_to_what_each_came_to_on_those_days() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let day = 24 * 60;
    let events = [(0, 0, 0), (1, 0, day), (2, 1, day), (3, 1, 2 * day)]
        .map(|(contact, of, minute)| new(Some(contact), at(minute), response(of, 0, 0, 0)));
    store.record_blocking(events.to_vec()).expect("recorded");
    let policy = Policy::default();
    let judge = Judge { store: &store, policy: &policy, now: at(6000) };
    let of_days = |first: i64, last: i64| {
        let mut rows = Rows::within(super::campaign_count::day_of(at(first)), super::campaign_count::day_of(at(last)));
        let any: Vec<bool> = (0..2).map(|of| judge.add(&mut rows, campaign(of), &|| true).expect("readable")).collect();
        let days: Vec<u64> = rows.by_day(&Default::default()).iter().map(|row| row.figures.hard).collect();
        let providers = rows.by_provider(&Default::default(), 2);
        (any, days, providers.into_iter().map(|row| (row.provider, row.figures.hard)).collect::<Vec<_>>())
    };
    let named =
        |rows: &[(&str, u64)]| rows.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect::<Vec<_>>();
    assert_eq!(of_days(0, 0), (vec![true, false], vec![1], named(&[("example.org", 1)])));
    assert_eq!(of_days(day, day), (vec![true, true], vec![2], named(&[("google", 1), ("microsoft", 1)])));
    let (_, days, providers) = of_days(0, 2 * day);
    assert_eq!(days, [1, 2, 1]);
    assert_eq!(providers, named(&[("example.net", 1), ("example.org", 1), ("other", 2)]));
}

/// What a report costs: run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes without --release"]
fn a_report_costs_what_its_campaign_is_and_not_what_the_store_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let event = |number: usize| {
        let (of, contact) = if number.is_multiple_of(100) { (0, number / 100) } else { (1, number) };
        let mut new = new(None, at(number as i64 % 5000), response(of, 0, number % 4, 0));
        new.address = Address::parse(&format!("c{contact}@d{}.example.org", contact % 50)).ok();
        new.content_key = Some(ContentKey::of(&[&number.to_be_bytes()]));
        new
    };
    let since = std::time::Instant::now();
    assert_eq!(store.import((0..1_000_000).map(event)).expect("imported"), 1_000_000);
    println!("{:?} to record a million events", since.elapsed());
    let policy = Policy::default();
    let judge = Judge { store: &store, policy: &policy, now: at(6000) };
    let mut taken = [std::time::Duration::ZERO; 2];
    for (place, by_index) in [(0, true), (1, false)] {
        let since = std::time::Instant::now();
        let found = Walk::found(&store, &campaign(0), Wanted::everything(), by_index).expect("readable");
        println!("{:?} to find the contacts, by the index: {by_index}", since.elapsed());
        let report = judge.report_of(campaign(0), found, &|| true).expect("readable");
        taken[place] = since.elapsed();
        println!("{:?} for a report on {} contacts", since.elapsed(), report.contacts);
        assert_eq!(report.contacts, 10_000);
    }
    assert!(taken[0] * 2 < taken[1], "{taken:?}");
}
