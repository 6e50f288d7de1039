//! What a manifest is, in a word.

use std::fmt;

use crate::oci::MediaType;
use crate::registry::Nature;

/// The kinds that the pages tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Index,
    Chart,
    Signature,
    Sbom,
    Attestation,
    /// Anything else.
    Artifact,
}

const HELM: &str = "application/vnd.cncf.helm.config.v1+json";
/// Configs of images: without another type, a manifest is an image.
const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

impl Kind {
    /// The kind of a manifest, which the name of its tag may tell (cosign 2 sets such tags).
    pub(super) fn of(nature: &Nature, tag: &str) -> Self {
        let media_type: MediaType =
            nature.media_type.parse().unwrap_or_else(|error| match error {});
        let cosign = tag.strip_prefix("sha256-").and_then(|rest| Some(rest.rsplit_once('.')?.1));
        match nature.artifact_type.as_deref().map(Self::of_type) {
            _ if cosign == Some("sig") => Self::Signature,
            _ if cosign == Some("att") => Self::Attestation,
            _ if cosign == Some("sbom") => Self::Sbom,
            Some(kind) if kind != Self::Image => kind,
            _ if media_type.is_index() => Self::Index,
            _ => Self::Image,
        }
    }

    /// The kind that an artifact type stands for.
    pub(super) fn of_type(artifact_type: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| artifact_type.contains(word));
        match artifact_type {
            HELM => Self::Chart,
            _ if IMAGE_CONFIGS.contains(&artifact_type) => Self::Image,
            _ if has(&["spdx", "cyclonedx", "syft"]) => Self::Sbom,
            _ if has(&["in-toto"]) => Self::Attestation,
            _ if has(&["cosign", "sigstore", "notary.signature"]) => Self::Signature,
            _ => Self::Artifact,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Index => "index",
            Self::Chart => "chart",
            Self::Signature => "signature",
            Self::Sbom => "SBOM",
            Self::Attestation => "attestation",
            Self::Artifact => "artifact",
        })
    }
}

/// A command that a person can copy.
pub(super) struct Command {
    pub(super) tool: &'static str,
    pub(super) text: String,
}

/// The commands that use a manifest: `reference` is a tag or a digest with what separates it from
/// the name, such as `:v1`.
pub(super) fn commands(
    kind: &Kind,
    host: &str,
    name: &str,
    reference: &str,
    digest: &str,
) -> Vec<Command> {
    let full = format!("{host}/{name}{reference}");
    let of = |tool, text: String| Command { tool, text };
    let mut commands = match kind {
        Kind::Image | Kind::Index => vec![
            of("docker", format!("docker pull {full}")),
            of("podman", format!("podman pull {full}")),
            of("crane", format!("crane manifest {full}")),
        ],
        Kind::Chart => {
            let (chart, version) = (format!("oci://{host}/{name}"), reference.strip_prefix(':'));
            let text = match version {
                // Helm writes the plus of a version as an underscore into the tag.
                Some(version) => {
                    format!("helm pull {chart} --version {}", version.replace('_', "+"))
                }
                None => format!("helm pull {chart}{reference}"),
            };
            vec![of("helm", text)]
        }
        Kind::Signature | Kind::Sbom | Kind::Attestation | Kind::Artifact => {
            vec![
                of("oras", format!("oras pull {full}")),
                of("crane", format!("crane manifest {full}")),
            ]
        }
    };
    if !matches!(kind, Kind::Signature | Kind::Sbom | Kind::Attestation) {
        commands.push(of("oras", format!("oras discover {host}/{name}@{digest}")));
        let text = format!("cosign verify --key cosign.pub {host}/{name}@{digest}");
        commands.push(of("cosign", text));
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_types_and_tags() {
        let nature = |media_type: &str, artifact_type: Option<&str>| Nature {
            media_type: media_type.to_owned(),
            artifact_type: artifact_type.map(str::to_owned),
            ..Nature::default()
        };
        let (image, index) = (
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
        );
        for (media_type, artifact_type, tag, kind) in [
            (image, Some(IMAGE_CONFIGS[0]), "v1", Kind::Image),
            ("application/vnd.docker.distribution.manifest.v2+json", None, "v1", Kind::Image),
            (index, None, "v1", Kind::Index),
            (image, Some(HELM), "1.0.0", Kind::Chart),
            (image, Some("application/vnd.dev.sigstore.bundle.v0.3+json"), "", Kind::Signature),
            (image, Some(IMAGE_CONFIGS[0]), "sha256-ab.sig", Kind::Signature),
            (image, Some("application/spdx+json"), "", Kind::Sbom),
            (image, Some("application/vnd.in-toto+json"), "", Kind::Attestation),
            (image, Some("application/x"), "v1", Kind::Artifact),
        ] {
            assert_eq!(
                Kind::of(&nature(media_type, artifact_type), tag),
                kind,
                "{artifact_type:?}"
            );
        }
    }

    #[test]
    fn a_chart_is_pulled_by_its_version() {
        let of =
            |reference| commands(&Kind::Chart, "r.example", "charts/a", reference, "sha256:ab");
        assert_eq!(
            of(":1.0.0_b1")[0].text,
            "helm pull oci://r.example/charts/a --version 1.0.0+b1"
        );
        assert_eq!(of("@sha256:ab")[0].text, "helm pull oci://r.example/charts/a@sha256:ab");
    }
}
