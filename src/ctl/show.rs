//! `status` and `show`: one answer, told for a person at three in the morning.

use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::{aligned, clean};
use super::when;
use crate::admin::wire::{ContactAnswer, ResponseAnswer, Status, SuppressionAnswer, word};
use crate::classify::Class;
use crate::policy::State;
use crate::report::Kind;

/// `backstopctl status`.
pub fn status(client: &Client, out: &mut Output) -> Result<Exit, Failure> {
    let answer = client.ask("/v1/status", Body::None)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let status: Status = read(&answer)?;
    for alert in &status.alerts {
        out.line(&format!("ALERT {}: {}", clean(&alert.code), clean(&alert.message)))?;
    }
    let (mode, up) = (word(&status.mode), duration(status.uptime_secs));
    out.line(&format!("backstopd {}, mode {mode}, up {up}", clean(&status.version)))?;
    let file = status.config.file.display().to_string();
    out.line(&format!("config  {}, read {} UTC", clean(&file), when::shown(status.config.loaded_at)))?;
    out.line(&format!("milter  {} connections", status.milter.connections))?;
    if let Some(run) = &status.release {
        let at = when::shown(run.at);
        out.line(&format!("timer   {} contacts released by its last run, {at} UTC", run.released))?;
    }
    let store = &status.store;
    let size = store.disk_bytes.div_ceil(1 << 20);
    out.line(&format!(
        "store   {} events, {} contacts on record, {} writes waiting, {size} MiB",
        store.events, store.contacts, store.waiting
    ))?;
    out.line("")?;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (kind, last) in &status.last_events {
        let address = last.address.as_ref().map(|address| address.to_string()).unwrap_or_default();
        rows.push(vec![kind.clone(), when::shown(last.at), address]);
    }
    print_table(out, &["LAST", "TIME (UTC)", "ADDRESS"], &rows, "no event in the last thirty days")?;
    out.line("")?;
    let counted = status.counters.iter().filter(|(_, count)| **count > 0);
    let rows: Vec<Vec<String>> = counted.map(|(name, count)| vec![name.clone(), count.to_string()]).collect();
    print_table(out, &["EVENT", "SINCE THE START"], &rows, "nothing logged since the start")?;
    Ok(Exit::Yes)
}

/// `backstopctl show ADDR`.
pub fn contact(client: &Client, address: &str, out: &mut Output) -> Result<Exit, Failure> {
    let answer = client.ask(&format!("/v1/contacts/{}", encoded(address)), Body::None)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let contact: ContactAnswer = read(&answer)?;
    for line in verdict(&contact) {
        out.line(&line)?;
    }
    let (skips, responses): (Vec<_>, Vec<_>) = contact.responses.iter().partition(|response| is_own_skip(response));
    if !responses.is_empty() {
        out.line("")?;
        let head = ["TIME (UTC)", "KIND", "CODE", "TYPE", "CATEGORY", "REASON", "AUTHORITY", "CAMPAIGN", "DESCRIPTION"];
        for line in aligned(&head, &responses.into_iter().map(row).collect::<Vec<_>>()) {
            out.line(&line)?;
        }
    }
    if let Some(last) = skips.last() {
        let campaign = last.campaign.as_ref().map_or("-", |campaign| campaign.0.as_str());
        let (times, at, campaign) = (skips.len(), when::shown(last.at), clean(campaign));
        out.line("")?;
        out.line(&format!("taken off {times} messages, the last one {at} UTC, campaign {campaign}"))?;
    }
    Ok(Exit::Yes)
}

/// The answer to "may I mail them, and why not", ahead of everything else.
fn verdict(contact: &ContactAnswer) -> Vec<String> {
    let mut lines = Vec::new();
    let address = clean(contact.address.as_str());
    let listed = contact.lists.first().map(|listing| listing.list.as_str());
    match (contact.state, listed) {
        _ if contact.erased => lines.push(format!("{address}: erased, gets no campaign mail")),
        (State::Active, Some(list)) => lines.push(format!("{address}: on the {list}, gets no campaign mail")),
        (State::Active, None) if contact.suppressions.is_empty() => {
            lines.push(format!("{address}: active, may be mailed"));
        }
        (State::Active, None) => {
            lines.push(format!("{address}: active, may be mailed, except by the lists below"));
        }
        (State::Bounced, _) => lines.push(format!("{address}: bounced, gets no campaign mail")),
        (State::Suppressed, _) => lines.push(format!("{address}: suppressed, gets no campaign mail")),
    }
    lines.extend(contact.lists.iter().map(|listing| {
        let (list, entry) = (listing.list.as_str(), clean(&listing.entry.entry));
        format!("  since {} UTC, on the {list} by {entry}", when::shown(listing.entry.since))
    }));
    lines.extend(contact.suppressions.iter().map(|suppression| format!("  {}", told(suppression))));
    if contact.soft_streak > 0 {
        lines.push(format!("  soft bounces in a row: {}", contact.soft_streak));
    }
    if let Some(limit) = &contact.limit {
        lines.push(format!("  at most {} campaign messages in {}", limit.messages, clean(&limit.window)));
    }
    if !contact.attributes.is_empty() {
        let known: Vec<String> = contact.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(format!("  known: {}", clean(&known.join(", "))));
    }
    // The words behind a suppression, where they are still on record.
    if let Some(suppression) = contact.suppressions.first()
        && let Some(response) = contact.responses.iter().rev().find(|response| {
            response.code.is_some() && response.code == suppression.code && response.diagnostic.is_some()
        })
        && let Some(diagnostic) = &response.diagnostic
    {
        lines.push(format!("  the server said: {}", clean(diagnostic)));
    }
    lines
}

