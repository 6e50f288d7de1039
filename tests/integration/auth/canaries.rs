//! A process with every kind of secret, used in every way: nothing that it writes shows one.
//!
//! Log at its lowest level, audit log, traces, metrics, answers, and what the commands print.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use longshore::tasks::Tasks;
use rcgen::DnType;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::certificates::{Authority, client_of};
use super::issuer::{Signer, jwks, now};
use super::tls::{Pair, pair};
use super::ways::over_tls;
use super::{COST, basic_header, replace};
use crate::support::http::{Client, Reply};
use crate::support::process::{Process, run, s3_variables};
use crate::support::scripted_s3::{BUCKET_URL, Match, ScriptedS3};
use crate::support::{bytes, sha256};

const PASSWORD: &str = "canary-password-Xk3v";
const WRONG_PASSWORD: &str = "canary-wrong-Pw81";
const S3_SECRET: &str = "canary-of-s3-9Ztq";
const REDIS_PASSWORD: &str = "canary-of-redis-5Hma";
const IN_QUERY: &str = "canary-in-query-2Wbn";

const CONFIG: &str = "
access.htpasswd_file = '{folder}/users'
access.authenticated = 'push'
blobs.delivery = 'redirect'
audit_log = { destination = '{folder}/audit.log', pulls = true }
[[access.issuers]]
name = 'ci'
url = 'https://ci.test'
audience = 'registry'
jwks_file = '{folder}/keys'
[server.tls]
certificate_file = '{folder}/tls.crt'
key_file = '{folder}/tls.key'
client_ca_file = '{folder}/clients.crt'
";

/// Secrets with what they are, and everything that must not have them.
#[derive(Default)]
struct Watch {
    secrets: Vec<(&'static str, String)>,
    written: Vec<(String, String)>,
}

impl Watch {
    fn secret(&mut self, what: &'static str, secret: &str) {
        assert!(secret.len() >= 16, "{what} is too short to be found: {secret}");
        self.secrets.push((what, secret.to_owned()));
    }

    /// Its parts: a token without its signature is not to be shown either.
    fn token(&mut self, what: &'static str, token: &str) {
        let [_, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            panic!("three parts")
        };
        self.secret(what, payload);
        self.secret(what, signature);
    }

    fn written(&mut self, by: &str, text: impl Into<String>) {
        self.written.push((by.to_owned(), text.into()));
    }

    fn answer(&mut self, what: &str, reply: &Reply) {
        self.written(&format!("answer to {what}"), format!("{reply:?}{}", reply.body_text()));
    }

    fn assert_unseen(&self) {
        for (by, text) in &self.written {
            for (what, secret) in &self.secrets {
                let shown = text.find(secret.as_str());
                let around =
                    shown.map(|at| &text[text.floor_char_boundary(at.saturating_sub(200))..at]);
                assert_eq!(around, None, "{by} shows {what}");
            }
        }
    }
}

/// A collector of traces that keeps their bytes: a text in them stands there as it is.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let received: Arc<Mutex<Vec<u8>>> = Arc::default();
    let taken = received.clone();
    let take = move |body: Bytes| async move {
        taken.lock().expect("no panic").extend_from_slice(&body);
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/v1/traces", post(take));
    drop(Tasks::new().spawn(async move { axum::serve(listener, router).await }));
    (format!("http://{address}"), received)
}

/// A registry and its files.
struct Stage {
    s3: ScriptedS3,
    folder: tempfile::TempDir,
    shown: Pair,
    signer: Signer,
    authority: Authority,
}

impl Stage {
    async fn new(watch: &mut Watch) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (signer, authority) = (Signer::new(Algorithm::ES256, "a"), Authority::new("ours"));
        let hash = bcrypt::hash(PASSWORD, COST).expect("a hash");
        let shown = pair();
        let config = CONFIG.replace("{folder}", &folder.path().display().to_string());
        for (file, content) in [
            ("users", format!("alice:{hash}\n")),
            ("password", format!("{PASSWORD}\n")),
            ("keys", jwks(&[&signer])),
            ("tls.crt", shown.certificate.clone()),
            ("tls.key", shown.key.clone()),
            ("clients.crt", authority.0.pem()),
            ("longshore.toml", config),
        ] {
            replace(&folder.path().join(file), &content);
        }
        watch.secret("the password", PASSWORD);
        watch.secret("a wrong password", WRONG_PASSWORD);
        watch.secret("the hash of the password", &hash[7..]);
        for password in [PASSWORD, WRONG_PASSWORD] {
            let header = basic_header("alice", password);
            watch.secret("a header", header.trim_start_matches("Basic "));
        }
        watch.secret("the secret of S3", S3_SECRET);
        watch.secret("the password of Redis", REDIS_PASSWORD);
        watch.secret("a query", IN_QUERY);
        watch.secret("a presigned URL", "X-Amz-Signature=");
        let key = shown.key.lines().nth(1).expect("the key of TLS");
        watch.secret("the key of TLS", &key[key.len() - 40..]);
        Self { s3: ScriptedS3::start().await, folder, shown, signer, authority }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn variables(&self, traces: &str) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = [
            ("LONGSHORE_CONFIG", self.path("longshore.toml")),
            ("LONGSHORE_LOG_LEVEL", "trace".to_owned()),
            ("LONGSHORE_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("LONGSHORE_CACHE_REDIS", format!("redis://user:{REDIS_PASSWORD}@127.0.0.1:1")),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", traces.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, value) in s3_variables(&self.s3.url()) {
            let is_secret = name.ends_with("SECRET_ACCESS_KEY");
            let value = if is_secret { S3_SECRET } else { value };
            all.push((name.to_owned(), value.to_owned()));
        }
        all
    }

