//! Limits the spans that wait for the collector, and counts the spans that are lost.
//!
//! The SDK has a bounded queue, but does not tell how many spans it dropped, and logs each batch
//! that failed. Here both are counted, and logged at most once a minute.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

/// The least time between two log lines about lost spans.
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// The spans that wait, and the spans that were lost.
#[derive(Debug, Default)]
pub(super) struct SpanCounts {
    queued: AtomicUsize,
    /// Spans that did not fit in the queue.
    dropped: AtomicU64,
    /// Spans that the collector did not accept.
    failed: AtomicU64,
    /// When lost spans were last reported, and how many there were in all.
    reported: Mutex<Option<(Instant, u64)>>,
}

impl SpanCounts {
    /// Spans that have ended and are not sent yet.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// Takes a place in the queue. Counts the span as dropped if the queue is full.
    fn try_enqueue(&self, max: usize) -> bool {
        if self.queued.fetch_add(1, Ordering::AcqRel) < max {
            return true;
        }
        self.queued.fetch_sub(1, Ordering::AcqRel);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// Spans lost since the last report, if it is time for another report.
    fn to_report(&self) -> Option<u64> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let (lost, before) = (self.lost(), reported.map_or(0, |(_, lost)| lost));
        let too_early = reported.is_some_and(|(when, _)| when.elapsed() < REPORT_EVERY);
        if too_early || lost == before {
            return None;
        }
        *reported = Some((Instant::now(), lost));
        Some(lost - before)
    }
}

/// Drops spans while `max` of them wait.
#[derive(Debug)]
pub(super) struct BoundedProcessor<P> {
    pub(super) inner: P,
    pub(super) max: usize,
    pub(super) counts: Arc<SpanCounts>,
}

impl<P: SpanProcessor> SpanProcessor for BoundedProcessor<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    // Logs nothing: the caller that ends a span may hold a lock that logging needs.
    fn on_end(&self, span: SpanData) {
        if self.counts.try_enqueue(self.max) {
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

/// Exports spans, and counts and logs the ones that the collector does not accept.
#[derive(Debug)]
pub(super) struct CountingExporter<E> {
    pub(super) inner: E,
    pub(super) counts: Arc<SpanCounts>,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let counts = &self.counts;
        let spans = batch.len();
        counts.queued.fetch_sub(spans, Ordering::AcqRel);
        let exported = self.inner.export(batch).await;
        if exported.is_err() {
            counts.failed.fetch_add(spans as u64, Ordering::Relaxed);
        }
        if let Some(spans) = counts.to_report() {
            let error = exported.as_ref().err().map(tracing::field::display);
            tracing::warn!(spans, error, "trace spans lost; requests are not affected");
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
    fn lost_spans_are_counted_and_reported_at_most_once_a_minute() {
        let counts = SpanCounts::default();
        assert!(counts.try_enqueue(2) && counts.try_enqueue(2));
        assert_eq!(counts.to_report(), None, "nothing is lost");
        assert!(!counts.try_enqueue(2) && !counts.try_enqueue(2));
        assert_eq!((counts.queued(), counts.lost()), (2, 2));
        assert_eq!(counts.to_report(), Some(2));
        counts.failed.fetch_add(5, Ordering::Relaxed);
        assert_eq!(counts.to_report(), None, "it was just reported");
        assert_eq!(counts.lost(), 7);
    }
}
