//! Client certificates: which are refused in the handshake, and what their names may do.

mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use longshore::store::memory::Memory;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::{Pair, pair};
use super::{Guarded, basic_header, noticed, password, replace, settings, write_users};
use crate::support::App;

const SPIFFE: &str = "spiffe://example.org/ns/ci/sa/runner";

/// Who issues certificates.
pub(super) struct Authority(pub(super) CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, as a client has them.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    pub(super) key: Vec<u8>,
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(authority(name), key).expect("an authority"))
    }

    /// A certificate with the common name `ci`, after `change`.
    pub(super) fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "ci");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.0).expect("a certificate");
        Identity { chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }
}

impl Identity {
    pub(super) fn pem(&self) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&self.chain[0]);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

/// A registry with TLS that knows the clients of one authority.
struct Registry {
    guarded: Guarded,
    shown: Pair,
}

const RULES: &str = "[[access.rules]]\nsubject = ['certificate:ci', 'certificate:*.example.com', \
                     'certificate:spiffe://example.org/ns/*/sa/runner']\n\
                     repositories = ['ci/**']\nactions = ['pull']";

/// `tls`: more settings of `server.tls`; `text`: more settings.
async fn registry(authority: &Authority, tls: &str, text: &str) -> Registry {
    let (shown, folder) = (pair(), tempfile::tempdir().expect("a temporary folder"));
    for (name, content) in [
        ("tls.crt", &shown.certificate),
        ("tls.key", &shown.key),
        ("clients.crt", &authority.0.pem()),
    ] {
        replace(&folder.path().join(name), content);
    }
    write_users(&folder.path().join("users"), &[("alice", password("alice"))]);
    let text = format!(
        "{text}\n[server.tls]\ncertificate_file = '{{folder}}/tls.crt'\n\
         key_file = '{{folder}}/tls.key'\nclient_ca_file = '{{folder}}/clients.crt'\n{tls}\n\
         {RULES}"
    );
    let settings = settings(folder.path(), &text);
    let app = App::over_memory(Arc::new(Memory::new()), settings).await;
    Registry { guarded: Guarded { app, folder }, shown }
}

/// What a client of the registry begins with. Connections that share it resume sessions.
fn client(registry: &Registry, identity: Option<&Identity>, protocol: &str) -> Arc<ClientConfig> {
    client_of(&registry.shown, identity, protocol)
}

/// The same for a registry that shows this certificate.
pub(super) fn client_of(
    shown: &Pair,
    identity: Option<&Identity>,
    protocol: &str,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let shown = CertificateDer::from_pem_slice(shown.certificate.as_bytes());
    roots.add(shown.expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(Identity { chain, key }) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
            config.with_client_auth_cert(chain.clone(), key).expect("a pair")
        }
    };
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

/// Connects over TLS to a registry on this machine.
pub(super) async fn connect(
    address: SocketAddr,
    client: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("localhost").expect("a name");
    let connected = TlsConnector::from(client.clone()).connect(name, stream).await;
    connected.map_err(|error| error.to_string())
}

impl Registry {
    async fn connect(&self, client: &Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, String> {
        connect(self.guarded.address.expect("an address"), client).await
    }

    /// The status of a list of tags over a new connection. A client learns only with the first
    /// answer that its certificate was refused.
    async fn ask(
        &self,
        client: &Arc<ClientConfig>,
        repository: &str,
        headers: &[(&str, &str)],
    ) -> Result<u16, String> {
        let answer = self.send(client, request(repository, headers)).await?;
        Ok(answer.status().as_u16())
    }

    async fn send(
        &self,
        client: &Arc<ClientConfig>,
        request: http::Request<Empty<Bytes>>,
    ) -> Result<http::Response<Incoming>, String> {
        let stream = TokioIo::new(self.connect(client).await?);
        let tasks = tokio_util::task::TaskTracker::new();
        let answer = if client.alpn_protocols[0] == b"h2" {
            let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
            let (mut sender, driver) = shaken.map_err(|error| error.to_string())?;
            tasks.spawn(driver);
            sender.send_request(request).await
        } else {
            let shaken = hyper::client::conn::http1::handshake(stream).await;
            let (mut sender, driver) = shaken.map_err(|error| error.to_string())?;
            tasks.spawn(driver);
            sender.send_request(request).await
        };
        answer.map_err(|error| error.to_string())
    }

    /// The same with a certificate.
    async fn ask_as(&self, identity: &Identity, repository: &str) -> Result<u16, String> {
        self.ask(&client(self, Some(identity), "http/1.1"), repository, &[]).await
    }

    fn write(&self, name: &str, content: &str) {
        replace(&self.guarded.folder.path().join(name), content);
    }

    /// The counter of these decisions about certificates.
    #[track_caller]
    fn counted(&self, reason: &str, result: &str, count: u32) {
        let labels = format!("method=\"certificate\",reason=\"{reason}\",result=\"{result}\"");
        let line = format!("longshore_auth_total{{{labels}}} {count}");
        let text = self.guarded.metrics.exposition();
        assert!(text.lines().any(|one| one == line), "no {line}");
    }
}

fn request(repository: &str, headers: &[(&str, &str)]) -> http::Request<Empty<Bytes>> {
    let uri = format!("https://localhost/v2/{repository}/tags/list");
    let mut request = http::Request::get(uri).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Empty::new()).expect("a request")
}

