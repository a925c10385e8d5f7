//! `report`: what one campaign did.

use super::arguments::ReportArguments;
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::{aligned, clean};
use super::when;
use crate::admin::wire::word;
use crate::admin::wire_campaigns::{CampaignAnswer, CampaignResponse};
use std::collections::BTreeMap;

/// Rows aligned together.
const SCREEN: usize = 1000;

/// `backstopctl report CAMPAIGN`.
pub fn report(client: &Client, asked: &ReportArguments, out: &mut Output) -> Result<Exit, Failure> {
    if asked.csv && out.json() {
        return Err(Failure::new(Exit::Usage, "--csv and --json exclude each other"));
    }
    let target = format!("/v1/campaigns/{}", encoded(&asked.campaign));
    if asked.responses {
        return responses(client, &target, asked.csv, out);
    }
    let answer = client.ask(&target, Body::None)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let report: CampaignAnswer = read(&answer)?;
    if asked.csv {
        out.octets(report.csv().as_bytes())?;
    } else {
        told(&report).iter().try_for_each(|line| out.line(line))?;
    }
    Ok(Exit::Yes)
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
fn told(report: &CampaignAnswer) -> Vec<String> {
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
    let types = format!("{} hard, {} soft", bounces.hard, bounces.soft);
    let bounced = match bounces.total {
        0 => String::new(),
        _ => format!("{types}; {}", kinds(&bounces.by_category)),
    };
    let shadow = match report.skipped.shadow {
        0 => String::new(),
        shadow => format!("{shadow} more in shadow mode, not taken off"),
    };
    let skipped = [kinds(&report.skipped.by_reason), shadow].into_iter().filter(|words| !words.is_empty());
    let unless = |count: u64, words: &str| if count == 0 { String::new() } else { words.to_owned() };
    let figures: [(&str, u64, Option<f64>, String); 12] = [
        ("sent", report.sent, None, if report.sent == 0 { "none that the ledger remembers" } else { "" }.to_owned()),
        ("skipped", report.skipped.total, None, skipped.collect::<Vec<_>>().join("; ")),
        ("bounces", bounces.total, report.rates.bounces, bounced),
        ("complaints", report.complaints, report.rates.complaints, String::new()),
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
            let rate = rate.map(|rate| format!("{:6.2} %", rate * 100.0)).unwrap_or_default();
            vec![name.to_owned(), format!("{count:>width$}"), rate, words]
        })
        .collect();
    lines.extend(table(&rows, width));
    lines
}

/// As [`aligned`], but with numbers at the right and nothing for what is empty.
fn table(rows: &[Vec<String>], width: usize) -> Vec<String> {
    let name = rows.iter().map(|row| row[0].len()).max().unwrap_or(0);
    let head = [String::new(), format!("{:>width$}", "COUNT"), "OF SENT".to_owned(), String::new()];
    let line = |row: &[String]| {
        let line = format!("{:<name$}  {:>width$}  {:>8}  {}", row[0], row[1], row[2], clean(&row[3]));
        line.trim_end().to_owned()
    };
    std::iter::once(line(&head)).chain(rows.iter().map(|row| line(row))).collect()
}

/// What is not zero, most first.
fn kinds(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<(&String, &u64)> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), name.as_str()));
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
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
        (report.complaints, report.retracted, report.contacts) = (9, 4, 1580);
        report.of_sent(98_796);
        let want = "\
campaign spring?[2J
list     news.example.com

                       COUNT   OF SENT
sent                   98796
skipped                 1205            1204 suppressed, 1 failed; 7 more in shadow mode, not taken off
bounces                  355    0.36 %  243 hard, 112 soft; 240 rejected, 112 transient, 3 blocked
complaints                 9    0.01 %
opt-outs                   0
automatic replies          0
reported as not spam       0
reported as delivered      0
reported as delayed        0
retracted                  4            bounces of contacts that proved alive
unverified                 0
contacts                1580            with anything of this";
        assert_eq!(told(&report).join("\n"), want);
    }
}
