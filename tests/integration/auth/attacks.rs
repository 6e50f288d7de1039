//! What a caller tries to get beyond its rights, in every way in: content of other repositories,
//! upload sessions of others, and tokens that it has made or that were made for something else.

use futures_util::{StreamExt as _, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::issuer::{Signer, base64_url, now};
use super::manifest;
use super::ways::{LoggedIn, REPOSITORIES, Rights, Scene, Way};
use crate::support::app::{OCI_INDEX, OCI_MANIFEST, image_manifest};
use crate::support::{bytes, sha256};

const ALL: &[&str] = &["pull", "push", "delete", "catalog"];
const RIGHTS: Rights<'static> = &[("mine/app", ALL), ("mine/other", ALL)];

/// What the caller must not see: a blob that is in its link, one that is a data object, and an
/// image of them with a referrer.
struct Secret {
    blobs: [String; 2],
    image: String,
    referrer: String,
}

impl Secret {
    async fn push(owner: &LoggedIn) -> Self {
        let contents = [bytes(1, 200), bytes(2, 100_000)];
        for content in &contents {
            let path = format!("/v2/secret/app/blobs/uploads/?digest={}", sha256(content));
            owner.request("POST", &path).body(content.clone()).send().await.expect(201);
        }
        let image = image_manifest(&contents[0], &contents[1..]);
        let subject = json!({
            "mediaType": OCI_MANIFEST, "digest": sha256(&image), "size": image.len(),
        });
        let mut referrer: Value = serde_json::from_slice(&manifest("secret")).expect("JSON");
        referrer["subject"] = subject;
        let referrer = referrer.to_string().into_bytes();
        for (body, kind) in [(&image, OCI_MANIFEST), (&referrer, OCI_INDEX)] {
            let path = format!("/v2/secret/app/manifests/{}", sha256(body));
            let put = owner.request("PUT", &path).header("content-type", kind);
            put.body(body.clone()).send().await.expect(201);
        }
        let blobs = contents.map(|content| sha256(&content));
        Self { blobs, image: sha256(&image), referrer: sha256(&referrer) }
    }
}

/// Asks for the secret in its own repository, and for its parts in the caller's.
async fn reads(scene: &Scene, caller: &LoggedIn, secret: &Secret) {
    let Secret { blobs: [small, large], image, referrer } = secret;
    let way = scene.way;
    for (method, path) in [
        ("GET", "tags/list".to_owned()),
        ("GET", format!("blobs/{small}")),
        ("HEAD", format!("blobs/{large}")),
        ("DELETE", format!("blobs/{large}")),
        ("GET", format!("manifests/{image}")),
        ("PUT", "manifests/v1".to_owned()),
        ("DELETE", format!("manifests/{image}")),
        ("GET", format!("referrers/{image}")),
        ("POST", "blobs/uploads/".to_owned()),
        ("POST", format!("blobs/uploads/?mount={small}&from=mine/app")),
        ("GET", "_oci/ext/discover".to_owned()),
    ] {
        let reply = caller.request(method, &format!("/v2/secret/app/{path}")).send().await;
        assert_eq!(reply.status.as_u16(), way.refusal(), "{way:?} {method} {path}");
    }
    for (method, path) in [
        ("GET", format!("blobs/{small}")),
        ("GET", format!("blobs/{large}")),
        ("HEAD", format!("blobs/{large}")),
        ("DELETE", format!("blobs/{large}")),
        ("GET", format!("manifests/{image}")),
        ("GET", format!("manifests/{referrer}")),
        ("DELETE", format!("manifests/{image}")),
    ] {
        let reply = caller.request(method, &format!("/v2/mine/app/{path}")).send().await;
        assert_eq!(reply.status, 404, "{way:?} {method} {path}: {reply:?}");
    }
    let path = format!("/v2/mine/app/referrers/{image}");
    let list = caller.request("GET", &path).send().await.expect(200).json();
    assert_eq!(list["manifests"], json!([]), "{way:?}");
}

/// Mounts the secret, and names it in manifests.
async fn mounts(scene: &Scene, caller: &LoggedIn, secret: &Secret) {
    let way = scene.way;
    for digest in &secret.blobs {
        for from in [
            "&from=secret/app",
            "",
            "&from=secret%2Fapp",
            "&from=mine/app&from=secret/app",
            "&from=secret/app&from=mine/app",
            "&from=mine/app/../../secret/app",
            "&from=SECRET/APP",
            "&from=secret/app%00",
        ] {
            let path = format!("/v2/mine/app/blobs/uploads/?mount={digest}{from}");
            let reply = caller.request("POST", &path).send().await;
            assert_eq!(reply.status, 202, "{way:?} {path}: {reply:?}");
        }
        let path = format!("/v2/mine/app/blobs/{digest}");
        assert_eq!(caller.request("HEAD", &path).send().await.status, 404, "{way:?} {digest}");
    }
    let image = image_manifest(&bytes(1, 200), &[bytes(2, 100_000)]);
    let put = caller.request("PUT", "/v2/mine/app/manifests/v1").body(image);
    put.header("content-type", OCI_MANIFEST)
        .send()
        .await
        .expect_error(400, "MANIFEST_BLOB_UNKNOWN");
    // An index may name what is not there, and makes nothing readable.
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{ "mediaType": OCI_MANIFEST, "digest": secret.image, "size": 1 }],
    });
    let put = caller.request("PUT", "/v2/mine/app/manifests/index").body(index.to_string());
    put.header("content-type", OCI_INDEX).send().await.expect(201);
    let path = format!("/v2/mine/app/manifests/{}", secret.image);
    caller.request("GET", &path).send().await.expect(404);
}

