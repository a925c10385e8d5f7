//! The token that a message of ours takes along, and by which what comes back proves that it answers that message
//! (SPEC 5.2).
//!
//! In: a key, a day, a message, perhaps its one recipient. Out: 40 characters; and back, or why not. Plain functions:
//! keys, time and ledger are the caller's. Called by `outbound` through [`super::Tokens`], by [`super::weigh`] and by
//! `backstopctl token decode`.
//!
//! | octets | hold |
//! |---|---|
//! | 1 | version (upper half) and what it is bound to (lower half) |
//! | 1 | key id |
//! | 2 | day, from 1970-01-01 |
//! | 8 | reference of the message, under which the send ledger knows its recipients |
//! | 5 | tag of the recipient, a keyed hash that differs with each message; zero where bound to the message |
//! | 8 | MAC over all before it (keyed BLAKE3, 64 bits) |
//!
//! 25 octets are 40 characters of base32 without a remainder, so that every bit of every character counts. The alphabet
//! is RFC 4648's, lower case: it has no letter case to lose, and no character that an MTA takes for a delimiter.

use crate::mail::Address;
use jiff::{SignedDuration, Timestamp};

/// Characters of a token.
pub const LENGTH: usize = 40;

const OCTETS: usize = 25;
const VERSION: u8 = 1;
const TO_RECIPIENT: u8 = 1;
const TO_MESSAGE: u8 = 2;
const MAC_BYTES: usize = 8;
const TAG_BYTES: usize = 5;
const SIGNED: usize = OCTETS - MAC_BYTES;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A key, made ready: one for the MAC, one for the tags of recipients.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    mac: [u8; 32],
    tag: [u8; 32],
}

/// What a token is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// One recipient, and no other.
    Recipient,
    /// A message; the ledger knows whose it was.
    Message,
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The key that signs it.
    pub key: u8,
    /// The day it was made, from 1970-01-01.
    pub day: u16,
    /// What it is bound to.
    pub bound: Bound,
    /// The message.
    pub reference: [u8; 8],
    tag: [u8; TAG_BYTES],
}

/// Why a text is no valid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Cut off, lengthened, or of other characters or another version.
    #[error("the token is malformed")]
    Malformed,
    /// Its key is not there, or is retired.
    #[error("the token's key {0} is not known, or is retired")]
    UnknownKey(u8),
    /// The MAC is not that of the content.
    #[error("the token was altered, or is not ours")]
    Altered,
    /// Older than is taken.
    #[error("the token is expired, {0} days old")]
    Expired(u16),
    /// From a day that is yet to come.
    #[error("the token is of a day to come")]
    Future,
}

impl Secret {
    /// The keys that 32 random octets make.
    pub fn new(octets: &[u8; 32]) -> Secret {
        Secret {
            mac: blake3::derive_key("Backstop 2026 return path token: MAC", octets),
            tag: blake3::derive_key("Backstop 2026 return path token: recipient", octets),
        }
    }

    fn tag(&self, reference: &[u8; 8], recipient: &Address) -> [u8; TAG_BYTES] {
        let text = [reference.as_slice(), recipient.as_str().as_bytes()].concat();
        *blake3::keyed_hash(&self.tag, &text).as_bytes().first_chunk().expect("a hash has 32 octets")
    }

