//! Whether a complaint bears a valid DKIM signature of a feedback loop (RFC 6376), or SPF vouches for its reverse path
//! instead (RFC 7208), where the loop's entry says so.
//!
//! In: a complaint as it came. Out: which loop signed or sent it, or why that cannot be said. mail-auth verifies; the
//! DNS is asked by `[dns] servers`, within [`DEADLINE`], and its answers are remembered. Nothing is asked for a mail that
//! bears no signature, and no reverse path, of a loop in force.

use super::feedback::{FeedbackLoop, FeedbackLoops};
use super::spf::{self, Envelope, Verdict};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::system_conf::read_system_conf;
use mail_auth::common::crypto::Algorithm;
use mail_auth::{AuthenticatedMessage, DkimResult, DnsError, Error, MessageAuthenticator};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::panic::catch_unwind;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Longest time for the keys and SPF records of one complaint; Postfix waits far longer at the end of a message.
const DEADLINE: Duration = Duration::from_secs(10);
/// Signatures checked of one complaint.
const SIGNATURES: usize = 4;
/// Header lines that bear signatures; a mail with more of them is not read.
const SIGNATURE_LINES: usize = 32;
/// Keys remembered, and for how long at most.
const KEYS: u64 = 1024;
const KEY_TIME: Duration = Duration::from_secs(3600);
const NO_KEY_TIME: Duration = Duration::from_secs(60);

/// Checks signatures.
pub struct Signatures {
    loops: FeedbackLoops,
    /// The problem where nobody can be asked.
    authenticator: Result<MessageAuthenticator, String>,
    deadline: Duration,
}

/// What a complaint's signatures say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none of a feedback loop.
    None,
    /// This loop signed it.
    Valid(FeedbackLoop),
    /// It bears no signature that holds, but SPF says that this loop sent it.
    Sent(FeedbackLoop),
    /// It bears a loop's name, but neither signature nor SPF holds; and why.
    Invalid(String),
    /// It cannot be said now, and why.
    Unknown(String),
}

impl Signatures {
    /// Asks these servers; those of `/etc/resolv.conf` if there are none. Asks nothing yet. Where that file cannot be
    /// used, every signature is [`Signature::Unknown`].
    pub fn new(loops: FeedbackLoops, servers: &[SocketAddr]) -> Signatures {
        Signatures { loops, authenticator: authenticator(servers), deadline: DEADLINE }
    }

    /// With another deadline.
    pub fn within(self, deadline: Duration) -> Signatures {
        Signatures { deadline, ..self }
    }

    /// The loops in force.
    pub fn loops(&self) -> &FeedbackLoops {
        &self.loops
    }

    /// What the signatures of a mail say, and where none of them holds, SPF; without its envelope, SPF says nothing.
    pub async fn check(&self, raw: &[u8], envelope: Option<Envelope<'_>>) -> Signature {
        let raw = with_crlf(raw);
        let Some(message) = read(&raw) else { return Signature::None };
        let Some(author) = author(&message) else { return Signature::None };
        let until = Instant::now() + self.deadline;
        let signed = self.signed(message, &author, until).await;
        if matches!(signed, Signature::Valid(_)) {
            return signed;
        }
        let sent = match &envelope {
            Some(envelope) => self.sent(envelope, &author, until).await,
            None => Signature::None,
        };
        match (signed, sent) {
            (signed, Signature::None) => signed,
            (Signature::Unknown(problem), Signature::Invalid(_) | Signature::Unknown(_)) => Signature::Unknown(problem),
            (Signature::Invalid(one), Signature::Invalid(other)) => Signature::Invalid(format!("{one}; {other}")),
            (_, sent) => sent,
        }
    }

    /// What SPF says. Only a pass vouches (RFC 7208 §2.6.3); every other result is worth nothing.
    async fn sent(&self, envelope: &Envelope<'_>, author: &str, until: Instant) -> Signature {
        let Some(domain) = envelope.domain() else { return Signature::None };
        let Some(of) = self.loops.sent_from(&domain, author) else { return Signature::None };
        let authenticator = match &self.authenticator {
            Ok(authenticator) => authenticator,
            Err(problem) => return Signature::Unknown(problem.clone()),
        };
        match timeout_at(until, spf::evaluate(authenticator, envelope, &domain)).await {
            Ok(Verdict::Pass) => Signature::Sent(of.clone()),
            Ok(Verdict::Other(result)) => Signature::Invalid(format!("SPF of {domain}: {result}")),
            Ok(Verdict::Trouble) => Signature::Unknown(format!("SPF of {domain}: temperror")),
            Err(_) => Signature::Unknown(format!("SPF of {domain}: the DNS did not answer in time")),
        }
    }

