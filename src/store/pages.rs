//! Listings of any length, a page at a time.

use std::time::SystemTime;

use super::{BlobStore, Day, Error, LIST_ROWS_MAX, Listing, ObjectStore, Prefix, RecordStore};
use crate::layout::key::data_prefix;

/// The records below a prefix, in ascending byte order of their keys. Rows include tombstones and
/// foreign keys.
#[derive(Debug)]
pub struct RecordPages {
    prefix: Prefix,
    cursor: Cursor,
}

/// The data objects of a day, in ascending byte order of their keys.
#[derive(Debug)]
pub struct DataPages {
    day: Day,
    cursor: Cursor,
}

/// All objects below the operator's prefix, in ascending byte order of their keys.
#[derive(Debug)]
pub struct ObjectPages {
    cursor: Cursor,
}

/// How far a listing has come.
#[derive(Debug)]
struct Cursor {
    /// What all keys of the listing begin with.
    below: String,
    after: Option<String>,
    more: bool,
    began: Option<SystemTime>,
}

impl RecordPages {
    pub fn of(prefix: Prefix) -> Self {
        Self { cursor: Cursor::new(prefix.to_string()), prefix }
    }

    /// Continues strictly after the rest of a key below the prefix.
    #[must_use]
    pub fn after(mut self, rest: &str) -> Self {
        self.cursor.after = Some(rest.to_owned());
        self
    }

    /// The next page, `None` after the last one. Costs one request.
    pub async fn next(&mut self, store: &dyn RecordStore) -> Result<Option<Listing>, Error> {
        if !self.cursor.more {
            return Ok(None);
        }
        let page = store.list(&self.prefix, self.cursor.after.as_deref(), LIST_ROWS_MAX).await?;
        self.cursor.advance(&page);
        Ok(Some(page))
    }

    /// The store's clock when it answered the first request, `None` before that.
    pub fn began(&self) -> Option<SystemTime> {
        self.cursor.began
    }
}

impl DataPages {
    pub fn of(day: Day) -> Self {
        Self { cursor: Cursor::new(data_prefix(Some(&day))), day }
    }

    /// The next page, `None` after the last one. Costs one request.
    pub async fn next(&mut self, store: &dyn BlobStore) -> Result<Option<Listing>, Error> {
        if !self.cursor.more {
            return Ok(None);
        }
        let page = store.list_data(&self.day, self.cursor.after.as_deref(), LIST_ROWS_MAX).await?;
        self.cursor.advance(&page);
        Ok(Some(page))
    }

    /// The store's clock when it answered the first request, `None` before that.
    pub fn began(&self) -> Option<SystemTime> {
        self.cursor.began
    }
}

impl ObjectPages {
    pub fn all() -> Self {
        Self { cursor: Cursor::new(String::new()) }
    }

    /// Continues strictly after a key, or after what the listing has shown, if that is further.
    pub fn skip_to(&mut self, key: &str) {
        if self.cursor.after.as_deref().is_none_or(|after| after < key) {
            self.cursor.after = Some(key.to_owned());
        }
    }

    /// The next page, `None` after the last one. Costs one request.
    pub async fn next(&mut self, store: &dyn ObjectStore) -> Result<Option<Listing>, Error> {
        if !self.cursor.more {
            return Ok(None);
        }
        let page = store.list_objects(self.cursor.after.as_deref(), LIST_ROWS_MAX).await?;
        self.cursor.advance(&page);
        Ok(Some(page))
    }
}

impl Cursor {
    fn new(below: String) -> Self {
        Self { below, after: None, more: true, began: None }
    }

    fn advance(&mut self, page: &Listing) {
        self.began.get_or_insert(page.now);
        let last = page.rows.last().and_then(|row| row.key.strip_prefix(&self.below));
        self.more = page.more && last.is_some();
        self.after = last.map(str::to_owned);
    }
}
