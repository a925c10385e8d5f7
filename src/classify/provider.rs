//! Which mailbox provider an address belongs to, as far as its domain tells: reports compare providers (SPEC 8).
//!
//! The large ones take mail under many domains and are known by name, in reports and in metrics alike. Everybody else is
//! named by the domain in reports, and `other` in metrics, where no domain out of a mail ever becomes a label. The DNS
//! is not asked: of a message that left, nothing but the recipients' addresses is known, and a report whose bounces
//! stand elsewhere than its sends compares nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Providers by the domains they give out addresses in.
const KNOWN: [(&str, &[&str]); 39] = [
    ("apple", &["icloud.com", "mac.com", "me.com"]),
    ("bluewin", &["bluewin.ch", "swissonline.ch"]),
    ("bt", &["btinternet.com", "btopenworld.com", "talk21.com"]),
    ("charter", &["charter.net", "roadrunner.com", "rr.com", "spectrum.net", "twc.com"]),
    ("comcast", &["comcast.net", "xfinity.com"]),
    ("cox", &["cox.net"]),
    ("docomo", &["docomo.ne.jp"]),
    ("fastmail", &["fastmail.com", "fastmail.fm"]),
    ("free", &["aliceadsl.fr", "free.fr", "freesbee.fr", "libertysurf.fr", "online.fr"]),
    ("freenet", &["freenet.de", "freenetmail.de"]),
    ("google", &["gmail.com", "googlemail.com"]),
    ("interia", &["interia.eu", "interia.pl", "poczta.fm"]),
    ("ionos", &["1und1.de", "ionos.de", "online.de", "onlinehome.de"]),
    ("italiaonline", &["blu.it", "giallo.it", "inwind.it", "iol.it", "libero.it", "virgilio.it"]),
    ("kpn", &["hetnet.nl", "kpnmail.nl", "kpnplanet.nl", "planet.nl", "xs4all.nl"]),
    ("laposte", &["laposte.net"]),
    ("mailbox-org", &["mailbox.org"]),
    (
        "microsoft",
        &[
            "live.at",
            "live.be",
            "live.ca",
            "live.cl",
            "live.cn",
            "live.co.uk",
            "live.co.za",
            "live.com",
            "live.com.ar",
            "live.com.au",
            "live.com.mx",
            "live.com.pt",
            "live.de",
            "live.dk",
            "live.fr",
            "live.ie",
            "live.in",
            "live.it",
            "live.jp",
            "live.nl",
            "live.no",
            "live.se",
            "msn.com",
            "passport.com",
            "windowslive.com",
        ],
    ),
    ("naver", &["naver.com"]),
    ("netease", &["126.com", "163.com", "188.com", "yeah.net"]),
    ("onet", &["autograf.pl", "onet.eu", "onet.pl", "op.pl", "opoczta.pl", "poczta.onet.pl", "vp.pl"]),
    ("orange", &["orange.fr", "voila.fr", "wanadoo.fr"]),
    ("posteo", &["posteo.at", "posteo.ch", "posteo.de", "posteo.net"]),
    ("proton", &["pm.me", "proton.me", "protonmail.ch", "protonmail.com"]),
    ("seznam", &["email.cz", "post.cz", "seznam.cz", "spoluzaci.cz"]),
    ("sfr", &["9online.fr", "cegetel.net", "club-internet.fr", "neuf.fr", "numericable.fr", "sfr.fr"]),
    ("sky", &["sky.com"]),
    ("telekom", &["magenta.de", "t-online.de"]),
    ("telenet", &["telenet.be"]),
    ("tencent", &["foxmail.com", "qq.com", "vip.qq.com"]),
    ("tim", &["alice.it", "tim.it", "tin.it"]),
    ("united-internet", &["email.de", "gmx.biz", "gmx.info", "gmx.org", "mail.com", "web.de"]),
    ("uol", &["bol.com.br", "uol.com.br"]),
    ("vk", &["bk.ru", "inbox.ru", "internet.ru", "list.ru", "mail.ru", "vk.com"]),
    ("wp", &["go2.pl", "o2.pl", "prokonto.pl", "tlen.pl", "wp.pl"]),
    (
        "yahoo",
        &[
            "aim.com",
            "ameritech.net",
            "att.net",
            "bellsouth.net",
            "myyahoo.com",
            "netscape.net",
            "pacbell.net",
            "rocketmail.com",
            "sbcglobal.net",
            "swbell.net",
            "verizon.net",
            "ymail.com",
        ],
    ),
    ("yandex", &["narod.ru", "ya.ru", "yandex.com"]),
    ("ziggo", &["casema.nl", "home.nl", "upcmail.nl", "ziggo.nl"]),
    ("zoho", &["zoho.com", "zoho.eu", "zohomail.com", "zohomail.eu"]),
];

