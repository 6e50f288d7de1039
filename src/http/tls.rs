//! The certificate that the registry shows, read again when it changes.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::settings::TlsSettings;
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

/// TLS with HTTP/2 where the client supports it; nothing without certificate and key. The files
/// have to be valid now; if they are not after a change, the previous pair stays in use.
pub fn acceptor(settings: &TlsSettings, metrics: &Metrics) -> Result<Option<TlsAcceptor>, String> {
    let TlsSettings { certificate_file, key_file } = settings.clone();
    let (Some(certificate_file), Some(key_file)) = (certificate_file, key_file) else {
        return Ok(None);
    };
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
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificate(watched)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
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
