//! Lists: a page of rows in the order of their names, from the cache or from the store.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use super::{Error, LIST_ROWS_MAX, Registry};
use crate::store::{self, Prefix, RecordStore};

/// A page of an ordered list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in ascending byte order.
    pub rows: Vec<T>,
    /// Whether more rows follow the last one.
    pub more: bool,
}

/// How a row is read from the rest of its key below the prefix of the list.
pub(super) type Row<T> = fn(&str) -> Option<T>;

/// A page that can be cached.
pub(super) trait Kept: Sized {
    /// The page as it is cached.
    fn write_down(&self) -> Result<Bytes, store::Error>;

    /// The page that was cached so. `None` if it was not: another release may have written it.
    fn read_back(text: &Bytes) -> Option<Self>;
}

/// Whether more follow, and the rows, which contain no newline.
impl<T: Display + FromStr> Kept for Page<T> {
    fn write_down(&self) -> Result<Bytes, store::Error> {
        let mut text = String::from(if self.more { "more" } else { "end" });
        for row in &self.rows {
            text.push('\n');
            text.push_str(&row.to_string());
        }
        Ok(text.into())
    }

    fn read_back(text: &Bytes) -> Option<Self> {
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

/// As much of a cursor as can be the beginning of a key. A client may page after any text, and some
/// stores refuse to list after one that no key could have (`..`, an empty component); what lies
/// between the two is left out when the rows are read.
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

/// Walks a listing until the page is full, leaving out what is dead. One listing request for a
/// page, as long as dead rows do not fill it.
pub(super) async fn walk<T>(
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
            // A key that is none of ours does not hide the others.
            let Some(parsed) = row(rest).filter(|_| found.size > 0) else { continue };
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

impl Registry {
    /// The rows of a list after `last`, at most `count` of them.
    pub(super) async fn page<T>(
        &self,
        list: Prefix,
        last: &str,
        count: usize,
        row: Row<T>,
    ) -> Result<Page<T>, Error>
    where
        T: Display + FromStr + Send + 'static,
    {
        let load = |store: Arc<dyn RecordStore>| {
            let (list, last) = (list.clone(), last.to_owned());
            async move { walk(store.as_ref(), &list, &last, count, row).await }
        };
        self.read_cache.page(list.clone(), last, count, load).await
    }
}