#[tokio::test]
async fn the_name_in_the_certificate_is_the_caller() {
    let ours = Authority::new("ours");
    // A certificate whose names fit the rules where they are of a kind that `fits`.
    let named = |fits: &dyn Fn(&str) -> bool| {
        ours.issue(|parameters| {
            let name = |kind, right, wrong| if fits(kind) { right } else { wrong };
            let common = name("common_name", "ci", "cx");
            parameters.distinguished_name.push(DnType::CommonName, common);
            let dns = name("dns", "ci.example.com", "ci.example.org");
            let email = name("email", "ci@mail.example.com", "ci@mail.example.org");
            parameters.subject_alt_names = vec![
                SanType::DnsName(dns.try_into().expect("ASCII")),
                SanType::Rfc822Name(email.try_into().expect("ASCII")),
                uri(name("uri", SPIFFE, "spiffe://example.com/ns/ci/sa/runner")),
            ];
        })
    };
    for kind in ["common_name", "dns", "email", "uri"] {
        let (identity, stranger) = (named(&|one| one == kind), named(&|one| one != kind));
        let registry = registry(&ours, &format!("client_name = '{kind}'"), "").await;
        for protocol in ["http/1.1", "h2"] {
            let known = client(&registry, Some(&identity), protocol);
            assert_eq!(registry.ask(&known, "ci/app", &[]).await, Ok(404), "{kind} {protocol}");
            assert_eq!(registry.ask(&known, "other/app", &[]).await, Ok(403), "{kind}");
            let other = client(&registry, Some(&stranger), protocol);
            assert_eq!(registry.ask(&other, "ci/app", &[]).await, Ok(403), "{kind} {protocol}");
        }
        registry.counted("none", "allowed", 2);
        registry.counted("no_rule", "forbidden", 4);
    }
}

#[tokio::test]
async fn a_certificate_is_optional_or_required() {
    let ours = Authority::new("ours");
    let (known, unnamed) = (
        ours.issue(|parameters| parameters.subject_alt_names = vec![uri(SPIFFE)]),
        ours.issue(|parameters| {
            parameters.subject_alt_names = vec![uri(SPIFFE), uri("spiffe://example.org/b")];
        }),
    );
    let users = "access.htpasswd_file = '{folder}/users'\n\
                 [[access.rules]]\nsubject = ['user:alice']\nrepositories = ['alice/*']\n\
                 actions = ['pull']";
    let alice = basic_header("alice", &password("alice"));
    let alice = &[("authorization", alice.as_str())];
    let optional = registry(&ours, "client_name = 'uri'", users).await;
    for (identity, repository, headers, status) in [
        (None, "ci/app", &[][..], 401),
        (None, "alice/app", alice, 404),
        (Some(&unnamed), "ci/app", &[], 401),
        (Some(&unnamed), "alice/app", alice, 404),
        (Some(&known), "ci/app", &[], 404),
        // A client with a password sends it when it is challenged.
        (Some(&known), "alice/app", &[], 401),
        (Some(&known), "alice/app", alice, 404),
    ] {
        let client = client(&optional, identity, "http/1.1");
        let answer = optional.ask(&client, repository, headers).await;
        assert_eq!(answer, Ok(status), "{repository} {headers:?}");
    }
    let text = "client_name = 'uri'\nclient_certificates = 'required'";
    let required = registry(&ours, text, users).await;
    for (identity, status) in [(None, None), (Some(&unnamed), None), (Some(&known), Some(404))] {
        for protocol in ["http/1.1", "h2"] {
            let client = client(&required, identity, protocol);
            let answer = required.ask(&client, "ci/app", &[]).await;
            assert_eq!(answer.ok(), status, "{protocol}");
        }
    }
}

