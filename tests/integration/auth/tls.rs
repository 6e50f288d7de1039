//! TLS certificates, and the forwarded headers of proxies.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore::store::memory::Memory;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::issuer::{ISSUER, SERVICE, Signer, jwks};
use super::{Guarded, challenge, noticed, replace, settings};
use crate::support::App;

pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a pair");
    Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

pub(crate) async fn connect(
    address: SocketAddr,
    trusted: &Pair,
    protocol: &[u8],
) -> Result<TlsStream<TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(trusted.certificate.as_bytes());
    roots.add(certificate.expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| error.to_string())
}

fn request(address: SocketAddr) -> http::Request<Empty<Bytes>> {
    let uri = format!("https://{address}/v2/");
    http::Request::get(uri).header("host", "localhost").body(Empty::new()).expect("a request")
}

#[tokio::test]
async fn a_new_certificate_is_loaded_and_open_connections_stay() {
    let (first, second) = (pair(), pair());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    replace(&certificate, &first.certificate);
    replace(&key, &first.key);
    let text =
        "server.tls = { certificate_file = '{folder}/tls.crt', key_file = '{folder}/tls.key' }";
    let settings = settings(folder.path(), text);
    let app = Guarded { app: App::over_memory(Arc::new(Memory::new()), settings).await, folder };
    let address = app.address.expect("an address");

    let stream = connect(address, &first, b"http/1.1").await.expect("HTTP/1.1");
    let (mut old, driver) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    let drivers = tokio_util::task::TaskTracker::new();
    drivers.spawn(driver);
    assert_eq!(old.send_request(request(address)).await.expect("an answer").status(), 200);

    let stream = connect(address, &first, b"h2").await.expect("HTTP/2");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut h2, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a connection");
    drivers.spawn(driver);
    assert_eq!(h2.send_request(request(address)).await.expect("an answer").status(), 200);

    // Only half of the pair: the new certificate without its key.
    replace(&certificate, &second.certificate);
    noticed().await;
    connect(address, &first, b"http/1.1").await.expect("the pair before");
    replace(&key, &second.key);
    noticed().await;
    connect(address, &second, b"http/1.1").await.expect("the new pair");
    connect(address, &first, b"http/1.1").await.expect_err("the old pair is gone");
    for _ in 0..2 {
        old.ready().await.expect("still open");
        assert_eq!(old.send_request(request(address)).await.expect("an answer").status(), 200);
        assert_eq!(h2.send_request(request(address)).await.expect("an answer").status(), 200);
    }
    // Plain HTTP is refused.
    app.get("/v2/").try_send().await.expect_err("no answer without TLS");
}

/// A relative realm is resolved against the host of the request, as forwarded by a trusted proxy.
#[tokio::test]
async fn a_relative_realm_uses_the_host_of_the_request() {
    let signer = Signer::new(jsonwebtoken::Algorithm::ES256, "a");
    for (trusted, scheme) in [("192.0.2.0/24", "http"), ("127.0.0.1", "https")] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        replace(&folder.path().join("keys"), &jwks(&[&signer]));
        let text = format!(
            "server.trusted_proxies = ['{trusted}']\n[access.token]\nrealm = '/auth/token'\n\
             service = '{SERVICE}'\nissuer = '{ISSUER}'\nkeys_file = '{{folder}}/keys'"
        );
        let settings = settings(folder.path(), &text);
        let app = App::over_memory(Arc::new(Memory::new()), settings).await;
        let request = app.get("/v2/").header("host", "registry.test:5000");
        let shown = challenge(&request.header("x-forwarded-proto", "https").send().await);
        let realm = format!("Bearer realm=\"{scheme}://registry.test:5000/auth/token\",");
        assert!(shown.starts_with(&realm), "{shown}");
        let request = app.get("/v2/").header("host", "evil\"x");
        if let Ok(reply) = request.try_send().await {
            assert!(!challenge(&reply).contains("evil"), "{reply:?}");
        }
    }
}
