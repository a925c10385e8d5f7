//! Judges the replies of `replies.txt` and compares category, type and fault. The rules' own samples show that each
//! rule is reached; these lines show that none is reached by words that mean something else. The fault matters most:
//! a refusal of the sender must never look like a dead address, nor the other way round.

use backstop::classify::{Judgement, Rules, classify};
use backstop::report::{Action, Recipient};

/// A line of the table: what is wanted of it, and the recipient it describes.
struct Row<'a> {
    wanted: [&'a str; 3],
    recipient: Recipient,
}

fn row(line: &str) -> Row<'_> {
    let mut columns = line.splitn(5, ' ');
    let mut column = || columns.next().unwrap_or_else(|| panic!("five columns, not fewer: {line}"));
    let (status, wanted, text) = (column(), [column(), column(), column()], column());
    let (diagnostic_type, status) = match status.strip_prefix("x:") {
        Some(status) => ("x-postfix", status),
        None => ("smtp", status),
    };
    let recipient = Recipient {
        address: None,
        original_recipient: None,
        final_recipient: None,
        action: Action::Failed,
        status: (status != "-").then(|| status.to_owned()),
        diagnostic_type: Some(diagnostic_type.to_owned()),
        diagnostic_code: Some(text.to_owned()),
        remote_mta: None,
        will_retry_until: None,
    };
    Row { wanted, recipient }
}

/// Whether a column allows a word: `*`, the word, or several with a slash between them.
fn allows(column: &str, word: &str) -> bool {
    column == "*" || column.split('/').any(|allowed| allowed == word)
}

#[test]
fn no_reply_is_taken_for_its_neighbour() {
    let rules = Rules::compiled_in();
    let table = include_str!("replies.txt");
    let lines: Vec<&str> = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() > 300, "only {} lines", lines.len());
    let wrong: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            let Row { wanted, recipient } = row(line);
            let Judgement { category, bounce_type, fault, rule, matched, .. } = classify(&recipient, "rfc3464", &rules);
            let got = [category.as_str(), bounce_type.as_str(), fault.as_str()];
            let fits = wanted.iter().zip(got).all(|(column, word)| allows(column, word));
            (!fits).then(|| format!("{line}\n    got {} by {rule} ({matched:?})", got.join(" ")))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} lines:\n{}", wrong.len(), lines.len(), wrong.join("\n"));
}
