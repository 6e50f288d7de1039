//! Lists of objects.

use std::time::SystemTime;

use aws_sdk_s3::types::Object;

use super::client::S3;
use super::etag::version_of;
use super::records::StoreDate;
use crate::store::{Error, Listed, Listing};
use crate::telemetry::metrics::S3Operation;

impl S3 {
    /// One page of the objects whose keys in the bucket begin with `prefix`.
    pub(super) async fn list_objects(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let date = StoreDate::default();
        let operation = self.operation(S3Operation::List, prefix);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .set_start_after(after.map(|after| format!("{prefix}{after}")))
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX))
            .customize()
            .interceptor(date.clone());
        let output = operation.send(request.send()).await?;
        let more = output.is_truncated.unwrap_or_default();
        let objects = output.contents.unwrap_or_default().into_iter();
        let rows: Option<Vec<Listed>> = objects.map(|object| self.listed(object)).collect();
        let rows = rows.ok_or_else(strange)?;
        if more && rows.is_empty() {
            // The last row is the cursor of the next page; without one the list would never end.
            return Err(strange());
        }
        Ok(Listing { rows, more, now: date.get()? })
    }

    fn listed(&self, object: Object) -> Option<Listed> {
        Some(Listed {
            key: self.name_of(&object.key?)?.to_owned(),
            size: u64::try_from(object.size?).ok()?,
            version: version_of(&object.e_tag?),
            written: SystemTime::try_from(object.last_modified?).ok()?,
        })
    }
}

fn strange() -> Error {
    let what = "the store listed keys that were not asked for, or rows that are incomplete";
    Error::Refused(what.to_owned())
}
