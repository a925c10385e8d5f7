//! One frame of `top`: from what is known to lines of text.

use super::figures::{COURSES, Course, Figures, Wait};
use super::screen::{Line, Style};
use crate::ctl::table::clean;
use crate::outbound::Mode;
use crate::policy::EventId;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Smallest window that shows anything of use.
const LEAST: (usize, usize) = (50, 14);
/// From so many rows on, everything has its place.
const ROOMY: usize = 22;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One event, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its id.
    pub id: EventId,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub kind: String,
    /// To whom.
    pub address: String,
    /// The rest.
    pub details: String,
}

/// All that a frame shows.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What is known.
    pub figures: Figures,
    /// The last events, newest last.
    pub events: VecDeque<Told>,
    /// Why the daemon does not answer, if it does not.
    pub trouble: Option<String>,
    /// How often it is asked.
    pub interval: Duration,
    /// Frozen.
    pub paused: bool,
}

/// The lines of a frame, at most so many columns and rows.
pub fn frame(view: &View, now: Timestamp, (width, height): (usize, usize)) -> Vec<Line> {
    if width < LEAST.0 || height < LEAST.1 {
        let (columns, rows) = LEAST;
        return vec![Line::of(Style::Bold, format!("top needs {columns} columns and {rows} rows"))];
    }
    let mut lines = vec![title(view, now, width)];
    if view.figures.status.is_none() {
        lines.push(Line::default());
        let waiting = Line::of(Style::Dim, " asking backstopd ...");
        lines.extend(view.trouble.as_ref().map_or(vec![waiting], |trouble| told_trouble(trouble, width)));
    } else {
        let trouble = view.trouble.as_ref().map(|trouble| format!(" no answer, trying again: {}", clean(trouble)));
        lines.push(Line::of(Style::Red, trouble.unwrap_or_default()));
        lines.extend(courses(&view.figures, width));
        if height < ROOMY {
            // Whatever else there is, the last events are worth more.
            lines.retain(|line| *line != Line::default() && *line != Line::of(Style::Red, ""));
            lines.extend(figures(&view.figures).into_iter().take(2));
        } else {
            lines.push(Line::default());
            lines.extend(figures(&view.figures));
        }
        lines.extend(alerts(view, width, height));
        lines.push(rule("last events", width));
        let room = height.saturating_sub(lines.len() + 1);
        let events = events(view);
        let first = events.len().saturating_sub(room);
        lines.extend(events.into_iter().skip(first));
        if view.events.is_empty() {
            lines.push(Line::of(Style::Dim, "   nothing yet"));
        }
    }
    lines.truncate(height - 1);
    lines.resize(height - 1, Line::default());
    lines.push(keys(view));
    lines
}

/// What `--once` prints: a frame without what is for keys, and without empty rows at its end.
pub fn once(view: &View, now: Timestamp, (width, height): (usize, usize)) -> Vec<String> {
    let mut lines: Vec<String> = frame(view, now, (width, height)).iter().map(|line| line.plain(width)).collect();
    lines.pop();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn title(view: &View, now: Timestamp, width: usize) -> Line {
    let left = match &view.figures.status {
        Some(status) => {
            let (mode, up) = (mode(status.mode), up(status.uptime_secs));
            format!(" backstopd {}   {mode}   up {up}", clean(&status.version))
        }
        None => " backstopd".to_owned(),
    };
    let pause = if view.paused { "PAUSED   " } else { "" };
    let clock = format!("{} UTC ", now.strftime("%H:%M:%S"));
    let room = width.saturating_sub(left.chars().count());
    let told =
        [format!("{pause}every {} s   {clock}", view.interval.as_secs()), format!("{pause}{clock}"), pause.to_owned()];
    let right = told.into_iter().find(|right| right.len() + 2 <= room).unwrap_or_default();
    Line::of(Style::Title, format!("{left}{right:>room$}"))
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow: no mail is changed",
    }
}

