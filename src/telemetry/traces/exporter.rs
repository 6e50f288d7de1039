//! The exporter that the variables ask for.

use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{
    Protocol as OtlpProtocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};

use super::http::Sender;
use super::variables::{Asked, Protocol};

/// Whom TLS to the collector trusts, and who we are.
#[derive(Debug)]
pub(super) struct Trust {
    /// Certificates in PEM instead of those of the system.
    pub(super) authorities: Option<Vec<u8>>,
    /// Our certificate and its key in PEM.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Trust {
    fn read(asked: &Asked) -> Result<Self, String> {
        let read = |path: &String| {
            std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))
        };
        let authorities = asked.certificate.as_ref().map(read).transpose()?;
        let identity = match &asked.identity {
            Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
            None => None,
        };
        Ok(Self { authorities, identity })
    }

    fn for_grpc(self) -> ClientTlsConfig {
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
}

/// An exporter that sends when it is told to. Needs a runtime around it, and connects to nothing
/// yet. Endpoint, headers and compression are the SDK's to read.
pub(super) fn exporter(asked: &Asked) -> Result<SpanExporter, String> {
    // Both TLS stacks below take the provider of the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let trust = if asked.secure { Some(Trust::read(asked)?) } else { None };
    let built = match asked.protocol {
        Protocol::Grpc => {
            let builder = SpanExporter::builder().with_tonic().with_timeout(asked.timeout);
            match trust {
                Some(trust) => builder.with_tls_config(trust.for_grpc()).build(),
                None => builder.build(),
            }
        }
        Protocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_protocol(OtlpProtocol::HttpBinary)
            .with_http_client(Sender::new(trust.as_ref(), asked.timeout)?)
            .with_timeout(asked.timeout)
            .build(),
    };
    built.map_err(|error| error.to_string())
}
