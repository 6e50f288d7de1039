//! Registry tokens for clients with a certificate.

use http_body_util::{BodyExt as _, Empty};

use super::{Authority, client, registry};

/// A certificate is a login of the token service, also where it is the only one. The token says no
/// more than the certificate: the rules are for its name.
#[tokio::test]
async fn a_certificate_is_exchanged_for_a_token() {
    let ours = Authority::new("ours");
    let registry = registry(&ours, "", "").await;
    let nameless = client(&registry, None, "http/1.1");
    let known = client(&registry, Some(&ours.issue(|_| {})), "http/1.1");

    let to = |method: &str, path: &str, token: Option<&str>| {
        let uri = format!("https://localhost{path}");
        let mut request =
            http::Request::builder().method(method).uri(uri).header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Empty::new()).expect("a request")
    };
    let challenged = registry.send(&nameless, to("GET", "/v2/", None)).await.expect("an answer");
    assert_eq!(challenged.status(), 401);
    let challenge = challenged.headers()["www-authenticate"].to_str().expect("text").to_owned();
    assert!(challenge.starts_with("Bearer realm=\"https://localhost/auth/token\""), "{challenge}");

    let path = "/auth/token?service=longshore&scope=repository:ci/app:pull,push";
    let token = async |client| {
        let answer = registry.send(client, to("GET", path, None)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        body["token"].as_str().expect("a token").to_owned()
    };
    let status = async |method, path, token: &str| {
        let answer = registry.send(&nameless, to(method, path, Some(token))).await;
        answer.expect("an answer").status().as_u16()
    };
    let (of_certificate, anonymous) = (token(&known).await, token(&nameless).await);
    let (tags, upload) = ("/v2/ci/app/tags/list", "/v2/ci/app/blobs/uploads/");
    assert_eq!(status("GET", tags, &of_certificate).await, 404);
    assert_eq!(status("POST", upload, &of_certificate).await, 403, "the rules allow to pull");
    assert_eq!(status("GET", "/v2/other/app/tags/list", &of_certificate).await, 403);
    assert_eq!(status("GET", tags, &anonymous).await, 401);
    // Nothing else could help a client with a certificate.
    let upload = registry.send(&known, to("POST", upload, None)).await.expect("an answer");
    assert_eq!(upload.status(), 403);
}
