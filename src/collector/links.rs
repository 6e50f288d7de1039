//! Links that no manifest of their repository needs.
//!
//! A link is deleted when two runs have found it in the same version. The record `g/seen/` of the
//! repository holds what the last run has found.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::manifests::Contents;
use super::rows::{Row, Rows, Scope};
use super::{Class, Error, Fate, Run};
use crate::layout::encoding::{Draft, decode};
use crate::layout::records::Seen;
use crate::oci::{Algorithm, Digest, RepositoryName};
use crate::registry::record::{Current, Written};
use crate::store::RecordKey;

/// Bytes of a hash in the record.
const SIGHTING_BYTES: usize = 16;
/// Candidates of one repository that a run remembers: the record has 4 MB then.
const SIGHTINGS_MAX: usize = 250_000;

/// A link in one version.
type Sighting = [u8; SIGHTING_BYTES];

/// The candidates of a repository.
#[derive(Debug)]
struct Sightings {
    current: Current,
    before: BTreeSet<Sighting>,
    now: BTreeSet<Sighting>,
}

fn sighting(row: &Row) -> Sighting {
    let text = format!("{}\n{}", row.listed.key, row.listed.version.0);
    let digest = Digest::of(Algorithm::Sha256, text.as_bytes());
    let mut sighting = [0; SIGHTING_BYTES];
    for (byte, of_digest) in sighting.iter_mut().zip(digest.as_bytes()) {
        *byte = *of_digest;
    }
    sighting
}

impl Run {
    pub(super) async fn collect_links(
        &self,
        rows: &mut Rows,
        name: &RepositoryName,
        scope: &Scope,
        contents: &Contents,
    ) -> Result<(), Error> {
        let key = RecordKey::Seen(name.clone());
        let was_seen = scope.seen.contains(&key.to_string());
        let mut sightings = if was_seen { Some(self.sightings(&key).await?) } else { None };
        loop {
            let batch = rows.batch(self, name, scope.batch()).await?;
            if batch.is_empty() {
                break;
            }
            let mut deleted = Vec::new();
            for row in batch {
                let RecordKey::Link(_, digest) = row.key else { continue };
                if contents.references.contains(&digest.to_string()) {
                    continue;
                }
                if !contents.complete {
                    self.count(Class::Link, Fate::Unreadable);
                } else if !scope.cutoff.is_old(&row.listed) {
                    self.count_young(Class::Link);
                } else {
                    let (sightings, sighting) =
                        (sightings.get_or_insert_with(Sightings::none), sighting(&row));
                    if sightings.before.contains(&sighting) {
                        deleted.push(row);
                        continue;
                    }
                    self.count(Class::Link, Fate::FirstSighting);
                    if sightings.now.len() < SIGHTINGS_MAX {
                        sightings.now.insert(sighting);
                    }
                }
            }
            self.delete_rows(deleted).await?;
        }
        match sightings {
            Some(sightings) => self.remember(&key, sightings).await,
            None => Ok(()),
        }
    }

    /// What an earlier run has found. The same run, after a crash, has deleted what it could.
    async fn sightings(&self, key: &RecordKey) -> Result<Sightings, Error> {
        let current = self.records.read(key).await?;
        let mut before = BTreeSet::new();
        if let Current::Live(record) = &current {
            let (Seen { run }, payload) = decode(&record.body)?;
            if run != self.id {
                before.extend(
                    payload
                        .chunks_exact(SIGHTING_BYTES)
                        .filter_map(|hash| Sighting::try_from(hash).ok()),
                );
            }
        }
        Ok(Sightings { current, before, now: BTreeSet::new() })
    }

    /// Writes the candidates of this run. If another collector has written its own, those stay.
    async fn remember(&self, key: &RecordKey, sightings: Sightings) -> Result<(), Error> {
        let Sightings { current, now, .. } = sightings;
        if !self.writes() {
            return Ok(());
        }
        if now.is_empty() {
            if let Current::Live(record) = &current {
                self.delete_read(key, record).await?;
            }
            return Ok(());
        }
        let payload: Vec<u8> = now.into_iter().flatten().collect();
        let draft = Draft::new(&Seen { run: self.id.clone() }, Bytes::from(payload));
        let written = self.records.upsert(key, &current, &draft, None).await?;
        // A record that an earlier run has deleted was not read before.
        if let Written::Lost(tombstone @ Current::Tombstone(_)) = written {
            self.records.upsert(key, &tombstone, &draft, None).await?;
        }
        Ok(())
    }
}

impl Sightings {
    fn none() -> Self {
        Self { current: Current::Absent, before: BTreeSet::new(), now: BTreeSet::new() }
    }
}
