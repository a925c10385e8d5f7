//! What the MTA says: one packet read as one command, borrowing from it.
//!
//! In: a packet as `packet` cuts it. Out: a [`Command`] for `session`. Strings are ended by a NUL; one that
//! is not, or a number cut short, is an error, because what follows it cannot be trusted either.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the MTA offers at the start (`SMFIC_OPTNEG`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its protocol version.
    pub version: u32,
    /// Changes it can carry out, a mask of [`super::negotiation::actions`].
    pub actions: u32,
    /// What it can leave out, a mask of [`super::negotiation::protocol`].
    pub protocol: u32,
}

/// Strings one after the other, each ended by a NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strings<'a>(&'a [u8]);

/// One command, borrowing from the packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `O`: the negotiation.
    Negotiate(Offer),
    /// `D`: variables for the command whose octet is given, names and values in turn.
    Macros(u8, Strings<'a>),
    /// `C`: an SMTP client connected, or a message begins that did not come by SMTP.
    Connect {
        /// Host name, or the address in square brackets.
        host: &'a [u8],
        /// Address; `None` for a Unix socket, an unknown family, or what cannot be read.
        address: Option<IpAddr>,
        /// Port; 0 where there is none.
        port: u16,
    },
    /// `H`: HELO or EHLO.
    Helo(&'a [u8]),
    /// `M`: MAIL, its argument and ESMTP arguments.
    Mail(&'a [u8], Strings<'a>),
    /// `R`: RCPT, its argument and ESMTP arguments.
    Rcpt(&'a [u8], Strings<'a>),
    /// `T`: DATA.
    Data,
    /// `L`: a header field, name and value.
    Header(&'a [u8], &'a [u8]),
    /// `N`: the header is complete.
    EndOfHeader,
    /// `B`: a piece of the body.
    Body(&'a [u8]),
    /// `E`: the message is complete; may bring a last piece of the body.
    EndOfMessage(&'a [u8]),
    /// `A`: the message in hand is given up, or was over already.
    Abort,
    /// `Q`: good-bye.
    Quit,
    /// `K`: good-bye to this client; another follows on the same connection.
    QuitNewConnection,
    /// `U`: an SMTP command the MTA does not know.
    Unknown(&'a [u8]),
}

/// Why a packet cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No command octet at all.
    #[error("a packet without a command")]
    Empty,
    /// A command octet that is none.
    #[error("unknown command 0x{0:02x}")]
    UnknownLetter(u8),
    /// The data ends too soon, or a string lacks its NUL.
    #[error("{command} cut short: {missing} is not complete")]
    CutShort {
        /// The command.
        command: &'static str,
        /// What is not complete.
        missing: &'static str,
    },
}

impl<'a> Command<'a> {
    /// Reads a packet, its command octet first.
    ///
    /// # Errors
    /// [`CommandError`] when the packet is none the protocol knows.
    pub fn read(packet: &'a [u8]) -> Result<Command<'a>, CommandError> {
        let (&letter, data) = packet.split_first().ok_or(CommandError::Empty)?;
        Ok(match letter {
            b'O' => Command::Negotiate(read_offer(data)?),
            b'D' => read_macros(data)?,
            b'C' => read_connect(data)?,
            b'H' => Command::Helo(whole_string(data, "HELO", "its argument")?),
            b'M' => {
                let (argument, parameters) = read_path(data, "MAIL")?;
                Command::Mail(argument, parameters)
            }
            b'R' => {
                let (argument, parameters) = read_path(data, "RCPT")?;
                Command::Rcpt(argument, parameters)
            }
            b'T' => Command::Data,
            b'L' => {
                let (name, value) = first_string(data, "header", "the field name")?;
                Command::Header(name, whole_string(value, "header", "the field value")?)
            }
            b'N' => Command::EndOfHeader,
            b'B' => Command::Body(data),
            b'E' => Command::EndOfMessage(data),
            b'A' => Command::Abort,
            b'Q' => Command::Quit,
            b'K' => Command::QuitNewConnection,
            b'U' => Command::Unknown(whole_string(data, "unknown command", "its text")?),
            other => return Err(CommandError::UnknownLetter(other)),
        })
    }

    /// Its name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Negotiate(_) => "negotiation",
            Command::Macros(..) => "macros",
            Command::Connect { .. } => "connect",
            Command::Helo(_) => "HELO",
            Command::Mail(..) => "MAIL",
            Command::Rcpt(..) => "RCPT",
            Command::Data => "DATA",
            Command::Header(..) => "header",
            Command::EndOfHeader => "end of header",
            Command::Body(_) => "body",
            Command::EndOfMessage(_) => "end of message",
            Command::Abort => "abort",
            Command::Quit => "quit",
            Command::QuitNewConnection => "quit, new connection",
            Command::Unknown(_) => "unknown command",
        }
    }
}

impl<'a> Strings<'a> {
    /// The strings, without their NULs.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let body = self.0.strip_suffix(b"\0");
        body.into_iter().flat_map(|body| body.split(|octet| *octet == 0))
    }
}

fn read_offer(data: &[u8]) -> Result<Offer, CommandError> {
    let cut = CommandError::CutShort { command: "negotiation", missing: "version, actions and protocol" };
    let (words, _) = data.as_chunks::<4>();
    // A later version may tell more behind the three words.
    let &[version, actions, protocol, ..] = words else { return Err(cut) };
    let [version, actions, protocol] = [version, actions, protocol].map(u32::from_be_bytes);
    Ok(Offer { version, actions, protocol })
}

fn read_macros(data: &[u8]) -> Result<Command<'_>, CommandError> {
    let cut = |missing| CommandError::CutShort { command: "macros", missing };
    let (&stage, definitions) = data.split_first().ok_or(cut("the stage"))?;
    if definitions.last().is_some_and(|last| *last != 0) {
        return Err(cut("the last string"));
    }
    if !definitions.iter().filter(|octet| **octet == 0).count().is_multiple_of(2) {
        return Err(cut("the value of the last name"));
    }
    Ok(Command::Macros(stage, Strings(definitions)))
}

