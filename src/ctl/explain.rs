//! `explain`: why a contact may or may not be mailed, told for a person who was woken up for it.

use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::show::told;
use super::table::clean;
use super::when;
use crate::admin::wire::{ExplainAnswer, Ground, Obstacle};
use crate::policy::explain::Release;
use crate::policy::{Authority, Level, OperatorList, Scope};

/// `backstopctl explain ADDR`.
pub fn explain(
    client: &Client,
    address: &str,
    list: Option<&str>,
    campaign: Option<&str>,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let mut query = Vec::new();
    for (name, value) in [("list", list), ("campaign", campaign)] {
        query.extend(value.map(|value| format!("{name}={}", encoded(value))));
    }
    let target = format!("/v1/contacts/{}/explain?{}", encoded(address), query.join("&"));
    let answer = client.ask(&target, Body::None)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let answer: ExplainAnswer = read(&answer)?;
    lines(&answer).iter().try_for_each(|line| out.line(line))?;
    Ok(Exit::Yes)
}

fn lines(answer: &ExplainAnswer) -> Vec<String> {
    let address = clean(answer.address.as_str());
    let mail = match &answer.list {
        Some(list) => format!("campaign mail of {}", clean(&list.0)),
        None => "campaign mail".to_owned(),
    };
    let mut lines = vec![match answer.mailed {
        true => format!("{address}: may be mailed; nothing keeps {mail} from it"),
        false => format!("{address}: gets no {mail}"),
    }];
    for obstacle in &answer.obstacles {
        lines.push(String::new());
        lines.push(named(obstacle));
        if !obstacle.rests_on.is_empty() {
            lines.push("  It rests on:".to_owned());
            obstacle.rests_on.iter().for_each(|ground| tell(ground, &mut lines));
        }
        let plural = if obstacle.releases.len() == 1 && obstacle.rests_on.is_empty() {
            "This ends it:"
        } else {
            "Each of these ends it:"
        };
        if !obstacle.releases.is_empty() {
            lines.push(format!("  {plural}"));
        }
        lines.extend(obstacle.releases.iter().map(|release| format!("    {}", how(release, &address, obstacle))));
        if let Some(ground) = obstacle.rests_on.first() {
            lines.push(match ground.batch {
                Some(batch) => format!("    a wrong import:  backstopctl revert {batch} --reason TEXT"),
                None => format!("    a wrong report:  backstopctl undo {} --reason TEXT", ground.event),
            });
        }
    }
    if !answer.elsewhere.is_empty() {
        lines.push(String::new());
        lines.push("For other mail, it is suppressed:".to_owned());
        lines.extend(answer.elsewhere.iter().map(|suppression| format!("  {}", told(suppression))));
    }
    if !answer.not_counted.is_empty() {
        lines.push(String::new());
        lines.push("On record, but not counted, or not as it came:".to_owned());
        for uncounted in &answer.not_counted {
            lines.push(format!("  {}", headline(&uncounted.ground)));
            lines.push(format!("      because  {}", uncounted.not_counted));
            lines.push(format!("      event    {}", uncounted.ground.event));
        }
    }
    lines
}

/// What keeps mail from the contact.
fn named(obstacle: &Obstacle) -> String {
    if let Some(limit) = obstacle.limit {
        return format!("Its share is used up: {limit}; mail passes again when that time has gone by");
    }
    match (&obstacle.suppression, &obstacle.listing) {
        (Some(suppression), _) => format!("Suppressed {}", told(suppression)),
        (None, Some(listing)) => {
            let (list, entry) = (listing.list.title(), clean(&listing.entry.entry));
            format!("On the {list} since {} UTC, by the entry {entry}", when::shown(listing.entry.since))
        }
        (None, None) if obstacle.erased => "Erased; a keyed hash was kept that blocks the address".to_owned(),
        (None, None) => obstacle.reason.as_str().to_owned(),
    }
}

