use http::{Method, Uri};
use proptest::prelude::*;

use super::*;
use crate::oci::{Algorithm, NewSession, Tag};

const SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ID: &str = "9f1c2a3b-4c5d-4e6f-8a7b-0c1d2e3f4a5b";

fn parse(method: &str, uri: &str) -> Result<Endpoint, RouteError> {
    let uri: Uri = uri.parse().unwrap_or_else(|error| panic!("{uri}: {error}"));
    Endpoint::parse(&method.parse().unwrap(), &uri)
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

fn sha256() -> Digest {
    SHA256.parse().unwrap()
}

fn id() -> UploadSegment {
    ID.parse().unwrap()
}

/// The same session at the location of its start.
fn new() -> UploadSegment {
    UploadSegment { new: Some(NewSession { algorithm: None }), ..id() }
}

fn tag(text: &str) -> Reference {
    Reference::Tag(text.parse::<Tag>().unwrap())
}

fn of(repository: &str, operation: Operation) -> Endpoint {
    Endpoint { repository: Some(name(repository)), operation }
}

fn registry(operation: Operation) -> Endpoint {
    Endpoint { repository: None, operation }
}

fn started(target: &str, from: Option<&str>) -> Endpoint {
    of(target, Operation::StartUpload { from: from.map(name) })
}

/// Asserts a table of `METHOD /uri => endpoint`. `$D` stands for a digest and `$U` for an upload.
fn check(table: Vec<(&str, Endpoint)>) {
    for (line, expected) in table {
        let (method, uri) = line.split_once(' ').unwrap();
        let uri = uri.replace("$D", SHA256).replace("$U", ID);
        assert_eq!(parse(method, &uri), Ok(expected), "{line}");
    }
}

#[test]
fn every_page() {
    let page = |page| registry(Operation::Page(page));
    let of_name = |page| of("a/manifests/b", Operation::Page(page));
    check(vec![
        ("GET /ui", page(Page::Repositories)),
        ("HEAD /ui/?q=a", page(Page::Repositories)),
        ("GET /ui/login", page(Page::Login)),
        ("GET /ui/go?name=a", page(Page::Go)),
        ("GET /ui/static/style.css", page(Page::File(File::Style))),
        ("GET /ui/repository/a/manifests/b", of_name(Page::Repository)),
        ("GET /ui/untagged/a/manifests/b", of_name(Page::Untagged)),
        ("GET /ui/manifest/a/manifests/b/v1", of_name(Page::Manifest(tag("v1")))),
        ("GET /ui/manifest/a/manifests/b/$D", of_name(Page::Manifest(Reference::Digest(sha256())))),
    ]);
    for path in ["/ui/x", "/ui/static/x", "/ui/login/x", "/ui/manifest/v1", "/uix"] {
        assert_eq!(parse("GET", path), Err(RouteError::Unknown), "{path}");
    }
    assert!(matches!(parse("GET", "/ui/repository/A"), Err(RouteError::Name(_))));
    assert_eq!(parse("POST", "/ui/"), Err(RouteError::Method { allowed: "GET, HEAD" }));
}

#[test]
fn every_endpoint() {
    use Operation as O;
    check(vec![
        ("GET /v2", registry(O::ApiVersion)),
        ("GET /v2/", registry(O::ApiVersion)),
        ("HEAD /v2/", registry(O::ApiVersion)),
        ("GET /v2/?ns=docker.io", registry(O::ApiVersion)),
        ("GET /v2/a/blobs/$D", of("a", O::GetBlob(sha256()))),
        ("HEAD /v2/a/blobs/$D", of("a", O::HeadBlob(sha256()))),
        ("DELETE /v2/a/blobs/$D", of("a", O::DeleteBlob(sha256()))),
        ("GET /v2/a/manifests/v1", of("a", O::GetManifest(tag("v1")))),
        ("GET /v2/a/manifests/$D", of("a", O::GetManifest(Reference::Digest(sha256())))),
        ("HEAD /v2/a/manifests/v1", of("a", O::HeadManifest(tag("v1")))),
        ("PUT /v2/a/manifests/v1", of("a", O::PutManifest(tag("v1")))),
        ("PUT /v2/a/manifests/$D?tag=x", of("a", O::PutManifest(Reference::Digest(sha256())))),
        ("DELETE /v2/a/manifests/v1", of("a", O::DeleteManifest(tag("v1")))),
        ("POST /v2/a/blobs/uploads/", started("a", None)),
        ("POST /v2/a/blobs/uploads", started("a", None)),
        ("POST /v2/a/blobs/uploads/?digest=$D", started("a", None)),
        ("POST /v2/a/blobs/uploads/?mount=$D&from=b/c", started("a", Some("b/c"))),
        ("POST /v2/a/blobs/uploads?from=b%2Fc&mount=$D", started("a", Some("b/c"))),
        ("POST /v2/a/blobs/uploads/?mount=$D&from=NO", started("a", None)),
        ("POST /v2/a/blobs/uploads/?mount=$D&from=%ff", started("a", None)),
        ("GET /v2/a/blobs/uploads/$U", of("a", O::UploadStatus(id()))),
        ("HEAD /v2/a/blobs/uploads/$U-new", of("a", O::UploadStatus(new()))),
        ("PUT /v2/a/blobs/uploads/$U-new&digest=$D", of("a", O::FinishUpload(new()))),
        ("PATCH /v2/a/blobs/uploads/$U", of("a", O::UploadChunk(id()))),
        ("PUT /v2/a/blobs/uploads/$U?digest=$D", of("a", O::FinishUpload(id()))),
        ("DELETE /v2/a/blobs/uploads/$U", of("a", O::CancelUpload(id()))),
        ("GET /v2/a/tags/list", of("a", O::ListTags)),
        ("HEAD /v2/a/tags/list?n=1&last=x", of("a", O::ListTags)),
        ("GET /v2/a/referrers/$D", of("a", O::ListReferrers(sha256()))),
        ("HEAD /v2/a/referrers/$D", of("a", O::ListReferrers(sha256()))),
        ("GET /v2/_catalog", registry(O::ListCatalog)),
        ("HEAD /v2/_catalog?n=5", registry(O::ListCatalog)),
        ("GET /v2/_oci/ext/discover", registry(O::ListExtensions)),
        ("GET /v2/a/b/_oci/ext/discover", of("a/b", O::ListRepositoryExtensions)),
    ]);
}

/// Requirement 6: what an action is called may be part of a name, too. The action is read from the
/// right.
#[test]
fn names_made_of_actions() {
    use Operation as O;
    let hard = "blobs/uploads/manifests";
    let ten = "a/b/c/d/e/f/g/h/i/j";
    check(vec![
        ("GET /v2/blobs/uploads/manifests/manifests/v1", of(hard, O::GetManifest(tag("v1")))),
        ("GET /v2/blobs/uploads/manifests/blobs/$D", of(hard, O::GetBlob(sha256()))),
        ("POST /v2/blobs/uploads/manifests/blobs/uploads/", started(hard, None)),
        ("POST /v2/blobs/uploads/manifests/blobs/uploads", started(hard, None)),
        ("PATCH /v2/blobs/uploads/manifests/blobs/uploads/$U", of(hard, O::UploadChunk(id()))),
        ("GET /v2/blobs/uploads/manifests/tags/list", of(hard, O::ListTags)),
        ("GET /v2/blobs/uploads/manifests/referrers/$D", of(hard, O::ListReferrers(sha256()))),
        ("GET /v2/x/blobs/uploads/manifests/v1", of("x/blobs/uploads", O::GetManifest(tag("v1")))),
        ("GET /v2/x/blobs/uploads/tags/list", of("x/blobs/uploads", O::ListTags)),
        ("GET /v2/x/blobs/uploads/blobs/$D", of("x/blobs/uploads", O::GetBlob(sha256()))),
        ("GET /v2/x/blobs/blobs/$D", of("x/blobs", O::GetBlob(sha256()))),
        ("GET /v2/x/blobs/manifests/uploads", of("x/blobs", O::GetManifest(tag("uploads")))),
        ("GET /v2/tags/list/tags/list", of("tags/list", O::ListTags)),
        ("GET /v2/x/tags/manifests/list", of("x/tags", O::GetManifest(tag("list")))),
        ("GET /v2/referrers/referrers/$D", of("referrers", O::ListReferrers(sha256()))),
        ("GET /v2/v2/manifests/v2", of("v2", O::GetManifest(tag("v2")))),
        ("GET /v2/x/manifests/_catalog", of("x", O::GetManifest(tag("_catalog")))),
        ("GET /v2/catalog/tags/list", of("catalog", O::ListTags)),
        ("GET /v2/oci/ext/discover/tags/list", of("oci/ext/discover", O::ListTags)),
        ("GET /v2/a/b/c/d/e/f/g/h/i/j/manifests/v1", of(ten, O::GetManifest(tag("v1")))),
        ("POST /v2/a/b/c/d/e/f/g/h/i/j/blobs/uploads/", started(ten, None)),
        ("GET /v2/a/b/c/d/e/f/g/h/i/j/blobs/$D", of(ten, O::GetBlob(sha256()))),
    ]);
}

#[test]
fn percent_encoding_is_read() {
    use Operation as O;
    let encoded = SHA256.replace(':', "%3A");
    let lower = SHA256.replace(':', "%3a");
    for digest in [encoded, lower] {
        let blob = of("a", O::GetBlob(sha256()));
        assert_eq!(parse("GET", &format!("/v2/a/blobs/{digest}")), Ok(blob));
        let manifest = of("a", O::GetManifest(Reference::Digest(sha256())));
        assert_eq!(parse("GET", &format!("/v2/a/manifests/{digest}")), Ok(manifest));
    }
    check(vec![
        ("GET /v2/%61/manifests/v%31", of("a", O::GetManifest(tag("v1")))),
        ("GET /v2/a/%62lobs/$D", of("a", O::GetBlob(sha256()))),
        ("POST /v2/a/blobs/uploads/?from=%62", started("a", Some("b"))),
    ]);
}

/// Asserts a table of `METHOD /uri => error`, by its variant.
fn check_refused(table: &[(&str, &str)]) {
    for (line, expected) in table {
        let (method, uri) = line.split_once(' ').unwrap();
        let uri = uri.replace("$D", SHA256).replace("$U", ID);
        let found = match parse(method, &uri) {
            Ok(endpoint) => panic!("{line} is {endpoint:?}"),
            Err(RouteError::Unknown) => "unknown",
            Err(RouteError::Method { .. }) => "method",
            Err(RouteError::Path) => "path",
            Err(RouteError::Name(_)) => "name",
            Err(RouteError::Digest(_)) => "digest",
            Err(RouteError::Reference(_)) => "reference",
            Err(RouteError::Upload) => "upload",
        };
        assert_eq!(found, *expected, "{line}");
    }
}

#[test]
fn what_is_no_endpoint() {
    check_refused(&[
        ("GET /", "unknown"),
        ("GET /v1/", "unknown"),
        ("GET /v2x", "unknown"),
        ("GET /v20/", "unknown"),
        ("GET //v2/", "unknown"),
        ("GET /v2%2F", "unknown"),
        ("GET /V2/", "unknown"),
        ("OPTIONS *", "unknown"),
        ("GET /v2/a", "unknown"),
        ("GET /v2/a/", "unknown"),
        ("GET /v2/a/tags", "unknown"),
        ("GET /v2/a/tags/list/", "unknown"),
        ("GET /v2/a/tags/LIST", "unknown"),
        ("GET /v2/_catalog/", "unknown"),
        ("GET /v2/a/_catalog", "unknown"),
        ("GET /v2/_oci/ext", "unknown"),
        ("GET /v2/a/blobs/$D/", "unknown"),
        ("GET /v2/a/manifests/v1/", "unknown"),
        ("GET /v2/a/referrers/$D/", "unknown"),
        ("GET /v2/a/blobs/uploads/$U/", "unknown"),
        ("GET /v2/a/manifests/x/y", "unknown"),
    ]);
}

#[test]
fn traversal_and_borders() {
    check_refused(&[
        ("GET /v2/../../etc/passwd", "unknown"),
        ("GET /v2/../manifests/v1", "name"),
        ("GET /v2/a/../b/manifests/v1", "name"),
        ("GET /v2/./a/manifests/v1", "name"),
        ("GET /v2/%2e%2e/manifests/v1", "name"),
        ("GET /v2/a/%2E%2E/b/blobs/$D", "name"),
        ("GET /v2/a%2Fb/manifests/v1", "path"),
        ("GET /v2/a/manifests%2Fv1", "path"),
        ("GET /v2/..%2f..%2fetc/manifests/v1", "path"),
        ("GET /v2/a%5Cb/manifests/v1", "path"),
        ("GET /v2/a%00/manifests/v1", "path"),
        ("GET /v2/%ff/manifests/v1", "path"),
        ("GET /v2/a/manifests/%c3%28", "path"),
        // Decoded once, not twice.
        ("GET /v2/%252e%252e/manifests/v1", "name"),
        ("GET /v2/a/manifests/%252e%252e", "reference"),
        ("GET /v2/a/manifests/..", "reference"),
        ("GET /v2/a/manifests/%2e%2e", "reference"),
        ("GET /v2/a/blobs/..", "digest"),
        ("GET /v2/a/blobs/uploads/..", "upload"),
        ("GET /v2//", "unknown"),
        ("GET /v2//manifests/v1", "name"),
        ("GET /v2//a/manifests/v1", "name"),
        ("GET /v2/a//b/manifests/v1", "name"),
        ("GET /v2/a//manifests/v1", "name"),
        ("GET /v2/a/manifests//v1", "unknown"),
        ("GET /v2/a/manifests/", "reference"),
        ("GET /v2/a/blobs/", "digest"),
        ("POST /v2/a//blobs/uploads/", "name"),
        ("POST /v2/a/blobs//uploads/", "unknown"),
        ("POST /v2/a/blobs/uploads//", "unknown"),
    ]);
}

#[test]
fn names_digests_and_references_out_of_grammar() {
    let long = format!("GET /v2/{}/manifests/v1", "a".repeat(256));
    let longest_tag = format!("GET /v2/a/manifests/{}", "t".repeat(129));
    check_refused(&[
        (&long, "name"),
        ("GET /v2/A/manifests/v1", "name"),
        ("GET /v2/a_/blobs/$D", "name"),
        ("GET /v2/-a/tags/list", "name"),
        ("GET /v2/a...b/referrers/$D", "name"),
        ("POST /v2/A/blobs/uploads/", "name"),
        ("PATCH /v2/A/blobs/uploads/$U", "name"),
        ("GET /v2/blobs/uploads", "name"),
        ("POST /v2/blobs/uploads/", "name"),
        ("GET /v2/manifests/v1", "name"),
        ("GET /v2/tags/list", "name"),
        ("GET /v2/blobs/$D", "name"),
        ("GET /v2/_catalog/tags/list", "name"),
        ("GET /v2/A/_oci/ext/discover", "name"),
        (&longest_tag, "reference"),
        ("GET /v2/a/manifests/sha256:baddigeststring", "reference"),
        ("PUT /v2/a/manifests/-v1", "reference"),
        ("GET /v2/a/manifests/v%201", "reference"),
        ("GET /v2/a/blobs/v1", "digest"),
        ("GET /v2/a/blobs/sha256:bad", "digest"),
        ("GET /v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", "digest"),
        ("GET /v2/a/referrers/v1", "digest"),
        ("GET /v2/x/blobs/uploads/manifests", "upload"),
        ("PATCH /v2/a/blobs/uploads/1", "upload"),
        ("PATCH /v2/a/blobs/uploads/9F1C2A3B-4C5D-4E6F-8A7B-0C1D2E3F4A5B", "upload"),
        ("PATCH /v2/a/blobs/uploads/9f1c2a3b4c5d4e6f8a7b0c1d2e3f4a5b", "upload"),
    ]);
    let longest = "a".repeat(255);
    let line = format!("GET /v2/{longest}/tags/list");
    check(vec![(&line, of(&longest, Operation::ListTags))]);
}

#[test]
fn other_methods_say_what_is_allowed() {
    let table = [
        ("/v2/", "GET, HEAD"),
        ("/v2", "GET, HEAD"),
        ("/v2/_catalog", "GET, HEAD"),
        ("/v2/_oci/ext/discover", "GET, HEAD"),
        ("/v2/a/_oci/ext/discover", "GET, HEAD"),
        ("/v2/a/tags/list", "GET, HEAD"),
        ("/v2/a/referrers/$D", "GET, HEAD"),
        ("/v2/a/blobs/$D", "GET, HEAD, DELETE"),
        ("/v2/a/manifests/v1", "GET, HEAD, PUT, DELETE"),
        ("/v2/a/manifests/$D", "GET, HEAD, PUT, DELETE"),
        ("/v2/a/blobs/uploads/", "POST"),
        ("/v2/a/blobs/uploads", "POST"),
        ("/v2/a/blobs/uploads/$U", "GET, HEAD, PATCH, PUT, DELETE"),
    ];
    let methods =
        ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"];
    for (path, allowed) in table {
        let path = path.replace("$D", SHA256).replace("$U", ID);
        let all: Vec<&str> = allowed.split(", ").collect();
        for method in methods {
            match parse(method, &path) {
                Ok(_) => assert!(all.contains(&method), "{method} {path}"),
                Err(error) => {
                    assert!(!all.contains(&method), "{method} {path}");
                    assert_eq!(error, RouteError::Method { allowed }, "{method} {path}");
                }
            }
        }
    }
}

/// One of each, in the order of the enum.
fn one_of_each() -> [Endpoint; 17] {
    use Operation as O;
    let reference = || Reference::Digest(Digest::of(Algorithm::Sha512, b""));
    [
        registry(O::ApiVersion),
        of("a", O::GetBlob(sha256())),
        of("a", O::HeadBlob(sha256())),
        of("a", O::GetManifest(reference())),
        of("a", O::HeadManifest(reference())),
        started("a", Some("b")),
        of("a", O::UploadChunk(id())),
        of("a", O::FinishUpload(id())),
        of("a", O::PutManifest(reference())),
        of("a", O::ListTags),
        of("a", O::DeleteManifest(reference())),
        of("a", O::DeleteBlob(sha256())),
        of("a", O::ListReferrers(sha256())),
        of("a", O::UploadStatus(id())),
        of("a", O::CancelUpload(id())),
        registry(O::ListCatalog),
        registry(O::ListExtensions),
    ]
}

#[test]
fn what_each_needs_is_called_and_does() {
    let expected = [
        ("end-1", Action::Enter, false),
        ("end-2", Action::Pull, false),
        ("end-2", Action::Pull, false),
        ("end-3", Action::Pull, false),
        ("end-3", Action::Pull, false),
        ("end-4", Action::Create, true),
        ("end-5", Action::Create, true),
        ("end-6", Action::Create, true),
        ("end-7", Action::Create, true),
        ("end-8", Action::Pull, false),
        ("end-9", Action::Delete, true),
        ("end-10", Action::Delete, true),
        ("end-12", Action::Pull, false),
        ("end-13", Action::Create, false),
        // A caller that may create may cancel what it creates (requirement 50).
        ("end-14", Action::Create, true),
        ("catalog", Action::Catalog, false),
        ("extensions", Action::Enter, false),
    ];
    for (endpoint, (id, action, changes)) in one_of_each().into_iter().zip(expected) {
        let resource = match action {
            Action::Open | Action::Token | Action::Enter | Action::Catalog | Action::See => {
                Resource::Registry
            }
            Action::Pull | Action::Create | Action::Push | Action::Delete => {
                Resource::Repository(name("a"))
            }
        };
        let row = endpoint.operation.row();
        assert_eq!(row.spec_id, id, "{endpoint:?}");
        assert_eq!(endpoint.access(), Access { resource, action }, "{endpoint:?}");
        assert_eq!(row.effect == Effect::Mutates, changes, "{endpoint:?}");
    }
    let extensions = of("a", Operation::ListRepositoryExtensions).access();
    let resource = Resource::Repository(name("a"));
    assert_eq!(extensions, Access { resource, action: Action::Pull });
}

fn any_method() -> impl Strategy<Value = Method> {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "[A-Z]{1,10}"]
        .prop_map(|method| method.parse().unwrap())
}

