//! The audit of one repository: its links, manifests, tags, and the records that name them.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use futures_util::TryStreamExt as _;

use super::facts::Hashes;
use super::{Audit, Class, Finding, Named, decoded, repair};
use crate::layout::encoding::decode;
use crate::layout::records::{self, Link, Pointer, Referrer, TagIndex};
use crate::oci::{Digest, MediaType, RepositoryName, Tag};
use crate::registry::Sparse;
use crate::store::{Record, RecordKey};
use crate::walk::{Error, Found, RepositoryRows};

/// How often a tag that moves is resolved before the audit leaves it.
const RESOLUTIONS_MAX: u32 = 5;

/// What the lists of a repository have shown.
#[derive(Debug, Default)]
struct Shown {
    hashes: Hashes,
    links: HashSet<u64>,
    manifests: HashSet<u64>,
    /// Pairs of a digest and a tag.
    tag_indexes: HashSet<u64>,
    /// Pairs of a subject and a referrer.
    referrers: HashSet<u64>,
    /// Size and media type of each manifest that was read.
    described: HashMap<u64, u64>,
}

/// What a manifest is, as a tag says it.
fn description(hashes: &Hashes, media_type: &str, size: u64) -> u64 {
    hashes.of((media_type, size))
}

impl Shown {
    fn of(rows: &RepositoryRows) -> Self {
        let mut shown = Self::default();
        let hashes = shown.hashes.clone();
        for row in rows.links.iter().chain(&rows.manifests).chain(&rows.tag_indexes) {
            match &row.key {
                RecordKey::Link(_, digest) => shown.links.insert(hashes.of(digest)),
                RecordKey::Manifest(_, digest) => shown.manifests.insert(hashes.of(digest)),
                RecordKey::TagIndex(_, digest, tag) => {
                    shown.tag_indexes.insert(hashes.of((digest, tag.as_str())))
                }
                _ => false,
            };
        }
        for row in &rows.referrers {
            if let RecordKey::Referrer(_, subject, referrer) = &row.key {
                shown.referrers.insert(hashes.of((subject, referrer)));
            }
        }
        shown
    }
}

/// What is at the key of a manifest.
enum Stored {
    Nothing,
    /// A deletion has begun, or the record cannot be read: another finding says so.
    Unusable,
    Live(Box<records::Manifest>, Record, u64),
}

impl Audit {
    /// Checks everything that one repository holds.
    pub(super) async fn check_repository(
        &self,
        rows: RepositoryRows,
    ) -> Result<Vec<Finding>, Error> {
        self.walk.begin(format!("repository {}", rows.name));
        let mut shown = Shown::of(&rows);
        let mut findings = Vec::new();
        let RepositoryRows { name, links, manifests, tags, tag_indexes, referrers } = rows;
        let mut reads = pin!(self.walk.read_all(links));
        while let Some((row, record)) = reads.try_next().await? {
            self.count("links", 1);
            findings.extend(self.check_link(&row.key, &record).await?);
        }
        let mut settled = None;
        let mut reads = pin!(self.walk.read_all(manifests));
        while let Some((row, record)) = reads.try_next().await? {
            self.count("manifests", 1);
            let live = self.check_manifest(&row.key, &record, &mut shown, &mut findings).await?;
            if live && settled.is_none() && self.is_settled(&record) {
                settled = Some(row.key);
            }
        }
        let mut reads = pin!(self.walk.read_all(tag_indexes));
        while let Some((row, record)) = reads.try_next().await? {
            self.count("tag index rows", 1);
            findings.extend(decoded::<TagIndex>(&row.key, &record).err());
        }
        let mut reads = pin!(self.walk.read_all(tags));
        while let Some((row, record)) = reads.try_next().await? {
            self.count("tags", 1);
            self.check_tag(&row.key, record, &shown, &mut findings).await?;
        }
        let mut reads = pin!(self.walk.read_all(referrers));
        while let Some((row, record)) = reads.try_next().await? {
            self.count("referrers", 1);
            findings.extend(self.check_referrer(&row.key, &record, &shown).await?);
        }
        if let Some(manifest) = settled
            && !self.markers.contains(&self.hashes.of(name.as_str()))
        {
            findings.extend(self.check_marker(&name, &manifest).await?);
        }
        Ok(findings)
    }

