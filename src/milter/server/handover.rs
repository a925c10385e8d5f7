//! What a connection leaves to the process that goes on with it, so that a restart cuts no SMTP session off.
//!
//! Postfix does not connect again within an SMTP session: a connection that is closed between two messages leaves
//! the rest of that session to `milter_default_action`. A daemon that ends can instead give its open connections to
//! the service manager, and the next daemon goes on with them. Between two messages a session is what was said at its
//! opening: the negotiation, CONNECT and HELO with their macros. So those packets are kept as they came, and said
//! again to a new session.

use crate::milter::Wanted;
use crate::milter::packet::PREFIX;
use std::os::fd::OwnedFd;

/// Longest opening that is kept; an ordinary one has a few hundred octets. A longer one is not handed over.
const LONGEST: usize = 64 << 10;

/// An open connection between two messages.
#[derive(Debug)]
pub struct HandedOver {
    /// The connection.
    pub stream: OwnedFd,
    /// How it began.
    pub opening: Opening,
}

/// The packets by which a connection was opened, and what we asked for in the negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    wanted: Wanted,
    /// Packets with their lengths.
    octets: Vec<u8>,
    /// The last packet told variables for a command that has not come yet.
    told: bool,
    too_long: bool,
}

impl Opening {
    /// That of a connection on which nothing was said.
    pub fn new(wanted: Wanted) -> Opening {
        Opening { wanted, octets: Vec::new(), told: false, too_long: false }
    }

    /// What we asked for.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Takes note of a packet, before the session does.
    pub fn note(&mut self, packet: &[u8], between_messages: bool) {
        self.told = packet.first() == Some(&b'D');
        let belongs = match packet {
            // A new beginning: the negotiation, or the next client on the same connection.
            [b'O' | b'K', ..] => {
                self.octets.clear();
                self.too_long = false;
                packet[0] == b'O'
            }
            [b'C' | b'H', ..] | [b'D', b'C' | b'H', ..] => between_messages,
            _ => false,
        };
        if belongs && self.octets.len() + PREFIX + packet.len() <= LONGEST {
            self.octets.extend((packet.len() as u32).to_be_bytes());
            self.octets.extend(packet);
        } else if belongs {
            self.too_long = true;
        }
    }

    /// Whether the connection can go on from here by this alone.
    pub fn is_whole(&self) -> bool {
        !self.told && !self.too_long
    }

    /// The packets, in order.
    pub fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let mut left = self.octets.as_slice();
        std::iter::from_fn(move || {
            let (length, rest) = left.split_first_chunk::<PREFIX>()?;
            let (packet, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            left = rest;
            Some(packet)
        })
    }

    /// For the way to the next process: one octet for what we asked for, then the packets.
    pub fn to_octets(&self) -> Vec<u8> {
        let Wanted { answer_recipients, change_sender, change_headers, add_recipients, helo } = self.wanted;
        let flags = [answer_recipients, change_sender, change_headers, add_recipients, helo];
        let flags = flags.iter().rev().fold(0, |flags, flag| flags << 1 | u8::from(*flag));
        [&[flags], self.octets.as_slice()].concat()
    }

    /// Reads what [`Opening::to_octets`] wrote; nothing where it is not that.
    pub fn from_octets(octets: &[u8]) -> Option<Opening> {
        let (&flags, octets) = octets.split_first()?;
        if flags > 0b1_1111 || octets.len() > LONGEST {
            return None;
        }
        let flag = |place: u8| flags >> place & 1 == 1;
        let wanted = Wanted {
            answer_recipients: flag(0),
            change_sender: flag(1),
            change_headers: flag(2),
            add_recipients: flag(3),
            helo: flag(4),
        };
        let opening = Opening { wanted, octets: octets.to_vec(), told: false, too_long: false };
        let read: usize = opening.packets().map(|packet| PREFIX + packet.len()).sum();
        (read == octets.len()).then_some(opening)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted = Wanted {
        answer_recipients: true,
        change_sender: false,
        change_headers: true,
        add_recipients: false,
        helo: true,
    };

    fn opening(packets: &[&[u8]]) -> Opening {
        let mut opening = Opening::new(WANTED);
        packets.iter().for_each(|packet| opening.note(packet, true));
        opening
    }

    #[test]
    fn what_opens_a_session_is_kept_and_what_belongs_to_a_message_is_not() {
        let mut told = opening(&[b"Oxxx", b"DCj\0mx\0", b"Ch\0U", b"DHx\0", b"Hclient\0", b"DMi\0", b"Mx\0", b"A"]);
        told.note(b"DHlate\0", false);
        let want: [&[u8]; 5] = [b"Oxxx", b"DCj\0mx\0", b"Ch\0U", b"DHx\0", b"Hclient\0"];
        assert_eq!(told.packets().collect::<Vec<_>>(), want);
        assert_eq!(Opening::from_octets(&told.to_octets()), Some(opening(&want)));
        told.note(b"K", true);
        assert_eq!(told.packets().count(), 0, "another client follows");
    }

    #[test]
    fn an_opening_without_measure_is_not_kept() {
        let long = [b"H".as_slice(), &[b'x'; LONGEST], b"\0"].concat();
        let told = opening(&[b"Oxxx", &long]);
        assert!(!told.is_whole() && told.to_octets().len() < 100);
    }

    #[test]
    fn what_is_no_opening_is_not_taken() {
        for octets in [b"".as_slice(), b"\x20", b"\0\0", b"\0\0\0\0\x05Oxx", b"\0\xff\xff\xff\xffO", &[0; LONGEST + 2]]
        {
            assert_eq!(Opening::from_octets(octets), None, "{octets:?}");
        }
        assert_eq!(Opening::from_octets(b"\x15"), Some(Opening::new(WANTED)));
    }
}
