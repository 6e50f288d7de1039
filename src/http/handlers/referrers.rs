//! The manifests that name another one as their subject, in pages.

use axum::response::Response;
use http::HeaderValue;
use serde_json::json;

use super::page;
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::headers::OCI_FILTERS_APPLIED;
use crate::http::query::{Query, encoded};
use crate::oci::{Digest, MediaType};

/// Descriptors on one page of referrers: each of them costs a read of the store when it is cold.
const REFERRERS_PAGE_MAX: usize = 100;

/// Content Discovery, "Listing Referrers" — end-12a, end-12b,
/// `GET /v2/<name>/referrers/<digest>`. Never 404: a subject without referrers has an empty list.
pub(super) async fn list(cx: &Context, subject: &Digest) -> Result<Response, Error> {
    let name = cx.repository()?;
    let query = Query::of(&cx.uri);
    let count = page::count(cx, &query)?.min(REFERRERS_PAGE_MAX);
    let filter = query.one("artifactType").filter(|filter| !filter.is_empty());
    let last = query.one("last");
    let page = cx.api.registry.referrers.list(name, subject, filter, last, count).await?;
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
    let mut response = page::response(cx, &index, MediaType::OciIndex.as_str(), next);
    if filter.is_some() {
        let applied = HeaderValue::from_static("artifactType");
        response.headers_mut().insert(OCI_FILTERS_APPLIED, applied);
    }
    Ok(response)
}
