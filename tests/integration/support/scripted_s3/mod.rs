//! An S3 server in memory whose single requests a test can hold, drop, repeat or refuse.
//!
//! It keeps the semantics of S3 for the requests that the registry sends, except signatures, which
//! it does not verify. A test reads and changes its bucket directly. The registry uses it with the
//! real SDK: in this process ([`ScriptedS3::store`]) or as a program
//! ([`Process::over_s3`](super::process::Process::over_s3)).
//!
//! ```ignore
//! let s3 = ScriptedS3::start().await;
//! let held = s3.hold(Match::put("v1/t/").nth(2));
//! // ... a client pushes a tag a second time ...
//! held.reached().await;
//! // ... another client pushes the tag ...
//! assert_eq!(held.release().await, 412);
//! ```

mod answer;
mod bucket;
mod multipart;
mod request;
mod script;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use longshore::setting::Secret;
use longshore::store::memory::StoreClock;
use longshore::store::s3::{S3, Settings};
use longshore::telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use self::answer::Answer;
use self::bucket::Bucket;
use self::request::S3Request;
use self::script::{Action, Script};

pub(crate) use self::bucket::Conditions;
pub(crate) use self::request::Operation;
pub(crate) use self::script::{Hold, Match};

/// The name of the only bucket.
const BUCKET: &str = "bucket";
/// Its URL for the registry.
pub(crate) const BUCKET_URL: &str = "s3://bucket";

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct ScriptedS3 {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    bucket: Mutex<Bucket>,
    script: Mutex<Script>,
    clock: StoreClock,
    /// How many seconds the clock of the server is ahead of `clock`.
    ahead: Mutex<i64>,
    tasks: TaskTracker,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The error with which a connection is cut.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script cuts the connection")
    }
}

impl std::error::Error for Cut {}

impl ScriptedS3 {
    /// A server with an empty bucket and the clock of this machine.
    #[expect(clippy::disallowed_methods, reason = "a server has its own clock")]
    pub(crate) async fn start() -> Self {
        Self::with_clock(Arc::new(SystemTime::now)).await
    }

    /// A server with an empty bucket and another clock.
    pub(crate) async fn with_clock(clock: StoreClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            bucket: Mutex::default(),
            script: Mutex::default(),
            clock,
            ahead: Mutex::default(),
            tasks: TaskTracker::new(),
        });
        let serving = shared.clone();
        shared.tasks.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                socket.set_nodelay(true).expect("an option of the socket");
                let shared = serving.clone();
                let service = service_fn(move |request| shared.clone().serve(request));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                // An error is a client that has gone away, or a cut connection.
                serving.tasks.spawn(async move { drop(connection.await) });
            }
        });
        Self { port, shared }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How the registry reaches the server. Retries are as in production; timeouts are shorter.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            endpoint: Some(self.url()),
            region: Some("us-east-1".to_owned()),
            access_key_id: Some("K1K1".to_owned()),
            secret_access_key: Some(Secret::new("SECRET12")),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(10),
            ..Settings::default()
        }
    }

    /// The bucket as the registry sees it.
    pub(crate) async fn store(&self, metrics: &Metrics) -> S3 {
        S3::connect(BUCKET, "", &self.settings(), metrics).await.expect("settings that fit")
    }

    /// Holds a request before it takes effect, until the result is released or dropped. Meanwhile
    /// it may expire: its deadline is checked when it takes effect.
    pub(crate) fn hold(&self, which: Match) -> Hold {
        self.gated(which, |gate| Action::Hold { gate, authorized: false })
    }

    /// The same, but the server has checked the deadline of the request before it holds it.
    pub(crate) fn hold_authorized(&self, which: Match) -> Hold {
        self.gated(which, |gate| Action::Hold { gate, authorized: true })
    }

    /// Holds the response of a request that has taken effect.
    pub(crate) fn hold_response(&self, which: Match) -> Hold {
        self.gated(which, Action::HoldResponse)
    }

    /// Answers a request, and lets it take effect a second time when the result is released.
    pub(crate) fn repeat(&self, which: Match) -> Hold {
        self.gated(which, Action::Repeat)
    }

    /// Lets a request take effect after this time. Meanwhile it may expire.
    pub(crate) fn delay(&self, which: Match, by: Duration) {
        self.script().add(which, Action::Delay(by));
    }

    /// Closes the connection instead of acting on a request.
    pub(crate) fn drop_request(&self, which: Match) {
        self.script().add(which, Action::DropRequest);
    }

    /// Closes the connection instead of sending the response of a request that has taken effect.
    pub(crate) fn drop_response(&self, which: Match) {
        self.script().add(which, Action::DropResponse);
    }

    /// Answers a request with an error, without effect.
    pub(crate) fn refuse(&self, which: Match, status: u16, code: &'static str) {
        self.script().add(which, Action::Refuse(status, code));
    }

    /// Removes all rules.
    pub(crate) fn heal(&self) {
        self.script().clear();
    }

    /// How many requests arrived that match, dropped and refused ones included.
    pub(crate) fn arrived(&self, which: &Match) -> usize {
        self.script().arrived(which)
    }

    /// How many requests arrived.
    pub(crate) fn arrived_in_all(&self) -> usize {
        self.script().arrived_in_all()
    }

    /// The content of an object.
    pub(crate) fn object(&self, key: &str) -> Option<Bytes> {
        self.bucket().object(key)
    }

    /// The `ETag` of an object.
    pub(crate) fn etag(&self, key: &str) -> Option<String> {
        self.bucket().objects.get(key).map(|object| object.etag.clone())
    }

    /// How long ago an object was written.
    pub(crate) fn age(&self, key: &str) -> Option<Duration> {
        let written = self.bucket().objects.get(key)?.written;
        Some(self.shared.now().duration_since(written).unwrap_or_default())
    }

    /// The keys below a prefix, in ascending order.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        self.bucket().keys(prefix)
    }

    /// Writes an object.
    pub(crate) fn put(&self, key: &str, body: impl Into<Bytes>) {
        let now = self.shared.now();
        self.bucket().insert(key, body.into(), now);
    }

    /// Removes an object. False if there was none.
    pub(crate) fn remove(&self, key: &str) -> bool {
        self.bucket().remove(key)
    }

    /// Makes an object older.
    pub(crate) fn backdate(&self, key: &str, by: Duration) {
        self.bucket().backdate(key, by);
    }

    /// Multipart uploads that are neither completed nor aborted.
    pub(crate) fn open_multiparts(&self) -> usize {
        self.bucket().multiparts.len()
    }

    /// Sets the smallest size of a part that is not the last one, instead of 5 MiB.
    pub(crate) fn set_part_bytes_min(&self, part_bytes_min: usize) {
        self.bucket().part_bytes_min = part_bytes_min;
    }

    /// Whether the server answers a repeated completion of a multipart upload with success and the
    /// `ETag` of the parts that it names, as versitygw does, and not with 404.
    pub(crate) fn answer_repeated_completions(&self, answered: bool) {
        self.bucket().answers_repeated_completions = answered;
    }

    /// Sets what the server does with conditions.
    pub(crate) fn set_conditions(&self, conditions: Conditions) {
        self.bucket().conditions = conditions;
    }

    /// The sizes of the parts of each completed upload, in bytes.
    pub(crate) fn completed_parts(&self) -> Vec<Vec<usize>> {
        self.bucket().completed.clone()
    }

    /// Sets the clock of the server, in seconds ahead of the clock that it began with. It dates
    /// responses and objects, and decides which presigned requests are too late.
    pub(crate) fn set_clock(&self, seconds_ahead: i64) {
        *self.shared.ahead.lock().expect("no panic") = seconds_ahead;
    }

    fn gated(&self, which: Match, action: impl FnOnce(script::Gate) -> Action) -> Hold {
        let (gate, hold) = script::gate(&which);
        self.script().add(which, action(gate));
        hold
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.shared.bucket.lock().expect("no panic")
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().expect("no panic")
    }
}

