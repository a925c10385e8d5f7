//! The fields of a delivery status: one per-message group, then a group for each recipient (RFC 3464 §2.1).
//!
//! Read as one stream of fields, because mailers misplace the empty lines between groups: they forget them, put
//! several, or put one amid a group. A field's name tells which kind of group it belongs to.

use super::DsnError;
use super::mailbox;
use crate::mail::date;
use crate::mail::header::unfold;
use crate::report::{Action, Recipient};
use jiff::Timestamp;
use std::borrow::Cow;

/// Octets of one field that are kept; a reply line has at most 512 (RFC 5321 §4.5.3.1.5).
const FIELD_BYTES: usize = 8 << 10;
/// Groups that are read.
const GROUPS: usize = 10_000;

/// What a status part says.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub reporting_mta: Option<String>,
    pub original_envelope_id: Option<String>,
    pub arrival_date: Option<Timestamp>,
    pub postfix_queue_id: Option<String>,
    /// Never empty.
    pub recipients: Vec<Recipient>,
}

/// A per-recipient group: of each field that we ask for the first (RFC 3464 §2.3).
#[derive(Default)]
struct Group<'a>([Option<Cow<'a, str>>; GROUP_FIELDS.len()]);

const GROUP_FIELDS: [&str; 8] = [
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Remote-MTA",
    "Diagnostic-Code",
    // Where there is no Diagnostic-Code, some put the remote reply here.
    "X-Supplementary-Info",
    "Will-Retry-Until",
];

impl Status {
    /// Reads a status part.
    ///
    /// # Errors
    /// [`DsnError`] if no group can be used: for the first that names a recipient, else for the first.
    pub fn read(text: &[u8]) -> Result<Status, DsnError> {
        let mut status = Status::default();
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut after_empty_line = false;
        for item in (Fields { text, offset: 0 }) {
            let Some((name, value)) = item else {
                after_empty_line = true;
                continue;
            };
            if status.take(name, &value) {
                continue;
            }
            let Some(field) = GROUP_FIELDS.iter().position(|field| name.eq_ignore_ascii_case(field.as_bytes())) else {
                continue;
            };
            if groups.last().is_none_or(|group| group.ends_before(field, after_empty_line)) {
                if groups.len() == GROUPS {
                    break;
                }
                groups.push(Group::default());
            }
            after_empty_line = false;
            if let Some(group) = groups.last_mut() {
                group.0[field].get_or_insert(value);
            }
        }
        let mut first_error = None;
        for (index, group) in groups.into_iter().enumerate() {
            match group.into_recipient() {
                Ok(recipient) => status.recipients.push(recipient),
                Err(field) => {
                    // A group without a name is no group; that one has no action says more.
                    if first_error.is_none() || (field == "Action" && !matches!(first_error, Some((_, "Action")))) {
                        first_error = Some((index + 1, field));
                    }
                }
            }
        }
        match first_error {
            _ if !status.recipients.is_empty() => Ok(status),
            Some((group, field)) => Err(DsnError::MissingField { group, field }),
            None => Err(DsnError::NoGroup),
        }
    }

    /// Takes a per-message field (RFC 3464 §2.2); says whether it was one. The first of a name counts.
    fn take(&mut self, name: &[u8], value: &str) -> bool {
        let is = |field: &str| name.eq_ignore_ascii_case(field.as_bytes());
        let text = || (!value.is_empty()).then(|| value.to_owned());
        if is("Reporting-MTA") {
            self.reporting_mta = self.reporting_mta.take().or_else(|| without_type(value));
        } else if is("Original-Envelope-Id") {
            self.original_envelope_id = self.original_envelope_id.take().or_else(text);
        } else if is("Arrival-Date") {
            self.arrival_date = self.arrival_date.or_else(|| date::read(value));
        } else if is("X-Postfix-Queue-ID") {
            self.postfix_queue_id = self.postfix_queue_id.take().or_else(text);
        } else {
            return false;
        }
        true
    }
}

