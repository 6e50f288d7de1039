//! The labels of the metrics, with all their values, except those of authentication
//! (`auth_labels.rs`). No value comes from a request.
//!
//! The comments become the section "Label values" of `docs/metrics.md`.

use super::label::{Label, LabelSet, OpenLabel, label};

label! {
    /// Operation, as in the access log, with its endpoint of the distribution-spec. `GET` and
    /// `HEAD` share a name; the method tells them apart.
    pub Operation as "route" {
        /// end-1, `GET /v2/`.
        ApiVersion => "api_version",
        /// end-2, `GET` and `HEAD /v2/<name>/blobs/<digest>`.
        GetBlob => "get_blob",
        /// end-3, `GET` and `HEAD /v2/<name>/manifests/<reference>`.
        GetManifest => "get_manifest",
        /// end-4a, end-4b, end-4c, end-11, `POST /v2/<name>/blobs/uploads/`.
        StartUpload => "start_upload",
        /// end-5, `PATCH` of an upload session.
        UploadChunk => "upload_chunk",
        /// end-6, `PUT` of an upload session.
        FinishUpload => "finish_upload",
        /// end-7a, end-7b, `PUT /v2/<name>/manifests/<reference>`.
        PutManifest => "put_manifest",
        /// end-8a, end-8b, `GET /v2/<name>/tags/list`.
        ListTags => "list_tags",
        /// end-9, `DELETE /v2/<name>/manifests/<reference>`.
        DeleteManifest => "delete_manifest",
        /// end-10, `DELETE /v2/<name>/blobs/<digest>`.
        DeleteBlob => "delete_blob",
        /// end-12a, end-12b, `GET /v2/<name>/referrers/<digest>`.
        ListReferrers => "list_referrers",
        /// end-13, `GET` of an upload session.
        UploadStatus => "upload_status",
        /// end-14, `DELETE` of an upload session.
        CancelUpload => "cancel_upload",
        /// `GET /v2/_catalog`, not in the specification.
        ListCatalog => "list_catalog",
        /// `GET /v2/_oci/ext/discover` and `GET /v2/<name>/_oci/ext/discover`.
        ListExtensions => "list_extensions",
        /// `GET`, `HEAD` and `POST /auth/token`.
        Token => "token",
        /// `GET /ui/`: the page of the repositories.
        PageRepositories => "page_repositories",
        /// `GET /ui/repository/<name>`: the page of the tags.
        PageRepository => "page_repository",
        /// `GET /ui/untagged/<name>`: the page of the manifests without a tag.
        PageUntagged => "page_untagged",
        /// `GET /ui/manifest/<name>/<reference>`: the page of a manifest.
        PageManifest => "page_manifest",
        /// `GET /ui/login`.
        PageLogin => "page_login",
        /// `GET /ui/go`: leads to the page of a repository.
        PageGo => "page_go",
        /// `GET /ui/static/<file>`: what the pages load.
        PageFile => "page_file",
        /// Not an endpoint of this registry.
        Unmatched => "unmatched",
    }
}

label! {
    /// The method of the request.
    pub Method as "method" {
        Get => "GET",
        Head => "HEAD",
        Post => "POST",
        Put => "PUT",
        Patch => "PATCH",
        Delete => "DELETE",
        /// Any other method.
        Other => "other",
    }
}

label! {
    /// The status of the response.
    pub Status as "code" {
        Ok => "200",
        Created => "201",
        Accepted => "202",
        NoContent => "204",
        PartialContent => "206",
        NotModified => "304",
        TemporaryRedirect => "307",
        BadRequest => "400",
        Unauthorized => "401",
        Forbidden => "403",
        NotFound => "404",
        MethodNotAllowed => "405",
        PreconditionFailed => "412",
        PayloadTooLarge => "413",
        RangeNotSatisfiable => "416",
        TooManyRequests => "429",
        InternalServerError => "500",
        ServiceUnavailable => "503",
        /// Any other status.
        Other => "other",
        /// The client disconnected before there was a response.
        None => "none",
    }
}

label! {
    /// Who ended a response before its end.
    pub BrokenBy as "by" {
        /// The client disconnected, or reset the stream.
        Client => "client",
        /// The registry: the client took nothing for `server.response_idle_timeout`.
        Idle => "idle_timeout",
        /// The store broke off, and so did repeated attempts to go on.
        Store => "store",
    }
}