    fn identity(&self) -> String {
        let claims = json!({
            "iss": "https://ci.test", "sub": "job", "aud": "registry", "exp": now() + 300,
        });
        self.signer.sign(&self.signer.header(), &claims)
    }
}

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().expect("a text")
}

/// Logs in in every way, rightly and wrongly. Returns headers with what was got.
async fn log_in(stage: &Stage, client: &Client, watch: &mut Watch) -> Vec<String> {
    let identity = stage.identity();
    watch.token("an identity token", &identity);
    let mut headers = vec![
        basic_header("alice", PASSWORD),
        basic_header("alice", WRONG_PASSWORD),
        basic_header("oidc", &identity),
        format!("Bearer {identity}"),
        format!("Bearer {}x", identity),
        format!("Digest {IN_QUERY}"),
    ];
    for header in headers.clone() {
        let path = format!("/auth/token?offline_token=true&scope=repository:a:pull&x={IN_QUERY}");
        let reply = client.request("GET", &path).header("authorization", &header).send().await;
        if reply.status == 200 {
            let answer = reply.json();
            watch.token("a registry token", text(&answer, "token"));
            headers.push(format!("Bearer {}", text(&answer, "token")));
            headers.push(basic_header("alice", text(&answer, "token")));
            if answer["refresh_token"].is_string() {
                watch.token("a refresh token", text(&answer, "refresh_token"));
                headers.push(format!("Bearer {}", text(&answer, "refresh_token")));
            }
        } else {
            watch.answer("a login", &reply);
        }
    }
    let form = |password: &str| {
        format!("grant_type=password&username=alice&password={password}&access_type=offline")
    };
    let login = async |form: String| client.request("POST", "/auth/token").body(form).send().await;
    let answer = login(form(PASSWORD)).await.expect(200).json();
    let refresh = text(&answer, "refresh_token");
    watch.token("a refresh token", refresh);
    let again = format!("grant_type=refresh_token&refresh_token={refresh}");
    let answer = login(again.clone()).await.expect(200).json();
    watch.token("a registry token", text(&answer, "token"));
    for wrong in [
        form(WRONG_PASSWORD),
        format!("{again}x"),
        format!("grant_type=refresh_token&refresh_token={identity}"),
        format!("grant_type={PASSWORD}&refresh_token={refresh}"),
        format!("grant_type=password&username={PASSWORD}&password={PASSWORD}&scope={IN_QUERY}"),
    ] {
        let reply = login(wrong).await;
        assert!(reply.status.is_client_error(), "{reply:?}");
        watch.answer("a wrong form", &reply);
    }
    headers
}

/// Sends requests with each of the headers: what is allowed, refused, missing, and failing.
async fn use_headers(stage: &Stage, client: &Client, headers: &[String], watch: &mut Watch) {
    let content = bytes(1, 100_000);
    let blob = sha256(&content);
    let path = format!("/v2/a/blobs/uploads/?digest={blob}&x={IN_QUERY}");
    let header = basic_header("alice", PASSWORD);
    let push = client.request("POST", &path).header("authorization", &header).body(content);
    push.send().await.expect(201);
    let redirected = client.request("GET", &format!("/v2/a/blobs/{blob}"));
    let redirected = redirected.header("authorization", &header).send().await.expect(307);
    assert!(redirected.location().contains("X-Amz-Signature="), "{redirected:?}");
    let away = async |client: &Client, header: &str| {
        let request = client.request("GET", "/v2/b/manifests/v1");
        request.header("authorization", header).send().await
    };
    for header in headers {
        for (method, path) in [
            ("GET", format!("/v2/?token={IN_QUERY}")),
            ("GET", format!("/v2/a/tags/list?token={IN_QUERY}")),
            ("GET", "/v2/_catalog?n=-1".to_owned()),
            ("PUT", "/v2/a/manifests/v1".to_owned()),
            ("DELETE", "/v2/a/manifests/none".to_owned()),
            ("PATCH", "/v2/".to_owned()),
            ("GET", "/ui/".to_owned()),
            ("GET", "/nothing".to_owned()),
        ] {
            let request = client.request(method, &path).header("authorization", header);
            watch.answer(&path, &request.send().await);
        }
    }
    stage.s3.refuse(Match::get("v1/t/").always(), 403, "AccessDenied");
    for header in &headers[..1] {
        watch.answer("a request that fails", &away(client, header).await.expect(503));
    }
    stage.s3.heal();
}

