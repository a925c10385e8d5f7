//! Text and figures as they may stand in the page. All text comes from mail, so all of it is hostile.

use super::super::table::clean;
use serde::Serialize;

/// Text between tags and in quoted attributes: nothing of it is markup, nothing turns the direction of writing.
pub fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// JSON that may stand in a `script` element: neither `</script` nor `<!--` ends or changes it, and it is
/// JavaScript as well, which took U+2028 and U+2029 for line ends once. These characters stand in strings only.
pub fn json<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("strings, numbers and lists of them always serialise");
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", c as u32)),
            c => safe.push(c),
        }
    }
    safe
}

/// A text of at most so many characters, marked where it was cut.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// `98,796`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// What a rate is measured against, in percent.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// To be watched from here on.
    pub watch: f64,
    /// Bad from here on.
    pub bad: f64,
}

/// Providers begin to hold mail back at the first, and refuse it at the second.
pub const COMPLAINTS: Thresholds = Thresholds { watch: 0.1, bad: 0.3 };
/// The same of bounces.
pub const BOUNCES: Thresholds = Thresholds { watch: 2.0, bad: 5.0 };

/// What a rate is, told by a word and a sign; the colour comes on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Below both thresholds.
    Good,
    /// Between them.
    Watch,
    /// Beyond them.
    Bad,
    /// There is nothing to measure against.
    Unknown,
}

impl Verdict {
    /// The verdict on so many of so many. More than all is none: not all that was sent is known.
    pub fn on(part: u64, whole: u64, thresholds: Thresholds) -> Verdict {
        if whole == 0 || part > whole {
            return Verdict::Unknown;
        }
        match part as f64 / whole as f64 * 100.0 {
            percent if percent >= thresholds.bad => Verdict::Bad,
            percent if percent >= thresholds.watch => Verdict::Watch,
            _ => Verdict::Good,
        }
    }

    /// The class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Watch => "watch",
            Verdict::Bad => "bad",
            Verdict::Unknown => "unknown",
        }
    }

    /// The word a person reads.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Good => "Good",
            Verdict::Watch => "Watch",
            Verdict::Bad => "Bad",
            Verdict::Unknown => "Not known",
        }
    }

    /// A sign of another shape for each: round, triangular, eight-sided, empty.
    pub fn sign(self) -> String {
        let drawn = match self {
            Verdict::Good => r#"<circle cx="10" cy="10" r="9"/><path d="M5.5 10.5l3 3 6-7"/>"#,
            Verdict::Watch => r#"<path d="M10 1L19.5 18.5H.5z"/><path d="M10 7v5.5M10 15.2v.6"/>"#,
            Verdict::Bad => r#"<path d="M6 1h8l5 5v8l-5 5H6l-5-5V6z"/><path d="M6.5 6.5l7 7m0-7l-7 7"/>"#,
            Verdict::Unknown => r#"<circle cx="10" cy="10" r="8.5"/><path d="M6 10h8"/>"#,
        };
        format!(r#"<svg class="sign {}" viewBox="0 0 20 20" aria-hidden="true">{drawn}</svg>"#, self.class())
    }
}

/// So many of so many in percent. What is not zero never reads as zero, what is not all never as all, and
/// rounding carries nothing over a threshold.
pub fn percent(part: u64, whole: u64, thresholds: Option<Thresholds>) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    if part == 0 {
        return "0 %".to_owned();
    }
    let exact = part as f64 / whole as f64 * 100.0;
    if exact < 0.0001 {
        return "< 0.0001 %".to_owned();
    }
    let fewest = match exact {
        10.0.. => 1,
        0.1.. => 2,
        0.01.. => 3,
        _ => 4,
    };
    let edges = thresholds.map_or([100.0; 3], |thresholds| [thresholds.watch, thresholds.bad, 100.0]);
    for decimals in fewest..=8 {
        let shown = format!("{exact:.decimals$}");
        let rounded: f64 = shown.parse().unwrap_or(exact);
        if edges.iter().all(|edge| (rounded >= *edge) == (exact >= *edge)) {
            let short = if exact < 0.1 { shown.trim_end_matches('0').trim_end_matches('.') } else { &shown };
            return format!("{short} %");
        }
    }
    format!("{exact} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_text_in_html_and_in_a_script() {
        for (text, in_html, in_json) in [
            ("</script><b>", "&lt;/script&gt;&lt;b&gt;", r#""\u003c/script\u003e\u003cb\u003e""#),
            ("<!--<script", "&lt;!--&lt;script", r#""\u003c!--\u003cscript""#),
            ("a\u{2028}b", "a?b", r#""a\u2028b""#),
            ("'x' \"y\" &lt;", "&#39;x&#39; &quot;y&quot; &amp;lt;", r#""'x' \"y\" \u0026lt;""#),
            ("]]>\0\u{202e}", "]]&gt;??", "\"]]\\u003e\\u0000\u{202e}\""),
        ] {
            assert_eq!(html(text), in_html, "{text:?}");
            assert_eq!(json(&text), in_json, "{text:?}");
            assert_eq!(serde_json::from_str::<String>(&json(&text)).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn a_rate_reads_as_what_it_is() {
        for (part, whole, thresholds, want) in [
            (0, 0, None, "–"),
            (0, 98_796, None, "0 %"),
            (4, 10_000, Some(COMPLAINTS), "0.04 %"),
            (9, 98_796, Some(COMPLAINTS), "0.0091 %"),
            (1, 5_000_000, None, "< 0.0001 %"),
            (355, 98_796, Some(BOUNCES), "0.36 %"),
            (99_999, 100_000_000, Some(COMPLAINTS), "0.099999 %"), // not 0.1 %, which would be to watch
            (19_999, 1_000_000, Some(BOUNCES), "1.9999 %"),
            (2, 100, Some(BOUNCES), "2.00 %"),
            (123, 1000, None, "12.3 %"),
            (99_999, 100_000, None, "99.999 %"),
            (5, 5, None, "100.0 %"),
        ] {
            assert_eq!(percent(part, whole, thresholds), want, "{part} of {whole}");
        }
    }

    #[test]
    fn a_threshold_belongs_to_what_is_beyond_it() {
        for (part, whole, want) in [
            (99_999, 100_000_000, Verdict::Good),
            (1, 1000, Verdict::Watch),
            (3, 1000, Verdict::Bad),
            (0, 0, Verdict::Unknown),
            (3, 2, Verdict::Unknown),
        ] {
            assert_eq!(Verdict::on(part, whole, COMPLAINTS), want, "{part} of {whole}");
        }
    }

    #[test]
    fn long_numbers_are_grouped_and_long_texts_cut() {
        for (number, want) in [(0, "0"), (999, "999"), (1000, "1,000"), (98_796, "98,796"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), want);
        }
        assert_eq!((cut("äöü", 3), cut("äöüß", 3)), ("äöü".to_owned(), "äöü…".to_owned()));
    }
}
