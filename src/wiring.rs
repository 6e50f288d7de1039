//! From settings to a running registry: the one place that names every concrete type.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::api::{self, Api};
use crate::auth::{
    self, Access, Anyone, Authorizer, Htpasswd, Login, Permission, Resource, Rule, Rules, Subject,
    Tokens,
};
use crate::clock::SystemClock;
use crate::config::{self, GeneralAccess, Settings, StoreUrl};
use crate::oci::RepositoryName;
use crate::registry::{Leases, Limits, Policy, Registry};
use crate::server;
use crate::store::local::{Local, OpenError};
use crate::store::memory::Memory;
use crate::store::s3::S3;
use crate::store::{self, ObjectStore, ProbeReport};
use crate::telemetry;

/// Why the registry cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] OpenError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The store lacks what the registry relies on.
    #[error(
        "{0}\nThis store cannot keep tags safe between several writers. To use it all the same, \
         with one writer at a time and nothing ever collected, set store.append_only = true."
    )]
    AppendOnly(Box<ProbeReport>),
    /// The constants of the lease protocol contradict each other.
    #[error(transparent)]
    Leases(#[from] crate::registry::lease::UnsafeLeases),
    /// The users, the keys or the certificate cannot be read.
    #[error("{0}")]
    File(String),
    /// The socket cannot be opened.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, #[source] io::Error),
}

/// Opens the store that the settings name.
pub async fn open_store(settings: &Settings) -> Result<Arc<dyn ObjectStore>, StartError> {
    match &settings.store.url {
        StoreUrl::Folder(path) => {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || Local::open(path)).await;
            match opened {
                Ok(opened) => Ok(Arc::new(opened?)),
                Err(error) => Err(store::Error::Unavailable(error.to_string()).into()),
            }
        }
        StoreUrl::Memory => Ok(Arc::new(Memory::new())),
        StoreUrl::S3 { bucket, prefix } => {
            Ok(Arc::new(S3::connect(s3_settings(settings, bucket, prefix)).await?))
        }
    }
}

fn s3_settings(settings: &Settings, bucket: &str, prefix: &str) -> store::s3::Settings {
    let s3 = &settings.store.s3;
    let exposed =
        |secret: &Option<config::Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    store::s3::Settings {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: s3.endpoint.clone(),
        public_endpoint: s3.public_endpoint.clone(),
        region: s3.region.clone(),
        path_style: s3.uses_path_style(),
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: exposed(&s3.secret_access_key),
        session_token: exposed(&s3.session_token),
        checksum: if s3.sends_crc32() {
            store::s3::Checksum::Crc32
        } else {
            store::s3::Checksum::None
        },
        attempts_max: s3.attempts_max,
        connect_timeout: s3.connect_timeout,
        response_timeout: s3.response_timeout,
        stall_timeout: s3.stall_timeout,
    }
}

/// The API over a store, as the settings want it.
pub fn api(
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    tasks: &TaskTracker,
) -> Result<Arc<Api>, StartError> {
    let collection = &settings.collection;
    let leases = Leases::new(collection.grace, collection.write_deadline, collection.clock_skew)?;
    let sparse = settings.manifests.sparse;
    let policy = Policy {
        sparse_indexes: sparse != config::Sparse::None,
        sparse_images: sparse == config::Sparse::All,
    };
    let registry = Registry::new(store, limits(settings), policy, leases, tasks.clone());
    let delivery = match settings.blobs.delivery {
        config::Delivery::Proxy => api::Delivery::Proxy,
        config::Delivery::Redirect => api::Delivery::Redirect,
    };
    let api_settings = api::Settings {
        delivery,
        redirect_ttl: settings.blobs.redirect_ttl,
        redirect_step: settings.blobs.redirect_step,
        body_idle: settings.server.body_idle_timeout,
        delete_manifests: settings.manifests.delete,
        delete_blobs: settings.blobs.delete,
        catalog: settings.lists.catalog,
    };
    Ok(Arc::new(Api::new(
        Arc::new(registry),
        authorizer(settings)?,
        Arc::new(SystemClock),
        api_settings,
        tasks.clone(),
    )))
}

/// What the settings allow to whom, in the order in which it is looked at.
pub fn rules(settings: &Settings) -> Rules {
    let access = &settings.access;
    let everywhere = |given: Option<GeneralAccess>, subject, place: &str| {
        let permissions = match given? {
            GeneralAccess::Pull => vec![Permission::Pull, Permission::Catalog],
            GeneralAccess::Push => Permission::WORDS.map(|(_, permission)| permission).into(),
        };
        Some(Rule::everywhere(subject, permissions, place))
    };
    let anonymous = everywhere(access.anonymous, Subject::Anonymous, "access.anonymous");
    let authenticated =
        everywhere(access.authenticated, Subject::Authenticated, "access.authenticated");
    let rules = access.rules.iter().cloned();
    Rules(anonymous.into_iter().chain(authenticated).chain(rules).collect())
}

