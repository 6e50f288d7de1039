//! `longshore audit`, `scrub`, `usage` and `inspect`: commands that read the bucket, beside the
//! processes that serve it.

mod exposition;
mod text;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::stores::test_store;
use super::{StartError, invalidating_registry, open_store, progress};
use crate::audit::{Audit, AuditSettings, Finding, Scrub, ScrubSettings};
use crate::config::Settings;
use crate::inspect::{Inspector, Target};
use crate::registry::{Leases, SharedSettings};
use crate::store::local::OpenError;
use crate::store::{self, ObjectStore, StoreUrl};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::usage::{Explanation, Grouping};
use crate::walk::{self, Walk};

/// Why such a command could not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectionError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(
        "{0}: only one process can use a folder. Stop `longshore serve` first, or let this command \
         read a copy of the folder"
    )]
    InUse(OpenError),
    #[error("there is no registry in the folder {}", .0.display())]
    NoRegistry(PathBuf),
    #[error("the command could not finish: {0}")]
    Walk(#[from] walk::Error),
    #[error("the command could not finish: {0}")]
    Store(#[from] store::Error),
    /// A scrub prints where it continues.
    #[error("the command could not finish: {0}\ncontinue with --after {1}")]
    ScrubFailed(walk::Error, String),
    #[error("the metrics cannot be written to {}: {error}", .path.display())]
    Metrics { path: PathBuf, error: io::Error },
    #[error("the command was interrupted")]
    Interrupted,
}

/// How such a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspected {
    Clean,
    Damaged,
    /// A scrub was stopped, and has printed where it continues.
    Stopped,
}

/// How the bucket is read, and the results are printed.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub json: bool,
    pub requests_per_second: Option<u32>,
    /// Where the results of a complete run are also written as metrics.
    pub metrics_file: Option<PathBuf>,
}

impl Reading {
    fn write_metrics(&self, text: impl FnOnce() -> String) -> Result<(), InspectionError> {
        let Some(path) = self.metrics_file.as_deref() else { return Ok(()) };
        let failed = |error| InspectionError::Metrics { path: path.to_owned(), error };
        exposition::write(path, &text()).map_err(failed)
    }
}

/// Takes what the command prints, in whole lines.
pub type Output<'a> = dyn FnMut(&str) + Send + 'a;

/// Audits the bucket, and repairs it if that is wanted.
pub async fn audit(
    settings: &Settings,
    repairs: bool,
    reading: Reading,
    output: &mut Output<'_>,
    stop: &CancellationToken,
) -> Result<Inspected, InspectionError> {
    let metrics = Metrics::default();
    let tasks = Tasks::new();
    let store = open(settings, &metrics, repairs).await?;
    let audited = async {
        let registry = if repairs {
            Some(invalidating_registry(settings, store.clone(), &metrics, &tasks).await?)
        } else {
            None
        };
        let walk = Arc::new(Walk::new(store.clone(), reading.requests_per_second));
        let of_audit = AuditSettings::new(&settings.collection, settings.manifests.sparse);
        let audit = Audit::new(walk.clone(), of_audit, registry);
        let mut sink = |finding: Finding| output(&text::finding(&finding, reading.json));
        let summary = tokio::select! {
            summary = audit.run(&mut sink) => summary?,
            () = stop.cancelled() => return Err(InspectionError::Interrupted),
            never = progress::show("audit", || walk.progress()) => match never {},
        };
        output(&text::summary(&summary, &json!({ "summary": summary }), reading.json));
        reading.write_metrics(|| exposition::findings("audit", &summary, store.now()))?;
        Ok(if summary.damaged() > 0 { Inspected::Damaged } else { Inspected::Clean })
    };
    let audited = audited.await;
    // Invalidations of the shared cache.
    tasks.wait().await;
    store.end_writing().await;
    audited
}

