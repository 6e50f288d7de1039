//! What the bucket holds, followed write by write, and what must be true after each of them.
//!
//! This reads keys and records by itself: a mistake in the registry's own parsers is not repeated
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::timeline::Timeline;

/// Bytes up to which an object is a tombstone.
const TOMBSTONE_BYTES_MAX: usize = 36;

/// Who writes to the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Frontend,
    Collector,
}

/// A key, taken apart. Digests are spelled as in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Pointer(String),
    Link(String, String),
    Manifest(String, String),
    Tag(String, String),
    TagIndex(String, String, String),
    /// The subject, and the manifest that names it.
    Referrer(String, String, String),
    Upload,
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The fields of the first line, nothing of a tombstone.
    pub(crate) header: Option<Value>,
    /// What a manifest names, by its own bytes: what has to be there, and layers with URLs.
    named: Vec<String>,
    foreign: Vec<String>,
    by: Role,
}

#[derive(Debug, Default)]
pub(crate) struct Bucket {
    records: BTreeMap<String, Entry>,
    data: BTreeSet<String>,
    /// Keys and nonces of all writes that took effect.
    nonces: BTreeSet<(String, String)>,
    /// Data of uploads that ended without a blob.
    aborted: BTreeSet<String>,
    /// Data that a pointer has named.
    published: BTreeSet<String>,
    timelines: BTreeMap<String, Timeline>,
    /// Whether the store decides about manifests hours after it has accepted them. That is beyond
    /// what the protocol allows: a row among the referrers may then go before its manifest comes,
    /// and the next run of a collector writes it again.
    decides_late: bool,
}

