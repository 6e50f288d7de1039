//! The challenge of the registry, and the login that answers it.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{HeaderValue, WWW_AUTHENTICATE};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::address::{Address, Place};
use super::client::{Answer, Asked, Client};
use super::finding::{Class, Finding};
use crate::setting::{Secret, read_secret};

/// A user and the password. Nothing prints the password.
#[derive(Clone, Debug)]
pub struct Login {
    pub user: String,
    pub password: Secret,
}

/// How the registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// It answers without a login.
    None,
    Basic,
    Bearer {
        realm: String,
        service: String,
    },
}

/// What a token server answers.
#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    /// The same. Some servers have one of the two, and some both.
    access_token: Option<String>,
}

impl Login {
    /// A user whose password is in a file.
    pub fn of_file(user: String, file: &Path) -> Result<Self, String> {
        Ok(Self { user, password: Secret::new(&read_secret(file)?) })
    }

    fn basic(&self) -> Option<HeaderValue> {
        let pair = format!("{}:{}", self.user, self.password.expose());
        let mut value =
            HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(pair))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Challenge {
    /// The challenge in a 401. `None` if it has none that is known.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let text = answer.text(WWW_AUTHENTICATE);
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let realm = parameter(rest, "realm")?;
        Some(Self::Bearer { realm, service: parameter(rest, "service").unwrap_or_default() })
    }

    /// The realm of a token, and whether passwords may be sent there.
    pub(super) fn realm(&self, server: &Address) -> Option<Result<Place, Finding>> {
        let Self::Bearer { realm, .. } = self else { return None };
        let seen = "WWW-Authenticate of a 401";
        let Some(place) = server.resolve(realm) else {
            let what = "the realm of the challenge is no address of a token server";
            return Some(Err(Finding::new(Class::Realm, what, seen)));
        };
        let at = &place.server;
        let wrong = if server.secure && !at.secure {
            Some("has no TLS, so clients would send passwords in the clear")
        } else if at.host == server.host && at.port != server.port {
            Some("has the host of the registry and another port")
        } else {
            None
        };
        Some(match wrong {
            Some(what) => {
                let what = format!("the realm {place} {what}; the registry was asked at {server}");
                Err(Finding::new(Class::Realm, what, seen))
            }
            None => Ok(place),
        })
    }

    /// The `Authorization` for these actions on a repository. An error says why there is none.
    pub(super) async fn answer(
        &self,
        client: &Client,
        server: &Address,
        login: Option<&Login>,
        scope: &str,
    ) -> Result<Option<HeaderValue>, Finding> {
        let basic = login.and_then(Login::basic);
        let Self::Bearer { service, .. } = self else { return Ok(basic) };
        let Some(realm) = self.realm(server).transpose()? else { return Ok(None) };
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let mut place = realm.clone();
        let separator = if place.path.contains('?') { '&' } else { '?' };
        let query = format!("{separator}service={}&scope={}", encoded(service), encoded(scope));
        place.path.push_str(&query);
        let asked = Asked::get(place);
        let asked = asked.authorized(basic);
        let refused = |what: &str, seen: String| {
            Finding::new(Class::Login, format!("the token server {realm} {what}"), seen)
        };
        let unreachable = |error: super::client::Failure| {
            let what = format!("the token server {realm} gives no answer");
            Finding::new(Class::Realm, what, error.to_string())
        };
        let answer = client.send(asked).await.map_err(unreachable)?;
        if !answer.status.is_success() {
            return Err(refused("refuses a token", answer.seen()));
        }
        let granted = serde_json::from_slice::<Granted>(&answer.body).ok();
        let token = granted.and_then(|granted| granted.token.or(granted.access_token));
        let value = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
        match value {
            None => Err(refused("gives no token", format!("the body of its {}", answer.seen()))),
            Some(mut value) => {
                value.set_sensitive(true);
                Ok(Some(value))
            }
        }
    }
}

/// A parameter of a challenge, as `name="value"`.
fn parameter(text: &str, name: &str) -> Option<String> {
    let parts = text.split(',').map(str::trim);
    let mut values = parts.filter_map(|part| part.split_once('='));
    let (_, value) = values.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"').to_owned())
}
