//! One event, one line, one counter, one place. Every log line of the mail path is written here.
//!
//! A line reads `event=skip queue_id=4XyZ12 address=joe@example.org reason=suppressed campaign=77`. Whatever
//! strangers wrote is escaped by `line`, so an event is one line whatever they send.

use super::line::Line;
use crate::mail::Address;
use crate::policy::{EventId, Limit, Response, SkipReason};
use crate::report::{Campaign, Kind};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use tracing::Level;

pub mod measure;
pub mod strain;

pub use super::line::{AddressKey, set_addresses};

/// What happened, as logged and counted. [`EVENTS`] has the name of each.
#[derive(Debug)]
pub enum LogEvent<'a> {
    /// A recipient was taken off an outgoing message. With `shadow=true` it would have been.
    Skip {
        /// Queue id.
        queue_id: &'a str,
        /// The recipient as received.
        forward_path: &'a [u8],
        /// Why.
        reason: SkipReason,
        /// The message limit that is reached.
        limit: Option<&'a Limit>,
        /// Campaign.
        campaign: Option<&'a Campaign>,
        /// Shadow mode.
        shadow: bool,
    },
    /// All recipients of an outgoing message were taken off: it was discarded.
    Discard {
        /// Queue id.
        queue_id: &'a str,
        /// How many recipients it had.
        recipients: usize,
    },
    /// A response was recorded: a bounce, a delay, a delivery, a complaint, an automatic reply.
    Response {
        /// Queue id.
        queue_id: &'a str,
        /// Contact.
        address: &'a Address,
        /// What came back.
        response: &'a Response,
        /// The rule that judged it, `-` where none had to.
        rule: &'a str,
    },
    /// A response suppressed the contact.
    Deactivate {
        /// Queue id.
        queue_id: &'a str,
        /// Contact.
        address: &'a Address,
        /// Reason.
        reason: &'a str,
        /// Soft bounces in a row.
        streak: u32,
    },
    /// The same report came again; nothing was changed.
    Repeat {
        /// Queue id.
        queue_id: &'a str,
    },
    /// A report that is ours to read is broken or names nobody. It is kept among the stored events.
    Unreadable {
        /// Queue id.
        queue_id: &'a str,
        /// What is wrong.
        problem: &'a str,
    },
    /// Mail on the return path that is no report; delivered untouched.
    NotAReport {
        /// Queue id.
        queue_id: &'a str,
    },
    /// A report could not be recorded, or the signature of a complaint that nothing else vouches for could not be
    /// checked, and it was asked to come again. For want of the DNS that is done for a day; then the complaint is
    /// recorded as unverified.
    Tempfail {
        /// Queue id.
        queue_id: &'a str,
        /// Why.
        problem: &'a str,
    },
    /// Outgoing mail could not be decided on and went as `[outbound] on_error` says.
    Undecided {
        /// Queue id.
        queue_id: &'a str,
        /// Why.
        problem: &'a str,
    },
    /// A milter connection was closed for what it sent.
    ProtocolError {
        /// Queue id, or `-`.
        queue_id: &'a str,
        /// What is wrong.
        problem: &'a str,
    },
    /// A milter connection was refused or closed for its limits.
    OverLimit {
        /// Queue id, or `-`.
        queue_id: &'a str,
        /// Which limit.
        limit: &'a str,
    },
    /// Skips or sends could not be written down. The mail went as decided.
    Unrecorded {
        /// Queue id.
        queue_id: &'a str,
        /// Why.
        problem: &'a str,
    },
    /// A person changed something (a contact, an event or batch, so many entries), handed in a mail of which so many
    /// responses were recorded, made records or files anew, or took a backup. An erasure names nobody.
    Operator {
        /// What was done: `suppress`, `reactivate`, `erase`, `import`, ...
        action: &'a str,
        /// To what.
        on: Touched<'a>,
        /// User id.
        uid: u32,
        /// Why.
        reason: &'a str,
    },
    /// Reports refer to one message of ours as no mail server does: ten times within a day for one recipient, or for ten
    /// recipients that it was not sent to. Somebody may be trying to have contacts switched off; `backstopctl explain`
    /// shows what was recorded, `backstopctl undo` takes it back.
    Replay {
        /// Queue id.
        queue_id: &'a str,
        /// The Message-ID, or the token.
        reference: &'a str,
        /// How.
        how: &'a str,
    },
    /// Somebody connected to the admin socket whom the daemon cannot see from its user namespace (`PrivateUsers=yes`), and
    /// backstopd-peer did not tell who that is: they were refused. Said at most once a minute. `systemctl start
    /// backstopd-peer.socket`.
    PeerUnknown {
        /// Why.
        problem: &'a str,
    },
    /// The daemon serves.
    Ready {
        /// Its milter listeners.
        milter: &'a str,
        /// Its admin socket.
        admin: &'a str,
    },
    /// A new configuration is in force, but for the sections that wait for a restart.
    Reload {
        /// The file.
        file: &'a str,
        /// Sections that differ and wait for a restart; empty if none.
        restart: &'a str,
    },
    /// A new configuration cannot be used; the old one serves on.
    ReloadRefused {
        /// File, line, key, what is wrong and what would do.
        problem: &'a str,
    },
    /// Old words and old sends were removed from the store.
    Expire {
        /// Texts of reports removed.
        evidence: u64,
        /// Sends forgotten.
        sends: u64,
    },
    /// Old words and old sends could not be removed from the store.
    ExpireFailed {
        /// Why.
        problem: &'a str,
    },
    /// The timer let contacts be mailed again whose suppression has ended by itself.
    Release {
        /// Contacts released.
        released: u64,
    },
    /// The timer could not. It tries again within the hour.
    ReleaseFailed {
        /// Why.
        problem: &'a str,
    },
    /// The message limits know what was sent before the start. Until then they go by what passed since.
    LimitsLoaded {
        /// Sends counted.
        sends: u64,
        /// To so many contacts.
        contacts: u64,
    },
    /// The ledger could not be read: the message limits go by what passed since the start.
    LimitsNotLoaded {
        /// Why.
        problem: &'a str,
    },
    /// A hook was told something, and took it.
    Hook {
        /// The hook's name.
        hook: &'a str,
        /// Id of the notice.
        id: &'a str,
    },
    /// A hook did not take what it was told; it is told again. `id=-` is trouble with the store.
    HookFailed {
        /// The hook's name.
        hook: &'a str,
        /// Id of the notice.
        id: &'a str,
        /// Attempts so far.
        attempts: u32,
        /// What the receiver said, or why it could not be told.
        problem: &'a str,
    },
    /// A hook is not told something any more.
    HookGivenUp {
        /// The hook's name.
        hook: &'a str,
        /// Id of the notice.
        id: &'a str,
        /// Attempts.
        attempts: u32,
        /// What came of the last.
        problem: &'a str,
    },
    /// The daemon was asked to end; messages in hand are finished.
    Stop {
        /// The signal.
        signal: &'a str,
    },
    /// The daemon has ended in good order; everything is on disk.
    Stopped,
    /// A fault of the program itself ended one task; the others go on. Please report it.
    Panic {
        /// File, line and column.
        place: &'a str,
        /// What it said.
        problem: &'a str,
    },
    /// What a person asked for could not be done, for a reason of ours: the store could not be written or read.
    OperatorFailed {
        /// What was asked: method and path of the request, without what it is about.
        action: &'a str,
        /// User id.
        uid: u32,
        /// Why.
        problem: &'a str,
    },
    /// Octets of the store are not as they were written. Said at most every ten seconds; the alert of the same name stays.
    /// Where the store could mend it by itself, the line says so.
    StoreDamaged {
        /// Which file, where, and what was done.
        problem: &'a str,
    },
    /// The clock went by so many seconds more than time did; fewer, where it is negative. Nobody is released and nothing
    /// old is let go of before it has been steady for a day.
    ClockJumped {
        /// How far.
        seconds: i64,
    },
}

