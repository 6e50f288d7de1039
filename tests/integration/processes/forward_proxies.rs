//! The proxies of the environment: the bucket and the trace collector are asked through them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::support::forward_proxy::ForwardProxy;
use crate::support::process::{Ended, Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, ScriptedS3};
use crate::support::sha256;

/// A host that no name server knows.
const HOST: &str = "s3.example.invalid";
const PLAIN: &str = "http://s3.example.invalid:9000";
const TLS: &str = "https://s3.example.invalid";
/// `user:hunter2`.
const LOGIN: &str = "Basic dXNlcjpodW50ZXIy";

/// The variables of a bucket at this address, and more of them.
fn variables<'a>(endpoint: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let all = [("LONGSHORE_STORE_S3_ATTEMPTS_MAX", "2"), ("LONGSHORE_STORE_S3_PATH_STYLE", "true")];
    [&s3_variables(endpoint)[..], &all, more].concat()
}

fn check(endpoint: &str, more: &[(&str, &str)]) -> Ended {
    run(&["check", "--store", BUCKET_URL], &variables(endpoint, more))
}

/// TLS before a server on this machine. Returns its port, and leaves its certificate in a file.
async fn tls_before(port: u16, certificate_file: &Path) -> u16 {
    let made = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).expect("a pair");
    std::fs::write(certificate_file, made.cert.pem()).expect("written");
    let certificate = CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.expect("PEM"))
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let listening = listener.local_addr().expect("an address").port();
    let tasks = TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tasks.spawn(async move {
                let Ok(mut client) = acceptor.accept(socket).await else { return };
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.expect("a server");
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    listening
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_asked_for_the_whole_address_of_a_plain_bucket() {
    let s3 = ScriptedS3::start().await;
    let proxy = ForwardProxy::start(s3.port(), 1, Some(LOGIN)).await;
    let url = format!("http://user:hunter2@{}", proxy.address());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        let before = proxy.asked().len();
        let ended = check(PLAIN, &[(name, &url), ("HTTPS_PROXY", "http://127.0.0.1:1")]);
        assert!(ended.status.success(), "{name}: {ended:?}");
        let said = format!("(us-east-1) through the HTTP proxy http://{}: ", proxy.address());
        assert!(ended.stdout.contains(&said), "{}", ended.stdout);
        assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
        let asked = proxy.asked().split_off(before);
        assert!(asked.len() >= 41, "{}", asked.len());
        let whole = |line: &String| line.contains(" http://s3.example.invalid:9000/bucket");
        assert!(asked.iter().all(whole), "{asked:?}");
    }

    let process = Process::serve(BUCKET_URL, &variables(PLAIN, &[("HTTP_PROXY", &url)]));
    let content = vec![7; 200_000];
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(&content));
    process.client().request("POST", &path).body(content).send().await.expect(201);
    assert_eq!(s3.keys("v1/d/").len(), 1);
    let log = process.log();
    assert!(log.contains("through the HTTP proxy") && !log.contains("hunter2"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_opens_tunnels_to_a_bucket_with_tls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ca.pem");
    let s3 = ScriptedS3::start().await;
    let tls = tls_before(s3.port(), &file).await;
    let proxy = ForwardProxy::start(1, tls, Some(LOGIN)).await;
    let url = format!("user:hunter2@{}", proxy.address());
    let trusted = ("SSL_CERT_FILE", file.to_str().expect("text"));
    let ended = check(TLS, &[("HTTPS_PROXY", &url), trusted]);
    assert!(ended.status.success(), "{ended:?}");
    assert!(!proxy.asked().is_empty());
    let tunnel = |line: &String| line == "CONNECT s3.example.invalid:443";
    assert!(proxy.asked().iter().all(tunnel), "{:?}", proxy.asked());

    // The proxy of plain addresses is another one.
    let before = proxy.asked().len();
    let ended = check(TLS, &[("HTTP_PROXY", &url), trusted]);
    assert!(ended.stderr.contains("dns error"), "{ended:?}");
    assert_eq!(proxy.asked().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_are_asked_directly() {
    let s3 = ScriptedS3::start().await;
    let proxy = ForwardProxy::start(s3.port(), 1, None).await;
    let url = format!("http://{}", proxy.address());
    for no in ["example.invalid", "*", "10.0.0.0/8,.invalid"] {
        let ended = check(PLAIN, &[("HTTP_PROXY", &url), ("NO_PROXY", no)]);
        assert!(ended.stderr.contains("dns error"), "{no}: {ended:?}");
    }
    let ended = check(&s3.url(), &[("HTTP_PROXY", &url)]);
    assert!(ended.status.success() && !ended.stdout.contains("proxy"), "this machine: {ended:?}");
    assert_eq!(proxy.asked(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails_is_the_reason_in_the_error() {
    let s3 = ScriptedS3::start().await;
    let proxy = ForwardProxy::start(s3.port(), 1, Some(LOGIN)).await;
    let wrong = format!("http://user:wrong-password@{}", proxy.address());
    for (endpoint, url, reason) in [
        (PLAIN, "http://user:hunter2@127.0.0.1:1", "the HTTP proxy http://127.0.0.1:1 cannot be"),
        (TLS, "http://user:hunter2@127.0.0.1:1", "Connection refused"),
        (PLAIN, &wrong, "407 without an S3 error code; the HTTP proxy wants a login"),
        (TLS, &wrong, "proxy authorization required"),
        (PLAIN, "socks5://user:hunter2@p:1", "ALL_PROXY is not the address of an HTTP proxy"),
    ] {
        let ended = check(endpoint, &[("ALL_PROXY", url)]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{reason}: {}", ended.stderr);
        for secret in ["hunter2", "wrong-password"] {
            assert!(!format!("{ended:?}").contains(secret), "{ended:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_go_through_the_proxy() {
    let s3 = ScriptedS3::start().await;
    let proxy = ForwardProxy::start(s3.port(), 1, None).await;
    let url = format!("http://{}", proxy.address());
    let process = Process::serve(
        "memory",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example.invalid:4318"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("http_proxy", &url),
        ],
    );
    process.client().request("GET", "/v2/").send().await.expect(200);
    let began = Instant::now();
    let wanted = "POST http://collector.example.invalid:4318/v1/traces".to_owned();
    while !proxy.asked().contains(&wanted) {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?} {}", proxy.asked(), process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
