//! What the subject of an automatic reply says, in the languages that most mail is written in.

mod words;

use words::{ABSENT, AUTOMATIC, BOUNCE, CONFIRMATION, OF_ANOTHER, PERHAPS, REPLY};

/// What a subject says of how it was written. What it proves depends on the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// That a program replies: `Automatic reply: Spring sale`. Nobody writes so.
    Automatic,
    /// That the writer is not at work: `Out of office`. Programs write so, and people.
    Absent,
    /// That somebody is not at work, as no one says of himself: `Joe User is out of the office`.
    AbsentOfAnother,
    /// What is said at such times, but also otherwise: `Vacation`, `Thank you for your message`; and that the
    /// message waits for its sender: `Please confirm your message`.
    Perhaps,
}

/// Divide what an automatic reply calls itself from the subject it answers.
const ENDS: [char; 12] = [':', '：', '-', '–', '—', '(', '[', '!', '.', '"', '„', '«'];

/// What a subject says, encoded words undone.
pub fn says(subject: &str) -> Option<Says> {
    let subject = plain(subject);
    let rest = |words: &str| untagged(&subject).strip_prefix(words);
    // One word may be the front of another that means something else; two hardly are.
    let begins = |words: &&&str| rest(words).is_some_and(|rest| words.contains([' ', ':']) || !continues(rest));
    let holds = |words: &&&str| subject.contains(**words);
    let stands_alone =
        |words: &&&str| rest(words).is_some_and(|rest| rest.trim_start().starts_with(ENDS) || rest.is_empty());
    if AUTOMATIC.iter().any(|words| stands_alone(&words)) {
        Some(Says::Automatic)
    } else if OF_ANOTHER.iter().any(|words| holds(&words)) {
        Some(Says::AbsentOfAnother)
    } else if ABSENT.iter().chain(AUTOMATIC).any(|words| begins(&words)) {
        Some(Says::Absent)
    } else if PERHAPS.iter().any(|words| begins(&words)) || CONFIRMATION.iter().any(|words| holds(&words)) {
        Some(Says::Perhaps)
    } else {
        None
    }
}

/// Whether a mail program says that this is an answer, or passed on: `Re:`, `AW:`, `Re[2]:`.
pub fn is_reply(subject: &str) -> bool {
    let subject = plain(subject);
    let Some((word, _)) = untagged(&subject).split_once([':', '：']) else { return false };
    let word = word.split('[').next().unwrap_or_default().trim();
    REPLY.contains(&word)
}

/// Whether it is the subject of a bounce.
pub fn is_of_a_bounce(subject: &str) -> bool {
    let subject = plain(subject);
    BOUNCE.iter().any(|words| subject.contains(words))
}

/// Small letters, straight apostrophes, single blanks.
fn plain(subject: &str) -> String {
    let words: Vec<String> = subject.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ").replace(['’', '`', '´'], "'")
}

/// Without what filters put in front: `[external] `.
fn untagged(subject: &str) -> &str {
    match subject.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((tag, rest)) if tag.len() <= 20 => rest.trim_start(),
        _ => subject,
    }
}

/// Whether the word goes on. Scripts without blanks between words tell no word's end.
fn continues(rest: &str) -> bool {
    rest.chars().next().is_some_and(|c| c.is_alphanumeric() && c < '\u{2e80}')
}

#[cfg(test)]
mod tests;
