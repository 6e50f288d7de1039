//! One setting: what it holds, within which limits, and how its text becomes a value.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::choice::Choice;
use super::secret::Secret;
use super::settings::Settings;
use super::store_url::StoreUrl;
use super::text;

/// A row of the table.
pub(super) struct Setting {
    /// Section and name, as in the file: `uploads.part_bytes`.
    pub(super) key: &'static str,
    pub(super) kind: Kind,
}

/// What a setting holds, with its limits, and the field that keeps it.
pub(super) enum Kind {
    Count(RangeInclusive<u32>, fn(&mut Settings) -> &mut u32),
    Bytes(RangeInclusive<u64>, fn(&mut Settings) -> &mut u64),
    Duration(RangeInclusive<Duration>, fn(&mut Settings) -> &mut Duration),
    /// A duration after which something happens again and again, or never if it is not set.
    Every(RangeInclusive<Duration>, fn(&mut Settings) -> &mut Option<Duration>),
    /// A type whose own grammar says all.
    Value(fn(&mut Settings) -> &mut dyn Value),
    /// Several of a kind; a list in the file, separated by commas elsewhere.
    List(fn(&mut Settings) -> &mut dyn Value),
    /// A string that a function checks and tidies.
    Text(Grammar, fn(&mut Settings) -> &mut dyn Value),
    /// It can also be given as the path of a file that holds it, under `<key>_file`.
    Secret(fn(&mut Settings) -> &mut Option<Secret>),
}

pub(super) type Grammar = fn(&str) -> Result<String, String>;

/// A field with a text form.
pub(super) trait Value {
    fn read(&mut self, text: &str) -> Result<(), String>;

    /// The inverse of `read`; nothing for what is not set.
    fn show(&self) -> Option<String>;
}

impl Setting {
    /// The key that names a file which holds the value, for secrets.
    pub(super) fn file_key(&self) -> Option<String> {
        matches!(self.kind, Kind::Secret(_)).then(|| format!("{}_file", self.key))
    }

    /// Whether the file may give it as a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    /// Reads the text of a value into its field.
    pub(super) fn read(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match &self.kind {
            Kind::Count(limits, field) => {
                *field(settings) = within(text::parse_count(text)?, limits, show_count)?;
            }
            Kind::Bytes(limits, field) => {
                *field(settings) = within(text::parse_bytes(text)?, limits, text::format_bytes)?;
            }
            Kind::Duration(limits, field) => {
                let duration = text::parse_duration(text)?;
                *field(settings) = within(duration, limits, text::format_duration)?;
            }
            Kind::Every(limits, field) => {
                let duration = text::parse_duration(text)?;
                *field(settings) = Some(within(duration, limits, text::format_duration)?);
            }
            Kind::Value(field) | Kind::List(field) => field(settings).read(text)?,
            Kind::Text(grammar, field) => field(settings).read(&grammar(text)?)?,
            Kind::Secret(_) if text.is_empty() => return Err("is empty".to_owned()),
            Kind::Secret(field) => *field(settings) = Some(Secret::new(text)),
        }
        Ok(())
    }

    /// The text of its value, as [`Setting::read`] reads it. Secrets show nothing.
    pub(super) fn show(&self, settings: &Settings) -> Option<String> {
        let mut settings = settings.clone();
        match &self.kind {
            Kind::Count(_, field) => Some(show_count(*field(&mut settings))),
            Kind::Bytes(_, field) => Some(text::format_bytes(*field(&mut settings))),
            Kind::Duration(_, field) => Some(text::format_duration(*field(&mut settings))),
            Kind::Every(_, field) => field(&mut settings).map(text::format_duration),
            Kind::Value(field) | Kind::List(field) | Kind::Text(_, field) => {
                field(&mut settings).show()
            }
            Kind::Secret(_) => None,
        }
    }

    /// The smallest and the largest value, in text.
    pub(super) fn limits(&self) -> Option<(String, String)> {
        match &self.kind {
            Kind::Count(limits, _) => Some(ends(limits, show_count)),
            Kind::Bytes(limits, _) => Some(ends(limits, text::format_bytes)),
            Kind::Duration(limits, _) | Kind::Every(limits, _) => {
                Some(ends(limits, text::format_duration))
            }
            Kind::Value(_) | Kind::List(_) | Kind::Text(..) | Kind::Secret(_) => None,
        }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.key)
    }
}

impl<T: Choice> Value for T {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = T::parse(text)?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.as_str().to_owned())
    }
}

impl<T: Choice> Value for Option<T> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(T::parse(text)?);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.map(|value| value.as_str().to_owned())
    }
}

impl Value for SocketAddr {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse().map_err(|_| {
            format!("{text:?} is not an address and a port, such as 127.0.0.1:5000 or [::]:5000")
        })?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for Option<SocketAddr> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut address = SocketAddr::from(([0; 4], 0));
        address.read(text)?;
        *self = Some(address);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.map(|address| address.to_string())
    }
}

impl Value for StoreUrl {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = text.parse()?;
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    fn read(&mut self, text: &str) -> Result<(), String> {
        text.clone_into(self);
        Ok(())
    }

    fn show(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Value for Option<String> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        *self = Some(text.to_owned());
        Ok(())
    }

    fn show(&self) -> Option<String> {
        self.clone()
    }
}

fn within<T: Copy + PartialOrd>(
    value: T,
    limits: &RangeInclusive<T>,
    show: fn(T) -> String,
) -> Result<T, String> {
    if limits.contains(&value) {
        return Ok(value);
    }
    let (least, most) = ends(limits, show);
    Err(format!("{} is not between {least} and {most}", show(value)))
}

fn ends<T: Copy>(limits: &RangeInclusive<T>, show: fn(T) -> String) -> (String, String) {
    (show(*limits.start()), show(*limits.end()))
}

fn show_count(count: u32) -> String {
    count.to_string()
}
