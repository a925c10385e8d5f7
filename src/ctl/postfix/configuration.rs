//! The configuration of Postfix, read from what postconf(1) prints. Nothing here runs it.

use super::value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `mail_version`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Before the first dot.
    pub major: u32,
    /// Behind it.
    pub minor: u32,
}

impl Version {
    /// From here on a milter has its own settings, in braces, and there are `inline:` tables.
    pub const BRACES: Version = Version { major: 3, minor: 0 };

    /// Reads `3.7.11` or `3.12-20260821`.
    fn read(text: &str) -> Option<Version> {
        let mut numbers = text.trim().split(['.', '-']).map(str::parse);
        Some(Version { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

/// A service of master.cf (master(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// As `submission` or `127.0.0.1:10025`.
    pub name: String,
    /// `inet`, `unix`, `pass`, `fifo`.
    pub kind: String,
    /// Whether it runs in the queue directory as its root.
    pub chroot: bool,
    /// The program, as `smtpd`.
    pub command: String,
    /// Its `-o name=value`, in their order.
    pub overrides: Vec<(String, String)>,
}

impl Service {
    /// As `postconf -P` calls it.
    pub fn id(&self) -> String {
        format!("{}/{}", self.name, self.kind)
    }

    /// Its own value of a parameter.
    pub fn own(&self, name: &str) -> Option<&str> {
        self.overrides.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether only this machine can reach it, as where a content filter hands mail back.
    pub fn is_loopback(&self) -> bool {
        ["127.", "localhost:", "[::1]:", "::1:"].iter().any(|start| self.name.starts_with(start))
    }
}

/// What postconf(1) prints.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// `postconf -d mail_version`.
    pub version: String,
    /// `postconf`: every parameter as it is written.
    pub all: String,
    /// `postconf -x`: every parameter with its references replaced.
    pub expanded: String,
    /// `postconf -n`: those set in main.cf.
    pub set: String,
    /// `postconf -M`.
    pub master: String,
}

/// main.cf and master.cf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Of this Postfix.
    pub version: Version,
    all: BTreeMap<String, String>,
    expanded: BTreeMap<String, String>,
    set: BTreeMap<String, String>,
    /// In the order of master.cf.
    pub services: Vec<Service>,
}

impl Configuration {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence, if this is no output of postconf(1).
    pub fn read(printed: &Printed) -> Result<Configuration, String> {
        let version = parameters(&printed.version).remove("mail_version").unwrap_or_default();
        let version = Version::read(&version).ok_or_else(|| format!("postconf tells no version: {version:?}"))?;
        let mut read = Configuration {
            version,
            all: parameters(&printed.all),
            expanded: parameters(&printed.expanded),
            set: parameters(&printed.set),
            services: Vec::new(),
        };
        if read.all.is_empty() {
            return Err("postconf prints no parameters".to_owned());
        }
        // `-` in the column chroot: yes, until compatibility_level 1.
        let level = read.value("compatibility_level");
        let level: u32 = level.split('.').next().and_then(|level| level.trim().parse().ok()).unwrap_or(0);
        let usual = version < Version::BRACES || level < 1;
        read.services = printed.master.lines().filter_map(|line| service(line, usual)).collect();
        Ok(read)
    }

    /// A parameter of main.cf, references replaced; empty if there is none of this name.
    pub fn value(&self, name: &str) -> String {
        match self.expanded.get(name) {
            Some(value) => value.clone(),
            None => self.expand(self.raw(name)),
        }
    }

    /// A parameter of main.cf as it is written.
    pub fn raw(&self, name: &str) -> &str {
        self.all.get(name).map_or("", String::as_str)
    }

    /// What main.cf itself sets, as it is written.
    pub fn set(&self) -> impl Iterator<Item = (&str, &str)> {
        self.set.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether main.cf itself sets this.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// What holds for a service.
    pub fn of(&self, service: &Service, name: &str) -> String {
        service.own(name).map_or_else(|| self.value(name), |own| self.expand(own))
    }

    /// Where Postfix's programs work, and the root of those in a chroot.
    pub fn queue_directory(&self) -> PathBuf {
        PathBuf::from(self.value("queue_directory"))
    }

    /// The services that run this program.
    pub fn running<'a>(&'a self, command: &'a str) -> impl Iterator<Item = &'a Service> {
        self.services.iter().filter(move |service| service.command == command)
    }

    /// As it is after `postconf -e name=value`; `None` takes the parameter out of main.cf.
    pub fn change(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.set.insert(name.to_owned(), value.to_owned()),
            None => self.set.remove(name),
        };
        // Only parameters that are empty by default are taken out.
        self.all.insert(name.to_owned(), value.unwrap_or_default().to_owned());
        let names: Vec<String> = self.set.keys().cloned().chain([name.to_owned()]).collect();
        for name in names {
            let value = self.expand(self.raw(&name));
            // A conditional reference stays as postconf has replaced it.
            if !value.contains("${") {
                self.expanded.insert(name, value);
            }
        }
    }

    /// As it is after `postconf -P service/name=value`.
    pub fn change_service(&mut self, id: &str, name: &str, value: &str) {
        if let Some(service) = self.services.iter_mut().find(|service| service.id() == id) {
            service.overrides.retain(|(own, _)| own != name);
            service.overrides.push((name.to_owned(), value.to_owned()));
        }
    }

    fn expand(&self, value: &str) -> String {
        value::expanded(value, &|name| self.all.get(name).cloned())
    }
}

/// `name = value`, one a line.
fn parameters(printed: &str) -> BTreeMap<String, String> {
    let split =
        |line: &str| line.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    printed.lines().filter_map(split).collect()
}

/// `name type private unpriv chroot wakeup maxproc command arguments`.
fn service(line: &str, usual: bool) -> Option<Service> {
    let words = words(line);
    let [name, kind, _, _, chroot, _, _, command, arguments @ ..] = &words[..] else { return None };
    let mut overrides = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let option = match *argument {
            "-o" => arguments.next().copied(),
            other => other.strip_prefix("-o"),
        };
        let Some(option) = option else { continue };
        let bare = option.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(option);
        overrides.extend(bare.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())));
    }
    let chroot = match *chroot {
        "y" => true,
        "n" => false,
        _ => usual,
    };
    let own = |text: &&str| (*text).to_owned();
    Some(Service { name: own(name), kind: own(kind), chroot, command: own(command), overrides })
}

