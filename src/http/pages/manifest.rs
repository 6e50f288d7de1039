//! One manifest: what it is, what it contains, and what refers to it.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use bytes::BytesMut;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::StatusCode;
use serde_json::{Map, Value};

use super::format::{Size, short};
use super::kind::{Command, Kind, commands};
use super::referrers::{self, Referrer, Tree};
use super::{Frame, html};
use crate::auth::BrowserLogin;
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::oci::{Accept, Descriptor, Digest, Manifest, Reference, RepositoryName};
use crate::registry::{Nature, Purpose, StoredManifest};

/// The largest config that is read, in bytes. Real ones have some kilobytes.
const CONFIG_BYTES_MAX: u64 = 256 * 1024;
/// The largest manifest that is shown as JSON, in bytes.
const RAW_BYTES_MAX: usize = 128 * 1024;
/// Manifests of an index that are shown and read, and how many of them at once.
const CHILDREN_MAX: usize = 64;
const READS_AT_ONCE: usize = 32;
/// Layers that are shown.
const LAYERS_MAX: usize = 200;
/// Entries of a config or of annotations that are shown, and the characters of each.
const ENTRIES_MAX: usize = 100;
const ENTRY_CHARS_MAX: usize = 1_000;

struct Child {
    platform: String,
    kind: Kind,
    media_type: String,
    /// Of its config and layers.
    size: Option<Size>,
    digest: String,
    short_digest: String,
    /// Whether the repository has it.
    linked: bool,
}

struct Layer {
    digest: String,
    short_digest: String,
    title: Option<String>,
    media_type: String,
    size: Size,
    /// Hundredths of the sum.
    share: u64,
}

struct Step {
    command: String,
    empty: bool,
}

#[derive(Template)]
#[template(path = "manifest.html")]
struct ManifestPage<'a> {
    frame: Frame,
    name: &'a RepositoryName,
    separator: char,
    reference: String,
    short_reference: String,
    kind: Kind,
    digest: Digest,
    media_type: String,
    artifact_type: Option<String>,
    size: Option<Size>,
    manifest_size: Size,
    subject: Option<Digest>,
    commands: Vec<Command>,
    children_title: &'static str,
    children: Vec<Child>,
    children_left_out: usize,
    layers: Vec<Layer>,
    layers_left_out: usize,
    config_title: &'static str,
    config: Vec<(String, String)>,
    config_note: Option<&'static str>,
    history: Vec<Step>,
    annotations: Vec<(String, String)>,
    referrers: Vec<Referrer>,
    more_referrers: bool,
    raw: String,
}

/// Shows a manifest, with the right to pull.
pub(super) async fn show(cx: &Context, reference: &Reference) -> Result<Response, Error> {
    let name = cx.repository()?;
    let stored = read(cx, name, reference).await?;
    // Schema 1 is shown as JSON only.
    let manifest = Manifest::parse(stored.bytes.clone(), Some(&stored.media_type)).ok();
    let nature = manifest.as_ref().map_or_else(|| Nature::of_stored(&stored), Nature::of);
    let blobs = manifest.as_ref().map(Manifest::blobs).unwrap_or_default();
    let listed = manifest.as_ref().map(Manifest::children).unwrap_or_default();
    let config = blobs.first().filter(|_| stored.media_type.is_image());
    let (config, children, Tree { lines, more }) = tokio::try_join!(
        read_config(cx, name, config),
        children(cx, name, listed),
        referrers::tree(cx, name, &stored.digest),
    )?;
    let (separator, tag) = match reference {
        Reference::Tag(tag) => (':', tag.as_str()),
        Reference::Digest(_) => ('@', ""),
    };
    let kind = Kind::of(&nature, tag);
    let frame = Frame::of(cx);
    let (text, digest) = (reference.to_string(), stored.digest.to_string());
    let commands =
        commands(&kind, &frame.host, name.as_str(), &format!("{separator}{text}"), &digest);
    let annotations = manifest.as_ref().and_then(Manifest::annotations);
    let (details, config_note) = Details::of(config, &kind);
    html(&ManifestPage {
        name,
        separator,
        short_reference: short(&text),
        reference: text,
        digest: stored.digest,
        media_type: nature.media_type,
        artifact_type: nature.artifact_type,
        size: nature.content_size.map(Size),
        manifest_size: Size(stored.bytes.len() as u64),
        subject: nature.subject,
        commands,
        children_title: "Manifests",
        children_left_out: listed.len() - children.len(),
        children,
        layers: layers(blobs),
        layers_left_out: blobs.len().saturating_sub(LAYERS_MAX),
        config_title: if kind == Kind::Chart { "Chart.yaml" } else { "Config" },
        config: details.config,
        config_note,
        history: details.history,
        annotations: annotations.map(entries).unwrap_or_default(),
        referrers: lines,
        more_referrers: more,
        raw: raw(&stored),
        kind,
        frame,
    })
}

