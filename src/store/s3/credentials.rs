//! Who we are to the store, and in which region it is.

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
use aws_sdk_s3::config::{Credentials, Region, SharedCredentialsProvider};

use super::{Error, Settings};

/// What stores other than AWS expect in a signature.
const DEFAULT_REGION: &str = "us-east-1";
/// Set by EKS for a pod with a role, whatever else is around.
const WEB_IDENTITY: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
/// Set by ECS and by EKS Pod Identity.
const CONTAINER: [&str; 2] =
    ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];

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
/// The usual chain would go on to the instance's metadata when the identity of the pod is broken,
/// and then run with the permissions of the node, which nobody meant to give us.
#[expect(clippy::disallowed_methods, reason = "what AWS sets in a pod is no setting of ours")]
fn chain(region: &Region) -> CredentialsProviderChain {
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
