//! `report`: what one campaign did.

use super::arguments::ReportArguments;
use super::campaigns;
use super::chart::{self, Mark, Style};
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::report_html;
use super::rows::{self, Rows, fields};
use super::table::{aligned, clean};
use super::when;
use crate::admin::wire::word;
use crate::admin::wire_campaigns::{CampaignAnswer, CampaignResponse};
use crate::admin::wire_reports::{DayRow, Figures, ProviderRow};
use std::collections::BTreeMap;

/// Rows aligned together.
const SCREEN: usize = 1000;

/// `backstopctl report CAMPAIGN`, and over all campaigns where none is named.
pub fn report(client: &Client, asked: &ReportArguments, out: &mut Output) -> Result<Exit, Failure> {
    let Some(campaign) = &asked.campaign else { return campaigns::all(client, asked, out) };
    let columns = match (asked.responses, asked.provider) {
        (true, _) => fields(CampaignResponse::CSV_HEAD.trim_ascii_end().split(',')),
        (_, true) => campaigns::figures_by("provider"),
        (false, false) => campaigns::figures_by("day"),
    };
    let mut rows = Rows::new(&columns, &asked.output, out)?;
    let (csv, columns_asked) = (asked.output.csv, !asked.output.columns.is_empty());
    if columns_asked && !(asked.responses || asked.provider || asked.day) {
        let message = "--columns goes with --responses, --provider or --day";
        return Err(Failure::new(Exit::Usage, message));
    }
    let target = format!("/v1/campaigns/{}", encoded(campaign));
    if let Some(file) = &asked.html {
        return report_html::write(client, &target, file, out);
    }
    if asked.responses {
        return match columns_asked {
            true => rows::lines(client, &format!("{target}/responses"), rows, out, |_| ()).map(|_| Exit::Yes),
            false => responses(client, &target, csv, out),
        };
    }
    let answer = client.ask(&target, Body::None)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    if columns_asked {
        let report: serde_json::Value = read(&answer)?;
        let part = &report[if asked.provider { "by_provider" } else { "by_day" }];
        rows.print(part.as_array().map_or(&[], Vec::as_slice), out)?;
        rows.end(out)?;
        return Ok(Exit::Yes);
    }
    let report: CampaignAnswer = read(&answer)?;
    if csv {
        let text = match (asked.provider, asked.day) {
            (true, _) => ProviderRow::csv_head() + &report.by_provider.iter().map(ProviderRow::csv).collect::<String>(),
            (_, true) => DayRow::csv_head() + &report.by_day.iter().map(DayRow::csv).collect::<String>(),
            (false, false) => report.csv(),
        };
        out.octets(text.as_bytes())?;
        return Ok(Exit::Yes);
    }
    let style = Style::of(out);
    let lines = match (asked.provider, asked.day) {
        (true, _) => by_provider(&style, &report),
        (_, true) => by_day(&style, &report),
        (false, false) => whole(&style, &report),
    };
    lines.iter().try_for_each(|line| out.line(line))?;
    Ok(Exit::Yes)
}

/// All of it, a part behind the other; what is empty is left out.
fn whole(style: &Style, report: &CampaignAnswer) -> Vec<String> {
    let counts = |counts: &BTreeMap<String, u64>| -> Vec<(String, u64)> {
        counts.iter().map(|(name, count)| (name.clone(), *count)).collect()
    };
    let bounces = chart::counts(style, "BOUNCES BY CATEGORY", &counts(&report.bounces.by_category));
    let skips = chart::counts(style, "SKIPPED BY REASON", &counts(&report.skipped.by_reason));
    let mut lines = told(style, report);
    for part in [bounces, skips, by_provider(style, report), by_day(style, report)] {
        if part.len() > 1 {
            lines.push(String::new());
            lines.extend(part);
        }
    }
    lines
}

fn by_provider(style: &Style, report: &CampaignAnswer) -> Vec<String> {
    let rows: Vec<(String, Figures)> =
        report.by_provider.iter().map(|row| (row.provider.clone(), row.figures)).collect();
    chart::figures(style, "PROVIDER", &rows)
}

