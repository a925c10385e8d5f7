//! Which mailbox provider a contact's domain belongs to, for the label `provider` of the metrics.
//!
//! A fixed list, so that no domain out of a mail ever becomes a label. It goes by the domain alone, without the DNS:
//! mailboxes of firms that a provider hosts under domains of their own are [`OTHER`].

/// The last of [`PROVIDERS`]: every domain that the list does not know.
pub const OTHER: usize = PROVIDERS.len() - 1;

/// Every provider by the name it has as a label; `other` comes last.
pub const PROVIDERS: [&str; 44] = [
    "gmail",
    "microsoft",
    "yahoo",
    "aol",
    "apple",
    "gmx",
    "web.de",
    "t-online",
    "freenet",
    "ionos",
    "posteo",
    "mailbox.org",
    "orange",
    "free",
    "laposte",
    "sfr",
    "bluewin",
    "libero",
    "tim",
    "telenet",
    "kpn",
    "ziggo",
    "bt",
    "sky",
    "comcast",
    "att",
    "verizon",
    "cox",
    "charter",
    "seznam",
    "wp.pl",
    "onet",
    "interia",
    "mail.ru",
    "yandex",
    "proton",
    "zoho",
    "fastmail",
    "qq",
    "netease",
    "naver",
    "docomo",
    "uol",
    "other",
];

/// The place in [`PROVIDERS`] of the provider of this domain, which is in lower case.
pub fn provider(domain: &str) -> usize {
    let name = known(domain);
    PROVIDERS.iter().position(|provider| *provider == name).unwrap_or(OTHER)
}

fn known(domain: &str) -> &'static str {
    match domain {
        "gmail.com" | "googlemail.com" => "gmail",
        "msn.com" | "passport.com" | "windowslive.com" => "microsoft",
        "ymail.com" | "rocketmail.com" | "myyahoo.com" => "yahoo",
        "aol.com" | "aim.com" | "aol.de" | "aol.fr" | "aol.co.uk" | "netscape.net" => "aol",
        "icloud.com" | "me.com" | "mac.com" => "apple",
        "gmx.de" | "gmx.net" | "gmx.at" | "gmx.ch" | "gmx.com" | "gmx.eu" | "gmx.org" | "gmx.fr" => "gmx",
        "web.de" | "email.de" => "web.de",
        "t-online.de" | "magenta.de" => "t-online",
        "freenet.de" | "freenetmail.de" => "freenet",
        "ionos.de" | "1und1.de" | "online.de" | "onlinehome.de" | "mail.com" => "ionos",
        "posteo.de" | "posteo.net" | "posteo.at" | "posteo.ch" => "posteo",
        "mailbox.org" => "mailbox.org",
        "orange.fr" | "wanadoo.fr" => "orange",
        "free.fr" | "aliceadsl.fr" => "free",
        "laposte.net" => "laposte",
        "sfr.fr" | "neuf.fr" | "cegetel.net" | "club-internet.fr" | "numericable.fr" => "sfr",
        "bluewin.ch" | "swissonline.ch" => "bluewin",
        "libero.it" | "virgilio.it" | "iol.it" | "inwind.it" | "blu.it" => "libero",
        "tim.it" | "alice.it" | "tin.it" => "tim",
        "telenet.be" => "telenet",
        "kpnmail.nl" | "planet.nl" | "kpnplanet.nl" | "hetnet.nl" | "xs4all.nl" => "kpn",
        "ziggo.nl" | "home.nl" | "upcmail.nl" | "casema.nl" => "ziggo",
        "btinternet.com" | "btopenworld.com" | "talk21.com" => "bt",
        "sky.com" => "sky",
        "comcast.net" | "xfinity.com" => "comcast",
        "att.net" | "sbcglobal.net" | "bellsouth.net" | "pacbell.net" | "ameritech.net" | "swbell.net" => "att",
        "verizon.net" => "verizon",
        "cox.net" => "cox",
        "charter.net" | "spectrum.net" | "roadrunner.com" | "twc.com" | "rr.com" => "charter",
        "seznam.cz" | "email.cz" | "post.cz" | "spoluzaci.cz" => "seznam",
        "wp.pl" | "o2.pl" | "tlen.pl" => "wp.pl",
        "onet.pl" | "op.pl" | "vp.pl" | "poczta.onet.pl" | "onet.eu" => "onet",
        "interia.pl" | "interia.eu" | "poczta.fm" => "interia",
        "mail.ru" | "bk.ru" | "inbox.ru" | "list.ru" | "internet.ru" => "mail.ru",
        "ya.ru" | "narod.ru" => "yandex",
        "proton.me" | "protonmail.com" | "protonmail.ch" | "pm.me" => "proton",
        "zoho.com" | "zohomail.com" | "zoho.eu" | "zohomail.eu" => "zoho",
        "fastmail.com" | "fastmail.fm" => "fastmail",
        "qq.com" | "foxmail.com" => "qq",
        "163.com" | "126.com" | "yeah.net" | "188.com" => "netease",
        "naver.com" => "naver",
        "docomo.ne.jp" => "docomo",
        "uol.com.br" | "bol.com.br" => "uol",
        // The same name under the tops of many countries.
        _ => match domain.split_once('.') {
            Some(("hotmail" | "outlook" | "live", top)) if is_top(top) => "microsoft",
            Some(("yahoo", top)) if is_top(top) => "yahoo",
            Some(("yandex", top)) if is_top(top) => "yandex",
            _ => "other",
        },
    }
}

/// Whether this is what registries sell names under: `com`, `de`, `co.uk`, `com.br`.
fn is_top(top: &str) -> bool {
    let is_country = |label: &str| label.len() == 2;
    match top.split_once('.') {
        None => top == "com" || is_country(top),
        Some((second, country)) => matches!(second, "co" | "com") && is_country(country),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_the_label_of_its_provider() {
        for (domain, want) in [
            ("gmail.com", "gmail"),
            ("googlemail.com", "gmail"),
            ("hotmail.co.uk", "microsoft"),
            ("live.nl", "microsoft"),
            ("yahoo.com.br", "yahoo"),
            ("yandex.kz", "yandex"),
            ("bol.com.br", "uol"),
            ("notgmail.com", "other"),
            ("gmail.com.evil.example", "other"),
            ("yahoo.evil.example", "other"),
            ("live.example", "other"),
            ("example.org", "other"),
            ("", "other"),
        ] {
            assert_eq!(PROVIDERS[provider(domain)], want, "{domain}");
        }
    }

    #[test]
    fn every_name_the_table_gives_is_a_label_and_every_label_is_given() {
        let code = include_str!("provider.rs").split("#[cfg(test)]").next().expect("a first piece");
        let named = |name: &str| code.matches(&format!("=> \"{name}\"")).count();
        for name in PROVIDERS {
            assert!(named(name) > 0, "{name} is given to no domain");
        }
        let given = code.matches("=> \"").count();
        assert_eq!(given, PROVIDERS.iter().map(|name| named(name)).sum::<usize>(), "a name is no label");
        assert_eq!(PROVIDERS[OTHER], "other");
    }
}