    /// What the signatures say. The best of them counts: a forwarder's beside it does no harm.
    async fn signed(&self, mut message: AuthenticatedMessage<'_>, author: &str, until: Instant) -> Signature {
        let mut refused = Signature::None;
        message.dkim_headers.retain_mut(|line| {
            let signature = &mut line.header;
            signature.d.make_ascii_lowercase();
            let Some(of) = self.loops.signed_by(&signature.d, author) else { return false };
            // What asks for reports or for a third party's word asks the DNS more than we want to know.
            (signature.r, signature.atps) = (false, None);
            let problem = match signature.a {
                _ if !signature.h.iter().any(|name| name.eq_ignore_ascii_case("From")) => "does not cover the author",
                Algorithm::RsaSha1 => "is made with SHA-1",
                Algorithm::RsaSha256 | Algorithm::Ed25519Sha256 => return true,
            };
            refused = Signature::Invalid(format!("the signature of {} {problem}", of.domain));
            false
        });
        message.dkim_headers.truncate(SIGNATURES);
        // Told of what was left out for other reasons, too: of no interest here.
        message.errors.clear();
        if message.dkim_headers.is_empty() {
            return refused;
        }
        let authenticator = match &self.authenticator {
            Ok(authenticator) => authenticator,
            Err(problem) => return Signature::Unknown(problem.clone()),
        };
        let Ok(outputs) = timeout_at(until, authenticator.verify_dkim(&message)).await else {
            return Signature::Unknown("the DNS did not answer in time".to_owned());
        };
        let mut best = refused;
        for output in &outputs {
            let Some(signature) = output.signature() else { continue };
            let Some(of) = self.loops.signed_by(&signature.d, author) else { continue };
            let told = |problem: &Error| format!("the signature of {}: {problem}", of.domain);
            match output.result() {
                DkimResult::Pass => return Signature::Valid(of.clone()),
                DkimResult::TempError(problem) => best = Signature::Unknown(told(problem)),
                DkimResult::PermError(problem) if is_trouble(problem) => best = Signature::Unknown(told(problem)),
                DkimResult::Neutral(problem) | DkimResult::Fail(problem) | DkimResult::PermError(problem) => {
                    if !matches!(best, Signature::Unknown(_)) {
                        best = Signature::Invalid(told(problem));
                    }
                }
                DkimResult::None => {}
            }
        }
        best
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Signature::None => f.write_str("not signed by a feedback loop"),
            Signature::Valid(of) => write!(f, "signed by the feedback loop of {}", of.domain),
            Signature::Sent(of) => write!(f, "sent by the feedback loop of {}, says SPF", of.domain),
            Signature::Invalid(problem) | Signature::Unknown(problem) => f.write_str(problem),
        }
    }
}

fn authenticator(servers: &[SocketAddr]) -> Result<MessageAuthenticator, String> {
    let trouble = |problem: &dyn std::fmt::Display| format!("the DNS cannot be asked: {problem}");
    let (config, mut options) = match servers {
        [] => read_system_conf().map_err(|problem| trouble(&problem))?,
        servers => {
            let servers = servers.iter().map(name_server).collect();
            (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
        }
    };
    // A second attempt fits into the deadline, be it with another server.
    options.timeout = DEADLINE / 4;
    options.attempts = 2;
    options.cache_size = KEYS;
    options.positive_max_ttl = Some(KEY_TIME);
    options.negative_max_ttl = Some(NO_KEY_TIME);
    options.use_hosts_file = ResolveHosts::Never;
    MessageAuthenticator::new(config, options).map_err(|problem| trouble(&problem))
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connection = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
    NameServerConfig::new(address.ip(), true, connections)
}

/// Whether a missing key is the fault of a server rather than of the name.
fn is_trouble(problem: &Error) -> bool {
    use hickory_resolver::proto::op::ResponseCode;
    match problem {
        Error::Dns(DnsError::RecordNotFound(code)) => !matches!(*code, ResponseCode::NXDomain | ResponseCode::NoError),
        Error::Dns(DnsError::Resolver(_)) => true,
        _ => false,
    }
}

/// Reads a mail as mail-auth wants it. What makes it panic, or bears more signatures than any real mail, is not read.
fn read(raw: &[u8]) -> Option<AuthenticatedMessage<'_>> {
    let head = raw.windows(4).position(|octets| octets == b"\r\n\r\n").map_or(raw, |end| &raw[..end]);
    let bears = |line: &&[u8]| line.get(..4).is_some_and(|front| front.eq_ignore_ascii_case(b"dkim"));
    let lines = head.split(|&octet| octet == b'\n').filter(bears).count();
    if lines > SIGNATURE_LINES {
        return None;
    }
    catch_unwind(|| AuthenticatedMessage::parse(raw)).ok().flatten()
}

/// The one author; of several nobody knows whom the signature is for.
fn author(message: &AuthenticatedMessage<'_>) -> Option<String> {
    let fields = message.headers.iter().filter(|(name, _)| name.trim_ascii().eq_ignore_ascii_case(b"From"));
    match (fields.count(), message.from.as_slice()) {
        (1, [author]) => Some(author.to_ascii_lowercase()),
        _ => None,
    }
}

/// As the mail was on the wire: Postfix hands on folded fields, and files have their lines, with a bare LF.
fn with_crlf(raw: &[u8]) -> Cow<'_, [u8]> {
    let is_bare = |place: usize| raw[place] == b'\n' && (place == 0 || raw[place - 1] != b'\r');
    if !(0..raw.len()).any(is_bare) {
        return Cow::Borrowed(raw);
    }
    let mut whole = Vec::with_capacity(raw.len() + raw.len() / 32);
    for (place, &octet) in raw.iter().enumerate() {
        if is_bare(place) {
            whole.push(b'\r');
        }
        whole.push(octet);
    }
    Cow::Owned(whole)
}
