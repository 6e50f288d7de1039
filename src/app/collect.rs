//! Garbage collection: by `longshore gc`, and in the background of `serve`.

use std::process;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::stores::test_store;
use super::{StartError, invalidating_registry, progress};
use crate::collector::{self, Background, Collector, Mode, Report};
use crate::config::Settings;
use crate::registry::{Collecting, Registry};
use crate::store::{self, ObjectStore, Writers};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Why `longshore gc` did not collect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Run(#[from] collector::Error),
}

impl CollectError {
    /// Whether another process collects, so that there is nothing to do.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Run(collector::Error::Busy(_)))
    }
}

/// Collects once.
pub async fn collect(settings: &Settings, mode: Mode) -> Result<Report, CollectError> {
    if settings.store.writers == Writers::Single {
        let why = "garbage collection needs a store with conditional writes, and this one is used \
                   with store.writers = \"single\"";
        return Err(StartError::from(store::Error::Refused(why.to_owned())).into());
    }
    let metrics = Metrics::default();
    let (store, _) = test_store(settings, &metrics).await?;
    let tasks = Tasks::new();
    let registry = invalidating_registry(settings, store.clone(), &metrics, &tasks).await?;
    let collector = collector(settings, registry, store, &metrics)?;
    let report = tokio::select! {
        report = collector.run(mode) => report,
        never = progress::show("gc", || collector.progress()) => match never {},
    };
    tasks.wait().await;
    Ok(report?)
}

/// The collector of a registry.
pub fn collector(
    settings: &Settings,
    registry: Arc<Registry>,
    store: Arc<dyn ObjectStore>,
    metrics: &Metrics,
) -> Result<Collector, StartError> {
    Ok(Collector::new(registry, store, &settings.collection, this_process(), metrics)?)
}

/// This process, for operators.
pub(super) fn this_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("process {} on host {}", process::id(), host.trim())
}

/// Collects in the background until the token is cancelled, if the settings say so.
pub(super) fn in_background(
    settings: &Settings,
    collector: Collector,
) -> (CancellationToken, Tasks) {
    let (stopped, tasks) = (CancellationToken::new(), Tasks::new());
    let collects = match settings.collection.enabled {
        Collecting::On => true,
        Collecting::Off => false,
        Collecting::Auto => settings.store.writers == Writers::Many,
    };
    if collects {
        let repeated = Background::new(collector).repeat();
        tasks.spawn(stopped.clone().run_until_cancelled_owned(repeated));
    }
    (stopped, tasks)
}
