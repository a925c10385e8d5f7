//! How one fact is written in a contact record: compact, and versioned, since it can always be made anew.
//!
//! | octets | what |
//! |---|---|
//! | 1 | version |
//! | 1 | flags: 1 may suppress, 2 a response that nothing vouches for, 4 confirms another event |
//! | 16 | event id |
//! | 12 | time: seconds, nanoseconds |
//! | rest | the fact; empty where the event adds none, or was undone, and the entry only recognises a repeat |
//!
//! What was imported is there by the ten million, and shorter ([`super::imported`]).

use super::imported;
use crate::classify::{BounceCode, BounceType, Category, Class, Fault};
use crate::mail::ListId;
use crate::policy::contact::FactKind;
use crate::policy::{Authority, EventId, Fact, Level, Limit, Response, Scope};
use crate::report::{Campaign, Kind};
use jiff::Timestamp;
use std::collections::BTreeMap;

const VERSION: u8 = 1;
const MAY_SUPPRESS: u8 = 1;
const UNVERIFIED: u8 = 2;
const CONFIRMS: u8 = 4;

/// Octets of a head.
const HEAD: usize = 30;

/// The longest text in a fact. What RFC 5322 and 2919 let into a header line is shorter.
pub(super) const TEXT: usize = 1000;

/// What an entry begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The event it comes from.
    pub event: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// The batch it was imported with.
    pub batch: Option<EventId>,
    flags: u8,
}

impl Head {
    /// Reads the beginning of the entry under a key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(key: &[u8], entry: &[u8]) -> Result<Head, &'static str> {
        let head = match entry.first() {
            Some(&imported::VERSION) => imported::head(key, entry).map(|(event, at, batch)| Head {
                event,
                at,
                batch: Some(batch),
                flags: MAY_SUPPRESS,
            }),
            _ => Reader(entry).head(),
        };
        head.ok_or("cut off, or of an unknown version")
    }

    /// Whether the fact, under some policy, may keep mail from the contact.
    pub fn may_suppress(&self) -> bool {
        self.flags & MAY_SUPPRESS != 0
    }

    /// Whether it is a response that nothing vouches for.
    pub fn unverified(&self) -> bool {
        self.flags & UNVERIFIED != 0
    }

    /// Whether a person vouches by it for another event.
    pub fn confirms(&self) -> bool {
        self.flags & CONFIRMS != 0
    }
}

/// Whether a fact may, under some policy, keep mail from the contact.
pub fn may_suppress(fact: &FactKind) -> bool {
    match fact {
        FactKind::Response(response) => match response.kind {
            Kind::Bounce | Kind::Complaint | Kind::OptOut => true,
            Kind::Delayed | Kind::Delivered | Kind::NotSpam | Kind::Autoreply | Kind::Other => false,
        },
        FactKind::Suppress { .. } | FactKind::Imported(_) => true,
        // A limit keeps mail from the contact, too: whoever screens must read the record.
        FactKind::Limit(limit) => limit.is_some(),
        // What it confirms may, and says so itself.
        FactKind::Sent { .. }
        | FactKind::Reactivate { .. }
        | FactKind::Activity { .. }
        | FactKind::Attributes(_)
        | FactKind::Confirm { .. } => false,
    }
}

