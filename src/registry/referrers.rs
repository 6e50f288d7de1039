//! Referrers: one record for each manifest that names a subject.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Error;
use super::concurrently::concurrently;
use super::lists::{CachedPage, Page, read_page};
use super::read_cache::ReadCache;
use super::record::Records;
use crate::layout::records::Referrer;
use crate::oci::{Digest, RepositoryName};
use crate::store::{self, Prefix, RecordKey};

/// Bytes of descriptors on one page: clients read a list as they read a manifest, up to 4 MiB
/// (distribution-spec, "Listing Referrers").
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// A page of the referrers of a subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReferrersPage {
    /// Descriptors, in the order of their digests.
    pub descriptors: Vec<serde_json::Value>,
    /// The cursor of the next page, if more follow.
    pub next: Option<String>,
}

impl CachedPage for ReferrersPage {
    fn encode(&self) -> Result<Bytes, store::Error> {
        let text = serde_json::to_vec(self);
        text.map(Bytes::from)
            .map_err(|error| store::Error::Damaged(format!("a page of referrers: {error}")))
    }

    fn decode(text: &Bytes) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

/// The manifests that name a subject.
#[derive(Debug)]
pub struct Referrers {
    pub(super) records: Records,
    pub(super) read_cache: Arc<ReadCache>,
}

impl Referrers {
    /// The referrers of a subject after `last`, at most `count` of them before filtering.
    pub async fn list(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: Option<&str>,
        count: usize,
    ) -> Result<ReferrersPage, Error> {
        let list = Prefix::Referrers(name.clone(), *subject);
        let last = last.unwrap_or_default();
        let read = |_| {
            let (records, subject) = (self.records.clone(), *subject);
            let (name, last) = (name.clone(), last.to_owned());
            async move {
                let page = read_descriptors(&records, &name, &subject, &last, count).await;
                page.map_err(Error::into_store)
            }
        };
        let wanted = |descriptor: &serde_json::Value| {
            artifact_type.is_none_or(|wanted| {
                descriptor.get("artifactType").and_then(serde_json::Value::as_str) == Some(wanted)
            })
        };
        let mut page: ReferrersPage = self.read_cache.page(list, last, count, read).await?;
        page.descriptors.retain(wanted);
        Ok(page)
    }
}

fn cursor(referrer: &Digest) -> String {
    format!("{}-{}", referrer.algorithm(), referrer.hex())
}

/// Lists the referrers and reads the record of each of them.
async fn read_descriptors(
    records: &Records,
    name: &RepositoryName,
    subject: &Digest,
    last: &str,
    count: usize,
) -> Result<ReferrersPage, Error> {
    let list = Prefix::Referrers(name.clone(), *subject);
    let row = |rest: &str| {
        let (algorithm, hex) = rest.split_once('-')?;
        format!("{algorithm}:{hex}").parse::<Digest>().ok()
    };
    let Page { rows, next } = read_page(records.store(), &list, last, count, row).await?;
    let mut next = next.as_ref().map(cursor);
    let keys = rows.clone();
    let read = |referrer: Digest| async move {
        let key = RecordKey::Referrer(name.clone(), *subject, referrer);
        records.load::<Referrer>(&key).await
    };
    let found = concurrently(rows.into_iter().map(read).collect()).await?;
    let mut descriptors = Vec::with_capacity(found.len());
    let mut last_read = None;
    let mut bytes = 0;
    for (referrer, record) in keys.iter().zip(found) {
        // The referrer was deleted after the listing.
        let Some(record) = record else { continue };
        bytes += record.record.body.len();
        if bytes > PAGE_BYTES_MAX && !descriptors.is_empty() {
            next = last_read;
            break;
        }
        last_read = Some(cursor(referrer));
        descriptors.push(record.header.descriptor);
    }
    Ok(ReferrersPage { descriptors, next })
}
