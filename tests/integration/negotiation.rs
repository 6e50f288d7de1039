//! distribution-spec, "Pulling manifests" (end-3): the document that a client gets for its `Accept`
//! header.
//!
//! The stored document is served unchanged, with two exceptions. A client that names Docker's
//! schema 2, does not name lists and asks for a tag of a Docker manifest list gets the
//! `linux/amd64` image of the list. A client that names only other types does not get an OCI
//! document.

use std::fmt::Write as _;

use serde_json::json;

use crate::support::app::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use crate::support::content::{descriptor, image, index, spelled};
use crate::support::{App, Reply, sha256};

const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
const SCHEMA_1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// By tag / by digest: `same` is the stored document, `child` the image for linux/amd64, `404` an
/// error.
const GOLDEN: &str = "
accept         S2            ML            OM            OI
none           same/same     same/same     same/same     same/same
empty          same/same     same/same     same/same     same/same
malformed      same/same     same/same     same/same     same/same
*/*            same/same     same/same     same/same     same/same
application/*  same/same     same/same     same/same     same/same
json           same/same     same/same     same/same     same/same
S1             same/same     same/same     404/404       404/404
S2             same/same     child/same    404/404       404/404
ML             same/same     same/same     404/404       404/404
OM             same/same     same/same     same/same     404/404
OI             same/same     same/same     404/404       same/same
S2+ML          same/same     same/same     404/404       404/404
S2+S1          same/same     child/same    404/404       404/404
OM+OI          same/same     same/same     same/same     same/same
S2+OM          same/same     child/same    same/same     404/404
all six        same/same     same/same     same/same     same/same
two headers    same/same     child/same    same/same     404/404
upper case     same/same     child/same    404/404       404/404
weights        same/same     child/same    same/same     404/404
parameters     same/same     child/same    404/404       404/404
OM excluded    same/same     same/same     404/404       404/404
S2 and */*     same/same     same/same     same/same     same/same
text/html      same/same     same/same     404/404       404/404
";

fn forms() -> Vec<(&'static str, Vec<String>)> {
    let (s2, ml, om, oi) = (DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX);
    let (s1, signed) = (SCHEMA_1, SCHEMA_1_SIGNED);
    let one = |text: String| vec![text];
    vec![
        ("none", vec![]),
        ("empty", one(String::new())),
        ("malformed", one(";;,/,text,a b/c".to_owned())),
        ("*/*", one("*/*".to_owned())),
        ("application/*", one("application/*".to_owned())),
        ("json", one("application/json".to_owned())),
        ("S1", one(format!("{s1}, {signed}"))),
        ("S2", one(s2.to_owned())),
        ("ML", one(ml.to_owned())),
        ("OM", one(om.to_owned())),
        ("OI", one(oi.to_owned())),
        ("S2+ML", one(format!("{s2},{ml}"))),
        ("S2+S1", one(format!("{s2},{s1},{signed}"))),
        ("OM+OI", one(format!("{om}, {oi}"))),
        ("S2+OM", one(format!("{s2}, {om}"))),
        ("all six", one([s1, signed, s2, ml, om, oi].join(", "))),
        ("two headers", vec![s2.to_owned(), om.to_owned()]),
        ("upper case", one(s2.to_uppercase())),
        ("weights", one(format!("{s2};q=0.9 , {om} ; q=0.1"))),
        ("parameters", one(format!("{s2};charset=\"a,b;q=0\""))),
        ("OM excluded", one(format!("{om};q=0, text/plain"))),
        ("S2 and */*", one(format!("{s2}, */*"))),
        ("text/html", one("text/html".to_owned())),
    ]
}

async fn ask(app: &App, method: &str, path: &str, accept: &[String]) -> Reply {
    let mut request = app.request(method, path);
    for value in accept {
        request = request.header("accept", value);
    }
    request.send().await
}

/// A document of the table: its type, its bytes, and its image for linux/amd64.
struct Stored {
    media_type: &'static str,
    body: Vec<u8>,
}

/// The response to a request; GET and HEAD must agree.
async fn cell(app: &App, path: &str, accept: &[String], stored: &Stored, child: &[u8]) -> String {
    let get = ask(app, "GET", path, accept).await;
    let head = ask(app, "HEAD", path, accept).await;
    assert_eq!(head.status, get.status, "{path} {accept:?}");
    assert!(head.body.is_empty());
    if get.status == 404 {
        let json = get.expect_envelope(404, &["MANIFEST_UNKNOWN"]).json();
        let message = json["errors"][0]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(stored.media_type), "{message:?} names what there is");
        return "404".to_owned();
    }
    let get = get.expect(200);
    assert_eq!(head.described(), get.described(), "{path} {accept:?}");
    let (word, media_type, body) = if get.body == child {
        ("child", DOCKER_MANIFEST, child)
    } else {
        ("same", stored.media_type, stored.body.as_slice())
    };
    let digest = sha256(body);
    let get = get.with("content-type", media_type).with("docker-content-digest", &digest);
    get.with("vary", "Accept").with("etag", &format!("\"{digest}\"")).with_body(body);
    word.to_owned()
}

