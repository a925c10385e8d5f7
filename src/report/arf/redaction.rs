//! Names that mailbox providers put in place of an address (RFC 6590): words such as `redacted`, and hashes.
//! Who takes one for a contact records complaints of people who do not exist.

use crate::mail::SELFTEST_DOMAIN;

/// What stands for a local part that is not told.
const WORDS: [&str; 14] = [
    "anonymised",
    "anonymized",
    "anonymous",
    "hidden",
    "masked",
    "obfuscated",
    "protected",
    "redact",
    "redacted",
    "removed",
    "suppressed",
    "undisclosed",
    "unknown",
    "withheld",
];

/// Least octets of a hash in hexadecimal or base 32, and in base 64.
const HEX_BYTES: usize = 16;
const BASE64_BYTES: usize = 20;

/// Whether a mailbox names nobody: its local part is no name, or its domain is none.
pub fn is_redacted(mailbox: &str) -> bool {
    let (local, domain) = mailbox.rsplit_once('@').unwrap_or((mailbox, ""));
    is_word(local)
        || is_hash(local.trim_matches('"'))
        || domain.split('.').any(|label| label.eq_ignore_ascii_case("redacted"))
        || is_invalid(domain)
}

/// `redacted`, `[redacted]`, `user-redacted`, `xxx`, `***`. A word that is a name elsewhere counts only alone.
fn is_word(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    bare.bytes().all(|octet| octet == b'x')
        || WORDS.contains(&bare)
        || bare
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word == "redacted" || word.starts_with("anonymi"))
}

/// RFC 2606 §2: nobody is there, but for the self-test.
fn is_invalid(domain: &str) -> bool {
    domain.rsplit('.').next().is_some_and(|top| top.eq_ignore_ascii_case("invalid"))
        && !domain.eq_ignore_ascii_case(SELFTEST_DOMAIN)
}

/// Whether a local part reads like a hash: hexadecimal, base 32 or 36, base 64, a UUID. People's names have words
/// and numbers in them; in a hash letters and digits, and in base 64 large and small letters, take turns at once.
fn is_hash(local: &str) -> bool {
    let may_stand = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=' | b'_' | b'-');
    if local.len() < HEX_BYTES || !local.bytes().all(may_stand) {
        return false;
    }
    let signs: Vec<Sign> = local.bytes().filter_map(Sign::of).collect();
    let turns = signs.windows(2).filter(|pair| pair[0] != pair[1]).count();
    match (signs.contains(&Sign::Large), signs.contains(&Sign::Small), signs.contains(&Sign::Figure)) {
        (true, true, _) => local.len() >= BASE64_BYTES && (local.ends_with('=') || turns * 5 >= signs.len() * 2),
        (_, _, true) => turns * 4 >= signs.len(),
        (_, _, false) => false,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Sign {
    Large,
    Small,
    Figure,
}

impl Sign {
    fn of(octet: u8) -> Option<Sign> {
        match octet {
            b'A'..=b'Z' => Some(Sign::Large),
            b'a'..=b'z' => Some(Sign::Small),
            b'0'..=b'9' => Some(Sign::Figure),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_hashes_name_nobody() {
        for mailbox in [
            "redacted",
            "[redacted]",
            "redacted@",
            "Redacted@example.net",
            "user-redacted@example.net",
            "joe@redacted.example.net",
            "joe@redacted",
            "anonymized_7@example.net",
            "undisclosed@example.net",
            "x@example.net",
            "XXXXXX@example.net",
            "***@example.net",
            "@example.net",
            "joe@privacy.invalid",
            "joe@x.backstop-selftest.invalid",
            "5f4dcc3b5aa765d61d8327deb882cf99@example.net",         // MD5
            "2fd4e1c67a2d28fc@example.net",                         // half of one
            "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12@example.net", // SHA-1
            "2FD4E1C67A2D28FCED849EE1BB76E7391B93EB12@example.net",
            "60a1b2978c46e079bf80f3725afbe0h5d@example.net", // not quite hexadecimal
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301@example.net", // UUID
            "q7ZuF3dQ9sP2mXbA8rTn1vYc5kE@example.net",       // base 64
            "nOtMany+FigUresIn/ThiSoNeabcd=@example.net",
        ] {
            assert!(is_redacted(mailbox), "{mailbox}");
        }
    }

    #[test]
    fn names_of_people_are_names() {
        for mailbox in [
            "joe@example.org",
            "xaver@example.org",
            "j@example.org",
            "joe.redactor@example.org",
            "hidden.valley@example.org",
            "joe+removed@example.org",
            "49123456789012345@example.org", // a telephone number
            "christopher.montgomery@example.org",
            "ChristopherMontgomery1985@example.org",
            "john-paul-jones-the-second@example.org",
            "example_user_2024@example.org",
            "bounce+joe=example.net@example.org",
            "deadbeef@example.org",
            "joe@xx.example.org.nu",
            "joe@x.example.org",
            "complaint@backstop-selftest.invalid",
        ] {
            assert!(!is_redacted(mailbox), "{mailbox}");
        }
    }
}
