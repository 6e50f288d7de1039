//! What is wrong with a configuration, and where: all of it at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong, in the order in which it was read. Never empty.
#[derive(Debug)]
pub struct Errors(Vec<ConfigError>);

/// One thing that is wrong.
#[derive(Debug)]
pub struct ConfigError {
    pub source: Source,
    /// Never holds a secret.
    pub message: String,
}

/// Where a value is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A line of the configuration file, counted from 1, and the key if it has one.
    File { path: PathBuf, line: usize, key: Option<String> },
    /// An environment variable.
    Environment(String),
    /// A flag, with its dashes.
    Flag(&'static str),
    /// No source has it: the default of a key.
    Default(&'static str),
}

impl ConfigError {
    /// Whether it is about this field of a table of the file.
    pub(super) fn is_about(&self, list: &str, field: &str) -> bool {
        let Source::File { key: Some(key), .. } = &self.source else { return false };
        key.strip_prefix(list).and_then(|rest| rest.strip_prefix('.')) == Some(field)
    }
}

impl Errors {
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        debug_assert!(!errors.is_empty(), "errors without an error");
        Self(errors)
    }

    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{line_end}{}: {}", error.source, error.message)?;
        }
        Ok(())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, key } => {
                write!(formatter, "file {}, line {line}", path.display())?;
                key.iter().try_for_each(|key| write!(formatter, ", {key}"))
            }
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(name) => formatter.write_str(name),
            Self::Default(key) => write!(formatter, "{key}"),
        }
    }
}

/// The text of the configuration file, to tell the line of an offset.
#[derive(Clone, Copy)]
pub(super) struct Lines<'f> {
    pub(super) path: &'f Path,
    pub(super) contents: &'f str,
}

impl Lines<'_> {
    pub(super) fn source(self, offset: usize, key: Option<&str>) -> Source {
        let starts = |(start, _): &(usize, &str)| *start < offset;
        let line = 1 + self.contents.match_indices('\n').take_while(starts).count();
        Source::File { path: self.path.to_owned(), line, key: key.map(str::to_owned) }
    }
}

/// A message that quotes a value, without the login of a URL: `http://user:password@host`.
pub(super) fn without_login(message: &str) -> String {
    let shown = message.rfind('@').and_then(|at| {
        let quoted = message[..at].find('"')? + 1;
        let start = message[quoted..at].find("://").map_or(quoted, |scheme| quoted + scheme + 3);
        Some(format!("{}…{}", &message[..start], &message[at..]))
    });
    shown.unwrap_or_else(|| message.to_owned())
}

/// The message about a key, section or variable that does not exist.
pub(super) fn unknown(
    what: &str,
    written: &str,
    candidates: impl Iterator<Item = String>,
) -> String {
    match nearest(written, candidates) {
        Some(suggestion) => format!("unknown {what}: did you mean {suggestion}?"),
        None => format!("unknown {what}: `longshore config-reference` prints all of them"),
    }
}

/// The candidate that is closest to the written name, if any is close. A key whose last part is
/// right but whose section is not counts as close.
fn nearest(written: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().map(str::to_owned);
    let (distance, candidate) = candidates
        .map(|candidate| {
            let elsewhere = last(written) == last(&candidate);
            let distance = strsim::levenshtein(written, &candidate);
            (if elsewhere { distance.min(1) } else { distance }, candidate)
        })
        .min()?;
    (distance <= 1.max(written.len() / 4)).then_some(candidate)
}
