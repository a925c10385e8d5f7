//! The MTA's variables.
//!
//! The MTA tells them stage by stage, just before the command of that stage. Telling a stage again, as for
//! every recipient, replaces what was known of it and of every later stage, so the values are a stack: one
//! text, one list of places in it, both reused for every message of a connection.

use super::command::Strings;
use std::ops::Range;

/// Octets of names and values kept at once; what the MTA tells beyond is not kept. Those we ask for come to
/// a few hundred.
const LIMIT: usize = 64 << 10;

/// The command a variable was told for, in the order of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// An SMTP client connected.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// A header field.
    Header,
    /// The header is complete.
    EndOfHeader,
    /// A piece of the body.
    Body,
    /// The message is complete.
    EndOfMessage,
}

/// The values told so far, the newest stage first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Macros {
    text: String,
    told: Vec<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    stage: Stage,
    name: Range<usize>,
    value: Range<usize>,
}

impl Stage {
    /// The stage of a command octet; `None` for those that bring no variables of use (an unknown command).
    pub fn of(command: u8) -> Option<Stage> {
        Some(match command {
            b'C' => Stage::Connect,
            b'H' => Stage::Helo,
            b'M' => Stage::Mail,
            b'R' => Stage::Rcpt,
            b'T' => Stage::Data,
            b'L' => Stage::Header,
            b'N' => Stage::EndOfHeader,
            b'B' => Stage::Body,
            b'E' => Stage::EndOfMessage,
            _ => return None,
        })
    }
}

impl Macros {
    /// The value of a variable by its name as the protocol writes it: `i`, `{rcpt_addr}`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let name = bare(name);
        let told = self.told.iter().rev().find(|told| self.text[told.name.clone()] == *name)?;
        Some(&self.text[told.value.clone()])
    }

    /// Takes the variables of a stage, names and values in turn, in place of what was known of it and of every
    /// later one. Octets that are not UTF-8 are replaced.
    pub fn tell(&mut self, stage: Stage, definitions: Strings<'_>) {
        self.forget_from(stage);
        let mut strings = definitions.iter();
        while let (Some(name), Some(value)) = (strings.next(), strings.next()) {
            if self.text.len() + name.len() + value.len() > LIMIT {
                return;
            }
            let name = self.keep(name, bare);
            let value = self.keep(value, |value| value);
            self.told.push(Told { stage, name, value });
        }
    }

    /// Forgets what was told for a stage and for every later one.
    pub fn forget_from(&mut self, stage: Stage) {
        let kept = self.told.partition_point(|told| told.stage < stage);
        let end = self.told[..kept].last().map_or(0, |told| told.value.end);
        self.told.truncate(kept);
        self.text.truncate(end);
    }

    fn keep(&mut self, octets: &[u8], form: impl FnOnce(&str) -> &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(form(&String::from_utf8_lossy(octets)));
        start..self.text.len()
    }
}

/// A name without its braces; `i` and `{i}` are the same.
fn bare(name: &str) -> &str {
    name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::milter::Command;

    fn tell(macros: &mut Macros, stage: u8, definitions: &[(&str, &str)]) {
        let mut packet = vec![b'D', stage];
        for (name, value) in definitions {
            packet.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        let Ok(Command::Macros(letter, definitions)) = Command::read(&packet) else { panic!("no macros") };
        macros.tell(Stage::of(letter).expect("a stage"), definitions);
    }

    #[test]
    fn a_variable_is_found_by_its_name_with_and_without_braces() {
        let mut macros = Macros::default();
        assert_eq!(macros.get("i"), None);
        tell(&mut macros, b'M', &[("i", "4XyZ"), ("{mail_addr}", "a@b"), ("{empty}", "")]);
        for (name, want) in [
            ("i", Some("4XyZ")),
            ("{i}", Some("4XyZ")),
            ("{mail_addr}", Some("a@b")),
            ("mail_addr", Some("a@b")),
            ("{empty}", Some("")),
            ("{mail_add}", None),
            ("", None),
        ] {
            assert_eq!(macros.get(name), want, "{name}");
        }
    }

    #[test]
    fn the_newest_stage_wins_and_an_older_value_comes_back_when_it_is_forgotten() {
        let mut macros = Macros::default();
        tell(&mut macros, b'C', &[("j", "mx"), ("i", "first")]);
        tell(&mut macros, b'M', &[("i", "second")]);
        tell(&mut macros, b'R', &[("{rcpt_addr}", "one@b")]);
        tell(&mut macros, b'R', &[("{rcpt_addr}", "two@b"), ("i", "third")]);
        assert_eq!((macros.get("{rcpt_addr}"), macros.get("i")), (Some("two@b"), Some("third")));
        tell(&mut macros, b'R', &[]);
        assert_eq!((macros.get("{rcpt_addr}"), macros.get("i")), (None, Some("second")));
        macros.forget_from(Stage::Mail);
        assert_eq!((macros.get("j"), macros.get("i")), (Some("mx"), Some("first")));
        macros.forget_from(Stage::Connect);
        assert_eq!(macros, Macros::default());
    }

    #[test]
    fn telling_a_stage_again_replaces_every_later_one() {
        let mut macros = Macros::default();
        tell(&mut macros, b'M', &[("i", "1")]);
        tell(&mut macros, b'E', &[("i", "2"), ("x", "3")]);
        tell(&mut macros, b'M', &[("i", "4")]);
        assert_eq!((macros.get("i"), macros.get("x")), (Some("4"), None));
    }

    #[test]
    fn octets_that_are_not_utf_8_are_replaced() {
        let mut macros = Macros::default();
        let Ok(Command::Macros(_, strings)) = Command::read(b"DMi\0a\xffb\0j\0k\0") else { panic!("no macros") };
        macros.tell(Stage::Mail, strings);
        assert_eq!((macros.get("i"), macros.get("j")), (Some("a\u{fffd}b"), Some("k")));
    }

    #[test]
    fn what_is_told_beyond_the_limit_is_not_kept() {
        let mut macros = Macros::default();
        let long = "v".repeat(LIMIT - 10);
        tell(&mut macros, b'C', &[("j", &long), ("k", &long), ("l", "short")]);
        assert_eq!((macros.get("j"), macros.get("k"), macros.get("l")), (Some(long.as_str()), None, None));
    }
}
