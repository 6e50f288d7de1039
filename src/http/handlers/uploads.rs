//! Uploads: started, mounted, continued, ended.

use axum::response::{IntoResponse as _, Response};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use http::{HeaderMap, StatusCode};

use super::blobs::accepted;
use crate::auth::Action;
use crate::http::audited::Changed;
use crate::http::authorized::Context;
use crate::http::body::RequestBody;
use crate::http::error::Error;
use crate::http::headers::{
    ContentRangeError, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID, content_range, text, value,
};
use crate::http::query::Query;
use crate::oci::{
    Algorithm, Digest, ErrorCode, NewSession, RepositoryName, UploadId, UploadSegment,
};
use crate::registry::uploads::{Chunk, UploadAddress};
use crate::registry::{self, Blob, MountSource, Mounted};
use crate::telemetry::metrics::Commit;

/// The query key by which a client announces the algorithm of the digest (end-4c).
const DIGEST_ALGORITHM: &str = "digest-algorithm";

/// Pushing blobs — end-4a, end-4b, end-4c, end-11, `POST /v2/<name>/blobs/uploads/`.
pub(super) async fn start(
    cx: &Context,
    from: Option<&RepositoryName>,
    body: &mut RequestBody,
) -> Result<Response, Error> {
    let name = cx.repository()?;
    let query = Query::of(&cx.uri);
    if let Some(Mounted { blob, from }) = mount(cx, name, from, &query).await? {
        cx.api.metrics.upload_commits.inc((Commit::Mounted,));
        return Ok(created(cx, name, &blob, Some(from)));
    }
    let digests = digests(&query)?;
    if !digests.is_empty() {
        let blob =
            cx.api.registry.uploads.put_blob(name, &digests, content(cx, None, body)).await?;
        return Ok(created(cx, name, &blob, None));
    }
    let algorithm = query.one(DIGEST_ALGORITHM).map(str::parse::<Algorithm>).transpose();
    let algorithm = algorithm.map_err(|error| Error::digest(&error))?;
    let new = Some(NewSession { algorithm });
    let upload = address(cx, UploadSegment { id: UploadId::random(), new })?;
    let mut response = accepted();
    position(cx, response.headers_mut(), &upload, 0);
    Ok(response)
}

/// Mounting a blob from another repository — end-11. What cannot be mounted is uploaded: whether
/// it is missing, misspelled or not for this caller to read.
async fn mount(
    cx: &Context,
    name: &RepositoryName,
    from: Option<&RepositoryName>,
    query: &Query<'_>,
) -> Result<Option<Mounted>, Error> {
    let Some(digest) = query.one("mount").and_then(|digest| digest.parse::<Digest>().ok()) else {
        return Ok(None);
    };
    let may_pull = |name: &RepositoryName| cx.may(name, Action::Pull);
    let source = match from {
        Some(from) if may_pull(from) => MountSource::Named(from.clone()),
        None if query.one("from").is_none() => MountSource::Any,
        Some(_) | None => return Ok(None),
    };
    Ok(cx.api.registry.blobs.mount(name, &source, &digest, &may_pull).await?)
}

/// Pushing a blob in chunks — end-5, `PATCH <location>`.
pub(super) async fn chunk(
    cx: &Context,
    segment: UploadSegment,
    body: &mut RequestBody,
) -> Result<Response, Error> {
    let upload = address(cx, segment)?;
    let range = range(cx, &upload, body.length).await?;
    let appended = cx.api.registry.uploads.append(&upload, content(cx, range, body)).await;
    let offset = appended.map_err(|error| in_session(cx, error, &upload))?;
    let mut response = accepted();
    position(cx, response.headers_mut(), &upload, offset);
    response.extensions_mut().insert(Changed { size: Some(offset), ..Changed::default() });
    Ok(response)
}

/// Closing the session — end-6, `PUT <location>?digest=<digest>`, with or without a last chunk.
pub(super) async fn finish(
    cx: &Context,
    segment: UploadSegment,
    body: &mut RequestBody,
) -> Result<Response, Error> {
    let upload = address(cx, segment)?;
    let range = range(cx, &upload, body.length).await?;
    let digests = digests(&Query::of_upload(&cx.uri))?;
    if digests.is_empty() {
        let message = "a digest has to close the upload";
        return Err(Error::bad_request(ErrorCode::DigestInvalid, message));
    }
    let finished =
        cx.api.registry.uploads.finish(&upload, content(cx, range, body), &digests).await;
    let blob = finished.map_err(|error| in_session(cx, error, &upload))?;
    // What an earlier request has finished was not read again.
    body.drain().await;
    Ok(created(cx, &upload.repository, &blob, None))
}

