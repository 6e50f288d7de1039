//! distribution-spec, "Content Discovery", "Listing Referrers" (end-12), and "Pushing Manifests
//! with Subject" (end-7).

use serde_json::{Value, json};

use crate::support::app::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{NOWHERE, artifact, descriptor, image, index, skip, spelled};
use crate::support::{App, Reply, sha256, sha512};

async fn referrers(app: &App, repository: &str, subject: &str, query: &str) -> Reply {
    let reply = app.get(&format!("/v2/{repository}/referrers/{subject}{query}")).send().await;
    reply.expect(200).with("content-type", OCI_INDEX)
}

/// Asserts the whole list, in any order.
#[track_caller]
fn assert_list(reply: &Reply, mut descriptors: Vec<Value>) {
    descriptors.sort_by_key(|descriptor| descriptor["digest"].as_str().map(str::to_owned));
    let expected = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors });
    assert_eq!(reply.json(), expected, "{reply:?}");
}

/// The descriptor of an artifact in the list.
fn listed(body: &[u8], media_type: &str, artifact_type: &str, annotations: &Value) -> Value {
    let mut descriptor = descriptor(media_type, body);
    descriptor["artifactType"] = json!(artifact_type);
    descriptor["annotations"] = annotations.clone();
    descriptor
}

async fn push(app: &App, repository: &str, media_type: &str, document: &Value) -> Vec<u8> {
    let body = spelled(document);
    let reply = app.put_manifest(repository, &sha256(&body), media_type, &body).await.expect(201);
    let subject = document["subject"]["digest"].as_str().expect("a subject");
    reply.with("oci-subject", subject);
    body
}

/// The artifact type of an image is `artifactType` or the type of its config; that of an index only
/// `artifactType`.
#[tokio::test]
async fn images_and_indexes_with_a_subject_are_listed() {
    let app = App::start().await;
    let repository = app.repository("referrers");
    let (digest, subject) = app.push_small(&repository, "v1", 1).await;
    let subject = descriptor(OCI_MANIFEST, &subject);
    let none = json!({});

    let plain = artifact("application/x.plain", &subject, 1);
    let mut by_config = image(OCI_MANIFEST, 1);
    by_config["subject"] = subject.clone();
    let mut empty_type = by_config.clone();
    empty_type["artifactType"] = json!("");
    empty_type["annotations"] = none.clone();
    let mut typed_index = index(OCI_INDEX, &[]);
    typed_index["subject"] = subject.clone();
    typed_index["artifactType"] = json!("application/x.index");
    typed_index["annotations"] = json!({ "a": "b" });
    let mut bare_index = index(OCI_INDEX, &[]);
    bare_index["subject"] = subject;

    let config = "application/vnd.oci.image.config.v1+json";
    let mut expected = Vec::new();
    let body = push(&app, &repository, OCI_MANIFEST, &plain).await;
    expected.push(listed(&body, OCI_MANIFEST, "application/x.plain", &json!({ "seed": "1" })));
    let body = push(&app, &repository, OCI_MANIFEST, &by_config).await;
    let mut descriptor_of_image = descriptor(OCI_MANIFEST, &body);
    descriptor_of_image["artifactType"] = json!(config);
    expected.push(descriptor_of_image);
    let body = push(&app, &repository, OCI_MANIFEST, &empty_type).await;
    expected.push(listed(&body, OCI_MANIFEST, config, &none));
    let body = push(&app, &repository, OCI_INDEX, &typed_index).await;
    expected.push(listed(&body, OCI_INDEX, "application/x.index", &json!({ "a": "b" })));
    let body = push(&app, &repository, OCI_INDEX, &bare_index).await;
    expected.push(descriptor(OCI_INDEX, &body));
    assert_list(&referrers(&app, &repository, &digest, "").await, expected);
}

