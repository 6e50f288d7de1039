//! Every label of every metric, with all values that it can have. No value comes from a request.

use super::label::label;

label! {
    /// Which question a request asks, by its identifier in the distribution-spec ("Endpoints"), or
    /// by a name of ours where the spec has none. The name in logs and traces, too.
    pub Route as "route" {
        /// Is this a registry?
        Base => "end-1",
        /// A blob, or whether there is one.
        Blob => "end-2",
        /// A manifest, or whether there is one.
        Manifest => "end-3",
        /// An upload begins, a blob comes in one request, a blob is mounted.
        StartUpload => "end-4",
        /// A chunk of an upload.
        PatchUpload => "end-5",
        /// The end of an upload.
        PutUpload => "end-6",
        /// A manifest is pushed.
        PutManifest => "end-7",
        /// The tags of a repository.
        Tags => "end-8",
        /// A tag or a manifest is removed.
        DeleteManifest => "end-9",
        /// A blob is removed.
        DeleteBlob => "end-10",
        /// The referrers of a manifest.
        Referrers => "end-12",
        /// How far an upload got.
        UploadStatus => "end-13",
        /// An upload is given up.
        DeleteUpload => "end-14",
        /// The repositories.
        Catalog => "catalog",
        /// Which extensions are served.
        Extensions => "extensions",
        /// Nothing that is served here.
        None => "none",
    }
}

label! {
    /// The method of a request.
    pub Method as "method" {
        /// GET.
        Get => "GET",
        /// HEAD.
        Head => "HEAD",
        /// POST.
        Post => "POST",
        /// PUT.
        Put => "PUT",
        /// PATCH.
        Patch => "PATCH",
        /// DELETE.
        Delete => "DELETE",
        /// Any other, whatever it is called.
        Other => "other",
    }
}

label! {
    /// The status of an answer.
    pub Status as "code" {
        /// 200.
        Ok => "200",
        /// 201.
        Created => "201",
        /// 202.
        Accepted => "202",
        /// 204.
        NoContent => "204",
        /// 206.
        PartialContent => "206",
        /// 304.
        NotModified => "304",
        /// 307.
        TemporaryRedirect => "307",
        /// 400.
        BadRequest => "400",
        /// 401.
        Unauthorized => "401",
        /// 403.
        Forbidden => "403",
        /// 404.
        NotFound => "404",
        /// 405.
        MethodNotAllowed => "405",
        /// 412.
        PreconditionFailed => "412",
        /// 413.
        PayloadTooLarge => "413",
        /// 416.
        RangeNotSatisfiable => "416",
        /// 429.
        TooManyRequests => "429",
        /// 500.
        InternalServerError => "500",
        /// 503.
        ServiceUnavailable => "503",
        /// Any other.
        Other => "other",
        /// The client went away before there was an answer.
        None => "none",
    }
}

label! {
    /// How the bytes of a blob reach the client.
    pub ServeMode as "mode" {
        /// It fetches them from the store, by a presigned URL.
        Redirect => "redirect",
        /// Through this process, whole.
        Proxy => "proxy",
        /// Through this process, a range of them.
        Range => "range",
    }
}

label! {
    /// Why they reach it so.
    pub ServeReason as "reason" {
        /// `blobs.delivery` says so.
        Configured => "configured",
        /// The client is in a network that can reach the store, or in none of them
        /// (`blobs.redirect_networks`).
        Network => "network",
        /// They are kept in the entry of the blob: there is nothing to redirect to.
        Inline => "inline",
        /// The store has no URLs for clients.
        NoUrl => "no_url",
    }
}

label! {
    /// How an upload ended.
    pub Commit as "result" {
        /// Its bytes are the ones of the blob now.
        Created => "created",
        /// The registry had the content already.
        Exists => "exists",
        /// The blob was taken from another repository.
        Mounted => "mounted",
        /// The bytes have another digest than the client said.
        DigestMismatch => "digest_mismatch",
        /// The client gave it up.
        Aborted => "aborted",
    }
}

label! {
    /// A request to S3, by the name that S3 has for it.
    pub S3Operation as "op" {
        /// `GetObject`.
        Get => "get_object",
        /// `HeadObject`.
        Head => "head_object",
        /// `PutObject`.
        Put => "put_object",
        /// `DeleteObject`.
        Delete => "delete_object",
        /// `ListObjectsV2`.
        List => "list_objects",
        /// `CreateMultipartUpload`.
        CreateMultipart => "create_multipart",
        /// `UploadPart`.
        UploadPart => "upload_part",
        /// `CompleteMultipartUpload`.
        CompleteMultipart => "complete_multipart",
        /// `AbortMultipartUpload`.
        AbortMultipart => "abort_multipart",
        /// `ListParts`.
        ListParts => "list_parts",
    }
}

label! {
    /// What came of a request to S3, a try of its own if it was repeated.
    pub S3Outcome as "outcome" {
        /// It succeeded.
        Ok => "2xx",
        /// 404.
        NotFound => "404",
        /// 409: a conflict with another write.
        Conflict => "409",
        /// 412: the condition of a write does not hold.
        ConditionFailed => "412",
        /// 429 or 503: the store wants fewer requests.
        SlowDown => "slowdown",
        /// Another refusal.
        Refused => "4xx",
        /// The store failed.
        Failed => "5xx",
        /// It did not answer in time, or took nothing for too long.
        Timeout => "timeout",
        /// The connection broke, or there was none.
        Broken => "broken",
    }
}

