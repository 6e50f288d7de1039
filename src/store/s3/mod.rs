//! The store on S3 and what speaks its protocol. Only this room knows the SDK.
//!
//! Each call of the trait is one request, plus what the retries cost; only a completion or a large
//! conditional write whose outcome is unknown asks once more. Bodies are in memory, so that every
//! request can be repeated.

#![expect(clippy::disallowed_types, reason = "this is the room that speaks to S3")]

mod blobs;
mod credentials;
mod deadline;
mod error;
mod http_client;
mod metrics;
mod multipart;
mod presign;
mod settings;
mod trace;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::bytes::Bytes;
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder as ConfigBuilder, ConfigBag, Intercept, Region,
    RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
    SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream as SdkBytes;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use tracing::Span;

use self::blobs::crc32;
use self::http_client::Transport;
use self::presign::{Presigner, Remembering};
pub use self::settings::{Checksum, Settings};
use super::{
    BlobStore, ByteStream, Deadline, Error, ListedKey, Listing, Location, MultipartId, ObjectStore,
    Part, Prefix, PresignGet, Record, RecordKey, RecordStore, Version,
};
use crate::telemetry::metrics::{Metrics, PresignKey};

/// Entries are headers, manifests and the tails of uploads; more than this is none of ours.
const ENTRY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The pause before the first retry; it doubles, and a random part of it is taken.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A body of this size is sent before the answer can arrive, so a refusal of it is always heard.
const HEARD_BYTES: usize = 64 * 1024;
/// Without one there is no telling one write of an entry from another.
const NO_ETAG: &str = "the store acknowledged a write without an ETag";
/// What clients are told that the bytes behind a presigned URL are.
const BYTES_MEDIA_TYPE: &str = "application/octet-stream";

/// A bucket, or the part of one below a prefix.
#[derive(Debug)]
pub struct S3 {
    client: Client,
    /// Signs URLs for clients, who may reach the store by another name. Never sends anything.
    public: Client,
    presigner: Presigner,
    metrics: Metrics,
    transport: Transport,
    bucket: String,
    root: String,
    /// Otherwise uploads carry no checksum: TCP and TLS have their own.
    sends_crc32: bool,
    attempts_max: u32,
    description: String,
}

impl S3 {
    /// Prepares to speak to the store. Sends nothing to it; credentials are fetched when needed.
    ///
    /// Every key begins with `prefix`; slashes around it do not matter.
    pub async fn connect(
        bucket: &str,
        prefix: &str,
        settings: &Settings,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let region = credentials::region(settings).await?;
        let provider = credentials::provider(settings, &region)?;
        Self::over((bucket, prefix), settings, region, provider, metrics)
    }

    fn over(
        (bucket, prefix): (&str, &str),
        settings: &Settings,
        region: Region,
        provider: SharedCredentialsProvider,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        // Whoever installs one first decides for the process, and all choose the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let endpoint = settings.endpoint.as_deref().map(checked_endpoint).transpose()?;
        let public_endpoint =
            settings.public_endpoint.as_deref().map(checked_endpoint).transpose()?;
        let transport = Transport::new(settings, metrics.clone())?;
        let root = root(prefix);
        let description =
            format!("s3://{bucket}/{root} at {} ({region})", endpoint.as_deref().unwrap_or("AWS"));
        let credentials = Remembering::new(provider);
        let mut config = sdk_config(settings, &transport, region, credentials.clone());
        config.set_endpoint_url(endpoint);
        let public = public_endpoint.map(|endpoint| config.clone().endpoint_url(endpoint).build());
        let config = config.build();
        Ok(Self {
            public: Client::from_conf(public.unwrap_or_else(|| config.clone())),
            client: Client::from_conf(config),
            presigner: Presigner::new(credentials),
            metrics: metrics.clone(),
            transport,
            bucket: bucket.to_owned(),
            root,
            sends_crc32: settings.sends_crc32(),
            attempts_max: settings.attempts_max,
            description,
        })
    }

