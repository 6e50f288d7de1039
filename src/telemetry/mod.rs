//! The log on standard error, metrics, and optional traces.

pub mod metrics;
pub mod traces;

mod settings;

use std::error::Error as StdError;

use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

pub use settings::{LogFormat, LogSettings, MetricsSettings, RequestLog};

/// Limits libraries to `info` if a level has no module path: below `info`, a future release of a
/// library could log credentials. A directive that names a library applies as written.
fn directives(level: &str) -> String {
    let ours = |directive: &str| match directive {
        "debug" | "trace" => format!("info,longshore={directive}"),
        other => other.to_owned(),
    };
    level.split(',').map(ours).collect::<Vec<_>>().join(",")
}

/// An error and what caused it, in one line.
pub fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Errors that only pass on another one say the same.
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

/// Starts logging, and traces if they are enabled, inside of a runtime. A second call in one
/// process changes nothing.
pub fn start(settings: &LogSettings, traces: traces::TraceConfig) -> Option<traces::Traces> {
    let (traces, warnings) = traces.start();
    let mut layers = vec![log(settings.format, &settings.level)];
    layers.extend(traces.as_ref().map(|traces| traces.layer().boxed()));
    if tracing_subscriber::registry().with(layers).try_init().is_err() {
        tracing::debug!("logging is already started");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    traces
}

/// A layer in a list: an `Option<Layer>` that is `None` would enable every span.
type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn log(format: LogFormat, level: &str) -> BoxedLayer {
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            layer.with_ansi(ansi).with_target(false).with_filter(filter(level)).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter(level)).boxed(),
    }
}

/// The filter of the log. It excludes the spans of traces, so that they are not created while
/// traces are off.
fn filter(level: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(directives(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    filter.add_directive(format!("{}=off", traces::TARGET).parse().expect("a valid directive"))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// The macro of a disabled span only compares a number.
    #[test]
    fn without_traces_no_span_is_created() {
        for level in ["info", "trace", "longshore=trace,traces=trace"] {
            let subscriber = tracing_subscriber::registry().with(vec![log(LogFormat::Text, level)]);
            tracing::subscriber::with_default(subscriber, || {
                assert!(tracing::info_span!(target: "traces", "request").is_disabled(), "{level}");
                assert!(tracing::enabled!(Level::INFO), "{level}: the log goes on");
            });
        }
    }

    #[test]
    fn libraries_log_more_than_info_only_if_they_are_named() {
        for (level, meant) in [
            ("info", "info"),
            ("off", "off"),
            ("trace", "info,longshore=trace"),
            ("debug,longshore::store=trace", "info,longshore=debug,longshore::store=trace"),
            ("warn,hyper=trace", "warn,hyper=trace"),
        ] {
            assert_eq!(directives(level), meant);
            EnvFilter::try_new(directives(level)).expect("directives");
        }
    }
}
