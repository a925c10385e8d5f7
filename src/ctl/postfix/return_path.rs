//! Whether what comes back reaches this host and is taken: the domains of the return path, their addresses, what
//! rewrites them, and what a person should know of SPF and DMARC, which stand in the DNS and are not asked here.

use super::attached::Asked;
use super::configuration::Version;
use super::finding::{Finding, Level};
use super::lines::Change;
use super::value::{elements, quoted, with_first, with_last};
use crate::authority::token::LENGTH;

/// Asks a table (postmap(1), `-q`) or, for a path alone, the patterns of a file.
///
/// # Errors
/// A sentence, where it cannot be asked.
pub type Lookup<'a> = &'a dyn Fn(&str, &str) -> Result<Option<String>, String>;

/// How Postfix takes mail for a domain (ADDRESS_CLASS_README).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Local,
    Alias,
    Mailbox,
    Relay,
}

/// An address that must be taken.
struct Sample {
    address: String,
    /// What it stands for.
    told: String,
    /// Every message has another one.
    signed: bool,
    /// Stands for all addresses of a domain.
    any: bool,
}

/// Everything about the return path.
pub fn findings(asked: &Asked<'_>, lookup: Lookup<'_>) -> Vec<Finding> {
    let config = asked.ours.config;
    if config.return_path.return_path.is_empty() {
        let what = "backstop.toml names no return path: only the notifications of this Postfix are read";
        let left = "bounces and complaints that other servers send are not recorded.";
        let fix = "# in backstop.toml, [return_path]: domains = [\"bounces.example.com\"]".to_owned();
        return vec![Finding::new(Level::Hint, "return-path", what, left).fixed_with([fix])];
    }
    let mut found: Vec<Finding> = Vec::new();
    let mut add = |findings: Vec<Finding>| {
        for finding in findings {
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    };
    for sample in samples(asked) {
        add(taken(asked, &sample, lookup).unwrap_or_else(|problem| {
            let what = format!("whether Postfix takes {} cannot be told: {problem}", sample.address);
            vec![Finding::new(Level::Hint, "return-path", what, "it may be refused; send a message there and see.")]
        }));
        add(rewritten(asked, &sample, lookup));
    }
    add(alignment(asked));
    add(spf(asked));
    found
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, domain)| domain)
}

fn samples(asked: &Asked<'_>) -> Vec<Sample> {
    let config = asked.ours.config;
    let return_path = &config.return_path.return_path;
    let authority = &config.authority;
    let mut samples: Vec<Sample> = Vec::new();
    if authority.sign {
        let others = authority.domains.iter().map(|entry| &entry.return_path);
        for domain in authority.domain.iter().chain(others) {
            let address = format!("{}{}@{domain}", authority.prefix, "a".repeat(LENGTH));
            if samples.iter().all(|known| known.address != address) {
                let told = format!("{}TOKEN@{domain}", authority.prefix);
                samples.push(Sample { address, told, signed: true, any: false });
            }
        }
    }
    for domain in &return_path.domains {
        if samples.iter().all(|known| domain_of(&known.address) != domain) {
            let (address, told) = (format!("backstop-check@{domain}"), format!("any address of {domain}"));
            samples.push(Sample { address, told, signed: false, any: true });
        }
    }
    for pattern in return_path.addresses.iter().filter(|pattern| !domain_of(pattern).contains('*')) {
        samples.push(Sample { address: pattern.replace('*', "x"), told: pattern.clone(), signed: false, any: false });
    }
    samples
}

