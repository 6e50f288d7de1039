//! Every operation of this registry: one closed enum and one table.
//!
//! A request line is parsed into an [`Endpoint`] before anything else happens to the request. The
//! table says what the caller must be allowed to do, and what the operation is called in metrics,
//! traces and logs. Section numbers are those of the OCI distribution-spec ("Endpoints").

#![deny(clippy::wildcard_enum_match_arm)]

mod page;

use std::borrow::Cow;

use http::{Method, Uri};
use memchr::memchr3;
use percent_encoding::percent_decode_str;

pub use page::{File, Page};

use super::query::Query;
use crate::auth::{Access, Action, Resource, TOKEN_PATH};
use crate::oci::{
    Digest, DigestError, NameError, Reference, ReferenceError, RepositoryName, UploadId,
    UploadSegment,
};
use crate::telemetry::metrics::Operation as Label;

/// What a request asks for, with everything that its path says besides the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whether this is a registry.
    ApiVersion,
    /// The repositories (`_catalog`, a reserved extension of older registries).
    ListCatalog,
    /// Which extensions the registry serves (`_oci/ext/discover`).
    ListExtensions,
    /// Which extensions are served for one repository.
    ListRepositoryExtensions,
    GetBlob(Digest),
    HeadBlob(Digest),
    DeleteBlob(Digest),
    GetManifest(Reference),
    HeadManifest(Reference),
    PutManifest(Reference),
    /// Removes a tag or a manifest.
    DeleteManifest(Reference),
    ListTags,
    ListReferrers(Digest),
    /// Begins an upload session, pushes a blob in one request, or mounts a blob.
    StartUpload {
        /// The repository that a mount takes the blob from.
        from: Option<RepositoryName>,
    },
    UploadChunk(UploadSegment),
    FinishUpload(UploadSegment),
    UploadStatus(UploadSegment),
    CancelUpload(UploadSegment),
    /// A token of the registry's own token service.
    Token,
    /// A page for people with a browser.
    Page(Page),
}

/// A row of the table of operations.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The endpoint of the distribution-spec, or a name of ours where the spec has none.
    pub spec_id: &'static str,
    /// The path without what the client chose in it. A closed set: it names the spans of traces.
    pub route: &'static str,
    /// What the caller must be allowed to do.
    pub action: Action,
    /// Whether the operation may change something.
    pub effect: Effect,
    /// Its name in metrics and logs.
    pub label: Label,
}

/// Whether an operation may change something. One that may is finished even if its client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Reads,
    Mutates,
}

const BLOB: &str = "/v2/{name}/blobs/{digest}";
const MANIFEST: &str = "/v2/{name}/manifests/{reference}";
const UPLOAD: &str = "/v2/{name}/blobs/uploads/{id}";

impl Operation {
    /// The table: everything that is decided for each operation, in one place.
    pub fn row(&self) -> Row {
        use Action::{Catalog, Create, Delete, Enter, Open, Pull};
        use Effect::{Mutates, Reads};
        let row =
            |spec_id, route, action, effect, label| Row { spec_id, route, action, effect, label };
        match self {
            Self::ApiVersion => row("end-1", "/v2/", Enter, Reads, Label::ApiVersion),
            Self::GetBlob(_) | Self::HeadBlob(_) => row("end-2", BLOB, Pull, Reads, Label::GetBlob),
            Self::GetManifest(_) | Self::HeadManifest(_) => {
                row("end-3", MANIFEST, Pull, Reads, Label::GetManifest)
            }
            Self::StartUpload { .. } => {
                row("end-4", "/v2/{name}/blobs/uploads/", Create, Mutates, Label::StartUpload)
            }
            Self::UploadChunk(_) => row("end-5", UPLOAD, Create, Mutates, Label::UploadChunk),
            Self::FinishUpload(_) => row("end-6", UPLOAD, Create, Mutates, Label::FinishUpload),
            // Whether the caller may also move a tag is decided when it is known which tags exist.
            Self::PutManifest(_) => row("end-7", MANIFEST, Create, Mutates, Label::PutManifest),
            Self::ListTags => row("end-8", "/v2/{name}/tags/list", Pull, Reads, Label::ListTags),
            Self::DeleteManifest(_) => {
                row("end-9", MANIFEST, Delete, Mutates, Label::DeleteManifest)
            }
            Self::DeleteBlob(_) => row("end-10", BLOB, Delete, Mutates, Label::DeleteBlob),
            Self::ListReferrers(_) => {
                row("end-12", "/v2/{name}/referrers/{digest}", Pull, Reads, Label::ListReferrers)
            }
            Self::UploadStatus(_) => row("end-13", UPLOAD, Create, Reads, Label::UploadStatus),
            Self::CancelUpload(_) => row("end-14", UPLOAD, Create, Mutates, Label::CancelUpload),
            Self::ListCatalog => row("catalog", "/v2/_catalog", Catalog, Reads, Label::ListCatalog),
            Self::ListExtensions => {
                row("extensions", "/v2/_oci/ext/discover", Enter, Reads, Label::ListExtensions)
            }
            Self::ListRepositoryExtensions => {
                let route = "/v2/{name}/_oci/ext/discover";
                row("extensions", route, Pull, Reads, Label::ListExtensions)
            }
            Self::Token => row("token", TOKEN_PATH, Action::Token, Reads, Label::Token),
            Self::Page(Page::Repositories) => {
                row("page", "/ui/", Catalog, Reads, Label::PageRepositories)
            }
            Self::Page(Page::Repository) => {
                row("page", "/ui/repository/{name}", Pull, Reads, Label::PageRepository)
            }
            Self::Page(Page::Untagged) => {
                row("page", "/ui/untagged/{name}", Pull, Reads, Label::PageUntagged)
            }
            Self::Page(Page::Manifest(_)) => {
                row("page", "/ui/manifest/{name}/{reference}", Pull, Reads, Label::PageManifest)
            }
            Self::Page(Page::Login) => row("page", "/ui/login", Enter, Reads, Label::PageLogin),
            Self::Page(Page::Go) => row("page", "/ui/go", Open, Reads, Label::PageGo),
            Self::Page(Page::File(_)) => {
                row("page", "/ui/static/{file}", Open, Reads, Label::PageFile)
            }
        }
    }

