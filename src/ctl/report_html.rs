//! `report --html`: the report of a campaign as one page that needs nothing else.
//!
//! In: `GET /v1/campaigns/{id}`, and its responses as they stream in. Out: a file that is there whole or not at
//! all. The first rows stand in the page as a table; all of them as JSON beside it, from which the page's script
//! shows some at a time. So memory is bounded here and in the browser, and readers without scripts have a table.

mod charts;
mod page;
mod text;

use super::client::{Body, Client};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::place::Place;
use crate::admin::wire_campaigns::{CampaignAnswer, CampaignResponse};
use jiff::Timestamp;
use page::{Row, around};
use std::io::{self, Write};
use std::path::Path;
use text::{count, html};

/// Rows in the table itself: what is read without scripts.
const TABLE: u64 = 500;
/// Rows in the page. A browser holds them all; more are for the CSV.
const ROWS: u64 = 100_000;

/// Writes the page of the campaign behind `target` to `file`; `-` is standard output.
pub fn write(client: &Client, target: &str, file: &Path, out: &mut Output) -> Result<Exit, Failure> {
    let report: CampaignAnswer = read(&client.ask(target, Body::None)?)?;
    let rows = if file == Path::new("-") {
        page(client, target, &report, &mut |text| out.octets(text.as_bytes()))?
    } else {
        let mut place = Place::for_file(file).map_err(|error| cannot_write(file, &error))?;
        let rows = page(client, target, &report, &mut |text| {
            place.out.write_all(text.as_bytes()).map_err(|error| cannot_write(file, &error))
        })?;
        place.finish().map_err(|error| cannot_write(file, &error))?;
        rows
    };
    if rows > ROWS {
        eprintln!("the page has the first {} of {} rows; --responses --csv has all", count(ROWS), count(rows));
    }
    Ok(Exit::Yes)
}

fn cannot_write(file: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Output, format!("{}: {error}", file.display()))
}

/// Writes the page piece by piece and says how many rows there are.
fn page(
    client: &Client,
    target: &str,
    report: &CampaignAnswer,
    write: &mut dyn FnMut(&str) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let around = around(report, Timestamp::now());
    write(&around.before)?;
    // The JSON of the first rows waits until the table is closed.
    let (mut waiting, mut rows) = (Some(String::new()), 0);
    client.follow(&format!("{target}/responses"), Body::Lines, |line| {
        rows += 1;
        if rows > ROWS {
            return Ok(());
        }
        let row = Row::of(&read::<CampaignResponse>(line)?);
        let json = format!("{}{}", if rows == 1 { "\n" } else { ",\n" }, row.json());
        match &mut waiting {
            Some(json_so_far) => {
                write(&row.html())?;
                json_so_far.push_str(&json);
                if rows == TABLE { close(&mut waiting, write) } else { Ok(()) }
            }
            None => write(&json),
        }
    })?;
    if waiting.is_some() {
        close(&mut waiting, write)?;
    }
    write("]</script>\n")?;
    write(&notes(rows, report))?;
    write(&around.behind)?;
    Ok(rows)
}

/// Ends the table and begins the JSON.
fn close(waiting: &mut Option<String>, write: &mut dyn FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    write("</tbody>\n</table>\n</div>\n<script type=\"application/json\" id=\"rows\">[")?;
    write(&waiting.take().unwrap_or_default())
}

/// What stands below the table: how much of it there is, and how to see the rest.
fn notes(rows: u64, report: &CampaignAnswer) -> String {
    let campaign = &report.campaign.0;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@');
    // Nobody shall copy a hostile name into a shell.
    let name = if campaign.chars().all(plain) && !campaign.starts_with('-') { campaign } else { "CAMPAIGN" };
    let command = format!("<code>backstopctl report --responses --csv {}</code>", html(name));
    let table = match rows {
        0 => "Nothing came back, and nobody was skipped.".to_owned(),
        rows if rows > TABLE => {
            format!("These are the first {} of {} rows. All of them: {command}", count(TABLE), count(rows))
        }
        rows => format!("{} {}.", count(rows), if rows == 1 { "row" } else { "rows" }),
    };
    let cut = if rows > ROWS {
        format!(
            "<p class=\"note\">The page holds the first {} of {} rows, in the order of contacts. All of them: {command}</p>\n",
            count(ROWS),
            count(rows)
        )
    } else {
        String::new()
    };
    format!(
        "<p id=\"static\" class=\"note\">{table}</p>\n{cut}<div id=\"pager\" class=\"pager\" role=\"group\" \
         aria-label=\"Pages\" hidden><button id=\"first\" type=\"button\">« First</button> <button id=\"back\" \
         type=\"button\">‹ Previous</button> <button id=\"on\" type=\"button\">Next ›</button> <button id=\"last\" \
         type=\"button\">Last »</button></div>\n"
    )
}