/// An event with everything that speaks for it.
fn tell(ground: &Ground, lines: &mut Vec<String>) {
    lines.push(format!("    {}", headline(ground)));
    let rule = ground.rule.as_ref().map(|rule| match &ground.matched {
        Some(matched) => format!("{}, which matched \"{}\"", clean(rule), clean(matched)),
        None => clean(rule),
    });
    let believed = ground.authority.map(|authority| match &ground.authority_because {
        Some(because) => format!("{}: {}", authority.as_str(), clean(because)),
        None => format!("{}: {}", authority.as_str(), vouched(authority)),
    });
    for (name, value) in [
        ("said", ground.diagnostic.as_deref().map(clean)),
        ("by", ground.reporting_mta.as_deref().map(clean).or(ground.uid.map(|uid| format!("user id {uid}")))),
        ("rule", rule),
        ("belief", believed),
        ("from", ground.source.as_deref().map(clean)),
        ("batch", ground.batch.map(|batch| batch.to_string())),
        ("event", Some(ground.event.to_string())),
    ] {
        lines.extend(value.map(|value| format!("        {name:<7}  {value}")));
    }
}

/// What an authority means, where the evidence does not say it in its own words.
fn vouched(authority: Authority) -> &'static str {
    match authority {
        Authority::Unverified => "nothing vouches for it",
        Authority::Authenticated => "its signature verifies for a known feedback loop",
        Authority::Matched => "it answers a message that we remember sending",
        Authority::Local => "written by our own Postfix",
        Authority::Signed => "it carries a valid token of ours",
        Authority::Operator => "a person said so",
    }
}

/// One event in a line.
fn headline(ground: &Ground) -> String {
    let mut line = format!("{} UTC  {}", when::shown(ground.at), clean(&ground.kind));
    for word in [
        ground.code.map(|code| code.to_string()),
        ground.bounce_type.map(|bounce_type| bounce_type.as_str().to_owned()),
        ground.category.map(|category| category.as_str().to_owned()),
        ground.reason.as_deref().map(clean),
    ] {
        line.extend(word.map(|word| format!(" {word}")));
    }
    if let Some(fault) = ground.fault {
        line.push_str(&format!(", fault of the {}", fault.as_str()));
    }
    if let Some(campaign) = &ground.campaign {
        line.push_str(&format!(", campaign {}", clean(&campaign.0)));
    }
    line
}

/// What would end it, with the command that does.
fn how(release: &Release, address: &str, obstacle: &Obstacle) -> String {
    match release {
        Release::Person { scope: Scope::System } => {
            format!("a person:        backstopctl reactivate {address} --reason TEXT")
        }
        Release::Person { scope: Scope::List(list) } => {
            format!("a person:        backstopctl reactivate {address} --list {} --reason TEXT", clean(&list.0))
        }
        Release::ProofOfLife { level } => {
            format!("a sign of life:  level {} or more ({})", u8::from(*level), in_words(*level))
        }
        Release::Timer { at } => format!("time:            by itself on {} UTC", when::shown(*at)),
        Release::Delisting { list } => {
            let entry = obstacle.entry().map(|entry| clean(&entry.entry)).unwrap_or_default();
            match (list, obstacle.entry().and_then(|entry| entry.batch)) {
                (_, Some(batch)) => format!("the whole batch: backstopctl revert {batch} --reason TEXT"),
                (OperatorList::Blocklist | OperatorList::Robinson, None) => {
                    format!("a person:        backstopctl {} remove {entry} --reason TEXT", list.as_str())
                }
            }
        }
    }
}

fn in_words(level: Level) -> &'static str {
    match u8::from(level) {
        0 => "an open by a program",
        1 => "an open",
        2 => "a click",
        3 => "a click by a person",
        4 => "a reply, or a delivery that is reported",
        _ => "a purchase, a login or a confirmation",
    }
}
