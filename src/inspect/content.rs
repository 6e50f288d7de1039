//! Where the content of a blob is: link, pointer, data object, quarantine.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Inspector, Moment, Object, Read, Reference, State};
use crate::layout::encoding::{DecodeError, decode};
use crate::layout::records::{
    self, CacheKey, CollectorRun, Link, Manifest, Pointer, Quarantined, Referrer, Seen, Session,
    Tag, TagIndex, Writer,
};
use crate::oci::{Digest, RepositoryName};
use crate::store::{self, Listed, Location, RecordKey};

impl Inspector {
    /// A blob of a repository: its link, then what is behind it.
    pub(super) async fn blob(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Object>, store::Error> {
        let key = RecordKey::Link(name.clone(), *digest);
        let Read { object: mut link, header } = self.read::<Link>(&key).await?;
        let Some(Link { location, size, .. }) = header else {
            let mut objects = vec![link];
            objects.extend(self.pointer(digest).await?);
            return Ok(objects);
        };
        let Some(location) = location else {
            // The pointer of such a content names no data.
            if link.payload_bytes.is_some_and(|bytes| bytes != size) {
                link.remarks.push(format!("the blob should have {size} bytes"));
            }
            let pointer = self.read::<Pointer>(&RecordKey::Pointer(*digest)).await?.object;
            return Ok(vec![link, pointer]);
        };
        let fields = link.fields.clone();
        let data = self.data_of(&mut link, Some(&fields), &location).await?;
        let Read { object: mut pointer, header } =
            self.read::<Pointer>(&RecordKey::Pointer(*digest)).await?;
        let pointed = header.and_then(|pointer| pointer.location);
        if pointed.as_ref() == Some(&location) {
            return Ok(vec![link, pointer, data]);
        }
        pointer.remarks.push("it does not name the data that the link names".to_owned());
        Ok(vec![link, pointer, data])
    }

    /// The pointer of a content, and the data object that it names.
    pub(super) async fn pointer(&self, digest: &Digest) -> Result<Vec<Object>, store::Error> {
        self.record(&RecordKey::Pointer(*digest)).await
    }

    /// What a manifest names.
    pub(super) async fn reference(
        &self,
        name: &RepositoryName,
        named: &records::Reference,
    ) -> Result<Reference, store::Error> {
        let records::Reference { digest, size } = named;
        let mut reference = Reference {
            digest: digest.clone(),
            size: *size,
            objects: Vec::new(),
            remarks: Vec::new(),
        };
        let Ok(digest) = digest.parse::<Digest>() else {
            reference.remarks.push("this registry does not know the algorithm".to_owned());
            return Ok(reference);
        };
        let blob = self.blob(name, &digest).await?;
        let has_link = blob[0].is_there();
        let manifest = RecordKey::Manifest(name.clone(), digest);
        let manifest = self.read::<Manifest>(&manifest).await?;
        if manifest.header.as_ref().is_some_and(|manifest| manifest.doomed) {
            reference.remarks.push("a deletion of this manifest has begun".to_owned());
        }
        let has_manifest = manifest.object.is_there();
        if has_manifest || manifest.object.state == State::Deleted {
            reference.objects.push(manifest.object);
        }
        if has_link || !has_manifest {
            reference.objects.extend(blob);
        }
        if !has_link && !has_manifest {
            let remark = "the repository does not have it: pulls of it are 404";
            reference.remarks.push(remark.to_owned());
        }
        Ok(reference)
    }

    /// The data object that a record names. What the record says of it wrongly is a remark.
    pub(super) async fn data_of(
        &self,
        record: &mut Object,
        header: Option<&Map<String, Value>>,
        location: &Location,
    ) -> Result<Object, store::Error> {
        let mut data = self.data(location).await?;
        let field = |name: &str| header.and_then(|header| header.get(name));
        if data.state == State::Absent {
            record.remarks.push(format!("its data object {location} is absent"));
            return Ok(data);
        }
        let size = field("size").and_then(Value::as_u64);
        if let (Some(size), Some(bytes)) = (size, data.bytes)
            && size != bytes
        {
            data.remarks.push(format!("{} says {size} bytes", record.key));
        }
        let etag = field("etag").and_then(Value::as_str);
        if let (Some(etag), Some(version)) = (etag, data.version.as_deref())
            && etag != version
        {
            data.remarks.push(format!("{} was written with the version {etag}", record.key));
        }
        Ok(data)
    }

    /// A data object, and whether it is in quarantine.
    pub(super) async fn data(&self, location: &Location) -> Result<Object, store::Error> {
        let kind = "data object";
        let Some((day, id)) = location.parts().filter(|_| location.key().is_ok()) else {
            let mut data = Object::new(kind, location, State::Unreadable);
            data.remarks.push("it is in the bucket of another registry".to_owned());
            return Ok(data);
        };
        // A HEAD does not say when the object was written, a list does.
        let before = id.as_u128().saturating_sub(1);
        let listed = self.store.list_data(&day, Some(&format!("{before:032x}")), 1).await?;
        let row = listed.rows.into_iter().find(|row| row.key == location.to_string());
        let mut data = Object::new(kind, location, State::Live);
        if let Some(Listed { size, version, written, .. }) = row {
            data.bytes = Some(size);
            data.version = Some(version.0);
            data.written = Some(Moment(written));
        } else if let Some(found) = self.walk.head(location).await? {
            data.bytes = Some(found.size);
            data.version = Some(found.version.0);
        } else {
            data.state = State::Absent;
        }
        let row = self.read::<Quarantined>(&RecordKey::Quarantined(day, id)).await?;
        if let Some(Moment(since)) = row.object.written.filter(|_| row.header.is_some()) {
            let until = Moment(since + self.leases.quarantine);
            data.remarks.push(format!(
                "in quarantine since {}: garbage collection deletes it after {until} if no record \
                 names it",
                Moment(since)
            ));
        }
        Ok(data)
    }
}

/// What a record is, in the words of docs/finding-data.md.
pub(super) fn kind_of(key: &RecordKey) -> &'static str {
    match key {
        RecordKey::Pointer(_) => "pointer",
        RecordKey::Link(..) => "link",
        RecordKey::Manifest(..) => "manifest",
        RecordKey::Tag(..) => "tag",
        RecordKey::TagIndex(..) => "tag index",
        RecordKey::Referrer(..) => "referrer",
        RecordKey::Repository(_) => "repository",
        RecordKey::Upload(_) => "upload session",
        RecordKey::Settings => "shared settings",
        RecordKey::CacheKey => "key of the cache",
        RecordKey::TokenKeys => "keys of tokens",
        RecordKey::Usage => "usage of namespaces",
        RecordKey::Probe(_) => "scratch record",
        RecordKey::Writer(_) | RecordKey::Collector => "lease",
        RecordKey::CollectorRun => "run of the collector",
        RecordKey::Seen(_) => "sightings",
        RecordKey::Quarantined(..) => "quarantine",
        RecordKey::TagHistory(..) | RecordKey::Event(_) => "reserved record",
    }
}

