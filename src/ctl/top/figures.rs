//! What `top` shows: figures out of `/metrics` and `/v1/status`, and what they came to over time.

use crate::admin::wire::Status;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Samples kept; a wide terminal shows about as many.
const KEPT: usize = 300;
/// What "last minute" means.
const MINUTE: Duration = Duration::from_secs(60);

/// What is shown as a row with its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Recipients let out.
    Sent,
    /// Recipients taken off.
    Skipped,
    /// Everything that came back.
    CameBack,
    /// Bounces.
    Bounced,
    /// Complaints.
    Complained,
}

/// Every course, in the order of the rows.
pub const COURSES: [Course; 5] = [Course::Sent, Course::Skipped, Course::CameBack, Course::Bounced, Course::Complained];

/// Times that are shown: the name of the histogram, and what its labels must have.
const TIMES: [(&str, &str); 3] = [
    ("backstop_milter_stage_seconds_bucket", "stage=\"eom_screen\""),
    ("backstop_milter_stage_seconds_bucket", "stage=\"eom_inspect\""),
    ("backstop_store_commit_seconds_bucket", ""),
];

/// Which of the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The end of a message that is screened.
    Screen,
    /// The end of a report.
    Inspect,
    /// A flush of the store.
    Flush,
}

/// The text of `/metrics`, cut into its samples.
#[derive(Debug)]
pub struct Metrics<'a>(Vec<(&'a str, &'a str, f64)>);

impl<'a> Metrics<'a> {
    /// Reads it; lines that are none are left out.
    pub fn read(text: &'a str) -> Metrics<'a> {
        let sample = |line: &'a str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            Some((name, labels.trim_end_matches('}'), value.parse().ok()?))
        };
        Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// All samples of a name, with their labels.
    fn named(&self, wanted: &str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter(move |(name, ..)| *name == wanted).map(|(_, labels, value)| (*labels, *value))
    }

    /// The sum of a name's samples that have this label.
    fn sum(&self, name: &str, label: &str) -> u64 {
        self.named(name).filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value as u64).sum()
    }

    /// The values of one label, the largest first, without those that are 0.
    fn by(&self, name: &str, label: &str, having: &str) -> Vec<(String, u64)> {
        let start = format!("{label}=\"");
        let mut found: Vec<(String, u64)> = Vec::new();
        for (labels, value) in self.named(name).filter(|(labels, value)| *value > 0.0 && labels.contains(having)) {
            let Some(word) = labels.split(&start).nth(1).and_then(|rest| rest.split('"').next()) else { continue };
            match found.iter_mut().find(|(known, _)| known == word) {
                Some((_, sum)) => *sum += value as u64,
                None => found.push((word.to_owned(), value as u64)),
            }
        }
        found.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        found
    }

    fn buckets(&self, (name, having): (&str, &str)) -> Vec<(f64, u64)> {
        let bound = |labels: &str| labels.split("le=\"").nth(1)?.split('"').next()?.parse().ok();
        let of = self.named(name).filter(|(labels, _)| labels.contains(having));
        of.filter_map(|(labels, count)| Some((bound(labels)?, count as u64))).collect()
    }
}

/// The figures at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    /// When the daemon began to count.
    started: f64,
    totals: [u64; COURSES.len()],
    times: [Vec<(f64, u64)>; TIMES.len()],
}

/// All that is known of the daemon.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    samples: VecDeque<Sample>,
    /// The daemon's own words.
    pub status: Option<Status>,
    /// Recipients taken off since the start, by reason.
    pub skips: Vec<(String, u64)>,
    /// Bounces since the start, by category.
    pub bounces: Vec<(String, u64)>,
    /// Responses since the start, by authority.
    pub authorities: Vec<(String, u64)>,
    /// Messages decided on since the start.
    pub messages: u64,
    /// Whether the store could be written lately.
    pub writable: bool,
    /// Octets of memory in use.
    pub memory_bytes: u64,
    /// File descriptors open.
    pub open_files: u64,
}

