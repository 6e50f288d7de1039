//! One table of a list of tables, such as `[[access.rules]]`, while it is read.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{ConfigError, Lines, unknown};

/// One table of a list while it is read.
pub(super) struct Table<'f> {
    lines: Lines<'f>,
    key: &'static str,
    begins: usize,
    /// What nothing has asked for yet.
    left: Vec<(&'f str, usize, &'f Spanned<DeValue<'f>>)>,
    asked: Vec<&'static str>,
    /// With the offsets of their fields.
    errors: Vec<(usize, ConfigError)>,
}

impl<'f> Table<'f> {
    fn new(
        lines: Lines<'f>,
        key: &'static str,
        (begins, fields): (usize, &'f DeTable<'f>),
    ) -> Self {
        let left = fields.iter().map(|(name, value)| (&**name.get_ref(), name.span().start, value));
        let (left, asked, errors) = (left.collect(), Vec::new(), Vec::new());
        Self { lines, key, begins, left, asked, errors }
    }

    /// What `parse` makes of the table, if all of it is good.
    pub(super) fn read<T>(&mut self, parse: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let parsed = parse(self);
        for (name, at, _) in std::mem::take(&mut self.left) {
            let fields = self.asked.iter().map(|field| format!("{}.{field}", self.key));
            let message = unknown("key", &format!("{}.{name}", self.key), fields);
            self.error(at, name, message);
        }
        self.errors.sort_by_key(|(at, _)| *at);
        parsed.filter(|_| self.errors.is_empty())
    }

    /// Everything that is wrong with it.
    fn errors(self) -> impl Iterator<Item = ConfigError> {
        self.errors.into_iter().map(|(_, error)| error)
    }

    /// Where the table is, for messages.
    pub(super) fn place(&self) -> String {
        self.lines.source(self.begins, None).to_string()
    }

    /// Whether the table has the field.
    pub(super) fn has(&self, field: &str) -> bool {
        self.left.iter().any(|(name, ..)| *name == field)
    }

    /// The value of a field, if it is there.
    pub(super) fn value<T: FromStr<Err: Display>>(&mut self, field: &'static str) -> Option<T> {
        let (at, value) = self.take(field)?;
        match value.get_ref() {
            DeValue::String(text) => self.parsed(at, field, text),
            DeValue::Integer(number) => self.parsed(at, field, number.as_str()),
            DeValue::Boolean(flag) => self.parsed(at, field, if *flag { "true" } else { "false" }),
            _ => {
                self.error(at, field, "is not a string or a number".to_owned());
                None
            }
        }
    }

    /// The values of a field, one or a list of them, if it is there.
    pub(super) fn values<T: FromStr<Err: Display>>(
        &mut self,
        field: &'static str,
    ) -> Option<Vec<T>> {
        let (at, value) = self.take(field)?;
        let values: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        if values.is_empty() {
            self.error(at, field, "is an empty list".to_owned());
        }
        let mut parsed = Vec::new();
        for value in values {
            let at = value.span().start;
            match value.get_ref() {
                DeValue::String(text) => parsed.extend(self.parsed(at, field, text)),
                _ => self.error(at, field, "is not a string or a list of strings".to_owned()),
            }
        }
        Some(parsed)
    }

    /// The fields of a table within the table, if it is there.
    pub(super) fn object(&mut self, field: &'static str) -> Option<Map<String, Value>> {
        let (at, value) = self.take(field)?;
        match json(value.get_ref()) {
            Some(Value::Object(fields)) => Some(fields),
            Some(_) => {
                self.error(at, field, "is not a table".to_owned());
                None
            }
            None => {
                self.error(at, field, "has a date or a number that is out of range".to_owned());
                None
            }
        }
    }

    /// Says that a field is missing that has to be there.
    pub(super) fn required<T>(&mut self, field: &'static str, value: Option<T>) -> Option<T> {
        // A field that is there and wrong has its own error.
        let wrong = self.errors.iter().any(|(_, error)| error.is_about(self.key, field));
        if value.is_none() && !wrong {
            self.error(self.begins, field, "is missing".to_owned());
        }
        value
    }

    /// Says what is wrong with the table as a whole, or with how its fields go together.
    pub(super) fn wrong(&mut self, field: &'static str, message: String) {
        self.error(self.begins, field, message);
    }

    fn take(&mut self, field: &'static str) -> Option<(usize, &'f Spanned<DeValue<'f>>)> {
        self.asked.push(field);
        let index = self.left.iter().position(|(name, ..)| *name == field)?;
        let (_, at, value) = self.left.swap_remove(index);
        Some((at, value))
    }

    fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        at: usize,
        field: &str,
        text: &str,
    ) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(at, field, error.to_string());
                None
            }
        }
    }

    fn error(&mut self, at: usize, field: &str, message: String) {
        let source = self.lines.source(at, Some(&format!("{}.{field}", self.key)));
        self.errors.push((at, ConfigError { source, message }));
    }
}

/// Calls `read` with each table of a list. Returns everything that is wrong with it.
pub(super) fn read_each(
    lines: Lines<'_>,
    (at, key): (usize, &'static str),
    value: &DeValue<'_>,
    mut read: impl FnMut(&mut Table<'_>),
) -> Vec<ConfigError> {
    let error = |at, message| ConfigError { source: lines.source(at, Some(key)), message };
    let DeValue::Array(rows) = value else {
        return vec![error(at, format!("is a list of tables: write [[{key}]]"))];
    };
    let mut wrong = Vec::new();
    for row in rows {
        let begins = row.span().start;
        let DeValue::Table(fields) = row.get_ref() else {
            wrong.push(error(begins, format!("is not a table: write [[{key}]]")));
            continue;
        };
        let mut table = Table::new(lines, key, (begins, fields));
        read(&mut table);
        wrong.extend(table.errors());
    }
    wrong
}

/// A value as JSON, which has no dates. TOML limits the depth.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok()?.into()
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().ok()?.into(),
        DeValue::Array(values) => {
            Value::Array(values.iter().map(|value| json(value.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| Some((name.get_ref().to_string(), json(value.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
        DeValue::Datetime(_) => return None,
    })
}
