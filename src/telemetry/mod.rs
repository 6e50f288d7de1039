//! What the process tells about itself: the log, on standard error, and traces, if somebody asks.

pub mod traces;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins logging, and tracing if it is wanted: that needs a runtime around it. A second call in one
/// process changes nothing.
pub fn start(format: Format, level: &str, traces: traces::Wanted) -> Option<traces::Traces> {
    let (traces, warnings) = traces.begin();
    let registry = tracing_subscriber::registry().with(traces.as_ref().map(traces::Traces::layer));
    let started = match format {
        Format::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
            registry.with(layer.with_target(false).with_filter(filter(level))).try_init()
        }
        Format::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer.with_filter(filter(level))).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    traces
}

/// What is logged. Never the spans of traces: without somebody who listens they are not even made.
fn filter(level: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    filter.add_directive(format!("{}=off", traces::TARGET).parse().expect("it is a directive"))
}
