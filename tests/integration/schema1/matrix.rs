//! Fifteen `Accept` headers, five types, by tag and by digest, for each mode.

use std::fmt::Write as _;

use super::*;

/// The `Accept` header of a request. Several entries are several headers, or one list.
const ACCEPTS: [(&str, &[&str]); 15] = [
    ("none", &[]),
    ("*/*", &["*/*"]),
    ("application/*", &["application/*"]),
    ("json", &["application/json"]),
    ("S1", &[UNSIGNED]),
    ("S1P", &[SIGNED]),
    ("S2", &[DOCKER_MANIFEST]),
    ("ML", &[DOCKER_LIST]),
    ("OM", &[OCI_MANIFEST]),
    ("OI", &[OCI_INDEX]),
    ("S2+ML", &[DOCKER_MANIFEST, DOCKER_LIST]),
    ("OM+OI", &[OCI_MANIFEST, OCI_INDEX]),
    (
        "S1P,S2",
        &["application/vnd.docker.distribution.manifest.v1+prettyjws, \
         application/vnd.docker.distribution.manifest.v2+json"],
    ),
    ("S2;q,*/*;q", &["application/vnd.docker.distribution.manifest.v2+json;q=0.5, */*;q=0.1"]),
    ("all six", &[UNSIGNED, SIGNED, DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX]),
];

/// Each stored type, and its tag.
const STORED: [&str; 5] = ["S1", "S2", "ML", "OM", "OI"];

const OCI: &str = "
accept           S1         S2         ML         OM         OI
none             S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
*/*              S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
application/*    S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
json             S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
S1               S1P/S1P    S2/S2      ML/ML      404/404    404/404
S1P              S1P/S1P    S2/S2      ML/ML      404/404    404/404
S2               S1P/S1P    S2/S2      S2/ML      404/404    404/404
ML               S1P/S1P    S2/S2      ML/ML      404/404    404/404
OM               S1P/S1P    S2/S2      ML/ML      OM/OM      404/404
OI               S1P/S1P    S2/S2      ML/ML      404/404    OI/OI
S2+ML            S1P/S1P    S2/S2      ML/ML      404/404    404/404
OM+OI            S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
S1P,S2           S1P/S1P    S2/S2      S2/ML      404/404    404/404
S2;q,*/*;q       S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
all six          S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
";

const DOCKER_LEGACY: &str = "
accept           S1         S2         ML         OM         OI
none             S1P/S1P    S1P/S2     S1P/ML     404/404    404/404
*/*              S1P/S1P    S1P/S2     S1P/ML     404/404    404/404
application/*    S1P/S1P    S1P/S2     S1P/ML     404/404    404/404
json             S1P/S1P    S1P/S2     S1P/ML     404/404    404/404
S1               S1P/S1P    S1P/S2     S1P/ML     404/404    404/404
S1P              S1P/S1P    S1P/S2     S1P/ML     404/404    404/404
S2               S1P/S1P    S2/S2      S2/ML      404/404    404/404
ML               S1P/S1P    S1P/S2     ML/ML      404/404    404/404
OM               S1P/S1P    S1P/S2     S1P/ML     OM/OM      404/404
OI               S1P/S1P    S1P/S2     S1P/ML     404/404    OI/OI
S2+ML            S1P/S1P    S2/S2      ML/ML      404/404    404/404
OM+OI            S1P/S1P    S1P/S2     S1P/ML     OM/OM      OI/OI
S1P,S2           S1P/S1P    S2/S2      S2/ML      404/404    404/404
S2;q,*/*;q       S1P/S1P    S2/S2      S2/ML      404/404    404/404
all six          S1P/S1P    S2/S2      ML/ML      OM/OM      OI/OI
";

fn code(media_type: &str) -> &str {
    match media_type {
        SIGNED => "S1P",
        DOCKER_MANIFEST => "S2",
        DOCKER_LIST => "ML",
        OCI_MANIFEST => "OM",
        OCI_INDEX => "OI",
        other => panic!("unexpected manifest {other}"),
    }
}