fn told_trouble(trouble: &str, width: usize) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let text = clean(trouble);
    let mut row = String::new();
    for word in text.split(' ') {
        if !row.is_empty() && row.chars().count() + word.chars().count() + 3 > width {
            lines.push(Line::of(Style::Red, format!(" {row}")));
            row.clear();
        }
        row.push_str(if row.is_empty() { "" } else { " " });
        row.push_str(word);
    }
    lines.push(Line::of(Style::Red, format!(" {row}")));
    lines.push(Line::of(Style::Dim, " trying again ..."));
    lines
}

fn courses(figures: &Figures, width: usize) -> Vec<Line> {
    let head = format!(" {:<12}{:>9}{:>9}{:>10}{:>14}", "recipients", "per s", "peak", "last min", "since start");
    let mut lines = vec![Line::of(Style::Dim, head)];
    let room = width.saturating_sub(58);
    for course in COURSES {
        let (name, style) = match course {
            Course::Sent => ("sent", Style::Green),
            Course::Skipped => ("skipped", Style::Yellow),
            Course::CameBack => ("came back", Style::Cyan),
            Course::Bounced => ("bounced", Style::Magenta),
            Course::Complained => ("complained", Style::Red),
        };
        let pace = figures.pace(course);
        let (per_second, peak) = (rate(pace.per_second), rate(pace.peak));
        let counts = format!("{peak:>9}{:>10}{:>14}", grouped(pace.last_minute), grouped(pace.since_start));
        let line = Line::of(Style::Bold, format!(" {name:<12}"))
            .and(if pace.per_second > 0.0 { style } else { Style::Dim }, format!("{per_second:>9}"))
            .and(Style::Plain, counts)
            .and(style, format!("  {}", bars(&figures.rates(course), room)));
        lines.push(line);
    }
    lines
}

/// A course as bars, the newest at the right, each as high as its share of the highest that is shown.
fn bars(rates: &[f64], room: usize) -> String {
    let shown = &rates[rates.len().saturating_sub(room)..];
    let highest = shown.iter().copied().fold(0.0, f64::max);
    let bar = |rate: &f64| match rate {
        rate if *rate <= 0.0 => ' ',
        rate => BARS[((rate / highest * BARS.len() as f64).ceil() as usize).clamp(1, BARS.len()) - 1],
    };
    let text: String = shown.iter().map(bar).collect();
    format!("{text:>room$}")
}

fn figures(figures: &Figures) -> Vec<Line> {
    let Some(status) = &figures.status else { return Vec::new() };
    let row = |name: &str, text: String| Line::of(Style::Dim, format!(" {name:<12}  ")).and(Style::Plain, text);
    let list = |told: &[(String, u64)]| {
        let words: Vec<String> =
            told.iter().map(|(word, count)| format!("{} {}", clean(word), grouped(*count))).collect();
        if words.is_empty() { "-".to_owned() } else { words.join("   ") }
    };
    let store = &status.store;
    let mut on_record = row(
        "store",
        format!(
            "{} events   {} contacts   {}   {} waiting",
            grouped(store.events),
            grouped(store.contacts),
            size(store.disk_bytes),
            grouped(store.waiting)
        ),
    );
    if !figures.writable {
        on_record = on_record.and(Style::Red, "   CANNOT BE WRITTEN");
    }
    let waits = [("screened", Wait::Screen), ("report", Wait::Inspect), ("flush", Wait::Flush)];
    let waits = waits.map(|(name, wait)| format!("{name} {}", figures.slowest(wait).map_or("-".to_owned(), time)));
    let (connections, messages) = (status.milter.connections, grouped(figures.messages));
    let (memory, files) = (size(figures.memory_bytes), figures.open_files);
    vec![
        on_record,
        row("skipped for", list(&figures.skips)),
        row("bounced as", list(&figures.bounces)),
        row("believed", list(&figures.authorities)),
        row("milter", format!("{connections} connections   {messages} messages   {memory} memory   {files} files")),
        row("99 of 100", waits.join("   ")),
    ]
}