/// Continues and ends upload sessions of the owner, where they are and in another repository.
async fn sessions(scene: &Scene, caller: &LoggedIn) {
    let (way, owner) = (scene.way, &scene.owner);
    for repository in ["secret/app", "mine/app"] {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let start = owner.request("POST", &path).send().await.expect(202).location();
        let patch = owner.request("PATCH", &start).body(&b"of the owner"[..]);
        let location = patch.send().await.expect(202).location();
        let digest = sha256(b"of the owner");
        for at in REPOSITORIES {
            let here = location.replace(&format!("/v2/{repository}/"), &format!("/v2/{at}/"));
            let expected = if at.starts_with("mine/") { 404 } else { way.refusal() };
            for (method, path) in [
                ("GET", here.clone()),
                ("PATCH", here.clone()),
                ("PUT", format!("{here}?digest={digest}")),
                ("DELETE", here),
            ] {
                let reply = caller.request(method, &path).body(&b"x"[..]).send().await;
                assert_eq!(reply.status.as_u16(), expected, "{way:?} {method} {path}");
            }
        }
        let close = format!("{location}?digest={digest}");
        owner.request("PUT", &close).send().await.expect(201);
    }
    caller
        .request("HEAD", &format!("/v2/mine/other/blobs/{}", sha256(b"of the owner")))
        .send()
        .await
        .expect(404);
}