/// Runs the commands that read the settings, the bucket or the process.
fn run_commands(stage: &Stage, process: &Process, variables: &[(&str, &str)], watch: &mut Watch) {
    let registry = format!("https://localhost:{}", process.address.port());
    let admin = format!("http://{}", process.admin_address());
    let password = stage.path("password");
    let doctor = ["doctor", &registry, "--admin", &admin, "--user", "alice", "--password-file"];
    let doctor = [&doctor[..], &[&password, "--json"]].concat();
    for arguments in [
        &["check"][..],
        &["serve", "--listen", "192.0.2.1:1"],
        &doctor,
        &["inspect", "v1/g/keys"],
        &["inspect", "v1/g/keys", "--json"],
        &["inspect", "v1/g/cache-key", "--json"],
        &["inspect", "a"],
        &["keys", "list"],
        &["keys", "rotate"],
        &["settings", "show"],
        &["audit"],
        &["usage"],
        &["gc", "--dry-run"],
        &["access", "explain", "--user", "alice", "pull", "a"],
        &["user", "list", "--file", &stage.path("users")],
    ] {
        let is_of_store = !matches!(arguments[0], "doctor" | "user" | "access" | "serve");
        let store = if is_of_store { &["--store", BUCKET_URL][..] } else { &[] };
        let ended = run(&[arguments, store].concat(), variables);
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!said.is_empty(), "{arguments:?}");
        watch.written(&arguments.join(" "), said);
    }
}

/// The secrets that the bucket has, in all the ways that they are spelled.
fn read_keys(stage: &Stage, watch: &mut Watch) {
    for (key, field) in [("v1/g/keys", "\"seed\":\""), ("v1/g/cache-key", "\"key\":\"")] {
        let record = stage.s3.object(key).unwrap_or_else(|| panic!("no {key}"));
        let record = String::from_utf8_lossy(&record).into_owned();
        let mut found = record.split(field).skip(1).peekable();
        assert!(found.peek().is_some(), "{key}");
        for rest in found {
            let hexadecimal = &rest[..64];
            let seed = hex::decode(hexadecimal).expect("hexadecimal digits");
            watch.secret("a key", hexadecimal);
            watch.secret("a key", STANDARD.encode(&seed).trim_end_matches('='));
            watch.secret("a key", &URL_SAFE_NO_PAD.encode(&seed));
            watch.secret("a key", format!("{seed:?}").trim_matches(['[', ']']));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_written_anywhere() {
    let mut watch = Watch::default();
    let stage = Stage::new(&mut watch).await;
    let (traces, received) = collector().await;
    let variables = stage.variables(&traces);
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut process = Process::over_s3(&stage.s3, &variables);
    let client = over_tls(process.address, client_of(&stage.shown, None, "http/1.1")).await;
    let headers = log_in(&stage, &client, &mut watch).await;
    use_headers(&stage, &client, &headers, &mut watch).await;
    // With a certificate, and with what the first lines of TLS are not.
    let identity = stage.authority.issue(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "job");
    });
    let known = client_of(&stage.shown, Some(&identity), "http/1.1");
    let known = over_tls(process.address, known).await;
    let answer = known.request("GET", "/auth/token").send().await.expect(200).json();
    watch.token("a registry token", text(&answer, "token"));
    watch.secret("the key of a client", &STANDARD.encode(&identity.key)[80..120]);
    let plain = process.client();
    drop(plain.request("GET", &format!("/v2/?x={IN_QUERY}")).try_send().await);
    // A password file that is no password file.
    replace(&stage.folder.path().join("users"), &format!("alice:{PASSWORD}\n"));
    super::noticed().await;
    let again = client.request("GET", "/v2/").header("authorization", basic_header("bob", "x"));
    watch.answer("a request after the reload", &again.send().await);

    tokio::task::block_in_place(|| run_commands(&stage, &process, &variables, &mut watch));
    read_keys(&stage, &mut watch);
    for path in ["/metrics", "/live", "/ready", "/settings", "/"] {
        watch.answer(path, &process.admin().request("GET", path).send().await);
    }
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
    let spans = String::from_utf8_lossy(&received.lock().expect("no panic")).into_owned();
    let audit = std::fs::read_to_string(stage.folder.path().join("audit.log")).expect("lines");
    let log = process.log();
    // All of them have something to tell.
    for (by, text, word) in [
        ("traces", &spans, "/v2/{name}/tags/list"),
        ("the audit log", &audit, "wrong_password"),
        ("the log", &log, "reload failed, keeping the previous version"),
        ("the log", &log, "DEBUG"),
    ] {
        assert!(text.contains(word), "{by} has no {word}: {text}");
    }
    watch.written("the traces", spans);
    watch.written("the audit log", audit);
    watch.written("the log", log);
    watch.assert_unseen();
}
