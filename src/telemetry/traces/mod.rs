//! Traces, sent to an OpenTelemetry collector.
//!
//! The other rooms only open spans of the crate `tracing`, with `traces` as their target, and know
//! nothing of OpenTelemetry. Nobody listens to that target unless the standard `OTEL_` variables
//! ask for it, and then opening a span is one look at a number. docs/traces.md describes the spans.
//!
//! A collector that is away, slow or silent costs a request nothing: ended spans wait in a bounded
//! queue, a thread of its own sends them, and what does not fit is dropped and counted.

mod bounded;
mod exporter;
mod http;
mod variables;

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
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

use bounded::{Account, Bounded, Counted};
use variables::{Asked, Sampling};

/// What spans are opened under, in all rooms. A macro wants it written out at each of them.
pub(super) const TARGET: &str = "traces";
/// Who asks for spans, where somebody does.
const SCOPE: &str = "longshore";
/// How long the last spans may take to leave when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Traces that are on.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    account: Arc<Account>,
}

/// Whether traces are asked for, and what is wrong with how.
#[derive(Debug, Default)]
pub struct Wanted {
    asked: Option<Asked>,
    warnings: Vec<String>,
}

impl Wanted {
    /// What the environment of the process asks for.
    #[expect(
        clippy::disallowed_methods,
        reason = "the SDK has its variables read in one place, too"
    )]
    pub fn from_process() -> Self {
        let mut warnings = Vec::new();
        let lookup = |name: &str| std::env::var(name).ok();
        let asked = variables::read(&lookup, &mut |warning| warnings.push(warning));
        Self { asked, warnings }
    }

    /// Prepares to trace, inside of a runtime. `None` if nobody asked for it, or in a way that
    /// cannot work: the registry is worth more than its traces. What is wrong is returned, for
    /// nothing can be logged yet.
    pub(super) fn begin(self) -> (Option<Traces>, Vec<String>) {
        let Self { asked, mut warnings } = self;
        let Some(asked) = asked else { return (None, warnings) };
        match exporter::exporter(&asked) {
            Ok(exporter) => (Some(Traces::over(exporter, &asked)), warnings),
            Err(error) => {
                warnings.push(format!("there will be no traces: {error}"));
                (None, warnings)
            }
        }
    }
}

impl Traces {
    fn over(exporter: impl SpanExporter + 'static, asked: &Asked) -> Self {
        let account = Arc::new(Account::default());
        let counted = Counted { inner: exporter, account: account.clone() };
        let config = BatchConfigBuilder::default().with_max_queue_size(asked.queue_max).build();
        let inner = BatchSpanProcessor::builder(counted).with_batch_config(config).build();
        let bounded = Bounded { inner, max: asked.queue_max, account: account.clone() };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(bounded)
            .with_sampler(sampler(asked.sampling))
            .with_resource(resource())
            .build();
        if asked.propagation {
            global::set_text_map_propagator(TraceContextPropagator::new());
        }
        Self { provider, account }
    }

    /// What listens to the spans of all rooms.
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

    /// Sends what is left and ends, within a bounded time.
    pub async fn flush(self) {
        let Self { provider, account } = self;
        // It waits for the thread that sends, and must not wait in a thread that the sending needs.
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_MAX)).await;
        let unsent = account.queued();
        if let Ok(Err(error)) = &flushed {
            tracing::warn!(unsent, %error, "the last spans could not be sent");
        }
        if account.lost() > 0 {
            tracing::warn!(spans = account.lost(), "spans were lost in all");
        }
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let root = Sampler::TraceIdRatioBased(sampling.ratio);
    if sampling.parent_decides { Sampler::ParentBased(Box::new(root)) } else { root }
}

/// Who sends the spans: what the variables say, and else the name and the version of this program.
fn resource() -> Resource {
    let said = Resource::builder().build();
    let text = |key: &'static str| said.get(&key.into()).map(|value| value.to_string());
    let mut attributes = Vec::new();
    // The SDK calls what has no name by the name of its file.
    if text("service.name").is_none_or(|name| name.starts_with("unknown_service")) {
        attributes.push(KeyValue::new("service.name", SCOPE));
    }
    if text("service.version").is_none() {
        attributes.push(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    Resource::builder().with_attributes(attributes).build()
}

/// The name of the trace that a span is recorded in, as the W3C spells it. A trace that is not
/// recorded cannot be looked up by a name, so it has none.
pub fn name_of(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let known = context.span().span_context().clone();
    (known.is_valid() && known.is_sampled()).then(|| known.trace_id().to_string())
}

/// Makes a span that has just been opened a part of the trace that the headers of its request name,
/// if they name one and are believed.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    let headers = HeaderExtractor(headers);
    let parent = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &headers)
    });
    if parent.span().span_context().is_valid() {
        // It fails where nobody listens, and then there is no trace to be a part of.
        let _ = span.set_parent(parent);
    }
}
