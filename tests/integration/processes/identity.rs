//! Web identity: a token from a file is exchanged for credentials at STS, and these sign the
//! requests to S3 (AWS, `AssumeRoleWithWebIdentity` and "IAM roles for service accounts").

use std::sync::{Arc, Mutex};

use crate::s3_transport::{Fake, answer, request};
use crate::support::process::run;

/// The response of STS.
const ASSUMED: &str = "<AssumeRoleWithWebIdentityResponse \
    xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
    <Credentials><AccessKeyId>KEYOFSTS</AccessKeyId><SecretAccessKey>SECRETOFSTS</SecretAccessKey>\
    <SessionToken>TOKENOFSTS</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
    </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

/// STS and S3 at one address, and the headers of their requests. S3 refuses everything: only the
/// credentials matter.
async fn cloud() -> (Fake, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let heard = heads.clone();
    let fake = Fake::start(move |_, mut socket| {
        let heard = heard.clone();
        async move {
            let Some(head) = request(&mut socket).await else { return };
            let sts = head.starts_with("POST / ");
            heard.lock().expect("no panic").push(head);
            let denied = "<Error><Code>AccessDenied</Code></Error>";
            let (status, body) = if sts { ("200 OK", ASSUMED) } else { ("403 Forbidden", denied) };
            answer(&mut socket, status, "Content-Type: text/xml\r\n", body).await;
        }
    });
    (fake.await, heads)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_web_identity_of_a_pod_is_exchanged_for_credentials() {
    let (cloud, heads) = cloud().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "the token of the pod").expect("written");
    let (url, home) = (cloud.url(), folder.path().display().to_string());
    let token = token.display().to_string();
    let variables = [
        ("HOME", home.as_str()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/registry"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
        ("AWS_ENDPOINT_URL_STS", &url),
        ("AWS_ENDPOINT_URL_S3", &url),
        ("AWS_REGION", "eu-central-1"),
        // Remove the credentials of the environment, which would be used first.
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
        ("AWS_SESSION_TOKEN", ""),
    ];
    let ended = tokio::task::block_in_place(|| run(&["check", "--store", "s3://b"], &variables));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("403 AccessDenied"), "{}", ended.stderr);
    let heads = heads.lock().expect("no panic");
    let to_s3: Vec<&String> = heads.iter().filter(|head| !head.starts_with("POST / ")).collect();
    assert!(!to_s3.is_empty(), "{heads:?}");
    for head in to_s3 {
        let head = head.to_lowercase();
        assert!(head.contains("credential=keyofsts/"), "{head}");
        assert!(head.contains("x-amz-security-token: tokenofsts"), "{head}");
    }
    for secret in ["SECRETOFSTS", "TOKENOFSTS", "the token of the pod"] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
}
