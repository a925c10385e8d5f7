//! Finds, in what a reporting MTA says, the words of the server that refused: rules are about those, and an MTA's
//! own conclusions may say something else.

use super::status::{read_status, reply_in, starts_with_reply};

/// The server whose answer a text quotes: `host mx.example.org[192.0.2.1] said: ` (Postfix),
/// `host mx.example.org [192.0.2.1]: ` (Exim).
pub(super) fn host_in(text: &str) -> Option<&str> {
    text.match_indices("host ").find_map(|(place, word)| {
        let stands_alone = text[..place].ends_with(|c: char| c.is_ascii_whitespace()) || place == 0;
        let rest = &text[place + word.len()..];
        let (name, behind) = rest.split_at(rest.find(|c: char| c == '[' || c.is_ascii_whitespace())?);
        let address = behind.trim_ascii_start().strip_prefix('[')?;
        let then = address.split_once(']')?.1;
        let answers = [" said", " refused", ":"].iter().any(|word| then.starts_with(word));
        (stands_alone && answers && name.contains('.')).then_some(name)
    })
}

/// The reply that a text quotes; the whole text where it quotes none, or is one itself.
pub(super) fn servers_words(text: &str) -> &str {
    if starts_with_reply(text) {
        return text;
    }
    sendmails_reason(text).or_else(|| ironports_quote(text)).or_else(|| reply_said(text)).unwrap_or(text)
}

/// `host mx.example.org[192.0.2.1] said: 550 ... (in reply to RCPT TO command)` (Postfix), `Remote host said: 550 ...
/// Giving up on 192.0.2.1.` (qmail), `SMTP error from remote mail server after RCPT TO:<joe@example.org>: host
/// mx.example.org [192.0.2.1]: 550 ...` (Exim).
fn reply_said(text: &str) -> Option<&str> {
    if !text.contains(" said: ") && !text.contains("SMTP error from remote ") {
        return None;
    }
    let behind = |mark: &str| {
        let mut places = text.match_indices(mark).map(|(place, mark)| place + mark.len());
        places.find(|&place| starts_with_reply(&text[place..]))
    };
    let place = [" said: ", "]: ", ">: ", " command: "].into_iter().filter_map(behind).min()?;
    let reply = &text[place..];
    let end = [" (in reply to ", " Giving up on "].iter().filter_map(|mark| reply.find(mark)).min();
    Some(&reply[..end.unwrap_or(reply.len())])
}

/// `5.1.0 - Unknown address error 550-'...'` and `5.3.0 - Other mail system problem (550, ['...'])`: IronPort puts a
/// name for its own code before the words of the server.
fn ironports_quote(text: &str) -> Option<&str> {
    read_status(text).filter(|_| text.get(5..8) == Some(" - "))?;
    let reply = text.find("-'").and_then(|place| place.checked_sub(3));
    let reply = reply.filter(|&place| text.get(place..place + 3).is_some_and(starts_with_reply));
    let place = reply.or_else(|| text.find("['").map(|place| place + 2))?;
    Some(&text[place..])
}

/// `(reason: 550 ...) ... 550 5.1.1 joe@example.org... User unknown`: Sendmail ends its transcript in what it makes
/// of the reply code alone. The inside of the bracket, where it is a server's reply.
fn sendmails_reason(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("(reason: ")?;
    let mut depth = 1usize;
    let end = inside.bytes().position(|octet| {
        match octet {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    Some(inside[..end].trim()).filter(|reason| reply_in(reason).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_that_answered_is_found_in_what_is_quoted() {
        for (text, want) in [
            ("host mx.example.org[192.0.2.1] said: 550 no", Some("mx.example.org")),
            ("after RCPT TO:<joe@example.org>: host mx.example.org [192.0.2.1]: 550 no", Some("mx.example.org")),
            ("host mx.example.org[192.0.2.1] refused to talk to me: 421 no", Some("mx.example.org")),
            ("Client host mail.example.com[192.0.2.9] blocked", None), // that is us
            ("Host or domain name not found", None),
            ("ghost mx.example.org[192.0.2.1] said: 550", None),
            ("host mx.example.org refused", None),
            ("no host ", None),
            ("host", None),
        ] {
            assert_eq!(host_in(text), want, "{text}");
        }
    }

    #[test]
    fn what_the_reporting_mta_concludes_is_not_read_as_the_servers_words() {
        for (text, want) in [
            (
                "5.1.0 - Unknown address error 550-'5.7.1 no' (delivery attempts: 0)",
                "550-'5.7.1 no' (delivery attempts: 0)",
            ),
            ("5.3.0 - Other mail system problem (550, ['#5.1.0 no.'])", "#5.1.0 no.'])"),
            ("5.1.2 - Bad destination host 'DNS Hard Error'", "5.1.2 - Bad destination host 'DNS Hard Error'"),
            ("550 5.1.1 - no '550-'", "550 5.1.1 - no '550-'"),
            ("5.1.0 - \u{fc}-'", "5.1.0 - \u{fc}-'"),
            ("5.1.0 - \u{fc}\u{fc}-'", "5.1.0 - \u{fc}\u{fc}-'"),
            ("5.1.0 - a\u{fc}-'", "5.1.0 - a\u{fc}-'"),
            ("5.1.0 -'", "5.1.0 -'"),
            ("(reason: 553 SPF (see RFC) fail) <<< 553 550 5.1.1 User unknown", "553 SPF (see RFC) fail"),
            ("(reason: ) <<< 421", "(reason: ) <<< 421"),
            ("(reason: Can't create output) quota", "(reason: Can't create output) quota"),
            ("(reason: 550 (no", "(reason: 550 (no"),
            ("(reason: 550 :-) no)", "550 :-"),
            ("host mx.example.org[192.0.2.1] said: 550 no (in reply to RCPT TO command)", "550 no"),
            ("host mx.example.org[192.0.2.1] said: no (in reply", "host mx.example.org[192.0.2.1] said: no (in reply"),
            ("192.0.2.1 does not like recipient. Remote host said: 550 no Giving up on 192.0.2.1.", "550 no"),
            (
                "SMTP error from remote mail server after RCPT TO:<joe@example.org>: host mx [192.0.2.1]: 550 no",
                "550 no",
            ),
            (
                "host mx [192.0.2.1] SMTP error from remote mail server after MAIL FROM:<a@example.com>: 550 no",
                "550 no",
            ),
            (
                "550 unverified address: host mx [192.0.2.1] said: 550 no",
                "550 unverified address: host mx [192.0.2.1] said: 550 no",
            ),
            ("Service said: ", "Service said: "),
        ] {
            assert_eq!(servers_words(text), want, "{text}");
        }
    }
}
