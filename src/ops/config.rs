//! Reads `backstop.toml` (SPEC 12). Every key has a default, so an empty file is a valid one; a key that does
//! not exist, or a value that cannot be used, is an error: nothing is passed over in silence.

use super::keys::{Keys, word};
use super::{authority_section, hook_section, policy_section, privileges, sections};
use crate::milter::ListenAddress;
use crate::outbound::Mode;
use crate::{admin, authority, hooks, inbound, milter, outbound, policy, store};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Every key, in the order of `config/backstop.toml`.
pub const KEYS: [&str; 93] = [
    "mode",
    "feedback_loop",
    "hook",
    "process.user",
    "process.group",
    "milter.listen",
    "milter.socket_mode",
    "milter.socket_group",
    "milter.connections",
    "milter.idle_timeout_secs",
    "milter.decision_timeout_secs",
    "milter.drain_timeout_secs",
    "milter.packet_bytes",
    "milter.header_fields",
    "milter.header_bytes",
    "milter.body_bytes",
    "milter.recipients",
    "admin.socket",
    "admin.write_group",
    "admin.read_group",
    "admin.metrics_listen",
    "store.path",
    "store.cache_bytes",
    "store.evidence_days",
    "store.ledger_days",
    "return_path.domains",
    "return_path.addresses",
    "return_path.recognised",
    "return_path.unrecognised",
    "return_path.message_bytes",
    "return_path.header_fields",
    "return_path.header_bytes",
    "return_path.parts",
    "return_path.depth",
    "outbound.action",
    "outbound.on_error",
    "outbound.other_mail",
    "outbound.networks",
    "outbound.campaign_headers",
    "outbound.campaign_senders",
    "outbound.local_mailers",
    "outbound.ledger",
    "outbound.check_domains",
    "dns.servers",
    "dns.timeout_secs",
    "authority.accept_unverified",
    "authority.sign",
    "authority.keys",
    "authority.max_age_days",
    "authority.prefix",
    "authority.domain",
    "authority.domains",
    "policy.profile",
    "policy.settle_days",
    "policy.rejected.hard_responses",
    "policy.rejected.responses",
    "policy.rejected.span_days",
    "policy.rejected.reactivate_days",
    "policy.rejected.doubling",
    "policy.invalid.hard_responses",
    "policy.invalid.responses",
    "policy.invalid.span_days",
    "policy.invalid.reactivate_days",
    "policy.invalid.doubling",
    "policy.transient.hard_responses",
    "policy.transient.responses",
    "policy.transient.span_days",
    "policy.transient.reactivate_days",
    "policy.transient.doubling",
    "policy.unknown.hard_responses",
    "policy.unknown.responses",
    "policy.unknown.span_days",
    "policy.unknown.reactivate_days",
    "policy.unknown.doubling",
    "policy.blocked.hard_responses",
    "policy.blocked.responses",
    "policy.blocked.span_days",
    "policy.blocked.reactivate_days",
    "policy.blocked.doubling",
    "policy.failed.hard_responses",
    "policy.failed.responses",
    "policy.failed.span_days",
    "policy.failed.reactivate_days",
    "policy.failed.doubling",
    "policy.complaint.responses",
    "policy.proof_of_life.soft",
    "policy.proof_of_life.unknown",
    "policy.proof_of_life.hard",
    "rules.directory",
    "rules.dialects_directory",
    "log.addresses",
    "log.hash_key_file",
    "limits.rule",
];

/// `[log] addresses`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogAddresses {
    /// As they are.
    #[default]
    Plain,
    /// Keyed hashes.
    Hashed,
}

/// The configuration, every key given its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `mode`.
    pub mode: outbound::Mode,
    /// `[process]`.
    pub process: privileges::Settings,
    /// `[milter]`.
    pub milter: milter::server::Settings,
    /// `[admin]`.
    pub admin: admin::server::Settings,
    /// `[store]`.
    pub store: store::Settings,
    /// `[return_path]`.
    pub return_path: inbound::Settings,
    /// `[outbound]`.
    pub outbound: outbound::Settings,
    /// `[[feedback_loop]]`: the operator's own.
    pub feedback_loops: Vec<authority::FeedbackLoop>,
    /// `[[hook]]`.
    pub hooks: Vec<hooks::Settings>,
    /// `[dns]`.
    pub dns: outbound::DomainSettings,
    /// `[policy]`, `[authority] accept_unverified`.
    pub policy: policy::Policy,
    /// `[authority]`, but for `accept_unverified`.
    pub authority: authority::Settings,
    /// `[log] addresses`.
    pub log_addresses: LogAddresses,
    /// `[log] hash_key_file`: what the hashes in the log are keyed with; none for a key of this run only.
    pub log_hash_key_file: Option<PathBuf>,
    /// Where the operator's rules are.
    pub rules_directory: PathBuf,
    /// Where the operator's dialects are.
    pub dialects_directory: PathBuf,
    /// `[limits]`.
    pub limits: Vec<policy::Limit>,
}

