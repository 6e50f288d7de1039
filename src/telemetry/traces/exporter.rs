//! Creates the OTLP exporter that the variables describe.

use opentelemetry_otlp::{
    Protocol as OtlpProtocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
    WithTonicConfig as _,
};

use super::http_client::CollectorClient;
use super::tls::Tls;
use super::variables::{Protocol, TraceSettings};

/// Creates an exporter, inside of a runtime. It does not connect yet. The SDK itself reads
/// endpoint, headers and compression.
pub(super) fn exporter(settings: &TraceSettings) -> Result<SpanExporter, String> {
    // Both TLS stacks below use the provider of the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let tls = if settings.secure { Some(Tls::read(settings)?) } else { None };
    let built = match settings.protocol {
        Protocol::Grpc => {
            let builder = SpanExporter::builder().with_tonic().with_timeout(settings.timeout);
            match tls {
                Some(tls) => builder.with_tls_config(tls.for_grpc()).build(),
                None => builder.build(),
            }
        }
        Protocol::HttpProtobuf => SpanExporter::builder()
            .with_http()
            .with_protocol(OtlpProtocol::HttpBinary)
            .with_http_client(CollectorClient::new(tls.as_ref(), settings.timeout)?)
            .with_timeout(settings.timeout)
            .build(),
    };
    built.map_err(|error| match error.to_string() {
        // The SDK quotes the endpoint, which may contain a password.
        text if text.contains('@') => "the endpoint cannot be used".to_owned(),
        text => text,
    })
}
