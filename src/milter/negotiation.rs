//! What is agreed on at the start of a connection.
//!
//! In: what the MTA offers and what the configuration wants. Out: the answer (`SMFIC_OPTNEG`) and the
//! [`Agreement`] that `session` keeps to. Everything declined or waived here saves a packet or a wait later:
//! with Postfix, a message costs one wait at the first piece of its body and one at its end.
//!
//! Nothing is asked for that was not offered: Postfix refuses the session for an action too many
//! (POSTFIX-FACTS 2). What an older MTA does not offer is done without.

use super::command::{Command, Offer};
use super::reply::{self, Edit, LeadingBlank};

/// The newest protocol version, and the one we speak.
pub const VERSION: u32 = 6;

/// The oldest version we speak; version 1 had a shorter negotiation.
pub const OLDEST_VERSION: u32 = 2;

/// What Postfix offers (3.7): every action and protocol step that it has. For who looks whether a milter answers.
pub const POSTFIX_OFFERS: &[u8] = b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff";

/// Changes a milter may ask for at the end of a message (`SMFIF_*`).
pub mod actions {
    /// Add or insert header fields.
    pub const ADD_HEADERS: u32 = 0x01;
    /// Add recipients.
    pub const ADD_RECIPIENTS: u32 = 0x04;
    /// Delete recipients.
    pub const DELETE_RECIPIENTS: u32 = 0x08;
    /// Change or delete header fields.
    pub const CHANGE_HEADERS: u32 = 0x10;
    /// Put the message on hold.
    pub const QUARANTINE: u32 = 0x20;
    /// Change the reverse path.
    pub const CHANGE_SENDER: u32 = 0x40;
    /// Add recipients with ESMTP arguments.
    pub const ADD_RECIPIENTS_WITH: u32 = 0x80;
    /// Name the variables each stage brings.
    pub const SET_MACROS: u32 = 0x100;
}

/// What the MTA may leave out, and how it writes (`SMFIP_*`).
pub mod protocol {
    /// No HELO.
    pub const NO_HELO: u32 = 0x02;
    /// No end of header.
    pub const NO_END_OF_HEADER: u32 = 0x40;
    /// Header fields are not answered.
    pub const WAIVE_HEADER: u32 = 0x80;
    /// No unknown commands.
    pub const NO_UNKNOWN: u32 = 0x100;
    /// No DATA.
    pub const NO_DATA: u32 = 0x200;
    /// "Skip" may be answered.
    pub const SKIP: u32 = 0x400;
    /// Connect is not answered.
    pub const WAIVE_CONNECT: u32 = 0x1000;
    /// HELO is not answered.
    pub const WAIVE_HELO: u32 = 0x2000;
    /// MAIL is not answered.
    pub const WAIVE_MAIL: u32 = 0x4000;
    /// RCPT is not answered.
    pub const WAIVE_RCPT: u32 = 0x8000;
    /// DATA is not answered.
    pub const WAIVE_DATA: u32 = 0x1_0000;
    /// Unknown commands are not answered.
    pub const WAIVE_UNKNOWN: u32 = 0x2_0000;
    /// The end of the header is not answered.
    pub const WAIVE_END_OF_HEADER: u32 = 0x4_0000;
    /// Pieces of the body are not answered.
    pub const WAIVE_BODY: u32 = 0x8_0000;
    /// The blank behind the colon of a header field is part of its value, both ways.
    pub const LEADING_BLANK: u32 = 0x10_0000;
}

/// What we ask for; derived from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// RCPT must be answered (`[outbound] action = "reject"`).
    pub answer_recipients: bool,
    /// The reverse path may be changed (`[authority] sign`).
    pub change_sender: bool,
    /// Header fields may be added, changed or removed.
    pub change_headers: bool,
    /// Recipients may be re-added with NOTIFY.
    pub add_recipients: bool,
    /// HELO is told (`[[feedback_loop]] spf`).
    pub helo: bool,
}

/// What holds for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    version: u32,
    actions: u32,
    protocol: u32,
    answer_recipients: bool,
}

