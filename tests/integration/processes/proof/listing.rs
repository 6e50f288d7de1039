//! The bucket as another program lists it.
#![expect(clippy::disallowed_types, reason = "what Longshore says is compared with this")]

use aws_sdk_s3::Client;

/// Some objects of the bucket below one prefix.
#[derive(Debug)]
pub(super) struct RawBucket {
    client: Client,
    bucket: String,
    prefix: String,
}

/// The key of an object without the prefix, and its size.
pub(super) type Object = (String, u64);

impl RawBucket {
    /// The bucket of a URL `s3://bucket/prefix`. Endpoint and credentials are those of the
    /// environment.
    pub(super) async fn of(store: &str) -> Self {
        let rest = store.strip_prefix("s3://").expect("the URL of a bucket");
        let (bucket, prefix) = rest.split_once('/').expect("a prefix");
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let config = aws_sdk_s3::config::Builder::from(&config).force_path_style(true).build();
        let client = Client::from_conf(config);
        Self { client, bucket: bucket.to_owned(), prefix: format!("{prefix}/") }
    }

    /// All objects.
    pub(super) async fn objects(&self) -> Vec<Object> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(&self.prefix);
        let mut pages = list.into_paginator().send();
        let mut objects = Vec::new();
        while let Some(page) = pages.next().await {
            for object in page.expect("a page").contents() {
                let key = object.key().expect("a key").strip_prefix(&self.prefix);
                let size = u64::try_from(object.size().expect("a size")).expect("a size");
                objects.push((key.expect("the prefix").to_owned(), size));
            }
        }
        objects
    }

    /// Deletes the lease of the collector, so that another one begins although one runs.
    pub(super) async fn delete_lease(&self) {
        let key = format!("{}v1/g/collector", self.prefix);
        let deleted = self.client.delete_object().bucket(&self.bucket).key(key).send().await;
        deleted.expect("the object is deleted");
    }
}
