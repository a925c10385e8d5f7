//! Speaks to the daemon: HTTP/1.1 over its Unix socket, one connection for each request.

use super::exit::{Exit, Failure};
use crate::admin::wire::ErrorAnswer;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Longest wait for the beginning of an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Time between two attempts to connect to a socket before which too many wait.
const CROWD_TIME: Duration = Duration::from_millis(50);
/// Longest answer read whole.
const ANSWER_BYTES: usize = 256 << 20;
/// Octets of a list sent at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A way to the daemon. Nothing is opened before the first request.
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

/// What to send along.
pub enum Body {
    /// A GET.
    None,
    /// A POST of JSON.
    Json(Vec<u8>),
    /// A POST of a mail.
    Mail(Vec<u8>),
    /// A PUT of JSON.
    Put(Vec<u8>),
    /// A DELETE with JSON.
    Delete(Vec<u8>),
    /// A GET of CSV.
    Csv,
    /// A GET of lines of JSON.
    Lines,
    /// A POST of a list of any length, read while it is sent.
    List(Box<dyn Read + Send>),
}

impl Client {
    /// A client of the daemon behind `socket`.
    pub fn new(socket: PathBuf) -> Result<Client, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Unavailable, format!("cannot start: {error}")))?;
        Ok(Client { socket, runtime })
    }

    /// Asks, and gives the whole body of the answer.
    pub fn ask(&self, target: &str, body: Body) -> Result<Bytes, Failure> {
        self.runtime.block_on(async {
            let answer = self.send(target, body).await?;
            collect(answer.into_body()).await.map_err(|_| self.broke_off())
        })
    }

    /// Asks, and hands on each line of the answer as it comes.
    pub fn follow(
        &self,
        target: &str,
        body: Body,
        mut line: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let mut answer = self.send(target, body).await?.into_body();
            let mut rest = Vec::new();
            while let Some(frame) = answer.frame().await {
                let Ok(piece) = frame.map_err(|_| self.broke_off())?.into_data() else { continue };
                rest.extend_from_slice(&piece);
                let mut from = 0;
                while let Some(length) = rest[from..].iter().position(|octet| *octet == b'\n') {
                    line(&rest[from..from + length])?;
                    from += length + 1;
                }
                rest.drain(..from);
                if rest.len() > ANSWER_BYTES {
                    return Err(self.broke_off());
                }
            }
            Ok(())
        })
    }

    /// Asks, and hands on the answer as it comes.
    pub fn copy(
        &self,
        target: &str,
        body: Body,
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let mut answer = self.send(target, body).await?.into_body();
            while let Some(frame) = answer.frame().await {
                if let Ok(piece) = frame.map_err(|_| self.broke_off())?.into_data() {
                    take(&piece)?;
                }
            }
            Ok(())
        })
    }

    /// Connects; where too many wait already to be let in, it waits with them.
    async fn connect(&self) -> io::Result<UnixStream> {
        let deadline = tokio::time::Instant::now() + ANSWER_TIME;
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(CROWD_TIME).await;
                }
                connected => return connected,
            }
        }
    }

    async fn send(&self, target: &str, body: Body) -> Result<Response<Incoming>, Failure> {
        let stream = self.connect().await.map_err(|error| unreachable(&self.socket, &error))?;
        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the answer's body; an error shows there.
            tokio::spawn(connection);
            sender.send_request(request(target, body)).await
        };
        let answer = match tokio::time::timeout(ANSWER_TIME, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => return Err(self.broke_off()),
            Err(_) => {
                let (socket, seconds) = (self.socket.display(), ANSWER_TIME.as_secs());
                let message = format!("backstopd on {socket} did not answer within {seconds} seconds");
                return Err(Failure::new(Exit::Unavailable, message));
            }
        };
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = collect(answer.into_body()).await.unwrap_or_default();
        Err(match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(answer) => Failure::of_status(status, &answer.error.code, &answer.error.message),
            Err(_) => Failure::of_status(status, "", &format!("{} answered {status}", self.socket.display())),
        })
    }

    fn broke_off(&self) -> Failure {
        let message = format!("the answer of backstopd on {} broke off", self.socket.display());
        Failure::new(Exit::Unavailable, message)
    }
}

/// Asks for a list page by page, and hands on each; `take` says what is passed as `cursor` for the next.
pub fn pages<P: DeserializeOwned>(
    client: &Client,
    target: &str,
    mut take: impl FnMut(P) -> Result<Option<String>, Failure>,
) -> Result<(), Failure> {
    let mut from = String::new();
    loop {
        let page = super::output::read(&client.ask(&format!("{target}{from}"), Body::None)?)?;
        match take(page)? {
            Some(next) => from = format!("&cursor={}", encoded(&next)),
            None => return Ok(()),
        }
    }
}

/// Octets as they may stand in a path segment or a query value (RFC 3986 §2.3); everything else encoded.
pub fn encoded(text: &str) -> String {
    let encode = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn request(target: &str, body: Body) -> Request<BoxBody<Bytes, io::Error>> {
    let (method, content_type, accept, body) = match body {
        Body::None => (Method::GET, None, None, whole(Vec::new())),
        Body::Csv => (Method::GET, None, Some("text/csv"), whole(Vec::new())),
        Body::Lines => (Method::GET, None, Some("application/x-ndjson"), whole(Vec::new())),
        Body::Json(body) => (Method::POST, Some("application/json"), None, whole(body)),
        Body::Put(body) => (Method::PUT, Some("application/json"), None, whole(body)),
        Body::Delete(body) => (Method::DELETE, Some("application/json"), None, whole(body)),
        Body::Mail(body) => (Method::POST, Some("message/rfc822"), None, whole(body)),
        Body::List(list) => (Method::POST, Some("application/octet-stream"), None, Pieces::of(list).boxed()),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.parse::<Uri>().expect("targets are literals and encoded values");
    let headers = request.headers_mut();
    headers.insert(header::HOST, header::HeaderValue::from_static("backstop"));
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    }
    if let Some(accept) = accept {
        headers.insert(header::ACCEPT, header::HeaderValue::from_static(accept));
    }
    request
}

fn whole(body: Vec<u8>) -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed()
}

/// A body that a thread reads, a few pieces ahead.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl Pieces {
    fn of(mut list: Box<dyn Read + Send>) -> Pieces {
        let (sender, pieces) = mpsc::channel(4);
        std::thread::spawn(move || {
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = match list.read(&mut piece) {
                    Ok(0) => return,
                    Ok(octets) => Ok(Bytes::copy_from_slice(&piece[..octets])),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    // Breaks the request off, so that nobody takes a part of the list for the whole.
                    Err(error) => Err(error),
                };
                let last = read.is_err();
                if sender.blocking_send(read).is_err() || last {
                    return;
                }
            }
        });
        Pieces(pieces)
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

async fn collect(body: Incoming) -> Result<Bytes, ()> {
    let body = http_body_util::Limited::new(body, ANSWER_BYTES).collect().await.map_err(|_| ())?;
    Ok(body.to_bytes())
}

fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::Permission, format!("{socket}: {error}; run as root or as a member of backstop-admin"))
        }
        _ => Failure::new(
            Exit::Unavailable,
            format!(
                "backstopd cannot be reached on {socket}: {error}. Is it running (systemctl status backstopd)? If it \
                 listens elsewhere ([admin] socket), say so with --socket PATH or BACKSTOP_SOCKET"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_as_a_path_segment() {
        assert_eq!(encoded("a/b?c#d%e@bücher.example"), "a%2Fb%3Fc%23d%25e%40b%C3%BCcher.example");
    }
}