/// One suppression in a line: since when, where, why, until when.
pub fn told(suppression: &SuppressionAnswer) -> String {
    let scope = match suppression.scope.as_str() {
        "system" => "system-wide".to_owned(),
        list => format!("for list {}", clean(list)),
    };
    let mut line = format!("since {} UTC, {scope}: {}", when::shown(suppression.since), clean(&suppression.reason));
    let judged = [
        suppression.code.map(|code| code.to_string()),
        suppression.category.map(|category| category.as_str().to_owned()),
        suppression.bounce_type.map(|bounce_type| bounce_type.as_str().to_owned()),
    ];
    let judged: Vec<String> = judged.into_iter().flatten().collect();
    if judged.is_empty() {
        line.push_str(" (by an operator)");
    } else {
        line.push_str(&format!(" ({})", judged.join(", ")));
    }
    if let Some(campaign) = &suppression.campaign {
        line.push_str(&format!(", campaign {}", clean(&campaign.0)));
    }
    if let Some(until) = suppression.until {
        line.push_str(&format!(", until {} UTC", when::shown(until)));
    }
    line
}

/// Whether Backstop itself kept a message from the contact, rather than something having come back.
fn is_own_skip(response: &ResponseAnswer) -> bool {
    response.class == Class::Skip && response.kind == Kind::Other
}

fn row(response: &ResponseAnswer) -> Vec<String> {
    let mut description = response.description.clone().unwrap_or_default();
    if response.retracted {
        description = format!("retracted: {description}");
    }
    vec![
        when::shown(response.at),
        word(&response.kind),
        response.code.map(|code| code.to_string()).unwrap_or_default(),
        response.bounce_type.map_or("", |bounce_type| bounce_type.as_str()).to_owned(),
        response.category.map_or("", |category| category.as_str()).to_owned(),
        response.reason.clone().unwrap_or_default(),
        response.authority.as_ref().map(word).unwrap_or_default(),
        response.campaign.as_ref().map(|campaign| campaign.0.clone()).unwrap_or_default(),
        description,
    ]
}

fn print_table(out: &mut Output, head: &[&str], rows: &[Vec<String>], without: &str) -> Result<(), Failure> {
    if rows.is_empty() {
        return out.line(without);
    }
    aligned(head, rows).iter().try_for_each(|line| out.line(line))
}

fn duration(seconds: u64) -> String {
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
    use super::*;
    use crate::classify::{BounceCode, BounceType, Category};
    use crate::policy::EventId;
    use crate::report::Campaign;
    use jiff::Timestamp;

    fn suppression() -> SuppressionAnswer {
        SuppressionAnswer {
            scope: "system".to_owned(),
            category: Some(Category::Rejected),
            bounce_type: Some(BounceType::Hard),
            code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
            reason: "user-unknown".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
            campaign: Some(Campaign("77".to_owned())),
            event: EventId(1),
        }
    }

    #[test]
    fn a_bounce_is_told_with_code_category_type_and_campaign() {
        let want = "since 1970-01-01 00:00 UTC, system-wide: user-unknown (5.1.1, rejected, hard), campaign 77";
        assert_eq!(told(&suppression()), want);
    }

    #[test]
    fn a_persons_word_is_told_as_such() {
        let by_hand = SuppressionAnswer {
            scope: "news.example.org".to_owned(),
            category: None,
            bounce_type: None,
            code: None,
            reason: "asked by phone".to_owned(),
            campaign: None,
            ..suppression()
        };
        let want = "since 1970-01-01 00:00 UTC, for list news.example.org: asked by phone (by an operator)";
        assert_eq!(told(&by_hand), want);
    }

    #[test]
    fn durations_are_short() {
        for (seconds, want) in [(59, "59 s"), (60, "1 min"), (3_660, "1 h 1 min"), (90_000, "1 d 1 h")] {
            assert_eq!(duration(seconds), want, "{seconds}");
        }
    }
}
