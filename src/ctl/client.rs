//! Speaks to the daemon: HTTP/1.1 over its Unix socket, one connection for each request.

use super::exit::{Exit, Failure};
use crate::admin::wire::ErrorAnswer;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// Longest wait for the beginning of an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Longest answer read whole.
const ANSWER_BYTES: usize = 256 << 20;

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

    async fn send(&self, target: &str, body: Body) -> Result<Response<Incoming>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| unreachable(&self.socket, &error))?;
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

/// Octets as they may stand in a path segment or a query value (RFC 3986 §2.3); everything else encoded.
pub fn encoded(text: &str) -> String {
    let encode = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn request(target: &str, body: Body) -> Request<Full<Bytes>> {
    let (method, content_type, body) = match body {
        Body::None => ("GET", None, Vec::new()),
        Body::Json(body) => ("POST", Some("application/json"), body),
        Body::Mail(body) => ("POST", Some("message/rfc822"), body),
    };
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = method.parse().expect("GET and POST are methods");
    *request.uri_mut() = target.parse::<Uri>().expect("targets are literals and encoded values");
    let headers = request.headers_mut();
    headers.insert(header::HOST, header::HeaderValue::from_static("backstop"));
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    }
    request
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
                "backstopd cannot be reached on {socket}: {error}. Is it running (systemctl status backstop)? If it \
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
