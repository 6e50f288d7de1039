//! A bound on what waits for the collector, and an account of what was lost.
//!
//! The SDK has a bounded queue, but keeps to itself how much did not fit, and says of each batch
//! that failed that it failed. Here both are counted, and told at most once a minute.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

/// How long it is silent after it was said that spans are lost.
const SILENCE: Duration = Duration::from_mins(1);

/// What is on its way and what never arrives.
#[derive(Debug, Default)]
pub(super) struct Account {
    queued: AtomicUsize,
    /// Spans for which the queue had no room.
    dropped: AtomicU64,
    /// Spans that the collector did not take.
    failed: AtomicU64,
    /// When it was last said, and how many were lost by then.
    told: Mutex<Option<(Instant, u64)>>,
}

impl Account {
    /// Spans that ended and have not been handed over yet.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// All spans that were lost.
    pub(super) fn lost(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// Whether there is room for one more, which is then taken.
    fn admits(&self, max: usize) -> bool {
        if self.queued.fetch_add(1, Ordering::AcqRel) < max {
            return true;
        }
        self.queued.fetch_sub(1, Ordering::AcqRel);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// How many were lost since it was last said, if it is time to say so again.
    fn to_tell(&self) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (lost, before) = (self.lost(), told.map_or(0, |(_, lost)| lost));
        let silent = told.is_some_and(|(when, _)| when.elapsed() < SILENCE);
        if silent || lost == before {
            return None;
        }
        *told = Some((Instant::now(), lost));
        Some(lost - before)
    }
}

/// Hands spans on as long as fewer than `max` of them wait.
#[derive(Debug)]
pub(super) struct Bounded<P> {
    pub(super) inner: P,
    pub(super) max: usize,
    pub(super) account: Arc<Account>,
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    // Nothing is said here: whoever ends a span may hold what saying it needs.
    fn on_end(&self, span: SpanData) {
        if self.account.admits(self.max) {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Exports, and keeps the account.
#[derive(Debug)]
pub(super) struct Counted<E> {
    pub(super) inner: E,
    pub(super) account: Arc<Account>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let account = &self.account;
        let spans = batch.len();
        account.queued.fetch_sub(spans, Ordering::AcqRel);
        let exported = self.inner.export(batch).await;
        if exported.is_err() {
            account.failed.fetch_add(spans as u64, Ordering::Relaxed);
        }
        if let Some(spans) = account.to_tell() {
            let error = exported.as_ref().err().map(tracing::field::display);
            tracing::warn!(spans, error, "spans are lost, requests go on as ever");
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_told_rarely() {
        let account = Account::default();
        assert!(account.admits(2) && account.admits(2));
        assert_eq!(account.to_tell(), None, "nothing is lost");
        assert!(!account.admits(2) && !account.admits(2));
        assert_eq!((account.queued(), account.lost()), (2, 2));
        assert_eq!(account.to_tell(), Some(2));
        account.failed.fetch_add(5, Ordering::Relaxed);
        assert_eq!(account.to_tell(), None, "it was just told");
        assert_eq!(account.lost(), 7);
    }
}
