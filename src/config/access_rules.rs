//! `[[access.rules]]`: the only setting that is a list of tables, so it has no variable and no
//! flag.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{ConfigError, Lines, unknown};
use super::raw::RawSettings;
use crate::auth::{Pattern, Permission, Rule, Subject};

/// The key of the list.
pub(super) const RULES: &str = "access.rules";

const FIELDS: [&str; 3] = ["subject", "repositories", "actions"];

/// Adds the rules of a file, and everything that is wrong with them, in the order of the lines.
pub(super) fn read(lines: Lines<'_>, at: usize, value: &DeValue<'_>, raw: &mut RawSettings) {
    let DeValue::Array(rows) = value else {
        let message = format!("is a list of tables: write [[{RULES}]]");
        raw.values.push(Err(ConfigError { source: lines.source(at, Some(RULES)), message }));
        return;
    };
    for row in rows {
        let begins = row.span().start;
        let DeValue::Table(table) = row.get_ref() else {
            let message = format!("is not a table: write [[{RULES}]]");
            let source = lines.source(begins, Some(RULES));
            raw.values.push(Err(ConfigError { source, message }));
            continue;
        };
        let mut reader = RuleReader { lines, begins, errors: Vec::new() };
        let rule = reader.rule(table);
        if reader.errors.is_empty() {
            raw.rules.push(rule);
        }
        raw.values.extend(reader.errors.into_iter().map(Err));
    }
}

/// One rule while it is read.
struct RuleReader<'f> {
    lines: Lines<'f>,
    begins: usize,
    errors: Vec<ConfigError>,
}

impl RuleReader<'_> {
    fn rule(&mut self, table: &DeTable<'_>) -> Rule {
        let mut rows: Vec<_> = table.iter().collect();
        rows.sort_by_key(|(name, _)| name.span().start);
        let (mut subjects, mut repositories, mut permissions) = (None, None, None);
        for (name, value) in rows {
            let at = name.span().start;
            match name.get_ref().as_ref() {
                "subject" => subjects = Some(self.list(at, "subject", value)),
                "repositories" => repositories = Some(self.list(at, "repositories", value)),
                "actions" => permissions = Some(self.list(at, "actions", value)),
                other => {
                    let fields = FIELDS.iter().map(|field| format!("{RULES}.{field}"));
                    let key = format!("{RULES}.{other}");
                    let message = unknown("key", &key, fields);
                    self.error(at, other, message);
                }
            }
        }
        let permissions: Vec<Permission> = self.required("actions", permissions);
        // `catalog` concerns no repository in particular.
        let needs_none = permissions == [Permission::Catalog] && repositories.is_none();
        let repositories: Vec<Pattern> =
            if needs_none { Vec::new() } else { self.required("repositories", repositories) };
        Rule {
            subjects: self.required::<Subject>("subject", subjects),
            repositories,
            permissions,
            place: self.lines.source(self.begins, None).to_string(),
        }
    }

    fn required<T>(&mut self, field: &str, values: Option<Vec<T>>) -> Vec<T> {
        values.unwrap_or_else(|| {
            self.error(self.begins, field, "is missing".to_owned());
            Vec::new()
        })
    }

    /// One text or a list of them.
    fn list<T>(&mut self, at: usize, field: &str, value: &Spanned<DeValue<'_>>) -> Vec<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let single = std::slice::from_ref(value);
        let values: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => single.iter().collect(),
        };
        if values.is_empty() {
            self.error(at, field, "is an empty list, which allows nothing".to_owned());
        }
        let mut parsed = Vec::new();
        for value in values {
            let at = value.span().start;
            match value.get_ref() {
                DeValue::String(text) => match text.parse() {
                    Ok(one) => parsed.push(one),
                    Err(error) => self.error(at, field, format!("{error}")),
                },
                _ => self.error(at, field, "is not a string or a list of strings".to_owned()),
            }
        }
        parsed
    }

    fn error(&mut self, at: usize, field: &str, message: String) {
        let source = self.lines.source(at, Some(&format!("{RULES}.{field}")));
        self.errors.push(ConfigError { source, message });
    }
}