    fn mac(&self, signed: &[u8]) -> [u8; MAC_BYTES] {
        *blake3::keyed_hash(&self.mac, signed).as_bytes().first_chunk().expect("a hash has 32 octets")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Token {
    /// A token for a message with this one recipient.
    pub fn for_recipient(key: u8, secret: &Secret, now: Timestamp, reference: [u8; 8], recipient: &Address) -> Token {
        let tag = secret.tag(&reference, recipient);
        Token { key, day: day_of(now), bound: Bound::Recipient, reference, tag }
    }

    /// A token for a message with several recipients.
    pub fn for_message(key: u8, now: Timestamp, reference: [u8; 8]) -> Token {
        Token { key, day: day_of(now), bound: Bound::Message, reference, tag: [0; TAG_BYTES] }
    }

    /// Its characters.
    pub fn write(&self, secret: &Secret) -> String {
        let bound = match self.bound {
            Bound::Recipient => TO_RECIPIENT,
            Bound::Message => TO_MESSAGE,
        };
        let mut octets = [0; OCTETS];
        octets[0] = VERSION << 4 | bound;
        octets[1] = self.key;
        octets[2..4].copy_from_slice(&self.day.to_be_bytes());
        octets[4..12].copy_from_slice(&self.reference);
        octets[12..SIGNED].copy_from_slice(&self.tag);
        let mac = secret.mac(&octets[..SIGNED]);
        octets[SIGNED..].copy_from_slice(&mac);
        encode(&octets)
    }

    /// Reads a token and proves it. Letter case does not matter; anything else does. `key` gives the key of an id, if
    /// it is known and not retired.
    ///
    /// # Errors
    /// [`TokenError`]: what is wrong with it. Its age is looked at last, so one that is too old was a token of ours.
    pub fn read<'a>(
        text: &str,
        key: impl Fn(u8) -> Option<&'a Secret>,
        now: Timestamp,
        max_age_days: u16,
    ) -> Result<Token, TokenError> {
        let octets = decode(text).ok_or(TokenError::Malformed)?;
        let bound = match octets[0] {
            head if head == VERSION << 4 | TO_RECIPIENT => Bound::Recipient,
            head if head == VERSION << 4 | TO_MESSAGE => Bound::Message,
            _ => return Err(TokenError::Malformed),
        };
        let secret = key(octets[1]).ok_or(TokenError::UnknownKey(octets[1]))?;
        if !is_same(&octets[SIGNED..], &secret.mac(&octets[..SIGNED])) {
            return Err(TokenError::Altered);
        }
        let token = Token {
            key: octets[1],
            day: u16::from_be_bytes([octets[2], octets[3]]),
            bound,
            reference: *octets[4..12].first_chunk().expect("8 octets"),
            tag: *octets[12..SIGNED].first_chunk().expect("5 octets"),
        };
        let today = day_of(now);
        // A clock may have been a little ahead at midnight.
        if token.day > today.saturating_add(1) {
            return Err(TokenError::Future);
        }
        match today.saturating_sub(token.day) {
            age if age > max_age_days => Err(TokenError::Expired(age)),
            _ => Ok(token),
        }
    }

    /// Whether it is bound to this recipient.
    pub fn names(&self, secret: &Secret, recipient: &Address) -> bool {
        self.bound == Bound::Recipient && is_same(&self.tag, &secret.tag(&self.reference, recipient))
    }

    /// The day it was made, as a date.
    pub fn date(&self) -> String {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * i64::from(self.day));
        at.strftime("%Y-%m-%d").to_string()
    }
}

/// The day of a time; the last one there is from 2149 on.
fn day_of(now: Timestamp) -> u16 {
    let day = now.as_second().div_euclid(86_400).clamp(0, i64::from(u16::MAX));
    u16::try_from(day).expect("clamped")
}

/// Compares in a time that does not tell how much is the same: the equality of `blake3::Hash` is such.
fn is_same(given: &[u8], ours: &[u8]) -> bool {
    let whole = |octets: &[u8]| {
        let mut whole = [0; 32];
        whole[..octets.len()].copy_from_slice(octets);
        blake3::Hash::from_bytes(whole)
    };
    given.len() == ours.len() && whole(given) == whole(ours)
}

fn encode(octets: &[u8; OCTETS]) -> String {
    let (groups, _) = octets.as_chunks::<5>();
    let mut text = String::with_capacity(LENGTH);
    for group in groups {
        let bits = group.iter().fold(0_u64, |bits, octet| bits << 8 | u64::from(*octet));
        text.extend((0..8).rev().map(|place| char::from(ALPHABET[(bits >> (5 * place) & 31) as usize])));
    }
    text
}

fn decode(text: &str) -> Option<[u8; OCTETS]> {
    let text: &[u8; LENGTH] = text.as_bytes().try_into().ok()?;
    let (groups, _) = text.as_chunks::<8>();
    let mut octets = [0; OCTETS];
    for (group, out) in groups.iter().zip(octets.as_chunks_mut::<5>().0) {
        let mut bits = 0_u64;
        for character in group {
            bits = bits << 5 | u64::from(value(*character)?);
        }
        out.copy_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(octets)
}

fn value(character: u8) -> Option<u8> {
    match character {
        b'a'..=b'z' => Some(character - b'a'),
        b'A'..=b'Z' => Some(character - b'A'),
        b'2'..=b'7' => Some(character - b'2' + 26),
        _ => None,
    }
}

/// Whether a character may stand in a token.
pub fn is_of_a_token(character: char) -> bool {
    u8::try_from(character).is_ok_and(|character| value(character).is_some())
}

#[cfg(test)]
mod tests;
