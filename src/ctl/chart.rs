//! Bars, marks and rates for a terminal: as wide as it is, in colour where a person reads, in ASCII where it knows no
//! better.

use super::output::Output;
use super::table::clean;
use crate::admin::wire_reports::Figures;
use std::env;

/// Columns where the terminal does not tell, or there is none.
const WIDTH: usize = 100;
/// A bar is at least so wide, and at most.
const BAR: std::ops::RangeInclusive<usize> = 8..=40;
/// Columns that a name has at least.
const NAME: usize = 12;
/// Eighths of a character, from one on.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Rates from which on providers take offence, as usual: complaints at 0.1 % and 0.3 %, bounces at 2 % and 5 %.
pub const COMPLAINTS: [f64; 2] = [0.001, 0.003];
/// See [`COMPLAINTS`].
pub const BOUNCES: [f64; 2] = [0.02, 0.05];

/// How the terminal shows things.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// It knows more than ASCII.
    pub utf8: bool,
    /// Colours are wanted.
    pub colour: bool,
    /// Columns.
    pub width: usize,
}

/// How a rate stands to its thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Below both.
    Fine,
    /// At the first or above.
    High(usize),
}

impl Style {
    /// That of standard output.
    pub fn of(out: &Output) -> Style {
        let is_terminal = out.is_terminal();
        let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        // The first that is set decides (setlocale(3)).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default().to_ascii_uppercase();
        let told = is_terminal.then(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok()).flatten();
        let told = told.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let asked = set("COLUMNS").and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        Style {
            utf8: locale.contains("UTF-8") || locale.contains("UTF8"),
            colour: is_terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb"),
            width: told.or(asked).unwrap_or(WIDTH).clamp(40, 400),
        }
    }

    /// A bar for a part of the largest, at most so wide; nothing for nothing.
    pub fn bar(&self, count: u64, largest: u64, width: usize) -> String {
        if count == 0 || largest == 0 {
            return String::new();
        }
        let eighths = (count as u128 * (width * 8) as u128).div_ceil(largest as u128).min((width * 8) as u128) as usize;
        if !self.utf8 {
            return "#".repeat(eighths.div_ceil(8));
        }
        let mut bar = "█".repeat(eighths / 8);
        bar.extend((eighths % 8).checked_sub(1).map(|place| EIGHTHS[place]));
        bar
    }

