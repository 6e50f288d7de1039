//! Every endpoint with every permission: one table, tested as a whole.

use futures_util::{StreamExt as _, stream};
use jsonwebtoken::Algorithm;
use longshore::http::{Endpoint, Operation, Page};

use super::issuer::{Signer, jwks, with_tokens};
use super::ways::{LoggedIn, REPOSITORIES, Scene, Way};
use super::{As as _, challenge, manifest, with_passwords};
use crate::support::app::OCI_INDEX;
use crate::support::http::{Reply, Request};
use crate::support::sha256;

/// The access that an endpoint needs. Independent of the program, so that the program is not
/// compared with itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Enter,
    Pull,
    Create,
    Delete,
    Catalog,
}

const REPOSITORY: &str = "matrix/app";
/// It does not exist. The name is as long.
const MISSING: &str = "matrix/nil";
const ABSENT_UPLOAD: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// One request for each endpoint, with the access that it needs and the status for an allowed
/// caller.
fn table() -> Vec<(&'static str, String, Need, u16)> {
    let repository = format!("/v2/{REPOSITORY}");
    let (blob, absent) = (sha256(b"matrix"), sha256(b"absent"));
    let upload = format!("{repository}/blobs/uploads/{ABSENT_UPLOAD}");
    vec![
        ("GET", "/v2/".to_owned(), Need::Enter, 200),
        ("GET", "/v2/_oci/ext/discover".to_owned(), Need::Enter, 200),
        ("GET", format!("{repository}/_oci/ext/discover"), Need::Pull, 200),
        ("GET", "/v2/_catalog".to_owned(), Need::Catalog, 200),
        ("GET", format!("{repository}/blobs/{blob}"), Need::Pull, 200),
        ("HEAD", format!("{repository}/blobs/{blob}"), Need::Pull, 200),
        ("GET", format!("{repository}/blobs/{absent}"), Need::Pull, 404),
        ("DELETE", format!("{repository}/blobs/{absent}"), Need::Delete, 404),
        ("GET", format!("{repository}/manifests/v1"), Need::Pull, 200),
        ("HEAD", format!("{repository}/manifests/v1"), Need::Pull, 200),
        ("GET", format!("{repository}/manifests/absent"), Need::Pull, 404),
        ("PUT", format!("{repository}/manifests/new"), Need::Create, 201),
        ("DELETE", format!("{repository}/manifests/absent"), Need::Delete, 404),
        ("DELETE", format!("{repository}/manifests/{absent}"), Need::Delete, 404),
        ("GET", format!("{repository}/tags/list"), Need::Pull, 200),
        ("GET", format!("{repository}/referrers/{blob}"), Need::Pull, 200),
        ("POST", format!("{repository}/blobs/uploads/"), Need::Create, 202),
        ("POST", format!("{repository}/blobs/uploads/?digest={blob}"), Need::Create, 201),
        ("POST", format!("{repository}/blobs/uploads/?mount={blob}&from=x"), Need::Create, 202),
        ("GET", upload.clone(), Need::Create, 404),
        ("PATCH", upload.clone(), Need::Create, 404),
        ("PUT", format!("{upload}?digest={absent}"), Need::Create, 404),
        ("DELETE", upload, Need::Create, 404),
        ("GET", "/ui/".to_owned(), Need::Catalog, 200),
        ("GET", format!("/ui/repository/{REPOSITORY}"), Need::Pull, 200),
        ("GET", format!("/ui/untagged/{REPOSITORY}"), Need::Pull, 200),
        ("GET", format!("/ui/manifest/{REPOSITORY}/v1"), Need::Pull, 200),
        ("GET", format!("/ui/manifest/{REPOSITORY}/absent"), Need::Pull, 404),
        ("GET", "/ui/login".to_owned(), Need::Enter, 303),
    ]
}