/// Whether Postfix takes mail to this address.
fn taken(asked: &Asked<'_>, sample: &Sample, lookup: Lookup<'_>) -> Result<Vec<Finding>, String> {
    const CHECK: &str = "return-path";
    let postfix = asked.postfix;
    let address = &sample.address;
    let domain = domain_of(address);
    let Some(class) = class_of(asked, domain, lookup)? else {
        let what = format!("Postfix takes no mail for {domain}, which is on the return path");
        let left = "what other servers send back is refused here (relay access denied), unless another host takes it and \
                    it is read there.";
        let finding = Finding::new(Level::Warning, CHECK, what, left);
        return Ok(vec![if sample.any || sample.signed {
            caught(asked, finding, domain, true)
        } else {
            finding.fixed_with([format!("# have Postfix take mail for {domain}, or name an address it takes")])
        }]);
    };
    if let Some(found) = undelivered(asked, address, lookup)? {
        return Ok(vec![found]);
    }
    if is_taken(asked, address, class, &postfix.value("recipient_delimiter"), lookup)? {
        return Ok(vec![Finding::ok(CHECK, format!("Postfix takes mail for {}", sample.told))]);
    }
    let what = format!("Postfix refuses {} as an unknown user", sample.told);
    // An extension that is not taken for one?
    let delimiter = ['+', '-', '='].into_iter().find(|letter| {
        let base = address.split_once(*letter).map(|(base, _)| format!("{base}@{domain}"));
        !sample.any
            && !sample.signed
            && base.is_some_and(|base| {
                base.len() > domain.len() + 1 && is_taken(asked, &base, class, "", lookup) == Ok(true)
            })
    });
    if let Some(delimiter) = delimiter {
        let left = "bounces to addresses with an extension are refused, and nothing is recorded.";
        let value = format!("{}{delimiter}", postfix.raw("recipient_delimiter"));
        let finding = Finding::new(Level::Warning, CHECK, what, left);
        return Ok(vec![asked.mended(finding, &[Change::Set("recipient_delimiter".to_owned(), value)])]);
    }
    let (level, left) = if sample.signed {
        (Level::Error, "each message has a reverse path of its own: what comes back to any of them is refused.")
    } else if sample.any {
        (Level::Hint, "only addresses that Postfix knows are taken; see to it that your envelope sender is one.")
    } else {
        (Level::Warning, "what other servers send back is refused, and nothing is recorded.")
    };
    let finding = Finding::new(level, CHECK, what, left);
    Ok(vec![match class {
        Class::Alias => caught(asked, finding, domain, false),
        Class::Local if sample.signed => finding.fixed_with([format!(
            "# take {domain} out of mydestination and run this again: it names the lines for a domain of its own"
        )]),
        Class::Local if sample.any => finding,
        Class::Local => finding.fixed_with([format!("# give {address} an alias in alias_maps or virtual_alias_maps")]),
        Class::Mailbox => finding.fixed_with([format!("# give {} a mailbox in virtual_mailbox_maps", wanted(sample))]),
        Class::Relay => finding.fixed_with([format!("# put {} into relay_recipient_maps", wanted(sample))]),
    }])
}

fn wanted(sample: &Sample) -> String {
    if sample.any || sample.signed { format!("@{}", domain_of(&sample.address)) } else { sample.address.clone() }
}

/// The changes that give every address of a domain to the postmaster: only what is no report comes there.
fn caught(asked: &Asked<'_>, finding: Finding, domain: &str, new: bool) -> Finding {
    let postfix = asked.postfix;
    let mut changes = Vec::new();
    if new {
        let domains = with_last(postfix.raw("virtual_alias_domains"), domain);
        changes.push(Change::Set("virtual_alias_domains".to_owned(), domains));
    }
    let set =
        |table: &str| Change::Set("virtual_alias_maps".to_owned(), with_last(postfix.raw("virtual_alias_maps"), table));
    if postfix.version >= Version::BRACES {
        changes.push(set(&format!("inline:{{ @{domain}=postmaster }}")));
    } else {
        let file = asked.config_directory.join("backstop-return-path").display().to_string();
        changes.push(Change::Command(format!("echo '@{domain} postmaster' >> {}", quoted(&file))));
        changes.push(Change::Command(format!("postmap {}", quoted(&format!("hash:{file}")))));
        let table = format!("hash:{file}");
        if !elements(postfix.raw("virtual_alias_maps")).contains(&table.as_str()) {
            changes.push(set(&table));
        }
    }
    asked.mended(finding, &changes)
}

fn class_of(asked: &Asked<'_>, domain: &str, lookup: Lookup<'_>) -> Result<Option<Class>, String> {
    let subdomains = elements(&asked.postfix.value("parent_domain_matches_subdomains")).contains(&"relay_domains");
    for (class, name, subdomains) in [
        (Class::Local, "mydestination", false),
        (Class::Alias, "virtual_alias_domains", false),
        (Class::Mailbox, "virtual_mailbox_domains", false),
        (Class::Relay, "relay_domains", subdomains),
    ] {
        if names(&asked.postfix.value(name), domain, subdomains, lookup)? {
            return Ok(Some(class));
        }
    }
    Ok(None)
}

