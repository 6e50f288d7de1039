//! The settings of the audit log.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::setting::{choice, choice_of, parsed, settings};

settings! {
    /// The audit log: a line of JSON for each change and for each change that was refused.
    pub struct AuditLogSettings {
        /// Where its lines go: `stdout`, or the path of a file, to which they are appended. The
        /// log is on standard error. Without this setting there is no audit log.
        destination: Option<Destination> = None, parsed::<Destination>() =>
            "/var/log/longshore/audit.log";
        /// Whether pulls have lines, too: `GET` and `HEAD` of manifests and of blobs.
        pulls: bool = false, choice_of();
        /// What happens while no line can be written, for example because the disk is full.
        /// `refuse_changes`: changes are answered with 503 before they begin; pulls go on.
        /// `continue`: changes are carried out. In both cases each line that is missing counts
        /// as a metric and stands in the log, at level `error`.
        on_failure: OnFailure = OnFailure::RefuseChanges, choice_of();
    }
}

choice! {
    /// What happens to changes while no line can be written.
    pub enum OnFailure {
        RefuseChanges = "refuse_changes",
        Continue = "continue",
    }
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stdout,
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stdout" => Ok(Self::Stdout),
            // A word is more likely a mistake than a file of that name in the working directory.
            _ if text.contains('/') && !text.ends_with('/') && !text.contains('\0') => {
                Ok(Self::File(text.into()))
            }
            _ => Err(format!(
                "{text:?} is neither stdout nor the path of a file, such as \
                 /var/log/longshore/audit.log"
            )),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
