//! What needs no daemon: `classify`, `codes`, `rules`.

use super::arguments::ListOutput;
use super::exit::{Exit, Failure};
use super::output::Output;
use super::rows::{Column, Rows, usual};
use super::table::{aligned, clean};
use crate::admin::wire::{Classified, ClassifiedRecipient, word};
use crate::admin::{MAIL_BYTES, classified};
use crate::classify::{Category, Rule, RuleError, Rules, code};
use crate::mail::Limits;
use crate::ops::rule_files;
use crate::report::{CampaignHeaders, Dialects};
use serde::Serialize;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    #[serde(flatten)]
    classified: &'a Classified,
}

/// `backstopctl classify FILE...`: a table on a terminal, else one JSON object a line. Exits with 65 if one of
/// them is a report, but broken.
pub fn classify(
    files: &[PathBuf],
    rules: Option<&Path>,
    dialects: Option<&Path>,
    out: &mut Output,
) -> Result<Exit, Failure> {
    let rules = overlaid(rules)?;
    let (limits, campaign_headers) = (Limits::default(), CampaignHeaders::default());
    let dialects = match dialects {
        None => Dialects::compiled_in(),
        Some(directory) => {
            must_exist(directory)?;
            rule_files::dialects(directory).map_err(|error| unusable(error, Exit::Config))?
        }
    };
    let json = out.json() || !out.is_terminal();
    let mut exit = Exit::Yes;
    let read_exit = each_mail(files, |file, mail| {
        let classified = classified(&mail, &limits, &campaign_headers, &dialects, &rules);
        if classified.error.is_some() {
            exit = Exit::Data;
        }
        if json {
            return out.object(&Line { file, classified: &classified });
        }
        told(file, &classified).iter().try_for_each(|line| out.line(line))
    })?;
    Ok(if read_exit == Exit::Yes { exit } else { read_exit })
}

fn told(file: &str, classified: &Classified) -> Vec<String> {
    let mut first = format!("{}: {}", clean(file), word(&classified.kind));
    for (name, value) in [
        ("campaign", classified.campaign.as_ref().map(|campaign| &campaign.0)),
        ("list", classified.list.as_ref().map(|list| &list.0)),
        ("message", classified.message_id.as_ref().map(|id| &id.0)),
    ] {
        if let Some(value) = value {
            first.push_str(&format!(", {name} {}", clean(value)));
        }
    }
    let mut lines = vec![first];
    if let Some(error) = &classified.error {
        lines.push(format!("  broken: {}", clean(error)));
    }
    if !classified.recipients.is_empty() {
        let head =
            ["ADDRESS", "CODE", "TYPE", "CATEGORY", "REASON", "FAULT", "DIALECT", "RULE", "MATCHED", "DIAGNOSTIC"];
        let rows: Vec<Vec<String>> = classified.recipients.iter().map(row).collect();
        lines.extend(aligned(&head, &rows).into_iter().map(|line| format!("  {line}")));
    }
    lines
}

fn row(recipient: &ClassifiedRecipient) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    vec![
        recipient.address.as_ref().map(|address| address.to_string()).unwrap_or_default(),
        recipient.code.map(|code| code.to_string()).unwrap_or_default(),
        recipient.bounce_type.map_or("", |bounce_type| bounce_type.as_str()).to_owned(),
        recipient.category.map_or("", |category| category.as_str()).to_owned(),
        text(&recipient.reason),
        recipient.fault.map_or("", |fault| fault.as_str()).to_owned(),
        text(&recipient.dialect),
        text(&recipient.rule),
        text(&recipient.matched),
        text(&recipient.diagnostic),
    ]
}

/// Reads each file, or standard input for `-`, and hands it on with its name. A file that cannot be read is
/// told of on standard error, the others are read all the same, and the exit status says so at the end.
fn each_mail(files: &[PathBuf], mut take: impl FnMut(&str, Vec<u8>) -> Result<(), Failure>) -> Result<Exit, Failure> {
    let mut exit = Exit::Yes;
    for file in files {
        let name = file.to_string_lossy();
        match read_mail(file) {
            Ok(mail) if mail.len() > MAIL_BYTES => {
                eprintln!("backstopctl: {name}: longer than {MAIL_BYTES} octets");
                exit = Exit::Data;
            }
            Ok(mail) => take(&name, mail)?,
            Err(error) => {
                eprintln!("backstopctl: {name}: {error}");
                exit = Exit::NoInput;
            }
        }
    }
    Ok(exit)
}

