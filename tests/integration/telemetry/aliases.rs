//! Aliases of metrics under the names of distribution.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::memory::Memory;
use longshore::telemetry::metrics::Metrics;

use crate::support::process::Process;
use crate::support::{App, bytes, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_under_the_names_of_distribution() {
    let metrics = Metrics::default();
    let app = App::counting(Arc::new(Memory::new()), Settings::default(), metrics.clone()).await;
    let content = bytes(1, 100_000);
    // Two operations here are one handler there: these three pushes are one PUT each, and this
    // chunk is a PATCH.
    for _ in 0..3 {
        app.push_blob("a", &content).await;
    }
    let start = app.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202).location();
    let begun = app.request("PATCH", &start).body(bytes(2, 10)).send().await.expect(202);
    app.request("DELETE", &begun.location()).send().await.expect(204);
    let blob = format!("/v2/a/blobs/{}", sha256(&content));
    app.get(&blob).send().await.expect(200);
    app.get(&blob).header("range", "bytes=0-9").send().await.expect(206);
    app.request("HEAD", &blob).send().await.expect(200);
    app.get("/v2/a/manifests/none").send().await.expect(404);
    app.get("/nothing").send().await.expect(404);
    app.request("BREW", "/v2/").send().await;
    app.settled().await;

    let text = metrics.exposition_with_aliases();
    for line in [
        r#"registry_http_requests_total{code="200",handler="blob",method="get"} 1"#,
        r#"registry_http_requests_total{code="206",handler="blob",method="get"} 1"#,
        r#"registry_http_requests_total{code="200",handler="blob",method="head"} 1"#,
        r#"registry_http_requests_total{code="202",handler="blob_upload",method="post"} 4"#,
        r#"registry_http_requests_total{code="201",handler="blob_upload_chunk",method="put"} 3"#,
        r#"registry_http_requests_total{code="202",handler="blob_upload_chunk",method="patch"} 1"#,
        r#"registry_http_requests_total{code="404",handler="manifest",method="get"} 1"#,
        r#"registry_http_request_duration_seconds_count{handler="blob",method="get"} 2"#,
        r#"registry_http_request_duration_seconds_count{handler="blob",method="head"} 1"#,
        "registry_http_in_flight_requests 0",
        r#"registry_http_request_size_bytes_sum{handler="blob_upload_chunk"} 300010"#,
        r#"registry_http_request_size_bytes_count{handler="blob_upload_chunk"} 4"#,
        r#"registry_http_request_size_bytes_bucket{handler="blob_upload_chunk",le="1024"} 1"#,
        r#"registry_http_request_size_bytes_bucket{handler="blob_upload_chunk",le="+Inf"} 4"#,
        r#"registry_http_response_size_bytes_sum{handler="blob"} 100010"#,
        "# TYPE registry_http_requests_total counter",
        "# TYPE registry_http_request_duration_seconds histogram",
        "# TYPE registry_http_in_flight_requests gauge",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    // Requests for unknown paths have no alias, and the original metrics are unchanged.
    assert!(!text.contains(r#"handler="none""#), "{text}");
    let ours = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.contains("longshore_http")).map(str::to_owned).collect()
    };
    let plain = metrics.exposition();
    let known = ours(&plain);
    assert!(!known.is_empty() && known.iter().all(|line| ours(&text).contains(line)), "{text}");
    assert!(!plain.contains("registry_http"), "{plain}");
}

/// Aliases double the series, so they need a setting.
#[tokio::test(flavor = "multi_thread")]
async fn aliases_need_a_setting() {
    const ADMIN: (&str, &str) = ("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0");
    for (aliases, there) in [("false", false), ("true", true)] {
        let process = Process::serve("memory", &[ADMIN, ("LONGSHORE_METRICS_ALIASES", aliases)]);
        process.client().request("GET", "/v2/").send().await.expect(200);
        let metrics = process.admin().request("GET", "/metrics").send().await.expect(200);
        let text = String::from_utf8(metrics.body.to_vec()).expect("text");
        let line = r#"registry_http_requests_total{code="200",handler="base",method="get"} 1"#;
        assert_eq!(text.lines().any(|known| known == line), there, "{text}");
        assert_eq!(text.contains("registry_http"), there, "{text}");
    }
}
