//! A store that speaks as much of S3 as the registry does, and has no disk.
//!
//! Conditional writes are decided under one lock, so it passes the registry's probe for the right
//! reason. Every request is counted by what it does; `GET /__counts` tells the counts. Signatures
//! are not checked, but that a presigned request is too old is noticed. Checksums of large bodies
//! are not computed: that time would be the store's and not the registry's.

mod answer;
mod state;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, sleep_until};

use self::answer::{Answer, Body};
use self::state::{Condition, Content, State};
use crate::content::Random;
use crate::{Failure, listener};

/// Bodies up to this size are kept whatever is dropped: the registry reads its entries, and what
/// is too short for a part waits in one.
const KEPT_BYTES_MAX: u64 = 6 * 1024 * 1024;

#[derive(Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Forget the bytes of everything above 6 MiB; whoever reads them gets zeros.
    #[arg(long)]
    drop: bool,
    /// How long each request takes at least.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Mebibytes a second that one connection carries.
    #[arg(long)]
    mib_per_second: Option<f64>,
    /// The share of requests that are answered 503.
    #[arg(long, default_value_t = 0.0)]
    errors: f64,
}

struct Store {
    arguments: Arguments,
    state: Mutex<State>,
    random: Mutex<Random>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    let address = arguments.listen;
    let random = Mutex::new(Random::new(1));
    let store = Arc::new(Store { arguments, state: Mutex::default(), random });
    listener::serve(address, move |request| store.clone().answer(request)).await
}

/// What a request asks for.
struct Asked {
    method: Method,
    bucket: String,
    key: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
}

impl Asked {
    fn of(head: http::request::Parts) -> Self {
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let path = head.uri.path().trim_start_matches('/');
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(&value.replace('+', " ")))
        });
        let query = query.collect();
        let (bucket, key) = (decoded(bucket), decoded(key));
        Self { method: head.method, bucket, key, query, headers: head.headers }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn condition(&self) -> Condition {
        match (self.header("if-none-match"), self.header("if-match")) {
            (Some(_), _) => Condition::Absent,
            (None, Some(tag)) => Condition::Tag(tag.to_owned()),
            (None, None) => Condition::None,
        }
    }

    /// Whether it was signed for a time that is over.
    fn is_late(&self) -> bool {
        let dated = self.parameter("x-amz-date").and_then(state::amazon_date);
        let valid = self.parameter("x-amz-expires").and_then(|seconds| seconds.parse().ok());
        let Some((dated, valid)) = dated.zip(valid) else { return false };
        state::now() > dated + Duration::from_secs(valid)
    }

    /// What the counters call it.
    fn verb(&self) -> &'static str {
        let has = |name| self.parameter(name).is_some();
        match self.method.as_str() {
            "GET" if self.key.is_empty() => "list",
            "GET" if has("uploadId") => "list_parts",
            "GET" => "get",
            "HEAD" => "head",
            "PUT" if self.key.is_empty() => "create_bucket",
            "PUT" if has("partNumber") => "put_part",
            "PUT" => "put",
            "POST" if has("uploads") => "create_upload",
            "POST" => "complete_upload",
            "DELETE" if has("uploadId") => "abort_upload",
            "DELETE" => "delete",
            _ => "other",
        }
    }
}

impl Store {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        if request.uri().path() == "/__counts" {
            return Answer::json(&self.state().counts()).into_response(None);
        }
        let (head, body) = request.into_parts();
        let asked = Asked::of(head);
        self.state().count(asked.verb());
        let needed = asked.verb() == "complete_upload";
        let Ok(content) = self.receive(body, needed).await else {
            return Answer::refused(StatusCode::BAD_REQUEST, "IncompleteBody").into();
        };
        if self.arguments.delay_ms > 0 {
            sleep(Duration::from_millis(self.arguments.delay_ms)).await;
        }
        if self.fails() {
            self.state().count("failed_on_purpose");
            return Answer::refused(StatusCode::SERVICE_UNAVAILABLE, "SlowDown").into();
        }
        self.act(&asked, content).into_response(self.bytes_per_second())
    }

    fn fails(&self) -> bool {
        let share = self.arguments.errors;
        if share <= 0.0 {
            return false;
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
        let drawn = random.below(1_000_000) as f64 / 1e6;
        drawn < share
    }

    fn bytes_per_second(&self) -> Option<f64> {
        self.arguments.mib_per_second.map(|mib| mib * 1024.0 * 1024.0)
    }

    /// Takes a body in, as fast as a connection may be.
    async fn receive(&self, mut body: Incoming, needed: bool) -> Result<Content, hyper::Error> {
        let mut content = Content::default();
        let mut due = Instant::now();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if let Some(rate) = self.bytes_per_second() {
                #[expect(clippy::cast_precision_loss, reason = "a frame")]
                let takes = data.len() as f64 / rate;
                due = due.max(Instant::now()) + Duration::from_secs_f64(takes);
                sleep_until(due).await;
            }
            content.add(data);
            if self.arguments.drop && !needed && content.size > KEPT_BYTES_MAX {
                content.drop_bytes();
            }
        }
        Ok(content)
    }

    fn act(&self, asked: &Asked, content: Content) -> Answer {
        if asked.is_late() {
            let denied = Answer::refused(StatusCode::FORBIDDEN, "AccessDenied");
            return denied.message("Request has expired");
        }
        let mut state = self.state();
        let (key, upload) = (asked.key.as_str(), asked.parameter("uploadId"));
        match (asked.verb(), upload) {
            ("list", _) => state.list(
                &asked.bucket,
                asked.parameter("prefix").unwrap_or_default(),
                asked.parameter("continuation-token").or(asked.parameter("start-after")),
                asked.parameter("max-keys").and_then(|max| max.parse().ok()).unwrap_or(1000),
            ),
            ("create_bucket", _) => Answer::ok(),
            ("put", _) if !matches(asked, &content) => {
                Answer::refused(StatusCode::BAD_REQUEST, "BadDigest")
            }
            ("put", _) => state.put(key, &asked.condition(), content),
            ("get" | "head", _) => {
                state.get(key, asked.header("range")).without_body(asked.method == Method::HEAD)
            }
            ("delete", _) => state.delete(key, &asked.condition()),
            ("create_upload", _) => state.create_upload(&asked.bucket, key),
            ("put_part", Some(upload)) => {
                let number = asked.parameter("partNumber").and_then(|number| number.parse().ok());
                state.put_part(upload, number.unwrap_or(0), content)
            }
            ("list_parts", Some(upload)) => state.list_parts(upload),
            ("complete_upload", Some(upload)) => {
                state.complete_upload(upload, &content.into_bytes(), &asked.condition())
            }
            ("abort_upload", Some(upload)) => state.abort_upload(upload),
            _ => Answer::refused(StatusCode::NOT_IMPLEMENTED, "NotImplemented"),
        }
    }
}

/// Whether a small body has the digest that it was announced with.
fn matches(asked: &Asked, content: &Content) -> bool {
    use base64::Engine as _;
    let Some(announced) = asked.header("x-amz-checksum-sha256") else { return true };
    let Some(pieces) = &content.pieces else { return true };
    if content.size > KEPT_BYTES_MAX {
        return true;
    }
    let mut hasher = Sha256::new();
    for piece in pieces {
        hasher.update(piece);
    }
    base64::prelude::BASE64_STANDARD.encode(hasher.finalize()) == announced
}