/// Spells the path of another repository in other ways, and names another caller in headers.
async fn spellings(scene: &Scene, caller: &LoggedIn) {
    let way = scene.way;
    for path in [
        "/v2/mine/app/../../secret/app/tags/list",
        "/v2/mine/app/%2e%2e/%2e%2e/secret/app/tags/list",
        "/v2/mine/app/..%2f..%2fsecret/app/tags/list",
        "/v2/mine/app/manifests/../../../secret/app/tags/list",
        "/v2//secret/app/tags/list",
        "/v2/./secret/app/tags/list",
        "/v2/secret%2fapp/tags/list",
        "/v2/SECRET/app/tags/list",
        "/V2/secret/app/tags/list",
        "/v2/secret/app/tags/list/",
        "/v2/mine/app;/../secret/app/tags/list",
        "/v2/secret%00/app/tags/list",
        "/v2/secret/app/tags/list?name=mine/app",
    ] {
        let reply = caller.request("GET", path).send().await;
        assert!(reply.status.is_client_error(), "{way:?} {path}: {reply:?}");
    }
    for (name, value) in [
        ("x-forwarded-user", "owner"),
        ("x-remote-user", "owner"),
        ("remote-user", "owner"),
        ("x-original-url", "/v2/mine/app/tags/list"),
        ("x-rewrite-url", "/v2/mine/app/tags/list"),
        ("x-original-uri", "/v2/mine/app/tags/list"),
        ("x-ssl-client-verify", "SUCCESS"),
        ("x-ssl-client-s-dn", "CN=owner"),
        ("x-forwarded-client-cert", "Subject=\"CN=owner\""),
        ("proxy-authorization", "Basic b3duZXI6b3duZXItcHc="),
        ("cookie", "authorization=Basic b3duZXI6b3duZXItcHc="),
    ] {
        let request = caller.request("GET", "/v2/secret/app/tags/list").header(name, value);
        assert_eq!(request.send().await.status.as_u16(), way.refusal(), "{way:?} {name}");
    }
    // Two credentials: either could be the one that counts.
    if caller.authorization.is_some() {
        let owner = scene.owner.authorization.as_deref().expect("credentials");
        let two = caller.request("GET", "/v2/secret/app/tags/list");
        assert_eq!(two.header("authorization", owner).send().await.status, 401, "{way:?}");
    }
}

/// Lists the catalog in pages: neither the names nor the links say what is hidden.
async fn catalog(scene: &Scene, caller: &LoggedIn) {
    // The catalog in the list of a token server is all of it.
    if scene.way == Way::TokenServer {
        return;
    }
    let (mut names, mut next) = (Vec::new(), Some("/v2/_catalog?n=1".to_owned()));
    while let Some(path) = next {
        let page = caller.request("GET", &path).send().await.expect(200);
        let listed = page.json()["repositories"].as_array().expect("names").clone();
        names.extend(listed.iter().map(|name| name.as_str().expect("a name").to_owned()));
        next = page.next();
        assert!(!next.as_deref().unwrap_or_default().contains("secret"), "{next:?}");
    }
    assert_eq!(names, ["mine/app"], "{:?}", scene.way);
}

async fn attacks(way: Way) {
    let scene = Scene::start(way, "mallory", RIGHTS).await;
    let caller = scene.log_in(&REPOSITORIES).await;
    let secret = Secret::push(&scene.owner).await;
    reads(&scene, &caller, &secret).await;
    mounts(&scene, &caller, &secret).await;
    sessions(&scene, &caller).await;
    spellings(&scene, &caller).await;
    catalog(&scene, &caller).await;
    // Nothing of it has changed the secret.
    for path in [
        format!("blobs/{}", secret.blobs[0]),
        format!("blobs/{}", secret.blobs[1]),
        format!("manifests/{}", secret.image),
        format!("manifests/{}", secret.referrer),
    ] {
        let path = format!("/v2/secret/app/{path}");
        scene.owner.request("GET", &path).send().await.expect(200);
    }
}

