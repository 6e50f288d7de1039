//! Referrers: rows of manifests that were deleted, and manifests without their row.

use super::manifests::Contents;
use super::rows::{Rows, Scope};
use super::salted::SaltedSet;
use super::{Class, Error, Fate, Run};
use crate::oci::{Digest, RepositoryName};
use crate::registry;
use crate::store::RecordKey;

/// Requests of a repair.
const REPAIR_REQUESTS: u64 = 4;

fn pair(subject: &Digest, referrer: &Digest) -> String {
    format!("{subject} {referrer}")
}

impl Run {
    pub(super) async fn collect_referrers(
        &self,
        rows: &mut Rows,
        name: &RepositoryName,
        scope: &Scope,
        contents: &Contents,
    ) -> Result<(), Error> {
        let mut found = SaltedSet::new();
        loop {
            let batch = rows.batch(self, name, scope.batch()).await?;
            if batch.is_empty() {
                break;
            }
            let mut deleted = Vec::new();
            for row in batch {
                let RecordKey::Referrer(_, subject, referrer) = &row.key else { continue };
                found.insert(&pair(subject, referrer));
                if contents.manifests.contains(&referrer.to_string()) {
                    continue;
                }
                if scope.cutoff.is_old(&row.listed) {
                    deleted.push(row);
                } else {
                    self.count_young(Class::Referrer);
                }
            }
            self.delete_rows(deleted).await?;
        }
        let missing = contents.referrers.iter();
        for (subject, referrer) in missing.filter(|(s, r)| !found.contains(&pair(s, r))) {
            tracing::warn!(%name, %subject, %referrer, "a referrer was not among its subject's");
            self.restore_referrer(name, referrer).await?;
        }
        Ok(())
    }

    async fn restore_referrer(
        &self,
        name: &RepositoryName,
        referrer: &Digest,
    ) -> Result<(), Error> {
        let mut restored = true;
        if self.writes() {
            self.paced.requests_sent(REPAIR_REQUESTS).await;
            restored = match self.registry.manifests.restore_referrer(name, referrer).await {
                Ok(restored) => restored,
                // A manifest that this release cannot parse, or a race: it stays as it is.
                Err(error @ registry::Error::Unavailable(_)) => return Err(error.into()),
                Err(_) => false,
            };
        }
        self.count(Class::Referrer, if restored { Fate::Repaired } else { Fate::Changed });
        Ok(())
    }
}
