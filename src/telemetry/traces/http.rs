//! How a batch of spans reaches a collector over HTTP.
//!
//! The SDK sends from a thread of its own, in which no runtime lives, so a request is handed to the
//! runtime of the registry and only waited for there. What clients there are for the SDK would bring
//! a second HTTP stack, or block.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Handle;

use super::exporter::Trust;

/// What is read of an answer; a collector has little to say.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Connections kept for the next batch.
const IDLE_CONNECTIONS_MAX: usize = 1;

/// A client for the SDK. Used from any thread; works on the runtime in which it was made.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
    runtime: Handle,
}

impl Sender {
    pub(super) fn new(trust: Option<&Trust>, timeout: Duration) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeout));
        let tls = match trust {
            Some(trust) => client_config(trust)?,
            // Never used: the endpoint is not `https`.
            None => ClientConfig::builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Self { client, timeout, runtime: Handle::current() })
    }
}

fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
    let builder = match &trust.authorities {
        None => ClientConfig::builder().with_native_roots().map_err(|error| error.to_string())?,
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| error.to_string())?;
                roots.add(certificate).map_err(|error| error.to_string())?;
            }
            ClientConfig::builder().with_root_certificates(roots)
        }
    };
    let Some((certificates, key)) = &trust.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificates).collect();
    let certificates = certificates.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| error.to_string())?;
    builder.with_client_auth_cert(certificates, key).map_err(|error| error.to_string())
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        let exchange = async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        self.runtime.spawn(async move { tokio::time::timeout(timeout, exchange).await? }).await?
    }
}