label! {
    /// How the client receives the blob.
    pub ServeMode as "mode" {
        /// From the store, through a presigned URL.
        Redirect => "redirect",
        /// Through this process, the whole blob.
        Proxy => "proxy",
        /// Through this process, a range of the blob.
        Range => "range",
    }
}

label! {
    /// Why the client receives the blob in this way.
    pub ServeReason as "reason" {
        /// `blobs.delivery` decides.
        Configured => "configured",
        /// `blobs.redirect_networks` decides, from the address of the client.
        Network => "network",
        /// The blob is stored in its record: there is no object to redirect to.
        Inline => "inline",
        /// The request asks for several ranges, which the store would not answer together.
        SeveralRanges => "several_ranges",
        /// The store has no presigned URLs.
        NoPresignedUrls => "no_presigned_urls",
    }
}

label! {
    /// How an upload ended.
    pub Commit as "result" {
        /// The registry stored a new blob.
        Created => "created",
        /// The blob existed already.
        Exists => "exists",
        /// The blob was mounted from another repository.
        Mounted => "mounted",
        /// The content has another digest than the client declared: refused.
        DigestMismatch => "digest_mismatch",
        /// The client cancelled the upload.
        Aborted => "aborted",
    }
}

label! {
    /// The S3 operation.
    pub S3Operation as "op" {
        Get => "get_object",
        Head => "head_object",
        Put => "put_object",
        Delete => "delete_object",
        /// `ListObjectsV2`.
        List => "list_objects",
        CreateMultipart => "create_multipart",
        UploadPart => "upload_part",
        CompleteMultipart => "complete_multipart",
        AbortMultipart => "abort_multipart",
        ListParts => "list_parts",
        /// `ListMultipartUploads`.
        ListMultiparts => "list_multiparts",
    }
}

label! {
    /// The outcome of one attempt.
    pub S3Outcome as "outcome" {
        Ok => "2xx",
        NotFound => "404",
        /// A conflict with another write.
        Conflict => "409",
        /// The condition of a conditional write does not hold.
        ConditionFailed => "412",
        /// 429 or 503: the store asks for fewer requests.
        SlowDown => "slowdown",
        /// Any other 4xx.
        Refused => "4xx",
        /// Any other 5xx.
        Failed => "5xx",
        /// No response in time, or a transfer that stalled.
        Timeout => "timeout",
        /// The connection failed or could not be opened.
        ConnectionError => "connection_error",
    }
}

label! {
    /// The kind of conditional write.
    pub ConditionalWrite as "op" {
        /// The object must not exist (`If-None-Match`).
        Create => "create",
        /// The object must be unchanged since it was read (`If-Match`).
        Replace => "replace",
    }
}

label! {
    /// The source of the signing key.
    pub PresignKey as "result" {
        /// The key in memory.
        Cached => "cached",
        /// Derived anew, after the day or the credentials changed.
        Derived => "derived",
    }
}

label! {
    /// What is looked up.
    pub Cached as "cache" {
        /// The digest that a tag points at.
        Tag => "tag",
        Manifest => "manifest",
        /// The location of a blob, and the content of a small one.
        Blob => "blob",
        /// A page of a list.
        List => "list",
        /// A verified token.
        Token => "token",
        /// A verified or rejected password.
        Password => "password",
    }
}

label! {
    /// Where it is looked up.
    pub CacheLayer as "layer" {
        /// The memory of this process.
        Local => "local",
        /// Redis.
        Redis => "redis",
    }
}

label! {
    /// The outcome of the lookup.
    pub CacheResult as "result" {
        Hit => "hit",
        /// Not cached: the next layer or the store is asked.
        Miss => "miss",
        /// Another request was already loading the value; this one waited for it (single flight).
        Joined => "joined",
        /// The cache failed or timed out.
        Error => "error",
        /// Redis was not asked, because its circuit breaker is open.
        Skipped => "skipped",
    }
}

label! {
    /// The request to Redis.
    pub CacheOperation as "op" {
        /// Read a value.
        Get => "get",
        /// After a miss, take the token that allows this process to fill the value.
        FillToken => "fill_token",
        /// Write a value that was loaded from the store.
        Fill => "fill",
        /// Remove a value after a write to the store.
        Invalidate => "invalidate",
        /// Test whether Redis is back, while the circuit breaker is open.
        Probe => "probe",
    }
}