async fn in_every_way<F: Future<Output = ()>>(attempt: impl Fn(Way) -> F) {
    let all: Vec<F> = Way::ALL.into_iter().map(attempt).collect();
    stream::iter(all).buffer_unordered(6).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_caller_reaches_more_than_its_rights_in_any_way_in() {
    in_every_way(attacks).await;
}

fn part(value: &Value) -> String {
    base64_url(value.to_string().as_bytes())
}

fn read(part: &str) -> Value {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Tokens made of a good one, with the key that has signed it where `key` signs.
fn forgeries(token: &str, key: &Signer) -> Vec<(String, String)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let claims = read(payload);
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let signed = |name: &str, value: Value| key.sign(&key.header(), &changed(name, value));
    let mut forged = vec![
        (
            "a later end",
            format!("{header}.{}.{signature}", part(&changed("exp", json!(now() + 9_999)))),
        ),
        ("another name", format!("{header}.{}.{signature}", part(&changed("sub", json!("owner"))))),
        ("no signature", format!("{header}.{payload}.")),
        ("two parts", format!("{header}.{payload}")),
        ("a fourth part", format!("{token}.{signature}")),
        ("another signature", format!("{header}.{payload}.{}", base64_url(&[7; 64]))),
        ("an empty signature of zeros", format!("{header}.{payload}.{}", base64_url(&[0; 64]))),
        ("expired", signed("exp", json!(now() - 61))),
        ("no end", signed("exp", Value::Null)),
        ("an end that is no number", signed("exp", json!("tomorrow"))),
        ("not valid yet", signed("nbf", json!(now() + 90))),
        ("another audience", signed("aud", json!("other"))),
        ("no audience", signed("aud", Value::Null)),
        ("the audience of refresh tokens", signed("aud", json!("longshore-refresh"))),
        ("another issuer", signed("iss", json!("https://evil.test"))),
        ("no issuer", signed("iss", Value::Null)),
    ];
    for alg in ["none", "None", "NONE", ""] {
        let header = part(&json!({ "alg": alg, "typ": "JWT", "kid": key.id }));
        forged.push(("unsigned", format!("{header}.{payload}.")));
        forged.push(("unsigned, with a signature", format!("{header}.{payload}.{signature}")));
    }
    let public = [key.pair.public_key_pem().into_bytes(), key.pair.public_key_raw().to_vec()];
    for secret in public {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.kid = Some(key.id.clone());
            let secret = EncodingKey::from_secret(&secret);
            let token = jsonwebtoken::encode(&header, &claims, &secret).expect("a token");
            forged.push(("the public key as a secret", token));
        }
    }
    // The same name of a key, and other keys, one of them in the header.
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let foreign = Signer::new(algorithm, &key.id);
        forged.push(("a foreign key", foreign.sign(&foreign.header(), &claims)));
        let mut header = serde_json::to_value(foreign.header()).expect("JSON");
        header["jwk"] = foreign.jwk();
        header["jku"] = json!("https://evil.test/jwks.json");
        let header = serde_json::from_value(header).expect("a header");
        forged.push(("a key in the header", foreign.sign(&header, &claims)));
    }
    forged.into_iter().map(|(what, token)| (what.to_owned(), token)).collect()
}