    async fn check_link(&self, key: &RecordKey, record: &Record) -> Result<Option<Finding>, Error> {
        let RecordKey::Link(_, digest) = key else { return Ok(None) };
        let (link, payload) = match decoded::<Link>(key, record) {
            Ok(decoded) => decoded,
            Err(finding) => return Ok(Some(finding)),
        };
        let Some(location) = link.location else {
            let found = payload.len() as u64;
            let what = format!("the link holds {found} bytes instead of {}", link.size);
            return Ok((found != link.size).then(|| Finding::new(Class::WrongSize, key, what)));
        };
        let (size, etag) = (link.size, link.etag.as_deref());
        let named = Named { location: &location, size, etag, absent: Class::MissingData };
        let found = self.check_data(key, record, named).await?;
        if found.is_some() || self.pointers.has(digest, &location) || !self.is_settled(record) {
            return Ok(found);
        }
        let pointer = self.walk.read(&RecordKey::Pointer(*digest)).await?.live();
        let what = match pointer.as_ref().map(|pointer| decode::<Pointer>(&pointer.body)) {
            // The audit of the pointers says so.
            Some(Err(_)) => return Ok(None),
            Some(Ok((pointer, _))) if pointer.location.as_ref() == Some(&location) => {
                return Ok(None);
            }
            Some(Ok((Pointer { location: Some(other), .. }, _))) => {
                format!("the link names {location}, but the pointer of the blob {other}")
            }
            _ => format!("the link names {location}, but no pointer does"),
        };
        let unchanged = self.is_unchanged(key, record).await?;
        Ok(unchanged.then(|| Finding::new(Class::UnpointedLink, key, what)))
    }

    /// Checks a manifest and what it names. Returns whether it is live.
    async fn check_manifest(
        &self,
        key: &RecordKey,
        record: &Record,
        shown: &mut Shown,
        findings: &mut Vec<Finding>,
    ) -> Result<bool, Error> {
        let RecordKey::Manifest(name, digest) = key else { return Ok(false) };
        let (manifest, bytes) = match decoded::<records::Manifest>(key, record) {
            Ok(decoded) => decoded,
            Err(finding) => {
                findings.push(finding);
                return Ok(false);
            }
        };
        if manifest.doomed {
            if self.is_settled(record) && self.is_unchanged(key, record).await? {
                findings.push(self.half_deleted(key, record).await);
            }
            return Ok(false);
        }
        let described = description(&shown.hashes, &manifest.media_type, bytes.len() as u64);
        shown.described.insert(shown.hashes.of(digest), described);
        let is_index = MediaType::is_index(
            &manifest.media_type.parse().unwrap_or_else(|never| match never {}),
        );
        for reference in &manifest.references {
            let Ok(named) = reference.digest.parse::<Digest>() else { continue };
            let hash = shown.hashes.of(named);
            if shown.links.contains(&hash) || shown.manifests.contains(&hash) {
                continue;
            }
            findings.extend(self.check_reference(key, name, &named, is_index).await?);
        }
        for layer in &manifest.external {
            let Ok(named) = layer.digest.parse::<Digest>() else { continue };
            if !shown.links.contains(&shown.hashes.of(named)) {
                let what = format!("the layer {named} is only at its URLs");
                findings.push(Finding::new(Class::ExternalLayer, key, what));
            }
        }
        if let Some(subject) = &manifest.subject
            && !shown.referrers.contains(&shown.hashes.of((subject, digest)))
        {
            findings.extend(self.check_listed(key, name, digest, subject).await?);
        }
        Ok(true)
    }

