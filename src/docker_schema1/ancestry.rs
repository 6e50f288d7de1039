//! The parents in a history: each entry may name itself and its parent.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{Error, invalid};
use crate::oci::truncate::truncate;

/// The checked fields of an entry. Entries that cannot be parsed are not checked: the Docker
/// registry never looked into them.
#[derive(Deserialize)]
struct Entry {
    id: String,
    parent: Option<String>,
}

/// Refuses a history with an entry that is its own ancestor: a client that follows the parents
/// would never come to an end.
pub(super) fn check<'a>(history: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut parents: HashMap<String, Option<String>> = HashMap::new();
    for text in history {
        let Ok(entry) = serde_json::from_str::<Entry>(text) else { continue };
        let parent = entry.parent.filter(|parent| !parent.is_empty());
        // Old clients wrote an entry twice; only two that differ are a contradiction.
        if parents.get(&entry.id).is_some_and(|known| *known != parent) {
            return Err(invalid(format!(
                "the history gives {:?} two different parents",
                truncate(&entry.id)
            )));
        }
        parents.insert(entry.id, parent);
    }
    let mut arrived: HashSet<&str> = HashSet::new();
    for start in parents.keys() {
        let mut path: HashSet<&str> = HashSet::new();
        let mut at = Some(start.as_str());
        while let Some(id) = at.filter(|id| !arrived.contains(id)) {
            if !path.insert(id) {
                return Err(invalid(format!(
                    "the history goes round in a circle: {:?} is its own ancestor",
                    truncate(id)
                )));
            }
            at = parents.get(id).and_then(Option::as_deref);
        }
        arrived.extend(path);
    }
    Ok(())
}
