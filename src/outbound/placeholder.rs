//! Recognises a forward path that a campaign tool forgot to fill in: `{{email}}@example.org`, `*|EMAIL|*`
//! (SPEC 7.3).
//!
//! In: the argument of RCPT as received. Out: whether a placeholder stands in it. Called for every recipient of
//! campaign mail, so a plain address costs one look at its octets. What Postfix understands is left alone:
//! `user%host@relay` and `host!user` are routes , and braces around anything but a name may be real.

/// Opening and closing marks between which anything may stand, as the tools that leave them write them.
const MARKS: [(&[u8], &[u8]); 6] = [
    (b"{{", b"}}"), // Liquid, Handlebars, Jinja, Twig
    (b"${", b"}"),  // shell, Freemarker, Java
    (b"[[", b"]]"), // phpList, Mautic
    (b"<%", b"%>"), // ERB, ASP, EJS
    (b"*|", b"|*"), // Mailchimp
    (b"%%", b"%%"), // Marketing Cloud
];

/// Longest name looked for between single marks.
const NAME_BYTES: usize = 64;

/// Whether an unrendered placeholder stands in the argument of RCPT.
pub fn is_unrendered(argument: &[u8]) -> bool {
    let inner = argument.strip_prefix(b"<").unwrap_or(argument);
    if !inner.iter().any(|octet| matches!(octet, b'{' | b'[' | b'<' | b'*' | b'%')) {
        return false;
    }
    MARKS.iter().any(|(opening, closing)| holds_pair(inner, opening, closing))
        || holds_name(inner, b'{', b'}', |_| true)
        // Between letters a percent sign is part of a route.
        || holds_name(inner, b'%', b'%', |around| !around.is_ascii_alphanumeric())
}

/// Whether the marks stand there in this order with something between them.
fn holds_pair(text: &[u8], opening: &[u8], closing: &[u8]) -> bool {
    let find = |text: &[u8], mark: &[u8]| text.windows(mark.len()).position(|window| window == mark);
    find(text, opening)
        .and_then(|start| text.get(start + opening.len() + 1..))
        .is_some_and(|rest| find(rest, closing).is_some())
}

/// Whether a name stands between two marks, and octets that `fits` takes (or none) around them.
fn holds_name(text: &[u8], opening: u8, closing: u8, fits: impl Fn(u8) -> bool) -> bool {
    let mut starts = text.iter().enumerate().filter(|(_, octet)| **octet == opening).map(|(place, _)| place);
    starts.any(|start| {
        let rest = &text[start + 1..];
        let length = rest.iter().take(NAME_BYTES + 1).position(|octet| *octet == closing);
        let Some(length) = length else { return false };
        let name = &rest[..length];
        let ahead = start.checked_sub(1).and_then(|place| text.get(place));
        name.first().is_some_and(u8::is_ascii_alphabetic)
            && name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
            && [ahead, rest.get(length + 1)].into_iter().flatten().all(|around| fits(*around))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_seen_in_local_part_and_domain() {
        for argument in [
            "<{{email}}>",
            "<{{ contact.email }}@out.test>",
            "<joe@{{domain}}>",
            "<${email}@out.test>",
            "<joe@${user.domain}>",
            "<%%email%%@out.test>",
            "<%%=EmailAddr=%%>",
            "<[[email]]@out.test>",
            "<joe@[[domain]]>",
            "<<%email%>@out.test>",
            "<<%= user.email %>>",
            "<*|EMAIL|*>",
            "<*|MERGE0|*@out.test>",
            "<%EMAIL%>",
            "<%FIRST_NAME%.%LAST_NAME%@out.test>",
            "<info+%ID%@out.test>",
            "<joe@%DOMAIN%>",
            "<{email}@out.test>",
            "<#{email}@out.test>",
            "<joe@{domain}.test>",
            "\"{{email}}\"@out.test",
            "{{email}}",
        ] {
            assert!(is_unrendered(argument.as_bytes()), "RCPT TO:{argument}");
        }
    }

    #[test]
    fn what_postfix_understands_and_odd_addresses_are_left_alone() {
        for argument in [
            "<joe@out.test>",
            "<joe>",
            "<>",
            "<out.test!joe>",
            "<relay.test!out.test!joe@in.test>",
            "<joe%out.test@relay.test>",
            "<joe%OUT%RELAY@in.test>", // a route over two hosts without dots
            "<joe%out.test%relay.test@in.test>",
            "<100%@out.test>",
            "<joe@[192.0.2.1]>",
            "<joe@[IPv6:2001:db8::1]>",
            "<@relay.test:joe@out.test>",
            "<systemmailbox{bb558c35-97f1-4cb9-8ff7-d53741dc928c}@out.test>",
            "<{joe@out.test>",
            "<{}@out.test>",
            "<joe{1}@out.test>",
            "<a*b@out.test>",
            "<bounce+joe=out.test@rp.test>",
            "<prvs=0123abcdef=joe@out.test>",
            "<SRS0=HHH=TT=out.test=joe@rp.test>",
        ] {
            assert!(!is_unrendered(argument.as_bytes()), "RCPT TO:{argument}");
        }
    }
}
