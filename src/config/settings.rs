//! The settings, as plain data: one struct for each concern.
//!
//! The doc comments of the structs and fields below are the reference text: `reference.rs` prints
//! them as they stand. A new setting is a field here, with its doc and its default, and a row in
//! `table.rs`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::choice::{
    Checksum, Delivery, GeneralAccess, LogFormat, ManifestMode, RedisTopology, RequestLog, Sparse,
};
use super::networks::Networks;
use super::secret::Secret;
use super::store_url::StoreUrl;
use super::text::{KIB, MIB};
use crate::auth::Rule;

/// Everything an operator can choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub server: ServerSettings,
    pub admin: AdminSettings,
    pub metrics: MetricsSettings,
    pub access: AccessSettings,
    pub store: StoreSettings,
    pub uploads: UploadSettings,
    pub blobs: BlobSettings,
    pub manifests: ManifestSettings,
    pub lists: ListSettings,
    pub cache: CacheSettings,
    pub collection: LeaseSettings,
    pub log: LogSettings,
}

/// Where the registry listens, and how long it is patient with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// The address and port to listen on.
    /// Any address but loopback also needs a login or `access.anonymous`, see there.
    pub listen: SocketAddr,
    /// How long a client may take to send the headers of a request.
    pub header_timeout: Duration,
    /// How long a body may stand still, in either direction, before its connection is closed.
    /// There is no limit on the whole of a transfer.
    pub body_idle_timeout: Duration,
    /// How long connections are still accepted after SIGTERM, while `/readyz` says no: as long as a
    /// load balancer needs to send its requests elsewhere.
    pub drain_delay: Duration,
    /// How long requests in flight may take to end after that.
    /// Another process finishes the uploads that are left.
    pub drain_timeout: Duration,
    /// Connections at the same time. Further ones wait to be accepted.
    pub connections_max: u32,
    /// The proxies before the registry, a list of networks and addresses. What they say in
    /// `X-Forwarded-For` and `X-Forwarded-Proto` counts; from everybody else it is passed over.
    pub trusted_proxies: Networks,
    pub tls: TlsSettings,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
            header_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_mins(1),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            connections_max: 10_000,
            trusted_proxies: Networks::default(),
            tls: TlsSettings::default(),
        }
    }
}

/// What those see who watch the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// The address and port of `/livez`, `/readyz` and `/metrics`. There is no login there and no
    /// TLS: let only those reach it who watch. Without it there is no such port.
    pub listen: Option<SocketAddr>,
}

/// What is told on the admin port at `/metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Whether the metrics of HTTP are there a second time by the names of distribution
    /// (`registry_http_requests_total`), for dashboards that were made for it.
    pub aliases: bool,
    /// The time between two surveys of the bucket, which count what each namespace has and uploads
    /// that nobody ends. Give it to one process only, and see `docs/operations.md` for its cost.
    pub inventory: Option<Duration>,
}

/// With both files the registry speaks HTTPS, and nothing else. They are read again when they
/// change, and connections that are open go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificate and those between it and its root, in PEM, its own first.
    pub certificate_file: Option<String>,
    /// The private key of the certificate, in PEM.
    pub key_file: Option<String>,
}

/// Who may do what.
///
/// Without a login (`htpasswd_file` or a token server) and without rules, everybody may do
/// everything, and only on a loopback address unless `anonymous` is given. With either, what
/// nothing allows is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// What everybody may do in all repositories, also without saying who they are: `pull`, or
    /// `push`, which is everything. The registry never listens on another address than loopback
    /// unless there is a login, or this is given: one that is open is never an accident.
    pub anonymous: Option<GeneralAccess>,
    /// What everybody may do in all repositories who logged in: `pull`, or `push`, which is
    /// everything. Use rules to be more precise.
    pub authenticated: Option<GeneralAccess>,
    /// Users and the bcrypt hashes of their passwords, as `htpasswd -B` writes them.
    /// The file is read again when it changes.
    pub htpasswd_file: Option<String>,
    pub token: TokenSettings,
    /// Rules. Each of them allows all of its subjects all of its actions in all of its
    /// repositories:
    ///
    /// ```toml
    /// [[access.rules]]
    /// subject = ["group:developers", "user:ci"]
    /// repositories = ["team/**", "mirror/*"]
    /// actions = ["pull", "push"]
    /// ```
    ///
    /// Subjects: `user:NAME`; `group:NAME` and `claim:NAME=VALUE` by the token of a caller;
    /// `authenticated`, everybody who logged in; `anonymous`, everybody.
    ///
    /// Repositories: `*` stands for a part of one component, `**` for anything.
    ///
    /// Actions: `pull`; `push`; `create`, which is a push that moves no tag that is there;
    /// `delete`; `catalog`, which lists the repositories that the caller may pull. Clients that
    /// push also read what is there, so give them `pull` as well.
    ///
    /// `longshore access explain` tells which rule decides.
    pub rules: Vec<Rule>,
}

