//! `attributes` and `limit`: what is known of a contact, and how much campaign mail it gets at most.

use super::arguments::{AttributesArguments, LimitArguments};
use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::clean;
use crate::admin::wire::{AttributesAnswer, ContactLimit, LimitAnswer};
use serde::Serialize;
use std::collections::BTreeMap;

/// `backstopctl attributes ADDR NAME=VALUE ...`.
pub fn attributes(client: &Client, asked: &AttributesArguments, out: &mut Output) -> Result<Exit, Failure> {
    let attributes = read_pairs(&asked.attributes)?;
    let target = target(&asked.address, "attributes", asked.dry_run, &asked.reason);
    let answer = client.ask(&target, put(&attributes)?)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let answer: AttributesAnswer = read(&answer)?;
    let known = answer.attributes.iter().map(|(name, value)| format!("{name}={value}"));
    let known = known.collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() { "no attributes" } else { known.as_str() };
    tell(out, answer.address.as_str(), known, answer.dry_run)
}

/// `backstopctl limit ADDR N/WINDOW|none`.
pub fn limit(client: &Client, asked: &LimitArguments, out: &mut Output) -> Result<Exit, Failure> {
    let limit = read_limit(&asked.limit)?;
    let answer = client.ask(&target(&asked.address, "limit", asked.dry_run, &asked.reason), put(&limit)?)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    let answer: LimitAnswer = read(&answer)?;
    let limit = match &answer.limit {
        Some(limit) => format!("at most {} campaign messages in {}", limit.messages, limit.window),
        None => "no limit of its own".to_owned(),
    };
    tell(out, answer.address.as_str(), &limit, answer.dry_run)
}

fn target(address: &str, what: &str, dry_run: bool, reason: &str) -> String {
    format!("/v1/contacts/{}/{what}?dry_run={dry_run}&reason={}", encoded(address), encoded(reason))
}

fn put<T: Serialize>(value: &T) -> Result<Body, Failure> {
    serde_json::to_vec(value).map(Body::Put).map_err(|error| Failure::new(Exit::Data, error.to_string()))
}

fn tell(out: &mut Output, address: &str, what: &str, dry_run: bool) -> Result<Exit, Failure> {
    let (address, what) = (clean(address), clean(what));
    out.line(&match dry_run {
        true => format!("{address}: would have {what}; nothing was changed"),
        false => format!("{address}: {what}"),
    })?;
    Ok(Exit::Yes)
}

fn read_pairs(pairs: &[String]) -> Result<BTreeMap<&str, &str>, Failure> {
    let mut read = BTreeMap::new();
    for pair in pairs {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::new(Exit::Usage, format!("{}: NAME=VALUE is wanted", clean(pair))))?;
        if read.insert(name, value).is_some() {
            return Err(Failure::new(Exit::Usage, format!("{} is given twice", clean(name))));
        }
    }
    Ok(read)
}

fn read_limit(text: &str) -> Result<Option<ContactLimit>, Failure> {
    if text == "none" {
        return Ok(None);
    }
    let read = text.split_once('/').and_then(|(messages, window)| Some((messages.parse().ok()?, window.to_owned())));
    let wanted = || Failure::new(Exit::Usage, format!("{}: N/WINDOW is wanted, as 2/1d, or none", clean(text)));
    read.map(|(messages, window)| Some(ContactLimit { messages, window })).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_an_equals_sign_and_be_empty_but_a_name_stands_once() {
        let pairs = |pairs: &[&str]| {
            let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
            read_pairs(&pairs).map(|read| read.into_iter().map(|(a, b)| format!("{a}:{b}")).collect::<Vec<_>>()).ok()
        };
        assert_eq!(pairs(&["b=x=y", "a="]), Some(vec!["a:".to_owned(), "b:x=y".to_owned()]));
        assert_eq!(pairs(&["a=1", "a=2"]), None);
        assert_eq!(pairs(&["a"]), None);
    }

    #[test]
    fn a_limit_is_so_many_in_a_window_or_none() {
        let limit = |text| read_limit(text).ok().map(|limit| limit.map(|limit| (limit.messages, limit.window)));
        assert_eq!(limit("2/1d"), Some(Some((2, "1d".to_owned()))));
        assert_eq!(limit("none"), Some(None));
        for wrong in ["2", "/1d", "-1/1d", "two/1d", ""] {
            assert_eq!(limit(wrong), None, "{wrong}");
        }
    }
}