/// Whether requests rely on the age of such a record.
pub(super) fn is_leased(key: &RecordKey) -> bool {
    matches!(
        key,
        RecordKey::Pointer(_)
            | RecordKey::Link(..)
            | RecordKey::Manifest(..)
            | RecordKey::Upload(_)
    )
}

/// Whether this release can read a record of this key.
pub(super) fn decodes(key: &RecordKey, body: &Bytes) -> Result<(), DecodeError> {
    fn is<H: DeserializeOwned>(body: &Bytes) -> Result<(), DecodeError> {
        decode::<H>(body).map(drop)
    }
    match key {
        RecordKey::Pointer(_) => is::<Pointer>(body),
        RecordKey::Link(..) => is::<Link>(body),
        RecordKey::Manifest(..) => is::<Manifest>(body),
        RecordKey::Tag(..) => is::<Tag>(body),
        RecordKey::TagIndex(..) => is::<TagIndex>(body),
        RecordKey::Referrer(..) => is::<Referrer>(body),
        RecordKey::Repository(_) => is::<records::Repository>(body),
        RecordKey::Upload(_) => Session::decode(body).map(drop),
        RecordKey::CacheKey => is::<CacheKey>(body),
        RecordKey::TokenKeys => is::<records::TokenKeys>(body),
        RecordKey::Usage => is::<records::Usage>(body),
        RecordKey::Writer(_) => is::<Writer>(body),
        RecordKey::Collector => is::<records::Collector>(body),
        RecordKey::CollectorRun => is::<CollectorRun>(body),
        RecordKey::Seen(_) => is::<Seen>(body),
        RecordKey::Quarantined(..) => is::<Quarantined>(body),
        RecordKey::Settings
        | RecordKey::Probe(_)
        | RecordKey::TagHistory(..)
        | RecordKey::Event(_) => Ok(()),
    }
}

/// The header of a record as it may be shown: without secrets and without the states of hashes.
pub(super) fn redacted(key: &RecordKey, mut fields: Map<String, Value>) -> Map<String, Value> {
    match key {
        RecordKey::CacheKey => drop(fields.insert("key".to_owned(), json!("***"))),
        RecordKey::TokenKeys => {
            if let Some(Value::Array(keys)) = fields.get_mut("keys") {
                for key in keys.iter_mut().filter_map(Value::as_object_mut) {
                    key.insert("seed".to_owned(), json!("***"));
                }
            }
        }
        RecordKey::Upload(_) => {
            if let Some(Value::Array(hashes)) = fields.get_mut("hashes") {
                for hash in hashes {
                    *hash = hash.get(0).cloned().unwrap_or_default();
                }
            }
        }
        _ => {}
    }
    fields
}