impl AccessSettings {
    /// Whether there is a way to say who one is.
    pub fn has_login(&self) -> bool {
        self.htpasswd_file.is_some() || self.token.realm.is_some()
    }
}

/// A token server that says who may do what: the "Token Authentication" of Docker registries.
///
/// Needs all of `realm`, `service`, `issuer` and `keys_file`. A token may do what its list says
/// (`access`). Where rules speak of logins, or `access.authenticated` is given, they have to
/// allow it as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSettings {
    /// Where clients fetch tokens. A path stands for one on the registry's own address, which the
    /// `Host` of the request names, with `https` if it came so (see `server.trusted_proxies`).
    pub realm: Option<String>,
    /// The name of this registry, which its tokens have as their audience.
    pub service: Option<String>,
    /// The issuer of the tokens.
    pub issuer: Option<String>,
    /// The public keys that verify tokens: a JWKS, or PEM with certificates and public keys. For
    /// `RS256`, `ES256` and `EdDSA`. The file is read again when it changes.
    pub keys_file: Option<String>,
    /// The claim with the groups of a user, for rules.
    pub groups_claim: String,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            realm: None,
            service: None,
            issuer: None,
            keys_file: None,
            groups_claim: "groups".to_owned(),
        }
    }
}

/// Where the registry keeps everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// A folder (`longshore-data`, `/var/lib/longshore`), a bucket (`s3://bucket` or
    /// `s3://bucket/prefix`), or `memory`, which forgets everything at the end.
    ///
    /// A folder belongs to one process at a time. Any number of processes may share a bucket.
    pub url: StoreUrl,
    /// Accept a store without conditional writes: one writer at a time, and nothing is ever
    /// collected. The start says loudly what such a store lacks.
    pub append_only: bool,
    pub s3: S3Settings,
}

/// How to talk to an S3 server. Read only if `store.url` begins with `s3://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Settings {
    /// The address of the S3 server, for all but AWS itself.
    /// Where it is not given, `AWS_ENDPOINT_URL_S3` counts, then `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// The address at which clients reach the same server, if it differs from the one above.
    /// It is used in redirects (`blobs.delivery`) and never contacted from here.
    pub public_endpoint: Option<String>,
    /// The region of the bucket.
    /// Where it is not given, `AWS_REGION` counts, then `AWS_DEFAULT_REGION`, then what the AWS SDK
    /// finds by itself.
    pub region: Option<String>,
    /// Whether the bucket is named in the path (`https://host/bucket/key`) and not in the host.
    /// When it is not given: true with an endpoint, false without.
    pub path_style: Option<bool>,
    /// The access key. When it is not given, the AWS SDK looks for credentials in its usual order:
    /// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, profiles, web identity (IRSA), container
    /// and instance roles.
    pub access_key_id: Option<String>,
    /// The secret that belongs to `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// The checksum sent with each upload, for the store to verify: `crc32`, `none`, or `auto`,
    /// which is `none` with an endpoint, because many servers refuse it, and `crc32` without.
    pub checksum: Checksum,
    /// How often a request is tried in all.
    pub attempts_max: u32,
    /// How long opening a connection to the store may take.
    pub connect_timeout: Duration,
    /// How long the store may take to the first byte of a response.
    pub response_timeout: Duration,
    /// How long a transfer to or from the store may stand still.
    /// There is no limit on the whole of a transfer.
    pub stall_timeout: Duration,
}

impl S3Settings {
    /// Whether the bucket is named in the path, decided.
    pub fn uses_path_style(&self) -> bool {
        self.path_style.unwrap_or(self.endpoint.is_some())
    }

