//! Messages per second through a real Postfix, smtp-source to smtp-sink, beside no milter and beside another.
//!
//! One private Postfix for each milter (`tests/postfix/rig.sh`), all running, used in turn.

use crate::mail::ONE_IN;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Postfix of our own; it ends when its standard input does, also when this program is killed.
pub struct Postfix {
    pub name: &'static str,
    facts: HashMap<String, String>,
    recipients_sent: u64,
    /// Of those, how many a suppression filter takes off.
    suppressed_sent: u64,
    child: Child,
}

/// An smtp-sink that takes every message.
pub struct Sink {
    port: String,
    child: Child,
}

/// How long the queue may take to become empty.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// Why it cannot be measured here; none if it can.
pub fn obstacle(rig: &Path) -> Option<&'static str> {
    if !nix::unistd::Uid::effective().is_root() {
        Some("Postfix starts as root only")
    } else if !Path::new("/usr/lib/postfix/sbin/master").exists() {
        Some("Debian's postfix is not installed")
    } else if !rig.exists() {
        Some("tests/postfix/rig.sh is missing")
    } else {
        None
    }
}

impl Sink {
    pub fn start(rig: &Path) -> Result<Sink> {
        let ports = Command::new(rig).args(["ports", "1"]).output().context("cannot run rig.sh")?;
        let port = String::from_utf8_lossy(&ports.stdout).trim().to_owned();
        ensure!(!port.is_empty(), "rig.sh named no port: {}", String::from_utf8_lossy(&ports.stderr));
        let address = format!("127.0.0.1:{port}");
        let child = Command::new("/usr/sbin/smtp-sink")
            .args(["-u", "nobody", &address, "1024"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start smtp-sink")?;
        Ok(Sink { port, child })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Postfix {
    /// Starts one with this milter (Postfix's spelling; empty for none).
    pub fn start(name: &'static str, rig: &Path, work: &Path, milter: &str, sink: &Sink) -> Result<Postfix> {
        let directory = work.join(format!("postfix-{name}"));
        let mut child = Command::new(rig)
            .arg("hold")
            .arg(&directory)
            .arg(format!("milter={milter}"))
            .arg(format!("relay={}", sink.port))
            // The measure is the milter; the disk is the same for all.
            .arg("cf.in_flow_delay=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run rig.sh")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut postfix = Postfix { name, facts: HashMap::new(), recipients_sent: 0, suppressed_sent: 0, child };
        for line in output.lines() {
            let line = line?;
            if let Some((fact, value)) = line.split_once('=') {
                postfix.facts.insert(fact.to_owned(), value.to_owned());
            }
            if line == "ready=yes" {
                return Ok(postfix);
            }
        }
        anyhow::bail!("Postfix for {name} did not start")
    }

    /// Messages per second from the first connection until the queue is empty.
    pub fn measure(&mut self, letter: &Path, sessions: usize, messages: u64, recipients: u64) -> Result<f64> {
        let port = self.fact("port_smtpd")?;
        let begin = Instant::now();
        let status = Command::new("/usr/sbin/smtp-source")
            .args(["-4", "-d", "-N", "-s", &sessions.to_string(), "-m", &messages.to_string()])
            .args(["-r", &recipients.to_string(), "-f", "news@shop.bench.example", "-t", "reader@mail0.example"])
            .arg("-F")
            .arg(letter)
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .status()
            .context("cannot run smtp-source")?;
        ensure!(status.success(), "smtp-source: {status}");
        let queue = PathBuf::from(self.fact("dir")?).join("queue");
        while !is_empty(&queue)? {
            ensure!(begin.elapsed() < DRAIN_WITHIN, "the queue of {} does not become empty", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
        let rate = messages as f64 / begin.elapsed().as_secs_f64();
        // smtp-source -N numbers the recipients of one run from 1.
        self.recipients_sent += messages * recipients;
        self.suppressed_sent += messages * recipients / ONE_IN;
        Ok(rate)
    }

    /// Checks in Postfix's own log that everybody got their mail, but those who must not be mailed when
    /// `screened`.
    pub fn verify(&self, screened: bool) -> Result<()> {
        let expected = self.recipients_sent - if screened { self.suppressed_sent } else { 0 };
        let log = PathBuf::from(self.fact("log")?);
        let begin = Instant::now();
        loop {
            let text = fs::read_to_string(&log)?;
            let delivered = text.lines().filter(|line| line.contains("status=sent")).count() as u64;
            // postlogd may be behind.
            if delivered == expected {
                return Ok(());
            }
            ensure!(
                begin.elapsed() < Duration::from_secs(5),
                "{}: {delivered} deliveries in the log, {expected} expected",
                self.name
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn fact(&self, name: &str) -> Result<&str> {
        self.facts.get(name).map(String::as_str).with_context(|| format!("rig.sh told no {name}"))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn is_empty(queue: &Path) -> Result<bool> {
    for name in ["maildrop", "incoming", "active", "deferred"] {
        if holds_files(&queue.join(name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds_files(directory: &Path) -> Result<bool> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_directory = match entry.file_type() {
            Ok(kind) => kind.is_dir(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        if !is_directory || holds_files(&entry.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}