/// The entry of a fact, or of an event that adds none. What was imported finds its event in its key only.
pub fn encode(event: EventId, at: Timestamp, fact: Option<&FactKind>) -> Vec<u8> {
    if let Some(FactKind::Imported(imported)) = fact {
        return imported::encode(event, at, imported);
    }
    let unverified = |fact: &&FactKind| match fact {
        FactKind::Response(response) => response.authority == Authority::Unverified,
        FactKind::Sent { .. }
        | FactKind::Suppress { .. }
        | FactKind::Reactivate { .. }
        | FactKind::Imported(_)
        | FactKind::Activity { .. }
        | FactKind::Attributes(_)
        | FactKind::Limit(_)
        | FactKind::Confirm { .. } => false,
    };
    let confirms = matches!(fact, Some(FactKind::Confirm { .. }));
    let flags = fact.filter(|fact| may_suppress(fact)).map_or(0, |_| MAY_SUPPRESS)
        | fact.filter(unverified).map_or(0, |_| UNVERIFIED)
        | if confirms { CONFIRMS } else { 0 };
    let mut entry = vec![VERSION, flags];
    entry.extend(event.0.to_be_bytes());
    put_time(&mut entry, at);
    match fact {
        None | Some(FactKind::Imported(_)) => {}
        Some(FactKind::Response(response)) => {
            entry.push(1);
            put_response(&mut entry, response);
        }
        Some(FactKind::Sent { campaign, list }) => {
            entry.push(2);
            put_text(&mut entry, campaign.as_ref().map(|campaign| campaign.0.as_str()));
            put_text(&mut entry, list.as_ref().map(|list| list.0.as_str()));
        }
        Some(FactKind::Suppress { scope, reason }) => {
            entry.push(3);
            put_scope(&mut entry, scope, reason);
        }
        Some(FactKind::Reactivate { scope, reason, by_timer }) => {
            entry.push(if *by_timer { 5 } else { 4 });
            put_scope(&mut entry, scope, reason);
        }
        Some(FactKind::Activity { level, campaign }) => {
            entry.extend([7, u8::from(*level)]);
            put_text(&mut entry, campaign.as_ref().map(|campaign| campaign.0.as_str()));
        }
        Some(FactKind::Attributes(attributes)) => {
            entry.push(8);
            for (name, value) in attributes {
                put_text(&mut entry, Some(name));
                put_text(&mut entry, Some(value));
            }
        }
        Some(FactKind::Limit(limit)) => {
            entry.push(9);
            let Limit { messages, window_secs } = limit.unwrap_or(Limit { messages: u32::MAX, window_secs: 0 });
            entry.extend(messages.to_be_bytes());
            entry.extend(window_secs.to_be_bytes());
        }
        Some(FactKind::Confirm { target }) => {
            entry.push(10);
            entry.extend(target.0.to_be_bytes());
        }
    }
    entry
}

/// What is left of an entry whose event was undone: it recognises a repeat, and still takes its place among
/// those that nothing vouches for.
pub fn void(entry: &[u8]) -> Vec<u8> {
    let mut head = entry[..entry.len().min(HEAD)].to_vec();
    if let Some(flags) = head.get_mut(1) {
        *flags &= !(MAY_SUPPRESS | CONFIRMS);
    }
    head
}

/// The fact of the entry under a key, if it holds one.
///
/// # Errors
/// What is wrong with it.
pub fn decode(key: &[u8], entry: &[u8]) -> Result<Option<Fact>, &'static str> {
    if entry.first() == Some(&imported::VERSION) {
        return imported::decode(key, entry).map(Some).ok_or("what was imported cannot be read");
    }
    let mut reader = Reader(entry);
    let head = reader.head().ok_or("cut off, or of an unknown version")?;
    if reader.0.is_empty() {
        return Ok(None);
    }
    let what = reader.fact().filter(|_| reader.0.is_empty()).ok_or("the fact cannot be read")?;
    Ok(Some(Fact { event: head.event, at: head.at, what }))
}

/// The event that a person vouches for by the entry under a key.
pub fn confirms(key: &[u8], entry: &[u8]) -> Option<EventId> {
    match decode(key, entry) {
        Ok(Some(Fact { what: FactKind::Confirm { target }, .. })) => Some(target),
        _ => None,
    }
}

fn put_response(entry: &mut Vec<u8>, response: &Response) {
    // Spelled out, so that a new field cannot be forgotten here.
    let Response {
        class,
        kind,
        category,
        bounce_type,
        code,
        reason,
        fault,
        by_words,
        authority,
        campaign,
        list,
        sent_at,
    } = response;
    entry.extend([class.number(), kind.number(), authority.number(), u8::from(*by_words)]);
    entry.push(category.map_or(0, Numbered::number));
    entry.push(bounce_type.map_or(0, Numbered::number));
    entry.push(fault.map_or(0, Numbered::number));
    put_code(entry, *code);
    put_text(entry, reason.as_deref());
    put_text(entry, campaign.as_ref().map(|campaign| campaign.0.as_str()));
    put_text(entry, list.as_ref().map(|list| list.0.as_str()));
    entry.push(u8::from(sent_at.is_some()));
    sent_at.iter().for_each(|sent_at| put_time(entry, *sent_at));
}

