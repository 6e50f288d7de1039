//! Every question this registry answers, as one closed enum.
//!
//! A request is parsed into an [`Endpoint`] before anything else happens to it. The endpoint
//! decides what the caller must be allowed to do, and how the request is called in metrics, traces
//! and logs, by its identifier in the OCI distribution-spec (section "Endpoints").

#![deny(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::auth::{Access, Action, Resource};
use crate::oci::{
    Digest, DigestError, NameError, Reference, ReferenceError, RepositoryName, UploadId,
};
use crate::telemetry::metrics::{Label as _, Route};

/// A question, with everything that its path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// end-1: is this a registry?
    Base,
    /// end-2, GET: the bytes of a blob.
    GetBlob(RepositoryName, Digest),
    /// end-2, HEAD: does the repository have a blob?
    HeadBlob(RepositoryName, Digest),
    /// end-3, GET: a manifest.
    GetManifest(RepositoryName, Reference),
    /// end-3, HEAD: does the repository have a manifest?
    HeadManifest(RepositoryName, Reference),
    /// end-4a, end-4b, end-4c, end-11: begin an upload, push a blob in one request, mount a blob.
    StartUpload {
        /// The repository that gets the blob.
        name: RepositoryName,
        /// Where a mount takes it from.
        from: Option<RepositoryName>,
    },
    /// end-5: a chunk of an upload.
    PatchUpload(RepositoryName, UploadId),
    /// end-6: the end of an upload.
    PutUpload(RepositoryName, UploadId),
    /// end-7a, end-7b: push a manifest.
    PutManifest(RepositoryName, Reference),
    /// end-8a, end-8b: the tags of a repository.
    ListTags(RepositoryName),
    /// end-9: remove a tag or a manifest.
    DeleteManifest(RepositoryName, Reference),
    /// end-10: remove a blob.
    DeleteBlob(RepositoryName, Digest),
    /// end-12a, end-12b: the referrers of a manifest.
    ListReferrers(RepositoryName, Digest),
    /// end-13: how far an upload got.
    GetUpload(RepositoryName, UploadId),
    /// end-14: give up an upload.
    DeleteUpload(RepositoryName, UploadId),
    /// The catalog of repositories (`_catalog`, a reserved extension of older registries).
    Catalog,
    /// Which extensions are served (`_oci/ext/discover`), of the registry or of one repository.
    Extensions(Option<RepositoryName>),
}

/// Why a request is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The path belongs to nothing that is served here.
    #[error("there is no such endpoint")]
    Unknown,
    /// The path is good, the method is not.
    #[error("the endpoint does not answer this method")]
    Method {
        /// What it answers, for the `Allow` header.
        allowed: &'static str,
    },
    /// The path has characters that cannot be meant.
    #[error("the path is not well-formed")]
    Path,
    /// The repository name does not follow the grammar.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The digest does not follow the grammar, or its algorithm is not served.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The reference is neither a tag nor a digest.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The upload is not known: its identifier is none that was given out.
    #[error("the upload session is not known")]
    Upload,
}

