//! The certificate that the registry shows, and the authorities of those that its clients show.
//! Each file is read again when it changes.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::Socket;
use super::settings::{ClientCertificates, TlsSettings};
use crate::auth::{CertificateName, ClientCertificate, NoCaller};
use crate::reloaded_file::ReloadedFile;
use crate::telemetry::metrics::{Metrics, ReloadedFileKind};

/// Asked for at every handshake, so a connection keeps the certificate that it began with.
#[derive(Debug)]
struct Certificate(ReloadedFile<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current())
    }
}

/// TLS, with HTTP/2 where the client supports it.
#[derive(Debug)]
pub struct Tls(Clients);

/// What the registry asks its clients for.
#[derive(Debug)]
enum Clients {
    Anyone(Arc<ServerConfig>),
    /// Those with a certificate of these authorities. A new version of the file is a new
    /// configuration, which has no sessions yet: a client that resumes a session of TLS does not
    /// show its certificate again.
    Known {
        config: ReloadedFile<ServerConfig>,
        need: ClientCertificates,
        name: CertificateName,
    },
}

impl Tls {
    /// Nothing without certificate and key. The files have to be valid now; if they are not after a
    /// change, the previous ones stay in use. A bad list of authorities does not keep a new
    /// certificate of the registry from being used.
    pub fn open(settings: &TlsSettings, metrics: &Metrics) -> Result<Option<Self>, String> {
        let Some(certificate) = certificate(settings, metrics)? else { return Ok(None) };
        let certificate = Arc::new(certificate);
        let Some(authorities) = settings.client_ca_file.clone() else {
            let config = config(WebPkiClientVerifier::no_client_auth(), certificate)?;
            return Ok(Some(Self(Clients::Anyone(Arc::new(config)))));
        };
        let need = settings.client_certificates;
        let shown = authorities.display().to_string();
        let files = [Some(authorities), settings.client_crl_file.clone()];
        let files = files.into_iter().flatten().collect();
        let kind = ReloadedFileKind::ClientAuthorities;
        let config = ReloadedFile::open(files, kind, metrics, move |contents| {
            let verifier = verifier(&contents[0], contents.get(1).map(Vec::as_slice), need);
            let verifier = verifier.map_err(|error| format!("{shown}: {error}"))?;
            config(verifier, certificate.clone())
        })?;
        Ok(Some(Self(Clients::Known { config, need, name: settings.client_name })))
    }

    /// What the certificate of a client says, if a handshake at this time would accept it.
    pub fn client_of(
        settings: &TlsSettings,
        pem: &[u8],
        now: SystemTime,
    ) -> Result<ClientCertificate, NoCaller> {
        let Some(authorities) = &settings.client_ca_file else {
            return Err(NoCaller::Unknown("server.tls.client_ca_file is not set".to_owned()));
        };
        let read = |path: &Path| {
            let unreadable = |error| NoCaller::Unknown(format!("{}: {error}", path.display()));
            std::fs::read(path).map_err(unreadable)
        };
        let revoked = settings.client_crl_file.as_deref().map(read).transpose()?;
        let verifier =
            verifier(&read(authorities)?, revoked.as_deref(), ClientCertificates::Required)
                .map_err(|error| {
                    NoCaller::Unknown(format!("{}: {error}", authorities.display()))
                })?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let chain = chain.map_err(|error| NoCaller::Unknown(format!("it is not PEM: {error}")))?;
        let Some((shown, between)) = chain.split_first() else {
            return Err(NoCaller::Unknown("there is no certificate in the file".to_owned()));
        };
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        verifier
            .verify_client_cert(shown, between, UnixTime::since_unix_epoch(since))
            .map_err(|error| NoCaller::Refused(error.to_string()))?;
        ClientCertificate::read(shown, settings.client_name)
            .map_err(|why| NoCaller::Refused(why.to_owned()))
    }

