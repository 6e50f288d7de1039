//! The data of blobs, as the store has it: its keys are used once and need no condition.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use super::SingleWriter;
use crate::store::{
    BlobStore, ByteStream, DataObject, Day, Error, Listing, Location, MultipartId, OpenMultiparts,
    Part, PresignGet, Version,
};

#[async_trait]
impl BlobStore for SingleWriter {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<Version, Error> {
        self.0.s3.put(location, bytes, sha256).await
    }

    async fn head(&self, location: &Location) -> Result<Option<DataObject>, Error> {
        self.0.s3.head(location).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        self.0.s3.get(location, range).await
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        self.0.s3.delete(location).await
    }

    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error> {
        self.0.s3.presign_get(location, options).await
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        self.0.s3.start(location).await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        self.0.s3.put_part(location, id, number, bytes).await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<Version, Error> {
        self.0.s3.complete(location, id, parts).await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        self.0.s3.abort(location, id).await
    }

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        self.0.s3.is_open(location, id).await
    }

    async fn list_days(&self) -> Result<Vec<Day>, Error> {
        self.0.s3.list_days().await
    }

    async fn list_data(
        &self,
        day: &Day,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        self.0.s3.list_data(day, after, limit).await
    }

    async fn list_multiparts(&self, limit: usize) -> Result<OpenMultiparts, Error> {
        self.0.s3.list_multiparts(limit).await
    }
}
