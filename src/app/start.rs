//! The start: everything that `serve` runs and `check` only builds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::collect::collector;
use super::report::Report;
use super::stores::{RedisState, sealed, shared_cache, test_store};
use super::{StartError, api, authorizer, descriptors, redis, registry_settings, tls};
use crate::audit_log::AuditLog;
use crate::auth::Authorizer;
use crate::collector::Collector;
use crate::config::Settings;
use crate::http::admin::Readiness;
use crate::http::{Api, Tls};
use crate::registry::{
    self, Found, Leases, Registry, SharedSettings, SharedSettingsError, read_cache_key,
};
use crate::shared_cache::MacKey;
use crate::shared_cache::redis::Redis;
use crate::store::{self, ObjectStore, ProbeReport};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// How long a start of `serve` waits for a store that cannot be reached.
const STORE_WAIT_MAX: Duration = Duration::from_secs(30);
/// The pause between two attempts.
const STORE_WAIT_PAUSE: Duration = Duration::from_secs(2);

/// Whether a start may write the records that all processes share, and may wait for the store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    Serve,
    Check,
}

/// What follows from the settings and the files that they name, without the network.
pub(super) struct Prepared {
    authorizer: Arc<dyn Authorizer>,
    tls: Option<Tls>,
    redis: Option<Arc<Redis>>,
    registry: registry::Settings,
    /// What the limit of open files lowers.
    lowered: Option<String>,
}

/// What `serve` runs.
pub(super) struct Service {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) api: Arc<Api>,
    pub(super) collector: Collector,
    pub(super) tls: Option<Tls>,
    pub(super) tasks: Tasks,
    pub(super) report: Report,
}

/// The settings that fit the limit of open files, and what follows from them. Errors in settings
/// and files are reported before the store is asked, which can take long.
pub(super) fn prepare(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<(Settings, Prepared), StartError> {
    let (settings, lowered) = descriptors::fit(settings);
    let prepared = Prepared {
        lowered,
        authorizer: authorizer(&settings, metrics)?,
        tls: tls(&settings, metrics)?,
        redis: redis(&settings, metrics)?,
        registry: registry_settings(&settings)?,
    };
    Ok((settings, prepared))
}

/// Tests the store and Redis, compares the shared settings, and builds the registry and its API.
pub(super) async fn build(
    settings: &Settings,
    prepared: Prepared,
    readiness: &Readiness,
    metrics: &Metrics,
    start: Start,
) -> Result<Service, StartError> {
    let Prepared { authorizer, tls, redis, registry: of_registry, lowered } = prepared;
    let audit_log = match start {
        Start::Serve => AuditLog::open(&settings.audit_log, metrics),
        Start::Check => AuditLog::check(&settings.audit_log).map(|()| AuditLog::default()),
    };
    let audit_log = audit_log.map_err(StartError::File)?;
    let opened = async {
        match start {
            Start::Serve => patiently(async || open(settings, metrics, start).await).await,
            Start::Check => open(settings, metrics, start).await,
        }
    };
    let (opened, redis_state) = tokio::join!(opened, RedisState::of(redis.as_deref()));
    let (store, probe, found) = opened?;
    let shared = match redis {
        None => None,
        Some(redis) => Some(match start {
            Start::Serve => {
                let shared = shared_cache(settings, redis, store.clone()).await;
                or_end_writing(store.as_ref(), shared).await?
            }
            Start::Check => {
                let key = read_cache_key(store.clone(), of_registry.leases).await?;
                sealed(redis, &key.unwrap_or_else(MacKey::random))
            }
        }),
    };
    let tasks = Tasks::new();
    let registry = Registry::new(store.clone(), shared, of_registry, metrics, &tasks);
    let registry = Arc::new(registry);
    let collector = collector(settings, registry.clone(), store.clone(), metrics)?;
    let api = api(settings, registry, authorizer, audit_log, readiness, metrics, &tasks);
    if let Start::Serve = start {
        api.authorizer.prepare().await;
    }
    let report = Report::new(settings, probe, redis_state, found, lowered);
    Ok(Service { store, api, collector, tls, tasks, report })
}

/// Opens and tests the store, and compares the shared settings.
async fn open(
    settings: &Settings,
    metrics: &Metrics,
    start: Start,
) -> Result<(Arc<dyn ObjectStore>, ProbeReport, Found), StartError> {
    let (store, probe) = test_store(settings, metrics).await?;
    let ours = &settings.collection;
    let shared = SharedSettings::new(store.clone(), Leases::new(ours)?);
    let found = match start {
        Start::Serve => {
            store.begin_writing().await?;
            or_end_writing(store.as_ref(), shared.create_or_compare(ours).await).await?
        }
        Start::Check => shared.compare(ours).await?,
    };
    Ok((store, probe, found))
}

/// Gives the lease of a writer back if a step of the start has failed after it was taken.
pub(super) async fn or_end_writing<T, E>(
    store: &dyn ObjectStore,
    step: Result<T, E>,
) -> Result<T, E> {
    if step.is_err() {
        store.end_writing().await;
    }
    step
}

/// Repeats what needs the store while the store cannot be reached: a supervisor often starts both
/// at once. Anything else that is wrong would still be wrong later.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T, StartError>) -> Result<T, StartError> {
    let started = Instant::now();
    loop {
        let error = match attempt().await {
            Err(
                error @ (StartError::Store(store::Error::Unavailable(_))
                | StartError::SharedSettings(SharedSettingsError::Store(
                    store::Error::Unavailable(_),
                ))),
            ) if started.elapsed() + STORE_WAIT_PAUSE <= STORE_WAIT_MAX => error,
            ended => return ended,
        };
        let waited_s = started.elapsed().as_secs();
        tracing::warn!(%error, waited_s, "the store is away: the start waits for it");
        sleep(STORE_WAIT_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn away() -> StartError {
        store::Error::Unavailable("away".to_owned()).into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_waits_for_a_store_that_is_away_and_not_for_ever() {
        let attempts = Cell::new(0);
        let found = patiently(async || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 5 { Err(away()) } else { Ok(attempts.get()) }
        });
        assert_eq!(found.await.expect("it came back"), 5);
        let began = Instant::now();
        let never = patiently(async || Err::<(), _>(away())).await;
        assert!(matches!(never, Err(StartError::Store(store::Error::Unavailable(_)))));
        let waited = began.elapsed();
        assert!(waited <= STORE_WAIT_MAX && waited + STORE_WAIT_PAUSE >= STORE_WAIT_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_does_not_wait_for_what_no_retry_changes() {
        let began = Instant::now();
        let refused = patiently(async || {
            Err::<(), _>(store::Error::Refused("wrong password".to_owned()).into())
        });
        assert!(refused.await.is_err());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
