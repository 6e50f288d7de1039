//! How many files and sockets the process may open, compared with what the settings need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;
use crate::http::STREAM_BYTES;
use crate::setting::format_bytes;

/// Descriptors for everything besides clients and their transfers: ports, files, Redis.
const RESERVED: usize = 128;

/// Raises the limit of open files to what the settings need, as far as the system allows. Lowers
/// the settings to what it allows otherwise, and says so.
pub(super) fn fit(settings: &Settings) -> (Settings, Option<String>) {
    fit_to(settings, raise_to(needed(settings)))
}

/// A descriptor for each connection, and one for each file or connection to the store of the blobs
/// that are streamed and of the uploads.
fn needed(settings: &Settings) -> usize {
    let streams = settings.server.response_bytes / STREAM_BYTES;
    RESERVED + settings.server.connections_max + streams + settings.uploads.concurrent_max
}

fn fit_to(settings: &Settings, limit: usize) -> (Settings, Option<String>) {
    let needed = needed(settings);
    let mut fitting = settings.clone();
    if needed <= limit {
        return (fitting, None);
    }
    let available = limit.saturating_sub(RESERVED);
    let server = &mut fitting.server;
    // Half for connections, a quarter for blobs that are streamed, the rest for uploads.
    server.connections_max = server.connections_max.min(available / 2).max(1);
    server.response_bytes = server.response_bytes.min((available / 4).max(1) * STREAM_BYTES);
    let warning = format!(
        "the process may open {limit} files and needs {needed}: it serves {} connections at the \
         same time (server.connections_max) and {} of responses (server.response_bytes); raise \
         the limit (LimitNOFILE of systemd, ulimit -n)",
        server.connections_max,
        format_bytes(server.response_bytes as u64),
    );
    (fitting, Some(warning))
}

/// Raises the soft limit towards `needed`, up to the hard one, and returns what it is then.
fn raise_to(needed: usize) -> usize {
    let soft = |limit: Rlimit| limit.current.map_or(usize::MAX, saturating);
    let limit = getrlimit(Resource::Nofile);
    if soft(limit) < needed {
        let needed = needed as u64;
        let current = Some(limit.maximum.map_or(needed, |hard| hard.min(needed)));
        // Where the system refuses it, the limit stays.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    }
    soft(getrlimit(Resource::Nofile))
}

fn saturating(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_lowered_to_the_limit_of_open_files() {
        let settings = Settings::default();
        let (same, warning) = fit_to(&settings, needed(&settings));
        assert!(same == settings && warning.is_none());
        let (lower, warning) = fit_to(&settings, 1024);
        assert_eq!(lower.server.connections_max, 448);
        assert_eq!(lower.server.response_bytes, 224 * STREAM_BYTES);
        assert!(warning.is_some_and(|warning| warning.contains("may open 1024 files")));
        assert_eq!(fit_to(&settings, 0).0.server.connections_max, 1);
    }
}