fn alerts(view: &View, width: usize, height: usize) -> Vec<Line> {
    let alerts = view.figures.status.as_ref().map(|status| status.alerts.as_slice()).unwrap_or_default();
    if alerts.is_empty() {
        let line = Line::of(Style::Dim, "── alerts ").and(Style::Green, "none ");
        let rest = "─".repeat(width.saturating_sub(line.width()));
        return vec![line.and(Style::Dim, rest)];
    }
    let mut lines = vec![rule("alerts", width)];
    // At least half of what is left is for the events.
    let room = (height.saturating_sub(17) / 2).max(1);
    for alert in alerts.iter().take(room) {
        let code = Line::of(Style::Red, format!(" {}", clean(&alert.code)));
        lines.push(code.and(Style::Plain, format!("  {}", clean(&alert.message))));
    }
    if alerts.len() > room {
        lines.push(Line::of(Style::Red, format!(" and {} more: backstopctl status", alerts.len() - room)));
    }
    lines
}

fn rule(name: &str, width: usize) -> Line {
    let rest = width.saturating_sub(name.chars().count() + 4);
    Line::of(Style::Dim, format!("── {name} {}", "─".repeat(rest)))
}

/// A line for each event; the same that happens again and again takes one, with its last time.
fn events(view: &View) -> Vec<Line> {
    let mut runs: Vec<(&Told, usize)> = Vec::new();
    for told in &view.events {
        match runs.last_mut() {
            Some((last, times)) if is_same(last, told) => (*last, *times) = (told, *times + 1),
            _ => runs.push((told, 1)),
        }
    }
    runs.into_iter().map(|(told, times)| event(told, times)).collect()
}

fn is_same(one: &Told, other: &Told) -> bool {
    (&one.kind, &one.address, &one.details) == (&other.kind, &other.address, &other.details)
}

fn event(told: &Told, times: usize) -> Line {
    let style = match told.kind.as_str() {
        "bounce" => Style::Magenta,
        "complaint" | "opt-out" | "unreadable" => Style::Red,
        "skip" | "would-skip" => Style::Yellow,
        "sent" | "delivered" => Style::Green,
        _ => Style::Cyan,
    };
    Line::of(Style::Dim, format!(" {}  ", told.at.strftime("%H:%M:%S")))
        .and(style, format!("{:<10}  ", clean(&told.kind)))
        .and(Style::Plain, clean(&told.address))
        .and(Style::Bold, if times > 1 { format!("  {times} times") } else { String::new() })
        .and(Style::Dim, format!("  {}", clean(&told.details)))
}

fn keys(view: &View) -> Line {
    let key = |line: Line, key: &str, what: &str| {
        line.and(Style::Bold, format!(" {key}")).and(Style::Dim, format!(" {what}  "))
    };
    let line = key(Line::default(), "q", "quit");
    let line = key(line, "p", if view.paused { "go on" } else { "pause" });
    key(line, "+ -", "slower, faster")
}

/// A rate: with one decimal while that tells anything.
fn rate(rate: f64) -> String {
    if rate >= 100.0 { grouped(rate.round() as u64) } else { format!("{rate:.1}") }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", bytes.div_ceil(1 << 10)),
        bytes if bytes < 10_240 * MIB => format!("{} MiB", bytes.div_ceil(MIB)),
        bytes => format!("{} GiB", bytes.div_ceil(1 << 30)),
    }
}

/// A bound of a histogram.
fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds.is_infinite() => "over 30 s".to_owned(),
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{} ms", (seconds * 1e4).round() / 10.0),
        seconds => format!("{seconds} s"),
    }
}

