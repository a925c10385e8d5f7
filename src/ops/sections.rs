//! The sections of `backstop.toml`, each read into the settings of the piece it belongs to.
//!
//! Called by `config` with the keys of one file. Each value is brought to the form in which it is used: domains
//! as A-labels, addresses as contacts have them, times as durations.

use super::config::{Config, ConfigError};
use super::keys::{Keys, boolean, number, string, word};
use super::privileges;
use crate::authority::{FeedbackLoop, Identify};
use crate::inbound::Recognised;
use crate::mail::{Address, ReturnPath};
use crate::milter::ListenAddress;
use crate::outbound::{OnError, OtherMail, SkipAction};
use crate::report::CampaignHeaders;
use crate::{admin, inbound, milter, outbound, policy, store};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

const OCTETS: &str = "octets";
const FIELDS: &str = "header fields";
const LATER: &str = "not available in this version";

/// Keys whose place is settled, but that nothing serves yet: only the value that asks for nothing is taken.
pub fn refuse_what_is_not_served(keys: &Keys<'_>) -> Result<(), ConfigError> {
    keys.get("return_path.unrecognised", (), |value| match string(value)?.as_str() {
        "deliver" => Ok(()),
        _ => Err(format!("anything but delivering is {LATER}; set it to \"deliver\"")),
    })
}

/// `[process]`.
pub fn read_process(keys: &Keys<'_>, default: privileges::Settings) -> Result<privileges::Settings, ConfigError> {
    Ok(privileges::Settings {
        user: keys.get("process.user", default.user, |value| match string(value)? {
            name if name.is_empty() => Err("is empty; name the user the daemon runs as".to_owned()),
            name => Ok(name),
        })?,
        group: keys.get("process.group", default.group, optional)?,
    })
}

/// `[milter]`.
pub fn read_milter(
    keys: &Keys<'_>,
    default: milter::server::Settings,
) -> Result<milter::server::Settings, ConfigError> {
    let listen = keys.list("milter.listen", default.listen, ListenAddress::parse)?;
    if listen.is_empty() {
        return Err(
            keys.refuse("milter.listen", "is empty; name at least one listener, such as \"inet:127.0.0.1:8899\"")
        );
    }
    if let Some(twice) = (1..listen.len()).find(|place| listen[..*place].contains(&listen[*place])) {
        return Err(
            keys.refuse("milter.listen", &format!("names the same listener twice; remove number {}", twice + 1))
        );
    }
    let limits = default.limits;
    Ok(milter::server::Settings {
        listen,
        connections: keys.get("milter.connections", default.connections, number(1..=65_536, "connections"))?,
        idle_timeout: keys.get("milter.idle_timeout_secs", default.idle_timeout, seconds(1..=604_800))?,
        decision_timeout: keys.get("milter.decision_timeout_secs", default.decision_timeout, seconds(1..=3600))?,
        drain_timeout: keys.get("milter.drain_timeout_secs", default.drain_timeout, seconds(0..=3600))?,
        limits: milter::Limits {
            // Postfix sends body chunks of 65535 octets, each in a packet with its command octet.
            packet_bytes: keys.get("milter.packet_bytes", limits.packet_bytes, number(65_536..=1 << 26, OCTETS))?,
            headers: keys.get("milter.header_fields", limits.headers, number(10..=100_000, FIELDS))?,
            header_bytes: keys.get("milter.header_bytes", limits.header_bytes, number(1024..=1 << 26, OCTETS))?,
            body_bytes: keys.get("milter.body_bytes", limits.body_bytes, number(1024..=1 << 30, OCTETS))?,
            recipients: keys.get("milter.recipients", limits.recipients, number(1..=1_000_000, "recipients"))?,
        },
        access: milter::server::SocketAccess {
            mode: keys.get("milter.socket_mode", default.access.mode, socket_mode)?,
            group: keys.get("milter.socket_group", default.access.group, optional)?,
        },
    })
}

