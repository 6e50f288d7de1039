//! Identity tokens of other issuers: CI jobs, cloud workloads, pods.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use longshore::store::memory::Memory;
use longshore::tasks::Tasks;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::issuer::{Signer, base64_url, jwks, now};
use super::{As as _, Guarded, replace, settings};
use crate::support::App;

/// 404: the caller is allowed, and the manifest does not exist.
const LET_IN: u16 = 404;
/// Longer than the pause between two fetches that made-up keys cause.
const FETCH_PAUSE: Duration = Duration::from_millis(5_200);

/// How the server of an issuer answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    Right,
    Error,
    /// Discovery names another issuer.
    AsAnother,
    /// With a redirect to a server that would be right.
    Elsewhere,
    /// With megabytes.
    Endlessly,
    /// A byte a second.
    Slowly,
}

/// The server of an issuer.
pub(super) struct Issuer {
    pub(super) url: String,
    keys: Mutex<String>,
    answers: Mutex<Answers>,
    fetches: AtomicUsize,
}

impl Issuer {
    pub(super) async fn start(keys: &str, answers: Answers) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let issuer = Arc::new(Self {
            url,
            keys: Mutex::new(keys.to_owned()),
            answers: Mutex::new(answers),
            fetches: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/right/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(published))
            .with_state(issuer.clone());
        drop(Tasks::new().spawn(async move { axum::serve(listener, router).await }));
        issuer
    }

    pub(super) fn answer(&self, answers: Answers) {
        *self.answers.lock().expect("a lock") = answers;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Claims of a job, which are valid for five minutes.
    pub(super) fn claims(&self) -> Value {
        let now = now();
        json!({
            "iss": self.url, "sub": "job", "aud": "registry", "repository": "acme/app",
            "iat": now, "nbf": now, "exp": now + 300,
        })
    }

    fn token(&self, signer: &Signer) -> String {
        signer.sign(&signer.header(), &self.claims())
    }
}

async fn discovery(State(issuer): State<Arc<Issuer>>) -> Response {
    issuer.fetches.fetch_add(1, Ordering::SeqCst);
    let answers = *issuer.answers.lock().expect("a lock");
    let of = |url: &str| json!({ "issuer": url, "jwks_uri": format!("{}/keys", issuer.url) });
    match answers {
        Answers::Right => of(&issuer.url).to_string().into_response(),
        Answers::Error => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Answers::AsAnother => of("https://another.test").to_string().into_response(),
        Answers::Elsewhere => {
            Redirect::temporary("/right/.well-known/openid-configuration").into_response()
        }
        Answers::Endlessly => vec![b' '; 4 * 1024 * 1024].into_response(),
        Answers::Slowly => {
            let bytes = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, std::convert::Infallible>("{"), ()))
            });
            axum::body::Body::from_stream(bytes).into_response()
        }
    }
}

async fn published(State(issuer): State<Arc<Issuer>>) -> String {
    issuer.keys.lock().expect("a lock").clone()
}

const RULES: &str = "[[access.rules]]\nsubject = 'issuer:ci repository=acme/*'\n\
                     repositories = 'acme/**'\nactions = ['pull', 'create']\n";

/// A registry with this issuer, found by discovery.
async fn registry(issuer: &Issuer) -> Guarded {
    let url = &issuer.url;
    with(&format!("[[access.issuers]]\nname = 'ci'\nurl = '{url}'\naudience = 'registry'\n{RULES}"))
        .await
}

async fn with(text: &str) -> Guarded {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = settings(folder.path(), text);
    Guarded { app: App::over_memory(Arc::new(Memory::new()), settings).await, folder }
}

async fn status(app: &App, token: &str) -> u16 {
    app.get("/v2/acme/app/manifests/v1").bearer(token).send().await.status.as_u16()
}

