//! What a setting holds: how its text is parsed, checked and shown.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::amount::{format_bytes, format_duration, parse_bytes, parse_duration};
use super::choice::Choice;
use super::secret::Secret;

type Parser<T> = dyn Fn(&str) -> Result<T, String>;

/// How the values of a setting are written.
pub(crate) struct Kind<T> {
    pub(super) parse: Box<Parser<T>>,
    /// The inverse of `parse`; empty for what must not be shown.
    pub(super) show: fn(&T) -> String,
    /// The smallest and the largest value.
    pub(super) limits: Option<(String, String)>,
    pub(super) shape: Shape,
}

/// Where and how a value may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One text in all sources.
    Text,
    /// A list in the file, separated by commas elsewhere.
    List,
    /// Also the path of a file that holds the value, under `<key>_file`.
    Secret,
    /// A list of tables, in the file only: it has no variable and no flag.
    Tables,
}

impl<T> Kind<T> {
    pub(crate) fn new(
        shape: Shape,
        parse: impl Fn(&str) -> Result<T, String> + 'static,
        show: fn(&T) -> String,
    ) -> Self {
        Self { parse: Box::new(parse), show, limits: None, shape }
    }
}

fn within<T: PartialOrd + 'static>(
    limits: RangeInclusive<T>,
    parse: fn(&str) -> Result<T, String>,
    show: fn(&T) -> String,
) -> Kind<T> {
    let shown = (show(limits.start()), show(limits.end()));
    let (least, most) = shown.clone();
    let parse = move |text: &str| {
        let value = parse(text)?;
        if limits.contains(&value) {
            return Ok(value);
        }
        Err(format!("{} is not between {least} and {most}", show(&value)))
    };
    Kind { limits: Some(shown), ..Kind::new(Shape::Text, parse, show) }
}

/// A number: `1000`.
pub(crate) fn count<T>(limits: RangeInclusive<T>) -> Kind<T>
where
    T: FromStr + Display + PartialOrd + 'static,
{
    let parse =
        |text: &str| text.parse().map_err(|_| format!("{text:?} is not a number, such as 1000"));
    within(limits, parse, T::to_string)
}

/// A size: `16MiB`.
pub(crate) fn bytes(limits: RangeInclusive<usize>) -> Kind<usize> {
    let parse = |text: &str| {
        usize::try_from(parse_bytes(text)?).map_err(|_| format!("{text:?} is too large"))
    };
    within(limits, parse, |bytes| format_bytes(*bytes as u64))
}

/// A duration: `30s`.
pub(crate) fn duration(limits: RangeInclusive<Duration>) -> Kind<Duration> {
    within(limits, parse_duration, |duration| format_duration(*duration))
}

/// One of a few words.
pub(crate) fn choice_of<T: Choice>() -> Kind<T> {
    Kind::new(Shape::Text, T::parse, |value| value.as_str().to_owned())
}

/// An IP address and a port.
pub(crate) fn address() -> Kind<SocketAddr> {
    let bad = "is not an address and a port, such as 127.0.0.1:5000 or [::]:5000";
    let parse = move |text: &str| text.parse().map_err(|_| format!("{text:?} {bad}"));
    Kind::new(Shape::Text, parse, SocketAddr::to_string)
}

/// A type with a grammar of its own.
pub(crate) fn parsed<T: FromStr<Err = String> + Display + 'static>() -> Kind<T> {
    Kind::new(Shape::Text, T::from_str, T::to_string)
}

/// A string that a function checks and normalizes.
pub(crate) fn text(parse: fn(&str) -> Result<String, String>) -> Kind<String> {
    Kind::new(Shape::Text, parse, String::clone)
}

/// The path of a file. The module that reads the file reports one that is missing.
pub(crate) fn path() -> Kind<PathBuf> {
    let parse = |text: &str| {
        if text.is_empty() || text.contains('\0') {
            return Err("is not the path of a file".to_owned());
        }
        Ok(PathBuf::from(text))
    };
    Kind::new(Shape::Text, parse, |path| path.display().to_string())
}

/// A secret. Nothing shows it. A line end after it does not belong to it, as in a file.
pub(crate) fn secret() -> Kind<Secret> {
    let parse = |text: &str| {
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(Secret::new(text)) }
    };
    Kind::new(Shape::Secret, parse, |_| String::new())
}

/// Tables of the file, which `config` reads with a function of their own.
pub(crate) fn tables<T>() -> Kind<Vec<T>> {
    let parse = |_: &str| Err("is a list of tables".to_owned());
    Kind::new(Shape::Tables, parse, |_| String::new())
}

/// For [`text`]: neither empty nor broken by spaces.
pub(crate) fn word(text: &str) -> Result<String, String> {
    let visible = |c: char| c.is_ascii_graphic();
    if text.is_empty() || !text.chars().all(visible) {
        return Err(format!("{text:?} is not one word"));
    }
    Ok(text.to_owned())
}