impl Wanted {
    fn actions(self) -> u32 {
        let asked = |wanted, bits| if wanted { bits } else { 0 };
        actions::DELETE_RECIPIENTS
            | actions::SET_MACROS
            | asked(self.change_sender, actions::CHANGE_SENDER)
            | asked(self.change_headers, actions::ADD_HEADERS | actions::CHANGE_HEADERS)
            | asked(self.add_recipients, actions::ADD_RECIPIENTS | actions::ADD_RECIPIENTS_WITH)
    }

    /// The body is answered, or "skip" could not be said; RCPT where recipients may be refused.
    fn protocol(self) -> u32 {
        protocol::NO_UNKNOWN
            | protocol::NO_DATA
            | protocol::NO_END_OF_HEADER
            | protocol::WAIVE_CONNECT
            | protocol::WAIVE_HELO
            | protocol::WAIVE_MAIL
            | protocol::WAIVE_DATA
            | protocol::WAIVE_HEADER
            | protocol::WAIVE_UNKNOWN
            | protocol::WAIVE_END_OF_HEADER
            | protocol::SKIP
            | protocol::LEADING_BLANK
            | if self.answer_recipients { 0 } else { protocol::WAIVE_RCPT }
            | if self.helo { 0 } else { protocol::NO_HELO }
    }

    /// The variables we use, by the protocol's number of the stage. A stage that is not named here would keep
    /// the list of the MTA's configuration, so all are.
    fn macros(self) -> [(u32, &'static str); 7] {
        const CONNECT: u32 = 0;
        const HELO: u32 = 1;
        const MAIL: u32 = 2;
        const RCPT: u32 = 3;
        const DATA: u32 = 4;
        const END_OF_MESSAGE: u32 = 5;
        const END_OF_HEADER: u32 = 6;
        // To Postfix an empty list is none and its own stays; a name it does not know leaves the stage empty.
        const NOTHING: &str = "{none}";
        [
            (CONNECT, "j"),
            (HELO, NOTHING),
            (MAIL, "i {auth_authen} {mail_mailer}"),
            // A refusal is logged at once, with the queue id; else it is soon enough at DATA.
            (RCPT, if self.answer_recipients { "i {rcpt_addr} {rcpt_mailer}" } else { "{rcpt_addr} {rcpt_mailer}" }),
            (DATA, "i"),
            // Postfix tells these before every header field and piece of the body as well.
            (END_OF_MESSAGE, NOTHING),
            (END_OF_HEADER, NOTHING),
        ]
    }
}

impl Agreement {
    /// Takes what is wanted and offered; `None` if the MTA's version is too old.
    pub fn reach(wanted: Wanted, offer: Offer) -> Option<Agreement> {
        (offer.version >= OLDEST_VERSION).then(|| Agreement {
            version: offer.version.min(VERSION),
            actions: wanted.actions() & offer.actions,
            protocol: wanted.protocol() & offer.protocol,
            answer_recipients: wanted.answer_recipients,
        })
    }

    /// Writes our half of the negotiation.
    pub fn write(&self, wanted: Wanted, out: &mut Vec<u8>) {
        reply::packet(out, b'O', |out| {
            for word in [self.version, self.actions, self.protocol] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            if self.actions & actions::SET_MACROS != 0 {
                for (stage, names) in wanted.macros() {
                    out.extend_from_slice(&stage.to_be_bytes());
                    reply::string(out, names.as_bytes());
                }
            }
        });
    }

    /// Whether the MTA waits for an answer to this command.
    pub fn is_answered(&self, command: &Command<'_>) -> bool {
        let waived = match command {
            Command::Negotiate(_) | Command::EndOfMessage(_) => return true,
            Command::Macros(..) | Command::Abort | Command::Quit | Command::QuitNewConnection => return false,
            Command::Connect { .. } => protocol::WAIVE_CONNECT,
            Command::Helo(_) => protocol::WAIVE_HELO,
            Command::Mail(..) => protocol::WAIVE_MAIL,
            Command::Rcpt(..) => protocol::WAIVE_RCPT,
            Command::Data => protocol::WAIVE_DATA,
            Command::Header(..) => protocol::WAIVE_HEADER,
            Command::EndOfHeader => protocol::WAIVE_END_OF_HEADER,
            Command::Body(_) => protocol::WAIVE_BODY,
            Command::Unknown(_) => protocol::WAIVE_UNKNOWN,
        };
        self.protocol & waived == 0
    }

