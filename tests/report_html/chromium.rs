//! A Chromium without windows, spoken to over a pair of pipes (Chrome DevTools Protocol).
//!
//! `--remote-debugging-pipe` reads commands on descriptor 3 and answers on 4, JSON ended by a zero octet.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page open.
pub struct Chromium {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<Value>,
    last: u64,
    session: String,
    /// What the console said, errors of scripts, and what the policy forbade.
    pub complaints: Vec<String>,
    loaded: bool,
    _profile: tempfile::TempDir,
}

/// The Chromium in PATH. Without one, says loudly that nothing is tested.
pub fn there() -> bool {
    let there = Command::new("chromium").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return true;
    }
    eprintln!("\n*** SKIPPED: the page was NOT tested in a browser. Run scripts/install-deps to get chromium. ***\n");
    // Past the test harness, which keeps the words of tests that pass to itself.
    let said = "*** SKIPPED: no chromium in PATH; the report's page was NOT tested in a browser ***\n";
    let _ = std::fs::OpenOptions::new().write(true).open("/dev/stderr").map(|mut out| out.write_all(said.as_bytes()));
    false
}

impl Chromium {
    /// Starts it, with a profile of its own and without any network.
    pub fn start() -> Chromium {
        let profile = tempfile::tempdir().expect("a directory");
        let start = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
                     --disable-extensions --disable-background-networking --disable-component-update \
                     --proxy-server=http://127.0.0.1:9 --force-device-scale-factor=1 --hide-scrollbars \
                     --remote-debugging-pipe --user-data-dir=\"$1\" about:blank 3<&0 4>&1 </dev/null >/dev/null";
        let mut child = Command::new("sh")
            .args(["-c", start, "sh"])
            .arg(profile.path())
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let commands = child.stdin.take().expect("piped");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while out.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let json = message.strip_suffix(&[0]).unwrap_or(&message);
                let Ok(value) = serde_json::from_slice(json) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut chromium = Chromium {
            child,
            commands,
            answers,
            last: 0,
            session: String::new(),
            complaints: Vec::new(),
            loaded: false,
            _profile: profile,
        };
        let target = chromium.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attached = chromium.ask("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        chromium.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chromium.ask(&format!("{domain}.enable"), json!({}));
        }
        chromium
    }

    /// Sends a command and gives its result.
    pub fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut octets = command.to_string().into_bytes();
        octets.push(0);
        self.commands.write_all(&octets).expect("the browser listens");
        let asked = Instant::now();
        loop {
            let left = PATIENCE.checked_sub(asked.elapsed()).unwrap_or_default();
            let said = self.answers.recv_timeout(left).unwrap_or_else(|error| panic!("{method}: {error}"));
            if said["id"] == json!(self.last) {
                assert!(said.get("error").is_none(), "{method}: {said}");
                return said["result"].clone();
            }
            self.hear(&said);
        }
    }

    fn hear(&mut self, said: &Value) {
        let parameters = &said["params"];
        match said["method"].as_str() {
            Some("Page.loadEventFired") => self.loaded = true,
            Some("Log.entryAdded" | "Runtime.consoleAPICalled" | "Runtime.exceptionThrown") => {
                self.complaints.push(parameters.to_string());
            }
            // Not even an attempt to fetch anything but the page.
            Some("Network.requestWillBeSent") => {
                let address = parameters["request"]["url"].as_str().unwrap_or_default();
                if !address.starts_with("file:") {
                    self.complaints.push(format!("asked for {address}"));
                }
            }
            _ => {}
        }
    }

    /// Opens a file, and waits until its scripts have run.
    pub fn open(&mut self, file: &Path) {
        self.loaded = false;
        self.ask("Page.navigate", json!({"url": format!("file://{}", file.display())}));
        let asked = Instant::now();
        while !self.loaded {
            assert!(asked.elapsed() < PATIENCE, "{} is not loaded", file.display());
            self.evaluate("0");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a script in the page and gives what it comes to.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let parameters = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let done = self.ask("Runtime.evaluate", parameters);
        assert!(done.get("exceptionDetails").is_none(), "{script}: {done}");
        done["result"]["value"].clone()
    }

    /// As wide a window, in light or dark.
    pub fn screen(&mut self, width: u32, dark: bool) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.ask("Emulation.setEmulatedMedia", features);
    }

    /// Whether scripts run.
    pub fn scripts(&mut self, run: bool) {
        self.ask("Emulation.setScriptExecutionDisabled", json!({"value": !run}));
    }

    /// Keeps a picture in the directory that BACKSTOP_PICTURES names, for a person to look at.
    pub fn picture(&mut self, name: &str) {
        let Some(directory) = std::env::var_os("BACKSTOP_PICTURES") else { return };
        let shot = self.ask("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        keep(&Path::new(&directory).join(format!("{name}.png")), &shot["data"]);
    }

    /// The page as it is printed: how many octets of PDF; kept as pictures are.
    pub fn print(&mut self, name: &str) -> usize {
        let printed = self.ask("Page.printToPDF", json!({"preferCSSPageSize": true, "printBackground": false}));
        if let Some(directory) = std::env::var_os("BACKSTOP_PICTURES") {
            keep(&Path::new(&directory).join(format!("{name}.pdf")), &printed["data"]);
        }
        printed["data"].as_str().map_or(0, str::len)
    }
}

fn keep(file: &Path, base64: &Value) {
    let digits = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').chain([b'+', b'/']);
    let values: HashMap<u8, u32> = digits.zip(0..).collect();
    let text = base64.as_str().expect("base64").trim_end_matches('=').as_bytes();
    let mut octets = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for four in text.chunks(4) {
        let bits = four.iter().fold(0, |bits, digit| bits << 6 | values[digit]) << (6 * (4 - four.len()));
        octets.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    std::fs::write(file, octets).expect("BACKSTOP_PICTURES names a directory");
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