/// Who decides about requests.
pub fn authorizer(settings: &Settings) -> Result<Arc<dyn Authorizer>, StartError> {
    let access = &settings.access;
    let passwords = access.htpasswd_file.as_ref().map(|path| Htpasswd::open(path.into()));
    let tokens = token_settings(settings).map(|token| Tokens::open(token, Arc::new(SystemClock)));
    let login = Login {
        passwords: passwords.transpose().map_err(StartError::File)?,
        tokens: tokens.transpose().map_err(StartError::File)?,
        rules: rules(settings),
    };
    if is_open(settings) { Ok(Arc::new(Anyone)) } else { Ok(Arc::new(login)) }
}

/// Whether everybody may do everything: there is no login, and nothing else was asked for.
pub fn is_open(settings: &Settings) -> bool {
    let access = &settings.access;
    let has_login = access.htpasswd_file.is_some() || access.token.realm.is_some();
    !has_login && access.anonymous.is_none() && access.rules.is_empty()
}

/// Which rule decides about a request. An error if none allows it.
pub fn explain(
    settings: &Settings,
    subjects: &[Subject],
    repository: Option<&RepositoryName>,
    permission: Permission,
) -> Result<String, String> {
    let rules = rules(settings);
    let resource = match (permission, repository) {
        (Permission::Catalog, _) | (_, None) => Resource::Registry,
        (_, Some(name)) => Resource::Repository(name.clone()),
    };
    let access = Access { resource, action: permission.action() };
    let who: Vec<String> = subjects.iter().map(ToString::to_string).collect();
    let (who, to) = (who.join(", "), repository.map_or(String::new(), |name| format!(" {name}")));
    let anybody = rules.allowing_anybody(&access).is_some();
    let by_tokens = settings.access.token.realm.is_some() && !anybody;
    if is_open(settings) {
        return Ok("allowed: there is no login and no rule, so everybody may do everything".into());
    }
    if let Some(rule) = rules.allowing_subjects(subjects, &access) {
        let token =
            if by_tokens { "\na caller with a token needs it in its list as well" } else { "" };
        return Ok(format!("allowed: {rule}{token}"));
    }
    let known = subjects.iter().any(|subject| *subject != Subject::Anonymous);
    if by_tokens && known && !rules.speak_of_logins() {
        return Ok("the list of the token decides: no rule speaks of callers who logged in".into());
    }
    let count = rules.0.len();
    Err(format!("denied: none of {count} rules lets {who} {permission}{to}"))
}

fn token_settings(settings: &Settings) -> Option<auth::TokenSettings> {
    let token = &settings.access.token;
    Some(auth::TokenSettings {
        realm: token.realm.clone()?,
        service: token.service.clone()?,
        issuer: token.issuer.clone()?,
        keys_file: token.keys_file.as_ref()?.into(),
        groups_claim: token.groups_claim.clone(),
    })
}

/// How connections are served.
pub fn sockets(settings: &Settings) -> Result<server::Settings, StartError> {
    let of = &settings.server;
    let tls = match (&of.tls.certificate_file, &of.tls.key_file) {
        (Some(certificate), Some(key)) => {
            Some(server::acceptor(certificate.into(), key.into()).map_err(StartError::File)?)
        }
        (Some(_) | None, None) | (None, Some(_)) => None,
    };
    Ok(server::Settings {
        header_timeout: of.header_timeout,
        drain_timeout: of.drain_timeout,
        connections_max: of.connections_max as usize,
        trusted_proxies: of.trusted_proxies.0.clone(),
        tls,
    })
}

fn limits(settings: &Settings) -> Limits {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        manifest_bytes_max: bytes(settings.manifests.bytes_max),
        tags_per_push_max: settings.manifests.tags_per_push_max as usize,
        inline_bytes_max: bytes(settings.uploads.inline_bytes),
        part_bytes: bytes(settings.uploads.part_bytes),
        parts_in_flight_max: settings.uploads.parts_in_flight as usize,
        buffer_bytes_max: bytes(settings.uploads.buffer_bytes),
        uploads_concurrent_max: settings.uploads.concurrent_max as usize,
        buffer_wait_max: settings.uploads.wait_max,
        page_max: settings.lists.page_max as usize,
    }
}

/// Begins logging.
pub fn start_logging(settings: &Settings) {
    let format = match settings.log.format {
        config::LogFormat::Text => telemetry::Format::Text,
        config::LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::start(format, &settings.log.level);
}

/// Reads the files that the settings name, puts the store to the test, and refuses one that would lose writes.
pub async fn check(settings: &Settings) -> Result<(Arc<dyn ObjectStore>, ProbeReport), StartError> {
    authorizer(settings)?;
    sockets(settings)?;
    let store = open_store(settings).await?;
    let report = store::probe(store.as_ref()).await?;
    if report.append_only() && !settings.store.append_only {
        return Err(StartError::AppendOnly(Box::new(report)));
    }
    Ok((store, report))
}

/// Runs the registry until `shutdown` ends.
pub async fn serve(
    settings: &Settings,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    let (store, report) = check(settings).await?;
    tracing::info!("{report}");
    if report.degraded() {
        tracing::warn!("the store lacks something that the registry relies on, see above");
    }
    let tasks = TaskTracker::new();
    let api = api(settings, store, &tasks)?;
    let address = settings.server.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))?;
    let address = listener.local_addr().unwrap_or(address);
    tracing::info!(store = %settings.store.url, "listening on {address}");
    server::run(listener, api, sockets(settings)?, tasks, shutdown).await;
    Ok(())
}