    async fn half_deleted(&self, key: &RecordKey, record: &Record) -> Finding {
        let what = "a deletion of this manifest has begun and not ended";
        let mut finding = Finding::new(Class::HalfDeleted, key, what);
        if let (Some(registry), RecordKey::Manifest(name, digest)) = (&self.registry, key) {
            // A push that has made it live again has written another version.
            let finished = registry.manifests.delete_version(name, digest, &record.version).await;
            finding.repair = Some(repair(finished));
        }
        finding
    }

    /// Looks again for what a manifest names and the lists have not shown.
    async fn check_reference(
        &self,
        key: &RecordKey,
        name: &RepositoryName,
        named: &Digest,
        is_index: bool,
    ) -> Result<Option<Finding>, Error> {
        let link = self.walk.read(&RecordKey::Link(name.clone(), *named)).await?;
        let manifest = self.walk.read(&RecordKey::Manifest(name.clone(), *named)).await?;
        let deleted = matches!((&link, &manifest), (Found::Tombstone, _) | (_, Found::Tombstone));
        if matches!((&link, &manifest), (Found::Live(_), _) | (_, Found::Live(_)))
            || !matches!(self.stored(key).await?, Stored::Live(..))
        {
            return Ok(None);
        }
        let allowed = match self.settings.sparse {
            Sparse::None => false,
            Sparse::Indexes => is_index,
            Sparse::All => is_index || !deleted,
        };
        let (class, why) = match (allowed, deleted) {
            (true, _) => (Class::SparseManifest, "is not in this repository"),
            (false, true) => (Class::DeletedReference, "was deleted from this repository"),
            (false, false) => (Class::MissingReference, "is missing in this repository"),
        };
        let what = format!("the manifest names {named}, which {why}");
        Ok(Some(Finding::new(class, key, what)))
    }

    /// Looks again for the row of a manifest among the referrers of its subject.
    async fn check_listed(
        &self,
        key: &RecordKey,
        name: &RepositoryName,
        digest: &Digest,
        subject: &Digest,
    ) -> Result<Option<Finding>, Error> {
        let row = RecordKey::Referrer(name.clone(), *subject, *digest);
        if self.walk.read(&row).await?.live().is_some() {
            return Ok(None);
        }
        match self.stored(key).await? {
            Stored::Live(_, record, _) if self.is_settled(&record) => {}
            _ => return Ok(None),
        }
        let what = format!("the manifest is not among the referrers of its subject {subject}");
        let mut finding = Finding::new(Class::MissingReferrer, key, what);
        if let Some(registry) = &self.registry {
            let restored = registry.manifests.restore_referrer(name, digest).await;
            finding.repair = Some(repair(restored));
        }
        Ok(Some(finding))
    }

    async fn check_tag(
        &self,
        key: &RecordKey,
        record: Record,
        shown: &Shown,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let RecordKey::Tag(name, tag) = key else { return Ok(()) };
        let target = match decoded::<records::Tag>(key, &record) {
            Ok((target, _)) => target,
            Err(finding) => {
                findings.push(finding);
                return Ok(());
            }
        };
        let hashes = &shown.hashes;
        let described = description(hashes, &target.media_type, target.size);
        if shown.described.get(&hashes.of(target.digest)) != Some(&described) {
            findings.extend(self.check_target(key, name).await?);
        }
        if !shown.tag_indexes.contains(&hashes.of((target.digest, tag.as_str()))) {
            let tag_and_digest = (tag, &target.digest);
            findings.extend(self.check_indexed(key, &record, name, tag_and_digest).await?);
        }
        Ok(())
    }

