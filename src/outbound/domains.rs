//! Whether recipients' domains take mail at all (SPEC 7.1, `invalid-domain`): asked of the DNS, off by default.
//!
//! In: domains as contacts have them. Out: a [`DomainVerdict`] for each. Only what the DNS says outright counts
//! against a domain: that there is no such name (NXDOMAIN; RFC 8020: nor anything below it), or a null MX
//! (RFC 7505). Trouble of any kind means that the domain may be mailed; the MTA will find out. Called when a
//! message is screened, so a message waits no longer than [`DomainSettings::timeout`], whatever the DNS does.

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::rdata::MX;
use hickory_resolver::proto::rr::{Name, RData};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

/// Lookups at once for one message.
const AT_ONCE: usize = 16;
/// Lookups at once for all messages; each has a socket of its own.
const AT_ONCE_IN_ALL: usize = 256;
/// Messages in a row without any answer after which the DNS is taken for dead.
const SILENT_CHECKS: u32 = 5;

/// `[dns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSettings {
    /// Resolvers; if empty, those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Longest time for all domains of one message.
    pub timeout: Duration,
    /// Domains remembered.
    pub cache_entries: usize,
    /// Shortest time an answer is remembered, whatever its TTL.
    pub min_ttl: Duration,
    /// Longest time an answer is remembered, whatever its TTL.
    pub max_ttl: Duration,
    /// How long it is remembered that nothing could be learnt of a domain.
    pub unknown_ttl: Duration,
    /// How long nothing is asked once the DNS is taken for dead.
    pub pause: Duration,
}

impl Default for DomainSettings {
    fn default() -> DomainSettings {
        DomainSettings {
            servers: Vec::new(),
            timeout: Duration::from_secs(2),
            cache_entries: 100_000,
            min_ttl: Duration::from_secs(60),
            max_ttl: Duration::from_secs(3600),
            unknown_ttl: Duration::from_secs(60),
            pause: Duration::from_secs(30),
        }
    }
}

/// What is known of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainVerdict {
    /// It may be mailed: it has an MX record, or only addresses (RFC 5321 §5.1), or exists at all. So may what
    /// the DNS is not asked about: address literals, names without a dot.
    TakesMail,
    /// There is no such name.
    NoSuchDomain,
    /// It says that it takes no mail (RFC 7505).
    NullMx,
    /// No answer, or no clear one.
    Unknown,
}

impl DomainVerdict {
    /// Whether the domain must not be mailed.
    pub fn is_invalid(self) -> bool {
        match self {
            DomainVerdict::NoSuchDomain | DomainVerdict::NullMx => true,
            DomainVerdict::TakesMail | DomainVerdict::Unknown => false,
        }
    }
}

/// Asks the DNS and remembers the answers.
pub struct Domains {
    resolver: TokioResolver,
    settings: DomainSettings,
    lookups: Arc<Semaphore>,
    cache: Mutex<Cache>,
    silence: Mutex<Silence>,
}

/// What one lookup came to.
enum Outcome {
    /// The DNS answered; for how long the answer holds, if it says.
    Answer(DomainVerdict, Option<Duration>),
    /// It did not.
    Silence,
}