/// `[admin]`.
pub fn read_admin(keys: &Keys<'_>, default: admin::server::Settings) -> Result<admin::server::Settings, ConfigError> {
    Ok(admin::server::Settings {
        socket: keys.get("admin.socket", default.socket, path)?,
        metrics_listen: keys.get("admin.metrics_listen", default.metrics_listen, |value| {
            match string(value)?.as_str() {
                "" => Ok(None),
                text => text.parse().map(Some).map_err(|_| {
                    format!("\"{text}\" is no address and port; write it as 127.0.0.1:9899 or [::1]:9899")
                }),
            }
        })?,
        write_group: keys.get("admin.write_group", default.write_group, group)?,
        read_group: keys.get("admin.read_group", default.read_group, group)?,
    })
}

/// `[store]`.
pub fn read_store(keys: &Keys<'_>, default: store::Settings) -> Result<store::Settings, ConfigError> {
    Ok(store::Settings {
        path: keys.get("store.path", default.path, path)?,
        cache_bytes: keys.get("store.cache_bytes", default.cache_bytes, number(1 << 20..=1 << 36, OCTETS))?,
        evidence_days: keys.get("store.evidence_days", default.evidence_days, number(1..=36_500, "days"))?,
        ledger_days: keys.get("store.ledger_days", default.ledger_days, number(1..=36_500, "days"))?,
    })
}

/// `[return_path]`.
pub fn read_return_path(keys: &Keys<'_>, default: inbound::Settings) -> Result<inbound::Settings, ConfigError> {
    let limits = default.limits;
    Ok(inbound::Settings {
        return_path: ReturnPath {
            domains: keys.list("return_path.domains", default.return_path.domains, domain)?,
            addresses: keys.list("return_path.addresses", default.return_path.addresses, address)?,
        },
        recognised: keys.get(
            "return_path.recognised",
            default.recognised,
            word(&[("discard", Recognised::Discard), ("deliver", Recognised::Deliver)]),
        )?,
        limits: crate::mail::Limits {
            message_bytes: keys.get(
                "return_path.message_bytes",
                limits.message_bytes,
                number(1024..=1 << 30, OCTETS),
            )?,
            headers: keys.get("return_path.header_fields", limits.headers, number(10..=100_000, FIELDS))?,
            header_bytes: keys.get("return_path.header_bytes", limits.header_bytes, number(1024..=1 << 26, OCTETS))?,
            parts: keys.get("return_path.parts", limits.parts, number(4..=10_000, "parts"))?,
            // Deeper nesting than this overflows the MIME parser's stack.
            depth: keys.get("return_path.depth", limits.depth, number(2..=64, "levels"))?,
        },
    })
}

/// `[outbound]`.
pub fn read_outbound(keys: &Keys<'_>, default: outbound::Settings) -> Result<outbound::Settings, ConfigError> {
    let headers = default.campaign_headers.names;
    Ok(outbound::Settings {
        action: keys.get(
            "outbound.action",
            default.action,
            word(&[("drop", SkipAction::Drop), ("reject", SkipAction::Reject)]),
        )?,
        on_error: keys.get(
            "outbound.on_error",
            default.on_error,
            word(&[("accept", OnError::Accept), ("tempfail", OnError::Tempfail)]),
        )?,
        other_mail: keys.get(
            "outbound.other_mail",
            default.other_mail,
            word(&[("pass", OtherMail::Pass), ("screen", OtherMail::Screen)]),
        )?,
        networks: keys.list("outbound.networks", default.networks, network)?,
        campaign_headers: CampaignHeaders { names: keys.list("outbound.campaign_headers", headers, field_name)? },
        campaign_senders: keys.list("outbound.campaign_senders", default.campaign_senders, |sender| {
            match sender.strip_prefix('@') {
                Some(name) => domain(name).map(|domain| format!("@{domain}")),
                None => address(sender),
            }
        })?,
        local_mailers: keys.list("outbound.local_mailers", default.local_mailers, |name| Ok(name.to_owned()))?,
        ledger: keys.get("outbound.ledger", default.ledger, boolean)?,
        check_domains: keys.get("outbound.check_domains", default.check_domains, boolean)?,
    })
}