    /// Whether uploads carry a CRC32, decided.
    pub fn sends_crc32(&self) -> bool {
        match self.checksum {
            Checksum::Auto => self.endpoint.is_none(),
            Checksum::Crc32 => true,
            Checksum::None => false,
        }
    }
}

impl Default for S3Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            public_endpoint: None,
            region: None,
            path_style: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            checksum: Checksum::Auto,
            attempts_max: 4,
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(20),
        }
    }
}

/// How uploads are cut into parts, and how much memory they may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSettings {
    /// The size of the first parts of a multipart upload. Later parts grow, so that the largest
    /// blob (5 TiB) fits into 10,000 parts.
    pub part_bytes: u64,
    /// Parts of one upload that are sent to the store at the same time.
    pub parts_in_flight: u32,
    /// Bytes of all uploads together that may wait in memory. When they are spent, no more is
    /// read from the clients until the store has taken some.
    pub buffer_bytes: u64,
    /// Uploads that may receive bytes at the same time. Further ones are answered 503.
    pub concurrent_max: u32,
    /// How long an upload waits for buffer memory before it is answered 503.
    pub wait_max: Duration,
    /// The largest blob that is kept inside its entry, not as an object of its own: pushed with
    /// one write and pulled with one read.
    pub inline_bytes: u64,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self {
            part_bytes: 16 * MIB,
            parts_in_flight: 4,
            buffer_bytes: 512 * MIB,
            concurrent_max: 1024,
            wait_max: Duration::from_mins(1),
            inline_bytes: 64 * KIB,
        }
    }
}

/// How blobs reach the clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobSettings {
    /// `proxy`: the registry streams blobs itself. `redirect`: it sends clients to the store with
    /// a presigned URL, which needs an S3 store that they can reach (`store.s3.public_endpoint`).
    /// `auto`: it redirects clients in `blobs.redirect_networks` and streams to all others.
    pub delivery: Delivery,
    /// For `auto`: the networks whose clients can reach the store. The address of a client is the
    /// one that `server.trusted_proxies` report.
    pub redirect_networks: Networks,
    /// How long a presigned URL is valid.
    pub redirect_ttl: Duration,
    /// How long the presigned URL of a blob stays the same, so that caches on the way can answer.
    /// A URL is valid for at least `redirect_ttl` less this step, which must be shorter.
    pub redirect_step: Duration,
    /// Whether clients may delete blobs.
    pub delete: bool,
}

impl Default for BlobSettings {
    fn default() -> Self {
        Self {
            delivery: Delivery::Proxy,
            redirect_networks: Networks::default(),
            redirect_ttl: Duration::from_mins(20),
            redirect_step: Duration::from_mins(5),
            delete: true,
        }
    }
}

/// What a manifest may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSettings {
    /// The largest manifest. A larger one is answered 413.
    pub bytes_max: u64,
    /// What a manifest may name although the repository does not have it: `none`, `indexes` (an
    /// index may name manifests that are not there) or `all` (an image may name such blobs, too).
    pub sparse: Sparse,
    /// Tags that one push may set with `?tag=`.
    pub tags_per_push_max: u32,
    /// Whether clients may delete manifests and tags.
    pub delete: bool,
    /// What a client gets that asks for a tag and does not accept the type that is stored.
    ///
    /// `oci`: what is stored, or the `linux/amd64` image of a Docker list for a client that knows
    /// no lists; OCI documents are refused (404). `docker-legacy`: what Docker's registry 2.x
    /// served, for clients as old: only types that the client names count, not wildcards, and
    /// images of schema 2 are converted to schema 1. By digest nothing is ever exchanged.
    pub mode: ManifestMode,
    /// Whether clients may push signed manifests of schema 1, the type before schema 2.
    /// When it is not given: true in mode `docker-legacy`, false otherwise. Those that are stored
    /// are always served.
    pub schema1_push: Option<bool>,
    /// The private key that signs images converted to schema 1: a key on the curve P-256 in PEM.
    /// It can be the `signingkeyfile` of a Docker registry. All processes on one bucket should
    /// have the same; when it is not given, each makes one for itself at the start.
    pub schema1_key: Option<Secret>,
}