async fn forges(way: Way) {
    if matches!(way, Way::Anonymous | Way::Password | Way::Certificate) {
        return;
    }
    let scene = Scene::start(way, "mallory", RIGHTS).await;
    let other = Scene::start(way, "mallory", RIGHTS).await;
    let good = scene.shown(&REPOSITORIES).await.expect("a token");
    let list = "/v2/mine/app/tags/list";
    let status = async |token: &str| scene.showing(token).request("GET", list).send().await.status;
    // It is verified, and remembered, before and after.
    assert_eq!(status(&good).await, 404, "{way:?}");
    let key = scene.key().await;
    let claims = read(good.split('.').nth(1).expect("claims"));
    assert_eq!(status(&key.sign(&key.header(), &claims)).await, 404, "{way:?}: the key signs");
    for (what, token) in forgeries(&good, &key) {
        assert_eq!(status(&token).await, 401, "{way:?}: {what}");
        // Also where nothing is asked of the caller.
        let ping = scene.showing(&token).request("GET", "/v2/").send().await;
        assert_eq!(ping.status, 401, "{way:?}: {what}");
    }
    // The same service at another registry: its keys differ.
    let foreign = other.shown(&REPOSITORIES).await.expect("a token");
    assert_eq!(status(&foreign).await, 401, "{way:?}: of another registry");
    assert_eq!(status(&good).await, 404, "{way:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_tokens_are_refused_in_every_way_in() {
    in_every_way(forges).await;
}

/// A token is good for what it was asked for, whatever else its bearer may do, and is not exchanged
/// for a better one.
async fn reuses(way: Way) {
    if !way.has_registry_token() && way != Way::TokenServer {
        return;
    }
    let scene = Scene::start(way, "mallory", RIGHTS).await;
    let narrow = scene.log_in(&["mine/app"]).await;
    for (method, path, expected) in [
        ("GET", "/v2/mine/app/tags/list", 404),
        ("GET", "/v2/mine/other/tags/list", 401),
        ("POST", "/v2/mine/other/blobs/uploads/", 401),
        ("DELETE", "/v2/mine/other/manifests/v1", 401),
    ] {
        // Where the rules let anonymous callers in, a token takes nothing away.
        let expected =
            if way == Way::AnonymousToken && expected == 401 { None } else { Some(expected) };
        let reply = narrow.request(method, path).send().await;
        if let Some(expected) = expected {
            assert_eq!(reply.status, expected, "{way:?} {method} {path}");
        }
    }
    let token = scene.shown(&["mine/app"]).await.expect("a token");
    let form = async |text: String| {
        scene.with(None).request("POST", "/auth/token").body(text).send().await
    };
    let mut used = vec![
        ("a bearer token", scene.showing(&token).request("GET", "/auth/token").send().await),
        ("a refresh token", form(format!("grant_type=refresh_token&refresh_token={token}")).await),
    ];
    for user in ["mallory", "oidc", "owner"] {
        let header = Some(super::basic_header(user, &token));
        for path in ["/auth/token", "/v2/"] {
            used.push(("a password", scene.with(header.clone()).request("GET", path).send().await));
        }
        let text = format!("grant_type=password&username={user}&password={token}");
        used.push(("a password in a form", form(text).await));
    }
    for (what, reply) in used {
        let refused = if way == Way::TokenServer { [401, 404] } else { [401, 401] };
        assert!(refused.contains(&reply.status.as_u16()), "{way:?} as {what}: {reply:?}");
        assert!(!reply.body_text().contains("\"token\""), "{way:?} as {what}");
    }
    if way == Way::RefreshedToken {
        let refresh = scene.refresh_token().await;
        let other = Scene::start(way, "mallory", RIGHTS).await;
        let text = format!("grant_type=refresh_token&refresh_token={refresh}");
        let elsewhere = other.with(None);
        elsewhere.request("POST", "/auth/token").body(text).send().await.expect(401);
        let bearer = scene.showing(&refresh);
        for path in ["/v2/", "/v2/mine/app/tags/list", "/auth/token"] {
            bearer.request("GET", path).send().await.expect(401);
        }
        let header = Some(super::basic_header("mallory", &refresh));
        scene.with(header).request("GET", "/v2/").send().await.expect(401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_only_for_what_it_was_asked_for() {
    in_every_way(reuses).await;
}

/// The token of an issuer is no refresh token, and no token of the registry.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_is_no_refresh_token() {
    let scene = Scene::start(Way::Identity, "mallory", RIGHTS).await;
    let token = scene.shown(&[]).await.expect("a token");
    let text = format!("grant_type=refresh_token&refresh_token={token}");
    scene.with(None).request("POST", "/auth/token").body(text).send().await.expect(401);
    // Signed by the issuer, in the name of the registry.
    let key = scene.key().await;
    let mut claims = read(token.split('.').nth(1).expect("claims"));
    claims["iss"] = json!("longshore");
    claims["aud"] = json!("longshore");
    claims["login"] = json!("password");
    claims["sub"] = json!("owner");
    let forged = key.sign(&key.header(), &claims);
    scene.showing(&forged).request("GET", "/v2/").send().await.expect(401);
}
