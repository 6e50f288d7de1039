//! Passwords, tokens and rules: authentication and authorization.
//!
//! These registries always run in this process over memory, because the tests choose their
//! settings.

mod attacks;
mod browsers;
mod canaries;
mod certificates;
mod create_only;
mod expected_answers;
mod explain;
mod forms;
mod issuer;
mod issuers;
mod passwords;
mod permissions;
mod raw_requests;
mod reasons;
mod secrets;
mod sessions;
pub(crate) mod tls;
mod token_service;
mod tokens;
mod users;
mod visibility;
mod ways;

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore::config::{self, Settings, Sources};
use longshore::store::memory::Memory;
use tempfile::TempDir;

use crate::support::App;
use crate::support::http::{Reply, Request};

/// The lowest cost of bcrypt: these tests do not need an expensive one.
const COST: u32 = 4;

/// A registry, and the folder with its files.
pub(crate) struct Guarded {
    pub(crate) app: App,
    pub(crate) folder: TempDir,
}

impl std::ops::Deref for Guarded {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

/// The settings from a configuration file with this text. `{folder}` stands for the folder.
pub(crate) fn settings(folder: &Path, text: &str) -> Settings {
    let text = text.replace("{folder}", &folder.display().to_string());
    let file = Some(("longshore.toml".into(), text));
    config::load(&Sources { file, ..Sources::default() })
        .unwrap_or_else(|errors| panic!("{errors}"))
}

/// A registry whose users have their name and `-pw` as their password.
async fn with_passwords(users: &[&str], text: &str) -> Guarded {
    with_passwords_over(Arc::new(Memory::new()), users, text).await
}

pub(crate) async fn with_passwords_over(
    memory: Arc<Memory>,
    users: &[&str],
    text: &str,
) -> Guarded {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users: Vec<(&str, String)> = users.iter().map(|user| (*user, password(user))).collect();
    write_users(&folder.path().join("users"), &users);
    let text = format!("access.htpasswd_file = '{{folder}}/users'\n{text}");
    let settings = settings(folder.path(), &text);
    Guarded { app: App::over_memory(memory, settings).await, folder }
}

fn password(user: &str) -> String {
    format!("{user}-pw")
}

fn write_users(path: &Path, users: &[(&str, String)]) {
    let line = |(user, password): &(&str, String)| {
        format!("{user}:{}\n", bcrypt::hash(password, COST).expect("a hash"))
    };
    replace(path, &users.iter().map(line).collect::<String>());
}

/// Replaces the file atomically, as editors and Kubernetes do.
fn replace(path: &Path, contents: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, contents).expect("the folder can be written");
    std::fs::rename(&new, path).expect("the file can be replaced");
}

/// Waits until a change of a file is noticed.
async fn noticed() {
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
}

fn basic_header(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Adds credentials to a request.
pub(crate) trait As: Sized {
    fn basic(self, user: &str, password: &str) -> Self;
    fn user(self, user: &str) -> Self;
    fn bearer(self, token: &str) -> Self;
}

impl As for Request<'_> {
    fn basic(self, user: &str, password: &str) -> Self {
        self.header("authorization", basic_header(user, password))
    }

    fn user(self, user: &str) -> Self {
        self.basic(user, &password(user))
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }
}

/// The only challenge of a 401.
#[track_caller]
fn challenge(reply: &Reply) -> String {
    assert_eq!(reply.status.as_u16(), 401, "{reply:?}");
    // The errors of pages are pages.
    if reply.header("content-type") != Some("text/html; charset=utf-8") {
        assert_eq!(reply.json()["errors"][0]["code"], "UNAUTHORIZED", "{reply:?}");
    }
    assert_eq!(reply.headers.get_all("www-authenticate").iter().count(), 1, "{reply:?}");
    reply.header("www-authenticate").expect("a challenge").to_owned()
}

/// The smallest manifest without references.
pub(crate) fn manifest(seed: &str) -> Vec<u8> {
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": crate::support::app::OCI_INDEX,
        "manifests": [],
        "annotations": { "seed": seed },
    });
    serde_json::to_vec(&index).expect("JSON")
}

/// Pushes such a manifest.
fn push<'a>(app: &'a App, repository: &str, tag: &str, seed: &str) -> Request<'a> {
    app.request("PUT", &format!("/v2/{repository}/manifests/{tag}"))
        .header("content-type", crate::support::app::OCI_INDEX)
        .body(manifest(seed))
}