impl Group<'_> {
    fn is_named(&self) -> bool {
        let [original_recipient, final_recipient, ..] = &self.0;
        [original_recipient, final_recipient].into_iter().flatten().any(|name| !name.is_empty())
    }

    /// Whether a field opens the next group. It does not while this group lacks it, but an empty line and the
    /// name of a recipient close a group that has a name.
    fn ends_before(&self, field: usize, after_empty_line: bool) -> bool {
        if matches!(GROUP_FIELDS[field], "Original-Recipient" | "Final-Recipient") {
            self.0[field].is_some() || (after_empty_line && self.is_named())
        } else {
            self.0[field].is_some() && after_empty_line
        }
    }

    /// What the group says, or the field it lacks.
    fn into_recipient(self) -> Result<Recipient, &'static str> {
        if !self.is_named() {
            return Err("Final-Recipient");
        }
        let [original, last, action, status, remote_mta, diagnostic, supplementary, will_retry_until] = self.0;
        let diagnostic = diagnostic.filter(|text| !text.is_empty()).or(supplementary);
        let action = read_action(action.as_deref(), status.as_deref(), diagnostic.is_some()).ok_or("Action")?;
        let names = mailbox::read(original.as_deref(), last.as_deref());
        let (diagnostic_type, diagnostic_code) = diagnostic.map_or((None, None), |text| read_diagnostic(&text));
        Ok(Recipient {
            address: names.address,
            original_recipient: names.original_recipient,
            final_recipient: names.final_recipient,
            action,
            status: status.filter(|status| !status.is_empty()).map(Cow::into_owned),
            diagnostic_type,
            diagnostic_code,
            remote_mta: remote_mta.and_then(|value| without_type(&value)),
            will_retry_until: will_retry_until.and_then(|value| date::read(&value)),
        })
    }
}

/// `Action`; where it is missing or none of RFC 3464's, what `Status` or a diagnostic implies: nobody leaves
/// it out to say that mail still waits.
fn read_action(action: Option<&str>, status: Option<&str>, has_diagnostic: bool) -> Option<Action> {
    let word = action.unwrap_or_default().to_ascii_lowercase();
    let named = [
        ("fail", Action::Failed),
        ("delay", Action::Delayed),
        ("deliver", Action::Delivered),
        ("relay", Action::Relayed),
        ("expand", Action::Expanded),
    ];
    match (named.iter().find(|(front, _)| word.starts_with(front)), status.and_then(|status| status.bytes().next())) {
        (Some(&(_, action)), _) => Some(action),
        (None, Some(b'2')) => Some(Action::Delivered),
        (None, Some(b'4' | b'5')) => Some(Action::Failed),
        (None, _) => has_diagnostic.then_some(Action::Failed),
    }
}

/// `dns; mx.example.org` without its type (RFC 3464 §2.1.2).
fn without_type(value: &str) -> Option<String> {
    let name = value.split_once(';').map_or(value, |(_, name)| name).trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// `smtp; 550 5.1.1 ...`: the type, lower case, and the text. A text may hold semicolons of its own, so what
/// stands before the first must be an atom with a letter at its front to be a type.
fn read_diagnostic(value: &str) -> (Option<String>, Option<String>) {
    let is_type = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'))
    };
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    match value.split_once(';') {
        Some((name, rest)) if is_type(name.trim()) => (Some(name.trim().to_ascii_lowercase()), text(rest.trim())),
        _ => (None, text(value)),
    }
}

/// The fields in order, each value on one line; `None` for an empty line, or a boundary where MIME is broken. A
/// line that is no field belongs to the field above it, indented or not: replies of several lines are pasted raw.
struct Fields<'a> {
    text: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(&'a [u8], Cow<'a, str>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.offset;
            let line = self.line()?;
            self.offset += line.len();
            if is_gap(line) {
                return Some(None);
            }
            // Without a field above it, it is passed over.
            let Some((name, colon)) = field_name(line) else { continue };
            while let Some(below) = self.line().filter(|below| !is_gap(below) && field_name(below).is_none()) {
                self.offset += below.len();
            }
            let value = &self.text[start + colon + 1..self.offset];
            return Some(Some((name, unfold(&value[..value.len().min(FIELD_BYTES)]))));
        }
    }
}

impl<'a> Fields<'a> {
    /// The line at hand, with its end.
    fn line(&self) -> Option<&'a [u8]> {
        let rest = &self.text[self.offset..];
        let end = rest.iter().position(|&octet| octet == b'\n').map_or(rest.len(), |place| place + 1);
        (end > 0).then(|| &rest[..end])
    }
}

fn is_gap(line: &[u8]) -> bool {
    line.starts_with(b"--") || line.trim_ascii().is_empty()
}

/// The name of a field and where its colon stands. Narrower than RFC 5322's: the line `<joe@example.org>: unknown`
/// of a pasted reply is none.
fn field_name(line: &[u8]) -> Option<(&[u8], usize)> {
    let colon = line.iter().position(|&octet| octet == b':')?;
    let name = line[..colon].trim_ascii_end();
    let sound = name.first()?.is_ascii_alphabetic()
        && name.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'));
    sound.then_some((name, colon))
}

#[cfg(test)]
mod tests;