/// `OCI-Subject` also on a push by tag, and only with a subject.
#[tokio::test]
async fn a_push_returns_the_oci_subject_header() {
    let app = App::start().await;
    let repository = app.repository("confirmed");
    app.push_parts(&repository, 1).await;
    let subject = descriptor(OCI_MANIFEST, b"anything");
    let body = spelled(&artifact("application/x", &subject, 1));
    let reply = app.put_manifest(&repository, "v1", OCI_MANIFEST, &body).await.expect(201);
    reply.with("oci-subject", &sha256(b"anything"));
    let body = spelled(&image(OCI_MANIFEST, 1));
    let reply = app.put_manifest(&repository, "v2", OCI_MANIFEST, &body).await.expect(201);
    reply.without("oci-subject");
}

#[tokio::test]
async fn the_artifact_type_filter_is_applied() {
    let app = App::start().await;
    let repository = app.repository("filter");
    let (digest, subject) = app.push_small(&repository, "v1", 1).await;
    let subject = descriptor(OCI_MANIFEST, &subject);
    let mut of_a = Vec::new();
    let mut all = Vec::new();
    for (seed, kind) in
        ["application/a+json", "application/b", "application/a+json", "application/a"]
            .into_iter()
            .enumerate()
    {
        let body =
            push(&app, &repository, OCI_MANIFEST, &artifact(kind, &subject, seed as u64)).await;
        let row = listed(&body, OCI_MANIFEST, kind, &json!({ "seed": seed.to_string() }));
        if kind == "application/a+json" {
            of_a.push(row.clone());
        }
        all.push(row);
    }
    // A plus sign is literal in a path and in a query; only in forms it means a space.
    for filter in ["application/a+json", "application%2Fa%2Bjson"] {
        let query = format!("?artifactType={filter}");
        let reply = referrers(&app, &repository, &digest, &query).await;
        assert_list(&reply, of_a.clone());
        reply.with("oci-filters-applied", "artifactType").without("link");
    }
    let reply = referrers(&app, &repository, &digest, "?artifactType=application/none").await;
    assert_list(&reply, Vec::new());
    reply.with("oci-filters-applied", "artifactType");
    for query in ["", "?artifactType="] {
        let reply = referrers(&app, &repository, &digest, query).await;
        assert_list(&reply, all.clone());
        reply.without("oci-filters-applied");
    }
}

/// The link to the next page has the same filter.
#[tokio::test]
async fn the_next_link_keeps_the_filter() {
    let app = App::start().await;
    let repository = app.repository("pages");
    let (digest, subject) = app.push_small(&repository, "v1", 1).await;
    let subject = descriptor(OCI_MANIFEST, &subject);
    let mut expected = [Vec::new(), Vec::new()];
    for seed in 0..11 {
        let kind = if seed % 3 == 0 { "application/x+1" } else { "application/y" };
        let body = push(&app, &repository, OCI_MANIFEST, &artifact(kind, &subject, seed)).await;
        expected[0].push(sha256(&body));
        if seed % 3 == 0 {
            expected[1].push(sha256(&body));
        }
    }
    for digests in &mut expected {
        digests.sort_unstable();
    }
    for (query, expected) in [("", &expected[0]), ("&artifactType=application/x%2B1", &expected[1])]
    {
        for count in [1, 2, 5, 11, 50] {
            let mut found = Vec::new();
            let mut next = Some(format!("/v2/{repository}/referrers/{digest}?n={count}{query}"));
            let mut pages = 0;
            while let Some(path) = next {
                assert_eq!(path.contains("&artifactType=application/x%2B1"), !query.is_empty());
                let page = app.get(&path).send().await.expect(200).with("content-type", OCI_INDEX);
                assert_eq!(page.header("oci-filters-applied").is_some(), !query.is_empty());
                let json = page.json();
                let rows = json["manifests"].as_array().expect("manifests");
                assert!(rows.len() <= count, "{page:?}");
                found.extend(
                    rows.iter().filter_map(|row| row["digest"].as_str()).map(str::to_owned),
                );
                next = page.next();
                pages += 1;
                assert!(pages <= 12, "pages of {count} have no end");
            }
            assert_eq!(&found, expected, "pages of {count}");
            assert!(pages <= 11_usize.div_ceil(count), "{pages} pages of {count}");
        }
    }
    let path = format!("/v2/{repository}/referrers/{digest}");
    // As without `n`.
    let default = app.get(&path).send().await.expect(200);
    app.get(&format!("{path}?n=")).send().await.expect(200).with_body(&default.body);
    for bad in ["?n=-1", "?n=x"] {
        app.get(&format!("{path}{bad}")).send().await.expect_envelope(400, &["UNSUPPORTED"]);
    }
}

