//! `[policy]` and its sections, one for each category: the profile's table, with the operator's changes.

use super::config::ConfigError;
use super::keys::{Keys, boolean, number, word};
use crate::policy::{Cell, Level, Policy, Profile, Proof, Table};
use std::time::Duration;
use toml::de::DeValue;

/// `[policy]` and `[authority] accept_unverified`.
///
/// # Errors
/// [`ConfigError`] for the first thing that cannot be used.
pub fn read_policy(keys: &Keys<'_>, default: Policy) -> Result<Policy, ConfigError> {
    let days = |value: &DeValue<'_>| {
        number(1..=365, "days")(value).map(|days: u32| Duration::from_secs(u64::from(days) * 86_400))
    };
    let profile = keys.get("policy.profile", default.profile, word(&Profile::ALL))?;
    Ok(Policy {
        profile,
        settle: keys.get("policy.settle_days", default.settle, days)?,
        accept_unverified: keys.get("authority.accept_unverified", default.accept_unverified, boolean)?,
        table: read_table(keys, Table::of(profile))?,
        proof: Proof {
            soft: keys.get("policy.proof_of_life.soft", default.proof.soft, level)?,
            unknown: keys.get("policy.proof_of_life.unknown", default.proof.unknown, level)?,
            hard: keys.get("policy.proof_of_life.hard", default.proof.hard, level)?,
        },
    })
}

fn read_table(keys: &Keys<'_>, of_profile: Table) -> Result<Table, ConfigError> {
    keys.get("policy.complaint.responses", (), |value| match number(1..=1000, "responses")(value)? {
        1_u32 => Ok(()),
        more => Err(format!(
            "{more} cannot be used; a complaint always suppresses at once, that is not configurable; set it to 1"
        )),
    })?;
    Ok(Table {
        rejected: read_cell(keys, "rejected", of_profile.rejected)?,
        invalid: read_cell(keys, "invalid", of_profile.invalid)?,
        transient: read_cell(keys, "transient", of_profile.transient)?,
        unknown: read_cell(keys, "unknown", of_profile.unknown)?,
        blocked: read_cell(keys, "blocked", of_profile.blocked)?,
        failed: read_cell(keys, "failed", of_profile.failed)?,
        complaint: of_profile.complaint,
    })
}

fn read_cell(keys: &Keys<'_>, category: &str, cell: Cell) -> Result<Cell, ConfigError> {
    let key = |name: &str| format!("policy.{category}.{name}");
    let responses = number(1..=1000, "responses");
    let reactivate =
        |value: &DeValue<'_>| number(0..=3650, "days")(value).map(|days| Some(days).filter(|days| *days > 0));
    Ok(Cell {
        hard_responses: keys.get(&key("hard_responses"), cell.hard_responses, &responses)?,
        responses: keys.get(&key("responses"), cell.responses, &responses)?,
        span_days: keys.get(&key("span_days"), cell.span_days, number(0..=3650, "days"))?,
        reactivate_days: keys.get(&key("reactivate_days"), cell.reactivate_days, reactivate)?,
        doubling: keys.get(&key("doubling"), cell.doubling, boolean)?,
        counts_as: cell.counts_as,
    })
}

/// From 1: a program that opens a message proves nothing.
fn level(value: &DeValue<'_>) -> Result<Level, String> {
    number::<u8>(1..=5, "levels")(value).and_then(Level::try_from)
}