label! {
    /// A conditional write.
    pub ConditionalWrite as "op" {
        /// Of an entry that must not exist.
        Create => "create",
        /// Of an entry that must be as it was read.
        Replace => "replace",
    }
}

label! {
    /// Where the key came from that signed a URL.
    pub PresignKey as "result" {
        /// It was at hand.
        Cached => "cached",
        /// The SDK derived it: once a minute in each process, and when the day or the credentials
        /// change. If it is always so, its URLs are not understood.
        Derived => "derived",
    }
}

label! {
    /// What is looked up in a cache.
    pub Cached as "cache" {
        /// What a tag points at.
        Tag => "tag",
        /// A manifest.
        Manifest => "manifest",
        /// Where a blob is, and the blob itself if it is small.
        Blob => "blob",
        /// A page of a list.
        List => "list",
        /// Whether a token is good.
        Token => "token",
        /// Whether a password is right.
        Password => "password",
    }
}

label! {
    /// Where it is looked up.
    pub CacheLayer as "layer" {
        /// In the memory of this process.
        Local => "local",
        /// In Redis.
        Redis => "redis",
    }
}

label! {
    /// What was found.
    pub CacheResult as "result" {
        /// The value.
        Hit => "hit",
        /// Nothing: it is looked up further on.
        Miss => "miss",
        /// Nothing yet, but another request is just looking it up.
        Joined => "joined",
        /// The cache failed or took too long.
        Error => "error",
        /// It was not asked, because it had just failed several times.
        Skipped => "skipped",
    }
}

label! {
    /// A request to Redis.
    pub CacheOperation as "op" {
        /// A value is read.
        Get => "get",
        /// The right to fill a value is taken.
        Claim => "claim",
        /// A value is filled.
        Fill => "fill",
        /// A value is forgotten after a write.
        Forget => "forget",
        /// Whether Redis is back, while the breaker is open.
        Probe => "probe",
    }
}

label! {
    /// What a caller showed.
    pub AuthMethod as "method" {
        /// Nothing.
        None => "none",
        /// A password.
        Basic => "basic",
        /// A token.
        Bearer => "bearer",
        /// Something that is not known here.
        Other => "other",
    }
}

label! {
    /// What it came to. With a password or a token, `challenged` means that it was wrong, too old,
    /// or not enough; with `none` it is the first request of every client that logs in.
    pub AuthResult as "result" {
        /// The request went on.
        Allowed => "allowed",
        /// 401: it has to show something, or something else.
        Challenged => "challenged",
        /// 403: it is known, and may not do this.
        Forbidden => "forbidden",
        /// 429: too many passwords are being checked for its sender.
        Busy => "busy",
    }
}

label! {
    /// Why it came to that. Clients are told less: that a token is not good, not why.
    pub AuthReason as "reason" {
        /// It was allowed.
        None => "none",
        /// It showed nothing, and what it wants is not for everybody.
        NoCredentials => "no_credentials",
        /// What it showed cannot be read: another scheme, two headers, too long.
        Unreadable => "unreadable",
        /// It showed a password where there are none, or a token where none are taken.
        NotTaken => "not_taken",
        /// The password is wrong, or there is no such user.
        WrongPassword => "wrong_password",
        /// Too many passwords are being checked for its sender.
        TooManyLogins => "too_many_logins",
        /// It is no token that can be read: not three parts, another algorithm, no expiry.
        TokenInvalid => "token_invalid",
        /// No key of the token server signed the token.
        TokenSignature => "token_signature",
        /// Another issuer made the token.
        TokenIssuer => "token_issuer",
        /// The token is for another service.
        TokenAudience => "token_audience",
        /// The token has expired.
        TokenExpired => "token_expired",
        /// The token is not valid yet: clocks differ.
        TokenNotYet => "token_not_yet",
        /// The token is good and does not allow this.
        TokenScope => "token_scope",
        /// No rule allows this.
        NoRule => "no_rule",
    }
}

label! {
    /// A file that is read again when it changes.
    pub ReloadedFileKind as "file" {
        /// Users and their passwords.
        Users => "users",
        /// The keys that verify tokens.
        TokenKeys => "token_keys",
        /// The certificate and its key.
        Certificate => "certificate",
    }
}

label! {
    /// How a survey of the bucket ended.
    pub Survey as "result" {
        /// It has seen everything.
        Done => "done",
        /// It could not, and what it found before stays.
        Failed => "failed",
    }
}

/// The first component of the names of repositories: the only label whose values are not written
/// down here. Its metrics are set as a whole, with [`Gauge::replace`](super::Gauge::replace), and
/// whoever does so keeps their number bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {}

impl super::Label for Namespace {
    const NAME: &'static str = "namespace";
    const WORDS: &'static [&'static str] = &[];

    fn index(self) -> usize {
        match self {}
    }
}

/// The version of this program: one value for each build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version;

impl super::Label for Version {
    const NAME: &'static str = "version";
    const WORDS: &'static [&'static str] = &[env!("CARGO_PKG_VERSION")];

    fn index(self) -> usize {
        0
    }
}