fn put_code(entry: &mut Vec<u8>, code: Option<BounceCode>) {
    match code {
        None => entry.push(0),
        Some(BounceCode { class, subject, detail }) => {
            entry.push(class);
            entry.extend(subject.to_be_bytes());
            entry.extend(detail.to_be_bytes());
        }
    }
}

fn put_scope(entry: &mut Vec<u8>, scope: &Scope, reason: &str) {
    let list = match scope {
        Scope::System => None,
        Scope::List(list) => Some(list.0.as_str()),
    };
    put_text(entry, list);
    put_text(entry, Some(reason));
}

pub(super) fn put_time(entry: &mut Vec<u8>, at: Timestamp) {
    entry.extend(at.as_second().to_be_bytes());
    entry.extend(at.subsec_nanosecond().to_be_bytes());
}

/// Length and one more, so that 0 is no text at all; then the text.
pub(super) fn put_text(entry: &mut Vec<u8>, text: Option<&str>) {
    let text = text.map(|text| &text[..text.floor_char_boundary(TEXT)]);
    entry.extend(text.map_or(0, |text| text.len() as u16 + 1).to_be_bytes());
    entry.extend(text.unwrap_or_default().as_bytes());
}

/// Reads from the front; nothing where too little is left or it makes no sense.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn octets<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*octets)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        self.octets().map(|[octet]| octet)
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        let seconds = i64::from_be_bytes(self.octets()?);
        Timestamp::new(seconds, i32::from_be_bytes(self.octets()?)).ok()
    }

    pub(super) fn text(&mut self) -> Option<Option<String>> {
        let Some(length) = u16::from_be_bytes(self.octets()?).checked_sub(1) else { return Some(None) };
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        Some(Some(std::str::from_utf8(text).ok()?.to_owned()))
    }

    fn head(&mut self) -> Option<Head> {
        let [VERSION, flags] = self.octets()? else { return None };
        Some(Head { flags, batch: None, event: EventId(u128::from_be_bytes(self.octets()?)), at: self.time()? })
    }

    fn fact(&mut self) -> Option<FactKind> {
        match self.octet()? {
            1 => self.response().map(|response| FactKind::Response(Box::new(response))),
            2 => Some(FactKind::Sent { campaign: self.text()?.map(Campaign), list: self.text()?.map(ListId) }),
            3 => Some(FactKind::Suppress { scope: self.scope()?, reason: self.text()?? }),
            number @ (4 | 5) => {
                Some(FactKind::Reactivate { scope: self.scope()?, reason: self.text()??, by_timer: number == 5 })
            }
            7 => Some(FactKind::Activity {
                level: Level::try_from(self.octet()?).ok()?,
                campaign: self.text()?.map(Campaign),
            }),
            8 => {
                let mut attributes = BTreeMap::new();
                while !self.0.is_empty() {
                    attributes.insert(self.text()??, self.text()??);
                }
                Some(FactKind::Attributes(attributes))
            }
            9 => {
                let (messages, window_secs) = (u32::from_be_bytes(self.octets()?), u32::from_be_bytes(self.octets()?));
                Some(FactKind::Limit((window_secs > 0).then_some(Limit { messages, window_secs })))
            }
            10 => Some(FactKind::Confirm { target: EventId(u128::from_be_bytes(self.octets()?)) }),
            _ => None,
        }
    }

    fn scope(&mut self) -> Option<Scope> {
        Some(self.text()?.map_or(Scope::System, |list| Scope::List(ListId(list))))
    }

    pub(super) fn numbered<T: Numbered>(&mut self) -> Option<Option<T>> {
        match self.octet()? {
            0 => Some(None),
            number => Some(Some(T::numbered(number)?)),
        }
    }

    fn code(&mut self) -> Option<Option<BounceCode>> {
        let class = self.octet()?;
        if class == 0 {
            return Some(None);
        }
        let (subject, detail) = (u16::from_be_bytes(self.octets()?), u16::from_be_bytes(self.octets()?));
        Some(Some(BounceCode { class, subject, detail }))
    }

    fn response(&mut self) -> Option<Response> {
        Some(Response {
            class: self.numbered()??,
            kind: self.numbered()??,
            authority: self.numbered()??,
            by_words: self.octet()? != 0,
            category: self.numbered()?,
            bounce_type: self.numbered()?,
            fault: self.numbered()?,
            code: self.code()?,
            reason: self.text()?,
            campaign: self.text()?.map(Campaign),
            list: self.text()?.map(ListId),
            sent_at: match self.octet()? {
                0 => None,
                _ => Some(self.time()?),
            },
        })
    }
}

