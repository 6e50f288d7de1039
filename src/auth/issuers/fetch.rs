//! Fetches the documents of an issuer: short ones, soon, and from nowhere else.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use super::settings::{IssuerSettings, IssuerUrl, KeysAddress, KeysFrom};
use crate::auth::jwks::Keys;
use crate::http_proxy::{Proxies, ProxyConnector};

/// How long one document may take, from the connection to its last byte.
const FETCH_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the file with a token for the issuer.
const BEARER_BYTES_MAX: u64 = 16 * 1024;

/// Fetches the keys of one issuer.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<ProxyConnector>, Empty<Bytes>>,
    proxies: Proxies,
    issuer: IssuerUrl,
    from: Where,
    bearer_token_file: Option<PathBuf>,
}

/// Where the keys are.
#[derive(Clone, Debug)]
enum Where {
    Keys(KeysAddress),
    Discovery(KeysAddress),
}

/// Why there are no keys. Says nothing of what a document contains.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("no answer from {address} within {} s", FETCH_TIME_MAX.as_secs())]
    Slow { address: String },
    #[error("{address} cannot be reached: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{address} answers {status}, and not 200")]
    Status { address: String, status: StatusCode },
    #[error("{address} answers with more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLong { address: String },
    #[error("{address} {reason}")]
    Unusable { address: String, reason: String },
    #[error("the file with the token for the issuer cannot be read: {0}")]
    BearerToken(std::io::Error),
}

/// OpenID Connect Discovery 1.0, section 3.
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("from", &self.from).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher, unless the keys are in a file.
    pub(super) fn new(settings: &IssuerSettings) -> Result<Option<Self>, String> {
        let from = match &settings.keys {
            KeysFrom::File(_) => return Ok(None),
            KeysFrom::Address(address) => Where::Keys(address.clone()),
            KeysFrom::Discovery => Where::Discovery(settings.url.discovery()?),
        };
        let proxies = Proxies::from_environment()?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(settings)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(ProxyConnector::new(tcp, proxies.clone()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // The next request is minutes away.
            .pool_max_idle_per_host(0)
            .build(connector);
        let (issuer, bearer_token_file) =
            (settings.url.clone(), settings.bearer_token_file.clone());
        Ok(Some(Self { client, proxies, issuer, from, bearer_token_file }))
    }

    /// The keys that the issuer publishes now.
    pub(super) async fn keys(&self) -> Result<Keys, FetchError> {
        let address = match &self.from {
            Where::Keys(address) => address.clone(),
            Where::Discovery(document) => self.discover(document).await?,
        };
        let unusable = |reason| FetchError::Unusable { address: shown(&address), reason };
        Keys::parse(&self.document(&address).await?).map_err(unusable)
    }

    /// The `jwks_uri` of the discovery document. The document has to be that of this very issuer
    /// (OpenID Connect Discovery 1.0, section 4.3), or one issuer could speak for another.
    async fn discover(&self, document: &KeysAddress) -> Result<KeysAddress, FetchError> {
        let unusable = |reason| FetchError::Unusable { address: shown(document), reason };
        let found: Discovery = serde_json::from_slice(&self.document(document).await?)
            .map_err(|_| unusable("is no discovery document".to_owned()))?;
        if found.issuer != self.issuer.as_str() {
            return Err(unusable("is the discovery document of another issuer".to_owned()));
        }
        found.jwks_uri.parse().map_err(unusable)
    }

    async fn document(&self, address: &KeysAddress) -> Result<Bytes, FetchError> {
        let request = self.request(address).await?;
        let shown = || shown(address);
        let fetched = async {
            let response = self.client.request(request).await.map_err(|error| {
                FetchError::Unreachable { address: shown(), reason: causes(&error) }
            })?;
            // A redirect may lead anywhere, also into the network of the registry.
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status { address: shown(), status: response.status() });
            }
            let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|error| {
                if error.is::<LengthLimitError>() {
                    FetchError::TooLong { address: shown() }
                } else {
                    FetchError::Unreachable { address: shown(), reason: error.to_string() }
                }
            })
        };
        let fetched = tokio::time::timeout(FETCH_TIME_MAX, fetched).await;
        fetched.map_err(|_| FetchError::Slow { address: shown() })?
    }

    async fn request(&self, address: &KeysAddress) -> Result<Request<Empty<Bytes>>, FetchError> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = address.uri().clone();
        // Kubernetes offers its keys as the second one only.
        let types = HeaderValue::from_static("application/json, application/jwk-set+json");
        request.headers_mut().insert(ACCEPT, types);
        if let Some(file) = &self.bearer_token_file {
            let unreadable = FetchError::BearerToken;
            let meta = tokio::fs::metadata(file).await.map_err(unreadable)?;
            if meta.len() > BEARER_BYTES_MAX {
                return Err(FetchError::BearerToken(std::io::Error::other("it is too long")));
            }
            let token = tokio::fs::read_to_string(file).await.map_err(unreadable)?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                .map_err(|_| FetchError::BearerToken(std::io::Error::other("it is no token")))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        self.proxies.authorize(&mut request);
        Ok(request)
    }
}

/// Trusts the authorities in the file, or those of this machine.
fn tls(settings: &IssuerSettings) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder();
    let Some(file) = &settings.ca_file else {
        let native = builder.with_native_roots();
        // A machine without authorities can still fetch from itself.
        return Ok(native
            .unwrap_or_else(|_| {
                ClientConfig::builder().with_root_certificates(RootCertStore::empty())
            })
            .with_no_client_auth());
    };
    let shown = file.display();
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| format!("{shown}: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("{shown} is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("{shown}: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("{shown} holds no certificate"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// An address for messages, without its query.
fn shown(address: &KeysAddress) -> String {
    let text = address.uri().to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// An error with its causes, of which the last says most.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