impl Name {
    pub(crate) fn of(key: &str) -> Self {
        let Some((kind, rest)) = key.strip_prefix("v1/").and_then(|key| key.split_once('/')) else {
            return Self::Other;
        };
        let in_repository = rest.split_once("/_/");
        let split = |rest: &str| rest.split('/').map(str::to_owned).collect::<Vec<_>>();
        match (kind, in_repository) {
            ("u", _) => Self::Upload,
            ("p", _) => match split(rest).as_slice() {
                [algorithm, _, hex] => Self::Pointer(format!("{algorithm}:{hex}")),
                _ => Self::Other,
            },
            (kind, Some((repository, rest))) => {
                let repository = repository.to_owned();
                match (kind, split(rest).as_slice()) {
                    ("l", [a, hex]) => Self::Link(repository, format!("{a}:{hex}")),
                    ("m", [a, hex]) => Self::Manifest(repository, format!("{a}:{hex}")),
                    ("t", [tag]) => Self::Tag(repository, tag.clone()),
                    ("x", [a, hex, tag]) => {
                        Self::TagIndex(repository, format!("{a}:{hex}"), tag.clone())
                    }
                    ("r", [a, hex, by]) => {
                        let by = by.replacen('-', ":", 1);
                        Self::Referrer(repository, format!("{a}:{hex}"), by)
                    }
                    _ => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

pub(crate) fn link_key(repository: &str, digest: &str) -> String {
    format!("v1/l/{repository}/_/{}", digest.replacen(':', "/", 1))
}

pub(crate) fn manifest_key(repository: &str, digest: &str) -> String {
    format!("v1/m/{repository}/_/{}", digest.replacen(':', "/", 1))
}

pub(crate) fn tag_key(repository: &str, tag: &str) -> String {
    format!("v1/t/{repository}/_/{tag}")
}

pub(crate) fn tag_index_key(repository: &str, digest: &str, tag: &str) -> String {
    format!("v1/x/{repository}/_/{}/{tag}", digest.replacen(':', "/", 1))
}

fn pointer_key(digest: &str) -> String {
    let (algorithm, hex) = digest.split_once(':').unwrap_or_default();
    format!("v1/p/{algorithm}/{}/{hex}", &hex[..2])
}

pub(crate) fn referrer_key(repository: &str, subject: &str, digest: &str) -> String {
    let (subject, digest) = (subject.replacen(':', "/", 1), digest.replacen(':', "-", 1));
    format!("v1/r/{repository}/_/{subject}/{digest}")
}

fn text<'a>(header: &'a Value, field: &str) -> Option<&'a str> {
    header.get(field).and_then(Value::as_str)
}

impl Entry {
    fn read(name: &Name, body: &Bytes, by: Role) -> (Self, String) {
        let (mut named, mut foreign) = (Vec::new(), Vec::new());
        if body.len() <= TOMBSTONE_BYTES_MAX {
            let nonce = hex::encode(&body[..12.min(body.len())]);
            return (Self { header: None, named, foreign, by }, nonce);
        }
        let end = body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len() - 1);
        let header: Value = serde_json::from_slice(&body[..end]).unwrap_or_default();
        let nonce = text(&header, "nonce").unwrap_or_default().to_owned();
        if let Name::Manifest(..) = name {
            (named, foreign) = named_by(&body[end + 1..]);
        }
        (Self { header: Some(header), named, foreign, by }, nonce)
    }

    pub(crate) fn location(&self) -> Option<&str> {
        text(self.header.as_ref()?, "location")
    }

    /// The data of a session: that of its parts, and the object that holds all bytes.
    fn session_data(&self) -> impl Iterator<Item = &str> {
        let header = self.header.as_ref();
        let parts = header.and_then(|header| text(header.get("multipart")?, "location"));
        let single = header.and_then(|header| text(header, "single_object"));
        parts.into_iter().chain(single)
    }

    pub(crate) fn is_committing(&self) -> bool {
        let committing = self.header.as_ref().and_then(|header| header.get("committing"));
        committing.and_then(Value::as_array).is_some_and(|digests| !digests.is_empty())
    }

    fn offset(&self) -> u64 {
        let offset = self.header.as_ref().and_then(|header| header.get("offset"));
        offset.and_then(Value::as_u64).unwrap_or_default()
    }

    /// Whether a reader of the manifest finds it.
    fn is_visible(&self) -> bool {
        let doomed = |header: &Value| header.get("doomed").and_then(Value::as_bool);
        self.header.as_ref().is_some_and(|header| doomed(header) != Some(true))
    }

    fn names(&self, digest: &str) -> bool {
        self.named.iter().chain(&self.foreign).any(|named| named == digest)
    }
}

/// The digests that a manifest names: what has to be there, and layers with URLs.
fn named_by(manifest: &[u8]) -> (Vec<String>, Vec<String>) {
    let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let (mut named, mut foreign) = (Vec::new(), Vec::new());
    let lists = ["layers", "manifests"].map(|list| document.get(list).and_then(Value::as_array));
    for descriptor in lists.into_iter().flatten().flatten().chain(document.get("config")) {
        let digest = text(descriptor, "digest").unwrap_or_default().to_owned();
        if descriptor.get("urls").is_some() { foreign.push(digest) } else { named.push(digest) }
    }
    (named, foreign)
}

impl Bucket {
    pub(crate) fn new(decides_late: bool) -> Self {
        Self { decides_late, ..Self::default() }
    }

    /// A record was written. Returns what is wrong with that.
    pub(crate) fn wrote(&mut self, at: Duration, by: Role, key: &str, body: &Bytes) -> Vec<String> {
        let name = Name::of(key);
        let (entry, nonce) = Entry::read(&name, body, by);
        let mut faults = Vec::new();
        let is_new = self.nonces.insert((key.to_owned(), nonce));
        // No request relies on the state of a collector, nor on a pointer that is only a hint.
        let matters = match name {
            Name::Pointer(_) => entry.location().is_some(),
            Name::Other => false,
            // A tombstone without a record says the same as nothing.
            _ => entry.header.is_some(),
        };
        if matters && !is_new {
            faults.push(format!("I14: a write of {key} took effect twice"));
        }
        let value = match &name {
            Name::Tag(..) => entry.header.as_ref().and_then(|tag| text(tag, "digest")),
            Name::Manifest(..) if entry.is_visible() => Some("visible"),
            Name::Link(..) if entry.header.is_some() => Some("linked"),
            _ => None,
        };
        if let Name::Tag(..) | Name::Manifest(..) | Name::Link(..) = name {
            let timeline = self.timelines.entry(key.to_owned()).or_default();
            timeline.add(at, value.map(str::to_owned));
        }
        let before = self.records.insert(key.to_owned(), entry.clone());
        let fault = match (&name, entry.header.is_some()) {
            (Name::Pointer(digest), true) => self.pointed(digest, &entry),
            (Name::Pointer(digest), false) => self.unpointed(digest, before.as_ref(), by),
            (Name::Link(_, digest), true) => self.linked(key, digest, &entry),
            (Name::Link(repository, digest), false) => self.unlinked(repository, digest, by),
            (Name::Manifest(repository, _), true) => self.pushed(key, repository, &entry),
            (Name::Tag(repository, tag), true) => self.tagged(repository, tag, &entry),
            (Name::TagIndex(repository, digest, tag), false) => {
                let tag = self.live(&tag_key(repository, tag));
                let points = tag.and_then(|tag| text(tag.header.as_ref()?, "digest"));
                (points == Some(digest)).then(|| format!("{key} was removed, and the tag needs it"))
            }
            (Name::Referrer(repository, subject, digest), false) => {
                let listed = self.live(&manifest_key(repository, digest)).is_some_and(|manifest| {
                    by == Role::Collector
                        && !self.decides_late
                        && manifest.is_visible()
                        && manifest.header.as_ref().and_then(|m| text(m, "subject"))
                            == Some(subject)
                });
                listed.then(|| format!("I9: {key} was collected, and its manifest exists"))
            }
            (Name::Upload, _) => self.session_written(key, before.as_ref(), &entry, by),
            (Name::Other, true) => self.quarantined(key, &entry),
            _ => None,
        };
        faults.extend(fault);
        faults
    }

    fn pointed(&mut self, digest: &str, entry: &Entry) -> Option<String> {
        let location = entry.location()?.to_owned();
        let new = self.published.insert(location.clone());
        if new && self.aborted.contains(&location) {
            return Some(format!(
                "I8: the pointer of {digest} names an aborted upload, {location}"
            ));
        }
        let missing = !self.data.contains(&location);
        missing.then(|| format!("I2: the pointer of {digest} names {location}, where nothing is"))
    }

    fn unpointed(&self, digest: &str, before: Option<&Entry>, by: Role) -> Option<String> {
        let location = before.and_then(Entry::location)?;
        let link = self.names_of(location).find(|key| key.starts_with("v1/l/"))?;
        Some(format!("I2: {by:?} deleted the pointer of {digest}, and {link} needs it"))
    }

    fn linked(&self, key: &str, digest: &str, entry: &Entry) -> Option<String> {
        let location = entry.location()?;
        if !self.data.contains(location) {
            return Some(format!("I2: {key} names {location}, where nothing is"));
        }
        let pointer = self.live(&pointer_key(digest)).and_then(Entry::location);
        let agrees = pointer == Some(location);
        (!agrees).then(|| format!("I2: {key} names {location}, its pointer {pointer:?}"))
    }

    fn unlinked(&self, repository: &str, digest: &str, by: Role) -> Option<String> {
        if by == Role::Frontend {
            return None;
        }
        let prefix = manifest_key(repository, "");
        let mut manifests = self.below(&prefix).filter(|(_, manifest)| manifest.is_visible());
        let (key, _) = manifests.find(|(_, manifest)| manifest.names(digest))?;
        Some(format!("I1: the link of {digest} was collected, and {key} names it"))
    }

    fn pushed(&self, key: &str, repository: &str, entry: &Entry) -> Option<String> {
        if !entry.is_visible() {
            return None;
        }
        let collected = entry.named.iter().find(|digest| {
            let link = self.records.get(&link_key(repository, digest));
            link.is_some_and(|link| link.header.is_none() && link.by == Role::Collector)
        })?;
        Some(format!("I1: {key} was written, and the link of {collected} was collected"))
    }

    fn tagged(&self, repository: &str, tag: &str, entry: &Entry) -> Option<String> {
        let digest = text(entry.header.as_ref()?, "digest")?;
        let index = tag_index_key(repository, digest, tag);
        let missing = self.live(&index).is_none();
        missing.then(|| format!("{tag} of {repository} was set, and {index} is missing"))
    }

    /// Data whose content a collector does not know goes into quarantine only if nothing names it.
    fn quarantined(&self, key: &str, entry: &Entry) -> Option<String> {
        let (_, id) = key.strip_prefix("v1/g/quarantine/")?.rsplit_once('/')?;
        if entry.header.as_ref().is_some_and(|header| header.get("digest").is_some()) {
            return None;
        }
        let location = self.data.iter().find(|location| location.ends_with(id))?;
        let name = self.names_of(location).next()?;
        Some(format!("I2: {location} was taken for unnamed data, and {name} names it"))
    }

    fn session_written(
        &mut self,
        key: &str,
        before: Option<&Entry>,
        after: &Entry,
        by: Role,
    ) -> Option<String> {
        let before = before?;
        if before.header.is_none() {
            return after.header.is_some().then(|| format!("I7: {key} had ended, and goes on"));
        }
        if after.header.is_none() && (by == Role::Collector || !before.is_committing()) {
            self.aborted.extend(before.session_data().map(str::to_owned));
        }
        let shorter = after.header.is_some() && after.offset() < before.offset();
        shorter.then(|| format!("I7: the offset of {key} went back to {}", after.offset()))
    }

    /// A record was removed without a tombstone.
    pub(crate) fn removed(&mut self, key: &str) -> Vec<String> {
        let before = self.records.remove(key);
        let alive = before.is_some_and(|entry| entry.header.is_some());
        let state = key.starts_with("v1/g/");
        (alive && !state).then(|| format!("I13: {key} was removed alive")).into_iter().collect()
    }

    pub(crate) fn data_written(&mut self, location: &str) {
        self.data.insert(location.to_owned());
    }

    pub(crate) fn data_deleted(&mut self, location: &str, by: Role) -> Vec<String> {
        self.data.remove(location);
        let named = self.names_of(location).next().map(str::to_owned);
        let session = || {
            self.below("v1/u/").find(|(_, session)| {
                !session.is_committing() && session.session_data().any(|data| data == location)
            })
        };
        let by_session = || session().map(|(key, _)| key.to_owned());
        let name = named.or_else(by_session);
        name.map(|name| format!("I2: {by:?} deleted {location}, and {name} names it"))
            .into_iter()
            .collect()
    }

    /// The living pointers and links that name data.
    fn names_of<'a>(&'a self, location: &'a str) -> impl Iterator<Item = &'a str> {
        let named = ["v1/p/", "v1/l/"].into_iter().flat_map(|prefix| self.below(prefix));
        named.filter(|(_, entry)| entry.location() == Some(location)).map(|(key, _)| key)
    }

    /// A record that is not a tombstone.
    pub(crate) fn live(&self, key: &str) -> Option<&Entry> {
        self.records.get(key).filter(|entry| entry.header.is_some())
    }

    /// The records below a prefix that are no tombstones.
    pub(crate) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let below = self.records.range(prefix.to_owned()..);
        let below = below.take_while(move |(key, _)| key.starts_with(prefix));
        below.filter(|(_, entry)| entry.header.is_some()).map(|(key, entry)| (key.as_str(), entry))
    }

    /// Whether a manifest is there for readers.
    pub(crate) fn is_visible(&self, repository: &str, digest: &str) -> bool {
        self.live(&manifest_key(repository, digest)).is_some_and(Entry::is_visible)
    }

    /// What a tag points at.
    pub(crate) fn target(&self, repository: &str, tag: &str) -> Option<&str> {
        let tag = self.live(&tag_key(repository, tag))?;
        text(tag.header.as_ref()?, "digest")
    }

    /// The values of a tag, a manifest or a link over time.
    pub(crate) fn timeline(&mut self, key: &str) -> &mut Timeline {
        self.timelines.entry(key.to_owned()).or_default()
    }

    /// What no client can reach, after everything had time to be collected. Tombstones that the
    /// store cannot remove under a condition stay, but not those of uploads.
    pub(crate) fn garbage(&self, conditional_removal: bool) -> Vec<String> {
        let mut garbage = Vec::new();
        for (key, entry) in &self.records {
            let needed = match Name::of(key) {
                // Few, and each is written again.
                Name::Other => !key.starts_with("v1/g/quarantine/"),
                Name::Upload => false,
                _ if entry.header.is_none() => !conditional_removal,
                Name::Pointer(digest) => {
                    self.below("v1/l/").any(|(link, _)| link.ends_with(&digest[7..]))
                }
                Name::Link(repository, digest) => {
                    let prefix = manifest_key(&repository, "");
                    self.below(&prefix).any(|(_, manifest)| manifest.names(&digest))
                }
                Name::TagIndex(repository, digest, tag) => {
                    self.target(&repository, &tag) == Some(&digest)
                }
                Name::Referrer(repository, _, digest) | Name::Manifest(repository, digest) => {
                    self.is_visible(&repository, &digest)
                }
                // A push that was cut off beside a deletion leaves a tag that dangles.
                Name::Tag(..) => true,
            };
            if !needed {
                garbage.push(key.clone());
            }
        }
        let unnamed = self.data.iter().filter(|data| self.names_of(data).next().is_none());
        garbage.extend(unnamed.cloned());
        garbage
    }
}