impl Endpoint {
    /// Parses a request line. Total: every method and every path has an answer.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, RouteError> {
        let path = uri.path().strip_prefix("/v2").ok_or(RouteError::Unknown)?;
        if path.is_empty() || path == "/" {
            return base(method);
        }
        let path = path.strip_prefix('/').ok_or(RouteError::Unknown)?;
        let segments: Vec<Cow<'_, str>> =
            path.split('/').map(decode).collect::<Result<_, RouteError>>()?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            ["_catalog"] => only_get(method, Self::Catalog),
            ["_oci", "ext", "discover"] => only_get(method, Self::Extensions(None)),
            [name @ .., "_oci", "ext", "discover"] => {
                only_get(method, Self::Extensions(Some(repository(name)?)))
            }
            [name @ .., "blobs", "uploads"] if !name.is_empty() => start(method, name, uri),
            [name @ .., "blobs", "uploads", ""] => start(method, name, uri),
            [name @ .., "blobs", "uploads", id] => upload(method, name, id),
            [name @ .., "blobs", digest] => blob(method, name, digest),
            [name @ .., "manifests", reference] => manifest(method, name, reference),
            [name @ .., "tags", "list"] => only_get(method, Self::ListTags(repository(name)?)),
            [name @ .., "referrers", digest] => {
                let (name, digest) = (repository(name)?, digest.parse()?);
                only_get(method, Self::ListReferrers(name, digest))
            }
            _ => Err(RouteError::Unknown),
        }
    }

    /// As what it is counted.
    pub fn metric_label(&self) -> Route {
        match self {
            Self::Base => Route::Base,
            Self::GetBlob(..) | Self::HeadBlob(..) => Route::Blob,
            Self::GetManifest(..) | Self::HeadManifest(..) => Route::Manifest,
            Self::StartUpload { .. } => Route::StartUpload,
            Self::PatchUpload(..) => Route::PatchUpload,
            Self::PutUpload(..) => Route::PutUpload,
            Self::PutManifest(..) => Route::PutManifest,
            Self::ListTags(..) => Route::Tags,
            Self::DeleteManifest(..) => Route::DeleteManifest,
            Self::DeleteBlob(..) => Route::DeleteBlob,
            Self::ListReferrers(..) => Route::Referrers,
            Self::GetUpload(..) => Route::UploadStatus,
            Self::DeleteUpload(..) => Route::DeleteUpload,
            Self::Catalog => Route::Catalog,
            Self::Extensions(..) => Route::Extensions,
        }
    }

    /// Its identifier in the distribution-spec, or a name of ours where the spec has none.
    pub fn id(&self) -> &'static str {
        self.metric_label().as_str()
    }

    /// The repository that it asks about.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::GetBlob(name, _)
            | Self::HeadBlob(name, _)
            | Self::GetManifest(name, _)
            | Self::HeadManifest(name, _)
            | Self::StartUpload { name, .. }
            | Self::PatchUpload(name, _)
            | Self::PutUpload(name, _)
            | Self::PutManifest(name, _)
            | Self::ListTags(name)
            | Self::DeleteManifest(name, _)
            | Self::DeleteBlob(name, _)
            | Self::ListReferrers(name, _)
            | Self::GetUpload(name, _)
            | Self::DeleteUpload(name, _)
            | Self::Extensions(Some(name)) => Some(name),
            Self::Base | Self::Catalog | Self::Extensions(None) => None,
        }
    }

    /// The path without what a client chose in it. A closed set: it names the spans of traces.
    pub fn route(&self) -> &'static str {
        match self {
            Self::Base => "/v2/",
            Self::GetBlob(..) | Self::HeadBlob(..) | Self::DeleteBlob(..) => {
                "/v2/{name}/blobs/{digest}"
            }
            Self::GetManifest(..)
            | Self::HeadManifest(..)
            | Self::PutManifest(..)
            | Self::DeleteManifest(..) => "/v2/{name}/manifests/{reference}",
            Self::StartUpload { .. } => "/v2/{name}/blobs/uploads/",
            Self::GetUpload(..)
            | Self::PatchUpload(..)
            | Self::PutUpload(..)
            | Self::DeleteUpload(..) => "/v2/{name}/blobs/uploads/{id}",
            Self::ListTags(..) => "/v2/{name}/tags/list",
            Self::ListReferrers(..) => "/v2/{name}/referrers/{digest}",
            Self::Catalog => "/v2/_catalog",
            Self::Extensions(None) => "/v2/_oci/ext/discover",
            Self::Extensions(Some(_)) => "/v2/{name}/_oci/ext/discover",
        }
    }

    /// What the caller must be allowed to do. Whoever pushes a manifest must be allowed to create;
    /// whether tags that are there may be moved is asked when that is known.
    pub fn access(&self) -> Access {
        let (resource, action) = match self {
            Self::Base | Self::Extensions(None) => (Resource::Registry, Action::Enter),
            Self::Catalog => (Resource::Registry, Action::Catalog),
            Self::GetBlob(name, _)
            | Self::HeadBlob(name, _)
            | Self::GetManifest(name, _)
            | Self::HeadManifest(name, _)
            | Self::ListTags(name)
            | Self::ListReferrers(name, _)
            | Self::Extensions(Some(name)) => (Resource::Repository(name.clone()), Action::Pull),
            Self::StartUpload { name, .. }
            | Self::PatchUpload(name, _)
            | Self::PutUpload(name, _)
            | Self::PutManifest(name, _)
            | Self::GetUpload(name, _)
            | Self::DeleteUpload(name, _) => (Resource::Repository(name.clone()), Action::Create),
            Self::DeleteManifest(name, _) | Self::DeleteBlob(name, _) => {
                (Resource::Repository(name.clone()), Action::Delete)
            }
        };
        Access { resource, action }
    }

    /// What the caller would like to be allowed besides. A mount needs to read its source, but
    /// whoever may not read it simply has to upload the blob: that is asked when it is mounted.
    pub fn optional_scope(&self) -> Option<Access> {
        let Self::StartUpload { from: Some(from), .. } = self else { return None };
        Some(Access { resource: Resource::Repository(from.clone()), action: Action::Pull })
    }

    /// Whether the request may change something: such a request is carried through even if its
    /// client has gone away.
    pub fn changes(&self) -> bool {
        match self {
            Self::StartUpload { .. }
            | Self::PatchUpload(..)
            | Self::PutUpload(..)
            | Self::PutManifest(..)
            | Self::DeleteManifest(..)
            | Self::DeleteBlob(..)
            | Self::DeleteUpload(..) => true,
            Self::Base
            | Self::GetBlob(..)
            | Self::HeadBlob(..)
            | Self::GetManifest(..)
            | Self::HeadManifest(..)
            | Self::ListTags(..)
            | Self::ListReferrers(..)
            | Self::GetUpload(..)
            | Self::Catalog
            | Self::Extensions(..) => false,
        }
    }
}

