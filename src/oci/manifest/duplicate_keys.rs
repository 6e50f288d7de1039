//! The first pass over a manifest: it must be one JSON object without duplicate keys, and the pass
//! collects what decides its type.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::oci::truncate::truncate;

/// How deep objects and arrays may nest. Real manifests need six levels. The JSON parser itself
/// stops at 128, with a message of its own.
const DEPTH_MAX: usize = 100;

/// The keys of the outermost object, and the two values that decide the type of the manifest.
#[derive(Debug, Default)]
pub(crate) struct TopLevel<'a> {
    pub(crate) schema_version: Option<u64>,
    pub(crate) media_type: Option<String>,
    keys: HashSet<Key<'a>>,
}

/// The name in a name/value pair, borrowed from the document unless it contains escapes. Names are
/// compared after unescaping (I-JSON, RFC 7493, 2.3).
#[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> TopLevel<'a> {
    /// Parses a whole document. Fails if anything but space follows it.
    pub(crate) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let top_level = deserializer.deserialize_map(TopLevelVisitor)?;
        deserializer.end()?;
        Ok(top_level)
    }

    /// Whether the manifest has this key, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains(&Key(Cow::Borrowed(key)))
    }
}

struct TopLevelVisitor;

impl<'de> Visitor<'de> for TopLevelVisitor {
    type Value = TopLevel<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel<'de>, A::Error> {
        let mut top_level = TopLevel::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            check_unique(&top_level.keys, &key)?;
            let at = |error| A::Error::custom(format_args!("{}: {error}", key.0));
            match &*key.0 {
                "schemaVersion" => top_level.schema_version = Some(map.next_value().map_err(at)?),
                "mediaType" => top_level.media_type = Some(map.next_value().map_err(at)?),
                _ => map.next_value_seed(Unambiguous { depth: 1 })?,
            }
            top_level.keys.insert(key);
        }
        Ok(top_level)
    }
}

/// Reads any value to its end and keeps nothing. Fails on a duplicate key: one reader might take
/// the first of the two values, another the last.
///
/// It builds no tree: the tree of 4 MB of `[0,0,…` takes 100 MB.
#[derive(Clone, Copy)]
struct Unambiguous {
    /// How many objects and arrays enclose the value.
    depth: usize,
}

impl Unambiguous {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested more than {DEPTH_MAX} levels deep")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Unambiguous {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let element = self.deeper()?;
        while seq.next_element_seed(element)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let value = self.deeper()?;
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            check_unique(&keys, &key)?;
            keys.insert(key);
            map.next_value_seed(value)?;
        }
        Ok(())
    }
}

fn check_unique<E: Error>(keys: &HashSet<Key<'_>>, key: &Key<'_>) -> Result<(), E> {
    if keys.contains(key) {
        return Err(E::custom(format_args!("the key {:?} occurs twice", truncate(&key.0))));
    }
    Ok(())
}
