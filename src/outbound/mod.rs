//! Outgoing mail: which recipients must not be mailed, and why (SPEC 7).
//!
//! In: a complete transaction of an outgoing campaign message. Out: a [`Screening`], which names the
//! recipients to take off and what is to be written down. Called by `service` at the end of the message.

pub mod asking;
pub mod domains;
pub mod edits;
pub mod limit;
pub mod placeholder;
pub mod screen;
pub mod sends_on_record;
pub mod sign;

pub use domains::{DomainSettings, DomainVerdict, Domains};
pub use limit::Sends;
pub use screen::{Screening, Skip, Stays, screen};
pub use sends_on_record::SendsOnRecord;
pub use sign::sign;

use crate::report::CampaignHeaders;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `mode`: whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Decide, record and do.
    #[default]
    Enforce,
    /// Decide and record; change nothing.
    Shadow,
}

/// `[outbound] action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SkipAction {
    /// Take the recipient off the envelope.
    #[default]
    Drop,
    /// Refuse it at RCPT where the decision needs no header; otherwise as `drop`.
    Reject,
}

/// `[outbound] on_error`: what happens to outgoing mail that cannot be decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It passes.
    #[default]
    Accept,
    /// It is asked to come again.
    Tempfail,
}

/// `[outbound] other_mail`: what happens to outgoing mail that is no campaign mail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OtherMail {
    /// It passes.
    #[default]
    Pass,
    /// It is screened like campaign mail.
    Screen,
}

/// `[outbound]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a skip does.
    pub action: SkipAction,
    /// What trouble does.
    pub on_error: OnError,
    /// What happens to other mail.
    pub other_mail: OtherMail,
    /// Clients whose mail is outgoing.
    pub networks: Vec<IpNet>,
    /// Which header fields mark campaign mail.
    pub campaign_headers: CampaignHeaders,
    /// Senders whose mail is campaign mail: addresses, or `@domain`.
    pub campaign_senders: Vec<String>,
    /// Transports whose recipients are local mailboxes and never screened.
    pub local_mailers: Vec<String>,
    /// Whether sends are remembered, so that reports can be matched to them.
    pub ledger: bool,
    /// Whether the DNS is asked if recipients' domains take mail.
    pub check_domains: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let networks = ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
        let mailers = ["local", "virtual", "lmtp", "dovecot", "cyrus", "maildrop"];
        Settings {
            action: SkipAction::Drop,
            on_error: OnError::Accept,
            other_mail: OtherMail::Pass,
            networks: networks.iter().map(|net| net.parse().expect("a literal network")).collect(),
            campaign_headers: CampaignHeaders::default(),
            campaign_senders: Vec::new(),
            local_mailers: mailers.map(str::to_owned).to_vec(),
            ledger: true,
            check_domains: false,
        }
    }
}