/// The operations, each with a number: a new variant does not compile here, and a variant without a
/// row in the table fails.
fn number(operation: &Operation) -> usize {
    match operation {
        Operation::ApiVersion => 0,
        Operation::GetBlob(_) => 1,
        Operation::HeadBlob(_) => 2,
        Operation::GetManifest(_) => 3,
        Operation::HeadManifest(_) => 4,
        Operation::StartUpload { from: None } => 5,
        Operation::StartUpload { from: Some(_) } => 6,
        Operation::UploadChunk(_) => 7,
        Operation::FinishUpload(_) => 8,
        Operation::PutManifest(_) => 9,
        Operation::ListTags => 10,
        Operation::DeleteManifest(_) => 11,
        Operation::DeleteBlob(_) => 12,
        Operation::ListReferrers(_) => 13,
        Operation::UploadStatus(_) => 14,
        Operation::CancelUpload(_) => 15,
        Operation::ListCatalog => 16,
        Operation::ListExtensions => 17,
        Operation::ListRepositoryExtensions => 18,
        Operation::Page(Page::Repositories) => 19,
        Operation::Page(Page::Repository) => 20,
        Operation::Page(Page::Untagged) => 21,
        Operation::Page(Page::Manifest(_)) => 22,
        Operation::Page(Page::Login) => 23,
        // They need no permission.
        Operation::Page(Page::Go | Page::File(_)) | Operation::Token => 24,
    }
}

#[test]
fn the_permission_table_covers_every_endpoint() {
    let mut numbers: Vec<usize> = table()
        .iter()
        .map(|(method, path, ..)| {
            let (method, uri) = (method.parse().expect("a method"), path.parse().expect("a URI"));
            number(&Endpoint::parse(&method, &uri).expect("an endpoint").operation)
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..=23).collect::<Vec<_>>());
}

/// A caller: its name, what it may do where, and what of the table that allows.
type Row = (&'static str, &'static [(&'static str, &'static [&'static str])], &'static [Need]);

const EVERYTHING: &[&str] = &["pull", "push", "create", "delete"];

/// The stranger may do everything in other repositories.
const CALLERS: [Row; 6] = [
    ("puller", &[(REPOSITORY, &["pull"])], &[Need::Enter, Need::Pull]),
    ("pusher", &[(REPOSITORY, &["pull", "push"])], &[Need::Enter, Need::Pull, Need::Create]),
    ("creator", &[(REPOSITORY, &["pull", "create"])], &[Need::Enter, Need::Pull, Need::Create]),
    ("deleter", &[(REPOSITORY, &["delete"])], &[Need::Enter, Need::Delete]),
    ("lister", &[(REPOSITORY, &["catalog"])], &[Need::Enter, Need::Catalog]),
    (
        "stranger",
        &[("other/app", EVERYTHING), ("matrix", EVERYTHING), ("matrix/app/x", EVERYTHING)],
        &[Need::Enter],
    ),
];

/// The content of the repository, pushed again after every change.
async fn fill(owner: &LoggedIn) {
    let blob = sha256(b"matrix");
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={blob}");
    owner.request("POST", &path).body(&b"matrix"[..]).send().await.expect(201);
    let path = format!("/v2/{REPOSITORY}/manifests/v1");
    let put = owner.request("PUT", &path).header("content-type", OCI_INDEX);
    put.body(manifest("first")).send().await.expect(201);
    let new = format!("/v2/{REPOSITORY}/manifests/new");
    let deleted = owner.request("DELETE", &new).send().await.status.as_u16();
    assert!(matches!(deleted, 202 | 404), "{deleted}");
}

fn with_body<'a>(request: Request<'a>, (method, path): (&str, &str)) -> Request<'a> {
    if method == "PUT" && path.contains("/manifests/") {
        request.header("content-type", OCI_INDEX).body(manifest("m"))
    } else if path.contains("uploads/?digest=") {
        request.body(&b"matrix"[..])
    } else {
        request
    }
}

async fn ask(caller: &LoggedIn, (method, path): (&str, &str)) -> Reply {
    with_body(caller.request(method, path), (method, path)).send().await
}

/// What of a refusal a caller can tell apart. It may repeat the name that was asked for.
fn shown(reply: &Reply) -> String {
    let mut reply = reply.clone();
    reply.headers.remove("date");
    reply.headers.remove("x-request-id");
    format!("{reply:?}").replace(MISSING, REPOSITORY)
}

/// Asks for everything in the table as one caller in one way.
async fn follows(way: Way, (name, rights, may): Row) {
    let scene = Scene::start(way, name, rights).await;
    let caller = scene.log_in(&REPOSITORIES).await;
    fill(&scene.owner).await;
    for (method, path, need, granted) in table() {
        let asked = (method, path.as_str());
        let what = format!("{way:?} {name} {asked:?}");
        let reply = ask(&caller, asked).await;
        let status = reply.status.as_u16();
        // Only who shows something has a login.
        if may.contains(&need) && (way, need) != (Way::Anonymous, Need::Enter) {
            assert_eq!(status, granted, "{what}: {reply:?}");
            if !matches!(method, "GET" | "HEAD") {
                fill(&scene.owner).await;
            }
            continue;
        }
        assert_eq!(status, way.refusal(), "{what}: {reply:?}");
        let challenges = reply.headers.get_all("www-authenticate").iter().count();
        assert_eq!(challenges, usize::from(status == 401), "{what}: {reply:?}");
        // HEAD has no body, and the errors of pages are pages.
        if method != "HEAD" && !path.starts_with("/ui/") {
            let code = if status == 401 { "UNAUTHORIZED" } else { "DENIED" };
            assert_eq!(reply.json()["errors"][0]["code"], code, "{what}");
        }
        let missing = ask(&caller, (method, &path.replace(REPOSITORY, MISSING))).await;
        assert_eq!(shown(&missing), shown(&reply), "{what}");
    }
}

/// The same answers to the same rights, however the caller has logged in.
#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_follows_the_rules_in_every_way_in() {
    let all: Vec<_> =
        Way::ALL.into_iter().flat_map(|way| CALLERS.map(|caller| follows(way, caller))).collect();
    stream::iter(all).buffer_unordered(8).collect::<Vec<()>>().await;
}

