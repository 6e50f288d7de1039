//! Pages of ordered lists, and how they are read from the store.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;

use crate::layout::encoding::is_tombstone;
use crate::store::{self, LIST_ROWS_MAX, Listed, Prefix, RecordStore};

/// Listings of the store that one page of up to 1,000 rows may cost; each further 1,000 rows may
/// cost one more. Beyond that the page is short: rows that were deleted, or that the caller may not
/// see, must not let one request list a whole bucket.
const LISTINGS_MAX: usize = 10;

/// A page of an ordered list. It may have fewer rows than were asked for, or none, and still not be
/// the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows, in ascending byte order.
    pub rows: Vec<T>,
    /// The cursor of the next page, `None` at the end of the list: the last row that was read,
    /// which may be one that was deleted or is hidden.
    pub next: Option<T>,
}

/// Parses a row from the rest of its key below the prefix of the list.
pub(super) type Row<T> = fn(&str) -> Option<T>;

/// The part of a list that one page shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    /// The rest of a key, or any other text: only what follows it is shown.
    pub(super) after: &'a str,
    /// Rows.
    pub(super) count: usize,
    /// Listings of the store that the page may cost.
    pub(super) listings_max: usize,
}

impl<'a> Window<'a> {
    pub(super) fn new(after: &'a str, count: usize) -> Self {
        let listings_max = LISTINGS_MAX + count.saturating_sub(1) / LIST_ROWS_MAX;
        Self { after, count, listings_max }
    }
}

/// A page that can be cached.
pub(super) trait CachedPage: Sized {
    fn encode(&self) -> Result<Bytes, store::Error>;

    /// `None` if another release encoded the page in another way.
    fn decode(text: &Bytes) -> Option<Self>;
}

/// How the first line of an encoded page begins if there is a next page. The cursor follows.
const NEXT: &str = "next ";
/// The first line of an encoded page that is the last one.
const END: &str = "end";

/// The first line is the cursor of the next page; each other line is a row.
impl<T: Display + FromStr> CachedPage for Page<T> {
    fn encode(&self) -> Result<Bytes, store::Error> {
        let mut text = match &self.next {
            Some(next) => format!("{NEXT}{next}"),
            None => String::from(END),
        };
        for row in &self.rows {
            text.push('\n');
            text.push_str(&row.to_string());
        }
        Ok(text.into())
    }

    fn decode(text: &Bytes) -> Option<Self> {
        let mut lines = str::from_utf8(text).ok()?.split('\n');
        let next = match lines.next()? {
            END => None,
            next => Some(next.strip_prefix(NEXT)?.parse().ok()?),
        };
        let rows: Result<Vec<T>, _> = lines.map(str::parse).collect();
        Some(Self { rows: rows.ok()?, next })
    }
}

/// Characters in a row that no key has (the longest tag has as many).
const LAST_CHARACTERS: usize = 128;

/// Where to begin a listing so that no row after the cursor is left out. A client may page after
/// any text, and some stores refuse to list after a text that no key can have (`..`, an empty
/// component). So this is the longest beginning of the cursor that can begin a key, continued by
/// the last keys that sort below the cursor: otherwise a page would list all rows that share the
/// beginning, only to skip them.
fn listable(cursor: &str) -> String {
    let mut begins = true;
    let unfit = cursor.bytes().position(|byte| {
        let fits = match byte {
            b'/' | b'.' => !begins,
            b'-' | b'_' | b'!' => true,
            other => other.is_ascii_alphanumeric(),
        };
        begins = byte == b'/';
        !fits
    });
    let Some(end) = unfit else { return cursor.to_owned() };
    let (beginning, rest) = cursor.split_at(end);
    let below = match rest.as_bytes().first() {
        Some(b':'..=b'@') => '9',
        Some(b'['..=b'^') => 'Z',
        Some(b'`') => '_',
        Some(b'{'..) => 'z',
        // Only `!`, which ends a key, and `-` sort below.
        Some(_) | None => return beginning.to_owned(),
    };
    format!("{beginning}{below}{}", "z".repeat(LAST_CHARACTERS))
}

/// The rows of a list whose names begin with this text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning<'a>(pub(super) &'a str);

impl Beginning<'_> {
    /// A text after which these rows follow, and none is left out: no key lies between the two.
    pub(super) fn before(self) -> String {
        before(self.0)
    }

    /// Whether a page reads this row: it is one of them, or follows them and ends the page.
    pub(super) fn reads(self, name: &str) -> bool {
        name.starts_with(self.0) || name > self.0
    }

    /// Ends a page before the first row that does not begin so. True if there was one.
    pub(super) fn cut<T>(self, rows: &mut Vec<T>, name: impl Fn(&T) -> &str) -> bool {
        let end = rows.iter().position(|row| !name(row).starts_with(self.0));
        rows.truncate(end.unwrap_or(rows.len()));
        end.is_some()
    }
}

