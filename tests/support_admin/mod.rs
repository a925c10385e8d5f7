//! An admin server over a store of its own, and a plain HTTP client for its socket.

// Each test file uses a part of this.
#![allow(dead_code)]

use backstop::admin::server::{ConfigState, Daemon, LastRelease, Server, Settings};
use backstop::classify::{BounceCode, BounceType, Category, Fault, Rules};
use backstop::mail::{Address, ListId};
use backstop::outbound::Mode;
use backstop::policy::{Authority, EventId, Evidence, Policy, Response, Scope, What};
use backstop::report::{Campaign, Dialects, Kind};
use backstop::service::{InForce, Service};
use backstop::store::{self, NewEvent, Recorded, Store};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use tokio::net::UnixStream;

/// A notification of a remote server, one recipient, 5.1.1.
pub const BOUNCE: &[u8] = b"From: MAILER-DAEMON@mx.example.net\r\n\
To: bounce@example.com\r\n\
Subject: Undelivered Mail Returned to Sender\r\n\
Message-ID: <report-1@mx.example.net>\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\
\r\n\
--b\r\n\
Content-Type: text/plain\r\n\
\r\n\
Could not be delivered.\r\n\
--b\r\n\
Content-Type: message/delivery-status\r\n\
\r\n\
Reporting-MTA: dns; mx.example.net\r\n\
\r\n\
Final-Recipient: rfc822; gone@example.net\r\n\
Action: failed\r\n\
Status: 5.1.1\r\n\
Diagnostic-Code: smtp; 550 5.1.1 <gone@example.net>: user unknown\r\n\
\r\n\
--b\r\n\
Content-Type: text/rfc822-headers\r\n\
\r\n\
From: news@example.com\r\n\
To: gone@example.net\r\n\
Message-ID: <issue-77@example.com>\r\n\
List-ID: <news.example.com>\r\n\
X-Campaign-ID: 77\r\n\
\r\n\
--b--\r\n";

/// What the daemon tells; the reload error can be set.
#[derive(Default)]
pub struct FakeDaemon {
    pub reload_error: Mutex<Option<String>>,
    pub last_release: Mutex<Option<LastRelease>>,
}

impl Daemon for FakeDaemon {
    fn milter_connections(&self) -> usize {
        3
    }
    fn config_state(&self) -> ConfigState {
        ConfigState {
            file: PathBuf::from("/etc/backstop/backstop.toml"),
            loaded_at: "2026-08-21T03:00:00Z".parse().expect("a literal"),
            reload_error: self.reload_error.lock().expect("nobody panics with it").clone(),
        }
    }
    fn last_release(&self) -> Option<LastRelease> {
        *self.last_release.lock().expect("nobody panics with it")
    }
}

/// A running server. Its directory is open to other users, so that they reach the socket.
pub struct Running {
    pub directory: tempfile::TempDir,
    pub socket: PathBuf,
    pub store: Store,
    pub service: Arc<Service>,
    pub daemon: Arc<FakeDaemon>,
    pub server: Server,
}

/// A server whose groups nobody is in.
pub async fn start() -> Running {
    start_with(|_| {}).await
}

pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Running {
    start_over(tempfile::tempdir().expect("a directory for the test"), change).await
}

/// Where a test's store is.
pub fn store_settings(directory: &Path) -> store::Settings {
    store::Settings { path: directory.join("store"), cache_bytes: 8 << 20, evidence_days: 400, ledger_days: 35 }
}

