//! Which addresses are the return path: where bounces and complaints come to (`[return_path]`).

use super::Address;
use std::borrow::Cow;

/// The domains and address patterns of the return path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReturnPath {
    /// Whole domains, lower-case A-labels.
    pub domains: Vec<String>,
    /// Addresses; `*` stands for anything in a local part.
    pub addresses: Vec<String>,
}

impl ReturnPath {
    /// Whether no address is the return path.
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty() && self.addresses.is_empty()
    }

    /// Whether mail to this address is mail to the return path. Letter case does not matter; a `*` in a
    /// pattern's domain stands for itself, and so for nothing.
    pub fn covers(&self, address: &Address) -> bool {
        let (local, domain) = (address.local_part(), address.domain());
        self.domains.iter().any(|covered| covered.eq_ignore_ascii_case(domain))
            || self.addresses.iter().any(|pattern| {
                pattern.rsplit_once('@').is_some_and(|(local_pattern, of_domain)| {
                    of_domain.eq_ignore_ascii_case(domain) && matches(local_pattern, local)
                })
            })
    }
}

/// Whether a local part, lower case, fits a pattern; linear in both but for the tries behind the last `*`.
fn matches(pattern: &str, local: &str) -> bool {
    let pattern = if pattern.is_ascii() { Cow::Borrowed(pattern) } else { Cow::Owned(pattern.to_lowercase()) };
    let (pattern, local) = (pattern.as_bytes(), local.as_bytes());
    let (mut p, mut l) = (0, 0);
    let mut last_star = None;
    while l < local.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, l));
                p += 1;
            }
            Some(octet) if octet.eq_ignore_ascii_case(&local[l]) => (p, l) = (p + 1, l + 1),
            _ => match &mut last_star {
                Some((star, taken)) => {
                    *taken += 1;
                    (p, l) = (*star + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&octet| octet == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn return_path() -> ReturnPath {
        ReturnPath {
            domains: vec!["bounces.example.com".into()],
            addresses: ["fbl@example.com", "Bounce+*@Example.com", "v-*-x*z@example.net", "*@*", "grüße*@example.com"]
                .map(str::to_owned)
                .to_vec(),
        }
    }

    #[test]
    fn a_domain_covers_its_addresses_and_a_pattern_what_it_fits() {
        for (address, want) in [
            ("anything@bounces.example.com", true),
            ("Anything@BOUNCES.example.com.", true),
            ("x@sub.bounces.example.com", false),
            ("fbl@example.com", true),
            ("FBL@example.com", true),
            ("fbl2@example.com", false),
            ("bounce+joe=example.org@example.com", true),
            ("bounce+@example.com", true),
            ("bounce@example.com", false),
            ("bounce+joe@example.org", false), // a pattern's domain stands for itself
            ("v-1-xz@example.net", true),
            ("v-a-x-b-xyzz@example.net", true),
            ("v-a-x-b-xyzq@example.net", false),
            ("GRÜSSE@example.com", false),
            ("GRÜßE1@example.com", true),
        ] {
            assert_eq!(return_path().covers(&Address::parse(address).unwrap()), want, "{address}");
        }
    }

    #[test]
    fn an_empty_return_path_covers_nothing() {
        assert!(!ReturnPath::default().covers(&Address::parse("joe@example.org").unwrap()));
    }
}