/// How fast, lately and all in all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace {
    /// In the last interval, a second.
    pub per_second: f64,
    /// The most of what is kept, a second.
    pub peak: f64,
    /// In the last minute.
    pub last_minute: u64,
    /// Since the daemon started.
    pub since_start: u64,
}

impl Figures {
    /// Takes what the daemon tells at a time.
    pub fn take(&mut self, status: Status, metrics: &Metrics<'_>, at: Instant) {
        let responses = "backstop_responses_total";
        let totals = COURSES.map(|course| match course {
            Course::Sent => metrics.sum("backstop_recipients_sent_total", ""),
            Course::Skipped => metrics.sum("backstop_recipients_skipped_total", ""),
            Course::CameBack => metrics.sum(responses, ""),
            Course::Bounced => metrics.sum(responses, "kind=\"bounce\""),
            Course::Complained => metrics.sum(responses, "kind=\"complaint\""),
        });
        let started = metrics.named("process_start_time_seconds").map(|(_, value)| value).next().unwrap_or_default();
        let times = TIMES.map(|which| metrics.buckets(which));
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, started, totals, times });
        self.skips = metrics.by("backstop_recipients_skipped_total", "reason", "");
        self.bounces = metrics.by(responses, "category", "kind=\"bounce\"");
        self.authorities = metrics.by("backstop_responses_by_authority_total", "authority", "");
        self.messages = metrics.sum("backstop_messages_total", "");
        self.writable = metrics.sum("backstop_store_writable", "") > 0;
        self.memory_bytes = metrics.sum("process_resident_memory_bytes", "");
        self.open_files = metrics.sum("process_open_fds", "");
        self.status = Some(status);
    }

    /// How fast a course goes.
    pub fn pace(&self, course: Course) -> Pace {
        let Some(last) = self.samples.back() else { return Pace::default() };
        let rates = self.rates(course);
        let recent = self.steps().rev().take_while(|(before, _)| last.at.duration_since(before.at) <= MINUTE);
        Pace {
            per_second: rates.last().copied().unwrap_or_default(),
            peak: rates.iter().copied().fold(0.0, f64::max),
            last_minute: recent.map(|(before, after)| growth(before, after, course)).sum(),
            since_start: last.totals[course as usize],
        }
    }

    /// How fast it went, a second, oldest first.
    pub fn rates(&self, course: Course) -> Vec<f64> {
        let rate = |(before, after): (&Sample, &Sample)| {
            let seconds = after.at.duration_since(before.at).as_secs_f64().max(0.001);
            growth(before, after, course) as f64 / seconds
        };
        self.steps().map(rate).collect()
    }

    /// The time that 99 of 100 did not exceed in the last minute, in seconds; infinite beyond all bounds, and none
    /// where there were none.
    pub fn slowest(&self, wait: Wait) -> Option<f64> {
        let last = self.samples.back()?;
        let is_recent =
            |sample: &&Sample| sample.started == last.started && last.at.duration_since(sample.at) <= MINUTE;
        let first = self.samples.iter().find(is_recent)?;
        let (before, after) = (&first.times[wait as usize], &last.times[wait as usize]);
        let count = |bound: f64, count: u64| {
            let known = before.iter().find(|(known, _)| *known == bound).map_or(0, |(_, count)| *count);
            count.saturating_sub(known)
        };
        let counts: Vec<(f64, u64)> = after.iter().map(|(bound, below)| (*bound, count(*bound, *below))).collect();
        let all = counts.last()?.1;
        let enough = |(_, below): &&(f64, u64)| *below as f64 >= all as f64 * 0.99;
        counts.iter().find(enough).filter(|_| all > 0).map(|(bound, _)| *bound)
    }

    fn steps(&self) -> impl DoubleEndedIterator<Item = (&Sample, &Sample)> {
        self.samples.iter().zip(self.samples.iter().skip(1))
    }
}

