//! Text that must not be shown.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// No secret is longer than this, so that a wrong path cannot fill the memory.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A secret: it can be used, but neither printed nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The text of a secret in a file, without the line end that editors add.
pub(crate) fn read_secret(path: &Path) -> Result<String, String> {
    let failed = |error| format!("cannot read {}: {error}", path.display());
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    let length = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if length as u64 > SECRET_BYTES_MAX {
        return Err(format!("{} is longer than {SECRET_BYTES_MAX} bytes", path.display()));
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return Err(format!("{} is empty", path.display()));
    }
    Ok(text)
}