    /// Text in the colour of a mark.
    pub fn painted(&self, mark: Mark, text: &str) -> String {
        let colour = match mark {
            Mark::High(0) => "\x1b[33m",
            Mark::High(_) => "\x1b[31m",
            Mark::Fine => return text.to_owned(),
        };
        if self.colour { format!("{colour}{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading.
    pub fn heading(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// How a rate stands to its thresholds.
pub fn mark(rate: Option<f64>, thresholds: [f64; 2]) -> Mark {
    match rate {
        Some(rate) if rate >= thresholds[1] => Mark::High(1),
        Some(rate) if rate >= thresholds[0] => Mark::High(0),
        Some(_) | None => Mark::Fine,
    }
}

/// A rate in eight columns, with a mark behind it: `!` from the first threshold on, `!!` from the second.
pub fn rate(style: &Style, rate: Option<f64>, thresholds: [f64; 2]) -> String {
    let Some(value) = rate else { return format!("{:>10}", "") };
    let mark = mark(rate, thresholds);
    let sign = match mark {
        Mark::Fine => "",
        Mark::High(0) => "!",
        Mark::High(_) => "!!",
    };
    style.painted(mark, &format!("{:>6.2} %{sign:<2}", value * 100.0))
}

/// Rows of figures with a bar of the bounces of each: sent, skipped, bounces and complaints with their rates.
pub fn figures(style: &Style, head: &str, rows: &[(String, Figures)]) -> Vec<String> {
    let width = |title: &str, count: fn(&Figures) -> u64| {
        let widest = rows.iter().map(|(_, figures)| count(figures).to_string().len()).max().unwrap_or(0);
        widest.max(title.len())
    };
    let (sent, skipped) = (width("SENT", |figures| figures.sent), width("SKIPPED", |figures| figures.skipped));
    // Their heads stand above the rates, too.
    let bounces = width("1234", |figures| figures.bounces);
    let complaints = width("1234", |figures| figures.complaints);
    // Figures with two columns between them, and two rates of ten.
    let beside = sent + skipped + bounces + complaints + 6 * 2 + 20;
    let most = style.width.saturating_sub(beside).clamp(NAME, (style.width / 3).max(NAME));
    let names: Vec<String> = rows.iter().map(|(name, _)| cut(&clean(name), most)).collect();
    let name = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(head.len());
    let used = name + beside + 2;
    let room = style.width.saturating_sub(used);
    let largest = rows.iter().map(|(_, figures)| figures.bounces).max().unwrap_or(0);
    let mut lines = vec![style.heading(&format!(
        "{head:<name$}  {:>sent$}  {:>skipped$}  {:<before$}  COMPLAINTS",
        "SENT",
        "SKIPPED",
        "BOUNCES",
        before = bounces + 12,
    ))];
    for ((_, figures), shown) in rows.iter().zip(&names) {
        let bounce_rate = rate(style, figures.bounce_rate, BOUNCES);
        let complaint_rate = rate(style, figures.complaint_rate, COMPLAINTS);
        let bar =
            if room < *BAR.start() { String::new() } else { style.bar(figures.bounces, largest, room.min(*BAR.end())) };
        let line = format!(
            "{shown:<name$}  {:>sent$}  {:>skipped$}  {:>bounces$}  {bounce_rate}  {:>complaints$}  {complaint_rate}  {bar}",
            figures.sent, figures.skipped, figures.bounces, figures.complaints,
        );
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// Counts with a bar for each, the largest first; nothing where all are zero.
pub fn counts(style: &Style, head: &str, counts: &[(String, u64)]) -> Vec<String> {
    let mut counts: Vec<(String, u64)> = counts.iter().filter(|(_, count)| *count > 0).cloned().collect();
    counts.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    let Some(largest) = counts.first().map(|(_, count)| *count) else { return Vec::new() };
    let name = counts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(head.len());
    let number = largest.to_string().len().max("COUNT".len());
    let width = style.width.saturating_sub(name + number + 4).min(*BAR.end());
    let line = |(name_of, count): &(String, u64)| {
        format!("{:<name$}  {count:>number$}  {}", clean(name_of), style.bar(*count, largest, width))
            .trim_end()
            .to_owned()
    };
    let head = style.heading(&format!("{head:<name$}  {:>number$}", "COUNT"));
    std::iter::once(head).chain(counts.iter().map(line)).collect()
}

/// A text of at most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(2)).collect();
    format!("{kept}..")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { utf8: false, colour: false, width: 80 };
    const UTF8: Style = Style { utf8: true, ..PLAIN };

    #[test]
    fn a_bar_is_a_part_of_the_largest_and_never_nothing_for_something() {
        for (count, want, ascii) in
            [(0, "", ""), (1, "▏", "#"), (40, "████", "####"), (45, "████▌", "#####"), (80, "████████", "########")]
        {
            assert_eq!(UTF8.bar(count, 80, 8), want, "{count}");
            assert_eq!(PLAIN.bar(count, 80, 8), ascii, "{count}");
        }
        assert_eq!(UTF8.bar(u64::MAX, u64::MAX, 3), "███");
    }

    #[test]
    fn a_rate_is_marked_from_its_thresholds_on_and_coloured_only_where_asked() {
        for (value, want) in [
            (Some(0.0199), "  1.99 %  "),
            (Some(0.02), "  2.00 %! "),
            (Some(0.05), "  5.00 %!!"),
            (Some(1.5), "150.00 %!!"),
            (None, "          "),
        ] {
            assert_eq!(rate(&PLAIN, value, BOUNCES), want);
        }
        let coloured = Style { colour: true, ..PLAIN };
        assert_eq!(rate(&coloured, Some(0.003), COMPLAINTS), "\x1b[31m  0.30 %!!\x1b[0m");
        assert_eq!(rate(&coloured, Some(0.0001), COMPLAINTS), "  0.01 %  ");
    }

    #[test]
    fn rows_of_figures_read_like_this_and_are_no_wider_than_the_terminal() {
        let figures_of = |sent, bounces, complaints| {
            Figures { sent, bounces, complaints, skipped: 3, ..Figures::default() }.with_rates()
        };
        let rows = [
            ("google".to_owned(), figures_of(40_000, 400, 20)),
            ("exa\u{1b}mple.org".to_owned(), figures_of(1000, 60, 4)),
            ("other".to_owned(), figures_of(0, 1, 0)),
        ];
        let lines = figures(&Style { width: 100, ..PLAIN }, "PROVIDER", &rows);
        assert_eq!(
            lines,
            [
                "PROVIDER       SENT  SKIPPED  BOUNCES           COMPLAINTS",
                "google        40000        3   400    1.00 %      20    0.05 %    ##################################",
                "exa?mple.org   1000        3    60    6.00 %!!     4    0.40 %!!  ######",
                "other             0        3     1                 0              #",
            ]
        );
        for width in [40, 60, 80, 100, 200] {
            let lines = figures(&Style { width, ..UTF8 }, "PROVIDER", &rows);
            assert!(width < 80 || lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
        }
    }

    #[test]
    fn counts_are_shown_largest_first_and_zeros_left_out() {
        let all = [("soft".to_owned(), 5), ("none".to_owned(), 0), ("hard".to_owned(), 10)];
        assert_eq!(
            counts(&Style { width: 24, ..PLAIN }, "KIND", &all),
            ["KIND  COUNT", "hard     10  ###########", "soft      5  ######"]
        );
        assert!(counts(&PLAIN, "KIND", &all[1..2]).is_empty());
    }
}
