//! The names of repositories, in pages.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::page;
use crate::auth::Action;
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::oci::RepositoryName;

/// The catalog — `GET /v2/_catalog`, as older registries serve it. Shows what the caller may
/// read.
pub(super) async fn list(cx: &Context) -> Result<Response, Error> {
    if !cx.api.settings.lists.catalog {
        let message = "the catalog is switched off (lists.catalog)";
        return Err(Error::unsupported(StatusCode::METHOD_NOT_ALLOWED, message));
    }
    let query = Query::of(&cx.uri);
    let count = page::count(cx, &query)?;
    let may_see = |name: &RepositoryName| cx.may(name, Action::See);
    let page = cx.api.registry.repositories.list(query.one("last"), count, &may_see).await?;
    let next = page::next(page.next, "/v2/_catalog", count);
    let names: Vec<&str> = page.rows.iter().map(RepositoryName::as_str).collect();
    Ok(page::response(cx, &json!({ "repositories": names }), "application/json", next))
}
