//! The elements of `smtpd_milters` and `non_smtpd_milters`: which is ours, and which signs.

use super::configuration::{Configuration, Service, Version, below};
use super::value::{elements, seconds};
use crate::milter::ListenAddress;
use crate::milter::negotiation::VERSION;
use crate::ops::config::Config;
use crate::outbound::OnError;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

/// One milter of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Milter {
    /// As `unix:backstop/milter.sock` or `inet:127.0.0.1:8899`.
    pub address: String,
    /// What the braces hold beside the address (Postfix 3.0 and later).
    settings: Vec<(String, String)>,
}

/// Whose a milter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// It leads to a listener of backstopd.
    Ours,
    /// It looks like ours, and leads to where backstopd does not listen.
    Astray,
    /// Somebody else's.
    Other,
}

impl Milter {
    /// Reads one element of a list.
    pub fn read(element: &str) -> Milter {
        let inner = element.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
        let mut parts = elements(inner.unwrap_or(element)).into_iter();
        let address = parts.next().unwrap_or_default().to_owned();
        let setting = |part: &str| {
            let bare = part.strip_prefix('{').and_then(|bare| bare.strip_suffix('}')).unwrap_or(part);
            bare.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        };
        Milter { address, settings: parts.filter_map(setting).collect() }
    }

    /// A setting of its own.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The program that signs or seals at this address, by the names and ports its packages and manuals use.
    pub fn signer(&self) -> Option<&'static str> {
        const NAMES: [(&str, &str); 6] = [
            ("opendkim", "OpenDKIM"),
            ("rspamd", "rspamd"),
            ("dkimpy", "dkimpy-milter"),
            ("openarc", "OpenARC"),
            ("amavis", "amavis"),
            ("dkim", "a DKIM signer"),
        ];
        const PORTS: [(&str, &str); 3] = [(":8891", "OpenDKIM"), (":12301", "OpenDKIM"), (":11332", "rspamd")];
        let address = self.address.to_ascii_lowercase();
        let by_port = PORTS.iter().find(|(port, _)| address.starts_with("inet:") && address.ends_with(port));
        by_port.or_else(|| NAMES.iter().find(|(name, _)| address.contains(name))).map(|(_, program)| *program)
    }

    /// Whose it is, asked by a program in a chroot or not.
    pub fn whose(&self, listeners: &[ListenAddress], queue_directory: &Path, chroot: bool) -> Whose {
        if let Some(path) = self.address.strip_prefix("unix:") {
            let leads_to = leads_to(path, queue_directory, chroot);
            let listens =
                |at: &Path| listeners.iter().any(|one| matches!(one, ListenAddress::Unix(path) if path == at));
            // The directory and the name of the socket tell whom it was meant for.
            let mut last = Path::new(path).components().rev().take(2);
            let named = last.any(|part| part.as_os_str().to_string_lossy().contains("backstop"));
            return match () {
                () if listens(&leads_to) => Whose::Ours,
                () if named || listens(Path::new(path)) => Whose::Astray,
                () => Whose::Other,
            };
        }
        let ours = self.address.strip_prefix("inet:").is_some_and(|told| {
            listeners.iter().any(|one| matches!(one, ListenAddress::Inet(at) if is_at(told, at.ip(), at.port())))
        });
        if ours { Whose::Ours } else { Whose::Other }
    }
}

/// Whether `host:port` is this address.
fn is_at(told: &str, ip: IpAddr, port: u16) -> bool {
    let Some((host, told_port)) = told.rsplit_once(':') else { return false };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let same_host = match host {
        "localhost" => ip.is_loopback() || ip.is_unspecified(),
        _ => host.parse::<IpAddr>().is_ok_and(|host| host == ip || (ip.is_unspecified() && host.is_loopback())),
    };
    same_host && told_port.parse() == Ok(port)
}

/// Where the path of a milter leads: Postfix's programs work in the queue directory, which is their root in a chroot.
pub fn leads_to(path: &str, queue_directory: &Path, chroot: bool) -> PathBuf {
    let path = Path::new(path);
    let plain = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    match path.strip_prefix("/") {
        Ok(inside) if chroot => plain(&queue_directory.join(inside)),
        _ => plain(&queue_directory.join(path)),
    }
}

/// The path of a socket as a program of Postfix finds it. In the queue directory it has no slash in front, which does
/// with a chroot and without; `None` if no path leads there.
pub fn spelled(socket: &Path, queue_directory: &Path, chroot: bool) -> Option<String> {
    match below(socket, queue_directory) {
        Some(inside) => Some(inside.display().to_string()),
        None => (!chroot).then(|| socket.display().to_string()),
    }
}

/// What Backstop is to Postfix: its listeners, and what it wants where it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ours<'a> {
    /// Its own configuration.
    pub config: &'a Config,
}

impl<'a> Ours<'a> {
    /// The milters of a list as a service sees them.
    pub fn list(&self, list: &str, postfix: &Configuration, chroot: bool) -> Vec<(Milter, Whose)> {
        let queue_directory = postfix.queue_directory();
        let told = |element| {
            let milter = Milter::read(element);
            let whose = milter.whose(&self.config.milter.listen, &queue_directory, chroot);
            (milter, whose)
        };
        elements(list).into_iter().map(told).collect()
    }

    /// Whether an element of a list is ours, or was meant to be.
    pub fn is_meant(&self, element: &str, postfix: &Configuration) -> bool {
        [false, true].iter().any(|chroot| {
            self.list(element, postfix, *chroot).iter().any(|(_, whose)| matches!(whose, Whose::Ours | Whose::Astray))
        })
    }

