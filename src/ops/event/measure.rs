//! What is counted and timed for `/metrics` besides the log lines: relaxed atomics in fixed places, so that a
//! measurement on the path of the mail takes no lock and no memory.
//!
//! In: `milter::server`, `service`, `store` and [`say`](super::say), each for what it does. Out: the numbers, for
//! `admin::metrics`. Labels are closed sets of our own words; none of them comes out of a mail.

use crate::classify::{BounceType, Category, provider};
use crate::policy::{Authority, Response, SkipReason};
use crate::report::Kind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

const fn zeros<const N: usize>() -> [Counter; N] {
    [const { Counter::new() }; N]
}

/// How many measurements fell below each bound, and their sum.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    below: [Counter; N],
    beyond: Counter,
    sum: Counter,
}

/// What a [`Histogram`] has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Each bound, and how many measurements were not above it: fewer than or as many as of the next.
    pub below: Vec<(u64, u64)>,
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl<const N: usize> Histogram<N> {
    const fn new(bounds: &'static [u64; N]) -> Histogram<N> {
        Histogram { bounds, below: [const { Counter::new() }; N], beyond: Counter::new(), sum: Counter::new() }
    }

    fn observe(&self, value: u64) {
        let place = self.bounds.iter().position(|bound| value <= *bound);
        place.map_or(&self.beyond, |place| &self.below[place]).add(1);
        self.sum.add(value);
    }

    /// Read while others write: the last measurement may be in the count and not yet in the sum.
    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let mut below = Vec::with_capacity(N);
        for (bound, counter) in self.bounds.iter().zip(&self.below) {
            count += counter.get();
            below.push((*bound, count));
        }
        Distribution { below, count: count + self.beyond.get(), sum: self.sum.get() }
    }
}

const MICROSECOND: u64 = 1000;
const MILLISECOND: u64 = 1000 * MICROSECOND;
const SECOND: u64 = 1000 * MILLISECOND;

/// Bounds of times, in nanoseconds: from a recipient looked up in memory to a decision that Postfix gave up on.
static TIMES: [u64; 17] = [
    10 * MICROSECOND,
    25 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2_500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    500 * MILLISECOND,
    SECOND,
    5 * SECOND,
    30 * SECOND,
];

/// Bounds of how many operations share a flush.
static SIZES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A time, in nanoseconds.
pub type Times = Histogram<17>;
/// A number of operations.
pub type Sizes = Histogram<9>;

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What the milter does while the MTA waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// MAIL: a message begins.
    Mail,
    /// RCPT: one recipient.
    Rcpt,
    /// End of a message that is nobody's business here.
    EomPass,
    /// End of an outgoing message.
    EomScreen,
    /// End of a message that may be a report.
    EomInspect,
}

/// The name of every [`Stage`], in its order.
pub const STAGES: [&str; 5] = ["mail", "rcpt", "eom_pass", "eom_screen", "eom_inspect"];
/// What is done with a message, in the order of the last stages.
pub const HANDLINGS: [&str; 3] = ["pass", "screen", "inspect"];

/// How a message ended here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It goes on as it came.
    Untouched,
    /// It goes on with changes.
    Changed,
    /// It was taken and dropped.
    Discard,
    /// It was asked to come again.
    Tempfail,
    /// It was refused.
    Refuse,
}

/// The name of every [`Ending`], in its order.
pub const ENDINGS: [&str; 5] = ["untouched", "changed", "discard", "tempfail", "refuse"];

static STAGE: [Times; STAGES.len()] = [const { Histogram::new(&TIMES) }; STAGES.len()];
static MESSAGE: Times = Histogram::new(&TIMES);
static MESSAGES: [[Counter; ENDINGS.len()]; HANDLINGS.len()] = [const { zeros() }; HANDLINGS.len()];
/// Milter connections accepted since the start.
pub static MILTER_CONNECTIONS: Counter = Counter::new();

/// A stage of the milter took so long.
pub fn stage(stage: Stage, took: Duration) {
    STAGE[stage as usize].observe(nanoseconds(took));
}

/// A message was decided on at the end of this stage; `since_mail` ago it began.
pub fn message(at: Stage, ending: Ending, took: Duration, since_mail: Option<Duration>) {
    stage(at, took);
    if let Some(whole) = since_mail {
        MESSAGE.observe(nanoseconds(whole));
    }
    let handling = (at as usize).saturating_sub(Stage::EomPass as usize);
    MESSAGES[handling][ending as usize].add(1);
}

