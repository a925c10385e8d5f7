//! `campaigns`, and `report` over all of them: by mailbox provider, by day.

use super::arguments::{CampaignsArguments, ReportArguments};
use super::chart::{self, Style};
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::rows::{self, Rows, fields};
use super::when;
use crate::admin::wire_reports::{CampaignRow, CampaignsAnswer, DaysAnswer, Figures, ProvidersAnswer};
use jiff::{Timestamp, Zoned};

/// Campaigns asked for at a time.
const PAGE: u64 = 100;
/// Columns from which on the list of campaigns has room for the time of day.
const WIDE: usize = 96;
/// The columns of a campaign before those of its figures.
const COLUMNS: [&str; 4] = ["campaign", "lists", "first_at", "last_at"];
const NONE: &str = "no campaign is known, as far as asked";

/// `backstopctl campaigns`.
pub fn campaigns(client: &Client, asked: &CampaignsArguments, out: &mut Output) -> Result<Exit, Failure> {
    let columns = fields(COLUMNS.into_iter().chain(Figures::COLUMNS));
    let rows = Rows::new(&columns, &asked.output, out)?;
    let query = times(asked.since.as_deref(), asked.until.as_deref())?;
    let limit = asked.limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
    if !asked.output.columns.is_empty() {
        if !rows::lines(client, &format!("/v1/campaigns?{query}{limit}"), rows, out, |_| ())? {
            eprintln!("{NONE}");
        }
        return Ok(Exit::Yes);
    }
    if asked.output.csv || out.json() {
        let body = if asked.output.csv { Body::Csv } else { Body::Lines };
        client.copy(&format!("/v1/campaigns?{query}{limit}"), body, |octets| out.octets(octets))?;
        return Ok(Exit::Yes);
    }
    let style = Style::of(out);
    let (mut cursor, mut any, mut left) = (None::<String>, false, asked.limit.unwrap_or(u64::MAX));
    loop {
        let from = cursor.as_deref().map(|cursor| format!("&cursor={}", encoded(cursor))).unwrap_or_default();
        let most = left.min(PAGE);
        let page: CampaignsAnswer =
            read(&client.ask(&format!("/v1/campaigns?limit={most}&{query}{from}"), Body::None)?)?;
        left = left.saturating_sub(page.campaigns.len() as u64);
        // Columns are aligned within a page: there may be too many to hold.
        let lines = listed(&style, &page.campaigns);
        lines.iter().skip(usize::from(any || page.campaigns.is_empty())).try_for_each(|line| out.line(line))?;
        any |= !page.campaigns.is_empty();
        match page.next {
            Some(next) if left > 0 => cursor = Some(next),
            _ => break,
        }
    }
    if !any {
        eprintln!("{NONE}");
    }
    Ok(Exit::Yes)
}

/// Rows of campaigns, with the last time that anything was heard of each.
fn listed(style: &Style, campaigns: &[CampaignRow]) -> Vec<String> {
    // Where there is little room, the day will do.
    let time = if style.width < WIDE { "YYYY-MM-DD".len() } else { "YYYY-MM-DD HH:MM".len() };
    let shown = |at: Option<Timestamp>| at.map(|at| when::shown(at)[..time].to_owned()).unwrap_or_default();
    let rows: Vec<(String, Figures)> = campaigns.iter().map(|row| (row.campaign.0.clone(), row.figures)).collect();
    let times = std::iter::once("LAST (UTC)".to_owned()).chain(campaigns.iter().map(|row| shown(row.last_at)));
    let narrower = Style { width: style.width.saturating_sub(time + 2), ..*style };
    let lines = chart::figures(&narrower, "CAMPAIGN", &rows);
    times.zip(lines).map(|(at, line)| format!("{at:<time$}  {line}")).collect()
}