impl Shared {
    fn now(&self) -> SystemTime {
        let ahead = *self.ahead.lock().expect("no panic");
        let (now, by) = ((self.clock)(), Duration::from_secs(ahead.unsigned_abs()));
        if ahead < 0 { now - by } else { now + by }
    }

    async fn serve(
        self: Arc<Self>,
        request: hyper::Request<Incoming>,
    ) -> Result<hyper::Response<Full<Bytes>>, Cut> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let answer = match S3Request::parse(&head, body) {
            // A task of its own: what has arrived takes effect, even if its client goes away.
            Ok(request) => self.tasks.spawn(self.clone().act(request)).await.map_err(|_| Cut)?,
            Err(answer) => Some(answer),
        };
        Ok(answer.ok_or(Cut)?.into_response(self.now()))
    }

    /// Acts on a request as the script says. `None` cuts the connection.
    async fn act(self: Arc<Self>, request: S3Request) -> Option<Answer> {
        let action = self.script.lock().expect("no panic").arrive(&request);
        let arrival = self.now();
        match action {
            None => Some(self.apply(&request, arrival)),
            Some(Action::Refuse(status, code)) => Some(Answer::error(status, code)),
            Some(Action::DropRequest) => None,
            Some(Action::Delay(by)) => {
                tokio::time::sleep(by).await;
                Some(self.apply(&request, self.now()))
            }
            Some(Action::DropResponse) => {
                self.apply(&request, arrival);
                None
            }
            Some(Action::Hold { gate, authorized }) => {
                gate.pass().await;
                let checked = if authorized { arrival } else { self.now() };
                let answer = self.apply(&request, checked);
                gate.answered(&answer);
                Some(answer)
            }
            Some(Action::HoldResponse(gate)) => {
                let answer = self.apply(&request, arrival);
                gate.pass().await;
                gate.answered(&answer);
                Some(answer)
            }
            Some(Action::Repeat(gate)) => {
                let answer = self.apply(&request, arrival);
                let shared = self.clone();
                self.tasks.spawn(async move {
                    gate.pass().await;
                    gate.answered(&shared.apply(&request, shared.now()));
                });
                Some(answer)
            }
        }
    }

    /// Lets a request take effect whose deadline is checked at this time.
    fn apply(&self, request: &S3Request, checked: SystemTime) -> Answer {
        if let Err(refused) = request.check_expiry(checked) {
            return refused;
        }
        self.bucket.lock().expect("no panic").apply(request, self.now())
    }
}