/// The words of a line of master.cf; what begins with a brace ends with it.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let mut depth = 0usize;
        let braced = rest.starts_with('{');
        let end = rest.char_indices().find_map(|(at, letter)| {
            match letter {
                '{' if braced => depth += 1,
                '}' if braced => depth = depth.saturating_sub(1),
                _ => {}
            }
            (letter.is_ascii_whitespace() && depth == 0).then_some(at)
        });
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(word);
        rest = behind.trim_start();
    }
    words
}

/// Whether a path lies in a directory; both as they are written, `.` and doubled slashes left out.
pub fn below(path: &Path, directory: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(directory).ok()?;
    (!rest.as_os_str().is_empty()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(level: &str, version: &str) -> Configuration {
        let all = format!(
            "compatibility_level = {level}\nmy = unix:a\nsmtpd_milters = $my, inet:b:1\nqueue_directory = /q\nempty =\n"
        );
        let master = "smtp       inet  n - y - - smtpd\n\
                      submission inet  n - - - - smtpd -o smtpd_milters=$my -o {x = a, b} -o syslog_name=postfix/$y\n\
                      cleanup    unix  n - n - 0 cleanup -o smtpd_milters={unix:a,b=c}\n";
        let printed = Printed {
            version: format!("mail_version = {version}\n"),
            expanded: all.replace("$my", "unix:a"),
            set: "my = unix:a\nsmtpd_milters = $my, inet:b:1\n".to_owned(),
            all,
            master: master.to_owned(),
        };
        Configuration::read(&printed).expect("whole")
    }

    #[test]
    fn the_column_chroot_means_what_it_means_to_this_version() {
        for (level, version, want) in [
            ("3.6", "3.7.11", [true, false, false]),
            ("0", "3.7.11", [true, true, false]),
            ("2", "3.12-20260821", [true, false, false]),
            ("3.6", "2.11.3", [true, true, false]),
        ] {
            let chroots: Vec<bool> = read(level, version).services.iter().map(|service| service.chroot).collect();
            assert_eq!(chroots, want, "compatibility_level {level} of {version}");
        }
    }

    #[test]
    fn a_service_has_its_own_values_and_else_those_of_main_cf() {
        let postfix = read("3.6", "3.7.11");
        let [smtp, submission, cleanup] = &postfix.services[..] else { panic!("three services") };
        assert_eq!(postfix.of(smtp, "smtpd_milters"), "unix:a, inet:b:1");
        assert_eq!(postfix.of(submission, "smtpd_milters"), "unix:a");
        assert_eq!(submission.own("x"), Some("a, b"), "in braces");
        assert_eq!(submission.own("syslog_name"), Some("postfix/$y"));
        assert_eq!(cleanup.own("smtpd_milters"), Some("{unix:a,b=c}"), "braces of the value itself");
        assert_eq!((submission.id().as_str(), smtp.is_loopback()), ("submission/inet", false));
        assert_eq!(postfix.queue_directory(), Path::new("/q"));
    }

    #[test]
    fn a_change_reaches_what_refers_to_it() {
        let mut postfix = read("3.6", "3.7.11");
        postfix.change("my", Some("unix:z"));
        assert_eq!(postfix.value("smtpd_milters"), "unix:z, inet:b:1");
        postfix.change("my", None);
        assert!(!postfix.is_set("my") && postfix.value("my").is_empty());
    }

    #[test]
    fn what_is_no_output_of_postconf_is_refused() {
        let printed = Printed { version: "mail_version = what\n".to_owned(), ..Printed::default() };
        assert!(Configuration::read(&printed).is_err_and(|problem| problem.contains("no version")));
        let printed = Printed { version: "mail_version = 3.7.11\n".to_owned(), ..Printed::default() };
        assert!(Configuration::read(&printed).is_err_and(|problem| problem.contains("no parameters")));
    }
}
