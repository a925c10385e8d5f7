//! Feedback loops: which signature stands for which (SPEC 5, tier `authenticated`). Data: those that are known are
//! compiled in from `config/feedback-loops.toml`, and `[[feedback_loop]]` of the configuration goes over them.

use serde::Deserialize;

/// How a contact may be told from a complaint of a loop. A signature alone never tells: whoever complains of
/// somebody else's mail gets a complaint that is signed as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identify {
    /// By a token of ours (SPEC 5.2), which vouches for itself.
    Token,
    /// By the send ledger: the returned message is ours, and went to this contact.
    Ledger,
}

/// One feedback loop.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackLoop {
    /// Its name.
    pub domain: String,
    /// `d=` of its DKIM signatures (RFC 6376 §3.5), lower case; `.example.net` is every name below that.
    pub signed_by: Vec<String>,
    /// Domains of its reverse paths, or of HELO where these are null, for which SPF vouches in place of a signature
    /// (RFC 7208); written as those of `signed_by`.
    #[serde(default)]
    pub spf: Vec<String>,
    /// Whom its complaints come from, where the signer signs other mail, too; lower case.
    #[serde(default)]
    pub from: Vec<String>,
    /// How the contact may be told.
    pub identify: Vec<Identify>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    feedback_loop: Vec<FeedbackLoop>,
}

/// All feedback loops in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackLoops(Vec<FeedbackLoop>);

impl FeedbackLoops {
    /// Those that are known.
    pub fn compiled_in() -> FeedbackLoops {
        let written: Written = toml::from_str(include_str!("../../config/feedback-loops.toml"))
            .expect("the file is compiled in, and a test reads it");
        FeedbackLoops(written.feedback_loop)
    }

    /// With the operator's entries: one takes the place of that with the same domain; one that nothing signs, and
    /// that no SPF vouches for, is off.
    pub fn overlaid_by(mut self, own: &[FeedbackLoop]) -> FeedbackLoops {
        self.0.retain(|known| own.iter().all(|own| own.domain != known.domain));
        self.0.extend(own.iter().cloned());
        self.0.retain(|known| !known.signed_by.is_empty() || !known.spf.is_empty());
        self
    }

    /// The loop whose complaints this domain signs for this author.
    pub fn signed_by(&self, signer: &str, author: &str) -> Option<&FeedbackLoop> {
        let is_of = |known: &&FeedbackLoop| covers(&known.signed_by, signer) && known.is_author(author);
        self.0.iter().find(is_of)
    }

    /// The loop that sends its complaints from this domain, if SPF says so, for this author.
    pub fn sent_from(&self, domain: &str, author: &str) -> Option<&FeedbackLoop> {
        let is_of = |known: &&FeedbackLoop| covers(&known.spf, domain) && known.is_author(author);
        self.0.iter().find(is_of)
    }

    /// Whether SPF may vouch for a complaint of any of them.
    pub fn ask_spf(&self) -> bool {
        self.0.iter().any(|known| !known.spf.is_empty())
    }

    /// Every entry, the operator's last.
    pub fn list(&self) -> impl Iterator<Item = &FeedbackLoop> {
        self.0.iter()
    }
}

impl FeedbackLoop {
    fn is_author(&self, author: &str) -> bool {
        self.from.is_empty() || self.from.iter().any(|known| known == author)
    }
}

/// Whether a domain is one of these; `.example.net` is every name below that.
fn covers(names: &[String], domain: &str) -> bool {
    names.iter().any(|known| match known.strip_prefix('.') {
        Some(parent) => domain.strip_suffix(parent).is_some_and(|front| front.len() > 1 && front.ends_with('.')),
        None => domain == known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_loops_can_be_used_and_stand_once() {
        let loops = FeedbackLoops::compiled_in();
        for known in loops.list() {
            assert!(!known.signed_by.is_empty() && !known.identify.is_empty(), "{}", known.domain);
            for name in known.signed_by.iter().chain(&known.spf).chain(&known.from).chain([&known.domain]) {
                assert_eq!(*name, name.to_ascii_lowercase(), "{}", known.domain);
            }
            assert_eq!(loops.list().filter(|other| other.domain == known.domain).count(), 1, "{}", known.domain);
        }
    }

    #[test]
    fn a_loop_is_told_by_its_signer_and_where_users_are_signed_too_by_its_author() {
        let loops = FeedbackLoops::compiled_in();
        for (signer, author, want) in [
            ("arf.mail.yahoo.com", "feedback@arf.mail.yahoo.com", Some("yahoo.com")),
            ("yahoo.com", "feedback@arf.mail.yahoo.com", None), // signs its users' mail
            ("x.arf.mail.yahoo.com", "feedback@arf.mail.yahoo.com", None),
            ("hotmail.com", "staff@hotmail.com", Some("hotmail.com")),
            ("hotmail.com", "joe@hotmail.com", None),
            ("comcastfbl.senderscore.net", "feedbackloop@comcastfbl.senderscore.net", Some("senderscore.net")),
            ("senderscore.net", "feedbackloop@comcastfbl.senderscore.net", Some("senderscore.net")),
            ("evilsenderscore.net", "feedbackloop@comcastfbl.senderscore.net", None),
            (".senderscore.net", "feedbackloop@comcastfbl.senderscore.net", None),
        ] {
            let found = loops.signed_by(signer, author).map(|known| known.domain.as_str());
            assert_eq!(found, want, "d={signer}, From: {author}");
        }
    }

    #[test]
    fn an_operators_entry_replaces_that_of_its_domain_and_one_without_a_signer_is_off() {
        let own = |domain: &str, signed_by: &[&str]| FeedbackLoop {
            domain: domain.to_owned(),
            signed_by: signed_by.iter().map(|name| (*name).to_owned()).collect(),
            spf: Vec::new(),
            from: Vec::new(),
            identify: vec![Identify::Ledger],
        };
        let loops = FeedbackLoops::compiled_in().overlaid_by(&[
            own("yahoo.com", &["fbl.example"]),
            own("hotmail.com", &[]),
            own("own.example", &["own.example"]),
        ]);
        let of = |signer: &str| loops.signed_by(signer, "staff@hotmail.com").map(|known| known.domain.as_str());
        assert_eq!(of("fbl.example"), Some("yahoo.com"));
        assert_eq!((of("arf.mail.yahoo.com"), of("hotmail.com")), (None, None));
        assert_eq!(of("own.example"), Some("own.example"));
        assert!(!loops.ask_spf());
    }

    #[test]
    fn a_loop_that_signs_nothing_is_told_by_its_reverse_path() {
        let spf = FeedbackLoop {
            domain: "hotmail.com".to_owned(),
            signed_by: Vec::new(),
            spf: vec!["example.net".to_owned(), ".example.net".to_owned()],
            from: vec!["staff@hotmail.com".to_owned()],
            identify: vec![Identify::Ledger],
        };
        let loops = FeedbackLoops::compiled_in().overlaid_by(&[spf]);
        assert!(loops.ask_spf());
        let of = |domain: &str, author: &str| loops.sent_from(domain, author).map(|known| known.domain.as_str());
        for domain in ["example.net", "mail.example.net"] {
            assert_eq!(of(domain, "staff@hotmail.com"), Some("hotmail.com"), "{domain}");
            assert_eq!(of(domain, "joe@hotmail.com"), None, "{domain}");
        }
        assert_eq!((of("evilexample.net", "staff@hotmail.com"), of("", "staff@hotmail.com")), (None, None));
        assert!(loops.signed_by("hotmail.com", "staff@hotmail.com").is_none(), "replaced");
    }
}