/// Those that have a domain of one name in many countries: `yahoo.fr`, `yahoo.co.uk`.
const IN_MANY_COUNTRIES: [(&str, &str); 6] = [
    ("aol", "yahoo"),
    ("gmx", "united-internet"),
    ("hotmail", "microsoft"),
    ("outlook", "microsoft"),
    ("yahoo", "yahoo"),
    ("yandex", "yandex"),
];

/// The place of each domain's provider in [`KNOWN`]. Asked for each recipient of each message.
static PLACES: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let places = KNOWN.iter().enumerate();
    places.flat_map(|(place, (_, domains))| domains.iter().map(move |domain| (*domain, place))).collect()
});

/// What is counted together with others: in reports what has no count of its own, in metrics who is none of the large ones.
pub const OTHER: &str = "other";

/// How many large ones there are.
pub const LARGE: usize = KNOWN.len();

/// The names of the large ones, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(name, _)| *name)
}

/// The place among [`names`] of the provider of an address in this domain, which is in lower-case A-labels, where it is
/// one of the large ones.
pub fn place(domain: &str) -> Option<usize> {
    if let Some((first, country)) = domain.split_once('.') {
        let top = country.strip_prefix("com.").or_else(|| country.strip_prefix("co.")).unwrap_or(country);
        let in_country =
            matches!(top, "com" | "net") || top.len() == 2 && top.bytes().all(|octet| octet.is_ascii_lowercase());
        let known = IN_MANY_COUNTRIES.iter().find(|(name, _)| *name == first);
        if let Some((_, provider)) = known.filter(|_| in_country) {
            return place_of(provider);
        }
    }
    PLACES.get(domain).copied()
}

/// The name of the provider of an address in this domain where it is one of the large ones, else none.
pub fn named(domain: &str) -> Option<&'static str> {
    place(domain).map(|place| KNOWN[place].0)
}

fn place_of(name: &str) -> Option<usize> {
    KNOWN.binary_search_by_key(&name, |(known, _)| known).ok()
}

/// Whether this is the name of a large one, and no domain.
pub fn is_name(name: &str) -> bool {
    place_of(name).is_some()
}

/// The provider of an address in this domain: the name of a large one, else the domain itself.
pub fn of(domain: &str) -> &str {
    named(domain).unwrap_or(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_providers_are_known_by_name_and_others_by_their_domain() {
        for (domain, want) in [
            ("gmail.com", "google"),
            ("googlemail.com", "google"),
            ("hotmail.co.uk", "microsoft"),
            ("outlook.com.br", "microsoft"),
            ("live.fr", "microsoft"),
            ("yahoo.co.jp", "yahoo"),
            ("gmx.at", "united-internet"),
            ("web.de", "united-internet"),
            ("yandex.by", "yandex"),
            ("example.org", "example.org"),
            ("yahoo.example.org", "yahoo.example.org"), // no country
            ("outlook.example", "outlook.example"),
            ("my-gmail.com", "my-gmail.com"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(of(domain), want, "{domain}");
        }
    }

    #[test]
    fn every_domain_stands_once_and_in_order() {
        assert!(KNOWN.is_sorted_by_key(|(name, _)| *name));
        let all: Vec<&str> = KNOWN.iter().flat_map(|(_, domains)| domains.iter().copied()).collect();
        let once: std::collections::BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(once.len(), all.len());
        assert!(IN_MANY_COUNTRIES.iter().all(|(_, name)| is_name(name)) && !is_name("other"));
        for (name, domains) in KNOWN {
            assert!(is_name(name) && !name.contains('.'));
            assert!(domains.is_sorted(), "{name}");
            assert!(domains.iter().all(|domain| named(domain) == Some(name)), "{name}");
        }
    }
}
