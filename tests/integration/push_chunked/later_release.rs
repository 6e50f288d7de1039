//! Sessions that a later release wrote, or that are damaged. No request on one panics or publishes
//! other content than was sent.

use bytes::Bytes;
use longshore::oci::UploadId;
use longshore::store::Record;
use longshore::store::memory::Operation;
use serde_json::{Value, json};

use super::STORE;
use crate::support::exchange::{created, session_key, with_query};
use crate::support::test_store::{StoreKind, TestStore, small_parts};
use crate::support::{App, bytes, sha256};

/// What a request on such a session may be answered.
const STATUSES: [u16; 8] = [201, 202, 204, 400, 404, 413, 416, 503];

/// How a session begins.
#[derive(Clone, Copy, Debug)]
enum Begun {
    Tail,
    Parts,
    SingleObject,
    Committing,
    CommittingParts,
}

const BEGUN: [Begun; 5] =
    [Begun::Tail, Begun::Parts, Begun::SingleObject, Begun::Committing, Begun::CommittingParts];

struct Scene {
    app: App,
    store: TestStore,
    content: Vec<u8>,
    location: String,
}

/// A session that holds its content, in a registry with small parts.
async fn scene(begun: Begun) -> Scene {
    let store = TestStore::start(STORE).await;
    let app = App::frontend(store.objects.clone(), small_parts()).await;
    let content = match begun {
        Begun::Tail => bytes(700, 1_000),
        Begun::SingleObject | Begun::Committing => bytes(701, 20_000),
        Begun::Parts | Begun::CommittingParts => bytes(702, 150_000),
    };
    let location = app.start_upload("a", "").await;
    let location = app.patch(&location, &content).await.expect(202).location();
    if matches!(begun, Begun::Committing | Begun::CommittingParts) {
        store.fail(Operation::Create, "v1/p/");
        app.close(&location, &sha256(&content), b"").await.expect(503);
    }
    Scene { app, store, content, location }
}

/// The header and the payload of a record.
fn split(record: &Record) -> (Value, &[u8]) {
    let end = record.body.iter().position(|byte| *byte == b'\n').expect("a header");
    let header = serde_json::from_slice(&record.body[..end]).expect("JSON");
    (header, &record.body[end + 1..])
}

fn joined(header: &Value, payload: &[u8]) -> Bytes {
    [header.to_string().as_bytes(), b"\n", payload].concat().into()
}

impl Scene {
    fn header(&self) -> Value {
        split(&self.store.record(&session_key(&self.location)).expect("a session")).0
    }

    /// Changes the header of the session.
    async fn change(&self, change: impl FnOnce(&mut Value)) {
        let key = session_key(&self.location);
        let record = self.store.record(&key).expect("a session");
        let (mut header, payload) = split(&record);
        change(&mut header);
        let body = joined(&header, payload);
        let replaced = self.store.objects.replace(&key, &record.version, body, None).await;
        replaced.expect("replaced");
    }

    /// The location of a copy of the session.
    async fn copy(&self) -> String {
        let record = self.store.record(&session_key(&self.location)).expect("a session");
        let location = format!("/v2/a/blobs/uploads/{}", UploadId::random());
        self.store.create(&session_key(&location), record.body).await;
        location
    }

    /// Sends requests of each kind to copies of the session.
    async fn try_others(&self, case: &str) {
        let longer = sha256(&[&self.content[..], b"more"].concat());
        let large = vec![7; 100_000];
        for (method, query, body) in [
            ("GET", String::new(), &b""[..]),
            ("PATCH", String::new(), b"more"),
            ("PATCH", String::new(), &large),
            ("PUT", format!("digest={longer}"), b"more"),
            ("DELETE", String::new(), b""),
        ] {
            // The copies share their parts with the session, so nothing may be freed.
            for operation in [Operation::Abort, Operation::Delete, Operation::Complete] {
                self.store.fail_always(operation);
            }
            let path = self.copy().await;
            let path = if query.is_empty() { path } else { with_query(&path, &query) };
            let reply = self.app.request(method, &path).body(body.to_vec()).send().await;
            assert!(STATUSES.contains(&reply.status.as_u16()), "{case}, {method}: {reply:?}");
            self.app.settled().await;
            self.store.heal();
        }
    }

