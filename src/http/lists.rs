//! Lists: tags, repositories, referrers. Ordered, in pages.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::headers::{OCI_FILTERS_APPLIED, value};
use super::query::{Query, encoded};
use super::{Context, Error};
use crate::oci::{Digest, MediaType, RepositoryName};

/// Descriptors on one page of referrers: each of them costs a read of the store when it is cold.
const REFERRERS_PAGE_MAX: usize = 100;

/// Content Discovery, "Listing Tags" — end-8a, end-8b, `GET /v2/<name>/tags/list`.
pub(super) async fn tags(cx: &Context, name: &RepositoryName) -> Result<Response, Error> {
    let query = Query::of(&cx.uri);
    let count = count(cx, &query)?;
    let page = cx.api.registry.tags(name, query.one("last"), count).await?;
    let next = page
        .rows
        .last()
        .filter(|_| page.more)
        .map(|last| format!("/v2/{name}/tags/list?n={count}&last={}", encoded(last.as_str())));
    let tags: Vec<&str> = page.rows.iter().map(crate::oci::Tag::as_str).collect();
    Ok(list(&json!({ "name": name.as_str(), "tags": tags }), "application/json", next))
}

/// The catalog — `GET /v2/_catalog`, as older registries serve it. Shows what the caller may
/// read.
pub(super) async fn catalog(cx: &Context) -> Result<Response, Error> {
    if !cx.api.settings.catalog {
        let message = "the catalog is switched off (lists.catalog)";
        return Err(Error::unsupported(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    let query = Query::of(&cx.uri);
    let count = count(cx, &query)?;
    let page = cx.api.registry.repositories(query.one("last"), count).await?;
    let next = page
        .rows
        .last()
        .filter(|_| page.more)
        .map(|last| format!("/v2/_catalog?n={count}&last={}", encoded(last.as_str())));
    let names: Vec<&str> =
        page.rows.iter().filter(|name| cx.may_see(name)).map(RepositoryName::as_str).collect();
    Ok(list(&json!({ "repositories": names }), "application/json", next))
}

/// Content Discovery, "Listing Referrers" — end-12a, end-12b,
/// `GET /v2/<name>/referrers/<digest>`. Never 404: what nobody refers to has no referrers.
pub(super) async fn referrers(
    cx: &Context,
    name: &RepositoryName,
    subject: &Digest,
) -> Result<Response, Error> {
    let query = Query::of(&cx.uri);
    let count = count(cx, &query)?.min(REFERRERS_PAGE_MAX);
    let filter = query.one("artifactType").filter(|filter| !filter.is_empty());
    let last = query.one("last");
    let page = cx.api.registry.referrers(name, subject, filter, last, count).await?;
    let next = page.next.map(|last| {
        let mut next = format!("/v2/{name}/referrers/{subject}?n={count}&last={}", encoded(&last));
        if let Some(filter) = filter {
            next.push_str("&artifactType=");
            next.push_str(&encoded(filter));
        }
        next
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciIndex.as_str(),
        "manifests": page.descriptors,
    });
    let mut response = list(&index, MediaType::OciIndex.as_str(), next);
    if filter.is_some() {
        let applied = HeaderValue::from_static("artifactType");
        response.headers_mut().insert(OCI_FILTERS_APPLIED, applied);
    }
    Ok(response)
}

/// How many rows the client wants; more than a page holds is the page.
fn count(cx: &Context, query: &Query<'_>) -> Result<usize, Error> {
    let max = cx.api.registry.limits().page_max;
    let Some(text) = query.one("n") else { return Ok(max) };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = "n must be a number of rows";
        return Err(Error::unsupported(StatusCode::BAD_REQUEST, message)
            .detail(json!({ "n": encoded(text) })));
    }
    Ok(text.parse().unwrap_or(usize::MAX).min(max))
}

fn list(body: &Value, media_type: &str, next: Option<String>) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(media_type));
    if let Some(next) = next {
        headers.insert(LINK, value(&format!("<{next}>; rel=\"next\"")));
    }
    response
}