/// What a person changed.
#[derive(Clone, Copy, Debug)]
pub enum Touched<'a> {
    /// A contact.
    Contact(&'a Address),
    /// An event or a batch, by its id.
    Id(EventId),
    /// So many of them.
    Many(u64),
    /// Nothing that may be named.
    Nameless,
}

/// The name of every event, in the order of [`LogEvent`], and how loud it is.
pub const EVENTS: [(&str, Level); 33] = [
    ("skip", Level::INFO),
    ("discard", Level::INFO),
    ("response", Level::INFO),
    ("deactivate", Level::INFO),
    ("repeat", Level::INFO),
    ("unreadable", Level::WARN),
    ("not-a-report", Level::INFO),
    ("tempfail", Level::WARN),
    ("undecided", Level::WARN),
    ("protocol-error", Level::WARN),
    ("over-limit", Level::WARN),
    ("unrecorded", Level::WARN),
    ("operator", Level::INFO),
    ("replay", Level::WARN),
    ("peer-unknown", Level::WARN),
    ("ready", Level::INFO),
    ("reload", Level::INFO),
    ("reload-refused", Level::ERROR),
    ("expire", Level::INFO),
    ("expire-failed", Level::WARN),
    ("release", Level::INFO),
    ("release-failed", Level::WARN),
    ("limits-loaded", Level::INFO),
    ("limits-not-loaded", Level::WARN),
    ("hook", Level::INFO),
    ("hook-failed", Level::WARN),
    ("hook-given-up", Level::ERROR),
    ("stop", Level::INFO),
    ("stopped", Level::INFO),
    ("panic", Level::ERROR),
    ("operator-failed", Level::WARN),
    ("store-damaged", Level::ERROR),
    ("clock-jumped", Level::WARN),
];

