//! `longshore credential-provider`, as the kubelet runs it.

use std::io::Write as _;
use std::process::{Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::process::command;

fn ask(request: &str) -> Output {
    let mut child = command(&["credential-provider"], &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    // A program that has read enough closes its end.
    let _ = input.write_all(request.as_bytes());
    drop(input);
    child.wait_with_output().expect("it ends")
}

fn request(token: &str) -> String {
    json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "kind": "CredentialProviderRequest",
        "image": "registry.example.com/team/app:v1",
        "serviceAccountToken": token,
    })
    .to_string()
}

#[test]
fn the_kubelet_gets_the_token_as_a_password() {
    // The end of the year 2100.
    let claims = URL_SAFE_NO_PAD.encode("{\"exp\": 4133980799}");
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2VjcmV0");
    let ended = ask(&request(&token));
    assert!(ended.status.success(), "{ended:?}");
    let response: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let login = &response["auth"]["registry.example.com"];
    assert_eq!(*login, json!({"username": "oidc", "password": token}));
    assert_eq!(response["cacheDuration"], "3600s");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn without_a_response_it_fails_and_says_why() {
    let secret = "s3cret";
    for (request, said) in [
        (String::new(), "only the kubelet runs this command"),
        (request(""), "tokenAttributes"),
        (request(&format!("a.{secret}.c")), "no JWT"),
        (format!("{}{}", request(secret), " ".repeat(300_000)), "longer than 262144 bytes"),
    ] {
        let ended = ask(&request);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let stderr = String::from_utf8(ended.stderr).expect("text");
        assert!(stderr.starts_with("longshore: ") && stderr.contains(said), "{stderr}");
        assert!(ended.stdout.is_empty() && !stderr.contains(secret), "{stderr}");
    }
}