#[tokio::test]
async fn a_job_logs_in_with_its_token() {
    let signer = Signer::new(Algorithm::RS256, "a");
    let issuer = Issuer::start(&jwks(&[&signer]), Answers::Right).await;
    let app = registry(&issuer).await;
    let token = issuer.token(&signer);
    let ask = |path: &str| app.get(path);
    assert_eq!(status(&app, &token).await, LET_IN);
    // As a password, of the user `oidc` and of any other.
    for user in ["oidc", "ci-job"] {
        let reply = ask("/v2/acme/app/manifests/v1").basic(user, &token).send().await;
        assert_eq!(reply.status, LET_IN, "{user}");
    }
    // What no rule allows.
    assert_eq!(ask("/v2/other/app/manifests/v1").bearer(&token).send().await.status, 403);
    let deletion = app.request("DELETE", "/v2/acme/app/manifests/v1").bearer(&token);
    assert_eq!(deletion.send().await.status, 403);
    let start = app.request("POST", "/v2/acme/app/blobs/uploads/").bearer(&token).send().await;
    assert_eq!(start.status, 202);
    // An upload session belongs to the subject.
    let mut other = issuer.claims();
    other["sub"] = json!("another job");
    let other = signer.sign(&signer.header(), &other);
    let patch = app.request("PATCH", &start.location()).bearer(&token).body(&b"hello"[..]);
    let session = patch.send().await.expect(202).location();
    ask(&session).bearer(&other).send().await.expect(404);
    ask(&session).bearer(&token).send().await.expect(204);
    // Nothing was fetched for each of them.
    assert_eq!(issuer.fetches(), 1);
}

/// What the documentation of each issuer shows.
fn real_shapes() -> Vec<(&'static str, Value, &'static str)> {
    let github = json!({
        "iss": "https://token.actions.githubusercontent.com",
        "sub": "repo:acme/app:environment:prod", "environment": "prod", "ref": "refs/heads/main",
        "repository": "acme/app", "repository_owner": "acme", "actor_id": "12",
        "repository_visibility": "private", "repository_id": "74", "repository_owner_id": "65",
        "run_id": "1234567890", "run_number": "10", "run_attempt": "2",
        "runner_environment": "github-hosted", "actor": "octocat", "workflow": "example",
        "head_ref": "", "base_ref": "", "event_name": "push", "ref_type": "branch",
        "job_workflow_ref": "acme/automation/.github/workflows/oidc.yml@refs/heads/main",
    });
    let gitlab = json!({
        "iss": "https://gitlab.example.com", "namespace_id": "72", "namespace_path": "acme",
        "project_id": "20", "project_path": "acme/app", "user_id": "1", "user_login": "alice",
        "user_email": "alice@example.com", "user_access_level": "developer",
        "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "main",
        "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
        "groups_direct": ["acme/developers"], "runner_id": 1,
        "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "sub": "project_path:acme/app:ref_type:branch:ref:main",
    });
    let buildkite = json!({
        "iss": "https://agent.buildkite.com", "organization_slug": "acme", "pipeline_slug": "app",
        "sub": "organization:acme:pipeline:app:ref:refs/heads/main:commit:9f31:step:build",
        "build_number": 1, "build_branch": "main", "build_tag": "v1.0.0", "build_commit": "9f31",
        "step_key": "build", "job_id": "0184990a", "agent_id": "0184990a-4782",
        "runner_environment": "buildkite-hosted",
    });
    let google = json!({
        "iss": "https://accounts.google.com", "azp": "107517467455664443766",
        "email": "builder@acme.iam.gserviceaccount.com", "email_verified": true,
        "sub": "107517467455664443766",
    });
    let kubernetes = json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "jti": "aed34954",
        "kubernetes.io": {
            "namespace": "ci", "node": {"name": "n1", "uid": "646e7c5e"},
            "pod": {"name": "builder-0", "uid": "5e0bd49b"},
            "serviceaccount": {"name": "builder", "uid": "14ee3fa4"},
        },
        "sub": "system:serviceaccount:ci:builder",
    });
    vec![
        ("github", github, "repository=acme/app ref=refs/heads/main environment=prod"),
        ("gitlab", gitlab, "project_path=acme/* ref_protected=true groups_direct=acme/*"),
        ("buildkite", buildkite, "organization_slug=acme pipeline_slug=app build_number=1"),
        ("google", google, "email=*@acme.iam.gserviceaccount.com email_verified=true"),
        ("kubernetes", kubernetes, "kubernetes.io.namespace=ci sub=system:serviceaccount:ci:*"),
    ]
}

