//! HTTP around the answers: errors, bodies with their limits, JSON, NDJSON or CSV by `Accept`.

use super::wire::{ErrorAnswer, Problem};
use crate::store::StoreError;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Longest JSON body.
pub const JSON_BYTES: usize = 1 << 20;
/// Longest mail.
pub const MAIL_BYTES: usize = 32 << 20;
/// Longest time a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into() }
    }

    /// 422: a value that cannot be used; the message names its field.
    pub fn value(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", message)
    }

    fn too_large(limit: usize) -> Refusal {
        let message = format!("the body is longer than the {limit} octets taken here");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
    }

    /// The same as it stands in JSON.
    pub fn problem(&self) -> Problem {
        Problem { code: self.code.to_owned(), message: self.message.clone() }
    }
}

/// Goes with an answer, for the log: what keeps us, now or later, from doing what was asked. A refusal for what the
/// request says is none.
#[derive(Clone)]
pub(super) struct Trouble(Arc<Mutex<Option<oneshot::Receiver<String>>>>);

impl Trouble {
    /// There is some.
    fn met(problem: String) -> Trouble {
        let (later, trouble) = Trouble::later();
        let _ = later.send(problem);
        trouble
    }

    /// There may be some; nothing is sent where there is none.
    pub fn later() -> (oneshot::Sender<String>, Trouble) {
        let (sender, receiver) = oneshot::channel();
        (sender, Trouble(Arc::new(Mutex::new(Some(receiver)))))
    }

    /// Tells it as soon as it is met.
    pub fn tell(self, tell: impl FnOnce(&str) + Send + 'static) {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut receiver) = receiver else { return };
        match receiver.try_recv() {
            Ok(problem) => tell(&problem),
            Err(oneshot::error::TryRecvError::Closed) => {}
            Err(oneshot::error::TryRecvError::Empty) => {
                tokio::spawn(async move {
                    if let Ok(problem) = receiver.await {
                        tell(&problem);
                    }
                });
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let (status, code) = match &error {
            StoreError::Damaged { .. } | StoreError::Corrupt { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "store-damaged")
            }
            StoreError::InUse { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Unwritable { .. }
            | StoreError::Unopenable { .. }
            | StoreError::Engine(_)
            | StoreError::Stopped
            | StoreError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable"),
        };
        Refusal::new(status, code, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = (self.status, json(&ErrorAnswer { error: self.problem() })).into_response();
        if self.status.is_server_error() {
            answer.extensions_mut().insert(Trouble::met(self.message));
        }
        answer
    }
}

/// A JSON answer, ended by a line feed for the person with curl.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Runs what may wait for the disk where it holds up nobody else.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Refusal::from),
        Err(error) => {
            tracing::error!(%error, "an admin request failed");
            let message = "the request failed inside backstopd; its log says more";
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
        }
    }
}

/// Reads a body of at most `limit` octets, within [`BODY_TIME`].
pub(super) async fn read_body(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    let body = request.into_body();
    // What announces too much is refused before a single octet of it is read.
    if body.size_hint().lower() > limit as u64 {
        return Err(Refusal::too_large(limit));
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large(limit)),
        Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "broken-body", "the body broke off")),
        Err(_) => {
            let message = format!("the body did not arrive within {} seconds", BODY_TIME.as_secs());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
        }
    }
}

/// Reads a JSON body: 400 where it is no JSON, 422 where it is not what is wanted.
pub(super) async fn read_json<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let body = read_body(request, JSON_BYTES).await?;
    serde_json::from_slice(&body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refusal::value(error.to_string()),
        _ => Refusal::new(StatusCode::BAD_REQUEST, "invalid-json", format!("the body is no JSON: {error}")),
    })
}

/// The parameters of a query, each known, each once.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads the query of a request; an empty value is as good as none.
    pub fn read(request: &Request, known: &[&str]) -> Result<Parameters, Refusal> {
        let message = "the query is not percent-encoded UTF-8";
        let unreadable = || Refusal::new(StatusCode::BAD_REQUEST, "invalid-query", message);
        // The reader below would put something else in the place of what it cannot decode.
        if !is_percent_encoded(request.uri().query().unwrap_or_default()) {
            return Err(unreadable());
        }
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(request.uri());
        let query = query.map_err(|_| unreadable())?;
        let mut parameters = BTreeMap::new();
        for (name, value) in query.0 {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(Refusal::value(format!("`{name}` is no parameter of this request; it takes {known}")));
            }
            if parameters.contains_key(&name) {
                return Err(Refusal::value(format!("`{name}` is given twice")));
            }
            parameters.insert(name, value);
        }
        parameters.retain(|_, value| !value.is_empty());
        Ok(Parameters(parameters))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value read by `read`, which says what would do.
    pub fn parse<T>(&self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, Refusal> {
        self.get(name)
            .map(|text| read(text).map_err(|wanted| Refusal::value(format!("`{name}`: \"{text}\": {wanted}"))))
            .transpose()
    }

    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        let flag = self.parse(name, |text| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("true or false is wanted".to_owned()),
        })?;
        Ok(flag.unwrap_or(false))
    }
}

