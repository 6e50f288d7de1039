//! The audit log: one line of JSON for each change, and for each that was refused.
//!
//! A line is handed to the kernel before its request is answered. One thread writes the lines, in
//! the order in which they were handed to it, so that no disk stops the runtime. Where a line
//! cannot be written, the log has it at level `error`, a metric counts it, and changes are refused
//! until a line can be written again: each refused change has a line, too, which is the next try.
//!
//! This module knows neither HTTP nor the store.

mod entry;
mod settings;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use self::entry::{Entry, Outcome, TagChange, Tags, Text, Who};
pub use self::settings::{AuditLogSettings, Destination, OnFailure};
use self::writer::{Line, Writer};
use crate::telemetry::metrics::Metrics;

/// Lines that wait for the thread. Further requests wait until there is room.
const QUEUED_LINES_MAX: usize = 256;
/// How long a request waits for its line. It is answered then, and the line counts as missing.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The same while no line can be written.
const WAIT_MAX_WHILE_FAILING: Duration = Duration::from_secs(1);

/// A handle of the audit log, or of none.
#[derive(Clone, Debug, Default)]
pub struct AuditLog(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    lines: mpsc::Sender<Line>,
    pulls: bool,
    on_failure: OnFailure,
    /// Whether the last line could not be written.
    failing: AtomicBool,
    metrics: Metrics,
}

impl AuditLog {
    /// Opens the destination and starts the thread that writes. The thread ends with the last
    /// handle.
    pub fn open(settings: &AuditLogSettings, metrics: &Metrics) -> Result<Self, String> {
        let Some(destination) = &settings.destination else { return Ok(Self::default()) };
        let start = || {
            let writer = Writer::open(destination)?;
            let (lines, queue) = mpsc::channel(QUEUED_LINES_MAX);
            thread::Builder::new().name("audit-log".to_owned()).spawn(|| writer.run(queue))?;
            Ok(lines)
        };
        let lines = start().map_err(|error| refused(destination, &error))?;
        Ok(Self(Some(Arc::new(Running {
            lines,
            pulls: settings.pulls,
            on_failure: settings.on_failure,
            failing: AtomicBool::new(false),
            metrics: metrics.clone(),
        }))))
    }

    /// Whether it could be opened. Creates no file.
    pub fn check(settings: &AuditLogSettings) -> Result<(), String> {
        let Some(destination) = &settings.destination else { return Ok(()) };
        writer::check(destination).map_err(|error| refused(destination, &error))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub fn has_pulls(&self) -> bool {
        self.0.as_ref().is_some_and(|running| running.pulls)
    }

    /// Whether a change may begin: its line can probably be written, or need not be.
    pub fn admits_changes(&self) -> bool {
        self.0.as_ref().is_none_or(|running| {
            running.on_failure == OnFailure::Continue || !running.failing.load(Ordering::Relaxed)
        })
    }

    /// Hands a line to the kernel. If that fails, the log and the metrics say so.
    ///
    /// A caller that stops waiting may lose a line that nothing counts: this runs as a task.
    pub async fn write(&self, entry: &Entry) {
        let Some(running) = &self.0 else { return };
        let line = entry.line();
        match running.send(line.clone()).await {
            Ok(()) => {
                running.metrics.audit_lines.inc(());
                if running.failing.swap(false, Ordering::Relaxed) {
                    tracing::warn!("the audit log is written again");
                }
            }
            Err(error) => {
                running.failing.store(true, Ordering::Relaxed);
                running.metrics.audit_lines_missing.inc(());
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                tracing::error!(%error, line, "a line of the audit log was not written");
            }
        }
    }
}

impl Running {
    async fn send(&self, text: Bytes) -> io::Result<()> {
        let failing = self.failing.load(Ordering::Relaxed);
        let wait = if failing { WAIT_MAX_WHILE_FAILING } else { WAIT_MAX };
        let (written, acknowledged) = oneshot::channel();
        let sent = async {
            let ended = || io::Error::other("the thread of the audit log has ended");
            self.lines.send(Line { text, written }).await.map_err(|_| ended())?;
            acknowledged.await.map_err(|_| ended())?
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "writing takes too long");
        timeout(wait, sent).await.map_err(late)?
    }
}

fn refused(destination: &Destination, error: &io::Error) -> String {
    format!("audit_log.destination: {destination} cannot be written: {error}")
}