/// Pushes one manifest of each type with its code as the tag. Returns their digests in the same
/// order.
async fn store_all(app: &App, repository: &str) -> Vec<String> {
    app.push_blob(repository, &EMPTY_LAYER).await;
    app.put_document(repository, "S1", SIGNED, DOCUMENT).await.expect(201);
    let schema2 = app.push_schema2(repository, "S2").await;
    let (oci, image) = app.push_image(repository, "OM", 1).await;
    let other = descriptor(OCI_MANIFEST, str::from_utf8(&image).expect("text"), Some("arm64"));
    let children = [other, descriptor(DOCKER_MANIFEST, SCHEMA2, Some("amd64"))];
    let mut digests = vec![sha256(payload(DOCUMENT).as_bytes()), schema2];
    for (tag, media_type) in [("ML", DOCKER_LIST), ("OI", OCI_INDEX)] {
        let body = list(media_type, &children);
        digests.push(sha256(body.as_bytes()));
        app.put_document(repository, tag, media_type, body).await.expect(201);
    }
    digests.insert(3, oci);
    digests
}

/// The response in the notation of the table, after checks of its headers and body.
async fn cell(app: &App, repository: &str, reference: &str, accept: &[&str]) -> String {
    let got = app.get_manifest(repository, reference, accept).await;
    let path = format!("/v2/{repository}/manifests/{reference}");
    let head = accept.iter().fold(app.request("HEAD", &path), |head, t| head.header("accept", t));
    let head = head.send().await;
    let names = ["content-type", "content-length", "docker-content-digest", "etag", "vary"];
    for name in names {
        assert_eq!(got.header(name), head.header(name), "{name} of HEAD {reference} {accept:?}");
    }
    assert_eq!(got.header("vary"), Some("Accept"), "{got:?}");
    if got.status.as_u16() == 404 {
        let reply = got.expect_error(404, "MANIFEST_UNKNOWN");
        let message = reply.json()["errors"][0]["message"].to_string();
        assert!(message.contains("application/vnd.oci.image"), "{message}");
        return "404".to_owned();
    }
    let got = got.expect(200);
    let code = code(got.header("content-type").expect("a type")).to_owned();
    let text = str::from_utf8(&got.body).expect("text");
    let digest = match code.as_str() {
        "S1P" => sha256(payload(text).as_bytes()),
        _ => sha256(text.as_bytes()),
    };
    assert_eq!(got.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(got.header("etag"), Some(format!("\"{digest}\"").as_str()));
    if reference.contains(':') {
        assert_eq!(reference, digest, "by digest nothing is exchanged");
    }
    code
}

async fn table(app: &App) -> String {
    let repository = app.repository("matrix");
    let digests = store_all(app, &repository).await;
    let mut table = format!("\n{:<17}", "accept");
    table.push_str(&STORED.map(|stored| format!("{stored:<11}")).concat());
    for (name, accept) in ACCEPTS {
        write!(table, "\n{name:<17}").expect("fits");
        for (tag, digest) in STORED.iter().zip(&digests) {
            let by_tag = cell(app, &repository, tag, accept).await;
            let by_digest = cell(app, &repository, digest, accept).await;
            write!(table, "{:<11}", format!("{by_tag}/{by_digest}")).expect("fits");
        }
    }
    let lines = table.lines().map(str::trim_end);
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[tokio::test]
async fn every_type_with_every_accept_header_in_oci_mode() {
    let Some(app) = taking().await else { return };
    assert_eq!(table(&app).await, OCI);
}

#[tokio::test]
async fn every_type_with_every_accept_header_in_docker_mode() {
    let Some(app) = legacy().await else { return };
    assert_eq!(table(&app).await, DOCKER_LEGACY);
}