/// Why a configuration cannot be used. The message names file, line, key and what would do.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line, from 1, where one can be named.
    pub line: Option<usize>,
    /// Key, what is wrong, what would do.
    pub problem: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mode: Mode::Enforce,
            process: privileges::Settings::default(),
            milter: milter::server::Settings {
                listen: vec![ListenAddress::Unix("/var/spool/postfix/backstop/milter.sock".into())],
                connections: 1000,
                idle_timeout: Duration::from_secs(3600),
                decision_timeout: Duration::from_secs(60),
                drain_timeout: Duration::from_secs(10),
                limits: milter::Limits::default(),
                access: milter::server::SocketAccess::default(),
            },
            admin: admin::server::Settings {
                socket: "/run/backstop/admin.sock".into(),
                metrics_listen: None,
                write_group: "backstop-admin".to_owned(),
                read_group: "backstop-read".to_owned(),
            },
            store: store::Settings {
                path: "/var/lib/backstop/store".into(),
                cache_bytes: 8 << 20,
                evidence_days: 400,
                ledger_days: 35,
            },
            return_path: inbound::Settings::default(),
            outbound: outbound::Settings::default(),
            feedback_loops: Vec::new(),
            hooks: Vec::new(),
            dns: outbound::DomainSettings::default(),
            policy: policy::Policy::default(),
            authority: authority::Settings::default(),
            log_addresses: LogAddresses::Plain,
            log_hash_key_file: None,
            rules_directory: "/etc/backstop/rules.d".into(),
            dialects_directory: "/etc/backstop/dialects.d".into(),
            limits: Vec::new(),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] for the first thing that cannot be used.
    pub fn read(file: &Path) -> Result<Config, ConfigError> {
        let problem = |problem| ConfigError { file: file.to_owned(), line: None, problem };
        let octets = std::fs::read(file).map_err(|error| problem(format!("cannot be read: {error}")))?;
        let text = String::from_utf8(octets).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|o| **o == b'\n').count();
            ConfigError { line: Some(line), ..problem("not TOML: the text is not UTF-8".to_owned()) }
        })?;
        Config::parse(file, &text)
    }

    /// Reads a text as if it were the file's.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
        let keys = Keys::read(file, text, &KEYS)?;
        sections::refuse_what_is_not_served(&keys)?;
        let default = Config::default();
        let mut config = Config {
            mode: keys.get("mode", default.mode, word(&[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)]))?,
            process: sections::read_process(&keys, default.process)?,
            milter: sections::read_milter(&keys, default.milter)?,
            admin: sections::read_admin(&keys, default.admin)?,
            store: sections::read_store(&keys, default.store)?,
            return_path: sections::read_return_path(&keys, default.return_path)?,
            outbound: sections::read_outbound(&keys, default.outbound)?,
            feedback_loops: sections::read_feedback_loops(&keys)?,
            hooks: hook_section::read_hooks(&keys)?,
            dns: sections::read_dns(&keys, default.dns)?,
            policy: policy_section::read_policy(&keys, default.policy)?,
            authority: authority_section::read_authority(&keys, default.authority)?,
            log_addresses: keys.get(
                "log.addresses",
                default.log_addresses,
                word(&[("plain", LogAddresses::Plain), ("hashed", LogAddresses::Hashed)]),
            )?,
            log_hash_key_file: keys.get("log.hash_key_file", None, sections::optional_path)?,
            rules_directory: keys.get("rules.directory", default.rules_directory, sections::path)?,
            dialects_directory: keys.get("rules.dialects_directory", default.dialects_directory, sections::path)?,
            limits: sections::read_limits(&keys)?,
        };
        sections::check_limits(&keys, &config)?;
        authority_section::complete(&keys, &mut config)?;
        Ok(config)
    }

    /// The sections in which `new` differs in what only a restart changes: listeners, sockets, the store, the
    /// way addresses are logged.
    pub fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let log = |config: &Config| (config.log_addresses, config.log_hash_key_file.clone());
        let sections = [
            ("[process]", self.process != new.process),
            ("[milter]", self.milter != new.milter),
            ("[admin]", self.admin != new.admin),
            ("[store]", self.store != new.store),
            ("[log]", log(self) != log(new)),
        ];
        sections.into_iter().filter(|(_, changed)| *changed).map(|(section, _)| section).collect()
    }
}
