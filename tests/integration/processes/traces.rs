//! Traces, as a collector receives them over HTTP. `tests/deploy/traces/run` uses a real collector,
//! and checks the spans below a request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use tokio_util::task::TaskTracker;

use crate::support::process::Process;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A collector that keeps what it receives.
struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    async fn start() -> Self {
        let received: Arc<Mutex<Vec<Span>>> = Arc::default();
        let taken = received.clone();
        let take = move |body: Bytes| async move {
            let batch = ExportTraceServiceRequest::decode(body).expect("a batch of spans");
            let scopes = batch.resource_spans.into_iter().flat_map(|of| of.scope_spans);
            taken.lock().expect("no panic").extend(scopes.flat_map(|scope| scope.spans));
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/v1/traces", post(take));
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
        Self { address, received }
    }

    /// A registry that sends traces to it, with further variables.
    fn registry(&self, variables: &[(&str, &str)]) -> Process {
        let endpoint = format!("http://{}", self.address);
        let mut all = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
        all.extend(variables);
        Process::serve("memory", &all)
    }

    /// The spans of requests. Stops the process first, so that all of them are sent.
    async fn requests(&self, mut process: Process) -> Vec<Span> {
        process.terminate();
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
        let received = self.received.lock().expect("no panic");
        let mut spans: Vec<Span> = received.clone();
        spans.retain(|span| span.kind() == SpanKind::Server);
        spans
    }
}

fn attributes(span: &Span) -> HashMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let known = span
        .attributes
        .iter()
        .filter_map(|of| Some((of.key.clone(), text(of.value.clone()?.value?))));
    let attributes: HashMap<_, _> = known.collect();
    assert_eq!(attributes.len(), span.attributes.len(), "each is there once: {span:?}");
    attributes
}

fn parent(sampled: bool) -> String {
    format!("00-{TRACE}-{CALLER}-0{}", u8::from(sampled))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_continues_the_trace_of_its_caller() {
    let collector = Collector::start().await;
    let process = collector.registry(&[]);
    let client = process.client();
    let asked = client.request("GET", "/v2/a/b/manifests/v1?token=secret");
    let asked = asked.header("traceparent", parent(true)).header("tracestate", "vendor=x");
    asked.header("authorization", "Basic c2VjcmV0OnNlY3JldA==").send().await.expect(404);

    let spans = collector.requests(process).await;
    let [span] = spans.as_slice() else { panic!("one request, and {spans:?}") };
    assert_eq!(span.name, "GET /v2/{name}/manifests/{reference}");
    assert_eq!(hex::encode(&span.trace_id), TRACE);
    assert_eq!(hex::encode(&span.parent_span_id), CALLER);
    assert_eq!(span.trace_state, "vendor=x");
    let attributes = attributes(span);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/v2/{name}/manifests/{reference}"),
        ("http.response.status_code", "404"),
        ("oci.repository", "a/b"),
        ("oci.reference", "v1"),
        ("oci.endpoint", "end-3"),
        ("client.address", "127.0.0.1"),
    ] {
        assert_eq!(attributes.get(name).map(String::as_str), Some(value), "{attributes:?}");
    }
    assert!(span.status.as_ref().is_none_or(|status| status.code == 0), "{span:?}");
    assert!(!format!("{span:?}").to_lowercase().contains("secret"), "{span:?}");
}

/// A log line and its trace can be found from each other.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_trace_id_of_a_request() {
    let collector = Collector::start().await;
    let process = collector.registry(&[("LONGSHORE_LOG_FORMAT", "json")]);
    let client = process.client();
    client.request("GET", "/v2/").header("traceparent", parent(true)).send().await.expect(200);
    client.request("GET", "/v2/_catalog").send().await.expect(200);
    // A trace that is not sampled has no trace id in the log.
    let unsampled = client.request("GET", "/v3/").header("traceparent", parent(false));
    unsampled.send().await.expect(404);
    let begun = Instant::now();
    while process.log().matches("request_id").count() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", process.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = process.log();
    let spans = collector.requests(process).await;

    let lines = log.lines().map(|line| serde_json::from_str(line).expect("an object"));
    let requests: Vec<serde_json::Value> =
        lines.filter(|line: &serde_json::Value| line.get("request_id").is_some()).collect();
    let named = |path: &str| {
        let line = requests.iter().find(|line| line["path"] == path).expect("a line");
        line.get("trace_id").map(|id| id.as_str().expect("a text").to_owned())
    };
    let traced = |name: &str| {
        let span = spans.iter().find(|span| span.name == name).expect("a span");
        Some(hex::encode(&span.trace_id))
    };
    assert_eq!(named("/v2/"), Some(TRACE.to_owned()));
    assert_eq!(named("/v2/"), traced("GET /v2/"));
    assert_eq!(named("/v2/_catalog"), traced("GET /v2/_catalog"));
    assert_eq!((requests.len(), named("/v3/")), (3, None), "{requests:?}");
}

/// Text from clients must not become span names: their number would be unbounded.
#[tokio::test(flavor = "multi_thread")]
async fn the_span_of_an_unknown_path_does_not_contain_the_path() {
    let collector = Collector::start().await;
    let process = collector.registry(&[]);
    let client = process.client();
    client.request("GET", "/v3/anything").send().await.expect(404);
    client.request("BREW", "/v2/").send().await.expect(405);
    let mut names: Vec<_> =
        collector.requests(process).await.into_iter().map(|span| span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["GET", "HTTP"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsampled_caller_is_not_traced() {
    let collector = Collector::start().await;
    let process = collector.registry(&[]);
    let client = process.client();
    client.request("GET", "/v2/").header("traceparent", parent(false)).send().await.expect(200);
    client.request("GET", "/v2/_catalog").send().await.expect(200);
    let names: Vec<_> =
        collector.requests(process).await.into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["GET /v2/_catalog"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_or_untrusted_traceparent_starts_a_new_trace() {
    let collector = Collector::start().await;
    for (variables, sent) in [
        (&[][..], "00-nonsense-b7ad6b7169203331-01".to_owned()),
        (&[("OTEL_PROPAGATORS", "none")][..], parent(true)),
    ] {
        collector.received.lock().expect("no panic").clear();
        let process = collector.registry(variables);
        let client = process.client();
        client.request("GET", "/v2/").header("traceparent", &sent).send().await.expect(200);
        let spans = collector.requests(process).await;
        assert!(spans.len() == 1 && spans[0].parent_span_id.is_empty(), "{spans:?}");
        assert_ne!(hex::encode(&spans[0].trace_id), TRACE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_can_be_sampled_and_disabled() {
    let collector = Collector::start().await;
    for variables in [
        [("OTEL_SDK_DISABLED", "true")],
        [("OTEL_TRACES_EXPORTER", "none")],
        [("OTEL_TRACES_SAMPLER", "always_off")],
    ] {
        let process = collector.registry(&variables);
        process.client().request("GET", "/v2/").send().await.expect(200);
        let spans = collector.requests(process).await;
        assert!(spans.is_empty(), "{variables:?}: {spans:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_trace_variables_do_not_stop_the_registry() {
    for (name, value, said) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://no host", "traces are disabled"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER=zipkin is invalid"),
    ] {
        let process = Process::serve("memory", &[(name, value)]);
        process.client().request("GET", "/v2/").send().await.expect(200);
        assert!(process.log().contains(said), "{}", process.log());
    }
}
