//! Frontends: the real router over the simulated network. They crash and start again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use longshore::app;
use longshore::audit_log::AuditLog;
use longshore::clock::Clock;
use longshore::config::Settings;
use longshore::http::admin::Readiness;
use longshore::http::{Api, BlobSettings, router};
use longshore::registry::{Leases, SharedSettings};
use longshore::store::ObjectStore;
use longshore::tasks::Tasks;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::bucket::Role;
use crate::cache::Server;
use crate::network::Connection;
use crate::profile::Caching;
use crate::world::World;

/// An answer that arrived whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

type Handler = Arc<dyn Fn(Request<Body>) -> BoxFuture<'static, Option<Reply>> + Send + Sync>;

/// A process that runs.
#[derive(Clone)]
struct Running {
    handler: Handler,
    crash: CancellationToken,
}

/// One of several frontends, whichever process it is at the time.
#[derive(Clone)]
pub(crate) struct Frontend(Arc<Mutex<Option<Running>>>);

/// The clock of the store.
#[derive(Debug)]
struct StoreTime(Arc<dyn ObjectStore>);

impl Clock for StoreTime {
    fn now(&self) -> SystemTime {
        self.0.now()
    }
}

impl Frontend {
    /// Starts a frontend, and starts it again whenever it has crashed.
    pub(crate) async fn start(world: &Arc<World>, cache: &Arc<Server>, number: usize) -> Self {
        let frontend = Self(Arc::default());
        let (world, cache, slot) = (world.clone(), cache.clone(), frontend.0.clone());
        let started = CancellationToken::new();
        let running = started.clone();
        Tasks::new().spawn(async move {
            for life in 0.. {
                let (crash, tasks) = (CancellationToken::new(), Tasks::new());
                let process = format!("frontend-{number}.{life}");
                let store = Connection::new(&world, Role::Frontend, process, crash.clone());
                let booted = boot(&world, Arc::new(store), &cache, &tasks);
                let handler = tokio::select! {
                    biased;
                    () = crash.cancelled() => None,
                    handler = booted => Some(handler),
                };
                let serving = handler.map(|handler| Running { handler, crash: crash.clone() });
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = serving;
                running.cancel();
                crash.cancelled().await;
                tasks.cancel();
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = None;
                tasks.wait().await;
                sleep(world.random.between(Duration::from_secs(1), Duration::from_mins(2))).await;
            }
        });
        started.cancelled().await;
        frontend
    }

    /// Sends a request. Nothing if no whole answer arrives in time.
    pub(crate) async fn call(&self, request: Request<Body>, patience: Duration) -> Option<Reply> {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // No process listens: the connection is refused.
        let Running { handler, crash } = running?;
        tokio::select! {
            biased;
            () = crash.cancelled() => None,
            reply = timeout(patience, handler(request)) => reply.ok().flatten(),
        }
    }
}

/// What `serve` does at its start, without sockets.
async fn boot(
    world: &Arc<World>,
    store: Arc<dyn ObjectStore>,
    cache: &Arc<Server>,
    tasks: &Tasks,
) -> Handler {
    let settings = world.profile.settings();
    let leases = Leases::new(&settings.collection).expect("safe leases");
    let shared_settings = SharedSettings::new(store.clone(), leases);
    while let Err(error) = shared_settings.create_or_compare(&settings.collection).await {
        world.note(format_args!("{} cannot start: {error}", store.describe()));
        sleep(Duration::from_secs(2)).await;
    }
    let shared = match world.profile.caching {
        Caching::None => None,
        Caching::Perfect | Caching::Failing => Some(cache.connect(world, tasks)),
    };
    handler(world, &settings, store, shared, tasks)
}

fn handler(
    world: &World,
    settings: &Settings,
    store: Arc<dyn ObjectStore>,
    shared: Option<Arc<dyn longshore::shared_cache::Cache>>,
    tasks: &Tasks,
) -> Handler {
    let metrics = &world.metrics;
    let authorizer = app::authorizer(settings, metrics).expect("good settings");
    let clock = Arc::new(StoreTime(store.clone()));
    let registry = app::registry(settings, store, shared, metrics, tasks).expect("good settings");
    let ready = Readiness::default();
    let audit_log = AuditLog::default();
    let built = app::api(settings, registry, authorizer, audit_log, &ready, metrics, tasks);
    let built = Arc::into_inner(built).expect("it has no other owner yet");
    let router = router(&Arc::new(Api { clock, ..built }));
    Arc::new(move |request| {
        let router = router.clone();
        async move {
            let response = router.oneshot(request).await.ok()?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            let (status, headers) = (head.status.as_u16(), head.headers);
            Some(Reply { status, headers, body })
        }
        .boxed()
    })
}

/// A frontend that never fails, which the checks at the end ask. It has no cache.
pub(crate) fn undisturbed(world: &Arc<World>) -> Frontend {
    let crash = CancellationToken::new();
    let process = "checker".to_owned();
    let store = Arc::new(Connection::new(world, Role::Frontend, process, crash.clone()));
    let settings = Settings { blobs: BlobSettings::default(), ..world.profile.settings() };
    let handler = handler(world, &settings, store, None, &Tasks::new());
    Frontend(Arc::new(Mutex::new(Some(Running { handler, crash }))))
}
