//! A proxy between registries and an S3 server, which makes requests fail as a network and a busy
//! server do: at random from a seed, or one that a test names.
//!
//! It reads each request to its end before it does anything with it. What it passes on takes effect
//! although the registry may have gone away meanwhile.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{AGE, CONNECTION, DATE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::random::Random;

type Body = UnsyncBoxBody<Bytes, Cut>;

/// How long a stalled answer stays where it is.
const STALL: Duration = Duration::from_secs(4);
/// The longest delay of a request, and the longest time after which a lost one takes effect.
const DELAY_MAX_MS: u64 = 1_500;
/// The timeout for what a test waits for.
const TIMEOUT: Duration = Duration::from_mins(1);

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection is reset, and the server does not get the request.
    Reset,
    /// The server acts on the request, and the connection is reset instead of an answer.
    LostAnswer,
    /// The connection is reset at once, and the server gets the request later.
    Late,
    /// 503.
    Unavailable,
    /// The connection is reset in the middle of the body of the answer.
    Truncated,
    /// The server gets the request later.
    Delayed,
    /// The answer stops in the middle, and its connection is reset after that.
    Stalled,
}

/// All of them.
pub(crate) static FAULTS: [Fault; 7] = [
    Fault::Reset,
    Fault::LostAnswer,
    Fault::Late,
    Fault::Unavailable,
    Fault::Truncated,
    Fault::Delayed,
    Fault::Stalled,
];

/// The connection is cut off.
#[derive(Debug, thiserror::Error)]
#[error("cut off")]
pub(crate) struct Cut;

/// See the [module documentation](self).
#[derive(Debug)]
pub(crate) struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends the listener and all its connections.
    open: Mutex<CancellationToken>,
}

#[derive(Debug)]
struct Shared {
    /// The `host:port` of the server.
    server: String,
    client: Client<HttpConnector, Full<Bytes>>,
    state: Mutex<State>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// The faults that requests have, each of them so many of a hundred.
    faults: &'static [Fault],
    percent: u64,
    requests: u64,
    injected: BTreeMap<Fault, u64>,
    /// By how much the time in the answer to a listing is later than that of the server.
    lists_ahead: Duration,
    holds: Vec<Gate>,
    /// The keys of dated writes that the server refused because they were too late.
    too_late: Vec<String>,
}

#[derive(Clone, Debug)]
struct Gate {
    method: Method,
    key: &'static str,
    reached: watch::Sender<bool>,
    released: watch::Receiver<bool>,
}

/// A request whose answer the proxy keeps until the test releases it.
#[derive(Debug)]
pub(crate) struct Held {
    reached: watch::Receiver<bool>,
    release: watch::Sender<bool>,
}

impl Held {
    /// Waits until the server has acted on the request.
    pub(crate) async fn reached(&mut self) {
        let reached = tokio::time::timeout(TIMEOUT, self.reached.wait_for(|reached| *reached));
        assert!(matches!(reached.await, Ok(Ok(_))), "no such request came");
    }

    pub(crate) fn release(self) {
        self.release.send_replace(true);
    }
}

/// A second handle of a connection, to reset it.
#[derive(Debug)]
struct Connection(Option<TcpStream>);

impl Connection {
    /// Whenever this connection is closed from now on, the peer sees a reset.
    fn reset(&self) -> Cut {
        if let Some(socket) = &self.0 {
            let set = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
            set.expect("a socket has this option");
        }
        Cut
    }
}

