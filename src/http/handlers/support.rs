//! Is this a registry, and what does it do beyond the spec?

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::json;

use crate::oci::RepositoryName;

fn json_response(body: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Determining Support — end-1, `GET /v2/`.
pub(in crate::http) fn get() -> Response {
    json_response(&json!({}))
}

/// Extensions — `GET /v2/_oci/ext/discover` (distribution-spec, extensions/_oci.md).
pub(in crate::http) fn extensions(name: Option<&RepositoryName>) -> Response {
    let mut extensions = vec![json!({
        "name": "_oci",
        "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
        "description": "lists the extensions that are served",
        "endpoints": ["_oci/ext/discover"],
    })];
    if name.is_none() {
        extensions.push(json!({
            "name": "_catalog",
            "description": "lists the repositories",
            "endpoints": ["_catalog"],
        }));
    }
    json_response(&json!({ "extensions": extensions }))
}