/// Whether a list of domains, files and tables names this one; the first that fits decides.
fn names(list: &str, domain: &str, subdomains: bool, lookup: Lookup<'_>) -> Result<bool, String> {
    for element in elements(list) {
        let (bare, verdict) = element.strip_prefix('!').map_or((element, true), |bare| (bare, false));
        let mut keys = vec![domain.to_owned()];
        let parents = domain.match_indices('.').map(|(at, _)| &domain[at..]);
        keys.extend(parents.map(|parent| if subdomains { parent[1..].to_owned() } else { parent.to_owned() }));
        let is_table = bare.contains(':') && !bare.starts_with('[') || bare.starts_with('/');
        let fits = if is_table {
            let mut hit = false;
            for key in &keys {
                hit = hit || find(bare, key, lookup)?.is_some();
            }
            hit
        } else {
            keys.iter().any(|key| key.eq_ignore_ascii_case(bare))
        };
        if fits {
            return Ok(verdict);
        }
    }
    Ok(false)
}

/// One table; what proxymap(8) would ask is asked directly.
fn find(table: &str, key: &str, lookup: Lookup<'_>) -> Result<Option<String>, String> {
    lookup(table.strip_prefix("proxy:").unwrap_or(table), key)
}

/// Whether smtpd(8) finds this recipient in the tables of its class; where a class has none, everybody is taken.
fn is_taken(
    asked: &Asked<'_>,
    address: &str,
    class: Class,
    delimiters: &str,
    lookup: Lookup<'_>,
) -> Result<bool, String> {
    let postfix = asked.postfix;
    if postfix.value("smtpd_reject_unlisted_recipient") == "no" {
        return Ok(true);
    }
    let (of_class, empty_takes_all) = match class {
        Class::Local => ("local_recipient_maps", true),
        Class::Alias => ("virtual_alias_maps", false),
        Class::Mailbox => ("virtual_mailbox_maps", true),
        Class::Relay => ("relay_recipient_maps", true),
    };
    if empty_takes_all && elements(&postfix.value(of_class)).is_empty() {
        return Ok(true);
    }
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let base =
        local.char_indices().find(|(at, letter)| *at > 0 && delimiters.contains(*letter)).map(|(at, _)| &local[..at]);
    let locals: Vec<&str> = std::iter::once(local).chain(base).collect();
    let mut keys: Vec<String> = locals.iter().map(|local| format!("{local}@{domain}")).collect();
    if class == Class::Local {
        keys.extend(locals.iter().map(|local| (*local).to_owned()));
    }
    keys.push(format!("@{domain}"));
    for maps in ["recipient_canonical_maps", "canonical_maps", "virtual_alias_maps", of_class] {
        for table in elements(&postfix.value(maps)) {
            for key in &keys {
                if find(table, key, lookup)?.is_some() {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// A route that refuses or loses what comes.
fn undelivered(asked: &Asked<'_>, address: &str, lookup: Lookup<'_>) -> Result<Option<Finding>, String> {
    let domain = domain_of(address);
    for key in [address, domain] {
        for table in elements(&asked.postfix.value("transport_maps")) {
            let Some(route) = find(table, key, lookup)? else { continue };
            let what = format!("transport_maps sends {key} to {route}");
            return Ok(match route.split(':').next().unwrap_or_default() {
                "error" | "retry" => {
                    let left = "what other servers send back is refused before Backstop sees it.";
                    let fix = format!("# take {key} out of {table}");
                    Some(Finding::new(Level::Error, "return-path", what, left).fixed_with([fix]))
                }
                "discard" => {
                    let left = "reports are read all the same; what a person writes there is lost.";
                    Some(Finding::new(Level::Hint, "return-path", what, left))
                }
                _ => None,
            });
        }
    }
    Ok(None)
}

/// What changes the return path of outgoing mail behind our back.
fn rewritten(asked: &Asked<'_>, sample: &Sample, lookup: Lookup<'_>) -> Vec<Finding> {
    let postfix = asked.postfix;
    let domain = domain_of(&sample.address);
    let left = "bounces come to that address instead, which is not the return path: they are not read.";
    let mut found = Vec::new();
    let masquerades = postfix.value("masquerade_domains");
    let of_sender = elements(&postfix.value("masquerade_classes")).contains(&"envelope_sender");
    let decides = elements(&masquerades).into_iter().find(|element| {
        let bare = element.trim_start_matches('!');
        domain.eq_ignore_ascii_case(bare)
            || domain.to_ascii_lowercase().ends_with(&format!(".{}", bare.to_ascii_lowercase()))
    });
    if let Some(parent) = decides.filter(|decides| of_sender && !decides.starts_with('!') && *decides != domain) {
        let what = format!("masquerade_domains turns envelope senders at {domain} into ones at {parent}");
        let value = with_first(&format!("!{domain}"), postfix.raw("masquerade_domains"));
        let finding = Finding::new(Level::Error, "rewriting", what, left);
        found.push(asked.mended(finding, &[Change::Set("masquerade_domains".to_owned(), value)]));
    }
    for maps in ["sender_canonical_maps", "canonical_maps", "smtp_generic_maps"] {
        for table in elements(&postfix.value(maps)) {
            let at = format!("@{domain}");
            let hit =
                [sample.address.as_str(), &at].into_iter().find_map(|key| find(table, key, lookup).ok().flatten());
            if let Some(new) = hit.filter(|new| !new.eq_ignore_ascii_case(&at) && domain_of(new) != domain) {
                let what = format!("{maps} turns envelope senders at {domain} into {new} ({table})");
                let fix = format!("# take {at} out of {table}");
                found.push(Finding::new(Level::Warning, "rewriting", what, left).fixed_with([fix]));
            }
        }
    }
    found
}

/// Sender domains whose mail gets a reverse path that surely is of another organisation.
fn alignment(asked: &Asked<'_>) -> Vec<Finding> {
    let config = asked.ours.config;
    let authority = &config.authority;
    if !authority.sign {
        return Vec::new();
    }
    // The last two labels: at least as much as an organisational domain has in common (RFC 7489 §3.2).
    let organisation = |domain: &str| {
        let labels: Vec<&str> = domain.rsplit('.').take(2).collect();
        labels.join(".")
    };
    let entries = authority.domains.iter().map(|entry| (entry.sender.as_str(), entry.return_path.as_str()));
    let default = authority.domain.as_deref();
    let senders = config.outbound.campaign_senders.iter().map(|sender| domain_of(sender));
    let has_entry = |sender: &str| {
        authority.domains.iter().any(|entry| {
            entry.sender == "*" || sender == entry.sender || sender.ends_with(&format!(".{}", entry.sender))
        })
    };
    let others = senders.filter(|sender| !has_entry(sender)).filter_map(|sender| Some((sender, default?)));
    let apart = entries.chain(others).filter(|(sender, to)| *sender != "*" && organisation(sender) != organisation(to));
    apart
        .map(|(sender, to)| {
            let what = format!("mail of {sender} leaves with a return path at {to}, which is of another organisation");
            let left = format!(
                "SPF does not align with From for DMARC then: sign with DKIM as {sender}, or give it a return path below \
                 its own domain."
            );
            let fix = format!(
                "# in backstop.toml, [authority]: domains = [{{ sender = \"{sender}\", return_path = \"bounces.{sender}\" }}]"
            );
            Finding::new(Level::Hint, "alignment", what, left).fixed_with([fix])
        })
        .collect()
}

/// What only the DNS can tell.
fn spf(asked: &Asked<'_>) -> Vec<Finding> {
    let domains = &asked.ours.config.return_path.return_path.domains;
    let host = asked.postfix.value("myhostname");
    let told = |domain: &String| {
        let what = format!("the DNS was not asked: {domain} needs an MX that leads here ({host}), and an SPF record");
        let left = "without the first, other servers cannot send bounces back; without the second, many refuse the \
                    campaign, and DMARC has DKIM alone to go by.";
        let fix =
            format!("# {domain}. MX 10 {host}.   and   {domain}. TXT \"v=spf1 mx -all\"   if mail leaves from here");
        Finding::new(Level::Hint, "dns", what, left).fixed_with([fix])
    };
    domains.iter().map(told).collect()
}