    /// What its path names in the repository.
    pub fn target(&self) -> Target<'_> {
        match self {
            Self::GetBlob(digest)
            | Self::HeadBlob(digest)
            | Self::DeleteBlob(digest)
            | Self::ListReferrers(digest) => Target::Digest(digest),
            Self::GetManifest(reference)
            | Self::HeadManifest(reference)
            | Self::PutManifest(reference)
            | Self::DeleteManifest(reference)
            | Self::Page(Page::Manifest(reference)) => Target::Reference(reference),
            Self::UploadChunk(upload)
            | Self::FinishUpload(upload)
            | Self::UploadStatus(upload)
            | Self::CancelUpload(upload) => Target::Upload(&upload.id),
            Self::ApiVersion
            | Self::ListCatalog
            | Self::ListExtensions
            | Self::ListRepositoryExtensions
            | Self::ListTags
            | Self::StartUpload { .. }
            | Self::Token
            | Self::Page(_) => Target::None,
        }
    }
}

/// What a path names in its repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    None,
    Digest(&'a Digest),
    Reference(&'a Reference),
    Upload(&'a UploadId),
}

impl<'a> Target<'a> {
    /// The digest in the path, if there is one.
    pub fn digest(self) -> Option<&'a Digest> {
        match self {
            Self::Digest(digest) | Self::Reference(Reference::Digest(digest)) => Some(digest),
            Self::None | Self::Reference(Reference::Tag(_)) | Self::Upload(_) => None,
        }
    }
}

/// An operation and the repository that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub repository: Option<RepositoryName>,
    pub operation: Operation,
}

/// Why a request is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("there is no such endpoint")]
    Unknown,
    #[error("the endpoint does not answer this method")]
    Method {
        /// What it answers, for the `Allow` header.
        allowed: &'static str,
    },
    #[error("the path is not well-formed")]
    Path,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Digest(#[from] DigestError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("the upload session is not known")]
    Upload,
}