    /// The handshake, and what the certificate of the client says, if it has one that counts.
    pub(super) async fn accept(
        &self,
        stream: Socket,
        peer: IpAddr,
    ) -> io::Result<(TlsStream<Socket>, Option<Arc<ClientCertificate>>)> {
        let config = match &self.0 {
            Clients::Anyone(config) => config.clone(),
            Clients::Known { config, .. } => config.current(),
        };
        let accepted = TlsAcceptor::from(config).accept(stream).await;
        let accepted = accepted.and_then(|stream| Ok((self.client(&stream)?, stream)));
        if let Err(error) = &accepted
            && blames_certificate(error)
        {
            tracing::info!(%peer, %error, "client certificate refused");
        }
        accepted.map(|(client, stream)| (stream, client.map(Arc::new)))
    }

    fn client(&self, stream: &TlsStream<Socket>) -> io::Result<Option<ClientCertificate>> {
        let Clients::Known { need, name, .. } = &self.0 else { return Ok(None) };
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(shown) = shown else { return Ok(None) };
        match (ClientCertificate::read(shown, *name), need) {
            (Ok(certificate), _) => Ok(Some(certificate)),
            (Err(_), ClientCertificates::Optional) => Ok(None),
            (Err(reason), ClientCertificates::Required) => {
                Err(io::Error::other(rustls::Error::General(reason.to_owned())))
            }
        }
    }
}

/// Whether a handshake has failed because of the certificate of the client, which an operator wants
/// to know, and not because something that speaks no TLS has called.
fn blames_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(
        error,
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidCertRevocationList(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::General(_)
        )
    )
}

fn certificate(settings: &TlsSettings, metrics: &Metrics) -> Result<Option<Certificate>, String> {
    let files = (settings.certificate_file.clone(), settings.key_file.clone());
    let (Some(certificate_file), Some(key_file)) = files else { return Ok(None) };
    let shown = format!("{} and {}", certificate_file.display(), key_file.display());
    let files = vec![certificate_file, key_file];
    let told = metrics.clone();
    let watched =
        ReloadedFile::open(files, ReloadedFileKind::Certificate, metrics, move |contents| {
            let pair =
                pair(&contents[0], &contents[1]).map_err(|error| format!("{shown}: {error}"))?;
            if let Some(not_after) = not_after(&pair) {
                told.tls_not_after.set((), not_after);
            }
            Ok(pair)
        })?;
    Ok(Some(Certificate(watched)))
}

fn config(
    clients: Arc<dyn ClientCertVerifier>,
    certificate: Arc<Certificate>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// What verifies the certificates of clients: their signatures, their validity, that they are for
/// clients, and with lists that each authority has one and has not revoked them.
fn verifier(
    authorities: &[u8],
    revoked: Option<&[u8]>,
    need: ClientCertificates,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let authority = authority.map_err(|error| format!("it is not PEM: {error}"))?;
        roots.add(authority).map_err(|error| format!("a certificate is unusable: {error}"))?;
    }
    if roots.is_empty() {
        return Err("there is no certificate".to_owned());
    }
    let lists: Vec<CertificateRevocationListDer<'static>> =
        CertificateRevocationListDer::pem_slice_iter(revoked.unwrap_or_default())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the revocation lists are not PEM: {error}"))?;
    if revoked.is_some() && lists.is_empty() {
        return Err("there is no revocation list in server.tls.client_crl_file".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).with_crls(lists);
    if need == ClientCertificates::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    verifier.build().map_err(|error| error.to_string())
}

/// When a certificate ends, in seconds since 1970. Nothing if it cannot be read: rustls has looked
/// at it and takes it, so that is no reason to refuse it.
fn not_after(pair: &CertifiedKey) -> Option<i64> {
    let (_, certificate) =
        x509_parser::parse_x509_certificate(pair.end_entity_cert().ok()?).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn pair(certificates: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the certificate is not PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("there is no certificate".to_owned());
    }
    // The error says what kind of thing was not found, never what was there.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "there is no private key in PEM")?;
    let key = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| "the private key is of no kind that is known")?;
    let pair = CertifiedKey::new(certificates, key);
    // While a pair is replaced, there is a moment with one file of each.
    pair.keys_match().map_err(|_| "the key does not belong to the certificate")?;
    Ok(pair)
}