static COUNTS: [AtomicU64; EVENTS.len()] = [const { AtomicU64::new(0) }; EVENTS.len()];
/// Milliseconds since 1970; 0 for never.
static LAST: [AtomicI64; EVENTS.len()] = [const { AtomicI64::new(0) }; EVENTS.len()];

/// Writes the line and counts. Costs next to nothing more than the count where the level is not asked for.
pub fn say(event: &LogEvent<'_>) {
    let place = event.place();
    COUNTS[place].fetch_add(1, Relaxed);
    match event {
        LogEvent::Response { response, address, .. } => measure::responded(response, address.domain()),
        LogEvent::Skip { reason, shadow, .. } => measure::skipped(*reason, *shadow),
        _ => {}
    }
    LAST[place].store(Timestamp::now().as_millisecond(), Relaxed);
    // Strangers can cause these as fast as they connect; what they sent is no reason to fill a disk.
    let burst = match event {
        LogEvent::ProtocolError { .. } => Some(&strain::PROTOCOL_ERRORS),
        LogEvent::OverLimit { .. } => Some(&strain::OVER_LIMITS),
        _ => None,
    };
    match burst.map(strain::Burst::line) {
        None | Some(Some(0)) => {}
        Some(None) => return,
        Some(Some(left_out)) => return tracing::warn!("{}", event.line().number("left_out", left_out)),
    }
    match EVENTS[place].1 {
        Level::ERROR if tracing::enabled!(Level::ERROR) => tracing::error!("{}", event.line()),
        Level::WARN if tracing::enabled!(Level::WARN) => tracing::warn!("{}", event.line()),
        Level::INFO if tracing::enabled!(Level::INFO) => tracing::info!("{}", event.line()),
        _ => {}
    }
}

/// How often each event was said since the start, every kind of [`EVENTS`].
pub fn counters() -> BTreeMap<String, u64> {
    let counts = COUNTS.iter().map(|count| count.load(Relaxed));
    EVENTS.iter().map(|(name, _)| (*name).to_owned()).zip(counts).collect()
}

/// When each event was said last, for those that were.
pub fn last() -> Vec<(&'static str, Timestamp)> {
    let times = LAST.iter().map(|last| last.load(Relaxed));
    EVENTS
        .iter()
        .zip(times)
        .filter(|(_, last)| *last != 0)
        .filter_map(|((name, _), last)| Some((*name, Timestamp::from_millisecond(last).ok()?)))
        .collect()
}

