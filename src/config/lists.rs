//! Lists of tables, such as `[[access.rules]]`. Only a file can hold one: it has no variable and no
//! flag.

use toml::de::DeValue;

use super::errors::Lines;
use super::raw::RawSettings;
use super::tables::{Table, read_each};
use super::{access_issuers, access_rules, quotas};

/// Reads one table.
type Read = fn(&mut Table<'_>, &mut RawSettings);

/// The key of each list, and what reads one of its tables.
const LISTS: &[(&str, Read)] = &[
    ("access.rules", |table, raw| raw.rules.extend(table.read(access_rules::rule))),
    ("access.issuers", |table, raw| raw.issuers.extend(table.read(access_issuers::issuer))),
    ("quotas", |table, raw| raw.quotas.extend(table.read(quotas::quota))),
];

/// The keys of all lists.
pub(super) fn names() -> impl Iterator<Item = String> {
    LISTS.iter().map(|(key, _)| (*key).to_owned())
}

/// Adds the tables of a list, and everything that is wrong with them. False if the key is that of
/// no list.
pub(super) fn read(
    lines: Lines<'_>,
    (at, key): (usize, &str),
    value: &DeValue<'_>,
    raw: &mut RawSettings,
) -> bool {
    let Some((key, read)) = LISTS.iter().find(|(list, _)| *list == key) else { return false };
    let wrong = read_each(lines, (at, key), value, |table| read(table, raw));
    raw.values.extend(wrong.into_iter().map(Err));
    true
}