fn up(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::Metrics;
    use super::super::figures::tests::{status, text};
    use super::*;
    use std::time::Instant;

    fn view() -> View {
        let mut view = View { interval: Duration::from_secs(1), ..View::default() };
        let since = Instant::now();
        for second in 0..20 {
            let text = text(1, 1000 * second, second);
            view.figures.take(status(), &Metrics::read(&text), since + Duration::from_secs(second));
        }
        for number in 0..100 {
            let (id, at) = (EventId(number), Timestamp::UNIX_EPOCH);
            let (address, details) = (format!("c{number}@example.net"), "code=5.1.1\u{1b}[2J".to_owned());
            view.events.push_back(Told { id, at, kind: "bounce".to_owned(), address, details });
        }
        view
    }

    fn shown(view: &View, size: (usize, usize)) -> Vec<String> {
        frame(view, Timestamp::UNIX_EPOCH, size).iter().map(|line| line.plain(size.0)).collect()
    }

    #[test]
    fn a_frame_fills_the_window_and_no_more_whatever_its_size() {
        for size in [(80, 24), (50, 14), (200, 60), (81, 15)] {
            let lines = frame(&view(), Timestamp::UNIX_EPOCH, size);
            assert_eq!(lines.len(), size.1, "{size:?}");
            let text = shown(&view(), size).join("\n");
            assert!(text.contains("sent") && text.contains("complained") && text.contains("q quit"), "{text}");
            assert!(!text.contains('\u{1b}'), "events are strangers' words");
        }
        for size in [(49, 24), (80, 13), (1, 1)] {
            assert_eq!(frame(&view(), Timestamp::UNIX_EPOCH, size).len(), 1, "{size:?}");
        }
    }

    #[test]
    fn everything_is_seen_at_80_by_24() {
        let text = shown(&view(), (80, 24)).join("\n");
        for piece in [
            "backstopd 0.1.0   enforce   up 1 d 1 h",
            "every 1 s   00:00:00 UTC",
            "1,000    1,000    19,000        19,005",
            "▁", // of bounces: all equal, so the highest
            "suppressed 7   limit 2",
            "rejected 19",
            "screened 10 ms",
            "12,345 events   678 contacts   5 MiB   0 waiting",
            "undecided  since the start 3 outgoing messages",
            "c99@example.net",
            "c97@example.net",
        ] {
            let piece = if piece == "▁" { "█" } else { piece };
            assert!(text.contains(piece), "{piece}\n{text}");
        }
        assert!(!text.contains("CANNOT BE WRITTEN"));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_small_window_still_shows_the_last_events() {
        for size in [(50, 14), (80, 16), (80, 21), (80, 22)] {
            let text = shown(&view(), size).join("\n");
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(words.starts_with(&["backstopd", "0.1.0", "enforce", "up", "1", "d", "1", "h"]), "{text}");
            assert!(text.contains("c99@example.net") && text.contains("undecided"), "{size:?}\n{text}");
        }
    }

    #[test]
    fn the_same_again_and_again_takes_one_line() {
        let mut view = view();
        let last = view.events.back().cloned().expect("there are events");
        for number in 200..230 {
            view.events.push_back(Told { id: EventId(number), ..last.clone() });
        }
        let text = shown(&view, (80, 24)).join("\n");
        assert!(text.contains("c99@example.net  31 times") && text.contains("c98@example.net"), "{text}");
    }

    #[test]
    fn no_daemon_is_said_and_what_was_known_stays() {
        let trouble = Some("backstopd cannot be reached on /run/backstop/admin.sock: no such file. ".repeat(3));
        let text = shown(&View { trouble: trouble.clone(), ..View::default() }, (80, 24)).join("\n");
        assert!(text.contains("cannot be reached") && text.contains("trying again"), "{text}");
        let text = shown(&View { trouble, ..view() }, (80, 24)).join("\n");
        assert!(text.contains("trying again") && text.contains("19,005"), "{text}");
    }

    #[test]
    fn bars_are_shares_of_the_highest_and_the_newest_stands_right() {
        for (rates, room, want) in [
            (&[0.0, 1.0, 4.0, 8.0][..], 4, " ▁▄█"),
            (&[8.0, 1.0], 4, "  █▁"),
            (&[9.0, 1.0, 2.0], 2, "▄█"),
            (&[0.0, 0.0], 2, "  "),
            (&[], 3, "   "),
        ] {
            assert_eq!(bars(rates, room), want, "{rates:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([grouped(0), grouped(999), grouped(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([rate(0.04), rate(99.94), rate(1234.5)], ["0.0", "99.9", "1,235"]);
        assert_eq!(
            [time(0.000_025), time(0.0025), time(5.0), time(f64::INFINITY)],
            ["25 µs", "2.5 ms", "5 s", "over 30 s"]
        );
        assert_eq!([size(1), size(1 << 20), size(20 << 30)], ["1 KiB", "1 MiB", "20 GiB"]);
    }
}