impl LogEvent<'_> {
    /// Its place in [`EVENTS`].
    fn place(&self) -> usize {
        match self {
            LogEvent::Skip { .. } => 0,
            LogEvent::Discard { .. } => 1,
            LogEvent::Response { .. } => 2,
            LogEvent::Deactivate { .. } => 3,
            LogEvent::Repeat { .. } => 4,
            LogEvent::Unreadable { .. } => 5,
            LogEvent::NotAReport { .. } => 6,
            LogEvent::Tempfail { .. } => 7,
            LogEvent::Undecided { .. } => 8,
            LogEvent::ProtocolError { .. } => 9,
            LogEvent::OverLimit { .. } => 10,
            LogEvent::Unrecorded { .. } => 11,
            LogEvent::Operator { .. } => 12,
            LogEvent::Replay { .. } => 13,
            LogEvent::PeerUnknown { .. } => 14,
            LogEvent::Ready { .. } => 15,
            LogEvent::Reload { .. } => 16,
            LogEvent::ReloadRefused { .. } => 17,
            LogEvent::Expire { .. } => 18,
            LogEvent::ExpireFailed { .. } => 19,
            LogEvent::Release { .. } => 20,
            LogEvent::ReleaseFailed { .. } => 21,
            LogEvent::LimitsLoaded { .. } => 22,
            LogEvent::LimitsNotLoaded { .. } => 23,
            LogEvent::Hook { .. } => 24,
            LogEvent::HookFailed { .. } => 25,
            LogEvent::HookGivenUp { .. } => 26,
            LogEvent::Stop { .. } => 27,
            LogEvent::Stopped => 28,
            LogEvent::Panic { .. } => 29,
            LogEvent::OperatorFailed { .. } => 30,
            LogEvent::StoreDamaged { .. } => 31,
            LogEvent::ClockJumped { .. } => 32,
        }
    }

    fn line(&self) -> Line {
        let line = Line::of(EVENTS[self.place()].0);
        match *self {
            LogEvent::Skip { queue_id, forward_path, reason, limit, campaign, shadow } => {
                let line = line.word("queue_id", queue_id).forward_path("address", forward_path);
                let line = line.word("reason", reason.as_str());
                let line = line.maybe("limit", limit.map(Limit::to_string).as_deref());
                let line = line.maybe("campaign", campaign.map(|name| name.0.as_str()));
                if shadow { line.word("shadow", "true") } else { line }
            }
            LogEvent::Discard { queue_id, recipients } => {
                line.word("queue_id", queue_id).number("recipients", recipients as u64)
            }
            LogEvent::Response { queue_id, address, response, rule } => line
                .word("queue_id", queue_id)
                .address("address", address)
                .word("kind", kind_word(response.kind))
                .maybe("type", response.bounce_type.map(|hard_or_soft| hard_or_soft.as_str()))
                .maybe("category", response.category.map(|category| category.as_str()))
                .maybe("code", response.code.map(|code| code.to_string()).as_deref())
                .maybe("reason", response.reason.as_deref())
                .maybe("fault", response.fault.map(|fault| fault.as_str()))
                .word("authority", response.authority.as_str())
                .word("rule", rule)
                .maybe("campaign", response.campaign.as_ref().map(|name| name.0.as_str()))
                .maybe("list", response.list.as_ref().map(|list| list.0.as_str())),
            LogEvent::Deactivate { queue_id, address, reason, streak } => line
                .word("queue_id", queue_id)
                .address("address", address)
                .text("reason", reason)
                .number("streak", u64::from(streak)),
            LogEvent::Repeat { queue_id } | LogEvent::NotAReport { queue_id } => line.word("queue_id", queue_id),
            LogEvent::Unreadable { queue_id, problem }
            | LogEvent::Tempfail { queue_id, problem }
            | LogEvent::Undecided { queue_id, problem }
            | LogEvent::ProtocolError { queue_id, problem }
            | LogEvent::Unrecorded { queue_id, problem } => line.word("queue_id", queue_id).text("problem", problem),
            LogEvent::OverLimit { queue_id, limit } => line.word("queue_id", queue_id).text("limit", limit),
            LogEvent::Operator { action, on, uid, reason } => {
                let line = match on {
                    Touched::Contact(address) => line.address("address", address),
                    Touched::Id(id) => line.word("id", &id.to_string()),
                    Touched::Many(count) => line.number("count", count),
                    Touched::Nameless => line,
                };
                line.word("action", action).number("uid", u64::from(uid)).text("reason", reason)
            }
            LogEvent::Replay { queue_id, reference, how } => {
                line.word("queue_id", queue_id).text("reference", reference).text("how", how)
            }
            LogEvent::Ready { milter, admin } => line.word("milter", milter).word("admin", admin),
            LogEvent::Reload { file, restart } => {
                line.word("file", file).maybe("restart_for", Some(restart).filter(|sections| !sections.is_empty()))
            }
            LogEvent::ReloadRefused { problem }
            | LogEvent::PeerUnknown { problem }
            | LogEvent::ExpireFailed { problem }
            | LogEvent::LimitsNotLoaded { problem }
            | LogEvent::ReleaseFailed { problem } => line.text("problem", problem),
            LogEvent::LimitsLoaded { sends, contacts } => line.number("sends", sends).number("contacts", contacts),
            LogEvent::Release { released } => line.number("released", released),
            LogEvent::Expire { evidence, sends } => line.number("evidence", evidence).number("sends", sends),
            LogEvent::Hook { hook, id } => line.word("hook", hook).word("id", id),
            LogEvent::HookFailed { hook, id, attempts, problem }
            | LogEvent::HookGivenUp { hook, id, attempts, problem } => {
                line.word("hook", hook).word("id", id).number("attempts", attempts.into()).text("problem", problem)
            }
            LogEvent::Stop { signal } => line.word("signal", signal),
            LogEvent::Stopped => line,
            LogEvent::Panic { place, problem } => line.word("place", place).text("problem", problem),
            LogEvent::OperatorFailed { action, uid, problem } => {
                line.word("action", action).number("uid", u64::from(uid)).text("problem", problem)
            }
            LogEvent::StoreDamaged { problem } => line.text("problem", problem),
            LogEvent::ClockJumped { seconds } => line.word("seconds", &seconds.to_string()),
        }
    }
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Bounce => "bounce",
        Kind::Delayed => "delayed",
        Kind::Delivered => "delivered",
        Kind::Complaint => "complaint",
        Kind::NotSpam => "not-spam",
        Kind::OptOut => "opt-out",
        Kind::Autoreply => "autoreply",
        Kind::Other => "other",
    }
}

#[cfg(test)]
mod tests;