label! {
    /// Why a request to Redis failed. The log has the error itself.
    pub CacheFailure as "reason" {
        /// No answer within `cache.redis_timeout`, or no connection within three seconds.
        Timeout => "timeout",
        /// Nothing listens at the address.
        ConnectionRefused => "connection_refused",
        /// The connection was lost, or cannot be opened for another reason.
        Connection => "connection",
        /// TLS: mostly a certificate that this machine does not trust.
        Tls => "tls",
        /// The user or the password is wrong or missing (`WRONGPASS`, `NOAUTH`).
        Login => "login",
        /// The user lacks a right that the registry needs (`NOPERM`).
        Permission => "permission",
        /// Redis is full and may not evict (`OOM`).
        Full => "full",
        /// Redis is a replica and takes no writes (`READONLY`): the primary is another one.
        ReadOnly => "read_only",
        /// Any other error.
        Other => "other",
    }
}

label! {
    /// Why a value in Redis was not used.
    pub CacheRefusal as "reason" {
        /// No process of this registry put it under this key: another program can write to Redis,
        /// or the registry got another `g/cache-key`.
        Forged => "forged",
        /// Its time to live had ended: another program put it back, or the clocks of the processes
        /// differ.
        Expired => "expired",
    }
}

label! {
    /// The file that is reloaded when it changes.
    pub ReloadedFileKind as "file" {
        /// Users and password hashes.
        Users => "users",
        /// The keys that verify tokens.
        TokenKeys => "token_keys",
        /// The TLS certificate and its key.
        Certificate => "certificate",
        /// The authorities of client certificates, and what they have revoked.
        ClientAuthorities => "client_authorities",
    }
}

label! {
    /// How a usage scan ended.
    pub UsageScan as "result" {
        /// Complete.
        Done => "done",
        /// Incomplete: the numbers of the last complete scan stay.
        Failed => "failed",
    }
}

label! {
    /// How a run of the garbage collection ended.
    pub CollectionRun as "result" {
        /// It went through all phases.
        Done => "done",
        /// The next run continues it.
        Failed => "failed",
        /// Another process continued it: this one had stalled.
        TakenOver => "taken_over",
    }
}

label! {
    /// What the garbage collection judges.
    pub Collected as "class" {
        /// Upload sessions.
        Session => "session",
        /// Multipart uploads in the store.
        Multipart => "multipart",
        /// Manifests whose deletion was cut off, or without a tag (`collection.untagged_after`).
        Manifest => "manifest",
        /// Blobs of a repository that none of its manifests names.
        Link => "link",
        /// Rows of the tag index whose tag points elsewhere or was deleted.
        TagIndex => "tag_index",
        /// Rows among the referrers of a subject whose manifest was deleted.
        Referrer => "referrer",
        /// Pointers to content that no repository has.
        Pointer => "pointer",
        /// Data objects that nothing names.
        Data => "data",
        /// What deleted records leave.
        Tombstone => "tombstone",
    }
}

label! {
    /// What the garbage collection did.
    pub Fate as "fate" {
        /// It removed them.
        Removed => "removed",
        /// It wrote a record that was missing.
        Repaired => "repaired",
        /// Kept: they are younger than the grace, tombstones twice the grace.
        Grace => "grace",
        /// Kept until a second run finds them again.
        FirstSighting => "first_sighting",
        /// It put them into quarantine.
        Quarantine => "quarantine",
        /// Kept: a request changed them at the same time.
        Changed => "changed",
        /// Kept: a record names them again.
        Named => "named",
        /// Kept: a record that may name them is damaged, or a later release wrote it.
        Unreadable => "unreadable",
        /// Kept: the store cannot delete under a condition.
        Unsupported => "unsupported",
    }
}

/// The first component of a repository name: the only label with open values. Its metrics are set
/// as a whole with [`Gauge::replace`](super::Gauge::replace), and the caller bounds their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {}

impl Label for Namespace {
    const SET: LabelSet = LabelSet { name: "namespace", about: "", values: &[], meanings: &[] };

    fn index(self) -> usize {
        match self {}
    }
}

/// What tells settings apart: 16 hexadecimal digits. Its metric has one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fingerprint {}

impl Label for Fingerprint {
    const SET: LabelSet = LabelSet { name: "fingerprint", about: "", values: &[], meanings: &[] };

    fn index(self) -> usize {
        match self {}
    }
}

impl OpenLabel for Fingerprint {}

impl OpenLabel for Namespace {}

/// The version of this program: one value for each build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version;

impl Label for Version {
    const SET: LabelSet = LabelSet {
        name: "version",
        about: "",
        values: &[env!("CARGO_PKG_VERSION")],
        meanings: &[""],
    };

    fn index(self) -> usize {
        0
    }
}
