//! Pages for people with a browser, made on the server from templates. They show what the caller
//! may read, change nothing, and load nothing from elsewhere.

mod format;
mod kind;
mod manifest;
mod referrers;
mod repositories;
mod repository;

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::authorized::Context;
use super::endpoint::{File, Page, RouteError};
use super::error::Error;
use super::headers::{self, value};
use super::query::{Query, encoded};
use super::state::Api;
use crate::auth::BrowserLogin;
use crate::oci::{MediaType, RepositoryName};

/// Where the pages are.
const ROOT: &str = "/ui/";

/// Whether a path is that of a page.
pub(super) fn is_page(path: &str) -> bool {
    path == "/ui" || path.starts_with(ROOT)
}

/// Nothing but our own style sheet, script and icon; no frame, no foreign form.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The content of a file.
fn file(file: File) -> Response {
    let (media_type, text) = match file {
        File::Style => ("text/css; charset=utf-8", include_str!("static/style.css")),
        File::Script => ("text/javascript; charset=utf-8", include_str!("static/page.js")),
        File::Icon => ("image/svg+xml", include_str!("static/icon.svg")),
    };
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "max-age=3600")], text).into_response()
}

/// What every page shows.
struct Frame {
    /// The registry as the browser addresses it.
    host: String,
    /// The name of the user who has logged in.
    user: Option<String>,
    login: BrowserLogin,
    version: &'static str,
}

impl Frame {
    fn of(cx: &Context) -> Self {
        let host = headers::host(&cx.uri, &cx.headers).unwrap_or_default().to_owned();
        Self::new(&cx.api, host, cx.user())
    }

    fn new(api: &Api, host: String, user: Option<String>) -> Self {
        let login = api.authorizer.browser_login();
        Self { host, user, login, version: env!("CARGO_PKG_VERSION") }
    }
}

/// Shows a page.
pub(super) async fn show(cx: &Context, page: &Page) -> Result<Response, Error> {
    match page {
        Page::Repositories => repositories::show(cx).await,
        Page::Repository => repository::tags(cx).await,
        Page::Untagged => repository::untagged(cx).await,
        Page::Manifest(reference) => manifest::show(cx, reference).await,
        // Who comes here has logged in, or need not.
        Page::Login => Ok(lead_to_root()),
        Page::Go => {
            let query = Query::of(&cx.uri);
            let name = query.one("name").unwrap_or_default().trim();
            let name: RepositoryName = name.parse().map_err(RouteError::from)?;
            Ok(lead_to(&format!("{ROOT}repository/{name}")))
        }
        Page::File(name) => Ok(file(*name)),
    }
}

/// Whether `/` was asked for by a browser, which is led to the pages.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let html = "text/html".parse::<MediaType>().unwrap_or_else(|error| match error {});
    headers::accept(headers).names(&html)
}

/// Leads to the first page.
pub(super) fn lead_to_root() -> Response {
    lead_to(ROOT)
}

fn lead_to(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, value(path)), (CACHE_CONTROL, value("no-store"))])
        .into_response()
}

/// The response of a page.
fn html(page: &impl Template) -> Result<Response, Error> {
    let text = page.render().map_err(|error| Error::unexpected(error.to_string()))?;
    let mut response = Response::new(text.into());
    protect(&mut response);
    Ok(response)
}

/// The headers of a page.
fn protect(response: &mut Response) {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        // Another caller may see other things at the same address.
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, text) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(text));
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    status: u16,
    title: &'static str,
    text: String,
}

/// The error of a request for a page, as a page: with the status and the headers that a client of
/// the API would get.
pub(super) fn error(api: &Api, host: String, error: Error) -> Response {
    let frame = Frame::new(api, host, None);
    let status = error.status();
    let (title, text) = match (status, frame.login) {
        (StatusCode::UNAUTHORIZED, BrowserLogin::Token) => (
            "This needs a login",
            "Logins of this registry go through a token server, which a browser cannot use. \
             This page shows what callers without a login may see."
                .to_owned(),
        ),
        (StatusCode::UNAUTHORIZED, _) => (
            "This needs a login",
            "Reload the page to be asked for your name and password.".to_owned(),
        ),
        (StatusCode::FORBIDDEN, _) => (
            "You may not see this",
            "No rule of this registry lets you read this. Its operator can add one.".to_owned(),
        ),
        (StatusCode::NOT_FOUND, _) => (
            "There is nothing here",
            "The registry has no such page, repository, tag or manifest. It may have been deleted."
                .to_owned(),
        ),
        (StatusCode::SERVICE_UNAVAILABLE, _) => (
            "The registry cannot answer now",
            "Its store is away, or it has too much to do. Try again in some seconds.".to_owned(),
        ),
        _ => ("This request cannot be answered", error.reason()),
    };
    let page = ErrorPage { frame, status: status.as_u16(), title, text };
    let mut response = error.into_response();
    *response.body_mut() = page.render().unwrap_or_default().into();
    protect(&mut response);
    response
}

/// The address of a page with these parameters, without those that are empty.
fn address(path: &str, parameters: &[(&str, &str)]) -> String {
    let pairs = parameters.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> =
        pairs.map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}