    /// The listener that Postfix is told of, and its address in Postfix's spelling: the first that all its programs can
    /// reach.
    pub fn listener(&self, postfix: &Configuration) -> Result<(&'a ListenAddress, String), String> {
        let queue = postfix.queue_directory();
        let asking = |service: &&Service| matches!(service.command.as_str(), "smtpd" | "cleanup");
        let chroot = postfix.services.iter().filter(asking).any(|service| service.chroot);
        let address = |listener: &'a ListenAddress| match listener {
            ListenAddress::Unix(path) => Some((listener, format!("unix:{}", spelled(path, &queue, chroot)?))),
            ListenAddress::Inet(at) if at.ip().is_unspecified() => {
                let ip = if at.is_ipv4() { "127.0.0.1" } else { "[::1]" };
                Some((listener, format!("inet:{ip}:{}", at.port())))
            }
            ListenAddress::Inet(_) => Some((listener, listener.to_string())),
        };
        self.config.milter.listen.iter().find_map(address).ok_or_else(|| {
            let queue = queue.display();
            format!(
                "Postfix runs in the chroot {queue}, and no socket of [milter] listen lies in there, as \
                 listen = [\"unix:{queue}/backstop/milter.sock\"] would; `backstopctl postfix check` has the lines"
            )
        })
    }

    /// What Postfix is to do while Backstop does not answer, as `[outbound] on_error` has it.
    pub fn default_action(&self) -> &'static str {
        match self.config.outbound.on_error {
            OnError::Accept => "accept",
            OnError::Tempfail => "tempfail",
        }
    }

    /// How long Postfix is to wait for a decision: longer than Backstop takes to give one up.
    pub fn content_timeout(&self) -> String {
        format!("{}s", (self.config.milter.decision_timeout.as_secs() + 30).max(300))
    }

    /// The element of the list, in the spelling of this version.
    pub fn element(&self, postfix: &Configuration) -> Result<String, String> {
        let (_, address) = self.listener(postfix)?;
        if postfix.version < Version::BRACES {
            return Ok(address);
        }
        let mut element = format!("{{ {address}, default_action={}, connect_timeout=5s", self.default_action());
        // Where what holds for all milters would not do for ours.
        let decision = self.config.milter.decision_timeout.as_secs();
        if seconds(&postfix.value("milter_content_timeout"), 's').is_some_and(|limit| limit <= decision) {
            element.push_str(&format!(", content_timeout={}", self.content_timeout()));
        }
        let version: Option<u32> =
            elements(&postfix.value("milter_protocol")).first().and_then(|told| told.parse().ok());
        if version.is_some_and(|version| version < VERSION) {
            element.push_str(&format!(", protocol={VERSION}"));
        }
        Ok(element + " }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_milter_is_read_with_its_settings() {
        let plain = Milter::read("inet:localhost:8891");
        assert_eq!((plain.address.as_str(), plain.setting("default_action")), ("inet:localhost:8891", None));
        let own = Milter::read("{ unix:a/b.sock, default_action=accept,connect_timeout=5s, { protocol = 6 } }");
        assert_eq!(own.address, "unix:a/b.sock");
        assert_eq!(own.setting("default_action"), Some("accept"));
        assert_eq!(own.setting("protocol"), Some("6"));
    }

    #[test]
    fn a_path_leads_where_the_chroot_lets_it() {
        let listeners = ["unix:/q/backstop/milter.sock", "inet:127.0.0.1:8899", "inet:[::1]:8900", "inet:0.0.0.0:8901"];
        let listeners = listeners.map(|text| ListenAddress::parse(text).expect("a listener"));
        for (address, chroot, want) in [
            ("unix:backstop/milter.sock", true, Whose::Ours),
            ("unix:backstop/milter.sock", false, Whose::Ours),
            ("unix:./backstop//milter.sock", false, Whose::Ours),
            ("unix:/backstop/milter.sock", true, Whose::Ours),
            ("unix:/backstop/milter.sock", false, Whose::Astray),
            ("unix:/q/backstop/milter.sock", false, Whose::Ours),
            ("unix:/q/backstop/milter.sock", true, Whose::Astray),
            ("unix:backstop/old.sock", true, Whose::Astray),
            ("unix:opendkim/opendkim.sock", true, Whose::Other),
            ("unix:/home/backstop/run/opendkim/o.sock", false, Whose::Other),
            ("inet:127.0.0.1:8899", true, Whose::Ours),
            ("inet:localhost:8899", true, Whose::Ours),
            ("inet:localhost:8891", true, Whose::Other),
            ("inet:192.0.2.1:8899", true, Whose::Other),
            ("inet:[::1]:8900", true, Whose::Ours),
            ("inet:127.0.0.1:8901", true, Whose::Ours),
            ("inet:8899", true, Whose::Other),
        ] {
            let whose = Milter::read(address).whose(&listeners, Path::new("/q"), chroot);
            assert_eq!(whose, want, "{address} chroot={chroot}");
        }
    }

    #[test]
    fn those_who_sign_are_known_by_their_address() {
        for (address, want) in [
            ("inet:localhost:8891", Some("OpenDKIM")),
            ("unix:opendkim/opendkim.sock", Some("OpenDKIM")),
            ("inet:127.0.0.1:11332", Some("rspamd")),
            ("unix:/run/dkimpy-milter/dkimpy-milter.sock", Some("dkimpy-milter")),
            ("unix:/run/openarc/openarc.sock", Some("OpenARC")),
            ("unix:amavis/amavisd-milter.sock", Some("amavis")),
            ("inet:localhost:8893", None), // OpenDMARC looks at signatures and makes none
            ("unix:clamav/clamav-milter.ctl", None),
        ] {
            assert_eq!(Milter::read(address).signer(), want, "{address}");
        }
    }
}
