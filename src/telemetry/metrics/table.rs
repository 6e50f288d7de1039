//! The table of metrics: the only place that declares one.
//!
//! A row has the field of [`Handles`], the kind and labels, the name, the unit, and the alerts of
//! `deploy/prometheus/alerts.yml` that use the metric. The comment above it is the help text in the
//! exposition and in `docs/metrics.md`. One test changes every metric, another compares the alerts.

use prometheus::Registry;

use super::auth_labels::{AuthMethod, AuthReason, AuthResult, IssuerFetch};
use super::definition::{Definition, Unit};
use super::family::{Counter, Gauge, Histogram, SecondsCounter};
use super::label::Labels;
use super::labels::{
    BrokenBy, CacheFailure, CacheLayer, CacheOperation, CacheRefusal, CacheResult, Cached,
    Collected, CollectionRun, Commit, ConditionalWrite, Fate, Fingerprint, Method, Namespace,
    Operation, PresignKey, ReloadedFileKind, S3Operation, S3Outcome, ServeMode, ServeReason,
    Status, UsageScan, Version,
};

use super::limit_labels::{Limit, LimitBy};

macro_rules! table {
    ($($(#[doc = $comment:literal])+
       $field:ident: $family:ident<$labels:ty> = $name:literal, $unit:ident,
       [$($alert:literal),*];)+) => {
        /// Every metric, as a field.
        #[derive(Debug)]
        pub struct Handles {
            $($(#[doc = $comment])+ pub $field: $family<$labels>,)+
        }

        /// The definition of every metric.
        pub const TABLE: &[Definition] = &[$(Definition {
            name: $name,
            kind: $family::<$labels>::KIND,
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
    /// HTTP requests that have ended.
    http_requests: Counter<(Operation, Method, Status)> = "longshore_http_requests_total", Count,
        ["LongshoreErrors", "LongshoreManyRefusals"];
    /// Duration of a request, from its header to the last byte of the response. It includes the
    /// transfer of bodies, whose speed depends on the client: see `ttfb` for the registry alone.
    http_duration: Histogram<(Operation, Method)> =
        "longshore_http_request_duration_seconds", Seconds, [];
    /// Time from the header of a request to the header of the response (time to first byte). For an
    /// upload it includes the request body.
    http_ttfb: Histogram<(Operation,)> = "longshore_http_ttfb_seconds", Seconds, ["LongshoreSlow"];
    /// Requests in progress, transfers included.
    http_in_flight: Gauge<()> = "longshore_http_requests_in_flight", Count, [];
    /// Size of request bodies, for requests with a body.
    http_request_bytes: Histogram<(Operation,)> = "longshore_http_request_body_bytes", Bytes, [];
    /// Size of response bodies, as far as the client received them.
    http_response_bytes: Histogram<(Operation,)> = "longshore_http_response_body_bytes", Bytes, [];
    /// Responses that ended before the last byte of their bodies. They count in
    /// `longshore_http_requests_total` as well, with the status that they began with. The log has
    /// the bytes that were promised and sent.
    http_broken: Counter<(BrokenBy,)> = "longshore_http_broken_responses_total", Count, [];
    /// Blobs that clients downloaded.
    blob_serves: Counter<(ServeMode, ServeReason)> = "longshore_blob_serves_total", Count, [];
    /// Pulls by tag that were answered 404 because the manifest of the tag does not exist, or is
    /// being deleted at that moment. The log names the tag; pushing it again repairs it.
    dangling_tags: Counter<()> = "longshore_dangling_tags_total", Count, [];
    /// Pointers and links whose data was missing, and which a push of the same content has
    /// repaired. The log names the digest. Something outside of the registry has deleted data.
    repaired_records: Counter<()> = "longshore_repaired_records_total", Count, [];
    /// Requests of this process that are receiving upload data. An upload session between two
    /// requests is in the bucket and belongs to no process.
    upload_sessions: Gauge<()> = "longshore_upload_sessions", Count, [];
    /// Uploads that have ended.
    upload_commits: Counter<(Commit,)> = "longshore_upload_commits_total", Count,
        ["LongshoreDigestMismatches"];
    /// Time to write one part of an upload to the store, retries included.
    upload_part_duration: Histogram<()> = "longshore_upload_part_seconds", Seconds, [];
    /// Size of the parts written to the store.
    upload_part_bytes: Histogram<()> = "longshore_upload_part_bytes", Bytes, [];
    /// Upload memory in use (`uploads.buffer_bytes` is the limit). It includes freed buffers, which
    /// the buffer pool keeps for half a second.
    upload_buffered: Gauge<()> = "longshore_upload_inflight_bytes", Bytes, [];
    /// Seconds that uploads and manifests have waited for upload memory: the store is slower than
    /// the clients.
    upload_backpressure: SecondsCounter<()> = "longshore_upload_backpressure_seconds_total",
        Seconds, ["LongshoreBackpressure"];
    /// Requests to S3. Each attempt counts.
    s3_requests: Counter<(S3Operation, S3Outcome)> = "longshore_s3_requests_total", Count,
        ["LongshoreStoreErrors", "LongshoreStoreSlowDown"];
    /// Duration of a request to S3, from its first byte to the header of the response.
    s3_duration: Histogram<(S3Operation,)> = "longshore_s3_request_duration_seconds", Seconds,
        ["LongshoreStoreSlow"];
    /// Attempts that repeated a failed one.
    s3_retries: Counter<(S3Operation,)> = "longshore_s3_retries_total", Count, [];
    /// Conditional writes that lost to another write. Some are normal, such as two pushes of one
    /// tag.
    s3_conflicts: Counter<(ConditionalWrite,)> = "longshore_s3_cas_conflicts_total", Count, [];
    /// By how much the clock of this machine was ahead of the clock of the store when the store
    /// last answered, in whole seconds; negative if it was behind. Beyond `collection.clock_skew` a
    /// process refuses to start. Absent without S3.
    store_clock_difference: Gauge<()> = "longshore_store_clock_difference_seconds", Seconds, [];
    /// Presigned URLs for clients.
    presigned: Counter<(PresignKey,)> = "longshore_presign_cache_total", Count, [];
    /// Lookups in the read cache and in the caches of verified credentials.
    cache_requests: Counter<(Cached, CacheLayer, CacheResult)> = "longshore_cache_requests_total",
        Count, [];
    /// Duration of requests to Redis, failed ones included.
    cache_latency: Histogram<(CacheOperation,)> = "longshore_cache_latency_seconds", Seconds, [];
    /// Requests to Redis that failed or timed out: Redis is down, slow, full or refuses them.
    /// Requests of clients still succeed, with more requests to the store.
    cache_errors: Counter<(CacheOperation, CacheFailure)> = "longshore_cache_errors_total", Count,
        [];
    /// Values in Redis that failed authentication, or whose time to live had ended. The registry
    /// read the store instead.
    cache_refused: Counter<(CacheRefusal,)> = "longshore_cache_refused_values_total", Count, [];
    /// 1 while the circuit breaker of Redis is open, after several failures. Requests of clients
    /// still succeed, with more requests to the store.
    cache_breaker: Gauge<()> = "longshore_cache_breaker_state", Flag, ["LongshoreRedisAway"];
    /// Writes whose invalidation did not reach Redis in time: other replicas may serve the old
    /// value, tags and lists for up to `cache.tag_ttl`, manifests and blobs for up to `cache.ttl`.
    cache_stale: Counter<()> = "longshore_cache_stale_writes_total", Count,
        ["LongshoreRedisStale"];
    /// Authorization decisions.
    auth: Counter<(AuthMethod, AuthResult, AuthReason)> = "longshore_auth_total", Count,
        ["LongshoreWrongPasswords"];
    /// Lines of the audit log that were written.
    audit_lines: Counter<()> = "longshore_audit_log_lines_total", Count, [];
    /// Lines of the audit log that were not written, or not within ten seconds. The log has each
    /// of them, at level `error`. Unless `audit_log.on_failure` is `continue`, changes are refused
    /// with 503 until a line can be written again.
    audit_lines_missing: Counter<()> = "longshore_audit_log_missing_lines_total", Count,
        ["LongshoreAuditLogFails"];
    /// Requests that were answered 429 because their caller has used up a limit (`[limits]`).
    limited: Counter<(Limit, LimitBy)> = "longshore_limited_total", Count, [];
    /// Pushes that were answered 403 because their namespace has used up its quota (`quotas`).
    quota_refusals: Counter<()> = "longshore_quota_refusals_total", Count, [];
    /// Bytes that a namespace with a quota stores, the first component of the repository name, by
    /// the last scan for the quotas: the 20 namespaces that have used most of theirs.
    quota_used: Gauge<(Namespace,)> = "longshore_quota_used_bytes", Bytes,
        ["LongshoreQuotaNearlyFull"];
    /// The quotas of the same namespaces.
    quota_limit: Gauge<(Namespace,)> = "longshore_quota_limit_bytes", Bytes,
        ["LongshoreQuotaNearlyFull"];
    /// When the last scan for the quotas ended, in whichever process. Absent without quotas.
    quota_scanned: Gauge<()> = "longshore_quota_last_scan_timestamp_seconds", UnixSeconds, [];
    /// Attempts to fetch the keys of an issuer (`access.issuers`).
    issuer_fetches: Counter<(IssuerFetch,)> = "longshore_issuer_fetches_total", Count, [];
    /// When the keys of the issuer were fetched whose last fetch is the longest ago. Absent until
    /// keys were fetched.
    issuer_keys_fetched: Gauge<()> = "longshore_issuer_keys_fetched_timestamp_seconds",
        UnixSeconds, ["LongshoreIssuerAway"];
    /// Usage scans of the bucket (`metrics.inventory`).
    usage_scans: Counter<(UsageScan,)> = "longshore_inventory_runs_total", Count, [];
    /// Time of the last complete usage scan. The numbers below are from that scan.
    usage_scan_success: Gauge<()> = "longshore_inventory_last_success_timestamp_seconds",
        UnixSeconds, [];
    /// Abandoned multipart uploads that still occupy space in the store: no request has continued
    /// them for a day. From the usage scan. It does not find an upload whose process died before it
    /// wrote the session record.
    orphan_multiparts: Gauge<()> = "longshore_orphan_mpu", Count, [];
    /// Tags in each namespace, the first component of the repository name. From the usage scan.
    namespace_tags: Gauge<(Namespace,)> = "longshore_namespace_tags", Count, [];
    /// Bytes of the distinct blobs and manifests in each namespace, the first component of the
    /// repository name. From the usage scan. Content that two namespaces share is stored once and
    /// counted in both.
    namespace_bytes: Gauge<(Namespace,)> = "longshore_namespace_bytes", Bytes, [];
    /// Runs of the garbage collection that this process began. Most processes of a bucket begin
    /// none, because another one does.
    collection_runs: Counter<(CollectionRun,)> = "longshore_collection_runs_total", Count,
        ["LongshoreCollectionFails"];
    /// When the last complete run of the garbage collection ended, in whichever process.
    collection_finished: Gauge<()> = "longshore_collection_last_success_timestamp_seconds",
        UnixSeconds, ["LongshoreCollectionStale"];
    /// `collection.interval`. Absent where this process does not collect.
    collection_interval: Gauge<()> = "longshore_collection_interval_seconds", Seconds,
        ["LongshoreCollectionStale"];
    /// How long the complete runs of this process took.
    collection_duration: Histogram<()> = "longshore_collection_duration_seconds", Seconds, [];
    /// Requests to the store of the garbage collection.
    collection_requests: Counter<()> = "longshore_collection_requests_total", Count, [];
    /// What the garbage collection of this process has removed.
    collection_removed: Counter<(Collected,)> = "longshore_collection_removed_total", Count, [];
    /// Bytes of the data objects that the garbage collection of this process has deleted. Blobs
    /// that are kept in their links are not counted.
    collection_freed: Counter<()> = "longshore_collection_freed_bytes_total", Bytes, [];
    /// What the last complete run of this process did. It counts neither what is in use, nor rows
    /// of the tag index of live tags.
    collection_last: Gauge<(Collected, Fate)> = "longshore_collection_last_run", Count, [];
    /// Data objects in quarantine, as the last complete run of this process found them.
    quarantined: Gauge<()> = "longshore_quarantine_objects", Count, [];
    /// Their bytes.
    quarantined_bytes: Gauge<()> = "longshore_quarantine_bytes", Bytes, [];
    /// The version of the running program. Always 1.
    build_info: Gauge<(Version,)> = "longshore_build_info", Flag, ["LongshoreVersionsDiffer"];
    /// A fingerprint of the settings of the process. Always 1. Processes that should treat requests
    /// alike have the same; where it listens, its log and its metrics do not count, and neither do
    /// secrets. `longshore doctor` compares it.
    settings_info: Gauge<(Fingerprint,)> = "longshore_settings_info", Flag, [];
    /// Time of the last successful reload of a file.
    config_reloaded: Gauge<(ReloadedFileKind,)> = "longshore_config_last_reload_timestamp_seconds",
        UnixSeconds, [];
    /// 1 if the last reload of the file succeeded. 0 if it failed: the previous version stays in
    /// use.
    config_good: Gauge<(ReloadedFileKind,)> = "longshore_config_last_reload_successful", Flag,
        ["LongshoreReloadFailed"];
    /// Expiry of the TLS certificate of the registry. Absent without TLS.
    tls_not_after: Gauge<()> = "longshore_tls_cert_not_after_seconds", UnixSeconds,
        ["LongshoreCertificateEnds"];
}
