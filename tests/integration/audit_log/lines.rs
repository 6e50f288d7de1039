//! Each operation, done, refused and failed, and exactly what its line says.

use std::sync::Arc;

use longshore::store::memory::{Fault, FaultKind, Memory};
use serde_json::{Value, json};

use super::{ids, read};
use crate::auth::{As as _, Guarded, manifest, with_passwords_over};
use crate::support::app::OCI_INDEX;
use crate::support::http::{Reply, Request};
use crate::support::{bytes, sha256};

const RULES: &str = "
    store.url = 's3://shared'
    blobs.delivery = 'auto'
    blobs.redirect_networks = ['203.0.113.0/24']
    server.trusted_proxies = ['127.0.0.0/8']
    audit_log.destination = '{folder}/audit.log'
    [[access.rules]]
    subject = 'user:ada'
    repositories = '**'
    actions = ['pull', 'push', 'delete']
    [[access.rules]]
    subject = 'user:kim'
    repositories = 'team/**'
    actions = ['pull', 'create']";

/// A registry with an audit log, and what its lines should be.
struct Scene {
    guarded: Guarded,
    memory: Arc<Memory>,
    expected: Vec<Value>,
}

impl Scene {
    async fn start(more: &str) -> Self {
        let memory = Arc::new(Memory::new().with_presign("memory://bucket"));
        let text = format!("{more}\n{RULES}");
        let guarded = with_passwords_over(memory.clone(), &["ada", "kim"], &text).await;
        Self { guarded, memory, expected: Vec::new() }
    }

    fn request(&self, id: &str, method: &str, path: &str) -> Request<'_> {
        let request = self.guarded.app.request(method, path).header("x-request-id", id);
        request.header("user-agent", "tester/1").header("x-forwarded-for", "192.0.2.9, 203.0.113.7")
    }

    /// Sends a request as a user, and expects this line of it, besides what all lines have.
    async fn ask(
        &mut self,
        (id, user): (&'static str, &str),
        (method, path): (&str, &str),
        body: &[u8],
        line: Value,
    ) -> Reply {
        let mut request = self.request(id, method, path).body(body.to_vec());
        if path.contains("/manifests/") {
            request = request.header("content-type", OCI_INDEX);
        }
        if let Some((user, password)) = user.split_once(':') {
            request = request.basic(user, password);
        } else if !user.is_empty() {
            request = request.user(user);
        }
        let reply = request.send().await;
        self.expect((id, user), method, &reply, line);
        reply
    }

    fn expect(&mut self, (id, user): (&str, &str), method: &str, reply: &Reply, mut line: Value) {
        line["request_id"] = id.into();
        line["method"] = method.into();
        line["client"] = "203.0.113.7".into();
        line["user_agent"] = "tester/1".into();
        line["status"] = reply.status.as_u16().into();
        if user.is_empty() {
            line["subject"] = "anonymous".into();
            line["credential"] = "anonymous".into();
        } else if !user.contains(':') {
            line["subject"] = format!("user:{user}").into();
            line["credential"] = "password".into();
        } else if line["credential"].is_null() {
            // The login has failed.
            line["credential"] = "password".into();
        }
        if line["outcome"] != "refused" && line["rule"].is_null() {
            line["rule"] = rule(user, "pull, push, delete in **").into();
        }
        self.expected.push(line);
    }

    /// Compares all lines, without their times.
    fn compare(&self) {
        let mut lines = read(&self.guarded.folder.path().join("audit.log"));
        for line in &mut lines {
            let fields = line.as_object_mut().expect("an object");
            let time = fields.remove("time").expect("a time");
            let time = time.as_str().expect("a text");
            assert!(time.len() == 24 && time.starts_with("20") && time.ends_with('Z'), "{time}");
        }
        assert_eq!(ids(&lines), ids(&self.expected));
        for (line, expected) in lines.iter().zip(&self.expected) {
            assert_eq!(line, expected);
        }
    }
}