/// The manifest as it is stored, whatever its type.
async fn read(
    cx: &Context,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<std::sync::Arc<StoredManifest>, Error> {
    let accept = Accept::parse(["*/*"].into_iter());
    let manifests = &cx.api.registry.manifests;
    Ok(manifests.negotiate(name, reference, &accept, Purpose::Pull).await?)
}

/// The manifest as JSON that a person can read.
fn raw(stored: &StoredManifest) -> String {
    if stored.bytes.len() > RAW_BYTES_MAX {
        return format!("The manifest has {}: too much to show.", Size(stored.bytes.len() as u64));
    }
    let parsed = serde_json::from_slice::<Value>(&stored.bytes);
    let pretty = parsed.and_then(|value| serde_json::to_string_pretty(&value));
    pretty.unwrap_or_else(|_| String::from_utf8_lossy(&stored.bytes).into_owned())
}

fn layers(blobs: &[Descriptor]) -> Vec<Layer> {
    let sum = blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size)).max(1);
    let title = |blob: &Descriptor| {
        blob.annotations.as_ref()?.get("org.opencontainers.image.title").map(|title| cut(title))
    };
    let layer = |blob: &Descriptor| Layer {
        short_digest: short(&blob.digest.to_string()),
        digest: blob.digest.to_string(),
        title: title(blob),
        media_type: cut(&blob.media_type),
        size: Size(blob.size),
        share: u64::try_from(u128::from(blob.size) * 100 / u128::from(sum)).unwrap_or_default(),
    };
    blobs.iter().take(LAYERS_MAX).map(layer).collect()
}

/// What an index lists, with the sizes of the images: a read for each.
async fn children(
    cx: &Context,
    name: &RepositoryName,
    listed: &[Descriptor],
) -> Result<Vec<Child>, Error> {
    let read: Vec<_> = listed.iter().take(CHILDREN_MAX).map(|one| child(cx, name, one)).collect();
    stream::iter(read).buffered(READS_AT_ONCE).try_collect().await
}

async fn child(cx: &Context, name: &RepositoryName, listed: &Descriptor) -> Result<Child, Error> {
    let stored = match listed.digest.known().filter(|_| listed.names_manifest()) {
        Some(digest) => match read(cx, name, &Reference::Digest(digest)).await {
            Ok(stored) => Some(stored),
            Err(error) if error.status() == StatusCode::NOT_FOUND => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    let nature = stored.as_deref().map(Nature::of_stored);
    let attests = listed.annotations.as_ref().is_some_and(|annotations| {
        annotations.get("vnd.docker.reference.type").is_some_and(|kind| kind.contains("attest"))
    });
    let kind = match &nature {
        _ if attests => Kind::Attestation,
        Some(nature) => Kind::of(nature, ""),
        None => Kind::of_type(listed.artifact_type.as_deref().unwrap_or_default()),
    };
    let platform = listed.platform.as_ref().filter(|platform| platform.os != "unknown");
    Ok(Child {
        platform: platform.map_or_else(|| "–".to_owned(), |platform| cut(&platform.to_string())),
        kind,
        media_type: cut(&listed.media_type),
        size: nature.and_then(|nature| nature.content_size).map(Size),
        short_digest: short(&listed.digest.to_string()),
        digest: listed.digest.to_string(),
        linked: stored.is_some(),
    })
}

/// What was found of a config.
enum Config {
    /// The manifest has none.
    Absent,
    Missing,
    TooLarge,
    Read(Map<String, Value>),
    /// It is not JSON.
    Other,
}

async fn read_config(
    cx: &Context,
    name: &RepositoryName,
    config: Option<&Descriptor>,
) -> Result<Config, Error> {
    let Some(config) = config else { return Ok(Config::Absent) };
    let Some(digest) = config.digest.known() else { return Ok(Config::Missing) };
    let blobs = &cx.api.registry.blobs;
    let blob = match blobs.get(name, &digest).await {
        Ok(blob) => blob,
        Err(crate::registry::Error::BlobUnknown) => return Ok(Config::Missing),
        Err(error) => return Err(error.into()),
    };
    if blob.size > CONFIG_BYTES_MAX {
        return Ok(Config::TooLarge);
    }
    let mut stream = blobs.open(&blob, None).await?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(crate::registry::Error::from)?);
    }
    Ok(match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Config::Read(fields),
        Ok(_) | Err(_) => Config::Other,
    })
}

