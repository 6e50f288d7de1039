//! The client: one bucket, or the part of it below a prefix, and how it is reached.

use std::fmt::Display;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder as ConfigBuilder, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedCredentialsProvider, StalledStreamProtectionConfig,
};

use super::credentials::{self, LatestCredentials};
use super::http_client::HttpClient;
use super::operation::Operation;
use super::presign::Presigner;
use super::retry;
use super::settings::Settings;
use crate::http_proxy::Proxies;
use crate::store::{Dialect, Error, Listing, ObjectStore};
use crate::telemetry::metrics::{Metrics, S3Operation};

/// A store in a bucket, or in the part of a bucket below a prefix.
#[derive(Debug)]
pub struct S3 {
    pub(super) client: Client,
    pub(super) http: HttpClient,
    pub(super) presigner: Presigner,
    pub(super) metrics: Metrics,
    pub(super) bucket: String,
    /// Otherwise uploads carry no checksum: TCP and TLS have their own.
    pub(super) sends_crc32: bool,
    pub(super) attempts_max: u32,
    /// How conditions are sent: what every store should take, until the probe has found out.
    pub(super) dialect: RwLock<Dialect>,
    root: String,
    /// How errors name the place to which requests are sent.
    address: Arc<str>,
    description: String,
}

impl S3 {
    /// Prepares the client. Sends nothing to the store; credentials are fetched when needed.
    ///
    /// Every key begins with `prefix`; slashes around it do not matter.
    pub async fn connect(
        bucket: &str,
        prefix: &str,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let region = credentials::region(settings).await?;
        let provider = credentials::provider(settings, &region)?;
        Self::with_credentials((bucket, prefix), settings, region, provider, metrics).await
    }

    pub(super) async fn with_credentials(
        (bucket, prefix): (&str, &str),
        settings: &Settings,
        region: Region,
        provider: SharedCredentialsProvider,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        // The first provider of the process stays installed, and every caller installs this one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (endpoint, public) = (settings.endpoint.clone(), settings.public_endpoint.clone());
        let proxies = Proxies::from_environment().map_err(Error::Refused)?;
        let through = through(&proxies, endpoint.as_deref(), &region);
        let http = HttpClient::new(settings, proxies, metrics.clone())?;
        let root = root(prefix);
        let place = endpoint.as_deref().unwrap_or("AWS");
        let description = format!("s3://{bucket}/{root} at {place} ({region}){through}");
        let address = endpoint.clone().unwrap_or_else(|| format!("AWS {region}"));
        let address = format!("{address}{through}").into();
        let credentials = LatestCredentials::new(provider);
        let reached_by_clients = public.or_else(|| endpoint.clone());
        let presigner =
            Presigner::new(bucket, settings, reached_by_clients, &region, credentials.clone())
                .await?;
        let mut config = sdk_config(settings, &http, region, credentials);
        config.set_endpoint_url(endpoint);
        Ok(Self {
            client: Client::from_conf(config.build()),
            http,
            presigner,
            metrics: metrics.clone(),
            bucket: bucket.to_owned(),
            sends_crc32: settings.sends_crc32(),
            attempts_max: settings.attempts_max,
            dialect: RwLock::default(),
            root,
            address,
            description,
        })
    }

    /// The key in the bucket of a record, a location or a prefix.
    pub(super) fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.root)
    }

    /// The rest of a key below the operator's prefix.
    pub(super) fn name_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        key.strip_prefix(&self.root)
    }

    pub(super) fn operation(&self, name: S3Operation, key: &str) -> Operation {
        Operation::new(name, self.address.clone(), &self.bucket, key)
    }
}

#[async_trait]
impl ObjectStore for S3 {
    fn describe(&self) -> String {
        self.description.clone()
    }

    async fn list_objects(&self, after: Option<&str>, limit: usize) -> Result<Listing, Error> {
        self.list_keys(&self.key(""), after, limit).await
    }

    fn set_dialect(&self, dialect: Dialect) {
        *self.dialect.write().unwrap_or_else(PoisonError::into_inner) = dialect;
    }
}

/// How texts name the proxy before the store, if there is one.
fn through(proxies: &Proxies, endpoint: Option<&str>, region: &Region) -> String {
    let aws = || format!("https://s3.{region}.amazonaws.com");
    let address = endpoint.map_or_else(aws, str::to_owned).parse();
    let proxy = address.ok().and_then(|address| proxies.of(&address));
    proxy.map_or(String::new(), |proxy| format!(" through {proxy}"))
}

/// How the SDK behaves, without the endpoint.
pub(super) fn sdk_config(
    settings: &Settings,
    http: &HttpClient,
    region: Region,
    credentials: LatestCredentials,
) -> ConfigBuilder {
    // The HTTP client has its own limits, which tell a slow body from a dead store.
    let timeouts = TimeoutConfig::builder().read_timeout(settings.response_timeout).build();
    ConfigBuilder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http.clone())
        .credentials_provider(credentials)
        .region(region)
        .force_path_style(settings.uses_path_style())
        .retry_config(retry::config(settings.attempts_max))
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Otherwise bodies get checksums that Garage and radosgw reject.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .disable_s3_express_session_auth(true)
}

/// The operator's prefix as keys begin with it.
pub(super) fn root(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}
