//! Every endpoint with every permission: one table, tested as a whole.

use jsonwebtoken::Algorithm;
use longshore::http::{Endpoint, Operation, Page};

use super::issuer::{Signer, jwks, with_tokens};
use super::{As as _, Guarded, challenge, manifest, push, with_passwords};
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

/// The callers, and their permissions in the repository of the table.
const CALLERS: [(&str, &[&str], &[Need]); 6] = [
    ("puller", &["pull"], &[Need::Enter, Need::Pull]),
    ("pusher", &["pull", "push"], &[Need::Enter, Need::Pull, Need::Create]),
    ("creator", &["pull", "create"], &[Need::Enter, Need::Pull, Need::Create]),
    ("deleter", &["delete"], &[Need::Enter, Need::Delete]),
    ("lister", &["catalog"], &[Need::Enter, Need::Catalog]),
    ("stranger", &[], &[Need::Enter]),
];

/// A registry with passwords. The stranger may do everything in other repositories.
async fn by_passwords() -> Guarded {
    let rule = |(user, actions, _): &(&str, &[&str], &[Need])| {
        format!(
            "[[access.rules]]\nsubject = 'user:{user}'\nrepositories = 'matrix/*'\n\
             actions = {actions:?}\n"
        )
    };
    let mut rules: String =
        CALLERS.iter().filter(|(_, actions, _)| !actions.is_empty()).map(rule).collect();
    rules.push_str(
        "[[access.rules]]\nsubject = 'user:stranger'\nrepositories = ['other/**', 'matrix']\n\
         actions = ['pull', 'push', 'create', 'delete']\n\
         [[access.rules]]\nsubject = 'user:owner'\nrepositories = '**'\n\
         actions = ['pull', 'push', 'delete']\n",
    );
    let users: Vec<&str> = CALLERS.iter().map(|(user, ..)| *user).chain(["owner"]).collect();
    with_passwords(&users, &format!("access.challenge = 'basic'\n{rules}")).await
}

/// The content of the repository, pushed again before every row.
async fn fill(app: &Guarded, sign: impl Fn(Request<'_>) -> Request<'_>) {
    let blob = sha256(b"matrix");
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={blob}");
    sign(app.request("POST", &path)).body(&b"matrix"[..]).send().await.expect(201);
    sign(push(app, REPOSITORY, "v1", "first")).send().await.expect(201);
    let new = format!("/v2/{REPOSITORY}/manifests/new");
    let deleted = sign(app.request("DELETE", &new)).send().await.status.as_u16();
    assert!(matches!(deleted, 202 | 404), "{deleted}");
}

async fn ask(
    app: &Guarded,
    (method, path): (&str, &str),
    sign: impl Fn(Request<'_>) -> Request<'_>,
) -> Reply {
    let mut request = app.request(method, path);
    if method == "PUT" && path.contains("/manifests/") {
        request =
            request.header("content-type", crate::support::app::OCI_INDEX).body(manifest("m"));
    } else if path.contains("uploads/?digest=") {
        request = request.body(&b"matrix"[..]);
    }
    sign(request).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_follows_the_rules_for_passwords() {
    let app = by_passwords().await;
    for (method, path, need, granted) in table() {
        let asked = (method, path.as_str());
        fill(&app, |request| request.user("owner")).await;
        let basic = "Basic realm=\"Longshore\"";
        // HEAD has no body to check.
        let anonymous = ask(&app, asked, |request| request).await;
        assert_eq!(anonymous.status, 401, "{asked:?}");
        assert_eq!(anonymous.header("www-authenticate"), Some(basic), "{asked:?}");
        for (user, wrong) in [("pusher", "pusher"), ("pusher", ""), ("unknown", "unknown-pw")] {
            let reply = ask(&app, asked, |request| request.basic(user, wrong)).await;
            assert_eq!(reply.status, 401, "{asked:?} with a wrong password");
            assert_eq!(reply.header("www-authenticate"), Some(basic), "{asked:?}");
        }
        for (user, _, may) in CALLERS {
            let expected = if may.contains(&need) { granted } else { 403 };
            let reply = ask(&app, asked, |request| request.user(user)).await;
            assert_eq!(reply.status.as_u16(), expected, "{user} {asked:?}: {reply:?}");
            assert_eq!(reply.header("www-authenticate"), None, "{user} {asked:?}");
            fill(&app, |request| request.user("owner")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_follows_the_rules_for_tokens() {
    let signer = Signer::new(Algorithm::ES256, "a");
    let app = with_tokens(&jwks(&[&signer]), "").await;
    let owner = signer.token("owner", &[(REPOSITORY, &["*"])]);
    let everywhere_else: &[(&str, &[&str])] = &[
        ("other/app", &["*"]),
        ("matrix", &["*"]),
        ("matrix/app/x", &["*"]),
        ("registry:x", &["*"]),
    ];
    for (method, path, need, granted) in table() {
        let asked = (method, path.as_str());
        for (user, actions, may) in CALLERS {
            fill(&app, |request| request.bearer(&owner)).await;
            let token = match actions {
                ["catalog"] => signer.token(user, &[("registry:catalog", &["*"])]),
                // The token server was asked for the source of the mount and granted nothing.
                [] => signer.token(user, everywhere_else),
                actions => signer.token(user, &[(REPOSITORY, actions), ("x", &[])]),
            };
            let reply = ask(&app, asked, |request| request.bearer(&token)).await;
            if may.contains(&need) {
                assert_eq!(reply.status.as_u16(), granted, "{user} {asked:?}: {reply:?}");
                continue;
            }
            let shown = reply.header("www-authenticate").unwrap_or_default();
            assert_eq!(reply.status.as_u16(), 401, "{user} {asked:?}: {reply:?}");
            assert!(shown.ends_with(",error=\"insufficient_scope\""), "{user} {asked:?}: {shown}");
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
        let reply = ask(&app, (method, &path), |request| request).await;
        assert_eq!(challenge(&reply), format!("{start}{scope}"), "{method} {path}");
        let reply = ask(&app, (method, &path), |request| request.bearer("no.to.ken")).await;
        let expected = format!("{start}{scope},error=\"invalid_token\"");
        assert_eq!(challenge(&reply), expected, "{method} {path}");
    }
}
