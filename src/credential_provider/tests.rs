use serde_json::Value;

use super::*;

const NOW: u64 = 1_800_000_000;

fn token(claims: &Value) -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{}.c2VjcmV0", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// A token that is valid for so many seconds.
fn valid_for(seconds: u64) -> String {
    token(&json!({"iss": "https://kubernetes.default.svc", "exp": NOW + seconds}))
}

fn request(image: &str, token: &str) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "CredentialProviderRequest",
        "image": image,
        "serviceAccountToken": token,
        "serviceAccountAnnotations": {"example.com/team": "ci"},
    })
}

fn ask(request: &Value) -> Result<Value, Error> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let response = respond(request.to_string().as_bytes(), now)?;
    Ok(serde_json::from_str(&response).expect("JSON"))
}

#[test]
fn the_token_is_the_password_for_the_registry_of_the_image() {
    let token = valid_for(3600);
    for (image, registry) in [
        ("registry.example.com/team/app:v1", "registry.example.com"),
        ("registry.example.com:5000/app@sha256:00", "registry.example.com:5000"),
        ("localhost/app", "localhost"),
        ("[::1]:5000/app", "[::1]:5000"),
    ] {
        let expected = json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderResponse",
            "cacheKeyType": "Registry",
            "cacheDuration": "3540s",
            "auth": {registry: {"username": "oidc", "password": token}},
        });
        assert_eq!(ask(&request(image, &token)), Ok(expected));
    }
}

#[test]
fn a_response_is_kept_no_longer_than_its_token_is_valid() {
    for (seconds, kept) in
        [(1, "0s"), (60, "0s"), (61, "1s"), (600, "540s"), (3660, "3600s"), (86_400, "3600s")]
    {
        let response = ask(&request("registry.example.com/app", &valid_for(seconds)));
        assert_eq!(response.expect("a response")["cacheDuration"], kept, "{seconds}");
    }
}

#[test]
fn what_is_wrong_is_said_without_the_token() {
    let image = "registry.example.com/app";
    let mut other_version = request(image, &valid_for(60));
    other_version["apiVersion"] = json!("credentialprovider.kubelet.k8s.io/v1beta1");
    let mut other_kind = request(image, &valid_for(60));
    other_kind["kind"] = json!("Pod");
    let mut no_image = request(image, &valid_for(60));
    no_image["image"] = json!({"name": valid_for(60)});
    let mut wrong_type = request(image, "");
    wrong_type["serviceAccountToken"] = json!([valid_for(60)]);
    let never_ends = token(&json!({"sub": "secret"}));
    let cases = [
        (other_version, "v1beta1"),
        (other_kind, "Pod"),
        (no_image, "line 1, column"),
        (wrong_type, "line 1, column"),
        (json!({}), "line 1, column"),
        (request("busybox", &valid_for(60)), "\"busybox\" names no registry"),
        (request("library/busybox", &valid_for(60)), "names no registry"),
        (request("evil\"host.com/app", &valid_for(60)), "names no registry"),
        (request(image, ""), "tokenAttributes"),
        (request(image, "secret"), "no JWT"),
        (request(image, "a.secret.c"), "no JWT"),
        (request(image, &format!("{}.secret", valid_for(60))), "no JWT"),
        (request(image, &never_ends), "no JWT"),
        (request(image, &token(&json!({"exp": u64::MAX, "sub": "secret"}))), "no JWT"),
        (request(image, &valid_for(0)), "expired"),
    ];
    for (request, expected) in cases {
        let error = ask(&request).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret") && !error.contains("eyJ"), "{error}");
    }
}

#[test]
fn a_long_request_is_refused() {
    let long = vec![b' '; usize::try_from(REQUEST_BYTES_MAX).expect("it fits") + 1];
    assert_eq!(respond(&long, SystemTime::UNIX_EPOCH), Err(Error::TooLong));
    assert_eq!(respond(b"", SystemTime::UNIX_EPOCH), Err(Error::Malformed { line: 1, column: 0 }));
}