impl FaultProxy {
    /// A proxy before the server with this `host:port`, without faults so far.
    pub(crate) async fn start(server: &str, seed: u64) -> Self {
        // An address of its own: while the proxy is away, no other test gets its port.
        let [_, a, b, c] = RandomState::new().hash_one(server).to_be_bytes()[..4] else {
            unreachable!("four bytes")
        };
        let listener = TcpListener::bind((Ipv4Addr::new(127, a, b, c.clamp(1, 254)), 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State {
            random: Random::new(seed),
            faults: &[],
            percent: 0,
            requests: 0,
            injected: BTreeMap::new(),
            lists_ahead: Duration::ZERO,
            holds: Vec::new(),
            too_late: Vec::new(),
        };
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            state: Mutex::new(state),
            tasks: TaskTracker::new(),
        });
        let open = CancellationToken::new();
        shared.clone().listen(listener, open.clone());
        Self { address, shared, open: Mutex::new(open) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on so many of a hundred requests have each of these faults.
    pub(crate) fn inject(&self, faults: &'static [Fault], percent: u64) {
        let mut state = self.state();
        (state.faults, state.percent) = (faults, percent);
    }

    /// How many requests came, and how many had which fault.
    pub(crate) fn counts(&self) -> (u64, BTreeMap<Fault, u64>) {
        let state = self.state();
        (state.requests, state.injected.clone())
    }

    /// From now on each listing says that it is so much later, so that all it shows looks so much
    /// older: to a collector, and to nothing else that tests use.
    pub(crate) fn lists_ahead(&self, by: Duration) {
        self.state().lists_ahead = by;
    }

    /// The keys of dated writes that the server refused because they were too late.
    pub(crate) fn too_late(&self) -> Vec<String> {
        self.state().too_late.clone()
    }

    /// Keeps the answer of the next request whose key has this in it.
    pub(crate) fn hold(&self, method: Method, key: &'static str) -> Held {
        let (reached, is_reached) = watch::channel(false);
        let (release, released) = watch::channel(false);
        self.state().holds.push(Gate { method, key, reached, released });
        Held { reached: is_reached, release }
    }

    /// Resets all connections, and refuses new ones.
    pub(crate) fn leave(&self) {
        self.open.lock().expect("no panic").cancel();
    }

    /// The end of [`leave`](Self::leave).
    pub(crate) async fn come_back(&self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                // The task of the former listener has not ended yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let open = CancellationToken::new();
        self.shared.clone().listen(listener, open.clone());
        *self.open.lock().expect("no panic") = open;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn listen(self: Arc<Self>, listener: TcpListener, open: CancellationToken) {
        let accepting = self.clone();
        let (accepted, connections) = (open.clone(), open);
        let accepting = async move {
            while let Ok((socket, _)) = listener.accept().await {
                let socket = socket.into_std().expect("a socket");
                let handle = Arc::new(Connection(socket.try_clone().ok()));
                let socket = tokio::net::TcpStream::from_std(socket).expect("a socket");
                let (shared, of_request) = (accepting.clone(), handle.clone());
                let service =
                    service_fn(move |request| shared.clone().serve(request, of_request.clone()));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                let connections = connections.clone();
                accepting.tasks.spawn(async move {
                    tokio::select! {
                        // An error is a side that has gone away.
                        _ = connection => {}
                        () = connections.cancelled() => { handle.reset(); }
                    }
                });
            }
        };
        self.tasks.spawn(async move { accepted.run_until_cancelled(accepting).await });
    }

    async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Result<Response<Body>, Cut> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let (fault, delay) = self.state().draw();
        match fault {
            Some(Fault::Reset) => return Err(connection.reset()),
            Some(Fault::Late) => {
                self.tasks.spawn(self.clone().pass_on(head, body, delay));
                return Err(connection.reset());
            }
            Some(Fault::Unavailable) => {
                let text = "<Error><Code>SlowDown</Code><Message>busy</Message></Error>";
                let mut answer = Response::new(whole(Bytes::from(text)));
                *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                return Ok(answer);
            }
            _ => {}
        }
        let delay = if fault == Some(Fault::Delayed) { delay } else { Duration::ZERO };
        let held = self.state().hold(&head);
        // A task of its own: what has arrived takes effect, even if its client goes away.
        let answer = self.tasks.spawn(self.clone().pass_on(head, body, delay)).await;
        let answer = answer.map_err(|_| Cut)?.ok_or(Cut)?;
        if let Some(mut gate) = held {
            gate.reached.send_replace(true);
            // An error means that the test has dropped its side.
            let _ = gate.released.wait_for(|released| *released).await;
        }
        let pause = match fault {
            Some(Fault::LostAnswer) => return Err(connection.reset()),
            Some(Fault::Truncated) => Duration::from_millis(20),
            Some(Fault::Stalled) => STALL,
            _ => return Ok(answer.map(whole)),
        };
        if answer.body().is_empty() {
            tokio::time::sleep(pause).await;
            return Err(connection.reset());
        }
        Ok(cut_off(answer, pause, connection))
    }

    /// Lets the server act on a request. `None` if it does not answer.
    async fn pass_on(
        self: Arc<Self>,
        mut head: Parts,
        body: Bytes,
        delay: Duration,
    ) -> Option<Response<Bytes>> {
        tokio::time::sleep(delay).await;
        let (key, dated) = (head.uri.path().to_owned(), is_dated(&head));
        let is_list = is_list(&head);
        assert!(head.headers.contains_key(HOST), "what the signature covers");
        for hop in [CONNECTION, TRANSFER_ENCODING] {
            head.headers.remove(hop);
        }
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://{}{path}", self.server).parse::<Uri>().expect("an address");
        let answer = self.client.request(Request::from_parts(head, Full::new(body))).await.ok()?;
        let (mut head, body) = answer.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        head.headers.remove(TRANSFER_ENCODING);
        let mut state = self.state();
        if dated && matches!(head.status.as_u16(), 400 | 403) {
            state.too_late.push(key);
        }
        if is_list && !state.lists_ahead.is_zero() {
            let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
            let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
            let later = date.expect("a date") + state.lists_ahead;
            head.headers.insert(DATE, date_of(later));
            // Of a cached answer: the SDK does not set its own clock by it.
            head.headers.insert(AGE, HeaderValue::from_static("0"));
        }
        Some(Response::from_parts(head, body))
    }
}

impl State {
    /// What happens to the next request, and after which time it may go on.
    fn draw(&mut self) -> (Option<Fault>, Duration) {
        self.requests += 1;
        let (chosen, delay) = (self.random.below(100), self.random.below(DELAY_MAX_MS));
        let index = chosen.checked_div(self.percent).and_then(|index| usize::try_from(index).ok());
        let fault = index.and_then(|index| self.faults.get(index)).copied();
        if let Some(fault) = fault {
            *self.injected.entry(fault).or_default() += 1;
        }
        (fault, Duration::from_millis(delay))
    }

    /// The gate at which the answer of this request waits.
    fn hold(&mut self, head: &Parts) -> Option<Gate> {
        let path = head.uri.path();
        let is_held = |gate: &Gate| gate.method == head.method && path.contains(gate.key);
        let position = self.holds.iter().position(is_held)?;
        Some(self.holds.remove(position))
    }
}

fn date_of(time: SystemTime) -> HeaderValue {
    httpdate::fmt_http_date(time).parse().expect("a header value")
}

/// Whether this is a write that the server refuses after a deadline.
fn is_dated(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    head.method == Method::PUT && query.contains("X-Amz-Expires=")
}

/// Whether this is a listing, other than the one with which a program measures its own clock.
fn is_list(head: &Parts) -> bool {
    let query = head.uri.query().unwrap_or_default();
    let lists = query.contains("list-type=2") || query.split('&').any(|it| it == "uploads");
    head.method == Method::GET && lists && !query.contains("%2Fc%2F")
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// The answer up to the middle of its body, and a reset after a pause.
fn cut_off(
    answer: Response<Bytes>,
    pause: Duration,
    connection: Arc<Connection>,
) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let half = body.slice(..body.len() / 2);
    let frames = stream::iter([Ok(Frame::data(half))]).chain(stream::once(async move {
        tokio::time::sleep(pause).await;
        Err(connection.reset())
    }));
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}
