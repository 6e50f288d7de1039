//! `longshore inspect`: what the store says of one tag, manifest, blob, repository or key.
//!
//! It follows the names as a pull does, but past all caches, shows also what a pull hides
//! (tombstones, deletions that have begun, leases, quarantine), and writes nothing.

mod content;
mod report;
mod target;

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value};

pub use self::report::{Count, Counts, Lease, Moment, NamedBy, Object, Reference, Report, State};
pub use self::target::{Target, TargetError};

use self::content::{decodes, kind_of, redacted};
use crate::layout::encoding::{decode, is_tombstone};
use crate::layout::records::{Manifest, Tag as TagRecord};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::LeaseSettings;
use crate::store::{self, Location, ObjectStore, Prefix, Record, RecordKey, RecordPages};
use crate::walk::Walk;

/// References of a manifest that are looked up at once.
const LOOKUPS_AT_ONCE: usize = 8;
/// Tags and referrers that are shown of a manifest.
const ROWS_SHOWN_MAX: usize = 100;
/// Pages of a list that are counted: 100,000 rows.
const PAGES_MAX: usize = 100;

/// Looks things up in a store.
#[derive(Debug)]
pub struct Inspector {
    store: Arc<dyn ObjectStore>,
    /// Tells for certain that a data object is absent.
    walk: Walk,
    leases: LeaseSettings,
}

/// A record that was read, as far as it could be.
struct Read<H> {
    object: Object,
    /// `None` unless the record is live and readable.
    header: Option<H>,
}

impl Inspector {
    pub fn new(store: Arc<dyn ObjectStore>, leases: LeaseSettings) -> Self {
        Self { walk: Walk::new(store.clone(), None), store, leases }
    }

    /// What the store says of a target.
    pub async fn inspect(&self, target: &Target) -> Result<Report, store::Error> {
        let mut report = Report {
            target: target.to_string(),
            found: false,
            objects: Vec::new(),
            references: Vec::new(),
            named_by: None,
            repository: None,
        };
        match target {
            Target::Record(key) => report.objects = self.record(key).await?,
            Target::Data(location) => report.objects.push(self.data(location).await?),
            Target::Content(digest) => report.objects = self.pointer(digest).await?,
            Target::Repository(name) => self.repository(name, &mut report).await?,
            Target::Tag(name, tag) => self.tag(name, tag, &mut report).await?,
            Target::Digest(name, digest) => self.digest(name, digest, &mut report).await?,
        }
        // The first object is what was asked for, except of a digest and of a repository.
        report.found |= report.objects.first().is_some_and(Object::is_there);
        Ok(report)
    }

    /// A record, and the data object that it names.
    async fn record(&self, key: &RecordKey) -> Result<Vec<Object>, store::Error> {
        let Read { mut object, header } = self.read::<Map<String, Value>>(key).await?;
        let mut named = header.as_ref().and_then(|header| header.get("location"));
        let of_row = match key {
            RecordKey::Quarantined(day, id) => Some(Location::of_parts(day, *id)),
            _ => named.take().and_then(|text| text.as_str()?.parse().ok()),
        };
        let Some(location) = of_row else { return Ok(vec![object]) };
        let data = self.data_of(&mut object, header.as_ref(), &location).await?;
        Ok(vec![object, data])
    }

