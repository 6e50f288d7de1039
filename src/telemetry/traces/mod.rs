//! Traces, sent to an OpenTelemetry collector.
//!
//! The other modules only open spans of the crate `tracing` with the target `traces`; they do not
//! know OpenTelemetry. The standard `OTEL_` variables enable that target. While it is disabled,
//! opening a span compares one number. docs/traces.md describes the spans.
//!
//! A collector that is down or slow does not delay requests: ended spans wait in a bounded queue, a
//! separate thread sends them, and spans that do not fit are dropped and counted.

mod exporter;
mod http_client;
mod queue_limit;
mod tls;
mod variables;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanExporter,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use queue_limit::{BoundedProcessor, CountingExporter, SpanCounts};
use variables::{Sampling, TraceSettings};

/// The target of all spans. Each span macro needs it as a literal.
pub(super) const TARGET: &str = "traces";
/// The name of the instrumentation scope, and the default name of the service.
const SCOPE: &str = "longshore";
/// How long shutdown waits for the last spans to be sent.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Running traces.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    counts: Arc<SpanCounts>,
}

/// The settings of traces from the environment, `None` if traces are off, and warnings about
/// variables that are ignored.
#[derive(Debug, Default)]
pub struct TraceConfig {
    settings: Option<TraceSettings>,
    warnings: Vec<String>,
}

impl TraceConfig {
    /// Reads the `OTEL_` variables.
    #[expect(clippy::disallowed_methods, reason = "the SDK reads its variables itself, too")]
    pub fn from_environment() -> Self {
        let mut warnings = Vec::new();
        let lookup = |name: &str| std::env::var(name).ok();
        let settings = variables::read(&lookup, &mut |warning| warnings.push(warning));
        Self { settings, warnings }
    }

    /// Starts tracing, inside of a runtime. `None` if traces are off or cannot work: the registry
    /// runs without them. Returns the warnings, because logging has not started yet.
    pub(super) fn start(self) -> (Option<Traces>, Vec<String>) {
        let Self { settings, mut warnings } = self;
        let Some(settings) = settings else { return (None, warnings) };
        match exporter::exporter(&settings) {
            Ok(exporter) => (Some(Traces::new(exporter, &settings)), warnings),
            Err(error) => {
                warnings.push(format!("traces are disabled: {error}"));
                (None, warnings)
            }
        }
    }
}

impl Traces {
    fn new(exporter: impl SpanExporter + 'static, settings: &TraceSettings) -> Self {
        let max = settings.queue_max;
        let counts = Arc::new(SpanCounts::default());
        let exporter = CountingExporter { inner: exporter, counts: counts.clone() };
        let config = BatchConfigBuilder::default().with_max_queue_size(max).build();
        let inner = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let bounded = BoundedProcessor { inner, max, counts: counts.clone() };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(bounded)
            .with_sampler(sampler(settings.sampling))
            .with_resource(resource())
            .build();
        if settings.propagation {
            global::set_text_map_propagator(TraceContextPropagator::new());
        }
        Self { provider, counts }
    }

    /// The layer that records the spans of all modules.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }

    /// Sends the remaining spans and stops, within a bounded time.
    pub async fn flush(self) {
        let Self { provider, counts } = self;
        // It blocks until the sending thread is done, and sending needs the threads of the runtime.
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_MAX)).await;
        let unsent = counts.queued();
        if let Ok(Err(error)) = &flushed {
            tracing::warn!(unsent, %error, "cannot send the last trace spans");
        }
        if counts.lost() > 0 {
            tracing::warn!(spans = counts.lost(), "trace spans lost since the start");
        }
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let root = Sampler::TraceIdRatioBased(sampling.ratio);
    if sampling.parent_decides { Sampler::ParentBased(Box::new(root)) } else { root }
}

/// The resource of the spans. Name and version of the service default to those of this program.
fn resource() -> Resource {
    let configured = Resource::builder().build();
    let text = |key: &'static str| configured.get(&key.into()).map(|value| value.to_string());
    let mut attributes = Vec::new();
    // Without a name, the SDK uses `unknown_service` and the name of the executable.
    if text("service.name").is_none_or(|name| name.starts_with("unknown_service")) {
        attributes.push(KeyValue::new("service.name", SCOPE));
    }
    if text("service.version").is_none() {
        attributes.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    Resource::builder().with_attributes(attributes).build()
}

/// The trace identifier of a span, in the format of W3C Trace Context. `None` if the trace is not
/// sampled.
pub fn trace_id(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    (context.is_valid() && context.is_sampled()).then(|| context.trace_id().to_string())
}

/// Sets the parent of a new span from the `traceparent` header of its request, if there is one and
/// propagation is on.
pub fn set_parent(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let headers = HeaderExtractor(headers);
    let parent = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &headers)
    });
    if parent.span().span_context().is_valid() {
        // It fails only if traces are off.
        let _ = span.set_parent(parent);
    }
}
