//! The first look at a manifest: is it one unambiguous JSON object, and what does it claim to be?

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::oci::excerpt::excerpt;

/// How deep objects and arrays may nest. Real manifests need six levels; the JSON parser gives up
/// at 128, in its own words.
const DEPTH_MAX: usize = 100;

/// What can be said about a manifest before its type is known.
#[derive(Debug, Default)]
pub(crate) struct Outline<'a> {
    /// `schemaVersion`
    pub(crate) schema_version: Option<u64>,
    /// `mediaType`
    pub(crate) media_type: Option<String>,
    keys: HashSet<Key<'a>>,
}

/// The name in a pair, borrowed from the document unless it has escapes. Names are compared
/// without them, as I-JSON wants (RFC 7493, 2.3).
#[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Outline<'a> {
    /// Reads a whole document, and nothing after it.
    pub(crate) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let outline = deserializer.deserialize_map(OutlineVisitor)?;
        deserializer.end()?;
        Ok(outline)
    }

    /// Whether the manifest has this key, with whatever value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.keys.contains(&Key(Cow::Borrowed(key)))
    }
}

struct OutlineVisitor;

impl<'de> Visitor<'de> for OutlineVisitor {
    type Value = Outline<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outline<'de>, A::Error> {
        let mut outline = Outline::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            check_unique(&outline.keys, &key)?;
            let at = |error| A::Error::custom(format_args!("{}: {error}", key.0));
            match &*key.0 {
                "schemaVersion" => outline.schema_version = Some(map.next_value().map_err(at)?),
                "mediaType" => outline.media_type = Some(map.next_value().map_err(at)?),
                _ => map.next_value_seed(Unambiguous { depth: 1 })?,
            }
            outline.keys.insert(key);
        }
        Ok(outline)
    }
}

/// Reads any value to its end and keeps nothing. Fails where one reader might take the first and
/// another the last of two values of the same name.
///
/// It does not build a tree, because a tree of four megabytes of `[0,0,…` takes a hundred.
#[derive(Clone, Copy)]
struct Unambiguous {
    /// How many objects and arrays are open around the value.
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
        return Err(E::custom(format_args!("the key {:?} occurs twice", excerpt(&key.0))));
    }
    Ok(())
}
