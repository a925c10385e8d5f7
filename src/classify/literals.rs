//! Finds, for a pattern, a small set of words of which any text that matches must hold one. The rule set
//! looks for all these words in one pass and tries a pattern only where one of its words was seen.

use regex_syntax::hir::{Hir, HirKind};

/// Words of which a match must hold one; `None` where no word is needed.
pub(super) type Words = Option<Vec<Vec<u8>>>;

/// Words for a pattern, as written in it, of at least one octet each.
///
/// # Errors
/// A one-line problem, for a pattern that cannot be read.
pub(super) fn required(pattern: &str) -> Result<Words, String> {
    let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
    match parser.parse(pattern) {
        Ok(hir) => Ok(of(&hir)),
        Err(regex_syntax::Error::Parse(error)) => Err(error.kind().to_string()),
        Err(regex_syntax::Error::Translate(error)) => Err(error.kind().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn of(hir: &Hir) -> Words {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_vec()]),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Concat(pieces) => pieces.iter().filter_map(of).max_by_key(|words| worth(words)),
        HirKind::Alternation(arms) => {
            let words: Option<Vec<_>> = arms.iter().map(of).collect();
            words.map(|words| words.concat())
        }
        HirKind::Empty | HirKind::Class(_) | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// Long words are rare words, and words of less than five octets are everywhere; but each further word is one more
/// to come across, so twice as many must be longer.
fn worth(words: &[Vec<u8>]) -> (usize, usize, std::cmp::Reverse<usize>) {
    let shortest = words.iter().map(Vec::len).min().unwrap_or_default();
    let doublings = words.len().max(1).ilog2() as usize;
    (shortest.min(5), shortest.saturating_sub(doublings), std::cmp::Reverse(words.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_match_holds_one_of_the_words() {
        for (pattern, want) in [
            ("user unknown", Some(vec!["user unknown"])),
            ("(?:user|mailbox) unknown", Some(vec![" unknown"])),
            ("no such (?:user|mailbox)", Some(vec!["no such "])),
            ("user unknown|unknown user", Some(vec!["user unknown", "unknown user"])),
            ("(?:is )?full", Some(vec!["full"])),
            (r"quota\b.*\bexceeded", Some(vec!["exceeded"])),
            ("^5[0-9][0-9] .*(over|exceed)s? quota$", Some(vec![" quota"])),
            ("a+b", Some(vec!["b"])),
            ("sender (?:invalid|unknown|refused|blocked)", Some(vec!["sender "])),
            ("full|.*", None), // any text matches
            (r"\d+", None),
        ] {
            let words = required(pattern).unwrap();
            let words = words.map(|words| words.iter().map(|w| String::from_utf8(w.clone()).unwrap()).collect());
            assert_eq!(words, want.map(|words| words.into_iter().map(str::to_owned).collect::<Vec<_>>()), "{pattern}");
        }
        assert!(required("user (unknown").is_err());
    }
}
