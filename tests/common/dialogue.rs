//! Dialogues between Postfix and the milter as text files, read and played.
//!
//! ```text
//! # What the dialogue shows, in a sentence.
//! given config [outbound] action = "reject"     a line of backstop.toml
//! given suppressed joe@out.test                 in the store, for all mail; or `... for list-id`
//! given sent id@in.test to joe@out.test         in the ledger
//! given cleanup                                 cleanup(8) speaks; else smtpd(8)
//! given offer 2 3f 7f                           version, actions, protocol; else what Postfix 3.7 offers
//!
//! > CONNECT client.test 127.0.0.1 40000         what the MTA says; see `Event`
//! > MAIL <news@in.test> SIZE=100 {auth_authen}=joe
//! > CONTENT                                     a whole header and body, from the lines behind a bar
//!     | List-ID: <list.in.test>
//!     |
//!     | text
//! < skip                                        every answer the MTA waits for, in order
//! > END
//! < delrcpt <joe@out.test>
//! < continue
//! = joe@out.test bounced                        the contact's state by now
//! ```
//!
//! Macros are told as Postfix tells them; a word like `{rcpt_mailer}=virtual` or `i=4XyZ` says otherwise for
//! one event. `...` at the end of an expected answer stands for any more text.

use crate::mta::{Answer, Mta, Offer, Origin, POSTFIX};
use std::io::{self, Read, Write};

/// A dialogue.
#[derive(Debug)]
pub struct Dialogue {
    /// What the configuration file holds.
    pub config: String,
    /// Addresses suppressed at the start, and the list it holds for.
    pub suppressed: Vec<(String, Option<String>)>,
    /// What the ledger knows at the start: Message-ID and recipient.
    pub sent: Vec<(String, String)>,
    offer: Offer,
    origin: Origin,
    lines: Vec<(usize, Line)>,
}

#[derive(Debug)]
enum Line {
    Says(Event),
    Hears(String),
    State(String, String),
}

/// What the MTA says.
#[derive(Debug)]
enum Event {
    /// `CONNECT host address port`, or `CONNECT host` for an unknown address family.
    Connect(Vec<u8>),
    /// `HELO name`, `UNKNOWN verb`.
    Word(u8, String),
    /// `MAIL argument words`, without an argument for the null reverse path of cleanup(8); `RCPT argument words`.
    Path { is_mail: bool, argument: String, parameters: Vec<String>, macros: Vec<(String, String)> },
    /// `DATA`, `EOH`.
    Plain(u8),
    /// `HEADER Name: value`, `\n` within the value for a fold.
    Header(Vec<u8>, Vec<u8>),
    /// `BODY text` with `\r\n` and the like, or `BODY x*200000` for a long one.
    Body(Vec<u8>),
    /// `CONTENT` and the lines behind it: `HEADER`s, `EOH`, `BODY`.
    Content(String),
    /// `END`
    End,
    /// `ABORT`, `QUIT`, `QUIT_NC`, which nobody answers.
    Last(u8),
    /// `PACKET octets`: a packet as it stands, sound or not.
    Packet(Vec<u8>),
    /// `OCTETS octets`: no packet even.
    Octets(Vec<u8>),
}

impl Dialogue {
    /// Reads a dialogue; the error names the line.
    pub fn read(text: &str) -> Result<Dialogue, String> {
        let mut dialogue = Dialogue {
            config: String::new(),
            suppressed: Vec::new(),
            sent: Vec::new(),
            offer: POSTFIX,
            origin: Origin::Smtp,
            lines: Vec::new(),
        };
        for (number, line) in (1..).zip(text.lines()) {
            let problem = || format!("line {number}: {line:?} is no line of a dialogue");
            let words = line.trim_start();
            if let Some(content) = words.strip_prefix('|') {
                let Some((_, Line::Says(Event::Content(text)))) = dialogue.lines.last_mut() else {
                    return Err(problem());
                };
                text.push_str(content.strip_prefix(' ').unwrap_or(content));
                text.push_str("\r\n");
                continue;
            }
            let (mark, rest) = words.split_once(' ').unwrap_or((words, ""));
            let rest = rest.trim();
            let entry = match mark {
                "" => continue,
                _ if mark.starts_with('#') => continue,
                "given" => {
                    dialogue.given(rest).ok_or_else(problem)?;
                    continue;
                }
                ">" => Line::Says(read_event(rest).ok_or_else(problem)?),
                "<" => Line::Hears(rest.to_owned()),
                "=" => {
                    let (address, state) = rest.rsplit_once(' ').ok_or_else(problem)?;
                    Line::State(address.to_owned(), state.to_owned())
                }
                _ => return Err(problem()),
            };
            dialogue.lines.push((number, entry));
        }
        Ok(dialogue)
    }

