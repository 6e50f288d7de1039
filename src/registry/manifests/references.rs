//! What a manifest names: it has to be there, and is leased.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::SemaphorePermit;

use super::push::live;
use super::{Manifests, Push};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};
use crate::registry::Error;
use crate::registry::concurrently::concurrently;
use crate::registry::read_cache::RecordAge;
use crate::registry::record::Current;
use crate::registry::settings::Sparse;
use crate::store::RecordKey;

/// Missing references of a manifest after which the check of the others ends.
pub const MISSING_MAX: usize = 100;
/// References from which on a manifest is large: each costs a request to the store.
const LARGE_REFERENCES: usize = 1_000;
/// Large manifests whose references this process checks at once.
pub(in crate::registry) const LARGE_CHECKS_MAX: usize = 4;

/// Where content that a manifest names has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Blobs,
    Manifests,
    /// Among the blobs; if it is not there, among the manifests.
    BlobsOrManifests,
}

impl Manifests {
    /// Waits until the references of this manifest may be checked, if it has many.
    pub(super) async fn admit_large(
        &self,
        manifest: &Manifest,
    ) -> Result<Option<SemaphorePermit<'_>>, Error> {
        let references = [manifest.blobs(), manifest.external_layers(), manifest.children()];
        let many = references.iter().map(|all| all.len()).sum::<usize>() > LARGE_REFERENCES;
        Ok(if many { Some(self.large_checks.admit().await?) } else { None })
    }

    /// Takes a lease on the records of all content that the manifest names, and reports those that
    /// are missing, up to a limit.
    pub(super) async fn lease_references(&self, push: &Push<'_>) -> Result<(), Error> {
        let blobs = push.manifest.blobs().iter();
        let blobs = blobs.map(|blob| (blob, Place::Blobs, self.sparse == Sparse::All));
        // A registry need not have these, but a client may rely on one that it has.
        let external = push.manifest.external_layers().iter();
        let external = external.map(|layer| (layer, Place::Blobs, true));
        let children = push.manifest.children().iter();
        let children = children.map(|child| (child, place(child), self.sparse != Sparse::None));
        let references = blobs.chain(external).chain(children);
        let mut references: Vec<_> = references
            .filter_map(|(descriptor, place, optional)| {
                Some((descriptor.digest.known()?, place, optional))
            })
            .collect();
        references.sort_unstable();
        references.dedup_by_key(|(digest, place, _)| (*digest, *place));
        let found_missing = &AtomicUsize::new(0);
        let lease = |(digest, place, optional): (Digest, Place, bool)| async move {
            if found_missing.load(Ordering::Relaxed) >= MISSING_MAX {
                return Ok(None);
            }
            let leased = self.lease_reference(push.name, &digest, place).await?;
            let missing = !leased && !optional;
            found_missing.fetch_add(usize::from(missing), Ordering::Relaxed);
            Ok::<_, Error>(missing.then_some(digest))
        };
        let missing = concurrently(references.into_iter().map(lease).collect()).await?;
        let mut missing: Vec<Digest> = missing.into_iter().flatten().collect();
        missing.dedup();
        missing.truncate(MISSING_MAX);
        if missing.is_empty() { Ok(()) } else { Err(Error::ReferencesMissing(missing)) }
    }

    /// Takes a lease on the record of a blob or a child manifest. False if there is none.
    async fn lease_reference(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        place: Place,
    ) -> Result<bool, Error> {
        if place != Place::Manifests && self.lease_link(name, digest).await? {
            return Ok(true);
        }
        if place == Place::Blobs {
            return Ok(false);
        }
        let key = RecordKey::Manifest(name.clone(), *digest);
        let current = self.records.read(&key).await?;
        let Some(found) = live(&current)? else { return Ok(false) };
        let Some(leased) = self.records.lease(&key, found.record.clone()).await? else {
            return Ok(false);
        };
        // A deletion may have marked the manifest since it was read: the lease is on that version.
        Ok(live(&Current::Live(leased))?.is_some())
    }

    /// A link that the read cache knows to be young is not read again: most clients have just asked
    /// for it.
    async fn lease_link(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        if let Some((_, RecordAge::Fresh)) = self.read_cache.link(name, digest).await? {
            return Ok(true);
        }
        let key = RecordKey::Link(name.clone(), *digest);
        let Current::Live(record) = self.records.read(&key).await? else { return Ok(false) };
        Ok(self.records.lease(&key, record).await?.is_some())
    }
}

/// Where the content of a descriptor in an index has to be. A type that is no manifest's means a
/// blob, such as a layer of a build cache; some indexes name a manifest by such a type.
fn place(child: &Descriptor) -> Place {
    if child.names_manifest() { Place::Manifests } else { Place::BlobsOrManifests }
}