#[tokio::test]
async fn tokens_of_the_shapes_that_issuers_sign() {
    for (name, mut claims, rule) in real_shapes() {
        for algorithm in [Algorithm::RS256, Algorithm::ES256] {
            let signer = Signer::new(algorithm, "a");
            let issuer = Issuer::start(&jwks(&[&signer]), Answers::Right).await;
            let (url, server) = (claims["iss"].as_str().expect("text").to_owned(), &issuer.url);
            let app = with(&format!(
                "[[access.issuers]]\nname = '{name}'\nurl = '{url}'\naudience = ['x', 'registry']\n\
                 jwks_url = '{server}/keys'\n[[access.rules]]\nsubject = 'issuer:{name} {rule}'\n\
                 repositories = 'acme/**'\nactions = 'pull'\n"
            ))
            .await;
            claims["exp"] = json!(now() + 300);
            claims["iat"] = json!(now());
            for aud in [json!("registry"), json!(["registry", "other"])] {
                claims["aud"] = aud;
                let token = signer.sign(&signer.header(), &claims);
                assert_eq!(status(&app, &token).await, LET_IN, "{name} {algorithm:?}");
            }
            // Each claim of the rule counts.
            for claim in rule.split(' ').filter_map(|claim| claim.split('=').next()) {
                let mut without = claims.clone();
                if claim == "kubernetes.io.namespace" {
                    without["kubernetes.io"]["namespace"] = json!("other");
                } else {
                    without[claim] = json!("other");
                }
                let token = signer.sign(&signer.header(), &without);
                assert_eq!(status(&app, &token).await, 403, "{name} {claim}");
            }
        }
    }
}

#[tokio::test]
async fn tokens_that_are_refused() {
    let signer = Signer::new(Algorithm::RS256, "a");
    let foreign = Signer::new(Algorithm::RS256, "a");
    let issuer = Issuer::start(&jwks(&[&signer]), Answers::Right).await;
    let other_signer = Signer::new(Algorithm::ES256, "b");
    let other = Issuer::start(&jwks(&[&other_signer]), Answers::Right).await;
    let (url, other_url) = (&issuer.url, &other.url);
    let app = with(&format!(
        "[[access.issuers]]\nname = 'ci'\nurl = '{url}'\naudience = 'registry'\n\
         required = ['repository=acme/**']\n\
         [[access.issuers]]\nname = 'other'\nurl = '{other_url}'\naudience = 'registry'\n{RULES}"
    ))
    .await;
    assert_eq!(status(&app, &issuer.token(&signer)).await, LET_IN);
    // A token of the other issuer is good, and is not one of the first.
    assert_eq!(status(&app, &other.token(&other_signer)).await, 403);

    let changed = |name: &str, value: Value| {
        let mut claims = issuer.claims();
        claims[name] = value;
        signer.sign(&signer.header(), &claims)
    };
    let part = |value: &Value| base64_url(value.to_string().as_bytes());
    let unsigned = |alg: &str| {
        format!("{}.{}.", part(&json!({ "alg": alg, "kid": "a" })), part(&issuer.claims()))
    };
    let secret = EncodingKey::from_secret(signer.pair.public_key_pem().as_bytes());
    let hmac = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &issuer.claims(), &secret);
    let mut own_key = serde_json::to_value(foreign.header()).expect("JSON");
    own_key["jwk"] = foreign.jwk();
    own_key["jku"] = json!("https://evil.test/jwks.json");
    let own_key = serde_json::from_value(own_key).expect("a header");
    for (what, token) in [
        ("another audience", changed("aud", json!("other"))),
        ("no audience", changed("aud", json!(null))),
        ("expired", changed("exp", json!(now() - 61))),
        ("no expiry", changed("exp", json!(null))),
        ("not valid yet", changed("nbf", json!(now() + 70))),
        ("no subject", changed("sub", json!(null))),
        ("an empty subject", changed("sub", json!(""))),
        ("a required claim", changed("repository", json!("evil/app"))),
        ("none", unsigned("none")),
        ("no signature", unsigned("RS256")),
        ("the public key as a secret", hmac.expect("a token")),
        ("a foreign key", foreign.sign(&foreign.header(), &issuer.claims())),
        ("a key in the header", foreign.sign(&own_key, &issuer.claims())),
        // Signed by one issuer, in the name of the other.
        ("confused", other_signer.sign(&other_signer.header(), &issuer.claims())),
        ("an issuer that is not known", changed("iss", json!("https://evil.test"))),
        ("almost the issuer", changed("iss", json!(format!("{}/", issuer.url)))),
    ] {
        assert_eq!(status(&app, &token).await, 401, "{what}");
        let reply = app.get("/v2/acme/app/manifests/v1").basic("oidc", &token).send().await;
        assert_eq!(reply.status, 401, "{what}, as a password");
    }
}