/// Resuming an upload — end-13, `GET <location>`.
pub(super) async fn status(cx: &Context, segment: UploadSegment) -> Result<Response, Error> {
    let upload = address(cx, segment)?;
    let offset = cx.api.registry.uploads.offset(&upload).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    position(cx, response.headers_mut(), &upload, offset);
    Ok(response)
}

/// Cancelling an upload — end-14, `DELETE <location>`.
pub(super) async fn cancel(cx: &Context, segment: UploadSegment) -> Result<Response, Error> {
    let upload = address(cx, segment)?;
    cx.api.registry.uploads.cancel(&upload).await?;
    let id = [(DOCKER_UPLOAD_UUID, value(&upload.id.to_string()))];
    Ok((StatusCode::NO_CONTENT, id).into_response())
}

fn address(cx: &Context, segment: UploadSegment) -> Result<UploadAddress, Error> {
    let (UploadSegment { id, new }, repository) = (segment, cx.repository()?.clone());
    let may_read = cx.may(&repository, Action::Pull);
    Ok(UploadAddress { repository, subject: cx.subject(), id, may_read, new })
}

fn content<'a>(cx: &Context, range: Option<(u64, u64)>, body: &'a mut RequestBody) -> Chunk<'a> {
    Chunk { range, length: body.length, claimant: cx.claimant(), body: &mut body.chunks }
}

/// What the content has to hash to: every `digest` of the query.
fn digests(query: &Query<'_>) -> Result<Vec<Digest>, Error> {
    query
        .all("digest")
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::digest(&error))
}

/// The `Content-Range` of the request. Whether it fits the session comes before whether it fits
/// the body, so the registry compares both.
async fn range(
    cx: &Context,
    upload: &UploadAddress,
    length: Option<u64>,
) -> Result<Option<(u64, u64)>, Error> {
    // A final PUT without a body may repeat the range of nothing; there is nothing to place.
    let Some(header) = text(&cx.headers, &CONTENT_RANGE).filter(|_| length != Some(0)) else {
        return Ok(None);
    };
    match content_range(header) {
        Ok(range) => Ok(Some(range)),
        Err(ContentRangeError::Malformed) => {
            let message = "Content-Range must be <first>-<last>";
            Err(Error::bad_request(ErrorCode::BlobUploadInvalid, message))
        }
        Err(ContentRangeError::Reversed) => {
            let offset = cx.api.registry.uploads.offset(upload).await?;
            let message = "Content-Range ends before it begins";
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            let error = Error::new(status, ErrorCode::BlobUploadInvalid, message);
            Err(located(cx, error, upload, offset))
        }
    }
}

/// An error of a session that goes on says where it stands.
fn in_session(cx: &Context, error: registry::Error, upload: &UploadAddress) -> Error {
    match error {
        registry::Error::OutOfOrder { offset } => located(cx, error.into(), upload, offset),
        error => error.into(),
    }
}

fn located(cx: &Context, mut error: Error, upload: &UploadAddress, offset: u64) -> Error {
    let mut headers = HeaderMap::new();
    position(cx, &mut headers, upload, offset);
    for (name, value) in headers {
        if let Some(name) = name {
            error = error.header(name, value);
        }
    }
    error
}

/// Where a session is and how far it got. As long as nothing was written, the location says so: no
/// record may exist yet. The end of the range is that of its last byte; a session without bytes
/// says `0-0`, because old clients cannot read anything else.
fn position(cx: &Context, headers: &mut HeaderMap, upload: &UploadAddress, offset: u64) {
    let segment = UploadSegment { id: upload.id, new: upload.new.filter(|_| offset == 0) };
    let location = format!("/v2/{}/blobs/uploads/{segment}", upload.repository);
    headers.insert(LOCATION, cx.location(&location));
    headers.insert(RANGE, value(&format!("0-{}", offset.saturating_sub(1))));
    headers.insert(DOCKER_UPLOAD_UUID, value(&upload.id.to_string()));
}

/// 201 for a blob that is there now.
fn created(
    cx: &Context,
    name: &RepositoryName,
    blob: &Blob,
    mounted_from: Option<RepositoryName>,
) -> Response {
    let location = cx.location(&format!("/v2/{name}/blobs/{}", blob.digest));
    let digest = value(&blob.digest.to_string());
    let headers = [(LOCATION, location), (DOCKER_CONTENT_DIGEST, digest)];
    let changed = Changed { size: Some(blob.size), mounted_from, ..Changed::default() };
    let mut response = (StatusCode::CREATED, headers, [(CONTENT_LENGTH, "0")]).into_response();
    response.extensions_mut().insert(changed);
    response
}
