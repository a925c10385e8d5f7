//! The mailboxes that a field such as `From` or `To` names (RFC 5322 §3.4), without their display names.

/// What each member of a list has between its angle brackets; where there are none, the member without the
/// comments around it. In order, none empty. None is promised to be an address: a redacted name is one, too.
pub fn mailboxes(value: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let (member, behind) = split_member(rest);
        rest = behind;
        if !member.is_empty() {
            found.push(member);
        }
    }
    found
}

/// The first member, and what stands behind its comma. A group's name ends at its colon and its list at a
/// semicolon; neither is a member.
fn split_member(list: &str) -> (&str, &str) {
    let (mut start, mut end) = (0, None);
    let mut brackets = None;
    let (mut quoted, mut escaped, mut comments) = (false, false, 0usize);
    for (place, octet) in list.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if comments == 0 => quoted = !quoted,
            _ if quoted => {}
            b'(' => {
                comments += 1;
                end = end.or(Some(place).filter(|_| !list[start..place].trim().is_empty()));
            }
            b')' if comments > 0 => {
                comments -= 1;
                if end.is_none() {
                    start = place + 1;
                }
            }
            _ if comments > 0 => {}
            b'<' => brackets = Some((place + 1, None)),
            b'>' => brackets = brackets.map(|(open, close)| (open, close.or(Some(place)))),
            b':' if brackets.is_none() => start = place + 1,
            b',' | b';' if brackets.is_none_or(|(_, close)| close.is_some()) => {
                return (member(list, start, end.unwrap_or(place), brackets), &list[place + 1..]);
            }
            _ => {}
        }
    }
    (member(list, start, end.unwrap_or(list.len()), brackets), "")
}

fn member(list: &str, start: usize, end: usize, brackets: Option<(usize, Option<usize>)>) -> &str {
    match brackets {
        Some((open, close)) => list[open..close.unwrap_or(list.len())].trim(),
        None => list[start..end.max(start)].trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_told_without_its_name_and_comments() {
        for (value, want) in [
            ("joe@example.org", &["joe@example.org"][..]),
            (" Joe <joe@example.org> ", &["joe@example.org"]),
            ("\"Joe, A.\" <joe@example.org>, ann@example.org", &["joe@example.org", "ann@example.org"]),
            ("\"fake@example.net\" <joe@example.org>", &["joe@example.org"]),
            ("fake@example.net <joe@example.org>", &["joe@example.org"]),
            ("joe@example.org (Joe, of old (and new))", &["joe@example.org"]),
            ("(Joe) joe@example.org", &["joe@example.org"]),
            ("friends: joe@example.org, Ann <ann@example.org>;", &["joe@example.org", "ann@example.org"]),
            ("undisclosed-recipients:;", &[]),
            ("\"joe user\"@example.org", &["\"joe user\"@example.org"]),
            ("\"joe \\\" (user\"@example.org", &["\"joe \\\" (user\"@example.org"]),
            ("<@relay.example,@b.example:joe@example.org>", &["@relay.example,@b.example:joe@example.org"]),
            ("[redacted]", &["[redacted]"]),
            ("<>, ,;", &[]),
            ("Joe <joe@example.org", &["joe@example.org"]),
            ("a@example.org; b@example.org", &["a@example.org", "b@example.org"]),
            ("(open", &["(open"]),
            ("", &[]),
        ] {
            assert_eq!(mailboxes(value), want, "{value}");
        }
    }
}
