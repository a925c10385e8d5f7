//! The charts: bars as rows of a table, so that they are one for readers of any kind, and columns over days.
//!
//! Lengths across are percentages, so that writing keeps its size on any screen. Every scale begins at zero.

use super::text::{self, BOUNCES, COMPLAINTS, Thresholds, Verdict, count, html, percent};
use crate::admin::wire_campaigns::CampaignAnswer;
use crate::admin::wire_reports::{DayRow, Figures, ProviderRow};
use crate::classify::provider::OTHER;
use jiff::ToSpan;
use jiff::civil::Date;
use std::collections::BTreeMap;

/// Providers with a row of their own.
const PROVIDERS: usize = 12;
/// Columns in a chart over time; beyond, one stands for several days.
const COLUMNS: i64 = 60;
/// Height of the columns in pixels.
const HEIGHT: f64 = 150.0;

/// Bounces as they are drawn: hard, soft, and those of which the type is not known.
const KINDS: [(&str, &str); 3] = [("hard", "hard"), ("soft", "soft"), ("untyped", "of unknown type")];

fn bounces(figures: &Figures) -> [u64; 3] {
    [figures.hard, figures.soft, figures.bounces.saturating_sub(figures.hard + figures.soft)]
}

/// The kinds of bounces that there are in any of these; hard and soft always.
fn kinds<'a>(all: impl IntoIterator<Item = &'a Figures>) -> &'static [(&'static str, &'static str)] {
    if all.into_iter().any(|figures| bounces(figures)[2] > 0) { &KINDS } else { &KINDS[..2] }
}