fn read_mail(file: &Path) -> io::Result<Vec<u8>> {
    let mut mail = Vec::new();
    // One octet more than is taken tells a mail that is too long.
    let most = MAIL_BYTES as u64 + 1;
    if file == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut mail)?;
    } else {
        std::fs::File::open(file)?.take(most).read_to_end(&mut mail)?;
    }
    Ok(mail)
}

const CODES: &[Column<code::CodeEntry>] = &[
    usual("code", "CODE", |entry| Some(entry.code).into()),
    usual("type", "TYPE", |entry| Some(entry.bounce_type.as_str()).into()),
    usual("category", "CATEGORY", |entry| Some(entry.category.as_str()).into()),
    usual("reason", "REASON", |entry| Some(entry.reason).into()),
    usual("fault", "FAULT", |entry| Some(entry.fault.as_str()).into()),
    usual("description", "DESCRIPTION", |entry| Some(entry.description).into()),
];

/// `backstopctl codes`.
pub fn codes(output: &ListOutput, out: &mut Output) -> Result<Exit, Failure> {
    let mut rows = Rows::new(CODES, output, out)?;
    rows.print(code::table(), out)?;
    rows.end(out)?;
    Ok(Exit::Yes)
}

/// `backstopctl rules test FILE`: exits with 1 if a sample is answered otherwise than its rule says.
pub fn rules_test(file: &Path, out: &mut Output) -> Result<Exit, Failure> {
    let (samples, misses) = Rules::compiled_in().test(file).map_err(|error| unusable(error, Exit::Data))?;
    for miss in &misses {
        if out.json() {
            out.object(&serde_json::json!({
                "rule": miss.rule, "place": miss.place, "sample": miss.sample, "answered": miss.answered,
            }))?;
        } else {
            let (place, rule, answered) = (clean(&miss.place), clean(&miss.rule), &miss.answered);
            out.line(&format!(
                "{place}: sample of rule {rule} is answered by {}: {}, {}, {}: {}",
                clean(&answered.rule),
                answered.category.as_str(),
                answered.bounce_type.as_str(),
                clean(&answered.reason),
                clean(&miss.sample)
            ))?;
        }
    }
    eprintln!("{samples} samples, {} answered otherwise than their rule says", misses.len());
    Ok(if misses.is_empty() { Exit::Yes } else { Exit::No })
}

const RULES: &[Column<Rule>] = &[
    usual("rule", "RULE", |rule| Some(&rule.id).into()),
    usual("category", "CATEGORY", |rule| rule.category.map(Category::as_str).into()),
    usual("type", "TYPE", |rule| rule.bounce_type.map(|bounce_type| bounce_type.as_str()).into()),
    usual("reason", "REASON", |rule| rule.reason.clone().into()),
    usual("fault", "FAULT", |rule| rule.fault.map(|fault| fault.as_str()).into()),
    usual("place", "PLACE", |rule| Some(format!("{}:{}", rule.file.display(), rule.line)).into()),
];

/// `backstopctl rules list`.
pub fn rules_list(rules: Option<&Path>, output: &ListOutput, out: &mut Output) -> Result<Exit, Failure> {
    let rules: Vec<Rule> = overlaid(rules)?.list().cloned().collect();
    let mut rows = Rows::new(RULES, output, out)?;
    rows.print(&rules, out)?;
    rows.end(out)?;
    Ok(Exit::Yes)
}

/// The rules compiled in, with the operator's over them where a directory is named. It was named on purpose,
/// so it must exist.
fn overlaid(directory: Option<&Path>) -> Result<Rules, Failure> {
    let Some(directory) = directory else { return Ok(Rules::compiled_in()) };
    must_exist(directory)?;
    Rules::with_overlay(directory).map_err(|error| unusable(error, Exit::Config))
}

fn must_exist(directory: &Path) -> Result<(), Failure> {
    if directory.is_dir() {
        return Ok(());
    }
    Err(Failure::new(Exit::NoInput, format!("{}: no such directory", directory.display())))
}

fn unusable(error: RuleError, invalid: Exit) -> Failure {
    match &error {
        RuleError::Unreadable { source, .. } => Failure::new(Exit::NoInput, format!("{error}: {source}")),
        RuleError::Invalid { .. } => Failure::new(invalid, error.to_string()),
    }
}