    fn given(&mut self, text: &str) -> Option<()> {
        let (what, rest) = text.split_once(' ').unwrap_or((text, ""));
        match what {
            "config" => self.config.extend([rest, "\n"]),
            "suppressed" => self.suppressed.push(match rest.split_once(" for ") {
                Some((address, list)) => (address.to_owned(), Some(list.to_owned())),
                None => (rest.to_owned(), None),
            }),
            "sent" => self.sent.push(rest.split_once(" to ").map(|(id, to)| (id.to_owned(), to.to_owned()))?),
            "cleanup" => self.origin = Origin::Cleanup,
            "offer" => {
                let numbers: Option<Vec<u32>> =
                    rest.split(' ').map(|number| u32::from_str_radix(number, 16).ok()).collect();
                let &[version, actions, protocol] = numbers?.as_slice() else { return None };
                self.offer = Offer { version, actions, protocol };
            }
            _ => return None,
        }
        Some(())
    }

    /// Plays the MTA's part over a connection, and asks `state` for contacts' states. Returns every octet sent.
    ///
    /// The error names the line where it went otherwise than written.
    pub fn play(&self, stream: impl Read + Write, mut state: impl FnMut(&str) -> String) -> Result<Vec<u8>, String> {
        let mut mta = Mta::new(stream, self.origin);
        mta.negotiate(self.offer).map_err(|problem| format!("at the negotiation: {problem}"))?;
        let mut heard: Vec<String> = Vec::new();
        let mut is_closed = false;
        let mut lines = self.lines.iter().peekable();
        while let Some((number, line)) = lines.next() {
            let at = |problem: &dyn std::fmt::Display| format!("line {number}: {problem}");
            match line {
                Line::Says(event) => {
                    if !heard.is_empty() {
                        return Err(at(&format_args!("{heard:?} was answered before, and is not written")));
                    }
                    let is_answered = matches!(lines.peek(), Some((_, Line::Hears(_))));
                    let answers = match say(&mut mta, event, is_answered) {
                        Err(closed) if closed.kind() == io::ErrorKind::UnexpectedEof => None,
                        answers => answers.map_err(|problem| at(&problem))?,
                    };
                    is_closed |= answers.is_none();
                    heard = answers.map_or(vec!["closed".to_owned()], |answers| answers.iter().map(render).collect());
                }
                Line::Hears(want) => {
                    let got = if heard.is_empty() { "nothing".to_owned() } else { heard.remove(0) };
                    let is_as_written = match want.strip_suffix("...") {
                        Some(start) => got.starts_with(start),
                        None => got == *want,
                    };
                    if !is_as_written {
                        return Err(at(&format_args!("answered {got:?}, not {want:?}")));
                    }
                }
                Line::State(address, want) => {
                    let got = state(address);
                    if got != *want {
                        return Err(at(&format_args!("{address} is {got}, not {want}")));
                    }
                }
            }
        }
        if !heard.is_empty() {
            return Err(format!("at the end: {heard:?} is not written"));
        }
        // What nobody asked for would be taken as the answer to the next event. After good-bye, only the end may come.
        if !is_closed && let Some(answer) = mta.answer().map_err(|problem| format!("at the end: {problem}"))? {
            return Err(format!("at the end: {} was sent to nobody", render(&answer)));
        }
        Ok(mta.sent)
    }

    /// Whether the MTA says good-bye, or what makes the milter say it.
    pub fn has_an_end(&self) -> bool {
        self.lines.iter().any(|(_, line)| match line {
            Line::Says(Event::Last(letter)) => *letter == b'Q',
            Line::Hears(answer) => answer == "closed",
            _ => false,
        })
    }
}

