//! Tells a server: one POST on a connection of its own (RFC 9110), over TLS where the URL says https.
//!
//! An answer of the class 2xx takes the notice. Redirects are not followed, no proxy is used, and of an answer no more
//! is read than the log takes. Who signs for a server is known from the system's root certificates.

use super::Notice;
use super::settings::{Secret, Url};
use super::worker::{SAID_BYTES, Trouble};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Octets of the header of an answer.
const HEADER_BYTES: usize = 16 << 10;
/// The root certificates are read anew when they are so old: the system's package of them is updated now and then.
const ROOTS_AGE: Duration = Duration::from_secs(86_400);

/// Posts a notice. The caller bounds the time.
///
/// # Errors
/// What the server answered, or why it could not be asked.
pub(super) async fn post(url: &Url, secret: Option<&Secret>, notice: &Notice, body: Vec<u8>) -> Result<(), Trouble> {
    let request = request(url, secret, notice, body, Timestamp::now())?;
    let stream = TcpStream::connect((url.host.as_str(), url.port));
    let stream = stream.await.map_err(|error| Trouble::new(format!("{}: {error}", url.authority)))?;
    if !url.tls {
        return exchange(stream, request).await;
    }
    over_tls(trusted().await?, url, stream, request).await
}

async fn over_tls(
    config: Arc<ClientConfig>,
    url: &Url,
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<(), Trouble> {
    let name = ServerName::try_from(url.host.clone());
    let name = name.map_err(|_| Trouble::new(format!("{} is no name that a certificate could have", url.host)))?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    exchange(stream.map_err(|error| Trouble::new(format!("{}: TLS: {error}", url.authority)))?, request).await
}

fn request(
    url: &Url,
    secret: Option<&Secret>,
    notice: &Notice,
    body: Vec<u8>,
    now: Timestamp,
) -> Result<Request<Full<Bytes>>, Trouble> {
    let mut request = Request::post(&url.path)
        .header(header::HOST, &url.authority)
        .header(header::USER_AGENT, concat!("backstopd/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("Backstop-Event", &notice.id)
        .header("Backstop-Type", notice.occasion.as_str());
    if let Some(secret) = secret {
        request = request.header("Backstop-Signature", secret.signature(now.as_second(), &body));
    }
    request.body(Full::new(Bytes::from(body))).map_err(|error| Trouble::new(error.to_string()))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broke_off = |error: hyper::Error| Trouble::new(format!("the connection broke off: {error}"));
    let mut client = http1::Builder::new();
    client.max_buf_size(HEADER_BYTES);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
    // Ends with this function, whatever the server still has to say.
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let answer = sender.send_request(request).await.map_err(broke_off)?;
    if answer.status().is_success() { Ok(()) } else { Err(refusal(answer).await) }
}

/// What an answer that is no success says.
async fn refusal(answer: Response<Incoming>) -> Trouble {
    let status = answer.status();
    let retry_after = answer.headers().get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
    let mut words = Vec::new();
    let mut body = answer.into_body();
    while words.len() < SAID_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        words.extend(frame.into_data().unwrap_or_default());
    }
    words.truncate(SAID_BYTES);
    let words = String::from_utf8_lossy(&words);
    let words = words.trim();
    let problem = if words.is_empty() { format!("answered {status}") } else { format!("answered {status}: {words}") };
    Trouble { problem, gone: status == StatusCode::GONE, retry_after }
}

type Trusted = (std::time::Instant, Arc<ClientConfig>);

/// TLS as the system's root certificates have it; shared by all hooks.
async fn trusted() -> Result<Arc<ClientConfig>, Trouble> {
    static TRUSTED: Mutex<Option<Trusted>> = Mutex::new(None);
    let known = super::locked(&TRUSTED)
        .as_ref()
        .filter(|(since, _)| since.elapsed() < ROOTS_AGE)
        .map(|(_, config)| config.clone());
    if let Some(known) = known {
        return Ok(known);
    }
    let config = tokio::task::spawn_blocking(read_roots).await.map_err(|error| Trouble::new(error.to_string()))??;
    let config = Arc::new(config);
    *super::locked(&TRUSTED) = Some((std::time::Instant::now(), config.clone()));
    Ok(config)
}

fn read_roots() -> Result<ClientConfig, Trouble> {
    let found = rustls_native_certs::load_native_certs();
    trusting(found.certs).map_err(|trouble| match found.errors.first() {
        Some(error) => Trouble::new(format!("{}: {error}", trouble.problem)),
        None => trouble,
    })
}

fn trusting(authorities: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Trouble> {
    let mut roots = RootCertStore::empty();
    // Of the many there may be some that cannot be read; without any nobody can be trusted.
    let (usable, _) = roots.add_parsable_certificates(authorities);
    if usable == 0 {
        return Err(Trouble::new("TLS: the system has no root certificates (package ca-certificates)"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::new(format!("TLS: {error}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests;
