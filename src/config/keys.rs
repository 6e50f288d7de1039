//! The keys of all settings, and the environment variable of each.

use std::sync::LazyLock;

use super::Settings;
use crate::setting::{Item, Section, Setting, Shape};

/// What the name of every variable of Longshore begins with.
pub(super) const VARIABLE_PREFIX: &str = "LONGSHORE_";

static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let mut keys = Vec::new();
    collect("", &mut Settings::default(), &mut keys);
    keys
});

/// The key of a setting.
#[derive(Debug)]
pub(super) struct Key {
    /// Section and name, as in the file: `uploads.part_bytes`.
    pub(super) name: String,
    pub(super) shape: Shape,
}

impl Key {
    /// The key of the path of a file that holds the value, for secrets.
    pub(super) fn file_key(&self) -> Option<String> {
        (self.shape == Shape::Secret).then(|| format!("{}_file", self.name))
    }
}

fn collect(section: &str, rows: &mut dyn Section, keys: &mut Vec<Key>) {
    for item in rows.items() {
        match item {
            Item::Setting(Setting { shape: Shape::Tables, .. }) => {}
            Item::Setting(Setting { name, shape, .. }) => {
                keys.push(Key { name: join(section, name), shape });
            }
            Item::Section(name, inner) => collect(&join(section, name), inner, keys),
        }
    }
}

pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// Every setting with one value, in the order of the reference.
pub(super) fn all() -> &'static [Key] {
    &KEYS
}

/// Every key that may be written, those of files included.
pub(super) fn names() -> impl Iterator<Item = String> {
    all().iter().flat_map(|key| [Some(key.name.clone()), key.file_key()].into_iter().flatten())
}

/// The key with this name, and whether the name means the path of a file with the value.
pub(super) fn find(name: &str) -> Option<(&'static Key, bool)> {
    all().iter().find_map(|key| {
        let by_file = key.file_key().is_some_and(|file_key| file_key == name);
        (key.name == name || by_file).then_some((key, by_file))
    })
}

/// The environment variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// The setting with this key, below a section.
pub(super) fn setting<'s>(section: &'s mut dyn Section, key: &str) -> Option<Setting<'s>> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
    section.items().into_iter().find_map(|item| match (item, rest) {
        (Item::Setting(found), None) if found.name == first => Some(found),
        (Item::Section(name, inner), Some(rest)) if name == first => setting(inner, rest),
        (Item::Setting(_) | Item::Section(..), _) => None,
    })
}
