//! `[authority]`: signed return paths. What it says of domains is made whole when `[return_path]` is known.

use super::config::{Config, ConfigError};
use super::keys::{Keys, boolean, number, string};
use super::sections::{domain, path};
use crate::authority::token::LENGTH;
use crate::authority::{SenderDomain, Settings};
use crate::mail::Address;
use toml::de::DeValue;

/// Octets of a local part (RFC 5321 §4.5.3.1.1).
const LOCAL_PART: usize = 64;
/// What marks the wrapped reverse paths of others, which must not be taken for ours.
const OF_OTHERS: [&str; 4] = ["prvs=", "btv1=", "srs0", "srs1"];

/// `[authority]`, but for `accept_unverified`.
pub fn read_authority(keys: &Keys<'_>, default: Settings) -> Result<Settings, ConfigError> {
    const NAMES: [&str; 2] = ["authority.domains.sender", "authority.domains.return_path"];
    let named = |value: &DeValue<'_>| string(value).and_then(|name| domain(&name)).map(Some);
    let sender = |value: &DeValue<'_>| match string(value)?.as_str() {
        "*" => Ok(Some("*".to_owned())),
        name => domain(name).map(Some),
    };
    let entry = |entry: &Keys<'_>| match (entry.get(NAMES[0], None, sender)?, entry.get(NAMES[1], None, named)?) {
        (Some(sender), Some(return_path)) => Ok(SenderDomain { sender, return_path }),
        _ => {
            let problem =
                "is not whole; write it as { sender = \"shop.example\", return_path = \"bounces.shop.example\" }";
            Err(entry.refuse("authority.domains", problem))
        }
    };
    let domains: Vec<SenderDomain> =
        keys.tables("authority.domains", &NAMES)?.iter().map(entry).collect::<Result<_, _>>()?;
    if let Some(twice) =
        (1..domains.len()).find(|at| domains[..*at].iter().any(|one| one.sender == domains[*at].sender))
    {
        let problem = format!("names the sender \"{}\" twice; remove one", domains[twice].sender);
        return Err(keys.refuse("authority.domains", &problem));
    }
    Ok(Settings {
        sign: keys.get("authority.sign", default.sign, boolean)?,
        keys: keys.get("authority.keys", default.keys, path)?,
        max_age_days: keys.get("authority.max_age_days", default.max_age_days, number(1..=3650, "days"))?,
        prefix: keys.get("authority.prefix", default.prefix, prefix)?,
        domain: keys.get("authority.domain", default.domain, |value| match string(value)?.as_str() {
            "" => Ok(None),
            name => domain(name).map(Some),
        })?,
        domains,
    })
}

/// What stands ahead of the token in a local part. With the token it must be one that anybody may write without quotes.
fn prefix(value: &DeValue<'_>) -> Result<String, String> {
    let text = string(value)?;
    let most = LOCAL_PART - LENGTH;
    let may_stand = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_+=.".contains(&octet);
    let is_atom = !text.starts_with('.') && !text.contains("..") && text.bytes().all(may_stand);
    if text.is_empty() || text.len() > most || !is_atom {
        return Err(format!("\"{text}\" cannot be used; it takes 1 to {most} of a-z, 0-9 and -_+=. such as \"b-\""));
    }
    match OF_OTHERS.iter().find(|start| text.starts_with(**start)) {
        Some(start) => Err(format!("\"{text}\" begins as what others wrap reverse paths in, {start}; write \"b-\"")),
        None => Ok(text),
    }
}

/// Fills in the domain of signed reverse paths, and sees to it that what comes back to them is inspected.
pub fn complete(keys: &Keys<'_>, config: &mut Config) -> Result<(), ConfigError> {
    let return_path = &config.return_path.return_path;
    let authority = &mut config.authority;
    if !authority.sign {
        return Ok(());
    }
    if !config.outbound.ledger {
        return Err(
            keys.refuse("authority.sign", "needs outbound.ledger = true: a token names a message in the ledger")
        );
    }
    if authority.domain.is_none() && authority.domains.is_empty() {
        authority.domain = return_path.domains.first().cloned();
        if authority.domain.is_none() {
            let problem =
                "needs a return path: name its domain in [return_path] domains, such as [\"bounces.example.com\"]";
            return Err(keys.refuse("authority.sign", problem));
        }
    }
    authority.domain = authority.domain.take().or_else(|| return_path.domains.first().cloned());
    let signed = |domain: &str| Address::parse(&format!("{}{}@{domain}", authority.prefix, "a".repeat(LENGTH)));
    let is_covered = |domain: &str| signed(domain).is_ok_and(|address| return_path.covers(&address));
    let uncovered = |key: &str, domain: &str| {
        let prefix = &authority.prefix;
        let problem = format!(
            "{prefix}TOKEN@{domain} is not the return path, so what comes back would not be read; add \"{domain}\" to \
             return_path.domains, or \"{prefix}*@{domain}\" to return_path.addresses"
        );
        keys.refuse(key, &problem)
    };
    if let Some(domain) = authority.domain.as_deref().filter(|domain| !is_covered(domain)) {
        return Err(uncovered("authority.domain", domain));
    }
    match authority.domains.iter().find(|entry| !is_covered(&entry.return_path)) {
        Some(entry) => Err(uncovered("authority.domains", &entry.return_path)),
        None => Ok(()),
    }
}