/// Says one thing; `None` if the milter closed.
fn say(mta: &mut Mta<impl Read + Write>, event: &Event, is_answered: bool) -> io::Result<Option<Vec<Answer>>> {
    let one = |answer: Option<Answer>| answer.into_iter().collect::<Vec<_>>();
    Ok(Some(match event {
        Event::Connect(data) => one(mta.event(b'C', data)?),
        Event::Word(letter, word) => one(mta.event(*letter, format!("{word}\0").as_bytes())?),
        Event::Path { is_mail, argument, parameters, macros } => {
            mta.instead.extend(macros.iter().cloned());
            let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
            one(if *is_mail { mta.mail(argument, &parameters)? } else { mta.rcpt(argument, &parameters)? })
        }
        Event::Plain(letter) => one(mta.event(*letter, b"")?),
        Event::Header(name, value) => one(mta.header(name, value)?),
        Event::Body(body) => mta.body(body)?,
        Event::Content(text) => {
            let (header, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
            let mut answers = Vec::new();
            // Postfix tells a folded field with bare LFs.
            for field in header.replace("\r\n ", "\n ").replace("\r\n\t", "\n\t").split("\r\n") {
                let (name, value) = field.split_once(':').ok_or_else(|| io::Error::other("a field without colon"))?;
                answers.extend(mta.header(name.as_bytes(), value.as_bytes())?);
            }
            answers.extend(mta.event(b'N', b"")?);
            answers.extend(mta.body(body.as_bytes())?);
            answers
        }
        Event::End => mta.end_of_message()?,
        Event::Last(letter) => {
            mta.packet(*letter, b"");
            mta.flush()?;
            Vec::new()
        }
        Event::Packet(packet) => {
            let (letter, data) = packet.split_first().ok_or_else(|| io::Error::other("an empty packet"))?;
            mta.packet(*letter, data);
            return unsound(mta, is_answered);
        }
        Event::Octets(octets) => {
            mta.octets(octets);
            return unsound(mta, is_answered);
        }
    }))
}

/// After what no MTA says: one answer, or the end, where the dialogue has one.
fn unsound(mta: &mut Mta<impl Read + Write>, is_answered: bool) -> io::Result<Option<Vec<Answer>>> {
    if !is_answered {
        mta.flush()?;
        return Ok(Some(Vec::new()));
    }
    Ok(mta.answer()?.map(|answer| vec![answer]))
}

fn read_event(text: &str) -> Option<Event> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match verb {
        "CONNECT" => {
            let words: Vec<&str> = rest.split(' ').collect();
            match words.as_slice() {
                [host] => Event::Connect(format!("{host}\0U").into()),
                [host, address, port] => {
                    let family = if address.contains(':') { '6' } else { '4' };
                    let port: u16 = port.parse().ok()?;
                    let mut data = format!("{host}\0{family}").into_bytes();
                    data.extend_from_slice(&port.to_be_bytes());
                    data.extend_from_slice(format!("{address}\0").as_bytes());
                    Event::Connect(data)
                }
                _ => return None,
            }
        }
        "HELO" => Event::Word(b'H', rest.to_owned()),
        "UNKNOWN" => Event::Word(b'U', rest.to_owned()),
        "MAIL" | "RCPT" => {
            let (argument, words) = split_path(rest);
            let (macros, parameters): (Vec<&str>, Vec<&str>) =
                words.split_whitespace().partition(|word| is_macro(word));
            let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            Event::Path {
                is_mail: verb == "MAIL",
                argument: argument.to_owned(),
                parameters: parameters.into_iter().map(str::to_owned).collect(),
                macros: macros.into_iter().filter_map(pair).collect(),
            }
        }
        "DATA" => Event::Plain(b'T'),
        "EOH" => Event::Plain(b'N'),
        "HEADER" => {
            let (name, value) = rest.split_once(':')?;
            Event::Header(unescape(name)?, unescape(value)?)
        }
        "BODY" => match rest.split_once('*').map(|(text, times)| (text, times.parse::<usize>())) {
            Some((text, Ok(times))) => Event::Body(unescape(text)?.repeat(times)),
            _ => Event::Body(unescape(rest)?),
        },
        "CONTENT" => Event::Content(String::new()),
        "END" => Event::End,
        "ABORT" => Event::Last(b'A'),
        "QUIT" => Event::Last(b'Q'),
        "QUIT_NC" => Event::Last(b'K'),
        "PACKET" => Event::Packet(unescape(rest)?),
        "OCTETS" => Event::Octets(unescape(rest)?),
        _ => return None,
    })
}

/// A path, which may hold blanks between quotes or brackets, and the words behind it.
fn split_path(text: &str) -> (&str, &str) {
    let (mut is_quoted, mut is_bracketed) = (false, false);
    for (place, letter) in text.char_indices() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '<' if !is_quoted => is_bracketed = true,
            '>' if !is_quoted => is_bracketed = false,
            ' ' if !is_quoted && !is_bracketed => return (&text[..place], &text[place + 1..]),
            _ => {}
        }
    }
    (text, "")
}

/// ESMTP keywords are longer than one letter and never in braces.
fn is_macro(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.len() == 1 || name.starts_with('{'))
}

/// `\r`, `\n`, `\t`, `\0`, `\\` and `\x1f`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((octet, after)) = rest.split_first() {
        rest = after;
        if *octet != b'\\' {
            octets.push(*octet);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        octets.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(octets)
}

/// An answer in words: its name, and its strings with blanks between.
fn render(answer: &Answer) -> String {
    let (letter, data) = answer;
    let name = match letter {
        b'c' => "continue",
        b'a' => "accept",
        b'r' => "reject",
        b't' => "tempfail",
        b'd' => "discard",
        b's' => "skip",
        b'p' => "progress",
        b'y' => "reply",
        b'+' => "addrcpt",
        b'2' => "addrcpt_par",
        b'-' => "delrcpt",
        b'e' => "chgfrom",
        b'h' => "addheader",
        b'i' => "insheader",
        b'm' => "chgheader",
        b'q' => "quarantine",
        other => return format!("0x{other:02x} {}", data.escape_ascii()),
    };
    let (number, strings) = match (letter, data.split_first_chunk::<4>()) {
        (b'i' | b'm', Some((number, strings))) => (format!(" {}", u32::from_be_bytes(*number)), strings),
        _ => (String::new(), data.as_slice()),
    };
    let Some(strings) = strings.strip_suffix(b"\0") else {
        return if data.is_empty() { name.to_owned() } else { format!("{name} without its NUL") };
    };
    let words = String::from_utf8_lossy(strings).replace('\0', " ").replace("\r\n", "\\r\\n");
    format!("{name}{number} {words}").trim_end().to_owned()
}