    /// Resolves a tag whose manifest the lists have not shown as the tag describes it.
    async fn check_target(
        &self,
        key: &RecordKey,
        name: &RepositoryName,
    ) -> Result<Option<Finding>, Error> {
        for _ in 0..RESOLUTIONS_MAX {
            let Some(record) = self.walk.read(key).await?.live() else { return Ok(None) };
            let Ok((target, _)) = decode::<records::Tag>(&record.body) else { return Ok(None) };
            let records::Tag { digest, media_type, size, .. } = target;
            let of = RecordKey::Manifest(name.clone(), digest);
            let finding = match self.stored(&of).await? {
                Stored::Nothing => {
                    let what = format!("the tag points at the manifest {digest}, which is absent");
                    Finding::new(Class::DanglingTag, key, what)
                }
                Stored::Live(_, _, found) if found != size => {
                    let what = format!("the tag says {size} bytes, the manifest has {found}");
                    Finding::new(Class::WrongTag, key, what)
                }
                Stored::Live(found, ..) if found.media_type != media_type => {
                    let found = found.media_type;
                    let what = format!("the tag says {media_type}, the manifest is {found}");
                    Finding::new(Class::OtherMediaType, key, what)
                }
                Stored::Live(..) | Stored::Unusable => return Ok(None),
            };
            if self.is_unchanged(key, &record).await? {
                // A push that meets a deletion sets its tag again, or fails.
                return Ok(self.is_settled(&record).then_some(finding));
            }
        }
        Ok(None)
    }

    /// Looks again for the row of a tag in the tag index.
    async fn check_indexed(
        &self,
        key: &RecordKey,
        record: &Record,
        name: &RepositoryName,
        (tag, digest): (&Tag, &Digest),
    ) -> Result<Option<Finding>, Error> {
        let row = RecordKey::TagIndex(name.clone(), *digest, tag.clone());
        if self.walk.read(&row).await?.live().is_some() || !self.is_unchanged(key, record).await? {
            return Ok(None);
        }
        let what = format!("the tag index of {digest} lacks the tag");
        let mut finding = Finding::new(Class::MissingTagIndex, key, what);
        if let Some(registry) = &self.registry {
            let restored = registry.manifests.restore_tag_index(name, digest, tag).await;
            finding.repair = Some(repair(restored.map(|()| true)));
        }
        Ok(Some(finding))
    }

    async fn check_referrer(
        &self,
        key: &RecordKey,
        record: &Record,
        shown: &Shown,
    ) -> Result<Option<Finding>, Error> {
        let RecordKey::Referrer(name, _, digest) = key else { return Ok(None) };
        if let Err(finding) = decoded::<Referrer>(key, record) {
            return Ok(Some(finding));
        }
        if shown.manifests.contains(&shown.hashes.of(digest)) || !self.is_settled(record) {
            return Ok(None);
        }
        let of = RecordKey::Manifest(name.clone(), *digest);
        if !matches!(self.stored(&of).await?, Stored::Nothing)
            || !self.is_unchanged(key, record).await?
        {
            return Ok(None);
        }
        let what = format!("the list of referrers shows the manifest {digest}, which is absent");
        Ok(Some(Finding::new(Class::StaleReferrer, key, what)))
    }

    /// Looks again for the marker of a repository that has a manifest.
    async fn check_marker(
        &self,
        name: &RepositoryName,
        manifest: &RecordKey,
    ) -> Result<Option<Finding>, Error> {
        let key = RecordKey::Repository(name.clone());
        if self.walk.read(&key).await?.live().is_some() {
            return Ok(None);
        }
        match self.stored(manifest).await? {
            Stored::Live(_, record, _) if self.is_settled(&record) => {}
            _ => return Ok(None),
        }
        let what = "the repository has manifests, and no row in the catalog";
        let mut finding = Finding::new(Class::MissingRepository, &key, what);
        if let Some(registry) = &self.registry {
            let restored = registry.repositories.restore(name).await;
            finding.repair = Some(repair(restored.map(|()| true)));
        }
        Ok(Some(finding))
    }

    /// Reads a manifest past the lists.
    async fn stored(&self, key: &RecordKey) -> Result<Stored, Error> {
        let Some(record) = self.walk.read(key).await?.live() else { return Ok(Stored::Nothing) };
        Ok(match decode::<records::Manifest>(&record.body) {
            Ok((manifest, bytes)) if !manifest.doomed => {
                Stored::Live(Box::new(manifest), record, bytes.len() as u64)
            }
            Ok(_) | Err(_) => Stored::Unusable,
        })
    }
}