    /// Whether recipients may be refused: it is wanted, and the MTA waits for the answer.
    pub fn may_refuse_recipients(&self) -> bool {
        self.answer_recipients && self.protocol & protocol::WAIVE_RCPT == 0
    }

    /// Whether "skip" may be answered.
    pub fn may_skip(&self) -> bool {
        self.protocol & protocol::SKIP != 0
    }

    /// Whether this change may be asked for.
    pub fn allows(&self, edit: &Edit) -> bool {
        let action = match edit {
            Edit::AddRecipient(_) => actions::ADD_RECIPIENTS,
            Edit::AddRecipientWith(..) => actions::ADD_RECIPIENTS_WITH,
            Edit::DeleteRecipient(_) => actions::DELETE_RECIPIENTS,
            Edit::ReaddRecipient(..) => actions::DELETE_RECIPIENTS | actions::ADD_RECIPIENTS_WITH,
            Edit::ChangeSender(..) => actions::CHANGE_SENDER,
            Edit::AddHeader(..) | Edit::InsertHeader(..) => actions::ADD_HEADERS,
            Edit::ChangeHeader(..) => actions::CHANGE_HEADERS,
            Edit::Quarantine(_) => actions::QUARANTINE,
        };
        self.actions & action == action
    }

    /// Whether the blank behind the colon comes with the value of a header field, and goes with ours.
    pub fn leading_blank(&self) -> LeadingBlank {
        if self.protocol & protocol::LEADING_BLANK != 0 { LeadingBlank::Ours } else { LeadingBlank::Theirs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Postfix 3.7 offers.
    const POSTFIX: Offer = Offer { version: 6, actions: 0x1ff, protocol: 0x1f_ffff };

    const PLAIN: Wanted = Wanted {
        answer_recipients: false,
        change_sender: false,
        change_headers: false,
        add_recipients: false,
        helo: false,
    };

    fn answer(wanted: Wanted, offer: Offer) -> (u32, u32, u32, Vec<u8>) {
        let mut out = Vec::new();
        Agreement::reach(wanted, offer).expect("a version we speak").write(wanted, &mut out);
        let (length, packet) = out.split_first_chunk::<4>().expect("a length");
        assert_eq!(u32::from_be_bytes(*length) as usize, packet.len());
        assert_eq!(packet[0], b'O');
        let word =
            |number: usize| u32::from_be_bytes(packet[1 + 4 * number..5 + 4 * number].try_into().expect("four octets"));
        (word(0), word(1), word(2), packet[13..].to_vec())
    }

    #[test]
    fn only_the_actions_the_configuration_uses_are_asked_for() {
        for (wanted, want) in [
            (PLAIN, 0x108),
            (Wanted { change_sender: true, ..PLAIN }, 0x148),
            (Wanted { change_headers: true, ..PLAIN }, 0x119),
            (Wanted { add_recipients: true, ..PLAIN }, 0x18c),
            (Wanted { answer_recipients: true, ..PLAIN }, 0x108),
        ] {
            assert_eq!(answer(wanted, POSTFIX).1, want, "{wanted:?}");
        }
    }

    #[test]
    fn every_reply_is_waived_but_those_to_the_body_and_to_recipients_that_may_be_refused() {
        let agreed = |wanted| Agreement::reach(wanted, POSTFIX).expect("version 6");
        let (plain, refusing) = (agreed(PLAIN), agreed(Wanted { answer_recipients: true, ..PLAIN }));
        for (packet, want) in [
            (&b"Ch\0U"[..], [false, false]),
            (b"Hh\0", [false, false]),
            (b"M<>\0", [false, false]),
            (b"R<a@b>\0", [false, true]),
            (b"T", [false, false]),
            (b"LA\0 b\0", [false, false]),
            (b"N", [false, false]),
            (b"Btext", [true, true]),
            (b"E", [true, true]),
            (b"UFOO\0", [false, false]),
            (b"A", [false, false]),
            (b"Q", [false, false]),
            (b"K", [false, false]),
            (b"DM", [false, false]),
        ] {
            let command = Command::read(packet).expect("a command");
            assert_eq!([plain, refusing].map(|agreed| agreed.is_answered(&command)), want, "{command:?}");
        }
        assert_eq!([plain, refusing].map(|agreed| agreed.may_refuse_recipients()), [false, true]);
    }

    #[test]
    fn helo_unknown_commands_data_and_end_of_header_are_declined() {
        let (_, _, asked, _) = answer(PLAIN, POSTFIX);
        assert_eq!(asked & 0x37f, 0x002 | 0x100 | 0x200 | 0x040);
        let (_, _, asked, _) = answer(Wanted { helo: true, ..PLAIN }, POSTFIX);
        assert_eq!(asked & 0x237f, 0x2000 | 0x100 | 0x200 | 0x040, "told, and not answered");
    }

    #[test]
    fn nothing_is_asked_for_that_was_not_offered() {
        let all = Wanted { change_sender: true, change_headers: true, add_recipients: true, ..PLAIN };
        for bit in 0..32 {
            let offer = Offer { version: 6, actions: 1 << bit, protocol: 1 << bit };
            let (_, actions, protocol, _) = answer(all, offer);
            assert_eq!((actions & !offer.actions, protocol & !offer.protocol), (0, 0), "bit {bit}");
        }
    }

    #[test]
    fn the_version_is_the_lower_of_both() {
        for (offered, want) in [(0, None), (1, None), (2, Some(2)), (5, Some(5)), (6, Some(6)), (7, Some(6))] {
            let agreed = Agreement::reach(PLAIN, Offer { version: offered, ..POSTFIX });
            assert_eq!(agreed.map(|agreed| agreed.version), want, "version {offered}");
        }
    }

    #[test]
    fn an_old_mta_is_answered_everything_and_never_told_to_skip() {
        let offer = Offer { version: 2, actions: 0x3f, protocol: 0x7f };
        let agreed = Agreement::reach(Wanted { change_sender: true, ..PLAIN }, offer).expect("version 2");
        for packet in [&b"Ch\0U"[..], b"M<>\0", b"R<a@b>\0", b"LA\0 b\0", b"Btext", b"E"] {
            let command = Command::read(packet).expect("a command");
            assert!(agreed.is_answered(&command), "{command:?}");
        }
        assert!(!agreed.may_skip());
        assert_eq!(agreed.leading_blank(), LeadingBlank::Theirs);
        assert!(agreed.allows(&Edit::DeleteRecipient(Vec::new())));
        assert!(!agreed.allows(&Edit::ChangeSender(Vec::new(), None)));
        assert_eq!(answer(PLAIN, offer), (2, 0x08, 0x42, Vec::new()));
    }

    #[test]
    fn a_recipient_is_deleted_to_be_added_again_only_where_both_were_agreed() {
        let wanted = Wanted { add_recipients: true, ..PLAIN };
        let again = Edit::ReaddRecipient(Vec::new(), Vec::new());
        for (actions, want) in [(0x1ff, true), (0x1ff & !0x80, false), (0x1ff & !0x08, false), (0x3f, false)] {
            let agreed = Agreement::reach(wanted, Offer { actions, ..POSTFIX }).expect("version 6");
            assert_eq!(agreed.allows(&again), want, "offered {actions:#x}");
        }
        assert!(!Agreement::reach(PLAIN, POSTFIX).expect("version 6").allows(&again), "not wanted");
    }

    #[test]
    fn a_list_of_variables_is_set_for_every_stage() {
        let (.., lists) = answer(PLAIN, POSTFIX);
        let want = b"\0\0\0\0j\0\0\0\0\x01{none}\0\0\0\0\x02i {auth_authen} {mail_mailer}\0\
            \0\0\0\x03{rcpt_addr} {rcpt_mailer}\0\0\0\0\x04i\0\0\0\0\x05{none}\0\0\0\0\x06{none}\0";
        assert_eq!(lists.escape_ascii().to_string(), want.escape_ascii().to_string());
        let (.., lists) = answer(Wanted { answer_recipients: true, ..PLAIN }, POSTFIX);
        let lists = String::from_utf8(lists).expect("ASCII");
        assert!(lists.contains("\x03i {rcpt_addr} {rcpt_mailer}\0"), "{lists:?}");
        let (.., lists) = answer(PLAIN, Offer { actions: 0xff, ..POSTFIX });
        assert_eq!(lists, b"");
    }
}
