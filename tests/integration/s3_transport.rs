//! The S3 store with a server that misbehaves on the wire: no response, stalls, broken bodies, lost
//! responses, and responses of something that is not S3.
//!
//! The server is scripted, one closure for each connection. A real server cannot be made to do this
//! at the right moment.

mod answers;
mod probe;
mod stalls;
mod writes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use longshore::oci::UploadId;
use longshore::setting::Secret;
use longshore::store::s3::{S3, Settings};
use longshore::store::{Deadline, Location, MultipartId, Part, RecordKey, RecordStore};
use longshore::telemetry::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// The timeout of a transfer without progress.
const STALL: Duration = Duration::from_secs(2);
/// The timeout of a request without a response.
const RESPONSE: Duration = Duration::from_secs(1);
/// The timeout of a test.
const FOR_EVER: Duration = Duration::from_secs(60);

/// A server that runs a script.
pub(crate) struct Fake {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Fake {
    /// Passes each connection, with its number from 0, to the script.
    pub(crate) async fn start<F, R>(script: F) -> Self
    where
        F: Fn(usize, TcpStream) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tasks.spawn(script(counter.fetch_add(1, Ordering::SeqCst), socket));
            }
        });
        Self { port, connections }
    }

    /// A port on which no server listens.
    async fn nowhere() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        Self { port, connections: Arc::default() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    async fn store(&self) -> S3 {
        self.counted(&Metrics::default()).await
    }

    /// A store with metrics.
    pub(crate) async fn counted(&self, metrics: &Metrics) -> S3 {
        let settings = Settings {
            endpoint: Some(self.url()),
            region: Some("us-east-1".to_owned()),
            access_key_id: Some("K1K1".to_owned()),
            secret_access_key: Some(Secret::new("SECRET12")),
            attempts_max: 3,
            connect_timeout: Duration::from_secs(1),
            response_timeout: RESPONSE,
            stall_timeout: STALL,
            ..Settings::default()
        };
        S3::connect("bucket", "", &settings, metrics).await.expect("settings that fit")
    }
}

/// Reads a whole request and returns its header.
pub(crate) async fn request(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length = |line: &str| {
        line.to_lowercase().strip_prefix("content-length: ").and_then(|text| text.parse().ok())
    };
    let length: usize = head.lines().find_map(length).unwrap_or(0);
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.ok()?;
    Some(head)
}

#[expect(clippy::disallowed_methods, reason = "a server tells its own time")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn date(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// Sends this text, whether or not the client still reads.
async fn send(socket: &mut TcpStream, text: &str) {
    let _ = socket.write_all(text.as_bytes()).await;
}

/// Sends a response and closes the connection. `headers` end with a line break each.
pub(crate) async fn answer(socket: &mut TcpStream, status: &str, headers: &str, body: &str) {
    answer_dated(socket, Duration::ZERO, status, (headers, body)).await;
}

/// The same by a clock that is `behind` ours.
pub(crate) async fn answer_dated(
    socket: &mut TcpStream,
    behind: Duration,
    status: &str,
    (headers, body): (&str, &str),
) {
    let (date, length) = (date(now() - behind), body.len());
    let head = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {length}\r\nConnection: close\r\n\
         {headers}\r\n"
    );
    send(socket, &format!("{head}{body}")).await;
}

/// The body of an S3 error.
fn error(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Error><Code>{code}</Code><Message>scripted</Message></Error>"
    )
}

fn key() -> RecordKey {
    RecordKey::Probe(UploadId::random())
}

fn location(store: &S3) -> Location {
    Location::new_unique(store.now())
}

fn upload() -> MultipartId {
    MultipartId("x".to_owned())
}

fn parts(size: u64) -> [Part; 1] {
    [Part { number: 1, tag: "\"a\"".to_owned(), size }]
}

/// A deadline in this many seconds.
fn within(seconds: u64) -> Deadline {
    Deadline { leased_at: now(), valid_for: Duration::from_secs(seconds) }
}
