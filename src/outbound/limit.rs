//! Counts the campaign messages of each contact, for the limits of SPEC 7.3.
//!
//! In: 64-bit hashes of recipients, limits, and the time. Out: the limit that is reached, if one is. Called when
//! a message is screened, by the loader that reads the ledger at the start, by erasure, and by the upkeep.
//!
//! Memory: up to three sends of a contact lie in the table itself, 21 octets a bucket. Tables double, so that is 24
//! to 48 octets a contact; 35 at 10 million contacts (350 MB). A contact with more sends costs 70 to 100 octets
//! beyond that, and 4 to 8 for each send.

use crate::policy::Limit;
use jiff::Timestamp;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many locks share the contacts; a power of two. With 10 million contacts a table that doubles, or is gone
/// through by [`Sends::expire`], holds its lock for a millisecond or two.
const SHARDS: usize = 256;

/// Sends that need no list of their own.
const FEW: usize = 3;

/// Kept beyond what the limits ask for, so that a send can be taken back.
const SPARE: u32 = FEW as u32;

/// Stands ahead of a contact's sends where they have a list of their own.
const LISTED: u32 = u32::MAX;

/// When each contact was sent campaign mail, as far back as the limits look.
pub struct Sends {
    /// The longest window of any limit, in seconds.
    longest: AtomicU32,
    /// The most messages of any limit, and some.
    keep: AtomicU32,
    shards: [Mutex<Shard>; SHARDS],
}

type Table<T> = HashMap<Recipient, T, BuildHasherDefault<AsIs>>;

/// A table by the hash of a recipient, which is not hashed again.
pub type ByRecipient<T> = HashMap<u64, T, BuildHasherDefault<AsIs>>;

/// Seconds since 1970 in ascending order; 0 where there is no send yet.
#[derive(Default)]
struct Shard {
    few: Table<[u32; FEW]>,
    many: Table<Vec<u32>>,
}

/// A hash of an address in two halves: a `u64` would widen each bucket from 20 octets to 24.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Recipient(u32, u32);

impl Hash for Recipient {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.0) << 32 | u64::from(self.1));
    }
}

/// The recipients are hashes already.
#[derive(Default)]
pub struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, octets: &[u8]) {
        self.0 = octets.iter().fold(self.0, |sum, octet| sum.rotate_left(8) ^ u64::from(*octet));
    }
    fn write_u64(&mut self, recipient: u64) {
        self.0 = recipient;
    }
}

impl Sends {
    /// No sends yet; they will be kept as long as these limits look back.
    pub fn new(limits: &[Limit]) -> Sends {
        let shards = std::array::from_fn(|_| Mutex::default());
        let sends = Sends { longest: AtomicU32::new(0), keep: AtomicU32::new(SPARE), shards };
        sends.widen(limits);
        sends
    }

    /// Keeps sends as long as these limits look back, too: to be called ahead of the first question about a
    /// contact's own limit. What was dropped before does not come back.
    pub fn widen(&self, limits: &[Limit]) {
        for limit in limits {
            self.longest.fetch_max(limit.window_secs, Relaxed);
            self.keep.fetch_max(limit.messages.saturating_add(SPARE), Relaxed);
        }
    }

    /// How far back sends are kept, in seconds.
    pub fn longest_window_secs(&self) -> u32 {
        self.longest.load(Relaxed)
    }

    /// The limit that another message to the recipient would exceed; of several, the one that does so longest.
    pub fn reached(&self, recipient: u64, limits: &[Limit], now: Timestamp) -> Option<Limit> {
        reached(self.shard(recipient).times(key(recipient)), limits, seconds(now))
    }

    /// Notes a message to the recipient. Times may come in any order.
    pub fn note(&self, recipient: u64, at: Timestamp) {
        self.shard(recipient).insert(key(recipient), seconds(at), self.longest.load(Relaxed), self.keep());
    }

    /// [`Sends::reached`], and if nothing is, [`Sends::note`], with no other message in between: two messages
    /// at once cannot both be the last that a limit allows.
    pub fn reached_or_note(&self, recipient: u64, limits: &[Limit], now: Timestamp) -> Option<Limit> {
        let mut shard = self.shard(recipient);
        let reached = reached(shard.times(key(recipient)), limits, seconds(now));
        if reached.is_none() {
            shard.insert(key(recipient), seconds(now), self.longest.load(Relaxed), self.keep());
        }
        reached
    }

    /// Takes back one message that was noted at that time, because it did not go out after all.
    pub fn take_back(&self, recipient: u64, at: Timestamp) {
        self.shard(recipient).remove(key(recipient), seconds(at));
    }

    /// Messages to the recipient in the window that ends now, as far as they are kept: no fewer than the
    /// largest limit has, if there were so many.
    pub fn count(&self, recipient: u64, window_secs: u32, now: Timestamp) -> usize {
        within(self.shard(recipient).times(key(recipient)), window_secs, seconds(now)).len()
    }