fn by_day(style: &Style, report: &CampaignAnswer) -> Vec<String> {
    let rows: Vec<(String, Figures)> = report.by_day.iter().map(|row| (row.day.to_string(), row.figures)).collect();
    chart::figures(style, "DAY (UTC)", &rows)
}

fn responses(client: &Client, target: &str, csv: bool, out: &mut Output) -> Result<Exit, Failure> {
    let target = format!("{target}/responses");
    if csv || out.json() {
        let body = if csv { Body::Csv } else { Body::Lines };
        client.copy(&target, body, |octets| out.octets(octets))?;
        return Ok(Exit::Yes);
    }
    let (mut rows, mut printed) = (Vec::new(), 0);
    client.follow(&target, Body::Lines, |line| {
        rows.push(row(&read(line)?));
        if rows.len() == SCREEN { print(&mut rows, &mut printed, out) } else { Ok(()) }
    })?;
    print(&mut rows, &mut printed, out)?;
    if printed == 0 {
        eprintln!("nothing came back, and nobody was skipped");
    }
    Ok(Exit::Yes)
}

/// Columns are aligned within these rows: there may be too many to hold.
fn print(rows: &mut Vec<Vec<String>>, printed: &mut usize, out: &mut Output) -> Result<(), Failure> {
    let head = ["ADDRESS", "TIME (UTC)", "KIND", "CODE", "TYPE", "CATEGORY", "REASON", "AUTHORITY", "DESCRIPTION"];
    let without_head = usize::from(*printed > 0 || rows.is_empty());
    aligned(&head, rows).iter().skip(without_head).try_for_each(|line| out.line(line))?;
    *printed += rows.len();
    rows.clear();
    Ok(())
}

fn row(response: &CampaignResponse) -> Vec<String> {
    let description = response.description.as_deref().unwrap_or_default();
    let own_skip = response.authority.is_none();
    vec![
        response.address.clone(),
        when::shown(response.at),
        if own_skip { "skip".to_owned() } else { word(&response.kind) },
        response.code.map(|code| code.to_string()).unwrap_or_default(),
        response.bounce_type.map_or("", |bounce_type| bounce_type.as_str()).to_owned(),
        response.category.map_or("", |category| category.as_str()).to_owned(),
        response.reason.clone().unwrap_or_default(),
        response.authority.map_or("", |authority| authority.as_str()).to_owned(),
        if response.retracted { format!("retracted: {description}") } else { description.to_owned() },
    ]
}

