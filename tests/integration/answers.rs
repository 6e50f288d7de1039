//! What answers have besides their content: locations, `Cache-Control`, CORS, and the root for load
//! balancers.

use std::sync::Arc;

use longshore::config::Settings;
use longshore::store::memory::Memory;

use crate::support::app::OCI_MANIFEST;
use crate::support::exchange::with_query;
use crate::support::{App, sha256};

async fn app(change: impl FnOnce(&mut Settings)) -> App {
    let mut settings = Settings::default();
    change(&mut settings);
    App::over_memory(Arc::new(Memory::new()), settings).await
}

/// Some small clients cannot resolve a path. The host is that of the request, and the scheme is
/// that of the client, as far as a trusted proxy tells it.
#[tokio::test]
async fn absolute_locations_have_the_host_and_the_scheme_of_the_request() {
    for (trusted, scheme) in [("127.0.0.0/8", "https"), ("10.0.0.0/8", "http")] {
        let app = app(|settings| {
            settings.server.absolute_locations = true;
            settings.server.trusted_proxies = trusted.parse().expect("a network");
        })
        .await;
        let here = format!("{scheme}://registry.example:8443/v2/a/");
        let send = async |method, path: &str, body: &[u8]| {
            let request = app.request(method, path).header("host", "registry.example:8443");
            let request = request.header("x-forwarded-proto", "https");
            request.header("content-type", OCI_MANIFEST).body(body.to_vec()).send().await
        };
        let path = |location: &str| {
            let path = location.strip_prefix(&here).unwrap_or_else(|| panic!("{location}"));
            format!("/v2/a/{path}")
        };
        let start = send("POST", "/v2/a/blobs/uploads/", b"").await.expect(202).location();
        let patched = send("PATCH", &path(&start), b"{}").await.expect(202).location();
        let status = send("GET", &path(&patched), b"").await.expect(204).location();
        let request = app.request("PATCH", &path(&status)).header("host", "registry.example:8443");
        let early = request.header("x-forwarded-proto", "https").chunk_at(9, 1).body("x");
        path(&early.send().await.expect(416).location());
        let close = with_query(&path(&status), &format!("digest={}", sha256(b"{}")));
        let blob = send("PUT", &close, b"").await.expect(201).location();
        assert_eq!(blob, format!("{here}blobs/{}", sha256(b"{}")));
        let manifest = crate::support::app::image_manifest(b"{}", &[b"{}"]);
        let pushed = send("PUT", "/v2/a/manifests/v1", &manifest).await.expect(201);
        assert_eq!(pushed.location(), format!("{here}manifests/v1"));
    }
    // Without the setting, and where `Host` is none, it is a path.
    let relative = app(|_| {}).await;
    let start = relative.request("POST", "/v2/a/blobs/uploads/").send().await.expect(202);
    assert!(start.location().starts_with("/v2/a/blobs/uploads/"));
    let app = app(|settings| settings.server.absolute_locations = true).await;
    let start = app.request("POST", "/v2/a/blobs/uploads/").header("host", "a\"b").send().await;
    assert!(start.expect(202).location().starts_with("/v2/a/blobs/uploads/"));
}