/// Paths out of the pieces that mean something, and out of anything else.
fn any_path() -> impl Strategy<Value = String> {
    let pieces = [
        "v2",
        "a",
        "b-c",
        "blobs",
        "uploads",
        "manifests",
        "tags",
        "list",
        "referrers",
        "_catalog",
        "_oci",
        "ext",
        "discover",
        "",
        ".",
        "..",
        "%2e",
        "%2F",
        "%",
        "%zz",
        "%00",
        SHA256,
        ID,
    ];
    let piece = prop_oneof![
        4 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => "[!-~]{0,12}",
    ];
    prop_oneof![
        8 => prop::collection::vec(piece, 0..8)
            .prop_map(|pieces| format!("/v2/{}", pieces.join("/"))),
        1 => "/[!-~]{0,40}",
    ]
}

proptest! {
    #[test]
    fn parsing_never_panics(method in any_method(), path in any_path()) {
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        if let Ok(endpoint) = Endpoint::parse(&method, &uri) {
            prop_assert!(uri.path().starts_with("/v2"));
            prop_assert!(!endpoint.operation.row().spec_id.is_empty());
            prop_assert!(endpoint.operation.row().route.starts_with("/v2"));
            let _ = endpoint.access();
        }
    }

    /// Whatever a repository is called, its endpoints are found.
    #[test]
    fn every_name_is_found(
        parts in prop::collection::vec(
            "blobs|uploads|manifests|tags|list|referrers|[a-z0-9]{1,5}",
            1..11,
        ),
    ) {
        let repository = parts.join("/");
        let blob = parse("GET", &format!("/v2/{repository}/blobs/{SHA256}"));
        prop_assert_eq!(blob, Ok(of(&repository, Operation::GetBlob(sha256()))));
        let manifest = parse("PUT", &format!("/v2/{repository}/manifests/uploads"));
        prop_assert_eq!(manifest, Ok(of(&repository, Operation::PutManifest(tag("uploads")))));
        for end in ["", "/"] {
            let start = parse("POST", &format!("/v2/{repository}/blobs/uploads{end}"));
            prop_assert_eq!(start, Ok(started(&repository, None)));
        }
        let chunk = parse("PATCH", &format!("/v2/{repository}/blobs/uploads/{ID}"));
        prop_assert_eq!(chunk, Ok(of(&repository, Operation::UploadChunk(id()))));
        let tags = parse("GET", &format!("/v2/{repository}/tags/list"));
        prop_assert_eq!(tags, Ok(of(&repository, Operation::ListTags)));
    }
}