/// Hashes the content of the bucket again, until `stop` is cancelled.
pub async fn scrub(
    settings: &Settings,
    of_scrub: ScrubSettings,
    reading: Reading,
    output: &mut Output<'_>,
    stop: &CancellationToken,
) -> Result<Inspected, InspectionError> {
    let store = open(settings, &Metrics::default(), false).await?;
    let walk = Arc::new(Walk::new(store.clone(), reading.requests_per_second));
    let scrub = Scrub::new(walk.clone(), of_scrub);
    let mut sink = |finding: Finding| output(&text::finding(&finding, reading.json));
    let scrubbed = tokio::select! {
        scrubbed = scrub.run(stop, &mut sink) => scrubbed,
        never = progress::show("scrub", || walk.progress()) => match never {},
    };
    let scrubbed = scrubbed.map_err(|error| match scrub.cursor() {
        Some(cursor) => InspectionError::ScrubFailed(error, cursor),
        None => error.into(),
    })?;
    output(&text::summary(&scrubbed.summary, &json!({ "summary": scrubbed }), reading.json));
    if !reading.json {
        output(&format!("hashed {} bytes\n", scrubbed.bytes));
    }
    if scrubbed.stopped_after.is_none() {
        let metrics = || exposition::findings("scrub", &scrubbed.summary, store.now());
        reading.write_metrics(metrics)?;
    }
    Ok(match scrubbed.stopped_after {
        Some(after) => {
            if !reading.json {
                output(&format!("stopped: continue with --after {after}\n"));
            }
            Inspected::Stopped
        }
        None if scrubbed.summary.damaged() > 0 => Inspected::Damaged,
        None => Inspected::Clean,
    })
}

/// Explains every byte of the bucket.
pub async fn usage(
    settings: &Settings,
    grouping: Grouping,
    reading: Reading,
    output: &mut Output<'_>,
    stop: &CancellationToken,
) -> Result<Inspected, InspectionError> {
    let store = open(settings, &Metrics::default(), false).await?;
    let walk = Arc::new(Walk::new(store.clone(), reading.requests_per_second));
    let explanation = Explanation::new(walk.clone(), settings.collection.grace, grouping);
    let explained = tokio::select! {
        explained = explanation.run() => explained?,
        () = stop.cancelled() => return Err(InspectionError::Interrupted),
        never = progress::show("usage", || walk.progress()) => match never {},
    };
    output(&text::usage(&explained, reading.json));
    reading.write_metrics(|| exposition::usage(&explained, store.now()))?;
    Ok(Inspected::Clean)
}

/// Shows what the store says of a target. Returns whether it is there.
pub async fn inspect(
    settings: &Settings,
    target: &Target,
    as_json: bool,
    output: &mut Output<'_>,
) -> Result<bool, InspectionError> {
    let store = open(settings, &Metrics::default(), false).await?;
    let report = Inspector::new(store, settings.collection.clone()).inspect(target).await?;
    if as_json {
        output(&format!("{}\n", report.to_json()));
    } else {
        output(&report.to_string());
    }
    Ok(report.found)
}

/// Opens the store, which another process may use, and compares the settings that all share.
async fn open(
    settings: &Settings,
    metrics: &Metrics,
    writes: bool,
) -> Result<Arc<dyn ObjectStore>, InspectionError> {
    if let StoreUrl::Folder(path) = &settings.store.url
        && !path.join("layout").exists()
    {
        // Opening would create it.
        return Err(InspectionError::NoRegistry(path.clone()));
    }
    let opened = async {
        // The test finds out how this store wants a compare-and-swap.
        let store = if writes {
            test_store(settings, metrics).await?.0
        } else {
            open_store(settings, metrics).await?
        };
        let shared = SharedSettings::new(store.clone(), Leases::new(&settings.collection)?);
        shared.compare(&settings.collection).await?;
        if writes {
            store.begin_writing().await?;
        }
        Ok::<_, StartError>(store)
    };
    opened.await.map_err(|error| match error {
        StartError::Folder(error @ OpenError::InUse { .. }) => InspectionError::InUse(error),
        other => other.into(),
    })
}