/// A server over the store in that directory, made if there is none.
pub async fn start_over(directory: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Running {
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let store = Store::open(&store_settings(directory.path())).expect("a store");
    let service = Arc::new(Service::new(store.clone(), in_force()));
    let daemon = Arc::new(FakeDaemon::default());
    let socket = directory.path().join("admin.sock");
    let mut settings = admin_settings(&socket);
    change(&mut settings);
    let server = Server::start(settings, service.clone(), daemon.clone()).await.expect("the socket is free");
    Running { directory, socket, store, service, daemon, server }
}

pub fn admin_settings(socket: &Path) -> Settings {
    Settings {
        socket: socket.to_owned(),
        metrics_listen: None,
        write_group: "backstop-no-such-group".to_owned(),
        read_group: "backstop-no-such-group".to_owned(),
    }
}

pub fn in_force() -> InForce {
    InForce {
        limits: Vec::new(),
        domains: None,
        signatures: None,
        mode: Mode::Enforce,
        outbound: Default::default(),
        inbound: Default::default(),
        policy: Policy::default(),
        tokens: Arc::default(),
        dialects: Arc::new(Dialects::compiled_in()),
        rules: Arc::new(Rules::compiled_in()),
    }
}

impl Running {
    /// Records what happened to a contact and gives the event's id.
    pub async fn record(&self, address: &str, at: Timestamp, what: What) -> EventId {
        record(&self.store, address, at, what).await
    }

    /// Records a hard bounce of a minute ago, told by our own Postfix.
    pub async fn bounce(&self, address: &str) -> EventId {
        self.record(address, a_minute_ago(), hard_bounce()).await
    }

    /// Records a person's suppression for one list, of a minute ago.
    pub async fn suppress_for(&self, address: &str, list: &str) -> EventId {
        let scope = Scope::List(ListId(list.to_owned()));
        let what = What::Suppress { scope, reason: "asked by phone".to_owned(), uid: 0 };
        self.record(address, a_minute_ago(), what).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], b"").await
    }

    pub async fn post(&self, target: &str, body: &[u8]) -> Answer {
        self.send("POST", target, &[], body).await
    }

    pub async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let response = open(&self.socket, method, target, headers, body).await;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole answer").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A `backstopctl` for this server.
    pub fn ctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstopctl"));
        command.arg("--socket").arg(&self.socket).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `backstopctl` to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        run(self.ctl(arguments)).await
    }
}

/// Records what happened to a contact and gives the event's id.
pub async fn record(store: &Store, address: &str, at: Timestamp, what: What) -> EventId {
    let address = Some(address_of(address));
    let new = NewEvent { at, address, queue_id: Some("4XyZ12".to_owned()), what, content_key: None };
    match store.record(vec![new]).await.expect("the store is writable")[0] {
        Recorded::New(id) | Recorded::Known(id) => id,
    }
}

/// Runs a command without holding up the server.
pub async fn run(mut command: Command) -> Output {
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program starts")).await;
    output.expect("nobody panics")
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: hyper::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// Status and `error.code`; panics unless the answer is an error of the documented shape.
    pub fn refused(&self) -> (u16, String) {
        let json = self.json();
        let error = &json["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        (self.status.as_u16(), error["code"].as_str().expect("a code").to_owned())
    }
}

/// Sends a request on a connection of its own and gives the answer as soon as its header is there.
pub async fn open(
    socket: &Path,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> hyper::Response<Incoming> {
    let stream = UnixStream::connect(socket).await.expect("the server listens");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target).header("host", "backstop");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).expect("a request");
    sender.send_request(request).await.expect("an answer")
}

pub fn address_of(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

pub fn a_minute_ago() -> Timestamp {
    Timestamp::now() - std::time::Duration::from_secs(60)
}

pub fn hard_bounce() -> What {
    let response = Response {
        class: Category::Rejected.class(),
        kind: Kind::Bounce,
        category: Some(Category::Rejected),
        bounce_type: Some(BounceType::Hard),
        code: Some(BounceCode { class: 5, subject: 1, detail: 1 }),
        reason: Some("user-unknown".to_owned()),
        fault: Some(Fault::Recipient),
        by_words: true,
        authority: Authority::Local,
        campaign: Some(Campaign("77".to_owned())),
        list: Some(ListId("news.example.com".to_owned())),
        sent_at: None,
    };
    let evidence = Evidence {
        description: "no such mailbox".to_owned(),
        diagnostic: Some("550 5.1.1 user unknown".to_owned()),
        ..Evidence::default()
    };
    What::Response { response: Box::new(response), evidence: Box::new(evidence) }
}
