//! `[[access.rules]]`: the one setting that is a list of tables, and so has no variable and no
//! flag.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::config_file::File;
use super::errors::Problem;
use super::sources::Readout;
use super::suggest::unknown;
use crate::auth::{Pattern, Permission, Rule, Subject};

/// The key of the list.
pub(super) const RULES: &str = "access.rules";

const FIELDS: [&str; 3] = ["subject", "repositories", "actions"];

/// Adds the rules of a file, and everything that is wrong with them, in the order of the lines.
pub(super) fn read(file: &File<'_>, at: usize, value: &DeValue<'_>, readout: &mut Readout) {
    let DeValue::Array(rows) = value else {
        let message = format!("is a list of tables: write [[{RULES}]]");
        readout.entries.push(Err(Problem { place: file.place(at, Some(RULES)), message }));
        return;
    };
    for row in rows {
        let begins = row.span().start;
        let DeValue::Table(table) = row.get_ref() else {
            let message = format!("is not a table: write [[{RULES}]]");
            readout.entries.push(Err(Problem { place: file.place(begins, Some(RULES)), message }));
            continue;
        };
        let mut reading = Reading { file, begins, problems: Vec::new() };
        let rule = reading.rule(table);
        if reading.problems.is_empty() {
            readout.rules.push(rule);
        }
        readout.entries.extend(reading.problems.into_iter().map(Err));
    }
}

/// One rule while it is read.
struct Reading<'f> {
    file: &'f File<'f>,
    begins: usize,
    problems: Vec<Problem>,
}

impl Reading<'_> {
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
                    self.problem(at, other, message);
                }
            }
        }
        let permissions: Vec<Permission> = self.required("actions", permissions);
        // The list of all repositories is of none in particular.
        let needs_none = permissions == [Permission::Catalog] && repositories.is_none();
        let repositories: Vec<Pattern> =
            if needs_none { Vec::new() } else { self.required("repositories", repositories) };
        Rule {
            subjects: self.required::<Subject>("subject", subjects),
            repositories,
            permissions,
            place: self.file.place(self.begins, None).to_string(),
        }
    }

    fn required<T>(&mut self, field: &str, values: Option<Vec<T>>) -> Vec<T> {
        values.unwrap_or_else(|| {
            self.problem(self.begins, field, "is missing".to_owned());
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
            self.problem(at, field, "is an empty list, which allows nothing".to_owned());
        }
        let mut parsed = Vec::new();
        for value in values {
            let at = value.span().start;
            match value.get_ref() {
                DeValue::String(text) => match text.parse() {
                    Ok(one) => parsed.push(one),
                    Err(error) => self.problem(at, field, format!("{error}")),
                },
                _ => self.problem(at, field, "is not a string or a list of strings".to_owned()),
            }
        }
        parsed
    }

    fn problem(&mut self, at: usize, field: &str, message: String) {
        let place = self.file.place(at, Some(&format!("{RULES}.{field}")));
        self.problems.push(Problem { place, message });
    }
}