    /// Finishes the session.
    async fn finish(&self, case: &str) {
        let digest = sha256(&self.content);
        let reply = self.app.close(&self.location, &digest, b"").await;
        assert!(STATUSES.contains(&reply.status.as_u16()), "{case}: {reply:?}");
        if reply.status == 201 {
            let blob = self.app.blob("a", &digest).await.expect(200);
            assert!(blob.body == self.content, "{case}: other content was published");
        } else {
            self.app.assert_no_blob("a", &digest).await;
        }
    }
}

#[tokio::test]
async fn no_header_of_a_session_makes_a_request_panic() {
    let huge = json!(u64::MAX);
    for begun in BEGUN {
        let mut changes = vec![
            json!({ "offset": huge, "parts": [{ "number": 1, "tag": "x", "size": huge }] }),
            json!({ "offset": 0, "parts": [], "hashes": [] }),
            json!({ "part_next": u32::MAX, "reserved_to": u32::MAX }),
            json!({ "part_next": 0, "reserved_to": 0 }),
            json!({ "multipart": null, "single_object": null }),
            json!({ "committing": [sha256(b"x"), sha256(b"y")] }),
        ];
        let header = scene(begun).await.header();
        // Nothing else says how long a single object is.
        let single = matches!(begun, Begun::SingleObject | Begun::Committing);
        let fields = header.as_object().expect("an object").keys();
        // The fields mean the same over each store, and there are hundreds of cases.
        let fields = fields.filter(|_| STORE == StoreKind::Memory);
        for field in fields.filter(|field| !(single && *field == "offset")) {
            for value in [json!(null), json!(0), huge.clone(), json!("x"), json!([]), json!({})] {
                changes.push(json!({ field: value }));
            }
        }
        for change in changes {
            let case = format!("{begun:?} with {change}");
            let change = |header: &mut Value| {
                for (field, value) in change.as_object().expect("an object") {
                    header[field] = value.clone();
                }
            };
            let one = scene(begun).await;
            one.change(change).await;
            one.try_others(&case).await;
            let other = scene(begun).await;
            other.change(change).await;
            other.finish(&case).await;
        }
    }
}

/// A release that knows more about a session finds it again.
#[tokio::test]
async fn a_write_of_a_session_keeps_unknown_fields() {
    for begun in [Begun::Tail, Begun::Parts] {
        let scene = scene(begun).await;
        scene.change(|header| header["later"] = json!({ "a": [1, "b"] })).await;
        let patch = scene.app.patch(&scene.location, b"more").await.expect(202);
        assert_eq!(scene.header()["later"], json!({ "a": [1, "b"] }), "{begun:?}");
        let content = [&scene.content[..], b"more"].concat();
        let digest = sha256(&content);
        created(scene.app.close(&patch.location(), &digest, b"").await, "a", &digest);
        scene.app.assert_blob("a", &digest, &content).await;
    }
}

/// Whether this release may not write such a session, or not even read it.
#[tokio::test]
async fn a_session_that_needs_a_later_release_is_404() {
    for begun in BEGUN {
        for need in ["need", "need_read"] {
            let scene = scene(begun).await;
            scene.change(|header| header[need] = json!(["sparkling"])).await;
            let (app, digest) = (&scene.app, sha256(&scene.content));
            let before = (scene.store.records(), scene.store.data_objects());
            for method in ["GET", "PATCH", "DELETE"] {
                let reply = app.request(method, &scene.location).body("more").send().await;
                reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
            }
            let reply = app.close(&scene.location, &digest, b"").await;
            reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
            app.settled().await;
            // A later release continues it.
            let after = (scene.store.records(), scene.store.data_objects());
            assert!(before == after, "{begun:?}, {need}: {after:?}");
            app.assert_no_blob("a", &digest).await;
        }
    }
}
