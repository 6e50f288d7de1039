//! The settings of the log and of `/metrics`.

use std::time::Duration;

use crate::setting::{DAY, MINUTE, choice, choice_of, duration, settings, text};

settings! {
    /// What `/metrics` on the admin port contains.
    pub struct MetricsSettings {
        /// Whether the HTTP metrics also appear under the names of the registry distribution
        /// (`registry_http_requests_total`), for dashboards made for it.
        aliases: bool = false, choice_of();
        /// The time between two usage scans of the bucket, which count what each namespace stores
        /// and find abandoned uploads. Set it for one process only, and see `docs/operations.md`
        /// for its cost.
        inventory: Option<Duration> = None, duration(MINUTE..=7 * DAY) => "1h";
    }
}

settings! {
    /// The log, on standard error.
    pub struct LogSettings {
        /// `text` for people, `json` for machines: one object a line.
        format: LogFormat = LogFormat::Text, choice_of();
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`; for one part of the program, its
        /// path and `=` before the level: `info,longshore::store=debug`. A level without a path
        /// applies to Longshore only: libraries log at `info` and above unless they are named,
        /// because their lower levels could show credentials.
        level: String = "info".to_owned(), text(level);
        /// The level of the access log, which has one line for each request: `info`, `debug`, or
        /// `off` for none. Failed requests (5xx) are always logged, at level `error`.
        requests: RequestLog = RequestLog::Info, choice_of();
    }
}

choice! {
    /// The format of a log line.
    pub enum LogFormat {
        Text = "text",
        /// One object a line.
        Json = "json",
    }
}

choice! {
    /// The level of the access log.
    pub enum RequestLog {
        Info = "info",
        Debug = "debug",
        Off = "off",
    }
}

impl RequestLog {
    /// Nothing: only failed requests have a line.
    pub fn level(self) -> Option<tracing::Level> {
        match self {
            Self::Info => Some(tracing::Level::INFO),
            Self::Debug => Some(tracing::Level::DEBUG),
            Self::Off => None,
        }
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Levels, each for the whole program or for one module: `info,longshore::store=debug`.
fn level(text: &str) -> Result<String, String> {
    let is_level = |word: &str| LEVELS.contains(&word);
    let is_module = |path: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        !path.is_empty() && path.chars().all(plain)
    };
    let is_directive = |directive: &str| match directive.split_once('=') {
        None => is_level(directive),
        Some((path, level)) => is_module(path) && is_level(level),
    };
    if text.split(',').all(is_directive) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is not a log level: levels are {}", LEVELS.join(", ")))
}
