//! The tags of a repository, and its manifests without a tag.

use std::time::SystemTime;

use askama::Template;
use axum::response::Response;

use super::format::{Size, When, short};
use super::kind::Kind;
use super::{Frame, ROOT, address, html};
use crate::auth::BrowserLogin;
use crate::http::authorized::Context;
use crate::http::error::Error;
use crate::http::query::Query;
use crate::oci::RepositoryName;
use crate::registry::{ManifestRow, Nature, SORTED_TAGS_MAX, TagNext, TagOrder, TagRow, TagSearch};

/// Rows on one page: as many records as are read at the same time.
const ROWS: usize = 50;
/// The longest beginning of a tag that is searched, in characters: no tag is longer.
const PREFIX_CHARS_MAX: usize = 128;

/// The orders, as the query and the page name them.
const ORDERS: [(TagOrder, &str, &str); 4] = [
    (TagOrder::Name, "name", "name"),
    (TagOrder::Version, "version", "version, highest first"),
    (TagOrder::Newest, "newest", "last pushed first"),
    (TagOrder::Largest, "largest", "largest first"),
];

struct Order {
    value: &'static str,
    text: &'static str,
    selected: bool,
}

struct Tag {
    name: String,
    kind: Kind,
    kind_detail: String,
    platforms: String,
    size: Option<Size>,
    pushed: When,
    by: String,
    changes: u64,
    previous: Option<String>,
    referrers: String,
    digest: String,
    short_digest: String,
}

#[derive(Template)]
#[template(path = "repository.html")]
struct Tags<'a> {
    frame: Frame,
    name: &'a RepositoryName,
    prefix: &'a str,
    orders: Vec<Order>,
    /// Whether there are too many tags for the order that was asked for.
    fell_back: bool,
    sorted_max: usize,
    caption: String,
    rows: Vec<Tag>,
    next: Option<String>,
}

/// Shows the tags, with the right to pull.
pub(super) async fn tags(cx: &Context) -> Result<Response, Error> {
    let name = cx.repository()?;
    let query = Query::of(&cx.uri);
    let prefix = query.one("q").unwrap_or_default().trim();
    let sort = query.one("sort").unwrap_or_default();
    let asked = ORDERS.iter().find(|(_, value, _)| *value == sort).map_or(TagOrder::Name, |o| o.0);
    let prefix = prefix.get(..PREFIX_CHARS_MAX).unwrap_or(prefix);
    let search = TagSearch {
        prefix: prefix.to_owned(),
        order: asked,
        after: query.one("last").unwrap_or_default().to_owned(),
        from: query.one("from").and_then(|from| from.parse().ok()).unwrap_or_default(),
        count: ROWS,
    };
    let page = cx.api.registry.browse.tags(name, &search).await?;
    let path = format!("{ROOT}repository/{name}");
    let next = page.next.as_ref().map(|next| {
        let (last, from) = match next {
            TagNext::After(tag) => (tag.to_string(), String::new()),
            TagNext::From(from) => (String::new(), from.to_string()),
        };
        address(&path, &[("q", prefix), ("sort", sort), ("last", &last), ("from", &from)])
    });
    let caption = match page.total {
        Some(1) => "1 tag".to_owned(),
        Some(total) if total == page.rows.len() => format!("{total} tags"),
        Some(total) => format!("{} of {total} tags", page.rows.len()),
        None => format!("{} tags on this page", page.rows.len()),
    };
    let now = cx.api.clock.now();
    let orders = ORDERS.map(|(order, value, text)| Order { value, text, selected: order == asked });
    html(&Tags {
        frame: Frame::of(cx),
        name,
        prefix,
        orders: orders.into(),
        fell_back: page.order != asked,
        sorted_max: SORTED_TAGS_MAX,
        caption,
        rows: page.rows.iter().map(|row| Tag::of(row, now)).collect(),
        next,
    })
}

impl Tag {
    fn of(row: &TagRow, now: SystemTime) -> Self {
        let digest = row.digest.to_string();
        Self {
            kind: Kind::of(&row.nature, row.tag.as_str()),
            kind_detail: detail(&row.nature),
            platforms: row.nature.platforms.join(", "),
            size: row.nature.content_size.map(Size),
            pushed: When { at: row.pushed, now },
            by: row.by.strip_prefix("user:").unwrap_or(&row.by).to_owned(),
            changes: row.changes,
            previous: row.previous.map(|digest| digest.to_string()),
            referrers: row.referrers.map_or_else(|| "?".to_owned(), |count| count.to_string()),
            name: row.tag.to_string(),
            short_digest: short(&digest),
            digest,
        }
    }
}

/// The types of a manifest.
fn detail(nature: &Nature) -> String {
    match &nature.artifact_type {
        Some(artifact_type) => format!("{}, {artifact_type}", nature.media_type),
        None => nature.media_type.clone(),
    }
}

struct Manifest {
    digest: String,
    short_digest: String,
    kind: Kind,
    kind_detail: String,
    platforms: String,
    size: Option<Size>,
    written: When,
    /// The whole digest and its beginning.
    subject: Option<(String, String)>,
}

impl Manifest {
    fn of(row: &ManifestRow, now: SystemTime) -> Self {
        let digest = row.digest.to_string();
        let subject = row.nature.subject.map(|subject| subject.to_string());
        Self {
            short_digest: short(&digest),
            digest,
            kind: Kind::of(&row.nature, ""),
            kind_detail: detail(&row.nature),
            platforms: row.nature.platforms.join(", "),
            size: row.nature.content_size.map(Size),
            written: When { at: row.written, now },
            subject: subject.map(|subject| (subject.clone(), short(&subject))),
        }
    }
}

#[derive(Template)]
#[template(path = "untagged.html")]
struct Untagged<'a> {
    frame: Frame,
    name: &'a RepositoryName,
    rows: Vec<Manifest>,
    next: Option<String>,
}

/// Shows the manifests that no tag names, with the right to pull.
pub(super) async fn untagged(cx: &Context) -> Result<Response, Error> {
    let name = cx.repository()?;
    let query = Query::of(&cx.uri);
    let after = query.one("last").and_then(|digest| digest.parse().ok());
    let page = cx.api.registry.browse.untagged(name, after.as_ref(), ROWS).await?;
    let path = format!("{ROOT}untagged/{name}");
    let next = page.next.map(|next| address(&path, &[("last", &next.to_string())]));
    let now = cx.api.clock.now();
    let rows = page.rows.iter().map(|row| Manifest::of(row, now)).collect();
    html(&Untagged { frame: Frame::of(cx), name, rows, next })
}
