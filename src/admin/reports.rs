//! Campaigns side by side, and all of them together by mailbox provider and by day (SPEC 8, 12).
//!
//! Each campaign costs what its own report does: about 30 microseconds for each contact that something came back from
//! or that was skipped. Memory grows with the contacts of one campaign at a time.

use super::answer::{Format, Parameters, Refusal, Stream, blocking, json, ndjson};
use super::campaign_count::{Judge, Rows, day_of, number_of};
use super::campaigns::{TURNS, asked};
use super::given::{read_limit, read_time};
use super::listing::{internal, page_of};
use super::routes::{self, App};
use super::wire_campaigns::CampaignAnswer;
use super::wire_reports::{CampaignRow, CampaignsAnswer, DayRow, DaysAnswer, Figures, ProviderRow, ProvidersAnswer};
use crate::report::Campaign;
use crate::store::sent::Sent;
use crate::store::tally::CampaignTimes;
use crate::store::{Store, StoreError};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Campaigns on a page where `limit` is not given.
const PAGE: usize = 100;
/// Days that a report over all campaigns covers where `since` is not given.
const DAYS: i64 = 30;
/// Providers with a row of their own in a report over all campaigns.
const PROVIDERS: usize = 1000;

/// A campaign's place in the list: that of which the last thing was heard first.
type Place = (Reverse<Timestamp>, String);

/// Which campaigns are wanted.
#[derive(Clone, Default)]
struct Wanted {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    behind: Option<Place>,
}

/// `GET /v1/campaigns`. JSON comes in pages of 100 if nothing is said; NDJSON and CSV without a `limit` whole.
pub(super) async fn campaigns(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let query = Parameters::read(&request, &["since", "until", "cursor", "limit"])?;
    let format = Format::wanted(request.headers())?;
    let limit = read_limit(&query)?;
    let wanted = Wanted {
        since: query.parse("since", read_time)?,
        until: query.parse("until", read_time)?,
        behind: query.parse("cursor", read_place)?,
    };
    must_be_indexed(&app)?;
    match (format, limit) {
        (Format::Json, limit) => {
            let (campaigns, next) = page(&app, wanted, limit.unwrap_or(PAGE)).await?;
            Ok(json(&CampaignsAnswer { campaigns, next: next.map(|place| written(&place)) }))
        }
        (format, Some(limit)) => {
            let (campaigns, next) = page(&app, wanted, limit).await?;
            let next = next.map(|place| written(&place));
            rows(format, &CampaignRow::csv_head(), &campaigns, CampaignRow::csv, next)
        }
        (format, None) => whole(app, wanted, format),
    }
}

/// Streams every page.
fn whole(app: Arc<App>, mut wanted: Wanted, format: Format) -> Result<Response, Refusal> {
    let turn = routes::turn(&app.lists, "the writing of 16 long lists")?;
    let head = opening(format, &CampaignRow::csv_head());
    let (sender, response) = Stream::answer(format.content_type());
    tokio::spawn(async move {
        let mut piece = Ok(Bytes::from(head));
        loop {
            let broken = piece.is_err();
            if sender.send(piece).await.is_err() || broken {
                break;
            }
            let (found, next) = match page(&app, wanted.clone(), PAGE).await {
                Ok((campaigns, next)) => (lines(format, &campaigns, CampaignRow::csv), next),
                Err(refusal) => (Err(io::Error::other(refusal.message)), None),
            };
            piece = found;
            if next.is_none() {
                let _ = sender.send(piece).await;
                break;
            }
            wanted.behind = next;
        }
        drop(turn);
    });
    Ok(response)
}

