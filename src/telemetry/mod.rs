//! What the process tells about itself: the log, on standard error, what it counts, and traces, if
//! somebody asks.

pub mod metrics;
pub mod traces;

use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What a level without a path means for the libraries below us: they say no more than `info`. None
/// of them was seen to show credentials below that, and nothing promises that the next release of
/// each will not. Whoever names one of them gets what was asked for.
fn directives(level: &str) -> String {
    let ours = |directive: &str| match directive {
        "debug" | "trace" => format!("info,longshore={directive}"),
        other => other.to_owned(),
    };
    level.split(',').map(ours).collect::<Vec<_>>().join(",")
}

/// Begins logging, and tracing if it is wanted: that needs a runtime around it. A second call in
/// one process changes nothing.
pub fn start(format: Format, level: &str, traces: traces::Wanted) -> Option<traces::Traces> {
    let (traces, warnings) = traces.begin();
    let mut listeners = vec![log(format, level)];
    listeners.extend(traces.as_ref().map(|traces| traces.layer().boxed()));
    if tracing_subscriber::registry().with(listeners).try_init().is_err() {
        tracing::debug!("logging was started before");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    traces
}

/// Whoever listens to what the program says. They are a list, because one that is an `Option` and
/// `None` would count as somebody who wants to hear everything.
type Listener = Box<dyn Layer<Registry> + Send + Sync>;

fn log(format: Format, level: &str) -> Listener {
    let layer = fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            layer.with_ansi(ansi).with_target(false).with_filter(filter(level)).boxed()
        }
        Format::Json => layer.json().flatten_event(true).with_filter(filter(level)).boxed(),
    }
}

/// What is logged. Never the spans of traces: without somebody who listens they are not even made.
fn filter(level: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(directives(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    filter.add_directive(format!("{}=off", traces::TARGET).parse().expect("it is a directive"))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    /// The macro of a span looks at a number and goes on, if nobody listens.
    #[test]
    fn without_traces_no_span_is_made() {
        for level in ["info", "trace", "longshore=trace,traces=trace"] {
            let subscriber = tracing_subscriber::registry().with(vec![log(Format::Text, level)]);
            tracing::subscriber::with_default(subscriber, || {
                assert!(tracing::info_span!(target: "traces", "request").is_disabled(), "{level}");
                assert!(tracing::enabled!(Level::INFO), "{level}: the log goes on");
            });
        }
    }

    #[test]
    fn libraries_say_more_than_info_only_if_they_are_named() {
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
