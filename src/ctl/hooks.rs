//! `hooks`: who is told what happened, and whether that works.

use super::client::{Body, Client, encoded};
use super::exit::{Exit, Failure};
use super::output::{Output, read};
use super::table::{aligned, clean};
use super::when;
use crate::admin::wire::ReasonRequest;
use crate::hooks::{HookStatus, SkipAnswer, TestAnswer};

/// Letters of an error that stand in the table; `--json` has all of them.
const ERROR_LETTERS: usize = 100;

/// `backstopctl hooks list`.
pub fn list(client: &Client, out: &mut Output) -> Result<Exit, Failure> {
    let answer = client.ask("/v1/hooks", Body::None)?;
    let hooks: Vec<HookStatus> = read(&answer)?;
    if out.json() {
        hooks.iter().try_for_each(|hook| out.object(hook))?;
    } else if hooks.is_empty() {
        out.line("no hooks; [[hook]] in backstop.toml makes one")?;
    } else {
        let head =
            ["HOOK", "ON", "DELIVERED", "FAILED", "GIVEN UP", "LAST (UTC)", "WAITING SINCE", "ATTEMPTS", "ERROR"];
        let rows: Vec<Vec<String>> = hooks.iter().map(row).collect();
        aligned(&head, &rows).iter().try_for_each(|line| out.line(line))?;
    }
    Ok(Exit::Yes)
}

fn row(hook: &HookStatus) -> Vec<String> {
    let on: Vec<&str> = hook.on.iter().map(|occasion| occasion.as_str()).collect();
    let mut row = vec![hook.name.clone(), on.join(",")];
    row.extend([hook.delivered, hook.failed, hook.given_up].map(|figure| figure.to_string()));
    row.push(hook.last.as_ref().map(|last| when::shown(last.at)).unwrap_or_default());
    row.extend(match &hook.waiting {
        Some(waiting) => {
            let error = waiting.error.as_deref().unwrap_or_default();
            let error = error.chars().take(ERROR_LETTERS).collect();
            [when::shown(waiting.since), waiting.attempts.to_string(), error]
        }
        None => [String::new(), String::new(), String::new()],
    });
    row
}

/// `backstopctl hooks test NAME`.
pub fn test(client: &Client, name: &str, out: &mut Output) -> Result<Exit, Failure> {
    let answer = client.ask(&format!("/v1/hooks/{}/test", encoded(name)), Body::Json(Vec::new()))?;
    let tried: TestAnswer = read(&answer)?;
    if out.json() {
        out.raw(&answer)?;
    } else {
        let TestAnswer { name, id, took_ms, error, .. } = &tried;
        out.line(&match error {
            None => format!("{name} took {id} within {took_ms} ms"),
            Some(error) => format!("{name} did not take {id}: {}", clean(error)),
        })?;
    }
    Ok(if tried.delivered { Exit::Yes } else { Exit::No })
}

/// `backstopctl hooks skip NAME`.
pub fn skip(client: &Client, name: &str, reason: &str, dry_run: bool, out: &mut Output) -> Result<Exit, Failure> {
    let request = ReasonRequest { reason: reason.to_owned() };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
    let answer = client.ask(&format!("/v1/hooks/{}/skip?dry_run={dry_run}", encoded(name)), Body::Json(body))?;
    let SkipAnswer { name, skipped, dry_run } = read(&answer)?;
    if out.json() {
        out.raw(&answer)?;
    } else {
        out.line(&match &skipped {
            Some(id) if dry_run => format!("{name}: {id} would not be told any more; nothing was changed"),
            Some(id) => format!("{name}: {id} is not told any more"),
            None => format!("{name}: nothing waits"),
        })?;
    }
    Ok(if skipped.is_some() { Exit::Yes } else { Exit::No })
}