/// Without `n`, pages are limited as well.
#[tokio::test]
async fn page_size_is_limited_by_the_setting() {
    let app = App::start_with(|settings| settings.lists.page_max = 2).await;
    if !app.is_ours() {
        return skip("the longest page is a setting");
    }
    let repository = app.repository("page-max");
    app.push_blob(&repository, b"{}").await;
    let subject = descriptor(OCI_MANIFEST, b"anything");
    for seed in 0..3 {
        push(&app, &repository, OCI_MANIFEST, &artifact("application/x", &subject, seed)).await;
    }
    let first = referrers(&app, &repository, &sha256(b"anything"), "?n=1000").await;
    assert_eq!(first.json()["manifests"].as_array().map(Vec::len), Some(2));
    let second = app.get(&first.next().expect("a link")).send().await.expect(200);
    assert_eq!(second.json()["manifests"].as_array().map(Vec::len), Some(1));
    second.without("link");
}

/// A page is smaller than the limit of clients for manifests, 4 MiB.
#[tokio::test]
async fn a_page_is_smaller_than_4_mib() {
    let app = App::start().await;
    let repository = app.repository("heavy");
    app.push_blob(&repository, b"{}").await;
    let subject = descriptor(OCI_MANIFEST, b"anything");
    let mut expected = Vec::new();
    for seed in 0..5 {
        let mut document = artifact("application/x", &subject, seed);
        document["annotations"]["padding"] = json!("x".repeat(1_500_000));
        expected.push(sha256(&push(&app, &repository, OCI_MANIFEST, &document).await));
    }
    expected.sort_unstable();
    let mut found = Vec::new();
    let mut next = Some(format!("/v2/{repository}/referrers/{}", sha256(b"anything")));
    while let Some(path) = next {
        let page = app.get(&path).send().await.expect(200);
        assert!(page.body.len() < 4 * 1024 * 1024, "{} bytes", page.body.len());
        let json = page.json();
        let rows = json["manifests"].as_array().expect("manifests").iter();
        found.extend(rows.filter_map(|row| row["digest"].as_str()).map(str::to_owned));
        assert!(found.len() <= expected.len(), "pages repeat themselves");
        next = page.next();
    }
    assert_eq!(found, expected);
}

/// The subject may be pushed later or never. A manifest without referrers has an empty list.
#[tokio::test]
async fn an_unknown_subject_has_an_empty_list() {
    let app = App::start().await;
    let repository = app.repository("never-unknown");
    for subject in [NOWHERE, &sha512(b"x")] {
        let reply = referrers(&app, &repository, subject, "").await;
        assert_list(&reply, Vec::new());
        reply.without("link").without("oci-filters-applied");
        let reply = referrers(&app, &repository, subject, "?artifactType=x&n=0").await;
        assert_list(&reply, Vec::new());
    }
    app.push_blob(&repository, b"{}").await;
    let mut subject = descriptor(OCI_MANIFEST, b"x");
    subject["digest"] = json!(NOWHERE);
    let body = push(&app, &repository, OCI_MANIFEST, &artifact("application/x", &subject, 1)).await;
    let row = listed(&body, OCI_MANIFEST, "application/x", &json!({ "seed": "1" }));
    assert_list(&referrers(&app, &repository, NOWHERE, "").await, vec![row]);
    assert_list(&referrers(&app, &app.repository("elsewhere"), NOWHERE, "").await, Vec::new());
    for bad in ["sha256:short", "latest", "blake3:abc", "sha256:..%2F..", "md5:0"] {
        let path = format!("/v2/{repository}/referrers/{bad}");
        let reply = app.get(&path).send().await.expect(400);
        let code = reply.json()["errors"][0]["code"].clone();
        assert!(code == "DIGEST_INVALID" || (bad.contains('%') && code == "NAME_INVALID"), "{bad}");
        app.request("HEAD", &path).send().await.expect(400).with_body(b"");
    }
}