fn read_connect(data: &[u8]) -> Result<Command<'_>, CommandError> {
    let cut = |missing| CommandError::CutShort { command: "connect", missing };
    let (host, rest) = first_string(data, "connect", "the host name")?;
    let (&family, rest) = rest.split_first().ok_or(cut("the address family"))?;
    if family == b'U' {
        return Ok(Command::Connect { host, address: None, port: 0 });
    }
    let (port, address) = rest.split_first_chunk::<2>().ok_or(cut("the port"))?;
    let address = std::str::from_utf8(whole_string(address, "connect", "the address")?).unwrap_or_default();
    let address = match family {
        b'4' => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        // Sendmail writes the address as in a literal, Postfix bare.
        b'6' => address.strip_prefix("IPv6:").unwrap_or(address).parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    Ok(Command::Connect { host, address, port: u16::from_be_bytes(*port) })
}

fn read_path<'a>(data: &'a [u8], command: &'static str) -> Result<(&'a [u8], Strings<'a>), CommandError> {
    let (argument, parameters) = first_string(data, command, "its argument")?;
    if parameters.last().is_some_and(|last| *last != 0) {
        return Err(CommandError::CutShort { command, missing: "the last ESMTP argument" });
    }
    Ok((argument, Strings(parameters)))
}

/// A string up to its NUL, and what follows.
fn first_string<'a>(
    data: &'a [u8],
    command: &'static str,
    missing: &'static str,
) -> Result<(&'a [u8], &'a [u8]), CommandError> {
    let end = data.iter().position(|octet| *octet == 0).ok_or(CommandError::CutShort { command, missing })?;
    Ok((&data[..end], &data[end + 1..]))
}

