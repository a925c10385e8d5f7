use super::super::Occasion;
use super::*;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn notice() -> Notice {
    Notice::new("h", Occasion::Test, "test-1".to_owned(), Timestamp::UNIX_EPOCH)
}

/// Reads one request from a stream, answers with these octets, and gives the request.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &[u8]) -> String {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.ends_with(b"{}") {
        match stream.read(&mut piece).await {
            Ok(octets @ 1..) => request.extend_from_slice(&piece[..octets]),
            Ok(0) | Err(_) => break,
        }
    }
    // Fails when the client has read as much as it wants.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
    String::from_utf8(request).unwrap()
}

/// Posts to a server that answers so: what the server saw, and what came of it.
async fn posted(answer: &[u8], secret: Option<Secret>) -> (String, Result<(), Trouble>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/in?x=1", listener.local_addr().unwrap())).unwrap();
    let answer = answer.to_vec();
    let server = tokio::spawn(async move { serve(listener.accept().await.unwrap().0, &answer).await });
    let sent = post(&url, secret.as_ref(), &notice(), b"{}".to_vec()).await;
    (server.await.unwrap(), sent)
}

#[tokio::test]
async fn a_post_is_signed_and_names_its_event() {
    let secret = Secret::new(b"0123456789abcdef".to_vec());
    let (request, sent) = posted(b"HTTP/1.1 204 No Content\r\n\r\n", Some(secret.clone())).await;
    assert_eq!(sent, Ok(()));
    assert!(request.starts_with("POST /in?x=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{request}");
    let field = |name: &str| {
        let line =
            request.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} {request}"));
        line.to_owned()
    };
    assert_eq!(field("backstop-event: "), "test-1");
    assert_eq!(field("backstop-type: "), "test");
    let signature = field("backstop-signature: ");
    let at: i64 = signature.strip_prefix("t=").unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((Timestamp::now().as_second() - at).abs() < 60);
    assert_eq!(signature, secret.signature(at, b"{}"));
    let (request, _) = posted(b"HTTP/1.1 200 OK\r\n\r\n", None).await;
    assert!(!request.contains("backstop-signature"), "{request}");
}

#[tokio::test]
async fn every_answer_but_success_is_a_failure_in_its_own_words() {
    let long = format!("HTTP/1.1 500 Oops\r\n\r\n{}", "x".repeat(100_000));
    for (answer, want, gone, retry_after) in [
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: 120\r\n\r\nlater",
            "answered 503 Service Unavailable: later",
            false,
            Some(120),
        ),
        ("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", "answered 410 Gone", true, None),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "answered 302 Found", false, None),
        ("HTTP/1.1 400 Bad Request\r\nRetry-After: soon\r\n\r\n", "answered 400 Bad Request", false, None),
        ("SSH-2.0-OpenSSH_9\r\n", "the connection broke off", false, None),
        ("", "the connection broke off", false, None),
        (&long, "answered 500 Internal Server Error: xxx", false, None),
    ] {
        let (_, sent) = posted(answer.as_bytes(), None).await;
        let trouble = sent.expect_err(answer);
        assert!(trouble.problem.starts_with(want), "{answer:.40}: {}", trouble.problem);
        assert!(trouble.problem.len() < SAID_BYTES + 100);
        assert_eq!((trouble.gone, trouble.retry_after), (gone, retry_after.map(Duration::from_secs)), "{answer:.40}");
    }
    let header = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert!(posted(header.as_bytes(), None).await.1.is_err(), "a header without an end");
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let trouble = post(&url, None, &notice(), Vec::new()).await.unwrap_err();
    assert!(trouble.problem.starts_with(&format!("{address}: ")), "{}", trouble.problem);
}

#[tokio::test]
async fn tls_takes_only_a_certificate_that_the_system_trusts_for_that_name() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(keys.join("hook-server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(keys.join("hook-server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let authority: Vec<_> =
        CertificateDer::pem_file_iter(keys.join("hook-ca.pem")).unwrap().map(Result::unwrap).collect();
    let other: Vec<_> =
        CertificateDer::pem_file_iter(keys.join("hook-server.pem")).unwrap().map(Result::unwrap).collect();
    for (roots, host, want) in [
        (&authority, "localhost", Ok(())),
        (&authority, "example.org", Err("not valid for name")),
        (&other, "localhost", Err("TLS")),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = acceptor.clone();
        let server = tokio::spawn(async move {
            let stream = acceptor.accept(listener.accept().await.unwrap().0).await;
            serve(stream.ok()?, b"HTTP/1.1 200 OK\r\n\r\n").await.into()
        });
        let mut url = Url::parse(&format!("https://{address}/")).unwrap();
        url.host = host.to_owned();
        let config = Arc::new(trusting(roots.clone()).unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let request = request(&url, None, &notice(), b"{}".to_vec(), Timestamp::now()).unwrap();
        let sent = over_tls(config, &url, stream, request).await;
        let seen: Option<String> = server.await.unwrap();
        match want {
            Ok(()) => assert!(sent == Ok(()) && seen.is_some_and(|seen| seen.starts_with("POST / "))),
            Err(word) => {
                let problem = sent.expect_err("nobody to trust").problem;
                assert!(problem.contains(word) && seen.is_none(), "{problem}");
            }
        }
    }
}