/// One segment of a path. A decoded slash would move the borders of the segments.
fn decode(segment: &str) -> Result<Cow<'_, str>, RouteError> {
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| RouteError::Path)?;
    if decoded.contains(['/', '\\', '\0']) {
        return Err(RouteError::Path);
    }
    Ok(decoded)
}

fn repository(segments: &[&str]) -> Result<RepositoryName, RouteError> {
    Ok(segments.join("/").parse()?)
}

fn base(method: &Method) -> Result<Endpoint, RouteError> {
    only_get(method, Endpoint::Base)
}

fn only_get(method: &Method, endpoint: Endpoint) -> Result<Endpoint, RouteError> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(endpoint);
    }
    Err(RouteError::Method { allowed: "GET, HEAD" })
}

fn start(method: &Method, name: &[&str], uri: &Uri) -> Result<Endpoint, RouteError> {
    let name = repository(name)?;
    if *method != Method::POST {
        return Err(RouteError::Method { allowed: "POST" });
    }
    // A source that is no name cannot be mounted from; the spec wants an upload instead.
    let from = super::query::Query::of(uri).one("from").and_then(|from| from.parse().ok());
    Ok(Endpoint::StartUpload { name, from })
}

fn upload(method: &Method, name: &[&str], id: &str) -> Result<Endpoint, RouteError> {
    let name = repository(name)?;
    let id = id.parse().map_err(|_| RouteError::Upload)?;
    match *method {
        Method::GET | Method::HEAD => Ok(Endpoint::GetUpload(name, id)),
        Method::PATCH => Ok(Endpoint::PatchUpload(name, id)),
        Method::PUT => Ok(Endpoint::PutUpload(name, id)),
        Method::DELETE => Ok(Endpoint::DeleteUpload(name, id)),
        _ => Err(RouteError::Method { allowed: "GET, HEAD, PATCH, PUT, DELETE" }),
    }
}

fn blob(method: &Method, name: &[&str], digest: &str) -> Result<Endpoint, RouteError> {
    let (name, digest) = (repository(name)?, digest.parse()?);
    match *method {
        Method::GET => Ok(Endpoint::GetBlob(name, digest)),
        Method::HEAD => Ok(Endpoint::HeadBlob(name, digest)),
        Method::DELETE => Ok(Endpoint::DeleteBlob(name, digest)),
        _ => Err(RouteError::Method { allowed: "GET, HEAD, DELETE" }),
    }
}

fn manifest(method: &Method, name: &[&str], reference: &str) -> Result<Endpoint, RouteError> {
    let (name, reference) = (repository(name)?, reference.parse()?);
    match *method {
        Method::GET => Ok(Endpoint::GetManifest(name, reference)),
        Method::HEAD => Ok(Endpoint::HeadManifest(name, reference)),
        Method::PUT => Ok(Endpoint::PutManifest(name, reference)),
        Method::DELETE => Ok(Endpoint::DeleteManifest(name, reference)),
        _ => Err(RouteError::Method { allowed: "GET, HEAD, PUT, DELETE" }),
    }
}

#[cfg(test)]
mod tests;