/// Whether every escape has two digits, and the octets they stand for are UTF-8 with those around them.
fn is_percent_encoded(query: &str) -> bool {
    let mut octets = Vec::with_capacity(query.len());
    let mut pieces = query.split('%');
    octets.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(octet) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return false };
        octets.push(octet);
        octets.extend_from_slice(&piece.as_bytes()[2..]);
    }
    std::str::from_utf8(&octets).is_ok()
}

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    NdJson,
    Csv,
}

impl Format {
    /// The first format of `Accept` that we write; JSON where nothing is said.
    pub fn wanted(headers: &HeaderMap) -> Result<Format, Refusal> {
        Format::accepted(headers, Format::Json)
    }

    /// The same for what has no end, or none that could be held in memory: NDJSON where nothing is said, and no JSON.
    pub fn of_rows(headers: &HeaderMap) -> Result<Format, Refusal> {
        match Format::accepted(headers, Format::NdJson)? {
            Format::Json => {
                let message = "this is written as application/x-ndjson or text/csv";
                Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", message))
            }
            format => Ok(format),
        }
    }

    /// The first format of `Accept` that we write, or `usual` for who takes anything. Weights are not compared, but
    /// `q=0` rules a format out (RFC 9110 §12.5.1).
    pub fn accepted(headers: &HeaderMap, usual: Format) -> Result<Format, Refusal> {
        let mut asked = false;
        for accept in headers.get_all(header::ACCEPT) {
            for range in accept.to_str().unwrap_or_default().split(',') {
                let mut pieces = range.split(';').map(str::trim);
                let media_type = pieces.next().unwrap_or_default().to_ascii_lowercase();
                asked |= !media_type.is_empty();
                if pieces.any(|piece| matches!(piece, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                    continue;
                }
                match media_type.as_str() {
                    "application/*" | "*/*" => return Ok(usual),
                    "application/json" => return Ok(Format::Json),
                    "application/x-ndjson" => return Ok(Format::NdJson),
                    "text/csv" | "text/*" => return Ok(Format::Csv),
                    _ => {}
                }
            }
        }
        if asked {
            let message = "lists are written as application/json, application/x-ndjson or text/csv";
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", message));
        }
        Ok(usual)
    }
}

/// A body that is written while it is made. An error breaks the answer off, so that nobody takes a part of it
/// for the whole.
pub(super) struct Stream {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
}

impl Stream {
    /// The end to write to, and the answer that it becomes. At most four pieces wait for a slow reader.
    pub fn answer(content_type: &'static str) -> (mpsc::Sender<io::Result<Bytes>>, Response) {
        let (sender, pieces) = mpsc::channel(4);
        (sender, ([(header::CONTENT_TYPE, content_type)], Body::new(Stream { pieces })).into_response())
    }
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// One JSON object a line.
pub(super) fn ndjson<T: Serialize>(values: &[T]) -> io::Result<Bytes> {
    let mut lines = Vec::new();
    for value in values {
        serde_json::to_writer(&mut lines, value)?;
        lines.push(b'\n');
    }
    Ok(lines.into())
}

/// One line of CSV (RFC 4180).
pub(super) fn csv_line(fields: &[&str]) -> String {
    let quoted = fields.iter().map(|field| {
        if field.contains([',', '"', '\r', '\n']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            (*field).to_owned()
        }
    });
    let mut line = quoted.collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_format_we_write_is_taken() {
        for (accept, want) in [
            (None, Some(Format::Json)),
            (Some("*/*"), Some(Format::Json)), // curl
            (Some("text/html, application/x-ndjson;q=0.9, */*"), Some(Format::NdJson)),
            (Some("text/csv;q=0, application/json"), Some(Format::Json)),
            (Some("text/csv; header=present"), Some(Format::Csv)),
            (Some("image/png"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().expect("a literal"));
            }
            assert_eq!(Format::wanted(&headers).ok(), want, "Accept: {accept:?}");
        }
    }

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        assert_eq!(csv_line(&["a", "b,c", "say \"no\"", ""]), "a,\"b,c\",\"say \"\"no\"\"\",\r\n");
    }

    #[test]
    fn a_query_names_what_is_wrong_with_it() {
        let read = |uri: &str| {
            let request = Request::builder().uri(uri).body(Body::empty()).expect("a literal");
            Parameters::read(&request, &["since", "limit"])
        };
        for (uri, want) in
            [("/?sinec=1", "`sinec`"), ("/?limit=1&limit=2", "`limit` is given twice"), ("/?limit=x", "`limit`: \"x\"")]
        {
            let limit = read(uri).and_then(|query| {
                query.parse("limit", |text| text.parse::<usize>().map_err(|_| "a number is wanted".to_owned()))
            });
            let refusal = limit.expect_err(uri);
            assert_eq!(refusal.status, StatusCode::UNPROCESSABLE_ENTITY, "{uri}");
            assert!(refusal.message.contains(want), "{uri}: {}", refusal.message);
        }
        assert_eq!(read("/?since=").expect("fine").get("since"), None);
        assert_eq!(read("/?since=%C3%A9+x").expect("fine").get("since"), Some("é x"));
        for uri in ["/?since=%ff", "/?since=%", "/?since=%4", "/?since=%zz", "/?since=%C3", "/?%ff=1"] {
            assert_eq!(read(uri).expect_err(uri).status, StatusCode::BAD_REQUEST, "{uri}");
        }
    }
}
