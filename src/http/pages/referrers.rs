//! What refers to a manifest: signatures, SBOMs, provenance, and what refers to these.

use futures_util::future::{BoxFuture, try_join_all};
use serde_json::Value;

use super::format::{Size, short};
use super::kind::Kind;
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::oci::{Digest, RepositoryName};
use crate::registry::{TagOrder, TagSearch};

/// Referrers of one manifest that are shown.
const SHOWN_MAX: usize = 20;
/// How deep the tree is shown.
const DEPTH_MAX: usize = 2;

/// A line of the tree.
pub(super) struct Referrer {
    pub(super) depth: usize,
    pub(super) kind: String,
    /// A digest or a tag.
    pub(super) reference: String,
    pub(super) short_reference: String,
    pub(super) detail: String,
}

/// The tree below a manifest, and whether something is left out of it.
pub(super) struct Tree {
    pub(super) lines: Vec<Referrer>,
    pub(super) more: bool,
}

/// Reads the tree: a listing and its records for each manifest in it, side by side, and a listing
/// of the tags that cosign 2 sets.
pub(super) async fn tree(
    cx: &Context,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Tree, Error> {
    let (mut tree, tags) = tokio::try_join!(below(cx, name, *digest, 0), tags(cx, name, digest))?;
    tree.lines.extend(tags);
    Ok(tree)
}

fn below<'a>(
    cx: &'a Context,
    name: &'a RepositoryName,
    subject: Digest,
    depth: usize,
) -> BoxFuture<'a, Result<Tree, Error>> {
    Box::pin(async move {
        let referrers = &cx.api.registry.referrers;
        let page = referrers.list(name, &subject, None, None, SHOWN_MAX).await?;
        let mut tree = Tree { lines: Vec::new(), more: page.next.is_some() };
        let digests = page.descriptors.iter().map(|found| text(found, "digest").parse().ok());
        let digests: Vec<Option<Digest>> = digests.collect();
        let deeper = digests.into_iter().map(|digest| deeper(cx, name, digest, depth));
        let deeper = try_join_all(deeper).await?;
        for (found, deeper) in page.descriptors.iter().zip(deeper) {
            tree.lines.push(line(found, depth));
            if let Some(deeper) = deeper {
                tree.more |= deeper.more;
                tree.lines.extend(deeper.lines);
            }
        }
        Ok(tree)
    })
}

/// What is below a referrer, unless that would be too deep.
fn deeper<'a>(
    cx: &'a Context,
    name: &'a RepositoryName,
    referrer: Option<Digest>,
    depth: usize,
) -> BoxFuture<'a, Result<Option<Tree>, Error>> {
    Box::pin(async move {
        match referrer {
            Some(digest) if depth < DEPTH_MAX => below(cx, name, digest, depth + 1).await.map(Some),
            Some(_) | None => Ok(None),
        }
    })
}

fn text<'a>(descriptor: &'a Value, field: &str) -> &'a str {
    descriptor.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn line(descriptor: &Value, depth: usize) -> Referrer {
    let artifact_type = text(descriptor, "artifactType");
    let size = Size(descriptor.get("size").and_then(Value::as_u64).unwrap_or_default());
    let created = descriptor.pointer("/annotations/org.opencontainers.image.created");
    let predicate = descriptor.pointer("/annotations/dev.sigstore.bundle.predicateType");
    let more = [created, predicate].into_iter().flatten().filter_map(Value::as_str);
    let detail: Vec<String> = [artifact_type.to_owned(), size.to_string()]
        .into_iter()
        .chain(more.map(str::to_owned))
        .filter(|text| !text.is_empty())
        .collect();
    let reference = text(descriptor, "digest").to_owned();
    Referrer {
        depth,
        kind: Kind::of_type(artifact_type).to_string(),
        short_reference: short(&reference),
        reference,
        detail: detail.join(", "),
    }
}

/// The tags that cosign 2 sets in place of referrers.
async fn tags(
    cx: &Context,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Vec<Referrer>, Error> {
    let prefix = format!("{}-{}", digest.algorithm(), digest.hex());
    let (order, count) = (TagOrder::Name, SHOWN_MAX);
    let search = TagSearch { prefix, order, count, ..TagSearch::default() };
    let page = cx.api.registry.browse.tags(name, &search).await?;
    let line = |row: crate::registry::TagRow| {
        let tag = row.tag.to_string();
        let short_reference = match tag.rsplit_once('.') {
            Some((_, suffix)) => format!("{}….{suffix}", tag.get(..19).unwrap_or_default()),
            None => tag.clone(),
        };
        let kind = Kind::of(&row.nature, &tag).to_string();
        let detail = "a tag that cosign 2 sets".to_owned();
        Referrer { depth: 0, kind, reference: tag, short_reference, detail }
    };
    Ok(page.rows.into_iter().map(line).collect())
}
