//! The table of metrics: the only place where one is declared.
//!
//! A row is the field by which the program knows it, its kind and labels, its name, its unit, and
//! the alerts of `deploy/prometheus/alerts.yml` that look at it. The comment above it is the help
//! of the exposition and the text of `docs/metrics.md`. A test moves every row, and another one
//! compares the alerts.

use prometheus::Registry;

use super::family::{Counter, Counts, Gauge, Histogram, Kind, Levels, Spreads, Sum, Sums};
use super::label::{LabelSet, Labels};
use super::labels::{
    AuthMethod, AuthReason, AuthResult, CacheLayer, CacheOperation, CacheResult, Cached, Commit,
    ConditionalWrite, Method, Namespace, PresignKey, ReloadedFileKind, Route, S3Operation,
    S3Outcome, ServeMode, ServeReason, Status, Survey, Version,
};

/// What a value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Events or things.
    Count,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Seconds since 1970.
    UnixSeconds,
    /// Yes is 1 and no is 0.
    Flag,
}

const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1., 2.5, 5., 10., 30., 60., 300.];

const KIB: f64 = 1024.;
const MIB: f64 = KIB * KIB;
const GIB: f64 = MIB * KIB;
const BYTES: &[f64] = &[
    KIB,
    16. * KIB,
    64. * KIB,
    256. * KIB,
    MIB,
    4. * MIB,
    16. * MIB,
    64. * MIB,
    256. * MIB,
    GIB,
    4. * GIB,
    16. * GIB,
];

impl Unit {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::UnixSeconds => "seconds since 1970",
            Self::Flag => "1 or 0",
        }
    }

    /// The bounds of the buckets of a histogram.
    pub(super) fn buckets(self) -> &'static [f64] {
        match self {
            Self::Seconds => SECONDS,
            Self::Bytes => BYTES,
            Self::Count | Self::UnixSeconds | Self::Flag => &[],
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// The name in the exposition.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What a value counts.
    pub unit: Unit,
    /// The labels, each with all its values.
    pub labels: &'static [LabelSet],
    /// The alerts that look at it.
    pub alerts: &'static [&'static str],
    comment: &'static str,
}