#[tokio::test]
async fn a_referrer_is_listed_again_after_it_is_deleted_and_pushed() {
    let app = App::start().await;
    let repository = app.repository("again");
    let (digest, subject) = app.push_small(&repository, "v1", 1).await;
    let document = artifact("application/x", &descriptor(OCI_MANIFEST, &subject), 1);
    let annotations = json!({ "seed": "1" });
    let row = |body: &[u8]| vec![listed(body, OCI_MANIFEST, "application/x", &annotations)];
    let body = push(&app, &repository, OCI_MANIFEST, &document).await;
    push(&app, &repository, OCI_MANIFEST, &document).await;
    app.put_manifest(&repository, "tagged", OCI_MANIFEST, &body).await.expect(201);
    assert_list(&referrers(&app, &repository, &digest, "").await, row(&body));
    // Deleting a tag or the subject changes nothing.
    let path = |reference: &str| format!("/v2/{repository}/manifests/{reference}");
    app.request("DELETE", &path("tagged")).send().await.expect(202);
    app.request("DELETE", &path(&digest)).send().await.expect(202);
    assert_list(&referrers(&app, &repository, &digest, "").await, row(&body));
    app.request("DELETE", &path(&sha256(&body))).send().await.expect(202);
    assert_list(&referrers(&app, &repository, &digest, "").await, Vec::new());
    push(&app, &repository, OCI_MANIFEST, &document).await;
    assert_list(&referrers(&app, &repository, &digest, "").await, row(&body));
}

/// Docker's types have no such field: the key is ignored.
#[tokio::test]
async fn a_subject_in_a_docker_manifest_is_ignored() {
    let app = App::start().await;
    let repository = app.repository("docker");
    app.push_parts(&repository, 1).await;
    let subject = descriptor(OCI_MANIFEST, b"anything");
    for media_type in [DOCKER_MANIFEST, DOCKER_LIST] {
        let mut document =
            if media_type == DOCKER_LIST { index(media_type, &[]) } else { image(media_type, 1) };
        document["subject"] = subject.clone();
        let body = spelled(&document);
        let reply = app.put_manifest(&repository, "v1", media_type, &body).await.expect(201);
        reply.without("oci-subject");
        let reply = referrers(&app, &repository, &sha256(b"anything"), "").await;
        assert_list(&reply, Vec::new());
    }
}

/// The SHA-256 and SHA-512 digests of a subject are two subjects, and a referrer is listed by the
/// digest of its push.
#[tokio::test]
async fn subjects_and_referrers_may_use_sha512() {
    let app = App::start().await;
    let repository = app.repository("sha512");
    let (short, subject) = app.push_small(&repository, "v1", 1).await;
    let long = sha512(&subject);
    let mut by_long = descriptor(OCI_MANIFEST, &subject);
    by_long["digest"] = json!(long);
    let body = spelled(&artifact("application/x", &by_long, 1));
    let reply = app.put_manifest(&repository, &sha512(&body), OCI_MANIFEST, &body).await;
    reply.expect(201).with("oci-subject", &long).with("docker-content-digest", &sha512(&body));
    let mut row = listed(&body, OCI_MANIFEST, "application/x", &json!({ "seed": "1" }));
    row["digest"] = json!(sha512(&body));
    assert_list(&referrers(&app, &repository, &long, "").await, vec![row]);
    assert_list(&referrers(&app, &repository, &short, "").await, Vec::new());
}
