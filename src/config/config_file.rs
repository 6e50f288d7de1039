//! The configuration file: TOML, with the line of everything in it.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::errors::{Place, Problem};
use super::rules::{self, RULES};
use super::sources::{Entry, Readout};
use super::suggest::unknown;
use super::table;

/// Adds what the file says, in the order of its lines.
///
/// Of a file that is not TOML only the syntax is reported: the rest would be guesses.
pub(super) fn read(path: &Path, contents: &str, readout: &mut Readout) {
    let file = File { path, contents };
    let (table, errors) = DeTable::parse_recoverable(contents);
    for error in &errors {
        let place = file.place(error.span().map_or(0, |span| span.start), None);
        let message = error.message().to_owned();
        readout.entries.push(Err(Problem { place, message }));
    }
    if errors.is_empty() {
        file.read_table("", table.get_ref(), readout);
    } else {
        readout.unreadable = true;
    }
}

/// The configuration file while it is read.
pub(super) struct File<'f> {
    path: &'f Path,
    contents: &'f str,
}

impl File<'_> {
    /// Goes as deep as there are sections, and no deeper.
    fn read_table(&self, section: &str, table: &DeTable<'_>, readout: &mut Readout) {
        let mut rows: Vec<_> = table.iter().collect();
        rows.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in rows {
            let dot = if section.is_empty() { "" } else { "." };
            let key = format!("{section}{dot}{}", name.get_ref());
            if let (true, DeValue::Table(inner)) = (is_section(&key), value.get_ref()) {
                self.read_table(&key, inner, readout);
                continue;
            }
            if key == RULES {
                rules::read(self, name.span().start, value.get_ref(), readout);
                continue;
            }
            readout.entries.push(self.read_value(&key, name, value.get_ref()));
        }
    }

    fn read_value(
        &self,
        key: &str,
        name: &Spanned<Cow<'_, str>>,
        value: &DeValue<'_>,
    ) -> Result<Entry, Problem> {
        let place = self.place(name.span().start, Some(key));
        let text = match value {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Boolean(flag) => Ok(flag.to_string()),
            DeValue::Integer(integer) => {
                let number = i128::from_str_radix(integer.as_str(), integer.radix());
                Ok(number.map_or_else(|_| integer.to_string(), |number| number.to_string()))
            }
            DeValue::Table(_) => Err("table"),
            DeValue::Array(values) => joined(key, values).ok_or("list"),
            DeValue::Float(_) => Err("fraction"),
            DeValue::Datetime(_) => Err("date"),
        };
        let message = match (table::find(key), text) {
            (Some((setting, by_file)), Ok(text)) => {
                return Ok(Entry { place, setting, by_file, text });
            }
            (Some(_), Err(found)) => {
                format!("a {found} is not a value: write a string, a number, true or false")
            }
            (None, Ok(_)) if is_section(key) => format!("is a section: write [{key}]"),
            (None, Err("table")) => unknown("section", key, sections()),
            (None, Ok(_) | Err(_)) => unknown("key", key, table::keys().chain([RULES.to_owned()])),
        };
        Err(Problem { place, message })
    }

    pub(super) fn place(&self, offset: usize, key: Option<&str>) -> Place {
        let starts = |(start, _): &(usize, &str)| *start < offset;
        let line = 1 + self.contents.match_indices('\n').take_while(starts).count();
        Place::File { path: self.path.to_owned(), line, key: key.map(str::to_owned) }
    }
}

/// The texts of a list, where the setting may be one.
fn joined(key: &str, values: &DeArray<'_>) -> Option<String> {
    table::find(key).filter(|(setting, _)| setting.is_list())?;
    let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
        DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
        _ => None,
    };
    let texts: Option<Vec<String>> = values.iter().map(text).collect();
    Some(texts?.join(","))
}

/// The names of tables, `store` and `store.s3` among them.
fn sections() -> impl Iterator<Item = String> {
    table::keys().filter_map(|key| Some(key.rsplit_once('.')?.0.to_owned()))
}

fn is_section(name: &str) -> bool {
    sections().any(|section| section == name)
}