/// How long each stage took.
pub fn stages() -> impl Iterator<Item = (&'static str, Distribution)> {
    STAGES.into_iter().zip(STAGE.iter().map(Histogram::read))
}

/// How long whole messages took, from MAIL to the answer at their end.
pub fn whole_messages() -> Distribution {
    MESSAGE.read()
}

/// Messages by handling and ending.
pub fn messages() -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    HANDLINGS.iter().zip(&MESSAGES).flat_map(|(handling, counters)| {
        ENDINGS.iter().zip(counters).map(|(ending, counter)| (*handling, *ending, counter.get()))
    })
}

/// Every reason for which a recipient is taken off.
pub const SKIP_REASONS: [SkipReason; 7] = [
    SkipReason::Suppressed,
    SkipReason::Blocklist,
    SkipReason::Robinson,
    SkipReason::Limit,
    SkipReason::MissingInfo,
    SkipReason::InvalidAddress,
    SkipReason::InvalidDomain,
];

/// How many values the label `provider` has: the large ones, and [`provider::OTHER`] for every other domain.
const PROVIDERS: usize = provider::LARGE + 1;

/// Every value of the label `provider`.
pub fn providers() -> impl Iterator<Item = &'static str> {
    provider::names().chain([provider::OTHER])
}

fn provider_of(domain: &str) -> usize {
    provider::place(domain).unwrap_or(provider::LARGE)
}

static SCREENED: Counter = Counter::new();
static SKIPPED: [[Counter; 2]; SKIP_REASONS.len()] = [const { zeros() }; SKIP_REASONS.len()];
static SENT: [Counter; PROVIDERS] = zeros();

/// So many recipients of a message were judged.
pub fn screened(recipients: u64) {
    SCREENED.add(recipients);
}

/// A recipient with a mailbox in this domain stays on an outgoing message.
pub fn sent(domain: &str) {
    SENT[provider_of(domain)].add(1);
}

/// A recipient was taken off, or would have been.
pub(super) fn skipped(reason: SkipReason, shadow: bool) {
    if let Some(place) = SKIP_REASONS.iter().position(|known| *known == reason) {
        SKIPPED[place][usize::from(shadow)].add(1);
    }
}

/// Recipients judged.
pub fn recipients_screened() -> u64 {
    SCREENED.get()
}

/// Recipients taken off: the reason, whether only in shadow mode, how many.
pub fn recipients_skipped() -> impl Iterator<Item = (&'static str, bool, u64)> {
    SKIP_REASONS.iter().zip(&SKIPPED).flat_map(|(reason, [enforced, shadow])| {
        [(reason.as_str(), false, enforced.get()), (reason.as_str(), true, shadow.get())]
    })
}

/// Recipients let out, in the order of [`providers`].
pub fn recipients_sent() -> [u64; PROVIDERS] {
    std::array::from_fn(|place| SENT[place].get())
}

/// Every kind of response.
pub const KINDS: [Kind; 8] = [
    Kind::Bounce,
    Kind::Delayed,
    Kind::Delivered,
    Kind::Complaint,
    Kind::NotSpam,
    Kind::OptOut,
    Kind::Autoreply,
    Kind::Other,
];
/// Every category, and none.
pub const CATEGORIES: [Option<Category>; 8] = [
    Some(Category::Failed),
    Some(Category::Invalid),
    Some(Category::Complaint),
    Some(Category::Rejected),
    Some(Category::Transient),
    Some(Category::Unknown),
    Some(Category::Blocked),
    None,
];
/// Every authority.
pub const AUTHORITIES: [Authority; 6] = [
    Authority::Unverified,
    Authority::Authenticated,
    Authority::Matched,
    Authority::Local,
    Authority::Signed,
    Authority::Operator,
];

static BY_CATEGORY: [[Counter; CATEGORIES.len()]; KINDS.len()] = [const { zeros() }; KINDS.len()];
static BY_AUTHORITY: [[Counter; AUTHORITIES.len()]; KINDS.len()] = [const { zeros() }; KINDS.len()];
static BY_PROVIDER: [[Counter; KINDS.len()]; PROVIDERS] = [const { zeros() }; PROVIDERS];
static HARD: Counter = Counter::new();
static SOFT: Counter = Counter::new();

