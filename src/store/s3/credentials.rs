//! The credentials for the store, and its region.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_s3::config::{Credentials, ProvideCredentials, Region, SharedCredentialsProvider};
use tokio::time::{Instant, timeout};

use super::settings::Settings;
use crate::store::Error;
use crate::telemetry::error_chain;

/// The region that stores other than AWS expect in a signature.
const DEFAULT_REGION: &str = "us-east-1";
/// Set by EKS for a pod with a role, whatever else is around.
const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// Set by ECS and by EKS Pod Identity.
const CONTAINER: [&str; 2] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
/// The variables of the SDK that become part of a signature.
const SIGNED_WITH: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// How long before they expire credentials are fetched again. This and what follows is as in the
/// SDK's own cache.
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);
/// How long credentials are used that have no expiry: a profile file may change.
const REFETCH_AFTER: Duration = Duration::from_mins(15);
/// How long fetching credentials may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The region: as configured, else from the environment or the profile; on AWS also from the
/// metadata service, elsewhere a name that every store accepts.
pub(super) async fn region(settings: &Settings) -> Result<Region, Error> {
    let configured = settings.region.clone().map(Region::new);
    let elsewhere = settings.endpoint.is_some();
    let chain = RegionProviderChain::first_try(configured)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    let chain = if elsewhere {
        chain.or_else(Region::from_static(DEFAULT_REGION))
    } else {
        chain.or_default_provider()
    };
    chain.region().await.ok_or_else(|| {
        Error::Refused("no region is configured: set it, or AWS_REGION, or an endpoint".to_owned())
    })
}

/// The credentials: fixed ones if configured, else the usual chain.
pub(super) fn provider(
    settings: &Settings,
    region: &Region,
) -> Result<SharedCredentialsProvider, Error> {
    match (&settings.access_key_id, &settings.secret_access_key) {
        (Some(id), Some(secret)) => Ok(SharedCredentialsProvider::new(Credentials::new(
            id,
            secret.expose(),
            settings.session_token.as_ref().map(|token| token.expose().to_owned()),
            None,
            "longshore settings",
        ))),
        (None, None) => Ok(SharedCredentialsProvider::new(chain(region))),
        (Some(_), None) | (None, Some(_)) => Err(Error::Refused(
            "an access key needs both its id and its secret; only one of them is set".to_owned(),
        )),
    }
}

/// Environment, profile, and then exactly one of web identity, container and instance.
///
/// The SDK's default chain would go on to the instance's metadata when the identity of the pod is
/// broken, and the registry would run with the permissions of the node.
#[expect(clippy::disallowed_methods, reason = "AWS sets these variables in a pod")]
fn chain(region: &Region) -> CredentialsProviderChain {
    for name in SIGNED_WITH {
        if std::env::var(name).is_ok_and(|value| value != value.trim()) {
            tracing::warn!(
                "the variable {name} begins or ends with white space: if that does not belong to \
                 it, the store will refuse every signature"
            );
        }
    }
    let config = ProviderConfig::without_region().with_region(Some(region.clone()));
    let chain = CredentialsProviderChain::first_try(
        "Environment",
        EnvironmentVariableCredentialsProvider::new(),
    )
    .or_else("Profile", ProfileFileCredentialsProvider::builder().configure(&config).build());
    let is_set = |name: &str| std::env::var_os(name).is_some();
    if is_set(WEB_IDENTITY) {
        let provider = WebIdentityTokenCredentialsProvider::builder().configure(&config).build();
        chain.or_else("WebIdentityToken", provider)
    } else if CONTAINER.into_iter().any(is_set) {
        let provider = EcsCredentialsProvider::builder().configure(&config).build();
        chain.or_else("Container", provider)
    } else {
        let provider = ImdsCredentialsProvider::builder().configure(&config).build();
        chain.or_else("Instance", provider)
    }
}

/// The credentials that were fetched last, by the SDK or for a URL. Both fetch them here.
#[derive(Clone, Debug)]
pub(super) struct LatestCredentials {
    provider: SharedCredentialsProvider,
    latest: Arc<ArcSwapOption<Fetched>>,
    fetching: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) credentials: Credentials,
    at: Instant,
}

impl Fetched {
    fn is_fresh(&self, now: SystemTime) -> bool {
        match self.credentials.expiry() {
            Some(expiry) => now + EXPIRY_MARGIN < expiry,
            None => self.at.elapsed() < REFETCH_AFTER,
        }
    }
}

impl LatestCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, latest: Arc::default(), fetching: Arc::default() }
    }

    /// The latest credentials, or new ones if these expire soon.
    pub(super) async fn get(&self, now: SystemTime) -> Result<Arc<Fetched>, Error> {
        let fresh = || self.latest.load_full().filter(|fetched| fetched.is_fresh(now));
        if let Some(fetched) = fresh() {
            return Ok(fetched);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(fetched) = fresh() {
            return Ok(fetched);
        }
        let failed = |why: String| Error::Unavailable(format!("no credentials for S3: {why}"));
        match timeout(FETCH_TIMEOUT, self.fetch()).await {
            Ok(fetched) => fetched.map_err(|error| failed(error_chain(&error))),
            Err(_) => Err(failed(format!("none within {FETCH_TIMEOUT:?}"))),
        }
    }

    async fn fetch(&self) -> Result<Arc<Fetched>, CredentialsError> {
        let credentials = self.provider.provide_credentials().await?;
        let fetched = Arc::new(Fetched { credentials, at: Instant::now() });
        self.latest.store(Some(fetched.clone()));
        Ok(fetched)
    }
}

impl ProvideCredentials for LatestCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { Ok(self.fetch().await?.credentials.clone()) })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.provider.fallback_on_interrupt()
    }
}
