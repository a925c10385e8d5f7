//! What must happen, by the configuration in force.

use crate::admin::wire::Status;
use crate::inbound::Recognised;
use crate::mail::Address;
use crate::ops::config::Config;
use crate::outbound::{Mode, SkipAction};
use crate::policy::Authority;

/// What is in force: the daemon's own words, and its file.
pub struct Setup {
    /// The daemon's status.
    pub status: Status,
    /// Its configuration, or why it cannot be read here.
    pub config: Result<Box<Config>, String>,
    default: Box<Config>,
}

impl Setup {
    /// Reads the file that the daemon names.
    pub fn of(status: Status) -> Setup {
        let config = Config::read(&status.config.file).map(Box::new).map_err(|error| error.to_string());
        Setup { status, config, default: Box::default() }
    }

    /// Its configuration; where that cannot be read, the defaults.
    pub fn config(&self) -> &Config {
        self.config.as_ref().unwrap_or(&self.default)
    }

    /// Whether decisions are carried out.
    pub fn enforces(&self) -> bool {
        self.status.mode == Mode::Enforce
    }

    /// Whether a suppressed recipient may be refused at RCPT.
    pub fn may_refuse(&self) -> bool {
        self.enforces() && self.config().outbound.action == SkipAction::Reject
    }

    /// The header field by which campaign mail is known: one that names the campaign, if there is one.
    pub fn campaign_field(&self) -> String {
        let names = &self.config().outbound.campaign_headers.names;
        let first = names.first().map_or("X-Backstop-Campaign", String::as_str);
        let own = names.iter().find(|name| name.eq_ignore_ascii_case("X-Backstop-Campaign"));
        own.map_or(first, String::as_str).to_owned()
    }

    /// Whether one hard bounce is enough.
    pub fn suppresses_at_once(&self) -> bool {
        self.config().policy.table.rejected.hard_responses <= 1
    }

    /// An address of the return path for each of its entries, whole domains first: a sender there can be signed.
    pub fn return_paths(&self) -> Vec<String> {
        let return_path = &self.config().return_path.return_path;
        let domains = return_path.domains.iter().map(|domain| format!("backstop-selftest@{domain}"));
        let addresses = return_path.addresses.iter().map(|pattern| pattern.replace('*', "backstop-selftest"));
        domains.chain(addresses).collect()
    }

    /// Why what comes to the return path would not end at the milter; none where it ends there.
    pub fn goes_on(&self) -> Option<&'static str> {
        match (self.enforces(), self.config().return_path.recognised) {
            (false, _) => Some("mode = \"shadow\": the test's reports would go on to the return path's mailbox"),
            (true, Recognised::Deliver) => {
                Some("[return_path] recognised = \"deliver\": the test's reports would go on to its mailbox")
            }
            (true, Recognised::Discard) => None,
        }
    }

    /// Whether mail of this sender is to leave with a signed return path.
    pub fn signs(&self, sender: &str) -> bool {
        let is_plain = Address::parse(sender).is_ok_and(|sender| !sender.local_part().contains(['=', '+']));
        self.enforces() && self.config().authority.sign && is_plain
    }

    /// What a complaint about a message must be worth that left with a signed return path or not, and whether it counts.
    pub fn complaint(&self, was_signed: bool) -> (Authority, bool) {
        let config = self.config();
        match (was_signed, config.outbound.ledger) {
            (true, _) => (Authority::Signed, true),
            (false, true) => (Authority::Matched, true),
            (false, false) => (Authority::Unverified, config.policy.accept_unverified),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn setup(mode: &str, config: &str) -> Setup {
        let status = format!(
            r#"{{"version": "0.1.0", "mode": "{mode}", "uptime_secs": 1, "counters": {{}}, "last_events": {{}},
                "alerts": [], "config": {{"file": "/nonexistent/backstop.toml", "loaded_at": "2026-08-21T03:00:00Z",
                "reload_error": null}}, "release": null,
                "store": {{"events": 1, "contacts": 1, "waiting": 0, "disk_bytes": 5}}, "milter": {{"connections": 3}}}}"#
        );
        let mut setup = Setup::of(serde_json::from_str(&status).expect("the shape of status"));
        assert!(setup.config.is_err(), "no such file");
        setup.config = Ok(Box::new(Config::parse(Path::new("backstop.toml"), config).expect("a configuration")));
        setup
    }

    #[test]
    fn what_must_happen_follows_from_the_configuration() {
        let plain = setup("enforce", "");
        assert_eq!((plain.goes_on(), plain.return_paths(), plain.may_refuse()), (None, vec![], false));
        assert_eq!(plain.campaign_field(), "X-Backstop-Campaign");
        assert!(plain.suppresses_at_once());
        assert_eq!(plain.complaint(false), (Authority::Matched, true));
        let bare =
            setup("enforce", "[outbound]\nledger = false\ncampaign_headers = [\"Precedence\"]\naction = \"reject\"\n");
        assert_eq!(bare.complaint(false), (Authority::Unverified, false));
        assert_eq!((bare.campaign_field().as_str(), bare.may_refuse()), ("Precedence", true));
        let shadow = setup("shadow", "[return_path]\ndomains = [\"b.test\"]\naddresses = [\"b+*@c.test\"]\n");
        assert!(shadow.goes_on().is_some_and(|why| why.contains("shadow")));
        assert_eq!(shadow.return_paths(), ["backstop-selftest@b.test", "b+backstop-selftest@c.test"]);
        let deliver = setup("enforce", "[return_path]\nrecognised = \"deliver\"\n");
        assert!(deliver.goes_on().is_some_and(|why| why.contains("deliver")));
    }

    #[test]
    fn only_a_plain_sender_is_signed_and_its_complaint_then_is() {
        let signing = "[return_path]\ndomains = [\"b.test\"]\n[authority]\nsign = true\n";
        let setup = setup("enforce", signing);
        for (sender, want) in [("backstop-selftest@b.test", true), ("b+x@b.test", false), ("b=x@b.test", false)] {
            assert_eq!(setup.signs(sender), want, "{sender}");
        }
        assert_eq!(setup.complaint(true), (Authority::Signed, true));
    }
}
