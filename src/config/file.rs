//! The configuration file: TOML, with the line of everything in it.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::errors::{ConfigError, Lines, unknown};
use super::raw::{RawSettings, RawValue};
use super::{keys, lists};
use crate::setting::Shape;

/// Adds the values of the file, in the order of its lines.
///
/// Of a file that is not TOML only the syntax errors are reported: the rest would be guesses.
pub(super) fn read(path: &Path, contents: &str, raw: &mut RawSettings) {
    let lines = Lines { path, contents };
    let (table, errors) = DeTable::parse_recoverable(contents);
    for error in &errors {
        let source = lines.source(error.span().map_or(0, |span| span.start), None);
        let message = error.message().to_owned();
        raw.values.push(Err(ConfigError { source, message }));
    }
    if errors.is_empty() {
        read_table(lines, "", table.get_ref(), raw);
    } else {
        raw.unreadable = true;
    }
}

/// Goes as deep as there are sections, and no deeper.
fn read_table(lines: Lines<'_>, section: &str, table: &DeTable<'_>, raw: &mut RawSettings) {
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in rows {
        let key = keys::join(section, name.get_ref());
        if let (true, DeValue::Table(inner)) = (is_section(&key), value.get_ref()) {
            read_table(lines, &key, inner, raw);
            continue;
        }
        if lists::read(lines, (name.span().start, &key), value.get_ref(), raw) {
            continue;
        }
        raw.values.push(read_value(lines, &key, name, value.get_ref()));
    }
}

fn read_value(
    lines: Lines<'_>,
    name: &str,
    written: &Spanned<Cow<'_, str>>,
    value: &DeValue<'_>,
) -> Result<RawValue, ConfigError> {
    let source = lines.source(written.span().start, Some(name));
    let text = match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Integer(integer) => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix());
            Ok(number.map_or_else(|_| integer.to_string(), |number| number.to_string()))
        }
        DeValue::Table(_) => Err("table"),
        DeValue::Array(values) => joined(name, values).ok_or("list"),
        DeValue::Float(_) => Err("fraction"),
        DeValue::Datetime(_) => Err("date"),
    };
    let message = match (keys::find(name), text) {
        (Some((key, by_file)), Ok(text)) => return Ok(RawValue { source, key, by_file, text }),
        (Some(_), Err(found)) => {
            format!("a {found} is not a value: write a string, a number, true or false")
        }
        (None, Ok(_)) if is_section(name) => format!("is a section: write [{name}]"),
        (None, Err("table")) => unknown("section", name, sections()),
        (None, Ok(_) | Err(_)) => unknown("key", name, keys::names().chain(lists::names())),
    };
    Err(ConfigError { source, message })
}

/// The texts of a list, where the setting may be one.
fn joined(name: &str, values: &DeArray<'_>) -> Option<String> {
    keys::find(name).filter(|(key, _)| key.shape == Shape::List)?;
    let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
        _ => None,
    };
    let texts: Option<Vec<String>> = values.iter().map(text).collect();
    Some(texts?.join(","))
}

/// The names of tables, `store` and `store.s3` among them.
fn sections() -> impl Iterator<Item = String> {
    let above = |key: String| -> Vec<String> {
        key.match_indices('.').map(|(end, _)| key[..end].to_owned()).collect()
    };
    keys::names().flat_map(above)
}

fn is_section(name: &str) -> bool {
    sections().any(|section| section == name)
}