    fn entry_key(&self, key: &RecordKey) -> String {
        format!("{}{key}", self.root)
    }

    fn bytes_key(&self, location: &Location) -> String {
        format!("{}{location}", self.root)
    }

    /// Writes an entry if `condition` holds.
    async fn write(
        &self,
        key: &RecordKey,
        condition: Condition<'_>,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        if body.len() as u64 > ENTRY_BYTES_MAX {
            return Err(Error::Refused(format!("an entry of {} bytes is too large", body.len())));
        }
        let (key, length) = (self.entry_key(key), body.len());
        let span = trace::call("PutObject", &self.bucket, &key);
        let request = self.client.put_object().bucket(&self.bucket).key(&key);
        let request = match condition {
            Condition::Absent => request.if_none_match("*"),
            Condition::Version(version) => request.if_match(&version.0),
        };
        // versitygw keeps what it has of a body whose connection breaks, unless it was told what
        // the whole has to be. Every store knows Content-MD5 but those that only know checksums.
        let request = if self.sends_crc32 {
            request.checksum_crc32(crc32(&body))
        } else {
            request.content_md5(md5(&body))
        };
        let written = match deadline {
            Some(deadline) => self.write_dated(span, request, body, deadline).await,
            None => write_undated(span, request, body).await,
        };
        if matches!(written, Err(Error::Unavailable(_)))
            && length > HEARD_BYTES
            && self.is_unmet(&key, condition).await
        {
            return Err(Error::Conflict);
        }
        match (written, condition) {
            // What does not exist has no version, so it is not the one that was expected.
            (Err(Error::NotFound), Condition::Version(_)) => Err(Error::Conflict),
            (Err(Error::NotFound), Condition::Absent) => {
                Err(Error::Unavailable("a write that was answered with 404".to_owned()))
            }
            (written, _) => written,
        }
    }

    /// Whether an entry is known to be another than `condition` wants.
    ///
    /// Stores refuse a condition before they read the body, and some close the connection at once.
    /// Then all that is seen of the refusal is a body that could not be sent, every time again.
    async fn is_unmet(&self, key: &str, condition: Condition<'_>) -> bool {
        let span = trace::call("HeadObject", &self.bucket, key);
        let request = self.client.head_object().bucket(&self.bucket).key(key);
        let found = trace::sent(span, request.send()).await;
        match (found, condition) {
            (Ok(_), Condition::Absent) => true,
            (Ok(found), Condition::Version(version)) => {
                found.e_tag.is_some_and(|tag| tag != version.0)
            }
            // An answer to HEAD has no body, so nothing says what it is that was not found.
            (Err(_), _) => false,
        }
    }
}

/// The MD5 of some bytes as RFC 1864 spells it. It finds what was cut off, and protects nothing.
fn md5(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(Md5::digest(bytes))
}

async fn write_undated(
    span: Span,
    request: PutObjectFluentBuilder,
    body: Bytes,
) -> Result<Version, Error> {
    let request = request.body(SdkBytes::from(body)).customize().disable_payload_signing();
    let output = trace::sent(span, request.send()).await.map_err(|error| error::of(&error))?;
    output.e_tag.map(Version).ok_or_else(|| Error::Refused(NO_ETAG.to_owned()))
}

/// How the SDK is to behave, but for the endpoint.
fn sdk_config(
    settings: &Settings,
    transport: &Transport,
    region: Region,
    credentials: Remembering,
) -> ConfigBuilder {
    let retries = RetryConfig::standard()
        .with_max_attempts(settings.attempts_max)
        .with_initial_backoff(BACKOFF_FIRST)
        .with_max_backoff(BACKOFF_MAX);
    // The transport has limits of its own, which know a slow body from a dead store.
    let timeouts = TimeoutConfig::builder().read_timeout(settings.response_timeout).build();
    ConfigBuilder::new()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(transport.clone())
        .credentials_provider(credentials)
        .region(region)
        .force_path_style(settings.uses_path_style())
        .retry_config(retries)
        .timeout_config(timeouts)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Otherwise bodies get checksums that Garage and radosgw reject.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .disable_s3_express_session_auth(true)
}