impl Domains {
    /// Reads `/etc/resolv.conf` if no servers are given; asks nothing yet.
    ///
    /// # Errors
    /// What is wrong with that file.
    pub fn new(settings: &DomainSettings) -> Result<Domains, String> {
        let trouble = |problem: NetError| format!("the DNS cannot be asked: {problem}");
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|problem| format!("/etc/resolv.conf cannot be used: {problem}"))?
        } else {
            let servers = settings.servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        // A second attempt fits into the time, be it with another server.
        options.timeout = settings.timeout / 2;
        options.attempts = 1;
        // Answers are remembered here, with our own bounds on the time.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        Ok(Domains {
            resolver: builder.build().map_err(trouble)?,
            lookups: Arc::new(Semaphore::new(AT_ONCE_IN_ALL)),
            cache: Mutex::new(Cache::new(settings.cache_entries)),
            silence: Mutex::default(),
            settings: settings.clone(),
        })
    }

    /// What is known of each domain, in their order; domains may repeat. Asks the DNS about those that are not
    /// remembered, each once, 16 at a time, all within [`DomainSettings::timeout`].
    pub async fn check<'a>(&self, domains: impl IntoIterator<Item = &'a str>) -> Vec<DomainVerdict> {
        let domains: Vec<&str> = domains.into_iter().collect();
        let mut wanted = HashMap::new();
        let known: Vec<_> = {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let mut judge = |domain: &str| match absolute(domain) {
                None => Some(DomainVerdict::TakesMail),
                Some(name) => cache.get(domain, now).or_else(|| {
                    wanted.insert(domain.to_owned(), name);
                    None
                }),
            };
            domains.iter().map(|domain| judge(domain)).collect()
        };
        let answers = match wanted.is_empty() || !self.may_ask() {
            true => HashMap::new(),
            false => self.ask(wanted).await,
        };
        let verdict = |(domain, known): (&&str, Option<DomainVerdict>)| {
            known.or_else(|| answers.get(*domain).copied()).unwrap_or(DomainVerdict::Unknown)
        };
        domains.iter().zip(known).map(verdict).collect()
    }

    /// What is known of a domain without asking.
    pub fn cached(&self, domain: &str) -> Option<DomainVerdict> {
        if absolute(domain).is_none() {
            return Some(DomainVerdict::TakesMail);
        }
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(domain, Instant::now())
    }

    async fn ask(&self, wanted: HashMap<String, Name>) -> HashMap<String, DomainVerdict> {
        let deadline = tokio::time::Instant::now() + self.settings.timeout;
        let mut waiting = wanted.into_iter();
        let mut asked = HashSet::new();
        let mut verdicts = HashMap::new();
        let mut answered = false;
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && tokio::time::Instant::now() < deadline
                && let Some((domain, name)) = waiting.next()
            {
                asked.insert(domain.clone());
                let (resolver, lookups) = (self.resolver.clone(), self.lookups.clone());
                running.spawn(async move {
                    let _permit = lookups.acquire_owned().await;
                    (domain, look_up(&resolver, name).await)
                });
            }
            let (domain, outcome) = match timeout_at(deadline, running.join_next()).await {
                Ok(Some(Ok(finished))) => finished,
                // A lookup that panicked stays among those that were asked and did not answer.
                Ok(Some(Err(_))) => continue,
                // All are done, or out of time; what still runs ends as `running` is dropped.
                Ok(None) | Err(_) => break,
            };
            if let Outcome::Answer(verdict, ttl) = outcome {
                answered = true;
                asked.remove(&domain);
                self.remember(&domain, verdict, ttl);
                verdicts.insert(domain, verdict);
            }
        }
        // Those still waiting were not asked: the next message may.
        asked.iter().for_each(|domain| self.remember(domain, DomainVerdict::Unknown, None));
        self.heard(answered);
        verdicts
    }

    fn remember(&self, domain: &str, verdict: DomainVerdict, ttl: Option<Duration>) {
        let settings = &self.settings;
        let ttl = match verdict {
            DomainVerdict::Unknown => settings.unknown_ttl,
            // Not clamp: that panics where the bounds cross.
            _ => ttl.unwrap_or_default().max(settings.min_ttl).min(settings.max_ttl),
        };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(domain, verdict, Instant::now() + ttl);
    }

    /// False while the DNS is taken for dead. Once the pause is over a single message tries again.
    fn may_ask(&self) -> bool {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match silence.until {
            Some(until) if now < until => false,
            Some(_) => {
                silence.until = Some(now + self.settings.pause);
                true
            }
            None => true,
        }
    }

    fn heard(&self, answered: bool) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            *silence = Silence::default();
        } else {
            silence.checks = silence.checks.saturating_add(1);
            if silence.checks >= SILENT_CHECKS {
                silence.until = Some(Instant::now() + self.settings.pause);
            }
        }
    }
}

/// Messages in a row for which the DNS answered nothing at all.
#[derive(Default)]
struct Silence {
    checks: u32,
    /// Until when it is not asked.
    until: Option<Instant>,
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(with_port).to_vec();
    NameServerConfig::new(address.ip(), true, connections)
}

/// The domain as an absolute name, for which no search list is consulted; none where the DNS is not asked:
/// address literals, names without a dot, what cannot be a name, the self-test's.
fn absolute(domain: &str) -> Option<Name> {
    if domain.starts_with('[') || !domain.contains('.') || domain == crate::mail::SELFTEST_DOMAIN {
        return None;
    }
    let mut name = Name::from_ascii(domain).ok()?;
    name.set_fqdn(true);
    Some(name)
}

async fn look_up(resolver: &TokioResolver, name: Name) -> Outcome {
    match resolver.mx_lookup(name).await {
        Ok(lookup) => {
            let verdict = if is_null_mx(&lookup) { DomainVerdict::NullMx } else { DomainVerdict::TakesMail };
            Outcome::Answer(verdict, Some(lookup.valid_until().saturating_duration_since(Instant::now())))
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let verdict = match none.response_code {
                ResponseCode::NXDomain => DomainVerdict::NoSuchDomain,
                // The name exists; mail goes to its address records, if it has any.
                ResponseCode::NoError => DomainVerdict::TakesMail,
                _ => DomainVerdict::Unknown,
            };
            Outcome::Answer(verdict, none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into())))
        }
        Err(NetError::Dns(_)) => Outcome::Answer(DomainVerdict::Unknown, None),
        Err(_) => Outcome::Silence,
    }
}

/// RFC 7505 §3: a single MX record, of preference 0, with the root as its exchange.
fn is_null_mx(lookup: &Lookup) -> bool {
    let mut exchanges = lookup.answers().iter().filter_map(|record| match &record.data {
        RData::MX(mx) => Some(mx),
        _ => None,
    });
    match (exchanges.next(), exchanges.next()) {
        (Some(MX { preference: 0, exchange, .. }), None) => exchange.is_root(),
        _ => false,
    }
}

/// Verdicts and until when they hold. Bounded by two generations: when the younger is full the older is dropped,
/// and with it what was not learnt again meanwhile.
struct Cache {
    half: usize,
    younger: HashMap<Box<str>, (DomainVerdict, Instant)>,
    older: HashMap<Box<str>, (DomainVerdict, Instant)>,
}

impl Cache {
    fn new(entries: usize) -> Cache {
        Cache { half: (entries / 2).max(1), younger: HashMap::new(), older: HashMap::new() }
    }

    fn get(&self, domain: &str, now: Instant) -> Option<DomainVerdict> {
        let found = self.younger.get(domain).or_else(|| self.older.get(domain));
        found.filter(|(_, until)| now < *until).map(|(verdict, _)| *verdict)
    }

    fn insert(&mut self, domain: &str, verdict: DomainVerdict, until: Instant) {
        if self.younger.len() >= self.half {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(domain.into(), (verdict, until));
    }
}