/// A string that is all there is, up to the NUL at the very end.
fn whole_string<'a>(data: &'a [u8], command: &'static str, missing: &'static str) -> Result<&'a [u8], CommandError> {
    data.strip_suffix(b"\0").ok_or(CommandError::CutShort { command, missing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_postfix_sends_is_read() {
        let v4 = |text: &str| text.parse().ok();
        for (packet, want) in [
            (
                &b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"[..],
                Command::Negotiate(Offer { version: 6, actions: 0x1ff, protocol: 0x1fffff }),
            ),
            (b"DC", Command::Macros(b'C', Strings(b""))),
            (b"DMi\x004XyZ\0", Command::Macros(b'M', Strings(b"i\x004XyZ\0"))),
            (b"Chost\x004\x01\x02127.0.0.1\0", Command::Connect { host: b"host", address: v4("127.0.0.1"), port: 258 }),
            (b"Ch\x006\0\0::1\0", Command::Connect { host: b"h", address: v4("::1"), port: 0 }),
            (b"Ch\x006\0\0IPv6:2001:db8::1\0", Command::Connect { host: b"h", address: v4("2001:db8::1"), port: 0 }),
            (b"Ch\x004\0\0nonsense\0", Command::Connect { host: b"h", address: None, port: 0 }),
            (b"Ch\0L\0\0/run/socket\0", Command::Connect { host: b"h", address: None, port: 0 }),
            (b"C[unknown]\0U", Command::Connect { host: b"[unknown]", address: None, port: 0 }),
            (b"Hclient.test\0", Command::Helo(b"client.test")),
            (b"M<a@b>\0", Command::Mail(b"<a@b>", Strings(b""))),
            (b"M\0", Command::Mail(b"", Strings(b""))),
            (b"M<>\0SIZE=5\0XVERP=+=\0", Command::Mail(b"<>", Strings(b"SIZE=5\0XVERP=+=\0"))),
            (b"R<a@b>\0NOTIFY=NEVER\0", Command::Rcpt(b"<a@b>", Strings(b"NOTIFY=NEVER\0"))),
            (b"T", Command::Data),
            (b"LSubject\0 hello\0", Command::Header(b"Subject", b" hello")),
            (b"LEmpty\0\0", Command::Header(b"Empty", b"")),
            (b"LOdd\0 a\0b\0", Command::Header(b"Odd", b" a\0b")), // a NUL within the value is part of it
            (b"N", Command::EndOfHeader),
            (b"Btext\r\n", Command::Body(b"text\r\n")),
            (b"E", Command::EndOfMessage(b"")),
            (b"Elast", Command::EndOfMessage(b"last")),
            (b"A", Command::Abort),
            (b"Q", Command::Quit),
            (b"K", Command::QuitNewConnection),
            (b"UFOO\0", Command::Unknown(b"FOO")),
        ] {
            assert_eq!(Command::read(packet), Ok(want), "{}", packet.escape_ascii());
        }
    }

    #[test]
    fn strings_come_without_their_nuls() {
        for (strings, want) in [
            (&b""[..], &[][..]),
            (b"\0", &[&b""[..]]),
            (b"a\0", &[b"a"]),
            (b"a\0\0", &[b"a", b""]),
            (b"SIZE=5\0BODY=8BITMIME\0", &[b"SIZE=5", b"BODY=8BITMIME"]),
        ] {
            assert_eq!(Strings(strings).iter().collect::<Vec<_>>(), want, "{}", strings.escape_ascii());
        }
    }

    #[test]
    fn a_string_without_its_nul_is_an_error() {
        for packet in [
            &b"H"[..],
            b"Hname",
            b"M",
            b"M<a@b>",
            b"M<a@b>\0SIZE=5",
            b"R<a@b>",
            b"R<a@b>\0NOTIFY=NEVER",
            b"L",
            b"LSubject",
            b"LSubject\0",
            b"LSubject\0 hello",
            b"UFOO",
            b"C",
            b"Chost",
            b"Chost\0",
            b"Chost\x004",
            b"Chost\x004\0",
            b"Chost\x004\0\x19127.0.0.1",
            b"D",
            b"DMi",
            b"DMi\0",
            b"DMi\0value",
            b"DMi\0value\0j\0",
            b"O",
            b"O\0\0\0\x06\0\0\x01\xff\0\x1f\xff",
        ] {
            let read = Command::read(packet);
            assert!(matches!(read, Err(CommandError::CutShort { .. })), "{}: {read:?}", packet.escape_ascii());
        }
    }

    #[test]
    fn every_other_octet_is_an_unknown_command() {
        assert_eq!(Command::read(b""), Err(CommandError::Empty));
        for letter in (0..=255).filter(|letter| !b"ODCHMRTLNBEAQKU".contains(letter)) {
            assert_eq!(Command::read(&[letter, 0]), Err(CommandError::UnknownLetter(letter)));
        }
    }
}