/// A response of a contact in this domain was recorded.
pub(super) fn responded(response: &Response, domain: &str) {
    let Some(kind) = KINDS.iter().position(|known| *known == response.kind) else { return };
    if let Some(place) = CATEGORIES.iter().position(|known| *known == response.category) {
        BY_CATEGORY[kind][place].add(1);
    }
    if let Some(place) = AUTHORITIES.iter().position(|known| *known == response.authority) {
        BY_AUTHORITY[kind][place].add(1);
    }
    BY_PROVIDER[provider_of(domain)][kind].add(1);
    match response.bounce_type.filter(|_| response.kind == Kind::Bounce) {
        Some(BounceType::Hard) => HARD.add(1),
        Some(BounceType::Soft) => SOFT.add(1),
        None => {}
    }
}

/// Responses by kind and category.
pub fn responses() -> impl Iterator<Item = (Kind, Option<Category>, u64)> {
    KINDS.iter().zip(&BY_CATEGORY).flat_map(|(kind, counters)| {
        CATEGORIES.iter().zip(counters).map(|(category, counter)| (*kind, *category, counter.get()))
    })
}

/// Responses by kind and authority.
pub fn responses_by_authority() -> impl Iterator<Item = (Kind, Authority, u64)> {
    KINDS.iter().zip(&BY_AUTHORITY).flat_map(|(kind, counters)| {
        AUTHORITIES.iter().zip(counters).map(|(authority, counter)| (*kind, *authority, counter.get()))
    })
}

/// Responses of the contacts of each of [`providers`], in the order of [`KINDS`].
pub fn responses_by_provider() -> impl Iterator<Item = [u64; KINDS.len()]> {
    BY_PROVIDER.iter().map(|counters| std::array::from_fn(|kind| counters[kind].get()))
}

/// Bounces, hard and soft.
pub fn bounces() -> (u64, u64) {
    (HARD.get(), SOFT.get())
}

static COMMIT: Times = Histogram::new(&TIMES);
static COMMIT_OPERATIONS: Sizes = Histogram::new(&SIZES);
static COMMIT_FAILURES: Counter = Counter::new();
static NOT_WRITABLE: AtomicBool = AtomicBool::new(false);
/// Messages given to the send ledger since the start.
pub static LEDGER_MESSAGES: Counter = Counter::new();

/// The store's writer made so many operations durable in one go, and took so long; or it could not.
pub fn committed(operations: usize, took: Duration, succeeded: bool) {
    if succeeded && operations > 0 {
        COMMIT.observe(nanoseconds(took));
        COMMIT_OPERATIONS.observe(operations as u64);
    }
    written(succeeded);
}

/// The store's writer wrote something, or could not.
pub fn written(succeeded: bool) {
    if !succeeded {
        COMMIT_FAILURES.add(1);
    }
    NOT_WRITABLE.store(!succeeded, Relaxed);
}

/// How long it takes to make a batch durable.
pub fn commits() -> Distribution {
    COMMIT.read()
}

/// How many operations share a flush.
pub fn commit_operations() -> Distribution {
    COMMIT_OPERATIONS.read()
}

/// How often nothing could be written.
pub fn commit_failures() -> u64 {
    COMMIT_FAILURES.get()
}

/// Whether the last write succeeded.
pub fn is_writable() -> bool {
    !NOT_WRITABLE.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_and_with_its_bounds() {
        static BOUNDS: [u64; 3] = [1, 10, 100];
        let histogram = Histogram::new(&BOUNDS);
        for value in [0, 1, 2, 10, 11, 101, 5000] {
            histogram.observe(value);
        }
        let want = Distribution { below: vec![(1, 2), (10, 4), (100, 5)], count: 7, sum: 5125 };
        assert_eq!(histogram.read(), want);
    }

    #[test]
    fn bounds_grow() {
        assert!(TIMES.is_sorted() && SIZES.is_sorted());
    }

    #[test]
    fn a_message_is_counted_under_its_handling_and_its_ending() {
        let count = || messages().find(|(handling, ending, _)| (*handling, *ending) == ("inspect", "refuse"));
        let before = count().expect("it is in the table").2;
        message(Stage::EomInspect, Ending::Refuse, Duration::from_millis(1), Some(Duration::from_secs(1)));
        assert_eq!(count().expect("it is in the table").2, before + 1);
    }

    #[test]
    fn names_stand_in_the_order_of_what_they_name() {
        for (stage, name) in [(Stage::Mail, "mail"), (Stage::Rcpt, "rcpt"), (Stage::EomInspect, "eom_inspect")] {
            assert_eq!(STAGES[stage as usize], name);
        }
        for (ending, name) in
            [(Ending::Untouched, "untouched"), (Ending::Discard, "discard"), (Ending::Refuse, "refuse")]
        {
            assert_eq!(ENDINGS[ending as usize], name);
        }
    }
}