fn rule(user: &str, allowed: &str) -> String {
    let line = if user == "ada" { 9 } else { 13 };
    format!("file longshore.toml, line {line} lets user:{user} {allowed}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_has_a_line_with_what_was_before_and_after() {
    let mut scene = Scene::start("").await;
    let (small, large) = (b"content".as_slice(), bytes(1, 100_000));
    let (small_digest, large_digest) = (sha256(small), sha256(&large));
    let on = |operation: &str, more: Value| {
        let mut line = json!({
            "operation": operation, "repository": "team/app", "outcome": "done",
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let uploads = "/v2/team/app/blobs/uploads/";
    let blob = |digest: &str, size: usize| json!({ "digest": digest, "size": size });

    let path = format!("{uploads}?digest={small_digest}");
    let whole = on("start_upload", blob(&small_digest, 7));
    scene.ask(("whole", "ada"), ("POST", &path), small, whole).await.expect(201);

    // In chunks.
    let start = scene.request("start", "POST", uploads).user("ada").send().await.expect(202);
    let session = start.header("docker-upload-uuid").expect("a session").to_owned();
    let of_session = |more: Value| {
        let mut fields = json!({ "upload": session });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let line = on("start_upload", of_session(json!({})));
    scene.expect(("start", "ada"), "POST", &start, line);
    let line = on("upload_chunk", of_session(json!({ "size": 60_000 })));
    let patched =
        scene.ask(("chunk", "ada"), ("PATCH", &start.location()), &large[..60_000], line).await;
    let close = format!("{}?digest={large_digest}", patched.expect(202).location());
    let line = on("finish_upload", of_session(blob(&large_digest, 100_000)));
    scene.ask(("finish", "ada"), ("PUT", &close), &large[60_000..], line).await.expect(201);

    // Mounts, with a source that is named and one that is found.
    for (id, name, from) in [("named", "copy", "&from=team/app"), ("found", "other", "")] {
        let path = format!("/v2/team/{name}/blobs/uploads/?mount={small_digest}{from}");
        let mut line = on("start_upload", blob(&small_digest, 7));
        line["repository"] = format!("team/{name}").into();
        line["mounted_from"] = "team/app".into();
        scene.ask((id, "ada"), ("POST", &path), b"", line).await.expect(201);
    }

    // A session that is cancelled.
    let start = scene.request("start-2", "POST", uploads).user("ada").send().await.expect(202);
    let second = start.header("docker-upload-uuid").expect("a session").to_owned();
    let line = on("start_upload", json!({ "upload": second }));
    scene.expect(("start-2", "ada"), "POST", &start, line);
    let line = on("cancel_upload", json!({ "upload": second }));
    scene.ask(("cancel", "ada"), ("DELETE", &start.location()), b"", line).await.expect(204);

    // Manifests: by digest, by tag, a tag that is set again, one that moves, several at once.
    let (one, two) = (manifest("one"), manifest("two"));
    let (first, second) = (sha256(&one), sha256(&two));
    let put = |digest: &str, size: usize, tags: Value| {
        let mut line = on("put_manifest", blob(digest, size));
        if tags.is_array() {
            line["tags"] = tags;
        }
        line
    };
    let at = |reference: &str| format!("/v2/team/app/manifests/{reference}");
    let line = put(&first, one.len(), Value::Null);
    scene.ask(("by-digest", "ada"), ("PUT", &at(&first)), &one, line).await.expect(201);
    let line = put(&first, one.len(), json!([{ "tag": "v1", "after": first }]));
    scene.ask(("by-tag", "ada"), ("PUT", &at("v1")), &one, line).await.expect(201);
    let line = put(&first, one.len(), json!([{ "tag": "v1", "before": first, "after": first }]));
    scene.ask(("again", "ada"), ("PUT", &at("v1")), &one, line).await.expect(201);
    let line = put(&second, two.len(), json!([{ "tag": "v1", "before": first, "after": second }]));
    scene.ask(("moved", "ada"), ("PUT", &at("v1")), &two, line).await.expect(201);
    let tags = json!([
        { "tag": "v1", "before": second, "after": first }, { "tag": "v2", "after": first },
    ]);
    let path = at(&format!("{first}?tag=v1&tag=v2"));
    let line = put(&first, one.len(), tags);
    scene.ask(("several", "ada"), ("PUT", &path), &one, line).await.expect(201);
    // Another rule allows another user to create a tag.
    let mut line = put(&first, one.len(), json!([{ "tag": "v3", "after": first }]));
    line["rule"] = rule("kim", "pull, create in team/**").into();
    scene.ask(("created", "kim"), ("PUT", &at("v3")), &one, line).await.expect(201);

    // Deletions: a tag, a manifest with its other tags, a blob.
    let line = on("delete_manifest", json!({ "tags": [{ "tag": "v1", "before": first }] }));
    scene.ask(("untag", "ada"), ("DELETE", &at("v1")), b"", line).await.expect(202);
    let tags = json!([{ "tag": "v2", "before": first }, { "tag": "v3", "before": first }]);
    let line = on("delete_manifest", json!({ "digest": first, "tags": tags }));
    scene.ask(("delete", "ada"), ("DELETE", &at(&first)), b"", line).await.expect(202);
    let path = format!("/v2/team/app/blobs/{small_digest}");
    let line = on("delete_blob", json!({ "digest": small_digest }));
    scene.ask(("delete-blob", "ada"), ("DELETE", &path), b"", line).await.expect(202);

    // Reads have no line.
    scene.guarded.app.get(&at(&second)).user("ada").send().await.expect(200);
    scene.compare();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_fails_has_a_line_with_the_reason() {
    let mut scene = Scene::start("blobs.delete = false").await;
    let one = manifest("one");
    let digest = sha256(&one);
    let line = |operation: &str, outcome: &str, code: &str, reason: &str| {
        json!({
            "operation": operation, "repository": "team/app", "outcome": outcome, "code": code,
            "reason": reason,
        })
    };
    let with = |mut line: Value, more: Value| {
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let (path, blobs) = ("/v2/team/app/manifests/v1", "/v2/team/app/blobs/uploads/");
    let tagged = json!({ "digest": digest, "size": one.len(),
        "tags": [{ "tag": "v1", "after": digest }] });
    let done = json!({ "operation": "put_manifest", "repository": "team/app", "outcome": "done" });
    scene.ask(("first", "ada"), ("PUT", path), &one, with(done, tagged)).await.expect(201);

    // 401: without a login, with a wrong password; also where nothing would change.
    let tag = json!({ "tags": [{ "tag": "v1" }] });
    let refused = |operation, auth| {
        let text = "the request needs a login";
        with(line(operation, "refused", "UNAUTHORIZED", text), json!({ "auth": auth }))
    };
    let expected = with(refused("delete_manifest", "no_credentials"), tag.clone());
    scene.ask(("no-login", ""), ("DELETE", path), b"", expected).await.expect(401);
    let expected = with(refused("put_manifest", "wrong_password"), tag.clone());
    scene.ask(("wrong", "ada:canary-7fQ2"), ("PUT", path), &one, expected).await.expect(401);
    let mut expected = refused("api_version", "wrong_password");
    expected.as_object_mut().unwrap().remove("repository");
    scene.ask(("login", "ada:canary-7fQ2"), ("GET", "/v2/"), b"", expected).await.expect(401);
    scene.request("challenge", "GET", "/v2/").send().await.expect(401);

    // 403: no rule; a rule that does not let the caller move a tag.
    let text = "the caller may not do this";
    let expected = with(line("delete_manifest", "refused", "DENIED", text), tag.clone());
    let expected = with(expected, json!({ "auth": "no_rule" }));
    scene.ask(("denied", "kim"), ("DELETE", path), b"", expected).await.expect(403);
    let text = "the caller may create tags, but not move one that is there";
    let expected = with(line("put_manifest", "refused", "DENIED", text), tag.clone());
    scene.ask(("unmoved", "kim"), ("PUT", path), &manifest("two"), expected).await.expect(403);

    // 405: switched off.
    let text = "deleting blobs is switched off (blobs.delete)";
    let expected = line("delete_blob", "refused", "UNSUPPORTED", text);
    let expected = with(expected, json!({ "digest": digest }));
    let blob = format!("/v2/team/app/blobs/{digest}");
    scene.ask(("off", "ada"), ("DELETE", &blob), b"", expected).await.expect(405);

    // Failed: other content than announced; a store that is away.
    let other = sha256(b"other");
    let query = format!("{blobs}?digest={other}");
    let actual = sha256(b"content");
    let text = format!("the digest of the content is {actual}, not {other}");
    let expected = line("start_upload", "failed", "DIGEST_INVALID", &text);
    let expected = with(expected, json!({ "digest": other }));
    scene.ask(("mismatch", "ada"), ("POST", &query), b"content", expected).await.expect(400);
    scene.memory.inject(Fault::everywhere(FaultKind::FailBefore).always());
    let text = "storage is unavailable, try again later";
    let expected = with(line("put_manifest", "failed", "UNAVAILABLE", text), tag);
    scene.ask(("away", "ada"), ("PUT", path), &manifest("two"), expected).await.expect(503);
    scene.memory.heal();
    scene.compare();
    let path = scene.guarded.folder.path().join("audit.log");
    let text = std::fs::read_to_string(path).expect("the lines");
    assert!(!text.contains("canary-7fQ2") && !text.contains("-pw"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_have_lines_if_they_are_asked_for_and_presigned_urls_stay_out() {
    let mut scene = Scene::start("audit_log.pulls = true").await;
    let (one, large) = (manifest("one"), bytes(2, 100_000));
    let (digest, blob) = (sha256(&one), sha256(&large));
    let app = &scene.guarded.app;
    let path = format!("/v2/team/app/blobs/uploads/?digest={blob}");
    app.request("POST", &path).user("ada").body(large.clone()).send().await.expect(201);
    let put = app.request("PUT", "/v2/team/app/manifests/v1").user("ada");
    put.header("content-type", OCI_INDEX).body(one.clone()).send().await.expect(201);
    let file = scene.guarded.folder.path().join("audit.log");
    std::fs::write(&file, "").expect("the pushes are another test");

    let pull = |operation: &str, digest: &str, size: Value| {
        let mut line = json!({ "operation": operation, "repository": "team/app",
            "outcome": "done", "digest": digest });
        if size.is_number() {
            line["size"] = size;
        }
        line
    };
    for (id, method) in [("get", "GET"), ("head", "HEAD")] {
        let mut line = pull("get_manifest", &digest, one.len().into());
        line["tags"] = json!([{ "tag": "v1" }]);
        let at = (method, "/v2/team/app/manifests/v1");
        scene.ask((id, "ada"), at, b"", line).await.expect(200);
    }
    let path = format!("/v2/team/app/blobs/{blob}");
    let line = pull("get_blob", &blob, large.len().into());
    scene.ask(("head-blob", "ada"), ("HEAD", &path), b"", line).await.expect(200);
    let line = pull("get_blob", &blob, Value::Null);
    let redirected = scene.ask(("redirect", "ada"), ("GET", &path), b"", line).await.expect(307);
    let mut line = pull("get_blob", &sha256(b"none"), Value::Null);
    line["outcome"] = "failed".into();
    line["code"] = "BLOB_UNKNOWN".into();
    line["reason"] = "the blob is not known to this repository".into();
    let none = format!("/v2/team/app/blobs/{}", sha256(b"none"));
    scene.ask(("none", "ada"), ("GET", &none), b"", line).await.expect(404);
    // Lists and pages are no pulls.
    app_get(&scene, "/v2/team/app/tags/list").await.expect(200);
    app_get(&scene, "/ui/repository/team/app").await.expect(200);
    scene.compare();
    let text = std::fs::read_to_string(file).expect("the lines");
    assert!(redirected.location().starts_with("memory://bucket"), "a presigned URL");
    assert!(!text.contains("memory://"), "{text}");
}

async fn app_get(scene: &Scene, path: &str) -> Reply {
    scene.guarded.app.get(path).user("ada").send().await
}

async fn send_form(scene: &Scene, id: &str, form: &str) -> Reply {
    let request = scene.request(id, "POST", "/auth/token");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(form.to_owned()).send().await
}

/// Logins at the token service, and what their tokens do.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_login_by_a_form_has_a_line_and_a_registry_token_is_named() {
    let mut scene = Scene::start("").await;
    let scope = "scope=repository:team/app:pull,push";
    let right = format!("grant_type=password&username=ada&password=ada-pw&{scope}");
    let issued = send_form(&scene, "right", &right).await.expect(200).json();
    let anonymous = format!("grant_type=password&{scope}");
    let of_none = send_form(&scene, "none", &anonymous).await.expect(200).json();
    for (id, text, credential, auth) in [
        (
            "wrong",
            "grant_type=password&username=ada&password=canary-7fQ2",
            "password",
            "wrong_password",
        ),
        (
            "refresh",
            "grant_type=refresh_token&refresh_token=canary-7fQ2",
            "token",
            "token_malformed",
        ),
    ] {
        let reply = send_form(&scene, id, text).await.expect(401);
        let line = json!({
            "operation": "token", "outcome": "refused", "code": "UNAUTHORIZED", "auth": auth,
            "reason": "the request needs a login", "credential": credential,
        });
        scene.expect((id, "failed:login"), "POST", &reply, line);
    }
    let blob = sha256(b"content");
    let path = format!("/v2/team/app/blobs/uploads/?digest={blob}");
    let done = json!({
        "operation": "start_upload", "repository": "team/app", "outcome": "done", "digest": blob,
        "size": 7, "subject": "user:ada", "credential": "registry_token password",
        "rule": rule("ada", "pull, push, delete in **"),
    });
    let refused = json!({
        "operation": "start_upload", "repository": "team/app", "outcome": "refused",
        "digest": blob, "subject": "anonymous", "credential": "registry_token anonymous",
        "code": "UNAUTHORIZED", "auth": "token_scope", "reason": "the request needs a login",
    });
    for (id, token, status, line) in
        [("push", &issued, 201, done), ("anonymous", &of_none, 401, refused)]
    {
        let token = token["token"].as_str().expect("a token");
        let request = scene.request(id, "POST", &path).bearer(token).body(b"content".to_vec());
        let reply = request.send().await.expect(status);
        scene.expect((id, "token:of"), "POST", &reply, line);
    }
    scene.compare();
}
