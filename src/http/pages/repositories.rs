//! The repositories of the registry.

use askama::Template;
use axum::response::Response;

use super::{Frame, ROOT, address, html};
use crate::auth::{Action, BrowserLogin};
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::oci::RepositoryName;

/// Repositories on one page.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "repositories.html")]
struct Repositories<'a> {
    frame: Frame,
    prefix: &'a str,
    names: Vec<RepositoryName>,
    next: Option<String>,
}

/// Shows the repositories that the caller may see, with the rights of `GET /v2/_catalog`.
pub(super) async fn show(cx: &Context) -> Result<Response, Error> {
    if !cx.api.settings.lists.catalog {
        return Err(Error::forbidden("the catalog is switched off (lists.catalog)"));
    }
    let query = Query::of(&cx.uri);
    let prefix = query.one("q").unwrap_or_default().trim();
    let may_see = |name: &RepositoryName| cx.may(name, Action::See);
    let repositories = &cx.api.registry.repositories;
    let page = repositories.search(prefix, query.one("last"), ROWS, &may_see).await?;
    let next = page.next.map(|next| address(ROOT, &[("q", prefix), ("last", &next)]));
    html(&Repositories { frame: Frame::of(cx), prefix, names: page.rows, next })
}