/// A bar of several kinds, one behind the other. What is not zero is seen, be it ever so little.
fn bar(parts: &[(u64, &str)], most: u64) -> String {
    let mut bar = String::from(r#"<svg class="bar" width="100%" height="14" aria-hidden="true">"#);
    let mut before = 0;
    for (number, class) in parts.iter().filter(|(number, _)| *number > 0) {
        let share = |number: u64| number as f64 * 100.0 / most.max(1) as f64;
        bar +=
            &format!(r#"<rect class="{class}" x="{:.3}%" width="{:.3}%" height="14"/>"#, share(before), share(*number));
        if before == 0 {
            bar += &format!(r#"<rect class="{class}" width="2" height="14"/>"#);
        }
        before += number;
    }
    bar + "</svg>"
}

/// A rate on its scale, with the thresholds marked.
pub fn gauge(part: u64, whole: u64, thresholds: Thresholds) -> String {
    let value = if whole == 0 || part > whole { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    let full = (value * 1.1).clamp(thresholds.bad * 1.6, thresholds.bad * 4.0);
    let at = |percent: f64| (percent / full * 100.0).min(100.0);
    let (watch, bad) = (at(thresholds.watch), at(thresholds.bad));
    let mut gauge = format!(
        r#"<svg class="gauge" width="100%" height="36" aria-hidden="true"><rect class="zone good" width="{watch:.2}%" height="18"/><rect class="zone watch" x="{watch:.2}%" width="{:.2}%" height="18"/><rect class="zone bad" x="{bad:.2}%" width="{:.2}%" height="18"/>"#,
        bad - watch,
        100.0 - bad
    );
    if value > 0.0 {
        gauge += &format!(
            r#"<rect class="value" y="5" width="{:.3}%" height="8"/><rect class="value" y="5" width="2" height="8"/>"#,
            at(value)
        );
    }
    if value > full {
        // Broken off before its end.
        gauge +=
            r#"<rect class="gap" x="94%" width="3" height="18"/><rect class="gap" x="96%" width="3" height="18"/>"#;
    }
    for (at, threshold) in [(watch, thresholds.watch), (bad, thresholds.bad)] {
        gauge += &format!(
            r#"<rect class="edge" x="{at:.2}%" width="1" height="22"/><text class="tick" x="{at:.2}%" y="34" text-anchor="middle">{threshold} %</text>"#
        );
    }
    gauge + r#"<text class="tick" x="0" y="34">0</text></svg>"#
}

/// What it came to, by category and reason.
pub fn categories(report: &CampaignAnswer) -> String {
    let sorted = |counts: &BTreeMap<String, u64>| {
        let mut counts: Vec<(String, u64)> = counts.iter().map(|(name, number)| (name.clone(), *number)).collect();
        counts.retain(|(_, number)| *number > 0);
        counts.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
        counts
    };
    let feedback = BTreeMap::from([
        ("complaint".to_owned(), report.complaints),
        ("opt-out".to_owned(), report.opt_outs),
        ("automatic reply".to_owned(), report.autoreplies),
        ("not spam".to_owned(), report.not_spam),
    ]);
    let groups = [
        ("Bounced", "bounced", sorted(&report.bounces.by_category), true),
        ("Delivered, and something came back", "feedback", sorted(&feedback), true),
        ("Never sent", "skipped", sorted(&report.skipped.by_reason), false),
    ];
    let most = groups.iter().flat_map(|(_, _, counts, _)| counts).map(|(_, number)| *number).max().unwrap_or(0);
    if most == 0 {
        return "<p class=\"none\">Nothing came back, and nobody was taken off.</p>".to_owned();
    }
    let mut table = String::from(
        "<table class=\"bars\"><caption>Contacts by category and reason; each bar on the same scale</caption>\
         <thead><tr><th scope=\"col\">Category</th><td></td><th scope=\"col\" class=\"number\">Contacts</th>\
         <th scope=\"col\" class=\"number\">Of sent</th></tr></thead>",
    );
    for (title, class, counts, of_sent) in groups.iter().filter(|(_, _, counts, _)| !counts.is_empty()) {
        table += &format!("<tbody><tr><th scope=\"rowgroup\" colspan=\"4\" class=\"group\">{title}</th></tr>");
        for (name, number) in counts {
            let share = if *of_sent { share_of(*number, report.sent, None) } else { String::new() };
            table += &format!(
                "<tr><th scope=\"row\">{}</th><td class=\"drawn\">{}</td><td class=\"number\">{}</td>\
                 <td class=\"number\">{share}</td></tr>",
                html(name),
                bar(&[(*number, class)], most),
                count(*number),
            );
        }
        table += "</tbody>";
    }
    table + "</table>"
}

/// A share, unless the ledger has forgotten what it is a share of.
pub fn share_of(part: u64, whole: u64, thresholds: Option<Thresholds>) -> String {
    if part > whole { "–".to_owned() } else { percent(part, whole, thresholds) }
}

/// Bounces and complaints of each provider, those with most first; what stands for the rest is last.
pub fn providers(rows: &[ProviderRow]) -> String {
    if rows.is_empty() {
        return "<p class=\"none\">No provider is on record of this campaign.</p>".to_owned();
    }
    let mut rows: Vec<&ProviderRow> = rows.iter().collect();
    rows.sort_by_key(|row| {
        let figures = &row.figures;
        (row.provider == OTHER, std::cmp::Reverse((figures.bounces + figures.complaints, figures.sent)))
    });
    let mut rest = Figures::default();
    let shown = if rows.len() > PROVIDERS { PROVIDERS - 1 } else { rows.len() };
    let summed = rows.len() - shown;
    rows.split_off(shown).iter().for_each(|row| rest.add(&row.figures));
    let mut parts: Vec<(String, Figures)> = rows.iter().map(|row| (html(&row.provider), row.figures)).collect();
    if summed > 0 {
        parts.push(("all others".to_owned(), rest));
    }
    let most = parts.iter().map(|(_, figures)| figures.bounces).max().unwrap_or(0);
    let kinds = kinds(parts.iter().map(|(_, figures)| figures));
    let mut table = format!(
        "<table class=\"bars providers\" role=\"table\"><caption>Bounces of each provider, on the same scale; rates are of those sent to it {}</caption><thead role=\"rowgroup\"><tr role=\"row\">\
         <th role=\"columnheader\" scope=\"col\">Provider</th><td role=\"cell\"></td>",
        legend(kinds)
    );
    for head in ["Sent", "Bounces", "Rate", "Complaints", "Rate"] {
        table += &format!("<th role=\"columnheader\" scope=\"col\" class=\"number\">{head}</th>");
    }
    table += "</tr></thead><tbody role=\"rowgroup\">";
    for (name, figures) in &parts {
        let rate = |number: u64, thresholds: Thresholds| {
            let verdict = Verdict::on(number, figures.sent, thresholds);
            let share = share_of(number, figures.sent, Some(thresholds));
            match verdict {
                Verdict::Watch | Verdict::Bad => {
                    format!("{} <span class=\"away\">{}:</span> {share}", verdict.sign(), verdict.word())
                }
                Verdict::Good | Verdict::Unknown => share,
            }
        };
        let [hard, soft, untyped] = bounces(figures);
        table += &format!(
            "<tr role=\"row\"><th role=\"rowheader\" scope=\"row\">{name}</th><td role=\"cell\" class=\"drawn\">{}</td>",
            bar(&[(hard, "hard"), (soft, "soft"), (untyped, "untyped")], most)
        );
        for (label, text) in [
            ("Sent", count(figures.sent)),
            ("Bounces", count(figures.bounces)),
            ("Rate", rate(figures.bounces, BOUNCES)),
            ("Complaints", count(figures.complaints)),
            ("Rate", rate(figures.complaints, COMPLAINTS)),
        ] {
            table += &format!("<td role=\"cell\" class=\"number\" data-label=\"{label}\">{text}</td>");
        }
        table += "</tr>";
    }
    table + "</tbody></table>"
}

fn legend(kinds: &[(&str, &str)]) -> String {
    let one = |(class, name): &(&str, &str)| {
        format!(
            "<span class=\"key\"><svg width=\"12\" height=\"12\" aria-hidden=\"true\"><rect class=\"{class}\" \
             width=\"12\" height=\"12\"/></svg> {name}</span>"
        )
    };
    kinds.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Three charts over days, and the same in numbers. Days without anything are there.
pub fn days(rows: &[DayRow]) -> String {
    let mut by_day: BTreeMap<Date, Figures> = BTreeMap::new();
    rows.iter().for_each(|row| by_day.entry(row.day).or_default().add(&row.figures));
    let (Some(first), Some(last)) = (by_day.keys().next().copied(), by_day.keys().next_back().copied()) else {
        return "<p class=\"none\">No day is on record of this campaign.</p>".to_owned();
    };
    let columns = columns(&by_day, first, last);
    let each = if columns.len() > 1 && columns[1].0 != first.saturating_add(1.day()) {
        let days = (columns[1].0 - first).get_days();
        format!(", each column {days} days from the day named")
    } else {
        String::new()
    };
    let mut shown =
        format!("<p class=\"note\">Days as of UTC{each}. Each chart has its own scale.</p><div class=\"charts\">");
    let kinds = kinds(columns.iter().map(|(_, figures)| figures));
    shown += &chart("Bounces", kinds, &columns, |figures| bounces(figures)[..kinds.len()].to_vec());
    shown += &chart(
        "Complaints and opt-outs",
        &[("complaint", "complaints"), ("optout", "opt-outs")],
        &columns,
        |figures| vec![figures.complaints, figures.opt_outs],
    );
    shown += &chart("Sent", &[("sent", "sent")], &columns, |figures| vec![figures.sent]);
    shown += "</div><details class=\"numbers\"><summary>The same in numbers</summary><div class=\"wide\"><table><caption \
              class=\"away\">Figures by day</caption><thead><tr><th scope=\"col\">Day</th>";
    let heads =
        ["Sent", "Skipped", "Bounces", "Hard", "Soft", "Complaints", "Opt-outs", "Automatic replies", "Retracted"];
    heads.iter().for_each(|head| shown += &format!("<th scope=\"col\" class=\"number\">{head}</th>"));
    shown += "</tr></thead><tbody>";
    for (day, of) in &columns {
        shown += &format!("<tr><th scope=\"row\">{day}</th>");
        let bounces = [of.bounces, of.hard, of.soft];
        let feedback = [of.complaints, of.opt_outs, of.autoreplies, of.retracted];
        for number in [&[of.sent, of.skipped][..], &bounces, &feedback].concat() {
            shown += &format!("<td class=\"number\">{}</td>", count(number));
        }
        shown += "</tr>";
    }
    shown + "</tbody></table></div></details>"
}

/// One column a day; one for several if there were too many, each named by its first.
fn columns(by_day: &BTreeMap<Date, Figures>, first: Date, last: Date) -> Vec<(Date, Figures)> {
    let span = i64::from((last - first).get_days()) + 1;
    // A day, or whole weeks: a campaign that is sent weekly has no gaps then that are not its own.
    let width = if span <= COLUMNS { 1 } else { (span + COLUMNS - 1) / COLUMNS / 7 * 7 + 7 };
    let mut columns: Vec<(Date, Figures)> = (0..(span + width - 1) / width)
        .map(|column| (first.saturating_add((column * width).days()), Figures::default()))
        .collect();
    for (day, part) in by_day {
        let column = i64::from((*day - first).get_days()) / width;
        columns[column as usize].1.add(part);
    }
    columns
}

/// Columns over days, stacked, with an axis of its own at the left.
fn chart(
    title: &str,
    kinds: &[(&str, &str)],
    columns: &[(Date, Figures)],
    numbers: impl Fn(&Figures) -> Vec<u64>,
) -> String {
    let all: Vec<Vec<u64>> = columns.iter().map(|(_, part)| numbers(part)).collect();
    let totals: Vec<u64> = (0..kinds.len()).map(|kind| all.iter().map(|numbers| numbers[kind]).sum()).collect();
    let words = |numbers: &[u64]| {
        let one = |(number, (_, name)): (&u64, &(&str, &str))| format!("{} {name}", count(*number));
        numbers.iter().zip(kinds).map(one).collect::<Vec<_>>().join(", ")
    };
    let key = if kinds.len() > 1 { legend(kinds) } else { String::new() };
    let mut chart = format!("<figure><figcaption><strong>{title}</strong> {key}</figcaption>");
    let most = all.iter().map(|numbers| numbers.iter().sum()).max().unwrap_or(0);
    if most == 0 {
        return chart + "<p class=\"none\">None.</p></figure>";
    }
    let (step, ticks) = scale(most);
    let full = (step * ticks) as f64;
    let down = |number: u64| 10.0 + HEIGHT - number as f64 / full * HEIGHT;
    chart += "<div class=\"plot\"><svg class=\"axis\" height=\"190\" aria-hidden=\"true\">";
    let lines: Vec<(u64, f64)> = (0..=ticks).map(|tick| (step * tick, down(step * tick))).collect();
    for (number, y) in &lines {
        chart += &format!(
            "<text class=\"tick\" x=\"100%\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            count(*number)
        );
    }
    chart += &format!(
        "</svg><svg class=\"columns\" width=\"100%\" height=\"190\" role=\"img\" aria-label=\"{title}: {} in {} columns; \
         {} at most in one\">",
        words(&totals),
        columns.len(),
        count(most)
    );
    for (number, y) in &lines {
        let class = if *number == 0 { "base" } else { "line" };
        chart += &format!("<line class=\"{class}\" x1=\"0\" x2=\"100%\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
    }
    // Few days make no broad columns.
    let slots = columns.len().max(10);
    let slot = 100.0 / slots as f64;
    // Five labels have room on a phone.
    let apart = slots.div_ceil(5);
    let years = columns.first().map(|column| column.0.year()) != columns.last().map(|column| column.0.year());
    for (place, ((day, _), numbers)) in columns.iter().zip(&all).enumerate() {
        let left = place as f64 * slot;
        chart += &format!("<g><title>{day}: {}</title>", words(numbers));
        // All of the slot tells its figures, not only what is drawn.
        chart += &format!("<rect class=\"slot\" x=\"{left:.3}%\" y=\"10\" width=\"{slot:.3}%\" height=\"{HEIGHT}\"/>");
        let mut below = 0;
        for (number, (class, _)) in numbers.iter().zip(kinds).filter(|(number, _)| **number > 0) {
            let (top, bottom) = (down(below + number), down(below));
            let top = top.min(bottom - 1.5); // what is not zero is seen
            chart += &format!(
                "<rect class=\"{class}\" x=\"{:.3}%\" y=\"{top:.2}\" width=\"{:.3}%\" height=\"{:.2}\"/>",
                left + slot * 0.12,
                slot * 0.76,
                bottom - top
            );
            below += number;
        }
        chart += "</g>";
        if place % apart == 0 {
            chart += &format!(
                "<text class=\"tick\" x=\"{:.3}%\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
                left + slot / 2.0,
                HEIGHT + 28.0,
                day.strftime(if years { "%b %Y" } else { "%d %b" })
            );
        }
    }
    chart + "</svg></div></figure>"
}

/// A round step and how many make the scale: 1, 2 or 5 with zeros, four at most.
fn scale(most: u64) -> (u64, u64) {
    let mut unit = 1u64;
    loop {
        for step in [1, 2, 5] {
            let step = unit.saturating_mul(step);
            if most.div_ceil(step) <= 4 || step == u64::MAX {
                return (step, most.div_ceil(step));
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// A rate with its verdict, its figures and its scale.
pub fn rate(name: &str, part: u64, whole: u64, thresholds: Thresholds) -> String {
    let verdict = Verdict::on(part, whole, thresholds);
    let of = match (whole, part > whole) {
        (0, _) => format!("{} came; none is known to be sent", count(part)),
        (_, true) => format!("{} came, but only {} are known to be sent", count(part), count(whole)),
        // One alone is beyond a threshold.
        _ if part > 0 && (whole as f64) < 100.0 / thresholds.watch => {
            format!("{} of {} sent: too few to say much", count(part), count(whole))
        }
        _ => format!("{} of {} sent", count(part), count(whole)),
    };
    format!(
        "<div class=\"rate {class}\"><h3>{name}</h3><p class=\"verdict\">{sign} {word}</p><p class=\"value\">{value}</p>\
         <p class=\"of\">{of}</p>{gauge}<p class=\"scale\">To be watched from {watch} %, bad from {bad} %</p></div>",
        class = verdict.class(),
        sign = verdict.sign(),
        word = verdict.word(),
        value = text::html(&share_of(part, whole, Some(thresholds))),
        gauge = gauge(part, whole, thresholds),
        watch = thresholds.watch,
        bad = thresholds.bad,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: &str, hard: u64) -> DayRow {
        let figures = Figures { hard, bounces: hard, ..Figures::default() };
        DayRow { day: day.parse().expect("a literal"), figures }
    }

    #[test]
    fn days_without_anything_have_their_column_too() {
        let parts = [day("2026-02-27", 3), day("2026-03-02", 1)];
        let by_day = parts.iter().map(|row| (row.day, row.figures)).collect();
        let columns = columns(&by_day, "2026-02-27".parse().expect("one"), "2026-03-02".parse().expect("one"));
        let told: Vec<(String, u64)> = columns.iter().map(|(day, figures)| (day.to_string(), figures.hard)).collect();
        let want = [("2026-02-27", 3), ("2026-02-28", 0), ("2026-03-01", 0), ("2026-03-02", 1)];
        assert_eq!(told, want.map(|(day, hard)| (day.to_owned(), hard)));
    }

    #[test]
    fn many_days_share_columns_and_none_is_lost() {
        let parts = [day("1999-01-01", 3), day("2026-03-02", 1)];
        let shown = days(&parts);
        assert!(shown.contains("each column 168 days"), "{shown}");
        assert!(shown.contains("aria-label=\"Bounces: 4 hard, 0 soft in 60 columns; 3 at most in one\""), "{shown}");
    }

    #[test]
    fn labels_of_days_keep_a_fifth_of_the_width_apart() {
        for span in [2, 4, 5, 7, 12, 60] {
            let first: Date = "2026-03-02".parse().expect("a literal");
            let part = |day: i32| (first.saturating_add(day.days()), Figures { sent: 1, ..Figures::default() });
            let columns: Vec<(Date, Figures)> = (0..span).map(part).collect();
            let chart = chart("Sent", &[("sent", "sent")], &columns, |figures| vec![figures.sent]);
            let (_, columns) = chart.split_once("class=\"columns\"").expect("a chart");
            let labels = columns.split("<text class=\"tick\" x=\"").skip(1);
            let at: Vec<f64> =
                labels.map(|label| label[..label.find('%').unwrap()].parse().expect("a number")).collect();
            assert!(at.windows(2).all(|two| two[1] - two[0] >= 19.9), "{span} days: {at:?}");
        }
    }

    #[test]
    fn a_scale_has_round_steps_and_reaches_its_highest() {
        for (most, want) in [(1, (1, 1)), (4, (1, 4)), (5, (2, 3)), (9, (5, 2)), (37, (10, 4)), (98_796, (50_000, 2))] {
            assert_eq!(scale(most), want, "{most}");
        }
        let (step, ticks) = scale(u64::MAX);
        assert!(step.saturating_mul(ticks) >= u64::MAX / 2, "{step} {ticks}");
    }

    #[test]
    fn providers_beyond_the_twelfth_are_summed_and_names_are_text() {
        let named = |number: u64| {
            let figures = Figures { sent: 100, bounces: number, hard: number, ..Figures::default() };
            ProviderRow { provider: format!("<p{number}>"), figures }
        };
        let rows: Vec<ProviderRow> = (0..20).map(named).collect();
        let table = providers(&rows);
        assert!(table.contains(">all others<"), "{table}");
        assert!(table.contains("&lt;p19&gt;") && !table.contains("<p19>"), "{table}");
        assert_eq!(table.matches("<tr role=\"row\">").count(), 13);
        assert!(providers(&[]).contains("No provider"));
    }
}
