//! Small images, pushed before anything is measured, and where they are.

use std::fmt::Write as _;

use clap::Args;
use http::{HeaderMap, Method, header};
use serde_json::json;

use crate::Failure;
use crate::connection::{Connection, empty, full, headers};
use crate::content::{Blob, Source, fresh_seed};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Host and port of the registry.
    #[arg(long)]
    server: String,
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[arg(long, default_value_t = 10)]
    layers: u64,
    #[arg(long, default_value_t = 1024)]
    layer_bytes: u64,
    /// Images in one repository; the next ones go into another.
    #[arg(long, default_value_t = 1)]
    per_repository: u64,
    /// The images of a repository have the same blobs.
    #[arg(long)]
    share_blobs: bool,
    /// What the names of the repositories begin with.
    #[arg(long, default_value = "load/image")]
    prefix: String,
}

/// What clients of containers accept.
pub(crate) fn accept() -> Vec<String> {
    let types = "application/vnd.docker.distribution.manifest.v2+json, \
                 application/vnd.docker.distribution.manifest.list.v2+json, \
                 application/vnd.oci.image.manifest.v1+json, \
                 application/vnd.oci.image.index.v1+json, */*";
    vec![format!("accept: {types}"), "user-agent: containerd/2.1.4".to_owned()]
}

/// An image in a repository.
pub(crate) struct Image {
    pub(crate) repository: String,
    pub(crate) tag: String,
    pub(crate) config: Blob,
    pub(crate) layers: Vec<Blob>,
    /// What makes it another one than those with the same blobs.
    pub(crate) version: u64,
}

impl Image {
    pub(crate) fn manifest(&self) -> String {
        let layers: Vec<_> = self.layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
        json!({
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": descriptor(CONFIG, &self.config),
            "layers": layers,
            "annotations": { "org.opencontainers.image.version": self.version.to_string() },
        })
        .to_string()
    }

    pub(crate) fn path(&self) -> String {
        format!("/v2/{}/manifests/{}", self.repository, self.tag)
    }

    pub(crate) fn blob_path(&self, blob: &Blob) -> String {
        format!("/v2/{}/blobs/{}", self.repository, blob.digest)
    }
}

fn descriptor(media_type: &str, blob: &Blob) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": *blob.digest, "size": blob.size })
}

/// POST, PATCH, PUT: the way of docker and containerd.
pub(crate) async fn push_blob(
    to: &mut Connection,
    repository: &str,
    blob: &Blob,
) -> Result<(), Failure> {
    let none = HeaderMap::new();
    let path = format!("/v2/{repository}/blobs/uploads/");
    let at = to.ask(Method::POST, &path, &none).await?.expect(202, &path)?.location()?;
    let octets = headers(&["content-type: application/octet-stream".to_owned()])?;
    let patched = to.send(Method::PATCH, &at, &octets, blob.body(0..blob.size)).await?;
    let at = patched.expect(202, "PATCH")?.location()?;
    let put = to.send(Method::PUT, &with_digest(&at, blob), &none, empty()).await?;
    put.expect(201, "PUT of a blob")?;
    Ok(())
}

/// The last request of an upload.
pub(crate) fn with_digest(location: &str, blob: &Blob) -> String {
    let mark = if location.contains('?') { '&' } else { '?' };
    format!("{location}{mark}digest={}", blob.digest)
}

/// Pushes the manifest; the blobs must be there.
pub(crate) async fn push_manifest(to: &mut Connection, image: &Image) -> Result<String, Failure> {
    let headers = headers(&[format!("content-type: {IMAGE}")])?;
    let manifest = image.manifest();
    let put = to.send(Method::PUT, &image.path(), &headers, full(manifest)).await?;
    let put = put.expect(201, "PUT of a manifest")?;
    let digest = put.headers.get("docker-content-digest").ok_or("no digest")?;
    let _ = put.headers.get(header::ETAG);
    Ok(digest.to_str()?.to_owned())
}

/// Prints a line for each image: its path by tag, by digest, and the paths of its blobs.
pub(crate) async fn run(arguments: Arguments) -> Result<String, Failure> {
    let source = Source::new(fresh_seed());
    let mut connection = Connection::to(&arguments.server);
    let mut said = String::new();
    let mut kept: Option<Image> = None;
    for number in 0..arguments.count {
        let (repository, version) =
            (number / arguments.per_repository, number % arguments.per_repository);
        let image = match kept.take() {
            Some(last) if arguments.share_blobs && version > 0 => {
                Image { tag: format!("v{version}"), version, ..last }
            }
            _ => {
                let first = number * (arguments.layers + 1);
                let layers = (1..=arguments.layers).map(|layer| first + layer);
                let image = Image {
                    repository: format!("{}-{repository}", arguments.prefix),
                    tag: format!("v{version}"),
                    config: source.blob(first, 2048),
                    layers: layers.map(|n| source.blob(n, arguments.layer_bytes)).collect(),
                    version,
                };
                for blob in image.layers.iter().chain([&image.config]) {
                    push_blob(&mut connection, &image.repository, blob).await?;
                }
                image
            }
        };
        let digest = push_manifest(&mut connection, &image).await?;
        write!(said, "{} /v2/{}/manifests/{digest}", image.path(), image.repository)?;
        for layer in &image.layers {
            write!(said, " {}", image.blob_path(layer))?;
        }
        said.push('\n');
        kept = Some(image);
    }
    Ok(said.trim_end().to_owned())
}
