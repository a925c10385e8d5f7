//! The edits that carry out a screening.

use super::Screening;
use crate::mail::Address;
use crate::milter::{Edit, ForwardPath, Transaction};
use std::collections::HashMap;

/// Deletions of the recipients that were screened out, each in the form Postfix matches (POSTFIX-FACTS 6).
pub fn deletions(transaction: &Transaction, screening: &Screening) -> Vec<Edit> {
    let argument = |place: usize| &transaction.recipients[place].argument;
    screening.skips.iter().map(|skip| Edit::DeleteRecipient(deletable(argument(skip.recipient)))).collect()
}

/// At most so many recipients of one message are added again: for each of them Postfix goes through the envelope
/// from its start (POSTFIX-FACTS 12).
const READDED: usize = 200;

/// Contacts with an open streak, each deleted and added again with `NOTIFY=SUCCESS,FAILURE`: then the delivery itself
/// comes back and ends the streak on evidence (SPEC 5.3).
///
/// Left alone are a recipient whose sender said itself what it wants to be told, one with a source route, of which
/// Postfix has forgotten the form, a contact that is named twice, or a later deletion could meet it again, and whoever
/// `ask` says is not to be asked about.
pub fn readditions(transaction: &Transaction, screening: &Screening, ask: impl Fn(&Address) -> bool) -> Vec<Edit> {
    let mut open: Vec<_> = screening.stays.iter().filter(|stays| stays.streak).collect();
    open.sort_unstable_by(|one, other| one.address.cmp(&other.address));
    let once = open.chunk_by(|one, other| one.address == other.address).filter_map(|same| match same {
        [stays] => Some((&stays.address, transaction.recipients.get(stays.recipient)?)),
        _ => None,
    });
    let asks = |parameter: &Vec<u8>, name: &[u8]| {
        parameter.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let left = once.filter(|(_, recipient)| {
        !recipient.argument.starts_with(b"<@") && !recipient.parameters.iter().any(|given| asks(given, b"NOTIFY="))
    });
    let again = |recipient: &ForwardPath| {
        let mut parameters = b"NOTIFY=SUCCESS,FAILURE".to_vec();
        for original in recipient.parameters.iter().filter(|given| asks(given, b"ORCPT=")) {
            parameters.push(b' ');
            parameters.extend_from_slice(original);
        }
        Edit::ReaddRecipient(recipient.argument.clone(), parameters)
    };
    left.filter(|(address, _)| ask(address)).take(READDED).map(|(_, recipient)| again(recipient)).collect()
}

/// The form of a RCPT argument that a deletion must send back: as received, but for a source route, which
/// Postfix has taken off by then.
pub fn deletable(argument: &[u8]) -> Vec<u8> {
    let Some(route) = argument.strip_prefix(b"<@") else { return argument.to_vec() };
    match route.iter().position(|octet| *octet == b':') {
        Some(colon) => [b"<", &route[colon + 1..]].concat(),
        None => argument.to_vec(),
    }
}

/// Removal of every `X-Backstop-*` field: they are words between the sender and us (SPEC 7.2). The last of
/// one name goes first, so that the numbers of the others stay true.
pub fn header_removals(transaction: &Transaction) -> Vec<Edit> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut removals = Vec::new();
    for (name, _) in transaction.headers.iter().filter(|(name, _)| is_ours(name)) {
        let number = seen.entry(String::from_utf8_lossy(name).to_ascii_lowercase()).or_default();
        *number += 1;
        removals.push(Edit::ChangeHeader(*number, name.to_vec(), Vec::new()));
    }
    removals.reverse();
    removals
}

fn is_ours(name: &[u8]) -> bool {
    const PREFIX: &[u8] = b"X-Backstop-";
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_sends_back_the_form_received_but_for_a_source_route() {
        for (received, wanted) in [
            ("<X.Y@Out.Test>", "<X.Y@Out.Test>"),
            ("x@out.test", "x@out.test"),
            ("<\"odd name\"@out.test>", "<\"odd name\"@out.test>"),
            ("<@relay.test:u@out.test>", "<u@out.test>"),
            ("<@a.test,@b.test:u@out.test>", "<u@out.test>"),
            ("<@broken>", "<@broken>"),
        ] {
            assert_eq!(deletable(received.as_bytes()), wanted.as_bytes(), "RCPT TO:{received}");
        }
    }

    #[test]
    fn our_own_header_fields_are_removed_the_last_of_a_name_first() {
        let mut transaction = Transaction::default();
        for name in ["X-Backstop-Campaign", "Subject", "x-backstop-campaign", "X-Backstop-Require", "X-Back"] {
            transaction.headers.push(name.as_bytes(), b" v");
        }
        let edit = |number, name: &str| Edit::ChangeHeader(number, name.as_bytes().to_vec(), Vec::new());
        assert_eq!(
            header_removals(&transaction),
            [edit(1, "X-Backstop-Require"), edit(2, "x-backstop-campaign"), edit(1, "X-Backstop-Campaign")]
        );
    }
}
