//! What `check` prints and the start of `serve` logs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::Uri;

use super::auth;
use super::stores::RedisState;
use crate::config::Settings;
use crate::http::Delivery;
use crate::oci::Negotiation;
use crate::registry::Found;
use crate::setting::{Choice as _, format_duration};
use crate::store::{ProbeReport, StoreUrl};

/// What the registry runs on, and what an operator should know about it.
#[derive(Debug)]
pub struct Report {
    access: String,
    store_url: StoreUrl,
    store: ProbeReport,
    shared_settings: Found,
    redis: RedisState,
    delivery: &'static str,
    warnings: Vec<String>,
}

impl Report {
    pub(super) fn new(
        settings: &Settings,
        store: ProbeReport,
        redis: RedisState,
        shared_settings: Found,
        lowered: Option<String>,
    ) -> Self {
        let mut warnings = warnings(settings, &store, &redis);
        warnings.extend(lowered);
        Self {
            access: auth::describe(settings),
            store_url: settings.store.url.clone(),
            delivery: settings.blobs.delivery.as_str(),
            warnings,
            store,
            shared_settings,
            redis,
        }
    }

    pub(super) fn log(&self, address: SocketAddr) {
        tracing::info!("{}", self.store);
        if self.shared_settings == Found::Nothing {
            tracing::info!(
                "first start on this store: wrote the settings that all processes share"
            );
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            access = self.access,
            store = %self.store_url,
            redis = %self.redis,
            delivery = self.delivery,
            "listening on {address}"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.warnings.len() {
            0 => formatter.write_str("the configuration is good\n")?,
            count => writeln!(formatter, "the configuration can be used; warnings: {count}")?,
        }
        write!(formatter, "{}\nshared settings: ", self.store)?;
        formatter.write_str(match self.shared_settings {
            Found::Same => "those of this configuration",
            Found::Nothing => {
                "none yet, the first `longshore serve` writes those of this configuration"
            }
        })?;
        match self.redis {
            RedisState::NotConfigured => {}
            RedisState::Reachable | RedisState::Unreachable(_) => {
                write!(formatter, "\nredis: {}", self.redis)?;
            }
        }
        self.warnings.iter().try_for_each(|warning| write!(formatter, "\nwarning: {warning}"))
    }
}

fn warnings(settings: &Settings, store: &ProbeReport, redis: &RedisState) -> Vec<String> {
    let mut warnings = Vec::new();
    if store.degraded() {
        warnings
            .push("the store lacks something that the registry relies on, see above".to_owned());
    }
    if let (RedisState::Unreachable(reason), Some(urls)) = (redis, &settings.cache.redis) {
        warnings.push(format!(
            "redis at {urls} is not reachable: {reason}; requests work without it, with more \
             requests to the store"
        ));
    }
    if settings.collection.unsafe_short_grace {
        warnings.push(format!(
            "collection.unsafe_short_grace: content that is pushed for longer than {} may be lost; \
             this is for tests only",
            format_duration(settings.collection.grace)
        ));
    }
    let server = &settings.server;
    let proxied = !server.trusted_proxies.is_empty();
    let loopback = server.listen.ip().to_canonical().is_loopback();
    let encrypted = server.tls.certificate_file.is_some();
    if settings.access.htpasswd_file.is_some() && !(loopback || encrypted || proxied) {
        warnings.push(format!(
            "clients send passwords unencrypted to {}: set server.tls, or server.trusted_proxies \
             if a proxy in front of the registry terminates TLS",
            server.listen
        ));
    }
    warnings.extend(redirects_to_address(settings));
    let manifests = &settings.manifests;
    if manifests.mode == Negotiation::DockerLegacy && manifests.schema1_key.is_none() {
        warnings.push(
            "manifests.schema1_key is not set: this process signs images converted to schema 1 \
             with a key of its own, which no other process has"
                .to_owned(),
        );
    }
    warnings
}

/// Some clients refuse a redirect to an IP address, to protect the network that they are in.
fn redirects_to_address(settings: &Settings) -> Option<String> {
    let s3 = &settings.store.s3;
    let endpoint = s3.public_endpoint.as_ref().or(s3.endpoint.as_ref())?;
    let endpoint: Uri = endpoint.parse().ok()?;
    let host = endpoint.host()?;
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (address && settings.blobs.delivery != Delivery::Proxy).then(|| {
        format!(
            "blobs are redirected to the address {host}, which crane, flux and ko refuse \
             (go-containerregistry since 0.21.6): set store.s3.public_endpoint to a host name"
        )
    })
}