/// `backstopctl report --provider` and `report --day`, over all campaigns.
pub fn all(client: &Client, asked: &ReportArguments, out: &mut Output) -> Result<Exit, Failure> {
    let first = if asked.provider { "provider" } else { "day" };
    let columns = figures_by(first);
    let rows = Rows::new(&columns, &asked.output, out)?;
    let query = times(asked.since.as_deref(), asked.until.as_deref())?;
    let target = format!("/v1/report/{first}s?{query}");
    if !asked.output.columns.is_empty() {
        rows::lines(client, &target, rows, out, |_| ())?;
        return Ok(Exit::Yes);
    }
    if asked.output.csv {
        client.copy(&target, Body::Csv, |octets| out.octets(octets))?;
        return Ok(Exit::Yes);
    }
    let answer = client.ask(&target, Body::None)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let style = Style::of(out);
    let (since, until, campaigns, total, head, mut rows) = if asked.provider {
        let answer: ProvidersAnswer = read(&answer)?;
        let rows: Vec<(String, Figures)> =
            answer.providers.into_iter().map(|row| (row.provider, row.figures)).collect();
        (answer.since, answer.until, answer.campaigns, answer.total, "PROVIDER", rows)
    } else {
        let answer: DaysAnswer = read(&answer)?;
        let rows = answer.days.iter().map(|row| (row.day.to_string(), row.figures)).collect();
        (answer.since, answer.until, answer.campaigns, answer.total, "DAY", rows)
    };
    let plural = if campaigns == 1 { "campaign" } else { "campaigns" };
    out.line(&format!("{campaigns} {plural} from {since} to {until} (UTC)"))?;
    if rows.is_empty() {
        return Ok(Exit::Yes);
    }
    out.line("")?;
    let width = style.width;
    let lines = chart::figures(&Style { width, ..style }, head, &rows);
    lines.iter().try_for_each(|line| out.line(line))?;
    rows.clear();
    out.line("")?;
    for line in totals(&style, &total) {
        out.line(&line)?;
    }
    Ok(Exit::Yes)
}

/// What it comes to in all.
fn totals(style: &Style, total: &Figures) -> Vec<String> {
    let rate = |rate, thresholds| chart::rate(style, rate, thresholds).trim_end().to_owned();
    vec![
        format!("sent        {}", total.sent),
        format!("skipped     {}", total.skipped),
        format!(
            "bounces     {} ({} hard, {} soft){}",
            total.bounces,
            total.hard,
            total.soft,
            rate(total.bounce_rate, chart::BOUNCES)
        ),
        format!("complaints  {}{}", total.complaints, rate(total.complaint_rate, chart::COMPLAINTS)),
        format!("opt-outs    {}", total.opt_outs),
        format!("retracted   {}", total.retracted),
    ]
}

/// The columns of a report by provider or day.
pub(super) fn figures_by(first: &'static str) -> Vec<rows::Column<serde_json::Value>> {
    fields(std::iter::once(first).chain(Figures::COLUMNS))
}

fn times(since: Option<&str>, until: Option<&str>) -> Result<String, Failure> {
    let now = Zoned::now();
    let mut query = Vec::new();
    for (name, option, text) in [("since", "--since", since), ("until", "--until", until)] {
        if let Some(text) = text {
            query.push(format!("{name}={}", encoded(&when::read_as(option, text, &now)?)));
        }
    }
    Ok(query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Campaign;

    #[test]
    fn campaigns_read_like_this() {
        let row = |name: &str, sent, bounces| CampaignRow {
            campaign: Campaign(name.to_owned()),
            lists: Default::default(),
            first_at: None,
            last_at: Some(Timestamp::new(1_780_000_000, 0).unwrap()),
            figures: Figures { sent, bounces, ..Figures::default() }.with_rates(),
        };
        let style = Style { utf8: false, colour: false, width: 100 };
        let rows = [row("spring", 200, 4), row("autumn", 0, 0)];
        assert_eq!(
            listed(&style, &rows),
            [
                "LAST (UTC)        CAMPAIGN  SENT  SKIPPED  BOUNCES           COMPLAINTS",
                "2026-05-28 20:26  spring     200        0     4    2.00 %!      0    0.00 %    #####################",
                "2026-05-28 20:26  autumn       0        0     0                 0",
            ]
        );
        let style = Style { width: 80, ..style };
        assert_eq!(listed(&style, &rows)[1], "2026-05-28  spring     200        0     4    2.00 %!      0    0.00 %");
        let long = listed(&style, &[row(&"spring".repeat(9), 60_000, 4000)]);
        assert!(long.iter().all(|line| line.chars().count() <= 80), "{long:#?}");
    }
}
