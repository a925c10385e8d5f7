//! `policy show`: the table in force.

use super::arguments::ListOutput;
use super::client::{Body, Client};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::rows::{Rows, fields};
use super::table::aligned;
use crate::admin::wire::word;
use crate::admin::wire_policy::{PolicyAnswer, PolicyRow};

/// The fields of a row.
const COLUMNS: [&str; 7] =
    ["category", "hard_responses", "responses", "span_days", "reactivate_days", "doubling", "counts_as"];

/// `backstopctl policy show`: the table alone as CSV, or where columns are asked for.
pub fn show(client: &Client, asked: &ListOutput, out: &mut Output) -> Result<Exit, Failure> {
    let columns = fields(COLUMNS);
    let mut rows = Rows::new(&columns, asked, out)?;
    let answer = client.ask("/v1/policy", Body::None)?;
    if out.json() {
        out.raw(&answer)?;
        return Ok(Exit::Yes);
    }
    if asked.csv || !asked.columns.is_empty() {
        let policy: serde_json::Value = read(&answer)?;
        rows.print(policy["table"].as_array().map_or(&[], Vec::as_slice), out)?;
        return Ok(Exit::Yes);
    }
    told(&read(&answer)?).iter().try_for_each(|line| out.line(line))?;
    Ok(Exit::Yes)
}

fn told(policy: &PolicyAnswer) -> Vec<String> {
    let mut lines = vec![
        format!("profile {}, settled after {} days", word(&policy.profile), policy.settle_days),
        format!("unverified evidence {}", if policy.accept_unverified { "counts" } else { "decides nothing" }),
        String::new(),
    ];
    let head = ["CATEGORY", "HARD", "SOFT", "OVER DAYS", "RELEASED AFTER", "IN A ROW WITH"];
    let rows: Vec<Vec<String>> = policy.table.iter().map(row).collect();
    lines.extend(aligned(&head, &rows));
    let proof = &policy.proof_of_life;
    let [soft, unknown, hard] = [proof.soft, proof.unknown, proof.hard].map(u8::from);
    lines.push(String::new());
    lines.push(format!(
        "a sign of life retracts a soft bounce from level {soft}, unknown from {unknown}, hard from {hard}"
    ));
    lines
}

fn row(row: &PolicyRow) -> Vec<String> {
    let cell = &row.cell;
    let times = |count: u32| if count == 1 { "at once".to_owned() } else { count.to_string() };
    let released = match (cell.reactivate_days, cell.doubling) {
        (None, _) => "never".to_owned(),
        (Some(days), true) => format!("{days} days, doubling"),
        (Some(days), false) => format!("{days} days"),
    };
    let alone = cell.hard_responses == 1 && cell.responses == 1;
    vec![
        row.category.as_str().to_owned(),
        times(cell.hard_responses),
        times(cell.responses),
        if cell.span_days > 0 { cell.span_days.to_string() } else { String::new() },
        released,
        if alone { String::new() } else { cell.counts_as.as_str().to_owned() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, Profile};

    #[test]
    fn the_table_of_weekly_reads_like_this() {
        let lines = told(&PolicyAnswer::from(&Policy::of(Profile::Weekly)));
        let want = "\
profile weekly, settled after 6 days
unverified evidence decides nothing

CATEGORY   HARD     SOFT     OVER DAYS  RELEASED AFTER     IN A ROW WITH
rejected   at once  at once  -          never              -
invalid    at once  at once  -          never              -
transient  3        3        14         14 days, doubling  transient
unknown    3        3        14         14 days, doubling  transient
blocked    at once  3        -          14 days, doubling  blocked
failed     4        4        14         21 days, doubling  failed
complaint  at once  at once  -          never              -

a sign of life retracts a soft bounce from level 1, unknown from 3, hard from 3";
        assert_eq!(lines.join("\n"), want);
    }
}