/// The number a variant has on disk, from 1.
pub(super) trait Numbered: Sized {
    fn number(self) -> u8;
    fn numbered(number: u8) -> Option<Self>;
}

macro_rules! numbered {
    ($type:ident: $($variant:ident = $number:literal),+) => {
        impl Numbered for $type {
            fn number(self) -> u8 {
                match self { $($type::$variant => $number),+ }
            }
            fn numbered(number: u8) -> Option<$type> {
                match number { $($number => Some($type::$variant),)+ _ => None }
            }
        }
    };
}

numbered!(Class: Skip = 1, Bounce = 2, Feedback = 3);
numbered!(Kind: Bounce = 1, Delayed = 2, Delivered = 3, Complaint = 4, NotSpam = 5, OptOut = 6, Autoreply = 7, Other = 8);
numbered!(Category: Failed = 1, Invalid = 2, Complaint = 3, Rejected = 4, Transient = 5, Unknown = 6, Blocked = 7);
numbered!(BounceType: Hard = 1, Soft = 2);
numbered!(Fault: Recipient = 1, Provider = 2, Sender = 3, Message = 4, Path = 5);
numbered!(Authority: Unverified = 1, Authenticated = 2, Matched = 3, Local = 4, Signed = 5, Operator = 6);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Imported;

    fn full() -> Response {
        Response {
            class: Class::Bounce,
            kind: Kind::Bounce,
            category: Some(Category::Rejected),
            bounce_type: Some(BounceType::Hard),
            code: Some(BounceCode { class: 5, subject: 1, detail: 10 }),
            reason: Some("user-unknown".to_owned()),
            fault: Some(Fault::Recipient),
            by_words: true,
            authority: Authority::Matched,
            campaign: Some(Campaign("spring".to_owned())),
            list: Some(ListId("news.example.org".to_owned())),
            sent_at: Some(Timestamp::new(1_700_000_000, 123_456_789).unwrap()),
        }
    }

    fn samples() -> Vec<FactKind> {
        let empty = Response {
            category: None,
            bounce_type: None,
            code: None,
            reason: None,
            fault: None,
            by_words: false,
            campaign: None,
            list: None,
            sent_at: None,
            ..full()
        };
        let list = Scope::List(ListId("news".to_owned()));
        vec![
            FactKind::Response(Box::new(full())),
            FactKind::Response(Box::new(empty)),
            FactKind::Sent { campaign: Some(Campaign("ü".to_owned())), list: None },
            FactKind::Suppress { scope: Scope::System, reason: String::new() },
            FactKind::Reactivate { scope: list.clone(), reason: "asked to".to_owned(), by_timer: false },
            FactKind::Reactivate { scope: Scope::System, reason: "14 days".to_owned(), by_timer: true },
            FactKind::Imported(Box::new(Imported {
                batch: EventId(9),
                scope: list,
                category: Some(Category::Rejected),
                bounce_type: Some(BounceType::Hard),
                code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
                reason: "hard-bounce".to_owned(),
                since: Some(Timestamp::UNIX_EPOCH),
            })),
            FactKind::Activity { level: Level::CLICK, campaign: Some(Campaign("spring".to_owned())) },
            FactKind::Limit(Some(Limit { messages: 3, window_secs: 86_400 })),
            FactKind::Limit(None),
        ]
    }

    #[test]
    fn a_fact_is_read_as_it_was_written_and_cut_short_it_is_no_fact() {
        let at = Timestamp::new(1_750_000_000, 999_999_999).unwrap();
        for what in samples() {
            let fact = Fact { event: EventId(u128::MAX / 3), at, what };
            let entry = encode(fact.event, fact.at, Some(&fact.what));
            let key = fact.event.0.to_be_bytes();
            assert_eq!(decode(&key, &entry), Ok(Some(fact.clone())));
            for end in 0..entry.len() {
                assert!(!matches!(decode(&key, &entry[..end]), Ok(Some(_))), "{fact:?} cut at {end}");
            }
            let longer = [&entry[..], &[0]].concat();
            assert!(decode(&key, &longer).is_err(), "{fact:?} with an octet too many");
        }
        assert_eq!(decode(b"", &encode(EventId(7), at, None)), Ok(None));
    }

    #[test]
    fn a_voided_entry_keeps_its_head_and_suppresses_nobody() {
        let at = Timestamp::new(1_750_000_000, 999_999_999).unwrap();
        for (authority, unverified) in [(Authority::Local, false), (Authority::Unverified, true)] {
            let fact = FactKind::Response(Box::new(Response { authority, ..full() }));
            let voided = void(&encode(EventId(7), at, Some(&fact)));
            let head = Head::read(b"", &voided).unwrap();
            assert_eq!((head.event, head.at, head.may_suppress()), (EventId(7), at, false));
            assert_eq!(head.unverified(), unverified);
            assert_eq!(decode(b"", &voided), Ok(None));
            assert_eq!(void(&voided), voided);
        }
    }

    #[test]
    fn every_number_stands_for_one_variant_of_each_kind() {
        fn check<T: Numbered + Copy + PartialEq + std::fmt::Debug>(count: u8) {
            assert_eq!(T::numbered(0), None);
            assert_eq!(T::numbered(count + 1), None);
            for number in 1..=count {
                assert_eq!(T::numbered(number).map(Numbered::number), Some(number));
            }
        }
        check::<Class>(3);
        check::<Kind>(8);
        check::<Category>(7);
        check::<BounceType>(2);
        check::<Fault>(5);
        check::<Authority>(6);
    }

    #[test]
    fn what_may_suppress_and_what_nothing_vouches_for_is_seen_without_reading_the_fact() {
        let at = Timestamp::UNIX_EPOCH;
        let flags = |what: &FactKind| {
            let head = Head::read(b"", &encode(EventId(1), at, Some(what))).unwrap();
            (head.may_suppress(), head.unverified())
        };
        let response = |kind, authority| FactKind::Response(Box::new(Response { kind, authority, ..full() }));
        for (what, want) in [
            (response(Kind::Bounce, Authority::Local), (true, false)),
            (response(Kind::Bounce, Authority::Unverified), (true, true)),
            (response(Kind::Delivered, Authority::Unverified), (false, true)),
            (response(Kind::OptOut, Authority::Matched), (true, false)),
            (response(Kind::Autoreply, Authority::Local), (false, false)),
            (FactKind::Suppress { scope: Scope::System, reason: String::new() }, (true, false)),
            (FactKind::Reactivate { scope: Scope::System, reason: String::new(), by_timer: false }, (false, false)),
            (FactKind::Sent { campaign: None, list: None }, (false, false)),
        ] {
            assert_eq!(flags(&what), want, "{what:?}");
        }
    }

    #[test]
    fn a_text_of_any_length_fits_and_is_cut_between_characters() {
        let reason = "ü".repeat(40_000);
        let entry =
            encode(EventId(1), Timestamp::UNIX_EPOCH, Some(&FactKind::Suppress { scope: Scope::System, reason }));
        let Ok(Some(Fact { what: FactKind::Suppress { reason, .. }, .. })) = decode(b"", &entry) else { panic!() };
        assert_eq!(reason, "ü".repeat(500));
    }
}
