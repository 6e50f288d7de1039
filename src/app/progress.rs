//! How far a command is that reads the whole bucket.

use std::convert::Infallible;
use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

use tokio::time::sleep;

/// Moves to the beginning of the line of a terminal, and empties it.
const EMPTY_LINE: &str = "\r\x1b[K";
/// How often the progress is shown on a terminal.
const SHOWN_EVERY: Duration = Duration::from_secs(1);
/// How often it is logged elsewhere.
const LOGGED_EVERY: Duration = Duration::from_mins(1);

/// A line of a terminal that is emptied at the end.
struct ProgressLine;

impl Drop for ProgressLine {
    fn drop(&mut self) {
        let _ = write!(stderr(), "{EMPTY_LINE}");
    }
}

/// Shows the progress of a command until it is dropped: in one line of a terminal, or in the log.
pub(super) async fn show(command: &str, progress: impl Fn() -> String) -> Infallible {
    let terminal = stderr().is_terminal();
    // Not `then_some`: dropping the value would write to what is no terminal.
    let _line = if terminal { Some(ProgressLine) } else { None };
    loop {
        sleep(if terminal { SHOWN_EVERY } else { LOGGED_EVERY }).await;
        let progress = progress();
        if terminal {
            let _ = write!(stderr(), "{EMPTY_LINE}{command}: {progress}\r");
        } else {
            tracing::info!("{command}: {progress}");
        }
    }
}
