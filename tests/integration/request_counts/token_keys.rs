//! Reading the keys of tokens (`g/keys`), in virtual time: no socket is involved.

use std::sync::Arc;
use std::time::Duration;

use longshore::http::{Api, router};
use longshore::registry::{LeaseSettings, Leases, Rotation, TokenKeyStore};
use longshore::store::memory::{Calls, Memory};
use longshore::tasks::Tasks;
use longshore::telemetry::metrics::Metrics;

use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tower::Service as _;

use super::NONE;
use crate::support::app::api;

const MINUTE: Duration = Duration::from_mins(1);
const SECOND: Duration = Duration::from_secs(1);

/// A replica with a token service that issues tokens without a login.
struct Replica {
    memory: Arc<Memory>,
    api: Arc<Api>,
    _folder: tempfile::TempDir,
}

impl Replica {
    fn over(memory: &Arc<Memory>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("users"), "").expect("the folder can be written");
        let text = "access.htpasswd_file = '{folder}/users'\naccess.anonymous = 'pull'\n\
                    access.authenticated = 'pull'\nstore.url = 's3://shared'";
        let settings = crate::auth::settings(folder.path(), text);
        let api = api(&settings, memory.clone(), None, &Metrics::default(), &Tasks::new());
        Self { memory: memory.clone(), api, _folder: folder }
    }

    async fn send(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let request = Request::builder().uri(path).header("host", "a");
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let request = request.body(Body::empty()).expect("a request");
        let Ok(response) = router(&self.api).call(request).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn token(&self) -> String {
        let (status, answer) = self.send("/auth/token?scope=repository:a:pull", None).await;
        assert_eq!(status, 200);
        answer["token"].as_str().expect("a token").to_owned()
    }

    /// Verifies a token. The answer needs nothing from the store.
    async fn verify(&self, token: &str) -> u16 {
        self.send("/v2/", Some(token)).await.0
    }

    async fn cost(&self, act: impl AsyncFnOnce(&Self)) -> Calls {
        let before = self.memory.calls();
        act(self).await;
        self.memory.calls().since(&before)
    }
}

/// A token that names another key.
fn of_unknown_key(token: &str) -> String {
    use base64::Engine as _;
    let header = br#"{"alg":"EdDSA","typ":"JWT","kid":"unknown"}"#;
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
    format!("{header}.{}", token.split_once('.').expect("parts").1)
}

#[tokio::test(start_paused = true)]
async fn a_process_reads_the_keys_once_a_minute_and_not_when_it_is_idle() {
    let memory = Arc::new(Memory::new());
    let first = Replica::over(&memory);
    let created = first.cost(async |first| drop(first.token().await)).await;
    assert_eq!(created, Calls { read: 1, create: 1, ..NONE });
    let replica = Replica::over(&memory);
    let of_another = first.token().await;
    let read = replica.cost(async |replica| assert_eq!(replica.verify(&of_another).await, 200));
    assert_eq!(read.await, Calls { read: 1, ..NONE });

    let same_minute = replica.cost(async |replica| {
        for _ in 0..100 {
            assert_eq!(replica.verify(&replica.token().await).await, 200);
        }
    });
    assert_eq!(same_minute.await, NONE);
    // Ten minutes in which each second has a request, and ten minutes without one.
    let busy = replica.cost(async |replica| {
        let token = replica.token().await;
        let end = Instant::now() + 10 * MINUTE;
        while Instant::now() < end {
            sleep(SECOND).await;
            assert_eq!(replica.verify(&token).await, 200);
        }
    });
    assert_eq!(busy.await, Calls { read: 10, ..NONE });
    assert_eq!(replica.cost(async |_| sleep(10 * MINUTE).await).await, NONE);
    // Requests without a token of the registry need no keys.
    let anonymous = replica.cost(async |replica| {
        assert_eq!(replica.send("/v2/", None).await.0, 401);
    });
    assert_eq!(anonymous.await, NONE);
}

/// At most one read a second, however many tokens name keys that are not known.
#[tokio::test(start_paused = true)]
async fn tokens_with_unknown_keys_cause_one_read_a_second() {
    let replica = Replica::over(&Arc::new(Memory::new()));
    let unknown = of_unknown_key(&replica.token().await);
    sleep(2 * SECOND).await;
    let at_once = replica.cost(async |replica| {
        for _ in 0..50 {
            assert_eq!(replica.verify(&unknown).await, 401);
        }
    });
    assert_eq!(at_once.await, Calls { read: 1, ..NONE });
    let in_ten_seconds = replica.cost(async |replica| {
        for _ in 0..100 {
            sleep(SECOND / 10).await;
            assert_eq!(replica.verify(&unknown).await, 401);
        }
    });
    assert_eq!(in_ten_seconds.await, Calls { read: 10, ..NONE });
}

/// Revoked keys verify nothing after a minute.
#[tokio::test(start_paused = true)]
async fn revoked_keys_end_within_a_minute() {
    let memory = Arc::new(Memory::new());
    let replica = Replica::over(&memory);
    let token = replica.token().await;
    assert_eq!(replica.verify(&token).await, 200);
    let leases = Leases::new(&LeaseSettings::default()).expect("safe times");
    let keys = TokenKeyStore::new(memory, leases);
    assert_eq!(keys.rotate(Rotation::Revoking).await.expect("rotated").len(), 1);
    let began = Instant::now();
    while replica.verify(&token).await != 401 {
        assert!(began.elapsed() <= MINUTE, "{:?}", began.elapsed());
        sleep(SECOND).await;
    }
    assert_eq!(replica.verify(&replica.token().await).await, 200);
}