    /// A tag, and the manifest that it points at.
    async fn tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        report: &mut Report,
    ) -> Result<(), store::Error> {
        let Read { object, header } =
            self.read::<TagRecord>(&RecordKey::Tag(name.clone(), tag.clone())).await?;
        report.objects.push(object);
        let Some(TagRecord { digest, size, .. }) = header else { return Ok(()) };
        let index = RecordKey::TagIndex(name.clone(), digest, tag.clone());
        let mut index = self.read::<Map<String, Value>>(&index).await?.object;
        if !index.is_there() {
            index.remarks.push("a deletion of the manifest would leave the tag".to_owned());
        }
        report.objects.push(index);
        let mut manifest = self.manifest(name, &digest, report).await?;
        if !manifest.is_there() {
            manifest.remarks.push("the tag points at it: pulls of the tag are 404".to_owned());
        } else if manifest.payload_bytes.is_some_and(|bytes| bytes != size) {
            manifest.remarks.push(format!("the tag says that it has {size} bytes"));
        }
        report.objects.push(manifest);
        Ok(())
    }

    /// What a repository has under a digest: a manifest, a blob, or both.
    async fn digest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        report: &mut Report,
    ) -> Result<(), store::Error> {
        let manifest = self.manifest(name, digest, report).await?;
        let blob = self.blob(name, digest).await?;
        let (has_manifest, has_link) = (manifest.is_there(), blob[0].is_there());
        report.found = has_manifest || has_link;
        // Of what is a blob only, the absent manifest says nothing, and the other way round.
        if manifest.state != State::Absent || !has_link {
            report.objects.push(manifest);
        }
        if blob[0].state != State::Absent || !has_manifest {
            report.objects.extend(blob);
        }
        Ok(())
    }

    /// A manifest; what names it and what it names go into the report.
    async fn manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        report: &mut Report,
    ) -> Result<Object, store::Error> {
        let key = RecordKey::Manifest(name.clone(), *digest);
        let Read { mut object, header } = self.read::<Manifest>(&key).await?;
        let Some(manifest) = header else { return Ok(object) };
        if manifest.doomed {
            object.remarks.push(
                "doomed: a deletion has begun, and pulls are 404; repeating it finishes it, and a \
                 push brings the manifest back"
                    .to_owned(),
            );
        }
        report.named_by = Some(self.named_by(name, digest).await?);
        let lookups = manifest.references.iter().map(|named| self.reference(name, named));
        report.references =
            stream::iter(lookups).buffered(LOOKUPS_AT_ONCE).try_collect::<Vec<_>>().await?;
        Ok(object)
    }

    /// The tags and the referrers of a manifest.
    async fn named_by(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<NamedBy, store::Error> {
        let mut named_by = NamedBy::default();
        let index = Prefix::TagIndexes(name.clone(), *digest);
        let listed = self.store.list(&index, None, ROWS_SHOWN_MAX).await?;
        named_by.more = listed.more;
        for row in listed.rows.iter().filter(|row| !is_tombstone(row.size)) {
            let Ok(RecordKey::TagIndex(_, _, tag)) = row.key.parse() else { continue };
            let shown = tag.to_string();
            let read = self.read::<TagRecord>(&RecordKey::Tag(name.clone(), tag)).await?;
            let here = read.header.is_some_and(|record| record.digest == *digest);
            let rows = if here { &mut named_by.tags } else { &mut named_by.former_tags };
            rows.push(shown);
        }
        let referrers = Prefix::Referrers(name.clone(), *digest);
        let listed = self.store.list(&referrers, None, ROWS_SHOWN_MAX).await?;
        named_by.more |= listed.more;
        for row in listed.rows.iter().filter(|row| !is_tombstone(row.size)) {
            let Ok(RecordKey::Referrer(_, _, referrer)) = row.key.parse() else { continue };
            named_by.referrers.push(referrer.to_string());
        }
        Ok(named_by)
    }

    /// The row of the catalog, and how many records the repository has.
    async fn repository(
        &self,
        name: &RepositoryName,
        report: &mut Report,
    ) -> Result<(), store::Error> {
        let marker = RecordKey::Repository(name.clone());
        report.objects.push(self.read::<Map<String, Value>>(&marker).await?.object);
        let counts = Counts {
            tags: self.count(Prefix::Tags(name.clone())).await?,
            manifests: self.count(Prefix::Manifests(name.clone())).await?,
            links: self.count(Prefix::Links(name.clone())).await?,
        };
        let Counts { tags, manifests, links } = counts;
        report.found = [tags, manifests, links].iter().any(|count| count.live > 0);
        report.repository = Some(counts);
        Ok(())
    }

    async fn count(&self, prefix: Prefix) -> Result<Count, store::Error> {
        let (mut count, mut pages) = (Count::default(), RecordPages::of(prefix));
        for _ in 0..PAGES_MAX {
            let Some(page) = pages.next(self.store.as_ref()).await? else { return Ok(count) };
            for row in page.rows {
                *(if is_tombstone(row.size) { &mut count.deleted } else { &mut count.live }) += 1;
            }
            count.more = page.more;
        }
        Ok(count)
    }

    /// Reads a record past all caches.
    async fn read<H: serde::de::DeserializeOwned>(
        &self,
        key: &RecordKey,
    ) -> Result<Read<H>, store::Error> {
        let kind = kind_of(key);
        let Record { body, version, age } = match self.store.read(key).await {
            Ok(record) => record,
            Err(store::Error::NotFound) => {
                return Ok(Read { object: Object::new(kind, key, State::Absent), header: None });
            }
            Err(error) => return Err(error),
        };
        let written = self.store.now().checked_sub(age);
        let mut object = Object::new(kind, key, State::Live);
        object.version = Some(version.0);
        object.bytes = Some(body.len() as u64);
        object.written = written.map(Moment);
        if is_tombstone(body.len() as u64) {
            object.state = State::Deleted;
            return Ok(Read { object, header: None });
        }
        let header = match decode::<Map<String, Value>>(&body) {
            Ok((fields, payload)) => {
                object.fields = redacted(key, fields);
                object.payload_bytes = Some(payload.len() as u64);
                decodes(key, &body).and_then(|()| decode::<H>(&body))
            }
            Err(error) => Err(error),
        };
        if let Some(written) = written.filter(|_| content::is_leased(key)) {
            object.lease = Some(Lease {
                relied_on_until: Moment(written + self.leases.grace / 2),
                kept_until: Moment(written + self.leases.grace),
            });
        }
        match header {
            Ok((header, _)) => Ok(Read { object, header: Some(header) }),
            Err(error) => {
                object.state = State::Unreadable;
                object.remarks.push(error.to_string());
                Ok(Read { object, header: None })
            }
        }
    }
}