#[tokio::test]
async fn certificates_that_are_not_valid_are_refused_in_the_handshake() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("ours"));
    let now = OffsetDateTime::now_utc();
    let (hour, key) = (Duration::from_secs(3600), KeyPair::generate().expect("a key"));
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, "ci");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    let self_signed = Identity { chain: vec![certificate.der().clone()], key: key.serialize_der() };
    let refused = [
        ("expired", ours.issue(|parameters| parameters.not_after = now - hour)),
        ("not valid yet", ours.issue(|parameters| parameters.not_before = now + hour)),
        ("of another authority of this name", foreign.issue(|_| {})),
        ("self-signed", self_signed),
        (
            "for servers",
            ours.issue(|parameters| {
                parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
    ];
    for need in ["optional", "required"] {
        let text = format!("client_certificates = '{need}'");
        let registry = registry(&ours, &text, "access.anonymous = 'pull'").await;
        for (what, identity) in &refused {
            registry.ask_as(identity, "ci/app").await.expect_err(what);
        }
        assert_eq!(registry.ask_as(&ours.issue(|_| {}), "ci/app").await, Ok(404));
        // A certificate between the authority and that of the client comes with it.
        let between = KeyPair::generate().expect("a key");
        let between = CertifiedIssuer::signed_by(authority("between"), between, &ours.0);
        let between = Authority(between.expect("an authority"));
        let mut identity = between.issue(|_| {});
        registry.ask_as(&identity, "ci/app").await.expect_err("nothing vouches for it");
        identity.chain.push(between.0.der().clone());
        assert_eq!(registry.ask_as(&identity, "ci/app").await, Ok(404));
    }
}

#[tokio::test]
async fn new_authorities_count_for_new_connections() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let registry = registry(&first, "client_certificates = 'required'", "").await;
    let (old, new) = (first.issue(|_| {}), second.issue(|_| {}));
    let (old, new) =
        (client(&registry, Some(&old), "http/1.1"), client(&registry, Some(&new), "http/1.1"));
    let stream = registry.connect(&old).await.expect("a connection");
    let (mut open, driver) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    let drivers = tokio_util::task::TaskTracker::new();
    drivers.spawn(driver);
    for _ in 0..2 {
        let answer = open.send_request(request("ci/app", &[])).await.expect("an answer");
        assert_eq!(answer.status(), 404);
        answer.into_body().collect().await.expect("a body");
        open.ready().await.expect("still open");
    }
    // A client that resumes its session does not show its certificate again.
    assert_eq!(registry.ask(&old, "ci/app", &[]).await, Ok(404));
    let resumed = registry.connect(&old).await.expect("a connection");
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    registry.ask(&new, "ci/app", &[]).await.expect_err("it is not known yet");

    registry.write("clients.crt", "rubbish");
    noticed().await;
    assert_eq!(registry.ask(&old, "ci/app", &[]).await, Ok(404), "the file before");
    registry.write("clients.crt", &second.0.pem());
    noticed().await;
    assert_eq!(registry.ask(&new, "ci/app", &[]).await, Ok(404));
    registry.ask(&old, "ci/app", &[]).await.expect_err("also with a session to resume");
    let answer = open.send_request(request("ci/app", &[])).await.expect("an answer");
    assert_eq!(answer.status(), 404, "an open connection stays");
    let both = format!("{}{}", first.0.pem(), second.0.pem());
    registry.write("clients.crt", &both);
    noticed().await;
    for client in [&old, &new] {
        assert_eq!(registry.ask(client, "ci/app", &[]).await, Ok(404));
    }
}

#[tokio::test]
async fn revoked_certificates_are_refused() {
    let ours = Authority::new("ours");
    let numbered = |number: u64| {
        ours.issue(|parameters| parameters.serial_number = Some(SerialNumber::from(number)))
    };
    let (one, two) = (numbered(1), numbered(2));
    let now = OffsetDateTime::now_utc();
    let list = |numbers: &[u64]| {
        let revoked = |number: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::from_secs(3600),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: numbers.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&ours.0).expect("a list").pem().expect("PEM")
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("clients.crl");
    replace(&path, &list(&[2]));
    let tls = format!("client_crl_file = '{}'", path.display());
    let registry = registry(&ours, &tls, "").await;
    assert_eq!(registry.ask_as(&one, "ci/app").await, Ok(404));
    registry.ask_as(&two, "ci/app").await.expect_err("it is revoked");
    replace(&path, &list(&[1, 2]));
    noticed().await;
    registry.ask_as(&one, "ci/app").await.expect_err("it is revoked now");
}

#[tokio::test]
async fn no_header_is_a_certificate() {
    let ours = Authority::new("ours");
    // Not even one of a trusted proxy.
    let registry = registry(&ours, "", "server.trusted_proxies = ['127.0.0.1']").await;
    let nameless = client(&registry, None, "http/1.1");
    let known = client(&registry, Some(&ours.issue(|_| {})), "http/1.1");
    for name in ["x-forwarded-client-cert", "x-ssl-client-s-dn", "ssl-client-cert", "client-cert"] {
        for value in ["ci", "CN=ci", "Subject=\"CN=ci\";URI=spiffe://example.org/ns/ci/sa/runner"] {
            let headers = &[(name, value)];
            assert_eq!(registry.ask(&nameless, "ci/app", headers).await, Ok(401), "{name}");
            assert_eq!(registry.ask(&known, "ci/app", headers).await, Ok(404), "{name}");
        }
    }
}

#[tokio::test]
async fn an_authorization_header_wins_over_the_certificate() {
    let ours = Authority::new("ours");
    let users = "access.htpasswd_file = '{folder}/users'";
    let registry = registry(&ours, "", users).await;
    let client = client(&registry, Some(&ours.issue(|_| {})), "http/1.1");
    for (value, status) in [
        (basic_header("alice", &password("alice")), 403),
        (basic_header("alice", "wrong"), 401),
        (basic_header("ci", ""), 401),
        ("Bearer a.b.c".to_owned(), 401),
        ("rubbish".to_owned(), 401),
        // Clients without a password send this.
        (basic_header("", ""), 404),
    ] {
        let headers = &[("authorization", value.as_str())];
        assert_eq!(registry.ask(&client, "ci/app", headers).await, Ok(status), "{value}");
    }
    assert_eq!(registry.ask(&client, "ci/app", &[]).await, Ok(404));
}

/// The certificate expires while its connections are open.
#[tokio::test]
async fn connections_do_not_outlive_their_certificate() {
    let ours = Authority::new("ours");
    let registry = registry(&ours, "", "access.anonymous = 'pull'").await;
    let end = OffsetDateTime::now_utc() + Duration::from_secs(3);
    let identity = ours.issue(|parameters| parameters.not_after = end);
    let of = |protocol| client(&registry, Some(&identity), protocol);

    let stream = registry.connect(&of("h2")).await.expect("HTTP/2");
    let (mut h2, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a connection");
    let drivers = tokio_util::task::TaskTracker::new();
    drivers.spawn(driver);
    let answer = h2.send_request(request("ci/app", &[])).await.expect("an answer");
    assert_eq!(answer.status(), 404);
    let mut idle = registry.connect(&of("http/1.1")).await.expect("HTTP/1.1");
    let head = b"GET /v2/ci/app/tags/list HTTP/1.1\r\nhost: localhost\r\n";
    idle.write_all(&[&head[..], b"\r\n"].concat()).await.expect("a request");
    let mut late = registry.connect(&of("http/1.1")).await.expect("HTTP/1.1");
    late.write_all(head).await.expect("the beginning of a request");
    late.flush().await.expect("the beginning of a request");

    tokio::time::sleep(Duration::from_millis(4500)).await;
    // Clients that come again with a new certificate see a connection that was closed in between.
    h2.send_request(request("ci/app", &[])).await.expect_err("it has ended");
    let mut answer = Vec::new();
    idle.read_to_end(&mut answer).await.expect("closed in order");
    assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
    // What began before is refused, although everyone may pull.
    late.write_all(b"\r\n").await.expect("the end of the request");
    let mut answer = Vec::new();
    late.read_to_end(&mut answer).await.expect("closed in order");
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    registry.counted("certificate_expired", "forbidden", 1);
    registry.ask_as(&identity, "ci/app").await.expect_err("it has expired");
}
