//! What is wrong with a configuration, and where: all of it at once.

use std::fmt;
use std::path::PathBuf;

/// Everything that is wrong, in the order in which it was read. Never empty.
#[derive(Debug)]
pub struct Errors(Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug)]
pub struct Problem {
    pub place: Place,
    /// Never holds a secret.
    pub message: String,
}

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the configuration file, counted from 1, and the key if it has one.
    File { path: PathBuf, line: usize, key: Option<String> },
    /// An environment variable.
    Environment(String),
    /// A flag, with its dashes.
    Flag(&'static str),
    /// Nowhere: the default of a key.
    Default(&'static str),
}

impl Errors {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        debug_assert!(!problems.is_empty(), "errors without an error");
        Self(problems)
    }

    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(formatter, "{line_end}{}: {}", problem.place, problem.message)?;
        }
        Ok(())
    }
}

impl fmt::Display for Place {
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