#[tokio::test]
async fn every_type_with_every_accept_header() {
    let app = App::start().await;
    let repository = app.repository("negotiation");
    let child = list_with_children(&app, &repository).await;
    let mut columns = Vec::new();
    for (media_type, tag) in
        [(DOCKER_MANIFEST, "s2"), (DOCKER_LIST, "ml"), (OCI_MANIFEST, "om"), (OCI_INDEX, "oi")]
    {
        let body = if media_type == DOCKER_LIST {
            let path = format!("/v2/{repository}/manifests/ml");
            app.get(&path).send().await.expect(200).body.to_vec()
        } else {
            app.push_type(&repository, media_type, tag, 9).await
        };
        columns.push((tag, Stored { media_type, body }));
    }
    let row = |cells: [&str; 5]| {
        let mut line = String::new();
        for (cell, width) in cells.into_iter().zip([15, 14, 14, 14, 0]) {
            write!(line, "{cell:width$}").expect("a string takes it");
        }
        line
    };
    let mut table = format!("\n{}\n", row(["accept", "S2", "ML", "OM", "OI"]));
    for (name, accept) in forms() {
        let mut cells = Vec::new();
        for (tag, stored) in &columns {
            let mut answers = Vec::new();
            for reference in [(*tag).to_owned(), sha256(&stored.body)] {
                let path = format!("/v2/{repository}/manifests/{reference}");
                answers.push(cell(&app, &path, &accept, stored, &child).await);
            }
            cells.push(answers.join("/"));
        }
        let [s2, ml, om, oi] = cells.as_slice() else { panic!("four columns") };
        writeln!(table, "{}", row([name, s2, ml, om, oi])).expect("a string takes it");
    }
    assert!(table == GOLDEN, "the table is now:{table}");
}

/// Pushes a list of three images as `ml`. The one for linux/amd64 is in the middle.
async fn list_with_children(app: &App, repository: &str) -> Vec<u8> {
    let mut listed = Vec::new();
    let mut wanted = Vec::new();
    for (seed, os, architecture) in
        [(21, "linux", "arm64"), (22, "linux", "amd64"), (23, "windows", "amd64")]
    {
        app.push_parts(repository, seed).await;
        let body = spelled(&image(DOCKER_MANIFEST, seed));
        app.put_manifest(repository, &sha256(&body), DOCKER_MANIFEST, &body).await.expect(201);
        let mut child = descriptor(DOCKER_MANIFEST, &body);
        child["platform"] = json!({ "architecture": architecture, "os": os });
        listed.push(child);
        if (os, architecture) == ("linux", "amd64") {
            wanted = body;
        }
    }
    let body = spelled(&index(DOCKER_LIST, &listed));
    app.put_manifest(repository, "ml", DOCKER_LIST, &body).await.expect(201);
    wanted
}

/// A client without support for lists cannot be served from a list without its platform.
#[tokio::test]
async fn a_list_without_linux_amd64_is_404_for_a_client_without_lists() {
    let app = App::start().await;
    let repository = app.repository("platforms");
    app.push_parts(&repository, 1).await;
    let body = spelled(&image(DOCKER_MANIFEST, 1));
    app.put_manifest(&repository, &sha256(&body), DOCKER_MANIFEST, &body).await.expect(201);
    let mut child = descriptor(DOCKER_MANIFEST, &body);
    child["platform"] = json!({ "architecture": "s390x", "os": "linux" });
    let list = spelled(&index(DOCKER_LIST, &[child]));
    app.put_manifest(&repository, "v1", DOCKER_LIST, &list).await.expect(201);
    let path = format!("/v2/{repository}/manifests/v1");
    let accept = [DOCKER_MANIFEST.to_owned()];
    ask(&app, "GET", &path, &accept).await.expect_envelope(404, &["MANIFEST_UNKNOWN"]);
    ask(&app, "GET", &path, &[]).await.expect(200).with_body(&list);
}

/// The precondition applies to the served document, not to the stored one.
#[tokio::test]
async fn a_precondition_applies_to_the_image_that_is_served() {
    let app = App::start().await;
    let repository = app.repository("condition");
    let child = list_with_children(&app, &repository).await;
    let path = format!("/v2/{repository}/manifests/ml");
    let ask = |etag: String| {
        app.get(&path).header("accept", DOCKER_MANIFEST).header("if-none-match", etag).send()
    };
    ask(sha256(&child)).await.expect(304).with("docker-content-digest", &sha256(&child));
    let list = app.get(&path).send().await.expect(200).body;
    ask(sha256(&list)).await.expect(200).with_body(&child);
}
