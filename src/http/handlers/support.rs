//! Whether this is a registry, and what it does beyond the spec.

use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

fn json_response(body: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Determining Support — end-1, `GET /v2/`.
pub(super) fn api_version() -> Response {
    json_response(&json!({}))
}

/// Extensions — `GET /v2/_oci/ext/discover` (distribution-spec, extensions/_oci.md).
pub(super) fn registry_extensions() -> Response {
    let catalog = json!({
        "name": "_catalog",
        "description": "lists the repositories",
        "endpoints": ["_catalog"],
    });
    json_response(&json!({ "extensions": [discovery(), catalog] }))
}

/// Extensions of one repository — `GET /v2/<name>/_oci/ext/discover`.
pub(super) fn repository_extensions() -> Response {
    json_response(&json!({ "extensions": [discovery()] }))
}

fn discovery() -> Value {
    json!({
        "name": "_oci",
        "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
        "description": "lists the extensions that are served",
        "endpoints": ["_oci/ext/discover"],
    })
}