impl Endpoint {
    /// Parses a request line. Total: every method and every path has an answer. The path is read
    /// from the right, because the name of a repository has any number of segments and may contain
    /// the words of the API.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, RouteError> {
        if uri.path() == TOKEN_PATH {
            return match *method {
                Method::GET | Method::HEAD | Method::POST => {
                    Ok(Self { repository: None, operation: Operation::Token })
                }
                _ => Err(RouteError::Method { allowed: "GET, HEAD, POST" }),
            };
        }
        let Some(path) = uri.path().strip_prefix("/v2") else {
            return page::parse(method, uri.path());
        };
        if path.is_empty() || path == "/" {
            return Ok(Self { repository: None, operation: get(method, Operation::ApiVersion)? });
        }
        let path = decode(path.strip_prefix('/').ok_or(RouteError::Unknown)?)?;
        let segments: Vec<&str> = path.split('/').collect();
        let name = |segments: &[&str]| repository(&path, segments);
        let (repository, operation) = match segments.as_slice() {
            ["_catalog"] => (None, get(method, Operation::ListCatalog)?),
            ["_oci", "ext", "discover"] => (None, get(method, Operation::ListExtensions)?),
            [first @ .., "_oci", "ext", "discover"] => {
                (name(first)?, get(method, Operation::ListRepositoryExtensions)?)
            }
            [first @ .., "blobs", "uploads"] if !first.is_empty() => {
                (name(first)?, start(method, uri)?)
            }
            [first @ .., "blobs", "uploads", ""] => (name(first)?, start(method, uri)?),
            [first @ .., "blobs", "uploads", id] => (name(first)?, upload(method, id)?),
            [first @ .., "blobs", digest] => (name(first)?, blob(method, digest)?),
            [first @ .., "manifests", reference] => (name(first)?, manifest(method, reference)?),
            [first @ .., "tags", "list"] => (name(first)?, get(method, Operation::ListTags)?),
            [first @ .., "referrers", digest] => {
                (name(first)?, get(method, Operation::ListReferrers(digest.parse()?))?)
            }
            _ => return Err(RouteError::Unknown),
        };
        Ok(Self { repository, operation })
    }

    /// What the caller must be allowed to do.
    pub fn access(&self) -> Access {
        let repository = self.repository.clone();
        let resource = repository.map_or(Resource::Registry, Resource::Repository);
        Access { resource, action: self.operation.row().action }
    }

    /// The repository that the request may add bytes to.
    pub fn adds_to(&self) -> Option<&RepositoryName> {
        let adds = matches!(
            self.operation,
            Operation::StartUpload { .. }
                | Operation::UploadChunk(_)
                | Operation::FinishUpload(_)
                | Operation::PutManifest(_)
        );
        self.repository.as_ref().filter(|_| adds)
    }

    /// What a token should allow besides: a mount reads its source. A caller that may not read it
    /// uploads the blob instead, which is decided when the blob is mounted.
    pub fn optional_scope(&self) -> Option<Access> {
        let Operation::StartUpload { from: Some(from) } = &self.operation else { return None };
        Some(Access { resource: Resource::Repository(from.clone()), action: Action::Pull })
    }
}

/// The path, percent-decoded once. A decoded slash would move the borders of the segments.
fn decode(path: &str) -> Result<Cow<'_, str>, RouteError> {
    let segment = |segment| {
        let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| RouteError::Path)?;
        if decoded.contains(['/', '\\', '\0']) { Err(RouteError::Path) } else { Ok(decoded) }
    };
    if memchr3(b'%', b'\\', b'\0', path.as_bytes()).is_some() {
        let segments: Result<Vec<Cow<'_, str>>, RouteError> =
            path.split('/').map(segment).collect();
        return Ok(segments?.join("/").into());
    }
    Ok(path.into())
}

/// The name that the first segments of a path spell.
fn repository(path: &str, segments: &[&str]) -> Result<Option<RepositoryName>, RouteError> {
    let bytes: usize = segments.iter().map(|segment| segment.len() + 1).sum();
    Ok(Some(path.get(..bytes.saturating_sub(1)).unwrap_or_default().parse()?))
}

fn get(method: &Method, operation: Operation) -> Result<Operation, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(operation),
        _ => Err(RouteError::Method { allowed: "GET, HEAD" }),
    }
}

fn start(method: &Method, uri: &Uri) -> Result<Operation, RouteError> {
    if *method != Method::POST {
        return Err(RouteError::Method { allowed: "POST" });
    }
    // A source that is no name cannot be mounted from; the spec wants an upload instead.
    let from = Query::of(uri).one("from").and_then(|from| from.parse().ok());
    Ok(Operation::StartUpload { from })
}

fn upload(method: &Method, segment: &str) -> Result<Operation, RouteError> {
    // What follows is a query that lacks its question mark, see `Query::of_upload`.
    let (segment, _) = segment.split_once('&').unwrap_or((segment, ""));
    let upload = segment.parse().map_err(|_| RouteError::Upload)?;
    match *method {
        Method::GET | Method::HEAD => Ok(Operation::UploadStatus(upload)),
        Method::PATCH => Ok(Operation::UploadChunk(upload)),
        Method::PUT => Ok(Operation::FinishUpload(upload)),
        Method::DELETE => Ok(Operation::CancelUpload(upload)),
        _ => Err(RouteError::Method { allowed: "GET, HEAD, PATCH, PUT, DELETE" }),
    }
}

fn blob(method: &Method, digest: &str) -> Result<Operation, RouteError> {
    let digest = digest.parse()?;
    match *method {
        Method::GET => Ok(Operation::GetBlob(digest)),
        Method::HEAD => Ok(Operation::HeadBlob(digest)),
        Method::DELETE => Ok(Operation::DeleteBlob(digest)),
        _ => Err(RouteError::Method { allowed: "GET, HEAD, DELETE" }),
    }
}

fn manifest(method: &Method, reference: &str) -> Result<Operation, RouteError> {
    let reference = reference.parse()?;
    match *method {
        Method::GET => Ok(Operation::GetManifest(reference)),
        Method::HEAD => Ok(Operation::HeadManifest(reference)),
        Method::PUT => Ok(Operation::PutManifest(reference)),
        Method::DELETE => Ok(Operation::DeleteManifest(reference)),
        _ => Err(RouteError::Method { allowed: "GET, HEAD, PUT, DELETE" }),
    }
}

#[cfg(test)]
mod tests;
