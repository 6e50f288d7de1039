//! TLS to the collector, from the files that the variables name.

use hyper_rustls::ConfigBuilderExt as _;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::variables::TraceSettings;

/// The certificates for connections to the collector.
#[derive(Debug)]
pub(super) struct Tls {
    /// The certificate authorities in PEM, instead of those of the system.
    authorities: Option<Vec<u8>>,
    /// The client certificate and its key in PEM.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    pub(super) fn read(settings: &TraceSettings) -> Result<Self, String> {
        let read = |path: &String| {
            std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))
        };
        let authorities = settings.certificate.as_ref().map(read).transpose()?;
        let identity = match &settings.identity {
            Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        Ok(Self { authorities, identity })
    }

    pub(super) fn for_grpc(self) -> ClientTlsConfig {
        let mut tls = ClientTlsConfig::new();
        tls = match self.authorities {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_enabled_roots(),
        };
        match self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
            None => tls,
        }
    }

    pub(super) fn for_http(&self) -> Result<ClientConfig, String> {
        let builder = match &self.authorities {
            None => {
                ClientConfig::builder().with_native_roots().map_err(|error| error.to_string())?
            }
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| error.to_string())?;
                    roots.add(certificate).map_err(|error| error.to_string())?;
                }
                ClientConfig::builder().with_root_certificates(roots)
            }
        };
        let Some((certificates, key)) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(certificates).collect();
        let certificates = certificates.map_err(|error| error.to_string())?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| error.to_string())?;
        builder.with_client_auth_cert(certificates, key).map_err(|error| error.to_string())
    }
}
