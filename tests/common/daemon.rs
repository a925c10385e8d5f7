//! backstopd as a child process, with a configuration and a store of its own, and backstopctl to ask it.

use super::rig::{tail, within};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A daemon, running or not. Dropping it ends the process.
pub struct Daemon {
    dir: PathBuf,
    milter_socket: PathBuf,
    through: Vec<String>,
    process: Option<Child>,
}

impl Daemon {
    /// Writes a configuration into `dir`; the daemon does not run yet. `more` is TOML: top-level keys first, then
    /// sections other than milter, admin and store.
    pub fn prepare(dir: &Path, milter_socket: &Path, more: &str) -> Daemon {
        let daemon =
            Daemon { dir: dir.to_owned(), milter_socket: milter_socket.to_owned(), through: Vec::new(), process: None };
        let (top, sections) = more.split_at(more.find('[').unwrap_or(more.len()));
        let config = format!(
            "{top}\n[milter]\nlisten = [\"unix:{}\"]\n[admin]\nsocket = \"{}\"\n[store]\npath = \"{}\"\n\
             [rules]\ndirectory = \"{}\"\n{sections}\n",
            milter_socket.display(),
            daemon.admin_socket().display(),
            daemon.store().display(),
            dir.join("rules.d").display(),
        );
        std::fs::write(daemon.config(), config).expect("the configuration can be written");
        daemon
    }

    /// Starts the process and waits until both its sockets answer.
    pub fn start(&mut self) {
        self.begin();
        self.wait_until_it_serves();
    }

    /// Has it started by another program, such as env(1), with these arguments ahead of its own.
    #[allow(dead_code)] // not every test that shares this has a reason to
    pub fn start_through(&mut self, program: &[&str]) {
        self.through = program.iter().map(ToString::to_string).collect();
    }

