//! Referrers: one entry for each manifest that names a subject.

use serde::{Deserialize, Serialize};

use super::entry;
use super::{Error, Page, Registry, concurrently};
use crate::oci::{Digest, RepositoryName};
use crate::store::{EntryKey, Prefix};

/// The entry `r/`: the descriptor of a referrer, as the list shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Referrer {
    pub(super) descriptor: serde_json::Value,
}

/// A page of the referrers of a subject.
#[derive(Clone, Debug)]
pub struct ReferrersPage {
    /// Descriptors, in the order of their digests.
    pub descriptors: Vec<serde_json::Value>,
    /// The cursor of the next page, if more follow.
    pub next: Option<String>,
}

/// Bytes of descriptors on one page: clients read a list as they read a manifest, up to 4 MiB
/// (distribution-spec, "Listing Referrers").
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

fn cursor(referrer: &Digest) -> String {
    format!("{}-{}", referrer.algorithm(), referrer.hex())
}

impl Registry {
    /// The referrers of a subject after `last`, at most `count` of them before filtering.
    pub async fn referrers(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&str>,
        count: usize,
    ) -> Result<ReferrersPage, Error> {
        let prefix = Prefix::Referrers(name.clone(), *subject);
        let parse = |rest: &str| {
            let (algorithm, hex) = rest.split_once('-')?;
            format!("{algorithm}:{hex}").parse::<Digest>().ok()
        };
        let Page { rows, more } = self.rows(&prefix, last, count, parse).await?;
        let mut next = rows.last().filter(|_| more).map(cursor);
        let keys = rows.clone();
        let read = |referrer: Digest| async move {
            let key = EntryKey::Referrer(name.clone(), *subject, referrer);
            entry::read::<Referrer>(self.store(), &key).await
        };
        let found = concurrently(rows.into_iter().map(read).collect()).await?;
        let mut descriptors = Vec::with_capacity(found.len());
        let mut last_read = None;
        let mut bytes = 0;
        for (referrer, record) in keys.iter().zip(found) {
            // One that was removed since the listing is simply not there any more.
            let Some(record) = record else { continue };
            bytes += record.entry.body.len();
            if bytes > PAGE_BYTES_MAX && !descriptors.is_empty() {
                next = last_read;
                break;
            }
            last_read = Some(cursor(referrer));
            let descriptor = record.header.descriptor;
            let wanted = artifact_type.is_none_or(|wanted| {
                descriptor.get("artifactType").and_then(serde_json::Value::as_str) == Some(wanted)
            });
            if wanted {
                descriptors.push(descriptor);
            }
        }
        Ok(ReferrersPage { descriptors, next })
    }
}
