//! Manifests: pulled, pushed and removed.

use std::collections::HashSet;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, VARY};
use http::{HeaderValue, Method, StatusCode};

use super::blobs::accepted;
use crate::audit_log::TagChange;
use crate::auth::Action;
use crate::http::audited::Changed;
use crate::http::authorized::Context;
use crate::http::body::RequestBody;
use crate::http::error::Error;
use crate::http::headers::{
    self, OCI_SUBJECT, OCI_TAG, Precondition, name_content, tag_condition, value,
};
use crate::http::query::{Query, encoded};
use crate::oci::{Digest, ErrorCode, Reference, Tag};
use crate::registry::{self, Purpose, Push, StoredManifest, TagCondition};

/// Pulling manifests — end-3, `GET` and `HEAD /v2/<name>/manifests/<reference>`.
pub(super) async fn get(cx: &Context, reference: &Reference) -> Result<Response, Error> {
    let name = cx.repository()?;
    let accept = headers::accept(&cx.headers);
    let manifests = &cx.api.registry.manifests;
    let manifest = manifests.negotiate(name, reference, &accept, purpose(cx)?).await?;
    match headers::precondition(&cx.headers, &manifest.digest) {
        Precondition::Holds => {}
        Precondition::NotModified => {
            let mut response = headers::content_response(Body::empty());
            describe(cx, &mut response, &manifest);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        Precondition::Failed => {
            let message = "the manifest has another digest than If-Match names";
            let status = StatusCode::PRECONDITION_FAILED;
            return Err(Error::new(status, ErrorCode::Denied, message));
        }
    }
    let length = manifest.bytes.len();
    let body =
        if cx.method == Method::HEAD { Body::empty() } else { Body::from(manifest.bytes.clone()) };
    let mut response = headers::content_response(body);
    describe(cx, &mut response, &manifest);
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    Ok(response)
}

/// Clients ask with HEAD whether they have to push a manifest before an index that names it. Who
/// cannot push relies on nothing, and causes no write.
fn purpose(cx: &Context) -> Result<Purpose, Error> {
    let pushes = cx.method == Method::HEAD && cx.may(cx.repository()?, Action::Create);
    Ok(if pushes { Purpose::Push } else { Purpose::Pull })
}

fn describe(cx: &Context, response: &mut Response, manifest: &StoredManifest) {
    let headers = response.headers_mut();
    // Its digest is that of these very bytes.
    let caching = if cx.is_public() { "no-transform" } else { "private, no-transform" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    headers.insert(CONTENT_TYPE, value(manifest.media_type.as_str()));
    name_content(headers, manifest.quoted_digest());
    headers.insert(VARY, HeaderValue::from_static("Accept"));
}

/// Pushing Manifests — end-7a, `PUT /v2/<name>/manifests/<reference>`, and end-7b, the same by
/// digest with `?tag=<tag>` for each tag to set.
pub(super) async fn put(
    cx: &Context,
    reference: &Reference,
    body: &mut RequestBody,
) -> Result<Response, Error> {
    let name = cx.repository()?;
    let tags = tags(cx, reference)?;
    let limit = cx.api.settings.manifests.bytes_max;
    let manifests = &cx.api.registry.manifests;
    let body = (body.length, &mut body.chunks);
    let received = manifests.receive(&cx.claimant(), body, limit).await;
    // Held until the push has ended: it keeps the memory of the body reserved.
    let received = received.map_err(|error| not_received(error, limit))?;
    let declared = headers::content_type(&cx.headers);
    let raw = received.bytes().clone();
    let (manifest, digest) = manifests.accept(raw, declared.as_ref(), reference)?;
    let (condition, imposed) = condition(cx, digest)?;
    let by = &cx.subject();
    let push = Push { name, manifest: &manifest, digest, tags: &tags, condition: &condition, by };
    let pushed = manifests.put(&push).await.map_err(|error| match error {
        registry::Error::PreconditionFailed if imposed => only_create(),
        other => other.into(),
    })?;
    let mut response = (StatusCode::CREATED, [(CONTENT_LENGTH, "0")]).into_response();
    let headers = response.headers_mut();
    headers.insert(LOCATION, cx.location(&format!("/v2/{name}/manifests/{reference}")));
    name_content(headers, format!("\"{digest}\"").into());
    if let Some(subject) = pushed.subject {
        headers.insert(OCI_SUBJECT, value(&subject.to_string()));
    }
    if matches!(reference, Reference::Digest(_)) {
        for tag in &tags {
            headers.append(OCI_TAG, value(tag.as_str()));
        }
    }
    let set = |(tag, before)| TagChange { tag, before, after: Some(digest) };
    let tags = tags.into_iter().zip(pushed.pointed_at).map(set).collect();
    let size = Some(manifest.raw().len() as u64);
    response.extensions_mut().insert(Changed { size, tags, mounted_from: None });
    Ok(response)
}

fn not_received(error: registry::Error, limit: usize) -> Error {
    match error {
        registry::Error::TooLarge(_) => {
            let message = format!("the manifest is larger than {limit} bytes");
            Error::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
        }
        registry::Error::Interrupted(reason) => Error::bad_request(ErrorCode::SizeInvalid, reason),
        other => other.into(),
    }
}

/// The condition of a push of this manifest, and whether the rules impose it: a caller who may only
/// create sets tags that are absent or point at the manifest already, of those that it asked for.
/// The store decides it together with the write, so of two who create one tag one fails.
fn condition(cx: &Context, digest: Digest) -> Result<(TagCondition, bool), Error> {
    let asked = tag_condition(&cx.headers);
    if cx.may(cx.repository()?, Action::Push) {
        return Ok((asked, false));
    }
    let both = match asked {
        TagCondition::PointsElsewhere(digests) if digests.contains(&digest) => TagCondition::Absent,
        TagCondition::None | TagCondition::PointsElsewhere(_) => TagCondition::Unmoved(digest),
        TagCondition::PointsAt(digests) if !digests.contains(&digest) => return Err(only_create()),
        TagCondition::Present | TagCondition::PointsAt(_) => TagCondition::PointsAt(vec![digest]),
        TagCondition::Absent | TagCondition::Unmoved(_) => TagCondition::Absent,
    };
    Ok((both, true))
}

fn only_create() -> Error {
    Error::forbidden("the caller may create tags, but not move one that is there")
}

/// The tags that a push sets: the one in its path, or those in its query.
fn tags(cx: &Context, reference: &Reference) -> Result<Vec<Tag>, Error> {
    let query = Query::of(&cx.uri);
    let max = cx.api.settings.manifests.tags_per_push_max;
    if query.all("tag").count() > max {
        let message = format!("one push sets at most {max} tags");
        return Err(Error::unsupported(StatusCode::URI_TOO_LONG, message));
    }
    let (mut tags, mut seen): (Vec<Tag>, _) = (Vec::new(), HashSet::new());
    for text in query.all("tag") {
        let tag = text.parse().map_err(|error| {
            let message = format!("tag {}: {error}", encoded(text));
            Error::bad_request(ErrorCode::ManifestInvalid, message)
        })?;
        if seen.insert(text) {
            tags.push(tag);
        }
    }
    match reference {
        Reference::Tag(_) if !tags.is_empty() => {
            let message = "tags in the query need a digest in the path";
            Err(Error::unsupported(StatusCode::BAD_REQUEST, message))
        }
        Reference::Tag(tag) => Ok(vec![tag.clone()]),
        Reference::Digest(_) => Ok(tags),
    }
}

/// Deleting tags and manifests — end-9, `DELETE /v2/<name>/manifests/<reference>`.
pub(super) async fn delete(cx: &Context, reference: &Reference) -> Result<Response, Error> {
    let name = cx.repository()?;
    if !cx.api.settings.manifests.delete {
        let message = "deleting manifests is switched off (manifests.delete)";
        return Err(Error::not_allowed("GET, HEAD, PUT", message));
    }
    let condition = tag_condition(&cx.headers);
    let deleted = |tag, before| TagChange { tag, before: Some(before), after: None };
    let tags = match reference {
        Reference::Tag(tag) => {
            let before = cx.api.registry.tags.delete(name, tag, &condition).await?;
            vec![deleted(tag.clone(), before)]
        }
        Reference::Digest(digest) => {
            if !matches!(condition, TagCondition::None | TagCondition::Present)
                && condition != TagCondition::PointsAt(vec![*digest])
            {
                return Err(registry::Error::PreconditionFailed.into());
            }
            let tags = cx.api.registry.manifests.delete(name, digest).await?;
            tags.into_iter().map(|tag| deleted(tag, *digest)).collect()
        }
    };
    let mut response = accepted();
    response.extensions_mut().insert(Changed { tags, ..Changed::default() });
    Ok(response)
}