/// Also where an anonymous caller would be let in.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_refused_at_every_endpoint() {
    let app =
        with_passwords(&["alice"], "access.anonymous = 'push'\naccess.authenticated = 'push'")
            .await;
    let basic = |user, password| super::basic_header(user, password);
    for credentials in [
        basic("alice", "alice"),
        basic("alice", ""),
        basic("unknown", "unknown-pw"),
        "Bearer no.to.ken".to_owned(),
        "Digest x".to_owned(),
    ] {
        for (method, path, ..) in table() {
            let request = app.request(method, &path).header("authorization", &credentials);
            let reply = with_body(request, (method, &path)).send().await;
            assert_eq!(reply.status, 401, "{method} {path} {credentials}");
            assert!(reply.header("www-authenticate").is_some(), "{method} {path}");
        }
    }
}

/// A token with the scopes of the challenge is sufficient.
#[tokio::test]
async fn a_challenge_names_the_needed_scopes() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let start = "Bearer realm=\"https://tokens.test/token\",service=\"registry.test\"";
    for (method, path, need, _) in table() {
        if method == "HEAD" {
            continue;
        }
        let scope = match need {
            Need::Enter => String::new(),
            Need::Catalog => ",scope=\"registry:catalog:*\"".to_owned(),
            Need::Pull => format!(",scope=\"repository:{REPOSITORY}:pull\""),
            Need::Create if path.contains("from=x") => {
                format!(",scope=\"repository:{REPOSITORY}:pull,push repository:x:pull\"")
            }
            Need::Create => format!(",scope=\"repository:{REPOSITORY}:pull,push\""),
            Need::Delete => format!(",scope=\"repository:{REPOSITORY}:delete\""),
        };
        let ask = |request| with_body(request, (method, &path)).send();
        let reply = ask(app.request(method, &path)).await;
        assert_eq!(challenge(&reply), format!("{start}{scope}"), "{method} {path}");
        let reply = ask(app.request(method, &path).bearer("no.to.ken")).await;
        let expected = format!("{start}{scope},error=\"invalid_token\"");
        assert_eq!(challenge(&reply), expected, "{method} {path}");
    }
}
