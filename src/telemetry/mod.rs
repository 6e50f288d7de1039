//! What the process tells about itself: the log, on standard error, and what it counts.

pub mod metrics;

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

/// What a level without a path means for the libraries below us: they say no more than `info`,
/// because what some of them say of a request has its credentials in it. Whoever names one of them
/// gets what was asked for.
fn directives(level: &str) -> String {
    let ours = |directive: &str| match directive {
        "debug" | "trace" => format!("info,longshore={directive}"),
        other => other.to_owned(),
    };
    level.split(',').map(ours).collect::<Vec<_>>().join(",")
}

/// Begins logging. A second call in one process changes nothing.
pub fn start(format: Format, level: &str) {
    let filter = EnvFilter::try_new(directives(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
            registry.with(layer.with_target(false)).try_init()
        }
        Format::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
            registry.with(layer).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
