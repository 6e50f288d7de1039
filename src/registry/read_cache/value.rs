//! What the cache holds under a key, and how the shared cache encodes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::layout::{encoding, records};
use crate::oci::Digest;
use crate::registry::content::{Blob, StoredManifest};
use crate::shared_cache::Key;
use crate::store::{self, RecordKey};

/// Whether a reader may rely on a cached link or manifest, or has to take a lease first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum RecordAge {
    /// Younger than the half-life of a lease.
    Fresh,
    NeedsLease,
}

/// The value of a key.
#[derive(Clone, Debug)]
pub(super) enum CachedRecord {
    /// There is no live record.
    Absent,
    /// The digest of the manifest that a tag points at.
    Tag(Digest),
    Manifest(Arc<StoredManifest>, RecordAge),
    Link(Arc<Blob>, RecordAge),
    /// The epoch of a list.
    Epoch(Box<str>),
    /// A page of a list, [encoded](crate::registry::lists::CachedPage).
    Page(Bytes),
}

impl CachedRecord {
    /// Decodes the record of a key.
    pub(super) fn from_record(
        key: &RecordKey,
        body: &Bytes,
        age: RecordAge,
    ) -> Result<Self, store::Error> {
        match key {
            RecordKey::Tag(..) => {
                let (tag, _) = encoding::decode::<records::Tag>(body)?;
                Ok(Self::Tag(tag.digest))
            }
            RecordKey::Manifest(name, digest) => {
                let manifest = StoredManifest::from_record(name, digest, body)?;
                let found = |manifest| Self::Manifest(Arc::new(manifest), age);
                Ok(manifest.map_or(Self::Absent, found))
            }
            RecordKey::Link(_, digest) => {
                let (link, payload) = encoding::decode(body)?;
                Ok(Self::Link(Arc::new(Blob::from_link(digest, link, payload)), age))
            }
            RecordKey::Pointer(_)
            | RecordKey::TagIndex(..)
            | RecordKey::Referrer(..)
            | RecordKey::Repository(_)
            | RecordKey::Upload(_)
            | RecordKey::Settings
            | RecordKey::CacheKey
            | RecordKey::TokenKeys
            | RecordKey::Usage
            | RecordKey::Probe(_)
            | RecordKey::Writer(_)
            | RecordKey::Collector
            | RecordKey::CollectorRun
            | RecordKey::Seen(_)
            | RecordKey::Quarantined(..)
            | RecordKey::TagHistory(..)
            | RecordKey::Event(_) => Err(store::Error::Damaged(format!("{key} is never cached"))),
        }
    }

    /// Bytes of content that the value keeps in memory.
    pub(super) fn content_bytes(&self) -> usize {
        match self {
            Self::Absent | Self::Tag(_) | Self::Epoch(_) => 0,
            Self::Manifest(manifest, _) => manifest.bytes.len(),
            Self::Link(blob, _) => blob.inline_bytes(),
            Self::Page(page) => page.len(),
        }
    }
}

/// A value that was read from the store.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) value: CachedRecord,
    /// The bytes and the age of the record; `None` for pages, epochs and absent records.
    pub(super) record: Option<(Bytes, Duration)>,
}

impl Loaded {
    pub(super) fn without_record(value: CachedRecord) -> Self {
        Self { value, record: None }
    }

    /// The value for the shared cache: one byte that says what follows.
    pub(super) fn encode(&self) -> Bytes {
        let (flag, body) = match (&self.value, &self.record) {
            (CachedRecord::Epoch(epoch), _) => (b'e', epoch.as_bytes()),
            (CachedRecord::Page(page), _) => (b'p', page.as_ref()),
            (
                CachedRecord::Link(_, RecordAge::Fresh)
                | CachedRecord::Manifest(_, RecordAge::Fresh),
                Some((body, _)),
            ) => (b'y', body.as_ref()),
            (_, Some((body, _))) => (b'o', body.as_ref()),
            (_, None) => return Bytes::from_static(b"-"),
        };
        let mut value = BytesMut::with_capacity(1 + body.len());
        value.put_u8(flag);
        value.put_slice(body);
        value.freeze()
    }
}

/// Decodes a value of the shared cache. `None` if another release encoded it in another way.
pub(super) fn decode(key: &Key, value: &Bytes) -> Option<CachedRecord> {
    let (flag, body) = (*value.first()?, value.slice(1..));
    match (key, flag) {
        (Key::Record(_), b'-') => Some(CachedRecord::Absent),
        (Key::Record(key), b'y') => CachedRecord::from_record(key, &body, RecordAge::Fresh).ok(),
        (Key::Record(key), b'o') => {
            CachedRecord::from_record(key, &body, RecordAge::NeedsLease).ok()
        }
        (Key::Epoch(_), b'e') => Some(CachedRecord::Epoch(str::from_utf8(&body).ok()?.into())),
        (Key::Page { .. }, b'p') => Some(CachedRecord::Page(body)),
        (Key::Record(_) | Key::Epoch(_) | Key::Page { .. }, _) => None,
    }
}