impl ManifestSettings {
    /// Whether schema 1 may be pushed, decided.
    pub fn takes_schema1(&self) -> bool {
        self.schema1_push.unwrap_or(self.mode == ManifestMode::DockerLegacy)
    }
}

impl Default for ManifestSettings {
    fn default() -> Self {
        Self {
            bytes_max: 4 * MIB,
            sparse: Sparse::None,
            tags_per_push_max: 64,
            delete: true,
            mode: ManifestMode::Oci,
            schema1_push: None,
            schema1_key: None,
        }
    }
}

/// What clients may list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSettings {
    /// The longest page of tags, repositories or referrers, also when a client asks for more.
    pub page_max: u32,
    /// Whether the list of all repositories (`/v2/_catalog`) is answered.
    pub catalog: bool,
}

impl Default for ListSettings {
    fn default() -> Self {
        Self { page_max: 1000, catalog: true }
    }
}

/// What is remembered of tags, manifests, blobs and lists.
///
/// Nothing depends on Redis: while it is away every answer stays the same, only slower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSettings {
    /// The memory of one process for what it has looked up.
    pub local_bytes: u64,
    /// How long a process believes what it has looked up without asking Redis or the bucket. It is
    /// how late it may see what another process wrote, so it is nothing by default. A folder has
    /// one process only, which sees every write: there this is not used.
    pub local_ttl: Duration,
    /// How long Redis keeps what a tag points at, and pages of lists: after a failure of Redis they
    /// may lag so long.
    pub tag_ttl: Duration,
    /// How long Redis keeps manifests and the places of blobs.
    pub ttl: Duration,
    /// Whether each read of a tag or of a list asks the bucket, whatever Redis knows.
    pub strict_tags: bool,
    /// Redis: `redis://host:port`, or `rediss://host:port` with TLS. Several, separated by commas,
    /// are the sentinels or some nodes of the cluster. Who may have signed its certificate is said
    /// by the file that the variable `SSL_CERT_FILE` names, or else by the machine.
    pub redis: Option<String>,
    /// How Redis is set up: `single`, `sentinel` or `cluster`.
    pub redis_topology: RedisTopology,
    /// The name under which the sentinels know the primary.
    pub redis_primary: String,
    /// The user that Redis knows us as. What sentinels ask for stands in their URLs.
    pub redis_username: Option<String>,
    pub redis_password: Option<Secret>,
    /// What the keys in Redis begin with. Registries over buckets of one name at different S3
    /// servers must not share it.
    pub redis_prefix: String,
    /// How long one request to Redis may take. Five failures in a row, and for a second none is
    /// sent.
    pub redis_timeout: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            local_bytes: 64 * MIB,
            local_ttl: Duration::ZERO,
            tag_ttl: Duration::from_secs(30),
            ttl: Duration::from_mins(10),
            strict_tags: false,
            redis: None,
            redis_topology: RedisTopology::Single,
            redis_primary: "mymaster".to_owned(),
            redis_username: None,
            redis_password: None,
            redis_prefix: "longshore".to_owned(),
            redis_timeout: Duration::from_millis(50),
        }
    }
}

/// The times that keep the collector of garbage from taking what somebody is about to use.
///
/// All processes on one bucket must agree on them, and
/// `grace / 2 + write_deadline + clock_skew < grace` must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long content that nothing refers to is kept after its last use.
    pub grace: Duration,
    /// How long a write that relies on other content may be under way before the store refuses it.
    pub write_deadline: Duration,
    /// How far the clocks of the registry and the store may be apart.
    pub clock_skew: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            grace: Duration::from_hours(48),
            write_deadline: Duration::from_mins(5),
            clock_skew: Duration::from_mins(5),
        }
    }
}

/// What the registry says about itself, on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `text` for people, `json` for machines: one object a line.
    pub format: LogFormat,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`; for one part of the program, its path
    /// and `=` before it: `info,longshore::store=debug`. Libraries that are not named so say no
    /// more than `info`: what they may show at other levels is not up to us.
    pub level: String,
    /// The level of the line that each request has: `info`, `debug`, or `off` for none. Requests
    /// that fail (5xx) have their line at level `error` all the same.
    pub requests: RequestLog,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned(), requests: RequestLog::Info }
    }
}
