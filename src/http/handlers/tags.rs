//! The tags of a repository, in pages.

use axum::response::Response;
use serde_json::json;

use super::page;
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::oci::Tag;

/// Content Discovery, "Listing Tags" — end-8a, end-8b, `GET /v2/<name>/tags/list`.
pub(super) async fn list(cx: &Context) -> Result<Response, Error> {
    let name = cx.repository()?;
    let query = Query::of(&cx.uri);
    let count = page::count(cx, &query)?;
    let page = cx.api.registry.tags.list(name, query.one("last"), count).await?;
    let next = page::next(page.next, &format!("/v2/{name}/tags/list"), count);
    let tags: Vec<&str> = page.rows.iter().map(Tag::as_str).collect();
    let body = json!({ "name": name.as_str(), "tags": tags });
    Ok(page::response(cx, &body, "application/json", next))
}