    /// Its process id.
    #[allow(dead_code)]
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("backstopd runs").id()
    }

    /// Runs it as long as it goes by itself, for one that is expected to give up.
    #[allow(dead_code)]
    pub fn run(&self) -> Output {
        let limit = ["20", env!("CARGO_BIN_EXE_backstopd"), "--allow-root", "--config"];
        let mut command = Command::new("timeout");
        command.args(limit).arg(self.config()).stdin(Stdio::null()).output().expect("timeout(1) runs")
    }

    /// The codes of the alerts that are open.
    #[allow(dead_code)]
    pub fn alerts(&self) -> Vec<String> {
        let status = self.ask(&["status"]);
        let alerts = status["alerts"].as_array().cloned().unwrap_or_default();
        alerts.iter().filter_map(|alert| alert["code"].as_str().map(str::to_owned)).collect()
    }

    /// The lines of its log that say so.
    #[allow(dead_code)]
    pub fn lines(&self, wanted: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| line.contains(wanted)).map(str::to_owned).collect()
    }

    /// Starts the process, and does not wait for it.
    pub fn begin(&mut self) {
        assert!(self.process.is_none(), "backstopd runs already");
        let log = File::options().create(true).append(true).open(self.log()).expect("a log file");
        let errors = log.try_clone().expect("a log file twice");
        // Dies with the thread that runs the test, should that be killed.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(&self.through)
            .args([env!("CARGO_BIN_EXE_backstopd"), "--allow-root", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("setpriv(1), of util-linux, runs");
        self.process = Some(child);
    }

    /// How it ended, if it has.
    #[allow(dead_code)]
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        let status = self.process.as_mut()?.try_wait().expect("a child can be waited for")?;
        self.process = None;
        Some(status)
    }

    fn wait_until_it_serves(&mut self) {
        within(Duration::from_secs(20), || {
            let ended = self.process.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!("backstopd ended at once, {status}:\n{}", tail(&self.log()));
            }
            let sockets = [&self.milter_socket, &self.admin_socket()];
            let serving = sockets.into_iter().all(|socket| UnixStream::connect(socket).is_ok());
            if serving { Ok(()) } else { Err(format!("backstopd does not serve:\n{}", tail(&self.log()))) }
        });
    }

    /// Ends it as an operator does, and waits until it is gone.
    pub fn stop(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        signal(&child, Signal::SIGTERM);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while child.try_wait().expect("a child can be waited for").is_none() {
            if std::time::Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("backstopd did not stop within 20 seconds of SIGTERM:\n{}", tail(&self.log()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has it read its configuration again.
    #[allow(dead_code)] // not every test that shares this has a reason to
    pub fn reload(&self) {
        signal(self.process.as_ref().expect("backstopd runs"), Signal::SIGHUP);
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        let Some(mut child) = self.process.take() else { return };
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Runs a second backstopd on the same store, with sockets of its own, until it gives up.
    pub fn run_second(&self) -> Output {
        let config = std::fs::read_to_string(self.config()).expect("the configuration was written");
        let file = self.dir.join("second.toml");
        std::fs::write(&file, config.replace(".sock\"", ".sock.second\"")).expect("our own directory");
        let limit = ["20", env!("CARGO_BIN_EXE_backstopd"), "--allow-root", "--config"];
        Command::new("timeout").args(limit).arg(file).stdin(Stdio::null()).output().expect("timeout(1) runs")
    }

    /// Asks backstopctl for JSON and gives the one object it prints.
    pub fn ask(&self, arguments: &[&str]) -> Value {
        let output = self.ctl(arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("backstopctl {arguments:?} printed no JSON: {}", said(&output)))
    }

    /// Asks backstopctl for JSON and gives the objects it prints, one a line.
    pub fn ask_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.ctl(arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        let read = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        text.lines().map(read).collect()
    }

    /// Runs backstopctl with `--json`.
    pub fn ctl(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_backstopctl"))
            .arg("--socket")
            .arg(self.admin_socket())
            .arg("--json")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("backstopctl was built")
    }

    /// Puts JSON at a path of the admin socket; it must be taken.
    pub fn put(&self, path: &str, json: &str) {
        self.request("PUT", path, json);
    }

    /// The value of a metric, by its name and labels as they are written.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let answer = self.request("GET", "/metrics", "");
        answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Asks the admin socket and gives its answer, which must be a good one.
    fn request(&self, method: &str, path: &str, json: &str) -> String {
        let mut stream = UnixStream::connect(self.admin_socket()).expect("backstopd serves");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a time-out");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: admin\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{json}",
            json.len()
        );
        stream.write_all(request.as_bytes()).expect("backstopd reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("backstopd answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        answer
    }

    /// How a contact stands: `active`, `bounced`, `suppressed`; `unknown` if never heard of.
    pub fn state(&self, address: &str) -> String {
        let output = self.ctl(&["show", address]);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match answer["state"].as_str() {
            Some(state) => state.to_owned(),
            None if output.status.code() == Some(1) => "unknown".to_owned(),
            None => panic!("backstopctl show {address}: {}", said(&output)),
        }
    }

    /// Keeps campaign mail from a contact, as an operator does.
    pub fn suppress(&self, address: &str) {
        let output = self.ctl(&["suppress", address, "--reason", "asked by telephone"]);
        assert!(output.status.success(), "backstopctl suppress {address}: {}", said(&output));
    }

    /// The responses of a contact that are not skips.
    pub fn responses(&self, address: &str) -> Vec<Value> {
        let answer = self.ask(&["show", address]);
        let responses = answer["responses"].as_array().cloned().unwrap_or_default();
        responses.into_iter().filter(|response| response["class"] != "skip").collect()
    }

    /// Waits until `count` events of one kind are on record, and gives them. Skips are written a moment after
    /// the message went.
    pub fn wait_for_events(&self, what: &str, count: usize) -> Vec<Value> {
        within(Duration::from_secs(20), || {
            let events = self.ask_lines(&["events"]);
            let matching: Vec<Value> = events.iter().filter(|event| event["event"] == what).cloned().collect();
            match matching.len() {
                found if found >= count => Ok(matching),
                found => Err(format!("waited for {count} events {what}, {found} are there: {events:#?}")),
            }
        })
    }

    /// Its milter socket.
    #[allow(dead_code, reason = "only tests/systemd.rs holds the sockets itself")]
    pub fn milter_socket(&self) -> &Path {
        &self.milter_socket
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("backstopd.log")
    }

    /// Its store's directory.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Its configuration.
    pub fn config(&self) -> PathBuf {
        self.dir.join("backstop.toml")
    }

    /// Its admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id is an i32"));
    kill(pid, signal).expect("a child that was not waited for can be signalled");
}

/// What a program said, for a failure's text.
pub fn said(output: &Output) -> String {
    let text = |octets| String::from_utf8_lossy(octets).into_owned();
    format!("{}, stdout {:?}, stderr {:?}", output.status, text(&output.stdout), text(&output.stderr))
}