/// How much a course grew. A daemon that was started anew counts from 0.
fn growth(before: &Sample, after: &Sample, course: Course) -> u64 {
    let (before_count, after_count) = (before.totals[course as usize], after.totals[course as usize]);
    if before.started == after.started { after_count.saturating_sub(before_count) } else { after_count }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A daemon's word, with one alert.
    pub fn status() -> Status {
        serde_json::from_str(
            r#"{"version": "0.1.0", "mode": "enforce", "uptime_secs": 90000, "counters": {}, "last_events": {},
                "alerts": [{"code": "undecided", "message": "since the start 3 outgoing messages"}],
                "config": {"file": "/etc/backstop/backstop.toml", "loaded_at": "2026-08-21T03:00:00Z",
                           "reload_error": null},
                "release": null,
                "store": {"events": 12345, "contacts": 678, "waiting": 0, "disk_bytes": 5000000},
                "milter": {"connections": 3}}"#,
        )
        .expect("the shape of status")
    }

    pub fn text(started: u32, sent: u64, bounced: u64) -> String {
        format!(
            "# HELP x y\nbackstop_recipients_sent_total{{provider=\"google\"}} {sent}\n\
             backstop_recipients_sent_total{{provider=\"other\"}} 5\n\
             backstop_recipients_skipped_total{{reason=\"limit\",mode=\"enforce\"}} 2\n\
             backstop_recipients_skipped_total{{reason=\"suppressed\",mode=\"enforce\"}} 7\n\
             backstop_recipients_skipped_total{{reason=\"robinson\",mode=\"enforce\"}} 0\n\
             backstop_responses_total{{class=\"bounce\",kind=\"bounce\",category=\"rejected\"}} {bounced}\n\
             backstop_responses_total{{class=\"feedback\",kind=\"complaint\",category=\"complaint\"}} 1\n\
             backstop_milter_stage_seconds_bucket{{stage=\"eom_screen\",le=\"0.001\"}} 0\n\
             backstop_milter_stage_seconds_bucket{{stage=\"eom_screen\",le=\"0.01\"}} {sent}\n\
             backstop_milter_stage_seconds_bucket{{stage=\"eom_screen\",le=\"+Inf\"}} {sent}\n\
             backstop_store_writable 1\nprocess_start_time_seconds {started}.5\nnonsense\n"
        )
    }

    #[test]
    fn rates_are_differences_and_a_restart_counts_from_zero() {
        let mut figures = Figures::default();
        let since = Instant::now();
        for (seconds, started, sent) in [(0, 1, 100), (2, 1, 110), (70, 1, 178), (72, 9, 3)] {
            let text = text(started, sent, 0);
            figures.take(status(), &Metrics::read(&text), since + Duration::from_secs(seconds));
        }
        assert_eq!(figures.rates(Course::Sent), [5.0, 1.0, 4.0]);
        let pace = figures.pace(Course::Sent);
        assert_eq!(pace, Pace { per_second: 4.0, peak: 5.0, last_minute: 8, since_start: 8 });
        assert_eq!(figures.pace(Course::Bounced).since_start, 0);
        assert_eq!(figures.skips, [("suppressed".to_owned(), 7), ("limit".to_owned(), 2)]);
    }

    #[test]
    fn the_slowest_is_the_bound_below_which_nearly_all_lie() {
        let mut figures = Figures::default();
        let since = Instant::now();
        assert_eq!(figures.slowest(Wait::Screen), None);
        figures.take(status(), &Metrics::read(&text(1, 100, 0)), since);
        assert_eq!(figures.slowest(Wait::Screen), None, "none in the last minute");
        figures.take(status(), &Metrics::read(&text(1, 150, 0)), since + Duration::from_secs(1));
        assert_eq!(figures.slowest(Wait::Screen), Some(0.01));
        assert_eq!(figures.slowest(Wait::Flush), None);
    }

    #[test]
    fn memory_stays_bounded() {
        let mut figures = Figures::default();
        let since = Instant::now();
        for second in 0..2 * KEPT as u64 {
            figures.take(status(), &Metrics::read(&text(1, second, 0)), since + Duration::from_secs(second));
        }
        assert_eq!(figures.rates(Course::Sent).len(), KEPT - 1);
    }
}