    /// Contacts with a send on record.
    pub fn contacts(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).few.len()).sum()
    }

    /// Drops everything about a recipient.
    pub fn forget(&self, recipient: u64) {
        let mut shard = self.shard(recipient);
        shard.few.remove(&key(recipient));
        shard.many.remove(&key(recipient));
    }

    /// Drops all sends ahead of that time and gives memory back, one shard after the other.
    pub fn expire(&self, before: Timestamp) {
        let before = seconds(before);
        for shard in &self.shards {
            lock(shard).expire(before);
        }
    }

    fn keep(&self) -> usize {
        self.keep.load(Relaxed) as usize
    }

    // hashbrown takes the lowest and the highest bits; these are from the middle.
    fn shard(&self, recipient: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[(recipient >> 40) as usize % SHARDS])
    }
}

impl Shard {
    fn times(&self, recipient: Recipient) -> &[u32] {
        match self.few.get(&recipient) {
            None => &[],
            Some([LISTED, ..]) => self.many.get(&recipient).map_or(&[], Vec::as_slice),
            Some(few) => &few[..length(few)],
        }
    }

    fn insert(&mut self, recipient: Recipient, at: u32, longest: u32, keep: usize) {
        let few = match self.few.entry(recipient) {
            Entry::Vacant(place) => {
                place.insert([at, 0, 0]);
                return;
            }
            Entry::Occupied(place) => place.into_mut(),
        };
        if few[0] == LISTED {
            let times = self.many.entry(recipient).or_default();
            times.insert(times.partition_point(|time| *time <= at), at);
            let old = outdated(times, at, longest).max(times.len().saturating_sub(keep));
            times.drain(..old);
            return;
        }
        let (mut times, mut count) = (*few, length(few));
        let old = outdated(&times[..count], at, longest);
        times.copy_within(old..count, 0);
        count -= old;
        times[count..].fill(0);
        let place = times[..count].partition_point(|time| *time <= at);
        if count < FEW {
            times.copy_within(place..count, place + 1);
            times[place] = at;
            *few = times;
        } else {
            let mut list = times.to_vec();
            list.insert(place, at);
            *few = [LISTED, 0, 0];
            self.many.insert(recipient, list);
        }
    }

    fn remove(&mut self, recipient: Recipient, at: u32) {
        let Entry::Occupied(mut few) = self.few.entry(recipient) else { return };
        if few.get()[0] == LISTED {
            if let Some(times) = self.many.get_mut(&recipient)
                && let Ok(place) = times.binary_search(&at)
            {
                times.remove(place);
            }
            return;
        }
        let Some(place) = few.get().iter().position(|time| *time == at) else { return };
        let times = few.get_mut();
        times.copy_within(place + 1.., place);
        times[FEW - 1] = 0;
        if times[0] == 0 {
            few.remove();
        }
    }

    fn expire(&mut self, before: u32) {
        let Shard { few, many } = self;
        few.retain(|recipient, times| {
            if times[0] == LISTED {
                let list = many.entry(*recipient).or_default();
                list.drain(..list.partition_point(|time| *time < before));
                if list.len() > FEW {
                    list.shrink_to(2 * list.len());
                    return true;
                }
                *times = [0; FEW];
                times[..list.len()].copy_from_slice(list);
                many.remove(recipient);
            } else {
                let count = length(times);
                let old = times[..count].partition_point(|time| *time < before);
                times.copy_within(old..count, 0);
                times[count - old..].fill(0);
            }
            times[0] != 0
        });
        // A table is halved no sooner than it is three quarters empty, or it would soon double again.
        if few.len() < few.capacity() / 4 {
            few.shrink_to(2 * few.len());
        }
        if many.len() < many.capacity() / 4 {
            many.shrink_to(2 * many.len());
        }
    }
}

fn reached(times: &[u32], limits: &[Limit], now: u32) -> Option<Limit> {
    let until = |limit: &Limit| {
        let newest_allowed = times[times.len().checked_sub(limit.messages as usize)?..].first()?;
        // In 64 bits: a time in 2105 and a window do not fit into 32.
        let until = u64::from(*newest_allowed) + u64::from(limit.window_secs);
        (until > u64::from(now)).then_some((until, limit.window_secs, *limit))
    };
    let longest = limits.iter().filter_map(until).max_by_key(|(until, window, _)| (*until, *window));
    longest.map(|(_, _, limit)| limit)
}

/// The sends that count in a window: a send exactly as long ago as the window counts no more, one in the future
/// (the clock was set back) does.
fn within(times: &[u32], window_secs: u32, now: u32) -> &[u32] {
    &times[outdated(times, now, window_secs)..]
}

/// How many of the times no longer count in a window that ends at `now`.
fn outdated(times: &[u32], now: u32, window_secs: u32) -> usize {
    times.partition_point(|time| u64::from(*time) + u64::from(window_secs) <= u64::from(now))
}

fn length(few: &[u32; FEW]) -> usize {
    few.iter().position(|time| *time == 0).unwrap_or(FEW)
}

fn key(recipient: u64) -> Recipient {
    Recipient((recipient >> 32) as u32, recipient as u32)
}

/// Seconds since 1970, up to 2106; never 0 nor [`LISTED`].
fn seconds(time: Timestamp) -> u32 {
    time.as_second().clamp(1, i64::from(LISTED - 1)) as u32
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