/// The figures, those that are zero without their kinds.
fn told(style: &Style, report: &CampaignAnswer) -> Vec<String> {
    let mut lines = vec![format!("campaign {}", clean(&report.campaign.0))];
    if !report.lists.is_empty() {
        let lists: Vec<String> = report.lists.iter().map(|list| clean(&list.0)).collect();
        lines.push(format!("list     {}", lists.join(", ")));
    }
    if let (Some(first), Some(last)) = (report.first_at, report.last_at) {
        lines.push(format!("from     {} to {} UTC", when::shown(first), when::shown(last)));
    }
    lines.push(String::new());
    let bounces = &report.bounces;
    let bounced = match bounces.total {
        0 => String::new(),
        _ => format!("{} hard, {} soft", bounces.hard, bounces.soft),
    };
    let shadow = match report.skipped.shadow {
        0 => String::new(),
        shadow => format!("{shadow} more in shadow mode, not taken off"),
    };
    let high = |rate: Option<f64>, thresholds: [f64; 2]| match chart::mark(rate, thresholds) {
        Mark::Fine => String::new(),
        Mark::High(place) => format!("{} % or more", thresholds[place] * 100.0),
    };
    let bounces_high = high(report.rates.bounces, chart::BOUNCES);
    let bounced = [bounced, bounces_high].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ");
    let unless = |count: u64, words: &str| if count == 0 { String::new() } else { words.to_owned() };
    let figures: [(&str, u64, Option<f64>, String); 12] = [
        ("sent", report.sent, None, if report.sent == 0 { "none that backstopd counted" } else { "" }.to_owned()),
        ("skipped", report.skipped.total, None, shadow),
        ("bounces", bounces.total, report.rates.bounces, bounced),
        ("complaints", report.complaints, report.rates.complaints, high(report.rates.complaints, chart::COMPLAINTS)),
        ("opt-outs", report.opt_outs, None, String::new()),
        ("automatic replies", report.autoreplies, None, String::new()),
        ("reported as not spam", report.not_spam, None, String::new()),
        ("reported as delivered", report.delivered, None, String::new()),
        ("reported as delayed", report.delayed, None, String::new()),
        ("retracted", report.retracted, None, unless(report.retracted, "bounces of contacts that proved alive")),
        ("unverified", report.unverified, None, unless(report.unverified, "not counted: nothing vouches for them")),
        ("contacts", report.contacts, None, "with anything of this".to_owned()),
    ];
    let width = figures.iter().map(|(_, count, ..)| count.to_string().len()).max().unwrap_or(1).max("COUNT".len());
    let rows: Vec<Vec<String>> = figures
        .into_iter()
        .map(|(name, count, rate, words)| {
            let thresholds = if name == "bounces" { chart::BOUNCES } else { chart::COMPLAINTS };
            let rate = match rate {
                Some(_) => chart::rate(style, rate, thresholds),
                None => " ".repeat(10),
            };
            vec![name.to_owned(), format!("{count:>width$}"), rate, words]
        })
        .collect();
    lines.extend(table(&rows, width));
    lines
}

/// As [`aligned`], but with numbers at the right and nothing for what is empty.
fn table(rows: &[Vec<String>], width: usize) -> Vec<String> {
    let name = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
    let head = [String::new(), format!("{:>width$}", "COUNT"), format!("{:>8}  ", "OF SENT"), String::new()];
    let line = |row: &[String]| {
        let line = format!("{:<name$}  {:>width$}  {} {}", row[0], row[1], row[2], clean(&row[3]));
        line.trim_end().to_owned()
    };
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{BounceType, Category};
    use crate::mail::ListId;
    use crate::report::Campaign;

    #[test]
    fn the_figures_of_a_campaign_read_like_this() {
        let mut report = CampaignAnswer::nothing(Campaign("spring\u{1b}[2J".to_owned()));
        report.lists.insert(ListId("news.example.com".to_owned()));
        for (category, bounce_type, times) in [
            (Category::Transient, BounceType::Soft, 112),
            (Category::Rejected, BounceType::Hard, 240),
            (Category::Blocked, BounceType::Hard, 3),
        ] {
            (0..times).for_each(|_| report.count_bounce(category, Some(bounce_type)));
        }
        (0..1204).for_each(|_| report.count_skip("suppressed"));
        report.count_skip("failed");
        report.skipped.shadow = 7;
        (report.complaints, report.retracted, report.contacts) = (109, 4, 1580);
        report.of_sent(98_796);
        let style = Style { utf8: false, colour: false, width: 80 };
        report.by_day = vec![DayRow { day: "2026-08-21".parse().unwrap(), figures: Figures::default() }];
        let want = "\
campaign spring?[2J
list     news.example.com

                       COUNT   OF SENT
sent                   98796
skipped                 1205             7 more in shadow mode, not taken off
bounces                  355    0.36 %   243 hard, 112 soft
complaints               109    0.11 %!  0.1 % or more
opt-outs                   0
automatic replies          0
reported as not spam       0
reported as delivered      0
reported as delayed        0
retracted                  4             bounces of contacts that proved alive
unverified                 0
contacts                1580             with anything of this

BOUNCES BY CATEGORY  COUNT
rejected               240  ########################################
transient              112  ###################
blocked                  3  #

SKIPPED BY REASON  COUNT
suppressed          1204  ########################################
failed                 1  #

DAY (UTC)   SENT  SKIPPED  BOUNCES           COMPLAINTS
2026-08-21     0        0     0                 0";
        assert_eq!(whole(&style, &report).join("\n"), want);
    }
}