/// `[dns]`.
pub fn read_dns(keys: &Keys<'_>, default: outbound::DomainSettings) -> Result<outbound::DomainSettings, ConfigError> {
    Ok(outbound::DomainSettings {
        servers: keys.list("dns.servers", default.servers, name_server)?,
        timeout: keys.get("dns.timeout_secs", default.timeout, seconds(1..=30))?,
        ..default
    })
}

/// `[[feedback_loop]]`.
pub fn read_feedback_loops(keys: &Keys<'_>) -> Result<Vec<FeedbackLoop>, ConfigError> {
    const KEY: &str = "feedback_loop";
    const KEYS: [&str; 5] = [
        "feedback_loop.domain",
        "feedback_loop.signed_by",
        "feedback_loop.from",
        "feedback_loop.identify",
        "feedback_loop.spf",
    ];
    let identify = |text: &str| match text {
        "token" => Ok(Identify::Token),
        "ledger" => Ok(Identify::Ledger),
        _ => Err(format!("\"{text}\" cannot be used; it takes \"token\" and \"ledger\"")),
    };
    let signer = |text: &str| match text.strip_prefix('.') {
        Some(parent) => domain(parent).map(|parent| format!(".{parent}")),
        None => domain(text),
    };
    let read = |own: &Keys<'_>| {
        let named = own.get(KEYS[0], None, |value| domain(&string(value)?).map(Some))?;
        let Some(domain) = named else {
            return Err(own.refuse(KEY, "has no domain; give the loop a name, such as domain = \"example.net\""));
        };
        let identify = own.list(KEYS[3], vec![Identify::Token, Identify::Ledger], identify)?;
        let (signed_by, from) =
            (own.list(KEYS[1], vec![domain.clone()], signer)?, own.list(KEYS[2], Vec::new(), address)?);
        let spf = own.list(KEYS[4], Vec::new(), signer)?;
        Ok(FeedbackLoop { domain, signed_by, spf, from, identify })
    };
    let loops: Vec<FeedbackLoop> = keys.tables(KEY, &KEYS)?.iter().map(read).collect::<Result<_, _>>()?;
    match (1..loops.len()).find(|place| loops[..*place].iter().any(|known| known.domain == loops[*place].domain)) {
        Some(twice) => Err(keys.refuse(KEY, &format!("names {} twice", loops[twice].domain))),
        None => Ok(loops),
    }
}

/// `[limits]`.
pub fn read_limits(keys: &Keys<'_>) -> Result<Vec<policy::Limit>, ConfigError> {
    const KEYS: [&str; 2] = ["limits.rule.messages", "limits.rule.window"];
    const RULES: usize = 16;
    let rules = keys.tables("limits.rule", &KEYS)?;
    if rules.len() > RULES {
        return Err(keys.refuse("limits.rule", &format!("has {} rules; it takes {RULES} at most", rules.len())));
    }
    let (least, most) = (*policy::Limit::MESSAGES.start(), *policy::Limit::MESSAGES.end());
    let messages = number(u64::from(least)..=u64::from(most), "messages");
    let window = |value: &DeValue<'_>| {
        string(value).and_then(|text| policy::Limit::window(&text).map_err(|problem| problem.to_string()))
    };
    let read = |rule: &Keys<'_>| {
        let messages = rule.get(KEYS[0], None, |value| messages(value).map(Some))?;
        let window = rule.get(KEYS[1], None, |value| window(value).map(Some))?;
        match (messages, window) {
            (Some(messages), Some(window_secs)) => Ok(policy::Limit { messages, window_secs }),
            _ => Err(rule.refuse("limits.rule", "is not whole; write it as { messages = 9, window = \"1d\" }")),
        }
    };
    rules.iter().map(read).collect()
}

/// Whether the ledger remembers what the limits count: without, they would know nothing after a restart.
pub fn check_limits(keys: &Keys<'_>, config: &Config) -> Result<(), ConfigError> {
    let Some(longest) = config.limits.iter().map(|limit| limit.window_secs).max() else { return Ok(()) };
    if !config.outbound.ledger {
        return Err(keys.refuse("limits.rule", "needs outbound.ledger = true, or the sends are forgotten"));
    }
    let days = config.store.ledger_days;
    if u64::from(longest) > u64::from(days) * 86_400 {
        let problem = format!("looks back further than store.ledger_days = {days}; raise that or shorten the window");
        return Err(keys.refuse("limits.rule", &problem));
    }
    Ok(())
}

