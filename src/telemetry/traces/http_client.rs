//! Sends spans to a collector over HTTP.
//!
//! The SDK sends from a thread without a runtime, so this client runs each request on the runtime
//! of the registry and waits for it. The HTTP clients that exist for the SDK would add a second
//! HTTP stack, or block.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use super::tls::Tls;
use crate::http_proxy::{Proxies, ProxyConnector};

const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Connections kept open for the next batch.
const IDLE_CONNECTIONS_MAX: usize = 1;

/// An HTTP client for the SDK. Any thread may use it; requests run on the runtime that created it.
#[derive(Debug)]
pub(super) struct CollectorClient {
    client: Client<HttpsConnector<ProxyConnector>, Full<Bytes>>,
    proxies: Proxies,
    timeout: Duration,
    runtime: Handle,
}

impl CollectorClient {
    pub(super) fn new(tls: Option<&Tls>, timeout: Duration) -> Result<Self, String> {
        let proxies = Proxies::from_environment()?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(timeout));
        let tls = match tls {
            Some(tls) => tls.for_http()?,
            // Not used: the endpoint is not `https`.
            None => ClientConfig::builder()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth(),
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(ProxyConnector::new(tcp, proxies.clone()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Self { client, proxies, timeout, runtime: Handle::current() })
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        let mut request = request.map(Full::new);
        self.proxies.authorize(&mut request);
        let exchange = async move {
            let (head, body) = client.request(request).await?.into_parts();
            let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await?.to_bytes();
            Ok::<_, HttpError>(Response::from_parts(head, body))
        };
        let exchange = async move { tokio::time::timeout(timeout, exchange).await? };
        let response = self.runtime.spawn(exchange).await.map_err(Into::into).flatten();
        if let Err(error) = &response {
            // The error of the SDK lacks the cause.
            tracing::debug!(%error, cause = error.source(), "trace collector not reachable");
        }
        response
    }
}