/// The parts of a config that people look for.
#[derive(Default)]
struct Details {
    config: Vec<(String, String)>,
    history: Vec<Step>,
}

impl Details {
    fn of(config: Config, kind: &Kind) -> (Self, Option<&'static str>) {
        let fields = match config {
            Config::Read(fields) => fields,
            Config::Absent | Config::Other => return (Self::default(), None),
            Config::Missing => {
                return (Self::default(), Some("The config is not in this repository."));
            }
            Config::TooLarge => {
                return (Self::default(), Some("The config is too large to be shown."));
            }
        };
        let mut details = Self::default();
        if *kind != Kind::Image {
            details.config = fields.iter().map(|(key, value)| (cut(key), shown(value))).collect();
            details.config.truncate(ENTRIES_MAX);
            return (details, None);
        }
        let platform = ["os", "architecture", "variant"].map(|field| fields.get(field));
        let platform: Vec<&str> =
            platform.into_iter().flatten().filter_map(Value::as_str).collect();
        details.config.push(("Platform".to_owned(), cut(&platform.join("/"))));
        for (field, title) in [("created", "Created"), ("author", "Author")] {
            details.push(title, fields.get(field));
        }
        let of_config = |field| fields.get("config").and_then(|config| config.get(field));
        for (field, title) in [
            ("Entrypoint", "Entrypoint"),
            ("Cmd", "Command"),
            ("User", "User"),
            ("WorkingDir", "Working directory"),
            ("ExposedPorts", "Ports"),
            ("Volumes", "Volumes"),
            ("StopSignal", "Stop signal"),
            ("Env", "Environment"),
        ] {
            details.push(title, of_config(field));
        }
        if let Some(Value::Object(labels)) = of_config("Labels") {
            let labels = labels.iter().map(|(key, value)| (cut(key), shown(value)));
            details.config.extend(labels.take(ENTRIES_MAX));
        }
        if let Some(Value::Array(steps)) = fields.get("history") {
            details.history = steps.iter().take(LAYERS_MAX).map(step).collect();
        }
        (details, None)
    }

    fn push(&mut self, title: &str, value: Option<&Value>) {
        let text = value.map(shown).unwrap_or_default();
        if !text.is_empty() {
            self.config.push((title.to_owned(), text));
        }
    }
}

fn step(step: &Value) -> Step {
    let command = step.get("created_by").and_then(Value::as_str).unwrap_or("(not recorded)");
    let empty = step.get("empty_layer").and_then(Value::as_bool).unwrap_or_default();
    Step { command: cut(command), empty }
}

/// A value of a config as text: a list as lines, a map of empty values (ports) as its keys.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(entries) => {
            let entries = entries.iter().take(ENTRIES_MAX).map(|entry| match entry {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            entries.collect::<Vec<String>>().join("\n")
        }
        Value::Object(fields)
            if fields.values().all(|value| value.as_object().is_some_and(Map::is_empty)) =>
        {
            fields.keys().take(ENTRIES_MAX).cloned().collect::<Vec<String>>().join("\n")
        }
        other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => other.to_string(),
    };
    match value {
        Value::Array(_) => crate::oci::truncate::truncate_to(&text, 10 * ENTRY_CHARS_MAX),
        _ => cut(&text),
    }
}

fn entries(annotations: &BTreeMap<String, String>) -> Vec<(String, String)> {
    annotations.iter().take(ENTRIES_MAX).map(|(key, value)| (cut(key), cut(value))).collect()
}

fn cut(text: &str) -> String {
    crate::oci::truncate::truncate_to(text, ENTRY_CHARS_MAX)
}
