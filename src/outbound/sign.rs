//! Gives outgoing campaign mail a signed reverse path (SPEC 5.2).
//!
//! In: a transaction, what screening came to, the tokens. Out: the edits, and what the ledger is to know. Called by
//! `service` behind the screening.
//!
//! Left alone, with whatever return path it has, is mail
//! - with the null reverse path, or one that is no address;
//! - with XVERP: Postfix makes the reverse paths itself;
//! - whose sender carries something that its owner reads when it comes back: a local part with `=` (VERP, BATV's
//!   `prvs=` and `btv1=`, SRS) or `+` (an extension);
//! - signed already, by another pass through us or by another host;
//! - whose sender is not ours. Ours are the domains of `[[authority.domains]]`, the return path itself, and
//!   `[outbound] campaign_senders`. Who else sends through us (a customer's list manager) wants its bounces itself.

use super::screen::is_campaign_sender;
use super::{Screening, Settings};
use crate::authority::Tokens;
use crate::mail::{Address, MessageId, ReturnPath, ReversePath};
use crate::milter::{Edit, Transaction};
use jiff::Timestamp;

/// What signing does to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// New reverse path, header fields.
    pub edits: Vec<Edit>,
    /// The name by which the ledger is to know the message, beside its Message-ID.
    pub ledger_name: MessageId,
}

/// Signs a campaign message, if it is to be. With one recipient left the token is bound to that recipient, else to the
/// message.
pub fn sign(
    transaction: &Transaction,
    screening: &Screening,
    tokens: &Tokens,
    settings: &Settings,
    return_path: &ReturnPath,
    now: Timestamp,
) -> Option<Signed> {
    if !tokens.signs() || !screening.is_campaign || transaction.over_limit.is_some() {
        return None;
    }
    let domain = domain(transaction, tokens, settings, return_path)?;
    let alone = match &screening.stays[..] {
        [stays] if transaction.recipients.len() == screening.skips.len() + 1 => Some(&stays.address),
        [] => return None, // all of them are local mailboxes, or nobody at all
        _ => None,
    };
    let (token, ledger_name) = tokens.make(transaction.queue_id().as_bytes(), alone, now)?;
    let address = format!("{}{token}@{domain}", tokens.settings().prefix);
    let asked = |name: &[u8]| {
        let is_asked = |given: &Vec<u8>| given.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        transaction.parameters.iter().any(is_asked)
    };
    // The characters of a token stand for themselves in xtext (RFC 3461 §4). What `sendmail -V` said is not told to a
    // milter, and gives way.
    let envelope_id = (!asked(b"ENVID=")).then(|| format!("ENVID={token}").into_bytes());
    let mut edits = vec![Edit::ChangeSender(format!("<{address}>").into_bytes(), envelope_id)];
    // A sender with a feedback address of its own hears of complaints itself.
    if ["CFBL-Address", "CFBL-Feedback-ID"].iter().all(|name| transaction.headers.get_raw(name).is_none()) {
        let add = |name: &str, value: String| Edit::AddHeader(name.as_bytes().to_vec(), value.into_bytes());
        edits.push(add("CFBL-Address", format!(" {address}; report=arf")));
        edits.push(add("CFBL-Feedback-ID", format!(" {token}")));
    }
    Some(Signed { edits, ledger_name })
}

/// The domain of the signed reverse path; none where the message is to be left alone.
fn domain<'a>(
    transaction: &Transaction,
    tokens: &'a Tokens,
    settings: &Settings,
    return_path: &'a ReturnPath,
) -> Option<&'a str> {
    let Ok(ReversePath::Mailbox(sender)) = ReversePath::parse(&transaction.reverse_path) else { return None };
    let is_xverp = |parameter: &Vec<u8>| parameter.to_ascii_uppercase().starts_with(b"XVERP");
    if is_wrapped(&sender) || tokens.is_signed(&sender) || transaction.parameters.iter().any(is_xverp) {
        return None;
    }
    let authority = tokens.settings();
    let ours = authority.domains.iter().filter(|entry| is_within(sender.domain(), &entry.sender));
    // `*` is the shortest.
    if let Some(entry) = ours.max_by_key(|entry| entry.sender.len()) {
        return Some(&entry.return_path);
    }
    let own = return_path.domains.iter().find(|domain| *domain == sender.domain());
    let is_ours = || return_path.covers(&sender) || is_campaign_sender(&transaction.reverse_path, settings);
    own.or_else(|| authority.domain.as_ref().filter(|_| is_ours())).map(String::as_str)
}

/// Whether a local part carries something that its owner looks for when it comes back.
fn is_wrapped(sender: &Address) -> bool {
    let local = sender.local_part();
    // SRS takes `-` for its delimiter, too (and `=` and `+`, which are found below).
    local.contains(['=', '+']) || ["srs0-", "srs1-"].iter().any(|start| local.starts_with(start))
}

fn is_within(domain: &str, sender: &str) -> bool {
    sender == "*" || domain.strip_suffix(sender).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests;