/// What must hold for a write to happen.
#[derive(Clone, Copy)]
enum Condition<'a> {
    Absent,
    Version(&'a Version),
}

/// The operator's prefix as keys begin with it.
fn root(prefix: &str) -> String {
    match prefix.trim_matches('/') {
        "" => String::new(),
        prefix => format!("{prefix}/"),
    }
}

/// An endpoint is a scheme and a host; what else is written there is a mistake.
fn checked_endpoint(endpoint: &str) -> Result<String, Error> {
    let mistaken = || Error::Refused(format!("{endpoint:?} is no URL of an object store"));
    let uri: http::Uri = endpoint.parse().map_err(|_| mistaken())?;
    let scheme = uri.scheme_str().ok_or_else(mistaken)?;
    let authority = uri.authority().ok_or_else(mistaken)?;
    let plain = matches!(scheme, "http" | "https")
        && uri.path() == "/"
        && uri.query().is_none()
        && !authority.as_str().contains('@');
    if plain { Ok(format!("{scheme}://{authority}")) } else { Err(mistaken()) }
}

/// The `Date` of an answer: the store's clock. Listens to every try; the last one counts.
#[derive(Clone, Debug, Default)]
struct StoreDate(Arc<Mutex<Option<SystemTime>>>);

impl StoreDate {
    /// How long before the answer this moment was.
    fn since(&self, moment: SystemTime) -> Option<Duration> {
        let date = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(date?.duration_since(moment).unwrap_or_default())
    }
}

#[dyn_dispatch_hint]
impl Intercept for StoreDate {
    fn name(&self) -> &'static str {
        "StoreDate"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

/// Reads an entry out of an answer.
async fn record(output: GetObjectOutput, date: &StoreDate) -> Result<Record, Error> {
    let lacks = |what: &str| Error::Refused(format!("the store's answer has no {what}"));
    let size = output.content_length.unwrap_or_default().unsigned_abs();
    if size > ENTRY_BYTES_MAX {
        return Err(Error::Damaged(format!("an entry of {size} bytes")));
    }
    let version = output.e_tag.map(Version).ok_or_else(|| lacks("ETag"))?;
    let written = output.last_modified.ok_or_else(|| lacks("Last-Modified"))?;
    let written = SystemTime::try_from(written).map_err(|_| lacks("possible Last-Modified"))?;
    let age = date.since(written).ok_or_else(|| lacks("Date"))?;
    let body = output.body.collect().await;
    let body = body.map_err(|error| Error::Unavailable(error::chain(&error)))?.into_bytes();
    if body.len() as u64 != size {
        return Err(Error::Unavailable(format!("{} of {size} bytes arrived", body.len())));
    }
    Ok(Record { body, version, age })
}

#[async_trait]
impl RecordStore for S3 {
    async fn read(&self, key: &RecordKey) -> Result<Record, Error> {
        let date = StoreDate::default();
        let key = self.entry_key(key);
        let span = trace::call("GetObject", &self.bucket, &key);
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let request = request.customize().interceptor(date.clone());
        let output = trace::sent(span, request.send()).await;
        record(output.map_err(|error| error::of(&error))?, &date).await
    }

    async fn create(
        &self,
        key: &RecordKey,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.write(key, Condition::Absent, body, deadline).await
    }

