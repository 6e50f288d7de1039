//! Pages of ordered lists, and how they are read from the store.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;

use crate::layout::encoding::is_tombstone;
use crate::store::{self, LIST_ROWS_MAX, Prefix, RecordStore};

/// A page of an ordered list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in ascending byte order.
    pub rows: Vec<T>,
    /// Whether more rows follow the last one.
    pub more: bool,
}

/// Parses a row from the rest of its key below the prefix of the list.
pub(super) type Row<T> = fn(&str) -> Option<T>;

/// A page that can be cached.
pub(super) trait CachedPage: Sized {
    fn encode(&self) -> Result<Bytes, store::Error>;

    /// `None` if another release encoded the page in another way.
    fn decode(text: &Bytes) -> Option<Self>;
}

/// The first line says whether more rows follow; each other line is a row.
impl<T: Display + FromStr> CachedPage for Page<T> {
    fn encode(&self) -> Result<Bytes, store::Error> {
        let mut text = String::from(if self.more { "more" } else { "end" });
        for row in &self.rows {
            text.push('\n');
            text.push_str(&row.to_string());
        }
        Ok(text.into())
    }

    fn decode(text: &Bytes) -> Option<Self> {
        let mut lines = str::from_utf8(text).ok()?.split('\n');
        let more = match lines.next()? {
            "more" => true,
            "end" => false,
            _ => return None,
        };
        let rows: Result<Vec<T>, _> = lines.map(str::parse).collect();
        Some(Self { rows: rows.ok()?, more })
    }
}

/// The longest beginning of a cursor that can begin a key. A client may page after any text, and
/// some stores refuse to list after a text that no key can have (`..`, an empty component). The
/// rows between this beginning and the cursor are skipped when they are read.
fn listable(cursor: &str) -> &str {
    let mut begins = true;
    let end = cursor.bytes().position(|byte| {
        let fits = match byte {
            b'/' | b'.' => !begins,
            b'-' | b'_' | b'!' => true,
            other => other.is_ascii_alphanumeric(),
        };
        begins = byte == b'/';
        !fits
    });
    &cursor[..end.unwrap_or(cursor.len())]
}

/// Reads a page from the store, without tombstones. Costs one request, unless there are so many
/// tombstones that one listing does not fill the page.
pub(super) async fn read_page<T>(
    store: &dyn RecordStore,
    list: &Prefix,
    last: &str,
    count: usize,
    row: Row<T>,
) -> Result<Page<T>, store::Error> {
    let below = list.to_string();
    let mut page = Page { rows: Vec::new(), more: false };
    let mut after = Some(listable(last)).filter(|text| !text.is_empty()).map(str::to_owned);
    if count == 0 {
        return Ok(page);
    }
    let mut limit = count.saturating_add(1).min(LIST_ROWS_MAX);
    loop {
        let listing = store.list(list, after.as_deref(), limit).await?;
        for found in &listing.rows {
            let rest = found.key.strip_prefix(&below).unwrap_or_default();
            after = Some(rest.to_owned());
            if rest <= last {
                continue;
            }
            // A foreign key in the bucket must not hide the rows after it.
            let Some(parsed) = row(rest).filter(|_| !is_tombstone(found.size)) else { continue };
            if page.rows.len() == count {
                page.more = true;
                return Ok(page);
            }
            page.rows.push(parsed);
        }
        if !listing.more {
            return Ok(page);
        }
        if page.rows.len() == count {
            page.more = true;
            return Ok(page);
        }
        limit = LIST_ROWS_MAX;
    }
}