/// A page of campaigns, and the place to go on behind.
async fn page(app: &Arc<App>, wanted: Wanted, limit: usize) -> Result<(Vec<CampaignRow>, Option<Place>), Refusal> {
    let turn = TURNS.acquire().await;
    let (store, policy) = (app.service.store().clone(), app.service.in_force().policy.clone());
    let (asked, going_on) = asked(app);
    let made = blocking(move || {
        let (places, more) = first_of(&store, &wanted, limit, &going_on)?;
        let next = places.last_key_value().filter(|_| more).map(|(place, _)| place.clone());
        let judge = Judge { store: &store, policy: &policy, now: Timestamp::now() };
        let made = places.into_values().map(|campaign| judge.report(campaign, &going_on).map(CampaignRow::from));
        Ok((made.collect::<Result<Vec<_>, _>>()?, next))
    });
    let made = made.await?;
    drop((turn, asked));
    Ok(made)
}

/// The first so many of the campaigns wanted, and whether there are more.
fn first_of(
    store: &Store,
    wanted: &Wanted,
    limit: usize,
    going_on: &dyn Fn() -> bool,
) -> Result<(BTreeMap<Place, Campaign>, bool), StoreError> {
    let (mut places, mut more, mut broken_off) = (BTreeMap::new(), false, false);
    store.campaigns(&mut |times: CampaignTimes| {
        let is_wanted = wanted.since.is_none_or(|since| times.last_at >= since)
            && wanted.until.is_none_or(|until| times.first_at < until);
        let place = (Reverse(times.last_at), times.campaign.0.clone());
        if is_wanted && wanted.behind.as_ref().is_none_or(|behind| place > *behind) {
            places.insert(place, times.campaign);
            if places.len() > limit {
                places.pop_last();
                more = true;
            }
        }
        broken_off = !going_on();
        !broken_off
    })?;
    if broken_off { Err(StoreError::Stopped) } else { Ok((places, more)) }
}

/// `GET /v1/report/providers`: whole UTC days, the last 30 if nothing is said.
pub(super) async fn providers(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (format, days) = read_request(&request)?;
    let All { campaigns, rows: found, sent } = all(&app, days).await?;
    let total = total(&found.by_day(&sent));
    let providers = found.by_provider(&sent, PROVIDERS);
    match format {
        Format::Json => Ok(json(&ProvidersAnswer { since: days.0, until: days.1, campaigns, total, providers })),
        format => rows(format, &ProviderRow::csv_head(), &providers, ProviderRow::csv, None),
    }
}

/// `GET /v1/report/days`: whole UTC days, the last 30 if nothing is said.
pub(super) async fn days(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let (format, wanted) = read_request(&request)?;
    let All { campaigns, rows: found, sent } = all(&app, wanted).await?;
    let days = found.by_day(&sent);
    let total = total(&days);
    match format {
        Format::Json => Ok(json(&DaysAnswer { since: wanted.0, until: wanted.1, campaigns, total, days })),
        format => rows(format, &DayRow::csv_head(), &days, DayRow::csv, None),
    }
}

fn read_request(request: &Request) -> Result<(Format, (Date, Date)), Refusal> {
    let query = Parameters::read(request, &["since", "until"])?;
    let format = Format::wanted(request.headers())?;
    let until = query.parse("until", read_time)?.unwrap_or_else(Timestamp::now);
    // A day that `until` does not reach into is not counted.
    let last = day_of(until.checked_sub(1.nanosecond()).unwrap_or(until));
    let first = match query.parse("since", read_time)? {
        Some(since) => day_of(since),
        None => last.checked_sub((DAYS - 1).days()).unwrap_or(Date::MIN),
    };
    if first > last {
        return Err(Refusal::value("`until` is not behind `since`"));
    }
    Ok((format, (first, last)))
}

/// What all campaigns did on some days.
struct All {
    campaigns: u64,
    rows: Rows,
    sent: Sent,
}