#[tokio::test]
async fn a_rotated_key_is_fetched_once_and_made_up_keys_cause_no_flood() {
    let (old, new) = (Signer::new(Algorithm::ES256, "a"), Signer::new(Algorithm::ES256, "b"));
    let issuer = Issuer::start(&jwks(&[&old]), Answers::Right).await;
    let app = registry(&issuer).await;
    assert_eq!(status(&app, &issuer.token(&old)).await, LET_IN);
    *issuer.keys.lock().expect("a lock") = jwks(&[&old, &new]);
    tokio::time::sleep(FETCH_PAUSE).await;
    assert_eq!((status(&app, &issuer.token(&new)).await, issuer.fetches()), (LET_IN, 2));
    assert_eq!(status(&app, &issuer.token(&old)).await, LET_IN);
    for number in 0..50 {
        let stranger = Signer::new(Algorithm::ES256, &format!("made-up-{number}"));
        assert_eq!(status(&app, &issuer.token(&stranger)).await, 401);
    }
    assert!(issuer.fetches() <= 3, "{}", issuer.fetches());
    // A key that the issuer has withdrawn is good for nothing.
    *issuer.keys.lock().expect("a lock") = jwks(&[&new]);
    tokio::time::sleep(FETCH_PAUSE).await;
    let stranger = Signer::new(Algorithm::ES256, "made-up");
    assert_eq!(status(&app, &issuer.token(&stranger)).await, 401);
    assert_eq!(status(&app, &issuer.token(&old)).await, 401);
    assert_eq!(status(&app, &issuer.token(&new)).await, LET_IN);
}

#[tokio::test]
async fn an_issuer_that_is_away() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let issuer = Issuer::start(&jwks(&[&signer]), Answers::Error).await;
    let app = registry(&issuer).await;
    // Nothing is known of the token.
    let reply = app.get("/v2/acme/app/manifests/v1").bearer(&issuer.token(&signer)).send().await;
    assert_eq!((reply.status.as_u16(), reply.headers.contains_key("retry-after")), (503, true));
    let reply = app.get("/v2/acme/app/manifests/v1").send().await;
    assert_eq!(reply.status, 401, "what needs no issuer");
    issuer.answer(Answers::Right);
    tokio::time::sleep(FETCH_PAUSE).await;
    assert_eq!(status(&app, &issuer.token(&signer)).await, LET_IN);
    // The last good keys are used on.
    issuer.answer(Answers::Error);
    tokio::time::sleep(FETCH_PAUSE).await;
    let stranger = Signer::new(Algorithm::ES256, "made-up");
    assert_eq!(status(&app, &issuer.token(&stranger)).await, 401);
    let mut claims = issuer.claims();
    claims["jti"] = json!("a token that was not verified before");
    assert_eq!(status(&app, &signer.sign(&signer.header(), &claims)).await, LET_IN);
}

#[tokio::test]
async fn answers_that_are_no_keys() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let wrong = [Answers::AsAnother, Answers::Elsewhere, Answers::Endlessly, Answers::Slowly];
    let asked = wrong.map(async |answers| {
        let issuer = Issuer::start(&jwks(&[&signer]), answers).await;
        let app = registry(&issuer).await;
        status(&app, &issuer.token(&signer)).await
    });
    let asked = futures_util::future::join_all(asked);
    assert_eq!(asked.await, [503; 4]);
}

#[tokio::test]
async fn keys_of_a_file_are_read_again() {
    let (old, new) = (Signer::new(Algorithm::ES256, "a"), Signer::new(Algorithm::ES256, "b"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    replace(&folder.path().join("keys"), &jwks(&[&old]));
    let text = format!(
        "[[access.issuers]]\nname = 'ci'\nurl = 'cluster'\naudience = 'registry'\n\
         jwks_file = '{{folder}}/keys'\n{RULES}"
    );
    let settings = settings(folder.path(), &text);
    let app = Guarded { app: App::over_memory(Arc::new(Memory::new()), settings).await, folder };
    let token = |signer: &Signer| {
        let claims = json!({
            "iss": "cluster", "sub": "job", "aud": "registry", "repository": "acme/app",
            "exp": now() + 300,
        });
        signer.sign(&signer.header(), &claims)
    };
    assert_eq!((status(&app, &token(&old)).await, status(&app, &token(&new)).await), (LET_IN, 401));
    replace(&app.folder.path().join("keys"), &jwks(&[&new]));
    super::noticed().await;
    assert_eq!((status(&app, &token(&old)).await, status(&app, &token(&new)).await), (401, LET_IN));
}
