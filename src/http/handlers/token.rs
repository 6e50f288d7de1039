//! Tokens of the registry's own token service.

use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, StatusCode};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::{FormCredentials, Issued};
use crate::http::authorized::Context;
use crate::http::body::RequestBody;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::oci::ErrorCode;

/// A longer form is refused. The longest field is a refresh token or a list of scopes.
const FORM_BYTES_MAX: usize = 32 * 1024;

/// Distribution registry, "Token Authentication Specification" (`GET`) and "OAuth2 Token
/// Authentication" (`POST`). What a client may not do is left out of its token.
pub(super) async fn issue(cx: &Context, body: &mut RequestBody) -> Result<Response, Error> {
    if cx.method != Method::POST {
        let query = Query::of(&cx.uri);
        let scopes: Vec<&str> = query.all("scope").collect();
        let offline = query.one("offline_token") == Some("true");
        return Ok(response(&cx.issue_token(None, &scopes, offline).await?));
    }
    let text = form(body).await?;
    let form = Query::of_form(&text);
    let field = |name| form.one(name).unwrap_or_default();
    let credentials = match field("grant_type") {
        "password" => {
            FormCredentials::Password { user: field("username"), password: field("password") }
        }
        "refresh_token" => FormCredentials::RefreshToken(field("refresh_token")),
        _ => {
            let message = "grant_type must be password or refresh_token";
            return Err(Error::unsupported(StatusCode::BAD_REQUEST, message));
        }
    };
    let scopes: Vec<&str> = form.all("scope").collect();
    let offline = field("access_type") == "offline";
    Ok(response(&cx.issue_token(Some(credentials), &scopes, offline).await?))
}

/// The form, in which a `+` is a space.
async fn form(body: &mut RequestBody) -> Result<String, Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunks.next().await {
        let chunk = chunk
            .map_err(|interrupted| Error::unsupported(StatusCode::BAD_REQUEST, interrupted.0))?;
        if bytes.len() + chunk.len() > FORM_BYTES_MAX {
            let message = format!("the form has more than {FORM_BYTES_MAX} bytes");
            return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::SizeInvalid, message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).replace('+', " "))
}

fn response(issued: &Issued) -> Response {
    let Issued { token, scope, issued_at, expires_in, refresh_token } = issued;
    let issued_at = OffsetDateTime::from(*issued_at).replace_nanosecond(0);
    let issued_at = issued_at.ok().and_then(|time| time.format(&Rfc3339).ok());
    let mut answer = json!({
        "token": token,
        "access_token": token,
        "scope": scope,
        "expires_in": expires_in.as_secs(),
        "issued_at": issued_at,
    });
    if let Some(refresh_token) = refresh_token {
        answer["refresh_token"] = refresh_token.as_str().into();
    }
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (headers, answer.to_string()).into_response()
}