    async fn replace(
        &self,
        key: &RecordKey,
        expected: &Version,
        body: Bytes,
        deadline: Option<Deadline>,
    ) -> Result<Version, Error> {
        self.write(key, Condition::Version(expected), body, deadline).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Listing, Error> {
        let prefix = format!("{}{prefix}", self.root);
        let span = trace::call("ListObjectsV2", &self.bucket, &prefix);
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(&prefix)
            .set_start_after(after.map(|after| format!("{prefix}{after}")))
            .max_keys(i32::try_from(limit).unwrap_or(i32::MAX));
        let output = trace::sent(span, request.send()).await.map_err(|error| error::of(&error))?;
        let more = output.is_truncated.unwrap_or_default();
        let rows: Option<Vec<ListedKey>> = output
            .contents
            .unwrap_or_default()
            .into_iter()
            .map(|object| {
                let key = object.key?.strip_prefix(&self.root)?.to_owned();
                Some(ListedKey { key, size: u64::try_from(object.size?).ok()? })
            })
            .collect();
        let strange = || Error::Refused("a listing that was not asked for".to_owned());
        let rows = rows.ok_or_else(strange)?;
        if more && rows.is_empty() {
            // The last row is the cursor for the next page; without one nothing would follow.
            return Err(strange());
        }
        Ok(Listing { rows, more })
    }

    #[expect(clippy::disallowed_methods, reason = "deadlines are dated with the clock that signs")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

#[async_trait]
impl BlobStore for S3 {
    async fn put(
        &self,
        location: &Location,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<(), Error> {
        self.put_whole(location, bytes, sha256).await
    }

    async fn get(
        &self,
        location: &Location,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, Error> {
        self.open(location, range).await
    }

    async fn delete(&self, location: &Location) -> Result<(), Error> {
        let key = self.bytes_key(location);
        let span = trace::call("DeleteObject", &self.bucket, &key);
        let request = self.client.delete_object().bucket(&self.bucket).key(key);
        let sent = trace::sent(span, request.send()).await;
        match sent.map_err(|error| error::of(&error)) {
            Ok(_) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn presign_get(
        &self,
        location: &Location,
        options: PresignGet,
    ) -> Result<Option<String>, Error> {
        let PresignGet { dated, valid_for } = options;
        let validity = validity(dated, valid_for)?;
        let key = self.bytes_key(location);
        if let Some(url) = self.presigner.sign(&key, dated, valid_for) {
            self.metrics.presigned.inc((PresignKey::Cached,));
            return Ok(Some(url));
        }
        let request = self.public.get_object().bucket(&self.bucket).key(&key);
        let signed = request.response_content_type(BYTES_MEDIA_TYPE).presigned(validity).await;
        let url = signed.map_err(|error| error::of(&error))?.uri().to_owned();
        self.metrics.presigned.inc((PresignKey::Derived,));
        self.presigner.learn(&url, &key, dated, valid_for, self.now());
        Ok(Some(url))
    }

    async fn start(&self, location: &Location) -> Result<MultipartId, Error> {
        self.start_multipart(location).await
    }

    async fn put_part(
        &self,
        location: &Location,
        id: &MultipartId,
        number: u32,
        bytes: Bytes,
    ) -> Result<Part, Error> {
        self.send_part(location, id, number, bytes).await
    }

    async fn complete(
        &self,
        location: &Location,
        id: &MultipartId,
        parts: &[Part],
    ) -> Result<(), Error> {
        self.complete_multipart(location, id, parts).await
    }

    async fn abort(&self, location: &Location, id: &MultipartId) -> Result<(), Error> {
        self.abort_multipart(location, id).await
    }

    async fn is_open(&self, location: &Location, id: &MultipartId) -> Result<bool, Error> {
        self.is_open_multipart(location, id).await
    }
}

impl ObjectStore for S3 {
    fn describe(&self) -> String {
        self.description.clone()
    }
}

/// How long a signature holds, and from when.
fn validity(from: SystemTime, valid_for: Duration) -> Result<PresigningConfig, Error> {
    PresigningConfig::builder()
        .start_time(from)
        .expires_in(valid_for)
        .build()
        .map_err(|error| Error::Refused(format!("a signature for {valid_for:?}: {error}")))
}

#[cfg(test)]
mod tests;
