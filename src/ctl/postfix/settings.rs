//! Settings of Postfix that make what comes back misleading or late, and the route of the self-test.

use super::attached::Asked;
use super::finding::{Finding, Level};
use super::lines::{self, Change};
use super::value::seconds;
use crate::mail::SELFTEST_DOMAIN;

/// Everything that is neither about milters nor about the return path.
pub fn findings(asked: &Asked<'_>) -> Vec<Finding> {
    [soft_bounce(asked), queue_lifetime(asked), selftest(asked)].into_iter().flatten().collect()
}

fn soft_bounce(asked: &Asked<'_>) -> Option<Finding> {
    if asked.postfix.value("soft_bounce") != "yes" {
        return None;
    }
    let what = "soft_bounce = yes: Postfix keeps mail that was refused for good, and tries again";
    let left = "an address that does not exist is heard of only when the message expires, days later, and is mailed \
                until then.";
    let change = Change::Set("soft_bounce".to_owned(), "no".to_owned());
    Some(asked.mended(Finding::new(Level::Warning, "soft-bounce", what, left), &[change]))
}

/// A campaign is settled when nothing more can come back (SPEC 6): not before its mail leaves the queue.
fn queue_lifetime(asked: &Asked<'_>) -> Option<Finding> {
    let value = asked.postfix.value("maximal_queue_lifetime");
    let lifetime = seconds(&value, 'd')?;
    let settle = asked.ours.config.policy.settle.as_secs();
    if lifetime <= settle {
        return None;
    }
    let (days, settle) = (lifetime.div_ceil(86_400) + 1, settle / 86_400);
    let what = format!("mail waits in the queue up to {value}, longer than settle_days = {settle}");
    let left = "a message that expires after that counts as delivered until then, which ends the contact's row of soft \
                bounces: who never gets anything goes on being mailed.";
    let change = Change::Set("maximal_queue_lifetime".to_owned(), format!("{}d", settle.max(1)));
    let finding = asked.mended(Finding::new(Level::Warning, "queue-lifetime", what, left), &[change]);
    let other = format!("# or in backstop.toml, [policy]: settle_days = {days}");
    let fix: Vec<String> = finding.fix.iter().cloned().chain([other]).collect();
    Some(finding.fixed_with(fix))
}

fn selftest(asked: &Asked<'_>) -> Option<Finding> {
    let plan = lines::attach(asked.postfix, &asked.ours, asked.config_directory).ok()?;
    let routes = |change: &&Change| match change {
        Change::Set(name, _) => name == "transport_maps",
        Change::Command(_) => true,
        Change::Reset(_) | Change::Service(..) => false,
    };
    let changes: Vec<Change> = plan.changes.iter().filter(routes).cloned().collect();
    let left = "`backstopctl selftest` cannot send its messages through this Postfix.";
    if !changes.is_empty() {
        let what = format!("transport_maps has no route for the self-test ({})", SELFTEST_DOMAIN);
        return Some(asked.mended(Finding::new(Level::Hint, "selftest", what, left), &changes));
    }
    if asked.postfix.running("lmtp").next().is_none() {
        let what = "master.cf has no service lmtp, which the self-test is delivered by";
        let postconf = lines::tool("postconf", asked.directory);
        let reload = format!("{} reload", lines::tool("postfix", asked.directory));
        let fix = [format!("{postconf} -M 'lmtp/unix=lmtp unix - - - - - lmtp'"), reload];
        return Some(Finding::new(Level::Hint, "selftest", what, left).fixed_with(fix));
    }
    None
}