async fn all(app: &Arc<App>, (first, last): (Date, Date)) -> Result<All, Refusal> {
    must_be_indexed(app)?;
    let turn = TURNS.acquire().await;
    let (store, policy) = (app.service.store().clone(), app.service.in_force().policy.clone());
    let (asked, going_on) = asked(app);
    let made = blocking(move || {
        let mut wanted = Vec::new();
        store.campaigns(&mut |times| {
            if day_of(times.last_at) >= first && day_of(times.first_at) <= last {
                wanted.push(times.campaign);
            }
            going_on()
        })?;
        let judge = Judge { store: &store, policy: &policy, now: Timestamp::now() };
        let (first, last) = (first, last);
        let (mut rows, mut campaigns) = (Rows::within(first, last), 0);
        let days = number_of(first)..=number_of(last);
        for campaign in wanted {
            let was_sent = store.sent_of(&campaign)?.by_day.keys().any(|day| days.contains(day));
            campaigns += u64::from(judge.add(&mut rows, campaign, &going_on)? || was_sent);
        }
        if !going_on() {
            return Err(StoreError::Stopped);
        }
        Ok(All { campaigns, rows, sent: store.sent_on_days(*days.start(), *days.end())? })
    });
    let made = made.await?;
    drop((turn, asked));
    Ok(made)
}

fn total(days: &[DayRow]) -> Figures {
    let mut total = Figures::default();
    days.iter().for_each(|row| total.add(&row.figures));
    total
}

impl From<CampaignAnswer> for CampaignRow {
    fn from(report: CampaignAnswer) -> CampaignRow {
        let figures = Figures {
            sent: report.sent,
            delivered: report.delivered,
            delayed: report.delayed,
            skipped: report.skipped.total,
            bounces: report.bounces.total,
            hard: report.bounces.hard,
            soft: report.bounces.soft,
            complaints: report.complaints,
            opt_outs: report.opt_outs,
            autoreplies: report.autoreplies,
            not_spam: report.not_spam,
            retracted: report.retracted,
            bounce_rate: None,
            complaint_rate: None,
        };
        let CampaignAnswer { campaign, lists, first_at, last_at, .. } = report;
        CampaignRow { campaign, lists, first_at, last_at, figures: figures.with_rates() }
    }
}

fn must_be_indexed(app: &App) -> Result<(), Refusal> {
    if app.service.store().is_indexed() {
        return Ok(());
    }
    let message = "the store of before is still being indexed by campaign; ask again in a few minutes";
    Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "indexing", message))
}

fn opening(format: Format, csv_head: &str) -> String {
    if format == Format::Csv { csv_head.to_owned() } else { String::new() }
}

fn lines<T: Serialize>(format: Format, rows: &[T], csv: fn(&T) -> String) -> io::Result<Bytes> {
    match format {
        Format::Json | Format::NdJson => ndjson(rows),
        Format::Csv => Ok(rows.iter().map(csv).collect::<String>().into()),
    }
}

fn rows<T: Serialize>(
    format: Format,
    head: &str,
    rows: &[T],
    csv: fn(&T) -> String,
    next: Option<String>,
) -> Result<Response, Refusal> {
    let body = [Bytes::from(opening(format, head)), lines(format, rows, csv).map_err(internal)?].concat();
    Ok(page_of(format, body, next))
}

/// A cursor: the time, a blank, the campaign.
fn written((Reverse(at), campaign): &Place) -> String {
    format!("{at} {campaign}")
}

fn read_place(text: &str) -> Result<Place, String> {
    let read = text.split_once(' ').and_then(|(at, campaign)| Some((Reverse(at.parse().ok()?), campaign.to_owned())));
    read.ok_or_else(|| "a cursor is wanted, as `next` gives it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_whatever_the_campaign_is_called() {
        for campaign in ["77", "a b", "", " \u{fc}"] {
            let place = (Reverse(Timestamp::new(1_700_000_000, 5).unwrap()), campaign.to_owned());
            assert_eq!(read_place(&written(&place)), Ok(place));
        }
        assert!(read_place("77").is_err() && read_place("x 77").is_err());
    }
}