fn before(prefix: &str) -> String {
    // The characters of keys, in the order of their bytes.
    const ALPHABET: &str = "!-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
    let Some(last) = prefix.chars().next_back() else { return String::new() };
    let beginning = prefix.strip_suffix(last).unwrap_or_default();
    match ALPHABET.split_once(last).map(|(below, _)| below.chars().next_back()) {
        Some(Some(below)) => format!("{beginning}{below}{}", "z".repeat(LAST_CHARACTERS)),
        // No key has such a character, so none begins with the prefix; or none is below it.
        Some(None) | None => beginning.to_owned(),
    }
}

/// Reads a page from the store, without tombstones. Costs one request, unless there are so many
/// tombstones that one listing does not fill the page, and at most [`LISTINGS_MAX`].
pub(super) async fn read_page<T: Clone>(
    store: &dyn RecordStore,
    list: &Prefix,
    last: &str,
    count: usize,
    row: Row<T>,
) -> Result<Page<T>, store::Error> {
    read_shown(store, list, Window::new(last, count), |found| row(found.rest), &|_| true).await
}

/// A row as the store listed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    /// The rest of its key below the prefix of the list.
    pub(super) rest: &'a str,
    pub(super) listed: &'a Listed,
}

/// Reads a page without the rows that are not `shown`, which count like tombstones.
pub(super) async fn read_shown<T: Clone>(
    store: &dyn RecordStore,
    list: &Prefix,
    window: Window<'_>,
    row: impl Fn(Found<'_>) -> Option<T>,
    shown: &(dyn Fn(&T) -> bool + Send + Sync),
) -> Result<Page<T>, store::Error> {
    let Window { after: last, count, listings_max } = window;
    let below = list.to_string();
    let mut page = Page { rows: Vec::new(), next: None };
    let mut after = Some(listable(last)).filter(|text| !text.is_empty());
    if count == 0 {
        return Ok(page);
    }
    let mut limit = count.saturating_add(1).min(LIST_ROWS_MAX);
    // The last row after the last one of the page that is left out.
    let mut skipped: Option<T> = None;
    for listings in 1_usize.. {
        let listing = store.list(list, after.as_deref(), limit).await?;
        let mut full = false;
        for found in &listing.rows {
            let rest = found.key.strip_prefix(&below).unwrap_or_default();
            after = Some(rest.to_owned());
            if rest <= last {
                continue;
            }
            // A foreign key in the bucket must not hide the rows after it.
            let Some(parsed) = row(Found { rest, listed: found }) else { continue };
            if is_tombstone(found.size) || !shown(&parsed) {
                skipped = Some(parsed);
                continue;
            }
            full = page.rows.len() == count;
            if full {
                break;
            }
            page.rows.push(parsed);
            skipped = None;
        }
        if !full && !listing.more {
            break;
        }
        // Without a row, shown or not, the cursor would not move: these are foreign keys.
        let moved = skipped.is_some() || !page.rows.is_empty();
        if page.rows.len() == count || (moved && listings >= listings_max) {
            page.next = skipped.or_else(|| page.rows.last().cloned());
            break;
        }
        limit = LIST_ROWS_MAX;
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Tag;

    fn tag(text: &str) -> Tag {
        text.parse().expect("a tag")
    }

    #[test]
    fn a_page_keeps_its_cursor_when_it_is_encoded() {
        for next in [None, Some(tag("z"))] {
            for rows in [vec![], vec![tag("a"), tag("b")]] {
                let page = Page { rows, next: next.clone() };
                let text = page.encode().expect("text");
                assert_eq!(Page::decode(&text), Some(page));
            }
        }
    }

    /// Other releases may share the cache.
    #[test]
    fn a_page_in_another_encoding_is_not_decoded() {
        for text in ["", "more", "more\na", "next", "next ", "next \na", "end\n", "end\na/b"] {
            let text = Bytes::copy_from_slice(text.as_bytes());
            assert_eq!(Page::<Tag>::decode(&text), None, "{text:?}");
        }
    }

    /// No key lies between the place and the cursor, and none after the cursor is left out.
    #[test]
    fn a_listing_begins_at_a_key_close_to_the_cursor() {
        let z = "z".repeat(LAST_CHARACTERS);
        for (cursor, begin) in [
            ("", String::new()),
            ("v1.2_x-y!", "v1.2_x-y!".to_owned()),
            ("a/b", "a/b".to_owned()),
            ("../m", String::new()),
            ("a//b", "a/".to_owned()),
            ("v1 2", "v1".to_owned()),
            ("v1:2", format!("v19{z}")),
            ("v1[", format!("v1Z{z}")),
            ("v1`", format!("v1_{z}")),
            ("~", format!("z{z}")),
            ("a\u{1f4a5}", format!("az{z}")),
        ] {
            assert_eq!(listable(cursor), begin, "{cursor:?}");
            assert!(begin.as_str() <= cursor, "{cursor:?}");
        }
    }
}