impl Declared {
    /// What it tells, in one line.
    pub fn help(&self) -> String {
        self.comment.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

macro_rules! table {
    ($($(#[doc = $comment:literal])+
       $field:ident: $family:ident<$labels:ty> = $kind:ident $name:literal, $unit:ident,
       [$($alert:literal),*];)+) => {
        /// Every metric, ready to be moved.
        #[derive(Debug)]
        pub struct Handles {
            $($(#[doc = $comment])+ pub $field: $family<$labels>,)+
        }

        /// Every metric, as it is declared.
        pub const TABLE: &[Declared] = &[$(Declared {
            name: $name,
            kind: <$kind as Kind>::WORD,
            unit: Unit::$unit,
            labels: <$labels as Labels>::SETS,
            alerts: &[$($alert),*],
            comment: concat!($($comment, "\n"),+),
        }),+];

        impl Handles {
            pub(super) fn register(registry: &Registry) -> Self {
                let mut rows = TABLE.iter();
                let mut next = || rows.next().expect("a row for each field");
                Self { $($field: $family::new(next(), registry),)+ }
            }
        }
    };
}

table! {
    /// Requests that have ended, by the status of their answer.
    http_requests: Counter<(Route, Method, Status)> = Counts
        "longshore_http_requests_total", Count,
        ["LongshoreErrors", "LongshoreManyRefusals"];
    /// How long requests took, from their head to the last byte of the answer. Transfers have no
    /// limit, so this says nothing of the registry alone: compare `ttfb`.
    http_duration: Histogram<(Route, Method)> = Spreads
        "longshore_http_request_duration_seconds", Seconds, [];
    /// How long it took from the head of a request to the head of its answer. For uploads that is
    /// after their last byte.
    http_ttfb: Histogram<(Route,)> = Spreads
        "longshore_http_ttfb_seconds", Seconds, ["LongshoreSlow"];
    /// Requests that are being answered now, their transfers included.
    http_in_flight: Gauge<()> = Levels
        "longshore_http_requests_in_flight", Count, [];
    /// Bytes that requests brought, for requests with a body.
    http_request_bytes: Histogram<(Route,)> = Spreads
        "longshore_http_request_body_bytes", Bytes, [];
    /// Bytes that answers had, as far as they were taken.
    http_response_bytes: Histogram<(Route,)> = Spreads
        "longshore_http_response_body_bytes", Bytes, [];
    /// Blobs that were handed out, by how their bytes reach the client and why so.
    blob_serves: Counter<(ServeMode, ServeReason)> = Counts
        "longshore_blob_serves_total", Count, [];
    /// Uploads that are receiving bytes in this process now. Sessions between two requests are in
    /// the bucket and belong to no process.
    upload_sessions: Gauge<()> = Levels
        "longshore_upload_sessions", Count, [];
    /// Uploads that ended, by how.
    upload_commits: Counter<(Commit,)> = Counts
        "longshore_upload_commits_total", Count, ["LongshoreDigestMismatches"];
    /// How long the store took for one part of an upload, retries included.
    upload_part_duration: Histogram<()> = Spreads
        "longshore_upload_part_seconds", Seconds, [];
    /// How large the parts were that the store took.
    upload_part_bytes: Histogram<()> = Spreads
        "longshore_upload_part_bytes", Bytes, [];
    /// Buffer memory that uploads hold now, of `uploads.buffer_bytes`, with what is kept for half a
    /// second for the next part.
    upload_buffered: Gauge<()> = Levels
        "longshore_upload_inflight_bytes", Bytes, [];
    /// Seconds that uploads have waited for buffer memory: the store is slower than the clients.
    upload_backpressure: Sum<()> = Sums
        "longshore_upload_backpressure_seconds_total", Seconds, ["LongshoreBackpressure"];
    /// Requests to S3, each try for itself.
    s3_requests: Counter<(S3Operation, S3Outcome)> = Counts
        "longshore_s3_requests_total", Count, ["LongshoreStoreErrors", "LongshoreStoreSlowDown"];
    /// How long S3 took, from the first byte of a request to the head of the answer.
    s3_duration: Histogram<(S3Operation,)> = Spreads
        "longshore_s3_request_duration_seconds", Seconds, ["LongshoreStoreSlow"];
    /// Tries that repeated one that had failed.
    s3_retries: Counter<(S3Operation,)> = Counts
        "longshore_s3_retries_total", Count, [];
    /// Conditional writes that lost against another one. Some are ordinary: two pushes of one tag.
    s3_conflicts: Counter<(ConditionalWrite,)> = Counts
        "longshore_s3_cas_conflicts_total", Count, [];
    /// URLs that were signed for clients, by where the key came from.
    presigned: Counter<(PresignKey,)> = Counts
        "longshore_presign_cache_total", Count, [];
    /// Lookups in the caches.
    cache_requests: Counter<(Cached, CacheLayer, CacheResult)> = Counts
        "longshore_cache_requests_total", Count, [];
    /// How long requests to Redis took, failures included.
    cache_latency: Histogram<(CacheOperation,)> = Spreads
        "longshore_cache_latency_seconds", Seconds, [];
    /// Requests to Redis that failed or took too long: it is away, slow, full or refuses them.
    /// Answers are the same, and slower.
    cache_errors: Counter<(CacheOperation,)> = Counts
        "longshore_cache_errors_total", Count, [];
    /// Whether Redis is left alone because it failed several times. Answers are the same, and
    /// slower.
    cache_breaker: Gauge<()> = Levels
        "longshore_cache_breaker_state", Flag, ["LongshoreRedisAway"];
    /// Writes that Redis could not be told of in time: other processes may see what was there
    /// before, tags and lists for up to `cache.tag_ttl`, manifests and blobs for up to `cache.ttl`.
    cache_stale: Counter<()> = Counts
        "longshore_cache_stale_writes_total", Count, ["LongshoreRedisStale"];
    /// Decisions about callers, by what they showed and why it was decided so.
    auth: Counter<(AuthMethod, AuthResult, AuthReason)> = Counts
        "longshore_auth_total", Count, ["LongshoreWrongPasswords"];
    /// Surveys of the bucket, with `metrics.inventory`.
    inventory_runs: Counter<(Survey,)> = Counts
        "longshore_inventory_runs_total", Count, [];
    /// When a survey of the bucket last saw everything. What it found is from then.
    inventory_success: Gauge<()> = Levels
        "longshore_inventory_last_success_timestamp_seconds", UnixSeconds, [];
    /// Multipart uploads that cost room in the store although nobody has gone on with them for a
    /// day, by the survey. One that a process began and died before it could write down whose it is
    /// is not among them.
    orphan_multiparts: Gauge<()> = Levels
        "longshore_orphan_mpu", Count, [];
    /// Tags, by the first component of the name of their repository, by the survey.
    namespace_tags: Gauge<(Namespace,)> = Levels
        "longshore_namespace_tags", Count, [];
    /// Bytes of different blobs and different manifests, by the first component of the name of
    /// their repository, by the survey. What two namespaces share is stored once and counted in
    /// both.
    namespace_bytes: Gauge<(Namespace,)> = Levels
        "longshore_namespace_bytes", Bytes, [];
    /// The version of the program that runs. Always 1.
    build_info: Gauge<(Version,)> = Levels
        "longshore_build_info", Flag, ["LongshoreVersionsDiffer"];
    /// When a file that is watched was last read well.
    config_reloaded: Gauge<(ReloadedFileKind,)> = Levels
        "longshore_config_last_reload_timestamp_seconds", UnixSeconds, [];
    /// Whether the file could be used when it was last looked at after a change. If not, what was
    /// read before goes on to count.
    config_good: Gauge<(ReloadedFileKind,)> = Levels
        "longshore_config_last_reload_successful", Flag, ["LongshoreReloadFailed"];
    /// When the certificate ends that the registry shows. Absent without TLS.
    tls_not_after: Gauge<()> = Levels
        "longshore_tls_cert_not_after_seconds", UnixSeconds, ["LongshoreCertificateEnds"];
}
