//! The audit log: what its lines say, what happens when they cannot be written, rotation.
//!
//! Covers no section of the distribution-spec, which leaves all of this to implementations. These
//! registries always run in this process or in one of their own, because the tests choose their
//! settings.

mod failures;
mod lines;
mod rotation;

use std::path::Path;

use serde_json::Value;

use crate::support::http::Client;
use crate::support::sha256;

/// The lines of a file. Each is a JSON object, and the last one has its end.
#[track_caller]
fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a text");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is cut off: {text:?}");
    let line = |line: &str| match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => Value::Object(fields),
        other => panic!("{line:?} is no object: {other:?}"),
    };
    text.lines().map(line).collect()
}

/// Pushes a small blob in one request, which is one line of the log. Returns the status.
async fn push(client: &Client, id: &str) -> u16 {
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(id.as_bytes()));
    let push = client.request("POST", &path).header("x-request-id", id);
    push.body(id.as_bytes().to_vec()).send().await.status.as_u16()
}

/// The request ids of some lines, sorted.
fn ids(lines: &[Value]) -> Vec<String> {
    let id = |line: &Value| line["request_id"].as_str().expect("an id").to_owned();
    let mut ids: Vec<String> = lines.iter().map(id).collect();
    ids.sort();
    ids
}
