//! Lists of objects.

use std::time::SystemTime;

use aws_sdk_s3::types::{MultipartUpload, Object};

use super::answer::StoreDate;
use super::client::S3;
use super::etag::version_of;
use crate::store::{Day, Error, Listed, Listing, MultipartId, OpenMultipart, OpenMultiparts};
use crate::telemetry::metrics::S3Operation;

impl S3 {
    /// One page of the objects whose keys in the bucket begin with `prefix`.
    pub(super) async fn list_keys(
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
        let began_in_folder = after.is_some_and(|after| after.contains('/'));
        let more = match rows.last() {
            Some(last) if !more && began_in_folder && rows.len() >= limit => {
                self.continues(prefix, &last.key).await?
            }
            _ => more,
        };
        Ok(Listing { rows, more, now: date.get()? })
    }

    /// Whether keys follow a page that is full and that the store calls the last one. `MinIO` does
    /// so, although keys follow, if the page began within a folder `a/b/` and there are keys such
    /// as `a-b/…` or `a.b/…` beside it.
    async fn continues(&self, prefix: &str, last: &str) -> Result<bool, Error> {
        let operation = self.operation(S3Operation::List, prefix);
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
        let request = request.start_after(self.key(last)).max_keys(1);
        let output = operation.send(request.send()).await?;
        Ok(output.contents.is_some_and(|following| !following.is_empty()))
    }

    /// The days that follow `prefix` in the keys of the bucket.
    pub(super) async fn list_prefixes(&self, prefix: &str) -> Result<Vec<Day>, Error> {
        let (mut days, mut token) = (Vec::new(), None);
        loop {
            let operation = self.operation(S3Operation::List, prefix);
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(prefix)
                .delimiter("/")
                .set_continuation_token(token);
            let output = operation.send(request.send()).await?;
            let names = output.common_prefixes.unwrap_or_default().into_iter();
            // A foreign key in the bucket must not hide the days after it.
            days.extend(names.filter_map(|name| {
                name.prefix?.strip_prefix(prefix)?.strip_suffix('/')?.parse::<Day>().ok()
            }));
            if !output.is_truncated.unwrap_or_default() {
                return Ok(days);
            }
            token = Some(output.next_continuation_token.ok_or_else(strange)?);
        }
    }

    /// The first uploads in progress whose keys in the bucket begin with `prefix`.
    pub(super) async fn list_uploads(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<OpenMultiparts, Error> {
        let (mut rows, mut after) = (Vec::<OpenMultipart>::new(), (None, None));
        loop {
            let date = StoreDate::default();
            let operation = self.operation(S3Operation::ListMultiparts, prefix);
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.bucket)
                .prefix(prefix)
                .set_key_marker(after.0.take())
                .set_upload_id_marker(after.1.take())
                .customize()
                .interceptor(date.clone());
            let output = operation.send(request.send()).await?;
            for upload in output.uploads.unwrap_or_default() {
                rows.extend(self.open_multipart(upload));
            }
            if rows.len() >= limit || !output.is_truncated.unwrap_or_default() {
                // Garage orders a page by the ids of the uploads.
                rows.sort_by(|one, next| one.location.cmp(&next.location));
                rows.truncate(limit);
                return Ok(OpenMultiparts { rows, now: date.get()? });
            }
            let key = output.next_key_marker.ok_or_else(strange)?;
            after = (Some(key), output.next_upload_id_marker);
        }
    }

    /// `None` for an upload that is not ours.
    fn open_multipart(&self, upload: MultipartUpload) -> Option<OpenMultipart> {
        Some(OpenMultipart {
            location: self.name_of(&upload.key?)?.parse().ok()?,
            id: MultipartId(upload.upload_id?),
            started: SystemTime::try_from(upload.initiated?).ok()?,
        })
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