fn seconds(range: std::ops::RangeInclusive<u64>) -> impl Fn(&DeValue<'_>) -> Result<Duration, String> {
    move |value| number(range.clone(), "seconds")(value).map(Duration::from_secs)
}

/// An absolute path.
pub fn path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    absolute(&string(value)?)
}

/// An absolute path, or none where the string is empty.
pub fn optional_path(value: &DeValue<'_>) -> Result<Option<PathBuf>, String> {
    Some(string(value)?).filter(|name| !name.is_empty()).map(|name| absolute(&name)).transpose()
}

fn absolute(name: &str) -> Result<PathBuf, String> {
    match PathBuf::from(name) {
        path if path.is_absolute() && !name.contains('\0') => Ok(path),
        _ => Err(format!("\"{name}\" is no absolute path; begin it with /")),
    }
}

/// A mode as chmod(1) takes it. Whoever connects must be allowed to write.
fn socket_mode(value: &DeValue<'_>) -> Result<u32, String> {
    let text = string(value)?;
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode & !0o777 == 0 && mode & 0o022 != 0 => Ok(mode),
        Ok(mode) if mode & !0o777 == 0 => {
            Err(format!("\"{text}\" lets nobody else connect; write \"0660\" with milter.socket_group, or \"0666\""))
        }
        _ => Err(format!("\"{text}\" is no mode; write it in octal digits, such as \"0660\"")),
    }
}

/// A name, or none where the string is empty.
fn optional(value: &DeValue<'_>) -> Result<Option<String>, String> {
    Ok(Some(string(value)?).filter(|name| !name.is_empty()))
}

fn group(value: &DeValue<'_>) -> Result<String, String> {
    match string(value)? {
        name if name.is_empty() => Err("is empty; name a group".to_owned()),
        name => Ok(name),
    }
}

/// A domain in the form contacts have it.
pub fn domain(name: &str) -> Result<String, String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    match Address::parse(&format!("postmaster@{name}")) {
        Ok(address) if !name.contains('@') => Ok(address.domain().to_owned()),
        _ => Err(format!("\"{name}\" is no domain; write it as example.com")),
    }
}

/// An address in the form contacts have it; `*` may stand in a local part (RFC 5321 §4.1.2 allows it there).
fn address(text: &str) -> Result<String, String> {
    let address = Address::parse(text).map_err(|problem| format!("{problem}; write it as name@example.com"))?;
    Ok(address.as_str().to_owned())
}

/// As in Postfix's `mynetworks`: `10.0.0.0/8`, `[::1]/128`, a bare address for a single host.
fn network(text: &str) -> Result<IpNet, String> {
    let plain = text.replacen('[', "", 1).replacen(']', "", 1);
    let network = plain.parse::<IpNet>().or_else(|_| plain.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.trunc() == network => Ok(network),
        Ok(network) => Err(format!("\"{text}\" has bits set behind its prefix; write it as {}", network.trunc())),
        Err(_) => Err(format!("\"{text}\" is no network; write it as 10.0.0.0/8, fc00::/7 or 192.0.2.1")),
    }
}

/// An address with or without a port; without, it is the DNS's own.
fn name_server(text: &str) -> Result<SocketAddr, String> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = text.parse::<SocketAddr>().or_else(|_| plain.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
    match address {
        Ok(address) if address.port() != 0 => Ok(address),
        _ => Err(format!("\"{text}\" is no address; write it as 192.0.2.53, 127.0.0.1:5353 or [::1]:53")),
    }
}

/// RFC 5322 §3.6.8: printable US-ASCII without the colon.
fn field_name(name: &str) -> Result<String, String> {
    let valid = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':');
    if valid {
        Ok(name.to_owned())
    } else {
        Err(format!("\"{name}\" is no header field name; write it without its colon"))
    }
}
